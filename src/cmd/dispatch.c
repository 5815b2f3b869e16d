/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a request through the checks, the handler and the bookkeeping; dispatch.h has the picture,
 * dispatch_park.c the waits, dispatch_stats.c the numbers.
 *
 * Time: one read of the processor's time stamp counter before and one after the handler (about 10 ns
 * together, where two reads of the kernel's clock cost 50), scaled by a factor that dispatch_cron keeps
 * measuring. Processors without an invariant counter use the kernel's clock.
 *
 * There is one fault set and one running command at a time (executor). dispatch_run may be called from inside
 * a command; its pages are then read blocking within the set of the outer one.
 */
#include "cmd/dispatch.h"

#include <cpuid.h>
#include <ctype.h>
#include <stdio.h>
#include <x86intrin.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/call.h"
#include "cmd/cmd_monitor.h"
#include "cmd/dispatch_internal.h"
#include "cmd/latency.h"
#include "cmd/pubsub.h"
#include "cmd/slowlog.h"
#include "cmd/transaction.h"
#include "cmd/watch.h"
#include "keyspace/db.h"
#include "keyspace/evict.h"
#include "net/net.h"
#include "page/fault.h"
#include "page/page.h"
#include "persist/persist.h"
#include "tiering/tier.h"

#define ARGUMENTS_SHOWN_BYTES  128u          /* of an unknown command, in its error */
#define SUNK_KEYS_MAX          FAULT_SET_MAX /* keys of one command that are asked for together */
#define LOOK_AHEAD_KEYS_MAX    16u           /* keys of one pipelined command that are prefetched */
#define SLOW_US                1000          /* a command this long makes the cached time stale */
#define ATTACK_LOG_INTERVAL_US 60000000

struct dispatch_config dispatch_config = {
    .slowlog_log_slower_than_us = 10000,
    .slowlog_max_len = 128,
    .latency_tracking = 1,
    .mode = "standalone",
    .tracking_table_max_keys = 1000000,
    .acllog_max_len = 128,
};

static struct fault_set faults;
static struct client *running_client;

/* Messages for the client whose command runs (dispatch_push), and keymiss events of this run. */
static struct client *pushed_client;
static struct reply pushes;
static uint64_t run_misses;

/* --- time --- */

static int counter_usable;
static uint64_t counter_start, counter_factor; /* ns = ticks * factor >> 32 */
static int64_t counter_start_ns;

static inline uint64_t ticks(void) {
    return __builtin_expect(counter_usable, 1) ? __rdtsc() : (uint64_t)clock_monotonic_ns();
}

static inline uint64_t ticks_to_ns(uint64_t count) {
    return counter_usable ? (uint64_t)((unsigned __int128)count * counter_factor >> 32) : count;
}

static void counter_measure(void) {
    if (!counter_usable) return;
    uint64_t count = __rdtsc() - counter_start;
    int64_t ns = clock_monotonic_ns() - counter_start_ns;
    if (count > 0 && ns > 0) counter_factor = (uint64_t)(((unsigned __int128)(uint64_t)ns << 32) / count);
}

static void counter_init(void) {
    unsigned a, b, c, d = 0;
    counter_usable = __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & (1u << 8)) != 0;
    counter_start = __rdtsc();
    counter_start_ns = clock_monotonic_ns();
    while (counter_usable && clock_monotonic_ns() - counter_start_ns < 1000000)
        continue; /* 1 ms: 0.01% */
    counter_measure();
}

/* --- refusals --- */

static void reply_unknown(struct client *client, const struct bytes *argv, size_t argc,
                          const struct command *container) {
    if (container != NULL) {
        char upper[64];
        size_t size = argv[0].size < sizeof upper ? argv[0].size : sizeof upper - 1;
        for (size_t i = 0; i < size; i++)
            upper[i] = (char)toupper(argv[0].data[i]);
        reply_error_format(&client->reply, "unknown subcommand '%.*s'. Try %.*s HELP.",
                           (int)(argv[1].size < 128 ? argv[1].size : 128), (const char *)argv[1].data,
                           (int)size, upper);
        return;
    }
    char shown[ARGUMENTS_SHOWN_BYTES + 8];
    size_t used = 0;
    for (size_t i = 1; i < argc && used < ARGUMENTS_SHOWN_BYTES; i++) {
        size_t room = ARGUMENTS_SHOWN_BYTES - used;
        int size = (int)(argv[i].size < room ? argv[i].size : room);
        int written =
            snprintf(shown + used, sizeof shown - used, "'%.*s' ", size, (const char *)argv[i].data);
        used += (size_t)written < sizeof shown - used ? (size_t)written : sizeof shown - used - 1;
    }
    shown[used] = 0;
    reply_error_format(&client->reply, "unknown command '%.*s', with args beginning with: %s",
                       (int)(argv[0].size < 128 ? argv[0].size : 128), (const char *)argv[0].data, shown);
}

