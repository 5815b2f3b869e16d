/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace firn_types firn_page firn_ds firn_base */
/*
 * The index of keys off DRAM against a plain array of (position, bundle). Random bundles are added (of
 * neighbours, or spread over everything), keys removed, and every question asked of both; bundles must be
 * given back exactly once, with their last key. cold_index_check after each phase.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "keyspace/cold_index.h"
#include "page/page.h"

#define KEYS_MAX    120000u
#define BUNDLES_MAX 40000u

struct key {
    uint64_t position;
    unsigned bundle;
};
static struct key keys[KEYS_MAX]; /* ascending */
static unsigned key_count;
static unsigned live[BUNDLES_MAX], seen[BUNDLES_MAX], bundle_count;
static struct cold_index cold;

static uint64_t ref_of(unsigned bundle) {
    return page_ref_lower(PAGE_TAG_NVME, bundle + 1);
}
static unsigned bundle_of(uint64_t ref) {
    assert_int_equal(page_ref_tag(ref), PAGE_TAG_NVME);
    return (unsigned)page_ref_address(ref) - 1;
}

static void discard(uint64_t ref) {
    unsigned bundle = bundle_of(ref);
    assert_int_equal(live[bundle], 0);
    assert_int_equal(seen[bundle], 0);
    seen[bundle] = 1; /* given back */
}
static const struct page_tier_hooks hooks = {.discard = discard};

static void forget(uint64_t ref) {
    (void)ref;
}
static const struct page_tier_hooks careless = {.discard = forget}; /* one reference for all bundles */

static int setup(void **state) {
    (void)state;
    random_seed(11);
    page_set_tier_hooks(&hooks);
    key_count = bundle_count = 0;
    cold = (struct cold_index){0};
    return 0;
}

static int teardown(void **state) {
    (void)state;
    page_set_tier_hooks(NULL);
    return 0;
}

