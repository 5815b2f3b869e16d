/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_rocks firn_tiering firn_base */
/*
 * Goal: what is particular to the NVMe backend: which folders it refuses and how it says so, every error
 * status, bytes damaged on the medium, space that comes back, a disk that fills up. Method: a real RocksDB in
 * a folder of /tmp; the full disk is a small tmpfs (skipped where it cannot be mounted).
 */
#include <dirent.h>
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
#include "rocks/rocks_internal.h"
#include "tier_simple.h"

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", "/tmp/firn-test-rocks-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state) {
    (void)state;
    fault_point_reset();
    simple_remove(folder);
    return 0;
}

static void open_fails(const char *path, int error, const char *words) {
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, path, 16u << 20, 8u << 20), error);
    if (strstr(simple.message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", simple.message, words);
    assert_null(simple.backend);
}

static void test_open_refuses(void **state) {
    (void)state;
    char path[200];
    snprintf(path, sizeof path, "%s", in_folder("file"));
    simple_write_file(path, "precious");
    open_fails(path, FIRN_EINVALID, "not a folder");
    open_fails(in_folder("no/such/parent"), FIRN_ESYSTEM, "parent");
    open_fails("", FIRN_EINVALID, "needs a folder");
    snprintf(path, sizeof path, "%s", in_folder("foreign"));
    mkdir(path, 0700);
    simple_write_file(in_folder("foreign/letter.txt"), "precious");
    open_fails(path, FIRN_EINVALID, "letter.txt");
    assert_int_equal(access(in_folder("foreign/letter.txt"), F_OK), 0);
    assert_int_not_equal(access(in_folder("foreign/firn-tier"), F_OK), 0); /* not even marked */
    snprintf(path, sizeof path, "%s", in_folder("likely")); /* names like ours, but no marker */
    mkdir(path, 0700);
    mkdir(in_folder("likely/db"), 0700);
    open_fails(path, FIRN_EINVALID, "db");
    open_fails("/proc/firn-tier-test", FIRN_ESYSTEM, "cannot be created");
}

static void test_open_ours(void **state) {
    (void)state;
    struct simple simple, second;
    uint64_t address;
    char path[200];
    snprintf(path, sizeof path, "%s", in_folder("tier"));
    for (int i = 0; i < 3; i++) { /* earlier content is dropped, ids start anew */
        assert_int_equal(simple_open(&simple, &rocks_ops, path, 16u << 20, 8u << 20), 0);
        assert_int_equal(simple_stats(&simple).records_live, 0);
        assert_int_equal(simple_put(&simple, 1000, 1, &address), 0);
        assert_int_not_equal(simple_open(&second, &rocks_ops, path, 16u << 20, 8u << 20), 0);
        assert_non_null(strstr(second.message, "another server"));
        assert_int_equal(simple_get(&simple, 1000, 1, address), 0);
        simple_close(&simple);
    }
    simple_write_file(in_folder("tier/letter.txt"),
                      "precious"); /* ours, but someone put something beside it */
    open_fails(path, FIRN_EINVALID, "letter.txt");
    unlink(in_folder("tier/letter.txt"));
    fault_point_arm(FAULT_ROCKS_OPEN, 0, 1);
    open_fails(path, FIRN_EIO, "does not open");
    fault_point_reset();
    assert_int_equal(simple_open(&simple, &rocks_ops, path, 16u << 20, 8u << 20), 0);
    simple_close(&simple);
}

static void test_statuses(void **state) {
    (void)state;
    struct simple simple;
    uint64_t address, failed;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 16u << 20, 8u << 20), 0);
    assert_int_equal(simple_put(&simple, 700, 1, &address), 0);
    fault_point_arm(FAULT_ROCKS_WRITE, 0, 1);
    assert_int_equal(simple_put(&simple, 800, 2, &failed), FIRN_EIO);
    assert_int_equal(simple_stats(&simple).records_live, 1); /* the address is void */
    assert_int_equal(simple_stats(&simple).bytes_live, 700);
    assert_int_equal(simple_get(&simple, 800, 2, failed), FIRN_ENOTFOUND);
    simple.ops->discard(simple.backend, failed); /* harmless */
    fault_point_arm(FAULT_ROCKS_READ, 0, 1);
    assert_int_equal(simple_get(&simple, 700, 1, address), FIRN_EIO);
    fault_point_arm(FAULT_ROCKS_CHECKSUM, 0, 1);
    assert_int_equal(simple_get(&simple, 700, 1, address), FIRN_ECORRUPT);
    fault_point_arm(FAULT_MEMORY_TRY, 0, 1);
    assert_int_equal(simple_get(&simple, 700, 1, address), FIRN_ENOMEM);
    fault_point_reset();
    assert_int_equal(simple_get(&simple, 700, 1, address), 0);
    assert_int_equal(simple_stats(&simple).errors, 4);
    simple.ops->discard(simple.backend, address);
    assert_int_equal(simple_get(&simple, 700, 1, address), FIRN_ENOTFOUND);
    assert_int_equal(simple_get(&simple, 700, 1, 1ull << 60), FIRN_ENOTFOUND); /* never given out */
    assert_int_equal(simple_get(&simple, 700, 1, 0), FIRN_ENOTFOUND);
    assert_int_equal(simple_stats(&simple).records_live, 0);
    simple_close(&simple);
}

