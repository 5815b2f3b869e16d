/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packed collections: layout and invariants in packed_collection.h. What is on the way of every command is
 * inline there; here are splitting, uniting, walking and the operations of types.
 *
 * A page that would exceed PACKED_PAGE_SPLIT_BYTES is split until it does not or holds one element only. An
 * element larger than that has a page for itself: it is never copied by a split (a page with one element
 * moves as a whole).
 */
#include "types/packed_collection.h"

#include "base/assert.h"
#include "base/memory.h"
#include "page/fault.h"

#define JOIN_BYTES       (PACKED_PAGE_SPLIT_BYTES / 2) /* neighbours with no more together are united */
#define EMPTY_RANGES_MAX 1024u                         /* that one search for victims goes over */

static inline struct bytes payload_of(const struct page *page) {
    return bytes_of(page->data, page->bytes);
}

/* --- small to large, splitting --- */

void packed_collection_init(struct packed_collection *collection, enum type_id type) {
    page_directory_init(&collection->directory, 0);
    object_register(&collection->head, type);
}

static void slot_reopen(struct packed_slot *slot) {
    slot->ref = page_directory_ref(&slot->collection->directory, slot->hash);
    packed_slot_remember(slot);
}

static void slot_make_large(struct packed_slot *slot) {
    FIRN_ASSERT(slot->collection == NULL && slot->copy == slot->before_ref);
    struct packed_collection *collection = memory_alloc_zero(sizeof *collection);
    page_directory_init(&collection->directory, slot->copy);
    object_register(&collection->head, entry_type(slot->entry));
    object_account(&collection->head, slot->before_bytes, slot->copy != 0,
                   slot->copy != 0 && page_ref_tag(slot->copy) == PAGE_TAG_DRAM);
    if (slot->before_deadline >= 0)
        page_directory_set_deadline(&collection->directory, 0, slot->before_deadline);
    entry_store_ref(slot->entry, page_ref_of_object(collection));
    object_set_pinned(slot->entry);
    slot->collection = collection;
    slot_reopen(slot);
}

static void adopt_page(struct packed_collection *collection, uint64_t hash, const struct page *page,
                       int has_deadlines) {
    if (page != NULL) object_account(&collection->head, page->bytes, 1, 1);
    if (has_deadlines)
        page_directory_set_deadline(&collection->directory, hash,
                                    page != NULL ? packed_page_deadline(payload_of(page)) : -1);
}

/* The one element of ${payload} moves with its page to the half of the range that is its own. */
static int split_by_moving(struct packed_slot *slot, struct bytes payload,
                           const struct directory_range *range) {
    struct page_directory *directory = &slot->collection->directory;
    unsigned bit = 63 - range->depth;
    uint64_t old = *slot->ref;
    struct packed_entry only;
    int error = packed_page_at(payload, 0, &only);
    if (error != 0) return packed_error(error);
    int side = (int)(hash_key(only.field) >> bit & 1u);
    error = page_directory_split(directory, range->start, side ? 0 : old, side ? old : 0);
    if (error == 0 && packed_page_deadline(payload) >= 0)
        page_directory_set_deadline(directory, side ? range->start : range->start | UINT64_C(1) << bit, -1);
    return error;
}

/* Split the slot's range once; ${payload} is its page's content, checked. The slot is opened anew. */
static int slot_split(struct packed_slot *slot, struct bytes payload) {
    struct packed_collection *collection = slot->collection;
    struct directory_range range;
    page_directory_find(&collection->directory, slot->hash, &range);
    if (range.depth == DIRECTORY_DEPTH_MAX) return FIRN_ETOOBIG;
    int error;
    if (packed_page_count(payload) == 1) {
        error = split_by_moving(slot, payload, &range);
        if (error != 0) return error;
    } else {
        struct page *zero, *one;
        unsigned bit = 63 - range.depth;
        uint64_t old = *slot->ref;
        int has_deadlines = packed_page_deadline(payload) >= 0;
        error = packed_page_split(payload, bit, NULL, &zero, &one);
        if (error != 0) return error;
        error =
            page_directory_split(&collection->directory, range.start, page_ref_of(zero), page_ref_of(one));
        FIRN_ASSERT(error == 0);
        object_account(&collection->head, -(int64_t)slot->before_bytes, -1,
                       -(page_ref_tag(old) == PAGE_TAG_DRAM));
        adopt_page(collection, range.start, zero, has_deadlines);
        adopt_page(collection, range.start | UINT64_C(1) << bit, one, has_deadlines);
        page_release(old);
    }
    slot_reopen(slot);
    return 0;
}

