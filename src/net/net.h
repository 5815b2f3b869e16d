/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners and the traffic of all clients, on src/loop. Executor only. */
#ifndef FIRN_NET_NET_H
#define FIRN_NET_NET_H

#include <stdint.h>

#include "base/error.h"
#include "net/client.h"

#define NET_LOOKAHEAD_MAX 64
#define NET_PREFETCH_MAX  32

struct net_output_limit {
    uint64_t hard_bytes, soft_bytes;
    int64_t soft_seconds;
};

/* Live settings; the configuration writes them. */
struct net_config {
    unsigned port;     /* 0: no TCP */
    char bind[16][64]; /* addresses; leading '-': may fail; "*" any */
    unsigned bind_count;
    char unixsocket[256];
    unsigned unixsocketperm;
    unsigned tcp_backlog;
    unsigned tcp_keepalive_seconds;
    unsigned timeout_seconds; /* idle clients; 0 never */
    unsigned maxclients;
    int protected_mode;
    uint64_t client_query_buffer_limit;
    uint64_t proto_max_bulk_len;
    uint64_t maxmemory_clients; /* 0 off; >0 bytes; percentages are resolved by the configuration */
    struct net_output_limit output_limit[CLIENT_CLASS_COUNT];
    int reuse_port_retry;
};
extern struct net_config net_config;

struct loop;
/*
 * Raise RLIMIT_NOFILE so that net_config.maxclients fit, or lower maxclients to what fits (both logged).
 * FIRN_ESYSTEM: had to be lowered. Part of net_start; for CONFIG SET maxclients.
 */
int net_adjust_file_limit(void);
/* The error line for a client that protected mode keeps out (not from this machine while
 * net_config.protected_mode is set), or NULL. For the refuse hook, which knows whether there is a password.
 */
const char *net_protected_refusal(const struct client *client);
/* Bind and listen on everything in net_config; log what fails ("Failed listening on port N (tcp),
 * aborting."). FIRN_ESYSTEM. */
FIRN_MUST_USE int net_start(struct loop *loop, const struct client_hooks *hooks);
/* CONFIG SET port/bind: listen anew; on failure the old listeners stay and FIRN_ESYSTEM. */
FIRN_MUST_USE int net_listen_again(void);
/* Close listeners, then all clients. */
void net_stop(void);
/* Once per turn before the loop sleeps: run resumed clients, close marked ones, send replies. Nonzero: more
 * to do at once. */
int net_turn(void);
/* Every 100 ms: timeouts, output soft limits, query buffers shrink, client eviction. */
void net_cron(void);

struct net_stats {
    uint64_t connections_total, rejected_connections, input_bytes, output_bytes, query_limit_disconnections,
        output_limit_disconnections, evicted_clients, commands_total, reads_processed, writes_processed;
    uint64_t recent_max_input_buffer, recent_max_output_buffer;
    size_t clients_memory, parked;
};
extern struct net_stats net_stats;
/* Memory of all clients (query buffers, replies), for INFO mem_clients_normal. */
size_t net_clients_memory(void);

/* A client without a socket (CLIENT_INTERNAL), for running commands from inside; its replies are collected in
 * ->reply. */
struct client *net_internal_client_create(void);
void net_internal_client_destroy(struct client *client);

#endif
