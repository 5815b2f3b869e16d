/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds firn_base */
/* Goal: numbers, bits, histograms and RDB primitives follow Redis. Method: tables; round trips. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "ds/bits.h"
#include "ds/histogram.h"
#include "ds/number.h"
#include "ds/rdb_format.h"
#include "ds/shortest.h"

static void test_integers(void **state) {
    static const struct {
        const char *text;
        int ok;
        int64_t value;
    } cases[] = {
        {"0", 1, 0},   {"-1", 1, -1},
        {"12", 1, 12}, {"9223372036854775807", 1, INT64_MAX},
        {"", 0, 0},    {"-9223372036854775808", 1, INT64_MIN},
        {"-", 0, 0},   {"9223372036854775808", 0, 0},
        {"-0", 0, 0},  {"-9223372036854775809", 0, 0},
        {"01", 0, 0},  {"+1", 0, 0},
        {" 1", 0, 0},  {"1 ", 0, 0},
        {"1a", 0, 0},  {"18446744073709551616", 0, 0},
        {"-01", 0, 0}, {"99999999999999999999", 0, 0},
        {"1e3", 0, 0}, {"100000000000000000000", 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = 77;
        assert_int_equal(number_parse_int(bytes_of_text(cases[i].text), &value) == 0, cases[i].ok);
        if (cases[i].ok) assert_true(value == cases[i].value);
    }
    uint64_t unsigned_value;
    assert_int_equal(number_parse_uint(bytes_of_text("18446744073709551615"), &unsigned_value), 0);
    assert_true(unsigned_value == UINT64_MAX);
    for (int i = 0; i < 20000; i++) {
        char ours[NUMBER_INT_TEXT_MAX], theirs[32];
        int64_t value = (int64_t)(random_u64() >> random_below(64)) * (random_below(2) ? 1 : -1);
        snprintf(theirs, sizeof theirs, "%lld", (long long)value);
        assert_int_equal(number_format_int(value, ours), strlen(theirs));
        assert_string_equal(ours, theirs);
        assert_int_equal(number_int_length(value), strlen(theirs));
    }
}

/* Goal: the digits are the fewest that read back, and the nearest of those. Method: against printf with one
 * digit more at a time. Powers of two have the next lower double nearer than the next higher one, so a form
 * that printf does not try may be shorter there. */
static void check_shortest(double value) {
    char text[40], digits[24];
    struct shortest shortest = shortest_of(value);
    int precision = 0, count = snprintf(digits, sizeof digits, "%" PRIu64, shortest.digits), unused;
    do
        snprintf(text, sizeof text, "%.*e", precision++, value);
    while (strtod(text, NULL) != value);
    if (count == precision && precision > 1) memmove(text + 1, text + 2, strlen(text + 1));
    if (count != precision || strncmp(text, digits, (size_t)count) != 0) {
        assert_true(frexp(value, &unused) == 0.5 && count <= precision);
    }
    snprintf(text, sizeof text, "%se%d", digits, shortest.exponent);
    assert_true(strtod(text, NULL) == value);
}

static void test_shortest(void **state) {
    (void)state;
    for (int exponent = -1074; exponent < 1024; exponent++) {
        double power = ldexp(1, exponent);
        check_shortest(power);
        check_shortest(nextafter(power, INFINITY));
        check_shortest(nextafter(2 * power, 0));
    }
    for (int i = 0; i < 30000; i++) {
        uint64_t bits = random_u64() >> 1;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value) && value > 0) check_shortest(value);
        check_shortest((double)(1 + random_below(1000000)) / 1000); /* few digits */
        check_shortest((double)(1 + random_u64() % 1000) * pow(10, (double)random_below(40) - 20));
        check_shortest(5e-324 * (double)(1 + random_below(5000)));
    }
}

