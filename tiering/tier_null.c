/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null backend: a complete tier whose medium is memory. The one to copy when writing another, and the
 * one the manager's tests run on.
 *
 * Payloads live in one shared anonymous mapping (the medium): it is neither in memory_used() nor in the
 * process's anonymous memory, as a file would not be, so tests of memory limits mean something. Space is
 * handed out in powers of two of 64 bytes and reused; the tier is full when the payloads reserved exceed
 * bytes_max. What is known of a record (place, size, checksum) is in DRAM.
 *
 * N1 A record is reachable from reserve to discard (table); its space is freed when no operation uses it
 *    any more (users).
 * N2 Addresses only rise and are never reused, in both flavours.
 * N3 `ready` is set once the payload is complete; a GET before that is FIRN_ENOTFOUND.
 *
 * Threads: reserve, submit, discard... on the executor; one worker runs the operations; `lock` covers
 * everything both see.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "tiering/tier_backend.h"
#include "tiering/tier_map.h"

#define NULL_SLOT_BYTES  64u
#define NULL_CLASSES     25u /* 64 B << 24 = 1 GiB = PAGE_BYTES_MAX */
#define NULL_QUEUE       4096u
#define NULL_MEDIUM_OVER 4u /* address space of the medium as a multiple of bytes_max: classes waste some */

struct null_record {
    struct tier_map_node node;
    uint8_t *place; /* NULL: dead and freed */
    uint32_t bytes;
    uint32_t users; /* operations between submit and completion */
    uint64_t checksum;
    unsigned class_index;
    int ready, dead;
};

/* A free slot holds the link to the next one of its class. */
struct null_slot {
    struct null_slot *next;
};

struct tier_backend {
    struct tier_backend_config config;
    pthread_t worker;
    struct ring *queue;
    pthread_mutex_t lock;
    struct tier_map records;
    uint8_t *medium;
    size_t medium_bytes, medium_used;
    struct null_slot *free_slots[NULL_CLASSES];
    uint64_t next_address;
    uint64_t reserved_bytes; /* payloads reserved and not freed */
    struct tier_backend_stats stats;
};

static unsigned null_class(uint32_t bytes) {
    unsigned class_index = 0;
    while (((uint64_t)NULL_SLOT_BYTES << class_index) < bytes)
        class_index++;
    return class_index;
}

/* --- records; the lock is held --- */

static struct null_record *null_find(struct tier_backend *backend, uint64_t address) {
    struct tier_map_node *node = tier_map_find(&backend->records, address);
    return node != NULL ? TIER_MAP_OWNER(node, struct null_record, node) : NULL;
}

static void null_free_if_unused(struct tier_backend *backend, struct null_record *record) {
    if (!record->dead || record->users > 0) return;
    struct null_slot *slot = (struct null_slot *)(void *)record->place;
    slot->next = backend->free_slots[record->class_index];
    backend->free_slots[record->class_index] = slot;
    backend->reserved_bytes -= record->bytes;
    backend->stats.bytes_occupied -= (uint64_t)NULL_SLOT_BYTES << record->class_index;
    tier_map_remove(&backend->records, &record->node);
    memory_free(record);
}

static void null_kill(struct tier_backend *backend, struct null_record *record) {
    FIRN_ASSERT(!record->dead);
    record->dead = 1;
    if (record->ready) {
        backend->stats.records_live--;
        backend->stats.bytes_live -= record->bytes;
    }
    null_free_if_unused(backend, record);
}

/* Payload of a live record, verified. */
static int null_payload(struct tier_backend *backend, uint64_t address, struct bytes *payload_out) {
    struct null_record *record = null_find(backend, address);
    if (record == NULL || record->dead || !record->ready) return FIRN_ENOTFOUND;
    *payload_out = bytes_of(record->place, record->bytes);
    return hash_checksum(*payload_out, address) == record->checksum ? 0 : FIRN_ECORRUPT;
}

/* --- operations --- */

static int null_put(struct tier_backend *backend, struct tier_operation *operation) {
    struct null_record *record = null_find(backend, operation->address);
    FIRN_ASSERT(record != NULL && !record->ready && record->bytes == operation->bytes);
    memcpy(record->place, operation->data, operation->bytes);
    record->checksum = hash_checksum(bytes_of(operation->data, operation->bytes), operation->address);
    record->ready = 1;
    backend->stats.device_write_bytes += operation->bytes;
    if (!record->dead) {
        backend->stats.records_live++;
        backend->stats.bytes_live += record->bytes;
    }
    return 0;
}

