/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HyperLogLog in Redis's string format: how many different elements were added, within 0.81%, in 12 KiB at
 * most. The algorithm is the 64-bit one of Heule, Nunkesser and Hall ("HyperLogLog in practice", 2013); the
 * number is estimated from the registers as in Ertl, "New cardinality estimation algorithms for HyperLogLog
 * sketches" (2017), algorithm 6, which needs no correction tables.
 *
 * OFFSET SIZE FIELD (little-endian)
 *      0    4 "HYLL"
 *      4    1 0 dense, 1 sparse
 *      5    3 unused
 *      8    8 cached number; bit 63 set: not valid any more
 *     16      dense: 16384 registers of 6 bits, the first in the lowest bits
 *             sparse: runs of registers, together 16384: 00xxxxxx zeros, x+1 of them; 01xxxxxx xxxxxxxx
 * zeros, x+1 of them; 1vvvvvxx registers of value v+1, x+1 of them
 *
 * Bytes are equal to what redis-server makes of the same commands. Nothing here trusts them: FIRN_ECORRUPT.
 * Any thread; no state.
 */
#ifndef FIRN_DS_HYPERLOGLOG_H
#define FIRN_DS_HYPERLOGLOG_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/bytes_builder.h"
#include "base/error.h"

#define HYPERLOGLOG_REGISTERS    16384u
#define HYPERLOGLOG_HEADER_BYTES 16u
#define HYPERLOGLOG_DENSE_BYTES  (HYPERLOGLOG_HEADER_BYTES + HYPERLOGLOG_REGISTERS * 6 / 8)
#define HYPERLOGLOG_PATCH_BYTES  2u /* what changing a register of a dense one touches */

/* Which register ${element} is for; *rank_out (1..51): the value it asks for there. */
unsigned hyperloglog_register(struct bytes element, uint8_t *rank_out);

/* Whether a string of ${total_bytes} that begins with ${header} (at least HYPERLOGLOG_HEADER_BYTES, or all of
 * it) claims to be one. Says nothing about the registers. */
int hyperloglog_is(struct bytes header, uint64_t total_bytes);
int hyperloglog_is_dense(struct bytes value);
/* The cached number: 1 and *count_out, or 0 if it is not valid. */
int hyperloglog_cached(struct bytes value, uint64_t *count_out);

/* Append an empty one (sparse) to ${out}. */
void hyperloglog_create(struct bytes_builder *out);

/* Where a register is: filled by hyperloglog_find, for hyperloglog_raise. */
struct hyperloglog_place {
    unsigned index;
    uint8_t rank; /* the register's value */
    /* sparse only */
    size_t run, previous_run;              /* offsets of its run and of the one before (or its own) */
    unsigned first, count, previous_first; /* registers of the run; first one of the run before */
};
/* FIRN_ECORRUPT. */
FIRN_MUST_USE int hyperloglog_find(struct bytes value, unsigned index, struct hyperloglog_place *place_out);
/*
 * Make the register at ${place} (just found in ${value}) ${rank}, which is more than it has. Becomes dense if
 * it would exceed ${sparse_max_bytes} or ${rank} does not fit a run. The cached number is left alone.
 * FIRN_ECORRUPT: unchanged.
 */
FIRN_MUST_USE int hyperloglog_raise(struct bytes_builder *value, const struct hyperloglog_place *place,
                                    uint8_t rank, size_t sparse_max_bytes);
/* Dense only: the bytes at *offset_out of ${value} with that register at ${rank}. Returns how many (1 or 2).
 */
unsigned hyperloglog_patch(struct bytes value, unsigned index, uint8_t rank,
                           uint8_t patch_out[HYPERLOGLOG_PATCH_BYTES], size_t *offset_out);
/* Make it dense; no-op if it is. FIRN_ECORRUPT: unchanged. */
FIRN_MUST_USE int hyperloglog_make_dense(struct bytes_builder *value);
/* Mark the cached number not valid, or store it (${value}: the header is enough). */
void hyperloglog_spoil(uint8_t *value);
void hyperloglog_cache(uint8_t *value, uint64_t count);

/* Raise each of ${registers} to what ${value} has. FIRN_ECORRUPT: some may be raised. */
FIRN_MUST_USE int hyperloglog_merge(struct bytes value, uint8_t registers[HYPERLOGLOG_REGISTERS]);
/* Raise the registers of ${value} to ${registers} (values up to 63), one after the other as hyperloglog_raise
 * does. FIRN_ECORRUPT. */
FIRN_MUST_USE int hyperloglog_raise_all(struct bytes_builder *value,
                                        const uint8_t registers[HYPERLOGLOG_REGISTERS],
                                        size_t sparse_max_bytes);

/* The estimate. FIRN_ECORRUPT. */
FIRN_MUST_USE int hyperloglog_count(struct bytes value, uint64_t *count_out);
uint64_t hyperloglog_count_registers(const uint8_t registers[HYPERLOGLOG_REGISTERS]);

/* Append the runs of a sparse one as text: "z:N" and "Z:N" zeros, "v:VALUE,N", separated by blanks.
 * FIRN_ECORRUPT. */
FIRN_MUST_USE int hyperloglog_describe(struct bytes value, struct bytes_builder *text);

#endif
