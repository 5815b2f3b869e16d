/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clocks of entries, and eviction proper: what goes when memory (or the lowest tier) is full. Demotion
 * victims are in evict_tier.c.
 *
 * entry->clock, low 24 bits: Redis's field. LRU: seconds; LFU: 16 bits of minutes and a logarithmic counter
 * of 8 bits that decays. Under the LRU policies the high 8 bits hold the fraction of the second, so that
 * entries of one second still have an order.
 *
 * LRU and LFU policies keep a pool of the best candidates seen (hashes, not addresses) across rounds of
 * sampling, as Redis; volatile-ttl needs no sampling, as the expiry index knows the next.
 *
 * Executor only.
 */
#include "keyspace/evict.h"

#include <math.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db_internal.h"
#include "keyspace/evict_internal.h"
#include "tiering/tier.h"

#define CLOCK_MASK         0xffffffu
#define CLOCK_BITS         24u
#define LRU_MS             1000 /* resolution of Redis's field */
#define LRU_HOUR_BITS      12u  /* of a clock: what changes within an hour or so; 2^12 seconds */
#define LFU_HOUR_BITS      14u  /* the counter and 2^6 minutes */
#define LFU_INIT           5u
#define LFU_MAX            255u
#define POOL_SIZE          16u
#define SAMPLE_BUCKETS_MAX 64u /* buckets looked at in one round of sampling */
#define REAP_SLICE_US      100
#define TTL_LOOKS_MAX      64u

struct evict_config evict_config = {
    .policy = EVICT_NOEVICTION,
    .samples = 5,
    .tenacity = 10,
    .lfu_log_factor = 10,
    .lfu_decay_minutes = 1,
};

int evict_policy_is_lfu(void) {
    return evict_config.policy == EVICT_ALLKEYS_LFU || evict_config.policy == EVICT_VOLATILE_LFU;
}

/* --- clocks --- */

/* The LRU clock with its fraction on top, computed once per millisecond. */
static uint32_t lru_now(void) {
    static int64_t at_ms = -1;
    static uint32_t value;
    int64_t now_ms = clock_cached_ms();
    if (now_ms != at_ms) {
        at_ms = now_ms;
        value = ((uint32_t)(now_ms / LRU_MS) & CLOCK_MASK) | (uint32_t)(now_ms % LRU_MS * 256 / LRU_MS)
                                                                 << CLOCK_BITS;
    }
    return value;
}

static uint32_t lfu_minutes(void) {
    return (uint32_t)(clock_cached_ms() / 60000) & 0xffffu;
}

static void lfu_store(struct entry *entry, uint32_t counter) {
    entry->clock = (entry->clock & ~CLOCK_MASK) | lfu_minutes() << 8 | counter;
}

/* The counter after the minutes since its last access have taken their part. */
static unsigned lfu_decayed(uint32_t clock) {
    unsigned counter = clock & LFU_MAX;
    unsigned elapsed = (lfu_minutes() - (clock >> 8)) & 0xffffu;
    unsigned periods = evict_config.lfu_decay_minutes == 0 ? 0 : elapsed / evict_config.lfu_decay_minutes;
    return periods > counter ? 0 : counter - periods;
}

/* Logarithmic counter: the higher it is, the less likely it rises. */
static unsigned lfu_increment(unsigned counter) {
    if (counter == LFU_MAX) return counter;
    unsigned above = counter > LFU_INIT ? counter - LFU_INIT : 0;
    return counter + (random_below((uint64_t)above * evict_config.lfu_log_factor + 1) == 0);
}

void evict_touch(struct entry *entry) {
    if (__builtin_expect(evict_policy_is_lfu(), 0)) {
        lfu_store(entry, lfu_increment(lfu_decayed(entry->clock)));
    } else {
        entry->clock = lru_now();
    }
}

int evict__is_about_then(uint32_t clock, uint32_t other) {
    uint32_t differ = (clock ^ other) & CLOCK_MASK;
    if (tier_get_stress() != TIER_STRESS_OFF) return differ == 0;
    return differ >> (evict_policy_is_lfu() ? LFU_HOUR_BITS : LRU_HOUR_BITS) == 0;
}

void evict_init_clock(struct entry *entry) {
    if (evict_policy_is_lfu()) {
        lfu_store(entry, LFU_INIT);
    } else {
        entry->clock = lru_now();
    }
}

uint64_t evict_idle_ms(const struct entry *entry) {
    if (evict_policy_is_lfu()) return (uint64_t)((lfu_minutes() - (entry->clock >> 8)) & 0xffffu) * 60000;
    return (uint64_t)((lru_now() - entry->clock) & CLOCK_MASK) * LRU_MS;
}

unsigned evict_frequency(const struct entry *entry) {
    return lfu_decayed(entry->clock);
}

void evict_set_idle(struct entry *entry, uint64_t idle_seconds) {
    if (idle_seconds > CLOCK_MASK / 2) idle_seconds = CLOCK_MASK / 2;
    entry->clock = (lru_now() - (uint32_t)idle_seconds) & CLOCK_MASK;
}

