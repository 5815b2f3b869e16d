/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tier manager: life cycle, the executor's turn, and the residency states. Its parts: tier_read.c (read
 * buffer), tier_ghost.c (second reads), tier_write.c (demotions in flight), tier_pressure.c (when and how
 * much, admission of writers), tier_force.c (by command and for tests), tier_stats.c.
 *
 * Residency of one value or page, and who may change it (tier_transition checks; what holds in each state):
 *
 *   RESIDENT  in DRAM only
 *   CLEAN     in DRAM, and a record below has exactly the same content (page->lower, or an entry with both
 *             inline value and ref)
 *   MOVING    where it was and readable as before; a PUT of its bytes is in flight, and they cannot change:
 *             inline values and PMEM payloads are copied, DRAM pages held by a reference (P1)
 *   LOWER     only below; the owner holds a PMEM or NVMe reference
 *   READING   LOWER, and a GET is in flight (one, T4)
 *   BUFFERED  LOWER, and its payload (or the error of reading it) is in the read buffer
 *
 *   RESIDENT -> MOVING    victim chosen, address reserved            tier_write_move
 *   CLEAN    -> LOWER     dropped without a write                    tier_write_move
 *   MOVING   -> LOWER     PUT succeeded, owner unchanged (T1, T3)    tier_write_completed
 *   MOVING   -> RESIDENT  PUT failed, owner changed or forgotten     tier_write_completed (record discarded)
 *   LOWER    -> MOVING    PMEM record on its way to NVMe             tier_write_move
 *   LOWER    -> READING   GET submitted                              tier_read_submit
 *   LOWER    -> BUFFERED  read blocking, or dead before its GET      tier_read_sync, tier_read_discarded
 *   READING  -> BUFFERED  GET finished                               tier_read_completed
 *   BUFFERED -> LOWER     not pinned any more and trimmed (T2)       tier_read_trim
 *   BUFFERED -> CLEAN     promoted by its owner                      page_read, types
 *   CLEAN    -> RESIDENT  the owner changes it                       page_write, db_changing (discarded)
 *
 * The manager keeps a state only while it is involved (struct tier_move, struct tier_buffered): MOVING, LOWER
 * (queued), READING, BUFFERED.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "tiering/tier_internal.h"

#define COMPLETIONS_AT_ONCE  32u
#define COMPLETIONS_PER_TURN 1024u
#define COMPLETIONS_US_MAX   150 /* at a time, twice a turn: a burst of them does not hold up commands */
#define WAIT_US              20  /* between looks for completions, blocking */
#define MEMORY_DECAY_MS      300 /* short, as resident memory is what is promised */

struct tier_manager tier_manager;

void tier_transition(enum tier_residency *state, enum tier_residency to) {
    static const uint8_t allowed[] = {
        [TIER_RESIDENT] = 1u << TIER_MOVING,
        [TIER_CLEAN] = 1u << TIER_LOWER | 1u << TIER_RESIDENT,
        [TIER_MOVING] = 1u << TIER_LOWER | 1u << TIER_RESIDENT,
        [TIER_LOWER] = 1u << TIER_MOVING | 1u << TIER_READING | 1u << TIER_BUFFERED,
        [TIER_READING] = 1u << TIER_BUFFERED,
        [TIER_BUFFERED] = 1u << TIER_LOWER | 1u << TIER_CLEAN,
    };
    FIRN_ASSERT(allowed[*state] & 1u << to);
    *state = to;
}

struct tier_device *tier_device(enum page_tag tag) {
    struct tier_device *device = tag == PAGE_TAG_PMEM ? &tier_manager.pmem : &tier_manager.nvme;
    return tag >= PAGE_TAG_PMEM && device->backend != NULL ? device : NULL;
}

struct tier_device *tier_lowest(void) {
    struct tier_device *nvme = tier_device(PAGE_TAG_NVME);
    return nvme != NULL ? nvme : tier_device(PAGE_TAG_PMEM);
}

int tier_enabled(void) {
    return tier_manager.enabled;
}

int tier_has(enum page_tag tag) {
    return tier_device(tag) != NULL;
}