static int null_get(struct tier_backend *backend, uint64_t address, struct page **page_out) {
    struct bytes payload;
    int error = null_payload(backend, address, &payload);
    *page_out = NULL;
    if (error != 0) return error;
    struct page *page = page_try_create(payload.size);
    if (page == NULL) return FIRN_ENOMEM;
    memcpy(page->data, payload.data, payload.size);
    page->bytes = (uint32_t)payload.size;
    backend->stats.device_read_bytes += payload.size;
    *page_out = page;
    return 0;
}

static void null_run(struct tier_backend *backend, struct tier_operation *operation) {
    pthread_mutex_lock(&backend->lock);
    operation->page = NULL;
    operation->status = operation->kind == TIER_PUT ? null_put(backend, operation)
                                                    : null_get(backend, operation->address, &operation->page);
    struct null_record *record = null_find(backend, operation->address);
    if (record != NULL && record->users > 0) {
        record->users--;
        null_free_if_unused(backend, record);
    }
    pthread_mutex_unlock(&backend->lock);
    operation->completed_us = clock_monotonic_us();
}

static void *null_worker(void *ctx) {
    struct tier_backend *backend = ctx;
    const struct tier_sink *sink = &backend->config.sink;
    void *operations[TIER_BATCH_OPERATIONS_MAX];
    size_t count;
    while ((count = ring_pop_wait(backend->queue, operations, TIER_BATCH_OPERATIONS_MAX)) > 0) {
        for (size_t i = 0; i < count; i++) {
            null_run(backend, operations[i]);
            int was_empty = 0;
            int error = ring_push(sink->completions, operations[i], &was_empty);
            FIRN_ASSERT(error == 0);
            if (was_empty) sink->wake(sink->ctx);
        }
    }
    return NULL;
}

/* --- the vtable --- */

