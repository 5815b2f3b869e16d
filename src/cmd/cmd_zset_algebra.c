/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Union, intersection and difference of sorted sets (and sets, whose members score 1). One source is walked
 * page by page and each of its members looked up in others; the result grows as a sorted set in no table,
 * which is then stored or replied. Only ZINTERCARD and ZDIFF's and ZINTER's lookups need no room.
 *
 * Pages are asked for before the walk: all of the walked ones; of those looked up in only those that hold the
 * members asked for if these are few, else all. More than one run can keep are read one by one while walking.
 * Executor only.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "cmd/algebra_turns.h"
#include "cmd/cmd_zset_internal.h"
#include "cmd/command.h"
#include "cmd/turns.h"
#include "cmd/zset_builder.h"
#include "page/fault.h"
#include "types/set.h"

#define LOOKUPS_TOUCHED_MAX FAULT_TOUCH_MAX

struct source {
    struct entry *entry; /* NULL: no such key */
    double weight;
    size_t place; /* among the arguments */
};

struct algebra {
    struct call *call;
    enum algebra_kind kind;
    enum algebra_aggregate aggregate;
    struct source *sources;
    size_t count, walked;
    int with_scores, only_count;
    int missing; /* pages of lookups that were asked for */
    uint64_t found, limit;
    struct bytes key;
    struct entry *result; /* in no table; NULL while empty */
    size_t longest;       /* member of it */
};

/* --- sources --- */

static inline int is_set(const struct source *source) {
    return entry_type(source->entry) == TYPE_SET;
}

static uint64_t source_size(const struct source *source) {
    return source->entry == NULL ? 0 : source->entry->size;
}

static int source_touch(const struct source *source, struct bytes member) {
    return is_set(source) ? set_touch(source->entry, member) : zset_touch(source->entry, member);
}

static int source_touch_all(const struct source *source) {
    if (is_set(source)) return set_touch_all(source->entry);
    return zset_touch_span(source->entry, (struct zset_span){.count = source->entry->size});
}

static int source_is_resident(const struct source *source) {
    if (source->entry == NULL) return 1;
    return is_set(source) ? set_is_resident(source->entry) : zset_is_resident(source->entry);
}

static int source_score(const struct source *source, struct bytes member, double *score_out) {
    if (!is_set(source)) return zset_score_still(source->entry, member, score_out);
    *score_out = 1;
    return set_contains_still(source->entry, member);
}

struct each_of_set {
    int (*receive)(struct bytes member, double score, void *ctx);
    void *ctx;
};

static int receive_of_set(struct bytes member, void *ctx) {
    const struct each_of_set *run = ctx;
    return run->receive(member, 1, run->ctx);
}

static int source_each(const struct source *source, int (*receive)(struct bytes, double, void *), void *ctx) {
    struct each_of_set run = {.receive = receive, .ctx = ctx};
    if (is_set(source)) return set_each(source->entry, receive_of_set, &run);
    return zset_each(source->entry, (struct zset_span){.count = source->entry->size}, 0, receive, ctx);
}

/* --- arguments --- */

static void algebra_fini(struct algebra *algebra) {
    memory_free(algebra->sources);
    cmd_zset__discard(algebra->result);
}

/* Number of keys in argument ${at}, then the keys. */
static int algebra_keys(struct algebra *algebra, size_t at) {
    struct call *call = algebra->call;
    int64_t count;
    int error = call_integer(call, call->argv[at], &count);
    if (error != 0) return error;
    if (count < 1) {
        reply_error_format(call->reply, "at least 1 input key is needed for '%s' command",
                           call->command->name);
        return FIRN_EINVALID;
    }
    if ((uint64_t)count > call->argc - at - 1) return call_syntax_error(call);
    algebra->count = (size_t)count;
    algebra->sources = memory_alloc_zero(algebra->count * sizeof *algebra->sources);
    for (size_t i = 0; i < algebra->count; i++) {
        struct source *source = &algebra->sources[i];
        *source = (struct source){.weight = 1, .place = i};
        error = call_find_read(call, call->argv[at + 1 + i], &source->entry);
        if (error != 0) return error;
        if (source->entry == NULL || is_set(source)) continue;
        error = call_find_read_type(call, call->argv[at + 1 + i], TYPE_ZSET, &source->entry);
        if (error != 0) return error;
    }
    return 0;
}

