/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzing the request parser: the result of a stream does not depend on how it is cut, arguments lie inside
 * of what was consumed, and nothing is read outside of the bytes given (each piece is in memory of exactly
 * its size).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "proto/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Parse the next command of data[0..size) given in growing prefixes, ${step} bytes at a time. */
static int parse_in_steps(struct request *request, const uint8_t *data, size_t size, size_t step,
                          const struct request_limits *limits, uint8_t **memory_out) {
    int result = 0;
    uint8_t *memory = NULL;
    for (size_t there = step < size ? step : size;; there = there + step < size ? there + step : size) {
        uint8_t *next = malloc(there + !there);
        memcpy(next, data, there);
        free(memory);
        memory = next;
        result = request_parse(request, bytes_of(memory, there), limits);
        if (result != 0 || there == size) break;
    }
    *memory_out = memory;
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    struct request_limits limits = {1 << 20, data[0] & 1};
    size_t step = 1 + data[1] % 17;
    data += 2;
    size -= 2;
    while (size > 0) {
        struct request whole, pieces;
        uint8_t *whole_memory, *pieces_memory;
        request_init(&whole);
        request_init(&pieces);
        int one = parse_in_steps(&whole, data, size, size, &limits, &whole_memory);
        int other = parse_in_steps(&pieces, data, size, step, &limits, &pieces_memory);
        FIRN_ASSERT(one == other);
        size_t used = size;
        if (one == 1) {
            FIRN_ASSERT(whole.consumed > 0 && whole.consumed <= size && whole.consumed == pieces.consumed);
            FIRN_ASSERT(whole.argc == pieces.argc && whole.argument_bytes <= whole.consumed);
            for (size_t i = 0; i < whole.argc; i++)
                FIRN_ASSERT(bytes_equal(whole.argv[i], pieces.argv[i]));
            used = whole.consumed;
        } else if (one < 0) {
            FIRN_ASSERT(strcmp(whole.error, pieces.error) == 0);
        }
        request_fini(&whole);
        request_fini(&pieces);
        free(whole_memory);
        free(pieces_memory);
        data += used;
        size -= used;
    }
    return 0;
}
