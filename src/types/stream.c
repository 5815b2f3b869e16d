/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams: adding, deleting and cutting off entries; layout and invariants in stream.h. Where nodes end is as
 * in Redis (a client sees it in what an approximate trim leaves): a new one is begun when the bytes of the
 * node and of the entry's fields and values reach stream-node-max-bytes, or its entries, deleted ones
 * included, stream-node-max-entries.
 */
#include "types/stream.h"

#include "base/assert.h"
#include "base/memory.h"
#include "page/fault.h"
#include "page/page.h"
#include "types/stream_internal.h"

#define TRIM_CHUNKS_MIN 2u /* of nodes that are cut off together */
#define SUM_AHEAD       8u /* pages looked at ahead */
/* More than the integers around an entry's or a master entry's elements can take. */
#define ENTRY_OVERHEAD_MAX (6 * LISTPACK_INTEGER_BYTES_MAX)

int stream_id_next(struct stream_id *id) {
    if (id->seq != UINT64_MAX) {
        id->seq++;
        return 1;
    }
    if (id->ms == UINT64_MAX) return 0;
    *id = (struct stream_id){id->ms + 1, 0};
    return 1;
}

int stream_id_previous(struct stream_id *id) {
    if (id->seq != 0) {
        id->seq--;
        return 1;
    }
    if (id->ms == 0) return 0;
    *id = (struct stream_id){id->ms - 1, UINT64_MAX};
    return 1;
}

struct stream *stream__create(void) {
    struct stream *stream = memory_alloc_zero(sizeof *stream);
    stream->first_known = 1;
    object_register(&stream->head, TYPE_STREAM);
    return stream;
}

struct entry *stream_create(struct bytes key) {
    struct entry *entry = entry_create(key, TYPE_STREAM, ENCODING_STREAM, 1, 0, 0);
    entry_store_ref(entry, page_ref_of_object(stream__create()));
    return entry;
}

/* --- nodes --- */

void stream__open(struct stream *stream, struct stream_node *node, struct stream__hold *hold) {
    hold->stream = stream;
    hold->node = node;
    hold->before_ref = node->ref;
    int is_dram = node->ref != 0 && page_ref_tag(node->ref) == PAGE_TAG_DRAM;
    hold->before_bytes = is_dram ? page_ref_dram(node->ref)->bytes : 0;
}

void stream__close(struct stream__hold *hold) {
    uint64_t ref = hold->node->ref;
    int was_dram = hold->before_ref != 0 && page_ref_tag(hold->before_ref) == PAGE_TAG_DRAM;
    int is_dram = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
    uint32_t bytes = is_dram ? page_ref_dram(ref)->bytes : 0;
    if (ref == hold->before_ref && bytes == hold->before_bytes) return;
    object_account(&hold->stream->head, (int64_t)bytes - hold->before_bytes,
                   (ref != 0) - (hold->before_ref != 0), is_dram - was_dram);
}

int stream__read(struct stream *stream, struct stream_node *node, int promote, struct bytes *payload_out) {
    if (!promote) return stream__error(page_peek(node->ref, payload_out, NULL));
    struct stream__hold hold;
    stream__open(stream, node, &hold);
    int error = page_read(&node->ref, payload_out);
    stream__close(&hold);
    return stream__error(error);
}

void stream__drop_node(struct stream *stream, struct stream_place place) {
    uint64_t ref = stream_index_node(&stream->index, place)->ref;
    int is_dram = page_ref_tag(ref) == PAGE_TAG_DRAM;
    object_account(&stream->head, is_dram ? -(int64_t)page_ref_dram(ref)->bytes : 0, -1, -is_dram);
    page_release(ref);
    stream_index_remove(&stream->index, place);
}

int stream__touch_ref(uint64_t ref) {
    struct bytes payload;
    return page_is_ready(ref) ? 0 : stream__error(page_peek(ref, &payload, NULL));
}

/* --- adding --- */

/* Whether the names in ${pairs} are those of the master entry. */
static int has_same_fields(const struct stream__master *master, const struct bytes *pairs, size_t count) {
    if (master->field_count != count) return 0;
    struct listpack_reader reader = master->fields;
    for (size_t i = 0; i < count; i++) {
        struct listpack_element element;
        if (listpack_read(&reader, &element) != 0 || !listpack_equal(&element, pairs[2 * i])) return 0;
    }
    return 1;
}

