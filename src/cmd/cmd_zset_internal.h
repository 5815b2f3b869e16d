/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cmd_zset*.c files share. */
#ifndef FIRN_CMD_CMD_ZSET_INTERNAL_H
#define FIRN_CMD_CMD_ZSET_INTERNAL_H

#include "cmd/call.h"
#include "types/zset.h"

/* What a handler returns for an error of types/zset.h. */
int cmd_zset__failed(struct call *call, int error);
/* Delete the key of a sorted set that has become empty, with its event. */
void cmd_zset__delete_if_empty(struct call *call, struct bytes key, struct entry *entry);
/* Release a sorted set that is in no table. NULL is a no-op. */
void cmd_zset__discard(struct entry *entry);
/* Put ${result} (NULL or without elements: nothing) under ${key} instead of what is there, with ${event} or
 * "del", and reply how many elements it has. Takes over ${result} if it returns 0. */
FIRN_MUST_USE int cmd_zset__store(struct call *call, struct bytes key, struct entry *result,
                                  const char *event);

/* Reply the elements of ${span}: an array of members; ${with_scores}: of members and scores, pairs in RESP3.
 */
FIRN_MUST_USE int cmd_zset__reply_span(struct call *call, struct entry *entry, struct zset_span span,
                                       int reverse, int with_scores);

/* Ranges as commands name them. On failure the error is replied and FIRN_EINVALID or FIRN_ENOTNUMBER
 * returned. */
struct cmd_zset__range {
    enum cmd_zset__range_kind { BY_RANK, BY_SCORE, BY_LEX } kind;
    int64_t start, stop;       /* by rank */
    struct score_key from, to; /* else */
};
FIRN_MUST_USE int cmd_zset__parse_range(struct call *call, enum cmd_zset__range_kind kind, struct bytes min,
                                        struct bytes max, struct cmd_zset__range *range_out);
/* The elements of a range; ranks count from the highest with ${reverse}. */
FIRN_MUST_USE int cmd_zset__find_range(struct entry *entry, const struct cmd_zset__range *range, int reverse,
                                       struct zset_span *span_out);

#endif
