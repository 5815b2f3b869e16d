/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Getting space back, and knowing how much is used. The reclaimer takes one range at a time and blocks in
 * RocksDB: wholly dead ranges have their files dropped; in others the compaction filter drops the dead while
 * the range is rewritten. The keeper asks the engine for its numbers, so that the executor never takes one of
 * its locks.
 */
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "rocks/rocks_internal.h"

#define KEEPER_PERIOD_MS    100
#define KEEPER_SLOW_TICKS   10 /* expensive numbers once a second */
#define RECLAIMER_PERIOD_MS 100
#define RETRY_MS            5000
#define RATIO_BYTES_MIN     (64u << 20) /* the ratio on the medium is believed from here on */

/* --- how much is used --- */

uint64_t rocks__occupied(struct tier_backend *backend) {
    const struct rocks_known *known = &backend->known;
    uint64_t seen = __atomic_load_n(&known->put_bytes, __ATOMIC_ACQUIRE);
    uint64_t files = __atomic_load_n(&known->sst_bytes, __ATOMIC_RELAXED);
    uint64_t memtables = __atomic_load_n(&known->memtable_bytes, __ATOMIC_RELAXED);
    return files + memtables + __atomic_load_n(&backend->put_bytes, __ATOMIC_RELAXED) - seen;
}

int rocks__is_overfull(struct tier_backend *backend) {
    return rocks__occupied(backend) > backend->bytes_max / 100 * ROCKS_OCCUPIED_PERCENT;
}

/* --- reclaimer --- */

/* Wait until ${period_ms} are over, somebody signals, or the end. The lock is held. */
static void wait_period(struct tier_backend *backend, long period_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += period_ms / 1000;
    until.tv_nsec += period_ms % 1000 * 1000000l;
    if (until.tv_nsec >= 1000000000l) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000l;
    }
    if (!backend->stopping) pthread_cond_timedwait(&backend->changed, &backend->lock, &until);
}

static int reclaim_range(struct tier_backend *backend, const struct rocks_range *range, int sweep) {
    char first[ROCKS_KEY_BYTES], last[ROCKS_KEY_BYTES], *text = NULL;
    rocks__key(range->first, first);
    rocks__key(range->end - 1, last);
    if (range->all_dead && fault_point_fails(FAULT_ROCKS_RECLAIM))
        text = strdup("injected failure");
    else if (range->all_dead)
        rocksdb_delete_file_in_range(backend->db, first, sizeof first, last, sizeof last, &text);
    if (text != NULL) {
        log_warning("NVMe tier: dropping dead files fails: %s", text);
        rocksdb_free(text);
        __atomic_add_fetch(&backend->errors, 1, __ATOMIC_RELAXED);
        return FIRN_EIO;
    }
    if (range->all_dead && !sweep) return 0;
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
    rocksdb_compactoptions_set_bottommost_level_compaction(options,
                                                           3); /* force, but not what this call wrote */
    rocksdb_compact_range_opt(backend->db, options, first, sizeof first, last, sizeof last);
    rocksdb_compactoptions_destroy(options);
    return 0;
}

/* What to do next: 1 with a range, or 0. Ranges that were cleared come first. */
static int reclaim_pick(struct tier_backend *backend, uint64_t cleared_below, struct rocks_range *range_out,
                        int *sweep_out) {
    if (cleared_below != 0) {
        *range_out = (struct rocks_range){0, cleared_below, 0, 1, 0}; /* not counted as stored any more */
        *sweep_out = 1;
        return 1;
    }
    int near_full = rocks__occupied(backend) >= backend->bytes_max - backend->bytes_max / 8;
    int idle = __atomic_load_n(&backend->idle, __ATOMIC_RELAXED);
    *sweep_out = near_full;
    int merge = __atomic_load_n(&backend->known.files, __ATOMIC_RELAXED) > backend->files_max;
    return rocks__live_pick(&backend->live, idle || near_full ? ROCKS_DEAD_PERCENT_IDLE : ROCKS_DEAD_PERCENT,
                            merge, range_out);
}

void *rocks__reclaimer_main(void *ctx) {
    struct tier_backend *backend = ctx;
    rocks__lower_priority(0);
    pthread_mutex_lock(&backend->lock);
    while (!backend->stopping) {
        uint64_t cleared_below = backend->cleared_below;
        struct rocks_range range;
        int sweep, error = 0;
        pthread_mutex_unlock(&backend->lock);
        rocks__live_collect(&backend->live);
        int found = reclaim_pick(backend, cleared_below, &range, &sweep);
        if (found) __atomic_store_n(&backend->reclaiming, range.bytes_dead, __ATOMIC_RELEASE);
        if (found && (error = reclaim_range(backend, &range, sweep)) == 0)
            rocks__live_reclaimed(&backend->live, &range);
        __atomic_store_n(&backend->reclaiming, 0, __ATOMIC_RELEASE);
        pthread_mutex_lock(&backend->lock);
        if (found && error == 0 && backend->cleared_below == cleared_below) backend->cleared_below = 0;
        if (!found || error != 0) wait_period(backend, error != 0 ? RETRY_MS : RECLAIMER_PERIOD_MS);
    }
    pthread_mutex_unlock(&backend->lock);
    return NULL;
}

/* --- keeper --- */

static uint64_t property(struct tier_backend *backend, const char *name) {
    uint64_t value = 0;
    return rocksdb_property_int(backend->db, name, &value) == 0 ? value : 0;
}

/* RocksDB tells what flushes and compactions moved only in prose: "Cumulative compaction: 1.95 GB write,
 * 158.62 MB/s write, 0.00 GB read, ..." */
