/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The slab allocator of the PMEM tier. The medium is cut into extents of equal size; an extent belongs to the
 * pool, to a class (slots of one size), or to a run (one record larger than half an extent). Classes rise by
 * an eighth; the large ones divide an extent evenly. An extent whose last slot is freed goes back to the
 * pool, so classes rebalance by themselves. When a class finds no extent, the slot comes from the next larger
 * class that has one.
 *
 * In DRAM: per slot one bit and the slack (slot minus payload), 2 bytes, or 4 for slots above 64 KiB.
 *
 *  A1 partial lists hold exactly the class extents with a free slot. A2 Bits beyond slot_count are never set.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "pmem/pmem_internal.h"

#define CLASS_FREE     0xffffu /* extent in the pool */
#define CLASS_RUN      0xfffeu /* first extent of a run; slot_count is the number of extents */
#define CLASS_RUN_TAIL 0xfffdu
#define CLASS_FALLBACK 12u /* so many classes larger a slot may be */
#define SLACK_WIDE     65536u

struct pmem_extent {
    uint64_t *used; /* bitmap; the slacks follow it in the same allocation */
    uint32_t slot_count, used_count;
    uint32_t hint;      /* word of the bitmap; no free slot before it */
    uint32_t run_bytes; /* CLASS_RUN: payload */
    int32_t next, prev; /* partial list, -1 ends */
    uint16_t class_index;
};

/* --- classes --- */

static void space_make_classes(struct pmem_space *space) {
    uint32_t payload = PMEM_UNIT_BYTES, divisor = 15;
    unsigned count = 0;
    space->class_bytes[count++] = PMEM_UNIT_BYTES;
    /* One unit more than the payload sizes that matter (1 KiB, 4 KiB...): for the header. */
    while (payload + PMEM_UNIT_BYTES <= space->extent_bytes / 16) {
        space->class_bytes[count++] = payload + PMEM_UNIT_BYTES;
        uint32_t top = 1u << (31 - __builtin_clz(payload)); /* steps change at powers of two */
        payload += top / 8 < PMEM_UNIT_BYTES ? PMEM_UNIT_BYTES : top / 8;
    }
    for (; divisor >= 2; divisor--) {
        uint32_t bytes = space->extent_bytes / divisor / PMEM_UNIT_BYTES * PMEM_UNIT_BYTES;
        if (bytes > space->class_bytes[count - 1]) space->class_bytes[count++] = bytes;
    }
    FIRN_ASSERT(count <= PMEM_CLASSES_MAX);
    space->class_count = count;
    for (unsigned i = 0; i < count; i++)
        space->class_partial[i] = -1;
}

