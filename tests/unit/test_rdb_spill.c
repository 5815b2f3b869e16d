/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_persist firn_keyspace firn_types firn_tiering firn_page firn_ds firn_base */
/*
 * Goal: what is spilled comes back, all of it once and parts in order of hash, however small the buffers; a
 * file that cannot be written or read is an error and leaves nothing behind. Method: random elements of all
 * sizes against sums; every write and read failing in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault_point.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "persist/rdb_spill.h"

#define BUFFER_BYTES 512u
#define SLICE_BYTES  4096u

static char folder[] = "/tmp/firn-test-spill-XXXXXX";

struct sum {
    uint64_t count, sum;
    uint64_t part; /* of the element before */
    uint64_t limit;
};

static uint64_t digest(const struct type_spilled *element) {
    return hash_key(element->name) + 3 * hash_key(element->value) + (uint64_t)element->number * 7;
}

static int receive(const struct type_spilled *element, void *ctx) {
    struct sum *sum = ctx;
    uint64_t part = hash_key(element->name) >> 56;
    if (sum->count == sum->limit) return FIRN_ECORRUPT;
    assert_true(part >= sum->part);
    sum->part = part;
    sum->count++;
    sum->sum += digest(element);
    return 0;
}

static int add_some(struct rdb_spill *spill, unsigned count, struct sum *sum) {
    static uint8_t noise[20000];
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        size_t bytes = i % 1000 == 0 ? random_below(sizeof noise) : random_below(60);
        for (size_t j = 0; j < bytes; j += 97)
            noise[j] = (uint8_t)random_below(256);
        snprintf(name, sizeof name, "element:%u", i);
        struct type_spilled element = {.name = i == 7 ? bytes_of(NULL, 0) : bytes_of_text(name),
                                       .value = bytes_of(noise, bytes),
                                       .number = (int64_t)i - 5};
        int error = rdb_spill_add(spill, hash_key(element.name), &element);
        if (error != 0) return error;
        sum->count++;
        sum->sum += digest(&element);
    }
    return 0;
}

static void test_all_come_back(void **state) {
    (void)state;
    for (unsigned count = 0; count <= 40000; count = count * 7 + 1) {
        struct sum in = {0}, out = {.limit = UINT64_MAX};
        struct rdb_spill *spill = rdb_spill_create(BUFFER_BYTES, SLICE_BYTES);
        assert_non_null(spill);
        assert_int_equal(add_some(spill, count, &in), 0);
        assert_int_equal(rdb_spill_take(spill, receive, &out), 0);
        assert_int_equal(out.count, in.count);
        assert_int_equal(out.sum, in.sum);
        rdb_spill_destroy(spill);
    }
}

static void test_receiver_ends_it(void **state) {
    (void)state;
    struct sum in = {0}, out = {.limit = 1234};
    struct rdb_spill *spill = rdb_spill_create(BUFFER_BYTES, SLICE_BYTES);
    assert_int_equal(add_some(spill, 5000, &in), 0);
    assert_int_equal(rdb_spill_take(spill, receive, &out), FIRN_ECORRUPT);
    assert_int_equal(out.count, 1234);
    rdb_spill_destroy(spill);
    rdb_spill_destroy(NULL);
}

static struct {
    int error;
    size_t before;
} swept;

static void body(void *ctx) {
    (void)ctx;
    struct sum in = {0}, out = {.limit = UINT64_MAX};
    swept.before = memory_used();
    struct rdb_spill *spill = rdb_spill_create(BUFFER_BYTES, SLICE_BYTES);
    swept.error = spill == NULL ? FIRN_ESYSTEM : add_some(spill, 3000, &in);
    if (swept.error == 0) swept.error = rdb_spill_take(spill, receive, &out);
    if (swept.error == 0) assert_int_equal(out.sum, in.sum);
    rdb_spill_destroy(spill);
}

static void verify(void *ctx) {
    (void)ctx;
    assert_true(swept.error == 0 || swept.error == FIRN_ESYSTEM);
    assert_int_equal(memory_used(), swept.before);
}

static void test_failures(void **state) {
    (void)state;
    assert_true(fault_point_sweep(FAULT_RDB_SPILL_OPEN, 0, body, verify, NULL) > 1);
    assert_true(fault_point_sweep(FAULT_RDB_SPILL_WRITE, 0, body, verify, NULL) > 100);
    assert_true(fault_point_sweep(FAULT_RDB_SPILL_READ, 0, body, verify, NULL) > 100);
}

static int setup(void **state) {
    (void)state;
    hash_seed_init();
    return mkdtemp(folder) != NULL ? chdir(folder) : -1;
}

static int teardown(void **state) {
    (void)state;
    return chdir("/") != 0 ? -1 : rmdir(folder); /* fails if anything was left in it */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_come_back),
        cmocka_unit_test(test_receiver_ends_it),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
