/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_proto firn_base */
/* Goal: the parser's results and error texts. Method: every case whole, byte by byte, and cut at every place
 * with the buffer moved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "proto/request.h"

static const struct request_limits trusted = {512u << 20, 1}, stranger = {512u << 20, 0};

/* "argument|argument" of the complete command. */
static char *joined(const struct request *request) {
    static char text[4096];
    size_t at = 0;
    text[0] = 0;
    for (size_t i = 0; i < request->argc; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s", i ? "|" : "",
                               (int)request->argv[i].size, (const char *)request->argv[i].data);
    }
    return text;
}

struct one_case {
    const char *wire;
    size_t size; /* 0: strlen */
    int result;
    const char *expect; /* arguments joined, or the error text */
    int before_auth;
};

static const struct one_case cases[] = {
    {"*1\r\n$4\r\nPING\r\n", 0, 1, "PING", 0},
    {"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n", 0, 1, "SET|key|value", 0},
    {"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", 0, 1, "ECHO|", 0},
    {"*2\r\n$3\r\nGET\r\n$4\r\n\r\n\r\n\r\n", 0, 1, "GET|\r\n\r\n", 0},
    {"*0\r\n", 0, 1, "", 0},
    {"*-1\r\n", 0, 1, "", 0},
    {"*-10\r\n", 0, 1, "", 0},
    {"*1\rx$4\rxPINGxx", 0, 1, "PING", 0}, /* the byte after CR and the two after a bulk are not looked at */
    {"*2147483648\r\n", 0, FIRN_EPROTOCOL, "invalid multibulk length", 0},
    {"*3000000000\r\n", 0, FIRN_EPROTOCOL, "invalid multibulk length", 0},
    {"*99999999999999999999999\r\n", 0, FIRN_EPROTOCOL, "invalid multibulk length", 0},
    {"*abc\r\n", 0, FIRN_EPROTOCOL, "invalid multibulk length", 0},
    {"*01\r\n", 0, FIRN_EPROTOCOL, "invalid multibulk length", 0},
    {"*+1\r\n", 0, FIRN_EPROTOCOL, "invalid multibulk length", 0},
    {"*\r\n", 0, FIRN_EPROTOCOL, "invalid multibulk length", 0},
    {"*11\r\n", 0, FIRN_EPROTOCOL, "unauthenticated multibulk length", 1},
    {"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", 0, FIRN_EPROTOCOL, "expected '$', got 'f'", 0},
    {"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$2000000000\r\n", 0, FIRN_EPROTOCOL, "invalid bulk length", 0},
    {"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-10\r\n", 0, FIRN_EPROTOCOL, "invalid bulk length", 0},
    {"*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$blabla\r\n", 0, FIRN_EPROTOCOL, "invalid bulk length", 0},
    {"*1\r\n\rx$4\r\nPING\r\n", 0, FIRN_EPROTOCOL, "expected '$', got '\r'", 0},
    {"*1\r\n$16385\r\n", 0, FIRN_EPROTOCOL, "unauthenticated bulk length", 1},
    {"PING\r\n", 0, 1, "PING", 0},
    {"PING\n", 0, 1, "PING", 0},
    {"\r\n", 0, 1, "", 0},
    {"\n", 0, 1, "", 0},
    {"  set  a\t\"b c\"  'd e'\r\n", 0, 1, "set|a|b c|d e", 0},
    {"echo \"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\"\n", 0, 1, "echo|A\n\r\t\b\a\\\"q", 0},
    {"echo 'it\\'s \\n'\n", 0, 1, "echo|it's \\n", 0},
    {"echo foo\"bar\"\n", 0, 1, "echo|foobar", 0},
    {"echo \"\"\n", 0, 1, "echo|", 0},
    {"set foo \"bar\n", 0, FIRN_EPROTOCOL, "unbalanced quotes in request", 0},
    {"set foo 'bar\n", 0, FIRN_EPROTOCOL, "unbalanced quotes in request", 0},
    {"set foo \"bar\"x\n", 0, FIRN_EPROTOCOL, "unbalanced quotes in request", 0},
    {"a\0b\r\n", 5, 0, "", 0}, /* NUL: the line does not end */
    {"*\0"
     "1\r\n",
     5, 0, "", 0},
    {"*1\r", 0, 0, "", 0},
    {"*1\r\n$4\r\nPING\r", 0, 0, "", 0},
};

static void check_one(const struct one_case *one, const struct request *request, int result) {
    assert_int_equal(result, one->result);
    if (result == FIRN_EPROTOCOL) assert_string_equal(request->error, one->expect);
    if (result == 1) {
        assert_string_equal(joined(request), one->expect);
        assert_int_equal(request->consumed, one->size ? one->size : strlen(one->wire));
    }
}

static void test_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct request request;
        request_init(&request);
        size_t size = cases[i].size ? cases[i].size : strlen(cases[i].wire);
        check_one(&cases[i], &request,
                  request_parse(&request, bytes_of(cases[i].wire, size),
                                cases[i].before_auth ? &stranger : &trusted));
        request_fini(&request);
    }
}

/* Prefixes of growing size, each in fresh memory of exactly that size: address sanitizer sees any over-read.
 */
