/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_tier_conformance firn_rocks firn_tiering */
/* Goal: the NVMe backend keeps the contract of tier_backend.h. Method: the shared suite, on a folder in /tmp.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "rocks/rocks.h"
#include "tier_conformance.h"

static void damage(struct tier_backend *backend, uint64_t address) {
    (void)backend, (void)address;
    fault_point_arm(FAULT_ROCKS_CHECKSUM, 0, UINT64_MAX);
}

int main(void) {
    char path[] = "/tmp/firn-test-rocks-XXXXXX";
    if (mkdtemp(path) == NULL) return 1;
    struct tier_conformance suite = {.name = "nvme",
                                     .ops = &rocks_ops,
                                     .path = path,
                                     .bytes_max = 32u << 20,
                                     .memory_max = 8u << 20,
                                     .overshoot_max = 1.3,
                                     .mean_sizes = 1,
                                     .damage = damage};
    int failures = tier_conformance_run(&suite); /* through a ring of its own, where io_uring may be used */
    fault_point_reset();
    fault_point_arm(FAULT_ROCKS_URING, 0, UINT64_MAX);
    suite.name = "nvme, without io_uring";
    failures += tier_conformance_run(&suite);
    fault_point_reset();
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    return system(command) != 0 || failures != 0;
}
