/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * XCLAIM and XAUTOCLAIM: pending entries change their consumer. An entry that was deleted from the stream is
 * taken out of the pending lists instead. All pages are asked for before anything changes. Executor only.
 */
#include <limits.h>

#include "base/bytes_builder.h"
#include "base/clock.h"
#include "cmd/cmd_stream_internal.h"
#include "cmd/command.h"

#define AUTO_ATTEMPTS    10u /* pending entries looked at for each one asked for */
#define AUTO_COUNT_USUAL 100
#define AUTO_COUNT_MAX   (LONG_MAX / 16)
#define FIRST_ID         5u /* of XCLAIM's arguments */

static int refuse(struct call *call, const char *text) {
    reply_error(call->reply, text);
    return FIRN_EINVALID;
}

static int find_group(struct call *call, struct entry **entry_out, struct stream_group **group_out) {
    int error = call_find_read_type(call, call->argv[1], TYPE_STREAM, entry_out);
    if (error != 0) return error;
    *group_out = *entry_out != NULL ? stream_group_find(stream_of(*entry_out), call->argv[2]) : NULL;
    if (*group_out != NULL) return 0;
    cmd_stream__reply_no_group(call, call->argv[1], call->argv[2], "");
    return FIRN_EINVALID;
}

struct claim {
    struct entry *entry;
    struct stream_group *group;
    struct stream_consumer *consumer;
    int64_t idle_ms, delivered_ms, deliveries; /* deliveries -1: count on */
    int force, just_id;
    struct stream_id last_id;
    size_t ids_end; /* of XCLAIM's arguments */
};

/* The entry of ${id}, which is there, becomes the consumer's and is written to the reply. */
static int take(struct call *call, struct claim *claim, struct stream_id id, int is_new) {
    struct stream_pending *pending = stream_pending_give(claim->group, id, claim->consumer);
    if (is_new) pending->deliveries = 1;
    pending->delivered_ms = claim->delivered_ms;
    if (claim->deliveries >= 0)
        pending->deliveries = claim->deliveries > UINT32_MAX ? UINT32_MAX : (uint32_t)claim->deliveries;
    else if (!claim->just_id && pending->deliveries < UINT32_MAX)
        pending->deliveries++;
    claim->consumer->active_ms = clock_cached_ms();
    cmd_stream__group_changed(call);
    cmd_stream__propagate_claim(call, call->argv[1], claim->group, pending);
    if (claim->just_id) {
        cmd_stream__reply_id(call, id);
        return 0;
    }
    int is_there;
    return cmd_stream__reply_one(call, claim->entry, id, &is_there);
}

/* The entry of ${pending} is not there any more: nor is this. Others find that out when they are to claim it.
 */
static void drop(struct call *call, struct claim *claim, const struct stream_pending *pending) {
    cmd_stream__propagate_claim(call, call->argv[1], claim->group, pending);
    stream_pending_remove(claim->group, pending->id);
    cmd_stream__group_changed(call);
}

/* --- XCLAIM --- */

/* An argument of XCLAIM that is a number; ${text} is the error's. */
static int parse_option(struct call *call, size_t *place_inout, struct claim *claim) {
    size_t i = *place_inout;
    int more = i + 1 < call->argc, error;
    int64_t now_ms = clock_cached_ms();
    if (call_option(call, i, "force")) {
        claim->force = 1;
        return 0;
    }
    if (call_option(call, i, "justid")) {
        claim->just_id = 1;
        return 0;
    }
    *place_inout = i + 1;
    if (more && call_option(call, i, "idle")) {
        error = call_integer_or(call, call->argv[i + 1], "Invalid IDLE option argument for XCLAIM",
                                &claim->delivered_ms);
        if (error == 0 && __builtin_sub_overflow(now_ms, claim->delivered_ms, &claim->delivered_ms))
            claim->delivered_ms = now_ms;
        return error;
    }
    if (more && call_option(call, i, "time"))
        return call_integer_or(call, call->argv[i + 1], "Invalid TIME option argument for XCLAIM",
                               &claim->delivered_ms);
    if (more && call_option(call, i, "retrycount"))
        return call_integer_or(call, call->argv[i + 1], "Invalid RETRYCOUNT option argument for XCLAIM",
                               &claim->deliveries);
    if (more && call_option(call, i, "lastid"))
        return cmd_stream__id(call, call->argv[i + 1], 0, &claim->last_id);
    reply_error_format(call->reply, "Unrecognized XCLAIM option '%.*s'", (int)call->argv[i].size,
                       (const char *)call->argv[i].data);
    return FIRN_EINVALID;
}

