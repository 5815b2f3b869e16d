/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds firn_base */
/* HyperLogLog against a plain array of registers: random additions, sparse and dense side by side, merges;
 * bytes that redis-server 7.0 made; damaged values, which may be refused but not read out of bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "ds/hyperloglog.h"

#define SPARSE_MAX 3000u

static void add(struct bytes_builder *value, uint8_t *model, struct bytes element, size_t sparse_max) {
    struct hyperloglog_place place;
    uint8_t rank;
    unsigned index = hyperloglog_register(element, &rank);
    assert_int_equal(hyperloglog_find(bytes_builder_bytes(value), index, &place), 0);
    assert_int_equal(place.rank, model[index]);
    if (rank <= place.rank) return;
    if (hyperloglog_is_dense(bytes_builder_bytes(value)) && index % 2 == 0) {
        uint8_t patch[HYPERLOGLOG_PATCH_BYTES];
        size_t offset;
        unsigned bytes = hyperloglog_patch(bytes_builder_bytes(value), index, rank, patch, &offset);
        assert_true(offset + bytes <= value->size);
        memcpy(value->data + offset, patch, bytes);
    } else {
        assert_int_equal(hyperloglog_raise(value, &place, rank, sparse_max), 0);
    }
    model[index] = rank;
}

static void compare(const struct bytes_builder *value, const uint8_t *model) {
    uint8_t registers[HYPERLOGLOG_REGISTERS] = {0};
    uint64_t count;
    assert_int_equal(hyperloglog_merge(bytes_builder_bytes(value), registers), 0);
    assert_memory_equal(registers, model, sizeof registers);
    assert_int_equal(hyperloglog_count(bytes_builder_bytes(value), &count), 0);
    assert_int_equal(count, hyperloglog_count_registers(model));
}

static void test_as_redis_writes_it(void **state) {
    (void)state;
    static const uint8_t expected[] = {0x48, 0x59, 0x4c, 0x4c, 0x01, 0x00, 0x00, 0x00, 0x00,
                                       0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x60, 0xf3,
                                       0x80, 0x50, 0xb1, 0x84, 0x4b, 0xfb, 0x80, 0x42, 0x5a};
    struct bytes_builder value = {0};
    uint8_t model[HYPERLOGLOG_REGISTERS] = {0};
    hyperloglog_create(&value);
    assert_true(hyperloglog_is(bytes_builder_bytes(&value), value.size));
    for (const char *element = "abc"; *element != 0; element++)
        add(&value, model, bytes_of(element, 1), SPARSE_MAX);
    hyperloglog_spoil(value.data);
    assert_int_equal(value.size, sizeof expected);
    assert_memory_equal(value.data, expected, sizeof expected);
    uint64_t count;
    assert_int_equal(hyperloglog_cached(bytes_builder_bytes(&value), &count), 0);
    assert_int_equal(hyperloglog_count(bytes_builder_bytes(&value), &count), 0);
    assert_int_equal(count, 3);
    hyperloglog_cache(value.data, count);
    assert_int_equal(hyperloglog_cached(bytes_builder_bytes(&value), &count), 1);
    assert_int_equal(count, 3);

    struct bytes_builder text = {0};
    assert_int_equal(hyperloglog_describe(bytes_builder_bytes(&value), &text), 0);
    bytes_builder_append_byte(&text, 0);
    assert_string_equal((char *)text.data, "Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603");
    bytes_builder_fini(&text);
    bytes_builder_fini(&value);
}

static void test_sparse_and_dense_are_the_same(void **state) {
    (void)state;
    static const size_t limits[] = {0, 100, SPARSE_MAX, 100000};
    for (unsigned i = 0; i < 4; i++) {
        struct bytes_builder value = {0};
        uint8_t model[HYPERLOGLOG_REGISTERS] = {0};
        hyperloglog_create(&value);
        for (uint64_t j = 0; j < 20000; j++) {
            add(&value, model, bytes_of(&j, 1 + j % sizeof j), limits[i]);
            if (j % 997 == 0) compare(&value, model);
        }
        compare(&value, model);
        assert_int_equal(hyperloglog_is_dense(bytes_builder_bytes(&value)), i < 3);
        assert_int_equal(hyperloglog_make_dense(&value), 0);
        compare(&value, model);
        bytes_builder_fini(&value);
    }
}

static void test_the_error_is_as_promised(void **state) {
    (void)state;
    struct bytes_builder value = {0};
    uint8_t model[HYPERLOGLOG_REGISTERS] = {0};
    hyperloglog_create(&value);
    uint64_t next = 1;
    for (uint64_t i = 1; i <= 1000000; i++) {
        uint64_t element = i * UINT64_C(0x9e3779b97f4a7c15), count;
        add(&value, model, bytes_of(&element, sizeof element), SPARSE_MAX);
        if (i != next) continue;
        next = next * 3 / 2 + 1;
        assert_int_equal(hyperloglog_count(bytes_builder_bytes(&value), &count), 0);
        assert_in_range(count, i - i * 4 / 100, i + i * 4 / 100);
    }
    for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i++)
        model[i] = 51;
    assert_true(hyperloglog_count_registers(model) > UINT64_C(1) << 62); /* saturated: no nonsense */
    bytes_builder_fini(&value);
}