/* A batch in which some writes fail: only those do. */
static void test_partial_batch(void **state) {
    (void)state;
    struct simple simple;
    struct tier_operation operations[16], *batch[16];
    uint8_t data[16][100];
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 16u << 20, 8u << 20), 0);
    for (unsigned i = 0; i < 16; i++) {
        simple_fill(data[i], 100, i);
        operations[i] = (struct tier_operation){.kind = TIER_PUT, .data = data[i], .bytes = 100};
        assert_int_equal(simple.ops->reserve(simple.backend, 100, &operations[i].address), 0);
        batch[i] = &operations[i];
    }
    fault_point_arm(FAULT_ROCKS_WRITE, 5, 3);
    assert_int_equal(simple.ops->submit(simple.backend, batch, 16), 0);
    void *message;
    for (unsigned done = 0; done < 16; done += (unsigned)simple_pop(&simple, &message))
        usleep(20);
    fault_point_reset();
    for (unsigned i = 0; i < 16; i++) {
        int failed = i >= 5 && i < 8;
        assert_int_equal(operations[i].status, failed ? FIRN_EIO : 0);
        assert_int_equal(simple_get(&simple, 100, i, operations[i].address), failed ? FIRN_ENOTFOUND : 0);
    }
    assert_int_equal(simple_stats(&simple).records_live, 13);
    simple_close(&simple);
}

#define MANY       20000u
#define MANY_BYTES 1000u

static uint64_t *put_many(struct simple *simple) {
    uint64_t *addresses = memory_alloc(MANY * sizeof *addresses);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(simple_put(simple, MANY_BYTES, i, &addresses[i]), 0);
    return addresses;
}

/* Overwrite some bytes in each table file. */
static unsigned damage_files(void) {
    char path[600];
    DIR *files = opendir(in_folder("tier/db"));
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(files)) != NULL;) {
        if (strstr(entry->d_name, ".sst") == NULL) continue;
        snprintf(path, sizeof path, "%s/tier/db/%s", folder, entry->d_name);
        int file = open(path, O_RDWR);
        struct stat now;
        if (file < 0 || fstat(file, &now) != 0 || now.st_size < 400000) {
            if (file >= 0) close(file);
            continue;
        }
        char junk[5000];
        memset(junk, 0x5a, sizeof junk);
        for (off_t at = 50000; at + 100000 < now.st_size; at += 100000)
            assert_true(pwrite(file, junk, at % 3 ? sizeof junk : 1, at) > 0);
        fsync(file);
        close(file);
        count++;
    }
    closedir(files);
    return count;
}

static void test_damaged_medium(void **state) {
    (void)state;
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 64u << 20, 8u << 20), 0);
    uint64_t *addresses = put_many(&simple);
    usleep(300000); /* flushes end */
    assert_true(damage_files() > 0);
    unsigned good = 0, bad = 0;
    log_set_level(LOG_LEVEL_NOTHING);
    for (uint64_t i = 0; i < MANY; i++) {
        int status = simple_get(&simple, MANY_BYTES, i, addresses[i]);
        assert_true(status == 0 || status == FIRN_ECORRUPT);
        good += status == 0;
        bad += status != 0;
    }
    log_set_level(LOG_LEVEL_NOTICE);
    assert_true(bad > 0 && good > bad);
    assert_int_equal(simple_stats(&simple).errors, bad);
    memory_free(addresses);
    simple_close(&simple);
}

