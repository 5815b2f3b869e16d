/* SPDX-License-Identifier: BSD-3-Clause */
/* SUBSCRIBE PSUBSCRIBE SSUBSCRIBE and their opposites, PUBLISH SPUBLISH, PUBSUB. Without a cluster a shard
 * channel is a channel of another namespace. */
#include <string.h>

#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/pubsub.h"
#include "ds/glob.h"
#include "net/client.h"

static const struct {
    const char *subscribe, *unsubscribe;
} words[PUBSUB_KINDS] = {
    [PUBSUB_CHANNEL] = {"subscribe", "unsubscribe"},
    [PUBSUB_PATTERN] = {"psubscribe", "punsubscribe"},
    [PUBSUB_SHARD] = {"ssubscribe", "sunsubscribe"},
};

/* One confirmation; they are messages, and come whatever CLIENT REPLY says. ${name} without data: null. */
static void confirm(struct call *call, enum pubsub_kind kind, const char *word, struct bytes name) {
    const struct client *client = call->client;
    struct reply *reply = call->reply;
    size_t count = kind == PUBSUB_SHARD
                       ? pubsub_count(client, kind)
                       : pubsub_count(client, PUBSUB_CHANNEL) + pubsub_count(client, PUBSUB_PATTERN);
    int off = reply->off;
    reply->off = 0;
    reply_push(reply, 3);
    reply_bulk_text(reply, word);
    if (name.data != NULL)
        reply_bulk(reply, name);
    else
        reply_null(reply);
    reply_integer(reply, (int64_t)count);
    reply->off = off;
}

static int subscribe(struct call *call, enum pubsub_kind kind) {
    struct client *client = call->client;
    if ((client->flags & CLIENT_INTERNAL) ||
        ((client->flags & CLIENT_DENY_BLOCKING) && !(client->flags & CLIENT_MULTI))) {
        reply_error_format(call->reply, "%s isn't allowed for a DENY BLOCKING client",
                           kind == PUBSUB_CHANNEL   ? "SUBSCRIBE"
                           : kind == PUBSUB_PATTERN ? "PSUBSCRIBE"
                                                    : "SSUBSCRIBE");
        return 0;
    }
    for (size_t i = 1; i < call->argc; i++) {
        (void)pubsub_subscribe(client, kind, call->argv[i]);
        confirm(call, kind, words[kind].subscribe, call->argv[i]);
    }
    return 0;
}

static int unsubscribe(struct call *call, enum pubsub_kind kind) {
    struct bytes name;
    for (size_t i = 1; i < call->argc; i++) {
        (void)pubsub_unsubscribe(call->client, kind, call->argv[i]);
        confirm(call, kind, words[kind].unsubscribe, call->argv[i]);
    }
    if (call->argc > 1) return 0;
    if (!pubsub_any(call->client, kind, &name))
        confirm(call, kind, words[kind].unsubscribe, bytes_of(NULL, 0));
    while (pubsub_any(call->client, kind, &name)) {
        uint8_t *copy = memory_alloc(name.size + 1);
        if (name.size > 0) memcpy(copy, name.data, name.size);
        struct bytes kept = bytes_of(copy, name.size);
        (void)pubsub_unsubscribe(call->client, kind, kept);
        confirm(call, kind, words[kind].unsubscribe, kept);
        memory_free(copy);
    }
    return 0;
}

int cmd_subscribe(struct call *call) {
    return subscribe(call, PUBSUB_CHANNEL);
}

int cmd_psubscribe(struct call *call) {
    return subscribe(call, PUBSUB_PATTERN);
}

int cmd_ssubscribe(struct call *call) {
    return subscribe(call, PUBSUB_SHARD);
}

int cmd_unsubscribe(struct call *call) {
    return unsubscribe(call, PUBSUB_CHANNEL);
}

int cmd_punsubscribe(struct call *call) {
    return unsubscribe(call, PUBSUB_PATTERN);
}

int cmd_sunsubscribe(struct call *call) {
    return unsubscribe(call, PUBSUB_SHARD);
}

int cmd_publish(struct call *call) {
    reply_integer(call->reply, pubsub_publish(PUBSUB_CHANNEL, call->argv[1], call->argv[2]));
    return 0;
}

int cmd_spublish(struct call *call) {
    reply_integer(call->reply, pubsub_publish(PUBSUB_SHARD, call->argv[1], call->argv[2]));
    return 0;
}

/* --- PUBSUB --- */

struct listing {
    struct call *call;
    struct bytes pattern; /* no data: all */
    size_t count;
};

static void list_one(struct bytes name, void *ctx) {
    struct listing *listing = ctx;
    if (listing->pattern.data != NULL && !glob_match(listing->pattern, name, 0)) return;
    reply_bulk(listing->call->reply, name);
    listing->count++;
}

static int list(struct call *call, enum pubsub_kind kind) {
    struct listing listing = {.call = call};
    if (call->argc > 3) return call_unknown_subcommand(call);
    if (call->argc == 3) listing.pattern = call->argv[2];
    struct reply_later later = reply_later_open(call->reply, '*');
    pubsub_each(kind, list_one, &listing);
    reply_later_close(call->reply, later, listing.count);
    return 0;
}

static int count(struct call *call, enum pubsub_kind kind) {
    reply_array(call->reply, (call->argc - 2) * 2);
    for (size_t i = 2; i < call->argc; i++) {
        reply_bulk(call->reply, call->argv[i]);
        reply_integer(call->reply, (int64_t)pubsub_subscribers(kind, call->argv[i]));
    }
    return 0;
}

int cmd_pubsub_channels(struct call *call) {
    return list(call, PUBSUB_CHANNEL);
}

int cmd_pubsub_shardchannels(struct call *call) {
    return list(call, PUBSUB_SHARD);
}

int cmd_pubsub_numsub(struct call *call) {
    return count(call, PUBSUB_CHANNEL);
}

int cmd_pubsub_shardnumsub(struct call *call) {
    return count(call, PUBSUB_SHARD);
}

int cmd_pubsub_numpat(struct call *call) {
    reply_integer(call->reply, (int64_t)pubsub_topics(PUBSUB_PATTERN));
    return 0;
}

int cmd_pubsub_help(struct call *call) {
    static const char *const lines[] = {
        "CHANNELS [<pattern>]",
        "    The channels that have subscribers (and match <pattern>).",
        "NUMPAT",
        "    How many patterns are subscribed to.",
        "NUMSUB [<channel> ...]",
        "    How many subscribers the channels have, patterns not counted.",
        "SHARDCHANNELS [<pattern>]",
        "    The shard channels that have subscribers (and match <pattern>).",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    How many subscribers the shard channels have.",
        NULL,
    };
    return call_help(call, lines);
}
