/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slow log: a bounded list of the last commands that took longer than slowlog-log-slower-than. Arguments
 * are kept trimmed (32 arguments, 128 bytes each). Executor only.
 */
#ifndef FIRN_CMD_SLOWLOG_H
#define FIRN_CMD_SLOWLOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct client;

#define SLOWLOG_ARGUMENTS_MAX      32u
#define SLOWLOG_ARGUMENT_BYTES_MAX 128u

struct slowlog_record {
    struct slowlog_record *older, *newer;
    int64_t id;
    int64_t time_s; /* since the epoch */
    int64_t duration_us;
    char address[64];
    char *client_name; /* "" when none */
    unsigned argc;
    struct bytes argv[];
};

/* Record argv if ${duration_us} is over the limit and keep at most slowlog_max_len records. */
void slowlog_add(const struct client *client, const struct bytes *argv, size_t argc, int64_t duration_us);
/* Drop what exceeds slowlog_max_len (after CONFIG SET). */
void slowlog_trim(void);
void slowlog_reset(void);
size_t slowlog_count(void);
/* Newest first: start with slowlog_newest, go on with ->older. NULL at the end. */
const struct slowlog_record *slowlog_newest(void);

#endif
