/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_page firn_ds firn_base */
/*
 * Proactive expiry: what is due goes, nothing else; slices are bounded; hash fields, also those on pages that
 * are not here. Method: deadlines in the past and far future, so that no test waits; pages below are fakes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"
#include "keyspace/db.h"
#include "keyspace/db_internal.h"
#include "keyspace/db_string.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/hash.h"

static unsigned reads, reads_done, discards;
static uint64_t asked;
static void (*read_ready)(void *ctx);
static void *read_ctx;

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
}
enum tier_stress tier_get_stress(void) {
    return TIER_STRESS_OFF;
}
void tier_clear(void) {}
struct tier_read *tier_read(const struct fault_set *set, void (*ready)(void *ctx), void *ctx) {
    assert_int_equal(set->count, 1);
    asked = set->refs[0];
    read_ready = ready;
    read_ctx = ctx;
    reads++;
    return (struct tier_read *)&asked;
}
void tier_read_done(struct tier_read *read) {
    assert_ptr_equal(read, &asked);
    reads_done++;
}

/* One record below, readable once ${below_here} is set. */
static struct page *below;
static int below_here;
static int fake_buffered(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    (void)ref;
    if (!below_here) return FIRN_EFAULT;
    *payload_out = bytes_of(below->data, below->bytes);
    if (seen_out != NULL) *seen_out = 0;
    return 0;
}
static int fake_read_sync(uint64_t ref, struct bytes *payload_out) {
    return fake_buffered(ref, payload_out, NULL);
}
static void fake_discard(uint64_t ref) {
    (void)ref;
    discards++;
}
static int fake_promotion(uint64_t ref, size_t bytes, unsigned seen) {
    (void)ref, (void)bytes, (void)seen;
    return 0;
}
static const struct page_tier_hooks fake_hooks = {.buffered = fake_buffered,
                                                  .read_sync = fake_read_sync,
                                                  .discard = fake_discard,
                                                  .wants_promotion = fake_promotion};

static char told[4096];
static unsigned keys_gone, fields_gone;
static void hook_notify(struct db *db, unsigned event_class, const char *name, struct bytes key) {
    (void)db, (void)event_class;
    size_t at = strlen(told);
    if (at + 64 < sizeof told) {
        snprintf(told + at, sizeof told - at, "%s:%.*s ", name, (int)key.size, (const char *)key.data);
    }
}
static void hook_expired(struct db *db, struct bytes key) {
    (void)db, (void)key;
    keys_gone++;
}
static void hook_fields(struct db *db, struct bytes key, struct bytes field) {
    (void)db, (void)key, (void)field;
    fields_gone++;
}

