/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_page firn_ds firn_base m */
/*
 * Keys in bundles. A fake NVMe tier keeps payloads and says whether they are in the read buffer. Keys go down
 * through the real hooks and must come back as they were, be counted, scanned, drawn and walked exactly; a
 * clean one leaves again without a write, a changed one gives its record up; bytes are not trusted. (The
 * model test of the keyspace does all that at random.)
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
#include "keyspace/evict_internal.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier.h"

#define KEYS        20000u
#define RECORDS_MAX 8000u

/* --- a fake tier --- */

struct record {
    struct page *page;
    int buffered, error;
};
static struct record records[RECORDS_MAX];
static unsigned record_count, discards, syncs;
static void *forgotten;

static struct record *record_of(uint64_t ref) {
    uint64_t address = page_ref_address(ref);
    assert_int_equal(page_ref_tag(ref), PAGE_TAG_NVME);
    assert_in_range(address, 1, record_count);
    assert_non_null(records[address - 1].page);
    return &records[address - 1];
}
int tier_has(enum page_tag tag) {
    return tag == PAGE_TAG_NVME;
}
void tier_forget(void *owner) {
    forgotten = owner;
}
enum tier_stress tier_get_stress(void) {
    return TIER_STRESS_OFF;
}
struct bytes tier_read_name(uint64_t ref) {
    (void)ref;
    return bytes_of(NULL, 0);
}
void tier_clear(void) {}
void tier_walk_begin(void) {}
void tier_walk_end(void) {}
void tier_walk_read(const uint64_t *refs, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        record_of(refs[i])->buffered = 1;
}
static void (*read_ready)(void *ctx); /* of the one read under way */
static void *read_ctx;
static const struct fault_set *read_set;

struct tier_read *tier_read(const struct fault_set *set, void (*ready)(void *ctx), void *ctx) {
    assert_null(read_ready);
    read_set = set;
    read_ready = ready;
    read_ctx = ctx;
    return (struct tier_read *)&read_ready;
}
void tier_read_done(struct tier_read *read) {
    assert_ptr_equal(read, &read_ready);
    read_ready = NULL;
}

static int fake_buffered(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    struct record *record = record_of(ref);
    if (seen_out != NULL) *seen_out = 0;
    if (record->error != 0) return record->error;
    if (!record->buffered) return FIRN_EFAULT;
    *payload_out = bytes_of(record->page->data, record->page->bytes);
    return 0;
}
static int fake_read_sync(uint64_t ref, struct bytes *payload_out) {
    syncs++;
    record_of(ref)->buffered = 1;
    return fake_buffered(ref, payload_out, NULL);
}
static void fake_discard(uint64_t ref) {
    struct record *record = record_of(ref);
    page_free_unshared(record->page);
    record->page = NULL;
    discards++;
}
static int fake_wants_promotion(uint64_t ref, size_t bytes, unsigned seen) {
    (void)ref, (void)bytes, (void)seen;
    return 0;
}
static const struct page_tier_hooks fake_hooks = {.buffered = fake_buffered,
                                                  .read_sync = fake_read_sync,
                                                  .discard = fake_discard,
                                                  .wants_promotion = fake_wants_promotion};
static struct tier_keyspace_hooks hooks;

static uint64_t keep_record(const struct page *page) {
    assert_true(record_count < RECORDS_MAX);
    struct record *record = &records[record_count++];
    *record = (struct record){.page = page_create(page->bytes)};
    memcpy(record->page->data, page->data, page->bytes);
    record->page->bytes = page->bytes;
    return page_ref_lower(PAGE_TAG_NVME, record_count);
}

/* As the manager: begin holds the page, finish comes later. */
static unsigned begin_some(struct tier_victim *victims, unsigned limit) {
    unsigned count = hooks.victims(PAGE_TAG_DRAM, victims, limit);
    for (unsigned i = 0; i < count; i++) {
        assert_true(victims[i].bundled_bytes > 0);
        page_retain(page_ref_dram(victims[i].ref));
        hooks.begin(&victims[i]);
    }
    return count;
}
static int finish(const struct tier_victim *victim, int written) {
    struct page *page = page_ref_dram(victim->ref);
    uint64_t ref = written ? keep_record(page) : 0;
    int flipped = hooks.finish(victim, ref);
    if (!flipped && ref != 0) fake_discard(ref);
    page_release(victim->ref);
    return flipped;
}

