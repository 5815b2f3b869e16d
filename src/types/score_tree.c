/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The B+tree of leaves (contracts and ST1 to ST4: score_tree.h).
 *
 * A node's children stand in parallel arrays, so that a descent reads scores one behind the other. A full
 * node is cut in the middle; when the new child is its last, the cut is right before it, so that ascending
 * insertion leaves full nodes behind. A node that has lost children is united with a neighbour under the same
 * parent when both are at most half full together.
 */
#include "types/score_tree.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define BOTTOM_NONE       UINT32_MAX
#define LOCATOR_MARK      63u
#define BOTTOMS_MAX       (1u << 26)
#define NODE_TOGETHER_MAX (SCORE_NODE_MAX / 2)

/* The begin of a member in a separator; NULL stands for the empty one. */
struct separator {
    uint32_t size;
    uint8_t data[];
};

struct score_node {
    uint32_t id; /* of a bottom node: its place in tree->bottoms; else BOTTOM_NONE */
    uint32_t children;
    double scores[SCORE_NODE_MAX];
    uint64_t refs[SCORE_NODE_MAX];
    struct separator *members[SCORE_NODE_MAX];
    uint64_t counts[SCORE_NODE_MAX];
    uint32_t serials[SCORE_NODE_MAX]; /* bottom nodes: of the leaves */
};

/* What goes into a slot. */
struct child {
    uint64_t ref, count;
    double score;
    struct separator *member;
    uint32_t serial;
};

static inline struct score_node *node_child(const struct score_node *node, unsigned slot) {
    return (struct score_node *)(uintptr_t)node->refs[slot];
}

static inline struct bytes separator_bytes(const struct separator *separator) {
    return separator == NULL ? bytes_of(NULL, 0) : bytes_of(separator->data, separator->size);
}

/* --- nodes --- */

static struct score_node *node_create(struct score_tree *tree, int is_bottom) {
    struct score_node *node = memory_alloc(sizeof *node);
    tree->bytes += memory_usable(node);
    node->children = 0;
    node->id = BOTTOM_NONE;
    if (!is_bottom) return node;
    if (tree->bottoms_free == 0 && tree->bottoms_count == tree->bottoms_capacity) {
        tree->bottoms_capacity = tree->bottoms_capacity == 0 ? 4 : tree->bottoms_capacity * 2;
        FIRN_ASSERT(tree->bottoms_capacity <= BOTTOMS_MAX);
        tree->bottoms = memory_realloc(tree->bottoms, tree->bottoms_capacity * sizeof *tree->bottoms);
    }
    if (tree->bottoms_free > 0) {
        /* few are free, and the search goes on where nodes were freed last */
        uint32_t id = 0;
        while (tree->bottoms[id] != NULL)
            id++;
        node->id = id;
        tree->bottoms_free--;
    } else {
        node->id = tree->bottoms_count++;
    }
    tree->bottoms[node->id] = node;
    return node;
}

static void node_destroy(struct score_tree *tree, struct score_node *node) {
    if (node->id != BOTTOM_NONE) {
        tree->bottoms[node->id] = NULL;
        tree->bottoms_free++;
    }
    tree->bytes -= memory_usable(node);
    memory_free(node);
}

static struct separator *separator_create(struct score_tree *tree, struct bytes text) {
    if (text.size == 0) return NULL;
    struct separator *separator = memory_alloc(sizeof *separator + text.size);
    separator->size = (uint32_t)text.size;
    memcpy(separator->data, text.data, text.size);
    tree->bytes += memory_usable(separator);
    return separator;
}

static void separator_destroy(struct score_tree *tree, struct separator *separator) {
    if (separator == NULL) return;
    tree->bytes -= memory_usable(separator);
    memory_free(separator);
}

static void node_move(struct score_node *to, unsigned to_slot, const struct score_node *from, unsigned slot,
                      unsigned count) {
    memmove(to->scores + to_slot, from->scores + slot, count * sizeof *to->scores);
    memmove(to->refs + to_slot, from->refs + slot, count * sizeof *to->refs);
    memmove(to->members + to_slot, from->members + slot, count * sizeof *to->members);
    memmove(to->counts + to_slot, from->counts + slot, count * sizeof *to->counts);
    memmove(to->serials + to_slot, from->serials + slot, count * sizeof *to->serials);
}

