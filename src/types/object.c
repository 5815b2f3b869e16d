/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registry of objects: large values whose pages live and move on their own.
 *
 * O1 objects[] holds every registered object once; object_index maps its id to its place + 1.
 * O2 objects_dram_bytes and objects_pages_dram are the sums over registered objects.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "ds/int_map.h"
#include "page/page.h"
#include "types/type.h"

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
