/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The language of configuration files and of the command line. Lines of "name value ..." with quotes and
 * escapes; # begins a comment line. What the command line says becomes further lines after the file and
 * standard input, so the last word wins.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "server/config_internal.h"

#define INCLUDE_DEPTH_MAX 16

static char file_path[PATH_MAX];

const char *config_file(void) {
    return file_path;
}

/* --- numbers --- */

int config__parse_integer(struct bytes text, int64_t *value_out) {
    char digits[24], *end;
    *value_out = 0;
    if (text.size == 0 || text.size >= sizeof digits) return FIRN_EINVALID;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    const char *first = digits[0] == '-' ? digits + 1 : digits;
    /* No blanks, plus signs or leading zeros. */
    if (!isdigit((unsigned char)*first) || (*first == '0' && (first[1] != '\0' || first != digits)))
        return FIRN_EINVALID;
    errno = 0;
    *value_out = strtoll(digits, &end, 10);
    return errno == 0 && *end == '\0' ? 0 : FIRN_EINVALID;
}

int config__parse_memory(struct bytes text, uint64_t *value_out) {
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"", 1},          {"b", 1},           {"k", 1000},     {"kb", 1u << 10}, {"m", 1000 * 1000},
                 {"mb", 1u << 20}, {"g", 1000000000u}, {"gb", 1u << 30}};
    uint64_t value = 0;
    size_t at = 0;
    *value_out = 0;
    while (at < text.size && isdigit(text.data[at]))
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text.data[at++] - '0'), &value))
            return FIRN_EINVALID;
    if (at == 0) return FIRN_EINVALID;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (!bytes_is(bytes_of(text.data + at, text.size - at), units[i].unit)) continue;
        return __builtin_mul_overflow(value, units[i].bytes, value_out) ? FIRN_EINVALID : 0;
    }
    return FIRN_EINVALID;
}

void config__format_memory(uint64_t value, struct bytes_builder *out) {
    static const char *const names[] = {"", "kb", "mb", "gb"};
    int unit = 0;
    while (unit < 3 && value > 0 && value % 1024 == 0) {
        value /= 1024;
        unit++;
    }
    bytes_builder_format(out, "%llu%s", (unsigned long long)value, names[unit]);
}

/* --- words --- */

static int hex_digit(uint8_t byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
    return -1;
}

/* One escape inside double quotes, *at_inout at the character behind the backslash. */
static uint8_t unescape(struct bytes line, size_t *at_inout) {
    size_t at = *at_inout;
    if (line.data[at] == 'x' && at + 2 < line.size && hex_digit(line.data[at + 1]) >= 0 &&
        hex_digit(line.data[at + 2]) >= 0) {
        *at_inout = at + 3;
        return (uint8_t)(hex_digit(line.data[at + 1]) * 16 + hex_digit(line.data[at + 2]));
    }
    *at_inout = at + 1;
    switch (line.data[at]) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return line.data[at];
    }
}

/* A quoted part, *at_inout behind the opening ${quote}. The closing one must be followed by a blank or the
 * end. */
static int take_quoted(struct bytes line, size_t *at_inout, uint8_t quote, struct bytes_builder *out) {
    size_t at = *at_inout;
    while (at < line.size) {
        if (line.data[at] == quote) {
            *at_inout = at + 1;
            return at + 1 == line.size || isspace(line.data[at + 1]) ? 0 : FIRN_EINVALID;
        }
        if (line.data[at] == '\\' && quote == '"' && at + 1 < line.size) {
            at++;
            bytes_builder_append_byte(out, unescape(line, &at));
        } else if (line.data[at] == '\\' && quote == '\'' && at + 1 < line.size &&
                   line.data[at + 1] == '\'') {
            bytes_builder_append_byte(out, '\'');
            at += 2;
        } else {
            bytes_builder_append_byte(out, line.data[at++]);
        }
    }
    return FIRN_EINVALID;
}

int config__split(struct bytes line, struct config_words *words_out) {
    size_t at = 0;
    words_out->count = 0;
    words_out->memory = (struct bytes_builder){0};
    bytes_builder_reserve(&words_out->memory,
                          line.size + 1); /* unquoting only shrinks: the words stay where they are */
    for (;;) {
        while (at < line.size && isspace(line.data[at]))
            at++;
        if (at == line.size) return 0;
        if (words_out->count == sizeof words_out->words / sizeof *words_out->words) return FIRN_ETOOBIG;
        size_t start = words_out->memory.size;
        while (at < line.size && !isspace(line.data[at])) {
            uint8_t byte = line.data[at++];
            if (byte == '"' || byte == '\'') {
                if (take_quoted(line, &at, byte, &words_out->memory) != 0) return FIRN_EINVALID;
            } else if (byte != '\0') {
                bytes_builder_append_byte(&words_out->memory, byte);
            }
        }
        words_out->words[words_out->count++] =
            bytes_of(words_out->memory.data + start, words_out->memory.size - start);
    }
}

