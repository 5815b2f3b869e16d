/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/* Packed pages: every operation against a naive list, hostile bytes, deadlines, growth across tag groups,
 * splitting and joining. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "types/packed_page.h"

struct model_entry {
    uint8_t field[300], value[5000];
    size_t field_bytes, value_bytes;
    int64_t expiry;
};
static struct model_entry model[400];
static unsigned model_count;

static struct bytes model_field(unsigned i) {
    return bytes_of(model[i].field, model[i].field_bytes);
}
static struct bytes model_value(unsigned i) {
    return bytes_of(model[i].value, model[i].value_bytes);
}
static struct bytes payload_of(uint64_t ref) {
    return ref == 0 ? bytes_of(NULL, 0) : bytes_of(page_ref_dram(ref)->data, page_ref_dram(ref)->bytes);
}

static void verify(uint64_t ref, int values) {
    struct bytes payload = payload_of(ref);
    assert_int_equal(packed_page_check(payload), 0);
    assert_int_equal(packed_page_count(payload), model_count);
    struct packed_cursor cursor;
    struct packed_entry entry;
    int64_t deadline = -1;
    assert_int_equal(packed_page_begin(payload, &cursor), 0);
    for (unsigned i = 0; i < model_count; i++) {
        assert_int_equal(packed_page_next(&cursor, &entry), 1);
        assert_true(bytes_equal(entry.field, model_field(i)));
        if (values) assert_true(bytes_equal(entry.value, model_value(i)));
        assert_int_equal(entry.expiry_ms, model[i].expiry);
        if (model[i].expiry >= 0 && (deadline < 0 || model[i].expiry < deadline)) deadline = model[i].expiry;
        assert_int_equal(packed_page_at(payload, i, &entry), 0);
        assert_true(bytes_equal(entry.field, model_field(i)));
        assert_int_equal(packed_page_find(payload, hash_key(model_field(i)), model_field(i), &entry), 0);
        assert_int_equal(entry.index, i);
    }
    assert_int_equal(packed_page_next(&cursor, &entry), 0);
    assert_int_equal(packed_page_at(payload, model_count, &entry), FIRN_ENOTFOUND);
    assert_int_equal(packed_page_deadline(payload), deadline);
}

static void fill_random(uint8_t *to, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)('a' + random_below(3));
}

static void append(uint64_t *ref, unsigned flags, size_t field_max, size_t value_max) {
    struct model_entry *next = &model[model_count];
    for (;;) { /* a field that is not there yet */
        next->field_bytes = random_below(field_max);
        fill_random(next->field, next->field_bytes);
        unsigned same = 0;
        for (unsigned i = 0; i < model_count; i++)
            same += bytes_equal(model_field(i), model_field(model_count)) != 0;
        if (same == 0) break;
    }
    next->value_bytes = random_below(value_max);
    fill_random(next->value, next->value_bytes);
    next->expiry = random_below(4) == 0 ? (int64_t)random_below(1000) : -1;
    struct bytes field = model_field(model_count), value = model_value(model_count);
    size_t bytes = packed_page_bytes_with(payload_of(*ref), flags, field.size, value.size, next->expiry >= 0);
    int fresh = *ref == 0;
    struct page *page;
    assert_int_equal(page_write(ref, bytes, &page), 0);
    if (fresh) packed_page_init(page, 0, flags);
    packed_page_append(page, hash_key(field), field, value, next->expiry);
    assert_int_equal(page->bytes, bytes);
    model_count++;
}

static void replace(uint64_t *ref, size_t value_max) {
    unsigned i = (unsigned)random_below(model_count);
    struct packed_entry entry;
    assert_int_equal(packed_page_find(payload_of(*ref), hash_key(model_field(i)), model_field(i), &entry), 0);
    model[i].value_bytes = random_below(value_max);
    fill_random(model[i].value, model[i].value_bytes);
    model[i].expiry = random_below(3) == 0 ? (int64_t)random_below(1000) : -1;
    size_t bytes =
        packed_page_bytes_replaced(payload_of(*ref), &entry, model[i].value_bytes, model[i].expiry >= 0);
    struct page *page;
    assert_int_equal(page_write(ref, bytes, &page), 0);
    packed_page_replace(page, &entry, model_value(i), model[i].expiry);
    assert_true(page->bytes <= bytes);
}

