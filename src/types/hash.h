/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes. A small one is one packed page (types/packed_page.h, fields in insertion order) on the entry's ref;
 * one that would outgrow COLLECTION_PAGE_BYTES_MAX becomes an OBJECT: a directory (types/page_directory.h) of
 * packed pages partitioning the space of hash_key(field). The reported encoding (listpack, listpackex,
 * hashtable) follows type_limits and is independent of the layout.
 *
 * HA1 entry->size is the number of fields, expired but not yet removed ones included (HLEN).
 * HA2 A hash with a field that has a deadline knows the earliest: the page header (small) or the directory
 *     (large): hash_deadline.
 * HA3 object.dram_bytes is the sum of page->bytes over the pages whose ref is a DRAM one.
 * HA4 A call that returns FIRN_EFAULT has changed nothing (hash_expire_fields: nothing in the pages it could
 *     not read).
 *
 * Nothing here knows databases: announcing changes (db_changing...), events, deleting an empty hash and the
 * deadline index are the caller's. No call moves the entry. Executor only. Errors of every call that reads a
 * page: FIRN_EFAULT (async mode, page not here), FIRN_EIO, FIRN_ECORRUPT, FIRN_ENOTFOUND of a record is
 * reported as FIRN_ECORRUPT; of calls that write also FIRN_ENOMEM, FIRN_ETOOBIG.
 */
#ifndef FIRN_TYPES_HASH_H
#define FIRN_TYPES_HASH_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "types/entry.h"
#include "types/type.h"

struct db;

extern const struct type_ops type_hash_ops;

/* A hash without fields under ${key}, in no table; the first hash_set makes its page. Release with
 * type_hash_ops.free_value + entry_free. */
struct entry *hash_create(struct bytes key);

/* --- reading --- */
/* 0: *value_out (borrowed as by page_peek) and *expiry_ms_out (-1: none; may be NULL) of ${field}, expired or
 * not. FIRN_ENOTFOUND: no such field. */
FIRN_MUST_USE int hash_get(struct entry *entry, struct bytes field, struct bytes *value_out,
                           int64_t *expiry_ms_out);
/* Make sure ${field}'s page can be read: 0, or FIRN_EFAULT having recorded it. For commands with several
 * fields. */
FIRN_MUST_USE int hash_touch(struct entry *entry, struct bytes field);
/*
 * The same for all pages, asking for as many missing ones at once as a fault set holds. When more than
 * FAULT_TOUCH_MAX are missing the current fault set is made synchronous (fault_must_finish) and 0 returned:
 * the pages are then read one by one while walking.
 */
FIRN_MUST_USE int hash_touch_all(struct entry *entry);
/* The earliest deadline of a field, -1 if none has one. Small cold hash: the page must have been touched
 * (else -1). */
int64_t hash_deadline(const struct entry *entry);

/* A field for a receiver; bytes are borrowed for the call. */
struct hash_field {
    struct bytes field, value;
    int64_t expiry_ms; /* -1 none */
};
/*
 * Fields of whole pages from ${cursor} (0: start) on until ${count} fields or more were received; *cursor_out
 * is the next cursor, 0 at the end. A small hash comes whole. Every field there from the first to the last
 * call is received at least once, whatever splits, merges or converts between calls. Faults before anything
 * is received. ${receive} must not change the hash.
 */
FIRN_MUST_USE int hash_scan(struct entry *entry, uint64_t cursor, uint64_t count,
                            void (*receive)(const struct hash_field *field, void *ctx), void *ctx,
                            uint64_t *cursor_out);
/*
 * A random field, each with about the same probability, expired ones too: drawn with the sequence whose state
 * is ${state_inout}, so that a command that faults draws the same again. FIRN_ENOTFOUND: empty. Bytes
 * borrowed as by page_peek. ${field_out} NULL: only touch its page.
 */
FIRN_MUST_USE int hash_random(struct entry *entry, uint64_t *state_inout, struct hash_field *field_out);
/* Call ${receive} for every field in the order of hash_scan; nonzero stops and is returned. Faults
 * (hash_touch_all) before anything is received. */
FIRN_MUST_USE int hash_each(struct entry *entry, int (*receive)(const struct hash_field *field, void *ctx),
                            void *ctx);

/* --- changing (announce with db_changing first) --- */
#define HASH_KEEP_EXPIRY                                                                                     \
    0x1u /* an existing field keeps its deadline (HINCRBY); otherwise setting clears it */
#define HASH_AS_LISTPACK 0x2u /* the reported encoding stays, whatever the sizes (packed RDB forms) */
/* Set ${field} to ${value} (neither may point into the hash). *created_out (may be NULL): 1 if the field is
 * new. */
FIRN_MUST_USE int hash_set(struct entry *entry, struct bytes field, struct bytes value, unsigned flags,
                           int *created_out);
/* Remove ${field}: 0, or FIRN_ENOTFOUND. At size 0 the caller deletes the key. */
FIRN_MUST_USE int hash_delete(struct entry *entry, struct bytes field);
/* Set (ms since the epoch) or remove (-1) the deadline of ${field}: 0, or FIRN_ENOTFOUND. */
FIRN_MUST_USE int hash_set_expiry(struct entry *entry, struct bytes field, int64_t expiry_ms);
/* About to set ${fields} fields, the longest argument being ${bytes_max} long: Redis's early switch to
 * hashtable. */
void hash_expect(struct entry *entry, size_t fields, size_t bytes_max);
/* A deadline command came: listpack becomes listpackex. */
void hash_expect_expiry(struct entry *entry);

/*
 * Remove up to ${limit} fields whose deadline is <= ${now_ms}; *expired_out = how many were. 0: none is due
 * any more; 1: more are; FIRN_EFAULT: the other due ones are on pages not here, which are now recorded in the
 * current fault set (the caller prefetches those references and comes again); other errors likewise, some
 * fields may have been removed (*expired_out says). Only due pages are looked at. For each field the hook is
 * called just before it is removed. The caller has called db_changing, and afterwards tells
 * db_set_field_deadline hash_deadline(entry) or deletes the key when size is 0. ${db} is only passed to the
 * hook.
 */
int hash_expire_fields(struct db *db, struct entry *entry, int64_t now_ms, unsigned limit,
                       unsigned *expired_out);
/* The hook (one, upward; NULL: none): ${field} is borrowed; must not change the hash. For statistics and
 * propagation. */
void hash_set_expired_hook(void (*expired)(struct db *db, struct entry *entry, struct bytes field));

#endif
