/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/*
 * Sets against a naive model: random operations while pages are pushed to fake lower tiers at random, through
 * victims and locate as the keyspace does it. Every operation runs like a command: in a fault set, again from
 * the start after the pages it asked for were "read".
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
#include "types/set.h"

/* --- the set and its model --- */

#define MEMBERS 4000u
static struct { uint8_t present, seen; } model[MEMBERS];
static unsigned model_size, integers; /* the first so many members are integers */
static struct entry *entry;

static struct bytes member_name(unsigned i) {
    static char text[8200];
    if (i < integers) {
        int64_t number = (int64_t)i - 50;
        if (i % 9 == 0) number *= 1000;
        if (i % 31 == 0) number *= 10000000000;
        return bytes_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number));
    }
    if (i % 400 == 7) { /* one with a page for itself */
        memset(text, 'x', 8000);
        return bytes_of(text, 8000 + (size_t)snprintf(text + 8000, 100, "%u", i));
    }
    return bytes_of(
        text, (size_t)snprintf(text, sizeof text, i % 5 == 0 ? "member-with-a-longer-name-%u" : "m%u", i));
}
static unsigned member_number(struct bytes member) {
    long long value = 0;
    unsigned i;
    if (integers > 0 && (member.data[0] == '-' || member.data[0] <= '9')) {
        char text[32] = {0};
        memcpy(text, member.data, member.size < 31 ? member.size : 31);
        value = strtoll(text, NULL, 10);
        for (i = 0; i < integers && !bytes_equal(member_name(i), member); i++)
            continue;
    } else {
        for (i = 0, value = 0; i < member.size; i++) {
            if (member.data[i] >= '0' && member.data[i] <= '9') value = value * 10 + (member.data[i] - '0');
        }
        i = (unsigned)value;
    }
    assert_true(i < MEMBERS && bytes_equal(member_name(i), member));
    return i;
}

/* Run ${operation} as a command. */
#define COMMAND(result, operation) VALUE_COMMAND(result, 50, entry->size == model_size, operation)

static void demote_some(unsigned want) {
    value_demote(&type_set_ops, entry, want);
}

static void model_put(unsigned i) {
    model[i].present = 1;
    model_size++;
}
static void model_forget(unsigned i) {
    assert_true(model[i].present);
    model[i].present = 0;
    model_size--;
}

static void do_add(unsigned i) {
    int added = -1, result;
    COMMAND(result, set_add(entry, member_name(i), 0, &added));
    assert_int_equal(result, 0);
    assert_int_equal(added, !model[i].present);
    if (added) model_put(i);
}

static void do_remove(unsigned i) {
    int result;
    COMMAND(result, set_remove(entry, member_name(i)));
    assert_int_equal(result, model[i].present ? 0 : FIRN_ENOTFOUND);
    if (model[i].present) model_forget(i);
}

static void do_contains(unsigned i) {
    int result, again;
    COMMAND(result, set_contains(entry, member_name(i)));
    assert_int_equal(result, model[i].present ? 0 : FIRN_ENOTFOUND);
    COMMAND(again, set_contains_still(entry, member_name(i)));
    assert_int_equal(again, result);
    COMMAND(again, set_touch(entry, member_name(i)));
    assert_int_equal(again, 0);
}

static unsigned popped, pops;
static void pop_receive(struct bytes member, void *ctx) {
    (void)ctx;
    popped = member_number(member);
    pops++;
}
static void do_pop(void) {
    uint64_t state = random_u64(), again;
    unsigned before = pops;
    int result;
    COMMAND(result, (again = state, set_pop(entry, &again, pop_receive, NULL)));
    assert_int_equal(result, model_size > 0 ? 0 : FIRN_ENOTFOUND);
    assert_int_equal(pops - before, result == 0);
    if (result == 0) model_forget(popped);
}

static void do_random(void) {
    char digits[NUMBER_INT_TEXT_MAX];
    uint64_t state = random_u64(), again;
    struct bytes member;
    int result;
    COMMAND(result, (again = state, set_random(entry, &again, digits, &member)));
    assert_int_equal(result, model_size > 0 ? 0 : FIRN_ENOTFOUND);
    if (result == 0) assert_true(model[member_number(member)].present);
}

static int each_visit(struct bytes member, void *ctx) {
    unsigned i = member_number(member);
    assert_true(model[i].present);
    assert_int_equal(model[i].seen, 0);
    model[i].seen = 1;
    ++*(unsigned *)ctx;
    return 0;
}
static void verify_each(struct entry *of) {
    for (unsigned i = 0; i < MEMBERS; i++)
        model[i].seen = 0;
    unsigned count = 0;
    int result;
    COMMAND(result, set_each(of, each_visit, &count));
    assert_int_equal(result, 0);
    assert_int_equal(count, model_size);
}

static void verify(void) {
    type_set_ops.check(entry);
    assert_int_equal(entry->size, model_size);
    verify_each(entry);
    assert_true(type_set_ops.memory(entry, 5) < 100u << 20);
}

