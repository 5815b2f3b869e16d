/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands that go through sorted sets step by step or draw from them: ZSCAN, ZRANDMEMBER. Executor only. */
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "base/bytes_builder.h"
#include "base/random.h"
#include "cmd/cmd_zset_internal.h"
#include "cmd/command.h"
#include "ds/glob.h"
#include "ds/int_map.h"
#include "ds/number.h"
#include "page/fault.h"

/* --- ZSCAN --- */

struct zscan {
    struct bytes pattern;
    int with_pattern, is_listpack;
    uint64_t count;
    struct bytes_builder items; /* bulk strings, as they are in both protocols */
    size_t items_count;
};

static void zscan_append(struct zscan *zscan, struct bytes text) {
    bytes_builder_format(&zscan->items, "$%zu\r\n", text.size);
    bytes_builder_append(&zscan->items, text.data, text.size);
    bytes_builder_append(&zscan->items, "\r\n", 2);
    zscan->items_count++;
}

static void zscan_receive(struct bytes member, double score, void *ctx) {
    struct zscan *zscan = ctx;
    char text[64];
    if (zscan->with_pattern && !glob_match(zscan->pattern, member, 0)) return;
    zscan_append(zscan, member);
    /* as Redis does it: the text that a listpack holds, else all 17 digits */
    unsigned size = zscan->is_listpack || isinf(score)
                        ? number_format_double(score, text)
                        : (unsigned)snprintf(text, sizeof text, "%.17g", score);
    zscan_append(zscan, bytes_of(text, size));
}

static int zscan_cursor(struct call *call, uint64_t *cursor_out) {
    struct bytes text = call->argv[2];
    uint64_t value = 0;
    size_t at = text.size > 0 && text.data[0] == '+';
    int good = text.size > at;
    for (; good && at < text.size; at++) {
        good = text.data[at] >= '0' && text.data[at] <= '9' && !__builtin_mul_overflow(value, 10u, &value) &&
               !__builtin_add_overflow(value, (uint64_t)(text.data[at] - '0'), &value);
    }
    *cursor_out = value;
    if (!good) reply_error(call->reply, "invalid cursor");
    return good;
}

static int zscan_options(struct call *call, struct zscan *zscan) {
    for (size_t i = 3; i < call->argc; i += 2) {
        int has_value = i + 1 < call->argc;
        if (call_option(call, i, "COUNT") && has_value) {
            int64_t count;
            int error = call_integer(call, call->argv[i + 1], &count);
            if (error != 0) return error;
            if (count < 1) return call_syntax_error(call);
            zscan->count = (uint64_t)count;
        } else if (call_option(call, i, "MATCH") && has_value) {
            zscan->pattern = call->argv[i + 1];
            zscan->with_pattern = !bytes_is(zscan->pattern, "*");
        } else {
            return call_syntax_error(call);
        }
    }
    return 0;
}

int cmd_zscan(struct call *call) {
    struct entry *entry;
    struct zscan zscan = {.count = 10};
    uint64_t cursor, next = 0;
    if (!zscan_cursor(call, &cursor)) return 0;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    if (entry != NULL) {
        CALL_TRY(zscan_options(call, &zscan));
        zscan.is_listpack = entry_encoding(entry) == ENCODING_LISTPACK;
        int error = zset_scan(entry, cursor, zscan.count, zscan_receive, &zscan, &next);
        if (error != 0) {
            bytes_builder_fini(&zscan.items);
            return error;
        }
    }
    char digits[NUMBER_INT_TEXT_MAX];
    reply_array(call->reply, 2);
    reply_bulk(call->reply, bytes_of(digits, number_format_uint(next, digits)));
    reply_array(call->reply, zscan.items_count);
    if (zscan.items.size > 0) reply_raw(call->reply, bytes_builder_bytes(&zscan.items));
    bytes_builder_fini(&zscan.items);
    return 0;
}

/* --- ZRANDMEMBER --- */

/*
 * A command that faults runs again and must draw the same elements, or it might never end: the state of the
 * sequence stays until a run gets through. One state for some clients each; when two share one, the worst is
 * another fault.
 */
#define RANDOM_STATES     64u
#define DRAWS_TOUCHED_MAX (FAULT_TOUCH_MAX / 2) /* for more, all pages are asked for */
#define CHOOSE_PART       3u                    /* a larger part than 1 in so many is chosen while walking */

static uint64_t random_states[RANDOM_STATES];

static uint64_t *random_state_of(const struct call *call) {
    uint64_t *state = &random_states[((uintptr_t)call->client >> 6) % RANDOM_STATES];
    if (*state == 0) *state = random_u64();
    return state;
}

/* A number below ${limit} (32 bits). */
static uint64_t draw(uint64_t *state, uint64_t limit) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return ((z ^ z >> 31) >> 32) * limit >> 32;
}

struct randmember {
    struct call *call;
    struct entry *entry;
    uint64_t state;
    int with_scores;
    uint64_t wanted, left; /* choosing while walking */
};