void config__words_fini(struct config_words *words) {
    bytes_builder_fini(&words->memory);
    words->count = 0;
}

void config__quote(struct bytes text, struct bytes_builder *out) {
    bytes_builder_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        const char *escapes = "\n\r\t\a\b\\\"", *names = "nrtab\\\"",
                   *hit = byte != '\0' ? strchr(escapes, byte) : NULL;
        if (hit != NULL)
            bytes_builder_format(out, "\\%c", names[hit - escapes]);
        else if (isprint(byte))
            bytes_builder_append_byte(out, byte);
        else
            bytes_builder_format(out, "\\x%02x", byte);
    }
    bytes_builder_append_byte(out, '"');
}

/* --- loading --- */

struct loader {
    config_directive *directive;
    struct config_failure *failure;
    unsigned depth;
};

static int load_text(struct loader *loader, struct bytes text);

static int fail(struct loader *loader, unsigned line, struct bytes text, const char *message) {
    loader->failure->line = line;
    snprintf(loader->failure->text, sizeof loader->failure->text, "%.*s", (int)text.size,
             (const char *)text.data);
    if (message != loader->failure->message)
        snprintf(loader->failure->message, sizeof loader->failure->message, "%s", message);
    return FIRN_EINVALID;
}

static int read_descriptor(int descriptor, struct bytes_builder *out) {
    for (;;) {
        uint8_t *into = bytes_builder_reserve(out, 4096);
        ssize_t got = read(descriptor, into, 4096);
        if (got == 0) return 0;
        if (got < 0 && errno != EINTR) return FIRN_ESYSTEM;
        if (got > 0) out->size += (size_t)got;
    }
}

static int read_file(struct loader *loader, const char *path, struct bytes_builder *out) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    int status = descriptor >= 0 ? read_descriptor(descriptor, out) : FIRN_ESYSTEM;
    if (status != 0) {
        snprintf(loader->failure->message, sizeof loader->failure->message,
                 "Fatal error, can't open config file '%.512s': %s", path, strerror(errno));
        loader->failure->line = 0;
        status = FIRN_EINVALID;
    }
    if (descriptor >= 0) close(descriptor);
    return status;
}

/* All files that ${pattern} matches; a plain name has to exist. */
static int load_include(struct loader *loader, struct bytes pattern) {
    char path[PATH_MAX];
    glob_t found;
    if (loader->depth >= INCLUDE_DEPTH_MAX)
        return fail(loader, 0, bytes_of("", 0), "Fatal error, include directives are nested too deeply");
    snprintf(path, sizeof path, "%.*s", (int)pattern.size, (const char *)pattern.data);
    int wild = strpbrk(path, "*?[") != NULL;
    if (glob(path, wild ? 0 : GLOB_NOCHECK, NULL, &found) != 0) return 0;
    int status = 0;
    for (size_t i = 0; i < found.gl_pathc && status == 0; i++) {
        struct bytes_builder text = {0};
        status = read_file(loader, found.gl_pathv[i], &text);
        loader->depth++;
        if (status == 0) status = load_text(loader, bytes_builder_bytes(&text));
        loader->depth--;
        bytes_builder_fini(&text);
    }
    globfree(&found);
    return status;
}

/* Directives of old versions that are read and forgotten. */
static int is_forgotten(struct bytes name, size_t count) {
    return count == 2 &&
           (bytes_is(name, "list-max-ziplist-entries") || bytes_is(name, "list-max-ziplist-value") ||
            bytes_is(name, "lua-replicate-commands"));
}

/* 0, or FIRN_EINVALID with *message_out; FIRN_ESYSTEM: an included file failed and has filled the failure in.
 */
static int load_words(struct loader *loader, const struct config_words *words, const char **message_out) {
    struct bytes name = words->words[0];
    int id = config_find(name);
    if (id >= 0) {
        *message_out = loader->failure->message;
        if ((config__table[id].flags & CONFIG_MULTI) && words->count == 2)
            return config__set_text(id, words->words[1], loader->failure->message);
        return config_set_words(id, words->words + 1, words->count - 1, loader->failure->message);
    }
    if (is_forgotten(name, words->count)) return 0;
    if (bytes_is(name, "include") && words->count == 2)
        return load_include(loader, words->words[1]) == 0 ? 0 : FIRN_ESYSTEM;
    *message_out = "Bad directive or wrong number of arguments";
    return loader->directive == NULL || loader->directive(words->words, words->count, message_out) != 0
               ? FIRN_EINVALID
               : 0;
}

static struct bytes trim(struct bytes line) {
    while (line.size > 0 && strchr(" \t\r\n", line.data[line.size - 1]) != NULL &&
           line.data[line.size - 1] != '\0')
        line.size--;
    while (line.size > 0 && strchr(" \t\r\n", line.data[0]) != NULL && line.data[0] != '\0')
        line = bytes_of(line.data + 1, line.size - 1);
    return line;
}