/* Wait until the reader of our own knows where ${address} is; 0 if it is not there. */
static int await_own(struct simple *simple, uint64_t bytes, uint64_t seed, uint64_t address) {
    if (simple->backend->own == NULL) return 0;
    for (unsigned i = 0; i < 500; i++) {
        uint64_t before = simple->backend->own_done + simple->backend->own_handed;
        assert_int_equal(simple_get(simple, (uint32_t)bytes, seed, address), 0);
        if (simple->backend->own_done + simple->backend->own_handed > before) return 1;
        usleep(20000);
    }
    fail_msg("the table is not found");
    return 0;
}

/* Many reads at once: several of one block, more than there are slots. */
static void get_at_once(struct simple *simple, const uint64_t *addresses, unsigned first, unsigned step) {
    static struct tier_operation operations[TIER_READ_INFLIGHT_MAX];
    struct tier_operation *batch[TIER_BATCH_OPERATIONS_MAX];
    unsigned count = TIER_READ_INFLIGHT_MAX;
    for (unsigned i = 0; i < count; i += TIER_BATCH_OPERATIONS_MAX) {
        for (unsigned j = 0; j < TIER_BATCH_OPERATIONS_MAX; j++) {
            operations[i + j] =
                (struct tier_operation){.kind = TIER_GET, .address = addresses[first + (i + j) * step]};
            batch[j] = &operations[i + j];
        }
        assert_int_equal(simple->ops->submit(simple->backend, batch, TIER_BATCH_OPERATIONS_MAX), 0);
    }
    for (unsigned done = 0; done < count;) {
        void *message;
        if (simple_pop(simple, &message) == 0) continue;
        struct tier_operation *operation = message;
        uint8_t data[MANY_BYTES];
        assert_int_equal(operation->status, 0);
        simple_fill(data, MANY_BYTES, first + (uint64_t)(operation - operations) * step);
        assert_int_equal(operation->page->bytes, MANY_BYTES);
        assert_memory_equal(operation->page->data, data, MANY_BYTES);
        page_free_unshared(operation->page);
        done++;
    }
}

/* Reads past the engine: they come right, and whatever fails in them the engine makes good. */
static void test_own_reader(void **state) {
    (void)state;
    static const enum fault_point points[] = {FAULT_ROCKS_BLOCK_READ, FAULT_ROCKS_BLOCK_SHORT,
                                              FAULT_ROCKS_BLOCK_DAMAGE};
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 64u << 20, 8u << 20), 0);
    uint64_t *addresses = put_many(&simple);
    if (!await_own(&simple, MANY_BYTES, MANY / 2, addresses[MANY / 2])) {
        memory_free(addresses);
        simple_close(&simple);
        skip();
    }
    get_at_once(&simple, addresses, 5, 1);
    get_at_once(&simple, addresses, 7, MANY / 2 / TIER_READ_INFLIGHT_MAX);
    assert_int_equal(simple.backend->own_handed, 0);
    for (unsigned i = 0; i < sizeof points / sizeof points[0]; i++) {
        uint64_t before = simple.backend->own_handed;
        fault_point_arm(points[i], 3, 5);
        for (uint64_t j = 0; j < 100; j++)
            assert_int_equal(simple_get(&simple, MANY_BYTES, j, addresses[j]), 0);
        assert_int_equal(simple.backend->own_handed, before + 5);
        fault_point_reset();
        fault_point_arm(points[i], 10, UINT64_MAX);
        get_at_once(&simple, addresses, 5, 3);
        fault_point_reset();
        assert_true(simple.backend->own_handed > before + 100);
    }
    fault_point_arm(FAULT_MEMORY_TRY, 0, 1);
    assert_int_equal(simple_get(&simple, MANY_BYTES, 1, addresses[1]), FIRN_ENOMEM);
    fault_point_reset();
    simple.ops->discard(simple.backend, addresses[1]);
    assert_int_equal(simple_get(&simple, MANY_BYTES, 1, addresses[1]), FIRN_ENOTFOUND);
    memory_free(addresses);
    simple_close(&simple);
}

