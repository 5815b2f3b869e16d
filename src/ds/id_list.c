/* SPDX-License-Identifier: BSD-3-Clause */
/* See id_list.h. */
#include "ds/id_list.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define LEAF_CAPACITY_MIN 2u

struct id_list_leaf {
    uint32_t count, capacity; /* records */
    uint64_t data[];
};

static inline uint64_t *record_at(const struct id_list *list, struct id_list_leaf *leaf, uint32_t index) {
    return leaf->data + (size_t)index * (list->record_bytes / 8);
}

static inline struct id_list_leaf *leaf_at(const struct id_list *list, uint32_t index) {
    return list->leaves[list->first + index];
}

static inline int is_below(const uint64_t *record, uint64_t high, uint64_t low) {
    return record[0] < high || (record[0] == high && record[1] < low);
}

void id_list_init(struct id_list *list, uint32_t record_bytes) {
    FIRN_ASSERT(record_bytes >= 16 && record_bytes % 8 == 0);
    *list = (struct id_list){.record_bytes = record_bytes};
}

/* --- leaves --- */

static struct id_list_leaf *leaf_create(struct id_list *list, uint32_t capacity) {
    struct id_list_leaf *leaf = memory_alloc(sizeof *leaf + (size_t)capacity * list->record_bytes);
    leaf->count = 0;
    leaf->capacity = capacity;
    list->bytes += memory_usable(leaf);
    return leaf;
}

static void leaf_destroy(struct id_list *list, struct id_list_leaf *leaf) {
    list->bytes -= memory_usable(leaf);
    memory_free(leaf);
}

static struct id_list_leaf *leaf_resize(struct id_list *list, uint32_t index, uint32_t capacity) {
    struct id_list_leaf *leaf = leaf_at(list, index);
    FIRN_ASSERT(capacity >= leaf->count && capacity <= ID_LIST_LEAF);
    list->bytes -= memory_usable(leaf);
    leaf = memory_realloc(leaf, sizeof *leaf + (size_t)capacity * list->record_bytes);
    leaf->capacity = capacity;
    list->bytes += memory_usable(leaf);
    list->leaves[list->first + index] = leaf;
    return leaf;
}

/* Make ${leaf} the one at ${index}. */
static void leaves_insert(struct id_list *list, uint32_t index, struct id_list_leaf *leaf) {
    if (list->first + list->count == list->capacity) {
        if (list->leaves != NULL) list->bytes -= memory_usable(list->leaves);
        if (list->first > list->capacity / 2) { /* mostly gone from the front */
            memmove(list->leaves, list->leaves + list->first, list->count * sizeof *list->leaves);
            list->first = 0;
        } else {
            list->capacity = list->capacity == 0 ? 1 : list->capacity * 2;
            list->leaves = memory_realloc(list->leaves, list->capacity * sizeof *list->leaves);
        }
        list->bytes += memory_usable(list->leaves);
    }
    struct id_list_leaf **at = list->leaves + list->first + index;
    memmove(at + 1, at, (list->count - index) * sizeof *at);
    *at = leaf;
    list->count++;
}

static void leaves_remove(struct id_list *list, uint32_t index) {
    leaf_destroy(list, leaf_at(list, index));
    struct id_list_leaf **at = list->leaves + list->first + index;
    if (index == 0)
        list->first++;
    else
        memmove(at, at + 1, (list->count - index - 1) * sizeof *at);
    if (--list->count > 0) return;
    list->bytes -= memory_usable(list->leaves);
    memory_free(list->leaves);
    list->leaves = NULL;
    list->first = list->capacity = 0;
    FIRN_ASSERT(list->records == 0 && list->bytes == 0);
}

int id_list_reap(struct id_list *list, unsigned leaves) {
    for (; leaves > 0 && list->count > 0; leaves--) {
        list->records -= leaf_at(list, list->count - 1)->count;
        leaves_remove(list, list->count - 1);
    }
    return list->count > 0;
}

void id_list_fini(struct id_list *list) {
    while (id_list_reap(list, UINT32_MAX))
        continue;
}

/* --- finding --- */

/* The last leaf whose first record is not above the id; the first one if all are. */
static uint32_t find_leaf(const struct id_list *list, uint64_t high, uint64_t low) {
    uint32_t from = 0, to = list->count;
    if (to > 0) { /* most often the last one */
        const uint64_t *record = record_at(list, leaf_at(list, to - 1), 0);
        if (is_below(record, high, low)) return to - 1;
    }
    while (to - from > 1) {
        uint32_t middle = from + (to - from) / 2;
        const uint64_t *record = record_at(list, leaf_at(list, middle), 0);
        if (is_below(record, high, low) || (record[0] == high && record[1] == low))
            from = middle;
        else
            to = middle;
    }
    return from;
}

