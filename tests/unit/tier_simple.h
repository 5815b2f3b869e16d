/* SPDX-License-Identifier: BSD-3-Clause */
/* For the tests of single backends: open one, and do one operation at a time, waiting for it. */
#ifndef FIRN_TESTS_TIER_SIMPLE_H
#define FIRN_TESTS_TIER_SIMPLE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/ring.h"
#include "tiering/tier_backend.h"

struct simple {
    const struct tier_backend_ops *ops;
    struct tier_backend *backend;
    struct ring *ring;
    char message[512];
};

static inline void simple_wake(void *ctx) {
    (void)ctx;
}

static inline int simple_open(struct simple *simple, const struct tier_backend_ops *ops, const char *path,
                              uint64_t bytes_max, uint64_t memory_max) {
    memset(simple, 0, sizeof *simple);
    simple->ops = ops;
    simple->ring = ring_create(16384);
    struct tier_backend_config config = {
        .path = path,
        .bytes_max = bytes_max,
        .memory_max = memory_max,
        .sink = {.completions = simple->ring, .wake = simple_wake, .ctx = simple}};
    int error = ops->open(&config, &simple->backend, simple->message, sizeof simple->message);
    if (error != 0) ring_destroy(simple->ring);
    return error;
}

static inline void simple_close(struct simple *simple) {
    simple->ops->close(simple->backend);
    ring_destroy(simple->ring);
}

/* A finished operation, if there is one. */
static inline size_t simple_pop(struct simple *simple, void **message_out) {
    if (simple->ops->collect != NULL) (void)simple->ops->collect(simple->backend);
    return ring_pop(simple->ring, message_out, 1);
}

static inline int simple_do(struct simple *simple, struct tier_operation *operation) {
    void *message;
    operation->submitted_us = clock_monotonic_us();
    int error = simple->ops->submit(simple->backend, &operation, 1);
    if (error != 0) return error;
    while (simple_pop(simple, &message) == 0)
        usleep(20);
    return operation->status;
}

/* Half of it random, so compression has something to do, too. Starts with the seed. */
static inline void simple_fill(uint8_t *data, uint32_t bytes, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (uint32_t i = 0; i < bytes; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        data[i] = (uint8_t)(i % 2 ? state >> 56 : 'a');
    }
    if (bytes >= 8) bytes_store64(data, seed);
}

/* Reserve and put a record of simple_fill(${seed}): status. */
static inline int simple_put(struct simple *simple, uint32_t bytes, uint64_t seed, uint64_t *address_out) {
    int error = simple->ops->reserve(simple->backend, bytes, address_out);
    if (error != 0) return error;
    uint8_t *data = memory_alloc(bytes + 1u);
    simple_fill(data, bytes, seed);
    struct tier_operation operation = {
        .kind = TIER_PUT, .address = *address_out, .data = data, .bytes = bytes};
    error = simple_do(simple, &operation);
    memory_free(data);
    return error;
}

/* GET and compare: status, or 1 when it is not the record that was put. */
static inline int simple_get(struct simple *simple, uint32_t bytes, uint64_t seed, uint64_t address) {
    struct tier_operation operation = {.kind = TIER_GET, .address = address};
    int error = simple_do(simple, &operation);
    if (error != 0) return operation.page == NULL ? error : 1;
    uint8_t *data = memory_alloc(bytes + 1u);
    simple_fill(data, bytes, seed);
    int differs = operation.page->bytes != bytes || memcmp(operation.page->data, data, bytes) != 0;
    memory_free(data);
    page_free_unshared(operation.page);
    return differs;
}

static inline struct tier_backend_stats simple_stats(struct simple *simple) {
    struct tier_backend_stats stats;
    simple->ops->stats(simple->backend, &stats);
    return stats;
}

static inline void simple_remove(const char *path) {
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0) abort();
}

static inline void simple_write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) abort();
}

#endif
