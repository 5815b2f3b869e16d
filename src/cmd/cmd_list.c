/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands on the ends of lists: LPUSH, RPUSH, LPUSHX, RPUSHX, LPOP, RPOP, LLEN. Those on elements in the
 * middle are in cmd_list_walk.c, those that move elements or wait for them in cmd_list_move.c. Executor only.
 */
#include "cmd/cmd_list_internal.h"
#include "cmd/command.h"

/* --- shared --- */

int cmd_list__failed(struct call *call, int error) {
    if (error == FIRN_ETOOBIG) {
        reply_error(call->reply, "list element is too long");
        return 0;
    }
    return error;
}

void cmd_list__removed(struct call *call, struct bytes key, struct entry *entry) {
    if (entry->size > 0) {
        list_shrunk(entry);
        return;
    }
    db_delete(call->db, entry);
    call_notify(call, NOTIFY_GENERIC, "del", key);
}

void cmd_list__discard(struct entry *entry) {
    if (entry == NULL) return;
    type_list_ops.free_value(entry);
    entry_free(entry);
}

int cmd_list__end(struct call *call, struct bytes word, enum list_end *end_out) {
    *end_out = LIST_HEAD;
    if (bytes_is(word, "left")) return 0;
    *end_out = LIST_TAIL;
    return bytes_is(word, "right") ? 0 : call_syntax_error(call);
}

/* --- pushing --- */

/* argv[2 ..] come to ${end} of a list that is touched there; *pushed_out are in, also on failure. */
static int push_elements(struct call *call, struct entry *entry, enum list_end end, size_t *pushed_out) {
    size_t bytes = 0;
    *pushed_out = 0;
    for (size_t i = 2; i < call->argc; i++)
        bytes += call->argv[i].size;
    int error = list_expect(entry, call->argc - 2, bytes);
    for (size_t i = 2; error == 0 && i < call->argc; i++) {
        error = list_push(entry, end, call->argv[i]);
        if (error == 0) ++*pushed_out;
    }
    return error;
}

static int push_new(struct call *call, enum list_end end) {
    struct entry *entry = list_create(call->argv[1]);
    size_t pushed;
    int error = push_elements(call, entry, end, &pushed);
    if (error != 0) {
        cmd_list__discard(entry);
        return cmd_list__failed(call, error);
    }
    reply_integer(call->reply, entry->size);
    db_insert(call->db, entry);
    call_changed_elements(call, call->argv[1], pushed);
    call_notify(call, NOTIFY_LIST, cmd_list__push_name(end), call->argv[1]);
    return 0;
}

static int push(struct call *call, enum list_end end, int only_existing) {
    struct entry *entry;
    size_t pushed;
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_LIST, &entry));
    if (entry == NULL) {
        if (!only_existing) return push_new(call, end);
        reply_integer(call->reply, 0);
        return 0;
    }
    int error = list_touch_end(entry, end);
    if (error != 0) return error;
    entry = db_changing(call->db, entry);
    error = push_elements(call, entry, end, &pushed);
    if (error == 0) reply_integer(call->reply, entry->size);
    if (pushed > 0) { /* also those before a failure */
        call_changed_elements(call, call->argv[1], pushed);
        call_notify(call, NOTIFY_LIST, cmd_list__push_name(end), call->argv[1]);
    }
    return cmd_list__failed(call, error);
}

int cmd_lpush(struct call *call) {
    return push(call, LIST_HEAD, 0);
}

int cmd_rpush(struct call *call) {
    return push(call, LIST_TAIL, 0);
}

int cmd_lpushx(struct call *call) {
    return push(call, LIST_HEAD, 1);
}

int cmd_rpushx(struct call *call) {
    return push(call, LIST_TAIL, 1);
}

/* --- popping --- */

static void pop_receive(struct bytes element, void *ctx) {
    reply_bulk(ctx, element);
}

int cmd_list__pop(struct call *call, struct bytes key, struct entry *entry, enum list_end end,
                  uint64_t count) {
    uint32_t before = entry->size;
    entry = db_changing(call->db, entry);
    int error = list_pop(entry, end, count, pop_receive, call->reply);
    if (entry->size == before) return error;
    call_changed_elements(call, key, before - entry->size);
    call_notify(call, NOTIFY_LIST, cmd_list__pop_name(end), key);
    cmd_list__removed(call, key, entry);
    return error;
}

/* LPOP key count. */
static int pop_many(struct call *call, struct entry *entry, enum list_end end, uint64_t count) {
    if (count > entry->size) count = entry->size;
    int error = count > 0 ? list_touch(entry, end == LIST_HEAD ? 0 : entry->size - count, count) : 0;
    if (error != 0) return error;
    reply_array(call->reply, count);
    return count > 0 ? cmd_list__pop(call, call->argv[1], entry, end, count) : 0;
}

static int pop(struct call *call, enum list_end end) {
    struct entry *entry;
    int64_t count = 1;
    if (call->argc > 3) {
        reply_error_format(call->reply, "wrong number of arguments for '%s' command", call->command->name);
        return 0;
    }
    if (call->argc == 3 && (number_parse_int(call->argv[2], &count) != 0 || count < 0)) {
        reply_error(call->reply, "value is out of range, must be positive");
        return 0;
    }
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_LIST, &entry));
    if (entry == NULL) {
        if (call->argc == 3) {
            reply_null_array(call->reply);
        } else {
            reply_null(call->reply);
        }
        return 0;
    }
    if (call->argc == 3) return pop_many(call, entry, end, (uint64_t)count);
    int error = list_touch_end(entry, end);
    return error != 0 ? error : cmd_list__pop(call, call->argv[1], entry, end, 1);
}

int cmd_lpop(struct call *call) {
    return pop(call, LIST_HEAD);
}

int cmd_rpop(struct call *call) {
    return pop(call, LIST_TAIL);
}

int cmd_llen(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_LIST, &entry));
    reply_integer(call->reply, entry == NULL ? 0 : entry->size);
    return 0;
}
