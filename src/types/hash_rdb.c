/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes in RDB: written as Redis 7.4 does by reported encoding, read in every form there is.
 *
 *    4           n, then field, value ...
 *    9, 13, 16   one string: zipmap, ziplist, listpack of field, value ...
 *   24           earliest deadline (8 bytes, 0: none), n, then per field: deadline - earliest + 1 as length
 * (0: none), field, value 25           earliest deadline, one string: listpack of field, value, deadline (0:
 * none), by deadline, those without at the end 22, 23       as 24 and 25 without the earliest deadline;
 * deadlines are absolute (release candidates of 7.4)
 */
#include <stdlib.h>

#include "base/memory.h"
#include "ds/number.h"
#include "ds/rdb_format.h"
#include "types/hash_internal.h"

#define RDB_TYPE_HASH_METADATA_PRE    22u
#define RDB_TYPE_HASH_LISTPACK_EX_PRE 23u
#define HASH_DEADLINE_MAX_MS          ((INT64_C(1) << 48) - 2) /* of Redis */
#define LISTPACK_BYTES_MAX            (1u << 30)

/* --- writing --- */

struct encode_run {
    struct bytes_builder *out;
    int64_t base_ms; /* 24: deadlines relative to this; -1: no deadlines (4) */
    size_t count;
};

static int hash_encode_plain(const struct hash_field *field, void *ctx) {
    struct encode_run *run = ctx;
    if (run->base_ms >= 0)
        rdb_write_length(run->out,
                         field->expiry_ms < 0 ? 0 : (uint64_t)(field->expiry_ms - run->base_ms) + 1);
    rdb_write_string(run->out, field->field, 1);
    rdb_write_string(run->out, field->value, 1);
    run->count++;
    return type_encode_part(run->out, run->base_ms >= 0 ? RDB_TYPE_HASH_METADATA : RDB_TYPE_HASH);
}

static int hash_encode_listpack(const struct hash_field *field, void *ctx) {
    struct encode_run *run = ctx;
    if (run->out->size + field->field.size + field->value.size > LISTPACK_BYTES_MAX) return FIRN_ETOOBIG;
    rdb_listpack_append(run->out, field->field);
    rdb_listpack_append(run->out, field->value);
    run->count += 2;
    return 0;
}

/* The fields of a listpackex, to be sorted; their bytes are copied, as they may be on more pages than are
 * kept. */
struct sorted_field {
    size_t field_at, field_bytes, value_bytes;
    int64_t expiry_ms;
};
struct sort_run {
    struct sorted_field *fields;
    size_t count;
    struct bytes_builder copies;
};

static int hash_collect(const struct hash_field *field, void *ctx) {
    struct sort_run *run = ctx;
    if (run->copies.size + field->field.size + field->value.size > LISTPACK_BYTES_MAX) return FIRN_ETOOBIG;
    run->fields[run->count++] = (struct sorted_field){
        .field_at = run->copies.size,
        .field_bytes = field->field.size,
        .value_bytes = field->value.size,
        .expiry_ms = field->expiry_ms,
    };
    bytes_builder_append(&run->copies, field->field.data, field->field.size);
    bytes_builder_append(&run->copies, field->value.data, field->value.size);
    return 0;
}

static int sorted_compare(const void *a_any, const void *b_any) {
    const struct sorted_field *a = a_any, *b = b_any;
    uint64_t a_ms = (uint64_t)a->expiry_ms, b_ms = (uint64_t)b->expiry_ms; /* none (-1) is last */
    if (a_ms != b_ms) return a_ms < b_ms ? -1 : 1;
    return a->field_at < b->field_at ? -1 : 1;
}

static void hash_write_listpack_ex(const struct sort_run *run, struct bytes_builder *out) {
    struct bytes_builder listpack = {0};
    rdb_listpack_begin(&listpack);
    for (size_t i = 0; i < run->count; i++) {
        const struct sorted_field *field = &run->fields[i];
        const uint8_t *bytes = run->copies.data + field->field_at;
        char digits[NUMBER_INT_TEXT_MAX];
        unsigned digits_bytes = number_format_int(field->expiry_ms < 0 ? 0 : field->expiry_ms, digits);
        rdb_listpack_append(&listpack, bytes_of(bytes, field->field_bytes));
        rdb_listpack_append(&listpack, bytes_of(bytes + field->field_bytes, field->value_bytes));
        rdb_listpack_append(&listpack, bytes_of(digits, digits_bytes));
    }
    rdb_listpack_end(&listpack, 0, run->count * 3);
    rdb_write_ms(out, run->count > 0 && run->fields[0].expiry_ms >= 0 ? run->fields[0].expiry_ms : 0);
    rdb_write_string(out, bytes_builder_bytes(&listpack), 1);
    bytes_builder_fini(&listpack);
}

static int hash_encode_as_listpack_ex(struct entry *entry, struct bytes_builder *out) {
    struct sort_run run = {.fields = memory_alloc((entry->size + 1u) * sizeof *run.fields)};
    (void)bytes_builder_reserve(&run.copies, 1); /* also of fields that are empty there is a place */
    int error = hash_each(entry, hash_collect, &run);
    if (error == 0) {
        qsort(run.fields, run.count, sizeof *run.fields, sorted_compare);
        hash_write_listpack_ex(&run, out);
    }
    memory_free(run.fields);
    bytes_builder_fini(&run.copies);
    return error;
}

