/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integer pages: distinct signed integers in ascending order, in the payload of one page. Small sets of
 * numbers are kept so.
 *
 *   OFFSET SIZE FIELD                                    all little-endian
 *        0    1 bytes of an integer w: 2, 4 or 8, enough for every one there is
 *        1    3 unused, 0
 *        4  w*n the integers, ascending
 *
 * IP1 The integers fill the payload exactly.
 * IP2 Reading functions never touch a byte outside the payload, whatever it contains.
 * IP3 Changing functions expect what intset_page_check accepts.
 *
 * Executor only (reading: any thread).
 */
#ifndef FIRN_TYPES_INTSET_PAGE_H
#define FIRN_TYPES_INTSET_PAGE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "page/page.h"

/* The integers of a payload. A payload of size 0 has none. */
struct intset_view {
    const uint8_t *data;
    uint32_t width, count;
};

/* 0 or FIRN_ECORRUPT (width or size). */
FIRN_MUST_USE int intset_page_open(struct bytes payload, struct intset_view *view_out);
/* The same and ascending order. */
FIRN_MUST_USE int intset_page_check(struct bytes payload);
/* Integer number ${index} < count. */
int64_t intset_page_at(const struct intset_view *view, uint32_t index);
/* Whether ${value} is there; *index_out is where it is or belongs. */
int intset_page_find(const struct intset_view *view, int64_t value, uint32_t *index_out);
/* Payload bytes after inserting ${value}. */
size_t intset_page_bytes_with(const struct intset_view *view, int64_t value);
/* Insert at ${index}, where it belongs; ${page} is private (or fresh), capacity intset_page_bytes_with. */
void intset_page_insert(struct page *page, uint32_t index, int64_t value);
/* Remove number ${index} of a private page that has more than that one. */
void intset_page_remove(struct page *page, uint32_t index);

#endif