static void test_fixed4(void **state) {
    static const double special[] = {0,    -0.0,    0.00004,     0.00006,       1,
                                     -1.5, 9.99996, 99999.99999, 99999999999.0, 1e11,
                                     1e22, -1e11,   1e300,       -3e7,          20015086.796};
    char ours[NUMBER_FIXED_TEXT_MAX], theirs[NUMBER_FIXED_TEXT_MAX];
    (void)state;
    for (int i = 0; i < 50000; i++) {
        double value = (double)(random_u64() >> 11) / 9007199254740992.0 * pow(10, (double)random_below(9));
        if ((size_t)i < sizeof special / sizeof *special) value = special[i];
        snprintf(theirs, sizeof theirs, "%.4f", value);
        assert_int_equal(number_format_fixed4(value, ours), strlen(theirs));
        assert_string_equal(ours, theirs);
    }
}

static void test_doubles(void **state) {
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {1.1, "1.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1e17, "100000000000000000"},
        {4611686018427387904.0, "4611686018427387904"},
        {1e20, "1e+20"},
        {2.5e-8, "2.5e-8"},
        {-1234.5e-9, "-1.2345e-6"},
        {4.35e24, "4.35e+24"},
        {12345678901234567e4, "123456789012345670000"},
        {1e21, "1e+21"},
        {1.5e300, "1.5e+300"},
        {-2.5, "-2.5"},
        {1e-5, "0.00001"},
        {1e-7, "1e-7"},
        {123456.789, "123456.789"},
        {5e-324, "5e-324"},
        {3.0e-6, "0.000003"},
    };
    (void)state;
    char text[NUMBER_DOUBLE_TEXT_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        number_format_double(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
    }
    for (int i = 0; i < 20000; i++) {
        union {
            uint64_t bits;
            double value;
        } any = {random_u64()};
        double back;
        if (any.value != any.value || any.value > 1.7e308 || any.value < -1.7e308) continue;
        unsigned length = number_format_double(any.value, text);
        assert_int_equal(length, strlen(text));
        assert_int_equal(number_parse_double(bytes_of_text(text), &back), 0);
        assert_true(back == any.value);
    }
    static const char *const bad[] = {"", " 1", "1 ", "nan", "1e", "abc", "1e999", "0x", "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double value;
        assert_int_not_equal(number_parse_double(bytes_of_text(bad[i]), &value), 0);
    }
    char wide[NUMBER_LONG_DOUBLE_TEXT_MAX];
    number_format_long_double(3.0e3L, wide);
    assert_string_equal(wide, "3000");
    number_format_long_double(10.6L, wide);
    assert_string_equal(wide, "10.6");
    number_format_long_double(-0.0L, wide);
    assert_string_equal(wide, "0");
}

static void test_bits(void **state) {
    (void)state;
    uint8_t bytes[200];
    for (int round = 0; round < 2000; round++) {
        size_t size = random_below(sizeof bytes + 1), from = random_below(size + 1);
        uint64_t count = 0;
        int64_t first[2] = {-1, -1};
        int sparse = (int)random_below(3);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = sparse == 0 ? (uint8_t)random_u64()
                                   : (uint8_t)((sparse == 1 ? 0 : 0xff) ^
                                               (random_below(90) == 0 ? 1 << random_below(8) : 0));
        for (size_t bit = 0; bit < (size - from) * 8; bit++) {
            int value = bytes[from + bit / 8] >> (7 - bit % 8) & 1;
            count += (uint64_t)value;
            if (first[value] < 0) first[value] = (int64_t)bit;
        }
        struct bytes part = bytes_of(bytes + from, size - from);
        assert_true(bits_count(part) == count && bits_first(part, 0) == first[0] &&
                    bits_first(part, 1) == first[1]);
        unsigned width = 1 + (unsigned)random_below(64), offset = (unsigned)random_below(8);
        uint64_t value = random_u64(), mask = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
        uint64_t expected = 0;
        for (unsigned bit = 0; bit < width; bit++)
            expected = expected << 1 | (bytes[(offset + bit) / 8] >> (7 - (offset + bit) % 8) & 1);
        assert_true(bits_get(bytes, offset, width) == expected);
        uint8_t head = bytes[0];
        bits_set(bytes, offset, width, value);
        assert_true(bits_get(bytes, offset, width) == (value & mask));
        if (offset > 0) assert_int_equal(bytes[0] >> (8 - offset), head >> (8 - offset));
    }
}

static void test_histogram(void **state) {
    (void)state;
    struct histogram *histogram = calloc(1, sizeof *histogram), *other = calloc(1, sizeof *other);
    for (uint64_t value = 1; value <= 100000; value++)
        histogram_record(histogram, value);
    assert_in_range(histogram_percentile(histogram, 50), 49000, 52000);
    assert_in_range(histogram_percentile(histogram, 99), 98000, 100000);
    assert_int_equal(histogram_percentile(histogram, 100), 100000);
    assert_int_equal(histogram_mean(histogram), 50000);
    assert_in_range(histogram_count_to(histogram, 1024), 1000, 1060);
    histogram_record(other, UINT64_MAX);
    histogram_record(other, 0);
    histogram_merge(histogram, other);
    assert_int_equal(histogram->count, 100002);
    assert_int_equal(histogram->min, 0);
    assert_true(histogram->max == HISTOGRAM_VALUE_MAX);
    histogram_reset(histogram);
    assert_int_equal(histogram_percentile(histogram, 50), 0);
    free(histogram);
    free(other);
}

static void test_rdb_strings(void **state) {
    (void)state;
    struct bytes_builder out = {0}, scratch = {0};
    char big[70000];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i % 7 + (i / 500) % 50);
    static const char *const texts[] = {"",       "a",          "12",         "-12", "300",
                                        "-70000", "2147483647", "2147483648", "012", "-0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] + 6; i++) {
        struct bytes text = i < 10 ? bytes_of_text(texts[i])
                                   : bytes_of(big, (size_t[]){21, 64, 100, 16384, 70000, 20}[i - 10]);
        for (int compress = 0; compress < 2; compress++) {
            struct bytes read;
            bytes_builder_clear(&out);
            rdb_write_string(&out, text, compress);
            struct rdb_reader reader = rdb_reader_of(bytes_builder_bytes(&out));
            assert_int_equal(rdb_read_string(&reader, &scratch, SIZE_MAX, &read), 0);
            assert_true(bytes_equal(read, text));
            assert_int_equal(reader.left, 0);
            for (size_t cut = 0; cut < out.size && cut < 200; cut++) {
                reader = rdb_reader_of(bytes_of(out.data, cut));
                assert_int_equal(rdb_read_string(&reader, &scratch, SIZE_MAX, &read), FIRN_ECORRUPT);
            }
        }
    }
    uint64_t lengths[] = {0, 63, 64, 16383, 16384, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < 8; i++) {
        uint64_t length;
        bytes_builder_clear(&out);
        rdb_write_length(&out, lengths[i]);
        struct rdb_reader reader = rdb_reader_of(bytes_builder_bytes(&out));
        assert_int_equal(rdb_read_length(&reader, &length), 0);
        assert_true(length == lengths[i]);
    }
    bytes_builder_fini(&out);
    bytes_builder_fini(&scratch);
}

