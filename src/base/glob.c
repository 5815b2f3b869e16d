/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Glob matching without recursion: on a mismatch the last * is made to swallow one character more. Earlier
 * stars need not be tried again: the later star can take over whatever they could have taken. So the time is
 * bounded by pattern * text, also for hostile patterns.
 */
#include "base/glob.h"

static unsigned fold(uint8_t byte, int ignore_case) {
    return ignore_case && byte >= 'A' && byte <= 'Z' ? (unsigned)byte + 32u : byte;
}

/* Match ${byte} with the class that begins after '['; *at_inout moves behind the class. An unterminated class
 * ends with the pattern. */
static int match_class(struct bytes pattern, size_t *at_inout, uint8_t byte, int ignore_case) {
    size_t at = *at_inout;
    int negated = at < pattern.size && pattern.data[at] == '^';
    int found = 0;
    unsigned wanted = fold(byte, ignore_case);
    if (negated) at++;
    for (;;) {
        if (at >= pattern.size) break;
        if (pattern.data[at] == '\\' && at + 1 < pattern.size) {
            at++;
            if (pattern.data[at] == byte) found = 1;
            at++;
        } else if (pattern.data[at] == ']') {
            at++;
            break;
        } else if (at + 2 < pattern.size && pattern.data[at + 1] == '-') {
            unsigned low = fold(pattern.data[at], ignore_case),
                     high = fold(pattern.data[at + 2], ignore_case);
            if (low > high) {
                unsigned swap = low;
                low = high;
                high = swap;
            }
            if (wanted >= low && wanted <= high) found = 1;
            at += 3;
        } else {
            if (fold(pattern.data[at], ignore_case) == wanted) found = 1;
            at++;
        }
    }
    *at_inout = at;
    return found != negated;
}

/* Match one character of text with the (not *) element at *at_inout, which moves behind it. */
static int match_one(struct bytes pattern, size_t *at_inout, uint8_t byte, int ignore_case) {
    size_t at = *at_inout;
    if (pattern.data[at] == '?') {
        *at_inout = at + 1;
        return 1;
    }
    if (pattern.data[at] == '[') {
        *at_inout = at + 1;
        return match_class(pattern, at_inout, byte, ignore_case);
    }
    if (pattern.data[at] == '\\' && at + 1 < pattern.size) at++;
    *at_inout = at + 1;
    return fold(pattern.data[at], ignore_case) == fold(byte, ignore_case);
}

int glob_match(struct bytes pattern, struct bytes text, int ignore_case) {
    size_t at = 0, star = SIZE_MAX, star_text = 0, i = 0;
    while (i < text.size) {
        if (at < pattern.size && pattern.data[at] == '*') {
            star = ++at;
            star_text = i;
            continue;
        }
        if (at < pattern.size && match_one(pattern, &at, text.data[i], ignore_case)) {
            i++;
            continue;
        }
        if (star == SIZE_MAX) return 0;
        at = star;
        i = ++star_text;
    }
    while (at < pattern.size && pattern.data[at] == '*')
        at++;
    return at == pattern.size;
}
