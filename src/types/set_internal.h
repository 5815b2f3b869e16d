/* SPDX-License-Identifier: BSD-3-Clause */
/* What set.c, set_walk.c and set_rdb.c share. */
#ifndef FIRN_TYPES_SET_INTERNAL_H
#define FIRN_TYPES_SET_INTERNAL_H

#include "types/packed_collection.h"
#include "types/set.h"

/* SE2. */
static inline int set__is_integers(const struct entry *entry) {
    return entry_encoding(entry) == ENCODING_INTSET && packed_collection_of(entry) == NULL;
}
/* The payload of the integer page in ${slot} (packed_slot_open with any hash), checked if it comes from
 * below. */
FIRN_MUST_USE int set__read_integers(struct packed_slot *slot, struct bytes *payload_out);

int set__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
int set__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                struct entry **entry_out);

#endif