/* Split the one page of a collection that has just become large until all its pages fit. On failure what does
 * not fit is left for later changes. */
static int split_all(struct entry *entry) {
    struct packed_collection *collection = packed_collection_of(entry);
    struct directory_range range;
    page_directory_find(&collection->directory, 0, &range);
    for (;;) {
        struct packed_slot slot;
        struct bytes payload;
        packed_slot_open_range(entry, collection, &range, &slot);
        int error = packed_slot_read_to_change(&slot, &payload);
        if (error != 0) return error;
        if (packed_slot_fits(&slot, payload.size, packed_page_count(payload)) ||
            range.depth == DIRECTORY_DEPTH_MAX) {
            if (!page_directory_next(&collection->directory, &range)) return 0;
            continue;
        }
        error = slot_split(&slot, payload);
        if (error != 0) return error;
        page_directory_find(&collection->directory, range.start, &range);
    }
}

int packed_slot_make_room(struct packed_slot *slot, struct bytes payload) {
    if (slot->collection != NULL) return slot_split(slot, payload);
    slot_make_large(slot);
    int error = split_all(slot->entry);
    slot_reopen(slot);
    return error;
}

/* --- taking memory back --- */

/* Unite the range of ${hash} with its neighbour while both are small and in DRAM, or one has no page and the
 * other is not below (PC5). */
static void join_ranges(struct packed_collection *collection, uint64_t hash) {
    struct directory_range range, buddy;
    for (;;) {
        page_directory_find(&collection->directory, hash, &range);
        if (!page_directory_buddy(&collection->directory, &range, &buddy)) return;
        uint64_t a = *range.ref, b = *buddy.ref;
        if (page_ref_is_lower(a) || page_ref_is_lower(b)) return;
        if (a == 0 || b == 0) {
            page_directory_merge(&collection->directory, &range, a | b);
            continue;
        }
        const struct page *left = page_ref_dram(a), *right = page_ref_dram(b);
        struct page *page;
        if (left->bytes + right->bytes > JOIN_BYTES) return;
        if (packed_page_join(payload_of(left), payload_of(right), &page) != 0) return;
        object_account(&collection->head, (int64_t)page->bytes - left->bytes - right->bytes, -1, -1);
        page_directory_merge(&collection->directory, &range, page_ref_of(page));
        page_release(a);
        page_release(b);
    }
}

void packed_slot_drop(struct packed_slot *slot) {
    page_release(*slot->ref);
    *slot->ref = 0;
}

void packed_slot_close_smaller(struct packed_slot *slot) {
    uint64_t ref = *slot->ref;
    const struct page *page = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref) : NULL;
    struct page *smaller;
    if (page != NULL && page->capacity > 128 && page->bytes < page->capacity / 2 &&
        packed_page_join(payload_of(page), bytes_of(NULL, 0), &smaller) == 0) {
        page_release(ref);
        *slot->ref = page_ref_of(smaller);
        page = smaller;
    }
    packed_slot_close(slot);
    if (slot->collection != NULL && (page == NULL || page->bytes < JOIN_BYTES / 2))
        join_ranges(slot->collection, slot->hash);
}

/* --- one element --- */

int packed_slot_plan(struct packed_slot *slot, struct bytes field, size_t value_bytes, unsigned page_flags,
                     int keep_expiry, struct packed_plan *plan) {
    struct bytes payload;
    int error = packed_slot_read_to_change(slot, &payload);
    if (error != 0) return error;
    error = payload.size > 0 ? packed_page_find(payload, slot->hash, field, &plan->found) : FIRN_ENOTFOUND;
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    plan->payload = payload;
    plan->is_new = error == FIRN_ENOTFOUND;
    plan->keep_expiry = keep_expiry;
    plan->expiry_ms = !plan->is_new && keep_expiry ? plan->found.expiry_ms : -1;
    plan->value_bytes = value_bytes;
    plan->page_flags = page_flags;
    plan->count = packed_page_count(payload) + (plan->is_new ? 1u : 0u);
    if (plan->is_new) {
        plan->bytes = packed_page_bytes_with(payload, page_flags, field.size, value_bytes, 0);
    } else if (page_flags & PACKED_NO_VALUES) {
        plan->bytes = payload.size;
    } else {
        plan->bytes = packed_page_bytes_replaced(payload, &plan->found, value_bytes, plan->expiry_ms >= 0);
    }
    return plan->bytes > PAGE_BYTES_MAX || plan->count > PACKED_ENTRIES_MAX ? FIRN_ETOOBIG : 0;
}