static void test_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = cases[i].size ? cases[i].size : strlen(cases[i].wire);
        for (size_t step = 1; step < size; step++) {
            struct request request;
            request_init(&request);
            uint8_t *previous = NULL;
            int result = 0;
            for (size_t there = step; result == 0; there = there + step < size ? there + step : size) {
                uint8_t *copy = malloc(there);
                memcpy(copy, cases[i].wire, there);
                if (previous) memset(previous, 'Z', 1);
                free(previous);
                previous = copy;
                result = request_parse(&request, bytes_of(copy, there),
                                       cases[i].before_auth ? &stranger : &trusted);
                if (there == size) break;
            }
            check_one(&cases[i], &request, result);
            free(previous);
            request_fini(&request);
        }
    }
}

static void fill(char *wire, size_t size, const char *start) {
    memset(wire, 'A', size);
    memcpy(wire, start, strlen(start));
}

static void test_endless_lines(void **state) {
    (void)state;
    static char wire[70000];
    static const struct {
        const char *start, *error;
    } lines[] = {
        {"", "too big inline request"},
        {"*", "too big mbulk count string"},
        {"*1\r\n$", "too big bulk count string"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct request request;
        request_init(&request);
        fill(wire, sizeof wire, lines[i].start);
        assert_int_equal(request_parse(&request, bytes_of(wire, 60000), &trusted), 0);
        assert_int_equal(request_parse(&request, bytes_of(wire, sizeof wire), &trusted), FIRN_EPROTOCOL);
        assert_string_equal(request.error, lines[i].error);
        request_fini(&request);
    }
}

static void test_pipeline_and_needed(void **state) {
    (void)state;
    struct request request;
    request_init(&request);
    const char *wire = "*1\r\n$4\r\nPING\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$100000\r\nabc";
    struct bytes rest = bytes_of_text(wire);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(request_parse(&request, rest, &trusted), 1);
        assert_string_equal(joined(&request), "PING");
        rest = bytes_of(rest.data + request.consumed, rest.size - request.consumed);
        request_reset(&request);
    }
    assert_int_equal(request_parse(&request, rest, &trusted), 0);
    assert_int_equal(request.needed, 100000 + 2 - 3);
    uint8_t *whole = calloc(1, rest.size + request.needed);
    memcpy(whole, rest.data, rest.size);
    assert_int_equal(request_parse(&request, bytes_of(whole, rest.size + request.needed), &trusted), 1);
    assert_int_equal(request.argv[1].size, 100000);
    assert_int_equal(request.argument_bytes, 100004);
    assert_memory_equal(request.argv[1].data, "abc", 3);
    /* moved by the caller */
    size_t size = rest.size + 100000 - 1;
    uint8_t *moved = malloc(size);
    memcpy(moved, whole, size);
    free(whole);
    request_rebase(&request, moved);
    assert_string_equal((const char *)bytes_of(request.argv[1].data, 3).data, "abc");
    free(moved);
    request_fini(&request);
}

static void test_many_arguments(void **state) {
    (void)state;
    struct request request;
    request_init(&request);
    static char wire[400000];
    size_t size = (size_t)snprintf(wire, sizeof wire, "*30000\r\n");
    for (int i = 0; i < 30000; i++)
        size += (size_t)snprintf(wire + size, sizeof wire - size, "$1\r\n%d\r\n", i % 10);
    assert_int_equal(request_parse(&request, bytes_of(wire, size - 1), &trusted), 0);
    assert_int_equal(request_parse(&request, bytes_of(wire, size), &trusted), 1);
    assert_int_equal(request.argc, 30000);
    assert_int_equal(request.argv[29999].data[0], '9');
    request_reset(&request);
    /* an announced count costs nothing */
    size_t before = memory_used();
    assert_int_equal(request_parse(&request, bytes_of_text("*2000000000\r\n$1\r\nx\r\n"), &trusted), 0);
    assert_true(memory_used() - before < 4096);
    request_fini(&request);
}

/* Random bytes from the protocol's alphabet: no crash, and the result does not depend on how the input is
 * cut. */
static void test_random(void **state) {
    (void)state;
    static const char alphabet[] = "*$0123456789-\r\n\r\n\r\n ab\"'\\x";
    random_seed(7);
    for (int round = 0; round < 20000; round++) {
        char wire[64];
        size_t size = 1 + random_below(sizeof wire - 1);
        for (size_t i = 0; i < size; i++)
            wire[i] = alphabet[random_below(sizeof alphabet)];
        if (random_below(2)) memcpy(wire, "*2\r\n$1\r\n", size < 8 ? size : 8);
        struct request whole, pieces;
        request_init(&whole);
        request_init(&pieces);
        int result = request_parse(&whole, bytes_of(wire, size), &trusted), cut = 0;
        for (size_t there = 1; there <= size && cut == 0; there++)
            cut = request_parse(&pieces, bytes_of(wire, there), &trusted);
        assert_int_equal(result, cut);
        if (result == 1) {
            assert_int_equal(whole.consumed, pieces.consumed);
            assert_int_equal(whole.argc, pieces.argc);
            for (size_t i = 0; i < whole.argc; i++)
                assert_true(bytes_equal(whole.argv[i], pieces.argv[i]));
        }
        request_fini(&whole);
        request_fini(&pieces);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),          cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_endless_lines),  cmocka_unit_test(test_pipeline_and_needed),
        cmocka_unit_test(test_many_arguments), cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
