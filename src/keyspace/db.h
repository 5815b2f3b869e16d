/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Databases: keys to entries, with expiry, clocks, eviction and change notification. The only way to reach an
 * entry. Nobody outside this folder walks the table.
 *
 * D1 An entry pointer is valid until the next call that can change the same key's layout or delete it, or
 * insert into the same database (calls that do say "may move entry" and return the new one).
 *
 * D2 Every change of a value is announced by db_changing before it is made, exactly once per key and command
 * (it voids a demotion in flight and discards the clean copy of an inline value), and by db_changed after.
 *
 * D3 An expired key is never returned by a lookup. On a replica (later) it is hidden without being deleted.
 *
 * D4 db_size counts keys, cold or not, exactly.
 *
 * D5 Lookup may fault in a later version (keys off DRAM): callers return what it returns.
 *
 * Executor only.
 */
#ifndef FIRN_KEYSPACE_DB_H
#define FIRN_KEYSPACE_DB_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "types/entry.h"
#include "types/type.h"

struct db;

/* Create ${count} databases. */
void db_init_all(unsigned count);
void db_fini_all(void);
unsigned db_count(void);
/* Database ${index} (< db_count()). Its address changes owner content on SWAPDB, never itself. */
struct db *db_at(unsigned index);
unsigned db_index(const struct db *db);

#define LOOKUP_READ      0x0u
#define LOOKUP_WRITE     0x1u /* not counted as hit or miss */
#define LOOKUP_NO_TOUCH  0x2u /* clock stays (OBJECT, DEBUG, TYPE..., CLIENT NO-TOUCH) */
#define LOOKUP_NO_STATS  0x4u
#define LOOKUP_NO_NOTIFY 0x8u  /* no keymiss event */
#define LOOKUP_EXPIRED   0x10u /* also return a logically expired key (DEBUG) */

/*
 * Find ${key}. 0 with *entry_out = the entry, or NULL if there is none (expired ones are deleted first: event
 * "expired", statistics). Touches the LRU/LFU clock and counts hit/miss unless told otherwise. FIRN_EFAULT
 * possible in a later version (D5).
 */
FIRN_MUST_USE int db_find(struct db *db, struct bytes key, unsigned flags, struct entry **entry_out);
/* The entry's clock before the last db_find touched it, as idle ms (for promotion: how recently was it used).
 */
uint32_t db_previous_idle_ms(void);

/* Put an entry that is in no table under its key, which must not exist. Takes ownership. Adds its expiry to
 * the index. */
void db_insert(struct db *db, struct entry *entry);
/* Replace ${old} (which is in the table) by ${entry} with the same key: releases old's value (lazily if
 * large) and old itself. */
void db_replace(struct db *db, struct entry *old, struct entry *entry);
/* Delete; value released (large ones through the reaper). 1 if it existed. No event: the command emits "del".
 * Never faults. */
int db_delete(struct db *db, struct entry *entry);
/*
 * Move ${entry} to ${key} in ${target} (may be ${db}), where no such key may exist. Value, expiry, field
 * deadlines, clock and pin go along; no value is read. Consumes ${entry}, returns the new one.
 */
struct entry *db_rename(struct db *db, struct entry *entry, struct db *target, struct bytes key);
/* Take the entry out of the table without releasing it (RENAME, MOVE). Expiry stays in the entry, leaves the
 * index. */
void db_detach(struct db *db, struct entry *entry);

/*
 * A new layout for ${entry} (see entry_relayout), table and indexes following. Returns the new address.
 * ${entry} is consumed.
 */
struct entry *db_relayout(struct db *db, struct entry *entry, int with_ref, int with_inline,
                          uint32_t inline_bytes);
/* Set (ms since the epoch) or remove (-1) the expiry. May move entry; returns it. Not a db_changed by itself.
 */
struct entry *db_set_expiry(struct db *db, struct entry *entry, int64_t expiry_ms);

/* The value of ${entry} is about to change (D2). Call before mutating. May move entry (drops a clean copy's
 * ref word): returns it. */
struct entry *db_changing(struct db *db, struct entry *entry);
/* Key ${key} has changed (also: created, deleted): watchers, tracking, statistics of changes. After the
 * mutation. */
void db_changed(struct db *db, struct bytes key);
/* Keyspace event: class from keyspace/notify.h, name e.g. "set". */
void db_notify(struct db *db, unsigned event_class, const char *name, struct bytes key);

/* Hash-field TTLs: the entry's earliest field deadline is now ${deadline_ms} (-1: none). Keeps index and
 * ENTRY_FIELD_TTL. */
void db_set_field_deadline(struct db *db, struct entry *entry, int64_t old_deadline_ms, int64_t deadline_ms);

/* --- whole database --- */
uint64_t db_size(const struct db *db);
uint64_t db_expires_count(const struct db *db);
uint64_t db_field_expires_count(const struct db *db);
int64_t db_average_ttl_ms(const struct db *db);
/* Drop all keys of ${db}, or of all with NULL. O(1) for the caller: tables are handed to the reaper when
 * ${lazy}. Number of keys dropped. */
