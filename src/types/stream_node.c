/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes of streams: reading their two forms, and turning one into the other. Nothing here is trusted. */
#include "ds/rdb_format.h"
#include "types/stream_internal.h"

#define SEALED_HEADER_BYTES 4u

static int open_node(struct bytes payload, struct listpack_reader *reader) {
    if (!stream__is_sealed(payload)) return listpack_open(payload, reader);
    if (bytes_load32(payload.data) != (payload.size | STREAM_SEALED)) return FIRN_ECORRUPT;
    *reader = (struct listpack_reader){payload.data + SEALED_HEADER_BYTES, payload.data + payload.size, 1};
    return 0;
}

int stream__master(struct bytes payload, struct stream__master *master) {
    struct listpack_reader reader;
    int64_t fields = 0, zero = 0;
    int error = open_node(payload, &reader);
    if (error == 0) error = listpack_read_integer(&reader, &master->count);
    if (error == 0) error = listpack_read_integer(&reader, &master->deleted);
    if (error == 0) error = listpack_read_integer(&reader, &fields);
    if (error != 0) return error;
    master->field_count = (uint64_t)fields;
    master->fields = reader;
    if (fields < 0 || master->count < 0 || master->deleted < 0) return FIRN_ECORRUPT;
    error = listpack_skip(&reader, master->field_count);
    if (error == 0) error = listpack_read_integer(&reader, &zero);
    master->entries = reader;
    return error != 0 ? error : zero != 0 ? FIRN_ECORRUPT : 0;
}

int stream__entry(uint64_t master_fields, struct stream_id node_id, struct listpack_reader at,
                  struct stream__entry *entry) {
    int64_t ms = 0, seq = 0, fields = 0;
    entry->start = at.at;
    int error = listpack_read_integer(&at, &entry->flags);
    if (error == 0) error = listpack_read_integer(&at, &ms);
    if (error == 0) error = listpack_read_integer(&at, &seq);
    if (error != 0) return error;
    entry->id = (struct stream_id){node_id.ms + (uint64_t)ms, node_id.seq + (uint64_t)seq};
    if (entry->flags & STREAM_FLAG_SAME_FIELDS) {
        entry->pairs = entry->elements = master_fields;
    } else {
        error = listpack_read_integer(&at, &fields);
        if (error != 0) return error;
        if (fields < 0 || fields > STREAM_NODE_BYTES_MAX) return FIRN_ECORRUPT;
        entry->pairs = (uint64_t)fields;
        entry->elements = 2 * entry->pairs;
    }
    entry->at = at;
    return 0;
}

int stream__entry_end(const struct stream__entry *entry, struct listpack_reader *at_out) {
    *at_out = entry->at;
    return listpack_skip(at_out, entry->elements + !at_out->bare);
}

/* --- from one form to the other --- */

/* Copy the bytes of elements from ${from} up to ${end} without their sizes. */
static uint8_t *copy_bare(uint8_t *to, struct listpack_reader from, const uint8_t *end) {
    struct bytes raw;
    while (to != NULL && from.at < end) {
        if (listpack_raw(&from, &raw) != 0) return NULL;
        memcpy(to, raw.data, raw.size);
        to += raw.size;
    }
    return to;
}

struct page *stream__seal(struct bytes payload) {
    struct stream__master master;
    struct bytes_builder bare = {0};
    if (stream__master(payload, &master) != 0 || bytes_builder_try_reserve(&bare, payload.size) != 0)
        return NULL;
    struct listpack_reader head = {payload.data + LISTPACK_HEADER_BYTES, master.entries.end, 0};
    uint8_t *to = copy_bare(bare.data + SEALED_HEADER_BYTES, head, master.entries.at);
    for (struct listpack_reader at = master.entries; to != NULL && !listpack_at_end(&at);) {
        struct stream__entry entry;
        struct listpack_reader end;
        if (stream__entry(master.field_count, (struct stream_id){0, 0}, at, &entry) != 0) to = NULL;
        end = entry.at;
        if (to != NULL && listpack_skip(&end, entry.elements) != 0) to = NULL;
        to = copy_bare(to, at, end.at);
        if (to != NULL && listpack_skip(&end, 1) != 0) to = NULL;
        at = end;
    }
    size_t size = to != NULL ? (size_t)(to - bare.data) : 0;
    struct page *page = to != NULL ? page_try_create(size) : NULL;
    if (page != NULL) {
        bytes_store32(bare.data, (uint32_t)size | STREAM_SEALED);
        memcpy(page->data, bare.data, size);
        page->bytes = (uint32_t)size;
    }
    bytes_builder_fini(&bare);
    return page;
}

static int put_elements(struct bytes_builder *out, struct listpack_reader from, const uint8_t *end,
                        size_t *count_inout) {
    struct bytes raw;
    while (from.at < end) {
        int error = listpack_raw(&from, &raw);
        if (error != 0) return error;
        uint8_t *at = bytes_builder_reserve(out, raw.size + LISTPACK_TEXT_OVERHEAD_MAX);
        out->size += (size_t)(listpack_put_raw(at, raw) - at);
        ++*count_inout;
    }
    return 0;
}

int stream__unseal(struct bytes payload, struct bytes_builder *out) {
    struct stream__master master;
    size_t begin = out->size, count = 0;
    int error = stream__master(payload, &master);
    if (error != 0) return error;
    rdb_listpack_begin(out);
    struct listpack_reader head = {payload.data + SEALED_HEADER_BYTES, master.entries.end, 1};
    error = put_elements(out, head, master.entries.at, &count);
    for (struct listpack_reader at = master.entries; error == 0 && !listpack_at_end(&at);) {
        struct stream__entry entry;
        struct listpack_reader end;
        size_t elements = 0;
        error = stream__entry(master.field_count, (struct stream_id){0, 0}, at, &entry);
        if (error == 0) error = stream__entry_end(&entry, &end);
        if (error == 0) error = put_elements(out, at, end.at, &elements);
        if (error != 0) break;
        uint8_t *to = bytes_builder_reserve(out, LISTPACK_INTEGER_BYTES_MAX);
        out->size += (size_t)(listpack_put_integer(to, (int64_t)elements) - to);
        count += elements + 1;
        at = end;
    }
    rdb_listpack_end(out, begin, count);
    return error;
}
