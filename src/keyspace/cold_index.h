/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the keys are that are off DRAM altogether: from a fingerprint of a key's hash to the bundle (an
 * immutable record on NVMe, db_bundle.c) that holds key and value. Three to four bytes a key; design in
 * cold_index.c.
 *
 * A position is the top COLD_POSITION_BITS of a hash: what an index can tell apart. It holds a position once
 * (C1), so what it finds is the only candidate; whether it is the key that was asked for, the bundle says.
 *
 * Executor only. Nothing here faults or blocks.
 */
#ifndef FIRN_KEYSPACE_COLD_INDEX_H
#define FIRN_KEYSPACE_COLD_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define COLD_POSITION_BITS   36u
#define COLD_POSITION_END    ((uint64_t)1 << COLD_POSITION_BITS)
#define COLD_BUNDLE_KEYS_MAX 255u

struct cold_leaf;

/* Zero-initialise. */
struct cold_index {
    struct cold_leaf **directory; /* 2^depth words; NULL while nothing was ever in it */
    unsigned depth;
    uint64_t keys;
    uint64_t written; /* keys those bundles were written with: what is more than ${keys} is dead */
    uint64_t parts;   /* pairs of a leaf and a bundle */
    uint64_t bytes;   /* memory of everything */
    uint64_t walks;   /* cold_index_walk_begin */
    uint64_t drained; /* cold_index_drain's place */
};

static inline uint64_t cold_position(uint64_t hash) {
    return hash >> (64u - COLD_POSITION_BITS);
}

/* The bundle of the key at ${position}, or 0. */
uint64_t cold_index_find(const struct cold_index *index, uint64_t position);

/*
 * Add the keys at ${positions} (ascending, none twice, none in the index; ${count} from 1 to
 * COLD_BUNDLE_KEYS_MAX), which are in bundle ${ref}, a reference of the NVMe tier that is in no index. Takes
 * it over: it is given back (page_release) with the last of its keys. ${written}: keys in the bundle,
 * >= ${count}.
 */
void cold_index_add(struct cold_index *index, const uint64_t *positions, unsigned count, unsigned written,
                    uint64_t ref);

/* Take the key at ${position}, which is there, out. */
void cold_index_remove(struct cold_index *index, uint64_t position);

/* The least position from ${position} on and its bundle; 0 if there is none. */
int cold_index_next(const struct cold_index *index, uint64_t position, uint64_t *position_out,
                    uint64_t *ref_out);

/* The position and bundle of a key chosen about uniformly; 0 if the index is empty. */
int cold_index_random(const struct cold_index *index, uint64_t *position_out, uint64_t *ref_out);

/*
 * A walk over all bundles, each once, in one turn: begin, then up to ${limit} (> 0) at a time from
 * *place_inout (0 at first) on. 0 at the end. The index must not change meanwhile.
 */
void cold_index_walk_begin(struct cold_index *index);
unsigned cold_index_walk(struct cold_index *index, uint64_t *place_inout, uint64_t *refs_out, unsigned limit);

/*
 * Look at the leaf at *position_inout and go on to the next (0 at the end): up to ${limit} bundles of it of
 * which less than ${percent} is alive. How many.
 */
unsigned cold_index_sparse(const struct cold_index *index, uint64_t *position_inout, unsigned percent,
                           uint64_t *refs_out, unsigned limit);

/* Take an index apart: one leaf a call. Nonzero while there is more; at the end it is as new. */
int cold_index_drain(struct cold_index *index);

/* O(n); asserts. */
void cold_index_check(const struct cold_index *index);

#endif