static int hash_encode_as_listpack(struct entry *entry, struct bytes_builder *out) {
    struct bytes_builder listpack = {0};
    struct encode_run run = {.out = &listpack};
    rdb_listpack_begin(&listpack);
    int error = hash_each(entry, hash_encode_listpack, &run);
    if (error == 0) {
        rdb_listpack_end(&listpack, 0, run.count);
        rdb_write_string(out, bytes_builder_bytes(&listpack), 1);
    }
    bytes_builder_fini(&listpack);
    return error;
}

static int hash_encode_as_plain(struct entry *entry, struct bytes_builder *out, int64_t deadline_ms) {
    struct encode_run run = {.out = out, .base_ms = deadline_ms};
    if (deadline_ms >= 0) rdb_write_ms(out, deadline_ms);
    rdb_write_length(out, entry->size);
    int error = hash_each(entry, hash_encode_plain, &run);
    return error == 0 && run.count != entry->size ? FIRN_ECORRUPT : error;
}

int hash__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out) {
    size_t begin = out->size;
    int error = hash_touch_all(entry);
    if (error != 0) return error;
    enum encoding encoding = entry_encoding(entry);
    int64_t deadline_ms = hash_deadline(entry);
    error = FIRN_ETOOBIG;
    if (encoding == ENCODING_LISTPACKEX || (encoding == ENCODING_LISTPACK && deadline_ms >= 0)) {
        *rdb_type_out = RDB_TYPE_HASH_LISTPACK_EX;
        error = hash_encode_as_listpack_ex(entry, out);
    } else if (encoding == ENCODING_LISTPACK) {
        *rdb_type_out = RDB_TYPE_HASH_LISTPACK;
        error = hash_encode_as_listpack(entry, out);
    }
    if (error == FIRN_ETOOBIG) { /* a hashtable, or too large for one listpack */
        out->size = begin;
        *rdb_type_out = deadline_ms >= 0 ? RDB_TYPE_HASH_METADATA : RDB_TYPE_HASH;
        error = hash_encode_as_plain(entry, out, deadline_ms);
    }
    if (error != 0) out->size = begin;
    return error;
}

/* --- reading --- */

/* A hash growing out of a body. */
struct decode_run {
    struct entry *entry;
    struct rdb_reader reader;
    struct bytes_builder field, value; /* scratch */
    unsigned set_flags;
};

static int hash_decode_add(struct decode_run *run, struct bytes field, struct bytes value,
                           int64_t expiry_ms) {
    int created;
    int error = hash_set(run->entry, field, value, run->set_flags, &created);
    if (error == 0 && !created) error = FIRN_ECORRUPT; /* twice */
    if (error == 0 && expiry_ms >= 0) error = hash_set_expiry(run->entry, field, expiry_ms);
    return error;
}

/* ${stored}: 0 none, else the deadline, or with ${base_ms} >= 0 how far from it, plus 1. */
static int hash_decode_deadline(uint64_t stored, int64_t base_ms, int64_t *expiry_ms_out) {
    *expiry_ms_out = -1;
    if (stored == 0) return 0;
    if (stored > HASH_DEADLINE_MAX_MS || base_ms > HASH_DEADLINE_MAX_MS) return FIRN_ECORRUPT;
    *expiry_ms_out = base_ms >= 0 ? base_ms + (int64_t)stored - 1 : (int64_t)stored;
    return *expiry_ms_out > HASH_DEADLINE_MAX_MS ? FIRN_ECORRUPT : 0;
}

static int hash_decode_spilled(const struct type_spilled *element, void *run) {
    int error = hash_decode_add(run, element->name, element->value, element->number);
    return error == 0 ? type_decode_part() : error;
}

/* 4, 22, 24. */
static int hash_decode_plain(struct decode_run *run, int with_deadlines, int64_t base_ms) {
    uint64_t count;
    int error = rdb_read_length(&run->reader, &count);
    if (error != 0) return error;
    if (count == 0) return FIRN_ENOTFOUND;
    if (count > UINT32_MAX) return FIRN_ECORRUPT;
    hash_expect(run->entry, count, 0);
    int spilled = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t stored = 0;
        int64_t expiry_ms;
        struct bytes field, value;
        if (with_deadlines) error = rdb_read_length(&run->reader, &stored);
        if (error == 0) error = hash_decode_deadline(stored, base_ms, &expiry_ms);
        if (error == 0) error = rdb_read_string(&run->reader, &run->field, PACKED_BYTES_MAX, &field);
        if (error == 0) error = rdb_read_string(&run->reader, &run->value, PACKED_BYTES_MAX, &value);
        if (error == 0 && (spilled = type_decode_spills(run->entry)))
            error = type_decode_spill(field, value, expiry_ms);
        else if (error == 0)
            error = hash_decode_add(run, field, value, expiry_ms);
        if (error == 0) error = type_decode_part();
        if (error != 0) return error;
    }
    return spilled ? type_decode_unspill(hash_decode_spilled, run) : 0;
}

