/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists. A small one is one page on the entry's ref (types/list_page.h). One that outgrows it becomes an
 * OBJECT: a head page, a tail page, and between them a tree of pages (types/page_sequence.h) that counts
 * elements, so that any element is one page away. Pushing and popping touch the page at that end and nothing
 * else; a page that is full or empty there moves into or out of the tree.
 *
 * LI1 entry->size is the number of elements. LI2 The slots of an object say how many elements and bytes their
 * pages have; either end may have no page. LI3 object.dram_bytes is the sum of page->bytes over the pages
 * whose ref is a DRAM one; element_bytes the sum of bytes of items over all pages. LI4 A call that returns
 * FIRN_EFAULT has changed nothing. LI5 The reported encoding follows type_limits.list_max_listpack_size as in
 * Redis 7.2 and later: listpack while all elements would fit one listpack of that limit, quicklist above, and
 * listpack again from half of the limit on. The caller asks for that by list_expect and list_shrunk.
 *
 * Pages at the ends are no victims while the list is used there (type_keeps_hot).
 *
 * Nothing here knows databases: announcing changes (db_changing...), events and deleting an empty list are
 * the caller's. No call moves the entry. Executor only. Errors of every call that reads a page: FIRN_EFAULT
 * (async mode, page not here), FIRN_EIO, FIRN_ECORRUPT; of calls that write also FIRN_ENOMEM, FIRN_ETOOBIG.
 */
#ifndef FIRN_TYPES_LIST_H
#define FIRN_TYPES_LIST_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "ds/number.h"
#include "types/entry.h"
#include "types/type.h"

extern const struct type_ops type_list_ops;

enum list_end { LIST_TAIL = 0, LIST_HEAD = 1 };

/* A list without elements under ${key}, in no table, reporting listpack. Release with
 * type_list_ops.free_value + entry_free. */
struct entry *list_create(struct bytes key);

/* --- encoding --- */
/* About to add ${count} elements of ${bytes} together: listpack becomes quicklist when they do not fit. */
FIRN_MUST_USE int list_expect(struct entry *entry, size_t count, size_t bytes);
/* Elements went: quicklist becomes listpack from half of the limit on. */
void list_shrunk(struct entry *entry);
/* A list that was filled as a whole (SORT STORE, RDB): the encoding its size asks for, of ${pieces} (1: all
 * its elements came in one piece or one by one). */
void list_settle_encoding(struct entry *entry, size_t pieces);

/* Whether every page is in DRAM. */
int list_is_resident(const struct entry *entry);
/* --- touching: 0, or FIRN_EFAULT having recorded what is missing --- */
/* The page that the next pop or push at ${end} needs. */
FIRN_MUST_USE int list_touch_end(struct entry *entry, enum list_end end);
/* The pages of ${count} elements from number ${start} on, as many missing ones at once as a fault set holds.
 * More than a command should keep: the current fault set is made synchronous and 0 returned. */
FIRN_MUST_USE int list_touch(struct entry *entry, uint64_t start, uint64_t count);

/* --- reading: bytes are borrowed for the call --- */
/* Call ${receive} for ${count} elements from number ${start} on (start + count <= size), from the last one to
 * the first if ${backwards}; nonzero stops and is returned. Touches first. ${receive} must not change the
 * list. */
FIRN_MUST_USE int list_range(struct entry *entry, uint64_t start, uint64_t count, int backwards,
                             int (*receive)(struct bytes element, void *ctx), void *ctx);
/* The pages of ${count} (> 0) elements from number ${start} on, in order: how many, their references in
 * ${refs_out} (NULL: only count). *skip_out: elements on the first one that come before. */
size_t list_range_refs(struct entry *entry, uint64_t start, uint64_t count, uint64_t *refs_out,
                       uint64_t *skip_out);
/* The same as list_range for all elements. */
FIRN_MUST_USE int list_each(struct entry *entry, int (*receive)(struct bytes element, void *ctx), void *ctx);
/* Element number ${index} (< size); its bytes are borrowed as by page_peek or in ${digits}. */
FIRN_MUST_USE int list_at(struct entry *entry, uint64_t index, char digits[NUMBER_INT_TEXT_MAX],
                          struct bytes *element_out);
/* Call ${found} with the number of each element equal to ${element} among the first (${backwards}: last)
 * ${limit} (0: all) of the list, in that direction; nonzero from it stops the search. Returns 0 or an error;
 * ${found} may have been called before FIRN_EFAULT, and is called again for the same ones. More pages than a
 * command should keep are read blocking if it ${may_block}, else FIRN_ETOOBIG. */
FIRN_MUST_USE int list_search(struct entry *entry, struct bytes element, int backwards, uint64_t limit,
                              int may_block, int (*found)(uint64_t index, void *ctx), void *ctx);
/* The same for one page only: that of element ${at} (< size), from where the search begins or where it has
 * come. *left_inout elements are to be compared still. 1: go on with the page of *next_out; 0: the end, or
 * ${found} stopped it; FIRN_EFAULT: this page and some behind it are recorded. */
FIRN_MUST_USE int list_search_page(struct entry *entry, struct bytes element, int backwards, uint64_t at,
                                   uint64_t *left_inout, uint64_t *next_out,
                                   int (*found)(uint64_t index, void *ctx), void *ctx);

/* --- changing (announce with db_changing first) --- */
/* ${element} (not in this list) comes to an end. */
FIRN_MUST_USE int list_push(struct entry *entry, enum list_end end, struct bytes element);
/* Up to ${count} elements go from an end; ${receive} (may be NULL) gets each before it goes, in that order.
 * Touch first; after the first page further ones are read blocking. */
FIRN_MUST_USE int list_pop(struct entry *entry, enum list_end end, uint64_t count,
                           void (*receive)(struct bytes element, void *ctx), void *ctx);
/* Element number ${index} (< size) becomes ${element}. */
FIRN_MUST_USE int list_set(struct entry *entry, uint64_t index, struct bytes element);
/* ${element} becomes number ${index} (<= size). */
FIRN_MUST_USE int list_insert(struct entry *entry, uint64_t index, struct bytes element);
/* Take up to ${count} (0: all) elements equal to ${element} out, the first or the last ones. */
FIRN_MUST_USE int list_remove(struct entry *entry, struct bytes element, int backwards, uint64_t count,
                              uint64_t *removed_out);
/* The same where it is known which pages have such elements: those of elements ${marks}, in the order of the
 * search. Touch them first. */
FIRN_MUST_USE int list_remove_at(struct entry *entry, struct bytes element, int backwards, uint64_t count,
                                 const uint64_t *marks, size_t marks_count, uint64_t *removed_out);
/* The pages of elements ${marks}. */
FIRN_MUST_USE int list_touch_at(struct entry *entry, const uint64_t *marks, size_t marks_count);
/* Keep ${count} (> 0) elements from number ${start} on (start + count <= size). Looks at the
 * fewer pages, kept or dropped; what is dropped is freed later. */
FIRN_MUST_USE int list_trim(struct entry *entry, uint64_t start, uint64_t count);

#endif
