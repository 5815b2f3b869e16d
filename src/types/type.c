/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The types there are, the registry of objects, and the reaper of detached ones.
 *
 * T1 objects[] holds every registered object once; object_index maps its id to its place + 1.
 * T2 objects_dram_bytes is the sum of dram_bytes over registered objects.
 * T3 A detached object is not registered: nobody demotes its pages any more.
 */
#include "types/type.h"

#include "base/assert.h"
#include "base/memory.h"
#include "ds/int_map.h"
#include "page/page.h"

/* A type joins here: its ops, and below the RDB types it reads. */
extern const struct type_ops type_string_ops;
extern const struct type_ops type_hash_ops;

static const struct type_ops *const type_table[TYPE_COUNT] = {
    [TYPE_STRING] = &type_string_ops,
    [TYPE_HASH] = &type_hash_ops,
};

struct type_limits type_limits = {
    .hash_max_listpack_entries = 128,
    .hash_max_listpack_value = 64,
    .set_max_intset_entries = 512,
    .set_max_listpack_entries = 128,
    .set_max_listpack_value = 64,
    .zset_max_listpack_entries = 128,
    .zset_max_listpack_value = 64,
    .list_max_listpack_size = -2,
    .stream_node_max_bytes = 4096,
    .stream_node_max_entries = 100,
    .hll_sparse_max_bytes = 3000,
    .string_bytes_max = 512u << 20,
};

const struct type_ops *type_ops(enum type_id type) {
    return (unsigned)type < TYPE_COUNT ? type_table[type] : NULL;
}

const struct type_ops *type_ops_for_rdb(uint8_t rdb_type) {
    switch (rdb_type) {
    case 0: return type_table[TYPE_STRING];
    case 4:  /* fields and values */
    case 9:  /* zipmap */
    case 13: /* ziplist */
    case 16: /* listpack */
    case 22: /* with field TTLs, forms of the 7.4 release candidates */
    case 23:
    case 24: /* fields with TTLs */
    case 25: /* listpack with TTLs */ return type_table[TYPE_HASH];
    default: return NULL;
    }
}

static struct object **objects;
static size_t objects_count;
static size_t objects_capacity;
static size_t objects_next; /* round robin */
static uint64_t objects_last_id;
static uint64_t objects_dram_bytes;
static uint64_t objects_pages_dram;
static struct int_map object_index;

void object_register(struct object *object, enum type_id type) {
    object->magic = OBJECT_MAGIC;
    object->type = (uint8_t)type;
    object->registered = 1;
    object->id = ++objects_last_id;
    if (objects_count == objects_capacity) {
        objects_capacity = objects_capacity == 0 ? 16 : objects_capacity * 2;
        objects = memory_realloc(objects, objects_capacity * sizeof *objects);
    }
    objects[objects_count++] = object;
    int_map_put(&object_index, object->id, (void *)(uintptr_t)objects_count);
    objects_dram_bytes += object->dram_bytes;
    objects_pages_dram += object->pages_dram;
}

void object_unregister(struct object *object) {
    FIRN_ASSERT(object->magic == OBJECT_MAGIC);
    if (!object->registered) return;
    size_t place = (size_t)(uintptr_t)int_map_remove(&object_index, object->id);
    FIRN_ASSERT(place > 0 && objects[place - 1] == object);
    struct object *last = objects[--objects_count];
    if (last != object) {
        objects[place - 1] = last;
        int_map_put(&object_index, last->id, (void *)(uintptr_t)place);
    }
    objects_dram_bytes -= object->dram_bytes;
    objects_pages_dram -= object->pages_dram;
    object->registered = 0;
    if (objects_count == 0) {
        memory_free(objects);
        objects = NULL;
        objects_capacity = 0;
        int_map_fini(&object_index);
    }
}

struct object *object_find(uint64_t id) {
    size_t place = (size_t)(uintptr_t)int_map_get(&object_index, id);
    return place > 0 ? objects[place - 1] : NULL;
}

size_t object_count(void) {
    return objects_count;
}

uint64_t object_dram_bytes(void) {
    return objects_dram_bytes;
}

uint64_t object_pages_dram(void) {
    return objects_pages_dram;
}

struct object *object_next(void) {
    if (objects_count == 0) return NULL;
    if (objects_next >= objects_count) objects_next = 0;
    return objects[objects_next++];
}

void object_account(struct object *object, int64_t dram_bytes, int32_t pages, int32_t pages_dram) {
    object->dram_bytes += (uint64_t)dram_bytes;
    object->pages += (uint32_t)pages;
    object->pages_dram += (uint32_t)pages_dram;
    FIRN_ASSERT((int64_t)object->dram_bytes >= 0 && object->pages_dram <= object->pages);
    if (!object->registered) return;
    objects_dram_bytes += (uint64_t)dram_bytes;
    objects_pages_dram += (uint64_t)(int64_t)pages_dram;
}

void object_set_pinned(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    if (page_ref_tag(ref) != PAGE_TAG_OBJECT) return;
    struct object *object = page_ref_object(ref);
    object->pinned = (entry->flags & ENTRY_PINNED) != 0;
}

static struct object **reaper;
static size_t reaper_count;
static size_t reaper_capacity;

void type_reap_later(struct object *object) {
    object_unregister(object);
    if (reaper_count == reaper_capacity) {
        reaper_capacity = reaper_capacity == 0 ? 16 : reaper_capacity * 2;
        reaper = memory_realloc(reaper, reaper_capacity * sizeof *reaper);
    }
    reaper[reaper_count++] = object;
}

int type_reap_some(unsigned pages) {
    while (reaper_count > 0 && pages > 0) {
        struct object *object = reaper[reaper_count - 1];
        unsigned slice = object->pages < pages ? object->pages : pages;
        const struct type_ops *ops = type_ops((enum type_id)object->type);
        if (!ops->reap(object, slice > 0 ? slice : 1)) reaper_count--;
        pages -= slice > 0 ? slice : 1;
    }
    if (reaper_count == 0) {
        memory_free(reaper);
        reaper = NULL;
        reaper_capacity = 0;
    }
    return reaper_count > 0;
}

size_t type_reap_pending(void) {
    return reaper_count;
}
