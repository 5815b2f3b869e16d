/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Intersection, union and difference of sets that need not fit into memory, in turns (turns.h). The sets are
 * held as they are when the command comes: lists of page references with the smallest hash of each page. All
 * sets are in order of the same hash, so the walk goes through the hash space once: what it adds to the
 * result goes to ever higher pages (those behind it are demoted while it goes on), and what it looks up in
 * other sets is near the place where it looked before.
 *
 * The result is a set in no table; it is put under its key, or replied, at the end. It is that of the moment
 * when the command came; other clients' commands run in between.
 *
 * Executor only.
 */
#include "cmd/cmd_set_turns.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "cmd/cmd_set_internal.h"
#include "cmd/collection_walk.h"
#include "cmd/stream_reply.h"
#include "cmd/turns.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/intset_page.h"
#include "types/packed_collection.h"

#define TURN_MEMBERS  1000u /* looked at in one turn */
#define CHUNK_MEMBERS 64u   /* whose pages in other sets are asked for together */
#define READ_AHEAD    16u   /* pages of the walked set */
#define SWEEP_PAGES   256u  /* of the result, behind the walk */
#define WAITS_MAX     100u /* for room; then it goes on, as that lets go of pages that nobody else can move */

/* A set as it was. */
struct source {
    uint64_t *refs, *starts; /* parts of the arrays of the work */
    size_t count, next;      /* next: pages before it are done with */
    int is_integers;
};

struct set_turns {
    struct turns turns;
    struct set_turns_plan plan;
    uint64_t *refs, *starts; /* of all sources */
    size_t page_count;
    struct tier_hold *hold;
    struct entry *result;
    uint64_t found;
    int walked;    /* the result is complete */
    size_t member; /* of the page being walked: the first not done with */
    unsigned leads;
    unsigned waits; /* for room, since the last turn that went on */
    struct source sources[];
};

static int set_turn(struct turns *turns, struct call *call);
static void set_destroy(struct turns *turns);

/* --- start and end --- */

static size_t source_pages(const struct entry *set) {
    const struct packed_collection *collection = packed_collection_of(set);
    return collection != NULL ? collection->head.pages : entry_ref(set) != 0;
}

int cmd_set_turns_apply(const struct call *call, const struct set_turns_plan *plan) {
    size_t pages = 0;
    int resident = 1;
    for (size_t i = 0; i < plan->count; i++) {
        pages += source_pages(plan->sets[i]);
        resident &= set_is_resident(plan->sets[i]);
    }
    return pages > STREAM_PAGES_MIN && !resident && turns_apply(call);
}

static void source_open(struct source *source, const struct entry *set, uint64_t *refs, uint64_t *starts) {
    const struct packed_collection *collection = packed_collection_of(set);
    *source = (struct source){.refs = refs, .starts = starts};
    if (collection != NULL) {
        source->count = page_directory_ranges(&collection->directory, refs, starts);
        return;
    }
    source->is_integers = entry_encoding(set) == ENCODING_INTSET;
    source->count = entry_ref(set) != 0;
    if (source->count == 0) return;
    refs[0] = entry_ref(set);
    starts[0] = 0;
}

int cmd_set_turns_start(struct call *call, const struct set_turns_plan *plan) {
    struct set_turns *work = memory_alloc_zero(sizeof *work + plan->count * sizeof work->sources[0]);
    work->turns = (struct turns){.turn = set_turn, .destroy = set_destroy};
    work->plan = *plan;
    work->plan.sets = NULL;
    for (size_t i = 0; i < plan->count; i++)
        work->page_count += source_pages(plan->sets[i]);
    work->refs = stream_reply_refs(work->page_count);
    work->starts = memory_alloc(work->page_count * sizeof work->starts[0]);
    size_t at = 0;
    for (size_t i = 0; i < plan->count; i++) {
        source_open(&work->sources[i], plan->sets[i], work->refs + at, work->starts + at);
        at += work->sources[i].count;
    }
    FIRN_ASSERT(at == work->page_count);
    stream_reply_retain(work->refs, work->page_count);
    work->hold = tier_hold(work->refs, work->page_count);
    return turns_start(call, &work->turns);
}

/* The page under source->next is done with. */
static void source_pass(struct source *source) {
    uint64_t *ref = &source->refs[source->next++];
    if (page_ref_tag(*ref) == PAGE_TAG_DRAM) page_release(*ref);
    *ref = 0;
}

