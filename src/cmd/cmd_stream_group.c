/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Consumer groups: XGROUP, XACK, XPENDING. Claiming is in cmd_stream_claim.c, reading in cmd_stream_read.c.
 * Executor only.
 */
#include "base/clock.h"
#include "cmd/cmd_stream_internal.h"
#include "cmd/command.h"

static int refuse(struct call *call, const char *text) {
    reply_error(call->reply, text);
    return FIRN_EINVALID;
}

/* --- shared --- */

void cmd_stream__group_changed(struct call *call) {
    (void)call;
    db_stats.changes++;
}

struct stream_consumer *cmd_stream__consumer(struct call *call, struct bytes key, struct stream_group *group,
                                             struct bytes name) {
    struct stream_consumer *consumer = stream_consumer_find(group, name);
    if (consumer != NULL) return consumer;
    consumer = stream_consumer_create(group, name, clock_cached_ms());
    cmd_stream__group_changed(call);
    call_notify(call, NOTIFY_STREAM, "xgroup-createconsumer", key);
    return consumer;
}

void cmd_stream__propagate_claim(struct call *call, struct bytes key, const struct stream_group *group,
                                 const struct stream_pending *pending) {
    char id[CMD_STREAM_ID_TEXT_MAX], last[CMD_STREAM_ID_TEXT_MAX];
    char time[NUMBER_INT_TEXT_MAX], deliveries[NUMBER_INT_TEXT_MAX];
    if (call_propagated == NULL) return;
    struct bytes argv[] = {
        bytes_of_text("XCLAIM"),
        key,
        stream_group_name(group),
        stream_consumer_name(group->slots[pending->consumer]),
        bytes_of_text("0"),
        bytes_of(id, cmd_stream__format_id(pending->id, id)),
        bytes_of_text("TIME"),
        bytes_of(time, number_format_int(pending->delivered_ms, time)),
        bytes_of_text("RETRYCOUNT"),
        bytes_of(deliveries, number_format_uint(pending->deliveries, deliveries)),
        bytes_of_text("FORCE"),
        bytes_of_text("JUSTID"),
        bytes_of_text("LASTID"),
        bytes_of(last, cmd_stream__format_id(group->last_id, last)),
    };
    call_propagate(call, sizeof argv / sizeof *argv, argv);
}

void cmd_stream__propagate_group(struct call *call, struct bytes key, const struct stream_group *group) {
    char last[CMD_STREAM_ID_TEXT_MAX], read[NUMBER_INT_TEXT_MAX];
    struct bytes argv[] = {
        bytes_of_text("XGROUP"),
        bytes_of_text("SETID"),
        key,
        stream_group_name(group),
        bytes_of(last, cmd_stream__format_id(group->last_id, last)),
        bytes_of_text("ENTRIESREAD"),
        bytes_of(read, number_format_int(group->entries_read, read)),
    };
    call_propagate(call, sizeof argv / sizeof *argv, argv);
}

void cmd_stream__propagate_consumer(struct call *call, struct bytes key, const struct stream_group *group,
                                    struct bytes consumer) {
    struct bytes argv[] = {bytes_of_text("XGROUP"), bytes_of_text("CREATECONSUMER"), key,
                           stream_group_name(group), consumer};
    call_propagate(call, sizeof argv / sizeof *argv, argv);
}

/* --- XGROUP --- */

struct group_options {
    int make_stream;
    int64_t entries_read;
};

/* Options from argv[5] on. */
static int parse_group_options(struct call *call, int may_make, struct group_options *options) {
    *options = (struct group_options){.entries_read = STREAM_READS_UNKNOWN};
    for (size_t i = 5; i < call->argc; i++) {
        if (may_make && call_option(call, i, "mkstream")) {
            options->make_stream = 1;
        } else if (call_option(call, i, "entriesread") && i + 1 < call->argc) {
            int error = call_integer(call, call->argv[++i], &options->entries_read);
            if (error != 0) return error;
            if (options->entries_read < 0 && options->entries_read != STREAM_READS_UNKNOWN)
                return refuse(call, "value for ENTRIESREAD must be positive or -1");
        } else {
            call_unknown_subcommand(call);
            return FIRN_EINVALID;
        }
    }
    return 0;
}

/* The stream of argv[2], which must be there. */
static int find_stream(struct call *call, struct entry **entry_out) {
    int error = call_find_write_type(call, call->argv[2], TYPE_STREAM, entry_out);
    if (error != 0 || *entry_out != NULL) return error;
    return refuse(call,
                  "The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use "
                  "the MKSTREAM option to create an empty stream automatically.");
}

static void reply_no_such_group(struct call *call, struct bytes key, struct bytes group) {
    reply_error_format(call->reply, "-NOGROUP No such consumer group '%.*s' for key name '%.*s'",
                       (int)group.size, (const char *)group.data, (int)key.size, (const char *)key.data);
}

