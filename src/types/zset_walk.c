/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sorted sets as a whole: walking ranges, scanning, copying, freeing, victims, checking; and the table of
 * operations of the type. Invariants in zset.h.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "page/fault.h"
#include "types/packed_page.h"
#include "types/zset_internal.h"

#define EMPTY_RANGES_MAX 1024u /* that one search for victims goes over */

/* --- asking for many pages --- */

/* What asking for many pages has come to. */
struct touching {
    unsigned missing; /* counting */
    int error;        /* asking */
};

/* One more page: 0 when it is enough. */
static int touch_one(struct touching *touching, uint64_t ref) {
    int error = zset__touch_ref(ref);
    if (error != 0 && (touching->error == 0 || error != FIRN_EFAULT)) touching->error = error;
    return fault_current()->count < FAULT_SET_MAX;
}

static int count_one(struct touching *touching, uint64_t ref) {
    if (ref != 0 && !page_is_ready(ref)) touching->missing++;
    return touching->missing <= FAULT_TOUCH_MAX;
}

/* Go over the leaves of ${span} (count > 0). */
static void leaves_visit(const struct zset_object *object, struct zset_span span,
                         int (*visit)(struct touching *touching, uint64_t ref), struct touching *touching) {
    struct score_path path;
    uint64_t end = span.first + span.count;
    score_tree_find_rank(&object->tree, span.first, &path);
    do {
        if (path.rank >= end || !visit(touching, *score_tree_ref(&object->tree, &path))) return;
    } while (score_tree_next(&object->tree, &path));
}

/* Whether nothing at all has to be asked for. */
static int needs_no_touch(const struct zset_object *object) {
    const struct fault_set *set = fault_current();
    return object->members.head.pages_dram == object->members.head.pages || set == NULL ||
           set->mode == FAULT_SYNC;
}

int zset_touch_span(struct entry *entry, struct zset_span span) {
    const struct zset_object *object = zset__object(entry);
    struct touching touching = {0};
    if (span.count == 0) return 0;
    if (object == NULL) return zset__touch_ref(entry_ref(entry));
    if (needs_no_touch(object)) return 0;
    leaves_visit(object, span, count_one, &touching);
    if (touching.missing == 0) return 0;
    if (touching.missing >
        FAULT_TOUCH_MAX) { /* more than one command should keep: one by one while walking */
        fault_must_finish();
        return 0;
    }
    leaves_visit(object, span, touch_one, &touching);
    return touching.error; /* a full set: the run after this one asks for the rest */
}

/* --- walking --- */

struct each_run {
    int (*receive)(struct bytes member, double score, void *ctx);
    void *ctx;
};

static int view_each(const struct score_view *view, uint32_t from, uint32_t to, int reverse,
                     const struct each_run *run) {
    for (uint32_t i = from; i < to; i++) {
        uint32_t index = reverse ? from + to - 1 - i : i;
        int stop = run->receive(score_view_member(view, index), score_view_score(view, index), run->ctx);
        if (stop != 0) return stop;
    }
    return 0;
}

static int each_small(struct entry *entry, struct zset_span span, int reverse, const struct each_run *run) {
    uint64_t copy = entry_ref(entry);
    struct zset__slot slot;
    struct score_view view;
    zset__slot_open(&slot, NULL, &copy);
    int error = zset__leaf_read(&slot, ZSET__PROMOTE, &view, NULL);
    if (copy != slot.before_ref) entry_store_ref(entry, copy);
    if (error == 0 && span.first + span.count > view.count) error = FIRN_ECORRUPT;
    if (error != 0) return error;
    return view_each(&view, (uint32_t)span.first, (uint32_t)(span.first + span.count), reverse, run);
}

/* The part of ${span} in the leaf of ${path}. */
static int each_leaf(struct zset_object *object, const struct score_path *path, struct zset_span span,
                     int reverse, const struct each_run *run) {
    /* without a fault set it is no client that reads: a snapshot */
    enum zset__reading reading = fault_current() != NULL ? ZSET__PROMOTE : ZSET__STILL;
    struct zset__slot slot;
    struct score_view view;
    zset__slot_open(&slot, &object->members.head, score_tree_ref(&object->tree, path));
    int error = zset__leaf_read(&slot, reading, &view, NULL);
    zset__slot_close(&slot);
    uint64_t end = span.first + span.count, leaf_end = path->rank + view.count;
    if (error == 0 && view.count != score_tree_count(&object->tree, path)) error = FIRN_ECORRUPT;
    if (error != 0) return error;
    uint32_t from = span.first > path->rank ? (uint32_t)(span.first - path->rank) : 0;
    uint32_t to = end < leaf_end ? (uint32_t)(end - path->rank) : view.count;
    return view_each(&view, from, to, reverse, run);
}

