/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sorted sets in RDB: written as Redis 7.4 does by reported encoding, all forms read.
 *
 *    3   n, then members and scores; a score is one byte of length and its text, or 253 (NaN), 254 (inf), 255
 *        (-inf) alone
 *    5   n, then members and scores of 8 bytes binary64, written highest first
 *   12   one string: ziplist of members and scores as text
 *   17   one string: listpack of members and scores as text
 */
#include <math.h>

#include "base/memory.h"
#include "ds/rdb_format.h"
#include "types/packed_page.h"
#include "types/zset_internal.h"

#define RDB_TYPE_ZSET          3u
#define RDB_TYPE_ZSET_2        5u
#define RDB_TYPE_ZSET_ZIPLIST  12u
#define RDB_TYPE_ZSET_LISTPACK 17u
#define PACKED_FORM_BYTES_MAX  (1u << 30)
#define INTEGER_SCORE_MAX      4611686018427387904.0 /* 2^62 */

/* --- writing --- */

struct encode_run {
    struct bytes_builder *out;
    size_t count;
};

static int encode_plain(struct bytes member, double score, void *ctx) {
    struct encode_run *run = ctx;
    rdb_write_string(run->out, member, 1);
    bytes_builder_append(run->out, &score, sizeof score);
    run->count++;
    return type_encode_part(run->out, RDB_TYPE_ZSET_2);
}

static int encode_packed(struct bytes member, double score, void *ctx) {
    struct encode_run *run = ctx;
    char text[NUMBER_DOUBLE_TEXT_MAX];
    if (run->out->size + member.size > PACKED_FORM_BYTES_MAX) return FIRN_ETOOBIG;
    /* integers as such, whatever their size (-0 as 0), as Redis does it */
    unsigned size = fabs(score) < INTEGER_SCORE_MAX && score == (double)(int64_t)score
                        ? number_format_int((int64_t)score, text)
                        : number_format_double(score, text);
    rdb_listpack_append(run->out, member);
    rdb_listpack_append(run->out, bytes_of(text, size));
    run->count += 2;
    return 0;
}

static int encode_as_listpack(struct entry *entry, struct bytes_builder *out) {
    struct bytes_builder listpack = {0};
    struct encode_run run = {.out = &listpack};
    rdb_listpack_begin(&listpack);
    int error = zset_each(entry, (struct zset_span){.count = entry->size}, 0, encode_packed, &run);
    if (error == 0) {
        rdb_listpack_end(&listpack, 0, run.count);
        rdb_write_string(out, bytes_builder_bytes(&listpack), 1);
    }
    bytes_builder_fini(&listpack);
    return error;
}

int zset__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out) {
    size_t begin = out->size;
    struct zset_span all = {.count = entry->size};
    int error = zset_touch_span(entry, all);
    if (error != 0) return error;
    error = FIRN_ETOOBIG;
    if (entry_encoding(entry) == ENCODING_LISTPACK) {
        *rdb_type_out = RDB_TYPE_ZSET_LISTPACK;
        error = encode_as_listpack(entry, out);
    }
    if (error == FIRN_ETOOBIG) { /* a skiplist, or too large for one string */
        struct encode_run run = {.out = out};
        out->size = begin;
        *rdb_type_out = RDB_TYPE_ZSET_2;
        rdb_write_length(out, entry->size);
        error = zset_each(entry, all, 1, encode_plain, &run);
    }
    if (error != 0) out->size = begin;
    return error;
}

/* --- reading --- */

/* A sorted set growing out of a body. */
struct decode_run {
    struct entry *entry;
    struct rdb_reader reader;
    struct bytes_builder scratch;
    size_t longest;
};

static int decode_add(struct decode_run *run, struct bytes member, double score) {
    enum zset_outcome outcome;
    double given;
    if (isnan(score)) return FIRN_ECORRUPT;
    if (member.size > run->longest) run->longest = member.size;
    int error = zset_put(run->entry, member, score, ZSET_NX | ZSET_AS_LISTPACK, &outcome, &given);
    return error == 0 && outcome != ZSET_ADDED ? FIRN_ECORRUPT : error; /* twice */
}

/* A score as type 3 has it. */
static int decode_score_text(struct rdb_reader *reader, double *score_out) {
    uint8_t size;
    struct bytes text;
    int error = rdb_read_byte(reader, &size);
    if (error != 0) return error;
    if (size >= 253) {
        if (size == 253) return FIRN_ECORRUPT;
        *score_out = size == 254 ? HUGE_VAL : -HUGE_VAL;
        return 0;
    }
    error = rdb_read_raw(reader, size, &text);
    if (error == 0 && number_parse_double(text, score_out) != 0) error = FIRN_ECORRUPT;
    return error;
}

