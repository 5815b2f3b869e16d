/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_proto firn_base */
/* Goal: exact bytes of every reply call in both versions, rollback, deferred headers, chunk borders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <math.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "proto/reply.h"

/* All bytes of the reply, NUL-terminated; the caller frees. The reply is emptied. */
static char *drain(struct reply *reply, size_t *size_out) {
    size_t bytes, at = 0;
    struct reply_chunk *chunk = reply_take(reply, &bytes);
    char *all = malloc(bytes + 1);
    while (chunk) {
        struct reply_chunk *next = chunk->next;
        memcpy(all + at, chunk->data, chunk->used);
        at += chunk->used;
        reply_chunk_free(chunk);
        chunk = next;
    }
    assert_int_equal(at, bytes);
    all[at] = 0;
    if (size_out) *size_out = at;
    return all;
}

static void expect(struct reply *reply, const char *text) {
    char *all = drain(reply, NULL);
    assert_string_equal(all, text);
    free(all);
}

static struct reply fresh(unsigned version) {
    struct reply reply;
    reply_init(&reply);
    reply.version = version;
    return reply;
}

static void test_simple(void **state) {
    (void)state;
    struct reply reply = fresh(2);
    reply_ok(&reply);
    reply_status(&reply, "PONG");
    expect(&reply, "+OK\r\n+PONG\r\n");
    reply_integer(&reply, 0);
    reply_integer(&reply, -1);
    reply_integer(&reply, INT64_MAX);
    reply_integer(&reply, INT64_MIN);
    expect(&reply, ":0\r\n:-1\r\n:9223372036854775807\r\n:-9223372036854775808\r\n");
    reply_bulk_text(&reply, "hello");
    reply_bulk_text(&reply, "");
    reply_bulk_integer(&reply, -12345);
    reply_bulk_format(&reply, "%s=%d", "a", 1);
    expect(&reply, "$5\r\nhello\r\n$0\r\n\r\n$6\r\n-12345\r\n$3\r\na=1\r\n");
    reply_bulk_begin(&reply, 6);
    reply_bulk_part(&reply, bytes_of_text("foo"));
    reply_bulk_part(&reply, bytes_of_text("bar"));
    reply_bulk_end(&reply);
    expect(&reply, "$6\r\nfoobar\r\n");
    reply_null(&reply);
    reply_null_array(&reply);
    reply_boolean(&reply, 1);
    reply_boolean(&reply, 0);
    reply_big_number(&reply, "123");
    reply_verbatim(&reply, "txt", bytes_of_text("abc"));
    expect(&reply, "$-1\r\n*-1\r\n:1\r\n:0\r\n$3\r\n123\r\n$3\r\nabc\r\n");
    reply.version = 3;
    reply_null(&reply);
    reply_null_array(&reply);
    reply_boolean(&reply, 1);
    reply_boolean(&reply, 0);
    reply_big_number(&reply, "123");
    reply_verbatim(&reply, "txt", bytes_of_text("abc"));
    expect(&reply, "_\r\n_\r\n#t\r\n#f\r\n(123\r\n=7\r\ntxt:abc\r\n");
    reply_fini(&reply);
}

static void test_every_integer_length(void **state) {
    (void)state;
    struct reply reply = fresh(2);
    random_seed(1);
    for (int i = 0; i < 5000; i++) {
        int64_t value = (int64_t)(random_u64() >> random_below(64));
        if (random_below(2)) value = -value;
        char text[32];
        snprintf(text, sizeof text, ":%lld\r\n", (long long)value);
        reply_integer(&reply, value);
        expect(&reply, text);
    }
}

static void test_doubles(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-1, "-1"},
        {3.1, "3.1"},
        {0.1, "0.1"},
        {1.5, "1.5"},
        {-2.25, "-2.25"},
        {1e15, "1000000000000000"},
        {1e17, "100000000000000000"},
        {1e20, "1e+20"},
        {1.5e300, "1.5e+300"},
        {1e-5, "0.00001"},
        {1e-7, "1e-7"},
        {123456.789, "123456.789"},
        {0.1 + 0.2, "0.30000000000000004"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[80];
        struct reply reply = fresh(3);
        reply_double(&reply, rows[i].value);
        snprintf(text, sizeof text, ",%s\r\n", rows[i].text);
        expect(&reply, text);
        reply.version = 2;
        reply_double(&reply, rows[i].value);
        snprintf(text, sizeof text, "$%zu\r\n%s\r\n", strlen(rows[i].text), rows[i].text);
        expect(&reply, text);
    }
    random_seed(2);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = random_u64();
        double value;
        memcpy(&value, &bits, 8);
        if (isnan(value) || isinf(value)) continue;
        struct reply reply = fresh(3);
        reply_double(&reply, value);
        char *all = drain(&reply, NULL);
        assert_true(strtod(all + 1, NULL) == value);
        free(all);
    }
}

static void test_aggregates(void **state) {
    (void)state;
    struct reply reply = fresh(2);
    reply_array(&reply, 0);
    reply_array(&reply, 12);
    reply_map(&reply, 3);
    reply_set(&reply, 100);
    reply_push(&reply, 2);
    expect(&reply, "*0\r\n*12\r\n*6\r\n*100\r\n*2\r\n");
    reply.version = 3;
    reply_array(&reply, 1);
    reply_map(&reply, 3);
    reply_set(&reply, 4);
    reply_push(&reply, 5);
    reply_attribute(&reply, 1);
    expect(&reply, "*1\r\n%3\r\n~4\r\n>5\r\n|1\r\n");
}

