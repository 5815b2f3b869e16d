/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PMEM backend's operations as the tier manager sees them.
 *
 * PUTs and GETs are done by one worker, several batches with one drain; map and read look at the medium in
 * place on the executor. A flight is a record with operations between submit and completion: if it dies
 * meanwhile, its slot is given back when the last of them is done.
 */
#include "pmem/pmem.h"

#include <signal.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "ds/int_map.h"
#include "pmem/pmem_internal.h"

#define RECORD_MAGIC       0x4d50524du
#define WORKER_STACK_BYTES (256u << 10)

struct record_header {
    uint32_t magic, bytes;
    uint64_t checksum;
};
_Static_assert(sizeof(struct record_header) == PMEM_HEADER_BYTES, "see the layout");

/* A record with operations in flight. */
struct pmem_flight {
    struct pmem_flight *next_free;
    uint32_t users;
    uint32_t bytes; /* payload */
    int putting;    /* not readable yet */
    int dead;
};

struct pmem_batch {
    unsigned count;
    struct tier_operation *operations[];
};

struct tier_backend {
    struct pmem_medium medium;
    struct tier_sink sink;
    struct ring *queue;
    pthread_t worker;
    pthread_mutex_t lock; /* of the next four lines */
    struct pmem_space space;
    struct int_map flights; /* address -> struct pmem_flight */
    struct pmem_flight *free_flights;
    uint64_t dead_records, dead_bytes; /* flights that died: in the space, but not live */
    uint64_t write_bytes, errors;      /* atomic */
};

/* --- flights; the lock is held --- */

static struct pmem_flight *flight_find(const struct tier_backend *backend, uint64_t address) {
    return int_map_count(&backend->flights) == 0 ? NULL : int_map_get(&backend->flights, address);
}

static void flight_begin(struct tier_backend *backend, const struct tier_operation *operation,
                         uint32_t bytes) {
    struct pmem_flight *flight = flight_find(backend, operation->address);
    if (flight == NULL) {
        flight = backend->free_flights;
        if (flight != NULL)
            backend->free_flights = flight->next_free;
        else
            flight = memory_alloc(sizeof *flight);
        memset(flight, 0, sizeof *flight);
        flight->bytes = bytes;
        int_map_put(&backend->flights, operation->address, flight);
    }
    flight->users++;
    if (operation->kind == TIER_PUT) flight->putting = 1;
}

static void flight_end(struct tier_backend *backend, const struct tier_operation *operation) {
    struct pmem_flight *flight = flight_find(backend, operation->address);
    FIRN_ASSERT(flight != NULL && flight->users > 0);
    if (operation->kind == TIER_PUT) flight->putting = 0;
    if (--flight->users > 0) return;
    if (flight->dead) {
        backend->dead_records--;
        backend->dead_bytes -= flight->bytes;
        pmem__space_give(&backend->space, operation->address * PMEM_UNIT_BYTES);
    }
    int_map_remove(&backend->flights, operation->address);
    flight->next_free = backend->free_flights;
    backend->free_flights = flight;
}

/* The record dies while operations use it. */
static void flight_kill(struct tier_backend *backend, struct pmem_flight *flight) {
    flight->dead = 1;
    backend->dead_records++;
    backend->dead_bytes += flight->bytes;
}

/* Whether ${address} is a record that lives; its payload size. */
static int record_find(const struct tier_backend *backend, uint64_t address, uint32_t *bytes_out) {
    *bytes_out = 0;
    if (address > backend->medium.bytes / PMEM_UNIT_BYTES) return 0;
    if (!pmem__space_find(&backend->space, address * PMEM_UNIT_BYTES, bytes_out)) return 0;
    const struct pmem_flight *flight = flight_find(backend, address);
    return flight == NULL || !flight->dead;
}

/* --- records on the medium --- */

