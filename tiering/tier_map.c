/* SPDX-License-Identifier: BSD-3-Clause */
/* See tier_map.h. Keys are ids and pointers, so one multiplication spreads them enough. */
#include "tiering/tier_map.h"

#include "base/assert.h"
#include "base/memory.h"

#define MAP_SLOTS_MIN 64u

static size_t slot_of(const struct tier_map *map, uint64_t key) {
    uint64_t hash = key * 0x9e3779b97f4a7c15ull;
    return (size_t)(hash ^ hash >> 32) & map->mask;
}

static void resize(struct tier_map *map, size_t slots) {
    struct tier_map old = *map;
    map->slots = memory_alloc_zero(slots * sizeof *map->slots);
    map->mask = slots - 1;
    if (old.slots == NULL) return;
    for (size_t i = 0; i <= old.mask; i++) {
        for (struct tier_map_node *node = old.slots[i], *next; node != NULL; node = next) {
            next = node->next;
            size_t slot = slot_of(map, node->key);
            node->next = map->slots[slot];
            map->slots[slot] = node;
        }
    }
    memory_free(old.slots);
}

void tier_map_fini(struct tier_map *map) {
    memory_free(map->slots);
    *map = (struct tier_map){0};
}

struct tier_map_node *tier_map_find(const struct tier_map *map, uint64_t key) {
    if (map->count == 0) return NULL;
    struct tier_map_node *node = map->slots[slot_of(map, key)];
    while (node != NULL && node->key != key)
        node = node->next;
    return node;
}

void tier_map_insert(struct tier_map *map, uint64_t key, struct tier_map_node *node) {
    FIRN_DEBUG_ASSERT(tier_map_find(map, key) == NULL);
    if (map->slots == NULL) resize(map, MAP_SLOTS_MIN);
    if (map->count > map->mask) resize(map, (map->mask + 1) * 2);
    size_t slot = slot_of(map, key);
    node->key = key;
    node->next = map->slots[slot];
    map->slots[slot] = node;
    map->count++;
}

void tier_map_remove(struct tier_map *map, struct tier_map_node *node) {
    FIRN_ASSERT(map->count > 0);
    struct tier_map_node **link = &map->slots[slot_of(map, node->key)];
    while (*link != node) {
        FIRN_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    map->count--;
}

struct tier_map_node *tier_map_any(const struct tier_map *map) {
    if (map->count == 0) return NULL;
    for (size_t i = 0;; i++) {
        if (map->slots[i] != NULL) return map->slots[i];
    }
}
