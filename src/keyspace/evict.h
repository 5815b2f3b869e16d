/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * maxmemory policies: which key is coldest. Used for eviction proper (no tiers, or lowest tier full) and for
 * demotion victims. Executor only.
 */
#ifndef FIRN_KEYSPACE_EVICT_H
#define FIRN_KEYSPACE_EVICT_H

#include <stdint.h>

#include "tiering/tier.h"
#include "types/entry.h"

enum evict_policy {
    EVICT_NOEVICTION,
    EVICT_ALLKEYS_LRU,
    EVICT_ALLKEYS_LFU,
    EVICT_ALLKEYS_RANDOM,
    EVICT_VOLATILE_LRU,
    EVICT_VOLATILE_LFU,
    EVICT_VOLATILE_RANDOM,
    EVICT_VOLATILE_TTL,
};

struct evict_config {
    enum evict_policy policy;
    uint64_t memory_max; /* 0: none */
    unsigned samples;    /* maxmemory-samples */
    unsigned tenacity;   /* maxmemory-eviction-tenacity */
    unsigned lfu_log_factor, lfu_decay_minutes;
};
extern struct evict_config evict_config;

/* Without tiers: bring memory under memory_max by evicting, as Redis before each command. 0: under;
 * FIRN_ENOSPACE: over and nothing to evict (the command is refused if it is deny-oom). ${not_counted} bytes
 * (replica buffers) are subtracted from use. */
FIRN_MUST_USE int evict_to_limit(uint64_t not_counted);

/* Fill the manager's hooks with this folder's functions. */
void evict_tier_hooks(struct tier_keyspace_hooks *hooks_out);

/* A victim for the whole value of ${entry} (TIER DEMOTE, tests): how many were filled in (pages of an object
 * come one each), continuing at *cursor_inout (0 first; 0 again at the end). Only what is in ${from}. */
unsigned evict_victims_of(struct entry *entry, unsigned db, int from, uint64_t *cursor_inout,
                          struct tier_victim *victims_out, unsigned limit);

/* LRU/LFU clocks: touch on access; read for OBJECT IDLETIME / FREQ, DUMP metadata; set by RESTORE
 * IDLETIME/FREQ. */
void evict_touch(struct entry *entry);
void evict_init_clock(struct entry *entry);
uint64_t evict_idle_ms(const struct entry *entry);
unsigned evict_frequency(const struct entry *entry);
void evict_set_idle(struct entry *entry, uint64_t idle_seconds);
void evict_set_frequency(struct entry *entry, unsigned frequency);
int evict_policy_is_lfu(void);

#endif
