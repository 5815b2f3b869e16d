/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/*
 * A packed collection as part of an object of a type (the member -> score half of a sorted set): putting with
 * 8-byte values, replacing, removing, copying pages, victims and reaping in slices. What hashes and sets use
 * of it is tested with them (test_hash_type.c, test_set_type.c and their models).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/memory.h"
#include "types/packed_collection.h"

#define MEMBERS 20000u

/* An object with something besides the collection. */
struct scored {
    struct packed_collection members;
    uint64_t else_here;
};

static struct bytes member(unsigned i, char *text) {
    return bytes_of(text, (size_t)snprintf(text, 32, "member:%u", i));
}

static struct scored *scored_create(void) {
    struct scored *scored = memory_alloc_zero(sizeof *scored);
    packed_collection_init(&scored->members, TYPE_ZSET);
    return scored;
}

static void scored_destroy(struct scored *scored) {
    while (packed_collection_reap_pages(&scored->members, 7))
        continue;
    assert_int_equal(scored->members.head.pages, 0);
    assert_int_equal(scored->members.head.dram_bytes, 0);
    object_unregister(&scored->members.head);
    memory_free(scored);
}

/* 1: new. */
static int put(struct scored *scored, struct bytes name, uint64_t score) {
    struct packed_slot slot;
    struct packed_plan plan;
    packed_slot_open_in(&scored->members, hash_key(name), &slot);
    assert_int_equal(packed_slot_plan(&slot, name, sizeof score, 0, 0, &plan), 0);
    assert_int_equal(packed_slot_put(&slot, &plan, name, bytes_of(&score, sizeof score)), 0);
    return plan.is_new;
}

static int get(struct scored *scored, struct bytes name, uint64_t *score_out) {
    struct packed_slot slot;
    struct packed_entry found;
    packed_slot_open_in(&scored->members, hash_key(name), &slot);
    int error = packed_slot_find(&slot, name, 1, &found);
    if (error == 0) {
        assert_int_equal(found.value.size, sizeof *score_out);
        *score_out = bytes_load64(found.value.data);
    }
    return error;
}

static void removing(struct bytes field, void *ctx) {
    *(struct bytes *)ctx = field;
}

static void take_out(struct scored *scored, struct bytes name) {
    struct packed_slot slot;
    struct bytes payload, seen = {0};
    struct packed_entry found;
    packed_slot_open_in(&scored->members, hash_key(name), &slot);
    assert_int_equal(packed_slot_read_to_change(&slot, &payload), 0);
    assert_int_equal(packed_page_find(payload, slot.hash, name, &found), 0);
    assert_int_equal(packed_slot_remove(&slot, payload, &found, removing, &seen), 0);
    assert_int_equal(seen.size, name.size);
}

static void check(const struct scored *scored, uint64_t count) {
    const struct object *head = &scored->members.head;
    struct packed_sum sum = {0};
    packed_collection_check_pages(&scored->members, 0, &sum);
    assert_int_equal(sum.elements, count);
    assert_int_equal(sum.pages, head->pages);
    assert_int_equal(sum.pages_dram, head->pages_dram);
    assert_int_equal(sum.bytes, head->dram_bytes);
}

static void test_put_get_remove(void **state) {
    (void)state;
    struct scored *scored = scored_create();
    char text[32];
    uint64_t score;
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_int_equal(put(scored, member(i, text), i), 1);
    check(scored, MEMBERS);
    for (unsigned i = 0; i < MEMBERS; i += 2)
        assert_int_equal(put(scored, member(i, text), i * 3), 0);
    check(scored, MEMBERS);
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(get(scored, member(i, text), &score), 0);
        assert_int_equal(score, i % 2 == 0 ? i * 3 : i);
    }
    assert_int_equal(get(scored, member(MEMBERS, text), &score), FIRN_ENOTFOUND);
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (i % 1000 != 0) take_out(scored, member(i, text));
    }
    check(scored, MEMBERS / 1000);
    for (unsigned i = 0; i < MEMBERS; i += 1000)
        take_out(scored, member(i, text));
    check(scored, 0);
    assert_int_equal(scored->members.head.pages, 0);
    scored_destroy(scored);
}

static void test_copy(void **state) {
    (void)state;
    struct scored *scored = scored_create(), *copy = scored_create();
    char text[32];
    uint64_t score;
    for (unsigned i = 0; i < MEMBERS; i++)
        put(scored, member(i, text), i);
    packed_collection_copy_pages(&scored->members, &copy->members);
    check(copy, MEMBERS);
    for (unsigned i = 0; i < MEMBERS; i += 5)
        put(scored, member(i, text), 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(get(copy, member(i, text), &score), 0);
        assert_int_equal(score, i);
    }
    scored_destroy(scored);
    check(copy, MEMBERS);
    scored_destroy(copy);
}

/* Every page is offered once around, whatever the limits, and located again. */
static void test_victims(void **state) {
    (void)state;
    struct scored *scored = scored_create();
    struct packed_collection *members = &scored->members;
    struct type_victim victims[16], all[4096];
    char text[32];
    for (unsigned i = 0; i < MEMBERS; i++)
        put(scored, member(i, text), i);
    uint64_t sweep = UINT64_C(1) << 63;
    assert_true(members->head.pages > 16 && members->head.pages < 4096);
    unsigned once = packed_collection_victims_from(members, &sweep, PAGE_TAG_DRAM, 1u << 20, all, 4096);
    assert_int_equal(once, members->head.pages);
    for (unsigned seen = 0, found; seen < 3 * members->head.pages; seen += found) {
        found = packed_collection_victims_from(members, &sweep, PAGE_TAG_DRAM, 64, victims, 16);
        assert_true(found > 0);
        for (unsigned i = 0; i < found; i++) {
            uint64_t *word = packed_collection_locate(&members->head, victims[i].locator);
            assert_non_null(word);
            assert_int_equal(*word, victims[i].ref);
        }
    }
    assert_int_equal(packed_collection_victims_from(members, &sweep, PAGE_TAG_PMEM, 1u << 20, all, 4096), 0);
    scored_destroy(scored);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_remove),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_victims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
