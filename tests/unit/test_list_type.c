/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/* The list type in particulars: pages at their limits, reported encodings, ends that stay hot, locators of
 * pages that move, what trimming costs, RDB forms (good ones read back, broken ones refused), memory that
 * runs out. What random operations can find is in tests/model/test_list_model.c. */
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
#include "types/list.h"
#include "types/list_page.h"

#define TEXT(text) bytes_of_text(text)

static void push(struct entry *entry, enum list_end end, const char *text) {
    assert_int_equal(list_expect(entry, 1, strlen(text)), 0);
    assert_int_equal(list_push(entry, end, TEXT(text)), 0);
}

static struct entry *make(const char *format, unsigned count, enum list_end end) {
    char text[300];
    struct entry *entry = list_create(TEXT("key"));
    for (unsigned i = 0; i < count; i++) {
        snprintf(text, sizeof text, format, i);
        push(entry, end, text);
    }
    assert_int_equal(entry->size, count);
    type_list_ops.check(entry);
    return entry;
}

static void destroy(struct entry *entry) {
    type_list_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

static struct object *object_of(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}

static void assert_at(struct entry *entry, uint64_t index, struct bytes expected) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes element;
    assert_int_equal(list_at(entry, index, digits, &element), 0);
    assert_true(bytes_equal(element, expected));
}

/* Every form of an item, read forwards, backwards and compared. */
static void test_items(void **state) {
    (void)state;
    static char text[70000];
    static const char *const numbers[] = {"0",
                                          "127",
                                          "128",
                                          "-1",
                                          "4095",
                                          "-4096",
                                          "4096",
                                          "32767",
                                          "-32768",
                                          "32768",
                                          "8388607",
                                          "-8388608",
                                          "8388608",
                                          "-99999",
                                          "2147483647",
                                          "2147483648",
                                          "-2147483649",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "9223372036854775808",
                                          "01",
                                          "-0",
                                          "+1",
                                          "",
                                          " 1"};
    static const size_t sizes[] = {1, 63, 64, 124, 125, 126, 4095, 4096, 16380, 65000};
    struct entry *entry = list_create(TEXT("key"));
    unsigned count = 0;
    memset(text, 't', sizeof text);
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++, count++)
        assert_int_equal(list_push(entry, LIST_TAIL, TEXT(numbers[i])), 0);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++, count++)
        assert_int_equal(list_push(entry, LIST_TAIL, bytes_of(text, sizes[i])), 0);
    type_list_ops.check(entry);
    for (unsigned i = 0; i < count; i++) {
        uint64_t removed;
        unsigned numbers_count = sizeof numbers / sizeof *numbers;
        struct bytes expected =
            i < numbers_count ? TEXT(numbers[i]) : bytes_of(text, sizes[i - numbers_count]);
        assert_at(entry, i, expected);
        assert_int_equal(list_push(entry, LIST_HEAD, expected), 0);
        assert_at(entry, 0, expected);
        assert_int_equal(list_remove(entry, expected, 0, 1, &removed), 0);
        assert_int_equal(removed, 1);
    }
    type_list_ops.check(entry);
    destroy(entry);
#ifdef FIRN_JEMALLOC
    size_t full = LIST_PAGE_SPLIT_BYTES + sizeof(struct page);
    assert_int_equal(memory_good_size(full), full);
#endif
}

static void set_limit(int64_t limit, struct entry *entry, enum encoding expected) {
    type_limits.list_max_listpack_size = limit;
    entry_set_encoding(entry, ENCODING_QUICKLIST);
    list_settle_encoding(entry, 1);
    assert_int_equal(entry_encoding(entry), expected);
}

static void test_encodings(void **state) {
    (void)state;
    struct type_limits before = type_limits;
    struct entry *entry = make("element:%04u", 300, LIST_TAIL); /* 14 bytes each */
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    set_limit(-1, entry, ENCODING_QUICKLIST);
    set_limit(-2, entry, ENCODING_LISTPACK);
    set_limit(299, entry, ENCODING_QUICKLIST);
    set_limit(300, entry, ENCODING_LISTPACK);
    set_limit(-1, entry, ENCODING_QUICKLIST);
    assert_int_equal(list_pop(entry, LIST_HEAD, 300 - 146, NULL, NULL), 0);
    list_shrunk(entry);
    assert_int_equal(entry_encoding(entry), ENCODING_QUICKLIST); /* 146 * 14 + 7 > 2048 */
    assert_int_equal(list_pop(entry, LIST_TAIL, 1, NULL, NULL), 0);
    list_shrunk(entry);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    destroy(entry);
    type_limits = before;
    entry = make("element:%04u", 5000, LIST_HEAD);
    assert_int_equal(entry_encoding(entry), ENCODING_QUICKLIST);
    list_settle_encoding(entry, 3);
    assert_int_equal(entry_encoding(entry), ENCODING_QUICKLIST);
    destroy(entry);
}

