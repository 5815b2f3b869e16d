/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server as a whole: opens every module in order, runs the loop, closes them in reverse. The only place
 * that knows all of them.
 *
 * One turn of the loop: events (commands run) -> before_sleep: finished tier operations, bounded expiry,
 * demotion, replies -> sleep. The cron runs hz times a second as a timer. Signals set a flag and wake the
 * loop.
 *
 * Executor only, but for server_signal (signal handler).
 */
#ifndef FIRN_SERVER_SERVER_H
#define FIRN_SERVER_SERVER_H

#include <signal.h>
#include <stdint.h>

#include "base/error.h"

struct loop;

#define SERVER_RATE_SAMPLES 16

/* A rate over the last samples (100 ms each). */
struct server_rate {
    uint64_t last_count;
    int64_t last_us;
    uint64_t samples[SERVER_RATE_SAMPLES];
    unsigned next;
};

enum server_rate_id {
    SERVER_RATE_COMMANDS,
    SERVER_RATE_INPUT,
    SERVER_RATE_OUTPUT,
    SERVER_RATE_TURNS,
    SERVER_RATE_COUNT
};

struct server_state {
    struct loop *loop;
    const char *executable; /* argv[0], absolute */
    int64_t started_s, started_us;
    char run_id[41], replication_id[41];
    uint64_t memory_peak, memory_startup;
    struct server_rate rates[SERVER_RATE_COUNT];
    uint64_t cron_us, turn_us_max; /* time in cron; longest turn seen by cron */
    uint64_t turn_commands_max;
    int cron_paused;
    int stopping;
    int exit_status; /* of the process; not 0: what went wrong is in the log */
};
extern struct server_state server_state;

/*
 * Open everything as configured and listen. On failure the reason is logged, nothing is left open:
 * FIRN_ESYSTEM, FIRN_EINVALID. May block.
 */
FIRN_MUST_USE int server_start(const char *executable);
/* Call ${ready} when the data set is loaded: at once, or from server_run. */
void server_when_ready(void (*ready)(void));
/* Serve until a shutdown. */
void server_run(void);
/* Close everything. May block. */
void server_stop(void);
/* Ask for a shutdown (flags of cmd/server_hooks.h): FIRN_EINVALID if it cannot be done as asked. */
int server_shutdown(unsigned flags);
/* The signal handler of SIGTERM and SIGINT. */
void server_signal(int signal_number);
/* CONFIG RESETSTAT. */
void server_reset_statistics(void);
/* The present rate a second. */
uint64_t server_rate(enum server_rate_id id);
/* Milliseconds between two cron runs by hz. */
int64_t server_cron_period_ms(void);

#endif
