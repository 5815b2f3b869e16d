/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/* The set type in particulars: reported encodings, order, giant members, RDB forms (good ones read back,
 * broken ones refused), victims, drawing. What random operations can find is in tests/model/test_set_model.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes_builder.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "ds/rdb_format.h"
#include "page/page.h"
#include "types/intset_page.h"
#include "types/set.h"

#define TEXT(text) bytes_of_text(text)

static void add(struct entry *entry, const char *member, int expected) {
    int added = -1;
    assert_int_equal(set_add(entry, TEXT(member), 0, &added), 0);
    assert_int_equal(added, expected);
}

static struct entry *make(const char *format, unsigned from, unsigned count) {
    char member[64];
    snprintf(member, sizeof member, format, from);
    struct entry *entry = set_create(TEXT("key"), TEXT(member), 1);
    for (unsigned i = from; i < from + count; i++) {
        snprintf(member, sizeof member, format, i);
        add(entry, member, 1);
    }
    assert_int_equal(entry->size, count);
    type_set_ops.check(entry);
    return entry;
}

static void destroy(struct entry *entry) {
    type_set_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

static int is_large(const struct entry *entry) {
    return page_ref_tag(entry_ref(entry)) == PAGE_TAG_OBJECT;
}

static void test_created_encodings(void **state) {
    (void)state;
    static const struct {
        const char *first;
        size_t expected;
        enum encoding encoding;
    } rows[] = {
        {"1", 1, ENCODING_INTSET},      {"1", 512, ENCODING_INTSET},
        {"1", 513, ENCODING_HASHTABLE}, {"01", 1, ENCODING_LISTPACK},
        {"", 1, ENCODING_LISTPACK},     {"a", 128, ENCODING_LISTPACK},
        {"a", 129, ENCODING_HASHTABLE}, {"9223372036854775808", 1, ENCODING_LISTPACK},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct entry *entry = set_create(TEXT("key"), TEXT(rows[i].first), rows[i].expected);
        assert_int_equal(entry_encoding(entry), rows[i].encoding);
        destroy(entry);
    }
}

static void test_switches(void **state) {
    (void)state;
    char longest[66];
    memset(longest, 'x', 65);
    longest[65] = 0;
    struct entry *entry = make("%u", 0, 512);
    assert_int_equal(entry_encoding(entry), ENCODING_INTSET);
    add(entry, "511", 0);
    assert_int_equal(entry_encoding(entry), ENCODING_INTSET);
    add(entry, "512", 1); /* too many */
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    type_set_ops.check(entry);
    assert_int_equal(set_remove(entry, TEXT("512")), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE); /* one way */
    destroy(entry);

    entry = make("%u", 0, 127);
    add(entry, "word", 1);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    add(entry, "one more", 1);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    destroy(entry);
    entry = make("%u", 0, 128);
    add(entry, "word", 1); /* too many for a listpack */
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    destroy(entry);

    entry = make("%u", 0, 3);
    add(entry, longest, 1);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    destroy(entry);
    entry = make("a%u", 0, 3);
    longest[64] = 0;
    add(entry, longest, 1);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    assert_int_equal(set_expect(entry, 128), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    assert_int_equal(set_expect(entry, 129), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    destroy(entry);
    entry = make("%u", 0, 3);
    assert_int_equal(set_expect(entry, 513), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    type_set_ops.check(entry);
    assert_int_equal(set_contains(entry, TEXT("2")), 0);
    destroy(entry);
}

/* Integers come ascending, members of a listpack in the order they were added. */
struct expected_order {
    const char *const *next;
};
static int in_order(struct bytes member, void *ctx) {
    struct expected_order *order = ctx;
    assert_true(bytes_equal(member, TEXT(*order->next)));
    order->next++;
    return 0;
}
static void test_order(void **state) {
    (void)state;
    static const char *const added[] = {
        "5", "-9223372036854775808", "70000", "-3", "9223372036854775807", "32767", "32768", "-40000"};
    static const char *const sorted[] = {
        "-9223372036854775808", "-40000", "-3", "5", "32767", "32768", "70000",
        "9223372036854775807",  "word"};
    struct entry *entry = set_create(TEXT("key"), TEXT("5"), 1);
    for (unsigned i = 0; i < 8; i++) {
        add(entry, added[i], 1);
        add(entry, added[i], 0);
        type_set_ops.check(entry);
    }
    assert_int_equal(set_contains(entry, TEXT("05")), FIRN_ENOTFOUND);
    assert_int_equal(set_contains(entry, TEXT("-40000")), 0);
    struct expected_order order = {sorted};
    assert_int_equal(set_each(entry, in_order, &order), 0);
    assert_ptr_equal(order.next, sorted + 8);
    add(entry, "word", 1);
    order.next = sorted;
    assert_int_equal(set_each(entry, in_order, &order), 0);
    assert_ptr_equal(order.next, sorted + 9);
    destroy(entry);
}

static void test_layout(void **state) {
    (void)state;
    struct entry *entry = make("member:%06u", 0, 100);
    assert_false(is_large(entry));
    destroy(entry);
    entry = make("member:%06u", 0, 2000);
    assert_true(is_large(entry));
    entry->flags |= ENTRY_PINNED;
    object_set_pinned(entry);
    struct object *object = page_ref_object(entry_ref(entry));
    assert_true(object->dram_bytes / object->pages < 4096);
    for (unsigned i = 0; i < 2000; i++) {
        char member[32];
        snprintf(member, sizeof member, "member:%06u", i);
        assert_int_equal(set_remove(entry, TEXT(member)), 0);
        assert_int_equal(set_remove(entry, TEXT(member)), FIRN_ENOTFOUND);
        if (i % 50 == 0) type_set_ops.check(entry);
    }
    assert_int_equal(entry->size, 0);
    assert_int_equal(object->pages, 0);
    assert_int_equal(object->dram_bytes, 0);
    assert_true(type_set_ops.memory(entry, 0) < 400); /* the directory shrank again */
    destroy(entry);
}

/* Giants live alone. */
static void test_giants(void **state) {
    (void)state;
    static char giant[300000];
    memset(giant, 'g', sizeof giant - 1);
    struct entry *entry = make("member:%u", 0, 300);
    for (unsigned i = 0; i < 10; i++) {
        giant[5] = (char)('a' + i);
        add(entry, giant, 1);
        add(entry, giant, 0);
    }
    type_set_ops.check(entry);
    for (unsigned i = 0; i < 10; i++) {
        giant[5] = (char)('a' + i);
        assert_int_equal(set_contains(entry, TEXT(giant)), 0);
        assert_int_equal(set_remove(entry, TEXT(giant)), 0);
    }
    type_set_ops.check(entry);
    assert_int_equal(set_add(entry, bytes_of(giant, 600u << 20), 0, NULL), FIRN_ETOOBIG);
    destroy(entry);
}

/* --- RDB --- */

static struct entry *decode(uint8_t type, struct bytes body) {
    struct entry *entry = NULL;
    size_t consumed = 0;
    if (type_set_ops.decode(TEXT("key"), type, body, &consumed, 1, &entry) != 0) return NULL;
    assert_int_equal(consumed, body.size);
    type_set_ops.check(entry);
    return entry;
}

static int is_in(struct bytes member, void *ctx) {
    assert_int_equal(set_contains(ctx, member), 0);
    return 0;
}

static void there_and_back(struct entry *entry, uint8_t expected_type) {
    struct bytes_builder body = {0};
    uint8_t type = 255;
    bytes_builder_append_text(&body, "before");
    assert_int_equal(type_set_ops.encode(entry, &body, &type), 0);
    assert_int_equal(type, expected_type);
    struct bytes payload = bytes_of(body.data + 6, body.size - 6);
    struct entry *back = decode(type, payload);
    assert_non_null(back);
    assert_int_equal(back->size, entry->size);
    assert_int_equal(entry_encoding(back), entry_encoding(entry));
    assert_int_equal(set_each(entry, is_in, back), 0);
    destroy(back);
    for (size_t cut = 0; cut < payload.size; cut += 1 + payload.size / 97)
        assert_null(decode(type, bytes_of(payload.data, cut)));
    bytes_builder_fini(&body);
    destroy(entry);
}

static void test_rdb(void **state) {
    (void)state;
    there_and_back(make("%u", 0, 5), 11);
    there_and_back(make("%u", 40000, 500), 11);
    there_and_back(make("%u00000000000", 1, 100), 11);
    there_and_back(make("a%u", 0, 100), 20);
    there_and_back(make("a%u", 0, 5000), 2);
    there_and_back(make("%u", 0, 5000), 2);
    struct entry *entry = make("%u", 0, 100); /* a listpack of integers stays one */
    add(entry, "x", 1);
    assert_int_equal(set_remove(entry, TEXT("x")), 0);
    there_and_back(entry, 20);
}

static struct entry *decode_intset(uint32_t width, uint32_t count, const void *numbers, size_t bytes) {
    struct bytes_builder form = {0}, body = {0};
    bytes_builder_append(&form, &width, 4);
    bytes_builder_append(&form, &count, 4);
    bytes_builder_append(&form, numbers, bytes);
    rdb_write_string(&body, bytes_builder_bytes(&form), 0);
    struct entry *entry = decode(11, bytes_builder_bytes(&body));
    bytes_builder_fini(&form);
    bytes_builder_fini(&body);
    return entry;
}

static void test_rdb_refused(void **state) {
    (void)state;
    int16_t good[] = {-5, 2, 9}, twice[] = {1, 1, 2}, falling[] = {3, 2, 1};
    destroy(decode_intset(2, 3, good, 6));
    assert_null(decode_intset(2, 3, twice, 6));
    assert_null(decode_intset(2, 3, falling, 6));
    assert_null(decode_intset(3, 2, good, 6));
    assert_null(decode_intset(2, 4, good, 6));
    assert_null(decode_intset(2, 0, good, 0));
    assert_null(decode_intset(4, 0x40000000u, good, 6));
    struct bytes_builder body = {0}, listpack = {0};
    rdb_write_length(&body, 0);
    assert_null(decode(2, bytes_builder_bytes(&body))); /* empty */
    bytes_builder_clear(&body);
    rdb_write_length(&body, 2);
    rdb_write_string(&body, TEXT("same"), 0);
    rdb_write_string(&body, TEXT("same"), 0);
    assert_null(decode(2, bytes_builder_bytes(&body))); /* twice */
    assert_null(decode(99, bytes_builder_bytes(&body)));
    bytes_builder_clear(&body);
    rdb_listpack_begin(&listpack);
    rdb_listpack_append(&listpack, TEXT("a"));
    rdb_listpack_append(&listpack, TEXT("a"));
    rdb_listpack_end(&listpack, 0, 2);
    rdb_write_string(&body, bytes_builder_bytes(&listpack), 0);
    assert_null(decode(20, bytes_builder_bytes(&body)));
    bytes_builder_fini(&body);
    bytes_builder_fini(&listpack);
}

/* Any bytes are safe to look at. */
static void test_broken_integers(void **state) {
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t bytes[40];
        size_t size = random_below(sizeof bytes);
        uint8_t *exact = malloc(size + 1);
        for (size_t i = 0; i < size; i++)
            exact[i] = (uint8_t)(i == 0 ? random_below(10) : random_u64());
        struct intset_view view;
        uint32_t index;
        if (intset_page_open(bytes_of(exact, size), &view) == 0) {
            (void)intset_page_find(&view, (int64_t)random_u64(), &index);
            assert_true(index <= view.count);
            int checked = intset_page_check(bytes_of(exact, size));
            assert_true(checked == 0 || checked == FIRN_ECORRUPT);
        }
        free(exact);
    }
}

/* A sweep offers each page once a round, but not those somebody else holds. */
static void test_victims(void **state) {
    (void)state;
    struct entry *entry = make("member:%06u", 0, 20000);
    struct object *object = page_ref_object(entry_ref(entry));
    static struct type_victim victims[1000];
    assert_true(object->pages > 50 && object->pages < 1000 && object->pages == object->pages_dram);
    unsigned found = 0;
    while (found < object->pages) {
        unsigned got = type_set_ops.victims(object, PAGE_TAG_DRAM, 10, victims + found, 10);
        assert_true(got > 0 && got <= 10);
        found += got;
    }
    for (unsigned i = 0; i < object->pages; i++)
        assert_int_equal(*type_set_ops.locate(object, victims[i].locator), victims[i].ref);
    uint64_t held = victims[0].ref;
    page_ref_dram(held)->moving = 1;
    unsigned again = type_set_ops.victims(object, PAGE_TAG_DRAM, object->pages, victims, 1000);
    assert_int_equal(again, object->pages - 1);
    page_ref_dram(held)->moving = 0;
    assert_int_equal(type_set_ops.victims(object, PAGE_TAG_PMEM, 100, victims, 10), 0);
    destroy(entry);
}

/* Members are about evenly drawn, within a page and over pages, and the same again from the same state. */
static void count_draws(const char *format, unsigned members) {
    struct entry *entry = make(format, 0, members);
    static unsigned drawn[1000];
    char digits[NUMBER_INT_TEXT_MAX];
    uint64_t sequence = 5;
    memset(drawn, 0, sizeof drawn);
    for (unsigned i = 0; i < members * 100; i++) {
        struct bytes member;
        assert_int_equal(set_random(entry, &sequence, digits, &member), 0);
        unsigned number = 0;
        for (size_t at = 0; at < member.size; at++) {
            if (member.data[at] >= '0' && member.data[at] <= '9')
                number = number * 10 + member.data[at] - '0';
        }
        drawn[number]++;
    }
    for (unsigned i = 0; i < members; i++)
        assert_true(drawn[i] > 30 && drawn[i] < 250);
    destroy(entry);
}
static void test_random(void **state) {
    (void)state;
    count_draws("m:%u", 1000);
    count_draws("m:%u", 20);
    count_draws("%u", 500);
}

static void receive_popped(struct bytes member, void *ctx) {
    struct bytes_builder *out = ctx;
    bytes_builder_clear(out);
    bytes_builder_append(out, member.data, member.size);
}
static void test_pop(void **state) {
    (void)state;
    static const char *const formats[] = {"%u", "m%u"};
    for (unsigned f = 0; f < 4; f++) {
        struct entry *entry = make(formats[f % 2], 0, f < 2 ? 100 : 3000);
        struct bytes_builder popped = {0};
        uint64_t sequence = 7;
        while (entry->size > 0) {
            assert_int_equal(set_pop(entry, &sequence, receive_popped, &popped), 0);
            assert_int_equal(set_contains(entry, bytes_builder_bytes(&popped)), FIRN_ENOTFOUND);
        }
        assert_int_equal(set_pop(entry, &sequence, receive_popped, &popped), FIRN_ENOTFOUND);
        type_set_ops.check(entry);
        bytes_builder_fini(&popped);
        destroy(entry);
    }
}

/* Failing allocations leave everything consistent. */
static struct entry *swept;
static void sweep_body(void *ctx) {
    (void)ctx;
    for (unsigned i = 0; i < 700; i++) {
        char member[32];
        snprintf(member, sizeof member, i == 650 ? "word%u" : "%u", i);
        int error = set_add(swept, TEXT(member), 0, NULL);
        assert_true(error == 0 || error == FIRN_ENOMEM);
        if (i % 50 == 0) type_set_ops.check(swept);
    }
}
static void sweep_verify(void *ctx) {
    (void)ctx;
    type_set_ops.check(swept);
    destroy(swept);
    swept = set_create(TEXT("key"), TEXT("1"), 1);
}
static void test_no_memory(void **state) {
    (void)state;
    swept = set_create(TEXT("key"), TEXT("1"), 1);
    assert_true(fault_point_sweep(FAULT_MEMORY_TRY, 0, sweep_body, sweep_verify, NULL) > 10);
    destroy(swept);
}

int main(void) {
    hash_seed_init();
    random_seed(5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_created_encodings),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_giants),
        cmocka_unit_test(test_rdb),
        cmocka_unit_test(test_rdb_refused),
        cmocka_unit_test(test_broken_integers),
        cmocka_unit_test(test_victims),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_pop),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