int packed_slot_put(struct packed_slot *slot, struct packed_plan *plan, struct bytes field,
                    struct bytes value) {
    int error;
    while (__builtin_expect(!packed_slot_fits(slot, plan->bytes, plan->count), 0)) {
        error = packed_slot_make_room(slot, plan->payload);
        if (error == FIRN_ETOOBIG) break;
        if (error == 0)
            error =
                packed_slot_plan(slot, field, plan->value_bytes, plan->page_flags, plan->keep_expiry, plan);
        if (error != 0) return error;
    }
    struct page *page;
    int fresh = *slot->ref == 0;
    error = page_write(slot->ref, plan->bytes, &page);
    if (error != 0) {
        packed_slot_close(slot);
        return packed_error(error);
    }
    if (fresh) packed_page_init(page, 0, plan->page_flags);
    if (plan->is_new) {
        packed_page_append(page, slot->hash, field, value, -1);
    } else {
        packed_page_replace(page, &plan->found, value, plan->expiry_ms);
    }
    packed_slot_close(slot);
    return 0;
}

int packed_slot_remove(struct packed_slot *slot, struct bytes payload, const struct packed_entry *found,
                       void (*removing)(struct bytes field, void *ctx), void *ctx) {
    if (packed_page_count(payload) == 1) {
        if (removing != NULL) removing(found->field, ctx);
        packed_slot_drop(slot);
    } else {
        struct page *page;
        size_t at = (size_t)(found->field.data - payload.data);
        int error = page_write(slot->ref, payload.size, &page);
        if (error != 0) return packed_error(error);
        if (removing != NULL) removing(bytes_of(page->data + at, found->field.size), ctx);
        packed_page_remove(page, found);
    }
    packed_slot_close_smaller(slot);
    return 0;
}

static uint64_t draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t packed_slot_open_drawn(struct entry *entry, uint64_t *state_inout, struct packed_slot *slot) {
    const struct packed_collection *collection = packed_collection_of(entry);
    FIRN_ASSERT(collection == NULL || collection->head.pages > 0);
    do {
        packed_slot_open(entry, collection != NULL ? draw(state_inout) : 0, slot);
    } while (collection != NULL && *slot->ref == 0);
    return draw(state_inout) >> 32;
}

/* --- touching --- */

int packed_touch_ref(uint64_t ref) {
    if (ref == 0 || page_is_ready(ref)) return 0;
    struct bytes payload;
    return packed_error(page_peek(ref, &payload, NULL));
}

int packed_collection_touch(const struct entry *entry, struct bytes field) {
    uint64_t ref = entry_ref(entry);
    if (page_ref_tag(ref) == PAGE_TAG_OBJECT) {
        const struct packed_collection *collection = page_ref_object(ref);
        if (collection->head.pages_dram == collection->head.pages) return 0;
        ref = *page_directory_ref(&collection->directory, hash_key(field));
    }
    return packed_touch_ref(ref);
}

int packed_collection_is_resident(const struct entry *entry) {
    const struct packed_collection *collection = packed_collection_of(entry);
    if (collection != NULL) return collection->head.pages_dram == collection->head.pages;
    return !page_ref_is_lower(entry_ref(entry));
}

/* Pages that cannot be read yet; stops counting above FAULT_TOUCH_MAX. */
static unsigned count_missing(const struct page_directory *directory) {
    struct directory_range range;
    unsigned missing = 0;
    page_directory_find(directory, 0, &range);
    do {
        if (*range.ref != 0 && !page_is_ready(*range.ref)) missing++;
    } while (missing <= FAULT_TOUCH_MAX && page_directory_next(directory, &range));
    return missing;
}

