/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes: looking up, changing, deadlines; layout and invariants in hash.h. Where fields are, and how pages
 * are split and united, is packed_collection.h's.
 */
#include "types/hash.h"

#include "base/assert.h"
#include "types/hash_internal.h"

struct entry *hash_create(struct bytes key) {
    return entry_create(key, TYPE_HASH, ENCODING_LISTPACK, 1, 0, 0);
}

/* --- one field --- */

int hash_get(struct entry *entry, struct bytes field, struct bytes *value_out, int64_t *expiry_ms_out) {
    struct packed_slot slot;
    struct packed_entry found;
    packed_slot_open(entry, hash_key(field), &slot);
    int error = packed_slot_find(&slot, field, 1, &found);
    if (error != 0) return error;
    *value_out = found.value;
    if (expiry_ms_out != NULL) *expiry_ms_out = found.expiry_ms;
    return 0;
}

int hash_touch(struct entry *entry, struct bytes field) {
    return packed_collection_touch(entry, field);
}

int hash_touch_all(struct entry *entry) {
    return packed_collection_touch_all(entry);
}

static void hash_note_encoding(struct entry *entry, size_t size, size_t bytes_max) {
    if (entry_encoding(entry) == ENCODING_HASHTABLE) return;
    if (size > type_limits.hash_max_listpack_entries || bytes_max > type_limits.hash_max_listpack_value) {
        entry_set_encoding(entry, ENCODING_HASHTABLE);
    }
}

void hash_expect(struct entry *entry, size_t fields, size_t bytes_max) {
    if (fields > type_limits.hash_max_listpack_entries) entry_set_encoding(entry, ENCODING_HASHTABLE);
    hash_note_encoding(entry, entry->size, bytes_max);
}

void hash_expect_expiry(struct entry *entry) {
    if (entry_encoding(entry) == ENCODING_LISTPACK) entry_set_encoding(entry, ENCODING_LISTPACKEX);
}

int hash_set(struct entry *entry, struct bytes field, struct bytes value, unsigned flags, int *created_out) {
    if (field.size > PACKED_BYTES_MAX || value.size > PACKED_BYTES_MAX) return FIRN_ETOOBIG;
    size_t bytes_max = field.size > value.size ? field.size : value.size;
    struct packed_slot slot;
    struct packed_plan plan;
    packed_slot_open(entry, hash_key(field), &slot);
    int error = packed_slot_plan(&slot, field, value.size, 0, (flags & HASH_KEEP_EXPIRY) != 0, &plan);
    if (error != 0) return error;
    if (!(flags & HASH_AS_LISTPACK))
        hash_note_encoding(entry, entry->size + (plan.is_new ? 1u : 0u), bytes_max);
    error = packed_slot_put(&slot, &plan, field, value);
    if (error != 0) return error;
    if (plan.is_new) entry->size++;
    if (created_out != NULL) *created_out = plan.is_new;
    return 0;
}

/* Read the page of ${field}, which is about to be changed, and find it. */
static int hash_find_to_change(struct packed_slot *slot, struct bytes field, struct bytes *payload_out,
                               struct packed_entry *found_out) {
    int error = packed_slot_read_to_change(slot, payload_out);
    if (error != 0) return error;
    return payload_out->size > 0 ? packed_page_find(*payload_out, slot->hash, field, found_out)
                                 : FIRN_ENOTFOUND;
}

int hash_delete(struct entry *entry, struct bytes field) {
    struct packed_slot slot;
    struct bytes payload;
    struct packed_entry found;
    packed_slot_open(entry, hash_key(field), &slot);
    int error = hash_find_to_change(&slot, field, &payload, &found);
    if (error == 0) error = packed_slot_remove(&slot, payload, &found, NULL, NULL);
    if (error == 0) entry->size--;
    return error;
}

