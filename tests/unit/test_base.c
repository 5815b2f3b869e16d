/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_base */
/* Goal: the base layer keeps its contracts. Method: small direct checks; rings and counters also across
 * threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/bytes_builder.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/ring.h"

static void test_errors(void **state) {
    (void)state;
    assert_string_equal(error_text(0), "success");
    assert_string_equal(error_text(FIRN_EIO), "tier device failed");
    assert_string_equal(error_text(-9999), "unknown error");
    assert_true(error_is_retryable(FIRN_EFAULT) && !error_is_retryable(FIRN_ECORRUPT) &&
                !error_is_retryable(0));
}

static void *free_elsewhere(void *pointer) {
    memory_free(pointer);
    memory_free(memory_alloc(100000));
    return NULL;
}

static void test_memory(void **state) {
    (void)state;
    memory_free(memory_alloc(1)); /* this thread's counter exists */
    size_t before = memory_used();
    void *blocks[100];
    size_t sum = 0;
    for (int i = 0; i < 100; i++) {
        blocks[i] = memory_alloc((size_t)i * 37 + 1);
        sum += memory_usable(blocks[i]);
        assert_true(memory_usable(blocks[i]) >= (size_t)i * 37 + 1);
        assert_true(memory_good_size((size_t)i * 37 + 1) >= (size_t)i * 37 + 1);
    }
    assert_int_equal(memory_used() - before, sum);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        if (i % 25 == 0) {
            pthread_create(&thread, NULL, free_elsewhere, blocks[i]);
            pthread_join(thread, NULL);
        } else {
            memory_free(blocks[i]);
        }
    }
    assert_int_equal(memory_used(), before);
    void *aligned = memory_alloc_aligned(4096, 5000);
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    aligned = memory_realloc(aligned, 100);
    memory_free(aligned);
    memory_free(NULL);
    assert_int_equal(memory_used(), before);
    fault_point_arm(FAULT_MEMORY_TRY, 1, 1);
    void *first = memory_try_alloc(10);
    assert_non_null(first);
    assert_null(memory_try_realloc(first, 20));
    first = memory_try_realloc(first, 20);
    assert_non_null(first);
    memory_free(first);
    fault_point_reset();
    assert_true(memory_resident() >= memory_resident_anonymous());
#ifndef FIRN_SANITIZED
    assert_true(memory_resident_anonymous() > 0);
#endif
    assert_true(strlen(memory_allocator()) > 0);
    memory_purge();
}

struct sweep {
    int failed, runs, verified;
};
static void sweep_body(void *ctx) {
    struct sweep *sweep = ctx;
    sweep->runs++;
    sweep->failed = 0;
    for (int i = 0; i < 3; i++)
        sweep->failed += fault_point_fails(FAULT_FILE_WRITE);
}
static void sweep_verify(void *ctx) {
    ((struct sweep *)ctx)->verified++;
}

static void test_fault_points(void **state) {
    (void)state;
    struct sweep sweep = {0};
    assert_int_equal(fault_point_sweep(FAULT_FILE_WRITE, 0, sweep_body, sweep_verify, &sweep), 4);
    assert_true(sweep.runs == 4 && sweep.verified == 4 && sweep.failed == 0);
    fault_point_reset();
    assert_int_equal(fault_point_fails(FAULT_FILE_WRITE), 0);
    fault_point_arm(FAULT_FILE_WRITE, 1, 2);
    int pattern = 0;
    for (int i = 0; i < 5; i++)
        pattern = pattern << 1 | fault_point_fails(FAULT_FILE_WRITE);
    assert_int_equal(pattern, 0x0c);
    assert_int_equal(fault_point_passes(FAULT_FILE_WRITE), 5);
    assert_int_equal(fault_point_by_name("file_write"), FAULT_FILE_WRITE);
    assert_int_equal(fault_point_by_name("nothing"), -1);
    assert_string_equal(fault_point_name(FAULT_ROCKS_READ), "ROCKS_READ");
    fault_point_reset();
}

#define RING_MESSAGES 20000u
static void *ring_producer(void *ring) {
    for (uintptr_t i = 1; i <= RING_MESSAGES; i++)
        ring_push_wait(ring, (void *)i);
    return NULL;
}

