/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sorted sets: looking up and changing; layout and invariants in zset.h. Every page reference is handled
 * through struct zset__slot (zset_internal.h), so that each change of one or of its size is accounted in one
 * place.
 *
 * A change of a large one first reads all it needs, then changes in an order in which what fails can be taken
 * back: a new element goes into its member page, then its leaf; a new score goes into the member page, then
 * the element to where it belongs, then away from where it was, out of a leaf made private before. A leaf
 * that would exceed SCORE_PAGE_SPLIT_BYTES is cut in halves; elements that come at either end of all get a
 * leaf of their own instead, so that ascending and descending insertion leave full leaves behind.
 */
#include "types/zset.h"

#include <math.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/hash.h"
#include "base/memory.h"
#include "page/fault.h"
#include "types/packed_page.h"
#include "types/zset_internal.h"

#define JOIN_BYTES (SCORE_PAGE_SPLIT_BYTES / 2) /* leaves with no more together are united */

struct entry *zset_create(struct bytes key, size_t expected, size_t member_bytes) {
    int fits = expected <= type_limits.zset_max_listpack_entries &&
               member_bytes <= type_limits.zset_max_listpack_value;
    return entry_create(key, TYPE_ZSET, fits ? ENCODING_LISTPACK : ENCODING_SKIPLIST, 1, 0, 0);
}

void zset_expect(struct entry *entry, size_t count, size_t member_bytes) {
    if (count > type_limits.zset_max_listpack_entries || member_bytes > type_limits.zset_max_listpack_value)
        entry_set_encoding(entry, ENCODING_SKIPLIST);
}

/* --- slots --- */

void zset__account_page(struct object *head, uint64_t ref, int sign) {
    if (ref == 0) return;
    object_account(head, sign * (int64_t)zset__dram_bytes(ref), sign, sign * zset__is_dram(ref));
}

void zset__slot_close(struct zset__slot *slot) {
    uint64_t ref = *slot->ref;
    uint32_t bytes = zset__dram_bytes(ref);
    if (slot->head != NULL && (ref != slot->before_ref || bytes != slot->before_bytes))
        object_account(slot->head, (int64_t)bytes - slot->before_bytes, (ref != 0) - (slot->before_ref != 0),
                       zset__is_dram(ref) - zset__is_dram(slot->before_ref));
    slot->before_ref = ref;
    slot->before_bytes = bytes;
}

int zset__touch_ref(uint64_t ref) {
    struct bytes payload;
    if (ref == 0 || page_is_ready(ref)) return 0;
    return zset__error(page_peek(ref, &payload, NULL));
}

int zset__leaf_read(struct zset__slot *slot, enum zset__reading reading, struct score_view *view_out,
                    struct bytes *payload_out) {
    struct bytes payload = bytes_of(NULL, 0);
    int is_lower = page_ref_is_lower(*slot->ref), error = 0;
    if (*slot->ref != 0)
        error =
            reading == ZSET__PROMOTE ? page_read(slot->ref, &payload) : page_peek(*slot->ref, &payload, NULL);
    if (error == 0) error = score_page_open(payload, is_lower, view_out);
    if (payload_out != NULL) *payload_out = payload;
    return zset__error(error);
}

/* The one page of a small sorted set: its reference is a copy, stored back when the slot is closed. */
struct small {
    struct entry *entry;
    uint64_t copy;
    struct zset__slot slot;
    struct score_view view;
    struct bytes payload;
};

static int small_open(struct entry *entry, enum zset__reading reading, struct small *small) {
    small->entry = entry;
    small->copy = entry_ref(entry);
    zset__slot_open(&small->slot, NULL, &small->copy);
    int error = zset__leaf_read(&small->slot, reading, &small->view, &small->payload);
    if (small->copy != small->slot.before_ref) entry_store_ref(entry, small->copy);
    if (error == 0 && small->view.count != entry->size) error = FIRN_ECORRUPT;
    return error;
}

static void small_close(struct small *small) {
    if (small->copy != small->slot.before_ref) entry_store_ref(small->entry, small->copy);
}

static inline void leaf_slot(struct zset_object *object, const struct score_path *path,
                             struct zset__slot *slot) {
    zset__slot_open(slot, &object->members.head, score_tree_ref(&object->tree, path));
}

/* The leaf of ${path}, whose content must be as many elements as the tree says. */
static int leaf_open(struct zset_object *object, const struct score_path *path, enum zset__reading reading,
                     struct zset__slot *slot, struct score_view *view_out, struct bytes *payload_out) {
    leaf_slot(object, path, slot);
    int error = zset__leaf_read(slot, reading, view_out, payload_out);
    if (*slot->ref != slot->before_ref) zset__slot_close(slot);
    if (error == 0 && view_out->count != score_tree_count(&object->tree, path)) error = FIRN_ECORRUPT;
    return error;
}

