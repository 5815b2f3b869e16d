/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dispatcher: takes a complete request from the network layer, decides whether it may run now, runs the
 * handler, parks the client when pages or memory are missing, and keeps the statistics of commands and
 * errors.
 *
 * Way of a request: find the command -> arity -> authentication -> CLIENT PAUSE -> memory admission ->
 * MONITOR -> handler in a fault set -> FIRN_EFAULT: reply rolled back, pages read, run again; otherwise
 * statistics, slow log, latency monitor.
 *
 * X1 A parked client has dispatch_state->parked != PARKED_NOT and client->parked nonzero; whoever ends the
 *    wait calls client_resume.
 * X2 Checks that were passed before parking on pages are not made again by the re-run (the command is
 *    already admitted).
 * X3 Nothing a handler wrote to the reply before FIRN_EFAULT reaches the client.
 *
 * Executor only.
 */
#ifndef FIRN_CMD_DISPATCH_H
#define FIRN_CMD_DISPATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "cmd/command.h"
#include "ds/histogram.h"
#include "net/client.h"

/* The level of Redis that Firn speaks: HELLO, INFO redis_version, LOLWUT. */
#define DISPATCH_REDIS_VERSION     "7.4.1"
#define DISPATCH_REDIS_VERSION_NUM 0x00070401

/* Live settings; the configuration writes them (any time, executor). Defaults as Redis's. */
struct dispatch_config {
    struct bytes requirepass;             /* the server's memory; empty: no password */
    int64_t slowlog_log_slower_than_us;   /* negative: off; 0: everything */
    uint64_t slowlog_max_len;             /* call slowlog_trim after changing */
    int64_t latency_monitor_threshold_ms; /* 0: off */
    int latency_tracking;                 /* per-command histograms */
    int hide_user_data_from_log;
    int loading;      /* data set is being loaded: -LOADING for commands without COMMAND_LOADING */
    const char *mode; /* HELLO mode: "standalone" */
    uint64_t tracking_table_max_keys; /* kept for CONFIG; client-side caching comes later */
    uint64_t acllog_max_len;
    uint64_t (*memory_not_counted)(void); /* bytes evict_to_limit does not count; may be NULL */
};
extern struct dispatch_config dispatch_config;

struct loop;

/* Build the command table (renames are to be done already), calibrate the clock, register with the tier
 * manager. ${loop} may be NULL in tests (then delays and pauses end only in dispatch_cron). Once. */
void dispatch_start(struct loop *loop);
/* Forget everything parked and free statistics. Clients must be gone. */
void dispatch_stop(void);
/* Fill in execute, look_ahead, connected and disconnecting. server may wrap them. */
void dispatch_client_hooks(struct client_hooks *hooks_out);
/* Every 100 ms. */
void dispatch_cron(void);
/* Once a turn, before the network's: what changed by itself (expiry, eviction) wakes who waits for it. */
void dispatch_turn(void);

/* The execute hook: 0 done, 1 parked. */
int dispatch_execute(struct client *client);

/*
 * Run argv on behalf of ${client} (CLIENT_INTERNAL or any) right now: no authentication, pause, admission or
 * parking; pages are read blocking. The reply goes to client->reply. 0, or FIRN_ENOTFOUND / FIRN_EINVALID
 * (unknown command, arity) with the error replied.
 */
FIRN_MUST_USE int dispatch_run(struct client *client, const struct bytes *argv, size_t argc);

/* --- CLIENT PAUSE --- */
enum dispatch_pause { DISPATCH_PAUSE_OFF, DISPATCH_PAUSE_WRITE, DISPATCH_PAUSE_ALL };
/* Pause until ${until_ms} (monotonic ms); keeps the stricter mode and later end of a pause in force. */
void dispatch_pause(enum dispatch_pause mode, int64_t until_ms);
void dispatch_unpause(void);
enum dispatch_pause dispatch_paused(void); /* the mode now in force */

/* --- commands that wait (WAIT; later the blocking list commands) --- */
enum dispatch_wake { DISPATCH_WAKE_NONE, DISPATCH_WAKE_READY, DISPATCH_WAKE_TIMEOUT, DISPATCH_WAKE_ERROR };
/*
 * Called by a handler that has changed nothing. NONE: the wait is arranged, for ${timeout_ms} (0: for ever);
 * the handler returns FIRN_EPARKED, and is run again when the wait is over; then this call says how it ended.
 * A client that cannot wait (CLIENT_INTERNAL) gets TIMEOUT at once.
 */
enum dispatch_wake dispatch_wait(struct client *client, int64_t timeout_ms);
/* End the wait of ${client}: 1, or 0 if it is not in one. ERROR: it is answered with -UNBLOCKED, without
 * being run again. */
int dispatch_wake(struct client *client, enum dispatch_wake how);
/* Whether ${client} is in such a wait, or in one of call_block (blocking.h). */
int dispatch_is_waiting(const struct client *client);

/* --- statistics --- */
struct dispatch_command_stats {
    uint64_t calls, rejected, failed;
    uint64_t usec;               /* total, whole microseconds */
    struct histogram *histogram; /* of nanoseconds; NULL: nothing recorded */
};
/* Of command->index. */
const struct dispatch_command_stats *dispatch_command_stats(const struct command *command);

struct dispatch_stats {
    uint64_t commands;      /* total_commands_processed */
    uint64_t error_replies; /* total_error_replies */
    uint64_t unexpected_error_replies;
    uint64_t auth_failures; /* acl_access_denied_auth */
    uint64_t faulted_runs;  /* runs that ended in FIRN_EFAULT */
    uint64_t sync_runs;     /* commands switched to blocking reads after too many faults */
    uint64_t slowlog_commands, slowlog_us_total, slowlog_us_max;
    uint64_t parked_pages, parked_memory, parked_delay, parked_pause, waiting; /* clients parked now */
    uint64_t timed; /* of those waiting, with a timeout */
    uint64_t monitors;
};
extern struct dispatch_stats dispatch_stats;
/* CONFIG RESETSTAT: per-command and error statistics (the gauges stay). */
void dispatch_stats_reset(void);
/* Call ${visit} per error code, in order of name: "ERR", "WRONGTYPE"... with its count. */
void dispatch_each_error(void (*visit)(const char *code, uint64_t count, void *ctx), void *ctx);

/*
 * Send ${raw}, a whole message encoded for the client's protocol version, whatever CLIENT REPLY says: at
 * once, or, if a command of ${client} is running, behind the reply of that command.
 */
void dispatch_push(struct client *client, struct bytes raw);

/* Nonzero while a command runs: its start in cached ms etc. is stable. The client whose command runs, or
 * NULL. */
struct client *dispatch_current_client(void);

#endif
