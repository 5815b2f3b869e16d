/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small keys off DRAM, value and all. An entry of a short string costs 100 bytes and more in DRAM, most of
 * them not its value, so moving the value alone gains little. Instead many cold entries of neighbouring
 * hashes are written as one immutable record of about 4 KB on NVMe, a bundle; then they leave the table, and
 * what stays in DRAM of a key is its fingerprint in the cold index (cold_index.h), 3 to 4 bytes.
 *
 *   a bundle: OFFSET SIZE FIELD
 *                  0    2 number of records
 *                  2    . records, ascending by position (cold_index.h), one after the other
 *   a record:      0   12 the head of struct entry; flags are ENTRY_INLINE
 *                 12    k key
 *                  .    m inline value: 8 bytes for an integer, else size
 *
 * Down: a hand sweeps the tables and takes what is cold (all but about the hottest quarter of what it sees)
 * until a bundle is full; the tier manager writes it like any page. Entries being written have ENTRY_BUNDLED
 * and ENTRY_MOVING. When the record is there, those that still are what it says leave the table; one that
 * was used meanwhile stays, as clean.
 *
 * Up: a lookup that the table cannot answer asks the index, faults for the bundle, and builds the entry
 * again (surfaces). The entry is clean then: ENTRY_BUNDLED; the index still has it. If it is not changed it
 * leaves again without a write (db__bundle_shrink); the moment it changes, its fingerprint goes
 * (db__unbundle), and the bundle with the last of them. Bundles that are mostly dead are read and what lives
 * in them surfaces as changed (db_repack_some), to be packed anew with its neighbours.
 *
 * BN1 Only what a record says fully is bundled: inline strings without expiry, not pinned, of at most
 * RECORD_BYTES_MAX, and without a clean copy of their own. BN2 A bundle that was written takes over a key
 * only if the entry in the table is, byte for byte, what its record says (the clock aside). So nobody has to
 * be told about changes, and a key packed twice does no harm. BN3 Bytes of a bundle are not trusted: what
 * does not fit is FIRN_ECORRUPT. BN4 A record is live if the index refers its position to this bundle: a
 * position is in the index once, so a dead record is not taken for a live one. BN5 The clock of a record is
 * right within an hour or so: an entry used in another hour than its record says counts as changed. (In a
 * stress mode exactly right; else reading would write.)
 *
 * Executor only.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db_internal.h"
#include "keyspace/evict.h"
#include "keyspace/evict_internal.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier.h"

#define BUNDLE_BYTES     4056u /* with struct page a size class of the allocator */
#define RECORD_BYTES_MAX 512u  /* larger entries have records of their own (db_sink.c) */
#define COUNT_BYTES      2u
#define SWEEP_BUCKETS    512u /* looked at in one call */
#define KEYS_MIN         8u   /* in the last bundle of a round through a table */
#define SAMPLE           256u /* clocks seen, from which it follows what is cold */
#define SPARED_SHARE     4u   /* the hottest fourth */
#define CLEAN_SHARE      16u  /* so few clean entries are not worth a sweep */
#define RANDOM_TRIES     16u

_Static_assert(BUNDLE_BYTES > 4 * RECORD_BYTES_MAX, "a bundle holds several");

uint64_t db__bundled_total;

/* --- the record --- */

struct record {
    struct entry head;
    const uint8_t *key, *value;
    uint32_t value_bytes;
};

static struct bytes record_key(const struct record *record) {
    return bytes_of(record->key, record->head.key_bytes);
}

static uint32_t record_bytes(const struct entry *entry) {
    return (uint32_t)(sizeof *entry + entry_key(entry).size + entry_inline_bytes(entry));
}