static uint8_t *put_entry(uint8_t *at, struct stream_id id, struct stream_id node_id,
                          const struct bytes *pairs, size_t count, int is_same) {
    at = listpack_put_integer(at, is_same ? STREAM_FLAG_SAME_FIELDS : 0);
    at = listpack_put_integer(at, (int64_t)(id.ms - node_id.ms));
    at = listpack_put_integer(at, (int64_t)(id.seq - node_id.seq));
    if (!is_same) at = listpack_put_integer(at, (int64_t)count);
    for (size_t i = is_same ? 1 : 0; i < 2 * count; i += is_same ? 2 : 1)
        at = listpack_put_text(at, pairs[i]);
    return listpack_put_integer(at, (int64_t)(is_same ? count + 3 : 2 * count + 4));
}

static uint8_t *put_master(uint8_t *at, int64_t entries, const struct bytes *pairs, size_t count) {
    at = listpack_put_integer(at, entries);
    at = listpack_put_integer(at, 0);
    at = listpack_put_integer(at, (int64_t)count);
    for (size_t i = 0; i < count; i++)
        at = listpack_put_text(at, pairs[2 * i]);
    return listpack_put_integer(at, 0);
}

/* What an entry with its own fields may take. */
static size_t entry_bytes_max(size_t count, size_t text_bytes) {
    return text_bytes + 2 * count * LISTPACK_TEXT_OVERHEAD_MAX + ENTRY_OVERHEAD_MAX;
}

/* ${end}: where the terminator goes; ${elements}: how many more there are than the header says. */
static void finish_page(struct page *page, uint8_t *end, size_t elements) {
    uint16_t told = bytes_load16(page->data + 4);
    *end++ = LISTPACK_END;
    page->bytes = (uint32_t)(end - page->data);
    bytes_store32(page->data, page->bytes);
    if (told == LISTPACK_COUNT_UNKNOWN) return;
    elements += told;
    bytes_store16(page->data + 4,
                  elements < LISTPACK_COUNT_UNKNOWN ? (uint16_t)elements : LISTPACK_COUNT_UNKNOWN);
}

/* Replace the integer at ${offset}, for whose growth there is room in ${page}; *offset_out is behind it. */
static void replace_integer(struct page *page, size_t offset, int64_t before, int64_t value,
                            size_t *offset_out) {
    uint8_t text[LISTPACK_INTEGER_BYTES_MAX];
    int is_sealed = stream__is_sealed(bytes_of(page->data, page->bytes));
    listpack_put_integer(text, value);
    size_t size = listpack_integer_bytes(value) - (size_t)is_sealed;
    size_t old = listpack_integer_bytes(before) - (size_t)is_sealed;
    uint8_t *at = page->data + offset;
    if (size != old) {
        memmove(at + size, at + old, page->bytes - offset - old);
        page->bytes = page->bytes - (uint32_t)old + (uint32_t)size;
        bytes_store32(page->data, is_sealed ? page->bytes | STREAM_SEALED : page->bytes);
    }
    memcpy(at, text, size);
    *offset_out = offset + size;
}

/* The counts in the master entry; the page has room for them to grow. */
static void replace_counts(struct page *page, const struct stream__master *before, int64_t count,
                           int64_t deleted) {
    size_t offset = stream__is_sealed(bytes_of(page->data, page->bytes)) ? 4 : LISTPACK_HEADER_BYTES;
    if (page->data[offset] < 0x80 && count <= 127 && deleted == before->deleted) { /* as most often */
        page->data[offset] = (uint8_t)count;
        return;
    }
    replace_integer(page, offset, before->count, count, &offset);
    replace_integer(page, offset, before->deleted, deleted, &offset);
}

/* By how much a page may grow when entries of it are marked as deleted. */
static size_t deleting_growth(const struct stream__master *master) {
    return listpack_integer_bytes(master->count + master->deleted) - listpack_integer_bytes(master->deleted);
}

