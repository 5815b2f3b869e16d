/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files config*.c share. */
#ifndef FIRN_SERVER_CONFIG_INTERNAL_H
#define FIRN_SERVER_CONFIG_INTERNAL_H

#include "server/config.h"

enum config_kind {
    CONFIG_KIND_BOOL,
    CONFIG_KIND_NUMBER,
    CONFIG_KIND_TEXT,
    CONFIG_KIND_WORD,
    CONFIG_KIND_BITS,
    CONFIG_KIND_SPECIAL
};

struct config_entry {
    const char *name, *alias;
    enum config_kind kind;
    unsigned flags;
    int64_t min, max;
    const char *default_text, *words;
    enum config_apply apply;
};
extern const struct config_entry config__table[CONFIG_COUNT];

/* A directive whose value has a form of its own; the value is kept as text, as CONFIG GET prints it. */
struct config_special {
    enum config_id id;
    /* Check ${words} and append the new value to ${out} (${now} is the present one). 0, FIRN_EINVALID with
     * ${error}. */
    int (*parse)(const char *now, const struct bytes *words, size_t count, struct bytes_builder *out,
                 char error[CONFIG_ERROR_BYTES]);
    /* Append the lines (each ended by \n) that a file needs for ${value}; NULL: one line, the value as it is.
     */
    void (*lines)(const char *value, struct bytes_builder *out);
    /* Also when at the default. */
    int always_written;
};
/* notify-keyspace-events as NOTIFY_* bits. */
unsigned config__notify_classes(void);
/* The special with ${id}; never NULL for kind SPECIAL. */
const struct config_special *config__special(enum config_id id);
/* While files are read, further save lines add to the first one, which replaces the default. */
void config__special_loading(int loading);

/* Set one directive from one text: several words are split for the kinds that take them. As config_set_words.
 */
FIRN_MUST_USE int config__set_text(int id, struct bytes text, char error[CONFIG_ERROR_BYTES]);

/* Words of ${line} with quotes and escapes; the bytes are in ${out}'s memory. Number of words or
 * FIRN_EINVALID (unbalanced quotes), FIRN_ETOOBIG. */
struct config_words {
    struct bytes words[256];
    size_t count;
    struct bytes_builder memory;
};
FIRN_MUST_USE int config__split(struct bytes line, struct config_words *words_out);
void config__words_fini(struct config_words *words);
/* ${text} in double quotes with escapes, as config__split reads it. */
void config__quote(struct bytes text, struct bytes_builder *out);

/* Bytes with unit (b k kb m mb g gb, case-insensitive): FIRN_EINVALID. */
FIRN_MUST_USE int config__parse_memory(struct bytes text, uint64_t *value_out);
FIRN_MUST_USE int config__parse_integer(struct bytes text, int64_t *value_out);
/* The form files use: "100mb", "1gb", else plain. */
void config__format_memory(uint64_t value, struct bytes_builder *out);

/* The working directory, absolute; "" if it is gone. Static memory. */
const char *config__current_folder(void);

#endif