static inline struct score_key key_right_of(double score, struct bytes member) {
    return (struct score_key){.kind = SCORE_KEY_ELEMENT, .after = 1, .score = score, .member = member};
}

/* --- looking up --- */

int zset_is_resident(const struct entry *entry) {
    const struct zset_object *object = zset__object(entry);
    if (object != NULL) return object->members.head.pages_dram == object->members.head.pages;
    return !page_ref_is_lower(entry_ref(entry));
}

static inline int find_score(struct entry *entry, struct bytes member, enum zset__reading reading,
                             double *score_out) {
    struct zset_object *object = zset__object(entry);
    if (object != NULL) return zset_members__find(object, hash_key(member), member, reading, score_out);
    struct small small;
    uint32_t index;
    int error = small_open(entry, reading, &small);
    if (error != 0) return error;
    if (!score_view_find(&small.view, member, &index)) return FIRN_ENOTFOUND;
    *score_out = score_view_score(&small.view, index);
    return 0;
}

int zset_score(struct entry *entry, struct bytes member, double *score_out) {
    return find_score(entry, member, ZSET__PROMOTE, score_out);
}

int zset_score_still(struct entry *entry, struct bytes member, double *score_out) {
    return find_score(entry, member, ZSET__STILL, score_out);
}

int zset_touch(struct entry *entry, struct bytes member) {
    const struct zset_object *object = zset__object(entry);
    if (object == NULL) return zset__touch_ref(entry_ref(entry));
    if (object->members.head.pages_dram == object->members.head.pages) return 0;
    return zset_members__touch(object, hash_key(member));
}

/* The leaf and the place there of an element that exists. */
static int locate_element(struct zset_object *object, double score, struct bytes member,
                          enum zset__reading reading, struct score_path *path, struct zset__slot *slot,
                          struct score_view *view_out, uint32_t *index_out) {
    struct score_key key = key_right_of(score, member);
    score_tree_find(&object->tree, &key, path);
    int error = leaf_open(object, path, reading, slot, view_out, NULL);
    if (error != 0) return error;
    uint32_t position = score_view_position(view_out, &key);
    if (position == 0 || score_view_score(view_out, position - 1) != score ||
        !bytes_equal(score_view_member(view_out, position - 1), member))
        return FIRN_ECORRUPT;
    *index_out = position - 1;
    return 0;
}

int zset_rank(struct entry *entry, struct bytes member, double *score_out, uint64_t *rank_out) {
    struct zset_object *object = zset__object(entry);
    uint32_t index;
    if (object == NULL) {
        struct small small;
        int error = small_open(entry, ZSET__PROMOTE, &small);
        if (error != 0) return error;
        if (!score_view_find(&small.view, member, &index)) return FIRN_ENOTFOUND;
        *score_out = score_view_score(&small.view, index);
        *rank_out = index;
        return 0;
    }
    struct score_path path;
    struct zset__slot slot;
    struct score_view view;
    int error = zset_members__find(object, hash_key(member), member, ZSET__PROMOTE, score_out);
    if (error == 0)
        error = locate_element(object, *score_out, member, ZSET__PROMOTE, &path, &slot, &view, &index);
    if (error == 0) *rank_out = score_tree_rank(&object->tree, &path) + index;
    return error;
}

int zset_at(struct entry *entry, uint64_t rank, struct bytes *member_out, double *score_out) {
    struct zset_object *object = zset__object(entry);
    struct score_view view;
    uint32_t index = (uint32_t)rank;
    if (rank >= entry->size) return FIRN_ENOTFOUND;
    if (object == NULL) {
        struct small small;
        int error = small_open(entry, ZSET__PROMOTE, &small);
        if (error != 0) return error;
        view = small.view;
    } else {
        struct score_path path;
        struct zset__slot slot;
        score_tree_find_rank(&object->tree, rank, &path);
        int error = leaf_open(object, &path, ZSET__PROMOTE, &slot, &view, NULL);
        if (error != 0) return error;
        index = (uint32_t)(rank - path.rank);
    }
    *member_out = score_view_member(&view, index);
    *score_out = score_view_score(&view, index);
    return 0;
}