/* The pages of ${count} draws. */
static int touch_draws(const struct randmember *run, uint64_t count) {
    uint64_t state = run->state;
    int result = 0;
    if (zset_is_resident(run->entry)) return 0;
    if (count > DRAWS_TOUCHED_MAX)
        return zset_touch_span(run->entry, (struct zset_span){.count = run->entry->size});
    for (uint64_t i = 0; i < count; i++) {
        int error = zset_touch_at(run->entry, draw(&state, run->entry->size));
        if (error != 0 && error != FIRN_EFAULT) return error;
        if (error == 0) continue;
        result = error;
        if (fault_current()->count == FAULT_SET_MAX) break; /* the run after this one asks for the rest */
    }
    return result;
}

static void reply_drawn(const struct randmember *run, struct bytes member, double score) {
    if (run->with_scores && run->call->reply->version > 2) reply_array(run->call->reply, 2);
    reply_bulk(run->call->reply, member);
    if (run->with_scores) reply_double(run->call->reply, score);
}

static void reply_head(const struct randmember *run, uint64_t count) {
    reply_array(run->call->reply, run->with_scores && run->call->reply->version == 2 ? 2 * count : count);
}

static int reply_at(struct randmember *run, uint64_t rank) {
    struct bytes member;
    double score;
    int error = zset_at(run->entry, rank, &member, &score);
    if (error == 0) reply_drawn(run, member, score);
    return error;
}

/* ${count} elements, each drawn from all. */
static int randmember_repeated(struct randmember *run, uint64_t count) {
    int error = touch_draws(run, count);
    if (error != 0) return error;
    reply_head(run, count);
    for (uint64_t i = 0; error == 0 && i < count && !run->call->reply->lost; i++)
        error = reply_at(run, draw(&run->state, run->entry->size));
    return error;
}

/* Few different elements of many. */
static int randmember_distinct(struct randmember *run, uint64_t count) {
    int error = touch_draws(run, count);
    if (error != 0) return error;
    struct int_map drawn = {0};
    reply_head(run, count);
    while (error == 0 && int_map_count(&drawn) < count) {
        uint64_t rank = draw(&run->state, run->entry->size);
        if (int_map_put(&drawn, rank + 1, run) == NULL) error = reply_at(run, rank);
    }
    int_map_fini(&drawn);
    return error;
}

/* Each element with the probability that the wanted number of those left needs. */
static int randmember_choose(struct bytes member, double score, void *ctx) {
    struct randmember *run = ctx;
    if (run->wanted > 0 && random_below(run->left) < run->wanted) {
        reply_drawn(run, member, score);
        run->wanted--;
    }
    run->left--;
    return 0;
}

static int randmember_part(struct randmember *run, uint64_t count) {
    struct zset_span all = {.count = run->entry->size};
    int error = zset_touch_span(run->entry, all);
    if (error != 0) return error;
    run->wanted = count;
    run->left = run->entry->size;
    reply_head(run, count);
    return zset_each(run->entry, all, 0, randmember_choose, run);
}

static int randmember_counted(struct randmember *run, int64_t wanted) {
    uint64_t count = wanted < 0 ? (uint64_t)-wanted : (uint64_t)wanted, size = run->entry->size;
    if (count == 0) {
        reply_array(run->call->reply, 0);
        return 0;
    }
    if (wanted < 0 || count == 1) return randmember_repeated(run, count);
    if (count >= size)
        return cmd_zset__reply_span(run->call, run->entry, (struct zset_span){.count = size}, 0,
                                    run->with_scores);
    return count * CHOOSE_PART > size ? randmember_part(run, count) : randmember_distinct(run, count);
}

static int randmember_arguments(struct call *call, struct randmember *run, int64_t *wanted_out) {
    if (call->argc > 4 || (call->argc == 4 && !call_option(call, 3, "WITHSCORES")))
        return call_syntax_error(call);
    int error = call_integer(call, call->argv[2], wanted_out);
    if (error != 0) return error;
    run->with_scores = call->argc == 4;
    if (*wanted_out == INT64_MIN) {
        reply_error_format(call->reply, "value is out of range, value must between %ld and %ld", -LONG_MAX,
                           LONG_MAX);
        return FIRN_EINVALID;
    }
    if (run->with_scores && (*wanted_out < -LONG_MAX / 2 || *wanted_out > LONG_MAX / 2)) {
        reply_error(call->reply, "value is out of range");
        return FIRN_EINVALID;
    }
    return 0;
}

int cmd_zrandmember(struct call *call) {
    struct randmember run = {.call = call};
    int64_t wanted = 1;
    int counted = call->argc > 2;
    if (counted) CALL_TRY(randmember_arguments(call, &run, &wanted));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &run.entry));
    if (run.entry == NULL) {
        if (counted) {
            reply_array(call->reply, 0);
        } else {
            reply_null(call->reply);
        }
        return 0;
    }
    uint64_t *state = random_state_of(call);
    run.state = *state;
    int error =
        counted ? randmember_counted(&run, wanted) : reply_at(&run, draw(&run.state, run.entry->size));
    if (error == 0) *state = counted ? random_u64() : run.state;
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}