static void set_expiry(uint64_t *ref) {
    unsigned i = (unsigned)random_below(model_count);
    struct packed_entry entry;
    assert_int_equal(packed_page_find(payload_of(*ref), hash_key(model_field(i)), model_field(i), &entry), 0);
    model[i].expiry = random_below(3) == 0 ? (int64_t)random_below(1000) : -1;
    struct page *page;
    assert_int_equal(page_write(ref, payload_of(*ref).size + 16, &page), 0);
    packed_page_set_expiry(page, &entry, model[i].expiry);
}

static void drop_model(unsigned i) {
    memmove(&model[i], &model[i + 1], (model_count - i - 1) * sizeof model[0]);
    model_count--;
}

static void remove_one(uint64_t *ref) {
    unsigned i = (unsigned)random_below(model_count);
    struct packed_entry entry;
    assert_int_equal(packed_page_find(payload_of(*ref), hash_key(model_field(i)), model_field(i), &entry), 0);
    struct page *page;
    assert_int_equal(page_write(ref, 0, &page), 0);
    packed_page_remove(page, &entry);
    drop_model(i);
}

static unsigned expired_seen;
static void on_expired(struct bytes field, void *ctx) {
    (void)ctx;
    for (unsigned i = 0; i < model_count; i++) {
        if (!bytes_equal(field, model_field(i))) continue;
        drop_model(i);
        expired_seen++;
        return;
    }
    fail();
}

static void random_operations(unsigned flags, size_t field_max, size_t value_max, unsigned count_max) {
    uint64_t ref = 0;
    model_count = 0;
    for (unsigned round = 0; round < 6000; round++) {
        unsigned grow = round / 1000 % 2 == 0 ? 6 : 3, dice = (unsigned)random_below(10);
        if (model_count == 0 || (dice < grow && model_count < count_max)) {
            append(&ref, flags, field_max, value_max);
        } else if (dice < 8) {
            remove_one(&ref);
        } else if (dice == 8) {
            set_expiry(&ref);
        } else {
            replace(&ref, value_max);
        }
        if (random_below(100) == 0 && model_count > 0) {
            struct page *page;
            assert_int_equal(page_write(&ref, 0, &page), 0);
            int64_t now = (int64_t)random_below(300);
            unsigned limit = (unsigned)random_below(20), before = expired_seen;
            unsigned gone = packed_page_expire(page, now, limit, on_expired, NULL);
            assert_int_equal(gone, expired_seen - before);
            assert_true(gone == limit || packed_page_deadline(payload_of(ref)) < 0 ||
                        packed_page_deadline(payload_of(ref)) > now);
        }
        if (round % 7 == 0 || model_count < 20) verify(ref, !(flags & PACKED_NO_VALUES));
    }
    page_release(ref);
}

static void test_operations(void **state) {
    (void)state;
    random_operations(0, 12, 20, 40);
    random_operations(0, 12, 20, 300);
    random_operations(0, 200, 3000, 100);
    random_operations(PACKED_NO_VALUES, 12, 1, 120);
}

static void test_empty_strings(void **state) {
    (void)state;
    uint64_t ref = 0;
    struct page *page;
    struct bytes empty = bytes_of("", 0);
    assert_int_equal(page_write(&ref, packed_page_bytes_with(empty, 0, 0, 0, 0), &page), 0);
    packed_page_init(page, 0, 0);
    packed_page_append(page, hash_key(empty), empty, empty, -1);
    struct packed_entry entry;
    assert_int_equal(packed_page_find(payload_of(ref), hash_key(empty), empty, &entry), 0);
    assert_int_equal(entry.value.size, 0);
    page_release(ref);
}