/* Put ${page} where ${node}'s page is. */
static void exchange_page(struct stream *stream, struct stream_node *node, struct page *page) {
    struct stream__hold hold;
    uint64_t old = node->ref;
    stream__open(stream, node, &hold);
    if (page_ref_tag(old) == PAGE_TAG_DRAM) page->clock = page_ref_dram(old)->clock;
    node->ref = page_ref_of(page);
    stream__close(&hold);
    page_release(old);
}

/* The tail gets no more entries. */
static void seal_tail(struct stream *stream) {
    struct stream_place tail;
    if (!stream_index_last(&stream->index, &tail)) return;
    struct stream_node *node = stream_index_node(&stream->index, tail);
    if (page_ref_tag(node->ref) != PAGE_TAG_DRAM) return;
    const struct page *page = page_ref_dram(node->ref);
    struct bytes payload = bytes_of(page->data, page->bytes);
    struct page *sealed = stream__is_sealed(payload) ? NULL : stream__seal(payload);
    if (sealed != NULL) exchange_page(stream, node, sealed);
}

/* A sealed node has become the tail again. */
static int unseal_tail(struct stream *stream, struct stream_place tail, struct bytes *payload_inout) {
    struct bytes_builder plain = {0};
    int error = stream__unseal(*payload_inout, &plain);
    struct page *page = error == 0 ? page_try_create(plain.size) : NULL;
    if (page != NULL) {
        memcpy(page->data, plain.data, plain.size);
        page->bytes = (uint32_t)plain.size;
        exchange_page(stream, stream_index_node(&stream->index, tail), page);
        *payload_inout = bytes_of(page->data, page->bytes);
    }
    bytes_builder_fini(&plain);
    return error != 0 ? error : page == NULL ? FIRN_ENOMEM : 0;
}

/* ${page}, or a smaller one with its content. */
static struct page *fitted(struct page *page) {
    if (memory_good_size(sizeof *page + page->bytes) >= page_memory(page)) return page;
    struct page *copy = page_try_create(page->bytes);
    if (copy == NULL) return page;
    memcpy(copy->data, page->data, page->bytes);
    copy->bytes = page->bytes;
    page_free_unshared(page);
    return copy;
}

static int add_node(struct entry *entry, struct stream_id id, const struct bytes *pairs, size_t count,
                    size_t text_bytes) {
    struct stream *stream = stream_of(entry);
    struct page *page =
        page_try_create(LISTPACK_HEADER_BYTES + 1 + ENTRY_OVERHEAD_MAX + entry_bytes_max(count, text_bytes));
    if (page == NULL) return FIRN_ENOMEM;
    seal_tail(stream);
    bytes_store16(page->data + 4, 0);
    uint8_t *at = put_master(page->data + LISTPACK_HEADER_BYTES, 1, pairs, count);
    at = put_entry(at, id, id, pairs, count, 1);
    finish_page(page, at, count + 4 + count + 4);
    page = fitted(page);
    struct stream_node *node = stream_index_node(&stream->index, stream_index_append(&stream->index, id));
    node->ref = page_ref_of(page);
    node->count = 1;
    object_account(&stream->head, page->bytes, 1, 1);
    return 0;
}

/* Bytes of page that an entry may need, doubling so that few appends allocate, but not far beyond a node. */
static size_t grown(size_t need) {
    size_t capacity = need + need / 2, most = type_limits.stream_node_max_bytes + ENTRY_OVERHEAD_MAX;
    if (capacity > STREAM_NODE_BYTES_MAX) return need;
    if (most > STREAM_NODE_BYTES_MAX || most < type_limits.stream_node_max_bytes) return capacity;
    return capacity > most ? (need > most ? need : most) : capacity;
}

