/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of src/persist share. Nobody else includes this. */
#ifndef FIRN_PERSIST_PERSIST_INTERNAL_H
#define FIRN_PERSIST_PERSIST_INTERNAL_H

#include <stddef.h>

#include "base/bytes.h"
#include "persist/persist.h"

/* What the test directives *-key-*-delay ask for after each key. */
void persist__key_delay(int64_t delay_us);

/* persist_load_begin for a file that is in memory already and stays there until persist_load_end. */
FIRN_MUST_USE int persist__load_memory(struct bytes data, unsigned flags, struct persist_load **load_out);
/* What has been read of it so far. */
struct persist__load_counts {
    size_t offset;
    unsigned version;
    uint64_t keys, expires, expired, empty;
};
void persist__load_counts(const struct persist_load *load, struct persist__load_counts *counts_out);

#endif
