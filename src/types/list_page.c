/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * List pages: layout and invariants in list_page.h. The form of an item is that of a listpack entry, so that
 * a page becomes a listpack of an RDB payload by copying:
 *
 *   0xxxxxxx                 integer 0 .. 127
 *   10xxxxxx                 text of up to 63 bytes
 *   110xxxxx x               integer of 13 bits, signed
 *   1110xxxx x               text of up to 4095 bytes
 *   11110000 and 4 bytes     text, longer
 *   11110001 .. 11110100     integer of 16, 24, 32, 64 bits
 *
 * and behind it the bytes so far, 7 bits a byte, most significant first, bit 7 set in all but the first.
 */
#include "types/list_page.h"

#include <string.h>

#include "base/assert.h"

#define FORMAT 1u

/* --- items --- */

/* How many bytes the size at an item's end takes. */
static inline uint32_t back_bytes(uint32_t size) {
    if (__builtin_expect(size <= 127, 1)) return 1;
    if (size < 16383) return 2;
    if (size < 2097151) return 3;
    return size < 268435455 ? 4 : 5;
}

static void item_integer(int64_t value, struct list_item *item) {
    uint8_t *head = item->head;
    if (value >= 0 && value <= 127) {
        head[0] = (uint8_t)value;
        item->head_bytes = 1;
    } else if (value >= -4096 && value <= 4095) {
        head[0] = (uint8_t)(0xc0 | ((uint64_t)value >> 8 & 0x1f));
        head[1] = (uint8_t)value;
        item->head_bytes = 2;
    } else {
        bytes_store64(head + 1, (uint64_t)value);
        if (value >= INT16_MIN && value <= INT16_MAX) {
            head[0] = 0xf1;
            item->head_bytes = 3;
        } else if (value >= -8388608 && value <= 8388607) {
            head[0] = 0xf2;
            item->head_bytes = 4;
        } else if (value >= INT32_MIN && value <= INT32_MAX) {
            head[0] = 0xf3;
            item->head_bytes = 5;
        } else {
            head[0] = 0xf4;
            item->head_bytes = 9;
        }
    }
}

static void item_text(struct bytes text, struct list_item *item) {
    uint8_t *head = item->head;
    item->text = text;
    if (text.size < 64) {
        head[0] = (uint8_t)(0x80 | text.size);
        item->head_bytes = 1;
    } else if (text.size < 4096) {
        head[0] = (uint8_t)(0xe0 | text.size >> 8);
        head[1] = (uint8_t)text.size;
        item->head_bytes = 2;
    } else {
        head[0] = 0xf0;
        bytes_store32(head + 1, (uint32_t)text.size);
        item->head_bytes = 5;
    }
}

void list_item_make(struct bytes element, struct list_item *item) {
    int64_t value;
    FIRN_ASSERT(element.size <= LIST_ELEMENT_BYTES_MAX);
    item->text = bytes_of(NULL, 0);
    if (element.size <= 20 && number_parse_int(element, &value) == 0) {
        item_integer(value, item);
    } else {
        item_text(element, item);
    }
    uint32_t size = item->head_bytes + (uint32_t)item->text.size;
    item->tail_bytes = (uint8_t)back_bytes(size);
    item->bytes = size + item->tail_bytes;
    for (unsigned i = item->tail_bytes; i-- > 0; size >>= 7)
        item->tail[i] = (uint8_t)((size & 0x7f) | (i > 0 ? 0x80 : 0));
}

static inline void item_write(const struct list_item *item, uint8_t *to) {
    memcpy(to, item->head, item->head_bytes);
    to += item->head_bytes;
    if (item->text.size > 0) memcpy(to, item->text.data, item->text.size);
    memcpy(to + item->text.size, item->tail, item->tail_bytes);
}

/* --- reading --- */

int list_page_open(struct bytes payload, struct list_view *view) {
    if (payload.size < LIST_PAGE_HEAD_BYTES || payload.data[2] != FORMAT) return FIRN_ECORRUPT;
    view->payload = payload;
    view->count = bytes_load16(payload.data);
    view->begin = bytes_load32(payload.data + 4);
    if (view->begin < LIST_PAGE_HEAD_BYTES || view->begin > payload.size) return FIRN_ECORRUPT;
    return (view->count == 0) == (view->begin == payload.size) ? 0 : FIRN_ECORRUPT;
}

/* Signed integer of ${size} bytes at ${at}. */
static inline int64_t integer_at(const uint8_t *at, uint32_t size) {
    uint64_t value = 0;
    memcpy(&value, at, size);
    unsigned shift = 64 - 8 * size;
    return (int64_t)(value << shift) >> shift;
}

/* An item that is not a short text or small integer; ${left} bytes from ${at} on. Sets what is in front of
 * the size at its end; 0: it is none. */