static void record_write(struct tier_backend *backend, const struct tier_operation *operation) {
    struct record_header header = {RECORD_MAGIC, operation->bytes, 0};
    uint64_t offset = operation->address * PMEM_UNIT_BYTES;
    header.checksum = hash_checksum(bytes_of(operation->data, operation->bytes), operation->address);
    pmem__medium_write(&backend->medium, offset + PMEM_HEADER_BYTES, operation->data, operation->bytes);
    pmem__medium_write(&backend->medium, offset, &header, sizeof header);
    __atomic_add_fetch(&backend->write_bytes, operation->bytes + PMEM_HEADER_BYTES, __ATOMIC_RELAXED);
}

/* The payload in place; ${bytes} is what DRAM knows. */
static int record_verify(struct tier_backend *backend, uint64_t address, uint32_t bytes,
                         struct bytes *payload_out) {
    struct record_header header;
    const uint8_t *place = backend->medium.base + address * PMEM_UNIT_BYTES;
    FIRN_ASSERT(address * PMEM_UNIT_BYTES + PMEM_HEADER_BYTES + bytes <= backend->medium.bytes);
    memcpy(&header, place, sizeof header);
    *payload_out = bytes_of(place + PMEM_HEADER_BYTES, bytes);
    if (header.magic == RECORD_MAGIC && header.bytes == bytes &&
        hash_checksum(*payload_out, address) == header.checksum && !fault_point_fails(FAULT_PMEM_CHECKSUM))
        return 0;
    __atomic_add_fetch(&backend->errors, 1, __ATOMIC_RELAXED);
    log_warning("PMEM tier: the record of %u bytes at offset %llu does not verify", bytes,
                (unsigned long long)(address * PMEM_UNIT_BYTES));
    *payload_out = bytes_of(NULL, 0);
    return FIRN_ECORRUPT;
}

static int record_read(struct tier_backend *backend, uint64_t address, struct page **page_out) {
    struct bytes payload;
    uint32_t bytes;
    *page_out = NULL;
    pthread_mutex_lock(&backend->lock);
    int found = record_find(backend, address, &bytes);
    const struct pmem_flight *flight = flight_find(backend, address);
    if (flight != NULL && flight->putting) found = 0;
    pthread_mutex_unlock(&backend->lock);
    if (!found) return FIRN_ENOTFOUND;
    int error = record_verify(backend, address, bytes, &payload);
    if (error != 0) return error;
    struct page *page = page_try_create(payload.size);
    if (page == NULL) return FIRN_ENOMEM;
    memcpy(page->data, payload.data, payload.size);
    page->bytes = bytes;
    *page_out = page;
    return 0;
}

/* --- worker --- */

static void worker_do(struct tier_backend *backend, struct tier_operation *operation) {
    operation->page = NULL;
    operation->status = 0;
    if (operation->kind == TIER_PUT)
        record_write(backend, operation);
    else
        operation->status = record_read(backend, operation->address, &operation->page);
}

static void worker_complete(struct tier_backend *backend, struct pmem_batch **batches, size_t batch_count) {
    pthread_mutex_lock(&backend->lock);
    for (size_t i = 0; i < batch_count; i++)
        for (unsigned k = 0; k < batches[i]->count; k++)
            flight_end(backend, batches[i]->operations[k]);
    pthread_mutex_unlock(&backend->lock);
    int wake = 0;
    int64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < batch_count; i++) {
        for (unsigned k = 0; k < batches[i]->count; k++) {
            int was_empty = 0;
            batches[i]->operations[k]->completed_us = now_us;
            int error = ring_push(backend->sink.completions, batches[i]->operations[k], &was_empty);
            FIRN_ASSERT(error == 0); /* the ring holds all operations in flight */
            wake |= was_empty;
        }
        memory_free(batches[i]);
    }
    if (wake) backend->sink.wake(backend->sink.ctx);
}

