/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: HyperLogLogs from hostile bytes: everything that reads agrees on whether they are
 * damaged, and what is not can be changed.
 */
#include <stdlib.h>

#include "ds/hyperloglog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes_builder value = {0}, text = {0};
    uint8_t registers[HYPERLOGLOG_REGISTERS] = {0};
    struct hyperloglog_place place;
    uint64_t count;
    if (size < 2) return 0;
    unsigned index = (data[0] | (unsigned)data[1] << 8) % HYPERLOGLOG_REGISTERS;
    uint8_t *exact = malloc(size - 2 + 1);
    memcpy(exact, data + 2, size - 2);
    struct bytes bytes = bytes_of(exact, size - 2);
    if (hyperloglog_is(bytes, bytes.size)) {
        int error = hyperloglog_count(bytes, &count);
        if (hyperloglog_merge(bytes, registers) != error) abort();
        if (!hyperloglog_is_dense(bytes) && hyperloglog_describe(bytes, &text) != error) abort();
        bytes_builder_append(&value, bytes.data, bytes.size);
        int found = hyperloglog_find(bytes, index, &place);
        if (error == 0 && (found != 0 || place.rank != registers[index])) abort();
        if (found == 0 && place.rank < 32) found = hyperloglog_raise(&value, &place, 32, 3000);
        if (error == 0 && found != 0) abort();
        for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i += 3)
            registers[i] = 33;
        if (hyperloglog_raise_all(&value, registers, 3000) != 0 && error == 0) abort();
    }
    bytes_builder_fini(&value);
    bytes_builder_fini(&text);
    free(exact);
    return 0;
}
