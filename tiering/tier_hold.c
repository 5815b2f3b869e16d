/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holds: records that somebody still reads though their owner may give them up meanwhile (a reply that
 * streams the value as it was).
 *
 * A hold is a set of references as bits of their hashes (16 bits of memory a reference, one hash), and the
 * discards it put off. It may take a strange reference for its own (6%): that one is discarded late, nothing
 * else. So holding costs 2 bytes a record and discarding, while nobody holds, one comparison.
 *
 * H1 A discard that a hold puts off is in the list of exactly one hold; when that one is released it is made
 *    again (and may be put off by another).
 * H2 Discards of released holds are made in slices, between commands.
 */
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "tiering/tier_internal.h"

#define BITS_PER_REF   16u
#define BITS_LOG2_MIN  10u
#define DISCARDS_SLICE 256u /* of released holds, per turn */

struct tier_hold {
    struct tier_hold *previous, *next; /* among those in force */
    uint64_t *bits;
    unsigned bits_log2;
    uint64_t *discards;
    size_t discard_count, discard_capacity;
};

static struct tier_hold *holds, *released;

static size_t bit_of(const struct tier_hold *hold, uint64_t ref) {
    return (size_t)(ref * UINT64_C(0x9e3779b97f4a7c15) >> (64 - hold->bits_log2));
}

static int has(const struct tier_hold *hold, uint64_t ref) {
    size_t bit = bit_of(hold, ref);
    return (hold->bits[bit / 64] >> bit % 64 & 1u) != 0;
}

struct tier_hold *tier_hold(const uint64_t *refs, size_t count) {
    size_t lower = 0;
    for (size_t i = 0; i < count; i++)
        lower += (size_t)page_ref_is_lower(refs[i]);
    if (lower == 0) return NULL;
    struct tier_hold *hold = memory_alloc_zero(sizeof *hold);
    hold->bits_log2 = BITS_LOG2_MIN;
    while ((UINT64_C(1) << hold->bits_log2) < lower * BITS_PER_REF)
        hold->bits_log2++;
    hold->bits = memory_alloc_zero(((size_t)1 << hold->bits_log2) / 8);
    for (size_t i = 0; i < count; i++) {
        if (!page_ref_is_lower(refs[i])) continue;
        size_t bit = bit_of(hold, refs[i]);
        hold->bits[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    hold->next = holds;
    if (holds != NULL) holds->previous = hold;
    holds = hold;
    return hold;
}

void tier_release(struct tier_hold *hold) {
    if (hold == NULL) return;
    if (hold->previous != NULL)
        hold->previous->next = hold->next;
    else
        holds = hold->next;
    if (hold->next != NULL) hold->next->previous = hold->previous;
    memory_free(hold->bits);
    hold->bits = NULL;
    hold->previous = NULL;
    hold->next = released;
    released = hold;
}

int tier_hold_covers(uint64_t ref) {
    for (const struct tier_hold *hold = holds; hold != NULL; hold = hold->next) {
        if (has(hold, ref)) return 1;
    }
    return 0;
}

int tier_hold_defer(uint64_t ref) {
    struct tier_hold *hold = holds;
    while (hold != NULL && !has(hold, ref))
        hold = hold->next;
    if (hold == NULL) return 0;
    if (hold->discard_count == hold->discard_capacity) {
        hold->discard_capacity = hold->discard_capacity == 0 ? 64 : hold->discard_capacity * 2;
        hold->discards = memory_realloc(hold->discards, hold->discard_capacity * sizeof hold->discards[0]);
    }
    hold->discards[hold->discard_count++] = ref;
    return 1;
}

int tier_hold_turn(int all) {
    for (size_t left = DISCARDS_SLICE; released != NULL;) {
        struct tier_hold *hold = released;
        while (hold->discard_count > 0 && (all || left > 0)) {
            left--;
            page_release(hold->discards[--hold->discard_count]);
        }
        if (hold->discard_count > 0) return 1;
        released = hold->next;
        memory_free(hold->discards);
        memory_free(hold);
    }
    return 0;
}
