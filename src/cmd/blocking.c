/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiters and the keys they wait for; blocking.h has the rules. A key is in the map while somebody waits for
 * it, while it is ready, or while it is being served. Ready keys are a queue; serving takes them one by one
 * and may add to it (BLMOVE wakes the waiters of its target).
 */
#include "cmd/blocking.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch_internal.h"
#include "ds/name_map.h"
#include "ds/number.h"

#define COMMAND_KEYS_MAX 64u /* of a waiting command, looked at for what it may change */

struct waiter;

struct waiter_node {
    struct waiter *waiter;
    struct blocked_key *key;
    struct waiter_node *next, *previous; /* of the same key, in order of arrival */
};

struct blocked_key {
    struct name_map_node node; /* first */
    struct waiter_node *first, *last;
    size_t count, on_nokey; /* waiters; of them those that want to know when the key goes */
    struct waiter *held_by; /* B1 */
    unsigned pins;          /* being served: not to be freed */
    int ready, stalled;     /* in the queue; in the list of stalled keys; may be both */
    struct blocked_key *next_ready, *next_stalled;
    uint8_t name[];
};

struct waiter {
    struct client *client;
    int type;            /* enum type_id, or CALL_BLOCK_ANY: also when the key goes */
    int64_t deadline_us; /* monotonic; 0: none */
    struct blocked_key *holds;
    struct waiter *next_holder; /* while it holds */
    int ended;                  /* in the list of ended waits */
    struct waiter *next_ended;
    uint8_t *note; /* call_block_note */
    size_t note_bytes;
    size_t count;
    struct waiter_node nodes[];
};

/* B3 */
struct key_hold {
    struct key_hold *next;
    unsigned db;
    struct bytes name; /* behind it */
};

size_t blocking_keys, blocking_ready, blocking_held;

static struct name_map keys;
static struct { struct blocked_key *first, *last; } ready, stalled;
static size_t on_nokey_count;
static struct waiter *holders;     /* B1 */
static struct key_hold *key_holds; /* B3 */
static struct { struct waiter *first, *last; } ended;

/* --- keys --- */

static struct blocked_key *find_key(unsigned db, struct bytes name) {
    return (struct blocked_key *)(void *)name_map_find(&keys, db, name);
}

static struct blocked_key *make_key(unsigned db, struct bytes name) {
    struct blocked_key *key = find_key(db, name);
    if (key != NULL) return key;
    key = memory_alloc(sizeof *key + name.size + 1);
    memset(key, 0, sizeof *key);
    if (name.size > 0) memcpy(key->name, name.data, name.size);
    key->node.number = db;
    key->node.name = bytes_of(key->name, name.size);
    name_map_insert(&keys, &key->node);
    blocking_keys++;
    dispatch__follow_changes();
    return key;
}

static void free_key_if_unused(struct blocked_key *key) {
    if (key->count > 0 || key->pins > 0 || key->ready || key->stalled) return;
    FIRN_ASSERT(key->held_by == NULL);
    name_map_remove(&keys, &key->node);
    memory_free(key);
    blocking_keys--;
    dispatch__follow_changes();
}

static void mark_ready(struct blocked_key *key) {
    if (key->ready || key->stalled) return;
    key->ready = 1;
    key->next_ready = NULL;
    if (ready.last != NULL)
        ready.last->next_ready = key;
    else
        ready.first = key;
    ready.last = key;
    blocking_ready++;
}

void blocking_changed(struct db *db, struct bytes name) {
    struct blocked_key *key = find_key(db_index(db), name);
    if (key != NULL) mark_ready(key);
}

static int mark_if_of(struct name_map_node *node, void *ctx) {
    const struct db *db = ctx;
    if (db == NULL || db_index(db) == node->number) mark_ready((struct blocked_key *)(void *)node);
    return 0;
}

void blocking_changed_all(struct db *db) {
    (void)name_map_each(&keys, mark_if_of, db);
}

