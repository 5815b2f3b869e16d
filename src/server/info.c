/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * INFO. Numbers that several fields need, or that cost a system call, are collected once into struct numbers;
 * then info.def's rows of each section asked for are printed in order, and the list-like sections by their
 * own functions.
 */
#include "server/info.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "cmd/pubsub.h"
#include "cmd/stream_reply.h"
#include "cmd/watch.h"
#include "ds/histogram.h"
#include "ds/rdb_format.h"
#include "keyspace/db.h"
#include "loop/loop.h"
#include "net/net.h"
#include "persist/persist.h"
#include "server/config.h"
#include "server/config_internal.h"
#include "server/server.h"
#include "tiering/tier.h"
#include "types/type.h"

enum section {
    SECTION_SERVER,
    SECTION_CLIENTS,
    SECTION_MEMORY,
    SECTION_PERSISTENCE,
    SECTION_STATS,
    SECTION_REPLICATION,
    SECTION_CPU,
    SECTION_TIERING,
    SECTION_MODULES,
    SECTION_COMMANDSTATS,
    SECTION_ERRORSTATS,
    SECTION_LATENCYSTATS,
    SECTION_CLUSTER,
    SECTION_KEYSPACE,
    SECTION_DEBUG,
    SECTION_COUNT
};

static const struct {
    const char *word, *title;
    int in_default, in_all;
} sections[SECTION_COUNT] = {
    [SECTION_SERVER] = {"server", "Server", 1, 1},
    [SECTION_CLIENTS] = {"clients", "Clients", 1, 1},
    [SECTION_MEMORY] = {"memory", "Memory", 1, 1},
    [SECTION_PERSISTENCE] = {"persistence", "Persistence", 1, 1},
    [SECTION_STATS] = {"stats", "Stats", 1, 1},
    [SECTION_REPLICATION] = {"replication", "Replication", 1, 1},
    [SECTION_CPU] = {"cpu", "CPU", 1, 1},
    [SECTION_TIERING] = {"tiering", "Tiering", 1, 1},
    [SECTION_MODULES] = {"modules", "Modules", 1, 1},
    [SECTION_COMMANDSTATS] = {"commandstats", "Commandstats", 0, 1},
    [SECTION_ERRORSTATS] = {"errorstats", "Errorstats", 1, 1},
    [SECTION_LATENCYSTATS] = {"latencystats", "Latencystats", 0, 1},
    [SECTION_CLUSTER] = {"cluster", "Cluster", 1, 1},
    [SECTION_KEYSPACE] = {"keyspace", "Keyspace", 1, 1},
    [SECTION_DEBUG] = {"debug", "Debug", 0, 0},
};

struct numbers {
    char os[256];
    int64_t uptime_s;
    uint64_t used, rss, peak, overhead, dataset, system_memory, clients_memory;
    uint64_t turns, busy_us, commands_us;
    struct allocator_stats allocator;
    struct tier_totals tiers;
    struct rusage self, children, thread;
};

/* CONFIG RESETSTAT starts the loop's counters anew: they are shown relative to these. */
static struct loop_stats loop_base;

void info_reset(void) {
    loop_stats(server_state.loop, &loop_base);
}

static double info_ratio(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : (double)part / (double)whole;
}

/* --- collecting --- */

static void each_command(void (*visit)(const struct command *command, void *ctx), void *ctx) {
    for (unsigned i = 0; i < command_table_count; i++) {
        visit(&command_table[i], ctx);
        for (unsigned j = 0; j < command_table[i].subcommand_count; j++)
            visit(&command_table[i].subcommands[j], ctx);
    }
}

static void add_time(const struct command *command, void *ctx) {
    *(uint64_t *)ctx += dispatch_command_stats(command)->usec;
}

static void collect_memory(struct numbers *numbers) {
    struct sysinfo system;
    numbers->used = tier_memory_used();
    /* Without mapped files: a PMEM tier is one, and is no memory of ours. */
    numbers->rss = memory_resident_anonymous();
    if (numbers->rss == 0) numbers->rss = memory_resident();
    numbers->peak = server_state.memory_peak > numbers->used ? server_state.memory_peak : numbers->used;
    numbers->clients_memory = net_clients_memory();
    numbers->overhead = server_state.memory_startup + numbers->clients_memory;
    for (unsigned i = 0; i < db_count(); i++)
        numbers->overhead += db_overhead_bytes(db_at(i));
    numbers->dataset = numbers->used > numbers->overhead ? numbers->used - numbers->overhead : 0;
    if (sysinfo(&system) == 0) numbers->system_memory = (uint64_t)system.totalram * system.mem_unit;
    allocator_stats(&numbers->allocator);
}

