/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_cmd */
/*
 * Hash commands: replies, errors and events, above all of the deadlines of fields (what Redis 7.4 answers).
 * Handlers are called without a dispatcher. A reply is compared as text with spaces for line ends: "*2 :1 $1
 * a ".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "keyspace/db.h"
#include "keyspace/notify.h"
#include "types/hash.h"

static const struct {
    const char *name;
    int (*handler)(struct call *call);
} commands[] = {
    {"hset", cmd_hset},
    {"hmset", cmd_hmset},
    {"hsetnx", cmd_hsetnx},
    {"hget", cmd_hget},
    {"hmget", cmd_hmget},
    {"hgetall", cmd_hgetall},
    {"hkeys", cmd_hkeys},
    {"hvals", cmd_hvals},
    {"hlen", cmd_hlen},
    {"hstrlen", cmd_hstrlen},
    {"hexists", cmd_hexists},
    {"hdel", cmd_hdel},
    {"hincrby", cmd_hincrby},
    {"hincrbyfloat", cmd_hincrbyfloat},
    {"hrandfield", cmd_hrandfield},
    {"hscan", cmd_hscan},
    {"hexpire", cmd_hexpire},
    {"hpexpire", cmd_hpexpire},
    {"hexpireat", cmd_hexpireat},
    {"hpexpireat", cmd_hpexpireat},
    {"httl", cmd_httl},
    {"hpttl", cmd_hpttl},
    {"hexpiretime", cmd_hexpiretime},
    {"hpexpiretime", cmd_hpexpiretime},
    {"hpersist", cmd_hpersist},
};

static char events[4096];
static char
    propagated[1024]; /* the last run's command, if it was rewritten; "none" if it is not propagated */
static char answer[1u << 16];
static unsigned protocol = 2;

static void on_notify(struct db *db, unsigned event_class, const char *name, struct bytes key) {
    (void)db, (void)key;
    if (event_class & (NOTIFY_NEW | NOTIFY_KEYMISS)) return;
    snprintf(events + strlen(events), sizeof events - strlen(events), "%s ", name);
}

static void note_propagation(const struct call *call) {
    snprintf(propagated, sizeof propagated, "%s", call->no_propagation ? "none" : "");
    for (size_t i = 0; call->forms != NULL && i < call->forms->argc; i++) {
        size_t used = strlen(propagated);
        snprintf(propagated + used, sizeof propagated - used, "%.*s ", (int)call->forms->argv[i].size,
                 (const char *)call->forms->argv[i].data);
    }
}

static void take_answer(struct reply *reply) {
    size_t bytes, at = 0;
    struct reply_chunk *chunk = reply_take(reply, &bytes);
    assert_true(bytes < sizeof answer);
    while (chunk != NULL) {
        struct reply_chunk *next = chunk->next;
        for (uint32_t i = 0; i < chunk->used; i++) {
            if (chunk->data[i] == '\r') continue;
            answer[at++] = chunk->data[i] == '\n' ? ' ' : (char)chunk->data[i];
        }
        reply_chunk_free(chunk);
        chunk = next;
    }
    answer[at] = 0;
}

static int result; /* of the last handler */

/* Run ${line}, words separated by spaces, and give the answer. */
static const char *run_to(const char *line) {
    char copy[4096];
    struct bytes argv[300];
    size_t argc = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *rest = copy, *word; (word = strsep(&rest, " ")) != NULL;)
        argv[argc++] = bytes_of_text(word);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (!bytes_is(argv[0], commands[i].name)) continue;
        struct command command = {.name = commands[i].name};
        struct reply reply;
        reply_init(&reply);
        reply.version = protocol;
        struct call call = {.command = &command, .db = db_at(0), .reply = &reply, .argc = argc, .argv = argv};
        clock_update();
        result = commands[i].handler(&call);
        note_propagation(&call);
        call_forms_free(&call);
        take_answer(&reply);
        reply_fini(&reply);
        return answer;
    }
    fail_msg("no command %s", line);
    return NULL;
}

static const char *run(const char *line) {
    const char *text = run_to(line);
    assert_int_equal(result, 0);
    return text;
}
#define EXPECT(line, expected) assert_string_equal(run(line), expected)

static void expect_events(const char *expected) {
    assert_string_equal(events, expected);
    events[0] = 0;
}

