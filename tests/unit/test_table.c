/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_ds firn_base */
/*
 * The table against a plain array of entries: finding, growing and shrinking through all sizes, walks under
 * splits and merges, load. Method: entries are strings "key:<n>" kept in an array; table_check after each
 * phase.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/table.h"

#define KEYS 250000u

static struct entry *entries[KEYS];
static unsigned char present[KEYS], met[KEYS];

static struct bytes key_of(unsigned n, char *buffer) {
    return bytes_of(buffer, (size_t)snprintf(buffer, 32, "key:%u", n));
}

static unsigned number_of(const struct entry *entry) {
    return (unsigned)strtoul((const char *)entry_key(entry).data + 4, NULL, 10);
}

static uint64_t hash_of(const struct entry *entry) {
    return hash_key(entry_key(entry));
}

static int setup(void **state) {
    (void)state;
    hash_seed_init();
    random_seed(7);
    for (unsigned n = 0; n < KEYS; n++) {
        char buffer[32];
        /* 8 unused inline bytes end the digits for strtoul */
        entries[n] = entry_create(key_of(n, buffer), TYPE_STRING, ENCODING_RAW, 0, 1, 8);
        memset(entry_inline(entries[n]), 0, 8);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (unsigned n = 0; n < KEYS; n++)
        entry_free(entries[n]);
    return 0;
}

static void add(struct table *table, unsigned n) {
    uint64_t *slot = table_insert(table, hash_of(entries[n]), entries[n]);
    assert_ptr_equal(table_slot_entry(*slot), entries[n]);
    present[n] = 1;
}

static void take(struct table *table, unsigned n) {
    uint64_t *slot = table_find_entry(table, hash_of(entries[n]), entries[n]);
    assert_non_null(slot);
    table_remove(table, hash_of(entries[n]), slot);
    present[n] = 0;
}

static void verify(const struct table *table) {
    table_check(table);
    char buffer[32];
    for (unsigned n = 0; n < KEYS; n++) {
        struct bytes key = key_of(n, buffer);
        uint64_t *slot = table_find(table, hash_key(key), key);
        if (present[n]) {
            assert_non_null(slot);
            assert_ptr_equal(table_slot_entry(*slot), entries[n]);
            unsigned nth = 0; /* strangers with the same bits may come first */
            while (table_find_hash(table, hash_key(key), nth) != slot)
                assert_true(++nth < 4);
        } else {
            assert_null(slot);
        }
    }
}

static void test_empty(void **state) {
    (void)state;
    struct table table;
    table_init(&table);
    assert_null(table_find(&table, 5, bytes_of_text("x")));
    assert_null(table_random(&table));
    assert_int_equal(table_scan(&table, 77, NULL, NULL), 0);
    assert_int_equal(table_drain(&table, NULL, NULL), 0);
    add(&table, 1);
    table_check(&table);
    assert_ptr_equal(table_slot_entry(*table_random(&table)), entries[1]);
    take(&table, 1);
    table_check(&table);
    assert_int_equal(table.bytes, 0);
    table_fini(&table);
}

/* Through every size and back to nothing, checked on the way. */
static void test_grow_and_shrink(void **state) {
    (void)state;
    struct table table;
    table_init(&table);
    for (unsigned n = 0; n < KEYS; n++) {
        add(&table, n);
        if (n < 1000 ? n % 10 == 0 : n % 10000 == 0) table_check(&table);
    }
    verify(&table);
    assert_true(table.splits > 50);
    for (unsigned n = 0; n < KEYS; n++) {
        take(&table, (unsigned)((uint64_t)n * 7919u % KEYS)); /* 7919 is coprime to KEYS */
        if (n % 5000 == 0 || (n > KEYS - 1000 && n % 20 == 0)) table_check(&table);
        if (n == KEYS / 2 || n == KEYS - 100) verify(&table);
    }
    assert_int_equal(table.used, 0);
    assert_int_equal(table.bytes, 0);
    assert_int_equal(table.segments, 0);
}

/* Bytes per key stay bounded at every size, growing and shrinking. */
static void test_load(void **state) {
    (void)state;
    struct table table;
    table_init(&table);
    double worst = 0;
    for (unsigned n = 0; n < KEYS; n++) {
        add(&table, n);
        if (n > 2000 && (double)table.bytes / n > worst) worst = (double)table.bytes / n;
    }
    assert_true(worst < 13.5);
    for (unsigned n = 0; n < KEYS - 1000; n++)
        take(&table, n);
    assert_true((double)table.bytes / 1000 < 80); /* 256 directories and at least as many segments stay */
    for (unsigned n = KEYS - 1000; n < KEYS; n++)
        present[n] = 0;
    table_fini(&table);
    assert_int_equal(table.bytes, 0);
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = hash_of(entries[*(const unsigned *)a]), y = hash_of(entries[*(const unsigned *)b]);
    return x < y ? -1 : x > y;
}

/* Neighbours only, in the order of their hashes, into a table that has little else: it grows where they are.
 */
static void test_neighbours(void **state) {
    (void)state;
    static unsigned order[KEYS];
    struct table table;
    table_init(&table);
    for (unsigned n = 0; n < KEYS; n++)
        order[n] = n;
    qsort(order, KEYS, sizeof order[0], by_hash);
    for (unsigned i = 0; i < KEYS; i += 500)
        add(&table, order[i]);
    for (unsigned i = KEYS / 3; i < KEYS / 3 + 60000; i++) {
        if (!present[order[i]]) add(&table, order[i]);
        if (i % 1000 == 0) table_check(&table);
    }
    verify(&table);
    for (unsigned i = 0; i < KEYS; i++)
        if (present[order[i]]) take(&table, order[i]);
    assert_int_equal(table.bytes, 0);
    table_fini(&table);
}

