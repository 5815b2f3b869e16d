/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layout of an entry: offsets follow from flags and key length alone; see entry.h.
 */
#include "types/entry.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"

_Static_assert(sizeof(struct entry) == 12, "the header is 12 bytes");

/* Bytes of an entry with these parts. */
static size_t entry_bytes(size_t key_bytes, int with_expiry, int with_ref, size_t inline_bytes) {
    return sizeof(struct entry) + (with_expiry ? 8u : 0u) + (with_ref ? 8u : 0u) +
           (key_bytes >= ENTRY_KEY_BYTES_LONG ? 4u : 0u) + key_bytes + inline_bytes;
}

static void entry_store_key(struct entry *entry, struct bytes key) {
    uint8_t *at = entry->tail + entry_key_offset(entry);
    if (key.size >= ENTRY_KEY_BYTES_LONG) {
        entry->key_bytes = ENTRY_KEY_BYTES_LONG;
        bytes_store32(at, (uint32_t)key.size);
        at += 4;
    } else {
        entry->key_bytes = (uint16_t)key.size;
    }
    if (key.size > 0) memcpy(at, key.data, key.size);
}

static struct entry *entry_allocate(size_t key_bytes, int with_expiry, int with_ref, int with_inline,
                                    size_t inline_bytes) {
    FIRN_ASSERT(key_bytes <= KEY_BYTES_MAX);
    struct entry *entry =
        memory_alloc(entry_bytes(key_bytes, with_expiry, with_ref, with_inline ? inline_bytes : 0));
    entry->flags = (uint8_t)((with_expiry ? ENTRY_EXPIRY : 0u) | (with_ref ? ENTRY_REF : 0u) |
                             (with_inline ? ENTRY_INLINE : 0u));
    return entry;
}

struct entry *entry_create_parts(struct bytes key, enum type_id type, enum encoding encoding, unsigned parts,
                                 uint32_t inline_bytes) {
    struct entry *entry = entry_allocate(key.size, (parts & ENTRY_EXPIRY) != 0, (parts & ENTRY_REF) != 0,
                                         (parts & ENTRY_INLINE) != 0, inline_bytes);
    entry->type_encoding = (uint8_t)((unsigned)type | (unsigned)encoding << 4);
    entry->clock = 0;
    entry->size = 0;
    if (parts & ENTRY_EXPIRY) entry_store_expiry(entry, -1);
    if (parts & ENTRY_REF) entry_store_ref(entry, 0);
    entry_store_key(entry, key);
    return entry;
}

struct entry *entry_create(struct bytes key, enum type_id type, enum encoding encoding, int with_ref,
                           int with_inline, uint32_t inline_bytes) {
    unsigned parts = (with_ref ? ENTRY_REF : 0u) | (with_inline ? ENTRY_INLINE : 0u);
    return entry_create_parts(key, type, encoding, parts, inline_bytes);
}

void entry_free(struct entry *entry) {
    memory_free(entry);
}

size_t entry_memory(const struct entry *entry) {
    return memory_usable(entry);
}

void entry_store_expiry(struct entry *entry, int64_t expiry_ms) {
    FIRN_ASSERT(entry->flags & ENTRY_EXPIRY);
    bytes_store64(entry->tail, (uint64_t)expiry_ms);
}

void entry_store_ref(struct entry *entry, uint64_t ref) {
    FIRN_ASSERT(entry->flags & ENTRY_REF);
    bytes_store64(entry->tail + entry_ref_offset(entry), ref);
}

int entry_fits(const struct entry *entry, uint32_t inline_bytes) {
    size_t offset = (size_t)(entry_inline(entry) - (const uint8_t *)entry);
    return memory_good_size(offset + inline_bytes) == memory_usable(entry);
}

uint32_t entry_inline_capacity(const struct entry *entry) {
    if (!(entry->flags & ENTRY_INLINE)) return 0;
    return (uint32_t)(memory_usable(entry) - (size_t)(entry_inline(entry) - (const uint8_t *)entry));
}

/* Same offsets, another inline size: the allocation grows or shrinks in place or as a whole. */
static struct entry *entry_resize(struct entry *entry, size_t bytes, int with_inline) {
    if (memory_good_size(bytes) != memory_usable(entry)) entry = memory_realloc(entry, bytes);
    entry->flags = (uint8_t)((entry->flags & ~ENTRY_INLINE) | (with_inline ? ENTRY_INLINE : 0u));
    return entry;
}

struct entry *entry_relayout(struct entry *entry, int with_expiry, int with_ref, int with_inline,
                             uint32_t inline_bytes) {
    struct bytes key = entry_key(entry);
    int had_expiry = (entry->flags & ENTRY_EXPIRY) != 0;
    int had_ref = (entry->flags & ENTRY_REF) != 0;
    size_t wanted_inline = with_inline ? inline_bytes : 0;
    if (!had_expiry == !with_expiry && !had_ref == !with_ref)
        return entry_resize(entry, entry_bytes(key.size, with_expiry, with_ref, wanted_inline), with_inline);

    struct entry *fresh = entry_allocate(key.size, with_expiry, with_ref, with_inline, wanted_inline);
    uint8_t kept = entry->flags & (uint8_t) ~(ENTRY_EXPIRY | ENTRY_REF | ENTRY_INLINE);
    fresh->flags |= kept;
    fresh->type_encoding = entry->type_encoding;
    fresh->clock = entry->clock;
    fresh->size = entry->size;
    if (with_expiry) entry_store_expiry(fresh, entry_expiry(entry));
    if (with_ref) entry_store_ref(fresh, entry_ref(entry));
    entry_store_key(fresh, key);
    if (with_inline) {
        size_t used = entry_inline_bytes(entry);
        if (used > inline_bytes) used = inline_bytes;
        if (used > 0) memcpy(entry_inline(fresh), entry_inline(entry), used);
    }
    memory_free(entry);
    return fresh;
}