static int algebra_weights(struct algebra *algebra, size_t at) {
    struct call *call = algebra->call;
    for (size_t i = 0; i < algebra->count; i++) {
        if (number_parse_double(call->argv[at + i], &algebra->sources[i].weight) != 0) {
            reply_error(call->reply, "weight value is not a float");
            return FIRN_EINVALID;
        }
    }
    return 0;
}

static int algebra_limit(struct algebra *algebra, struct bytes argument) {
    static const char text[] = "LIMIT can't be negative";
    int64_t limit;
    int error = call_integer_or(algebra->call, argument, text, &limit);
    if (error != 0) return error;
    if (limit < 0) {
        reply_error(algebra->call->reply, text);
        return FIRN_EINVALID;
    }
    algebra->limit = (uint64_t)limit;
    return 0;
}

static int algebra_aggregate(struct algebra *algebra, size_t at) {
    if (call_option(algebra->call, at, "SUM")) {
        algebra->aggregate = SUM;
    } else if (call_option(algebra->call, at, "MIN")) {
        algebra->aggregate = MIN;
    } else if (call_option(algebra->call, at, "MAX")) {
        algebra->aggregate = MAX;
    } else {
        return call_syntax_error(algebra->call);
    }
    return 0;
}

static int algebra_options(struct algebra *algebra, size_t at, int stores) {
    struct call *call = algebra->call;
    int combines = algebra->kind != DIFFERENCE && !algebra->only_count, error = 0;
    while (error == 0 && at < call->argc) {
        size_t left = call->argc - at;
        if (combines && left >= algebra->count + 1 && call_option(call, at, "WEIGHTS")) {
            error = algebra_weights(algebra, at + 1);
            at += algebra->count + 1;
        } else if (combines && left >= 2 && call_option(call, at, "AGGREGATE")) {
            error = algebra_aggregate(algebra, at + 1);
            at += 2;
        } else if (!stores && !algebra->only_count && call_option(call, at, "WITHSCORES")) {
            algebra->with_scores = 1;
            at++;
        } else if (algebra->only_count && left >= 2 && call_option(call, at, "LIMIT")) {
            error = algebra_limit(algebra, call->argv[at + 1]);
            at += 2;
        } else {
            error = call_syntax_error(call);
        }
    }
    return error;
}

