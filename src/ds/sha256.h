/* SPDX-License-Identifier: BSD-3-Clause */
/* SHA-256 (FIPS 180-4), for password hashes in ACL. Not for media: see base/hash.h. Any thread. */
#ifndef FIRN_DS_SHA256_H
#define FIRN_DS_SHA256_H

#include "base/bytes.h"

/* The digest of ${data}. */
void sha256(struct bytes data, uint8_t digest_out[32]);
/* The same in lower-case hexadecimal, with a NUL. */
void sha256_hex(struct bytes data, char hex_out[65]);

#endif
