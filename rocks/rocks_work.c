/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads that carry out operations. Readers block in pread, so there are many of them with small stacks;
 * the one writer puts what is queued into one WriteBatch. A write that the engine cannot take now (flush or
 * disk behind) keeps the writer waiting, bounded, and never a reader.
 *
 * Errors: RocksDB's text decides the status (no space, corruption, anything else is I/O). A PUT that failed
 * leaves nothing behind: its id is killed before it completes. Records written but not flushed when the disk
 * fills up stay readable in the memtable.
 */
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/log.h"
#include "rocks/rocks_internal.h"

#define STALL_SLEEP_US 1000
#define LOG_PERIOD_US  1000000

static int status_of(char *text) {
    int status = FIRN_EIO;
    if (strstr(text, "No space") != NULL || strstr(text, "Disk quota") != NULL ||
        strstr(text, "space limit") != NULL)
        status = FIRN_ENOSPACE;
    else if (strncmp(text, "Corruption", 10) == 0)
        status = FIRN_ECORRUPT;
    return status;
}

static void count_error(struct tier_backend *backend) {
    __atomic_add_fetch(&backend->errors, 1, __ATOMIC_RELAXED);
}

/* Whether a failure may be logged now: a broken device must not fill the log. */
static int may_log(struct tier_backend *backend) {
    int64_t now_us = clock_monotonic_us(), last_us = __atomic_load_n(&backend->logged_us, __ATOMIC_RELAXED);
    if (last_us != 0 && now_us - last_us < LOG_PERIOD_US) return 0;
    __atomic_store_n(&backend->logged_us, now_us, __ATOMIC_RELAXED);
    return 1;
}

/* --- completion --- */

int rocks__complete(struct tier_backend *backend, struct tier_operation *operation) {
    int was_empty = 0;
    operation->completed_us = clock_monotonic_us();
    while (ring_push(backend->sink.completions, operation, &was_empty) != 0)
        usleep(100); /* sized too small */
    return was_empty;
}

static void complete(struct tier_backend *backend, struct tier_operation *operation) {
    if (rocks__complete(backend, operation)) backend->sink.wake(backend->sink.ctx);
}

/* --- reading --- */

int rocks__page_of_value(uint64_t id, struct bytes value, struct page **page_out) {
    if (value.size < ROCKS_HEADER_BYTES || value.size - ROCKS_HEADER_BYTES > PAGE_BYTES_MAX)
        return FIRN_ECORRUPT;
    struct bytes payload = bytes_of(value.data + ROCKS_HEADER_BYTES, value.size - ROCKS_HEADER_BYTES);
    if (hash_checksum(payload, id) != bytes_load64(value.data)) return FIRN_ECORRUPT;
    struct page *page = page_try_create(payload.size);
    if (page == NULL) return FIRN_ENOMEM;
    memcpy(page->data, payload.data, payload.size);
    page->bytes = (uint32_t)payload.size;
    *page_out = page;
    return 0;
}

/* Not found while it still lives: not written yet, which is the caller's doing, or lost. */
void rocks__read_failed(struct tier_backend *backend, uint64_t id, int status, const char *text) {
    if (!rocks__live_test(&backend->live, id)) return;
    count_error(backend);
    if (may_log(backend))
        log_warning("NVMe tier: record %llu cannot be read: %s", (unsigned long long)id,
                    text != NULL ? text : error_text(status));
}

int rocks__read(struct tier_backend *backend, uint64_t id, struct page **page_out) {
    *page_out = NULL;
    if (!rocks__live_test(&backend->live, id)) return FIRN_ENOTFOUND;
    char key[ROCKS_KEY_BYTES], *text = NULL;
    rocks__key(id, key);
    rocksdb_pinnableslice_t *slice = NULL;
    int status;
    if (fault_point_fails(FAULT_ROCKS_READ)) {
        status = FIRN_EIO;
    } else {
        slice = rocksdb_get_pinned(backend->db, backend->read_options, key, sizeof key, &text);
        status = text != NULL ? status_of(text) : slice == NULL ? FIRN_ENOTFOUND : 0;
    }
    if (status == 0) {
        size_t bytes;
        const char *value = rocksdb_pinnableslice_value(slice, &bytes);
        status = fault_point_fails(FAULT_ROCKS_CHECKSUM)
                     ? FIRN_ECORRUPT
                     : rocks__page_of_value(id, bytes_of(value, bytes), page_out);
    }
    if (slice != NULL) rocksdb_pinnableslice_destroy(slice);
    if (status != 0) rocks__read_failed(backend, id, status, text);
    if (text != NULL) rocksdb_free(text);
    return status;
}