/* Count the error replies written since ${before}. */
static uint64_t count_errors(struct client *client, uint64_t before) {
    uint64_t written = client->reply.errors - before;
    if (__builtin_expect(written != 0, 0)) dispatch__count_errors(client->reply.last_error, written);
    return written;
}

/* A web browser that was made to talk to this port begins like this: close the connection before it gets
 * anywhere. */
static int is_attack(struct client *client, struct bytes name) {
    static int64_t logged_us;
    if (!bytes_is(name, "post") && !bytes_is(name, "host:")) return 0;
    int64_t now = clock_monotonic_us();
    if (logged_us == 0 || now - logged_us > ATTACK_LOG_INTERVAL_US) {
        char address[128];
        client_address(client, address, sizeof address);
        log_warning(
            "Possible SECURITY ATTACK detected. A client sends POST or Host: commands, as a web browser does "
            "that is "
            "abused to reach this server (cross protocol scripting). Connection from %s aborted.",
            address);
        logged_us = now;
    }
    client_close_later(client, 0);
    return 1;
}

/* CLIENT REPLY: what the next command may write. */
static void next_reply_mode(struct client *client) {
    if (__builtin_expect(
            (client->flags & (CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP | CLIENT_REPLY_SKIP_NEXT)) == 0, 1)) {
        client->reply.off = 0;
        return;
    }
    client->flags &= ~CLIENT_REPLY_SKIP;
    if (client->flags & CLIENT_REPLY_SKIP_NEXT)
        client->flags = (client->flags & ~CLIENT_REPLY_SKIP_NEXT) | CLIENT_REPLY_SKIP;
    client->reply.off = (client->flags & (CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP)) != 0;
}

/* The request is over without its handler having run; a transaction cannot succeed any more. Returns 0 for
 * execute. */
static int reject(struct client *client, const struct command *command, uint64_t errors_before) {
    if (command != NULL) dispatch__count_rejected(command);
    if (client->flags & CLIENT_MULTI) client->flags |= CLIENT_DIRTY_EXEC;
    count_errors(client, errors_before);
    if (client->dispatch_state != NULL) dispatch__command_done(client->dispatch_state);
    client->command = NULL;
    next_reply_mode(client);
    return 0;
}

static int reject_text(struct client *client, const struct command *command, const char *text) {
    uint64_t before = client->reply.errors;
    if (command != NULL && command->handler == cmd_exec) {
        /* What was queued is lost: that is said first. */
        reply_error_format(&client->reply, "-EXECABORT Transaction discarded because of: %s",
                           text[0] == '-' ? text + 1 : text);
        transaction_discard(client);
    } else {
        reply_error(&client->reply, text);
    }
    return reject(client, command, before);
}

/* --- running --- */

/* Which tier failed, by whose error counters have grown. */
static const char *failed_tier(void) {
    static uint64_t seen_pmem, seen_nvme;
    struct tier_stats pmem, nvme;
    tier_stats(PAGE_TAG_PMEM, &pmem);
    tier_stats(PAGE_TAG_NVME, &nvme);
    int of_pmem = pmem.errors + pmem.corruptions > seen_pmem,
        of_nvme = nvme.errors + nvme.corruptions > seen_nvme;
    seen_pmem = pmem.errors + pmem.corruptions;
    seen_nvme = nvme.errors + nvme.corruptions;
    if (of_pmem != of_nvme) return of_pmem ? "PMEM tier" : "NVMe tier";
    return tier_has(PAGE_TAG_NVME) ? "NVMe tier" : tier_has(PAGE_TAG_PMEM) ? "PMEM tier" : "tier";
}

static void reply_failure(struct reply *reply, int error) {
    switch (error) {
    case FIRN_EIO:
        reply_error_format(
            reply, "-IOERR the %s failed to read or write this key's value; the key is kept, see the log",
            failed_tier());
        break;
    case FIRN_ECORRUPT:
        reply_error_format(reply,
                           "-IOERR the %s returned a page of this key's value whose checksum does not "
                           "verify; the key is kept, see the log",
                           failed_tier());
        break;
    case FIRN_ENOTFOUND:
        reply_error_format(
            reply, "-IOERR the %s has no record of this key's value any more; the key is kept, see the log",
            failed_tier());
        break;
    case FIRN_ENOSPACE:
        reply_error_format(reply, "-IOERR the %s is full; nothing was changed", failed_tier());
        break;
    case FIRN_ENOMEM:
        reply_error(reply, "-OOM the system has no memory for this command; nothing was changed");
        break;
    default: reply_error_format(reply, "-IOERR the command failed: %s", error_text(error)); break;
    }
}

/* argv with secrets hidden, in counted memory. */
static struct bytes *redact(const struct call *call) {
    struct bytes *shown = memory_alloc(call->argc * sizeof *shown);
    for (size_t i = 0; i < call->argc; i++) {
        int hidden = i < 64 && (call->redacted >> i & 1);
        shown[i] = hidden ? bytes_of_text("(redacted)") : call->argv[i];
    }
    return shown;
}

