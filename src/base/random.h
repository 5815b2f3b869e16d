/* SPDX-License-Identifier: BSD-3-Clause */
/* Fast non-cryptographic random numbers (one xoshiro256** state a thread) and system randomness. */
#ifndef FIRN_BASE_RANDOM_H
#define FIRN_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Make this thread's sequence repeatable (tests). */
void random_seed(uint64_t seed);
/* 64 random bits. */
uint64_t random_u64(void);
/* Uniform in [0, ${limit}); limit > 0. */
uint64_t random_below(uint64_t limit);
/* Fill from the system (getrandom); for ids and tokens. Aborts if the system has none. */
void random_system(void *out, size_t bytes);

#endif
