/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/*
 * Streams against a naive model: random operations while pages are pushed to fake lower tiers at random.
 * Every operation runs like a command: in a fault set, again from the start after the pages it asked for were
 * "read".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes_builder.h"
#include "base/hash.h"
#include "base/memory.h"
#include "tests/model/value_model.h"
#include "types/stream.h"

#define ENTRIES_MAX 60000u
#define GROUPS      3u
#define CONSUMERS   4u

struct model_entry {
    struct stream_id id;
    uint32_t kind; /* which fields and values */
    uint8_t is_there;
    int8_t owner[GROUPS]; /* consumer for which it is pending, -1: none */
};
static struct model_entry model[ENTRIES_MAX];
static unsigned model_count, model_size; /* ever added; there */
static struct stream_id group_last[GROUPS], max_deleted;
static struct entry *entry;

static const struct stream_id id_min = {0, 0}, id_max = {UINT64_MAX, UINT64_MAX};

/* Run ${operation} as a command. */
#define COMMAND(result, operation) VALUE_COMMAND(result, 100, entry->size == model_size, operation)

static struct bytes name_of(unsigned i) {
    static char text[4][16];
    unsigned slot = i % 4;
    return bytes_of(text[slot], (size_t)snprintf(text[slot], sizeof text[slot], "name%u", i));
}

/* The fields and values of ${kind}: their number, in pairs (memory good until the next call). */
static unsigned pairs_of(uint32_t kind, struct bytes *pairs) {
    static char texts[24][600];
    unsigned count = kind % 7 == 0 ? 1 + kind % 5 : 2;
    for (unsigned i = 0; i < count; i++) {
        char *field = texts[2 * i], *value = texts[2 * i + 1];
        unsigned long number = (unsigned long)kind * 2654435761u % 100000000u;
        size_t size = (size_t)(kind % 7 == 0 ? snprintf(field, 600, "f%u", kind % 3 + i)
                                             : snprintf(field, 600, i == 0 ? "name" : "37"));
        pairs[2 * i] = bytes_of(field, size);
        if (kind % 11 == 3 && i == 0) {
            memset(value, 'v', 599);
            size = 1 + kind % 599;
        } else {
            size = (size_t)snprintf(value, 600, i % 2 ? "%lu" : "value %lu", number >> kind % 20);
        }
        pairs[2 * i + 1] = bytes_of(value, size);
    }
    return count;
}

static struct stream_id random_id(void) {
    if (model_count == 0 || random_below(20) == 0)
        return (struct stream_id){random_below(5000), random_below(3)};
    struct stream_id id = model[random_below(model_count)].id;
    if (random_below(4) == 0) id.seq++;
    if (random_below(8) == 0 && id.ms > 0) id.ms--;
    return id;
}

