/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Intersection, union and difference of sets and sorted sets that need not fit into memory, in turns
 * (turns.h). The inputs are held as they are when the command comes: lists of page references with the
 * smallest hash of each page. All are in order of the same hash (of a sorted set: the pages that find a score
 * by member), so the walk goes through the hash space once: what it adds to the result goes to ever higher
 * pages (those behind it are demoted while it goes on), and what it looks up in other inputs is near the
 * place where it looked before. What becomes of the members found is the result's (struct
 * algebra_result_ops).
 *
 * An intersection or a difference walks its first input; a union all of them, whichever has the smallest hash
 * next. A union with scores takes a member when it meets it in the first input that has it, and looks it up
 * in those after; one without takes it from each.
 *
 * Executor only.
 */
#include "cmd/algebra_turns.h"

#include <math.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/stream_reply.h"
#include "cmd/turns.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/held_pages.h"
#include "types/intset_page.h"
#include "types/packed_collection.h"
#include "types/score_page.h"
#include "types/set.h"
#include "types/zset.h"

#define TURN_MEMBERS       1000u /* looked at in one turn */
#define TURN_SCORED        250u  /* the same with scores */
#define CHUNK_MEMBERS      64u   /* whose pages in other inputs are asked for together */
#define READ_AHEAD         16u   /* pages of the walked input */
#define WAITS_MAX          100u  /* for room */
#define RESIDENT_PAGES_MAX 2048u /* in DRAM, gone through in one turn */

enum page_kind { PACKED, INTEGERS, SCORED }; /* SCORED: a small sorted set's */

/* An input as it was. */
struct source {
    uint64_t *refs, *starts; /* parts of the arrays of the work */
    size_t count;
    size_t first;  /* number of refs[0] among the held */
    size_t next;   /* the page being walked */
    size_t passed; /* pages before it have been given back */
    enum page_kind kind;
    int has_scores; /* of PACKED */
    double weight;
};

struct algebra_turns {
    struct turns turns;
    struct algebra_plan plan;
    void *result;
    struct held_pages *held; /* of all sources, one after the other */
    uint64_t *starts;
    struct tier_hold *hold;
    uint64_t found;
    int walked;    /* everything */
    size_t member; /* of the page being walked: the first not done with */
    unsigned waits;
    struct source sources[];
};

static int algebra_turn(struct turns *turns, struct call *call);
static void algebra_destroy(struct turns *turns);

/* --- scores --- */

double algebra_weighted(double weight, double score) {
    double product = weight * score;
    return isnan(product) ? 0 : product;
}

double algebra_aggregated(enum algebra_aggregate aggregate, double a, double b) {
    double sum;
    switch (aggregate) {
    case MIN: return b < a ? b : a; /* a, if b is no number (infinite times 0) */
    case MAX: return b > a ? b : a;
    default: sum = a + b; return isnan(sum) ? 0 : sum; /* inf and -inf */
    }
}

/* --- start and end --- */

static size_t source_pages(const struct entry *entry) {
    size_t pages = 0;
    if (entry_type(entry) == TYPE_ZSET) {
        pages = zset_member_pages(entry, NULL, NULL);
    } else if (packed_collection_of(entry) != NULL) {
        pages = packed_collection_of(entry)->head.pages;
    }
    return pages > 0 ? pages : entry_ref(entry) != 0;
}

int algebra_turns_apply(const struct call *call, const struct algebra_plan *plan) {
    size_t pages = 0;
    int resident = 1;
    for (size_t i = 0; i < plan->count; i++) {
        const struct entry *entry = plan->inputs[i];
        pages += source_pages(entry);
        resident &= entry_type(entry) == TYPE_ZSET ? zset_is_resident(entry) : set_is_resident(entry);
    }
    return pages > (resident ? RESIDENT_PAGES_MAX : STREAM_PAGES_MIN) && turns_apply(call);
}

