/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams: XADD, XLEN, XRANGE, XREVRANGE, XDEL, XTRIM, XSETID, and what all stream commands share: IDs and
 * replies. Executor only.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/cmd_stream_internal.h"
#include "cmd/command.h"
#include "page/fault.h"

#define ID_ARGUMENT_MAX  127u /* characters of an ID that are looked at */
#define TRIM_LIMIT_NODES 100  /* nodes that an approximate trim goes through if not told otherwise */
#define TRIM_LIMIT_USUAL 10000
#define TRIM_LIMIT_MAX   1000000

/* --- IDs --- */

/* As Redis: an integer in its one form, else whatever strtoull takes. */
static int parse_uint(const char *text, uint64_t *value_out) {
    char *end;
    if (number_parse_uint(bytes_of_text(text), value_out) == 0) return 0;
    int64_t negative;
    if (*text == '\0' || number_parse_int(bytes_of_text(text), &negative) == 0) return FIRN_EINVALID;
    errno = 0;
    *value_out = strtoull(text, &end, 10);
    return errno != 0 || *end != '\0' ? FIRN_EINVALID : 0;
}

/* The common case, two plain numbers: whether it was one. */
static int parse_plain(struct bytes text, struct stream_id *id_out) {
    uint64_t parts[2] = {0, 0};
    size_t digits = 0, part = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit <= 9 && digits < 19) {
            parts[part] = parts[part] * 10 + digit;
            digits++;
        } else if (text.data[i] == '-' && part == 0 && digits > 0) {
            part = 1;
            digits = 0;
        } else {
            return 0;
        }
    }
    *id_out = (struct stream_id){parts[0], parts[1]};
    return part == 1 && digits > 0;
}

/* ${has_seq}: NULL if "-*" is not allowed. */
static int parse_id(struct bytes text, uint64_t seq, struct stream_id *id_out, int *has_seq) {
    char copy[ID_ARGUMENT_MAX + 1];
    if (has_seq != NULL) *has_seq = 1;
    if (parse_plain(text, id_out)) return 0;
    if (text.size > ID_ARGUMENT_MAX) return FIRN_EINVALID;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *dash = strchr(copy, '-');
    if (dash != NULL) *dash = '\0';
    int error = parse_uint(copy, &id_out->ms);
    id_out->seq = seq;
    if (error != 0 || dash == NULL) return error;
    if (has_seq != NULL && strcmp(dash + 1, "*") == 0) {
        *has_seq = 0;
        id_out->seq = 0;
        return 0;
    }
    return parse_uint(dash + 1, &id_out->seq);
}

static int reply_invalid_id(struct call *call) {
    reply_error(call->reply, "Invalid stream ID specified as stream command argument");
    return FIRN_EINVALID;
}

int cmd_stream__parse_id(struct bytes text, uint64_t seq, struct stream_id *id_out) {
    return parse_id(text, seq, id_out, NULL);
}

int cmd_stream__id(struct call *call, struct bytes text, uint64_t seq, struct stream_id *id_out) {
    return parse_id(text, seq, id_out, NULL) == 0 ? 0 : reply_invalid_id(call);
}

int cmd_stream__id_or_auto(struct call *call, struct bytes text, struct stream_id *id_out, int *has_seq_out) {
    return parse_id(text, 0, id_out, has_seq_out) == 0 ? 0 : reply_invalid_id(call);
}

int cmd_stream__id_or_end(struct call *call, struct bytes text, uint64_t seq, struct stream_id *id_out) {
    *id_out = CMD_STREAM_ID_MIN;
    if (bytes_is(text, "-")) return 0;
    *id_out = CMD_STREAM_ID_MAX;
    if (bytes_is(text, "+")) return 0;
    return cmd_stream__id(call, text, seq, id_out);
}