static int add_to_node(struct stream *stream, struct stream_place place, const struct stream__master *master,
                       struct stream_id id, const struct bytes *pairs, size_t count, size_t text_bytes) {
    struct stream_node *node = stream_index_node(&stream->index, place);
    struct stream_id node_id = stream_index_id(&stream->index, place);
    int is_same = has_same_fields(master, pairs, count);
    struct stream__hold hold;
    struct page *page;
    stream__open(stream, node, &hold);
    size_t need = entry_bytes_max(count, text_bytes);
    if (page_ref_tag(node->ref) == PAGE_TAG_DRAM) {
        need += page_ref_dram(node->ref)->bytes;
        if (need > page_ref_dram(node->ref)->capacity) need = grown(need);
    } else {
        struct bytes payload;
        int error = page_peek(node->ref, &payload, NULL);
        if (error != 0) return stream__error(error);
        need = grown(need + payload.size);
    }
    int error = stream__error(page_write(&node->ref, need, &page));
    if (error != 0) return error;
    uint8_t *at = put_entry(page->data + page->bytes - 1, id, node_id, pairs, count, is_same);
    finish_page(page, at, is_same ? count + 4 : 2 * count + 5);
    replace_counts(page, master, master->count + 1, master->deleted);
    node->count++;
    stream__close(&hold);
    return 0;
}

/* Whether the tail takes one more entry. */
static int has_room(const struct stream__master *master, size_t page_bytes, size_t text_bytes) {
    size_t most = type_limits.stream_node_max_bytes, entries_max = type_limits.stream_node_max_entries;
    if (most == 0 || most > STREAM_NODE_BYTES_MAX) most = STREAM_NODE_BYTES_MAX;
    if (page_bytes + text_bytes >= most) return 0;
    return entries_max == 0 || (uint64_t)(master->count + master->deleted) < entries_max;
}

int stream_append(struct entry *entry, struct stream_id id, const struct bytes *pairs, size_t count) {
    struct stream *stream = stream_of(entry);
    size_t text_bytes = 0;
    FIRN_ASSERT(stream_id_compare(id, stream->last_id) > 0);
    for (size_t i = 0; i < 2 * count; i++)
        text_bytes += pairs[i].size;
    if (entry_bytes_max(count, text_bytes) > STREAM_NODE_BYTES_MAX - 4096 || entry->size == UINT32_MAX)
        return FIRN_ETOOBIG;
    struct stream_place tail;
    struct stream__master master;
    int error = 0, is_new = 1;
    if (stream_index_last(&stream->index, &tail)) {
        struct bytes payload;
        error = stream__read(stream, stream_index_node(&stream->index, tail), 1, &payload);
        if (error == 0 && stream__is_sealed(payload)) error = unseal_tail(stream, tail, &payload);
        if (error == 0) error = stream__master(payload, &master);
        if (error != 0) return error;
        is_new = !has_room(&master, payload.size, text_bytes) ||
                 payload.size + entry_bytes_max(count, text_bytes) > STREAM_NODE_BYTES_MAX;
    }
    error = is_new ? add_node(entry, id, pairs, count, text_bytes)
                   : add_to_node(stream, tail, &master, id, pairs, count, text_bytes);
    if (error != 0) return error;
    if (entry->size++ == 0) {
        stream->first_id = id;
        stream->first_known = 1;
    }
    stream->last_id = id;
    stream->last_there = 1;
    stream->entries_added++;
    return 0;
}

/* --- the first entry --- */

/* The first entry of ${payload} that is not deleted. */
static int first_in_page(struct bytes payload, struct stream_id node_id, struct stream_id *id_out) {
    struct stream__master master;
    int error = stream__master(payload, &master);
    if (error != 0) return error;
    for (struct listpack_reader at = master.entries; !listpack_at_end(&at);) {
        struct stream__entry entry;
        error = stream__entry(master.field_count, node_id, at, &entry);
        if (error != 0) return error;
        if (!(entry.flags & STREAM_FLAG_DELETED)) {
            *id_out = entry.id;
            return 0;
        }
        error = stream__entry_end(&entry, &at);
        if (error != 0) return error;
    }
    return FIRN_ECORRUPT;
}

/* Find first_id; ${may_read}: also from a page that is not here. */
static int find_first(struct entry *entry, int may_read) {
    struct stream *stream = stream_of(entry);
    struct stream_place place;
    stream->first_id = (struct stream_id){0, 0};
    stream->first_known = 1;
    if (!stream_index_first(&stream->index, &place)) return 0;
    struct stream_node *node = stream_index_node(&stream->index, place);
    stream->first_id = stream_index_id(&stream->index, place);
    if (!(node->count & STREAM_NODE_HOLES)) return 0;
    stream->first_known = 0;
    struct bytes payload;
    if (!may_read && !page_is_ready(node->ref)) return 0;
    int error = stream__read(stream, node, 0, &payload);
    if (error == 0) error = first_in_page(payload, stream->first_id, &stream->first_id);
    if (error == 0) stream->first_known = 1;
    return error;
}

