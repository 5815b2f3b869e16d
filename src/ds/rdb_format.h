/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Primitives of the RDB format, used by RDB files, DUMP and RESTORE: lengths, strings, checksums, and reading
 * the packed containers (listpack, ziplist, zipmap) that payloads hold. Input is never trusted: readers
 * return FIRN_ECORRUPT and never read out of bounds. Any thread.
 *
 *   LENGTH  00xxxxxx                      6 bits
 *           01xxxxxx xxxxxxxx             14 bits, big endian
 *           10000000 + 4, 10000001 + 8    32 and 64 bits, big endian
 *           11xxxxxx                      not a length: a string in form x (0, 1, 2: integer of 8, 16, 32
 * bits; 3: LZF)
 */
#ifndef FIRN_DS_RDB_FORMAT_H
#define FIRN_DS_RDB_FORMAT_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/bytes_builder.h"
#include "base/error.h"
#include "ds/number.h"

#define RDB_VERSION_WRITTEN 12u /* of payloads; Redis 7.4 writes and reads this */
#define RDB_VERSION_READ    12u

#define RDB_TYPE_STRING           0u
#define RDB_TYPE_HASH             4u
#define RDB_TYPE_MODULE           6u /* a module's value that cannot be skipped */
#define RDB_TYPE_MODULE_2         7u
#define RDB_TYPE_HASH_ZIPMAP      9u
#define RDB_TYPE_HASH_ZIPLIST     13u
#define RDB_TYPE_HASH_LISTPACK    16u
#define RDB_TYPE_HASH_METADATA    24u /* fields with deadlines: base deadline, then triples */
#define RDB_TYPE_HASH_LISTPACK_EX 25u

/* What a saved file needs at least (src/persist/README.md): readers of this version are everywhere. */
#define RDB_VERSION_COMPATIBLE 10u

/* Opcodes of a file, where a type may stand. */
#define RDB_OPCODE_RAM_LRU         107u /* length; before a key; of Redis Enterprise: not used here */
#define RDB_OPCODE_SLOT_INFO       244u /* three lengths: slot, keys, keys with a deadline */
#define RDB_OPCODE_FUNCTION        245u /* one string: source of a library */
#define RDB_OPCODE_FUNCTION_PRE_GA 246u
#define RDB_OPCODE_MODULE_AUX      247u
#define RDB_OPCODE_IDLE            248u /* length: seconds; before a key */
#define RDB_OPCODE_FREQ            249u /* one byte; before a key */
#define RDB_OPCODE_AUX             250u /* two strings: name, value */
#define RDB_OPCODE_RESIZEDB        251u /* two lengths: keys, keys with a deadline */
#define RDB_OPCODE_EXPIRETIME_MS   252u /* 8 bytes; before a key */
#define RDB_OPCODE_EXPIRETIME      253u /* 4 bytes, seconds; before a key */
#define RDB_OPCODE_SELECTDB        254u /* length */
#define RDB_OPCODE_EOF             255u

/*
 * The newest version whose forms encoders (type_ops.encode) are to use: RDB_VERSION_WRITTEN, as DUMP; a saver
 * sets it lower, and then a form of a newer version is written only for a value that an older one cannot hold
 * without loss. Executor.
 */
extern unsigned rdb_version_preferred;
/* rdbcompression: whether rdb_write_string may compress at all. Default 1. Executor. */
extern int rdb_compression;
/*
 * sanitize-dump-payload: while nonzero, packed containers must also be consistent where it would not harm:
 * counts in headers, sizes of previous elements, forms of lengths. How many were read like that. Executor.
 */
extern int rdb_packed_strict;
extern uint64_t rdb_packed_sanitized;
/* DEBUG SET-SKIP-CHECKSUM-VALIDATION: payloads and files with a wrong checksum are read. Executor. */
extern int rdb_checksum_ignored;