/* The record at *offset_inout of ${payload}, which is moved on. Whether there is one (BN3). */
static int record_next(struct bytes payload, size_t *offset_inout, struct record *record_out) {
    size_t offset = *offset_inout, left = payload.size - offset;
    struct entry *head = &record_out->head;
    if (left < sizeof *head) return 0;
    memcpy(head, payload.data + offset, sizeof *head);
    enum encoding encoding = entry_encoding(head);
    if (head->flags != ENTRY_INLINE || entry_type(head) != TYPE_STRING) return 0;
    if (encoding != ENCODING_INT && encoding != ENCODING_RAW && encoding != ENCODING_EMBSTR) return 0;
    uint32_t value_bytes = encoding == ENCODING_INT ? ENTRY_INT_BYTES : head->size;
    left -= sizeof *head;
    if (head->key_bytes > left || value_bytes > left - head->key_bytes) return 0;
    record_out->key = payload.data + offset + sizeof *head;
    record_out->value = record_out->key + head->key_bytes;
    record_out->value_bytes = value_bytes;
    *offset_inout = offset + sizeof *head + head->key_bytes + value_bytes;
    return 1;
}

/* The bundle of ${ref} for reading: its payload and number of records. Errors as page_peek. */
static int bundle_read(uint64_t ref, struct bytes *payload_out, unsigned *count_out) {
    int error = page_peek(ref, payload_out, NULL);
    if (error != 0) return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
    if (payload_out->size < COUNT_BYTES) return FIRN_ECORRUPT;
    *count_out = bytes_load16(payload_out->data);
    return 0;
}

/* The record of ${key} in ${payload}: 1, 0 if there is none, FIRN_ECORRUPT. */
static int bundle_search(struct bytes payload, unsigned count, struct bytes key, struct record *record_out) {
    size_t offset = COUNT_BYTES;
    for (unsigned i = 0; i < count; i++) {
        if (!record_next(payload, &offset, record_out)) return FIRN_ECORRUPT;
        if (bytes_equal(record_key(record_out), key)) return 1;
    }
    return 0;
}

/* The same for the record whose key is at ${position}. */
static int bundle_at(struct bytes payload, unsigned count, uint64_t position, struct record *record_out,
                     uint64_t *hash_out) {
    size_t offset = COUNT_BYTES;
    for (unsigned i = 0; i < count; i++) {
        if (!record_next(payload, &offset, record_out)) return FIRN_ECORRUPT;
        *hash_out = hash_key(record_key(record_out));
        if (cold_position(*hash_out) == position) return 1;
    }
    return FIRN_ECORRUPT; /* the index says that there is */
}

/* An entry as ${record} says, in no table. */
static struct entry *record_entry(const struct record *record) {
    struct entry *entry = entry_create_parts(record_key(record), TYPE_STRING, entry_encoding(&record->head),
                                             ENTRY_INLINE, record->value_bytes);
    entry->clock = record->head.clock;
    entry->size = record->head.size;
    if (record->value_bytes > 0) memcpy(entry_inline(entry), record->value, record->value_bytes);
    return entry;
}

/* --- up --- */

static uint64_t *surface(struct db *db, uint64_t hash, const struct record *record) {
    struct entry *entry = record_entry(record);
    entry->flags |= ENTRY_BUNDLED;
    uint64_t *slot = table_insert(&db->table, hash, entry);
    table_slot_set_residency(slot, TABLE_DRAM);
    db->residency[TABLE_DRAM]++;
    db->surfaced++;
    db__bundled_total--;
    return slot;
}

int db__bundle_surface(struct db *db, uint64_t hash, struct bytes key, uint64_t **slot_out) {
    *slot_out = NULL;
    uint64_t ref = db__cold_ref(db, hash);
    if (ref == 0) return 0;
    struct bytes payload;
    struct record record;
    unsigned count;
    int result = bundle_read(ref, &payload, &count);
    if (result == 0) result = bundle_search(payload, count, key, &record);
    if (result <= 0) return result;
    *slot_out = surface(db, hash, &record);
    return 0;
}

/* The key at ${position}, in the bundle ${ref}: in the table afterwards. */
static int surface_at(struct db *db, uint64_t position, uint64_t ref, uint64_t **slot_out) {
    struct bytes payload;
    struct record record;
    unsigned count;
    uint64_t hash = 0;
    int result = bundle_read(ref, &payload, &count);
    if (result == 0) result = bundle_at(payload, count, position, &record, &hash);
    if (result <= 0) return result;
    *slot_out = table_find(&db->table, hash, record_key(&record));
    if (*slot_out == NULL) *slot_out = surface(db, hash, &record);
    return 0;
}