/* Show the command to MONITOR, if that has not been done when it began to wait. */
static void feed_monitors(struct client *client, const struct command *command, const struct bytes *argv,
                          size_t argc) {
    const struct dispatch_state *state = client->dispatch_state;
    if (dispatch_config.loading || (command->flags & (COMMAND_SKIP_MONITOR | COMMAND_ADMIN))) return;
    if (state == NULL || !state->monitored) cmd_monitor_feed(client, argv, argc);
}

/* Tell who listens what was done (call.h). */
static void propagate(struct call *call) {
    if (__builtin_expect(call_propagated != NULL, 0) && !call->no_propagation &&
        (call->changes > 0 || call->forms != NULL))
        call_propagated(call);
    call_forms_free(call);
}

/* The command has run to its end: statistics, slow log, MONITOR. */
static void finish_counted(struct call *call, uint64_t ns, uint64_t errors) {
    struct client *client = call->client;
    const struct command *command = call->command;
    dispatch__count_call(command, ns, errors != 0);
    dispatch_stats.commands++;
    client->last_command = command;
    const struct bytes *argv = call->argv;
    int64_t us = (int64_t)(ns / 1000);
    struct bytes *shown = NULL;
    if (__builtin_expect(call->redacted != 0, 0)) argv = shown = redact(call);
    if (__builtin_expect(us >= SLOW_US, 0)) {
        if (!(client->flags & CLIENT_DENY_BLOCKING)) clock_update(); /* within EXEC time stands still */
        latency_add(command->flags & COMMAND_FAST ? "fast-command" : "command", us / 1000);
    }
    if (dispatch_config.slowlog_log_slower_than_us >= 0 && us >= dispatch_config.slowlog_log_slower_than_us &&
        !(command->flags & COMMAND_SKIP_SLOWLOG))
        slowlog_add(client, argv, call->argc, us);
    if (__builtin_expect(dispatch_stats.monitors != 0, 0)) feed_monitors(client, command, argv, call->argc);
    memory_free(shown);
    propagate(call);
}

static void finish(struct call *call, uint64_t ns, uint64_t errors_before) {
    finish_counted(call, ns, count_errors(call->client, errors_before + call->inner_errors));
}

static void call_init(struct call *call, struct client *client, const struct command *command,
                      const struct bytes *argv, size_t argc) {
    *call = (struct call){
        .client = client,
        .command = command,
        .db = db_at(client->db_index),
        .reply = &client->reply,
        .argc = argc,
        .argv = argv,
        .lookup_flags =
            client->flags & CLIENT_NO_TOUCH && command->handler != cmd_touch ? LOOKUP_NO_TOUCH : 0,
    };
}

/* The run ended in ${result} before changing anything: park, or 0 if the command has to be run again at once,
 * reading blocking. */
static int park_unfinished(struct client *client, const struct command *command, int result, uint64_t ns) {
    struct dispatch_state *state = dispatch__state(client);
    state->command = command;
    state->run_ns += ns;
    if (run_misses > state->misses) state->misses = run_misses;
    if (result == FIRN_EPARKED) {
        if (dispatch_stats.monitors != 0) {
            feed_monitors(client, command, client->request.argv, client->request.argc);
            state->monitored = 1;
        }
        return dispatch__park_wait(state);
    }
    dispatch_stats.faulted_runs++;
    if (++state->faults >= DISPATCH_FAULTS_MAX || (client->flags & CLIENT_INTERNAL)) return 0;
    if (result == FIRN_EBUSY) return dispatch__park_delay(state, 1000, STAGE_RUN);
    return faults.count == 0 ? 0 : dispatch__park_pages(state, &faults);
}

/*
 * Keys off DRAM: a command of several keys would find the second one missing after it has changed the first.
 * Ask for all of them before it runs: 0, or FIRN_EFAULT. Commands that wait look at what they need by
 * themselves: one that waits for the page of a key it may never come to would lose its place in the queue.
 */
static int touch_sunk_keys(const struct call *call) {
    if (call->argc < 3 || (call->command->flags & COMMAND_BLOCKING)) return 0; /* < 3: one key at most */
    unsigned positions[SUNK_KEYS_MAX];
    int count = command_keys(call->command, call->argv, call->argc, positions, NULL, SUNK_KEYS_MAX),
        error = 0;
    for (int i = 0; count > 1 && i < count && i < (int)SUNK_KEYS_MAX; i++) {
        struct bytes key = call->argv[positions[i]];
        if (!db_is_sunk(call->db, key)) continue;
        uint64_t ref = db_cold_ref(call->db, key);
        if (!page_is_ready(ref)) error = fault_record(ref);
    }
    return error;
}

static int is_held(unsigned db, struct bytes key) {
    return blocking_is_held(db_at(db), key);
}

static int is_queued_held(const struct command *command, unsigned db, struct bytes key) {
    (void)command;
    return is_held(db, key);
}

