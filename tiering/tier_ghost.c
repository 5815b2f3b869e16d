/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ghost table: which records below DRAM were read lately and how often, so that the second read
 * within the window promotes and a scan (every record once) does not. Four-way set-associative, 8 bytes a
 * record: a 32-bit tag of the reference, a 16-bit time, a count.
 *
 * The window is the table itself: a read pushes out the longest unread of its four neighbours, and an
 * entry not read for GHOST_AGE_MAX table-fulls of reads counts as new. Two references sharing a tag (1 in
 * 2^32 per pair) promote one another early; harmless.
 */
#include <string.h>

#include "base/memory.h"
#include "tiering/tier_internal.h"

#define GHOST_WAYS        4u
#define GHOST_ENTRIES_MIN (4u << 10)
#define GHOST_ENTRIES_MAX (1u << 20)
#define GHOST_BYTES_EACH  2048u /* one entry for so many bytes of memory limit */
#define GHOST_AGE_MAX     4096u /* in 1/1024 table-fulls of reads */

struct ghost_entry {
    uint32_t tag;
    uint16_t time;
    uint16_t count; /* 0: empty */
};

static struct {
    struct ghost_entry *entries;
    uint64_t sets;
    uint64_t reads;
    unsigned time_shift; /* reads >> shift: the 16-bit time */
} ghost;

void tier_ghost_start(uint64_t memory_max) {
    uint64_t wanted = memory_max == 0 ? GHOST_ENTRIES_MAX / 4 : memory_max / GHOST_BYTES_EACH,
             entries = GHOST_ENTRIES_MIN;
    while (entries < wanted && entries < GHOST_ENTRIES_MAX)
        entries *= 2;
    ghost.entries = memory_alloc_zero(entries * sizeof *ghost.entries);
    ghost.sets = entries / GHOST_WAYS;
    ghost.reads = 0;
    ghost.time_shift = (unsigned)__builtin_ctzll(entries) - 10;
}

void tier_ghost_stop(void) {
    memory_free(ghost.entries);
    memset(&ghost, 0, sizeof ghost);
}

unsigned tier_ghost_touch(uint64_t ref) {
    uint64_t hash = ref * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9ull;
    uint32_t tag = (uint32_t)(hash >> 32);
    uint16_t now = (uint16_t)(++ghost.reads >> ghost.time_shift);
    struct ghost_entry *set = &ghost.entries[(hash & (ghost.sets - 1)) * GHOST_WAYS], *oldest = set;
    for (unsigned i = 0; i < GHOST_WAYS; i++) {
        struct ghost_entry *entry = &set[i];
        if (entry->count > 0 && entry->tag == tag) {
            unsigned before = (uint16_t)(now - entry->time) > GHOST_AGE_MAX ? 0 : entry->count;
            entry->time = now;
            entry->count = (uint16_t)(before < UINT16_MAX ? before + 1 : before);
            return before;
        }
        if (oldest->count > 0 &&
            (entry->count == 0 || (uint16_t)(now - entry->time) > (uint16_t)(now - oldest->time))) {
            oldest = entry;
        }
    }
    *oldest = (struct ghost_entry){.tag = tag, .time = now, .count = 1};
    return 0;
}
