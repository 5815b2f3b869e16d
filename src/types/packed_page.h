/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packed pages: pairs of byte strings (field and value) with an optional deadline, in insertion order, in the
 * payload of one page. Used by hashes; sets (without values) and member pages of sorted sets have the same
 * shape.
 *
 *   OFFSET SIZE FIELD                                              all little-endian
 *        0    2 number of entries n
 *        2    2 tag room t: n rounded up (multiples of 4 up to 16, then of 16)
 *        4    1 format (1)
 *        5    1 flags (PACKED_*)
 *        6    2 unused, 0
 *        8    8 earliest deadline of an entry                      only with PACKED_DEADLINES
 *        .  4*g offset in the payload of the entry 16, 32, ...     g = (t - 1) / 16, 0 for t = 0
 *        .    t tags: the low byte of each entry's hash; the unused ones are 0
 *        .    . entries: varint (field bytes * 2 + has deadline), varint value bytes (not with
 * PACKED_NO_VALUES), deadline (8 bytes, ms since the epoch) if it has one, field, value
 *
 * A lookup compares 16 tags at once and decodes only entries whose tag matches (and on average seven
 * neighbours, from the group's offset). A varint is little-endian base 128 of at most 5 bytes, not
 * necessarily minimal.
 *
 * PP1 The entries fill the payload exactly. Fields are distinct.
 * PP2 With PACKED_DEADLINES at least one entry has a deadline, and the header has the smallest one. Without,
 *     none has.
 * PP3 Reading functions never touch a byte outside the payload, whatever it contains: FIRN_ECORRUPT at worst.
 * PP4 Changing functions expect a payload that packed_page_check accepts; pages that come from a lower tier
 *     are checked before the first change.
 *
 * Tags depend on the process's hash seed. Executor only (reading functions: any thread).
 */
#ifndef FIRN_TYPES_PACKED_PAGE_H
#define FIRN_TYPES_PACKED_PAGE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/limits.h"
#include "page/page.h"

#define PACKED_NO_VALUES 0x1u
#define PACKED_DEADLINES 0x2u

/* A page above this is to be split: payload and page header fit one allocator class. */
#define PACKED_PAGE_SPLIT_BYTES (COLLECTION_PAGE_BYTES_MAX - (unsigned)sizeof(struct page))
#define PACKED_ENTRIES_MAX      65520u     /* a multiple of 16 */
#define PACKED_BYTES_MAX        (1u << 29) /* of a field or a value */

struct packed_entry {
    struct bytes field, value; /* in the payload */
    int64_t expiry_ms;         /* -1: none */
    uint32_t index;            /* 0 .. count - 1 */
    uint32_t offset;           /* of the entry in the payload */
    uint32_t bytes;            /* of the entry */
};

/* --- reading --- */
/* Everything PP1 and PP2 say but that fields are distinct and tags right: 0 or FIRN_ECORRUPT. */
FIRN_MUST_USE int packed_page_check(struct bytes payload);
/* Entries; 0 for a payload too short to be one. */
unsigned packed_page_count(struct bytes payload);
/* The earliest deadline, or -1. */
int64_t packed_page_deadline(struct bytes payload);
/* The entry of ${field}, whose hash_key is ${hash}: 0, FIRN_ENOTFOUND (entry_out undefined), FIRN_ECORRUPT.
 */
FIRN_MUST_USE int packed_page_find(struct bytes payload, uint64_t hash, struct bytes field,
                                   struct packed_entry *entry_out);
/* Entry number ${index}: 0, FIRN_ENOTFOUND (not that many), FIRN_ECORRUPT. */
FIRN_MUST_USE int packed_page_at(struct bytes payload, unsigned index, struct packed_entry *entry_out);

/* All entries in order: begin, then next until it is not 1. The payload must stay. */
struct packed_cursor {
    struct bytes payload;
    uint32_t index, count, offset;
    unsigned flags;
};
/* 0 or FIRN_ECORRUPT. */
FIRN_MUST_USE int packed_page_begin(struct bytes payload, struct packed_cursor *cursor_out);
/* 1 with an entry; 0 at the end; FIRN_ECORRUPT. */
FIRN_MUST_USE int packed_page_next(struct packed_cursor *cursor, struct packed_entry *entry_out);

/* --- changing: ${page} is private (page_write) and was made by these functions or checked --- */
/* Payload bytes of an empty page with room for ${count} tags. */
size_t packed_page_empty_bytes(unsigned count, unsigned flags);
/* Payload bytes after appending this entry to ${payload} (also to an empty payload of size 0: then a page
 * with ${flags}). */
size_t packed_page_bytes_with(struct bytes payload, unsigned flags, size_t field_bytes, size_t value_bytes,
                              int has_expiry);
/* Payload bytes after giving ${entry} another value and deadline. */
size_t packed_page_bytes_replaced(struct bytes payload, const struct packed_entry *entry, size_t value_bytes,
                                  int has_expiry);
/* Make a fresh page an empty packed one with tag room for ${count}; capacity >= packed_page_empty_bytes. */
void packed_page_init(struct page *page, unsigned count, unsigned flags);
/* Append; the field must not be there, the strings not point into the page, the capacity be
 * packed_page_bytes_with. */
void packed_page_append(struct page *page, uint64_t hash, struct bytes field, struct bytes value,
                        int64_t expiry_ms);
/* Give ${entry} (as found in this very content) another value and deadline; capacity as
 * packed_page_bytes_replaced. The order stays. */
void packed_page_replace(struct page *page, const struct packed_entry *entry, struct bytes value,
                         int64_t expiry_ms);
void packed_page_remove(struct page *page, const struct packed_entry *entry);
/* Give ${entry} another deadline (-1: none); capacity for 16 bytes more. */
void packed_page_set_expiry(struct page *page, const struct packed_entry *entry, int64_t expiry_ms);
/* Remove up to ${limit} entries whose deadline is <= ${now_ms}, calling ${removed} (may be NULL) before each.
 * Returns how many. */
unsigned packed_page_expire(struct page *page, int64_t now_ms, unsigned limit,
                            void (*removed)(struct bytes field, void *ctx), void *ctx);

/* Two fresh pages (refs 1) with the entries of ${payload} (checked) whose field's hash has bit ${bit} (63:
 * the top one) clear and set; NULL for one that would be empty. ${hash} (NULL: hash_key) gives the hash of a
 * field. FIRN_ENOMEM (nothing made). */
FIRN_MUST_USE int packed_page_split(struct bytes payload, unsigned bit, uint64_t (*hash)(struct bytes field),
                                    struct page **zero_out, struct page **one_out);
/* A fresh page, no larger than needed, with the entries of both (checked, same kind; ${b} may have size 0).
 * FIRN_ENOMEM. */
FIRN_MUST_USE int packed_page_join(struct bytes a, struct bytes b, struct page **page_out);

#endif