/* The smallest class with slots of at least ${bytes}; class_count if there is none. */
static unsigned space_class(const struct pmem_space *space, uint64_t bytes) {
    unsigned low = 0, high = space->class_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (space->class_bytes[middle] < bytes)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void pmem__space_init(struct pmem_space *space, uint64_t bytes) {
    memset(space, 0, sizeof *space);
    uint64_t extent_bytes = PMEM_EXTENT_BYTES_MIN;
    while (extent_bytes < PMEM_EXTENT_BYTES_MAX &&
           (extent_bytes * PMEM_EXTENTS_WANTED < bytes ||
            (extent_bytes < PMEM_EXTENT_BYTES_GOOD && extent_bytes * PMEM_EXTENTS_FEW < bytes)))
        extent_bytes *= 2;
    FIRN_ASSERT(bytes / extent_bytes > 0 && bytes / extent_bytes < INT32_MAX);
    space->extent_bytes = (uint32_t)extent_bytes;
    space->extent_count = space->free_extents = (uint32_t)(bytes / extent_bytes);
    space->extents = memory_alloc_zero(space->extent_count * sizeof *space->extents);
    for (uint32_t i = 0; i < space->extent_count; i++)
        space->extents[i].class_index = CLASS_FREE;
    space_make_classes(space);
}

void pmem__space_fini(struct pmem_space *space) {
    for (uint32_t i = 0; i < space->extent_count; i++)
        memory_free(space->extents[i].used);
    memory_free(space->extents);
    space->extents = NULL;
}

/* --- slack: 2 or 4 bytes a slot, behind the bitmap --- */

static uint32_t bitmap_words(uint32_t slot_count) {
    return (slot_count + 63) / 64;
}

static void slack_set(struct pmem_extent *extent, uint32_t slot_bytes, uint32_t slot, uint32_t slack) {
    uint8_t *slacks = (uint8_t *)(extent->used + bitmap_words(extent->slot_count));
    if (slot_bytes >= SLACK_WIDE)
        bytes_store32(slacks + 4ul * slot, slack);
    else
        bytes_store16(slacks + 2ul * slot, (uint16_t)slack);
}

static uint32_t slack_get(const struct pmem_extent *extent, uint32_t slot_bytes, uint32_t slot) {
    const uint8_t *slacks = (const uint8_t *)(extent->used + bitmap_words(extent->slot_count));
    return slot_bytes >= SLACK_WIDE ? bytes_load32(slacks + 4ul * slot) : bytes_load16(slacks + 2ul * slot);
}

/* --- extents --- */

static uint64_t extent_offset(const struct pmem_space *space, uint32_t extent_index) {
    return PMEM_DATA_OFFSET + (uint64_t)extent_index * space->extent_bytes;
}

static void partial_add(struct pmem_space *space, uint32_t extent_index) {
    struct pmem_extent *extent = &space->extents[extent_index];
    int32_t *head = &space->class_partial[extent->class_index];
    extent->prev = -1;
    extent->next = *head;
    if (*head >= 0) space->extents[*head].prev = (int32_t)extent_index;
    *head = (int32_t)extent_index;
}

static void partial_remove(struct pmem_space *space, uint32_t extent_index) {
    struct pmem_extent *extent = &space->extents[extent_index];
    if (extent->prev >= 0)
        space->extents[extent->prev].next = extent->next;
    else
        space->class_partial[extent->class_index] = extent->next;
    if (extent->next >= 0) space->extents[extent->next].prev = extent->prev;
}

/* ${count} free extents in a row: the first, or -1. */
static int64_t pool_find(struct pmem_space *space, uint32_t count) {
    uint32_t run = 0;
    while (space->free_hint < space->extent_count &&
           space->extents[space->free_hint].class_index != CLASS_FREE)
        space->free_hint++;
    if (space->free_extents < count) return -1;
    for (uint32_t i = space->free_hint; i < space->extent_count; i++) {
        run = space->extents[i].class_index == CLASS_FREE ? run + 1 : 0;
        if (run == count) return (int64_t)i - count + 1;
    }
    return -1;
}

static void pool_give(struct pmem_space *space, uint32_t extent_index) {
    struct pmem_extent *extent = &space->extents[extent_index];
    memory_free(extent->used);
    memset(extent, 0, sizeof *extent);
    extent->class_index = CLASS_FREE;
    space->free_extents++;
    if (extent_index < space->free_hint) space->free_hint = extent_index;
}

/* Give a free extent to the class. FIRN_ENOSPACE. */
static int class_grow(struct pmem_space *space, unsigned class_index) {
    int64_t found = pool_find(space, 1);
    if (found < 0) return FIRN_ENOSPACE;
    struct pmem_extent *extent = &space->extents[found];
    uint32_t slot_bytes = space->class_bytes[class_index];
    extent->class_index = (uint16_t)class_index;
    extent->slot_count = space->extent_bytes / slot_bytes;
    extent->used_count = extent->hint = 0;
    extent->used = memory_alloc_zero(bitmap_words(extent->slot_count) * 8ul +
                                     extent->slot_count * (slot_bytes >= SLACK_WIDE ? 4ul : 2ul));
    space->free_extents--;
    partial_add(space, (uint32_t)found);
    return 0;
}

/* --- taking --- */

static uint64_t class_take(struct pmem_space *space, unsigned class_index, uint32_t bytes) {
    uint32_t extent_index = (uint32_t)space->class_partial[class_index],
             slot_bytes = space->class_bytes[class_index];
    struct pmem_extent *extent = &space->extents[extent_index];
    while (extent->used[extent->hint] == UINT64_MAX)
        extent->hint++;
    uint32_t bit = (uint32_t)__builtin_ctzll(~extent->used[extent->hint]), slot = extent->hint * 64 + bit;
    FIRN_ASSERT(slot < extent->slot_count);
    extent->used[extent->hint] |= (uint64_t)1 << bit;
    slack_set(extent, slot_bytes, slot, slot_bytes - PMEM_HEADER_BYTES - bytes);
    if (++extent->used_count == extent->slot_count) partial_remove(space, extent_index);
    space->slot_bytes += slot_bytes;
    return extent_offset(space, extent_index) + (uint64_t)slot * slot_bytes;
}

static int run_take(struct pmem_space *space, uint32_t bytes, uint64_t *offset_out) {
    uint64_t needed = ((uint64_t)bytes + PMEM_HEADER_BYTES + space->extent_bytes - 1) / space->extent_bytes;
    if (needed > space->extent_count) return FIRN_ENOSPACE;
    int64_t found = pool_find(space, (uint32_t)needed);
    if (found < 0) return FIRN_ENOSPACE;
    struct pmem_extent *first = &space->extents[found];
    for (uint32_t i = 0; i < needed; i++)
        first[i].class_index = i == 0 ? CLASS_RUN : CLASS_RUN_TAIL;
    first->slot_count = (uint32_t)needed;
    first->run_bytes = bytes;
    space->free_extents -= (uint32_t)needed;
    space->slot_bytes += needed * space->extent_bytes;
    *offset_out = extent_offset(space, (uint32_t)found);
    return 0;
}

int pmem__space_take(struct pmem_space *space, uint32_t bytes, uint64_t *offset_out) {
    unsigned class_index = space_class(space, (uint64_t)bytes + PMEM_HEADER_BYTES);
    int error = 0;
    if (class_index == space->class_count) {
        error = run_take(space, bytes, offset_out);
    } else {
        unsigned limit = class_index + CLASS_FALLBACK;
        if (space->class_partial[class_index] < 0 && class_grow(space, class_index) != 0)
            while (class_index < space->class_count && class_index < limit &&
                   space->class_partial[class_index] < 0)
                class_index++;
        if (class_index == space->class_count || space->class_partial[class_index] < 0) return FIRN_ENOSPACE;
        *offset_out = class_take(space, class_index, bytes);
    }
    if (error != 0) return error;
    space->records++;
    space->payload_bytes += bytes;
    return 0;
}

/* --- finding, giving back --- */

/* The extent and slot at ${offset}, if it is one in use. */
static int space_locate(const struct pmem_space *space, uint64_t offset, uint32_t *extent_index_out,
                        uint32_t *slot_out) {
    if (offset < PMEM_DATA_OFFSET || (offset - PMEM_DATA_OFFSET) / space->extent_bytes >= space->extent_count)
        return 0;
    *extent_index_out = (uint32_t)((offset - PMEM_DATA_OFFSET) / space->extent_bytes);
    const struct pmem_extent *extent = &space->extents[*extent_index_out];
    uint32_t within = (uint32_t)((offset - PMEM_DATA_OFFSET) % space->extent_bytes);
    *slot_out = 0;
    if (extent->class_index == CLASS_RUN) return within == 0;
    if (extent->class_index >= space->class_count) return 0;
    uint32_t slot_bytes = space->class_bytes[extent->class_index];
    *slot_out = within / slot_bytes;
    return within % slot_bytes == 0 && *slot_out < extent->slot_count &&
           (extent->used[*slot_out / 64] >> (*slot_out % 64) & 1) != 0;
}

int pmem__space_find(const struct pmem_space *space, uint64_t offset, uint32_t *bytes_out) {
    uint32_t extent_index, slot;
    *bytes_out = 0;
    if (!space_locate(space, offset, &extent_index, &slot)) return 0;
    const struct pmem_extent *extent = &space->extents[extent_index];
    if (extent->class_index == CLASS_RUN) {
        *bytes_out = extent->run_bytes;
    } else {
        uint32_t slot_bytes = space->class_bytes[extent->class_index];
        *bytes_out = slot_bytes - PMEM_HEADER_BYTES - slack_get(extent, slot_bytes, slot);
    }
    return 1;
}

void pmem__space_give(struct pmem_space *space, uint64_t offset) {
    uint32_t extent_index, slot, bytes;
    int found = pmem__space_find(space, offset, &bytes) && space_locate(space, offset, &extent_index, &slot);
    FIRN_ASSERT(found);
    struct pmem_extent *extent = &space->extents[extent_index];
    space->records--;
    space->payload_bytes -= bytes;
    if (extent->class_index == CLASS_RUN) {
        uint32_t count = extent->slot_count;
        space->slot_bytes -= (uint64_t)count * space->extent_bytes;
        for (uint32_t i = 0; i < count; i++)
            pool_give(space, extent_index + i);
        return;
    }
    space->slot_bytes -= space->class_bytes[extent->class_index];
    extent->used[slot / 64] &= ~((uint64_t)1 << (slot % 64));
    if (slot / 64 < extent->hint) extent->hint = slot / 64;
    if (extent->used_count-- == extent->slot_count) partial_add(space, extent_index);
    if (extent->used_count == 0) {
        partial_remove(space, extent_index);
        pool_give(space, extent_index);
    }
}

/* --- clearing --- */

/* Every slot of this class extent is free; it stays with its class and on the partial list. */
static void extent_wipe(struct pmem_space *space, uint32_t extent_index) {
    struct pmem_extent *extent = &space->extents[extent_index];
    memset(extent->used, 0, bitmap_words(extent->slot_count) * 8ul);
    if (extent->used_count == extent->slot_count) partial_add(space, extent_index);
    extent->used_count = extent->hint = 0;
}

/* The slot that was in use before extent_wipe is so again. */
static void extent_restore(struct pmem_space *space, uint32_t extent_index, uint32_t slot) {
    struct pmem_extent *extent = &space->extents[extent_index];
    extent->used[slot / 64] |= (uint64_t)1 << (slot % 64);
    if (++extent->used_count == extent->slot_count) partial_remove(space, extent_index);
    space->slot_bytes += space->class_bytes[extent->class_index];
}

static void extent_drop(struct pmem_space *space, uint32_t extent_index) {
    struct pmem_extent *extent = &space->extents[extent_index];
    uint32_t count = extent->class_index == CLASS_RUN ? extent->slot_count : 1;
    if (extent->class_index != CLASS_RUN && extent->used_count < extent->slot_count)
        partial_remove(space, extent_index);
    for (uint32_t i = 0; i < count; i++)
        pool_give(space, extent_index + i);
}

void pmem__space_clear(struct pmem_space *space, const uint64_t *keep, size_t keep_count) {
    uint8_t *kept = memory_alloc_zero(space->extent_count);
    uint32_t *keep_extent = memory_alloc((keep_count + 1) * sizeof *keep_extent);
    uint32_t *keep_slot = memory_alloc((keep_count + 1) * sizeof *keep_slot);
    space->records = keep_count;
    space->payload_bytes = space->slot_bytes = 0;
    for (size_t i = 0; i < keep_count; i++) {
        uint32_t bytes;
        int found = pmem__space_find(space, keep[i], &bytes) &&
                    space_locate(space, keep[i], &keep_extent[i], &keep_slot[i]);
        FIRN_ASSERT(found);
        kept[keep_extent[i]] = 1;
        space->payload_bytes += bytes;
    }
    for (uint32_t i = 0; i < space->extent_count; i++) {
        unsigned class_index = space->extents[i].class_index;
        if (class_index == CLASS_FREE || class_index == CLASS_RUN_TAIL) continue;
        if (!kept[i])
            extent_drop(space, i);
        else if (class_index != CLASS_RUN)
            extent_wipe(space, i);
    }
    for (size_t i = 0; i < keep_count; i++) {
        if (space->extents[keep_extent[i]].class_index == CLASS_RUN)
            space->slot_bytes += (uint64_t)space->extents[keep_extent[i]].slot_count * space->extent_bytes;
        else
            extent_restore(space, keep_extent[i], keep_slot[i]);
    }
    memory_free(kept);
    memory_free(keep_extent);
    memory_free(keep_slot);
}

void pmem__space_check(const struct pmem_space *space) {
    uint64_t records = 0, payload_bytes = 0, slot_bytes = 0;
    uint32_t free_extents = 0, partial = 0, listed = 0;
    for (uint32_t i = 0; i < space->extent_count; i++) {
        const struct pmem_extent *extent = &space->extents[i];
        free_extents += extent->class_index == CLASS_FREE;
        if (extent->class_index == CLASS_RUN) {
            records++;
            payload_bytes += extent->run_bytes;
            slot_bytes += (uint64_t)extent->slot_count * space->extent_bytes;
        }
        if (extent->class_index >= space->class_count) continue;
        uint32_t size = space->class_bytes[extent->class_index], used = 0, bytes;
        for (uint32_t slot = 0; slot < extent->slot_count; slot++) {
            if (!pmem__space_find(space, extent_offset(space, i) + (uint64_t)slot * size, &bytes)) continue;
            used++;
            payload_bytes += bytes;
        }
        FIRN_ASSERT(used == extent->used_count && used > 0);
        partial += used < extent->slot_count;
        records += used;
        slot_bytes += (uint64_t)used * size;
    }
    for (unsigned i = 0; i < space->class_count; i++)
        for (int32_t at = space->class_partial[i]; at >= 0; at = space->extents[at].next, listed++)
            FIRN_ASSERT(space->extents[at].class_index == i);
    FIRN_ASSERT(listed == partial && free_extents == space->free_extents);
    FIRN_ASSERT(records == space->records && payload_bytes == space->payload_bytes &&
                slot_bytes == space->slot_bytes);
}
