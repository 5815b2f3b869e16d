/* SPDX-License-Identifier: BSD-3-Clause */
/* links: -Wl,--wrap=cmd_lolwut,--wrap=tier_admit,--wrap=tier_enabled firn_cmd */
/*
 * The dispatcher with a client that has no socket. LOLWUT is replaced by a handler that reads pages lying in
 * a null backend, so that it faults for real; tier_admit and tier_enabled answer what a test wants.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "cmd/slowlog.h"
#include "net/net.h"
#include "page/page.h"
#include "tests/support/client.h"
#include "tests/support/cold_page.h"
#include "tiering/tier.h"

#define PAGES 3

int __wrap_cmd_lolwut(struct call *call);
int __real_tier_enabled(void);
int __wrap_tier_enabled(void);
enum tier_admission __wrap_tier_admit(int64_t *delay_us_out, const char **message_out);

static uint64_t refs[PAGES];
static unsigned runs, fail_with;
static int pretend_tiers;
static enum tier_admission admission;
static int64_t admission_delay_us;

int __wrap_tier_enabled(void) {
    return pretend_tiers || __real_tier_enabled();
}

enum tier_admission __wrap_tier_admit(int64_t *delay_us_out, const char **message_out) {
    *delay_us_out = admission_delay_us;
    *message_out = "-OOM the NVMe tier is full";
    return admission;
}

/* Touches the pages one after the other, so that each run finds one fault more, writing to the reply as it
 * goes. */
int __wrap_cmd_lolwut(struct call *call) {
    runs++;
    if (fail_with != 0) {
        reply_bulk_text(call->reply, "half");
        return -(int)fail_with;
    }
    for (unsigned i = 0; i < PAGES; i++) {
        struct bytes payload;
        reply_bulk_text(call->reply, "before the fault");
        int error = page_peek(refs[i], &payload, NULL);
        if (error != 0) return error;
    }
    reply_status(call->reply, "DONE");
    return 0;
}

/* --- refusals --- */

