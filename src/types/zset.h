/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sorted sets. A small one is one score page (types/score_page.h) on the entry's ref. One that outgrows it
 * becomes an OBJECT: a tree of score pages in the order of (score, member) (types/score_tree.h), and beside
 * it packed pages that partition the space of hash_key(member) and hold each member's score. Both hold every
 * member. So a score is one page read, a rank two, a range its own pages and the one or two at its ends.
 *
 * ZS1 entry->size is the number of elements; the tree and the member pages have exactly these.
 * ZS2 object.dram_bytes is the sum of page->bytes over the pages, of both kinds, whose ref is a DRAM one.
 * ZS3 The reported encoding (listpack, skiplist) follows type_limits, moves in that direction only, and says
 *     nothing about the pages.
 * ZS4 A call that returns FIRN_EFAULT has changed nothing.
 *
 * Nothing here knows databases: announcing changes (db_changing...), events and deleting an empty sorted set
 * are the caller's. No call moves the entry. Scores are never NaN. Executor only. Errors of every call that
 * reads a page: FIRN_EFAULT (async mode, page not here: recorded), FIRN_EIO, FIRN_ECORRUPT; of calls that
 * write also FIRN_ENOMEM, FIRN_ETOOBIG.
 */
#ifndef FIRN_TYPES_ZSET_H
#define FIRN_TYPES_ZSET_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "types/entry.h"
#include "types/score_page.h"
#include "types/type.h"

extern const struct type_ops type_zset_ops;

/* A sorted set without elements under ${key}, in no table, about to get ${expected} elements, the longest
 * member of ${member_bytes}: that chooses its encoding. Release with type_zset_ops.free_value + entry_free.
 */
struct entry *zset_create(struct bytes key, size_t expected, size_t member_bytes);

/* Elements by rank: ${count} of them from number ${first} on, ascending. */
struct zset_span {
    uint64_t first, count;
};

/* --- one element --- */
/* The score of ${member}: 0, or FIRN_ENOTFOUND. The page may be promoted. */
FIRN_MUST_USE int zset_score(struct entry *entry, struct bytes member, double *score_out);
/* The same leaving every page where it is, so that bytes of a walk over another (or the same) one stay. */
FIRN_MUST_USE int zset_score_still(struct entry *entry, struct bytes member, double *score_out);
/* Make sure zset_score can answer: 0, or FIRN_EFAULT having recorded the page. */
FIRN_MUST_USE int zset_touch(struct entry *entry, struct bytes member);
/* Score and rank (ascending, from 0) of ${member}: 0, or FIRN_ENOTFOUND. */
FIRN_MUST_USE int zset_rank(struct entry *entry, struct bytes member, double *score_out, uint64_t *rank_out);
/* Element number ${rank} (< size). Bytes borrowed as by page_peek. */
FIRN_MUST_USE int zset_at(struct entry *entry, uint64_t rank, struct bytes *member_out, double *score_out);
/* Make sure zset_at can answer. */
FIRN_MUST_USE int zset_touch_at(struct entry *entry, uint64_t rank);

/* --- ranges --- */
/* What lies between two boundaries (see struct score_key), e.g. for scores from 1 to 5, 5 excluded:
 * {SCORE_KEY_SCORE, .score = 1} and {SCORE_KEY_SCORE, .score = 5}; both have .after = 0, as what equals 1 is
 * right of the first and what equals 5 right of the second. Reads at most one page per boundary. */
FIRN_MUST_USE int zset_span(struct entry *entry, const struct score_key *from, const struct score_key *to,
                            struct zset_span *span_out);
/* Make sure the pages of ${span} (within the size) can be read, asking for as many missing ones at once as a
 * fault set holds. When more than FAULT_TOUCH_MAX are missing the current fault set is made synchronous
 * (fault_must_finish) and 0 returned: the pages are then read one by one while walking. */
FIRN_MUST_USE int zset_touch_span(struct entry *entry, struct zset_span span);
/* Call ${receive} for the elements of ${span}, ascending or (${reverse}) descending; nonzero stops and is
 * returned. Faults (zset_touch_span) before anything is received. ${receive} must not change the sorted set;
 * bytes are borrowed for the call. */
FIRN_MUST_USE int zset_each(struct entry *entry, struct zset_span span, int reverse,
                            int (*receive)(struct bytes member, double score, void *ctx), void *ctx);
/* The pages of a large sorted set that hold the elements of ${span} (count > 0), in that order: how many (0:
 * a small one), their references in ${refs_out} (NULL: only count). *skip_out: elements on the first one that
 * come before, in that order. */
size_t zset_span_refs(struct entry *entry, struct zset_span span, int reverse, uint64_t *refs_out,
                      uint64_t *skip_out);
