/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct name_map: (number, bytes) -> a struct of the caller's that begins with struct name_map_node. For
 * what clients hang on keys and channels: chained, doubling in one go, so it is not for the keyspace.
 * Zero-initialise; empty it, then name_map_fini. One thread at a time.
 */
#ifndef FIRN_DS_NAME_MAP_H
#define FIRN_DS_NAME_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct name_map_node {
    struct name_map_node *next; /* in the bucket */
    uint64_t hash;
    unsigned number;   /* of a database, 0 where there is none */
    struct bytes name; /* memory of the caller, unchanged while in the map */
};

struct name_map {
    struct name_map_node **buckets;
    size_t capacity; /* 0 or a power of two */
    size_t count;
};

/* The node of (${number}, ${name}), or NULL. */
struct name_map_node *name_map_find(const struct name_map *map, unsigned number, struct bytes name);
/* Insert ${node}, whose number and name are set and not in the map. */
void name_map_insert(struct name_map *map, struct name_map_node *node);
/* Remove ${node}, which is in the map. */
void name_map_remove(struct name_map *map, struct name_map_node *node);
/* Call ${visit} for each node; nonzero stops and is returned. It may remove the node it was given, nothing
 * else.
 */
int name_map_each(const struct name_map *map, int (*visit)(struct name_map_node *node, void *ctx), void *ctx);
/* Free the table (not the nodes). */
void name_map_fini(struct name_map *map);

#endif
