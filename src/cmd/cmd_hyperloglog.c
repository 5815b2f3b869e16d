/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HyperLogLogs are ordinary strings (ds/hyperloglog.h has their format), cold or paged as those are. A dense
 * one is changed byte by byte where it is; a sparse one is small and written anew.
 */
#include "base/bytes_builder.h"
#include "base/limits.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "ds/hyperloglog.h"
#include "ds/number.h"
#include "keyspace/db_string.h"

static const char corrupt_error[] = "-INVALIDOBJ Corrupted HLL object detected";

/* A HyperLogLog at hand. ${value} is all of it, wherever that is; ${scratch} holds it where it is not in one
 * piece. */
struct sketch {
    struct entry *entry; /* NULL: no such key */
    struct bytes value;
    struct bytes_builder scratch;
};

static int not_one(struct call *call) {
    reply_error(call->reply, "-WRONGTYPE Key is not a valid HyperLogLog string value.");
    return FIRN_EWRONGTYPE;
}

/* All of ${sketch}->entry (a string) into ->value; replies if it is no HyperLogLog. Without ${promote} the
 * entry stays where it is. */
static int sketch_read(struct call *call, struct sketch *sketch, int promote) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct entry *entry = sketch->entry;
    int error;
    if (entry->size < HYPERLOGLOG_HEADER_BYTES || entry_encoding(entry) == ENCODING_INT) return not_one(call);
    if (entry->size > STRING_BLOB_MAX_BYTES) { /* no need to read a huge string that is none */
        error = string_range(entry, 0, HYPERLOGLOG_HEADER_BYTES, digits, &sketch->scratch, &sketch->value);
        if (error != 0) return error;
        if (!hyperloglog_is(sketch->value, entry->size)) return not_one(call);
    }
    error = promote ? db_string_read(call->db, &sketch->entry, digits, &sketch->scratch, &sketch->value)
                    : string_range(entry, 0, entry->size, digits, &sketch->scratch, &sketch->value);
    if (error != 0) return error;
    return hyperloglog_is(sketch->value, sketch->value.size) ? 0 : not_one(call);
}

/* 0, or the reply about a corrupt one and FIRN_EINVALID, or what to return upward. */
static int sketch_error(struct call *call, int error) {
    if (error != FIRN_ECORRUPT) return error;
    reply_error(call->reply, corrupt_error);
    return FIRN_EINVALID;
}

/* Write ${data} at ${offset} where it is and look at the value anew. */
static int sketch_write(struct call *call, struct sketch *sketch, uint64_t offset, struct bytes data) {
    char digits[NUMBER_INT_TEXT_MAX];
    int error = db_string_write(call->db, &sketch->entry, offset, data);
    if (error != 0) return error;
    call_must_finish(call);
    return string_range(sketch->entry, 0, sketch->entry->size, digits, &sketch->scratch, &sketch->value);
}

/* As sketch_read, for a command that may change it: raw from now on, whatever comes of it, as in Redis. */
static int sketch_open(struct call *call, struct sketch *sketch) {
    int error = sketch_read(call, sketch, 1);
    if (error != 0 || entry_encoding(sketch->entry) == ENCODING_RAW) return error;
    return sketch_write(call, sketch, 0, bytes_of("", 0));
}

/* Make ${value} what ${key} holds. */
static int sketch_store(struct call *call, struct bytes key, struct sketch *sketch, struct bytes value) {
    if (sketch->entry != NULL && value.size >= sketch->entry->size)
        return db_string_write(call->db, &sketch->entry, 0, value);
    return db_string_set(call->db, key, sketch->entry, value, STRING_FORM_RAW, DB_STRING_KEEP_EXPIRY, NULL);
}

static void announce(struct call *call, struct bytes key, uint64_t changed) {
    call_changed_elements(call, key, changed);
    call_notify(call, NOTIFY_STRING, "pfadd", key);
}

/* --- PFADD --- */

