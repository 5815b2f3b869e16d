/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the manager share. tier.c owns the state and calls the others in this order each turn:
 * completions (tier_read, tier_write), then reads, pressure, writes. Executor only.
 */
#ifndef FIRN_TIERING_TIER_INTERNAL_H
#define FIRN_TIERING_TIER_INTERNAL_H

#include <stdint.h>

#include "base/limits.h"
#include "ds/histogram.h"
#include "tiering/tier.h"
#include "tiering/tier_map.h"

#define TIER_MOVES_MAX           4096u /* demotions in flight */
#define TIER_COMPLETIONS         8192u /* ring: all moves and reads in flight fit */
#define TIER_BACKOFF_US_MIN      10000 /* after a failed write; doubles */
#define TIER_BACKOFF_US_MAX      1000000
#define TIER_BROKEN_US           1000000 /* writes failing for longer: writers are refused */
#define TIER_FULL_US             20000   /* how long "no space" is believed before it is tried again */
#define TIER_PMEM_FULL_PERCENT   96u     /* above this no new records go to PMEM while there is NVMe */
#define TIER_PMEM_TARGET_PERCENT 90u     /* above this cold PMEM records go on to NVMe */

_Static_assert(TIER_MOVES_MAX + TIER_READ_INFLIGHT_MAX <= TIER_COMPLETIONS,
               "every operation in flight can complete");

/* Residency of one value as the manager sees it (diagram and rules: tier.c). */
enum tier_residency { TIER_RESIDENT, TIER_CLEAN, TIER_MOVING, TIER_LOWER, TIER_READING, TIER_BUFFERED };

struct tier_counters {
#define TIER_COUNTER(name, text) uint64_t name;
#include "tiering/stats.def"
#undef TIER_COUNTER
};

/* An open tier. */
struct tier_device {
    const struct tier_backend_ops *ops;
    struct tier_backend *backend; /* NULL: not configured */
    enum page_tag tag;
    const char *name;       /* "pmem", "nvme": what messages and directives call it */
    const char *write_full; /* what tier_admit says when it is full / broken */
    const char *write_broken;
    struct tier_backend_stats now; /* as of the last cron or truth */
    uint64_t occupied_since;       /* bytes reserved since then */
    int64_t full_until_us;         /* reserve found no room: not tried again before this */
    int64_t full_since_us;         /* 0: room was found the last time */
    int64_t full_logged_us;
    int64_t failing_since_us, retry_at_us; /* 0: the last write succeeded */
    int64_t backoff_us;
    struct tier_counters counters;
    struct histogram read_latency, write_latency;
};

struct tier_manager {
    int enabled;
    struct tier_keyspace_hooks hooks;
    struct tier_device pmem, nvme;
    struct ring *completions;
    enum tier_stress stress;
    enum tier_full_policy full_policy;
    unsigned reads_in_flight, moves_in_flight;
    uint64_t turn;        /* counts tier_turn */
    int completions_left; /* tier_complete stopped before the ring was empty */
    int clear_wanted;     /* all data was dropped: let backends start afresh once nothing is live */
};
extern struct tier_manager tier_manager;

/* Residency changes from *state to ${to}: the one place that knows which changes there are (assert). */
void tier_transition(enum tier_residency *state, enum tier_residency to);
struct tier_device *tier_device(enum page_tag tag); /* NULL: not open */
/* The tier below which there is none. */
struct tier_device *tier_lowest(void);
/* Take completions, blocking for at least one; no callbacks of readers. Something must be in flight. */
void tier_wait_completions(void);
/* Count ${status} of an operation of ${device}. */
void tier_device_read_failed(struct tier_device *device, uint64_t ref, int status);
void tier_device_write_failed(struct tier_device *device, int status);
void tier_device_write_succeeded(struct tier_device *device, int64_t submitted_us);