/* One element is one page away wherever it is; pages are full where a list only grew. */
static void test_density(void **state) {
    (void)state;
    for (enum list_end end = LIST_TAIL; end <= LIST_HEAD; end++) {
        struct entry *entry = make("element:%08u", 100000, end); /* 18 bytes each */
        const struct object *object = object_of(entry);
        assert_true(object->pages <= 100000 * 18 / (LIST_PAGE_SPLIT_BYTES - 40) + 2);
        assert_true(type_list_ops.memory(entry, 0) < 100000 * 18 * 102 / 100);
        destroy(entry);
    }
    struct entry *entry = make("%u", 5, LIST_HEAD);
    assert_true(type_list_ops.memory(entry, 0) <= 64);
    destroy(entry);
}

/* A sweep offers every page; the ends only when nobody has used them for a while. */
static void test_victims(void **state) {
    (void)state;
    static struct type_victim victims[400];
    struct entry *entry = make("element:%08u", 100000, LIST_TAIL);
    struct object *object = object_of(entry);
    assert_true(object->pages > 200 && object->pages < 400);
    for (unsigned hot = 0; hot < 2; hot++) {
        unsigned found = 0;
        page_clock_set(hot ? page_clock() : page_clock() + 1000);
        if (hot) {
            push(entry, LIST_HEAD, "x");
            push(entry, LIST_TAIL, "x");
        }
        object->sweep = 0;
        for (unsigned i = 0; i < 1000 && found < object->pages - 2 * hot; i++)
            found += type_list_ops.victims(object, PAGE_TAG_DRAM, 50, victims + found, 1);
        assert_int_equal(found, object->pages - 2 * hot);
        for (unsigned i = 0; i < found; i++) {
            uint64_t *word = type_list_ops.locate(object, victims[i].locator);
            assert_non_null(word);
            assert_int_equal(*word, victims[i].ref);
            for (unsigned j = 0; j < i; j++)
                assert_true(victims[j].ref != victims[i].ref);
        }
        assert_int_equal(type_list_ops.victims(object, PAGE_TAG_PMEM, 1000, victims, 400), 0);
    }
    /* a queue moves on: what is in the middle is still found */
    for (unsigned i = 0; i < 20000; i++) {
        push(entry, LIST_TAIL, "another element");
        assert_int_equal(list_pop(entry, LIST_HEAD, 1, NULL, NULL), 0);
    }
    unsigned same = 0;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t *word = type_list_ops.locate(object, victims[i].locator);
        same += word != NULL && *word == victims[i].ref;
    }
    assert_true(same > 100);
    destroy(entry);
}

/* Trimming a long list cuts its tree; what goes is freed in slices. */
static void test_trim(void **state) {
    (void)state;
    struct entry *entry = make("element:%08u", 200000, LIST_TAIL);
    uint32_t pages = object_of(entry)->pages;
    assert_int_equal(list_trim(entry, 100000, 10), 0);
    type_list_ops.check(entry);
    assert_int_equal(entry->size, 10);
    assert_at(entry, 3, TEXT("element:00100003"));
    assert_int_equal(type_reap_pending(), 2); /* what was behind, what was in front */
    unsigned slices = 0;
    while (type_reap_some(10))
        slices++;
    assert_true(slices > pages / 10 / 2);
    destroy(entry);
    entry = make("element:%08u", 200000, LIST_TAIL);
    assert_int_equal(list_trim(entry, 50000, 140000), 0);
    type_list_ops.check(entry);
    assert_int_equal(type_reap_pending(), 2);
    assert_at(entry, 0, TEXT("element:00050000"));
    destroy(entry);
    assert_int_equal(object_count(), 0);
}

/* --- RDB --- */

static struct entry *decode(uint8_t type, struct bytes body) {
    struct entry *entry = NULL;
    size_t consumed = 0;
    if (type_list_ops.decode(TEXT("key"), type, body, &consumed, 1, &entry) != 0) return NULL;
    assert_int_equal(consumed, body.size);
    type_list_ops.check(entry);
    return entry;
}

struct comparison {
    struct entry *with;
    uint64_t at;
};
static int is_there(struct bytes element, void *ctx) {
    struct comparison *comparison = ctx;
    assert_at(comparison->with, comparison->at++, element);
    return 0;
}

static void there_and_back(struct entry *entry) {
    struct bytes_builder body = {0};
    uint8_t type = 255;
    bytes_builder_append_text(&body, "before");
    assert_int_equal(type_list_ops.encode(entry, &body, &type), 0);
    assert_int_equal(type, 18);
    struct bytes payload = bytes_of(body.data + 6, body.size - 6);
    struct entry *back = decode(type, payload);
    assert_non_null(back);
    assert_int_equal(back->size, entry->size);
    assert_int_equal(entry_encoding(back), entry_encoding(entry));
    struct comparison comparison = {back, 0};
    assert_int_equal(list_each(entry, is_there, &comparison), 0);
    destroy(back);
    for (size_t cut = 0; cut < payload.size; cut += 1 + payload.size / 97)
        assert_null(decode(type, bytes_of(payload.data, cut)));
    bytes_builder_fini(&body);
    destroy(entry);
}

