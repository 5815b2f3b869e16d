/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets as a whole: walking, scanning, copying, freeing, victims, checking; and the table of operations of the
 * type. Invariants in set.h.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "page/fault.h"
#include "types/intset_page.h"
#include "types/set_internal.h"

#define EMPTY_RANGES_MAX 1024u /* that one search for victims goes over */

/* --- walking --- */

int set_touch_all(struct entry *entry) {
    struct set_object *object = set__object(entry);
    if (object == NULL) return set__touch_ref(entry_ref(entry));
    const struct fault_set *set = fault_current();
    if (object->head.pages_dram == object->head.pages || set == NULL || set->mode == FAULT_SYNC) return 0;
    struct directory_range range;
    unsigned missing = 0;
    page_directory_find(&object->directory, 0, &range);
    do {
        if (*range.ref != 0 && !page_is_ready(*range.ref)) missing++;
    } while (missing <= FAULT_TOUCH_MAX && page_directory_next(&object->directory, &range));
    if (missing == 0) return 0;
    if (missing > FAULT_TOUCH_MAX) { /* more than one command should keep: page by page while walking */
        fault_must_finish();
        return 0;
    }
    int result = 0;
    page_directory_find(&object->directory, 0, &range);
    do {
        int error = set__touch_ref(*range.ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    } while (set->count < FAULT_SET_MAX && page_directory_next(&object->directory, &range));
    return result; /* a full set: the run after this one asks for the rest */
}

struct each_run {
    int (*receive)(struct bytes member, void *ctx);
    void *ctx;
};

static int set_each_integer(struct bytes payload, const struct each_run *run) {
    struct intset_view view;
    int error = intset_page_open(payload, &view);
    for (uint32_t i = 0; error == 0 && i < view.count; i++) {
        char digits[NUMBER_INT_TEXT_MAX];
        unsigned size = number_format_int(intset_page_at(&view, i), digits);
        error = run->receive(bytes_of(digits, size), run->ctx);
    }
    return error;
}

static int set_each_packed(struct bytes payload, const struct each_run *run) {
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

/* The members of the one page of a small set. */
static int set_each_small(struct entry *entry, const struct each_run *run) {
    struct set__slot slot;
    struct bytes payload;
    set__open(entry, 0, &slot);
    int error = set__read(&slot, 1, &payload);
    set__close(&slot);
    if (error != 0 || payload.size == 0) return error;
    return set__is_integers(entry) ? set_each_integer(payload, run) : set_each_packed(payload, run);
}

int set_each(struct entry *entry, int (*receive)(struct bytes member, void *ctx), void *ctx) {
    int error = set_touch_all(entry);
    if (error != 0) return error;
    struct each_run run = {.receive = receive, .ctx = ctx};
    struct set_object *object = set__object(entry);
    if (object == NULL) return set_each_small(entry, &run);
    int promote = fault_current() != NULL; /* without a set it is no client that reads: a snapshot */
    struct directory_range range;
    page_directory_find(&object->directory, 0, &range);
    do {
        struct set__slot slot;
        struct bytes payload;
        if (*range.ref == 0) continue;
        set__open_range(entry, &range, &slot);
        error = set__read(&slot, promote, &payload);
        set__close(&slot);
        if (error == 0) error = set_each_packed(payload, &run);
        if (error != 0) return error;
    } while (page_directory_next(&object->directory, &range));
    return 0;
}

/* --- scanning --- */

struct scan_run {
    void (*receive)(struct bytes member, void *ctx);
    void *ctx;
    uint64_t received;
};

static int set_scan_receive(struct bytes member, void *ctx) {
    struct scan_run *run = ctx;
    run->receive(member, run->ctx);
    run->received++;
    return 0;
}

/* Ask for the pages that ${count} members from ${cursor} on will probably need. */
static int set_scan_touch(const struct set_object *object, uint32_t size, uint64_t cursor, uint64_t count) {
    uint64_t per_page = object->head.pages > 0 ? size / object->head.pages + 1 : 1;
    uint64_t pages = count / per_page + 1;
    if (pages > FAULT_SET_MAX) pages = FAULT_SET_MAX;
    struct directory_range range;
    int result = 0;
    page_directory_find(&object->directory, cursor, &range);
    do {
        if (*range.ref == 0) continue;
        int error = set__touch_ref(*range.ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        pages--;
    } while (pages > 0 && page_directory_next(&object->directory, &range));
    return result;
}

int set_scan(struct entry *entry, uint64_t cursor, uint64_t count,
             void (*receive)(struct bytes member, void *ctx), void *ctx, uint64_t *cursor_out) {
    struct set_object *object = set__object(entry);
    struct scan_run run = {.receive = receive, .ctx = ctx};
    struct each_run each = {.receive = set_scan_receive, .ctx = &run};
    *cursor_out = 0;
    if (object == NULL) return set_each_small(entry, &each);
    int error = set_scan_touch(object, entry->size, cursor, count);
    if (error != 0) return error;
    struct directory_range range;
    unsigned pages = 0;
    page_directory_find(&object->directory, cursor, &range);
    do {
        struct set__slot slot;
        struct bytes payload;
        if (run.received >= count || pages == FAULT_SET_MAX ||
            (pages > 0 && *range.ref != 0 && !page_is_ready(*range.ref))) {
            *cursor_out = range.start;
            return 0;
        }
        if (*range.ref == 0) continue;
        set__open_range(entry, &range, &slot);
        error = set__read(&slot, 1, &payload);
        set__close(&slot);
        if (error == 0) error = set_each_packed(payload, &each);
        if (error != 0) return error;
        pages++;
    } while (page_directory_next(&object->directory, &range));
    return 0;
}

/* --- freeing and copying --- */

static void set_free_value(struct entry *entry) {
    struct set_object *object = set__object(entry);
    uint64_t ref = entry_ref(entry);
    entry_store_ref(entry, 0);
    if (object != NULL) {
        type_reap_later(&object->head);
    } else {
        page_release(ref);
    }
}

static void set_release_page(uint64_t ref, void *ctx) {
    struct object *object = ctx;
    int is_dram = page_ref_tag(ref) == PAGE_TAG_DRAM;
    object_account(object, is_dram ? -(int64_t)page_ref_dram(ref)->bytes : 0, -1, -is_dram);
    page_release(ref);
}

static int set_reap(struct object *head, unsigned pages) {
    struct set_object *object = (struct set_object *)head;
    if (page_directory_reap(&object->directory, pages, set_release_page, head)) return 1;
    FIRN_ASSERT(head->pages == 0 && head->pages_dram == 0 && head->dram_bytes == 0);
    object_unregister(head);
    memory_free(object);
    return 0;
}

/* Another reference to the same content: the DRAM page itself, else a copy. */
static int set_share_page(uint64_t ref, struct page **page_out) {
    if (page_ref_tag(ref) == PAGE_TAG_DRAM) {
        *page_out = page_ref_dram(ref);
        page_retain(*page_out);
        return 0;
    }
    struct bytes payload;
    int error = page_peek(ref, &payload, NULL);
    if (error != 0) return set__error(error);
    struct page *page = page_try_create(payload.size);
    if (page == NULL) return FIRN_ENOMEM;
    memcpy(page->data, payload.data, payload.size);
    page->bytes = (uint32_t)payload.size;
    *page_out = page;
    return 0;
}

/* A large copy of a large set: the same ranges with shared pages. */
static int set_copy_object(const struct set_object *from, uint64_t *ref_out) {
    struct set_object *object = memory_alloc_zero(sizeof *object);
    page_directory_init(&object->directory, 0);
    object_register(&object->head, TYPE_SET);
    struct directory_range range, target;
    int error = 0;
    page_directory_find(&from->directory, 0, &range);
    do {
        for (;;) {
            page_directory_find(&object->directory, range.start, &target);
            if (target.depth == range.depth) break;
            error = page_directory_split(&object->directory, range.start, 0, 0);
            FIRN_ASSERT(error == 0);
        }
        if (*range.ref == 0) continue;
        struct page *page;
        error = set_share_page(*range.ref, &page);
        if (error != 0) break;
        *target.ref = page_ref_of(page);
        object_account(&object->head, page->bytes, 1, 1);
    } while (page_directory_next(&from->directory, &range));
    if (error != 0) {
        while (set_reap(&object->head, 64))
            continue;
        return error;
    }
    *ref_out = page_ref_of_object(object);
    return 0;
}

static int set_copy_value(struct entry *source, struct entry **target_inout) {
    int error = set_touch_all(source);
    if (error != 0) return error;
    const struct set_object *object = set__object(source);
    uint64_t ref = 0;
    if (object != NULL) {
        error = set_copy_object(object, &ref);
    } else if (entry_ref(source) != 0) {
        struct page *page;
        error = set_share_page(entry_ref(source), &page);
        if (error == 0) ref = page_ref_of(page);
    }
    if (error != 0) return error;
    struct entry *target = *target_inout;
    FIRN_ASSERT(entry_type(target) == TYPE_SET && target->flags & ENTRY_REF);
    entry_store_ref(target, ref);
    target->size = source->size;
    entry_set_encoding(target, entry_encoding(source));
    return 0;
}

/* --- other operations of the type --- */

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

static size_t set_memory(const struct entry *entry, size_t samples) {
    const struct set_object *object = set__object(entry);
    uint64_t ref = entry_ref(entry);
    if (object == NULL)
        return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_memory(page_ref_dram(ref)) : 0;
    size_t bytes = memory_usable(object) + object->directory.bytes, pages_bytes = 0, seen = 0;
    struct directory_range range;
    page_directory_find(&object->directory, 0, &range);
    do {
        if (*range.ref == 0 || page_ref_tag(*range.ref) != PAGE_TAG_DRAM) continue;
        pages_bytes += page_memory(page_ref_dram(*range.ref));
        if (++seen == samples) break;
    } while (page_directory_next(&object->directory, &range));
    return seen > 0 ? bytes + pages_bytes * object->head.pages_dram / seen : bytes;
}

static size_t set_free_effort(const struct entry *entry) {
    return entry_encoding(entry) == ENCODING_HASHTABLE ? entry->size : 1;
}

static unsigned set_victims(struct object *head, int from, unsigned scan, struct type_victim *victims_out,
                            unsigned limit) {
    struct set_object *object = (struct set_object *)head;
    struct directory_range range;
    unsigned found = 0;
    uint64_t candidates = from == PAGE_TAG_DRAM ? head->pages_dram : head->pages - head->pages_dram;
    if (scan > head->pages) scan = head->pages;
    for (unsigned empty = 0; scan > 0 && found < limit && candidates > 0 && empty < EMPTY_RANGES_MAX;) {
        page_directory_find(&object->directory, head->sweep, &range);
        head->sweep = page_directory_end(&range);
        uint64_t ref = *range.ref;
        if (ref == 0) {
            empty++;
            continue;
        }
        scan--;
        if ((int)page_ref_tag(ref) != from) continue;
        int is_dram = from == PAGE_TAG_DRAM;
        if (is_dram && page_ref_dram(ref)->refs != 1) continue;
        victims_out[found++] = (struct type_victim){
            .ref = ref,
            .locator = page_directory_locator(&range),
            .clock = is_dram ? page_ref_dram(ref)->clock : 0,
        };
    }
    return found;
}

static uint64_t *set_locate(struct object *head, uint64_t locator) {
    return page_directory_locate(&((struct set_object *)head)->directory, locator);
}

/* Members, DRAM bytes and pages of what is in DRAM. */
struct check_sum {
    uint64_t members, bytes, pages, pages_dram;
};

static void set_check_packed(struct bytes payload, const struct directory_range *range,
                             struct check_sum *sum) {
    struct packed_cursor cursor;
    struct packed_entry entry, again;
    FIRN_ASSERT(packed_page_check(payload) == 0 && packed_page_begin(payload, &cursor) == 0);
    FIRN_ASSERT(payload.size <= SET_SMALL_PAGE_BYTES_MAX || packed_page_count(payload) == 1);
    FIRN_ASSERT(cursor.flags == PACKED_NO_VALUES && cursor.count > 0);
    while (packed_page_next(&cursor, &entry) == 1) {
        uint64_t hash = hash_key(entry.field);
        FIRN_ASSERT(range == NULL || range->depth == 0 || (hash ^ range->start) >> (64 - range->depth) == 0);
        FIRN_ASSERT(packed_page_find(payload, hash, entry.field, &again) == 0 && again.index == entry.index);
    }
    sum->members += cursor.count;
}

static void set_check_page(uint64_t ref, int is_integers, const struct directory_range *range,
                           struct check_sum *sum) {
    sum->pages++;
    if (page_ref_tag(ref) != PAGE_TAG_DRAM) return;
    const struct page *page = page_ref_dram(ref);
    struct bytes payload = bytes_of(page->data, page->bytes);
    FIRN_ASSERT(page->refs > 0);
    if (is_integers) {
        struct intset_view view;
        FIRN_ASSERT(intset_page_check(payload) == 0 && intset_page_open(payload, &view) == 0 &&
                    view.count > 0);
        sum->members += view.count;
    } else {
        set_check_packed(payload, range, sum);
    }
    sum->bytes += page->bytes;
    sum->pages_dram++;
}

static void set_check(const struct entry *entry) {
    const struct set_object *object = set__object(entry);
    struct check_sum sum = {0};
    if (object == NULL) {
        if (entry_ref(entry) != 0) set_check_page(entry_ref(entry), set__is_integers(entry), NULL, &sum);
        FIRN_ASSERT(sum.pages != sum.pages_dram || sum.members == entry->size);
        return;
    }
    struct directory_range range;
    FIRN_ASSERT(object->head.magic == OBJECT_MAGIC && object->head.type == TYPE_SET);
    FIRN_ASSERT(page_directory_check(&object->directory) == object->head.pages);
    page_directory_find(&object->directory, 0, &range);
    do {
        if (*range.ref != 0) set_check_page(*range.ref, 0, &range, &sum);
    } while (page_directory_next(&object->directory, &range));
    FIRN_ASSERT(sum.pages == object->head.pages && sum.pages_dram == object->head.pages_dram);
    FIRN_ASSERT(sum.bytes == object->head.dram_bytes && sum.members <= entry->size);
    FIRN_ASSERT(sum.pages != sum.pages_dram || sum.members == entry->size);
}

const struct type_ops type_set_ops = {
    .name = "set",
    .free_value = set_free_value,
    .reap = set_reap,
    .copy_value = set_copy_value,
    .walk = set_walk,
    .memory = set_memory,
    .free_effort = set_free_effort,
    .encode = set__encode,
    .decode = set__decode,
    .victims = set_victims,
    .locate = set_locate,
    .check = set_check,
};
