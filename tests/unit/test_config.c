/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_server firn_base */
/*
 * The configuration without a server: values and their errors, CONFIG GET and SET with rollback, the file
 * language and the command line, rewriting. Goal: every directive reads back what it was given, and nothing
 * that is refused leaves a trace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "server/config.h"

static char error[CONFIG_ERROR_BYTES];

static int set(const char *name, const char *value) {
    struct bytes pair[2] = {bytes_of_text(name), bytes_of_text(value)}, culprit;
    return config_set(pair, 1, 1, &culprit, error);
}

static const char *get(const char *name) {
    int id = config_find(bytes_of_text(name));
    assert_true(id >= 0);
    return config_text((enum config_id)id);
}

static void assert_refused(const char *name, const char *value, const char *reason) {
    char before[CONFIG_ERROR_BYTES];
    snprintf(before, sizeof before, "%s", get(name));
    assert_int_equal(set(name, value), FIRN_EINVALID);
    assert_string_equal(error, reason);
    assert_string_equal(get(name), before);
}

static void assert_becomes(const char *name, const char *value, const char *shown) {
    assert_int_equal(set(name, value), 0);
    assert_string_equal(get(name), shown);
}

static int setup(void **state) {
    (void)state;
    config_init();
    return 0;
}

static void test_every_directive_takes_its_own_text(void **state) {
    (void)state;
    for (int id = 0; id < CONFIG_COUNT; id++) {
        char before[CONFIG_ERROR_BYTES];
        if (id == CONFIG_DIR) continue;
        snprintf(before, sizeof before, "%s", config_text((enum config_id)id));
        assert_true(config_is_default((enum config_id)id));
        config_put((enum config_id)id, before);
        assert_string_equal(config_text((enum config_id)id), before);
        assert_true(config_is_default((enum config_id)id));
        assert_int_equal(config_find(bytes_of_text(config_name((enum config_id)id))), id);
    }
}

static void test_values(void **state) {
    (void)state;
    assert_becomes("maxmemory", "100mb", "104857600");
    assert_becomes("maxmemory", "1G", "1000000000");
    assert_becomes("maxmemory", "18446744073709551615", "18446744073709551615");
    assert_becomes("maxmemory-clients", "5%", "5%");
    assert_becomes("appendonly", "YES", "yes");
    assert_becomes("loglevel", "Verbose", "verbose");
    assert_becomes("oom-score-adj", "relative", "yes");
    assert_becomes("shutdown-on-sigint", "force now nosave", "nosave now force");
    assert_becomes("notify-keyspace-events", "KEA", "AKE");
    assert_becomes("notify-keyspace-events", "Elg", "glE");
    assert_becomes("save", "900 1 300 10", "900 1 300 10");
    assert_becomes("save", "", "");
    assert_becomes("client-output-buffer-limit", "replica 1mb 0 5",
                   "normal 0 0 0 slave 1048576 0 5 pubsub 33554432 8388608 60");
    assert_becomes("latency-tracking-info-percentiles", "50 99.90 100", "50 99.9 100");
    assert_becomes("hash-max-ziplist-entries", "7", "7");
    assert_string_equal(get("hash-max-listpack-entries"), "7");
    assert_becomes("bind", "", "");
    assert_becomes("bind", "127.0.0.1 -::1", "127.0.0.1 -::1");
}

static void test_refusals(void **state) {
    (void)state;
    assert_refused("maxmemory", "-1", "argument must be a memory value");
    assert_refused("maxmemory", "10x", "argument must be a memory value");
    assert_refused("maxmemory", "20000000000g", "argument must be a memory value");
    assert_refused("maxmemory-clients", "200%", "percentage argument must be less or equal to 100");
    assert_refused("maxmemory-clients", "x", "argument must be a memory or percent value");
    assert_refused("hz", "x", "argument couldn't be parsed into an integer");
    assert_refused("hz", "-1", "argument must be between 0 and 2147483647 inclusive");
    assert_refused("proto-max-bulk-len", "5",
                   "argument must be between 1048576 and 9223372036854775807 inclusive");
    assert_refused("appendonly", "maybe", "argument must be 'yes' or 'no'");
    assert_refused("tier-full", "x", "argument(s) must be one of the following: error, evict");
    assert_refused("save", "1", "Invalid save parameters");
    assert_refused("save", "0 1", "Invalid save parameters");
    assert_refused("client-output-buffer-limit", "normal 0 0",
                   "Wrong number of arguments in buffer limit configuration.");
    assert_refused("client-output-buffer-limit", "bulk 0 0 0",
                   "Invalid client class specified in buffer limit configuration.");
    assert_refused("notify-keyspace-events", "q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    assert_refused("oom-score-adj-values", "0 200 8000",
                   "Invalid oom-score-adj-values, elements must be between -2000 and 2000.");
    assert_refused("daemonize", "yes", "can't set immutable config");
    assert_int_equal(set("daemonize", "no"), 0);
    assert_refused("proc-title-template", "{nonsense}",
                   "template format is invalid or contains unknown variables");
    assert_refused("dbfilename", "a/b", "dbfilename can't be a path, just a filename");
    assert_int_equal(set("no-such-thing", "1"), FIRN_ENOTFOUND);
    struct bytes pair[2] = {bytes_of_text("dir"), bytes_of_text("/")}, culprit;
    assert_int_equal(config_set(pair, 1, 0, &culprit, error), FIRN_EINVALID);
    assert_string_equal(error, "can't set protected config");
}

static int applied, refuse_apply;

static int apply_probe(const char **error_out) {
    applied++;
    if (refuse_apply) *error_out = "no";
    return refuse_apply ? FIRN_ESYSTEM : 0;
}

static void test_set_is_atomic(void **state) {
    (void)state;
    struct bytes culprit;
    struct bytes bad[] = {bytes_of_text("maxmemory"), bytes_of_text("1"),       bytes_of_text("hz"),
                          bytes_of_text("x"),         bytes_of_text("timeout"), bytes_of_text("3")};
    assert_int_equal(config_set(bad, 3, 1, &culprit, error), FIRN_EINVALID);
    assert_true(bytes_is(culprit, "hz"));
    assert_string_equal(get("maxmemory"), "0");
    struct bytes twice[] = {bytes_of_text("hz"), bytes_of_text("1"), bytes_of_text("hz"), bytes_of_text("2")};
    assert_int_equal(config_set(twice, 2, 1, &culprit, error), FIRN_EINVALID);
    assert_string_equal(error, "duplicate parameter");

    /* An apply function that refuses: everything is put back, and what had been applied is applied again. */
    config_on_apply(CONFIG_APPLY_MEMORY, apply_probe);
    struct bytes good[] = {bytes_of_text("maxmemory"), bytes_of_text("5"), bytes_of_text("maxmemory-samples"),
                           bytes_of_text("6")};
    applied = 0;
    assert_int_equal(config_set(good, 2, 1, &culprit, error), 0);
    assert_int_equal(applied, 1);
    refuse_apply = 1;
    struct bytes again[] = {bytes_of_text("hz"), bytes_of_text("50"), bytes_of_text("maxmemory"),
                            bytes_of_text("7")};
    assert_int_equal(config_set(again, 2, 1, &culprit, error), FIRN_EINVALID);
    assert_true(bytes_is(culprit, "maxmemory"));
    assert_string_equal(error, "no");
    assert_string_equal(get("maxmemory"), "5");
    assert_string_equal(get("hz"), "10");
    refuse_apply = 0;
    applied = 0;
    assert_int_equal(set("maxmemory", "5"), 0);
    assert_int_equal(applied, 0); /* nothing changed, nothing to apply */
    config_on_apply(CONFIG_APPLY_MEMORY, NULL);
}

