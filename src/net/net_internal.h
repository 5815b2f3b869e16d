/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside src/net: the connection behind a client, the work queues, and the calls between net.c,
 * net_traffic.c, net_listen.c and client.c. */
#ifndef FIRN_NET_NET_INTERNAL_H
#define FIRN_NET_NET_INTERNAL_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "loop/loop.h"
#include "net/net.h"

#define CLIENT_MAGIC     0x636c6e74u
#define CONNECTION_MAGIC 0x636f6e6eu

#define NET_QUERY_BYTES_MIN  16384u     /* a query buffer starts with this */
#define NET_QUERY_KEEP_BYTES (1u << 20) /* a larger one is freed as soon as it is empty */
#define NET_EXACT_BYTES_MAX                                                                                  \
    (32u << 20) /* a big argument up to this gets its whole buffer at once, a larger one by doubling */
#define NET_BIG_ARGUMENT_BYTES 32768u

/* Queues of connections that net_turn works on. */
enum net_queue { NET_QUEUE_READY, NET_QUEUE_WRITE, NET_QUEUE_CLOSE, NET_QUEUE_COUNT };

struct net_link {
    struct client_connection *next, *previous;
    int queued;
};

/*
 * Input: data is parsed where it was received (borrowed, the loop's buffer) if nothing is left over from
 * before; what is left over, or all that is behind a parked command, moves to the query buffer. Between start
 * and end are bytes not yet consumed; the command being parsed or parked begins at start.
 */
struct client_connection {
    uint32_t magic;
    struct client *client; /* NULL: freed, the socket is still closing */
    struct loop_socket *socket;
    uint8_t *query;
    size_t query_start, query_end, query_capacity, query_peak;
    size_t borrowed_bytes; /* in the loop's buffer, while its commands run */
    uint64_t looked_ahead; /* stream position up to which look_ahead was called */
    uint64_t position;     /* stream position of query_start */
    int waiting;           /* parked: the request is kept */
    /* output */
    struct reply_chunk *sending; /* taken from the reply; the first is partly sent perhaps */
    size_t sending_bytes;
    unsigned sending_parts; /* chunks in the running send; 0: none runs */
    struct iovec one, *many;
    int64_t soft_since_ms; /* over the soft output limit since; 0: not */
    size_t counted_bytes;  /* in net__state.memory */
    struct sockaddr_storage peer, local;
    struct net_link links[NET_QUEUE_COUNT];
};

struct net_state {
    struct loop *loop;
    struct client_hooks hooks;
    struct {
        struct client_connection *first, *last;
    } queues[NET_QUEUE_COUNT];
    struct client *first, *last; /* all clients, oldest first */
    size_t count;
    uint64_t next_id;
    struct client *cron_next;
    int accounting; /* maxmemory_clients is set */
    size_t memory;  /* of all clients, while accounting */
};
extern struct net_state net__state;

/* net.c */
void net__queue(struct client_connection *connection, enum net_queue queue);
void net__unqueue(struct client_connection *connection, enum net_queue queue);
void net__account(struct client_connection *connection);
/* Over maxmemory_clients: close the largest until under. Not while a command runs. */
void net__evict_clients(void);
void net__client_free(struct client *client);
/* client.c */
struct client *net__client_create(int fd, struct loop_socket *socket);
/* net_listen.c */
void net__stop_listening(void);
/* net_traffic.c */
void net__traffic_start(struct client_connection *connection);
/* A resumed client, or one whose turn was up: go on with its buffer. */
void net__continue(struct client_connection *connection);
/* Send what there is. */
void net__send(struct client_connection *connection);
/* Close the client if it is over its class's output limit. */
void net__check_output_limit(struct client *client);
void net__query_shrink(struct client_connection *connection, int idle);
size_t net__output_bytes(const struct client *client);

#endif
