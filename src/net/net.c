/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The turn of the network layer and its periodic work: queues of connections that need something, and the end
 * of clients.
 *
 * N1 A connection is in each queue at most once, and in none when its client is freed.
 * N2 Clients are freed only in net_turn (and net_stop), never while a command runs; the connection lives on
 *    until the loop has let go of the socket.
 * N3 net__state.memory is the sum of counted_bytes over all connections; both are kept only while there is a
 *    maxmemory_clients.
 */
#include "net/net.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/net_internal.h"

#define CRON_CALLS_PER_ROUND 10 /* every client is looked at once in so many calls */
#define CRON_CLIENTS_MIN     5
#define IDLE_MS              2000
#define MAX_WINDOW_CALLS     50 /* recent_max_* look back over so many calls of net_cron, at least */

struct net_config net_config = {
    .port = 6379,
    .tcp_backlog = 511,
    .tcp_keepalive_seconds = 300,
    .maxclients = 10000,
    .protected_mode = 1,
    .client_query_buffer_limit = 1u << 30,
    .proto_max_bulk_len = 512u << 20,
    .output_limit =
        {
            [CLIENT_CLASS_REPLICA] = {256u << 20, 64u << 20, 60},
            [CLIENT_CLASS_PUBSUB] = {32u << 20, 8u << 20, 60},
        },
};
struct net_stats net_stats;
struct net_state net__state;

/* --- queues --- */

void net__queue(struct client_connection *connection, enum net_queue queue) {
    struct net_link *link = &connection->links[queue];
    if (link->queued) return;
    link->queued = 1;
    link->next = NULL;
    link->previous = net__state.queues[queue].last;
    if (link->previous)
        link->previous->links[queue].next = connection;
    else
        net__state.queues[queue].first = connection;
    net__state.queues[queue].last = connection;
}

void net__unqueue(struct client_connection *connection, enum net_queue queue) {
    struct net_link *link = &connection->links[queue];
    if (!link->queued) return;
    link->queued = 0;
    if (link->previous)
        link->previous->links[queue].next = link->next;
    else
        net__state.queues[queue].first = link->next;
    if (link->next)
        link->next->links[queue].previous = link->previous;
    else
        net__state.queues[queue].last = link->previous;
}

/* Pass what is in ${queue} now to ${work}, once each. Whether the queue has members again. */
static int run_queue(enum net_queue queue, void (*work)(struct client_connection *connection)) {
    struct client_connection *last = net__state.queues[queue].last, *connection;
    int more = last != NULL;
    while (more && (connection = net__state.queues[queue].first)) {
        more = connection != last;
        net__unqueue(connection, queue);
        work(connection);
    }
    return net__state.queues[queue].first != NULL;
}

/* --- the end of a client --- */

static void connection_closed(void *ctx) {
    struct client_connection *connection = ctx;
    FIRN_ASSERT(connection->magic == CONNECTION_MAGIC && !connection->client);
    while (connection->sending) {
        struct reply_chunk *chunk = connection->sending;
        connection->sending = chunk->next;
        reply_chunk_free(chunk);
    }
    memory_free(connection->many);
    connection->magic = 0;
    memory_free(connection);
}

void net__client_free(struct client *client) {
    struct client_connection *connection = client->connection;
    FIRN_ASSERT(client->magic == CLIENT_MAGIC && connection);
    if (net__state.hooks.disconnecting) net__state.hooks.disconnecting(client);
    for (int queue = 0; queue < NET_QUEUE_COUNT; queue++)
        net__unqueue(connection, (enum net_queue)queue);
    if (connection->waiting) net_stats.parked--;
    net__state.memory -= connection->counted_bytes;
    net__state.count--;
    if (net__state.cron_next == client) net__state.cron_next = client->next;
    if (client->previous)
        client->previous->next = client->next;
    else
        net__state.first = client->next;
    if (client->next)
        client->next->previous = client->previous;
    else
        net__state.last = client->previous;
    memory_free(connection->query);
    connection->query = NULL;
    connection->client = NULL;
    client->connection = NULL;
    client->flags |= CLIENT_INTERNAL;
    net_internal_client_destroy(client);
    loop_socket_close(connection->socket, connection_closed);
}

static void close_connection(struct client_connection *connection) {
    net__client_free(connection->client);
}

/* --- memory of clients --- */

