/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_page firn_ds firn_base m */
/*
 * The keyspace against a naive model: an array per database. Random sets, deletions, deadlines, renames,
 * moves, swaps, flushes, demotions with random outcome, promotions, proactive expiry, and scans that run
 * across all that; every other run in bundles (db_bundle.c), whose records are read in sync. Every scan must
 * meet what was in its database, untouched by swap and flush, from its first call to its last.
 *
 * A failing run prints its seed; FIRN_SEED=<n> repeats its operations (the hash seed is new in every process,
 * so not the table's shape), FIRN_ROUNDS=<n> runs that many seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db.h"
#include "keyspace/db_internal.h"
#include "keyspace/db_string.h"
#include "keyspace/evict.h"
#include "page/page.h"
#include "tiering/tier.h"

enum { DATABASES = 3, KEYS = 4000, STEPS = 60000, SCANS = 3, MOVES = 32, FAR_MS = 100000000 };

/* --- model --- */

struct model_key {
    uint32_t value;    /* 0: no such key */
    uint32_t version;  /* of the presence: changes when the key comes or goes */
    int due;           /* the deadline has passed */
    int64_t expiry_ms; /* -1 none */
};
struct model {
    struct model_key keys[KEYS];
    unsigned count;
    unsigned epoch; /* changes by swap and flush */
};
static struct model models[DATABASES];
static uint32_t versions;

struct scan {
    int running;
    unsigned db, epoch;
    uint64_t cursor;
    uint32_t at_start[KEYS];
    unsigned char met[KEYS];
};
static struct scan scans[SCANS];

/* --- a manager: moves in flight end at random --- */

static struct tier_keyspace_hooks hooks;
static struct {
    struct tier_victim victim;
    int in_flight, forgotten;
    uint32_t content;
} moves[MOVES];

#define RECORDS 200000u
static uint32_t records[RECORDS]; /* content + 1 of a live record below, by address */
static uint64_t records_next, records_live;
static struct page *bundles[RECORDS]; /* payload of a record that is a bundle */
static int with_bundles;
static unsigned bundles_written;

int tier_has(enum page_tag tag) {
    return tag == PAGE_TAG_NVME && with_bundles;
}
void tier_walk_begin(void) {}
void tier_walk_end(void) {}
void tier_walk_read(const uint64_t *refs, unsigned count) {
    (void)refs, (void)count;
}

struct bytes tier_read_name(uint64_t ref) { /* no key sinks here */
    (void)ref;
    return bytes_of(NULL, 0);
}

void tier_forget(void *owner) {
    for (unsigned i = 0; i < MOVES; i++) {
        if (moves[i].in_flight && moves[i].victim.owner == owner) moves[i].forgotten = 1;
    }
}
void tier_clear(void) {}
enum tier_stress tier_get_stress(void) {
    return TIER_STRESS_OFF;
}
struct tier_read *tier_read(const struct fault_set *set, void (*ready)(void *ctx), void *ctx) {
    (void)set, (void)ready, (void)ctx;
    return (struct tier_read *)&tier_clear; /* never arrives */
}
void tier_read_done(struct tier_read *read) {
    (void)read;
}
static uint64_t record_write(uint32_t content) {
    assert_true(records_next < RECORDS - 1);
    records[++records_next] = content + 1;
    records_live++;
    return page_ref_lower(random_below(2) ? PAGE_TAG_PMEM : PAGE_TAG_NVME, records_next);
}
static void record_discard(uint64_t ref) {
    uint64_t address = page_ref_address(ref);
    assert_true(records[address] != 0);
    records[address] = 0;
    records_live--;
    if (bundles[address] != NULL) page_free_unshared(bundles[address]);
    bundles[address] = NULL;
}
static uint64_t bundle_write(const struct page *page) {
    assert_true(records_next < RECORDS - 1);
    records[++records_next] = 1;
    records_live++;
    bundles_written++;
    struct page *copy = bundles[records_next] = page_create(page->bytes);
    memcpy(copy->data, page->data, page->bytes);
    copy->bytes = page->bytes;
    return page_ref_lower(PAGE_TAG_NVME, records_next);
}
static int bundle_payload(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    const struct page *page = bundles[page_ref_address(ref)];
    assert_non_null(page);
    if (seen_out != NULL) *seen_out = 0;
    *payload_out = bytes_of(page->data, page->bytes);
    return 0;
}
static const struct page_tier_hooks page_hooks = {.discard = record_discard, .buffered = bundle_payload};

