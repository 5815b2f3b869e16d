/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * XREAD and XREADGROUP. A run has four steps: the options; what each stream has to give, by looking at its
 * index and, for the history of a consumer, at its pending list; asking for all pages at once; the replies
 * with their changes. Nothing before the last step changes anything but making a consumer, which may be done
 * twice.
 *
 * What "$" and "+" meant is settled when the command comes first: it is noted for the runs after a wait.
 * Executor only.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/cmd_stream_internal.h"
#include "cmd/command.h"
#include "net/client.h"

#define SOURCES_INLINE 8u /* more streams than this in one command take memory */

/* One stream of the command. */
struct source {
    struct bytes key;
    struct entry *entry; /* NULL: no such key */
    struct stream_group *group;
    struct stream_consumer *consumer;
    struct stream_id after; /* what comes after this one is asked for */
    int is_history;         /* of the consumer's pending entries */
    int serves;             /* has something for the reply */
};

struct read_options {
    int by_group, no_ack;
    int64_t timeout_ms; /* -1: no BLOCK */
    uint64_t count;     /* 0: all */
    struct bytes group, consumer;
    size_t first, streams; /* of the arguments: keys from here on, then as many IDs */
};

/* --- options --- */

static int refuse(struct call *call, const char *text) {
    reply_error(call->reply, text);
    return FIRN_EINVALID;
}

static int parse_block(struct call *call, struct bytes argument, int64_t *timeout_ms_out) {
    int error = call_integer_or(call, argument, "timeout is not an integer or out of range", timeout_ms_out);
    if (error != 0) return error;
    if (*timeout_ms_out < 0) return refuse(call, "timeout is negative");
    return *timeout_ms_out > INT64_MAX - clock_cached_ms() ? refuse(call, "timeout is out of range") : 0;
}

static int parse_streams(struct call *call, size_t first, struct read_options *options) {
    size_t rest = call->argc - first;
    if (rest % 2 != 0) {
        reply_error_format(
            call->reply,
            "Unbalanced '%s' list of streams: for each stream key an ID or '%c' must be specified.",
            call->command->name, options->by_group ? '>' : '$');
        return FIRN_EINVALID;
    }
    options->first = first;
    options->streams = rest / 2;
    return 0;
}

