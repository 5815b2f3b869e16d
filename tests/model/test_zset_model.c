/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/*
 * Sorted sets against a naive model (a sorted array): random operations while pages are pushed to fake lower
 * tiers at random, through victims and locate as the keyspace does it. Every operation runs like a command:
 * in a fault set, again from the start after the pages it asked for were "read".
 */
#include <math.h>
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
#include "types/zset.h"

/* --- the sorted set and its model --- */

#define MEMBERS 5000u
static struct {
    double score;
    uint8_t present, seen;
} model[MEMBERS];
static unsigned order[MEMBERS], model_size; /* present members, ascending */
static unsigned score_kind;                 /* of the scores drawn */
static struct entry *entry;

static struct bytes name_into(unsigned i, char *text) {
    if (i % 700 == 7) { /* one with pages for itself */
        memset(text, 'x', 8000);
        return bytes_of(text, 8000 + (size_t)snprintf(text + 8000, 100, "%u", i));
    }
    return bytes_of(text,
                    (size_t)snprintf(text, 8200, i % 5 == 0 ? "member-with-a-longer-name-%u" : "m%u", i));
}
static struct bytes member_name(unsigned i) {
    static char text[8200];
    return name_into(i, text);
}
static unsigned member_number(struct bytes member) {
    size_t digits = member.size;
    unsigned i = 0;
    while (digits > 0 && member.data[digits - 1] >= '0' && member.data[digits - 1] <= '9')
        digits--;
    for (; digits < member.size; digits++)
        i = i * 10 + (unsigned)(member.data[digits] - '0');
    assert_true(i < MEMBERS && bytes_equal(member_name(i), member));
    return i;
}