/* --- writing --- */
void rdb_write_length(struct bytes_builder *out, uint64_t length);
/* In the shortest form: integer, LZF (when it helps and ${compress}), or plain. */
void rdb_write_string(struct bytes_builder *out, struct bytes text, int compress);
/* Little-endian 64 bits: deadlines in ms. */
void rdb_write_ms(struct bytes_builder *out, int64_t ms);

/* --- reading --- */
struct rdb_reader {
    const uint8_t *at;
    size_t left;
};

static inline struct rdb_reader rdb_reader_of(struct bytes body) {
    return (struct rdb_reader){body.data, body.size};
}
/* The next ${size} bytes as they are. */
FIRN_MUST_USE int rdb_read_raw(struct rdb_reader *reader, size_t size, struct bytes *raw_out);
FIRN_MUST_USE int rdb_read_byte(struct rdb_reader *reader, uint8_t *byte_out);
FIRN_MUST_USE int rdb_read_length(struct rdb_reader *reader, uint64_t *length_out);
/*
 * A string: *text_out points into the reader's input, or into ${scratch} (cleared first) if it was an integer
 * or compressed. ${limit}: longest that is accepted. FIRN_ENOMEM if there is no memory for it.
 */
FIRN_MUST_USE int rdb_read_string(struct rdb_reader *reader, struct bytes_builder *scratch, size_t limit,
                                  struct bytes *text_out);
FIRN_MUST_USE int rdb_read_ms(struct rdb_reader *reader, int64_t *ms_out);

/* CRC-64 (Jones) as RDB uses it; start with ${crc} 0. */
uint64_t rdb_crc64(uint64_t crc, struct bytes data);
/* The first RDB version that knows ${type}. */
unsigned rdb_type_version(uint8_t type);
/* What ${type} is called in messages. */
const char *rdb_type_name(uint8_t type);
/* The CRC of what has CRC ${first} followed by ${size} bytes that alone have CRC ${second}. O(log size). */
uint64_t rdb_crc64_combine(uint64_t first, uint64_t second, uint64_t size);

/* --- DUMP payload: type byte, body, version (2 bytes), CRC-64 (8 bytes) --- */
void rdb_payload_finish(struct bytes_builder *payload);
/* Verify; *type_out and *body_out are what is between. A checksum of 0 says that there is none
 * (src/persist/README.md). FIRN_ECORRUPT: too short, version too new, or checksum wrong. */
FIRN_MUST_USE int rdb_payload_open(struct bytes payload, uint8_t *type_out, struct bytes *body_out);

/* --- packed containers --- */
enum rdb_packed_kind { RDB_PACKED_LISTPACK, RDB_PACKED_ZIPLIST, RDB_PACKED_ZIPMAP };

struct rdb_packed {
    enum rdb_packed_kind kind;
    struct rdb_reader reader;
    int in_value;                     /* zipmap: the next element is a value */
    int strict;                       /* what follows is checked too */
    const uint8_t *begin, *previous;  /* of the whole; of the element read last, NULL none */
    uint64_t count;                   /* elements read */
    char digits[NUMBER_INT_TEXT_MAX]; /* text of the last integer element */
};

/* Open: checks the header (whole size, terminator). Zipmap yields field, value, field, value... */
FIRN_MUST_USE int rdb_packed_open(struct rdb_packed *packed, enum rdb_packed_kind kind, struct bytes raw);
/* 1 with *element_out (integers as text; valid until the next call), 0 at the end, FIRN_ECORRUPT. */
FIRN_MUST_USE int rdb_packed_next(struct rdb_packed *packed, struct bytes *element_out);

/* Append ${element} (integers packed) to a listpack under construction: begin, elements, end. */
void rdb_listpack_begin(struct bytes_builder *out);
void rdb_listpack_append(struct bytes_builder *out, struct bytes element);
void rdb_listpack_end(struct bytes_builder *out, size_t begin, size_t count);

#endif
