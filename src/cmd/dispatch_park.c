/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parking: what a client waits for, and how the wait ends.
 *
 *   PAGES   tier_read calls back when the pages are in the read buffer. All reads of one command are kept
 *           until it has run: a command that finds its pages one after the other would otherwise lose the
 *           first while it waits for the last.
 *   MEMORY  first come, first served: tier_on_room tries the oldest writers again.
 *   DELAY   the pressure zone asks for microseconds; they are owed until they make a millisecond, then a
 *           timer waits for them.
 *   PAUSE   CLIENT PAUSE, until unpause or its end.
 *   WAIT    the command arranged its wake-up itself (FIRN_EPARKED: dispatch_wait, call_block).
 *   HELD    a key of the command is held for a waiter or by a command in turns (blocking.h).
 *   TURNS   until the next turn of a command that goes on after its handler (turns.h).
 *
 * W1 A state is in the list of its kind exactly while it is parked for that kind and not ready.
 * W2 ready is set once per wait, together with client_resume.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/dispatch_internal.h"
#include "cmd/latency.h"
#include "cmd/stream_reply.h"
#include "keyspace/db.h"

#define DELAY_US_MIN       1000 /* shorter delays are owed */
#define STREAM_POLL_MS_MAX 16

struct waiting {
    struct dispatch_state *first, *last;
};

static struct loop *park_loop;
static struct waiting writers, delayed, paused, held;
static uint64_t next_ticket;
static enum dispatch_pause pause_mode;
static int64_t pause_until_ms;
static struct loop_timer *pause_timer;

/* --- lists --- */

static struct waiting *list_of(enum parked kind) {
    return kind == PARKED_MEMORY  ? &writers
           : kind == PARKED_DELAY ? &delayed
           : kind == PARKED_PAUSE ? &paused
           : kind == PARKED_HELD  ? &held
                                  : NULL;
}

/* In the order of tickets: a writer that was tried again and found no room goes back to its place. */
static void list_add(struct waiting *list, struct dispatch_state *state) {
    struct dispatch_state *after = list->last;
    while (after != NULL && after->ticket > state->ticket)
        after = after->previous;
    state->previous = after;
    state->next = after != NULL ? after->next : list->first;
    if (state->next != NULL)
        state->next->previous = state;
    else
        list->last = state;
    if (after != NULL)
        after->next = state;
    else
        list->first = state;
}

static void list_remove(struct waiting *list, struct dispatch_state *state) {
    if (state->previous != NULL)
        state->previous->next = state->next;
    else
        list->first = state->next;
    if (state->next != NULL)
        state->next->previous = state->previous;
    else
        list->last = state->previous;
    state->next = state->previous = NULL;
}

static void count(enum parked kind, int64_t change) {
    switch (kind) {
    case PARKED_PAGES:
        dispatch_stats.parked_pages += (uint64_t)change;
        tier_count_parked(change, 0);
        break;
    case PARKED_MEMORY:
        dispatch_stats.parked_memory += (uint64_t)change;
        tier_count_parked(0, change);
        break;
    case PARKED_DELAY: dispatch_stats.parked_delay += (uint64_t)change; break;
    case PARKED_PAUSE: dispatch_stats.parked_pause += (uint64_t)change; break;
    case PARKED_WAIT: dispatch_stats.waiting += (uint64_t)change; break;
    case PARKED_TURNS:
    case PARKED_HELD:
    case PARKED_SERVED:
    case PARKED_NOT: break;
    }
}

/* --- the state --- */

struct dispatch_state *dispatch__state(struct client *client) {
    struct dispatch_state *state = client->dispatch_state;
    if (state == NULL) {
        state = memory_alloc_zero(sizeof *state);
        state->magic = DISPATCH_STATE_MAGIC;
        state->client = client;
        reply_init(&state->pushes);
        client->dispatch_state = state;
    }
    FIRN_ASSERT(state->magic == DISPATCH_STATE_MAGIC && state->client == client);
    return state;
}

static int park(struct dispatch_state *state, enum parked kind, enum stage stage) {
    FIRN_ASSERT(state->parked == PARKED_NOT);
    state->parked = kind;
    state->stage = stage;
    state->ready = 0;
    state->parked_us = clock_monotonic_us();
    state->client->parked = (int)kind;
    if (kind == PARKED_PAUSE) state->client->flags |= CLIENT_PAUSED;
    struct waiting *list = list_of(kind);
    if (list != NULL) list_add(list, state);
    count(kind, 1);
    return 1;
}

/* W2 */
static void wake(struct dispatch_state *state) {
    FIRN_ASSERT(state->parked != PARKED_NOT && !state->ready);
    struct waiting *list = list_of(state->parked);
    if (list != NULL) list_remove(list, state);
    state->ready = 1;
    client_resume(state->client);
}

