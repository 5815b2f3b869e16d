/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_page firn_ds firn_base m */
/*
 * Clocks, policies, and the tier manager's hooks. Method: idle times and frequencies are set, not waited for;
 * memory_max is set a little below what is in use; a fake manager begins and finishes moves with made-up
 * references.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes_builder.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db.h"
#include "keyspace/db_internal.h"
#include "keyspace/db_string.h"
#include "keyspace/evict.h"
#include "keyspace/evict_internal.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/hash.h"

static unsigned forgets, discards;
static uint64_t discarded;

struct bytes tier_read_name(uint64_t ref) { /* no key sinks here */
    (void)ref;
    return bytes_of(NULL, 0);
}

int tier_has(enum page_tag tag) {
    (void)tag;
    return 0; /* nothing goes in bundles */
}
void tier_walk_begin(void) {}
void tier_walk_end(void) {}
void tier_walk_read(const uint64_t *refs, unsigned count) {
    (void)refs, (void)count;
}
void tier_forget(void *owner) {
    (void)owner;
    forgets++;
}
enum tier_stress tier_get_stress(void) {
    return TIER_STRESS_OFF;
}
void tier_clear(void) {}
struct tier_read *tier_read(const struct fault_set *set, void (*ready)(void *ctx), void *ctx) {
    (void)set, (void)ready, (void)ctx;
    return (struct tier_read *)&tier_clear; /* never arrives */
}
void tier_read_done(struct tier_read *read) {
    (void)read;
}
static void fake_discard(uint64_t ref) {
    discarded = ref;
    discards++;
}
static const struct page_tier_hooks fake_hooks = {.discard = fake_discard};

static struct tier_keyspace_hooks hooks;
static unsigned evicted_even, evicted_odd; /* by the last digit of the key */
static void hook_evicted(struct db *db, struct bytes key) {
    (void)db;
    *((key.data[key.size - 1] - '0') % 2 ? &evicted_odd : &evicted_even) += 1;
}

static int setup(void **state) {
    (void)state;
    static int seeded;
    if (!seeded) hash_seed_init();
    seeded = 1;
    random_seed(5);
    clock_update();
    page_set_tier_hooks(&fake_hooks);
    memset(&db_stats, 0, sizeof db_stats);
    forgets = discards = evicted_even = evicted_odd = 0;
    db_hooks = (struct db_hooks){.evicted = hook_evicted};
    evict_config = (struct evict_config){.policy = EVICT_ALLKEYS_LRU,
                                         .samples = 5,
                                         .tenacity = 100,
                                         .lfu_log_factor = 10,
                                         .lfu_decay_minutes = 1};
    evict_tier_hooks(&hooks);
    db_init_all(3);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (unsigned i = 0; i < db_count(); i++)
        db_check(db_at(i));
    db_fini_all();
    page_set_tier_hooks(NULL);
    return 0;
}

static struct bytes key_of(unsigned n) {
    static char text[32];
    return bytes_of(text, (size_t)snprintf(text, sizeof text, "key:%u", n));
}

static struct entry *find(struct db *db, unsigned n) {
    struct entry *entry;
    assert_int_equal(db_find(db, key_of(n), LOOKUP_WRITE | LOOKUP_NO_TOUCH, &entry), 0);
    return entry;
}

static struct entry *set(struct db *db, unsigned n, size_t bytes) {
    static char value[STRING_BLOB_MAX_BYTES];
    struct entry *entry;
    memset(value, 'x', sizeof value);
    assert_int_equal(db_string_set(db, key_of(n), NULL, bytes_of(value, bytes), STRING_FORM_ANY,
                                   DB_STRING_NO_EXPIRY, &entry),
                     0);
    return entry;
}

/* --- clocks --- */