/* The pages of a large sorted set that find a score by member, in order of hash_key(member): how many (0: a
 * small one), their references and smallest hashes in the arrays (both NULL: only count). They are packed
 * pages (types/packed_page.h) whose values zset_page_score reads: 0 or FIRN_ECORRUPT. */
size_t zset_member_pages(const struct entry *entry, uint64_t *refs_out, uint64_t *starts_out);
FIRN_MUST_USE int zset_page_score(struct bytes value, double *score_out);
/* Whether every page is in DRAM, so that nothing needs to be touched. */
int zset_is_resident(const struct entry *entry);
/* All elements from ${cursor} (0: start) on, page by page in an order of their own, until ${count} or more
 * were received; *cursor_out is the next cursor, 0 at the end. A small sorted set comes whole. Every element
 * there from the first to the last call is received at least once, whatever its score does meanwhile. Faults
 * before anything is received. */
FIRN_MUST_USE int zset_scan(struct entry *entry, uint64_t cursor, uint64_t count,
                            void (*receive)(struct bytes member, double score, void *ctx), void *ctx,
                            uint64_t *cursor_out);

/* --- changing (announce with db_changing first) --- */
#define ZSET_NX          0x1u  /* only new elements */
#define ZSET_XX          0x2u  /* only elements there are */
#define ZSET_GT          0x4u  /* of those there are, only to a higher score */
#define ZSET_LT          0x8u  /* only to a lower score */
#define ZSET_INCR        0x10u /* the score is added to the one there is */
#define ZSET_AS_LISTPACK 0x20u /* the encoding listpack stays, whatever the sizes (packed RDB form) */

enum zset_outcome {
    ZSET_REFUSED, /* by NX, XX, GT or LT */
    ZSET_SAME,    /* it had that score */
    ZSET_ADDED,
    ZSET_UPDATED,
};
/* Give ${member} (which must not point into the sorted set) ${score}. *score_out is its score then (with
 * ZSET_REFUSED of a missing one: undefined). FIRN_ENOTNUMBER: the sum is no number, nothing changed. */
FIRN_MUST_USE int zset_put(struct entry *entry, struct bytes member, double score, unsigned flags,
                           enum zset_outcome *outcome_out, double *score_out);
/* Make sure zset_put with the same arguments does not fault. Call it for each of several before the first. */
FIRN_MUST_USE int zset_touch_put(struct entry *entry, struct bytes member, double score, unsigned flags);
/* Take ${member} out: 0, or FIRN_ENOTFOUND. At size 0 the caller deletes the key. */
FIRN_MUST_USE int zset_remove(struct entry *entry, struct bytes member);
/* Make sure zset_remove does not fault. */
FIRN_MUST_USE int zset_touch_remove(struct entry *entry, struct bytes member);
/* Take out the elements of ${span}. *removed_out (also on failure): how many went. A caller that wants all of
 * them out deletes the key instead. */
FIRN_MUST_USE int zset_remove_span(struct entry *entry, struct zset_span span, uint64_t *removed_out);
/* Make sure zset_remove_span does not fault, as zset_touch_span does. */
FIRN_MUST_USE int zset_touch_remove_span(struct entry *entry, struct zset_span span);
/* About to get ${count} elements more, the longest member of ${member_bytes}: Redis's early switch. */
void zset_expect(struct entry *entry, size_t count, size_t member_bytes);
/* Of a sorted set made by a command as its result: report listpack when it is small enough, else skiplist. */
void zset_settle_encoding(struct entry *entry, size_t longest_member_bytes);

/* --- building a large one (no table refers to it; other clients' commands run between the calls) --- */
/*
 * zset_put writes to two places, of which only one can be near the last one. A sorted set larger than memory
 * is built half by half instead: its members, best in the order of hash_key(member), and its elements in
 * order, best ascending, so that what was written goes down and stays there. One that gets only elements is a
 * sorted run, which zset_build_take empties again.
 */
/* Large from the start, without elements; release as after zset_create. */
struct entry *zset_build(struct bytes key);
/* The half that knows the score of ${member}. The same again changes nothing. */
FIRN_MUST_USE int zset_build_member(struct entry *entry, struct bytes member, double score);
/* The half that knows the order; counts it in entry->size. Not twice the same. */
FIRN_MUST_USE int zset_build_element(struct entry *entry, struct bytes member, double score);
/* Take the first page of elements out, which is the caller's from now on (to be released), with what comes
 * after it (0: nothing). 0: there is none left. Faults never. */
uint64_t zset_build_take(struct entry *entry, uint64_t *next_out);
/* The walk that adds members has come to ${hash}: what lies right behind is what goes down next. */
void zset_build_passed(struct entry *entry, uint64_t hash);

#endif