static void *worker_main(void *ctx) {
    struct tier_backend *backend = ctx;
    void *taken[PMEM_TAKE_BATCHES];
    struct pmem_batch *batches[PMEM_TAKE_BATCHES];
    size_t count;
    while ((count = ring_pop_wait(backend->queue, taken, PMEM_TAKE_BATCHES)) > 0) {
        for (size_t i = 0; i < count; i++) {
            batches[i] = taken[i];
            for (unsigned k = 0; k < batches[i]->count; k++)
                worker_do(backend, batches[i]->operations[k]);
        }
        pmem__medium_drain(&backend->medium);
        worker_complete(backend, batches, count);
    }
    return NULL;
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

static int worker_start(struct tier_backend *backend) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
    sigset_t signals;
    signals_block(&signals);
    int error = pthread_create(&backend->worker, &attributes, worker_main, backend);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    pthread_attr_destroy(&attributes);
    if (error != 0) return FIRN_ESYSTEM;
    pthread_setname_np(backend->worker, "pmem");
    return 0;
}

/* --- operations --- */

static int pmem_open(const struct tier_backend_config *config, struct tier_backend **backend_out,
                     char *message, size_t message_bytes) {
    *backend_out = NULL;
    if (config->path == NULL || config->path[0] == '\0' || config->bytes_max < PMEM_BYTES_MIN) {
        snprintf(message, message_bytes, "PMEM tier: needs a file or device, and a size of 1 MB or more");
        return FIRN_EINVALID;
    }
    struct tier_backend *backend = memory_alloc_zero(sizeof *backend);
    uint64_t bytes = config->bytes_max / PMEM_DATA_OFFSET * PMEM_DATA_OFFSET;
    int error = pmem__medium_open(&backend->medium, config->path, bytes, message, message_bytes);
    if (error != 0) {
        memory_free(backend);
        return error;
    }
    backend->sink = config->sink;
    backend->queue = ring_create(PMEM_QUEUE_BATCHES);
    pthread_mutex_init(&backend->lock, NULL);
    pmem__space_init(&backend->space, bytes - PMEM_DATA_OFFSET);
    error = worker_start(backend);
    if (error != 0) {
        snprintf(message, message_bytes, "PMEM tier: no thread can be started, raise the limit of processes");
        pmem__space_fini(&backend->space);
        ring_destroy(backend->queue);
        pthread_mutex_destroy(&backend->lock);
        pmem__medium_close(&backend->medium);
        memory_free(backend);
        return error;
    }
    *backend_out = backend;
    return 0;
}

static void pmem_close(struct tier_backend *backend) {
    ring_close(backend->queue);
    pthread_join(backend->worker, NULL);
    FIRN_ASSERT(int_map_count(&backend->flights) == 0);
    ring_destroy(backend->queue);
    while (backend->free_flights != NULL) {
        struct pmem_flight *flight = backend->free_flights;
        backend->free_flights = flight->next_free;
        memory_free(flight);
    }
    int_map_fini(&backend->flights);
    pmem__space_fini(&backend->space);
    pthread_mutex_destroy(&backend->lock);
    pmem__medium_close(&backend->medium);
    memory_free(backend);
}

static int pmem_reserve(struct tier_backend *backend, uint32_t bytes, uint64_t *address_out) {
    uint64_t offset = 0;
    *address_out = 0;
    if (bytes > PAGE_BYTES_MAX) return FIRN_ETOOBIG;
    if (fault_point_fails(FAULT_PMEM_RESERVE)) return FIRN_ENOSPACE;
    pthread_mutex_lock(&backend->lock);
    int error = pmem__space_take(&backend->space, bytes, &offset);
    pthread_mutex_unlock(&backend->lock);
    if (error == 0) *address_out = offset / PMEM_UNIT_BYTES;
    return error;
}

static int pmem_submit(struct tier_backend *backend, struct tier_operation **operations, unsigned count) {
    FIRN_ASSERT(count > 0 && count <= TIER_BATCH_OPERATIONS_MAX);
    if (ring_count(backend->queue) >= PMEM_QUEUE_BATCHES) return FIRN_EAGAIN;
    struct pmem_batch *batch = memory_alloc(sizeof *batch + count * sizeof(struct tier_operation *));
    batch->count = count;
    pthread_mutex_lock(&backend->lock);
    for (unsigned i = 0; i < count; i++) {
        uint32_t bytes;
        int found = record_find(backend, operations[i]->address, &bytes);
        FIRN_ASSERT(operations[i]->kind == TIER_GET || (found && bytes == operations[i]->bytes));
        flight_begin(backend, operations[i], bytes);
        batch->operations[i] = operations[i];
    }
    pthread_mutex_unlock(&backend->lock);
    int error = ring_push(backend->queue, batch, NULL); /* the executor is the only producer: there is room */
    FIRN_ASSERT(error == 0);
    return 0;
}

