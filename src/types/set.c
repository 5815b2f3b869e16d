/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets: looking up and changing; layout and invariants in set.h. A set of members on packed pages is a packed
 * collection (packed_collection.h); what is here is the page of integers, and what becomes of which.
 *
 * Integers become members of packed pages, as text, when one that is no integer joins them, when there are
 * too many of them for an intset, or when their page would exceed SET_INTEGERS_BYTES_MAX.
 */
#include "types/set.h"

#include "base/assert.h"
#include "base/memory.h"
#include "types/intset_page.h"
#include "types/set_internal.h"

#define SET_INTEGERS_BYTES_MAX (64u << 10) /* only with thresholds far above the default */

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

/* --- the page of integers --- */

int set__read_integers(struct packed_slot *slot, struct bytes *payload_out) {
    int error = packed_slot_read(slot, 0, payload_out);
    return error == 0 && page_ref_is_lower(*slot->ref) ? intset_page_check(*payload_out) : error;
}

/* Open the slot of a small set of integers, and its page. */
static int set_open_integers(struct entry *entry, struct packed_slot *slot, struct intset_view *view_out) {
    struct bytes payload;
    packed_slot_open(entry, 0, slot);
    int error = set__read_integers(slot, &payload);
    return error != 0 ? error : intset_page_open(payload, view_out);
}

/* After integers went: give memory back. Closes the slot. */
static void set_close_integers(struct packed_slot *slot) {
    uint64_t ref = *slot->ref;
    const struct page *page = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref) : NULL;
    struct page *smaller = NULL;
    if (page != NULL && page->capacity > 128 && page->bytes < page->capacity / 2)
        smaller = page_try_create(page->bytes);
    if (smaller != NULL) {
        memcpy(smaller->data, page->data, page->bytes);
        smaller->bytes = page->bytes;
        page_release(ref);
        *slot->ref = page_ref_of(smaller);
    }
    packed_slot_close(slot);
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

static int set_find_integer(struct entry *entry, struct bytes member, int promote) {
    struct packed_slot slot;
    struct bytes payload;
    int64_t number;
    if (number_parse_int(member, &number) != 0) return FIRN_ENOTFOUND;
    packed_slot_open(entry, 0, &slot);
    int error = packed_slot_read(&slot, promote, &payload);
    if (error != 0) return error;
    if (promote) packed_slot_close(&slot);
    return payload.size == 0 ? FIRN_ENOTFOUND : integers_contain(payload, number);
}

static inline int set_find(struct entry *entry, struct bytes member, int promote) {
    struct packed_slot slot;
    struct packed_entry found;
    if (set__is_integers(entry)) return set_find_integer(entry, member, promote);
    packed_slot_open(entry, hash_key(member), &slot);
    return packed_slot_find(&slot, member, promote, &found);
}

int set_contains(struct entry *entry, struct bytes member) {
    return set_find(entry, member, 1);
}

int set_contains_still(struct entry *entry, struct bytes member) {
    return set_find(entry, member, 0);
}

int set_is_resident(const struct entry *entry) {
    return packed_collection_is_resident(entry);
}

int set_touch(struct entry *entry, struct bytes member) {
    return packed_collection_touch(entry, member);
}

int set_touch_all(struct entry *entry) {
    return packed_collection_touch_all(entry);
}

/* --- encodings --- */

static int set_add_packed(struct entry *entry, struct bytes member, unsigned flags, int *added_out);

/* Turn a small set of integers into one that reports ${encoding} and has packed pages. */
static int set_unpack_integers(struct entry *entry, enum encoding encoding) {
    struct packed_slot slot;
    struct intset_view view;
    int error = set_open_integers(entry, &slot, &view);
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
    struct packed_slot slot;
    struct intset_view view;
    enum encoding encoding = ENCODING_HASHTABLE;
    if (packed_collection_of(entry) == NULL) {
        int error = set_open_integers(entry, &slot, &view);
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
    struct packed_slot slot;
    struct packed_plan plan;
    if (added_out != NULL) *added_out = 0;
    packed_slot_open(entry, hash_key(member), &slot);
    int error = packed_slot_plan(&slot, member, 0, PACKED_NO_VALUES, 0, &plan);
    if (error != 0 || !plan.is_new) return error;
    if (!(flags & SET_AS_LISTPACK)) set_note_encoding(entry, member.size);
    error = packed_slot_put(&slot, &plan, member, bytes_of(NULL, 0));
    if (error != 0) return error;
    entry->size++;
    if (added_out != NULL) *added_out = 1;
    return 0;
}

/* FIRN_ENOTFOUND: it cannot be an integer among integers any more; the set has been converted. */
static int set_add_integer(struct entry *entry, int64_t number, int *added_out) {
    struct packed_slot slot;
    struct intset_view view;
    struct page *page;
    uint32_t index;
    int error = set_open_integers(entry, &slot, &view);
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
    if (error != 0) return packed_error(error);
    intset_page_insert(page, index, number);
    entry->size++;
    packed_slot_close(&slot);
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
        } else if (packed_collection_of(entry) == NULL) {
            error = set_add_integer(entry, number, added_out);
            if (error != FIRN_ENOTFOUND) return error;
        }
    }
    return set_add_packed(entry, member, flags, added_out);
}

