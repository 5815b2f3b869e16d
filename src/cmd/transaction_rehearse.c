/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See transaction_rehearse.h. A read is run with its reply thrown away. A write of single elements is
 * represented by the read of the same elements (HSET by HMGET...): that touches the pages the write looks at
 * before it changes anything. For others (ends of lists and strings, sorted sets) the pages are touched
 * directly. What comes about only by an earlier command of the queue is not seen: its pages are in DRAM
 * anyway.
 */
#include "cmd/transaction_rehearse.h"

#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch_internal.h"
#include "cmd/transaction.h"
#include "ds/number.h"
#include "net/client.h"
#include "page/fault.h"
#include "page/page.h"
#include "types/list.h"
#include "types/stream.h"
#include "types/string.h"
#include "types/zset.h"

#define COMMANDS_MAX 1024u /* of one queue; beyond that the rest is met when it runs */

/* Where the elements are in the arguments of a write: from ${first}, every ${step}th; and the read of them.
 */
struct representation {
    int (*write)(struct call *call); /* its handler */
    const char *read;
    unsigned first, step;
};

static const struct representation representations[] = {
    {cmd_hset, "hmget", 2, 2},      {cmd_hmset, "hmget", 2, 2},        {cmd_hsetnx, "hmget", 2, 2},
    {cmd_hincrby, "hmget", 2, 2},   {cmd_hincrbyfloat, "hmget", 2, 2}, {cmd_hdel, "hmget", 2, 1},
    {cmd_sadd, "smismember", 2, 1}, {cmd_srem, "smismember", 2, 1},    {cmd_lset, "lindex", 2, 9},
    {cmd_setbit, "getbit", 2, 9},
};

static const struct representation *representation_of(const struct command *command) {
    for (size_t i = 0; i < sizeof representations / sizeof *representations; i++) {
        if (representations[i].write == command->handler) return &representations[i];
    }
    return NULL;
}

/* Arguments of the read that represents ${queued}, in memory of the caller's to free. */
static struct bytes *represent(const struct transaction_command *queued,
                               const struct representation *representation, size_t *argc_out) {
    struct bytes *argv = memory_alloc((queued->argc + 1) * sizeof *argv);
    size_t argc = 0;
    argv[argc++] = bytes_of_text(representation->read);
    argv[argc++] = queued->argv[1];
    for (size_t i = representation->first; i < queued->argc; i += representation->step)
        argv[argc++] = queued->argv[i];
    *argc_out = argc;
    return argv;
}

/* --- writes that no read represents: their pages are touched directly --- */

/* The value of ${key} if it is of ${type}, else NULL. */
static struct entry *find(struct call *call, struct bytes key, enum type_id type) {
    struct entry *entry;
    unsigned flags = LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY | LOOKUP_EXPIRED;
    if (db_find(call->db, key, flags, &entry) != 0 || entry == NULL || entry_type(entry) != type) return NULL;
    return entry;
}

static void touch_list_end(struct call *call, struct bytes key, enum list_end end) {
    struct entry *entry = find(call, key, TYPE_LIST);
    int error = entry != NULL ? list_touch_end(entry, end) : 0;
    (void)error; /* here as below: a fault is in the set; anything else is told when the command runs */
}

static enum list_end end_named(struct bytes word) {
    return bytes_is(word, "left") ? LIST_HEAD : LIST_TAIL;
}

static void touch_push(struct call *call, const struct transaction_command *queued) {
    int is_head = queued->command->handler == cmd_lpush || queued->command->handler == cmd_lpushx;
    touch_list_end(call, queued->argv[1], is_head ? LIST_HEAD : LIST_TAIL);
}

static void touch_pop(struct call *call, const struct transaction_command *queued) {
    struct entry *entry = find(call, queued->argv[1], TYPE_LIST);
    int64_t count = 1;
    if (entry == NULL) return;
    if (queued->argc > 2 && number_parse_int(queued->argv[2], &count) != 0) return;
    if (count > (int64_t)entry->size) count = entry->size;
    if (count <= 0) return;
    int is_head = queued->command->handler == cmd_lpop;
    int error = list_touch(entry, is_head ? 0 : entry->size - (uint64_t)count, (uint64_t)count);
    (void)error;
}

static void touch_move(struct call *call, const struct transaction_command *queued) {
    int has_ends = queued->command->handler == cmd_lmove || queued->command->handler == cmd_blmove;
    touch_list_end(call, queued->argv[1], has_ends ? end_named(queued->argv[3]) : LIST_TAIL);
    touch_list_end(call, queued->argv[2], has_ends ? end_named(queued->argv[4]) : LIST_HEAD);
}

static void touch_string(struct call *call, struct bytes key, uint64_t from, uint64_t bytes) {
    struct entry *entry = find(call, key, TYPE_STRING);
    if (entry == NULL || from >= entry->size) return;
    int error = string_touch(entry, from, bytes < entry->size - from ? from + bytes : entry->size);
    (void)error;
}

static void touch_append(struct call *call, const struct transaction_command *queued) {
    const struct entry *entry = find(call, queued->argv[1], TYPE_STRING);
    if (entry != NULL && entry->size > 0) touch_string(call, queued->argv[1], entry->size - 1, 1);
}

static void touch_setrange(struct call *call, const struct transaction_command *queued) {
    int64_t offset;
    if (number_parse_int(queued->argv[2], &offset) == 0 && offset >= 0)
        touch_string(call, queued->argv[1], (uint64_t)offset, queued->argv[3].size);
}

