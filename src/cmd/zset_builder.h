/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sorted set larger than memory, made by a command in turns (turns.h). It has two halves (types/zset.h),
 * and what comes in the order of one comes at random for the other. So the half that fits the order of what
 * comes is written at once; for the other each element also goes into a run, a bounded collection in its
 * order, and in the end the runs are merged. Halves and runs are objects like those of values: their pages go
 * down while it goes on. In DRAM stay a run being filled (a thirty-second of maxmemory) and in the end a page
 * of each run: 128 KiB for a result of the size of maxmemory, 8 MiB for one 64 times as large.
 *
 * Executor only. Errors: FIRN_EFAULT and what zset_put has; nothing is lost then, do it again.
 */
#ifndef FIRN_CMD_ZSET_BUILDER_H
#define FIRN_CMD_ZSET_BUILDER_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct entry;
struct zset_builder;

/* The order in which the elements come, about. */
enum zset_builder_order { ZSET_BUILDER_BY_HASH, ZSET_BUILDER_BY_SCORE };

/* For a sorted set under ${key} (copied). */
struct zset_builder *zset_builder_create(struct bytes key, enum zset_builder_order order);
void zset_builder_destroy(struct zset_builder *builder);
/* One more element, none twice; ${hash}: hash_key(member). */
FIRN_MUST_USE int zset_builder_add(struct zset_builder *builder, struct bytes member, uint64_t hash,
                                   double score);
/* What comes next is about at ${hash} (ZSET_BUILDER_BY_HASH). */
void zset_builder_passed(struct zset_builder *builder, uint64_t hash);
/* After the last one: FIRN_EPARKED until it is done, then 0 with the sorted set, which is the caller's (NULL:
 * without elements). *progressed_out as in struct turns. */
FIRN_MUST_USE int zset_builder_finish(struct zset_builder *builder, int *progressed_out,
                                      struct entry **result_out);

#endif
