/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages: the unit of residency, copy-on-write, freeing, checksums and I/O. And page references: where a
 * page is now.
 *
 * A page reference is 64 bits, the low three a tag:
 *   0 DRAM    pointer to struct page (0 as a whole: none)
 *   1 OBJECT  pointer to a type's own directory in DRAM (src/types), which holds further references
 *   2 PMEM    address of the PMEM backend: readable in place
 *   3 NVME    address of the NVMe backend: has to be read first
 * An address is 60 bits, chosen by the backend, and says everything needed to read or discard the record.
 *
 * P1 A DRAM page with refs > 1 is never changed: a writer copies it first (page_write).
 * P2 page->lower is 0 or a PMEM/NVME reference to a record with exactly the page's present content (clean
 *    copy).
 * P3 One reference owns one count (DRAM) or one share of the record (PMEM, NVME; nearly always the only
 *    one): page_release gives it back exactly once, and the record dies with its last share.
 * P4 A reference to a lower tier never changes while a command runs but by the calls below.
 *
 * Threads: executor only, but for page_create/page_free_unshared (any thread: workers fill pages nobody
 * else sees yet).
 */
#ifndef FIRN_PAGE_PAGE_H
#define FIRN_PAGE_PAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/error.h"

struct page {
    uint32_t refs : 31;  /* references from owners, replies, operations in flight, read buffer */
    uint32_t moving : 1; /* it is being written below (tier manager) */
    uint32_t bytes;      /* payload in use */
    uint32_t capacity;   /* payload allocated */
    uint32_t clock;      /* page_clock() of the last access, for victims */
    uint64_t lower;      /* clean copy below, or 0 (P2) */
    uint8_t data[];
};

enum page_tag { PAGE_TAG_DRAM = 0, PAGE_TAG_OBJECT = 1, PAGE_TAG_PMEM = 2, PAGE_TAG_NVME = 3 };

static inline enum page_tag page_ref_tag(uint64_t ref) {
    return (enum page_tag)(ref & 7u);
}
static inline int page_ref_is_lower(uint64_t ref) {
    return page_ref_tag(ref) >= PAGE_TAG_PMEM;
}
/* Top bit of an NVME reference: behind the payload of the record stands the name of its owner
 * (tier_victim.name). */
#define PAGE_REF_NAMED ((uint64_t)1 << 63)

static inline uint64_t page_ref_address(uint64_t ref) {
    return (ref & ~PAGE_REF_NAMED) >> 3;
}
static inline uint64_t page_ref_lower(enum page_tag tag, uint64_t address) {
    return address << 3 | (uint64_t)tag;
}
static inline struct page *page_ref_dram(uint64_t ref) {
    return (struct page *)(uintptr_t)ref;
}
static inline uint64_t page_ref_of(const struct page *page) {
    return (uint64_t)(uintptr_t)page;
}
static inline void *page_ref_object(uint64_t ref) {
    return (void *)(uintptr_t)(ref & ~(uint64_t)7);
}
static inline uint64_t page_ref_of_object(const void *object) {
    return (uint64_t)(uintptr_t)object | PAGE_TAG_OBJECT;
}

/* A page with refs 1, bytes 0 and room for at least ${capacity} payload bytes (rounded up to what the
 * allocator gives anyway). Aborts on exhaustion; the try_ form returns NULL (use it for sizes a client or a
 * tier chose). Any thread. */
struct page *page_create(size_t capacity);
struct page *page_try_create(size_t capacity);
/* Bytes a page takes from the allocator. */
size_t page_memory(const struct page *page);
/* Free a page that no one else has seen (refs 1, no lower copy). Any thread. */
void page_free_unshared(struct page *page);
/* One more reference to a DRAM page. */
static inline void page_retain(struct page *page) {
    FIRN_ASSERT(page->refs > 0);
    page->refs++;
}

/* Another reference with the same content, to be given back like the first: ${ref} itself, one more count of
 * a DRAM page or one more share of a record (some 24 bytes of memory for it). 0 stays 0. OBJECT is refused.
 */
uint64_t page_share(uint64_t ref);
/* A private copy of ${ref}, a DRAM page (0 of 0): 0, an error of page_peek, or FIRN_ENOMEM. */
FIRN_MUST_USE int page_duplicate(uint64_t ref, uint64_t *copy_out);
/* Whether a record has more than one owner. */
int page_is_shared(uint64_t ref);
/*
 * Give ${ref} back: DRAM: drop one count, at zero free the page and discard its lower copy; PMEM, NVME: drop
 * one share, with the last the record is dead. 0 is a no-op. OBJECT is refused (assert): its type frees it.
 * Never blocks.
 */
