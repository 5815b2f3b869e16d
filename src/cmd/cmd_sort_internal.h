/* SPDX-License-Identifier: BSD-3-Clause */
/* What cmd_sort.c and cmd_sort_stream.c share. Executor only. */
#ifndef FIRN_CMD_CMD_SORT_INTERNAL_H
#define FIRN_CMD_CMD_SORT_INTERNAL_H

#include "base/bytes_builder.h"
#include "cmd/call.h"

#define NO_VALUE UINT32_MAX /* of BY: there is no such key */

/* An element; offsets are into sort->texts, where what they point to ends in a zero byte (which is not
 * counted). */
struct element {
    size_t at;
    uint32_t bytes;
    uint32_t by_bytes;
    union {
        double score;
        size_t by_at; /* ALPHA with BY: the value to compare */
    } by;
};

/* "prefix*postfix" or "prefix*postfix->field"; "#" is the element itself. */
struct pattern {
    int is_self, is_constant; /* constant: there is no star */
    struct bytes prefix, postfix, field;
};

struct sort {
    struct call *call;
    int descending, alpha, as_it_is; /* as_it_is: BY a constant */
    int has_by, has_store;
    struct pattern by;
    struct pattern *gets;
    size_t get_count;
    int64_t limit_start, limit_count;
    struct bytes target;

    struct entry *entry; /* NULL: no such key */
    uint64_t first, end; /* what is answered: numbers [first, end) of the sorted elements */
    uint64_t base;       /* number of element 0, when only the part that is answered was read */
    struct element *elements;
    size_t used, capacity;
    struct bytes_builder texts;
    struct bytes_builder key, scratch; /* of lookups */
    int bad_number;
};

/* Put a copy of ${text} behind the elements. */
void cmd_sort__keep(struct sort *sort, struct bytes text);
/* Weigh the elements from ${from} on; from the first on whose weight is not here, only ask: *missing_inout
 * counts these. Without BY nothing is looked up: 0. */
FIRN_MUST_USE int cmd_sort__weigh(struct sort *sort, size_t from, unsigned *missing_inout);
/* Drop what LIMIT does not reach to, when that is much. */
void cmd_sort__trim(struct sort *sort);
/* All elements are weighed: sort and reply them. May fault (GET). */
FIRN_MUST_USE int cmd_sort__reply(struct sort *sort, struct reply *reply);
void cmd_sort__fini(struct sort *sort);

/* Sort a collection of many pages in turns, other clients running between them (cmd/stream_reply.h): takes
 * over what ${sort} holds and returns FIRN_EPARKED, or 0: answer as ever. */
FIRN_MUST_USE int cmd_sort__stream(struct sort *sort);

#endif