static void collect(struct numbers *numbers, const int *wanted) {
    struct utsname system;
    struct loop_stats loop;
    memset(numbers, 0, sizeof *numbers);
    if (uname(&system) == 0)
        snprintf(numbers->os, sizeof numbers->os, "%s %s %s", system.sysname, system.release, system.machine);
    numbers->uptime_s = (clock_monotonic_us() - server_state.started_us) / 1000000;
    loop_stats(server_state.loop, &loop);
    numbers->turns = loop.turns - loop_base.turns;
    numbers->busy_us = loop.busy_us - loop_base.busy_us;
    tier_totals(&numbers->tiers);
    if (wanted[SECTION_MEMORY]) collect_memory(numbers);
    if (wanted[SECTION_STATS]) each_command(add_time, &numbers->commands_us);
    getrusage(RUSAGE_SELF, &numbers->self);
    getrusage(RUSAGE_CHILDREN, &numbers->children);
    getrusage(RUSAGE_THREAD, &numbers->thread);
}

/* --- printing values --- */

static void print_U(struct bytes_builder *out, uint64_t value) {
    bytes_builder_format(out, "%" PRIu64, value);
}
static void print_I(struct bytes_builder *out, int64_t value) {
    bytes_builder_format(out, "%" PRId64, value);
}
static void print_T(struct bytes_builder *out, const char *value) {
    bytes_builder_append_text(out, value);
}
static void print_F(struct bytes_builder *out, double value) {
    bytes_builder_format(out, "%.2f", value);
}
static void print_P(struct bytes_builder *out, double value) {
    bytes_builder_format(out, "%.2f%%", value);
}
static void print_S(struct bytes_builder *out, struct timeval value) {
    bytes_builder_format(out, "%ld.%06ld", (long)value.tv_sec, (long)value.tv_usec);
}
static void print_H(struct bytes_builder *out, uint64_t value) {
    static const char units[] = "BKMGTP";
    double shown = (double)value;
    unsigned unit = 0;
    while (shown >= 1024 && unit < 5) {
        shown /= 1024;
        unit++;
    }
    if (unit == 0)
        bytes_builder_format(out, "%" PRIu64 "B", value);
    else
        bytes_builder_format(out, "%.2f%c", shown, units[unit]);
}

static void append_fields(enum section section, const struct numbers *x, struct bytes_builder *out) {
#define INFO(where, field, kind, expression)                                                                 \
    if (section == SECTION_##where) {                                                                        \
        bytes_builder_append_text(out, field ":");                                                           \
        print_##kind(out, expression);                                                                       \
        bytes_builder_append_text(out, "\r\n");                                                              \
    }
#include "server/info.def"
#undef INFO
}

/* --- lists --- */

static void append_listeners(struct bytes_builder *out) {
    unsigned index = 0;
    if (net_config.port != 0) {
        bytes_builder_format(out, "listener%u:name=tcp", index++);
        for (unsigned i = 0; i < net_config.bind_count; i++)
            bytes_builder_format(out, ",bind=%s", net_config.bind[i]);
        bytes_builder_format(out, ",port=%u\r\n", net_config.port);
    }
    if (net_config.unixsocket[0] != '\0')
        bytes_builder_format(out, "listener%u:name=unix,bind=%s\r\n", index, net_config.unixsocket);
}

static void append_latency(struct bytes_builder *out, const char *tier, const char *what,
                           const struct tier_latency *latency) {
    bytes_builder_format(out,
                         "tier_%s_%s_latency_usec:count=%" PRIu64 ",p50=%" PRIu64 ",p99=%" PRIu64
                         ",p999=%" PRIu64 ",max=%" PRIu64 "\r\n",
                         tier, what, latency->count, latency->p50_us, latency->p99_us, latency->p999_us,
                         latency->max_us);
}

