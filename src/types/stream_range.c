/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams: walking over entries, forward and backward. A range goes from node to node; within a node it
 * stands between entries. Forward, entries before the first ID are stepped over; backward, the count of
 * elements at each entry's end leads to its beginning.
 */
#include "base/assert.h"
#include "page/fault.h"
#include "page/page.h"
#include "types/stream_internal.h"

/* range->state */
enum { RANGE_BEGIN, RANGE_NODE, RANGE_END };

/* --- bringing pages in --- */

/* The node where a walk begins; 0: there is none. */
static int first_node(const struct stream *stream, struct stream_id first, struct stream_id last, int reverse,
                      struct stream_place *place_out) {
    if (reverse) return stream_index_find(&stream->index, last, place_out);
    if (!stream_index_find(&stream->index, first, place_out))
        return stream_index_first(&stream->index, place_out);
    struct stream_place next = *place_out;
    /* before the next node nothing can be but in this one; after the last one's last entry there is nothing
     */
    if (!stream_index_next(&stream->index, &next)) return stream_id_compare(first, stream->last_id) <= 0;
    return 1;
}

/* On to the node after ${place} in the walk's direction, if it can have something of the range. */
static int further(const struct stream *stream, struct stream_id first, struct stream_id last, int reverse,
                   struct stream_place *place) {
    if (reverse) {
        if (stream_id_compare(stream_index_id(&stream->index, *place), first) <= 0) return 0;
        return stream_index_previous(&stream->index, place);
    }
    return stream_index_next(&stream->index, place) &&
           stream_id_compare(stream_index_id(&stream->index, *place), last) <= 0;
}

/* Pages missing for ${count} entries; ${limit}: stop counting there. */
static unsigned count_missing(struct stream *stream, struct stream_id first, struct stream_id last,
                              int reverse, uint64_t count, unsigned limit) {
    struct stream_place place;
    unsigned missing = 0;
    uint64_t got = 0;
    int more = first_node(stream, first, last, reverse, &place), is_first = 1;
    for (; more && missing <= limit; more = further(stream, first, last, reverse, &place)) {
        const struct stream_node *node = stream_index_node(&stream->index, place);
        if (!page_is_ready(node->ref)) missing++;
        if (!is_first) got += stream_node_count(node); /* of the first one perhaps none are in the range */
        is_first = 0;
        if (count != 0 && got >= count) break;
    }
    return missing;
}