static void test_lru_clock(void **state) {
    (void)state;
    struct entry *entry = set(db_at(0), 1, 10);
    assert_int_equal(evict_idle_ms(entry), 0);
    evict_set_idle(entry, 1234);
    assert_int_equal(evict_idle_ms(entry), 1234000);
    uint32_t cold = evict__coldness(entry);
    assert_in_range(cold, 1234 * 256, 1235 * 256);
    struct entry *again;
    assert_int_equal(db_find(db_at(0), key_of(1), LOOKUP_READ | LOOKUP_NO_TOUCH, &again), 0);
    assert_int_equal(evict_idle_ms(entry), 1234000);
    assert_int_equal(db_find(db_at(0), key_of(1), LOOKUP_READ, &again), 0);
    assert_int_equal(evict_idle_ms(entry), 0);
    assert_int_equal(db_previous_idle_ms(), 1234000);
    evict_set_idle(entry, UINT64_MAX);
    assert_true(evict_idle_ms(entry) > 1000000000);
}

static void test_lfu_clock(void **state) {
    (void)state;
    evict_config.policy = EVICT_ALLKEYS_LFU;
    struct entry *entry = set(db_at(0), 1, 10);
    assert_int_equal(evict_frequency(entry), 5);
    for (unsigned i = 0; i < 100; i++)
        evict_touch(entry);
    assert_in_range(evict_frequency(entry), 6, 20); /* about 10 by the factor of 10 */
    for (unsigned i = 0; i < 1000000; i++)
        evict_touch(entry);
    assert_int_equal(evict_frequency(entry), 255);
    evict_set_frequency(entry, 40);
    assert_int_equal(evict_frequency(entry), 40);
    entry->clock -= 10u << 8; /* ten minutes ago */
    assert_int_equal(evict_frequency(entry), 30);
    evict_config.lfu_decay_minutes = 5;
    assert_int_equal(evict_frequency(entry), 38);
    evict_config.lfu_decay_minutes = 0;
    assert_int_equal(evict_frequency(entry), 40);
    entry->clock -= 1000u << 8;
    evict_config.lfu_decay_minutes = 1;
    assert_int_equal(evict_frequency(entry), 0);
}

/* --- policies --- */

/* Keys in two databases: odd ones idle for long and rarely used; every fourth pair has an expiry. */
static void fill(unsigned count) {
    for (unsigned n = 0; n < count; n++) {
        struct db *db = db_at(n % 3 == 0);
        struct entry *entry = set(db, n, 100);
        if (n % 8 < 2) entry = db_set_expiry(db, entry, clock_cached_ms() + 1000000 + (n % 2 ? 0 : 1000000));
        if (evict_policy_is_lfu()) {
            evict_set_frequency(entry, n % 2 ? 1 : 100);
        } else {
            evict_set_idle(entry, n % 2 ? 5000 : 10);
        }
    }
}

static uint64_t total(void) {
    return db_size(db_at(0)) + db_size(db_at(1)) + db_size(db_at(2));
}

/* Evict about ${bytes}; the result of evict_to_limit. */
static int squeeze(uint64_t bytes) {
    evict_config.memory_max = memory_used() - bytes;
    int result = evict_to_limit(0);
    if (result == 0) assert_true(memory_used() <= evict_config.memory_max);
    evict_config.memory_max = 0;
    return result;
}

static void test_policy(enum evict_policy policy, int prefers_odd, int only_volatile) {
    evict_config.policy = policy;
    fill(4000);
    assert_int_equal(evict_to_limit(0), 0); /* no limit */
    assert_int_equal(squeeze(50000), 0);
    unsigned evicted = evicted_even + evicted_odd;
    assert_int_equal(evicted, 4000 - total());
    assert_int_equal(db_stats.evicted_keys, evicted);
    assert_in_range(evicted, 200, 700);
    if (prefers_odd)
        assert_true(evicted_even * 20 < evicted_odd);
    else
        assert_true(evicted_even * 2 > evicted_odd && evicted_odd * 2 > evicted_even);
    uint64_t without = 0;
    for (unsigned n = 0; n < 4000; n++) {
        struct entry *entry = find(db_at(n % 3 == 0), n);
        without += entry != NULL && entry_expiry(entry) < 0;
    }
    if (only_volatile) {
        assert_int_equal(without, 3000);
        assert_int_equal(squeeze(memory_used() - 10), FIRN_ENOSPACE);
        assert_int_equal(total(), 3000);
    } else {
        assert_true(without < 3000);
        assert_int_equal(squeeze(memory_used() - 10), FIRN_ENOSPACE);
        assert_int_equal(total(), 0);
    }
}

