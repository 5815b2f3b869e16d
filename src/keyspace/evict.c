/* SPDX-License-Identifier: BSD-3-Clause */
/* clocks first */
#include "keyspace/evict.h"

#include "base/clock.h"
#include "base/random.h"

#define CLOCK_MASK 0xffffffu
#define LRU_MS     1000 /* resolution */
#define LFU_INIT   5u
#define LFU_MAX    255u

struct evict_config evict_config = {
    .policy = EVICT_NOEVICTION,
    .samples = 5,
    .tenacity = 10,
    .lfu_log_factor = 10,
    .lfu_decay_minutes = 1,
};

int evict_policy_is_lfu(void) {
    return evict_config.policy == EVICT_ALLKEYS_LFU || evict_config.policy == EVICT_VOLATILE_LFU;
}

static void clock_store(struct entry *entry, uint32_t value) {
    entry->clock = (entry->clock & ~CLOCK_MASK) | (value & CLOCK_MASK);
}

static uint32_t lru_now(void) {
    return (uint32_t)(clock_cached_ms() / LRU_MS) & CLOCK_MASK;
}

static uint32_t lfu_minutes(void) {
    return (uint32_t)(clock_cached_ms() / 60000) & 0xffffu;
}

/* The counter after the minutes since its last access have taken their part. */
static unsigned lfu_decayed(uint32_t clock) {
    unsigned counter = clock & LFU_MAX;
    unsigned elapsed = (lfu_minutes() - (clock >> 8)) & 0xffffu;
    unsigned periods = evict_config.lfu_decay_minutes == 0 ? 0 : elapsed / evict_config.lfu_decay_minutes;
    return periods > counter ? 0 : counter - periods;
}

/* Logarithmic counter: the higher it is, the less likely it rises. */
static unsigned lfu_increment(unsigned counter) {
    if (counter == LFU_MAX) return counter;
    unsigned above = counter > LFU_INIT ? counter - LFU_INIT : 0;
    return counter + (random_below((uint64_t)above * evict_config.lfu_log_factor + 1) == 0);
}

void evict_touch(struct entry *entry) {
    if (evict_policy_is_lfu()) {
        clock_store(entry, lfu_minutes() << 8 | lfu_increment(lfu_decayed(entry->clock)));
    } else {
        clock_store(entry, lru_now());
    }
}

void evict_init_clock(struct entry *entry) {
    clock_store(entry, evict_policy_is_lfu() ? lfu_minutes() << 8 | LFU_INIT : lru_now());
}

uint64_t evict_idle_ms(const struct entry *entry) {
    return (uint64_t)((lru_now() - entry->clock) & CLOCK_MASK) * LRU_MS;
}

unsigned evict_frequency(const struct entry *entry) {
    return lfu_decayed(entry->clock);
}

void evict_set_idle(struct entry *entry, uint64_t idle_seconds) {
    if (idle_seconds > CLOCK_MASK / 2) idle_seconds = CLOCK_MASK / 2;
    clock_store(entry, lru_now() - (uint32_t)idle_seconds);
}

void evict_set_frequency(struct entry *entry, unsigned frequency) {
    clock_store(entry, lfu_minutes() << 8 | (frequency > LFU_MAX ? LFU_MAX : frequency));
}
