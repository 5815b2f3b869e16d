/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page sequences: structure and invariants in page_sequence.h. Leaves and inner nodes differ only in what an
 * item is, so that moving items is written once (node_move). A node finds its entry in its parent by looking
 * for itself: at most NODE_ITEMS words, and only when pages come, go or change their count.
 */
#include "types/page_sequence.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define NODE_ITEMS  30u /* so that a leaf takes 512 bytes and an inner node 768 */
#define NODE_FEW    (NODE_ITEMS / 4)
#define NODE_UNITED (NODE_ITEMS * 3 / 4)
#define LEVELS_MAX  16u

struct sequence_child {
    struct sequence_node *node;
    uint64_t elements, pages;
};

struct sequence_node {
    struct sequence_node *parent;
    struct sequence_node *previous, *next; /* leaves only */
    uint32_t used;
    uint32_t is_leaf;
    uint64_t items[]; /* a leaf's slots, an inner node's children */
};

static inline struct page_slot *slots_of(const struct sequence_node *node) {
    return (struct page_slot *)(uintptr_t)node->items;
}

static inline struct sequence_child *children_of(const struct sequence_node *node) {
    return (struct sequence_child *)(uintptr_t)node->items;
}

struct totals {
    uint64_t elements, pages;
};

static size_t node_item_bytes(const struct sequence_node *node) {
    return node->is_leaf ? sizeof(struct page_slot) : sizeof(struct sequence_child);
}

static uint8_t *node_item(struct sequence_node *node, unsigned index) {
    return (uint8_t *)node->items + index * node_item_bytes(node);
}

static struct sequence_node *node_create(struct page_sequence *sequence, int is_leaf) {
    size_t bytes = sizeof(struct sequence_node) +
                   NODE_ITEMS * (is_leaf ? sizeof(struct page_slot) : sizeof(struct sequence_child));
    struct sequence_node *node = memory_alloc_zero(bytes);
    node->is_leaf = (uint32_t)is_leaf;
    sequence->bytes += memory_usable(node);
    return node;
}

static void node_free(struct page_sequence *sequence, struct sequence_node *node) {
    sequence->bytes -= memory_usable(node);
    memory_free(node);
}

static struct totals node_totals(const struct sequence_node *node) {
    struct totals sum = {0, 0};
    for (unsigned i = 0; i < node->used; i++) {
        sum.elements += node->is_leaf ? slots_of(node)[i].count : children_of(node)[i].elements;
        sum.pages += node->is_leaf ? 1 : children_of(node)[i].pages;
    }
    return sum;
}

static unsigned node_place(const struct sequence_node *node) {
    const struct sequence_node *parent = node->parent;
    unsigned i = 0;
    while (children_of(parent)[i].node != node) {
        i++;
        FIRN_ASSERT(i < parent->used);
    }
    return i;
}

/* PS1 from ${node} up, after its items changed. */
static void node_refresh(struct page_sequence *sequence, struct sequence_node *node) {
    for (; node != NULL; node = node->parent) {
        struct totals sum = node_totals(node);
        if (node->parent == NULL) {
            sequence->elements = sum.elements;
            sequence->pages = sum.pages;
            return;
        }
        struct sequence_child *child = &children_of(node->parent)[node_place(node)];
        child->elements = sum.elements;
        child->pages = sum.pages;
    }
}

/* Items from ${from}[${index}] on to the end of ${to}; their children follow. */
static void node_move(struct sequence_node *from, unsigned index, struct sequence_node *to) {
    unsigned count = from->used - index;
    memcpy(node_item(to, to->used), node_item(from, index), count * node_item_bytes(from));
    if (!from->is_leaf) {
        for (unsigned i = 0; i < count; i++)
            children_of(to)[to->used + i].node->parent = to;
    }
    to->used += count;
    from->used = index;
}

static void node_open_gap(struct sequence_node *node, unsigned index) {
    FIRN_ASSERT(node->used < NODE_ITEMS && index <= node->used);
    memmove(node_item(node, index + 1), node_item(node, index), (node->used - index) * node_item_bytes(node));
    node->used++;
}

static void node_close_gap(struct sequence_node *node, unsigned index) {
    FIRN_ASSERT(index < node->used);
    node->used--;
    memmove(node_item(node, index), node_item(node, index + 1), (node->used - index) * node_item_bytes(node));
}

void page_sequence_init(struct page_sequence *sequence) {
    *sequence = (struct page_sequence){.base = PAGE_SEQUENCE_ORDINAL_FIRST};
}