void dispatch__unpark(struct dispatch_state *state) {
    FIRN_ASSERT(state->parked != PARKED_NOT);
    struct waiting *list = list_of(state->parked);
    if (list != NULL && !state->ready) list_remove(list, state);
    count(state->parked, -1);
    if (state->parked == PARKED_WAIT && state->wait_ms > 0) dispatch_stats.timed--;
    int64_t waited_us = clock_monotonic_us() - state->parked_us;
    state->waited_us += waited_us;
    if (state->parked == PARKED_PAGES)
        latency_add("tier-read", waited_us / 1000);
    else if (state->parked == PARKED_MEMORY || state->parked == PARKED_DELAY)
        latency_add("tier-write-stall", waited_us / 1000);
    state->parked = PARKED_NOT;
    state->ready = 0;
    state->client->parked = 0;
    state->client->flags &= ~CLIENT_PAUSED;
    if (state->timer != NULL) loop_timer_destroy(state->timer);
    state->timer = NULL;
}

static void end_turns(struct dispatch_state *state) {
    state->turns->destroy(state->turns);
    state->turns = NULL;
    blocking_unhold(state->held);
    state->held = NULL;
    reply_fini(&state->pushes);
}

void dispatch__command_done(struct dispatch_state *state) {
    for (unsigned i = 0; i < state->read_count; i++)
        tier_read_done(state->reads[i]);
    state->read_count = 0;
    state->faults = 0;
    state->misses = 0;
    state->run_ns = 0;
    state->waited_us = 0;
    state->ticket = 0;
    state->woken = DISPATCH_WAKE_NONE;
    state->monitored = 0;
    state->command = NULL;
    if (state->waiter != NULL) blocking_leave(state->client);
    if (state->turns != NULL) end_turns(state);
    state->client->flags &= ~CLIENT_BLOCKED;
}

void dispatch__release(struct client *client) {
    struct dispatch_state *state = client->dispatch_state;
    if (state == NULL) return;
    if (state->parked != PARKED_NOT) dispatch__unpark(state);
    dispatch__command_done(state);
    memory_free(state->reads);
    state->magic = 0;
    memory_free(state);
    client->dispatch_state = NULL;
}

/* --- pages --- */

static void pages_ready(void *ctx) {
    wake(ctx);
}

int dispatch__park_pages(struct dispatch_state *state, const struct fault_set *set) {
    if (state->reads == NULL) state->reads = memory_alloc(DISPATCH_FAULTS_MAX * sizeof(struct tier_read *));
    FIRN_ASSERT(state->read_count < DISPATCH_FAULTS_MAX && set->count > 0);
    park(state, PARKED_PAGES, STAGE_RUN);
    state->reads[state->read_count++] = tier_read(set, pages_ready, state);
    return 1;
}

/* --- turns --- */

void turns_hold(struct call *call, struct bytes key) {
    struct dispatch_state *state = dispatch__state(call->client);
    FIRN_ASSERT(state->turns != NULL && state->held == NULL);
    state->held = blocking_hold(call->db, key);
}

void dispatch__park_turn_pages(struct dispatch_state *state, const struct fault_set *set, unsigned old) {
    dispatch__park_pages(state, set);
    for (unsigned i = 0; i < old; i++)
        tier_read_done(state->reads[i]);
    state->read_count -= old;
    memmove(state->reads, state->reads + old, state->read_count * sizeof state->reads[0]);
}

/* The client takes its time: look less and less often. */
static int64_t poll_output(void *ctx) {
    struct dispatch_state *state = ctx;
    if (client_output_bytes(state->client) > STREAM_OUTPUT_BYTES / 2)
        return state->poll_ms < STREAM_POLL_MS_MAX ? ++state->poll_ms : state->poll_ms;
    state->timer = NULL; /* the loop frees it */
    wake(state);
    return -1;
}

void dispatch__park_turns(struct dispatch_state *state, enum dispatch_turns until) {
    park(state, PARKED_TURNS, STAGE_RUN);
    state->poll_ms = 1;
    if (until == DISPATCH_TURNS_OUTPUT && park_loop != NULL) {
        state->timer = loop_timer_create(park_loop, 1, poll_output, state);
    } else if (until != DISPATCH_TURNS_PAGES) {
        wake(state);
    }
}

void dispatch__wake_turns(struct dispatch_state *state) {
    FIRN_ASSERT(state->parked == PARKED_TURNS);
    wake(state);
}

/* --- memory --- */

int dispatch__park_memory(struct dispatch_state *state) {
    if (state->ticket == 0) state->ticket = ++next_ticket;
    return park(state, PARKED_MEMORY, STAGE_ADMIT);
}

/* There may be room: all writers try again, oldest first; those who find none go back to their places. */
static void room(void *ctx) {
    (void)ctx;
    while (writers.first != NULL)
        wake(writers.first);
}

/* --- delay --- */

static int64_t delay_over(void *ctx) {
    struct dispatch_state *state = ctx;
    state->timer = NULL; /* the loop frees it */
    wake(state);
    return -1;
}

int dispatch__park_delay(struct dispatch_state *state, int64_t delay_us, enum stage stage) {
    state->debt_us += delay_us;
    if (state->debt_us < DELAY_US_MIN) return 0;
    int64_t delay_ms = state->debt_us / 1000;
    state->debt_us -= delay_ms * 1000;
    park(state, PARKED_DELAY, stage);
    state->due_us = state->parked_us + delay_ms * 1000;
    if (park_loop != NULL) state->timer = loop_timer_create(park_loop, delay_ms, delay_over, state);
    return 1;
}