/* --- keys and values: a value is its number, repeated --- */

static struct bytes key_of(unsigned n) {
    static char text[32];
    return bytes_of(text, (size_t)snprintf(text, sizeof text, "%u:key", n));
}
static unsigned number_of(const struct entry *entry) {
    return (unsigned)strtoul((const char *)entry_key(entry).data, NULL, 10);
}
static uint32_t value_in(struct entry *entry) {
    if (entry->flags & ENTRY_INLINE) return bytes_load32(entry_inline(entry));
    uint64_t ref = entry_ref(entry);
    if (page_ref_is_lower(ref)) return records[page_ref_address(ref)] - 1;
    return bytes_load32(page_ref_dram(ref)->data);
}

static struct entry *find(unsigned d, unsigned n) {
    struct entry *entry;
    assert_int_equal(db_find(db_at(d), key_of(n), random_below(2) ? LOOKUP_READ : LOOKUP_WRITE, &entry), 0);
    struct model_key *key = &models[d].keys[n];
    if (key->value != 0 && key->due) {
        key->value = 0;
        key->version = ++versions;
        models[d].count--;
    }
    if (key->value == 0) {
        assert_null(entry);
    } else {
        assert_non_null(entry);
        assert_int_equal(value_in(entry), key->value);
        assert_int_equal(entry_expiry(entry), key->expiry_ms);
    }
    return entry;
}

static void model_put(unsigned d, unsigned n, struct model_key as) {
    struct model_key *key = &models[d].keys[n];
    models[d].count += (as.value != 0) - (key->value != 0);
    if ((key->value != 0) != (as.value != 0))
        as.version = ++versions;
    else
        as.version = key->version;
    *key = as;
}

/* --- operations --- */

static void do_set(unsigned d, unsigned n) {
    static uint32_t content[4000];
    struct entry *old = find(d, n);
    uint32_t value = (uint32_t)random_below(1000000) + 1;
    size_t words = random_below(20) == 0 ? 1500 + random_below(2000) : 2 + random_below(60);
    for (size_t i = 0; i < words; i++)
        content[i] = value;
    int64_t expiry_ms = random_below(4) == 0 ? clock_cached_ms() + FAR_MS + (int64_t)random_below(1000) : -1;
    assert_int_equal(db_string_set(db_at(d), key_of(n), old, bytes_of(content, words * 4), STRING_FORM_RAW,
                                   expiry_ms, NULL),
                     0);
    db_changed(db_at(d), key_of(n));
    model_put(d, n, (struct model_key){.value = value, .expiry_ms = expiry_ms});
}

static void do_delete(unsigned d, unsigned n) {
    struct entry *entry = find(d, n);
    if (entry == NULL) return;
    db_delete(db_at(d), entry);
    model_put(d, n, (struct model_key){.expiry_ms = -1});
}

static void do_expiry(unsigned d, unsigned n) {
    struct entry *entry = find(d, n);
    if (entry == NULL) return;
    struct model_key *key = &models[d].keys[n];
    int kind = (int)random_below(3);
    key->expiry_ms =
        kind == 0 ? -1 : clock_cached_ms() + (kind == 1 ? FAR_MS + (int64_t)random_below(1000) : -1);
    key->due = kind == 2;
    db_set_expiry(db_at(d), entry, key->expiry_ms);
}

static void do_rename(unsigned d, unsigned n) {
    unsigned to_db = (unsigned)random_below(DATABASES), to = (unsigned)random_below(KEYS);
    struct entry *entry = find(d, n), *there = find(to_db, to);
    if (entry == NULL || entry == there) return;
    if (there != NULL) {
        db_delete(db_at(to_db), there);
        model_put(to_db, to, (struct model_key){.expiry_ms = -1});
    }
    db_rename(db_at(d), entry, db_at(to_db), key_of(to));
    struct model_key moved = models[d].keys[n];
    model_put(d, n, (struct model_key){.expiry_ms = -1});
    model_put(to_db, to, moved);
}

static void do_swap(unsigned a, unsigned b) {
    static struct model held;
    db_swap(db_at(a), db_at(b));
    held = models[a];
    models[a] = models[b];
    models[b] = held;
    models[a].epoch = ++versions;
    models[b].epoch = ++versions;
}

