/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "cmd/blocking.h"
#include "cmd/dispatch.h"
#include "cmd/latency.h"
#include "cmd/server_hooks.h"
#include "keyspace/db.h"
#include "keyspace/evict.h"
#include "loop/loop.h"
#include "net/net.h"
#include "persist/persist.h"
#include "pmem/pmem.h"
#include "rocks/rocks.h"
#include "server/config.h"
#include "server/info.h"
#include "server/process.h"
#include "server/settings.h"
#include "tiering/tier.h"

struct server_state server_state;

static struct loop_timer *cron_timer;
static volatile sig_atomic_t signal_seen;
static int64_t housekeeping_due_us;
static int expiry_due, reaping_due, repacking_due;
static struct persist_load *load; /* going on: commands that need the data set are refused */
static void (*when_ready)(void);
static uint64_t commands_before;

/* --- rates --- */

static void sample(enum server_rate_id id, uint64_t count) {
    struct server_rate *rate = &server_state.rates[id];
    int64_t now = clock_monotonic_us();
    int64_t elapsed = now - rate->last_us;
    if (rate->last_us != 0 && elapsed > 0) {
        uint64_t change =
            count >= rate->last_count ? count - rate->last_count : 0; /* statistics may have been reset */
        rate->samples[rate->next] = change * 1000000u / (uint64_t)elapsed;
        rate->next = (rate->next + 1) % SERVER_RATE_SAMPLES;
    }
    rate->last_us = now;
    rate->last_count = count;
}

uint64_t server_rate(enum server_rate_id id) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < SERVER_RATE_SAMPLES; i++)
        sum += server_state.rates[id].samples[i];
    return sum / SERVER_RATE_SAMPLES;
}

static void sample_rates(void) {
    struct loop_stats loop;
    loop_stats(server_state.loop, &loop);
    sample(SERVER_RATE_COMMANDS, dispatch_stats.commands);
    sample(SERVER_RATE_INPUT, net_stats.input_bytes);
    sample(SERVER_RATE_OUTPUT, net_stats.output_bytes);
    sample(SERVER_RATE_TURNS, loop.turns);
}

void server_reset_statistics(void) {
    uint64_t changes = db_stats.changes;
    memset(&db_stats, 0, sizeof db_stats);
    db_stats.changes = changes;
    size_t parked = net_stats.parked, memory = net_stats.clients_memory;
    memset(&net_stats, 0, sizeof net_stats);
    net_stats.parked = parked;
    net_stats.clients_memory = memory;
    dispatch_stats_reset();
    tier_stats_reset();
    memset(server_state.rates, 0, sizeof server_state.rates);
    server_state.cron_us = 0;
    server_state.turn_us_max = 0;
    server_state.turn_commands_max = 0;
    info_reset();
}

/* --- the turn --- */

static void handle_signal(void) {
    if (!signal_seen || server_state.stopping) return;
    int is_term = signal_seen == SIGTERM;
    signal_seen = 0;
    log_notice("Received %s scheduling shutdown...", is_term ? "SIGTERM" : "SIGINT");
    int64_t bits = config_number(is_term ? CONFIG_SHUTDOWN_ON_SIGTERM : CONFIG_SHUTDOWN_ON_SIGINT);
    if (server_shutdown((unsigned)bits) != 0)
        log_warning(
            "%s received but errors trying to shut down the server, check the logs for more information",
            is_term ? "SIGTERM" : "SIGINT");
}

static void on_wake(void *ctx) {
    (void)ctx;
    handle_signal();
    tier_complete();
}

/* The longest turn and the one with most commands, for INFO debug. */
static void count_turn(void) {
    static uint64_t busy_before, turn_commands_before;
    struct loop_stats stats;
    loop_stats(server_state.loop, &stats);
    uint64_t busy = stats.busy_us - busy_before;
    uint64_t commands = dispatch_stats.commands - turn_commands_before;
    busy_before = stats.busy_us;
    if (dispatch_stats.commands < turn_commands_before) commands = 0; /* CONFIG RESETSTAT */
    turn_commands_before = dispatch_stats.commands;
    if (busy > server_state.turn_us_max) server_state.turn_us_max = busy;
    if (commands > server_state.turn_commands_max) server_state.turn_commands_max = commands;
}

