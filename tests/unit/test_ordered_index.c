/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds firn_base */
/* Goal: ordered_index behaves as a sorted array, at the promised density. Method: random streams against a
 * naive sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "ds/int_map.h"
#include "ds/ordered_index.h"

#define MODEL_MAX 20000

static struct ordered_index_record model[MODEL_MAX];
static size_t model_count;

static size_t model_find(uint64_t deadline, uint64_t id, int *found_out) {
    size_t low = 0, high = model_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int less = model[middle].deadline < deadline ||
                   (model[middle].deadline == deadline && model[middle].id < id);
        if (less) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found_out = low < model_count && model[low].deadline == deadline && model[low].id == id;
    return low;
}

static int model_insert(uint64_t deadline, uint64_t id) {
    int found;
    size_t at = model_find(deadline, id, &found);
    if (found) return 0;
    memmove(&model[at + 1], &model[at], (model_count++ - at) * sizeof model[0]);
    model[at] = (struct ordered_index_record){deadline, id};
    return 1;
}

static int model_remove(uint64_t deadline, uint64_t id) {
    int found;
    size_t at = model_find(deadline, id, &found);
    if (!found) return 0;
    memmove(&model[at], &model[at + 1], (--model_count - at) * sizeof model[0]);
    return 1;
}

static int visit_model(const struct ordered_index_record *record, void *ctx) {
    size_t *at = ctx;
    assert_true(model[*at].deadline == record->deadline && model[*at].id == record->id);
    ++*at;
    return 0;
}

static void run_stream(uint64_t seed, uint64_t deadlines, unsigned remove_percent) {
    struct ordered_index index = {0};
    random_seed(seed);
    model_count = 0;
    for (int step = 0; step < 60000 && model_count < MODEL_MAX - 1; step++) {
        uint64_t deadline = random_below(deadlines), id = random_below(50);
        unsigned dice = (unsigned)random_below(100);
        if (dice < remove_percent && model_count > 0) {
            if (dice % 3 == 0) {
                struct ordered_index_record popped;
                assert_int_equal(ordered_index_pop(&index, &popped), 1);
                assert_true(popped.deadline == model[0].deadline && popped.id == model[0].id);
                model_remove(popped.deadline, popped.id);
                continue;
            }
            if (dice % 3 == 1) {
                struct ordered_index_record *any = &model[random_below(model_count)];
                deadline = any->deadline;
                id = any->id;
            }
            assert_int_equal(ordered_index_remove(&index, deadline, id), model_remove(deadline, id));
        } else {
            assert_int_equal(ordered_index_insert(&index, deadline, id), model_insert(deadline, id));
        }
        if (step % 1000 == 0) ordered_index_check(&index);
    }
    ordered_index_check(&index);
    assert_int_equal(ordered_index_count(&index), model_count);
    size_t at = 0;
    ordered_index_each(&index, visit_model, &at);
    assert_int_equal(at, model_count);
    while (ordered_index_drop_some(&index, 100))
        ordered_index_check(&index);
    assert_int_equal(index.bytes, 0);
}

static void test_model(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run_stream(seed, 1000000, 30);
        run_stream(seed, 300, 48);
        run_stream(seed, 100000, 55);
    }
}

static void test_density(void **state) {
    (void)state;
    struct ordered_index random_order = {0}, ascending = {0};
    random_seed(7);
    for (uint64_t i = 0; i < 200000; i++) {
        ordered_index_insert(&random_order, random_u64(), i);
        ordered_index_insert(&ascending, i, i);
    }
    assert_in_range(ordered_index_bytes(&random_order) / 2000, 1600,
                    2200); /* hundredths of a byte a record */
    assert_in_range(ordered_index_bytes(&ascending) / 2000, 1600, 1800);
    ordered_index_check(&random_order);
    ordered_index_check(&ascending);
    ordered_index_fini(&random_order);
    ordered_index_fini(&ascending);
}

static void test_int_map(void **state) {
    (void)state;
    struct int_map map = {0};
    static uintptr_t values[3000];
    random_seed(3);
    memset(values, 0, sizeof values);
    for (int step = 0; step < 100000; step++) {
        uint64_t key = random_below(3000);
        uint64_t spread = key << 20; /* low bits equal: probe chains */
        if (random_below(2)) {
            void *old = int_map_put(&map, spread, &values[key]);
            assert_ptr_equal(old, values[key] ? &values[key] : NULL);
            values[key] = 1;
        } else {
            void *old = int_map_remove(&map, spread);
            assert_ptr_equal(old, values[key] ? &values[key] : NULL);
            values[key] = 0;
        }
        if (step % 5000 == 0) int_map_check(&map);
    }
    int_map_check(&map);
    size_t cursor = 0, count = 0, expected = 0;
    while (int_map_next(&map, &cursor, NULL) != NULL)
        count++;
    for (size_t i = 0; i < 3000; i++)
        expected += values[i];
    assert_int_equal(count, expected);
    assert_int_equal(count, int_map_count(&map));
    int_map_fini(&map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_density),
        cmocka_unit_test(test_int_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
