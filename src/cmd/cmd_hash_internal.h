/* SPDX-License-Identifier: BSD-3-Clause */
/* What cmd_hash.c and cmd_hash_expire.c share: fields with deadlines under a command. */
#ifndef FIRN_CMD_CMD_HASH_INTERNAL_H
#define FIRN_CMD_CMD_HASH_INTERNAL_H

#include "base/clock.h"
#include "cmd/call.h"
#include "types/hash.h"

/* A deadline that has passed. */
static inline int cmd_hash__is_due(int64_t expiry_ms) {
    return expiry_ms >= 0 && expiry_ms <= clock_cached_ms();
}

/* Every field in argv[first .. first + count * step) has its page here: 0, or an error (FIRN_EFAULT: all
 * missing ones are recorded). */
FIRN_MUST_USE int cmd_hash__touch(struct call *call, struct entry *entry, size_t first, size_t count,
                                  size_t step);
/* Remove a field: because it is due (counted and propagated), or deleted by the past deadline a command gave
 * it (the same). */
FIRN_MUST_USE int cmd_hash__remove_due(struct call *call, struct entry **entry_inout, struct bytes field);
/* The hash's fields have changed from an earliest deadline ${old_ms}: keep the index. */
void cmd_hash__keep_deadline(struct call *call, struct entry *entry, int64_t old_ms);
/* hash_deadline if the hash is in the index, else -1. */
static inline int64_t cmd_hash__deadline(const struct entry *entry) {
    return entry->flags & ENTRY_FIELD_TTL ? hash_deadline(entry) : -1;
}
/* Delete the key of a hash that has become empty, with its event. 1 if it was. */
int cmd_hash__delete_if_empty(struct call *call, struct bytes key, struct entry *entry);
/* Fields were removed because due while reading: event "hexpired", and the key if nothing is left
 * (*entry_inout NULL then). */
void cmd_hash__announce_due(struct call *call, struct bytes key, struct entry **entry_inout);
/* What a handler returns for an error of types/hash.h. */
int cmd_hash__failed(struct call *call, int error);

#endif