/* --- loading --- */

static int start_loading(void) {
    int status = persist_load_begin(PERSIST_LOAD_DELAY, &load);
    if (status == FIRN_ENOTFOUND) return 0;
    if (status != 0) log_warning("Fatal error loading the DB, check server logs. Exiting.");
    dispatch_config.loading = status == 0;
    return status;
}

/* Clients while one key loads long: persist_config.serve. */
static int serve_while_loading(void) {
    loop_poll(server_state.loop);
    clock_update();
    handle_signal();
    dispatch_turn();
    (void)net_turn();
    return server_state.stopping;
}

static void stop_loading(void) {
    persist_load_end(load);
    load = NULL;
    dispatch_config.loading = 0;
}

/* One step of the load; nonzero while there is more. */
static int load_some(void) {
    persist_config.serve = serve_while_loading;
    int status = persist_load_step(load, persist_config.load_step_bytes);
    persist_config.serve = NULL;
    if (status > 0) return 1;
    stop_loading();
    if (status == FIRN_ECLOSED) return 0; /* shut down meanwhile */
    if (status == 0) {
        if (when_ready != NULL) when_ready();
        return 0;
    }
    log_warning("Terminating server after rdb file reading failure.");
    log_warning("Fatal error loading the DB, check server logs. Exiting.");
    server_state.exit_status = 1;
    server_state.stopping = 1;
    loop_stop(server_state.loop);
    return 0;
}

void server_when_ready(void (*ready)(void)) {
    when_ready = ready;
    if (load == NULL) ready();
}

/* A slice of expiry, timed for the latency monitor. */
static int expire_some(int64_t budget_us) {
    int64_t begin_us = clock_monotonic_us();
    int more = db_expire_some(budget_us);
    latency_add("expire-cycle", (clock_monotonic_us() - begin_us) / 1000);
    return more;
}

static int before_sleep(void *ctx) {
    (void)ctx;
    clock_update();
    count_turn();
    handle_signal();
    tier_complete();
    int loading = load != NULL && !server_state.stopping && load_some();
    if (expiry_due) expiry_due = expire_some(TIER_EXPIRE_TURN_US_MAX);
    if (reaping_due) reaping_due = db_reap_some(TIER_TURN_US_MAX);
    if (repacking_due && tier_zone() <= TIER_ZONE_BACKGROUND) repacking_due = db_repack_some();
    dispatch_turn();
    int again = tier_turn();
    again |= net_turn();
    again |= tier_submit(); /* of clients that went on in net_turn */
    uint64_t used = tier_memory_used();
    if (used > server_state.memory_peak) server_state.memory_peak = used;
    return again || loading || blocking_ready > 0 || expiry_due || reaping_due || server_state.stopping;
}

int64_t server_cron_period_ms(void) {
    int64_t period = 1000 / config_number(CONFIG_HZ);
    return period < 1 ? 1 : period;
}

static void housekeeping(void) {
    int idle = dispatch_stats.commands - commands_before < 10;
    commands_before = dispatch_stats.commands;
    sample_rates();
    tier_cron(idle);
    net_cron();
    if (load == NULL && !server_state.stopping) persist_save_if_due();
    dispatch_cron();
}

static int64_t cron(void *ctx) {
    int64_t start = clock_monotonic_us();
    (void)ctx;
    clock_update();
    if (server_state.cron_paused) return server_cron_period_ms();
    expiry_due = load == NULL; /* before_sleep does the work, in slices */
    reaping_due = repacking_due = 1;
    if (start >= housekeeping_due_us) {
        housekeeping_due_us = start + 100000 - 1000;
        housekeeping();
    }
    int64_t spent = clock_monotonic_us() - start;
    server_state.cron_us += (uint64_t)spent;
    return server_cron_period_ms();
}

/* --- shutdown --- */

