/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets: looking up and changing; layout and invariants in set.h. Everything goes through struct set__slot
 * (set_internal.h), so that each change of a page reference or its size is accounted in one place
 * (set__close).
 *
 * A packed page that would exceed PACKED_PAGE_SPLIT_BYTES is split until it does not or holds one member
 * only. While the reported encoding is listpack, clients see the order in which members came, so the one page
 * of a small set may grow to SET_SMALL_PAGE_BYTES_MAX. Integers become members of packed pages, as text, when
 * one that is no integer joins them, when there are too many of them for an intset, or when their page would
 * exceed SET_INTEGERS_BYTES_MAX.
 */
#include "types/set.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "page/fault.h"
#include "types/intset_page.h"
#include "types/set_internal.h"

#define SET_JOIN_BYTES         (PACKED_PAGE_SPLIT_BYTES / 2) /* neighbours with no more together are united */
#define SET_INTEGERS_BYTES_MAX (64u << 10)                   /* only with thresholds far above the default */

struct entry *set_create(struct bytes key, struct bytes first, size_t expected) {
    int64_t number;
    enum encoding encoding = ENCODING_HASHTABLE;
    if (expected <= type_limits.set_max_intset_entries && number_parse_int(first, &number) == 0) {
        encoding = ENCODING_INTSET;
    } else if (expected <= type_limits.set_max_listpack_entries) {
        encoding = ENCODING_LISTPACK;
    }
    return entry_create(key, TYPE_SET, encoding, 1, 0, 0);
}

/* --- slots --- */

static inline void slot_remember(struct set__slot *slot) {
    uint64_t ref = *slot->ref;
    slot->before_ref = ref;
    slot->before_bytes = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref)->bytes : 0;
}

void set__open(struct entry *entry, uint64_t hash, struct set__slot *slot) {
    slot->entry = entry;
    slot->hash = hash;
    slot->copy = entry_ref(entry);
    slot->object = page_ref_tag(slot->copy) == PAGE_TAG_OBJECT ? page_ref_object(slot->copy) : NULL;
    slot->ref = slot->object != NULL ? page_directory_ref(&slot->object->directory, hash) : &slot->copy;
    slot_remember(slot);
}

void set__open_range(struct entry *entry, const struct directory_range *range, struct set__slot *slot) {
    slot->entry = entry;
    slot->hash = range->start;
    slot->object = set__object(entry);
    slot->ref = range->ref;
    slot_remember(slot);
}

int set__read(struct set__slot *slot, int promote, struct bytes *payload_out) {
    *payload_out = bytes_of(NULL, 0);
    if (*slot->ref == 0) return 0;
    return set__error(promote ? page_read(slot->ref, payload_out) : page_peek(*slot->ref, payload_out, NULL));
}

int set__read_to_change(struct set__slot *slot, struct bytes *payload_out) {
    int error = set__read(slot, 0, payload_out);
    if (error != 0 || !page_ref_is_lower(*slot->ref)) return error;
    return set__is_integers(slot->entry) ? intset_page_check(*payload_out) : packed_page_check(*payload_out);
}

void set__close(struct set__slot *slot) {
    uint64_t ref = *slot->ref;
    int is_dram = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
    uint32_t bytes = is_dram ? page_ref_dram(ref)->bytes : 0;
    if (slot->object == NULL) {
        if (ref != slot->before_ref) entry_store_ref(slot->entry, ref);
        return;
    }
    if (ref != slot->before_ref || bytes != slot->before_bytes) {
        int was_dram = slot->before_ref != 0 && page_ref_tag(slot->before_ref) == PAGE_TAG_DRAM;
        object_account(&slot->object->head, (int64_t)bytes - slot->before_bytes,
                       (ref != 0) - (slot->before_ref != 0), is_dram - was_dram);
    }
    slot_remember(slot);
}

static void set_drop_page(struct set__slot *slot) {
    page_release(*slot->ref);
    *slot->ref = 0;
}

/* --- small to large, splitting --- */

