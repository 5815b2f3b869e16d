/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault points: named places (fault_point.def) where tests make a fallible call fail. Off, a point costs one
 * load of a global. Points are set by tests in-process or by DEBUG FAULT <name> <skip> <count> (only when
 * enable-debug-command).
 */
#ifndef FIRN_BASE_FAULT_POINT_H
#define FIRN_BASE_FAULT_POINT_H

#include <stdint.h>

enum fault_point {
#define FAULT_POINT(name, text) FAULT_##name,
#include "base/fault_point.def"
#undef FAULT_POINT
    FAULT_POINT_COUNT
};

/* Nonzero once any point is armed. Read it through fault_point_fails only. */
extern int fault_point_any_armed;

/* Arm ${point}: let ${skip} passes succeed, then fail ${count} of them (UINT64_MAX: for ever). count 0
 * disarms. Any thread. */
void fault_point_arm(enum fault_point point, uint64_t skip, uint64_t count);
/* Disarm all and zero the pass counters. */
void fault_point_reset(void);
/* How many times ${point} was passed since reset (counted only while something is armed). */
uint64_t fault_point_passes(enum fault_point point);
/* The point named ${name} (case-insensitive), or -1. */
int fault_point_by_name(const char *name);
const char *fault_point_name(enum fault_point point);
/* Slow path of fault_point_fails. */
int fault_point_check(enum fault_point point);

/* Whether this pass through ${point} must fail. Any thread. */
static inline int fault_point_fails(enum fault_point point) {
    return __builtin_expect(__atomic_load_n(&fault_point_any_armed, __ATOMIC_RELAXED), 0) &&
           fault_point_check(point);
}

/*
 * Run ${body} with the 0th, 1st, ... nth pass of ${point} failing (once, or for ever when ${sticky}) until a
 * run meets no failure; after each run call ${verify}. Both get ${ctx}. Returns the number of runs. For
 * tests.
 */
int fault_point_sweep(enum fault_point point, int sticky, void (*body)(void *ctx), void (*verify)(void *ctx),
                      void *ctx);

#endif
