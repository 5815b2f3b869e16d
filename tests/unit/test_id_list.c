/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds */
/* Lists of records by 128-bit id: random operations against a bitmap, ascending and scattered, and memory
 * that comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "ds/id_list.h"

#define IDS 6000u
static uint8_t present[IDS];

/* Ids with equal high words, and with equal low ones. */
static uint64_t high_of(unsigned i) {
    return i / 7;
}
static uint64_t low_of(unsigned i) {
    return i % 7 == 6 ? UINT64_MAX : i % 7;
}

static void compare(const struct id_list *list) {
    struct id_list_place place = {0, 0};
    uint64_t *record;
    id_list_check(list);
    for (unsigned i = 0; i < IDS; i++) {
        if (!present[i]) continue;
        record = id_list_at(list, place);
        assert_non_null(record);
        assert_true(record[0] == high_of(i) && record[1] == low_of(i) && record[2] == i);
        place = id_list_next(list, place);
    }
    assert_null(id_list_at(list, place));
}

static void test_random(void **state) {
    (void)state;
    struct id_list list;
    size_t before = memory_used();
    id_list_init(&list, 24);
    memset(present, 0, sizeof present);
    uint64_t count = 0;
    for (unsigned round = 0; round < 200000; round++) {
        unsigned i = random_below(IDS), phase = round / 40000;
        if (random_below(10) < (phase % 2 ? 2u : 8u)) {
            int added;
            uint64_t *record = id_list_insert(&list, high_of(i), low_of(i), &added);
            assert_int_equal(added, !present[i]);
            if (added) assert_true(record[2] == 0);
            record[2] = i;
            count += (uint64_t)added;
            present[i] = 1;
        } else if (random_below(2)) {
            assert_int_equal(id_list_remove(&list, high_of(i), low_of(i)), present[i]);
            count -= present[i];
            present[i] = 0;
        } else {
            assert_int_equal(id_list_find(&list, high_of(i), low_of(i)) != NULL, present[i]);
            uint64_t *record = id_list_at(&list, id_list_seek(&list, high_of(i), low_of(i)));
            while (i < IDS && !present[i])
                i++;
            if (i == IDS)
                assert_null(record);
            else
                assert_true(record != NULL && record[2] == i);
        }
        assert_int_equal(list.records, count);
        if (round % 5000 == 0) compare(&list);
    }
    compare(&list);
    while (id_list_reap(&list, 3))
        id_list_check(&list);
    assert_int_equal(list.records, 0);
    assert_int_equal(memory_used(), before);
}

static void test_queue(void **state) { /* in at the end, out at the front */
    (void)state;
    struct id_list list;
    int added;
    id_list_init(&list, 16);
    for (uint64_t i = 0; i < 200000; i++) {
        id_list_insert(&list, i, 0, &added);
        assert_true(added);
        if (i >= 1000) assert_int_equal(id_list_remove(&list, i - 1000, 0), 1);
    }
    id_list_check(&list);
    assert_true(list.records == 1000 && list.bytes < 40000);
    assert_true(*(uint64_t *)id_list_last(&list) == 199999);
    for (uint64_t i = 199000; i < 200000; i++)
        assert_int_equal(id_list_remove(&list, i, 0), 1);
    assert_true(list.bytes == 0 && id_list_last(&list) == NULL);
    for (uint64_t i = 0; i < 1000000; i++)
        id_list_insert(&list, i, 0, &added);
    assert_true(list.bytes < 1000000 * 18);
    id_list_fini(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_queue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