/* --- page hooks --- */

static void discard(uint64_t ref) {
    struct tier_device *device = tier_device(page_ref_tag(ref));
    FIRN_ASSERT(device != NULL);
    if (device->tag == PAGE_TAG_PMEM) tier_write_source_discarded(ref);
    if (tier_hold_defer(ref)) return; /* readable on */
    if (device->tag == PAGE_TAG_NVME) tier_read_discarded(ref);
    device->counters.discards++;
    device->ops->discard(device->backend, page_ref_address(ref));
}

static const struct page_tier_hooks page_hooks = {
    .map = tier_read_map,
    .buffered = tier_read_buffered,
    .read_sync = tier_read_sync,
    .ahead = tier_read_ahead,
    .discard = discard,
    .wants_promotion = tier_pressure_wants_promotion,
};

/* --- life cycle --- */

/* Of backends that take memory which is not counted (RocksDB). */
static uint64_t backend_memory_max(void) {
    return tier_pressure_share(8, 4u << 20, 256u << 20);
}

static int open_device(struct tier_device *device, const struct tier_config *config, const char *path,
                       uint64_t bytes, const struct tier_backend_ops *ops, char *message,
                       size_t message_bytes) {
    if (path == NULL || path[0] == '\0') return 0;
    FIRN_ASSERT(ops != NULL && ops->tag == device->tag);
    FIRN_ASSERT((ops->map != NULL) == (device->tag == PAGE_TAG_PMEM));
    struct tier_backend_config backend = {
        .path = path,
        .bytes_max = bytes,
        .memory_max = backend_memory_max(),
        .sink = {.completions = tier_manager.completions,
                 .wake = config->wake,
                 .ctx = config->wake_ctx,
                 .wake_fd = config->wake_fd},
    };
    message[0] = '\0';
    int error = ops->open(&backend, &device->backend, message, message_bytes);
    if (error != 0) {
        device->backend = NULL;
        if (message[0] == '\0') {
            snprintf(message, message_bytes, "tier %s: cannot open %s: %s", device->name, path,
                     error_text(error));
        }
        return error;
    }
    device->ops = ops;
    return 0;
}

static void close_device(struct tier_device *device) {
    if (device->backend != NULL) device->ops->close(device->backend);
    device->backend = NULL;
}

static void init_devices(void) {
    memset(&tier_manager.pmem, 0, sizeof tier_manager.pmem);
    memset(&tier_manager.nvme, 0, sizeof tier_manager.nvme);
    tier_manager.pmem.tag = PAGE_TAG_PMEM;
    tier_manager.pmem.name = "pmem";
    tier_manager.pmem.write_full =
        "-OOM command not allowed: tier pmem is full. Raise tier-pmem-size, add a tier-nvme-path, delete "
        "keys, or let the coldest go with tier-full evict";
    tier_manager.pmem.write_broken =
        "-OOM command not allowed: tier pmem fails to take values and memory is full, see the log";
    tier_manager.nvme.tag = PAGE_TAG_NVME;
    tier_manager.nvme.name = "nvme";
    tier_manager.nvme.write_full =
        "-OOM command not allowed: tier nvme is full. Raise tier-nvme-size (and see that the disk has room), "
        "delete keys, or let the coldest go with tier-full evict";
    tier_manager.nvme.write_broken =
        "-OOM command not allowed: tier nvme fails to write and memory is full, see the log";
}

int tier_start(const struct tier_config *config, const struct tier_keyspace_hooks *hooks, char *message,
               size_t message_bytes) {
    FIRN_ASSERT(!tier_manager.enabled);
    init_devices();
    tier_manager.hooks = *hooks;
    tier_manager.reads_in_flight = tier_manager.moves_in_flight = 0;
    tier_manager.clear_wanted = 0;
    tier_pressure_start(config->memory_max);
    tier_manager.completions = ring_create(TIER_COMPLETIONS);
    int error = open_device(&tier_manager.pmem, config, config->pmem_path, config->pmem_bytes,
                            config->pmem_ops, message, message_bytes);
    if (error == 0) {
        error = open_device(&tier_manager.nvme, config, config->nvme_path, config->nvme_bytes,
                            config->nvme_ops, message, message_bytes);
    }
    if (error != 0 || tier_lowest() == NULL) { /* failed, or nothing is configured */
        close_device(&tier_manager.pmem);
        ring_destroy(tier_manager.completions);
        tier_manager.completions = NULL;
        return error;
    }
    tier_manager.enabled = 1;
    memory_set_decay(MEMORY_DECAY_MS);
    tier_ghost_start(config->memory_max);
    tier_read_start();
    tier_write_start();
    tier_pressure_refresh_backends();
    tier_pressure_update();
    page_set_tier_hooks(&page_hooks);
    return 0;
}

