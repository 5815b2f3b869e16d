/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_tier_conformance firn_tiering */
/*
 * Goal: the manager's rules T1..T4 and Z1..Z4, one case each. Method: the fake keyspace on null and faulty
 * backends; every read is verified, and after each case nothing is live below and no memory is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault_point.h"
#include "base/memory.h"
#include "base/random.h"
#include "tier_fake.h"

#define MIB (1u << 20)

static size_t before;

static int setup(void **state) {
    (void)state;
    random_seed(1);
    fake_init(3000);
    fault_point_reset();
    before = memory_used();
    return 0;
}

/* Everything is released: the backends know of nothing, the process neither. */
static void finish(void) {
    fake_delete_all();
    fake_settle();
    for (int tag = PAGE_TAG_PMEM; tag <= PAGE_TAG_NVME; tag++) {
        struct tier_stats stats;
        tier_stats((enum page_tag)tag, &stats);
        assert_int_equal(stats.bytes_live, 0);
    }
    tier_on_room(NULL, NULL);
    tier_set_full_policy(TIER_FULL_ERROR);
    tier_stop();
    assert_false(tier_enabled());
    assert_int_equal(memory_used(), before);
}

static int teardown(void **state) {
    (void)state;
    fault_point_reset();
    return 0;
}

static void start(uint64_t memory_max) {
    struct tier_config config =
        fake_config(&tier_faulty_pmem_ops, 64 * MIB, &tier_faulty_ops, 256 * MIB, memory_max);
    fake_start(&config);
}

static struct tier_stats stats_of(enum page_tag tag) {
    struct tier_stats stats;
    tier_stats(tag, &stats);
    return stats;
}

static void test_off(void **state) {
    (void)state;
    struct tier_config config = fake_config(NULL, 0, NULL, 0, 1000);
    fake_start(&config);
    assert_false(tier_enabled());
    int64_t delay_us;
    const char *message;
    assert_int_equal(tier_admit(&delay_us, &message), TIER_ADMIT);
    assert_int_equal(tier_turn(), 0);
    tier_complete();
    tier_cron(1);
    struct tier_totals totals;
    tier_totals(&totals);
    struct tier_stats stats = stats_of(PAGE_TAG_NVME);
    assert_int_equal(stats.writes, 0);
    fake_set(0, 100);
    assert_int_equal(fake_demote(0, PAGE_TAG_NVME), FIRN_EUNSUPPORTED);
    tier_forget(&stats);
    tier_clear();
    tier_stress_now();
    tier_stop();
    fake_delete_all();
    assert_int_equal(memory_used(), before);
}

static void test_open_fails(void **state) {
    (void)state;
    struct tier_config config = fake_config(&tier_faulty_pmem_ops, MIB, &tier_faulty_ops, MIB, 0);
    struct tier_keyspace_hooks hooks;
    fake_hooks(&hooks);
    enum fault_point points[] = {FAULT_PMEM_MAP, FAULT_ROCKS_OPEN};
    for (unsigned i = 0; i < 2; i++) {
        char message[200] = "";
        fault_point_arm(points[i], 0, 1);
        assert_int_equal(tier_start(&config, &hooks, message, sizeof message), FIRN_EIO);
        assert_non_null(strstr(message, i == 0 ? "tier pmem" : "tier nvme"));
        assert_false(tier_enabled());
        assert_int_equal(memory_used(), before);
    }
}

/* Every kind of owner, every way down, and back by the second read; the second way down is free. */
static void test_down_and_up(void **state) {
    (void)state;
    start(0);
    for (unsigned key = 0; key < 6; key++) {
        enum page_tag to = key < 3 ? PAGE_TAG_PMEM : PAGE_TAG_NVME;
        fake_set(key, 500 + key);
        assert_int_equal(fake_demote(key, to), 0);
        assert_int_equal(fake_where(key), to);
        assert_int_equal(fake_get(key), 0);
        assert_int_equal(fake_where(key), to); /* once is not enough */
        fake_turn();
        assert_int_equal(fake_get(key), 0);
        assert_int_equal(fake_where(key), PAGE_TAG_DRAM);
        assert_true(fake_is_clean(key));
        uint64_t writes = stats_of(to).writes;
        assert_int_equal(fake_demote(key, to), 0); /* clean: dropped */
        assert_int_equal(stats_of(to).writes, writes);
        assert_int_equal(fake_where(key), to);
    }
    assert_int_equal(stats_of(PAGE_TAG_PMEM).clean_drops, 3);
    assert_int_equal(stats_of(PAGE_TAG_NVME).clean_drops, 3);
    for (unsigned key = 0; key < 3; key++) { /* from PMEM on to NVMe */
        assert_int_equal(fake_demote(key, PAGE_TAG_NVME), 0);
        assert_int_equal(fake_where(key), PAGE_TAG_NVME);
        assert_int_equal(fake_get(key), 0);
    }
    assert_int_equal(stats_of(PAGE_TAG_PMEM).bytes_live, 0);
    assert_int_equal(fake_check_all(), 0);
    finish();
}

