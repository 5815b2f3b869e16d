/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_pmem firn_tiering firn_base */
/*
 * Goal: what is particular to the PMEM backend: files it refuses and how it says so, statuses, bytes damaged
 * on the medium, the allocator. Method: plain files in /tmp (page granularity), the allocator against an
 * array of ranges, a small tmpfs for lack of space (skipped where it cannot be mounted).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fault_point.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "pmem/pmem_internal.h"
#include "tier_simple.h"

#define TIER_BYTES (16u << 20)

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", "/tmp/firn-test-pmem-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state) {
    (void)state;
    fault_point_reset();
    simple_remove(folder);
    return 0;
}

static void open_fails(const char *path, uint64_t bytes, int error, const char *words) {
    struct simple simple;
    assert_int_equal(simple_open(&simple, &pmem_ops, path, bytes, 8u << 20), error);
    if (strstr(simple.message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", simple.message, words);
    assert_null(simple.backend);
}

static void test_open_refuses(void **state) {
    (void)state;
    char path[200], text[20] = "";
    snprintf(path, sizeof path, "%s", in_folder("file"));
    simple_write_file(path, "precious");
    open_fails(path, TIER_BYTES, FIRN_EINVALID, "not Firn's");
    FILE *file = fopen(path, "r");
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "precious");
    open_fails(in_folder("no/such/parent"), TIER_BYTES, FIRN_ESYSTEM, "parent");
    open_fails("", TIER_BYTES, FIRN_EINVALID, "needs a file");
    open_fails(in_folder("tiny"), 1000, FIRN_EINVALID, "1 MB");
    open_fails("/dev/null", TIER_BYTES, FIRN_EIO, "mapped"); /* a device, but no DAX */
    mkfifo(in_folder("pipe"), 0600);
    open_fails(in_folder("pipe"), TIER_BYTES, FIRN_EINVALID, "neither");
    fault_point_arm(FAULT_PMEM_MAP, 0, 1);
    snprintf(path, sizeof path, "%s", in_folder("fresh"));
    open_fails(path, TIER_BYTES, FIRN_EIO, "mapped");
    assert_int_not_equal(access(path, F_OK), 0); /* nothing left behind */
    open_fails(path, 1ull << 60, FIRN_ENOSPACE, "free space");
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_open_ours(void **state) {
    (void)state;
    struct simple simple, second;
    uint64_t address;
    static const uint64_t sizes[] = {TIER_BYTES, TIER_BYTES, TIER_BYTES * 2, TIER_BYTES, 5000000};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) { /* recreated in the new size */
        assert_int_equal(simple_open(&simple, &pmem_ops, in_folder("tier"), sizes[i], 8u << 20), 0);
        assert_int_equal(simple_stats(&simple).records_live, 0);
        struct stat now;
        assert_int_equal(stat(in_folder("tier"), &now), 0);
        assert_int_equal(now.st_size, sizes[i] / 4096 * 4096);
        assert_int_equal(simple_put(&simple, 1000, 1, &address), 0);
        assert_int_equal(simple_open(&second, &pmem_ops, in_folder("tier"), TIER_BYTES, 8u << 20),
                         FIRN_EINVALID);
        assert_non_null(strstr(second.message, "another server"));
        assert_int_equal(simple_get(&simple, 1000, 1, address), 0);
        simple_close(&simple);
    }
    assert_int_equal(simple_open(&simple, &pmem_ops, folder, TIER_BYTES, 8u << 20),
                     0); /* a file in the folder */
    assert_int_equal(access(in_folder("firn-pmem"), F_OK), 0);
    simple_close(&simple);
    simple_write_file(in_folder("empty"), "");
    assert_int_equal(simple_open(&simple, &pmem_ops, in_folder("empty"), TIER_BYTES, 8u << 20), 0);
    simple_close(&simple);
}

static void test_no_space(void **state) {
    (void)state;
    char path[200];
    snprintf(path, sizeof path, "%s", in_folder("small"));
    mkdir(path, 0700);
    if (mount("none", path, "tmpfs", 0, "size=8m") != 0) skip();
    open_fails(in_folder("small/tier"), TIER_BYTES, FIRN_ENOSPACE, "16777216 bytes");
    assert_int_not_equal(access(in_folder("small/tier"), F_OK), 0);
    assert_int_equal(umount(path), 0);
}

