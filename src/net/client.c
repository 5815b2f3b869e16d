/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of clients and what is known about one: addresses, memory, class. Traffic is in net_traffic.c. */
#include "net/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/net_internal.h"

#define ACTIVE_MS 2000

static struct client *create(uint32_t flags) {
    struct client *client = memory_alloc_zero(sizeof *client);
    client->magic = CLIENT_MAGIC;
    client->flags = flags;
    client->id = ++net__state.next_id;
    client->created_ms = client->last_interaction_ms = clock_cached_ms();
    reply_init(&client->reply);
    request_init(&client->request);
    return client;
}

static void read_addresses(struct client_connection *connection, int fd) {
    socklen_t size = sizeof connection->peer;
    if (getpeername(fd, (struct sockaddr *)&connection->peer, &size) != 0)
        connection->peer.ss_family = AF_UNSPEC;
    size = sizeof connection->local;
    if (getsockname(fd, (struct sockaddr *)&connection->local, &size) != 0)
        connection->local.ss_family = AF_UNSPEC;
}

struct client *net__client_create(int fd, struct loop_socket *socket) {
    struct client *client = create(0);
    struct client_connection *connection = memory_alloc_zero(sizeof *connection);
    connection->magic = CONNECTION_MAGIC;
    connection->client = client;
    connection->socket = socket;
    read_addresses(connection, fd);
    if (connection->local.ss_family == AF_UNIX) client->flags |= CLIENT_UNIX_SOCKET;
    client->connection = connection;
    client->previous = net__state.last;
    if (net__state.last)
        net__state.last->next = client;
    else
        net__state.first = client;
    net__state.last = client;
    net__state.count++;
    return client;
}

struct client *net_internal_client_create(void) {
    return create(CLIENT_INTERNAL | CLIENT_AUTHENTICATED);
}

void net_internal_client_destroy(struct client *client) {
    if (!client) return;
    FIRN_ASSERT(client->magic == CLIENT_MAGIC && (client->flags & CLIENT_INTERNAL));
    reply_fini(&client->reply);
    request_fini(&client->request);
    memory_free(client->name);
    memory_free(client->lib_name);
    memory_free(client->lib_version);
    memory_free(client->user);
    client->magic = 0;
    memory_free(client);
}

struct client *client_first(void) {
    return net__state.first;
}

/* Ids rise along the list, and the young ones are asked for most. */
struct client *client_by_id(uint64_t id) {
    struct client *client = net__state.last;
    while (client && client->id > id)
        client = client->previous;
    return client && client->id == id ? client : NULL;
}

size_t client_count(void) {
    return net__state.count;
}

static void write_address(const struct client_connection *connection, const struct sockaddr_storage *address,
                          char *out, size_t bytes) {
    char text[INET6_ADDRSTRLEN];
    const void *place;
    unsigned port;
    if (connection->local.ss_family == AF_UNIX) {
        snprintf(out, bytes, "%s:0",
                 ((const struct sockaddr_un *)(const void *)&connection->local)->sun_path);
    } else if (address->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const void *)address;
        place = &four->sin_addr;
        port = ntohs(four->sin_port);
        snprintf(out, bytes, "%s:%u", inet_ntop(AF_INET, place, text, sizeof text) ? text : "?", port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const void *)address;
        place = &six->sin6_addr;
        port = ntohs(six->sin6_port);
        snprintf(out, bytes, "[%s]:%u", inet_ntop(AF_INET6, place, text, sizeof text) ? text : "?", port);
    } else {
        snprintf(out, bytes, "?:0");
    }
}

void client_address(const struct client *client, char *out, size_t bytes) {
    if (client->connection)
        write_address(client->connection, &client->connection->peer, out, bytes);
    else
        snprintf(out, bytes, "%s", "");
}

void client_local_address(const struct client *client, char *out, size_t bytes) {
    if (client->connection)
        write_address(client->connection, &client->connection->local, out, bytes);
    else
        snprintf(out, bytes, "%s", "");
}

int client_descriptor(const struct client *client) {
    return client->connection ? loop_socket_descriptor(client->connection->socket) : -1;
}

void client_close_later(struct client *client, int after_reply) {
    client->flags |= after_reply ? CLIENT_CLOSE_AFTER_REPLY : CLIENT_CLOSE_ASAP;
    if (!client->connection) return;
    if (!after_reply) { /* as good as freed: others are not evicted for it */
        net__state.memory -= client->connection->counted_bytes;
        client->connection->counted_bytes = 0;
    }
    net__queue(client->connection, after_reply ? NET_QUEUE_WRITE : NET_QUEUE_CLOSE);
}

void client_flush(struct client *client) {
    if (!client->connection || client->reply.bytes == 0) return;
    net__queue(client->connection, NET_QUEUE_WRITE);
    net__check_output_limit(client);
    net__account(client->connection);
}

size_t client_output_bytes(const struct client *client) {
    return net__output_bytes(client);
}

void client_resume(struct client *client) {
    if (client->connection) net__queue(client->connection, NET_QUEUE_READY);
}

enum client_class client_class(const struct client *client) {
    /* replicas come later */
    return client->flags & CLIENT_SUBSCRIBED ? CLIENT_CLASS_PUBSUB : CLIENT_CLASS_NORMAL;
}

static size_t usable(const void *pointer) {
    return pointer ? memory_usable(pointer) : 0;
}

static void query_memory(const struct client *client, const struct client_connection *connection,
                         struct client_memory *memory) {
    size_t there = connection->query_end - connection->query_start;
    memory->query_bytes = there + connection->borrowed_bytes;
    if (connection->query) {
        memory->query_free = connection->query_capacity - there;
        /* As in Redis a big argument that is being received counts alone, without the words before it. */
        if (client->request.bulk_left >= (int64_t)NET_BIG_ARGUMENT_BYTES)
            memory->query_bytes -= client->request.scanned;
    } else if (clock_cached_ms() - client->last_interaction_ms < ACTIVE_MS) {
        size_t shared = NET_QUERY_BYTES_MIN;
        memory->query_free = shared > memory->query_bytes ? shared - memory->query_bytes : 0;
    }
}

void client_memory(const struct client *client, struct client_memory *memory_out) {
    const struct client_connection *connection = client->connection;
    const struct reply *reply = &client->reply;
    memset(memory_out, 0, sizeof *memory_out);
    memory_out->argv_bytes = client->request.argument_bytes;
    memory_out->total =
        sizeof *client + client->request.argv_capacity * sizeof(struct bytes) + client->command_bytes;
    memory_out->total +=
        usable(client->name) + usable(client->lib_name) + usable(client->lib_version) + usable(client->user);
    for (const struct reply_chunk *chunk = reply->head; chunk; chunk = chunk->next) {
        memory_out->total += chunk->capacity + sizeof *chunk;
        if (chunk == reply->head) continue;
        memory_out->reply_list_items++;
        memory_out->reply_list_bytes += chunk->capacity + sizeof *chunk;
    }
    memory_out->reply_buffer_bytes = reply->head ? reply->head->capacity : 0;
    memory_out->reply_buffer_peak = reply->head ? reply->head->used : 0;
    if (!connection) return;
    query_memory(client, connection, memory_out);
    for (const struct reply_chunk *chunk = connection->sending; chunk; chunk = chunk->next) {
        memory_out->reply_list_items++;
        memory_out->reply_list_bytes += chunk->capacity + sizeof *chunk;
        memory_out->total += chunk->capacity + sizeof *chunk;
    }
    memory_out->total += sizeof *connection + connection->query_capacity;
}
