/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * String commands but LCS (cmd_lcs.c) and bits (cmd_bitmap.c). Values are reached through
 * keyspace/db_string.h. A command that overwrites never reads; one that changes reads everything it needs
 * before its first change (rules H1 to H5 in call.h).
 */
#include <limits.h>
#include <math.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/cmd_string.h"
#include "cmd/command.h"
#include "ds/number.h"
#include "keyspace/db_string.h"
#include "proto/reply.h"

#define MGET_KEYS_ON_STACK 64u

/* --- values --- */

int cmd_string_reply(struct call *call, struct entry *entry) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes part;
    if (__builtin_expect(entry->flags & ENTRY_INLINE, 1)) {
        if (entry_encoding(entry) == ENCODING_INT) {
            reply_bulk_integer(call->reply, string_integer(entry));
        } else {
            reply_bulk(call->reply, bytes_of(entry_inline(entry), entry->size));
        }
        return 0;
    }
    if (string_sequence(entry) == NULL) {
        int error = db_string_read(call->db, &entry, digits, NULL, &part);
        if (error == 0) reply_bulk(call->reply, part);
        return error;
    }
    int error = string_touch(entry, 0, entry->size);
    if (error != 0) return error;
    reply_bulk_begin(call->reply, entry->size);
    for (uint64_t offset = 0; offset < entry->size; offset += part.size) {
        error = string_part(entry, offset, digits, &part);
        if (error != 0) return error; /* the dispatcher rolls the reply back */
        reply_bulk_part(call->reply, part);
    }
    reply_bulk_end(call->reply);
    return 0;
}

int cmd_string_fits(struct call *call, uint64_t size, uint64_t more) {
    uint64_t limit = type_limits.string_bytes_max < UINT32_MAX ? type_limits.string_bytes_max : UINT32_MAX;
    if (size + more >= more && size + more <= limit) return 0;
    reply_error(call->reply, "string exceeds maximum allowed size (proto-max-bulk-len)");
    return FIRN_ETOOBIG;
}

/* --- SET and its options --- */

#define OPTION_NX      0x01u
#define OPTION_XX      0x02u
#define OPTION_GET     0x04u
#define OPTION_KEEPTTL 0x08u
#define OPTION_PERSIST 0x10u
#define OPTION_EXPIRE  0x20u
#define OPTION_SECONDS 0x40u /* the time is in seconds */
#define OPTION_AT      0x80u /* the time is absolute */
#define OPTION_TTL     (OPTION_KEEPTTL | OPTION_PERSIST)
#define OPTION_TIME    (OPTION_EXPIRE | OPTION_SECONDS | OPTION_AT)

struct string_options {
    unsigned flags;
    struct bytes time; /* with OPTION_EXPIRE */
};

struct string_option {
    const char *word;
    unsigned sets;
    unsigned excludes;
    int for_set, for_getex;
};

static const struct string_option string_options[] = {
    {"nx", OPTION_NX, OPTION_XX, 1, 0},
    {"xx", OPTION_XX, OPTION_NX, 1, 0},
    {"get", OPTION_GET, 0, 1, 0},
    {"keepttl", OPTION_KEEPTTL, OPTION_PERSIST | OPTION_EXPIRE, 1, 0},
    {"persist", OPTION_PERSIST, OPTION_KEEPTTL | OPTION_EXPIRE, 0, 1},
    {"ex", OPTION_EXPIRE | OPTION_SECONDS, OPTION_TTL, 1, 1},
    {"px", OPTION_EXPIRE, OPTION_TTL, 1, 1},
    {"exat", OPTION_EXPIRE | OPTION_SECONDS | OPTION_AT, OPTION_TTL, 1, 1},
    {"pxat", OPTION_EXPIRE | OPTION_AT, OPTION_TTL, 1, 1},
};

/* Options from argument ${from} on. FIRN_EINVALID: the syntax error is replied. */
static int parse_options(struct call *call, size_t from, int getex, struct string_options *options_out) {
    *options_out = (struct string_options){0};
    for (size_t i = from; i < call->argc; i++) {
        const struct string_option *found = NULL;
        for (size_t n = 0; n < sizeof string_options / sizeof string_options[0] && found == NULL; n++) {
            const struct string_option *option = &string_options[n];
            if ((getex ? option->for_getex : option->for_set) && call_option(call, i, option->word))
                found = option;
        }
        if (found == NULL || (options_out->flags & found->excludes)) return call_syntax_error(call);
        if (found->sets & OPTION_EXPIRE) {
            if (options_out->flags & OPTION_EXPIRE && (options_out->flags & OPTION_TIME) != found->sets)
                return call_syntax_error(call); /* the same unit twice is fine: the last one counts */
            if (i + 1 >= call->argc) return call_syntax_error(call);
            options_out->time = call->argv[++i];
        }
        options_out->flags |= found->sets;
    }
    return 0;
}