int zset_touch_at(struct entry *entry, uint64_t rank) {
    const struct zset_object *object = zset__object(entry);
    struct score_path path;
    if (object == NULL) return zset__touch_ref(entry_ref(entry));
    if (object->members.head.pages_dram == object->members.head.pages || rank >= entry->size) return 0;
    score_tree_find_rank(&object->tree, rank, &path);
    return zset__touch_ref(*score_tree_ref(&object->tree, &path));
}

/* --- boundaries --- */

/* Whether ${key} is left or right of everything; no page is needed then. */
static int key_is_outside(const struct entry *entry, const struct score_key *key, uint64_t *rank_out) {
    if (key->kind == SCORE_KEY_SCORE && key->score == -HUGE_VAL && !key->after) {
        *rank_out = 0;
    } else if (key->kind == SCORE_KEY_SCORE && key->score == HUGE_VAL && key->after) {
        *rank_out = entry->size;
    } else if (key->kind == SCORE_KEY_MEMBER && key->member.size == 0 && !key->after) {
        *rank_out = 0;
    } else {
        return 0;
    }
    return 1;
}

/* How many elements are left of ${key}. */
static int key_rank(struct entry *entry, const struct score_key *key, uint64_t *rank_out) {
    struct zset_object *object = zset__object(entry);
    struct score_view view;
    uint64_t before = 0;
    if (key_is_outside(entry, key, rank_out)) return 0;
    if (object == NULL) {
        struct small small;
        int error = small_open(entry, ZSET__PROMOTE, &small);
        if (error != 0) return error;
        view = small.view;
    } else {
        struct score_path path;
        struct zset__slot slot;
        score_tree_find(&object->tree, key, &path);
        int error = leaf_open(object, &path, ZSET__PROMOTE, &slot, &view, NULL);
        if (error != 0) return error;
        before = score_tree_rank(&object->tree, &path);
    }
    *rank_out = before + score_view_position(&view, key);
    return 0;
}

int zset_span(struct entry *entry, const struct score_key *from, const struct score_key *to,
              struct zset_span *span_out) {
    uint64_t first = 0, end = 0;
    int error = key_rank(entry, from, &first);
    if (error != 0 && error != FIRN_EFAULT) return error;
    int end_error = key_rank(entry, to, &end);
    if (end_error != 0) return end_error;
    if (error != 0) return error;
    *span_out = (struct zset_span){.first = first, .count = end > first ? end - first : 0};
    return 0;
}

/* --- small to large --- */

static void object_discard(struct zset_object *object) {
    type_zset_ops.reap(&object->members.head, UINT32_MAX);
}

/* The one page becomes the first leaf; its elements go into member pages. */
static int make_large(struct entry *entry) {
    struct small small;
    int error = small_open(entry, ZSET__STILL, &small);
    if (error != 0) return error;
    struct zset_object *object = memory_alloc_zero(sizeof *object);
    packed_collection_init(&object->members, TYPE_ZSET);
    for (uint32_t i = 0; error == 0 && i < small.view.count; i++) {
        struct bytes member = score_view_member(&small.view, i);
        uint64_t hash = hash_key(member);
        error = zset_members__put(object, hash, member, score_view_score(&small.view, i));
    }
    score_tree_init(&object->tree, error == 0 ? small.copy : 0, small.view.count);
    if (error != 0) {
        object_discard(object);
        return error;
    }
    zset__account_page(&object->members.head, small.copy, 1);
    entry_store_ref(entry, page_ref_of_object(object));
    object_set_pinned(entry);
    return 0;
}

/* --- leaves --- */

/* Where a leaf of ${view} is cut in two halves. */
static uint32_t leaf_middle(const struct score_view *view) {
    uint32_t half = (10 * view->count + score_view_begin(view, view->count)) / 2, cut = 1;
    while (cut + 1 < view->count && 10 * cut + score_view_begin(view, cut) < half)
        cut++;
    return cut;
}

/* Cut the leaf of ${path} before element ${cut}. The path is void then. */
static int leaf_cut(struct zset_object *object, const struct score_path *path, const struct score_view *view,
                    uint32_t cut) {
    struct zset__slot slot;
    struct page *left = score_page_part(view, 0, cut), *right = score_page_part(view, cut, view->count);
    if (left == NULL || right == NULL) {
        page_release(page_ref_of(left));
        page_release(page_ref_of(right));
        return FIRN_ENOMEM;
    }
    leaf_slot(object, path, &slot);
    uint64_t old = *slot.ref;
    *slot.ref = page_ref_of(left);
    zset__slot_close(&slot);
    zset__account_page(&object->members.head, page_ref_of(right), 1);
    score_tree_add(&object->tree, path, -(int64_t)(view->count - cut));
    score_tree_insert(&object->tree, path, page_ref_of(right), view->count - cut,
                      score_view_score(view, cut - 1), score_view_member(view, cut - 1),
                      score_view_score(view, cut), score_view_member(view, cut));
    page_release(old);
    return 0;
}

