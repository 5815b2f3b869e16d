/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams in RDB: nodes as they are. Written as type 21, as Redis 7.2 and later do, or in files for older
 * readers as 19 (7.0) where that loses nothing; 15 (5.0) is read.
 *
 *   n, n times: node ID (string of 16 bytes, big endian), listpack (string)
 *   entries, last ID                                      an ID: ms, sequence as lengths
 *   first ID, greatest deleted ID, entries ever added     19, 21
 *   groups, each: name, last ID, entries read (19, 21)
 *     n pending entries: ID (16 bytes), delivered (ms, 8 bytes), deliveries
 *     consumers, each: name, seen (ms, 8 bytes), active (the same; 21), n IDs (16 bytes) of its pending
 * entries
 */
#include "base/bytes_builder.h"
#include "ds/rdb_format.h"
#include "types/stream_internal.h"

#define RDB_TYPE_STREAM_LISTPACKS   15u
#define RDB_TYPE_STREAM_LISTPACKS_2 19u
#define RDB_TYPE_STREAM_LISTPACKS_3 21u
#define NAME_BYTES_MAX              (512u << 20)
#define NOBODY                      UINT32_MAX /* slot */

static const struct stream_id id_min = {0, 0}, id_max = {UINT64_MAX, UINT64_MAX};

/* --- writing --- */

static void id_store(struct stream_id id, uint8_t bytes[16]) {
    bytes_store64(bytes, __builtin_bswap64(id.ms));
    bytes_store64(bytes + 8, __builtin_bswap64(id.seq));
}

static void write_raw_id(struct bytes_builder *out, struct stream_id id) {
    uint8_t bytes[16];
    id_store(id, bytes);
    bytes_builder_append(out, bytes, sizeof bytes);
}

static void write_id(struct bytes_builder *out, struct stream_id id) {
    rdb_write_length(out, id.ms);
    rdb_write_length(out, id.seq);
}

/* Readers before RDB 11 know no time of a consumer's last success: they take it for the time it was seen. */
static uint8_t encode_type(const struct stream *stream) {
    if (rdb_version_preferred >= 11) return RDB_TYPE_STREAM_LISTPACKS_3;
    for (uint32_t i = 0; i < stream->group_count; i++) {
        const struct stream_group *group = stream->groups[i];
        for (uint32_t j = 0; j < group->consumer_count; j++)
            if (group->consumers[j]->active_ms != group->consumers[j]->seen_ms)
                return RDB_TYPE_STREAM_LISTPACKS_3;
    }
    return RDB_TYPE_STREAM_LISTPACKS_2;
}

/* A node's listpack, made in ${scratch} if it is sealed. */
static int plain_node(struct stream *stream, struct stream_node *node, struct bytes_builder *scratch,
                      struct bytes *payload_out) {
    int error = stream__read(stream, node, 0, payload_out);
    if (error != 0 || !stream__is_sealed(*payload_out)) return error;
    bytes_builder_clear(scratch);
    error = stream__unseal(*payload_out, scratch);
    *payload_out = bytes_builder_bytes(scratch);
    return error;
}

/* A walk over everything: the nodes from ${place} on will be read. How many were announced. */
static unsigned announce(struct stream *stream, struct stream_place place) {
    unsigned count = 0;
    do {
        page_ahead(stream_index_node(&stream->index, place)->ref);
        count++;
    } while (count < PAGE_AHEAD_MAX && stream_index_next(&stream->index, &place));
    return count;
}

static int encode_nodes(struct stream *stream, uint8_t type, struct bytes_builder *out) {
    struct bytes_builder scratch = {0};
    int error = 0;
    unsigned ahead = 0;
    struct stream_place place;
    rdb_write_length(out, stream->index.nodes);
    int more = stream_index_first(&stream->index, &place);
    for (; more && error == 0; more = stream_index_next(&stream->index, &place)) {
        struct bytes payload;
        uint8_t id[16];
        if (page_reads_ahead && ahead-- == 0) ahead = announce(stream, place) - 1;
        id_store(stream_index_id(&stream->index, place), id);
        error = plain_node(stream, stream_index_node(&stream->index, place), &scratch, &payload);
        if (error != 0) break;
        rdb_write_string(out, bytes_of(id, sizeof id), 0);
        rdb_write_string(out, payload, 1);
        error = type_encode_part(out, type);
    }
    bytes_builder_fini(&scratch);
    return error;
}

