/* SPDX-License-Identifier: BSD-3-Clause */
/* Growth doubles, rounded to what the allocator gives anyway. */
#include "base/bytes_builder.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"

#define BUILDER_START_BYTES 64u

static size_t bytes_builder_grown(const struct bytes_builder *builder, size_t more) {
    size_t needed = builder->size + more;
    FIRN_ASSERT(needed >= more);
    size_t grown = builder->capacity * 2;
    if (grown < BUILDER_START_BYTES) grown = BUILDER_START_BYTES;
    return memory_good_size(grown < needed ? needed : grown);
}

uint8_t *bytes_builder_reserve(struct bytes_builder *builder, size_t more) {
    if (builder->capacity - builder->size < more) {
        size_t capacity = bytes_builder_grown(builder, more);
        builder->data = memory_realloc(builder->data, capacity);
        builder->capacity = capacity;
    }
    return builder->data + builder->size;
}

int bytes_builder_try_reserve(struct bytes_builder *builder, size_t more) {
    if (builder->capacity - builder->size >= more) return 0;
    size_t capacity = bytes_builder_grown(builder, more);
    void *data = memory_try_realloc(builder->data, capacity);
    if (data == NULL) return FIRN_ENOMEM;
    builder->data = data;
    builder->capacity = capacity;
    return 0;
}

void bytes_builder_append(struct bytes_builder *builder, const void *data, size_t size) {
    if (size == 0) return;
    memcpy(bytes_builder_reserve(builder, size), data, size);
    builder->size += size;
}

void bytes_builder_append_text(struct bytes_builder *builder, const char *text) {
    bytes_builder_append(builder, text, strlen(text));
}

void bytes_builder_append_byte(struct bytes_builder *builder, uint8_t byte) {
    *bytes_builder_reserve(builder, 1) = byte;
    builder->size++;
}

void bytes_builder_format(struct bytes_builder *builder, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    FIRN_ASSERT(size >= 0);
    uint8_t *to = bytes_builder_reserve(builder, (size_t)size + 1);
    va_start(arguments, format);
    vsnprintf((char *)to, (size_t)size + 1, format, arguments);
    va_end(arguments);
    builder->size += (size_t)size;
}

void bytes_builder_clear(struct bytes_builder *builder) {
    builder->size = 0;
}

void bytes_builder_fini(struct bytes_builder *builder) {
    memory_free(builder->data);
    *builder = (struct bytes_builder){0};
}
