/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See pubsub.h. A subscription is in two lists: of its topic, in order of arrival, and of its client, by
 * kind. A client finds one of its own by the address of the topic. A message is encoded once, for all
 * receivers.
 */
#include "cmd/pubsub.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/memory.h"
#include "cmd/dispatch.h"
#include "ds/glob.h"
#include "ds/int_map.h"
#include "ds/name_map.h"
#include "net/client.h"
#include "proto/reply.h"

struct topic {
    struct name_map_node node; /* first */
    struct subscription *first, *last;
    size_t count;
    uint8_t name[];
};

struct subscription {
    struct client *client;
    struct topic *topic;
    enum pubsub_kind kind;
    struct subscription *next, *previous;                     /* of the topic */
    struct subscription *next_of_client, *previous_of_client; /* of the same kind */
};

/* client->subscriptions */
struct subscriptions {
    struct int_map by_topic;
    struct {
        struct subscription *first, *last;
        size_t count;
    } kinds[PUBSUB_KINDS];
};

static struct name_map topics[PUBSUB_KINDS];
static size_t clients_count;

static struct topic *find_topic(enum pubsub_kind kind, struct bytes name) {
    return (void *)name_map_find(&topics[kind], 0, name);
}

static uint64_t key_of(const struct topic *topic) {
    return (uint64_t)(uintptr_t)topic >> 4;
}

static size_t bytes_of_subscription(const struct subscription *subscription) {
    return sizeof *subscription + sizeof(struct int_map_slot) + subscription->topic->node.name.size;
}

/* --- subscribing --- */

static struct topic *make_topic(enum pubsub_kind kind, struct bytes name) {
    struct topic *topic = find_topic(kind, name);
    if (topic != NULL) return topic;
    topic = memory_alloc(sizeof *topic + name.size + 1);
    memset(topic, 0, sizeof *topic);
    if (name.size > 0) memcpy(topic->name, name.data, name.size);
    topic->node.name = bytes_of(topic->name, name.size);
    name_map_insert(&topics[kind], &topic->node);
    return topic;
}

int pubsub_subscribe(struct client *client, enum pubsub_kind kind, struct bytes name) {
    struct subscriptions *mine = client->subscriptions;
    if (mine == NULL) {
        client->subscriptions = mine = memory_alloc_zero(sizeof *mine);
        client->flags |= CLIENT_SUBSCRIBED;
        clients_count++;
    }
    struct topic *topic = make_topic(kind, name);
    if (int_map_get(&mine->by_topic, key_of(topic)) != NULL) return 0;
    struct subscription *one = memory_alloc_zero(sizeof *one);
    one->client = client;
    one->topic = topic;
    one->kind = kind;
    one->previous = topic->last;
    *(topic->last != NULL ? &topic->last->next : &topic->first) = one;
    topic->last = one;
    topic->count++;
    one->previous_of_client = mine->kinds[kind].last;
    *(one->previous_of_client != NULL ? &one->previous_of_client->next_of_client : &mine->kinds[kind].first) =
        one;
    mine->kinds[kind].last = one;
    mine->kinds[kind].count++;
    (void)int_map_put(&mine->by_topic, key_of(topic), one);
    client->command_bytes += bytes_of_subscription(one);
    return 1;
}

static void remove_from_topic(struct subscription *one) {
    struct topic *topic = one->topic;
    *(one->previous != NULL ? &one->previous->next : &topic->first) = one->next;
    *(one->next != NULL ? &one->next->previous : &topic->last) = one->previous;
    if (--topic->count > 0) return;
    name_map_remove(&topics[one->kind], &topic->node);
    memory_free(topic);
}

static void remove_subscription(struct subscription *one) {
    struct client *client = one->client;
    struct subscriptions *mine = client->subscriptions;
    enum pubsub_kind kind = one->kind;
    client->command_bytes -= bytes_of_subscription(one);
    (void)int_map_remove(&mine->by_topic, key_of(one->topic));
    *(one->previous_of_client != NULL ? &one->previous_of_client->next_of_client : &mine->kinds[kind].first) =
        one->next_of_client;
    *(one->next_of_client != NULL ? &one->next_of_client->previous_of_client : &mine->kinds[kind].last) =
        one->previous_of_client;
    mine->kinds[kind].count--;
    remove_from_topic(one);
    memory_free(one);
    if (int_map_count(&mine->by_topic) > 0) return;
    int_map_fini(&mine->by_topic);
    memory_free(mine);
    client->subscriptions = NULL;
    client->flags &= ~CLIENT_SUBSCRIBED; /* P1 */
    clients_count--;
}