/* A write to a promoted value discards its copy below. */
static void test_write_discards(void **state) {
    (void)state;
    start(0);
    for (unsigned key = 0; key < 3; key++) {
        fake_set(key, 3000);
        assert_int_equal(fake_demote(key, PAGE_TAG_NVME), 0);
        assert_int_equal(fake_get(key), 0);
        fake_turn();
        assert_int_equal(fake_get(key), 0);
        assert_int_equal(fake_append(key, 3100), 0);
        assert_false(fake_is_clean(key));
    }
    assert_int_equal(stats_of(PAGE_TAG_NVME).bytes_live, 0);
    for (unsigned key = 0; key < 3; key++) { /* and straight from below, blocking */
        assert_int_equal(fake_demote(key, PAGE_TAG_NVME), 0);
        assert_int_equal(fake_append(key, 2000), 0);
    }
    struct tier_totals totals;
    tier_totals(&totals);
    assert_int_equal(totals.sync_faults, 2);
    assert_int_equal(stats_of(PAGE_TAG_NVME).bytes_live, 0);
    assert_int_equal(fake_check_all(), 0);
    finish();
}

/* T1: what changes while its bytes are on the way stays as it is. */
static void test_change_in_flight(void **state) {
    (void)state;
    size_t fixed = memory_used();
    start(0);
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned key = 0; key < 60; key++)
            fake_set(key, 1000);
        tier_set_memory_max(1); /* everything has to go */
        tier_turn();
        struct tier_totals totals;
        tier_totals(&totals);
        assert_true(totals.write_bytes_in_flight > 0 || round > 0);
        for (unsigned key = 0; key < 60; key++) {
            if (round % 3 == 0 && key % 2 == 0)
                fake_set(key, 900);
            else if (round % 3 == 1 && key % 2 == 0)
                assert_int_equal(fake_append(key, 800), 0);
            else if (round % 3 == 2 && key % 4 == 0)
                fake_delete(key);
        }
        tier_set_memory_max(0);
        fake_settle();
        assert_int_equal(fake_check_all(), 0);
    }
    assert_true(stats_of(PAGE_TAG_PMEM).cancelled + stats_of(PAGE_TAG_NVME).cancelled > 0);
    (void)fixed;
    finish();
}

static void count_call(void *ctx) {
    ++*(int *)ctx;
}

static struct fault_set faults_of(unsigned first, unsigned count) {
    struct fault_set set;
    fault_begin(&set, FAULT_ASYNC);
    for (unsigned key = first; key < first + count; key++)
        assert_int_equal(fake_try_get(key), FIRN_EFAULT);
    fault_end(&set);
    return set;
}

static void cool(unsigned first, unsigned count, uint32_t bytes) {
    for (unsigned key = first; key < first + count; key++) {
        fake_set(key, bytes);
        assert_int_equal(fake_demote(key, PAGE_TAG_NVME), 0);
    }
}

static void wait_calls(const int *calls, int wanted) {
    for (unsigned i = 0; i < 100000 && *calls < wanted; i++)
        fake_turn();
    assert_int_equal(*calls, wanted);
}

/* T4, T2: one GET for several readers; the pages stay until the last of them is done, whatever else is read.
 */
static void test_readers(void **state) {
    (void)state;
    start(MIB * 64);
    cool(0, 20, 2000);
    struct fault_set set = faults_of(0, 10);
    assert_int_equal(set.count, 10);
    int calls = 0;
    struct tier_read *reads[3];
    for (unsigned i = 0; i < 3; i++)
        reads[i] = tier_read(&set, count_call, &calls);
    assert_int_equal(calls, 0);
    wait_calls(&calls, 3);
    assert_int_equal(stats_of(PAGE_TAG_NVME).reads, 10);
    tier_read_done(reads[0]);
    tier_read_done(reads[1]);
    cool(100, 400, 30000);
    for (unsigned key = 100; key < 500; key++)
        assert_int_equal(fake_get(key), 0); /* far more than the remainder holds */
    fake_turn();
    fault_begin(&set, FAULT_ASYNC);
    for (unsigned key = 0; key < 10; key++)
        assert_int_equal(fake_try_get(key), 0);
    fault_end(&set);
    tier_read_done(reads[2]);
    struct tier_totals totals;
    fake_turn();
    tier_totals(&totals);
    assert_true(totals.read_buffer_bytes <= 4 * MIB);
    finish();
}