/* Called after every read and write; free of charge while there is no limit. */
void net__account(struct client_connection *connection) {
    struct client_memory memory;
    if (net_config.maxmemory_clients == 0 || (connection->client->flags & CLIENT_CLOSE_ASAP)) return;
    client_memory(connection->client, &memory);
    net__state.memory += memory.total - connection->counted_bytes;
    connection->counted_bytes = memory.total;
}

size_t net_clients_memory(void) {
    struct client_memory memory;
    size_t sum = 0;
    for (const struct client *client = net__state.first; client; client = client->next) {
        client_memory(client, &memory);
        sum += memory.total;
    }
    return sum;
}

/* The limit was just set or lifted. */
static void start_accounting(void) {
    net__state.accounting = net_config.maxmemory_clients > 0;
    net__state.memory = 0;
    for (struct client *client = net__state.first; client; client = client->next) {
        client->connection->counted_bytes = 0;
        net__account(client->connection);
    }
}

void net__evict_clients(void) {
    while (net_config.maxmemory_clients > 0 && net__state.accounting &&
           net__state.memory > net_config.maxmemory_clients) {
        struct client *largest = NULL;
        for (struct client *client = net__state.first; client; client = client->next) {
            if (client->flags & (CLIENT_NO_EVICT | CLIENT_CLOSE_ASAP)) continue;
            if (!largest || client->connection->counted_bytes > largest->connection->counted_bytes)
                largest = client;
        }
        if (!largest) return;
        log_notice("Evicting client (id=%llu, %zu bytes of %zu in use by clients)",
                   (unsigned long long)largest->id, largest->connection->counted_bytes,
                   (size_t)net__state.memory);
        net_stats.evicted_clients++;
        client_close_later(largest, 0);
        /* It is freed at the end of the turn; its replies, mostly what is large, now. */
        size_t bytes;
        struct reply_chunk *chunk = reply_take(&largest->reply, &bytes);
        while (chunk) {
            struct reply_chunk *next = chunk->next;
            reply_chunk_free(chunk);
            chunk = next;
        }
    }
}

/* --- turn and cron --- */

int net_turn(void) {
    int more = run_queue(NET_QUEUE_READY, net__continue);
    more |= run_queue(NET_QUEUE_WRITE, net__send);
    if (net__state.queues[NET_QUEUE_CLOSE].first) run_queue(NET_QUEUE_CLOSE, close_connection);
    if (net__state.accounting != (net_config.maxmemory_clients > 0)) start_accounting();
    if (net__state.accounting && net__state.memory > net_config.maxmemory_clients) net__evict_clients();
    if (net__state.queues[NET_QUEUE_CLOSE].first) run_queue(NET_QUEUE_CLOSE, close_connection);
    /* Somebody waits for another thread: its answer must not wait for other clients. */
    loop_set_coalescing(net__state.loop, net_stats.parked == 0);
    return more;
}

static void look_after(struct client *client, int64_t now_ms) {
    struct client_connection *connection = client->connection;
    int64_t idle_ms = now_ms - client->last_interaction_ms;
    if (net_config.timeout_seconds > 0 && !connection->waiting && !(client->flags & CLIENT_SUBSCRIBED) &&
        idle_ms > (int64_t)net_config.timeout_seconds * 1000) {
        log_verbose("Closing idle client (id=%llu)", (unsigned long long)client->id);
        client_close_later(client, 0);
        return;
    }
    net__query_shrink(connection, idle_ms > IDLE_MS);
    if (idle_ms > IDLE_MS / 2) reply_shrink(&client->reply);
    net__check_output_limit(client);
    net__account(connection);
}

void net_cron(void) {
    static int calls;
    int64_t now_ms = clock_cached_ms();
    size_t round = net__state.count / CRON_CALLS_PER_ROUND;
    if (round < CRON_CLIENTS_MIN) round = CRON_CLIENTS_MIN;
    if (round > net__state.count) round = net__state.count;
    for (; round > 0; round--) {
        struct client *client = net__state.cron_next ? net__state.cron_next : net__state.first;
        net__state.cron_next = client->next;
        look_after(client, now_ms);
    }
    if (++calls % MAX_WINDOW_CALLS == 0)
        net_stats.recent_max_input_buffer = net_stats.recent_max_output_buffer = 0;
}

void net_stop(void) {
    net__stop_listening();
    /* What has been answered goes out if the sockets take it at once. */
    if (net__state.loop) run_queue(NET_QUEUE_WRITE, net__send);
    while (net__state.first)
        net__client_free(net__state.first);
}
