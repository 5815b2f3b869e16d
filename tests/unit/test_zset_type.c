/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/* Sorted sets one at a time: score pages, the tree's names for leaves, RDB forms of old, what a failed
 * allocation leaves behind. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes_builder.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/memory.h"
#include "ds/rdb_format.h"
#include "types/held_pages.h"
#include "types/score_tree.h"
#include "types/zset.h"

static struct entry *entry;

static void begin(void) {
    entry = zset_create(bytes_of_text("key"), 1, 1);
}
static void end(void) {
    type_zset_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(7))
        continue;
    assert_int_equal(object_count(), 0);
}
static int put(const char *member, double score) {
    enum zset_outcome outcome;
    double given;
    return zset_put(entry, bytes_of_text(member), score, 0, &outcome, &given);
}
static struct bytes numbered(unsigned i) {
    static char text[32];
    return bytes_of(text, (size_t)snprintf(text, sizeof text, "member:%u", i));
}
static void fill(unsigned from, unsigned to) {
    enum zset_outcome outcome;
    double given;
    for (unsigned i = from; i < to; i++)
        assert_int_equal(zset_put(entry, numbered(i), i * 7919 % 1000, 0, &outcome, &given), 0);
}

/* --- score pages --- */

static void test_page_refuses_what_is_wrong(void **state) {
    (void)state;
    struct page *page = page_create(1000);
    struct score_view view;
    score_page_insert(page, 0, 1, bytes_of_text("a"));
    score_page_insert(page, 1, 1, bytes_of_text("b"));
    score_page_insert(page, 2, 5, bytes_of_text(""));
    struct bytes payload = bytes_of(page->data, page->bytes);
    assert_int_equal(score_page_open(payload, 1, &view), 0);
    assert_int_equal(view.count, 3);
    for (size_t size = 1; size < payload.size; size++)
        assert_int_equal(score_page_open(bytes_of(payload.data, size), 1, &view), FIRN_ECORRUPT);
    for (unsigned i = 0; i < 4; i++) { /* count, format, flags */
        page->data[i] ^= 4;
        assert_int_equal(score_page_open(payload, 1, &view), FIRN_ECORRUPT);
        page->data[i] ^= 4;
    }
    score_page_set_score(page, 2, 0.5); /* not ascending */
    assert_int_equal(score_page_open(payload, 1, &view), FIRN_ECORRUPT);
    score_page_set_score(page, 2, NAN);
    assert_int_equal(score_page_open(payload, 1, &view), FIRN_ECORRUPT);
    score_page_set_score(page, 2, 5);
    page->data[page->bytes - 1] = 'a'; /* twice the same */
    assert_int_equal(score_page_open(payload, 1, &view), FIRN_ECORRUPT);
    page_free_unshared(page);
}

static void test_page_of_wide_members(void **state) {
    (void)state;
    static char big[70000];
    memset(big, 'x', sizeof big);
    struct bytes large = bytes_of(big, sizeof big);
    struct score_view view;
    struct page *page = page_create(100);
    uint64_t ref = page_ref_of(page);
    score_page_insert(page, 0, 1, bytes_of_text("a"));
    score_page_insert(page, 1, 3, bytes_of_text("c"));
    size_t bytes = score_page_bytes_with(bytes_of(page->data, page->bytes), large.size);
    assert_int_equal(page_write(&ref, bytes, &page), 0);
    score_page_insert(page, 1, 2, large);
    assert_int_equal(page->bytes, bytes);
    assert_int_equal(score_page_open(bytes_of(page->data, page->bytes), 1, &view), 0);
    assert_true(view.wide && bytes_equal(score_view_member(&view, 1), large));
    assert_true(bytes_equal(score_view_member(&view, 2), bytes_of_text("c")));
    struct page *part = score_page_part(&view, 0, 1), *rest = score_page_part(&view, 1, 3);
    struct score_view a, b;
    assert_int_equal(score_page_open(bytes_of(part->data, part->bytes), 1, &a), 0);
    assert_int_equal(score_page_open(bytes_of(rest->data, rest->bytes), 1, &b), 0);
    assert_true(!a.wide && b.wide && a.count == 1 && b.count == 2);
    struct page *joined = score_page_join(&a, &b);
    assert_int_equal(joined->bytes, page->bytes);
    assert_memory_equal(joined->data, page->data, page->bytes);
    score_page_remove(page, 1, 2); /* stays wide */
    assert_int_equal(score_page_open(bytes_of(page->data, page->bytes), 1, &view), 0);
    assert_true(view.count == 2 && bytes_equal(score_view_member(&view, 1), bytes_of_text("c")));
    page_free_unshared(part);
    page_free_unshared(rest);
    page_free_unshared(joined);
    page_release(page_ref_of(page));
}