static void node_put(struct score_node *node, unsigned slot, const struct child *child) {
    FIRN_ASSERT(node->children < SCORE_NODE_MAX && slot <= node->children);
    node_move(node, slot + 1, node, slot, node->children - slot);
    node->scores[slot] = child->score;
    node->refs[slot] = child->ref;
    node->members[slot] = child->member;
    node->counts[slot] = child->count;
    node->serials[slot] = child->serial;
    node->children++;
}

static uint64_t node_elements(const struct score_node *node) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < node->children; i++)
        sum += node->counts[i];
    return sum;
}

void score_tree_init(struct score_tree *tree, uint64_t ref, uint32_t count) {
    *tree = (struct score_tree){.depth = 1, .elements = count, .leaves = 1, .serial = 1};
    tree->root = node_create(tree, 1);
    node_put(tree->root, 0, &(struct child){.ref = ref, .count = count, .serial = 1});
}

static int reap_nothing(struct score_tree *tree, struct score_node *node, unsigned depth) {
    for (unsigned i = 0; i < node->children; i++) {
        separator_destroy(tree, node->members[i]);
        if (depth > 1) reap_nothing(tree, node_child(node, i), depth - 1);
    }
    node_destroy(tree, node);
    return 0;
}

static void tree_clear(struct score_tree *tree) {
    memory_free(tree->bottoms);
    *tree = (struct score_tree){0};
}

void score_tree_fini(struct score_tree *tree) {
    if (tree->root != NULL) reap_nothing(tree, tree->root, tree->depth);
    tree_clear(tree);
}

/* --- finding --- */

/* The last child whose separator is left of ${key}; the first one has none. */
static inline unsigned node_find(const struct score_node *node, const struct score_key *key) {
    unsigned low = 1, high = node->children;
    if (key->kind != SCORE_KEY_MEMBER) { /* the first one not below the score; no branch to guess wrong */
        unsigned left = high - low;
        while (left > 1) {
            unsigned half = left / 2;
            low += half & (0u - (unsigned)(node->scores[low + half - 1] < key->score));
            left -= half;
        }
        if (left == 1) low += (unsigned)(node->scores[low] < key->score);
        if (low == high || node->scores[low] != key->score) return low - 1;
    }
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (score_key_passes(key, node->scores[middle], separator_bytes(node->members[middle]))) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - 1;
}

void score_tree_find(const struct score_tree *tree, const struct score_key *key, struct score_path *path) {
    struct score_node *node = tree->root;
    path->rank = 0;
    for (unsigned level = 0;; level++) {
        unsigned slot = node_find(node, key);
        path->nodes[level] = node;
        path->slots[level] = (uint16_t)slot;
        if (level + 1 == tree->depth) return;
        node = node_child(node, slot);
    }
}

uint64_t score_tree_rank(const struct score_tree *tree, struct score_path *path) {
    uint64_t even = 0, odd = 0; /* two sums beside each other */
    for (unsigned level = 0; level < tree->depth; level++) {
        const uint64_t *counts = path->nodes[level]->counts;
        unsigned slot = path->slots[level], i = 0;
        for (; i + 2 <= slot; i += 2) {
            even += counts[i];
            odd += counts[i + 1];
        }
        if (i < slot) even += counts[i];
    }
    return path->rank = even + odd;
}

void score_tree_find_rank(const struct score_tree *tree, uint64_t rank, struct score_path *path) {
    struct score_node *node = tree->root;
    FIRN_ASSERT(rank < tree->elements);
    path->rank = 0;
    for (unsigned level = 0;; level++) {
        unsigned slot = 0;
        while (rank - path->rank >= node->counts[slot])
            path->rank += node->counts[slot++];
        path->nodes[level] = node;
        path->slots[level] = (uint16_t)slot;
        if (level + 1 == tree->depth) return;
        node = node_child(node, slot);
    }
}

int score_tree_next(const struct score_tree *tree, struct score_path *path) {
    unsigned level = tree->depth;
    uint64_t rank = path->rank + score_tree_count(tree, path);
    do {
        if (level-- == 0) return 0;
    } while (path->slots[level] + 1u == path->nodes[level]->children);
    path->slots[level]++;
    for (; level + 1 < tree->depth; level++) {
        path->nodes[level + 1] = node_child(path->nodes[level], path->slots[level]);
        path->slots[level + 1] = 0;
    }
    path->rank = rank;
    return 1;
}