static void node_free_all(struct page_sequence *sequence, struct sequence_node *node) {
    if (!node->is_leaf) {
        for (unsigned i = 0; i < node->used; i++)
            node_free_all(sequence, children_of(node)[i].node);
    }
    node_free(sequence, node);
}

void page_sequence_fini(struct page_sequence *sequence) {
    if (sequence->root != NULL) node_free_all(sequence, sequence->root);
    FIRN_ASSERT(sequence->bytes == 0);
    page_sequence_init(sequence);
}

/* --- finding --- */

struct page_slot *page_sequence_slot(const struct sequence_cursor *cursor) {
    return &slots_of(cursor->leaf)[cursor->index];
}

void page_sequence_find(const struct page_sequence *sequence, uint64_t element,
                        struct sequence_cursor *cursor_out, uint64_t *first_out) {
    FIRN_ASSERT(element < sequence->elements);
    struct sequence_node *node = sequence->root;
    uint64_t left = element;
    unsigned i;
    while (!node->is_leaf) {
        for (i = 0; left >= children_of(node)[i].elements; i++)
            left -= children_of(node)[i].elements;
        node = children_of(node)[i].node;
    }
    for (i = 0; left >= slots_of(node)[i].count; i++)
        left -= slots_of(node)[i].count;
    *cursor_out = (struct sequence_cursor){node, i};
    *first_out = element - left;
}

void page_sequence_at(const struct page_sequence *sequence, uint64_t position,
                      struct sequence_cursor *cursor_out) {
    FIRN_ASSERT(position < sequence->pages);
    struct sequence_node *node = sequence->root;
    while (!node->is_leaf) {
        unsigned i;
        for (i = 0; position >= children_of(node)[i].pages; i++)
            position -= children_of(node)[i].pages;
        node = children_of(node)[i].node;
    }
    *cursor_out = (struct sequence_cursor){node, (unsigned)position};
}

static struct totals totals_before(const struct sequence_cursor *cursor) {
    struct totals sum = {0, cursor->index};
    for (unsigned i = 0; i < cursor->index; i++)
        sum.elements += slots_of(cursor->leaf)[i].count;
    for (const struct sequence_node *node = cursor->leaf; node->parent != NULL; node = node->parent) {
        for (unsigned i = 0; children_of(node->parent)[i].node != node; i++) {
            sum.elements += children_of(node->parent)[i].elements;
            sum.pages += children_of(node->parent)[i].pages;
        }
    }
    return sum;
}

uint64_t page_sequence_position(const struct sequence_cursor *cursor) {
    return totals_before(cursor).pages;
}

uint64_t page_sequence_elements_before(const struct sequence_cursor *cursor) {
    return totals_before(cursor).elements;
}

int page_sequence_next(struct sequence_cursor *cursor) {
    if (cursor->index + 1 < cursor->leaf->used) {
        cursor->index++;
        return 1;
    }
    if (cursor->leaf->next == NULL) return 0;
    *cursor = (struct sequence_cursor){cursor->leaf->next, 0};
    return 1;
}

int page_sequence_previous(struct sequence_cursor *cursor) {
    if (cursor->index > 0) {
        cursor->index--;
        return 1;
    }
    if (cursor->leaf->previous == NULL) return 0;
    *cursor = (struct sequence_cursor){cursor->leaf->previous, cursor->leaf->previous->used - 1};
    return 1;
}

/* --- changing --- */

void page_sequence_recount(struct page_sequence *sequence, const struct sequence_cursor *cursor,
                           uint16_t count) {
    struct page_slot *slot = page_sequence_slot(cursor);
    uint64_t more = (uint64_t)count - slot->count; /* modulo 2^64 */
    slot->count = count;
    for (struct sequence_node *node = cursor->leaf; node->parent != NULL; node = node->parent)
        children_of(node->parent)[node_place(node)].elements += more;
    sequence->elements += more;
}

static void leaf_link(struct sequence_node *left, struct sequence_node *right, struct sequence_node *fresh) {
    fresh->previous = left;
    fresh->next = right;
    if (left != NULL) left->next = fresh;
    if (right != NULL) right->previous = fresh;
}

/* Where a full node is cut when an item comes at ${index}: sequences that grow at an end leave full nodes
 * behind. */
static unsigned split_point(const struct sequence_node *node, unsigned index, int is_first, int is_last) {
    if (is_last && index == node->used) return node->used;
    if (is_first && index == 0) return 0;
    return node->used / 2;
}

