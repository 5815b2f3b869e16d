/* SPDX-License-Identifier: BSD-3-Clause */
/* A tier manager over a null backend, and pages that lie there. Include after cmocka.h. */
#ifndef FIRN_TESTS_SUPPORT_COLD_PAGE_H
#define FIRN_TESTS_SUPPORT_COLD_PAGE_H

#include <string.h>

#include "page/page.h"
#include "tiering/tier.h"

static uint64_t cold_page_finished;

static inline void cold_page_begin(const struct tier_victim *victim) {
    page_retain(page_ref_dram(victim->ref));
}

static inline int cold_page_finish(const struct tier_victim *victim, uint64_t ref) {
    (void)victim;
    cold_page_finished = ref;
    return ref != 0;
}

static inline unsigned cold_page_no_victims(int from, struct tier_victim *victims_out, unsigned limit) {
    (void)from, (void)victims_out, (void)limit;
    return 0;
}

static inline uint64_t cold_page_no_evict(int from) {
    (void)from;
    return 0;
}

static inline void cold_page_no_census(uint64_t keys_out[4], uint64_t pages_out[4]) {
    memset(keys_out, 0, 4 * sizeof *keys_out);
    memset(pages_out, 0, 4 * sizeof *pages_out);
}

static inline void cold_page_no_wake(void *ctx) {
    (void)ctx;
}

/* Start the tier manager; tier_stop ends it. */
static inline void cold_page_start(void) {
    static const struct tier_keyspace_hooks keyspace = {.victims = cold_page_no_victims,
                                                        .begin = cold_page_begin,
                                                        .finish = cold_page_finish,
                                                        .evict = cold_page_no_evict,
                                                        .census = cold_page_no_census};
    struct tier_config config = {.pmem_path = "",
                                 .nvme_path = "nvme",
                                 .nvme_bytes = 1 << 24,
                                 .nvme_ops = &tier_null_ops,
                                 .wake = cold_page_no_wake};
    char message[256];
    assert_int_equal(tier_start(&config, &keyspace, message, sizeof message), 0);
}

/* A page of 64 times ${byte}, below; number ${object_id} of its owner. The caller releases it. */
static inline uint64_t cold_page(char byte, uint64_t object_id) {
    struct page *page = page_create(64);
    memset(page->data, byte, 64);
    page->bytes = 64;
    struct tier_victim victim = {.ref = page_ref_of(page), .object_id = object_id};
    assert_int_equal(tier_demote_now(&victim, PAGE_TAG_NVME), 0);
    page_release(page_ref_of(page));
    return cold_page_finished;
}

#endif