static void test_statuses(void **state) {
    (void)state;
    struct simple simple;
    uint64_t address, other;
    struct bytes payload;
    assert_int_equal(simple_open(&simple, &pmem_ops, in_folder("tier"), TIER_BYTES, 8u << 20), 0);
    assert_int_equal(simple_put(&simple, 700, 1, &address), 0);
    fault_point_arm(FAULT_PMEM_RESERVE, 0, 1);
    assert_int_equal(simple.ops->reserve(simple.backend, 100, &other), FIRN_ENOSPACE);
    assert_int_equal(simple.ops->reserve(simple.backend, PAGE_BYTES_MAX + 1, &other), FIRN_ETOOBIG);
    assert_int_equal(simple.ops->reserve(simple.backend, TIER_BYTES, &other), FIRN_ENOSPACE);
    fault_point_arm(FAULT_PMEM_CHECKSUM, 0, 2);
    assert_int_equal(simple_get(&simple, 700, 1, address), FIRN_ECORRUPT);
    assert_int_equal(simple.ops->map(simple.backend, address, &payload), FIRN_ECORRUPT);
    assert_int_equal(payload.size, 0);
    fault_point_arm(FAULT_MEMORY_TRY, 0, 1);
    assert_int_equal(simple_get(&simple, 700, 1, address), FIRN_ENOMEM);
    fault_point_reset();
    assert_int_equal(simple_get(&simple, 700, 1, address), 0);
    assert_int_equal(simple.ops->map(simple.backend, address, &payload), 0);
    assert_int_equal(payload.size, 700);
    assert_int_equal(simple.ops->bytes(simple.backend, address), 700);
    assert_int_equal(simple_stats(&simple).errors, 2);
    assert_int_equal(simple_stats(&simple).device_write_bytes, 716);
    assert_int_equal(simple_stats(&simple).bytes_occupied, 768);
    /* Whatever is asked for, nothing outside the records is touched. */
    static const uint64_t wild[] = {0, 1, 63, 1ull << 20, UINT64_MAX >> 3, UINT64_MAX};
    for (unsigned i = 0; i < sizeof wild / sizeof wild[0]; i++) {
        assert_int_equal(simple_get(&simple, 1, 1, wild[i]), FIRN_ENOTFOUND);
        assert_int_equal(simple.ops->map(simple.backend, wild[i], &payload), FIRN_ECORRUPT);
        assert_int_equal(simple.ops->bytes(simple.backend, wild[i]), 0);
        simple.ops->discard(simple.backend, wild[i]);
    }
    simple.ops->discard(simple.backend, address);
    assert_int_equal(simple_get(&simple, 700, 1, address), FIRN_ENOTFOUND);
    assert_int_equal(simple_stats(&simple).bytes_occupied, 0);
    simple_close(&simple);
}

/* Every byte of a record, header included, flipped on the medium: found out, or restored it reads again. */
static void test_damaged_medium(void **state) {
    (void)state;
    struct simple simple;
    uint64_t address;
    assert_int_equal(simple_open(&simple, &pmem_ops, in_folder("tier"), TIER_BYTES, 8u << 20), 0);
    assert_int_equal(simple_put(&simple, 300, 9, &address), 0);
    int file = open(in_folder("tier"), O_RDWR);
    log_set_level(LOG_LEVEL_NOTHING);
    for (unsigned i = 0; i < 16 + 300; i++) {
        uint8_t byte, flipped;
        off_t at = (off_t)(address * 64 + i);
        assert_int_equal(pread(file, &byte, 1, at), 1);
        flipped = byte ^ (uint8_t)(1u << random_below(8));
        assert_int_equal(pwrite(file, &flipped, 1, at), 1);
        assert_int_equal(simple_get(&simple, 300, 9, address), FIRN_ECORRUPT);
        assert_int_equal(pwrite(file, &byte, 1, at), 1);
        assert_int_equal(simple_get(&simple, 300, 9, address), 0);
    }
    log_set_level(LOG_LEVEL_NOTICE);
    close(file);
    simple_close(&simple);
}

/* --- the allocator --- */

struct range {
    uint64_t offset;
    uint32_t bytes;
};

#define RANGES 3000u

/* No two slots overlap, all lie on the medium; sizes are remembered; in the end everything is there again. */
static void space_churn(uint64_t medium_bytes, uint32_t bytes_max, unsigned steps) {
    struct pmem_space space;
    static struct range ranges[RANGES];
    memset(ranges, 0, sizeof ranges);
    pmem__space_init(&space, medium_bytes);
    uint8_t *taken = memory_alloc_zero(medium_bytes / 64 + 64);
    for (unsigned step = 0; step < steps; step++) {
        struct range *range = &ranges[random_below(RANGES)];
        uint32_t bytes;
        if (range->offset == 0) {
            range->bytes = (uint32_t)random_below(random_below(8) == 0 ? bytes_max : bytes_max / 50 + 64);
            if (pmem__space_take(&space, range->bytes, &range->offset) != 0) {
                range->offset = 0;
                continue;
            }
            assert_true(range->offset % 64 == 0 && range->offset >= PMEM_DATA_OFFSET);
            assert_true(range->offset + 16 + range->bytes <= PMEM_DATA_OFFSET + medium_bytes);
        } else {
            assert_true(pmem__space_find(&space, range->offset, &bytes));
            assert_int_equal(bytes, range->bytes);
            pmem__space_give(&space, range->offset);
        }
        uint64_t first = (range->offset - PMEM_DATA_OFFSET) / 64, units = (range->bytes + 16u + 63) / 64;
        for (uint64_t i = first; i < first + units; i++)
            taken[i] ^= 1;
        if (pmem__space_find(&space, range->offset, &bytes)) {
            for (uint64_t i = first; i < first + units; i++)
                assert_int_equal(taken[i], 1); /* was free before */
        } else {
            for (uint64_t i = first; i < first + units; i++)
                assert_int_equal(taken[i], 0);
            range->offset = 0;
        }
        if (step % 500 == 0) pmem__space_check(&space);
    }
    uint64_t keep[2];
    size_t keep_count = 0;
    for (unsigned i = 0; i < RANGES && keep_count < 2; i++)
        if (ranges[i].offset != 0) keep[keep_count++] = ranges[i].offset;
    pmem__space_clear(&space, keep, keep_count);
    pmem__space_check(&space);
    assert_int_equal(space.records, keep_count);
    for (size_t i = 0; i < keep_count; i++)
        pmem__space_give(&space, keep[i]);
    pmem__space_check(&space);
    assert_int_equal(space.free_extents, space.extent_count);
    assert_int_equal(space.slot_bytes + space.payload_bytes + space.records, 0);
    memory_free(taken);
    pmem__space_fini(&space);
}