static void test_ring(void **state) {
    (void)state;
    struct ring *ring = ring_create(8);
    void *messages[16];
    int was_empty;
    for (uintptr_t i = 1; i <= 8; i++) {
        assert_int_equal(ring_push(ring, (void *)i, &was_empty), 0);
        assert_int_equal(was_empty, i == 1);
    }
    assert_int_equal(ring_push(ring, ring, NULL), FIRN_EAGAIN);
    assert_int_equal(ring_count(ring), 8);
    assert_int_equal(ring_pop(ring, messages, 16), 8);
    for (uintptr_t i = 0; i < 8; i++)
        assert_true((uintptr_t)messages[i] == i + 1);
    assert_int_equal(ring_pop(ring, messages, 16), 0);

    pthread_t producers[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&producers[i], NULL, ring_producer, ring);
    uint64_t sum = 0;
    for (size_t seen = 0; seen < 2 * RING_MESSAGES;) {
        size_t count = ring_pop_wait(ring, messages, 16);
        for (size_t i = 0; i < count; i++)
            sum += (uintptr_t)messages[i];
        seen += count;
    }
    assert_true(sum == (uint64_t)RING_MESSAGES * (RING_MESSAGES + 1));
    for (int i = 0; i < 2; i++)
        pthread_join(producers[i], NULL);
    ring_close(ring);
    assert_int_equal(ring_pop_wait(ring, messages, 16), 0);
    ring_destroy(ring);
    ring_destroy(NULL);
}

static void test_builder(void **state) {
    (void)state;
    struct bytes_builder builder = {0};
    size_t before = memory_used();
    for (int i = 0; i < 1000; i++)
        bytes_builder_format(&builder, "%d,", i);
    assert_int_equal(builder.size, 3890);
    assert_memory_equal(builder.data + builder.size - 4, "999,", 4);
    bytes_builder_clear(&builder);
    bytes_builder_append_text(&builder, "ab");
    bytes_builder_append_byte(&builder, 'c');
    bytes_builder_append(&builder, NULL, 0);
    assert_true(bytes_equal(bytes_builder_bytes(&builder), bytes_of_text("abc")));
    fault_point_arm(FAULT_MEMORY_TRY, 0, 1);
    assert_int_equal(bytes_builder_try_reserve(&builder, 100000), FIRN_ENOMEM);
    fault_point_reset();
    assert_int_equal(bytes_builder_try_reserve(&builder, 100000), 0);
    assert_true(bytes_equal(bytes_builder_bytes(&builder), bytes_of_text("abc")));
    bytes_builder_fini(&builder);
    assert_int_equal(memory_used(), before);
}

static void test_random_hash_clock(void **state) {
    (void)state;
    unsigned counts[10] = {0};
    random_seed(5);
    uint64_t first = random_u64();
    for (int i = 0; i < 100000; i++)
        counts[random_below(10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 9500, 10500);
    random_seed(5);
    assert_true(random_u64() == first);
    uint64_t before = hash_key(bytes_of_text("key"));
    hash_seed_init();
    assert_true(hash_key(bytes_of_text("key")) != before);
    assert_true(hash_checksum(bytes_of_text("key"), 1) != hash_checksum(bytes_of_text("key"), 2));
    int64_t monotonic = clock_monotonic_us();
    clock_update();
    assert_true(clock_cached_ms() > 1600000000000 && clock_cached_us() / 1000 == clock_cached_ms());
    assert_true(clock_monotonic_us() >= monotonic);
}

static void test_log(void **state) {
    (void)state;
    char path[] = "/tmp/firn_test_log_XXXXXX", moved[64], line[256];
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    close(descriptor);
    snprintf(moved, sizeof moved, "%s.1", path);
    log_set_path(path);
    log_set_level(LOG_LEVEL_NOTICE);
    log_verbose("not written");
    log_notice("number %d", 7);
    rename(path, moved);
    log_warning("after rotation");
    log_set_path("");

    int pid, day, year, hour, minute, second, ms;
    char month[8], mark;
    FILE *file = fopen(moved, "r");
    assert_non_null(fgets(line, sizeof line, file));
    assert_int_equal(sscanf(line, "%d:M %d %3s %d %d:%d:%d.%d %c", &pid, &day, month, &year, &hour, &minute,
                            &second, &ms, &mark),
                     9);
    assert_true(pid == getpid() && mark == '*' && strstr(line, " * number 7\n") != NULL);
    assert_null(fgets(line, sizeof line, file));
    fclose(file);
    file = fopen(path, "r");
    assert_non_null(fgets(line, sizeof line, file));
    assert_non_null(strstr(line, " # after rotation\n"));
    fclose(file);
    unlink(path);
    unlink(moved);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),       cmocka_unit_test(test_memory),
        cmocka_unit_test(test_fault_points), cmocka_unit_test(test_ring),
        cmocka_unit_test(test_builder),      cmocka_unit_test(test_random_hash_clock),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
