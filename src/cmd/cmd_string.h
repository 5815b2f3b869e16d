/* SPDX-License-Identifier: BSD-3-Clause */
/* What families of commands that work on strings share. Executor only. */
#ifndef FIRN_CMD_CMD_STRING_H
#define FIRN_CMD_CMD_STRING_H

#include <stdint.h>

#include "cmd/call.h"

/* Reply the value of ${entry} (a string) as a bulk. May fault, may promote and so move the entry. */
FIRN_MUST_USE int cmd_string_reply(struct call *call, struct entry *entry);
/* Whether a string of ${size} bytes may grow by ${more}: 0, or FIRN_ETOOBIG with the error replied. */
FIRN_MUST_USE int cmd_string_fits(struct call *call, uint64_t size, uint64_t more);

#endif
