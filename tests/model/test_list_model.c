/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/*
 * Lists against a naive model (an array): random operations at the ends and in the middle while pages are
 * pushed to fake lower tiers at random. Every operation runs like a command: in a fault set, again from the
 * start after the pages it asked for were "read".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes_builder.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "tests/model/value_model.h"
#include "types/list.h"

#define ELEMENTS_MAX 60000u
static unsigned model[ELEMENTS_MAX], model_size;
static struct entry *entry;
static unsigned kinds; /* how many different elements */

static struct bytes text_of(unsigned i) {
    static char text[20100];
    if (i % 3 == 0) {
        static const int64_t scales[] = {1, -1, 50, 1000, -100000, 30000000, 5000000000, -1000000000000000};
        return bytes_of(text,
                        (size_t)snprintf(text, sizeof text, "%lld", (long long)(i * scales[i / 3 % 8])));
    }
    if (i % 500 == 7 || i % 500 == 14) { /* one with a page for itself */
        size_t size = i % 1000 == 7 ? 20000 : 5000;
        memset(text, 'x', size);
        return bytes_of(text, size + (size_t)snprintf(text + size, 50, "%u", i));
    }
    size_t pad = i % 7 == 1 ? 0 : i % 7 == 2 ? 100 : i % 50;
    memset(text, 'p', pad);
    return bytes_of(text, pad + (size_t)snprintf(text + pad, 50, "e%u", i));
}

static struct bytes fresh_text(unsigned i) {
    static struct bytes_builder copy;
    struct bytes text = text_of(i);
    bytes_builder_clear(&copy);
    bytes_builder_append(&copy, text.data, text.size);
    return bytes_builder_bytes(&copy);
}

/* Run ${operation} as a command. */
#define COMMAND(result, operation) VALUE_COMMAND(result, 100, entry->size == model_size, operation)

static void demote_some(unsigned want) {
    value_demote(&type_list_ops, entry, want);
}

static void model_insert(unsigned index, unsigned value) {
    memmove(model + index + 1, model + index, (model_size - index) * sizeof *model);
    model[index] = value;
    model_size++;
}
static void model_cut(unsigned index, unsigned count) {
    model_size -= count;
    memmove(model + index, model + index + count, (model_size - index) * sizeof *model);
}

/* What is received has to be the model's elements from ${at} on, by ${step}. */
struct expected {
    int64_t at, step;
    unsigned count;
};
static int expect_next(struct bytes element, void *ctx) {
    struct expected *expected = ctx;
    assert_true(expected->at >= 0 && expected->at < (int64_t)ELEMENTS_MAX);
    assert_true(bytes_equal(element, text_of(model[expected->at])));
    expected->at += expected->step;
    expected->count++;
    return 0;
}
static void expect_popped(struct bytes element, void *ctx) {
    expect_next(element, ctx);
}

static int touch_and_expect(struct bytes text) {
    int error = list_touch(entry, 0, entry->size);
    return error != 0 ? error : list_expect(entry, 1, text.size);
}

static void do_push(void) {
    unsigned value = (unsigned)random_below(kinds);
    enum list_end end = random_below(2) ? LIST_HEAD : LIST_TAIL;
    int result;
    if (model_size + 1 >= ELEMENTS_MAX) return;
    if (random_below(4) == 0) {
        COMMAND(result, touch_and_expect(fresh_text(value)));
        assert_int_equal(result, 0);
    }
    COMMAND(result, list_touch_end(entry, end));
    assert_int_equal(result, 0);
    COMMAND(result, list_push(entry, end, fresh_text(value)));
    assert_int_equal(result, 0);
    model_insert(end == LIST_HEAD ? 0 : model_size, value);
}

static int touch_and_pop(enum list_end end, unsigned count, struct expected *expected) {
    int error = list_touch(entry, end == LIST_HEAD ? 0 : entry->size - count, count);
    if (error != 0) return error;
    return list_pop(entry, end, count, expect_popped, expected);
}

static void do_pop(void) {
    unsigned count = random_below(20) == 0 ? (unsigned)random_below(700) : 1;
    enum list_end end = random_below(2) ? LIST_HEAD : LIST_TAIL;
    int result;
    if (count > model_size) count = model_size;
    struct expected expected = {.at = end == LIST_HEAD ? 0 : (int64_t)model_size - 1,
                                .step = end == LIST_HEAD ? 1 : -1};
    if (count == 0) return;
    COMMAND(result, touch_and_pop(end, count, &expected));
    assert_int_equal(result, 0);
    assert_int_equal(expected.count, count);
    model_cut(end == LIST_HEAD ? 0 : model_size - count, count);
    list_shrunk(entry);
}

