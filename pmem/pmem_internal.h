/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the PMEM backend.
 *
 *  M1 An address is the record's offset in the medium divided by 64. Whether a slot is in use, and how many
 * bytes are in it, is known from DRAM alone; what is read on the medium is only compared with that. M2 A slot
 * is given back only when its record is dead and no operation uses it (flights). M3 The payload is written
 * before its record is known to anybody as readable; the checksum covers it, so a torn or damaged record does
 * not verify.
 *
 * Medium: OFFSET 0 SIZE 8 magic "FirnPMEM", OFFSET 8 SIZE 8 bytes of the tier, zeros to 4096; then extents. A
 * record: OFFSET 0 SIZE 4 magic, OFFSET 4 SIZE 4 payload bytes, OFFSET 8 SIZE 8 checksum of the payload
 * seeded with the address, OFFSET 16 payload. Little-endian.
 *
 * Threads: executor and one worker; `lock` covers the space and the flights, held for a few instructions.
 */
#ifndef FIRN_PMEM_PMEM_INTERNAL_H
#define FIRN_PMEM_PMEM_INTERNAL_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/ring.h"
#include "pmem/pmem.h"

#define PMEM_UNIT_BYTES       64u   /* addresses count these */
#define PMEM_HEADER_BYTES     16u   /* in front of a payload */
#define PMEM_DATA_OFFSET      4096u /* extents begin here */
#define PMEM_EXTENT_BYTES_MIN (64u << 10)
#define PMEM_EXTENT_BYTES_MAX (16u << 20)
#define PMEM_EXTENT_BYTES_GOOD                                                                               \
    (256u << 10) /* small tiers have extents of up to this if a few hundred fit                              \
                  */
#define PMEM_EXTENTS_FEW    256u
#define PMEM_EXTENTS_WANTED 1024u /* extents are about this many */
#define PMEM_CLASSES_MAX    192u
#define PMEM_QUEUE_BATCHES  1024u
#define PMEM_TAKE_BATCHES   16u        /* batches the worker takes at once, with one drain */
#define PMEM_BYTES_MIN      (1u << 20) /* smallest tier */

_Static_assert(PMEM_DATA_OFFSET % PMEM_UNIT_BYTES == 0, "addresses are whole");

/* --- pmem_space.c: the slab allocator; knows nothing of the medium but its size --- */
struct pmem_extent;

struct pmem_space {
    struct pmem_extent *extents;
    uint32_t extent_count;
    uint32_t extent_bytes;
    uint32_t free_extents; /* in the pool */
    uint32_t free_hint;    /* no free extent below this one */
    unsigned class_count;
    uint32_t class_bytes[PMEM_CLASSES_MAX];  /* slot sizes, rising */
    int32_t class_partial[PMEM_CLASSES_MAX]; /* first extent of the class with a free slot, or -1 */
    uint64_t records, payload_bytes, slot_bytes;
};

/* Manage ${bytes} of medium from PMEM_DATA_OFFSET on. */
void pmem__space_init(struct pmem_space *space, uint64_t bytes);
void pmem__space_fini(struct pmem_space *space);
/* A slot for a payload of ${bytes}: its offset on the medium. FIRN_ENOSPACE. */
FIRN_MUST_USE int pmem__space_take(struct pmem_space *space, uint32_t bytes, uint64_t *offset_out);
/* Whether ${offset} is a slot in use, and its payload size. Any offset may be asked for. */
int pmem__space_find(const struct pmem_space *space, uint64_t offset, uint32_t *bytes_out);
/* The slot (in use) is free. */
void pmem__space_give(struct pmem_space *space, uint64_t offset);
/* All slots are free, but the ${keep_count} in use at the offsets ${keep}. */
void pmem__space_clear(struct pmem_space *space, const uint64_t *keep, size_t keep_count);
/* Assert that the counters and lists agree. */
void pmem__space_check(const struct pmem_space *space);

/* --- pmem_file.c: the medium --- */
struct pmem2_map;

struct pmem_medium {
    int file;
    struct pmem2_map *map;
    uint8_t *base;
    uint64_t bytes;
    int page_granularity; /* plain file: nothing to flush, the tier is scratch */
    void *(*copy)(void *to, const void *from, size_t bytes, unsigned flags); /* pmem2_memcpy_fn */
    void (*drain)(void);
};

/* As tier_backend_ops.open; a folder stands for the file firn-pmem in it. */
FIRN_MUST_USE int pmem__medium_open(struct pmem_medium *medium, const char *path, uint64_t bytes,
                                    char *message, size_t message_bytes);
void pmem__medium_close(struct pmem_medium *medium);
/* Copy to the medium; visible to any thread at once, on it for good after pmem__medium_drain. */
void pmem__medium_write(const struct pmem_medium *medium, uint64_t offset, const void *data, size_t bytes);
void pmem__medium_drain(const struct pmem_medium *medium);

#endif