/* "(ID" as *exclusive_out 1. */
static int parse_bound(struct call *call, struct bytes text, uint64_t seq, struct stream_id *id_out,
                       int *exclusive_out) {
    *exclusive_out = text.size > 1 && text.data[0] == '(';
    if (*exclusive_out) return cmd_stream__id(call, bytes_of(text.data + 1, text.size - 1), seq, id_out);
    return cmd_stream__id_or_end(call, text, seq, id_out);
}

int cmd_stream__first(struct call *call, struct bytes text, struct stream_id *first_out) {
    int exclusive, error = parse_bound(call, text, 0, first_out, &exclusive);
    if (error != 0 || !exclusive || stream_id_next(first_out)) return error;
    reply_error(call->reply, "invalid start ID for the interval");
    return FIRN_EINVALID;
}

int cmd_stream__last(struct call *call, struct bytes text, struct stream_id *last_out) {
    int exclusive, error = parse_bound(call, text, UINT64_MAX, last_out, &exclusive);
    if (error != 0 || !exclusive || stream_id_previous(last_out)) return error;
    reply_error(call->reply, "invalid end ID for the interval");
    return FIRN_EINVALID;
}

unsigned cmd_stream__format_id(struct stream_id id, char text_out[CMD_STREAM_ID_TEXT_MAX]) {
    unsigned size = number_format_uint(id.ms, text_out);
    text_out[size++] = '-';
    return size + number_format_uint(id.seq, text_out + size);
}

/* --- replies --- */

void cmd_stream__reply_id(struct call *call, struct stream_id id) {
    char text[CMD_STREAM_ID_TEXT_MAX];
    reply_bulk(call->reply, bytes_of(text, cmd_stream__format_id(id, text)));
}

int cmd_stream__reply_item(struct call *call, struct stream_range *range, const struct stream_item *item) {
    reply_array(call->reply, 2);
    cmd_stream__reply_id(call, item->id);
    reply_array(call->reply, 2 * item->fields);
    for (uint64_t i = 0; i < item->fields; i++) {
        struct bytes field, value;
        int error = stream_range_pair(range, &field, &value);
        if (error != 0) return error;
        reply_bulk(call->reply, field);
        reply_bulk(call->reply, value);
    }
    return 0;
}

int cmd_stream__reply_range(struct call *call, struct entry *entry, struct stream_id first,
                            struct stream_id last, int reverse, uint64_t count) {
    struct stream_range range;
    struct stream_item item;
    uint64_t sent = 0;
    int got = 0;
    struct reply_later later = reply_later_open(call->reply, '*');
    stream_range_begin(&range, entry, first, last, reverse);
    while ((count == 0 || sent < count) && (got = stream_range_next(&range, &item)) == 1) {
        int error = cmd_stream__reply_item(call, &range, &item);
        if (error != 0) return error;
        sent++;
    }
    if (got < 0) return got;
    reply_later_close(call->reply, later, sent);
    return 0;
}

int cmd_stream__reply_one(struct call *call, struct entry *entry, struct stream_id id, int *sent_out) {
    struct stream_range range;
    struct stream_item item;
    stream_range_begin(&range, entry, id, id, 0);
    int got = stream_range_next(&range, &item);
    *sent_out = got == 1;
    return got == 1 ? cmd_stream__reply_item(call, &range, &item) : got;
}

void cmd_stream__reply_no_group(struct call *call, struct bytes key, struct bytes group, const char *more) {
    reply_error_format(call->reply, "-NOGROUP No such key '%.*s' or consumer group '%.*s'%s", (int)key.size,
                       (const char *)key.data, (int)group.size, (const char *)group.data, more);
}

int cmd_stream__top(struct entry *entry, struct stream_id *id_out) {
    struct stream_range range;
    struct stream_item item;
    *id_out = CMD_STREAM_ID_MIN;
    int error = stream_touch_range(entry, CMD_STREAM_ID_MIN, CMD_STREAM_ID_MAX, 1, 1);
    if (error != 0) return error;
    stream_range_begin(&range, entry, CMD_STREAM_ID_MIN, CMD_STREAM_ID_MAX, 1);
    int got = stream_range_next(&range, &item);
    if (got == 1) *id_out = item.id;
    return got < 0 ? got : 0;
}

