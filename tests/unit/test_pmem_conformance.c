/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_tier_conformance firn_pmem firn_tiering */
/* Goal: the PMEM backend keeps the contract of tier_backend.h. Method: the shared suite, on a plain file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "pmem/pmem.h"
#include "tier_conformance.h"

static void damage(struct tier_backend *backend, uint64_t address) {
    (void)backend, (void)address;
    fault_point_arm(FAULT_PMEM_CHECKSUM, 0, UINT64_MAX);
}

int main(void) {
    char path[] = "/tmp/firn-test-pmem-XXXXXX";
    if (mkdtemp(path) == NULL) return 1;
    char file[100];
    snprintf(file, sizeof file, "%s/medium", path);
    struct tier_conformance suite = {.name = "pmem",
                                     .ops = &pmem_ops,
                                     .path = file,
                                     .bytes_max = 32u << 20,
                                     .memory_max = 8u << 20,
                                     .overshoot_max = 1.3,
                                     .damage = damage};
    int failures = tier_conformance_run(&suite);
    fault_point_reset();
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    return system(command) != 0 || failures != 0;
}