static int is_zadd_option(struct bytes word, unsigned *flags_inout) {
    if (bytes_is(word, "incr")) *flags_inout |= ZSET_INCR;
    return bytes_is(word, "nx") || bytes_is(word, "xx") || bytes_is(word, "gt") || bytes_is(word, "lt") ||
           bytes_is(word, "ch") || bytes_is(word, "incr");
}

/* ZADD and ZINCRBY. */
static void touch_zadd(struct call *call, const struct transaction_command *queued) {
    struct entry *entry = find(call, queued->argv[1], TYPE_ZSET);
    unsigned flags = queued->command->handler == cmd_zincrby ? ZSET_INCR : 0;
    size_t at = 2;
    if (entry == NULL || zset_is_resident(entry)) return;
    while (at < queued->argc && is_zadd_option(queued->argv[at], &flags))
        at++;
    for (; at + 1 < queued->argc; at += 2) {
        double score;
        if (number_parse_double(queued->argv[at], &score) != 0) return;
        int error = zset_touch_put(entry, queued->argv[at + 1], score, flags);
        (void)error;
    }
}

static void touch_zrem(struct call *call, const struct transaction_command *queued) {
    struct entry *entry = find(call, queued->argv[1], TYPE_ZSET);
    if (entry == NULL || zset_is_resident(entry)) return;
    for (size_t i = 2; i < queued->argc; i++) {
        int error = zset_touch_remove(entry, queued->argv[i]);
        (void)error;
    }
}

static void touch_zpop(struct call *call, const struct transaction_command *queued) {
    struct entry *entry = find(call, queued->argv[1], TYPE_ZSET);
    int64_t count = 1;
    if (entry == NULL || zset_is_resident(entry)) return;
    if (queued->argc > 2 && number_parse_int(queued->argv[2], &count) != 0) return;
    if (count > (int64_t)entry->size) count = entry->size;
    if (count <= 0) return;
    uint64_t first = queued->command->handler == cmd_zpopmax ? entry->size - (uint64_t)count : 0;
    int error = zset_touch_remove_span(entry, (struct zset_span){.first = first, .count = (uint64_t)count});
    (void)error;
}

static void touch_xadd(struct call *call, const struct transaction_command *queued) {
    static const struct stream_id first = {0, 0}, last = {UINT64_MAX, UINT64_MAX};
    struct entry *entry = find(call, queued->argv[1], TYPE_STREAM);
    int error = entry != NULL ? stream_touch_range(entry, first, last, 1, 1) : 0;
    (void)error;
}

static const struct {
    int (*write)(struct call *call); /* its handler */
    void (*touch)(struct call *call, const struct transaction_command *queued);
} touches[] = {
    {cmd_lpush, touch_push},      {cmd_rpush, touch_push},    {cmd_lpushx, touch_push},
    {cmd_rpushx, touch_push},     {cmd_lpop, touch_pop},      {cmd_rpop, touch_pop},
    {cmd_lmove, touch_move},      {cmd_blmove, touch_move},   {cmd_rpoplpush, touch_move},
    {cmd_brpoplpush, touch_move}, {cmd_append, touch_append}, {cmd_setrange, touch_setrange},
    {cmd_zadd, touch_zadd},       {cmd_zincrby, touch_zadd},  {cmd_zrem, touch_zrem},
    {cmd_zpopmin, touch_zpop},    {cmd_zpopmax, touch_zpop},  {cmd_xadd, touch_xadd},
};

static void rehearse_one(struct call *call, const struct transaction_command *queued) {
    const struct command *command = queued->command;
    for (size_t i = 0; i < sizeof touches / sizeof *touches; i++) {
        if (touches[i].write == command->handler) {
            touches[i].touch(call, queued);
            return;
        }
    }
    if (command->tier == COMMAND_TIER_READ && (command->flags & COMMAND_READONLY)) {
        dispatch__rehearse(call, command, queued->argv, queued->argc);
        return;
    }
    const struct representation *representation = representation_of(command);
    if (representation == NULL) return;
    size_t argc;
    struct bytes *argv = represent(queued, representation, &argc);
    command = command_find(argv, argc, NULL);
    if (command != NULL && command->handler != NULL && command_arity_fits(command, argc))
        dispatch__rehearse(call, command, argv, argc);
    memory_free(argv);
}

/* What any access to the value of ${key} would need first. */
static int touch(const struct command *command, unsigned index, struct bytes key) {
    struct db *db = db_at(index);
    if (command->tier == COMMAND_TIER_NONE && !db_is_sunk(db, key)) return 0;
    uint64_t ref = db_cold_ref(db, key);
    if (ref != 0 && !page_is_ready(ref)) (void)fault_record(ref);
    return 0;
}

void transaction_rehearse(struct call *call) {
    const struct transaction *transaction = transaction_of(call->client);
    (void)transaction_each_key(call->client, touch);
    /* Reads at the beginning unwind by themselves when they meet a fault. */
    int changed = 0;
    for (size_t i = 0; transaction != NULL && i < transaction->count && i < COMMANDS_MAX; i++) {
        const struct transaction_command *queued = &transaction->commands[i];
        if (queued->command->handler == cmd_select) return; /* other databases are met when they run */
        changed |= !(queued->command->flags & COMMAND_READONLY);
        if (changed && fault_current()->mode == FAULT_ASYNC) rehearse_one(call, queued);
    }
}
