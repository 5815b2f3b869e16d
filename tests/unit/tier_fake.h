/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small keyspace for tests of the tier manager: numbered keys in three kinds of owner (key % 3): 0 an
 * inline value in an entry, 1 a page hanging on an entry, 2 a page in a slot of an object. Every content is
 * computed from a seed, so that each read is verified. Moves go through the manager's hooks as the real
 * keyspace's do. Link firn_tier_conformance.
 */
#ifndef FIRN_TESTS_TIER_FAKE_H
#define FIRN_TESTS_TIER_FAKE_H

#include "tiering/tier.h"

#define FAKE_KEYS_MAX 20000u

struct fake_entry {
    uint32_t key;
    uint8_t moving;
    uint8_t has_inline;
    uint64_t ref;
    uint32_t bytes;
    uint8_t data[];
};

struct fake_value { /* what must be there */
    uint64_t seed;
    uint32_t bytes;
    int exists;
};

struct fake {
    unsigned keys;
    struct fake_entry *entries[FAKE_KEYS_MAX]; /* kinds 0 and 1 */
    uint64_t slots[FAKE_KEYS_MAX];             /* kind 2 */
    struct fake_value model[FAKE_KEYS_MAX];
    uint32_t clock[FAKE_KEYS_MAX]; /* of the last access */
    uint32_t now;
    unsigned hand;
    int may_evict;
    uint64_t evicted, errors, promoted;
    unsigned woken;
    void *ballast[64]; /* memory that no victim frees; a key a piece, as far as hooks.evict(0) is concerned */
    unsigned ballast_count;
};
extern struct fake fake;

/* Forget everything (data must be gone) and use ${keys} keys. */
void fake_init(unsigned keys);
void fake_hooks(struct tier_keyspace_hooks *hooks_out);
/* A configuration with the given backends (NULL: none). */
struct tier_config fake_config(const struct tier_backend_ops *pmem, uint64_t pmem_bytes,
                               const struct tier_backend_ops *nvme, uint64_t nvme_bytes, uint64_t memory_max);
void fake_start(const struct tier_config *config);

void fake_set(unsigned key, uint32_t bytes);
/* Overwrite a few bytes in place, reading the value if it must (page_write). Blocking. Error code of the
 * tier, value then unchanged. */
int fake_append(unsigned key, uint32_t bytes);
void fake_delete(unsigned key);
/* One run of a read: 0 (verified), FIRN_EFAULT (in the current fault set), or the tier's error. */
int fake_try_get(unsigned key);
/* As a client: runs until it is answered, taking turns of the executor meanwhile. 0 or the tier's error. */
int fake_get(unsigned key);
/* Where the value is. */
enum page_tag fake_where(unsigned key);
int fake_is_clean(unsigned key); /* in DRAM with a copy below */
struct tier_victim fake_victim(unsigned key);
int fake_demote(unsigned key, enum page_tag to);

/* One turn of the executor; then until nothing is in flight. */
void fake_turn(void);
void fake_settle(void);
/* Ask for admission as a writer, taking turns while parked: 0, or 1 refused (${message_out}). */
int fake_admit(const char **message_out);
/* Every key is what the model says; returns how many could not be read because of tier errors. */
unsigned fake_check_all(void);
void fake_delete_all(void);
uint64_t fake_live(enum page_tag tag); /* owners whose value is only there */

#endif