static void test_rdb(void **state) {
    (void)state;
    static char giant[100000];
    memset(giant, 'g', sizeof giant - 1);
    there_and_back(make("%u", 5, LIST_TAIL));
    there_and_back(make("a%u", 500, LIST_HEAD));
    there_and_back(make("%u00000000", 20000, LIST_TAIL));
    struct entry *entry = make("a%u", 3000, LIST_TAIL);
    assert_int_equal(list_insert(entry, 1000, TEXT(giant)), 0);
    push(entry, LIST_HEAD, giant);
    there_and_back(entry);
    struct type_limits before = type_limits;
    type_limits.list_max_listpack_size = -5;
    entry = make("element:%04u", 3000, LIST_HEAD); /* several pages, one listpack */
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    assert_non_null(object_of(entry));
    there_and_back(entry);
    type_limits = before;
}

static void expect_ab1(struct entry *entry, unsigned times) {
    assert_non_null(entry);
    assert_int_equal(entry->size, 3 * times);
    for (unsigned i = 0; i < times; i++) {
        assert_at(entry, 3 * i, TEXT("a"));
        assert_at(entry, 3 * i + 1, TEXT("b"));
        assert_at(entry, 3 * i + 2, TEXT("1"));
    }
    destroy(entry);
}

/* Forms of older versions: elements one by one, a ziplist, ziplists. */
static void test_rdb_old(void **state) {
    (void)state;
    static const uint8_t ziplist[] = {0x13, 0, 0,   0, 0x10, 0,   0, 0,    3,   0,
                                      0,    1, 'a', 3, 1,    'b', 3, 0xf2, 0xff};
    struct bytes_builder body = {0};
    rdb_write_length(&body, 3);
    rdb_write_string(&body, TEXT("a"), 0);
    rdb_write_string(&body, TEXT("b"), 0);
    rdb_write_string(&body, TEXT("1"), 0);
    expect_ab1(decode(1, bytes_builder_bytes(&body)), 1);
    bytes_builder_clear(&body);
    rdb_write_string(&body, bytes_of(ziplist, sizeof ziplist), 0);
    expect_ab1(decode(10, bytes_builder_bytes(&body)), 1);
    bytes_builder_clear(&body);
    rdb_write_length(&body, 2);
    rdb_write_string(&body, bytes_of(ziplist, sizeof ziplist), 0);
    rdb_write_string(&body, bytes_of(ziplist, sizeof ziplist), 0);
    struct entry *entry = decode(14, bytes_builder_bytes(&body));
    assert_int_equal(entry_encoding(entry), ENCODING_QUICKLIST); /* two nodes */
    expect_ab1(entry, 2);
    bytes_builder_fini(&body);
}

static void test_rdb_refused(void **state) {
    (void)state;
    struct bytes_builder body = {0}, listpack = {0};
    for (uint8_t type = 1; type <= 18; type++) {
        bytes_builder_clear(&body);
        rdb_write_length(&body, 0);
        assert_null(decode(type, bytes_builder_bytes(&body))); /* empty */
    }
    bytes_builder_clear(&body);
    rdb_write_length(&body, 1);
    rdb_write_length(&body, 3); /* no such container */
    rdb_write_string(&body, TEXT("a"), 0);
    assert_null(decode(18, bytes_builder_bytes(&body)));
    bytes_builder_clear(&body);
    rdb_listpack_begin(&listpack);
    rdb_listpack_end(&listpack, 0, 0);
    rdb_write_length(&body, 1);
    rdb_write_length(&body, 2);
    rdb_write_string(&body, bytes_builder_bytes(&listpack), 0);
    assert_null(decode(18, bytes_builder_bytes(&body))); /* nothing in it */
    bytes_builder_clear(&body);
    rdb_write_length(&body, UINT64_C(1) << 40);
    assert_null(decode(18, bytes_builder_bytes(&body)));
    bytes_builder_fini(&body);
    bytes_builder_fini(&listpack);
}

/* Any bytes are safe to look at. */
static void test_broken_pages(void **state) {
    (void)state;
    for (unsigned round = 0; round < 100000; round++) {
        uint8_t bytes[60];
        size_t size = random_below(sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)(random_below(3) ? random_below(12) : random_u64());
        if (size > 8) {
            bytes[2] = 1;
            bytes_store32(bytes + 4, 8 + (uint32_t)random_below(4));
        }
        uint8_t *exact = malloc(size + 1);
        memcpy(exact, bytes, size);
        struct list_view view;
        struct list_element element;
        if (list_page_open(bytes_of(exact, size), &view) == 0) {
            int got;
            for (got = list_page_first(&view, &element); got == 1;)
                got = list_page_next(&view, &element, &element);
            for (got = list_page_last(&view, &element); got == 1;)
                got = list_page_previous(&view, &element, &element);
            int checked = list_page_check(bytes_of(exact, size));
            assert_true(checked == 0 || checked == FIRN_ECORRUPT);
        }
        free(exact);
    }
}

int main(void) {
    hash_seed_init();
    random_seed(5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items),        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_density),      cmocka_unit_test(test_victims),
        cmocka_unit_test(test_trim),         cmocka_unit_test(test_rdb),
        cmocka_unit_test(test_rdb_old),      cmocka_unit_test(test_rdb_refused),
        cmocka_unit_test(test_broken_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