/* The first record of ${leaf} that is not below the id. */
static uint32_t find_in_leaf(const struct id_list *list, struct id_list_leaf *leaf, uint64_t high,
                             uint64_t low) {
    uint32_t from = 0, to = leaf->count;
    if (is_below(record_at(list, leaf, to - 1), high, low)) return to;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (is_below(record_at(list, leaf, middle), high, low))
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

void *id_list_find(const struct id_list *list, uint64_t high, uint64_t low) {
    if (list->count == 0) return NULL;
    struct id_list_leaf *leaf = leaf_at(list, find_leaf(list, high, low));
    uint32_t index = find_in_leaf(list, leaf, high, low);
    if (index == leaf->count) return NULL;
    uint64_t *record = record_at(list, leaf, index);
    return record[0] == high && record[1] == low ? record : NULL;
}

struct id_list_place id_list_seek(const struct id_list *list, uint64_t high, uint64_t low) {
    struct id_list_place place = {0, 0};
    if (list->count == 0) return place;
    place.leaf = find_leaf(list, high, low);
    place.index = find_in_leaf(list, leaf_at(list, place.leaf), high, low);
    if (place.index == leaf_at(list, place.leaf)->count) place = (struct id_list_place){place.leaf + 1, 0};
    return place;
}

void *id_list_at(const struct id_list *list, struct id_list_place place) {
    return place.leaf < list->count ? record_at(list, leaf_at(list, place.leaf), place.index) : NULL;
}

struct id_list_place id_list_next(const struct id_list *list, struct id_list_place place) {
    if (++place.index < leaf_at(list, place.leaf)->count) return place;
    return (struct id_list_place){place.leaf + 1, 0};
}

void *id_list_last(const struct id_list *list) {
    if (list->count == 0) return NULL;
    struct id_list_leaf *leaf = leaf_at(list, list->count - 1);
    return record_at(list, leaf, leaf->count - 1);
}

/* --- changing --- */

/* Split the full leaf at ${index} in halves. */
static void split(struct id_list *list, uint32_t index) {
    struct id_list_leaf *leaf = leaf_at(list, index), *right = leaf_create(list, ID_LIST_LEAF);
    uint32_t half = leaf->count / 2;
    right->count = leaf->count - half;
    memcpy(right->data, record_at(list, leaf, half), (size_t)right->count * list->record_bytes);
    leaf->count = half;
    leaves_insert(list, index + 1, right);
}

/* A zeroed record at ${place}, where there is room or the leaf can grow. */
static uint64_t *make_room(struct id_list *list, struct id_list_place place) {
    struct id_list_leaf *leaf = leaf_at(list, place.leaf);
    if (leaf->count == leaf->capacity)
        leaf = leaf_resize(list, place.leaf,
                           leaf->capacity * 2 > ID_LIST_LEAF ? ID_LIST_LEAF : leaf->capacity * 2);
    uint64_t *record = record_at(list, leaf, place.index);
    memmove((uint8_t *)record + list->record_bytes, record,
            (size_t)(leaf->count - place.index) * list->record_bytes);
    memset(record, 0, list->record_bytes);
    leaf->count++;
    list->records++;
    return record;
}

void *id_list_insert(struct id_list *list, uint64_t high, uint64_t low, int *added_out) {
    struct id_list_place place = {0, 0};
    *added_out = 1;
    if (list->count == 0) {
        leaves_insert(list, 0, leaf_create(list, LEAF_CAPACITY_MIN));
    } else {
        place.leaf = find_leaf(list, high, low);
        struct id_list_leaf *leaf = leaf_at(list, place.leaf);
        place.index = find_in_leaf(list, leaf, high, low);
        if (place.index < leaf->count) {
            uint64_t *record = record_at(list, leaf, place.index);
            if (record[0] == high && record[1] == low) {
                *added_out = 0;
                return record;
            }
        }
        if (leaf->count == ID_LIST_LEAF && place.index == leaf->count && place.leaf == list->count - 1) {
            leaves_insert(list, list->count, leaf_create(list, ID_LIST_LEAF / 4));
            place = (struct id_list_place){list->count - 1, 0};
        } else if (leaf->count == ID_LIST_LEAF) {
            split(list, place.leaf);
            uint32_t half = leaf_at(list, place.leaf)->count;
            if (place.index > half) place = (struct id_list_place){place.leaf + 1, place.index - half};
        }
    }
    uint64_t *record = make_room(list, place);
    record[0] = high;
    record[1] = low;
    return record;
}

int id_list_remove(struct id_list *list, uint64_t high, uint64_t low) {
    if (list->count == 0) return 0;
    uint32_t at = find_leaf(list, high, low);
    struct id_list_leaf *leaf = leaf_at(list, at);
    uint32_t index = find_in_leaf(list, leaf, high, low);
    if (index == leaf->count) return 0;
    uint64_t *record = record_at(list, leaf, index);
    if (record[0] != high || record[1] != low) return 0;
    leaf->count--;
    list->records--;
    memmove(record, (uint8_t *)record + list->record_bytes,
            (size_t)(leaf->count - index) * list->record_bytes);
    if (leaf->count == 0)
        leaves_remove(list, at);
    else if (leaf->capacity > LEAF_CAPACITY_MIN * 4 && leaf->count < leaf->capacity / 4)
        leaf_resize(list, at, leaf->capacity / 2);
    return 1;
}

void id_list_check(const struct id_list *list) {
    uint64_t records = 0;
    size_t bytes = list->leaves != NULL ? memory_usable(list->leaves) : 0;
    const uint64_t *before = NULL;
    for (uint32_t i = 0; i < list->count; i++) {
        struct id_list_leaf *leaf = leaf_at(list, i);
        FIRN_ASSERT(leaf->count > 0 && leaf->count <= leaf->capacity && leaf->capacity <= ID_LIST_LEAF);
        for (uint32_t k = 0; k < leaf->count; k++) {
            const uint64_t *record = record_at(list, leaf, k);
            FIRN_ASSERT(before == NULL || is_below(before, record[0], record[1]));
            before = record;
        }
        records += leaf->count;
        bytes += memory_usable(leaf);
    }
    FIRN_ASSERT(records == list->records && bytes == list->bytes);
}
