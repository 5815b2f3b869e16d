/* SPDX-License-Identifier: BSD-3-Clause */
/* COMMAND and its subcommands: the command table as data for clients. */
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "ds/glob.h"

/* --- COMMAND, COMMAND INFO --- */

static void reply_words(struct reply *reply, const char *words) {
    size_t count = 0;
    for (const char *word = words; *word != 0; count++) {
        word += strcspn(word, " ");
        if (*word != 0) word++;
    }
    reply_set(reply, count);
    for (const char *word = words; *word != 0;) {
        size_t size = strcspn(word, " ");
        char text[64];
        memcpy(text, word, size);
        text[size] = 0;
        reply_status(reply, text);
        word += size;
        if (*word != 0) word++;
    }
}

static void reply_flags(struct reply *reply, uint32_t flags) {
    size_t count = 0;
    const char *name;
    for (unsigned bit = 0; (name = command_flag_name(bit)) != NULL; bit++)
        count += flags >> bit & (*name != 0);
    reply_set(reply, count);
    for (unsigned bit = 0; (name = command_flag_name(bit)) != NULL; bit++) {
        if (flags >> bit & (*name != 0)) reply_status(reply, name);
    }
}

static void reply_categories(struct reply *reply, uint64_t categories) {
    const char *name;
    reply_set(reply, (size_t)__builtin_popcountll(categories));
    for (unsigned bit = 0; (name = command_acl_category_name(bit)) != NULL; bit++) {
        if (!(categories >> bit & 1)) continue;
        char text[64] = "@";
        memcpy(text + 1, name, strlen(name) + 1);
        reply_status(reply, text);
    }
}

static void reply_texts(struct reply *reply, const char *const *texts) {
    size_t count = 0;
    while (texts != NULL && texts[count] != NULL)
        count++;
    reply_set(reply, count);
    for (size_t i = 0; i < count; i++)
        reply_bulk_text(reply, texts[i]);
}

static void reply_pair(struct reply *reply, const char *name, int value) {
    reply_bulk_text(reply, name);
    reply_integer(reply, value);
}

static void reply_begin(struct reply *reply, const struct command_key_spec *spec) {
    reply_bulk_text(reply, "begin_search");
    reply_map(reply, 2);
    reply_bulk_text(reply, "type");
    switch (spec->begin) {
    case COMMAND_BEGIN_INDEX:
        reply_bulk_text(reply, "index");
        reply_bulk_text(reply, "spec");
        reply_map(reply, 1);
        reply_pair(reply, "index", spec->begin_index);
        break;
    case COMMAND_BEGIN_KEYWORD:
        reply_bulk_text(reply, "keyword");
        reply_bulk_text(reply, "spec");
        reply_map(reply, 2);
        reply_bulk_text(reply, "keyword");
        reply_bulk_text(reply, spec->begin_keyword);
        reply_pair(reply, "startfrom", spec->begin_index);
        break;
    case COMMAND_BEGIN_UNKNOWN:
        reply_bulk_text(reply, "unknown");
        reply_bulk_text(reply, "spec");
        reply_map(reply, 0);
        break;
    }
}

static void reply_find(struct reply *reply, const struct command_key_spec *spec) {
    reply_bulk_text(reply, "find_keys");
    reply_map(reply, 2);
    reply_bulk_text(reply, "type");
    switch (spec->find) {
    case COMMAND_FIND_RANGE:
        reply_bulk_text(reply, "range");
        reply_bulk_text(reply, "spec");
        reply_map(reply, 3);
        reply_pair(reply, "lastkey", spec->last);
        reply_pair(reply, "keystep", spec->step);
        reply_pair(reply, "limit", spec->limit);
        break;
    case COMMAND_FIND_KEYNUM:
        reply_bulk_text(reply, "keynum");
        reply_bulk_text(reply, "spec");
        reply_map(reply, 3);
        reply_pair(reply, "keynumidx", spec->keynum_index);
        reply_pair(reply, "firstkey", spec->first_key);
        reply_pair(reply, "keystep", spec->step);
        break;
    case COMMAND_FIND_UNKNOWN:
        reply_bulk_text(reply, "unknown");
        reply_bulk_text(reply, "spec");
        reply_map(reply, 0);
        break;
    }
}

