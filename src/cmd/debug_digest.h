/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Digests of values and of all data, for DEBUG DIGEST and DIGEST-VALUE: the same for the same content in any
 * server, whatever tier it is in and in whatever order it was written. Executor only; reads blocking when no
 * fault set in asynchronous mode is current.
 */
#ifndef FIRN_CMD_DEBUG_DIGEST_H
#define FIRN_CMD_DEBUG_DIGEST_H

#include "base/error.h"

struct entry;

#define DEBUG_DIGEST_HEX 41 /* 40 hexadecimal digits and a NUL */

/* Of all databases; 40 zeros when there are no keys. Errors of reading pages. */
FIRN_MUST_USE int debug_digest_all(char hex_out[DEBUG_DIGEST_HEX]);
/* Of one value with its expiry; NULL: 40 zeros. */
FIRN_MUST_USE int debug_digest_value(struct entry *entry, char hex_out[DEBUG_DIGEST_HEX]);

#endif
