/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds */
/* Listpacks: what is written is read back in both directions; bytes that are wrong are refused, never
 * overrun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes_builder.h"
#include "base/random.h"
#include "ds/listpack.h"
#include "ds/number.h"
#include "ds/rdb_format.h"

static const int64_t numbers[] = {0,      1,         127,       128,       -1,          4095,
                                  4096,   -4096,     -4097,     32767,     32768,       -32768,
                                  -32769, 8388607,   -8388608,  8388608,   INT32_MAX,   INT32_MIN,
                                  65535,  1LL << 40, INT64_MAX, INT64_MIN, 2147483648LL};
#define NUMBERS (sizeof numbers / sizeof numbers[0])

static void test_integers(void **state) {
    (void)state;
    for (size_t i = 0; i < NUMBERS; i++) {
        uint8_t bytes[LISTPACK_INTEGER_BYTES_MAX + 1];
        size_t size = (size_t)(listpack_put_integer(bytes, numbers[i]) - bytes);
        assert_int_equal(size, listpack_integer_bytes(numbers[i]));
        bytes[size] = LISTPACK_END;
        struct listpack_reader reader = {bytes, bytes + size, 0};
        int64_t value;
        assert_int_equal(listpack_read_integer(&reader, &value), 0);
        assert_true(value == numbers[i] && listpack_at_end(&reader));
        assert_int_equal(listpack_back(&reader, bytes, 1), 0);
        assert_ptr_equal(reader.at, bytes);
        assert_int_equal(listpack_back(&reader, bytes, 1), FIRN_ECORRUPT);
    }
}

static void test_texts(void **state) {
    static const size_t sizes[] = {0,   1,    63,   64,    125,   126,   127,
                                   128, 4095, 4096, 16380, 16384, 70000, 2097160};
    (void)state;
    struct bytes_builder out = {0};
    char *text = malloc(3u << 20);
    memset(text, 'x', 3u << 20);
    rdb_listpack_begin(&out);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        rdb_listpack_append(&out, bytes_of(text, sizes[i]));
    rdb_listpack_append(&out, bytes_of_text("-12"));
    rdb_listpack_append(&out, bytes_of_text("012"));
    rdb_listpack_end(&out, 0, sizeof sizes / sizeof sizes[0] + 2);
    assert_int_equal(listpack_check(bytes_builder_bytes(&out)), 0);
    struct listpack_reader reader;
    struct listpack_element element;
    assert_int_equal(listpack_open(bytes_builder_bytes(&out), &reader), 0);
    const uint8_t *start = reader.at;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(listpack_read(&reader, &element), 0);
        assert_true(element.text != NULL && element.size == sizes[i]);
        assert_true(listpack_equal(&element, bytes_of(text, sizes[i])));
    }
    assert_int_equal(listpack_read(&reader, &element), 0);
    assert_true(element.text == NULL && element.integer == -12 &&
                listpack_equal(&element, bytes_of_text("-12")));
    assert_int_equal(listpack_read(&reader, &element), 0);
    assert_true(element.text != NULL && listpack_equal(&element, bytes_of_text("012")));
    assert_int_equal(listpack_read(&reader, &element), FIRN_ECORRUPT);
    assert_int_equal(listpack_back(&reader, start, sizeof sizes / sizeof sizes[0] + 2), 0);
    assert_ptr_equal(reader.at, start);
    free(text);
    bytes_builder_fini(&out);
}

/* Any byte changed, any length cut: refused or read, but never out of bounds (for the sanitizer to see). */
static void test_damage(void **state) {
    (void)state;
    struct bytes_builder out = {0};
    rdb_listpack_begin(&out);
    for (int i = 0; i < 40; i++) {
        char digits[NUMBER_INT_TEXT_MAX];
        rdb_listpack_append(&out, bytes_of(digits, number_format_int(numbers[(size_t)i % NUMBERS], digits)));
        rdb_listpack_append(
            &out, bytes_of("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrs",
                           (size_t)i + 30));
    }
    rdb_listpack_end(&out, 0, 80);
    assert_int_equal(listpack_check(bytes_builder_bytes(&out)), 0);
    for (unsigned round = 0; round < 20000; round++) {
        size_t size = out.size;
        uint8_t *copy = malloc(size);
        memcpy(copy, out.data, size);
        for (unsigned n = random_below(3) + 1; n > 0; n--)
            copy[6 + random_below((uint32_t)size - 7)] = (uint8_t)random_below(256);
        struct listpack_reader reader;
        struct listpack_element element;
        if (listpack_open(bytes_of(copy, size), &reader) == 0) {
            const uint8_t *start = reader.at;
            unsigned count = 0;
            while (listpack_read(&reader, &element) == 0)
                count++;
            int error = listpack_back(&reader, start, count);
            assert_true(reader.at >= start && (error == 0 || error == FIRN_ECORRUPT));
        }
        (void)!listpack_check(bytes_of(copy, size));
        free(copy);
    }
    bytes_builder_fini(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