static void test_allkeys_lru(void **state) {
    (void)state;
    test_policy(EVICT_ALLKEYS_LRU, 1, 0);
}
static void test_allkeys_lfu(void **state) {
    (void)state;
    test_policy(EVICT_ALLKEYS_LFU, 1, 0);
}
static void test_allkeys_random(void **state) {
    (void)state;
    test_policy(EVICT_ALLKEYS_RANDOM, 0, 0);
}
static void test_volatile_lru(void **state) {
    (void)state;
    test_policy(EVICT_VOLATILE_LRU, 1, 1);
}
static void test_volatile_lfu(void **state) {
    (void)state;
    test_policy(EVICT_VOLATILE_LFU, 1, 1);
}
static void test_volatile_random(void **state) {
    (void)state;
    test_policy(EVICT_VOLATILE_RANDOM, 0, 1);
}
static void test_volatile_ttl(void **state) {
    (void)state;
    test_policy(EVICT_VOLATILE_TTL, 1, 1);
}

static void test_noeviction(void **state) {
    (void)state;
    evict_config.policy = EVICT_NOEVICTION;
    fill(100);
    assert_int_equal(squeeze(1000), FIRN_ENOSPACE);
    assert_int_equal(total(), 100);
    evict_config.memory_max = memory_used() - 1000;
    assert_int_equal(evict_to_limit(1000), 0);
    evict_config.memory_max = 0;
}

/* Few volatile keys among many others are found. */
static void test_rare_volatile(void **state) {
    (void)state;
    evict_config.policy = EVICT_VOLATILE_LRU;
    for (unsigned n = 0; n < 50000; n++)
        set(db_at(0), n, 100);
    for (unsigned n = 0; n < 5; n++)
        db_set_expiry(db_at(0), find(db_at(0), n * 10000), clock_cached_ms() + 1000 * n + 1000);
    assert_int_equal(squeeze(5 * 100), 0);
    assert_int_equal(squeeze(memory_used() / 2), FIRN_ENOSPACE);
    assert_int_equal(db_size(db_at(0)), 49995);
}

/* Memory of a flushed database comes first. */
static void test_reap_first(void **state) {
    (void)state;
    fill(20000);
    db_flush(db_at(0), 1);
    assert_int_equal(squeeze(1000000), 0);
    assert_int_equal(db_stats.evicted_keys, 0);
}

/* --- tier hooks --- */

static uint64_t next_ref(enum page_tag tag) {
    static uint64_t address = 100;
    return page_ref_lower(tag, ++address);
}

/* Demote whatever ${from} offers, ${rounds} times; how many were moved. */
static unsigned demote(int from, enum page_tag to, unsigned rounds) {
    unsigned moved = 0;
    for (; rounds > 0; rounds--) {
        struct tier_victim victims[64];
        unsigned count = hooks.victims(from, victims, 64);
        for (unsigned i = 0; i < count; i++)
            hooks.begin(&victims[i]);
        for (unsigned i = 0; i < count; i++) {
            moved += (unsigned)hooks.finish(&victims[i], next_ref(to));
            if (victims[i].owner == NULL && page_ref_tag(victims[i].ref) == PAGE_TAG_DRAM)
                page_release(victims[i].ref);
        }
    }
    return moved;
}

static void test_coldest_first(void **state) {
    (void)state;
    evict_config.policy = EVICT_NOEVICTION;
    fill(4000);
    struct tier_victim victims[64];
    for (unsigned round = 0; round < 20; round++) {
        unsigned count = hooks.victims(PAGE_TAG_DRAM, victims, 64);
        assert_int_equal(count, 64);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(evict_idle_ms(victims[i].owner), 5000000);
            if (i > 0) assert_true(victims[i - 1].rank <= victims[i].rank);
            assert_int_equal(victims[i].ref, 0);
            assert_int_equal(victims[i].inline_value.size, 100);
            for (unsigned j = 0; j < i; j++)
                assert_ptr_not_equal(victims[i].owner, victims[j].owner);
        }
    }
}

