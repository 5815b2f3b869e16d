/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_ds */
/* struct name_map against an array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "ds/name_map.h"

#define NAMES 2000

struct item {
    struct name_map_node node;
    char name[16];
    int in;
};

static struct item items[NAMES];
static struct name_map map;
static size_t seen;

static int count_one(struct name_map_node *node, void *ctx) {
    (void)ctx;
    assert_true(((struct item *)node)->in);
    seen++;
    return 0;
}

static int drop_one(struct name_map_node *node, void *ctx) {
    (void)ctx;
    name_map_remove(&map, node);
    ((struct item *)node)->in = 0;
    return 0;
}

static int stop(struct name_map_node *node, void *ctx) {
    (void)node, (void)ctx;
    return 7;
}

static void against_an_array(void **state) {
    (void)state;
    size_t in = 0;
    for (int i = 0; i < NAMES; i++) { /* two databases have the same names */
        snprintf(items[i].name, sizeof items[i].name, "n%d", i / 2);
        items[i].node.number = (unsigned)i % 2;
        items[i].node.name = bytes_of(items[i].name, strlen(items[i].name));
    }
    for (unsigned step = 0; step < 40000; step++) {
        uint64_t draw = ((uint64_t)step * UINT64_C(0x9e3779b97f4a7c15)) >> 20;
        struct item *item = &items[draw % NAMES];
        struct name_map_node *found = name_map_find(&map, item->node.number, item->node.name);
        assert_ptr_equal(found, item->in ? &item->node : NULL);
        if (item->in)
            name_map_remove(&map, &item->node);
        else
            name_map_insert(&map, &item->node);
        in += item->in ? (size_t)-1 : 1;
        item->in = !item->in;
        assert_int_equal(map.count, in);
    }
    seen = 0;
    assert_int_equal(name_map_each(&map, count_one, NULL), 0);
    assert_int_equal(seen, in);
    assert_int_equal(name_map_each(&map, stop, NULL), 7);
    assert_int_equal(name_map_each(&map, drop_one, NULL), 0);
    assert_int_equal(map.count, 0);
    assert_null(map.buckets);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_an_array)};
    hash_seed_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
