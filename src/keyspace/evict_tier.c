/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tier manager's hooks: which values to move down, and the flip of their owners when that is done.
 *
 * Victims. A hand sweeps the table in hash order and collects a window of candidates, several times as many
 * as are wanted; the coldest of them are offered. Residency bits in the slots keep it from touching entries
 * that are cold already, so it moves fast through a table that is mostly cold. Pages of objects come from a
 * round robin over objects, in the proportion that object pages have in DRAM. The policy says how cold
 * something is: LFU by frequency, random at random, all others by idle time. That a policy is "volatile"
 * restricts deletion only: moving a value loses nothing.
 *
 * EV1 A victim is never PINNED or MOVING, nor its page being moved; the page of a whole value is never shared
 * (refs 1).
 *
 * EV2 finish changes the owner only if it still holds exactly what was offered. A record that takes the place
 * of a page with the same clean copy inherits that copy (page->lower is cleared first), so it is discarded
 * once.
 *
 * EV3 A page of an object that others refer to as well (a copy of the object, a reply that holds its pages)
 * goes down from each of them: the first time it is written, and the page then has a clean copy, which its
 * owners share (page_share).
 *
 * Executor only.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db_internal.h"
#include "keyspace/evict.h"
#include "keyspace/evict_internal.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/type.h"

#define WINDOW_MAX          512u  /* candidates ranked in one call */
#define WINDOW_BUCKETS      1024u /* buckets swept in one call */
#define WINDOW_FACTOR       5u    /* candidates per victim wanted, at least */
#define BATCH_SLOTS         64u   /* entries prefetched before they are looked at */
#define GAIN_BYTES_MIN      24u   /* an inline value that is not longer stays: a stub needs 8 bytes */
#define OBJECT_TRIES        8u    /* objects asked in one call */
#define OBJECT_SCAN         64u   /* pages taken from one of them */
#define OBJECT_SCAN_MAX     4096u /* looked at to find so many: what is in DRAM may be next to each other */
#define CLOCK_IDLE_MAX      0xffffffu /* seconds, so that a rank holds it */
#define BUNDLES_AT_ONCE     8u
#define SCARCE_TURNS        32u
#define BUNDLES_MEMORY_MIN  (16u << 20)
#define NAMED_KEY_BYTES_MAX 1024u /* entries with longer keys do not sink (db_sink.c) */

/* A candidate: what it is stands elsewhere. Smaller rank: colder. */
struct candidate {
    uint32_t rank;
    uint32_t db;         /* of an entry */
    struct entry *entry; /* NULL: window_pages[index] */
    uint32_t index;
};
static struct candidate window[WINDOW_MAX];
static struct tier_victim window_pages[WINDOW_MAX];

static int colder_first(const void *a, const void *b) {
    uint32_t rank_a = ((const struct candidate *)a)->rank, rank_b = ((const struct candidate *)b)->rank;
    return rank_a < rank_b ? -1 : rank_a > rank_b;
}

static uint32_t rank_of(uint32_t coldness) {
    if (evict_config.policy == EVICT_ALLKEYS_RANDOM || evict_config.policy == EVICT_VOLATILE_RANDOM) {
        return (uint32_t)random_u64();
    }
    return UINT32_MAX - coldness;
}

/* Whether the value of ${entry} can be moved out of ${from} as a whole; then *victim_out says how. */
static int entry_victim(struct entry *entry, unsigned db, int from, struct tier_victim *victim_out) {
    if (entry->flags & (ENTRY_PINNED | ENTRY_MOVING)) return 0; /* EV1 */
    *victim_out = (struct tier_victim){.owner = entry, .db = db};
    if (!(entry->flags & (ENTRY_EXPIRY | ENTRY_FIELD_TTL)) && entry_key(entry).size <= NAMED_KEY_BYTES_MAX) {
        victim_out->name_head = bytes_of(entry, sizeof *entry);
        victim_out->name_tail = entry_key(entry);
    }
    uint64_t ref = entry_ref(entry);
    if (entry->flags & ENTRY_INLINE) {
        if (from != PAGE_TAG_DRAM || entry_encoding(entry) == ENCODING_INT || entry->size == 0) return 0;
        victim_out->inline_value = bytes_of(entry_inline(entry), entry->size);
        victim_out->clean_ref = ref;
        return 1;
    }
    if (ref == 0 || (int)page_ref_tag(ref) != from) return 0;
    victim_out->ref = ref;
    if (from == PAGE_TAG_DRAM) {
        if (page_ref_dram(ref)->refs != 1) return 0;
        victim_out->clean_ref = page_ref_dram(ref)->lower;
    }
    return 1;
}