static void do_insert(unsigned times) {
    unsigned index = (unsigned)random_below(model_size + 1);
    for (; times > 0 && model_size + 1 < ELEMENTS_MAX; times--) {
        unsigned value = (unsigned)random_below(kinds);
        int result;
        COMMAND(result, list_insert(entry, index, fresh_text(value)));
        assert_int_equal(result, 0);
        model_insert(index, value);
        index += (unsigned)random_below(2);
    }
}

static void do_set(void) {
    if (model_size == 0) return;
    unsigned index = (unsigned)random_below(model_size), value = (unsigned)random_below(kinds);
    int result;
    COMMAND(result, list_set(entry, index, fresh_text(value)));
    assert_int_equal(result, 0);
    model[index] = value;
}

static void do_at(void) {
    if (model_size == 0) return;
    unsigned index = (unsigned)random_below(model_size);
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes element;
    int result;
    COMMAND(result, list_at(entry, index, digits, &element));
    assert_int_equal(result, 0);
    COMMAND(result, list_at(entry, index, digits, &element));
    assert_true(bytes_equal(element, text_of(model[index])));
}

static void range(struct entry *of, unsigned start, unsigned count, int backwards) {
    struct expected expected;
    int result;
    COMMAND(result, (expected = (struct expected){.at = backwards ? start + (int64_t)count - 1 : start,
                                                  .step = backwards ? -1 : 1},
                     list_range(of, start, count, backwards, expect_next, &expected)));
    assert_int_equal(result, 0);
    assert_int_equal(expected.count, count);
}

static void do_range(void) {
    unsigned start = (unsigned)random_below(model_size + 1);
    unsigned count = (unsigned)random_below(model_size - start + 1);
    if (count > 300 && random_below(20)) count = 300;
    range(entry, start, count, (int)random_below(2));
}

static unsigned matches[ELEMENTS_MAX], matches_count, matches_stop;
static int found(uint64_t index, void *ctx) {
    (void)ctx;
    matches[matches_count++] = (unsigned)index;
    return matches_count == matches_stop;
}

static int search(unsigned value, int backwards, unsigned limit) {
    matches_count = 0;
    return list_search(entry, fresh_text(value), backwards, limit, 1, found, NULL);
}

static void do_search(void) {
    unsigned value = (unsigned)random_below(kinds), limit = 0, seen = 0;
    int backwards = (int)random_below(2), result;
    matches_stop = random_below(2) ? (unsigned)random_below(5) + 1 : 0;
    if (random_below(3) == 0) limit = 1 + (unsigned)random_below(model_size + 10);
    COMMAND(result, search(value, backwards, limit));
    assert_int_equal(result, 0);
    for (unsigned i = 0; i < model_size && (limit == 0 || i < limit); i++) {
        unsigned index = backwards ? model_size - 1 - i : i;
        if (matches_stop != 0 && seen == matches_stop) break;
        if (model[index] != value) continue;
        assert_true(seen < matches_count);
        assert_int_equal(matches[seen], index);
        seen++;
    }
    assert_int_equal(seen, matches_count);
}

static int search_and_remove(unsigned value, int backwards, unsigned count, uint64_t *removed) {
    matches_stop = count;
    int error = search(value, backwards, 0);
    return error != 0 ? error : list_remove(entry, fresh_text(value), backwards, count, removed);
}

static void do_remove(void) {
    unsigned value = (unsigned)random_below(kinds);
    if (model_size > 0 && random_below(4)) value = model[random_below(model_size)];
    unsigned count = (unsigned)random_below(4), removed = 0;
    int backwards = (int)random_below(2), result;
    uint64_t got = 0;
    COMMAND(result, search_and_remove(value, backwards, count, &got));
    assert_int_equal(result, 0);
    for (unsigned i = 0; i < model_size;) {
        unsigned index = backwards ? model_size - 1 - i : i;
        if (model[index] == value && (count == 0 || removed < count)) {
            model_cut(index, 1);
            removed++;
        } else {
            i++;
        }
    }
    assert_int_equal(got, removed);
    list_shrunk(entry);
}