static struct entry *find(const char *key) {
    struct entry *entry;
    assert_int_equal(db_find(db_at(0), bytes_of_text(key), LOOKUP_WRITE, &entry), 0);
    return entry;
}

static int setup(void **state) {
    (void)state;
    db_init_all(1);
    db_hooks.notify = on_notify;
    call_propagated = note_propagation;
    events[0] = 0;
    protocol = 2;
    memset(&db_stats, 0, sizeof db_stats);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    db_check(db_at(0));
    db_fini_all();
    return 0;
}

/* --- the old commands --- */

static void test_basic(void **state) {
    (void)state;
    EXPECT("hset h a 1 b 2", ":2 ");
    EXPECT("hset h a 3 c 4", ":1 ");
    EXPECT("hmset h d 5", "+OK ");
    EXPECT("hset h a", "-ERR wrong number of arguments for 'hset' command ");
    EXPECT("hmset h a 1 b", "-ERR wrong number of arguments for 'hmset' command ");
    EXPECT("hget h a", "$1 3 ");
    EXPECT("hget h x", "$-1 ");
    EXPECT("hget none x", "$-1 ");
    EXPECT("hmget h a x d", "*3 $1 3 $-1 $1 5 ");
    EXPECT("hgetall h", "*8 $1 a $1 3 $1 b $1 2 $1 c $1 4 $1 d $1 5 ");
    EXPECT("hkeys h", "*4 $1 a $1 b $1 c $1 d ");
    EXPECT("hvals h", "*4 $1 3 $1 2 $1 4 $1 5 ");
    EXPECT("hkeys none", "*0 ");
    EXPECT("hlen h", ":4 ");
    EXPECT("hstrlen h a", ":1 ");
    EXPECT("hexists h a", ":1 ");
    EXPECT("hexists h x", ":0 ");
    EXPECT("hsetnx h a 9", ":0 ");
    EXPECT("hsetnx h e 9", ":1 ");
    EXPECT("hdel h a b x", ":2 ");
    EXPECT("hdel h c d e f", ":3 ");
    assert_null(find("h"));
    expect_events("hset hset hset hset hdel hdel del ");
    protocol = 3;
    EXPECT("hset h a 1", ":1 ");
    EXPECT("hgetall h", "%1 $1 a $1 1 ");
    EXPECT("hget h x", "_ ");
    EXPECT("hrandfield h 1 withvalues", "*1 *2 $1 a $1 1 ");
}

static void test_increments(void **state) {
    (void)state;
    EXPECT("hincrby h n 5", ":5 ");
    EXPECT("hincrby h n -7", ":-2 ");
    EXPECT("hincrby h n x", "-ERR value is not an integer or out of range ");
    EXPECT("hset h t abc m 9223372036854775807", ":2 ");
    EXPECT("hincrby h t 1", "-ERR hash value is not an integer ");
    EXPECT("hincrby h m 1", "-ERR increment or decrement would overflow ");
    EXPECT("hincrbyfloat h n 0.5", "$4 -1.5 ");
    assert_string_equal(propagated, "HSET h n -1.5 ");
    EXPECT("hincrbyfloat h t 1", "-ERR hash value is not a float ");
    EXPECT("hincrbyfloat h n x", "-ERR value is not a valid float ");
    EXPECT("hincrbyfloat h n inf", "-ERR value is NaN or Infinity ");
    expect_events("hincrby hincrby hset hincrbyfloat ");
}

static void test_scan(void **state) {
    (void)state;
    EXPECT("hscan none 0", "*2 $1 0 *0 ");
    EXPECT("hset h a 1 b 2 ab 3", ":3 ");
    EXPECT("hscan h 0", "*2 $1 0 *6 $1 a $1 1 $1 b $1 2 $2 ab $1 3 ");
    EXPECT("hscan h 0 match a* count 1", "*2 $1 0 *4 $1 a $1 1 $2 ab $1 3 ");
    EXPECT("hscan h 0 novalues", "*2 $1 0 *3 $1 a $1 b $2 ab ");
    EXPECT("hscan h x", "-ERR invalid cursor ");
    EXPECT("hscan h 0 count 0", "-ERR syntax error ");
    EXPECT("hscan h 0 count", "-ERR syntax error ");
}