static void test_space(void **state) {
    (void)state;
    space_churn(1u << 20, 5000, 20000);
    space_churn(16u << 20, 30000, 50000);
    space_churn(64u << 20, 400000, 50000); /* with runs */
    space_churn(1ull << 30, 2000000, 20000);
}

/* One size to the brim, then another: extents change their class; little is lost to rounding. */
static void test_space_rebalances(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1, 48, 49, 1000, 1024, 4096, 16384, 30000, 65536, 200000, 3000000};
    struct pmem_space space;
    uint64_t medium = 256u << 20, *offsets = memory_alloc((medium / 64 + 1) * sizeof *offsets);
    pmem__space_init(&space, medium);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t count = 0;
        while (pmem__space_take(&space, sizes[i], &offsets[count]) == 0)
            count++;
        double used = (double)count * (sizes[i] + 16) / (double)medium;
        print_message("%7u bytes: %zu records, %.0f %% of the medium\n", sizes[i], count, used * 100);
        assert_true(used > (sizes[i] < 64 || sizes[i] > 65536 ? 0.25 : 0.65));
        if (i % 2 == 0) {
            pmem__space_clear(&space, NULL, 0);
        } else {
            for (size_t k = 0; k < count; k++)
                pmem__space_give(&space, offsets[k]);
        }
        pmem__space_check(&space);
        assert_int_equal(space.free_extents, space.extent_count);
    }
    memory_free(offsets);
    pmem__space_fini(&space);
}

/* --- sweeps: each pass of each fault point fails once, or for ever from there --- */

#define SWEEP_RECORDS 6u

static void sweep_body(void *ctx) {
    (void)ctx;
    struct simple simple;
    if (simple_open(&simple, &pmem_ops, in_folder("sweep"), 16u << 20, 8u << 20) != 0) {
        assert_true(strlen(simple.message) > 20);
        return;
    }
    uint64_t addresses[SWEEP_RECORDS], live = 0;
    int put[SWEEP_RECORDS];
    for (unsigned i = 0; i < SWEEP_RECORDS; i++) {
        put[i] = simple_put(&simple, 500, i, &addresses[i]);
        live += put[i] == 0;
    }
    assert_int_equal(simple_stats(&simple).records_live, live);
    assert_int_equal(simple_stats(&simple).bytes_live, live * 500);
    for (unsigned i = 0; i < SWEEP_RECORDS; i++) {
        int get = put[i] == 0 ? simple_get(&simple, 500, i, addresses[i]) : 0;
        assert_true(get <= 0); /* the record or an error, never another record */
        if (put[i] == 0) simple.ops->discard(simple.backend, addresses[i]);
    }
    assert_int_equal(simple_stats(&simple).records_live, 0);
    simple_close(&simple);
}

static void sweep_verify(void *ctx) {
    (void)ctx; /* the next run opens what this one left */
}

static void test_sweeps(void **state) {
    (void)state;
    static const enum fault_point points[] = {FAULT_PMEM_MAP, FAULT_PMEM_ALLOCATE, FAULT_PMEM_RESERVE,
                                              FAULT_PMEM_CHECKSUM, FAULT_MEMORY_TRY};
    log_set_level(LOG_LEVEL_NOTHING);
    for (unsigned i = 0; i < sizeof points / sizeof points[0]; i++)
        for (int sticky = 0; sticky < 2; sticky++)
            assert_true(fault_point_sweep(points[i], sticky, sweep_body, sweep_verify, NULL) > 1);
    log_set_level(LOG_LEVEL_NOTICE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_space, setup, teardown),
        cmocka_unit_test_setup_teardown(test_statuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweeps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_medium, setup, teardown),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_space_rebalances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
