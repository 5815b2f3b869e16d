/* SPDX-License-Identifier: BSD-3-Clause */
/* Intersection, union and difference of large sets and sorted sets in turns (algebra_turns.c). Executor only.
 */
#ifndef FIRN_CMD_ALGEBRA_TURNS_H
#define FIRN_CMD_ALGEBRA_TURNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct call;
struct entry;

enum algebra_kind { INTERSECTION, UNION, DIFFERENCE };
enum algebra_aggregate { SUM, MIN, MAX };

/* ${score} of an input of ${weight}; and two of those as one. Never NaN. */
double algebra_weighted(double weight, double score);
double algebra_aggregated(enum algebra_aggregate aggregate, double a, double b);

/* What becomes of the members found. All but destroy return 0, an error without having changed anything that
 * doing it again would not do alike (FIRN_EFAULT: it is done again), and finish also what a turn may. */
struct algebra_result_ops {
    /* One more, with its score, about in the order of ${hash}. A union of sets (no weights) hands a member
     * that several have over several times. */
    int (*take)(void *result, struct call *call, struct bytes member, uint64_t hash, double score);
    /* All has been taken up to about ${hash}. */
    void (*passed)(void *result, uint64_t hash);
    /* That was all. Every turn until it returns 0; the reply is then written. *progressed_out is set when it
     * got on. */
    int (*finish)(void *result, struct call *call, int *progressed_out);
    void (*destroy)(void *result);
};

struct algebra_plan {
    enum algebra_kind kind;
    /* Sets and sorted sets, not NULL, only looked at by the calls below. An intersection begins with the
     * smallest, a difference with the one that is diminished. */
    struct entry *const *inputs;
    const double *weights; /* of the inputs; NULL: scores do not matter */
    size_t count;
    enum algebra_aggregate aggregate;
    const struct algebra_result_ops *ops; /* NULL: reply how many there are, up to ${limit} (0: none) */
    uint64_t limit;
};

/* Whether it is to be done in turns: the inputs have many pages, or some, not all of them in DRAM. */
int algebra_turns_apply(const struct call *call, const struct algebra_plan *plan);
/* Hold the inputs as they are now and begin: FIRN_EPARKED. Takes ${result} over (what ops work on). */
FIRN_MUST_USE int algebra_turns_start(struct call *call, const struct algebra_plan *plan, void *result);

/* Whether there is room for more of what a command in turns makes: 0, FIRN_EBUSY (later; a hundred times at
 * most, counted in *waits_inout, as the command itself may hold what nobody else can move), or FIRN_ENOSPACE
 * with the error replied. */
FIRN_MUST_USE int algebra_turns_admit(struct call *call, unsigned *waits_inout);

#endif