/* Whether a key of the command is held for a waiter (blocking.h, B1) or by a command in turns (B3). */
static int names_held_key(const struct call *call) {
    unsigned all_keys = COMMAND_WRITE | (blocking_is_serving() ? COMMAND_READONLY : 0);
    if (call->command->key_spec_count == 0 && call->command->flags & all_keys)
        return 1;                           /* FLUSHALL, DBSIZE: all keys */
    if (call->command->handler == cmd_exec) /* a watched key may be about to change */
        return transaction_each_key(call->client, is_queued_held) || watch_each(call->client, is_held);
    unsigned positions[SUNK_KEYS_MAX];
    int count = command_keys(call->command, call->argv, call->argc, positions, NULL, SUNK_KEYS_MAX);
    for (int i = 0; i < count && i < (int)SUNK_KEYS_MAX; i++) {
        if (blocking_is_held(call->db, call->argv[positions[i]])) return 1;
    }
    return 0;
}

/* --- messages --- */

void dispatch_push(struct client *client, struct bytes raw) {
    struct dispatch_state *state = client->dispatch_state;
    struct reply *reply = &client->reply;
    if (client == pushed_client)
        reply = &pushes;
    else if (state != NULL && state->turns != NULL)
        reply = &state->pushes;
    int off = reply->off;
    if (client->flags & CLIENT_CLOSE_ASAP) return;
    reply->off = 0;
    reply_raw(reply, raw);
    reply->off = off;
    if (reply == &client->reply) client_flush(client);
}

/* The reply of ${client} is complete (or rolled back): what came for it meanwhile, ${messages}, follows. */
static void deliver_pushes(struct client *client, struct reply *messages) {
    size_t bytes;
    int off = client->reply.off;
    struct reply_chunk *chunk = reply_take(messages, &bytes), *next;
    client->reply.off = 0;
    for (; chunk != NULL; chunk = next) {
        next = chunk->next;
        reply_raw(&client->reply, bytes_of(chunk->data, chunk->used));
        reply_chunk_free(chunk);
    }
    client->reply.off = off;
    client_flush(client);
}

int dispatch__is_repeated_miss(void) {
    if (running_client == NULL) return 0;
    const struct dispatch_state *state = running_client->dispatch_state;
    run_misses++;
    return state != NULL && run_misses <= state->misses;
}

/* The command in ${call} is over, its reply written. */
static void complete(struct call *call, uint64_t ns, uint64_t errors_before) {
    struct client *client = call->client;
    finish(call, ns, errors_before);
    if (client->dispatch_state != NULL) dispatch__command_done(client->dispatch_state);
    client->command = NULL;
    if (__builtin_expect(pushes.bytes > 0, 0)) deliver_pushes(client, &pushes);
    next_reply_mode(client);
    if (__builtin_expect(tier_get_stress() != TIER_STRESS_OFF, 0)) tier_stress_now();
}

int turns_apply(const struct call *call) {
    return tier_enabled() && call->client == running_client &&
           !(call->client->flags & (CLIENT_INTERNAL | CLIENT_DENY_BLOCKING));
}

int turns_start(struct call *call, struct turns *turns) {
    struct dispatch_state *state = dispatch__state(call->client);
    struct turns *before = state->turns;
    FIRN_ASSERT(call->changes == 0);
    state->turns = turns;
    if (before != NULL) before->destroy(before);
    return FIRN_EPARKED;
}

static int begun_turns(const struct client *client) {
    const struct dispatch_state *state = client->dispatch_state;
    return state != NULL && state->turns != NULL;
}

/* The handler has begun turns. 1 for execute: parked, until the first one. */
static int begin_turns(struct client *client, const struct command *command, uint64_t ns) {
    struct dispatch_state *state = client->dispatch_state;
    state->command = command;
    state->run_ns += ns;
    if (dispatch_stats.monitors != 0) {
        feed_monitors(client, command, client->request.argv, client->request.argc);
        state->monitored = 1;
    }
    blocking_leave(client); /* one that waited for keys has what it waited for */
    dispatch__park_turns(state, DISPATCH_TURNS_AGAIN);
    return 1;
}

/* A turn ended with ${result}: 1 if there is to be another, and it is arranged. */
static int park_between_turns(struct dispatch_state *state, int result) {
    if (result == FIRN_EFAULT && faults.count > 0) {
        unsigned old = state->turns->progressed ? state->read_count : 0;
        state->turns->progressed = 0;
        if (state->read_count >= DISPATCH_FAULTS_MAX - 1) return 0;
        dispatch__park_turn_pages(state, &faults, old);
    } else if (result == FIRN_EBUSY) {
        dispatch__park_delay(state, 1000, STAGE_RUN);
    } else if (result == FIRN_EFAULT || (result == FIRN_EPARKED && state->parked == PARKED_NOT)) {
        dispatch__park_turns(state, DISPATCH_TURNS_AGAIN);
    }
    return state->parked != PARKED_NOT;
}

