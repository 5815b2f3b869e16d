/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_tier_conformance firn_tiering */
/* Goal: the backends of tiering/ keep the contract of tier_backend.h. Method: the shared suite; the faulty
 * ones with all points off. */
#include "tier_conformance.h"

int main(void) {
    struct tier_conformance suites[] = {
        {.name = "null nvme", .ops = &tier_null_ops},
        {.name = "null pmem", .ops = &tier_null_pmem_ops},
        {.name = "faulty nvme", .ops = &tier_faulty_ops},
        {.name = "faulty pmem", .ops = &tier_faulty_pmem_ops},
    };
    int failures = 0;
    for (unsigned i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        suites[i].path = "none";
        suites[i].bytes_max = 32u << 20;
        suites[i].memory_max = 8u << 20;
        suites[i].overshoot_max = 2;
        failures += tier_conformance_run(&suites[i]);
    }
    return failures;
}
