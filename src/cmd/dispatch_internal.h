/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared between dispatch.c, dispatch_park.c and dispatch_stats.c only. */
#ifndef FIRN_CMD_DISPATCH_INTERNAL_H
#define FIRN_CMD_DISPATCH_INTERNAL_H

#include <stdint.h>

#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "cmd/turns.h"
#include "loop/loop.h"
#include "net/client.h"
#include "tiering/tier.h"

#define DISPATCH_FAULTS_MAX  64u /* runs of one command that end in a fault before it reads blocking */
#define DISPATCH_STATE_MAGIC 0xd15bac4du

_Static_assert(FAULT_TOUCH_MAX / FAULT_SET_MAX < DISPATCH_FAULTS_MAX,
               "a large value can be brought in by faults");

/* What a client waits for. The number is client->parked. */
enum parked {
    PARKED_NOT,
    PARKED_PAGES,
    PARKED_MEMORY,
    PARKED_DELAY,
    PARKED_PAUSE,
    PARKED_WAIT,
    PARKED_HELD,  /* a key of the command is held (blocking.h, B1) */
    PARKED_TURNS, /* the next turn (turns.h) */
    PARKED_SERVED /* a waiter that has been run: its connection only has to go on */
};

/* From where the command goes on when the wait is over (X2). */
enum stage { STAGE_PAUSE, STAGE_ADMIT, STAGE_RUN };

/* client->dispatch_state: made when a client is parked or delayed for the first time, freed when it
 * disconnects. */
struct dispatch_state {
    uint32_t magic;
    enum parked parked;
    enum stage stage;
    int ready; /* the wait is over; the network layer will call execute again */
    struct client *client;
    const struct command *command;
    int64_t parked_us; /* monotonic, when the present wait began */
    int64_t waited_us; /* sum of waits of this command */
    int64_t debt_us;   /* delay owed that was too short to wait for */
    uint64_t run_ns;   /* CPU time of runs that ended in a fault */
    unsigned faults;   /* runs of this command that ended in a fault */
    uint64_t misses;   /* keymiss events that the runs so far have sent */
    unsigned read_count;
    struct tier_read **reads; /* pages kept until the command has run; room for DISPATCH_FAULTS_MAX */
    struct loop_timer *timer; /* PARKED_DELAY */
    int64_t due_us;           /* PARKED_DELAY without a loop: when */
    int64_t wait_ms;          /* PARKED_WAIT: how long, 0 for ever */
    int64_t poll_ms;          /* PARKED_TURNS: until the next look at the output */
    enum dispatch_wake woken; /* PARKED_WAIT: how the wait ended, until the command has asked */
    int monitored;            /* MONITOR has been shown this command */
    struct waiter *waiter;    /* in call_block (blocking.c) */
    struct turns *turns;      /* the handler has run, the command goes on in turns */
    struct key_hold *held;    /* turns_hold */
    struct reply pushes;      /* messages that wait for the end of those */
    uint64_t ticket;          /* order among parked writers */
    struct dispatch_state *next, *previous; /* list of the same kind of wait: MEMORY, PAUSE, DELAY */
};

/* The state of ${client}, made if it has none. */
struct dispatch_state *dispatch__state(struct client *client);
/* Park on the pages in ${set}; on memory (FIFO); for ${delay_us}; until the pause ends; until the callee
 * wakes. Always returns 1 for execute. */
int dispatch__park_pages(struct dispatch_state *state, const struct fault_set *set);
/* The same for a turn; the first ${old} of the reads before are given back. */
void dispatch__park_turn_pages(struct dispatch_state *state, const struct fault_set *set, unsigned old);
int dispatch__park_memory(struct dispatch_state *state);
int dispatch__park_delay(struct dispatch_state *state, int64_t delay_us, enum stage stage);
int dispatch__park_pause(struct dispatch_state *state);
int dispatch__park_wait(struct dispatch_state *state);
int dispatch__park_held(struct dispatch_state *state);
/* Until dispatch__wake_turns (pages); until the client has read enough; not at all, only to let others run.
 */
enum dispatch_turns { DISPATCH_TURNS_PAGES, DISPATCH_TURNS_OUTPUT, DISPATCH_TURNS_AGAIN };
void dispatch__park_turns(struct dispatch_state *state, enum dispatch_turns until);
void dispatch__wake_turns(struct dispatch_state *state);
/* A key was released: those parked for one try again. */
void dispatch__wake_held(void);
/* Run the command of a waiting client now. DONE: the reply is written, the client goes on by itself; AGAIN:
 * it waits again; STUCK: it waits for pages. Not inside a command. */
enum dispatch_rerun { DISPATCH_RERUN_DONE, DISPATCH_RERUN_AGAIN, DISPATCH_RERUN_STUCK };
enum dispatch_rerun dispatch__rerun(struct client *client);
void dispatch__park_served(struct dispatch_state *state);
/* Somebody waits for keys or watches them, or nobody any more: listen to the keyspace or not. */
void dispatch__follow_changes(void);
/* The wait is over and execute was called again. */
void dispatch__unpark(struct dispatch_state *state);
/* The command has run: forget pages and counts. */
void dispatch__command_done(struct dispatch_state *state);
/* The client goes: leave every list, give everything back. */
void dispatch__release(struct client *client);
void dispatch__park_start(struct loop *loop);
void dispatch__park_cron(void);

/* A keymiss is about to be announced: whether an earlier run of the same command has done so. */
int dispatch__is_repeated_miss(void);

/* A command that was run inside of another one (EXEC), and what is still to be written down about it. */
struct dispatch_inner {
    struct call call;
    uint64_t ns, errors;
    char error_code[64];
};
/* Run ${command} for the client of ${outer}, into its reply. 0, or FIRN_EFAULT (and FIRN_EBUSY): a page is
 * missing and it has changed nothing; then *inner_out is void. */
FIRN_MUST_USE int dispatch__inner(struct call *outer, const struct command *command, const struct bytes *argv,
                                  size_t argc, struct dispatch_inner *inner_out);
/* Run a command that only reads, for the faults it records, and leave no trace of it. */
void dispatch__rehearse(struct call *outer, const struct command *command, const struct bytes *argv,
                        size_t argc);
void dispatch__inner_finish(struct dispatch_inner *inner);

/* Statistics. */
void dispatch__stats_start(void);
void dispatch__stats_stop(void);
void dispatch__count_call(const struct command *command, uint64_t ns, int failed);
void dispatch__count_rejected(const struct command *command);
/* ${count} error replies whose code is ${code}. */
void dispatch__count_errors(const char *code, uint64_t count);

#endif