static void test_random_fields(void **state) {
    (void)state;
    EXPECT("hrandfield none", "$-1 ");
    EXPECT("hrandfield none 5", "*0 ");
    EXPECT("hset h a 1", ":1 ");
    EXPECT("hrandfield h", "$1 a ");
    EXPECT("hrandfield h 0", "*0 ");
    EXPECT("hrandfield h 5 withvalues", "*2 $1 a $1 1 ");
    EXPECT("hrandfield h -2", "*2 $1 a $1 a ");
    EXPECT("hrandfield h x", "-ERR value is not an integer or out of range ");
    EXPECT("hrandfield h 1 foo", "-ERR syntax error ");
    EXPECT("hrandfield h -9223372036854770000 withvalues", "-ERR value is out of range ");
}

/* --- deadlines of fields --- */

static void test_expire_replies(void **state) {
    (void)state;
    EXPECT("hexpire none 10 FIELDS 2 a b", "*2 :-2 :-2 ");
    EXPECT("hset h a 1 b 2 c 3", ":3 ");
    assert_int_equal(entry_encoding(find("h")), ENCODING_LISTPACK);
    EXPECT("hpexpireat h 5000000000000 FIELDS 2 a x", "*2 :1 :-2 ");
    assert_string_equal(propagated, "HPEXPIREAT h 5000000000000 FIELDS 1 a ");
    assert_int_equal(entry_encoding(find("h")), ENCODING_LISTPACKEX);
    EXPECT("hpexpireat h 6000000000000 NX FIELDS 2 a b", "*2 :0 :1 ");
    EXPECT("hpexpireat h 7000000000000 XX FIELDS 3 a b c", "*3 :1 :1 :0 ");
    EXPECT("hpexpireat h 7000000000000 GT FIELDS 2 a c", "*2 :0 :0 ");
    assert_string_equal(propagated, "none");
    EXPECT("hpexpireat h 8000000000000 gt FIELDS 1 a", "*1 :1 ");
    EXPECT("hpexpireat h 7500000000000 LT FIELDS 3 a b c", "*3 :1 :0 :1 ");
    assert_string_equal(propagated, "HPEXPIREAT h 7500000000000 LT FIELDS 2 a c ");
    EXPECT("hpexpiretime h FIELDS 4 a b c d", "*4 :7500000000000 :7000000000000 :7500000000000 :-2 ");
    EXPECT("hexpiretime h FIELDS 1 a", "*1 :7500000000 ");
    EXPECT("hpersist h FIELDS 3 a a x", "*3 :1 :-1 :-2 ");
    EXPECT("httl h FIELDS 2 a x", "*2 :-1 :-2 ");
    EXPECT("hpersist none FIELDS 1 a", "*1 :-2 ");
    EXPECT("hpttl none FIELDS 1 a", "*1 :-2 ");
    expect_events("hset hexpire hexpire hexpire hexpire hexpire hpersist ");
    assert_int_equal(db_field_expires_count(db_at(0)), 1);
}

static void test_expire_errors(void **state) {
    (void)state;
    EXPECT("hset h a 1", ":1 ");
    EXPECT("hexpire h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0 ");
    EXPECT("hexpire h x FIELDS 1 a", "-ERR value is not an integer or out of range ");
    EXPECT("hexpire h 281474976710 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command ");
    EXPECT("hexpireat h 281474976710 FIELDS 1 a", "-ERR invalid expire time in 'hexpireat' command ");
    EXPECT("hpexpire h 70368744177663 FIELDS 1 a", "-ERR invalid expire time in 'hpexpire' command ");
    EXPECT("hpexpireat h 70368744177664 FIELDS 1 a", "-ERR invalid expire time in 'hpexpireat' command ");
    EXPECT("hpexpireat h 70368744177663 FIELDS 1 a", "*1 :1 ");
    EXPECT("hexpire h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command ");
    EXPECT("hexpire h 10 NX a FIELDS 1",
           "-ERR Mandatory argument FIELDS is missing or not at the right position ");
    EXPECT("hexpire h 10 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0 ");
    EXPECT("hexpire h 10 FIELDS 2 a", "-ERR The `numfields` parameter must match the number of arguments ");
    EXPECT("httl h FIELDS 0 a", "-ERR Number of fields must be a positive integer ");
    EXPECT("httl h FIELDS 1 a b", "-ERR The `numfields` parameter must match the number of arguments ");
    EXPECT("hpersist h FELDS 1 a", "-ERR Mandatory argument FIELDS is missing or not at the right position ");
}

