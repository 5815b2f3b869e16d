/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: streams from hostile bytes. The first byte chooses: an RDB body of type 15, 19 or 21 (as
 * RESTORE takes it), or (3) a node, put in a body that is right otherwise. It must be refused or become a
 * sound stream that can be read both ways, encodes and decodes to itself, and can be changed.
 */
#include "ds/rdb_format.h"
#include "tests/fuzz/fuzz_value.h"
#include "types/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct stream_id id_min = {0, 0}, id_max = {UINT64_MAX, UINT64_MAX};

/* Entries from one end, all of which must be there. */
static void walk(struct entry *entry, int reverse) {
    struct stream_range range;
    struct stream_item item;
    uint64_t count = 0;
    stream_range_begin(&range, entry, id_min, id_max, reverse);
    int got;
    while ((got = stream_range_next(&range, &item)) == 1) {
        struct bytes field, value;
        for (uint64_t i = 0; i < item.fields; i++) {
            if (stream_range_pair(&range, &field, &value) != 0) abort();
        }
        count++;
    }
    if (got != 0 || count != entry->size) abort();
}

static void must_come_back(struct entry *entry) {
    struct bytes_builder body = {0}, again = {0};
    struct entry *back;
    uint8_t type;
    size_t consumed;
    if (type_stream_ops.encode(entry, &body, &type) != 0) abort();
    if (type_stream_ops.decode(bytes_of_text("k"), type, bytes_builder_bytes(&body), &consumed, 1, &back) !=
        0)
        abort();
    type_stream_ops.check(back);
    if (consumed != body.size || type_stream_ops.encode(back, &again, &type) != 0) abort();
    if (!bytes_equal(bytes_builder_bytes(&body), bytes_builder_bytes(&again))) abort();
    bytes_builder_fini(&body);
    bytes_builder_fini(&again);
    fuzz_value_destroy(&type_stream_ops, back);
}

static void change(struct entry *entry) {
    struct bytes pair[2] = {bytes_of_text("field"), bytes_of_text("value")};
    struct stream_id id = stream_of(entry)->last_id;
    struct stream_trim trim = {.by = STREAM_TRIM_LENGTH, .length = entry->size / 2};
    uint64_t removed;
    if (stream_id_next(&id) && stream_append(entry, id, pair, 1) != 0) abort();
    type_stream_ops.check(entry);
    if (stream_know_first(entry) != 0) abort();
    if (entry->size > 0 && stream_delete(entry, stream_of(entry)->first_id) != 0) abort();
    type_stream_ops.check(entry);
    if (stream_trim(entry, &trim, &removed) != 0) abort();
    type_stream_ops.check(entry);
    while (stream_of(entry)->group_count > 0)
        stream_group_destroy(stream_of(entry), stream_of(entry)->groups[0]);
}

static void decode(uint8_t type, struct bytes body) {
    struct entry *entry;
    size_t consumed;
    if (type_stream_ops.decode(bytes_of_text("k"), type, body, &consumed, 1, &entry) != 0) return;
    if (consumed > body.size) abort();
    type_stream_ops.check(entry);
    walk(entry, 0);
    walk(entry, 1);
    must_come_back(entry);
    change(entry);
    fuzz_value_destroy(&type_stream_ops, entry);
}

/* A body around a node whose first ID is 5-5: with the number of entries that it says it has. */
static void decode_node(struct bytes node) {
    static const uint8_t id[16] = {[7] = 5, [15] = 5};
    struct bytes_builder body = {0};
    rdb_write_length(&body, 1);
    rdb_write_string(&body, bytes_of(id, sizeof id), 0);
    rdb_write_string(&body, node, 0);
    rdb_write_length(&body, node.size > 6 ? node.data[6] : 0);
    rdb_write_length(&body, UINT64_MAX);
    rdb_write_length(&body, 0);
    rdb_write_length(&body, 0);
    decode(15, bytes_builder_bytes(&body));
    bytes_builder_fini(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t types[] = {15, 19, 21};
    if (size == 0) return 0;
    struct bytes input = fuzz_value_exact(data, size);
    if (data[0] % 4 == 3)
        decode_node(input);
    else
        decode(types[data[0] % 4], input);
    free((void *)input.data);
    return 0;
}
