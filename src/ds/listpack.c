/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Elements by first byte:
 *   0xxxxxxx integer 0 to 127 · 10xxxxxx text of up to 63 bytes · 110xxxxx + 1 integer of 13 bits ·
 *   1110xxxx + 1 text of up to 4095 bytes · f0 + 4 longer text · f1 f2 f3 f4 integers of 16, 24, 32, 64 bits
 */
#include "ds/listpack.h"

#include "ds/number.h"

/* How many bytes the size at an element's end takes. */
static inline size_t back_bytes(size_t size) {
    if (size <= 127) return 1;
    if (size < 16383) return 2;
    if (size < 2097151) return 3;
    return size < 268435455 ? 4 : 5;
}

int listpack_open(struct bytes raw, struct listpack_reader *reader) {
    if (raw.size < LISTPACK_HEADER_BYTES + 1 || raw.data[raw.size - 1] != LISTPACK_END ||
        bytes_load32(raw.data) != raw.size)
        return FIRN_ECORRUPT;
    reader->at = raw.data + LISTPACK_HEADER_BYTES;
    reader->end = raw.data + raw.size - 1;
    reader->bare = 0;
    return 0;
}

/* Encoding byte and data of the next element, which there is: their bytes, or 0 if they do not fit. */
static inline size_t element_bytes(const struct listpack_reader *reader) {
    const uint8_t *at = reader->at;
    size_t left = (size_t)(reader->end - at) + (size_t)reader->bare;
    static const uint8_t integers[] = {3, 4, 5, 9};
    size_t size;
    uint8_t first = at[0];
    if (first < 0x80)
        size = 1;
    else if (first < 0xc0)
        size = 1u + (first & 0x3fu);
    else if (first < 0xe0)
        size = 2;
    else if (first < 0xf0)
        size = left < 2 ? 2 : 2u + ((size_t)(first & 0x0f) << 8 | at[1]);
    else if (first == 0xf0)
        size = left < 5 ? 5 : 5u + (size_t)bytes_load32(at + 1);
    else if (first <= 0xf4)
        size = integers[first - 0xf1];
    else
        return 0;
    return size < left ? size : 0; /* its size stands behind it */
}

/* Step over one element whose encoding byte and data take ${size}. */
static inline int pass(struct listpack_reader *reader, size_t size) {
    size_t whole = reader->bare ? size : size + back_bytes(size);
    if (size == 0 || whole > (size_t)(reader->end - reader->at)) return FIRN_ECORRUPT;
    reader->at += whole;
    return 0;
}

static int64_t integer_at(const uint8_t *at, unsigned bytes) {
    uint64_t value = 0;
    unsigned shift = 64 - 8 * bytes;
    memcpy(&value, at, bytes);
    return (int64_t)(value << shift) >> shift;
}

int listpack_read(struct listpack_reader *reader, struct listpack_element *element) {
    const uint8_t *at = reader->at;
    if (at >= reader->end) return FIRN_ECORRUPT;
    size_t size = element_bytes(reader);
    int error = pass(reader, size);
    if (error != 0) return error;
    uint8_t first = at[0];
    *element = (struct listpack_element){0};
    if (first < 0x80) {
        element->integer = first;
    } else if (first < 0xc0) {
        element->text = at + 1;
        element->size = size - 1;
    } else if (first < 0xe0) {
        int64_t value = (first & 0x1f) << 8 | at[1];
        element->integer = value >= 4096 ? value - 8192 : value;
    } else if (first < 0xf0) {
        element->text = at + 2;
        element->size = size - 2;
    } else if (first == 0xf0) {
        element->text = at + 5;
        element->size = size - 5;
    } else {
        element->integer = integer_at(at + 1, (unsigned)size - 1);
    }
    return 0;
}

int listpack_read_integer(struct listpack_reader *reader, int64_t *value_out) {
    if (reader->at + 1 < reader->end && *reader->at < 0x80) { /* most of them */
        *value_out = *reader->at;
        reader->at += 2 - reader->bare;
        return 0;
    }
    struct listpack_element element;
    int error = listpack_read(reader, &element);
    if (error != 0) return error;
    if (element.text != NULL) return FIRN_ECORRUPT;
    *value_out = element.integer;
    return 0;
}

int listpack_skip(struct listpack_reader *reader, uint64_t count) {
    for (; count > 0; count--) {
        if (reader->at >= reader->end) return FIRN_ECORRUPT;
        int error = pass(reader, element_bytes(reader));
        if (error != 0) return error;
    }
    return 0;
}