/* Rounds of random insertions and removals of random stretches. */
static void test_random(void **state) {
    (void)state;
    struct table table;
    table_init(&table);
    for (unsigned round = 0; round < 60; round++) {
        unsigned from = (unsigned)random_below(KEYS), count = (unsigned)random_below(KEYS / 2);
        int insert = random_below(5) < 3;
        for (unsigned i = 0; i < count; i++) {
            unsigned n = (from + i) % KEYS;
            if (insert && !present[n]) add(&table, n);
            if (!insert && present[n]) take(&table, n);
        }
        table_check(&table);
    }
    verify(&table);
    memset(present, 0, sizeof present);
    table_fini(&table);
}

static void mark(uint64_t *slot, void *ctx) {
    (void)ctx;
    met[number_of(table_slot_entry(*slot))] = 1;
}

/* Whatever is there from begin to end is met, while others come and go. */
static void test_scan_guarantee(void **state) {
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct table table;
        table_init(&table);
        unsigned stay = 1 + (unsigned)random_below(2000);
        unsigned visitors = (unsigned)random_below(KEYS - stay);
        int starts_full = random_below(2) == 0;
        for (unsigned n = 0; n < stay; n++)
            add(&table, n);
        if (starts_full) {
            for (unsigned n = stay; n < stay + visitors; n++)
                add(&table, n);
        }
        memset(met, 0, sizeof met);
        uint64_t position = 0;
        unsigned next = stay;
        do {
            position = table_scan(&table, position, mark, NULL);
            assert_true(position >> 63 == 0);
            unsigned steps = (unsigned)random_below(200);
            for (; steps > 0 && next < stay + visitors; steps--, next++) {
                if (starts_full)
                    take(&table, next);
                else
                    add(&table, next);
            }
        } while (position != 0);
        for (unsigned n = 0; n < stay; n++)
            assert_true(met[n]);
        memset(present, 0, sizeof present);
        table_fini(&table);
    }
}

static int mark_slot(uint64_t *slot, void *ctx) {
    unsigned *count = ctx;
    met[number_of(table_slot_entry(*slot))]++;
    (*count)++;
    return 0;
}

static void count_slot(uint64_t slot, void *ctx) {
    (void)slot;
    ++*(unsigned *)ctx;
}

/* each and sweep meet every entry exactly once; drain hands out all and leaves nothing. */
static void test_walks(void **state) {
    (void)state;
    struct table table;
    table_init(&table);
    for (unsigned n = 0; n < KEYS; n++)
        add(&table, n);
    unsigned count = 0;
    memset(met, 0, sizeof met);
    assert_int_equal(table_each(&table, mark_slot, &count), 0);
    assert_int_equal(count, KEYS);
    for (unsigned n = 0; n < KEYS; n++)
        assert_int_equal(met[n], 1);
    uint64_t position = 0, *slots;
    count = 0;
    do {
        position = table_sweep(&table, position, &slots);
        for (unsigned i = 0; i < TABLE_BUCKET_SLOTS; i++)
            count += slots[i] != 0;
    } while (position != 0);
    assert_int_equal(count, KEYS);
    count = 0;
    while (table_drain(&table, count_slot, &count)) {
    }
    assert_int_equal(count, KEYS);
    assert_int_equal(table.bytes, 0);
    memset(present, 0, sizeof present);
}

/* Flags live in the slot through growth; a new address keeps them. */
static void test_flags(void **state) {
    (void)state;
    struct table table;
    table_init(&table);
    for (unsigned n = 0; n < KEYS; n++) {
        add(&table, n);
        uint64_t *slot = table_find_entry(&table, hash_of(entries[n]), entries[n]);
        table_slot_set_residency(slot, (enum table_residency)(n % 4));
        table_slot_set_volatile(slot, n % 3 == 0);
    }
    for (unsigned n = 0; n < KEYS; n++) {
        uint64_t *slot = table_find_entry(&table, hash_of(entries[n]), entries[n]);
        assert_int_equal(table_slot_residency(*slot), n % 4);
        assert_int_equal((*slot & TABLE_SLOT_VOLATILE) != 0, n % 3 == 0);
    }
    memset(present, 0, sizeof present);
    table_fini(&table);
}

static void test_random_is_fair(void **state) {
    (void)state;
    struct table table;
    table_init(&table);
    enum { FEW = 100, DRAWS = 100000 };
    static unsigned drawn[FEW];
    for (unsigned n = 0; n < FEW; n++)
        add(&table, n);
    for (unsigned i = 0; i < DRAWS; i++)
        drawn[number_of(table_slot_entry(*table_random(&table)))]++;
    for (unsigned n = 0; n < FEW; n++)
        assert_in_range(drawn[n], DRAWS / FEW / 2, DRAWS / FEW * 2);
    memset(present, 0, sizeof present);
    table_fini(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),          cmocka_unit_test(test_grow_and_shrink),
        cmocka_unit_test(test_load),           cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_random),         cmocka_unit_test(test_scan_guarantee),
        cmocka_unit_test(test_walks),          cmocka_unit_test(test_flags),
        cmocka_unit_test(test_random_is_fair),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
