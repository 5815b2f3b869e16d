/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/*
 * Streams as a type: layout as Redis has it, which pages are touched for what, RDB forms, counters, memory
 * that runs out, freeing in slices. What operations do is held against a model in tests/model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes_builder.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/memory.h"
#include "ds/rdb_format.h"
#include "tests/model/fake_tier.h"
#include "types/stream.h"

static const struct stream_id id_min = {0, 0}, id_max = {UINT64_MAX, UINT64_MAX};

static struct stream_id id_of(uint64_t ms, uint64_t seq) {
    return (struct stream_id){ms, seq};
}

static int add(struct entry *entry, uint64_t ms, uint64_t seq, const char *field, const char *value) {
    struct bytes pair[2] = {bytes_of_text(field), bytes_of_text(value)};
    return stream_append(entry, id_of(ms, seq), pair, 1);
}

static struct entry *filled(unsigned count) {
    struct entry *entry = stream_create(bytes_of_text("s"));
    for (unsigned i = 1; i <= count; i++)
        assert_int_equal(add(entry, i, 0, "field", "value"), 0);
    return entry;
}

static void destroy(struct entry *entry) {
    type_stream_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

static void demote_all(struct entry *entry) {
    struct stream *stream = stream_of(entry);
    for (unsigned i = 0; i < stream->head.pages; i++)
        fake_tier_demote_object(&type_stream_ops, &stream->head, 64);
}

/* Pages that ${operation} asks for in its first run. */
#define FAULTS(result_count, operation)                                                                      \
    do {                                                                                                     \
        struct fault_set command_set;                                                                        \
        fault_begin(&command_set, FAULT_ASYNC);                                                              \
        int command_result = (operation);                                                                    \
        fault_end(&command_set);                                                                             \
        assert_int_equal(command_result, command_set.count > 0 ? FIRN_EFAULT : 0);                           \
        result_count = command_set.count;                                                                    \
    } while (0)

/* --- layout --- */

static void test_layout(void **state) { /* the bytes of Redis's format, by hand */
    static const uint8_t expected[] = {/* master: 2 entries, 1 deleted, 1 field "f", 0 */ 2,
                                       1,
                                       1,
                                       1,
                                       1,
                                       1,
                                       0x81,
                                       'f',
                                       2,
                                       0,
                                       1,
                                       /* same fields, deleted */ 3,
                                       1,
                                       0,
                                       1,
                                       0,
                                       1,
                                       0x81,
                                       'a',
                                       2,
                                       4,
                                       1,
                                       /* same fields, ms + 1, seq - 5 + 3 */ 2,
                                       1,
                                       1,
                                       1,
                                       0xdf,
                                       0xfe,
                                       2,
                                       12,
                                       1,
                                       4,
                                       1,
                                       /* other fields */ 0,
                                       1,
                                       2,
                                       1,
                                       0xdf,
                                       0xfb,
                                       2,
                                       1,
                                       1,
                                       0x81,
                                       'g',
                                       2,
                                       0x80,
                                       1,
                                       6,
                                       1,
                                       0xff};
    (void)state;
    struct entry *entry = stream_create(bytes_of_text("s"));
    assert_int_equal(add(entry, 7, 5, "f", "a"), 0);
    assert_int_equal(add(entry, 8, 3, "f", "12"), 0);
    assert_int_equal(add(entry, 9, 0, "g", ""), 0);
    assert_int_equal(stream_delete(entry, id_of(7, 5)), 0);
    assert_int_equal(stream_delete(entry, id_of(7, 5)), FIRN_ENOTFOUND);
    struct stream_place place;
    assert_int_equal(stream_index_first(&stream_of(entry)->index, &place), 1);
    const struct page *page = page_ref_dram(stream_index_node(&stream_of(entry)->index, place)->ref);
    assert_int_equal(page->bytes, 6 + sizeof expected);
    assert_int_equal(bytes_load32(page->data), page->bytes);
    assert_memory_equal(page->data + 6, expected, sizeof expected);
    type_stream_ops.check(entry);
    destroy(entry);
}

static void test_nodes_end_as_in_redis(void **state) {
    (void)state;
    struct entry *entry = filled(250);
    assert_int_equal(stream_of(entry)->index.nodes, 3);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(add(entry, 1000 + i, 0, "field",
                             "a value of a hundred bytes "
                             "a value of a hundred bytes a value of a hundred bytes "
                             "a value of a hundred"),
                         0);
    assert_int_equal(stream_of(entry)->index.nodes, 4);
    type_stream_ops.check(entry);
    destroy(entry);
}

/* --- which pages --- */

