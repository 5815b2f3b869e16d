/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_cmd */
/*
 * Stream commands: in what form each is propagated. What is expected is what redis-server 7.0.15 writes to
 * its AOF for the same commands (times apart). Handlers are called without a dispatcher.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "keyspace/db.h"
#include "net/client.h"
#include "types/stream.h"

static const struct {
    const char *name;
    int (*handler)(struct call *call);
} commands[] = {
    {"XADD", cmd_xadd},
    {"XTRIM", cmd_xtrim},
    {"XDEL", cmd_xdel},
    {"XSETID", cmd_xsetid},
    {"XREADGROUP", cmd_xreadgroup},
    {"XCLAIM", cmd_xclaim},
    {"XAUTOCLAIM", cmd_xautoclaim},
    {"XACK", cmd_xack},
    {"XGROUP CREATE", cmd_xgroup_create},
    {"XGROUP SETID", cmd_xgroup_setid},
    {"XGROUP CREATECONSUMER", cmd_xgroup_createconsumer},
    {"XGROUP DELCONSUMER", cmd_xgroup_delconsumer},
    {"XGROUP DESTROY", cmd_xgroup_destroy},
};

static char propagated[4096];

static void put_argv(size_t argc, const struct bytes *argv) {
    for (size_t i = 0; i < argc; i++) {
        size_t used = strlen(propagated);
        int is_time = i > 0 && bytes_is(argv[i - 1], "TIME");
        snprintf(propagated + used, sizeof propagated - used, "%s%.*s", i > 0 ? " " : "",
                 is_time ? 1 : (int)argv[i].size, is_time ? "T" : (const char *)argv[i].data);
    }
}

/* What the dispatcher would tell: forms behind each other with "; " between, or the command as it came. */
static void record(const struct call *call) {
    propagated[0] = '\0';
    if (call->no_propagation || (call->changes == 0 && call->forms == NULL)) return;
    if (call->forms == NULL) put_argv(call->argc, call->argv);
    for (const struct call_form *form = call->forms; form != NULL; form = form->next) {
        put_argv(form->argc, form->argv);
        if (form->next != NULL) snprintf(propagated + strlen(propagated), 3, "; ");
    }
}

static void run(const char *line) {
    char copy[4096];
    struct bytes argv[200];
    size_t argc = 0;
    struct client client = {.flags = CLIENT_INTERNAL};
    snprintf(copy, sizeof copy, "%s", line);
    for (char *rest = copy, *word; (word = strsep(&rest, " ")) != NULL;)
        argv[argc++] = bytes_of_text(word);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        size_t size = strlen(commands[i].name);
        if (strncmp(line, commands[i].name, size) != 0 || line[size] != ' ') continue;
        struct command command = {.name = commands[i].name};
        struct reply reply;
        reply_init(&reply);
        struct call call = {.client = &client,
                            .command = &command,
                            .db = db_at(0),
                            .reply = &reply,
                            .argc = argc,
                            .argv = argv};
        clock_update();
        assert_int_equal(commands[i].handler(&call), 0);
        record(&call);
        call_forms_free(&call);
        reply_fini(&reply);
        return;
    }
    fail_msg("no command %s", line);
}

#define AS_IT_CAME "*"

static void expect(const char *line, const char *expected) {
    run(line);
    assert_string_equal(propagated, strcmp(expected, AS_IT_CAME) == 0 ? line : expected);
}

