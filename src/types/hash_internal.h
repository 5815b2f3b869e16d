/* SPDX-License-Identifier: BSD-3-Clause */
/* What hash.c, hash_walk.c and hash_rdb.c share. */
#ifndef FIRN_TYPES_HASH_INTERNAL_H
#define FIRN_TYPES_HASH_INTERNAL_H

#include "types/hash.h"
#include "types/packed_collection.h"

int hash__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
int hash__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                 struct entry **entry_out);

#endif