/* A reader that is gone before its pages come is not called; one that asks for what is there is called, from
 * tier_complete. */
static void test_reader_gone(void **state) {
    (void)state;
    start(0);
    cool(0, 20, 2000);
    struct fault_set set = faults_of(0, 10);
    int gone = 0, calls = 0;
    struct tier_read *first = tier_read(&set, count_call, &gone),
                     *second = tier_read(&set, count_call, &calls);
    tier_read_done(first);
    wait_calls(&calls, 1);
    struct tier_read *third = tier_read(&set, count_call, &calls); /* all there */
    assert_int_equal(calls, 1);
    assert_true(tier_turn());
    tier_complete();
    assert_int_equal(calls, 2);
    tier_read_done(second);
    tier_read_done(third);
    third = tier_read(&set, count_call, &gone);
    tier_read_done(third); /* announced, not called */
    fake_settle();
    assert_int_equal(gone, 0);
    finish();
}

/* Values deleted while somebody waits for them: the reader is called and finds out for itself. */
static void test_delete_while_read(void **state) {
    (void)state;
    start(0);
    cool(0, 20, 2000);
    for (int submitted = 0; submitted < 2; submitted++) {
        struct fault_set set = faults_of(submitted * 5, 5);
        int calls = 0;
        struct tier_read *read = tier_read(&set, count_call, &calls);
        if (submitted) tier_turn();
        for (unsigned key = 0; key < 5; key++)
            fake_delete(submitted * 5 + key);
        wait_calls(&calls, 1);
        tier_read_done(read);
    }
    assert_int_equal(fake_check_all(), 0);
    finish();
}

static void test_prefetch(void **state) {
    (void)state;
    start(0);
    cool(0, 20, 2000);
    struct fault_set set = faults_of(0, 20);
    for (unsigned i = 0; i < set.count; i++)
        tier_prefetch(set.refs[i]);
    for (unsigned i = 0; i < set.count; i++)
        tier_prefetch(set.refs[i]);
    fake_settle();
    assert_int_equal(stats_of(PAGE_TAG_NVME).reads, 20);
    for (unsigned key = 0; key < 20; key++)
        assert_int_equal(fake_get(key), 0);
    assert_int_equal(stats_of(PAGE_TAG_NVME).reads, 20);
    assert_int_equal(fake.promoted, 0); /* looking ahead is not a read */
    finish();
}

/* Blocking reads while the same records are queued or on their way. */
static void test_sync_reads(void **state) {
    (void)state;
    start(0);
    cool(0, 20, 2000);
    for (int submitted = 0; submitted < 2; submitted++) {
        struct fault_set set = faults_of(submitted * 10, 10);
        int calls = 0;
        struct tier_read *read = tier_read(&set, count_call, &calls);
        if (submitted) tier_turn();
        for (unsigned key = 0; key < 10; key++)
            assert_int_equal(fake_try_get(submitted * 10 + key), 0);
        wait_calls(&calls, 1);
        tier_read_done(read);
        fake_settle();
    }
    finish();
}

/* One pass over everything promotes nothing and displaces nothing. */
static void test_scan_resistance(void **state) {
    (void)state;
    start(MIB * 256);
    cool(0, 2000, 300);
    for (unsigned key = 0; key < 2000; key++) {
        assert_int_equal(fake_get(key), 0);
        fake_turn();
    }
    assert_int_equal(fake.promoted, 0);
    for (unsigned key = 0; key < 50; key++)
        assert_int_equal(fake_get(key), 0);
    assert_int_equal(fake.promoted, 50);
    finish();
}

static int rooms;
static void room(void *ctx) {
    (void)ctx;
    rooms++;
}

/* Z1..Z3: filling memory several times over: writers are held, never refused; used memory stays below the
 * limit. */