/* The first key not below ${position}. */
static unsigned place(uint64_t position) {
    unsigned from = 0, count = key_count;
    while (count > 0) {
        unsigned half = count / 2;
        if (keys[from + half].position < position) {
            from += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return from;
}

static int is_there(uint64_t position) {
    unsigned at = place(position);
    return at < key_count && keys[at].position == position;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Add a bundle of up to ${most} keys within ${span} positions from a random place on. */
static void add(unsigned most, uint64_t span) {
    uint64_t positions[COLD_BUNDLE_KEYS_MAX], first = random_below(COLD_POSITION_END - span + 1);
    unsigned wanted = 1 + (unsigned)random_below(most), count = 0;
    for (unsigned i = 0; i < wanted; i++) {
        uint64_t position = first + random_below(span);
        int fresh = !is_there(position);
        for (unsigned j = 0; j < count; j++)
            fresh &= positions[j] != position;
        if (fresh) positions[count++] = position;
    }
    if (count == 0 || key_count + count > KEYS_MAX || bundle_count == BUNDLES_MAX) return;
    qsort(positions, count, sizeof positions[0], ascending);
    unsigned written = count + (unsigned)random_below(COLD_BUNDLE_KEYS_MAX - count + 1) / 4;
    live[bundle_count] = count;
    seen[bundle_count] = 0;
    cold_index_add(&cold, positions, count, written, ref_of(bundle_count));
    for (unsigned i = 0; i < count; i++) {
        unsigned at = place(positions[i]);
        memmove(&keys[at + 1], &keys[at], (key_count - at) * sizeof keys[0]);
        keys[at] = (struct key){positions[i], bundle_count};
        key_count++;
    }
    bundle_count++;
}

static void remove_at(unsigned at) {
    struct key key = keys[at];
    memmove(&keys[at], &keys[at + 1], (key_count - at - 1) * sizeof keys[0]);
    key_count--;
    live[key.bundle]--;
    cold_index_remove(&cold, key.position);
    assert_int_equal(seen[key.bundle], live[key.bundle] == 0);
}

static void compare(void) {
    cold_index_check(&cold);
    assert_int_equal(cold.keys, key_count);
    uint64_t position = 0, ref;
    for (unsigned i = 0; i < key_count; i++, position++) { /* in order, and one by one */
        assert_int_equal(cold_index_next(&cold, position, &position, &ref), 1);
        assert_int_equal(position, keys[i].position);
        assert_int_equal(bundle_of(ref), keys[i].bundle);
        assert_int_equal(cold_index_find(&cold, position), ref);
    }
    assert_int_equal(cold_index_next(&cold, position, &position, &ref), 0);
    for (unsigned i = 0; i < 20000; i++) {
        position = random_below(COLD_POSITION_END);
        if (!is_there(position)) assert_int_equal(cold_index_find(&cold, position), 0);
    }
}

/* Each bundle once, whatever leaves it is in. */
static void compare_walk(void) {
    static unsigned met[BUNDLES_MAX];
    unsigned expected = 0, count = 0, got;
    uint64_t walk = 0, refs[64];
    memset(met, 0, sizeof met);
    cold_index_walk_begin(&cold);
    while ((got = cold_index_walk(&cold, &walk, refs, 1 + (unsigned)random_below(64))) > 0) {
        for (unsigned i = 0; i < got; i++)
            assert_int_equal(met[bundle_of(refs[i])]++, 0);
        count += got;
    }
    for (unsigned i = 0; i < bundle_count; i++)
        expected += live[i] > 0;
    assert_int_equal(count, expected);
}

static void churn(unsigned rounds, unsigned most, uint64_t span, unsigned removals) {
    for (unsigned i = 0; i < rounds; i++) {
        add(most, span);
        for (unsigned j = (unsigned)random_below(removals + 1); j > 0 && key_count > 0; j--)
            remove_at((unsigned)random_below(key_count));
    }
}

static void test_model(void **state) {
    (void)state;
    churn(50, 100, COLD_POSITION_END, 20);
    compare();
    compare_walk();
    churn(3000, 80, COLD_POSITION_END >> 14, 20); /* neighbours: leaves split */
    compare();
    compare_walk();
    churn(500, 250, COLD_POSITION_END >> 4, 100); /* wide ones: over several leaves */
    compare();
    compare_walk();
    churn(200, 3, COLD_POSITION_END, 500);
    compare();
    compare_walk();
    while (key_count > 0)
        remove_at((unsigned)random_below(key_count));
    assert_int_equal(cold.bytes, 0);
    for (unsigned i = 0; i < bundle_count; i++)
        assert_int_equal(seen[i], 1);
    churn(20, 3, 64, 2); /* usable again */
    compare();
    memset(live, 0, sizeof live);
    while (cold_index_drain(&cold)) {
    }
    assert_int_equal(cold.keys, 0);
}

/* All in a small part of the space: prefixes get long, fingerprints short. */
static void test_narrow(void **state) {
    (void)state;
    const uint64_t span = COLD_POSITION_END >> 16;
    for (unsigned i = 0; i < 1500; i++) {
        uint64_t positions[40];
        unsigned count = 0;
        uint64_t position = random_below(span - 100000);
        for (unsigned j = 0; j < 40; j++) {
            position += 1 + random_below(300);
            if (!is_there(position)) positions[count++] = position;
        }
        if (count == 0) continue;
        live[bundle_count] = count;
        seen[bundle_count] = 0;
        cold_index_add(&cold, positions, count, count, ref_of(bundle_count));
        for (unsigned j = 0; j < count; j++) {
            unsigned at = place(positions[j]);
            memmove(&keys[at + 1], &keys[at], (key_count - at) * sizeof keys[0]);
            keys[at] = (struct key){positions[j], bundle_count};
            key_count++;
        }
        bundle_count++;
    }
    compare();
    compare_walk();
    assert_true(cold.depth >= 20);
    for (unsigned i = 0; i < bundle_count; i++)
        live[i] = 0;
    while (cold_index_drain(&cold)) {
    }
    for (unsigned i = 0; i < bundle_count; i++)
        assert_int_equal(seen[i], 1);
    key_count = 0;
}

static void test_random_and_sparse(void **state) {
    (void)state;
    static unsigned drawn[1000];
    uint64_t position, ref, refs[8];
    assert_int_equal(cold_index_random(&cold, &position, &ref), 0);
    while (key_count < 1000)
        add(40, COLD_POSITION_END);
    memset(drawn, 0, sizeof drawn);
    while (key_count > 1000)
        remove_at(0);
    for (unsigned i = 0; i < 50000; i++) {
        assert_int_equal(cold_index_random(&cold, &position, &ref), 1);
        unsigned at = place(position);
        assert_int_equal(keys[at].position, position);
        assert_int_equal(keys[at].bundle, bundle_of(ref));
        drawn[at]++;
    }
    for (unsigned i = 0; i < 1000; i++)
        assert_in_range(drawn[i], 10, 130); /* 50 expected; leaves differ a little in size */
    while (key_count > 1)
        remove_at((unsigned)random_below(key_count));
    assert_int_equal(cold_index_random(&cold, &position, &ref), 1);
    assert_int_equal(position, keys[0].position);
    position = 0;
    unsigned found = 0;
    do {
        found += cold_index_sparse(&cold, &position, 101, refs, 8);
    } while (position != 0);
    assert_int_equal(found, 1);
    assert_int_equal(bundle_of(refs[0]), keys[0].bundle);
    remove_at(0);
    assert_int_equal(cold.bytes, 0);
}

/* What a key costs, as tables and bundles are at forty times as many keys as DRAM holds. */
static void test_memory(void **state) {
    (void)state;
    const unsigned count = 400000, of_bundle = 40;
    uint64_t positions[40];
    for (unsigned round = 0; round < 10; round++) { /* bundles of one sweep do not overlap */
        for (unsigned n = 0; n < count / 10 / of_bundle; n++) {
            uint64_t step = COLD_POSITION_END / (count / 10);
            for (unsigned i = 0; i < of_bundle; i++)
                positions[i] = (n * of_bundle + i) * step + random_below(step);
            unsigned fresh = 0;
            for (unsigned i = 0; i < of_bundle; i++)
                if (cold_index_find(&cold, positions[i]) == 0) positions[fresh++] = positions[i];
            cold_index_add(&cold, positions, fresh, fresh, page_ref_lower(PAGE_TAG_NVME, 1));
        }
    }
    cold_index_check(&cold);
    print_message("%.2f bytes a key, %lu parts, depth %u\n", (double)cold.bytes / (double)cold.keys,
                  (unsigned long)cold.parts, cold.depth);
    assert_true(cold.bytes < cold.keys * 7); /* 4 bytes of fingerprint up to 11 M keys, 3 from there */
    page_set_tier_hooks(&careless);
    while (cold_index_drain(&cold)) {
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_narrow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_and_sparse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
