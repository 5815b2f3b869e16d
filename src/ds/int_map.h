/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct int_map: u64 -> pointer, open addressing with linear probing. For tables of thousands (objects
 * alive, operations in flight): it doubles in one go, so it is not for the keyspace. Zero-initialise;
 * int_map_fini when done. One thread at a time.
 */
#ifndef FIRN_DS_INT_MAP_H
#define FIRN_DS_INT_MAP_H

#include <stddef.h>
#include <stdint.h>

struct int_map_slot {
    uint64_t key;
    void *value; /* NULL: free */
};

struct int_map {
    struct int_map_slot *slots;
    size_t capacity; /* 0 or a power of two */
    size_t count;
};

/* The value of ${key}, or NULL. */
void *int_map_get(const struct int_map *map, uint64_t key);
/* Set; ${value} must not be NULL. Returns the value it replaces, or NULL. Aborts on exhaustion. */
void *int_map_put(struct int_map *map, uint64_t key, void *value);
/* Remove; returns the value, or NULL if there was none. */
void *int_map_remove(struct int_map *map, uint64_t key);
static inline size_t int_map_count(const struct int_map *map) {
    return map->count;
}
/*
 * Iterate: start with *cursor_inout = 0; the next pair or NULL at the end. The map must not change meanwhile.
 * ${key_out} may be NULL.
 */
void *int_map_next(const struct int_map *map, size_t *cursor_inout, uint64_t *key_out);
/* Free the memory (not the values); the map is empty and usable again. */
void int_map_fini(struct int_map *map);
/* O(n) check of the probe chains; asserts. */
void int_map_check(const struct int_map *map);

#endif