/* Where (score, name of i) belongs. */
static unsigned model_place(double score, unsigned i) {
    static char here[8200], there[8200];
    struct bytes name = name_into(i, here);
    unsigned low = 0, high = model_size;
    while (low < high) {
        unsigned middle = (low + high) / 2, other = order[middle];
        int before = model[other].score < score ||
                     (model[other].score == score && bytes_compare(name_into(other, there), name) < 0);
        if (before) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
static void model_forget_at(unsigned place) {
    model[order[place]].present = 0;
    memmove(order + place, order + place + 1, (model_size - place - 1) * sizeof *order);
    model_size--;
}
static void model_put(unsigned i, double score) {
    if (model[i].present) model_forget_at(model_place(model[i].score, i));
    unsigned place = model_place(score, i);
    memmove(order + place + 1, order + place, (model_size - place) * sizeof *order);
    order[place] = i;
    model_size++;
    model[i].present = 1;
    model[i].score = score;
}

/* Run ${operation} as a command. */
#define COMMAND(result, operation) VALUE_COMMAND(result, 50, entry->size == model_size, operation)

static void demote_some(unsigned want) {
    value_demote(&type_zset_ops, entry, want);
}

static double draw_score(void) {
    switch (score_kind) {
    case 0: return 0; /* lexicographic */
    case 1: return (double)random_below(20) - 10;
    case 2: return (double)(int64_t)random_u64() / 1e9;
    default: {
        static const double odd[] = {-HUGE_VAL, HUGE_VAL, -0.0, 0.0, 1e308, -1e-308, 0.1, 9007199254740993.0};
        return random_below(3) == 0 ? odd[random_below(8)] : (double)random_below(1u << 31) - (1u << 30);
    }
    }
}

/* --- operations --- */

static void do_put(unsigned i) {
    static const unsigned kinds[] = {0,       0,       0,       0,         ZSET_NX,
                                     ZSET_XX, ZSET_GT, ZSET_LT, ZSET_INCR, ZSET_INCR | ZSET_GT};
    unsigned flags = kinds[random_below(10)];
    double score = draw_score(), given = 0, want = score;
    enum zset_outcome outcome, expected;
    int result, failed = 0;
    if (model[i].present) {
        if (flags & ZSET_INCR) want = model[i].score + score;
        failed = isnan(want);
        int refused = flags & ZSET_NX || (flags & ZSET_GT && want <= model[i].score) ||
                      (flags & ZSET_LT && want >= model[i].score);
        expected = refused ? ZSET_REFUSED : want == model[i].score ? ZSET_SAME : ZSET_UPDATED;
    } else {
        expected = flags & ZSET_XX ? ZSET_REFUSED : ZSET_ADDED;
    }
    if (random_below(2)) {
        COMMAND(result, zset_touch_put(entry, member_name(i), score, flags));
        assert_true(result == 0 || failed);
    }
    COMMAND(result, zset_put(entry, member_name(i), score, flags, &outcome, &given));
    assert_int_equal(result, failed ? FIRN_ENOTNUMBER : 0);
    if (failed) return;
    assert_int_equal(outcome, expected);
    if (expected == ZSET_ADDED || expected == ZSET_UPDATED) model_put(i, want);
    if (model[i].present) assert_true(given == model[i].score);
}

static void do_remove(unsigned i) {
    int result;
    COMMAND(result, zset_touch_remove(entry, member_name(i)));
    assert_int_equal(result, 0);
    COMMAND(result, zset_remove(entry, member_name(i)));
    assert_int_equal(result, model[i].present ? 0 : FIRN_ENOTFOUND);
    if (model[i].present) model_forget_at(model_place(model[i].score, i));
}

static void do_lookups(unsigned i) {
    int result, wanted = model[i].present ? 0 : FIRN_ENOTFOUND;
    double score = 0;
    uint64_t rank = 0;
    COMMAND(result, zset_touch(entry, member_name(i)));
    assert_int_equal(result, 0);
    COMMAND(result, zset_score(entry, member_name(i), &score));
    assert_true(result == wanted && (wanted != 0 || score == model[i].score));
    COMMAND(result, zset_score_still(entry, member_name(i), &score));
    assert_true(result == wanted && (wanted != 0 || score == model[i].score));
    COMMAND(result, zset_rank(entry, member_name(i), &score, &rank));
    assert_true(result == wanted);
    if (wanted == 0) assert_int_equal(rank, model_place(model[i].score, i));
    if (model_size == 0) return;
    struct bytes member;
    unsigned at = (unsigned)random_below(model_size);
    COMMAND(result, zset_at(entry, at, &member, &score));
    assert_true(result == 0 && member_number(member) == order[at] && score == model[order[at]].score);
}

static unsigned walk_next;
static int walk_step;
static int walk_visit(struct bytes member, double score, void *ctx) {
    (void)ctx;
    unsigned i = order[walk_next];
    assert_int_equal(member_number(member), i);
    assert_true(score == model[i].score);
    walk_next += (unsigned)walk_step;
    return 0;
}
static void walk_span(struct entry *of, struct zset_span span, int reverse) {
    int result;
    COMMAND(result, (walk_step = reverse ? -1 : 1,
                     walk_next = (unsigned)(reverse ? span.first + span.count - 1 : span.first),
                     zset_each(of, span, reverse, walk_visit, NULL)));
    assert_int_equal(result, 0);
    if (span.count > 0)
        assert_true(walk_next == (unsigned)(reverse ? span.first - 1 : span.first + span.count));
}

static struct score_key draw_key(unsigned i) {
    struct score_key key = {.score = draw_score(), .after = random_below(2) != 0};
    key.kind = SCORE_KEY_SCORE;
    if (score_kind == 0 && random_below(2)) {
        key.kind = SCORE_KEY_MEMBER;
        key.member = member_name(i);
        if (random_below(4) == 0) key.member.size = random_below(key.member.size + 1);
    }
    return key;
}
static unsigned model_count_left(const struct score_key *key) {
    static char text[8200];
    unsigned count = 0;
    while (count < model_size &&
           score_key_passes(key, model[order[count]].score, name_into(order[count], text)))
        count++;
    return count;
}
static void do_span(void) {
    char a_text[8200], b_text[8200];
    struct score_key from = draw_key((unsigned)random_below(MEMBERS));
    if (from.member.size > 0) memcpy(a_text, from.member.data, from.member.size);
    from.member.data = (uint8_t *)a_text;
    struct score_key to = draw_key((unsigned)random_below(MEMBERS));
    if (to.member.size > 0) memcpy(b_text, to.member.data, to.member.size);
    to.member.data = (uint8_t *)b_text;
    struct zset_span span;
    int result;
    COMMAND(result, zset_span(entry, &from, &to, &span));
    assert_int_equal(result, 0);
    unsigned first = model_count_left(&from), end = model_count_left(&to);
    assert_int_equal(span.first, first);
    assert_int_equal(span.count, end > first ? end - first : 0);
    if (span.count > 300) span.count = 300;
    walk_span(entry, span, random_below(2) != 0);
}

static void do_remove_span(void) {
    if (model_size == 0) return;
    struct zset_span span = {.first = random_below(model_size)};
    uint64_t limit = model_size - span.first, removed;
    span.count = random_below((random_below(10) == 0 ? limit : limit < 12 ? limit : 12) + 1);
    int result;
    COMMAND(result,
            zset_touch_remove_span(entry, span) != 0 ? FIRN_EFAULT : zset_remove_span(entry, span, &removed));
    assert_int_equal(result, 0);
    assert_int_equal(removed, span.count);
    for (uint64_t i = 0; i < span.count; i++)
        model_forget_at((unsigned)span.first);
}

static void verify(void) {
    type_zset_ops.check(entry);
    assert_int_equal(entry->size, model_size);
    walk_span(entry, (struct zset_span){.count = model_size}, 0);
    walk_span(entry, (struct zset_span){.count = model_size}, 1);
    assert_true(type_zset_ops.memory(entry, 5) < 100u << 20 && type_zset_ops.memory(entry, 0) < 100u << 20);
}

/* A copy has the same elements, is independent and goes without leaving anything. */
static void do_copy(void) {
    struct entry *copy = zset_create(bytes_of_text("copy"), 1, 1);
    enum zset_outcome outcome;
    double score;
    int result;
    COMMAND(result, type_zset_ops.copy_value(entry, &copy));
    assert_int_equal(result, 0);
    type_zset_ops.check(copy);
    assert_int_equal(copy->size, model_size);
    assert_int_equal(entry_encoding(copy), entry_encoding(entry));
    walk_span(copy, (struct zset_span){.count = model_size}, 0);
    assert_int_equal(zset_put(copy, bytes_of_text("another"), 5, 0, &outcome, &score), 0);
    if (model_size > 0) assert_int_equal(zset_remove(copy, member_name(order[0])), 0);
    type_zset_ops.check(copy);
    value_destroy(&type_zset_ops, copy);
}

/* What is encoded decodes to the same. */
static void do_rdb(void) {
    struct bytes_builder body = {0};
    uint8_t type;
    int result;
    if (model_size == 0) return;
    COMMAND(result, (bytes_builder_clear(&body), type_zset_ops.encode(entry, &body, &type)));
    assert_int_equal(result, 0);
    struct entry *back = value_decoded(&type_zset_ops, type, &body);
    walk_span(back, (struct zset_span){.count = model_size}, 0);
    value_destroy(&type_zset_ops, back);
}

/* Every member that is there from begin to end is reported by a scan, whatever happens between its calls. */
static void scan_visit(struct bytes member, double score, void *ctx) {
    (void)ctx;
    unsigned i = member_number(member);
    assert_true(model[i].present && model[i].score == score);
    model[i].seen |= 2;
}
static void do_scan(void) {
    uint64_t cursor = 0;
    unsigned steps = 0;
    for (unsigned i = 0; i < MEMBERS; i++)
        model[i].seen = model[i].present ? 1 : 0;
    do {
        int result;
        uint64_t next;
        COMMAND(result, zset_scan(entry, cursor, 1 + random_below(300), scan_visit, NULL, &next));
        assert_int_equal(result, 0);
        cursor = next;
        for (unsigned changes = (unsigned)random_below(20); changes > 0; changes--) {
            unsigned i = (unsigned)random_below(MEMBERS);
            if (random_below(2)) {
                if (!model[i].present) model[i].seen &= ~1u;
                do_put(i); /* also another score */
            } else {
                model[i].seen &= ~1u;
                do_remove(i);
            }
        }
        demote_some((unsigned)random_below(5));
        assert_true(++steps < 100000);
    } while (cursor != 0);
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_true(model[i].seen != 1);
}

static void run(unsigned rounds, unsigned range, unsigned demote_odds) {
    entry = zset_create(bytes_of_text("key"), 1, 1);
    memset(model, 0, sizeof model);
    model_size = 0;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned i = (unsigned)random_below(range), dice = (unsigned)random_below(100);
        unsigned growing = round / (rounds / 6) % 2 == 0 ? 60 : 15;
        if (dice < growing) {
            do_put(i);
        } else if (dice < 65) {
            do_remove(i);
        } else if (dice < 85) {
            do_lookups(i);
        } else if (dice < 93) {
            do_span();
        } else if (dice < 97 && round % 3 == 0) {
            do_remove_span();
        }
        if (demote_odds > 0 && random_below(demote_odds) == 0) demote_some(1 + (unsigned)random_below(20));
        if (random_below(800) == 0 && range == MEMBERS) do_scan();
        if (random_below(1000) == 0) do_copy();
        if (random_below(1000) == 0) do_rdb();
        if (round % 250 == 0) verify();
    }
    verify();
    demote_some(30);
    value_destroy(&type_zset_ops, entry);
    value_none_left();
}

static void test_small(void **state) {
    (void)state;
    size_t before = memory_used();
    for (unsigned i = 0; i < 12; i++) {
        score_kind = i % 4;
        run(2000, 20, 10);
    }
    assert_int_equal(memory_used(), before);
}
static void test_around_conversion(void **state) {
    (void)state;
    for (score_kind = 0; score_kind < 4; score_kind++)
        run(6000, 250, 10);
}
static void test_large(void **state) {
    (void)state;
    for (score_kind = 0; score_kind < 4; score_kind++)
        run(15000, MEMBERS, 3);
    score_kind = 2;
    run(10000, 1500, 1);
    assert_true(value_faults > 1000 && fake_promotions > 100);
}
static void test_resident(void **state) {
    (void)state;
    for (score_kind = 0; score_kind < 4; score_kind++)
        run(15000, MEMBERS, 0);
}

/* In order, from both ends: leaves stay full, ranks right, and what was put in comes out. */
static void test_in_order(void **state) {
    (void)state;
    enum { COUNT = 200000 };
    for (int direction = 1; direction >= -1; direction -= 2) {
        enum zset_outcome outcome;
        double score;
        uint64_t rank, removed;
        entry = zset_create(bytes_of_text("key"), 1, 1);
        for (int i = 0; i < COUNT; i++) {
            char text[32];
            struct bytes member = bytes_of(text, (size_t)snprintf(text, sizeof text, "member:%d", i));
            assert_int_equal(zset_put(entry, member, direction * i, 0, &outcome, &score), 0);
        }
        type_zset_ops.check(entry);
        print_message("%s: %.1f bytes an element\n", direction > 0 ? "ascending" : "descending",
                      (double)type_zset_ops.memory(entry, 0) / COUNT);
        assert_true(type_zset_ops.memory(entry, 0) < 64u * COUNT);
        for (int i = 0; i < COUNT; i += 1111) {
            char text[32];
            struct bytes member = bytes_of(text, (size_t)snprintf(text, sizeof text, "member:%d", i));
            assert_int_equal(zset_rank(entry, member, &score, &rank), 0);
            assert_int_equal(rank, direction > 0 ? i : COUNT - 1 - i);
        }
        struct zset_span most = {.first = 10, .count = COUNT - 20};
        assert_int_equal(zset_remove_span(entry, most, &removed), 0);
        type_zset_ops.check(entry);
        assert_int_equal(entry->size, 20);
        value_destroy(&type_zset_ops, entry);
    }
    assert_int_equal(object_count(), 0);
}

/* Page reads of one operation on a sorted set that is below as a whole: recorded value_faults over all runs.
 */
#define COLD_READS_AT_MOST(limit, operation)                                                                 \
    do {                                                                                                     \
        unsigned cold_reads = 0;                                                                             \
        for (;;) {                                                                                           \
            struct fault_set cold_set;                                                                       \
            fault_begin(&cold_set, FAULT_ASYNC);                                                             \
            int cold_result = (operation);                                                                   \
            fault_end(&cold_set);                                                                            \
            cold_reads += cold_set.count;                                                                    \
            if (cold_result != FIRN_EFAULT) {                                                                \
                assert_int_equal(cold_result, 0);                                                            \
                break;                                                                                       \
            }                                                                                                \
            fake_tier_load(&cold_set);                                                                       \
        }                                                                                                    \
        fake_tier_drop();                                                                                    \
        assert_true(cold_reads <= (limit));                                                                  \
    } while (0)

static int receive_nothing(struct bytes member, double score, void *ctx) {
    (void)member, (void)score, (void)ctx;
    return 0;
}

/* One element of a cold one costs a page or two, never the rest. */
static void test_cold_reads(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    enum zset_outcome outcome;
    double score;
    uint64_t rank;
    entry = zset_create(bytes_of_text("key"), 1, 1);
    for (unsigned i = 0; i < COUNT; i++) {
        char text[32];
        struct bytes member = bytes_of(text, (size_t)snprintf(text, sizeof text, "member:%u", i));
        assert_int_equal(zset_put(entry, member, (double)random_below(1u << 20), 0, &outcome, &score), 0);
    }
    struct object *object = value_object(entry);
    while (object->pages_dram > 0)
        demote_some(64);
    type_zset_ops.check(entry);
    assert_int_equal(object->dram_bytes, 0);
    for (unsigned i = 0; i < COUNT; i += 997) {
        char text[32];
        struct bytes member = bytes_of(text, (size_t)snprintf(text, sizeof text, "member:%u", i));
        struct score_key from = {.kind = SCORE_KEY_SCORE, .score = (double)i}, to = from;
        struct zset_span span = {.first = i > COUNT - 10 ? COUNT - 10 : i, .count = 10}, found;
        to.score += 100;
        COLD_READS_AT_MOST(1u, zset_score(entry, member, &score));
        COLD_READS_AT_MOST(2u, zset_rank(entry, member, &score, &rank));
        COLD_READS_AT_MOST(2u, zset_each(entry, span, 0, receive_nothing, NULL));
        COLD_READS_AT_MOST(2u, zset_span(entry, &from, &to, &found));
        COLD_READS_AT_MOST(1u, zset_at(entry, i, &member, &score));
    }
    value_destroy(&type_zset_ops, entry);
    assert_int_equal(fake_records_alive, 0);
}

int main(void) {
    hash_seed_init();
    random_seed(12);
    fake_tier_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),    cmocka_unit_test(test_around_conversion),
        cmocka_unit_test(test_large),    cmocka_unit_test(test_resident),
        cmocka_unit_test(test_in_order), cmocka_unit_test(test_cold_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
