/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges of sorted sets by rank, score and member: ZRANGE and its older forms, ZRANGESTORE, ZCOUNT,
 * ZLEXCOUNT, ZREMRANGEBY*. Every range is made a span of ranks first; limits cut the span. Executor only.
 */
#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "cmd/algebra_turns.h"
#include "cmd/cmd_zset_internal.h"
#include "cmd/command.h"
#include "cmd/stream_reply.h"
#include "cmd/turns.h"
#include "cmd/zset_builder.h"
#include "page/fault.h"
#include "tiering/tier.h"
#include "types/held_pages.h"
#include "types/packed_collection.h"
#include "types/score_page.h"

#define SCORE_TEXT_MAX 512u

/* --- arguments --- */

/* A score as strtod reads it, with "(" before it when it is not part of the range. Nothing at all is 0. */
static int parse_score(struct bytes text, double *score_out, int *exclusive_out) {
    char copy[SCORE_TEXT_MAX], *end;
    *exclusive_out = text.size > 0 && text.data[0] == '(';
    if (*exclusive_out) text = bytes_of(text.data + 1, text.size - 1);
    if (text.size >= sizeof copy) return FIRN_ENOTNUMBER;
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    *score_out = strtod(copy, &end);
    return end == copy + text.size && !isnan(*score_out) ? 0 : FIRN_ENOTNUMBER;
}

/* A boundary between members: "-", "+", "[member", "(member". ${is_max}: what equals it is left of it if it
 * is part of the range. */
static int parse_lex(struct bytes text, int is_max, struct score_key *key_out) {
    if (text.size == 0) return FIRN_EINVALID;
    uint8_t first = text.data[0];
    if ((first == '-' || first == '+') && text.size > 1) return FIRN_EINVALID;
    switch (first) {
    case '-': *key_out = (struct score_key){.kind = SCORE_KEY_MEMBER}; return 0;
    case '+': *key_out = (struct score_key){.kind = SCORE_KEY_SCORE, .score = HUGE_VAL, .after = 1}; return 0;
    case '(':
    case '[':
        *key_out = (struct score_key){.kind = SCORE_KEY_MEMBER,
                                      .member = bytes_of(text.data + 1, text.size - 1),
                                      .after = is_max == (first == '[')};
        return 0;
    default: return FIRN_EINVALID;
    }
}

static int parse_scores(struct call *call, struct bytes min, struct bytes max,
                        struct cmd_zset__range *range_out) {
    int min_exclusive, max_exclusive;
    range_out->from.kind = range_out->to.kind = SCORE_KEY_SCORE;
    int error = parse_score(min, &range_out->from.score, &min_exclusive);
    if (error == 0) error = parse_score(max, &range_out->to.score, &max_exclusive);
    if (error != 0) {
        reply_error(call->reply, "min or max is not a float");
        return error;
    }
    range_out->from.after = min_exclusive;
    range_out->to.after = !max_exclusive;
    return 0;
}

int cmd_zset__parse_range(struct call *call, enum cmd_zset__range_kind kind, struct bytes min,
                          struct bytes max, struct cmd_zset__range *range_out) {
    *range_out = (struct cmd_zset__range){.kind = kind};
    if (kind == BY_RANK) {
        int error = call_integer(call, min, &range_out->start);
        return error != 0 ? error : call_integer(call, max, &range_out->stop);
    }
    if (kind == BY_SCORE) return parse_scores(call, min, max, range_out);
    int error = parse_lex(min, 0, &range_out->from);
    if (error == 0) error = parse_lex(max, 1, &range_out->to);
    if (error != 0) reply_error(call->reply, "min or max not valid string range item");
    return error;
}