void server_signal(int signal_number) {
    if (signal_seen && server_state.stopping) _exit(1); /* asked twice */
    signal_seen = signal_number;
    if (server_state.loop != NULL) loop_wake(server_state.loop);
}

/* Whether the server may go as far as saving is concerned. */
static int save_before_exit(unsigned flags) {
    int wanted = (flags & SERVER_SHUTDOWN_SAVE) != 0 ||
                 (persist_config.has_save_points && !(flags & SERVER_SHUTDOWN_NOSAVE));
    if (!wanted || load != NULL) return 1; /* half a data set is none to save */
    log_notice("Saving the final RDB snapshot before exiting.");
    if (persist_save(0) == 0) return 1;
    log_warning("Error trying to save the DB, can't exit.");
    return (flags & SERVER_SHUTDOWN_FORCE) != 0;
}

int server_shutdown(unsigned flags) {
    log_notice("User requested shutdown...");
    if (!save_before_exit(flags)) return FIRN_EINVALID;
    server_state.stopping = 1;
    loop_stop(server_state.loop);
    return 0;
}

/* --- hooks --- */

static int hook_config_set(const struct bytes *pairs, size_t count, int may_protected,
                           struct bytes *culprit_out, char error[SERVER_ERROR_BYTES]) {
    for (size_t i = 0; load != NULL && i < count; i++) {
        int id = config_find(pairs[2 * i]);
        if (id >= 0 && (config_flags((enum config_id)id) & CONFIG_DENY_LOADING)) return FIRN_EBUSY;
    }
    return config_set(pairs, count, may_protected, culprit_out, error);
}
_Static_assert(SERVER_ERROR_BYTES == CONFIG_ERROR_BYTES, "one size of error texts");

static int hook_is_sensitive(struct bytes name) {
    int id = config_find(name);
    return id >= 0 && (config_flags((enum config_id)id) & CONFIG_SENSITIVE) != 0;
}

static int rewrite(int force_all) {
    int status = config_rewrite(force_all);
    if (status == 0)
        log_notice("CONFIG REWRITE executed with success.");
    else if (status != FIRN_ENOTFOUND)
        log_warning("CONFIG REWRITE failed: %m");
    return status;
}
static int hook_rewrite(void) {
    return rewrite(0);
}
static int hook_rewrite_all(void) {
    return rewrite(1);
}

static void hook_numbers(struct server_numbers *numbers_out) {
    numbers_out->memory_peak = server_state.memory_peak;
    numbers_out->memory_startup = server_state.memory_startup;
    numbers_out->last_save_s = persist_status.last_save_s;
    numbers_out->config_file = config_file();
    numbers_out->maxmemory = config_number(CONFIG_MAXMEMORY);
}

static void hook_pause_cron(int paused) {
    server_state.cron_paused = paused;
}

