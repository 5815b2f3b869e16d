/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deadlines of hash fields: HEXPIRE and its like, HTTL and its like, HPERSIST. Replies per field:
 *
 *   HEXPIRE   -2 no such field   0 condition not met   1 set   2 removed, as the time has passed
 *   HTTL      -2 no such field  -1 no deadline
 *   HPERSIST  -2 no such field  -1 no deadline         1 removed
 *
 * A field that is due counts as none and is left for expiry. Executor only.
 */
#include "base/memory.h"
#include "cmd/cmd_hash_internal.h"
#include "cmd/command.h"
#include "ds/number.h"

#define DEADLINE_MAX_MS ((INT64_C(1) << 46) - 1)

#define FIELD_NONE        (-2)
#define FIELD_NO_DEADLINE (-1)
#define FIELD_NOT_MET     0
#define FIELD_DONE        1
#define FIELD_REMOVED     2

/* "FIELDS count field ..." from argv[${at}] on. */
static int parse_fields(struct call *call, size_t at, const char *count_error, size_t *first_out,
                        size_t *count_out) {
    int64_t count;
    if (!call_option(call, at, "FIELDS") || at + 1 >= call->argc) {
        reply_error(call->reply, "Mandatory argument FIELDS is missing or not at the right position");
        return FIRN_EINVALID;
    }
    if (number_parse_int(call->argv[at + 1], &count) != 0 || count < 1) {
        reply_error(call->reply, count_error);
        return FIRN_EINVALID;
    }
    if ((uint64_t)count != call->argc - at - 2) {
        reply_error(call->reply, "The `numfields` parameter must match the number of arguments");
        return FIRN_EINVALID;
    }
    *first_out = at + 2;
    *count_out = (size_t)count;
    return 0;
}

static int reply_none(struct call *call, size_t count) {
    reply_array(call->reply, count);
    for (size_t i = 0; i < count; i++)
        reply_integer(call->reply, FIELD_NONE);
    return 0;
}

/* --- HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT --- */

enum condition { CONDITION_NONE, CONDITION_NX, CONDITION_XX, CONDITION_GT, CONDITION_LT };

struct hexpire {
    struct entry *entry;
    int64_t expiry_ms;
    enum condition condition;
    size_t first, count;
    size_t updated, removed;
    struct bytes *kept; /* fields that were updated, for propagation */
};

/* The deadline asked for, in ms since the epoch. */
static int parse_deadline(struct call *call, int64_t base_ms, int64_t unit_ms, int64_t *expiry_ms_out) {
    int64_t value;
    int error = call_integer(call, call->argv[2], &value);
    if (error != 0) return error;
    if (value < 0) {
        reply_error(call->reply, "invalid expire time, must be >= 0");
        return FIRN_EINVALID;
    }
    if (value > DEADLINE_MAX_MS / unit_ms || value * unit_ms > DEADLINE_MAX_MS - base_ms) {
        reply_error_format(call->reply, "invalid expire time in '%s' command", call->command->name);
        return FIRN_EINVALID;
    }
    *expiry_ms_out = value * unit_ms + base_ms;
    return 0;
}

static enum condition parse_condition(const struct call *call) {
    if (call_option(call, 3, "NX")) return CONDITION_NX;
    if (call_option(call, 3, "XX")) return CONDITION_XX;
    if (call_option(call, 3, "GT")) return CONDITION_GT;
    return call_option(call, 3, "LT") ? CONDITION_LT : CONDITION_NONE;
}

static int condition_met(enum condition condition, int64_t old_ms, int64_t new_ms) {
    switch (condition) {
    case CONDITION_NX: return old_ms < 0;
    case CONDITION_XX: return old_ms >= 0;
    case CONDITION_GT: return old_ms >= 0 && new_ms > old_ms;
    case CONDITION_LT: return old_ms < 0 || new_ms < old_ms;
    default: return 1;
    }
}

/* hash_set_expiry where a reply has begun: no room in a page of a gigabyte is no memory. */
static int set_deadline(struct entry *entry, struct bytes field, int64_t expiry_ms) {
    int error = hash_set_expiry(entry, field, expiry_ms);
    return error == FIRN_ETOOBIG ? FIRN_ENOMEM : error;
}

