/* SPDX-License-Identifier: BSD-3-Clause */
/* INFO: sections of "name:value" lines. Plain fields are rows of info.def; sections that are lists of things
 * are functions in info.c. Executor only. */
#ifndef FIRN_SERVER_INFO_H
#define FIRN_SERVER_INFO_H

#include "base/bytes.h"
#include "base/bytes_builder.h"

/* Append the sections asked for (any case; default, all, everything; none: default), in a fixed order, each
 * once. Unknown names give nothing. */
void info_append(const struct bytes *sections, size_t count, struct bytes_builder *out);
/* CONFIG RESETSTAT, for what this file counts relative to. */
void info_reset(void);

#endif