int db__bundle_surface_range(struct db *db, uint64_t from, uint64_t end) {
    uint64_t position, ref, *slot;
    struct bytes payload;
    int result = 0;
    unsigned count;
    for (uint64_t at = from; cold_index_next(&db->cold, at, &position, &ref) && position < end;
         at = position + 1) { /* ask for all that is missing */
        int error = bundle_read(ref, &payload, &count);
        if (error != 0 && error != FIRN_EFAULT) return error;
        if (error != 0) result = error;
    }
    for (uint64_t at = from; result == 0 && cold_index_next(&db->cold, at, &position, &ref) && position < end;
         at = position + 1)
        result = surface_at(db, position, ref, &slot);
    return result;
}

int db__bundle_surface_random(struct db *db, struct entry **entry_out) {
    uint64_t position, ref, *slot = NULL;
    int error = FIRN_ENOTFOUND;
    for (unsigned i = 0; i < RANDOM_TRIES; i++) {
        if (!cold_index_random(&db->cold, &position, &ref)) return FIRN_ENOTFOUND;
        error = surface_at(db, position, ref, &slot);
        if (error == 0) break;
    }
    if (error == 0) *entry_out = table_slot_entry(*slot);
    return error;
}

void db__unbundle(struct db *db, uint64_t hash, struct entry *entry) {
    FIRN_ASSERT((entry->flags & (ENTRY_BUNDLED | ENTRY_MOVING)) == ENTRY_BUNDLED && db->surfaced > 0);
    entry->flags &= (uint8_t)~ENTRY_BUNDLED;
    db->surfaced--;
    cold_index_remove(&db->cold, cold_position(hash));
}

/* --- what is cold --- */

static struct {
    uint32_t seen[SAMPLE];
    unsigned count;
    uint32_t threshold; /* coldness from which an entry may go */
} clocks;

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int is_cold(const struct entry *entry) {
    if (tier_get_stress() != TIER_STRESS_OFF) return 1;
    if (evict_config.policy == EVICT_ALLKEYS_RANDOM || evict_config.policy == EVICT_VOLATILE_RANDOM)
        return random_below(SPARED_SHARE) != 0;
    uint32_t coldness = evict__coldness(entry);
    clocks.seen[clocks.count++] = coldness;
    if (clocks.count == SAMPLE) {
        qsort(clocks.seen, SAMPLE, sizeof clocks.seen[0], ascending);
        clocks.threshold = clocks.seen[SAMPLE / SPARED_SHARE];
        clocks.count = 0;
    }
    return coldness >= clocks.threshold;
}

/* --- down --- */

/* A bundle offered to the tier manager, or being written. */
struct bundle {
    struct bundle *previous, *next;
    struct db *db;
    struct page *page;
    uint32_t freed; /* DRAM its entries take */
    int begun;
    unsigned count;
    uint64_t hashes[]; /* of its keys, in their order */
};
static struct bundle *bundles;

int evict__is_small(const struct entry *entry) { /* BN1 */
    const unsigned excluded = ENTRY_EXPIRY | ENTRY_PINNED | ENTRY_FIELD_TTL;
    return (entry->flags & (excluded | ENTRY_INLINE)) == ENTRY_INLINE && entry_ref(entry) == 0 &&
           record_bytes(entry) <= RECORD_BYTES_MAX;
}

static void bundle_unlink(struct bundle *bundle) {
    if (bundle->previous != NULL)
        bundle->previous->next = bundle->next;
    else
        bundles = bundle->next;
    if (bundle->next != NULL) bundle->next->previous = bundle->previous;
}

/* Its entries, where they are still marked, may go with another. */
static void bundle_unmark(struct bundle *bundle) {
    struct bytes payload = bytes_of(bundle->page->data, bundle->page->bytes);
    struct record record;
    size_t offset = COUNT_BYTES;
    for (unsigned i = 0; i < bundle->count && record_next(payload, &offset, &record); i++) {
        uint64_t *slot = table_find(&bundle->db->table, bundle->hashes[i], record_key(&record));
        if (slot == NULL || (*slot & TABLE_SLOT_SUNK)) continue;
        const unsigned marks = ENTRY_BUNDLED | ENTRY_MOVING;
        struct entry *entry = table_slot_entry(*slot);
        if ((entry->flags & marks) == marks) entry->flags &= (uint8_t)~marks;
    }
}

