/* SPDX-License-Identifier: BSD-3-Clause */
/* Score pages; layout and invariants in score_page.h. Changes move three runs (scores, ends, members): from
 * the back when the page grows, from the front when it shrinks. */
#include "types/score_page.h"

#include "base/assert.h"

#define SCORE_PAGE_FORMAT 1u
#define NARROW_END_MAX    0xffffu

static inline size_t end_bytes(unsigned wide) {
    return wide ? 4 : 2;
}

static inline void store_end(uint8_t *ends, unsigned wide, size_t index, uint32_t end) {
    if (wide) {
        bytes_store32(ends + 4 * index, end);
    } else {
        uint16_t narrow = (uint16_t)end;
        memcpy(ends + 2 * index, &narrow, sizeof narrow);
    }
}

/* --- reading --- */

/* The view of a payload whose head is right. */
static inline void view_of(const uint8_t *data, struct score_view *view) {
    view->count = bytes_load16(data);
    view->wide = data[3] & SCORE_PAGE_WIDE;
    view->scores = data + SCORE_PAGE_HEAD_BYTES;
    view->ends = view->scores + 8 * (size_t)view->count;
    view->members = view->ends + end_bytes(view->wide) * view->count;
}

/* SP1 but for the sizes, which are right. */
static int check_elements(const struct score_view *view, size_t members_bytes) {
    for (uint32_t i = 0; i < view->count; i++) {
        uint32_t begin = score_view_begin(view, i), end = score_view_end(view, i);
        double score = score_view_score(view, i);
        if (end < begin || end > members_bytes || score != score) return FIRN_ECORRUPT;
        if (i == 0) continue;
        double before = score_view_score(view, i - 1);
        if (before > score) return FIRN_ECORRUPT;
        if (before == score && bytes_compare(score_view_member(view, i - 1), score_view_member(view, i)) >= 0)
            return FIRN_ECORRUPT;
    }
    return 0;
}

int score_page_open(struct bytes payload, int untrusted, struct score_view *view) {
    static const uint8_t nothing[SCORE_PAGE_HEAD_BYTES] = {0, 0, SCORE_PAGE_FORMAT, 0};
    if (payload.size == 0) {
        view_of(nothing, view);
        return 0;
    }
    if (payload.size < SCORE_PAGE_HEAD_BYTES) return FIRN_ECORRUPT;
    if (!untrusted) {
        view_of(payload.data, view);
        return 0;
    }
    unsigned count = bytes_load16(payload.data), flags = payload.data[3];
    if (payload.data[2] != SCORE_PAGE_FORMAT || (flags & ~SCORE_PAGE_WIDE) != 0 || count == 0)
        return FIRN_ECORRUPT;
    size_t fixed = SCORE_PAGE_HEAD_BYTES + (8 + end_bytes(flags)) * (size_t)count;
    if (payload.size < fixed) return FIRN_ECORRUPT;
    view_of(payload.data, view);
    if (score_view_end(view, count - 1) != payload.size - fixed) return FIRN_ECORRUPT;
    return check_elements(view, payload.size - fixed);
}

/* The first element with a score not below ${score}; no branch to guess wrong. */
static uint32_t lower_bound(const struct score_view *view, double score) {
    uint32_t base = 0, left = view->count;
    while (left > 1) {
        uint32_t half = left / 2;
        base += half & (0u - (uint32_t)(score_view_score(view, base + half - 1) < score));
        left -= half;
    }
    return left == 0 ? 0 : base + (uint32_t)(score_view_score(view, base) < score);
}

static inline int passes_at(const struct score_view *view, const struct score_key *key, uint32_t index) {
    return score_key_passes(key, score_view_score(view, index), score_view_member(view, index));
}

