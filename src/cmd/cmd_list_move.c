/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that move elements between lists or take them from the first of several lists that has any, and
 * their forms that wait: LMOVE, RPOPLPUSH, LMPOP, BLPOP, BRPOP, BLMOVE, BRPOPLPUSH, BLMPOP. A waiting command
 * is run again from the start when one of its keys changed (cmd/blocking.h); it is propagated in the form
 * that does not wait. Executor only.
 */
#include "base/bytes_builder.h"
#include "cmd/blocking.h"
#include "cmd/cmd_list_internal.h"
#include "cmd/command.h"
#include "net/client.h"

#define MOVE_STACK_BYTES 256u

/* --- moving --- */

/* Where an element goes. */
struct move {
    struct entry *source, *target; /* target NULL: there is none yet */
    enum list_end from, to;
};

/* Put ${element} (a copy) into the target, a new list in no table if there is none (*fresh_out), then take it
 * from the source. In this order, as adding may find no memory; all pages are here. */
static int move_element(struct call *call, struct move *move, struct bytes element,
                        struct entry **fresh_out) {
    *fresh_out = NULL;
    if (move->target == NULL) {
        *fresh_out = list_create(call->argv[2]);
    } else if (move->target != move->source) {
        move->target = db_changing(call->db, move->target);
    }
    int is_same = move->target == move->source;
    move->source = db_changing(call->db, move->source);
    if (is_same) move->target = move->source;
    struct entry *target = *fresh_out != NULL ? *fresh_out : move->target;
    int error = list_expect(target, 1, element.size);
    if (error == 0) error = list_push(target, move->to, element);
    if (error != 0) return error;
    call_must_finish(call);
    error = list_pop(move->source, move->from, 1, NULL, NULL);
    if (error != 0 && *fresh_out == NULL) { /* as it was */
        int undone = list_pop(target, move->to, 1, NULL, NULL);
        (void)undone;
    }
    return error;
}

/* The source has lost its last element; its entry may have moved since. */
static void delete_source(struct call *call, struct bytes key) {
    struct entry *entry;
    unsigned flags = LOOKUP_WRITE | LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY | LOOKUP_EXPIRED;
    if (db_find(call->db, key, flags, &entry) != 0 || entry == NULL) return;
    db_delete(call->db, entry);
    call_notify(call, NOTIFY_GENERIC, "del", key);
}

static void move_announce(struct call *call, const struct move *move, struct entry *fresh) {
    struct bytes from = call->argv[1], to = call->argv[2];
    int is_empty = move->source->size == 0;
    if (!is_empty) list_shrunk(move->source);
    if (fresh != NULL) {
        db_insert(call->db, fresh);
    }
    call_changed(call, to);
    call_notify(call, NOTIFY_LIST, cmd_list__push_name(move->to), to);
    call_notify(call, NOTIFY_LIST, cmd_list__pop_name(move->from), from);
    if (is_empty) delete_source(call, from);
    call_changed_elements(call, from, 0); /* counted with the other */
}

static void move_rewrite(struct call *call, const struct move *move) {
    static const char *const ends[] = {[LIST_TAIL] = "RIGHT", [LIST_HEAD] = "LEFT"};
    struct bytes argv[5] = {bytes_of_text("LMOVE"), call->argv[1], call->argv[2],
                            bytes_of_text(ends[move->from]), bytes_of_text(ends[move->to])};
    call_rewrite(call, 5, argv);
}

/* Move one element from the list at argv[1], which there is, to that at argv[2]. */
static int move_between(struct call *call, struct move *move, int waits) {
    struct entry *fresh;
    struct bytes element;
    char digits[NUMBER_INT_TEXT_MAX];
    uint8_t stack[MOVE_STACK_BYTES];
    struct bytes_builder heap = {0};
    CALL_TRY(call_find_write_type(call, call->argv[2], TYPE_LIST, &move->target));
    int error = list_touch_end(move->source, move->from);
    if (move->target != NULL) {
        int target_error = list_touch_end(move->target, move->to);
        if (error == 0 || error == FIRN_EFAULT) error = target_error != 0 ? target_error : error;
    }
    if (error == 0)
        error = list_at(move->source, move->from == LIST_HEAD ? 0 : move->source->size - 1, digits, &element);
    if (error != 0) return error;
    if (element.size <= sizeof stack) {
        memcpy(stack, element.data, element.size);
        element.data = stack;
    } else {
        bytes_builder_append(&heap, element.data, element.size);
        element = bytes_builder_bytes(&heap);
    }
    error = move_element(call, move, element, &fresh);
    if (error == 0) {
        reply_bulk(call->reply, element);
        move_announce(call, move, fresh);
        if (waits) move_rewrite(call, move);
    } else {
        cmd_list__discard(fresh);
    }
    bytes_builder_fini(&heap);
    return cmd_list__failed(call, error);
}

static int move_now(struct call *call, struct move *move) {
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_LIST, &move->source));
    if (move->source != NULL) return move_between(call, move, 0);
    reply_null(call->reply);
    return 0;
}