static void test_pressure(void **state) {
    (void)state;
    start(MIB * 8);
    fake_init(3000);
    tier_on_room(room, NULL);
    rooms = 0;
    const char *message;
    uint64_t most = 0;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned key = 0; key < 3000; key++) {
            assert_int_equal(fake_admit(&message), 0);
            fake_set(key, 200 + (uint32_t)random_below(16000));
            if (key % 30 == 0) fake_turn();
            if (key % 1000 == 0) tier_cron(0);
            uint64_t used = tier_memory_used();
            if (used > most) most = used;
        }
    }
    struct tier_totals totals;
    tier_totals(&totals);
    assert_true(most <= totals.memory_max + 3 * 16384 + 64 * 20);
    assert_true(stats_of(PAGE_TAG_PMEM).demotions > 0 || stats_of(PAGE_TAG_NVME).demotions > 0);
    assert_int_equal(fake_check_all(), 0);
    finish();
}

/* PMEM above its target sends its coldest on to NVMe, and DRAM never waits for that. */
static void test_pmem_to_nvme(void **state) {
    (void)state;
    struct tier_config config = fake_config(&tier_null_pmem_ops, 4 * MIB, &tier_null_ops, 256 * MIB, 8 * MIB);
    fake_start(&config);
    const char *message;
    for (unsigned key = 0; key < 3000; key++) {
        assert_int_equal(fake_admit(&message), 0);
        fake_set(key, 8000);
        if (key % 10 == 0) fake_turn();
        if (key % 100 == 0) tier_cron(0);
    }
    for (unsigned i = 0; i < 200; i++) {
        fake_turn();
        tier_cron(1);
    }
    fake_settle();
    assert_true(fake_live(PAGE_TAG_PMEM) > 0 && fake_live(PAGE_TAG_NVME) > 0);
    struct tier_stats pmem = stats_of(PAGE_TAG_PMEM);
    assert_true(pmem.bytes_occupied <= 4 * MIB / 100 * 97);
    assert_int_equal(fake_check_all(), 0);
    finish();
}

/* The lowest tier is full: error names it; room made by deleting ends it; with evict the coldest go instead.
 */
static void test_full(void **state) {
    (void)state;
    struct tier_config config = fake_config(NULL, 0, &tier_null_ops, 4 * MIB, 8 * MIB);
    fake_start(&config);
    const char *message = NULL;
    unsigned key = 0;
    while (key < 3000 && !fake_admit(&message)) {
        fake_set(key++, 8000);
        if (key % 10 == 0) fake_turn();
    }
    assert_true(key < 3000);
    assert_non_null(message);
    assert_memory_equal(message, "-OOM ", 5);
    assert_non_null(strstr(message, "tier nvme is full"));
    assert_int_equal(fake_check_all(), 0);
    for (unsigned gone = 0; gone < key / 2; gone++)
        fake_delete(gone);
    for (unsigned i = 0; i < 50; i++) {
        fake_turn();
        usleep(1000);
    }
    assert_int_equal(fake_admit(&message), 0);
    fake.may_evict = 1;
    tier_set_full_policy(TIER_FULL_EVICT);
    for (key = 0; key < 3000; key++) {
        assert_int_equal(fake_admit(&message), 0);
        fake_set(key, 8000);
        if (key % 10 == 0) fake_turn();
    }
    assert_true(fake.evicted > 0);
    assert_int_equal(fake_check_all(), 0);
    finish();
}

/* What fills memory is no values: keys go if the policy allows, at most as many as it takes; else writers are
 * refused after a second. */
static void test_keys_alone(void **state) {
    (void)state;
    start(8 * MIB);
    const char *message = NULL;
    fake_set(0, 8000);
    for (; fake.ballast_count < 40; fake.ballast_count++)
        fake.ballast[fake.ballast_count] = memory_alloc(MIB / 4);
    fake_turn();
    int64_t began = clock_monotonic_us();
    assert_int_equal(fake_admit(&message), 1);
    assert_true(clock_monotonic_us() - began > 900000);
    assert_non_null(strstr(message, "keys and buffers alone fill it"));
    fake.may_evict = 1;
    assert_int_equal(fake_admit(&message), 0);
    assert_in_range(fake.evicted, 8, 12);
    for (unsigned i = 0; i < 10; i++) {
        fake.ballast[fake.ballast_count++] = memory_alloc(MIB / 4);
        assert_int_equal(fake_admit(&message), 0);
        assert_true(memory_used() <= 8 * MIB);
    }
    assert_in_range(fake.evicted, 17, 22);
    assert_int_equal(fake_get(0), 0); /* values are safe */
    while (fake.ballast_count > 0)
        memory_free(fake.ballast[--fake.ballast_count]);
    finish();
}