uint32_t score_view_position(const struct score_view *view, const struct score_key *key) {
    uint32_t low = 0, high = view->count;
    if (key->kind != SCORE_KEY_MEMBER) {
        low = lower_bound(view, key->score);
        if (low == high || score_view_score(view, low) != key->score) return low;
        /* equal scores are few mostly: in steps of 1, 2, 4... */
        for (uint32_t at = low, step = 1; at < view->count; at += step, step *= 2) {
            if (!passes_at(view, key, at)) {
                high = at;
                break;
            }
            low = at + 1;
        }
    }
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (passes_at(view, key, middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int score_view_find(const struct score_view *view, struct bytes member, uint32_t *index_out) {
    uint32_t begin = 0;
    for (uint32_t i = 0; i < view->count; i++) {
        uint32_t end = score_view_end(view, i);
        if (end - begin == member.size &&
            (member.size == 0 || memcmp(view->members + begin, member.data, member.size) == 0)) {
            *index_out = i;
            return 1;
        }
        begin = end;
    }
    return 0;
}

/* --- sizes --- */

static size_t page_bytes(size_t count, size_t members_bytes) {
    return SCORE_PAGE_HEAD_BYTES + (8 + end_bytes(members_bytes > NARROW_END_MAX)) * count + members_bytes;
}

static inline uint32_t members_bytes_of(const struct score_view *view) {
    return view->count == 0 ? 0 : score_view_end(view, view->count - 1);
}

size_t score_page_bytes_with(struct bytes payload, size_t member_bytes) {
    struct score_view view = {0};
    if (payload.size > 0) view_of(payload.data, &view);
    size_t members_bytes = members_bytes_of(&view) + member_bytes;
    size_t bytes = page_bytes(view.count + (size_t)1, members_bytes);
    return view.wide && members_bytes <= NARROW_END_MAX ? bytes + 2 * (view.count + (size_t)1) : bytes;
}

size_t score_page_bytes_of(const struct score_view *view, uint32_t from, uint32_t to) {
    return page_bytes(to - from, score_view_begin(view, to) - score_view_begin(view, from));
}

/* --- changing --- */

static void page_view(const struct page *page, struct score_view *view) {
    view_of(page->data, view);
}

/* Ends of 4 bytes from now on; there is room. */
static void page_widen(struct page *page) {
    struct score_view view;
    page_view(page, &view);
    uint32_t members_bytes = members_bytes_of(&view);
    uint8_t *ends = page->data + (view.ends - page->data);
    memmove(ends + 4 * (size_t)view.count, view.members, members_bytes);
    for (size_t i = view.count; i-- > 0;)
        bytes_store32(ends + 4 * i, bytes_load16(ends + 2 * i));
    page->data[3] |= SCORE_PAGE_WIDE;
    page->bytes += 2 * view.count;
}

static void page_set_count(struct page *page, uint32_t count) {
    uint16_t narrow = (uint16_t)count;
    FIRN_ASSERT(count <= SCORE_PAGE_ELEMENTS_MAX);
    memcpy(page->data, &narrow, sizeof narrow);
}

static void page_begin(struct page *page, unsigned wide) {
    page_set_count(page, 0);
    page->data[2] = SCORE_PAGE_FORMAT;
    page->data[3] = wide ? SCORE_PAGE_WIDE : 0;
    page->bytes = SCORE_PAGE_HEAD_BYTES;
}

void score_page_insert(struct page *page, uint32_t index, double score, struct bytes member) {
    struct score_view view;
    if (page->bytes == 0) page_begin(page, member.size > NARROW_END_MAX);
    page_view(page, &view);
    if (!view.wide && members_bytes_of(&view) + member.size > NARROW_END_MAX) {
        page_widen(page);
        page_view(page, &view);
    }
    size_t n = view.count, width = end_bytes(view.wide), at = index;
    uint32_t begin = score_view_begin(&view, index), all = members_bytes_of(&view),
             added = (uint32_t)member.size;
    FIRN_ASSERT(index <= n && n < SCORE_PAGE_ELEMENTS_MAX);
    FIRN_ASSERT(page->bytes + 8 + width + member.size <= page->capacity);
    uint8_t *scores = page->data + SCORE_PAGE_HEAD_BYTES, *ends = scores + 8 * (n + 1),
            *members = ends + width * (n + 1);
    memmove(members + begin + added, view.members + begin, all - begin);
    memmove(members, view.members, begin);
    if (added > 0) memcpy(members + begin, member.data, added);
    memmove(ends + width * (at + 1), view.ends + width * at, width * (n - at));
    memmove(ends, view.ends, width * at);
    store_end(ends, view.wide, at, begin + added);
    for (size_t i = at + 1; i <= n; i++) {
        uint32_t end = view.wide ? bytes_load32(ends + 4 * i) : bytes_load16(ends + 2 * i);
        store_end(ends, view.wide, i, end + added);
    }
    memmove(scores + 8 * (at + 1), scores + 8 * at, 8 * (n - at));
    memcpy(scores + 8 * at, &score, sizeof score);
    page_set_count(page, (uint32_t)n + 1);
    page->bytes += (uint32_t)(8 + width) + added;
}

void score_page_remove(struct page *page, uint32_t from, uint32_t to) {
    struct score_view view;
    page_view(page, &view);
    FIRN_ASSERT(from <= to && to <= view.count);
    size_t n = view.count, gone = to - from, width = end_bytes(view.wide);
    uint32_t begin = score_view_begin(&view, from), end = score_view_begin(&view, to),
             all = members_bytes_of(&view);
    uint8_t *scores = page->data + SCORE_PAGE_HEAD_BYTES, *ends = scores + 8 * (n - gone),
            *members = ends + width * (n - gone);
    memmove(scores + 8 * (size_t)from, scores + 8 * (size_t)to, 8 * (n - to));
    memmove(ends, view.ends, width * from);
    memmove(ends + width * from, view.ends + width * to, width * (n - to));
    for (size_t i = from; i < n - gone; i++) {
        uint32_t old = view.wide ? bytes_load32(ends + 4 * i) : bytes_load16(ends + 2 * i);
        store_end(ends, view.wide, i, old - (end - begin));
    }
    memmove(members, view.members, begin);
    memmove(members + begin, view.members + end, all - end);
    page_set_count(page, (uint32_t)(n - gone));
    page->bytes -= (uint32_t)((8 + width) * gone) + (end - begin);
}

void score_page_set_score(struct page *page, uint32_t index, double score) {
    memcpy(page->data + SCORE_PAGE_HEAD_BYTES + 8 * (size_t)index, &score, sizeof score);
}

/* Put the elements [from, to) of ${view} behind the ${count} there are, whose members end at ${end}; the page
 * is laid out for ${room} elements. */
static void page_fill(struct page *page, size_t room, unsigned wide, uint32_t count, uint32_t end,
                      const struct score_view *view, uint32_t from, uint32_t to) {
    uint8_t *scores = page->data + SCORE_PAGE_HEAD_BYTES, *ends = scores + 8 * room,
            *members = ends + end_bytes(wide) * room;
    uint32_t begin = score_view_begin(view, from);
    memcpy(scores + 8 * (size_t)count, view->scores + 8 * (size_t)from, 8 * (size_t)(to - from));
    for (uint32_t i = from; i < to; i++)
        store_end(ends, wide, count + (size_t)(i - from), end + score_view_end(view, i) - begin);
    memcpy(members + end, view->members + begin, score_view_begin(view, to) - begin);
}

struct page *score_page_part(const struct score_view *view, uint32_t from, uint32_t to) {
    size_t bytes = score_page_bytes_of(view, from, to);
    unsigned wide = score_view_begin(view, to) - score_view_begin(view, from) > NARROW_END_MAX;
    FIRN_ASSERT(from < to && to <= view->count);
    struct page *page = page_try_create(bytes);
    if (page == NULL) return NULL;
    page_begin(page, wide);
    page_fill(page, to - from, wide, 0, 0, view, from, to);
    page_set_count(page, to - from);
    page->bytes = (uint32_t)bytes;
    return page;
}

struct page *score_page_join(const struct score_view *a, const struct score_view *b) {
    uint32_t a_bytes = members_bytes_of(a), b_bytes = members_bytes_of(b);
    size_t room = (size_t)a->count + b->count, bytes = page_bytes(room, (size_t)a_bytes + b_bytes);
    unsigned wide = (size_t)a_bytes + b_bytes > NARROW_END_MAX;
    struct page *page = page_try_create(bytes);
    if (page == NULL) return NULL;
    page_begin(page, wide);
    page_fill(page, room, wide, 0, 0, a, 0, a->count);
    page_fill(page, room, wide, a->count, a_bytes, b, 0, b->count);
    page_set_count(page, (uint32_t)room);
    page->bytes = (uint32_t)bytes;
    return page;
}