/* One field; *result_out is what to reply. */
static int hexpire_field(struct call *call, struct hexpire *hexpire, struct bytes field, int *result_out) {
    struct bytes value;
    int64_t old_ms;
    *result_out = FIELD_NONE;
    int error = hexpire->entry->size == 0 ? FIRN_ENOTFOUND : hash_get(hexpire->entry, field, &value, &old_ms);
    if (error == FIRN_ENOTFOUND) return 0;
    if (error != 0) return error;
    if (cmd_hash__is_due(old_ms)) return 0;
    *result_out = FIELD_NOT_MET;
    if (!condition_met(hexpire->condition, old_ms, hexpire->expiry_ms)) return 0;
    if (cmd_hash__is_due(hexpire->expiry_ms)) {
        error = cmd_hash__remove_due(call, &hexpire->entry, field);
        *result_out = FIELD_REMOVED;
        hexpire->removed += error == 0;
    } else {
        error = set_deadline(hexpire->entry, field, hexpire->expiry_ms);
        *result_out = FIELD_DONE;
        if (error == 0) hexpire->kept[hexpire->updated++] = field;
    }
    return error;
}

/* HPEXPIREAT key deadline [condition] FIELDS n field ... with the fields that were updated. */
static void hexpire_propagate(struct call *call, const struct hexpire *hexpire) {
    if (hexpire->updated == 0) {
        call_no_propagation(call);
        return;
    }
    char deadline[NUMBER_INT_TEXT_MAX], count[NUMBER_INT_TEXT_MAX];
    struct bytes *argv = memory_alloc((hexpire->updated + 6) * sizeof *argv);
    size_t argc = 0;
    argv[argc++] = bytes_of_text("HPEXPIREAT");
    argv[argc++] = call->argv[1];
    argv[argc++] = bytes_of(deadline, number_format_int(hexpire->expiry_ms, deadline));
    if (hexpire->condition != CONDITION_NONE) argv[argc++] = call->argv[3];
    argv[argc++] = bytes_of_text("FIELDS");
    argv[argc++] = bytes_of(count, number_format_int((int64_t)hexpire->updated, count));
    for (size_t i = 0; i < hexpire->updated; i++)
        argv[argc++] = hexpire->kept[i];
    call_rewrite(call, argc, argv);
    memory_free(argv);
}

static int hexpire_fields(struct call *call, struct hexpire *hexpire) {
    int error = cmd_hash__touch(call, hexpire->entry, hexpire->first, hexpire->count, 1);
    if (error != 0) return error;
    int64_t old_ms = cmd_hash__deadline(hexpire->entry);
    hexpire->entry = db_changing(call->db, hexpire->entry);
    hash_expect_expiry(hexpire->entry);
    hexpire->kept = memory_alloc(hexpire->count * sizeof *hexpire->kept);
    reply_array(call->reply, hexpire->count);
    for (size_t i = 0; i < hexpire->count && error == 0; i++) {
        int result;
        error = hexpire_field(call, hexpire, call->argv[hexpire->first + i], &result);
        if (error == 0) reply_integer(call->reply, result);
        if (hexpire->updated + hexpire->removed == 1) call_must_finish(call);
    }
    if (hexpire->updated > 0) cmd_hash__keep_deadline(call, hexpire->entry, old_ms);
    hexpire_propagate(call, hexpire);
    memory_free(hexpire->kept);
    return error;
}

static int hexpire_generic(struct call *call, int64_t base_ms, int64_t unit_ms) {
    struct hexpire hexpire = {0};
    struct bytes key = call->argv[1];
    CALL_TRY(call_find_write_type(call, key, TYPE_HASH, &hexpire.entry));
    CALL_TRY(parse_deadline(call, base_ms, unit_ms, &hexpire.expiry_ms));
    hexpire.condition = parse_condition(call);
    CALL_TRY(parse_fields(call, hexpire.condition == CONDITION_NONE ? 3 : 4,
                          "Parameter `numFields` should be greater than 0", &hexpire.first, &hexpire.count));
    if (hexpire.entry == NULL) return reply_none(call, hexpire.count);
    int error = hexpire_fields(call, &hexpire);
    if (hexpire.updated + hexpire.removed == 0) return error;
    call_changed(call, key); /* also those before a failure */
    call_notify(call, NOTIFY_HASH, hexpire.removed > 0 ? "hdel" : "hexpire", key);
    cmd_hash__delete_if_empty(call, key, hexpire.entry);
    return error;
}