void evict_set_frequency(struct entry *entry, unsigned frequency) {
    lfu_store(entry, frequency > LFU_MAX ? LFU_MAX : frequency);
}

/* How cold by the policy: larger is colder. */
static uint32_t coldness(const struct entry *entry) {
    if (evict_policy_is_lfu())
        return (LFU_MAX - lfu_decayed(entry->clock)) << 16 |
               ((lfu_minutes() - (entry->clock >> 8)) & 0xffffu);
    uint32_t now = lru_now();
    uint32_t seconds = (now - entry->clock) & CLOCK_MASK;
    uint32_t fraction = (now >> CLOCK_BITS) - (entry->clock >> CLOCK_BITS); /* may borrow from seconds */
    return (seconds << 8) + fraction;
}

uint32_t evict__coldness(const struct entry *entry) {
    return coldness(entry);
}

/* --- candidates --- */

/* What a policy may take. */
static int only_volatile(void) {
    return evict_config.policy >= EVICT_VOLATILE_LRU;
}

struct candidate {
    uint64_t hash;
    unsigned db;
    uint32_t cold;
};

static struct candidate pool[POOL_SIZE]; /* ascending by cold */
static unsigned pool_count;
static unsigned pool_tiers; /* residencies the pool was filled for */

static void pool_add(struct candidate candidate) {
    unsigned at = 0;
    for (unsigned i = 0; i < pool_count; i++) {
        if (pool[i].hash == candidate.hash && pool[i].db == candidate.db) return;
    }
    while (at < pool_count && pool[at].cold < candidate.cold)
        at++;
    if (pool_count < POOL_SIZE) {
        memmove(&pool[at + 1], &pool[at], (pool_count - at) * sizeof pool[0]);
        pool[at] = candidate;
        pool_count++;
    } else if (at > 0) { /* the warmest falls out */
        memmove(&pool[0], &pool[1], (at - 1) * sizeof pool[0]);
        pool[at - 1] = candidate;
    }
}

/* Whether a slot is what we look for: ${tiers} has a bit per enum table_residency. Does not touch the entry.
 */
static int slot_wanted(uint64_t slot, unsigned tiers, int volatile_only) {
    if (slot == 0 || (slot & TABLE_SLOT_SUNK) || !(tiers >> table_slot_residency(slot) & 1)) return 0;
    return !volatile_only || (slot & TABLE_SLOT_VOLATILE) != 0;
}

/* Up to ${limit} wanted entries of ${db} from a random place on. */
static unsigned sample(struct db *db, unsigned tiers, int volatile_only, struct entry **entries_out,
                       unsigned limit) {
    uint64_t position = random_u64() >> 1;
    unsigned count = 0;
    for (unsigned step = 0; step < SAMPLE_BUCKETS_MAX && count < limit; step++) {
        uint64_t *slots;
        position = table_sweep(&db->table, position, &slots);
        for (unsigned i = 0; slots != NULL && i < TABLE_BUCKET_SLOTS && count < limit; i++) {
            if (slot_wanted(slots[i], tiers, volatile_only))
                entries_out[count++] = table_slot_entry(slots[i]);
        }
    }
    return count;
}

/* The same from the expiry index: some key with an expiry, when they are too rare among all keys to be met by
 * sampling. */
static struct entry *sample_expiry(struct db *db) {
    struct ordered_index_record first, record;
    if (!ordered_index_first(&db->expiry, &first)) return NULL;
    uint64_t average = (uint64_t)(db->expiry_sum / ordered_index_count(&db->expiry));
    uint64_t deadline = first.deadline + random_below(2 * (average - first.deadline) + 1);
    if (!ordered_index_seek(&db->expiry, deadline, random_u64(), &record)) record = first;
    return db__by_hash(db, record.id);
}

static void pool_fill(struct db *db, unsigned tiers) {
    struct entry *entries[64];
    unsigned limit = evict_config.samples < 64 ? evict_config.samples : 64;
    unsigned count = sample(db, tiers, only_volatile(), entries, limit);
    if (count == 0 && only_volatile()) {
        entries[0] = sample_expiry(db);
        count = entries[0] != NULL && (tiers >> db__residency_of(entries[0]) & 1);
    }
    for (unsigned i = 0; i < count; i++)
        __builtin_prefetch(entries[i]);
    for (unsigned i = 0; i < count; i++) {
        pool_add(
            (struct candidate){.hash = db__hash(entries[i]), .db = db->index, .cold = coldness(entries[i])});
    }
}

/* The coldest of the pool that is still there and still wanted; taken from the pool. */
static struct entry *pool_take(struct db **db_out, unsigned tiers) {
    while (pool_count > 0) {
        struct candidate best = pool[--pool_count];
        if (best.db >= db_count()) continue;
        struct db *db = db_at(best.db);
        struct entry *entry = db__by_hash(db, best.hash);
        if (entry == NULL || (only_volatile() && !(entry->flags & ENTRY_EXPIRY))) continue;
        if (!(tiers >> db__residency_of(entry) & 1)) continue;
        *db_out = db;
        return entry;
    }
    return NULL;
}