/* A leaf of its own for an element that comes right after or (${before}) right before those of ${path}. */
static int leaf_alone(struct zset_object *object, const struct score_path *path,
                      const struct score_view *view, int before, double score, struct bytes member) {
    struct page *page = page_try_create(score_page_bytes_with(bytes_of(NULL, 0), member.size));
    if (page == NULL) return FIRN_ENOMEM;
    score_page_insert(page, 0, score, member);
    uint64_t fresh = page_ref_of(page);
    zset__account_page(&object->members.head, fresh, 1);
    if (!before) {
        score_tree_insert(&object->tree, path, fresh, 1, score_view_score(view, view->count - 1),
                          score_view_member(view, view->count - 1), score, member);
        return 0;
    }
    uint64_t *slot = score_tree_ref(&object->tree, path), old = *slot;
    *slot = fresh; /* and what was here moves right */
    score_tree_add(&object->tree, path, 1 - (int64_t)view->count);
    score_tree_insert(&object->tree, path, old, view->count, score, member, score_view_score(view, 0),
                      score_view_member(view, 0));
    return 0;
}

#define NO_ROOM 1 /* leaf_try: the leaf is to be split first */

/* Put an element into the leaf that it belongs into, if that has room. What was opened of the leaf is void
 * then; the path stays. */
static int leaf_try(struct zset_object *object, const struct score_path *path, double score,
                    struct bytes member) {
    struct score_key key = key_right_of(score, member);
    struct zset__slot slot;
    struct score_view view;
    struct bytes payload;
    struct page *page;
    int error = leaf_open(object, path, ZSET__STILL, &slot, &view, &payload);
    if (error != 0) return error;
    size_t bytes = score_page_bytes_with(payload, member.size);
    if (view.count > 0 && bytes > SCORE_PAGE_SPLIT_BYTES) return NO_ROOM;
    if (bytes > PAGE_BYTES_MAX) return FIRN_ETOOBIG;
    uint32_t position = score_view_position(&view, &key);
    error = page_write(slot.ref, bytes, &page);
    if (error != 0) return zset__error(error);
    score_page_insert(page, position, score, member);
    zset__slot_close(&slot);
    score_tree_add(&object->tree, path, 1);
    return 0;
}

/* Make room for an element in the full leaf that it belongs into, or put it into one of its own: *done_out.
 * The path is void then. */
static int leaf_make_room(struct zset_object *object, const struct score_path *path, double score,
                          struct bytes member, int *done_out) {
    struct score_key key = key_right_of(score, member);
    struct zset__slot slot;
    struct score_view view;
    int error = leaf_open(object, path, ZSET__STILL, &slot, &view, NULL);
    if (error != 0) return error;
    uint32_t position = score_view_position(&view, &key);
    size_t bytes_alone = score_page_bytes_with(bytes_of(NULL, 0), member.size);
    int alone = view.count == 1 || bytes_alone > SCORE_PAGE_SPLIT_BYTES / 2;
    if (bytes_alone > PAGE_BYTES_MAX) return FIRN_ETOOBIG;
    *done_out = 1;
    if (position == view.count && (alone || score_tree_is_last(&object->tree, path)))
        return leaf_alone(object, path, &view, 0, score, member);
    if (position == 0 && (alone || score_tree_is_first(&object->tree, path)))
        return leaf_alone(object, path, &view, 1, score, member);
    *done_out = 0;
    return leaf_cut(object, path, &view,
                    alone && position > 0 && position < view.count ? position : leaf_middle(&view));
}

/* Put an element that is not there into the tree, beginning with the leaf of ${path}, where it belongs and
 * which is ready. NO_ROOM became 0 on the way; *moved_out: paths and slots are void. */
static int leaf_insert(struct zset_object *object, struct score_path *path, double score, struct bytes member,
                       int *moved_out) {
    struct score_key key = key_right_of(score, member);
    int done = 0;
    *moved_out = 0;
    for (;;) {
        int error = leaf_try(object, path, score, member);
        if (error != NO_ROOM) return error;
        *moved_out = 1;
        error = leaf_make_room(object, path, score, member, &done);
        if (error != 0 || done) return error;
        score_tree_find(&object->tree, &key, path);
    }
}

int zset__add_element(struct zset_object *object, struct bytes member, double score) {
    struct score_key key = key_right_of(score, member);
    struct score_path path;
    int moved;
    score_tree_find(&object->tree, &key, &path);
    return leaf_insert(object, &path, score, member, &moved);
}