static void do_trim(void) {
    if (model_size == 0) return;
    unsigned start, count;
    switch (random_below(4)) {
    case 0: /* a little at the ends */
        start = (unsigned)random_below(model_size < 10 ? model_size : 10);
        count = model_size - start;
        if (count > 10) count -= (unsigned)random_below(10);
        break;
    case 1: /* a lot */
        start = (unsigned)random_below(model_size);
        count = 1 + (unsigned)random_below((model_size - start) / 4 + 1);
        break;
    default:
        start = (unsigned)random_below(model_size / 3 + 1);
        count = model_size - start - (unsigned)random_below(model_size / 3 + 1);
        if (count == 0) count = 1;
    }
    int result;
    COMMAND(result, list_trim(entry, start, count));
    assert_int_equal(result, 0);
    model_cut(start + count, model_size - start - count);
    model_cut(0, start);
    assert_int_equal(entry->size, model_size);
    list_shrunk(entry);
}

static void verify(void) {
    type_list_ops.check(entry);
    assert_int_equal(entry->size, model_size);
    range(entry, 0, model_size, 0);
    assert_true(type_list_ops.memory(entry, 5) < 100u << 20);
}

static void do_copy(void) {
    struct entry *copy = list_create(bytes_of_text("copy"));
    int result;
    COMMAND(result, type_list_ops.copy_value(entry, &copy));
    assert_int_equal(result, 0);
    type_list_ops.check(copy);
    assert_int_equal(entry_encoding(copy), entry_encoding(entry));
    range(copy, 0, model_size, 1);
    assert_int_equal(list_push(copy, LIST_HEAD, bytes_of_text("another")), 0);
    assert_int_equal(list_insert(copy, copy->size / 2, bytes_of_text("another")), 0);
    type_list_ops.check(copy);
    value_destroy(&type_list_ops, copy);
}

static void do_rdb(void) {
    struct bytes_builder body = {0};
    uint8_t type;
    int result;
    if (model_size == 0) return;
    COMMAND(result, (bytes_builder_clear(&body), type_list_ops.encode(entry, &body, &type)));
    assert_int_equal(result, 0);
    struct entry *back = value_decoded(&type_list_ops, type, &body);
    range(back, 0, model_size, 0);
    value_destroy(&type_list_ops, back);
}

static void run(unsigned rounds, unsigned most, unsigned kinds_count, unsigned demote_odds) {
    kinds = kinds_count;
    entry = list_create(bytes_of_text("key"));
    model_size = 0;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned dice = (unsigned)random_below(100);
        if (dice < (model_size < most ? 35 : 10)) {
            for (unsigned i = (unsigned)random_below(8) == 0 ? 200 : 1; i > 0 && model_size < most * 2; i--)
                do_push();
        } else if (dice < 55) {
            do_pop();
        } else if (dice < 65) {
            do_insert(random_below(10) == 0 ? 100 : 1);
        } else if (dice < 72) {
            do_set();
        } else if (dice < 80) {
            do_at();
        } else if (dice < 86) {
            do_range();
        } else if (dice < 90) {
            do_search();
        } else if (dice < 95) {
            do_remove();
        } else if (random_below(most > 500 ? 20 : 2) == 0) {
            do_trim();
        }
        if (random_below(demote_odds) == 0) demote_some(1 + (unsigned)random_below(20));
        if (random_below(600) == 0) do_copy();
        if (random_below(600) == 0) do_rdb();
        if (random_below(100) == 0) type_list_ops.check(entry);
        if (round % 500 == 0) verify();
    }
    verify();
    demote_some(30);
    value_destroy(&type_list_ops, entry);
    value_none_left();
}

static void test_small(void **state) {
    (void)state;
    (void)fresh_text(14); /* its buffer stays */
    size_t before = memory_used();
    for (unsigned i = 0; i < 10; i++)
        run(3000, 20, 6, 10);
    for (unsigned i = 0; i < 5; i++)
        run(3000, 60, 400, 10);
    (void)before;
}
static void test_around_conversion(void **state) {
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        run(6000, 300, 2000, 5);
}
static void test_large(void **state) {
    (void)state;
    run(20000, 8000, 5000, 3);
    run(8000, 20000, 10, 1);
    assert_true(value_faults > 1000 && fake_promotions > 100);
}
static void test_limits(void **state) {
    (void)state;
    struct type_limits before = type_limits;
    static const int64_t limits[] = {1, 5, 100, 1000000, -1, -5};
    for (unsigned i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        type_limits.list_max_listpack_size = limits[i];
        run(3000, 200, 1000, 10);
    }
    type_limits = before;
}
static void test_resident(void **state) {
    (void)state;
    run(20000, 10000, 3000, 1u << 30);
}

int main(void) {
    hash_seed_init();
    random_seed(12);
    fake_tier_install();
    type_keeps_hot = 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),  cmocka_unit_test(test_around_conversion), cmocka_unit_test(test_large),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