/* --- victims of keys --- */

static int with_bundles; /* small entries go down in bundles, which are victims of their own */

static uint64_t hands[4]; /* per residency: where the sweep goes on, across databases */
static unsigned hand_db[4];

/* Slots of one database whose entries are on their way to the cache. */
struct batch {
    struct db *db;
    enum table_residency from;
    unsigned count;
    uint64_t *slots[BATCH_SLOTS + TABLE_BUCKET_SLOTS];
};

static void batch_add(struct batch *batch, uint64_t *slots) {
    for (unsigned i = 0; i < TABLE_BUCKET_SLOTS; i++) {
        enum table_residency residency = table_slot_residency(slots[i]);
        int maybe = batch->from == TABLE_DRAM && residency == TABLE_OBJECT; /* no longer one, perhaps */
        if (slots[i] == 0 || (residency != batch->from && !maybe)) continue;
        __builtin_prefetch(table_slot_entry(slots[i]));
        batch->slots[batch->count++] = &slots[i];
    }
}

/* Whether moving the value of ${entry} out of ${from} is possible and worth it. */
static int is_candidate(const struct entry *entry, enum table_residency from) {
    if (entry->flags & (ENTRY_PINNED | ENTRY_MOVING | ENTRY_BUNDLED)) return 0; /* EV1 */
    if (entry->flags & ENTRY_INLINE) {
        if (with_bundles && evict__is_small(entry)) return 0;
        return from == TABLE_DRAM && entry->size > GAIN_BYTES_MIN && entry_encoding(entry) != ENCODING_INT;
    }
    return entry_ref(entry) != 0;
}

/* Rank what is in the batch and empty it; the window's new count. */
static unsigned batch_take(struct batch *batch, unsigned count) {
    for (unsigned i = 0; i < batch->count && count < WINDOW_MAX; i++) {
        struct entry *entry = table_slot_entry(*batch->slots[i]);
        if (!(entry->flags & ENTRY_INLINE)) db__residency_update(batch->db, batch->slots[i]);
        if (table_slot_residency(*batch->slots[i]) != batch->from || !is_candidate(entry, batch->from))
            continue;
        window[count++] = (struct candidate){
            .rank = rank_of(evict__coldness(entry)), .db = batch->db->index, .entry = entry};
    }
    batch->count = 0;
    return count;
}

/*
 * Sweep the database of the hand from the hand on, in buckets that end at or before ${end} (0: at its end):
 * candidates are added to the ${count} in the window until there are ${wanted} (or a few more) or
 * ${*buckets_inout} buckets were seen. Whether it came to the end.
 */
static int collect_database(enum table_residency from, uint64_t end, unsigned *buckets_inout,
                            unsigned *count_inout, unsigned wanted) {
    struct batch batch = {.db = db_at(hand_db[from] % db_count()), .from = from};
    if (batch.db->residency[from] == 0 && (from != TABLE_DRAM || batch.db->residency[TABLE_OBJECT] == 0))
        return 1;
    int done = 0;
    while (!done && *count_inout<wanted && * buckets_inout> 0) {
        while (!done && batch.count < BATCH_SLOTS &&
               *count_inout + batch.count<wanted && * buckets_inout> 0) {
            uint64_t *slots;
            uint64_t position = table_sweep(&batch.db->table, hands[from], &slots);
            done = slots == NULL || (end != 0 && (position == 0 || position > end));
            if (done) break;
            batch_add(&batch, slots);
            hands[from] = position;
            --*buckets_inout;
            done = position == 0;
        }
        *count_inout = batch_take(&batch, *count_inout);
    }
    return done;
}