int score_tree_previous(const struct score_tree *tree, struct score_path *path) {
    unsigned level = tree->depth;
    do {
        if (level-- == 0) return 0;
    } while (path->slots[level] == 0);
    path->slots[level]--;
    for (; level + 1 < tree->depth; level++) {
        struct score_node *child = node_child(path->nodes[level], path->slots[level]);
        path->nodes[level + 1] = child;
        path->slots[level + 1] = (uint16_t)(child->children - 1);
    }
    path->rank -= score_tree_count(tree, path);
    return 1;
}

int score_tree_is_first(const struct score_tree *tree, const struct score_path *path) {
    for (unsigned level = 0; level < tree->depth; level++) {
        if (path->slots[level] > 0) return 0;
    }
    return 1;
}

int score_tree_is_last(const struct score_tree *tree, const struct score_path *path) {
    for (unsigned level = 0; level < tree->depth; level++) {
        if (path->slots[level] + 1u < path->nodes[level]->children) return 0;
    }
    return 1;
}

uint64_t *score_tree_ref(const struct score_tree *tree, const struct score_path *path) {
    return &path->nodes[tree->depth - 1]->refs[path->slots[tree->depth - 1]];
}

uint32_t score_tree_count(const struct score_tree *tree, const struct score_path *path) {
    return (uint32_t)path->nodes[tree->depth - 1]->counts[path->slots[tree->depth - 1]];
}

/* --- changing --- */

void score_tree_add(struct score_tree *tree, const struct score_path *path, int64_t more) {
    for (unsigned level = 0; level < tree->depth; level++)
        path->nodes[level]->counts[path->slots[level]] += (uint64_t)more;
    tree->elements += (uint64_t)more;
}

/* The separator between two neighbouring elements, into ${child}. */
static void child_separate(struct score_tree *tree, struct child *child, double before_score,
                           struct bytes before_member, double score, struct bytes member) {
    child->score = score;
    child->member = NULL;
    if (before_score < score) return;
    size_t common = 0;
    while (common < before_member.size && common < member.size &&
           before_member.data[common] == member.data[common])
        common++;
    FIRN_ASSERT(common < member.size); /* it is above */
    child->member = separator_create(tree, bytes_of(member.data, common + 1));
}

/* A new root over the old one. */
static void tree_grow(struct score_tree *tree) {
    struct score_node *root = node_create(tree, 0);
    FIRN_ASSERT(tree->depth < SCORE_DEPTH_MAX);
    node_put(root, 0,
             &(struct child){.ref = (uint64_t)(uintptr_t)tree->root, .count = node_elements(tree->root)});
    tree->root = root;
    tree->depth++;
}

/* Cut ${node} before child ${slot}; the second half is *child_out, its separator taken from there. */
static void node_split(struct score_tree *tree, struct score_node *node, unsigned slot,
                       struct child *child_out) {
    struct score_node *right = node_create(tree, node->id != BOTTOM_NONE);
    node_move(right, 0, node, slot, node->children - slot);
    right->children = node->children - slot;
    node->children = slot;
    *child_out = (struct child){.ref = (uint64_t)(uintptr_t)right,
                                .count = node_elements(right),
                                .score = right->scores[0],
                                .member = right->members[0]};
    right->members[0] = NULL;
}

void score_tree_insert(struct score_tree *tree, const struct score_path *path, uint64_t ref, uint32_t count,
                       double before_score, struct bytes before_member, double score, struct bytes member) {
    struct child child = {.ref = ref, .count = count, .serial = ++tree->serial};
    child_separate(tree, &child, before_score, before_member, score, member);
    tree->elements += count;
    tree->leaves++;
    unsigned level = tree->depth;
    while (level-- > 0) {
        struct score_node *node = path->nodes[level];
        unsigned slot = path->slots[level] + 1u;
        if (node->children < SCORE_NODE_MAX) {
            node_put(node, slot, &child);
            while (level-- > 0)
                path->nodes[level]->counts[path->slots[level]] += count;
            return;
        }
        struct child right;
        unsigned cut = slot == SCORE_NODE_MAX ? SCORE_NODE_MAX : SCORE_NODE_MAX / 2;
        if (cut == SCORE_NODE_MAX) { /* the new one alone */
            struct score_node *last = node_create(tree, node->id != BOTTOM_NONE);
            right = (struct child){.ref = (uint64_t)(uintptr_t)last,
                                   .count = child.count,
                                   .score = child.score,
                                   .member = child.member};
            child.member = NULL;
            node_put(last, 0, &child);
        } else {
            node_split(tree, node, cut, &right);
            if (slot <= cut) {
                node_put(node, slot, &child);
            } else {
                node_put((struct score_node *)(uintptr_t)right.ref, slot - cut, &child);
                right.count += child.count;
            }
        }
        if (level == 0) {
            tree_grow(tree);
            node_put(tree->root, 1, &right);
            return;
        }
        path->nodes[level - 1]->counts[path->slots[level - 1]] = node_elements(node);
        child = right;
    }
}

