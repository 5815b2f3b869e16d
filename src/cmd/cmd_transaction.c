/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MULTI EXEC DISCARD WATCH UNWATCH.
 *
 * EXEC and cold pages. First it asks, in one go, for the pages of all keys of the queue that are known
 * without running anything. Then it runs the commands. As long as those before were only reads, a command
 * that meets a further cold page unwinds the whole EXEC, which runs again when the page is here: nothing has
 * happened yet (the statistics of what ran are held back until nothing can unwind any more). From the first
 * other command on pages are read blocking (tier_sync_faults), so that the rest runs in one turn.
 */
#include <string.h>

#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch_internal.h"
#include "cmd/transaction.h"
#include "cmd/transaction_rehearse.h"
#include "cmd/watch.h"
#include "page/fault.h"
#include "tiering/tier.h"

int cmd_multi(struct call *call) {
    if (call->client->flags & CLIENT_MULTI) {
        reply_error(call->reply, "MULTI calls can not be nested");
        return 0;
    }
    call->client->flags |= CLIENT_MULTI;
    reply_ok(call->reply);
    return 0;
}

int cmd_discard(struct call *call) {
    if (!(call->client->flags & CLIENT_MULTI)) {
        reply_error(call->reply, "DISCARD without MULTI");
        return 0;
    }
    transaction_discard(call->client);
    reply_ok(call->reply);
    return 0;
}

int cmd_watch(struct call *call) {
    if (call->client->flags & CLIENT_MULTI) {
        reply_error(call->reply, "WATCH inside MULTI is not allowed");
        return 0;
    }
    /* A client that is dirty already has nothing to watch for. */
    for (size_t i = 1; i < call->argc && !(call->client->flags & CLIENT_DIRTY_WATCH); i++)
        watch_add(call->client, call->db, call->argv[i]);
    reply_ok(call->reply);
    return 0;
}

int cmd_unwatch(struct call *call) {
    watch_clear(call->client);
    call->client->flags &= ~CLIENT_DIRTY_WATCH;
    reply_ok(call->reply);
    return 0;
}

/* --- EXEC --- */

/* Commands that have run, whose statistics are held back. */
struct held_back {
    struct dispatch_inner *inner;
    size_t count, capacity;
};

static void hold_back(struct held_back *held, const struct dispatch_inner *inner) {
    if (held->count == held->capacity) {
        held->capacity = held->capacity == 0 ? 8 : 2 * held->capacity;
        held->inner = memory_realloc(held->inner, held->capacity * sizeof *held->inner);
    }
    held->inner[held->count++] = *inner;
}

static void account(struct held_back *held) {
    for (size_t i = 0; i < held->count; i++)
        dispatch__inner_finish(&held->inner[i]);
    held->count = 0;
}

static int is_async(void) {
    const struct fault_set *set = fault_current();
    return set != NULL && set->mode == FAULT_ASYNC;
}

/* 0, or the error with which the whole EXEC unwinds, nothing having happened. */
static int run_queue(struct call *call, const struct transaction *transaction) {
    struct held_back held = {0};
    int result = 0;
    for (size_t i = 0; i < transaction->count && result == 0; i++) {
        const struct transaction_command *queued = &transaction->commands[i];
        struct dispatch_inner inner;
        result = dispatch__inner(call, queued->command, queued->argv, queued->argc, &inner);
        if (result != 0) break;
        if (!(queued->command->flags & COMMAND_READONLY) || inner.call.changes > 0) call_must_finish(call);
        hold_back(&held, &inner);
        if (!is_async()) account(&held);
    }
    if (result == 0) account(&held);
    memory_free(held.inner);
    return result;
}

int cmd_exec(struct call *call) {
    struct client *client = call->client;
    if (!(client->flags & CLIENT_MULTI)) {
        reply_error(call->reply, "EXEC without MULTI");
        return 0;
    }
    if (watch_has_expired(client)) client->flags |= CLIENT_DIRTY_WATCH;
    if (client->flags & (CLIENT_DIRTY_EXEC | CLIENT_DIRTY_WATCH)) {
        if (client->flags & CLIENT_DIRTY_EXEC)
            reply_error(call->reply, "-EXECABORT Transaction discarded because of previous errors.");
        else
            reply_null_array(call->reply);
        transaction_discard(client);
        return 0;
    }
    if (is_async() && tier_enabled()) {
        transaction_rehearse(call);
        if (is_async() && fault_current()->count > 0) return FIRN_EFAULT;
    }
    const struct transaction *transaction = transaction_of(client);
    reply_array(call->reply, transaction != NULL ? transaction->count : 0);
    if (transaction != NULL) {
        client->flags |= CLIENT_DENY_BLOCKING;
        int error = run_queue(call, transaction);
        client->flags &= ~CLIENT_DENY_BLOCKING;
        if (error != 0) return error;
    }
    transaction_discard(client);
    return 0;
}