void *rocks__reader_main(void *ctx) {
    struct tier_backend *backend = ctx;
    struct tier_operation *operations[ROCKS_READER_TAKE_MAX];
    size_t count;
    rocksdb_set_perf_level(rocksdb_enable_count);
    rocksdb_perfcontext_t *counters = rocksdb_perfcontext_create(); /* of this thread */
    uint64_t counted = 0;
    while ((count = rocks__queue_pop(&backend->reads, operations, ROCKS_READER_TAKE_MAX,
                                     backend->reader_count)) > 0) {
        for (size_t i = 0; i < count; i++) {
            operations[i]->status = rocks__read(backend, operations[i]->address, &operations[i]->page);
            complete(backend, operations[i]);
        }
        uint64_t bytes = rocksdb_perfcontext_metric(counters, rocksdb_block_read_byte);
        __atomic_add_fetch(&backend->read_bytes, bytes - counted, __ATOMIC_RELAXED);
        counted = bytes;
    }
    rocksdb_perfcontext_destroy(counters);
    return NULL;
}

/* --- writing --- */

/* Stage the operation in ${batch}, unless its record is dead already. Returns whether it was staged. */
static int write_stage(struct tier_backend *backend, rocksdb_writebatch_t *batch,
                       struct tier_operation *operation) {
    operation->status = 0;
    operation->page = NULL;
    if (!rocks__live_test(&backend->live, operation->address)) return 0;
    if (fault_point_fails(FAULT_ROCKS_WRITE)) {
        operation->status = FIRN_EIO;
        return 0;
    }
    char key[ROCKS_KEY_BYTES];
    uint64_t checksum = hash_checksum(bytes_of(operation->data, operation->bytes), operation->address);
    rocks__key(operation->address, key);
    const char *keys[] = {key}, *values[] = {(const char *)&checksum, (const char *)operation->data};
    const size_t key_sizes[] = {sizeof key}, value_sizes[] = {sizeof checksum, operation->bytes};
    rocksdb_writebatch_putv(batch, 1, keys, key_sizes, 2, values, value_sizes);
    return 1;
}

/* Wait for the reclaimer while dead space fills the medium: 0, or FIRN_ENOSPACE if that takes too long. */
static int write_await_room(struct tier_backend *backend) {
    int64_t started_us = clock_monotonic_us();
    while (rocks__is_overfull(backend)) {
        if (clock_monotonic_us() - started_us > ROCKS_STALL_MS_MAX * 1000ll) return FIRN_ENOSPACE;
        if (__atomic_load_n(&backend->stopping, __ATOMIC_RELAXED)) return FIRN_ENOSPACE;
        __atomic_store_n(&backend->stalled, 1, __ATOMIC_RELAXED);
        usleep(STALL_SLEEP_US);
    }
    return 0;
}

/* Write the batch, waiting while the engine is behind: 0 or why not. */
static int write_batch(struct tier_backend *backend, rocksdb_writebatch_t *batch) {
    int64_t started_us = clock_monotonic_us();
    for (;;) {
        char *text = NULL;
        rocksdb_write(backend->db, backend->write_options, batch, &text);
        if (text == NULL) break;
        int stalled = strstr(text, "stall") != NULL, status = status_of(text);
        int late = clock_monotonic_us() - started_us > ROCKS_STALL_MS_MAX * 1000ll;
        if (!stalled || late || __atomic_load_n(&backend->stopping, __ATOMIC_RELAXED)) {
            if (may_log(backend)) log_warning("NVMe tier: writing fails: %s", text);
            rocksdb_free(text);
            return status;
        }
        rocksdb_free(text);
        __atomic_store_n(&backend->stalled, 1, __ATOMIC_RELAXED);
        usleep(STALL_SLEEP_US);
    }
    return 0;
}

static void write_operations(struct tier_backend *backend, rocksdb_writebatch_t *batch,
                             struct tier_operation **operations, size_t count) {
    int staged[TIER_BATCH_OPERATIONS_MAX], any = 0, wake = 0;
    rocksdb_writebatch_clear(batch);
    for (size_t i = 0; i < count; i++)
        any |= staged[i] = write_stage(backend, batch, operations[i]);
    int status = any ? write_await_room(backend) : 0;
    if (any && status == 0) status = write_batch(backend, batch);
    __atomic_store_n(&backend->stalled, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < count; i++) {
        struct tier_operation *operation = operations[i];
        if (staged[i]) operation->status = status;
        if (operation->status != 0) {
            rocks__live_kill(&backend->live, operation->address, operation->bytes);
            count_error(backend);
        } else if (staged[i]) {
            __atomic_add_fetch(&backend->put_bytes, operation->bytes + ROCKS_OVERHEAD_BYTES,
                               __ATOMIC_RELAXED);
        }
        wake |= rocks__complete(backend, operation);
    }
    if (wake) backend->sink.wake(backend->sink.ctx);
}

void *rocks__writer_main(void *ctx) {
    struct tier_backend *backend = ctx;
    struct tier_operation *operations[TIER_BATCH_OPERATIONS_MAX];
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocks__lower_priority(0); /* the flush thread, which it starts, has it from here */
    size_t count;
    while ((count = rocks__queue_pop(&backend->writes, operations, TIER_BATCH_OPERATIONS_MAX, 1)) > 0)
        write_operations(backend, batch, operations, count);
    rocksdb_writebatch_destroy(batch);
    return NULL;
}