static void bundle_destroy(struct bundle *bundle) {
    bundle_unlink(bundle);
    page_release(page_ref_of(bundle->page));
    memory_free(bundle);
}

struct pick {
    uint64_t hash;
    struct entry *entry;
};

static struct {
    unsigned count;
    uint32_t bytes, freed;
    struct pick picks[COLD_BUNDLE_KEYS_MAX];
} picked;

static int by_hash(const void *a, const void *b) {
    uint64_t x = ((const struct pick *)a)->hash, y = ((const struct pick *)b)->hash;
    return x < y ? -1 : x > y;
}

/* Take what is cold of a bucket. 0: the bundle is full, and some of the bucket was left. */
static int pick_bucket(const struct db *db, const uint64_t *slots) {
    for (unsigned i = 0; i < TABLE_BUCKET_SLOTS; i++) {
        if (slots[i] == 0 || (slots[i] & (TABLE_SLOT_SUNK | TABLE_SLOT_VOLATILE)) ||
            table_slot_residency(slots[i]) != TABLE_DRAM)
            continue;
        struct entry *entry = table_slot_entry(slots[i]);
        if ((entry->flags & (ENTRY_MOVING | ENTRY_BUNDLED)) || !evict__is_small(entry) || !is_cold(entry))
            continue;
        uint64_t hash = db__hash(entry);
        if (db__cold_ref(db, hash) != 0) continue; /* C1: another key has its position */
        uint32_t bytes = record_bytes(entry);
        if (picked.count == COLD_BUNDLE_KEYS_MAX || picked.bytes + bytes > BUNDLE_BYTES) return 0;
        picked.picks[picked.count++] = (struct pick){.hash = hash, .entry = entry};
        picked.bytes += bytes;
        picked.freed += (uint32_t)entry_memory(entry);
    }
    return 1;
}

static uint8_t *write_record(uint8_t *to, const struct entry *entry) {
    struct bytes key = entry_key(entry);
    uint32_t value_bytes = entry_inline_bytes(entry);
    struct entry head;
    memcpy(&head, entry, sizeof head);
    head.flags = ENTRY_INLINE;
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, key.data, key.size);
    if (value_bytes > 0) memcpy(to + sizeof head + key.size, entry_inline(entry), value_bytes);
    return to + sizeof head + key.size + value_bytes;
}

/* What was picked becomes a bundle, its entries marked. */
static struct bundle *bundle_create(struct db *db) {
    struct bundle *bundle = memory_alloc(sizeof *bundle + picked.count * sizeof bundle->hashes[0]);
    *bundle = (struct bundle){
        .next = bundles,
        .db = db,
        .page = page_create(picked.bytes),
        .freed = picked.freed,
    };
    qsort(picked.picks, picked.count, sizeof picked.picks[0], by_hash);
    uint8_t *to = bundle->page->data + COUNT_BYTES;
    for (unsigned i = 0; i < picked.count; i++) {
        const struct pick *pick = &picked.picks[i];
        if (i > 0 && cold_position(pick->hash) == cold_position(picked.picks[i - 1].hash)) continue; /* C1 */
        bundle->hashes[bundle->count++] = pick->hash;
        pick->entry->flags |= ENTRY_BUNDLED | ENTRY_MOVING;
        to = write_record(to, pick->entry);
    }
    bytes_store16(bundle->page->data, (uint16_t)bundle->count);
    bundle->page->bytes = (uint32_t)(to - bundle->page->data);
    if (bundles != NULL) bundles->previous = bundle;
    bundles = bundle;
    return bundle;
}

static uint64_t hand;
static unsigned hand_db;

/* Sweep on from the hand until a bundle is full, the table ends (then hand is 0) or *buckets_inout buckets
 * were seen. A bundle that got less than full is not made when it is not the ${first}: the next call gets
 * more of its neighbourhood. */
