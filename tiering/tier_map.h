/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small intrusive hash map from 64-bit keys (references, addresses, owners) to nodes inside the caller's
 * structs. Chained; grows by doubling, never allocates per insertion. One thread at a time.
 */
#ifndef FIRN_TIERING_TIER_MAP_H
#define FIRN_TIERING_TIER_MAP_H

#include <stddef.h>
#include <stdint.h>

struct tier_map_node {
    uint64_t key;
    struct tier_map_node *next;
};

struct tier_map {
    struct tier_map_node **slots; /* NULL until the first insertion */
    size_t mask;
    size_t count;
};

/* The caller's struct around ${node}. */
#define TIER_MAP_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* A zeroed map is empty. Free the table; the nodes are the caller's. */
void tier_map_fini(struct tier_map *map);
/* The node of ${key}, or NULL. */
struct tier_map_node *tier_map_find(const struct tier_map *map, uint64_t key);
/* Add ${node} under ${key}, which must not be there. */
void tier_map_insert(struct tier_map *map, uint64_t key, struct tier_map_node *node);
/* Take ${node} out; it must be there. */
void tier_map_remove(struct tier_map *map, struct tier_map_node *node);
/* Some node (for emptying a map), or NULL. */
struct tier_map_node *tier_map_any(const struct tier_map *map);

#endif
