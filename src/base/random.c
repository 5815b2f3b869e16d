/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * xoshiro256** (public domain algorithm by Blackman and Vigna), one state a thread, seeded from the system on
 * first use or by random_seed through splitmix64. Not for secrets: those come from random_system.
 */
#include "base/random.h"

#include <sys/random.h>

#include "base/assert.h"

static __thread uint64_t random_state[4];
static __thread int random_seeded;

static uint64_t random_rotate(uint64_t value, int bits) {
    return value << bits | value >> (64 - bits);
}

void random_seed(uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t mixed = seed;
        mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
        random_state[i] = mixed ^ mixed >> 31;
    }
    random_seeded = 1;
}

uint64_t random_u64(void) {
    uint64_t *state = random_state;
    if (__builtin_expect(!random_seeded, 0)) {
        uint64_t seed;
        random_system(&seed, sizeof seed);
        random_seed(seed);
    }
    uint64_t result = random_rotate(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = random_rotate(state[3], 45);
    return result;
}

/* Lemire's multiply-shift with rejection of the biased remainder. */
uint64_t random_below(uint64_t limit) {
    FIRN_ASSERT(limit > 0);
    unsigned __int128 product = (unsigned __int128)random_u64() * limit;
    if ((uint64_t)product < limit) {
        uint64_t biased = -limit % limit;
        while ((uint64_t)product < biased)
            product = (unsigned __int128)random_u64() * limit;
    }
    return (uint64_t)(product >> 64);
}

void random_system(void *out, size_t bytes) {
    uint8_t *to = out;
    while (bytes > 0) {
        ssize_t got = getrandom(to, bytes, 0);
        if (got < 0) continue; /* EINTR only: the flags and buffer are ours */
        to += got;
        bytes -= (size_t)got;
    }
}
