/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Redis's packed containers, as found inside RDB payloads.
 *
 *   LISTPACK  total bytes u32, elements u16 (0xffff: unknown), elements, 0xff. An element is its encoding
 * byte, data, and its own size again. ZIPLIST   total bytes u32, offset of the last element u32, elements
 * u16, elements, 0xff. An element begins with the previous one's size. ZIPMAP    pairs u8, then size field
 * size unused value unused-bytes..., 0xff. A size is one byte, or 254 and u32.
 */
#include "base/assert.h"
#include "ds/rdb_format.h"

#define PACKED_END 0xffu

int rdb_packed_open(struct rdb_packed *packed, enum rdb_packed_kind kind, struct bytes raw) {
    static const size_t header_bytes[] = {
        [RDB_PACKED_LISTPACK] = 6, [RDB_PACKED_ZIPLIST] = 10, [RDB_PACKED_ZIPMAP] = 1};
    size_t header = header_bytes[kind];
    if (raw.size < header + 1 || raw.data[raw.size - 1] != PACKED_END) return FIRN_ECORRUPT;
    if (kind != RDB_PACKED_ZIPMAP && bytes_load32(raw.data) != raw.size) return FIRN_ECORRUPT;
    packed->kind = kind;
    packed->in_value = 0;
    packed->reader = rdb_reader_of(bytes_of(raw.data + header, raw.size - header));
    return 0;
}

/* Signed little-endian integer of ${size} bytes. */
static int packed_integer(struct rdb_packed *packed, size_t size, struct bytes *element_out) {
    struct bytes raw;
    uint64_t value = 0;
    if (rdb_read_raw(&packed->reader, size, &raw) != 0) return FIRN_ECORRUPT;
    memcpy(&value, raw.data, size);
    unsigned shift = 64 - 8 * (unsigned)size;
    *element_out =
        bytes_of(packed->digits, number_format_int((int64_t)(value << shift) >> shift, packed->digits));
    return 0;
}

static void packed_small(struct rdb_packed *packed, int64_t value, struct bytes *element_out) {
    *element_out = bytes_of(packed->digits, number_format_int(value, packed->digits));
}

/* How many bytes the size at a listpack element's end takes. */
static size_t listpack_back_bytes(size_t size) {
    if (size <= 127) return 1;
    if (size < 16383) return 2;
    if (size < 2097151) return 3;
    return size < 268435455 ? 4 : 5;
}

static int listpack_element(struct rdb_packed *packed, struct bytes *element_out) {
    struct rdb_reader *reader = &packed->reader;
    const uint8_t *start = reader->at;
    uint8_t first = 0, second = 0;
    struct bytes raw;
    int error = rdb_read_byte(reader, &first);
    if (error != 0) return error;
    if (first < 0x80) {
        packed_small(packed, first, element_out);
    } else if (first < 0xc0) {
        error = rdb_read_raw(reader, first & 0x3f, element_out);
    } else if (first < 0xe0) {
        error = rdb_read_byte(reader, &second);
        int64_t value = (first & 0x1f) << 8 | second;
        packed_small(packed, value >= 4096 ? value - 8192 : value, element_out);
    } else if (first < 0xf0) {
        error = rdb_read_byte(reader, &second);
        if (error == 0) error = rdb_read_raw(reader, (size_t)(first & 0x0f) << 8 | second, element_out);
    } else if (first == 0xf0) {
        error = rdb_read_raw(reader, 4, &raw);
        if (error == 0) error = rdb_read_raw(reader, bytes_load32(raw.data), element_out);
    } else if (first <= 0xf4) {
        static const size_t sizes[] = {2, 3, 4, 8};
        error = packed_integer(packed, sizes[first - 0xf1], element_out);
    } else {
        error = FIRN_ECORRUPT;
    }
    if (error != 0) return error;
    return rdb_read_raw(reader, listpack_back_bytes((size_t)(reader->at - start)), &raw);
}

static int ziplist_integer(struct rdb_packed *packed, uint8_t first, struct bytes *element_out) {
    switch (first) {
    case 0xc0: return packed_integer(packed, 2, element_out);
    case 0xd0: return packed_integer(packed, 4, element_out);
    case 0xe0: return packed_integer(packed, 8, element_out);
    case 0xf0: return packed_integer(packed, 3, element_out);
    case 0xfe: return packed_integer(packed, 1, element_out);
    default: break;
    }
    if (first < 0xf1 || first > 0xfd) return FIRN_ECORRUPT;
    packed_small(packed, (first & 0x0f) - 1, element_out);
    return 0;
}

