/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_persist firn_keyspace firn_types firn_tiering firn_page firn_ds firn_base */
/*
 * Goal: what is saved is loaded, whatever fails in between leaves the old file and nothing behind, and no
 * file harms the loader. Method: databases of strings, hashes, sets; every fault point on every pass; every
 * prefix of a file, and bits of it turned over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "ds/rdb_format.h"
#include "keyspace/db.h"
#include "keyspace/db_string.h"
#include "persist/persist_internal.h"
#include "types/hash.h"
#include "types/set.h"

static char folder[] = "/tmp/firn-test-rdb-XXXXXX";

static struct bytes text(const char *format, int number) {
    static char buffers[4][64];
    static unsigned next;
    char *buffer = buffers[next++ % 4];
    snprintf(buffer, sizeof buffers[0], format, number);
    return bytes_of_text(buffer);
}

static void drop(void) {
    db_flush(NULL, 0);
    while (db_reap_some(INT64_MAX)) {
    }
}

static uint64_t keys(void) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < db_count(); i++)
        sum += db_size(db_at(i));
    return sum;
}

static void put_string(struct db *db, struct bytes key, struct bytes value, int64_t expiry_ms) {
    assert_int_equal(db_string_set(db, key, NULL, value, STRING_FORM_ANY, expiry_ms, NULL), 0);
}

static void put_hash(struct db *db, struct bytes key, int fields, int value_bytes) {
    char value[512];
    memset(value, 'v', sizeof value);
    struct entry *entry = hash_create(key);
    for (int i = 0; i < fields; i++) {
        int created;
        assert_int_equal(
            hash_set(entry, text("field:%d", i), bytes_of(value, (size_t)value_bytes), 0, &created), 0);
    }
    db_insert(db, entry);
}

static void put_set(struct db *db, struct bytes key, int members, const char *format) {
    struct entry *entry = entry_create(key, TYPE_SET, ENCODING_INTSET, 1, 0, 0);
    for (int i = 0; i < members; i++)
        assert_int_equal(set_add(entry, text(format, i), 0, NULL), 0);
    db_insert(db, entry);
}

static void fill(int large) {
    put_string(db_at(0), bytes_of_text("a"), bytes_of_text("b"), DB_STRING_NO_EXPIRY);
    put_string(db_at(0), bytes_of_text("n"), bytes_of_text("12345"), INT64_C(4102444800000));
    put_hash(db_at(0), bytes_of_text("small"), 3, 5);
    put_hash(db_at(2), bytes_of_text("hash"), large ? 20000 : 200, 100);
    put_set(db_at(2), bytes_of_text("integers"), 40, "%d");
    put_set(db_at(2), bytes_of_text("members"), large ? 100000 : 200, "member:%d");
}

/* Digest enough: sizes of all values, by key. */
static int add_up(struct entry *entry, void *ctx) {
    *(uint64_t *)ctx += hash_key(entry_key(entry)) * (entry->size + 1u) + (uint64_t)entry_expiry(entry);
    return 0;
}
static uint64_t sum(void) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < db_count(); i++)
        assert_int_equal(db_walk(db_at(i), add_up, &sum), 0);
    return sum;
}

static struct bytes read_file(const char *name) {
    struct stat status;
    FILE *file = fopen(name, "rb");
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &status), 0);
    uint8_t *data = malloc((size_t)status.st_size + 1);
    assert_int_equal(fread(data, 1, (size_t)status.st_size, file), status.st_size);
    fclose(file);
    return bytes_of(data, (size_t)status.st_size);
}

static int load_memory(struct bytes data) {
    struct persist_load *load;
    int status = persist__load_memory(data, 0, &load);
    if (status != 0) return status;
    while ((status = persist_load_step(load, 1000)) > 0) {
    }
    persist_load_end(load);
    return status;
}

static void test_there_and_back(void **state) {
    (void)state;
    for (int large = 0; large < 2; large++) {
        fill(large);
        uint64_t before = sum(), count = keys();
        db_stats.changes = 7;
        assert_int_equal(persist_save(0), 0);
        assert_true(db_stats.changes == 0);
        assert_int_equal(persist_load_all(0), FIRN_ECORRUPT); /* keys twice */
        drop();
        assert_int_equal(persist_load_all(0), 0);
        assert_true(keys() == count && sum() == before);
        assert_int_equal(persist_load_all(PERSIST_LOAD_REPLACE), 0);
        assert_true(keys() == count && sum() == before);
        struct bytes file = read_file("dump.rdb");
        assert_memory_equal(file.data, "REDIS0010", 9);
        assert_true(bytes_load64(file.data + file.size - 8) ==
                    rdb_crc64(0, bytes_of(file.data, file.size - 8)));
        free((void *)(uintptr_t)file.data);
        for (unsigned i = 0; i < db_count(); i++)
            db_check(db_at(i));
        drop();
    }
}

