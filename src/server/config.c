/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of the configuration and how they are set. A value is a number (BOOL, NUMBER, WORD, BITS) or a text
 * (TEXT, SPECIAL); its text form is made when asked for. Setting several at once goes in two steps, values
 * first, then apply functions, with the old texts kept for the way back.
 */
#include "server/config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "ds/glob.h"
#include "server/config_internal.h"

const struct config_entry config__table[CONFIG_COUNT] = {
#define CONFIG(id, name, alias, kind, flags, min, max, default_text, words, apply, text)                     \
    {name, alias, CONFIG_KIND_##kind, flags, min, max, default_text, words, CONFIG_APPLY_##apply},
#include "server/config.def"
#undef CONFIG
};

static struct config_value {
    int64_t number;
    char *text; /* TEXT, SPECIAL: counted memory, ends in a zero byte, never NULL after init */
    size_t text_bytes;
} values[CONFIG_COUNT];

static int (*apply_functions[CONFIG_APPLY_COUNT])(const char **error_out);

static char *copy_text(struct bytes text) {
    char *copy = memory_alloc(text.size + 1);
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

static void store_text(int id, struct bytes text) {
    char *copy = copy_text(text);
    memory_free(values[id].text);
    values[id].text = copy;
    values[id].text_bytes = text.size;
}

static int has_text(const struct config_entry *entry) {
    return entry->kind == CONFIG_KIND_TEXT || entry->kind == CONFIG_KIND_SPECIAL;
}

/* --- words --- */

/* Walk "a|b=7|c": the ${index}th word and its number; 0 when there is no such word. */
static int word_at(const char *words, unsigned index, struct bytes *word_out, int64_t *number_out) {
    const char *at = words;
    for (unsigned i = 0; *at != '\0'; i++) {
        size_t size = strcspn(at, "|");
        if (i == index) {
            size_t name_size = strcspn(at, "=|");
            *word_out = bytes_of(at, name_size);
            *number_out = name_size < size ? strtoll(at + name_size + 1, NULL, 10) : (int64_t)i;
            return 1;
        }
        at += size;
        if (*at == '|') at++;
    }
    return 0;
}

static int64_t word_number(const struct config_entry *entry, unsigned index, int64_t number) {
    if (entry->kind != CONFIG_KIND_BITS) return number;
    return index == 0 ? 0 : (int64_t)1 << (index - 1);
}

static int find_word(const struct config_entry *entry, struct bytes wanted, int64_t *number_out) {
    struct bytes word;
    int64_t number;
    for (unsigned i = 0; word_at(entry->words, i, &word, &number); i++) {
        if (word.size == wanted.size &&
            strncasecmp((const char *)word.data, (const char *)wanted.data, word.size) == 0) {
            *number_out = word_number(entry, i, number);
            return 1;
        }
    }
    return 0;
}

static void format_words(const struct config_entry *entry, int64_t value, struct bytes_builder *out) {
    struct bytes word;
    int64_t number;
    int matches = 0;
    for (unsigned i = 0; word_at(entry->words, i, &word, &number); i++) {
        number = word_number(entry, i, number);
        int hit = entry->kind == CONFIG_KIND_BITS ? (value == 0 ? number == 0 : (number & value) != 0)
                                                  : number == value;
        if (!hit) continue;
        if (matches++ > 0) bytes_builder_append_byte(out, ' ');
        bytes_builder_append(out, word.data, word.size);
        if (entry->kind == CONFIG_KIND_WORD) break;
    }
}

static void words_error(const struct config_entry *entry, char error[CONFIG_ERROR_BYTES]) {
    struct bytes word;
    int64_t number;
    size_t used = (size_t)snprintf(error, CONFIG_ERROR_BYTES, "argument(s) must be one of the following: ");
    for (unsigned i = 0; word_at(entry->words, i, &word, &number) && used < CONFIG_ERROR_BYTES; i++)
        used += (size_t)snprintf(error + used, CONFIG_ERROR_BYTES - used, "%s%.*s", i == 0 ? "" : ", ",
                                 (int)word.size, (const char *)word.data);
}

/* --- numbers --- */

static int parse_number(const struct config_entry *entry, struct bytes text, int64_t *value_out,
                        char error[CONFIG_ERROR_BYTES]) {
    uint64_t bytes;
    if ((entry->flags & CONFIG_BYTES) && config__parse_memory(text, &bytes) == 0) {
        *value_out = (int64_t)bytes;
        return 0;
    }
    if ((entry->flags & CONFIG_PERCENT) && text.size > 1 && text.data[text.size - 1] == '%' &&
        config__parse_integer(bytes_of(text.data, text.size - 1), value_out) == 0 && *value_out >= 0) {
        *value_out = -*value_out;
        return 0;
    }
    if (entry->flags & CONFIG_OCTAL) {
        char digits[32], *end;
        snprintf(digits, sizeof digits, "%.*s", (int)(text.size < 31 ? text.size : 31),
                 (const char *)text.data);
        errno = 0;
        *value_out = strtoll(digits, &end, 8);
        if (errno == 0 && *end == '\0' && text.size > 0 && text.size < 31) return 0;
        snprintf(error, CONFIG_ERROR_BYTES, "argument couldn't be parsed as an octal number");
        return FIRN_EINVALID;
    }
    if (!(entry->flags & (CONFIG_BYTES | CONFIG_PERCENT)) && config__parse_integer(text, value_out) == 0)
        return 0;
    snprintf(error, CONFIG_ERROR_BYTES, "%s",
             entry->flags & CONFIG_PERCENT ? "argument must be a memory or percent value"
             : entry->flags & CONFIG_BYTES ? "argument must be a memory value"
                                           : "argument couldn't be parsed into an integer");
    return FIRN_EINVALID;
}

static int check_range(const struct config_entry *entry, int64_t value, char error[CONFIG_ERROR_BYTES]) {
    if (entry->flags & CONFIG_UNSIGNED) {
        if ((uint64_t)value >= (uint64_t)entry->min && (uint64_t)value <= (uint64_t)entry->max) return 0;
        snprintf(error, CONFIG_ERROR_BYTES, "argument must be between %" PRIu64 " and %" PRIu64 " inclusive",
                 (uint64_t)entry->min, (uint64_t)entry->max);
        return FIRN_EINVALID;
    }
    if (value >= entry->min && value <= entry->max) return 0;
    if ((entry->flags & CONFIG_PERCENT) && value < 0)
        snprintf(error, CONFIG_ERROR_BYTES, "percentage argument must be less or equal to %" PRId64,
                 -entry->min);
    else if (entry->flags & CONFIG_OCTAL)
        snprintf(error, CONFIG_ERROR_BYTES, "argument must be between %" PRIo64 " and %" PRIo64 " inclusive",
                 (uint64_t)entry->min, (uint64_t)entry->max);
    else
        snprintf(error, CONFIG_ERROR_BYTES, "argument must be between %" PRId64 " and %" PRId64 " inclusive",
                 entry->min, entry->max);
    return FIRN_EINVALID;
}

static void format_number(const struct config_entry *entry, int64_t value, struct bytes_builder *out) {
    if ((entry->flags & CONFIG_PERCENT) && value < 0)
        bytes_builder_format(out, "%" PRId64 "%%", -value);
    else if (entry->flags & CONFIG_OCTAL)
        bytes_builder_format(out, "%" PRIo64, (uint64_t)value);
    else if (entry->flags & CONFIG_UNSIGNED)
        bytes_builder_format(out, "%" PRIu64, (uint64_t)value);
    else
        bytes_builder_format(out, "%" PRId64, value);
}

/* --- texts --- */

static const char *text_objection(enum config_id id, struct bytes text) {
    int slash = text.size > 0 && memchr(text.data, '/', text.size) != NULL;
    int any = id == CONFIG_REQUIREPASS || id == CONFIG_MASTERAUTH;
    if (!any && text.size > 0 && memchr(text.data, '\0', text.size) != NULL)
        return "argument must not contain a zero byte";
    switch (id) {
    case CONFIG_DBFILENAME: return slash ? "dbfilename can't be a path, just a filename" : NULL;
    case CONFIG_APPENDFILENAME:
        if (text.size == 0) return "appendfilename can't be empty";
        return slash ? "appendfilename can't be a path, just a filename" : NULL;
    case CONFIG_APPENDDIRNAME:
        if (text.size == 0) return "appenddirname can't be empty";
        return slash ? "appenddirname can't be a path, just a dirname" : NULL;
    case CONFIG_PROC_TITLE_TEMPLATE: {
        static const char *const variables[] = {"{title}",    "{listen-addr}", "{server-mode}", "{port}",
                                                "{tls-port}", "{unixsocket}",  "{config-file}"};
        for (size_t i = 0; i < text.size; i++) {
            if (text.data[i] != '{') continue;
            size_t known = 0;
            for (size_t v = 0; v < sizeof variables / sizeof *variables; v++) {
                size_t size = strlen(variables[v]);
                if (text.size - i >= size && memcmp(text.data + i, variables[v], size) == 0) known = size;
            }
            if (known == 0) return "template format is invalid or contains unknown variables";
            i += known - 1;
        }
        return NULL;
    }
    case CONFIG_TIER_PMEM_PATH:
    case CONFIG_TIER_NVME_PATH: return text.size >= 4000 ? "path is too long" : NULL;
    default: return NULL;
    }
}

/* --- setting --- */

static int set_text(int id, struct bytes text, char error[CONFIG_ERROR_BYTES]) {
    const char *objection = text_objection((enum config_id)id, text);
    if (objection != NULL) {
        snprintf(error, CONFIG_ERROR_BYTES, "%s", objection);
        return FIRN_EINVALID;
    }
    store_text(id, text);
    return 0;
}

static int set_special(int id, const struct bytes *words, size_t count, char error[CONFIG_ERROR_BYTES]) {
    struct bytes_builder out = {0};
    int status = config__special((enum config_id)id)->parse(values[id].text, words, count, &out, error);
    if (status == 0) store_text(id, bytes_builder_bytes(&out));
    bytes_builder_fini(&out);
    return status;
}

static int set_enumeration(int id, const struct bytes *words, size_t count, char error[CONFIG_ERROR_BYTES]) {
    const struct config_entry *entry = &config__table[id];
    int64_t value = 0, number;
    int valid = count > 0;
    for (size_t i = 0; i < count && valid; i++) {
        valid = find_word(entry, words[i], &number);
        if (valid) value |= number;
    }
    if (!valid) {
        words_error(entry, error);
        return FIRN_EINVALID;
    }
    values[id].number = value;
    return 0;
}

int config_set_words(int id, const struct bytes *words, size_t count, char error[CONFIG_ERROR_BYTES]) {
    const struct config_entry *entry = &config__table[id];
    int64_t number = 0;
    error[0] = '\0';
    switch (entry->kind) {
    case CONFIG_KIND_SPECIAL: return set_special(id, words, count, error);
    case CONFIG_KIND_BITS: return set_enumeration(id, words, count, error);
    default: break;
    }
    if (count != 1) {
        snprintf(error, CONFIG_ERROR_BYTES, "wrong number of arguments");
        return FIRN_EINVALID;
    }
    switch (entry->kind) {
    case CONFIG_KIND_TEXT: return set_text(id, words[0], error);
    case CONFIG_KIND_WORD: return set_enumeration(id, words, count, error);
    case CONFIG_KIND_BOOL:
        if (!bytes_is(words[0], "yes") && !bytes_is(words[0], "no")) {
            snprintf(error, CONFIG_ERROR_BYTES, "argument must be 'yes' or 'no'");
            return FIRN_EINVALID;
        }
        values[id].number = bytes_is(words[0], "yes");
        return 0;
    default:
        if (parse_number(entry, words[0], &number, error) != 0 || check_range(entry, number, error) != 0)
            return FIRN_EINVALID;
        values[id].number = number;
        return 0;
    }
}

int config__set_text(int id, struct bytes text, char error[CONFIG_ERROR_BYTES]) {
    if (!(config__table[id].flags & CONFIG_MULTI)) return config_set_words(id, &text, 1, error);
    struct config_words words;
    if (config__split(text, &words) != 0) {
        snprintf(error, CONFIG_ERROR_BYTES, "unbalanced quotes or too many words");
        return FIRN_EINVALID;
    }
    struct bytes empty = bytes_of("", 0);
    int status = words.count > 0 ? config_set_words(id, words.words, words.count, error)
                                 : config_set_words(id, &empty, 1, error);
    config__words_fini(&words);
    return status;
}

static void put(int id, struct bytes text) {
    char error[CONFIG_ERROR_BYTES];
    int status = config__set_text(id, text, error);
    FIRN_ASSERT(status == 0);
}

void config_put(enum config_id id, const char *text) {
    put((int)id, bytes_of_text(text));
}

void config_init(void) {
    config_fini();
    for (int id = 0; id < CONFIG_COUNT; id++) {
        const struct config_entry *entry = &config__table[id];
        if (has_text(entry))
            store_text(id, bytes_of_text(entry->default_text));
        else
            config_put((enum config_id)id, entry->default_text);
    }
    config__special_loading(0);
}

void config_fini(void) {
    for (int id = 0; id < CONFIG_COUNT; id++) {
        memory_free(values[id].text);
        values[id].text = NULL;
    }
}

/* --- reading --- */

static void append_value(int id, struct bytes_builder *out) {
    const struct config_entry *entry = &config__table[id];
    switch (entry->kind) {
    case CONFIG_KIND_BOOL: bytes_builder_append_text(out, values[id].number ? "yes" : "no"); break;
    case CONFIG_KIND_NUMBER: format_number(entry, values[id].number, out); break;
    case CONFIG_KIND_WORD:
    case CONFIG_KIND_BITS: format_words(entry, values[id].number, out); break;
    default:
        bytes_builder_append_text(out, id == CONFIG_DIR ? config__current_folder() : values[id].text);
        break;
    }
}

int64_t config_number(enum config_id id) {
    FIRN_ASSERT(!has_text(&config__table[id]));
    return values[id].number;
}

const char *config_text(enum config_id id) {
    if (id != CONFIG_DIR && has_text(&config__table[id])) return values[id].text;
    static struct bytes_builder text;
    bytes_builder_clear(&text);
    append_value((int)id, &text);
    bytes_builder_append_byte(&text, 0);
    return (const char *)text.data;
}

struct bytes config_bytes(enum config_id id) {
    if (id != CONFIG_DIR && has_text(&config__table[id]))
        return bytes_of(values[id].text, values[id].text_bytes);
    return bytes_of_text(config_text(id));
}

const char *config_name(enum config_id id) {
    return config__table[id].name;
}

unsigned config_flags(enum config_id id) {
    return config__table[id].flags;
}

int config_is_default(enum config_id id) {
    const struct config_entry *entry = &config__table[id];
    if (has_text(entry)) return strcmp(values[id].text, entry->default_text) == 0;
    /* Compare in one form: put the default through the same parser. */
    int64_t now = values[id].number;
    config_put(id, entry->default_text);
    int same = values[id].number == now;
    values[id].number = now;
    return same;
}

int config_find(struct bytes name) {
    for (int id = 0; id < CONFIG_COUNT; id++) {
        if (bytes_is(name, config__table[id].name)) return id;
        if (config__table[id].alias[0] != '\0' && bytes_is(name, config__table[id].alias)) return id;
    }
    return -1;
}

void config_on_apply(enum config_apply group, int (*apply)(const char **error_out)) {
    apply_functions[group] = apply;
}

static int is_pattern(struct bytes text) {
    for (size_t i = 0; i < text.size; i++)
        if (strchr("*?[", text.data[i]) != NULL && text.data[i] != '\0') return 1;
    return 0;
}

static int matches_any(const char *name, unsigned flags, const struct bytes *patterns, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!is_pattern(patterns[i])) {
            if (bytes_is(patterns[i], name)) return 1;
        } else if (!(flags & CONFIG_HIDDEN) && glob_match(patterns[i], bytes_of_text(name), 1)) {
            return 1;
        }
    }
    return 0;
}

