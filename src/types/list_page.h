/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * List pages: elements in order, in the payload of one page, open at both ends.
 *
 *   OFFSET SIZE FIELD                                    little-endian
 *        0    2 number of elements
 *        2    1 format (1)
 *        3    1 unused, 0
 *        4    4 b: where the first element begins, 8 at least
 *        8    . free room in front
 *        b    . elements, each in the form of Redis's listpack: encoding (with length or integer), data,
 *               and its own size again so that it can be read from behind; the last one ends the payload
 *
 * LP1 Elements are in their shortest form (integers as integers), so that equal elements have equal bytes.
 * LP2 Reading functions never touch a byte outside the payload, whatever it contains: FIRN_ECORRUPT at worst.
 * LP3 Changing functions expect a payload that list_page_check accepts.
 *
 * Executor only (reading functions: any thread).
 */
#ifndef FIRN_TYPES_LIST_PAGE_H
#define FIRN_TYPES_LIST_PAGE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "ds/number.h"
#include "page/page.h"

#define LIST_PAGE_HEAD_BYTES 8u
/* A page above this is to be split: payload and page header fit one allocator class. */
#define LIST_PAGE_SPLIT_BYTES  (8192u - (unsigned)sizeof(struct page))
#define LIST_PAGE_ELEMENTS_MAX 8192u
#define LIST_ELEMENT_BYTES_MAX (1u << 29)
#define LIST_ITEM_EXTRA_MAX    16u /* bytes of an item that are not its text */

/* An element in its form: head, text, tail (no text for an integer). */
struct list_item {
    struct bytes text; /* borrowed */
    uint32_t bytes;    /* of the whole item */
    uint8_t head_bytes, tail_bytes;
    uint8_t head[10];
    uint8_t tail[5];
};
/* The item of ${element} (at most LIST_ELEMENT_BYTES_MAX), whose bytes it borrows. */
void list_item_make(struct bytes element, struct list_item *item_out);

/* A position in a payload: an element read. */
struct list_view {
    struct bytes payload;
    uint32_t begin;
    uint32_t count;
};
struct list_element {
    uint32_t offset, bytes; /* of its item in the payload */
    int is_integer;
    int64_t integer;
    struct bytes text; /* unless integer; in the payload */
};

/* Open a payload: 0 or FIRN_ECORRUPT. */
FIRN_MUST_USE int list_page_open(struct bytes payload, struct list_view *view_out);
/* Everything there is to say about the payload: 0 or FIRN_ECORRUPT. */
FIRN_MUST_USE int list_page_check(struct bytes payload);
/* The first and the last element; the one that begins at ${offset}; the one after and the one before
 * ${element} (which may be where the result goes): 1, 0 if there is none, FIRN_ECORRUPT. */
FIRN_MUST_USE int list_page_first(const struct list_view *view, struct list_element *element_out);
FIRN_MUST_USE int list_page_last(const struct list_view *view, struct list_element *element_out);
FIRN_MUST_USE int list_page_next(const struct list_view *view, const struct list_element *element,
                                 struct list_element *element_out);
FIRN_MUST_USE int list_page_previous(const struct list_view *view, const struct list_element *element,
                                     struct list_element *element_out);
/* Element number ${index} (< count): 0 or FIRN_ECORRUPT. */
FIRN_MUST_USE int list_page_at(const struct list_view *view, uint32_t index,
                               struct list_element *element_out);
/* Its bytes: in the payload, or in ${digits}. */
static inline struct bytes list_element_text(const struct list_element *element,
                                             char digits[NUMBER_INT_TEXT_MAX]) {
    if (!element->is_integer) return element->text;
    return bytes_of(digits, number_format_int(element->integer, digits));
}
/* Whether the element is the one of ${item}. */
static inline int list_element_is(const struct list_view *view, const struct list_element *element,
                                  const struct list_item *item) {
    if (element->bytes != item->bytes) return 0;
    const uint8_t *at = view->payload.data + element->offset;
    return memcmp(at, item->head, item->head_bytes) == 0 &&
           (item->text.size == 0 || memcmp(at + item->head_bytes, item->text.data, item->text.size) == 0);
}

/* --- changing: ${page} is private (page_write) --- */
/* Make it an empty page whose free room is before (${at_head}) or behind. */
void list_page_init(struct page *page, int at_head);
static inline uint32_t list_page_begin(const struct page *page) {
    return bytes_load32(page->data + 4);
}
static inline uint32_t list_page_count(const struct page *page) {
    return bytes_load16(page->data);
}
/* Bytes of its items. */
static inline uint32_t list_page_used(const struct page *page) {
    return page->bytes - list_page_begin(page);
}
/* Bytes that can be put in front and behind as it is. */
static inline uint32_t list_page_room(const struct page *page, int at_head) {
    return at_head ? list_page_begin(page) - LIST_PAGE_HEAD_BYTES : page->capacity - page->bytes;
}
/* Move the items so that ${front} bytes are free in front. */
void list_page_slide(struct page *page, uint32_t front);
/* Put ${item} (not in this page) at an end; there is room. */
void list_page_push(struct page *page, int at_head, const struct list_item *item);
/* Put it where an item begins or the payload ends; the capacity is enough for all together. */
void list_page_insert(struct page *page, uint32_t offset, const struct list_item *item);
/* Take ${count} items of ${bytes} together, beginning at ${offset}, out; where what followed now begins. */
uint32_t list_page_cut(struct page *page, uint32_t offset, uint32_t bytes, uint32_t count);
/* Put items that are in their form already behind; there is room. */
void list_page_append_raw(struct page *page, struct bytes items, uint32_t count);
/* Take elements equal to ${item} out but for the first ${skip} of them, at most ${limit}; how many. */
uint32_t list_page_filter(struct page *page, const struct list_item *item, uint32_t skip, uint32_t limit);

#endif