static int setup(void **state) {
    (void)state;
    static int seeded;
    if (!seeded) hash_seed_init();
    seeded = 1;
    clock_update();
    page_set_tier_hooks(&fake_hooks);
    memset(&db_stats, 0, sizeof db_stats);
    told[0] = 0;
    keys_gone = fields_gone = reads = reads_done = discards = 0;
    below_here = 0;
    db_hooks =
        (struct db_hooks){.notify = hook_notify, .expired = hook_expired, .fields_expired = hook_fields};
    db_init_all(16);
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

static struct bytes numbered(const char *prefix, unsigned n) {
    static char text[64];
    return bytes_of(text, (size_t)snprintf(text, sizeof text, "%s%u", prefix, n));
}

static void set(struct db *db, struct bytes key, int64_t expiry_ms) {
    assert_int_equal(db_string_set(db, key, NULL, bytes_of_text("value"), STRING_FORM_ANY, expiry_ms, NULL),
                     0);
}

static void test_only_due(void **state) {
    (void)state;
    int64_t now = clock_cached_ms();
    for (unsigned i = 0; i < 3000; i++) {
        struct db *db = db_at(i % 16);
        set(db, numbered("due", i), now - (int64_t)i);
        set(db, numbered("later", i), now + 1000 + (int64_t)i);
        set(db, numbered("never", i), DB_STRING_NO_EXPIRY);
    }
    while (db_expire_some(1000)) {
    }
    uint64_t left = 0;
    for (unsigned i = 0; i < 16; i++)
        left += db_size(db_at(i));
    assert_int_equal(left, 6000);
    assert_int_equal(keys_gone, 3000);
    assert_int_equal(db_stats.expired_keys, 3000);
    assert_int_equal(db_expire_some(1000), 0);
}

static void test_budget(void **state) {
    (void)state;
    int64_t now = clock_cached_ms();
    for (unsigned i = 0; i < 20000; i++)
        set(db_at(i % 2), numbered("due", i), now - 1);
    assert_int_equal(db_expire_some(1), 1);
    uint64_t left = db_size(db_at(0)) + db_size(db_at(1));
    assert_in_range(left, 19000, 19999);
    assert_int_equal(db_stats.expired_time_cap_reached, 1);
    db_set_active_expire(0);
    assert_int_equal(db_expire_some(1000000), 0);
    assert_int_equal(db_size(db_at(0)) + db_size(db_at(1)), left);
    db_set_active_expire(1);
    assert_int_equal(db_expire_some(10000000), 0);
    assert_int_equal(db_size(db_at(0)) + db_size(db_at(1)), 0);
}

static struct entry *make_hash(struct db *db, struct bytes key, unsigned fields, unsigned due,
                               int64_t deadline_ms) {
    struct entry *entry = hash_create(key);
    for (unsigned i = 0; i < fields; i++) {
        struct bytes field = numbered("field", i);
        assert_int_equal(hash_set(entry, field, field, 0, NULL), 0);
        if (i < due) assert_int_equal(hash_set_expiry(entry, field, deadline_ms), 0);
    }
    db_insert(db, entry);
    return entry;
}

static void test_fields(void **state) {
    (void)state;
    struct db *db = db_at(5);
    int64_t now = clock_cached_ms();
    make_hash(db, bytes_of_text("some"), 20, 7, now - 1);
    make_hash(db, bytes_of_text("all"), 20, 20, now - 1);
    make_hash(db, bytes_of_text("later"), 20, 20, now + 10000);
    make_hash(db, bytes_of_text("large"), 2000, 1500, now - 1);
    assert_int_equal(db_field_expires_count(db), 4);
    while (db_expire_some(100)) {
    }
    struct entry *entry;
    assert_int_equal(db_find(db, bytes_of_text("some"), 0, &entry), 0);
    assert_int_equal(entry->size, 13);
    assert_int_equal(db_find(db, bytes_of_text("all"), 0, &entry), 0);
    assert_null(entry);
    assert_int_equal(db_find(db, bytes_of_text("large"), 0, &entry), 0);
    assert_int_equal(entry->size, 500);
    assert_int_equal(fields_gone, 7 + 20 + 1500);
    assert_int_equal(db_stats.expired_fields, 7 + 20 + 1500);
    assert_int_equal(db_field_expires_count(db), 1);
    assert_non_null(strstr(told, "hexpired:all del:all"));
}

/* A hash whose only page is on NVMe: the page is asked for and kept, the hash is put off, and done when the
 * page is here. */
static void test_cold_fields(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry = make_hash(db, bytes_of_text("h"), 10, 3, clock_cached_ms() - 1);
    below = page_ref_dram(entry_ref(entry));
    uint64_t ref = page_ref_lower(PAGE_TAG_NVME, 5);
    entry_store_ref(entry, ref);
    db__residency_update(db, db__slot(db, entry));
    assert_int_equal(db_expire_some(1000), 0);
    assert_int_equal(reads, 1);
    assert_int_equal(asked, ref);
    assert_int_equal(db_field_expires_count(db), 1);
    struct timespec wait = {0, 20000000};
    nanosleep(&wait, NULL);
    clock_update();
    assert_int_equal(db_expire_some(1000), 0); /* not again while it is read */
    assert_int_equal(reads, 1);
    assert_int_equal(reads_done, 0);
    below_here = 1;
    read_ready(read_ctx);
    assert_int_equal(reads_done, 1);
    assert_int_equal(db_find(db, bytes_of_text("h"), 0, &entry), 0);
    assert_int_equal(entry->size, 7);
    assert_int_equal(discards, 1);
    assert_int_equal(db_field_expires_count(db), 0);
    page_free_unshared(below);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {CASE(test_only_due), CASE(test_budget), CASE(test_fields),
                                       CASE(test_cold_fields)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