static uint32_t read_long(const uint8_t *at, size_t left, struct list_element *element) {
    static const uint8_t sizes[] = {2, 3, 4, 8};
    uint8_t first = at[0];
    uint64_t size;
    element->is_integer = 1;
    if (first < 0xe0) {
        if (left < 2) return 0;
        int64_t value = (first & 0x1f) << 8 | at[1];
        element->integer = value >= 4096 ? value - 8192 : value;
        return 2;
    }
    if (first > 0xf0 && first <= 0xf4) {
        uint32_t bytes = sizes[first - 0xf1];
        if (left < 1 + bytes) return 0;
        element->integer = integer_at(at + 1, bytes);
        return 1 + bytes;
    }
    element->is_integer = 0;
    uint32_t head = first < 0xf0 ? 2 : 5;
    if (first > 0xf0 || left < head) return 0;
    size = head == 2 ? (uint64_t)(first & 0x0f) << 8 | at[1] : bytes_load32(at + 1);
    if (size > left - head) return 0;
    element->text = bytes_of(at + head, size);
    return head + (uint32_t)size;
}

/* The element at ${offset} (< payload size): 1 or FIRN_ECORRUPT. */
static inline int read_at(const struct list_view *view, uint32_t offset, struct list_element *element) {
    const uint8_t *at = view->payload.data + offset;
    size_t left = view->payload.size - offset;
    uint32_t size;
    if (__builtin_expect((at[0] & 0xc0) == 0x80, 1)) {
        size = at[0] & 0x3f;
        element->is_integer = 0;
        element->text = bytes_of(at + 1, size);
        size++;
    } else if (at[0] < 0x80) {
        element->is_integer = 1;
        element->integer = at[0];
        size = 1;
    } else {
        size = read_long(at, left, element);
        if (size == 0) return FIRN_ECORRUPT;
    }
    element->offset = offset;
    element->bytes = size + back_bytes(size);
    return element->bytes <= left ? 1 : FIRN_ECORRUPT;
}

/* The element that ends at ${end}: 1 or FIRN_ECORRUPT. */
static inline int read_before(const struct list_view *view, uint32_t end, struct list_element *element) {
    uint32_t size = 0, bytes = 0;
    uint8_t last;
    do {
        if (bytes == 5 || end - bytes <= view->begin) return FIRN_ECORRUPT;
        last = view->payload.data[end - ++bytes];
        size |= (uint32_t)(last & 0x7f) << 7 * (bytes - 1);
    } while (last & 0x80);
    if (size > end - bytes - view->begin || size == 0) return FIRN_ECORRUPT;
    int got = read_at(view, end - bytes - size, element);
    return got == 1 && element->bytes != size + bytes ? FIRN_ECORRUPT : got;
}

int list_page_first(const struct list_view *view, struct list_element *element) {
    return view->count > 0 ? read_at(view, view->begin, element) : 0;
}

int list_page_last(const struct list_view *view, struct list_element *element) {
    return view->count > 0 ? read_before(view, (uint32_t)view->payload.size, element) : 0;
}

int list_page_next(const struct list_view *view, const struct list_element *element,
                   struct list_element *element_out) {
    uint32_t offset = element->offset + element->bytes;
    return offset < view->payload.size ? read_at(view, offset, element_out) : 0;
}

int list_page_previous(const struct list_view *view, const struct list_element *element,
                       struct list_element *element_out) {
    return element->offset > view->begin ? read_before(view, element->offset, element_out) : 0;
}

int list_page_at(const struct list_view *view, uint32_t index, struct list_element *element) {
    int got;
    if (index < view->count / 2) {
        for (got = list_page_first(view, element); got == 1 && index > 0; index--)
            got = list_page_next(view, element, element);
    } else {
        index = view->count - 1 - index;
        for (got = list_page_last(view, element); got == 1 && index > 0; index--)
            got = list_page_previous(view, element, element);
    }
    return got == 1 ? 0 : FIRN_ECORRUPT;
}

/* Whether the bytes of the element are the ones list_item_make gives. */
static int is_shortest(const struct list_view *view, const struct list_element *element) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct list_item item;
    struct bytes text = list_element_text(element, digits);
    if (text.size > LIST_ELEMENT_BYTES_MAX) return 0;
    list_item_make(text, &item);
    if (!list_element_is(view, element, &item)) return 0;
    const uint8_t *tail = view->payload.data + element->offset + element->bytes - item.tail_bytes;
    return memcmp(tail, item.tail, item.tail_bytes) == 0;
}