/* --- XADD and XTRIM: options --- */

struct add_options {
    struct stream_trim trim;
    int no_make, has_id, has_seq;
    size_t id_place, threshold_place;
    struct stream_id id;
};

static int refuse(struct call *call, const char *text) {
    reply_error(call->reply, text);
    return FIRN_EINVALID;
}

/* MAXLEN or MINID, [= or ~] and the threshold, from argument ${*place_inout} on, which is left at the
 * threshold. */
static int parse_threshold(struct call *call, size_t *place_inout, struct add_options *options) {
    struct stream_trim *trim = &options->trim;
    size_t i = *place_inout;
    int by_length = call_option(call, i, "maxlen"), error;
    if (trim->by != STREAM_TRIM_NONE)
        return refuse(call, "syntax error, MAXLEN and MINID options at the same time are not compatible");
    trim->approximate = 0;
    if (call->argc - 1 - i >= 2) {
        trim->approximate = call_option(call, i + 1, "~");
        if (trim->approximate || call_option(call, i + 1, "=")) i++;
    }
    struct bytes threshold = call->argv[++i];
    *place_inout = options->threshold_place = i;
    if (!by_length) {
        error = cmd_stream__id(call, threshold, 0, &trim->id);
        if (error == 0) trim->by = STREAM_TRIM_ID;
        return error;
    }
    int64_t length;
    error = call_integer(call, threshold, &length);
    if (error != 0) return error;
    if (length < 0) return refuse(call, "The MAXLEN argument must be >= 0.");
    trim->length = (uint64_t)length;
    trim->by = STREAM_TRIM_LENGTH;
    return 0;
}

static uint64_t usual_limit(void) {
    uint64_t limit = type_limits.stream_node_max_entries;
    if (limit == 0) return TRIM_LIMIT_USUAL;
    return limit > TRIM_LIMIT_MAX / TRIM_LIMIT_NODES ? TRIM_LIMIT_MAX : limit * TRIM_LIMIT_NODES;
}

static int check_limit(struct call *call, int64_t limit, int is_given, int is_add,
                       struct add_options *options) {
    if (limit != 0 && options->trim.by == STREAM_TRIM_NONE)
        return refuse(call, "syntax error, LIMIT cannot be used without specifying a trimming strategy");
    if (!is_add && options->trim.by == STREAM_TRIM_NONE)
        return refuse(call, "syntax error, XTRIM must be called with a trimming strategy");
    if (is_given && !options->trim.approximate)
        return refuse(call, "syntax error, LIMIT cannot be used without the special ~ option");
    options->trim.limit = is_given ? (uint64_t)limit : options->trim.approximate ? usual_limit() : 0;
    return 0;
}

/* The options of XADD up to its ID, or of XTRIM. */
static int parse_options(struct call *call, int is_add, struct add_options *options) {
    int64_t limit = 0;
    int limit_given = 0, error = 0;
    *options = (struct add_options){.id_place = call->argc};
    for (size_t i = 2; i < call->argc && error == 0; i++) {
        int more = i + 1 < call->argc;
        if (is_add && call_option(call, i, "*")) {
            options->id_place = i;
            break;
        }
        if (more && (call_option(call, i, "maxlen") || call_option(call, i, "minid"))) {
            error = parse_threshold(call, &i, options);
        } else if (more && call_option(call, i, "limit")) {
            error = call_integer(call, call->argv[++i], &limit);
            if (error == 0 && limit < 0) error = refuse(call, "The LIMIT argument must be >= 0.");
            limit_given = 1;
        } else if (is_add && call_option(call, i, "nomkstream")) {
            options->no_make = 1;
        } else if (is_add) { /* the ID, or nonsense */
            error = cmd_stream__id_or_auto(call, call->argv[i], &options->id, &options->has_seq);
            options->has_id = 1;
            options->id_place = i;
            break;
        } else {
            error = call_syntax_error(call);
        }
    }
    return error != 0 ? error : check_limit(call, limit, limit_given, is_add, options);
}

