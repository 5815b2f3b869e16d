/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue of a client in MULTI. The client's flags say the rest: CLIENT_MULTI (in one), CLIENT_DIRTY_EXEC
 * (a command was refused: EXEC will fail), CLIENT_DIRTY_WATCH (watch.h).
 *
 * Executor only.
 */
#ifndef FIRN_CMD_TRANSACTION_H
#define FIRN_CMD_TRANSACTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct client;
struct command;

struct transaction_command {
    const struct command *command;
    size_t argc;
    struct bytes *argv; /* with what it points to, one allocation */
};

struct transaction {
    struct transaction_command *commands;
    size_t count, capacity;
    size_t argument_bytes; /* of all arguments queued */
    uint32_t flags;        /* COMMAND_* of all commands queued, together */
};

/* The queue, NULL while nothing was queued. */
const struct transaction *transaction_of(const struct client *client);
/* Append a copy of the command. */
void transaction_queue(struct client *client, const struct command *command, const struct bytes *argv,
                       size_t argc);
/* End MULTI and forget the queue and the keys watched. */
void transaction_discard(struct client *client);
/* Whether ${command} is run at once in MULTI instead of being queued. */
int transaction_is_immediate(const struct command *command);
/* Bytes that multi-mem shows. */
size_t transaction_memory(const struct client *client);
/* COMMAND_* flags of what EXEC is going to run for ${client}. */
uint32_t transaction_flags(const struct client *client);
/* Call ${visit} for each key that the queued commands name, with the database it is in; nonzero stops and is
 * returned. */
int transaction_each_key(const struct client *client,
                         int (*visit)(const struct command *command, unsigned db, struct bytes key));

#endif
