/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_page firn_base */
/*
 * Goal: pages keep P1..P4 of page.h. Method: a recording set of tier hooks stands in for the manager; each
 * case checks which records were discarded, and memory_used afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault_point.h"
#include "base/memory.h"
#include "page/fault.h"
#include "page/page.h"

static struct {
    uint64_t discarded[64];
    unsigned discards, seen, wanted, sync_reads;
    int error, here;
    struct bytes payload;
} tier;

static int map(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    (void)ref;
    if (tier.error != 0) return tier.error;
    *payload_out = tier.payload;
    if (seen_out != NULL) *seen_out = tier.seen;
    return 0;
}
static int buffered(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    return tier.here ? map(ref, payload_out, seen_out) : FIRN_EFAULT;
}
static int read_sync(uint64_t ref, struct bytes *payload_out) {
    tier.sync_reads++;
    return map(ref, payload_out, NULL);
}
static void discard(uint64_t ref) {
    tier.discarded[tier.discards++] = ref;
}
static int wants(uint64_t ref, size_t bytes, unsigned seen) {
    (void)ref, (void)bytes;
    return seen >= tier.wanted;
}
static const struct page_tier_hooks hooks = {map, buffered, read_sync, discard, wants, NULL};

static size_t before;

static int setup(void **state) {
    (void)state;
    memset(&tier, 0, sizeof tier);
    tier.here = 1;
    tier.wanted = 1;
    tier.payload = bytes_of("content below", 13);
    page_set_tier_hooks(&hooks);
    before = memory_used();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    page_set_tier_hooks(NULL);
    fault_point_reset();
    assert_int_equal(memory_used(), before);
    return 0;
}

static uint64_t page_with(const char *text) {
    struct page *page = page_create(strlen(text));
    memcpy(page->data, text, strlen(text));
    page->bytes = (uint32_t)strlen(text);
    return page_ref_of(page);
}

static void assert_text(uint64_t ref, const char *text) {
    struct bytes payload;
    assert_int_equal(page_peek(ref, &payload, NULL), 0);
    assert_true(bytes_equal(payload, bytes_of_text(text)));
}

#define PMEM(address) page_ref_lower(PAGE_TAG_PMEM, address)
#define NVME(address) page_ref_lower(PAGE_TAG_NVME, address)

static void test_create(void **state) {
    (void)state;
    for (size_t bytes = 0; bytes < 100000; bytes += 37) {
        struct page *page = page_create(bytes);
        assert_true(page->capacity >= bytes && page->refs == 1 && page->bytes == 0 && page->lower == 0);
        assert_int_equal(page_memory(page), memory_good_size(page_memory(page))); /* nothing wasted */
        assert_int_equal(memory_used() - before, page_memory(page));
        page_free_unshared(page);
    }
    fault_point_arm(FAULT_MEMORY_TRY, 0, 1);
    assert_null(page_try_create(100));
    fault_point_reset();
    assert_null(page_try_create((size_t)1 << 40));
}

static void test_references(void **state) {
    (void)state;
    uint64_t ref = PMEM(12345);
    assert_true(page_ref_is_lower(ref) && page_ref_tag(ref) == PAGE_TAG_PMEM &&
                page_ref_address(ref) == 12345);
    ref = NVME((1ull << 60) - 1);
    assert_true(page_ref_tag(ref) == PAGE_TAG_NVME && page_ref_address(ref) == (1ull << 60) - 1);
    assert_false(page_ref_is_lower(0));
    page_release(0);
    ref = page_with("x");
    page_retain(page_ref_dram(ref));
    page_release(ref);
    assert_text(ref, "x");
    page_ref_dram(ref)->lower = NVME(9);
    page_release(ref); /* the last: page and record go */
    assert_int_equal(tier.discards, 1);
    assert_true(tier.discarded[0] == NVME(9));
    page_release(NVME(10));
    assert_true(tier.discards == 2 && tier.discarded[1] == NVME(10));
}

static void test_write_private(void **state) {
    (void)state;
    uint64_t ref = page_with("abc"), same = ref;
    page_ref_dram(ref)->lower = PMEM(5);
    struct page *page;
    assert_int_equal(page_write(&ref, 3, &page), 0);
    assert_true(ref == same && page == page_ref_dram(ref)); /* in place */
    assert_true(page->lower == 0 && tier.discards == 1 && tier.discarded[0] == PMEM(5));
    assert_int_equal(page_write(&ref, 100000, &page), 0); /* grows */
    assert_true(page->capacity >= 100000 && page == page_ref_dram(ref));
    assert_text(ref, "abc");
    page_release(ref);
    assert_int_equal(tier.discards, 1);
}

static void test_write_shared(void **state) {
    (void)state;
    uint64_t ref = page_with("abc"), old = ref;
    page_ref_dram(ref)->lower = NVME(5);
    page_retain(page_ref_dram(ref));
    struct page *page;
    assert_int_equal(page_write(&ref, 10, &page), 0);
    assert_true(ref != old && page->lower == 0 && page->refs == 1);
    page->data[0] = 'X';
    assert_text(old, "abc"); /* P1 */
    assert_text(ref, "Xbc");
    assert_int_equal(tier.discards, 0); /* the clean copy stays with the old content */
    page_release(old);
    assert_int_equal(tier.discards, 1);
    page_release(ref);
}

