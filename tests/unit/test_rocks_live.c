/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_rocks firn_tiering firn_base */
/*
 * Goal: the liveness map says the truth, to any thread, while chunks come and go. Method: small cases, then a
 * random run against a plain array, then threads that look (as compactions do) while one adds, kills,
 * reclaims and clears; run it under the thread sanitizer, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "rocks/rocks_internal.h"

static struct rocks_live live;

static uint64_t add(uint32_t bytes) {
    uint64_t id = 0;
    assert_int_equal(rocks__live_add(&live, bytes, &id), 0);
    return id;
}

static struct rocks_live_totals totals(void) {
    struct rocks_live_totals now;
    rocks__live_totals(&live, &now);
    return now;
}

static void test_ids_only_grow(void **state) {
    (void)state;
    assert_int_equal(rocks__live_init(&live, 1000), 0);
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t id = add(100);
        assert_true(id > last && id != 0);
        last = id;
        if (i % 100 == 99) assert_true(rocks__live_clear(&live) > last);
    }
    rocks__live_fini(&live);
}

static void test_counts(void **state) {
    (void)state;
    assert_int_equal(rocks__live_init(&live, 1u << 20), 0);
    uint64_t a = add(100), b = add(300), c = add(200);
    assert_true(rocks__live_test(&live, a) && rocks__live_test(&live, b));
    assert_false(rocks__live_test(&live, c + 1));
    assert_false(rocks__live_test(&live, 0));
    assert_false(rocks__live_test(&live, UINT64_MAX >> 3));
    rocks__live_kill(&live, a, 100);
    rocks__live_kill(&live, a, 100); /* twice is once */
    rocks__live_kill(&live, c + 1, 0);
    rocks__live_kill(&live, UINT64_MAX >> 3, 0);
    assert_false(rocks__live_test(&live, a));
    assert_int_equal(totals().records_live, 2);
    assert_int_equal(totals().bytes_live, 500);
    assert_int_equal(totals().bytes_stored, 600);
    rocks__live_kill(&live, b, 0); /* the mean of what is there */
    assert_int_equal(totals().bytes_live, 250);
    rocks__live_kill(&live, c, 0); /* the last one takes the rest */
    assert_int_equal(totals().bytes_live, 0);
    rocks__live_fini(&live);
}

/* Chunks of ten records: which one is picked, and what is left after it was reclaimed. */
static void test_pick(void **state) {
    (void)state;
    assert_int_equal(rocks__live_init(&live, 1000), 0);
    uint64_t ids[100];
    struct rocks_range range;
    for (int i = 0; i < 100; i++)
        ids[i] = add(100);
    assert_false(rocks__live_pick(&live, 15, 0, &range));
    for (int i = 30; i < 36; i++)
        rocks__live_kill(&live, ids[i], 100); /* 60 % of chunk 3 */
    for (int i = 50; i < 54; i++)
        rocks__live_kill(&live, ids[i], 100);             /* 40 % of chunk 5 */
    assert_false(rocks__live_pick(&live, 15, 0, &range)); /* 10 % of all */
    assert_true(rocks__live_pick(&live, 8, 0, &range));
    assert_true(range.first <= ids[30] && range.end > ids[39] && range.first > ids[29] &&
                range.end <= ids[40]);
    assert_int_equal(range.bytes_live, 400);
    assert_false(range.all_dead);
    rocks__live_reclaimed(&live, &range);
    assert_int_equal(totals().bytes_stored, 9400);
    assert_true(rocks__live_test(&live, ids[39]));
    for (int i = 0; i < 100; i++)
        if (i < 20 || (i >= 60 && i < 80)) rocks__live_kill(&live, ids[i], 100); /* two wholly dead runs */
    assert_true(rocks__live_pick(&live, 100, 0, &range));
    assert_true(range.all_dead);
    assert_int_equal(range.first, 0); /* with everything before */
    assert_true(range.end > ids[19] && range.end <= ids[20]);
    rocks__live_reclaimed(&live, &range);
    assert_true(rocks__live_pick(&live, 100, 0, &range) ||
                rocks__live_pick(&live, 100, 0, &range)); /* the scan goes round */
    assert_true(range.first <= ids[60] && range.first > ids[59] && range.end > ids[79] &&
                range.end <= ids[80]);
    rocks__live_reclaimed(&live, &range);
    assert_int_equal(totals().records_live, 100 - 6 - 4 - 40);
    rocks__live_collect(&live);
    rocks__live_fini(&live);
}