/* --- the tree --- */

static void release_nothing(uint64_t ref, void *ctx) {
    (void)ref;
    ++*(unsigned *)ctx;
}

static void test_leaves_keep_their_names(void **state) {
    (void)state;
    struct score_tree tree;
    struct score_path path;
    score_tree_init(&tree, 8, 10);
    enum { LEAVES = 1000 };
    for (unsigned i = 1; i < LEAVES; i++) { /* ascending: full nodes */
        score_tree_find_rank(&tree, tree.elements - 1, &path);
        score_tree_insert(&tree, &path, 8 + 8 * i, 10, i - 1, bytes_of_text("z"), i, bytes_of_text("a"));
    }
    score_tree_check(&tree);
    assert_true(tree.leaves == LEAVES && tree.elements == 10 * LEAVES && tree.depth == 2);
    score_tree_find_rank(&tree, 5005, &path);
    assert_true(path.rank == 5000 && *score_tree_ref(&tree, &path) == 8 + 8 * 500);
    uint64_t locator = score_tree_locator(&tree, &path);
    assert_true((locator & 63) == 63);
    score_tree_find_rank(&tree, 4990, &path); /* its neighbour goes */
    score_tree_remove(&tree, &path);
    assert_non_null(score_tree_locate(&tree, locator));
    assert_int_equal(*score_tree_locate(&tree, locator), 8 + 8 * 500);
    struct score_key key = {.score = 500, .member = bytes_of_text("b"), .after = 1};
    score_tree_find(&tree, &key, &path);
    assert_true(score_tree_rank(&tree, &path) == 4990 &&
                score_tree_locate(&tree, locator) == score_tree_ref(&tree, &path));
    score_tree_remove(&tree, &path);
    assert_null(score_tree_locate(&tree, locator));
    while (tree.leaves > 1) {
        score_tree_find_rank(&tree, tree.elements * 7 / 11, &path);
        score_tree_remove(&tree, &path);
        if (tree.leaves % 100 == 0) score_tree_check(&tree);
    }
    assert_int_equal(tree.depth, 1);
    unsigned released = 0;
    assert_int_equal(score_tree_reap(&tree, 5, release_nothing, &released), 0);
    assert_int_equal(released, 1);
}

static void test_separators_are_short(void **state) {
    (void)state;
    struct score_tree tree;
    struct score_path path;
    score_tree_init(&tree, 8, 1);
    size_t before = tree.bytes;
    score_tree_find_rank(&tree, 0, &path);
    static char a[3000], b[3000];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    score_tree_insert(&tree, &path, 16, 1, 5, bytes_of(a, sizeof a), 5, bytes_of(b, sizeof b));
    assert_true(tree.bytes - before < 64);
    struct score_key key = {.score = 5, .member = bytes_of_text("b"), .after = 1};
    score_tree_find(&tree, &key, &path);
    assert_int_equal(score_tree_rank(&tree, &path), 1);
    key.member = bytes_of_text("aaz");
    score_tree_find(&tree, &key, &path);
    assert_int_equal(score_tree_rank(&tree, &path), 0);
    score_tree_fini(&tree);
}

/* --- encodings, RDB --- */

static void test_encoding_follows_the_limits(void **state) {
    (void)state;
    begin();
    fill(0, 128);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    fill(0, 128);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    fill(128, 129);
    assert_int_equal(entry_encoding(entry), ENCODING_SKIPLIST);
    assert_int_equal(zset_remove(entry, numbered(5)), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_SKIPLIST);
    zset_settle_encoding(entry, 20);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    zset_expect(entry, 129, 1);
    assert_int_equal(entry_encoding(entry), ENCODING_SKIPLIST);
    end();
}

