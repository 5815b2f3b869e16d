/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams: consumer groups, consumers, pending lists, and the counters behind entries-read and lag. All of it
 * is in DRAM (48 bytes a pending entry) and none of it reads a page.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "types/stream_internal.h"

/* --- groups --- */

/* The place of ${name} among the groups; *found_out: it is there. */
static uint32_t group_place(const struct stream *stream, struct bytes name, int *found_out) {
    uint32_t from = 0, to = stream->group_count;
    *found_out = 0;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        int order = bytes_compare(stream_group_name(stream->groups[middle]), name);
        if (order == 0) {
            *found_out = 1;
            return middle;
        }
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

struct stream_group *stream_group_find(const struct stream *stream, struct bytes name) {
    int found;
    uint32_t place = group_place(stream, name, &found);
    return found ? stream->groups[place] : NULL;
}

struct stream_group *stream_group_create(struct stream *stream, struct bytes name, struct stream_id last_id,
                                         int64_t entries_read) {
    int found;
    uint32_t place = group_place(stream, name, &found);
    if (found) return NULL;
    struct stream_group *group = memory_alloc_zero(sizeof *group + name.size);
    group->last_id = last_id;
    group->entries_read = entries_read;
    group->name_bytes = (uint32_t)name.size;
    if (name.size > 0) memcpy(group->name, name.data, name.size);
    id_list_init(&group->pending, sizeof(struct stream_pending));
    if (stream->group_count == stream->group_capacity) {
        stream->group_capacity = stream->group_capacity == 0 ? 1 : stream->group_capacity * 2;
        stream->groups = memory_realloc(stream->groups, stream->group_capacity * sizeof *stream->groups);
    }
    memmove(stream->groups + place + 1, stream->groups + place,
            (stream->group_count - place) * sizeof *stream->groups);
    stream->groups[place] = group;
    stream->group_count++;
    return group;
}

static void group_take_out(struct stream *stream, struct stream_group *group) {
    int found;
    uint32_t place = group_place(stream, stream_group_name(group), &found);
    FIRN_ASSERT(found && stream->groups[place] == group);
    stream->group_count--;
    memmove(stream->groups + place, stream->groups + place + 1,
            (stream->group_count - place) * sizeof *stream->groups);
}

/* Free a piece of ${group}: one leaf, one consumer, or itself (nonzero: it is gone). */
static int group_reap(struct stream_group *group) {
    if (id_list_reap(&group->pending, 1)) return 0;
    if (group->consumer_count > 0) {
        struct stream_consumer *consumer = group->consumers[group->consumer_count - 1];
        if (id_list_reap(&consumer->pending, 1)) return 0;
        memory_free(consumer);
        group->consumer_count--;
        return 0;
    }
    memory_free(group->consumers);
    memory_free(group->slots);
    memory_free(group);
    return 1;
}

int stream__groups_reap(struct stream *stream, unsigned steps) {
    while (stream->group_count > 0 && steps-- > 0) {
        if (group_reap(stream->groups[stream->group_count - 1])) stream->group_count--;
    }
    if (stream->group_count > 0) return 1;
    memory_free(stream->groups);
    stream->groups = NULL;
    stream->group_capacity = 0;
    return 0;
}

void stream_group_destroy(struct stream *stream, struct stream_group *group) {
    group_take_out(stream, group);
    if (group->pending.count < 16 && group->consumer_count < 16) {
        while (!group_reap(group))
            continue;
        return;
    }
    struct stream *husk = stream__create(); /* without entries, for the reaper */
    husk->groups = memory_alloc(sizeof *husk->groups);
    husk->groups[0] = group;
    husk->group_count = husk->group_capacity = 1;
    type_reap_later(&husk->head);
}

/* --- consumers --- */

static uint32_t consumer_place(const struct stream_group *group, struct bytes name, int *found_out) {
    uint32_t from = 0, to = group->consumer_count;
    *found_out = 0;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        int order = bytes_compare(stream_consumer_name(group->consumers[middle]), name);
        if (order == 0) {
            *found_out = 1;
            return middle;
        }
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

struct stream_consumer *stream_consumer_find(const struct stream_group *group, struct bytes name) {
    int found;
    uint32_t place = consumer_place(group, name, &found);
    return found ? group->consumers[place] : NULL;
}

/* A slot number that is free. */
static uint32_t free_slot(struct stream_group *group) {
    if (group->slot_count > group->consumer_count) {
        for (uint32_t slot = 0; slot < group->slot_count; slot++) {
            if (group->slots[slot] == NULL) return slot;
        }
    }
    return group->slot_count++;
}

struct stream_consumer *stream_consumer_create(struct stream_group *group, struct bytes name,
                                               int64_t now_ms) {
    int found;
    uint32_t place = consumer_place(group, name, &found);
    if (found) return NULL;
    struct stream_consumer *consumer = memory_alloc_zero(sizeof *consumer + name.size);
    consumer->name_bytes = (uint32_t)name.size;
    if (name.size > 0) memcpy(consumer->name, name.data, name.size);
    consumer->seen_ms = now_ms;
    consumer->active_ms = -1;
    id_list_init(&consumer->pending, sizeof(struct stream_id));
    consumer->slot = free_slot(group);
    uint32_t capacity = group->consumer_capacity;
    if (capacity < group->slot_count) { /* there are no more consumers than slots */
        capacity = group->slot_count < 4 ? group->slot_count : group->slot_count + group->slot_count / 2;
        group->consumers = memory_realloc(group->consumers, capacity * sizeof *group->consumers);
        group->slots = memory_realloc(group->slots, capacity * sizeof *group->slots);
        group->consumer_capacity = capacity;
    }
    memmove(group->consumers + place + 1, group->consumers + place,
            (group->consumer_count - place) * sizeof *group->consumers);
    group->consumers[place] = group->slots[consumer->slot] = consumer;
    group->consumer_count++;
    return consumer;
}

void stream_consumer_destroy(struct stream_group *group, struct stream_consumer *consumer) {
    struct id_list_place at = {0, 0};
    const struct stream_id *id;
    for (; (id = id_list_at(&consumer->pending, at)) != NULL; at = id_list_next(&consumer->pending, at)) {
        int was_there = id_list_remove(&group->pending, id->ms, id->seq);
        FIRN_ASSERT(was_there);
    }
    id_list_fini(&consumer->pending);
    int found;
    uint32_t place = consumer_place(group, stream_consumer_name(consumer), &found);
    FIRN_ASSERT(found && group->consumers[place] == consumer);
    group->consumer_count--;
    memmove(group->consumers + place, group->consumers + place + 1,
            (group->consumer_count - place) * sizeof *group->consumers);
    group->slots[consumer->slot] = NULL;
    memory_free(consumer);
}

/* --- pending entries --- */

struct stream_pending *stream_pending_find(const struct stream_group *group, struct stream_id id) {
    return id_list_find(&group->pending, id.ms, id.seq);
}

struct stream_pending *stream_pending_give(struct stream_group *group, struct stream_id id,
                                           struct stream_consumer *consumer) {
    int added, is_new;
    struct stream_pending *pending = id_list_insert(&group->pending, id.ms, id.seq, &is_new);
    if (!is_new && pending->consumer == consumer->slot) return pending;
    if (!is_new) {
        int was_there = id_list_remove(&group->slots[pending->consumer]->pending, id.ms, id.seq);
        FIRN_ASSERT(was_there);
    }
    id_list_insert(&consumer->pending, id.ms, id.seq, &added);
    FIRN_ASSERT(added);
    pending->consumer = consumer->slot;
    return pending;
}

int stream_pending_remove(struct stream_group *group, struct stream_id id) {
    const struct stream_pending *pending = stream_pending_find(group, id);
    if (pending == NULL) return 0;
    int was_there = id_list_remove(&group->slots[pending->consumer]->pending, id.ms, id.seq);
    FIRN_ASSERT(was_there);
    id_list_remove(&group->pending, id.ms, id.seq);
    return 1;
}

/* --- counters --- */

int stream_has_tombstones(const struct stream *stream, struct stream_id from) {
    if (stream->head.pages == 0 || (stream->max_deleted_id.ms == 0 && stream->max_deleted_id.seq == 0))
        return 0;
    if (stream_id_compare(stream->first_id, stream->max_deleted_id) > 0)
        return 0; /* all before the first entry */
    return stream_id_compare(from, stream->max_deleted_id) <= 0;
}

int64_t stream_entries_read_at(const struct stream *stream, uint64_t length, struct stream_id id) {
    if (stream->entries_added == 0) return 0;
    int to_last = stream_id_compare(id, stream->last_id);
    if (length == 0 && to_last < 1) return (int64_t)stream->entries_added;
    if (to_last == 0) return (int64_t)stream->entries_added;
    if (to_last > 0) return STREAM_READS_UNKNOWN;
    int to_first = stream_id_compare(id, stream->first_id);
    int none_deleted = stream->max_deleted_id.ms == 0 && stream->max_deleted_id.seq == 0;
    if (none_deleted || stream_id_compare(stream->max_deleted_id, stream->first_id) < 0) {
        if (to_first < 0) return (int64_t)(stream->entries_added - length);
        if (to_first == 0) return (int64_t)(stream->entries_added - length + 1);
    }
    return STREAM_READS_UNKNOWN;
}

void stream_group_deliver(struct stream *stream, uint64_t length, struct stream_group *group,
                          struct stream_id id) {
    if (stream_id_compare(id, group->last_id) <= 0) return;
    if (group->entries_read != STREAM_READS_UNKNOWN && !stream_has_tombstones(stream, id)) {
        group->entries_read++;
    } else if (stream->entries_added > 0) {
        group->entries_read = stream_entries_read_at(stream, length, id);
    }
    group->last_id = id;
}

int stream_group_lag(const struct stream *stream, uint64_t length, const struct stream_group *group,
                     int64_t *lag_out) {
    *lag_out = 0;
    if (stream->entries_added == 0) return 0;
    int64_t read = group->entries_read;
    if (read == STREAM_READS_UNKNOWN || stream_has_tombstones(stream, group->last_id)) {
        read = stream_entries_read_at(stream, length, group->last_id);
        if (read == STREAM_READS_UNKNOWN) return FIRN_ENOTFOUND;
    }
    *lag_out = (int64_t)(stream->entries_added - (uint64_t)read);
    return 0;
}

/* --- as a whole --- */

static size_t group_memory(const struct stream_group *group) {
    size_t bytes = memory_usable(group) + group->pending.bytes;
    if (group->consumers != NULL) bytes += memory_usable(group->consumers) + memory_usable(group->slots);
    for (uint32_t i = 0; i < group->consumer_count; i++)
        bytes += memory_usable(group->consumers[i]) + group->consumers[i]->pending.bytes;
    return bytes;
}

size_t stream__groups_memory(const struct stream *stream) {
    size_t bytes = stream->groups != NULL ? memory_usable(stream->groups) : 0;
    for (uint32_t i = 0; i < stream->group_count; i++)
        bytes += group_memory(stream->groups[i]);
    return bytes;
}

void stream__groups_copy(const struct stream *from, struct stream *to) {
    for (uint32_t i = 0; i < from->group_count; i++) {
        const struct stream_group *group = from->groups[i];
        struct stream_group *copy =
            stream_group_create(to, stream_group_name(group), group->last_id, group->entries_read);
        FIRN_ASSERT(copy != NULL);
        for (uint32_t k = 0; k < group->consumer_count; k++) {
            const struct stream_consumer *consumer = group->consumers[k];
            struct stream_consumer *twin =
                stream_consumer_create(copy, stream_consumer_name(consumer), consumer->seen_ms);
            FIRN_ASSERT(twin != NULL);
            twin->active_ms = consumer->active_ms;
        }
        const struct stream_pending *pending;
        struct id_list_place at = {0, 0};
        for (; (pending = id_list_at(&group->pending, at)) != NULL; at = id_list_next(&group->pending, at)) {
            const struct stream_consumer *consumer = group->slots[pending->consumer];
            struct stream_pending *one = stream_pending_give(
                copy, pending->id, stream_consumer_find(copy, stream_consumer_name(consumer)));
            one->delivered_ms = pending->delivered_ms;
            one->deliveries = pending->deliveries;
        }
    }
}

static void group_check(const struct stream_group *group) {
    uint64_t sum = 0;
    id_list_check(&group->pending);
    FIRN_ASSERT(group->consumer_count <= group->slot_count && group->slot_count <= group->consumer_capacity);
    for (uint32_t i = 0; i < group->consumer_count; i++) {
        const struct stream_consumer *consumer = group->consumers[i];
        FIRN_ASSERT(group->slots[consumer->slot] == consumer);
        FIRN_ASSERT(i == 0 || bytes_compare(stream_consumer_name(group->consumers[i - 1]),
                                            stream_consumer_name(consumer)) < 0);
        id_list_check(&consumer->pending);
        sum += consumer->pending.records;
        const struct stream_id *id;
        struct id_list_place at = {0, 0};
        for (; (id = id_list_at(&consumer->pending, at)) != NULL; at = id_list_next(&consumer->pending, at)) {
            const struct stream_pending *pending = stream_pending_find(group, *id);
            FIRN_ASSERT(pending != NULL && pending->consumer == consumer->slot);
        }
    }
    FIRN_ASSERT(sum == group->pending.records); /* ST6 */
}

void stream__groups_check(const struct stream *stream) {
    for (uint32_t i = 0; i < stream->group_count; i++) {
        FIRN_ASSERT(i == 0 || bytes_compare(stream_group_name(stream->groups[i - 1]),
                                            stream_group_name(stream->groups[i])) < 0);
        group_check(stream->groups[i]);
    }
}
