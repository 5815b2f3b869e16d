/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as text, by Redis's rules of what is a number and how one is printed. Any thread. Nothing here
 * allocates. */
#ifndef FIRN_DS_NUMBER_H
#define FIRN_DS_NUMBER_H

#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

#define NUMBER_INT_TEXT_MAX         24u   /* room for any number_format_int or _uint, with a NUL */
#define NUMBER_DOUBLE_TEXT_MAX      40u   /* room for any number_format_double, with a NUL */
#define NUMBER_FIXED_TEXT_MAX       320u  /* room for any number_format_fixed4, with a NUL */
#define NUMBER_LONG_DOUBLE_TEXT_MAX 5120u /* room for any number_format_long_double, with a NUL */

/* Strict: optional '-', no leading zeros, no spaces, no '+', nothing after; in range. Else FIRN_ENOTNUMBER.
 */
FIRN_MUST_USE int number_parse_int(struct bytes text, int64_t *value_out);
/* The same for unsigned 64-bit numbers (negative ones are refused). */
FIRN_MUST_USE int number_parse_uint(struct bytes text, uint64_t *value_out);
/* As strtod reads (so hex, inf, infinity too), the whole text, no leading space, not nan, in range. Else
 * FIRN_ENOTNUMBER. */
FIRN_MUST_USE int number_parse_double(struct bytes text, double *value_out);
FIRN_MUST_USE int number_parse_long_double(struct bytes text, long double *value_out);

/* Decimal digits of ${value} into ${text_out} (NUL-terminated); returns how many characters. */
unsigned number_format_int(int64_t value, char text_out[NUMBER_INT_TEXT_MAX]);
unsigned number_format_uint(uint64_t value, char text_out[NUMBER_INT_TEXT_MAX]);
/* The same without a NUL: up to 20 characters at ${to}. */
static inline unsigned number_write_int(int64_t value, char *to);
static inline unsigned number_write_uint(uint64_t value, char *to);
/* How many characters number_format_int writes. */
unsigned number_int_length(int64_t value);
/* Shortest text that reads back as ${value}: integers without point, exponents as in 1e+21; nan, inf, -inf.
 */
unsigned number_format_double(double value, char text_out[NUMBER_DOUBLE_TEXT_MAX]);
/* As "%.4f" prints it. */
unsigned number_format_fixed4(double value, char text_out[NUMBER_FIXED_TEXT_MAX]);
/* Fixed point, 17 decimals, trailing zeros dropped, never "-0" (INCRBYFLOAT). */
unsigned number_format_long_double(long double value, char text_out[NUMBER_LONG_DOUBLE_TEXT_MAX]);

/* --- inline --- */

extern const char number_digit_pairs[200]; /* "00" to "99" */

static inline unsigned number_write_uint(uint64_t value, char *to) {
    char text[20];
    unsigned at = sizeof text;
    if (value < 10) {
        *to = (char)('0' + value);
        return 1;
    }
    for (; value >= 100; value /= 100)
        memcpy(text + (at -= 2), number_digit_pairs + 2 * (value % 100), 2);
    if (value >= 10) {
        memcpy(text + (at -= 2), number_digit_pairs + 2 * value, 2);
    } else {
        text[--at] = (char)('0' + value);
    }
    memcpy(to, text + at, sizeof text - at);
    return (unsigned)sizeof text - at;
}

static inline unsigned number_write_int(int64_t value, char *to) {
    if (value >= 0) return number_write_uint((uint64_t)value, to);
    *to = '-';
    return 1 + number_write_uint(0 - (uint64_t)value, to + 1);
}

#endif
