/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct ordered_index: a set of (deadline, id) pairs in ascending order: which key, or which field, is due
 * next. A B+tree of 16-byte records in 512-byte leaves: about 21 bytes a record at random insertion, 17 at
 * ascending; every call is O(log n), none touches more than a few nodes. Zero-initialise. Executor only.
 */
#ifndef FIRN_DS_ORDERED_INDEX_H
#define FIRN_DS_ORDERED_INDEX_H

#include <stddef.h>
#include <stdint.h>

struct ordered_index_record {
    uint64_t deadline;
    uint64_t id;
};

struct ordered_index {
    void *root;
    unsigned height; /* inner levels above the leaves */
    uint64_t count;
    size_t bytes; /* of all nodes */
};

/* Add; 0 if the pair was there already, else 1. Aborts on exhaustion. */
int ordered_index_insert(struct ordered_index *index, uint64_t deadline, uint64_t id);
/* Remove; whether the pair was there. */
int ordered_index_remove(struct ordered_index *index, uint64_t deadline, uint64_t id);
/* Whether the pair is there. */
int ordered_index_has(const struct ordered_index *index, uint64_t deadline, uint64_t id);
/* The least record; 0 if empty. */
int ordered_index_first(const struct ordered_index *index, struct ordered_index_record *record_out);
/* The least record that is not below (${deadline}, ${id}); 0 if there is none. */
int ordered_index_seek(const struct ordered_index *index, uint64_t deadline, uint64_t id,
                       struct ordered_index_record *record_out);
/* Take the least record out; 0 if empty. */
int ordered_index_pop(struct ordered_index *index, struct ordered_index_record *record_out);
static inline uint64_t ordered_index_count(const struct ordered_index *index) {
    return index->count;
}
static inline size_t ordered_index_bytes(const struct ordered_index *index) {
    return index->bytes;
}
/* Call ${visit} for every record in order; nonzero stops and is returned. */
int ordered_index_each(const struct ordered_index *index,
                       int (*visit)(const struct ordered_index_record *record, void *ctx), void *ctx);
/* Drop about ${records} of the least records in whole leaves, for slices of a big clear; nonzero when more
 * are left. */
int ordered_index_drop_some(struct ordered_index *index, size_t records);
/* Drop all. O(n / 31). The index is empty and usable again. */
void ordered_index_fini(struct ordered_index *index);
/* O(n) check; asserts. */
void ordered_index_check(const struct ordered_index *index);

#endif