/* The next turn. 0 done, 1 parked. */
static int run_turn(struct client *client, const struct command *command) {
    struct dispatch_state *state = client->dispatch_state;
    uint64_t errors_before = client->reply.errors;
    struct call call;
    call_init(&call, client, command, client->request.argv, client->request.argc);
    running_client = pushed_client = client;
    uint64_t begin = ticks();
    fault_begin(&faults, FAULT_ASYNC);
    int result = state->turns->turn(state->turns, &call);
    fault_end(&faults);
    state->run_ns += ticks_to_ns(ticks() - begin);
    running_client = pushed_client = NULL;
    if (result != 0 && park_between_turns(state, result)) {
        propagate(&call); /* what this turn has done */
        return 1;
    }
    if (result != 0) reply_failure(&client->reply, result == FIRN_EFAULT ? FIRN_EIO : result);
    if (state->pushes.bytes > 0) deliver_pushes(client, &state->pushes);
    complete(&call, state->run_ns, errors_before);
    return 0;
}

/* Run the handler, in ${mode}. 0 done, 1 parked. */
static int run(struct client *client, const struct command *command, enum fault_mode mode) {
    struct dispatch_state *state = client->dispatch_state;
    if (__builtin_expect(state != NULL && state->turns != NULL, 0)) return run_turn(client, command);
    struct reply_mark mark = reply_mark(&client->reply);
    uint64_t errors_before = client->reply.errors;
    struct call call;
    call_init(&call, client, command, client->request.argv, client->request.argc);
    client->command = command;
    if (__builtin_expect(blocking_held > 0, 0) && mode == FAULT_ASYNC &&
        (state == NULL || state->waiter == NULL) && names_held_key(&call))
        return dispatch__park_held(dispatch__state(client));
    running_client = pushed_client = client;
    run_misses = 0;
    uint64_t hits = db_stats.keyspace_hits, misses = db_stats.keyspace_misses;
    uint64_t begin = ticks();
    fault_begin(&faults, mode);
    int result = 0;
    if (__builtin_expect(db_sunk_count() > 0 && mode == FAULT_ASYNC, 0)) result = touch_sunk_keys(&call);
    if (result == 0) result = command->handler(&call);
    fault_end(&faults);
    uint64_t ns = ticks_to_ns(ticks() - begin);
    running_client = pushed_client = NULL;

    if (__builtin_expect(result != 0, 0)) {
        if (begun_turns(client)) {
            propagate(&call);
            return begin_turns(client, command, ns);
        }
        reply_rollback(&client->reply, mark);
        if (pushes.bytes > 0) deliver_pushes(client, &pushes);
        if (result == FIRN_EFAULT || result == FIRN_EPARKED || result == FIRN_EBUSY) {
            db_stats.keyspace_hits = hits; /* the run that ends counts them */
            db_stats.keyspace_misses = misses;
            FIRN_ASSERT(call.changes == 0); /* H1: a command that changed something cannot run again */
            FIRN_ASSERT(mode == FAULT_ASYNC || result != FIRN_EFAULT);
            call_forms_free(&call);
            if (mode == FAULT_ASYNC && park_unfinished(client, command, result, ns)) return 1;
            if (mode == FAULT_ASYNC) {
                dispatch_stats.sync_runs++;
                return run(client, command, FAULT_SYNC);
            }
        }
        reply_failure(&client->reply, result);
    }
    if (state != NULL) ns += state->run_ns;
    complete(&call, ns, errors_before);
    return 0;
}

/* --- checks --- */

/* Evict down to maxmemory, as without tiers: 0, or nonzero if that cannot be done. */
static int make_room(void) {
    uint64_t not_counted = dispatch_config.memory_not_counted ? dispatch_config.memory_not_counted() : 0;
    int64_t begin_us = dispatch_config.latency_monitor_threshold_ms > 0 ? clock_monotonic_us() : 0;
    int status = evict_to_limit(not_counted);
    if (begin_us != 0) latency_add("eviction-cycle", (clock_monotonic_us() - begin_us) / 1000);
    return status;
}

/* The flags that decide about ${command}: of EXEC, those of what it will run. */
static uint32_t flags_of(const struct client *client, const struct command *command) {
    uint32_t flags = command->flags;
    return command->handler == cmd_exec ? flags | transaction_flags(client) : flags;
}

/* May ${command} run as far as memory goes? 0 yes, 1 parked, -1 refused and replied. */
static int admit(struct client *client, const struct command *command) {
    int64_t delay_us = 0;
    const char *message = NULL;
    if (!tier_enabled()) {
        if (evict_config.memory_max == 0) return 0;
        if (make_room() == 0 || !(flags_of(client, command) & COMMAND_DENYOOM)) return 0;
        message = "-OOM command not allowed when used memory > 'maxmemory'.";
    } else {
        if (!(flags_of(client, command) & COMMAND_DENYOOM)) return 0;
        switch (tier_admit(&delay_us, &message)) {
        case TIER_ADMIT: return 0;
        case TIER_DELAY: return dispatch__park_delay(dispatch__state(client), delay_us, STAGE_RUN);
        case TIER_PARK: return dispatch__park_memory(dispatch__state(client));
        case TIER_REFUSE: break;
        }
    }
    reject_text(client, command, message);
    return -1;
}

