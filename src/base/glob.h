/* SPDX-License-Identifier: BSD-3-Clause */
/* Glob patterns as KEYS, SCAN MATCH, CONFIG GET and PSUBSCRIBE know them: * ? [abc] [^a-z] and \ to take a
 * character as it is. */
#ifndef FIRN_BASE_GLOB_H
#define FIRN_BASE_GLOB_H

#include "base/bytes.h"

/* Whether all of ${text} matches ${pattern}. ${ignore_case}: ASCII letters are equal in both cases. Time
 * O(pattern * text). Any thread. */
int glob_match(struct bytes pattern, struct bytes text, int ignore_case);

#endif
