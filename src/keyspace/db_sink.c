/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys off DRAM. An entry whose value is on NVMe costs its header, key and allocation (60 to 100 bytes). When
 * such stubs take more than a share of the memory limit, those not used lately sink: the slot then refers to
 * struct table_sunk (16 bytes: hash and reference), and the key, type, encoding, size and clock stand behind
 * the value in its record ("name", tier.h), where they were written when the value went down. Sinking writes
 * nothing. A lookup of a sunk key faults like a read of its value; with the record in the read buffer the
 * entry is built again (surfaces), and the command finds its value there too: one read for both.
 *
 * The name, byte for byte: OFFSET 0 SIZE 12 the fixed head of struct entry; 12, n: the key.
 *
 * S1 Only an entry that its record describes fully sinks: no expiry, no field deadlines, not pinned or
 * moving, not renamed since the record was written (ENTRY_RENAMED). S2 Sunk keys count in everything
 * (table.used, residency[NVME]); nothing in the expiry indexes refers to them. S3 Bytes of a record are not
 * trusted: a name that does not fit, or whose key has another hash, is FIRN_ECORRUPT.
 *
 * Executor only.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db_internal.h"
#include "keyspace/evict.h"
#include "keyspace/evict_internal.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier.h"

#define STUB_BYTES_ASSUMED 80u  /* an entry without value, for the share below */
#define STUB_SHARE         6u   /* stubs may take one 6th of the memory limit before any sinks */
#define SINK_BUCKETS       512u /* swept in one call */
#define SINK_IDLE_MS       3000u
#define EVICT_TRIES        64u

static uint64_t hand;
static unsigned hand_db;

int db__surface(struct db *db, uint64_t *slot) {
    struct table_sunk *sunk = table_slot_sunk(*slot);
    struct bytes payload;
    int error = page_peek(sunk->ref, &payload, NULL);
    if (error != 0) return error;
    struct bytes name = tier_read_name(sunk->ref);
    if (name.size < sizeof(struct entry)) return FIRN_ECORRUPT;
    struct entry head;
    memcpy(&head, name.data, sizeof head);
    struct bytes key = bytes_of(name.data + sizeof head, name.size - sizeof head);
    if (hash_key(key) != sunk->hash || entry_type(&head) >= TYPE_COUNT) return FIRN_ECORRUPT; /* S3 */
    struct entry *entry = entry_create(key, entry_type(&head), entry_encoding(&head), 1, 0, 0);
    entry->size = head.size;
    entry->clock = head.clock;
    entry_store_ref(entry, sunk->ref);
    table_slot_set_entry(slot, entry);
    memory_free(sunk);
    FIRN_ASSERT(db->sunk > 0);
    db->sunk--;
    db__sunk_total--;
    return 0;
}

uint64_t db__sink(struct db *db, uint64_t *slot) {
    if (*slot & (TABLE_SLOT_SUNK | TABLE_SLOT_VOLATILE)) return 0;
    struct entry *entry = table_slot_entry(*slot);
    const unsigned excluded =
        ENTRY_EXPIRY | ENTRY_INLINE | ENTRY_PINNED | ENTRY_MOVING | ENTRY_FIELD_TTL | ENTRY_RENAMED;
    if ((entry->flags & (excluded | ENTRY_REF)) != ENTRY_REF) return 0; /* S1 */
    uint64_t ref = entry_ref(entry);
    if (page_ref_tag(ref) != PAGE_TAG_NVME || !(ref & PAGE_REF_NAMED)) return 0;
    struct table_sunk *sunk = memory_alloc(sizeof *sunk);
    *sunk = (struct table_sunk){.hash = db__hash(entry), .ref = ref};
    db__residency_update(db, slot);
    table_slot_set_sunk(slot, sunk);
    db->sunk++;
    db__sunk_total++;
    uint64_t freed = entry_memory(entry);
    entry_free(entry);
    return freed > sizeof *sunk ? freed - sizeof *sunk : 0;
}

void db__release_slot(uint64_t slot) {
    if (!(slot & TABLE_SLOT_SUNK)) {
        db__release(table_slot_entry(slot));
        return;
    }
    struct table_sunk *sunk = table_slot_sunk(slot);
    page_release(sunk->ref);
    memory_free(sunk);
    db__sunk_total--;
}

uint64_t evict__sunk(void) {
    for (unsigned i = 0; i < EVICT_TRIES && db__sunk_total > 0; i++) {
        struct db *db = db_at((unsigned)random_below(db_count()));
        uint64_t *slot = db->sunk > 0 ? table_random(&db->table) : NULL;
        if (slot == NULL || !(*slot & TABLE_SLOT_SUNK)) continue;
        struct fault_set *set = fault_suspend();
        int error = db__surface(db, slot);
        fault_resume(set);
        if (error != 0) continue;
        struct entry *entry = table_slot_entry(*slot);
        uint64_t bytes = sizeof *entry + entry->size;
        db__evict(db, entry);
        return bytes;
    }
    return 0;
}

static uint64_t stubs_of_all(void) {
    uint64_t stubs = 0;
    for (unsigned i = 0; i < db_count(); i++)
        stubs += db_at(i)->residency[TABLE_NVME] - db_at(i)->sunk;
    return stubs;
}

static uint64_t sink_bucket(struct db *db, uint64_t *slots, int all) {
    uint64_t freed = 0;
    for (unsigned i = 0; i < TABLE_BUCKET_SLOTS; i++) {
        if (slots[i] == 0 || (slots[i] & TABLE_SLOT_SUNK) || table_slot_residency(slots[i]) != TABLE_NVME)
            continue;
        if (all || evict_idle_ms(table_slot_entry(slots[i])) >= SINK_IDLE_MS)
            freed += db__sink(db, &slots[i]);
    }
    return freed;
}

uint64_t evict__shrink(uint64_t bytes, int all) {
    uint64_t stubs = stubs_of_all(), freed = evict__bundle_shrink(bytes, all);
    if (stubs == 0 || freed >= bytes) return freed;
    if (!all) {
        uint64_t share = evict_config.memory_max / STUB_SHARE, taken = stubs * STUB_BYTES_ASSUMED;
        if (taken <= share) return freed;
        if (bytes > taken - share) bytes = taken - share;
    }
    db__settle_cold(); /* residency bits */
    for (unsigned buckets = 0, databases = 0;
         buckets < SINK_BUCKETS && freed < bytes && databases <= db_count(); buckets++) {
        struct db *db = db_at(hand_db % db_count());
        uint64_t *slots = NULL;
        hand = db->residency[TABLE_NVME] > db->sunk ? table_sweep(&db->table, hand, &slots) : 0;
        if (slots != NULL) freed += sink_bucket(db, slots, all);
        if (hand == 0) {
            hand_db = (hand_db + 1) % db_count();
            databases++;
        }
    }
    return freed;
}
