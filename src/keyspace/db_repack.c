/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bundles that are mostly dead. When more than a fifth of what was written in bundles is dead, a hand goes
 * over the cold index, and bundles of which little lives are read, a few at a time, without anybody waiting.
 * What lives in them surfaces as changed: the record goes with the last of its keys, and the keys, which are
 * as cold as they were, are packed again with their neighbours when memory is wanted. So disk is bounded, and
 * no key is moved but one that pays.
 *
 * Executor only.
 */
#include "base/assert.h"
#include "keyspace/db_internal.h"
#include "page/fault.h"
#include "tiering/tier.h"

#define DEAD_SHARE      5u  /* of what was written: below a fifth nothing is done */
#define LIVE_PERCENT    75u /* bundles with less alive are emptied */
#define BUNDLES_AT_ONCE 16u
#define LEAVES_A_CALL   16u /* looked at */

static struct {
    struct tier_read *read; /* NULL: none under way */
    struct fault_set set;
    unsigned db;
    uint64_t position; /* the hand */
} repack;

static void bundles_here(void *ctx) {
    (void)ctx;
    for (unsigned i = 0; i < repack.set.count; i++)
        db__bundle_empty(db_at(repack.db), repack.set.refs[i]);
    tier_read_done(repack.read);
    repack.read = NULL;
}

/* Up to BUNDLES_AT_ONCE sparse bundles of ${db} from the hand on; at the end of the index the hand is 0. */
static void collect(const struct db *db) {
    repack.set.count = 0;
    for (unsigned i = 0; i < LEAVES_A_CALL && repack.set.count < BUNDLES_AT_ONCE; i++) {
        repack.set.count +=
            cold_index_sparse(&db->cold, &repack.position, LIVE_PERCENT, repack.set.refs + repack.set.count,
                              BUNDLES_AT_ONCE - repack.set.count);
        if (repack.position == 0) break;
    }
}

/* A bundle over several leaves may be sparse in two of them. */
static void make_distinct(struct fault_set *set) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        uint32_t j = 0;
        while (j < count && set->refs[j] != set->refs[i])
            j++;
        if (j == count) set->refs[count++] = set->refs[i];
    }
    set->count = count;
}

int db_repack_some(void) {
    if (repack.read != NULL) return 1;
    if (db__bundled_total == 0) return 0;
    for (unsigned i = 0; i < db_count(); i++) {
        struct db *db = db_at(repack.db);
        uint64_t dead = db->cold.written - db->cold.keys;
        if (dead > db->cold.written / DEAD_SHARE) {
            collect(db);
            if (repack.set.count > 0) {
                make_distinct(&repack.set);
                repack.read = tier_read(&repack.set, bundles_here, NULL);
                return 1;
            }
            if (repack.position != 0) return 1;
        }
        repack.position = 0;
        repack.db = (repack.db + 1) % db_count();
    }
    return 0;
}

void db_repack_stop(void) {
    if (repack.read != NULL) tier_read_done(repack.read);
    repack.read = NULL;
    repack.position = repack.db = 0;
}