static void source_open(struct source *source, const struct entry *entry, double weight, uint64_t *refs,
                        uint64_t *starts) {
    int is_zset = entry_type(entry) == TYPE_ZSET;
    *source = (struct source){.refs = refs, .starts = starts, .has_scores = is_zset, .weight = weight};
    if (page_ref_tag(entry_ref(entry)) == PAGE_TAG_OBJECT) {
        source->count = is_zset
                            ? zset_member_pages(entry, refs, starts)
                            : page_directory_ranges(&packed_collection_of(entry)->directory, refs, starts);
        return;
    }
    source->kind = is_zset ? SCORED : entry_encoding(entry) == ENCODING_INTSET ? INTEGERS : PACKED;
    source->count = entry_ref(entry) != 0;
    if (source->count == 0) return;
    refs[0] = entry_ref(entry);
    starts[0] = 0;
}

int algebra_turns_start(struct call *call, const struct algebra_plan *plan, void *result) {
    struct algebra_turns *work = memory_alloc_zero(sizeof *work + plan->count * sizeof work->sources[0]);
    work->turns = (struct turns){.turn = algebra_turn, .destroy = algebra_destroy};
    work->plan = *plan;
    work->result = result;
    size_t pages = 0, at = 0;
    for (size_t i = 0; i < plan->count; i++)
        pages += source_pages(plan->inputs[i]);
    uint64_t *refs = stream_reply_refs(pages);
    work->starts = memory_alloc(pages * sizeof work->starts[0]);
    for (size_t i = 0; i < plan->count; i++) {
        struct source *source = &work->sources[i];
        source_open(source, plan->inputs[i], plan->weights != NULL ? plan->weights[i] : 1, refs + at,
                    work->starts + at);
        source->first = at;
        at += source->count;
    }
    FIRN_ASSERT(at == pages);
    work->plan.inputs = NULL;
    if (plan->weights != NULL) work->plan.weights = &work->sources[0].weight; /* only that there are some */
    work->hold = tier_hold(refs, pages);
    work->held = held_pages_create(refs, pages);
    return turns_start(call, &work->turns);
}

static void algebra_destroy(struct turns *turns) {
    struct algebra_turns *work = (struct algebra_turns *)turns;
    tier_release(work->hold);
    held_pages_destroy(work->held);
    memory_free(work->starts);
    if (work->plan.ops != NULL) work->plan.ops->destroy(work->result);
    memory_free(work);
}

/* --- what is walked, and what is done with --- */

static size_t walked_count(const struct algebra_turns *work) {
    return work->plan.kind == UNION ? work->plan.count : 1;
}

/* The source whose page is walked next: a union goes to the smallest hash; NULL: all is walked. */
static struct source *walked_source(struct algebra_turns *work) {
    struct source *best = NULL;
    for (size_t i = 0; i < walked_count(work); i++) {
        struct source *source = &work->sources[i];
        if (source->next == source->count) continue;
        if (best == NULL || source->starts[source->next] < best->starts[best->next]) best = source;
    }
    return best;
}

/* The walk has come to hashes from ${start} on: give back pages that hold only what is before that. */
static void pass_pages(struct algebra_turns *work, uint64_t start) {
    for (size_t i = 0; i < work->plan.count; i++) {
        struct source *source = &work->sources[i];
        size_t end = i < walked_count(work) ? source->next : source->count;
        while (source->passed < end && source->passed + 1 < source->count &&
               source->starts[source->passed + 1] <= start) {
            held_pages_release(work->held, source->first + source->passed++);
        }
    }
}

/* --- looking up --- */