static void append_tier(struct bytes_builder *out, const char *name, enum page_tag tag) {
    struct tier_stats stats;
    tier_stats(tag, &stats);
    bytes_builder_format(out,
                         "tier_%s_keys:%" PRIu64 "\r\ntier_%s_pages:%" PRIu64
                         "\r\ntier_%s_bytes_live:%" PRIu64 "\r\ntier_%s_bytes_occupied:%" PRIu64
                         "\r\ntier_%s_bytes_max:%" PRIu64 "\r\ntier_%s_hits:%" PRIu64 "\r\n",
                         name, stats.keys, name, stats.pages, name, stats.bytes_live, name,
                         stats.bytes_occupied, name, stats.bytes_max, name, stats.hits);
    if (tag == PAGE_TAG_DRAM) return;
    const struct {
        const char *field;
        uint64_t value;
    } counters[] = {{"reads", stats.reads},
                    {"read_bytes", stats.read_bytes},
                    {"writes", stats.writes},
                    {"write_bytes", stats.write_bytes},
                    {"clean_drops", stats.clean_drops},
                    {"demotions", stats.demotions},
                    {"promotions", stats.promotions},
                    {"discards", stats.discards},
                    {"cancelled", stats.cancelled},
                    {"device_read_bytes", stats.device_read_bytes},
                    {"device_write_bytes", stats.device_write_bytes},
                    {"errors", stats.errors},
                    {"corruptions", stats.corruptions}};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        bytes_builder_format(out, "tier_%s_%s:%" PRIu64 "\r\n", name, counters[i].field, counters[i].value);
    bytes_builder_format(out, "tier_%s_write_amplification:%.2f\r\n", name,
                         info_ratio(stats.device_write_bytes, stats.write_bytes));
    append_latency(out, name, "read", &stats.read_latency);
    append_latency(out, name, "write", &stats.write_latency);
}

static void append_tiering(struct bytes_builder *out, const struct tier_totals *totals) {
    bytes_builder_format(
        out, "tiering_enabled:%d\r\ntier_pmem_enabled:%d\r\ntier_nvme_enabled:%d\r\ntier_zone:%s\r\n",
        tier_enabled(), tier_has(PAGE_TAG_PMEM), tier_has(PAGE_TAG_NVME), tier_zone_name(totals->zone));
    const struct {
        const char *field;
        uint64_t value;
    } counters[] = {{"tier_memory_used", totals->memory_used},
                    {"tier_memory_target", totals->memory_target},
                    {"tier_memory_high", totals->memory_high},
                    {"tier_memory_max", totals->memory_max},
                    {"tier_backend_memory", totals->backend_memory},
                    {"tier_read_buffer_bytes", totals->read_buffer_bytes},
                    {"tier_faults", totals->faults},
                    {"tier_sync_faults", totals->sync_faults},
                    {"tier_parked_readers", totals->parked_readers},
                    {"tier_parked_writers", totals->parked_writers},
                    {"tier_reads_in_flight", totals->reads_in_flight},
                    {"tier_write_bytes_in_flight", totals->write_bytes_in_flight},
                    {"tier_delayed_writers_total", totals->delayed_writers_total},
                    {"tier_parked_writers_total", totals->parked_writers_total},
                    {"tier_refused_writers_total", totals->refused_writers_total}};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        bytes_builder_format(out, "%s:%" PRIu64 "\r\n", counters[i].field, counters[i].value);
    append_tier(out, "dram", PAGE_TAG_DRAM);
    if (tier_has(PAGE_TAG_PMEM)) append_tier(out, "pmem", PAGE_TAG_PMEM);
    if (tier_has(PAGE_TAG_NVME)) append_tier(out, "nvme", PAGE_TAG_NVME);
}

/* How far the load is; lines that are there only while one goes on. */
static void append_loading(struct bytes_builder *out) {
    const struct persist_status *status = &persist_status;
    if (!status->loading) return;
    int64_t elapsed = clock_wall_ms() / 1000 - status->loading_start_s, eta = 1;
    uint64_t left = status->loading_total_bytes - status->loading_done_bytes;
    if (status->loading_done_bytes > 0)
        eta = (int64_t)((double)elapsed * (double)left / (double)status->loading_done_bytes);
    bytes_builder_format(out,
                         "loading_start_time:%" PRId64 "\r\nloading_total_bytes:%" PRIu64
                         "\r\nloading_rdb_used_mem:%" PRIu64 "\r\nloading_loaded_bytes:%" PRIu64
                         "\r\nloading_loaded_perc:%.2f\r\nloading_eta_seconds:%" PRId64 "\r\n",
                         status->loading_start_s, status->loading_total_bytes, status->loading_used_memory,
                         status->loading_done_bytes,
                         100.0 * info_ratio(status->loading_done_bytes, status->loading_total_bytes), eta);
}