/* The stream of argv[2] and its group argv[3], which must be there. */
static int find_group(struct call *call, struct entry **entry_out, struct stream_group **group_out) {
    int error = find_stream(call, entry_out);
    if (error != 0) return error;
    *group_out = stream_group_find(stream_of(*entry_out), call->argv[3]);
    if (*group_out == NULL) {
        reply_no_such_group(call, call->argv[2], call->argv[3]);
        return FIRN_EINVALID;
    }
    *entry_out = db_changing(call->db, *entry_out);
    return 0;
}

int cmd_xgroup_create(struct call *call) {
    struct group_options options;
    struct entry *entry;
    struct bytes key = call->argv[2];
    struct stream_id id = {0, 0};
    CALL_TRY(parse_group_options(call, 1, &options));
    if (options.make_stream)
        CALL_TRY(call_find_write_type(call, key, TYPE_STREAM, &entry));
    else
        CALL_TRY(find_stream(call, &entry));
    if (call_option(call, 4, "$")) {
        if (entry != NULL) id = stream_of(entry)->last_id;
    } else {
        CALL_TRY(cmd_stream__id(call, call->argv[4], 0, &id));
    }
    if (entry == NULL) {
        entry = stream_create(key);
        db_insert(call->db, entry);
    }
    entry = db_changing(call->db, entry);
    if (stream_group_create(stream_of(entry), call->argv[3], id, options.entries_read) == NULL)
        CALL_TRY(refuse(call, "-BUSYGROUP Consumer Group name already exists"));
    reply_ok(call->reply);
    call_changed(call, key);
    call_notify(call, NOTIFY_STREAM, "xgroup-create", key);
    return 0;
}

int cmd_xgroup_setid(struct call *call) {
    struct group_options options;
    struct entry *entry;
    struct stream_group *group;
    struct stream_id id;
    CALL_TRY(parse_group_options(call, 0, &options));
    CALL_TRY(find_group(call, &entry, &group));
    if (call_option(call, 4, "$"))
        id = stream_of(entry)->last_id;
    else
        CALL_TRY(cmd_stream__id_or_end(call, call->argv[4], 0, &id));
    group->last_id = id;
    group->entries_read = options.entries_read;
    reply_ok(call->reply);
    call_changed(call, call->argv[2]);
    call_notify(call, NOTIFY_STREAM, "xgroup-setid", call->argv[2]);
    return 0;
}

int cmd_xgroup_destroy(struct call *call) {
    struct entry *entry;
    CALL_TRY(find_stream(call, &entry));
    struct stream_group *group = stream_group_find(stream_of(entry), call->argv[3]);
    if (group != NULL) {
        entry = db_changing(call->db, entry);
        stream_group_destroy(stream_of(entry), group);
        call_changed(call, call->argv[2]); /* wakes those that read with it */
        call_notify(call, NOTIFY_STREAM, "xgroup-destroy", call->argv[2]);
    }
    reply_integer(call->reply, group != NULL);
    return 0;
}

int cmd_xgroup_createconsumer(struct call *call) {
    struct entry *entry;
    struct stream_group *group;
    CALL_TRY(find_group(call, &entry, &group));
    int is_new = stream_consumer_find(group, call->argv[4]) == NULL;
    cmd_stream__consumer(call, call->argv[2], group, call->argv[4]);
    call->changes += (uint64_t)is_new; /* to be propagated */
    reply_integer(call->reply, is_new);
    return 0;
}

int cmd_xgroup_delconsumer(struct call *call) {
    struct entry *entry;
    struct stream_group *group;
    int64_t pending = 0;
    CALL_TRY(find_group(call, &entry, &group));
    struct stream_consumer *consumer = stream_consumer_find(group, call->argv[4]);
    if (consumer != NULL) {
        pending = (int64_t)consumer->pending.records;
        stream_consumer_destroy(group, consumer);
        call_changed(call, call->argv[2]);
        call_notify(call, NOTIFY_STREAM, "xgroup-delconsumer", call->argv[2]);
    }
    reply_integer(call->reply, pending);
    return 0;
}

int cmd_xgroup_help(struct call *call) {
    static const char *const lines[] = {
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a consumer group that begins after an ID. Options are:",
        "    * MKSTREAM",
        "      Create the stream if it is not there.",
        "    * ENTRIESREAD entries_read",
        "      Say how many entries the group has read (to know its lag).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a consumer of the group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove a consumer and what is pending for it.",
        "DESTROY <key> <groupname>",
        "    Remove a group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Say after which ID the group goes on.",
        NULL,
    };
    return call_help(call, lines);
}

/* --- XACK --- */

