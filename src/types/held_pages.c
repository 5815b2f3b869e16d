/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages held for a command (held_pages.h), and the little of a type that makes their going down possible. */
#include "types/held_pages.h"

#include "base/assert.h"
#include "base/memory.h"
#include "page/page.h"

#define RETAIN_AHEAD 16u /* page headers fetched ahead */

static int is_dram(uint64_t ref) {
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
}

struct held_pages *held_pages_create(uint64_t *refs, size_t count) {
    struct held_pages *held = memory_alloc_zero(sizeof *held);
    held->refs = refs;
    held->count = count;
    held->counted = memory_alloc_zero((count + 63) / 64 * sizeof held->counted[0]);
    object_register(&held->head, TYPE_HELD);
    uint64_t bytes = 0;
    int32_t pages = 0;
    for (size_t i = 0; i < count; i++) {
        if (i + RETAIN_AHEAD < count && is_dram(refs[i + RETAIN_AHEAD]))
            __builtin_prefetch(page_ref_dram(refs[i + RETAIN_AHEAD]));
        if (!is_dram(refs[i])) continue;
        page_retain(page_ref_dram(refs[i]));
        held->counted[i / 64] |= UINT64_C(1) << i % 64;
        bytes += page_ref_dram(refs[i])->bytes;
        pages++;
    }
    object_account(&held->head, (int64_t)bytes, pages, pages);
    return held;
}

void held_pages_release(struct held_pages *held, size_t index) {
    uint64_t ref = held->refs[index];
    held->refs[index] = 0;
    if ((held->counted[index / 64] >> index % 64 & 1u) == 0 || ref == 0) return;
    int dram = is_dram(ref);
    object_account(&held->head, dram ? -(int64_t)page_ref_dram(ref)->bytes : 0, -1, -dram);
    page_release(ref);
}

void held_pages_destroy(struct held_pages *held) {
    if (held != NULL) type_reap_later(&held->head);
}

/* --- as an object --- */

static int held_reap(struct object *head, unsigned pages) {
    struct held_pages *held = (struct held_pages *)head;
    for (; held->count > 0 && pages > 0; pages--)
        held_pages_release(held, --held->count);
    if (held->count > 0) return 1;
    FIRN_ASSERT(head->pages == 0 && head->pages_dram == 0 && head->dram_bytes == 0);
    memory_free(held->refs);
    memory_free(held->counted);
    memory_free(held);
    return 0;
}

/* From the end on, so that what will be read last goes first. */
static unsigned held_victims(struct object *head, int from, unsigned scan, struct type_victim *victims_out,
                             unsigned limit) {
    struct held_pages *held = (struct held_pages *)head;
    size_t first = held->next > held->pinned ? held->next : held->pinned;
    unsigned found = 0;
    for (; scan > 0 && found < limit && first < held->count; scan--) {
        if (head->sweep <= first || head->sweep > held->count) head->sweep = held->count;
        uint64_t index = --head->sweep, ref = held->refs[index];
        if (ref == 0 || (int)page_ref_tag(ref) != from) continue;
        if ((held->counted[index / 64] >> index % 64 & 1u) == 0) continue;
        if (from == PAGE_TAG_DRAM && page_ref_dram(ref)->moving) continue;
        victims_out[found++] = (struct type_victim){
            .ref = ref, .locator = index, .clock = from == PAGE_TAG_DRAM ? page_ref_dram(ref)->clock : 0};
    }
    return found;
}

static uint64_t *held_locate(struct object *head, uint64_t locator) {
    struct held_pages *held = (struct held_pages *)head;
    return locator < held->count && locator >= held->next && locator >= held->pinned ? &held->refs[locator]
                                                                                     : NULL;
}

const struct type_ops type_held_ops = {
    .name = "held", .reap = held_reap, .victims = held_victims, .locate = held_locate};