/* Elements from argument ${i} on into a dense one. *changed_inout counts the registers that changed. */
static int add_dense(struct call *call, struct sketch *sketch, size_t i, unsigned *changed_inout) {
    for (; i < call->argc; i++) {
        struct hyperloglog_place place;
        uint8_t patch[HYPERLOGLOG_PATCH_BYTES], rank;
        size_t offset;
        unsigned index = hyperloglog_register(call->argv[i], &rank);
        int error = hyperloglog_find(sketch->value, index, &place);
        if (error == 0 && rank > place.rank) {
            unsigned bytes = hyperloglog_patch(sketch->value, index, rank, patch, &offset);
            error = sketch_write(call, sketch, offset, bytes_of(patch, bytes));
            ++*changed_inout;
        }
        if (error != 0) return error;
    }
    uint64_t cached;
    if (*changed_inout == 0 || !hyperloglog_cached(sketch->value, &cached)) return 0;
    uint8_t header[HYPERLOGLOG_HEADER_BYTES];
    memcpy(header, sketch->value.data, sizeof header);
    hyperloglog_spoil(header);
    return sketch_write(call, sketch, 0, bytes_of(header, sizeof header));
}

/* The same into a sparse one or (key missing) an empty one: *value_inout is a copy to change, made when the
 * first change is met. */
static int add_sparse(struct call *call, struct sketch *sketch, struct bytes_builder *value_inout,
                      unsigned *changed_inout) {
    for (size_t i = 2; i < call->argc; i++) {
        struct hyperloglog_place place;
        uint8_t rank;
        struct bytes present = value_inout->size > 0 ? bytes_builder_bytes(value_inout) : sketch->value;
        unsigned index = hyperloglog_register(call->argv[i], &rank);
        int error = hyperloglog_find(present, index, &place);
        if (error == 0 && rank > place.rank) {
            if (value_inout->size == 0) bytes_builder_append(value_inout, present.data, present.size);
            error = hyperloglog_raise(value_inout, &place, rank, type_limits.hll_sparse_max_bytes);
            ++*changed_inout;
        }
        if (error != 0) return error;
    }
    return 0;
}

static int add(struct call *call, struct sketch *sketch, struct bytes_builder *value) {
    struct bytes key = call->argv[1];
    unsigned changed = 0;
    int error = call_find_write_type(call, key, TYPE_STRING, &sketch->entry);
    if (error == 0 && sketch->entry != NULL) error = sketch_open(call, sketch);
    if (error != 0) return error;
    if (sketch->entry == NULL) {
        hyperloglog_create(value);
        changed = 1;
    } else if (hyperloglog_is_dense(sketch->value)) {
        error = add_dense(call, sketch, 2, &changed);
        if (error != 0) return error;
        goto done;
    }
    error = sketch_error(call, add_sparse(call, sketch, value, &changed));
    if (error != 0) return error;
    if (changed > 0) {
        hyperloglog_spoil(value->data);
        error = sketch_store(call, key, sketch, bytes_builder_bytes(value));
        if (error != 0) return error;
    }
done:
    if (changed > 0) announce(call, key, changed);
    reply_integer(call->reply, changed > 0);
    return 0;
}

int cmd_pfadd(struct call *call) {
    struct sketch sketch = {0};
    struct bytes_builder value = {0};
    int error = add(call, &sketch, &value);
    bytes_builder_fini(&value);
    bytes_builder_fini(&sketch.scratch);
    return call_error(error);
}

/* --- PFCOUNT, PFMERGE --- */

/* Ask for every page of the keys from argument 1 on: nothing is read one after the other. */
static int touch_all(struct call *call) {
    int faulted = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct entry *entry;
        int error =
            db_find(call->db, call->argv[i], LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY, &entry);
        if (error == 0 && entry != NULL && entry_type(entry) == TYPE_STRING && !(entry->flags & ENTRY_INLINE))
            error = string_touch(entry, 0, entry->size);
        if (error != 0 && error != FIRN_EFAULT) return error;
        faulted |= error != 0;
    }
    return faulted ? FIRN_EFAULT : 0;
}

