/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integer pages: layout and invariants in intset_page.h. The width only grows; a page that is built anew
 * (a copy into a smaller one) keeps it too.
 */
#include "types/intset_page.h"

#include "base/assert.h"

#define INTSET_HEAD_BYTES 4u

static uint32_t width_of(int64_t value) {
    if (value >= INT16_MIN && value <= INT16_MAX) return 2;
    return value >= INT32_MIN && value <= INT32_MAX ? 4 : 8;
}

static inline int64_t load(const uint8_t *numbers, uint32_t width, uint32_t index) {
    const uint8_t *at = numbers + (size_t)width * index;
    if (width == 2) return (int16_t)bytes_load16(at);
    return width == 4 ? (int64_t)(int32_t)bytes_load32(at) : (int64_t)bytes_load64(at);
}

static inline void store(uint8_t *numbers, uint32_t width, uint32_t index, int64_t value) {
    memcpy(numbers + (size_t)width * index, &value, width); /* little-endian: the low bytes come first */
}

int intset_page_open(struct bytes payload, struct intset_view *view_out) {
    *view_out = (struct intset_view){.width = 2};
    if (payload.size == 0) return 0;
    if (payload.size < INTSET_HEAD_BYTES) return FIRN_ECORRUPT;
    uint32_t width = payload.data[0];
    size_t bytes = payload.size - INTSET_HEAD_BYTES;
    if ((width != 2 && width != 4 && width != 8) || bytes % width != 0 || bytes / width > UINT32_MAX)
        return FIRN_ECORRUPT;
    *view_out = (struct intset_view){
        .data = payload.data + INTSET_HEAD_BYTES, .width = width, .count = (uint32_t)(bytes / width)};
    return 0;
}

int intset_page_check(struct bytes payload) {
    struct intset_view view;
    int error = intset_page_open(payload, &view);
    for (uint32_t i = 1; error == 0 && i < view.count; i++) {
        if (load(view.data, view.width, i - 1) >= load(view.data, view.width, i)) error = FIRN_ECORRUPT;
    }
    return error;
}

int64_t intset_page_at(const struct intset_view *view, uint32_t index) {
    FIRN_ASSERT(index < view->count);
    return load(view->data, view->width, index);
}

int intset_page_find(const struct intset_view *view, int64_t value, uint32_t *index_out) {
    uint32_t low = 0, high = view->count;
    if (high > 0 && load(view->data, view->width, high - 1) < value) low = high; /* numbers often rise */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (load(view->data, view->width, middle) < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *index_out = low;
    return low < view->count && load(view->data, view->width, low) == value;
}

size_t intset_page_bytes_with(const struct intset_view *view, int64_t value) {
    uint32_t width = width_of(value);
    if (width < view->width) width = view->width;
    return INTSET_HEAD_BYTES + ((size_t)view->count + 1) * width;
}

void intset_page_insert(struct page *page, uint32_t index, int64_t value) {
    if (page->bytes == 0) {
        memset(page->data, 0, INTSET_HEAD_BYTES);
        page->data[0] = 2;
        page->bytes = INTSET_HEAD_BYTES;
    }
    uint8_t *numbers = page->data + INTSET_HEAD_BYTES;
    uint32_t width = page->data[0], wanted = width_of(value);
    uint32_t count = (page->bytes - INTSET_HEAD_BYTES) / width;
    FIRN_ASSERT(index <= count);
    if (wanted > width) { /* widen in place, from the end */
        FIRN_ASSERT(page->capacity >= INTSET_HEAD_BYTES + (size_t)wanted * (count + 1));
        for (uint32_t i = count; i-- > 0;)
            store(numbers, wanted, i, load(numbers, width, i));
        width = wanted;
        page->data[0] = (uint8_t)width;
    }
    FIRN_ASSERT(page->capacity >= INTSET_HEAD_BYTES + (size_t)width * (count + 1));
    uint8_t *at = numbers + (size_t)width * index;
    memmove(at + width, at, (size_t)width * (count - index));
    store(numbers, width, index, value);
    page->bytes = INTSET_HEAD_BYTES + width * (count + 1);
}

void intset_page_remove(struct page *page, uint32_t index) {
    uint32_t width = page->data[0], count = (page->bytes - INTSET_HEAD_BYTES) / width;
    FIRN_ASSERT(index < count);
    uint8_t *at = page->data + INTSET_HEAD_BYTES + (size_t)width * index;
    memmove(at, at + width, (size_t)width * (count - index - 1));
    page->bytes -= width;
}
