/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A tier for model tests: records in plain memory, some of them "PMEM" (readable in place), most "NVME"
 * (a command faults on them and runs again after fake_tier_load). Promotion is decided by the seeded random
 * numbers. Include after cmocka.h; one test program has one.
 */
#ifndef FIRN_TESTS_FAKE_TIER_H
#define FIRN_TESTS_FAKE_TIER_H

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "page/fault.h"
#include "page/page.h"
#include "types/type.h"

#define FAKE_RECORDS_MAX  1000000u
#define FAKE_BUFFERED_MAX 4096u

struct fake_record {
    uint8_t *data;
    size_t bytes;
    unsigned seen;
    int buffered;
};
static struct fake_record fake_records[FAKE_RECORDS_MAX];
static uint64_t fake_records_count = 1, fake_records_alive;
static uint64_t fake_buffered[FAKE_BUFFERED_MAX];
static unsigned fake_buffered_count, fake_promotions;

static inline struct fake_record *fake_record_of(uint64_t ref) {
    uint64_t id = page_ref_address(ref);
    assert_true(id > 0 && id < fake_records_count && fake_records[id].data != NULL);
    return &fake_records[id];
}
static inline int fake_tier_map(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    struct fake_record *record = fake_record_of(ref);
    *payload_out = bytes_of(record->data, record->bytes);
    if (seen_out != NULL) *seen_out = record->seen++;
    return 0;
}
static inline int fake_tier_buffered(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    return fake_record_of(ref)->buffered ? fake_tier_map(ref, payload_out, seen_out) : FIRN_EFAULT;
}
static inline int fake_tier_read_sync(uint64_t ref, struct bytes *payload_out) {
    return fake_tier_map(ref, payload_out, NULL);
}
static inline void fake_tier_discard(uint64_t ref) {
    struct fake_record *record = fake_record_of(ref);
    free(record->data);
    record->data = NULL;
    fake_records_alive--;
}
static inline int fake_tier_wants_promotion(uint64_t ref, size_t bytes, unsigned seen) {
    (void)ref, (void)bytes, (void)seen;
    int wants = random_below(2) != 0;
    fake_promotions += (unsigned)wants;
    return wants;
}

static inline void fake_tier_install(void) {
    static const struct page_tier_hooks hooks = {
        .map = fake_tier_map,
        .buffered = fake_tier_buffered,
        .read_sync = fake_tier_read_sync,
        .discard = fake_tier_discard,
        .wants_promotion = fake_tier_wants_promotion,
    };
    page_set_tier_hooks(&hooks);
}

/* These bytes as a record of one tier or the other. */
static inline uint64_t fake_tier_put_bytes(const void *data, size_t bytes) {
    assert_true(fake_records_count < FAKE_RECORDS_MAX);
    struct fake_record *record = &fake_records[fake_records_count];
    record->data = malloc(bytes + 1);
    if (bytes > 0) memcpy(record->data, data, bytes);
    record->bytes = bytes;
    fake_records_alive++;
    return page_ref_lower(random_below(3) == 0 ? PAGE_TAG_PMEM : PAGE_TAG_NVME, fake_records_count++);
}

/* The content of a DRAM page as a lower record; the page's clean copy if there is one. The page stays. */
static inline uint64_t fake_tier_put(struct page *page) {
    uint64_t ref = page->lower;
    if (ref == 0) return fake_tier_put_bytes(page->data, page->bytes);
    assert_int_equal(fake_record_of(ref)->bytes, page->bytes);
    assert_memory_equal(fake_record_of(ref)->data, page->data, page->bytes);
    page->lower = 0;
    return ref;
}

/* "Read" what a run asked for; it stays readable until fake_tier_drop. */
static inline void fake_tier_load(const struct fault_set *set) {
    for (unsigned i = 0; i < set->count; i++) {
        fake_record_of(set->refs[i])->buffered = 1;
        assert_true(fake_buffered_count < FAKE_BUFFERED_MAX);
        fake_buffered[fake_buffered_count++] = page_ref_address(set->refs[i]);
    }
}
static inline void fake_tier_drop(void) {
    while (fake_buffered_count > 0)
        fake_records[fake_buffered[--fake_buffered_count]].buffered = 0;
}

/* Send up to ${want} pages of an object down, through victims and locate as the keyspace does it. */
static inline void fake_tier_demote_object(const struct type_ops *ops, struct object *object, unsigned want) {
    struct type_victim victims[64];
    unsigned count = ops->victims(object, PAGE_TAG_DRAM, 100, victims, want < 64 ? want : 64);
    assert_true(count <= want);
    for (unsigned i = 0; i < count; i++) {
        uint64_t *word = ops->locate(object, victims[i].locator);
        assert_non_null(word);
        assert_int_equal(*word, victims[i].ref);
        struct page *page = page_ref_dram(*word);
        object_account(object, -(int64_t)page->bytes, 0, -1);
        *word = fake_tier_put(page);
        page_release(page_ref_of(page));
    }
    count = ops->victims(object, PAGE_TAG_PMEM, 20, victims, 2);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(page_ref_tag(victims[i].ref), PAGE_TAG_PMEM);
}

#endif
