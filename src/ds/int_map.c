/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linear probing, removal by shifting back (no tombstones).
 *
 * I1 count <= 3/4 capacity, so a probe always meets a free slot.
 * I2 Between a key's home slot and its slot there is no free slot.
 */
#include "ds/int_map.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define INT_MAP_CAPACITY_MIN 8u

/* Fibonacci hashing, folded so that low bits depend on all. */
static size_t int_map_home(const struct int_map *map, uint64_t key) {
    uint64_t mixed = key * 0x9e3779b97f4a7c15u;
    return (size_t)(mixed ^ mixed >> 32) & (map->capacity - 1);
}

static struct int_map_slot *int_map_find(const struct int_map *map, uint64_t key) {
    size_t index = int_map_home(map, key);
    while (map->slots[index].value != NULL && map->slots[index].key != key)
        index = (index + 1) & (map->capacity - 1);
    return &map->slots[index];
}

void *int_map_get(const struct int_map *map, uint64_t key) {
    return map->capacity == 0 ? NULL : int_map_find(map, key)->value;
}

static void int_map_resize(struct int_map *map, size_t capacity) {
    struct int_map old = *map;
    map->slots = memory_alloc_zero(capacity * sizeof *map->slots);
    map->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL) *int_map_find(map, old.slots[i].key) = old.slots[i];
    }
    memory_free(old.slots);
}

void *int_map_put(struct int_map *map, uint64_t key, void *value) {
    FIRN_ASSERT(value != NULL);
    if ((map->count + 1) * 4 > map->capacity * 3)
        int_map_resize(map, map->capacity == 0 ? INT_MAP_CAPACITY_MIN : map->capacity * 2);
    struct int_map_slot *slot = int_map_find(map, key);
    void *old = slot->value;
    if (old == NULL) map->count++;
    slot->key = key;
    slot->value = value;
    return old;
}

void *int_map_remove(struct int_map *map, uint64_t key) {
    if (map->capacity == 0) return NULL;
    struct int_map_slot *slot = int_map_find(map, key);
    void *old = slot->value;
    if (old == NULL) return NULL;
    size_t mask = map->capacity - 1;
    size_t hole = (size_t)(slot - map->slots);
    for (size_t next = (hole + 1) & mask; map->slots[next].value != NULL; next = (next + 1) & mask) {
        size_t home = int_map_home(map, map->slots[next].key);
        if (((next - home) & mask) < ((next - hole) & mask)) continue; /* its home is after the hole */
        map->slots[hole] = map->slots[next];
        hole = next;
    }
    map->slots[hole].value = NULL;
    map->count--;
    if (map->capacity > INT_MAP_CAPACITY_MIN && map->count * 8 < map->capacity)
        int_map_resize(map, map->capacity / 2);
    return old;
}

void *int_map_next(const struct int_map *map, size_t *cursor_inout, uint64_t *key_out) {
    while (*cursor_inout < map->capacity) {
        const struct int_map_slot *slot = &map->slots[(*cursor_inout)++];
        if (slot->value == NULL) continue;
        if (key_out != NULL) *key_out = slot->key;
        return slot->value;
    }
    return NULL;
}

void int_map_fini(struct int_map *map) {
    memory_free(map->slots);
    memset(map, 0, sizeof *map);
}

void int_map_check(const struct int_map *map) {
    size_t count = 0;
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].value == NULL) continue;
        count++;
        FIRN_ASSERT(int_map_find(map, map->slots[i].key) == &map->slots[i]);
    }
    FIRN_ASSERT(count == map->count);
}
