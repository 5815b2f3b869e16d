/* SPDX-License-Identifier: BSD-3-Clause */
/* A growing byte string. Zero-initialise; bytes_builder_fini when done. Appends abort on exhaustion unless
 * the try form is used. */
#ifndef FIRN_BASE_BYTES_BUILDER_H
#define FIRN_BASE_BYTES_BUILDER_H

#include "base/bytes.h"
#include "base/error.h"

struct bytes_builder {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

/* Room for ${more} further bytes; returns where they go (not yet counted in size). */
uint8_t *bytes_builder_reserve(struct bytes_builder *builder, size_t more);
/* The same; FIRN_ENOMEM instead of aborting. For sizes a client chose. */
FIRN_MUST_USE int bytes_builder_try_reserve(struct bytes_builder *builder, size_t more);
void bytes_builder_append(struct bytes_builder *builder, const void *data, size_t size);
void bytes_builder_append_text(struct bytes_builder *builder, const char *text);
void bytes_builder_append_byte(struct bytes_builder *builder, uint8_t byte);
void bytes_builder_format(struct bytes_builder *builder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void bytes_builder_clear(struct bytes_builder *builder);
/* Free the memory; the builder is empty and usable again. */
void bytes_builder_fini(struct bytes_builder *builder);

static inline struct bytes bytes_builder_bytes(const struct bytes_builder *builder) {
    return bytes_of(builder->data, builder->size);
}

#endif
