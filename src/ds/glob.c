/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Matching without recursion: each element of a pattern takes exactly one character, so only the last star
 * met needs to be reconsidered. Odd cases follow Redis: a class without ] runs to the end of the pattern; a
 * last lone \ is itself.
 */
#include "ds/glob.h"

#include <ctype.h>

#define GLOB_STARS_MAX 1000u /* more groups of stars match nothing, as Redis has it */

static int glob_fold(int character, int nocase) {
    return nocase ? tolower(character) : character;
}

/* Match ${character} with the class at pattern[*at_inout] == '['; moves to the class's last character. */
static int glob_class(struct bytes pattern, size_t *at_inout, int character, int nocase) {
    size_t at = *at_inout + 1;
    int inverted = at < pattern.size && pattern.data[at] == '^';
    int matches = 0;
    if (inverted) at++;
    for (;; at++) {
        if (at >= pattern.size) {
            at = pattern.size - 1;
            break;
        }
        if (pattern.data[at] == '\\' && at + 1 < pattern.size) {
            at++;
            if (pattern.data[at] == character) matches = 1;
        } else if (pattern.data[at] == ']') {
            break;
        } else if (at + 2 < pattern.size && pattern.data[at + 1] == '-') {
            int low = glob_fold(pattern.data[at], nocase), high = glob_fold(pattern.data[at + 2], nocase);
            int folded = glob_fold(character, nocase);
            if (low > high) {
                int swap = low;
                low = high;
                high = swap;
            }
            if (folded >= low && folded <= high) matches = 1;
            at += 2;
        } else if (glob_fold(pattern.data[at], nocase) == glob_fold(character, nocase)) {
            matches = 1;
        }
    }
    *at_inout = at;
    return matches != inverted;
}

/* Match one character with the element at *at_inout (no star); moves past the element. */
static int glob_one(struct bytes pattern, size_t *at_inout, int character, int nocase) {
    int matches;
    switch (pattern.data[*at_inout]) {
    case '?': matches = 1; break;
    case '[': matches = glob_class(pattern, at_inout, character, nocase); break;
    case '\\':
        if (*at_inout + 1 < pattern.size) ++*at_inout;
        /* fall through */
    default: matches = glob_fold(pattern.data[*at_inout], nocase) == glob_fold(character, nocase); break;
    }
    ++*at_inout;
    return matches;
}

int glob_match(struct bytes pattern, struct bytes text, int nocase) {
    size_t at = 0, place = 0;
    size_t star_at = SIZE_MAX,
           star_place = 0; /* after the last star: pattern, and where the text it does not cover begins */
    unsigned stars = 0;
    if (text.size == 0) return pattern.size == 0; /* not even by a star: as Redis has it */
    while (place < text.size) {
        if (at < pattern.size && pattern.data[at] == '*') {
            star_at = ++at;
            star_place = place;
            if (at == pattern.size) return 1;
            if (pattern.data[at] != '*' && ++stars > GLOB_STARS_MAX) return 0;
            continue;
        }
        if (at < pattern.size && glob_one(pattern, &at, text.data[place], nocase)) {
            place++;
            continue;
        }
        if (star_at == SIZE_MAX) return 0;
        at = star_at;
        place = ++star_place;
    }
    while (at < pattern.size && pattern.data[at] == '*')
        at++;
    return at == pattern.size;
}

int glob_is_literal(struct bytes pattern) {
    for (size_t i = 0; i < pattern.size; i++) {
        if (pattern.data[i] == '*' || pattern.data[i] == '?' || pattern.data[i] == '[' ||
            pattern.data[i] == '\\')
            return 0;
    }
    return 1;
}
