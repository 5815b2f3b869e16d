/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building large sorted sets (zset_builder.h). A run is itself the ordered half of a sorted set: of (score,
 * member), or, when elements come by score, of (hash, score and member), the hash as the score (its upper 53
 * bits, which a double holds; the order of the rest does not matter).
 *
 * A result that turns out small is put together anew as a small one.
 */
#include "cmd/zset_builder.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/hash.h"
#include "base/memory.h"
#include "cmd/cmd_zset_internal.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/score_page.h"
#include "types/zset.h"

#define RUN_PART      32u /* of maxmemory */
#define RUN_BYTES_MIN (256u << 10)
#define RUN_BYTES_MAX (16u << 20)
#define ELEMENT_BYTES 10u /* of an element besides its member */
#define SMALL_SIZE    1024u
#define TURN_ELEMENTS 500u
#define SCORE_BYTES   8u

struct run {
    struct entry *entry;
    uint64_t page;    /* taken out of it, still to be read; 0: none */
    uint8_t *content; /* of the page being merged */
    struct score_view view;
    uint32_t next; /* element of it */
};

struct zset_builder {
    enum zset_builder_order order;
    struct entry *result, *small; /* small: the result, if it is */
    struct run *runs;
    size_t run_count;
    struct run **heap; /* of those that are not over; the one with the least element on top */
    size_t heap_count;
    uint64_t run_bytes, run_bytes_max; /* of the last run */
    uint64_t elements;
    int half_done; /* of the element that is being added */
    int merging;
    struct bytes_builder scratch;
};

struct zset_builder *zset_builder_create(struct bytes key, enum zset_builder_order order) {
    struct zset_builder *builder = memory_alloc_zero(sizeof *builder);
    struct tier_totals totals;
    tier_totals(&totals);
    builder->order = order;
    builder->result = zset_build(key);
    builder->run_bytes_max = totals.memory_max / RUN_PART;
    if (builder->run_bytes_max < RUN_BYTES_MIN) builder->run_bytes_max = RUN_BYTES_MIN;
    if (builder->run_bytes_max > RUN_BYTES_MAX) builder->run_bytes_max = RUN_BYTES_MAX;
    return builder;
}

void zset_builder_destroy(struct zset_builder *builder) {
    if (builder == NULL) return;
    for (size_t i = 0; i < builder->run_count; i++) {
        cmd_zset__discard(builder->runs[i].entry);
        page_release(builder->runs[i].page);
        memory_free(builder->runs[i].content);
    }
    cmd_zset__discard(builder->result);
    cmd_zset__discard(builder->small);
    memory_free(builder->runs);
    memory_free(builder->heap);
    bytes_builder_fini(&builder->scratch);
    memory_free(builder);
}

/* --- adding --- */

/* The run that takes the next element. */
static struct run *run_open(struct zset_builder *builder) {
    if (builder->run_count > 0 && builder->run_bytes < builder->run_bytes_max)
        return &builder->runs[builder->run_count - 1];
    builder->runs = memory_realloc(builder->runs, (builder->run_count + 1) * sizeof builder->runs[0]);
    struct run *run = &builder->runs[builder->run_count++];
    *run = (struct run){.entry = zset_build(bytes_of("", 0))};
    builder->run_bytes = 0;
    return run;
}

int zset_builder_add(struct zset_builder *builder, struct bytes member, uint64_t hash, double score) {
    struct bytes in_run = member;
    double run_score = score;
    if (builder->order == ZSET_BUILDER_BY_SCORE) {
        bytes_builder_clear(&builder->scratch);
        bytes_builder_append(&builder->scratch, &score, SCORE_BYTES);
        bytes_builder_append(&builder->scratch, member.data, member.size);
        in_run = bytes_builder_bytes(&builder->scratch);
        run_score = (double)(hash >> 11);
    }
    struct run *run = run_open(builder);
    int error = 0;
    if (!builder->half_done)
        error = builder->order == ZSET_BUILDER_BY_HASH ? zset_build_member(builder->result, member, score)
                                                       : zset_build_element(builder->result, member, score);
    if (error != 0) return error;
    builder->half_done = 1;
    error = zset_build_element(run->entry, in_run, run_score);
    if (error != 0) return error;
    builder->half_done = 0;
    builder->run_bytes += in_run.size + ELEMENT_BYTES;
    builder->elements++;
    return 0;
}

void zset_builder_passed(struct zset_builder *builder, uint64_t hash) {
    zset_build_passed(builder->result, hash);
}

/* --- merging --- */