int listpack_raw(struct listpack_reader *reader, struct bytes *raw_out) {
    if (reader->at >= reader->end) return FIRN_ECORRUPT;
    size_t size = element_bytes(reader);
    *raw_out = bytes_of(reader->at, size);
    return pass(reader, size);
}

int listpack_back(struct listpack_reader *reader, const uint8_t *start, uint64_t count) {
    if (reader->bare) return FIRN_ECORRUPT;
    for (; count > 0; count--) {
        uint64_t size = 0;
        size_t digits = 0;
        uint8_t digit;
        do {
            if (reader->at == start || digits == 5) return FIRN_ECORRUPT;
            digit = *--reader->at;
            size |= (uint64_t)(digit & 0x7f) << 7 * digits++;
        } while (digit & 0x80);
        if (size == 0 || size > (size_t)(reader->at - start)) return FIRN_ECORRUPT;
        reader->at -= size;
    }
    return 0;
}

int listpack_check(struct bytes raw) {
    struct listpack_reader reader;
    int error = listpack_open(raw, &reader);
    uint64_t count = 0;
    for (; error == 0 && !listpack_at_end(&reader); count++) {
        const uint8_t *start = reader.at;
        error = listpack_skip(&reader, 1);
        struct listpack_reader back = reader;
        if (error == 0) error = listpack_back(&back, start, 1);
        if (error == 0 && back.at != start) error = FIRN_ECORRUPT;
    }
    if (error != 0) return error;
    uint16_t told = bytes_load16(raw.data + 4);
    return told == LISTPACK_COUNT_UNKNOWN || told == count ? 0 : FIRN_ECORRUPT;
}

int listpack_equal(const struct listpack_element *element, struct bytes text) {
    if (element->text != NULL) return bytes_equal(bytes_of(element->text, element->size), text);
    char digits[NUMBER_INT_TEXT_MAX];
    return bytes_equal(bytes_of(digits, number_format_int(element->integer, digits)), text);
}

/* --- writing --- */

static size_t integer_data_bytes(int64_t value) {
    if (value >= 0 && value <= 127) return 1;
    if (value >= -4096 && value <= 4095) return 2;
    if (value >= INT16_MIN && value <= INT16_MAX) return 3;
    if (value >= -8388608 && value <= 8388607) return 4;
    return value >= INT32_MIN && value <= INT32_MAX ? 5 : 9;
}

size_t listpack_integer_bytes(int64_t value) {
    return integer_data_bytes(value) + 1;
}

uint8_t *listpack_put_integer(uint8_t *at, int64_t value) {
    static const uint8_t codes[] = {[3] = 0xf1, [4] = 0xf2, [5] = 0xf3, [9] = 0xf4};
    size_t size = integer_data_bytes(value);
    if (size == 1) {
        at[0] = (uint8_t)value;
    } else if (size == 2) {
        at[0] = (uint8_t)(0xc0 | ((uint64_t)value >> 8 & 0x1f));
        at[1] = (uint8_t)value;
    } else {
        at[0] = codes[size];
        memcpy(at + 1, &value, size - 1);
    }
    at[size] = (uint8_t)size;
    return at + size + 1;
}

/* The size of an element of ${size} bytes behind it. */
static uint8_t *put_back(uint8_t *at, size_t size) {
    size_t digits = back_bytes(size);
    for (size_t i = 0; i < digits; i++) {
        uint8_t digit = (uint8_t)(size >> 7 * (digits - 1 - i) & 0x7f);
        *at++ = i > 0 ? digit | 0x80 : digit;
    }
    return at;
}

uint8_t *listpack_put_raw(uint8_t *at, struct bytes raw) {
    memcpy(at, raw.data, raw.size);
    return put_back(at + raw.size, raw.size);
}

uint8_t *listpack_put_text(uint8_t *at, struct bytes text) {
    int64_t value;
    uint8_t *start = at;
    if (text.size > 0 && text.size <= 20 && text.data[0] <= '9' && number_parse_int(text, &value) == 0)
        return listpack_put_integer(at, value);
    if (text.size < 64) {
        *at++ = (uint8_t)(0x80 | text.size);
    } else if (text.size < 4096) {
        *at++ = (uint8_t)(0xe0 | text.size >> 8);
        *at++ = (uint8_t)text.size;
    } else {
        *at++ = 0xf0;
        bytes_store32(at, (uint32_t)text.size);
        at += 4;
    }
    if (text.size > 0) memcpy(at, text.data, text.size);
    at += text.size;
    return put_back(at, (size_t)(at - start));
}
