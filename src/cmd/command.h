/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command table as data. One JSON file a command in spec/ (format: spec/README.md) becomes one struct
 * command at build time (spec/generate.py writes command_table.c into the build folder). COMMAND and its
 * subcommands, ACL categories, arity checks, key extraction and tier behaviour all come from here.
 */
#ifndef FIRN_CMD_COMMAND_H
#define FIRN_CMD_COMMAND_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct call;
struct client;

/* Flags, as COMMAND prints them. */
#define COMMAND_WRITE             (1u << 0)
#define COMMAND_READONLY          (1u << 1)
#define COMMAND_DENYOOM           (1u << 2)
#define COMMAND_ADMIN             (1u << 3)
#define COMMAND_PUBSUB            (1u << 4)
#define COMMAND_NOSCRIPT          (1u << 5)
#define COMMAND_BLOCKING          (1u << 6)
#define COMMAND_LOADING           (1u << 7)
#define COMMAND_STALE             (1u << 8)
#define COMMAND_SKIP_MONITOR      (1u << 9)
#define COMMAND_SKIP_SLOWLOG      (1u << 10)
#define COMMAND_ASKING            (1u << 11)
#define COMMAND_FAST              (1u << 12)
#define COMMAND_NO_AUTH           (1u << 13)
#define COMMAND_MAY_REPLICATE     (1u << 14)
#define COMMAND_ALLOW_BUSY        (1u << 15)
#define COMMAND_NO_ASYNC_LOADING  (1u << 16)
#define COMMAND_NO_MULTI          (1u << 17)
#define COMMAND_NO_MANDATORY_KEYS (1u << 18)
#define COMMAND_MOVABLE_KEYS      (1u << 19)
#define COMMAND_ONLY_SENTINEL     (1u << 20)

/* What a command does to the tiers. */
enum command_tier {
    COMMAND_TIER_NONE,   /* needs no value (SET, DEL, EXPIRE, TYPE, HLEN...) */
    COMMAND_TIER_READ,   /* reads values: worth prefetching its keys when pipelined */
    COMMAND_TIER_MODIFY, /* reads, then changes */
};

struct command_key_spec {
    const char *notes;
    const char *flags; /* words as COMMAND prints them, e.g. "RW ACCESS UPDATE" */
    enum { COMMAND_BEGIN_INDEX, COMMAND_BEGIN_KEYWORD, COMMAND_BEGIN_UNKNOWN } begin;
    int begin_index; /* index, or start-from of a keyword */
    const char *begin_keyword;
    enum { COMMAND_FIND_RANGE, COMMAND_FIND_KEYNUM, COMMAND_FIND_UNKNOWN } find;
    int last, step, limit;       /* range */
    int keynum_index, first_key; /* keynum */
};

struct command_argument {
    const char *name, *type, *token, *summary, *since, *display; /* as COMMAND DOCS; NULL when absent */
    unsigned optional : 1, multiple : 1, multiple_token : 1;
    int key_spec_index; /* -1 none */
    const struct command_argument *children;
    unsigned child_count;
};

struct command {
    const char *name; /* lower case; subcommands: "config|get" */
    const char *group, *since, *summary, *complexity;
    const char *deprecated_since, *replaced_by,
        *doc_flags;                    /* NULL when absent; doc_flags: words "deprecated", "syscmd" */
    const char *const *history;        /* pairs version, change; NULL-terminated; may be NULL */
    const char *const *tips;           /* NULL-terminated; may be NULL */
    int (*handler)(struct call *call); /* NULL for a container */
    int arity;                         /* Redis's convention: negative = at least */
    uint32_t flags;
    uint64_t acl_categories; /* bit per command_acl_category_name index */
    const struct command_key_spec *key_specs;
    unsigned key_spec_count;
    const struct command_argument *arguments;
    unsigned argument_count;
    const struct command *subcommands;
    unsigned subcommand_count;
    enum command_tier tier;
    int index; /* dense number over all commands and subcommands, for statistics */
};

/* Generated; top-level commands, including those whose handler is not linked in: everybody but command.c goes
 * through the calls below. */
extern const struct command command_table[];
extern const unsigned command_table_count;
extern const unsigned command_total_count; /* including subcommands: the bound of command->index */

/* Top-level commands that can be called, by position (0 .. command_count()-1). Renamed-away ones are not
 * among them. */
unsigned command_count(void);
const struct command *command_at(unsigned position);
/* Whether the handler (of a container: one of its subcommands') is linked in. Subcommands that are not are as
 * good as absent. */
int command_available(const struct command *command);

/* The command for ${argv} (subcommand resolved), or NULL. *container_out (may be NULL) = the top-level one
 * when only the subcommand is unknown. Case-insensitive, O(1). Honours rename-command. */
const struct command *command_find(const struct bytes *argv, size_t argc,
                                   const struct command **container_out);
const struct command *command_find_name(struct bytes name); /* "config|get" or "get" */
/* rename-command: "" disables. FIRN_ENOTFOUND, FIRN_EEXISTS. Start-up only. */
FIRN_MUST_USE int command_rename(struct bytes from, struct bytes to);
/* Whether argc fits the arity. */
static inline int command_arity_fits(const struct command *command, size_t argc) {
    return command->arity >= 0 ? argc == (size_t)command->arity : argc >= (size_t)(-command->arity);
}
/* Positions of keys in argv: fills up to ${limit}; returns the count (may exceed limit), or FIRN_EINVALID.
 * ${flags_out} (may be NULL): per key the spec's flags word string. */
int command_keys(const struct command *command, const struct bytes *argv, size_t argc,
                 unsigned *positions_out, const char **flags_out, unsigned limit);
/* Name of ACL category ${bit}, NULL past the last one; and the other way round: -1 if there is none. */
const char *command_acl_category_name(unsigned bit);
int command_acl_category(struct bytes name);
/* Word of the flag with number ${bit} as COMMAND prints it; NULL past the last one, "" for one that is not
 * printed. */
const char *command_flag_name(unsigned bit);
/* Position of first and last key and step as in Redis before key specs (0 0 0: none, or not expressible). */
void command_legacy_range(const struct command *command, int *first_out, int *last_out, int *step_out);

#endif