/* --- removing --- */

/* Take number ${index} of ${view}, the page in ${slot}, out; closes the slot. */
static int set_remove_integer(struct packed_slot *slot, const struct intset_view *view, uint32_t index,
                              void (*removing)(struct bytes member, void *ctx), void *ctx) {
    struct page *page = NULL;
    int64_t number = intset_page_at(view, index);
    if (view->count > 1) {
        int error = page_write(slot->ref, 0, &page);
        if (error != 0) return packed_error(error);
    }
    if (removing != NULL) {
        char digits[NUMBER_INT_TEXT_MAX];
        removing(bytes_of(digits, number_format_int(number, digits)), ctx);
    }
    if (page != NULL) {
        intset_page_remove(page, index);
    } else {
        packed_slot_drop(slot);
    }
    set_close_integers(slot);
    return 0;
}

static int set_remove_number(struct entry *entry, struct bytes member) {
    struct packed_slot slot;
    struct intset_view view;
    int64_t number;
    uint32_t index;
    if (number_parse_int(member, &number) != 0) return FIRN_ENOTFOUND;
    int error = set_open_integers(entry, &slot, &view);
    if (error != 0) return error;
    if (!intset_page_find(&view, number, &index)) return FIRN_ENOTFOUND;
    return set_remove_integer(&slot, &view, index, NULL, NULL);
}

static int set_remove_packed(struct entry *entry, struct bytes member) {
    struct packed_slot slot;
    struct bytes payload;
    struct packed_entry found;
    packed_slot_open(entry, hash_key(member), &slot);
    int error = packed_slot_read_to_change(&slot, &payload);
    if (error != 0) return error;
    if (payload.size == 0) return FIRN_ENOTFOUND;
    error = packed_page_find(payload, slot.hash, member, &found);
    return error != 0 ? error : packed_slot_remove(&slot, payload, &found, NULL, NULL);
}

int set_remove(struct entry *entry, struct bytes member) {
    int error = set__is_integers(entry) ? set_remove_number(entry, member) : set_remove_packed(entry, member);
    if (error == 0) entry->size--;
    return error;
}

/* --- random members --- */

/* The element of ${payload} that ${which} of packed_slot_open_drawn chooses. */
static int set_choose_packed(struct bytes payload, uint64_t which, struct packed_entry *found_out) {
    unsigned count = packed_page_count(payload);
    if (count == 0) return FIRN_ECORRUPT;
    return packed_error(packed_page_at(payload, (unsigned)(which * count >> 32), found_out));
}

int set_random(struct entry *entry, uint64_t *state_inout, char digits[NUMBER_INT_TEXT_MAX],
               struct bytes *member_out) {
    struct packed_slot slot;
    struct bytes payload;
    if (entry->size == 0) return FIRN_ENOTFOUND;
    uint64_t which = packed_slot_open_drawn(entry, state_inout, &slot);
    if (member_out == NULL) return packed_touch_ref(*slot.ref);
    int error = packed_slot_read(&slot, 1, &payload);
    packed_slot_close(&slot);
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
    error = set_choose_packed(payload, which, &found);
    if (error == 0) *member_out = found.field;
    return error;
}

static int set_pop_integer(struct packed_slot *slot, uint64_t which,
                           void (*receive)(struct bytes member, void *ctx), void *ctx) {
    struct bytes payload;
    struct intset_view view;
    int error = set__read_integers(slot, &payload);
    if (error == 0) error = intset_page_open(payload, &view);
    if (error == 0 && view.count == 0) error = FIRN_ECORRUPT;
    return error != 0 ? error
                      : set_remove_integer(slot, &view, (uint32_t)(which * view.count >> 32), receive, ctx);
}

static int set_pop_packed(struct packed_slot *slot, uint64_t which,
                          void (*receive)(struct bytes member, void *ctx), void *ctx) {
    struct bytes payload;
    struct packed_entry found;
    int error = packed_slot_read_to_change(slot, &payload);
    if (error == 0) error = set_choose_packed(payload, which, &found);
    return error != 0 ? error : packed_slot_remove(slot, payload, &found, receive, ctx);
}

int set_pop(struct entry *entry, uint64_t *state_inout, void (*receive)(struct bytes member, void *ctx),
            void *ctx) {
    struct packed_slot slot;
    if (entry->size == 0) return FIRN_ENOTFOUND;
    uint64_t which = packed_slot_open_drawn(entry, state_inout, &slot);
    int error = set__is_integers(entry) ? set_pop_integer(&slot, which, receive, ctx)
                                        : set_pop_packed(&slot, which, receive, ctx);
    if (error == 0) entry->size--;
    return error;
}