void config_get(const struct bytes *patterns, size_t count,
                void (*receive)(const char *name, struct bytes value, void *ctx), void *ctx) {
    for (int id = 0; id < CONFIG_COUNT; id++) {
        const struct config_entry *entry = &config__table[id];
        if (matches_any(entry->name, entry->flags, patterns, count))
            receive(entry->name, config_bytes((enum config_id)id), ctx);
        if (entry->alias[0] != '\0' && matches_any(entry->alias, entry->flags, patterns, count))
            receive(entry->alias, config_bytes((enum config_id)id), ctx);
    }
}

/* --- CONFIG SET --- */

struct change {
    int id;
    char *old_text; /* a copy */
    size_t old_bytes;
    int changed;
};

/* Names known, settable, each once. *culprit_out is an index into pairs. */
static int check_names(const struct bytes *pairs, size_t count, int may_protected, struct change *changes,
                       struct bytes *culprit_out, char error[CONFIG_ERROR_BYTES]) {
    for (size_t i = 0; i < count; i++) {
        *culprit_out = pairs[2 * i];
        int id = config_find(pairs[2 * i]);
        if (id < 0) return FIRN_ENOTFOUND;
        unsigned flags = config__table[id].flags;
        const char *objection = NULL;
        /* To set an immutable one to what it is changes nothing: so all of CONFIG GET * can be set again. */
        if ((flags & CONFIG_IMMUTABLE) && !bytes_equal(pairs[2 * i + 1], config_bytes((enum config_id)id)))
            objection = "can't set immutable config";
        else if ((flags & CONFIG_PROTECTED) && !may_protected)
            objection = "can't set protected config";
        for (size_t j = 0; j < i && objection == NULL; j++)
            if (changes[j].id == id) objection = "duplicate parameter";
        if (objection != NULL) {
            snprintf(error, CONFIG_ERROR_BYTES, "%s", objection);
            return FIRN_EINVALID;
        }
        changes[i].id = id;
    }
    return 0;
}