static void set_make_large(struct set__slot *slot) {
    FIRN_ASSERT(slot->object == NULL && slot->copy == slot->before_ref && !set__is_integers(slot->entry));
    struct set_object *object = memory_alloc_zero(sizeof *object);
    page_directory_init(&object->directory, slot->copy);
    object_register(&object->head, TYPE_SET);
    object_account(&object->head, slot->before_bytes, slot->copy != 0,
                   slot->copy != 0 && page_ref_tag(slot->copy) == PAGE_TAG_DRAM);
    entry_store_ref(slot->entry, page_ref_of_object(object));
    object_set_pinned(slot->entry);
    set__open(slot->entry, slot->hash, slot);
}

static void set_adopt(struct set_object *object, const struct page *page) {
    if (page != NULL) object_account(&object->head, page->bytes, 1, 1);
}

/* Split the slot's range once; ${payload} is its page's content, checked. The slot is opened anew. */
static int set_split(struct set__slot *slot, struct bytes payload) {
    struct set_object *object = slot->object;
    struct directory_range range;
    page_directory_find(&object->directory, slot->hash, &range);
    if (range.depth == DIRECTORY_DEPTH_MAX) return FIRN_ETOOBIG;
    unsigned bit = 63 - range.depth;
    uint64_t old = *slot->ref;
    if (packed_page_count(payload) == 1) { /* moves as a whole */
        struct packed_entry only;
        int error = packed_page_at(payload, 0, &only);
        if (error != 0) return set__error(error);
        int side = (int)(hash_key(only.field) >> bit & 1u);
        error = page_directory_split(&object->directory, range.start, side ? 0 : old, side ? old : 0);
        if (error != 0) return error;
    } else {
        struct page *zero, *one;
        int error = packed_page_split(payload, bit, NULL, &zero, &one);
        if (error != 0) return error;
        error = page_directory_split(&object->directory, range.start, page_ref_of(zero), page_ref_of(one));
        FIRN_ASSERT(error == 0);
        object_account(&object->head, -(int64_t)slot->before_bytes, -1,
                       -(page_ref_tag(old) == PAGE_TAG_DRAM));
        set_adopt(object, zero);
        set_adopt(object, one);
        page_release(old);
    }
    set__open(slot->entry, slot->hash, slot);
    return 0;
}

/* Whether a page of the slot may have ${bytes} with ${count} members. */
static inline int set_page_fits(const struct set__slot *slot, size_t bytes, unsigned count) {
    if (bytes <= PACKED_PAGE_SPLIT_BYTES || count == 1) return 1;
    return slot->object == NULL && entry_encoding(slot->entry) != ENCODING_HASHTABLE &&
           bytes <= SET_SMALL_PAGE_BYTES_MAX;
}

/* Split the one page of a set that has just become large until all its pages fit. On failure what does not
 * fit is left for later changes. */
static int set_split_all(struct entry *entry) {
    struct set_object *object = set__object(entry);
    struct directory_range range;
    page_directory_find(&object->directory, 0, &range);
    for (;;) {
        struct set__slot slot;
        struct bytes payload;
        set__open_range(entry, &range, &slot);
        int error = set__read_to_change(&slot, &payload);
        if (error != 0) return error;
        if (set_page_fits(&slot, payload.size, packed_page_count(payload)) ||
            range.depth == DIRECTORY_DEPTH_MAX) {
            if (!page_directory_next(&object->directory, &range)) return 0;
            continue;
        }
        error = set_split(&slot, payload);
        if (error != 0) return error;
        page_directory_find(&object->directory, range.start, &range);
    }
}

/* One step towards room in the slot's page, whose content is ${payload}. FIRN_ETOOBIG: it cannot be split
 * further. The slot is opened anew. */
static int set_make_room(struct set__slot *slot, struct bytes payload) {
    if (slot->object != NULL) return set_split(slot, payload);
    set_make_large(slot);
    int error = set_split_all(slot->entry);
    set__open(slot->entry, slot->hash, slot);
    return error;
}

/* --- taking memory back --- */

/* Unite the range of ${hash} with its neighbour while both are small and in DRAM, or one has no page. A
 * neighbour below stays apart: a command that touched an empty range must not find it holding a page that it
 * has not touched. */
