/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of one database: 64-bit key hash -> entry. Order-preserving segmented extendible hashing; design
 * in table.c.
 *
 * A slot word is the entry's address with three flag bits below (addresses are 16-byte aligned) and 16 bits
 * of the key's hash above. A pointer to a slot is valid until the next insert or remove in the same table.
 *
 * Executor only. Nothing here faults or blocks.
 */
#ifndef FIRN_KEYSPACE_TABLE_H
#define FIRN_KEYSPACE_TABLE_H

#include <stdint.h>

#include "base/bytes.h"
#include "types/entry.h"

/* Where the bytes of an entry's value are, as far as victim sampling cares. DRAM and OBJECT may
 * be out of date (sampling looks). */
enum table_residency { TABLE_DRAM, TABLE_PMEM, TABLE_NVME, TABLE_OBJECT };

#define TABLE_SLOT_VOLATILE        1u /* the entry has an expiry */
#define TABLE_SLOT_RESIDENCY_SHIFT 1u
#define TABLE_SLOT_RESIDENCY_MASK  6u
#define TABLE_SLOT_SUNK            8u /* the address is that of a struct table_sunk, not of an entry */
#define TABLE_SLOT_FLAGS           15u
#define TABLE_SLOT_ADDRESS         0x0000fffffffffff0ull

#define TABLE_BUCKET_SLOTS 7u

/*
 * What stays in DRAM of a key whose value is on NVMe and that has not been used for long: the key itself and
 * the rest of its entry stand behind the value in the record (db_sink.c).
 */
struct table_sunk {
    uint64_t hash;
    uint64_t ref;
};

struct table {
    uint64_t *root;       /* root_bits top hash bits -> directory address, its depth in the high 16 bits */
    unsigned root_bits;   /* 0 or TABLE_ROOT_BITS */
    uint64_t root_single; /* the root while it has one directory */
    uint64_t used;        /* entries */
    uint64_t segments;    /* segments alive */
    uint64_t slots;       /* slots in them */
    uint64_t bytes;       /* memory of segments, directories and root */
    uint64_t splits;      /* segment splits so far */
    uint64_t drain;       /* table_drain's segment */
    unsigned drained;     /* buckets of it that are done */
};

void table_init(struct table *table);
/* Free segments and directories; entries are the caller's business. The table is as after table_init. */
void table_fini(struct table *table);

static inline struct entry *table_slot_entry(uint64_t slot) {
    return (struct entry *)(uintptr_t)(slot & TABLE_SLOT_ADDRESS);
}
static inline struct table_sunk *table_slot_sunk(uint64_t slot) {
    return (struct table_sunk *)(uintptr_t)(slot & TABLE_SLOT_ADDRESS);
}
static inline enum table_residency table_slot_residency(uint64_t slot) {
    return (enum table_residency)((slot & TABLE_SLOT_RESIDENCY_MASK) >> TABLE_SLOT_RESIDENCY_SHIFT);
}
static inline int table_slot_is_cold(uint64_t slot) {
    enum table_residency residency = table_slot_residency(slot);
    return residency == TABLE_PMEM || residency == TABLE_NVME;
}
static inline void table_slot_set_residency(uint64_t *slot, enum table_residency residency) {
    *slot = (*slot & ~(uint64_t)TABLE_SLOT_RESIDENCY_MASK) | (uint64_t)residency
                                                                 << TABLE_SLOT_RESIDENCY_SHIFT;
}
static inline void table_slot_set_volatile(uint64_t *slot, int is_volatile) {
    *slot = (*slot & ~(uint64_t)TABLE_SLOT_VOLATILE) | (is_volatile ? TABLE_SLOT_VOLATILE : 0u);
}
/* Another entry (or a new address) for the same key, flags kept. */
static inline void table_slot_set_entry(uint64_t *slot, const struct entry *entry) {
    *slot = (*slot & ~(TABLE_SLOT_ADDRESS | TABLE_SLOT_SUNK)) | (uint64_t)(uintptr_t)entry;
}
static inline void table_slot_set_sunk(uint64_t *slot, const struct table_sunk *sunk) {
    *slot = (*slot & ~TABLE_SLOT_ADDRESS) | TABLE_SLOT_SUNK | (uint64_t)(uintptr_t)sunk;
}

/* The slot of the entry with this key, or NULL. A sunk slot is returned if its hash is equal: the caller
 * surfaces it and looks again. */
uint64_t *table_find(const struct table *table, uint64_t hash, struct bytes key);
/* The slot that holds exactly ${entry}, whose key has ${hash}; NULL if it is not in this table. Does not read
 * the entry. */
uint64_t *table_find_entry(const struct table *table, uint64_t hash, const struct entry *entry);
/* The first slot from *${nth_inout} on whose stored hash bits match ${hash} (keys are not compared; chance of
 * a stranger 2^-17); NULL when there is none. nth counts matches, 0 first. */
uint64_t *table_find_hash(const struct table *table, uint64_t hash, unsigned nth);

/* Add ${entry}, whose key (hash ${hash}) must not be in the table; 16-byte aligned. Returns its slot, flags
 * zero. */
uint64_t *table_insert(struct table *table, uint64_t hash, const struct entry *entry);
/* Empty ${slot}, the slot of a key with ${hash}. */
void table_remove(struct table *table, uint64_t hash, uint64_t *slot);

/* Prefetch the bucket of ${hash}; later, the entry that likely matches. */
void table_prefetch_bucket(const struct table *table, uint64_t hash);
void table_prefetch_entry(const struct table *table, uint64_t hash);

/*
 * Walk in hash order. A position is the top 63 bits of a hash; 0 starts, and 0 comes back at the end.
 * scan: calls ${visit} for all slots whose home is the bucket at ${position}, wherever they were displaced
 * to: what was present all the time is met, whatever splits or merges happen between calls. visit must not
 * change the table.
 */
uint64_t table_scan(const struct table *table, uint64_t position, void (*visit)(uint64_t *slot, void *ctx),
                    void *ctx);
/* sweep: the seven slots of the physical bucket at ${position} (empty ones are 0), for sampling. NULL in an
 * empty table. */
uint64_t table_sweep(const struct table *table, uint64_t position, uint64_t **slots_out);
/* Every slot once; nonzero from visit stops and is returned. visit must not change the table (it may change
 * slot flags). */
int table_each(const struct table *table, int (*visit)(uint64_t *slot, void *ctx), void *ctx);
/* A uniformly chosen slot, or NULL if empty. */
uint64_t *table_random(const struct table *table);

/* Take a detached table apart: some buckets per call; ${release} gets each slot once. Nonzero while there is
 * more; at the end as table_init. */
int table_drain(struct table *table, void (*release)(uint64_t slot, void *ctx), void *ctx);

/* O(n): structure, counts, hashes. */
void table_check(const struct table *table);

#endif