static void pmem_discard(struct tier_backend *backend, uint64_t address) {
    uint32_t bytes;
    pthread_mutex_lock(&backend->lock);
    if (record_find(backend, address, &bytes)) {
        struct pmem_flight *flight = flight_find(backend, address);
        if (flight != NULL)
            flight_kill(backend, flight);
        else
            pmem__space_give(&backend->space, address * PMEM_UNIT_BYTES);
    }
    pthread_mutex_unlock(&backend->lock);
}

static int pmem_map(struct tier_backend *backend, uint64_t address, struct bytes *payload_out) {
    uint32_t bytes;
    *payload_out = bytes_of(NULL, 0);
    pthread_mutex_lock(&backend->lock);
    int found = record_find(backend, address, &bytes);
    pthread_mutex_unlock(&backend->lock);
    return found ? record_verify(backend, address, bytes, payload_out) : FIRN_ECORRUPT;
}

static uint32_t pmem_bytes(struct tier_backend *backend, uint64_t address) {
    uint32_t bytes;
    pthread_mutex_lock(&backend->lock);
    int found = record_find(backend, address, &bytes);
    pthread_mutex_unlock(&backend->lock);
    return found ? bytes : 0;
}

static void pmem_stats(struct tier_backend *backend, struct tier_backend_stats *stats_out) {
    pthread_mutex_lock(&backend->lock);
    *stats_out = (struct tier_backend_stats){
        .records_live = backend->space.records - backend->dead_records,
        .bytes_live = backend->space.payload_bytes - backend->dead_bytes,
        .bytes_occupied = backend->space.slot_bytes,
        .bytes_max = backend->medium.bytes,
    };
    pthread_mutex_unlock(&backend->lock);
    stats_out->device_write_bytes = __atomic_load_n(&backend->write_bytes, __ATOMIC_RELAXED);
    stats_out->errors = __atomic_load_n(&backend->errors, __ATOMIC_RELAXED);
}

static void pmem_cron(struct tier_backend *backend, int idle) {
    (void)idle;
#ifdef FIRN_DEBUG_ASSERTS
    pthread_mutex_lock(&backend->lock);
    pmem__space_check(&backend->space);
    pthread_mutex_unlock(&backend->lock);
#else
    (void)backend; /* space is reused at once */
#endif
}

/* Give back everything but what operations in flight use: that goes when they complete. */
static void pmem_clear(struct tier_backend *backend) {
    pthread_mutex_lock(&backend->lock);
    uint64_t *keep = memory_alloc((int_map_count(&backend->flights) + 1) * sizeof *keep);
    uint64_t address;
    size_t keep_count = 0, cursor = 0;
    for (struct pmem_flight *flight; (flight = int_map_next(&backend->flights, &cursor, &address)) != NULL;) {
        uint32_t bytes;
        if (address > backend->medium.bytes / PMEM_UNIT_BYTES) continue; /* GET of nothing */
        if (!pmem__space_find(&backend->space, address * PMEM_UNIT_BYTES, &bytes)) continue;
        if (!flight->dead) flight_kill(backend, flight);
        keep[keep_count++] = address * PMEM_UNIT_BYTES;
    }
    pmem__space_clear(&backend->space, keep, keep_count);
    pthread_mutex_unlock(&backend->lock);
    memory_free(keep);
}

const struct tier_backend_ops pmem_ops = {
    .name = "pmem",
    .tag = PAGE_TAG_PMEM,
    .open = pmem_open,
    .close = pmem_close,
    .reserve = pmem_reserve,
    .submit = pmem_submit,
    .read = record_read,
    .discard = pmem_discard,
    .map = pmem_map,
    .bytes = pmem_bytes,
    .stats = pmem_stats,
    .cron = pmem_cron,
    .clear = pmem_clear,
};
