/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schubfach (R. Giulietti, "The Schubfach way to render doubles", 2020). A double c x 2^q is what all numbers
 * between its left and right boundary round to. With k the largest exponent for which a step of 10^k is not
 * longer than that interval, one of the two multiples of 10^k beside the value lies in it; a multiple of
 * 10^(k+1) that does is a digit shorter, and there is one at most.
 *
 * Everything is computed in quarters of 10^k as a product with the 128 leading bits of 10^-k (rounded up:
 * decimal_powers.py), and rounded to odd: a remainder sets the last bit, so that comparisons with whole
 * quarters come out as if the product were exact. The two lowest bits of the product's fraction absorb the
 * error of the table.
 */
#include "ds/shortest.h"

#include <string.h>

#include "base/assert.h"
#include "generated/decimal_powers.h"

#define FRACTION_BITS 52
#define EXPONENT_BIAS 1075 /* of the integer significand */

/* floor(log10(2^e)) and floor(log10(3/4 x 2^e)) for |e| <= 1500, floor(log2(10^e)) for |e| <= 1233. */
static int log10_of_power_of_2(int e, int is_three_quarters) {
    return (e * 1262611 - (is_three_quarters ? 524031 : 0)) >> 22;
}

static int log2_of_power_of_10(int e) {
    return e * 1741647 >> 19;
}

/* floor(${factor} x 10^${k} / 2^128 x 2^...) as the table scales it, rounded to odd. */
static uint64_t scaled(int k, uint64_t factor) {
    FIRN_ASSERT(k >= DECIMAL_POWERS_FIRST && k <= DECIMAL_POWERS_LAST);
    unsigned __int128 low = (unsigned __int128)decimal_powers[k - DECIMAL_POWERS_FIRST].low * factor;
    unsigned __int128 high =
        (unsigned __int128)decimal_powers[k - DECIMAL_POWERS_FIRST].high * factor + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* digits x 10^exponent of the double ${significand} x 2^${power}; ${is_edge}: the next lower one is only half
 * as far away as the next higher. */
static struct shortest of_parts(uint64_t significand, int power, int is_edge) {
    int k = log10_of_power_of_2(power, is_edge);
    int shift = power + log2_of_power_of_10(-k) + 1;
    uint64_t odd = significand & 1; /* boundaries belong to even ones */
    uint64_t value = scaled(-k, significand * 4 << shift);
    uint64_t lower = scaled(-k, (significand * 4 - 2 + (uint64_t)is_edge) << shift) + odd;
    uint64_t upper = scaled(-k, (significand * 4 + 2) << shift) - odd;
    uint64_t below = value / 4, shorter = below / 10;
    int is_lower_in = lower <= 40 * shorter, is_upper_in = 40 * shorter + 40 <= upper;
    if (below >= 10 && is_lower_in != is_upper_in)
        return (struct shortest){shorter + (uint64_t)is_upper_in, k + 1};
    is_lower_in = lower <= 4 * below;
    is_upper_in = 4 * below + 4 <= upper;
    if (is_lower_in != is_upper_in) return (struct shortest){below + (uint64_t)is_upper_in, k};
    uint64_t middle = 4 * below + 2; /* both are in: the nearer one, of two as near the even one */
    return (struct shortest){below + (value > middle || (value == middle && (below & 1))), k};
}

struct shortest shortest_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t fraction = bits & ((UINT64_C(1) << FRACTION_BITS) - 1);
    int exponent = (int)(bits >> FRACTION_BITS);
    FIRN_ASSERT(bits != 0 && exponent < 0x7ff); /* finite, > 0 */
    struct shortest shortest = exponent == 0
                                   ? of_parts(fraction, 1 - EXPONENT_BIAS, 0)
                                   : of_parts(fraction | UINT64_C(1) << FRACTION_BITS,
                                              exponent - EXPONENT_BIAS, fraction == 0 && exponent > 1);
    while (shortest.digits % 10 == 0) {
        shortest.digits /= 10;
        shortest.exponent++;
    }
    return shortest;
}