static int encode_group(const struct stream_group *group, uint8_t type, struct bytes_builder *out) {
    int error = 0;
    rdb_write_string(out, stream_group_name(group), 1);
    write_id(out, group->last_id);
    rdb_write_length(out, (uint64_t)group->entries_read);
    rdb_write_length(out, group->pending.records);
    const struct stream_pending *pending;
    struct id_list_place at = {0, 0};
    for (; error == 0 && (pending = id_list_at(&group->pending, at)) != NULL;
         at = id_list_next(&group->pending, at)) {
        write_raw_id(out, pending->id);
        rdb_write_ms(out, pending->delivered_ms);
        rdb_write_length(out, pending->deliveries);
        error = type_encode_part(out, type);
    }
    rdb_write_length(out, group->consumer_count);
    for (uint32_t i = 0; error == 0 && i < group->consumer_count; i++) {
        const struct stream_consumer *consumer = group->consumers[i];
        rdb_write_string(out, stream_consumer_name(consumer), 1);
        rdb_write_ms(out, consumer->seen_ms);
        if (type >= RDB_TYPE_STREAM_LISTPACKS_3) rdb_write_ms(out, consumer->active_ms);
        rdb_write_length(out, consumer->pending.records);
        const struct stream_id *id;
        at = (struct id_list_place){0, 0};
        for (; (id = id_list_at(&consumer->pending, at)) != NULL; at = id_list_next(&consumer->pending, at))
            write_raw_id(out, *id);
        error = type_encode_part(out, type);
    }
    return error;
}

int stream__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out) {
    struct stream *stream = stream_of(entry);
    size_t begin = out->size;
    *rdb_type_out = encode_type(stream);
    int error = stream_touch_range(entry, id_min, id_max, 0, 0);
    if (error == 0) error = stream_know_first(entry);
    if (error != 0) return error;
    error = encode_nodes(stream, *rdb_type_out, out);
    if (error != 0) {
        if (out->size > begin) out->size = begin;
        return error;
    }
    rdb_write_length(out, entry->size);
    write_id(out, stream->last_id);
    write_id(out, stream->first_id);
    write_id(out, stream->max_deleted_id);
    rdb_write_length(out, stream->entries_added);
    rdb_write_length(out, stream->group_count);
    for (uint32_t i = 0; error == 0 && i < stream->group_count; i++)
        error = encode_group(stream->groups[i], *rdb_type_out, out);
    return error;
}

/* --- reading --- */

struct decode_run {
    struct entry *entry;
    struct stream *stream;
    struct rdb_reader reader;
    struct bytes_builder scratch;
    uint8_t type;
    struct stream_id last_seen; /* of the nodes' entries */
};

static int read_raw_id(struct decode_run *run, struct stream_id *id_out) {
    struct bytes raw;
    int error = rdb_read_raw(&run->reader, 16, &raw);
    if (error != 0) return error;
    id_out->ms = __builtin_bswap64(bytes_load64(raw.data));
    id_out->seq = __builtin_bswap64(bytes_load64(raw.data + 8));
    return 0;
}

static int read_id(struct decode_run *run, struct stream_id *id_out) {
    int error = rdb_read_length(&run->reader, &id_out->ms);
    return error == 0 ? rdb_read_length(&run->reader, &id_out->seq) : error;
}

/* What the entries of a node come to. */
struct node_sum {
    uint64_t count, deleted;
    struct stream_id last;
};