/* Nothing to take, and no more waiting. */
static int wait_for(struct call *call, const struct bytes *keys, size_t count, int64_t timeout_ms,
                    int null_when_denied) {
    int result = call_block(call, TYPE_LIST, keys, count, timeout_ms);
    if (result != 0) return result;
    if (null_when_denied && call->client->flags & CLIENT_DENY_BLOCKING) {
        reply_null(call->reply);
    } else {
        reply_null_array(call->reply);
    }
    return 0;
}

static int move_waiting(struct call *call, struct move *move, int64_t timeout_ms) {
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_LIST, &move->source));
    if (move->source != NULL) return move_between(call, move, 1);
    return wait_for(call, &call->argv[1], 1, timeout_ms, 1);
}

int cmd_lmove(struct call *call) {
    struct move move;
    CALL_TRY(cmd_list__end(call, call->argv[3], &move.from));
    CALL_TRY(cmd_list__end(call, call->argv[4], &move.to));
    return move_now(call, &move);
}

int cmd_rpoplpush(struct call *call) {
    struct move move = {.from = LIST_TAIL, .to = LIST_HEAD};
    return move_now(call, &move);
}

int cmd_blmove(struct call *call) {
    struct move move;
    int64_t timeout_ms;
    CALL_TRY(cmd_list__end(call, call->argv[3], &move.from));
    CALL_TRY(cmd_list__end(call, call->argv[4], &move.to));
    CALL_TRY(call_timeout(call, call->argv[5], &timeout_ms));
    return move_waiting(call, &move, timeout_ms);
}

int cmd_brpoplpush(struct call *call) {
    struct move move = {.from = LIST_TAIL, .to = LIST_HEAD};
    int64_t timeout_ms;
    CALL_TRY(call_timeout(call, call->argv[3], &timeout_ms));
    return move_waiting(call, &move, timeout_ms);
}

/* --- the first of several --- */

static void pop_rewrite(struct call *call, struct bytes key, enum list_end end, uint64_t count) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes argv[3] = {bytes_of_text(end == LIST_HEAD ? "LPOP" : "RPOP"), key};
    argv[2] = bytes_of(digits, number_format_uint(count, digits));
    call_rewrite(call, count > 0 ? 3 : 2, argv);
}

static int pop_waiting(struct call *call, enum list_end end) {
    const struct bytes *keys = &call->argv[1];
    size_t count = call->argc - 2;
    int64_t timeout_ms;
    CALL_TRY(call_timeout(call, call->argv[call->argc - 1], &timeout_ms));
    for (size_t i = 0; i < count; i++) {
        struct entry *entry;
        CALL_TRY(call_find_write_type(call, keys[i], TYPE_LIST, &entry));
        if (entry == NULL) continue;
        int error = list_touch_end(entry, end);
        if (error != 0) return error;
        reply_array(call->reply, 2);
        reply_bulk(call->reply, keys[i]);
        error = cmd_list__pop(call, keys[i], entry, end, 1);
        if (error == 0) pop_rewrite(call, keys[i], end, 0);
        return error;
    }
    return wait_for(call, keys, count, timeout_ms, 0);
}

int cmd_blpop(struct call *call) {
    return pop_waiting(call, LIST_HEAD);
}

int cmd_brpop(struct call *call) {
    return pop_waiting(call, LIST_TAIL);
}

/* Take from the first list that has anything: *found_out. */
static int mpop_take(struct call *call, const struct call_mpop *mpop, int *found_out) {
    enum list_end end = mpop->second ? LIST_TAIL : LIST_HEAD;
    *found_out = 0;
    for (size_t i = 0; i < mpop->keys_count; i++) {
        struct entry *entry;
        int error = call_find_write_type(call, mpop->keys[i], TYPE_LIST, &entry);
        if (error != 0) return error;
        if (entry == NULL) continue;
        uint64_t count = mpop->count < entry->size ? mpop->count : entry->size;
        error = list_touch(entry, end == LIST_HEAD ? 0 : entry->size - count, count);
        if (error != 0) return error;
        *found_out = 1;
        reply_array(call->reply, 2);
        reply_bulk(call->reply, mpop->keys[i]);
        reply_array(call->reply, count);
        error = cmd_list__pop(call, mpop->keys[i], entry, end, count);
        if (error == 0) pop_rewrite(call, mpop->keys[i], end, count);
        return error;
    }
    return 0;
}

int cmd_lmpop(struct call *call) {
    struct call_mpop mpop;
    int found;
    CALL_TRY(call_mpop(call, 1, "LEFT", "RIGHT", &mpop));
    CALL_TRY(mpop_take(call, &mpop, &found));
    if (!found) reply_null_array(call->reply);
    return 0;
}

int cmd_blmpop(struct call *call) {
    struct call_mpop mpop;
    int64_t timeout_ms;
    int found;
    CALL_TRY(call_mpop(call, 2, "LEFT", "RIGHT", &mpop));
    CALL_TRY(call_timeout(call, call->argv[1], &timeout_ms));
    CALL_TRY(mpop_take(call, &mpop, &found));
    return found ? 0 : wait_for(call, mpop.keys, mpop.keys_count, timeout_ms, 0);
}
