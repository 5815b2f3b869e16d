/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pressure: how much memory there is, which zone that is, how much to demote for it, and whether writers
 * may run.
 *
 *   0 ........ target ........ high ........ limit ........ maxmemory
 *     FREE      BACKGROUND      DELAY         LIMIT
 *
 * used is what Firn counts (memory_used) plus what backends hold beyond it. The promise is about the
 * process: resident anonymous memory stays within maxmemory + 10%. The difference (binary, stacks,
 * allocator's fragmentation and caches) is taken from the limit:
 *
 *   limit = maxmemory * 1.04 - base - penalty, between maxmemory / 2 and maxmemory
 *   target = 90% of limit, high = 95%
 *
 * base is the difference measured when the tiers started, penalty a controller that begins with a guess:
 * when resident memory is above maxmemory * 1.04 it grows by the excess, at most every 200 ms (about what
 * the allocator takes to give memory back; it is asked to hurry); below 1.02 it shrinks slowly, if what is
 * allowed is in use at all. It is not simply the present difference, because demoting raises that (freed
 * memory lingers, holes are filled by later values): subtracting it would drive the limit down in a
 * spiral. That is also why there is a floor, and why with many holes it grows only after they were gathered.
 *
 * The holes themselves are fought by moving what stays in DRAM together (hooks.compact): with values of one
 * small size, demoting nine of ten at random would free no page of the allocator at all.
 *
 * Z1 Victims are demoted while used, less what moves in flight will free, is above target. A turn spends
 *    60 us at target, TIER_TURN_US_MAX from high on.
 * Z2 DELAY: every command admitted owes up to 10 ms, in proportion to the overshoot; one is delayed when
 *    the debt reaches a millisecond (timers know no less), so that a single pipeline pays the same per
 *    command as a thousand clients do. Nobody is delayed where that gains nothing: no tier takes more, or
 *    all is on its way down that can be.
 * Z3 LIMIT: writers are parked, never refused, unless the lowest tier is full or its writes have failed
 *    for a second, or nothing was left to demote for a second (eight while something is being written: the
 *    device may stand still) and what is on its way down makes no room. Whatever ends that calls room(). A
 *    trickle (what is just being written) counts as nothing, so that it keeps nobody waiting for ever.
 *    Where the limit is below maxmemory and nothing is left to demote, writers go on up to maxmemory while
 *    the process fits.
 *    There keys go as the policy says (hooks.evict); only if it allows none are writers refused.
 * Z4 Reads are never held up, and promotions stop at LIMIT: they would have to be demoted at once.
 * Z5 Demotion frees less of the process than of what is counted, until holes are gathered. So writers are
 *    also held back by resident memory itself, from maxmemory + 5% on, and parked at + 9%, a second at a
 *    stretch at most (what resides may not be ours to free); demotion is not hurried by it.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "tiering/tier_internal.h"

#define TARGET_PERMILLE     900u
#define HIGH_PERMILLE       950u
#define RESIDENT_HIGH       104u /* percent of maxmemory: above, the limit shrinks */
#define RESIDENT_LOW        102u /* below, it grows back */
#define DELAY_US_MAX        10000
#define DELAY_DEBT_US       1000
#define TURN_US_MIN         60
#define PENALTY_FIRST_BYTES (6u << 20)
#define COMPACT_FROM        90u /* percent of maxmemory resident, and */
#define COMPACT_HOLES       8u  /* percent of it resident but not in use: entries are moved together */
#define COMPACT_PAUSE_US    500000
#define PENALTY_SHARE       4u      /* the penalty is at most this share of maxmemory, */
#define STEP_SHARE          64u     /* and grows by this share at once */
#define GATE_FROM           105u    /* percent of maxmemory resident: writers are delayed from here */
#define GATE_TO             109u    /* and parked from here */
#define GATE_CLOSED_US      1000000 /* at a stretch */
#define GATE_OPEN_US        2000000 /* after that */
#define GATE_DELAY_DIVISOR  4       /* of DELAY_US_MAX */
#define STEP_EVERY_US       200000  /* so long the last step needs to be felt */
#define TRUTH_EVERY_US      5000    /* under pressure; else with the cron */
#define PURGE_EVERY_US      500000
#define STARVED_PAUSE_US    2000    /* no victims were found: do not search again before */
#define STARVED_REFUSE_US   1000000 /* nothing to demote at the limit for so long: writers are refused */
#define STARVED_WRITES_US   8000000 /* the same while something is being written */
#define STARVED_PASS_US     100000  /* between high and limit for so long: they are not delayed any more */
#define STARVED_FALL_SHARE  64u /* of what has to go: when so much of it has gone, some was left after all */
#define TRICKLE_SHARE       16u /* of what has to go: a round that finds less, and no more, found nothing */
#define EVICT_TURN_US       500 /* of evicting keys where they alone fill memory, at once */
#define ADMIT_SLACK_BYTES   65536u /* a command is taken to need no more when admission skips looking */
#define ADMIT_SKIP_MAX      64u

static struct {
    uint64_t memory_max, base, penalty;
    uint64_t limit, high, target;
    uint64_t used, backend_memory, resident;
    enum tier_zone zone;
    unsigned admit_skip; /* commands that may run before use is looked at again */
    int64_t debt_us;
    int compacted;         /* a round of compaction has ended since the last step of the penalty */
    int told_to_wait;      /* somebody was parked or refused since the last room() */
    uint64_t starved_used; /* at starving_since_us, without what was leaving */
    void (*room)(void *ctx);
    void *room_ctx;
    int64_t truth_us, purged_us, stepped_us, compact_began_us, compact_after_us, gate_closed_us, gate_open_us,
        starved_until_us, starving_since_us;
    uint64_t delayed, parked, refused;
    int64_t parked_readers, parked_writers;
} pressure;

/* --- limits --- */

static void set_limits(void) {
    uint64_t most = pressure.memory_max, least = most / 2;
    uint64_t takes = pressure.base + pressure.penalty, room = most / 100 * RESIDENT_HIGH;
    pressure.limit = room > takes + least ? room - takes : least;
    if (pressure.limit > most) pressure.limit = most;
    pressure.high = pressure.limit / 1000 * HIGH_PERMILLE;
    pressure.target = pressure.limit / 1000 * TARGET_PERMILLE;
}

uint64_t tier_pressure_memory_max(void) {
    return pressure.memory_max;
}

uint64_t tier_pressure_share(unsigned divisor, uint64_t least, uint64_t most) {
    if (pressure.memory_max == 0) return most;
    uint64_t share = pressure.memory_max / divisor;
    return share < least ? least : share > most ? most : share;
}

/* Until it is known what the process needs beside what is counted: threads' caches, the engine, holes. */
static uint64_t first_penalty(uint64_t memory_max) {
    uint64_t most = memory_max / PENALTY_SHARE, guess = memory_max / 16 + PENALTY_FIRST_BYTES;
    return guess < most ? guess : most;
}

void tier_pressure_start(uint64_t memory_max) {
    void (*room)(void *ctx) = pressure.room;
    void *room_ctx = pressure.room_ctx;
    memset(&pressure, 0, sizeof pressure);
    pressure.room = room;
    pressure.room_ctx = room_ctx;
    uint64_t resident = memory_resident_anonymous(), used = memory_used();
    pressure.base = resident > used ? resident - used : 0;
    pressure.memory_max = memory_max;
    pressure.penalty = first_penalty(memory_max);
    set_limits();
}

void tier_pressure_stop(void) {
    pressure.memory_max = 0;
    pressure.backend_memory = 0;
    pressure.zone = TIER_ZONE_FREE;
}

void tier_pressure_set_memory_max(uint64_t bytes) {
    pressure.memory_max = bytes;
    pressure.penalty = first_penalty(bytes);
    set_limits();
}

/* --- truth --- */

uint64_t tier_memory_used(void) {
    return memory_used() + pressure.backend_memory;
}

void tier_pressure_refresh_backends(void) {
    pressure.backend_memory = 0;
    for (int tag = PAGE_TAG_PMEM; tag <= PAGE_TAG_NVME; tag++) {
        struct tier_device *device = tier_device((enum page_tag)tag);
        if (device == NULL) continue;
        device->ops->stats(device->backend, &device->now);
        device->occupied_since = 0;
        pressure.backend_memory += device->now.memory_bytes;
    }
}

/* Whether much of what resides is neither in use nor was there from the beginning, and can be gathered. */
static int has_holes(void) {
    return tier_manager.hooks.compact != NULL &&
           pressure.resident > pressure.used + pressure.base + pressure.memory_max / 100 * COMPACT_HOLES;
}

/* Compare with what the kernel says and adapt the limit. */
static void check_resident(int64_t now) {
    int64_t elapsed = now - pressure.truth_us;
    pressure.truth_us = now;
    tier_pressure_refresh_backends();
    if (pressure.memory_max == 0) return;
    if (elapsed > 100000) elapsed = 100000;
    uint64_t resident = pressure.resident = memory_resident_anonymous();
    uint64_t above = pressure.memory_max / 100 * RESIDENT_HIGH,
             below = pressure.memory_max / 100 * RESIDENT_LOW;
    if (resident > above) {
        if (now - pressure.purged_us > PURGE_EVERY_US) {
            memory_purge();
            pressure.purged_us = now;
            resident = memory_resident_anonymous();
        }
        if (resident > above && now - pressure.stepped_us > STEP_EVERY_US &&
            (!has_holes() || pressure.compacted)) {
            pressure.compacted = 0;
            uint64_t most = pressure.memory_max / STEP_SHARE;
            pressure.penalty += resident - above < most ? resident - above : most;
            pressure.stepped_us = now;
        }
        if (pressure.penalty > pressure.memory_max / PENALTY_SHARE)
            pressure.penalty = pressure.memory_max / PENALTY_SHARE;
    } else if (resident < below && pressure.penalty > 0 && pressure.zone != TIER_ZONE_FREE) {
        uint64_t back = ((below - resident) / 64 + pressure.memory_max / 4096) * (uint64_t)elapsed / 100000;
        pressure.penalty -= back < pressure.penalty ? back : pressure.penalty;
    }
    set_limits();
}

void tier_pressure_update(void) {
    pressure.used = tier_memory_used();
    enum tier_zone zone = TIER_ZONE_FREE;
    if (pressure.memory_max > 0) {
        if (pressure.used >= pressure.limit)
            zone = TIER_ZONE_LIMIT;
        else if (pressure.used >= pressure.high)
            zone = TIER_ZONE_DELAY;
        else if (pressure.used >= pressure.target)
            zone = TIER_ZONE_BACKGROUND;
    }
    pressure.zone = zone;
    if (zone == TIER_ZONE_FREE) pressure.starving_since_us = 0;
    uint64_t skip = pressure.high > pressure.used ? (pressure.high - pressure.used) / ADMIT_SLACK_BYTES : 0;
    if (pressure.resident > pressure.memory_max / 100 * GATE_FROM) skip = 0;
    pressure.admit_skip = (unsigned)(skip < ADMIT_SKIP_MAX ? skip : ADMIT_SKIP_MAX);
}

/* How far resident memory is between GATE_FROM and GATE_TO, in thousandths; 1000: parked (Z5). */
static unsigned gate(void) {
    uint64_t from = pressure.memory_max / 100 * GATE_FROM, to = pressure.memory_max / 100 * GATE_TO;
    if (pressure.resident <= from || to <= from || !has_holes()) {
        pressure.gate_closed_us = 0;
        return 0;
    }
    uint64_t over = (pressure.resident - from) * 1000 / (to - from);
    int64_t now = over >= 1000 ? clock_monotonic_us() : 0;
    /* Below target there is nothing to wait for but what the allocator gives back in its own time. */
    if (over < 1000 || now < pressure.gate_open_us || pressure.zone == TIER_ZONE_FREE) {
        pressure.gate_closed_us = 0;
        return over < 1000 ? (unsigned)over / GATE_DELAY_DIVISOR : 1000 / GATE_DELAY_DIVISOR;
    }
    if (pressure.gate_closed_us == 0) pressure.gate_closed_us = now;
    int64_t closed_us = now - pressure.gate_closed_us;
    if (closed_us < GATE_CLOSED_US) return 1000;
    pressure.gate_open_us = now + GATE_OPEN_US;
    return 1000 / GATE_DELAY_DIVISOR;
}

enum tier_zone tier_zone(void) {
    return pressure.zone;
}

const char *tier_zone_name(enum tier_zone zone) {
    static const char *const names[] = {"free", "background", "delay", "limit"};
    return names[zone];
}

/* --- nothing left to demote --- */

/* No value is left to demote, though the tiers would take some. */
static int is_starving(void) {
    const struct tier_device *lowest = tier_lowest();
    return pressure.starving_since_us != 0 && lowest->full_since_us == 0 && lowest->failing_since_us == 0;
}

static int starved_for(int64_t us) {
    return pressure.starving_since_us != 0 && clock_monotonic_us() - pressure.starving_since_us > us;
}

/* What may be used when no value is left to demote. Where the limit was lowered for the allocator's sake,
 * maxmemory itself counts, as long as the process fits: otherwise a small maxmemory, of which backends and
 * tables take the most part, would stop all writes (then it counts in any case). */
static uint64_t keys_max(void) {
    int fits = pressure.resident <= pressure.memory_max / 100 * GATE_FROM ||
               pressure.base + pressure.backend_memory > pressure.memory_max / 2;
    return fits ? pressure.memory_max : pressure.limit;
}

static int nothing_to_give(void) {
    return is_starving() && pressure.used < keys_max();
}

/* Keys and buffers alone fill memory: the coldest keys go, wherever their values are, as far as the policy
 * allows. Whether any did. */
static int evict_keys(void) {
    uint64_t most = keys_max();
    if (!is_starving() || pressure.used < most || tier_manager.moves_in_flight > 0) return 0;
    uint64_t over = pressure.used - most + 1, freed = 0;
    int64_t until_us = clock_monotonic_us() + EVICT_TURN_US;
    while (freed < over && tier_memory_used() >= most) { /* large values are freed later */
        uint64_t more = tier_manager.hooks.evict(0);
        if (more == 0) break;
        freed += more;
        if (clock_monotonic_us() >= until_us) break;
    }
    tier_pressure_update();
    return freed > 0;
}

/* --- demotion --- */

/* Share of TIER_TURN_US_MAX for the present overshoot (Z1). */
static int64_t turn_us(void) {
    if (pressure.used >= pressure.high || pressure.high <= pressure.target) return TIER_TURN_US_MAX;
    uint64_t over = pressure.used > pressure.target ? pressure.used - pressure.target : 0;
    return TURN_US_MIN +
           (int64_t)(over * (TIER_TURN_US_MAX - TURN_US_MIN) / (pressure.high - pressure.target));
}

static int wants_pmem_demotion(void) {
    const struct tier_device *pmem = tier_device(PAGE_TAG_PMEM);
    if (pmem == NULL || !tier_has(PAGE_TAG_NVME)) return 0;
    return tier_write_occupied(pmem) > pmem->now.bytes_max / 100 * TIER_PMEM_TARGET_PERCENT;
}

/* Use without what is leaving. */
static uint64_t staying(void) {
    uint64_t leaving = tier_write_freeing_bytes();
    return pressure.used > leaving ? pressure.used - leaving : 0;
}

/* Bytes to get out of DRAM, beyond those on their way. */
static uint64_t excess(void) {
    uint64_t stays = staying();
    return pressure.memory_max > 0 && stays > pressure.target ? stays - pressure.target : 0;
}

/* Keys of values on NVMe give up DRAM. */
static uint64_t shrink(uint64_t bytes, int all) {
    return tier_manager.hooks.shrink != NULL ? tier_manager.hooks.shrink(bytes, all) : 0;
}

/* Whether to look for victims again soon: the more so as writers wait for an answer. */
static int starved_again(int64_t now) {
    return pressure.zone >= TIER_ZONE_DELAY && pressure.starving_since_us != 0 &&
           now - pressure.starving_since_us < STARVED_REFUSE_US;
}

/* A round got rid of ${gone} of ${bytes} and found no more: nothing is left, unless use falls and falls. */
static int starve(int64_t now, uint64_t bytes, uint64_t gone) {
    if (gone == 0) pressure.starved_until_us = now + STARVED_PAUSE_US;
    uint64_t stays = staying();
    if (pressure.starving_since_us == 0 || stays + bytes / STARVED_FALL_SHARE < pressure.starved_used) {
        pressure.starved_used = stays;
        pressure.starving_since_us = now;
    }
    if (pressure.told_to_wait) (void)evict_keys(); /* only a writer is worth a key */
    return gone > 0 || starved_again(now);
}

static int demote_dram(int64_t now) {
    uint64_t bytes = excess();
    if (bytes == 0) {
        pressure.starving_since_us = 0;
        return 0;
    }
    if (now < pressure.starved_until_us) return starved_again(now);
    int exhausted = 0;
    uint64_t gone = shrink(bytes, 0);
    if (gone < bytes) {
        gone += tier_write_demote(PAGE_TAG_DRAM, bytes - gone, now + turn_us(), &exhausted);
        if (gone == 0) gone = shrink(bytes, 1);
    }
    if ((gone == 0 && tier_manager.moves_in_flight == 0) || (exhausted && gone < bytes / TRICKLE_SHARE))
        return starve(now, bytes, gone);
    if (gone > 0) pressure.starving_since_us = 0;
    return gone > 0 && tier_write_has_room();
}

static int demote_pmem(int64_t now) {
    const struct tier_device *pmem = &tier_manager.pmem;
    int exhausted;
    uint64_t target = pmem->now.bytes_max / 100 * TIER_PMEM_TARGET_PERCENT;
    uint64_t over = tier_write_occupied(pmem) - target, least = TIER_BATCH_OPERATIONS_MAX * 4096u;
    /* What is in flight is not subtracted from the device's numbers: ask for little at a time. */
    if (tier_write_inflight_bytes() > tier_pressure_share(32, 128u << 10, TIER_WRITE_INFLIGHT_BYTES / 2))
        return 0;
    uint64_t moved =
        tier_write_demote(PAGE_TAG_PMEM, over < least ? over : least, now + TIER_TURN_US_MAX / 4, &exhausted);
    return moved > 0 && moved < over && tier_write_has_room();
}

/* Holes are worth gathering: the process is near what it may take, and much of that is not in use. Costs
 * under a microsecond an entry; spends no more than demotion does. */
static int compact(int64_t now) {
    if (pressure.memory_max == 0 || pressure.resident < pressure.memory_max / 100 * COMPACT_FROM) return 0;
    if (!has_holes()) return 0;
    if (now < pressure.compact_after_us) return 0;
    if (pressure.compact_began_us == 0) pressure.compact_began_us = now;
    int64_t budget_us = pressure.resident > pressure.memory_max ? TIER_TURN_US_MAX * 2 : TIER_TURN_US_MAX / 3;
    if (!tier_manager.hooks.compact(budget_us)) return 1;
    /* A round is over. Another at once may find nothing: what is not in use may not be holes at all. */
    int64_t pause_us = (now - pressure.compact_began_us) * (pressure.resident > pressure.memory_max ? 1 : 10);
    pressure.compact_after_us = now + (pause_us > COMPACT_PAUSE_US ? pause_us : COMPACT_PAUSE_US);
    pressure.compact_began_us = 0;
    pressure.compacted = 1;
    return 0;
}

int tier_pressure_turn(void) {
    int pmem = wants_pmem_demotion();
    int full = pressure.resident > pressure.memory_max && pressure.memory_max > 0;
    if (pressure.zone == TIER_ZONE_FREE && !pmem && !pressure.told_to_wait && !full) return 0;
    int64_t now = clock_monotonic_us();
    if (now - pressure.truth_us >= TRUTH_EVERY_US) {
        check_resident(now);
        tier_pressure_update();
    }
    int again = demote_dram(now);
    if (pmem) again |= demote_pmem(now);
    again |= compact(now);
    tier_pressure_update();
    tier_pressure_room();
    return again;
}

void tier_pressure_cron(void) {
    check_resident(clock_monotonic_us());
    tier_pressure_update();
    tier_pressure_turn();
}

/* --- writers --- */

/* Parked writers go on below this: a little below the limit, so that those let in do not find it reached
 * again by the first of them. */
static uint64_t room_below(void) {
    return pressure.limit - (pressure.limit - pressure.high) / 8;
}

/* Why waiting would not help, or NULL. */
static const char *refusal(void) {
    const struct tier_device *lowest = tier_lowest();
    int64_t now = clock_monotonic_us();
    if (lowest->failing_since_us != 0 && now - lowest->failing_since_us > TIER_BROKEN_US) {
        return lowest->full_since_us != 0 ? lowest->write_full : lowest->write_broken;
    }
    /* With the policy evict, full is a matter of the next turn unless there is nothing that may be evicted:
     * then also starving. */
    if (lowest->full_since_us != 0 && tier_manager.full_policy == TIER_FULL_ERROR) return lowest->write_full;
    int64_t patience_us = tier_manager.moves_in_flight > 0 ? STARVED_WRITES_US : STARVED_REFUSE_US;
    if (starved_for(patience_us) && staying() >= room_below()) {
        if (lowest->full_since_us != 0) return lowest->write_full;
        return "-OOM command not allowed when used memory > 'maxmemory': keys and buffers alone fill it, and "
               "no value is left to move to the tiers. Raise maxmemory";
    }
    return NULL;
}

enum tier_admission tier_admit(int64_t *delay_us_out, const char **message_out) {
    *delay_us_out = 0;
    *message_out = NULL;
    if (!tier_manager.enabled || pressure.memory_max == 0) return TIER_ADMIT;
    if (pressure.admit_skip > 0) {
        pressure.admit_skip--;
        return TIER_ADMIT;
    }
    tier_pressure_update();
    unsigned gate_permille = pressure.memory_max > 0 ? gate() : 0;
    if (pressure.zone < TIER_ZONE_DELAY && gate_permille == 0) return TIER_ADMIT;
    if (pressure.zone == TIER_ZONE_LIMIT || gate_permille >= 1000) {
        int evicting = evict_keys();
        if (nothing_to_give()) return TIER_ADMIT;
        pressure.told_to_wait = 1;
        *message_out = pressure.zone == TIER_ZONE_LIMIT && !evicting ? refusal() : NULL;
        if (*message_out != NULL)
            pressure.refused++;
        else
            pressure.parked++;
        return *message_out != NULL ? TIER_REFUSE : TIER_PARK;
    }
    uint64_t over = 0;
    if (pressure.used > pressure.high && !starved_for(STARVED_PASS_US) && refusal() == NULL)
        over = (pressure.used - pressure.high) * 1000 / (pressure.limit - pressure.high + 1);
    if (over < gate_permille) over = gate_permille;
    pressure.debt_us += (int64_t)over * DELAY_US_MAX / 1000;
    if (pressure.debt_us < DELAY_DEBT_US) return TIER_ADMIT;
    *delay_us_out = pressure.debt_us < DELAY_US_MAX ? pressure.debt_us : DELAY_US_MAX;
    pressure.debt_us = 0;
    pressure.delayed++;
    return TIER_DELAY;
}

void tier_on_room(void (*room)(void *ctx), void *ctx) {
    pressure.room = room;
    pressure.room_ctx = ctx;
}

void tier_pressure_room(void) {
    if (!pressure.told_to_wait || pressure.room == NULL) return;
    uint64_t below = room_below();
    if (pressure.memory_max > 0 && !nothing_to_give()) {
        if (pressure.used >= below && refusal() == NULL) return;
        if (pressure.used < below && gate() >= 1000) return;
    }
    pressure.told_to_wait = 0;
    pressure.room(pressure.room_ctx);
}

void tier_count_parked(int64_t change_readers, int64_t change_writers) {
    pressure.parked_readers += change_readers;
    pressure.parked_writers += change_writers;
}

int tier_pressure_wants_promotion(uint64_t ref, size_t bytes, unsigned seen) {
    (void)ref;
    if (pressure.zone == TIER_ZONE_LIMIT || seen == 0) return 0;
    /* Under DELAY what comes up pushes something else down at once: only for what is read again and again. */
    if (pressure.zone == TIER_ZONE_DELAY && seen < 3) return 0;
    return pressure.memory_max == 0 || bytes < pressure.memory_max / 64;
}

void tier_pressure_totals(struct tier_totals *totals_out) {
    totals_out->parked_readers = (uint64_t)(pressure.parked_readers > 0 ? pressure.parked_readers : 0);
    totals_out->parked_writers = (uint64_t)(pressure.parked_writers > 0 ? pressure.parked_writers : 0);
    totals_out->delayed_writers_total = pressure.delayed;
    totals_out->parked_writers_total = pressure.parked;
    totals_out->refused_writers_total = pressure.refused;
    totals_out->memory_used = tier_memory_used();
    totals_out->memory_target = pressure.memory_max > 0 ? pressure.target : 0;
    totals_out->memory_high = pressure.memory_max > 0 ? pressure.high : 0;
    totals_out->memory_max = pressure.memory_max > 0 ? pressure.limit : 0;
    totals_out->backend_memory = pressure.backend_memory;
    totals_out->zone = pressure.zone;
}

void tier_pressure_stats_reset(void) {
    pressure.delayed = pressure.parked = pressure.refused = 0;
}
