/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The liveness map: one bit an id, in chunks of 65536 ids that close early when they hold much payload, so
 * that a chunk is always a range of the medium worth reclaiming by itself. A chunk costs 8 KiB, i.e. 0.02 %
 * of what it describes.
 *
 * Readers (compaction filter, workers) take no lock: they raise `looking`, follow the pointers, lower it. A
 * chunk or leaf is first unpublished, then freed at a moment when `looking` is 0 (sequentially consistent on
 * both sides, so whoever raises it later no longer finds the pointer).
 *
 * Nor does the reclaimer while it searches (rocks__live_pick): it looks at thousands of chunks at a low
 * priority, and an executor that waited for it would wait until it gets the processor back. Chunks and leaves
 * are freed by itself only; the numbers it reads are atomic and may be a moment old, and it acts only on what
 * does not change back (closed, dead).
 */
#include <sys/mman.h>

#include "base/assert.h"
#include "base/memory.h"
#include "rocks/rocks_internal.h"

struct rocks_chunk {
    uint64_t bits[ROCKS_CHUNK_IDS / 64]; /* atomic */
    struct rocks_chunk *next;            /* retired list */
    /* the rest is changed under the lock and atomic */
    uint32_t live;
    int closed;    /* no more ids are given out of it */
    int rewritten; /* its records are in files made by a compaction */
    uint64_t bytes_live, bytes_stored;
};

#define SET(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)
#define GET(place)        __atomic_load_n(&(place), __ATOMIC_ACQUIRE)

struct rocks_leaf {
    uint32_t used;                                 /* under the lock */
    struct rocks_chunk *chunks[ROCKS_LEAF_CHUNKS]; /* atomic */
};