/* Sweep on and fill the window with up to ${wanted} candidates, none twice; how many. */
static unsigned collect_keys(enum table_residency from, unsigned wanted) {
    unsigned count = 0, buckets = WINDOW_BUCKETS;
    uint64_t start = hands[from];
    for (unsigned i = 0; i <= db_count(); i++) {
        if (i == db_count() && start == 0) break; /* back where it began */
        if (!collect_database(from, i == db_count() ? start : 0, &buckets, &count, wanted)) break;
        hands[from] = 0;
        hand_db[from] = (hand_db[from] + 1) % db_count();
    }
    return count;
}

/* --- victims of objects --- */

static uint32_t page_coldness(const struct type_victim *victim) {
    uint32_t idle_s = page_clock() - victim->clock;
    return idle_s > CLOCK_IDLE_MAX ? CLOCK_IDLE_MAX << 8 : idle_s << 8;
}

static void page_victim(const struct object *object, const struct type_victim *found,
                        struct tier_victim *victim_out) {
    *victim_out = (struct tier_victim){
        .object_id = object->id,
        .locator = found->locator,
        .ref = found->ref,
        .rank = rank_of(page_coldness(found)),
    };
    if (page_ref_tag(found->ref) == PAGE_TAG_DRAM) victim_out->clean_ref = page_ref_dram(found->ref)->lower;
}

/* Up to ${wanted} pages of objects, coldest of several times as many, into ${out}. */
static unsigned collect_pages(int from, struct tier_victim *out, unsigned wanted) {
    struct type_victim found[OBJECT_SCAN];
    unsigned count = 0, room = wanted * 2 < WINDOW_MAX ? wanted * 2 : WINDOW_MAX;
    size_t tries = object_count() < OBJECT_TRIES ? object_count() : OBJECT_TRIES;
    for (; tries > 0 && count < room; tries--) {
        struct object *object = object_next();
        if (object == NULL || object->pinned) continue; /* EV1 */
        if (from == PAGE_TAG_DRAM && object->pages_dram == 0) continue;
        unsigned limit = room - count < OBJECT_SCAN ? room - count : OBJECT_SCAN;
        unsigned got =
            type_ops((enum type_id)object->type)->victims(object, from, OBJECT_SCAN_MAX, found, limit);
        for (unsigned i = 0; i < got; i++, count++) {
            page_victim(object, &found[i], &window_pages[count]);
            window[count] = (struct candidate){.rank = window_pages[count].rank, .index = count};
        }
    }
    qsort(window, count, sizeof window[0], colder_first);
    if (count > wanted) count = wanted;
    for (unsigned i = 0; i < count; i++)
        out[i] = window_pages[window[i].index];
    return count;
}

/* How many of ${limit} victims should be pages of objects. */
static unsigned object_quota(int from, unsigned limit) {
    if (object_count() == 0) return 0;
    if (from != PAGE_TAG_DRAM) return (limit + 1) / 2;
    uint64_t overhead = 0;
    for (unsigned i = 0; i < db_count(); i++)
        overhead += db_overhead_bytes(db_at(i));
    uint64_t used = memory_used(), pages = object_dram_bytes();
    uint64_t total = used > overhead + pages ? used - overhead : pages;
    if (pages == 0 || total == 0) return 0;
    uint64_t share = (pages * limit + total - 1) / total;
    return share > limit ? limit : (unsigned)share;
}

/* Up to ${wanted} values of keys, coldest of several times as many, into ${out}. */
static unsigned collect_values(int from, struct tier_victim *out, unsigned wanted) {
    unsigned factor = evict_config.samples > WINDOW_FACTOR ? evict_config.samples : WINDOW_FACTOR;
    unsigned candidates = wanted * factor < WINDOW_MAX ? wanted * factor : WINDOW_MAX;
    unsigned found = collect_keys(from == PAGE_TAG_DRAM ? TABLE_DRAM : TABLE_PMEM, candidates), count = 0;
    qsort(window, found, sizeof window[0], colder_first);
    for (unsigned i = 0; i < found && count < wanted; i++) {
        if (!entry_victim(window[i].entry, window[i].db, from, &out[count])) continue; /* a shared page */
        out[count++].rank = window[i].rank;
    }
    return count;
}

