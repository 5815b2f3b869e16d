/* SPDX-License-Identifier: BSD-3-Clause */
/* Time to live of keys: EXPIRE PEXPIRE EXPIREAT PEXPIREAT TTL PTTL EXPIRETIME PEXPIRETIME PERSIST. No value
 * is needed. Executor only. */
#include "base/clock.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "ds/number.h"

#define EXPIRE_NX 1u
#define EXPIRE_XX 2u
#define EXPIRE_GT 4u
#define EXPIRE_LT 8u

static int parse_conditions(struct call *call, unsigned *conditions_out) {
    unsigned found = 0;
    for (size_t i = 3; i < call->argc; i++) {
        if (call_option(call, i, "NX")) {
            found |= EXPIRE_NX;
        } else if (call_option(call, i, "XX")) {
            found |= EXPIRE_XX;
        } else if (call_option(call, i, "GT")) {
            found |= EXPIRE_GT;
        } else if (call_option(call, i, "LT")) {
            found |= EXPIRE_LT;
        } else {
            struct bytes option = call->argv[i];
            int shown = option.size > 128 ? 128 : (int)option.size;
            reply_error_format(call->reply, "Unsupported option %.*s", shown, (const char *)option.data);
            return FIRN_EINVALID;
        }
    }
    if ((found & EXPIRE_NX) && (found & ~EXPIRE_NX)) {
        reply_error(call->reply, "NX and XX, GT or LT options at the same time are not compatible");
        return FIRN_EINVALID;
    }
    if ((found & EXPIRE_GT) && (found & EXPIRE_LT)) {
        reply_error(call->reply, "GT and LT options at the same time are not compatible");
        return FIRN_EINVALID;
    }
    *conditions_out = found;
    return 0;
}

/* ${argument} in ${unit_ms} from ${base_ms} as milliseconds since the epoch. */
static int parse_when(struct call *call, struct bytes argument, int64_t base_ms, int64_t unit_ms,
                      int64_t *when_out) {
    int64_t when;
    int error = call_integer(call, argument, &when);
    if (error != 0) return error;
    if (__builtin_mul_overflow(when, unit_ms, &when) || when > INT64_MAX - base_ms) {
        reply_error_format(call->reply, "invalid expire time in '%s' command", call->command->name);
        return FIRN_EINVALID;
    }
    *when_out = when + base_ms;
    return 0;
}

/* Whether the conditions let an expiry of ${current_ms} (-1: none) become ${when_ms}. */
static int allowed(unsigned conditions, int64_t current_ms, int64_t when_ms) {
    if ((conditions & EXPIRE_NX) && current_ms >= 0) return 0;
    if ((conditions & EXPIRE_XX) && current_ms < 0) return 0;
    if ((conditions & EXPIRE_GT) && (current_ms < 0 || when_ms <= current_ms)) return 0;
    if ((conditions & EXPIRE_LT) && current_ms >= 0 && when_ms >= current_ms) return 0;
    return 1;
}

static void expire_at_once(struct call *call, struct entry *entry) {
    struct bytes key = call->argv[1];
    const struct bytes as_delete[] = {bytes_of_text("DEL"), key};
    call_rewrite(call, 2, as_delete);
    key = call->argv[1];
    db_delete(call->db, entry);
    call_changed(call, key);
    call_notify(call, NOTIFY_GENERIC, "del", key);
}

static int set_expiry(struct call *call, int64_t base_ms, int64_t unit_ms) {
    struct bytes key = call->argv[1];
    unsigned conditions;
    int64_t when_ms;
    struct entry *entry;
    CALL_TRY(parse_conditions(call, &conditions));
    CALL_TRY(parse_when(call, call->argv[2], base_ms, unit_ms, &when_ms));
    CALL_TRY(call_find_write(call, key, &entry));
    if (entry == NULL || !allowed(conditions, entry_expiry(entry), when_ms)) {
        reply_integer(call->reply, 0);
        return 0;
    }
    if (when_ms <= clock_cached_ms()) {
        expire_at_once(call, entry);
    } else {
        char text[NUMBER_INT_TEXT_MAX];
        unsigned size = number_format_int(when_ms, text);
        const struct bytes as_absolute[] = {bytes_of_text("PEXPIREAT"), key, bytes_of(text, size)};
        call_rewrite(call, 3, as_absolute);
        db_set_expiry(call->db, entry, when_ms);
        call_changed(call, key);
        call_notify(call, NOTIFY_GENERIC, "expire", key);
    }
    reply_integer(call->reply, 1);
    return 0;
}

int cmd_expire(struct call *call) {
    return set_expiry(call, clock_cached_ms(), 1000);
}

int cmd_pexpire(struct call *call) {
    return set_expiry(call, clock_cached_ms(), 1);
}

int cmd_expireat(struct call *call) {
    return set_expiry(call, 0, 1000);
}

int cmd_pexpireat(struct call *call) {
    return set_expiry(call, 0, 1);
}

/* Reply with the expiry less ${base_ms}, in ${unit_ms} rounded to the nearest; -1: none; -2: no key. */
static int get_expiry(struct call *call, int64_t base_ms, int64_t unit_ms) {
    struct entry *entry;
    CALL_TRY(db_find(call->db, call->argv[1], LOOKUP_READ | LOOKUP_NO_TOUCH, &entry));
    int64_t expiry_ms = entry == NULL ? -1 : entry_expiry(entry);
    if (entry == NULL) {
        reply_integer(call->reply, -2);
    } else if (expiry_ms < 0) {
        reply_integer(call->reply, -1);
    } else {
        int64_t value_ms = expiry_ms > base_ms ? expiry_ms - base_ms : 0;
        reply_integer(call->reply,
                      unit_ms == 1 ? value_ms : value_ms / unit_ms + (value_ms % unit_ms >= unit_ms / 2));
    }
    return 0;
}

int cmd_ttl(struct call *call) {
    return get_expiry(call, clock_cached_ms(), 1000);
}

int cmd_pttl(struct call *call) {
    return get_expiry(call, clock_cached_ms(), 1);
}

int cmd_expiretime(struct call *call) {
    return get_expiry(call, 0, 1000);
}

int cmd_pexpiretime(struct call *call) {
    return get_expiry(call, 0, 1);
}

int cmd_persist(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_write(call, call->argv[1], &entry));
    if (entry == NULL || entry_expiry(entry) < 0) {
        reply_integer(call->reply, 0);
        return 0;
    }
    db_set_expiry(call->db, entry, -1);
    call_changed(call, call->argv[1]);
    call_notify(call, NOTIFY_GENERIC, "persist", call->argv[1]);
    reply_integer(call->reply, 1);
    return 0;
}