int cmd_zset__find_range(struct entry *entry, const struct cmd_zset__range *range, int reverse,
                         struct zset_span *span_out) {
    if (range->kind != BY_RANK) return zset_span(entry, &range->from, &range->to, span_out);
    int64_t size = entry->size, start = range->start, stop = range->stop;
    *span_out = (struct zset_span){0};
    if (start < 0) start = start + size < 0 ? 0 : start + size;
    if (stop < 0) stop += size;
    if (stop >= size) stop = size - 1;
    if (start > stop || start >= size) return 0;
    span_out->count = (uint64_t)(stop - start) + 1;
    span_out->first = (uint64_t)(reverse ? size - 1 - stop : start);
    return 0;
}

/* --- replies --- */

struct span_reply {
    struct reply *reply;
    int with_scores, pairs;
};

static int reply_element(struct bytes member, double score, void *ctx) {
    const struct span_reply *run = ctx;
    if (run->pairs) reply_array(run->reply, 2);
    reply_bulk(run->reply, member);
    if (run->with_scores) reply_double(run->reply, score);
    return 0;
}

#define SPAN_REVERSE     0x1u
#define SPAN_WITH_SCORES 0x2u
#define SPAN_PAIRS       0x4u

/* struct stream_plan: a score page. */
static int span_emit(struct stream_plan *plan, struct bytes payload, struct reply *reply) {
    struct span_reply run = {.reply = reply,
                             .with_scores = (plan->flags & SPAN_WITH_SCORES) != 0,
                             .pairs = (plan->flags & SPAN_PAIRS) != 0};
    struct score_view view;
    int error = score_page_open(payload, 1, &view);
    if (error != 0) return error;
    if (plan->skip >= view.count) return FIRN_ECORRUPT;
    for (uint32_t i = (uint32_t)plan->skip; i < view.count && plan->written < plan->wanted; i++) {
        uint32_t index = plan->flags & SPAN_REVERSE ? view.count - 1 - i : i;
        reply_element(score_view_member(&view, index), score_view_score(&view, index), &run);
        plan->written++;
    }
    plan->skip = 0;
    return 0;
}

/* Elements on many pages: as a stream. 0: they are not many. */
static int span_stream(struct call *call, struct entry *entry, struct zset_span span, int reverse,
                       int with_scores) {
    struct stream_plan plan = {.emit = span_emit, .wanted = span.count};
    int pairs = with_scores && call->reply->version > 2;
    if (span.count <= STREAM_PAGES_MIN) return 0; /* so many pages at most */
    size_t pages = zset_span_refs(entry, span, reverse, NULL, &plan.skip);
    if (!stream_reply_applies(call, pages)) return 0;
    uint64_t *refs = stream_reply_refs(pages);
    zset_span_refs(entry, span, reverse, refs, &plan.skip);
    plan.flags =
        (reverse ? SPAN_REVERSE : 0) | (with_scores ? SPAN_WITH_SCORES : 0) | (pairs ? SPAN_PAIRS : 0);
    reply_array(call->reply, with_scores && !pairs ? span.count * 2 : span.count);
    return stream_reply_start(call, refs, pages, &plan);
}

int cmd_zset__reply_span(struct call *call, struct entry *entry, struct zset_span span, int reverse,
                         int with_scores) {
    struct span_reply run = {.reply = call->reply, .with_scores = with_scores};
    int error = span.count > 0 ? span_stream(call, entry, span, reverse, with_scores) : 0;
    if (error != 0) return error;
    error = span.count > 0 ? zset_touch_span(entry, span) : 0;
    if (error != 0) return error;
    run.pairs = with_scores && call->reply->version > 2;
    reply_array(call->reply, with_scores && !run.pairs ? span.count * 2 : span.count);
    return span.count > 0 ? zset_each(entry, span, reverse, reply_element, &run) : 0;
}

/* --- ZRANGE and all its forms --- */

struct zrange {
    struct call *call;
    int store, reverse, with_scores;
    int auto_kind, auto_direction; /* the arguments may say */
    size_t key;                    /* argument; its boundaries follow */
    int64_t offset, limit;         /* limit < 0: none */
    struct cmd_zset__range range;
};