static int pause_applies(const struct client *client, const struct command *command) {
    enum dispatch_pause mode = dispatch_paused();
    if (mode != DISPATCH_PAUSE_WRITE) return mode == DISPATCH_PAUSE_ALL;
    return (flags_of(client, command) & (COMMAND_WRITE | COMMAND_MAY_REPLICATE)) != 0;
}

/* In MULTI: keep the command for EXEC. Returns 0 for execute. */
static int enqueue(struct client *client, const struct command *command) {
    if (!tier_enabled() && evict_config.memory_max != 0) {
        if (make_room() != 0)
            return reject_text(client, command, "-OOM command not allowed when used memory > 'maxmemory'.");
    }
    transaction_queue(client, command, client->request.argv, client->request.argc);
    reply_status(&client->reply, "QUEUED");
    if (transaction_of(client)->argument_bytes > net_config.client_query_buffer_limit) {
        log_warning("Closing client that reached max query buffer length in MULTI (id=%llu)",
                    (unsigned long long)client->id);
        net_stats.query_limit_disconnections++;
        client_close_later(client, 0);
    }
    if (client->dispatch_state != NULL) dispatch__command_done(client->dispatch_state);
    client->last_command = command;
    client->command = NULL;
    next_reply_mode(client);
    return 0;
}

/* Go on with ${command} from ${stage}. */
static int execute_from(struct client *client, const struct command *command, enum stage stage) {
    client->command = command;
    if (stage == STAGE_PAUSE) {
        if (__builtin_expect(pause_applies(client, command), 0) && !(client->flags & CLIENT_INTERNAL))
            return dispatch__park_pause(dispatch__state(client));
        stage = STAGE_ADMIT;
        if (__builtin_expect((client->flags & CLIENT_MULTI) != 0, 0) && !transaction_is_immediate(command))
            return enqueue(client, command);
    }
    if (stage == STAGE_ADMIT) {
        int answer = admit(client, command);
        if (answer != 0) return answer > 0;
    }
    return run(client, command, client->flags & CLIENT_INTERNAL ? FAULT_SYNC : FAULT_ASYNC);
}

/* What a RESP2 client that is subscribed may still do: its replies could not be told from messages. */
static int fits_subscribed(const struct command *command) {
    return command->handler == cmd_ping || command->handler == cmd_quit || command->handler == cmd_reset ||
           command->handler == cmd_subscribe || command->handler == cmd_unsubscribe ||
           command->handler == cmd_psubscribe || command->handler == cmd_punsubscribe ||
           command->handler == cmd_ssubscribe || command->handler == cmd_sunsubscribe;
}

/* The last background save failed: whether this command is refused for that. */
static int refuse_unsaved(struct client *client, const struct command *command) {
    if (!(command->flags & COMMAND_WRITE) && command->handler != cmd_ping) return 0;
    if (!persist_refuses_writes()) return 0;
    reject_text(
        client, command,
        "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
        "disk. Commands that may modify the data set are disabled, because this instance is configured "
        "to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). "
        "Please check the Redis logs for details about the RDB error.");
    return 1;
}

/* The command of a new request, or NULL with the refusal replied. */
static const struct command *identify(struct client *client) {
    const struct bytes *argv = client->request.argv;
    size_t argc = client->request.argc;
    const struct command *container;
    const struct command *command = command_find(argv, argc, &container);
    uint64_t errors_before = client->reply.errors;
    if (__builtin_expect(command == NULL, 0)) {
        if (container == NULL && is_attack(client, argv[0])) return NULL;
        reply_unknown(client, argv, argc, container);
        reject(client, NULL, errors_before);
        return NULL;
    }
    if (__builtin_expect(!command_arity_fits(command, argc) || command->handler == NULL, 0)) {
        char text[128];
        snprintf(text, sizeof text, "wrong number of arguments for '%s' command", command->name);
        reject_text(client, command, text);
        return NULL;
    }
    if (__builtin_expect((client->flags & CLIENT_MULTI) && (command->flags & COMMAND_NO_MULTI), 0)) {
        reject_text(client, command, "Command not allowed inside a transaction");
        return NULL;
    }
    if (__builtin_expect(!(client->flags & (CLIENT_AUTHENTICATED | CLIENT_INTERNAL)), 0) &&
        !(command->flags & COMMAND_NO_AUTH)) {
        reject_text(client, command, "-NOAUTH Authentication required.");
        return NULL;
    }
    if (__builtin_expect((client->flags & CLIENT_SUBSCRIBED) != 0, 0) && client->reply.version < 3 &&
        !fits_subscribed(command)) {
        char text[192];
        snprintf(
            text, sizeof text,
            "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
            "in this context",
            command->name);
        reject_text(client, command, text);
        return NULL;
    }
    if (__builtin_expect(dispatch_config.loading, 0) && !(command->flags & COMMAND_LOADING)) {
        reject_text(client, command, "-LOADING Redis is loading the dataset in memory");
        return NULL;
    }
    if (__builtin_expect(persist_status.last_background_failed, 0) && refuse_unsaved(client, command))
        return NULL;
    return command;
}

