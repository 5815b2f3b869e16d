/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connected client: socket, query buffer, parser, reply, and the state commands need (selected database,
 * name, flags). Executor only.
 *
 * C1 Commands of one client run in order; while one is parked none runs and nothing more is read.
 * C2 A client is freed only outside of command execution (client_close_later marks it).
 */
#ifndef FIRN_NET_CLIENT_H
#define FIRN_NET_CLIENT_H

#include <stdint.h>

#include "base/bytes.h"
#include "proto/reply.h"
#include "proto/request.h"

#define CLIENT_CLOSE_AFTER_REPLY 0x0001u
#define CLIENT_CLOSE_ASAP        0x0002u
#define CLIENT_AUTHENTICATED     0x0004u
#define CLIENT_UNIX_SOCKET       0x0008u
#define CLIENT_NO_EVICT          0x0010u
#define CLIENT_NO_TOUCH          0x0020u
#define CLIENT_REPLY_OFF         0x0040u
#define CLIENT_REPLY_SKIP_NEXT   0x0080u
#define CLIENT_REPLY_SKIP        0x0100u
#define CLIENT_MONITOR           0x0200u
#define CLIENT_PAUSED            0x0400u /* held by CLIENT PAUSE */
#define CLIENT_MULTI             0x0800u /* in MULTI: commands are queued */
#define CLIENT_INTERNAL          0x1000u /* no socket: for running commands from inside */
#define CLIENT_PUSHED            0x2000u /* a push message was queued by the current command */
#define CLIENT_BLOCKED           0x4000u /* waits for keys (or WAIT): closed as soon as the other side ends */
#define CLIENT_DENY_BLOCKING     0x8000u /* runs inside EXEC or a script */
#define CLIENT_DIRTY_EXEC        0x10000u /* a command was refused in MULTI */
#define CLIENT_DIRTY_WATCH       0x20000u /* a watched key changed */
#define CLIENT_SUBSCRIBED        0x40000u /* to a channel or a pattern */

enum client_class { CLIENT_CLASS_NORMAL, CLIENT_CLASS_REPLICA, CLIENT_CLASS_PUBSUB, CLIENT_CLASS_COUNT };

struct client {
    uint32_t magic;
    uint32_t flags;
    uint64_t id;
    /* command state */
    unsigned db_index;
    struct reply reply;
    struct request request;
    const void *command;                         /* struct command being run or parked on, else NULL */
    const void *last_command;                    /* for CLIENT LIST cmd= */
    int parked;                                  /* nonzero: waiting (page, memory, pause); see dispatch */
    void *dispatch_state;                        /* owned by src/cmd: what it is parked on */
    void *transaction, *watches, *subscriptions; /* of src/cmd, NULL while there are none */
    size_t command_bytes;                        /* what these three take */
    char *name, *lib_name, *lib_version;         /* counted memory or NULL */
    char *user;                                  /* ACL user name ("default") */
    /* statistics */
    int64_t created_ms, last_interaction_ms;
    uint64_t net_input_bytes, net_output_bytes, commands;
    /* network state: src/net only */
    struct client_connection *connection;
    struct client *next, *previous; /* list of all clients, oldest first */
};

/* --- used by commands --- */
struct client *client_first(void);
struct client *client_by_id(uint64_t id);
size_t client_count(void);
/* "ip:port", "/path:0" (unix). Static buffer per call kind is not used: written to ${out}. */
void client_address(const struct client *client, char *out, size_t bytes);
void client_local_address(const struct client *client, char *out, size_t bytes);
int client_descriptor(const struct client *client); /* -1 none */
/* Mark for closing: at the end of the turn, or (${after_reply}) when everything written for it was sent; no
 * further command of it runs. */
void client_close_later(struct client *client, int after_reply);
/*
 * Buffer numbers for CLIENT LIST, INFO and client eviction. A client without a query buffer of its own that
 * was active in the last two seconds is shown with the 16 KiB of the shared receive buffer as query_free (not
 * part of total).
 */
struct client_memory {
    size_t query_bytes, query_free, argv_bytes, reply_buffer_bytes, reply_buffer_peak, reply_list_items,
        reply_list_bytes, total;
};
void client_memory(const struct client *client, struct client_memory *memory_out);
enum client_class client_class(const struct client *client);
/* Make replies written outside of the client's own command go out (pushes, unpark). */
void client_flush(struct client *client);

/* --- used by the dispatcher (src/cmd) --- */
/* Bytes written for ${client} that the other side has not taken yet. */
size_t client_output_bytes(const struct client *client);
/* The parked client may go on: its parked command (if ${rerun}) and the rest of its query buffer are
 * processed in the next turn. */
void client_resume(struct client *client);

/* What net calls upward; registered by src/server. */
struct client_hooks {
    /* A complete command is in client->request. Run it. 0: done, go on; 1: the client is parked: keep request
     * and buffer as they are and call again with the same request after client_resume. */
    int (*execute)(struct client *client);
    /* Look ahead: commands further down the pipeline of a parked client, one call each, at most
     * ${NET_LOOKAHEAD_MAX}: may prefetch; must not run. */
    void (*look_ahead)(struct client *client, const struct bytes *argv, size_t argc);
    /* The next commands of a pipeline are about to run; ${keys} are their first arguments (a guess at their
     * keys), at most NET_PREFETCH_MAX. To warm up memory, nothing else. May be NULL. */
    void (*prefetch)(struct client *client, const struct bytes *keys, unsigned count);
    void (*connected)(struct client *client);
    void (*disconnecting)(struct client *client); /* release dispatch_state etc. */
    /* Whether a new connection is allowed (protected mode...): NULL or the error line to send before closing.
     */
    const char *(*refuse)(struct client *client);
};

#endif
