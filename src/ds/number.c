/* SPDX-License-Identifier: BSD-3-Clause */
/* Integers by hand (they are on the hot path), floating point through the C library. */
#include "ds/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ds/shortest.h"

#define NUMBER_UINT_DIGITS_MAX 20u

int number_parse_uint(struct bytes text, uint64_t *value_out) {
    uint64_t value = 0;
    if (text.size == 0 || text.size > NUMBER_UINT_DIGITS_MAX) return FIRN_ENOTNUMBER;
    if (text.data[0] == '0' && text.size > 1) return FIRN_ENOTNUMBER;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9) return FIRN_ENOTNUMBER;
        if (i == NUMBER_UINT_DIGITS_MAX - 1 && (value > UINT64_MAX / 10 || UINT64_MAX - value * 10 < digit))
            return FIRN_ENOTNUMBER;
        value = value * 10 + digit;
    }
    *value_out = value;
    return 0;
}

int number_parse_int(struct bytes text, int64_t *value_out) {
    uint64_t magnitude;
    int negative = text.size > 1 && text.data[0] == '-';
    if (text.size == 0) return FIRN_ENOTNUMBER;
    int error = number_parse_uint(bytes_of(text.data + negative, text.size - (size_t)negative), &magnitude);
    if (error != 0) return error;
    if (negative) {
        if (magnitude == 0 || magnitude > (uint64_t)INT64_MAX + 1) return FIRN_ENOTNUMBER;
        *value_out = (int64_t)(0 - magnitude);
    } else {
        if (magnitude > (uint64_t)INT64_MAX) return FIRN_ENOTNUMBER;
        *value_out = (int64_t)magnitude;
    }
    return 0;
}

/* The text NUL-terminated in ${copy}: FIRN_ENOTNUMBER if it cannot be a number at all. */
static int number_copy(struct bytes text, char *copy, size_t capacity) {
    if (text.size == 0 || text.size >= capacity || isspace(text.data[0])) return FIRN_ENOTNUMBER;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return 0;
}

int number_parse_double(struct bytes text, double *value_out) {
    char copy[1024];
    char *end;
    int error = number_copy(text, copy, sizeof copy);
    if (error != 0) return error;
    errno = 0;
    double value = strtod(copy, &end);
    if (end != copy + text.size || isnan(value)) return FIRN_ENOTNUMBER;
    if (errno == ERANGE && (isinf(value) || value == 0)) return FIRN_ENOTNUMBER;
    *value_out = value;
    return 0;
}

int number_parse_long_double(struct bytes text, long double *value_out) {
    char copy[NUMBER_LONG_DOUBLE_TEXT_MAX];
    char *end;
    int error = number_copy(text, copy, sizeof copy);
    if (error != 0) return error;
    errno = 0;
    long double value = strtold(copy, &end);
    if (end != copy + text.size || isnan(value)) return FIRN_ENOTNUMBER;
    if (errno == ERANGE && (isinf(value) || value == 0)) return FIRN_ENOTNUMBER;
    *value_out = value;
    return 0;
}

static unsigned number_uint_length(uint64_t value) {
    unsigned length = 1;
    while (value >= 10000) {
        value /= 10000;
        length += 4;
    }
    return length + (value >= 10) + (value >= 100) + (value >= 1000);
}

unsigned number_int_length(int64_t value) {
    return value < 0 ? 1 + number_uint_length(0 - (uint64_t)value) : number_uint_length((uint64_t)value);
}

const char number_digit_pairs[200] __attribute__((nonstring)) =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
    "99";

unsigned number_format_uint(uint64_t value, char text_out[NUMBER_INT_TEXT_MAX]) {
    unsigned length = number_write_uint(value, text_out);
    text_out[length] = '\0';
    return length;
}

unsigned number_format_int(int64_t value, char text_out[NUMBER_INT_TEXT_MAX]) {
    unsigned length = number_write_int(value, text_out);
    text_out[length] = '\0';
    return length;
}

static unsigned number_word(const char *word, char *text_out) {
    return (unsigned)(stpcpy(text_out, word) - text_out);
}