int list_page_check(struct bytes payload) {
    struct list_view view;
    struct list_element element;
    uint32_t count = 0;
    int got = list_page_open(payload, &view);
    if (got != 0) return got;
    if (payload.data[3] != 0) return FIRN_ECORRUPT;
    for (got = list_page_first(&view, &element); got == 1; got = list_page_next(&view, &element, &element)) {
        if (!is_shortest(&view, &element)) return FIRN_ECORRUPT;
        count++;
    }
    return got == 0 && count == view.count ? 0 : FIRN_ECORRUPT;
}

/* --- changing --- */

static inline void set_begin(struct page *page, uint32_t begin) {
    bytes_store32(page->data + 4, begin);
}

static inline void add_count(struct page *page, int32_t more) {
    uint32_t count = list_page_count(page) + (uint32_t)more;
    FIRN_ASSERT(count <= UINT16_MAX);
    bytes_store16(page->data, (uint16_t)count);
}

void list_page_init(struct page *page, int at_head) {
    FIRN_ASSERT(page->capacity >= LIST_PAGE_HEAD_BYTES);
    memset(page->data, 0, LIST_PAGE_HEAD_BYTES);
    page->data[2] = FORMAT;
    page->bytes = at_head ? page->capacity : LIST_PAGE_HEAD_BYTES;
    set_begin(page, page->bytes);
}

void list_page_slide(struct page *page, uint32_t front) {
    uint32_t begin = list_page_begin(page), used = page->bytes - begin, to = LIST_PAGE_HEAD_BYTES + front;
    FIRN_ASSERT(to + used <= page->capacity);
    memmove(page->data + to, page->data + begin, used);
    set_begin(page, to);
    page->bytes = to + used;
}

void list_page_push(struct page *page, int at_head, const struct list_item *item) {
    FIRN_ASSERT(item->bytes <= list_page_room(page, at_head));
    uint32_t at = page->bytes;
    if (at_head) {
        at = list_page_begin(page) - item->bytes;
        set_begin(page, at);
    } else {
        page->bytes += item->bytes;
    }
    item_write(item, page->data + at);
    add_count(page, 1);
}

void list_page_insert(struct page *page, uint32_t offset, const struct list_item *item) {
    uint32_t begin = list_page_begin(page), size = item->bytes;
    if (offset - begin < page->bytes - offset && begin - LIST_PAGE_HEAD_BYTES >= size) {
        memmove(page->data + begin - size, page->data + begin, offset - begin);
        set_begin(page, begin - size);
        offset -= size;
    } else {
        if (page->capacity - page->bytes < size) {
            list_page_slide(page, 0);
            offset -= begin - LIST_PAGE_HEAD_BYTES;
        }
        FIRN_ASSERT(page->capacity - page->bytes >= size);
        memmove(page->data + offset + size, page->data + offset, page->bytes - offset);
        page->bytes += size;
    }
    item_write(item, page->data + offset);
    add_count(page, 1);
}

uint32_t list_page_cut(struct page *page, uint32_t offset, uint32_t bytes, uint32_t count) {
    uint32_t begin = list_page_begin(page), behind = page->bytes - offset - bytes;
    FIRN_ASSERT(offset >= begin && offset + bytes <= page->bytes && count <= list_page_count(page));
    if (offset - begin < behind) {
        memmove(page->data + begin + bytes, page->data + begin, offset - begin);
        set_begin(page, begin + bytes);
        offset += bytes;
    } else {
        memmove(page->data + offset, page->data + offset + bytes, behind);
        page->bytes -= bytes;
    }
    add_count(page, -(int32_t)count);
    return offset;
}

void list_page_append_raw(struct page *page, struct bytes items, uint32_t count) {
    FIRN_ASSERT(items.size <= page->capacity - page->bytes);
    memcpy(page->data + page->bytes, items.data, items.size);
    page->bytes += (uint32_t)items.size;
    add_count(page, (int32_t)count);
}

uint32_t list_page_filter(struct page *page, const struct list_item *item, uint32_t skip, uint32_t limit) {
    struct list_view view;
    struct list_element element;
    int got = list_page_open(bytes_of(page->data, page->bytes), &view);
    FIRN_ASSERT(got == 0);
    uint32_t to = view.begin, from = view.begin, removed = 0;
    for (got = list_page_first(&view, &element); got == 1 && removed < limit;) {
        uint32_t offset = element.offset, end = offset + element.bytes;
        int is_match = list_element_is(&view, &element, item);
        got = list_page_next(&view, &element, &element); /* what follows is still in its place */
        if (!is_match || (skip > 0 && skip-- > 0)) continue;
        memmove(page->data + to, page->data + from, offset - from);
        to += offset - from;
        from = end;
        removed++;
    }
    FIRN_ASSERT(got >= 0);
    memmove(page->data + to, page->data + from, page->bytes - from);
    page->bytes = to + page->bytes - from;
    add_count(page, -(int32_t)removed);
    return removed;
}