void tier_stop(void) {
    if (!tier_manager.enabled) return;
    tier_manager.stress = TIER_STRESS_OFF;
    tier_hold_turn(1);
    while (tier_manager.reads_in_flight + tier_manager.moves_in_flight > 0)
        tier_wait_completions();
    tier_write_stop();
    tier_read_stop();
    page_set_tier_hooks(NULL);
    close_device(&tier_manager.pmem);
    close_device(&tier_manager.nvme);
    tier_ghost_stop();
    tier_pressure_stop();
    ring_destroy(tier_manager.completions);
    tier_manager.completions = NULL;
    tier_manager.enabled = 0;
}

void tier_set_memory_max(uint64_t bytes) {
    if (bytes == tier_pressure_memory_max()) return;
    tier_pressure_set_memory_max(bytes);
    if (!tier_manager.enabled) return;
    tier_ghost_stop();
    tier_ghost_start(bytes);
    for (int tag = PAGE_TAG_PMEM; tag <= PAGE_TAG_NVME; tag++) {
        struct tier_device *device = tier_device((enum page_tag)tag);
        if (device != NULL && device->ops->set_memory_max != NULL)
            device->ops->set_memory_max(device->backend, backend_memory_max());
    }
    tier_pressure_update();
    tier_pressure_room();
}

/* --- completions --- */

static void completed(void **messages, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct tier_operation *operation = messages[i];
        if (operation->kind == TIER_GET)
            tier_read_completed(operation);
        else
            tier_write_completed(operation);
    }
}

static int collect(void) {
    struct tier_device *nvme = &tier_manager.nvme;
    return nvme->backend != NULL && nvme->ops->collect != NULL && nvme->ops->collect(nvme->backend);
}

/* At most COMPLETIONS_PER_TURN and COMPLETIONS_US_MAX; tier_turn asks for the rest. */
static size_t take_completions(void) {
    void *messages[COMPLETIONS_AT_ONCE];
    size_t total = 0, count;
    int64_t until_us = clock_monotonic_us() + COMPLETIONS_US_MAX;
    int more = collect();
    do {
        count = ring_pop(tier_manager.completions, messages, COMPLETIONS_AT_ONCE);
        completed(messages, count);
        total += count;
    } while (count == COMPLETIONS_AT_ONCE && total < COMPLETIONS_PER_TURN && clock_monotonic_us() < until_us);
    tier_manager.completions_left = more || count == COMPLETIONS_AT_ONCE;
    return total;
}

void tier_wait_completions(void) {
    FIRN_ASSERT(tier_manager.reads_in_flight + tier_manager.moves_in_flight > 0);
    void *messages[COMPLETIONS_AT_ONCE];
    size_t count;
    if (tier_manager.nvme.backend == NULL || tier_manager.nvme.ops->collect == NULL) {
        count = ring_pop_wait(tier_manager.completions, messages, COMPLETIONS_AT_ONCE);
    } else {
        /* What comes from the kernel wakes nobody who waits for the ring. */
        while ((void)collect(),
               (count = ring_pop(tier_manager.completions, messages, COMPLETIONS_AT_ONCE)) == 0)
            usleep(WAIT_US);
    }
    completed(messages, count);
}

void tier_complete(void) {
    if (!tier_manager.enabled) return;
    if (tier_manager.reads_in_flight + tier_manager.moves_in_flight > 0 && take_completions() > 0) {
        tier_pressure_update();
        tier_pressure_room();
    }
    tier_read_callbacks();
}