/* Down with everything that goes. */
static void demote(void) {
    struct tier_victim victims[8];
    unsigned idle = 0;
    while (idle < 100) {
        unsigned count = begin_some(victims, 8);
        idle = count == 0 ? idle + 1 : 0;
        for (unsigned i = 0; i < count; i++)
            (void)finish(&victims[i], 1);
    }
    while (hooks.shrink(UINT64_MAX, 1) > 0) {
    }
}

/* --- keys --- */

static struct bytes key_of(unsigned n) {
    static char text[40];
    return bytes_of(text, (size_t)snprintf(text, sizeof text, "%u:key", n));
}
static struct bytes value_of(unsigned n) {
    static char text[100];
    return bytes_of(text,
                    (size_t)snprintf(text, sizeof text, n % 3 == 0 ? "%u" : "value %u of some length", n));
}

static struct entry *set(struct db *db, unsigned n) {
    struct entry *entry;
    assert_int_equal(
        db_string_set(db, key_of(n), NULL, value_of(n), STRING_FORM_ANY, DB_STRING_NO_EXPIRY, &entry), 0);
    return entry;
}

static void set_other(struct db *db, unsigned n, struct entry *old) {
    assert_int_equal(
        db_string_set(db, key_of(n), old, bytes_of("other", 5), STRING_FORM_ANY, DB_STRING_NO_EXPIRY, NULL),
        0);
}

static void fill(struct db *db, unsigned count) {
    for (unsigned n = 0; n < count; n++)
        evict_set_idle(set(db, n), 100);
}

/* Find ${n} as a command does: what it asks for is read, then it runs again. */
static int find(struct db *db, unsigned n, struct entry **entry_out) {
    struct fault_set faults;
    for (unsigned run = 0;; run++) {
        fault_begin(&faults, FAULT_ASYNC);
        int error = db_find(db, key_of(n), LOOKUP_WRITE | LOOKUP_NO_TOUCH, entry_out);
        fault_end(&faults);
        if (error != FIRN_EFAULT) return error;
        assert_int_equal(faults.count, 1);
        assert_true(run < 2);
        record_of(faults.refs[0])->buffered = 1;
    }
}

static void must_be_whole(struct db *db, unsigned n) {
    struct entry *entry;
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes_builder scratch = {0};
    struct bytes value;
    assert_int_equal(find(db, n, &entry), 0);
    assert_non_null(entry);
    assert_int_equal(entry_encoding(entry), n % 3 == 0 ? ENCODING_INT : ENCODING_EMBSTR);
    assert_int_equal(evict_idle_ms(entry), 100000);
    assert_int_equal(db_string_read(db, &entry, digits, &scratch, &value), 0);
    assert_true(bytes_equal(value, value_of(n)));
    bytes_builder_fini(&scratch);
}

static int setup(void **state) {
    (void)state;
    static int seeded;
    if (!seeded) hash_seed_init();
    seeded = 1;
    random_seed(7);
    clock_update();
    page_set_tier_hooks(&fake_hooks);
    record_count = discards = syncs = 0;
    db_hooks = (struct db_hooks){0};
    evict_config = (struct evict_config){.policy = EVICT_ALLKEYS_LRU, .samples = 5, .tenacity = 100};
    evict_tier_hooks(&hooks);
    db_init_all(2);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (unsigned i = 0; i < db_count(); i++)
        db_check(db_at(i));
    db_fini_all();
    assert_int_equal(db_sunk_count(), 0);
    assert_int_equal(discards, record_count); /* every record was given back */
    page_set_tier_hooks(NULL);
    return 0;
}

/* --- cases --- */