static void test_split_and_join(void **state) {
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        uint64_t ref = 0;
        model_count = 0;
        unsigned count = 1 + (unsigned)random_below(200);
        while (model_count < count)
            append(&ref, 0, 12, 20);
        struct page *zero, *one;
        unsigned bit = 63 - (unsigned)random_below(8);
        assert_int_equal(packed_page_split(payload_of(ref), bit, NULL, &zero, &one), 0);
        unsigned found = 0;
        for (unsigned side = 0; side < 2; side++) {
            struct page *page = side ? one : zero;
            if (page == NULL) continue;
            struct bytes payload = bytes_of(page->data, page->bytes);
            assert_int_equal(packed_page_check(payload), 0);
            found += packed_page_count(payload);
            struct packed_cursor cursor;
            struct packed_entry entry, again;
            assert_int_equal(packed_page_begin(payload, &cursor), 0);
            while (packed_page_next(&cursor, &entry) == 1) {
                assert_int_equal(hash_key(entry.field) >> bit & 1u, side);
                assert_int_equal(
                    packed_page_find(payload_of(ref), hash_key(entry.field), entry.field, &again), 0);
                assert_true(bytes_equal(entry.value, again.value));
                assert_int_equal(entry.expiry_ms, again.expiry_ms);
            }
        }
        assert_int_equal(found, count);
        if (zero != NULL && one != NULL) {
            struct page *joined;
            assert_int_equal(
                packed_page_join(bytes_of(zero->data, zero->bytes), bytes_of(one->data, one->bytes), &joined),
                0);
            assert_int_equal(packed_page_check(bytes_of(joined->data, joined->bytes)), 0);
            assert_int_equal(packed_page_count(bytes_of(joined->data, joined->bytes)), count);
            page_free_unshared(joined);
        }
        if (zero != NULL) page_free_unshared(zero);
        if (one != NULL) page_free_unshared(one);
        page_release(ref);
    }
}

/* Reading must stay inside whatever it is given (run under ASan: the copy is exactly as large as the
 * payload). */
static void read_all(struct bytes payload) {
    struct packed_cursor cursor;
    struct packed_entry entry;
    uint64_t sum = 0;
    if (packed_page_begin(payload, &cursor) == 0) {
        while (packed_page_next(&cursor, &entry) == 1) {
            for (size_t i = 0; i < entry.field.size; i++)
                sum += entry.field.data[i];
            for (size_t i = 0; i < entry.value.size; i++)
                sum += entry.value.data[i];
        }
    }
    for (unsigned i = 0; i < 64; i++) {
        struct bytes field = bytes_of_text("abc");
        if (packed_page_find(payload, i, field, &entry) == 0 && entry.value.size > 0)
            sum += entry.value.data[entry.value.size - 1];
        if (packed_page_at(payload, i * 5, &entry) == 0 && entry.field.size > 0) sum += entry.field.data[0];
    }
    struct page *zero = NULL, *one = NULL;
    if (packed_page_check(payload) == 0 && packed_page_split(payload, 63, NULL, &zero, &one) == 0) {
        if (zero != NULL) page_free_unshared(zero);
        if (one != NULL) page_free_unshared(one);
    }
    assert_true(sum != UINT64_MAX);
}

static void test_hostile(void **state) {
    (void)state;
    uint64_t ref = 0;
    model_count = 0;
    while (model_count < 60)
        append(&ref, 0, 12, 20);
    struct bytes payload = payload_of(ref);
    unsigned refused = 0;
    for (unsigned round = 0; round < 40000; round++) {
        size_t bytes = random_below(4) == 0 ? random_below(payload.size + 1) : payload.size;
        uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
        memcpy(copy, payload.data, bytes);
        unsigned flips = (unsigned)random_below(4);
        for (unsigned i = 0; i < flips && bytes > 0; i++) {
            size_t at = random_below(2) == 0 ? random_below(bytes < 24 ? bytes : 24) : random_below(bytes);
            copy[at] = (uint8_t)random_u64();
        }
        refused += packed_page_check(bytes_of(copy, bytes)) != 0;
        read_all(bytes_of(copy, bytes));
        free(copy);
    }
    assert_true(refused > 1000);
    page_release(ref);
}

int main(void) {
    hash_seed_init();
    random_seed(7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_empty_strings),
        cmocka_unit_test(test_split_and_join),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
