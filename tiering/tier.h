/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tier manager: decides what lives where, moves it, and brings back what commands need. Backends move
 * the bytes.
 *
 *           +-------- promote (second read in the window; write) --------+
 *           v                                                            |
 *   DRAM ---+-- demote (victims by policy, zone above target) --> PMEM --+-- demote above its target --> NVME
 *     |                                                                                                 ^
 *     +------------------ demote directly when no PMEM is configured or PMEM is full -------------------+
 *
 * Residency of one value or page: RESIDENT, RESIDENT+CLEAN (lower copy valid), MOVING (PUT in flight,
 * still resident and readable; any change cancels it), LOWER (PMEM or NVME reference), LOWER+READING (GET
 * in flight), LOWER+BUFFERED (in the read buffer). tier.c holds the one transition function.
 *
 * T1 A demotion is completed only if the owner still holds exactly what was submitted; otherwise the new
 *    record is discarded.
 * T2 A page brought in for a parked client stays in the read buffer until that client has run.
 * T3 A value is dropped from DRAM only after its PUT completed with status 0, or when its lower copy is
 *    clean.
 * T4 Reads of the same record in flight are one.
 *
 * Executor only. Nothing here blocks but tier_start, tier_stop, tier_stress_now and the sync reads.
 */
#ifndef FIRN_TIERING_TIER_H
#define FIRN_TIERING_TIER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier_backend.h"

/* Something that can be moved down, as found by the keyspace. */
struct tier_victim {
    void *owner;               /* entry (kind ENTRY) or NULL */
    uint64_t object_id;        /* kind PAGE: the object it is part of */
    uint64_t locator;          /* kind PAGE: slot in the object */
    uint64_t ref;              /* DRAM page, PMEM record, or 0: the inline value of the entry */
    struct bytes inline_value; /* when ref is 0: borrowed for the call */
    uint64_t clean_ref;        /* nonzero: this lower copy is valid; flip without writing */
    uint32_t db;               /* for the keyspace */
    uint32_t rank;             /* the keyspace's own: smaller is colder */
    /* Nonzero: not a value but a page of many (db_bundle.c in src/keyspace), for the NVMe tier only; this
     * much DRAM comes free when it has been moved, its page not counted. */
    uint32_t bundled_bytes;
    /* What NVMe records of a whole value carry behind the payload, so that the owner's entry need not stay in
     * DRAM: two parts, borrowed for the call; both empty: nothing. */
    struct bytes name_head, name_tail;
};

/* What the manager needs of the keyspace (upward calls; registered by src/server's wiring). */
struct tier_keyspace_hooks {
    /* Up to ${limit} victims whose bytes are in ${from} (PAGE_TAG_DRAM or PAGE_TAG_PMEM), coldest first by
     * the policy, never pinned, moving or already in flight; looks at a bounded number of entries. Returns
     * how many. Marks nothing. */
    unsigned (*victims)(int from, struct tier_victim *victims_out, unsigned limit);
    /* A demotion of this victim starts: mark the entry ENTRY_MOVING (kind ENTRY) or retain the page (kind
     * PAGE; the manager releases it). */
    void (*begin)(const struct tier_victim *victim);
    /* It ended. ${ref} nonzero: the record is valid: if the owner is unchanged, replace the content by ref
     * and free the old one: 1. If the owner changed, or ref is 0 (failed): clear the mark, keep everything: 0
     * (then the manager discards ref). */
    int (*finish)(const struct tier_victim *victim, uint64_t ref);
    /* Really evict (delete) the coldest key whose value is in ${from}: about the bytes freed there, 0 if the
     * policy allows none. ${from} 0: the coldest key wherever its value is, for the memory it takes itself.
     */
    uint64_t (*evict)(int from);
    /* Move what is in DRAM together, so that the allocator can give memory back; about ${budget_us}. Nonzero
     * when everything has been looked at once since the last time it said so. Between commands. May be NULL.
     */
    int (*compact)(int64_t budget_us);
    /* Free about ${bytes} of DRAM that keys of values on NVMe take, the least recently used first; ${all}:
     * every one that can go, however recent, and how ever few they are. Bounded work a call. Returns bytes
     * freed. May be NULL. */
    uint64_t (*shrink)(uint64_t bytes, int all);
    /* Keys and pages per tier for the statistics, by page_tag (DRAM, PMEM, NVME). Cheap. */
    void (*census)(uint64_t keys_out[4], uint64_t pages_out[4]);
};

