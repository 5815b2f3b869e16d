/* SPDX-License-Identifier: BSD-3-Clause */
/* See watch.h. A watch is in two lists: of its client and of its key; a key is in the map while it is
 * watched. */
#include "cmd/watch.h"

#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cmd/dispatch_internal.h"
#include "ds/name_map.h"
#include "keyspace/db.h"
#include "net/client.h"

struct watched_key {
    struct name_map_node node; /* first */
    struct watch *first;
    uint8_t name[];
};

struct watch {
    struct client *client;
    struct watched_key *key;
    int expired;                   /* the key was there, but due, when it was watched */
    struct watch *next, *previous; /* of the same key */
    struct watch *next_of_client;
};

enum key_state { KEY_ABSENT, KEY_LIVE, KEY_EXPIRED };

size_t watch_keys, watch_clients;

static struct name_map keys;

/* Whether ${key} is there, or only in body. Reads nothing from a tier. */
static enum key_state state_of(struct db *db, struct bytes key) {
    struct entry *entry;
    unsigned flags = LOOKUP_WRITE | LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY | LOOKUP_EXPIRED;
    if (db_is_sunk(db, key)) return KEY_LIVE; /* those have no expiry */
    int error = db_find(db, key, flags, &entry);
    FIRN_ASSERT(error == 0);
    if (entry == NULL) return KEY_ABSENT;
    return entry_expiry(entry) >= 0 && entry_expiry(entry) <= clock_cached_ms() ? KEY_EXPIRED : KEY_LIVE;
}

static size_t bytes_of_watch(const struct watched_key *key) {
    return sizeof(struct watch) + key->node.name.size;
}

void watch_add(struct client *client, struct db *db, struct bytes name) {
    struct watched_key *key = (void *)name_map_find(&keys, db_index(db), name);
    for (struct watch *watch = key != NULL ? key->first : NULL; watch != NULL; watch = watch->next) {
        if (watch->client == client) return;
    }
    if (key == NULL) {
        key = memory_alloc(sizeof *key + name.size + 1);
        memset(key, 0, sizeof *key);
        if (name.size > 0) memcpy(key->name, name.data, name.size);
        key->node.number = db_index(db);
        key->node.name = bytes_of(key->name, name.size);
        name_map_insert(&keys, &key->node);
        watch_keys++;
        dispatch__follow_changes();
    }
    if (client->watches == NULL) watch_clients++;
    struct watch *watch = memory_alloc_zero(sizeof *watch);
    watch->client = client;
    watch->key = key;
    watch->expired = state_of(db, name) == KEY_EXPIRED;
    watch->next = key->first;
    if (watch->next != NULL) watch->next->previous = watch;
    key->first = watch;
    watch->next_of_client = client->watches;
    client->watches = watch;
    client->command_bytes += bytes_of_watch(key);
}

void watch_clear(struct client *client) {
    struct watch *watch = client->watches, *next;
    if (watch == NULL) return;
    client->watches = NULL;
    watch_clients--;
    for (; watch != NULL; watch = next) {
        struct watched_key *key = watch->key;
        next = watch->next_of_client;
        client->command_bytes -= bytes_of_watch(key);
        if (watch->previous != NULL)
            watch->previous->next = watch->next;
        else
            key->first = watch->next;
        if (watch->next != NULL) watch->next->previous = watch->previous;
        memory_free(watch);
        if (key->first != NULL) continue;
        name_map_remove(&keys, &key->node);
        memory_free(key);
        watch_keys--;
    }
    dispatch__follow_changes();
}

size_t watch_count(const struct client *client) {
    size_t count = 0;
    for (const struct watch *watch = client->watches; watch != NULL; watch = watch->next_of_client)
        count++;
    return count;
}

int watch_each(const struct client *client, int (*visit)(unsigned db, struct bytes key)) {
    for (const struct watch *watch = client->watches; watch != NULL; watch = watch->next_of_client) {
        int stop = visit(watch->key->node.number, watch->key->node.name);
        if (stop != 0) return stop;
    }
    return 0;
}

int watch_has_expired(const struct client *client) {
    for (const struct watch *watch = client->watches; watch != NULL; watch = watch->next_of_client) {
        const struct watched_key *key = watch->key;
        if (!watch->expired && state_of(db_at(key->node.number), key->node.name) == KEY_EXPIRED) return 1;
    }
    return 0;
}

/* Clients that have just become dirty: their watches go when the lists are not being walked any more (W1). */
static struct {
    struct client **clients;
    size_t count, capacity;
} dirty;

static void make_dirty(struct client *client) {
    if (client->flags & CLIENT_DIRTY_WATCH) return;
    client->flags |= CLIENT_DIRTY_WATCH;
    if (dirty.count == dirty.capacity) {
        dirty.capacity = dirty.capacity == 0 ? 16 : 2 * dirty.capacity;
        dirty.clients = memory_realloc(dirty.clients, dirty.capacity * sizeof(struct client *));
    }
    dirty.clients[dirty.count++] = client;
}

static void clear_dirty(void) {
    for (size_t i = 0; i < dirty.count; i++)
        watch_clear(dirty.clients[i]);
    dirty.count = dirty.capacity = 0;
    memory_free(dirty.clients);
    dirty.clients = NULL;
}

/* ${key} goes from one state to another. */
static void tell(struct watched_key *key, enum key_state was, enum key_state is) {
    for (struct watch *watch = key->first; watch != NULL; watch = watch->next) {
        if (watch->expired && is == KEY_ABSENT)
            watch->expired = 0; /* it was gone for everybody before */
        else if (watch->expired && is == KEY_EXPIRED)
            continue;
        else if (!watch->expired && was == KEY_ABSENT && is == KEY_EXPIRED)
            watch->expired = 1;
        else
            make_dirty(watch->client);
    }
}

void watch_changed(struct db *db, struct bytes name) {
    struct watched_key *key = (void *)name_map_find(&keys, db_index(db), name);
    if (key == NULL) return;
    int any_expired = 0;
    for (const struct watch *watch = key->first; watch != NULL; watch = watch->next)
        any_expired |= watch->expired;
    tell(key, KEY_LIVE, any_expired && state_of(db, name) == KEY_ABSENT ? KEY_ABSENT : KEY_LIVE);
    clear_dirty();
}

static int flush_one(struct name_map_node *node, void *ctx) {
    const struct db *db = ctx;
    if (db != NULL && db_index(db) != node->number) return 0;
    enum key_state was = state_of(db_at(node->number), node->name);
    if (was != KEY_ABSENT) tell((void *)node, was, KEY_ABSENT);
    return 0;
}

void watch_flushing(struct db *db) {
    (void)name_map_each(&keys, flush_one, db);
    clear_dirty();
}

static int swap_one(struct name_map_node *node, void *ctx) {
    struct db *const *pair = ctx;
    unsigned i = node->number == db_index(pair[1]);
    if (node->number != db_index(pair[i])) return 0;
    enum key_state was = state_of(pair[i], node->name), is = state_of(pair[!i], node->name);
    if (was != KEY_ABSENT || is != KEY_ABSENT) tell((void *)node, was, is);
    return 0;
}

void watch_swapping(struct db *a, struct db *b) {
    struct db *pair[2] = {a, b};
    (void)name_map_each(&keys, swap_one, pair);
    clear_dirty();
}
