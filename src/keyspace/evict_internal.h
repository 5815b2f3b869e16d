/* SPDX-License-Identifier: BSD-3-Clause */
/* What evict.c and evict_tier.c share. */
#ifndef FIRN_KEYSPACE_EVICT_INTERNAL_H
#define FIRN_KEYSPACE_EVICT_INTERNAL_H

#include <stdint.h>

#include "keyspace/db.h"
#include "tiering/tier.h"
#include "types/entry.h"

/* How cold by the policy: larger is colder. LRU: idle time in 1/256 s. */
uint32_t evict__coldness(const struct entry *entry);
/* The key to evict next among those whose value is where ${tiers} has a bit (1 << enum table_residency); NULL
 * if the policy allows none. */
struct entry *evict__choose(unsigned tiers, struct db **db_out);

/* Move entries together for about ${budget_us} (db_compact.c); nonzero at the end of a round through all. */
int evict__compact(int64_t budget_us);

/* Whether ${entry} goes down in a bundle (db_bundle.c). */
int evict__is_small(const struct entry *entry);
/* Whether two clocks of an entry tell of the same hour or so; with a stress mode, of the same second (BN5).
 */
int evict__is_about_then(uint32_t clock, uint32_t other);
/* Bundles of cold small entries, up to ${limit}; then begin and finish as the manager's hooks, for victims
 * with bundled_bytes. */
unsigned evict__bundle_victims(struct tier_victim *victims_out, unsigned limit);
void evict__bundle_begin(const struct tier_victim *victim);
int evict__bundle_finish(const struct tier_victim *victim, uint64_t ref);
/* The part of the manager's hook shrink for entries that have a copy in a bundle. */
uint64_t evict__bundle_shrink(uint64_t bytes, int all);
/* Evict the keys of some bundle, reading it, or a key that sank: bytes of NVMe freed, about; 0: there is
 * none, or it cannot be read. Block. */
uint64_t evict__bundle(void);
uint64_t evict__sunk(void);
/* The manager's hook shrink (db_sink.c). */
uint64_t evict__shrink(uint64_t bytes, int all);

#endif