static void keeper_engine_bytes(struct tier_backend *backend) {
    char *text = rocksdb_property_value(backend->db, "rocksdb.cfstats-no-file-histogram");
    if (text == NULL) return;
    const char *line = strstr(text, "Cumulative compaction: ");
    double write_gib = 0, rate, read_gib = 0;
    if (line != NULL && sscanf(line, "Cumulative compaction: %lf GB write, %lf MB/s write, %lf GB read",
                               &write_gib, &rate, &read_gib) == 3) {
        __atomic_store_n(&backend->known.engine_write_bytes, (uint64_t)(write_gib * 0x1p30),
                         __ATOMIC_RELAXED);
        __atomic_store_n(&backend->known.engine_read_bytes, (uint64_t)(read_gib * 0x1p30), __ATOMIC_RELAXED);
    }
    rocksdb_free(text);
}

static void keeper_files(struct tier_backend *backend) {
    static const char *const names[] = {"rocksdb.num-files-at-level0", "rocksdb.num-files-at-level1"};
    uint64_t files = 0;
    for (unsigned i = 0; i < 2; i++) {
        char *text = rocksdb_property_value(backend->db, names[i]);
        if (text == NULL) continue;
        files += strtoull(text, NULL, 10);
        rocksdb_free(text);
    }
    __atomic_store_n(&backend->known.files, files, __ATOMIC_RELAXED);
}

void rocks__lower_priority(pid_t thread) {
    struct sched_param parameters = {0};
    (void)sched_setscheduler(thread, SCHED_BATCH, &parameters);
    (void)setpriority(PRIO_PROCESS, (id_t)thread, ROCKS_BACKGROUND_NICE);
}

/* The engine starts its threads late and names them. */
static void keeper_lower_priority(void) {
    DIR *folder = opendir("/proc/self/task");
    if (folder == NULL) return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char name[300], comm[32] = "";
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(name, "re");
        if (file == NULL) continue;
        if (fgets(comm, sizeof comm, file) != NULL && strncmp(comm, "rocksdb:", 8) == 0)
            rocks__lower_priority((pid_t)strtoul(entry->d_name, NULL, 10));
        fclose(file);
    }
    closedir(folder);
}

static void keeper_look(struct tier_backend *backend, unsigned tick) {
    struct rocks_known *known = &backend->known;
    uint64_t put_bytes = __atomic_load_n(&backend->put_bytes, __ATOMIC_RELAXED);
    uint64_t memtables = property(backend, "rocksdb.cur-size-all-mem-tables");
    uint64_t files = property(backend, "rocksdb.total-sst-files-size");
    __atomic_store_n(&known->memtable_bytes, memtables, __ATOMIC_RELAXED);
    __atomic_store_n(&known->sst_bytes, files, __ATOMIC_RELAXED);
    __atomic_store_n(&known->put_bytes, put_bytes, __ATOMIC_RELEASE);
    __atomic_store_n(&known->stopped, property(backend, "rocksdb.is-write-stopped"), __ATOMIC_RELAXED);
    if (tick % KEEPER_SLOW_TICKS == 0) {
        rocks__memory_apply(backend);
        backend->keeper_tables_bytes = property(backend, "rocksdb.estimate-table-readers-mem");
        keeper_engine_bytes(backend);
        keeper_files(backend);
        if (tick % (KEEPER_SLOW_TICKS * 10) == KEEPER_SLOW_TICKS) keeper_lower_priority();
    }
    if (backend->own != NULL) rocks__tables_refresh(backend);
    uint64_t memory = memtables + backend->keeper_tables_bytes + ROCKS_ENGINE_BYTES +
                      __atomic_load_n(&backend->tables.memory_known, __ATOMIC_RELAXED) +
                      rocks__reads_memory(backend->own);
    if (backend->cache != NULL) memory += rocksdb_cache_get_usage(backend->cache);
    __atomic_store_n(&known->memory_bytes, memory, __ATOMIC_RELAXED);
}

/* Compression makes room: bytes on the medium per payload byte, pessimistic (memtables count whole; what is
 * just being dropped may be gone from the medium already). */
static void keeper_ratio(struct tier_backend *backend) {
    struct rocks_live_totals totals;
    uint64_t reclaiming = __atomic_load_n(&backend->reclaiming, __ATOMIC_ACQUIRE);
    rocks__live_totals(&backend->live, &totals);
    totals.bytes_stored -= reclaiming < totals.bytes_stored ? reclaiming : totals.bytes_stored;
    uint64_t ratio = 1000;
    if (totals.bytes_stored >= RATIO_BYTES_MIN) {
        uint64_t stored = totals.bytes_stored + totals.records_live * ROCKS_OVERHEAD_BYTES;
        ratio = rocks__occupied(backend) * 1000 / stored + 10;
    }
    __atomic_store_n(&backend->known.ratio_permille, ratio > 1000 ? 1000 : ratio, __ATOMIC_RELAXED);
}

void *rocks__keeper_main(void *ctx) {
    struct tier_backend *backend = ctx;
    rocks__lower_priority(0);
    pthread_mutex_lock(&backend->lock);
    for (unsigned tick = 0; !backend->stopping; tick++) {
        pthread_mutex_unlock(&backend->lock);
        keeper_look(backend, tick);
        keeper_ratio(backend);
        pthread_mutex_lock(&backend->lock);
        wait_period(backend, KEEPER_PERIOD_MS);
    }
    pthread_mutex_unlock(&backend->lock);
    return NULL;
}