int pubsub_unsubscribe(struct client *client, enum pubsub_kind kind, struct bytes name) {
    struct subscriptions *mine = client->subscriptions;
    struct topic *topic = find_topic(kind, name);
    struct subscription *one =
        mine != NULL && topic != NULL ? int_map_get(&mine->by_topic, key_of(topic)) : NULL;
    if (one == NULL) return 0;
    remove_subscription(one);
    return 1;
}

int pubsub_any(const struct client *client, enum pubsub_kind kind, struct bytes *name_out) {
    const struct subscriptions *mine = client->subscriptions;
    if (mine == NULL || mine->kinds[kind].first == NULL) return 0;
    *name_out = mine->kinds[kind].first->topic->node.name;
    return 1;
}

void pubsub_clear(struct client *client) {
    for (int kind = 0; kind < PUBSUB_KINDS; kind++) {
        struct subscriptions *mine;
        while ((mine = client->subscriptions) != NULL && mine->kinds[kind].first != NULL)
            remove_subscription(mine->kinds[kind].first);
    }
    FIRN_ASSERT(client->subscriptions == NULL);
}

size_t pubsub_count(const struct client *client, enum pubsub_kind kind) {
    const struct subscriptions *mine = client->subscriptions;
    return mine != NULL ? mine->kinds[kind].count : 0;
}

/* --- publishing --- */

/* ${line} is the message as RESP2 has it: only its first byte is another in RESP3. */
static int64_t deliver(const struct topic *topic, struct bytes_builder *line) {
    int64_t count = 0;
    for (const struct subscription *one = topic->first; one != NULL; one = one->next) {
        if (one->client->flags & CLIENT_CLOSE_ASAP) continue; /* killed: it is as good as gone */
        line->data[0] = one->client->reply.version >= 3 ? '>' : '*';
        dispatch_push(one->client, bytes_builder_bytes(line));
        count++;
    }
    return count;
}

struct publication {
    struct bytes channel, message;
    struct bytes_builder line;
    int64_t count;
};

static int match_one(struct name_map_node *node, void *ctx) {
    struct publication *publication = ctx;
    if (!glob_match(node->name, publication->channel, 0)) return 0;
    bytes_builder_clear(&publication->line);
    bytes_builder_append_text(&publication->line, "*4\r\n$8\r\npmessage\r\n");
    reply_encode_bulk(&publication->line, node->name);
    reply_encode_bulk(&publication->line, publication->channel);
    reply_encode_bulk(&publication->line, publication->message);
    publication->count += deliver((const struct topic *)node, &publication->line);
    return 0;
}

int64_t pubsub_publish(enum pubsub_kind kind, struct bytes channel, struct bytes message) {
    struct publication publication = {.channel = channel, .message = message};
    const struct topic *topic = find_topic(kind, channel);
    if (topic != NULL) {
        bytes_builder_append_text(&publication.line, kind == PUBSUB_SHARD ? "*3\r\n$8\r\nsmessage\r\n"
                                                                          : "*3\r\n$7\r\nmessage\r\n");
        reply_encode_bulk(&publication.line, channel);
        reply_encode_bulk(&publication.line, message);
        publication.count = deliver(topic, &publication.line);
    }
    if (kind == PUBSUB_CHANNEL) (void)name_map_each(&topics[PUBSUB_PATTERN], match_one, &publication);
    bytes_builder_fini(&publication.line);
    return publication.count;
}

int pubsub_has_listeners(void) {
    return topics[PUBSUB_CHANNEL].count + topics[PUBSUB_PATTERN].count > 0;
}

/* --- numbers --- */

size_t pubsub_topics(enum pubsub_kind kind) {
    return topics[kind].count;
}

size_t pubsub_clients(void) {
    return clients_count;
}

size_t pubsub_subscribers(enum pubsub_kind kind, struct bytes name) {
    const struct topic *topic = find_topic(kind, name);
    return topic != NULL ? topic->count : 0;
}

struct each {
    void (*visit)(struct bytes name, void *ctx);
    void *ctx;
};

static int each_one(struct name_map_node *node, void *ctx) {
    const struct each *each = ctx;
    each->visit(node->name, each->ctx);
    return 0;
}

void pubsub_each(enum pubsub_kind kind, void (*visit)(struct bytes name, void *ctx), void *ctx) {
    struct each each = {visit, ctx};
    (void)name_map_each(&topics[kind], each_one, &each);
}