/* A walk over everything: the leaves from ${path} on will be read. How many were announced. */
static unsigned announce(struct zset_object *object, struct score_path path, int reverse) {
    unsigned count = 0;
    do {
        page_ahead(*score_tree_ref(&object->tree, &path));
        count++;
    } while (count < PAGE_AHEAD_MAX &&
             (reverse ? score_tree_previous(&object->tree, &path) : score_tree_next(&object->tree, &path)));
    return count;
}

int zset_each(struct entry *entry, struct zset_span span, int reverse,
              int (*receive)(struct bytes member, double score, void *ctx), void *ctx) {
    unsigned ahead = 0;
    struct each_run run = {.receive = receive, .ctx = ctx};
    struct zset_object *object = zset__object(entry);
    struct score_path path;
    FIRN_ASSERT(span.first + span.count <= entry->size);
    if (span.count == 0) return 0;
    if (object == NULL) return each_small(entry, span, reverse, &run);
    int error = zset_touch_span(entry, span);
    if (error != 0) return error;
    score_tree_find_rank(&object->tree, reverse ? span.first + span.count - 1 : span.first, &path);
    for (;;) {
        if (page_reads_ahead && ahead-- == 0) ahead = announce(object, path, reverse) - 1;
        error = each_leaf(object, &path, span, reverse, &run);
        if (error != 0) return error;
        if (reverse) {
            if (path.rank <= span.first || !score_tree_previous(&object->tree, &path)) return 0;
        } else if (!score_tree_next(&object->tree, &path) || path.rank >= span.first + span.count) {
            return 0;
        }
    }
}

size_t zset_span_refs(struct entry *entry, struct zset_span span, int reverse, uint64_t *refs_out,
                      uint64_t *skip_out) {
    struct zset_object *object = zset__object(entry);
    struct score_path path;
    uint64_t begin = reverse ? span.first + span.count - 1 : span.first;
    size_t pages = 0;
    *skip_out = 0;
    if (object == NULL) return 0;
    score_tree_find_rank(&object->tree, begin, &path);
    *skip_out = begin - path.rank;
    if (reverse) *skip_out = score_tree_count(&object->tree, &path) - 1 - *skip_out;
    for (;;) {
        if (refs_out != NULL) refs_out[pages] = *score_tree_ref(&object->tree, &path);
        pages++;
        if (reverse) {
            if (path.rank <= span.first || !score_tree_previous(&object->tree, &path)) return pages;
        } else if (!score_tree_next(&object->tree, &path) || path.rank >= span.first + span.count) {
            return pages;
        }
    }
}

/* --- removing many --- */

static int touch_member(struct bytes member, double score, void *ctx) {
    struct zset_object *object = ctx;
    (void)score;
    int error = zset_members__touch(object, hash_key(member));
    if (error != 0 && error != FIRN_EFAULT) return error;
    return fault_current() != NULL && fault_current()->count == FAULT_SET_MAX ? FIRN_EFAULT : 0;
}

int zset_touch_remove_span(struct entry *entry, struct zset_span span) {
    struct zset_object *object = zset__object(entry);
    int error = zset_touch_span(entry, span);
    if (error != 0 || object == NULL || span.count == 0 || needs_no_touch(object)) return error;
    if (span.count > FAULT_TOUCH_MAX) { /* as many pages, perhaps */
        fault_must_finish();
        return 0;
    }
    error = zset_each(entry, span, 0, touch_member, object);
    return error == 0 && fault_current()->count > 0 ? FIRN_EFAULT : error;
}

/* --- scanning --- */

struct scan_run {
    void (*receive)(struct bytes member, double score, void *ctx);
    void *ctx;
    uint64_t received;
};

static int scan_receive(struct bytes member, double score, void *ctx) {
    struct scan_run *run = ctx;
    run->receive(member, score, run->ctx);
    run->received++;
    return 0;
}

