/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving by order instead of by pressure: TIER DEMOTE, and TIER-STRESS, which empties DRAM between any two
 * commands so that a test suite runs on cold data. Both wait: they submit, then take completions until theirs
 * are done. Callbacks of readers stay for tier_complete.
 */
#include "base/assert.h"
#include "base/random.h"
#include "tiering/tier_internal.h"

#define STRESS_ROUNDS_MAX 256u /* of a batch of victims each, per call */

static void wait_for_moves(unsigned most) {
    while (tier_manager.moves_in_flight > most)
        tier_wait_completions();
}

int tier_demote_now(const struct tier_victim *victim, enum page_tag to) {
    struct tier_device *device = tier_manager.enabled ? tier_device(to) : NULL;
    if (device == NULL) return FIRN_EUNSUPPORTED;
    if (page_ref_tag(victim->ref) == to) return 0;
    int result = TIER_WRITE_PENDING, error;
    while ((error = tier_write_move(victim, device, &result)) == FIRN_EAGAIN)
        tier_wait_completions();
    if (error != 0) return error;
    tier_write_flush();
    while (result == TIER_WRITE_PENDING)
        tier_wait_completions();
    tier_pressure_update();
    return result;
}

void tier_set_stress(enum tier_stress stress) {
    tier_manager.stress = stress;
}

enum tier_stress tier_get_stress(void) {
    return tier_manager.stress;
}

/* Where a victim in ${from} goes in this round; NULL: stays. */
static struct tier_device *stress_target(enum page_tag from) {
    struct tier_device *pmem = tier_device(PAGE_TAG_PMEM), *nvme = tier_device(PAGE_TAG_NVME);
    switch (tier_manager.stress) {
    case TIER_STRESS_PMEM: return from == PAGE_TAG_DRAM ? pmem : NULL;
    case TIER_STRESS_NVME: return nvme;
    case TIER_STRESS_RANDOM:
        if (from == PAGE_TAG_PMEM) return random_below(32) == 0 ? nvme : NULL;
        switch (random_below(3)) {
        case 0: return NULL;
        case 1: return pmem != NULL ? pmem : nvme;
        default: return nvme != NULL ? nvme : pmem;
        }
    case TIER_STRESS_OFF: break;
    }
    return NULL;
}

/* One batch of victims out of ${from}: how many moved. */
static unsigned stress_round(enum page_tag from) {
    struct tier_victim victims[TIER_BATCH_OPERATIONS_MAX];
    unsigned count = tier_manager.hooks.victims((int)from, victims, TIER_BATCH_OPERATIONS_MAX), moved = 0;
    for (unsigned i = 0; i < count; i++) {
        struct tier_device *to =
            victims[i].bundled_bytes > 0 ? tier_device(PAGE_TAG_NVME) : stress_target(from);
        if (to == NULL || tier_write_is_repeated(victims, i)) continue;
        moved += tier_write_move(&victims[i], to, NULL) == 0;
    }
    tier_write_flush();
    return moved;
}

void tier_stress_now(void) {
    if (!tier_manager.enabled || tier_manager.stress == TIER_STRESS_OFF) return;
    int all = tier_manager.stress != TIER_STRESS_RANDOM;
    for (unsigned round = 0; round < STRESS_ROUNDS_MAX; round++) {
        unsigned moved = stress_round(PAGE_TAG_DRAM);
        wait_for_moves(TIER_MOVES_MAX / 2);
        if (moved == 0 || !all) break;
    }
    if (tier_manager.stress != TIER_STRESS_PMEM && tier_has(PAGE_TAG_PMEM) && tier_has(PAGE_TAG_NVME)) {
        stress_round(PAGE_TAG_PMEM);
    }
    wait_for_moves(0);
    /* Keys sink too, half of the rounds of the random mode. */
    if (tier_manager.hooks.shrink != NULL && (all || random_below(2) == 0))
        tier_manager.hooks.shrink(UINT64_MAX, 1);
    tier_pressure_update();
}
