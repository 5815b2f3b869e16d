/* SPDX-License-Identifier: BSD-3-Clause */
/* See name_map.h. NM1 capacity is at least count, so chains are short. */
#include "ds/name_map.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#define CAPACITY_MIN 16u

static uint64_t hash_of(unsigned number, struct bytes name) {
    return hash_key(name) ^ (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);
}

struct name_map_node *name_map_find(const struct name_map *map, unsigned number, struct bytes name) {
    if (map->count == 0) return NULL;
    uint64_t hash = hash_of(number, name);
    struct name_map_node *node = map->buckets[hash & (map->capacity - 1)];
    while (node != NULL && (node->hash != hash || node->number != number || !bytes_equal(node->name, name)))
        node = node->next;
    return node;
}

static void resize(struct name_map *map, size_t capacity) {
    struct name_map_node **buckets = memory_alloc_zero(capacity * sizeof(struct name_map_node *));
    for (size_t i = 0; i < map->capacity; i++) {
        for (struct name_map_node *node = map->buckets[i], *next; node != NULL; node = next) {
            next = node->next;
            struct name_map_node **bucket = &buckets[node->hash & (capacity - 1)];
            node->next = *bucket;
            *bucket = node;
        }
    }
    memory_free(map->buckets);
    map->buckets = buckets;
    map->capacity = capacity;
}

void name_map_insert(struct name_map *map, struct name_map_node *node) {
    if (map->count == map->capacity) resize(map, map->capacity == 0 ? CAPACITY_MIN : 2 * map->capacity);
    node->hash = hash_of(node->number, node->name);
    struct name_map_node **bucket = &map->buckets[node->hash & (map->capacity - 1)];
    node->next = *bucket;
    *bucket = node;
    map->count++;
}

void name_map_remove(struct name_map *map, struct name_map_node *node) {
    FIRN_ASSERT(map->count > 0);
    struct name_map_node **place = &map->buckets[node->hash & (map->capacity - 1)];
    while (*place != node) {
        FIRN_ASSERT(*place != NULL);
        place = &(*place)->next;
    }
    *place = node->next;
    node->next = NULL;
    if (--map->count == 0) name_map_fini(map);
}

int name_map_each(const struct name_map *map, int (*visit)(struct name_map_node *node, void *ctx),
                  void *ctx) {
    for (size_t i = 0; map->count > 0 && i < map->capacity; i++) {
        for (struct name_map_node *node = map->buckets[i], *next; node != NULL; node = next) {
            next = node->next;
            int stop = visit(node, ctx);
            if (stop != 0) return stop;
            if (map->count == 0) return 0; /* the last one went, and the table with it */
        }
    }
    return 0;
}

void name_map_fini(struct name_map *map) {
    FIRN_ASSERT(map->count == 0);
    memory_free(map->buckets);
    map->buckets = NULL;
    map->capacity = 0;
}
