/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes through a connection: received bytes to commands, replies to the socket.
 *
 * Input. Bytes arrive in the loop's one receive buffer, which is warm in the cache, and are parsed and
 * executed there; only an incomplete command at the end, or what is behind a command that parked, is copied
 * to the client's own query buffer. While that is not empty the loop receives into it directly, so a big
 * argument is written once, into a buffer of its size. Receiving is off while a client is parked: the buffer
 * (and argv pointing into it) does not move, and TCP holds the sender back.
 *
 * Fairness. One receive (64 KiB) per client and turn bounds the commands of a turn; TURN_REPLY_BYTES bounds
 * what they answer: beyond it the client goes to the ready queue, and its replies are sent before it
 * continues.
 *
 * Output. Replies are sent once a turn (net_turn). A reply in one chunk, the usual case, is sent from where
 * it was written and the chunk used again.
 *
 * T1 waiting: client->request holds the parked command, argv lies in query (or the request's inline copy),
 *    receiving is paused.
 * T2 sending_parts > 0: the first sending_parts chunks of sending belong to the loop.
 */
#include <errno.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/net_internal.h"

#define TURN_REPLY_BYTES (1u << 20)
#define UNAUTHENTICATED_OUTPUT_BYTES                                                                         \
    (CHECK_OUTPUT_BYTES + 1024u) /* without a password nobody is owed more                                   \
                                  */
#define CHECK_OUTPUT_BYTES   16384u
#define LOOK_AHEAD_BYTES_MAX 65536u
#define RECEIVE_BYTES_MIN    4096u /* room for a receive into the query buffer */
#define WAITS_FOR_OTHERS     (CLIENT_BLOCKED | CLIENT_PAUSED)

static void note(enum log_level level, const struct client *client, const char *text, const char *detail) {
    char address[128];
    if (!log_enabled(level)) return;
    client_address(client, address, sizeof address);
    log_line(level, "%s%s (client id=%llu addr=%s name=%s)", text, detail, (unsigned long long)client->id,
             address, client->name ? client->name : "");
}

/* --- the query buffer --- */

/* Make room for ${more} bytes behind query_end, moving the rest to the front if that helps. 0 or FIRN_ENOMEM.
 * Not while waiting. */
static int query_reserve(struct client_connection *connection, size_t more, int exact) {
    size_t there = connection->query_end - connection->query_start;
    FIRN_ASSERT(!connection->waiting);
    if (connection->query_capacity - connection->query_end >= more) return 0;
    if (connection->query_capacity - there >= more) {
        memmove(connection->query, connection->query + connection->query_start, there);
    } else {
        size_t capacity = there + more;
        if (!exact && capacity < 2 * there) capacity = 2 * there;
        if (capacity < NET_QUERY_BYTES_MIN) capacity = NET_QUERY_BYTES_MIN;
        uint8_t *larger = memory_try_alloc(capacity);
        if (!larger) return FIRN_ENOMEM;
        if (there > 0) memcpy(larger, connection->query + connection->query_start, there);
        memory_free(connection->query);
        connection->query = larger;
        connection->query_capacity = capacity;
    }
    connection->query_start = 0;
    connection->query_end = there;
    request_rebase(&connection->client->request, connection->query);
    return 0;
}

/* Of a big argument that is being received: for how many more bytes to make room at once. 0: there is none.
 * So a buffer ends up as large as its argument, however that came in. */
static size_t big_argument_room(const struct client_connection *connection) {
    size_t needed = connection->client->request.needed;
    size_t there = connection->query_end - connection->query_start;
    if (needed < NET_BIG_ARGUMENT_BYTES) return 0;
    size_t step = there > NET_EXACT_BYTES_MAX ? there : NET_EXACT_BYTES_MAX;
    return there + needed > NET_EXACT_BYTES_MAX && needed > step ? step : needed;
}

static void query_free(struct client_connection *connection) {
    memory_free(connection->query);
    connection->query = NULL;
    connection->query_capacity = 0;
    connection->query_start = connection->query_end = 0;
}

void net__query_shrink(struct client_connection *connection, int idle) {
    size_t there = connection->query_end - connection->query_start;
    size_t peak = connection->query_peak;
    connection->query_peak = there;
    if (!connection->query || connection->waiting) return;
    if (!idle && big_argument_room(connection) > 0) return; /* it is needed in a moment */
    if (there == 0 && idle) {
        query_free(connection);
        return;
    }
    size_t target = idle || peak < there ? there : peak;
    if (target < NET_QUERY_BYTES_MIN && !idle) target = NET_QUERY_BYTES_MIN;
    if (connection->query_capacity <= 2 * NET_QUERY_BYTES_MIN && !idle) return;
    if (connection->query_capacity < 2 * target) return;
    uint8_t *smaller = memory_alloc(target);
    memcpy(smaller, connection->query + connection->query_start, there);
    memory_free(connection->query);
    connection->query = smaller;
    connection->query_capacity = target;
    connection->query_start = 0;
    connection->query_end = there;
    request_rebase(&connection->client->request, smaller);
}

/* Copy ${rest} (the loop's memory, beginning with the current command) to the empty query buffer. */
static int keep_rest(struct client_connection *connection, struct bytes rest) {
    struct client *client = connection->client;
    FIRN_ASSERT(connection->query_start == connection->query_end);
    connection->query_start = connection->query_end = 0;
    size_t big = big_argument_room(connection);
    int error = query_reserve(connection, rest.size + big, big > 0);
    if (error != 0) return error;
    memcpy(connection->query, rest.data, rest.size);
    connection->query_end = rest.size;
    if (connection->query_peak < rest.size) connection->query_peak = rest.size;
    request_rebase(&client->request, connection->query);
    return 0;
}

static void out_of_memory(struct client *client) {
    note(LOG_LEVEL_WARNING, client, "No memory for the query buffer, closing client", "");
    client_close_later(client, 0);
}

/* --- commands --- */

static void protocol_error(struct client *client) {
    note(LOG_LEVEL_VERBOSE, client, "Protocol error from client: ", client->request.error);
    reply_error_format(&client->reply, "Protocol error: %s", client->request.error);
    client_close_later(client, 1);
}

/* Tell the hook of complete commands behind the parked one, each once. */
static void look_ahead(struct client_connection *connection) {
    static struct request scratch;
    struct client *client = connection->client;
    const struct request_limits limits = {net_config.proto_max_bulk_len, 1};
    if (!net__state.hooks.look_ahead) return;
    uint64_t from = connection->position + client->request.consumed;
    if (from < connection->looked_ahead) from = connection->looked_ahead;
    size_t at = connection->query_start + (size_t)(from - connection->position);
    size_t end = connection->query_end;
    if (end - at > LOOK_AHEAD_BYTES_MAX) end = at + LOOK_AHEAD_BYTES_MAX;
    if (!scratch.argv) request_init(&scratch);
    for (int i = 0; i < NET_LOOKAHEAD_MAX && at < end; i++) {
        int result = request_parse(&scratch, bytes_of(connection->query + at, end - at), &limits);
        if (result == 1) {
            if (scratch.argc > 0) net__state.hooks.look_ahead(client, scratch.argv, scratch.argc);
            at += scratch.consumed;
        }
        request_reset(&scratch);
        if (result != 1) break;
    }
    connection->looked_ahead = connection->position + (at - connection->query_start);
}

static void set_waiting(struct client_connection *connection, int waiting) {
    if (waiting && !connection->waiting) net_stats.parked++;
    if (!waiting && connection->waiting) net_stats.parked--;
    connection->waiting = waiting;
}

/*
 * Parse the pipeline in ${input} (which begins with a command) ahead and pass the keys upward. Parsing twice
 * costs a few nanoseconds a command; a table look-up that misses the cache costs a hundred. Returns the bytes
 * looked at.
 */
static size_t prefetch(struct client *client, struct bytes input, const struct request_limits *limits) {
    static struct request scratch;
    struct bytes keys[NET_PREFETCH_MAX];
    unsigned count = 0;
    size_t at = 0;
    if (!scratch.argv) request_init(&scratch);
    for (unsigned i = 0; i < NET_PREFETCH_MAX && at < input.size; i++) {
        int result = request_parse(&scratch, bytes_of(input.data + at, input.size - at), limits);
        if (result == 1) {
            at += scratch.consumed;
            if (scratch.argc > 1 && !scratch.is_inline) keys[count++] = scratch.argv[1];
        }
        request_reset(&scratch);
        if (result != 1) break;
    }
    if (count > 1) net__state.hooks.prefetch(client, keys, count);
    return at;
}

/* Run the command in client->request. Whether it is through (else it parked). */
static int execute(struct client *client) {
    client->reply.bytes_max = net_config.output_limit[client_class(client)].hard_bytes;
    if (net__state.hooks.execute(client) != 0) return 0;
    client->commands++;
    net_stats.commands_total++;
    if (client->reply.bytes > CHECK_OUTPUT_BYTES) net__check_output_limit(client);
    return 1;
}

/* No further command of this client may run in this turn. */
static int must_stop(const struct client *client, size_t replied_before) {
    return (client->flags & (CLIENT_CLOSE_ASAP | CLIENT_CLOSE_AFTER_REPLY)) ||
           net__output_bytes(client) - replied_before > TURN_REPLY_BYTES;
}

/*
 * Run the commands in ${input}, which begins with the current command. Returns the bytes consumed; stops at
 * an incomplete command, a parked one (waiting is set), an error, or when the turn is used up (the client is
 * then in the ready queue).
 */
static size_t run_commands(struct client_connection *connection, struct bytes input) {
    struct client *client = connection->client;
    struct request *request = &client->request;
    size_t replied_before = net__output_bytes(client), used = 0, prefetched = 0;
    while (used < input.size) {
        struct request_limits limits = {net_config.proto_max_bulk_len,
                                        (client->flags & CLIENT_AUTHENTICATED) != 0};
        int result = request_parse(request, bytes_of(input.data + used, input.size - used), &limits);
        if (result == 0) break;
        if (result < 0) {
            protocol_error(client);
            break;
        }
        if (used >= prefetched && used + request->consumed < input.size && net__state.hooks.prefetch) {
            prefetched = used + prefetch(client, bytes_of(input.data + used, input.size - used), &limits);
        }
        if (request->argc > 0 && !execute(client)) {
            set_waiting(connection, 1);
            break;
        }
        used += request->consumed;
        request_reset(request);
        if (__builtin_expect(must_stop(client, replied_before), 0)) {
            if (used < input.size) net__queue(connection, NET_QUEUE_READY);
            break;
        }
    }
    connection->position += used;
    return used;
}

/* After commands ran: park, pause, end, reply. */
static void settle(struct client_connection *connection) {
    struct client *client = connection->client;
    if (client->reply.bytes > 0 || (client->flags & CLIENT_CLOSE_AFTER_REPLY))
        net__queue(connection, NET_QUEUE_WRITE);
    if (client->flags & (CLIENT_CLOSE_ASAP | CLIENT_CLOSE_AFTER_REPLY)) {
        loop_receive_pause(connection->socket);
    } else if (connection->waiting) {
        loop_receive_pause(connection->socket);
        if ((client->flags & WAITS_FOR_OTHERS) && loop_receive_ended(connection->socket))
            client_close_later(client, 0);
        else
            look_ahead(connection);
    } else if (connection->links[NET_QUEUE_READY].queued) {
        loop_receive_pause(connection->socket);
    }
    net__account(connection);
    net__evict_clients(); /* before the keys of others have to go for these replies */
}

/* Commands in the query buffer. */
static void run_query(struct client_connection *connection) {
    size_t size = connection->query_end - connection->query_start;
    if (connection->query_peak < size) connection->query_peak = size;
    connection->query_start +=
        run_commands(connection, bytes_of(connection->query + connection->query_start, size));
    if (connection->query_start == connection->query_end && !connection->waiting) {
        connection->query_start = connection->query_end = 0;
        if (connection->query_capacity > NET_QUERY_KEEP_BYTES) query_free(connection);
    }
    settle(connection);
}

/* Commands in the loop's buffer. */
static void run_borrowed(struct client_connection *connection, struct bytes input) {
    connection->borrowed_bytes = input.size;
    size_t used = run_commands(connection, input);
    connection->borrowed_bytes = 0;
    int closing = (connection->client->flags & (CLIENT_CLOSE_ASAP | CLIENT_CLOSE_AFTER_REPLY)) != 0;
    if (used < input.size && !closing) {
        int waiting = connection->waiting;
        connection->waiting = 0; /* argv is not in query yet, it may move */
        if (keep_rest(connection, bytes_of(input.data + used, input.size - used)) != 0)
            out_of_memory(connection->client);
        connection->waiting = waiting;
    }
    settle(connection);
}

/* Go on with the parked command. Whether it is through. */
static int run_parked(struct client_connection *connection) {
    struct client *client = connection->client;
    set_waiting(connection, 0);
    if (!execute(client)) {
        set_waiting(connection, 1);
        settle(connection);
        return 0;
    }
    connection->query_start += client->request.consumed;
    connection->position += client->request.consumed;
    request_reset(&client->request);
    return 1;
}

void net__continue(struct client_connection *connection) {
    struct client *client = connection->client;
    if (client->flags & CLIENT_CLOSE_ASAP) return;
    if (connection->waiting && !run_parked(connection)) return;
    if (client->flags & (CLIENT_CLOSE_ASAP | CLIENT_CLOSE_AFTER_REPLY)) {
        settle(connection);
        return;
    }
    run_query(connection);
    int closing = (client->flags & (CLIENT_CLOSE_ASAP | CLIENT_CLOSE_AFTER_REPLY)) != 0;
    if (!connection->waiting && !closing && !connection->links[NET_QUEUE_READY].queued)
        net__traffic_start(connection);
}

/* --- receiving --- */

static size_t receive_into(void *ctx, uint8_t **memory_out) {
    struct client_connection *connection = ctx;
    if (connection->query_start == connection->query_end) return 0;
    size_t more = big_argument_room(connection);
    int exact = more > 0;
    if (exact) { /* room that is there already is used up first */
        size_t room = connection->query_capacity - connection->query_end;
        if (room >= NET_QUERY_BYTES_MIN && room < more) more = room;
    } else {
        size_t needed = connection->client->request.needed;
        more = needed > RECEIVE_BYTES_MIN ? needed : RECEIVE_BYTES_MIN;
    }
    if (query_reserve(connection, more, exact) != 0) {
        out_of_memory(connection->client);
        return 0;
    }
    *memory_out = connection->query + connection->query_end;
    return exact ? more : connection->query_capacity - connection->query_end;
}

static void over_query_limit(struct client_connection *connection) {
    struct client *client = connection->client;
    net_stats.query_limit_disconnections++;
    note(LOG_LEVEL_WARNING, client, "Closing client that reached max query buffer length", "");
    client_close_later(client, 0);
}

static void received_data(struct client_connection *connection, const uint8_t *data, size_t size) {
    struct client *client = connection->client;
    client->last_interaction_ms = clock_cached_ms();
    client->net_input_bytes += size;
    net_stats.input_bytes += size;
    net_stats.reads_processed++;
    if (connection->query_start == connection->query_end) {
        run_borrowed(connection, bytes_of(data, size));
        return;
    }
    if (data != connection->query + connection->query_end) {
        size_t big = big_argument_room(connection);
        if (query_reserve(connection, size > big ? size : big, big > 0) != 0) {
            out_of_memory(client);
            return;
        }
        memcpy(connection->query + connection->query_end, data, size);
    }
    connection->query_end += size;
    size_t there = connection->query_end - connection->query_start;
    if (net_stats.recent_max_input_buffer < there) net_stats.recent_max_input_buffer = there;
    if (there > net_config.client_query_buffer_limit)
        over_query_limit(connection);
    else
        run_query(connection);
}

static void received(void *ctx, const uint8_t *data, ssize_t size_or_errno) {
    struct client_connection *connection = ctx;
    struct client *client = connection->client;
    FIRN_ASSERT(connection->magic == CONNECTION_MAGIC && client);
    if (size_or_errno > 0) {
        if (!(client->flags & CLIENT_CLOSE_ASAP)) received_data(connection, data, (size_t)size_or_errno);
    } else if (size_or_errno == 0) {
        /* What was sent before the end is answered still. */
        client_close_later(client, 1);
    } else {
        note(LOG_LEVEL_VERBOSE, client, "Reading from client: ", strerror((int)-size_or_errno));
        client_close_later(client, 0);
    }
}

/* The other side has ended while nothing is received: who waits for others goes at once, so that it takes
 * nothing it cannot deliver. (Who waits for pages or memory has its command run.) */
static void ended(void *ctx) {
    struct client_connection *connection = ctx;
    struct client *client = connection->client;
    FIRN_ASSERT(connection->magic == CONNECTION_MAGIC && client);
    if (connection->waiting && (client->flags & WAITS_FOR_OTHERS)) client_close_later(client, 0);
}

void net__traffic_start(struct client_connection *connection) {
    static const struct loop_receiver receiver = {received, receive_into, ended};
    loop_receive_start(connection->socket, &receiver);
}

/* --- sending --- */

size_t net__output_bytes(const struct client *client) {
    const struct client_connection *connection = client->connection;
    return client->reply.bytes +
           (connection ? connection->sending_bytes - loop_send_progress(connection->socket) : 0);
}

void net__check_output_limit(struct client *client) {
    struct client_connection *connection = client->connection;
    if (!connection || (client->flags & CLIENT_CLOSE_ASAP)) return;
    const struct net_output_limit *limit = &net_config.output_limit[client_class(client)];
    size_t bytes = net__output_bytes(client);
    if (net_stats.recent_max_output_buffer < bytes) net_stats.recent_max_output_buffer = bytes;
    int close_now = limit->hard_bytes != 0 && bytes >= limit->hard_bytes;
    if (!(client->flags & CLIENT_AUTHENTICATED) && bytes > UNAUTHENTICATED_OUTPUT_BYTES) close_now = 1;
    if (limit->soft_bytes != 0 && bytes >= limit->soft_bytes) {
        int64_t now_ms = clock_cached_ms();
        if (connection->soft_since_ms == 0)
            connection->soft_since_ms = now_ms;
        else if (now_ms - connection->soft_since_ms > limit->soft_seconds * 1000)
            close_now = 1;
    } else {
        connection->soft_since_ms = 0;
    }
    if (!close_now) return;
    net_stats.output_limit_disconnections++;
    note(LOG_LEVEL_WARNING, client,
         "Client scheduled to be closed ASAP for overcoming of output buffer limits", "");
    client_close_later(client, 0);
}

/* ${bytes} of the first ${parts} chunks of sending went out. */
static void sent_chunks(struct client_connection *connection, unsigned parts, size_t bytes) {
    struct client *client = connection->client;
    for (unsigned i = 0; i < parts; i++) {
        struct reply_chunk *chunk = connection->sending;
        connection->sending = chunk->next;
        /* The last one is the largest usual one. */
        if (chunk->next)
            reply_chunk_free(chunk);
        else
            reply_give_back(&client->reply, chunk);
    }
    connection->sending_bytes -= bytes;
}

static void count_sent(struct client *client, size_t bytes) {
    client->net_output_bytes += bytes;
    net_stats.output_bytes += bytes;
    net_stats.writes_processed++;
}

static void send_failed(struct client *client, ssize_t error) {
    note(LOG_LEVEL_VERBOSE, client, "Error writing to client: ", strerror((int)-error));
    client_close_later(client, 0);
}

/* A send that had to wait is through. */
static void sent(void *ctx, ssize_t bytes_or_errno) {
    struct client_connection *connection = ctx;
    struct client *client = connection->client;
    unsigned parts = connection->sending_parts;
    connection->sending_parts = 0;
    if (!client) return; /* freed in the meantime; the socket's end frees the rest */
    if (bytes_or_errno < 0) {
        send_failed(client, bytes_or_errno);
        return;
    }
    count_sent(client, (size_t)bytes_or_errno);
    client->last_interaction_ms = clock_cached_ms();
    sent_chunks(connection, parts, (size_t)bytes_or_errno);
    net__queue(connection, NET_QUEUE_WRITE);
    net__account(connection);
}

/* One chunk holds the whole reply: send it from there. Whether it went out. */
static int send_in_place(struct client_connection *connection) {
    struct client *client = connection->client;
    connection->one = (struct iovec){client->reply.head->data, client->reply.head->used};
    ssize_t result = loop_send(connection->socket, &connection->one, 1, sent);
    if (result > 0) {
        count_sent(client, (size_t)result);
        reply_clear(&client->reply);
        return 1;
    }
    if (result < 0) {
        send_failed(client, result);
        return 0;
    }
    connection->sending = reply_take(&client->reply, &connection->sending_bytes);
    connection->sending_parts = 1;
    return 0;
}

/* Send up to LOOP_SEND_PARTS_MAX chunks of sending. */
static int send_chain(struct client_connection *connection) {
    struct client *client = connection->client;
    if (!connection->sending) connection->sending = reply_take(&client->reply, &connection->sending_bytes);
    if (!connection->many) connection->many = memory_alloc(LOOP_SEND_PARTS_MAX * sizeof *connection->many);
    unsigned parts = 0;
    for (struct reply_chunk *chunk = connection->sending; chunk && parts < LOOP_SEND_PARTS_MAX;
         chunk = chunk->next) {
        connection->many[parts++] = (struct iovec){chunk->data, chunk->used};
    }
    ssize_t result = loop_send(connection->socket, connection->many, parts, sent);
    if (result > 0) {
        count_sent(client, (size_t)result);
        sent_chunks(connection, parts, (size_t)result);
        return 1;
    }
    if (result < 0)
        send_failed(client, result);
    else
        connection->sending_parts = parts;
    return 0;
}

void net__send(struct client_connection *connection) {
    struct client *client = connection->client;
    if (client->flags & CLIENT_CLOSE_ASAP) return;
    if (connection->sending_parts > 0) { /* goes on by itself */
        net__check_output_limit(client);
        return;
    }
    int through = 1;
    if (connection->sending)
        through = send_chain(connection);
    else if (client->reply.bytes > 0)
        through = client->reply.head->next ? send_chain(connection) : send_in_place(connection);
    if (!through) {
        net__check_output_limit(client);
    } else if (connection->sending || client->reply.bytes > 0) {
        net__queue(connection, NET_QUEUE_WRITE); /* more: next turn */
    } else {
        memory_free(connection->many);
        connection->many = NULL;
        connection->soft_since_ms = 0;
        if ((client->flags & CLIENT_CLOSE_AFTER_REPLY) && !connection->waiting) client_close_later(client, 0);
    }
}
