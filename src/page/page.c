/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages and references (contracts and invariants P1..P4: page.h). Everything a tier has to do is behind
 * struct page_tier_hooks; without hooks no lower reference can exist, so meeting one is a broken program
 * (assert). Executor only, but for creation and page_free_unshared.
 */
#include "page/page.h"

#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "ds/int_map.h"
#include "page/fault.h"

uint64_t page_dram_hits;
int page_reads_ahead;
static uint32_t
    clock_seconds; /* written by the executor; workers that create pages may read a value a moment old */

static int refuse_map(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    (void)payload_out, (void)seen_out;
    FIRN_ASSERT(!page_ref_is_lower(ref));
    return FIRN_EINVALID;
}
static int refuse_read(uint64_t ref, struct bytes *payload_out) {
    return refuse_map(ref, payload_out, NULL);
}
static void refuse_ahead(uint64_t ref) {
    FIRN_ASSERT(!page_ref_is_lower(ref));
}
static void refuse_discard(uint64_t ref) {
    FIRN_ASSERT(!page_ref_is_lower(ref));
}
static int refuse_promotion(uint64_t ref, size_t bytes, unsigned seen) {
    (void)ref, (void)bytes, (void)seen;
    return 0;
}

static const struct page_tier_hooks no_tier = {
    .map = refuse_map,
    .buffered = refuse_map,
    .read_sync = refuse_read,
    .ahead = refuse_ahead,
    .discard = refuse_discard,
    .wants_promotion = refuse_promotion,
};
static const struct page_tier_hooks *tier = &no_tier;

void page_set_tier_hooks(const struct page_tier_hooks *hooks) {
    tier = hooks != NULL ? hooks : &no_tier;
}

uint32_t page_clock(void) {
    return __atomic_load_n(&clock_seconds, __ATOMIC_RELAXED);
}

void page_clock_set(uint32_t seconds) {
    __atomic_store_n(&clock_seconds, seconds, __ATOMIC_RELAXED);
}

/* --- allocation --- */

static struct page *page_init(struct page *page, size_t total) {
    page->refs = 1;
    page->moving = 0;
    page->bytes = 0;
    page->capacity = (uint32_t)(total - sizeof *page);
    page->clock = page_clock();
    page->lower = 0;
    return page;
}

struct page *page_create(size_t capacity) {
    FIRN_ASSERT(capacity <= PAGE_BYTES_MAX);
    size_t total = memory_good_size(sizeof(struct page) + capacity);
    return page_init(memory_alloc(total), total);
}

struct page *page_try_create(size_t capacity) {
    if (capacity > PAGE_BYTES_MAX) return NULL;
    size_t total = memory_good_size(sizeof(struct page) + capacity);
    struct page *page = memory_try_alloc(total);
    return page != NULL ? page_init(page, total) : NULL;
}

size_t page_memory(const struct page *page) {
    return sizeof *page + page->capacity;
}

void page_free_unshared(struct page *page) {
    FIRN_ASSERT(page->refs == 1 && page->lower == 0);
    memory_free(page);
}

/* --- sharing --- */

static struct int_map shares; /* record -> how many more than one */

uint64_t page_share(uint64_t ref) {
    if (ref == 0) return 0;
    FIRN_ASSERT(page_ref_tag(ref) != PAGE_TAG_OBJECT);
    if (page_ref_tag(ref) == PAGE_TAG_DRAM) {
        page_retain(page_ref_dram(ref));
    } else {
        uintptr_t more = (uintptr_t)int_map_get(&shares, ref);
        int_map_put(&shares, ref, (void *)(more + 1));
    }
    return ref;
}

int page_is_shared(uint64_t ref) {
    return int_map_count(&shares) > 0 && int_map_get(&shares, ref) != NULL;
}

/* One owner of a record less. */
static void release_record(uint64_t ref) {
    uintptr_t more = int_map_count(&shares) > 0 ? (uintptr_t)int_map_get(&shares, ref) : 0;
    if (more == 0) {
        tier->discard(ref);
    } else if (more > 1) {
        int_map_put(&shares, ref, (void *)(more - 1));
    } else {
        int_map_remove(&shares, ref);
        if (int_map_count(&shares) == 0) int_map_fini(&shares);
    }
}