int stream_touch_range(struct entry *entry, struct stream_id first, struct stream_id last, int reverse,
                       uint64_t count) {
    struct stream *stream = stream_of(entry);
    struct fault_set *set = fault_current();
    if (stream->head.pages_dram == stream->head.pages || set == NULL || set->mode == FAULT_SYNC) return 0;
    unsigned missing = count_missing(stream, first, last, reverse, count, FAULT_TOUCH_MAX);
    if (missing == 0) return 0;
    if (missing > FAULT_TOUCH_MAX) { /* more than one command should keep: page by page while walking */
        fault_must_finish();
        return 0;
    }
    struct stream_place place;
    int result = 0, is_first = 1;
    uint64_t got = 0;
    int more = first_node(stream, first, last, reverse, &place);
    for (; more && set->count < FAULT_SET_MAX; more = further(stream, first, last, reverse, &place)) {
        const struct stream_node *node = stream_index_node(&stream->index, place);
        int error = stream__touch_ref(node->ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        if (!is_first) got += stream_node_count(node);
        is_first = 0;
        if (count != 0 && got >= count) break;
    }
    return result; /* a full set: the run after this one asks for the rest */
}

/* --- walking --- */

void stream_range_begin(struct stream_range *range, struct entry *entry, struct stream_id first,
                        struct stream_id last, int reverse) {
    range->stream = stream_of(entry);
    range->first = first;
    range->last = last;
    range->reverse = reverse;
    range->promote = fault_current() != NULL; /* without a set it is no client that reads: a snapshot */
    range->state = stream_id_compare(first, last) > 0 ? RANGE_END : RANGE_BEGIN;
}

/* Sealed nodes cannot be read backward: remember where every so-many-th of the ${total} entries begins. */
static int mark_entries(struct stream_range *range, uint64_t total) {
    struct listpack_reader at = range->at;
    range->stride = total / STREAM_RANGE_MARKS + 1;
    range->entries_left = total;
    for (uint64_t i = 0; i < total; i++) {
        struct stream__entry entry;
        if (i % range->stride == 0) range->marks[i / range->stride] = (uint32_t)(at.at - range->entries);
        int error = stream__entry(range->field_count, range->node_id, at, &entry);
        if (error == 0) error = stream__entry_end(&entry, &at);
        if (error != 0) return error;
    }
    return listpack_at_end(&at) ? 0 : FIRN_ECORRUPT;
}

/* The entry before in a sealed node: 1, 0 if there is none. */
static int step_back_sealed(struct stream_range *range, struct stream__entry *entry) {
    if (range->entries_left == 0) return 0;
    uint64_t wanted = --range->entries_left, i = wanted - wanted % range->stride;
    struct listpack_reader at = range->at;
    at.at = range->entries + range->marks[i / range->stride];
    for (;; i++) {
        int error = stream__entry(range->field_count, range->node_id, at, entry);
        if (error != 0) return error;
        if (i == wanted) return 1;
        error = stream__entry_end(entry, &at);
        if (error != 0) return error;
    }
}

static int enter_page(struct stream_range *range, struct bytes payload) {
    struct stream__master master;
    int error = stream__master(payload, &master);
    if (error != 0) return error;
    range->fields = master.fields;
    range->field_count = master.field_count;
    range->entries = master.entries.at;
    range->at = master.entries;
    range->elements_left = 0;
    range->state = RANGE_NODE;
    if (!range->reverse) return 0;
    if (master.entries.bare) return mark_entries(range, (uint64_t)(master.count + master.deleted));
    range->at.at = master.entries.end;
    return 0;
}

static int enter_node(struct stream_range *range) {
    struct bytes payload;
    struct stream *stream = range->stream;
    int error =
        stream__read(stream, stream_index_node(&stream->index, range->place), range->promote, &payload);
    if (error != 0) return error;
    range->node_id = stream_index_id(&stream->index, range->place);
    return enter_page(range, payload);
}

int stream_range_begin_node(struct stream_range *range, struct bytes payload, struct stream_id node_id,
                            struct stream_id first, struct stream_id last, int reverse) {
    range->stream = NULL;
    range->first = first;
    range->last = last;
    range->reverse = reverse;
    range->promote = 0;
    range->node_id = node_id;
    return enter_page(range, payload);
}

/* The next entry of the node, whatever it is: 1, 0 at the node's end. */
static int step(struct stream_range *range, struct stream__entry *entry) {
    int error;
    if (!range->reverse) {
        if (range->elements_left > 0) {
            error = listpack_skip(&range->at, range->elements_left);
            if (error != 0) return error;
        }
        range->elements_left = 0;
        if (listpack_at_end(&range->at)) return 0;
        error = stream__entry(range->field_count, range->node_id, range->at, entry);
        if (error != 0) return error;
        range->at = entry->at;
        range->elements_left = entry->elements + !range->at.bare;
        return 1;
    }
    if (range->at.bare) return step_back_sealed(range, entry);
    if (range->at.at == range->entries) return 0;
    int64_t elements;
    error = listpack_back(&range->at, range->entries, 1);
    struct listpack_reader count_at = range->at;
    if (error == 0) error = listpack_read_integer(&count_at, &elements);
    if (error == 0)
        error = elements <= 0 ? FIRN_ECORRUPT : listpack_back(&range->at, range->entries, (uint64_t)elements);
    if (error == 0) error = stream__entry(range->field_count, range->node_id, range->at, entry);
    return error != 0 ? error : 1;
}

#define RANGE_PAST 2

/* Whether ${entry} is what the walk looks for: 1; 0: go on; RANGE_PAST: nothing more can be. */
static int judge(const struct stream_range *range, const struct stream__entry *entry) {
    if (range->reverse) {
        if (stream_id_compare(entry->id, range->first) < 0) return RANGE_PAST;
        return !(entry->flags & STREAM_FLAG_DELETED) && stream_id_compare(entry->id, range->last) <= 0;
    }
    if (stream_id_compare(entry->id, range->last) > 0) return RANGE_PAST;
    return !(entry->flags & STREAM_FLAG_DELETED) && stream_id_compare(entry->id, range->first) >= 0;
}

int stream_range_next(struct stream_range *range, struct stream_item *item) {
    struct stream__entry entry;
    const struct stream *stream = range->stream;
    if (range->state == RANGE_BEGIN) {
        int any = first_node(stream, range->first, range->last, range->reverse, &range->place);
        int error = any ? enter_node(range) : 0;
        if (error != 0) return error;
        if (!any) range->state = RANGE_END;
    }
    while (range->state == RANGE_NODE) {
        int got = step(range, &entry);
        if (got < 0) return got;
        if (got == 0) {
            if (stream == NULL || !further(stream, range->first, range->last, range->reverse, &range->place))
                break;
            int error = enter_node(range);
            if (error != 0) return error;
            continue;
        }
        int verdict = judge(range, &entry);
        if (verdict == RANGE_PAST) break;
        if (!verdict) continue;
        range->has_names = !(entry.flags & STREAM_FLAG_SAME_FIELDS);
        range->name = range->fields;
        range->value = entry.at;
        range->pairs_left = entry.pairs;
        item->id = entry.id;
        item->fields = entry.pairs;
        return 1;
    }
    range->state = RANGE_END;
    return 0;
}

/* Entries of the node at ${place} in the range. */
static int count_node(struct stream *stream, struct stream_place place, struct stream_id first,
                      struct stream_id last, uint64_t *count_inout) {
    struct stream_range range;
    struct stream_item item;
    struct bytes payload;
    int error = stream__read(stream, stream_index_node(&stream->index, place), 0, &payload);
    if (error == 0)
        error =
            stream_range_begin_node(&range, payload, stream_index_id(&stream->index, place), first, last, 0);
    while (error == 0) {
        int got = stream_range_next(&range, &item);
        if (got <= 0) return got;
        ++*count_inout;
    }
    return error;
}

int stream_range_measure(struct entry *entry, struct stream_id first, struct stream_id last, int reverse,
                         uint64_t most, size_t *pages_out, uint64_t *entries_out) {
    struct stream *stream = stream_of(entry);
    struct stream_place begin, place, end;
    uint64_t between = 0, last_count = 0; /* entries of the nodes after the first, of the last one of them */
    *pages_out = 0;
    *entries_out = 0;
    if (stream_id_compare(first, last) > 0 || !first_node(stream, first, last, reverse, &begin)) return 0;
    place = begin;
    do {
        end = place;
        if (++*pages_out > 1)
            between += last_count = stream_node_count(stream_index_node(&stream->index, place));
    } while ((most == 0 || between < most) && further(stream, first, last, reverse, &place));
    *entries_out = between - last_count;
    int error = stream__touch_ref(stream_index_node(&stream->index, begin)->ref);
    int error_end = stream__touch_ref(stream_index_node(&stream->index, end)->ref);
    if (error == 0 || error == FIRN_EFAULT) error = error_end != 0 ? error_end : error;
    if (error == 0) error = count_node(stream, begin, first, last, entries_out);
    if (error == 0 && *pages_out > 1) error = count_node(stream, end, first, last, entries_out);
    return error;
}

void stream_range_nodes(struct entry *entry, struct stream_id first, struct stream_id last, int reverse,
                        size_t count, uint64_t *refs_out, struct stream_id *ids_out) {
    struct stream *stream = stream_of(entry);
    struct stream_place place;
    int more = first_node(stream, first, last, reverse, &place);
    for (size_t i = 0; i < count; i++, more = further(stream, first, last, reverse, &place)) {
        FIRN_ASSERT(more);
        refs_out[i] = stream_index_node(&stream->index, place)->ref;
        ids_out[i] = stream_index_id(&stream->index, place);
    }
}

static struct bytes element_text(const struct listpack_element *element, char digits[NUMBER_INT_TEXT_MAX]) {
    if (element->text != NULL) return bytes_of(element->text, element->size);
    return bytes_of(digits, number_format_int(element->integer, digits));
}

int stream_range_pair(struct stream_range *range, struct bytes *field_out, struct bytes *value_out) {
    struct listpack_element element;
    FIRN_ASSERT(range->pairs_left > 0);
    int error = listpack_read(range->has_names ? &range->value : &range->name, &element);
    if (error != 0) return error;
    *field_out = element_text(&element, range->digits[0]);
    error = listpack_read(&range->value, &element);
    if (error != 0) return error;
    *value_out = element_text(&element, range->digits[1]);
    if (--range->pairs_left == 0 && !range->reverse) { /* the way to the next entry is known */
        range->at = range->value;
        range->elements_left = !range->value.bare;
    }
    return 0;
}

int stream_has(struct entry *entry, struct stream_id id) {
    struct stream_range range;
    struct stream_item item;
    stream_range_begin(&range, entry, id, id, 0);
    int got = stream_range_next(&range, &item);
    return got == 1 ? 0 : got == 0 ? FIRN_ENOTFOUND : got;
}
