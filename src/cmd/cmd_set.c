/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands on members of sets by name: SADD, SREM, SISMEMBER, SMISMEMBER, SCARD, SMOVE. Those that walk or
 * draw are in cmd_set_walk.c, those that combine sets in cmd_set_algebra.c. Executor only.
 */
#include "cmd/cmd_set_internal.h"
#include "cmd/command.h"

/* --- shared --- */

int cmd_set__failed(struct call *call, int error) {
    if (error == FIRN_ETOOBIG) {
        reply_error(call->reply, "set member is too long");
        return 0;
    }
    return error;
}

int cmd_set__touch(struct call *call, struct entry *entry, size_t first) {
    int result = 0;
    for (size_t i = first; i < call->argc; i++) {
        int error = set_touch(entry, call->argv[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

void cmd_set__delete_if_empty(struct call *call, struct bytes key, struct entry *entry) {
    if (entry->size > 0) return;
    db_delete(call->db, entry);
    call_notify(call, NOTIFY_GENERIC, "del", key);
}

void cmd_set__discard(struct entry *entry) {
    if (entry == NULL) return;
    type_set_ops.free_value(entry);
    entry_free(entry);
}

/* --- SADD --- */

/* A new set under argv[1] with the members of argv[2 ..], put in the database. */
static int create_with_members(struct call *call, int64_t *added_out) {
    struct entry *entry = set_create(call->argv[1], call->argv[2], call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        int error = set_add(entry, call->argv[i], 0, NULL);
        if (error != 0) {
            cmd_set__discard(entry);
            return error;
        }
    }
    *added_out = entry->size;
    db_insert(call->db, entry);
    return 0;
}

static int add_members(struct call *call, struct entry *entry, int64_t *added_out) {
    size_t count = call->argc - 2;
    if (count > 1) {
        int error = cmd_set__touch(call, entry, 2);
        if (error != 0) return error;
    }
    *added_out = 0;
    entry = db_changing(call->db, entry);
    int error = set_expect(entry, count);
    if (error != 0) return error;
    for (size_t i = 2; i < call->argc; i++) {
        int added;
        error = set_add(entry, call->argv[i], 0, &added);
        if (error != 0) return error;
        if (i == 2 && count > 1) call_must_finish(call);
        *added_out += added;
    }
    return 0;
}

int cmd_sadd(struct call *call) {
    struct entry *entry;
    int64_t added = 0;
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_SET, &entry));
    int error = entry == NULL ? create_with_members(call, &added) : add_members(call, entry, &added);
    if (added > 0) { /* also those before a failure */
        call_changed_elements(call, call->argv[1], (uint64_t)added);
        call_notify(call, NOTIFY_SET, "sadd", call->argv[1]);
    }
    if (error != 0) return cmd_set__failed(call, error);
    reply_integer(call->reply, added);
    return 0;
}

/* --- SREM --- */

static int remove_members(struct call *call, struct entry *entry, int64_t *removed_out) {
    if (call->argc > 3) {
        int error = cmd_set__touch(call, entry, 2);
        if (error != 0) return error;
    }
    for (size_t i = 2; i < call->argc && entry->size > 0; i++) {
        int error = set_remove(entry, call->argv[i]);
        if (error == FIRN_ENOTFOUND) continue;
        if (error != 0) return error;
        if ((*removed_out)++ == 0) call_must_finish(call);
    }
    return 0;
}

int cmd_srem(struct call *call) {
    struct entry *entry;
    struct bytes key = call->argv[1];
    int64_t removed = 0;
    int error = 0;
    CALL_TRY(call_find_write_type(call, key, TYPE_SET, &entry));
    if (entry != NULL) {
        entry = db_changing(call->db, entry);
        error = remove_members(call, entry, &removed);
    }
    if (removed > 0) {
        call_changed_elements(call, key, (uint64_t)removed);
        call_notify(call, NOTIFY_SET, "srem", key);
        cmd_set__delete_if_empty(call, key, entry);
    }
    if (error != 0) return error;
    reply_integer(call->reply, removed);
    return 0;
}

/* --- looking up --- */

int cmd_sismember(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_SET, &entry));
    int error = entry == NULL ? FIRN_ENOTFOUND : set_contains(entry, call->argv[2]);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    reply_integer(call->reply, error == 0);
    return 0;
}

int cmd_smismember(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_SET, &entry));
    if (entry != NULL) {
        int error = cmd_set__touch(call, entry, 2);
        if (error != 0) return error;
    }
    reply_array(call->reply, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        int error = entry == NULL ? FIRN_ENOTFOUND : set_contains(entry, call->argv[i]);
        if (error != 0 && error != FIRN_ENOTFOUND) return error;
        reply_integer(call->reply, error == 0);
    }
    return 0;
}

int cmd_scard(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_SET, &entry));
    reply_integer(call->reply, entry == NULL ? 0 : entry->size);
    return 0;
}

/* --- SMOVE --- */

/*
 * Put argv[3] into ${target}, or into a new set in no table (*fresh_out) if that is NULL, then take it out of
 * ${source}. In this order, as adding may find no memory; all pages are here.
 */
static int move_member(struct call *call, struct entry *source, struct entry *target,
                       struct entry **fresh_out, int *added_out) {
    struct bytes member = call->argv[3];
    if (target == NULL) target = *fresh_out = set_create(call->argv[2], member, 1);
    int error = set_add(target, member, 0, added_out);
    if (error != 0) return error;
    call_must_finish(call);
    error = set_remove(source, member);
    if (error != 0 && *added_out && *fresh_out == NULL) { /* as it was */
        int undone = set_remove(target, member);
        (void)undone;
    }
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}

static void move_announce(struct call *call, struct entry *source, struct entry *fresh, int added) {
    struct bytes from = call->argv[1], to = call->argv[2];
    call_changed(call, from);
    call_notify(call, NOTIFY_SET, "srem", from);
    cmd_set__delete_if_empty(call, from, source);
    if (fresh != NULL) {
        db_insert(call->db, fresh);
    }
    if (!added) return;
    call_changed(call, to);
    call_notify(call, NOTIFY_SET, "sadd", to);
}

int cmd_smove(struct call *call) {
    struct entry *source, *target, *fresh = NULL;
    int added = 0;
    CALL_TRY(call_find_write(call, call->argv[1], &source));
    if (source == NULL) { /* whatever the other one is */
        reply_integer(call->reply, 0);
        return 0;
    }
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_SET, &source));
    CALL_TRY(call_find_write_type(call, call->argv[2], TYPE_SET, &target));
    int error = set_touch(source, call->argv[3]);
    if (target != NULL) {
        int target_error = set_touch(target, call->argv[3]);
        if (error == 0 || error == FIRN_EFAULT) error = target_error != 0 ? target_error : error;
    }
    if (error != 0) return error;
    error = set_contains(source, call->argv[3]);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    if (error == FIRN_ENOTFOUND || source == target) {
        reply_integer(call->reply, error == 0);
        return 0;
    }
    source = db_changing(call->db, source);
    if (target != NULL) target = db_changing(call->db, target);
    error = move_member(call, source, target, &fresh, &added);
    if (error != 0) {
        cmd_set__discard(fresh);
        return cmd_set__failed(call, error);
    }
    move_announce(call, source, fresh, added);
    reply_integer(call->reply, 1);
    return 0;
}