struct listing {
    char names[8192];
    unsigned count;
};

static void list(const char *name, struct bytes value, void *ctx) {
    struct listing *listing = ctx;
    (void)value;
    size_t used = strlen(listing->names);
    snprintf(listing->names + used, sizeof listing->names - used, "%s ", name);
    listing->count++;
}

static void test_get(void **state) {
    (void)state;
    struct listing listing = {0};
    struct bytes patterns[] = {bytes_of_text("MAXMEMORY"), bytes_of_text("*eof"), bytes_of_text("slaveof"),
                               bytes_of_text("*aof")};
    config_get(patterns, 4, list, &listing);
    assert_string_equal(listing.names, "maxmemory replicaof slaveof ");
    struct listing hidden = {0};
    struct bytes star = bytes_of_text("*"), named = bytes_of_text("key-load-delay");
    config_get(&star, 1, list, &hidden);
    assert_null(strstr(hidden.names, "key-load-delay"));
    assert_true(hidden.count > 180);
    hidden = (struct listing){0};
    config_get(&named, 1, list, &hidden);
    assert_int_equal(hidden.count, 1);
}

static int seen_directives;

static int directive(const struct bytes *words, size_t count, const char **error_out) {
    seen_directives++;
    if (bytes_is(words[0], "rename-command") && count == 3) return 0;
    if (bytes_is(words[0], "loadmodule")) *error_out = "no modules";
    return FIRN_EINVALID;
}

