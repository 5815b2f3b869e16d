/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a tier backend costs by itself: rate and CPU per put and per get, the whole process and the submitting
 * thread (which in the server is the executor) apart. Records are half incompressible.
 *
 *   tier-micro nvme|pmem <path> [records] [bytes of a record] [MB of memory] [GB of the tier]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "pmem/pmem.h"
#include "rocks/rocks.h"

#define PUTS_MAX 2048u /* in flight */
#define READS    200000u

struct micro {
    const struct tier_backend_ops *ops;
    struct tier_backend *backend;
    struct ring *ring;
    int wakes;
    uint64_t *addresses, records;
    uint32_t record_bytes;
    struct tier_operation *operations;
    struct tier_operation *idle[PUTS_MAX];
    unsigned idle_count;
    double started, cpu_process, cpu_thread;
};

static void die(const char *what, int error) {
    fprintf(stderr, "tier-micro: %s: %s\n", what, error_text(error));
    exit(1);
}

static void wake(void *ctx) {
    uint64_t one = 1;
    if (write(((struct micro *)ctx)->wakes, &one, sizeof one) != sizeof one) abort();
}

static double cpu(int who) {
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void measure_begin(struct micro *micro) {
    micro->started = (double)clock_monotonic_ns() * 1e-9;
    micro->cpu_process = cpu(RUSAGE_SELF);
    micro->cpu_thread = cpu(RUSAGE_THREAD);
}

static void measure_end(const struct micro *micro, const char *what, uint64_t count) {
    double seconds = (double)clock_monotonic_ns() * 1e-9 - micro->started, n = (double)count;
    printf("%s: %.1f K/s, CPU %.2f us each, %.2f of it on the submitting thread\n", what, n / seconds / 1e3,
           (cpu(RUSAGE_SELF) - micro->cpu_process) / n * 1e6,
           (cpu(RUSAGE_THREAD) - micro->cpu_thread) / n * 1e6);
}

/* Wait for completions and take them: how many. */
static unsigned take(struct micro *micro) {
    void *done[256];
    if (micro->ops->collect != NULL) (void)micro->ops->collect(micro->backend);
    size_t count = ring_pop(micro->ring, done, 256);
    uint64_t value;
    if (count == 0 && read(micro->wakes, &value, sizeof value) != sizeof value) abort();
    for (size_t i = 0; i < count; i++) {
        struct tier_operation *operation = done[i];
        if (operation->status != 0) die("an operation fails", operation->status);
        if (operation->page != NULL) page_free_unshared(operation->page);
        micro->idle[micro->idle_count++] = operation;
    }
    return (unsigned)count;
}

static void submit(struct micro *micro, struct tier_operation **batch, unsigned count) {
    int error = micro->ops->submit(micro->backend, batch, count);
    if (error != 0) die("submit", error);
}

static void run_puts(struct micro *micro) {
    uint64_t put = 0, done = 0;
    struct tier_operation *batch[TIER_BATCH_OPERATIONS_MAX];
    measure_begin(micro);
    while (done < micro->records) {
        while (put < micro->records && micro->idle_count >= TIER_BATCH_OPERATIONS_MAX) {
            unsigned count = 0;
            for (; count < TIER_BATCH_OPERATIONS_MAX && put < micro->records; count++, put++) {
                struct tier_operation *operation = micro->idle[--micro->idle_count];
                int error = micro->ops->reserve(micro->backend, micro->record_bytes, &operation->address);
                if (error != 0) die("reserve", error);
                operation->kind = TIER_PUT;
                micro->addresses[put] = operation->address;
                batch[count] = operation;
            }
            submit(micro, batch, count);
        }
        done += take(micro);
    }
    measure_end(micro, "put", micro->records);
}

static void run_gets(struct micro *micro, unsigned depth) {
    unsigned batch_max = depth < 16 ? depth : 16, in_flight = 0;
    uint64_t count = depth == 1 ? READS / 20 : READS, sent = 0, done = 0;
    struct tier_operation *batch[16];
    char what[40];
    measure_begin(micro);
    while (done < count) {
        for (; sent < count && in_flight + batch_max <= depth; sent += batch_max, in_flight += batch_max) {
            for (unsigned i = 0; i < batch_max; i++) {
                batch[i] = micro->idle[--micro->idle_count];
                batch[i]->kind = TIER_GET;
                batch[i]->address = micro->addresses[random_below(micro->records)];
            }
            submit(micro, batch, batch_max);
        }
        unsigned taken = take(micro);
        in_flight -= taken;
        done += taken;
    }
    snprintf(what, sizeof what, "get, %u in flight", depth);
    measure_end(micro, what, done);
}

static void prepare(struct micro *micro) {
    micro->operations = memory_alloc_zero(PUTS_MAX * sizeof *micro->operations);
    for (unsigned i = 0; i < PUTS_MAX; i++) {
        uint8_t *data = memory_alloc_zero(micro->record_bytes + 8u);
        for (uint32_t at = 0; at < micro->record_bytes / 2; at++)
            data[at] = (uint8_t)random_u64();
        micro->operations[i].data = data;
        micro->operations[i].bytes = micro->record_bytes;
        micro->idle[micro->idle_count++] = &micro->operations[i];
    }
    micro->addresses = memory_alloc(micro->records * sizeof *micro->addresses);
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise) {
    return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "use: tier-micro nvme|pmem <path> [records] [record bytes] [memory MB] [tier GB]\n");
        return 2;
    }
    static struct micro micro;
    micro.ops = strcmp(argv[1], "pmem") == 0 ? &pmem_ops : &rocks_ops;
    micro.records = argument(argc, argv, 3, 1000000);
    micro.record_bytes = (uint32_t)argument(argc, argv, 4, 1024);
    micro.wakes = eventfd(0, EFD_CLOEXEC);
    micro.ring = ring_create(16384);
    prepare(&micro);
    struct tier_backend_config config = {.path = argv[2],
                                         .bytes_max = argument(argc, argv, 6, 8) << 30,
                                         .memory_max = argument(argc, argv, 5, 64) << 20,
                                         .sink = {micro.ring, wake, &micro, micro.wakes}};
    char message[512] = "";
    if (micro.ops->open(&config, &micro.backend, message, sizeof message) != 0) {
        fprintf(stderr, "tier-micro: %s\n", message);
        return 1;
    }
    run_puts(&micro);
    sleep(1); /* flushes end */
    static const unsigned depths[] = {1, 16, 32, 64, 256};
    for (unsigned i = 0; i < sizeof depths / sizeof depths[0]; i++)
        run_gets(&micro, depths[i]);
    struct tier_backend_stats stats;
    micro.ops->stats(micro.backend, &stats);
    printf("live %llu MB, on the medium %llu MB, written %llu MB, read %llu MB, memory %llu KB\n",
           (unsigned long long)stats.bytes_live >> 20, (unsigned long long)stats.bytes_occupied >> 20,
           (unsigned long long)stats.device_write_bytes >> 20,
           (unsigned long long)stats.device_read_bytes >> 20, (unsigned long long)stats.memory_bytes >> 10);
    micro.ops->close(micro.backend);
    return 0;
}