static void set_join(struct entry *entry, uint64_t hash) {
    struct set_object *object = set__object(entry);
    struct directory_range range, buddy;
    for (;;) {
        page_directory_find(&object->directory, hash, &range);
        if (!page_directory_buddy(&object->directory, &range, &buddy)) return;
        uint64_t a = *range.ref, b = *buddy.ref;
        if (page_ref_is_lower(a) || page_ref_is_lower(b)) return;
        if (a == 0 || b == 0) {
            page_directory_merge(&object->directory, &range, a | b);
            continue;
        }
        const struct page *left = page_ref_dram(a), *right = page_ref_dram(b);
        if (left->bytes + right->bytes > SET_JOIN_BYTES) return;
        struct page *page;
        if (packed_page_join(bytes_of(left->data, left->bytes), bytes_of(right->data, right->bytes), &page) !=
            0)
            return;
        object_account(&object->head, (int64_t)page->bytes - left->bytes - right->bytes, -1, -1);
        page_directory_merge(&object->directory, &range, page_ref_of(page));
        page_release(a);
        page_release(b);
    }
}

/* The content of ${page} in a page no larger than needed, or NULL. */
static struct page *set_smaller(const struct entry *entry, const struct page *page) {
    struct page *smaller = NULL;
    struct bytes payload = bytes_of(page->data, page->bytes);
    if (!set__is_integers(entry))
        return packed_page_join(payload, bytes_of(NULL, 0), &smaller) == 0 ? smaller : NULL;
    smaller = page_try_create(payload.size);
    if (smaller == NULL) return NULL;
    memcpy(smaller->data, payload.data, payload.size);
    smaller->bytes = page->bytes;
    return smaller;
}

void set__close_smaller(struct set__slot *slot) {
    uint64_t ref = *slot->ref;
    const struct page *page = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref) : NULL;
    if (page != NULL && page->capacity > 128 && page->bytes < page->capacity / 2) {
        const struct page *smaller = set_smaller(slot->entry, page);
        if (smaller != NULL) {
            page_release(ref);
            *slot->ref = page_ref_of(smaller);
            page = smaller;
        }
    }
    set__close(slot);
    if (slot->object != NULL && (page == NULL || page->bytes < SET_JOIN_BYTES / 2))
        set_join(slot->entry, slot->hash);
}

/* --- looking up --- */

/* Whether ${member} is in the payload of its small set of integers. */
static int integers_contain(struct bytes payload, int64_t number) {
    struct intset_view view;
    uint32_t index;
    int error = intset_page_open(payload, &view);
    if (error != 0) return error;
    return intset_page_find(&view, number, &index) ? 0 : FIRN_ENOTFOUND;
}

static inline int set_find(struct entry *entry, struct bytes member, int promote) {
    struct set__slot slot;
    struct bytes payload;
    struct packed_entry found;
    int64_t number;
    int is_integers = set__is_integers(entry);
    if (is_integers && number_parse_int(member, &number) != 0) return FIRN_ENOTFOUND;
    uint64_t hash = is_integers ? 0 : hash_key(member);
    set__open(entry, hash, &slot);
    int is_lower = page_ref_is_lower(*slot.ref);
    int error = set__read(&slot, promote, &payload);
    if (error != 0) return error;
    if (promote && is_lower) set__close(&slot); /* may be promoted now */
    if (payload.size == 0) return FIRN_ENOTFOUND;
    return is_integers ? integers_contain(payload, number) : packed_page_find(payload, hash, member, &found);
}

int set_contains(struct entry *entry, struct bytes member) {
    return set_find(entry, member, 1);
}

int set_contains_still(struct entry *entry, struct bytes member) {
    return set_find(entry, member, 0);
}

int set__touch_ref(uint64_t ref) {
    if (ref == 0 || page_is_ready(ref)) return 0;
    struct bytes payload;
    return set__error(page_peek(ref, &payload, NULL));
}

int set_is_resident(const struct entry *entry) {
    const struct set_object *object = set__object(entry);
    if (object != NULL) return object->head.pages_dram == object->head.pages;
    return !page_ref_is_lower(entry_ref(entry));
}

int set_touch(struct entry *entry, struct bytes member) {
    uint64_t ref = entry_ref(entry);
    if (page_ref_tag(ref) == PAGE_TAG_OBJECT) {
        const struct set_object *object = page_ref_object(ref);
        if (object->head.pages_dram == object->head.pages) return 0;
        ref = *page_directory_ref(&object->directory, hash_key(member));
    }
    return set__touch_ref(ref);
}

/* --- encodings --- */

static int set_add_packed(struct entry *entry, struct bytes member, unsigned flags, int *added_out);

