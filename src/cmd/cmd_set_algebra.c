/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Intersection, union and difference of sets. No table of what was seen is built: one set is walked page by
 * page and each of its members looked up in others, so a reply costs no memory besides itself.
 *
 * Pages are asked for before the walk: all of the walked set; of the sets looked up in only those that hold
 * its members if it is small, else all. More than one run can keep are read one by one while walking.
 * Executor only.
 */
#include <stdlib.h>

#include "base/memory.h"
#include "cmd/algebra_turns.h"
#include "cmd/cmd_set_internal.h"
#include "cmd/command.h"
#include "cmd/turns.h"
#include "page/fault.h"
#include "types/packed_collection.h"

#define LOOKUPS_TOUCHED_MAX FAULT_TOUCH_MAX

struct algebra {
    struct call *call;
    enum algebra_kind kind;
    struct entry **sets; /* missing ones are NULL until algebra_prepare */
    size_t count;
    size_t walked;         /* index of the set being walked */
    int into_result;       /* else members are replied */
    struct bytes key;      /* of the result */
    struct entry *result;  /* in no table; NULL while empty */
    uint64_t found, limit; /* limit 0: none */
    int only_count;
};

/* --- sources --- */

static void algebra_fini(struct algebra *algebra) {
    memory_free(algebra->sets);
    cmd_set__discard(algebra->result);
}

static void algebra_prepare(struct algebra *algebra);

/* Look up argv[first .. first + count); an error leaves nothing behind. */
static int algebra_find(struct algebra *algebra, struct call *call, enum algebra_kind kind, size_t first,
                        size_t count) {
    *algebra = (struct algebra){.call = call, .kind = kind, .count = count};
    algebra->sets = memory_alloc(count * sizeof *algebra->sets);
    for (size_t i = 0; i < count; i++) {
        int error = call_find_read_type(call, call->argv[first + i], TYPE_SET, &algebra->sets[i]);
        if (error != 0) {
            algebra_fini(algebra);
            return error;
        }
    }
    algebra_prepare(algebra);
    return 0;
}

/* Drop repeated and missing sets from [from .. count). */
static void algebra_distinct(struct algebra *algebra, size_t from) {
    size_t kept = from;
    for (size_t i = from; i < algebra->count; i++) {
        struct entry *set = algebra->sets[i];
        size_t j = from;
        while (j < kept && algebra->sets[j] != set)
            j++;
        if (set != NULL && j == kept) algebra->sets[kept++] = set;
    }
    algebra->count = kept;
}

static int by_size(const void *a_any, const void *b_any) {
    const struct entry *a = *(struct entry *const *)a_any, *b = *(struct entry *const *)b_any;
    return a->size < b->size ? -1 : a->size > b->size;
}

/* Bring the sets into the form that is walked: an intersection begins with the smallest one, a difference
 * with the one that is diminished. count 0: the result is empty. */
static void algebra_prepare(struct algebra *algebra) {
    struct entry **sets = algebra->sets;
    if (algebra->kind == INTERSECTION) {
        for (size_t i = 0; i < algebra->count; i++) {
            if (sets[i] == NULL) algebra->count = 0;
        }
        algebra_distinct(algebra, 0);
        if (algebra->count > 1) qsort(sets, algebra->count, sizeof *sets, by_size);
    } else if (algebra->kind == UNION) {
        algebra_distinct(algebra, 0);
    } else {
        if (sets[0] == NULL) algebra->count = 0;
        for (size_t i = 1; i < algebra->count; i++) {
            if (sets[i] == sets[0]) algebra->count = 0;
        }
        if (algebra->count > 0) algebra_distinct(algebra, 1);
    }
}

/* --- pages --- */

/* Stops when no more can be asked for: the run after this one asks for the rest. */
static int touch_lookups(struct bytes member, void *ctx) {
    struct algebra *algebra = ctx;
    for (size_t i = 1; i < algebra->count; i++) {
        int error = set_touch(algebra->sets[i], member);
        if (error == 0) continue;
        algebra->found = 1;
        if (error != FIRN_EFAULT || fault_current()->count == FAULT_SET_MAX) return error;
    }
    return 0;
}