/* The leaf of ${path} has become smaller: give memory back, or unite it with a neighbour in DRAM. Voids the
 * path. */
static void leaf_shrink(struct zset_object *object, struct score_path *path) {
    struct zset__slot slot;
    struct score_view view, other;
    leaf_slot(object, path, &slot);
    struct page *page = page_ref_dram(*slot.ref);
    if (page->capacity > 128 && page->bytes < page->capacity / 2 &&
        score_page_open(bytes_of(page->data, page->bytes), 0, &view) == 0) {
        struct page *smaller = score_page_part(&view, 0, view.count);
        if (smaller != NULL) {
            page_release(*slot.ref);
            *slot.ref = page_ref_of(smaller);
            zset__slot_close(&slot);
            page = smaller;
        }
    }
    if (page->bytes > JOIN_BYTES / 2) return;
    struct score_path right = *path;
    if (!score_tree_next(&object->tree, &right)) {
        right = *path;
        if (!score_tree_previous(&object->tree, path)) return;
    }
    uint64_t *left_ref = score_tree_ref(&object->tree, path),
             *right_ref = score_tree_ref(&object->tree, &right);
    if (!zset__is_dram(*left_ref) || !zset__is_dram(*right_ref)) return;
    const struct page *a = page_ref_dram(*left_ref), *b = page_ref_dram(*right_ref);
    if (a->bytes + b->bytes > JOIN_BYTES || score_page_open(bytes_of(a->data, a->bytes), 0, &view) != 0 ||
        score_page_open(bytes_of(b->data, b->bytes), 0, &other) != 0)
        return;
    struct page *joined = score_page_join(&view, &other);
    if (joined == NULL) return;
    uint64_t old_left = *left_ref, old_right = *right_ref;
    leaf_slot(object, path, &slot);
    *left_ref = page_ref_of(joined);
    zset__slot_close(&slot);
    zset__account_page(&object->members.head, old_right, -1);
    score_tree_add(&object->tree, path, other.count);
    score_tree_remove(&object->tree, &right);
    page_release(old_left);
    page_release(old_right);
}

/* Take the elements [from, to) out of the leaf of ${path}, which is private if some stay. Voids the path. */
static void leaf_remove(struct zset_object *object, struct score_path *path, uint32_t from, uint32_t to) {
    struct zset__slot slot;
    leaf_slot(object, path, &slot);
    if (to - from < score_tree_count(&object->tree, path)) {
        FIRN_ASSERT(zset__is_dram(*slot.ref) && page_ref_dram(*slot.ref)->refs == 1);
        score_page_remove(page_ref_dram(*slot.ref), from, to);
        zset__slot_close(&slot);
        score_tree_add(&object->tree, path, -(int64_t)(to - from));
        leaf_shrink(object, path);
        return;
    }
    page_release(*slot.ref);
    *slot.ref = 0;
    zset__slot_close(&slot);
    if (object->tree.leaves > 1) {
        score_tree_remove(&object->tree, path);
    } else {
        score_tree_add(&object->tree, path, -(int64_t)(to - from));
    }
}

/* Make the leaf under ${slot} private; shows nothing. */
static int leaf_prepare(struct zset__slot *slot, size_t bytes) {
    struct page *page;
    int error = page_write(slot->ref, bytes, &page);
    zset__slot_close(slot);
    return zset__error(error);
}

/* --- giving a score --- */

/* What zset_put decides from the score there is (${exists}). 1: go on with *score_inout. */
static int put_decide(int exists, double old, double *score_inout, unsigned flags,
                      enum zset_outcome *outcome_out) {
    *outcome_out = ZSET_REFUSED;
    if (!exists) {
        *outcome_out = flags & ZSET_XX ? ZSET_REFUSED : ZSET_ADDED;
        return !(flags & ZSET_XX);
    }
    double score = *score_inout;
    *score_inout = old;
    if (flags & ZSET_NX) return 0;
    if (flags & ZSET_INCR) {
        score += old;
        if (isnan(score)) return FIRN_ENOTNUMBER;
    }
    if ((flags & ZSET_GT && score <= old) || (flags & ZSET_LT && score >= old)) return 0;
    *outcome_out = score == old ? ZSET_SAME : ZSET_UPDATED;
    if (score == old) return 0;
    *score_inout = score;
    return 1;
}

/* What a score becomes: a listpack has no -0. */
static inline double stored_score(const struct entry *entry, double score) {
    return score == 0 && entry_encoding(entry) == ENCODING_LISTPACK ? 0.0 : score;
}