static void wait_occupied(struct simple *simple, double factor, uint64_t slack) {
    for (int i = 0; i < 300; i++) {
        simple->ops->cron(simple->backend, 1);
        struct tier_backend_stats stats = simple_stats(simple);
        if ((double)stats.bytes_occupied <= (double)stats.bytes_live * factor + (double)slack) return;
        usleep(100000);
    }
    fail_msg("space does not come back: %llu occupied, %llu live",
             (unsigned long long)simple_stats(simple).bytes_occupied,
             (unsigned long long)simple_stats(simple).bytes_live);
}

/* Random deaths, reads going on meanwhile; then everything dies; then everything is cleared. */
static void test_reclaim(void **state) {
    (void)state;
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 64u << 20, 8u << 20), 0);
    uint64_t *addresses = put_many(&simple);
    for (unsigned i = 0; i < MANY; i++)
        if (i % 5 != 0) simple.ops->discard(simple.backend, addresses[i]);
    assert_int_equal(simple_stats(&simple).records_live, MANY / 5);
    assert_int_equal(simple_stats(&simple).bytes_live, MANY / 5 * MANY_BYTES);
    for (unsigned round = 0; round < 5; round++)
        for (unsigned i = 0; i < MANY; i += 5)
            assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    wait_occupied(&simple, 1.3, 4u << 20); /* the open chunk and a memtable stay */
    for (unsigned i = 0; i < MANY; i += 5)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    for (unsigned i = 0; i < MANY; i += 5)
        simple.ops->discard(simple.backend, addresses[i]);
    wait_occupied(&simple, 1, 5u << 20);
    memory_free(addresses);
    addresses = put_many(&simple);
    simple.ops->clear(simple.backend);
    assert_int_equal(simple_stats(&simple).records_live, 0);
    assert_int_equal(simple_get(&simple, MANY_BYTES, 7, addresses[7]), FIRN_ENOTFOUND);
    simple.ops->discard(simple.backend, addresses[7]); /* void: harmless */
    wait_occupied(&simple, 1, 5u << 20);
    struct tier_backend_stats stats = simple_stats(&simple);
    assert_true(stats.device_write_bytes > 0 && stats.device_read_bytes > 0);
    assert_true(stats.memory_bytes > 0 && stats.memory_bytes < 12u << 20);
    assert_int_equal(stats.errors, 0);
    memory_free(addresses);
    simple_close(&simple);
}

/* A tier too large for its indexes: they go through the cache, in partitions. */
static void test_small_memory(void **state) {
    (void)state;
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 1ull << 40, 6u << 20), 0);
    uint64_t *addresses = put_many(&simple);
    for (uint64_t i = 0; i < MANY; i += 3)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    assert_true(simple_stats(&simple).memory_bytes < 12u << 20);
    uint64_t address;
    assert_int_equal(simple.ops->reserve(simple.backend, 5u << 20, &address), FIRN_ETOOBIG);
    memory_free(addresses);
    simple_close(&simple);
}

/* Wait until the backend takes no more than ${bytes}, as it says itself. */
static void wait_memory(struct simple *simple, uint64_t bytes) {
    for (int i = 0; i < 100 && simple_stats(simple).memory_bytes > bytes; i++)
        usleep(100000);
    assert_true(simple_stats(simple).memory_bytes <= bytes);
}

/* The budget changes while the tier is in use: memtables, the engine's cache and our indexes follow, down and
 * up, and no record is lost by it. */
