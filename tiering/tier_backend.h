/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a tier backend is: a store of immutable records, each named by a 61-bit address, written once,
 * read any number of times, discarded once. Asynchronous and batch-first. tier_null.c is the backend to
 * copy; all backends pass tests/unit/test_tier_conformance.c.
 *
 * Life of an address: reserve (executor) -> submit PUT -> completion 0 (the record is readable) or an
 * error (the address is void: the backend has forgotten it) -> any number of GETs -> discard. An address
 * may be discarded while its PUT or a GET is in flight: the operation still completes (GET perhaps with
 * FIRN_ENOTFOUND), and the space comes back afterwards.
 *
 * B1 A record reads back byte for byte, or fails with FIRN_ECORRUPT (checksum seeded with the address),
 *    never silently different.
 * B2 Operations of one submit may complete in any order; each completes exactly once.
 * B3 Nothing here calls back into the submitter; completions are pushed to the sink and the sink's wake
 *    is called.
 *
 * Threads: executor unless said otherwise; backend threads only push completions.
 */
#ifndef FIRN_TIERING_TIER_BACKEND_H
#define FIRN_TIERING_TIER_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/ring.h"
#include "page/page.h"

enum tier_operation_kind { TIER_PUT, TIER_GET };

/* One operation; owned by the submitter, lent to the backend from submit to completion. */
struct tier_operation {
    enum tier_operation_kind kind;
    uint64_t address;
    const uint8_t *data;  /* PUT: payload, stable until completion */
    uint32_t bytes;       /* PUT: payload size */
    int status;           /* set before completion: 0, FIRN_EIO, FIRN_ENOSPACE, FIRN_ECORRUPT, FIRN_ENOTFOUND,
                             FIRN_ENOMEM */
    struct page *page;    /* GET: the payload in a new page (page_try_create, refs 1), owned by the submitter;
                             NULL unless status 0 */
    int64_t submitted_us; /* clock_monotonic_us at submit; set by the submitter */
    int64_t completed_us; /* set by the backend */
    void *ctx;            /* submitter's */
};

/* Where finished operations go. */
struct tier_sink {
    struct ring *completions; /* of struct tier_operation *; large enough for all operations in flight */
    void (*wake)(void *ctx);  /* any thread; called after a push that found the ring empty */
    void *ctx;
    int wake_fd; /* eventfd that does what wake does, for the kernel to signal; 0: none, then collect must be
                    called again and again while operations are in flight */
};

struct tier_backend_config {
    const char *path;    /* file (PMEM) or folder (NVMe) */
    uint64_t bytes_max;  /* capacity of the tier */
    uint64_t memory_max; /* DRAM the backend may use for caches, memtables, metadata in total */
    unsigned threads;    /* worker threads; 0 = backend's choice */
    struct tier_sink sink;
};

struct tier_backend_stats {
    uint64_t records_live, bytes_live; /* payload of records not discarded */
    uint64_t bytes_occupied;           /* on the medium, with overhead and dead space */
    uint64_t bytes_max;
    uint64_t device_read_bytes,
        device_write_bytes; /* what the device saw, compaction included; for amplification */
    uint64_t memory_bytes;  /* DRAM in use that memory_used() does not see (RocksDB's own) */
    uint64_t errors;
    uint64_t stalled; /* nonzero: writes are slowed down by the engine now */
};

struct tier_backend;

struct tier_backend_ops {
    const char *name;  /* "pmem", "nvme", "null", "faulty" */
    enum page_tag tag; /* PAGE_TAG_PMEM (has map) or PAGE_TAG_NVME */

    /* Open, creating what is missing. On failure a plain sentence in ${message} that says what to do (path,
     * cause, remedy) and FIRN_EINVALID (foreign content, wrong size), FIRN_ENOSPACE, FIRN_EIO, FIRN_ESYSTEM.
     * Tiers are scratch: earlier content is dropped. May block. */
    int (*open)(const struct tier_backend_config *config, struct tier_backend **backend_out, char *message,
                size_t message_bytes);
    /* Wait for operations in flight (they complete into the sink), stop threads, free. May block. */
    void (*close)(struct tier_backend *backend);
    /* An address for a record of ${bytes}: FIRN_ENOSPACE when the tier is full, FIRN_ETOOBIG. Never blocks.
     */
    int (*reserve)(struct tier_backend *backend, uint32_t bytes, uint64_t *address_out);
    /* Queue ${count} (<= TIER_BATCH_OPERATIONS_MAX) operations as one batch: all or none (FIRN_EAGAIN: queue
     * full). Never blocks. */
    int (*submit)(struct tier_backend *backend, struct tier_operation **operations, unsigned count);
    /* Push a bounded number of operations that the kernel has finished; nonzero: there are more, or something
     * waits for a next call. Called in each turn. NULL: the backend's threads push all. Never blocks. */
    int (*collect)(struct tier_backend *backend);
    /* Read now, blocking (fault_mode SYNC): as a GET's status and page. */
    int (*read)(struct tier_backend *backend, uint64_t address, struct page **page_out);
    /* The record at ${address} is dead. Never blocks, never fails. */
    void (*discard)(struct tier_backend *backend, uint64_t address);
    /* PMEM only (else NULL): payload in place, checksum verified; valid until discard. 0, FIRN_ECORRUPT. */
    int (*map)(struct tier_backend *backend, uint64_t address, struct bytes *payload_out);
    /* Payload bytes of a live record if the backend knows without I/O, else 0. */
    uint32_t (*bytes)(struct tier_backend *backend, uint64_t address);
    /* Cheap; called every 100 ms and by INFO. */
    void (*stats)(struct tier_backend *backend, struct tier_backend_stats *stats_out);
    /* Housekeeping slice (space reclaim decisions); called every 100 ms; ${idle} when the server has little
     * to do. Never blocks. */
    void (*cron)(struct tier_backend *backend, int idle);
    /* Drop every record (FLUSHALL): all addresses are void. Operations in flight still complete. May take
     * milliseconds at most. */
    void (*clear)(struct tier_backend *backend);
    /* memory_max is ${bytes} from now on: what is above is given back soon. NULL: the backend takes nothing
     * that memory_used() does not see. Never blocks. */
    void (*set_memory_max)(struct tier_backend *backend, uint64_t bytes);
};

/* Backends of this folder, for tests. tier_null keeps records in DRAM and completes them from a thread; its
 * tag is chosen by path
 * ("pmem" or "nvme"). tier_faulty wraps null and fails at the FAULT_ROCKS_* and FAULT_PMEM_* points. */
extern const struct tier_backend_ops tier_null_ops;
extern const struct tier_backend_ops tier_null_pmem_ops;
extern const struct tier_backend_ops tier_faulty_ops;
extern const struct tier_backend_ops tier_faulty_pmem_ops;

#endif
