/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct id_list: records of one fixed size in ascending order of a 128-bit id (two words: high, low), which
 * each begins with. For ids that mostly come ascending and go from the front: pending entries of streams.
 *
 * Design: leaves of up to ID_LIST_LEAF records, and an array of pointers to them. Appending fills leaves
 * completely; inserting in the middle splits. A call is O(log n) and moves at most one leaf, and the array of
 * pointers when a leaf comes or goes in the middle (8 bytes per 127 records).
 *
 * IL1 No leaf is empty; ids ascend within and across leaves.
 * IL2 A leaf is filled to a quarter at least, but for the smallest.
 * IL3 bytes is what leaves and array take from the allocator.
 *
 * Pointers to records are valid until the next insert, remove or reap. Executor only. Aborts on exhaustion.
 */
#ifndef FIRN_DS_ID_LIST_H
#define FIRN_DS_ID_LIST_H

#include <stddef.h>
#include <stdint.h>

#define ID_LIST_LEAF 127u /* with its header just below a power of two */

struct id_list_leaf;

struct id_list {
    struct id_list_leaf **leaves;
    uint32_t first, count, capacity; /* leaves[first .. first + count) are in use */
    uint32_t record_bytes;           /* 16 or more, a multiple of 8 */
    uint64_t records;
    size_t bytes;
};

/* A place in the list: a record, or the end. */
struct id_list_place {
    uint32_t leaf, index;
};

void id_list_init(struct id_list *list, uint32_t record_bytes);
/* Free everything at once. */
void id_list_fini(struct id_list *list);
/* Free up to ${leaves} leaves; nonzero while there is more. */
int id_list_reap(struct id_list *list, unsigned leaves);

/* The record of an id; NULL if there is none. */
void *id_list_find(const struct id_list *list, uint64_t high, uint64_t low);
/* The record of an id, added if there was none (*added_out): the rest of it is zero then. */
void *id_list_insert(struct id_list *list, uint64_t high, uint64_t low, int *added_out);
/* Whether it was there. */
int id_list_remove(struct id_list *list, uint64_t high, uint64_t low);

/* The first record that is not below the id, or the end. */
struct id_list_place id_list_seek(const struct id_list *list, uint64_t high, uint64_t low);
/* The record at ${place}, NULL at the end. */
void *id_list_at(const struct id_list *list, struct id_list_place place);
/* The place after a record. */
struct id_list_place id_list_next(const struct id_list *list, struct id_list_place place);
/* The last record, NULL if empty. */
void *id_list_last(const struct id_list *list);

/* O(n): asserts IL1 to IL3. */
void id_list_check(const struct id_list *list);

#endif
