/* SPDX-License-Identifier: BSD-3-Clause */
/* Bit strings as Redis numbers them: bit 0 is the most significant one of byte 0. Any thread. */
#ifndef FIRN_DS_BITS_H
#define FIRN_DS_BITS_H

#include <stdint.h>

#include "base/bytes.h"

#define BITS_FIELD_BYTES 9u /* what a field of 64 bits at any offset touches */

/* How many bits are set. */
uint64_t bits_count(struct bytes bytes);
/* The first bit that is ${bit} (0 or 1), or -1. */
int64_t bits_first(struct bytes bytes, int bit);
/* The field of ${count} (1..64) bits at bit ${offset} (0..7) of ${from}. */
uint64_t bits_get(const uint8_t from[BITS_FIELD_BYTES], unsigned offset, unsigned count);
/* Store the low ${count} bits of ${value} there. */
void bits_set(uint8_t to[BITS_FIELD_BYTES], unsigned offset, unsigned count, uint64_t value);

#endif