/* Between high and limit, where waiting gains nothing: nobody is delayed, though what is just being written
 * can be demoted. Where there is something to demote again, writers are. */
static void test_nothing_to_wait_for(void **state) {
    (void)state;
    const char *message = NULL;
    int64_t delay_us;
    start(64 * MIB);
    fake_init(200);
    int64_t until = clock_monotonic_us() + 30 * 1000000ll;
    for (unsigned in_a_row = 0; in_a_row < 1000; fake_turn()) {
        assert_true(clock_monotonic_us() < until);
        if (tier_zone() < TIER_ZONE_DELAY && fake.ballast_count < 64) {
            fake.ballast[fake.ballast_count++] = memory_alloc(MIB);
        } else if (tier_zone() > TIER_ZONE_DELAY) {
            memory_free(fake.ballast[--fake.ballast_count]);
        } else {
            fake_set(0, 100);
            in_a_row = tier_admit(&delay_us, &message) == TIER_ADMIT ? in_a_row + 1 : 0;
        }
    }
    while (fake.ballast_count > 30)
        memory_free(fake.ballast[--fake.ballast_count]);
    fake_turn();
    assert_int_equal(tier_zone(), TIER_ZONE_FREE);
    unsigned key = 0;
    enum tier_admission admission;
    while ((admission = tier_admit(&delay_us, &message)) == TIER_ADMIT && key < 20000) {
        fake_set(key++ % 200, 200000);
        if (key % 10 == 0) fake_turn();
    }
    assert_int_equal(admission, TIER_DELAY);
    while (fake.ballast_count > 0)
        memory_free(fake.ballast[--fake.ballast_count]);
    finish();
}

/* Writes fail: values stay; after a second writers hear of it; once it works again nothing is missing. */
static void test_broken(void **state) {
    (void)state;
    struct tier_config config = fake_config(NULL, 0, &tier_faulty_ops, 256 * MIB, 8 * MIB);
    fake_start(&config);
    fault_point_arm(FAULT_ROCKS_WRITE, 20, UINT64_MAX);
    const char *message = NULL;
    unsigned key = 0;
    int64_t began = clock_monotonic_us();
    while (key < 3000 && !fake_admit(&message))
        fake_set(key++, 8000);
    assert_true(key < 3000);
    assert_non_null(message);
    assert_non_null(strstr(message, "tier nvme fails to write"));
    assert_true(clock_monotonic_us() - began > 900000); /* parked before that */
    assert_true(stats_of(PAGE_TAG_NVME).errors > 0);
    assert_int_equal(fake_check_all(), 0);
    fault_point_reset();
    for (; key < 2000; key++) { /* refused until a write that is tried again has succeeded */
        for (unsigned i = 0; i < 3000 && fake_admit(&message); i++) {
            fake_turn();
            usleep(1000);
        }
        assert_int_equal(fake_admit(&message), 0);
        fake_set(key, 8000);
    }
    assert_int_equal(fake_check_all(), 0);
    finish();
}

/* Reads fail: the command gets the error, and the next one tries the device again. */
static void test_read_errors(void **state) {
    (void)state;
    start(0);
    cool(0, 6, 2000);
    fault_point_arm(FAULT_ROCKS_READ, 0, 1);
    assert_int_equal(fake_get(0), FIRN_EIO);
    assert_int_equal(fake_get(0), 0);
    fault_point_reset();
    fault_point_arm(FAULT_ROCKS_CHECKSUM, 0, 1);
    assert_int_equal(fake_get(1), FIRN_ECORRUPT);
    assert_int_equal(fake_get(1), 0);
    fault_point_reset();
    fake_set(9, 100);
    assert_int_equal(fake_demote(9, PAGE_TAG_PMEM), 0);
    fault_point_arm(FAULT_PMEM_CHECKSUM, 0, 1);
    assert_int_equal(fake_get(9), FIRN_ECORRUPT);
    assert_int_equal(fake_get(9), 0);
    assert_int_equal(stats_of(PAGE_TAG_NVME).corruptions, 1);
    assert_int_equal(stats_of(PAGE_TAG_PMEM).corruptions, 1);
    finish();
}