uint64_t db_flush(struct db *db, int lazy);
/* Exchange the content of two databases. */
void db_swap(struct db *a, struct db *b);
/* A random key that is not expired, or NULL if empty. Clock untouched. */
struct entry *db_random(struct db *db);

/*
 * SCAN: call ${visit} for the entries of at least one bucket from ${cursor} on, at most about ${count};
 * *next_out is the next cursor, 0 at the end. Every key present from the first to the last call is visited at
 * least once, whatever happens between calls. visit must not change the db. FIRN_EFAULT (nothing visited) and
 * the errors of reading: keys off DRAM.
 */
FIRN_MUST_USE int db_scan(struct db *db, uint64_t cursor, unsigned count,
                          void (*visit)(struct entry *entry, void *ctx), void *ctx, uint64_t *next_out);
/* Walk all entries in a stable order within one turn (KEYS, DEBUG). The entry is lent for the call. visit
 * must not change the db; nonzero stops. */
int db_each(struct db *db, int (*visit)(struct entry *entry, void *ctx), void *ctx);

/*
 * Walk all entries, each lent for the call, within one turn and leave every value in the tier it is in: cold
 * ones are read in bounded batches, not promoted, not counted as used (SAVE, DEBUG DIGEST). Due keys are
 * visited too. visit must not change the db; nonzero stops and is returned, as are the errors of reading.
 * Blocks; the current fault set is left alone.
 */
int db_walk(struct db *db, int (*visit)(struct entry *entry, void *ctx), void *ctx);

/* The NVMe record a read of ${key} would need, or 0. No fault, nothing touched. */
uint64_t db_cold_ref(struct db *db, struct bytes key);
/* Whether ${key} itself is off DRAM (db_sink.c, db_bundle.c): a lookup would need its record. One absent key
 * in thousands seems to be, too, in a database with keys in bundles. How many keys are. */
int db_is_sunk(struct db *db, struct bytes key);
uint64_t db_sunk_count(void);

/* Prefetch table memory for keys about to be looked up (batch of parsed commands). */
void db_prefetch(struct db *db, const struct bytes *keys, unsigned count);

/* --- time --- */
/* Delete expired keys and hash fields, bounded by ${budget_us}; nonzero if more are due. Events and
 * statistics included. */
int db_expire_some(int64_t budget_us);
/*
 * While ${held} (CLIENT PAUSE) nothing expires: reads do not find what is due, but it is not deleted. A
 * lookup for writing still deletes it: it is about to change the key anyway.
 */
void db_hold_expiry(int held);
/* Whether that is so. */
int db_expiry_is_held(void);
/* DEBUG SET-ACTIVE-EXPIRE. */
void db_set_active_expire(int enabled);
/* Housekeeping slice: reaper of flushed tables and detached values; nonzero when more is left. */
int db_reap_some(int64_t budget_us);

/* Bundles that are mostly dead: start or go on reading and emptying them (db_repack.c), a bounded step that
 * never waits; nonzero when it should be called again soon. Not under pressure of memory. */
int db_repack_some(void);
/* Before db_fini_all, the tiers still there. */
void db_repack_stop(void);

/* Memory of tables and indexes (INFO, MEMORY STATS): overhead without entries. */
uint64_t db_overhead_bytes(const struct db *db);
/* O(n) check of table, indexes, counts; asserts. */
void db_check(const struct db *db);
/* Table numbers for DEBUG HTSTATS. */
struct db_table_stats {
    uint64_t slots, used, segments, splits;
};
void db_table_stats(const struct db *db, struct db_table_stats *stats_out);

/* --- statistics, upward hooks --- */
struct db_stats {
    uint64_t keyspace_hits, keyspace_misses, expired_keys, expired_fields, expired_stale_percent_x100,
        expired_time_cap_reached, evicted_keys;
    uint64_t freed_later; /* values freed in slices after their command: large ones, and all of a flushed
                             database (lazyfreed_objects) */
    uint64_t changes;     /* since the last save: rdb_changes_since_last_save */
};
extern struct db_stats db_stats;

struct db_hooks {
    void (*changed)(struct db *db, struct bytes key); /* WATCH, tracking; may be NULL */
    void (*notify)(struct db *db, unsigned event_class, const char *name, struct bytes key); /* may be NULL */
    void (*expired)(struct db *db, struct bytes key); /* propagate DEL; may be NULL */
    void (*evicted)(struct db *db, struct bytes key);
    void (*flushing)(struct db *db);              /* before db_flush, NULL: of all; may be NULL */
    void (*swapping)(struct db *a, struct db *b); /* before db_swap; may be NULL */
    void (*fields_expired)(struct db *db, struct bytes key,
                           struct bytes field); /* propagate HDEL; may be NULL */
};
extern struct db_hooks db_hooks;

#endif
