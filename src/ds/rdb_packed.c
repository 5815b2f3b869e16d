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
#include "ds/listpack.h"
#include "ds/rdb_format.h"

#define PACKED_END         0xffu
#define PACKED_COUNT_MAX   0xffffu /* in a header: not known */
#define ZIPMAP_COUNT_MAX   254u    /* the same of a zipmap */
#define ZIPLIST_HEADER     10u
#define LENGTH_IN_ONE_BYTE 254u /* of a ziplist's previous element, of a zipmap's element */

int rdb_packed_strict;
uint64_t rdb_packed_sanitized;

int rdb_packed_open(struct rdb_packed *packed, enum rdb_packed_kind kind, struct bytes raw) {
    static const size_t header_bytes[] = {
        [RDB_PACKED_LISTPACK] = 6, [RDB_PACKED_ZIPLIST] = 10, [RDB_PACKED_ZIPMAP] = 1};
    size_t header = header_bytes[kind];
    if (raw.size < header + 1 || raw.data[raw.size - 1] != PACKED_END) return FIRN_ECORRUPT;
    if (kind != RDB_PACKED_ZIPMAP && bytes_load32(raw.data) != raw.size) return FIRN_ECORRUPT;
    /* However lenient: to the servers that keep the count this one is empty. */
    if (kind == RDB_PACKED_LISTPACK && bytes_load16(raw.data + 4) == 0 && raw.size > header + 1)
        return FIRN_ECORRUPT;
    packed->kind = kind;
    packed->in_value = 0;
    /* Ziplists and zipmaps come from old servers only: what does not fit was not written by one. */
    packed->strict = rdb_packed_strict || kind != RDB_PACKED_LISTPACK;
    packed->begin = raw.data;
    packed->previous = NULL;
    packed->count = 0;
    rdb_packed_sanitized += rdb_packed_strict != 0;
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

static int listpack_element(struct rdb_packed *packed, struct bytes *element_out) {
    struct rdb_reader *reader = &packed->reader;
    struct listpack_reader at = {reader->at, reader->at + reader->left - 1, 0};
    struct listpack_element element;
    int error = listpack_read(&at, &element);
    if (error != 0) return error;
    reader->left -= (size_t)(at.at - reader->at);
    reader->at = at.at;
    if (element.text != NULL)
        *element_out = bytes_of(element.text, element.size);
    else
        packed_small(packed, element.integer, element_out);
    return 0;
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

/* The size of the element before is the true one. */
static int ziplist_previous(const struct rdb_packed *packed, const uint8_t *at, uint64_t size) {
    uint64_t expected = packed->previous == NULL ? 0 : (uint64_t)(at - packed->previous);
    return !packed->strict || size == expected ? 0 : FIRN_ECORRUPT;
}

static int ziplist_element(struct rdb_packed *packed, struct bytes *element_out) {
    struct rdb_reader *reader = &packed->reader;
    const uint8_t *at = reader->at;
    uint8_t first, second;
    struct bytes raw;
    if (rdb_read_byte(reader, &first) != 0) return FIRN_ECORRUPT;
    uint64_t before = first;
    if (first == 0xfe) {
        if (rdb_read_raw(reader, 4, &raw) != 0) return FIRN_ECORRUPT;
        before = bytes_load32(raw.data);
    }
    if (ziplist_previous(packed, at, before) != 0) return FIRN_ECORRUPT;
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
        if (packed->strict && size < LENGTH_IN_ONE_BYTE) return FIRN_ECORRUPT;
    } else if (first == PACKED_END) {
        return FIRN_ECORRUPT;
    }
    if (packed->in_value && rdb_read_byte(reader, &unused) != 0) return FIRN_ECORRUPT;
    if (rdb_read_raw(reader, size, element_out) != 0 || rdb_read_raw(reader, unused, &raw) != 0)
        return FIRN_ECORRUPT;
    packed->in_value = !packed->in_value;
    return 0;
}

/* At the end: what the header says is what was there. */
static int packed_end(const struct rdb_packed *packed) {
    if (!packed->strict) return 0;
    if (packed->kind == RDB_PACKED_ZIPMAP) {
        unsigned pairs = packed->begin[0];
        return pairs >= ZIPMAP_COUNT_MAX || packed->count == 2u * pairs ? 0 : FIRN_ECORRUPT;
    }
    size_t count_at = packed->kind == RDB_PACKED_ZIPLIST ? 8 : 4;
    unsigned count = bytes_load16(packed->begin + count_at);
    if (count != PACKED_COUNT_MAX && packed->count != count) return FIRN_ECORRUPT;
    if (packed->kind == RDB_PACKED_LISTPACK) return 0;
    size_t last = packed->previous == NULL ? ZIPLIST_HEADER : (size_t)(packed->previous - packed->begin);
    return bytes_load32(packed->begin + 4) == last ? 0 : FIRN_ECORRUPT;
}

int rdb_packed_next(struct rdb_packed *packed, struct bytes *element_out) {
    int error;
    const uint8_t *at = packed->reader.at;
    if (packed->reader.left == 1 && !packed->in_value)
        return packed_end(packed); /* the terminator, checked by open */
    if (packed->reader.left <= 1) return FIRN_ECORRUPT;
    switch (packed->kind) {
    case RDB_PACKED_LISTPACK: error = listpack_element(packed, element_out); break;
    case RDB_PACKED_ZIPLIST: error = ziplist_element(packed, element_out); break;
    default: error = zipmap_element(packed, element_out); break;
    }
    if (error == 0 && packed->reader.left == 0) error = FIRN_ECORRUPT;
    packed->previous = at;
    packed->count++;
    return error == 0 ? 1 : error;
}

void rdb_listpack_begin(struct bytes_builder *out) {
    bytes_builder_append(out, "\0\0\0\0\0\0", 6);
}

void rdb_listpack_append(struct bytes_builder *out, struct bytes element) {
    uint8_t *at = bytes_builder_reserve(out, element.size + LISTPACK_TEXT_OVERHEAD_MAX);
    out->size += (size_t)(listpack_put_text(at, element) - at);
}

void rdb_listpack_end(struct bytes_builder *out, size_t begin, size_t count) {
    bytes_builder_append_byte(out, PACKED_END);
    FIRN_ASSERT(out->size - begin <= UINT32_MAX);
    bytes_store32(out->data + begin, (uint32_t)(out->size - begin));
    bytes_store16(out->data + begin + 4, count < 0xffff ? (uint16_t)count : 0xffff);
}