/* Turn a small set of integers into one that reports ${encoding} and has packed pages. */
static int set_unpack_integers(struct entry *entry, enum encoding encoding) {
    struct set__slot slot;
    struct bytes payload;
    struct intset_view view;
    set__open(entry, 0, &slot);
    int error = set__read_to_change(&slot, &payload);
    if (error == 0) error = intset_page_open(payload, &view);
    if (error != 0) return error;
    struct entry *fresh = entry_create(
        bytes_of(NULL, 0), TYPE_SET, encoding == ENCODING_LISTPACK ? encoding : ENCODING_HASHTABLE, 1, 0, 0);
    for (uint32_t i = 0; error == 0 && i < view.count; i++) {
        char digits[NUMBER_INT_TEXT_MAX];
        unsigned size = number_format_int(intset_page_at(&view, i), digits);
        error = set_add_packed(fresh, bytes_of(digits, size), SET_AS_LISTPACK, NULL);
    }
    if (error != 0) {
        type_set_ops.free_value(fresh);
    } else {
        page_release(entry_ref(entry));
        entry_store_ref(entry, entry_ref(fresh));
        entry_set_encoding(entry, encoding);
        object_set_pinned(entry);
    }
    entry_free(fresh);
    return error;
}

/* ${member}, no integer, joins integers: what the set becomes. */
static int set_leave_integers(struct entry *entry, struct bytes member) {
    struct set__slot slot;
    struct bytes payload;
    struct intset_view view;
    enum encoding encoding = ENCODING_HASHTABLE;
    if (set__object(entry) == NULL) {
        set__open(entry, 0, &slot);
        int error = set__read_to_change(&slot, &payload);
        if (error == 0) error = intset_page_open(payload, &view);
        if (error != 0) return error;
        size_t longest = 0;
        if (view.count > 0) {
            size_t first = number_int_length(intset_page_at(&view, 0)),
                   last = number_int_length(intset_page_at(&view, view.count - 1));
            longest = first > last ? first : last;
        }
        if (view.count < type_limits.set_max_listpack_entries &&
            member.size <= type_limits.set_max_listpack_value &&
            longest <= type_limits.set_max_listpack_value)
            encoding = ENCODING_LISTPACK;
        return set_unpack_integers(entry, encoding);
    }
    entry_set_encoding(entry, encoding);
    return 0;
}

int set_expect(struct entry *entry, size_t count) {
    enum encoding encoding = entry_encoding(entry);
    if (encoding == ENCODING_LISTPACK && count > type_limits.set_max_listpack_entries) {
        entry_set_encoding(entry, ENCODING_HASHTABLE);
    } else if (encoding == ENCODING_INTSET && count > type_limits.set_max_intset_entries) {
        if (set__is_integers(entry)) return set_unpack_integers(entry, ENCODING_HASHTABLE);
        entry_set_encoding(entry, ENCODING_HASHTABLE);
    }
    return 0;
}

/* --- adding --- */

/* A new member comes to a set with packed pages. */
static inline void set_note_encoding(struct entry *entry, size_t member_bytes) {
    enum encoding encoding = entry_encoding(entry);
    if (__builtin_expect(encoding == ENCODING_HASHTABLE, 1)) return;
    if (encoding == ENCODING_INTSET) {
        if (entry->size >= type_limits.set_max_intset_entries) entry_set_encoding(entry, ENCODING_HASHTABLE);
    } else if (entry->size >= type_limits.set_max_listpack_entries ||
               member_bytes > type_limits.set_max_listpack_value) {
        entry_set_encoding(entry, ENCODING_HASHTABLE);
    }
}