static void test_combined_checksums(void **state) {
    (void)state;
    uint8_t data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)random_u64();
    for (int round = 0; round < 200; round++) {
        size_t size = random_below(sizeof data), cut = random_below(size + 1);
        uint64_t first = rdb_crc64(0, bytes_of(data, cut)),
                 second = rdb_crc64(0, bytes_of(data + cut, size - cut));
        assert_true(rdb_crc64_combine(first, second, size - cut) == rdb_crc64(0, bytes_of(data, size)));
    }
}

static const enum fault_point points[] = {FAULT_RDB_OPEN, FAULT_RDB_WRITE, FAULT_RDB_FSYNC, FAULT_RDB_RENAME};
static struct bytes old_file;
static int saved;

static void save(void *ctx) {
    (void)ctx;
    saved = persist_save(0);
}

static void must_be_whole(void *ctx) {
    (void)ctx;
    struct bytes file = read_file("dump.rdb");
    char temporary[64];
    snprintf(temporary, sizeof temporary, "temp-%d.rdb", (int)getpid());
    assert_int_not_equal(access(temporary, F_OK), 0);
    if (saved != 0) assert_true(bytes_equal(file, old_file));
    free((void *)(uintptr_t)file.data);
}

static void test_failures_leave_the_old_file(void **state) {
    (void)state;
    put_string(db_at(0), bytes_of_text("old"), bytes_of_text("old"), DB_STRING_NO_EXPIRY);
    assert_int_equal(persist_save(0), 0);
    old_file = read_file("dump.rdb");
    fill(1);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        (void)unlink("dump.rdb");
        FILE *file = fopen("dump.rdb", "wb");
        fwrite(old_file.data, 1, old_file.size, file);
        fclose(file);
        assert_true(fault_point_sweep(points[i], 0, save, must_be_whole, NULL) > 1);
        assert_int_equal(saved, 0);
    }
    free((void *)(uintptr_t)old_file.data);
    drop();
}

static void test_no_prefix_and_no_turned_bit_harms(void **state) {
    (void)state;
    fill(0);
    persist_config.checksum = 0;
    assert_int_equal(persist_save(0), 0);
    drop();
    struct bytes file = read_file("dump.rdb");
    size_t used = memory_used();
    for (size_t size = 0; size < file.size - 8; size += 1 + random_below(20)) {
        uint8_t *exact = malloc(size + (size == 0)); /* so that a sanitizer sees a byte too far */
        memcpy(exact, file.data, size);
        assert_int_not_equal(load_memory(bytes_of(exact, size)), 0);
        free(exact);
        drop();
    }
    for (int round = 0; round < 3000; round++) {
        uint8_t *turned = malloc(file.size);
        memcpy(turned, file.data, file.size);
        turned[9 + random_below(file.size - 9)] ^= (uint8_t)(1u << random_below(8));
        if (load_memory(bytes_of(turned, file.size)) == 0) {
            for (unsigned i = 0; i < db_count(); i++)
                db_check(db_at(i));
        }
        free(turned);
        drop();
    }
    assert_true(memory_used() <= used + 65536); /* nothing leaks with what is refused */
    persist_config.checksum = 1;
    free((void *)(uintptr_t)file.data);
}

static void test_no_file(void **state) {
    (void)state;
    struct persist_load *load;
    (void)unlink("dump.rdb");
    assert_int_equal(persist_load_begin(0, &load), FIRN_ENOTFOUND);
    assert_int_equal(mkdir("dump.rdb", 0700), 0);
    assert_int_equal(persist_load_begin(0, &load), FIRN_ESYSTEM);
    assert_int_equal(persist_save(0), FIRN_ESYSTEM);
    assert_int_equal(rmdir("dump.rdb"), 0);
}

static int set_up(void **state) {
    (void)state;
    hash_seed_init();
    clock_update();
    log_set_level(LOG_LEVEL_NOTHING);
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    db_init_all(4);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    db_fini_all();
    (void)unlink("dump.rdb");
    return chdir("/") != 0 || rmdir(folder) != 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_combined_checksums),
        cmocka_unit_test(test_failures_leave_the_old_file),
        cmocka_unit_test(test_no_prefix_and_no_turned_bit_harms),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