static void random_id(char out[41]) {
    uint8_t bytes[20];
    random_system(bytes, sizeof bytes);
    for (unsigned i = 0; i < sizeof bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void hook_change_replication_id(void) {
    random_id(server_state.replication_id);
}

static void fill_hooks(void) {
    server_hooks = (struct server_hooks){
        .config_get = config_get,
        .config_set = hook_config_set,
        .config_is_sensitive = hook_is_sensitive,
        .config_rewrite = hook_rewrite,
        .config_rewrite_all = hook_rewrite_all,
        .reset_statistics = server_reset_statistics,
        .info = info_append,
        .permitted = settings_permitted,
        .shutdown = server_shutdown,
        .numbers = hook_numbers,
        .pause_cron = hook_pause_cron,
        .change_replication_id = hook_change_replication_id,
    };
}

static const char *refuse(struct client *client) {
    if (!net_config.protected_mode || dispatch_config.requirepass.size > 0 || settings_is_local(client))
        return NULL;
    return "-DENIED Redis is running in protected mode because protected mode is enabled and no password is "
           "set for the default user. "
           "In this mode connections are only accepted from the loopback interface. To connect from another "
           "machine set a password "
           "(CONFIG SET requirepass, or requirepass in the configuration file) or, if the network is "
           "trusted, switch protected mode off "
           "(CONFIG SET protected-mode no from the loopback interface).";
}

/* --- start and stop --- */

static void wake(void *ctx) {
    loop_wake(ctx);
}

static int start_network(void) {
    struct client_hooks hooks = {0};
    dispatch_client_hooks(&hooks);
    hooks.refuse = refuse;
    return net_start(server_state.loop, &hooks);
}

/* The folder that ${path} is to be in, if only that one is missing. What is still missing then, the backend
 * reports. */
static void make_parent(const char *path) {
    char parent[4096];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path || (size_t)(slash - path) >= sizeof parent) return;
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    (void)mkdir(parent, 0755);
}

static int start_tiers(void) {
    struct tier_config config;
    struct tier_keyspace_hooks hooks;
    char message[1024] = "";
    settings_tiers(&config);
    config.pmem_ops = &pmem_ops;
    config.nvme_ops = &rocks_ops;
    config.wake = wake;
    config.wake_ctx = server_state.loop;
    config.wake_fd = loop_wake_descriptor(server_state.loop);
    evict_tier_hooks(&hooks);
    make_parent(config.pmem_path);
    make_parent(config.nvme_path);
    int status = tier_start(&config, &hooks, message, sizeof message);
    if (status != 0) {
        log_warning("%s", message);
        fprintf(stderr, "%s\n", message);
        return status;
    }
    tier_set_full_policy(config_number(CONFIG_TIER_FULL) == 0 ? TIER_FULL_ERROR : TIER_FULL_EVICT);
    tier_set_stress((enum tier_stress)config_number(CONFIG_TIER_STRESS));
    if (tier_enabled() && config.memory_max == 0 && config_number(CONFIG_TIER_STRESS) == 0)
        log_warning(
            "WARNING: tiers are configured but maxmemory is 0: nothing will be moved out of DRAM. Set "
            "maxmemory.");
    return 0;
}

static int start_loop(void) {
    static const enum loop_backend backends[] = {LOOP_AUTO, LOOP_URING, LOOP_EPOLL};
    int status = loop_create(backends[config_number(CONFIG_EVENT_LOOP)], &server_state.loop);
    if (status != 0) {
        log_warning("The event loop '%s' cannot be used here: %s. Set event-loop to auto or epoll.",
                    config_text(CONFIG_EVENT_LOOP), error_text(status));
        return status;
    }
    loop_on_wake(server_state.loop, on_wake, NULL);
    return 0;
}

int server_start(const char *executable) {
    server_state.executable = executable;
    hash_seed_init();
    clock_update();
    server_state.started_us = clock_monotonic_us();
    server_state.started_s = persist_status.last_save_s = clock_wall_ms() / 1000;
    random_id(server_state.run_id);
    random_id(server_state.replication_id);
    fill_hooks();
    settings_apply_all();
    db_init_all((unsigned)config_number(CONFIG_DATABASES));
    int status = start_loop();
    if (status != 0) goto err_0;
    dispatch_start(server_state.loop);
    /* Listen before opening the tiers: a second server on the same port must not get to the files of the
     * first. */
    status = start_network();
    if (status != 0) goto err_1;
    status = start_tiers();
    if (status != 0) goto err_2;
    settings_go_live();
    cron_timer = loop_timer_create(server_state.loop, 1, cron, NULL);
    server_state.memory_startup = tier_memory_used();
    status = start_loading();
    if (status != 0) goto err_3;
    return 0;

err_3:
    loop_timer_destroy(cron_timer);
    tier_stop();
err_2:
    net_stop();
err_1:
    dispatch_stop();
    loop_destroy(server_state.loop);
    server_state.loop = NULL;
err_0:
    db_fini_all();
    return status;
}

void server_run(void) {
    loop_run(server_state.loop, before_sleep, NULL);
}

void server_stop(void) {
    stop_loading();
    net_stop();
    dispatch_stop();
    loop_timer_destroy(cron_timer);
    db_repack_stop();
    db_fini_all();
    while (db_reap_some(1000000)) {
    }
    tier_stop();
    loop_destroy(server_state.loop);
    server_state.loop = NULL;
}