static void test_down_and_back(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, KEYS);
    uint64_t before = memory_used();
    demote();
    assert_in_range(db_sunk_count(), KEYS - 8, KEYS); /* the last few do not fill a bundle */
    assert_in_range(record_count, KEYS / 120, KEYS / 50);
    uint64_t kept = 0; /* by the fake tier */
    for (unsigned i = 0; i < record_count; i++)
        kept += page_memory(records[i].page);
    assert_true(before + kept - memory_used() > (uint64_t)KEYS * 40);
    assert_int_equal(db_size(db), KEYS);
    db_check(db);
    for (unsigned n = 0; n < KEYS; n += 4)
        must_be_whole(db, n);
    db_check(db);
    unsigned written = record_count;
    while (hooks.shrink(UINT64_MAX, 1) > 0) { /* unchanged: they leave without a write */
    }
    assert_in_range(db_sunk_count(), KEYS - 8, KEYS);
    demote();
    assert_in_range(record_count, written, written + 1);
    for (unsigned n = 0; n < KEYS; n++) {
        assert_int_equal(find(db, n, &entry), 0);
        assert_non_null(entry);
        assert_int_equal(db_delete(db, entry), 1);
        assert_int_equal(find(db, n, &entry), 0);
        assert_null(entry);
    }
    assert_int_equal(db_size(db), 0);
    assert_int_equal(db->cold.bytes, 0);
    assert_int_equal(discards, record_count);
}

/* What changes gives its copy up, whatever the change is. */
static void test_changes(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, 1000);
    demote();
    uint64_t cold = db->cold.keys;
    assert_int_equal(find(db, 1, &entry), 0);
    assert_true(db__is_clean(entry));
    assert_int_equal(db->cold.keys, cold);
    entry = db_set_expiry(db, entry, clock_cached_ms() + 100000);
    assert_int_equal(db->cold.keys, cold - 1);
    assert_int_equal(find(db, 2, &entry), 0);
    assert_int_equal(db_string_write(db, &entry, 0, bytes_of("V", 1)), 0);
    assert_int_equal(db->cold.keys, cold - 2);
    assert_int_equal(find(db, 3, &entry), 0);
    entry = db_string_set_integer(db, key_of(3), entry, 77);
    assert_int_equal(db->cold.keys, cold - 3);
    assert_int_equal(find(db, 4, &entry), 0);
    db_rename(db, entry, db_at(1), key_of(4));
    assert_int_equal(db->cold.keys, cold - 4);
    assert_int_equal(db_size(db), 999);
    assert_int_equal(find(db, 5, &entry), 0);
    set_other(db, 5, entry);
    assert_int_equal(db->cold.keys, cold - 5);
    assert_int_equal(find(db, 7, &entry), 0); /* an empty write makes it raw */
    assert_int_equal(db_string_write(db, &entry, 0, bytes_of("", 0)), 0);
    assert_int_equal(entry_encoding(entry), ENCODING_RAW);
    assert_int_equal(db->cold.keys, cold - 6);
    db_check(db);
}

/* BN5: what is used in another hour than its record says is packed anew, with its new clock. */
static void test_clocks(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, 1000);
    assert_int_equal(find(db, 1, &entry), 0);
    evict_set_idle(entry, 3 * 4096);
    demote();
    for (unsigned n = 1; n <= 2; n++) {
        uint64_t cold = db->cold.keys;
        assert_int_equal(find(db, n, &entry), 0);
        assert_true(db__is_clean(entry));
        uint32_t clock = entry->clock;
        assert_int_equal(db_find(db, key_of(n), LOOKUP_WRITE, &entry), 0); /* touches */
        assert_in_range(evict_idle_ms(entry), 0, 60000);
        int is_clean = n == 2 && evict__is_about_then(clock, entry->clock); /* 100 s may be in another hour */
        assert_int_equal(db__is_clean(entry), is_clean);
        assert_int_equal(db->cold.keys, cold - !is_clean);
    }
    db_check(db);
}

