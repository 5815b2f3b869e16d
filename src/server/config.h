/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration: one table (config.def), one value a directive, read and set as text or number. The
 * language (files, include, the command line, standard input) is redis-server's; so are names, defaults,
 * ranges and error texts.
 *
 * Columns of config.def
 *   id     CONFIG_<id>, for config_number and config_text
 *   name   as written; alias: a second name (older spelling) or ""
 *   kind   BOOL (yes|no), NUMBER, TEXT, WORD (one of words), BITS (any of words), SPECIAL (own functions in
 * config_special.c) flags  CONFIG_IMMUTABLE, CONFIG_HIDDEN... below; CONFIG_LATER: accepted and reported, no
 * effect yet min, max  of NUMBER, inclusive words  of WORD and BITS: "a|b|c" numbered from 0 ("b=7" gives an
 * explicit number); BITS: word 0 is 0, word n is 1 << (n-1) apply  which part of the server has to be told of
 * a change (CONFIG_APPLY_*); NONE: it is read where needed
 *
 * Invariants
 *  F1 A value that was rejected changes nothing. config_set changes all of its pairs or none: when an apply
 * function refuses, every value is put back and what had been applied is applied again. F2 Apply functions
 * run after all values are set, each once.
 *
 * Executor only. Nothing blocks but files (load, rewrite).
 */
#ifndef FIRN_SERVER_CONFIG_H
#define FIRN_SERVER_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/bytes_builder.h"
#include "base/error.h"

#define CONFIG_IMMUTABLE    0x0001u /* not by CONFIG SET */
#define CONFIG_HIDDEN       0x0002u /* not matched by a pattern */
#define CONFIG_SENSITIVE    0x0004u /* value stays out of logs */
#define CONFIG_PROTECTED    0x0008u /* CONFIG SET only as enable-protected-configs allows */
#define CONFIG_MULTI        0x0010u /* several words */
#define CONFIG_DENY_LOADING 0x0020u /* not while loading */
#define CONFIG_VOLATILE     0x0040u /* applied even when the text is the same (certificates) */
#define CONFIG_BYTES        0x0080u /* memory units */
#define CONFIG_PERCENT      0x0100u /* also n%, kept as -n */
#define CONFIG_OCTAL        0x0200u
#define CONFIG_UNSIGNED     0x0400u /* 64 bits unsigned */
#define CONFIG_LATER        0x0800u /* no effect yet */

#define CONFIG_UINT64_MAX  ((int64_t)UINT64_MAX)
#define CONFIG_ERROR_BYTES 1024

enum config_id {
#define CONFIG(id, name, alias, kind, flags, min, max, default_text, words, apply, text) CONFIG_##id,
#include "server/config.def"
#undef CONFIG
    CONFIG_COUNT
};

enum config_apply {
    CONFIG_APPLY_NONE,
    CONFIG_APPLY_LOG,
    CONFIG_APPLY_MEMORY,
    CONFIG_APPLY_TYPES,
    CONFIG_APPLY_TIER,
    CONFIG_APPLY_NETWORK,
    CONFIG_APPLY_CLIENTS,
    CONFIG_APPLY_OBSERVE,
    CONFIG_APPLY_CRON,
    CONFIG_APPLY_TITLE,
    CONFIG_APPLY_OOM,
    CONFIG_APPLY_PERSIST,
    CONFIG_APPLY_LISTEN_BIND,
    CONFIG_APPLY_LISTEN_PORT,
    CONFIG_APPLY_COUNT
};

/* All directives at their defaults. Again: back to them (tests). */
void config_init(void);
void config_fini(void);

/* The value of a BOOL (0, 1), NUMBER, WORD or BITS. */
int64_t config_number(enum config_id id);
/* The value as CONFIG GET prints it. Valid until the directive is set again or, for numbers, the next call.
 */
const char *config_text(enum config_id id);
/* The same with its size: a password may hold zero bytes. */
struct bytes config_bytes(enum config_id id);
const char *config_name(enum config_id id);
unsigned config_flags(enum config_id id);
int config_is_default(enum config_id id);
/* The directive with this name or alias (case-insensitive), or -1. */
int config_find(struct bytes name);
/* Which function hears of changes to ${group}. It returns 0 or fails with *error_out (static text, may stay
 * NULL). */
void config_on_apply(enum config_apply group, int (*apply)(const char **error_out));

/* Set one directive from the words of a file's line (or of one argument that is split). FIRN_EINVALID with
 * the reason in ${error}. Applies nothing. */
FIRN_MUST_USE int config_set_words(int id, const struct bytes *words, size_t count,
                                   char error[CONFIG_ERROR_BYTES]);
/* The same from one text, silently: must be valid (asserts). For the server's own use. */
void config_put(enum config_id id, const char *text);

/* --- CONFIG GET and SET --- */
/* ${receive} for each directive that matches any pattern, under the name matched (an alias counts as a name),
 * each name once. */
void config_get(const struct bytes *patterns, size_t count,
                void (*receive)(const char *name, struct bytes value, void *ctx), void *ctx);
/*
 * ${pairs}: name, value, ... All or none. ${may_protected}: the client may set protected directives. On
 * failure FIRN_ENOTFOUND (name unknown) or FIRN_EINVALID; *culprit_out is the name as given, ${error} the
 * reason or "".
 */
FIRN_MUST_USE int config_set(const struct bytes *pairs, size_t count, int may_protected,
                             struct bytes *culprit_out, char error[CONFIG_ERROR_BYTES]);

/* --- start-up --- */
/* A directive that is no value (include is handled inside): rename-command, user, loadmodule, sentinel. 0,
 * FIRN_ENOTFOUND (not such a directive), FIRN_EINVALID with *error_out (static). Arguments are valid for the
 * call. */
typedef int config_directive(const struct bytes *words, size_t count, const char **error_out);
struct config_failure {
    unsigned line;                 /* 0: none */
    char text[CONFIG_ERROR_BYTES]; /* the line */
    char message[CONFIG_ERROR_BYTES];
};
/*
 * Read what the command line says: a file, "-" (standard input), options. Values are set, not applied.
 * FIRN_EINVALID with ${failure_out}. Lines are numbered over file, standard input and options together.
 */
FIRN_MUST_USE int config_load_arguments(int argc, char *const *argv, config_directive *directive,
                                        struct config_failure *failure_out);
/* The same from one text. */
FIRN_MUST_USE int config_load_text(const char *text, config_directive *directive,
                                   struct config_failure *failure_out);
/* Absolute path of the configuration file, "" if none. */
const char *config_file(void);

/* --- CONFIG REWRITE --- */
/* Write the values to the file: lines, comments and order are kept; what is new is appended below a mark.
 * ${force_all}: every directive, also at its default. FIRN_ENOTFOUND: no file; FIRN_ESYSTEM with errno set.
 * Blocks (fsync). */
FIRN_MUST_USE int config_rewrite(int force_all);

#endif