static void note_encoding(struct entry *entry, size_t member_bytes, unsigned flags) {
    if (entry_encoding(entry) != ENCODING_LISTPACK || flags & ZSET_AS_LISTPACK) return;
    zset_expect(entry, entry->size + (size_t)1, member_bytes);
}

/* Give an element of one page another score. */
static void page_rescore(struct page *page, uint32_t index, double score, struct bytes member) {
    struct score_view view;
    struct score_key key = key_right_of(score, member);
    int error = score_page_open(bytes_of(page->data, page->bytes), 0, &view);
    FIRN_ASSERT(error == 0);
    uint32_t position = score_view_position(&view, &key);
    if (position == index || position == index + 1) {
        score_page_set_score(page, index, score);
        return;
    }
    score_page_remove(page, index, index + 1);
    score_page_insert(page, position > index ? position - 1 : position, score, member);
}

/* An element joins a large sorted set. */
static int large_add(struct zset_object *object, struct zset_members__change *change, struct bytes member,
                     double score) {
    struct score_key key = key_right_of(score, member);
    struct score_path path;
    int moved;
    score_tree_find(&object->tree, &key, &path);
    int error = zset__touch_ref(*score_tree_ref(&object->tree, &path));
    if (error == 0) error = zset_members__apply(change, member, score);
    if (error != 0) return error;
    error = leaf_insert(object, &path, score, member, &moved);
    if (error != 0) {
        int undone = zset_members__remove(object, change->slot.hash, member);
        FIRN_ASSERT(undone == 0);
    }
    return error;
}

/* An element of a large sorted set gets another score. */
static int large_rescore(struct zset_object *object, struct zset_members__change *change, struct bytes member,
                         double score) {
    struct score_key key = key_right_of(score, member);
    struct score_path path, target;
    struct zset__slot slot;
    struct score_view view;
    uint32_t index;
    int moved;
    score_tree_find(&object->tree, &key, &target);
    uint64_t *target_ref = score_tree_ref(&object->tree, &target);
    int touched = zset__touch_ref(*target_ref);
    int error = locate_element(object, change->old, member, ZSET__STILL, &path, &slot, &view, &index);
    if (error == 0) error = touched;
    if (error == 0) error = leaf_prepare(&slot, 0);
    if (error == 0) error = zset_members__apply(change, member, score);
    if (error != 0) return error;
    if (target_ref == slot.ref) {
        page_rescore(page_ref_dram(*slot.ref), index, score, member);
        return 0;
    }
    error = leaf_insert(object, &target, score, member, &moved);
    if (error != 0) {
        int undone = zset_members__put(object, change->slot.hash, member, change->old);
        FIRN_ASSERT(undone == 0);
        return error;
    }
    if (moved) {
        error = locate_element(object, change->old, member, ZSET__STILL, &path, &slot, &view, &index);
        FIRN_ASSERT(error == 0);
    }
    leaf_remove(object, &path, index, index + 1);
    return 0;
}

/* The member page has to be read: ask for the leaf beside it, which will probably be needed too. */
static void touch_target(struct zset_object *object, double score, struct bytes member) {
    struct score_key key = key_right_of(score, member);
    struct score_path path;
    score_tree_find(&object->tree, &key, &path);
    int error = zset__touch_ref(*score_tree_ref(&object->tree, &path));
    (void)error; /* the next run finds it again */
}

static int large_put(struct entry *entry, struct bytes member, double score, unsigned flags,
                     enum zset_outcome *outcome_out, double *score_out) {
    struct zset_object *object = zset__object(entry);
    struct zset_members__change change;
    int error = zset_members__plan(object, hash_key(member), member, score, &change);
    if (error == FIRN_EFAULT && !(flags & ZSET_INCR)) touch_target(object, score, member);
    if (error != 0) return error;
    int decided = put_decide(change.exists, change.old, &score, flags, outcome_out);
    *score_out = score;
    if (decided <= 0) return decided;
    if (!change.exists) note_encoding(entry, member.size, flags);
    score = stored_score(entry, score);
    if (change.exists) return large_rescore(object, &change, member, score);
    error = large_add(object, &change, member, score);
    entry->size += error == 0;
    return error;
}

int zset__add_to_tree(struct entry *entry, struct bytes member, double score) {
    struct zset_object *object = zset__object(entry);
    struct score_key key = key_right_of(score, member);
    struct score_path path;
    int moved;
    score_tree_find(&object->tree, &key, &path);
    int error = leaf_insert(object, &path, score, member, &moved);
    entry->size += error == 0;
    return error;
}

