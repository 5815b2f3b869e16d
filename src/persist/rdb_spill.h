/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A collection larger than memory, brought into order of hash on its way in: its elements come from a file in
 * any order, and put in like that each would read and write a page anew. So they go to a temporary file
 * first, parted by the first bits of their hash, and come back part by part, each sorted: every page is
 * filled once.
 *
 * SP1 Memory: the buffers of the parts (RDB_SPILL_PARTS * buffer_bytes) and, coming back, one slice of a
 *     part and an index of it.
 * SP2 The file has no name and goes with its descriptor, whatever happens to the process.
 *
 * Executor. Blocks on the device.
 */
#ifndef FIRN_PERSIST_RDB_SPILL_H
#define FIRN_PERSIST_RDB_SPILL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "types/type.h"

#define RDB_SPILL_PARTS 256u

struct rdb_spill;

/* ${buffer_bytes} of each part are gathered before they are written; ${slice_bytes} come back at once. NULL,
 * with errno: there is no place for a temporary file in the working directory. */
struct rdb_spill *rdb_spill_create(size_t buffer_bytes, size_t slice_bytes);
/* NULL is a no-op. */
void rdb_spill_destroy(struct rdb_spill *spill);
/* Take an element, copied. FIRN_ESYSTEM with errno: the file cannot be written. */
FIRN_MUST_USE int rdb_spill_add(struct rdb_spill *spill, uint64_t hash, const struct type_spilled *element);
/* Hand all back, about in order of hash (in order within a slice); what ${receive} returns other than 0 ends
 * it and is returned. FIRN_ESYSTEM with errno: the file cannot be read. Once. */
FIRN_MUST_USE int rdb_spill_take(struct rdb_spill *spill, type_spilled_receive *receive, void *ctx);

#endif