enum tier_full_policy { TIER_FULL_ERROR, TIER_FULL_EVICT };

struct tier_config {
    const char *pmem_path; /* "" = none */
    uint64_t pmem_bytes;
    const char *nvme_path; /* "" = none */
    uint64_t nvme_bytes;
    uint64_t memory_max; /* maxmemory; 0 = no limit: nothing is demoted but by command */
    const struct tier_backend_ops *pmem_ops, *nvme_ops; /* wired by src/server; tests give null or faulty */
    void (*wake)(void *ctx);                            /* wakes the executor's loop; any thread */
    void *wake_ctx;
    int wake_fd; /* eventfd that does the same; 0: none */
};

/* Open the configured backends and install the page hooks. On failure nothing is left open, ${message} says
 * what to do. May block. */
FIRN_MUST_USE int tier_start(const struct tier_config *config, const struct tier_keyspace_hooks *hooks,
                             char *message, size_t message_bytes);
/* Finish operations in flight, close, remove the hooks. Every lower reference must have been released. May
 * block. */
void tier_stop(void);
/* Whether any tier is configured and open; whether this one is. */
int tier_enabled(void);
int tier_has(enum page_tag tag);
/* maxmemory changed (CONFIG SET). */
void tier_set_memory_max(uint64_t bytes);

/* --- the executor's turn --- */
/* Take finished operations: flip demotions, fill the read buffer, run the callbacks of readers. Call when
 * woken and once a turn. */
void tier_complete(void);
/* Before the loop sleeps: submit recorded reads; demote as the zone asks for, at most TIER_TURN_US_MAX.
 * Returns nonzero when it wants another turn soon (do not sleep long). */
int tier_turn(void);
/* Hand the reads that commands asked for since tier_turn to the device: without it they would wait for the
 * next event. Returns whether it must be called again without sleeping. Executor; does not block. */
int tier_submit(void);
/* Every 100 ms: statistics, backend cron, page clock, truth about resident memory. */
void tier_cron(int idle);

/* --- reads --- */
/*
 * Read everything in ${set} (not empty) and call ${ready} once when all have arrived (with data or error),
 * from tier_complete. The pages stay in the read buffer until tier_read_done. Returns a handle (never NULL).
 */
struct tier_read;
struct tier_read *tier_read(const struct fault_set *set, void (*ready)(void *ctx), void *ctx);
/* The reader has run (or is gone: may come before ready, which is then not called). Frees the handle. */
void tier_read_done(struct tier_read *read);
/* Start reading ${ref} without anybody waiting (prefetch for pipelines). No-op when resident, in flight or
 * too many. */
void tier_prefetch(uint64_t ref);
/* The name behind the payload of ${ref} (PAGE_REF_NAMED), which page_peek has just returned 0 for: valid as
 * long as that payload. */
struct bytes tier_read_name(uint64_t ref);

/* --- walks over everything (SAVE, DEBUG DIGEST) --- */
/*
 * From begin to end, reads are not counted for promotion and blocking reads leave only the latest few pages
 * in the read buffer, so that a walk within one turn stays inside the budget: a payload is good until the
 * walk has read some hundred KiB further. Not nested; no commands in between.
 */
void tier_walk_begin(void);
void tier_walk_end(void);
/* Read these NVMe records together, waiting for them; they stay until the next call, or the end. Those that
 * fail say so when they are looked at. */
#define TIER_WALK_BATCH 128u
void tier_walk_read(const uint64_t *refs, unsigned count);

/*
 * Records that are still to be read though their owners may give them up: as long as the hold is in force, a
 * discard (page_release) of a lower record among ${refs} is put off; it is made, in slices, after the
 * release. Other references in the array are ignored; it is not kept. 2 bytes a record. NULL: there was
 * nothing to hold. tier_release(NULL) is a no-op. Every hold is to be released before tier_stop.
 */