/* Every entry of a node: elements, flags, ascending IDs, counts (ST2, ST3). */
static int check_node(struct bytes payload, struct stream_id node_id, struct node_sum *sum) {
    struct stream__master master;
    int error = stream__is_sealed(payload) ? FIRN_ECORRUPT : listpack_check(payload);
    if (error == 0) error = stream__master(payload, &master);
    if (error != 0) return error;
    *sum = (struct node_sum){.last = node_id};
    for (struct listpack_reader at = master.entries; !listpack_at_end(&at);) {
        struct stream__entry entry;
        int64_t elements = 0;
        error = stream__entry(master.field_count, node_id, at, &entry);
        if (error != 0) return error;
        int order = stream_id_compare(sum->last, entry.id), is_first = sum->count + sum->deleted == 0;
        if ((is_first && order != 0) || (!is_first && order >= 0)) return FIRN_ECORRUPT;
        if (entry.flags & ~(STREAM_FLAG_DELETED | STREAM_FLAG_SAME_FIELDS) || *entry.start >= 0x80)
            return FIRN_ECORRUPT;
        at = entry.at;
        error = listpack_skip(&at, entry.elements);
        if (error == 0) error = listpack_read_integer(&at, &elements);
        if (error != 0) return error;
        uint64_t head = entry.flags & STREAM_FLAG_SAME_FIELDS ? 3 : 4;
        if ((uint64_t)elements != entry.elements + head) return FIRN_ECORRUPT;
        sum->last = entry.id;
        if (entry.flags & STREAM_FLAG_DELETED)
            sum->deleted++;
        else
            sum->count++;
    }
    return sum->count == (uint64_t)master.count && sum->deleted == (uint64_t)master.deleted ? 0
                                                                                            : FIRN_ECORRUPT;
}

static int decode_node(struct decode_run *run) {
    struct bytes raw, payload;
    struct node_sum sum;
    int error = type_decode_part();
    if (error == 0) error = rdb_read_string(&run->reader, &run->scratch, 16, &raw);
    if (error != 0) return error;
    if (raw.size != 16) return FIRN_ECORRUPT;
    struct stream_id id = {__builtin_bswap64(bytes_load64(raw.data)),
                           __builtin_bswap64(bytes_load64(raw.data + 8))};
    error = rdb_read_string(&run->reader, &run->scratch, STREAM_NODE_BYTES_MAX, &payload);
    if (error == 0) error = check_node(payload, id, &sum);
    if (error != 0) return error;
    struct stream *stream = run->stream;
    int is_first = run->last_seen.ms == 0 && run->last_seen.seq == 0;
    if (sum.count + sum.deleted == 0 || (!is_first && stream_id_compare(run->last_seen, id) >= 0) ||
        sum.count > UINT32_MAX - run->entry->size)
        return FIRN_ECORRUPT;
    run->last_seen = sum.last;
    if (sum.count == 0) return 0; /* an exact trim of Redis may leave such ones */
    struct page *page = stream__seal(payload);
    if (page == NULL) return FIRN_ENOMEM;
    struct stream_node *node = stream_index_node(&stream->index, stream_index_append(&stream->index, id));
    node->ref = page_ref_of(page);
    node->count = (uint32_t)sum.count | (sum.deleted > 0 ? STREAM_NODE_HOLES : 0);
    object_account(&stream->head, page->bytes, 1, 1);
    run->entry->size += (uint32_t)sum.count;
    return 0;
}

static int decode_head(struct decode_run *run) {
    struct stream *stream = run->stream;
    uint64_t nodes, length = 0;
    struct stream_id first;
    int error = rdb_read_length(&run->reader, &nodes);
    for (uint64_t i = 0; error == 0 && i < nodes; i++)
        error = decode_node(run);
    if (error == 0) error = rdb_read_length(&run->reader, &length);
    if (error == 0) error = read_id(run, &stream->last_id);
    if (error != 0) return error;
    if (length != run->entry->size || stream_id_compare(run->last_seen, stream->last_id) > 0)
        return FIRN_ECORRUPT;
    stream->entries_added = length;
    if (run->type >= RDB_TYPE_STREAM_LISTPACKS_2) {
        error = read_id(run, &first);
        if (error == 0) error = read_id(run, &stream->max_deleted_id);
        if (error == 0) error = rdb_read_length(&run->reader, &stream->entries_added);
        if (error != 0) return error;
        if (stream->entries_added < length || stream->entries_added > INT64_MAX) return FIRN_ECORRUPT;
    }
    stream->first_known = 0;
    return stream_know_first(run->entry);
}