void stream__settle_first(struct entry *entry) {
    int error = find_first(entry, 0);
    (void)error; /* then it is not known */
}

int stream_know_first(struct entry *entry) {
    return stream_of(entry)->first_known ? 0 : find_first(entry, 1);
}

/* --- deleting --- */

/* Offset of the flags of the entry of ${id} in its page, and what the master entry says. */
static int find_entry(struct stream *stream, struct stream_place place, struct stream_id id,
                      struct stream__master *master, size_t *offset_out) {
    struct bytes payload;
    struct stream__entry found;
    int error = stream__read(stream, stream_index_node(&stream->index, place), 0, &payload);
    if (error == 0) error = stream__master(payload, master);
    if (error != 0) return error;
    for (struct listpack_reader at = master->entries; !listpack_at_end(&at);) {
        error = stream__entry(master->field_count, stream_index_id(&stream->index, place), at, &found);
        if (error != 0) return error;
        int order = stream_id_compare(found.id, id);
        if (order > 0) break;
        if (order == 0) {
            *offset_out = (size_t)(found.start - payload.data);
            return found.flags & STREAM_FLAG_DELETED ? FIRN_EEXISTS : 0;
        }
        error = stream__entry_end(&found, &at);
        if (error != 0) return error;
    }
    return FIRN_EEXISTS; /* no such entry (FIRN_ENOTFOUND would be a record's) */
}

int stream_touch(struct entry *entry, struct stream_id id) {
    struct stream *stream = stream_of(entry);
    struct stream_place place;
    if (!stream_index_find(&stream->index, id, &place)) return 0;
    return stream__touch_ref(stream_index_node(&stream->index, place)->ref);
}

int stream_delete(struct entry *entry, struct stream_id id) {
    struct stream *stream = stream_of(entry);
    struct stream_place place;
    struct stream__master master;
    size_t offset;
    if (!stream_index_find(&stream->index, id, &place)) return FIRN_ENOTFOUND;
    int error = find_entry(stream, place, id, &master, &offset);
    if (error != 0) return error == FIRN_EEXISTS ? FIRN_ENOTFOUND : error;
    struct stream_node *node = stream_index_node(&stream->index, place);
    if (stream_node_count(node) == 1) {
        stream__drop_node(stream, place);
    } else {
        struct stream__hold hold;
        struct page *page;
        struct bytes payload;
        stream__open(stream, node, &hold);
        error = stream__error(page_peek(node->ref, &payload, NULL));
        if (error == 0)
            error = stream__error(page_write(&node->ref, payload.size + deleting_growth(&master), &page));
        if (error != 0) return error;
        page->data[offset] |= STREAM_FLAG_DELETED;
        replace_counts(page, &master, master.count - 1, master.deleted + 1);
        stream__close(&hold);
        node->count = (node->count - 1) | STREAM_NODE_HOLES;
    }
    entry->size--;
    if (stream_id_compare(id, stream->last_id) == 0) stream->last_there = 0;
    if (stream_id_compare(id, stream->max_deleted_id) > 0) stream->max_deleted_id = id;
    if (stream->first_known && stream_id_compare(id, stream->first_id) == 0) stream__settle_first(entry);
    return 0;
}

/* --- cutting off --- */

