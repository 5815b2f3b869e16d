/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/* The hash type in particulars: reported encodings, giant fields, deadlines, RDB forms (good ones read back,
 * broken ones refused), victims. What random operations can find is in tests/model/test_hash_model.c. */
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
#include "page/fault.h"
#include "page/page.h"
#include "types/hash.h"

#define TEXT(text) bytes_of_text(text)

static struct entry *make(unsigned fields) {
    struct entry *entry = hash_create(TEXT("key"));
    for (unsigned i = 0; i < fields; i++) {
        char field[32], value[32];
        snprintf(field, sizeof field, "field:%06u", i);
        snprintf(value, sizeof value, "value:%u", i * 7);
        assert_int_equal(hash_set(entry, TEXT(field), TEXT(value), 0, NULL), 0);
    }
    assert_int_equal(entry->size, fields);
    type_hash_ops.check(entry);
    return entry;
}

static void destroy(struct entry *entry) {
    type_hash_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

static int is_large(const struct entry *entry) {
    return page_ref_tag(entry_ref(entry)) == PAGE_TAG_OBJECT;
}

static void assert_value(struct entry *entry, const char *field, const char *value) {
    struct bytes found;
    assert_int_equal(hash_get(entry, TEXT(field), &found, NULL), 0);
    assert_true(bytes_equal(found, TEXT(value)));
}

/* Pinning follows the entry, also into an object that comes later. */
static void test_pinned(void **state) {
    (void)state;
    struct entry *entry = make(1);
    entry->flags |= ENTRY_PINNED;
    for (unsigned i = 0; !is_large(entry); i++) {
        char field[32];
        snprintf(field, sizeof field, "more%u", i);
        assert_int_equal(hash_set(entry, TEXT(field), TEXT("a value of some length"), 0, NULL), 0);
    }
    const struct object *object = page_ref_object(entry_ref(entry));
    assert_int_equal(object->pinned, 1);
    entry->flags &= (uint8_t)~ENTRY_PINNED;
    object_set_pinned(entry);
    assert_int_equal(object->pinned, 0);
    destroy(entry);
}

static void test_encodings(void **state) {
    (void)state;
    struct entry *entry = make(128);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    assert_int_equal(hash_set(entry, TEXT("one more"), TEXT(""), 0, NULL), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    assert_int_equal(hash_delete(entry, TEXT("one more")), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE); /* one way */
    hash_expect_expiry(entry);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    destroy(entry);

    char longest[66];
    memset(longest, 'x', 65);
    longest[65] = 0;
    entry = make(1);
    assert_int_equal(hash_set(entry, TEXT("f"), bytes_of(longest, 64), 0, NULL), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    hash_expect_expiry(entry);
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACKEX);
    assert_int_equal(hash_set(entry, TEXT("f"), bytes_of(longest, 65), 0, NULL), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    destroy(entry);
    entry = make(1);
    hash_expect(entry, 129, 5);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    destroy(entry);
}

/* A hash that reports listpack keeps the order of insertion, beyond a page's usual size. */
static int in_order(const struct hash_field *field, void *ctx) {
    unsigned *next = ctx;
    char expected[32];
    snprintf(expected, sizeof expected, "%u", (*next)++);
    assert_true(bytes_equal(field->field, TEXT(expected)));
    return 0;
}
static void test_order(void **state) {
    (void)state;
    char value[64];
    memset(value, 'v', 64);
    struct entry *entry = hash_create(TEXT("key"));
    for (unsigned i = 0; i < 128; i++) {
        char field[32];
        snprintf(field, sizeof field, "%u", i);
        assert_int_equal(hash_set(entry, TEXT(field), bytes_of(value, 64), 0, NULL), 0);
    }
    unsigned next = 0;
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACK);
    assert_int_equal(hash_each(entry, in_order, &next), 0);
    assert_int_equal(hash_set(entry, TEXT("one more"), TEXT(""), 0, NULL), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_HASHTABLE);
    assert_true(is_large(entry));
    type_hash_ops.check(entry);
    const struct object *object = page_ref_object(entry_ref(entry));
    assert_true(object->dram_bytes / object->pages < 4096);
    destroy(entry);
}

/* Layout follows bytes alone. */
static void test_layout(void **state) {
    (void)state;
    struct entry *entry = make(128);
    assert_false(is_large(entry));
    destroy(entry);
    entry = make(1000);
    assert_true(is_large(entry));
    for (unsigned i = 0; i < 1000; i++) {
        char field[32];
        snprintf(field, sizeof field, "field:%06u", i);
        assert_int_equal(hash_delete(entry, TEXT(field)), 0);
        if (i % 50 == 0) type_hash_ops.check(entry);
    }
    struct object *object = page_ref_object(entry_ref(entry));
    assert_int_equal(entry->size, 0);
    assert_int_equal(object->pages, 0);
    assert_int_equal(object->dram_bytes, 0);
    assert_true(type_hash_ops.memory(entry, 0) < 400); /* the directory shrank again */
    destroy(entry);
}

/* Giants live alone, so that their neighbours stay cheap. */
static void test_giants(void **state) {
    (void)state;
    struct entry *entry = make(300);
    static char giant[300000];
    memset(giant, 'g', sizeof giant - 1);
    for (unsigned i = 0; i < 20; i++) {
        char field[32];
        snprintf(field, sizeof field, "giant%u", i);
        assert_int_equal(hash_set(entry, TEXT(field), TEXT(giant), 0, NULL), 0);
    }
    assert_int_equal(hash_set(entry, TEXT("field:000007"), TEXT(giant), 0, NULL), 0);
    type_hash_ops.check(entry);
    assert_value(entry, "giant19", giant);
    assert_value(entry, "field:000007", giant);
    assert_value(entry, "field:000008", "value:56");
    assert_int_equal(hash_set(entry, TEXT("field:000007"), TEXT("x"), 0, NULL), 0);
    assert_int_equal(hash_set_expiry(entry, TEXT("giant3"), 77), 0);
    assert_int_equal(hash_deadline(entry), 77);
    for (unsigned i = 0; i < 20; i++) {
        char field[32];
        snprintf(field, sizeof field, "giant%u", i);
        assert_int_equal(hash_delete(entry, TEXT(field)), 0);
    }
    type_hash_ops.check(entry);
    assert_int_equal(hash_deadline(entry), -1);
    assert_int_equal(hash_set(entry, bytes_of(giant, 600u << 20), TEXT(""), 0, NULL), FIRN_ETOOBIG);
    destroy(entry);
    entry = hash_create(TEXT("key")); /* a small one that is a giant */
    assert_int_equal(hash_set(entry, TEXT("a"), TEXT(giant), 0, NULL), 0);
    assert_false(is_large(entry));
    assert_int_equal(hash_set(entry, TEXT("b"), TEXT("c"), 0, NULL), 0);
    assert_value(entry, "a", giant);
    type_hash_ops.check(entry);
    destroy(entry);
}

static void test_deadlines(void **state) {
    (void)state;
    unsigned sizes[] = {3, 2000};
    for (unsigned s = 0; s < 2; s++) {
        struct entry *entry = make(sizes[s]);
        assert_int_equal(hash_deadline(entry), -1);
        assert_int_equal(hash_set_expiry(entry, TEXT("field:000001"), 500), 0);
        assert_int_equal(hash_set_expiry(entry, TEXT("field:000002"), 400), 0);
        assert_int_equal(hash_set_expiry(entry, TEXT("nobody"), 400), FIRN_ENOTFOUND);
        assert_int_equal(hash_deadline(entry), 400);
        assert_int_equal(hash_set(entry, TEXT("field:000002"), TEXT("10"), HASH_KEEP_EXPIRY, NULL), 0);
        assert_int_equal(hash_deadline(entry), 400);
        assert_int_equal(hash_set(entry, TEXT("field:000002"), TEXT("11"), 0, NULL), 0);
        assert_int_equal(hash_deadline(entry), 500);
        unsigned expired;
        assert_int_equal(hash_expire_fields(NULL, entry, 499, 10, &expired), 0);
        assert_int_equal(expired, 0);
        assert_int_equal(hash_expire_fields(NULL, entry, 500, 10, &expired), 0);
        assert_int_equal(expired, 1);
        assert_int_equal(hash_deadline(entry), -1);
        assert_int_equal(entry->size, sizes[s] - 1);
        for (unsigned i = 0; i < sizes[s]; i++) {
            char field[32];
            snprintf(field, sizeof field, "field:%06u", i);
            if (i != 1) assert_int_equal(hash_set_expiry(entry, TEXT(field), 1000 + i), 0);
        }
        type_hash_ops.check(entry);
        unsigned total = 0;
        while (hash_expire_fields(NULL, entry, 100000, 64, &expired) == 1) {
            assert_int_equal(expired, 64);
            total += expired;
        }
        assert_int_equal(total + expired, sizes[s] - 1);
        assert_int_equal(entry->size, 0);
        destroy(entry);
    }
}

/* --- RDB --- */

static struct entry *decode(uint8_t type, struct bytes body) {
    struct entry *entry = NULL;
    size_t consumed = 0;
    int error = type_hash_ops.decode(TEXT("key"), type, body, &consumed, 1, &entry);
    if (error != 0) return NULL;
    assert_int_equal(consumed, body.size);
    type_hash_ops.check(entry);
    return entry;
}

static int compare_field(const struct hash_field *field, void *ctx) {
    struct bytes value;
    int64_t expiry_ms;
    assert_int_equal(hash_get(ctx, field->field, &value, &expiry_ms), 0);
    assert_true(bytes_equal(field->value, value));
    assert_int_equal(field->expiry_ms, expiry_ms);
    return 0;
}

static void there_and_back(struct entry *entry, uint8_t expected_type) {
    struct bytes_builder body = {0};
    uint8_t type = 255;
    bytes_builder_append_text(&body, "before");
    assert_int_equal(type_hash_ops.encode(entry, &body, &type), 0);
    assert_int_equal(type, expected_type);
    struct bytes payload = bytes_of(body.data + 6, body.size - 6);
    struct entry *back = decode(type, payload);
    assert_non_null(back);
    assert_int_equal(back->size, entry->size);
    assert_int_equal(entry_encoding(back), entry_encoding(entry));
    assert_int_equal(hash_deadline(back), hash_deadline(entry));
    assert_int_equal(hash_each(entry, compare_field, back), 0);
    destroy(back);
    for (size_t cut = 0; cut < payload.size; cut += 1 + payload.size / 97) {
        struct entry *broken = decode(type, bytes_of(payload.data, cut));
        assert_null(broken);
    }
    bytes_builder_fini(&body);
}

static void test_rdb(void **state) {
    (void)state;
    struct entry *entry = make(100);
    there_and_back(entry, 16);
    hash_expect_expiry(entry);
    there_and_back(entry, 25); /* no deadline at all */
    assert_int_equal(hash_set_expiry(entry, TEXT("field:000050"), INT64_C(1900000000001)), 0);
    assert_int_equal(hash_set_expiry(entry, TEXT("field:000020"), INT64_C(1900000000000)), 0);
    there_and_back(entry, 25);
    destroy(entry);
    entry = make(5000);
    there_and_back(entry, 4);
    assert_int_equal(hash_set_expiry(entry, TEXT("field:000050"), INT64_C(1900000000001)), 0);
    assert_int_equal(hash_set_expiry(entry, TEXT("field:004000"), INT64_C(1900000000000)), 0);
    there_and_back(entry, 24);
    destroy(entry);
}

static void test_rdb_refused(void **state) {
    (void)state;
    struct bytes_builder body = {0};
    rdb_write_length(&body, 0);
    assert_null(decode(4, bytes_builder_bytes(&body))); /* empty */
    bytes_builder_clear(&body);
    rdb_write_length(&body, 2);
    for (unsigned i = 0; i < 4; i++)
        rdb_write_string(&body, TEXT("same"), 0);
    assert_null(decode(4, bytes_builder_bytes(&body))); /* twice */
    bytes_builder_clear(&body);
    struct bytes_builder listpack = {0};
    rdb_listpack_begin(&listpack);
    for (unsigned i = 0; i < 3; i++)
        rdb_listpack_append(&listpack, TEXT(i == 0 ? "a" : i == 1 ? "b" : "c"));
    rdb_listpack_end(&listpack, 0, 3);
    rdb_write_string(&body, bytes_builder_bytes(&listpack), 0);
    assert_null(decode(16, bytes_builder_bytes(&body))); /* odd */
    assert_null(decode(23, bytes_builder_bytes(&body))); /* deadline is no number */
    assert_null(decode(99, bytes_builder_bytes(&body)));
    bytes_builder_clear(&body);
    bytes_builder_clear(&listpack);
    rdb_listpack_begin(&listpack);
    rdb_listpack_append(&listpack, TEXT("1"));
    rdb_listpack_append(&listpack, TEXT("-7"));
    rdb_listpack_append(&listpack, TEXT("1800000000000"));
    rdb_listpack_end(&listpack, 0, 3);
    rdb_write_string(&body, bytes_builder_bytes(&listpack), 0);
    struct entry *entry = decode(23, bytes_builder_bytes(&body));
    assert_non_null(entry);
    assert_value(entry, "1", "-7");
    assert_int_equal(hash_deadline(entry), INT64_C(1800000000000));
    assert_int_equal(entry_encoding(entry), ENCODING_LISTPACKEX);
    destroy(entry);
    bytes_builder_fini(&listpack);
    bytes_builder_fini(&body);
}

/* A sweep offers each page of a resident hash once a round, but not those somebody else holds. */
static void test_victims(void **state) {
    (void)state;
    struct entry *entry = make(20000);
    struct object *object = page_ref_object(entry_ref(entry));
    static struct type_victim victims[1000];
    assert_true(object->pages > 50 && object->pages < 1000 && object->pages == object->pages_dram);
    unsigned found = 0;
    while (found < object->pages) {
        unsigned got = type_hash_ops.victims(object, PAGE_TAG_DRAM, 10, victims + found, 10);
        assert_true(got > 0 && got <= 10);
        found += got;
    }
    for (unsigned i = 0; i < object->pages; i++) {
        for (unsigned j = 0; j < i; j++)
            assert_true(victims[i].ref != victims[j].ref);
        assert_int_equal(*type_hash_ops.locate(object, victims[i].locator), victims[i].ref);
    }
    uint64_t held = victims[0].ref;
    page_ref_dram(held)->moving = 1;
    unsigned again = type_hash_ops.victims(object, PAGE_TAG_DRAM, object->pages, victims, 1000);
    assert_int_equal(again, object->pages - 1);
    for (unsigned i = 0; i < again; i++)
        assert_true(victims[i].ref != held);
    page_ref_dram(held)->moving = 0;
    assert_int_equal(type_hash_ops.victims(object, PAGE_TAG_PMEM, 100, victims, 10), 0);
    destroy(entry);
}

/* Random fields are about evenly drawn, within a page and over pages. */
static void test_random(void **state) {
    (void)state;
    struct entry *entry = make(1000);
    static unsigned drawn[1000];
    uint64_t sequence = 5;
    for (unsigned i = 0; i < 100000; i++) {
        struct hash_field field;
        assert_int_equal(hash_random(entry, &sequence, &field), 0);
        drawn[strtoul((const char *)field.field.data + 6, NULL, 10)]++;
    }
    for (unsigned i = 0; i < 1000; i++)
        assert_true(drawn[i] > 30 && drawn[i] < 250);
    uint64_t a = 9, b = 9;
    struct hash_field one, two;
    assert_int_equal(hash_random(entry, &a, &one), 0);
    assert_int_equal(hash_random(entry, &b, &two), 0);
    assert_true(bytes_equal(one.field, two.field) && a == b);
    destroy(entry);
}

/* Memory for a failing allocation leaves everything as it was. */
static struct entry *swept;
static void sweep_body(void *ctx) {
    (void)ctx;
    static char value[200];
    memset(value, 'v', sizeof value - 1);
    for (unsigned i = 0; i < 60; i++) {
        char field[32];
        snprintf(field, sizeof field, "s%u", i);
        int error = hash_set(swept, TEXT(field), TEXT(value), 0, NULL);
        assert_true(error == 0 || error == FIRN_ENOMEM);
        type_hash_ops.check(swept);
    }
}
static void sweep_verify(void *ctx) {
    (void)ctx;
    type_hash_ops.check(swept);
    destroy(swept);
    swept = hash_create(TEXT("key"));
}
static void test_no_memory(void **state) {
    (void)state;
    swept = hash_create(TEXT("key"));
    assert_true(fault_point_sweep(FAULT_MEMORY_TRY, 0, sweep_body, sweep_verify, NULL) > 10);
    destroy(swept);
}

int main(void) {
    hash_seed_init();
    random_seed(5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings), cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_order),     cmocka_unit_test(test_layout),
        cmocka_unit_test(test_giants),    cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_rdb),       cmocka_unit_test(test_rdb_refused),
        cmocka_unit_test(test_victims),   cmocka_unit_test(test_random),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