static void test_memory_changes(void **state) {
    (void)state;
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 1ull << 30, 256u << 20), 0);
    uint64_t *addresses = put_many(&simple), large;
    assert_int_equal(simple.ops->reserve(simple.backend, 20u << 20, &large), 0);
    simple.ops->discard(simple.backend, large);
    for (int i = 0; i < 100 && simple_stats(&simple).memory_bytes <= 20u << 20; i++)
        usleep(100000);
    assert_true(simple_stats(&simple).memory_bytes > 20u << 20); /* all is in a memtable still */
    fault_point_arm(FAULT_ROCKS_OPTIONS, 0, 2);                  /* it is tried again */
    simple.ops->set_memory_max(simple.backend, 6u << 20);
    wait_memory(&simple, 10u << 20);
    assert_int_equal(simple.ops->reserve(simple.backend, 20u << 20, &large), FIRN_ETOOBIG);
    (void)await_own(&simple, MANY_BYTES, 0, addresses[0]); /* flushed without being asked to */
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    memory_free(addresses);
    addresses = put_many(&simple);
    wait_memory(&simple, 12u << 20);
    simple.ops->set_memory_max(simple.backend, 128u << 20);
    uint64_t more;
    for (unsigned round = 0; round < 40 && simple_stats(&simple).memory_bytes <= 15u << 20; round++) {
        for (uint64_t i = 0; i < MANY / 8; i++)
            assert_int_equal(simple_put(&simple, MANY_BYTES, i, &more), 0);
        usleep(200000);
    }
    assert_true(simple_stats(&simple).memory_bytes > 15u << 20);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    memory_free(addresses);
    simple_close(&simple);
}

/* Our own indexes above a budget that shrank: those of the oldest files go, and come back with it. */
static void test_indexes_shrink(void **state) {
    (void)state;
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 1ull << 30, 8u << 20), 0);
    uint64_t *addresses = put_many(&simple);
    if (!await_own(&simple, MANY_BYTES, 0, addresses[0])) {
        memory_free(addresses);
        simple_close(&simple);
        skip();
    }
    struct rocks_tables *tables = &simple.backend->tables;
    /* Less than any budget gives: as if there were thousands of files. */
    rocks__tables_set_memory(tables, 1);
    uint64_t own;
    for (int i = 0; i < 200; i++) {
        own = simple.backend->own_done;
        assert_int_equal(simple_get(&simple, MANY_BYTES, 0, addresses[0]), 0);
        if (simple.backend->own_done == own) break;
        usleep(50000);
    }
    assert_int_equal(simple.backend->own_done, own); /* the engine read it */
    simple.ops->set_memory_max(simple.backend, 16u << 20);
    (void)await_own(&simple, MANY_BYTES, 0, addresses[0]);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    memory_free(addresses);
    simple_close(&simple);
}

/* The disk fills up under the tier: writes fail and say so, everything acknowledged stays readable, and
 * writing goes on once there is space. */
static void test_disk_full(void **state) {
    (void)state;
    char mount_path[200];
    snprintf(mount_path, sizeof mount_path, "%s", in_folder("small"));
    mkdir(mount_path, 0700);
    if (mount("none", mount_path, "tmpfs", 0, "size=24m") != 0) skip();
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("small/tier"), 1ull << 30, 8u << 20), 0);
    unlink(in_folder("small/ballast"));
    static uint64_t addresses[100000];
    uint64_t count = 0;
    int error = 0;
    log_set_level(LOG_LEVEL_NOTHING);
    while (count < 100000 && (error = simple_put(&simple, MANY_BYTES, count, &addresses[count])) == 0)
        count++;
    print_message("full after %llu records: %s\n", (unsigned long long)count, error_text(error));
    assert_true(error == FIRN_ENOSPACE || error == FIRN_EIO);
    assert_int_equal(simple_stats(&simple).records_live, count);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    assert_int_equal(mount("none", mount_path, "tmpfs", MS_REMOUNT, "size=64m"), 0);
    uint64_t address;
    int64_t started_us = clock_monotonic_us();
    while ((error = simple_put(&simple, MANY_BYTES, 1, &address)) != 0 &&
           clock_monotonic_us() - started_us < 60000000)
        usleep(100000);
    log_set_level(LOG_LEVEL_NOTICE);
    print_message("writes again after %lld ms\n", (long long)(clock_monotonic_us() - started_us) / 1000);
    assert_int_equal(error, 0);
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    simple_close(&simple);
    assert_int_equal(umount(mount_path), 0);
}

/* The same without registered buffers, as where RLIMIT_MEMLOCK is low. */
static void test_own_reader_unregistered(void **state) {
    fault_point_arm(FAULT_ROCKS_URING_BUFFERS, 0, UINT64_MAX);
    test_own_reader(state);
}

