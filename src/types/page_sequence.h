/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page sequences: page references in an order of their own (not of a key), found by the number of an element.
 * A B+tree whose leaves hold slots (reference, elements and bytes of the page) and whose inner nodes count
 * the elements and pages below each child. It stays in DRAM and never looks at what it refers to.
 *
 * PS1 The totals of a node's entry in its parent are the sums over its own; those of the root are the
 * sequence's. PS2 No node is empty; leaves are linked in order. PS3 A node that falls below a quarter is
 * united with a neighbour under the same parent if both then leave room; sequences that only grow at an end
 * have full nodes. PS4 A slot keeps its id as long as it is in the sequence; ordinals (position + base)
 * change only by inserting and removing in front of a slot elsewhere than at the very beginning.
 *
 * Executor only; nothing faults or blocks.
 */
#ifndef FIRN_TYPES_PAGE_SEQUENCE_H
#define FIRN_TYPES_PAGE_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_SEQUENCE_ORDINAL_FIRST (UINT64_C(1) << 40)

/* A page's place. */
struct page_slot {
    uint64_t ref;   /* 0: none */
    uint32_t bytes; /* owner's own measure of the content */
    uint16_t count; /* elements */
    uint16_t id;    /* set by page_sequence_insert */
};

struct sequence_node;

struct page_sequence {
    struct sequence_node *root; /* NULL: empty */
    uint64_t elements, pages;
    uint64_t base;     /* ordinal of the first page */
    size_t bytes;      /* memory of the nodes */
    uint16_t last_id;  /* given to a slot */
    uint16_t unused16; /* 0 */
    uint32_t unused32; /* 0 */
};

/* A slot under the hand; void after the next insert or remove. */
struct sequence_cursor {
    struct sequence_node *leaf; /* NULL: none */
    unsigned index;
};

void page_sequence_init(struct page_sequence *sequence);
/* Free the nodes, not what they refer to. */
void page_sequence_fini(struct page_sequence *sequence);

/* The slot under ${cursor}. Change ref and bytes freely, count by page_sequence_recount only. */
struct page_slot *page_sequence_slot(const struct sequence_cursor *cursor);
/* The page with element ${element} (< elements); *first_out is the number of its first one. */
void page_sequence_find(const struct page_sequence *sequence, uint64_t element,
                        struct sequence_cursor *cursor_out, uint64_t *first_out);
/* Page number ${position} (< pages). */
void page_sequence_at(const struct page_sequence *sequence, uint64_t position,
                      struct sequence_cursor *cursor_out);
/* How many pages and elements are in front of it. */
uint64_t page_sequence_position(const struct sequence_cursor *cursor);
uint64_t page_sequence_elements_before(const struct sequence_cursor *cursor);
/* To the next or previous page: 1, or 0 at the end (cursor unchanged). */
int page_sequence_next(struct sequence_cursor *cursor);
int page_sequence_previous(struct sequence_cursor *cursor);

/* The page under ${cursor} now has ${count} elements. */
void page_sequence_recount(struct page_sequence *sequence, const struct sequence_cursor *cursor,
                           uint16_t count);
/* Put ${slot} in as page number ${position} (<= pages); it gets an id. */
void page_sequence_insert(struct page_sequence *sequence, uint64_t position, struct page_slot slot);
/* Take the page under ${cursor} out; the cursor is void. */
void page_sequence_remove(struct page_sequence *sequence, const struct sequence_cursor *cursor);

/* Everything from page number ${position} (<= pages) on becomes *${right_out}, ordinals and ids included.
 * Takes a time that hardly grows with the pages. */
void page_sequence_split(struct page_sequence *sequence, uint64_t position, struct page_sequence *right_out);

/* O(n) check of PS1 and PS2; asserts. */
void page_sequence_check(const struct page_sequence *sequence);

#endif