/* Everything goes down and is counted; cold entries are not offered again; then from PMEM to NVMe. */
static void test_all_the_way_down(void **state) {
    (void)state;
    fill(4000);
    for (unsigned n = 5000; n < 5100; n++)
        set(db_at(2), n, 10000); /* blobs */
    set(db_at(2), 6000, 2);      /* too small to gain */
    set(db_at(2), 6001, 100)->flags |= ENTRY_PINNED;
    assert_int_equal(demote(PAGE_TAG_DRAM, PAGE_TAG_PMEM, 200), 4100);
    uint64_t keys[4], pages[4];
    hooks.census(keys, pages);
    assert_int_equal(keys[PAGE_TAG_PMEM], 4100);
    assert_int_equal(keys[PAGE_TAG_DRAM], 2);
    for (unsigned i = 0; i < 3; i++)
        db_check(db_at(i));
    struct entry *entry = find(db_at(0), 1);
    assert_int_equal(page_ref_tag(entry_ref(entry)), PAGE_TAG_PMEM);
    assert_int_equal(entry->size, 100);
    assert_int_equal(entry->flags & (ENTRY_INLINE | ENTRY_MOVING), 0);
    assert_true(entry_expiry(entry) > 0);
    assert_int_equal(discards, 0);
    assert_int_equal(demote(PAGE_TAG_PMEM, PAGE_TAG_NVME, 200), 4100);
    assert_int_equal(discards, 4100); /* the PMEM records */
    hooks.census(keys, pages);
    assert_int_equal(keys[PAGE_TAG_NVME], 4100);
    assert_int_equal(keys[PAGE_TAG_PMEM], 0);
}

/* finish changes nothing when the owner has changed, the write failed, or the key is gone. */
static void test_void_moves(void **state) {
    (void)state;
    struct tier_victim victim;
    uint64_t cursor = 0;
    struct entry *entry = set(db_at(0), 1, 100);
    assert_int_equal(evict_victims_of(entry, 0, PAGE_TAG_DRAM, &cursor, &victim, 1), 1);
    assert_int_equal(cursor, 0);
    hooks.begin(&victim);
    assert_true(entry->flags & ENTRY_MOVING);
    assert_int_equal(evict_victims_of(entry, 0, PAGE_TAG_DRAM, &cursor, &victim, 1), 0);
    assert_int_equal(hooks.finish(&victim, 0), 0); /* failed */
    assert_false(entry->flags & ENTRY_MOVING);
    hooks.begin(&victim);
    entry = db_changing(db_at(0), entry);
    assert_int_equal(forgets, 1);
    assert_int_equal(hooks.finish(&victim, next_ref(PAGE_TAG_PMEM)), 0); /* changed */
    hooks.begin(&victim);
    db_flush(NULL, 1);
    assert_int_equal(hooks.finish(&victim, next_ref(PAGE_TAG_PMEM)), 0); /* flushed, not freed yet */
    struct entry *blob = set(db_at(1), 2, 9000);
    assert_int_equal(evict_victims_of(blob, 1, PAGE_TAG_DRAM, &cursor, &victim, 1), 1);
    hooks.begin(&victim);
    struct page *page = page_create(9000), *old = page_ref_dram(entry_ref(blob));
    page->bytes = 9000;
    entry_store_ref(blob, page_ref_of(page)); /* copied on write */
    assert_int_equal(hooks.finish(&victim, next_ref(PAGE_TAG_PMEM)), 0);
    assert_ptr_equal(page_ref_dram(entry_ref(blob)), page);
    page_release(page_ref_of(old));
    assert_int_equal(discards, 0);
}

/* A victim moved to another database by SWAPDB is found. */
static void test_swapped_meanwhile(void **state) {
    (void)state;
    struct tier_victim victim;
    uint64_t cursor = 0;
    assert_int_equal(evict_victims_of(set(db_at(0), 1, 100), 0, PAGE_TAG_DRAM, &cursor, &victim, 1), 1);
    hooks.begin(&victim);
    db_swap(db_at(0), db_at(1));
    assert_int_equal(hooks.finish(&victim, next_ref(PAGE_TAG_PMEM)), 1);
    assert_int_equal(db_at(1)->residency[TABLE_PMEM], 1);
}

