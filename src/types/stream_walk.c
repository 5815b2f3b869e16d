/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams as a whole: walking, copying, freeing, victims, checking; and the table of operations of the type.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/memory.h"
#include "page/fault.h"
#include "types/stream_internal.h"

#define ID_TEXT_MAX      48u
#define VICTIM_SCAN_MAX  4096u /* nodes that one search for victims goes over, of those that are not it */
#define REAP_GROUP_STEPS 4u    /* leaves of pending lists that take as long to free as a page */

static const struct stream_id id_min = {0, 0}, id_max = {UINT64_MAX, UINT64_MAX};

/* --- walking --- */

static void append_part(struct bytes_builder *out, struct bytes part) {
    uint64_t size = part.size;
    bytes_builder_append(out, &size, sizeof size);
    bytes_builder_append(out, part.data, part.size);
}

/* An element is an entry: its ID as the name, fields and values, each after its size, as the value. */
static int stream_walk(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                       void *ctx) {
    struct stream_range range;
    struct stream_item item;
    struct bytes_builder value = {0};
    int error = stream_touch_range(entry, id_min, id_max, 0, 0), got;
    if (error != 0) return error;
    stream_range_begin(&range, entry, id_min, id_max, 0);
    while (error == 0 && (got = stream_range_next(&range, &item)) != 0) {
        char text[ID_TEXT_MAX];
        if (got < 0) {
            error = got;
            break;
        }
        bytes_builder_clear(&value);
        for (uint64_t i = 0; error == 0 && i < item.fields; i++) {
            struct bytes field, content;
            error = stream_range_pair(&range, &field, &content);
            if (error != 0) break;
            append_part(&value, field);
            append_part(&value, content);
        }
        if (error != 0) break;
        int size = snprintf(text, sizeof text, "%llu-%llu", (unsigned long long)item.id.ms,
                            (unsigned long long)item.id.seq);
        struct type_element element = {
            .name = bytes_of(text, (size_t)size), .value = bytes_builder_bytes(&value), .expiry_ms = -1};
        error = receive(&element, ctx);
    }
    bytes_builder_fini(&value);
    return error;
}

/* --- freeing and copying --- */

static void stream_free_value(struct entry *entry) {
    if (entry_ref(entry) == 0) return;
    struct stream *stream = stream_of(entry);
    entry_store_ref(entry, 0);
    type_reap_later(&stream->head);
}

static int stream_reap(struct object *head, unsigned pages) {
    struct stream *stream = (struct stream *)head;
    struct stream_place place;
    for (; pages > 0 && stream_index_last(&stream->index, &place); pages--)
        stream__drop_node(stream, place);
    if (stream->index.nodes > 0) return 1;
    FIRN_ASSERT(head->pages == 0 && head->pages_dram == 0 && head->dram_bytes == 0);
    if (stream__groups_reap(stream, (pages > 0 ? pages : 1) * REAP_GROUP_STEPS)) return 1;
    object_unregister(head);
    memory_free(stream);
    return 0;
}

static void stream_copy_nodes(const struct stream *from, struct stream *to) {
    struct stream_place place;
    int more = stream_index_first(&from->index, &place);
    for (; more; more = stream_index_next(&from->index, &place)) {
        const struct stream_node *node = stream_index_node(&from->index, place);
        struct stream_place added = stream_index_append(&to->index, stream_index_id(&from->index, place));
        struct stream_node *copy = stream_index_node(&to->index, added);
        copy->ref = page_share(node->ref);
        copy->count = node->count;
        int is_dram = page_ref_tag(node->ref) == PAGE_TAG_DRAM;
        object_account(&to->head, is_dram ? page_ref_dram(node->ref)->bytes : 0, 1, is_dram);
    }
}

static int stream_copy_value(struct entry *source, struct entry **target_inout) {
    const struct stream *from = stream_of(source);
    struct stream *stream = stream__create();
    stream_copy_nodes(from, stream);
    stream->last_id = from->last_id;
    stream->first_id = from->first_id;
    stream->first_known = from->first_known;
    stream->last_there = from->last_there;
    stream->max_deleted_id = from->max_deleted_id;
    stream->entries_added = from->entries_added;
    stream__groups_copy(from, stream);
    struct entry *target = *target_inout;
    FIRN_ASSERT(entry_type(target) == TYPE_STREAM && target->flags & ENTRY_REF);
    entry_store_ref(target, page_ref_of_object(stream));
    target->size = source->size;
    entry_set_encoding(target, ENCODING_STREAM);
    return 0;
}

/* --- other operations of the type --- */

static size_t stream_memory(const struct entry *entry, size_t samples) {
    const struct stream *stream = stream_of(entry);
    size_t bytes = memory_usable(stream) + stream->index.bytes + stream__groups_memory(stream);
    size_t pages_bytes = 0, seen = 0;
    struct stream_place place;
    int more = stream->head.pages_dram > 0 && stream_index_last(&stream->index, &place);
    for (; more; more = stream_index_previous(&stream->index, &place)) { /* what is in DRAM is at the end */
        uint64_t ref = stream_index_node(&stream->index, place)->ref;
        if (page_ref_tag(ref) != PAGE_TAG_DRAM) continue;
        pages_bytes += page_memory(page_ref_dram(ref));
        if (++seen == samples || seen == stream->head.pages_dram) break;
    }
    return seen > 0 ? bytes + pages_bytes * stream->head.pages_dram / seen : bytes;
}