/* Half of an element of a sorted set larger than memory: its place in the order, which is that of the file;
 * the other half is found by hash, and comes when all are there. */
static int decode_by_score(struct decode_run *run, struct bytes member, double score) {
    int64_t bits;
    if (isnan(score) || run->entry->size == UINT32_MAX) return FIRN_ECORRUPT;
    memcpy(&bits, &score, sizeof bits);
    if (member.size > run->longest) run->longest = member.size;
    int error = type_decode_spill(member, bytes_of(NULL, 0), bits);
    return error == 0 ? zset__add_to_tree(run->entry, member, score) : error;
}

static int decode_spilled(const struct type_spilled *element, void *ctx) {
    struct decode_run *run = ctx;
    double score;
    memcpy(&score, &element->number, sizeof score);
    int error = zset__add_to_members(run->entry, element->name, score);
    return error == 0 ? type_decode_part() : error;
}

static int decode_plain(struct decode_run *run, int is_text) {
    int spilled = 0;
    uint64_t count;
    int error = rdb_read_length(&run->reader, &count);
    if (error != 0) return error;
    if (count == 0) return FIRN_ENOTFOUND;
    if (count > UINT32_MAX) return FIRN_ECORRUPT;
    entry_set_encoding(run->entry, ENCODING_SKIPLIST);
    for (uint64_t i = 0; error == 0 && i < count; i++) {
        struct bytes member, raw;
        double score;
        error = rdb_read_string(&run->reader, &run->scratch, PACKED_BYTES_MAX, &member);
        if (error == 0 && is_text) {
            error = decode_score_text(&run->reader, &score);
        } else if (error == 0) {
            error = rdb_read_raw(&run->reader, sizeof score, &raw);
            if (error == 0) memcpy(&score, raw.data, sizeof score);
        }
        if (error == 0 && (spilled = type_decode_spills(run->entry)))
            error = decode_by_score(run, member, score);
        else if (error == 0)
            error = decode_add(run, member, score);
        if (error == 0) error = type_decode_part();
    }
    if (error == 0 && spilled) error = type_decode_unspill(decode_spilled, run);
    if (error == 0) zset_settle_encoding(run->entry, run->longest);
    return error;
}

static int decode_packed(struct decode_run *run, enum rdb_packed_kind kind) {
    struct bytes raw, element;
    struct rdb_packed packed;
    struct bytes_builder member = {0};
    int error = rdb_read_string(&run->reader, &run->scratch, PACKED_FORM_BYTES_MAX, &raw), got = 0;
    if (error == 0) error = rdb_packed_open(&packed, kind, raw);
    while (error == 0 && (got = rdb_packed_next(&packed, &element)) == 1) {
        double score;
        bytes_builder_clear(&member); /* an integer's text lives until the next element only */
        bytes_builder_append(&member, element.data, element.size);
        got = rdb_packed_next(&packed, &element);
        if (got != 1 || number_parse_double(element, &score) != 0) {
            error = FIRN_ECORRUPT;
        } else {
            error = decode_add(run, bytes_builder_bytes(&member), score);
        }
    }
    bytes_builder_fini(&member);
    if (error == 0) error = got;
    if (error != 0 || run->entry->size == 0) return error != 0 ? error : FIRN_ENOTFOUND;
    zset_expect(run->entry, run->entry->size, 0); /* packed by number alone, as in Redis */
    return 0;
}

int zset__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                 struct entry **entry_out) {
    (void)deep; /* everything is always looked at */
    struct decode_run run = {.entry = entry_create(key, TYPE_ZSET, ENCODING_LISTPACK, 1, 0, 0),
                             .reader = rdb_reader_of(body)};
    int error = FIRN_ECORRUPT;
    switch (rdb_type) {
    case RDB_TYPE_ZSET: error = decode_plain(&run, 1); break;
    case RDB_TYPE_ZSET_2: error = decode_plain(&run, 0); break;
    case RDB_TYPE_ZSET_ZIPLIST: error = decode_packed(&run, RDB_PACKED_ZIPLIST); break;
    case RDB_TYPE_ZSET_LISTPACK: error = decode_packed(&run, RDB_PACKED_LISTPACK); break;
    default: break;
    }
    bytes_builder_fini(&run.scratch);
    if (error != 0) {
        type_zset_ops.free_value(run.entry);
        entry_free(run.entry);
        *consumed_out = body.size - run.reader.left;
        return type_decode_error(error);
    }
    *consumed_out = body.size - run.reader.left;
    *entry_out = run.entry;
    return 0;
}