size_t blocking_keys_on_nokey(void) {
    return on_nokey_count;
}

/* --- waiters --- */

static void add_node(struct waiter *waiter, unsigned db, struct bytes name) {
    struct blocked_key *key = make_key(db, name);
    if (key->last != NULL && key->last->waiter == waiter) return; /* named twice (B2) */
    struct waiter_node *node = &waiter->nodes[waiter->count++];
    node->waiter = waiter;
    node->key = key;
    node->next = NULL;
    node->previous = key->last;
    if (key->last != NULL)
        key->last->next = node;
    else
        key->first = node;
    key->last = node;
    key->count++;
    if (waiter->type == CALL_BLOCK_ANY && key->on_nokey++ == 0) on_nokey_count++;
}

static void remove_node(struct waiter_node *node) {
    struct blocked_key *key = node->key;
    if (node->previous != NULL)
        node->previous->next = node->next;
    else
        key->first = node->next;
    if (node->next != NULL)
        node->next->previous = node->previous;
    else
        key->last = node->previous;
    key->count--;
    if (node->waiter->type == CALL_BLOCK_ANY && --key->on_nokey == 0) on_nokey_count--;
    free_key_if_unused(key);
}

static struct waiter *waiter_of(const struct client *client) {
    const struct dispatch_state *state = client->dispatch_state;
    return state != NULL ? state->waiter : NULL;
}

static void forget_ended(struct waiter *waiter) {
    struct waiter **place = &ended.first, *previous = NULL;
    for (; *place != waiter; place = &(*place)->next_ended)
        previous = *place;
    *place = waiter->next_ended;
    if (ended.last == waiter) ended.last = previous;
    waiter->ended = 0;
    blocking_ready--;
}

void blocking_end_wait(struct client *client) {
    struct waiter *waiter = waiter_of(client);
    if (waiter->ended) return;
    waiter->ended = 1;
    waiter->next_ended = NULL;
    *(ended.last != NULL ? &ended.last->next_ended : &ended.first) = waiter;
    ended.last = waiter;
    blocking_ready++;
}

void blocking_leave(struct client *client) {
    struct waiter *waiter = waiter_of(client);
    if (waiter == NULL) return;
    blocking_release(client);
    if (waiter->ended) forget_ended(waiter);
    for (size_t i = 0; i < waiter->count; i++)
        remove_node(&waiter->nodes[i]);
    ((struct dispatch_state *)client->dispatch_state)->waiter = NULL;
    client->flags &= ~CLIENT_BLOCKED;
    memory_free(waiter->note);
    memory_free(waiter);
}

/* --- for handlers --- */

int call_timeout(struct call *call, struct bytes argument, int64_t *timeout_ms_out) {
    long double seconds;
    if (number_parse_long_double(argument, &seconds) != 0) {
        reply_error(call->reply, "timeout is not a float or out of range");
        return FIRN_EINVALID;
    }
    long double ms = ceill(seconds * 1000);
    if (seconds < 0) {
        reply_error(call->reply, "timeout is negative");
        return FIRN_EINVALID;
    }
    if (ms >= (long double)(INT64_MAX - clock_wall_ms())) {
        reply_error(call->reply, "timeout is out of range");
        return FIRN_EINVALID;
    }
    *timeout_ms_out = (int64_t)ms;
    return 0;
}

/* How long to wait still, in ms: 0 for ever, -1: the time is over. */
static int64_t time_left(const struct waiter *waiter) {
    if (waiter->deadline_us == 0) return 0;
    int64_t left_us = waiter->deadline_us - clock_monotonic_us();
    return left_us <= 0 ? -1 : (left_us + 999) / 1000;
}