int hash_set_expiry(struct entry *entry, struct bytes field, int64_t expiry_ms) {
    FIRN_ASSERT(expiry_ms >= -1);
    struct packed_slot slot;
    struct bytes payload;
    struct packed_entry found;
    packed_slot_open(entry, hash_key(field), &slot);
    for (;;) {
        int error = hash_find_to_change(&slot, field, &payload, &found);
        if (error != 0) return error;
        if (expiry_ms == found.expiry_ms) return 0;
        if (packed_slot_fits(&slot, payload.size + 16, packed_page_count(payload))) break;
        error = packed_slot_make_room(&slot, payload);
        if (error == FIRN_ETOOBIG) break;
        if (error != 0) return error;
    }
    if (payload.size + 16 > PAGE_BYTES_MAX) return FIRN_ETOOBIG;
    struct page *page;
    int error = page_write(slot.ref, payload.size + 16, &page);
    if (error == 0) packed_page_set_expiry(page, &found, expiry_ms);
    packed_slot_close(&slot);
    return packed_error(error);
}

/* --- deadlines --- */

int64_t hash_deadline(const struct entry *entry) {
    const struct packed_collection *collection = packed_collection_of(entry);
    if (collection != NULL) return page_directory_deadline(&collection->directory);
    uint64_t ref = entry_ref(entry);
    struct bytes payload;
    if (ref == 0 || !page_is_ready(ref) || page_peek(ref, &payload, NULL) != 0) return -1;
    return packed_page_deadline(payload);
}

static void (*expired_hook)(struct db *db, struct entry *entry, struct bytes field);

void hash_set_expired_hook(void (*expired)(struct db *db, struct entry *entry, struct bytes field)) {
    expired_hook = expired;
}

struct expire_run {
    struct db *db;
    struct entry *entry;
};

static void hash_on_expired(struct bytes field, void *ctx) {
    const struct expire_run *run = ctx;
    if (expired_hook != NULL) expired_hook(run->db, run->entry, field);
}

/* The due fields of one page; *expired_inout grows. */
static int hash_expire_page(struct db *db, struct packed_slot *slot, int64_t now_ms, unsigned limit,
                            unsigned *expired_inout) {
    struct bytes payload;
    struct page *page;
    int error = packed_slot_read_to_change(slot, &payload);
    if (error != 0) return error;
    if (payload.size == 0 || slot->before_deadline < 0 || slot->before_deadline > now_ms) return 0;
    error = page_write(slot->ref, payload.size, &page);
    if (error != 0) return packed_error(error);
    struct expire_run run = {.db = db, .entry = slot->entry};
    unsigned gone = packed_page_expire(page, now_ms, limit, hash_on_expired, &run);
    slot->entry->size -= gone;
    *expired_inout += gone;
    if (packed_page_count(bytes_of(page->data, page->bytes)) == 0) packed_slot_drop(slot);
    packed_slot_close_smaller(slot);
    return 0;
}

int hash_expire_fields(struct db *db, struct entry *entry, int64_t now_ms, unsigned limit,
                       unsigned *expired_out) {
    struct packed_collection *collection = packed_collection_of(entry);
    struct packed_slot slot;
    *expired_out = 0;
    if (collection == NULL) {
        packed_slot_open(entry, 0, &slot);
        int error = hash_expire_page(db, &slot, now_ms, limit, expired_out);
        if (error != 0) return error;
    } else {
        struct directory_range range;
        uint64_t from = 0;
        int missing = 0;
        while (*expired_out < limit && page_directory_due(&collection->directory, from, now_ms, &range)) {
            from = page_directory_end(&range);
            packed_slot_open_range(entry, collection, &range, &slot);
            int error = hash_expire_page(db, &slot, now_ms, limit - *expired_out, expired_out);
            if (error != 0 && error != FIRN_EFAULT) return error;
            missing |= error;
            if (from == 0) break;
        }
        if (missing != 0 && *expired_out < limit) return missing;
    }
    int64_t deadline = hash_deadline(entry);
    return deadline >= 0 && deadline <= now_ms;
}