static struct bundle *pack(struct db *db, unsigned *buckets_inout, int first) {
    unsigned keys_min = tier_get_stress() != TIER_STRESS_OFF ? 1 : KEYS_MIN;
    uint64_t began = hand;
    int full = 0, ended = 0;
    picked.count = 0;
    picked.bytes = COUNT_BYTES;
    picked.freed = 0;
    while (!full && !ended && *buckets_inout > 0) {
        uint64_t *slots;
        uint64_t position = table_sweep(&db->table, hand, &slots);
        if (slots == NULL) {
            ended = 1;
            break;
        }
        full = !pick_bucket(db, slots);
        if (!full) hand = position; /* else what is left of it is next */
        ended = !full && position == 0;
        --*buckets_inout;
    }
    if (ended) hand = 0;
    if (!full && !ended && !first) {
        hand = began;
        return NULL;
    }
    return full || picked.count >= keys_min ? bundle_create(db) : NULL;
}

static struct tier_victim victim_of(struct bundle *bundle) {
    return (struct tier_victim){
        .owner = bundle,
        .ref = page_ref_of(bundle->page),
        .db = bundle->db->index,
        .bundled_bytes = bundle->freed,
    };
}

unsigned evict__bundle_victims(struct tier_victim *victims_out, unsigned limit) {
    unsigned count = 0, buckets = SWEEP_BUCKETS, databases = 0;
    for (struct bundle *bundle = bundles; bundle != NULL && count < limit; bundle = bundle->next)
        if (!bundle->begun) victims_out[count++] = victim_of(bundle); /* not taken the last time */
    while (count < limit && buckets > 0 && databases <= db_count()) {
        struct db *db = db_at(hand_db % db_count());
        unsigned before = buckets;
        struct bundle *bundle =
            db->residency[TABLE_DRAM] > db->surfaced ? pack(db, &buckets, count == 0) : NULL;
        if (bundle != NULL) victims_out[count++] = victim_of(bundle);
        if (before == buckets) hand = 0;
        if (hand == 0) {
            hand_db = (hand_db + 1) % db_count();
            databases++;
        } else if (bundle == NULL) {
            break;
        }
    }
    return count;
}

void evict__bundle_begin(const struct tier_victim *victim) {
    ((struct bundle *)victim->owner)->begun = 1;
}

/* Whether ${entry} is what ${record}, of the same key, says (BN2). */
static int is_same(const struct entry *entry, const struct record *record) {
    return evict__is_small(entry) && entry->type_encoding == record->head.type_encoding &&
           entry->size == record->head.size && entry_inline_bytes(entry) == record->value_bytes &&
           (record->value_bytes == 0 || memcmp(entry_inline(entry), record->value, record->value_bytes) == 0);
}

static void drop_entry(struct db *db, uint64_t hash, uint64_t *slot) {
    struct entry *entry = table_slot_entry(*slot);
    db->residency[table_slot_residency(*slot)]--;
    table_remove(&db->table, hash, slot);
    entry_free(entry);
    db__bundled_total++;
}

/* Entries that are what the bundle says: their positions, and those used meanwhile marked as clean. */
static unsigned take_over(struct bundle *bundle, uint64_t *positions_out, struct entry **drop_out) {
    struct bytes payload = bytes_of(bundle->page->data, bundle->page->bytes);
    struct record record;
    size_t offset = COUNT_BYTES;
    unsigned count = 0;
    for (unsigned i = 0; i < bundle->count && record_next(payload, &offset, &record); i++) {
        uint64_t *slot = table_find(&bundle->db->table, bundle->hashes[i], record_key(&record));
        if (slot == NULL || (*slot & TABLE_SLOT_SUNK)) continue;
        struct entry *entry = table_slot_entry(*slot);
        if ((entry->flags & (ENTRY_BUNDLED | ENTRY_MOVING)) == ENTRY_BUNDLED) continue; /* packed twice */
        if (!is_same(entry, &record)) continue;
        if ((entry->flags & ENTRY_MOVING) && !(entry->flags & ENTRY_BUNDLED)) continue; /* elsewhere */
        if (db__cold_ref(bundle->db, bundle->hashes[i]) != 0) continue;                 /* C1 */
        entry->flags = (uint8_t)((entry->flags & ~ENTRY_MOVING) | ENTRY_BUNDLED);
        bundle->db->surfaced++;
        drop_out[count] = entry->clock == record.head.clock ? entry : NULL;
        positions_out[count++] = cold_position(bundle->hashes[i]);
    }
    return count;
}