/* Take a child out of ${node}. Its separator goes; the one after it, if it becomes first, needs none. */
static void node_drop(struct score_tree *tree, struct score_node *node, unsigned slot) {
    separator_destroy(tree, node->members[slot]);
    node_move(node, slot, node, slot + 1, node->children - slot - 1);
    node->children--;
    if (slot == 0 && node->children > 0) {
        separator_destroy(tree, node->members[0]);
        node->members[0] = NULL;
    }
}

/* Unite child nodes ${slot} and ${slot} + 1 of ${node} if they are small enough. */
static void node_unite(struct score_tree *tree, struct score_node *node, unsigned slot) {
    struct score_node *left = node_child(node, slot), *right = node_child(node, slot + 1);
    if (left->children + right->children > NODE_TOGETHER_MAX) return;
    right->scores[0] = node->scores[slot + 1];
    right->members[0] = node->members[slot + 1];
    node->members[slot + 1] = NULL;
    node_move(left, left->children, right, 0, right->children);
    left->children += right->children;
    node->counts[slot] += node->counts[slot + 1];
    node_destroy(tree, right);
    node_drop(tree, node, slot + 1);
}

void score_tree_remove(struct score_tree *tree, const struct score_path *path) {
    FIRN_ASSERT(tree->leaves > 1);
    score_tree_add(tree, path, -(int64_t)score_tree_count(tree, path));
    tree->leaves--;
    for (unsigned level = tree->depth; level-- > 0;) {
        struct score_node *node = path->nodes[level];
        unsigned slot = path->slots[level];
        if (level + 1 == tree->depth) {
            node_drop(tree, node, slot);
        } else if (node_child(node, slot)->children == 0) {
            node_destroy(tree, node_child(node, slot));
            node_drop(tree, node, slot);
        } else if (node->children > 1) {
            node_unite(tree, node, slot + 1 < node->children ? slot : slot - 1);
        }
    }
    while (tree->depth > 1 && tree->root->children == 1) {
        struct score_node *root = tree->root;
        tree->root = node_child(root, 0);
        node_destroy(tree, root);
        tree->depth--;
    }
}

/* --- locators --- */

uint64_t score_tree_locator(const struct score_tree *tree, const struct score_path *path) {
    const struct score_node *node = path->nodes[tree->depth - 1];
    uint32_t serial = node->serials[path->slots[tree->depth - 1]];
    return ((uint64_t)node->id << 32 | serial) << 6 | LOCATOR_MARK;
}

uint64_t *score_tree_locate(const struct score_tree *tree, uint64_t locator) {
    uint64_t id = locator >> 38;
    uint32_t serial = (uint32_t)(locator >> 6);
    FIRN_ASSERT((locator & LOCATOR_MARK) == LOCATOR_MARK);
    if (id >= tree->bottoms_count || tree->bottoms[id] == NULL) return NULL;
    struct score_node *node = tree->bottoms[id];
    for (unsigned i = 0; i < node->children; i++) {
        if (node->serials[i] == serial) return &node->refs[i];
    }
    return NULL;
}

/* --- copying and giving back --- */

struct copy_run {
    struct score_tree *tree;
    int (*copy)(uint64_t ref, uint64_t *ref_out, void *ctx);
    void *ctx;
    int error;
};

static struct score_node *node_copy(struct copy_run *run, const struct score_node *node, unsigned depth) {
    struct score_node *copy = node_create(run->tree, node->id != BOTTOM_NONE);
    copy->children = node->children;
    node_move(copy, 0, node, 0, node->children);
    for (unsigned i = 0; i < node->children; i++) {
        copy->members[i] = separator_create(run->tree, separator_bytes(node->members[i]));
        if (depth > 1) {
            copy->refs[i] = (uint64_t)(uintptr_t)node_copy(run, node_child(node, i), depth - 1);
            continue;
        }
        copy->refs[i] = 0;
        if (run->error == 0) run->error = run->copy(node->refs[i], &copy->refs[i], run->ctx);
    }
    return copy;
}

