/* SPDX-License-Identifier: BSD-3-Clause */
/* See rdb_format.h for the layouts of lengths and strings; those of the containers stand at their readers. */
#include "ds/rdb_format.h"

#include <liblzf/lzf.h>
#include <pthread.h>

#include "base/assert.h"
#include "base/memory.h"

#define RDB_LZF_BYTES_MIN 20u /* shorter strings are not compressed */
#define RDB_INT_BYTES_MAX 11u /* longer strings are not 32-bit integers */
#define RDB_FOOTER_BYTES  10u
#define RDB_LZF_BYTES_MAX (UINT32_C(1) << 30)

enum { RDB_FORM_INT8 = 0, RDB_FORM_INT16 = 1, RDB_FORM_INT32 = 2, RDB_FORM_LZF = 3 };

unsigned rdb_version_preferred = RDB_VERSION_WRITTEN;
int rdb_compression = 1;
int rdb_checksum_ignored;

void rdb_write_length(struct bytes_builder *out, uint64_t length) {
    uint8_t text[9];
    if (length < 64) {
        bytes_builder_append_byte(out, (uint8_t)length);
    } else if (length < 16384) {
        text[0] = (uint8_t)(0x40 | length >> 8);
        text[1] = (uint8_t)length;
        bytes_builder_append(out, text, 2);
    } else if (length <= UINT32_MAX) {
        text[0] = 0x80;
        bytes_store32(text + 1, __builtin_bswap32((uint32_t)length));
        bytes_builder_append(out, text, 5);
    } else {
        text[0] = 0x81;
        bytes_store64(text + 1, __builtin_bswap64(length));
        bytes_builder_append(out, text, 9);
    }
}

/* Whether ${text} was written as an integer. */
static int rdb_write_integer(struct bytes_builder *out, struct bytes text) {
    int64_t value;
    uint8_t form[5];
    if (text.size > RDB_INT_BYTES_MAX || number_parse_int(text, &value) != 0) return 0;
    if (value < INT32_MIN || value > INT32_MAX) return 0;
    bytes_store32(form + 1, (uint32_t)value);
    if (value >= INT8_MIN && value <= INT8_MAX) {
        form[0] = 0xc0 | RDB_FORM_INT8;
        bytes_builder_append(out, form, 2);
    } else if (value >= INT16_MIN && value <= INT16_MAX) {
        form[0] = 0xc0 | RDB_FORM_INT16;
        bytes_builder_append(out, form, 3);
    } else {
        form[0] = 0xc0 | RDB_FORM_INT32;
        bytes_builder_append(out, form, 5);
    }
    return 1;
}

/* Whether ${text} became smaller and was written compressed. */
static int rdb_write_lzf(struct bytes_builder *out, struct bytes text) {
    if (text.size <= RDB_LZF_BYTES_MIN || text.size > RDB_LZF_BYTES_MAX) return 0;
    unsigned limit = (unsigned)text.size - 4;
    uint8_t *packed = memory_try_alloc(limit + 1);
    if (packed == NULL) return 0;
    unsigned size = lzf_compress(text.data, (unsigned)text.size, packed, limit);
    if (size > 0) {
        bytes_builder_append_byte(out, 0xc0 | RDB_FORM_LZF);
        rdb_write_length(out, size);
        rdb_write_length(out, text.size);
        bytes_builder_append(out, packed, size);
    }
    memory_free(packed);
    return size > 0;
}

void rdb_write_string(struct bytes_builder *out, struct bytes text, int compress) {
    if (rdb_write_integer(out, text)) return;
    if (compress && rdb_compression && rdb_write_lzf(out, text)) return;
    rdb_write_length(out, text.size);
    bytes_builder_append(out, text.data, text.size);
}

void rdb_write_ms(struct bytes_builder *out, int64_t ms) {
    uint8_t text[8];
    bytes_store64(text, (uint64_t)ms);
    bytes_builder_append(out, text, sizeof text);
}

int rdb_read_raw(struct rdb_reader *reader, size_t size, struct bytes *raw_out) {
    if (size > reader->left) return FIRN_ECORRUPT;
    *raw_out = bytes_of(reader->at, size);
    reader->at += size;
    reader->left -= size;
    return 0;
}

int rdb_read_byte(struct rdb_reader *reader, uint8_t *byte_out) {
    if (reader->left == 0) return FIRN_ECORRUPT;
    *byte_out = *reader->at++;
    reader->left--;
    return 0;
}