/* Pending entries, which belong to nobody until their consumers come. */
static int decode_pending(struct decode_run *run, struct stream_group *group) {
    uint64_t count, deliveries = 0;
    int error = rdb_read_length(&run->reader, &count);
    for (uint64_t i = 0; error == 0 && i < count; i++) {
        struct stream_id id;
        int64_t delivered_ms = 0;
        error = read_raw_id(run, &id);
        if (error == 0) error = rdb_read_ms(&run->reader, &delivered_ms);
        if (error == 0) error = rdb_read_length(&run->reader, &deliveries);
        if (error != 0) return error;
        int added;
        struct stream_pending *pending = id_list_insert(&group->pending, id.ms, id.seq, &added);
        if (!added) return FIRN_ECORRUPT; /* twice */
        pending->consumer = NOBODY;
        pending->delivered_ms = delivered_ms;
        pending->deliveries = deliveries > UINT32_MAX ? UINT32_MAX : (uint32_t)deliveries;
    }
    return error;
}

static int decode_consumer(struct decode_run *run, struct stream_group *group, uint64_t *owned_inout) {
    struct bytes name;
    int64_t seen_ms = 0, active_ms;
    uint64_t count = 0;
    int error = rdb_read_string(&run->reader, &run->scratch, NAME_BYTES_MAX, &name);
    if (error == 0) error = rdb_read_ms(&run->reader, &seen_ms);
    active_ms = seen_ms;
    if (error == 0 && run->type >= RDB_TYPE_STREAM_LISTPACKS_3) error = rdb_read_ms(&run->reader, &active_ms);
    if (error == 0) error = rdb_read_length(&run->reader, &count);
    if (error != 0) return error;
    struct stream_consumer *consumer = stream_consumer_create(group, name, seen_ms);
    if (consumer == NULL) return FIRN_ECORRUPT; /* twice */
    consumer->active_ms = active_ms;
    for (uint64_t i = 0; i < count; i++) {
        struct stream_id id;
        error = read_raw_id(run, &id);
        if (error != 0) return error;
        struct stream_pending *pending = stream_pending_find(group, id);
        int added;
        if (pending == NULL || pending->consumer != NOBODY) return FIRN_ECORRUPT;
        pending->consumer = consumer->slot;
        id_list_insert(&consumer->pending, id.ms, id.seq, &added);
    }
    *owned_inout += count;
    return 0;
}

static int decode_group(struct decode_run *run) {
    struct bytes name;
    struct stream_id last_id;
    uint64_t entries_read = 0, consumers = 0, owned = 0;
    int error = rdb_read_string(&run->reader, &run->scratch, NAME_BYTES_MAX, &name);
    if (error != 0) return error;
    struct stream_group *group = stream_group_create(run->stream, name, id_min, STREAM_READS_UNKNOWN);
    if (group == NULL) return FIRN_ECORRUPT; /* twice */
    error = read_id(run, &last_id);
    if (error == 0 && run->type >= RDB_TYPE_STREAM_LISTPACKS_2)
        error = rdb_read_length(&run->reader, &entries_read);
    if (error != 0) return error;
    group->last_id = last_id;
    group->entries_read = run->type >= RDB_TYPE_STREAM_LISTPACKS_2
                              ? (int64_t)entries_read
                              : stream_entries_read_at(run->stream, run->entry->size, last_id);
    if (group->entries_read < STREAM_READS_UNKNOWN) return FIRN_ECORRUPT;
    error = decode_pending(run, group);
    if (error == 0) error = rdb_read_length(&run->reader, &consumers);
    for (uint64_t i = 0; error == 0 && i < consumers; i++)
        error = decode_consumer(run, group, &owned);
    return error == 0 && owned != group->pending.records ? FIRN_ECORRUPT : error;
}

int stream__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                   struct entry **entry_out) {
    (void)deep; /* everything is always looked at */
    uint64_t groups = 0;
    struct decode_run run = {.entry = stream_create(key), .reader = rdb_reader_of(body), .type = rdb_type};
    run.stream = stream_of(run.entry);
    int error = decode_head(&run);
    if (error == 0) error = rdb_read_length(&run.reader, &groups);
    for (uint64_t i = 0; error == 0 && i < groups; i++)
        error = decode_group(&run);
    bytes_builder_fini(&run.scratch);
    if (error != 0) {
        type_stream_ops.free_value(run.entry);
        entry_free(run.entry);
        return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : type_decode_error(error);
    }
    *consumed_out = body.size - run.reader.left;
    *entry_out = run.entry;
    return 0;
}
