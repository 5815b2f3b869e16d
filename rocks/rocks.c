/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe backend's operations as the tier manager sees them. Executor, but for what rocks_internal.h gives
 * to threads.
 *
 * Full: reserve refuses when the live payload, with overhead and as compressed so far, reaches bytes_max.
 * When dead space makes it 1.3 times that, the writer waits for the reclaimer.
 */
#include "rocks/rocks.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/memory.h"
#include "rocks/rocks_internal.h"

static char *text_join(const char *a, const char *b) {
    size_t bytes = strlen(a) + strlen(b) + 1;
    char *joined = memory_alloc(bytes);
    snprintf(joined, bytes, "%s%s", a, b);
    return joined;
}

static int thread_start(pthread_t *thread_out, void *(*run)(void *), struct tier_backend *backend,
                        const char *name) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, ROCKS_STACK_BYTES);
    int error = fault_point_fails(FAULT_ROCKS_THREAD) ? EAGAIN
                                                      : pthread_create(thread_out, &attributes, run, backend);
    pthread_attr_destroy(&attributes);
    if (error != 0) return FIRN_ESYSTEM;
    pthread_setname_np(*thread_out, name);
    return 0;
}

/* How many of the threads run, for an orderly end of a start that failed. */
struct threads_started {
    int writer, reclaimer, keeper;
    unsigned readers;
};

static int threads_start(struct tier_backend *backend, struct threads_started *started) {
    memset(started, 0, sizeof *started);
    started->writer = thread_start(&backend->writer, rocks__writer_main, backend, "nvme-write") == 0;
    started->reclaimer =
        thread_start(&backend->reclaimer, rocks__reclaimer_main, backend, "nvme-reclaim") == 0;
    started->keeper = thread_start(&backend->keeper, rocks__keeper_main, backend, "nvme-keep") == 0;
    while (started->readers < backend->reader_count &&
           thread_start(&backend->readers[started->readers], rocks__reader_main, backend, "nvme-read") == 0)
        started->readers++;
    return started->writer && started->reclaimer && started->keeper &&
                   started->readers == backend->reader_count
               ? 0
               : FIRN_ESYSTEM;
}

static void threads_stop(struct tier_backend *backend, const struct threads_started *started) {
    pthread_mutex_lock(&backend->lock);
    __atomic_store_n(&backend->stopping, 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&backend->changed);
    pthread_mutex_unlock(&backend->lock);
    rocks__queue_close(&backend->reads);
    rocks__queue_close(&backend->writes);
    for (unsigned i = 0; i < started->readers; i++)
        pthread_join(backend->readers[i], NULL);
    if (started->writer) pthread_join(backend->writer, NULL);
    rocksdb_disable_manual_compaction(backend->db); /* a running one gives up */
    if (started->reclaimer) pthread_join(backend->reclaimer, NULL);
    if (started->keeper) pthread_join(backend->keeper, NULL);
}

static void backend_free(struct tier_backend *backend) {
    rocks__reads_destroy(backend->own);
    rocks__tables_fini(&backend->tables);
    rocks__close_database(backend);
    rocks__live_fini(&backend->live);
    rocks__queue_fini(&backend->reads);
    rocks__queue_fini(&backend->writes);
    pthread_cond_destroy(&backend->changed);
    pthread_mutex_destroy(&backend->lock);
    memory_free(backend->path);
    memory_free(backend->db_path);
    memory_free(backend);
}

static void rocks_set_memory_max(struct tier_backend *backend, uint64_t bytes) {
    backend->record_bytes_max = rocks__memory_record_max(bytes);
    __atomic_store_n(&backend->memory_wanted, bytes, __ATOMIC_RELAXED);
}

