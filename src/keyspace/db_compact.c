/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compaction of memory: after many values went down to other tiers the entries left lie scattered over runs
 * of the allocator that are mostly holes. A hand sweeps the tables and moves entries, and pages they own
 * alone, out of the emptiest runs (memory_compact), so that those go back to the system.
 *
 * An entry with a demotion in flight stays where it is: the tier manager knows it by its address. Between
 * commands only (D1). Executor.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "keyspace/db_internal.h"
#include "keyspace/evict_internal.h"
#include "page/page.h"

#define COLD_EVERY          2u  /* rounds: entries without their value leave fewer holes */
#define COMPACT_CLOCK_EVERY 16u /* buckets between looks at the clock */

static uint64_t hand;
static unsigned hand_db;
static unsigned rounds; /* counts rounds through all databases */

static void compact_page(struct entry *entry) {
    if (!(entry->flags & ENTRY_REF) || (entry->flags & ENTRY_INLINE)) return;
    uint64_t ref = entry_ref(entry);
    if (ref == 0 || page_ref_tag(ref) != PAGE_TAG_DRAM || page_ref_dram(ref)->refs != 1) return;
    struct page *page = memory_compact(page_ref_dram(ref));
    if (page_ref_of(page) != ref) entry_store_ref(entry, page_ref_of(page));
}

static void compact_bucket(uint64_t *slots) {
    for (unsigned i = 0; i < TABLE_BUCKET_SLOTS; i++) {
        if (slots[i] == 0 || (slots[i] & TABLE_SLOT_SUNK)) continue;
        if (table_slot_is_cold(slots[i]) && rounds % COLD_EVERY != 0) continue;
        struct entry *entry = table_slot_entry(slots[i]);
        if (entry->flags & ENTRY_MOVING) continue;
        struct entry *moved = memory_compact(entry);
        if (moved != entry) table_slot_set_entry(&slots[i], moved);
        compact_page(moved);
    }
}

int evict__compact(int64_t budget_us) {
    int64_t until_us = clock_monotonic_us() + budget_us;
    for (unsigned buckets = 0;;) {
        struct db *db = db_at(hand_db % db_count());
        while (db_size(db) > 0) {
            uint64_t *slots;
            hand = table_sweep(&db->table, hand, &slots);
            if (slots != NULL) compact_bucket(slots);
            if (++buckets % COMPACT_CLOCK_EVERY == 0 && clock_monotonic_us() >= until_us && hand != 0)
                return 0;
            if (hand == 0) break;
        }
        hand = 0;
        hand_db = (hand_db + 1) % db_count();
        if (hand_db == 0) {
            rounds++;
            return 1;
        }
    }
}
