/* SPDX-License-Identifier: BSD-3-Clause */
/* links: -Wl,--wrap=cmd_unlink firn_cmd */
/*
 * Waiting for keys. UNLINK is replaced by a handler that takes the first of its keys that exists, with its
 * name as reply, or waits; with ${sticky} it needs a page first that lies in a null backend, but for keys
 * that begin with "free".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "net/net.h"
#include "page/page.h"
#include "tests/support/client.h"
#include "tests/support/cold_page.h"
#include "tiering/tier.h"

int __wrap_cmd_unlink(struct call *call);

static int64_t timeout_ms;
static uint64_t sticky;
static unsigned runs;

int __wrap_cmd_unlink(struct call *call) {
    runs++;
    for (size_t i = 1; i < call->argc; i++) {
        struct entry *entry;
        struct bytes payload;
        CALL_TRY(call_find_write(call, call->argv[i], &entry));
        if (entry == NULL) continue;
        int is_free =
            memcmp(call->argv[i].data, "free", call->argv[i].size < 4 ? call->argv[i].size : 4) == 0;
        if (sticky != 0 && !is_free) CALL_TRY(page_peek(sticky, &payload, NULL));
        reply_bulk(call->reply, call->argv[i]);
        db_delete(call->db, entry);
        call_changed(call, call->argv[i]);
        return 0;
    }
    int error = call_block(call, CALL_BLOCK_ANY, call->argv + 1, call->argc - 1, timeout_ms);
    if (error == 0) reply_null_array(call->reply);
    return error;
}

/* --- clients without sockets --- */

#define CLIENTS 6
static struct client *clients[CLIENTS];

static void clients_up(void) {
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_create();
    }
    runs = 0;
    timeout_ms = 0;
}

static void client_down(int i) {
    client_destroy(clients[i]);
    clients[i] = NULL;
}

static void clients_down(void) {
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i] != NULL) client_down(i);
    }
    db_flush(NULL, 0);
    dispatch_turn();
    assert_int_equal(blocking_keys, 0);
    assert_int_equal(blocking_held, 0);
    assert_int_equal(dispatch_stats.waiting, 0);
    assert_int_equal(dispatch_stats.timed, 0);
    assert_null(db_hooks.changed);
}

static int execute(int i, const char *line) {
    return client_execute(clients[i], line);
}

static void expect_reply(int i, const char *expected) {
    client_expect_reply(clients[i], expected);
}

static void expect(int i, const char *line, const char *expected) {
    assert_int_equal(execute(i, line), 0);
    expect_reply(i, expected);
}

static void waits(int i, const char *line) {
    assert_int_equal(execute(i, line), 1);
    assert_true(dispatch_is_waiting(clients[i]));
    assert_true(clients[i]->flags & CLIENT_BLOCKED);
}

/* The client was answered, and goes on. */
static void served(int i, const char *reply) {
    assert_false(dispatch_is_waiting(clients[i]));
    assert_false(clients[i]->flags & CLIENT_BLOCKED);
    assert_int_equal(hooks.execute(clients[i]), 0);
    expect_reply(i, reply);
    assert_int_equal(clients[i]->parked, 0);
}

static void still_waits(int i) {
    assert_true(dispatch_is_waiting(clients[i]));
    assert_int_equal(clients[i]->reply.bytes, 0);
}

/* --- cases --- */

static void first_come_first_served(void **state) {
    (void)state;
    clients_up();
    waits(1, "unlink a");
    waits(2, "unlink a b a");
    waits(3, "unlink b");
    assert_int_equal(blocking_keys, 2);
    expect(0, "set x 1", "+OK\r\n"); /* nobody waits for it */
    assert_int_equal(runs, 3);
    expect(0, "set a 1", "+OK\r\n");
    served(1, "$1\r\na\r\n");
    still_waits(2);
    expect(0, "exists a", ":0\r\n");      /* taken before the next command */
    expect(0, "mset b 1 a 1", "+OK\r\n"); /* b is ready first, but 2 looks at a first */
    served(2, "$1\r\na\r\n");
    served(3, "$1\r\nb\r\n");
    clients_down();
}

static void not_enough_for_all(void **state) {
    (void)state;
    clients_up();
    waits(1, "unlink a");
    waits(2, "unlink a");
    expect(0, "set b 1", "+OK\r\n");
    expect(0, "rename b a", "+OK\r\n");
    served(1, "$1\r\na\r\n");
    still_waits(2);
    waits(1, "unlink a"); /* behind 2 now */
    expect(0, "set a 1", "+OK\r\n");
    served(2, "$1\r\na\r\n");
    still_waits(1);
    expect(0, "select 1", "+OK\r\n");
    expect(0, "set a 1", "+OK\r\n"); /* another database */
    still_waits(1);
    expect(0, "move a 0", ":1\r\n");
    served(1, "$1\r\na\r\n");
    waits(1, "unlink a");
    expect(0, "set a 1", "+OK\r\n");
    expect(0, "swapdb 0 1", "+OK\r\n");
    served(1, "$1\r\na\r\n");
    clients_down();
}

