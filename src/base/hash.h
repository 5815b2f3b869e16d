/* SPDX-License-Identifier: BSD-3-Clause */
/* The hashes: hash_key for tables (seeded per process against flooding), hash_checksum for media. XXH3, 64
 * bits. */
#ifndef FIRN_BASE_HASH_H
#define FIRN_BASE_HASH_H

#include "base/bytes.h"

/* Set the seed of hash_key from the system's randomness. Once, before the first hash_key; executor. */
void hash_seed_init(void);
/* Seeded hash for tables: constant within the process, unpredictable from outside. Any thread after init. */
uint64_t hash_key(struct bytes key);
/* Unseeded (but for ${seed}) checksum for records on media. Any thread. */
uint64_t hash_checksum(struct bytes data, uint64_t seed);

#endif