static void test_touches(void **state) {
    (void)state;
    struct entry *entry = filled(100000); /* 1000 nodes */
    struct stream *stream = stream_of(entry);
    unsigned faults;
    demote_all(entry);
    assert_int_equal(stream->head.pages_dram, 0); /* the tail, too: nothing is kept hot here */
    for (unsigned attempts = 0; attempts < 10; attempts++) {
        uint64_t ms = 1 + random_below(100000);
        FAULTS(faults, stream_touch_range(entry, id_of(ms, 0), id_of(ms, 0), 0, 0));
        assert_true(faults <= 1); /* PMEM is no fault */
        FAULTS(faults, stream_touch_range(entry, id_of(ms, 0), id_max, 0, 1));
        assert_true(faults <= 2);
        FAULTS(faults, stream_touch_range(entry, id_min, id_of(ms, 0), 1, 1));
        assert_true(faults <= 2);
        FAULTS(faults, stream_touch_range(entry, id_of(1, 0), id_of(100000, 0), 0, 1000));
        assert_true(faults <= 12);
    }
    FAULTS(faults, stream_touch_range(entry, id_of(100001, 0), id_max, 0, 0));
    assert_int_equal(faults, 0); /* above the last ID there is nothing */
    struct stream_trim by_length = {.by = STREAM_TRIM_LENGTH, .length = 95050};
    FAULTS(faults, stream_trim_touch(entry, &by_length, 0));
    assert_true(faults <= 1);
    by_length.approximate = 1;
    FAULTS(faults, stream_trim_touch(entry, &by_length, 0));
    assert_int_equal(faults, 0); /* whole nodes go unread */
    uint64_t removed;
    assert_int_equal(stream_trim(entry, &by_length, &removed), 0);
    assert_int_equal(removed, 4900);
    assert_true(stream->first_known && stream->first_id.ms == 4901);
    struct stream_group *group =
        stream_group_create(stream, bytes_of_text("g"), id_min, STREAM_READS_UNKNOWN);
    struct stream_consumer *consumer = stream_consumer_create(group, bytes_of_text("c"), 1);
    stream_pending_give(group, id_of(77, 0), consumer);
    stream_group_deliver(stream, entry->size, group, id_of(100000, 0));
    int64_t lag;
    assert_int_equal(stream_group_lag(stream, entry->size, group, &lag), 0);
    assert_int_equal(lag, 0);
    assert_int_equal(stream->head.pages_dram, 0); /* groups read no page */
    destroy(entry);
}

/* Whole chunks of nodes go to the reaper together: by length and by ID, few and many, never over the limit.
 */
