/* SPDX-License-Identifier: BSD-3-Clause */
/* What the targets of one value type each share: RDB bodies that become a sound value, or nothing. */
#ifndef FIRN_TESTS_FUZZ_VALUE_H
#define FIRN_TESTS_FUZZ_VALUE_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes_builder.h"
#include "types/entry.h"
#include "types/type.h"

static inline void fuzz_value_destroy(const struct type_ops *ops, struct entry *entry) {
    ops->free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

/* The value that ${body} is, checked; NULL where it is refused. */
static inline struct entry *fuzz_value_decode(const struct type_ops *ops, uint8_t type, struct bytes body) {
    struct entry *entry;
    size_t consumed;
    if (ops->decode(bytes_of_text("k"), type, body, &consumed, 1, &entry) != 0) return NULL;
    if (consumed > body.size || entry->size == 0) abort();
    ops->check(entry);
    return entry;
}

/* What ${entry} encodes and decodes to, which must be as large. */
static inline struct entry *fuzz_value_again(const struct type_ops *ops, struct entry *entry) {
    struct bytes_builder body = {0};
    uint8_t type;
    size_t consumed;
    struct entry *back;
    if (ops->encode(entry, &body, &type) != 0) abort();
    if (ops->decode(bytes_of_text("k"), type, bytes_builder_bytes(&body), &consumed, 1, &back) != 0) abort();
    if (consumed != body.size || back->size != entry->size) abort();
    bytes_builder_fini(&body);
    return back;
}

/* The bytes behind the first in memory of exactly their size, so that a byte too far is seen; free ${data}.
 */
static inline struct bytes fuzz_value_exact(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size - 1 + (size == 1));
    memcpy(exact, data + 1, size - 1);
    return bytes_of(exact, size - 1);
}

#endif