/* --- tier_read.c --- */
void tier_read_start(void);
void tier_read_stop(void);
/* Submit what is queued; nonzero: some could not be and nothing will wake the executor. */
int tier_read_submit(void);
void tier_read_trim(void);
void tier_read_completed(struct tier_operation *operation);
void tier_read_callbacks(void);
int tier_read_callbacks_pending(void);
void tier_read_discarded(uint64_t ref);
void tier_read_clear(void);
uint64_t tier_read_buffer_bytes(void);
uint64_t tier_read_faults(void);
void tier_read_stats_reset(void);
/* page_tier_hooks. */
int tier_read_buffered(uint64_t ref, struct bytes *payload_out, unsigned *seen_out);
int tier_read_map(uint64_t ref, struct bytes *payload_out, unsigned *seen_out);
int tier_read_sync(uint64_t ref, struct bytes *payload_out);
void tier_read_ahead(uint64_t ref);
uint64_t tier_read_sync_count(void);

/* --- tier_hold.c --- */
/* Whether a hold covers ${ref} (or takes it for one of its own). */
int tier_hold_covers(uint64_t ref);
/* The owner of ${ref} gives it up: 1 if a hold puts that off. */
int tier_hold_defer(uint64_t ref);
/* Discards of released holds: a slice of them, or all. Nonzero: there are more. */
int tier_hold_turn(int all);

/* --- tier_ghost.c: how often a record was read lately --- */
void tier_ghost_start(uint64_t memory_max);
void tier_ghost_stop(void);
/* Count a read of ${ref}: how many there were before within the window. */
unsigned tier_ghost_touch(uint64_t ref);

/* --- tier_write.c --- */
void tier_write_start(void);
void tier_write_stop(void);
/*
 * Start moving ${victim} to ${to}, or drop it at once if its clean copy allows. 0: under way (*result_inout,
 * if given, is set to TIER_WRITE_PENDING and to the outcome later) or done (*result_inout = 0). Else nothing
 * was begun: FIRN_ENOSPACE, FIRN_EBUSY, FIRN_EAGAIN (too much in flight), FIRN_ENOMEM, FIRN_EIO,
 * FIRN_ECORRUPT. tier_write_flush submits.
 */
#define TIER_WRITE_PENDING 1
int tier_write_move(const struct tier_victim *victim, struct tier_device *to, int *result_inout);
void tier_write_flush(void);
void tier_write_completed(struct tier_operation *operation);
/* A round of demotion out of DRAM / out of PMEM until ${deadline_us} or ${bytes} are on their way. Returns
 * bytes started or dropped. ${*exhausted_out}: it ended because no victims were found any more. */
uint64_t tier_write_demote(enum page_tag from, uint64_t bytes, int64_t deadline_us, int *exhausted_out);
/* Whether ${victims}[${index}] is one of those before it. Sampling may offer one twice; once dropped, its
 * pointers mean nothing. */
int tier_write_is_repeated(const struct tier_victim *victims, unsigned index);
void tier_write_source_discarded(uint64_t ref);
void tier_write_clear(void);
int tier_write_has_room(void);
/* Bytes of DRAM that come free when all in flight completes. */
uint64_t tier_write_freeing_bytes(void);
uint64_t tier_write_inflight_bytes(void);
/* Where a value of ${bytes} leaving DRAM goes now; NULL: no tier takes anything. */
struct tier_device *tier_write_target(uint32_t bytes);
uint64_t tier_write_occupied(const struct tier_device *device);

/* --- tier_pressure.c --- */
void tier_pressure_start(uint64_t memory_max);
void tier_pressure_stop(void);
void tier_pressure_set_memory_max(uint64_t bytes);
/* Compute use and zone anew. */
void tier_pressure_update(void);
/* Demote as the zone asks for; nonzero: wants another turn. */
int tier_pressure_turn(void);
void tier_pressure_cron(void);
void tier_pressure_room(void);
int tier_pressure_wants_promotion(uint64_t ref, size_t bytes, unsigned seen);
uint64_t tier_pressure_memory_max(void); /* 0: none */
void tier_pressure_totals(struct tier_totals *totals_out);
void tier_pressure_stats_reset(void);
void tier_pressure_refresh_backends(void);
/* A share of the memory limit, between two bounds; ${most} without a limit. */
uint64_t tier_pressure_share(unsigned divisor, uint64_t least, uint64_t most);

#endif