/* Bundles are records of the NVMe tier. With PMEM above it, which serves values in place, values go there. In
 * a very small maxmemory the engine's own buffers take more than small keys could give. */
static int wants_bundles(int from) {
    if (from != PAGE_TAG_DRAM || !tier_has(PAGE_TAG_NVME)) return 0;
    if (evict_config.memory_max > 0 && evict_config.memory_max < BUNDLES_MEMORY_MIN) return 0;
    if (!tier_has(PAGE_TAG_PMEM)) return 1;
    enum tier_stress stress = tier_get_stress();
    return stress == TIER_STRESS_NVME || (stress == TIER_STRESS_RANDOM && random_below(2) == 0);
}

/* Values of keys and pages of objects, one by one. */
static unsigned single_victims(int from, struct tier_victim *victims_out, unsigned limit) {
    static int keys_scarce[8]; /* by tag: last time the sweep found too few */
    unsigned quota = keys_scarce[from] && object_count() > 0 ? limit : object_quota(from, limit);
    unsigned of_objects = quota > 0 ? collect_pages(from, victims_out, quota) : 0;
    unsigned wanted = limit - of_objects;
    unsigned of_keys = collect_values(from, victims_out + of_objects, wanted);
    keys_scarce[from] = of_keys < wanted;
    if (quota == 0 && of_keys < wanted)
        of_objects = collect_pages(from, victims_out + of_keys, wanted - of_keys);
    return of_objects + of_keys;
}

/*
 * Bundles and single victims take turns at being first, since the manager takes from the front until it has
 * enough. A kind of which there was nothing is not looked for the next few times, as long as the other gives.
 */
static unsigned hook_victims(int from, struct tier_victim *victims_out, unsigned limit) {
    static unsigned turn, bundles_after, singles_after;
    db__settle_cold();
    type_keeps_hot = tier_get_stress() == TIER_STRESS_OFF;
    with_bundles = wants_bundles(from);
    if (!with_bundles) return single_victims(from, victims_out, limit);
    turn++;
    unsigned of_bundles = limit < BUNDLES_AT_ONCE ? limit : BUNDLES_AT_ONCE, count = 0;
    int skip_bundles = (int)(bundles_after - turn) > 0, skip_singles = (int)(singles_after - turn) > 0;
    if (!skip_bundles && (turn % 2 == 0 || skip_singles)) {
        count = evict__bundle_victims(victims_out, of_bundles);
        if (count == 0) bundles_after = turn + SCARCE_TURNS;
        if (count > 0 && skip_singles) return count;
        of_bundles = 0;
    }
    unsigned singles = single_victims(from, victims_out + count, limit - count);
    if (singles == 0) singles_after = turn + SCARCE_TURNS;
    count += singles;
    if (of_bundles > limit - count) of_bundles = limit - count;
    if (of_bundles > 0 && (!skip_bundles || count == 0)) {
        unsigned bundles = evict__bundle_victims(victims_out + count, of_bundles);
        if (bundles == 0) bundles_after = turn + SCARCE_TURNS;
        count += bundles;
    }
    return count;
}

/* --- begin and finish --- */

static void hook_begin(const struct tier_victim *victim) {
    if (victim->bundled_bytes > 0) {
        evict__bundle_begin(victim);
    } else if (victim->owner != NULL) {
        struct entry *entry = victim->owner;
        entry->flags |= ENTRY_MOVING;
    } else if (page_ref_tag(victim->ref) == PAGE_TAG_DRAM) {
        page_retain(page_ref_dram(victim->ref));
    }
}