static void test_past_deadline_removes(void **state) {
    (void)state;
    EXPECT("hset h a 1 b 2 c 3", ":3 ");
    EXPECT("hexpire h 1000 FIELDS 1 c", "*1 :1 ");
    EXPECT("hpexpireat h 1 NX FIELDS 4 a b x c", "*4 :2 :2 :-2 :0 ");
    assert_string_equal(propagated, "none");
    EXPECT("hpexpire h 0 FIELDS 1 c", "*1 :2 ");
    assert_null(find("h"));
    expect_events("hset hexpire hdel hdel del ");
    assert_int_equal(db_field_expires_count(db_at(0)), 0);
}

/* The same in a small hash and in a large one. */
static void fill(unsigned more) {
    char line[128];
    for (unsigned i = 0; i < more; i++) {
        snprintf(line, sizeof line, "hset h filler%u some-value-of-a-filler", i);
        EXPECT(line, ":1 ");
    }
    events[0] = 0;
}

static void test_lazy_expiry(void **state) {
    (void)state;
    for (unsigned more = 0; more <= 500; more += 500) {
        char expected[64];
        fill(more);
        memset(&db_stats, 0, sizeof db_stats);
        EXPECT("hset h a 1 b 2 c 3 d 4 e 5 f 6 g 7", ":7 ");
        EXPECT("hpexpire h 1 FIELDS 7 a b c d e f g", "*7 :1 :1 :1 :1 :1 :1 :1 ");
        usleep(3000);
        snprintf(expected, sizeof expected, ":%u ", 7 + more);
        EXPECT("hlen h", expected); /* counted until they are met */
        events[0] = 0;
        EXPECT("httl h FIELDS 1 a", "*1 :-2 ");
        expect_events("");
        EXPECT("hget h a", "$-1 ");
        EXPECT("hexists h b", ":0 ");
        EXPECT("hstrlen h c", ":0 ");
        expect_events("hexpired hexpired hexpired ");
        snprintf(expected, sizeof expected, ":%u ", 4 + more);
        EXPECT("hlen h", expected);
        EXPECT("hincrby h d 1", ":1 ");
        EXPECT("hsetnx h e 1", ":1 ");
        EXPECT("hset h f 6", ":0 "); /* overwritten, deadline gone */
        EXPECT("httl h FIELDS 3 d e f", "*3 :-1 :-1 :-1 ");
        EXPECT("hdel h g", ":1 "); /* a field until it is met */
        expect_events("hexpired hincrby hexpired hset hset hdel ");
        assert_int_equal(db_stats.expired_fields, 5);
        assert_int_equal(db_field_expires_count(db_at(0)), 0);
        type_hash_ops.check(find("h"));
        EXPECT("hdel h d e f", ":3 ");
    }
}

static void test_lazy_expiry_of_the_last(void **state) {
    (void)state;
    EXPECT("hset h a 1 b 2", ":2 ");
    EXPECT("hpexpire h 1 FIELDS 2 a b", "*2 :1 :1 ");
    usleep(3000);
    events[0] = 0;
    EXPECT("hmget h a b c", "*3 $-1 $-1 $-1 ");
    expect_events("hexpired del ");
    assert_null(find("h"));
    EXPECT("hset h a 10", ":1 ");
    EXPECT("hpexpire h 1 FIELDS 1 a", "*1 :1 ");
    usleep(3000);
    events[0] = 0;
    EXPECT("hincrby h a 1", ":1 ");
    expect_events("hexpired hincrby ");
    EXPECT("hpexpire h 1 FIELDS 1 a", "*1 :1 ");
    usleep(3000);
    EXPECT("hincrbyfloat h a 2", "$1 2 ");
    EXPECT("hpexpire h 1 FIELDS 1 a", "*1 :1 ");
    usleep(3000);
    events[0] = 0;
    EXPECT("hrandfield h", "$-1 ");
    expect_events("hexpired del ");
    assert_null(find("h"));
}