static int set_add_packed(struct entry *entry, struct bytes member, unsigned flags, int *added_out) {
    uint64_t hash = hash_key(member);
    struct set__slot slot;
    size_t bytes;
    if (added_out != NULL) *added_out = 0;
    set__open(entry, hash, &slot);
    for (;;) {
        struct bytes payload;
        struct packed_entry found;
        int error = set__read_to_change(&slot, &payload);
        if (error != 0) return error;
        error = payload.size > 0 ? packed_page_find(payload, hash, member, &found) : FIRN_ENOTFOUND;
        if (error != FIRN_ENOTFOUND) return error;
        unsigned count = packed_page_count(payload) + 1;
        bytes = packed_page_bytes_with(payload, PACKED_NO_VALUES, member.size, 0, 0);
        if (bytes > PAGE_BYTES_MAX || count > PACKED_ENTRIES_MAX) return FIRN_ETOOBIG;
        if (!(flags & SET_AS_LISTPACK)) set_note_encoding(entry, member.size);
        if (__builtin_expect(set_page_fits(&slot, bytes, count), 1)) break;
        error = set_make_room(&slot, payload);
        if (error == FIRN_ETOOBIG) break;
        if (error != 0) return error;
    }
    struct page *page;
    int fresh = *slot.ref == 0, error = page_write(slot.ref, bytes, &page);
    if (error != 0) {
        set__close(&slot);
        return set__error(error);
    }
    if (fresh) packed_page_init(page, 0, PACKED_NO_VALUES);
    packed_page_append(page, hash, member, bytes_of(NULL, 0), -1);
    entry->size++;
    set__close(&slot);
    if (added_out != NULL) *added_out = 1;
    return 0;
}

/* FIRN_ENOTFOUND: it cannot be an integer among integers any more; the set has been converted. */
static int set_add_integer(struct entry *entry, int64_t number, int *added_out) {
    struct set__slot slot;
    struct bytes payload;
    struct intset_view view;
    struct page *page;
    uint32_t index;
    set__open(entry, 0, &slot);
    int error = set__read_to_change(&slot, &payload);
    if (error == 0) error = intset_page_open(payload, &view);
    if (error != 0) return error;
    if (added_out != NULL) *added_out = 0;
    if (intset_page_find(&view, number, &index)) return 0;
    size_t bytes = intset_page_bytes_with(&view, number);
    int too_many = view.count >= type_limits.set_max_intset_entries;
    if (__builtin_expect(too_many || bytes > SET_INTEGERS_BYTES_MAX, 0)) {
        error = set_unpack_integers(entry, too_many ? ENCODING_HASHTABLE : ENCODING_INTSET);
        return error != 0 ? error : FIRN_ENOTFOUND;
    }
    error = page_write(slot.ref, bytes, &page);
    if (error != 0) return set__error(error);
    intset_page_insert(page, index, number);
    entry->size++;
    set__close(&slot);
    if (added_out != NULL) *added_out = 1;
    return 0;
}

int set_add(struct entry *entry, struct bytes member, unsigned flags, int *added_out) {
    if (member.size > PACKED_BYTES_MAX) return FIRN_ETOOBIG;
    if (__builtin_expect(entry_encoding(entry) == ENCODING_INTSET, 0)) {
        int64_t number;
        int is_integer = number_parse_int(member, &number) == 0;
        int error = FIRN_ENOTFOUND;
        if (!is_integer) {
            error = set_leave_integers(entry, member);
            if (error != 0) return error;
        } else if (set__object(entry) == NULL) {
            error = set_add_integer(entry, number, added_out);
            if (error != FIRN_ENOTFOUND) return error;
        }
    }
    return set_add_packed(entry, member, flags, added_out);
}

/* --- removing --- */

static int set_remove_integer(struct set__slot *slot, struct bytes payload, uint32_t index, uint32_t count) {
    struct page *page;
    if (count == 1) {
        set_drop_page(slot);
    } else {
        int error = page_write(slot->ref, payload.size, &page);
        if (error != 0) return set__error(error);
        intset_page_remove(page, index);
    }
    slot->entry->size--;
    set__close_smaller(slot);
    return 0;
}

int set_remove(struct entry *entry, struct bytes member) {
    struct set__slot slot;
    struct bytes payload;
    int64_t number;
    int is_integers = set__is_integers(entry);
    if (is_integers && number_parse_int(member, &number) != 0) return FIRN_ENOTFOUND;
    uint64_t hash = is_integers ? 0 : hash_key(member);
    set__open(entry, hash, &slot);
    int error = set__read_to_change(&slot, &payload);
    if (error != 0) return error;
    if (payload.size == 0) return FIRN_ENOTFOUND;
    if (is_integers) {
        struct intset_view view;
        uint32_t index;
        error = intset_page_open(payload, &view);
        if (error != 0) return error;
        if (!intset_page_find(&view, number, &index)) return FIRN_ENOTFOUND;
        return set_remove_integer(&slot, payload, index, view.count);
    }
    struct packed_entry found;
    error = packed_page_find(payload, hash, member, &found);
    if (error != 0) return error;
    if (packed_page_count(payload) == 1) {
        set_drop_page(&slot);
    } else {
        struct page *page;
        error = page_write(slot.ref, payload.size, &page);
        if (error != 0) return set__error(error);
        packed_page_remove(page, &found);
    }
    entry->size--;
    set__close_smaller(&slot);
    return 0;
}

