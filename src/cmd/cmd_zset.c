/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands on elements of sorted sets by member: ZADD, ZINCRBY, ZREM, ZCARD, ZSCORE, ZMSCORE, ZRANK,
 * ZREVRANK. Ranges are in cmd_zset_range.c, taking from the ends in cmd_zset_pop.c, walks and draws in
 * cmd_zset_walk.c, combinations in cmd_zset_algebra.c. Executor only.
 */
#include "base/memory.h"
#include "cmd/cmd_zset_internal.h"
#include "cmd/command.h"

/* --- shared --- */

int cmd_zset__failed(struct call *call, int error) {
    if (error == FIRN_ETOOBIG) {
        reply_error(call->reply, "sorted set member is too long");
        return 0;
    }
    if (error == FIRN_ENOTNUMBER) {
        reply_error(call->reply, "resulting score is not a number (NaN)");
        return 0;
    }
    return error;
}

void cmd_zset__delete_if_empty(struct call *call, struct bytes key, struct entry *entry) {
    if (entry->size > 0) return;
    db_delete(call->db, entry);
    call_notify(call, NOTIFY_GENERIC, "del", key);
}

void cmd_zset__discard(struct entry *entry) {
    if (entry == NULL) return;
    type_zset_ops.free_value(entry);
    entry_free(entry);
}

int cmd_zset__store(struct call *call, struct bytes key, struct entry *result, const char *event) {
    struct entry *old;
    int error = call_find_write(call, key, &old);
    if (error != 0) return error;
    if (result == NULL || result->size == 0) {
        cmd_zset__discard(result);
        if (old != NULL) {
            db_delete(call->db, db_changing(call->db, old));
            call_changed(call, key);
            call_notify(call, NOTIFY_GENERIC, "del", key);
        }
        reply_integer(call->reply, 0);
        return 0;
    }
    int64_t size = result->size;
    if (old != NULL) {
        db_replace(call->db, db_changing(call->db, old), result);
    } else {
        db_insert(call->db, result);
    }
    call_changed(call, key);
    call_notify(call, NOTIFY_ZSET, event, key);
    reply_integer(call->reply, size);
    return 0;
}

/* --- ZADD, ZINCRBY --- */

#define SCORES_ON_STACK 16u

struct zadd {
    struct call *call;
    unsigned flags; /* ZSET_* */
    int count_changed;
    size_t first; /* argument: score, member, score... */
    size_t count;
    double *scores;
    double on_stack[SCORES_ON_STACK];
    int64_t added, updated;
    int refused; /* the last one */
    double score;
};

static void zadd_fini(struct zadd *zadd) {
    if (zadd->scores != zadd->on_stack) memory_free(zadd->scores);
}

static int zadd_error(struct zadd *zadd, const char *text) {
    reply_error(zadd->call->reply, text);
    return FIRN_EINVALID;
}

static int zadd_options(struct zadd *zadd) {
    struct call *call = zadd->call;
    size_t at = 2;
    for (; at < call->argc; at++) {
        if (call_option(call, at, "NX")) {
            zadd->flags |= ZSET_NX;
        } else if (call_option(call, at, "XX")) {
            zadd->flags |= ZSET_XX;
        } else if (call_option(call, at, "GT")) {
            zadd->flags |= ZSET_GT;
        } else if (call_option(call, at, "LT")) {
            zadd->flags |= ZSET_LT;
        } else if (call_option(call, at, "INCR")) {
            zadd->flags |= ZSET_INCR;
        } else if (call_option(call, at, "CH")) {
            zadd->count_changed = 1;
        } else {
            break;
        }
    }
    size_t left = call->argc - at;
    if (left == 0 || left % 2 != 0) return call_syntax_error(call);
    zadd->first = at;
    zadd->count = left / 2;
    if (zadd->flags & ZSET_NX && zadd->flags & ZSET_XX)
        return zadd_error(zadd, "XX and NX options at the same time are not compatible");
    if ((zadd->flags & (ZSET_GT | ZSET_LT) && zadd->flags & ZSET_NX) ||
        (zadd->flags & ZSET_GT && zadd->flags & ZSET_LT))
        return zadd_error(zadd, "GT, LT, and/or NX options at the same time are not compatible");
    if (zadd->flags & ZSET_INCR && zadd->count > 1)
        return zadd_error(zadd, "INCR option supports a single increment-element pair");
    return 0;
}

