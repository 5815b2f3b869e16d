/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands that go through sorted sets step by step or draw from them: ZSCAN, ZRANDMEMBER. Executor only. */
#include <math.h>
#include <stdio.h>

#include "base/random.h"
#include "cmd/cmd_zset_internal.h"
#include "cmd/collection_walk.h"
#include "cmd/command.h"
#include "ds/int_map.h"
#include "ds/number.h"
#include "page/fault.h"

/* --- ZSCAN --- */

struct zscan {
    struct collection_scan scan;
    int is_listpack;
};

static void zscan_receive(struct bytes member, double score, void *ctx) {
    struct zscan *zscan = ctx;
    char text[64];
    if (!collection_scan_wants(&zscan->scan, member)) return;
    collection_scan_item(&zscan->scan, member);
    /* as Redis does it: the text that a listpack holds, else all 17 digits */
    unsigned size = zscan->is_listpack || isinf(score)
                        ? number_format_double(score, text)
                        : (unsigned)snprintf(text, sizeof text, "%.17g", score);
    collection_scan_item(&zscan->scan, bytes_of(text, size));
}

int cmd_zscan(struct call *call) {
    struct entry *entry;
    struct zscan zscan = {.is_listpack = 0};
    uint64_t cursor, next = 0;
    CALL_TRY(call_cursor(call, call->argv[2], &cursor));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    if (entry != NULL) {
        CALL_TRY(collection_scan_options(call, 0, &zscan.scan));
        zscan.is_listpack = entry_encoding(entry) == ENCODING_LISTPACK;
        int error = zset_scan(entry, cursor, zscan.scan.count, zscan_receive, &zscan, &next);
        if (error != 0) {
            collection_scan_fini(&zscan.scan);
            return error;
        }
    }
    collection_scan_reply(call, &zscan.scan, next);
    return 0;
}

/* --- ZRANDMEMBER --- */

#define DRAWS_TOUCHED_MAX (FAULT_TOUCH_MAX / 2) /* for more, all pages are asked for */
#define CHOOSE_PART       3u                    /* a larger part than 1 in so many is chosen while walking */

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

int cmd_zrandmember(struct call *call) {
    struct randmember run = {.call = call};
    int64_t wanted = 1;
    int counted = call->argc > 2;
    if (counted) CALL_TRY(collection_random_count(call, "WITHSCORES", &wanted, &run.with_scores));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &run.entry));
    if (run.entry == NULL) {
        if (counted) {
            reply_array(call->reply, 0);
        } else {
            reply_null(call->reply);
        }
        return 0;
    }
    uint64_t *state = collection_random_state(call);
    run.state = *state;
    int error =
        counted ? randmember_counted(&run, wanted) : reply_at(&run, draw(&run.state, run.entry->size));
    if (error == 0) *state = counted ? random_u64() : run.state;
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}
