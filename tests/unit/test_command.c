/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_cmd */
/* The command table: lookups in any case, subcommands, arity, key extraction, renaming. Renaming comes last:
 * it changes the table for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cmd/command.h"

#define WORDS_MAX 16

static size_t split(const char *line, struct bytes words[WORDS_MAX]) {
    size_t count = 0;
    while (*line != 0) {
        size_t size = strcspn(line, " ");
        words[count++] = bytes_of(line, size);
        line += size;
        if (*line == ' ') line++;
    }
    return count;
}

static const struct command *find(const char *line, const struct command **container) {
    struct bytes words[WORDS_MAX];
    return command_find(words, split(line, words), container);
}

static void lookups(void **state) {
    const struct command *container;
    (void)state;
    assert_string_equal(find("PING", NULL)->name, "ping");
    assert_string_equal(find("pInG x", NULL)->name, "ping");
    assert_string_equal(find("client LIST", &container)->name, "client|list");
    assert_null(container);
    assert_string_equal(find("client", NULL)->name, "client");
    assert_null(find("client nosuch", &container));
    assert_string_equal(container->name, "client");
    assert_null(find("nosuch", &container));
    assert_null(container);
    assert_null(find("client|list", NULL));
    assert_null(find("pin", NULL));
    assert_null(
        find("pingpingpingpingpingpingpingpingpingpingpingpingpingpingpingpingpingpingpingping", NULL));
    assert_null(command_find(&(struct bytes){NULL, 0}, 1, NULL));
    assert_string_equal(command_find_name(bytes_of_text("CLIENT|Id"))->name, "client|id");
    assert_null(command_find_name(bytes_of_text("client|")));
    assert_null(command_find_name(bytes_of_text("ping|id")));
}

/* Each command is found under its name, has a place of its own in statistics, and containers and handlers
 * exclude each other. */
static void whole_table(void **state) {
    (void)state;
    uint8_t seen[1024] = {0};
    for (unsigned i = 0; i < command_count(); i++) {
        const struct command *command = command_at(i);
        assert_ptr_equal(command_find_name(bytes_of_text(command->name)), command);
        assert_int_equal(seen[command->index]++, 0);
        for (unsigned j = 0; j < command->subcommand_count; j++) {
            assert_int_equal(seen[command->subcommands[j].index]++, 0);
            if (command->subcommands[j].handler == NULL) continue;
            assert_ptr_equal(command_find_name(bytes_of_text(command->subcommands[j].name)),
                             &command->subcommands[j]);
        }
    }
    assert_true(command_total_count <= sizeof seen);
}

static void expect_keys(const char *line, const char *expected) {
    struct bytes words[WORDS_MAX];
    unsigned positions[WORDS_MAX];
    size_t argc = split(line, words);
    const struct command *command = command_find(words, argc, NULL);
    char text[128] = "";
    assert_non_null(command);
    int count = command_keys(command, words, argc, positions, NULL, WORDS_MAX);
    if (count < 0) snprintf(text, sizeof text, "invalid");
    for (int i = 0; i < count; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.*s", i ? " " : "",
                 (int)words[positions[i]].size, (const char *)words[positions[i]].data);
    }
    assert_string_equal(text, expected);
}

static void keys(void **state) {
    (void)state;
    expect_keys("TTL a", "a");
    expect_keys("DEL a b c", "a b c");
    expect_keys("COPY a b DB 3", "a b");
    expect_keys("OBJECT ENCODING k", "k");
    expect_keys("PING", "");
    unsigned positions[2];
    struct bytes words[WORDS_MAX];
    size_t argc = split("DEL a b c d", words);
    assert_int_equal(command_keys(command_find(words, argc, NULL), words, argc, positions, NULL, 2), 4);
    assert_int_equal(positions[1], 2);
}

static void legacy_ranges(void **state) {
    static const struct {
        const char *name;
        int first, last, step;
    } cases[] = {
        {"get", 1, 1, 1}, {"del", 1, -1, 1}, {"copy", 1, 2, 1}, {"ping", 0, 0, 0}, {"object|freq", 2, 2, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int first, last, step;
        command_legacy_range(command_find_name(bytes_of_text(cases[i].name)), &first, &last, &step);
        assert_int_equal(first, cases[i].first);
        assert_int_equal(last, cases[i].last);
        assert_int_equal(step, cases[i].step);
    }
}

static void arity(void **state) {
    (void)state;
    const struct command *command = command_find_name(bytes_of_text("echo"));
    assert_true(command_arity_fits(command, 2));
    assert_false(command_arity_fits(command, 3));
    command = command_find_name(bytes_of_text("del"));
    assert_true(command_arity_fits(command, 5));
    assert_false(command_arity_fits(command, 1));
}

static void categories(void **state) {
    (void)state;
    assert_int_equal(command_acl_category(bytes_of_text("KEYSPACE")), 0);
    assert_int_equal(command_acl_category(bytes_of_text("nosuch")), -1);
    const struct command *command = command_find_name(bytes_of_text("ttl"));
    assert_true(command->acl_categories >> command_acl_category(bytes_of_text("keyspace")) & 1);
    assert_false(command->acl_categories >> command_acl_category(bytes_of_text("hash")) & 1);
}

static void renaming(void **state) {
    (void)state;
    unsigned before = command_count();
    assert_int_equal(command_rename(bytes_of_text("nosuch"), bytes_of_text("x")), FIRN_ENOTFOUND);
    assert_int_equal(command_rename(bytes_of_text("echo"), bytes_of_text("ping")), FIRN_EEXISTS);
    assert_int_equal(command_rename(bytes_of_text("echo"), bytes_of_text("Say")), 0);
    assert_null(find("echo x", NULL));
    assert_string_equal(find("say x", NULL)->name, "echo");
    assert_int_equal(command_count(), before);
    assert_int_equal(command_rename(bytes_of_text("client"), bytes_of_text("admin")), 0);
    assert_string_equal(find("admin list", NULL)->name, "client|list");
    assert_int_equal(command_rename(bytes_of_text("say"), bytes_of_text("")), 0);
    assert_null(find("say x", NULL));
    assert_int_equal(command_count(), before - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookups),       cmocka_unit_test(whole_table), cmocka_unit_test(keys),
        cmocka_unit_test(legacy_ranges), cmocka_unit_test(arity),       cmocka_unit_test(categories),
        cmocka_unit_test(renaming),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