/* Whether the wait was ended by its timeout or by CLIENT UNBLOCK: the command is not run again, even if there
 * is something to take now. */
static int is_unserved(const struct dispatch_state *state) {
    return state->woken == DISPATCH_WAKE_ERROR ||
           (state->woken == DISPATCH_WAKE_TIMEOUT && state->waiter != NULL);
}

/* Answer one of those. Returns 0 for execute. */
static int end_unserved(struct client *client) {
    struct dispatch_state *state = client->dispatch_state;
    uint64_t errors_before = client->reply.errors;
    struct call call;
    call_init(&call, client, client->command, client->request.argv, client->request.argc);
    if (state->woken == DISPATCH_WAKE_ERROR)
        reply_error(&client->reply, "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    else
        reply_null_array(&client->reply);
    finish(&call, state->run_ns, errors_before);
    dispatch__command_done(state);
    client->command = NULL;
    next_reply_mode(client);
    return 0;
}

/* Execute is called again for a client that was parked. */
static int resume(struct client *client, struct dispatch_state *state) {
    enum parked parked = state->parked;
    dispatch__unpark(state);
    if (parked == PARKED_SERVED) return 0;
    if (is_unserved(state)) return end_unserved(client);
    return execute_from(client, client->command, state->stage);
}

int dispatch_execute(struct client *client) {
    struct dispatch_state *state = client->dispatch_state;
    int parked;
    if (state != NULL && state->parked != PARKED_NOT) {
        if (!state->ready) return 1;
        parked = resume(client, state);
    } else {
        const struct command *command = identify(client);
        parked = command == NULL ? 0 : execute_from(client, command, STAGE_PAUSE);
    }
    if (__builtin_expect(blocking_ready > 0, 0)) blocking_serve();
    return parked;
}

enum dispatch_rerun dispatch__rerun(struct client *client) {
    struct dispatch_state *state = client->dispatch_state;
    FIRN_ASSERT(state->parked == PARKED_WAIT && !state->ready);
    dispatch__unpark(state);
    int parked = is_unserved(state) ? end_unserved(client) : run(client, client->command, FAULT_ASYNC);
    if (parked && state->parked == PARKED_WAIT) return DISPATCH_RERUN_AGAIN;
    if (parked) return state->waiter != NULL ? DISPATCH_RERUN_STUCK : DISPATCH_RERUN_DONE;
    dispatch__park_served(state);
    return DISPATCH_RERUN_DONE;
}

int dispatch_run(struct client *client, const struct bytes *argv, size_t argc) {
    const struct command *container;
    const struct command *command = command_find(argv, argc, &container);
    uint64_t errors_before = client->reply.errors;
    if (command == NULL) {
        reply_unknown(client, argv, argc, container);
        count_errors(client, errors_before);
        return FIRN_ENOTFOUND;
    }
    if (!command_arity_fits(command, argc) || command->handler == NULL) {
        reply_error_format(&client->reply, "wrong number of arguments for '%s' command", command->name);
        count_errors(client, errors_before);
        return FIRN_EINVALID;
    }
    struct client *outer = running_client;
    struct reply_mark mark = reply_mark(&client->reply);
    struct call call;
    call_init(&call, client, command, argv, argc);
    int nested = fault_current() != NULL;
    running_client = client;
    uint64_t begin = ticks();
    if (nested)
        fault_must_finish();
    else
        fault_begin(&faults, FAULT_SYNC);
    int result = command->handler(&call);
    if (!nested) fault_end(&faults);
    uint64_t ns = ticks_to_ns(ticks() - begin);
    running_client = outer;
    if (result != 0) {
        reply_rollback(&client->reply, mark);
        reply_failure(&client->reply, result);
    }
    finish(&call, ns, errors_before);
    return 0;
}

int dispatch__inner(struct call *outer, const struct command *command, const struct bytes *argv, size_t argc,
                    struct dispatch_inner *inner_out) {
    struct client *client = outer->client;
    struct call *call = &inner_out->call;
    struct reply_mark mark = reply_mark(&client->reply);
    uint64_t errors_before = client->reply.errors;
    call_init(call, client, command, argv, argc);
    client->command = command;
    uint64_t begin = ticks();
    int result = command->handler(call);
    inner_out->ns = ticks_to_ns(ticks() - begin);
    client->command = outer->command;
    if (result != 0) {
        reply_rollback(&client->reply, mark);
        if (result == FIRN_EFAULT || result == FIRN_EBUSY) {
            FIRN_ASSERT(call->changes == 0); /* H1 */
            call_forms_free(call);
            return result;
        }
        reply_failure(&client->reply, result);
    }
    inner_out->errors = client->reply.errors - errors_before;
    outer->inner_errors += inner_out->errors;
    outer->changes += call->changes;
    if (inner_out->errors != 0)
        memcpy(inner_out->error_code, client->reply.last_error, sizeof inner_out->error_code);
    return 0;
}

void dispatch__rehearse(struct call *outer, const struct command *command, const struct bytes *argv,
                        size_t argc) {
    struct client *client = outer->client;
    struct reply_mark mark = reply_mark(&client->reply);
    struct call call;
    call_init(&call, client, command, argv, argc);
    call.lookup_flags |= LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY;
    uint32_t denied = client->flags & CLIENT_DENY_BLOCKING;
    client->flags |= CLIENT_DENY_BLOCKING;
    int result = command->handler(&call);
    (void)result; /* a fault is in the set; anything else is told when it runs */
    client->flags = (client->flags & ~CLIENT_DENY_BLOCKING) | denied;
    FIRN_ASSERT(call.changes == 0);
    call_forms_free(&call);
    reply_rollback(&client->reply, mark);
}

void dispatch__inner_finish(struct dispatch_inner *inner) {
    if (inner->errors != 0) dispatch__count_errors(inner->error_code, inner->errors);
    finish_counted(&inner->call, inner->ns, inner->errors);
}

struct client *dispatch_current_client(void) {
    return running_client;
}

/* --- hooks --- */

/* Start reading what a command further down a parked client's pipeline will need. */
static void look_ahead(struct client *client, const struct bytes *argv, size_t argc) {
    const struct command *command = command_find(argv, argc, NULL);
    if (command == NULL || !command_arity_fits(command, argc)) return;
    if (command->tier == COMMAND_TIER_NONE && db_sunk_count() == 0) return;
    unsigned positions[LOOK_AHEAD_KEYS_MAX];
    int count = command_keys(command, argv, argc, positions, NULL, LOOK_AHEAD_KEYS_MAX);
    for (int i = 0; i < count && i < (int)LOOK_AHEAD_KEYS_MAX; i++) {
        uint64_t ref = db_cold_ref(db_at(client->db_index), argv[positions[i]]);
        if (ref != 0) tier_prefetch(ref);
    }
}

static void connected(struct client *client) {
    if (dispatch_config.requirepass.size == 0) client->flags |= CLIENT_AUTHENTICATED;
}

static void disconnecting(struct client *client) {
    dispatch__release(client);
    transaction_discard(client);
    pubsub_clear(client);
    if (client->flags & CLIENT_MONITOR) {
        client->flags &= ~CLIENT_MONITOR;
        dispatch_stats.monitors--;
    }
}

static void prefetch(struct client *client, const struct bytes *keys, unsigned count) {
    db_prefetch(db_at(client->db_index), keys, count);
}

void dispatch_client_hooks(struct client_hooks *hooks_out) {
    hooks_out->prefetch = prefetch;
    hooks_out->execute = dispatch_execute;
    hooks_out->look_ahead = look_ahead;
    hooks_out->connected = connected;
    hooks_out->disconnecting = disconnecting;
}

/* --- changes of the keyspace --- */

static void key_changed(struct db *db, struct bytes key) {
    if (watch_keys > 0) watch_changed(db, key);
    if (blocking_keys > 0) blocking_changed(db, key);
}

static void flushing(struct db *db) {
    if (watch_keys > 0) watch_flushing(db);
    if (blocking_keys > 0) blocking_changed_all(db);
}

static void swapping(struct db *a, struct db *b) {
    if (watch_keys > 0) watch_swapping(a, b);
    if (blocking_keys == 0) return;
    blocking_changed_all(a);
    blocking_changed_all(b);
}

/* The hook is there only while somebody wants it: a change then costs nothing more than a test. */
void dispatch__follow_changes(void) {
    db_hooks.changed = blocking_keys + watch_keys > 0 ? key_changed : NULL;
}

void dispatch_turn(void) {
    if (blocking_ready > 0) blocking_serve();
}

/* --- start and stop --- */

void dispatch_start(struct loop *loop) {
    (void)command_count(); /* builds the table */
    counter_init();
    dispatch__stats_start();
    dispatch__park_start(loop);
    reply_init(&pushes);
    db_hooks.flushing = flushing;
    db_hooks.swapping = swapping;
}

void dispatch_stop(void) {
    dispatch_unpause();
    slowlog_reset();
    latency_reset(NULL);
    dispatch__stats_stop();
}

/* maxmemory was just set: keys go now, not with the next command. */
static void meet_new_limit(void) {
    static uint64_t met;
    if (met == evict_config.memory_max) return;
    met = evict_config.memory_max;
    if (met != 0 && !tier_enabled() && make_room() != 0)
        log_verbose("maxmemory is lower than what is in use, and nothing can be evicted");
}

void dispatch_cron(void) {
    counter_measure();
    meet_new_limit();
    dispatch__park_cron();
}
