/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The faulty backend: tier_null with failures where fault points say so. PUT and GET consult the points one
 * by one on the executor at submit time (so a sweep is deterministic); what fails is completed right there
 * through the sink, never by a call back.
 *
 *   NVMe flavour   ROCKS_OPEN open, ROCKS_WRITE PUT, ROCKS_READ GET and read, ROCKS_CHECKSUM GET and read
 *   PMEM flavour   PMEM_MAP open, PMEM_RESERVE reserve, PMEM_CHECKSUM map, GET and read
 *
 * A failed PUT voids its address as the interface demands. Threads: executor, and null's worker.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/limits.h"
#include "base/memory.h"
#include "tiering/tier_backend.h"

struct tier_backend {
    const struct tier_backend_ops *ops; /* null's flavour */
    struct tier_backend *inner;
    struct tier_sink sink;
};

static int faulty_open_as(const struct tier_backend_ops *ops, enum fault_point point, const char *name,
                          const struct tier_backend_config *config, struct tier_backend **backend_out,
                          char *message, size_t message_bytes) {
    *backend_out = NULL;
    if (fault_point_fails(point)) {
        snprintf(message, message_bytes, "tier %s: cannot open %s (injected failure), disarm the fault point",
                 name, config->path);
        return FIRN_EIO;
    }
    struct tier_backend *inner;
    int error = ops->open(config, &inner, message, message_bytes);
    if (error != 0) return error;
    struct tier_backend *backend = memory_alloc(sizeof *backend);
    *backend = (struct tier_backend){.ops = ops, .inner = inner, .sink = config->sink};
    *backend_out = backend;
    return 0;
}

static int faulty_open_nvme(const struct tier_backend_config *config, struct tier_backend **backend_out,
                            char *message, size_t message_bytes) {
    return faulty_open_as(&tier_null_ops, FAULT_ROCKS_OPEN, "nvme", config, backend_out, message,
                          message_bytes);
}

static int faulty_open_pmem(const struct tier_backend_config *config, struct tier_backend **backend_out,
                            char *message, size_t message_bytes) {
    return faulty_open_as(&tier_null_pmem_ops, FAULT_PMEM_MAP, "pmem", config, backend_out, message,
                          message_bytes);
}

static int faulty_is_pmem(const struct tier_backend *backend) {
    return backend->ops->tag == PAGE_TAG_PMEM;
}

static void faulty_close(struct tier_backend *backend) {
    backend->ops->close(backend->inner);
    memory_free(backend);
}

static int faulty_reserve(struct tier_backend *backend, uint32_t bytes, uint64_t *address_out) {
    *address_out = 0;
    if (faulty_is_pmem(backend) && fault_point_fails(FAULT_PMEM_RESERVE)) return FIRN_ENOSPACE;
    return backend->ops->reserve(backend->inner, bytes, address_out);
}

/* What reading fails with, or 0. */
static int faulty_read_error(const struct tier_backend *backend) {
    if (faulty_is_pmem(backend)) return fault_point_fails(FAULT_PMEM_CHECKSUM) ? FIRN_ECORRUPT : 0;
    if (fault_point_fails(FAULT_ROCKS_READ)) return FIRN_EIO;
    return fault_point_fails(FAULT_ROCKS_CHECKSUM) ? FIRN_ECORRUPT : 0;
}

static int faulty_operation_error(const struct tier_backend *backend,
                                  const struct tier_operation *operation) {
    if (operation->kind == TIER_GET) return faulty_read_error(backend);
    return !faulty_is_pmem(backend) && fault_point_fails(FAULT_ROCKS_WRITE) ? FIRN_EIO : 0;
}

static void faulty_complete(struct tier_backend *backend, struct tier_operation *operation, int status) {
    if (operation->kind == TIER_PUT) backend->ops->discard(backend->inner, operation->address);
    operation->status = status;
    operation->page = NULL;
    operation->completed_us = clock_monotonic_us();
    int was_empty = 0;
    int error = ring_push(backend->sink.completions, operation, &was_empty);
    FIRN_ASSERT(error == 0);
    if (was_empty) backend->sink.wake(backend->sink.ctx);
}

static int faulty_submit(struct tier_backend *backend, struct tier_operation **operations, unsigned count) {
    struct tier_operation *good[TIER_BATCH_OPERATIONS_MAX], *bad[TIER_BATCH_OPERATIONS_MAX];
    int status[TIER_BATCH_OPERATIONS_MAX];
    unsigned good_count = 0, bad_count = 0;
    FIRN_ASSERT(count <= TIER_BATCH_OPERATIONS_MAX);
    for (unsigned i = 0; i < count; i++) {
        status[bad_count] = faulty_operation_error(backend, operations[i]);
        if (status[bad_count] != 0)
            bad[bad_count++] = operations[i];
        else
            good[good_count++] = operations[i];
    }
    if (good_count > 0) {
        int error = backend->ops->submit(backend->inner, good, good_count);
        if (error != 0) return error;
    }
    for (unsigned i = 0; i < bad_count; i++)
        faulty_complete(backend, bad[i], status[i]);
    return 0;
}

static int faulty_read(struct tier_backend *backend, uint64_t address, struct page **page_out) {
    int error = faulty_read_error(backend);
    *page_out = NULL;
    return error != 0 ? error : backend->ops->read(backend->inner, address, page_out);
}

static void faulty_discard(struct tier_backend *backend, uint64_t address) {
    backend->ops->discard(backend->inner, address);
}

static int faulty_map(struct tier_backend *backend, uint64_t address, struct bytes *payload_out) {
    int error = faulty_read_error(backend);
    return error != 0 ? error : backend->ops->map(backend->inner, address, payload_out);
}

static uint32_t faulty_bytes(struct tier_backend *backend, uint64_t address) {
    return backend->ops->bytes(backend->inner, address);
}

static void faulty_stats(struct tier_backend *backend, struct tier_backend_stats *stats_out) {
    backend->ops->stats(backend->inner, stats_out);
}

static void faulty_cron(struct tier_backend *backend, int idle) {
    backend->ops->cron(backend->inner, idle);
}

static void faulty_clear(struct tier_backend *backend) {
    backend->ops->clear(backend->inner);
}

#define FAULTY_OPS                                                                                           \
    .close = faulty_close, .reserve = faulty_reserve, .submit = faulty_submit, .read = faulty_read,          \
    .discard = faulty_discard, .bytes = faulty_bytes, .stats = faulty_stats, .cron = faulty_cron,            \
    .clear = faulty_clear

const struct tier_backend_ops tier_faulty_ops = {
    .name = "faulty", .tag = PAGE_TAG_NVME, .open = faulty_open_nvme, FAULTY_OPS};
const struct tier_backend_ops tier_faulty_pmem_ops = {
    .name = "faulty", .tag = PAGE_TAG_PMEM, .open = faulty_open_pmem, .map = faulty_map, FAULTY_OPS};