static int zrange_options(struct zrange *zrange) {
    struct call *call = zrange->call;
    for (size_t i = zrange->key + 3; i < call->argc; i++) {
        if (!zrange->store && call_option(call, i, "WITHSCORES")) {
            zrange->with_scores = 1;
        } else if (call_option(call, i, "LIMIT") && i + 2 < call->argc) {
            int error = call_integer(call, call->argv[i + 1], &zrange->offset);
            if (error == 0) error = call_integer(call, call->argv[i + 2], &zrange->limit);
            if (error != 0) return error;
            i += 2;
        } else if (zrange->auto_direction && call_option(call, i, "REV")) {
            zrange->reverse = 1;
            zrange->auto_direction = 0; /* each once */
        } else if (zrange->auto_kind && call_option(call, i, "BYLEX")) {
            zrange->range.kind = BY_LEX;
            zrange->auto_kind = 0;
        } else if (zrange->auto_kind && call_option(call, i, "BYSCORE")) {
            zrange->range.kind = BY_SCORE;
            zrange->auto_kind = 0;
        } else {
            return call_syntax_error(call);
        }
    }
    if (zrange->limit != -1 && zrange->range.kind == BY_RANK) {
        reply_error(call->reply,
                    "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
        return FIRN_EINVALID;
    }
    if (zrange->with_scores && zrange->range.kind == BY_LEX) {
        reply_error(call->reply, "syntax error, WITHSCORES not supported in combination with BYLEX");
        return FIRN_EINVALID;
    }
    return 0;
}

/* What LIMIT leaves of ${span}. */
static void zrange_limit(const struct zrange *zrange, struct zset_span *span) {
    if (zrange->range.kind == BY_RANK) return;
    uint64_t skip =
        zrange->offset < 0 || (uint64_t)zrange->offset > span->count ? span->count : (uint64_t)zrange->offset;
    uint64_t keep = span->count - skip;
    if (zrange->limit >= 0 && (uint64_t)zrange->limit < keep) keep = (uint64_t)zrange->limit;
    span->first += zrange->reverse ? span->count - skip - keep : skip;
    span->count = keep;
}

static int store_element(struct bytes member, double score, void *ctx) {
    enum zset_outcome outcome;
    double given;
    return zset_put(ctx, member, score, 0, &outcome, &given);
}

/* --- ZRANGESTORE of many pages, in turns --- */

#define STORE_READ_AHEAD     16u
#define STORE_TURN_ELEMENTS  250u
#define STORE_RESIDENT_PAGES 2048u /* in DRAM, gone through in one turn */

struct range_turns {
    struct turns turns;
    struct held_pages *held; /* of the range */
    struct tier_hold *hold;
    uint64_t skip, left; /* elements of the page that were had or are before the range; of the range */
    struct zset_builder *builder;
    struct entry *result;
    int is_built;
    unsigned waits;
};

static void range_destroy(struct turns *turns) {
    struct range_turns *work = (struct range_turns *)turns;
    tier_release(work->hold);
    held_pages_destroy(work->held);
    zset_builder_destroy(work->builder);
    cmd_zset__discard(work->result);
    memory_free(work);
}

/* Take what is left of the page under next, up to ${*limit_inout} elements. */
static int range_take_page(struct range_turns *work, unsigned *limit_inout) {
    struct bytes payload;
    struct score_view view;
    int error = page_peek(work->held->refs[work->held->next], &payload, NULL);
    for (size_t i = work->held->next + 1;
         error == FIRN_EFAULT && i < work->held->count && i < work->held->next + STORE_READ_AHEAD; i++) {
        int ahead = packed_touch_ref(work->held->refs[i]); /* more than one at once */
        if (ahead != 0 && ahead != FIRN_EFAULT) break;
    }
    if (error == 0) error = score_page_open(payload, 1, &view);
    if (error != 0) return packed_error(error);
    for (; work->skip < view.count && work->left > 0 && *limit_inout > 0; --*limit_inout) {
        struct bytes member = score_view_member(&view, (uint32_t)work->skip);
        error = zset_builder_add(work->builder, member, hash_key(member),
                                 score_view_score(&view, (uint32_t)work->skip));
        if (error != 0) return error;
        work->skip++;
        work->left--;
        work->turns.progressed = 1;
    }
    if (work->skip < view.count) return 0;
    work->skip = 0;
    held_pages_release(work->held, work->held->next++);
    return 0;
}

static int range_turn(struct turns *turns, struct call *call) {
    struct range_turns *work = (struct range_turns *)turns;
    int error = work->is_built ? 0 : algebra_turns_admit(call, &work->waits);
    if (error != 0) return error == FIRN_ENOSPACE ? 0 : error;
    for (unsigned limit = STORE_TURN_ELEMENTS; work->left > 0 && limit > 0;) {
        if (work->held->next == work->held->count) return FIRN_ECORRUPT;
        error = range_take_page(work, &limit);
        if (error != 0) return error;
    }
    if (work->left > 0) return FIRN_EPARKED;
    if (!work->is_built) {
        error = zset_builder_finish(work->builder, &work->turns.progressed, &work->result);
        if (error != 0) return error;
        work->is_built = 1;
    }
    error = cmd_zset__store(call, call->argv[1], work->result, "zrangestore");
    if (error == 0) work->result = NULL;
    return error;
}

/* FIRN_EPARKED, or 0: it is not that much. */
static int zrange_store_turns(struct call *call, struct entry *source, struct zset_span span) {
    uint64_t skip;
    if (span.count <= STREAM_PAGES_MIN || !turns_apply(call)) return 0;
    size_t pages = zset_span_refs(source, span, 0, NULL, &skip);
    if (pages <= (zset_is_resident(source) ? STORE_RESIDENT_PAGES : STREAM_PAGES_MIN)) return 0;
    struct range_turns *work = memory_alloc_zero(sizeof *work);
    work->turns = (struct turns){.turn = range_turn, .destroy = range_destroy};
    uint64_t *refs = stream_reply_refs(pages);
    zset_span_refs(source, span, 0, refs, &work->skip);
    work->left = span.count;
    work->builder = zset_builder_create(call->argv[1], ZSET_BUILDER_BY_SCORE);
    work->hold = tier_hold(refs, pages);
    work->held = held_pages_create(refs, pages);
    int parked = turns_start(call, &work->turns);
    turns_hold(call, call->argv[1]);
    return parked;
}

static int zrange_store(struct zrange *zrange, struct entry *source, struct zset_span span) {
    struct bytes key = zrange->call->argv[1];
    struct entry *result = NULL;
    int error = 0;
    if (span.count > 0) {
        error = zrange_store_turns(zrange->call, source, span);
        if (error == 0) error = zset_touch_span(source, span);
        if (error != 0) return error;
        result = zset_create(key, zrange->range.kind == BY_RANK ? span.count : 0, 0);
        error = zset_each(source, span, 0, store_element, result);
    }
    if (error == 0) error = cmd_zset__store(zrange->call, key, result, "zrangestore");
    if (error != 0) cmd_zset__discard(result);
    return error != 0 ? cmd_zset__failed(zrange->call, error) : 0;
}

static int zrange_run(struct zrange *zrange) {
    struct call *call = zrange->call;
    struct zset_span span = {0};
    struct entry *entry;
    zrange->limit = -1;
    CALL_TRY(zrange_options(zrange));
    int swapped = zrange->reverse && zrange->range.kind != BY_RANK;
    size_t from = zrange->key + 1;
    CALL_TRY(cmd_zset__parse_range(call, zrange->range.kind, call->argv[from + (size_t)swapped],
                                   call->argv[from + (size_t)!swapped], &zrange->range));
    CALL_TRY(call_find_read_type(call, call->argv[zrange->key], TYPE_ZSET, &entry));
    if (entry != NULL) {
        int error = cmd_zset__find_range(entry, &zrange->range, zrange->reverse, &span);
        if (error != 0) return error;
        zrange_limit(zrange, &span);
    }
    if (zrange->store) return zrange_store(zrange, entry, span);
    return cmd_zset__reply_span(call, entry, span, zrange->reverse, zrange->with_scores);
}

int cmd_zrange(struct call *call) {
    return zrange_run(&(struct zrange){.call = call, .key = 1, .auto_kind = 1, .auto_direction = 1});
}
int cmd_zrangestore(struct call *call) {
    return zrange_run(
        &(struct zrange){.call = call, .key = 2, .store = 1, .auto_kind = 1, .auto_direction = 1});
}
int cmd_zrevrange(struct call *call) {
    return zrange_run(&(struct zrange){.call = call, .key = 1, .reverse = 1});
}
int cmd_zrangebyscore(struct call *call) {
    return zrange_run(&(struct zrange){.call = call, .key = 1, .range.kind = BY_SCORE});
}
int cmd_zrevrangebyscore(struct call *call) {
    return zrange_run(&(struct zrange){.call = call, .key = 1, .reverse = 1, .range.kind = BY_SCORE});
}
int cmd_zrangebylex(struct call *call) {
    return zrange_run(&(struct zrange){.call = call, .key = 1, .range.kind = BY_LEX});
}
int cmd_zrevrangebylex(struct call *call) {
    return zrange_run(&(struct zrange){.call = call, .key = 1, .reverse = 1, .range.kind = BY_LEX});
}

/* --- counting --- */

static int count_generic(struct call *call, enum cmd_zset__range_kind kind) {
    struct cmd_zset__range range;
    struct zset_span span = {0};
    struct entry *entry;
    CALL_TRY(cmd_zset__parse_range(call, kind, call->argv[2], call->argv[3], &range));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    int error = entry != NULL ? cmd_zset__find_range(entry, &range, 0, &span) : 0;
    if (error == 0) reply_integer(call->reply, (int64_t)span.count);
    return error;
}

int cmd_zcount(struct call *call) {
    return count_generic(call, BY_SCORE);
}
int cmd_zlexcount(struct call *call) {
    return count_generic(call, BY_LEX);
}

/* --- ZREMRANGEBY* --- */

static int remove_generic(struct call *call, enum cmd_zset__range_kind kind, const char *event) {
    struct cmd_zset__range range;
    struct zset_span span;
    struct entry *entry;
    struct bytes key = call->argv[1];
    uint64_t removed = 0;
    CALL_TRY(cmd_zset__parse_range(call, kind, call->argv[2], call->argv[3], &range));
    CALL_TRY(call_find_write_type(call, key, TYPE_ZSET, &entry));
    if (entry == NULL) {
        reply_integer(call->reply, 0);
        return 0;
    }
    int error = cmd_zset__find_range(entry, &range, 0, &span);
    if (error != 0) return error;
    if (span.count > 0 && span.count == entry->size) { /* all: none of them has to be looked at */
        removed = span.count;
        entry = db_changing(call->db, entry);
        call_notify(call, NOTIFY_ZSET, event, key);
        db_delete(call->db, entry);
        call_notify(call, NOTIFY_GENERIC, "del", key);
        call_changed_elements(call, key, removed);
    } else if (span.count > 0) {
        error = zset_touch_remove_span(entry, span);
        if (error != 0) return error;
        entry = db_changing(call->db, entry);
        error = zset_remove_span(entry, span, &removed);
        if (removed > 0) { /* also before a failure */
            call_changed_elements(call, key, removed);
            call_notify(call, NOTIFY_ZSET, event, key);
        }
    }
    if (error != 0) return error;
    reply_integer(call->reply, (int64_t)removed);
    return 0;
}

int cmd_zremrangebyrank(struct call *call) {
    return remove_generic(call, BY_RANK, "zremrangebyrank");
}
int cmd_zremrangebyscore(struct call *call) {
    return remove_generic(call, BY_SCORE, "zremrangebyscore");
}
int cmd_zremrangebylex(struct call *call) {
    return remove_generic(call, BY_LEX, "zremrangebylex");
}