/* The deadline ${time} means; replies the error. */
static int parse_deadline(struct call *call, struct bytes time, unsigned flags, int64_t *deadline_ms_out) {
    int64_t value;
    int error = call_integer(call, time, &value);
    if (error != 0) return error;
    int64_t now = flags & OPTION_AT ? 0 : clock_cached_ms();
    int64_t factor = flags & OPTION_SECONDS ? 1000 : 1;
    if (value <= 0 || value > INT64_MAX / factor || value * factor > INT64_MAX - now) {
        reply_error_format(call->reply, "invalid expire time in '%s' command", call->command->name);
        return FIRN_EINVALID;
    }
    *deadline_ms_out = value * factor + now;
    return 0;
}

static void rewrite_set(struct call *call, struct bytes key, struct bytes value, int64_t deadline_ms) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes argv[] = {bytes_of_text("SET"), key, value, bytes_of_text("PXAT"),
                           bytes_of(digits, number_format_int(deadline_ms, digits))};
    call_rewrite(call, 5, argv);
}

/* SET, SETNX, SETEX, PSETEX after their arguments are parsed. ${yes}: the reply of SETNX instead of OK. */
static int set_generic(struct call *call, struct bytes key, struct bytes value,
                       const struct string_options *options, int setnx) {
    unsigned flags = options->flags;
    int64_t expiry_ms = flags & OPTION_KEEPTTL ? DB_STRING_KEEP_EXPIRY : DB_STRING_NO_EXPIRY;
    struct entry *entry;
    if (flags & OPTION_EXPIRE) CALL_TRY(parse_deadline(call, options->time, flags, &expiry_ms));
    if (flags & OPTION_GET) {
        CALL_TRY(call_find_read_type(call, key, TYPE_STRING, &entry));
        if (entry != NULL)
            CALL_TRY(cmd_string_reply(call, entry));
        else
            reply_null(call->reply);
    }
    CALL_TRY(call_find_write(call, key, &entry));
    if ((flags & OPTION_NX && entry != NULL) || (flags & OPTION_XX && entry == NULL)) {
        if (setnx) {
            reply_integer(call->reply, 0);
        } else if (!(flags & OPTION_GET)) {
            reply_null(call->reply);
        }
        return 0;
    }
    CALL_TRY(db_string_set(call->db, key, entry, value, STRING_FORM_ANY, expiry_ms, NULL));
    call_changed(call, key);
    call_notify(call, NOTIFY_STRING, "set", key);
    if (flags & OPTION_EXPIRE) {
        rewrite_set(call, key, value, expiry_ms);
        call_notify(call, NOTIFY_GENERIC, "expire", key);
    }
    if (setnx) {
        reply_integer(call->reply, 1);
    } else if (!(flags & OPTION_GET)) {
        reply_ok(call->reply);
    }
    return 0;
}

int cmd_set(struct call *call) {
    struct string_options options = {0};
    if (call->argc > 3) CALL_TRY(parse_options(call, 3, 0, &options));
    return set_generic(call, call->argv[1], call->argv[2], &options, 0);
}

int cmd_setnx(struct call *call) {
    struct string_options options = {.flags = OPTION_NX};
    return set_generic(call, call->argv[1], call->argv[2], &options, 1);
}

int cmd_setex(struct call *call) {
    struct string_options options = {OPTION_EXPIRE | OPTION_SECONDS, call->argv[2]};
    return set_generic(call, call->argv[1], call->argv[3], &options, 0);
}

int cmd_psetex(struct call *call) {
    struct string_options options = {OPTION_EXPIRE, call->argv[2]};
    return set_generic(call, call->argv[1], call->argv[3], &options, 0);
}

/* --- GET and relatives --- */

int cmd_get(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STRING, &entry));
    if (entry == NULL) {
        reply_null(call->reply);
        return 0;
    }
    return cmd_string_reply(call, entry);
}

int cmd_getdel(struct call *call) {
    struct bytes key = call->argv[1];
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, key, TYPE_STRING, &entry));
    if (entry == NULL) {
        reply_null(call->reply);
        return 0;
    }
    CALL_TRY(cmd_string_reply(call, entry));
    CALL_TRY(call_find_write(call, key, &entry)); /* reading may have moved it */
    db_delete(call->db, entry);
    struct bytes argv[] = {bytes_of_text("DEL"), key};
    call_rewrite(call, 2, argv);
    call_changed(call, key);
    call_notify(call, NOTIFY_GENERIC, "del", key);
    return 0;
}