static void test_trim_many(void **state) {
    (void)state;
    static const struct {
        struct stream_trim trim;
        uint64_t removed;
    } cases[] = {
        {{.by = STREAM_TRIM_LENGTH, .approximate = 1, .length = 60010}, 39900},
        {{.by = STREAM_TRIM_LENGTH, .length = 10}, 99990},
        {{.by = STREAM_TRIM_LENGTH, .approximate = 1, .length = 0, .limit = 30050}, 30000},
        {{.by = STREAM_TRIM_ID, .approximate = 1, .id = {70050, 0}}, 70000},
        {{.by = STREAM_TRIM_ID, .id = {70051, 0}}, 70050},
        {{.by = STREAM_TRIM_LENGTH, .length = 0}, 100000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct entry *entry = filled(100000); /* 1000 nodes */
        struct stream *stream = stream_of(entry);
        uint64_t removed;
        fake_tier_demote_object(&type_stream_ops, &stream->head, 300);
        assert_int_equal(stream_trim(entry, &cases[i].trim, &removed), 0);
        assert_int_equal(removed, cases[i].removed);
        assert_int_equal(entry->size, 100000 - removed);
        assert_true(type_reap_pending() == 1);
        type_stream_ops.check(entry);
        while (type_reap_some(10))
            continue;
        type_stream_ops.check(entry);
        if (entry->size > 0) assert_true(stream->first_known && stream->first_id.ms == removed + 1);
        destroy(entry);
    }
}

static void test_tail_stays(void **state) {
    (void)state;
    type_keeps_hot = 1;
    struct entry *entry = filled(1000);
    struct stream *stream = stream_of(entry);
    demote_all(entry);
    assert_int_equal(stream->head.pages_dram, 1);
    page_clock_set(page_clock() + STREAM_TAIL_IDLE_S); /* until nobody uses it */
    demote_all(entry);
    assert_int_equal(stream->head.pages_dram, 0);
    type_keeps_hot = 0;
    destroy(entry);
}

/* --- RDB --- */

static void put_raw_id(struct bytes_builder *out, uint64_t ms) {
    uint8_t bytes[16] = {[7] = (uint8_t)ms};
    bytes_builder_append(out, bytes, 16);
}

/* A body of type 15, 19 or 21: one node of two entries, a group with one pending entry of one consumer. */
static void old_body(struct bytes_builder *out, unsigned type, unsigned damage) {
    static const uint8_t listpack[] = {31, 0, 0, 0, 18, 0, 2,    1,   0, 1,    1,   1,   0x81, 'f',
                                       2,  0, 1, 2, 1,  0, 1,    0,   1, 0x81, 'a', 2,   4,    1,
                                       2,  1, 1, 1, 0,  1, 0x81, 'b', 2, 4,    1,   0xff};
    uint8_t node[sizeof listpack];
    memcpy(node, listpack, sizeof node);
    node[0] = sizeof node;
    node[4] = 15;
    if (damage >= 100) node[damage - 100 < sizeof node ? damage - 100 : 0] ^= 0x41;
    uint8_t id[16] = {[7] = 1};
    rdb_write_length(out, 1);
    rdb_write_string(out, bytes_of(id, damage == 1 ? 15 : 16), 0);
    rdb_write_string(out, bytes_of(node, sizeof node), 0);
    rdb_write_length(out, damage == 2 ? 3 : 2);
    rdb_write_length(out, damage == 3 ? 1 : 2); /* last ID */
    rdb_write_length(out, 0);
    if (type >= 19) {
        rdb_write_length(out, 1);
        rdb_write_length(out, 0);
        rdb_write_length(out, 0);
        rdb_write_length(out, 0);
        rdb_write_length(out, damage == 4 ? 1 : 9); /* entries ever added */
    }
    rdb_write_length(out, 1);
    rdb_write_string(out, bytes_of_text("g"), 0);
    rdb_write_length(out, 1);
    rdb_write_length(out, 0);
    if (type >= 19) rdb_write_length(out, 8);
    rdb_write_length(out, 1);
    put_raw_id(out, 1);
    rdb_write_ms(out, 1000);
    rdb_write_length(out, 3);
    rdb_write_length(out, damage == 5 ? 0 : 1);
    if (damage == 5) return;
    rdb_write_string(out, bytes_of_text(""), 0); /* a name as any other */
    rdb_write_ms(out, 2000);
    if (type >= 21) rdb_write_ms(out, 1500);
    rdb_write_length(out, 1);
    put_raw_id(out, damage == 6 ? 2 : 1);
}

static int decode(const struct bytes_builder *body, unsigned type, struct entry **entry_out) {
    size_t consumed;
    int error = type_stream_ops.decode(bytes_of_text("s"), (uint8_t)type, bytes_builder_bytes(body),
                                       &consumed, 1, entry_out);
    if (error == 0) assert_int_equal(consumed, body->size);
    return error;
}

static void test_all_rdb_forms(void **state) {
    static const unsigned types[] = {15, 19, 21};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct bytes_builder body = {0};
        struct entry *entry;
        old_body(&body, types[i], 0);
        assert_int_equal(decode(&body, types[i], &entry), 0);
        type_stream_ops.check(entry);
        const struct stream *stream = stream_of(entry);
        const struct stream_group *group = stream_group_find(stream, bytes_of_text("g"));
        const struct stream_consumer *consumer = stream_consumer_find(group, bytes_of_text(""));
        assert_true(entry->size == 2 && stream->last_id.ms == 2 && stream->first_id.ms == 1);
        assert_int_equal(stream->entries_added, i == 0 ? 2 : 9);
        assert_int_equal(group->entries_read, i == 0 ? 1 : 8);
        assert_true(consumer->seen_ms == 2000 && consumer->active_ms == (i == 2 ? 1500 : 2000));
        const struct stream_pending *pending = stream_pending_find(group, id_of(1, 0));
        assert_true(pending->deliveries == 3 && pending->delivered_ms == 1000 &&
                    pending->consumer == consumer->slot);
        destroy(entry);
        bytes_builder_fini(&body);
    }
}