/* A record dies with its last share, whoever has it: slots, or a page whose clean copy it is. */
static void test_shared(void **state) {
    (void)state;
    assert_true(page_share(0) == 0);
    uint64_t ref = page_with("abc"), lower = NVME(77), many[100];
    assert_true(page_share(ref) == ref && page_ref_dram(ref)->refs == 2);
    page_release(ref);
    for (unsigned i = 0; i < 100; i++)
        many[i] = page_share(lower);
    assert_true(page_is_shared(lower) && !page_is_shared(NVME(78)));
    page_ref_dram(ref)->lower = lower;
    page_release(ref);
    struct page *page;
    assert_int_equal(page_write(&many[0], 3, &page), 0); /* a share for a page */
    assert_true(tier.discards == 0 && page->refs == 1);
    page_release(many[0]);
    for (unsigned i = 1; i < 100; i++) {
        assert_int_equal(tier.discards, 0);
        page_release(many[i]);
    }
    assert_true(tier.discards == 1 && tier.discarded[0] == lower && !page_is_shared(lower));
}

static void test_write_lower(void **state) {
    (void)state;
    for (int nvme = 0; nvme < 2; nvme++) {
        uint64_t ref = nvme ? NVME(7) : PMEM(7), lower = ref;
        struct page *page;
        tier.discards = 0;
        assert_int_equal(page_write(&ref, 1, &page), 0);
        assert_text(ref, "content below");
        assert_true(tier.discards == 1 && tier.discarded[0] == lower);
        page_release(ref);
    }
    uint64_t none = 0;
    struct page *page;
    assert_int_equal(page_write(&none, 50, &page), 0);
    assert_true(page->bytes == 0 && page->capacity >= 50);
    page_release(none);
}

static void test_write_fails(void **state) {
    (void)state;
    struct page *page;
    uint64_t ref = page_with("abc"), same = ref;
    page_ref_dram(ref)->lower = NVME(5);
    fault_point_arm(FAULT_MEMORY_TRY, 0, UINT64_MAX);
    assert_int_equal(page_write(&ref, 100000, &page), FIRN_ENOMEM);
    assert_true(ref == same && tier.discards == 0 && page_ref_dram(ref)->lower == NVME(5));
    page_retain(page_ref_dram(ref));
    assert_int_equal(page_write(&ref, 3, &page), FIRN_ENOMEM);
    assert_true(ref == same && page_ref_dram(ref)->refs == 2);
    uint64_t lower = NVME(8);
    assert_int_equal(page_write(&lower, 3, &page), FIRN_ENOMEM);
    assert_true(lower == NVME(8) && tier.discards == 0);
    fault_point_reset();
    tier.error = FIRN_ECORRUPT;
    assert_int_equal(page_write(&lower, 3, &page), FIRN_ECORRUPT);
    assert_true(lower == NVME(8) && tier.discards == 0);
    page_release(ref);
    page_release(ref);
}

static void test_faults(void **state) {
    (void)state;
    struct fault_set set;
    struct bytes payload;
    tier.here = 0;
    fault_begin(&set, FAULT_ASYNC);
    for (int round = 0; round < 2; round++) {
        for (uint64_t address = 1; address <= FAULT_SET_MAX + 10; address++) {
            assert_int_equal(page_peek(NVME(address), &payload, NULL), FIRN_EFAULT);
        }
    }
    assert_int_equal(set.count, FAULT_SET_MAX); /* each once; no more than fit */
    assert_false(page_is_ready(NVME(1)));
    assert_true(page_is_ready(PMEM(1)));
    assert_int_equal(page_peek(PMEM(1), &payload, NULL), 0); /* readable in place */
    uint64_t ref = NVME(3);
    assert_int_equal(page_read(&ref, &payload), FIRN_EFAULT);
    struct page *page;
    assert_int_equal(page_write(&ref, 1, &page), FIRN_EFAULT);
    assert_true(ref == NVME(3) && tier.discards == 0);
    fault_must_finish();
    assert_int_equal(page_peek(NVME(3), &payload, NULL), 0);
    assert_true(set.sync_reads == 1 && tier.sync_reads == 1);
    fault_end(&set);
    assert_null(fault_current());
    assert_int_equal(page_peek(NVME(3), &payload, NULL), 0); /* without a set: blocking */
    assert_int_equal(tier.sync_reads, 2);
    tier.error = FIRN_EIO;
    assert_int_equal(page_peek(NVME(3), &payload, NULL), FIRN_EIO);
}

static void test_promotion(void **state) {
    (void)state;
    for (int nvme = 0; nvme < 2; nvme++) {
        uint64_t lower = nvme ? NVME(7) : PMEM(7), ref = lower;
        struct bytes payload;
        tier.discards = tier.seen = 0;
        tier.wanted = 0;
        assert_int_equal(page_read(&ref, &payload), 0);
        assert_true(ref == lower); /* the first read stays below */
        tier.seen = 1;
        tier.wanted = 2;
        assert_int_equal(page_read(&ref, &payload), 0);
        assert_true(ref == lower); /* not wanted */
        tier.wanted = 1;
        fault_point_arm(FAULT_MEMORY_TRY, 0, 1);
        assert_int_equal(page_read(&ref, &payload), 0);
        assert_true(ref == lower); /* no memory: no promotion, but the answer */
        fault_point_reset();
        page_clock_set(1234);
        assert_int_equal(page_read(&ref, &payload), 0);
        assert_int_equal(page_ref_tag(ref), PAGE_TAG_DRAM);
        assert_true(page_ref_dram(ref)->lower == lower && page_ref_dram(ref)->clock == 1234);
        assert_true(bytes_equal(payload, tier.payload) && payload.data == page_ref_dram(ref)->data);
        page_clock_set(1300);
        assert_int_equal(page_read(&ref, &payload), 0);
        assert_int_equal(page_ref_dram(ref)->clock, 1300);
        page_release(ref);
        assert_true(tier.discards == 1 && tier.discarded[0] == lower);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, setup, teardown),
        cmocka_unit_test_setup_teardown(test_references, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_private, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_lower, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_promotion, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