static void test_forms(void **state) {
    (void)state;
    for (unsigned i = 1; i <= 5; i++) {
        char line[64];
        snprintf(line, sizeof line, "XADD x %u-1 a 1", i);
        expect(line, AS_IT_CAME);
    }
    expect("XADD x 6-* a 1", "XADD x 6-0 a 1");
    expect("XGROUP CREATE x g 0", AS_IT_CAME);
    expect("XREADGROUP GROUP g c COUNT 2 STREAMS x >",
           "XCLAIM x g c 0 1-1 TIME T RETRYCOUNT 1 FORCE JUSTID LASTID 1-1; "
           "XCLAIM x g c 0 2-1 TIME T RETRYCOUNT 1 FORCE JUSTID LASTID 2-1");
    expect("XREADGROUP GROUP g c STREAMS x 0", "");
    expect("XREADGROUP GROUP g new STREAMS x 0", "");
    expect("XREADGROUP GROUP g c2 NOACK COUNT 1 STREAMS x >",
           "XGROUP CREATECONSUMER x g c2; XGROUP SETID x g 3-1 ENTRIESREAD 3");
    expect("XREADGROUP GROUP g c3 STREAMS x >",
           "XCLAIM x g c3 0 4-1 TIME T RETRYCOUNT 1 FORCE JUSTID LASTID 4-1; "
           "XCLAIM x g c3 0 5-1 TIME T RETRYCOUNT 1 FORCE JUSTID LASTID 5-1; "
           "XCLAIM x g c3 0 6-0 TIME T RETRYCOUNT 1 FORCE JUSTID LASTID 6-0");
    expect("XREADGROUP GROUP g c3 STREAMS x >", "");
    expect("XCLAIM x g c4 0 1-1", "XCLAIM x g c4 0 1-1 TIME T RETRYCOUNT 3 FORCE JUSTID LASTID 6-0");
    expect("XCLAIM x g c4 0 1-1 2-1 JUSTID",
           "XCLAIM x g c4 0 1-1 TIME T RETRYCOUNT 3 FORCE JUSTID LASTID 6-0; "
           "XCLAIM x g c4 0 2-1 TIME T RETRYCOUNT 2 FORCE JUSTID LASTID 6-0");
    expect("XCLAIM x g c4 0 99-1 LASTID 9-1", "XGROUP SETID x g 9-1 ENTRIESREAD 6");
    expect("XCLAIM x g c4 0 5-1 IDLE 1000 RETRYCOUNT 7 FORCE",
           "XCLAIM x g c4 0 5-1 TIME T RETRYCOUNT 7 FORCE JUSTID LASTID 9-1");
    expect("XDEL x 2-1", AS_IT_CAME);
    expect("XCLAIM x g c5 0 2-1", "XCLAIM x g c4 0 2-1 TIME T RETRYCOUNT 2 FORCE JUSTID LASTID 9-1");
    expect("XDEL x 1-1", AS_IT_CAME);
    expect("XAUTOCLAIM x g c6 0 0 COUNT 2",
           "XCLAIM x g c4 0 1-1 TIME T RETRYCOUNT 3 FORCE JUSTID LASTID 9-1; "
           "XCLAIM x g c6 0 4-1 TIME T RETRYCOUNT 2 FORCE JUSTID LASTID 9-1");
    expect("XAUTOCLAIM x g c7 100000 0", "");
    expect("XGROUP SETID x g 0", AS_IT_CAME);
    expect("XGROUP DELCONSUMER x g c6", AS_IT_CAME);
    expect("XGROUP CREATECONSUMER x g c6", AS_IT_CAME);
    expect("XGROUP CREATECONSUMER x g c6", "");
    expect("XACK x g 5-1", AS_IT_CAME);
    expect("XACK x g 5-1", "");
    expect("XGROUP DESTROY x g", AS_IT_CAME);
}

static void test_trims(void **state) {
    (void)state;
    type_limits.stream_node_max_entries = 2;
    run("XADD x 1-1 a 1");
    for (unsigned i = 2; i < 8; i++)
        run("XADD x 1-* a 1");
    expect("XADD x MAXLEN ~ 5 LIMIT 100 2-* a b", "XADD x MAXLEN = 6 2-0 a b");
    expect("XTRIM x MAXLEN ~ 6", "");
    expect("XTRIM x MAXLEN ~ 3", "XTRIM x MAXLEN = 4");
    expect("XTRIM x MAXLEN 3", AS_IT_CAME);
    expect("XADD x MINID ~ 2 3-* a b", "XADD x MINID = 1-7 3-0 a b");
    expect("XADD x NOMKSTREAM 4-* a b", "XADD x NOMKSTREAM 4-0 a b");
    expect("XTRIM x MINID ~ 9-0", "XTRIM x MINID = 9-0");
    char wide[2048] = "XADD x 5-*", expected[2048] = "XADD x 5-0";
    for (unsigned i = 0; i < 80; i++) { /* however many fields there are */
        snprintf(wide + strlen(wide), sizeof wide - strlen(wide), " f%u v", i);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), " f%u v", i);
    }
    expect(wide, expected);
    type_limits.stream_node_max_entries = 100;
}

static int setup(void **state) {
    (void)state;
    db_init_all(1);
    call_propagated = record;
    return 0;
}
static int teardown(void **state) {
    (void)state;
    db_check(db_at(0));
    db_fini_all();
    call_propagated = NULL;
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trims, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
