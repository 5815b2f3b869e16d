/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of src/keyspace share. Nobody else includes this.
 */
#ifndef FIRN_KEYSPACE_DB_INTERNAL_H
#define FIRN_KEYSPACE_DB_INTERNAL_H

#include "base/hash.h"
#include "ds/ordered_index.h"
#include "keyspace/cold_index.h"
#include "keyspace/db.h"
#include "keyspace/table.h"

/*
 * DB1 expiry holds exactly one (deadline, hash) for every entry with ENTRY_EXPIRY; the slot's volatile bit
 * says the same.
 *
 * DB2 fields holds exactly one (deadline, hash) for every entry with ENTRY_FIELD_TTL, and fields_by_hash the
 * same pair turned round, so that a cold hash can be deleted or renamed without reading its pages.
 *
 * DB3 residency[r] counts the slots whose residency bits are r. Bits that say PMEM or NVMe are true, or the
 * entry's hash is in the list of entries to look at again (db__note_cold). DRAM and OBJECT may be out of
 * date; sampling looks at the entry.
 *
 * DB4 cold holds exactly the keys that have a live copy in a bundle; of these, exactly the ones whose entry
 * has ENTRY_BUNDLED without ENTRY_MOVING are in the table, ${surfaced} of them. A key in the table without
 * ENTRY_BUNDLED is not in cold.
 *
 * Two keys of one database with the same 64-bit hash and the same deadline would share a record; the chance
 * is nil.
 */
struct db {
    struct table table;
    struct ordered_index expiry;
    struct ordered_index fields;
    struct ordered_index fields_by_hash;
    uint64_t residency[4];
    uint64_t sunk;                /* keys off DRAM but for a stub (db_sink.c) */
    struct cold_index cold;       /* keys in bundles (db_bundle.c), */
    uint64_t surfaced;            /* of which so many are in the table, too: ENTRY_BUNDLED */
    unsigned __int128 expiry_sum; /* of all deadlines */
    unsigned index;
};

static inline uint64_t db__hash(const struct entry *entry) {
    return hash_key(entry_key(entry));
}

/* Where the value of ${entry} is now. */
enum table_residency db__residency_of(const struct entry *entry);
/* Make the slot's residency bits true for its entry. */
void db__residency_update(struct db *db, uint64_t *slot);
/* The value of the entry with ${hash}, cold at the moment, may come to DRAM in this command: look again
 * before the next sampling. */
void db__note_cold(struct db *db, uint64_t hash);
/* Look again at everything noted. */
void db__settle_cold(void);
/* The slot of an entry that is in the table (asserts). */
uint64_t *db__slot(struct db *db, const struct entry *entry);
/* Delete an entry that is due: event, propagation, statistics. */
void db__expire(struct db *db, struct entry *entry);
/* Delete an entry to make room: event, propagation, statistics. */
void db__evict(struct db *db, struct entry *entry);
/* Void a demotion in flight. */
void db__forget_moving(struct entry *entry);
/* The database in whose table ${entry} is, trying ${hint} first; NULL if in none. */
struct db *db__of(struct entry *entry, unsigned hint, uint64_t **slot_out);
/* The entry whose key has exactly ${hash} and for which ${accept} (may be NULL) says yes. */
struct entry *db__by_hash(struct db *db, uint64_t hash);
/* No read for the expiry of fields is wanted any more (the databases go). */
void db__forget_field_reads(void);
/* The field deadline recorded for ${hash}, or -1. */
int64_t db__field_deadline(const struct db *db, uint64_t hash);
/* Sunk keys of all databases, those being taken apart included. */
extern uint64_t db__sunk_total;
/* Build the entry of a sunk key again. FIRN_EFAULT and the errors of page_peek; FIRN_ECORRUPT. */
FIRN_MUST_USE int db__surface(struct db *db, uint64_t *slot);
/* Sink the key of ${slot} if it may (S1): bytes of DRAM freed, else 0. */
uint64_t db__sink(struct db *db, uint64_t *slot);

/* --- db_bundle.c --- */
/* Keys of all databases that are only in bundles (those being taken apart do not count). */
extern uint64_t db__bundled_total;
/* Whether ${entry} has a copy in a bundle. */
static inline int db__is_clean(const struct entry *entry) {
    return (entry->flags & (ENTRY_BUNDLED | ENTRY_MOVING)) == ENTRY_BUNDLED;
}
/* Keys of ${db} that are only in bundles. */
static inline uint64_t db__cold_keys(const struct db *db) {
    return db->cold.keys - db->surfaced;
}
/* The bundle that may hold a key with ${hash} which is not in the table; 0: none does. */
static inline uint64_t db__cold_ref(const struct db *db, uint64_t hash) {
    return db->cold.keys > 0 ? cold_index_find(&db->cold, cold_position(hash)) : 0;
}
/* Bring ${key}, which is not in the table, into it if it is in a bundle: *slot_out its slot, or NULL. The
 * errors of page_peek; FIRN_ECORRUPT. */
FIRN_MUST_USE int db__bundle_surface(struct db *db, uint64_t hash, struct bytes key, uint64_t **slot_out);
/* The same for the keys from position ${from} to before ${end}, a number of them: nothing if it fails. */
FIRN_MUST_USE int db__bundle_surface_range(struct db *db, uint64_t from, uint64_t end);
/* Some key that is only in a bundle, chosen about uniformly, surfaced. */
FIRN_MUST_USE int db__bundle_surface_random(struct db *db, struct entry **entry_out);
/* ${entry}, ENTRY_BUNDLED and in the table under ${hash}, is about to differ from its copy: forget that. */
void db__unbundle(struct db *db, uint64_t hash, struct entry *entry);
/* Call ${visit} for every key of bundle ${ref} that is only there; the entry is lent for the call. Nonzero
 * from visit stops and is returned, as are the errors of reading. */
int db__bundle_visit(struct db *db, uint64_t ref, int (*visit)(struct entry *entry, void *ctx), void *ctx);
/* Every key of bundle ${ref} that lives comes into the table, as changed; the bundle is given back. Nothing
 * if it cannot be read. */
void db__bundle_empty(struct db *db, uint64_t ref);
/* The database is flushed (NULL: all), or two are exchanged: bundles being written. */
void db__bundle_forget(struct db *db);
void db__bundle_swap(struct db *a, struct db *b);
/* The checks of DB4. */
void db__bundle_check(const struct db *db);

/* Let go of what a slot of a table taken apart refers to. */
void db__release_slot(uint64_t slot);
/* Let go of a value and its entry, which is in no table. */
void db__release(struct entry *entry);
/* The same for one that was deleted or replaced: counts in db_stats.freed_later if it is large. */
void db__drop(struct entry *entry);

#endif