static void do_flush(unsigned d) {
    db_flush(db_at(d), random_below(3) != 0);
    for (unsigned n = 0; n < KEYS; n++) {
        if (models[d].keys[n].value != 0) model_put(d, n, (struct model_key){.expiry_ms = -1});
    }
    models[d].epoch = ++versions;
}

static void do_expire_some(void) {
    while (db_expire_some(random_below(2) ? 1 : 1000)) {
    }
    for (unsigned d = 0; d < DATABASES; d++) {
        for (unsigned n = 0; n < KEYS; n++) {
            if (models[d].keys[n].value != 0 && models[d].keys[n].due)
                model_put(d, n, (struct model_key){.expiry_ms = -1});
        }
    }
}

/* Start some demotions out of DRAM or PMEM. */
static void do_demote(void) {
    struct tier_victim victims[8];
    unsigned count = hooks.victims(random_below(3) ? PAGE_TAG_DRAM : PAGE_TAG_PMEM, victims, 8), i = 0;
    for (unsigned at = 0; at < MOVES && i < count; at++) {
        if (moves[at].in_flight) continue;
        struct tier_victim *victim = &victims[i++];
        moves[at].victim = *victim;
        moves[at].forgotten = 0;
        if (victim->bundled_bytes == 0) {
            struct entry *entry = victim->owner;
            assert_false(entry->flags & ENTRY_MOVING);
            moves[at].content = value_in(entry);
        }
        if (victim->clean_ref != 0) {
            hooks.begin(victim);
            assert_int_equal(hooks.finish(victim, victim->clean_ref), 1);
            continue;
        }
        if (page_ref_tag(victim->ref) == PAGE_TAG_DRAM && victim->ref != 0)
            page_retain(page_ref_dram(victim->ref));
        hooks.begin(victim);
        moves[at].in_flight = 1;
    }
}

static void do_finish(void) {
    unsigned at = (unsigned)random_below(MOVES);
    if (!moves[at].in_flight) return;
    moves[at].in_flight = 0;
    struct tier_victim *victim = &moves[at].victim;
    if (!moves[at].forgotten) {
        uint64_t ref = 0;
        if (random_below(5) != 0)
            ref = victim->bundled_bytes == 0 ? record_write(moves[at].content)
                                             : bundle_write(page_ref_dram(victim->ref));
        if (!hooks.finish(victim, ref) && ref != 0) record_discard(ref);
    }
    if (page_ref_tag(victim->ref) == PAGE_TAG_DRAM && victim->ref != 0) page_release(victim->ref);
}

/* A short cold value comes back with a clean copy, a long one as a page with one, as strings are promoted. */
static void do_promote(unsigned d, unsigned n) {
    struct entry *entry = find(d, n);
    if (entry == NULL || (entry->flags & (ENTRY_INLINE | ENTRY_MOVING)) ||
        !page_ref_is_lower(entry_ref(entry)))
        return;
    uint32_t value = value_in(entry), size = entry->size;
    if (size <= 4096) {
        entry = db_relayout(db_at(d), entry, 1, 1, size);
        for (uint32_t i = 0; i < size; i += 4)
            bytes_store32(entry_inline(entry) + i, value);
        return;
    }
    struct page *page = page_create(size);
    for (uint32_t i = 0; i < size; i += 4)
        bytes_store32(page->data + i, value);
    page->bytes = size;
    page->lower = entry_ref(entry);
    entry_store_ref(entry, page_ref_of(page));
}

/* --- scans --- */

static struct scan *scanning;
static void scan_met(struct entry *entry, void *ctx) {
    (void)ctx;
    scanning->met[number_of(entry)] = 1;
}

static void do_scan(struct scan *scan) {
    if (!scan->running) {
        scan->db = (unsigned)random_below(DATABASES);
        scan->epoch = models[scan->db].epoch;
        scan->cursor = 0;
        scan->running = 1;
        memset(scan->met, 0, sizeof scan->met);
        for (unsigned n = 0; n < KEYS; n++) {
            const struct model_key *key = &models[scan->db].keys[n];
            scan->at_start[n] = key->value != 0 ? key->version : 0;
        }
    }
    scanning = scan;
    assert_int_equal(
        db_scan(db_at(scan->db), scan->cursor, 1 + (unsigned)random_below(20), scan_met, NULL, &scan->cursor),
        0);
    if (scan->cursor != 0) return;
    scan->running = 0;
    if (scan->epoch != models[scan->db].epoch) return;
    for (unsigned n = 0; n < KEYS; n++) {
        const struct model_key *key = &models[scan->db].keys[n];
        if (scan->at_start[n] != 0 && key->value != 0 && key->version == scan->at_start[n])
            assert_true(scan->met[n]);
    }
}

