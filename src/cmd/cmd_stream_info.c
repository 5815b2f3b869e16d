/* SPDX-License-Identifier: BSD-3-Clause */
/* XINFO. The first and the last entry may have to be read; everything else is in DRAM. Executor only. */
#include "base/clock.h"
#include "cmd/cmd_stream_internal.h"
#include "cmd/command.h"

#define FULL_COUNT_USUAL  10
#define RADIX_NODES_EXACT 10000u /* nodes that are looked at to tell what Redis's tree would have */

/* The stream of argv[2], which must be there. */
static int find_stream(struct call *call, struct entry **entry_out) {
    int error = call_find_read_type(call, call->argv[2], TYPE_STREAM, entry_out);
    if (error != 0 || *entry_out != NULL) return error;
    reply_error(call->reply, "no such key");
    return FIRN_EINVALID;
}

static void put_integer(struct call *call, const char *name, int64_t value) {
    reply_bulk_text(call->reply, name);
    reply_integer(call->reply, value);
}

static void put_id(struct call *call, const char *name, struct stream_id id) {
    reply_bulk_text(call->reply, name);
    cmd_stream__reply_id(call, id);
}

/* --- STREAM --- */

static void put_head(struct call *call, const struct entry *entry) {
    const struct stream *stream = stream_of(entry);
    put_integer(call, "length", entry->size);
    put_integer(call, "radix-tree-keys", (int64_t)stream->index.nodes);
    put_integer(call, "radix-tree-nodes",
                (int64_t)stream_index_radix_nodes(&stream->index, RADIX_NODES_EXACT));
    put_id(call, "last-generated-id", stream->last_id);
    put_id(call, "max-deleted-entry-id", stream->max_deleted_id);
    put_integer(call, "entries-added", (int64_t)stream->entries_added);
    put_id(call, "recorded-first-entry-id", stream->first_id);
}

/* The first or (${reverse}) last entry, or null. */
static int put_end(struct call *call, const char *name, struct entry *entry, int reverse) {
    struct stream_range range;
    struct stream_item item;
    reply_bulk_text(call->reply, name);
    stream_range_begin(&range, entry, CMD_STREAM_ID_MIN, CMD_STREAM_ID_MAX, reverse);
    int got = stream_range_next(&range, &item);
    if (got < 0) return got;
    if (got == 1) return cmd_stream__reply_item(call, &range, &item);
    reply_null(call->reply);
    return 0;
}

static int reply_short(struct call *call, struct entry *entry) {
    const struct stream_id first = CMD_STREAM_ID_MIN, last = CMD_STREAM_ID_MAX;
    int error = stream_touch_range(entry, first, last, 0, 1);
    int other = stream_touch_range(entry, first, last, 1, 1);
    if (error == 0 || error == FIRN_EFAULT) error = other != 0 ? other : error;
    if (error == 0) error = stream_know_first(entry);
    if (error != 0) return error;
    reply_map(call->reply, 10);
    put_head(call, entry);
    put_integer(call, "groups", stream_of(entry)->group_count);
    error = put_end(call, "first-entry", entry, 0);
    return error == 0 ? put_end(call, "last-entry", entry, 1) : error;
}

static void put_read_and_lag(struct call *call, const struct entry *entry, const struct stream_group *group) {
    int64_t lag;
    reply_bulk_text(call->reply, "entries-read");
    if (group->entries_read != STREAM_READS_UNKNOWN)
        reply_integer(call->reply, group->entries_read);
    else
        reply_null(call->reply);
    reply_bulk_text(call->reply, "lag");
    if (stream_group_lag(stream_of(entry), entry->size, group, &lag) == 0)
        reply_integer(call->reply, lag);
    else
        reply_null(call->reply);
}

/* Up to ${count} records (0: all) of a group's pending list or of a consumer's. */
static void put_pending(struct call *call, const struct stream_group *group,
                        const struct stream_consumer *consumer, uint64_t count) {
    const struct id_list *list = consumer != NULL ? &consumer->pending : &group->pending;
    uint64_t left = count == 0 || count > list->records ? list->records : count;
    reply_bulk_text(call->reply, "pending");
    reply_array(call->reply, left);
    for (struct id_list_place at = {0, 0}; left > 0; left--, at = id_list_next(list, at)) {
        const struct stream_id *id = id_list_at(list, at);
        const struct stream_pending *pending = stream_pending_find(group, *id);
        reply_array(call->reply, consumer != NULL ? 3 : 4);
        cmd_stream__reply_id(call, *id);
        if (consumer == NULL) reply_bulk(call->reply, stream_consumer_name(group->slots[pending->consumer]));
        reply_integer(call->reply, pending->delivered_ms);
        reply_integer(call->reply, pending->deliveries);
    }
}

