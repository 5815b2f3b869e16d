/* SPDX-License-Identifier: BSD-3-Clause */
/* SHA-1 (FIPS 180-4), where Redis's formats have it: digests of data, names of scripts. Nothing secret rests
 * on it. Any thread. */
#ifndef FIRN_DS_SHA1_H
#define FIRN_DS_SHA1_H

#include "base/bytes.h"

#define SHA1_BYTES 20

/* The digest of ${data}. */
void sha1(struct bytes data, uint8_t digest_out[SHA1_BYTES]);

#endif