void page_release(uint64_t ref) {
    if (ref == 0) return;
    FIRN_ASSERT(page_ref_tag(ref) != PAGE_TAG_OBJECT);
    if (page_ref_is_lower(ref)) {
        release_record(ref);
        return;
    }
    struct page *page = page_ref_dram(ref);
    FIRN_ASSERT(page->refs > 0);
    if (--page->refs > 0) return;
    if (page->lower != 0) release_record(page->lower);
    memory_free(page);
}

/* --- reading --- */

int page_peek_lower(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    FIRN_ASSERT(page_ref_is_lower(ref));
    if (page_ref_tag(ref) == PAGE_TAG_PMEM) return tier->map(ref, payload_out, seen_out);
    int error = tier->buffered(ref, payload_out, seen_out);
    if (error != FIRN_EFAULT) return error;
    struct fault_set *set = fault_current();
    if (set != NULL && set->mode == FAULT_ASYNC) return fault_record(ref);
    if (set != NULL) set->sync_reads++;
    if (seen_out != NULL) *seen_out = 0;
    return tier->read_sync(ref, payload_out);
}

/* A private copy of ${payload} with room for ${capacity}; NULL: no memory. */
static struct page *page_copy(struct bytes payload, size_t capacity) {
    struct page *page = page_try_create(capacity > payload.size ? capacity : payload.size);
    if (page == NULL) return NULL;
    if (payload.size > 0) memcpy(page->data, payload.data, payload.size);
    page->bytes = (uint32_t)payload.size;
    return page;
}

int page_duplicate(uint64_t ref, uint64_t *copy_out) {
    struct bytes payload;
    *copy_out = 0;
    if (ref == 0) return 0;
    int error = page_peek(ref, &payload, NULL);
    if (error != 0) return error;
    struct page *page = page_copy(payload, 0);
    if (page == NULL) return FIRN_ENOMEM;
    *copy_out = page_ref_of(page);
    return 0;
}

static int promote_all;

void page_promote_all(int on) {
    promote_all = on;
}

int page_read(uint64_t *ref, struct bytes *payload_out) {
    if (page_ref_tag(*ref) == PAGE_TAG_DRAM) {
        page_ref_dram(*ref)->clock = page_clock();
        return page_peek(*ref, payload_out, NULL);
    }
    unsigned seen = 0;
    int error = page_peek_lower(*ref, payload_out, &seen);
    if (error != 0) return error;
    if (!promote_all && (seen == 0 || !tier->wants_promotion(*ref, payload_out->size, seen))) return 0;
    struct page *page = page_copy(*payload_out, 0);
    if (page == NULL) return 0; /* answered from below: promotion is only a wish */
    page->lower = *ref;
    *ref = page_ref_of(page);
    *payload_out = bytes_of(page->data, page->bytes);
    return 0;
}

int page_is_ready(uint64_t ref) {
    if (page_ref_tag(ref) != PAGE_TAG_NVME) return 1;
    struct bytes payload;
    return tier->buffered(ref, &payload, NULL) != FIRN_EFAULT;
}

void page_ahead(uint64_t ref) {
    if (page_reads_ahead && page_ref_tag(ref) == PAGE_TAG_NVME) tier->ahead(ref);
}

/* --- writing --- */

/* page_write for a DRAM page nobody else holds. */
static int page_write_private(uint64_t *ref, size_t capacity, struct page **page_out) {
    struct page *page = page_ref_dram(*ref);
    if (page->capacity < capacity) {
        if (capacity > PAGE_BYTES_MAX) return FIRN_ENOMEM;
        size_t total = memory_good_size(sizeof *page + capacity);
        page = memory_try_realloc(page, total);
        if (page == NULL) return FIRN_ENOMEM;
        page->capacity = (uint32_t)(total - sizeof *page);
        *ref = page_ref_of(page);
    }
    if (page->lower != 0) {
        release_record(page->lower);
        page->lower = 0;
    }
    page->clock = page_clock();
    *page_out = page;
    return 0;
}

int page_write(uint64_t *ref, size_t capacity, struct page **page_out) {
    if (*ref != 0 && page_ref_tag(*ref) == PAGE_TAG_DRAM && page_ref_dram(*ref)->refs == 1) {
        return page_write_private(ref, capacity, page_out);
    }
    struct bytes payload = bytes_of(NULL, 0);
    if (*ref != 0) {
        int error = page_peek(*ref, &payload, NULL);
        if (error != 0) return error;
    }
    struct page *copy = page_copy(payload, capacity);
    if (copy == NULL) return FIRN_ENOMEM;
    page_release(*ref);
    *ref = page_ref_of(copy);
    *page_out = copy;
    return 0;
}