int packed_collection_touch_all(const struct entry *entry) {
    const struct packed_collection *collection = packed_collection_of(entry);
    if (collection == NULL) return packed_touch_ref(entry_ref(entry));
    const struct fault_set *set = fault_current();
    if (collection->head.pages_dram == collection->head.pages || set == NULL || set->mode == FAULT_SYNC)
        return 0;
    unsigned missing = count_missing(&collection->directory);
    if (missing == 0) return 0;
    if (missing > FAULT_TOUCH_MAX) { /* more than one command should keep: page by page while walking */
        fault_must_finish();
        return 0;
    }
    struct directory_range range;
    int result = 0;
    page_directory_find(&collection->directory, 0, &range);
    do {
        int error = packed_touch_ref(*range.ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    } while (set->count < FAULT_SET_MAX && page_directory_next(&collection->directory, &range));
    return result; /* a full set: the run after this one asks for the rest */
}

/* --- walking --- */

static int visit_small(struct entry *entry, int (*visit)(struct bytes payload, void *ctx), void *ctx) {
    struct packed_slot slot;
    struct bytes payload;
    packed_slot_open(entry, 0, &slot);
    int error = packed_slot_read(&slot, 1, &payload);
    packed_slot_close(&slot);
    return error != 0 || payload.size == 0 ? error : visit(payload, ctx);
}

/* A walk over everything: the pages from ${range} on will be read. How many were announced. */
static unsigned announce(const struct packed_collection *collection, struct directory_range range) {
    unsigned count = 0;
    do {
        if (*range.ref == 0) continue;
        page_ahead(*range.ref);
        count++;
    } while (count < PAGE_AHEAD_MAX && page_directory_next(&collection->directory, &range));
    return count;
}

int packed_collection_each_page(struct entry *entry, int (*visit)(struct bytes payload, void *ctx),
                                void *ctx) {
    struct packed_collection *collection = packed_collection_of(entry);
    if (collection == NULL) return visit_small(entry, visit, ctx);
    int promote = fault_current() != NULL; /* without a set it is no client that reads: a snapshot */
    unsigned ahead = 0;
    struct directory_range range;
    page_directory_find(&collection->directory, 0, &range);
    do {
        struct packed_slot slot;
        struct bytes payload;
        if (*range.ref == 0) continue;
        if (page_reads_ahead && ahead-- == 0) ahead = announce(collection, range) - 1;
        packed_slot_open_range(entry, collection, &range, &slot);
        int error = packed_slot_read(&slot, promote, &payload);
        packed_slot_close(&slot);
        if (error == 0) error = visit(payload, ctx);
        if (error != 0) return error;
    } while (page_directory_next(&collection->directory, &range));
    return 0;
}

/* Ask for the pages that ${count} elements from ${cursor} on will probably need. */
static int scan_touch(const struct packed_collection *collection, uint32_t size, uint64_t cursor,
                      uint64_t count) {
    uint64_t per_page = collection->head.pages > 0 ? size / collection->head.pages + 1 : 1;
    uint64_t pages = count / per_page + 1;
    if (pages > FAULT_SET_MAX) pages = FAULT_SET_MAX;
    struct directory_range range;
    int result = 0;
    page_directory_find(&collection->directory, cursor, &range);
    do {
        if (*range.ref == 0) continue;
        int error = packed_touch_ref(*range.ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        pages--;
    } while (pages > 0 && page_directory_next(&collection->directory, &range));
    return result;
}

int packed_collection_scan(struct entry *entry, uint64_t cursor, uint64_t count,
                           int (*visit)(struct bytes payload, void *ctx), void *ctx, uint64_t *cursor_out) {
    struct packed_collection *collection = packed_collection_of(entry);
    *cursor_out = 0;
    if (collection == NULL) return visit_small(entry, visit, ctx);
    int error = scan_touch(collection, entry->size, cursor, count);
    if (error != 0) return error;
    struct directory_range range;
    unsigned pages = 0;
    uint64_t elements = 0;
    page_directory_find(&collection->directory, cursor, &range);
    do {
        struct packed_slot slot;
        struct bytes payload;
        if (elements >= count || pages == FAULT_SET_MAX ||
            (pages > 0 && *range.ref != 0 && !page_is_ready(*range.ref))) {
            *cursor_out = range.start;
            return 0;
        }
        if (*range.ref == 0) continue;
        packed_slot_open_range(entry, collection, &range, &slot);
        error = packed_slot_read(&slot, 1, &payload);
        packed_slot_close(&slot);
        if (error == 0) error = visit(payload, ctx);
        if (error != 0) return error;
        elements += packed_page_count(payload);
        pages++;
    } while (page_directory_next(&collection->directory, &range));
    return 0;
}

/* --- freeing and copying --- */

void packed_collection_free_value(struct entry *entry) {
    struct packed_collection *collection = packed_collection_of(entry);
    uint64_t ref = entry_ref(entry);
    entry_store_ref(entry, 0);
    if (collection != NULL) {
        type_reap_later(&collection->head);
    } else {
        page_release(ref);
    }
}

static void release_page(uint64_t ref, void *ctx) {
    struct object *object = ctx;
    int is_dram = page_ref_tag(ref) == PAGE_TAG_DRAM;
    object_account(object, is_dram ? -(int64_t)page_ref_dram(ref)->bytes : 0, -1, -is_dram);
    page_release(ref);
}

int packed_collection_reap_pages(struct packed_collection *collection, unsigned pages) {
    return page_directory_reap(&collection->directory, pages, release_page, &collection->head);
}

int packed_collection_reap(struct object *head, unsigned pages) {
    struct packed_collection *collection = (struct packed_collection *)head;
    if (packed_collection_reap_pages(collection, pages)) return 1;
    FIRN_ASSERT(head->pages == 0 && head->pages_dram == 0 && head->dram_bytes == 0);
    object_unregister(head);
    memory_free(collection);
    return 0;
}

void packed_collection_copy_pages(const struct packed_collection *from, struct packed_collection *to) {
    struct directory_range range, target;
    page_directory_find(&from->directory, 0, &range);
    do {
        for (;;) {
            page_directory_find(&to->directory, range.start, &target);
            if (target.depth == range.depth) break;
            int error = page_directory_split(&to->directory, range.start, 0, 0);
            FIRN_ASSERT(error == 0);
        }
        if (*range.ref == 0) continue;
        uint64_t ref = *target.ref = page_share(*range.ref);
        int is_dram = page_ref_tag(ref) == PAGE_TAG_DRAM;
        object_account(&to->head, is_dram ? page_ref_dram(ref)->bytes : 0, 1, is_dram);
        int64_t deadline = page_directory_deadline_of(&from->directory, range.start);
        if (deadline >= 0) page_directory_set_deadline(&to->directory, range.start, deadline);
    } while (page_directory_next(&from->directory, &range));
}

int packed_collection_copy_value(struct entry *source, struct entry **target_inout) {
    const struct packed_collection *collection = packed_collection_of(source);
    uint64_t ref;
    if (collection != NULL) { /* the same ranges with shared pages */
        struct packed_collection *copy = memory_alloc_zero(sizeof *copy);
        packed_collection_init(copy, (enum type_id)collection->head.type);
        packed_collection_copy_pages(collection, copy);
        ref = page_ref_of_object(copy);
    } else {
        int error = packed_error(page_duplicate(entry_ref(source), &ref));
        if (error != 0) return error;
    }
    struct entry *target = *target_inout;
    FIRN_ASSERT(entry_type(target) == entry_type(source) && target->flags & ENTRY_REF);
    entry_store_ref(target, ref);
    target->size = source->size;
    entry_set_encoding(target, entry_encoding(source));
    return 0;
}

/* --- memory --- */

size_t packed_collection_memory_of(const struct packed_collection *collection, size_t samples) {
    size_t pages_bytes = 0, seen = 0;
    struct directory_range range;
    page_directory_find(&collection->directory, 0, &range);
    do {
        if (*range.ref == 0 || page_ref_tag(*range.ref) != PAGE_TAG_DRAM) continue;
        pages_bytes += page_memory(page_ref_dram(*range.ref));
        if (++seen == samples) break;
    } while (page_directory_next(&collection->directory, &range));
    return collection->directory.bytes + (seen > 0 ? pages_bytes * collection->head.pages_dram / seen : 0);
}

size_t packed_collection_memory(const struct entry *entry, size_t samples) {
    const struct packed_collection *collection = packed_collection_of(entry);
    uint64_t ref = entry_ref(entry);
    if (collection != NULL)
        return memory_usable(collection) + packed_collection_memory_of(collection, samples);
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_memory(page_ref_dram(ref)) : 0;
}

size_t packed_collection_free_effort(const struct entry *entry) {
    return entry_encoding(entry) == ENCODING_HASHTABLE ? entry->size : 1;
}

/* --- victims --- */

unsigned packed_collection_victims_from(struct packed_collection *collection, uint64_t *sweep, int from,
                                        unsigned scan, struct type_victim *victims_out, unsigned limit) {
    struct directory_range range;
    unsigned found = 0, empty = 0;
    int wrapped = 0;
    page_directory_find(&collection->directory, *sweep, &range);
    uint64_t begin = range.start;
    while (scan > 0 && found < limit && empty < EMPTY_RANGES_MAX) {
        page_directory_find(&collection->directory, *sweep, &range);
        if (wrapped && range.start >= begin) break; /* once around */
        *sweep = page_directory_end(&range);
        if (*sweep == 0) wrapped = 1;
        uint64_t ref = *range.ref;
        if (ref == 0) {
            empty++;
            continue;
        }
        scan--;
        if ((int)page_ref_tag(ref) != from) continue;
        int is_dram = from == PAGE_TAG_DRAM;
        if (is_dram && page_ref_dram(ref)->moving) continue;
        victims_out[found++] = (struct type_victim){
            .ref = ref,
            .locator = page_directory_locator(&range),
            .clock = is_dram ? page_ref_dram(ref)->clock : 0,
        };
    }
    return found;
}

unsigned packed_collection_victims(struct object *head, int from, unsigned scan,
                                   struct type_victim *victims_out, unsigned limit) {
    uint64_t candidates = from == PAGE_TAG_DRAM ? head->pages_dram : head->pages - head->pages_dram;
    if (candidates == 0) return 0;
    return packed_collection_victims_from((struct packed_collection *)head, &head->sweep, from, scan,
                                          victims_out, limit);
}

uint64_t *packed_collection_locate(struct object *head, uint64_t locator) {
    return page_directory_locate(&((struct packed_collection *)head)->directory, locator);
}

/* --- checking --- */

static void check_page(uint64_t ref, const struct directory_range *range, unsigned page_flags,
                       struct packed_sum *sum) {
    sum->pages++;
    if (page_ref_tag(ref) != PAGE_TAG_DRAM) return;
    const struct page *page = page_ref_dram(ref);
    struct bytes payload = payload_of(page);
    struct packed_cursor cursor;
    struct packed_entry entry, again;
    FIRN_ASSERT(page->refs > 0 && packed_page_check(payload) == 0 &&
                packed_page_begin(payload, &cursor) == 0);
    FIRN_ASSERT(payload.size <= PACKED_SMALL_BYTES_MAX || cursor.count == 1);
    FIRN_ASSERT((cursor.flags & PACKED_NO_VALUES) == page_flags && cursor.count > 0);
    while (packed_page_next(&cursor, &entry) == 1) {
        uint64_t hash = hash_key(entry.field);
        FIRN_ASSERT(range == NULL || range->depth == 0 || (hash ^ range->start) >> (64 - range->depth) == 0);
        FIRN_ASSERT(packed_page_find(payload, hash, entry.field, &again) == 0 && again.index == entry.index);
    }
    sum->elements += cursor.count;
    sum->bytes += page->bytes;
    sum->pages_dram++;
}

void packed_collection_check_pages(const struct packed_collection *collection, unsigned page_flags,
                                   struct packed_sum *sum) {
    struct directory_range range;
    uint64_t before = sum->pages;
    page_directory_find(&collection->directory, 0, &range);
    do {
        if (*range.ref != 0) check_page(*range.ref, &range, page_flags, sum);
    } while (page_directory_next(&collection->directory, &range));
    FIRN_ASSERT(page_directory_check(&collection->directory) == sum->pages - before);
}

void packed_collection_check(const struct entry *entry, unsigned page_flags) {
    const struct packed_collection *collection = packed_collection_of(entry);
    struct packed_sum sum = {0};
    if (collection == NULL) {
        if (entry_ref(entry) != 0) check_page(entry_ref(entry), NULL, page_flags, &sum);
    } else {
        const struct object *head = &collection->head;
        FIRN_ASSERT(head->magic == OBJECT_MAGIC && head->type == entry_type(entry));
        packed_collection_check_pages(collection, page_flags, &sum);
        FIRN_ASSERT(sum.pages == head->pages && sum.pages_dram == head->pages_dram);
        FIRN_ASSERT(sum.bytes == head->dram_bytes && sum.elements <= entry->size);
    }
    FIRN_ASSERT(sum.pages != sum.pages_dram || sum.elements == entry->size);
}
