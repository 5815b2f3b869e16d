/* SPDX-License-Identifier: BSD-3-Clause */
/* What BITFIELD shares with the other bit commands. Executor only. */
#ifndef FIRN_CMD_CMD_BITMAP_H
#define FIRN_CMD_CMD_BITMAP_H

#include <stdint.h>

#include "cmd/call.h"

/*
 * A bit offset from ${argument}; with ${field_bits} > 0 the form #n means n * field_bits. Errors are replied.
 */
FIRN_MUST_USE int cmd_bitmap_offset(struct call *call, struct bytes argument, unsigned field_bits,
                                    uint64_t *offset_out);
/* Make the string raw and at least ${bytes} (> 0) long, zeros at its end; creates ${key} if *entry_inout is
 * NULL. May fault. */
FIRN_MUST_USE int cmd_bitmap_grow(struct call *call, struct bytes key, struct entry **entry_inout,
                                  uint64_t bytes);

#endif
