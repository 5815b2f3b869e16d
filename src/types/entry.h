/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct entry: a key, its metadata and, where it is small, its value, in one allocation.
 *
 *   OFFSET SIZE FIELD
 *        0    1 type (low 4 bits, enum type_id), reported encoding (high 4 bits, enum encoding)
 *        1    1 flags (ENTRY_*)
 *        2    2 key length; 0xffff: four more bytes of length stand right before the key
 *        4    4 clock: Redis's 24-bit LRU/LFU field in the low bits; the high 8 bits belong to the keyspace
 *        8    4 size: string length, or number of elements of a collection
 *       12    8 expiry, ms since the epoch        only with ENTRY_EXPIRY
 *        .    8 page reference                    only with ENTRY_REF
 *        .    4 long key length                   only when the key is 65535 bytes or longer
 *        .    n key
 *        .    m inline value (size bytes; 8 for an integer)   only with ENTRY_INLINE
 *
 * E1 ENTRY_INLINE without ENTRY_REF: the value is here. ENTRY_REF without ENTRY_INLINE: the value is at ref.
 *    Both: the value is here and a clean copy of it is below, at ref (a PMEM or NVME reference). A collection
 *    always has ENTRY_REF and never ENTRY_INLINE.
 * E2 entry_set_* that change the layout return a new address; the owner table must be told (db does; nobody
 *    else calls them).
 * E3 an integer string (encoding INT) is always inline: 8 bytes little-endian; size is its length in decimal
 *    digits.
 *
 * Executor only. Nothing here faults or blocks.
 */
#ifndef FIRN_TYPES_ENTRY_H
#define FIRN_TYPES_ENTRY_H

#include <stdint.h>

#include "base/assert.h"
#include "base/bytes.h"

enum type_id {
    TYPE_STRING,
    TYPE_LIST,
    TYPE_SET,
    TYPE_ZSET,
    TYPE_HASH,
    TYPE_MODULE,
    TYPE_STREAM,
    TYPE_HELD,
    TYPE_COUNT
};

/* What OBJECT ENCODING reports; independent of the page layout. Names: encoding_name(). */
enum encoding {
    ENCODING_RAW,
    ENCODING_INT,
    ENCODING_EMBSTR,
    ENCODING_LISTPACK,
    ENCODING_LISTPACKEX,
    ENCODING_HASHTABLE,
    ENCODING_INTSET,
    ENCODING_QUICKLIST,
    ENCODING_SKIPLIST,
    ENCODING_STREAM,
    ENCODING_COUNT
};

#define ENTRY_EXPIRY 0x01u
#define ENTRY_REF    0x02u
#define ENTRY_INLINE 0x04u
#define ENTRY_PINNED 0x08u /* TIER PIN: never demoted */
#define ENTRY_MOVING                                                                                         \
    0x10u /* a demotion of this entry is in flight: changing, moving or freeing it must tier_forget it */
#define ENTRY_RENAMED 0x40u /* the record below may name another key: renamed, or a copy */
#define ENTRY_BUNDLED                                                                                        \
    0x80u /* a copy of all of it is in a bundle on NVMe (keyspace, db_bundle.c): it may leave DRAM           \
             unwritten; with ENTRY_MOVING: that is being written */
#define ENTRY_FIELD_TTL 0x20u /* hash with fields that expire (is in the field expiry index) */

struct entry {
    uint8_t type_encoding;
    uint8_t flags;
    uint16_t key_bytes;
    uint32_t clock;
    uint32_t size;
    uint8_t tail[];
} __attribute__((packed, aligned(4)));

static inline enum type_id entry_type(const struct entry *entry) {
    return (enum type_id)(entry->type_encoding & 15u);
}
static inline enum encoding entry_encoding(const struct entry *entry) {
    return (enum encoding)(entry->type_encoding >> 4);
}
static inline void entry_set_encoding(struct entry *entry, enum encoding encoding) {
    entry->type_encoding = (uint8_t)((entry->type_encoding & 15u) | (unsigned)encoding << 4);
}

/* The name OBJECT ENCODING prints, and the name TYPE prints. */
static inline const char *encoding_name(enum encoding encoding);
const char *type_name(enum type_id type);

/* A new entry for ${key}: with inline room for ${inline_bytes} (uninitialised; ENTRY_INLINE set if
 * ${with_inline}) and a zero ref word if
 * ${with_ref}. size = 0, clock = 0, no expiry. Never NULL for keys and inline sizes within limits.h. */
struct entry *entry_create(struct bytes key, enum type_id type, enum encoding encoding, int with_ref,
                           int with_inline, uint32_t inline_bytes);