/* --- XADD --- */

/* The ID of a new entry; 0, or FIRN_EINVALID with the error replied. */
static int choose_id(struct call *call, const struct stream *stream, const struct add_options *options,
                     struct stream_id *id_out) {
    static const struct stream_id none = {0, 0};
    struct stream_id last = stream != NULL ? stream->last_id : none;
    if (last.ms == UINT64_MAX && last.seq == UINT64_MAX)
        return refuse(call, "The stream has exhausted the last possible ID, unable to add more items");
    struct stream_id id = options->id;
    if (!options->has_id) {
        id = (struct stream_id){(uint64_t)clock_cached_ms(), 0};
        if (id.ms <= last.ms) {
            id = last;
            stream_id_next(&id);
        }
    } else if (!options->has_seq && id.ms == last.ms && last.seq != UINT64_MAX) {
        id.seq = last.seq + 1;
    }
    *id_out = id;
    if (stream_id_compare(id, last) > 0) return 0;
    return refuse(call, "The ID specified in XADD is equal or smaller than the target stream top item");
}

/* What a trim by whole nodes has come down to, as the threshold of an exact one. */
static unsigned format_threshold(const struct stream_trim *trim, const struct entry *entry,
                                 char text_out[CMD_STREAM_ID_TEXT_MAX]) {
    const struct stream *stream = stream_of(entry);
    struct stream_place place;
    if (trim->by == STREAM_TRIM_LENGTH) return number_format_uint(entry->size, text_out);
    struct stream_id first = stream->first_id;
    if (entry->size == 0)
        first = trim->id;
    else if (!stream->first_known && stream_index_first(&stream->index, &place))
        first = stream_index_id(&stream->index, place);
    return cmd_stream__format_id(first, text_out);
}

/* The command in its deterministic form: the ID as it came out, the trim as it was done. */
static void rewrite(struct call *call, const struct add_options *options, struct stream_id id,
                    const struct entry *entry) {
    char id_text[CMD_STREAM_ID_TEXT_MAX], trim_text[CMD_STREAM_ID_TEXT_MAX];
    int is_exact = options->trim.by == STREAM_TRIM_NONE || !options->trim.approximate;
    int has_id = options->id_place == call->argc || (options->has_id && options->has_seq);
    if (call_propagated == NULL || (has_id && is_exact)) return;
    struct bytes *argv = memory_alloc(call->argc * sizeof *argv);
    size_t argc = 0;
    for (size_t i = 0; i < call->argc; i++) {
        if (i > 1 && i < options->id_place && call_option(call, i, "limit")) {
            i++;
        } else if (!is_exact && i + 1 == options->threshold_place) {
            argv[argc++] = bytes_of_text("=");
        } else if (!is_exact && i == options->threshold_place) {
            argv[argc++] = bytes_of(trim_text, format_threshold(&options->trim, entry, trim_text));
        } else if (i == options->id_place) {
            argv[argc++] = bytes_of(id_text, cmd_stream__format_id(id, id_text));
        } else {
            argv[argc++] = call->argv[i];
        }
    }
    call_rewrite(call, argc, argv);
    memory_free(argv);
}

static int reply_add_failed(struct call *call, int error) {
    if (error != FIRN_ETOOBIG) return error;
    reply_error(call->reply, "Elements are too large to be stored");
    return 0;
}

/* After the entry is there: events, trim. */
static int finish_add(struct call *call, struct entry *entry, const struct add_options *options,
                      struct stream_id id) {
    struct bytes key = call->argv[1];
    uint64_t removed = 0;
    call_changed(call, key);
    cmd_stream__reply_id(call, id);
    call_notify(call, NOTIFY_STREAM, "xadd", key);
    if (options->trim.by != STREAM_TRIM_NONE) {
        int error = stream_trim(entry, &options->trim, &removed);
        if (removed > 0) call_notify(call, NOTIFY_STREAM, "xtrim", key);
        if (error != 0) return error;
    }
    rewrite(call, options, id, entry);
    return 0;
}