/* A DRAM page gives way to the record ${ref} with its content. */
static void drop_page(uint64_t page_ref, uint64_t ref) {
    struct page *page = page_ref_dram(page_ref);
    if (page_ref_tag(page_ref) == PAGE_TAG_DRAM) {
        if (page->lower == ref) page->lower = 0; /* EV2 */
        if (page->lower == 0 && page->refs > 2)  /* the slot's and the manager's: EV3 */
            page->lower = page_share(ref);
    }
    page_release(page_ref);
}

static int finish_inline(struct db *db, uint64_t *slot, struct entry *entry, uint64_t ref) {
    if (!(entry->flags & ENTRY_INLINE)) return 0;
    uint64_t clean = entry_ref(entry);
    if (entry->flags & ENTRY_BUNDLED) db__unbundle(db, db__hash(entry), entry);
    entry = entry_relayout(entry, (entry->flags & ENTRY_EXPIRY) != 0, 1, 0, 0);
    entry_store_ref(entry, ref);
    if (clean != ref) {
        page_release(clean);
        entry->flags &= (uint8_t)~ENTRY_RENAMED;
    }
    table_slot_set_entry(slot, entry);
    db__residency_update(db, slot);
    return 1;
}

static int finish_entry(const struct tier_victim *victim, uint64_t ref) {
    struct entry *entry = victim->owner;
    if (!(entry->flags & ENTRY_MOVING)) return 0;
    entry->flags &= (uint8_t)~ENTRY_MOVING;
    uint64_t *slot;
    struct db *db = ref == 0 ? NULL : db__of(entry, victim->db, &slot);
    if (db == NULL) return 0; /* failed, or flushed meanwhile */
    if (victim->ref == 0) return finish_inline(db, slot, entry, ref);
    if ((entry->flags & (ENTRY_REF | ENTRY_INLINE)) != ENTRY_REF || entry_ref(entry) != victim->ref) return 0;
    if (victim->clean_ref != ref) entry->flags &= (uint8_t)~ENTRY_RENAMED;
    entry_store_ref(entry, ref);
    drop_page(victim->ref, ref);
    db__residency_update(db, slot);
    return 1;
}

static int finish_page(const struct tier_victim *victim, uint64_t ref) {
    struct object *object = object_find(victim->object_id);
    if (ref == 0 || object == NULL) return 0;
    uint64_t *place = type_ops((enum type_id)object->type)->locate(object, victim->locator);
    if (place == NULL || *place != victim->ref) return 0;
    *place = ref;
    if (page_ref_tag(victim->ref) == PAGE_TAG_DRAM) {
        object_account(object, -(int64_t)page_ref_dram(victim->ref)->bytes, 0, -1);
    }
    drop_page(victim->ref, ref);
    return 1;
}

static int hook_finish(const struct tier_victim *victim, uint64_t ref) {
    if (victim->bundled_bytes > 0) return evict__bundle_finish(victim, ref);
    return victim->owner != NULL ? finish_entry(victim, ref) : finish_page(victim, ref);
}

/* --- evict, census --- */

/* About what the value of ${entry} takes, wherever it is. */
static uint64_t value_bytes(const struct entry *entry) {
    if (entry_type(entry) == TYPE_STRING) return entry->size;
    const struct type_ops *ops = type_ops(entry_type(entry));
    uint64_t bytes = ops != NULL && ops->memory != NULL ? ops->memory(entry, 0) : 0;
    return bytes > entry->size ? bytes : entry->size;
}

/*
 * Keys off DRAM are the coldest there are, but nobody sees their clocks: some of them go. None has an expiry,
 * so the policies that want one leave them alone.
 */
static uint64_t evict_cold(void) {
    if (evict_config.policy == EVICT_NOEVICTION || evict_config.policy >= EVICT_VOLATILE_LRU) return 0;
    uint64_t cold = db_sunk_count();
    if (cold == 0) return 0;
    uint64_t freed = random_below(cold) < db__bundled_total ? evict__bundle() : evict__sunk();
    return freed > 0 || db__bundled_total == 0 ? freed : evict__bundle();
}