static void test_merge(void **state) {
    (void)state;
    random_seed(20261122);
    for (unsigned round = 0; round < 200; round++) {
        struct bytes_builder one = {0}, other = {0}, both = {0};
        uint8_t first[HYPERLOGLOG_REGISTERS] = {0}, second[HYPERLOGLOG_REGISTERS] = {0};
        hyperloglog_create(&one);
        hyperloglog_create(&other);
        unsigned counts[2] = {random_below(1500), random_below(1500)};
        for (unsigned i = 0; i < counts[0]; i++) {
            uint64_t element = random_below(3000);
            add(&one, first, bytes_of(&element, sizeof element), SPARSE_MAX);
        }
        for (unsigned i = 0; i < counts[1]; i++) {
            uint64_t element = random_below(3000);
            add(&other, second, bytes_of(&element, sizeof element), SPARSE_MAX);
        }
        /* what raise_all makes is what raising one register after the other from the start makes */
        bytes_builder_append(&both, one.data, one.size);
        assert_int_equal(hyperloglog_raise_all(&both, second, SPARSE_MAX), 0);
        for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i++) {
            struct hyperloglog_place place;
            assert_int_equal(hyperloglog_find(bytes_builder_bytes(&one), i, &place), 0);
            if (second[i] <= first[i]) continue;
            assert_int_equal(hyperloglog_raise(&one, &place, second[i], SPARSE_MAX), 0);
            first[i] = second[i];
        }
        assert_int_equal(both.size, one.size);
        assert_memory_equal(both.data, one.data, one.size);
        compare(&both, first);
        bytes_builder_fini(&one);
        bytes_builder_fini(&other);
        bytes_builder_fini(&both);
    }
}

/* Goes through everything that reads; whatever it says, nothing is read or written out of bounds (asan). */
static void use(struct bytes value) {
    struct bytes_builder copy = {0}, text = {0};
    uint8_t registers[HYPERLOGLOG_REGISTERS] = {0}, all[HYPERLOGLOG_REGISTERS];
    uint64_t count;
    struct hyperloglog_place place;
    if (!hyperloglog_is(value, value.size)) return;
    int error = hyperloglog_count(value, &count);
    assert_int_equal(hyperloglog_merge(value, registers), error);
    if (!hyperloglog_is_dense(value)) assert_int_equal(hyperloglog_describe(value, &text), error);
    for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i += 511) {
        bytes_builder_clear(&copy);
        bytes_builder_append(&copy, value.data, value.size);
        if (hyperloglog_find(value, i, &place) == 0 && place.rank < 32)
            (void)!hyperloglog_raise(&copy, &place, 32, SPARSE_MAX);
    }
    bytes_builder_clear(&copy);
    bytes_builder_append(&copy, value.data, value.size);
    memset(all, 3, sizeof all);
    (void)!hyperloglog_raise_all(&copy, all, SPARSE_MAX);
    bytes_builder_fini(&copy);
    bytes_builder_fini(&text);
}

static void test_damaged(void **state) {
    (void)state;
    random_seed(20261122);
    for (unsigned round = 0; round < 600; round++) {
        struct bytes_builder value = {0};
        uint8_t model[HYPERLOGLOG_REGISTERS] = {0};
        hyperloglog_create(&value);
        for (unsigned i = random_below(400); i > 0; i--) {
            uint64_t element = random_below(100000);
            add(&value, model, bytes_of(&element, sizeof element), SPARSE_MAX);
        }
        for (unsigned i = 1 + random_below(5); i > 0; i--)
            value.data[random_below(value.size)] = (uint8_t)random_below(256);
        size_t size = random_below(4) == 0 ? random_below(value.size) : value.size;
        uint8_t *exact = memory_alloc(size + 1); /* so that a byte too far is seen */
        memcpy(exact, value.data, size);
        use(bytes_of(exact, size));
        memory_free(exact);
        bytes_builder_fini(&value);
    }
}

static void test_runs_without_end(void **state) {
    (void)state;
    struct bytes_builder value = {0};
    struct hyperloglog_place place;
    hyperloglog_create(&value);
    for (unsigned i = 0; i < 300000; i++)
        bytes_builder_append(&value, "\x7f\xff", 2);
    bytes_builder_append_byte(&value, 0xff);
    uint64_t count;
    assert_int_equal(hyperloglog_count(bytes_builder_bytes(&value), &count), FIRN_ECORRUPT);
    assert_int_equal(hyperloglog_make_dense(&value), FIRN_ECORRUPT);
    assert_int_equal(hyperloglog_find(bytes_of(value.data, HYPERLOGLOG_HEADER_BYTES + 1), 0, &place),
                     FIRN_ECORRUPT);
    bytes_builder_fini(&value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_redis_writes_it),
        cmocka_unit_test(test_sparse_and_dense_are_the_same),
        cmocka_unit_test(test_the_error_is_as_promised),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_runs_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
