/* SPDX-License-Identifier: BSD-3-Clause */
/* XXH3, inlined from libxxhash's header. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/random.h"

static uint64_t hash_seed = 0x66697266u; /* until hash_seed_init: tests without it are repeatable */

void hash_seed_init(void) {
    random_system(&hash_seed, sizeof hash_seed);
}

uint64_t hash_key(struct bytes key) {
    return XXH3_64bits_withSeed(key.data, key.size, hash_seed);
}

uint64_t hash_checksum(struct bytes data, uint64_t seed) {
    return XXH3_64bits_withSeed(data.data, data.size, seed);
}
