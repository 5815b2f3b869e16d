/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_cmd */
/* Subscriptions, delivery, keyspace events, watched keys: what the black box cannot look into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/dispatch.h"
#include "cmd/pubsub.h"
#include "cmd/pubsub_events.h"
#include "cmd/transaction.h"
#include "cmd/watch.h"
#include "keyspace/notify.h"
#include "net/net.h"
#include "tests/support/client.h"

static void execute(struct client *client, const char *line) {
    assert_int_equal(client_execute(client, line), 0);
}

/* Against a table of who is subscribed to what. */
static void subscriptions(void **state) {
    enum { CLIENTS = 8, NAMES = 40 };
    static uint8_t on[CLIENTS][PUBSUB_KINDS][NAMES];
    struct client *clients[CLIENTS];
    char names[NAMES][16];
    (void)state;
    memset(on, 0, sizeof on);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client_create();
    for (int i = 0; i < NAMES; i++)
        snprintf(names[i], sizeof names[i], "n%d", i);
    for (unsigned step = 0; step < 20000; step++) {
        uint64_t draw = ((uint64_t)step * UINT64_C(0x9e3779b97f4a7c15)) >> 24;
        unsigned c = draw % CLIENTS, n = draw / CLIENTS % NAMES;
        enum pubsub_kind kind = (enum pubsub_kind)(draw / CLIENTS / NAMES % PUBSUB_KINDS);
        uint8_t *is = &on[c][kind][n];
        struct bytes name = bytes_of_text(names[n]);
        if (draw >> 20 & 1)
            assert_int_equal(pubsub_subscribe(clients[c], kind, name), !*is), *is = 1;
        else
            assert_int_equal(pubsub_unsubscribe(clients[c], kind, name), *is), *is = 0;
        size_t mine = 0, all = 0, subscribers = 0;
        for (unsigned i = 0; i < NAMES; i++)
            mine += on[c][kind][i];
        for (unsigned i = 0; i < PUBSUB_KINDS * NAMES; i++)
            all += on[c][i / NAMES][i % NAMES];
        for (unsigned i = 0; i < CLIENTS; i++)
            subscribers += on[i][kind][n];
        assert_int_equal(pubsub_count(clients[c], kind), mine);
        assert_int_equal((clients[c]->flags & CLIENT_SUBSCRIBED) != 0, all > 0); /* P1 */
        assert_int_equal(pubsub_subscribers(kind, name), subscribers);
    }
    for (int i = 0; i < CLIENTS; i++)
        client_destroy(clients[i]);
    for (int kind = 0; kind < PUBSUB_KINDS; kind++)
        assert_int_equal(pubsub_topics((enum pubsub_kind)kind), 0);
    assert_int_equal(pubsub_clients(), 0);
}

/* P2: a message to the client that runs a command comes behind the reply. */
static void own_messages(void **state) {
    struct client *client = client_create();
    (void)state;
    client->reply.version = 3;
    execute(client, "subscribe a");
    client_expect_reply(client, ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    execute(client, "publish a m");
    client_expect_reply(client, ":1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n");
    client_destroy(client);
}

static void events(void **state) {
    struct client *client = client_create(), *listener = client_create();
    (void)state;
    assert_null(db_hooks.notify);
    execute(listener, "psubscribe *");
    client_expect_reply(listener, "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    pubsub_events_select(NOTIFY_KEYSPACE | NOTIFY_KEYEVENT | NOTIFY_STRING);
    execute(client, "set k v");
    client_expect_reply(listener,
                        "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$16\r\n__keyspace@0__:k\r\n$3\r\nset\r\n"
                        "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$18\r\n__keyevent@0__:set\r\n$1\r\nk\r\n");
    execute(client, "del k");
    client_expect_reply(listener, "");
    pubsub_events_select(NOTIFY_ALL); /* neither K nor E */
    assert_null(db_hooks.notify);
    client_destroy(client);
    client_destroy(listener);
}

static void watching(void **state) {
    struct client *one = client_create(), *other = client_create();
    (void)state;
    assert_null(db_hooks.changed);
    execute(one, "watch a b a");
    execute(other, "watch a");
    assert_int_equal(watch_keys, 2);
    assert_int_equal(watch_clients, 2);
    assert_int_equal(watch_count(one), 2);
    db_notify(db_at(0), NOTIFY_STRING, "set", bytes_of_text("a")); /* no change by itself */
    assert_false(one->flags & CLIENT_DIRTY_WATCH);
    db_changed(db_at(1), bytes_of_text("a"));
    assert_false(one->flags & CLIENT_DIRTY_WATCH);
    db_changed(db_at(0), bytes_of_text("b"));
    assert_true(one->flags & CLIENT_DIRTY_WATCH);
    assert_false(other->flags & CLIENT_DIRTY_WATCH);
    assert_int_equal(watch_keys, 1); /* W1 */
    assert_int_equal(one->command_bytes, 0);
    db_flush(NULL, 0); /* a is not there */
    assert_false(other->flags & CLIENT_DIRTY_WATCH);
    execute(one, "set a 1");
    assert_true(other->flags & CLIENT_DIRTY_WATCH);
    assert_int_equal(watch_keys, 0);
    assert_null(db_hooks.changed);
    client_destroy(one);
    client_destroy(other);
    db_flush(NULL, 0);
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
        cmocka_unit_test(subscriptions),
        cmocka_unit_test(own_messages),
        cmocka_unit_test(events),
        cmocka_unit_test(watching),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