int evict__bundle_finish(const struct tier_victim *victim, uint64_t ref) {
    struct bundle *bundle = victim->owner;
    struct db *db = bundle->db;
    uint64_t positions[COLD_BUNDLE_KEYS_MAX];
    struct entry *drop[COLD_BUNDLE_KEYS_MAX];
    unsigned count = ref != 0 ? take_over(bundle, positions, drop) : 0;
    if (count > 0) cold_index_add(&db->cold, positions, count, bundle->count, ref);
    for (unsigned i = 0; i < count; i++) {
        if (drop[i] == NULL) continue;
        uint64_t hash = db__hash(drop[i]);
        drop_entry(db, hash, table_find_entry(&db->table, hash, drop[i]));
        db->surfaced--;
    }
    bundle_unmark(bundle);
    bundle_destroy(bundle);
    return count > 0;
}

/* Clean entries of a bucket leave; bytes freed. */
static uint64_t drop_clean(struct db *db, const uint64_t *slots, int all) {
    struct entry *entries[TABLE_BUCKET_SLOTS];
    unsigned count = 0;
    uint64_t freed = 0;
    for (unsigned i = 0; i < TABLE_BUCKET_SLOTS; i++) {
        if (slots[i] == 0 || (slots[i] & TABLE_SLOT_SUNK) || table_slot_residency(slots[i]) != TABLE_DRAM)
            continue;
        struct entry *entry = table_slot_entry(slots[i]);
        if ((entry->flags & (ENTRY_BUNDLED | ENTRY_MOVING | ENTRY_PINNED)) != ENTRY_BUNDLED) continue;
        if (all || is_cold(entry)) entries[count++] = entry;
    }
    for (unsigned i = 0; i < count; i++) { /* slots move */
        uint64_t hash = db__hash(entries[i]);
        freed += entry_memory(entries[i]);
        drop_entry(db, hash, table_find_entry(&db->table, hash, entries[i]));
        db->surfaced--;
    }
    return freed;
}

uint64_t evict__bundle_shrink(uint64_t bytes, int all) {
    static uint64_t at;
    static unsigned at_db;
    uint64_t clean = 0, used = 0, freed = 0;
    for (unsigned i = 0; i < db_count(); i++) {
        clean += db_at(i)->surfaced;
        used += db_at(i)->table.used;
    }
    if (clean == 0 || (!all && clean < used / CLEAN_SHARE)) return 0;
    for (unsigned buckets = 0, databases = 0;
         buckets < SWEEP_BUCKETS && freed < bytes && databases <= db_count(); buckets++) {
        struct db *db = db_at(at_db % db_count());
        uint64_t *slots = NULL;
        at = db->surfaced > 0 ? table_sweep(&db->table, at, &slots) : 0;
        if (slots != NULL) freed += drop_clean(db, slots, all);
        if (at == 0) {
            at_db = (at_db + 1) % db_count();
            databases++;
        }
    }
    return freed;
}

/* --- whole databases --- */

int db__bundle_visit(struct db *db, uint64_t ref, int (*visit)(struct entry *entry, void *ctx), void *ctx) {
    struct bytes payload;
    struct record record;
    size_t offset = COUNT_BYTES;
    unsigned count;
    int result = bundle_read(ref, &payload, &count);
    for (unsigned i = 0; i < count && result == 0; i++) {
        if (!record_next(payload, &offset, &record)) return FIRN_ECORRUPT;
        uint64_t hash = hash_key(record_key(&record));
        if (db__cold_ref(db, hash) != ref) continue; /* BN4 */
        if (db->surfaced > 0 && table_find(&db->table, hash, record_key(&record)) != NULL) continue;
        struct entry *entry = record_entry(&record);
        result = visit(entry, ctx);
        entry_free(entry);
    }
    return result;
}