int score_tree_copy(const struct score_tree *tree, int (*copy)(uint64_t ref, uint64_t *ref_out, void *ctx),
                    void *ctx, struct score_tree *tree_out) {
    struct copy_run run = {.tree = tree_out, .copy = copy, .ctx = ctx};
    *tree_out = (struct score_tree){
        .serial = tree->serial, .depth = tree->depth, .elements = tree->elements, .leaves = tree->leaves};
    tree_out->root = node_copy(&run, tree->root, tree->depth);
    return run.error;
}

int score_tree_reap(struct score_tree *tree, unsigned limit, void (*release)(uint64_t ref, void *ctx),
                    void *ctx) {
    struct score_node *way[SCORE_DEPTH_MAX];
    while (tree->root != NULL && limit > 0) {
        unsigned level = 0;
        for (way[0] = tree->root; level + 1 < tree->depth; level++)
            way[level + 1] = node_child(way[level], way[level]->children - 1);
        struct score_node *bottom = way[level];
        while (bottom->children > 0 && limit > 0) {
            unsigned last = --bottom->children;
            separator_destroy(tree, bottom->members[last]);
            if (bottom->refs[last] == 0) continue;
            release(bottom->refs[last], ctx);
            limit--;
        }
        while (way[level]->children == 0) { /* upwards, as long as nodes are done */
            node_destroy(tree, way[level]);
            if (level == 0) {
                tree_clear(tree);
                return 0;
            }
            level--;
            separator_destroy(tree, way[level]->members[--way[level]->children]);
        }
    }
    return tree->root != NULL;
}

/* --- checking --- */

static uint64_t node_check(const struct score_tree *tree, const struct score_node *node, unsigned depth,
                           uint64_t *leaves) {
    uint64_t sum = 0;
    FIRN_ASSERT(node->children > 0 && node->children <= SCORE_NODE_MAX && node->members[0] == NULL);
    FIRN_ASSERT((depth == 1) == (node->id != BOTTOM_NONE));
    FIRN_ASSERT(depth > 1 || tree->bottoms[node->id] == node);
    for (unsigned i = 0; i < node->children; i++) {
        if (i > 1) {
            struct bytes before = separator_bytes(node->members[i - 1]),
                         here = separator_bytes(node->members[i]);
            FIRN_ASSERT(node->scores[i - 1] <= node->scores[i]);
            FIRN_ASSERT(node->scores[i - 1] < node->scores[i] || bytes_compare(before, here) < 0);
        }
        if (depth > 1) {
            FIRN_ASSERT(node_check(tree, node_child(node, i), depth - 1, leaves) == node->counts[i]);
        } else {
            FIRN_ASSERT(node->counts[i] > 0 && node->refs[i] != 0);
            for (unsigned j = 0; j < i; j++)
                FIRN_ASSERT(node->serials[j] != node->serials[i]);
            (*leaves)++;
        }
        sum += node->counts[i];
    }
    return sum;
}

void score_tree_check(const struct score_tree *tree) {
    uint64_t leaves = 0;
    uint64_t elements = node_check(tree, tree->root, tree->depth, &leaves);
    FIRN_ASSERT(elements == tree->elements && leaves == tree->leaves);
}

void score_tree_check_leaf(const struct score_tree *tree, const struct score_path *path,
                           const struct score_view *view) {
    FIRN_ASSERT(view->count > 0 && view->count == score_tree_count(tree, path));
    for (unsigned level = 0; level < tree->depth; level++) {
        const struct score_node *node = path->nodes[level];
        unsigned slot = path->slots[level];
        struct score_key first = {.score = score_view_score(view, 0), .member = score_view_member(view, 0)};
        struct score_key last = {.score = score_view_score(view, view->count - 1),
                                 .member = score_view_member(view, view->count - 1),
                                 .after = 1};
        first.after = 1;
        if (slot > 0)
            FIRN_ASSERT(score_key_passes(&first, node->scores[slot], separator_bytes(node->members[slot])));
        if (slot + 1 < node->children)
            FIRN_ASSERT(
                !score_key_passes(&last, node->scores[slot + 1], separator_bytes(node->members[slot + 1])));
    }
}
