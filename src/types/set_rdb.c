/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets in RDB: written as Redis 7.4 does by reported encoding (with readers before RDB 11 in mind, plainly),
 * all forms read.
 *
 *    2   n, then the members
 *   11   one string: bytes of an integer (2, 4, 8; 32 bits), how many (32 bits), the integers ascending
 *   20   one string: listpack of the members
 */
#include "base/memory.h"
#include "ds/rdb_format.h"
#include "types/intset_page.h"
#include "types/set_internal.h"

#define RDB_TYPE_SET          2u
#define RDB_TYPE_SET_INTSET   11u
#define RDB_TYPE_SET_LISTPACK 20u
#define PACKED_FORM_BYTES_MAX (1u << 30)
#define INTSET_FORM_HEAD      8u

/* --- writing --- */

struct encode_run {
    struct bytes_builder *out;
    size_t count;
};

static int set_encode_plain(struct bytes member, void *ctx) {
    struct encode_run *run = ctx;
    rdb_write_string(run->out, member, 1);
    run->count++;
    return type_encode_part(run->out, RDB_TYPE_SET);
}

static int set_encode_listpack(struct bytes member, void *ctx) {
    struct encode_run *run = ctx;
    if (run->out->size + member.size > PACKED_FORM_BYTES_MAX) return FIRN_ETOOBIG;
    rdb_listpack_append(run->out, member);
    run->count++;
    return 0;
}

static int set_encode_as_listpack(struct entry *entry, struct bytes_builder *out) {
    struct bytes_builder listpack = {0};
    struct encode_run run = {.out = &listpack};
    rdb_listpack_begin(&listpack);
    int error = set_each(entry, set_encode_listpack, &run);
    if (error == 0) {
        rdb_listpack_end(&listpack, 0, run.count);
        rdb_write_string(out, bytes_builder_bytes(&listpack), 1);
    }
    bytes_builder_fini(&listpack);
    return error;
}

static int set_encode_as_integers(struct entry *entry, struct bytes_builder *out) {
    struct packed_slot slot;
    struct bytes payload;
    struct intset_view view;
    packed_slot_open(entry, 0, &slot);
    int error = packed_slot_read(&slot, 0, &payload);
    if (error == 0) error = intset_page_open(payload, &view);
    if (error != 0) return error;
    struct bytes_builder form = {0};
    bytes_builder_append(&form, &view.width, 4);
    bytes_builder_append(&form, &view.count, 4);
    bytes_builder_append(&form, view.data, (size_t)view.width * view.count);
    rdb_write_string(out, bytes_builder_bytes(&form), 1);
    bytes_builder_fini(&form);
    return 0;
}

static int set_encode_as_plain(struct entry *entry, struct bytes_builder *out) {
    struct encode_run run = {.out = out};
    rdb_write_length(out, entry->size);
    int error = set_each(entry, set_encode_plain, &run);
    return error == 0 && run.count != entry->size ? FIRN_ECORRUPT : error;
}

int set__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out) {
    size_t begin = out->size;
    int error = set_touch_all(entry);
    if (error != 0) return error;
    error = FIRN_ETOOBIG;
    if (set__is_integers(entry)) {
        *rdb_type_out = RDB_TYPE_SET_INTSET;
        error = set_encode_as_integers(entry, out);
    } else if (entry_encoding(entry) == ENCODING_LISTPACK && rdb_version_preferred >= 11) {
        *rdb_type_out = RDB_TYPE_SET_LISTPACK;
        error = set_encode_as_listpack(entry, out);
    }
    if (error == FIRN_ETOOBIG) { /* a hashtable, or too large for one string */
        out->size = begin;
        *rdb_type_out = RDB_TYPE_SET;
        error = set_encode_as_plain(entry, out);
    }
    if (error != 0) out->size = begin;
    return error;
}

/* --- reading --- */

/* A set growing out of a body. */
struct decode_run {
    struct entry *entry;
    struct rdb_reader reader;
    struct bytes_builder scratch;
};

static int set_decode_add(struct decode_run *run, struct bytes member, unsigned flags) {
    int added;
    int error = set_add(run->entry, member, flags, &added);
    return error == 0 && !added ? FIRN_ECORRUPT : error; /* twice */
}

static int set_decode_spilled(const struct type_spilled *element, void *run) {
    int error = set_decode_add(run, element->name, 0);
    return error == 0 ? type_decode_part() : error;
}

