/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of connections, for AUTH, HELLO and CLIENT. Executor only. */
#ifndef FIRN_CMD_CMD_CONNECTION_H
#define FIRN_CMD_CMD_CONNECTION_H

#include "base/bytes.h"
#include "base/error.h"

struct call;

/* Whether ${text} has only characters from '!' to '~'. */
int cmd_connection_printable(struct bytes text);
/* Replace the counted text at ${place} by a copy of ${text} (empty: NULL). */
void cmd_connection_set_text(char **place, struct bytes text);
/* Name the call's client; FIRN_EINVALID with the error replied. */
FIRN_MUST_USE int cmd_connection_set_name(struct call *call, struct bytes name);

#endif