static void test_damaged_forms(void **state) {
    (void)state;
    size_t before = memory_used();
    for (unsigned damage = 1; damage <= 6; damage++) {
        struct bytes_builder body = {0};
        struct entry *entry;
        old_body(&body, 21, damage);
        assert_int_equal(decode(&body, 21, &entry), FIRN_ECORRUPT);
        bytes_builder_fini(&body);
    }
    for (unsigned damage = 100; damage < 140; damage++) { /* any byte of the node: refused, or sound */
        struct bytes_builder body = {0};
        struct entry *entry;
        old_body(&body, 21, damage);
        if (decode(&body, 21, &entry) == 0) {
            type_stream_ops.check(entry);
            destroy(entry);
        }
        bytes_builder_fini(&body);
    }
    struct bytes_builder body = {0};
    old_body(&body, 21, 0);
    for (size_t size = 0; size < body.size; size++) { /* cut off */
        struct entry *entry;
        struct bytes_builder part = {.data = body.data, .size = size};
        assert_int_equal(decode(&part, 21, &entry), FIRN_ECORRUPT);
    }
    bytes_builder_fini(&body);
    while (type_reap_some(16))
        continue;
    assert_int_equal(memory_used(), before);
}

/* --- memory --- */

/* What the type says of its memory, against what is in use (and the registry of objects). */
static void hold_against_memory(const struct entry *entry, size_t used) {
    size_t told = type_stream_ops.memory(entry, 0) + entry_memory(entry);
    assert_true(told <= used && used - told < 1024);
}

static struct entry *sweep_entry;
static void sweep_body(void *ctx) {
    (void)ctx;
    sweep_entry = filled(0);
    for (unsigned i = 1; i <= 300; i++) {
        int error = add(sweep_entry, i, 0, i % 50 ? "field" : "other", "value");
        assert_true(error == 0 || error == FIRN_ENOMEM);
        if (i % 10 != 0) continue;
        error = stream_delete(sweep_entry, id_of(i - 5, 0));
        assert_true(error == 0 || error == FIRN_ENOMEM || error == FIRN_ENOTFOUND);
    }
}
static void sweep_verify(void *ctx) {
    (void)ctx;
    type_stream_ops.check(sweep_entry);
    destroy(sweep_entry);
}
static void test_memory_runs_out(void **state) {
    (void)state;
    assert_true(fault_point_sweep(FAULT_MEMORY_TRY, 0, sweep_body, sweep_verify, NULL) > 5);
}

static void test_compact(void **state) { /* bytes per entry, and per pending one */
    (void)state;
    size_t before = memory_used();
    struct entry *entry = filled(100000);
    size_t stream_bytes = memory_used() - before;
    assert_true(stream_bytes < 100000 * 19);
    hold_against_memory(entry, stream_bytes);
    struct stream_group *group =
        stream_group_create(stream_of(entry), bytes_of_text("g"), id_min, STREAM_READS_UNKNOWN);
    struct stream_consumer *consumer = stream_consumer_create(group, bytes_of_text("c"), 1);
    for (unsigned i = 1; i <= 100000; i++)
        stream_pending_give(group, id_of(i, 0), consumer)->deliveries = 1;
    assert_true(memory_used() - before - stream_bytes < 100000 * 52);
    hold_against_memory(entry, memory_used() - before);
    stream_group_destroy(stream_of(entry), group);
    assert_true(type_reap_pending() > 0); /* in slices */
    while (type_reap_some(16))
        continue;
    hold_against_memory(entry, memory_used() - before);
    destroy(entry);
    assert_int_equal(memory_used(), before);
}

static void test_radix_nodes(void **state) { /* counted by hand on paper, and as redis-server tells them */
    (void)state;
    struct stream_index index = {0};
    assert_int_equal(stream_index_radix_nodes(&index, 100), 1);
    stream_index_node(&index, stream_index_append(&index, id_of(1, 0)))->ref = 8;
    assert_int_equal(stream_index_radix_nodes(&index, 100), 2);
    stream_index_node(&index, stream_index_append(&index, id_of(2, 0)))->ref = 8;
    assert_int_equal(stream_index_radix_nodes(&index, 100),
                     6); /* 7 bytes, parting, twice 8 bytes and a key */
    stream_index_node(&index, stream_index_append(&index, id_of(2, 1)))->ref = 8;
    assert_int_equal(stream_index_radix_nodes(&index, 100), 8); /* the keys end at the second parting */
    struct stream_place place;
    while (stream_index_first(&index, &place))
        stream_index_remove(&index, place);
    assert_int_equal(index.bytes, 0);
}

int main(void) {
    hash_seed_init();
    random_seed(5);
    fake_tier_install();
    type_keeps_hot = 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),        cmocka_unit_test(test_nodes_end_as_in_redis),
        cmocka_unit_test(test_touches),       cmocka_unit_test(test_trim_many),
        cmocka_unit_test(test_tail_stays),    cmocka_unit_test(test_all_rdb_forms),
        cmocka_unit_test(test_damaged_forms), cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_compact),       cmocka_unit_test(test_radix_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