static void test_payload(void **state) {
    (void)state;
    assert_true(rdb_crc64(0, bytes_of_text("123456789")) == UINT64_C(0xe9c6d914c4b8d9ca));
    struct bytes_builder out = {0};
    bytes_builder_append_text(&out, "");
    bytes_builder_append_byte(&out, RDB_TYPE_STRING);
    rdb_write_string(&out, bytes_of_text("hello"), 1);
    rdb_payload_finish(&out);
    uint8_t type = 9;
    struct bytes body;
    assert_int_equal(rdb_payload_open(bytes_builder_bytes(&out), &type, &body), 0);
    assert_int_equal(type, RDB_TYPE_STRING);
    assert_int_equal(body.size, 6);
    for (size_t i = 0; i < out.size; i++) {
        out.data[i] ^= 1;
        assert_int_equal(rdb_payload_open(bytes_builder_bytes(&out), &type, &body), FIRN_ECORRUPT);
        out.data[i] ^= 1;
    }
    bytes_builder_fini(&out);
}

static void test_listpack(void **state) {
    (void)state;
    static const char *const elements[] = {
        "a",    "1",     "127",   "128",    "-1",      "-4096",      "4095",
        "4096", "-4097", "32767", "-70000", "8388608", "2147483648", "-9223372036854775808",
        "",     "0012",  "3.5"};
    struct bytes_builder out = {0};
    char big[5000];
    memset(big, 'x', sizeof big);
    size_t count = sizeof elements / sizeof elements[0];
    rdb_listpack_begin(&out);
    for (size_t i = 0; i < count; i++)
        rdb_listpack_append(&out, bytes_of_text(elements[i]));
    rdb_listpack_append(&out, bytes_of(big, 100));
    rdb_listpack_append(&out, bytes_of(big, 5000));
    rdb_listpack_end(&out, 0, count + 2);
    struct rdb_packed packed;
    struct bytes element;
    assert_int_equal(rdb_packed_open(&packed, RDB_PACKED_LISTPACK, bytes_builder_bytes(&out)), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rdb_packed_next(&packed, &element), 1);
        assert_true(bytes_equal(element, bytes_of_text(elements[i])));
    }
    assert_int_equal(rdb_packed_next(&packed, &element), 1);
    assert_int_equal(element.size, 100);
    assert_int_equal(rdb_packed_next(&packed, &element), 1);
    assert_int_equal(element.size, 5000);
    assert_int_equal(rdb_packed_next(&packed, &element), 0);
    /* any damage: an error or other elements, but within bounds and finite */
    for (int round = 0; round < 20000; round++) {
        uint8_t copy[256];
        size_t size = out.size < sizeof copy ? out.size : sizeof copy;
        memcpy(copy, out.data, size);
        for (int flips = 0; flips < 3; flips++)
            copy[random_below(size)] = (uint8_t)random_u64();
        copy[size - 1] = 0xff;
        for (enum rdb_packed_kind kind = RDB_PACKED_LISTPACK; kind <= RDB_PACKED_ZIPMAP; kind++) {
            bytes_store32(copy, (uint32_t)size);
            if (rdb_packed_open(&packed, kind, bytes_of(copy, size)) != 0) continue;
            int steps = 0;
            while (rdb_packed_next(&packed, &element) == 1)
                assert_true(++steps < 1000);
        }
    }
    bytes_builder_fini(&out);
}