int call_block(struct call *call, int type, const struct bytes *names, size_t count, int64_t timeout_ms) {
    struct client *client = call->client;
    if (client->flags & (CLIENT_INTERNAL | CLIENT_DENY_BLOCKING)) return 0;
    FIRN_ASSERT(call->changes == 0 && count > 0);
    struct dispatch_state *state = dispatch__state(client);
    struct waiter *waiter = state->waiter;
    if (waiter == NULL) {
        waiter = memory_alloc(sizeof *waiter + count * sizeof waiter->nodes[0]);
        memset(waiter, 0, sizeof *waiter);
        waiter->client = client;
        waiter->type = type;
        int64_t now_us = clock_monotonic_us();
        if (timeout_ms > 0)
            waiter->deadline_us =
                timeout_ms > (INT64_MAX - now_us) / 1000 ? INT64_MAX : now_us + timeout_ms * 1000;
        for (size_t i = 0; i < count; i++)
            add_node(waiter, db_index(call->db), names[i]);
        state->waiter = waiter;
        client->flags |= CLIENT_BLOCKED;
    } else {
        blocking_release(client);
    }
    state->wait_ms = time_left(waiter);
    return state->wait_ms < 0 ? 0 : FIRN_EPARKED;
}

void call_block_note(struct call *call, struct bytes note) {
    struct waiter *waiter = waiter_of(call->client);
    FIRN_ASSERT(waiter != NULL && note.size > 0);
    if (waiter->note != NULL) return;
    waiter->note = memory_alloc(note.size);
    memcpy(waiter->note, note.data, note.size);
    waiter->note_bytes = note.size;
}

struct bytes call_block_noted(const struct call *call) {
    const struct waiter *waiter = waiter_of(call->client);
    return waiter != NULL ? bytes_of(waiter->note, waiter->note_bytes) : bytes_of(NULL, 0);
}

/* --- serving --- */

/* Whether the value of the key is something the waiter waits for. */
static int fits(const struct blocked_key *key, const struct waiter *waiter) {
    if (waiter->type == CALL_BLOCK_ANY) return 1;
    struct entry *entry;
    unsigned flags = LOOKUP_WRITE | LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY | LOOKUP_EXPIRED;
    if (db_find(db_at(key->node.number), key->node.name, flags, &entry) != 0) return 1;
    return entry != NULL && (int)entry_type(entry) == waiter->type;
}

static int is_closed(const struct blocked_key *key) {
    return key->held_by != NULL || key->stalled;
}

static int waits_on_held(const struct waiter *waiter) {
    for (size_t i = 0; blocking_held > 0 && i < waiter->count; i++) {
        if (is_closed(waiter->nodes[i].key)) return 1;
    }
    return 0;
}

static void stall(struct blocked_key *key) {
    key->stalled = 1;
    key->next_stalled = NULL;
    if (stalled.last != NULL)
        stalled.last->next_stalled = key;
    else
        stalled.first = key;
    stalled.last = key;
}

/* Something is not held any more: stalled keys and parked commands try again. */
static void go_on(void) {
    struct blocked_key *key = stalled.first, *next;
    stalled.first = stalled.last = NULL;
    for (; key != NULL; key = next) {
        next = key->next_stalled;
        key->stalled = 0;
        mark_ready(key);
    }
    dispatch__wake_held();
}

struct key_hold *blocking_hold(struct db *db, struct bytes key) {
    struct key_hold *hold = memory_alloc(sizeof *hold + key.size);
    if (key.size > 0) memcpy(hold + 1, key.data, key.size);
    *hold = (struct key_hold){key_holds, db_index(db), bytes_of(hold + 1, key.size)};
    key_holds = hold;
    blocking_held++;
    return hold;
}

void blocking_unhold(struct key_hold *hold) {
    if (hold == NULL) return;
    struct key_hold **place = &key_holds;
    while (*place != hold)
        place = &(*place)->next;
    *place = hold->next;
    memory_free(hold);
    blocking_held--;
    go_on();
}

