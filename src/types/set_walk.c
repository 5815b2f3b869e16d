/* SPDX-License-Identifier: BSD-3-Clause */
/* Sets as a whole: walking, scanning, checking; and the table of operations of the type. Invariants in set.h.
 */
#include "base/assert.h"
#include "types/intset_page.h"
#include "types/set_internal.h"

/* --- walking --- */

struct each_run {
    int (*receive)(struct bytes member, void *ctx);
    void *ctx;
};

static int set_each_integer(struct bytes payload, void *ctx) {
    const struct each_run *run = ctx;
    struct intset_view view;
    int error = intset_page_open(payload, &view);
    for (uint32_t i = 0; error == 0 && i < view.count; i++) {
        char digits[NUMBER_INT_TEXT_MAX];
        unsigned size = number_format_int(intset_page_at(&view, i), digits);
        error = run->receive(bytes_of(digits, size), run->ctx);
    }
    return error;
}

static int set_each_packed(struct bytes payload, void *ctx) {
    const struct each_run *run = ctx;
    struct packed_cursor cursor;
    struct packed_entry entry;
    int result = packed_page_begin(payload, &cursor);
    if (result != 0) return result;
    while ((result = packed_page_next(&cursor, &entry)) == 1) {
        int stop = run->receive(entry.field, run->ctx);
        if (stop != 0) return stop;
    }
    return result;
}

int set_each(struct entry *entry, int (*receive)(struct bytes member, void *ctx), void *ctx) {
    int error = set_touch_all(entry);
    if (error != 0) return error;
    struct each_run run = {.receive = receive, .ctx = ctx};
    return packed_collection_each_page(entry, set__is_integers(entry) ? set_each_integer : set_each_packed,
                                       &run);
}

struct scan_run {
    void (*receive)(struct bytes member, void *ctx);
    void *ctx;
};

static int set_scan_receive(struct bytes member, void *ctx) {
    const struct scan_run *run = ctx;
    run->receive(member, run->ctx);
    return 0;
}

int set_scan(struct entry *entry, uint64_t cursor, uint64_t count,
             void (*receive)(struct bytes member, void *ctx), void *ctx, uint64_t *cursor_out) {
    struct scan_run run = {.receive = receive, .ctx = ctx};
    struct each_run each = {.receive = set_scan_receive, .ctx = &run};
    return packed_collection_scan(entry, cursor, count,
                                  set__is_integers(entry) ? set_each_integer : set_each_packed, &each,
                                  cursor_out);
}

/* --- operations of the type --- */

struct walk_run {
    int (*receive)(const struct type_element *element, void *ctx);
    void *ctx;
};

static int set_walk_receive(struct bytes member, void *ctx) {
    const struct walk_run *run = ctx;
    struct type_element element = {.name = member, .expiry_ms = -1};
    return run->receive(&element, run->ctx);
}

static int set_walk(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                    void *ctx) {
    struct walk_run run = {.receive = receive, .ctx = ctx};
    return set_each(entry, set_walk_receive, &run);
}

static void set_check(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    struct intset_view view;
    if (!set__is_integers(entry)) {
        packed_collection_check(entry, PACKED_NO_VALUES);
    } else if (ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM) {
        const struct page *page = page_ref_dram(ref);
        struct bytes payload = bytes_of(page->data, page->bytes);
        FIRN_ASSERT(page->refs > 0 && intset_page_check(payload) == 0 &&
                    intset_page_open(payload, &view) == 0);
        FIRN_ASSERT(view.count > 0 && view.count == entry->size);
    }
}

const struct type_ops type_set_ops = {
    .name = "set",
    .free_value = packed_collection_free_value,
    .reap = packed_collection_reap,
    .copy_value = packed_collection_copy_value,
    .walk = set_walk,
    .memory = packed_collection_memory,
    .free_effort = packed_collection_free_effort,
    .encode = set__encode,
    .decode = set__decode,
    .victims = packed_collection_victims,
    .locate = packed_collection_locate,
    .check = set_check,
};