static struct model_entry *model_find(struct stream_id id) {
    unsigned from = 0, to = model_count;
    while (from < to) {
        unsigned middle = (from + to) / 2;
        int order = stream_id_compare(model[middle].id, id);
        if (order == 0) return &model[middle];
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

static void model_remove(struct model_entry *one) {
    assert_true(one->is_there);
    one->is_there = 0;
    model_size--;
}

static void do_append(void) {
    struct bytes pairs[24];
    struct stream_id id = stream_of(entry)->last_id;
    uint32_t kind = random_below(1000000);
    int result;
    if (model_count == ENTRIES_MAX) return;
    if (random_below(3) == 0)
        id.seq += 1 + (random_below(300) == 0 ? UINT64_C(1) << 40 : random_below(3));
    else
        id = (struct stream_id){id.ms + 1 + random_below(3), random_below(2)};
    unsigned count = pairs_of(kind, pairs);
    COMMAND(result, stream_append(entry, id, pairs, count));
    assert_int_equal(result, 0);
    model[model_count] = (struct model_entry){.id = id, .kind = kind, .is_there = 1};
    memset(model[model_count].owner, -1, sizeof model[0].owner);
    model_count++;
    model_size++;
}

static void do_delete(void) {
    struct stream_id id = random_id();
    struct model_entry *one = model_find(id);
    int result;
    COMMAND(result, stream_delete(entry, id));
    assert_int_equal(result, one != NULL && one->is_there ? 0 : FIRN_ENOTFOUND);
    if (result != 0) return;
    model_remove(one);
    if (stream_id_compare(id, max_deleted) > 0) max_deleted = id;
}

static int touch_and_trim(const struct stream_trim *trim, uint64_t *removed) {
    int error = stream_trim_touch(entry, trim, 0);
    if (error != 0) return error;
    return stream_trim(entry, trim, removed);
}

static void do_trim(void) {
    struct stream_trim trim = {.by = random_below(2) ? STREAM_TRIM_LENGTH : STREAM_TRIM_ID,
                               .approximate = random_below(2),
                               .length = model_size - random_below(model_size / 4 + 2) % (model_size + 1)};
    trim.id =
        model_count > 0 ? model[model_count - model_size + random_below(model_size / 3 + 1)].id : id_min;
    if (model_count == model_size && random_below(2)) trim.id.seq++;
    if (trim.approximate && random_below(2)) trim.limit = random_below(300);
    uint64_t removed = 0, expected = 0;
    int result;
    COMMAND(result, touch_and_trim(&trim, &removed));
    assert_int_equal(result, 0);
    for (unsigned i = 0; i < model_count; i++) {
        struct model_entry *one = &model[i];
        if (!one->is_there) continue;
        int goes = trim.by == STREAM_TRIM_LENGTH ? model_size - expected > trim.length
                                                 : stream_id_compare(one->id, trim.id) < 0;
        if (!goes) break;
        expected++;
    }
    assert_true(removed <= expected && (trim.approximate || removed == expected));
    assert_true(trim.limit == 0 || removed <= trim.limit);
    for (unsigned i = 0; removed > 0; i++) {
        if (!model[i].is_there) continue;
        model_remove(&model[i]);
        removed--;
    }
}

static void expect_item(struct stream_range *range, const struct stream_item *item,
                        const struct model_entry *one) {
    struct bytes pairs[24], field, value;
    unsigned count = pairs_of(one->kind, pairs);
    assert_true(stream_id_compare(item->id, one->id) == 0 && item->fields == count);
    unsigned looked_at = random_below(5) == 0 ? 0 : count; /* not all are always wanted */
    for (unsigned i = 0; i < looked_at; i++) {
        assert_int_equal(stream_range_pair(range, &field, &value), 0);
        assert_true(bytes_equal(field, pairs[2 * i]) && bytes_equal(value, pairs[2 * i + 1]));
    }
}

/* The next model entry in the range from ${at} on. */
static int64_t next_in_model(int64_t at, int reverse, struct stream_id first, struct stream_id last) {
    for (; at >= 0 && at < (int64_t)model_count; at += reverse ? -1 : 1) {
        if (model[at].is_there && stream_id_compare(model[at].id, first) >= 0 &&
            stream_id_compare(model[at].id, last) <= 0)
            return at;
    }
    return -1;
}

static int touch_and_walk(struct stream_id first, struct stream_id last, int reverse, uint64_t count) {
    int error = stream_touch_range(entry, first, last, reverse, count);
    if (error != 0) return error;
    struct stream_range range;
    struct stream_item item;
    int got = 0;
    uint64_t seen = 0;
    int64_t at = reverse ? (int64_t)model_count - 1 : 0;
    stream_range_begin(&range, entry, first, last, reverse);
    while ((count == 0 || seen < count) && (got = stream_range_next(&range, &item)) == 1) {
        at = next_in_model(at, reverse, first, last);
        assert_true(at >= 0);
        expect_item(&range, &item, &model[at]);
        at += reverse ? -1 : 1;
        seen++;
    }
    assert_true(got != FIRN_EFAULT); /* all was touched */
    if (got < 0) return got;
    if (got == 0 && (count == 0 || seen < count)) assert_true(next_in_model(at, reverse, first, last) < 0);
    return 0;
}

static void do_range(void) {
    struct stream_id first = random_below(5) ? random_id() : id_min,
                     last = random_below(5) ? random_id() : id_max;
    int result, reverse = random_below(2) != 0;
    COMMAND(result, touch_and_walk(first, last, reverse, random_below(3) ? 1 + random_below(200) : 0));
    assert_int_equal(result, 0);
    struct model_entry *one = model_find(first);
    COMMAND(result, stream_has(entry, first));
    assert_int_equal(result, one != NULL && one->is_there ? 0 : FIRN_ENOTFOUND);
}

static void check_first(void) {
    int result;
    COMMAND(result, stream_know_first(entry));
    assert_int_equal(result, 0);
    int64_t at = next_in_model(0, 0, id_min, id_max);
    assert_int_equal(stream_id_compare(stream_of(entry)->first_id, at >= 0 ? model[at].id : id_min), 0);
    assert_int_equal(stream_id_compare(stream_of(entry)->max_deleted_id, max_deleted), 0);
    assert_int_equal(stream_of(entry)->entries_added, model_count);
}

static void do_group(void) {
    unsigned g = random_below(GROUPS), c = random_below(CONSUMERS);
    struct stream *stream = stream_of(entry);
    struct stream_group *group = stream_group_find(stream, name_of(g));
    if (group == NULL) {
        group = stream_group_create(stream, name_of(g), id_min, STREAM_READS_UNKNOWN);
        group_last[g] = id_min;
        assert_non_null(group);
        assert_null(stream_group_create(stream, name_of(g), id_min, 0));
    }
    struct stream_consumer *consumer = stream_consumer_find(group, name_of(c));
    if (consumer == NULL) consumer = stream_consumer_create(group, name_of(c), 1000);
    for (unsigned n = random_below(50); n > 0 && model_count > 0; n--) {
        struct model_entry *one = &model[random_below(model_count)];
        if (random_below(3) > 0) {
            struct stream_pending *pending = stream_pending_give(group, one->id, consumer);
            pending->deliveries++;
            one->owner[g] = (int8_t)c;
        } else {
            assert_int_equal(stream_pending_remove(group, one->id), one->owner[g] >= 0);
            one->owner[g] = -1;
        }
    }
    if (random_below(40) == 0) {
        stream_consumer_destroy(group, consumer);
        for (unsigned i = 0; i < model_count; i++)
            if (model[i].owner[g] == (int8_t)c) model[i].owner[g] = -1;
    } else if (random_below(100) == 0) {
        stream_group_destroy(stream, group);
        for (unsigned i = 0; i < model_count; i++)
            model[i].owner[g] = -1;
    }
}

static void check_groups(void) {
    for (unsigned g = 0; g < GROUPS; g++) {
        const struct stream_group *group = stream_group_find(stream_of(entry), name_of(g));
        uint64_t count = 0;
        for (unsigned i = 0; i < model_count; i++) {
            if (model[i].owner[g] < 0) continue;
            const struct stream_pending *pending = stream_pending_find(group, model[i].id);
            assert_non_null(pending);
            assert_true(bytes_equal(stream_consumer_name(group->slots[pending->consumer]),
                                    name_of((unsigned)model[i].owner[g])));
            count++;
        }
        assert_int_equal(count, group == NULL ? 0 : group->pending.records);
    }
}

static void destroy(struct entry *one) {
    type_stream_ops.free_value(one);
    entry_free(one);
    while (type_reap_some(1 + random_below(20)))
        continue;
}

/* Replace the stream by a copy, or by what its RDB form reads as. */
static void do_replace(void) {
    struct entry *other;
    int result;
    if (random_below(2)) {
        other = entry_create(bytes_of_text("copy"), TYPE_STREAM, ENCODING_STREAM, 1, 0, 0);
        COMMAND(result, type_stream_ops.copy_value(entry, &other));
        assert_int_equal(result, 0);
    } else {
        struct bytes_builder body = {0};
        uint8_t type;
        COMMAND(result, type_stream_ops.encode(entry, &body, &type));
        assert_int_equal(result, 0);
        other = value_decoded(&type_stream_ops, type, &body);
    }
    type_stream_ops.check(other);
    if (random_below(2)) { /* the original goes on with shared pages */
        struct entry *kept = entry;
        entry = other;
        COMMAND(result, touch_and_walk(id_min, id_max, 0, 0));
        assert_int_equal(result, 0);
        entry = kept;
        destroy(other);
    } else {
        destroy(entry);
        entry = other;
    }
}

/* Random operations; about one in ${demote} is followed by pages going down. */
static void run(unsigned operations, unsigned append_weight, unsigned demote) {
    size_t before = memory_used();
    uint64_t alive = fake_records_alive;
    entry = stream_create(bytes_of_text("stream"));
    model_count = model_size = 0;
    max_deleted = id_min;
    for (unsigned i = 0; i < operations; i++) {
        unsigned kind = random_below(100);
        if (kind < append_weight)
            do_append();
        else if (kind < append_weight + 10)
            do_range();
        else if (kind < append_weight + 16)
            do_delete();
        else if (kind < append_weight + 20)
            do_group();
        else if (random_below(30) == 0)
            do_trim();
        if (random_below(demote) == 0)
            fake_tier_demote_object(&type_stream_ops, &stream_of(entry)->head, 1 + random_below(20));
        if (random_below(700) == 0) do_replace();
        assert_int_equal(entry->size, model_size);
        if (random_below(200) > 0) continue;
        type_stream_ops.check(entry);
        check_first();
        check_groups();
    }
    destroy(entry);
    assert_int_equal(fake_records_alive, alive);
    assert_int_equal(memory_used(), before);
}

static void test_small_nodes(void **state) {
    (void)state;
    type_limits.stream_node_max_entries = 4;
    run(20000, 60, 5);
    type_limits.stream_node_max_entries = 100;
}
static void test_usual(void **state) {
    (void)state;
    run(40000, 70, 10);
    assert_true(value_faults > 500 && fake_promotions > 50);
}
static void test_large_nodes(void **state) { /* counts of more than one byte */
    (void)state;
    type_limits.stream_node_max_entries = 0;
    type_limits.stream_node_max_bytes = 0;
    run(15000, 70, 10);
    type_limits.stream_node_max_entries = 100;
    type_limits.stream_node_max_bytes = 4096;
}
static void test_resident(void **state) {
    (void)state;
    run(30000, 60, 1u << 30);
}

int main(void) {
    hash_seed_init();
    random_seed(12);
    fake_tier_install();
    type_keeps_hot = 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_nodes),
        cmocka_unit_test(test_usual),
        cmocka_unit_test(test_large_nodes),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