static int zadd_scores(struct zadd *zadd) {
    zadd->scores = zadd->on_stack;
    if (zadd->count > SCORES_ON_STACK) zadd->scores = memory_alloc(zadd->count * sizeof *zadd->scores);
    for (size_t i = 0; i < zadd->count; i++) {
        int error = call_double(zadd->call, zadd->call->argv[zadd->first + 2 * i], &zadd->scores[i]);
        if (error != 0) return error;
    }
    return 0;
}

static struct bytes zadd_member(const struct zadd *zadd, size_t i) {
    return zadd->call->argv[zadd->first + 2 * i + 1];
}

/* Make sure that all pages of several elements are here. */
static int zadd_touch(struct zadd *zadd, struct entry *entry) {
    int result = 0;
    if (zset_is_resident(entry)) return 0;
    for (size_t i = 0; i < zadd->count; i++) {
        int error = zset_touch_put(entry, zadd_member(zadd, i), zadd->scores[i], zadd->flags);
        if (error == FIRN_ENOTNUMBER) continue;
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

static size_t zadd_longest(const struct zadd *zadd) {
    size_t longest = 0;
    for (size_t i = 0; i < zadd->count; i++) {
        size_t size = zadd_member(zadd, i).size;
        longest = size > longest ? size : longest;
    }
    return longest;
}

/* ${entry} is in a table (announced), or not yet. */
static int zadd_put(struct zadd *zadd, struct entry *entry, int is_fresh) {
    for (size_t i = 0; i < zadd->count; i++) {
        enum zset_outcome outcome;
        int error =
            zset_put(entry, zadd_member(zadd, i), zadd->scores[i], zadd->flags, &outcome, &zadd->score);
        if (error != 0) return error;
        if (i == 0 && zadd->count > 1 && !is_fresh) call_must_finish(zadd->call);
        zadd->added += outcome == ZSET_ADDED;
        zadd->updated += outcome == ZSET_UPDATED;
        zadd->refused = outcome == ZSET_REFUSED;
    }
    return 0;
}

static int zadd_apply(struct zadd *zadd, struct bytes key) {
    struct call *call = zadd->call;
    struct entry *entry;
    int error = call_find_write_type(call, key, TYPE_ZSET, &entry);
    if (error != 0) return error;
    if (entry == NULL) {
        zadd->refused = 1;
        if (zadd->flags & ZSET_XX) return 0;
        entry = zset_create(key, zadd->count, zadd_longest(zadd));
        error = zadd_put(zadd, entry, 1);
        if (error != 0) {
            zadd->added = 0;
            cmd_zset__discard(entry);
            return error;
        }
        db_insert(call->db, entry);
        return 0;
    }
    if (zadd->count > 1) {
        error = zadd_touch(zadd, entry);
        if (error != 0) return error;
    }
    entry = db_changing(call->db, entry);
    zset_expect(entry, zadd->count, zadd_longest(zadd));
    return zadd_put(zadd, entry, 0);
}

/* The whole command but for its arguments: 0 with everything done but the reply. */
static int zadd_run(struct zadd *zadd, struct bytes key) {
    int error = zadd_apply(zadd, key);
    if (zadd->added + zadd->updated > 0) { /* also those before a failure */
        call_changed_elements(zadd->call, key, (uint64_t)(zadd->added + zadd->updated));
        call_notify(zadd->call, NOTIFY_ZSET, zadd->flags & ZSET_INCR ? "zincr" : "zadd", key);
    }
    return error;
}

/* What the handler returns for an error of zadd_run: WRONGTYPE was replied. */
static int zadd_failed(struct call *call, int error) {
    return error == FIRN_EWRONGTYPE ? 0 : cmd_zset__failed(call, error);
}

int cmd_zadd(struct call *call) {
    struct zadd zadd = {.call = call};
    CALL_TRY(zadd_options(&zadd));
    int error = zadd_scores(&zadd);
    if (error != 0) {
        zadd_fini(&zadd);
        return call_error(error);
    }
    error = zadd_run(&zadd, call->argv[1]);
    zadd_fini(&zadd);
    if (error != 0) return zadd_failed(call, error);
    if (!(zadd.flags & ZSET_INCR)) {
        reply_integer(call->reply, zadd.added + (zadd.count_changed ? zadd.updated : 0));
    } else if (zadd.refused) {
        reply_null(call->reply);
    } else {
        reply_double(call->reply, zadd.score);
    }
    return 0;
}

int cmd_zincrby(struct call *call) {
    struct zadd zadd = {.call = call, .flags = ZSET_INCR, .first = 2, .count = 1};
    CALL_TRY(zadd_scores(&zadd));
    int error = zadd_run(&zadd, call->argv[1]);
    if (error != 0) return zadd_failed(call, error);
    reply_double(call->reply, zadd.score);
    return 0;
}

/* --- ZREM --- */

static int remove_members(struct call *call, struct entry *entry, int64_t *removed_out) {
    int result = 0;
    for (size_t i = 2; call->argc > 3 && i < call->argc; i++) {
        int error = zset_touch_remove(entry, call->argv[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    if (result != 0) return result;
    for (size_t i = 2; i < call->argc && entry->size > 0; i++) {
        int error = zset_remove(entry, call->argv[i]);
        if (error == FIRN_ENOTFOUND) continue;
        if (error != 0) return error;
        if ((*removed_out)++ == 0) call_must_finish(call);
    }
    return 0;
}

int cmd_zrem(struct call *call) {
    struct entry *entry;
    struct bytes key = call->argv[1];
    int64_t removed = 0;
    int error = 0;
    CALL_TRY(call_find_write_type(call, key, TYPE_ZSET, &entry));
    if (entry != NULL) {
        entry = db_changing(call->db, entry);
        error = remove_members(call, entry, &removed);
    }
    if (removed > 0) {
        call_changed_elements(call, key, (uint64_t)removed);
        call_notify(call, NOTIFY_ZSET, "zrem", key);
        cmd_zset__delete_if_empty(call, key, entry);
    }
    if (error != 0) return error;
    reply_integer(call->reply, removed);
    return 0;
}

/* --- looking up --- */

int cmd_zcard(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    reply_integer(call->reply, entry == NULL ? 0 : entry->size);
    return 0;
}

static int reply_score(struct call *call, struct entry *entry, struct bytes member) {
    double score;
    int error = entry == NULL ? FIRN_ENOTFOUND : zset_score(entry, member, &score);
    if (error == 0) reply_double(call->reply, score);
    if (error == FIRN_ENOTFOUND) reply_null(call->reply);
    return error == FIRN_ENOTFOUND ? 0 : error;
}

int cmd_zscore(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    return reply_score(call, entry, call->argv[2]);
}

int cmd_zmscore(struct call *call) {
    struct entry *entry;
    int error = 0;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    for (size_t i = 2; entry != NULL && i < call->argc; i++) {
        int one = zset_touch(entry, call->argv[i]);
        if (one != 0 && (error == 0 || one != FIRN_EFAULT)) error = one;
    }
    if (error != 0) return error;
    reply_array(call->reply, call->argc - 2);
    for (size_t i = 2; error == 0 && i < call->argc; i++)
        error = reply_score(call, entry, call->argv[i]);
    return error;
}

static int rank_generic(struct call *call, int reverse) {
    struct entry *entry;
    double score;
    uint64_t rank;
    int with_score = call->argc == 4 && call_option(call, 3, "WITHSCORE");
    if (call->argc > 4 || (call->argc == 4 && !with_score)) {
        call_syntax_error(call);
        return 0;
    }
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    int error = entry == NULL ? FIRN_ENOTFOUND : zset_rank(entry, call->argv[2], &score, &rank);
    if (error == FIRN_ENOTFOUND) {
        if (with_score) {
            reply_null_array(call->reply);
        } else {
            reply_null(call->reply);
        }
        return 0;
    }
    if (error != 0) return error;
    if (with_score) reply_array(call->reply, 2);
    reply_integer(call->reply, (int64_t)(reverse ? entry->size - 1 - rank : rank));
    if (with_score) reply_double(call->reply, score);
    return 0;
}

int cmd_zrank(struct call *call) {
    return rank_generic(call, 0);
}
int cmd_zrevrank(struct call *call) {
    return rank_generic(call, 1);
}