/* The page of ${source} in which ${hash} would be, or NULL. */
static const uint64_t *source_page(const struct source *source, uint64_t hash) {
    size_t low = source->passed, high = source->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (source->starts[middle] <= hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low > source->passed ? &source->refs[low - 1] : NULL;
}

static int find_in_integers(struct bytes payload, struct bytes member) {
    struct intset_view view;
    int64_t number;
    uint32_t index;
    int error = intset_page_open(payload, &view);
    if (error != 0) return error;
    return number_parse_int(member, &number) == 0 && intset_page_find(&view, number, &index) ? 0
                                                                                             : FIRN_ENOTFOUND;
}

static int find_in_scored(struct bytes payload, struct bytes member, double *score_out) {
    struct score_view view;
    uint32_t index;
    int error = score_page_open(payload, 1, &view);
    if (error != 0) return error;
    if (!score_view_find(&view, member, &index)) return FIRN_ENOTFOUND;
    *score_out = score_view_score(&view, index);
    return 0;
}

/* 0 with the score of ${member} (1 in a set), FIRN_ENOTFOUND, or an error. */
static int source_find(const struct source *source, struct bytes member, uint64_t hash, double *score_out) {
    const uint64_t *ref = source_page(source, hash);
    struct bytes payload;
    struct packed_entry found;
    *score_out = 1;
    if (ref == NULL) return FIRN_ENOTFOUND;
    int error = page_peek(*ref, &payload, NULL);
    if (error != 0) return packed_error(error);
    if (source->kind == INTEGERS) return find_in_integers(payload, member);
    if (source->kind == SCORED) return find_in_scored(payload, member, score_out);
    error = packed_page_find(payload, hash, member, &found);
    return error == 0 && source->has_scores ? zset_page_score(found.value, score_out) : error;
}

/* --- members of the walked page --- */

struct page_walk {
    const struct source *source;
    struct packed_cursor cursor;
    struct intset_view integers;
    struct score_view scored;
    uint32_t index;
    char digits[NUMBER_INT_TEXT_MAX];
};

static int page_walk_begin(struct page_walk *walk, const struct source *source, struct bytes payload) {
    walk->source = source;
    walk->index = 0;
    switch (source->kind) {
    case INTEGERS: return intset_page_open(payload, &walk->integers);
    case SCORED: return score_page_open(payload, 1, &walk->scored);
    default: return packed_page_begin(payload, &walk->cursor);
    }
}

/* 1 with a member and its score; 0 at the end. */
static int page_walk_next(struct page_walk *walk, struct bytes *member_out, double *score_out) {
    struct packed_entry entry;
    *score_out = 1;
    if (walk->source->kind == INTEGERS) {
        if (walk->index == walk->integers.count) return 0;
        int64_t number = intset_page_at(&walk->integers, walk->index++);
        *member_out = bytes_of(walk->digits, number_format_int(number, walk->digits));
        return 1;
    }
    if (walk->source->kind == SCORED) {
        if (walk->index == walk->scored.count) return 0;
        *score_out = score_view_score(&walk->scored, walk->index);
        *member_out = score_view_member(&walk->scored, walk->index++);
        return 1;
    }
    int got = packed_page_next(&walk->cursor, &entry);
    if (got != 1) return got;
    *member_out = entry.field;
    int error = walk->source->has_scores ? zset_page_score(entry.value, score_out) : 0;
    return error != 0 ? error : 1;
}

/* Whether members are looked up in inputs that are not walked at the time. */
static int looks_up(const struct algebra_turns *work) {
    return work->plan.count > 1 && (work->plan.kind != UNION || work->plan.weights != NULL);
}

/* Ask for the pages that the members from ${walk} on need in the other sources. */
static int touch_chunk(const struct algebra_turns *work, struct page_walk walk) {
    int result = 0, got = 0;
    struct bytes member;
    double score;
    for (unsigned i = 0; i < CHUNK_MEMBERS && (got = page_walk_next(&walk, &member, &score)) == 1; i++) {
        uint64_t hash = hash_key(member);
        for (size_t other = 0; other < work->plan.count; other++) {
            if (&work->sources[other] == walk.source) continue;
            const uint64_t *ref = source_page(&work->sources[other], hash);
            int error = ref != NULL ? packed_touch_ref(*ref) : 0;
            if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        }
    }
    return got < 0 ? got : result;
}

/* --- taking members --- */

/* Whether ${member} of ${source} is part of the result (1, 0, or an error), and what its score becomes. */
static int combine(const struct algebra_turns *work, const struct source *source, struct bytes member,
                   uint64_t hash, double *score_inout) {
    const struct algebra_plan *plan = &work->plan;
    double sum = algebra_weighted(source->weight, *score_inout), score;
    for (size_t i = 0; looks_up(work) && i < plan->count; i++) {
        const struct source *other = &work->sources[i];
        if (other == source) continue;
        int error = source_find(other, member, hash, &score);
        if (error != 0 && error != FIRN_ENOTFOUND) return error;
        if (plan->kind == UNION) {
            if (error == 0 && other < source) return 0; /* taken there */
            if (error == 0)
                sum = algebra_aggregated(plan->aggregate, sum, algebra_weighted(other->weight, score));
        } else {
            if ((error == 0) != (plan->kind == INTERSECTION)) return 0;
            if (error == 0) sum = algebra_aggregated(plan->aggregate, sum, score * other->weight);
        }
    }
    if (plan->weights != NULL && plan->kind != DIFFERENCE) *score_inout = sum;
    return 1;
}

/* 0, FIRN_EFAULT (come again with it), or another error. *stop_out: the limit is reached. */
static int take_member(struct algebra_turns *work, struct call *call, const struct source *source,
                       struct bytes member, double score, int *stop_out) {
    uint64_t hash = hash_key(member);
    int is_in = combine(work, source, member, hash, &score);
    if (is_in != 1) return is_in;
    int error = work->plan.ops != NULL ? work->plan.ops->take(work->result, call, member, hash, score) : 0;
    if (error != 0) return error;
    work->found++;
    *stop_out = work->plan.limit != 0 && work->found == work->plan.limit;
    return 0;
}

/* Walk on in the page under source->next, at most ${limit} members. *stop_out: enough. */
static int walk_page(struct algebra_turns *work, struct call *call, struct source *source,
                     unsigned *limit_inout, int *stop_out) {
    struct page_walk walk;
    struct bytes payload, member;
    double score;
    int error = page_peek(source->refs[source->next], &payload, NULL), got = 1;
    for (size_t i = 1; error == FIRN_EFAULT && i < READ_AHEAD && source->next + i < source->count; i++) {
        int ahead = packed_touch_ref(source->refs[source->next + i]); /* more than one at once */
        if (ahead != 0 && ahead != FIRN_EFAULT) break;                /* its turn comes */
    }
    if (error == 0) error = page_walk_begin(&walk, source, payload);
    for (size_t i = 0; error == 0 && got == 1 && i < work->member; i++)
        got = page_walk_next(&walk, &member, &score);
    for (unsigned chunk = 0; error == 0 && !*stop_out && *limit_inout > 0; --*limit_inout, chunk++) {
        if (chunk % CHUNK_MEMBERS == 0 && looks_up(work)) error = touch_chunk(work, walk);
        if (error == 0) got = page_walk_next(&walk, &member, &score);
        if (error != 0 || got != 1) break;
        error = take_member(work, call, source, member, score, stop_out);
        if (error != 0) break;
        work->member++;
        work->turns.progressed = 1;
    }
    if (error != 0) return packed_error(error);
    if (got < 0) return got;
    if (got == 0) {
        work->member = 0;
        source->next++;
    }
    return 0;
}

/* --- turns --- */

int algebra_turns_admit(struct call *call, unsigned *waits_inout) {
    int64_t delay_us = 0;
    const char *message = NULL;
    enum tier_admission admission = tier_admit(&delay_us, &message);
    if (admission == TIER_REFUSE) {
        reply_error(call->reply, message);
        return FIRN_ENOSPACE;
    }
    if (admission != TIER_ADMIT && (admission == TIER_PARK || delay_us >= 100) && ++*waits_inout < WAITS_MAX)
        return FIRN_EBUSY;
    *waits_inout = 0;
    return 0;
}

static int algebra_turn(struct turns *turns, struct call *call) {
    struct algebra_turns *work = (struct algebra_turns *)turns;
    unsigned limit = work->plan.weights != NULL ? TURN_SCORED : TURN_MEMBERS;
    int stop = 0, error;
    while (!work->walked && limit > 0) {
        struct source *source = walked_source(work);
        if (source == NULL || stop) {
            work->walked = 1;
            work->turns.progressed = 1;
            break;
        }
        error = work->plan.ops != NULL ? algebra_turns_admit(call, &work->waits) : 0;
        if (error != 0) return error == FIRN_ENOSPACE ? 0 : error;
        uint64_t start = source->starts[source->next];
        pass_pages(work, start);
        if (work->plan.ops != NULL) work->plan.ops->passed(work->result, start);
        error = walk_page(work, call, source, &limit, &stop);
        if (error != 0) return error;
        if (stop) work->walked = 1;
    }
    if (!work->walked) return FIRN_EPARKED;
    if (work->plan.ops != NULL) return work->plan.ops->finish(work->result, call, &work->turns.progressed);
    reply_integer(call->reply, (int64_t)work->found);
    return 0;
}