static int algebra_touch(struct algebra *algebra) {
    int result = 0, resident = 1;
    for (size_t i = 0; resident && i < algebra->count; i++)
        resident = set_is_resident(algebra->sets[i]);
    if (resident) return 0;
    if (algebra->kind != UNION && algebra->sets[0]->size <= LOOKUPS_TOUCHED_MAX) {
        result = set_each(algebra->sets[0], touch_lookups, algebra);
        if (result == 0 && algebra->found) result = FIRN_EFAULT;
        algebra->found = 0;
        return result;
    }
    for (size_t i = 0; i < algebra->count; i++) {
        int error = set_touch_all(algebra->sets[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

/* --- the walk --- */

static int algebra_emit(struct algebra *algebra, struct bytes member) {
    if (algebra->into_result) {
        if (algebra->result == NULL) algebra->result = set_create(algebra->key, member, 1);
        return set_add(algebra->result, member, 0, NULL);
    }
    algebra->found++;
    if (!algebra->only_count) reply_bulk(algebra->call->reply, member);
    return algebra->limit != 0 && algebra->found == algebra->limit;
}

static int algebra_receive(struct bytes member, void *ctx) {
    struct algebra *algebra = ctx;
    size_t from = 1, to = algebra->count;
    if (algebra->kind == UNION) { /* not if it was seen in one before; a result knows by itself */
        from = 0;
        to = algebra->into_result ? 0 : algebra->walked;
    }
    for (size_t i = from; i < to; i++) {
        int error = set_contains_still(algebra->sets[i], member);
        if (error != 0 && error != FIRN_ENOTFOUND) return error;
        if ((error == 0) != (algebra->kind == INTERSECTION)) return 0;
    }
    return algebra_emit(algebra, member);
}

/* 0, or an error. */
static int algebra_run(struct algebra *algebra) {
    int error = algebra_touch(algebra);
    size_t walks = algebra->kind == UNION ? algebra->count : algebra->count > 0;
    for (algebra->walked = 0; error == 0 && algebra->walked < walks; algebra->walked++)
        error = set_each(algebra->sets[algebra->walked], algebra_receive, algebra);
    return error > 0 ? 0 : error; /* the limit stops it with 1 */
}

/* --- in turns: the result is a set in no table, which grows in the order of the hash --- */

#define SWEEP_PAGES 256u /* of the result, behind the walk */

struct set_result {
    struct entry *set; /* NULL while empty */
    const char *event; /* static text; NULL: replied */
    unsigned leads;
};

static int set_result_take(void *result_any, struct call *call, struct bytes member, uint64_t hash,
                           double score) {
    struct set_result *result = result_any;
    (void)hash, (void)score;
    if (result->set == NULL) result->set = set_create(call->argv[1], member, 1);
    return set_add(result->set, member, 0, NULL);
}

/* What may go down is right behind the walk. The round sweep for victims would look for it among all that is
 * below already: lead it there, most of the time. */
static void set_result_passed(void *result_any, uint64_t hash) {
    struct set_result *result = result_any;
    struct packed_collection *set = result->set != NULL ? packed_collection_of(result->set) : NULL;
    if (set == NULL || set->head.pages < 2 * SWEEP_PAGES || ++result->leads % 8 == 0) return;
    uint64_t low = hash - hash / set->head.pages * SWEEP_PAGES;
    if (set->head.sweep < low || set->head.sweep > hash) set->head.sweep = low;
}

static int set_result_finish(void *result_any, struct call *call, int *progressed_out) {
    struct set_result *result = result_any;
    (void)progressed_out;
    if (result->event != NULL) return cmd_set__store(call, &result->set, result->event);
    if (result->set != NULL) return cmd_set__reply_all(call, result->set, 1);
    reply_set(call->reply, 0);
    return 0;
}

static void set_result_destroy(void *result_any) {
    struct set_result *result = result_any;
    cmd_set__discard(result->set);
    memory_free(result);
}

static const struct algebra_result_ops set_result_ops = {.take = set_result_take,
                                                         .passed = set_result_passed,
                                                         .finish = set_result_finish,
                                                         .destroy = set_result_destroy};

/* Large sets: in turns, after which ${algebra} is released. 0: they are not. */
static int algebra_in_turns(struct algebra *algebra, const char *event) {
    struct algebra_plan plan = {.kind = algebra->kind,
                                .inputs = algebra->sets,
                                .count = algebra->count,
                                .ops = algebra->only_count ? NULL : &set_result_ops,
                                .limit = algebra->limit};
    struct set_result *result = NULL;
    if (!algebra_turns_apply(algebra->call, &plan)) return 0;
    if (!algebra->only_count) {
        result = memory_alloc(sizeof *result);
        *result = (struct set_result){.event = event};
    }
    int parked = algebra_turns_start(algebra->call, &plan, result);
    if (event != NULL) turns_hold(algebra->call, algebra->key);
    algebra_fini(algebra);
    return parked;
}

/* --- commands --- */

static int reply_generic(struct call *call, enum algebra_kind kind) {
    struct algebra algebra;
    CALL_TRY(algebra_find(&algebra, call, kind, 1, call->argc - 1));
    int error = algebra_in_turns(&algebra, NULL);
    if (error != 0) return error;
    struct reply_later later = reply_later_open(call->reply, '~');
    error = algebra_run(&algebra);
    if (error == 0) reply_later_close(call->reply, later, algebra.found);
    algebra_fini(&algebra);
    return error;
}

int cmd_set__store(struct call *call, struct entry **result_inout, const char *event) {
    struct bytes key = call->argv[1];
    struct entry *old, *result = *result_inout;
    int error = call_find_write(call, key, &old);
    if (error != 0) return error;
    if (result == NULL) {
        if (old != NULL) {
            db_delete(call->db, db_changing(call->db, old));
            call_changed(call, key);
            call_notify(call, NOTIFY_GENERIC, "del", key);
        }
        reply_integer(call->reply, 0);
        return 0;
    }
    int64_t size = result->size;
    *result_inout = NULL;
    if (old != NULL) {
        db_replace(call->db, db_changing(call->db, old), result);
    } else {
        db_insert(call->db, result);
    }
    call_changed(call, key);
    call_notify(call, NOTIFY_SET, event, key);
    reply_integer(call->reply, size);
    return 0;
}

static int store_generic(struct call *call, enum algebra_kind kind, const char *event) {
    struct algebra algebra;
    CALL_TRY(algebra_find(&algebra, call, kind, 2, call->argc - 2));
    algebra.into_result = 1;
    algebra.key = call->argv[1];
    int error = algebra_in_turns(&algebra, event);
    if (error != 0) return error;
    error = algebra_run(&algebra);
    if (error == 0) error = cmd_set__store(call, &algebra.result, event);
    algebra_fini(&algebra);
    return error != 0 ? cmd_set__failed(call, error) : 0;
}

int cmd_sinter(struct call *call) {
    return reply_generic(call, INTERSECTION);
}
int cmd_sunion(struct call *call) {
    return reply_generic(call, UNION);
}
int cmd_sdiff(struct call *call) {
    return reply_generic(call, DIFFERENCE);
}
int cmd_sinterstore(struct call *call) {
    return store_generic(call, INTERSECTION, "sinterstore");
}
int cmd_sunionstore(struct call *call) {
    return store_generic(call, UNION, "sunionstore");
}
int cmd_sdiffstore(struct call *call) {
    return store_generic(call, DIFFERENCE, "sdiffstore");
}

/* --- SINTERCARD --- */

static int intercard_arguments(struct call *call, int64_t *keys_out, int64_t *limit_out) {
    static const char keys_error[] = "numkeys should be greater than 0",
                      limit_error[] = "LIMIT can't be negative";
    *limit_out = 0;
    int error = call_integer_or(call, call->argv[1], keys_error, keys_out);
    if (error != 0) return error;
    if (*keys_out < 1) {
        reply_error(call->reply, keys_error);
        return FIRN_EINVALID;
    }
    if ((uint64_t)*keys_out > call->argc - 2) {
        reply_error(call->reply, "Number of keys can't be greater than number of args");
        return FIRN_EINVALID;
    }
    for (size_t i = 2 + (size_t)*keys_out; i < call->argc; i += 2) {
        if (!call_option(call, i, "LIMIT") || i + 1 >= call->argc) return call_syntax_error(call);
        error = call_integer_or(call, call->argv[i + 1], limit_error, limit_out);
        if (error != 0) return error;
        if (*limit_out < 0) {
            reply_error(call->reply, limit_error);
            return FIRN_EINVALID;
        }
    }
    return 0;
}

int cmd_sintercard(struct call *call) {
    struct algebra algebra;
    int64_t keys, limit;
    CALL_TRY(intercard_arguments(call, &keys, &limit));
    CALL_TRY(algebra_find(&algebra, call, INTERSECTION, 2, (size_t)keys));
    algebra.only_count = 1;
    algebra.limit = (uint64_t)limit;
    int error = algebra_in_turns(&algebra, NULL);
    if (error != 0) return error;
    error = algebra_run(&algebra);
    if (error == 0) reply_integer(call->reply, (int64_t)algebra.found);
    algebra_fini(&algebra);
    return error;
}
