/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes as a whole: walking, scanning, random fields; and the table of operations of the type. Invariants in
 * hash.h.
 */
#include "types/hash_internal.h"

/* --- walking --- */

struct each_run {
    int (*receive)(const struct hash_field *field, void *ctx);
    void *ctx;
};

static inline struct hash_field hash_field_of(const struct packed_entry *entry) {
    return (struct hash_field){.field = entry->field, .value = entry->value, .expiry_ms = entry->expiry_ms};
}

static int hash_each_in_page(struct bytes payload, void *ctx) {
    const struct each_run *run = ctx;
    struct packed_cursor cursor;
    struct packed_entry entry;
    int result = packed_page_begin(payload, &cursor);
    if (result != 0) return result;
    while ((result = packed_page_next(&cursor, &entry)) == 1) {
        struct hash_field field = hash_field_of(&entry);
        int stop = run->receive(&field, run->ctx);
        if (stop != 0) return stop;
    }
    return result;
}

int hash_each(struct entry *entry, int (*receive)(const struct hash_field *field, void *ctx), void *ctx) {
    int error = hash_touch_all(entry);
    if (error != 0) return error;
    struct each_run run = {.receive = receive, .ctx = ctx};
    return packed_collection_each_page(entry, hash_each_in_page, &run);
}

struct scan_run {
    void (*receive)(const struct hash_field *field, void *ctx);
    void *ctx;
};

static int hash_scan_receive(const struct hash_field *field, void *ctx) {
    const struct scan_run *run = ctx;
    run->receive(field, run->ctx);
    return 0;
}

int hash_scan(struct entry *entry, uint64_t cursor, uint64_t count,
              void (*receive)(const struct hash_field *field, void *ctx), void *ctx, uint64_t *cursor_out) {
    struct scan_run run = {.receive = receive, .ctx = ctx};
    struct each_run each = {.receive = hash_scan_receive, .ctx = &run};
    return packed_collection_scan(entry, cursor, count, hash_each_in_page, &each, cursor_out);
}

int hash_random(struct entry *entry, uint64_t *state_inout, struct hash_field *field_out) {
    struct packed_slot slot;
    struct bytes payload;
    struct packed_entry found;
    if (entry->size == 0) return FIRN_ENOTFOUND;
    uint64_t which = packed_slot_open_drawn(entry, state_inout, &slot);
    if (field_out == NULL) return packed_touch_ref(*slot.ref);
    int error = packed_slot_read(&slot, 1, &payload);
    packed_slot_close(&slot);
    if (error != 0) return error;
    unsigned count = packed_page_count(payload);
    if (count == 0) return FIRN_ECORRUPT;
    error = packed_page_at(payload, (unsigned)(which * count >> 32), &found);
    if (error == 0) *field_out = hash_field_of(&found);
    return packed_error(error);
}

/* --- operations of the type --- */

struct walk_run {
    int (*receive)(const struct type_element *element, void *ctx);
    void *ctx;
};

static int hash_walk_receive(const struct hash_field *field, void *ctx) {
    const struct walk_run *run = ctx;
    struct type_element element = {
        .name = field->field, .value = field->value, .expiry_ms = field->expiry_ms};
    return run->receive(&element, run->ctx);
}

static int hash_walk(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                     void *ctx) {
    struct walk_run run = {.receive = receive, .ctx = ctx};
    return hash_each(entry, hash_walk_receive, &run);
}

static void hash_check(const struct entry *entry) {
    packed_collection_check(entry, 0);
}

const struct type_ops type_hash_ops = {
    .name = "hash",
    .free_value = packed_collection_free_value,
    .reap = packed_collection_reap,
    .copy_value = packed_collection_copy_value,
    .walk = hash_walk,
    .memory = packed_collection_memory,
    .free_effort = packed_collection_free_effort,
    .encode = hash__encode,
    .decode = hash__decode,
    .victims = packed_collection_victims,
    .locate = packed_collection_locate,
    .check = hash_check,
};