static void test_zero_has_no_sign_in_a_listpack(void **state) {
    (void)state;
    double score;
    begin();
    assert_int_equal(put("a", -0.0), 0);
    assert_true(zset_score(entry, bytes_of_text("a"), &score) == 0 && !signbit(score));
    zset_expect(entry, 129, 1);
    assert_int_equal(put("b", -0.0), 0);
    assert_true(zset_score(entry, bytes_of_text("b"), &score) == 0 && signbit(score));
    zset_settle_encoding(entry, 1);
    assert_true(zset_score(entry, bytes_of_text("b"), &score) == 0 && !signbit(score));
    end();
}

static int decoded(uint8_t type, const struct bytes_builder *body) {
    size_t consumed = 0;
    entry = NULL;
    int error =
        type_zset_ops.decode(bytes_of_text("key"), type, bytes_builder_bytes(body), &consumed, 1, &entry);
    if (error == 0) assert_int_equal(consumed, body->size);
    return error;
}

static void test_scores_as_text(void **state) {
    (void)state;
    struct bytes_builder body = {0};
    double score;
    uint64_t rank;
    rdb_write_length(&body, 4);
    rdb_write_string(&body, bytes_of_text("a"), 1);
    bytes_builder_append(&body,
                         "\x03"
                         "2.5",
                         4);
    rdb_write_string(&body, bytes_of_text("b"), 1);
    bytes_builder_append_byte(&body, 254);
    rdb_write_string(&body, bytes_of_text("c"), 1);
    bytes_builder_append_byte(&body, 255);
    rdb_write_string(&body, bytes_of_text("17"), 1);
    bytes_builder_append(&body,
                         "\x02"
                         "-3",
                         3);
    assert_int_equal(decoded(3, &body), 0);
    type_zset_ops.check(entry);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    assert_true(zset_rank(entry, bytes_of_text("b"), &score, &rank) == 0 && score == HUGE_VAL && rank == 3);
    assert_true(zset_rank(entry, bytes_of_text("17"), &score, &rank) == 0 && score == -3 && rank == 1);
    end();
    for (size_t size = 0; size < body.size; size++) {
        struct bytes_builder cut = {.data = body.data, .size = size};
        assert_int_equal(decoded(3, &cut), FIRN_ECORRUPT);
    }
    body.data[body.size - 3] = 253; /* not a number */
    assert_int_equal(decoded(3, &body), FIRN_ECORRUPT);
    bytes_builder_fini(&body);
}

static void test_refused_bodies(void **state) {
    (void)state;
    struct bytes_builder body = {0};
    double score = NAN;
    rdb_write_length(&body, 1);
    rdb_write_string(&body, bytes_of_text("a"), 1);
    bytes_builder_append(&body, &score, sizeof score);
    assert_int_equal(decoded(5, &body), FIRN_ECORRUPT);
    bytes_builder_clear(&body);
    score = 1;
    rdb_write_length(&body, 2);
    for (int twice = 0; twice < 2; twice++) {
        rdb_write_string(&body, bytes_of_text("a"), 1);
        bytes_builder_append(&body, &score, sizeof score);
    }
    assert_int_equal(decoded(5, &body), FIRN_ECORRUPT);
    bytes_builder_fini(&body);
    assert_int_equal(object_count(), 0);
}

/* --- no memory --- */

static void test_failed_allocations_change_nothing(void **state) {
    (void)state;
    double score;
    begin();
    fill(0, 3000);
    unsigned failures = 0;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned at = i % 3;
        enum zset_outcome outcome;
        double given, before = 0;
        uint32_t size = entry->size;
        struct bytes member = numbered(i * 2 % 14500);
        int exists = zset_score(entry, member, &before) == 0, error;
        fault_point_arm(FAULT_MEMORY_TRY, at, i % 2 ? 1 : UINT64_MAX);
        error = i % 3 == 0 ? zset_remove(entry, member)
                           : zset_put(entry, member, (double)(i * 31 % 997), 0, &outcome, &given);
        fault_point_reset();
        if (error != FIRN_ENOMEM) continue;
        failures++;
        assert_int_equal(entry->size, size);
        int there = zset_score(entry, member, &score) == 0;
        assert_true(there == exists && (!there || score == before));
        if (failures % 32 == 1) type_zset_ops.check(entry); /* goes through all of it */
    }
    type_zset_ops.check(entry);
    assert_true(failures > 10);
    end();
}