static int load_line(struct loader *loader, struct bytes line, unsigned number) {
    struct config_words words;
    const char *message = "";
    int status = config__split(line, &words);
    if (status != 0)
        status = fail(loader, number, line,
                      status == FIRN_ETOOBIG ? "Too many words in one line"
                                             : "Unbalanced quotes in configuration line");
    else if (words.count > 0) {
        status = load_words(loader, &words, &message);
        if (status == FIRN_EINVALID) status = fail(loader, number, line, message);
    }
    config__words_fini(&words);
    return status == 0 ? 0 : FIRN_EINVALID;
}

static int load_text(struct loader *loader, struct bytes text) {
    unsigned number = 0;
    size_t at = 0;
    while (at < text.size) {
        const uint8_t *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end != NULL ? (size_t)(end - (text.data + at)) : text.size - at;
        struct bytes line = trim(bytes_of(text.data + at, size));
        at += size + 1;
        number++;
        if (line.size == 0 || line.data[0] == '#') continue;
        if (load_line(loader, line, number) != 0) return FIRN_EINVALID;
    }
    return 0;
}

int config_load_text(const char *text, config_directive *directive, struct config_failure *failure_out) {
    struct loader loader = {directive, failure_out, 0};
    memset(failure_out, 0, sizeof *failure_out);
    config__special_loading(1);
    int status = load_text(&loader, bytes_of_text(text));
    config__special_loading(0);
    return status;
}

/* --- the command line --- */

static int begins_with_dashes(const char *word) {
    return word[0] == '-' && word[1] == '-';
}

/* Whether ${word} is an option name alone ("--port"), not "--port 6379" in one. */
static int is_lone_name(const char *word) {
    struct config_words words;
    int lone = config__split(bytes_of_text(word), &words) == 0 && words.count == 1;
    config__words_fini(&words);
    return lone;
}

/*
 * Make lines of the arguments from ${index} on. A name (--x) begins a line; the word behind a lone name is
 * its value even if it begins with dashes too. --save and --sentinel may have no value.
 */
static void options_to_lines(int argc, char *const *argv, int index, struct bytes_builder *out,
                             int *use_stdin_out) {
    int first = index, name_allowed = 1;
    for (int i = index; i < argc; i++) {
        const char *word = argv[i];
        int edge = (i == first && first == 1) || i == argc - 1;
        if (strcmp(word, "-") == 0 && edge) {
            *use_stdin_out = 1;
        } else if (name_allowed && begins_with_dashes(word)) {
            if (out->size > 0) bytes_builder_append_byte(out, '\n');
            bytes_builder_append_text(out, word + 2);
            bytes_builder_append_byte(out, ' ');
            name_allowed = !is_lone_name(word);
            int valueless = strcasecmp(word, "--save") == 0 || strcasecmp(word, "--sentinel") == 0;
            if (!name_allowed && valueless && (i == argc - 1 || begins_with_dashes(argv[i + 1]))) {
                bytes_builder_append_text(out, "\"\"");
                name_allowed = 1;
            }
        } else {
            config__quote(bytes_of_text(word), out);
            bytes_builder_append_byte(out, ' ');
            name_allowed = 1;
        }
    }
}

static void remember_path(const char *path) {
    char absolute[PATH_MAX];
    if (path[0] == '/')
        snprintf(file_path, sizeof file_path, "%s", path);
    else if (realpath(path, absolute) != NULL)
        snprintf(file_path, sizeof file_path, "%s", absolute);
    else
        snprintf(file_path, sizeof file_path, "%.2000s/%.2000s", config__current_folder(), path);
}

int config_load_arguments(int argc, char *const *argv, config_directive *directive,
                          struct config_failure *failure_out) {
    struct loader loader = {directive, failure_out, 0};
    struct bytes_builder text = {0}, options = {0};
    int index = 1, use_stdin = 0, status = 0;
    memset(failure_out, 0, sizeof *failure_out);
    file_path[0] = '\0';
    if (argc > 1 && argv[1][0] != '-') {
        remember_path(argv[1]);
        status = read_file(&loader, file_path, &text);
        index = 2;
    }
    options_to_lines(argc, argv, index, &options, &use_stdin);
    if (status == 0 && use_stdin) {
        if (text.size > 0) bytes_builder_append_byte(&text, '\n');
        status = read_descriptor(STDIN_FILENO, &text);
    }
    if (status == 0) {
        if (text.size > 0) bytes_builder_append_byte(&text, '\n');
        bytes_builder_append(&text, options.data, options.size);
        config__special_loading(1);
        status = load_text(&loader, bytes_builder_bytes(&text));
        config__special_loading(0);
    }
    bytes_builder_fini(&text);
    bytes_builder_fini(&options);
    return status == 0 ? 0 : FIRN_EINVALID;
}