int cmd_hexpire(struct call *call) {
    return hexpire_generic(call, clock_cached_ms(), 1000);
}
int cmd_hpexpire(struct call *call) {
    return hexpire_generic(call, clock_cached_ms(), 1);
}
int cmd_hexpireat(struct call *call) {
    return hexpire_generic(call, 0, 1000);
}
int cmd_hpexpireat(struct call *call) {
    return hexpire_generic(call, 0, 1);
}

/* --- HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME --- */

#define COUNT_ERROR "Number of fields must be a positive integer"

static int httl_generic(struct call *call, int64_t base_ms, int64_t unit_ms) {
    struct entry *entry;
    size_t first, count;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &entry));
    CALL_TRY(parse_fields(call, 2, COUNT_ERROR, &first, &count));
    if (entry == NULL) return reply_none(call, count);
    int error = cmd_hash__touch(call, entry, first, count, 1);
    if (error != 0) return error;
    reply_array(call->reply, count);
    for (size_t i = 0; i < count; i++) {
        struct bytes value;
        int64_t expiry_ms;
        error = hash_get(entry, call->argv[first + i], &value, &expiry_ms);
        if (error != 0 && error != FIRN_ENOTFOUND) return error;
        if (error != 0 || cmd_hash__is_due(expiry_ms)) {
            reply_integer(call->reply, FIELD_NONE);
        } else if (expiry_ms < 0) {
            reply_integer(call->reply, FIELD_NO_DEADLINE);
        } else {
            reply_integer(call->reply, (expiry_ms - base_ms + unit_ms - 1) / unit_ms);
        }
    }
    return 0;
}

int cmd_httl(struct call *call) {
    return httl_generic(call, clock_cached_ms(), 1000);
}
int cmd_hpttl(struct call *call) {
    return httl_generic(call, clock_cached_ms(), 1);
}
int cmd_hexpiretime(struct call *call) {
    return httl_generic(call, 0, 1000);
}
int cmd_hpexpiretime(struct call *call) {
    return httl_generic(call, 0, 1);
}

/* --- HPERSIST --- */

/* One field; *result_out is what to reply. */
static int hpersist_field(struct entry *entry, struct bytes field, int *result_out) {
    struct bytes value;
    int64_t expiry_ms;
    *result_out = FIELD_NONE;
    int error = hash_get(entry, field, &value, &expiry_ms);
    if (error == FIRN_ENOTFOUND) return 0;
    if (error != 0 || cmd_hash__is_due(expiry_ms)) return error;
    *result_out = expiry_ms < 0 ? FIELD_NO_DEADLINE : FIELD_DONE;
    return expiry_ms < 0 ? 0 : set_deadline(entry, field, -1);
}

int cmd_hpersist(struct call *call) {
    struct entry *entry;
    struct bytes key = call->argv[1];
    size_t first, count, changed = 0;
    CALL_TRY(call_find_write_type(call, key, TYPE_HASH, &entry));
    CALL_TRY(parse_fields(call, 2, COUNT_ERROR, &first, &count));
    if (entry == NULL) return reply_none(call, count);
    int error = cmd_hash__touch(call, entry, first, count, 1);
    if (error != 0) return error;
    int64_t old_ms = cmd_hash__deadline(entry);
    entry = db_changing(call->db, entry);
    reply_array(call->reply, count);
    for (size_t i = 0; i < count && error == 0; i++) {
        int result;
        error = hpersist_field(entry, call->argv[first + i], &result);
        if (error != 0) break;
        if (result == FIELD_DONE && changed++ == 0) call_must_finish(call);
        reply_integer(call->reply, result);
    }
    if (changed == 0) {
        call_no_propagation(call);
        return error;
    }
    cmd_hash__keep_deadline(call, entry, old_ms);
    call_changed(call, key); /* also those before a failure */
    call_notify(call, NOTIFY_HASH, "hpersist", key);
    return error;
}
