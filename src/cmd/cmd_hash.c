/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands on hashes, but for the deadlines of fields (cmd_hash_expire.c) and those that walk
 * (cmd_hash_walk.c).
 *
 * A field that is due is invisible: reading one removes it (event "hexpired" once per command, "del" if it
 * was the last one), as Redis 7.4 does; HLEN counts it until then and HDEL takes it for a field. Executor
 * only.
 */
#include <math.h>

#include "cmd/cmd_hash_internal.h"
#include "cmd/command.h"
#include "ds/number.h"

/* --- shared --- */

int cmd_hash__failed(struct call *call, int error) {
    if (error == FIRN_ETOOBIG) {
        reply_error(call->reply, "hash field or value is too long");
        return 0;
    }
    return error;
}

int cmd_hash__touch(struct call *call, struct entry *entry, size_t first, size_t count, size_t step) {
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        int error = hash_touch(entry, call->argv[first + i * step]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

void cmd_hash__keep_deadline(struct call *call, struct entry *entry, int64_t old_ms) {
    int64_t deadline_ms = hash_deadline(entry);
    if (deadline_ms != old_ms || deadline_ms >= 0)
        db_set_field_deadline(call->db, entry, old_ms, deadline_ms);
}

int cmd_hash__remove_due(struct call *call, struct entry **entry_inout, struct bytes field) {
    struct entry *entry = *entry_inout = db_changing(call->db, *entry_inout);
    int64_t old_ms = cmd_hash__deadline(entry);
    int error = hash_delete(entry, field);
    if (error != 0) return error;
    db_stats.expired_fields++;
    if (db_hooks.fields_expired != NULL) db_hooks.fields_expired(call->db, entry_key(entry), field);
    cmd_hash__keep_deadline(call, entry, old_ms);
    return 0;
}

int cmd_hash__delete_if_empty(struct call *call, struct bytes key, struct entry *entry) {
    if (entry->size > 0) return 0;
    db_delete(call->db, entry);
    call_notify(call, NOTIFY_GENERIC, "del", key);
    return 1;
}

void cmd_hash__announce_due(struct call *call, struct bytes key, struct entry **entry_inout) {
    call_notify(call, NOTIFY_HASH, "hexpired", key);
    if (cmd_hash__delete_if_empty(call, key, *entry_inout)) *entry_inout = NULL;
    db_changed(call->db, key);
}

/*
 * The value of ${field}, or FIRN_ENOTFOUND; a due one is removed and the same. ${keep_empty}: the caller is
 * about to set it, so the key stays even if this was its last field.
 */
static int field_get(struct call *call, struct entry **entry_inout, struct bytes field, int keep_empty,
                     struct bytes *value_out, int64_t *expiry_ms_out) {
    int error = hash_get(*entry_inout, field, value_out, expiry_ms_out);
    if (__builtin_expect(error != 0 || !cmd_hash__is_due(*expiry_ms_out), 1)) return error;
    error = cmd_hash__remove_due(call, entry_inout, field);
    if (error != 0) return error;
    struct bytes key = call->argv[1];
    if (keep_empty) {
        call_notify(call, NOTIFY_HASH, "hexpired", key);
    } else {
        cmd_hash__announce_due(call, key, entry_inout);
    }
    return FIRN_ENOTFOUND;
}

/* --- HSET and its like --- */

/* What has become of the pairs of argv[2 ..]: how many are set, how many of these are new fields. */
struct pairs_done {
    size_t set;
    int64_t created;
};

/* A new hash under argv[1] with ${pairs} pairs, put in the database. */
static int create_with_pairs(struct call *call, size_t pairs, size_t bytes_max, struct pairs_done *done_out) {
    struct entry *entry = hash_create(call->argv[1]);
    hash_expect(entry, pairs, bytes_max);
    for (size_t i = 0; i < pairs; i++) {
        int error = hash_set(entry, call->argv[2 + i * 2], call->argv[3 + i * 2], 0, NULL);
        if (error != 0) {
            type_hash_ops.free_value(entry);
            entry_free(entry);
            return error;
        }
    }
    *done_out = (struct pairs_done){pairs, entry->size};
    db_insert(call->db, entry);
    return 0;
}

/* Set ${pairs} pairs in ${entry}. */
static int set_pairs(struct call *call, struct entry *entry, size_t pairs, size_t bytes_max,
                     struct pairs_done *done_out) {
    int error = 0;
    if (pairs > 1 || entry->flags & ENTRY_FIELD_TTL) {
        error = cmd_hash__touch(call, entry, 2, pairs, 2);
        if (error != 0) return error;
    }
    int64_t old_ms = cmd_hash__deadline(entry);
    entry = db_changing(call->db, entry);
    for (size_t i = 0; i < pairs; i++) {
        int created;
        error = hash_set(entry, call->argv[2 + i * 2], call->argv[3 + i * 2], 0, &created);
        if (error != 0) break;
        if (i == 0) hash_expect(entry, pairs, bytes_max);
        if (i == 0 && pairs > 1) call_must_finish(call);
        done_out->set++;
        done_out->created += created;
    }
    if (entry->flags & ENTRY_FIELD_TTL) cmd_hash__keep_deadline(call, entry, old_ms);
    return error;
}

/* Set ${pairs} pairs in ${entry}, NULL for a new hash. */
static int put_pairs(struct call *call, struct entry *entry, size_t pairs, int64_t *created_out) {
    struct pairs_done done = {0};
    size_t bytes_max = 0;
    for (size_t i = 2; i < call->argc; i++) {
        if (call->argv[i].size > bytes_max) bytes_max = call->argv[i].size;
    }
    int error = entry == NULL ? create_with_pairs(call, pairs, bytes_max, &done)
                              : set_pairs(call, entry, pairs, bytes_max, &done);
    if (done.set > 0) { /* also those before a failure */
        call_changed_elements(call, call->argv[1], done.set);
        call_notify(call, NOTIFY_HASH, "hset", call->argv[1]);
    }
    *created_out = done.created;
    return error;
}

static int set_generic(struct call *call, int64_t *created_out) {
    struct entry *entry;
    int error = call_find_write_type(call, call->argv[1], TYPE_HASH, &entry);
    if (error != 0) return call_error(error) == 0 ? FIRN_EINVALID : error;
    return put_pairs(call, entry, (call->argc - 2) / 2, created_out);
}

static int check_pairs(struct call *call) {
    if (call->argc % 2 == 0) return 1;
    reply_error_format(call->reply, "wrong number of arguments for '%s' command", call->command->name);
    return 0;
}

int cmd_hset(struct call *call) {
    int64_t created;
    if (!check_pairs(call)) return 0;
    int error = set_generic(call, &created);
    if (error == FIRN_EINVALID) return 0; /* WRONGTYPE is replied */
    if (error != 0) return cmd_hash__failed(call, error);
    reply_integer(call->reply, created);
    return 0;
}

int cmd_hmset(struct call *call) {
    int64_t created;
    if (!check_pairs(call)) return 0;
    int error = set_generic(call, &created);
    if (error == FIRN_EINVALID) return 0;
    if (error != 0) return cmd_hash__failed(call, error);
    reply_ok(call->reply);
    return 0;
}

int cmd_hsetnx(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_HASH, &entry));
    if (entry != NULL) {
        struct bytes value;
        int64_t expiry_ms;
        int error = field_get(call, &entry, call->argv[2], 0, &value, &expiry_ms);
        if (error == 0) {
            reply_integer(call->reply, 0);
            return 0;
        }
        if (error != FIRN_ENOTFOUND) return cmd_hash__failed(call, error);
    }
    int64_t created;
    int error = put_pairs(call, entry, 1, &created);
    if (error != 0) return cmd_hash__failed(call, error);
    reply_integer(call->reply, 1);
    return 0;
}