static int parse_claim(struct call *call, struct claim *claim) {
    int error =
        call_integer_or(call, call->argv[4], "Invalid min-idle-time argument for XCLAIM", &claim->idle_ms);
    if (error != 0) return error;
    if (claim->idle_ms < 0) claim->idle_ms = 0;
    claim->deliveries = claim->delivered_ms = -1;
    struct stream_id id;
    size_t i = FIRST_ID;
    while (i < call->argc && cmd_stream__parse_id(call->argv[i], 0, &id) == 0)
        i++;
    claim->ids_end = i;
    for (; i < call->argc && error == 0; i++)
        error = parse_option(call, &i, claim);
    int64_t now_ms = clock_cached_ms();
    if (claim->delivered_ms < 0 || claim->delivered_ms > now_ms) claim->delivered_ms = now_ms;
    return error;
}

static struct stream_id claim_id(const struct call *call, size_t place) {
    struct stream_id id = {0, 0};
    int error = cmd_stream__parse_id(call->argv[place], 0, &id); /* parsed before */
    (void)error;
    return id;
}

/* *changed_inout counts it if anything changed. */
static int claim_one(struct call *call, struct claim *claim, struct stream_id id, uint64_t *sent_inout,
                     uint64_t *changed_inout) {
    const struct stream_pending *pending = stream_pending_find(claim->group, id);
    int error = stream_has(claim->entry, id);
    if (error == FIRN_ENOTFOUND) {
        if (pending == NULL) return 0;
        drop(call, claim, pending);
        ++*changed_inout;
        return 0;
    }
    if (error != 0 || (pending == NULL && !claim->force)) return error;
    if (pending != NULL && claim->idle_ms > 0 && clock_cached_ms() - pending->delivered_ms < claim->idle_ms)
        return 0;
    ++*sent_inout;
    ++*changed_inout;
    return take(call, claim, id, pending == NULL);
}

