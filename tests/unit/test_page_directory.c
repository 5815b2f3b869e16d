/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/* Page directories against a naive sorted list of ranges: splits to full depth, merges, walks, locators,
 * deadlines, reaping. References are numbers with a DRAM tag. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "types/page_directory.h"

#define RANGES_MAX 6000u
struct model_range {
    uint64_t start, ref;
    unsigned depth;
    int64_t deadline;
};
static struct model_range model[RANGES_MAX];
static unsigned model_count;
static uint64_t next_ref;

static uint64_t new_ref(void) {
    return random_below(10) == 0 ? 0 : (++next_ref) * 16;
}

static unsigned model_find(uint64_t hash) {
    unsigned low = 0, high = model_count;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (model[middle].start <= hash) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static int64_t model_deadline(void) {
    int64_t smallest = -1;
    for (unsigned i = 0; i < model_count; i++) {
        if (model[i].deadline >= 0 && (smallest < 0 || model[i].deadline < smallest))
            smallest = model[i].deadline;
    }
    return smallest;
}

static void verify(const struct page_directory *directory) {
    struct directory_range range;
    page_directory_find(directory, 0, &range);
    size_t refs = 0;
    for (unsigned i = 0; i < model_count; i++) {
        assert_int_equal(range.start, model[i].start);
        assert_int_equal(range.depth, model[i].depth);
        assert_int_equal(*range.ref, model[i].ref);
        assert_ptr_equal(page_directory_locate(directory, page_directory_locator(&range)), range.ref);
        assert_ptr_equal(page_directory_ref(directory, model[i].start + random_below(3)), range.ref);
        refs += model[i].ref != 0;
        assert_int_equal(page_directory_next(directory, &range), i + 1 < model_count);
    }
    assert_int_equal(page_directory_check(directory), refs);
    assert_int_equal(page_directory_deadline(directory), model_deadline());
}

static void verify_due(const struct page_directory *directory) {
    int64_t now = (int64_t)random_below(1000);
    uint64_t from = random_u64();
    unsigned i = model_find(from);
    struct directory_range range;
    for (;;) {
        while (i < model_count && (model[i].deadline < 0 || model[i].deadline > now))
            i++;
        int found = page_directory_due(directory, from, now, &range);
        assert_int_equal(found, i < model_count);
        if (!found) return;
        assert_int_equal(range.start, model[i].start);
        assert_int_equal(range.depth, model[i].depth);
        assert_int_equal(*range.ref, model[i].ref);
        from = page_directory_end(&range);
        i++;
        if (from == 0) return;
    }
}

static void split(struct page_directory *directory, uint64_t hash) {
    unsigned i = model_find(hash);
    uint64_t zero = new_ref(), one = new_ref();
    int error = page_directory_split(directory, hash, zero, one);
    assert_int_equal(error, model[i].depth == DIRECTORY_DEPTH_MAX ? FIRN_ETOOBIG : 0);
    if (error != 0) return;
    memmove(&model[i + 1], &model[i], (model_count - i) * sizeof model[0]);
    model_count++;
    model[i].depth = ++model[i + 1].depth;
    model[i].ref = zero;
    model[i + 1].ref = one;
    model[i + 1].start = model[i].start + (UINT64_C(1) << (64 - model[i].depth));
}

static void merge(struct page_directory *directory, uint64_t hash) {
    unsigned i = model_find(hash);
    struct directory_range range, buddy;
    page_directory_find(directory, hash, &range);
    int has = page_directory_buddy(directory, &range, &buddy);
    unsigned other = 0;
    if (range.depth > 0) other = model_find(range.start ^ UINT64_C(1) << (64 - range.depth));
    assert_int_equal(has, range.depth > 0 && model[other].depth == range.depth);
    if (!has) return;
    uint64_t ref = new_ref();
    page_directory_merge(directory, random_below(2) ? &range : &buddy, ref);
    unsigned low = i < other ? i : other;
    int64_t a = model[low].deadline, b = model[low + 1].deadline;
    model[low].deadline = a < 0 ? b : b < 0 || a < b ? a : b;
    model[low].ref = ref;
    model[low].depth--;
    memmove(&model[low + 1], &model[low + 2], (model_count - low - 2) * sizeof model[0]);
    model_count--;
}

static uint64_t clustered(void) {
    return random_below(3) == 0 ? random_u64()
                                : UINT64_C(0xabcdef0123456789) ^ (random_u64() >> random_below(64));
}

static unsigned released;
static void on_release(uint64_t ref, void *ctx) {
    (void)ctx;
    assert_true(ref != 0);
    released++;
}

static void run(uint64_t (*draw)(void), unsigned rounds) {
    struct page_directory directory;
    model_count = 1;
    model[0] = (struct model_range){.ref = 16, .deadline = -1};
    page_directory_init(&directory, 16);
    for (unsigned round = 0; round < rounds; round++) {
        unsigned dice = (unsigned)random_below(100), growing = round / (rounds / 4) % 2 == 0 ? 60 : 10;
        if (dice < growing && model_count < RANGES_MAX) {
            split(&directory, draw());
        } else if (dice < 75) {
            merge(&directory, draw());
        } else {
            uint64_t hash = draw();
            unsigned i = model_find(hash);
            model[i].deadline = random_below(3) == 0 ? -1 : (int64_t)random_below(1000);
            page_directory_set_deadline(&directory, hash, model[i].deadline);
        }
        if (round % 997 == 0) {
            verify(&directory);
            verify_due(&directory);
        }
    }
    verify(&directory);
    for (unsigned i = 0; i < model_count; i++)
        page_directory_set_deadline(&directory, model[i].start, -1);
    assert_int_equal(page_directory_deadline(&directory), -1);
    size_t refs = page_directory_check(&directory);
    released = 0;
    unsigned slices = 0;
    while (page_directory_reap(&directory, 7, on_release, NULL))
        slices++;
    assert_int_equal(released, refs);
    assert_true(slices >= refs / 7 - 1);
    assert_int_equal(directory.bytes, 0);
    page_directory_fini(&directory);
}

static void test_even(void **state) {
    (void)state;
    run(random_u64, 60000);
}
static void test_clustered(void **state) {
    (void)state;
    run(clustered, 60000);
}

static void test_merge_to_one(void **state) {
    (void)state;
    struct page_directory directory;
    page_directory_init(&directory, 16);
    size_t bytes = directory.bytes;
    for (unsigned i = 0; i < DIRECTORY_DEPTH_MAX; i++)
        assert_int_equal(page_directory_split(&directory, UINT64_MAX, 16, 32), 0);
    assert_int_equal(page_directory_split(&directory, UINT64_MAX, 16, 32), FIRN_ETOOBIG);
    for (unsigned i = 0; i < DIRECTORY_DEPTH_MAX; i++) {
        struct directory_range range, buddy;
        page_directory_find(&directory, UINT64_MAX, &range);
        assert_int_equal(page_directory_buddy(&directory, &range, &buddy), 1);
        page_directory_merge(&directory, &range, 48);
    }
    assert_int_equal(page_directory_check(&directory), 1);
    assert_int_equal(directory.bytes, bytes);
    page_directory_fini(&directory);
}

int main(void) {
    random_seed(3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_clustered),
        cmocka_unit_test(test_merge_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