/* A length, or with *is_form_out a string form. */
static int rdb_read_length_or_form(struct rdb_reader *reader, uint64_t *length_out, int *is_form_out) {
    uint8_t first, second;
    struct bytes raw;
    *is_form_out = 0;
    if (rdb_read_byte(reader, &first) != 0) return FIRN_ECORRUPT;
    switch (first >> 6) {
    case 0: *length_out = first; return 0;
    case 1:
        if (rdb_read_byte(reader, &second) != 0) return FIRN_ECORRUPT;
        *length_out = (uint64_t)(first & 0x3f) << 8 | second;
        return 0;
    case 3:
        *length_out = first & 0x3f;
        *is_form_out = 1;
        return 0;
    default: break;
    }
    if (first == 0x80) {
        if (rdb_read_raw(reader, 4, &raw) != 0) return FIRN_ECORRUPT;
        *length_out = __builtin_bswap32(bytes_load32(raw.data));
        return 0;
    }
    if (first != 0x81 || rdb_read_raw(reader, 8, &raw) != 0) return FIRN_ECORRUPT;
    *length_out = __builtin_bswap64(bytes_load64(raw.data));
    return 0;
}

int rdb_read_length(struct rdb_reader *reader, uint64_t *length_out) {
    int is_form;
    int error = rdb_read_length_or_form(reader, length_out, &is_form);
    if (error == 0 && is_form) error = FIRN_ECORRUPT;
    return error;
}

static int rdb_read_integer(struct rdb_reader *reader, uint64_t form, struct bytes_builder *scratch,
                            struct bytes *text_out) {
    struct bytes raw;
    int64_t value;
    if (rdb_read_raw(reader, (size_t)1 << form, &raw) != 0) return FIRN_ECORRUPT;
    if (form == RDB_FORM_INT8) {
        value = (int8_t)raw.data[0];
    } else if (form == RDB_FORM_INT16) {
        value = (int16_t)bytes_load16(raw.data);
    } else {
        value = (int32_t)bytes_load32(raw.data);
    }
    scratch->size = number_format_int(value, (char *)bytes_builder_reserve(scratch, NUMBER_INT_TEXT_MAX));
    *text_out = bytes_builder_bytes(scratch);
    return 0;
}

static int rdb_read_lzf(struct rdb_reader *reader, struct bytes_builder *scratch, size_t limit,
                        struct bytes *text_out) {
    uint64_t packed_size, size;
    struct bytes raw;
    if (rdb_read_length(reader, &packed_size) != 0 || rdb_read_length(reader, &size) != 0)
        return FIRN_ECORRUPT;
    if (rdb_read_raw(reader, packed_size, &raw) != 0 || size > limit || size == 0 || size > UINT32_MAX)
        return FIRN_ECORRUPT;
    if (packed_size == 0 || packed_size > UINT32_MAX) return FIRN_ECORRUPT;
    if (bytes_builder_try_reserve(scratch, size) != 0) return FIRN_ENOMEM;
    if (lzf_decompress(raw.data, (unsigned)packed_size, scratch->data, (unsigned)size) != size)
        return FIRN_ECORRUPT;
    scratch->size = size;
    *text_out = bytes_builder_bytes(scratch);
    return 0;
}

int rdb_read_string(struct rdb_reader *reader, struct bytes_builder *scratch, size_t limit,
                    struct bytes *text_out) {
    uint64_t length;
    int is_form;
    int error = rdb_read_length_or_form(reader, &length, &is_form);
    if (error != 0) return error;
    bytes_builder_clear(scratch);
    if (!is_form) return length > limit ? FIRN_ECORRUPT : rdb_read_raw(reader, length, text_out);
    if (length <= RDB_FORM_INT32) return rdb_read_integer(reader, length, scratch, text_out);
    if (length == RDB_FORM_LZF) return rdb_read_lzf(reader, scratch, limit, text_out);
    return FIRN_ECORRUPT;
}

int rdb_read_ms(struct rdb_reader *reader, int64_t *ms_out) {
    struct bytes raw;
    if (rdb_read_raw(reader, 8, &raw) != 0) return FIRN_ECORRUPT;
    *ms_out = (int64_t)bytes_load64(raw.data);
    return 0;
}

/* Reflected polynomial of CRC-64/Jones. */
#define RDB_CRC_POLYNOMIAL UINT64_C(0x95ac9329ac4bc9b5)

static uint64_t rdb_crc_table[8][256];
static pthread_once_t rdb_crc_once = PTHREAD_ONCE_INIT;

static void rdb_crc_prepare(void) {
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ RDB_CRC_POLYNOMIAL : crc >> 1;
        rdb_crc_table[0][byte] = crc;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (int slice = 1; slice < 8; slice++) {
            uint64_t before = rdb_crc_table[slice - 1][byte];
            rdb_crc_table[slice][byte] = rdb_crc_table[0][before & 0xff] ^ before >> 8;
        }
    }
}

