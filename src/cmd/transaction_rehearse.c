/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See transaction_rehearse.h. A read is run with its reply thrown away. A write of single elements is
 * represented by the read of the same elements (HSET by HMGET...): that touches the pages the write looks at
 * before it changes anything. What comes about only by an earlier command of the queue is not seen: its pages
 * are in DRAM anyway.
 */
#include "cmd/transaction_rehearse.h"

#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch_internal.h"
#include "cmd/transaction.h"
#include "net/client.h"
#include "page/fault.h"
#include "page/page.h"

#define COMMANDS_MAX 1024u /* of one queue; beyond that the rest is met when it runs */

/* Where the elements are in the arguments of a write: from ${first}, every ${step}th; and the read of them.
 */
struct representation {
    int (*write)(struct call *call); /* its handler */
    const char *read;
    unsigned first, step;
};

static const struct representation representations[] = {
    {cmd_hset, "hmget", 2, 2},      {cmd_hmset, "hmget", 2, 2},        {cmd_hsetnx, "hmget", 2, 2},
    {cmd_hincrby, "hmget", 2, 2},   {cmd_hincrbyfloat, "hmget", 2, 2}, {cmd_hdel, "hmget", 2, 1},
    {cmd_sadd, "smismember", 2, 1}, {cmd_srem, "smismember", 2, 1},    {cmd_zrem, "zmscore", 2, 1},
    {cmd_zincrby, "zmscore", 3, 2}, {cmd_lset, "lindex", 2, 9},        {cmd_setbit, "getbit", 2, 9},
};

static const struct representation *representation_of(const struct command *command) {
    for (size_t i = 0; i < sizeof representations / sizeof *representations; i++) {
        if (representations[i].write == command->handler) return &representations[i];
    }
    return NULL;
}

/* Arguments of the read that represents ${queued}, in memory of the caller's to free. */
static struct bytes *represent(const struct transaction_command *queued,
                               const struct representation *representation, size_t *argc_out) {
    struct bytes *argv = memory_alloc((queued->argc + 1) * sizeof *argv);
    size_t argc = 0;
    argv[argc++] = bytes_of_text(representation->read);
    argv[argc++] = queued->argv[1];
    for (size_t i = representation->first; i < queued->argc; i += representation->step)
        argv[argc++] = queued->argv[i];
    *argc_out = argc;
    return argv;
}

static void rehearse_one(struct call *call, const struct transaction_command *queued) {
    const struct command *command = queued->command;
    if (command->tier == COMMAND_TIER_READ && (command->flags & COMMAND_READONLY)) {
        dispatch__rehearse(call, command, queued->argv, queued->argc);
        return;
    }
    const struct representation *representation = representation_of(command);
    if (representation == NULL) return;
    size_t argc;
    struct bytes *argv = represent(queued, representation, &argc);
    command = command_find(argv, argc, NULL);
    if (command != NULL && command->handler != NULL && command_arity_fits(command, argc))
        dispatch__rehearse(call, command, argv, argc);
    memory_free(argv);
}

/* What any access to the value of ${key} would need first. */
static int touch(const struct command *command, unsigned index, struct bytes key) {
    struct db *db = db_at(index);
    if (command->tier == COMMAND_TIER_NONE && !db_is_sunk(db, key)) return 0;
    uint64_t ref = db_cold_ref(db, key);
    if (ref != 0 && !page_is_ready(ref)) (void)fault_record(ref);
    return 0;
}

void transaction_rehearse(struct call *call) {
    const struct transaction *transaction = transaction_of(call->client);
    (void)transaction_each_key(call->client, touch);
    /* Reads at the beginning unwind by themselves when they meet a fault. */
    int changed = 0;
    for (size_t i = 0; transaction != NULL && i < transaction->count && i < COMMANDS_MAX; i++) {
        const struct transaction_command *queued = &transaction->commands[i];
        if (queued->command->handler == cmd_select) return; /* other databases are met when they run */
        changed |= !(queued->command->flags & COMMAND_READONLY);
        if (changed && fault_current()->mode == FAULT_ASYNC) rehearse_one(call, queued);
    }
}
