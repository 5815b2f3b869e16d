/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/* Page sequences against an array: inserting, removing and recounting at random and at the ends; finding by
 * element, position and ordinal; full leaves where a sequence only grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "types/page_sequence.h"

#define PAGES_MAX 6000u
static struct page_slot model[PAGES_MAX];
static unsigned pages;
static struct page_sequence sequence;

static void insert(unsigned position, uint16_t count) {
    static uint64_t ref;
    struct page_slot slot = {.ref = ref += 8, .count = count, .bytes = count * 3u};
    page_sequence_insert(&sequence, position, slot);
    memmove(model + position + 1, model + position, (pages - position) * sizeof *model);
    slot.id = sequence.last_id;
    model[position] = slot;
    pages++;
}

static void take(unsigned position) {
    struct sequence_cursor cursor;
    page_sequence_at(&sequence, position, &cursor);
    assert_memory_equal(page_sequence_slot(&cursor), &model[position], sizeof *model);
    page_sequence_remove(&sequence, &cursor);
    pages--;
    memmove(model + position, model + position + 1, (pages - position) * sizeof *model);
}

static void verify(void) {
    struct sequence_cursor cursor, back;
    uint64_t elements = 0, first;
    page_sequence_check(&sequence);
    assert_int_equal(sequence.pages, pages);
    for (unsigned i = 0; i < pages; i++) {
        if (i == 0) page_sequence_at(&sequence, 0, &cursor);
        assert_memory_equal(page_sequence_slot(&cursor), &model[i], sizeof *model);
        if (i % 7 == 0) {
            assert_int_equal(page_sequence_position(&cursor), i);
            assert_int_equal(page_sequence_elements_before(&cursor), elements);
            page_sequence_find(&sequence, elements + (uint64_t)random_below(model[i].count), &back, &first);
            assert_ptr_equal(page_sequence_slot(&back), page_sequence_slot(&cursor));
            assert_int_equal(first, elements);
            if (i > 0) {
                assert_int_equal(page_sequence_previous(&back), 1);
                assert_memory_equal(page_sequence_slot(&back), &model[i - 1], sizeof *model);
            }
        }
        elements += model[i].count;
        assert_int_equal(page_sequence_next(&cursor), i + 1 < pages);
    }
    assert_int_equal(sequence.elements, elements);
}

static void test_random(void **state) {
    (void)state;
    page_sequence_init(&sequence);
    for (unsigned round = 0; round < 60000; round++) {
        unsigned dice = (unsigned)random_below(100), grow = round / 6000 % 2 == 0 ? 60 : 30;
        if (pages == 0 || (dice < grow && pages < PAGES_MAX)) {
            unsigned where = (unsigned)random_below(3);
            insert(where == 0   ? 0
                   : where == 1 ? pages
                                : (unsigned)random_below(pages + 1),
                   (uint16_t)(1 + random_below(300)));
        } else if (dice < 90) {
            unsigned where = (unsigned)random_below(3);
            take(where == 0 ? 0 : where == 1 ? pages - 1 : (unsigned)random_below(pages));
        } else {
            struct sequence_cursor cursor;
            unsigned position = (unsigned)random_below(pages);
            page_sequence_at(&sequence, position, &cursor);
            model[position].count = (uint16_t)(1 + random_below(300));
            page_sequence_recount(&sequence, &cursor, model[position].count);
        }
        if (round % 1000 == 0) verify();
    }
    verify();
    page_sequence_fini(&sequence);
    pages = 0;
}

/* What a queue does: the ordinal of what stays does not change. */
static void test_ordinals(void **state) {
    (void)state;
    page_sequence_init(&sequence);
    for (unsigned i = 0; i < 500; i++)
        insert(pages, 1);
    uint64_t ordinal = sequence.base + 300;
    uint16_t id = model[300].id;
    for (unsigned i = 0; i < 200; i++)
        take(0);
    for (unsigned i = 0; i < 50; i++)
        insert(0, 2);
    struct sequence_cursor cursor;
    page_sequence_at(&sequence, ordinal - sequence.base, &cursor);
    assert_int_equal(page_sequence_slot(&cursor)->id, id);
    verify();
    while (pages > 0)
        take(pages - 1);
    page_sequence_check(&sequence);
    assert_null(sequence.root);
    assert_int_equal(sequence.bytes, 0);
    page_sequence_fini(&sequence);
}

/* Both parts of a split are sound, go on growing, and keep ids and ordinals. */
static void test_split(void **state) {
    (void)state;
    static const unsigned sizes[] = {1, 2, 28, 29, 30, 200, 841, 842, 5000};
    for (unsigned round = 0; round < 300; round++) {
        page_sequence_init(&sequence);
        unsigned size = sizes[round % 9];
        for (unsigned i = 0; i < size; i++)
            insert(round % 2 ? pages : (unsigned)random_below(pages + 1), (uint16_t)(1 + random_below(9)));
        unsigned at = round % 5 == 0 ? 0 : round % 7 == 0 ? size : (unsigned)random_below(size + 1);
        uint64_t base = sequence.base;
        struct page_sequence right;
        page_sequence_split(&sequence, at, &right);
        pages = at;
        verify();
        if (at < size) assert_int_equal(right.base, base + at);
        while (pages > 0)
            take(pages - 1 - (unsigned)random_below(2) * (pages / 2));
        assert_int_equal(sequence.bytes, 0);
        sequence = right;
        pages = 0;
        struct sequence_cursor cursor;
        for (unsigned i = 0; i < sequence.pages; i++) {
            page_sequence_at(&sequence, i, &cursor);
            model[pages++] = *page_sequence_slot(&cursor);
        }
        assert_int_equal(pages, size - at);
        insert(0, 3);
        insert(pages, 3);
        verify();
        page_sequence_fini(&sequence);
        pages = 0;
    }
}

static void test_density(void **state) {
    (void)state;
    for (unsigned at_front = 0; at_front < 2; at_front++) {
        page_sequence_init(&sequence);
        for (unsigned i = 0; i < PAGES_MAX; i++)
            insert(at_front ? 0 : pages, 5);
        assert_true(sequence.bytes < PAGES_MAX * 20);
        page_sequence_fini(&sequence);
        pages = 0;
    }
}

int main(void) {
    random_seed(3);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_ordinals),
                                       cmocka_unit_test(test_split), cmocka_unit_test(test_density)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