int cmd_xack(struct call *call) {
    struct entry *entry;
    struct stream_id id;
    int64_t removed = 0;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STREAM, &entry));
    struct stream_group *group = entry != NULL ? stream_group_find(stream_of(entry), call->argv[2]) : NULL;
    if (group == NULL) {
        reply_integer(call->reply, 0);
        return 0;
    }
    for (size_t i = 3; i < call->argc; i++)
        CALL_TRY(cmd_stream__id(call, call->argv[i], 0, &id));
    entry = db_changing(call->db, entry);
    for (size_t i = 3; i < call->argc; i++) {
        int error = cmd_stream__parse_id(call->argv[i], 0, &id);
        if (error != 0 || !stream_pending_remove(group, id)) continue;
        removed++;
        cmd_stream__group_changed(call);
    }
    call->changes += (uint64_t)removed; /* to be propagated */
    reply_integer(call->reply, removed);
    return 0;
}

/* --- XPENDING --- */

static void reply_summary(struct call *call, const struct stream_group *group) {
    const struct stream_pending *first = id_list_at(&group->pending, (struct id_list_place){0, 0});
    reply_array(call->reply, 4);
    reply_integer(call->reply, (int64_t)group->pending.records);
    if (first == NULL) {
        reply_null(call->reply);
        reply_null(call->reply);
        reply_null_array(call->reply);
        return;
    }
    cmd_stream__reply_id(call, first->id);
    cmd_stream__reply_id(call, ((const struct stream_pending *)id_list_last(&group->pending))->id);
    struct reply_later later = reply_later_open(call->reply, '*');
    size_t count = 0;
    for (uint32_t i = 0; i < group->consumer_count; i++) {
        const struct stream_consumer *consumer = group->consumers[i];
        if (consumer->pending.records == 0) continue;
        reply_array(call->reply, 2);
        reply_bulk(call->reply, stream_consumer_name(consumer));
        reply_bulk_integer(call->reply, (int64_t)consumer->pending.records);
        count++;
    }
    reply_later_close(call->reply, later, count);
}

struct pending_options {
    struct stream_id first, last;
    int64_t idle_ms, count;
    const struct bytes *consumer; /* NULL: all */
};

static int parse_pending_options(struct call *call, struct pending_options *options) {
    size_t start = 3;
    *options = (struct pending_options){.idle_ms = 0};
    if (call->argc < 6 || call->argc > 9) return call_syntax_error(call);
    if (call_option(call, 3, "idle")) {
        int error = call_integer(call, call->argv[4], &options->idle_ms);
        if (error != 0) return error;
        if (call->argc < 8) return call_syntax_error(call);
        start = 5;
    }
    int error = call_integer(call, call->argv[start + 2], &options->count);
    if (error == 0) error = cmd_stream__first(call, call->argv[start], &options->first);
    if (error == 0) error = cmd_stream__last(call, call->argv[start + 1], &options->last);
    if (start + 3 < call->argc) options->consumer = &call->argv[start + 3];
    return error;
}

static void reply_pending(struct call *call, const struct stream_group *group,
                          const struct pending_options *options) {
    const struct id_list *list = &group->pending;
    if (options->consumer != NULL) {
        const struct stream_consumer *consumer = stream_consumer_find(group, *options->consumer);
        if (consumer == NULL) {
            reply_array(call->reply, 0);
            return;
        }
        list = &consumer->pending;
    }
    struct reply_later later = reply_later_open(call->reply, '*');
    int64_t sent = 0, now_ms = clock_cached_ms();
    struct id_list_place at = id_list_seek(list, options->first.ms, options->first.seq);
    const struct stream_id *id;
    for (; sent < options->count && (id = id_list_at(list, at)) != NULL; at = id_list_next(list, at)) {
        if (stream_id_compare(*id, options->last) > 0) break;
        const struct stream_pending *pending = options->consumer != NULL
                                                   ? stream_pending_find(group, *id)
                                                   : (const struct stream_pending *)(const void *)id;
        int64_t idle_ms = now_ms - pending->delivered_ms;
        if (options->idle_ms != 0 && idle_ms < options->idle_ms) continue;
        reply_array(call->reply, 4);
        cmd_stream__reply_id(call, *id);
        reply_bulk(call->reply, stream_consumer_name(group->slots[pending->consumer]));
        reply_integer(call->reply, idle_ms < 0 ? 0 : idle_ms);
        reply_integer(call->reply, pending->deliveries);
        sent++;
    }
    reply_later_close(call->reply, later, (size_t)sent);
}

int cmd_xpending(struct call *call) {
    struct pending_options options;
    struct entry *entry;
    if (call->argc != 3) CALL_TRY(parse_pending_options(call, &options));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STREAM, &entry));
    const struct stream_group *group =
        entry != NULL ? stream_group_find(stream_of(entry), call->argv[2]) : NULL;
    if (group == NULL)
        cmd_stream__reply_no_group(call, call->argv[1], call->argv[2], "");
    else if (call->argc == 3)
        reply_summary(call, group);
    else
        reply_pending(call, group, &options);
    return 0;
}
