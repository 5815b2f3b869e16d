/* SPDX-License-Identifier: BSD-3-Clause */
/* What the allocator says about itself (INFO memory, MEMORY STATS, MEMORY MALLOC-STATS). Zeros with an
 * allocator that says nothing. Any thread. */
#ifndef FIRN_BASE_ALLOCATOR_H
#define FIRN_BASE_ALLOCATOR_H

#include <stddef.h>

#include "base/bytes_builder.h"

struct allocator_stats {
    size_t allocated, active, resident, retained, muzzy;
};

/* Bytes by state, refreshed now. Tens of microseconds. */
void allocator_stats(struct allocator_stats *stats_out);
/* Append the allocator's own report. 0, or FIRN_EUNSUPPORTED. Milliseconds. */
FIRN_MUST_USE int allocator_report(struct bytes_builder *out);

#endif