/* --- building half by half --- */

/* Members in one order, elements in another: a sorted set like any other; and one of elements only comes back
 * in order, page by page. */
static void test_built_in_halves(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    struct entry *run = zset_build(bytes_of_text(""));
    entry = zset_build(bytes_of_text("key"));
    for (unsigned i = 0; i < COUNT; i++) {
        unsigned other = i * 7919 % COUNT;
        assert_int_equal(zset_build_member(entry, numbered(i), i % 100), 0);
        assert_int_equal(zset_build_member(entry, numbered(i), i % 100), 0); /* again: nothing */
        assert_int_equal(zset_build_element(run, numbered(other), other % 100), 0);
    }
    assert_true(run->size == COUNT && entry->size == 0);
    zset_build_passed(entry, UINT64_MAX / 2);
    struct score_view view;
    uint64_t ref, after;
    while ((ref = zset_build_take(run, &after)) != 0) {
        const struct page *page = page_ref_dram(ref);
        assert_int_equal(score_page_open(bytes_of(page->data, page->bytes), 1, &view), 0);
        for (uint32_t i = 0; i < view.count; i++)
            assert_int_equal(
                zset_build_element(entry, score_view_member(&view, i), score_view_score(&view, i)), 0);
        assert_true((after == 0) == (run->size == 0));
        page_release(ref);
    }
    type_zset_ops.free_value(run);
    entry_free(run);
    assert_int_equal(entry->size, COUNT);
    type_zset_ops.check(entry);
    double score;
    uint64_t rank;
    assert_int_equal(zset_rank(entry, numbered(117), &score, &rank), 0);
    assert_true(score == 17 && rank >= 17 * COUNT / 100 && rank < 18 * COUNT / 100);
    fill(0, 100); /* it changes like any other */
    type_zset_ops.check(entry);
    end();
}

/* What is held stays as it was, is offered to the tiers from its end on, and nothing of it is left. */
static void test_held_pages(void **state) {
    (void)state;
    begin();
    fill(0, 20000);
    size_t pages = zset_member_pages(entry, NULL, NULL);
    uint64_t *refs = memory_alloc(pages * sizeof *refs), *starts = memory_alloc(pages * sizeof *starts);
    assert_true(pages > 50 && zset_member_pages(entry, refs, starts) == pages);
    memory_free(starts);
    uint64_t first = refs[0];
    struct held_pages *held = held_pages_create(refs, pages);
    assert_true(held->head.pages == pages && page_ref_dram(first)->refs == 2);
    fill(20000, 21000);
    held_pages_release(held, held->next++);
    held->pinned = 10;
    struct type_victim victims[1000];
    unsigned got = type_held_ops.victims(&held->head, PAGE_TAG_DRAM, (unsigned)pages - 10, victims, 1000);
    assert_int_equal(got, pages - 10);
    for (unsigned i = 0; i < got; i++) {
        assert_int_equal(victims[i].locator, pages - 1 - i);
        assert_true(*type_held_ops.locate(&held->head, victims[i].locator) == victims[i].ref);
    }
    assert_null(type_held_ops.locate(&held->head, 9));
    type_zset_ops.check(entry);
    held_pages_destroy(held);
    end();
}

int main(void) {
    hash_seed_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_refuses_what_is_wrong),
        cmocka_unit_test(test_page_of_wide_members),
        cmocka_unit_test(test_leaves_keep_their_names),
        cmocka_unit_test(test_separators_are_short),
        cmocka_unit_test(test_encoding_follows_the_limits),
        cmocka_unit_test(test_zero_has_no_sign_in_a_listpack),
        cmocka_unit_test(test_scores_as_text),
        cmocka_unit_test(test_refused_bodies),
        cmocka_unit_test(test_failed_allocations_change_nothing),
        cmocka_unit_test(test_built_in_halves),
        cmocka_unit_test(test_held_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