/* Whether every entry of the node at ${place} is below ${id}: 1, 0 or an error. */
static int node_is_below(struct stream *stream, struct stream_place place, struct stream_id id) {
    struct stream_place next = place;
    struct stream_id node_id = stream_index_id(&stream->index, place);
    if (stream_id_compare(node_id, id) >= 0) return 0;
    struct stream_id bound = stream->last_id;
    if (stream_index_next(&stream->index, &next)) {
        bound = stream_index_id(&stream->index, next);
        if (stream_id_compare(bound, id) <= 0) return 1;
    } else if (stream_id_compare(bound, id) < 0) {
        return 1;
    }
    struct bytes payload;
    struct stream__master master;
    struct stream__entry last = {.id = node_id};
    int error = stream__read(stream, stream_index_node(&stream->index, place), 1, &payload);
    if (error == 0) error = stream__master(payload, &master);
    if (error != 0) return error;
    for (struct listpack_reader at = master.entries; error == 0 && !listpack_at_end(&at);) {
        error = stream__entry(master.field_count, node_id, at, &last);
        if (error == 0) error = stream__entry_end(&last, &at);
    }
    return error != 0 ? error : stream_id_compare(last.id, id) < 0;
}

/* Whether the first node can go as a whole, with ${length} entries in the stream: 1, 0 or an error. */
static int node_goes(struct stream *stream, struct stream_place place, const struct stream_trim *trim,
                     uint64_t length) {
    if (trim->by == STREAM_TRIM_ID) return node_is_below(stream, place, trim->id);
    return length - stream_node_count(stream_index_node(&stream->index, place)) >= trim->length;
}

int stream_trim_touch(struct entry *entry, const struct stream_trim *trim, uint64_t added) {
    struct stream *stream = stream_of(entry);
    struct stream_place place;
    uint64_t length = entry->size + added;
    int more = stream_index_first(&stream->index, &place);
    if (trim->by == STREAM_TRIM_NONE || (trim->by == STREAM_TRIM_LENGTH && trim->approximate)) return 0;
    if (trim->by == STREAM_TRIM_ID) { /* only the node that may have the ID */
        if (!stream_index_find(&stream->index, trim->id, &place)) return 0;
        return stream__touch_ref(stream_index_node(&stream->index, place)->ref);
    }
    for (; more && length > trim->length; more = stream_index_next(&stream->index, &place)) {
        const struct stream_node *node = stream_index_node(&stream->index, place);
        if (length - stream_node_count(node) < trim->length) return stream__touch_ref(node->ref);
        length -= stream_node_count(node);
    }
    return 0;
}

/* Mark the entries at the beginning of a node as deleted, as far as ${trim} says. */
static int trim_in_node(struct entry *entry, struct stream_place place, const struct stream_trim *trim,
                        uint64_t *removed_inout) {
    struct stream *stream = stream_of(entry);
    struct stream_node *node = stream_index_node(&stream->index, place);
    struct stream_id node_id = stream_index_id(&stream->index, place);
    struct stream__hold hold;
    struct bytes payload;
    struct page *page;
    struct stream__master master;
    uint32_t gone = 0;
    stream__open(stream, node, &hold);
    int error = stream__error(page_peek(node->ref, &payload, NULL));
    if (error == 0) error = stream__master(payload, &master);
    if (error == 0)
        error = stream__error(page_write(&node->ref, payload.size + deleting_growth(&master), &page));
    if (error != 0) return error;
    error = stream__master(bytes_of(page->data, page->bytes), &master);
    for (struct listpack_reader at = master.entries; error == 0 && !listpack_at_end(&at);) {
        struct stream__entry found;
        error = stream__entry(master.field_count, node_id, at, &found);
        if (error != 0) break;
        if (trim->by == STREAM_TRIM_ID ? stream_id_compare(found.id, trim->id) >= 0
                                       : entry->size - gone <= trim->length)
            break;
        if (!(found.flags & STREAM_FLAG_DELETED)) {
            page->data[found.start - page->data] |= STREAM_FLAG_DELETED;
            gone++;
        }
        error = stream__entry_end(&found, &at);
    }
    if (gone > 0 && gone <= stream_node_count(node)) {
        replace_counts(page, &master, master.count - gone, master.deleted + gone);
        node->count = (node->count - gone) | STREAM_NODE_HOLES;
        entry->size -= gone;
        *removed_inout += gone;
    }
    stream__close(&hold);
    if (stream_node_count(node) == 0) stream__drop_node(stream, place);
    return error;
}