int cmd_xadd(struct call *call) {
    struct add_options options;
    struct entry *entry;
    struct stream_id id;
    CALL_TRY(parse_options(call, 1, &options));
    size_t first = options.id_place + 1;
    if (first >= call->argc || (call->argc - first) % 2 == 1) {
        reply_error(call->reply, "wrong number of arguments for 'xadd' command");
        return 0;
    }
    if (options.has_id && options.has_seq && options.id.ms == 0 && options.id.seq == 0) {
        reply_error(call->reply, "The ID specified in XADD must be greater than 0-0");
        return 0;
    }
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_STREAM, &entry));
    if (entry == NULL && options.no_make) {
        reply_null(call->reply);
        return 0;
    }
    CALL_TRY(choose_id(call, entry != NULL ? stream_of(entry) : NULL, &options, &id));
    size_t pairs = (call->argc - first) / 2;
    if (entry == NULL) {
        entry = stream_create(call->argv[1]);
        int error = stream_append(entry, id, call->argv + first, pairs);
        if (error != 0) {
            type_stream_ops.free_value(entry);
            entry_free(entry);
            return reply_add_failed(call, error);
        }
        db_insert(call->db, entry);
        return finish_add(call, entry, &options, id);
    }
    int error = options.trim.by == STREAM_TRIM_NONE ? 0 : stream_trim_touch(entry, &options.trim, 1);
    if (error != 0) return error;
    entry = db_changing(call->db, entry);
    error = stream_append(entry, id, call->argv + first, pairs);
    if (error != 0) return reply_add_failed(call, error);
    return finish_add(call, entry, &options, id);
}

/* --- XTRIM, XDEL --- */

int cmd_xtrim(struct call *call) {
    struct add_options options;
    struct entry *entry;
    uint64_t removed;
    CALL_TRY(parse_options(call, 0, &options));
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_STREAM, &entry));
    if (entry == NULL) {
        reply_integer(call->reply, 0);
        return 0;
    }
    int error = stream_trim_touch(entry, &options.trim, 0);
    if (error != 0) return error;
    entry = db_changing(call->db, entry);
    error = stream_trim(entry, &options.trim, &removed);
    if (removed > 0) {
        call_changed_elements(call, call->argv[1], removed);
        call_notify(call, NOTIFY_STREAM, "xtrim", call->argv[1]);
        rewrite(call, &options, CMD_STREAM_ID_MIN, entry);
    }
    if (error != 0) return error;
    reply_integer(call->reply, (int64_t)removed);
    return 0;
}

static int touch_ids(struct call *call, struct entry *entry, size_t first) {
    int result = 0;
    for (size_t i = first; i < call->argc; i++) {
        struct stream_id id;
        int error = cmd_stream__id(call, call->argv[i], 0, &id);
        if (error != 0) return error;
        error = stream_touch(entry, id);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

int cmd_xdel(struct call *call) {
    struct entry *entry;
    int64_t removed = 0;
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_STREAM, &entry));
    if (entry == NULL) {
        reply_integer(call->reply, 0);
        return 0;
    }
    CALL_TRY(touch_ids(call, entry, 2));
    entry = db_changing(call->db, entry);
    int error = 0;
    for (size_t i = 2; i < call->argc && (error == 0 || error == FIRN_ENOTFOUND); i++) {
        struct stream_id id;
        error = cmd_stream__parse_id(call->argv[i], 0, &id);
        if (error == 0) error = stream_delete(entry, id);
        if (error == 0 && removed++ == 0) call_must_finish(call);
    }
    if (error == FIRN_ENOTFOUND) error = 0;
    if (removed > 0) {
        call_changed_elements(call, call->argv[1], (uint64_t)removed);
        call_notify(call, NOTIFY_STREAM, "xdel", call->argv[1]);
    }
    if (error != 0) return error;
    reply_integer(call->reply, removed);
    return 0;
}