void blocking_release(struct client *client) {
    struct waiter *waiter = waiter_of(client);
    if (waiter == NULL || waiter->holds == NULL) return;
    struct blocked_key *key = waiter->holds;
    waiter->holds = NULL;
    key->held_by = NULL;
    blocking_held--;
    struct waiter **place = &holders;
    while (*place != waiter)
        place = &(*place)->next_holder;
    *place = waiter->next_holder;
    mark_ready(key); /* those behind this one */
    go_on();
}

/* Whether the command of the waiter names that key (BLMOVE also has a target). */
static int names(const struct waiter *waiter, unsigned db, struct bytes name) {
    const struct client *client = waiter->client;
    unsigned positions[COMMAND_KEYS_MAX];
    if (client->db_index != db) return 0;
    int count = command_keys(client->command, client->request.argv, client->request.argc, positions, NULL,
                             COMMAND_KEYS_MAX);
    for (int i = 0; i < count && i < (int)COMMAND_KEYS_MAX; i++) {
        if (bytes_equal(client->request.argv[positions[i]], name)) return 1;
    }
    return 0;
}

/* The same for keys of blocking_hold. */
static int names_held(const struct waiter *waiter) {
    for (const struct key_hold *key = key_holds; key != NULL; key = key->next) {
        if (names(waiter, key->db, key->name)) return 1;
    }
    return 0;
}

static void hold(struct blocked_key *key, struct waiter *waiter) {
    waiter->holds = key; /* B1 */
    key->held_by = waiter;
    waiter->next_holder = holders;
    holders = waiter;
    blocking_held++;
}

/* Run the waiters of ${key} that were there when it became ready. */
static void serve_key(struct blocked_key *key) {
    size_t left = key->count;
    struct waiter_node *next;
    for (struct waiter_node *node = key->first; node != NULL && left > 0; node = next, left--) {
        struct waiter *waiter = node->waiter;
        struct client *client = waiter->client;
        next = node->next;
        if ((client->flags & CLIENT_CLOSE_ASAP) || !fits(key, waiter)) continue;
        if (waits_on_held(waiter) || names_held(waiter)) {
            stall(key);
            return;
        }
        if (waiter->ended) continue; /* timed out or unblocked before the key was ready */
        if (dispatch__rerun(client) != DISPATCH_RERUN_STUCK) continue;
        hold(key, waiter);
        return;
    }
}

/* Commands whose wait was ended say so; they look at no key. */
static void serve_ended(void) {
    while (ended.first != NULL) {
        struct client *client = ended.first->client;
        forget_ended(ended.first);
        if (!(client->flags & CLIENT_CLOSE_ASAP)) (void)dispatch__rerun(client);
    }
}

void blocking_serve(void) {
    serve_ended();
    while (ready.first != NULL) {
        struct blocked_key *key = ready.first;
        ready.first = key->next_ready;
        if (ready.first == NULL) ready.last = NULL;
        blocking_ready--;
        key->ready = 0;
        key->pins++;
        if (!key->stalled) serve_key(key); /* stalled after its own waiters had changed it: later */
        key->pins--;
        free_key_if_unused(key);
    }
}

int blocking_is_serving(void) {
    return holders != NULL;
}

int blocking_is_held(struct db *db, struct bytes name) {
    for (const struct waiter *holder = holders; holder != NULL; holder = holder->next_holder) {
        if (names(holder, db_index(db), name)) return 1;
    }
    for (const struct key_hold *held = key_holds; held != NULL; held = held->next) {
        if (held->db == db_index(db) && bytes_equal(held->name, name)) return 1;
    }
    const struct blocked_key *key = find_key(db_index(db), name);
    if (key == NULL) return 0;
    if (is_closed(key)) return 1;
    for (const struct waiter_node *node = key->first; node != NULL; node = node->next) {
        if (node->waiter->count > 1 && waits_on_held(node->waiter)) return 1;
    }
    return 0;
}
