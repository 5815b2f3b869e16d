/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds firn_base */
/* glob_match: a table of cases with the answers redis-server gives, and a hostile pattern that must not take
 * long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ds/glob.h"

static const struct {
    const char *pattern, *text;
    int ignore_case, expected;
} cases[] = {
    {"*", "", 0, 0},
    {"", "", 0, 1},
    {"", "a", 0, 0},
    {"a?c", "abc", 0, 1},
    {"a?c", "ac", 0, 0},
    {"h[ae]llo", "hallo", 0, 1},
    {"h[ae]llo", "hillo", 0, 0},
    {"h[^e]llo", "hello", 0, 0},
    {"h[^e]llo", "hallo", 0, 1},
    {"h[a-c]x", "hbx", 0, 1},
    {"h[c-a]x", "hbx", 0, 1},
    {"h\\*x", "h*x", 0, 1},
    {"h\\*x", "hax", 0, 0},
    {"*of", "slaveof", 0, 1},
    {"a*b*c", "axxbyyc", 0, 1},
    {"a*b*c", "axxcyyb", 0, 0},
    {"ABC", "abc", 0, 0},
    {"ABC", "abc", 1, 1},
    {"[A-C]*", "bxx", 1, 1},
    {"**", "x", 0, 1},
    {"a*", "a", 0, 1},
    {"*a", "ba", 0, 1},
    {"[\\]]", "]", 0, 1},
    {"[a", "a", 0, 1},
    {"key:*:x", "key:1:2:x", 0, 1},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(
            glob_match(bytes_of_text(cases[i].pattern), bytes_of_text(cases[i].text), cases[i].ignore_case),
            cases[i].expected);
}

static void test_hostile_pattern(void **state) {
    (void)state;
    char text[2000];
    memset(text, 'a', sizeof text);
    int64_t start = clock_monotonic_us();
    assert_false(glob_match(bytes_of_text("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"),
                            bytes_of(text, sizeof text), 0));
    assert_true(clock_monotonic_us() - start < 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_hostile_pattern)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
