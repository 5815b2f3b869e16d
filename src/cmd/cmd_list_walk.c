/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands on elements of lists by number or by value: LINDEX, LSET, LRANGE, LTRIM, LPOS, LREM, LINSERT.
 * Executor only. */

#include "cmd/cmd_list_internal.h"
#include "cmd/command.h"
#include "cmd/stream_reply.h"
#include "cmd/turns.h"
#include "tiering/tier.h"
#include "types/list_page.h"

#define PAGES_KEPT_MAX 2048u /* of LREM in turns: read and kept together before anything changes */

/* --- by number --- */

/* Element number ${index}, from the end if negative: whether there is one. */
static int resolve_index(const struct entry *entry, int64_t index, uint64_t *at_out) {
    if (index < 0) index += entry->size;
    *at_out = (uint64_t)index;
    return index >= 0 && index < (int64_t)entry->size;
}

/* Elements from ${start} to ${stop} inclusive, each from the end if negative: how many. */
static uint64_t resolve_range(const struct entry *entry, int64_t start, int64_t stop, uint64_t *first_out) {
    int64_t size = entry->size;
    if (start < 0) start = start + size < 0 ? 0 : start + size;
    if (stop < 0) stop += size;
    if (stop >= size) stop = size - 1;
    *first_out = (uint64_t)start;
    return start > stop || start >= size ? 0 : (uint64_t)(stop - start + 1);
}

int cmd_lindex(struct call *call) {
    struct entry *entry;
    int64_t index;
    uint64_t at;
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes element;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_LIST, &entry));
    if (entry == NULL) {
        reply_null(call->reply);
        return 0;
    }
    CALL_TRY(call_integer(call, call->argv[2], &index));
    if (!resolve_index(entry, index, &at)) {
        reply_null(call->reply);
        return 0;
    }
    int error = list_at(entry, at, digits, &element);
    if (error == 0) reply_bulk(call->reply, element);
    return error;
}

int cmd_lset(struct call *call) {
    struct entry *entry;
    struct bytes key = call->argv[1], element = call->argv[3];
    int64_t index;
    uint64_t at;
    CALL_TRY(call_find_write_type(call, key, TYPE_LIST, &entry));
    if (entry == NULL) {
        reply_error(call->reply, "no such key");
        return 0;
    }
    CALL_TRY(call_integer(call, call->argv[2], &index));
    if (!resolve_index(entry, index, &at)) {
        reply_error(call->reply, "index out of range");
        return 0;
    }
    int error = list_touch(entry, at, 1);
    if (error != 0) return error;
    entry = db_changing(call->db, entry);
    error = list_expect(entry, 1, element.size);
    if (error == 0) error = list_set(entry, at, element);
    if (error != 0) return cmd_list__failed(call, error);
    list_shrunk(entry);
    reply_ok(call->reply);
    call_changed(call, key);
    call_notify(call, NOTIFY_LIST, "lset", key);
    return 0;
}

static int range_receive(struct bytes element, void *ctx) {
    reply_bulk(ctx, element);
    return 0;
}

/* struct stream_plan: a list page. */
static int range_emit(struct stream_plan *plan, struct bytes payload, struct reply *reply) {
    struct list_view view;
    struct list_element element;
    char digits[NUMBER_INT_TEXT_MAX];
    int error = list_page_open(payload, &view);
    if (error == 0) error = list_page_at(&view, (uint32_t)plan->skip, &element);
    if (error != 0) return error;
    plan->skip = 0;
    int more = 1;
    while (more == 1 && plan->written < plan->wanted) {
        reply_bulk(reply, list_element_text(&element, digits));
        plan->written++;
        more = list_page_next(&view, &element, &element);
    }
    return more < 0 ? more : 0;
}

/* Elements on many pages: as a stream. The header is written. */
static int range_stream(struct call *call, struct entry *entry, uint64_t first, uint64_t count,
                        size_t pages) {
    struct stream_plan plan = {.emit = range_emit, .wanted = count};
    uint64_t *refs = stream_reply_refs(pages);
    pages = list_range_refs(entry, first, count, refs, &plan.skip);
    return stream_reply_start(call, refs, pages, &plan);
}

int cmd_lrange(struct call *call) {
    struct entry *entry;
    int64_t start, stop;
    uint64_t first, count;
    CALL_TRY(call_integer(call, call->argv[2], &start));
    CALL_TRY(call_integer(call, call->argv[3], &stop));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_LIST, &entry));
    count = entry != NULL ? resolve_range(entry, start, stop, &first) : 0;
    reply_array(call->reply, count);
    if (count > STREAM_PAGES_MIN) { /* so many pages at most */
        uint64_t skip;
        size_t pages = list_range_refs(entry, first, count, NULL, &skip);
        if (stream_reply_applies(call, pages)) return range_stream(call, entry, first, count, pages);
    }
    return count > 0 ? list_range(entry, first, count, 0, range_receive, call->reply) : 0;
}

