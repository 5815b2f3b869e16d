/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys that clients watch (WATCH): a client whose key changes before its EXEC gets CLIENT_DIRTY_WATCH, and
 * its EXEC runs nothing. A change is what db_changed announces, flushing and swapping of databases, and the
 * expiry of a key that had not expired when it was watched. A value that goes to another tier has not
 * changed, and nobody announces that.
 *
 * W1 client->watches is the list of the client's keys; it is empty once the client is dirty.
 *
 * Executor only.
 */
#ifndef FIRN_CMD_WATCH_H
#define FIRN_CMD_WATCH_H

#include <stddef.h>

#include "base/bytes.h"

struct client;
struct db;

/* Keys watched by anybody, and clients that watch any. */
extern size_t watch_keys, watch_clients;

/* Watch ${key} (copied) of ${db}; twice is once. */
void watch_add(struct client *client, struct db *db, struct bytes key);
/* Watch nothing any more. */
void watch_clear(struct client *client);
/* How many keys ${client} watches. */
size_t watch_count(const struct client *client);
/* Call ${visit} for each key ${client} watches, with its database; nonzero stops and is returned. */
int watch_each(const struct client *client, int (*visit)(unsigned db, struct bytes key));
/* Whether a key has expired since it was watched (and is there still). */
int watch_has_expired(const struct client *client);

/* ${key} changed, came or went. Test watch_keys first. */
void watch_changed(struct db *db, struct bytes key);
/* Before all keys of ${db} (NULL: of all) go; before two databases change places. */
void watch_flushing(struct db *db);
void watch_swapping(struct db *a, struct db *b);

#endif
