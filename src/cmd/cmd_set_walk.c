/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands that go through many members of a set or draw some: SMEMBERS, SSCAN, SPOP, SRANDMEMBER. Executor
 * only. */

#include "base/bytes_builder.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "cmd/cmd_set_internal.h"
#include "cmd/collection_walk.h"
#include "cmd/command.h"
#include "cmd/stream_reply.h"
#include "ds/int_map.h"
#include "ds/number.h"
#include "page/fault.h"

/* --- SMEMBERS --- */

struct members {
    struct reply *reply;
    size_t count;
};

static int members_receive(struct bytes member, void *ctx) {
    struct members *members = ctx;
    reply_bulk(members->reply, member);
    members->count++;
    return 0;
}

static void reply_head(struct call *call, const struct entry *entry, int as_set) {
    if (as_set) {
        reply_set(call->reply, entry->size);
    } else {
        reply_array(call->reply, entry->size);
    }
}

/* All members, as an array or (${as_set}) a set, in one go. */
static int reply_all_now(struct call *call, struct entry *entry, int as_set) {
    int error = set_touch_all(entry);
    if (error != 0) return error;
    struct members members = {.reply = call->reply};
    reply_head(call, entry, as_set);
    error = set_each(entry, members_receive, &members);
    return error == 0 && members.count != entry->size ? FIRN_ECORRUPT : error;
}

/* The same for a command that does nothing else: many pages are streamed. */
int cmd_set__reply_all(struct call *call, struct entry *entry, int as_set) {
    if (!stream_reply_applies(call, collection_pages(entry))) return reply_all_now(call, entry, as_set);
    reply_head(call, entry, as_set);
    return collection_stream(call, entry, COLLECTION_NAMES);
}

int cmd_smembers(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_SET, &entry));
    if (entry != NULL) return cmd_set__reply_all(call, entry, 1);
    reply_set(call->reply, 0);
    return 0;
}

/* --- SSCAN --- */

static void sscan_receive(struct bytes member, void *ctx) {
    if (collection_scan_wants(ctx, member)) collection_scan_item(ctx, member);
}

int cmd_sscan(struct call *call) {
    struct entry *entry;
    struct collection_scan scan = {0};
    uint64_t cursor, next = 0;
    CALL_TRY(call_cursor(call, call->argv[2], &cursor));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_SET, &entry));
    if (entry != NULL) {
        CALL_TRY(collection_scan_options(call, 0, &scan));
        int error = set_scan(entry, cursor, scan.count, sscan_receive, &scan, &next);
        if (error != 0) {
            collection_scan_fini(&scan);
            return error;
        }
    }
    collection_scan_reply(call, &scan, next);
    return 0;
}

/* --- drawing --- */

#define DRAWS_TOUCHED_MAX (FAULT_TOUCH_MAX / 2) /* for more, all pages are asked for */

/* The pages of ${count} draws from ${state} on. */
static int touch_draws(struct entry *entry, uint64_t state, uint64_t count) {
    if (set_is_resident(entry)) return 0;
    if (count > DRAWS_TOUCHED_MAX) return set_touch_all(entry);
    int result = 0;
    for (uint64_t i = 0; i < count; i++) {
        int error = set_random(entry, &state, NULL, NULL);
        if (error != 0 && error != FIRN_EFAULT) return error;
        if (error == 0) continue;
        result = error;
        if (fault_current()->count == FAULT_SET_MAX) break; /* the run after this one asks for the rest */
    }
    return result;
}

/* --- SPOP --- */

/* Members popped: replied, and kept for the form of the command that is propagated. */
struct popped {
    struct reply *reply;
    struct bytes_builder bytes;
    size_t *ends; /* of each in bytes */
    size_t count;
};

static void pop_receive(struct bytes member, void *ctx) {
    struct popped *popped = ctx;
    reply_bulk(popped->reply, member);
    bytes_builder_append(&popped->bytes, member.data, member.size);
    popped->ends[popped->count++] = popped->bytes.size;
}

