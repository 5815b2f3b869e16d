/* SPDX-License-Identifier: BSD-3-Clause */
/* SHA-1 as FIPS 180-4 describes it, section 6.1. */
#include "ds/sha1.h"

#include <string.h>

#define BLOCK_BYTES 64u

static uint32_t rotate(uint32_t word, unsigned bits) {
    return word << bits | word >> (32 - bits);
}

static uint32_t load_big(const uint8_t *at) {
    return __builtin_bswap32(bytes_load32(at));
}

static void block(uint32_t state[5], const uint8_t *at) {
    uint32_t schedule[80];
    for (unsigned t = 0; t < 16; t++)
        schedule[t] = load_big(at + 4 * t);
    for (unsigned t = 16; t < 80; t++)
        schedule[t] = rotate(schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (unsigned t = 0; t < 80; t++) {
        uint32_t mixed, constant;
        if (t < 20) {
            mixed = (b & c) | (~b & d);
            constant = 0x5a827999;
        } else if (t < 40) {
            mixed = b ^ c ^ d;
            constant = 0x6ed9eba1;
        } else if (t < 60) {
            mixed = (b & c) | (b & d) | (c & d);
            constant = 0x8f1bbcdc;
        } else {
            mixed = b ^ c ^ d;
            constant = 0xca62c1d6;
        }
        uint32_t next = rotate(a, 5) + mixed + e + constant + schedule[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void sha1(struct bytes data, uint8_t digest_out[SHA1_BYTES]) {
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t last[2 * BLOCK_BYTES] = {0};
    size_t left = data.size;
    const uint8_t *at = data.data;
    for (; left >= BLOCK_BYTES; left -= BLOCK_BYTES, at += BLOCK_BYTES)
        block(state, at);
    /* What is left, a one bit, zeros, and the length in bits. */
    if (left > 0) memcpy(last, at, left);
    last[left] = 0x80;
    size_t last_bytes = left < BLOCK_BYTES - 8 ? BLOCK_BYTES : 2 * BLOCK_BYTES;
    bytes_store64(last + last_bytes - 8, __builtin_bswap64((uint64_t)data.size * 8));
    for (size_t done = 0; done < last_bytes; done += BLOCK_BYTES)
        block(state, last + done);
    for (unsigned i = 0; i < 5; i++)
        bytes_store32(digest_out + 4 * i, __builtin_bswap32(state[i]));
}
