/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands on keys of any type: DEL UNLINK EXISTS TYPE TOUCH RENAME RENAMENX COPY MOVE RANDOMKEY KEYS. None
 * needs a value but COPY, and that only a small one: the pages of a large one are shared (page_share).
 * Executor only.
 */
#include <limits.h>

#include "base/assert.h"
#include "base/clock.h"
#include "cmd/call.h"
#include "ds/glob.h"

/* --- DEL and friends --- */

static int delete_keys(struct call *call) {
    int64_t deleted = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct entry *entry;
        CALL_TRY(call_find_write(call, call->argv[i], &entry));
        if (entry == NULL) continue;
        db_delete(call->db, entry);
        call_changed(call, call->argv[i]);
        call_notify(call, NOTIFY_GENERIC, "del", call->argv[i]);
        deleted++;
    }
    reply_integer(call->reply, deleted);
    return 0;
}

int cmd_del(struct call *call) {
    return delete_keys(call);
}

/* Deleting is lazy anyway: large values are freed in slices. */
int cmd_unlink(struct call *call) {
    return delete_keys(call);
}

static int count_found(struct call *call, unsigned flags) {
    int64_t found = 0;
    for (size_t i = 1; i < call->argc; i++) {
        struct entry *entry;
        CALL_TRY(db_find(call->db, call->argv[i], LOOKUP_READ | flags | call->lookup_flags, &entry));
        found += entry != NULL;
    }
    reply_integer(call->reply, found);
    return 0;
}

int cmd_exists(struct call *call) {
    return count_found(call, LOOKUP_NO_TOUCH);
}

int cmd_touch(struct call *call) {
    return count_found(call, 0);
}

int cmd_type(struct call *call) {
    struct entry *entry;
    CALL_TRY(db_find(call->db, call->argv[1], LOOKUP_READ | LOOKUP_NO_TOUCH, &entry));
    reply_status(call->reply, entry == NULL ? "none" : type_name(entry_type(entry)));
    return 0;
}

/* --- RENAME --- */

static int rename_key(struct call *call, int only_new) {
    struct bytes from = call->argv[1], to = call->argv[2];
    struct entry *entry, *target;
    CALL_TRY(call_find_write(call, from, &entry));
    if (entry == NULL) {
        reply_error(call->reply, "no such key");
        return 0;
    }
    if (bytes_equal(from, to)) {
        if (only_new)
            reply_integer(call->reply, 0);
        else
            reply_ok(call->reply);
        return 0;
    }
    CALL_TRY(call_find_write(call, to, &target));
    if (target != NULL) {
        if (only_new) {
            reply_integer(call->reply, 0);
            return 0;
        }
        db_delete(call->db, target);
    }
    db_rename(call->db, entry, call->db, to);
    call_changed(call, from);
    call_changed_elements(call, to, 0);
    call_notify(call, NOTIFY_GENERIC, "rename_from", from);
    call_notify(call, NOTIFY_GENERIC, "rename_to", to);
    if (only_new)
        reply_integer(call->reply, 1);
    else
        reply_ok(call->reply);
    return 0;
}

int cmd_rename(struct call *call) {
    return rename_key(call, 0);
}

int cmd_renamenx(struct call *call) {
    return rename_key(call, 1);
}

/* --- between databases --- */

/* A database named by an argument; the error is replied. */
static int parse_database(struct call *call, struct bytes argument, struct db **db_out) {
    int64_t index;
    int error = call_integer_between(call, argument, INT_MIN, INT_MAX, &index);
    if (error != 0) return error;
    if (index < 0 || index >= (int64_t)db_count()) {
        reply_error(call->reply, "DB index is out of range");
        return FIRN_EINVALID;
    }
    *db_out = db_at((unsigned)index);
    return 0;
}

