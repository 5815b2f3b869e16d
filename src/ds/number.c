/* SPDX-License-Identifier: BSD-3-Clause */
/* Integers by hand (they are on the hot path), floating point through the C library. */
#include "ds/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

static unsigned number_write(uint64_t value, char *text_out) {
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
        "4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
        "99";
    unsigned length = number_uint_length(value);
    char *at = text_out + length;
    *at = '\0';
    while (value >= 100) {
        at -= 2;
        memcpy(at, &pairs[value % 100 * 2], 2);
        value /= 100;
    }
    if (value >= 10) {
        memcpy(at - 2, &pairs[value * 2], 2);
    } else {
        at[-1] = (char)('0' + value);
    }
    return length;
}

unsigned number_format_uint(uint64_t value, char text_out[NUMBER_INT_TEXT_MAX]) {
    return number_write(value, text_out);
}

unsigned number_format_int(int64_t value, char text_out[NUMBER_INT_TEXT_MAX]) {
    if (value >= 0) return number_write((uint64_t)value, text_out);
    text_out[0] = '-';
    return 1 + number_write(0 - (uint64_t)value, text_out + 1);
}

/* The fewest significant digits that read back as ${value} (finite, > 0), and its decimal exponent. Returns
 * how many digits. */
static int number_shortest(double value, char digits_out[20], int *exponent_out) {
    char text[40];
    /* A normal number that has a form of at most 15 digits is printed as that form, zeros at its end, by
     * precision 15. */
    int precision = fpclassify(value) == FP_SUBNORMAL ? 1 : 15;
    for (;; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, value);
        if (precision == 17 || strtod(text, NULL) == value) break;
    }
    int count = 0;
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at != '.') digits_out[count++] = *at;
    }
    *exponent_out = (int)strtol(at + 1, NULL, 10);
    while (count > 1 && digits_out[count - 1] == '0')
        count--;
    return count;
}

/* Digits with a point or an exponent: plain where that is short, as Redis's printer decides. */
static unsigned number_place_point(const char *digits, int count, int exponent, char *out, size_t room) {
    int scale = exponent - count + 1; /* value = digits * 10^scale */
    int magnitude = exponent < 0 ? -exponent : exponent;
    if (scale >= 0 && magnitude < count + 7)
        return (unsigned)snprintf(out, room, "%.*s%.*s", count, digits, scale, "000000000000000000000000");
    if (scale < 0 && (scale > -7 || magnitude < 4)) {
        if (exponent < 0)
            return (unsigned)snprintf(out, room, "0.%.*s%.*s", magnitude - 1, "0000000000", count, digits);
        return (unsigned)snprintf(out, room, "%.*s.%.*s", exponent + 1, digits, count - exponent - 1,
                                  digits + exponent + 1);
    }
    if (count == 1)
        return (unsigned)snprintf(out, room, "%ce%c%d", digits[0], exponent < 0 ? '-' : '+', magnitude);
    return (unsigned)snprintf(out, room, "%c.%.*se%c%d", digits[0], count - 1, digits + 1,
                              exponent < 0 ? '-' : '+', magnitude);
}

unsigned number_format_double(double value, char text_out[NUMBER_DOUBLE_TEXT_MAX]) {
    char digits[20];
    int exponent;
    if (isnan(value)) return (unsigned)snprintf(text_out, NUMBER_DOUBLE_TEXT_MAX, "nan");
    if (isinf(value)) return (unsigned)snprintf(text_out, NUMBER_DOUBLE_TEXT_MAX, value > 0 ? "inf" : "-inf");
    if (value == 0) return (unsigned)snprintf(text_out, NUMBER_DOUBLE_TEXT_MAX, signbit(value) ? "-0" : "0");
    if (value > -4503599627370496.0 && value < 4503599627370496.0 && value == (double)(int64_t)value)
        return number_format_int((int64_t)value, text_out);
    unsigned sign = value < 0;
    if (sign) text_out[0] = '-';
    int count = number_shortest(fabs(value), digits, &exponent);
    return sign + number_place_point(digits, count, exponent, text_out + sign, NUMBER_DOUBLE_TEXT_MAX - sign);
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