static void test_ziplist_zipmap(void **state) {
    (void)state;
    static const uint8_t ziplist[] = {0x19, 0,    0, 0, 0x13, 0,   0, 0,    4,    0,    0, 1,   'a',
                                      3,    0xf3, 2, 2, 'b',  'c', 4, 0xc0, 0x39, 0x30, 0, 0xff};
    static const char *const expected[] = {"a", "2", "bc", "12345"};
    struct rdb_packed packed;
    struct bytes element;
    uint8_t raw[sizeof ziplist - 1];
    memcpy(raw, ziplist, sizeof raw - 1);
    raw[sizeof raw - 1] = 0xff;
    bytes_store32(raw, sizeof raw);
    assert_int_equal(rdb_packed_open(&packed, RDB_PACKED_ZIPLIST, bytes_of(raw, sizeof raw)), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rdb_packed_next(&packed, &element), 1);
        assert_true(bytes_equal(element, bytes_of_text(expected[i])));
    }
    assert_int_equal(rdb_packed_next(&packed, &element), 0);
    static const uint8_t zipmap[] = {2, 1, 'k', 2, 1, 'v', 'w', 0, 1, 'x', 0, 0, 0xff};
    assert_int_equal(rdb_packed_open(&packed, RDB_PACKED_ZIPMAP, bytes_of(zipmap, sizeof zipmap)), 0);
    static const char *const pairs[] = {"k", "vw", "x", ""};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rdb_packed_next(&packed, &element), 1);
        assert_true(bytes_equal(element, bytes_of_text(pairs[i])));
    }
    assert_int_equal(rdb_packed_next(&packed, &element), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),    cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_shortest),    cmocka_unit_test(test_fixed4),
        cmocka_unit_test(test_bits),        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_rdb_strings), cmocka_unit_test(test_payload),
        cmocka_unit_test(test_listpack),    cmocka_unit_test(test_ziplist_zipmap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
