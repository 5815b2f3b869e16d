/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_page firn_ds firn_base */
/*
 * Databases: keys in and out, layouts, renaming, swapping, flushing, and what is told to whom. Method: the
 * tier manager and the page hooks are fakes that record what they are asked; db_check after each case.
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
#include "types/hash.h"

/* --- fakes --- */

static void *forgotten;
static unsigned forgets, clears, discards;
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
    forgotten = owner;
    forgets++;
}
enum tier_stress tier_get_stress(void) {
    return TIER_STRESS_OFF;
}
void tier_clear(void) {
    clears++;
}
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

static char told[4096];
static void tell(const char *kind, const char *name, struct db *db, struct bytes key) {
    size_t at = strlen(told);
    snprintf(told + at, sizeof told - at, "%s%s:%u:%.*s ", kind, name, db_index(db), (int)key.size,
             (const char *)key.data);
}
static void hook_changed(struct db *db, struct bytes key) {
    tell("changed", "", db, key);
}
static void hook_notify(struct db *db, unsigned event_class, const char *name, struct bytes key) {
    (void)event_class;
    tell("event-", name, db, key);
}
static void hook_expired(struct db *db, struct bytes key) {
    tell("expired", "", db, key);
}

/* --- helpers --- */

static int setup(void **state) {
    (void)state;
    static int seeded;
    if (!seeded) hash_seed_init();
    seeded = 1;
    random_seed(11);
    clock_update();
    page_set_tier_hooks(&fake_hooks);
    memset(&db_stats, 0, sizeof db_stats);
    told[0] = 0;
    forgets = clears = discards = 0;
    db_hooks = (struct db_hooks){.changed = hook_changed, .notify = hook_notify, .expired = hook_expired};
    db_init_all(4);
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

static struct entry *find(struct db *db, const char *key) {
    struct entry *entry;
    assert_int_equal(db_find(db, bytes_of_text(key), LOOKUP_WRITE | LOOKUP_NO_NOTIFY, &entry), 0);
    return entry;
}

static struct entry *set(struct db *db, const char *key, const char *value) {
    struct entry *entry;
    assert_int_equal(db_string_set(db, bytes_of_text(key), find(db, key), bytes_of_text(value),
                                   STRING_FORM_ANY, DB_STRING_NO_EXPIRY, &entry),
                     0);
    return entry;
}

/* Make the inline value of ${entry} a cold one at ${ref}, as a demotion would. */
static struct entry *chill(struct db *db, struct entry *entry, uint64_t ref) {
    entry = db_relayout(db, entry, 1, 0, 0);
    entry_store_ref(entry, ref);
    db__residency_update(db, db__slot(db, entry));
    return entry;
}

#define PMEM_REF page_ref_lower(PAGE_TAG_PMEM, 77)
#define NVME_REF page_ref_lower(PAGE_TAG_NVME, 99)

/* --- cases --- */

static void test_lookup(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    set(db, "a", "1x");
    told[0] = 0;
    assert_int_equal(db_find(db, bytes_of_text("a"), LOOKUP_READ, &entry), 0);
    assert_true(bytes_equal(entry_key(entry), bytes_of_text("a")));
    assert_int_equal(db_find(db, bytes_of_text("b"), LOOKUP_READ, &entry), 0);
    assert_null(entry);
    assert_string_equal(told, "event-keymiss:0:b ");
    assert_int_equal(db_find(db, bytes_of_text("b"), LOOKUP_WRITE, &entry), 0);
    assert_int_equal(db_find(db, bytes_of_text("b"), LOOKUP_READ | LOOKUP_NO_STATS, &entry), 0);
    assert_int_equal(db_stats.keyspace_hits, 1);
    assert_int_equal(db_stats.keyspace_misses, 1);
    assert_int_equal(db_size(db), 1);
    assert_int_equal(db_size(db_at(1)), 0);
    db_delete(db, find(db, "a"));
    assert_null(find(db, "a"));
    assert_int_equal(db_size(db), 0);
}

static void test_expiry(void **state) {
    (void)state;
    struct db *db = db_at(1);
    struct entry *entry = set(db, "k", "value");
    int64_t now = clock_cached_ms();
    entry = db_set_expiry(db, entry, now + 100000);
    assert_int_equal(entry_expiry(entry), now + 100000);
    assert_int_equal(db_expires_count(db), 1);
    assert_in_range(db_average_ttl_ms(db), 99999, 100000);
    entry = db_set_expiry(db, entry, now + 5);
    assert_int_equal(db_expires_count(db), 1);
    db_check(db);
    entry = db_set_expiry(db, entry, -1);
    assert_int_equal(entry_expiry(entry), -1);
    assert_int_equal(db_expires_count(db), 0);
    assert_memory_equal(entry_inline(entry), "value", 5);
    db_set_expiry(db, entry, now - 1);
    told[0] = 0;
    assert_int_equal(db_find(db, bytes_of_text("k"), LOOKUP_READ | LOOKUP_EXPIRED, &entry), 0);
    assert_non_null(entry);
    assert_int_equal(db_find(db, bytes_of_text("k"), LOOKUP_READ, &entry), 0);
    assert_null(entry);
    assert_string_equal(told, "event-expired:1:k changed:1:k expired:1:k event-keymiss:1:k ");
    assert_int_equal(db_stats.expired_keys, 1);
    assert_int_equal(db_size(db), 0);
    assert_int_equal(db_expires_count(db), 0);
}

static void test_replace(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *old = set(db, "k", "value");
    old = db_set_expiry(db, old, clock_cached_ms() + 1000);
    old->flags |= ENTRY_PINNED;
    struct entry *fresh = entry_create(bytes_of_text("k"), TYPE_STRING, ENCODING_RAW, 0, 1, 1);
    fresh->size = 1;
    db_replace(db, old, fresh);
    assert_ptr_equal(find(db, "k"), fresh);
    assert_true(fresh->flags & ENTRY_PINNED);
    assert_int_equal(entry_expiry(fresh), -1);
    assert_int_equal(db_expires_count(db), 0);
    assert_int_equal(db_size(db), 1);
}

/* A change voids a demotion in flight and discards a clean copy. */
static void test_changing(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry = set(db, "k", "some value that is long");
    entry->flags |= ENTRY_MOVING;
    entry = db_changing(db, entry);
    assert_int_equal(forgets, 1);
    assert_ptr_equal(forgotten, entry);
    assert_false(entry->flags & ENTRY_MOVING);
    entry = db_relayout(db, entry, 1, 1, entry->size);
    entry_store_ref(entry, PMEM_REF);
    entry->flags |= ENTRY_MOVING;
    void *before = entry;
    entry = db_set_expiry(db, entry, clock_cached_ms() + 1000); /* moves it */
    assert_int_equal(forgets, 2);
    assert_ptr_equal(forgotten, before);
    assert_int_equal(discards, 0);
    entry = db_changing(db, entry);
    assert_int_equal(discards, 1);
    assert_int_equal(discarded, PMEM_REF);
    assert_int_equal(entry_ref(entry), 0);
    entry = db_changing(db, entry);
    assert_int_equal(discards, 1);
    entry->flags |= ENTRY_MOVING;
    db_delete(db, entry);
    assert_int_equal(forgets, 3);
}

/* Cold keys are deleted, renamed and given deadlines without their value. */
static void test_cold(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry = chill(db, set(db, "k", "some value that is long"), NVME_REF);
    assert_int_equal(db->residency[TABLE_NVME], 1);
    db_set_expiry(db, entry, clock_cached_ms() + 5000);
    db_rename(db, find(db, "k"), db_at(2), bytes_of_text("another name"));
    entry = find(db_at(2), "another name");
    assert_int_equal(entry_ref(entry), NVME_REF);
    assert_int_equal(entry->size, 23);
    assert_int_equal(entry_expiry(entry), clock_cached_ms() + 5000);
    assert_int_equal(db->residency[TABLE_NVME], 0);
    assert_int_equal(db_at(2)->residency[TABLE_NVME], 1);
    assert_int_equal(discards, 0);
    db_check(db_at(2));
    db_delete(db_at(2), entry);
    assert_int_equal(discards, 1);
    assert_int_equal(discarded, NVME_REF);
}

/* A value that a type brings to DRAM by itself is seen by the next settling. */
static void test_settle(void **state) {
    (void)state;
    struct db *db = db_at(0);
    chill(db, set(db, "k", "some value that is long"), NVME_REF);
    struct entry *entry = find(db, "k"); /* notes it */
    struct page *page = page_create(100);
    page->bytes = 23;
    entry_store_ref(entry, page_ref_of(page));
    assert_int_equal(db->residency[TABLE_NVME], 1);
    db__settle_cold();
    assert_int_equal(db->residency[TABLE_NVME], 0);
    assert_int_equal(db->residency[TABLE_DRAM], 1);
}

static void test_rename(void **state) {
    (void)state;
    struct db *db = db_at(0);
    set(db, "plain", "value");
    set(db, "number", "12345");
    db_set_expiry(db, find(db, "plain"), clock_cached_ms() + 1000);
    evict_set_idle(find(db, "plain"), 500);
    struct entry *entry = NULL;
    assert_int_equal(db_find(db, bytes_of_text("plain"), LOOKUP_WRITE | LOOKUP_NO_TOUCH, &entry), 0);
    evict_set_idle(entry, 500);
    entry = db_rename(db, entry, db, bytes_of_text("p"));
    assert_memory_equal(entry_inline(entry), "value", 5);
    assert_int_equal(evict_idle_ms(entry), 500000);
    assert_null(find(db, "plain"));
    entry = db_rename(db, find(db, "number"), db_at(3), bytes_of_text("number"));
    assert_ptr_equal(find(db_at(3), "number"), entry);
    assert_int_equal(entry_encoding(entry), ENCODING_INT);
    assert_int_equal((int64_t)bytes_load64(entry_inline(entry)), 12345);
    assert_int_equal(db_expires_count(db), 1);
}

static struct entry *make_hash(struct db *db, const char *key, unsigned fields) {
    struct entry *entry = hash_create(bytes_of_text(key));
    char name[32];
    for (unsigned i = 0; i < fields; i++) {
        struct bytes field = bytes_of(name, (size_t)snprintf(name, sizeof name, "field%u", i));
        assert_int_equal(hash_set(entry, field, field, 0, NULL), 0);
    }
    db_insert(db, entry);
    return entry;
}

static void test_field_deadlines(void **state) {
    (void)state;
    struct db *db = db_at(0);
    int64_t now = clock_cached_ms();
    struct entry *entry = make_hash(db, "h", 10);
    assert_int_equal(db_field_expires_count(db), 0);
    assert_int_equal(hash_set_expiry(entry, bytes_of_text("field3"), now + 1000), 0);
    db_set_field_deadline(db, entry, -1, hash_deadline(entry));
    assert_int_equal(db_field_expires_count(db), 1);
    assert_true(entry->flags & ENTRY_FIELD_TTL);
    db_set_field_deadline(db, entry, -1, now + 900);
    assert_int_equal(db_field_expires_count(db), 1);
    db_check(db);
    entry = db_rename(db, entry, db_at(1), bytes_of_text("other"));
    assert_int_equal(db_field_expires_count(db), 0);
    assert_int_equal(db__field_deadline(db_at(1), hash_key(bytes_of_text("other"))), now + 900);
    db_check(db_at(1));
    db_set_field_deadline(db_at(1), entry, now + 900, -1);
    assert_int_equal(db_field_expires_count(db_at(1)), 0);
    assert_false(entry->flags & ENTRY_FIELD_TTL);
    db_set_field_deadline(db_at(1), entry, -1, now + 900);
    db_delete(db_at(1), entry);
    assert_int_equal(db_field_expires_count(db_at(1)), 0);
}

static void fill(struct db *db, unsigned from, unsigned to) {
    char key[32];
    for (unsigned i = from; i < to; i++) {
        snprintf(key, sizeof key, "key%u", i);
        struct entry *entry = set(db, key, "the value of a key that is not short");
        if (i % 3 == 0) db_set_expiry(db, entry, clock_cached_ms() + 1000 + i);
    }
}

static void test_swap(void **state) {
    (void)state;
    fill(db_at(0), 0, 5);
    fill(db_at(1), 100, 3000);
    db_swap(db_at(0), db_at(1));
    assert_int_equal(db_size(db_at(0)), 2900);
    assert_int_equal(db_size(db_at(1)), 5);
    assert_int_equal(db_index(db_at(0)), 0);
    assert_non_null(find(db_at(0), "key100"));
    assert_non_null(find(db_at(1), "key4"));
    db_swap(db_at(0), db_at(2));
    db_swap(db_at(3), db_at(3));
    assert_int_equal(db_size(db_at(0)), 0);
    assert_int_equal(db_size(db_at(2)), 2900);
    set(db_at(0), "new", "x");
    for (unsigned i = 0; i < 4; i++)
        db_check(db_at(i));
}

static void test_flush(void **state) {
    (void)state;
    size_t before = memory_used();
    fill(db_at(0), 0, 20000);
    fill(db_at(1), 0, 300);
    make_hash(db_at(0), "large", 5000);
    chill(db_at(0), find(db_at(0), "key7"), NVME_REF);
    struct entry *moving = find(db_at(0), "key8");
    moving->flags |= ENTRY_MOVING;
    assert_int_equal(db_flush(db_at(0), 1), 20001);
    assert_int_equal(db_size(db_at(0)), 0);
    assert_int_equal(db_size(db_at(1)), 300);
    assert_int_equal(db_expires_count(db_at(0)), 0);
    set(db_at(0), "key7", "again");
    while (db_reap_some(50)) {
    }
    assert_int_equal(discards, 1);
    assert_ptr_equal(forgotten, moving);
    assert_int_equal(clears, 0);
    assert_int_equal(db_flush(NULL, 0), 301);
    assert_int_equal(clears, 1);
    assert_int_equal(db_flush(NULL, 0), 0);
    size_t after = memory_used();
    assert_true(after <= before + 4096);
}

struct seen {
    unsigned char keys[6000];
    unsigned calls;
};
static void see(struct entry *entry, void *ctx) {
    struct seen *seen = ctx;
    struct bytes key = entry_key(entry);
    char text[16] = {0};
    memcpy(text, key.data + 3, key.size - 3);
    seen->keys[strtoul(text, NULL, 10)] = 1;
}
static int see_each(struct entry *entry, void *ctx) {
    see(entry, ctx);
    return 0;
}

static void test_scan(void **state) {
    (void)state;
    struct db *db = db_at(0);
    static struct seen seen;
    fill(db, 0, 3000);
    uint64_t cursor = 0;
    unsigned next = 3000;
    do {
        assert_int_equal(db_scan(db, cursor, 10, see, &seen, &cursor), 0);
        seen.calls++;
        for (unsigned i = 0; i < 20 && next < 6000; i++, next++)
            fill(db, next, next + 1);
    } while (cursor != 0);
    for (unsigned i = 0; i < 3000; i++)
        assert_true(seen.keys[i]);
    assert_in_range(seen.calls, 150, 700);
    memset(&seen, 0, sizeof seen);
    assert_int_equal(db_each(db, see_each, &seen), 0);
    for (unsigned i = 0; i < next; i++)
        assert_true(seen.keys[i]);
    assert_int_equal(db_scan(db, UINT64_MAX, 1, see, &seen, &cursor), 0); /* any number is a cursor */
    assert_int_equal(cursor, 0);
}

static void test_random(void **state) {
    (void)state;
    struct db *db = db_at(0);
    assert_null(db_random(db));
    fill(db, 1, 30);
    assert_non_null(db_random(db));
    for (unsigned i = 1; i < 30; i++) {
        char key[32];
        snprintf(key, sizeof key, "key%u", i);
        db_set_expiry(db, find(db, key), clock_cached_ms() - 1);
    }
    assert_null(db_random(db));
    assert_int_equal(db_size(db), 0);
}

static void test_prefetch(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct bytes keys[100];
    for (unsigned i = 0; i < 100; i++)
        keys[i] = bytes_of_text(i % 2 ? "key1" : "nothing");
    db_prefetch(db, keys, 100);
    fill(db, 0, 10);
    db_prefetch(db, keys, 100);
    db_prefetch(db, keys, 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_lookup),   CASE(test_expiry), CASE(test_replace),
        CASE(test_changing), CASE(test_cold),   CASE(test_settle),
        CASE(test_rename),   CASE(test_swap),   CASE(test_field_deadlines),
        CASE(test_flush),    CASE(test_scan),   CASE(test_random),
        CASE(test_prefetch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