/* GETEX's change of the deadline, after the value is in the reply. */
static int getex_apply(struct call *call, struct bytes key, unsigned flags, int64_t deadline_ms) {
    struct entry *entry;
    char digits[NUMBER_INT_TEXT_MAX];
    CALL_TRY(call_find_write(call, key, &entry));
    if (flags & OPTION_AT && deadline_ms <= clock_cached_ms()) {
        struct bytes del[] = {bytes_of_text("DEL"), key};
        db_delete(call->db, entry);
        call_rewrite(call, 2, del);
        call_changed(call, key);
        call_notify(call, NOTIFY_GENERIC, "del", key);
    } else if (flags & OPTION_EXPIRE) {
        db_set_expiry(call->db, entry, deadline_ms);
        struct bytes expire[] = {bytes_of_text("PEXPIREAT"), key,
                                 bytes_of(digits, number_format_int(deadline_ms, digits))};
        call_rewrite(call, 3, expire);
        call_changed(call, key);
        call_notify(call, NOTIFY_GENERIC, "expire", key);
    } else if (flags & OPTION_PERSIST && entry_expiry(entry) >= 0) {
        struct bytes persist[] = {bytes_of_text("PERSIST"), key};
        db_set_expiry(call->db, entry, -1);
        call_rewrite(call, 2, persist);
        call_changed(call, key);
        call_notify(call, NOTIFY_GENERIC, "persist", key);
    }
    return 0;
}

int cmd_getex(struct call *call) {
    struct string_options options;
    struct entry *entry;
    int64_t deadline_ms = 0;
    CALL_TRY(parse_options(call, 2, 1, &options));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STRING, &entry));
    if (entry == NULL) {
        reply_null(call->reply);
        return 0;
    }
    if (options.flags & OPTION_EXPIRE)
        CALL_TRY(parse_deadline(call, options.time, options.flags, &deadline_ms));
    CALL_TRY(cmd_string_reply(call, entry));
    return getex_apply(call, call->argv[1], options.flags, deadline_ms);
}

int cmd_getset(struct call *call) {
    struct bytes key = call->argv[1], value = call->argv[2];
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, key, TYPE_STRING, &entry));
    if (entry != NULL) {
        CALL_TRY(cmd_string_reply(call, entry));
    } else {
        reply_null(call->reply);
    }
    CALL_TRY(call_find_write(call, key, &entry));
    CALL_TRY(db_string_set(call->db, key, entry, value, STRING_FORM_ANY, DB_STRING_NO_EXPIRY, NULL));
    struct bytes argv[] = {bytes_of_text("SET"), key, value};
    call_rewrite(call, 3, argv);
    call_changed(call, key);
    call_notify(call, NOTIFY_STRING, "set", key);
    return 0;
}

int cmd_strlen(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STRING, &entry));
    reply_integer(call->reply, entry != NULL ? (int64_t)entry->size : 0);
    return 0;
}

int cmd_getrange(struct call *call) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes part;
    struct entry *entry;
    int64_t start, end;
    CALL_TRY(call_integer(call, call->argv[2], &start));
    CALL_TRY(call_integer(call, call->argv[3], &end));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STRING, &entry));
    int64_t size = entry != NULL ? (int64_t)entry->size : 0;
    int reversed = start < 0 && end < 0 && start > end;
    if (start < 0) start = start + size < 0 ? 0 : start + size;
    if (end < 0) end = end + size < 0 ? 0 : end + size;
    if (end >= size) end = size - 1;
    if (reversed || size == 0 || start > end) {
        reply_bulk(call->reply, bytes_of("", 0));
        return 0;
    }
    CALL_TRY(string_touch(entry, (uint64_t)start, (uint64_t)end + 1));
    reply_bulk_begin(call->reply, (size_t)(end - start + 1));
    for (uint64_t offset = (uint64_t)start; offset <= (uint64_t)end; offset += part.size) {
        CALL_TRY(string_part(entry, offset, digits, &part));
        if (part.size > (uint64_t)end + 1 - offset) part.size = (uint64_t)end + 1 - offset;
        reply_bulk_part(call->reply, part);
    }
    reply_bulk_end(call->reply);
    return 0;
}

int cmd_substr(struct call *call) {
    return cmd_getrange(call);
}

/* --- several keys --- */

/* Whether ${entry} is a string that is not in DRAM. */
static int is_below(const struct entry *entry) {
    return !(entry->flags & ENTRY_INLINE) && page_ref_is_lower(entry_ref(entry));
}