void page_release(uint64_t ref);

/*
 * Look at the payload of ${ref} without keeping anything.
 *   0            *payload_out is valid until the executor's next turn or the next change or release of it
 *   FIRN_EFAULT  NVME page not here: recorded in the current fault set (fault.h); unwind, nothing changed
 *   FIRN_EIO, FIRN_ECORRUPT, FIRN_ENOTFOUND  the tier failed: unwind, reply with the error
 * In sync mode it blocks instead of FIRN_EFAULT. ${seen_out} (may be NULL: this is not counted as a read) is
 * set to how often this NVME/PMEM page was read before within the promotion window (0: first time, or DRAM is
 * too short; always 0 for DRAM): the caller promotes from 1 on where it can. OBJECT is refused.
 */
FIRN_MUST_USE static inline int page_peek(uint64_t ref, struct bytes *payload_out, unsigned *seen_out);
/* The rest of page_peek: anything but a DRAM page. */
FIRN_MUST_USE int page_peek_lower(uint64_t ref, struct bytes *payload_out, unsigned *seen_out);
/* How often page_peek and page_read were answered by a page in DRAM (statistics). */
extern uint64_t page_dram_hits;

/*
 * page_peek for a reference whose owner is at hand: touches the page's clock and, when the manager says so
 * (second read within the window, room in DRAM), promotes: *ref becomes a DRAM page whose lower copy is the
 * old reference.
 */
FIRN_MUST_USE int page_read(uint64_t *ref, struct bytes *payload_out);

/* While ${on}, page_read promotes whatever it reads (TIER PROMOTE). */
void page_promote_all(int on);

/*
 * A private, mutable DRAM page for *ref with room for ${capacity} payload bytes, content preserved (truncated
 * never). *ref is updated; the old one (shared count, lower record) is given back; the new page has no lower
 * copy. Same errors as page_peek, plus FIRN_ENOMEM; on failure nothing changed.
 */
FIRN_MUST_USE int page_write(uint64_t *ref, size_t capacity, struct page **page_out);

/* Whether page_peek would succeed without a fault right now. */
int page_is_ready(uint64_t ref);

/* Coarse clock for page->clock: seconds since start, refreshed by the tier manager's cron. */
uint32_t page_clock(void);
void page_clock_set(uint32_t seconds);

/*
 * While a walk over everything goes on (tier_walk_begin): who goes through the pages of a value announces,
 * before it reads the first of PAGE_AHEAD_MAX, all of them, so that what is on NVMe is read together. Never
 * faults.
 */
#define PAGE_AHEAD_MAX 32u
extern int page_reads_ahead;
void page_ahead(uint64_t ref);

/* --- what the tier manager gives to this layer --- */
struct page_tier_hooks {
    /* Payload of a PMEM record in place, checksum verified: 0, FIRN_ECORRUPT, FIRN_EIO. */
    int (*map)(uint64_t ref, struct bytes *payload_out, unsigned *seen_out);
    /* NVME: from the read buffer: 0 with payload, FIRN_EFAULT if not there, or the error the read ended with.
     * ${seen_out} NULL: do not count this as a read. */
    int (*buffered)(uint64_t ref, struct bytes *payload_out, unsigned *seen_out);
    /* NVME: read now, blocking; then as buffered. */
    int (*read_sync)(uint64_t ref, struct bytes *payload_out);
    /* The record is dead. */
    void (*discard)(uint64_t ref);
    /* Whether ${bytes} more in DRAM are worth it for a page read ${seen} times before. */
    int (*wants_promotion)(uint64_t ref, size_t bytes, unsigned seen);
    /* NVME: will be read soon. Only while page_reads_ahead. */
    void (*ahead)(uint64_t ref);
};
/* Install; NULL restores the default, in which lower references are refused by assert. */
void page_set_tier_hooks(const struct page_tier_hooks *hooks);

static inline int page_peek(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    if (__builtin_expect(page_ref_tag(ref) != PAGE_TAG_DRAM, 0)) {
        return page_peek_lower(ref, payload_out, seen_out);
    }
    const struct page *page = page_ref_dram(ref);
    FIRN_ASSERT(page != NULL && page->refs > 0);
    page_dram_hits++;
    if (seen_out != NULL) *seen_out = 0;
    *payload_out = bytes_of(page->data, page->bytes);
    return 0;
}

#endif