int cmd_xclaim(struct call *call) {
    struct claim claim = {.force = 0};
    CALL_TRY(find_group(call, &claim.entry, &claim.group));
    CALL_TRY(parse_claim(call, &claim));
    int result = 0;
    for (size_t i = FIRST_ID; i < claim.ids_end; i++) {
        int error = stream_touch(claim.entry, claim_id(call, i));
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    if (result != 0) return result;
    claim.entry = db_changing(call->db, claim.entry);
    call_must_finish(call);
    int moves_last = stream_id_compare(claim.last_id, claim.group->last_id) > 0;
    if (moves_last) claim.group->last_id = claim.last_id;
    claim.consumer = cmd_stream__consumer(call, call->argv[1], claim.group, call->argv[3]);
    claim.consumer->seen_ms = clock_cached_ms();
    struct reply_later later = reply_later_open(call->reply, '*');
    uint64_t sent = 0, changed = 0;
    for (size_t i = FIRST_ID; i < claim.ids_end; i++) {
        int error = claim_one(call, &claim, claim_id(call, i), &sent, &changed);
        if (error != 0) return error;
    }
    reply_later_close(call->reply, later, sent);
    if (moves_last && changed == 0) { /* else it was told with those */
        cmd_stream__group_changed(call);
        cmd_stream__propagate_group(call, call->argv[1], claim.group);
    }
    return 0;
}

/* --- XAUTOCLAIM --- */

static int parse_auto(struct call *call, struct claim *claim, struct stream_id *first_out,
                      int64_t *count_out) {
    int error = call_integer_or(call, call->argv[4], "Invalid min-idle-time argument for XAUTOCLAIM",
                                &claim->idle_ms);
    if (error == 0) error = cmd_stream__first(call, call->argv[5], first_out);
    if (claim->idle_ms < 0) claim->idle_ms = 0;
    claim->deliveries = -1;
    claim->delivered_ms = clock_cached_ms();
    *count_out = AUTO_COUNT_USUAL;
    for (size_t i = 6; i < call->argc && error == 0; i++) {
        if (call_option(call, i, "count") && i + 1 < call->argc) {
            error = call_integer_or(call, call->argv[++i], "COUNT must be > 0", count_out);
            if (error == 0 && (*count_out < 1 || *count_out > AUTO_COUNT_MAX))
                error = refuse(call, "COUNT must be > 0");
        } else if (call_option(call, i, "justid")) {
            claim->just_id = 1;
        } else {
            error = call_syntax_error(call);
        }
    }
    return error;
}

static int is_idle_enough(const struct claim *claim, const struct stream_pending *pending) {
    return claim->idle_ms == 0 || clock_cached_ms() - pending->delivered_ms >= claim->idle_ms;
}

/* The nodes of all pending entries that auto_claim will look at. */
static int auto_touch(const struct claim *claim, struct stream_id first, int64_t count) {
    const struct id_list *list = &claim->group->pending;
    uint64_t attempts = (uint64_t)count * AUTO_ATTEMPTS;
    struct id_list_place at = id_list_seek(list, first.ms, first.seq);
    const struct stream_pending *pending;
    int result = 0;
    for (; attempts-- > 0 && count > 0 && (pending = id_list_at(list, at)) != NULL;
         at = id_list_next(list, at)) {
        int error = stream_touch(claim->entry, pending->id);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        if (is_idle_enough(claim, pending)) count--;
    }
    return result;
}

/* Claim from *next_inout on, which is left at the first pending entry not looked at (0-0: none); deleted
 * entries' IDs go to ${deleted}. */
static int auto_claim(struct call *call, struct claim *claim, int64_t count, struct stream_id *next_inout,
                      struct bytes_builder *deleted) {
    const struct id_list *list = &claim->group->pending;
    uint64_t attempts = (uint64_t)count * AUTO_ATTEMPTS, sent = 0;
    struct reply_later later = reply_later_open(call->reply, '*');
    const struct stream_pending *pending;
    struct stream_id from = *next_inout;
    int more = 1;
    for (; attempts-- > 0 && count > 0 && more; more = stream_id_next(&from)) {
        pending = id_list_at(list, id_list_seek(list, from.ms, from.seq));
        if (pending == NULL) break;
        from = pending->id;
        int error = stream_has(claim->entry, from);
        if (error == FIRN_ENOTFOUND) {
            drop(call, claim, pending);
            bytes_builder_append(deleted, &from, sizeof from);
            count--;
            continue;
        }
        if (error != 0) return error;
        if (!is_idle_enough(claim, pending)) continue;
        error = take(call, claim, from, 0);
        if (error != 0) return error;
        sent++;
        count--;
    }
    reply_later_close(call->reply, later, sent);
    pending = more ? id_list_at(list, id_list_seek(list, from.ms, from.seq)) : NULL;
    *next_inout = pending != NULL ? pending->id : CMD_STREAM_ID_MIN;
    return 0;
}

int cmd_xautoclaim(struct call *call) {
    struct claim claim = {.force = 0};
    struct stream_id next;
    int64_t count;
    CALL_TRY(parse_auto(call, &claim, &next, &count));
    CALL_TRY(find_group(call, &claim.entry, &claim.group));
    int error = auto_touch(&claim, next, count);
    if (error != 0) return error;
    claim.entry = db_changing(call->db, claim.entry);
    call_must_finish(call);
    claim.consumer = cmd_stream__consumer(call, call->argv[1], claim.group, call->argv[3]);
    claim.consumer->seen_ms = clock_cached_ms();
    struct bytes_builder deleted = {0};
    struct reply claimed; /* comes after the ID that is known last */
    reply_init(&claimed);
    claimed.version = call->reply->version;
    struct reply *reply = call->reply;
    call->reply = &claimed;
    error = auto_claim(call, &claim, count, &next, &deleted);
    call->reply = reply;
    if (error == 0) {
        reply_array(reply, 3);
        cmd_stream__reply_id(call, next);
        size_t bytes;
        struct reply_chunk *chunk = reply_take(&claimed, &bytes), *following;
        for (; chunk != NULL; chunk = following) {
            following = chunk->next;
            reply_raw(reply, bytes_of(chunk->data, chunk->used));
            reply_chunk_free(chunk);
        }
        reply_array(reply, deleted.size / sizeof next);
        for (size_t i = 0; i < deleted.size; i += sizeof next) {
            struct stream_id id;
            memcpy(&id, deleted.data + i, sizeof id);
            cmd_stream__reply_id(call, id);
        }
    }
    reply_fini(&claimed);
    bytes_builder_fini(&deleted);
    return error;
}
