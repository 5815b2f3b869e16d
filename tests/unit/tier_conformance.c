/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Goal: a backend that passes here can be trusted by the manager. Method: a small harness (ring, semaphore,
 * recomputable payloads) and cases from simple to mixed; every record that is read is compared byte for byte,
 * every operation must complete exactly once.
 */
#include "tier_conformance.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"

#define RING_MESSAGES 16384u
#define WAIT_SECONDS  60
#define CHURN_RECORDS 2000u
#define CHURN_STEPS   40000u

struct harness {
    const struct tier_conformance *suite;
    const struct tier_backend_ops *ops;
    struct tier_backend *backend;
    struct ring *ring;
    sem_t woken;
    uint64_t submitted, completed;
};

static void harness_wake(void *ctx) {
    sem_post(&((struct harness *)ctx)->woken);
}

static void harness_open(struct harness *harness, void **state) {
    memset(harness, 0, sizeof *harness);
    harness->suite = *state;
    harness->ops = harness->suite->ops;
    harness->ring = ring_create(RING_MESSAGES);
    sem_init(&harness->woken, 0, 0);
    struct tier_backend_config config = {
        .path = harness->suite->path,
        .bytes_max = harness->suite->bytes_max,
        .memory_max = harness->suite->memory_max,
        .sink = {.completions = harness->ring, .wake = harness_wake, .ctx = harness},
    };
    char message[512] = "";
    int error = harness->ops->open(&config, &harness->backend, message, sizeof message);
    if (error != 0) fail_msg("open: %d %s", error, message);
    assert_non_null(harness->backend);
}

/* Take what is there; each operation's ctx counts its completions. */
static unsigned harness_take(struct harness *harness) {
    void *messages[64];
    unsigned taken = 0;
    size_t count;
    if (harness->backend != NULL && harness->ops->collect != NULL)
        (void)harness->ops->collect(harness->backend);
    while ((count = ring_pop(harness->ring, messages, 64)) > 0) {
        for (size_t i = 0; i < count; i++) {
            struct tier_operation *operation = messages[i];
            int *completions = operation->ctx;
            assert_int_equal(*completions, 0);
            ++*completions;
            assert_true(operation->completed_us >= operation->submitted_us);
            harness->completed++;
            taken++;
        }
    }
    return taken;
}

