/* SPDX-License-Identifier: BSD-3-Clause */
/* What cmd_set.c, cmd_set_walk.c and cmd_set_algebra.c share. */
#ifndef FIRN_CMD_CMD_SET_INTERNAL_H
#define FIRN_CMD_CMD_SET_INTERNAL_H

#include "cmd/call.h"
#include "types/set.h"

/* What a handler returns for an error of types/set.h. */
int cmd_set__failed(struct call *call, int error);
/* Every member in argv[first .. argc) has its page here: 0, or an error (FIRN_EFAULT: all missing ones are
 * recorded). */
FIRN_MUST_USE int cmd_set__touch(struct call *call, struct entry *entry, size_t first);
/* Delete the key of a set that has become empty, with its event. */
void cmd_set__delete_if_empty(struct call *call, struct bytes key, struct entry *entry);
/* Reply all members, as an array or (${as_set}) a set; many pages as a stream (then FIRN_EPARKED). */
FIRN_MUST_USE int cmd_set__reply_all(struct call *call, struct entry *entry, int as_set);
/* Put *result_inout (in no table; NULL: an empty set) under argv[1] with ${event}, or delete what is there;
 * replies the size. Takes the set over unless it fails, having changed nothing. */
FIRN_MUST_USE int cmd_set__store(struct call *call, struct entry **result_inout, const char *event);
/* Release a set that is in no table. NULL is a no-op. */
void cmd_set__discard(struct entry *entry);

#endif