/* Blocks larger than a slot's buffer get memory of their own; without it the engine reads them. */
static void test_own_reader_large(void **state) {
    (void)state;
    enum { COUNT = 500, BYTES = 20000 };
    static uint64_t addresses[COUNT];
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 64u << 20, 8u << 20), 0);
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(simple_put(&simple, BYTES, i, &addresses[i]), 0);
    int own = await_own(&simple, BYTES, 0, addresses[0]);
    uint64_t done = simple.backend->own_done;
    fault_point_arm(FAULT_MEMORY_TRY, 0, 1);
    assert_int_equal(simple_get(&simple, BYTES, 0, addresses[0]), own ? 0 : FIRN_ENOMEM);
    assert_int_equal(simple.backend->own_done, done);
    fault_point_reset();
    assert_int_equal(simple_get(&simple, BYTES, 0, addresses[0]), 0);
    assert_int_equal(simple.backend->own_done, done + (uint64_t)own);
    simple_close(&simple);
}

/* Table files that cannot be opened, or no eventfd for the ring: the engine reads all. */
static void test_own_reader_out(void **state) {
    (void)state;
    struct simple simple;
    fault_point_arm(FAULT_ROCKS_TABLE, 0, UINT64_MAX);
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 64u << 20, 8u << 20), 0);
    uint64_t *addresses = put_many(&simple);
    usleep(300000);
    for (uint64_t i = 0; i < MANY; i += 7)
        assert_int_equal(simple_get(&simple, MANY_BYTES, i, addresses[i]), 0);
    assert_int_equal(simple.backend->own_done, 0);
    memory_free(addresses);
    simple_close(&simple);
    struct ring *ring = ring_create(64);
    struct tier_backend_config config = {.path = in_folder("tier"),
                                         .bytes_max = 64u << 20,
                                         .memory_max = 8u << 20,
                                         .sink = {.completions = ring, .wake = simple_wake, .wake_fd = 1}};
    struct tier_backend *backend;
    fault_point_reset();
    fault_point_arm(FAULT_ROCKS_URING_WAKE, 0, 1);
    assert_int_equal(rocks_ops.open(&config, &backend, simple.message, sizeof simple.message), 0);
    assert_null(backend->own);
    rocks_ops.close(backend);
    ring_destroy(ring);
}

/* Any of the threads cannot be started: nothing is left of the others. */
static void test_no_threads(void **state) {
    (void)state;
    for (uint64_t skip_count = 0; skip_count < 27; skip_count += skip_count < 4 ? 1 : 11) {
        fault_point_arm(FAULT_ROCKS_THREAD, skip_count, 1);
        open_fails(in_folder("tier"), FIRN_ESYSTEM, "no threads can be started");
        fault_point_reset();
    }
}

/* Dead files that cannot be dropped are tried again, and counted. */
static void test_reclaim_fails(void **state) {
    (void)state;
    struct simple simple;
    assert_int_equal(simple_open(&simple, &rocks_ops, in_folder("tier"), 64u << 20, 8u << 20), 0);
    uint64_t *addresses = put_many(&simple);
    fault_point_arm(FAULT_ROCKS_RECLAIM, 0, 1);
    for (unsigned i = 0; i < MANY; i++)
        simple.ops->discard(simple.backend, addresses[i]);
    wait_occupied(&simple, 1, 5u << 20);
    assert_int_equal(simple_stats(&simple).errors, 1);
    memory_free(addresses);
    simple_close(&simple);
}

static void test_damaged_medium_engine(void **state) {
    fault_point_arm(FAULT_ROCKS_URING, 0, UINT64_MAX);
    test_damaged_medium(state);
}

/* --- sweeps: each pass of each fault point fails once, or for ever from there --- */

#define SWEEP_RECORDS 6u

static void sweep_body(void *ctx) {
    (void)ctx;
    struct simple simple;
    if (simple_open(&simple, &rocks_ops, in_folder("sweep"), 16u << 20, 8u << 20) != 0) {
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
    static const enum fault_point points[] = {FAULT_ROCKS_OPEN, FAULT_ROCKS_WRITE, FAULT_ROCKS_READ,
                                              FAULT_ROCKS_CHECKSUM, FAULT_MEMORY_TRY};
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
        cmocka_unit_test_setup_teardown(test_statuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweeps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partial_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_reader_unregistered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_reader_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_reader_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reclaim_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_medium, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_medium_engine, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reclaim, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_indexes_shrink, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
