/* SPDX-License-Identifier: BSD-3-Clause */
/* The feed of MONITOR: every command that ran, as one status line to each client in monitor mode. Executor
 * only. */
#ifndef FIRN_CMD_CMD_MONITOR_H
#define FIRN_CMD_CMD_MONITOR_H

#include <stddef.h>

#include "base/bytes.h"

struct bytes_builder;
struct client;

/* ${client} ran ${argv}. Call only when dispatch_stats.monitors is not 0. */
void cmd_monitor_feed(const struct client *client, const struct bytes *argv, size_t argc);
/* Append ${text} in double quotes with escapes (\" \\ \n \r \t \a \b \xHH), as MONITOR and the log show
 * arguments. */
void cmd_monitor_quote(struct bytes_builder *out, struct bytes text);

#endif