static int parse_options(struct call *call, int by_group, struct read_options *options) {
    *options = (struct read_options){.by_group = by_group, .timeout_ms = -1};
    int has_group = 0;
    for (size_t i = 1; i < call->argc && options->first == 0; i++) {
        size_t more = call->argc - i - 1;
        int error = 0;
        if (call_option(call, i, "block") && more > 0) {
            error = parse_block(call, call->argv[++i], &options->timeout_ms);
        } else if (call_option(call, i, "count") && more > 0) {
            int64_t count;
            error = call_integer(call, call->argv[++i], &count);
            options->count = error == 0 && count > 0 ? (uint64_t)count : 0;
        } else if (call_option(call, i, "streams") && more > 0) {
            error = parse_streams(call, i + 1, options);
        } else if (call_option(call, i, "group") && more >= 2) {
            if (!by_group)
                return refuse(call,
                              "The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
            options->group = call->argv[++i];
            options->consumer = call->argv[++i];
            has_group = 1;
        } else if (call_option(call, i, "noack")) {
            if (!by_group)
                return refuse(call,
                              "The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
            options->no_ack = 1;
        } else {
            error = call_syntax_error(call);
        }
        if (error != 0) return error;
    }
    if (options->first == 0) return call_syntax_error(call);
    if (by_group && !has_group) return refuse(call, "Missing GROUP option for XREADGROUP");
    return 0;
}

/* --- what is asked for --- */

static int is_word(struct bytes text, char word) {
    return text.size == 1 && text.data[0] == (uint8_t)word;
}

/* The ID of ${source} from argument ${text}. */
static int parse_after(struct call *call, struct bytes text, int by_group, struct source *source) {
    static const struct stream_id none = {0, 0};
    if (is_word(text, '$') || is_word(text, '+')) {
        if (by_group) {
            reply_error_format(
                call->reply,
                "The %c ID is meaningless in the context of XREADGROUP: you want to read the history of "
                "this consumer by specifying a proper ID, or use the > ID to get new messages. The %c "
                "ID would just return an empty result set.",
                text.data[0], text.data[0]);
            return FIRN_EINVALID;
        }
        source->after = source->entry != NULL ? stream_of(source->entry)->last_id : none;
        if (is_word(text, '$') || source->entry == NULL || source->entry->size == 0) return 0;
        int error = cmd_stream__top(source->entry, &source->after); /* the last entry there is */
        if (error == 0) stream_id_previous(&source->after);
        return error;
    }
    if (is_word(text, '>')) {
        if (!by_group)
            return refuse(call,
                          "The > ID can be specified only when calling XREADGROUP using the GROUP <group> "
                          "<consumer> option.");
        source->after = CMD_STREAM_ID_MAX;
        return 0;
    }
    return cmd_stream__id(call, text, 0, &source->after);
}

/* Keys, groups and IDs of all sources. ${noted}: the IDs of an earlier run, empty if this is the first one.
 */
static int find_sources(struct call *call, const struct read_options *options, struct bytes noted,
                        struct source *sources) {
    for (size_t i = 0; i < options->streams; i++) {
        struct source *source = &sources[i];
        *source = (struct source){.key = call->argv[options->first + i]};
        int error = call_find_read_type(call, source->key, TYPE_STREAM, &source->entry);
        if (error != 0) return error;
        if (options->by_group) {
            if (source->entry != NULL)
                source->group = stream_group_find(stream_of(source->entry), options->group);
            if (source->group == NULL) {
                cmd_stream__reply_no_group(call, source->key, options->group,
                                           " in XREADGROUP with GROUP option");
                return FIRN_EINVALID;
            }
        }
        if (noted.size > 0) {
            memcpy(&source->after, noted.data + i * sizeof source->after, sizeof source->after);
            continue;
        }
        error =
            parse_after(call, call->argv[options->first + options->streams + i], options->by_group, source);
        if (error != 0) return error;
    }
    return 0;
}

/* Whether the stream has an entry above ${id}; reads its end where that is not known without. 1, 0 or an
 * error. */
static int has_above(struct entry *entry, struct stream_id id) {
    const struct stream *stream = stream_of(entry);
    struct stream_id top = stream->last_id;
    if (entry->size == 0 || stream_id_compare(top, id) <= 0) return 0;
    int error = stream->last_there ? 0 : cmd_stream__top(entry, &top);
    return error != 0 ? error : stream_id_compare(top, id) > 0;
}

/* Which sources have something to give. */
static int decide(struct call *call, const struct read_options *options, struct source *sources) {
    int result = 0;
    for (size_t i = 0; i < options->streams; i++) {
        struct source *source = &sources[i];
        if (source->entry == NULL) continue;
        if (options->by_group) {
            static const struct stream_id new_ones = {UINT64_MAX, UINT64_MAX};
            int is_new;
            source->is_history = stream_id_compare(source->after, new_ones) != 0;
            source->entry = db_changing(call->db, source->entry);
            is_new = stream_consumer_find(source->group, options->consumer) == NULL;
            source->consumer = cmd_stream__consumer(call, source->key, source->group, options->consumer);
            /* one that waited has made it in an earlier run; without NOACK the claims make it */
            if (options->no_ack && (is_new || (call->client->flags & CLIENT_BLOCKED)))
                cmd_stream__propagate_consumer(call, source->key, source->group, options->consumer);
            source->consumer->seen_ms = clock_cached_ms();
            if (!source->is_history) source->after = source->group->last_id;
        }
        int has = source->is_history ? 1 : has_above(source->entry, source->after);
        if (has < 0 && (result == 0 || has != FIRN_EFAULT)) result = has;
        source->serves = has > 0;
    }
    return result;
}

/* --- pages --- */

static int touch_history(const struct source *source, uint64_t count) {
    const struct id_list *pending = &source->consumer->pending;
    struct stream_id from = source->after;
    if (!stream_id_next(&from)) return 0;
    struct id_list_place at = id_list_seek(pending, from.ms, from.seq);
    const struct stream_id *id;
    int result = 0;
    for (uint64_t n = 0; (count == 0 || n < count) && (id = id_list_at(pending, at)) != NULL; n++) {
        int error = stream_touch(source->entry, *id);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        at = id_list_next(pending, at);
    }
    return result;
}

static int touch(const struct source *source, uint64_t count) {
    if (source->is_history) return touch_history(source, count);
    struct stream_id from = source->after;
    stream_id_next(&from);
    if (source->group != NULL) { /* counters need the first ID, which is known but in rare cases */
        int error = stream_know_first(source->entry);
        if (error != 0) return error;
    }
    return stream_touch_range(source->entry, from, CMD_STREAM_ID_MAX, 0, count);
}

static int touch_all(const struct read_options *options, const struct source *sources) {
    int result = 0;
    for (size_t i = 0; i < options->streams; i++) {
        int error = sources[i].serves ? touch(&sources[i], options->count) : 0;
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

/* --- replies --- */

/* Entries that are pending for the consumer, as they are now; those deleted meanwhile without fields. */
static int reply_history(struct call *call, const struct source *source, uint64_t count) {
    struct id_list_place at;
    const struct stream_id *pending;
    struct stream_id from = source->after;
    struct reply_later later = reply_later_open(call->reply, '*');
    uint64_t sent = 0;
    int any = stream_id_next(&from);
    at = id_list_seek(&source->consumer->pending, from.ms, from.seq);
    while (any && (count == 0 || sent < count) &&
           (pending = id_list_at(&source->consumer->pending, at)) != NULL) {
        int is_there;
        struct stream_id id = *pending;
        int error = cmd_stream__reply_one(call, source->entry, id, &is_there);
        if (error != 0) return error;
        if (is_there) {
            struct stream_pending *record = stream_pending_find(source->group, id);
            FIRN_ASSERT(record != NULL);
            record->delivered_ms = clock_cached_ms();
            if (record->deliveries < UINT32_MAX) record->deliveries++;
        } else {
            reply_array(call->reply, 2);
            cmd_stream__reply_id(call, id);
            reply_null_array(call->reply);
        }
        sent++;
        at = id_list_next(&source->consumer->pending, at);
    }
    reply_later_close(call->reply, later, sent);
    return 0; /* that something was delivered again is not worth saving: no change is counted */
}

void cmd_stream__deliver(struct call *call, struct entry *entry, struct stream_group *group,
                         struct stream_consumer *consumer, const struct cmd_stream__delivery *delivery,
                         struct stream_id id) {
    stream_group_deliver(stream_of(entry), entry->size, group, id);
    if (delivery->no_ack) return;
    struct stream_pending *pending = stream_pending_give(group, id, consumer);
    pending->delivered_ms = consumer->active_ms = clock_cached_ms();
    pending->deliveries = 1;
    cmd_stream__propagate_claim(call, delivery->key, group, pending);
}

/* New entries for the group: each is delivered as it is written. */
static int reply_new(struct call *call, const struct source *source, uint64_t count, int no_ack) {
    struct cmd_stream__delivery delivery = {.key = source->key, .no_ack = no_ack};
    struct stream_range range;
    struct stream_item item;
    struct stream_id from = source->after;
    uint64_t sent = 0;
    int got = 0;
    stream_id_next(&from);
    struct reply_later later = reply_later_open(call->reply, '*');
    stream_range_begin(&range, source->entry, from, CMD_STREAM_ID_MAX, 0);
    while ((count == 0 || sent < count) && (got = stream_range_next(&range, &item)) == 1) {
        int error = cmd_stream__reply_item(call, &range, &item);
        if (error != 0) return error;
        if (sent++ == 0) call_must_finish(call);
        cmd_stream__deliver(call, source->entry, source->group, source->consumer, &delivery, item.id);
    }
    if (got < 0) return got;
    reply_later_close(call->reply, later, sent);
    cmd_stream__group_changed(call);
    if (no_ack) cmd_stream__propagate_group(call, source->key, source->group);
    return 0;
}

static int reply_source(struct call *call, const struct read_options *options, const struct source *source) {
    if (call->reply->version == 2) reply_array(call->reply, 2);
    reply_bulk(call->reply, source->key);
    if (source->is_history) return reply_history(call, source, options->count);
    if (source->group != NULL) return reply_new(call, source, options->count, options->no_ack);
    struct stream_id from = source->after;
    stream_id_next(&from);
    return cmd_stream__reply_range(call, source->entry, from, CMD_STREAM_ID_MAX, 0, options->count);
}

static int reply_sources(struct call *call, const struct read_options *options, struct source *sources) {
    struct reply_later later = reply_later_open(call->reply, call->reply->version == 2 ? '*' : '%');
    size_t serving = 0;
    for (size_t i = 0; i < options->streams; i++) {
        struct source *source = &sources[i];
        if (!source->serves) continue;
        if (source->group != NULL && !source->is_history) { /* a stream may be named twice */
            source->after = source->group->last_id;
            int has = has_above(source->entry, source->after);
            if (has < 0) return has;
            if (has == 0) continue;
        }
        int error = reply_source(call, options, source);
        if (error != 0) return error;
        serving++;
    }
    reply_later_close(call->reply, later, serving);
    return 0;
}

/* --- blocking --- */

static int block(struct call *call, const struct read_options *options, const struct source *sources) {
    int type = options->by_group ? CALL_BLOCK_ANY : TYPE_STREAM; /* the group may go */
    int result = call_block(call, type, call->argv + options->first, options->streams, options->timeout_ms);
    if (result != FIRN_EPARKED || options->by_group) return result;
    struct stream_id *ids = memory_alloc(options->streams * sizeof *ids);
    for (size_t i = 0; i < options->streams; i++)
        ids[i] = sources[i].after;
    call_block_note(call, bytes_of(ids, options->streams * sizeof *ids));
    memory_free(ids);
    return result;
}

/* XREAD of long stretches (cmd_stream__in_turns). */
static int read_in_turns(struct call *call, const struct read_options *options,
                         const struct source *sources) {
    struct cmd_stream__span few[SOURCES_INLINE], *spans = few;
    size_t count = 0;
    if (options->streams > SOURCES_INLINE) spans = memory_alloc(options->streams * sizeof *spans);
    for (size_t i = 0; i < options->streams; i++) {
        const struct source *source = &sources[i];
        if (!source->serves) continue;
        spans[count] = (struct cmd_stream__span){.entry = source->entry,
                                                 .key = source->key,
                                                 .first = source->after,
                                                 .last = CMD_STREAM_ID_MAX,
                                                 .most = options->count};
        stream_id_next(&spans[count++].first);
    }
    int result = cmd_stream__in_turns(call, spans, count, 1);
    if (spans != few) memory_free(spans);
    return result;
}

/* XREADGROUP of one long stretch (cmd_stream__deliver_in_turns). */
static int deliver_in_turns(struct call *call, const struct read_options *options,
                            const struct source *sources) {
    const struct source *serving = NULL;
    for (size_t i = 0; i < options->streams; i++) {
        if (!sources[i].serves) continue;
        if (serving != NULL || sources[i].is_history) return 0;
        serving = &sources[i];
    }
    FIRN_ASSERT(serving != NULL);
    struct cmd_stream__delivery delivery = {.key = serving->key,
                                            .group = options->group,
                                            .consumer = options->consumer,
                                            .first = serving->after,
                                            .count = options->count,
                                            .no_ack = options->no_ack};
    stream_id_next(&delivery.first);
    return cmd_stream__deliver_in_turns(call, serving->entry, &delivery);
}

static int read_with(struct call *call, const struct read_options *options, struct source *sources) {
    CALL_TRY(find_sources(call, options, call_block_noted(call), sources));
    CALL_TRY(decide(call, options, sources));
    int serves = 0;
    for (size_t i = 0; i < options->streams; i++)
        serves |= sources[i].serves;
    if (serves) {
        int error = options->by_group ? deliver_in_turns(call, options, sources)
                                      : read_in_turns(call, options, sources);
        if (error == 0) error = touch_all(options, sources);
        return error != 0 ? error : reply_sources(call, options, sources);
    }
    int result = options->timeout_ms >= 0 ? block(call, options, sources) : 0;
    if (result != 0) return result;
    reply_null_array(call->reply);
    return 0;
}

static int read_command(struct call *call, int by_group) {
    struct read_options options;
    struct source few[SOURCES_INLINE], *sources = few;
    CALL_TRY(parse_options(call, by_group, &options));
    if (options.streams > SOURCES_INLINE) sources = memory_alloc(options.streams * sizeof *sources);
    int result = read_with(call, &options, sources);
    if (sources != few) memory_free(sources);
    return result;
}

int cmd_xread(struct call *call) {
    return read_command(call, 0);
}

int cmd_xreadgroup(struct call *call) {
    return read_command(call, 1);
}