static int by_size(const void *a_any, const void *b_any) {
    const struct source *a = a_any, *b = b_any;
    uint64_t a_size = source_size(a), b_size = source_size(b);
    if (a_size != b_size) return a_size < b_size ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

/* Bring the sources into the order in which they are combined. 0: the result is empty. */
static int algebra_prepare(struct algebra *algebra) {
    if (algebra->kind != DIFFERENCE && algebra->count > 1)
        qsort(algebra->sources, algebra->count, sizeof *algebra->sources, by_size);
    if (algebra->kind != UNION && algebra->sources[0].entry == NULL) return 0;
    size_t kept = algebra->kind == INTERSECTION ? algebra->count : 0;
    for (size_t i = kept; i < algebra->count; i++) { /* what is missing changes nothing */
        if (algebra->sources[i].entry != NULL) algebra->sources[kept++] = algebra->sources[i];
    }
    algebra->count = kept;
    for (size_t i = 1; algebra->kind == DIFFERENCE && i < kept; i++) {
        if (algebra->sources[i].entry == algebra->sources[0].entry) return 0;
    }
    return kept > 0;
}

/* --- pages --- */

/* Stops when no more can be asked for: the run after this one asks for the rest. */
static int touch_lookups(struct bytes member, double score, void *ctx) {
    struct algebra *algebra = ctx;
    (void)score;
    for (size_t i = 1; i < algebra->count; i++) {
        int error = source_touch(&algebra->sources[i], member);
        if (error == 0) continue;
        algebra->missing = 1;
        if (error != FIRN_EFAULT || fault_current()->count == FAULT_SET_MAX) return error;
    }
    return 0;
}

static int algebra_touch(struct algebra *algebra) {
    int result = 0, resident = 1;
    for (size_t i = 0; resident && i < algebra->count; i++)
        resident = source_is_resident(&algebra->sources[i]);
    if (resident) return 0;
    if (algebra->kind != UNION && source_size(&algebra->sources[0]) <= LOOKUPS_TOUCHED_MAX) {
        result = source_each(&algebra->sources[0], touch_lookups, algebra);
        return result == 0 && algebra->missing ? FIRN_EFAULT : result;
    }
    for (size_t i = 0; i < algebra->count; i++) {
        int error = source_touch_all(&algebra->sources[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

/* --- the walk --- */

static int algebra_emit(struct algebra *algebra, struct bytes member, double score) {
    enum zset_outcome outcome;
    double given;
    algebra->found++;
    if (algebra->only_count) return algebra->limit != 0 && algebra->found == algebra->limit;
    if (algebra->result == NULL) algebra->result = zset_create(algebra->key, SIZE_MAX, 0);
    if (member.size > algebra->longest) algebra->longest = member.size;
    return zset_put(algebra->result, member, score, 0, &outcome, &given);
}

static int receive_union(struct bytes member, double score, void *ctx) {
    struct algebra *algebra = ctx;
    double before;
    score = algebra_weighted(algebra->sources[algebra->walked].weight, score);
    int error = algebra->result != NULL ? zset_score(algebra->result, member, &before) : FIRN_ENOTFOUND;
    if (error == 0) score = algebra_aggregated(algebra->aggregate, before, score);
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    return algebra_emit(algebra, member, score);
}

static int receive_intersection(struct bytes member, double score, void *ctx) {
    struct algebra *algebra = ctx;
    const struct source *sources = algebra->sources;
    double sum = algebra_weighted(sources[0].weight, score), other;
    for (size_t i = 1; i < algebra->count; i++) {
        other = score;
        if (sources[i].entry != sources[0].entry) {
            int error = source_score(&sources[i], member, &other);
            if (error != 0) return error == FIRN_ENOTFOUND ? 0 : error;
        }
        sum = algebra_aggregated(algebra->aggregate, sum, other * sources[i].weight);
    }
    return algebra_emit(algebra, member, sum);
}

static int receive_difference(struct bytes member, double score, void *ctx) {
    struct algebra *algebra = ctx;
    for (size_t i = 1; i < algebra->count; i++) {
        double other;
        int error = source_score(&algebra->sources[i], member, &other);
        if (error != FIRN_ENOTFOUND) return error;
    }
    return algebra_emit(algebra, member, score);
}

/* 0, or an error. */
static int algebra_walk(struct algebra *algebra) {
    static int (*const receivers[])(struct bytes, double, void *) = {
        [INTERSECTION] = receive_intersection, [UNION] = receive_union, [DIFFERENCE] = receive_difference};
    int error = algebra_touch(algebra);
    size_t walks = algebra->kind == UNION ? algebra->count : 1;
    for (algebra->walked = 0; error == 0 && algebra->walked < walks; algebra->walked++)
        error = source_each(&algebra->sources[algebra->walked], receivers[algebra->kind], algebra);
    return error > 0 ? 0 : error; /* the limit stops it with 1 */
}

/* --- the result --- */

/* Store it (its longest member of ${longest} bytes) under argv[1] with ${event}, or (NULL) reply it.
 * *result_inout is taken over when it is stored. */
static int answer(struct call *call, struct entry **result_inout, size_t longest, const char *event,
                  int with_scores) {
    struct entry *result = *result_inout;
    if (event == NULL)
        return cmd_zset__reply_span(
            call, result, (struct zset_span){.count = result != NULL ? result->size : 0}, 0, with_scores);
    if (result != NULL) zset_settle_encoding(result, longest);
    int error = cmd_zset__store(call, call->argv[1], result, event);
    if (error == 0) *result_inout = NULL;
    return error;
}

/* --- in turns --- */

struct zset_result {
    struct zset_builder *builder; /* NULL: it is done */
    struct entry *zset;
    size_t longest; /* member */
    const char *event;
    int with_scores;
    unsigned waits;
};

static int zset_result_take(void *result_any, struct call *call, struct bytes member, uint64_t hash,
                            double score) {
    struct zset_result *result = result_any;
    (void)call;
    if (member.size > result->longest) result->longest = member.size;
    return zset_builder_add(result->builder, member, hash, score);
}

static void zset_result_passed(void *result_any, uint64_t hash) {
    struct zset_result *result = result_any;
    zset_builder_passed(result->builder, hash);
}

static int zset_result_finish(void *result_any, struct call *call, int *progressed_out) {
    struct zset_result *result = result_any;
    if (result->builder != NULL) {
        int error = algebra_turns_admit(call, &result->waits);
        if (error != 0) return error == FIRN_ENOSPACE ? 0 : error;
        error = zset_builder_finish(result->builder, progressed_out, &result->zset);
        if (error != 0) return error;
        zset_builder_destroy(result->builder);
        result->builder = NULL;
    }
    return answer(call, &result->zset, result->longest, result->event, result->with_scores);
}

static void zset_result_destroy(void *result_any) {
    struct zset_result *result = result_any;
    zset_builder_destroy(result->builder);
    cmd_zset__discard(result->zset);
    memory_free(result);
}

static const struct algebra_result_ops zset_result_ops = {.take = zset_result_take,
                                                          .passed = zset_result_passed,
                                                          .finish = zset_result_finish,
                                                          .destroy = zset_result_destroy};

/* Large inputs: FIRN_EPARKED. 0: they are not. */
static int algebra_in_turns(const struct algebra *algebra, const char *event) {
    struct entry **inputs = memory_alloc(algebra->count * sizeof *inputs);
    double *weights = memory_alloc(algebra->count * sizeof *weights);
    for (size_t i = 0; i < algebra->count; i++) {
        inputs[i] = algebra->sources[i].entry;
        weights[i] = algebra->sources[i].weight;
    }
    struct algebra_plan plan = {.kind = algebra->kind,
                                .inputs = inputs,
                                .weights = weights,
                                .count = algebra->count,
                                .aggregate = algebra->aggregate,
                                .ops = algebra->only_count ? NULL : &zset_result_ops,
                                .limit = algebra->limit};
    int parked = 0;
    if (algebra_turns_apply(algebra->call, &plan)) {
        struct zset_result *result = NULL;
        if (!algebra->only_count) {
            result = memory_alloc(sizeof *result);
            *result = (struct zset_result){.builder = zset_builder_create(algebra->key, ZSET_BUILDER_BY_HASH),
                                           .event = event,
                                           .with_scores = algebra->with_scores};
        }
        parked = algebra_turns_start(algebra->call, &plan, result);
        if (event != NULL) turns_hold(algebra->call, algebra->key);
    }
    memory_free(inputs);
    memory_free(weights);
    return parked;
}

/* --- commands --- */

/* ${event} NULL: the result is replied, else stored under argv[1] with that event. */
static int algebra_generic(struct call *call, enum algebra_kind kind, int only_count, const char *event) {
    struct algebra algebra = {.call = call, .kind = kind, .only_count = only_count};
    size_t at = event != NULL ? 2 : 1;
    algebra.key = call->argv[1];
    int error = algebra_keys(&algebra, at);
    if (error == 0) error = algebra_options(&algebra, at + 1 + algebra.count, event != NULL);
    if (error != 0) {
        algebra_fini(&algebra);
        return call_error(error);
    }
    int some = algebra_prepare(&algebra);
    if (some) error = algebra_in_turns(&algebra, event);
    if (some && error == 0) error = algebra_walk(&algebra);
    if (error == 0 && only_count) {
        reply_integer(call->reply, (int64_t)algebra.found);
    } else if (error == 0) {
        error = answer(call, &algebra.result, algebra.longest, event, algebra.with_scores);
    }
    algebra_fini(&algebra);
    return error != 0 ? cmd_zset__failed(call, error) : 0;
}

int cmd_zunion(struct call *call) {
    return algebra_generic(call, UNION, 0, NULL);
}
int cmd_zinter(struct call *call) {
    return algebra_generic(call, INTERSECTION, 0, NULL);
}
int cmd_zdiff(struct call *call) {
    return algebra_generic(call, DIFFERENCE, 0, NULL);
}
int cmd_zintercard(struct call *call) {
    return algebra_generic(call, INTERSECTION, 1, NULL);
}
int cmd_zunionstore(struct call *call) {
    return algebra_generic(call, UNION, 0, "zunionstore");
}
int cmd_zinterstore(struct call *call) {
    return algebra_generic(call, INTERSECTION, 0, "zinterstore");
}
int cmd_zdiffstore(struct call *call) {
    return algebra_generic(call, DIFFERENCE, 0, "zdiffstore");
}