/* --- a run --- */

static int count_each(struct entry *entry, void *ctx) {
    unsigned *count = ctx;
    assert_true(number_of(entry) < KEYS);
    ++*count;
    return 0;
}

static void do_random(unsigned d) {
    struct entry *entry = db_random(db_at(d));
    if (entry == NULL) return;
    const struct model_key *key = &models[d].keys[number_of(entry)];
    assert_true(key->value == value_in(entry) && !key->due);
    do_expire_some(); /* db_random may have deleted some that are due */
}

static void check(void) {
    do_expire_some();
    for (unsigned d = 0; d < DATABASES; d++) {
        unsigned met = 0;
        assert_int_equal(db_each(db_at(d), count_each, &met), 0);
        assert_int_equal(met, models[d].count);
        assert_int_equal(db_size(db_at(d)), models[d].count);
        db__settle_cold();
        db_check(db_at(d));
    }
}

static void step(void) {
    unsigned d = (unsigned)random_below(DATABASES), n = (unsigned)random_below(KEYS);
    unsigned dice = (unsigned)random_below(1000);
    if (dice < 420)
        do_set(d, n);
    else if (dice < 500)
        do_delete(d, n);
    else if (dice < 580)
        do_expiry(d, n);
    else if (dice < 640)
        do_rename(d, n);
    else if (dice < 700)
        (void)find(d, n);
    else if (dice < 755)
        do_demote();
    else if (dice < 758)
        (void)hooks.shrink(random_below(100000), (int)random_below(2));
    else if (dice < 760)
        do_random(d);
    else if (dice < 880)
        do_finish();
    else if (dice < 910)
        do_promote(d, n);
    else if (dice < 990)
        do_scan(&scans[random_below(SCANS)]);
    else if (dice < 995)
        do_expire_some();
    else if (dice < 997)
        (void)db_reap_some(100);
    else if (dice == 997)
        do_swap(d, (unsigned)random_below(DATABASES));
    else if (dice == 998 && random_below(10) == 0)
        do_flush(d);
    else if (dice == 999 && random_below(10) == 0)
        check();
}

static void run(uint64_t seed) {
    random_seed(seed);
    with_bundles = seed % 2 == 0;
    memset(models, 0, sizeof models);
    memset(scans, 0, sizeof scans);
    memset(moves, 0, sizeof moves);
    memset(records, 0, sizeof records);
    records_next = records_live = 0;
    clock_update();
    db_init_all(DATABASES);
    evict_tier_hooks(&hooks);
    for (unsigned i = 0; i < STEPS; i++) {
        step();
        /* a phase of shrinking now and then: everything goes, in random order */
        if (i % 20000 == 19999) {
            for (unsigned k = 0; k < 3 * KEYS; k++)
                do_delete((unsigned)random_below(DATABASES), (unsigned)random_below(KEYS));
            check();
        }
    }
    check();
    for (unsigned i = 0; i < 1000; i++)
        do_finish();
    for (unsigned i = 0; i < MOVES; i++) {
        if (!moves[i].in_flight) continue;
        moves[i].in_flight = 0;
        if (!moves[i].forgotten) (void)hooks.finish(&moves[i].victim, 0);
        if (page_ref_tag(moves[i].victim.ref) == PAGE_TAG_DRAM && moves[i].victim.ref != 0)
            page_release(moves[i].victim.ref);
    }
    db_fini_all();
    assert_int_equal(bundles_written > 0, with_bundles);
    bundles_written = 0;
    assert_int_equal(records_live, 0); /* every record was discarded exactly once */
}

static void test_model(void **state) {
    (void)state;
    hash_seed_init();
    page_set_tier_hooks(&page_hooks);
    const char *seed_text = getenv("FIRN_SEED"), *rounds_text = getenv("FIRN_ROUNDS");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : (uint64_t)clock_wall_us();
    unsigned rounds = rounds_text != NULL ? (unsigned)strtoul(rounds_text, NULL, 10) : 6;
    for (unsigned i = 0; i < rounds; i++) {
        printf("FIRN_SEED=%llu\n", (unsigned long long)(seed + i));
        fflush(stdout);
        run(seed + i);
    }
    page_set_tier_hooks(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