/* Make sure the next element of ${run} is at hand: 0, or FIRN_ENOTFOUND: it is over. */
static int run_read(struct run *run) {
    struct bytes payload;
    uint64_t after;
    if (run->next < run->view.count) return 0;
    if (run->page == 0) {
        run->page = zset_build_take(run->entry, &after);
        if (run->page == 0) return FIRN_ENOTFOUND;
        if (page_ref_tag(after) == PAGE_TAG_NVME) tier_prefetch(after);
    }
    int error = page_peek(run->page, &payload, NULL);
    if (error != 0) return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
    run->content = memory_realloc(run->content, payload.size);
    memcpy(run->content, payload.data, payload.size);
    error = score_page_open(bytes_of(run->content, payload.size), 1, &run->view);
    if (error != 0) return error;
    page_release(run->page);
    run->page = 0;
    run->next = 0;
    return 0;
}

static int is_before(const struct run *a, const struct run *b) {
    double score = score_view_score(&b->view, b->next);
    struct score_key key = {.score = score, .member = score_view_member(&b->view, b->next)};
    return score_key_passes(&key, score_view_score(&a->view, a->next), score_view_member(&a->view, a->next));
}

static void heap_sink(struct zset_builder *builder, size_t at) {
    struct run **heap = builder->heap, *moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < builder->heap_count; at = child) {
        if (child + 1 < builder->heap_count && is_before(heap[child + 1], heap[child])) child++;
        if (!is_before(heap[child], moving)) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* All runs show their first element; asks for the pages of all at once. */
static int merge_begin(struct zset_builder *builder) {
    int result = 0;
    for (size_t i = 0; i < builder->run_count; i++) {
        int error = run_read(&builder->runs[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    if (result != 0) return result;
    builder->heap = memory_alloc(builder->run_count * sizeof builder->heap[0]);
    for (size_t i = 0; i < builder->run_count; i++)
        builder->heap[builder->heap_count++] = &builder->runs[i];
    for (size_t i = builder->heap_count / 2; i-- > 0;)
        heap_sink(builder, i);
    if (builder->order == ZSET_BUILDER_BY_HASH &&
        builder->elements <= (SMALL_SIZE > type_limits.zset_max_listpack_entries
                                  ? SMALL_SIZE
                                  : type_limits.zset_max_listpack_entries))
        builder->small = zset_create(entry_key(builder->result), SIZE_MAX, 0);
    builder->merging = 1;
    return 0;
}

/* The next element of ${run} goes where it is still missing. */
static int merge_one(struct zset_builder *builder, const struct run *run) {
    struct bytes member = score_view_member(&run->view, run->next);
    double score = score_view_score(&run->view, run->next);
    enum zset_outcome outcome;
    if (builder->small != NULL) return zset_put(builder->small, member, score, 0, &outcome, &score);
    if (builder->order == ZSET_BUILDER_BY_HASH) return zset_build_element(builder->result, member, score);
    if (member.size < SCORE_BYTES) return FIRN_ECORRUPT;
    memcpy(&score, member.data, SCORE_BYTES);
    return zset_build_member(builder->result, bytes_of(member.data + SCORE_BYTES, member.size - SCORE_BYTES),
                             score);
}

/* Up to ${limit} elements: 0 when that was all. */
static int merge(struct zset_builder *builder, unsigned limit, int *progressed_out) {
    while (builder->heap_count > 0) {
        struct run *run = builder->heap[0];
        int is_read = run->next == run->view.count; /* its page is done with */
        int error = run_read(run);
        if (error == FIRN_ENOTFOUND) {
            builder->heap[0] = builder->heap[--builder->heap_count];
            if (builder->heap_count > 0) heap_sink(builder, 0);
            continue;
        }
        if (error != 0) return error;
        if (is_read) heap_sink(builder, 0);
        if (limit-- == 0) return FIRN_EPARKED;
        run = builder->heap[0];
        error = merge_one(builder, run);
        if (error != 0) return error;
        *progressed_out = 1;
        if (++run->next < run->view.count) heap_sink(builder, 0);
    }
    return 0;
}

int zset_builder_finish(struct zset_builder *builder, int *progressed_out, struct entry **result_out) {
    struct entry **result = &builder->result;
    *result_out = NULL;
    if (builder->elements == 0) return 0;
    if (!builder->merging) {
        int error = merge_begin(builder);
        if (error != 0) return error;
        *progressed_out = 1;
        return FIRN_EPARKED;
    }
    if (builder->order == ZSET_BUILDER_BY_SCORE && builder->small == NULL && builder->heap_count > 0)
        zset_build_passed(builder->result, (uint64_t)score_view_score(&builder->heap[0]->view, 0) << 11);
    int error = merge(builder, TURN_ELEMENTS, progressed_out);
    if (error != 0) return error;
    if (builder->small != NULL) result = &builder->small;
    FIRN_ASSERT((*result)->size == builder->elements);
    *result_out = *result;
    *result = NULL;
    return 0;
}