/* --- waits of commands --- */

enum dispatch_wake dispatch_wait(struct client *client, int64_t timeout_ms) {
    if (client->flags & (CLIENT_INTERNAL | CLIENT_DENY_BLOCKING)) return DISPATCH_WAKE_TIMEOUT;
    struct dispatch_state *state = dispatch__state(client);
    enum dispatch_wake woken = state->woken;
    state->woken = DISPATCH_WAKE_NONE;
    state->wait_ms = timeout_ms;
    return woken;
}

static void end_wait(struct dispatch_state *state) {
    if (state->waiter != NULL)
        blocking_end_wait(state->client);
    else
        wake(state);
}

static int64_t wait_over(void *ctx) {
    struct dispatch_state *state = ctx;
    state->timer = NULL; /* the loop frees it */
    state->woken = DISPATCH_WAKE_TIMEOUT;
    end_wait(state);
    return -1;
}

int dispatch__park_wait(struct dispatch_state *state) {
    park(state, PARKED_WAIT, STAGE_RUN);
    state->client->flags |= CLIENT_BLOCKED;
    if (state->wait_ms > 0) dispatch_stats.timed++;
    if (state->wait_ms > 0 && park_loop != NULL)
        state->timer =
            loop_timer_create(park_loop, state->wait_ms + 1, wait_over, state); /* not a moment early */
    return 1;
}

int dispatch_is_waiting(const struct client *client) {
    const struct dispatch_state *state = client->dispatch_state;
    if (state == NULL) return 0;
    if (state->parked == PARKED_WAIT) return !state->ready;
    return state->waiter != NULL; /* in the middle of a re-run */
}

int dispatch_wake(struct client *client, enum dispatch_wake how) {
    if (!dispatch_is_waiting(client)) return 0;
    struct dispatch_state *state = client->dispatch_state;
    if (state->woken != DISPATCH_WAKE_NONE) return 0;
    state->woken = how;
    if (state->parked == PARKED_WAIT) end_wait(state);
    return 1;
}

/* --- keys held for a waiter, waiters that were run --- */

int dispatch__park_held(struct dispatch_state *state) {
    if (state->ticket == 0) state->ticket = ++next_ticket;
    return park(state, PARKED_HELD, STAGE_RUN);
}

void dispatch__wake_held(void) {
    while (held.first != NULL)
        wake(held.first);
}

void dispatch__park_served(struct dispatch_state *state) {
    park(state, PARKED_SERVED, STAGE_RUN);
    wake(state);
}

/* --- CLIENT PAUSE --- */

int dispatch__park_pause(struct dispatch_state *state) {
    if (state->ticket == 0) state->ticket = ++next_ticket;
    return park(state, PARKED_PAUSE, STAGE_PAUSE);
}

enum dispatch_pause dispatch_paused(void) {
    if (pause_mode != DISPATCH_PAUSE_OFF && clock_monotonic_us() / 1000 >= pause_until_ms) dispatch_unpause();
    return pause_mode;
}

static int64_t pause_over(void *ctx) {
    (void)ctx;
    int64_t left = pause_until_ms - clock_monotonic_us() / 1000;
    if (pause_mode != DISPATCH_PAUSE_OFF && left > 0) return left;
    pause_timer = NULL;
    dispatch_unpause();
    return -1;
}

void dispatch_pause(enum dispatch_pause mode, int64_t until_ms) {
    if (dispatch_paused() == DISPATCH_PAUSE_OFF) {
        pause_mode = mode;
        pause_until_ms = until_ms;
    } else {
        if (mode > pause_mode) pause_mode = mode;
        if (until_ms > pause_until_ms) pause_until_ms = until_ms;
    }
    db_hold_expiry(1);
    if (park_loop == NULL) return;
    if (pause_timer != NULL) loop_timer_destroy(pause_timer);
    int64_t left = pause_until_ms - clock_monotonic_us() / 1000;
    pause_timer = loop_timer_create(park_loop, left > 0 ? left : 0, pause_over, NULL);
}

void dispatch_unpause(void) {
    pause_mode = DISPATCH_PAUSE_OFF;
    db_hold_expiry(0);
    if (pause_timer != NULL) loop_timer_destroy(pause_timer);
    pause_timer = NULL;
    while (paused.first != NULL)
        wake(paused.first);
}

/* --- start, cron --- */

void dispatch__park_start(struct loop *loop) {
    park_loop = loop;
    tier_on_room(room, NULL);
}

void dispatch__park_cron(void) {
    (void)dispatch_paused(); /* ends one that is over */
    if (writers.first != NULL && tier_zone() != TIER_ZONE_LIMIT) room(NULL);
    if (park_loop != NULL) return;
    int64_t now = clock_monotonic_us();
    for (struct dispatch_state *state = delayed.first, *next; state != NULL; state = next) {
        next = state->next;
        if (state->due_us <= now) wake(state);
    }
}
