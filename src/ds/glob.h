/* SPDX-License-Identifier: BSD-3-Clause */
/* Glob patterns as in KEYS, SCAN, CONFIG GET and PSUBSCRIBE: * ? [a-z] [^a-z] and \ before a literal. */
#ifndef FIRN_DS_GLOB_H
#define FIRN_DS_GLOB_H

#include "base/bytes.h"

/* Whether ${text} matches all of ${pattern}; ${nocase}: ASCII letters compare without case. Time is at most
 * |pattern| * |text|. Any thread. */
int glob_match(struct bytes pattern, struct bytes text, int nocase);
/* Whether ${pattern} has no special character, so that only itself matches. */
int glob_is_literal(struct bytes pattern);

#endif