/* --- random members --- */

static uint64_t set_draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Open the slot of a drawn page; what is left of the draw chooses the member. */
static uint64_t set_open_drawn(struct entry *entry, uint64_t *state_inout, struct set__slot *slot) {
    const struct set_object *object = set__object(entry);
    FIRN_ASSERT(object == NULL || object->head.pages > 0);
    do {
        set__open(entry, object != NULL ? set_draw(state_inout) : 0, slot);
    } while (object != NULL && *slot->ref == 0);
    return set_draw(state_inout) >> 32;
}

int set_random(struct entry *entry, uint64_t *state_inout, char digits[NUMBER_INT_TEXT_MAX],
               struct bytes *member_out) {
    struct set__slot slot;
    struct bytes payload;
    if (entry->size == 0) return FIRN_ENOTFOUND;
    uint64_t which = set_open_drawn(entry, state_inout, &slot);
    if (member_out == NULL) return set__touch_ref(*slot.ref);
    int error = set__read(&slot, 1, &payload);
    set__close(&slot);
    if (error != 0) return error;
    if (set__is_integers(entry)) {
        struct intset_view view;
        error = intset_page_open(payload, &view);
        if (error != 0 || view.count == 0) return FIRN_ECORRUPT;
        int64_t number = intset_page_at(&view, (uint32_t)(which * view.count >> 32));
        *member_out = bytes_of(digits, number_format_int(number, digits));
        return 0;
    }
    struct packed_entry found;
    unsigned count = packed_page_count(payload);
    if (count == 0) return FIRN_ECORRUPT;
    error = packed_page_at(payload, (unsigned)(which * count >> 32), &found);
    if (error != 0) return set__error(error);
    *member_out = found.field;
    return 0;
}

static int set_pop_integer(struct set__slot *slot, struct bytes payload, uint64_t which,
                           void (*receive)(struct bytes member, void *ctx), void *ctx) {
    struct intset_view view;
    struct page *page;
    char digits[NUMBER_INT_TEXT_MAX];
    int error = intset_page_open(payload, &view);
    if (error == 0 && view.count == 0) error = FIRN_ECORRUPT;
    if (error == 0 && view.count > 1) error = page_write(slot->ref, payload.size, &page);
    if (error != 0) return set__error(error);
    if (view.count > 1)
        error = intset_page_open(bytes_of(page->data, page->bytes), &view); /* where it is now */
    FIRN_ASSERT(error == 0);
    uint32_t index = (uint32_t)(which * view.count >> 32);
    unsigned size = number_format_int(intset_page_at(&view, index), digits);
    receive(bytes_of(digits, size), ctx);
    error = set_remove_integer(slot, payload, index, view.count);
    FIRN_ASSERT(error == 0);
    return 0;
}

int set_pop(struct entry *entry, uint64_t *state_inout, void (*receive)(struct bytes member, void *ctx),
            void *ctx) {
    struct set__slot slot;
    struct bytes payload;
    struct packed_entry found;
    if (entry->size == 0) return FIRN_ENOTFOUND;
    uint64_t which = set_open_drawn(entry, state_inout, &slot);
    int error = set__read_to_change(&slot, &payload);
    if (error != 0) return error;
    if (set__is_integers(entry)) return set_pop_integer(&slot, payload, which, receive, ctx);
    unsigned count = packed_page_count(payload);
    if (count == 0) return FIRN_ECORRUPT;
    error = packed_page_at(payload, (unsigned)(which * count >> 32), &found);
    if (error != 0) return set__error(error);
    if (count == 1) {
        receive(found.field, ctx);
        set_drop_page(&slot);
    } else {
        struct page *page;
        size_t at = (size_t)(found.field.data - payload.data);
        error = page_write(slot.ref, payload.size, &page);
        if (error != 0) return set__error(error);
        receive(bytes_of(page->data + at, found.field.size), ctx);
        packed_page_remove(page, &found);
    }
    entry->size--;
    set__close_smaller(&slot);
    return 0;
}