/* Clean copies: offered as such, and not discarded by the flip. */
static void test_clean_copy(void **state) {
    (void)state;
    struct tier_victim victim;
    uint64_t cursor = 0, ref = next_ref(PAGE_TAG_PMEM);
    struct entry *entry = set(db_at(0), 1, 100);
    entry = db_relayout(db_at(0), entry, 1, 1, 100);
    entry_store_ref(entry, ref);
    assert_int_equal(evict_victims_of(entry, 0, PAGE_TAG_DRAM, &cursor, &victim, 1), 1);
    assert_int_equal(victim.clean_ref, ref);
    hooks.begin(&victim);
    assert_int_equal(hooks.finish(&victim, ref), 1);
    assert_int_equal(entry_ref(find(db_at(0), 1)), ref);
    assert_int_equal(discards, 0);
    struct entry *blob = set(db_at(0), 2, 9000);
    ref = next_ref(PAGE_TAG_NVME);
    page_ref_dram(entry_ref(blob))->lower = ref;
    assert_int_equal(evict_victims_of(blob, 0, PAGE_TAG_DRAM, &cursor, &victim, 1), 1);
    assert_int_equal(victim.clean_ref, ref);
    hooks.begin(&victim);
    assert_int_equal(hooks.finish(&victim, ref), 1);
    assert_int_equal(entry_ref(blob), ref);
    assert_int_equal(discards, 0);
    /* another record than the clean copy: that one is dead */
    entry = set(db_at(0), 3, 100);
    entry = db_relayout(db_at(0), entry, 1, 1, 100);
    entry_store_ref(entry, next_ref(PAGE_TAG_PMEM));
    assert_int_equal(evict_victims_of(entry, 0, PAGE_TAG_DRAM, &cursor, &victim, 1), 1);
    hooks.begin(&victim);
    assert_int_equal(hooks.finish(&victim, next_ref(PAGE_TAG_NVME)), 1);
    assert_int_equal(discards, 1);
}

/* Pages of a large hash are offered, moved, and the object's sums follow. */
static void test_object_pages(void **state) {
    (void)state;
    struct entry *entry = hash_create(bytes_of_text("large"));
    char value[200] = {0};
    for (unsigned n = 0; n < 5000; n++)
        assert_int_equal(hash_set(entry, key_of(n), bytes_of(value, 200), 0, NULL), 0);
    db_insert(db_at(0), entry);
    struct object *object = page_ref_object(entry_ref(entry));
    assert_int_equal(page_ref_tag(entry_ref(entry)), PAGE_TAG_OBJECT);
    uint32_t pages = object->pages;
    assert_true(pages > 200);
    unsigned moved = demote(PAGE_TAG_DRAM, PAGE_TAG_PMEM, 100);
    assert_int_equal(object->pages_dram, pages - moved);
    assert_in_range(moved, pages - 8, pages);
    assert_int_equal(object->pages, pages);
    if (object->pages_dram == 0) assert_int_equal(object->dram_bytes, 0);
    assert_in_range(demote(PAGE_TAG_PMEM, PAGE_TAG_NVME, 100), pages - 8, pages);
    /* by command: all at once, in pieces */
    struct tier_victim victims[16];
    struct entry *other = hash_create(bytes_of_text("other"));
    for (unsigned n = 0; n < 5000; n++)
        assert_int_equal(hash_set(other, key_of(n), bytes_of(value, 200), 0, NULL), 0);
    db_insert(db_at(0), other);
    object = page_ref_object(entry_ref(other));
    uint64_t cursor = 0;
    unsigned offered = 0;
    do {
        offered += evict_victims_of(other, 0, PAGE_TAG_DRAM, &cursor, victims, 16);
    } while (cursor != 0);
    assert_in_range(offered, object->pages_dram - 8, object->pages_dram);
    discards = 0;
}

