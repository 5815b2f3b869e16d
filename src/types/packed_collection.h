/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packed collections: elements (a byte string, for some types with a value and a deadline) found by
 * hash_key(element). A small one is one packed page (types/packed_page.h, elements in the order they came) on
 * an entry's ref. A large one is an OBJECT whose struct begins with struct packed_collection: a directory
 * (types/page_directory.h) of packed pages partitioning the hash space. Hashes and sets are this and nothing
 * else; a sorted set embeds a large one as its member -> score half (packed_slot_open_in) beside what else
 * its object has.
 *
 * Every change of a page reference goes through a struct packed_slot: open, read, change, close; closing
 * stores the reference back and accounts the page and its deadline. What a client sees of a type (encodings,
 * number of elements in entry->size) is the type's.
 *
 * PC1 A page above PACKED_PAGE_SPLIT_BYTES has one element, or is the page of a small collection whose
 *     reported encoding is not hashtable (clients see its order; up to PACKED_SMALL_BYTES_MAX), or could not
 *     be split for want of memory or depth.
 * PC2 head.dram_bytes, pages and pages_dram count the pages of the directory (and what else the type's object
 *     accounts there). The directory has the deadline of each page.
 * PC3 No page is empty: with its last element a page goes.
 * PC4 A call that returns FIRN_EFAULT has changed nothing.
 * PC5 An empty range is not united with a neighbour that is below: a command that touched it must not find a
 *     page there that it has not touched.
 *
 * Errors of every call that reads a page: FIRN_EFAULT (async mode, page not here), FIRN_EIO, FIRN_ECORRUPT (a
 * record that is gone, too); of calls that write also FIRN_ENOMEM, FIRN_ETOOBIG. Executor only.
 */
#ifndef FIRN_TYPES_PACKED_COLLECTION_H
#define FIRN_TYPES_PACKED_COLLECTION_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "types/entry.h"
#include "types/packed_page.h"
#include "types/page_directory.h"
#include "types/type.h"

#define PACKED_SMALL_BYTES_MAX (128u << 10) /* of the one page of a small collection */

struct packed_collection {
    struct object head;
    struct page_directory directory;
};

/* The object of a large collection, NULL for a small one. */
static inline struct packed_collection *packed_collection_of(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}

/* FIRN_ENOTFOUND of a record is a broken collection. */
static inline int packed_error(int error) {
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}

/* --- slots --- */

/* The page reference of a hash position under the hand: a copy of the entry's (small) or the directory's word
 * (large). Valid until the collection changes by another way; caller's memory, nothing to release. */
struct packed_slot {
    struct entry *entry;                  /* NULL: opened in a collection without one */
    struct packed_collection *collection; /* NULL: small */
    uint64_t *ref;
    uint64_t copy;
    uint64_t hash;
    uint64_t before_ref;
    uint32_t before_bytes;   /* of a DRAM page */
    int64_t before_deadline; /* of the page as read; -1 unknown or none */
};

/* Take note of what closing compares with. */
static inline void packed_slot_remember(struct packed_slot *slot) {
    uint64_t ref = *slot->ref;
    slot->before_ref = ref;
    slot->before_bytes = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref)->bytes : 0;
    slot->before_deadline = -1;
}

/* The slot of ${hash} in the collection of ${entry}. */
static inline void packed_slot_open(struct entry *entry, uint64_t hash, struct packed_slot *slot_out) {
    slot_out->entry = entry;
    slot_out->hash = hash;
    slot_out->copy = entry_ref(entry);
    slot_out->collection =
        page_ref_tag(slot_out->copy) == PAGE_TAG_OBJECT ? page_ref_object(slot_out->copy) : NULL;
    slot_out->ref = slot_out->collection != NULL ? page_directory_ref(&slot_out->collection->directory, hash)
                                                 : &slot_out->copy;
    packed_slot_remember(slot_out);
}

/* The slot of ${hash} in a large collection that is part of a type's object. */
static inline void packed_slot_open_in(struct packed_collection *collection, uint64_t hash,
                                       struct packed_slot *slot_out) {
    slot_out->entry = NULL;
    slot_out->hash = hash;
    slot_out->collection = collection;
    slot_out->ref = page_directory_ref(&collection->directory, hash);
    packed_slot_remember(slot_out);
}

/* The slot of a range of a large collection. ${entry} may be NULL. */
static inline void packed_slot_open_range(struct entry *entry, struct packed_collection *collection,
                                          const struct directory_range *range, struct packed_slot *slot_out) {
    slot_out->entry = entry;
    slot_out->hash = range->start;
    slot_out->collection = collection;
    slot_out->ref = range->ref;
    packed_slot_remember(slot_out);
}