/* Look all keys up and ask for everything missing at once: FIRN_EFAULT if anything is. */
static int mget_find(struct call *call, struct entry **entries, int *any_below_out) {
    int faulted = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct entry *entry;
        int error = call_find_read(call, call->argv[i], &entry);
        if (error == 0 && entry != NULL && entry_type(entry) != TYPE_STRING) entry = NULL;
        if (error == 0 && entry != NULL && !(entry->flags & ENTRY_INLINE)) {
            error = string_touch(entry, 0, entry->size);
            *any_below_out |= is_below(entry);
        }
        if (error != 0 && error != FIRN_EFAULT) return error;
        faulted |= error != 0;
        entries[i - 1] = entry;
    }
    return faulted ? FIRN_EFAULT : 0;
}

/* Entries stay where they are here: nothing is promoted before all is replied, as a key may be asked for
 * twice. */
static int mget_reply(struct call *call, struct entry *const *entries) {
    reply_array(call->reply, call->argc - 1);
    for (size_t i = 0; i + 1 < call->argc; i++) {
        char digits[NUMBER_INT_TEXT_MAX];
        struct bytes value;
        int error = 0;
        if (entries[i] == NULL) {
            reply_null(call->reply);
        } else if (is_below(entries[i])) {
            error = string_part(entries[i], 0, digits, &value);
            if (error == 0) reply_bulk(call->reply, value);
        } else {
            error = cmd_string_reply(call, entries[i]);
        }
        if (error != 0) return error;
    }
    return 0;
}

int cmd_mget(struct call *call) {
    struct entry *few[MGET_KEYS_ON_STACK];
    size_t count = call->argc - 1;
    struct entry **entries = count <= MGET_KEYS_ON_STACK ? few : memory_alloc(count * sizeof *entries);
    int any_below = 0;
    int error = mget_find(call, entries, &any_below);
    if (error == 0) error = mget_reply(call, entries);
    for (size_t i = 1; error == 0 && any_below && i < call->argc; i++) {
        struct entry *entry;
        if (entries[i - 1] == NULL) continue;
        error =
            db_find(call->db, call->argv[i], LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY, &entry);
        if (error == 0 && entry != NULL && is_below(entry)) error = db_string_warm(call->db, &entry);
    }
    if (entries != few) memory_free(entries);
    return error;
}

static int mset_generic(struct call *call, int only_new) {
    struct entry *entry;
    if (call->argc % 2 == 0) {
        reply_error_format(call->reply, "wrong number of arguments for '%s' command", call->command->name);
        return 0;
    }
    for (size_t i = 1; only_new && i < call->argc; i += 2) {
        CALL_TRY(call_find_write(call, call->argv[i], &entry));
        if (entry == NULL) continue;
        reply_integer(call->reply, 0);
        return 0;
    }
    for (size_t i = 1; i < call->argc; i += 2) {
        CALL_TRY(call_find_write(call, call->argv[i], &entry));
        CALL_TRY(db_string_set(call->db, call->argv[i], entry, call->argv[i + 1], STRING_FORM_ANY,
                               DB_STRING_NO_EXPIRY, NULL));
        if (i == 1) call_must_finish(call);
        call_changed(call, call->argv[i]);
        call_notify(call, NOTIFY_STRING, "set", call->argv[i]);
    }
    if (only_new) {
        reply_integer(call->reply, 1);
    } else {
        reply_ok(call->reply);
    }
    return 0;
}

int cmd_mset(struct call *call) {
    return mset_generic(call, 0);
}

int cmd_msetnx(struct call *call) {
    return mset_generic(call, 1);
}

/* --- numbers --- */

/* The integer ${entry} holds (NULL: 0); replies the error. */
static int entry_integer(struct call *call, struct entry **entry_inout, int64_t *value_out) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes text;
    *value_out = 0;
    if (*entry_inout == NULL) return 0;
    if (entry_encoding(*entry_inout) == ENCODING_INT) {
        *value_out = string_integer(*entry_inout);
        return 0;
    }
    if ((*entry_inout)->size >= NUMBER_INT_TEXT_MAX)
        text = bytes_of("x", 1); /* no need to read it */
    else {
        int error = string_part(*entry_inout, 0, digits, &text);
        if (error != 0) return error;
    }
    return call_integer(call, text, value_out);
}