static void harness_wait_one(struct harness *harness) {
    int64_t give_up_us = clock_monotonic_us() + WAIT_SECONDS * 1000000ll;
    while (harness_take(harness) == 0) {
        if (harness->ops->collect != NULL) { /* what the kernel finishes wakes nobody here */
            if (clock_monotonic_us() > give_up_us) fail_msg("an operation does not complete");
            usleep(20);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += WAIT_SECONDS;
        if (sem_timedwait(&harness->woken, &until) != 0 && errno == ETIMEDOUT)
            fail_msg("an operation does not complete");
    }
}

static void harness_drain(struct harness *harness) {
    while (harness->completed < harness->submitted)
        harness_wait_one(harness);
}

static void harness_close(struct harness *harness) {
    harness->ops->close(harness->backend);
    harness->backend = NULL;
    harness_take(harness);
    assert_int_equal(harness->completed, harness->submitted);
    ring_destroy(harness->ring);
    sem_destroy(&harness->woken);
}

static void harness_submit(struct harness *harness, struct tier_operation **operations, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        operations[i]->submitted_us = clock_monotonic_us();
    int error;
    while ((error = harness->ops->submit(harness->backend, operations, count)) == FIRN_EAGAIN)
        harness_wait_one(harness);
    assert_int_equal(error, 0);
    harness->submitted += count;
}

/* --- records --- */

struct record {
    uint64_t address;
    uint32_t bytes;
    uint64_t seed;
    uint8_t *data; /* during a PUT */
    struct tier_operation put, get;
    int put_done, get_done;
};

static void payload_fill(uint8_t *data, uint32_t bytes, uint64_t seed) {
    for (uint32_t i = 0; i < bytes; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        data[i] = (uint8_t)(seed >> 56 & (i & 64 ? 0x0f : 0xff));
    }
}

static void payload_check(const uint8_t *data, size_t bytes, const struct record *record) {
    assert_int_equal(bytes, record->bytes);
    uint8_t *expected = memory_alloc(record->bytes + 1u);
    payload_fill(expected, record->bytes, record->seed);
    assert_memory_equal(data, expected, bytes);
    memory_free(expected);
}

static int record_reserve(struct harness *harness, struct record *record, uint32_t bytes) {
    memset(record, 0, sizeof *record);
    record->bytes = bytes;
    record->seed = random_u64();
    return harness->ops->reserve(harness->backend, bytes, &record->address);
}

static void record_put_prepare(struct record *record) {
    record->data = memory_alloc(record->bytes + 1u);
    payload_fill(record->data, record->bytes, record->seed);
    record->put = (struct tier_operation){.kind = TIER_PUT,
                                          .address = record->address,
                                          .data = record->data,
                                          .bytes = record->bytes,
                                          .ctx = &record->put_done};
}

static void record_put_finish(struct record *record) {
    assert_int_equal(record->put_done, 1);
    assert_int_equal(record->put.status, 0);
    memory_free(record->data);
    record->data = NULL;
}

static void record_put(struct harness *harness, struct record *record, uint32_t bytes) {
    assert_int_equal(record_reserve(harness, record, bytes), 0);
    record_put_prepare(record);
    struct tier_operation *operation = &record->put;
    harness_submit(harness, &operation, 1);
    harness_drain(harness);
    record_put_finish(record);
}

static void record_get_prepare(struct record *record) {
    record->get_done = 0;
    record->get =
        (struct tier_operation){.kind = TIER_GET, .address = record->address, .ctx = &record->get_done};
}

static void record_get_finish(struct record *record) {
    assert_int_equal(record->get_done, 1);
    assert_int_equal(record->get.status, 0);
    assert_non_null(record->get.page);
    assert_int_equal(record->get.page->refs, 1);
    assert_true(record->get.page->lower == 0);
    payload_check(record->get.page->data, record->get.page->bytes, record);
    page_free_unshared(record->get.page);
}

/* By every way there is. */
static void record_check(struct harness *harness, struct record *record) {
    record_get_prepare(record);
    struct tier_operation *operation = &record->get;
    harness_submit(harness, &operation, 1);
    harness_drain(harness);
    record_get_finish(record);
    struct page *page = NULL;
    assert_int_equal(harness->ops->read(harness->backend, record->address, &page), 0);
    payload_check(page->data, page->bytes, record);
    page_free_unshared(page);
    if (harness->ops->map != NULL) {
        struct bytes payload;
        assert_int_equal(harness->ops->map(harness->backend, record->address, &payload), 0);
        payload_check(payload.data, payload.size, record);
    }
    uint32_t bytes = harness->ops->bytes != NULL ? harness->ops->bytes(harness->backend, record->address) : 0;
    assert_true(bytes == 0 || bytes == record->bytes);
}

/* --- cases --- */

static void test_open_close(void **state) {
    struct harness harness;
    for (int i = 0; i < 3; i++) {
        harness_open(&harness, state);
        struct tier_backend_stats stats;
        harness.ops->stats(harness.backend, &stats);
        assert_int_equal(stats.records_live, 0); /* scratch: what an earlier round left is gone */
        struct record record;
        record_put(&harness, &record, 100);
        harness_close(&harness);
    }
}

static void test_sizes(void **state) {
    static const uint32_t sizes[] = {1,    7,     8,     9,     44,    63,    64,     65,     127,
                                     128,  1000,  4032,  4063,  4064,  4065,  4095,   4096,   4097,
                                     8192, 16384, 16385, 65535, 65536, 65537, 100000, 262144, 1u << 20};
    struct harness harness;
    harness_open(&harness, state);
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    struct record records[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        record_put(&harness, &records[i], sizes[i]);
    for (unsigned i = 0; i < COUNT; i++)
        record_check(&harness, &records[i]);
    for (unsigned i = 0; i < COUNT; i++)
        harness.ops->discard(harness.backend, records[i].address);
    harness_close(&harness);
}

static void test_too_big(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    uint64_t address = 1;
    int error = harness.ops->reserve(harness.backend, PAGE_BYTES_MAX + 1, &address);
    assert_true(error == FIRN_ETOOBIG || error == FIRN_ENOSPACE);
    harness_close(&harness);
}

static void test_batches(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    enum { COUNT = TIER_BATCH_OPERATIONS_MAX };
    static struct record old[COUNT], fresh[COUNT];
    struct tier_operation *batch[COUNT];
    uint64_t last = 0;
    for (unsigned round = 0; round < 30; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(record_reserve(&harness, &fresh[i], 1 + (uint32_t)random_below(5000)), 0);
            if (harness.ops->tag == PAGE_TAG_NVME) assert_true(fresh[i].address > last);
            assert_true(fresh[i].address >> 61 == 0);
            last = fresh[i].address;
            record_put_prepare(&fresh[i]);
            batch[i] = &fresh[i].put;
        }
        if (round == 0) {
            harness_submit(&harness, batch, COUNT);
        } else { /* half of a batch writes, half reads */
            for (unsigned half = 0; half < 2; half++) {
                for (unsigned i = 0; i < COUNT / 2; i++) {
                    unsigned which = half * COUNT / 2 + i;
                    record_get_prepare(&old[which]);
                    batch[2 * i] = &old[which].get;
                    batch[2 * i + 1] = &fresh[which].put;
                }
                harness_submit(&harness, batch, COUNT);
            }
        }
        harness_drain(&harness);
        for (unsigned i = 0; i < COUNT; i++) {
            record_put_finish(&fresh[i]);
            if (round > 0) {
                record_get_finish(&old[i]);
                harness.ops->discard(harness.backend, old[i].address);
            }
            old[i] = fresh[i];
        }
    }
    harness_close(&harness);
}

static void test_discard_in_flight(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    enum { COUNT = 64 };
    static struct record records[COUNT];
    struct tier_operation *batch[COUNT];
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(record_reserve(&harness, &records[i], 3000), 0);
            record_put_prepare(&records[i]);
            batch[i] = &records[i].put;
        }
        harness_submit(&harness, batch, COUNT);
        for (unsigned i = 0; i < COUNT; i += 2)
            harness.ops->discard(harness.backend, records[i].address);
        harness_drain(&harness);
        unsigned count = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            record_put_finish(&records[i]);
            if (i % 2 == 0) continue;
            record_get_prepare(&records[i]);
            batch[count++] = &records[i].get;
        }
        harness_submit(&harness, batch, count);
        for (unsigned i = 1; i < COUNT; i += 2)
            harness.ops->discard(harness.backend, records[i].address);
        harness_drain(&harness);
        for (unsigned i = 1; i < COUNT; i += 2) { /* whole or not found, never something else */
            if (records[i].get.status == 0)
                record_get_finish(&records[i]);
            else
                assert_int_equal(records[i].get.status, FIRN_ENOTFOUND);
        }
    }
    struct tier_backend_stats stats;
    harness.ops->stats(harness.backend, &stats);
    assert_int_equal(stats.records_live, 0);
    assert_int_equal(stats.bytes_live, 0);
    harness_close(&harness);
}

