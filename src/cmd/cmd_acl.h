/* SPDX-License-Identifier: BSD-3-Clause */
/* The log of refused authentications behind ACL LOG. Executor only. */
#ifndef FIRN_CMD_CMD_ACL_H
#define FIRN_CMD_CMD_ACL_H

#include "base/bytes.h"

struct client;

/* ${client} failed to authenticate as ${user}. */
void cmd_acl_log_failure(const struct client *client, struct bytes user);

#endif