/* digits x 10^exponent with a point or an exponent: plain where that is short, as Redis's printer decides. */
static unsigned number_place_point(struct shortest shortest, char *to) {
    char digits[SHORTEST_DIGITS_MAX + 4];
    int count = (int)number_write_uint(shortest.digits, digits), exponent = shortest.exponent;
    int magnitude = exponent + count - 1; /* of the first digit */
    char *at = to;
    if (exponent >= 0 && magnitude < count + 7) {
        at = mempcpy(at, digits, (size_t)count);
        memset(at, '0', (size_t)exponent);
        at += exponent;
    } else if (exponent < 0 && (exponent > -7 || abs(magnitude) < 4)) {
        int whole = magnitude >= 0 ? magnitude + 1 : 0; /* digits before the point */
        at = whole > 0 ? mempcpy(at, digits, (size_t)whole) : mempcpy(at, "0", 1);
        *at++ = '.';
        for (int zeros = whole > 0 ? 0 : -magnitude - 1; zeros > 0; zeros--)
            *at++ = '0';
        at = mempcpy(at, digits + whole, (size_t)(count - whole));
    } else {
        *at++ = digits[0];
        if (count > 1) *at++ = '.';
        at = mempcpy(at, digits + 1, (size_t)count - 1);
        *at++ = 'e';
        *at++ = magnitude < 0 ? '-' : '+';
        at += number_write_uint((uint64_t)abs(magnitude), at);
    }
    *at = '\0';
    return (unsigned)(at - to);
}

unsigned number_format_double(double value, char text_out[NUMBER_DOUBLE_TEXT_MAX]) {
    const double whole_max = 4611686018427387904.0; /* 2^62: up to there Redis takes it for an integer */
    if (isnan(value)) return number_word("nan", text_out);
    if (isinf(value)) return number_word(value > 0 ? "inf" : "-inf", text_out);
    if (value == 0) return number_word(signbit(value) ? "-0" : "0", text_out);
    if (fabs(value) <= whole_max && value == (double)(int64_t)value)
        return number_format_int((int64_t)value, text_out);
    unsigned sign = value < 0;
    if (sign) text_out[0] = '-';
    return sign + number_place_point(shortest_of(fabs(value)), text_out + sign);
}

unsigned number_format_fixed4(double value, char text_out[NUMBER_FIXED_TEXT_MAX]) {
    if (!(fabs(value) < 1e11)) return (unsigned)snprintf(text_out, NUMBER_FIXED_TEXT_MAX, "%.4f", value);
    double product = fabs(value) * 1e4;
    if (fabs(product - rint(product)) == 0.5) { /* in the middle, or only the product is */
        double lost = fma(fabs(value), 1e4, -product);
        product += lost > 0 ? 0.25 : lost < 0 ? -0.25 : 0;
    }
    uint64_t scaled = (uint64_t)llrint(product), decimals = scaled % 10000;
    char *at = text_out;
    if (signbit(value)) *at++ = '-';
    at += number_write_uint(scaled / 10000, at);
    *at++ = '.';
    at = mempcpy(at, number_digit_pairs + 2 * (decimals / 100), 2);
    at = mempcpy(at, number_digit_pairs + 2 * (decimals % 100), 2);
    *at = '\0';
    return (unsigned)(at - text_out);
}

unsigned number_format_long_double(long double value, char text_out[NUMBER_LONG_DOUBLE_TEXT_MAX]) {
    if (isinf(value))
        return (unsigned)snprintf(text_out, NUMBER_LONG_DOUBLE_TEXT_MAX, value > 0 ? "inf" : "-inf");
    int length = snprintf(text_out, NUMBER_LONG_DOUBLE_TEXT_MAX, "%.17Lf", value);
    if (length < 0 || length >= (int)NUMBER_LONG_DOUBLE_TEXT_MAX) length = 0;
    if (memchr(text_out, '.', (size_t)length) != NULL) {
        while (text_out[length - 1] == '0')
            length--;
        if (text_out[length - 1] == '.') length--;
    }
    if (length == 2 && text_out[0] == '-' && text_out[1] == '0') {
        text_out[0] = '0';
        length = 1;
    }
    text_out[length] = '\0';
    return (unsigned)length;
}
