/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One run of a command: what a handler sees. Handlers live in cmd_<family>.c, are named cmd_<name> and
 * declared in spec/<name>.json.
 *
 * Rules for handlers
 *  H1 Touch before you change: look up and read everything needed before the first mutation. A call that
 *     returns FIRN_EFAULT is returned upward at once (the dispatcher rolls the reply back and runs the
 *     command again when the page is here).
 *  H2 After the first mutation of a command that may still need pages, call_must_finish(call): further
 *     reads block instead.
 *  H3 Errors to the client are written with reply_error* and return 0. Negative returns are for FAULT, EIO,
 *     ECORRUPT, NOMEM... from below.
 *  H4 Every mutation: entry = db_changing(db, entry) before, call_changed(call, key) after, call_notify for
 *     the event, in Redis's order.
 *  H5 argv bytes are valid until the handler returns; copy what is kept.
 */
#ifndef FIRN_CMD_CALL_H
#define FIRN_CMD_CALL_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "generated/command_handlers.h" /* prototypes of all handlers */
#include "keyspace/db.h"
#include "keyspace/notify.h"
#include "proto/reply.h"

struct client;
struct command;

/* A command in the form in which it is propagated. */
struct call_form {
    struct call_form *next;
    size_t argc;
    struct bytes argv[];
};

struct call {
    struct client *client; /* never NULL */
    const struct command *command;
    struct db *db; /* the client's selected database */
    struct reply *reply;
    size_t argc;
    const struct bytes *argv; /* argv[0] is the command name; a subcommand's name is argv[1] */
    uint64_t changes;         /* keys changed so far by this run */
    unsigned lookup_flags;    /* LOOKUP_NO_TOUCH when CLIENT NO-TOUCH */
    /* private to call.c and dispatch.c */
    uint64_t redacted; /* bit per argument that the slow log and MONITOR must not show */
    int no_propagation;
    uint64_t inner_errors;   /* errors replied by commands run inside, counted there */
    struct call_form *forms; /* call_rewrite, call_propagate: counted memory, freed by the dispatcher */
    struct call_form *forms_last;
};

/* --- lookups with Redis's conventions --- */
/* db_find for reading / writing. *entry_out NULL: no such key. */
FIRN_MUST_USE int call_find_read(struct call *call, struct bytes key, struct entry **entry_out);
FIRN_MUST_USE int call_find_write(struct call *call, struct bytes key, struct entry **entry_out);
/* The same and of ${type}: writes the WRONGTYPE error and returns FIRN_EWRONGTYPE otherwise (the handler then
 * returns 0 via CALL_TRY). */
FIRN_MUST_USE int call_find_read_type(struct call *call, struct bytes key, enum type_id type,
                                      struct entry **entry_out);
FIRN_MUST_USE int call_find_write_type(struct call *call, struct bytes key, enum type_id type,
                                       struct entry **entry_out);

/* Leave the handler: 0 if the error was already replied (WRONGTYPE, NOTNUMBER, INVALID, OVERFLOW, TOOBIG),
 * else the code itself. */
#define CALL_TRY(expression)                                                                                 \
    do {                                                                                                     \
        int call_try_error = (expression);                                                                   \
        if (call_try_error != 0) return call_error(call_try_error);                                          \
    } while (0)
int call_error(int error);

/* --- arguments --- (on failure the error reply is written and FIRN_ENOTNUMBER / FIRN_EINVALID returned) */
FIRN_MUST_USE int call_integer(struct call *call, struct bytes argument,
                               int64_t *value_out); /* "value is not an integer or out of range" */
FIRN_MUST_USE int call_integer_or(struct call *call, struct bytes argument, const char *error_text,
                                  int64_t *value_out);
/* From ${min} to ${max}; else "value is out of range, value must between ...". */
FIRN_MUST_USE int call_integer_between(struct call *call, struct bytes argument, int64_t min, int64_t max,
                                       int64_t *value_out);
FIRN_MUST_USE int call_double(struct call *call, struct bytes argument,
                              double *value_out); /* "value is not a valid float" */
/* A count from 1 on; else ${error_text}. */
FIRN_MUST_USE int call_positive(struct call *call, struct bytes argument, const char *error_text,
                                uint64_t *value_out);
/* What LMPOP and ZMPOP take: numkeys key ... ${first}|${second} [COUNT count], numkeys at ${at}. */
struct call_mpop {
    const struct bytes *keys;
    size_t keys_count;
    int second;
    int counted; /* COUNT was given */
    uint64_t count;
};
FIRN_MUST_USE int call_mpop(struct call *call, size_t at, const char *first, const char *second,
                            struct call_mpop *mpop_out);
/*
 * The cursor of SCAN, HSCAN, SSCAN and ZSCAN stands for a place among all hashes, whose upper 53 bits it is:
 * some clients (JavaScript) keep cursors in doubles. Read as strtoul would: a sign (minus wraps) and leading
 * zeros are fine, space is not. *position_out is a hash.
 */
FIRN_MUST_USE int call_cursor(struct call *call, struct bytes argument, uint64_t *position_out);
/* The cursor for ${position}, whose lower 11 bits are 0, as a bulk string. */
void call_reply_cursor(struct call *call, uint64_t position);
/* Syntax error reply; returns FIRN_EINVALID. */
int call_syntax_error(struct call *call);
/* Option words, case-insensitive: argument ${index} is ${word}. */
int call_option(const struct call *call, size_t index, const char *word);

/* For a subcommand whose options do not fit: Redis's "unknown subcommand or wrong number of arguments for
 * ..." error. Returns 0. */
int call_unknown_subcommand(struct call *call);
/* The reply of a HELP subcommand: head line, ${lines} (NULL-terminated; syntax lines, then descriptions
 * indented by four spaces), and the lines about HELP itself. Returns 0. */
int call_help(struct call *call, const char *const *lines);

/* --- changes --- */
/* ${key} of the call's db changed: db_changed, statistics, propagation. */
void call_changed(struct call *call, struct bytes key);
/* The same, and rdb_changes_since_last_save counts ${elements} of it; 0: it was counted with another key. */
void call_changed_elements(struct call *call, struct bytes key, uint64_t elements);
void call_notify(struct call *call, unsigned event_class, const char *name, struct bytes key);
/* H2. */
void call_must_finish(struct call *call);
/*
 * Propagation: what AOF and replication are told of a command, in the form that does the same anywhere. A
 * command that changed something (call->changes) is propagated as it came, unless it says otherwise here.
 */
/* Who listens; NULL: nobody. Told of each command that is over and changed something or has forms, but for
 * call_no_propagation: in the forms (several: they belong together, as between MULTI and EXEC), or as it came
 * if there are none. Commands inside EXEC come first, one by one, then EXEC. */
extern void (*call_propagated)(const struct call *call);
/* Propagate this argv instead of the received one. Bytes are copied. */
void call_rewrite(struct call *call, size_t argc, const struct bytes *argv);
/* Propagate this argv, too, behind the forms there are. */
void call_propagate(struct call *call, size_t argc, const struct bytes *argv);
void call_forms_free(struct call *call);
/* Show "(redacted)" instead of argument ${index} (passwords) in the slow log and to MONITOR. */
void call_redact(struct call *call, size_t index);
/* Do not propagate this run. */
void call_no_propagation(struct call *call);

#endif
