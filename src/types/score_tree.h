/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The directory of a large sorted set's leaves: a B+tree in DRAM over page references, in the order of
 * (score, member), that knows how many elements each subtree has. It never looks at a page; leaves are score
 * pages (types/score_page.h) and go cold one by one.
 *
 *   node      up to SCORE_NODE_MAX children: reference (a page, or a child node), elements below, separator
 *   separator of a child: a position (score, shortest distinguishing begin of a member) not above the child's
 *             first element and above everything in the children before; a node's first child needs none
 *
 * ST1 All leaves are equally deep; a node has at least one child.
 * ST2 A child's count is the number of elements below it.
 * ST3 Every leaf of the object is in one slot; a locator names its bottom node and its serial there, so it
 *     survives changes of the leaves beside it, and names nothing once the leaf has moved to another node.
 * ST4 Slots (uint64_t *) are valid until the next insert, remove or fini.
 *
 * Executor only; nothing faults or blocks.
 */
#ifndef FIRN_TYPES_SCORE_TREE_H
#define FIRN_TYPES_SCORE_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "types/score_page.h"

#define SCORE_NODE_MAX  64u
#define SCORE_DEPTH_MAX 12u

struct score_node;

struct score_tree {
    struct score_node *root;
    struct score_node **bottoms; /* bottom nodes by id; NULL where the id is free */
    uint32_t bottoms_count, bottoms_capacity, bottoms_free;
    uint32_t serial;   /* of the last leaf */
    unsigned depth;    /* nodes from root to bottom */
    uint64_t elements; /* in all leaves */
    uint64_t leaves;
    size_t bytes; /* memory of nodes and separators */
};

/* A leaf: the way to it from the root. Valid until the next insert or remove of a leaf. */
struct score_path {
    struct score_node *nodes[SCORE_DEPTH_MAX];
    uint16_t slots[SCORE_DEPTH_MAX];
    uint64_t
        rank; /* elements in the leaves before; after score_tree_find only once score_tree_rank was called */
};

/* One leaf ${ref} with ${count} elements. */
void score_tree_init(struct score_tree *tree, uint64_t ref, uint32_t count);
/* Free the nodes, not what they refer to. */
void score_tree_fini(struct score_tree *tree);

/* The leaf in which the boundary ${key} lies: everything in leaves before is left of it, nothing in leaves
 * after. An element belongs into the leaf of the key right after it. */
void score_tree_find(const struct score_tree *tree, const struct score_key *key, struct score_path *path_out);
/* Elements in the leaves before that of ${path}, which score_tree_find does not count; puts them there. */
uint64_t score_tree_rank(const struct score_tree *tree, struct score_path *path);
/* The leaf of the element number ${rank} (< elements). */
void score_tree_find_rank(const struct score_tree *tree, uint64_t rank, struct score_path *path_out);
/* The leaf after / before: 1, or 0 at the end (path unchanged). */
int score_tree_next(const struct score_tree *tree, struct score_path *path);
int score_tree_previous(const struct score_tree *tree, struct score_path *path);

/* Whether it is the first / the last leaf of all. */
int score_tree_is_first(const struct score_tree *tree, const struct score_path *path);
int score_tree_is_last(const struct score_tree *tree, const struct score_path *path);

uint64_t *score_tree_ref(const struct score_tree *tree, const struct score_path *path);
uint32_t score_tree_count(const struct score_tree *tree, const struct score_path *path);

/* The leaf of ${path} has ${more} elements more. */
void score_tree_add(struct score_tree *tree, const struct score_path *path, int64_t more);
/*
 * A leaf right after that of ${path}, with ${ref} and ${count}, whose first element is (${score}, ${member});
 * the last one before it is (${before_score}, ${before_member}). Counts of the old leaf are the caller's
 * (score_tree_add). Voids ${path}.
 */
void score_tree_insert(struct score_tree *tree, const struct score_path *path, uint64_t ref, uint32_t count,
                       double before_score, struct bytes before_member, double score, struct bytes member);
/* Take the leaf of ${path} out of the tree, with its count. It must not be the only one. Voids ${path}. */
void score_tree_remove(struct score_tree *tree, const struct score_path *path);

/* Tell a leaf in 64 bits whose low six are all ones; its slot, if it is still in that node, else NULL. */
uint64_t score_tree_locator(const struct score_tree *tree, const struct score_path *path);
uint64_t *score_tree_locate(const struct score_tree *tree, uint64_t locator);

/* The same tree with what ${copy} makes of each reference (0: it failed, *tree_out is to be released by
 * score_tree_reap, with references of 0 where none was made). Returns 0, or the first error of ${copy}. */
int score_tree_copy(const struct score_tree *tree, int (*copy)(uint64_t ref, uint64_t *ref_out, void *ctx),
                    void *ctx, struct score_tree *tree_out);

/* Give everything back in slices: call ${release} for up to ${limit} references (not 0). 1: there is more; 0:
 * all is freed (as after fini). Between calls the tree can only be reaped on. */
int score_tree_reap(struct score_tree *tree, unsigned limit, void (*release)(uint64_t ref, void *ctx),
                    void *ctx);

/* O(n) check of ST1 to ST3; asserts. */
void score_tree_check(const struct score_tree *tree);
/* Whether the separators around the leaf of ${path} hold for its first and last element; asserts. */
void score_tree_check_leaf(const struct score_tree *tree, const struct score_path *path,
                           const struct score_view *view);

#endif