static int increment(struct call *call, int64_t by) {
    struct bytes key = call->argv[1];
    struct entry *entry;
    int64_t value;
    CALL_TRY(call_find_write_type(call, key, TYPE_STRING, &entry));
    CALL_TRY(entry_integer(call, &entry, &value));
    if (__builtin_add_overflow(value, by, &value)) {
        reply_error(call->reply, "increment or decrement would overflow");
        return 0;
    }
    db_string_set_integer(call->db, key, entry, value);
    call_changed(call, key);
    call_notify(call, NOTIFY_STRING, "incrby", key);
    reply_integer(call->reply, value);
    return 0;
}

int cmd_incr(struct call *call) {
    return increment(call, 1);
}

int cmd_decr(struct call *call) {
    return increment(call, -1);
}

int cmd_incrby(struct call *call) {
    int64_t by;
    CALL_TRY(call_integer(call, call->argv[2], &by));
    return increment(call, by);
}

int cmd_decrby(struct call *call) {
    int64_t by;
    CALL_TRY(call_integer(call, call->argv[2], &by));
    if (by == INT64_MIN) {
        reply_error(call->reply, "decrement would overflow");
        return 0;
    }
    return increment(call, -by);
}

static int parse_long_double(struct call *call, struct bytes text, long double *value_out) {
    int error = number_parse_long_double(text, value_out);
    if (error != 0) reply_error(call->reply, "value is not a valid float");
    return error;
}

int cmd_incrbyfloat(struct call *call) {
    struct bytes key = call->argv[1], text;
    char digits[NUMBER_INT_TEXT_MAX], result[NUMBER_LONG_DOUBLE_TEXT_MAX];
    struct bytes_builder scratch = {0};
    struct entry *entry;
    long double value = 0, by;
    CALL_TRY(call_find_write_type(call, key, TYPE_STRING, &entry));
    if (entry != NULL) {
        uint64_t size = entry->size < NUMBER_LONG_DOUBLE_TEXT_MAX ? entry->size : NUMBER_LONG_DOUBLE_TEXT_MAX;
        int error = string_range(entry, 0, size, digits, &scratch, &text); /* a longer one is no number */
        if (error == 0) error = parse_long_double(call, text, &value);
        bytes_builder_fini(&scratch);
        CALL_TRY(error);
    }
    CALL_TRY(parse_long_double(call, call->argv[2], &by));
    value += by;
    if (isnan(value) || isinf(value)) {
        reply_error(call->reply, "increment would produce NaN or Infinity");
        return 0;
    }
    struct bytes now = bytes_of(result, number_format_long_double(value, result));
    CALL_TRY(db_string_set(call->db, key, entry, now, STRING_FORM_TEXT, DB_STRING_KEEP_EXPIRY, NULL));
    struct bytes argv[] = {bytes_of_text("SET"), key, now, bytes_of_text("KEEPTTL")};
    call_rewrite(call, 4, argv);
    call_changed(call, key);
    call_notify(call, NOTIFY_STRING, "incrbyfloat", key);
    reply_bulk(call->reply, now);
    return 0;
}

/* --- parts --- */

int cmd_append(struct call *call) {
    struct bytes key = call->argv[1], more = call->argv[2];
    struct entry *entry;
    CALL_TRY(call_find_write_type(call, key, TYPE_STRING, &entry));
    if (entry == NULL) {
        CALL_TRY(db_string_set(call->db, key, NULL, more, STRING_FORM_ANY, DB_STRING_NO_EXPIRY, &entry));
    } else {
        CALL_TRY(cmd_string_fits(call, entry->size, more.size));
        CALL_TRY(db_string_write(call->db, &entry, entry->size, more));
    }
    call_changed(call, key);
    call_notify(call, NOTIFY_STRING, "append", key);
    reply_integer(call->reply, (int64_t)entry->size);
    return 0;
}

int cmd_setrange(struct call *call) {
    struct bytes key = call->argv[1], data = call->argv[3];
    struct entry *entry;
    int64_t offset;
    CALL_TRY(call_integer(call, call->argv[2], &offset));
    if (offset < 0) {
        reply_error(call->reply, "offset is out of range");
        return 0;
    }
    CALL_TRY(call_find_write_type(call, key, TYPE_STRING, &entry));
    if (data.size == 0) {
        reply_integer(call->reply, entry != NULL ? (int64_t)entry->size : 0);
        return 0;
    }
    CALL_TRY(cmd_string_fits(call, (uint64_t)offset, data.size));
    int created = entry == NULL;
    if (created) entry = db_string_create_empty(call->db, key);
    int error = db_string_write(call->db, &entry, (uint64_t)offset, data);
    if (error != 0) {
        if (created) db_delete(call->db, entry);
        return error;
    }
    call_changed(call, key);
    call_notify(call, NOTIFY_STRING, "setrange", key);
    reply_integer(call->reply, (int64_t)entry->size);
    return 0;
}