static int ziplist_element(struct rdb_packed *packed, struct bytes *element_out) {
    struct rdb_reader *reader = &packed->reader;
    uint8_t first, second;
    struct bytes raw;
    if (rdb_read_byte(reader, &first) != 0) return FIRN_ECORRUPT;
    if (first == 0xfe && rdb_read_raw(reader, 4, &raw) != 0) return FIRN_ECORRUPT;
    if (rdb_read_byte(reader, &first) != 0) return FIRN_ECORRUPT;
    switch (first >> 6) {
    case 0: return rdb_read_raw(reader, first & 0x3f, element_out);
    case 1:
        if (rdb_read_byte(reader, &second) != 0) return FIRN_ECORRUPT;
        return rdb_read_raw(reader, (size_t)(first & 0x3f) << 8 | second, element_out);
    case 2:
        if (first != 0x80 || rdb_read_raw(reader, 4, &raw) != 0) return FIRN_ECORRUPT;
        return rdb_read_raw(reader, __builtin_bswap32(bytes_load32(raw.data)), element_out);
    default: return ziplist_integer(packed, first, element_out);
    }
}

static int zipmap_element(struct rdb_packed *packed, struct bytes *element_out) {
    struct rdb_reader *reader = &packed->reader;
    uint8_t first, unused = 0;
    struct bytes raw;
    if (rdb_read_byte(reader, &first) != 0) return FIRN_ECORRUPT;
    size_t size = first;
    if (first == 254) {
        if (rdb_read_raw(reader, 4, &raw) != 0) return FIRN_ECORRUPT;
        size = bytes_load32(raw.data);
    } else if (first == PACKED_END) {
        return FIRN_ECORRUPT;
    }
    if (packed->in_value && rdb_read_byte(reader, &unused) != 0) return FIRN_ECORRUPT;
    if (rdb_read_raw(reader, size, element_out) != 0 || rdb_read_raw(reader, unused, &raw) != 0)
        return FIRN_ECORRUPT;
    packed->in_value = !packed->in_value;
    return 0;
}

int rdb_packed_next(struct rdb_packed *packed, struct bytes *element_out) {
    int error;
    if (packed->reader.left == 1 && !packed->in_value) return 0; /* the terminator, checked by open */
    if (packed->reader.left <= 1) return FIRN_ECORRUPT;
    switch (packed->kind) {
    case RDB_PACKED_LISTPACK: error = listpack_element(packed, element_out); break;
    case RDB_PACKED_ZIPLIST: error = ziplist_element(packed, element_out); break;
    default: error = zipmap_element(packed, element_out); break;
    }
    if (error == 0 && packed->reader.left == 0) error = FIRN_ECORRUPT;
    return error == 0 ? 1 : error;
}

void rdb_listpack_begin(struct bytes_builder *out) {
    bytes_builder_append(out, "\0\0\0\0\0\0", 6);
}

static void listpack_append_integer(struct bytes_builder *out, int64_t value) {
    uint8_t text[9];
    bytes_store64(text + 1, (uint64_t)value);
    if (value >= 0 && value <= 127) {
        bytes_builder_append_byte(out, (uint8_t)value);
    } else if (value >= -4096 && value <= 4095) {
        text[0] = (uint8_t)(0xc0 | ((uint64_t)value >> 8 & 0x1f));
        text[1] = (uint8_t)value;
        bytes_builder_append(out, text, 2);
    } else if (value >= INT16_MIN && value <= INT16_MAX) {
        text[0] = 0xf1;
        bytes_builder_append(out, text, 3);
    } else if (value >= -8388608 && value <= 8388607) {
        text[0] = 0xf2;
        bytes_builder_append(out, text, 4);
    } else if (value >= INT32_MIN && value <= INT32_MAX) {
        text[0] = 0xf3;
        bytes_builder_append(out, text, 5);
    } else {
        text[0] = 0xf4;
        bytes_builder_append(out, text, 9);
    }
}

void rdb_listpack_append(struct bytes_builder *out, struct bytes element) {
    size_t start = out->size;
    int64_t value;
    uint8_t text[5];
    if (element.size <= NUMBER_INT_TEXT_MAX && number_parse_int(element, &value) == 0) {
        listpack_append_integer(out, value);
    } else {
        if (element.size < 64) {
            bytes_builder_append_byte(out, (uint8_t)(0x80 | element.size));
        } else if (element.size < 4096) {
            text[0] = (uint8_t)(0xe0 | element.size >> 8);
            text[1] = (uint8_t)element.size;
            bytes_builder_append(out, text, 2);
        } else {
            text[0] = 0xf0;
            bytes_store32(text + 1, (uint32_t)element.size);
            bytes_builder_append(out, text, 5);
        }
        bytes_builder_append(out, element.data, element.size);
    }
    size_t size = out->size - start, back = listpack_back_bytes(size);
    for (size_t i = 0; i < back; i++) {
        uint8_t digit = (uint8_t)(size >> 7 * (back - 1 - i) & 0x7f);
        bytes_builder_append_byte(out, i > 0 ? digit | 0x80 : digit);
    }
}

void rdb_listpack_end(struct bytes_builder *out, size_t begin, size_t count) {
    bytes_builder_append_byte(out, PACKED_END);
    FIRN_ASSERT(out->size - begin <= UINT32_MAX);
    bytes_store32(out->data + begin, (uint32_t)(out->size - begin));
    bytes_store16(out->data + begin + 4, count < 0xffff ? (uint16_t)count : 0xffff);
}