/* --- failures of a device --- */

static const char *remedy(int status) {
    if (status == FIRN_ENOSPACE) return "free space on its disk or raise its size";
    if (status == FIRN_ENOMEM) return "memory is short";
    return "check the device and the kernel's log";
}

void tier_device_write_failed(struct tier_device *device, int status) {
    int64_t now = clock_monotonic_us();
    device->counters.errors++;
    if (device->failing_since_us == 0) {
        device->failing_since_us = now;
        device->backoff_us = TIER_BACKOFF_US_MIN;
        log_warning("Tier %s fails to write (%s): values stay in memory and are tried again; %s",
                    device->name, error_text(status), remedy(status));
    } else if (now >= device->retry_at_us && device->backoff_us < TIER_BACKOFF_US_MAX) {
        device->backoff_us *= 2; /* once per try, not per operation of a failed batch */
    }
    if (now >= device->retry_at_us) device->retry_at_us = now + device->backoff_us;
    if (status == FIRN_ENOSPACE)
        device->full_since_us = device->full_since_us != 0 ? device->full_since_us : now;
}

void tier_device_write_succeeded(struct tier_device *device, int64_t submitted_us) {
    /* What was submitted before the first failure says nothing about now. */
    if (device->failing_since_us == 0 || submitted_us <= device->failing_since_us) return;
    log_notice("Tier %s writes again after %lld ms", device->name,
               (long long)(clock_monotonic_us() - device->failing_since_us) / 1000);
    device->failing_since_us = device->retry_at_us = device->backoff_us = 0;
}

void tier_device_read_failed(struct tier_device *device, uint64_t ref, int status) {
    static int64_t last_logged_us;
    int64_t now = clock_monotonic_us();
    if (status == FIRN_ECORRUPT)
        device->counters.corruptions++;
    else
        device->counters.errors++;
    if (last_logged_us != 0 && now - last_logged_us < 1000000) return;
    last_logged_us = now;
    log_warning(
        "Tier %s cannot read record %llu (%s): commands that need it get an error; check the device, and "
        "restore the key from "
        "a backup if this stays",
        device->name, (unsigned long long)page_ref_address(ref), error_text(status));
}

/* --- the executor's turn --- */

int tier_turn(void) {
    if (!tier_manager.enabled) return 0;
    tier_manager.turn++;
    int again = tier_read_submit();
    tier_read_trim();
    tier_pressure_update();
    again |= tier_pressure_turn();
    again |= tier_hold_turn(0);
    return again | tier_read_callbacks_pending() | tier_manager.completions_left;
}

int tier_submit(void) {
    return tier_manager.enabled ? tier_read_submit() : 0;
}

/* All data was dropped and its records were discarded one by one: let the backends forget their dead space at
 * once. */
static void clear_backends(void) {
    if (tier_manager.reads_in_flight + tier_manager.moves_in_flight > 0) return;
    if (tier_manager.pmem.now.records_live + tier_manager.nvme.now.records_live > 0) return;
    tier_manager.clear_wanted = 0;
    for (int tag = PAGE_TAG_PMEM; tag <= PAGE_TAG_NVME; tag++) {
        struct tier_device *device = tier_device((enum page_tag)tag);
        if (device != NULL) device->ops->clear(device->backend);
    }
}

void tier_cron(int idle) {
    page_clock_set((uint32_t)(clock_monotonic_us() / 1000000));
    if (!tier_manager.enabled) return;
    for (int tag = PAGE_TAG_PMEM; tag <= PAGE_TAG_NVME; tag++) {
        struct tier_device *device = tier_device((enum page_tag)tag);
        if (device != NULL) device->ops->cron(device->backend, idle);
    }
    tier_pressure_cron();
    if (tier_manager.clear_wanted) clear_backends();
}

/* --- the keyspace tells --- */

void tier_clear(void) {
    if (!tier_manager.enabled) return;
    tier_write_clear();
    tier_read_clear();
    tier_manager.clear_wanted = 1;
}

void tier_set_full_policy(enum tier_full_policy policy) {
    tier_manager.full_policy = policy;
}