/* Eviction out of a tier takes a key from there. */
static void test_evict_from_tier(void **state) {
    (void)state;
    fill(1000);
    demote(PAGE_TAG_DRAM, PAGE_TAG_NVME, 3);
    uint64_t keys[4], pages[4], cold;
    hooks.census(keys, pages);
    cold = keys[PAGE_TAG_NVME];
    assert_in_range(cold, 100, 192);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(hooks.evict(PAGE_TAG_NVME), 100);
    hooks.census(keys, pages);
    assert_int_equal(keys[PAGE_TAG_NVME], cold - 50);
    assert_int_equal(total(), 950);
    evict_config.policy = EVICT_NOEVICTION;
    assert_int_equal(hooks.evict(PAGE_TAG_NVME), 0);
}

/* Most keys go; compaction moves the rest together: every value is still there, and what is being moved down
 * stays at its address. */
static void test_compact(void **state) {
    (void)state;
    enum { KEYS = 40000 };
    struct db *db = db_at(0);
    char digits[NUMBER_INT_TEXT_MAX];
    static char value[9000];
    memset(value, 'v', sizeof value);
    struct entry *entry, *marked = NULL;
    for (unsigned i = 0; i < KEYS; i++) {
        size_t bytes = i % 100 == 0 ? sizeof value : 200;
        snprintf(value, 16, "%u ", i);
        assert_int_equal(db_string_set(db, key_of(i), NULL, bytes_of(value, bytes), STRING_FORM_ANY,
                                       DB_STRING_NO_EXPIRY, &entry),
                         0);
        if (i == 77) marked = entry;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        if (i % 11 != 0) db_delete(db, find(db, i));
    }
    marked->flags |= ENTRY_MOVING;
    assert_true(hooks.compact(10000000));
    assert_false(hooks.compact(1)); /* bounded */
    while (!hooks.compact(100))
        continue;
    db_check(db);
    unsigned left = 0;
    for (unsigned i = 0; i < KEYS; i += 11) {
        entry = find(db, i);
        assert_non_null(entry);
        if (i == 77) assert_ptr_equal(entry, marked);
        struct bytes read;
        struct bytes_builder scratch = {0};
        assert_int_equal(db_string_read(db, &entry, digits, &scratch, &read), 0);
        assert_int_equal(read.size, i % 100 == 0 ? sizeof value : 200);
        assert_int_equal(strtoul((const char *)read.data, NULL, 10), i);
        bytes_builder_fini(&scratch);
        left++;
    }
    assert_int_equal(db_size(db), left);
    marked->flags &= (uint8_t)~ENTRY_MOVING;
}

/* A key goes for the memory it takes itself, wherever its value is. */
static void test_evict_key_alone(void **state) {
    (void)state;
    evict_config.policy = EVICT_ALLKEYS_LRU;
    fill(4000);
    assert_int_equal(demote(PAGE_TAG_DRAM, PAGE_TAG_NVME, 40), 40 * 64);
    uint64_t left = total();
    for (unsigned i = 0; i < 100; i++) {
        uint64_t used = memory_used(), freed = hooks.evict(0);
        assert_int_equal(used - memory_used(), freed);
        assert_int_equal(total(), --left);
    }
    assert_true(evicted_even * 20 < evicted_odd);
    evict_config.policy = EVICT_VOLATILE_TTL;
    uint64_t volatile_keys = db_expires_count(db_at(0)) + db_expires_count(db_at(1));
    while (hooks.evict(0) > 0)
        volatile_keys--;
    assert_int_equal(volatile_keys, 0);
    evict_config.policy = EVICT_NOEVICTION;
    assert_int_equal(hooks.evict(0), 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_lru_clock),         CASE(test_lfu_clock),        CASE(test_allkeys_lru),
        CASE(test_allkeys_lfu),       CASE(test_allkeys_random),   CASE(test_volatile_lru),
        CASE(test_volatile_lfu),      CASE(test_volatile_random),  CASE(test_volatile_ttl),
        CASE(test_noeviction),        CASE(test_rare_volatile),    CASE(test_reap_first),
        CASE(test_coldest_first),     CASE(test_all_the_way_down), CASE(test_void_moves),
        CASE(test_swapped_meanwhile), CASE(test_clean_copy),       CASE(test_object_pages),
        CASE(test_evict_from_tier),   CASE(test_evict_key_alone),  CASE(test_compact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