static void test_clear(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    enum { COUNT = 200 };
    static struct record records[COUNT];
    struct tier_backend_stats stats;
    for (unsigned round = 0; round < 5; round++) {
        uint64_t bytes = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            record_put(&harness, &records[i], 500 + i);
            bytes += 500 + i;
        }
        harness.ops->stats(harness.backend, &stats);
        assert_int_equal(stats.records_live, COUNT);
        assert_int_equal(stats.bytes_live, bytes);
        assert_true(stats.bytes_max > 0);
        harness.ops->clear(harness.backend);
        harness.ops->stats(harness.backend, &stats);
        assert_int_equal(stats.records_live, 0);
        assert_int_equal(stats.bytes_live, 0);
    }
    for (unsigned i = 0; i < 50; i++)
        record_put(&harness, &records[i], 64 + i);
    for (unsigned i = 0; i < 50; i++)
        record_check(&harness, &records[i]);
    harness_close(&harness);
}

/* clear while PUTs and GETs are in flight: they complete, nothing of them stays. */
static void test_clear_in_flight(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    enum { COUNT = 64 };
    static struct record records[COUNT];
    struct tier_operation *batch[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(record_reserve(&harness, &records[i], 2000), 0);
        record_put_prepare(&records[i]);
        batch[i] = &records[i].put;
    }
    harness_submit(&harness, batch, COUNT);
    harness.ops->clear(harness.backend);
    harness_drain(&harness);
    for (unsigned i = 0; i < COUNT; i++)
        memory_free(records[i].data);
    struct tier_backend_stats stats;
    harness.ops->stats(harness.backend, &stats);
    assert_int_equal(stats.records_live, 0);
    harness_close(&harness);
}