int cmd_ltrim(struct call *call) {
    struct entry *entry;
    struct bytes key = call->argv[1];
    int64_t start, stop;
    uint64_t first, count;
    CALL_TRY(call_integer(call, call->argv[2], &start));
    CALL_TRY(call_integer(call, call->argv[3], &stop));
    CALL_TRY(call_find_write_type(call, key, TYPE_LIST, &entry));
    if (entry == NULL) {
        reply_ok(call->reply);
        return 0;
    }
    count = resolve_range(entry, start, stop, &first);
    uint64_t removed = entry->size - count;
    entry = db_changing(call->db, entry);
    if (count > 0 && count < entry->size) {
        int error = list_trim(entry, first, count);
        if (error != 0) return error;
    }
    reply_ok(call->reply);
    call_notify(call, NOTIFY_LIST, "ltrim", key);
    if (count == 0) { /* whatever it holds */
        db_delete(call->db, entry);
        call_notify(call, NOTIFY_GENERIC, "del", key);
    } else {
        list_shrunk(entry);
    }
    call_changed_elements(call, key, removed);
    return 0;
}

/* --- by value --- */

/* list_search for ${plan}. FIRN_ETOOBIG: to be done in turns. Where there are none, a list far larger than
 * memory is read blocking in the end, and only the latest pages stay. */
static int search(struct call *call, struct entry *entry, const struct cmd_list__search *plan,
                  int (*found)(uint64_t index, void *ctx), void *ctx) {
    int is_resident = list_is_resident(entry);
    if (!is_resident) tier_walk_begin();
    int error =
        list_search(entry, plan->element, plan->backwards, plan->limit, !turns_apply(call), found, ctx);
    if (!is_resident) tier_walk_end();
    return error;
}

struct pos_options {
    int64_t rank, count, limit;
    int has_count;
};

/* A number that may not be negative. */
static int pos_number(struct call *call, struct bytes argument, const char *error_text, int64_t *value_out) {
    int error = call_integer_or(call, argument, error_text, value_out);
    if (error != 0 || *value_out >= 0) return error;
    reply_error(call->reply, error_text);
    return FIRN_EINVALID;
}

static int pos_rank(struct call *call, struct bytes argument, int64_t *rank_out) {
    int error = call_integer_between(call, argument, -INT64_MAX, INT64_MAX, rank_out);
    if (error != 0 || *rank_out != 0) return error;
    reply_error(call->reply,
                "RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                "or use negative to start from the end of the list");
    return FIRN_EINVALID;
}

static int pos_options(struct call *call, struct pos_options *options) {
    *options = (struct pos_options){.rank = 1, .count = 1};
    for (size_t i = 3; i < call->argc; i += 2) {
        int error;
        if (i + 1 == call->argc) return call_syntax_error(call);
        struct bytes value = call->argv[i + 1];
        if (call_option(call, i, "rank")) {
            error = pos_rank(call, value, &options->rank);
        } else if (call_option(call, i, "count")) {
            error = pos_number(call, value, "COUNT can't be negative", &options->count);
            options->has_count = 1;
        } else if (call_option(call, i, "maxlen")) {
            error = pos_number(call, value, "MAXLEN can't be negative", &options->limit);
        } else {
            return call_syntax_error(call);
        }
        if (error != 0) return error;
    }
    return 0;
}

struct pos_run {
    struct reply *reply;
    uint64_t skip, replied, stop; /* stop 0: never */
};

static int pos_found(uint64_t index, void *ctx) {
    struct pos_run *run = ctx;
    if (run->skip > 0) {
        run->skip--;
        return 0;
    }
    reply_integer(run->reply, (int64_t)index);
    return ++run->replied == run->stop;
}

/* struct cmd_list__search */
static int pos_finish(struct call *call, struct entry *entry, const uint64_t *found, size_t count) {
    struct pos_options options;
    (void)entry;
    CALL_TRY(pos_options(call, &options)); /* as before */
    if (options.has_count) {
        reply_array(call->reply, count);
    } else if (count == 0) {
        reply_null(call->reply);
    }
    for (size_t i = 0; i < count; i++)
        reply_integer(call->reply, (int64_t)found[i]);
    return 0;
}

int cmd_lpos(struct call *call) {
    struct entry *entry;
    struct pos_options options;
    CALL_TRY(pos_options(call, &options));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_LIST, &entry));
    struct cmd_list__search plan = {.element = call->argv[2],
                                    .backwards = options.rank < 0,
                                    .limit = (uint64_t)options.limit,
                                    .skip = (uint64_t)(options.rank < 0 ? -options.rank : options.rank) - 1,
                                    .stop = (uint64_t)options.count,
                                    .finish = pos_finish};
    struct pos_run run = {.reply = call->reply, .skip = plan.skip, .stop = plan.stop};
    struct reply_mark mark = reply_mark(call->reply);
    struct reply_later later = {0};
    if (options.has_count) later = reply_later_open(call->reply, '*');
    int error = entry != NULL ? search(call, entry, &plan, pos_found, &run) : 0;
    if (error == FIRN_ETOOBIG) {
        reply_rollback(call->reply, mark);
        return cmd_list__search_in_turns(call, &plan);
    }
    if (error != 0) return error;
    if (options.has_count) {
        reply_later_close(call->reply, later, run.replied);
    } else if (run.replied == 0) {
        reply_null(call->reply);
    }
    return 0;
}

