/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_tier_conformance firn_tiering */
/*
 * Goal: no failure of an allocation, a reservation, a write or a read loses an acknowledged value, leaks, or
 * completes anything twice. Method: a scenario that sets, demotes, reads, changes and promotes runs with the
 * 1st, 2nd, ... nth pass of a fault point failing, once and for ever, until no failure is met. Errors of the
 * tier may be reported; once the point is off, every value is as the model says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "tier_fake.h"

#define MIB  (1u << 20)
#define KEYS 45u

static size_t before;

static void turns(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        tier_complete();
        (void)tier_turn();
    }
}

static void body(void *ctx) {
    (void)ctx;
    random_seed(3);
    fake_init(KEYS);
    before = memory_used();
    struct tier_config config = fake_config(&tier_faulty_pmem_ops, 2 * MIB, &tier_faulty_ops, 64 * MIB, 0);
    struct tier_keyspace_hooks hooks;
    fake_hooks(&hooks);
    char message[256];
    if (tier_start(&config, &hooks, message, sizeof message) != 0)
        return; /* the open points: that is all there is */
    for (unsigned key = 0; key < KEYS; key++)
        fake_set(key, 200 + key * 50);
    tier_set_memory_max(1);
    turns(3);
    tier_set_memory_max(0);
    for (unsigned key = 0; key < KEYS; key += 5)
        fake_set(key, 100);
    for (unsigned key = 0; key < KEYS; key++) {
        if (fake.model[key].exists && fake_where(key) == PAGE_TAG_DRAM) {
            (void)fake_demote(key, key % 2 ? PAGE_TAG_PMEM : PAGE_TAG_NVME);
        }
    }
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned key = 0; key < KEYS; key++)
            (void)fake_get(key); /* errors are allowed, wrong content is not */
        turns(1);
    }
    for (unsigned key = 1; key < KEYS; key += 4)
        (void)fake_append(key, 300);
    for (unsigned key = 2; key < KEYS; key += 6)
        fake_delete(key);
    tier_set_stress(TIER_STRESS_NVME);
    tier_stress_now();
    tier_set_stress(TIER_STRESS_OFF);
}

static void verify(void *ctx) {
    (void)ctx;
    fault_point_reset();
    if (tier_enabled()) {
        assert_int_equal(fake_check_all(), 0);
        fake_delete_all();
        fake_settle();
        struct tier_stats nvme, pmem;
        tier_stats(PAGE_TAG_NVME, &nvme);
        tier_stats(PAGE_TAG_PMEM, &pmem);
        assert_int_equal(nvme.bytes_live + pmem.bytes_live, 0);
        tier_stop();
    }
    assert_int_equal(memory_used(), before);
}

static void sweep(void **state) {
    enum fault_point point = *(enum fault_point *)*state;
    for (int sticky = 0; sticky < 2; sticky++) {
        int runs = fault_point_sweep(point, sticky, body, verify, NULL);
        assert_true(runs >= 2); /* the point is passed at all */
    }
}

int main(void) {
    static enum fault_point points[] = {FAULT_MEMORY_TRY,    FAULT_PMEM_MAP,      FAULT_PMEM_RESERVE,
                                        FAULT_PMEM_CHECKSUM, FAULT_ROCKS_OPEN,    FAULT_ROCKS_WRITE,
                                        FAULT_ROCKS_READ,    FAULT_ROCKS_CHECKSUM};
    struct CMUnitTest tests[sizeof points / sizeof points[0]];
    log_set_level(LOG_LEVEL_NOTHING);
    for (unsigned i = 0; i < sizeof points / sizeof points[0]; i++) {
        tests[i] = (struct CMUnitTest){
            .name = fault_point_name(points[i]), .test_func = sweep, .initial_state = &points[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