static void restore(struct change *changes, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (changes[i].changed) put(changes[i].id, bytes_of(changes[i].old_text, changes[i].old_bytes));
}

static int set_values(const struct bytes *pairs, size_t count, struct change *changes,
                      struct bytes *culprit_out, char error[CONFIG_ERROR_BYTES]) {
    for (size_t i = 0; i < count; i++) {
        enum config_id id = (enum config_id)changes[i].id;
        changes[i].old_text = copy_text(config_bytes(id));
        changes[i].old_bytes = config_bytes(id).size;
        changes[i].changed = 1;
        if (config__set_text((int)id, pairs[2 * i + 1], error) != 0) {
            changes[i].changed = 0;
            *culprit_out = pairs[2 * i];
            restore(changes, i);
            return FIRN_EINVALID;
        }
        changes[i].changed =
            !bytes_equal(bytes_of(changes[i].old_text, changes[i].old_bytes), config_bytes(id));
    }
    return 0;
}

static int apply_groups(struct change *changes, size_t count, size_t *failed_out, const char **error_out) {
    int done[CONFIG_APPLY_COUNT] = {0};
    for (size_t i = 0; i < count; i++) {
        enum config_apply group = config__table[changes[i].id].apply;
        if (!changes[i].changed || done[group] || apply_functions[group] == NULL) continue;
        done[group] = 1;
        *failed_out = i;
        int status = apply_functions[group](error_out);
        if (status != 0) return status;
    }
    return 0;
}

int config_set(const struct bytes *pairs, size_t count, int may_protected, struct bytes *culprit_out,
               char error[CONFIG_ERROR_BYTES]) {
    struct change *changes = memory_alloc_zero((count + 1) * sizeof *changes);
    const char *reason = NULL;
    size_t failed = 0;
    error[0] = '\0';
    int status = check_names(pairs, count, may_protected, changes, culprit_out, error);
    if (status == 0) status = set_values(pairs, count, changes, culprit_out, error);
    if (status == 0 && apply_groups(changes, count, &failed, &reason) != 0) {
        *culprit_out = pairs[2 * failed];
        snprintf(error, CONFIG_ERROR_BYTES, "%s", reason != NULL ? reason : "");
        restore(changes, count);
        const char *ignored = NULL;
        size_t ignored_index;
        (void)apply_groups(changes, failed, &ignored_index,
                           &ignored); /* as good as it goes: these values worked before */
        status = FIRN_EINVALID;
    }
    for (size_t i = 0; i < count; i++)
        memory_free(changes[i].old_text);
    memory_free(changes);
    return status;
}