static void test_later(void **state) {
    (void)state;
    for (unsigned version = 2; version <= 3; version++) {
        struct reply reply = fresh(version);
        struct reply_later outer = reply_later_open(&reply, '%');
        reply_bulk_text(&reply, "a");
        struct reply_later inner = reply_later_open(&reply, '*');
        reply_integer(&reply, 1);
        reply_integer(&reply, 2);
        reply_later_close(&reply, inner, 2);
        reply_later_close(&reply, outer, 1);
        struct reply_later empty = reply_later_open(&reply, '~');
        reply_later_close(&reply, empty, 0);
        expect(&reply, version == 2 ? "*2\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n*0\r\n"
                                    : "%1\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n~0\r\n");
    }
    /* across many chunks */
    struct reply reply = fresh(2);
    struct reply_later later = reply_later_open(&reply, '*');
    for (int i = 0; i < 20000; i++)
        reply_bulk_text(&reply, "0123456789");
    reply_later_close(&reply, later, 20000);
    size_t size;
    char *all = drain(&reply, &size);
    assert_int_equal(size, strlen("*20000\r\n") + 20000 * 17);
    assert_memory_equal(all, "*20000\r\n$10\r\n", 13);
    assert_memory_equal(all + size - 17, "$10\r\n0123456789\r\n", 17);
    free(all);
}

static void test_errors(void **state) {
    (void)state;
    struct reply reply = fresh(2);
    reply_error(&reply, "syntax error");
    assert_string_equal(reply.last_error, "ERR");
    reply_error(&reply, "-WRONGTYPE Operation");
    assert_string_equal(reply.last_error, "WRONGTYPE");
    reply_error(&reply, "a\r\nb\n");
    reply_error_format(&reply, "-NOGROUP %s", "x\ny");
    assert_int_equal(reply.errors, 4);
    expect(&reply, "-ERR syntax error\r\n-WRONGTYPE Operation\r\n-ERR a  b\r\n-NOGROUP x y\r\n");
    char *longer = malloc(5001);
    memset(longer, 'x', 5000);
    longer[5000] = 0;
    reply_error_format(&reply, "%s", longer);
    size_t size;
    free(drain(&reply, &size));
    assert_int_equal(size, 5000 + 7);
    free(longer);
}

static void test_rollback(void **state) {
    (void)state;
    struct reply reply = fresh(2);
    struct reply_mark start = reply_mark(&reply);
    reply_error(&reply, "x");
    reply_rollback(&reply, start);
    assert_int_equal(reply.bytes, 0);
    assert_int_equal(reply.errors, 0);
    assert_null(reply.head);
    reply_ok(&reply);
    struct reply_mark mark = reply_mark(&reply);
    char *big = calloc(1, 100000);
    reply_bulk(&reply, bytes_of(big, 100000));
    reply_ok(&reply);
    reply_rollback(&reply, mark);
    reply_integer(&reply, 7);
    expect(&reply, "+OK\r\n:7\r\n");
    free(big);
}

static void test_big_values(void **state) {
    (void)state;
    static const size_t sizes[] = {900, 1000, 1023, 1024, 1025, 1100, 16383, 16384, 16385, 70000, 3u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct reply reply = fresh(2);
        uint8_t *value = malloc(sizes[i]);
        for (size_t at = 0; at < sizes[i]; at++)
            value[at] = (uint8_t)(at * 31);
        reply_ok(&reply);
        reply_bulk(&reply, bytes_of(value, sizes[i]));
        reply_integer(&reply, 5);
        char header[32];
        int header_size = snprintf(header, sizeof header, "+OK\r\n$%zu\r\n", sizes[i]);
        size_t size;
        char *all = drain(&reply, &size);
        assert_int_equal(size, (size_t)header_size + sizes[i] + 2 + 4);
        assert_memory_equal(all, header, (size_t)header_size);
        assert_memory_equal(all + header_size, value, sizes[i]);
        assert_memory_equal(all + size - 6, "\r\n:5\r\n", 6);
        free(all);
        free(value);
    }
}

static void test_off(void **state) {
    (void)state;
    struct reply reply = fresh(3);
    reply.off = 1;
    reply_ok(&reply);
    reply_bulk_text(&reply, "x");
    reply_array(&reply, 3);
    reply_double(&reply, 1.5);
    reply_bulk_begin(&reply, 3);
    reply_bulk_part(&reply, bytes_of_text("abc"));
    reply_bulk_end(&reply);
    struct reply_later later = reply_later_open(&reply, '*');
    reply_later_close(&reply, later, 3);
    reply_error(&reply, "x");
    assert_int_equal(reply.bytes, 0);
    assert_null(reply.head);
    assert_int_equal(reply.errors, 1);
}

/* R3: beyond the limit nothing more is written; a roll-back finds it again. */
static void test_lost(void **state) {
    (void)state;
    struct reply reply;
    static const uint8_t text[1000];
    reply_init(&reply);
    reply.bytes_max = 100000;
    reply_integer(&reply, 1);
    struct reply_mark mark = reply_mark(&reply);
    for (unsigned i = 0; i < 1000000 && !reply.lost; i++)
        reply_bulk(&reply, bytes_of(text, sizeof text));
    assert_true(reply.lost && reply.bytes > 100000 && reply.bytes < 200000);
    size_t bytes = reply.bytes;
    reply_integer(&reply, 2);
    assert_int_equal(reply.bytes, bytes);
    reply_rollback(&reply, mark);
    assert_false(reply.lost);
    reply_integer(&reply, 2);
    assert_int_equal(reply.bytes, 8);
    reply_fini(&reply);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),   cmocka_unit_test(test_every_integer_length),
        cmocka_unit_test(test_doubles),  cmocka_unit_test(test_aggregates),
        cmocka_unit_test(test_later),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_rollback), cmocka_unit_test(test_big_values),
        cmocka_unit_test(test_off),      cmocka_unit_test(test_lost),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed;
}