int zset__add_to_members(struct entry *entry, struct bytes member, double score) {
    struct zset_members__change change;
    int error = zset_members__plan(zset__object(entry), hash_key(member), member, score, &change);
    if (error == 0 && change.exists) error = FIRN_ECORRUPT;
    return error == 0 ? zset_members__apply(&change, member, score) : error;
}

int zset_put(struct entry *entry, struct bytes member, double score, unsigned flags,
             enum zset_outcome *outcome_out, double *score_out) {
    if (zset__object(entry) != NULL) return large_put(entry, member, score, flags, outcome_out, score_out);
    struct small small;
    struct page *page;
    uint32_t index = 0;
    int error = small_open(entry, ZSET__STILL, &small);
    if (error != 0) return error;
    int exists = score_view_find(&small.view, member, &index), decided;
    decided =
        put_decide(exists, exists ? score_view_score(&small.view, index) : 0, &score, flags, outcome_out);
    *score_out = score;
    if (decided <= 0) return decided;
    size_t bytes = exists ? small.payload.size : score_page_bytes_with(small.payload, member.size);
    if (bytes > PAGE_BYTES_MAX && small.view.count == 0) return FIRN_ETOOBIG;
    if (!exists && bytes > SCORE_PAGE_SPLIT_BYTES && small.view.count > 0) {
        error = make_large(entry);
        if (error != 0) return error;
        return large_put(entry, member, score, flags & ZSET_AS_LISTPACK, outcome_out, score_out);
    }
    struct score_key key = key_right_of(score, member);
    if (!exists) index = score_view_position(&small.view, &key); /* page_write may move what is viewed */
    error = page_write(small.slot.ref, bytes, &page);
    if (error != 0) return zset__error(error);
    if (!exists) note_encoding(entry, member.size, flags);
    score = stored_score(entry, score);
    if (exists) {
        page_rescore(page, index, score, member);
    } else {
        score_page_insert(page, index, score, member);
        entry->size++;
    }
    small_close(&small);
    return 0;
}

int zset_touch_put(struct entry *entry, struct bytes member, double score, unsigned flags) {
    struct zset_object *object = zset__object(entry);
    if (object == NULL) return zset__touch_ref(entry_ref(entry));
    if (object->members.head.pages_dram == object->members.head.pages) return 0;
    enum zset_outcome outcome;
    struct score_path path;
    double old = 0;
    int error = zset_members__find(object, hash_key(member), member, ZSET__STILL, &old);
    if (error == FIRN_EFAULT && !(flags & ZSET_INCR)) touch_target(object, score, member);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    int exists = error == 0;
    if (put_decide(exists, old, &score, flags, &outcome) <= 0) return 0;
    struct score_key key = key_right_of(score, member);
    score_tree_find(&object->tree, &key, &path);
    error = zset__touch_ref(*score_tree_ref(&object->tree, &path));
    if (!exists || (error != 0 && error != FIRN_EFAULT)) return error;
    key.score = old;
    score_tree_find(&object->tree, &key, &path);
    int old_error = zset__touch_ref(*score_tree_ref(&object->tree, &path));
    return old_error != 0 ? old_error : error;
}

/* --- removing --- */

static int small_remove(struct entry *entry, uint32_t from, uint32_t to, struct small *small) {
    struct page *page;
    if (to - from == small->view.count) {
        page_release(small->copy);
        small->copy = 0;
    } else {
        int error = page_write(small->slot.ref, small->payload.size, &page);
        if (error != 0) return zset__error(error);
        score_page_remove(page, from, to);
        struct score_view view;
        error = score_page_open(bytes_of(page->data, page->bytes), 0, &view);
        FIRN_ASSERT(error == 0);
        if (page->capacity > 128 && page->bytes < page->capacity / 2) {
            struct page *smaller = score_page_part(&view, 0, view.count);
            if (smaller != NULL) {
                page_release(small->copy);
                small->copy = page_ref_of(smaller);
            }
        }
    }
    entry->size -= to - from;
    small_close(small);
    return 0;
}

int zset_remove(struct entry *entry, struct bytes member) {
    struct zset_object *object = zset__object(entry);
    uint32_t index;
    if (object == NULL) {
        struct small small;
        int error = small_open(entry, ZSET__STILL, &small);
        if (error != 0) return error;
        if (!score_view_find(&small.view, member, &index)) return FIRN_ENOTFOUND;
        return small_remove(entry, index, index + 1, &small);
    }
    struct score_path path;
    struct zset__slot slot;
    struct score_view view;
    uint64_t hash = hash_key(member);
    double score;
    int error = zset_members__find(object, hash, member, ZSET__STILL, &score);
    if (error == 0) error = locate_element(object, score, member, ZSET__STILL, &path, &slot, &view, &index);
    if (error == 0) error = leaf_prepare(&slot, 0);
    if (error == 0) error = zset_members__remove(object, hash, member);
    if (error != 0) return error;
    leaf_remove(object, &path, index, index + 1);
    entry->size--;
    return 0;
}