static size_t stream_free_effort(const struct entry *entry) {
    const struct stream *stream = stream_of(entry);
    size_t effort = stream->index.nodes;
    for (uint32_t i = 0; i < stream->group_count; i++)
        effort += 1 + stream->groups[i]->pending.records;
    return effort;
}

static unsigned stream_victims(struct object *head, int from, unsigned scan, struct type_victim *victims_out,
                               unsigned limit) {
    struct stream *stream = (struct stream *)head;
    struct stream_place place, tail;
    unsigned found = 0, passed = 0;
    int is_dram = from == PAGE_TAG_DRAM;
    if ((is_dram && head->pages_dram == 0) || !stream_index_last(&stream->index, &tail)) return 0;
    if (scan > head->pages) scan = head->pages;
    while (scan > 0 && found < limit && passed < VICTIM_SCAN_MAX) {
        if (!stream_index_seek(&stream->index, head->sweep, &place) &&
            !stream_index_first(&stream->index, &place))
            break;
        head->sweep = stream_index_locator(&stream->index, place) + 1;
        uint64_t ref = stream_index_node(&stream->index, place)->ref;
        passed++, scan--;
        if ((int)page_ref_tag(ref) != from) continue;
        if (is_dram) {
            const struct page *page = page_ref_dram(ref);
            if (page->moving) continue;
            int is_tail = place.chunk == tail.chunk && place.slot == tail.slot;
            if (is_tail && type_keeps_hot && page_clock() - page->clock < STREAM_TAIL_IDLE_S)
                continue; /* ST4 */
        }
        victims_out[found++] = (struct type_victim){
            .ref = ref,
            .locator = stream_index_locator(&stream->index, place),
            .clock = is_dram ? page_ref_dram(ref)->clock : 0,
        };
    }
    return found;
}

static uint64_t *stream_locate(struct object *head, uint64_t locator) {
    struct stream_node *node = stream_index_locate(&((struct stream *)head)->index, locator);
    return node != NULL ? &node->ref : NULL;
}

static void check_page(const struct stream *stream, struct stream_place place, struct bytes payload) {
    const struct stream_node *node = stream_index_node(&stream->index, place);
    struct stream_id node_id = stream_index_id(&stream->index, place), before = node_id;
    struct stream__master master;
    uint64_t count = 0, deleted = 0;
    FIRN_ASSERT(stream__is_sealed(payload) || listpack_check(payload) == 0);
    FIRN_ASSERT(stream__master(payload, &master) == 0);
    for (struct listpack_reader at = master.entries; !listpack_at_end(&at);) {
        struct stream__entry entry;
        FIRN_ASSERT(stream__entry(master.field_count, node_id, at, &entry) == 0);
        FIRN_ASSERT(stream_id_compare(before, entry.id) < (count + deleted == 0));
        before = entry.id;
        if (entry.flags & STREAM_FLAG_DELETED)
            deleted++;
        else
            count++;
        FIRN_ASSERT(stream__entry_end(&entry, &at) == 0);
    }
    FIRN_ASSERT(stream_id_compare(before, stream->last_id) <= 0);
    FIRN_ASSERT(count == stream_node_count(node) &&
                (deleted > 0) == ((node->count & STREAM_NODE_HOLES) != 0));
    FIRN_ASSERT((uint64_t)master.count == count && (uint64_t)master.deleted == deleted && count > 0);
}

static void stream_check(const struct entry *entry) {
    const struct stream *stream = stream_of(entry);
    struct stream_place place;
    uint64_t entries = 0, bytes = 0, pages = 0, pages_dram = 0;
    FIRN_ASSERT(stream->head.magic == OBJECT_MAGIC && stream->head.type == TYPE_STREAM);
    stream_index_check(&stream->index);
    int more = stream_index_first(&stream->index, &place);
    for (; more; more = stream_index_next(&stream->index, &place)) {
        const struct stream_node *node = stream_index_node(&stream->index, place);
        pages++;
        entries += stream_node_count(node);
        if (page_ref_tag(node->ref) != PAGE_TAG_DRAM) continue;
        const struct page *page = page_ref_dram(node->ref);
        check_page(stream, place, bytes_of(page->data, page->bytes));
        bytes += page->bytes;
        pages_dram++;
    }
    FIRN_ASSERT(entries == entry->size && pages == stream->head.pages);
    FIRN_ASSERT(pages_dram == stream->head.pages_dram && bytes == stream->head.dram_bytes);
    stream__groups_check(stream);
}

const struct type_ops type_stream_ops = {
    .name = "stream",
    .free_value = stream_free_value,
    .reap = stream_reap,
    .copy_value = stream_copy_value,
    .walk = stream_walk,
    .memory = stream_memory,
    .free_effort = stream_free_effort,
    .encode = stream__encode,
    .decode = stream__decode,
    .victims = stream_victims,
    .locate = stream_locate,
    .check = stream_check,
};