/* Into the table, as changed. */
static void surface_record(struct db *db, uint64_t hash, const struct record *record) {
    uint64_t *slot = table_find(&db->table, hash, record_key(record));
    if (slot == NULL) slot = surface(db, hash, record);
    db__unbundle(db, hash, table_slot_entry(*slot));
}

static void evict_record(struct db *db, uint64_t hash, const struct record *record) {
    if (table_find(&db->table, hash, record_key(record)) != NULL) return; /* in use: not the coldest */
    db__evict(db, table_slot_entry(*surface(db, hash, record)));
}

/* Call ${work} for each live record of bundle ${ref}, in a copy, since it may go with the last of its keys.
 * Its bytes, 0 if it cannot be read. */
static size_t for_records(struct db *db, uint64_t ref,
                          void (*work)(struct db *db, uint64_t hash, const struct record *record)) {
    struct bytes payload;
    struct record record;
    size_t offset = COUNT_BYTES;
    unsigned count;
    struct fault_set *set = fault_suspend();
    int error = bundle_read(ref, &payload, &count);
    if (error == 0) {
        uint8_t *copy = memory_alloc(payload.size);
        memcpy(copy, payload.data, payload.size);
        for (unsigned i = 0; i < count && record_next(bytes_of(copy, payload.size), &offset, &record); i++) {
            uint64_t hash = hash_key(record_key(&record));
            if (db__cold_ref(db, hash) == ref) work(db, hash, &record); /* BN4 */
        }
        memory_free(copy);
    }
    fault_resume(set);
    return error == 0 ? payload.size : 0;
}

uint64_t evict__bundle(void) {
    uint64_t nth = db__bundled_total > 0 ? random_below(db__bundled_total) : 0, position, ref;
    struct db *db = NULL;
    for (unsigned i = 0; i < db_count() && db__bundled_total > 0; i++) {
        db = db_at(i);
        if (nth < db__cold_keys(db)) break;
        nth -= db__cold_keys(db);
    }
    if (db == NULL || !cold_index_random(&db->cold, &position, &ref)) return 0;
    uint64_t evicted = db_stats.evicted_keys;
    size_t bytes = for_records(db, ref, evict_record);
    return db_stats.evicted_keys > evicted ? bytes : 0;
}

void db__bundle_empty(struct db *db, uint64_t ref) {
    (void)for_records(db, ref, surface_record);
}

void db__bundle_forget(struct db *db) {
    for (struct bundle *bundle = bundles, *next; bundle != NULL; bundle = next) {
        next = bundle->next;
        if (db != NULL && bundle->db != db) continue;
        if (bundle->begun) tier_forget(bundle); /* the manager has its own hold on the page */
        bundle_unmark(bundle);
        bundle_destroy(bundle);
    }
}

void db__bundle_swap(struct db *a, struct db *b) {
    for (struct bundle *bundle = bundles; bundle != NULL; bundle = bundle->next)
        bundle->db = bundle->db == a ? b : bundle->db == b ? a : bundle->db;
}

struct check {
    const struct db *db;
    uint64_t clean;
};

static int check_slot(uint64_t *slot, void *ctx) {
    struct check *check = ctx;
    if (*slot & TABLE_SLOT_SUNK) return 0;
    const struct entry *entry = table_slot_entry(*slot);
    if ((entry->flags & (ENTRY_BUNDLED | ENTRY_MOVING)) != ENTRY_BUNDLED) return 0;
    FIRN_ASSERT((entry->flags & ENTRY_INLINE) && entry_ref(entry) == 0);
    FIRN_ASSERT(db__cold_ref(check->db, db__hash(entry)) != 0); /* DB4 */
    check->clean++;
    return 0;
}

void db__bundle_check(const struct db *db) {
    struct check check = {.db = db};
    cold_index_check(&db->cold);
    table_each(&db->table, check_slot, &check);
    FIRN_ASSERT(check.clean == db->surfaced && db->surfaced <= db->cold.keys);
}