int rocks__live_init(struct rocks_live *live, uint64_t chunk_bytes_max) {
    memset(live, 0, sizeof *live);
    live->top = mmap(NULL, ROCKS_TOP_LEAVES * sizeof *live->top, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (live->top == MAP_FAILED) {
        live->top = NULL;
        return FIRN_ENOMEM;
    }
    pthread_mutex_init(&live->lock, NULL);
    live->chunk_bytes_max = chunk_bytes_max;
    live->next_id = live->first_id = ROCKS_CHUNK_IDS; /* 0 is never an id */
    live->scan_chunk = 1;
    return 0;
}

/* Where the pointer to the chunk is, or NULL when there is no leaf. */
static struct rocks_chunk **live_slot(const struct rocks_live *live, uint64_t chunk_index) {
    uint64_t leaf_index = chunk_index >> ROCKS_LEAF_BITS;
    if (leaf_index >= ROCKS_TOP_LEAVES) return NULL;
    struct rocks_leaf *leaf = __atomic_load_n(&live->top[leaf_index], __ATOMIC_SEQ_CST);
    return leaf == NULL ? NULL : &leaf->chunks[chunk_index & (ROCKS_LEAF_CHUNKS - 1)];
}

static struct rocks_chunk *live_chunk(const struct rocks_live *live, uint64_t chunk_index) {
    struct rocks_chunk **slot = live_slot(live, chunk_index);
    return slot == NULL ? NULL : __atomic_load_n(slot, __ATOMIC_SEQ_CST);
}

/* Unpublish the chunk (and its leaf if that was the last); under the lock. Leaves are kept while any chunk of
 * them may still be created. */
static void live_retire(struct rocks_live *live, uint64_t chunk_index) {
    struct rocks_chunk **slot = live_slot(live, chunk_index);
    struct rocks_chunk *chunk = *slot;
    __atomic_store_n(slot, NULL, __ATOMIC_SEQ_CST);
    live->records_live -= chunk->live;
    SET(live->bytes_live, live->bytes_live - chunk->bytes_live);
    SET(live->bytes_stored, live->bytes_stored - chunk->bytes_stored);
    chunk->next = live->retired;
    live->retired = chunk;
    live->top[chunk_index >> ROCKS_LEAF_BITS]->used--;
}

void rocks__live_collect(struct rocks_live *live) {
    pthread_mutex_lock(&live->lock);
    if (__atomic_load_n(&live->looking, __ATOMIC_SEQ_CST) == 0) {
        while (live->retired != NULL) {
            struct rocks_chunk *chunk = live->retired;
            live->retired = chunk->next;
            memory_free(chunk);
        }
    }
    pthread_mutex_unlock(&live->lock);
}

void rocks__live_fini(struct rocks_live *live) {
    if (live->top == NULL) return;
    uint64_t end_chunk = (live->next_id >> ROCKS_CHUNK_BITS) + 1;
    for (uint64_t leaf_index = 0; leaf_index <= end_chunk >> ROCKS_LEAF_BITS; leaf_index++) {
        struct rocks_leaf *leaf = live->top[leaf_index];
        if (leaf == NULL) continue;
        for (unsigned i = 0; i < ROCKS_LEAF_CHUNKS; i++)
            memory_free(leaf->chunks[i]);
        memory_free(leaf);
    }
    FIRN_ASSERT(live->looking == 0);
    rocks__live_collect(live);
    munmap(live->top, ROCKS_TOP_LEAVES * sizeof *live->top);
    pthread_mutex_destroy(&live->lock);
    live->top = NULL;
}

/* The chunk that next_id falls into, made if need be. Under the lock. */
static struct rocks_chunk *live_open_chunk(struct rocks_live *live) {
    uint64_t chunk_index = live->next_id >> ROCKS_CHUNK_BITS, leaf_index = chunk_index >> ROCKS_LEAF_BITS;
    if (leaf_index >= ROCKS_TOP_LEAVES) return NULL;
    struct rocks_leaf *leaf = live->top[leaf_index];
    if (leaf == NULL) {
        leaf = memory_alloc_zero(sizeof *leaf);
        __atomic_store_n(&live->top[leaf_index], leaf, __ATOMIC_SEQ_CST);
    }
    struct rocks_chunk **slot = &leaf->chunks[chunk_index & (ROCKS_LEAF_CHUNKS - 1)];
    if (*slot == NULL) {
        struct rocks_chunk *chunk = memory_alloc_zero(sizeof *chunk);
        __atomic_store_n(slot, chunk, __ATOMIC_SEQ_CST);
        leaf->used++;
    }
    return *slot;
}

int rocks__live_add(struct rocks_live *live, uint32_t bytes, uint64_t *id_out) {
    pthread_mutex_lock(&live->lock);
    struct rocks_chunk *chunk = live_open_chunk(live);
    if (chunk == NULL) {
        pthread_mutex_unlock(&live->lock);
        return FIRN_ENOSPACE;
    }
    uint64_t id = live->next_id;
    SET(live->next_id, id + 1);
    uint64_t bit = id & (ROCKS_CHUNK_IDS - 1);
    __atomic_fetch_or(&chunk->bits[bit / 64], (uint64_t)1 << (bit % 64), __ATOMIC_RELAXED);
    SET(chunk->live, chunk->live + 1);
    SET(chunk->bytes_live, chunk->bytes_live + bytes);
    SET(chunk->bytes_stored, chunk->bytes_stored + bytes);
    live->records_live++;
    SET(live->bytes_live, live->bytes_live + bytes);
    SET(live->bytes_stored, live->bytes_stored + bytes);
    if (bit == ROCKS_CHUNK_IDS - 1 || chunk->bytes_stored >= live->chunk_bytes_max) {
        SET(chunk->closed, 1);
        SET(live->next_id, ((id >> ROCKS_CHUNK_BITS) + 1) << ROCKS_CHUNK_BITS);
    }
    pthread_mutex_unlock(&live->lock);
    *id_out = id;
    return 0;
}

void rocks__live_kill(struct rocks_live *live, uint64_t id, uint32_t bytes) {
    pthread_mutex_lock(&live->lock);
    struct rocks_chunk *chunk = live_chunk(live, id >> ROCKS_CHUNK_BITS);
    uint64_t bit = id & (ROCKS_CHUNK_IDS - 1), mask = (uint64_t)1 << (bit % 64);
    if (chunk != NULL && (__atomic_fetch_and(&chunk->bits[bit / 64], ~mask, __ATOMIC_RELAXED) & mask) != 0) {
        FIRN_ASSERT(chunk->live > 0 && live->records_live > 0);
        uint64_t gone = bytes != 0 ? bytes : chunk->bytes_live / chunk->live;
        if (chunk->live == 1 || gone > chunk->bytes_live) gone = chunk->bytes_live;
        SET(chunk->live, chunk->live - 1);
        SET(chunk->bytes_live, chunk->bytes_live - gone);
        live->records_live--;
        SET(live->bytes_live, live->bytes_live - gone);
    }
    pthread_mutex_unlock(&live->lock);
}

int rocks__live_test(struct rocks_live *live, uint64_t id) {
    if (id < __atomic_load_n(&live->first_id, __ATOMIC_ACQUIRE)) return 0;
    __atomic_add_fetch(&live->looking, 1, __ATOMIC_SEQ_CST);
    const struct rocks_chunk *chunk = live_chunk(live, id >> ROCKS_CHUNK_BITS);
    uint64_t bit = id & (ROCKS_CHUNK_IDS - 1);
    int alive =
        chunk != NULL && (__atomic_load_n(&chunk->bits[bit / 64], __ATOMIC_RELAXED) >> (bit % 64) & 1) != 0;
    __atomic_sub_fetch(&live->looking, 1, __ATOMIC_SEQ_CST);
    return alive;
}

uint64_t rocks__live_clear(struct rocks_live *live) {
    pthread_mutex_lock(&live->lock);
    uint64_t end_chunk = (live->next_id + ROCKS_CHUNK_IDS - 1) >> ROCKS_CHUNK_BITS;
    uint64_t begin_chunk = live->first_id >> ROCKS_CHUNK_BITS;
    __atomic_store_n(&live->first_id, end_chunk << ROCKS_CHUNK_BITS, __ATOMIC_RELEASE);
    for (uint64_t i = begin_chunk; i < end_chunk; i++) {
        if (live_slot(live, i) == NULL)
            i |= ROCKS_LEAF_CHUNKS - 1; /* the rest of an absent leaf */
        else if (live_chunk(live, i) != NULL)
            live_retire(live, i);
    }
    SET(live->next_id, end_chunk << ROCKS_CHUNK_BITS);
    uint64_t first = live->first_id;
    pthread_mutex_unlock(&live->lock);
    return first;
}

/* Closed, and nothing in it lives: for good. */
static int live_chunk_is_dead(const struct rocks_chunk *chunk) {
    return GET(chunk->closed) && GET(chunk->live) == 0;
}

static int live_is_dead(const struct rocks_live *live, uint64_t chunk_index) {
    const struct rocks_chunk *chunk = live_chunk(live, chunk_index);
    return chunk == NULL || live_chunk_is_dead(chunk);
}

/* Stored and dead in the closed chunk; NULL: none. */
static uint64_t live_chunk_dead_bytes(const struct rocks_chunk *chunk) {
    return chunk == NULL ? 0 : GET(chunk->bytes_stored) - GET(chunk->bytes_live);
}

/* Grow a wholly dead chunk to the run of dead or long gone chunks around it (so that a file on an edge
 * between two dead ones goes too), as far as ROCKS_SCAN_CHUNKS allows. */
static void live_pick_run(const struct rocks_live *live, uint64_t chunk_index,
                          struct rocks_range *range_out) {
    uint64_t begin_chunk = GET(live->first_id) >> ROCKS_CHUNK_BITS,
             open_chunk = GET(live->next_id) >> ROCKS_CHUNK_BITS;
    uint64_t first = chunk_index, end = chunk_index + 1, dead = 0;
    for (unsigned n = 0; n < ROCKS_SCAN_CHUNKS && first > begin_chunk && live_is_dead(live, first - 1); n++)
        first--;
    for (unsigned n = 0; n < ROCKS_SCAN_CHUNKS && end < open_chunk && live_is_dead(live, end); n++)
        end++;
    for (uint64_t i = first; i < end; i++)
        dead += live_chunk_dead_bytes(live_chunk(live, i));
    if (first == begin_chunk) first = 0;
    *range_out = (struct rocks_range){first << ROCKS_CHUNK_BITS, end << ROCKS_CHUNK_BITS, 0, 1, dead};
}

/* Whether more of ${a} than of ${b} (may be NULL) is dead. */
static int live_is_worse(const struct rocks_chunk *a, const struct rocks_chunk *b) {
    if (b == NULL) return 1;
    uint64_t a_stored = GET(a->bytes_stored), b_stored = GET(b->bytes_stored);
    uint64_t a_live = GET(a->bytes_live), b_live = GET(b->bytes_live);
    return (a_stored - a_live) * b_stored > (b_stored - b_live) * a_stored;
}

static int live_is_dead_by(uint64_t bytes_live, uint64_t bytes_stored, unsigned percent) {
    return bytes_stored > bytes_live && (bytes_stored - bytes_live) * 100 >= bytes_stored * percent;
}

/* The run of chunks from ${chunk_index} on that were never rewritten and are surely flushed, up to
 * ROCKS_MERGE_BYTES: a merge rewrites a large file on its edge, too, so it should be long. */
static void live_pick_merge(const struct rocks_live *live, uint64_t chunk_index,
                            struct rocks_range *range_out) {
    uint64_t bytes = 0, dead = 0, end = chunk_index, limit = (GET(live->next_id) >> ROCKS_CHUNK_BITS) - 2;
    for (; end < limit && bytes < ROCKS_MERGE_BYTES; end++) {
        const struct rocks_chunk *chunk = live_chunk(live, end);
        if (chunk == NULL || GET(chunk->rewritten)) break;
        bytes += GET(chunk->bytes_stored);
        dead += live_chunk_dead_bytes(chunk);
    }
    *range_out =
        (struct rocks_range){chunk_index << ROCKS_CHUNK_BITS, end << ROCKS_CHUNK_BITS, UINT64_MAX, 0, dead};
}

int rocks__live_pick(struct rocks_live *live, unsigned dead_percent_min, int merge,
                     struct rocks_range *range_out) {
    uint64_t begin_chunk = GET(live->first_id) >> ROCKS_CHUNK_BITS,
             open_chunk = GET(live->next_id) >> ROCKS_CHUNK_BITS;
    int seek_worst = live_is_dead_by(GET(live->bytes_live), GET(live->bytes_stored), dead_percent_min);
    if (live->scan_chunk < begin_chunk || live->scan_chunk >= open_chunk) live->scan_chunk = begin_chunk;
    const struct rocks_chunk *worst = NULL;
    uint64_t worst_index = 0, small_index = 0;
    int run = 0;
    for (unsigned n = 0; n < ROCKS_SCAN_CHUNKS && live->scan_chunk < open_chunk && !run;
         n++, live->scan_chunk++) {
        const struct rocks_chunk *chunk = live_chunk(live, live->scan_chunk);
        if (chunk == NULL || !GET(chunk->closed)) continue;
        if (live_chunk_is_dead(chunk)) {
            live_pick_run(live, live->scan_chunk, range_out);
            run = 1;
        } else if (live_is_worse(chunk, worst)) {
            worst = chunk;
            worst_index = live->scan_chunk;
        }
        if (small_index == 0 && !GET(chunk->rewritten) && live->scan_chunk + 2 < open_chunk)
            small_index = live->scan_chunk;
    }
    int found = run;
    uint64_t worst_live = worst != NULL ? GET(worst->bytes_live) : 0;
    if (!found && seek_worst && worst != NULL &&
        live_is_dead_by(worst_live, GET(worst->bytes_stored), dead_percent_min)) {
        *range_out =
            (struct rocks_range){worst_index << ROCKS_CHUNK_BITS, (worst_index + 1) << ROCKS_CHUNK_BITS,
                                 worst_live, 0, live_chunk_dead_bytes(worst)};
        found = 1;
    }
    if (!found && merge && small_index != 0) {
        live_pick_merge(live, small_index, range_out);
        found = 1;
    }
    return found;
}

void rocks__live_reclaimed(struct rocks_live *live, const struct rocks_range *range) {
    pthread_mutex_lock(&live->lock);
    uint64_t chunk_index = range->first >> ROCKS_CHUNK_BITS, end_chunk = range->end >> ROCKS_CHUNK_BITS;
    uint64_t begin_chunk = live->first_id >> ROCKS_CHUNK_BITS;
    for (chunk_index = chunk_index < begin_chunk ? begin_chunk : chunk_index; chunk_index < end_chunk;
         chunk_index++) {
        struct rocks_chunk *chunk = live_chunk(live, chunk_index);
        if (chunk == NULL) continue;
        if (range->all_dead) {
            FIRN_ASSERT(chunk->closed && chunk->live == 0);
            live_retire(live, chunk_index);
            continue;
        }
        SET(chunk->rewritten, 1);
        if (chunk->bytes_stored > range->bytes_live) {
            SET(live->bytes_stored, live->bytes_stored - (chunk->bytes_stored - range->bytes_live));
            SET(chunk->bytes_stored, range->bytes_live);
        }
    }
    /* A leaf is freed when it is empty and lies wholly below the open chunk. */
    uint64_t open_leaf = live->next_id >> ROCKS_CHUNK_BITS >> ROCKS_LEAF_BITS;
    uint64_t leaf_index = range->first >> ROCKS_CHUNK_BITS >> ROCKS_LEAF_BITS;
    for (; leaf_index < open_leaf && leaf_index << ROCKS_LEAF_BITS < end_chunk; leaf_index++) {
        struct rocks_leaf *leaf = live->top[leaf_index];
        if (leaf == NULL || leaf->used > 0 || __atomic_load_n(&live->looking, __ATOMIC_SEQ_CST) != 0)
            continue;
        __atomic_store_n(&live->top[leaf_index], NULL, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&live->looking, __ATOMIC_SEQ_CST) != 0)
            continue; /* a few nanoseconds */
        memory_free(leaf);
    }
    pthread_mutex_unlock(&live->lock);
}

void rocks__live_totals(struct rocks_live *live, struct rocks_live_totals *totals_out) {
    pthread_mutex_lock(&live->lock);
    *totals_out = (struct rocks_live_totals){live->records_live, live->bytes_live, live->bytes_stored, 0};
    pthread_mutex_unlock(&live->lock);
}
