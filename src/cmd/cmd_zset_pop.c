/* SPDX-License-Identifier: BSD-3-Clause */
/* Taking elements from the ends of sorted sets: ZPOPMIN, ZPOPMAX, ZMPOP and the blocking forms of the three.
 * Executor only. */
#include <limits.h>

#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/cmd_zset_internal.h"
#include "cmd/command.h"
#include "ds/number.h"

struct pop {
    struct call *call;
    int max;             /* the highest scores */
    uint64_t count;      /* at most */
    int with_key, pairs; /* how the reply looks: the key first; an array for each element */
    int by_count;        /* ZMPOP: the elements in an array of their own */
};

struct pop_reply {
    struct reply *reply;
    int pairs;
};

static int pop_reply_element(struct bytes member, double score, void *ctx) {
    const struct pop_reply *run = ctx;
    if (run->pairs) reply_array(run->reply, 2);
    reply_bulk(run->reply, member);
    reply_double(run->reply, score);
    return 0;
}

/* The form that does the same elsewhere: ZPOPMIN key [count]. */
static void pop_rewrite(const struct pop *pop, struct bytes key) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes argv[3] = {bytes_of_text(pop->max ? "ZPOPMAX" : "ZPOPMIN"), key};
    argv[2] = bytes_of(digits, number_format_uint(pop->count, digits));
    call_rewrite(pop->call, pop->by_count ? 3 : 2, argv);
}

/* Take elements out of ${entry}, which has some, and reply them. */
static int pop_from(const struct pop *pop, struct bytes key, struct entry *entry) {
    struct call *call = pop->call;
    struct pop_reply run = {.reply = call->reply, .pairs = pop->pairs};
    struct zset_span span = {.count = pop->count < entry->size ? pop->count : entry->size};
    uint64_t removed = span.count;
    int is_all = span.count == entry->size;
    if (pop->max) span.first = entry->size - span.count;
    int error = is_all ? zset_touch_span(entry, span) : zset_touch_remove_span(entry, span);
    if (error != 0) return error;
    if (pop->by_count) {
        reply_array(call->reply, 2);
        reply_bulk(call->reply, key);
        reply_array(call->reply, span.count);
    } else {
        reply_array(call->reply, pop->with_key ? 3 : pop->pairs ? span.count : 2 * span.count);
        if (pop->with_key) reply_bulk(call->reply, key);
    }
    error = zset_each(entry, span, pop->max, pop_reply_element, &run);
    if (error != 0) return error;
    entry = db_changing(call->db, entry);
    if (!is_all) error = zset_remove_span(entry, span, &removed);
    if (removed > 0) call_notify(call, NOTIFY_ZSET, pop->max ? "zpopmax" : "zpopmin", key);
    if (is_all) {
        db_delete(call->db, entry);
        call_notify(call, NOTIFY_GENERIC, "del", key);
    }
    if (removed > 0) call_changed_elements(call, key, removed);
    return error;
}

/* --- ZPOPMIN, ZPOPMAX --- */

static int pop_count(struct call *call, struct bytes argument, uint64_t *count_out) {
    static const char text[] = "value is out of range, must be positive";
    int64_t count;
    int error = call_integer_or(call, argument, text, &count);
    *count_out = (uint64_t)count;
    if (error != 0 || count >= 0) return error;
    reply_error(call->reply, text);
    return FIRN_EINVALID;
}

static int pop_generic(struct call *call, int max) {
    struct pop pop = {.call = call, .max = max, .count = 1};
    struct entry *entry;
    if (call->argc > 3) {
        call_syntax_error(call);
        return 0;
    }
    if (call->argc == 3) {
        CALL_TRY(pop_count(call, call->argv[2], &pop.count));
        pop.pairs = call->reply->version > 2;
    }
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_ZSET, &entry));
    if (entry == NULL || pop.count == 0) {
        reply_array(call->reply, 0);
        return 0;
    }
    return pop_from(&pop, call->argv[1], entry);
}

int cmd_zpopmin(struct call *call) {
    return pop_generic(call, 0);
}
int cmd_zpopmax(struct call *call) {
    return pop_generic(call, 1);
}

/* --- several keys, waiting --- */

/* Take from the first of ${keys} that has elements: *popped_out; FIRN_EWRONGTYPE (replied). */
static int pop_first(struct pop *pop, const struct bytes *keys, size_t count, int *popped_out) {
    *popped_out = 0;
    for (size_t i = 0; i < count; i++) {
        struct entry *entry;
        int error = call_find_write_type(pop->call, keys[i], TYPE_ZSET, &entry);
        if (error != 0) return error;
        if (entry == NULL) continue;
        if (pop->count > entry->size) pop->count = entry->size;
        error = pop_from(pop, keys[i], entry);
        if (error == 0) pop_rewrite(pop, keys[i]);
        *popped_out = 1;
        return error;
    }
    return 0;
}

/* As pop_first; with nothing there wait for ${timeout_ms}, then reply null. */
static int pop_or_wait(struct pop *pop, const struct bytes *keys, size_t count, int64_t timeout_ms) {
    int popped;
    CALL_TRY(pop_first(pop, keys, count, &popped));
    if (popped) return 0;
    int error = call_block(pop->call, TYPE_ZSET, keys, count, timeout_ms);
    if (error == 0) reply_null_array(pop->call->reply);
    return error;
}

static int blocking_generic(struct call *call, int max) {
    struct pop pop = {.call = call, .max = max, .count = 1, .with_key = 1};
    int64_t timeout_ms;
    CALL_TRY(call_timeout(call, call->argv[call->argc - 1], &timeout_ms));
    return pop_or_wait(&pop, call->argv + 1, call->argc - 2, timeout_ms);
}

int cmd_bzpopmin(struct call *call) {
    return blocking_generic(call, 0);
}
int cmd_bzpopmax(struct call *call) {
    return blocking_generic(call, 1);
}

/* --- ZMPOP --- */

static struct pop mpop_of(struct call *call, const struct call_mpop *mpop) {
    return (struct pop){.call = call, .by_count = 1, .pairs = 1, .max = mpop->second, .count = mpop->count};
}

int cmd_zmpop(struct call *call) {
    struct call_mpop mpop;
    int popped;
    CALL_TRY(call_mpop(call, 1, "MIN", "MAX", &mpop));
    struct pop pop = mpop_of(call, &mpop);
    CALL_TRY(pop_first(&pop, mpop.keys, mpop.keys_count, &popped));
    if (!popped) reply_null_array(call->reply);
    return 0;
}

int cmd_bzmpop(struct call *call) {
    struct call_mpop mpop;
    int64_t timeout_ms;
    CALL_TRY(call_mpop(call, 2, "MIN", "MAX", &mpop));
    CALL_TRY(call_timeout(call, call->argv[1], &timeout_ms));
    struct pop pop = mpop_of(call, &mpop);
    return pop_or_wait(&pop, mpop.keys, mpop.keys_count, timeout_ms);
}