static void reply_key_specs(struct reply *reply, const struct command *command) {
    reply_set(reply, command->key_spec_count);
    for (unsigned i = 0; i < command->key_spec_count; i++) {
        const struct command_key_spec *spec = &command->key_specs[i];
        reply_map(reply, spec->notes != NULL ? 4 : 3);
        if (spec->notes != NULL) {
            reply_bulk_text(reply, "notes");
            reply_bulk_text(reply, spec->notes);
        }
        reply_bulk_text(reply, "flags");
        reply_words(reply, spec->flags);
        reply_begin(reply, spec);
        reply_find(reply, spec);
    }
}

static unsigned available_subcommands(const struct command *command) {
    unsigned count = 0;
    for (unsigned i = 0; i < command->subcommand_count; i++)
        count += command->subcommands[i].handler != NULL;
    return count;
}

static void reply_info(struct reply *reply, const struct command *command) {
    int first, last, step;
    command_legacy_range(command, &first, &last, &step);
    reply_array(reply, 10);
    reply_bulk_text(reply, command->name);
    reply_integer(reply, command->arity);
    reply_flags(reply, command->flags);
    reply_integer(reply, first);
    reply_integer(reply, last);
    reply_integer(reply, step);
    reply_categories(reply, command->acl_categories);
    reply_texts(reply, command->tips);
    reply_key_specs(reply, command);
    reply_set(reply, available_subcommands(command));
    for (unsigned i = 0; i < command->subcommand_count; i++) {
        if (command->subcommands[i].handler != NULL) reply_info(reply, &command->subcommands[i]);
    }
}

static int reply_all_info(struct call *call) {
    unsigned count = command_count();
    reply_array(call->reply, count);
    for (unsigned i = 0; i < count; i++)
        reply_info(call->reply, command_at(i));
    return 0;
}

int cmd_command(struct call *call) {
    return reply_all_info(call);
}

int cmd_command_info(struct call *call) {
    if (call->argc == 2) return reply_all_info(call);
    reply_array(call->reply, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        const struct command *command = command_find_name(call->argv[i]);
        if (command != NULL)
            reply_info(call->reply, command);
        else
            reply_null(call->reply);
    }
    return 0;
}

int cmd_command_count(struct call *call) {
    reply_integer(call->reply, command_count());
    return 0;
}

/* --- COMMAND DOCS --- */

static void reply_text_pair(struct reply *reply, const char *name, const char *value) {
    reply_bulk_text(reply, name);
    reply_bulk_text(reply, value);
}

/* Append the pair if there is a value; whether there is. */
static unsigned reply_optional(struct reply *reply, const char *name, const char *value) {
    if (value == NULL) return 0;
    reply_text_pair(reply, name, value);
    return 1;
}

static void reply_argument_flags(struct reply *reply, const struct command_argument *argument) {
    reply_bulk_text(reply, "flags");
    reply_set(reply, (size_t)argument->optional + argument->multiple + argument->multiple_token);
    if (argument->optional) reply_status(reply, "optional");
    if (argument->multiple) reply_status(reply, "multiple");
    if (argument->multiple_token) reply_status(reply, "multiple_token");
}

static void reply_arguments(struct reply *reply, const struct command_argument *arguments, unsigned count) {
    reply_array(reply, count);
    for (unsigned i = 0; i < count; i++) {
        const struct command_argument *argument = &arguments[i];
        struct reply_later map = reply_later_open(reply, '%');
        size_t pairs = 2;
        reply_text_pair(reply, "name", argument->name);
        reply_text_pair(reply, "type", argument->type);
        pairs += reply_optional(reply, "display_text", argument->display);
        if (argument->key_spec_index >= 0) {
            reply_pair(reply, "key_spec_index", argument->key_spec_index);
            pairs++;
        }
        pairs += reply_optional(reply, "token", argument->token);
        pairs += reply_optional(reply, "summary", argument->summary);
        pairs += reply_optional(reply, "since", argument->since);
        if (argument->optional || argument->multiple || argument->multiple_token) {
            reply_argument_flags(reply, argument);
            pairs++;
        }
        if (argument->child_count != 0) {
            reply_bulk_text(reply, "arguments");
            reply_arguments(reply, argument->children, argument->child_count);
            pairs++;
        }
        reply_later_close(reply, map, pairs);
    }
}