/* Bytes and number of the pages in DRAM. */
static void sum_dram(const struct stream_index *index, int64_t *bytes_out, int32_t *pages_out) {
    *bytes_out = 0;
    *pages_out = 0;
    for (uint32_t i = 0; i < index->count; i++) {
        const struct stream_chunk *chunk = stream_index_chunk(index, i);
        for (uint32_t slot = 0; slot < chunk->used; slot++) {
            uint64_t ref = chunk->nodes[slot].ref;
            if (slot + SUM_AHEAD < chunk->used &&
                page_ref_tag(chunk->nodes[slot + SUM_AHEAD].ref) == PAGE_TAG_DRAM)
                __builtin_prefetch(page_ref_dram(chunk->nodes[slot + SUM_AHEAD].ref));
            if (ref == 0 || page_ref_tag(ref) != PAGE_TAG_DRAM) continue;
            *bytes_out += page_ref_dram(ref)->bytes;
            ++*pages_out;
        }
    }
}

/* Give the first ${chunks} chunks of the index to the reaper. Takes time by the fewer nodes, going or
 * staying. */
static void drop_chunks(struct stream *stream, uint32_t chunks) {
    struct stream *husk = stream__create();
    stream_index_cut(&stream->index, chunks, &husk->index);
    int is_fewer = husk->index.nodes <= stream->index.nodes;
    int64_t bytes;
    int32_t dram;
    sum_dram(is_fewer ? &husk->index : &stream->index, &bytes, &dram);
    if (!is_fewer) {
        bytes = (int64_t)stream->head.dram_bytes - bytes;
        dram = (int32_t)stream->head.pages_dram - dram;
    }
    object_account(&stream->head, -bytes, -(int32_t)husk->index.nodes, -dram);
    object_account(&husk->head, bytes, (int32_t)husk->index.nodes, dram);
    type_reap_later(&husk->head);
}

/* Whole chunks of nodes that go: returns their entries. */
static uint64_t trim_chunks(struct entry *entry, const struct stream_trim *trim) {
    struct stream *stream = stream_of(entry);
    const struct stream_index *index = &stream->index;
    uint64_t removed = 0;
    uint32_t chunks = 0;
    for (; chunks + 1 < index->count; chunks++) {
        const struct stream_chunk *chunk = stream_index_chunk(index, chunks);
        uint64_t after = removed;
        for (uint32_t slot = 0; slot < chunk->used; slot++)
            after += stream_node_count(&chunk->nodes[slot]);
        struct stream_id next = stream_index_id(index, (struct stream_place){chunks + 1, 0});
        int goes = trim->by == STREAM_TRIM_LENGTH ? entry->size - after >= trim->length
                                                  : stream_id_compare(next, trim->id) <= 0;
        if (!goes || (trim->limit != 0 && after > trim->limit)) break;
        removed = after;
    }
    if (chunks < TRIM_CHUNKS_MIN) return 0;
    drop_chunks(stream, chunks);
    entry->size -= (uint32_t)removed;
    return removed;
}

int stream_trim(struct entry *entry, const struct stream_trim *trim, uint64_t *removed_out) {
    struct stream *stream = stream_of(entry);
    struct stream_place place;
    int error = 0;
    *removed_out = 0;
    if (trim->by == STREAM_TRIM_NONE) return 0;
    if (stream->index.count > TRIM_CHUNKS_MIN) *removed_out = trim_chunks(entry, trim);
    while (stream_index_first(&stream->index, &place)) {
        if (trim->by == STREAM_TRIM_LENGTH && entry->size <= trim->length) break;
        uint32_t count = stream_node_count(stream_index_node(&stream->index, place));
        if (trim->limit != 0 && *removed_out + count > trim->limit) break;
        int goes = node_goes(stream, place, trim, entry->size);
        if (goes > 0) {
            stream__drop_node(stream, place);
            entry->size -= count;
            *removed_out += count;
            continue;
        }
        error = goes;
        if (error != 0 || trim->approximate) break;
        if (trim->by == STREAM_TRIM_LENGTH ||
            stream_id_compare(stream_index_id(&stream->index, place), trim->id) < 0)
            error = trim_in_node(entry, place, trim, removed_out);
        break;
    }
    if (*removed_out > 0) stream__settle_first(entry);
    return error;
}