/* Make room for one item at *${index_inout} of *${node_inout}, which may become another node. */
static void node_make_room(struct page_sequence *sequence, struct sequence_node **node_inout,
                           unsigned *index_inout, int is_first, int is_last) {
    struct sequence_node *node = *node_inout;
    if (node->used < NODE_ITEMS) return;
    if (node->parent == NULL) {
        struct sequence_node *root = node_create(sequence, 0);
        struct totals sum = node_totals(node);
        root->used = 1;
        children_of(root)[0] = (struct sequence_child){node, sum.elements, sum.pages};
        node->parent = sequence->root = root;
    }
    unsigned place = node_place(node) + 1;
    struct sequence_node *parent = node->parent;
    node_make_room(sequence, &parent, &place, is_first && place == 1, is_last && place == parent->used);
    struct sequence_node *right = node_create(sequence, (int)node->is_leaf);
    node_open_gap(parent, place);
    children_of(parent)[place] = (struct sequence_child){.node = right};
    right->parent = parent;
    if (node->is_leaf) leaf_link(node, node->next, right);
    unsigned cut = split_point(node, *index_inout, is_first, is_last);
    node_move(node, cut, right);
    if (*index_inout > cut || node->used == NODE_ITEMS) {
        *node_inout = right;
        *index_inout -= cut;
    }
    /* whatever came to ${right} left ${node}: the caller's refresh of both follows */
    struct sequence_child *entry = &children_of(node->parent)[node_place(node)];
    struct totals sum = node_totals(node);
    entry->elements = sum.elements;
    entry->pages = sum.pages;
    sum = node_totals(right);
    children_of(parent)[place].elements = sum.elements;
    children_of(parent)[place].pages = sum.pages;
    node_refresh(sequence, parent);
    if (node->parent != parent) node_refresh(sequence, node->parent);
}

void page_sequence_insert(struct page_sequence *sequence, uint64_t position, struct page_slot slot) {
    struct sequence_cursor cursor = {NULL, 0};
    FIRN_ASSERT(position <= sequence->pages);
    slot.id = ++sequence->last_id;
    if (sequence->root == NULL) sequence->root = node_create(sequence, 1);
    if (position == 0) {
        cursor.leaf = sequence->root;
        while (!cursor.leaf->is_leaf)
            cursor.leaf = children_of(cursor.leaf)[0].node;
        if (sequence->pages > 0) sequence->base--;
    } else {
        page_sequence_at(sequence, position - 1, &cursor);
        cursor.index++;
    }
    node_make_room(sequence, &cursor.leaf, &cursor.index, position == 0, position == sequence->pages);
    node_open_gap(cursor.leaf, cursor.index);
    slots_of(cursor.leaf)[cursor.index] = slot;
    node_refresh(sequence, cursor.leaf);
}

/* Unite ${node} with the neighbour to its right under the same parent, if both have few items. */
static int node_unite(struct page_sequence *sequence, struct sequence_node *node) {
    unsigned place = node_place(node);
    struct sequence_node *parent = node->parent;
    if (place + 1 == parent->used) return 0;
    struct sequence_node *right = children_of(parent)[place + 1].node;
    if (node->used + right->used > NODE_UNITED) return 0;
    node_move(right, 0, node);
    if (node->is_leaf) {
        node->next = right->next;
        if (right->next != NULL) right->next->previous = node;
    }
    node_close_gap(parent, place + 1);
    node_free(sequence, right);
    return 1;
}

static void collapse_root(struct page_sequence *sequence) {
    while (!sequence->root->is_leaf && sequence->root->used == 1) {
        struct sequence_node *root = sequence->root;
        sequence->root = children_of(root)[0].node;
        sequence->root->parent = NULL;
        node_free(sequence, root);
    }
}

/* ${node} has lost an item: PS2 and PS3 from here up. */
static void node_settle(struct page_sequence *sequence, struct sequence_node *node) {
    while (node->parent != NULL && node->used < NODE_FEW) {
        struct sequence_node *parent = node->parent;
        unsigned place = node_place(node);
        if (node->used == 0) {
            if (node->previous != NULL) node->previous->next = node->next;
            if (node->next != NULL) node->next->previous = node->previous;
            node_close_gap(parent, place);
            node_free(sequence, node);
        } else if (!node_unite(sequence, node) &&
                   (place == 0 || !node_unite(sequence, children_of(parent)[place - 1].node))) {
            break;
        } else {
            node = children_of(parent)[place < parent->used ? place : parent->used - 1].node;
            if (place > 0) node_refresh(sequence, children_of(parent)[place - 1].node);
            node_refresh(sequence, node);
        }
        node = parent;
    }
    node_refresh(sequence, node);
    collapse_root(sequence);
    if (sequence->root->used == 0) {
        node_free(sequence, sequence->root);
        sequence->root = NULL;
        sequence->elements = sequence->pages = 0;
    }
}