/* --- reading fields --- */

int cmd_hget(struct call *call) {
    struct entry *entry;
    struct bytes value;
    int64_t expiry_ms;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &entry));
    int error =
        entry == NULL ? FIRN_ENOTFOUND : field_get(call, &entry, call->argv[2], 0, &value, &expiry_ms);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    if (error == 0) {
        reply_bulk(call->reply, value);
    } else {
        reply_null(call->reply);
    }
    return 0;
}

int cmd_hmget(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &entry));
    if (entry != NULL) {
        int error = cmd_hash__touch(call, entry, 2, call->argc - 2, 1);
        if (error != 0) return error;
    }
    unsigned due = 0;
    int error = 0;
    reply_array(call->reply, call->argc - 2);
    for (size_t i = 2; i < call->argc && error == 0; i++) {
        struct bytes value;
        int64_t expiry_ms;
        error = entry == NULL ? FIRN_ENOTFOUND : hash_get(entry, call->argv[i], &value, &expiry_ms);
        if (error == 0 && !cmd_hash__is_due(expiry_ms)) {
            reply_bulk(call->reply, value);
            continue;
        }
        if (error == 0) {
            error = cmd_hash__remove_due(call, &entry, call->argv[i]);
            due += error == 0;
        } else if (error == FIRN_ENOTFOUND) {
            error = 0;
        }
        if (error == 0) reply_null(call->reply);
    }
    if (due > 0) cmd_hash__announce_due(call, call->argv[1], &entry);
    return error;
}

/* HEXISTS and HSTRLEN: a number about one field, 0 if there is none. */
static int reply_about_field(struct call *call, int want_length) {
    struct entry *entry;
    struct bytes value;
    int64_t expiry_ms;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &entry));
    int error =
        entry == NULL ? FIRN_ENOTFOUND : field_get(call, &entry, call->argv[2], 0, &value, &expiry_ms);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    reply_integer(call->reply, error != 0 ? 0 : want_length ? (int64_t)value.size : 1);
    return 0;
}

int cmd_hexists(struct call *call) {
    return reply_about_field(call, 0);
}

int cmd_hstrlen(struct call *call) {
    return reply_about_field(call, 1);
}