static void test_stress(void **state) {
    (void)state;
    start(0);
    enum tier_stress modes[] = {TIER_STRESS_PMEM, TIER_STRESS_NVME, TIER_STRESS_RANDOM};
    for (unsigned mode = 0; mode < 3; mode++) {
        tier_set_stress(modes[mode]);
        for (unsigned step = 0; step < 600; step++) {
            unsigned key = (unsigned)random_below(300);
            switch (random_below(4)) {
            case 0: fake_set(key, 1 + (uint32_t)random_below(6000)); break;
            case 1: assert_int_equal(fake_get(key), 0); break;
            case 2: assert_int_equal(fake_append(key, 1 + (uint32_t)random_below(6000)), 0); break;
            default: fake_delete(key);
            }
            tier_stress_now();
            if (modes[mode] != TIER_STRESS_RANDOM) assert_int_equal(fake_live(PAGE_TAG_DRAM), 0);
            if (modes[mode] == TIER_STRESS_NVME && step > 100) assert_int_equal(fake_live(PAGE_TAG_PMEM), 0);
        }
        assert_int_equal(fake_check_all(), 0);
    }
    tier_set_stress(TIER_STRESS_OFF);
    finish();
}

static void test_clear(void **state) {
    (void)state;
    start(0);
    for (unsigned round = 0; round < 20; round++) {
        cool(0, 20, 2000);
        struct fault_set set = faults_of(0, 20);
        int calls = 0;
        struct tier_read *read = tier_read(&set, count_call, &calls);
        if (round % 2) tier_turn();
        for (unsigned key = 20; key < 60; key++)
            fake_set(key, 1000);
        tier_set_memory_max(1);
        tier_turn();
        tier_set_memory_max(0);
        if (round % 3 == 0) {
            tier_forget_db(0);
            tier_forget_db(1);
        }
        tier_clear();
        for (unsigned key = 0; key < 60; key++) {
            if (key % 3 != 2 && fake.entries[key] != NULL) fake.entries[key]->moving = 0;
        }
        fake_delete_all();
        wait_calls(&calls, 1);
        tier_read_done(read);
        fake_settle();
        tier_cron(1);
    }
    finish();
}

/* What a hold covers is read as it was though its owner gave it up, by tier_clear too; it goes after the
 * release, in slices, and only once whoever else holds it has let go. */
static void test_hold(void **state) {
    (void)state;
    enum { KEYS = 1200 };
    static uint64_t refs[KEYS];
    static uint8_t first[KEYS];
    start(0);
    for (unsigned key = 0; key < KEYS; key++) {
        fake_set(key, 300);
        assert_int_equal(fake_demote(key, key % 2 == 0 ? PAGE_TAG_PMEM : PAGE_TAG_NVME), 0);
        refs[key] = key % 3 == 2 ? fake.slots[key] : fake.entries[key]->ref;
        assert_true(page_ref_is_lower(refs[key]));
        struct bytes payload;
        assert_int_equal(page_peek(refs[key], &payload, NULL), 0);
        first[key] = payload.data[0];
    }
    uint64_t live = stats_of(PAGE_TAG_PMEM).bytes_live + stats_of(PAGE_TAG_NVME).bytes_live;
    struct tier_hold *both = tier_hold(refs, KEYS), *half = tier_hold(refs, KEYS / 2);
    assert_null(tier_hold(refs, 0));
    tier_release(NULL);
    for (unsigned key = 0; key < KEYS; key++)
        fake_delete(key);
    tier_clear();
    fake_settle();
    assert_int_equal(stats_of(PAGE_TAG_PMEM).bytes_live + stats_of(PAGE_TAG_NVME).bytes_live, live);
    for (unsigned key = 0; key < KEYS; key++) {
        struct bytes payload;
        assert_int_equal(page_peek(refs[key], &payload, NULL), 0);
        assert_int_equal(payload.size, 300);
        assert_int_equal(payload.data[0], first[key]);
    }
    tier_release(both);
    for (unsigned turn = 0; turn < 20; turn++)
        fake_turn();
    uint64_t left = stats_of(PAGE_TAG_PMEM).bytes_live + stats_of(PAGE_TAG_NVME).bytes_live;
    assert_true(left >= live / 2 &&
                left < live * 3 / 5); /* the other hold's, and what it takes for its own */
    for (unsigned key = 0; key < KEYS / 2; key++) {
        struct bytes payload;
        assert_int_equal(page_peek(refs[key], &payload, NULL), 0);
        assert_int_equal(payload.data[0], first[key]);
    }
    tier_release(half);
    for (unsigned turn = 0; turn < 20; turn++)
        fake_turn();
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_down_and_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_discards, setup, teardown),
        cmocka_unit_test_setup_teardown(test_change_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reader_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_while_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prefetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scan_resistance, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pressure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pmem_to_nvme, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_to_wait_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stress, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clear, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
