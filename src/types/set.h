/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets. A small one is one page on the entry's ref: integers in ascending order (types/intset_page.h) while
 * the reported encoding is intset, else a packed page without values (types/packed_page.h, members in the
 * order they came). One that outgrows its page becomes an OBJECT: a directory (types/page_directory.h) of
 * packed pages partitioning the space of hash_key(member). The reported encoding (intset, listpack,
 * hashtable) follows type_limits and only moves in that direction.
 *
 * SE1 entry->size is the number of members.
 * SE2 The page of a small set is an integer page exactly when the encoding is intset; pages in a directory
 *     are packed ones, whatever the encoding.
 * SE3 object.dram_bytes is the sum of page->bytes over the pages whose ref is a DRAM one.
 * SE4 A call that returns FIRN_EFAULT has changed nothing.
 *
 * Nothing here knows databases: announcing changes (db_changing...), events and deleting an empty set are the
 * caller's. No call moves the entry. Executor only. Errors of every call that reads a page: FIRN_EFAULT
 * (async mode, page not here), FIRN_EIO, FIRN_ECORRUPT; of calls that write also FIRN_ENOMEM, FIRN_ETOOBIG.
 */
#ifndef FIRN_TYPES_SET_H
#define FIRN_TYPES_SET_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "ds/number.h"
#include "types/entry.h"
#include "types/type.h"

extern const struct type_ops type_set_ops;

/* A set without members under ${key}, in no table, about to get ${expected} members of which ${first} is one:
 * that chooses its encoding. Release with type_set_ops.free_value + entry_free. */
struct entry *set_create(struct bytes key, struct bytes first, size_t expected);

/* --- reading --- */
/* 0: ${member} is in the set; FIRN_ENOTFOUND: it is not. The page may be promoted. */
FIRN_MUST_USE int set_contains(struct entry *entry, struct bytes member);
/* The same leaving every page where it is, so that bytes of a walk over another (or the same) set stay. */
FIRN_MUST_USE int set_contains_still(struct entry *entry, struct bytes member);
/* Whether every page is in DRAM, so that nothing needs to be touched. */
int set_is_resident(const struct entry *entry);
/* Make sure ${member}'s page can be read: 0, or FIRN_EFAULT having recorded it. */
FIRN_MUST_USE int set_touch(struct entry *entry, struct bytes member);
/* The same for all pages, asking for as many missing ones at once as a fault set holds. When more than
 * FAULT_TOUCH_MAX are missing the current fault set is made synchronous (fault_must_finish) and 0 returned:
 * the pages are then read one by one while walking. */
FIRN_MUST_USE int set_touch_all(struct entry *entry);
/*
 * Members of whole pages from ${cursor} (0: start) on until ${count} or more were received; *cursor_out is
 * the next cursor, 0 at the end. A small set comes whole. Every member there from the first to the last call
 * is received at least once, whatever splits, merges or converts between calls. Faults before anything is
 * received. ${receive} must not change the set; bytes are borrowed for the call.
 */
FIRN_MUST_USE int set_scan(struct entry *entry, uint64_t cursor, uint64_t count,
                           void (*receive)(struct bytes member, void *ctx), void *ctx, uint64_t *cursor_out);
/* Call ${receive} for every member in the order of set_scan; nonzero stops and is returned. Faults
 * (set_touch_all) before anything is received. */
FIRN_MUST_USE int set_each(struct entry *entry, int (*receive)(struct bytes member, void *ctx), void *ctx);
/*
 * A random member, each with about the same probability, drawn with the sequence whose state is
 * ${state_inout}, so that a command that faults draws the same again. FIRN_ENOTFOUND: empty. Bytes borrowed
 * as by page_peek or in ${digits}. ${member_out} NULL: only touch its page.
 */
FIRN_MUST_USE int set_random(struct entry *entry, uint64_t *state_inout, char digits[NUMBER_INT_TEXT_MAX],
                             struct bytes *member_out);

/* --- changing (announce with db_changing first) --- */
#define SET_AS_LISTPACK 0x1u /* the encoding listpack stays, whatever the sizes (packed RDB form) */
/* Put ${member} (which must not point into the set) in: *added_out (may be NULL) 0 if it was there. */
FIRN_MUST_USE int set_add(struct entry *entry, struct bytes member, unsigned flags, int *added_out);
/* Take ${member} out: 0, or FIRN_ENOTFOUND. At size 0 the caller deletes the key. */
FIRN_MUST_USE int set_remove(struct entry *entry, struct bytes member);
/* Take a member out that set_random would draw with this state; ${receive} gets it just before it goes, when
 * nothing can fail any more. */
FIRN_MUST_USE int set_pop(struct entry *entry, uint64_t *state_inout,
                          void (*receive)(struct bytes member, void *ctx), void *ctx);
/* About to add ${count} members: Redis's early switch to hashtable. */
FIRN_MUST_USE int set_expect(struct entry *entry, size_t count);

#endif