/* A copy has the same members, is independent and goes without leaving anything. */
static void do_copy(void) {
    struct entry *copy = set_create(bytes_of_text("copy"), bytes_of_text("x"), 1);
    int result;
    COMMAND(result, type_set_ops.copy_value(entry, &copy));
    assert_int_equal(result, 0);
    type_set_ops.check(copy);
    assert_int_equal(copy->size, model_size);
    assert_int_equal(entry_encoding(copy), entry_encoding(entry));
    verify_each(copy);
    assert_int_equal(set_add(copy, bytes_of_text("another"), 0, NULL), 0);
    type_set_ops.check(copy);
    value_destroy(&type_set_ops, copy);
}

/* What is encoded decodes to the same. */
static void do_rdb(void) {
    struct bytes_builder body = {0};
    uint8_t type;
    int result;
    if (model_size == 0) return;
    COMMAND(result, (bytes_builder_clear(&body), type_set_ops.encode(entry, &body, &type)));
    assert_int_equal(result, 0);
    struct entry *back = value_decoded(&type_set_ops, type, &body);
    verify_each(back);
    value_destroy(&type_set_ops, back);
}

/* Every member that is there from begin to end is reported by a scan, whatever happens between its calls. */
static void scan_visit(struct bytes member, void *ctx) {
    (void)ctx;
    model[member_number(member)].seen |= 2;
}
static void do_scan(void) {
    uint64_t cursor = 0;
    unsigned steps = 0;
    for (unsigned i = 0; i < MEMBERS; i++)
        model[i].seen = model[i].present ? 1 : 0;
    do {
        int result;
        uint64_t next;
        COMMAND(result, set_scan(entry, cursor, 1 + random_below(300), scan_visit, NULL, &next));
        assert_int_equal(result, 0);
        cursor = next;
        for (unsigned changes = (unsigned)random_below(20); changes > 0; changes--) {
            unsigned i = (unsigned)random_below(MEMBERS);
            model[i].seen &= ~1u;
            if (random_below(2)) {
                do_add(i);
            } else {
                do_remove(i);
            }
        }
        demote_some((unsigned)random_below(5));
        assert_true(++steps < 100000);
    } while (cursor != 0);
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_true(model[i].seen != 1);
}

static void run(unsigned rounds, unsigned range, unsigned integers_count, unsigned demote_odds) {
    integers = integers_count;
    entry = set_create(bytes_of_text("key"), member_name(0), 1);
    memset(model, 0, sizeof model);
    model_size = 0;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned i = (unsigned)random_below(range), dice = (unsigned)random_below(100);
        unsigned growing = round / (rounds / 6) % 2 == 0 ? 48 : 12;
        if (dice < growing) {
            do_add(i);
        } else if (dice < 65) {
            do_remove(i);
        } else if (dice < 85) {
            do_contains(i);
        } else if (dice < 92) {
            do_random();
        } else if (dice < 96) {
            do_pop();
        }
        if (random_below(demote_odds) == 0) demote_some(1 + (unsigned)random_below(20));
        if (random_below(500) == 0 && range == MEMBERS) do_scan();
        if (random_below(1000) == 0) do_copy();
        if (random_below(1000) == 0) do_rdb();
        if (round % 250 == 0) verify();
    }
    verify();
    demote_some(30);
    value_destroy(&type_set_ops, entry);
    value_none_left();
}

static void test_small(void **state) {
    (void)state;
    size_t before = memory_used();
    for (unsigned i = 0; i < 10; i++)
        run(2000, 20, i % 2 ? 0 : 20, 10);
    assert_int_equal(memory_used(), before);
}
static void test_integers(void **state) {
    (void)state;
    run(20000, 450, 450, 5);  /* always an intset */
    run(20000, 600, 600, 10); /* until they are too many */
    run(2000, 600, 500, 10);  /* until one is none */
    run(2000, 100, 99, 10);   /* to a listpack */
}
static void test_around_conversion(void **state) {
    (void)state;
    run(20000, 150, 0, 10);
}
static void test_large(void **state) {
    (void)state;
    run(40000, MEMBERS, 0, 3);
    run(20000, 1500, 1000, 1);
    assert_true(value_faults > 1000 && fake_promotions > 100);
}
/* Thresholds set high: one page up to its largest size, then all at once a directory. */
static void test_high_thresholds(void **state) {
    (void)state;
    struct type_limits before = type_limits;
    type_limits.set_max_listpack_entries = type_limits.set_max_listpack_value = 1u << 30;
    type_limits.set_max_intset_entries = 1u << 30;
    run(10000, 100, 0, 10);
    run(10000, MEMBERS, 0, 10);
    run(20000, MEMBERS, 3000, 10);
    type_limits.set_max_listpack_entries = 2000;
    run(20000, MEMBERS, 0, 10);
    type_limits = before;
}
static void test_resident(void **state) {
    (void)state;
    run(40000, MEMBERS, 0, 1u << 30);
}

int main(void) {
    hash_seed_init();
    random_seed(12);
    fake_tier_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_around_conversion),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_high_thresholds),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
