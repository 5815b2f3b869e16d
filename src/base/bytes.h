/* SPDX-License-Identifier: BSD-3-Clause */
/* struct bytes: a borrowed run of bytes (pointer and size), not NUL-terminated, passed by value. */
#ifndef FIRN_BASE_BYTES_H
#define FIRN_BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size) {
    return (struct bytes){(const uint8_t *)data, size};
}

static inline struct bytes bytes_of_text(const char *text) {
    return bytes_of(text, strlen(text));
}

static inline int bytes_equal(struct bytes a, struct bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Case-insensitive (ASCII) comparison with a literal option word. */
static inline int bytes_is(struct bytes a, const char *word) {
    size_t size = strlen(word);
    return a.size == size && strncasecmp((const char *)a.data, word, size) == 0;
}

/* memcmp order, shorter first when equal so far: <0, 0, >0. */
static inline int bytes_compare(struct bytes a, struct bytes b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order != 0) return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

/* Unaligned little-endian loads and stores, for packed layouts. */
static inline uint64_t bytes_load64(const void *from) {
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}
static inline uint32_t bytes_load32(const void *from) {
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}
static inline uint16_t bytes_load16(const void *from) {
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return value;
}
static inline void bytes_store64(void *to, uint64_t value) {
    memcpy(to, &value, sizeof value);
}
static inline void bytes_store32(void *to, uint32_t value) {
    memcpy(to, &value, sizeof value);
}
static inline void bytes_store16(void *to, uint16_t value) {
    memcpy(to, &value, sizeof value);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packed layouts are little-endian");

#endif