int cmd_move(struct call *call) {
    struct bytes key = call->argv[1];
    struct db *target;
    struct entry *entry, *there;
    CALL_TRY(parse_database(call, call->argv[2], &target));
    if (target == call->db) {
        reply_error(call->reply, "source and destination objects are the same");
        return 0;
    }
    CALL_TRY(call_find_write(call, key, &entry));
    if (entry != NULL) {
        CALL_TRY(db_find(target, key, LOOKUP_WRITE | call->lookup_flags, &there));
    }
    if (entry == NULL || there != NULL) {
        reply_integer(call->reply, 0);
        return 0;
    }
    db_rename(call->db, entry, target, key);
    call_changed_elements(call, key, 0); /* counted with the other */
    db_changed(target, key);
    call_notify(call, NOTIFY_GENERIC, "move_from", key);
    db_notify(target, NOTIFY_GENERIC, "move_to", key);
    reply_integer(call->reply, 1);
    return 0;
}

/* A deep copy of ${source} under ${key}, in no table. May fault. */
static int copy_entry(struct entry *source, struct bytes key, struct entry **copy_out) {
    const struct type_ops *ops = type_ops(entry_type(source));
    int with_inline = (source->flags & ENTRY_INLINE) != 0;
    struct entry *copy = entry_create(key, entry_type(source), entry_encoding(source), !with_inline,
                                      with_inline, entry_inline_bytes(source));
    int error = ops->copy_value(source, &copy);
    if (error != 0) {
        entry_free(copy);
        return error;
    }
    *copy_out = copy;
    return 0;
}

struct copy_options {
    struct db *target;
    int replace;
};

static int parse_copy(struct call *call, struct copy_options *options_out) {
    *options_out = (struct copy_options){.target = call->db};
    for (size_t i = 3; i < call->argc; i++) {
        if (call_option(call, i, "REPLACE")) {
            options_out->replace = 1;
        } else if (call_option(call, i, "DB") && i + 1 < call->argc) {
            int error = parse_database(call, call->argv[++i], &options_out->target);
            if (error != 0) return error;
        } else {
            return call_syntax_error(call);
        }
    }
    return 0;
}

int cmd_copy(struct call *call) {
    struct bytes from = call->argv[1], to = call->argv[2];
    struct copy_options options;
    struct entry *source, *there, *copy;
    CALL_TRY(parse_copy(call, &options));
    if (options.target == call->db && bytes_equal(from, to)) {
        reply_error(call->reply, "source and destination objects are the same");
        return 0;
    }
    CALL_TRY(call_find_read(call, from, &source));
    if (source != NULL) {
        CALL_TRY(db_find(options.target, to, LOOKUP_WRITE | call->lookup_flags, &there));
    }
    if (source == NULL || (there != NULL && !options.replace)) {
        reply_integer(call->reply, 0);
        return 0;
    }
    CALL_TRY(copy_entry(source, to, &copy));
    int64_t expiry_ms = entry_expiry(source);
    if (there != NULL) db_delete(options.target, there);
    db_insert(options.target, copy);
    if (expiry_ms >= 0) db_set_expiry(options.target, copy, expiry_ms);
    call->changes++;
    db_changed(options.target, to);
    db_notify(options.target, NOTIFY_GENERIC, "copy_to", to);
    reply_integer(call->reply, 1);
    return 0;
}

/* --- RANDOMKEY, KEYS --- */

int cmd_randomkey(struct call *call) {
    struct entry *entry = db_random(call->db);
    if (entry == NULL)
        reply_null(call->reply);
    else
        reply_bulk(call->reply, entry_key(entry));
    return 0;
}

struct keys_walk {
    struct reply *reply;
    struct bytes pattern;
    int all;
    int64_t now_ms;
    size_t count;
};

static int keys_visit(struct entry *entry, void *ctx) {
    struct keys_walk *walk = ctx;
    struct bytes key = entry_key(entry);
    if (!walk->all && !glob_match(walk->pattern, key, 0)) return 0;
    int64_t expiry_ms = entry_expiry(entry);
    if (expiry_ms >= 0 && expiry_ms <= walk->now_ms) return 0;
    reply_bulk(walk->reply, key);
    walk->count++;
    return 0;
}

int cmd_keys(struct call *call) {
    struct keys_walk walk = {
        .reply = call->reply,
        .pattern = call->argv[1],
        .all = bytes_is(call->argv[1], "*"),
        .now_ms = clock_cached_ms(),
    };
    struct reply_later later = reply_later_open(call->reply, '*');
    int error = db_each(call->db, keys_visit, &walk);
    reply_later_close(call->reply, later, walk.count);
    return error;
}