/* The payload (size 0: no page). ${promote}: as page_read (then close the slot), else as page_peek. */
FIRN_MUST_USE static inline int packed_slot_read(struct packed_slot *slot, int promote,
                                                 struct bytes *payload_out) {
    *payload_out = bytes_of(NULL, 0);
    if (*slot->ref == 0) return 0;
    int error = promote ? page_read(slot->ref, payload_out) : page_peek(*slot->ref, payload_out, NULL);
    if (__builtin_expect(error != 0, 0)) return packed_error(error);
    slot->before_deadline = packed_page_deadline(*payload_out);
    return 0;
}

/* As page_peek, and checked where the page is about to be changed and comes from below. */
FIRN_MUST_USE static inline int packed_slot_read_to_change(struct packed_slot *slot,
                                                           struct bytes *payload_out) {
    int error = packed_slot_read(slot, 0, payload_out);
    if (error == 0 && page_ref_is_lower(*slot->ref)) error = packed_page_check(*payload_out);
    return error;
}

/* Store the reference back and account the page and its deadline. The slot stays open. */
static inline void packed_slot_close(struct packed_slot *slot) {
    uint64_t ref = *slot->ref;
    int is_dram = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
    uint32_t bytes = is_dram ? page_ref_dram(ref)->bytes : 0;
    if (slot->collection == NULL) {
        if (ref != slot->before_ref) entry_store_ref(slot->entry, ref);
        return;
    }
    if (ref != slot->before_ref || bytes != slot->before_bytes) {
        int was_dram = slot->before_ref != 0 && page_ref_tag(slot->before_ref) == PAGE_TAG_DRAM;
        object_account(&slot->collection->head, (int64_t)bytes - slot->before_bytes,
                       (ref != 0) - (slot->before_ref != 0), is_dram - was_dram);
    }
    if (is_dram || ref == 0) { /* a page below is as it was read */
        int64_t deadline = is_dram ? packed_page_deadline(bytes_of(page_ref_dram(ref)->data, bytes)) : -1;
        if (deadline != slot->before_deadline)
            page_directory_set_deadline(&slot->collection->directory, slot->hash, deadline);
    }
    packed_slot_remember(slot);
}

/* Let go of the page (it has become empty); close afterwards. */
void packed_slot_drop(struct packed_slot *slot);
/* After elements went: give memory back, or unite neighbours. Closes the slot. */
void packed_slot_close_smaller(struct packed_slot *slot);

/* Whether the slot's page may have ${bytes} of payload with ${count} elements (PC1). */
static inline int packed_slot_fits(const struct packed_slot *slot, size_t bytes, unsigned count) {
    if (__builtin_expect(bytes <= PACKED_PAGE_SPLIT_BYTES || count == 1, 1)) return 1;
    return slot->collection == NULL && entry_encoding(slot->entry) != ENCODING_HASHTABLE &&
           bytes <= PACKED_SMALL_BYTES_MAX;
}
/* One step towards room in the slot's page, whose content is ${payload} (checked): small becomes large, a
 * page is split. FIRN_ETOOBIG: it cannot be split further. The slot is opened anew; read it again. */
FIRN_MUST_USE int packed_slot_make_room(struct packed_slot *slot, struct bytes payload);

/* --- one element --- */

/* Find ${field} (whose hash the slot was opened with): 0 with *found_out (borrowed as by page_peek),
 * FIRN_ENOTFOUND. ${promote}: the page may come up. */
FIRN_MUST_USE static inline int packed_slot_find(struct packed_slot *slot, struct bytes field, int promote,
                                                 struct packed_entry *found_out) {
    struct bytes payload;
    int is_lower = page_ref_is_lower(*slot->ref);
    int error = packed_slot_read(slot, promote, &payload);
    if (error != 0) return error;
    if (promote && is_lower) packed_slot_close(slot); /* may be promoted now */
    return payload.size == 0 ? FIRN_ENOTFOUND : packed_page_find(payload, slot->hash, field, found_out);
}

/* What putting an element in comes to, given its page's content. */
struct packed_plan {
    struct bytes payload;
    struct packed_entry found; /* of an element that is there */
    int64_t expiry_ms;         /* that it will have */
    size_t value_bytes;
    size_t bytes;        /* of the page afterwards */
    unsigned count;      /* of its elements */
    unsigned page_flags; /* PACKED_NO_VALUES or 0, of all pages of the collection */
    int is_new, keep_expiry;
};

/*
 * Look at what putting ${field} with a value of ${value_bytes} comes to; changes nothing. plan->is_new says
 * whether the element is new; one that is there keeps its deadline with ${keep_expiry}, else it has none
 * afterwards. FIRN_ETOOBIG: no page can take it. Between plan and put the type updates its reported encoding
 * and may give up (a set whose member is there).
 */
FIRN_MUST_USE int packed_slot_plan(struct packed_slot *slot, struct bytes field, size_t value_bytes,
                                   unsigned page_flags, int keep_expiry, struct packed_plan *plan_out);