static void reply_history(struct reply *reply, const char *const *history) {
    size_t count = 0;
    while (history[count] != NULL)
        count += 2;
    reply_bulk_text(reply, "history");
    reply_set(reply, count / 2);
    for (size_t i = 0; i < count; i += 2) {
        reply_array(reply, 2);
        reply_bulk_text(reply, history[i]);
        reply_bulk_text(reply, history[i + 1]);
    }
}

static void reply_docs(struct reply *reply, const struct command *command) {
    reply_bulk_text(reply, command->name);
    struct reply_later map = reply_later_open(reply, '%');
    size_t pairs = 3;
    reply_text_pair(reply, "summary", command->summary);
    reply_text_pair(reply, "since", command->since);
    reply_text_pair(reply, "group", command->group);
    pairs += reply_optional(reply, "complexity", command->complexity);
    if (command->doc_flags != NULL) {
        reply_bulk_text(reply, "doc_flags");
        reply_words(reply, command->doc_flags);
        pairs++;
    }
    pairs += reply_optional(reply, "deprecated_since", command->deprecated_since);
    pairs += reply_optional(reply, "replaced_by", command->replaced_by);
    if (command->history != NULL) {
        reply_history(reply, command->history);
        pairs++;
    }
    if (command->argument_count != 0) {
        reply_bulk_text(reply, "arguments");
        reply_arguments(reply, command->arguments, command->argument_count);
        pairs++;
    }
    if (command->subcommand_count != 0) {
        reply_bulk_text(reply, "subcommands");
        reply_map(reply, available_subcommands(command));
        for (unsigned i = 0; i < command->subcommand_count; i++) {
            if (command->subcommands[i].handler != NULL) reply_docs(reply, &command->subcommands[i]);
        }
        pairs++;
    }
    reply_later_close(reply, map, pairs);
}

int cmd_command_docs(struct call *call) {
    if (call->argc == 2) {
        unsigned count = command_count();
        reply_map(call->reply, count);
        for (unsigned i = 0; i < count; i++)
            reply_docs(call->reply, command_at(i));
        return 0;
    }
    struct reply_later map = reply_later_open(call->reply, '%');
    size_t found = 0;
    for (size_t i = 2; i < call->argc; i++) {
        const struct command *command = command_find_name(call->argv[i]);
        if (command == NULL) continue;
        reply_docs(call->reply, command);
        found++;
    }
    reply_later_close(call->reply, map, found);
    return 0;
}

/* --- COMMAND LIST --- */

struct filter {
    enum { FILTER_NONE, FILTER_NOTHING, FILTER_CATEGORY, FILTER_PATTERN } kind;
    int category;
    struct bytes pattern;
};

static int passes(const struct command *command, const struct filter *filter) {
    switch (filter->kind) {
    case FILTER_NONE: return 1;
    case FILTER_NOTHING: return 0;
    case FILTER_CATEGORY: return (int)(command->acl_categories >> filter->category & 1);
    case FILTER_PATTERN: return glob_match(filter->pattern, bytes_of_text(command->name), 1);
    }
    return 0;
}

static size_t list(struct reply *reply, const struct command *command, const struct filter *filter) {
    size_t count = 0;
    if (passes(command, filter)) {
        reply_bulk_text(reply, command->name);
        count++;
    }
    for (unsigned i = 0; i < command->subcommand_count; i++) {
        if (command->subcommands[i].handler != NULL) count += list(reply, &command->subcommands[i], filter);
    }
    return count;
}