static void put_full_group(struct call *call, const struct entry *entry, const struct stream_group *group,
                           uint64_t count) {
    reply_map(call->reply, 7);
    reply_bulk_text(call->reply, "name");
    reply_bulk(call->reply, stream_group_name(group));
    put_id(call, "last-delivered-id", group->last_id);
    put_read_and_lag(call, entry, group);
    put_integer(call, "pel-count", (int64_t)group->pending.records);
    put_pending(call, group, NULL, count);
    reply_bulk_text(call->reply, "consumers");
    reply_array(call->reply, group->consumer_count);
    for (uint32_t i = 0; i < group->consumer_count; i++) {
        const struct stream_consumer *consumer = group->consumers[i];
        reply_map(call->reply, 5);
        reply_bulk_text(call->reply, "name");
        reply_bulk(call->reply, stream_consumer_name(consumer));
        put_integer(call, "seen-time", consumer->seen_ms);
        put_integer(call, "active-time", consumer->active_ms);
        put_integer(call, "pel-count", (int64_t)consumer->pending.records);
        put_pending(call, group, consumer, count);
    }
}

static int reply_full(struct call *call, struct entry *entry, uint64_t count) {
    const struct stream *stream = stream_of(entry);
    int error = stream_touch_range(entry, CMD_STREAM_ID_MIN, CMD_STREAM_ID_MAX, 0, count);
    if (error == 0) error = stream_know_first(entry);
    if (error != 0) return error;
    reply_map(call->reply, 9);
    put_head(call, entry);
    reply_bulk_text(call->reply, "entries");
    error = cmd_stream__reply_range(call, entry, CMD_STREAM_ID_MIN, CMD_STREAM_ID_MAX, 0, count);
    if (error != 0) return error;
    reply_bulk_text(call->reply, "groups");
    reply_array(call->reply, stream->group_count);
    for (uint32_t i = 0; i < stream->group_count; i++)
        put_full_group(call, entry, stream->groups[i], count);
    return 0;
}

int cmd_xinfo_stream(struct call *call) {
    struct entry *entry;
    int64_t count = FULL_COUNT_USUAL;
    CALL_TRY(find_stream(call, &entry));
    if (call->argc == 3) return reply_short(call, entry);
    int has_count = call->argc == 6 && call_option(call, 4, "count");
    if (!call_option(call, 3, "full") || (call->argc != 4 && !has_count))
        return call_unknown_subcommand(call);
    if (has_count) CALL_TRY(call_integer(call, call->argv[5], &count));
    return reply_full(call, entry, (uint64_t)(count < 0 ? FULL_COUNT_USUAL : count));
}

/* --- GROUPS, CONSUMERS --- */

int cmd_xinfo_groups(struct call *call) {
    struct entry *entry;
    CALL_TRY(find_stream(call, &entry));
    int error = stream_know_first(entry);
    if (error != 0) return error;
    const struct stream *stream = stream_of(entry);
    reply_array(call->reply, stream->group_count);
    for (uint32_t i = 0; i < stream->group_count; i++) {
        const struct stream_group *group = stream->groups[i];
        reply_map(call->reply, 6);
        reply_bulk_text(call->reply, "name");
        reply_bulk(call->reply, stream_group_name(group));
        put_integer(call, "consumers", group->consumer_count);
        put_integer(call, "pending", (int64_t)group->pending.records);
        put_id(call, "last-delivered-id", group->last_id);
        put_read_and_lag(call, entry, group);
    }
    return 0;
}

int cmd_xinfo_consumers(struct call *call) {
    struct entry *entry;
    CALL_TRY(find_stream(call, &entry));
    const struct stream_group *group = stream_group_find(stream_of(entry), call->argv[3]);
    if (group == NULL) {
        reply_error_format(call->reply, "-NOGROUP No such consumer group '%.*s' for key name '%.*s'",
                           (int)call->argv[3].size, (const char *)call->argv[3].data, (int)call->argv[2].size,
                           (const char *)call->argv[2].data);
        return 0;
    }
    int64_t now_ms = clock_cached_ms();
    reply_array(call->reply, group->consumer_count);
    for (uint32_t i = 0; i < group->consumer_count; i++) {
        const struct stream_consumer *consumer = group->consumers[i];
        int64_t idle_ms = now_ms - consumer->seen_ms, inactive_ms = now_ms - consumer->active_ms;
        reply_map(call->reply, 4);
        reply_bulk_text(call->reply, "name");
        reply_bulk(call->reply, stream_consumer_name(consumer));
        put_integer(call, "pending", (int64_t)consumer->pending.records);
        put_integer(call, "idle", idle_ms < 0 ? 0 : idle_ms);
        put_integer(call, "inactive", consumer->active_ms == -1 ? -1 : inactive_ms < 0 ? 0 : inactive_ms);
    }
    return 0;
}

int cmd_xinfo_help(struct call *call) {
    static const char *const lines[] = {
        "CONSUMERS <key> <groupname>",
        "    Show the consumers of a group.",
        "GROUPS <key>",
        "    Show the consumer groups of a stream.",
        "STREAM <key> [FULL [COUNT <count>]]",
        "    Show what is known of a stream; FULL: with entries, groups, consumers and pending entries.",
        NULL,
    };
    return call_help(call, lines);
}