/* Merge all keys from argument 1 on. *any_dense_out (may be NULL). */
static int merge_all(struct call *call, uint8_t *registers, int *any_dense_out) {
    int any_dense = 0, error = touch_all(call);
    for (size_t i = 1; error == 0 && i < call->argc; i++) {
        struct sketch sketch = {0};
        error = call_find_read_type(call, call->argv[i], TYPE_STRING, &sketch.entry);
        if (error == 0 && sketch.entry != NULL) error = sketch_read(call, &sketch, 0);
        if (error == 0 && sketch.entry != NULL) {
            any_dense |= hyperloglog_is_dense(sketch.value);
            error = sketch_error(call, hyperloglog_merge(sketch.value, registers));
        }
        bytes_builder_fini(&sketch.scratch);
    }
    if (any_dense_out != NULL) *any_dense_out = any_dense;
    return error;
}

static int count_all(struct call *call) {
    uint8_t registers[HYPERLOGLOG_REGISTERS] = {0};
    CALL_TRY(merge_all(call, registers, NULL));
    reply_integer(call->reply, (int64_t)hyperloglog_count_registers(registers));
    return 0;
}

/* One key: what is counted is kept in it, as Redis does. */
static int count_one(struct call *call, struct sketch *sketch) {
    uint64_t count;
    uint8_t header[HYPERLOGLOG_HEADER_BYTES];
    int error = call_find_read_type(call, call->argv[1], TYPE_STRING, &sketch->entry);
    if (error == 0 && sketch->entry != NULL) error = sketch_open(call, sketch);
    if (error != 0) return error;
    if (sketch->entry == NULL) {
        count = 0;
    } else if (!hyperloglog_cached(sketch->value, &count)) {
        error = sketch_error(call, hyperloglog_count(sketch->value, &count));
        if (error != 0) return error;
        memcpy(header, sketch->value.data, sizeof header);
        hyperloglog_cache(header, count);
        error = sketch_write(call, sketch, 0, bytes_of(header, sizeof header));
        if (error != 0) return error;
        call_changed(call, call->argv[1]);
    }
    reply_integer(call->reply, (int64_t)count);
    return 0;
}

int cmd_pfcount(struct call *call) {
    if (call->argc > 2) return count_all(call);
    struct sketch sketch = {0};
    int error = count_one(call, &sketch);
    bytes_builder_fini(&sketch.scratch);
    return call_error(error);
}

static int merge(struct call *call, struct sketch *target, struct bytes_builder *value) {
    uint8_t registers[HYPERLOGLOG_REGISTERS] = {0};
    struct bytes key = call->argv[1];
    int any_dense;
    int error = merge_all(call, registers, &any_dense);
    if (error == 0) error = call_find_write_type(call, key, TYPE_STRING, &target->entry);
    if (error == 0 && target->entry != NULL) error = sketch_open(call, target);
    if (error != 0) return error;
    if (target->entry == NULL) {
        hyperloglog_create(value);
    } else {
        bytes_builder_append(value, target->value.data, target->value.size);
    }
    error = any_dense ? hyperloglog_make_dense(value) : 0;
    if (error == 0) error = hyperloglog_raise_all(value, registers, type_limits.hll_sparse_max_bytes);
    error = sketch_error(call, error);
    if (error != 0) return error;
    hyperloglog_spoil(value->data);
    error = sketch_store(call, key, target, bytes_builder_bytes(value));
    if (error != 0) return error;
    announce(call, key, 1);
    reply_ok(call->reply);
    return 0;
}

int cmd_pfmerge(struct call *call) {
    struct sketch target = {0};
    struct bytes_builder value = {0};
    int error = merge(call, &target, &value);
    bytes_builder_fini(&value);
    bytes_builder_fini(&target.scratch);
    return call_error(error);
}

/* --- PFDEBUG, PFSELFTEST --- */

static int debug_make_dense(struct call *call, struct sketch *sketch, int *changed_out) {
    struct bytes_builder value = {0};
    *changed_out = !hyperloglog_is_dense(sketch->value);
    if (!*changed_out) return 0;
    bytes_builder_append(&value, sketch->value.data, sketch->value.size);
    int error = sketch_error(call, hyperloglog_make_dense(&value));
    if (error == 0) error = sketch_store(call, call->argv[2], sketch, bytes_builder_bytes(&value));
    bytes_builder_fini(&value);
    if (error == 0) call_changed(call, call->argv[2]);
    return error;
}