/* The coldest key goes for the DRAM it takes; keys that take next to none only when there is no other. */
static uint64_t evict_key(void) {
    struct db *db;
    struct entry *entry = evict__choose(~0u, &db);
    if (entry == NULL) return evict_cold();
    uint64_t before = memory_used(), later = 0;
    if (db__residency_of(entry) == TABLE_OBJECT) later = value_bytes(entry); /* the reaper frees it */
    db__evict(db, entry);
    uint64_t after = memory_used();
    return (before > after ? before - after : 1) + later;
}

static uint64_t hook_evict(int from) {
    db__settle_cold();
    if (from == 0) return evict_key();
    unsigned tiers = 1u << TABLE_OBJECT;
    tiers |= from == PAGE_TAG_NVME   ? 1u << TABLE_NVME
             : from == PAGE_TAG_PMEM ? 1u << TABLE_PMEM
                                     : 1u << TABLE_DRAM;
    uint64_t cold = from == PAGE_TAG_NVME ? db_sunk_count() : 0, there = cold;
    for (unsigned i = 0; cold > 0 && i < db_count(); i++)
        there += db_at(i)->residency[TABLE_NVME] - db_at(i)->sunk;
    uint64_t freed = cold > 0 && random_below(there) < cold ? evict_cold() : 0;
    if (freed > 0) return freed;
    struct db *db;
    struct entry *entry = evict__choose(tiers, &db);
    if (entry == NULL) return cold > 0 ? evict_cold() : 0;
    uint64_t bytes = value_bytes(entry);
    db__evict(db, entry);
    return bytes > 0 ? bytes : 1;
}

static void hook_census(uint64_t keys_out[4], uint64_t pages_out[4]) {
    static const unsigned tag_of[4] = {PAGE_TAG_DRAM, PAGE_TAG_PMEM, PAGE_TAG_NVME, PAGE_TAG_OBJECT};
    for (unsigned i = 0; i < 4; i++)
        keys_out[i] = pages_out[i] = 0;
    for (unsigned i = 0; i < db_count(); i++) {
        for (unsigned r = 0; r < 4; r++)
            keys_out[tag_of[r]] += db_at(i)->residency[r];
        keys_out[PAGE_TAG_NVME] += db__cold_keys(db_at(i));
    }
    pages_out[PAGE_TAG_DRAM] = object_pages_dram(); /* below, a page is a record: backends count those */
}

void evict_tier_hooks(struct tier_keyspace_hooks *hooks_out) {
    *hooks_out = (struct tier_keyspace_hooks){
        .victims = hook_victims,
        .begin = hook_begin,
        .finish = hook_finish,
        .evict = hook_evict,
        .census = hook_census,
        .compact = evict__compact,
        .shrink = evict__shrink,
    };
}

unsigned evict_victims_of(struct entry *entry, unsigned db, int from, uint64_t *cursor_inout,
                          struct tier_victim *victims_out, unsigned limit) {
    if ((entry->flags & ENTRY_INLINE) || page_ref_tag(entry_ref(entry)) != PAGE_TAG_OBJECT) {
        *cursor_inout = 0;
        return limit > 0 && entry_victim(entry, db, from, victims_out);
    }
    struct object *object = page_ref_object(entry_ref(entry));
    struct type_victim found[OBJECT_SCAN];
    unsigned count = 0;
    type_keeps_hot = 0;                                      /* by order, not by pressure */
    while (count < limit && *cursor_inout < object->pages) { /* the object's own sweep, once around */
        unsigned most = limit - count < OBJECT_SCAN ? limit - count : OBJECT_SCAN;
        uint64_t left = object->pages - *cursor_inout;
        if (most > left) most = (unsigned)left;
        unsigned got = type_ops((enum type_id)object->type)->victims(object, from, most, found, most);
        for (unsigned i = 0; i < got; i++)
            page_victim(object, &found[i], &victims_out[count++]);
        *cursor_inout += most;
    }
    if (*cursor_inout >= object->pages) *cursor_inout = 0;
    return count;
}
