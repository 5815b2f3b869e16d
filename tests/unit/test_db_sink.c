/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_page firn_ds firn_base m */
/*
 * Keys off DRAM. A fake NVMe tier keeps payload and name of each record and says whether it is in the read
 * buffer. Keys go down through the real hooks, sink, and must come back as they were; what a record does not
 * describe must not sink; bytes of names are not trusted.
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

#define KEYS        3000u
#define RECORDS_MAX 8000u
#define VALUE_BYTES 200u

/* --- a fake tier --- */

struct record {
    uint8_t *payload, *name;
    size_t payload_bytes, name_bytes;
    int buffered, dead, error;
};
static struct record records[RECORDS_MAX];
static unsigned record_count, discards;

static struct record *record_of(uint64_t ref) {
    uint64_t address = page_ref_address(ref);
    assert_int_equal(page_ref_tag(ref), PAGE_TAG_NVME);
    assert_in_range(address, 1, record_count);
    assert_int_equal(records[address - 1].dead, 0);
    return &records[address - 1];
}

struct bytes tier_read_name(uint64_t ref) {
    struct record *record = record_of(ref);
    assert_int_equal(record->buffered, 1);
    return bytes_of(record->name, record->name_bytes);
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
    (void)set, (void)ready, (void)ctx;
    return (struct tier_read *)&tier_clear; /* never arrives */
}
void tier_read_done(struct tier_read *read) {
    (void)read;
}

static int fake_buffered(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    struct record *record = record_of(ref);
    if (seen_out != NULL) *seen_out = 0;
    if (record->error != 0) return record->error;
    if (!record->buffered) return FIRN_EFAULT;
    *payload_out = bytes_of(record->payload, record->payload_bytes);
    return 0;
}
static int fake_read_sync(uint64_t ref, struct bytes *payload_out) {
    record_of(ref)->buffered = 1;
    return fake_buffered(ref, payload_out, NULL);
}
static void fake_discard(uint64_t ref) {
    record_of(ref)->dead = 1;
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

static uint64_t keep_record(struct bytes payload, const struct tier_victim *victim) {
    assert_true(record_count < RECORDS_MAX);
    struct record *record = &records[record_count++];
    *record = (struct record){.payload_bytes = payload.size,
                              .name_bytes = victim->name_head.size + victim->name_tail.size};
    record->payload = memory_alloc(payload.size + 1);
    record->name = memory_alloc(record->name_bytes + 1);
    memcpy(record->payload, payload.data, payload.size);
    if (victim->name_head.size > 0) memcpy(record->name, victim->name_head.data, victim->name_head.size);
    if (victim->name_tail.size > 0)
        memcpy(record->name + victim->name_head.size, victim->name_tail.data, victim->name_tail.size);
    uint64_t ref = page_ref_lower(PAGE_TAG_NVME, record_count);
    return record->name_bytes > 0 ? ref | PAGE_REF_NAMED : ref;
}

/* Move everything down that the keyspace offers. */
static void demote(void) {
    for (unsigned round = 0; round < 400; round++) {
        struct tier_victim victims[64];
        unsigned count = hooks.victims(PAGE_TAG_DRAM, victims, 64);
        for (unsigned i = 0; i < count; i++) {
            struct bytes payload = victims[i].inline_value;
            if (victims[i].ref != 0) assert_int_equal(page_peek(victims[i].ref, &payload, NULL), 0);
            hooks.begin(&victims[i]);
            assert_int_equal(hooks.finish(&victims[i], keep_record(payload, &victims[i])), 1);
        }
    }
}

/* --- keys --- */

static struct bytes key_of(unsigned n) {
    static char text[40];
    return bytes_of(text, (size_t)snprintf(text, sizeof text, "a key of some length:%u", n));
}

static struct bytes value_of(unsigned n) {
    static char text[VALUE_BYTES + 1];
    snprintf(text, sizeof text, "%0*u", (int)VALUE_BYTES, n);
    return bytes_of(text, VALUE_BYTES);
}

static struct entry *set(struct db *db, unsigned n) {
    struct entry *entry;
    assert_int_equal(
        db_string_set(db, key_of(n), NULL, value_of(n), STRING_FORM_ANY, DB_STRING_NO_EXPIRY, &entry), 0);
    return entry;
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
        assert_in_range(faults.count, 1, 4);
        assert_true(run < 3);
        for (unsigned i = 0; i < faults.count; i++)
            record_of(faults.refs[i])->buffered = 1;
    }
}

