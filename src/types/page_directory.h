/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page directories: page references partitioning a space of 64-bit hashes into aligned ranges, in order. A
 * range of depth d is all hashes with the same top d bits and holds one reference (0: no page, the range is
 * empty). Extendible hashing on a tree: a node covers up to 9 further bits with an array that doubles as its
 * ranges split (2 to 512 words), a full one gets child nodes. So no step moves more than 4 KiB of words.
 *
 * A word of a node is one of
 *   a page reference (tag DRAM, PMEM, NVME; or 0), in the first word of its range
 *   tag OBJECT: a child node
 *   tag 4:      not the first word of a range; the word >> 3 is the log2 of the range's words
 *
 * PD1 Every hash is in exactly one range; its reference is in exactly one word, whose address changes only by
 *     split, merge and fini.
 * PD2 Children hang only under full nodes (9 bits), one under one word.
 * PD3 Deadlines (smallest time at which a range wants to be looked at; -1 none) exist in a node only once one
 *     was set there; a node's own is the smallest of its words and children.
 *
 * The directory stays in DRAM. It never looks at what it refers to. Executor only; nothing faults or blocks.
 */
#ifndef FIRN_TYPES_PAGE_DIRECTORY_H
#define FIRN_TYPES_PAGE_DIRECTORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A cursor of a scan has that many bits (a locator, which is a prefix and its depth, has room for 58). */
#define DIRECTORY_DEPTH_MAX 53u

struct directory_node;

struct page_directory {
    struct directory_node *root;
    size_t bytes; /* memory of the nodes */
};

/* A range and its reference. Valid until the next split, merge or fini. */
struct directory_range {
    uint64_t *ref;
    uint64_t start; /* smallest hash */
    unsigned depth;
};

/* One range of depth 0 with ${ref}. */
void page_directory_init(struct page_directory *directory, uint64_t ref);
/* Free the nodes, not what they refer to. */
void page_directory_fini(struct page_directory *directory);

/* The range ${hash} is in. */
void page_directory_find(const struct page_directory *directory, uint64_t hash,
                         struct directory_range *range_out);
/* Only its reference: the hot path. */
uint64_t *page_directory_ref(const struct page_directory *directory, uint64_t hash);
/* The range after ${range}: 1, or 0 at the end. A walk begins with page_directory_find(0). */
int page_directory_next(const struct page_directory *directory, struct directory_range *range_inout);
/* The hash right after ${range}; 0 after the last one. */
static inline uint64_t page_directory_end(const struct directory_range *range) {
    return range->depth == 0 ? 0 : range->start + (UINT64_C(1) << (64 - range->depth));
}

/* Copy the references that are not 0, in order, to ${refs_out} (room for all); returns how many. Nothing else
 * in one go: a few nanoseconds each. */
size_t page_directory_refs(const struct page_directory *directory, uint64_t *refs_out);
/* The same with the smallest hash of each range. */
size_t page_directory_ranges(const struct page_directory *directory, uint64_t *refs_out,
                             uint64_t *starts_out);

/*
 * Split the range of ${hash} in halves with ${zero} and ${one} (the half whose next bit is set); both inherit
 * the deadline. FIRN_ETOOBIG at DIRECTORY_DEPTH_MAX: nothing changed.
 */
FIRN_MUST_USE int page_directory_split(struct page_directory *directory, uint64_t hash, uint64_t zero,
                                       uint64_t one);
/* The other half of the range ${range} is half of, if that is not split further: 1. */
int page_directory_buddy(const struct page_directory *directory, const struct directory_range *range,
                         struct directory_range *buddy_out);
/* Make ${range} and its buddy (there must be one) a single range with ${ref}; its deadline is the smaller
 * one. */
void page_directory_merge(struct page_directory *directory, const struct directory_range *range,
                          uint64_t ref);

/* Tell a range in 64 bits; the range it names, if there is exactly that one now: its word, else NULL. */
static inline uint64_t page_directory_locator(const struct directory_range *range) {
    return range->start | range->depth;
}
uint64_t *page_directory_locate(const struct page_directory *directory, uint64_t locator);

/* Set (-1: none) the deadline of the range of ${hash}. */
void page_directory_set_deadline(struct page_directory *directory, uint64_t hash, int64_t deadline_ms);
/* The deadline of the range of ${hash}, -1 if none. */
int64_t page_directory_deadline_of(const struct page_directory *directory, uint64_t hash);
/* The smallest of all, -1 if none. */
int64_t page_directory_deadline(const struct page_directory *directory);
/* The first range at or after ${from} whose deadline is <= ${now_ms}: 1, else 0. */
int page_directory_due(const struct page_directory *directory, uint64_t from, int64_t now_ms,
                       struct directory_range *range_out);

/*
 * Give everything back in slices: call ${release} for up to ${limit} references (not 0) and free nodes that
 * are done. 1: there is more; 0: all is freed (as after fini). Between calls the directory can only be reaped
 * on.
 */
int page_directory_reap(struct page_directory *directory, unsigned limit,
                        void (*release)(uint64_t ref, void *ctx), void *ctx);

/* O(n) check of PD1 to PD3; asserts. Returns the number of references that are not 0. */
size_t page_directory_check(const struct page_directory *directory);

#endif