uint64_t rdb_crc64(uint64_t crc, struct bytes data) {
    const uint8_t *at = data.data;
    size_t left = data.size;
    pthread_once(&rdb_crc_once, rdb_crc_prepare);
    for (; left >= 8; left -= 8, at += 8) {
        crc ^= bytes_load64(at);
        uint64_t next = 0;
        for (int slice = 0; slice < 8; slice++)
            next ^= rdb_crc_table[7 - slice][crc >> (8 * slice) & 0xff];
        crc = next;
    }
    for (; left > 0; left--)
        crc = rdb_crc_table[0][(crc ^ *at++) & 0xff] ^ crc >> 8;
    return crc;
}

/* Index: RDB type. */
static const struct {
    const char *name;
    uint8_t version;
} rdb_types[] = {
    {"String", 1},
    {"List", 1},
    {"Set", 1},
    {"Zset with scores as text", 1},
    {"Hash", 2},
    {"Zset", 8},
    {"Module value of the first form", 8},
    {"Module value", 8},
    {NULL, 0},
    {"Zipmap", 2},
    {"List ziplist", 2},
    {"Intset", 2},
    {"Zset ziplist", 2},
    {"Hash ziplist", 4},
    {"Quicklist ziplist", 7},
    {"Stream listpack", 9},
    {"Hash listpack", 10},
    {"Zset listpack", 10},
    {"Quicklist listpack", 10},
    {"Stream listpack (second form)", 10},
    {"Set listpack", 11},
    {"Stream listpack (third form)", 11},
    {"Hash with field deadlines, as before the release", 12},
    {"Hash listpack with field deadlines, as before the release", 12},
    {"Hash with field deadlines", 12},
    {"Hash listpack with field deadlines", 12},
};
#define RDB_TYPE_COUNT (sizeof rdb_types / sizeof *rdb_types)

unsigned rdb_type_version(uint8_t type) {
    return type < RDB_TYPE_COUNT ? rdb_types[type].version : RDB_VERSION_WRITTEN;
}

const char *rdb_type_name(uint8_t type) {
    return type < RDB_TYPE_COUNT && rdb_types[type].name != NULL ? rdb_types[type].name : "unknown";
}

/* A linear map of 64 bits over GF(2): what each bit becomes. */
struct rdb_crc_map {
    uint64_t of[64];
};

static uint64_t rdb_crc_map_apply(const struct rdb_crc_map *map, uint64_t bits) {
    uint64_t sum = 0;
    for (unsigned i = 0; bits != 0; i++, bits >>= 1)
        if (bits & 1) sum ^= map->of[i];
    return sum;
}

uint64_t rdb_crc64_combine(uint64_t first, uint64_t second, uint64_t size) {
    /* The checksum is linear: what follows shifts the first one through as many zero bytes, by squaring. */
    struct rdb_crc_map map, squared;
    static const uint8_t zero = 0;
    for (unsigned i = 0; i < 64; i++)
        map.of[i] = rdb_crc64(UINT64_C(1) << i, bytes_of(&zero, 1));
    for (; size > 0; size >>= 1) {
        if (size & 1) first = rdb_crc_map_apply(&map, first);
        for (unsigned i = 0; i < 64; i++)
            squared.of[i] = rdb_crc_map_apply(&map, map.of[i]);
        map = squared;
    }
    return first ^ second;
}

void rdb_payload_finish(struct bytes_builder *payload) {
    uint8_t footer[8];
    bytes_store16(footer, RDB_VERSION_WRITTEN);
    bytes_builder_append(payload, footer, 2);
    bytes_store64(footer, rdb_crc64(0, bytes_builder_bytes(payload)));
    bytes_builder_append(payload, footer, 8);
}

int rdb_payload_open(struct bytes payload, uint8_t *type_out, struct bytes *body_out) {
    if (payload.size < RDB_FOOTER_BYTES + 1) return FIRN_ECORRUPT;
    size_t body_size = payload.size - RDB_FOOTER_BYTES;
    const uint8_t *footer = payload.data + body_size;
    if (bytes_load16(footer) > RDB_VERSION_READ) return FIRN_ECORRUPT;
    uint64_t crc = bytes_load64(footer + 2);
    if (crc != 0 && !rdb_checksum_ignored && crc != rdb_crc64(0, bytes_of(payload.data, payload.size - 8)))
        return FIRN_ECORRUPT;
    *type_out = payload.data[0];
    *body_out = bytes_of(payload.data + 1, body_size - 1);
    return 0;
}