static void test_walks_skip_due_fields(void **state) {
    (void)state;
    EXPECT("hset h a 1 b 2 c 3", ":3 ");
    EXPECT("hpexpire h 1 FIELDS 2 a c", "*2 :1 :1 ");
    usleep(3000);
    EXPECT("hgetall h", "*2 $1 b $1 2 ");
    EXPECT("hkeys h", "*1 $1 b ");
    EXPECT("hvals h", "*1 $1 2 ");
    EXPECT("hscan h 0", "*2 $1 0 *2 $1 b $1 2 ");
    EXPECT("hlen h", ":3 ");
    assert_int_equal(db_stats.expired_fields, 0);
    EXPECT("hrandfield h 5", "*1 $1 b ");
    assert_int_equal(db_stats.expired_fields, 2);
    EXPECT("hlen h", ":1 ");
    protocol = 3;
    EXPECT("hpexpire h 1 FIELDS 1 b", "*1 :1 ");
    usleep(3000);
    EXPECT("hgetall h", "%0 ");
}

static void test_increments_keep_deadlines(void **state) {
    (void)state;
    EXPECT("hset h a 1", ":1 ");
    EXPECT("hpexpireat h 5000000000000 FIELDS 1 a", "*1 :1 ");
    EXPECT("hincrby h a 1", ":2 ");
    EXPECT("hincrbyfloat h a 1", "$1 3 ");
    assert_string_equal(propagated, "");
    EXPECT("hpexpiretime h FIELDS 1 a", "*1 :5000000000000 ");
}

static void test_active_expiry(void **state) {
    (void)state;
    fill(500);
    for (unsigned i = 0; i < 500; i++) {
        char line[128];
        snprintf(line, sizeof line, "hpexpire h %u FIELDS 1 filler%u", 1 + i % 3, i);
        EXPECT(line, "*1 :1 ");
    }
    events[0] = 0;
    usleep(5000);
    clock_update();
    for (unsigned i = 0; i < 100 && db_expire_some(1000); i++)
        continue;
    assert_int_equal(db_stats.expired_fields, 500);
    assert_int_equal(db_size(db_at(0)), 0);
    assert_int_equal(db_field_expires_count(db_at(0)), 0);
    assert_non_null(strstr(events, "hexpired del "));
}

/* --- commands that fail in the middle --- */

/* Goal: what was changed before a failure is announced, and nothing else is. Method: each allocation of a
 * command that changes several fields fails in turn. */
static void check_half_done(const char *line, const char *read, const char *event) {
    unsigned announced = 0, skip = 0;
    do {
        char before[sizeof answer];
        run("hdel h a0 a1 a2 a3 a4 a5 a6 a7");
        for (unsigned i = 0; i < 8; i++) {
            char set[64];
            snprintf(set, sizeof set, "hset h a%u old%0*d", i, (int)(i % 2 ? 40 : 20), 0);
            run(set);
        }
        run("hpexpire h 100000 fields 2 a0 a1");
        snprintf(before, sizeof before, "%s", run(read));
        uint64_t changes = db_stats.changes;
        events[0] = 0;
        fault_point_arm(FAULT_MEMORY_TRY, skip++, 1);
        run_to(line);
        fault_point_reset();
        int is_announced = strstr(events, event) != NULL, outcome = result;
        assert_int_equal(db_stats.changes > changes, is_announced);
        assert_int_equal(strcmp(run(read), before) != 0, is_announced);
        db_check(db_at(0));
        announced += outcome != 0 && is_announced;
        if (outcome == 0) break;
        assert_int_equal(outcome, FIRN_ENOMEM);
    } while (skip < 100);
    assert_in_range(skip, 2, 99);
    assert_true(announced > 0);
}

static void test_half_done(void **state) {
    (void)state;
    char line[4096];
    for (unsigned i = 0; i < 400; i++) { /* many pages */
        snprintf(line, sizeof line, "hset h f%u %0100u", i, i);
        run(line);
    }
    int used = snprintf(line, sizeof line, "hset h");
    for (unsigned i = 0; i < 8; i++)
        used += snprintf(line + used, sizeof line - (size_t)used, " a%u %0400u", i, i);
    check_half_done(line, "hmget h a0 a1 a2 a3 a4 a5 a6 a7", "hset ");
}

int main(void) {
    hash_seed_init();
    random_seed(5);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_basic),
        TEST(test_increments),
        TEST(test_scan),
        TEST(test_random_fields),
        TEST(test_expire_replies),
        TEST(test_expire_errors),
        TEST(test_past_deadline_removes),
        TEST(test_lazy_expiry),
        TEST(test_lazy_expiry_of_the_last),
        TEST(test_walks_skip_due_fields),
        TEST(test_increments_keep_deadlines),
        TEST(test_active_expiry),
        TEST(test_half_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