static int null_open(const struct tier_backend_config *config, struct tier_backend **backend_out,
                     char *message, size_t message_bytes) {
    *backend_out = NULL;
    if (config->bytes_max == 0) {
        snprintf(message, message_bytes, "tier null: its size is 0, give it room");
        return FIRN_EINVALID;
    }
    size_t medium_bytes = (size_t)config->bytes_max * NULL_MEDIUM_OVER + (1u << 20);
    uint8_t *medium =
        mmap(NULL, medium_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (medium == MAP_FAILED) {
        snprintf(message, message_bytes, "tier null: no address space for %zu bytes, make the tier smaller",
                 medium_bytes);
        return FIRN_ENOSPACE;
    }
    struct tier_backend *backend = memory_alloc_zero(sizeof *backend);
    backend->config = *config;
    backend->config.path = NULL; /* the caller's */
    backend->medium = medium;
    backend->medium_bytes = medium_bytes;
    backend->next_address = 1;
    backend->stats.bytes_max = config->bytes_max;
    backend->queue = ring_create(NULL_QUEUE);
    pthread_mutex_init(&backend->lock, NULL);
    if (pthread_create(&backend->worker, NULL, null_worker, backend) != 0) {
        snprintf(message, message_bytes, "tier null: no thread can be started, raise the limit of processes");
        ring_destroy(backend->queue);
        pthread_mutex_destroy(&backend->lock);
        munmap(medium, medium_bytes);
        memory_free(backend);
        return FIRN_ESYSTEM;
    }
    *backend_out = backend;
    return 0;
}

static void null_close(struct tier_backend *backend) {
    ring_close(backend->queue);
    pthread_join(backend->worker, NULL);
    ring_destroy(backend->queue);
    for (struct tier_map_node *node; (node = tier_map_any(&backend->records)) != NULL;) {
        tier_map_remove(&backend->records, node);
        memory_free(TIER_MAP_OWNER(node, struct null_record, node));
    }
    tier_map_fini(&backend->records);
    pthread_mutex_destroy(&backend->lock);
    munmap(backend->medium, backend->medium_bytes);
    memory_free(backend);
}

/* A slot of ${class_index}; NULL when the medium is used up. The lock is held. */
static uint8_t *null_take_slot(struct tier_backend *backend, unsigned class_index) {
    struct null_slot *slot = backend->free_slots[class_index];
    if (slot != NULL) {
        backend->free_slots[class_index] = slot->next;
        return (uint8_t *)slot;
    }
    size_t bytes = (size_t)NULL_SLOT_BYTES << class_index;
    if (bytes > backend->medium_bytes - backend->medium_used) return NULL;
    uint8_t *place = backend->medium + backend->medium_used;
    backend->medium_used += bytes;
    return place;
}

static int null_reserve(struct tier_backend *backend, uint32_t bytes, uint64_t *address_out) {
    *address_out = 0;
    if (bytes > PAGE_BYTES_MAX) return FIRN_ETOOBIG;
    unsigned class_index = null_class(bytes);
    pthread_mutex_lock(&backend->lock);
    uint8_t *place = NULL;
    if (backend->reserved_bytes + bytes <= backend->config.bytes_max)
        place = null_take_slot(backend, class_index);
    if (place == NULL) {
        pthread_mutex_unlock(&backend->lock);
        return FIRN_ENOSPACE;
    }
    struct null_record *record = memory_alloc_zero(sizeof *record);
    record->place = place;
    record->bytes = bytes;
    record->class_index = class_index;
    backend->reserved_bytes += bytes;
    backend->stats.bytes_occupied += (uint64_t)NULL_SLOT_BYTES << class_index;
    *address_out = backend->next_address++;
    tier_map_insert(&backend->records, *address_out, &record->node);
    pthread_mutex_unlock(&backend->lock);
    return 0;
}

static int null_submit(struct tier_backend *backend, struct tier_operation **operations, unsigned count) {
    FIRN_ASSERT(count > 0 && count <= TIER_BATCH_OPERATIONS_MAX);
    /* The executor is the only producer, so the room seen here stays. */
    if (ring_count(backend->queue) + count > NULL_QUEUE) return FIRN_EAGAIN;
    pthread_mutex_lock(&backend->lock);
    for (unsigned i = 0; i < count; i++) {
        struct null_record *record = null_find(backend, operations[i]->address);
        if (record != NULL) record->users++;
        FIRN_ASSERT(record != NULL || operations[i]->kind == TIER_GET);
    }
    pthread_mutex_unlock(&backend->lock);
    for (unsigned i = 0; i < count; i++) {
        int error = ring_push(backend->queue, operations[i], NULL);
        FIRN_ASSERT(error == 0);
    }
    return 0;
}

static int null_read(struct tier_backend *backend, uint64_t address, struct page **page_out) {
    pthread_mutex_lock(&backend->lock);
    int error = null_get(backend, address, page_out);
    pthread_mutex_unlock(&backend->lock);
    return error;
}

static void null_discard(struct tier_backend *backend, uint64_t address) {
    pthread_mutex_lock(&backend->lock);
    struct null_record *record = null_find(backend, address);
    if (record != NULL)
        null_kill(backend, record); /* none: its PUT failed and the submitter does not know yet */
    pthread_mutex_unlock(&backend->lock);
}

static int null_map(struct tier_backend *backend, uint64_t address, struct bytes *payload_out) {
    pthread_mutex_lock(&backend->lock);
    int error = null_payload(backend, address, payload_out);
    pthread_mutex_unlock(&backend->lock);
    return error;
}

static uint32_t null_bytes(struct tier_backend *backend, uint64_t address) {
    pthread_mutex_lock(&backend->lock);
    struct null_record *record = null_find(backend, address);
    uint32_t bytes = record != NULL && !record->dead ? record->bytes : 0;
    pthread_mutex_unlock(&backend->lock);
    return bytes;
}

static void null_stats(struct tier_backend *backend, struct tier_backend_stats *stats_out) {
    pthread_mutex_lock(&backend->lock);
    *stats_out = backend->stats;
    pthread_mutex_unlock(&backend->lock);
}

static void null_cron(struct tier_backend *backend, int idle) {
    (void)backend, (void)idle; /* space is reused at once: nothing to reclaim */
}

static void null_clear(struct tier_backend *backend) {
    pthread_mutex_lock(&backend->lock);
    /* Walk by address: killing removes from the table, and records with operations in flight stay in it. */
    for (uint64_t address = 1; backend->records.count > 0 && address < backend->next_address; address++) {
        struct null_record *record = null_find(backend, address);
        if (record != NULL && !record->dead) null_kill(backend, record);
    }
    pthread_mutex_unlock(&backend->lock);
}

#define NULL_OPS                                                                                             \
    .open = null_open, .close = null_close, .reserve = null_reserve, .submit = null_submit,                  \
    .read = null_read, .discard = null_discard, .bytes = null_bytes, .stats = null_stats, .cron = null_cron, \
    .clear = null_clear

const struct tier_backend_ops tier_null_ops = {.name = "null", .tag = PAGE_TAG_NVME, NULL_OPS};
const struct tier_backend_ops tier_null_pmem_ops = {
    .name = "null", .tag = PAGE_TAG_PMEM, .map = null_map, NULL_OPS};