static void set_destroy(struct turns *turns) {
    struct set_turns *work = (struct set_turns *)turns;
    tier_release(work->hold);
    stream_reply_leave(work->refs, work->page_count, 0);
    memory_free(work->starts);
    cmd_set__discard(work->result);
    memory_free(work);
}

/* --- looking up --- */

/* The page of ${source} in which ${hash} would be, or NULL. */
static const uint64_t *source_page(const struct source *source, uint64_t hash) {
    size_t low = source->next, high = source->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (source->starts[middle] <= hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low > source->next ? &source->refs[low - 1] : NULL;
}

static int source_has(const struct source *source, struct bytes member, uint64_t hash) {
    const uint64_t *ref = source_page(source, hash);
    struct bytes payload;
    struct packed_entry found;
    if (ref == NULL) return FIRN_ENOTFOUND;
    int error = page_peek(*ref, &payload, NULL);
    if (error != 0) return packed_error(error);
    if (!source->is_integers) return packed_page_find(payload, hash, member, &found);
    struct intset_view view;
    int64_t number;
    uint32_t index;
    error = intset_page_open(payload, &view);
    if (error != 0) return error;
    return number_parse_int(member, &number) == 0 && intset_page_find(&view, number, &index) ? 0
                                                                                             : FIRN_ENOTFOUND;
}

/* --- members of the walked page --- */

struct page_walk {
    int is_integers;
    struct packed_cursor cursor;
    struct intset_view view;
    uint32_t index;
    char digits[NUMBER_INT_TEXT_MAX];
};

static int page_walk_begin(struct page_walk *walk, int is_integers, struct bytes payload) {
    walk->is_integers = is_integers;
    walk->index = 0;
    return is_integers ? intset_page_open(payload, &walk->view) : packed_page_begin(payload, &walk->cursor);
}

/* 1 with a member; 0 at the end. */
static int page_walk_next(struct page_walk *walk, struct bytes *member_out) {
    struct packed_entry entry;
    if (walk->is_integers) {
        if (walk->index == walk->view.count) return 0;
        int64_t number = intset_page_at(&walk->view, walk->index++);
        *member_out = bytes_of(walk->digits, number_format_int(number, walk->digits));
        return 1;
    }
    int got = packed_page_next(&walk->cursor, &entry);
    if (got == 1) *member_out = entry.field;
    return got;
}

/* Ask for the pages that the members from ${walk} on need in the other sources. */
static int touch_chunk(const struct set_turns *work, struct page_walk walk) {
    int result = 0, got = 0;
    struct bytes member;
    for (unsigned i = 0; i < CHUNK_MEMBERS && (got = page_walk_next(&walk, &member)) == 1; i++) {
        uint64_t hash = hash_key(member);
        for (size_t other = 1; other < work->plan.count; other++) {
            const uint64_t *ref = source_page(&work->sources[other], hash);
            int error = ref != NULL ? packed_touch_ref(*ref) : 0;
            if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        }
    }
    return got < 0 ? got : result;
}

/* 0, FIRN_EFAULT (come again with it), or another error. *stop_out: the limit is reached. */
static int take_member(struct set_turns *work, struct call *call, struct bytes member, int *stop_out) {
    if (work->plan.kind != UNION) {
        uint64_t hash = hash_key(member);
        for (size_t other = 1; other < work->plan.count; other++) {
            int error = source_has(&work->sources[other], member, hash);
            if (error != 0 && error != FIRN_ENOTFOUND) return error;
            if ((error == 0) != (work->plan.kind == INTERSECTION)) return 0;
        }
    }
    if (!work->plan.only_count) {
        if (work->result == NULL) work->result = set_create(call->argv[1], member, 1);
        int error = set_add(work->result, member, 0, NULL);
        if (error != 0) return error;
    }
    work->found++;
    *stop_out = work->plan.limit != 0 && work->found == work->plan.limit;
    return 0;
}

/* The source whose page is walked next: a union goes to the smallest hash; NULL: all is walked. */
static struct source *walked_source(struct set_turns *work) {
    struct source *best = NULL;
    size_t count = work->plan.kind == UNION ? work->plan.count : 1;
    for (size_t i = 0; i < count; i++) {
        struct source *source = &work->sources[i];
        if (source->next == source->count) continue;
        if (best == NULL || source->starts[source->next] < best->starts[best->next]) best = source;
    }
    return best;
}

/* The walk has come to hashes from ${start} on: pages of the others before that are done with. */
static void pass_others(struct set_turns *work, uint64_t start) {
    if (work->plan.kind == UNION) return;
    for (size_t i = 1; i < work->plan.count; i++) {
        struct source *other = &work->sources[i];
        while (other->next + 1 < other->count && other->starts[other->next + 1] <= start)
            source_pass(other);
    }
}

/* What was added lately is what can go down, but the sweep for victims would look for it among all that is
 * below already: lead it there, most of the time. */
static void lead_sweep(struct set_turns *work, uint64_t start) {
    struct packed_collection *result = work->result != NULL ? packed_collection_of(work->result) : NULL;
    if (result == NULL || result->head.pages < 2 * SWEEP_PAGES || ++work->leads % 8 == 0) return;
    uint64_t low = start - start / result->head.pages * SWEEP_PAGES;
    if (result->head.sweep < low || result->head.sweep > start) result->head.sweep = low;
}

/* Walk on in the page under source->next, at most ${limit} members. *stop_out: enough. */
static int walk_page(struct set_turns *work, struct call *call, struct source *source, unsigned *limit_inout,
                     int *stop_out) {
    struct page_walk walk;
    struct bytes payload, member;
    int error = page_peek(source->refs[source->next], &payload, NULL), got = 1;
    for (size_t i = 1; error == FIRN_EFAULT && i < READ_AHEAD && source->next + i < source->count; i++) {
        int ahead = packed_touch_ref(source->refs[source->next + i]); /* more than one at once */
        if (ahead != 0 && ahead != FIRN_EFAULT) break;                /* its turn comes */
    }
    if (error == 0) error = page_walk_begin(&walk, source->is_integers, payload);
    for (size_t i = 0; error == 0 && got == 1 && i < work->member; i++)
        got = page_walk_next(&walk, &member);
    for (unsigned chunk = 0; error == 0 && !*stop_out && *limit_inout > 0; --*limit_inout, chunk++) {
        if (chunk % CHUNK_MEMBERS == 0 && work->plan.kind != UNION) error = touch_chunk(work, walk);
        if (error == 0) got = page_walk_next(&walk, &member);
        if (error != 0 || got != 1) break;
        error = take_member(work, call, member, stop_out);
        if (error != 0) break;
        work->member++;
        work->turns.progressed = 1;
    }
    if (error != 0) return packed_error(error);
    if (got < 0) return got;
    if (got == 0) {
        work->member = 0;
        source_pass(source);
    }
    return 0;
}

/* --- the end --- */

static int reply_result(struct set_turns *work, struct call *call) {
    if (work->plan.only_count) {
        reply_integer(call->reply, (int64_t)work->found);
        return 0;
    }
    if (work->plan.event != NULL) return cmd_set__store(call, &work->result, work->plan.event);
    if (work->result != NULL) return cmd_set__reply_all(call, work->result, 1);
    reply_set(call->reply, 0);
    return 0;
}

/* Whether there is room for more of the result: 0, FIRN_EBUSY (later), or FIRN_ENOSPACE with the error
 * replied. */
static int admit(struct call *call) {
    int64_t delay_us = 0;
    const char *message = NULL;
    switch (tier_admit(&delay_us, &message)) {
    case TIER_ADMIT: return 0;
    case TIER_DELAY: return delay_us < 100 ? 0 : FIRN_EBUSY;
    case TIER_PARK: return FIRN_EBUSY;
    case TIER_REFUSE: break;
    }
    reply_error(call->reply, message);
    return FIRN_ENOSPACE;
}

static int set_turn(struct turns *turns, struct call *call) {
    struct set_turns *work = (struct set_turns *)turns;
    unsigned limit = TURN_MEMBERS;
    int stop = 0;
    while (!work->walked && limit > 0) {
        struct source *source = walked_source(work);
        if (source == NULL || stop) {
            work->walked = 1;
            work->turns.progressed = 1;
            break;
        }
        lead_sweep(work, source->starts[source->next]);
        int error = work->plan.only_count ? 0 : admit(call);
        if (error == FIRN_ENOSPACE) return 0;
        if (error == FIRN_EBUSY && ++work->waits < WAITS_MAX) return error;
        work->waits = 0;
        pass_others(work, source->starts[source->next]);
        error = walk_page(work, call, source, &limit, &stop);
        if (error != 0) return error;
        if (stop) work->walked = 1;
    }
    return work->walked ? reply_result(work, call) : FIRN_EPARKED;
}