struct tier_hold;
struct tier_hold *tier_hold(const uint64_t *refs, size_t count);
void tier_release(struct tier_hold *hold);

/* --- writers --- */
enum tier_zone { TIER_ZONE_FREE, TIER_ZONE_BACKGROUND, TIER_ZONE_DELAY, TIER_ZONE_LIMIT };
enum tier_zone tier_zone(void);
enum tier_admission { TIER_ADMIT, TIER_DELAY, TIER_PARK, TIER_REFUSE };
/*
 * May a command that can need memory run now? DELAY: run it after *delay_us_out; PARK: ask again when
 * tier_on_room calls; REFUSE: lower tiers are full or broken: reply error ${message_out} (static text naming
 * the tier, beginning with "-OOM"). Always ADMIT with no tiers (src/keyspace/evict.h then decides).
 */
enum tier_admission tier_admit(int64_t *delay_us_out, const char **message_out);
/* Called (executor) whenever parked writers may try again. One callback. */
void tier_on_room(void (*room)(void *ctx), void *ctx);
/* Count parked clients for INFO. */
void tier_count_parked(int64_t change_readers, int64_t change_writers);

/* --- the keyspace tells --- */
/* The entry ${owner} marked ENTRY_MOVING is changed, moved in memory or freed: its demotion in flight is
 * void. Clears nothing in the entry. */
void tier_forget(void *owner);
/* Like tier_forget for every victim of database ${db} (tier_victim.db): it is flushed or its entries are
 * handed away in bulk. */
void tier_forget_db(uint32_t db);
/* All data is dropped (FLUSHALL): demotions and reads in flight are void. References are still released one
 * by one by their owners (the reaper); once nothing is live any more the backends forget their dead space at
 * once. */
void tier_clear(void);

/* --- by command --- */
/* Move this victim to ${to} (PAGE_TAG_PMEM or PAGE_TAG_NVME), waiting for it: 0, FIRN_ENOSPACE, FIRN_EIO,
 * FIRN_EBUSY, FIRN_EUNSUPPORTED (no such tier). */
FIRN_MUST_USE int tier_demote_now(const struct tier_victim *victim, enum page_tag to);
/* TIER-STRESS: after each command move everything evictable out of DRAM; waits. */
enum tier_stress { TIER_STRESS_OFF, TIER_STRESS_PMEM, TIER_STRESS_NVME, TIER_STRESS_RANDOM };
void tier_set_stress(enum tier_stress stress);
enum tier_stress tier_get_stress(void);
/* One round of it (no-op when off). Called by the dispatcher between commands. Blocks. */
void tier_stress_now(void);

void tier_set_full_policy(enum tier_full_policy policy);

/* --- truth --- */
/* DRAM used by everything: memory_used() + what backends use beyond it. */
uint64_t tier_memory_used(void);

struct tier_latency {
    uint64_t count, p50_us, p99_us, p999_us, max_us;
};
struct tier_stats {
    uint64_t keys, pages, bytes_live, bytes_occupied, bytes_max;
    uint64_t hits; /* reads served from this tier (DRAM: in place) */
    uint64_t reads, read_bytes, writes, write_bytes, clean_drops, demotions, promotions, discards, cancelled;
    uint64_t device_read_bytes, device_write_bytes, errors, corruptions;
    struct tier_latency read_latency, write_latency;
};
struct tier_totals {
    uint64_t faults, sync_faults, parked_readers, parked_writers, reads_in_flight, write_bytes_in_flight,
        read_buffer_bytes;
    uint64_t delayed_writers_total, parked_writers_total, refused_writers_total, memory_used, memory_target,
        memory_high, memory_max, backend_memory;
    enum tier_zone zone;
};
/* ${tag}: PAGE_TAG_DRAM, PAGE_TAG_PMEM, PAGE_TAG_NVME. */
void tier_stats(enum page_tag tag, struct tier_stats *stats_out);
void tier_totals(struct tier_totals *totals_out);
/* CONFIG RESETSTAT. */
void tier_stats_reset(void);
const char *tier_zone_name(enum tier_zone zone);

#endif