int cmd_command_list(struct call *call) {
    struct filter filter = {.kind = FILTER_NONE};
    if (call->argc == 5 && call_option(call, 2, "FILTERBY")) {
        filter.pattern = call->argv[4];
        if (call_option(call, 3, "MODULE")) {
            filter.kind = FILTER_NOTHING; /* there are no modules */
        } else if (call_option(call, 3, "ACLCAT")) {
            filter.category = command_acl_category(call->argv[4]);
            filter.kind = filter.category < 0 ? FILTER_NOTHING : FILTER_CATEGORY;
        } else if (call_option(call, 3, "PATTERN")) {
            filter.kind = FILTER_PATTERN;
        } else {
            return call_error(call_syntax_error(call));
        }
    } else if (call->argc != 2) {
        return call_error(call_syntax_error(call));
    }
    struct reply_later later = reply_later_open(call->reply, '*');
    size_t count = 0;
    for (unsigned i = 0; i < command_count(); i++)
        count += list(call->reply, command_at(i), &filter);
    reply_later_close(call->reply, later, count);
    return 0;
}

/* --- COMMAND GETKEYS, GETKEYSANDFLAGS --- */

/* Whether one of argv[from..] is ${word}. */
static int has_word(const struct bytes *argv, size_t argc, size_t from, const char *word) {
    for (size_t i = from; i < argc; i++) {
        if (bytes_is(argv[i], word)) return 1;
    }
    return 0;
}

/* What a command whose key flags depend on its arguments (variable_flags) does to its key this time. */
static const char *actual_flags(const struct command *command, const struct bytes *argv, size_t argc,
                                const char *flags) {
    if (command->handler == cmd_set) return has_word(argv, argc, 3, "GET") ? "RW access update" : "OW update";
    if (command->handler == cmd_bitfield)
        return has_word(argv, argc, 2, "SET") || has_word(argv, argc, 2, "INCRBY") ? "RW access update"
                                                                                   : "RO access";
    return flags;
}

static int reply_keys(struct call *call, int with_flags) {
    const struct bytes *argv = call->argv + 2;
    size_t argc = call->argc - 2;
    const struct command *command = command_find(argv, argc, NULL);
    if (command == NULL) {
        reply_error(call->reply, "Invalid command specified");
        return 0;
    }
    if (command->key_spec_count == 0) {
        reply_error(call->reply, "The command has no key arguments");
        return 0;
    }
    if (!command_arity_fits(command, argc)) {
        reply_error(call->reply, "Invalid number of arguments specified for command");
        return 0;
    }
    unsigned *positions = memory_alloc(argc * command->key_spec_count * sizeof *positions);
    const char **flags = memory_alloc(argc * command->key_spec_count * sizeof *flags);
    int count =
        command_keys(command, argv, argc, positions, flags, (unsigned)(argc * command->key_spec_count));
    if (count < 0) {
        reply_error(call->reply, "Invalid arguments specified for command");
    } else if (count == 0) {
        reply_error(call->reply, "The command has no key arguments");
    } else {
        reply_array(call->reply, (size_t)count);
        for (int i = 0; i < count; i++) {
            if (with_flags) reply_array(call->reply, 2);
            reply_bulk(call->reply, argv[positions[i]]);
            if (with_flags) reply_words(call->reply, actual_flags(command, argv, argc, flags[i]));
        }
    }
    memory_free(positions);
    memory_free(flags);
    return 0;
}

int cmd_command_getkeys(struct call *call) {
    return reply_keys(call, 0);
}

int cmd_command_getkeysandflags(struct call *call) {
    return reply_keys(call, 1);
}

int cmd_command_help(struct call *call) {
    static const char *const lines[] = {
        "(no subcommand)",
        "    What there is to know about every command.",
        "COUNT",
        "    How many commands there are.",
        "LIST [FILTERBY (MODULE <module>|ACLCAT <category>|PATTERN <pattern>)]",
        "    The names of all commands, or of those that pass the filter.",
        "INFO [<command-name> ...]",
        "    What there is to know about the given commands, or about all.",
        "DOCS [<command-name> ...]",
        "    The documentation of the given commands, or of all.",
        "GETKEYS <full-command>",
        "    The keys in a full command line.",
        "GETKEYSANDFLAGS <full-command>",
        "    The keys in a full command line, and how each is used.",
        NULL,
    };
    return call_help(call, lines);
}