static void assert_load_fails(const char *text, unsigned line, const char *shown, const char *message) {
    struct config_failure failure;
    config_init();
    assert_int_equal(config_load_text(text, directive, &failure), FIRN_EINVALID);
    assert_int_equal(failure.line, line);
    assert_string_equal(failure.text, shown);
    assert_string_equal(failure.message, message);
}

static void test_load_text(void **state) {
    (void)state;
    struct config_failure failure;
    assert_int_equal(
        config_load_text("# comment\n\n  port 7000\r\nlogfile \"a \\x41\\n\"\nsyslog-ident 'it\\'s'\nsave "
                         "900 1\nsave 60 5\n"
                         "rename-command FLUSHALL \"\"\nlist-max-ziplist-value 3\nHASH-max-ziplist-value 12",
                         directive, &failure),
        0);
    assert_int_equal(config_number(CONFIG_PORT), 7000);
    assert_string_equal(config_text(CONFIG_LOGFILE), "a A\n");
    assert_string_equal(config_text(CONFIG_SYSLOG_IDENT), "it's");
    assert_string_equal(config_text(CONFIG_SAVE), "900 1 60 5");
    assert_int_equal(config_number(CONFIG_HASH_MAX_LISTPACK_VALUE), 12);
    assert_load_fails("port 1\nbogus 1\n", 2, "bogus 1", "Bad directive or wrong number of arguments");
    assert_load_fails("port 1 2", 1, "port 1 2", "wrong number of arguments");
    assert_load_fails("\nport abc", 2, "port abc", "argument couldn't be parsed into an integer");
    assert_load_fails("logfile \"x", 1, "logfile \"x", "Unbalanced quotes in configuration line");
    assert_load_fails("loadmodule x", 1, "loadmodule x", "no modules");
    assert_load_fails("replicaof host abc", 1, "replicaof host abc", "Invalid master port");
    assert_int_equal(config_load_text("save \"\"\nshutdown-on-sigterm \"nosave force\"", directive, &failure),
                     0);
    assert_string_equal(config_text(CONFIG_SAVE), "");
    assert_string_equal(config_text(CONFIG_SHUTDOWN_ON_SIGTERM), "nosave force");
}

static int load(const char *const *words, struct config_failure *failure) {
    char *argv[16];
    int argc = 0;
    for (; words[argc] != NULL; argc++)
        argv[argc] = (char *)words[argc];
    config_init();
    return config_load_arguments(argc, argv, directive, failure);
}

static void test_command_line(void **state) {
    (void)state;
    struct config_failure failure;
    assert_int_equal(
        load((const char *[]){"x", "--port", "7001", "--bind", "127.0.0.1", "::1", NULL}, &failure), 0);
    assert_int_equal(config_number(CONFIG_PORT), 7001);
    assert_string_equal(config_text(CONFIG_BIND), "127.0.0.1 ::1");
    assert_int_equal(load((const char *[]){"x", "--port 7002", "--maxmemory '7mb'", NULL}, &failure), 0);
    assert_int_equal(config_number(CONFIG_PORT), 7002);
    assert_int_equal(config_number(CONFIG_MAXMEMORY), 7 << 20);
    assert_int_equal(load((const char *[]){"x", "--proc-title-template", "--save", "--save", "", "--loglevel",
                                           "verbose", NULL},
                          &failure),
                     0);
    assert_string_equal(config_text(CONFIG_PROC_TITLE_TEMPLATE), "--save");
    assert_string_equal(config_text(CONFIG_SAVE), "");
    assert_int_equal(load((const char *[]){"x", "--save", "--loglevel", "debug", NULL}, &failure), 0);
    assert_string_equal(config_text(CONFIG_SAVE), "");
    assert_int_equal(load((const char *[]){"x", "--loglevel", "debug", "--save", NULL}, &failure), 0);
    assert_string_equal(config_text(CONFIG_SAVE), "");
    assert_int_equal(load((const char *[]){"x", "--port", NULL}, &failure), FIRN_EINVALID);
    assert_string_equal(failure.text, "port");
    assert_int_equal(load((const char *[]){"x", "--port", "6379", "6380", NULL}, &failure), FIRN_EINVALID);
    assert_string_equal(failure.text, "port \"6379\" \"6380\"");
    assert_string_equal(failure.message, "wrong number of arguments");
    assert_int_equal(load((const char *[]){"x", "--port", "--bla", "--loglevel", "verbose", NULL}, &failure),
                     FIRN_EINVALID);
    assert_string_equal(failure.text, "port \"--bla\"");
    assert_int_equal(load((const char *[]){"x", "--shutdown-on-sigint", NULL}, &failure), FIRN_EINVALID);
    assert_string_equal(failure.message,
                        "argument(s) must be one of the following: default, save, nosave, now, force");
    assert_int_equal(load((const char *[]){"x", "/no/such/file", NULL}, &failure), FIRN_EINVALID);
    assert_int_equal(failure.line, 0);
    assert_non_null(
        strstr(failure.message, "can't open config file '/no/such/file': No such file or directory"));
}