static struct entry *coldest_by_clock(struct db **db_out, unsigned tiers) {
    if (pool_tiers != tiers) pool_count = 0;
    pool_tiers = tiers;
    for (unsigned i = 0; i < db_count(); i++) {
        if (db_size(db_at(i)) > 0) pool_fill(db_at(i), tiers);
    }
    return pool_take(db_out, tiers);
}

static struct entry *any_key(struct db **db_out, unsigned tiers) {
    static unsigned next; /* databases take turns */
    for (unsigned i = 0; i < db_count(); i++) {
        struct db *db = db_at(next++ % db_count());
        struct entry *entry = NULL;
        if (db_size(db) == 0) continue;
        if (sample(db, tiers, only_volatile(), &entry, 1) == 0 && only_volatile()) entry = sample_expiry(db);
        if (entry == NULL || !(tiers >> db__residency_of(entry) & 1)) continue;
        *db_out = db;
        return entry;
    }
    return NULL;
}

/* The first in the order of expiry whose value is in ${tiers}, looking at a bounded number. */
static struct entry *next_of(struct db *db, unsigned tiers, uint64_t *deadline_out) {
    struct ordered_index_record record = {0, 0};
    for (unsigned i = 0; i < TTL_LOOKS_MAX; i++) {
        if (!ordered_index_seek(&db->expiry, record.deadline, record.id, &record)) return NULL;
        struct entry *entry = db__by_hash(db, record.id);
        FIRN_ASSERT(entry != NULL);
        *deadline_out = record.deadline;
        if (tiers >> db__residency_of(entry) & 1) return entry;
        record.id++;
    }
    return NULL;
}

static struct entry *next_to_expire(struct db **db_out, unsigned tiers) {
    struct entry *best = NULL;
    uint64_t best_deadline = UINT64_MAX, deadline;
    for (unsigned i = 0; i < db_count(); i++) {
        struct entry *entry = next_of(db_at(i), tiers, &deadline);
        if (entry == NULL || deadline >= best_deadline) continue;
        best = entry;
        best_deadline = deadline;
        *db_out = db_at(i);
    }
    return best;
}

static struct entry *choose_once(unsigned tiers, struct db **db_out) {
    switch (evict_config.policy) {
    case EVICT_NOEVICTION: return NULL;
    case EVICT_ALLKEYS_RANDOM:
    case EVICT_VOLATILE_RANDOM: return any_key(db_out, tiers);
    case EVICT_VOLATILE_TTL: return next_to_expire(db_out, tiers);
    case EVICT_ALLKEYS_LRU:
    case EVICT_ALLKEYS_LFU:
    case EVICT_VOLATILE_LRU:
    case EVICT_VOLATILE_LFU: break;
    }
    return coldest_by_clock(db_out, tiers);
}

struct entry *evict__choose(unsigned tiers, struct db **db_out) {
    /* A sample may meet nothing, or only candidates that are gone; a few more before giving up. */
    for (unsigned attempt = 0; attempt < 16; attempt++) {
        struct entry *entry = choose_once(tiers, db_out);
        if (entry != NULL) return entry;
    }
    return NULL;
}

/* --- eviction --- */

/* As long as Redis would go on: 0 to 500 us up to tenacity 10, then 15 % more a step; 100: no limit. */
static int64_t time_limit_us(void) {
    if (evict_config.tenacity <= 10) return 50 * (int64_t)evict_config.tenacity;
    if (evict_config.tenacity >= 100) return INT64_MAX / 2;
    return (int64_t)(500 * pow(1.15, (double)evict_config.tenacity - 10));
}

static int over_limit(uint64_t not_counted) {
    uint64_t used = memory_used();
    return (used > not_counted ? used - not_counted : 0) > evict_config.memory_max;
}

int evict_to_limit(uint64_t not_counted) {
    if (evict_config.memory_max == 0 || !over_limit(not_counted)) return 0;
    int64_t until_us = clock_monotonic_us() + time_limit_us();
    while (db_reap_some(REAP_SLICE_US)) { /* what is already given up comes first */
        if (!over_limit(not_counted) || clock_monotonic_us() >= until_us) return 0;
    }
    if (!over_limit(not_counted)) return 0;
    if (evict_config.policy == EVICT_NOEVICTION) return FIRN_ENOSPACE;
    db__settle_cold();
    for (unsigned evicted = 1;; evicted++) {
        struct db *db;
        struct entry *entry = evict__choose(~0u, &db);
        if (entry == NULL) return FIRN_ENOSPACE;
        db__evict(db, entry);
        while (type_reap_pending() > 0 && over_limit(not_counted) && clock_monotonic_us() < until_us) {
            (void)db_reap_some(REAP_SLICE_US);
        }
        if (!over_limit(not_counted)) return 0;
        if (evicted % 16 == 0 && clock_monotonic_us() >= until_us) return 0; /* the next command goes on */
    }
}