void page_sequence_remove(struct page_sequence *sequence, const struct sequence_cursor *cursor) {
    struct sequence_node *leaf = cursor->leaf;
    if (cursor->index == 0 && leaf->previous == NULL) sequence->base++;
    node_close_gap(leaf, cursor->index);
    node_refresh(sequence, leaf);
    node_settle(sequence, leaf);
}

/* --- splitting --- */

static size_t node_bytes_all(const struct sequence_node *node) {
    size_t bytes = memory_usable(node);
    for (unsigned i = 0; !node->is_leaf && i < node->used; i++) {
        const struct sequence_node *child = children_of(node)[i].node;
        /* leaves are all of one size */
        bytes += child->is_leaf ? memory_usable(child) * node->used : node_bytes_all(child);
        if (child->is_leaf) break;
    }
    return bytes;
}

/* Move what is in ${node} from ${place} on, and in all nodes above to the right of it, to nodes of ${right}.
 */
static void split_path(struct sequence_node *node, unsigned place, struct page_sequence *right) {
    struct sequence_node *below = NULL;
    for (; node != NULL; node = node->parent) {
        struct sequence_node *fresh = node_create(right, (int)node->is_leaf);
        if (below != NULL) {
            struct totals sum = node_totals(below);
            children_of(fresh)[0] = (struct sequence_child){below, sum.elements, sum.pages};
            fresh->used = 1;
            below->parent = fresh;
        } else {
            leaf_link(NULL, node->next, fresh);
            node->next = NULL;
        }
        node_move(node, place, fresh);
        if (node->parent != NULL) place = node_place(node) + 1;
        below = fresh;
    }
    right->root = below;
}

void page_sequence_split(struct page_sequence *sequence, uint64_t position, struct page_sequence *right) {
    struct sequence_cursor cursor;
    page_sequence_init(right);
    right->last_id = sequence->last_id;
    if (position >= sequence->pages) return;
    if (position == 0) {
        *right = *sequence;
        page_sequence_init(sequence);
        sequence->last_id = right->last_id;
        return;
    }
    page_sequence_at(sequence, position, &cursor);
    split_path(cursor.leaf, cursor.index, right);
    size_t fresh_bytes = right->bytes;
    right->bytes = node_bytes_all(right->root);
    sequence->bytes -= right->bytes - fresh_bytes;
    right->base = sequence->base + position;
    struct totals sum = node_totals(right->root);
    right->elements = sum.elements;
    right->pages = sum.pages;
    collapse_root(right);
    node_refresh(sequence, cursor.leaf);
    node_settle(sequence, cursor.leaf);
}

/* --- checking --- */

static void node_check(const struct page_sequence *sequence, const struct sequence_node *node,
                       const struct sequence_node **leaf_inout, unsigned level) {
    FIRN_ASSERT(level < LEVELS_MAX && node->used > 0 && node->used <= NODE_ITEMS);
    if (node->is_leaf) {
        FIRN_ASSERT(node->previous == *leaf_inout);
        FIRN_ASSERT(*leaf_inout == NULL || (*leaf_inout)->next == node);
        *leaf_inout = node;
        return;
    }
    for (unsigned i = 0; i < node->used; i++) {
        const struct sequence_child *child = &children_of(node)[i];
        struct totals sum = node_totals(child->node);
        FIRN_ASSERT(child->node->parent == node && child->elements == sum.elements &&
                    child->pages == sum.pages);
        FIRN_ASSERT(child->node->is_leaf == children_of(node)[0].node->is_leaf);
        node_check(sequence, child->node, leaf_inout, level + 1);
    }
}

void page_sequence_check(const struct page_sequence *sequence) {
    const struct sequence_node *leaf = NULL;
    if (sequence->root == NULL) {
        FIRN_ASSERT(sequence->elements == 0 && sequence->pages == 0 && sequence->bytes == 0);
        return;
    }
    struct totals sum = node_totals(sequence->root);
    FIRN_ASSERT(sequence->root->parent == NULL && sum.elements == sequence->elements &&
                sum.pages == sequence->pages);
    node_check(sequence, sequence->root, &leaf, 0);
    FIRN_ASSERT(leaf->next == NULL);
}