static int set_decode_plain(struct decode_run *run) {
    int spilled = 0;
    uint64_t count;
    int error = rdb_read_length(&run->reader, &count);
    if (error != 0) return error;
    if (count == 0) return FIRN_ENOTFOUND;
    if (count > UINT32_MAX) return FIRN_ECORRUPT;
    entry_set_encoding(run->entry,
                       count > type_limits.set_max_intset_entries ? ENCODING_HASHTABLE : ENCODING_INTSET);
    for (uint64_t i = 0; error == 0 && i < count; i++) {
        struct bytes member;
        error = rdb_read_string(&run->reader, &run->scratch, PACKED_BYTES_MAX, &member);
        if (error == 0 && (spilled = type_decode_spills(run->entry)))
            error = type_decode_spill(member, bytes_of(NULL, 0), 0);
        else if (error == 0)
            error = set_decode_add(run, member, 0);
        if (error == 0) error = type_decode_part();
    }
    return error == 0 && spilled ? type_decode_unspill(set_decode_spilled, run) : error;
}

static int64_t set_decode_number(const uint8_t *at, uint32_t width) {
    if (width == 2) return (int16_t)bytes_load16(at);
    return width == 4 ? (int64_t)(int32_t)bytes_load32(at) : (int64_t)bytes_load64(at);
}

static int set_decode_integers(struct decode_run *run) {
    struct bytes form;
    int error = rdb_read_string(&run->reader, &run->scratch, PACKED_FORM_BYTES_MAX, &form);
    if (error != 0) return error;
    if (form.size < INTSET_FORM_HEAD) return FIRN_ECORRUPT;
    uint32_t width = bytes_load32(form.data), count = bytes_load32(form.data + 4);
    if (form.size == INTSET_FORM_HEAD && count == 0) return FIRN_ENOTFOUND;
    if ((width != 2 && width != 4 && width != 8) || count == 0 ||
        form.size - INTSET_FORM_HEAD != (size_t)width * count)
        return FIRN_ECORRUPT;
    entry_set_encoding(run->entry,
                       count > type_limits.set_max_intset_entries ? ENCODING_HASHTABLE : ENCODING_INTSET);
    int64_t before = 0;
    for (uint32_t i = 0; error == 0 && i < count; i++) {
        char digits[NUMBER_INT_TEXT_MAX];
        int64_t number = set_decode_number(form.data + INTSET_FORM_HEAD + (size_t)width * i, width);
        if (i > 0 && number <= before) return FIRN_ECORRUPT;
        before = number;
        error = set_decode_add(run, bytes_of(digits, number_format_int(number, digits)), 0);
    }
    return error;
}

static int set_decode_listpack(struct decode_run *run) {
    struct bytes raw, member;
    struct rdb_packed packed;
    int error = rdb_read_string(&run->reader, &run->scratch, PACKED_FORM_BYTES_MAX, &raw), got = 0;
    if (error == 0) error = rdb_packed_open(&packed, RDB_PACKED_LISTPACK, raw);
    while (error == 0 && (got = rdb_packed_next(&packed, &member)) == 1)
        error = set_decode_add(run, member, SET_AS_LISTPACK);
    if (error == 0) error = got;
    if (error != 0 || run->entry->size == 0) return error != 0 ? error : FIRN_ENOTFOUND;
    return set_expect(run->entry, run->entry->size); /* packed by number of members alone, as in Redis */
}

int set__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                struct entry **entry_out) {
    (void)deep; /* everything is always looked at */
    struct decode_run run = {.entry = entry_create(key, TYPE_SET, ENCODING_LISTPACK, 1, 0, 0),
                             .reader = rdb_reader_of(body)};
    int error = FIRN_ECORRUPT;
    switch (rdb_type) {
    case RDB_TYPE_SET: error = set_decode_plain(&run); break;
    case RDB_TYPE_SET_INTSET: error = set_decode_integers(&run); break;
    case RDB_TYPE_SET_LISTPACK: error = set_decode_listpack(&run); break;
    default: break;
    }
    bytes_builder_fini(&run.scratch);
    if (error != 0) {
        type_set_ops.free_value(run.entry);
        entry_free(run.entry);
        *consumed_out = body.size - run.reader.left;
        return type_decode_error(error);
    }
    *consumed_out = body.size - run.reader.left;
    *entry_out = run.entry;
    return 0;
}