static int debug_registers(struct call *call, struct sketch *sketch) {
    uint8_t registers[HYPERLOGLOG_REGISTERS] = {0};
    int changed, error = sketch_error(call, hyperloglog_merge(sketch->value, registers));
    if (error == 0) error = debug_make_dense(call, sketch, &changed);
    if (error != 0) return error;
    reply_array(call->reply, HYPERLOGLOG_REGISTERS);
    for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i++)
        reply_integer(call->reply, registers[i]);
    return 0;
}

static int debug_decode(struct call *call, struct sketch *sketch) {
    struct bytes_builder text = {0};
    if (hyperloglog_is_dense(sketch->value)) {
        reply_error(call->reply, "HLL encoding is not sparse");
        return 0;
    }
    int error = sketch_error(call, hyperloglog_describe(sketch->value, &text));
    if (error == 0) reply_bulk(call->reply, bytes_builder_bytes(&text));
    bytes_builder_fini(&text);
    return error;
}

static int debug(struct call *call, struct sketch *sketch) {
    int changed, error = call_find_write_type(call, call->argv[2], TYPE_STRING, &sketch->entry);
    if (error == 0 && sketch->entry == NULL) {
        reply_error(call->reply, "The specified key does not exist");
        return 0;
    }
    if (error == 0) error = sketch_open(call, sketch);
    if (error != 0) return error;
    if (call_option(call, 1, "getreg")) return debug_registers(call, sketch);
    if (call_option(call, 1, "decode")) return debug_decode(call, sketch);
    if (call_option(call, 1, "encoding")) {
        reply_status(call->reply, hyperloglog_is_dense(sketch->value) ? "dense" : "sparse");
    } else if (call_option(call, 1, "todense")) {
        error = debug_make_dense(call, sketch, &changed);
        if (error == 0) reply_integer(call->reply, changed);
    } else {
        reply_error_format(call->reply, "Unknown PFDEBUG subcommand '%.*s'", (int)call->argv[1].size,
                           (const char *)call->argv[1].data);
    }
    return error;
}

int cmd_pfdebug(struct call *call) {
    struct sketch sketch = {0};
    int error = debug(call, &sketch);
    bytes_builder_fini(&sketch.scratch);
    return call_error(error);
}

#define SELFTEST_ELEMENTS   200000u
#define SELFTEST_CHECKED_AT 1.5  /* checked each time there are this many times more */
#define SELFTEST_ERROR_MAX  0.04 /* five standard errors */

int cmd_pfselftest(struct call *call) {
    struct bytes_builder sparse = {0}, dense = {0};
    hyperloglog_create(&sparse);
    hyperloglog_create(&dense);
    int error = hyperloglog_make_dense(&dense);
    double check_at = 1;
    const char *failure = NULL;
    for (uint64_t i = 1; error == 0 && failure == NULL && i <= SELFTEST_ELEMENTS; i++) {
        struct bytes_builder *both[] = {&sparse, &dense};
        uint64_t counts[2] = {0}, element = i * UINT64_C(0x9e3779b97f4a7c15);
        uint8_t rank;
        unsigned index = hyperloglog_register(bytes_of(&element, sizeof element), &rank);
        for (unsigned j = 0; error == 0 && j < 2; j++) {
            struct hyperloglog_place place;
            error = hyperloglog_find(bytes_builder_bytes(both[j]), index, &place);
            if (error == 0 && rank > place.rank)
                error = hyperloglog_raise(both[j], &place, rank, type_limits.hll_sparse_max_bytes);
            if (error == 0 && (double)i >= check_at)
                error = hyperloglog_count(bytes_builder_bytes(both[j]), &counts[j]);
        }
        if ((double)i < check_at) continue;
        check_at *= SELFTEST_CHECKED_AT;
        double wrong = ((double)counts[1] - (double)i) / (double)i;
        if (counts[0] != counts[1]) failure = "TESTFAILED sparse and dense count differently";
        if (wrong > SELFTEST_ERROR_MAX || wrong < -SELFTEST_ERROR_MAX)
            failure = "TESTFAILED too large an error";
    }
    bytes_builder_fini(&sparse);
    bytes_builder_fini(&dense);
    if (error != 0) failure = "TESTFAILED corrupt";
    if (failure != NULL) {
        reply_error_format(call->reply, "-%s", failure);
    } else {
        reply_ok(call->reply);
    }
    return 0;
}