int cmd_hlen(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &entry));
    reply_integer(call->reply, entry == NULL ? 0 : entry->size);
    return 0;
}

/* --- HDEL --- */

static int delete_fields(struct call *call, struct entry *entry, int64_t *deleted_out) {
    struct bytes key = call->argv[1];
    int error = cmd_hash__touch(call, entry, 2, call->argc - 2, 1);
    if (error != 0) return error;
    int64_t old_ms = cmd_hash__deadline(entry);
    entry = db_changing(call->db, entry);
    for (size_t i = 2; i < call->argc && entry->size > 0; i++) {
        error = hash_delete(entry, call->argv[i]);
        if (error == 0 && (*deleted_out)++ == 0) call_must_finish(call);
        if (error != 0 && error != FIRN_ENOTFOUND) break;
        error = 0;
    }
    if (*deleted_out > 0) { /* also those before a failure */
        if (entry->flags & ENTRY_FIELD_TTL) cmd_hash__keep_deadline(call, entry, old_ms);
        call_changed_elements(call, key, (uint64_t)*deleted_out);
        call_notify(call, NOTIFY_HASH, "hdel", key);
        cmd_hash__delete_if_empty(call, key, entry);
    }
    return error;
}

int cmd_hdel(struct call *call) {
    struct entry *entry;
    int64_t deleted = 0;
    int error = 0;
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_HASH, &entry));
    if (entry != NULL) error = delete_fields(call, entry, &deleted);
    if (error != 0) return error;
    reply_integer(call->reply, deleted);
    return 0;
}

/* --- increments --- */

/* Set argv[2] of ${entry} (NULL: a new hash is made) to ${value}, its deadline kept; then change, event
 * ${event}. */
static int set_incremented(struct call *call, struct entry *entry, struct bytes value, const char *event) {
    struct bytes key = call->argv[1];
    int error;
    if (entry == NULL) {
        entry = hash_create(key);
        error = hash_set(entry, call->argv[2], value, 0, NULL);
        if (error != 0) {
            type_hash_ops.free_value(entry);
            entry_free(entry);
            return error;
        }
        db_insert(call->db, entry);
    } else {
        entry = db_changing(call->db, entry);
        error = hash_set(entry, call->argv[2], value, HASH_KEEP_EXPIRY, NULL);
        if (error != 0) return error;
    }
    call_changed(call, key);
    call_notify(call, NOTIFY_HASH, event, key);
    return 0;
}

int cmd_hincrby(struct call *call) {
    struct entry *entry;
    struct bytes text;
    int64_t increment, value = 0, expiry_ms;
    CALL_TRY(call_integer(call, call->argv[3], &increment));
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_HASH, &entry));
    int error = entry == NULL ? FIRN_ENOTFOUND : field_get(call, &entry, call->argv[2], 1, &text, &expiry_ms);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    if (error == 0 && number_parse_int(text, &value) != 0) {
        reply_error(call->reply, "hash value is not an integer");
        return 0;
    }
    if (__builtin_add_overflow(value, increment, &value)) {
        reply_error(call->reply, "increment or decrement would overflow");
        return 0;
    }
    char digits[NUMBER_INT_TEXT_MAX];
    unsigned size = number_format_int(value, digits);
    error = set_incremented(call, entry, bytes_of(digits, size), "hincrby");
    if (error != 0) return cmd_hash__failed(call, error);
    reply_integer(call->reply, value);
    return 0;
}

int cmd_hincrbyfloat(struct call *call) {
    struct entry *entry;
    struct bytes text;
    long double increment, value = 0;
    int64_t expiry_ms = -1;
    if (number_parse_long_double(call->argv[3], &increment) != 0) {
        reply_error(call->reply, "value is not a valid float");
        return 0;
    }
    if (isnan(increment) || isinf(increment)) {
        reply_error(call->reply, "value is NaN or Infinity");
        return 0;
    }
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_HASH, &entry));
    int error = entry == NULL ? FIRN_ENOTFOUND : field_get(call, &entry, call->argv[2], 1, &text, &expiry_ms);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    if (error == 0 && number_parse_long_double(text, &value) != 0) {
        reply_error(call->reply, "hash value is not a float");
        return 0;
    }
    value += increment;
    if (isnan(value) || isinf(value)) {
        reply_error(call->reply, "increment would produce NaN or Infinity");
        return 0;
    }
    char digits[NUMBER_LONG_DOUBLE_TEXT_MAX];
    unsigned size = number_format_long_double(value, digits);
    int keeps_deadline = error == 0 && expiry_ms >= 0;
    error = set_incremented(call, entry, bytes_of(digits, size), "hincrbyfloat");
    if (error != 0) return cmd_hash__failed(call, error);
    reply_bulk(call->reply, bytes_of(digits, size));
    if (!keeps_deadline) { /* HSET would clear it */
        struct bytes argv[4] = {bytes_of_text("HSET"), call->argv[1], call->argv[2], bytes_of(digits, size)};
        call_rewrite(call, 4, argv);
    }
    return 0;
}