int zset_touch_remove(struct entry *entry, struct bytes member) {
    struct zset_object *object = zset__object(entry);
    if (object == NULL) return zset__touch_ref(entry_ref(entry));
    if (object->members.head.pages_dram == object->members.head.pages) return 0;
    struct score_path path;
    double score = 0;
    int error = zset_members__find(object, hash_key(member), member, ZSET__STILL, &score);
    if (error != 0) return error == FIRN_ENOTFOUND ? 0 : error;
    struct score_key key = key_right_of(score, member);
    score_tree_find(&object->tree, &key, &path);
    return zset__touch_ref(*score_tree_ref(&object->tree, &path));
}

/* Take [from, to) of a leaf out, member by member out of their pages, then at once out of the leaf.
 * *removed_out also when it stops at an error. */
static int remove_run(struct zset_object *object, struct score_path *path, uint32_t from, uint32_t to,
                      uint32_t *removed_out) {
    struct zset__slot slot;
    struct score_view view;
    uint32_t at = from;
    *removed_out = 0;
    leaf_slot(object, path, &slot);
    int error = leaf_prepare(&slot, 0);
    if (error == 0) error = leaf_open(object, path, ZSET__STILL, &slot, &view, NULL);
    for (; error == 0 && at < to; at++) {
        struct bytes member = score_view_member(&view, at);
        error = zset_members__remove(object, hash_key(member), member);
        if (error != 0) break;
        fault_must_finish(); /* from here on there is no way back */
    }
    if (at > from) leaf_remove(object, path, from, at);
    *removed_out = at - from;
    return zset__error(error);
}

int zset_remove_span(struct entry *entry, struct zset_span span, uint64_t *removed_out) {
    struct zset_object *object = zset__object(entry);
    *removed_out = 0;
    FIRN_ASSERT(span.first + span.count <= entry->size);
    if (span.count == 0) return 0;
    if (object == NULL) {
        struct small small;
        int error = small_open(entry, ZSET__STILL, &small);
        if (error == 0)
            error = small_remove(entry, (uint32_t)span.first, (uint32_t)(span.first + span.count), &small);
        if (error == 0) *removed_out = span.count;
        return error;
    }
    while (*removed_out < span.count) {
        struct score_path path;
        uint32_t removed;
        uint64_t left = span.count - *removed_out;
        score_tree_find_rank(&object->tree, span.first, &path);
        uint32_t from = (uint32_t)(span.first - path.rank), count = score_tree_count(&object->tree, &path);
        uint32_t to = left < count - from ? from + (uint32_t)left : count;
        int error = remove_run(object, &path, from, to, &removed);
        entry->size -= removed;
        *removed_out += removed;
        if (error != 0) return error;
    }
    return 0;
}

/* --- results --- */

/* The first member with a score of -0, copied. */
static int find_negative_zero(struct bytes member, double score, void *ctx) {
    struct bytes_builder *found = ctx;
    if (!signbit(score)) return 0;
    bytes_builder_append(found, member.data, member.size);
    return 1;
}

void zset_settle_encoding(struct entry *entry, size_t longest_member_bytes) {
    struct score_key from = {.kind = SCORE_KEY_SCORE}, to = {.kind = SCORE_KEY_SCORE, .after = 1};
    struct bytes_builder member = {0};
    struct zset_span zeros;
    int fits = entry->size <= type_limits.zset_max_listpack_entries &&
               longest_member_bytes <= type_limits.zset_max_listpack_value;
    entry_set_encoding(entry, fits ? ENCODING_LISTPACK : ENCODING_SKIPLIST);
    while (fits && zset_span(entry, &from, &to, &zeros) == 0 &&
           zset_each(entry, zeros, 0, find_negative_zero, &member) == 1) {
        enum zset_outcome outcome;
        double given;
        int error = zset_remove(entry, bytes_builder_bytes(&member));
        if (error == 0)
            error = zset_put(entry, bytes_builder_bytes(&member), 0, ZSET_AS_LISTPACK, &outcome, &given);
        FIRN_ASSERT(error == 0);
        bytes_builder_clear(&member);
    }
    bytes_builder_fini(&member);
}
