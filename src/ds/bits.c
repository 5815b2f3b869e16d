/* SPDX-License-Identifier: BSD-3-Clause */
/* Words of 64 bits where there are enough bytes, single bytes at the end. */
#include "ds/bits.h"

uint64_t bits_count(struct bytes bytes) {
    uint64_t count[4] = {0, 0, 0, 0};
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;
    for (; left >= 32; left -= 32, at += 32) {
        for (int i = 0; i < 4; i++)
            count[i] += (uint64_t)__builtin_popcountll(bytes_load64(at + 8 * i));
    }
    for (; left > 0; left--)
        count[0] += (uint64_t)__builtin_popcount(*at++);
    return count[0] + count[1] + count[2] + count[3];
}

int64_t bits_first(struct bytes bytes, int bit) {
    uint64_t flip = bit ? 0 : UINT64_MAX; /* then the first set bit is looked for */
    size_t at = 0;
    for (; at + 8 <= bytes.size; at += 8) {
        uint64_t word = bytes_load64(bytes.data + at) ^ flip;
        if (word != 0) return (int64_t)(at * 8) + __builtin_clzll(__builtin_bswap64(word));
    }
    for (; at < bytes.size; at++) {
        uint32_t byte = bytes.data[at] ^ (uint8_t)flip;
        if (byte != 0) return (int64_t)(at * 8) + __builtin_clz(byte) - 24;
    }
    return -1;
}

uint64_t bits_get(const uint8_t from[BITS_FIELD_BYTES], unsigned offset, unsigned count) {
    unsigned __int128 wide =
        (unsigned __int128)__builtin_bswap64(bytes_load64(from)) << 8 | from[8]; /* 72 bits */
    wide >>= 72 - offset - count;
    return count == 64 ? (uint64_t)wide : (uint64_t)wide & ((UINT64_C(1) << count) - 1);
}

void bits_set(uint8_t to[BITS_FIELD_BYTES], unsigned offset, unsigned count, uint64_t value) {
    unsigned shift = 72 - offset - count;
    unsigned __int128 mask =
        (count == 64 ? (unsigned __int128)UINT64_MAX : ((unsigned __int128)1 << count) - 1) << shift;
    unsigned __int128 wide = (unsigned __int128)__builtin_bswap64(bytes_load64(to)) << 8 | to[8];
    wide = (wide & ~mask) | ((unsigned __int128)value << shift & mask);
    bytes_store64(to, __builtin_bswap64((uint64_t)(wide >> 8)));
    to[8] = (uint8_t)wide;
}