/* The tier fills up: reserve says so, what is there stays readable; what is discarded becomes room again. */
static void test_full(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    uint32_t bytes = 16384;
    size_t limit = (size_t)(harness.suite->bytes_max / bytes + 64);
    struct record *records = memory_alloc_zero(limit * sizeof *records);
    for (int round = 0; round < 2; round++) {
        size_t count = 0;
        while (count < limit && record_reserve(&harness, &records[count], bytes) == 0) {
            record_put_prepare(&records[count]);
            struct tier_operation *operation = &records[count].put;
            harness_submit(&harness, &operation, 1);
            harness_drain(&harness);
            record_put_finish(&records[count]);
            count++;
            harness.ops->cron(harness.backend, 0);
        }
        assert_true(count < limit);                                 /* full at all */
        assert_true(count * bytes >= harness.suite->bytes_max / 2); /* and not too early */
        struct tier_backend_stats stats;
        harness.ops->stats(harness.backend, &stats);
        assert_true((double)stats.bytes_live <= (double)harness.suite->bytes_max);
        for (size_t i = 0; i < count; i++)
            record_check(&harness, &records[i]);
        for (size_t i = 0; i < count; i++)
            harness.ops->discard(harness.backend, records[i].address);
        int64_t until = clock_monotonic_us() + WAIT_SECONDS * 1000000ll;
        struct record probe;
        size_t room = 0; /* half of the tier has to come back */
        uint64_t *taken = memory_alloc(limit * sizeof *taken);
        while (room < count / 2) {
            if (record_reserve(&harness, &probe, bytes) == 0) {
                taken[room++] = probe.address;
                continue;
            }
            if (clock_monotonic_us() > until) fail_msg("discarded space does not come back");
            harness.ops->cron(harness.backend, 1);
            usleep(1000);
        }
        for (size_t i = 0; i < room; i++)
            harness.ops->discard(harness.backend, taken[i]);
        memory_free(taken);
    }
    memory_free(records);
    harness_close(&harness);
}

