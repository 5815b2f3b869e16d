/* SPDX-License-Identifier: BSD-3-Clause */
/* Intersection, union and difference of large sets in turns (cmd_set_turns.c). */
#ifndef FIRN_CMD_CMD_SET_TURNS_H
#define FIRN_CMD_CMD_SET_TURNS_H

#include "cmd/call.h"
#include "types/set.h"

enum set_algebra { INTERSECTION, UNION, DIFFERENCE };

/* What is wanted of the result. */
struct set_turns_plan {
    enum set_algebra kind;
    /* Prepared: distinct and not NULL; an intersection begins with the smallest, a difference with the one
     * that is diminished. Only looked at by cmd_set_turns_start. */
    struct entry *const *sets;
    size_t count;
    const char *event; /* put it under argv[1], with this event (static text); NULL: reply it */
    int only_count;    /* reply how many there are, up to ${limit} (0: none) */
    uint64_t limit;
};

/* Whether it is to be done in turns: the sets have many pages, and not all in DRAM. */
int cmd_set_turns_apply(const struct call *call, const struct set_turns_plan *plan);
/* Hold the sets as they are now and begin: FIRN_EPARKED. */
FIRN_MUST_USE int cmd_set_turns_start(struct call *call, const struct set_turns_plan *plan);

#endif