static char folder[] = "/tmp/firn-test-config-XXXXXX", file[64];

static void write_file(const char *path, const char *text) {
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static const char *read_file(const char *path) {
    static char text[65536];
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    return text;
}

static void test_rewrite(void **state) {
    struct config_failure failure;
    char first[65536];
    (void)state;
    write_file(file,
               "# head\nport 7003\n\nhash-max-ziplist-entries 20\n# between\nhash-max-listpack-entries 21\n"
               "rename-command X Y\nsave 900 1\nsave 60 5\nwhat is this\n");
    assert_int_equal(load((const char *[]){"x", file, NULL}, &failure), FIRN_EINVALID);
    write_file(file,
               "# head\nport 7003\n\nhash-max-ziplist-entries 20\n# between\nhash-max-listpack-entries 21\n"
               "rename-command X Y\nsave 900 1\nsave 60 5\n");
    assert_int_equal(load((const char *[]){"x", file, NULL}, &failure), 0);
    assert_int_equal(set("save", "10 1"), 0);
    assert_int_equal(set("maxmemory", "100mb"), 0);
    assert_int_equal(config_rewrite(0), 0);
    const char *expected =
        "# head\nport 7003\n\nhash-max-listpack-entries 21\n# between\nrename-command X Y\nsave 10 1\n"
        "# Generated by CONFIG REWRITE\nmaxmemory 100mb\ndir ";
    assert_memory_equal(read_file(file), expected, strlen(expected));
    snprintf(first, sizeof first, "%s", read_file(file));
    assert_int_equal(config_rewrite(0), 0);
    assert_string_equal(read_file(file), first);

    /* A failed write leaves the old file. */
    assert_int_equal(set("maxmemory", "5"), 0);
    fault_point_arm(FAULT_FILE_WRITE, 0, 1);
    assert_int_equal(config_rewrite(0), FIRN_ESYSTEM);
    fault_point_reset();
    assert_string_equal(read_file(file), first);
}

static void test_rewrite_all_reads_back(void **state) {
    struct config_failure failure;
    (void)state;
    static char before[CONFIG_COUNT][512];
    write_file(file, "proc-title-template \"a \\\"{title}\\\"\"\nbind\nsave ''\n");
    assert_int_equal(load((const char *[]){"x", file, NULL}, &failure), 0);
    assert_int_equal(config_rewrite(1), 0);
    for (int id = 0; id < CONFIG_COUNT; id++)
        snprintf(before[id], sizeof before[id], "%s", config_text((enum config_id)id));
    assert_int_equal(load((const char *[]){"x", file, NULL}, &failure), 0);
    for (int id = 0; id < CONFIG_COUNT; id++)
        assert_string_equal(config_text((enum config_id)id), before[id]);
}

static void test_include(void **state) {
    struct config_failure failure;
    char part[80], text[256];
    (void)state;
    snprintf(part, sizeof part, "%s/part1.inc", folder);
    write_file(part, "hz 77\n");
    snprintf(text, sizeof text, "hz 5\ninclude %s/*.inc\n", folder);
    assert_int_equal(config_load_text(text, directive, &failure), 0);
    assert_int_equal(config_number(CONFIG_HZ), 77);
    write_file(part, "ok\nhz x\n");
    assert_int_equal(config_load_text(text, directive, &failure), FIRN_EINVALID);
    assert_string_equal(failure.text, "ok");
    snprintf(text, sizeof text, "include %s/none.conf\n", folder);
    assert_int_equal(config_load_text(text, directive, &failure), FIRN_EINVALID);
    assert_non_null(strstr(failure.message, "can't open config file"));
    /* A file that includes itself ends with an error. */
    snprintf(text, sizeof text, "include %s\n", file);
    write_file(file, text);
    assert_int_equal(config_load_text(text, directive, &failure), FIRN_EINVALID);
    unlink(part);
}

static int make_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(file, sizeof file, "%s/firn.conf", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(file);
    config_fini();
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_directive_takes_its_own_text, setup),
        cmocka_unit_test_setup(test_values, setup),
        cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test_setup(test_set_is_atomic, setup),
        cmocka_unit_test_setup(test_get, setup),
        cmocka_unit_test_setup(test_load_text, setup),
        cmocka_unit_test_setup(test_command_line, setup),
        cmocka_unit_test_setup(test_rewrite, setup),
        cmocka_unit_test_setup(test_rewrite_all_reads_back, setup),
        cmocka_unit_test_setup(test_include, setup),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