static void append_command(const struct command *command, void *ctx) {
    const struct dispatch_command_stats *stats = dispatch_command_stats(command);
    if (stats->calls == 0 && stats->rejected == 0 && stats->failed == 0) return;
    bytes_builder_format(ctx,
                         "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
                         ",usec_per_call=%.2f,rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64 "\r\n",
                         command->name, stats->calls, stats->usec, info_ratio(stats->usec, stats->calls),
                         stats->rejected, stats->failed);
}

static void append_error(const char *code, uint64_t count, void *ctx) {
    bytes_builder_format(ctx, "errorstat_%s:count=%" PRIu64 "\r\n", code, count);
}

static void append_percentiles(const struct command *command, void *ctx) {
    const struct dispatch_command_stats *stats = dispatch_command_stats(command);
    struct config_words words;
    if (stats->histogram == NULL ||
        config__split(bytes_of_text(config_text(CONFIG_LATENCY_TRACKING_INFO_PERCENTILES)), &words) != 0)
        return;
    bytes_builder_format(ctx, "latency_percentiles_usec_%s:", command->name);
    for (size_t i = 0; i < words.count; i++) {
        char text[64];
        double percentile;
        snprintf(text, sizeof text, "%.*s", (int)words.words[i].size, (const char *)words.words[i].data);
        if (sscanf(text, "%lf", &percentile) != 1) continue;
        bytes_builder_format(ctx, "%sp%s=%.3f", i == 0 ? "" : ",", text,
                             (double)histogram_percentile(stats->histogram, percentile) / 1000.0);
    }
    bytes_builder_append_text(ctx, "\r\n");
    config__words_fini(&words);
}

static void append_keyspace(struct bytes_builder *out) {
    for (unsigned i = 0; i < db_count(); i++) {
        const struct db *db = db_at(i);
        if (db_size(db) == 0) continue;
        bytes_builder_format(
            out, "db%u:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRId64 ",subexpiry=%" PRIu64 "\r\n", i,
            db_size(db), db_expires_count(db), db_average_ttl_ms(db), db_field_expires_count(db));
    }
}

static void append_section(enum section section, const struct numbers *numbers, struct bytes_builder *out) {
    bytes_builder_format(out, "%s# %s\r\n", out->size > 0 ? "\r\n" : "", sections[section].title);
    append_fields(section, numbers, out);
    switch (section) {
    case SECTION_SERVER: append_listeners(out); break;
    case SECTION_PERSISTENCE: append_loading(out); break;
    case SECTION_TIERING: append_tiering(out, &numbers->tiers); break;
    case SECTION_COMMANDSTATS: each_command(append_command, out); break;
    case SECTION_ERRORSTATS: dispatch_each_error(append_error, out); break;
    case SECTION_LATENCYSTATS: each_command(append_percentiles, out); break;
    case SECTION_KEYSPACE: append_keyspace(out); break;
    default: break;
    }
}

static void choose(struct bytes word, int *wanted) {
    int defaults = bytes_is(word, "default"), all = bytes_is(word, "all") || bytes_is(word, "everything");
    for (int section = 0; section < SECTION_COUNT; section++)
        if (bytes_is(word, sections[section].word) || (defaults && sections[section].in_default) ||
            (all && sections[section].in_all))
            wanted[section] = 1;
}

void info_append(const struct bytes *words, size_t count, struct bytes_builder *out) {
    struct numbers numbers;
    int wanted[SECTION_COUNT] = {0};
    if (count == 0) choose(bytes_of_text("default"), wanted);
    for (size_t i = 0; i < count; i++)
        choose(words[i], wanted);
    collect(&numbers, wanted);
    for (int section = 0; section < SECTION_COUNT; section++)
        if (wanted[section]) append_section((enum section)section, &numbers, out);
}