static void must_be_whole(struct db *db, unsigned n) {
    struct entry *entry;
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes_builder scratch = {0};
    struct bytes value;
    assert_int_equal(find(db, n, &entry), 0);
    assert_non_null(entry);
    assert_int_equal(entry->size, VALUE_BYTES);
    assert_int_equal(evict_idle_ms(entry), 100000);
    assert_int_equal(db_string_read(db, &entry, digits, &scratch, &value), 0);
    assert_true(bytes_equal(value, value_of(n)));
    bytes_builder_fini(&scratch);
}

static void sink_all(void) {
    for (unsigned i = 0; i < 200; i++)
        evict__shrink(UINT64_MAX, 1);
}

static int setup(void **state) {
    (void)state;
    static int seeded;
    if (!seeded) hash_seed_init();
    seeded = 1;
    random_seed(7);
    clock_update();
    page_set_tier_hooks(&fake_hooks);
    record_count = discards = 0;
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
    for (unsigned i = 0; i < record_count; i++) {
        memory_free(records[i].payload);
        memory_free(records[i].name);
    }
    page_set_tier_hooks(NULL);
    return 0;
}

/* --- cases --- */

static void test_down_and_back(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, KEYS);
    demote();
    uint64_t before = memory_used();
    sink_all();
    assert_int_equal(db_sunk_count(), KEYS);
    assert_true(before - memory_used() > KEYS * 20);
    assert_int_equal(db_size(db), KEYS);
    db_check(db);
    for (unsigned n = KEYS; n < 2 * KEYS; n++) { /* what does not exist needs no read */
        struct fault_set faults;
        fault_begin(&faults, FAULT_ASYNC);
        assert_int_equal(db_find(db, key_of(n), LOOKUP_WRITE, &entry), 0);
        fault_end(&faults);
        assert_null(entry);
    }
    assert_int_equal(db_is_sunk(db, key_of(17)), 1);
    assert_true(db_cold_ref(db, key_of(17)) != 0);
    for (unsigned n = 0; n < KEYS; n += 2)
        must_be_whole(db, n);
    assert_int_equal(db_sunk_count(), KEYS / 2);
    assert_int_equal(db_is_sunk(db, key_of(18)), 0);
    db_check(db);
    sink_all(); /* nothing was written for it: the same records */
    assert_int_equal(db_sunk_count(), KEYS);
    assert_int_equal(record_count, KEYS);
    for (unsigned n = 0; n < KEYS; n++) {
        assert_int_equal(find(db, n, &entry), 0);
        assert_int_equal(db_delete(db, entry), 1);
    }
    assert_int_equal(discards, KEYS);
    assert_int_equal(db_size(db), 0);
}

/* S1: each kind of entry that its record does not describe stays. */
static void test_what_does_not_sink(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, 8);
    demote();
    assert_int_equal(find(db, 0, &entry), 0);
    db_set_expiry(db, entry, clock_cached_ms() + 100000);
    assert_int_equal(find(db, 1, &entry), 0);
    entry->flags |= ENTRY_PINNED;
    assert_int_equal(find(db, 2, &entry), 0);
    entry->flags |= ENTRY_MOVING;
    assert_int_equal(find(db, 3, &entry), 0);
    entry = db_rename(db, entry, db, key_of(100)); /* its record has the old name */
    assert_true(entry->flags & ENTRY_RENAMED);
    assert_int_equal(find(db, 4, &entry), 0);
    entry_store_ref(entry, entry_ref(entry) & ~PAGE_REF_NAMED);
    set(db, 200); /* in DRAM */
    sink_all();
    assert_int_equal(db_sunk_count(), 3);
    for (unsigned n = 5; n < 8; n++)
        assert_int_equal(db_is_sunk(db, key_of(n)), 1);
    assert_int_equal(find(db, 2, &entry), 0);
    entry->flags &= (uint8_t)~ENTRY_MOVING;
    assert_int_equal(find(db, 4, &entry), 0);
    entry_store_ref(entry, entry_ref(entry) | PAGE_REF_NAMED);
    sink_all();
    assert_int_equal(db_sunk_count(), 5);
}

