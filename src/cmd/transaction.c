/* SPDX-License-Identifier: BSD-3-Clause */
/* See transaction.h. What is queued counts as the client's memory (client->command_bytes). */
#include "cmd/transaction.h"

#include <string.h>

#include "base/memory.h"
#include "cmd/command.h"
#include "cmd/watch.h"
#include "ds/number.h"
#include "generated/command_handlers.h"
#include "keyspace/db.h"
#include "net/client.h"

#define COMMANDS_MIN 4u
#define KEYS_MAX     256u /* keys of one command that are known in advance */

const struct transaction *transaction_of(const struct client *client) {
    return client->transaction;
}

void transaction_queue(struct client *client, const struct command *command, const struct bytes *argv,
                       size_t argc) {
    struct transaction *transaction = client->transaction;
    if (transaction == NULL) client->transaction = transaction = memory_alloc_zero(sizeof *transaction);
    client->command_bytes -= transaction_memory(client);
    if (transaction->count == transaction->capacity) {
        transaction->capacity = transaction->capacity == 0 ? COMMANDS_MIN : 2 * transaction->capacity;
        transaction->commands =
            memory_realloc(transaction->commands, transaction->capacity * sizeof *transaction->commands);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].size;
    struct bytes *copy = memory_alloc(argc * sizeof *copy + bytes + 1);
    uint8_t *to = (uint8_t *)(copy + argc);
    for (size_t i = 0; i < argc; i++) {
        if (argv[i].size > 0) memcpy(to, argv[i].data, argv[i].size);
        copy[i] = bytes_of(to, argv[i].size);
        to += argv[i].size;
    }
    transaction->commands[transaction->count++] = (struct transaction_command){command, argc, copy};
    transaction->argument_bytes += bytes;
    transaction->flags |= command->flags;
    client->command_bytes += transaction_memory(client);
}

static void forget(struct client *client) {
    struct transaction *transaction = client->transaction;
    if (transaction == NULL) return;
    client->command_bytes -= transaction_memory(client);
    for (size_t i = 0; i < transaction->count; i++)
        memory_free(transaction->commands[i].argv);
    memory_free(transaction->commands);
    memory_free(transaction);
    client->transaction = NULL;
}

void transaction_discard(struct client *client) {
    forget(client);
    client->flags &= ~(CLIENT_MULTI | CLIENT_DIRTY_EXEC | CLIENT_DIRTY_WATCH);
    watch_clear(client);
}

int transaction_is_immediate(const struct command *command) {
    return command->handler == cmd_exec || command->handler == cmd_discard || command->handler == cmd_multi ||
           command->handler == cmd_watch || command->handler == cmd_quit || command->handler == cmd_reset;
}

size_t transaction_memory(const struct client *client) {
    const struct transaction *transaction = client->transaction;
    if (transaction == NULL) return 0;
    return transaction->argument_bytes + transaction->capacity * sizeof *transaction->commands;
}

uint32_t transaction_flags(const struct client *client) {
    const struct transaction *transaction = client->transaction;
    return transaction != NULL ? transaction->flags : 0;
}

int transaction_each_key(const struct client *client,
                         int (*visit)(const struct command *command, unsigned db, struct bytes key)) {
    const struct transaction *transaction = client->transaction;
    unsigned db = client->db_index;
    for (size_t i = 0; transaction != NULL && i < transaction->count; i++) {
        const struct transaction_command *queued = &transaction->commands[i];
        unsigned positions[KEYS_MAX];
        int64_t index;
        if (queued->command->handler == cmd_select && number_parse_int(queued->argv[1], &index) == 0 &&
            index >= 0 && index < (int64_t)db_count())
            db = (unsigned)index;
        int count = command_keys(queued->command, queued->argv, queued->argc, positions, NULL, KEYS_MAX);
        for (int at = 0; at < count && at < (int)KEYS_MAX; at++) {
            int stop = visit(queued->command, db, queued->argv[positions[at]]);
            if (stop != 0) return stop;
        }
    }
    return 0;
}
