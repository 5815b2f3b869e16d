/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building a sorted set larger than memory half by half (zset.h). Until both halves hold the same elements it
 * is one for the tier manager only, which finds its pages through the object; no command sees it.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "types/zset_internal.h"

#define PASSED_PAGES 256u /* behind the walk */

struct entry *zset_build(struct bytes key) {
    struct entry *entry = zset_create(key, SIZE_MAX, 0);
    struct zset_object *object = memory_alloc_zero(sizeof *object);
    packed_collection_init(&object->members, TYPE_ZSET);
    score_tree_init(&object->tree, 0, 0);
    entry_store_ref(entry, page_ref_of_object(object));
    return entry;
}

int zset_build_member(struct entry *entry, struct bytes member, double score) {
    return zset_members__put(zset__object(entry), hash_key(member), member, score);
}

int zset_build_element(struct entry *entry, struct bytes member, double score) {
    struct zset_object *object = zset__object(entry);
    uint64_t leaves = object->tree.leaves;
    int error = zset__add_element(object, member, score);
    if (error != 0) return error;
    entry->size++;
    if (object->tree.leaves != leaves && leaves % PASSED_PAGES == 0) /* most come at the end: behind that */
        object->sweep_rank = entry->size / leaves * (leaves - PASSED_PAGES);
    return 0;
}

uint64_t zset_build_take(struct entry *entry, uint64_t *next_out) {
    struct zset_object *object = zset__object(entry);
    struct score_path path;
    *next_out = 0;
    if (entry->size == 0) return 0;
    score_tree_find_rank(&object->tree, 0, &path);
    uint64_t *place = score_tree_ref(&object->tree, &path), ref = *place;
    uint32_t count = score_tree_count(&object->tree, &path);
    zset__account_page(&object->members.head, ref, -1);
    *place = 0;
    entry->size -= count;
    if (object->tree.leaves == 1) {
        score_tree_add(&object->tree, &path, -(int64_t)count);
        return ref;
    }
    score_tree_remove(&object->tree, &path);
    score_tree_find_rank(&object->tree, 0, &path);
    *next_out = *score_tree_ref(&object->tree, &path);
    return ref;
}

void zset_build_passed(struct entry *entry, uint64_t hash) {
    struct zset_object *object = zset__object(entry);
    struct object *head = &object->members.head;
    uint64_t pages = head->pages - object->tree.leaves;
    if (head->pages <= object->tree.leaves || pages < 2 * PASSED_PAGES) return;
    uint64_t low = hash - hash / pages * PASSED_PAGES;
    if (head->sweep < low || head->sweep > hash) head->sweep = low;
}