/* Random puts, gets, discards in flight against a model of what must be there. */
static void test_churn(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    struct record *records = memory_alloc_zero(CHURN_RECORDS * sizeof *records);
    uint64_t bytes_live = 0, budget = harness.suite->bytes_max / 3, live = 0;
    for (unsigned step = 0; step < CHURN_STEPS; step++) {
        struct record *record = &records[random_below(CHURN_RECORDS)];
        if (record->address == 0) { /* absent */
            uint32_t bytes = 1 + (uint32_t)(random_below(10) == 0 ? random_below(30000) : random_below(1500));
            if (bytes_live + bytes > budget || record_reserve(&harness, record, bytes) != 0) {
                record->address = 0;
                continue;
            }
            bytes_live += bytes;
            live++;
            record_put_prepare(record);
            struct tier_operation *operation = &record->put;
            harness_submit(&harness, &operation, 1);
        } else if (record->data != NULL) { /* being put */
            if (!record->put_done) harness_take(&harness);
            if (record->put_done) record_put_finish(record);
        } else if (record->get.kind == TIER_GET) { /* being read */
            if (!record->get_done) harness_take(&harness);
            if (record->get_done) {
                record_get_finish(record);
                record->get.kind = TIER_PUT;
            }
        } else if (random_below(2) == 0) {
            record_get_prepare(record);
            struct tier_operation *operation = &record->get;
            harness_submit(&harness, &operation, 1);
        } else {
            harness.ops->discard(harness.backend, record->address);
            bytes_live -= record->bytes;
            live--;
            memset(record, 0, sizeof *record);
        }
        if (step % 500 == 0) harness.ops->cron(harness.backend, step % 1000 == 0);
    }
    harness_drain(&harness);
    for (unsigned i = 0; i < CHURN_RECORDS; i++) {
        if (records[i].address == 0) continue;
        if (records[i].data != NULL) record_put_finish(&records[i]);
        if (records[i].get.kind == TIER_GET) record_get_finish(&records[i]);
        record_check(&harness, &records[i]);
    }
    struct tier_backend_stats stats;
    harness.ops->stats(harness.backend, &stats);
    assert_int_equal(stats.records_live, live);
    if (!harness.suite->mean_sizes) assert_int_equal(stats.bytes_live, bytes_live);
    memory_free(records);
    harness_close(&harness);
}

/* close waits for what is in flight. */
static void test_close_in_flight(void **state) {
    struct harness harness;
    harness_open(&harness, state);
    enum { COUNT = 64 };
    static struct record records[COUNT];
    struct tier_operation *batch[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(record_reserve(&harness, &records[i], 10000), 0);
        record_put_prepare(&records[i]);
        batch[i] = &records[i].put;
    }
    harness_submit(&harness, batch, COUNT);
    harness_close(&harness);
    for (unsigned i = 0; i < COUNT; i++)
        memory_free(records[i].data);
}

static void test_damage(void **state) {
    const struct tier_conformance *suite = *state;
    if (suite->damage == NULL) skip();
    struct harness harness;
    harness_open(&harness, state);
    struct record record;
    record_put(&harness, &record, 3000);
    suite->damage(harness.backend, record.address);
    struct page *page = NULL;
    assert_int_equal(harness.ops->read(harness.backend, record.address, &page), FIRN_ECORRUPT);
    assert_null(page);
    record_get_prepare(&record);
    struct tier_operation *operation = &record.get;
    harness_submit(&harness, &operation, 1);
    harness_drain(&harness);
    assert_int_equal(record.get.status, FIRN_ECORRUPT);
    assert_null(record.get.page);
    struct bytes payload;
    if (harness.ops->map != NULL) {
        assert_int_equal(harness.ops->map(harness.backend, record.address, &payload), FIRN_ECORRUPT);
    }
    harness.ops->discard(harness.backend, record.address);
    harness_close(&harness);
}

int tier_conformance_run(const struct tier_conformance *suite) {
    void *ctx = (void *)(uintptr_t)suite;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_open_close, ctx),
        cmocka_unit_test_prestate(test_sizes, ctx),
        cmocka_unit_test_prestate(test_too_big, ctx),
        cmocka_unit_test_prestate(test_batches, ctx),
        cmocka_unit_test_prestate(test_discard_in_flight, ctx),
        cmocka_unit_test_prestate(test_clear, ctx),
        cmocka_unit_test_prestate(test_clear_in_flight, ctx),
        cmocka_unit_test_prestate(test_full, ctx),
        cmocka_unit_test_prestate(test_churn, ctx),
        cmocka_unit_test_prestate(test_close_in_flight, ctx),
        cmocka_unit_test_prestate(test_damage, ctx),
    };
    printf("conformance of %s\n", suite->name);
    return cmocka_run_group_tests_name(suite->name, tests, NULL, NULL);
}
