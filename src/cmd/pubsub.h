/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is subscribed to what, and delivery of messages. Channels, patterns and shard channels are three kinds
 * of topic with names of their own.
 *
 * P1 CLIENT_SUBSCRIBED says exactly that the client has a subscription of any kind.
 * P2 A message to a client whose command is running goes out behind the reply of that command
 * (dispatch_push); to others at once.
 *
 * Executor only.
 */
#ifndef FIRN_CMD_PUBSUB_H
#define FIRN_CMD_PUBSUB_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct client;

enum pubsub_kind { PUBSUB_CHANNEL, PUBSUB_PATTERN, PUBSUB_SHARD, PUBSUB_KINDS };

/* 1 if ${client} was not subscribed to it before. ${name} is copied. */
int pubsub_subscribe(struct client *client, enum pubsub_kind kind, struct bytes name);
/* 1 if it was subscribed. */
int pubsub_unsubscribe(struct client *client, enum pubsub_kind kind, struct bytes name);
/* Some name of that kind the client is subscribed to (valid until it unsubscribes), the oldest; 0: none. */
int pubsub_any(const struct client *client, enum pubsub_kind kind, struct bytes *name_out);
/* Unsubscribe from everything, without a word. */
void pubsub_clear(struct client *client);
/* Subscriptions of ${client} of one kind. */
size_t pubsub_count(const struct client *client, enum pubsub_kind kind);

/* Deliver to the subscribers of the channel, and if it is none of a shard, of the patterns it matches. Number
 * of deliveries. */
int64_t pubsub_publish(enum pubsub_kind kind, struct bytes channel, struct bytes message);
/* Whether a message to a channel could reach anybody. */
int pubsub_has_listeners(void);

/* Topics of a kind that somebody is subscribed to; clients with any subscription. */
size_t pubsub_topics(enum pubsub_kind kind);
size_t pubsub_clients(void);
/* Clients subscribed to a topic. */
size_t pubsub_subscribers(enum pubsub_kind kind, struct bytes name);
/* Call ${visit} with the names of all topics of a kind. */
void pubsub_each(enum pubsub_kind kind, void (*visit)(struct bytes name, void *ctx), void *ctx);

#endif