/* Do what was planned; splits pages first where that is needed. Neither string may point into the
 * collection. Closes the slot. The caller counts a new element in entry->size. */
FIRN_MUST_USE int packed_slot_put(struct packed_slot *slot, struct packed_plan *plan, struct bytes field,
                                  struct bytes value);
/* Take ${found}, as found in ${payload} = what packed_slot_read_to_change gave, out; ${removing} (may be
 * NULL) gets it just before it goes, when nothing can fail any more. Closes the slot; the caller counts. */
FIRN_MUST_USE int packed_slot_remove(struct packed_slot *slot, struct bytes payload,
                                     const struct packed_entry *found,
                                     void (*removing)(struct bytes field, void *ctx), void *ctx);

/* Open the slot of a random page, each element's with about the same probability, drawn with the sequence
 * whose state is ${state_inout}; not of an empty collection. Returns 32 bits to choose the element with:
 * index = returned * count >> 32. */
uint64_t packed_slot_open_drawn(struct entry *entry, uint64_t *state_inout, struct packed_slot *slot_out);

/* --- touching --- */

/* 0 if the page can be read, or it is recorded (FIRN_EFAULT). */
FIRN_MUST_USE int packed_touch_ref(uint64_t ref);
/* Make sure the page of ${field} can be read. */
FIRN_MUST_USE int packed_collection_touch(const struct entry *entry, struct bytes field);
/*
 * The same for all pages, asking for as many missing ones at once as a fault set holds. When more than
 * FAULT_TOUCH_MAX are missing the current fault set is made synchronous (fault_must_finish) and 0 returned:
 * the pages are then read one by one while walking.
 */
FIRN_MUST_USE int packed_collection_touch_all(const struct entry *entry);
/* Whether every page is in DRAM, so that nothing needs to be touched. */
int packed_collection_is_resident(const struct entry *entry);

/* --- walking --- */

/* Call ${visit} for each page's payload in order of the hash; nonzero stops and is returned. No faults when
 * touch_all returned 0. ${visit} must not change the collection. */
FIRN_MUST_USE int packed_collection_each_page(struct entry *entry,
                                              int (*visit)(struct bytes payload, void *ctx), void *ctx);
/*
 * Whole pages from ${cursor} (0: start) on until ${count} elements or more were on them; *cursor_out is the
 * next cursor, 0 at the end. A small collection comes whole. Every element there from the first to the last
 * call is on at least one visited page, whatever splits, merges or converts between calls. Faults before
 * anything is visited.
 */
FIRN_MUST_USE int packed_collection_scan(struct entry *entry, uint64_t cursor, uint64_t count,
                                         int (*visit)(struct bytes payload, void *ctx), void *ctx,
                                         uint64_t *cursor_out);

/* --- a large collection as part of a type's object --- */

/* An empty one (one range without a page); registers the object. */
void packed_collection_init(struct packed_collection *collection, enum type_id type);
/* Release up to ${pages} pages: 1: there are more; 0: done, the directory is freed. The object stays
 * registered. Between calls only this may be called. */
int packed_collection_reap_pages(struct packed_collection *collection, unsigned pages);
/* Fill the empty ${to} with the content of ${from}: the pages are shared, wherever they are. */
void packed_collection_copy_pages(const struct packed_collection *from, struct packed_collection *to);
/* Victims among its pages from *sweep_inout (a hash) on: as type_ops.victims, each page at most once. */
unsigned packed_collection_victims_from(struct packed_collection *collection, uint64_t *sweep_inout, int from,
                                        unsigned scan, struct type_victim *victims_out, unsigned limit);
/* Bytes of DRAM of its directory and of head.pages_dram pages as large as its own are (${samples} of them are
 * looked at, 0: all); the object itself not. */
size_t packed_collection_memory_of(const struct packed_collection *collection, size_t samples);

/* What a check found in DRAM. */
struct packed_sum {
    uint64_t elements, bytes, pages, pages_dram;
};
/* Check the directory and every page in DRAM (asserts), adding to *sum_inout. ${page_flags} as for plan. */
void packed_collection_check_pages(const struct packed_collection *collection, unsigned page_flags,
                                   struct packed_sum *sum_inout);

/* --- the operations of a type whose values are packed collections and nothing else (struct type_ops) --- */

void packed_collection_free_value(struct entry *entry);
int packed_collection_reap(struct object *head, unsigned pages);
FIRN_MUST_USE int packed_collection_copy_value(struct entry *source, struct entry **target_inout);
size_t packed_collection_memory(const struct entry *entry, size_t samples);
size_t packed_collection_free_effort(const struct entry *entry);
unsigned packed_collection_victims(struct object *head, int from, unsigned scan,
                                   struct type_victim *victims_out, unsigned limit);
uint64_t *packed_collection_locate(struct object *head, uint64_t locator);
void packed_collection_check(const struct entry *entry, unsigned page_flags);

#endif