/* The same with the parts as flags: ENTRY_EXPIRY (-1 until stored), ENTRY_REF, ENTRY_INLINE. */
struct entry *entry_create_parts(struct bytes key, enum type_id type, enum encoding encoding, unsigned parts,
                                 uint32_t inline_bytes);
/* Free the allocation only (not what ref refers to). */
void entry_free(struct entry *entry);
/* Bytes taken from the allocator by the entry itself. */
size_t entry_memory(const struct entry *entry);
static inline struct bytes entry_key(const struct entry *entry);

/* Expiry in ms since the epoch, or -1. */
static inline int64_t entry_expiry(const struct entry *entry);
/* Overwrite the expiry word; only with ENTRY_EXPIRY. For the keyspace (indexes follow there). */
void entry_store_expiry(struct entry *entry, int64_t expiry_ms);
/* Page reference, or 0 without ENTRY_REF. */
static inline uint64_t entry_ref(const struct entry *entry);
/* Address of the unaligned ref word as bytes; only with ENTRY_REF. Use entry_ref / entry_store_ref for
 * access. */
void entry_store_ref(struct entry *entry, uint64_t ref);
/* Inline value bytes (8 for INT); only with ENTRY_INLINE. */
static inline uint8_t *entry_inline(const struct entry *entry);
/* Inline bytes in use (8 for INT, else size), 0 without ENTRY_INLINE. */
static inline uint32_t entry_inline_bytes(const struct entry *entry);
/* Whether ${inline_bytes} take exactly the allocation there is: then a relayout would change nothing. */
int entry_fits(const struct entry *entry, uint32_t inline_bytes);
/* Inline bytes that fit without a new allocation. */
uint32_t entry_inline_capacity(const struct entry *entry);

/*
 * The same entry with another layout: parts that are in both are kept (key, clock, flags, encoding, size;
 * expiry, ref, inline bytes where both have them). ${entry} is consumed; the result may be at the same
 * address. (E2)
 */
struct entry *entry_relayout(struct entry *entry, int with_expiry, int with_ref, int with_inline,
                             uint32_t inline_bytes);

/* --- offsets follow from flags and key length alone --- */
#define ENTRY_KEY_BYTES_LONG 0xffffu

#define ENTRY_INT_BYTES 8u

static inline size_t entry_ref_offset(const struct entry *entry) {
    return entry->flags & ENTRY_EXPIRY ? 8u : 0u;
}

/* Where the long key length or the key begins, in the tail. */
static inline size_t entry_key_offset(const struct entry *entry) {
    return entry_ref_offset(entry) + (entry->flags & ENTRY_REF ? 8u : 0u);
}

static inline struct bytes entry_key(const struct entry *entry) {
    const uint8_t *at = entry->tail + entry_key_offset(entry);
    if (__builtin_expect(entry->key_bytes != ENTRY_KEY_BYTES_LONG, 1)) return bytes_of(at, entry->key_bytes);
    return bytes_of(at + 4, bytes_load32(at));
}

static inline int64_t entry_expiry(const struct entry *entry) {
    return entry->flags & ENTRY_EXPIRY ? (int64_t)bytes_load64(entry->tail) : -1;
}

static inline uint64_t entry_ref(const struct entry *entry) {
    return entry->flags & ENTRY_REF ? bytes_load64(entry->tail + entry_ref_offset(entry)) : 0;
}

static inline uint8_t *entry_inline(const struct entry *entry) {
    struct bytes key = entry_key(entry);
    FIRN_ASSERT(entry->flags & ENTRY_INLINE);
    return (uint8_t *)(uintptr_t)(key.data + key.size);
}

static inline uint32_t entry_inline_bytes(const struct entry *entry) {
    if (!(entry->flags & ENTRY_INLINE)) return 0;
    return entry_encoding(entry) == ENCODING_INT ? ENTRY_INT_BYTES : entry->size;
}

static inline const char *encoding_name(enum encoding encoding) {
    static const char *const names[ENCODING_COUNT] = {
        [ENCODING_RAW] = "raw",
        [ENCODING_INT] = "int",
        [ENCODING_EMBSTR] = "embstr",
        [ENCODING_LISTPACK] = "listpack",
        [ENCODING_LISTPACKEX] = "listpackex",
        [ENCODING_HASHTABLE] = "hashtable",
        [ENCODING_INTSET] = "intset",
        [ENCODING_QUICKLIST] = "quicklist",
        [ENCODING_SKIPLIST] = "skiplist",
        [ENCODING_STREAM] = "stream",
    };
    return (unsigned)encoding < ENCODING_COUNT ? names[encoding] : "unknown";
}

#endif