/* Changes while the bundle is on its way: it takes over only what it says. */
static void test_changed_in_flight(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    struct tier_victim victims[8];
    fill(db, 60);
    unsigned count = 0;
    for (unsigned i = 0; count == 0 && i < 50; i++)
        count = begin_some(victims, 8);
    assert_int_equal(count, 1);
    assert_int_equal(begin_some(victims + 1, 4), 0); /* nothing is packed twice */
    entry = NULL;
    assert_int_equal(find(db, 0, &entry), 0);
    set_other(db, 0, entry);
    assert_int_equal(find(db, 1, &entry), 0);
    db_delete(db, entry);
    assert_int_equal(find(db, 2, &entry), 0);
    db_set_expiry(db, entry, clock_cached_ms() + 1000);
    assert_int_equal(find(db, 3, &entry), 0);
    evict_touch(entry);
    db_swap(db, db_at(1));
    db = db_at(1);
    assert_int_equal(finish(&victims[0], 1), 1);
    assert_int_equal(db->cold.keys, 57);
    assert_int_equal(db->surfaced, 1); /* used meanwhile: stays, clean */
    db_check(db);
    assert_int_equal(find(db, 0, &entry), 0);
    assert_int_equal(entry->size, 5);
    assert_int_equal(find(db, 1, &entry), 0);
    assert_null(entry);
    must_be_whole(db, 10);
    /* A failed write changes nothing; flushed meanwhile: void. */
    db_flush(db, 0);
    fill(db, 60);
    for (count = 0; count == 0;)
        count = begin_some(victims, 8);
    assert_int_equal(finish(&victims[0], 0), 0);
    must_be_whole(db, 5);
    for (count = 0; count == 0;)
        count = begin_some(victims, 8);
    forgotten = NULL;
    db_flush(NULL, 0);
    assert_ptr_equal(forgotten, victims[0].owner);
    page_release(victims[0].ref);
}

static unsigned met[KEYS], met_count;

static void see(struct entry *entry, void *ctx) {
    (void)ctx;
    met[strtoul((const char *)entry_key(entry).data, NULL, 10)]++;
    met_count++;
}
static int see_each(struct entry *entry, void *ctx) {
    see(entry, ctx);
    return 0;
}

/* SCAN in small steps, while keys go down and come up: each at least once, and not much more. */
static void test_scan(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, KEYS);
    demote();
    memset(met, 0, sizeof met);
    met_count = 0;
    uint64_t cursor = 0;
    unsigned calls = 0;
    for (int done = 0; !done;) {
        struct fault_set faults;
        fault_begin(&faults, FAULT_ASYNC);
        unsigned before = met_count;
        int error = db_scan(db, cursor, 10, see, NULL, &cursor);
        fault_end(&faults);
        assert_true(met_count - before < 100);
        if (error == FIRN_EFAULT) {
            assert_in_range(faults.count, 1, 20);
            for (unsigned i = 0; i < faults.count; i++)
                record_of(faults.refs[i])->buffered = 1;
            continue;
        }
        assert_int_equal(error, 0);
        if (++calls % 50 == 0) hooks.shrink(1 << 20, 1);
        if (calls % 70 == 0) assert_int_equal(find(db, (unsigned)random_below(KEYS), &entry), 0);
        done = cursor == 0;
    }
    for (unsigned n = 0; n < KEYS; n++)
        assert_true(met[n] >= 1);
    assert_true(met_count < KEYS + KEYS / 20);
    assert_int_equal(syncs, 0);
}

static void test_walks(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, KEYS);
    demote();
    for (unsigned n = 0; n < 300; n++)
        assert_int_equal(find(db, n, &entry), 0);
    uint64_t clean = db->surfaced;
    for (unsigned round = 0; round < 2; round++) {
        memset(met, 0, sizeof met);
        met_count = 0;
        assert_int_equal(round == 0 ? db_each(db, see_each, NULL) : db_walk(db, see_each, NULL), 0);
        assert_int_equal(met_count, KEYS);
        for (unsigned n = 0; n < KEYS; n++)
            assert_int_equal(met[n], 1);
    }
    assert_int_equal(db->surfaced, clean); /* nothing is left behind */
    memset(met, 0, sizeof met);
    for (unsigned i = 0; i < 3000; i++) {
        entry = db_random(db);
        assert_non_null(entry);
        see(entry, NULL);
        if (i % 100 == 0) hooks.shrink(1 << 20, 1);
    }
    unsigned different = 0;
    for (unsigned n = 0; n < KEYS; n++)
        different += met[n] > 0;
    assert_true(different > 2500); /* 3,000 draws of 20,000 even ones give 2,786 */
    assert_int_equal(syncs > 0 || record_of(db_cold_ref(db, key_of(KEYS - 1)))->buffered, 1);
}