/* The members by name, so that it does the same elsewhere. */
static void pop_rewrite(struct call *call, const struct popped *popped) {
    if (call_propagated == NULL) return;
    struct bytes *argv = memory_alloc((popped->count + 2) * sizeof *argv);
    size_t begin = 0;
    argv[0] = bytes_of_text("SREM");
    argv[1] = call->argv[1];
    for (size_t i = 0; i < popped->count; i++) {
        argv[i + 2] = bytes_of(popped->bytes.data + begin, popped->ends[i] - begin);
        begin = popped->ends[i];
    }
    call_rewrite(call, popped->count + 2, argv);
    memory_free(argv);
}

static void pop_announce(struct call *call, struct entry *entry, uint64_t popped) {
    struct bytes key = call->argv[1];
    call_changed_elements(call, key, popped);
    call_notify(call, NOTIFY_SET, "spop", key);
    cmd_set__delete_if_empty(call, key, entry);
}

/* The whole set: gone at once, replied as ever. */
static int pop_all(struct call *call, struct entry *entry) {
    struct bytes argv[2] = {bytes_of_text("DEL"), call->argv[1]};
    int result = cmd_set__reply_all(call, entry, 1);
    if (result != 0 && result != FIRN_EPARKED) return result;
    entry = db_changing(call->db, entry);
    uint64_t popped = entry->size;
    call_notify(call, NOTIFY_SET, "spop", argv[1]);
    db_delete(call->db, entry);
    call_notify(call, NOTIFY_GENERIC, "del", argv[1]);
    call_changed_elements(call, argv[1], popped);
    call_rewrite(call, 2, argv);
    return result;
}

/* ${count} members of more. */
static int pop_some(struct call *call, struct entry *entry, uint64_t count) {
    uint64_t *state = collection_random_state(call), sequence = *state;
    struct popped popped = {.reply = call->reply};
    int error = touch_draws(entry, sequence, count);
    if (error != 0) return error;
    popped.ends = memory_try_alloc(count * sizeof *popped.ends);
    if (popped.ends == NULL) return FIRN_ENOMEM;
    entry = db_changing(call->db, entry);
    reply_set(call->reply, count);
    while (popped.count < count) {
        error = set_pop(entry, &sequence, pop_receive, &popped);
        if (error != 0) break;
        if (popped.count == 1) call_must_finish(call);
    }
    if (popped.count > 0) {
        pop_announce(call, entry, popped.count);
        pop_rewrite(call, &popped);
        *state = random_u64();
    }
    bytes_builder_fini(&popped.bytes);
    memory_free(popped.ends);
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}

static void pop_one_receive(struct bytes member, void *ctx) {
    struct call *call = ctx;
    struct bytes argv[3] = {bytes_of_text("SREM"), call->argv[1], member};
    reply_bulk(call->reply, member);
    call_rewrite(call, 3, argv);
}

static int pop_one(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_SET, &entry));
    if (entry == NULL) {
        reply_null(call->reply);
        return 0;
    }
    uint64_t *state = collection_random_state(call), sequence = *state;
    entry = db_changing(call->db, entry);
    int error = set_pop(entry, &sequence, pop_one_receive, call);
    if (error != 0) return error;
    *state = sequence;
    pop_announce(call, entry, 1);
    return 0;
}

static int pop_count(struct call *call, int64_t *count_out) {
    static const char text[] = "value is out of range, must be positive";
    int error = call_integer_or(call, call->argv[2], text, count_out);
    if (error != 0 || *count_out >= 0) return error;
    reply_error(call->reply, text);
    return FIRN_EINVALID;
}

