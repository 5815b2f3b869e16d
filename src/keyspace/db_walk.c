/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A walk over a whole database that leaves every value where it is (db_walk): for saving and digests. Entries
 * are taken bucket by bucket in hash order, a batch at a time; what of a batch is on NVMe is read together
 * and let go with the next batch, so memory stays bounded whatever is cold. Keys off DRAM surface for the
 * visit and sink again. Then come the keys that are only in bundles, bundle by bundle.
 *
 * DW1 No fault set is current during a visit: types read without promoting (hash.c), and blocking where a
 * value has pages of its own.
 *
 * Executor only. Blocks on devices.
 */
#include "base/assert.h"
#include "keyspace/db_internal.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier.h"

#define WALK_ENTRIES    64u  /* of a batch: values up to 64 KiB are read whole */
#define WALK_BUCKET_MAX 128u /* keys one bucket may be home of: itself and its reach, full */

_Static_assert(WALK_ENTRIES <= TIER_WALK_BATCH, "a batch is read at once");

struct walk {
    struct db *db;
    int (*visit)(struct entry *entry, void *ctx);
    void *ctx;
    unsigned count;
    uint64_t *slots[WALK_ENTRIES + WALK_BUCKET_MAX];
};

static void collect(uint64_t *slot, void *ctx) {
    struct walk *walk = ctx;
    FIRN_ASSERT(walk->count < WALK_ENTRIES + WALK_BUCKET_MAX);
    walk->slots[walk->count++] = slot;
}

/* The record on NVMe that a visit of this slot reads first, or 0. */
static uint64_t cold_ref(uint64_t slot) {
    if (slot & TABLE_SLOT_SUNK) return table_slot_sunk(slot)->ref;
    const struct entry *entry = table_slot_entry(slot);
    uint64_t ref = entry->flags & ENTRY_INLINE ? 0 : entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_NVME ? ref : 0;
}

static int visit_slot(struct walk *walk, uint64_t *slot) {
    int was_sunk = (*slot & TABLE_SLOT_SUNK) != 0;
    if (was_sunk) {
        int error = db__surface(walk->db, slot);
        if (error != 0) return error;
    }
    int stop = walk->visit(table_slot_entry(*slot), walk->ctx);
    if (was_sunk) db__sink(walk->db, slot);
    return stop;
}

/* Visit ${count} of what was collected, from ${from} on. */
static int visit_some(struct walk *walk, unsigned from, unsigned count) {
    uint64_t refs[WALK_ENTRIES];
    unsigned cold = 0;
    for (unsigned i = from; i < from + count; i++) {
        uint64_t ref = cold_ref(*walk->slots[i]);
        if (ref != 0) refs[cold++] = ref;
    }
    if (cold > 0) tier_walk_read(refs, cold);
    for (unsigned i = from; i < from + count; i++) {
        int stop = visit_slot(walk, walk->slots[i]);
        if (stop != 0) return stop;
    }
    return 0;
}

static int visit_collected(struct walk *walk) {
    for (unsigned from = 0; from < walk->count; from += WALK_ENTRIES) {
        unsigned left = walk->count - from;
        int stop = visit_some(walk, from, left < WALK_ENTRIES ? left : WALK_ENTRIES);
        if (stop != 0) return stop;
    }
    walk->count = 0;
    return 0;
}

/* What is only in bundles: each of them is read once. */
static int visit_bundled(struct db *db, int (*visit)(struct entry *entry, void *ctx), void *ctx) {
    uint64_t refs[WALK_ENTRIES], place = 0;
    unsigned count;
    cold_index_walk_begin(&db->cold);
    while ((count = cold_index_walk(&db->cold, &place, refs, WALK_ENTRIES)) > 0) {
        tier_walk_read(refs, count);
        for (unsigned i = 0; i < count; i++) {
            int stop = db__bundle_visit(db, refs[i], visit, ctx);
            if (stop != 0) return stop;
        }
    }
    return 0;
}

int db_walk(struct db *db, int (*visit)(struct entry *entry, void *ctx), void *ctx) {
    struct walk walk = {.db = db, .visit = visit, .ctx = ctx};
    struct fault_set *set = fault_suspend();
    uint64_t position = 0;
    int stop = 0;
    tier_walk_begin();
    do {
        position = table_scan(&db->table, position, collect, &walk);
        if (walk.count >= WALK_ENTRIES || position == 0) stop = visit_collected(&walk);
    } while (stop == 0 && position != 0);
    if (stop == 0) stop = visit_bundled(db, visit, ctx);
    tier_walk_end();
    fault_resume(set);
    return stop;
}

struct each_entry {
    struct db *db;
    int (*visit)(struct entry *entry, void *ctx);
    void *ctx;
};

static int each_slot(uint64_t *slot, void *ctx) {
    const struct each_entry *each = ctx;
    int was_sunk = (*slot & TABLE_SLOT_SUNK) != 0;
    if (was_sunk) {
        fault_must_finish();
        int error = db__surface(each->db, slot);
        if (error != 0) return error;
    }
    int stop = each->visit(table_slot_entry(*slot), each->ctx);
    if (was_sunk) db__sink(each->db, slot); /* a walk over everything leaves nothing behind */
    return stop;
}

static int each_bundled(struct db *db, int (*visit)(struct entry *entry, void *ctx), void *ctx) {
    if (db__cold_keys(db) == 0) return 0;
    struct fault_set *set = fault_suspend();
    tier_walk_begin();
    int stop = visit_bundled(db, visit, ctx);
    tier_walk_end();
    fault_resume(set);
    return stop;
}

int db_each(struct db *db, int (*visit)(struct entry *entry, void *ctx), void *ctx) {
    struct each_entry each = {.db = db, .visit = visit, .ctx = ctx};
    int stop = table_each(&db->table, each_slot, &each);
    return stop != 0 ? stop : each_bundled(db, visit, ctx);
}