static void ends_of_waits(void **state) {
    (void)state;
    clients_up();
    timeout_ms = 1000;
    waits(1, "unlink a");
    assert_int_equal(dispatch_stats.timed, 1);
    assert_int_equal(dispatch_wake(clients[1], DISPATCH_WAKE_TIMEOUT), 1);
    assert_int_equal(dispatch_wake(clients[1], DISPATCH_WAKE_TIMEOUT), 0);
    dispatch_turn();
    assert_int_equal(hooks.execute(clients[1]), 0);
    expect_reply(1, "*-1\r\n");
    waits(1, "unlink a");
    assert_int_equal(dispatch_wake(clients[1], DISPATCH_WAKE_ERROR), 1);
    assert_int_equal(dispatch_wake(clients[1], DISPATCH_WAKE_TIMEOUT), 0);
    dispatch_turn();
    assert_int_equal(hooks.execute(clients[1]), 0);
    expect_reply(1, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    assert_int_equal(blocking_keys, 0);
    waits(1, "unlink a");
    waits(2, "unlink a");
    client_down(1); /* disconnects */
    waits(3, "unlink a");
    client_close_later(clients[3], 0); /* killed, not gone yet: takes nothing */
    expect(0, "set a 1", "+OK\r\n");
    served(2, "$1\r\na\r\n");
    expect(0, "set a 1", "+OK\r\n");
    expect(0, "exists a", ":1\r\n");
    clients_down();
}

static void timeouts(void **state) {
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0}, {"1", 1000}, {"0.001", 1}, {"0.0001", 1}, {"1.5", 1500}, {"-0", 0}};
    static const struct {
        const char *text, *error;
    } bad[] = {{"-1", "-ERR timeout is negative\r\n"},
               {"-0.001", "-ERR timeout is negative\r\n"},
               {"x", "-ERR timeout is not a float or out of range\r\n"},
               {"", "-ERR timeout is not a float or out of range\r\n"},
               {"0x7FFFFFFFFFFFFFFFFF", "-ERR timeout is out of range\r\n"},
               {"9223372036854775", "-ERR timeout is out of range\r\n"}};
    (void)state;
    clients_up();
    struct call call = {.client = clients[0], .reply = &clients[0]->reply};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ms = -1;
        assert_int_equal(call_timeout(&call, bytes_of_text(good[i].text), &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ms;
        assert_int_equal(call_timeout(&call, bytes_of_text(bad[i].text), &ms), FIRN_EINVALID);
        expect_reply(0, bad[i].error);
    }
    clients_down();
}

/* --- B1 --- */

/* What the handler needs is in no buffer (again). */
static void cold(void) {
    if (sticky != 0) page_release(sticky);
    sticky = cold_page('a', 1);
}

/* Turn the tier manager until the command of client ${i} is through. */
static void until_through(int i) {
    for (int round = 0; round < 5000; round++) {
        tier_turn();
        tier_complete();
        dispatch_turn();
        if (hooks.execute(clients[i]) == 0) return;
        usleep(200);
    }
    fail();
}

static void nobody_overtakes(void **state) {
    (void)state;
    cold_page_start();
    cold();
    clients_up();
    waits(1, "unlink a");
    waits(2, "unlink a");
    waits(3, "unlink b a");
    expect(0, "mset a 1 b 1", "+OK\r\n");
    assert_int_equal(blocking_held, 1);
    assert_int_equal(dispatch_stats.parked_pages, 1);
    assert_true(dispatch_is_waiting(clients[1]));
    still_waits(2);
    assert_int_equal(execute(4, "exists a"), 1); /* it will be gone */
    still_waits(3);                              /* it might take a */
    assert_int_equal(execute(5, "exists b"), 1);
    expect(0, "set c 1", "+OK\r\n");
    until_through(1);
    expect_reply(1, "$1\r\na\r\n");
    until_through(3);
    expect_reply(3, "$1\r\nb\r\n");
    until_through(4);
    expect_reply(4, ":0\r\n");
    until_through(5);
    expect_reply(5, ":0\r\n");
    still_waits(2);
    /* One that goes, and one that is unblocked, in the middle of it. */
    waits(1, "unlink a");
    cold();
    expect(0, "set a 1", "+OK\r\n");
    assert_int_equal(blocking_held, 1);
    client_down(2);
    assert_int_equal(blocking_held, 0);
    dispatch_turn();
    assert_int_equal(blocking_held, 1);
    assert_int_equal(dispatch_wake(clients[1], DISPATCH_WAKE_ERROR), 1);
    assert_int_equal(dispatch_wake(clients[1], DISPATCH_WAKE_TIMEOUT), 0);
    dispatch_turn();
    until_through(1);
    expect_reply(1, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    expect(0, "exists a", ":1\r\n");
    clients_down();
    page_release(sticky);
    sticky = 0;
    tier_stop();
}

/* Keys whose first waiters were served, and whose second wait on a held key too. */
static void stalled_and_changed(void **state) {
    (void)state;
    cold_page_start();
    cold();
    clients_up();
    waits(1, "unlink a");
    waits(2, "unlink free1");
    waits(3, "unlink free1 a");
    waits(4, "unlink free2");
    waits(5, "unlink free2 a");
    expect(0, "mset a 1 free1 1 free2 1", "+OK\r\n");
    assert_int_equal(blocking_held, 1);
    served(2, "$5\r\nfree1\r\n");
    served(4, "$5\r\nfree2\r\n");
    still_waits(3);
    still_waits(5);
    until_through(1);
    expect_reply(1, "$1\r\na\r\n");
    expect(0, "mset free2 1 free1 1", "+OK\r\n");
    served(3, "$5\r\nfree1\r\n");
    served(5, "$5\r\nfree2\r\n");
    clients_down();
    page_release(sticky);
    sticky = 0;
    tier_stop();
}

static int setup(void **state) {
    (void)state;
    db_init_all(16);
    dispatch_client_hooks(&hooks);
    dispatch_start(NULL);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_come_first_served), cmocka_unit_test(not_enough_for_all),
        cmocka_unit_test(ends_of_waits),           cmocka_unit_test(timeouts),
        cmocka_unit_test(nobody_overtakes),        cmocka_unit_test(stalled_and_changed),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