int cmd_spop(struct call *call) {
    struct entry *entry;
    int64_t count;
    if (call->argc == 2) return pop_one(call);
    if (call->argc > 3) {
        call_syntax_error(call);
        return 0;
    }
    CALL_TRY(pop_count(call, &count));
    CALL_TRY(call_find_write_type(call, call->argv[1], TYPE_SET, &entry));
    if (entry == NULL || count == 0) {
        reply_set(call->reply, 0);
        return 0;
    }
    return (uint64_t)count >= entry->size ? pop_all(call, entry) : pop_some(call, entry, (uint64_t)count);
}

/* --- SRANDMEMBER --- */

struct randmember {
    struct call *call;
    struct entry *entry;
    uint64_t count; /* still wanted */
    uint64_t left;  /* members not seen yet */
    uint64_t state;
};

/* ${count} members, each drawn from all. */
static int randmember_repeated(struct randmember *run, uint64_t count) {
    char digits[NUMBER_INT_TEXT_MAX];
    int error = touch_draws(run->entry, run->state, count);
    if (error != 0) return error;
    reply_array(run->call->reply, count);
    for (uint64_t i = 0; i < count && !run->call->reply->lost; i++) {
        struct bytes member;
        error = set_random(run->entry, &run->state, digits, &member);
        if (error != 0) return error;
        reply_bulk(run->call->reply, member);
    }
    return 0;
}

/* Few different members of many. */
static int randmember_distinct(struct randmember *run, uint64_t count) {
    char digits[NUMBER_INT_TEXT_MAX];
    int error = touch_draws(run->entry, run->state, count);
    if (error != 0) return error;
    struct int_map drawn = {0};
    reply_array(run->call->reply, count);
    while (error == 0 && int_map_count(&drawn) < count) {
        struct bytes member;
        error = set_random(run->entry, &run->state, digits, &member);
        if (error == 0 && int_map_put(&drawn, hash_key(member), run) == NULL)
            reply_bulk(run->call->reply, member);
    }
    int_map_fini(&drawn);
    return error;
}

/* Each member with the probability that the wanted number of those left needs. */
static int randmember_choose(struct bytes member, void *ctx) {
    struct randmember *run = ctx;
    if (run->count > 0 && random_below(run->left) < run->count) {
        reply_bulk(run->call->reply, member);
        run->count--;
    }
    run->left--;
    return 0;
}

static int randmember_part(struct randmember *run, uint64_t count) {
    int error = set_touch_all(run->entry);
    if (error != 0) return error;
    run->count = count;
    run->left = run->entry->size;
    reply_array(run->call->reply, count);
    error = set_each(run->entry, randmember_choose, run);
    return error == 0 && run->count > 0 ? FIRN_ECORRUPT : error;
}

static int randmember_counted(struct randmember *run, int64_t wanted) {
    uint64_t count = wanted < 0 ? (uint64_t)-wanted : (uint64_t)wanted, size = run->entry->size;
    if (count == 0) {
        reply_array(run->call->reply, 0);
        return 0;
    }
    if (wanted < 0 || count == 1) return randmember_repeated(run, count);
    if (count >= size) return cmd_set__reply_all(run->call, run->entry, 0);
    return count * 3 > size || size <= 128 ? randmember_part(run, count) : randmember_distinct(run, count);
}

static int randmember_one(struct randmember *run) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes member;
    int error = set_random(run->entry, &run->state, digits, &member);
    if (error == 0) reply_bulk(run->call->reply, member);
    return error;
}

int cmd_srandmember(struct call *call) {
    struct randmember run = {.call = call};
    int64_t wanted = 1;
    int counted = call->argc > 2;
    if (call->argc > 3) {
        call_syntax_error(call);
        return 0;
    }
    if (counted) CALL_TRY(call_integer_between(call, call->argv[2], -INT64_MAX, INT64_MAX, &wanted));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_SET, &run.entry));
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
    int error = counted ? randmember_counted(&run, wanted) : randmember_one(&run);
    if (error == 0) *state = counted ? random_u64() : run.state;
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}