/* The next element, copied to ${scratch}: 1, 0 at the end, or an error. */
static int hash_decode_element(struct rdb_packed *packed, struct bytes_builder *scratch,
                               struct bytes *element_out) {
    struct bytes element;
    int got = rdb_packed_next(packed, &element);
    if (got != 1) return got;
    bytes_builder_clear(scratch);
    bytes_builder_append(scratch, element.data, element.size);
    *element_out = bytes_builder_bytes(scratch);
    return 1;
}

/* 9, 13, 16, 23, 25. Deadlines rise, and fields without one come last. */
static int hash_decode_packed(struct decode_run *run, enum rdb_packed_kind kind, int with_deadlines) {
    struct bytes_builder whole = {0};
    struct bytes raw, field, value, digits;
    struct rdb_packed packed;
    uint64_t before = 0;
    int error = rdb_read_string(&run->reader, &whole, LISTPACK_BYTES_MAX * 2, &raw);
    if (error == 0) error = rdb_packed_open(&packed, kind, raw);
    while (error == 0) {
        int64_t stored = 0, expiry_ms;
        int got = hash_decode_element(&packed, &run->field, &field);
        if (got <= 0) {
            error = got;
            break;
        }
        got = hash_decode_element(&packed, &run->value, &value);
        if (got == 1 && with_deadlines) {
            got = rdb_packed_next(&packed, &digits);
            if (got == 1 && (number_parse_int(digits, &stored) != 0 || stored < 0)) got = FIRN_ECORRUPT;
        }
        error = got == 1   ? hash_decode_deadline((uint64_t)stored, -1, &expiry_ms)
                : got == 0 ? FIRN_ECORRUPT
                           : got;
        if (error == 0 && with_deadlines && (uint64_t)expiry_ms < before) error = FIRN_ECORRUPT;
        if (error == 0) error = hash_decode_add(run, field, value, expiry_ms);
        before = error == 0 ? (uint64_t)expiry_ms : 0;
    }
    bytes_builder_fini(&whole);
    return error == 0 && run->entry->size == 0 ? FIRN_ENOTFOUND : error;
}

static int hash_decode_type(struct decode_run *run, uint8_t rdb_type) {
    int64_t base_ms = -1;
    int error = 0;
    switch (rdb_type) {
    case RDB_TYPE_HASH: return hash_decode_plain(run, 0, -1);
    case RDB_TYPE_HASH_ZIPMAP: return hash_decode_packed(run, RDB_PACKED_ZIPMAP, 0);
    case RDB_TYPE_HASH_ZIPLIST: return hash_decode_packed(run, RDB_PACKED_ZIPLIST, 0);
    case RDB_TYPE_HASH_LISTPACK: return hash_decode_packed(run, RDB_PACKED_LISTPACK, 0);
    case RDB_TYPE_HASH_METADATA:
        error = rdb_read_ms(&run->reader, &base_ms);
        if (error == 0 && base_ms < 0) error = FIRN_ECORRUPT;
        return error != 0 ? error : hash_decode_plain(run, 1, base_ms);
    case RDB_TYPE_HASH_METADATA_PRE: return hash_decode_plain(run, 1, -1);
    case RDB_TYPE_HASH_LISTPACK_EX:
        error = rdb_read_ms(&run->reader, &base_ms);
        return error != 0 ? error : hash_decode_packed(run, RDB_PACKED_LISTPACK, 1);
    case RDB_TYPE_HASH_LISTPACK_EX_PRE: return hash_decode_packed(run, RDB_PACKED_LISTPACK, 1);
    default: return FIRN_ECORRUPT;
    }
}

static int is_packed(uint8_t rdb_type) {
    return rdb_type == RDB_TYPE_HASH_ZIPLIST || rdb_type == RDB_TYPE_HASH_LISTPACK ||
           rdb_type == RDB_TYPE_HASH_LISTPACK_EX || rdb_type == RDB_TYPE_HASH_LISTPACK_EX_PRE;
}

int hash__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                 struct entry **entry_out) {
    (void)deep; /* everything is always looked at */
    struct decode_run run = {.entry = hash_create(key), .reader = rdb_reader_of(body)};
    if (is_packed(rdb_type)) run.set_flags = HASH_AS_LISTPACK;
    int error = hash_decode_type(&run, rdb_type);
    bytes_builder_fini(&run.field);
    bytes_builder_fini(&run.value);
    if (error != 0) {
        type_hash_ops.free_value(run.entry);
        entry_free(run.entry);
        *consumed_out = body.size - run.reader.left;
        return type_decode_error(error);
    }
    /* Packed forms stay packed by number of fields alone, as in Redis. */
    hash_expect(run.entry, run.entry->size, 0);
    if (rdb_type >= RDB_TYPE_HASH_METADATA_PRE) hash_expect_expiry(run.entry);
    *consumed_out = body.size - run.reader.left;
    *entry_out = run.entry;
    return 0;
}