static void unknown(void **state) {
    struct client *client = client_create();
    (void)state;
    client_expect(client, "foo", "-ERR unknown command 'foo', with args beginning with: \r\n");
    client_expect(client, "foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' \r\n");
    client_expect(client, "client nosuch", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP.\r\n");
    client_expect(client, "client", "-ERR wrong number of arguments for 'client' command\r\n");
    client_expect(client, "echo", "-ERR wrong number of arguments for 'echo' command\r\n");
    client_expect(client, "client id x", "-ERR wrong number of arguments for 'client|id' command\r\n");
    client_expect(client, "Post / HTTP/1.1", "");
    assert_true(client->flags & CLIENT_CLOSE_ASAP);
    client_destroy(client);
}

static void authentication(void **state) {
    (void)state;
    dispatch_config.requirepass = bytes_of_text("secret");
    struct client *client = client_create();
    client_expect(client, "ping", "-NOAUTH Authentication required.\r\n");
    client_expect(client, "auth wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    client_expect(client, "auth other secret",
                  "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    client_expect(client, "auth default secret", "+OK\r\n");
    client_expect(client, "ping", "+PONG\r\n");
    client_expect(client, "reset", "+RESET\r\n");
    client_expect(client, "ping", "-NOAUTH Authentication required.\r\n");
    dispatch_config.requirepass = bytes_of("", 0);
    client_destroy(client);
}

/* --- CLIENT REPLY --- */

static void reply_modes(void **state) {
    struct client *client = client_create();
    (void)state;
    client_expect(client, "client reply skip", "");
    client_expect(client, "ping", "");
    client_expect(client, "ping", "+PONG\r\n");
    client_expect(client, "client reply off", "");
    client_expect(client, "ping", "");
    client_expect(client, "client reply skip", "");
    client_expect(client, "ping", "");
    client_expect(client, "client reply on", "+OK\r\n");
    client_expect(client, "ping", "+PONG\r\n");
    client_destroy(client);
}

/* --- faults --- */

static void tiers_up(void) {
    cold_page_start();
    for (unsigned i = 0; i < PAGES; i++)
        refs[i] = cold_page((char)('a' + i), i + 1);
}

static void tiers_down(void) {
    for (unsigned i = 0; i < PAGES; i++)
        page_release(refs[i]);
    tier_stop();
}

/* Turn the tier manager until ${client}'s command goes on; how often it parked again. */
static int execute_to_end(struct client *client) {
    for (int i = 0; i < 5000; i++) {
        tier_turn();
        tier_complete();
        if (hooks.execute(client) == 0) return 0;
        usleep(200);
    }
    return 1;
}

static void faults_park_and_rerun(void **state) {
    (void)state;
    tiers_up();
    struct client *client = client_create();
    runs = 0;
    assert_int_equal(client_execute(client, "lolwut"), 1);
    assert_int_equal(client->reply.bytes, 0); /* X3 */
    assert_int_equal(dispatch_stats.parked_pages, 1);
    assert_int_not_equal(client->parked, 0);
    assert_int_equal(execute_to_end(client), 0);
    assert_int_equal(runs, PAGES + 1);
    assert_int_equal(dispatch_stats.parked_pages, 0);
    assert_int_equal(client->parked, 0);
    client_expect_reply(
        client, "$16\r\nbefore the fault\r\n$16\r\nbefore the fault\r\n$16\r\nbefore the fault\r\n+DONE\r\n");
    client_expect(client, "ping", "+PONG\r\n");
    const struct command *command = command_find_name(bytes_of_text("lolwut"));
    assert_int_equal(dispatch_command_stats(command)->calls, 1);
    client_destroy(client);
    tiers_down();
}

/* A transaction unwinds as a whole while it has only read; what ran before is counted once. */
static void transaction_faults(void **state) {
    (void)state;
    tiers_up();
    struct client *client = client_create();
    dispatch_stats_reset();
    runs = 0;
    client_expect(client, "multi", "+OK\r\n");
    client_expect(client, "strlen a", "+QUEUED\r\n");
    client_expect(client, "lolwut", "+QUEUED\r\n");
    client_expect(client, "ping", "+QUEUED\r\n");
    assert_int_equal(client_execute(client, "exec"), 1);
    assert_int_equal(client->reply.bytes, 0);
    assert_int_equal(execute_to_end(client), 0);
    assert_int_equal(runs, PAGES + 1);
    client_expect_reply(client,
                        "*3\r\n:0\r\n$16\r\nbefore the fault\r\n$16\r\nbefore the fault\r\n$16\r\nbefore "
                        "the fault\r\n+DONE\r\n+PONG\r\n");
    assert_int_equal(dispatch_command_stats(command_find_name(bytes_of_text("strlen")))->calls, 1);
    assert_int_equal(dispatch_command_stats(command_find_name(bytes_of_text("lolwut")))->calls, 1);
    assert_int_equal(dispatch_command_stats(command_find_name(bytes_of_text("exec")))->calls, 1);
    /* Behind a command that is no read, pages are read blocking. */
    runs = 0;
    client_expect(client, "multi", "+OK\r\n");
    client_expect(client, "ping", "+QUEUED\r\n");
    client_expect(client, "lolwut", "+QUEUED\r\n");
    assert_int_equal(client_execute(client, "exec"), 0);
    assert_int_equal(runs, 1);
    reply_clear(&client->reply);
    assert_int_equal(client->command_bytes, 0);
    client_destroy(client);
    tiers_down();
}

/* A client that goes while its pages are being read leaves nothing behind. */
static void disconnect_while_parked(void **state) {
    (void)state;
    tiers_up();
    struct client *client = client_create();
    assert_int_equal(client_execute(client, "lolwut"), 1);
    client_destroy(client);
    assert_int_equal(dispatch_stats.parked_pages, 0);
    for (int i = 0; i < 50; i++) {
        tier_turn();
        tier_complete();
        usleep(100);
    }
    tiers_down();
}

/* From inside, pages are read blocking. */
static void run_is_sync(void **state) {
    (void)state;
    tiers_up();
    struct client *client = client_create();
    struct bytes argv[] = {bytes_of_text("lolwut")};
    runs = 0;
    assert_int_equal(dispatch_run(client, argv, 1), 0);
    assert_int_equal(runs, 1);
    client_destroy(client);
    tiers_down();
}

static void failures(void **state) {
    static const struct {
        int error;
        const char *begin;
    } cases[] = {{FIRN_EIO, "-IOERR the "},
                 {FIRN_ECORRUPT, "-IOERR the "},
                 {FIRN_ENOMEM, "-OOM "},
                 {FIRN_ENOSPACE, "-IOERR the "}};
    struct client *client = client_create();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes;
        fail_with = (unsigned)-cases[i].error;
        assert_int_equal(client_execute(client, "lolwut"), 0);
        struct reply_chunk *chunk = reply_take(&client->reply, &bytes);
        assert_memory_equal(chunk->data, cases[i].begin, strlen(cases[i].begin));
        assert_null(chunk->next);
        reply_chunk_free(chunk);
    }
    fail_with = 0;
    const struct command *command = command_find_name(bytes_of_text("lolwut"));
    assert_int_equal(dispatch_command_stats(command)->failed, sizeof cases / sizeof *cases);
    client_destroy(client);
}

/* --- memory --- */

static void refused_writer(void **state) {
    struct client *client = client_create();
    (void)state;
    pretend_tiers = 1;
    admission = TIER_REFUSE;
    client_expect(client, "ping", "+PONG\r\n"); /* only commands that need memory are asked about */
    client_expect(client, "copy a b", "-OOM the NVMe tier is full\r\n");
    admission = TIER_ADMIT;
    client_expect(client, "copy a b", ":0\r\n");
    pretend_tiers = 0;
    client_destroy(client);
}

static void delayed_writer(void **state) {
    struct client *client = client_create();
    (void)state;
    pretend_tiers = 1;
    admission = TIER_DELAY;
    admission_delay_us = 400;
    client_expect(client, "copy a b", ":0\r\n"); /* owed */
    client_expect(client, "copy a b", ":0\r\n");
    assert_int_equal(client_execute(client, "copy a b"), 1);
    assert_int_equal(dispatch_stats.parked_delay, 1);
    assert_int_equal(hooks.execute(client), 1);
    usleep(2000);
    dispatch_cron();
    assert_int_equal(hooks.execute(client), 0);
    client_expect_reply(client, ":0\r\n");
    assert_int_equal(dispatch_stats.parked_delay, 0);
    admission = TIER_ADMIT;
    pretend_tiers = 0;
    client_destroy(client);
}

/* --- pause --- */

static void pause_holds_back(void **state) {
    struct client *client = client_create();
    (void)state;
    dispatch_pause(DISPATCH_PAUSE_WRITE, clock_monotonic_us() / 1000 + 60000);
    client_expect(client, "ping", "+PONG\r\n");
    assert_int_equal(client_execute(client, "copy a b"), 1);
    assert_true(client->flags & CLIENT_PAUSED);
    assert_int_equal(hooks.execute(client), 1);
    dispatch_unpause();
    assert_int_equal(hooks.execute(client), 0);
    client_expect_reply(client, ":0\r\n");
    assert_false(client->flags & CLIENT_PAUSED);
    dispatch_pause(DISPATCH_PAUSE_ALL, clock_monotonic_us() / 1000 + 1);
    assert_int_equal(client_execute(client, "ping"), 1);
    usleep(2000);
    dispatch_cron();
    assert_int_equal(hooks.execute(client), 0);
    client_expect_reply(client, "+PONG\r\n");
    client_destroy(client);
}

/* --- waits of commands --- */

static void waiting(void **state) {
    struct client *client = client_create();
    (void)state;
    client_expect(client, "wait 0 0", ":0\r\n");
    assert_int_equal(client_execute(client, "wait 1 0"), 1);
    assert_true(dispatch_is_waiting(client));
    assert_int_equal(dispatch_stats.waiting, 1);
    assert_int_equal(hooks.execute(client), 1);
    assert_int_equal(dispatch_wake(client, DISPATCH_WAKE_ERROR), 1);
    assert_int_equal(dispatch_wake(client, DISPATCH_WAKE_ERROR), 0);
    assert_int_equal(hooks.execute(client), 0);
    client_expect_reply(client, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    assert_int_equal(client_execute(client, "wait 1 0"), 1);
    assert_int_equal(dispatch_wake(client, DISPATCH_WAKE_TIMEOUT), 1);
    assert_int_equal(hooks.execute(client), 0);
    client_expect_reply(client, ":0\r\n");
    assert_int_equal(client_execute(client, "wait 1 0"), 1);
    client_destroy(client); /* goes away while waiting */
    assert_int_equal(dispatch_stats.waiting, 0);
}

/* --- statistics --- */

static void find_error(const char *code, uint64_t count, void *ctx) {
    if (strcmp(code, "NOAUTH") == 0) *(uint64_t *)ctx = count;
}

static void error_statistics(void **state) {
    uint64_t count = 0;
    (void)state;
    dispatch_stats_reset();
    dispatch_config.requirepass = bytes_of_text("secret");
    struct client *client = client_create();
    for (int i = 0; i < 3; i++)
        client_expect(client, "ping", "-NOAUTH Authentication required.\r\n");
    dispatch_config.requirepass = bytes_of("", 0);
    dispatch_each_error(find_error, &count);
    assert_int_equal(count, 3);
    assert_int_equal(dispatch_stats.error_replies, 3);
    assert_int_equal(dispatch_command_stats(command_find_name(bytes_of_text("ping")))->rejected, 3);
    client_destroy(client);
}

static void slow_log(void **state) {
    struct client *client = client_create();
    (void)state;
    dispatch_config.slowlog_log_slower_than_us = 0;
    dispatch_config.slowlog_max_len = 3;
    for (int i = 0; i < 5; i++)
        client_expect(client, "echo hello", "$5\r\nhello\r\n");
    assert_int_equal(slowlog_count(), 3);
    assert_int_equal(slowlog_newest()->argc, 2);
    assert_memory_equal(slowlog_newest()->argv[1].data, "hello", 5);
    assert_int_equal(client_execute(client, "auth secret"), 0);
    assert_true(bytes_equal(slowlog_newest()->argv[1], bytes_of_text("(redacted)")));
    slowlog_reset();
    assert_int_equal(slowlog_count(), 0);
    dispatch_config.slowlog_log_slower_than_us = -1;
    client_destroy(client);
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
        cmocka_unit_test(unknown),
        cmocka_unit_test(authentication),
        cmocka_unit_test(reply_modes),
        cmocka_unit_test(faults_park_and_rerun),
        cmocka_unit_test(transaction_faults),
        cmocka_unit_test(disconnect_while_parked),
        cmocka_unit_test(run_is_sync),
        cmocka_unit_test(failures),
        cmocka_unit_test(refused_writer),
        cmocka_unit_test(delayed_writer),
        cmocka_unit_test(pause_holds_back),
        cmocka_unit_test(waiting),
        cmocka_unit_test(error_statistics),
        cmocka_unit_test(slow_log),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
