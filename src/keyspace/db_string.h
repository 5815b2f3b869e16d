/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strings in a database: what may change an entry's layout. Shapes: types/string.h.
 *
 * Every call that changes a value calls db_changing itself, after everything that can fault; db_changed and
 * events are the caller's (call_changed, call_notify). On failure nothing changed. Executor only.
 */
#ifndef FIRN_KEYSPACE_DB_STRING_H
#define FIRN_KEYSPACE_DB_STRING_H

#include <stdint.h>

#include "keyspace/db.h"
#include "types/string.h"

#define DB_STRING_NO_EXPIRY   (-1)
#define DB_STRING_KEEP_EXPIRY INT64_MIN

/*
 * Make ${key} hold ${value}. ${old} is its present entry (any type) or NULL. ${expiry_ms}: a deadline, or one
 * of the above. Reads nothing. FIRN_ENOMEM. *entry_out (may be NULL): the new entry. ${value} must not point
 * into ${old}.
 */
FIRN_MUST_USE int db_string_set(struct db *db, struct bytes key, struct entry *old, struct bytes value,
                                enum string_form form, int64_t expiry_ms, struct entry **entry_out);
/* The same for an integer, the expiry kept. Cannot fail. Returns the new entry. */
struct entry *db_string_set_integer(struct db *db, struct bytes key, struct entry *old, int64_t integer);

/*
 * All of a string as one piece: *value_out points into the value, ${digits} or ${scratch} (as string_range).
 * A value below is promoted when it was read before. May move the entry: *entry_inout. May fault.
 */
FIRN_MUST_USE int db_string_read(struct db *db, struct entry **entry_inout, char digits[NUMBER_INT_TEXT_MAX],
                                 struct bytes_builder *scratch, struct bytes *value_out);
/* Promote a short value that is below, as db_string_read does; no-op for anything else. */
FIRN_MUST_USE int db_string_warm(struct db *db, struct entry **entry_inout);

/*
 * Write ${data} at ${offset}; what lies between the old end and ${offset} is zeros. The encoding becomes raw.
 * ${offset} + size must not exceed the caller's limit of length (< 4 GiB). An empty ${data} changes only the
 * encoding. May fault; FIRN_ENOMEM. May move the entry. ${data} must not point into the value.
 */
FIRN_MUST_USE int db_string_write(struct db *db, struct entry **entry_inout, uint64_t offset,
                                  struct bytes data);
/* An empty raw string under ${key}, which must not exist, for db_string_write to fill. */
struct entry *db_string_create_empty(struct db *db, struct bytes key);

#endif