/* Merging takes each closed chunk once, many at a time. */
static void test_pick_merge(void **state) {
    (void)state;
    assert_int_equal(rocks__live_init(&live, 1000), 0);
    struct rocks_range range;
    for (int i = 0; i < 100; i++)
        add(100);
    uint64_t merged = 0, last = 0;
    while (rocks__live_pick(&live, 15, 1, &range)) {
        assert_true(range.first > last);
        last = range.first;
        rocks__live_reclaimed(&live, &range);
        merged += (range.end - range.first) >> ROCKS_CHUNK_BITS;
    }
    assert_int_equal(merged, 8); /* not the newest, which may be in memtables */
    assert_int_equal(totals().records_live, 100);
    rocks__live_fini(&live);
}

#define MODEL_RECORDS 300000u

/* Against an array of flags; reclaiming whatever is picked. */
static void test_model(void **state) {
    (void)state;
    assert_int_equal(rocks__live_init(&live, 200000), 0);
    uint64_t *ids = memory_alloc(MODEL_RECORDS * sizeof *ids), count = 0, alive = 0;
    uint8_t *lives = memory_alloc_zero(MODEL_RECORDS);
    while (count < MODEL_RECORDS) {
        if (random_below(10) < 6) {
            ids[count] = add(100);
            lives[count++] = 1;
            alive++;
        } else if (count > 0) {
            uint64_t i =
                random_below(2) ? random_below(count) : count - 1 - random_below(count < 3000 ? count : 3000);
            rocks__live_kill(&live, ids[i], 0);
            alive -= lives[i];
            lives[i] = 0;
        }
        struct rocks_range range;
        if (random_below(200) == 0 && rocks__live_pick(&live, (unsigned)random_below(50), 0, &range)) {
            for (int k = 0; k < 50; k++) { /* what is called dead is dead */
                uint64_t i = random_below(count);
                if (range.all_dead && ids[i] >= range.first && ids[i] < range.end) assert_false(lives[i]);
            }
            rocks__live_reclaimed(&live, &range);
            rocks__live_collect(&live);
        }
    }
    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(rocks__live_test(&live, ids[i]), lives[i]);
    assert_int_equal(totals().records_live, alive);
    assert_int_equal(totals().bytes_live, alive * 100);
    assert_true(totals().bytes_stored >= totals().bytes_live);
    memory_free(ids);
    memory_free(lives);
    rocks__live_fini(&live);
}

static int looking_stops;
static uint64_t newest;

static void *look(void *ctx) {
    uint64_t found = 0;
    random_seed((uint64_t)(uintptr_t)ctx);
    while (!__atomic_load_n(&looking_stops, __ATOMIC_RELAXED))
        found +=
            (uint64_t)rocks__live_test(&live, random_below(__atomic_load_n(&newest, __ATOMIC_RELAXED) + 1));
    return (void *)(uintptr_t)found;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t threads[3];
    static uint64_t ids[50000];
    assert_int_equal(rocks__live_init(&live, 20000), 0);
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, (void *)(i + 1)), 0);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 50000; i++) {
            ids[i] = add(100);
            __atomic_store_n(&newest, ids[i], __ATOMIC_RELAXED);
            if (i >= 400) rocks__live_kill(&live, ids[i - (int)random_below(400)], 0);
            struct rocks_range range;
            if (i % 100 == 0 && rocks__live_pick(&live, 15, 0, &range)) rocks__live_reclaimed(&live, &range);
            if (i % 1000 == 0) rocks__live_collect(&live);
        }
        rocks__live_clear(&live);
        assert_int_equal(totals().records_live, 0);
        assert_int_equal(totals().bytes_stored, 0);
    }
    __atomic_store_n(&looking_stops, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    rocks__live_fini(&live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_only_grow), cmocka_unit_test(test_counts), cmocka_unit_test(test_pick),
        cmocka_unit_test(test_pick_merge),    cmocka_unit_test(test_model),  cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
