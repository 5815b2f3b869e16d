/* SPDX-License-Identifier: BSD-3-Clause */
/* The fewest decimal digits that read back as the same double. Any thread; allocates nothing. */
#ifndef FIRN_DS_SHORTEST_H
#define FIRN_DS_SHORTEST_H

#include <stdint.h>

#define SHORTEST_DIGITS_MAX 17u

struct shortest {
    uint64_t digits; /* 1 .. 10^17 - 1, the last digit not 0 */
    int exponent;    /* the value is digits x 10^exponent */
};

/* Of ${value}: finite, > 0. Of several forms with as few digits the nearest to it. */
struct shortest shortest_of(double value);

#endif
