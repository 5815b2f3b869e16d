/* SPDX-License-Identifier: BSD-3-Clause */
/* DUMP and RESTORE: a value as an RDB payload (ds/rdb_format.h), made and read by the value's type_ops. */
#include "base/bytes_builder.h"
#include "base/clock.h"
#include "base/log.h"
#include "cmd/call.h"
#include "ds/number.h"
#include "ds/rdb_format.h"
#include "keyspace/evict.h"
#include "persist/persist.h"
#include "types/type.h"

#define RESTORE_FREQUENCY_MAX 255

int cmd_dump(struct call *call) {
    struct bytes_builder payload = {0};
    struct entry *entry;
    uint8_t type;
    CALL_TRY(call_find_read(call, call->argv[1], &entry));
    if (entry == NULL) {
        reply_null(call->reply);
        return 0;
    }
    bytes_builder_append_byte(&payload, 0);
    int error = type_ops(entry_type(entry))->encode(entry, &payload, &type);
    if (error == 0) {
        payload.data[0] = type;
        rdb_payload_finish(&payload);
        reply_bulk(call->reply, bytes_builder_bytes(&payload));
    }
    bytes_builder_fini(&payload);
    return error;
}

struct restore_options {
    int replace, absolute;
    int64_t ttl_ms;
    int64_t idle_seconds, frequency; /* -1: not given */
};

static int restore_parse(struct call *call, struct restore_options *options_out) {
    *options_out = (struct restore_options){.idle_seconds = -1, .frequency = -1};
    for (size_t i = 4; i < call->argc; i++) {
        int error = 0;
        int more = i + 1 < call->argc;
        if (call_option(call, i, "replace")) {
            options_out->replace = 1;
        } else if (call_option(call, i, "absttl")) {
            options_out->absolute = 1;
        } else if (call_option(call, i, "idletime") && more && options_out->frequency == -1) {
            error = call_integer(call, call->argv[++i], &options_out->idle_seconds);
            if (error == 0 && options_out->idle_seconds < 0) {
                reply_error(call->reply, "Invalid IDLETIME value, must be >= 0");
                error = FIRN_EINVALID;
            }
        } else if (call_option(call, i, "freq") && more && options_out->idle_seconds == -1) {
            error = call_integer(call, call->argv[++i], &options_out->frequency);
            if (error == 0 &&
                (options_out->frequency < 0 || options_out->frequency > RESTORE_FREQUENCY_MAX)) {
                reply_error(call->reply, "Invalid FREQ value, must be >= 0 and <= 255");
                error = FIRN_EINVALID;
            }
        } else {
            error = call_syntax_error(call);
        }
        if (error != 0) return error;
    }
    return 0;
}

/* The value in ${payload} as an entry for ${key}; errors are replied. */
static int restore_decode(struct call *call, struct bytes key, struct bytes payload,
                          struct entry **entry_out) {
    uint8_t type;
    struct bytes body;
    size_t consumed;
    if (rdb_payload_open(payload, &type, &body) != 0) {
        reply_error(call->reply, "DUMP payload version or checksum are wrong");
        return FIRN_EINVALID;
    }
    const struct type_ops *ops = type_ops_for_rdb(type);
    rdb_packed_strict = persist_config.sanitize_restore;
    int error = ops == NULL ? FIRN_ECORRUPT : ops->decode(key, type, body, &consumed, 1, entry_out);
    rdb_packed_strict = 0;
    if (error == 0 || error == FIRN_ENOMEM) return error;
    log_warning("RESTORE: %s integrity check failed.", rdb_type_name(type));
    reply_error(call->reply, "Bad data format");
    return FIRN_EINVALID;
}

/* The command in its deterministic form: deadline absolute. */
static void restore_rewrite(struct call *call, int64_t deadline_ms) {
    struct bytes argv[16];
    char digits[NUMBER_INT_TEXT_MAX];
    size_t argc = call->argc;
    if (argc + 1 > sizeof argv / sizeof argv[0]) return;
    memcpy(argv, call->argv, argc * sizeof argv[0]);
    argv[0] = bytes_of_text("RESTORE");
    argv[2] = bytes_of(digits, number_format_int(deadline_ms, digits));
    argv[argc++] = bytes_of_text("ABSTTL");
    call_rewrite(call, argc, argv);
}

/* Put ${entry} where ${old} (may be NULL) is. */
static void restore_store(struct call *call, struct entry *old, struct entry *entry,
                          const struct restore_options *options, int64_t deadline_ms) {
    if (old != NULL) {
        db_replace(call->db, db_changing(call->db, old), entry);
    } else {
        db_insert(call->db, entry);
    }
    if (deadline_ms > 0) {
        entry = db_set_expiry(call->db, entry, deadline_ms);
        if (!options->absolute) restore_rewrite(call, deadline_ms);
    }
    if (options->frequency >= 0 && evict_policy_is_lfu())
        evict_set_frequency(entry, (unsigned)options->frequency);
    if (options->idle_seconds >= 0 && !evict_policy_is_lfu())
        evict_set_idle(entry, (uint64_t)options->idle_seconds);
}

int cmd_restore(struct call *call) {
    struct bytes key = call->argv[1];
    struct restore_options options;
    struct entry *old, *entry;
    CALL_TRY(restore_parse(call, &options));
    CALL_TRY(call_find_write(call, key, &old));
    if (old != NULL && !options.replace) {
        reply_error(call->reply, "-BUSYKEY Target key name already exists.");
        return 0;
    }
    CALL_TRY(call_integer(call, call->argv[2], &options.ttl_ms));
    if (options.ttl_ms < 0) {
        reply_error(call->reply, "Invalid TTL value, must be >= 0");
        return 0;
    }
    CALL_TRY(restore_decode(call, key, call->argv[3], &entry));
    int64_t now = clock_cached_ms(), deadline_ms = options.ttl_ms;
    if (deadline_ms > 0 && !options.absolute)
        deadline_ms = deadline_ms > INT64_MAX - now ? INT64_MAX : deadline_ms + now;
    if (deadline_ms > 0 && deadline_ms <= now) {
        type_ops(entry_type(entry))->free_value(entry);
        entry_free(entry);
        if (old != NULL) {
            struct bytes argv[] = {bytes_of_text("DEL"), key};
            db_delete(call->db, old);
            call_rewrite(call, 2, argv);
            call_changed(call, key);
            call_notify(call, NOTIFY_GENERIC, "del", key);
        }
        reply_ok(call->reply);
        return 0;
    }
    restore_store(call, old, entry, &options, deadline_ms);
    call_changed(call, key);
    call_notify(call, NOTIFY_GENERIC, "restore", key);
    reply_ok(call->reply);
    return 0;
}

int cmd_restore_asking(struct call *call) {
    return cmd_restore(call);
}
