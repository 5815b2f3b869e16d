/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Score pages: elements (score, member) in ascending order of score, then of member bytes, in the payload of
 * one page. The one page of a small sorted set, and the leaves of a large one.
 *
 *   OFFSET SIZE FIELD                                              all little-endian
 *        0    2 number of elements n
 *        2    1 format (1)
 *        3    1 flags (SCORE_PAGE_WIDE)
 *        4  8*n scores, IEEE 754 binary64
 *        .  w*n where each member ends, counted from the first member's begin; w is 2, with WIDE 4
 *        .    . the members, one behind the other
 *
 * SP1 No score is NaN; elements are strictly ascending; the last end is the end of the payload.
 * SP2 score_page_open with ${untrusted} accepts only what satisfies SP1, whatever the bytes; the others below
 *     expect a page that it accepted or that was made here.
 *
 * Executor only (reading: any thread). Nothing here faults or blocks.
 */
#ifndef FIRN_TYPES_SCORE_PAGE_H
#define FIRN_TYPES_SCORE_PAGE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/limits.h"
#include "page/page.h"

#define SCORE_PAGE_WIDE         0x1u
#define SCORE_PAGE_HEAD_BYTES   4u
#define SCORE_PAGE_ELEMENTS_MAX 65535u
/* A page above this is to be split: payload and page header fit one allocator class. */
#define SCORE_PAGE_SPLIT_BYTES (COLLECTION_PAGE_BYTES_MAX - (unsigned)sizeof(struct page))

/* A boundary between elements: those it has on its left come first in every page. */
enum score_key_kind {
    SCORE_KEY_ELEMENT, /* by score, then member */
    SCORE_KEY_SCORE,   /* by score alone */
    SCORE_KEY_MEMBER,  /* by member alone: where all scores are equal */
};
struct score_key {
    enum score_key_kind kind;
    int after; /* equal elements are left of it too */
    double score;
    struct bytes member;
};

/* Whether the element is left of ${key}. */
static inline int score_key_passes(const struct score_key *key, double score, struct bytes member) {
    if (key->kind != SCORE_KEY_MEMBER) {
        if (score < key->score) return 1;
        if (score > key->score) return 0;
        if (key->kind == SCORE_KEY_SCORE) return key->after;
    }
    int order = bytes_compare(member, key->member);
    return order < 0 || (order == 0 && key->after);
}

/* A page's content, opened. Valid as long as the payload. */
struct score_view {
    const uint8_t *scores, *ends, *members;
    uint32_t count;
    uint32_t wide;
};

/* Open a page (size 0: no elements). ${untrusted}: it comes from a lower tier or a file, all of SP1 is
 * checked. FIRN_ECORRUPT. */
FIRN_MUST_USE int score_page_open(struct bytes payload, int untrusted, struct score_view *view_out);

static inline double score_view_score(const struct score_view *view, uint32_t index) {
    double score;
    memcpy(&score, view->scores + 8 * (size_t)index, sizeof score);
    return score;
}
/* Where member ${index} ends among the members. */
static inline uint32_t score_view_end(const struct score_view *view, uint32_t index) {
    return view->wide ? bytes_load32(view->ends + 4 * (size_t)index)
                      : bytes_load16(view->ends + 2 * (size_t)index);
}
static inline uint32_t score_view_begin(const struct score_view *view, uint32_t index) {
    return index == 0 ? 0 : score_view_end(view, index - 1);
}
static inline struct bytes score_view_member(const struct score_view *view, uint32_t index) {
    uint32_t begin = score_view_begin(view, index);
    return bytes_of(view->members + begin, score_view_end(view, index) - begin);
}

/* How many elements are left of ${key}: O(log n). */
uint32_t score_view_position(const struct score_view *view, const struct score_key *key);
/* The element of ${member} whatever its score: 1, or 0. O(n). */
int score_view_find(const struct score_view *view, struct bytes member, uint32_t *index_out);

/* Payload bytes with one more element (also of an empty payload of size 0). */
size_t score_page_bytes_with(struct bytes payload, size_t member_bytes);
/* Payload bytes of a page of the elements [from, to) of ${view}. */
size_t score_page_bytes_of(const struct score_view *view, uint32_t from, uint32_t to);

/* --- changing: ${page} is private (page_write) --- */
/* Insert before element ${index}, where the order wants it; capacity as score_page_bytes_with. The page may
 * be a fresh one (bytes 0). ${member} does not point into it. */
void score_page_insert(struct page *page, uint32_t index, double score, struct bytes member);
/* Remove the elements [from, to). */
void score_page_remove(struct page *page, uint32_t from, uint32_t to);
/* Give element ${index} another score that leaves it where it is. */
void score_page_set_score(struct page *page, uint32_t index, double score);
/* A fresh page with the elements [from, to), from < to, no larger than needed; NULL: no memory. */
struct page *score_page_part(const struct score_view *view, uint32_t from, uint32_t to);
/* A fresh page with the elements of ${a}, then those of ${b}; NULL: no memory. */
struct page *score_page_join(const struct score_view *a, const struct score_view *b);

#endif