/* Names that do not fit, of another key, of no type: the key stays, the error is told. */
static void test_damaged_names(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, 4);
    demote();
    sink_all();
    struct record *at[4];
    for (unsigned n = 0; n < 4; n++)
        at[n] = record_of(db_cold_ref(db, key_of(n)));
    at[0]->name_bytes = 5;
    at[1]->name[at[1]->name_bytes - 1] ^= 1;
    at[2]->name[0] = 0xff; /* type and encoding */
    at[3]->error = FIRN_EIO;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned n = 0; n < 4; n++) {
            assert_int_equal(find(db, n, &entry), n == 3 ? FIRN_EIO : FIRN_ECORRUPT);
            assert_int_equal(db_is_sunk(db, key_of(n)), 1);
        }
    }
    assert_int_equal(db_size(db), 4);
    at[3]->error = 0;
    must_be_whole(db, 3);
}

static void count_visit(struct entry *entry, void *ctx) {
    (void)entry;
    ++*(unsigned *)ctx;
}
static int count_each(struct entry *entry, void *ctx) {
    (void)entry;
    ++*(unsigned *)ctx;
    return 0;
}

static void test_walks(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct fault_set faults;
    unsigned seen = 0, asked = 0;
    uint64_t cursor = 0;
    fill(db, KEYS);
    demote();
    sink_all();
    do {
        uint64_t next;
        fault_begin(&faults, FAULT_ASYNC);
        int error = db_scan(db, cursor, 50, count_visit, &seen, &next);
        fault_end(&faults);
        for (unsigned i = 0; i < faults.count; i++)
            record_of(faults.refs[i])->buffered = 1;
        asked += error == FIRN_EFAULT;
        assert_true(error == 0 || error == FIRN_EFAULT);
        cursor = error == 0 ? next : cursor;
        if (error == 0 && next == 0) break;
    } while (asked < 10000);
    assert_int_equal(seen, KEYS);
    assert_true(asked > 0);
    sink_all();
    assert_int_equal(db_sunk_count(), KEYS);
    seen = 0;
    fault_begin(&faults, FAULT_ASYNC);
    assert_int_equal(db_each(db, count_each, &seen), 0);
    assert_int_equal(faults.mode, FAULT_SYNC);
    fault_end(&faults);
    assert_int_equal(seen, KEYS);
    assert_int_equal(db_sunk_count(), KEYS); /* nothing is left behind */
    for (unsigned i = 0; i < 100; i++) {
        fault_begin(&faults, FAULT_ASYNC);
        assert_non_null(db_random(db));
        fault_end(&faults);
    }
    assert_in_range(db_sunk_count(), KEYS - 100, KEYS - 50);
}

static void test_swap_and_flush(void **state) {
    (void)state;
    fill(db_at(0), 500);
    demote();
    sink_all();
    set(db_at(1), 1000);
    db_swap(db_at(0), db_at(1));
    assert_int_equal(db_size(db_at(1)), 500);
    must_be_whole(db_at(1), 77);
    assert_int_equal(db_sunk_count(), 499);
    assert_int_equal(db_flush(db_at(1), 0), 500);
    assert_int_equal(discards, 500);
    assert_int_equal(db_sunk_count(), 0);

    fill(db_at(0), 500);
    demote();
    sink_all();
    assert_int_equal(db_flush(NULL, 1), 501);
    while (db_reap_some(1000))
        continue;
    assert_int_equal(db_sunk_count(), 0);
    assert_int_equal(discards, record_count);
}

/* Not all: stubs may take a share of the limit, and what was used lately stays. */
static void test_only_the_excess(void **state) {
    (void)state;
    struct db *db = db_at(0);
    struct entry *entry;
    fill(db, KEYS);
    demote();
    evict_config.memory_max = 64u << 20;
    assert_int_equal(evict__shrink(UINT64_MAX, 0), 0);
    evict_config.memory_max = 6 * 80 * (KEYS / 2); /* a sixth of it holds half of the stubs */
    for (unsigned n = 0; n < 100; n++) {
        assert_int_equal(find(db, n, &entry), 0);
        evict_touch(entry);
    }
    for (unsigned i = 0; i < 200; i++)
        evict__shrink(UINT64_MAX, 0);
    assert_in_range(db_sunk_count(), KEYS / 2 - 100, KEYS - 101);
    for (unsigned n = 0; n < 100; n++)
        assert_int_equal(db_is_sunk(db, key_of(n)), 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_down_and_back), CASE(test_what_does_not_sink), CASE(test_damaged_names),
        CASE(test_walks),         CASE(test_swap_and_flush),     CASE(test_only_the_excess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