/* --- LREM --- */

struct match_run {
    uint64_t index; /* of the last one */
    uint64_t count, stop;
};

static int match_found(uint64_t index, void *ctx) {
    struct match_run *run = ctx;
    run->index = index;
    return ++run->count == run->stop;
}

/* ${removed} elements have gone, also before an ${error}. */
static int rem_announce(struct call *call, struct entry *entry, uint64_t removed, int error) {
    struct bytes key = call->argv[1];
    if (error == 0) reply_integer(call->reply, (int64_t)removed);
    if (removed == 0) return error;
    call_changed_elements(call, key, removed);
    call_notify(call, NOTIFY_LIST, "lrem", key);
    cmd_list__removed(call, key, entry);
    return error;
}

/* struct cmd_list__search: the pages of ${found} have what is to be removed. */
static int rem_finish(struct call *call, struct entry *entry, const uint64_t *found, size_t pages) {
    int64_t count;
    uint64_t removed = 0;
    CALL_TRY(call_integer(call, call->argv[2], &count)); /* as before */
    if (entry == NULL || pages == 0) return rem_announce(call, entry, 0, 0);
    int error = pages <= PAGES_KEPT_MAX ? list_touch_at(entry, found, pages) : 0;
    if (error != 0) return error;
    if (pages > PAGES_KEPT_MAX) call_must_finish(call);
    entry = db_changing(call->db, entry);
    uint64_t most = count < 0 ? 0 - (uint64_t)count : (uint64_t)count;
    tier_walk_begin();
    error = list_remove_at(entry, call->argv[3], count < 0, most, found, pages, &removed);
    tier_walk_end();
    return rem_announce(call, entry, removed, error);
}

int cmd_lrem(struct call *call) {
    struct entry *entry;
    struct bytes key = call->argv[1], element = call->argv[3];
    int64_t count;
    uint64_t removed = 0;
    CALL_TRY(call_integer(call, call->argv[2], &count));
    CALL_TRY(call_find_write_type(call, key, TYPE_LIST, &entry));
    struct cmd_list__search plan = {.element = element,
                                    .backwards = count < 0,
                                    .by_page = 1,
                                    .stop = count < 0 ? 0 - (uint64_t)count : (uint64_t)count,
                                    .finish = rem_finish};
    struct match_run run = {.stop = plan.stop};
    int error = entry != NULL ? search(call, entry, &plan, match_found, &run) : 0;
    if (error == FIRN_ETOOBIG) return cmd_list__search_in_turns(call, &plan);
    if (error != 0) return error;
    if (run.count > 0) {
        entry = db_changing(call->db, entry);
        int is_resident = list_is_resident(entry);
        if (!is_resident) tier_walk_begin();
        error = list_remove(entry, element, plan.backwards, run.count, &removed);
        if (!is_resident) tier_walk_end();
    }
    return rem_announce(call, entry, removed, error);
}

/* --- LINSERT --- */

/* struct cmd_list__search: beside the element of number ${found}, if there is one. */
static int insert_finish(struct call *call, struct entry *entry, const uint64_t *found, size_t count) {
    struct bytes key = call->argv[1], element = call->argv[4];
    if (entry == NULL) {
        reply_integer(call->reply, 0);
        return 0;
    }
    entry = db_changing(call->db, entry);
    int error = list_expect(entry, 1, element.size); /* whether it will be put in or not, as Redis does */
    if (error != 0) return error;
    if (count == 0) {
        reply_integer(call->reply, -1);
        return 0;
    }
    error = list_insert(entry, *found + (call_option(call, 2, "after") ? 1 : 0), element);
    if (error != 0) return cmd_list__failed(call, error);
    reply_integer(call->reply, entry->size);
    call_changed(call, key);
    call_notify(call, NOTIFY_LIST, "linsert", key);
    return 0;
}

int cmd_linsert(struct call *call) {
    struct entry *entry;
    struct cmd_list__search plan = {.element = call->argv[3], .stop = 1, .finish = insert_finish};
    struct match_run run = {.stop = 1};
    if (!call_option(call, 2, "after") && !call_option(call, 2, "before"))
        return call_error(call_syntax_error(call));
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_LIST, &entry));
    int error = entry != NULL ? search(call, entry, &plan, match_found, &run) : 0;
    if (error == FIRN_ETOOBIG) return cmd_list__search_in_turns(call, &plan);
    return error != 0 ? error : insert_finish(call, entry, &run.index, (size_t)run.count);
}
