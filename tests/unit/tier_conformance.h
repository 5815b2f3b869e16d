/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance suite of tier backends: what tiering/tier_backend.h promises, as cases. Every backend's
 * test is a main that fills a struct tier_conformance and returns tier_conformance_run (link
 * firn_tier_conformance). See test_tier_conformance.c.
 */
#ifndef FIRN_TESTS_TIER_CONFORMANCE_H
#define FIRN_TESTS_TIER_CONFORMANCE_H

#include "tiering/tier_backend.h"

struct tier_conformance {
    const char *name;
    const struct tier_backend_ops *ops;
    const char *path;   /* fresh for the suite; reused by its cases one after the other */
    uint64_t bytes_max; /* 16 MiB or more; the case "full" fills it */
    uint64_t memory_max;
    double overshoot_max; /* bytes_occupied may reach bytes_max * this while full and settled */
    int mean_sizes; /* bytes_live is exact only where records of one size are discarded (sizes not kept) */
    /* Put damage under the record at ${address}, so that reading it must fail; NULL: that case is skipped. */
    void (*damage)(struct tier_backend *backend, uint64_t address);
};

/* Run all cases: number of failures. */
int tier_conformance_run(const struct tier_conformance *suite);

#endif