/* --- XLEN, XRANGE, XREVRANGE --- */

int cmd_xlen(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STREAM, &entry));
    reply_integer(call->reply, entry == NULL ? 0 : entry->size);
    return 0;
}

static int range_command(struct call *call, int reverse) {
    struct stream_id first, last;
    struct entry *entry;
    int64_t count = -1;
    CALL_TRY(cmd_stream__first(call, call->argv[reverse ? 3 : 2], &first));
    CALL_TRY(cmd_stream__last(call, call->argv[reverse ? 2 : 3], &last));
    for (size_t i = 4; i < call->argc; i++) {
        if (!call_option(call, i, "count") || i + 1 >= call->argc) CALL_TRY(call_syntax_error(call));
        CALL_TRY(call_integer(call, call->argv[++i], &count));
        if (count < 0) count = 0;
    }
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STREAM, &entry));
    if (entry == NULL) {
        reply_array(call->reply, 0);
        return 0;
    }
    if (count == 0) {
        reply_null_array(call->reply);
        return 0;
    }
    uint64_t most = count < 0 ? 0 : (uint64_t)count;
    struct cmd_stream__span span = {
        .entry = entry, .first = first, .last = last, .reverse = reverse, .most = most};
    int error = cmd_stream__in_turns(call, &span, 1, 0);
    if (error == 0) error = stream_touch_range(entry, first, last, reverse, most);
    return error != 0 ? error : cmd_stream__reply_range(call, entry, first, last, reverse, most);
}

int cmd_xrange(struct call *call) {
    return range_command(call, 0);
}

int cmd_xrevrange(struct call *call) {
    return range_command(call, 1);
}

/* --- XSETID --- */

int cmd_xsetid(struct call *call) {
    struct stream_id id, max_deleted = {0, 0}, top;
    int64_t added = -1;
    struct entry *entry;
    CALL_TRY(cmd_stream__id(call, call->argv[2], 0, &id));
    for (size_t i = 3; i < call->argc; i += 2) {
        int more = i + 1 < call->argc;
        if (more && call_option(call, i, "entriesadded")) {
            CALL_TRY(call_integer(call, call->argv[i + 1], &added));
            if (added < 0) CALL_TRY(refuse(call, "entries_added must be positive"));
        } else if (more && call_option(call, i, "maxdeletedid")) {
            CALL_TRY(cmd_stream__id(call, call->argv[i + 1], 0, &max_deleted));
            if (stream_id_compare(id, max_deleted) < 0)
                CALL_TRY(refuse(call,
                                "The ID specified in XSETID is smaller than the provided "
                                "max_deleted_entry_id"));
        } else {
            CALL_TRY(call_syntax_error(call));
        }
    }
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_STREAM, &entry));
    if (entry == NULL) CALL_TRY(refuse(call, "no such key"));
    entry = db_changing(call->db, entry);
    struct stream *stream = stream_of(entry);
    if (stream_id_compare(id, stream->max_deleted_id) < 0)
        CALL_TRY(refuse(call, "The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    int error = cmd_stream__top(entry, &top);
    if (error != 0) return error;
    if (entry->size > 0 && stream_id_compare(id, top) < 0)
        CALL_TRY(refuse(call, "The ID specified in XSETID is smaller than the target stream top item"));
    if (entry->size > 0 && added != -1 && entry->size > (uint64_t)added)
        CALL_TRY(
            refuse(call, "The entries_added specified in XSETID is smaller than the target stream length"));
    stream->last_there = entry->size > 0 && stream_id_compare(id, top) == 0;
    stream->last_id = id;
    if (added != -1) stream->entries_added = (uint64_t)added;
    if (max_deleted.ms != 0 || max_deleted.seq != 0) stream->max_deleted_id = max_deleted;
    call_changed(call, call->argv[1]);
    call_notify(call, NOTIFY_STREAM, "xsetid", call->argv[1]);
    reply_ok(call->reply);
    return 0;
}