/* Bundles that are mostly dead are emptied; what lives in them is packed again. */
static void test_repack(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, KEYS);
    demote();
    assert_int_equal(db_repack_some(), 0); /* nothing is dead */
    for (unsigned n = 0; n < KEYS; n++) {
        if (n % 10 < 3) continue;
        assert_int_equal(find(db, n, &entry), 0);
        db_delete(db, entry);
    }
    unsigned live_before = record_count - discards, reads = 0;
    while (db_repack_some()) {
        if (read_ready == NULL) continue;
        for (unsigned i = 0; i < read_set->count; i++)
            record_of(read_set->refs[i])->buffered = 1;
        if (++reads == 3) { /* one of them cannot be read: stays */
            record_of(read_set->refs[0])->error = FIRN_EIO;
        }
        read_ready(read_ctx);
        assert_null(read_ready);
        if (reads == 3) break;
    }
    for (unsigned i = 0; i < record_count; i++)
        records[i].error = 0;
    while (db_repack_some())
        if (read_ready != NULL) {
            for (unsigned i = 0; i < read_set->count; i++)
                record_of(read_set->refs[i])->buffered = 1;
            read_ready(read_ctx);
        }
    assert_true(db->cold.written - db->cold.keys <= db->cold.written / 5);
    db_check(db);
    demote();
    db_check(db);
    assert_int_equal(db_size(db), KEYS / 10 * 3);
    assert_true(record_count - discards < live_before / 2);
    for (unsigned n = 0; n < KEYS; n++)
        if (n % 10 < 3) must_be_whole(db, n);
    db_repack_stop();
}

/* Eviction as a last resort: a bundle's keys at a time, by policies for all keys only. */
static void test_evict(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, 2000);
    demote();
    uint64_t in_table = db->table.used;
    evict_config.policy = EVICT_VOLATILE_LRU;
    assert_int_equal(hooks.evict(PAGE_TAG_NVME), 0);
    evict_config.policy = EVICT_NOEVICTION;
    assert_int_equal(hooks.evict(PAGE_TAG_NVME), 0);
    assert_int_equal(db_size(db), 2000);
    evict_config.policy = EVICT_ALLKEYS_LRU;
    assert_int_equal(find(db, 1, &entry), 0); /* in use: not with its bundle */
    while (db__cold_keys(db) > 0) {
        uint64_t before = db_size(db);
        assert_true(hooks.evict(PAGE_TAG_NVME) > 0);
        assert_true(db_size(db) < before);
    }
    assert_int_equal(db_size(db), in_table + 1);
    must_be_whole(db, 1);
    db_check(db);
    while (hooks.evict(0) > 0) {
    }
    assert_int_equal(db_size(db), 0);
}

/* BN3: whatever a record holds, the worst is FIRN_ECORRUPT. */
static void test_corrupt(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, 2000);
    demote();
    for (unsigned n = 0; n < 2000; n++) {
        uint64_t ref = db_cold_ref(db, key_of(n));
        if (ref == 0) continue;
        struct record *record = record_of(ref);
        record->buffered = 1;
        uint8_t kept[4096];
        uint32_t bytes = record->page->bytes;
        memcpy(kept, record->page->data, bytes);
        for (unsigned i = 0; i < 8; i++)
            record->page->data[random_below(bytes)] = (uint8_t)random_u64();
        if (n % 5 == 0) record->page->bytes = (uint32_t)random_below(bytes);
        int error = find(db, n, &entry); /* absent, corrupt, or here, perhaps with other bytes */
        assert_true(error == 0 || error == FIRN_ECORRUPT);
        uint64_t next;
        error = db_scan(db, hash_key(key_of(n)) >> 1, 5, see, NULL, &next);
        assert_true(error == 0 || error == FIRN_ECORRUPT);
        (void)db_random(db);
        memcpy(record->page->data, kept, bytes);
        record->page->bytes = bytes;
        if (n % 7 == 0) {
            record->error = FIRN_EIO;
            error = find(db, n + 1, &entry);
            assert_true(error == 0 || error == FIRN_EIO);
            record->error = 0;
        }
    }
    db_flush(db, 1);
    while (db_reap_some(1000)) {
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_down_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_walks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_repack, setup, teardown),
        cmocka_unit_test_setup_teardown(test_evict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_corrupt, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