static struct tier_backend *backend_create(const struct tier_backend_config *config) {
    struct tier_backend *backend = memory_alloc_zero(sizeof *backend);
    backend->path = text_join(config->path, "");
    backend->db_path = text_join(config->path, "/db");
    backend->sink = config->sink;
    backend->bytes_max = config->bytes_max;
    rocks_set_memory_max(backend, config->memory_max);
    backend->reader_count = config->threads == 0 ? ROCKS_THREADS_DEFAULT : config->threads;
    if (backend->reader_count > ROCKS_THREADS_MAX) backend->reader_count = ROCKS_THREADS_MAX;
    backend->known.ratio_permille = 1000;
    pthread_mutex_init(&backend->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&backend->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    rocks__queue_init(&backend->reads, backend->reader_count);
    rocks__queue_init(&backend->writes, 1);
    rocks__tables_init(&backend->tables);
    return backend;
}

/* Signals are for the executor's thread: block all in threads made from now on but those of crashes. */
static void signals_block(sigset_t *old_out) {
    sigset_t all;
    sigfillset(&all);
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    for (unsigned i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        sigdelset(&all, crashes[i]);
    pthread_sigmask(SIG_SETMASK, &all, old_out);
}

static int rocks_open(const struct tier_backend_config *config, struct tier_backend **backend_out,
                      char *message, size_t message_bytes) {
    *backend_out = NULL;
    if (config->path == NULL || config->path[0] == '\0' || strlen(config->path) > PATH_MAX - 64 ||
        config->bytes_max == 0) {
        snprintf(message, message_bytes, "NVMe tier: needs a folder and a size above 0");
        return FIRN_EINVALID;
    }
    struct tier_backend *backend = backend_create(config);
    uint64_t chunk_bytes = config->bytes_max / 32;
    if (chunk_bytes > ROCKS_CHUNK_BYTES_GOOD) chunk_bytes = ROCKS_CHUNK_BYTES_GOOD;
    if (chunk_bytes < ROCKS_CHUNK_BYTES_MIN) chunk_bytes = ROCKS_CHUNK_BYTES_MIN;
    if (chunk_bytes < config->bytes_max / 1024) chunk_bytes = config->bytes_max / 1024;
    if (chunk_bytes > ROCKS_CHUNK_BYTES_MAX) chunk_bytes = ROCKS_CHUNK_BYTES_MAX;
    sigset_t signals;
    signals_block(&signals); /* RocksDB's threads, too: it starts them from ours */
    int error = rocks__live_init(&backend->live, chunk_bytes);
    if (error != 0) snprintf(message, message_bytes, "NVMe tier: no memory for its map of live records");
    if (error == 0) error = rocks__open_database(backend, message, message_bytes);
    struct threads_started started;
    if (error == 0 && (error = threads_start(backend, &started)) != 0) {
        threads_stop(backend, &started);
        snprintf(message, message_bytes,
                 "NVMe tier: no threads can be started, raise the limit of processes");
    }
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    if (error != 0) {
        backend_free(backend);
        return error;
    }
    *backend_out = backend;
    return 0;
}

static void rocks_close(struct tier_backend *backend) {
    struct threads_started all = {1, 1, 1, backend->reader_count};
    rocks__reads_drain(backend);
    threads_stop(backend, &all);
    backend_free(backend);
}

static int rocks_reserve(struct tier_backend *backend, uint32_t bytes, uint64_t *address_out) {
    *address_out = 0;
    if (bytes > backend->record_bytes_max) return FIRN_ETOOBIG;
    struct rocks_live_totals totals;
    rocks__live_totals(&backend->live, &totals);
    uint64_t payload = totals.bytes_live + bytes + (totals.records_live + 1) * ROCKS_OVERHEAD_BYTES;
    uint64_t ratio = __atomic_load_n(&backend->known.ratio_permille, __ATOMIC_RELAXED);
    if (payload * ratio / 1000 > backend->bytes_max) return FIRN_ENOSPACE;
    return rocks__live_add(&backend->live, bytes, address_out);
}

static int rocks_submit(struct tier_backend *backend, struct tier_operation **operations, unsigned count) {
    FIRN_ASSERT(count <= TIER_BATCH_OPERATIONS_MAX);
    struct tier_operation *reads[TIER_BATCH_OPERATIONS_MAX], *writes[TIER_BATCH_OPERATIONS_MAX];
    unsigned read_count = 0, write_count = 0;
    for (unsigned i = 0; i < count; i++) {
        operations[i]->page = NULL;
        if (operations[i]->kind == TIER_GET)
            reads[read_count++] = operations[i];
        else
            writes[write_count++] = operations[i];
    }
    size_t read_room =
        rocks__reads_outstanding(backend->own) + read_count; /* they may all come to the engine */
    if (read_count > 0 && rocks__queue_room(&backend->reads) < read_room) return FIRN_EAGAIN;
    if (write_count > 0 && rocks__queue_room(&backend->writes) < write_count) return FIRN_EAGAIN;
    if (read_count > 0 && backend->own != NULL)
        read_count = (unsigned)rocks__reads_submit(backend, reads, read_count);
    if (read_count > 0) rocks__queue_push(&backend->reads, reads, read_count);
    if (write_count > 0) rocks__queue_push(&backend->writes, writes, write_count);
    return 0;
}

static void rocks_discard(struct tier_backend *backend, uint64_t address) {
    rocks__live_kill(&backend->live, address, 0);
}

static uint32_t rocks_bytes(struct tier_backend *backend, uint64_t address) {
    (void)backend, (void)address; /* sizes are not kept in DRAM */
    return 0;
}

static void rocks_stats(struct tier_backend *backend, struct tier_backend_stats *stats_out) {
    struct rocks_live_totals totals;
    rocks__live_totals(&backend->live, &totals);
    const struct rocks_known *known = &backend->known;
    uint64_t occupied = rocks__occupied(backend);
    uint64_t written = __atomic_load_n(&known->engine_write_bytes, __ATOMIC_RELAXED);
    uint64_t files = __atomic_load_n(&known->sst_bytes, __ATOMIC_RELAXED);
    *stats_out = (struct tier_backend_stats){
        .records_live = totals.records_live,
        .bytes_live = totals.bytes_live,
        .bytes_occupied = occupied,
        .bytes_max = backend->bytes_max,
        .device_read_bytes = __atomic_load_n(&backend->read_bytes, __ATOMIC_RELAXED) +
                             __atomic_load_n(&known->engine_read_bytes, __ATOMIC_RELAXED),
        .device_write_bytes = written > files ? written : files,
        .memory_bytes = __atomic_load_n(&known->memory_bytes, __ATOMIC_RELAXED),
        .errors = __atomic_load_n(&backend->errors, __ATOMIC_RELAXED),
        .stalled = __atomic_load_n(&backend->stalled, __ATOMIC_RELAXED) |
                   __atomic_load_n(&known->stopped, __ATOMIC_RELAXED),
    };
}

static void rocks_cron(struct tier_backend *backend, int idle) {
    __atomic_store_n(&backend->idle, idle, __ATOMIC_RELAXED); /* the reclaimer works by itself */
}

static void rocks_clear(struct tier_backend *backend) {
    uint64_t below = rocks__live_clear(&backend->live);
    pthread_mutex_lock(&backend->lock);
    backend->cleared_below = below;
    pthread_cond_broadcast(&backend->changed);
    pthread_mutex_unlock(&backend->lock);
}

const struct tier_backend_ops rocks_ops = {
    .name = "nvme",
    .tag = PAGE_TAG_NVME,
    .open = rocks_open,
    .close = rocks_close,
    .reserve = rocks_reserve,
    .submit = rocks_submit,
    .collect = rocks__reads_collect,
    .read = rocks__read,
    .discard = rocks_discard,
    .map = NULL,
    .bytes = rocks_bytes,
    .stats = rocks_stats,
    .cron = rocks_cron,
    .clear = rocks_clear,
    .set_memory_max = rocks_set_memory_max,
};