/* The elements of one member page. */
static int scan_page(struct zset_object *object, struct directory_range *range, struct scan_run *run) {
    struct zset__slot slot;
    struct bytes payload;
    struct packed_cursor cursor;
    struct packed_entry found;
    zset__slot_open(&slot, &object->members.head, range->ref);
    int result = page_read(slot.ref, &payload);
    zset__slot_close(&slot);
    if (result == 0) result = packed_page_begin(payload, &cursor);
    if (result != 0) return zset__error(result);
    while ((result = packed_page_next(&cursor, &found)) == 1) {
        double score;
        result = zset_page_score(found.value, &score);
        if (result != 0) return result;
        scan_receive(found.field, score, run);
    }
    return result;
}

/* Ask for the pages that ${count} elements from ${cursor} on will probably need. */
static int scan_touch(const struct zset_object *object, uint64_t size, uint64_t cursor, uint64_t count) {
    uint64_t member_pages = object->members.head.pages - object->tree.leaves;
    uint64_t pages = count / (size / (member_pages > 0 ? member_pages : 1) + 1) + 1;
    if (pages > FAULT_SET_MAX) pages = FAULT_SET_MAX;
    struct directory_range range;
    int result = 0;
    page_directory_find(&object->members.directory, cursor, &range);
    do {
        if (*range.ref == 0) continue;
        int error = zset__touch_ref(*range.ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        pages--;
    } while (pages > 0 && page_directory_next(&object->members.directory, &range));
    return result;
}

int zset_scan(struct entry *entry, uint64_t cursor, uint64_t count,
              void (*receive)(struct bytes member, double score, void *ctx), void *ctx,
              uint64_t *cursor_out) {
    struct zset_object *object = zset__object(entry);
    struct scan_run run = {.receive = receive, .ctx = ctx};
    *cursor_out = 0;
    if (object == NULL)
        return zset_each(entry, (struct zset_span){.count = entry->size}, 0, scan_receive, &run);
    int error = scan_touch(object, entry->size, cursor, count);
    if (error != 0) return error;
    struct directory_range range;
    unsigned pages = 0;
    page_directory_find(&object->members.directory, cursor, &range);
    do {
        if (run.received >= count || pages == FAULT_SET_MAX ||
            (pages > 0 && *range.ref != 0 && !page_is_ready(*range.ref))) {
            *cursor_out = range.start;
            return 0;
        }
        if (*range.ref == 0) continue;
        error = scan_page(object, &range, &run);
        if (error != 0) return error;
        pages++;
    } while (page_directory_next(&object->members.directory, &range));
    return 0;
}

/* --- freeing and copying --- */

static void zset_free_value(struct entry *entry) {
    struct zset_object *object = zset__object(entry);
    uint64_t ref = entry_ref(entry);
    entry_store_ref(entry, 0);
    if (object != NULL) {
        type_reap_later(&object->members.head);
    } else {
        page_release(ref);
    }
}

static void release_page(uint64_t ref, void *ctx) {
    zset__account_page(ctx, ref, -1);
    page_release(ref);
}

static int zset_reap(struct object *head, unsigned pages) {
    struct zset_object *object = (struct zset_object *)head;
    if (object->tree.root != NULL && score_tree_reap(&object->tree, pages, release_page, head)) return 1;
    if (object->members.directory.root != NULL && packed_collection_reap_pages(&object->members, pages))
        return 1;
    FIRN_ASSERT(head->pages == 0 && head->pages_dram == 0 && head->dram_bytes == 0);
    object_unregister(head);
    memory_free(object);
    return 0;
}

static int share_leaf(uint64_t ref, uint64_t *ref_out, void *ctx) {
    *ref_out = page_share(ref);
    zset__account_page(ctx, ref, 1);
    return 0;
}

/* A large copy of a large one: the same leaves and ranges with shared pages. */
static uint64_t copy_object(const struct zset_object *from) {
    struct zset_object *object = memory_alloc_zero(sizeof *object);
    packed_collection_init(&object->members, TYPE_ZSET);
    int error = score_tree_copy(&from->tree, share_leaf, object, &object->tree);
    FIRN_ASSERT(error == 0);
    packed_collection_copy_pages(&from->members, &object->members);
    return page_ref_of_object(object);
}

static int zset_copy_value(struct entry *source, struct entry **target_inout) {
    const struct zset_object *object = zset__object(source);
    uint64_t ref = 0;
    int error = 0;
    if (object != NULL) {
        ref = copy_object(object);
    } else {
        error = zset__error(page_duplicate(entry_ref(source), &ref));
    }
    if (error != 0) return error;
    struct entry *target = *target_inout;
    FIRN_ASSERT(entry_type(target) == TYPE_ZSET && target->flags & ENTRY_REF);
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

static int walk_receive(struct bytes member, double score, void *ctx) {
    const struct walk_run *run = ctx;
    struct type_element element = {.name = member, .score = score, .expiry_ms = -1};
    return run->receive(&element, run->ctx);
}

static int zset_walk(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                     void *ctx) {
    struct walk_run run = {.receive = receive, .ctx = ctx};
    return zset_each(entry, (struct zset_span){.count = entry->size}, 0, walk_receive, &run);
}

static size_t zset_memory(const struct entry *entry, size_t samples) {
    const struct zset_object *object = zset__object(entry);
    uint64_t ref = entry_ref(entry);
    if (object == NULL) return zset__is_dram(ref) ? page_memory(page_ref_dram(ref)) : 0;
    size_t sum = 0, members = 0, leaves = 0;
    struct directory_range range;
    struct score_path path;
    page_directory_find(&object->members.directory, 0, &range);
    do {
        if (!zset__is_dram(*range.ref)) continue;
        sum += page_memory(page_ref_dram(*range.ref));
        members++;
    } while ((samples == 0 || members < samples) && page_directory_next(&object->members.directory, &range));
    if (object->tree.elements > 0) score_tree_find_rank(&object->tree, 0, &path);
    for (int more = object->tree.elements > 0; more && (samples == 0 || leaves < samples);
         more = score_tree_next(&object->tree, &path)) {
        uint64_t leaf = *score_tree_ref(&object->tree, &path);
        if (!zset__is_dram(leaf)) continue;
        sum += page_memory(page_ref_dram(leaf));
        leaves++;
    }
    size_t bytes = memory_usable(object) + object->members.directory.bytes + object->tree.bytes;
    return leaves + members > 0 ? bytes + sum * object->members.head.pages_dram / (leaves + members) : bytes;
}

static size_t zset_free_effort(const struct entry *entry) {
    return entry_encoding(entry) == ENCODING_SKIPLIST ? entry->size : 1;
}

static unsigned victims_of_leaves(struct zset_object *object, int from, unsigned scan,
                                  struct type_victim *victims_out, unsigned limit) {
    struct score_path path;
    unsigned found = 0;
    if (object->tree.elements == 0) return 0;
    if (object->sweep_rank >= object->tree.elements) object->sweep_rank = 0;
    if (scan > object->tree.leaves) scan = (unsigned)object->tree.leaves;
    for (score_tree_find_rank(&object->tree, object->sweep_rank, &path); scan > 0 && found < limit; scan--) {
        uint64_t ref = *score_tree_ref(&object->tree, &path);
        int is_dram = from == PAGE_TAG_DRAM;
        if ((int)page_ref_tag(ref) == from && (!is_dram || !page_ref_dram(ref)->moving))
            victims_out[found++] = (struct type_victim){
                .ref = ref,
                .locator = score_tree_locator(&object->tree, &path),
                .clock = is_dram ? page_ref_dram(ref)->clock : 0,
            };
        if (!score_tree_next(&object->tree, &path)) score_tree_find_rank(&object->tree, 0, &path);
        object->sweep_rank = path.rank;
    }
    return found;
}

/* One search begins among the member pages, the next among the leaves. */
static unsigned zset_victims(struct object *head, int from, unsigned scan, struct type_victim *victims_out,
                             unsigned limit) {
    struct zset_object *object = (struct zset_object *)head;
    unsigned found = 0,
             candidates = from == PAGE_TAG_DRAM ? head->pages_dram : head->pages - head->pages_dram;
    for (unsigned turn = 0; turn < 2 && candidates > 0 && found < limit; turn++) {
        object->sweep_leaves = !object->sweep_leaves;
        found += object->sweep_leaves
                     ? victims_of_leaves(object, from, scan, victims_out + found, limit - found)
                     : packed_collection_victims_from(&object->members, &head->sweep, from, scan,
                                                      victims_out + found, limit - found);
    }
    return found;
}

static uint64_t *zset_locate(struct object *head, uint64_t locator) {
    struct zset_object *object = (struct zset_object *)head;
    if ((locator & 63u) == 63u) return score_tree_locate(&object->tree, locator);
    return page_directory_locate(&object->members.directory, locator);
}

/* --- checking --- */

static int check_open(uint64_t ref, struct score_view *view) {
    if (!zset__is_dram(ref)) return 0;
    const struct page *page = page_ref_dram(ref);
    int error = score_page_open(bytes_of(page->data, page->bytes), 1, view);
    FIRN_ASSERT(error == 0 && page->refs > 0);
    return 1;
}

/* Every member of a page is in the tree with the page's score. */
static void check_members_of(const struct zset_object *object, const struct page *page) {
    struct packed_cursor cursor;
    struct packed_entry found;
    int error = packed_page_begin(bytes_of(page->data, page->bytes), &cursor);
    FIRN_ASSERT(error == 0);
    while (packed_page_next(&cursor, &found) == 1) {
        struct score_key key = {.member = found.field, .after = 1};
        struct score_path path;
        struct score_view view;
        error = zset_page_score(found.value, &key.score);
        FIRN_ASSERT(error == 0);
        score_tree_find(&object->tree, &key, &path);
        if (!check_open(*score_tree_ref(&object->tree, &path), &view)) continue;
        uint32_t at = score_view_position(&view, &key);
        FIRN_ASSERT(at > 0 && bytes_equal(score_view_member(&view, at - 1), found.field));
        FIRN_ASSERT(score_view_score(&view, at - 1) <= key.score);
    }
}

static void check_leaves(const struct zset_object *object, struct packed_sum *sum) {
    struct score_path path;
    uint64_t rank = 0;
    score_tree_check(&object->tree);
    score_tree_find_rank(&object->tree, 0, &path);
    do {
        struct score_view view;
        uint64_t *ref = score_tree_ref(&object->tree, &path);
        FIRN_ASSERT(path.rank == rank);
        sum->pages++;
        sum->pages_dram += (unsigned)zset__is_dram(*ref);
        sum->bytes += zset__dram_bytes(*ref);
        if (check_open(*ref, &view)) score_tree_check_leaf(&object->tree, &path, &view);
        FIRN_ASSERT(score_tree_locate(&object->tree, score_tree_locator(&object->tree, &path)) == ref);
        rank += score_tree_count(&object->tree, &path);
    } while (score_tree_next(&object->tree, &path));
}

static void zset_check(const struct entry *entry) {
    const struct zset_object *object = zset__object(entry);
    struct packed_sum sum = {0};
    struct score_view view;
    if (object == NULL) {
        if (check_open(entry_ref(entry), &view)) FIRN_ASSERT(view.count == entry->size);
        return;
    }
    const struct object *head = &object->members.head;
    struct directory_range range;
    FIRN_ASSERT(head->magic == OBJECT_MAGIC && head->type == TYPE_ZSET);
    packed_collection_check_pages(&object->members, 0, &sum);
    FIRN_ASSERT(sum.elements <= entry->size && object->tree.elements == entry->size);
    FIRN_ASSERT(sum.pages != sum.pages_dram || sum.elements == entry->size);
    page_directory_find(&object->members.directory, 0, &range);
    do {
        if (zset__is_dram(*range.ref)) check_members_of(object, page_ref_dram(*range.ref));
    } while (page_directory_next(&object->members.directory, &range));
    if (object->tree.elements > 0) check_leaves(object, &sum);
    FIRN_ASSERT(sum.pages == head->pages && sum.pages_dram == head->pages_dram);
    FIRN_ASSERT(sum.bytes == head->dram_bytes);
}

const struct type_ops type_zset_ops = {
    .name = "zset",
    .free_value = zset_free_value,
    .reap = zset_reap,
    .copy_value = zset_copy_value,
    .walk = zset_walk,
    .memory = zset_memory,
    .free_effort = zset_free_effort,
    .encode = zset__encode,
    .decode = zset__decode,
    .victims = zset_victims,
    .locate = zset_locate,
    .check = zset_check,
};
