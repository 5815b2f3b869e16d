/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Design: nodes on the way down are made roomy before they are entered, so nothing has to go back up on
 * insertion. A full leaf first gives records to a neighbour; only if both are nearly full too it is split,
 * which keeps leaves about 80% full. A split at the right edge leaves the left part full, as deadlines mostly
 * arrive in ascending order. Removal merges a leaf that has become sparse.
 *
 * B1 All leaves are on the same level; a node other than the root is never empty.
 * B2 lowest[i] (i > 0) is <= every record below children[i] and > every record below children[i - 1].
 * lowest[0] means nothing.
 */
#include "ds/ordered_index.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define LEAF_MAX   31u
#define INNER_MAX  42u
#define HEIGHT_MAX 16u

struct leaf {
    uint32_t count;
    uint32_t unused[3];
    struct ordered_index_record records[LEAF_MAX];
};

struct inner {
    uint32_t count;
    uint32_t unused[3];
    struct ordered_index_record lowest[INNER_MAX];
    void *children[INNER_MAX];
};

_Static_assert(sizeof(struct leaf) == 512, "a leaf fills a size class");
_Static_assert(sizeof(struct inner) == 1024, "an inner node fills a size class");

static int record_less(const struct ordered_index_record *a, const struct ordered_index_record *b) {
    return a->deadline < b->deadline || (a->deadline == b->deadline && a->id < b->id);
}

static int record_equal(const struct ordered_index_record *a, const struct ordered_index_record *b) {
    return a->deadline == b->deadline && a->id == b->id;
}

static void *node_create(struct ordered_index *index, size_t bytes) {
    index->bytes += bytes;
    return memory_alloc_zero(bytes);
}

static void node_free(struct ordered_index *index, void *node, size_t bytes) {
    index->bytes -= bytes;
    memory_free(node);
}

/* The place of the first record >= ${key}. */
static uint32_t leaf_search(const struct leaf *leaf, const struct ordered_index_record *key) {
    uint32_t low = 0, high = leaf->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (record_less(&leaf->records[middle], key)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The child whose range holds ${key}. */
static uint32_t inner_search(const struct inner *inner, const struct ordered_index_record *key) {
    uint32_t low = 1, high = inner->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (record_less(key, &inner->lowest[middle])) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low - 1;
}

static void inner_put(struct inner *inner, uint32_t at, const struct ordered_index_record *lowest,
                      void *child) {
    FIRN_ASSERT(inner->count < INNER_MAX && at <= inner->count);
    memmove(&inner->lowest[at + 1], &inner->lowest[at], (inner->count - at) * sizeof inner->lowest[0]);
    memmove(&inner->children[at + 1], &inner->children[at], (inner->count - at) * sizeof inner->children[0]);
    inner->lowest[at] = *lowest;
    inner->children[at] = child;
    inner->count++;
}

static void inner_take(struct inner *inner, uint32_t at) {
    inner->count--;
    memmove(&inner->lowest[at], &inner->lowest[at + 1], (inner->count - at) * sizeof inner->lowest[0]);
    memmove(&inner->children[at], &inner->children[at + 1], (inner->count - at) * sizeof inner->children[0]);
}

/* Move ${n} records from the end of child ${at} to the front of its right neighbour. */
static void leaf_give_right(struct inner *parent, uint32_t at, uint32_t n) {
    struct leaf *left = parent->children[at];
    struct leaf *right = parent->children[at + 1];
    memmove(&right->records[n], &right->records[0], right->count * sizeof right->records[0]);
    memcpy(&right->records[0], &left->records[left->count - n], n * sizeof right->records[0]);
    left->count -= n;
    right->count += n;
    parent->lowest[at + 1] = right->records[0];
}

/* Move ${n} records from the front of child ${at} to the end of its left neighbour. */
static void leaf_give_left(struct inner *parent, uint32_t at, uint32_t n) {
    struct leaf *left = parent->children[at - 1];
    struct leaf *right = parent->children[at];
    memcpy(&left->records[left->count], &right->records[0], n * sizeof right->records[0]);
    memmove(&right->records[0], &right->records[n], (right->count - n) * sizeof right->records[0]);
    left->count += n;
    right->count -= n;
    parent->lowest[at] = right->records[0];
}

static void leaf_split(struct ordered_index *index, struct inner *parent, uint32_t at, uint32_t keep) {
    struct leaf *left = parent->children[at];
    struct leaf *right = node_create(index, sizeof *right);
    right->count = left->count - keep;
    memcpy(right->records, &left->records[keep], right->count * sizeof right->records[0]);
    left->count = keep;
    inner_put(parent, at + 1, &right->records[0], right);
}

/* Make room in the full leaf ${at} of ${parent} (which is not full). */
static void leaf_make_room(struct ordered_index *index, struct inner *parent, uint32_t at,
                           const struct ordered_index_record *key) {
    struct leaf *leaf = parent->children[at];
    if (at + 1 == parent->count && record_less(&leaf->records[LEAF_MAX - 1], key)) {
        leaf_split(index, parent, at, LEAF_MAX - 1);
        return;
    }
    uint32_t right_room =
        at + 1 < parent->count ? LEAF_MAX - ((struct leaf *)parent->children[at + 1])->count : 0;
    uint32_t left_room = at > 0 ? LEAF_MAX - ((struct leaf *)parent->children[at - 1])->count : 0;
    if (right_room >= 4 && right_room >= left_room) {
        leaf_give_right(parent, at, right_room / 2);
    } else if (left_room >= 4) {
        leaf_give_left(parent, at, left_room / 2);
    } else {
        leaf_split(index, parent, at, LEAF_MAX / 2);
    }
}

static void inner_split(struct ordered_index *index, struct inner *parent, uint32_t at) {
    struct inner *left = parent->children[at];
    struct inner *right = node_create(index, sizeof *right);
    uint32_t keep = at + 1 == parent->count ? INNER_MAX - 4 : INNER_MAX / 2;
    right->count = left->count - keep;
    memcpy(right->lowest, &left->lowest[keep], right->count * sizeof right->lowest[0]);
    memcpy(right->children, &left->children[keep], right->count * sizeof right->children[0]);
    left->count = keep;
    inner_put(parent, at + 1, &right->lowest[0], right);
}

static int node_is_full(const void *node, unsigned height) {
    return height == 0 ? ((const struct leaf *)node)->count == LEAF_MAX
                       : ((const struct inner *)node)->count == INNER_MAX;
}

int ordered_index_insert(struct ordered_index *index, uint64_t deadline, uint64_t id) {
    struct ordered_index_record key = {deadline, id};
    if (index->root == NULL) index->root = node_create(index, sizeof(struct leaf));
    if (node_is_full(index->root, index->height)) {
        struct inner *root = node_create(index, sizeof *root);
        inner_put(root, 0, &key, index->root);
        index->root = root;
        index->height++;
        FIRN_ASSERT(index->height < HEIGHT_MAX);
    }
    void *node = index->root;
    for (unsigned height = index->height; height > 0; height--) {
        struct inner *inner = node;
        uint32_t at = inner_search(inner, &key);
        if (node_is_full(inner->children[at], height - 1)) {
            if (height == 1) {
                leaf_make_room(index, inner, at, &key);
            } else {
                inner_split(index, inner, at);
            }
            at = inner_search(inner, &key);
        }
        node = inner->children[at];
    }
    struct leaf *leaf = node;
    uint32_t at = leaf_search(leaf, &key);
    if (at < leaf->count && record_equal(&leaf->records[at], &key)) return 0;
    FIRN_ASSERT(leaf->count < LEAF_MAX);
    memmove(&leaf->records[at + 1], &leaf->records[at], (leaf->count - at) * sizeof leaf->records[0]);
    leaf->records[at] = key;
    leaf->count++;
    index->count++;
    return 1;
}

/* Merge child ${at} + 1 of ${parent} into child ${at} if both together are loose. Whether it did. */
static int node_merge(struct ordered_index *index, struct inner *parent, uint32_t at, unsigned height) {
    if (at + 1 >= parent->count) return 0;
    if (height == 0) {
        struct leaf *left = parent->children[at], *right = parent->children[at + 1];
        if (left->count + right->count > LEAF_MAX * 3 / 4) return 0;
        memcpy(&left->records[left->count], right->records, right->count * sizeof right->records[0]);
        left->count += right->count;
        node_free(index, right, sizeof *right);
    } else {
        struct inner *left = parent->children[at], *right = parent->children[at + 1];
        if (left->count + right->count > INNER_MAX * 3 / 4) return 0;
        right->lowest[0] = parent->lowest[at + 1];
        memcpy(&left->lowest[left->count], right->lowest, right->count * sizeof right->lowest[0]);
        memcpy(&left->children[left->count], right->children, right->count * sizeof right->children[0]);
        left->count += right->count;
        node_free(index, right, sizeof *right);
    }
    inner_take(parent, at + 1);
    return 1;
}

/* The way from the root to a leaf: inner nodes and the child taken, [height] down to [1]. */
struct path {
    struct inner *nodes[HEIGHT_MAX];
    uint32_t at[HEIGHT_MAX];
};

/* Node path->at[height + 1] of its parent has lost something: drop it if empty, merge it if sparse, and so on
 * upwards. */
static void path_repair(struct ordered_index *index, struct path *path) {
    for (unsigned height = 0; height < index->height; height++) {
        struct inner *parent = path->nodes[height + 1];
        uint32_t at = path->at[height + 1];
        void *node = parent->children[at];
        uint32_t count = height == 0 ? ((struct leaf *)node)->count : ((struct inner *)node)->count;
        if (count == 0) {
            node_free(index, node, height == 0 ? sizeof(struct leaf) : sizeof(struct inner));
            inner_take(parent, at);
        } else if (count > (height == 0 ? LEAF_MAX : INNER_MAX) / 4) {
            break;
        } else if (!node_merge(index, parent, at, height) && at > 0) {
            node_merge(index, parent, at - 1, height);
        }
    }
    while (index->height > 0 && ((struct inner *)index->root)->count <= 1) {
        struct inner *root = index->root;
        index->root = root->count == 1 ? root->children[0] : NULL;
        index->height = root->count == 1 ? index->height - 1 : 0;
        node_free(index, root, sizeof *root);
    }
    if (index->root != NULL && index->height == 0 && ((struct leaf *)index->root)->count == 0) {
        node_free(index, index->root, sizeof(struct leaf));
        index->root = NULL;
    }
}

/* The leaf for ${key} (NULL: the leftmost), with the way to it. */
static struct leaf *path_find(const struct ordered_index *index, const struct ordered_index_record *key,
                              struct path *path) {
    void *node = index->root;
    for (unsigned height = index->height; height > 0; height--) {
        struct inner *inner = node;
        path->nodes[height] = inner;
        path->at[height] = key != NULL ? inner_search(inner, key) : 0;
        node = inner->children[path->at[height]];
    }
    return node;
}

static void leaf_take(struct ordered_index *index, struct leaf *leaf, uint32_t at) {
    leaf->count--;
    index->count--;
    memmove(&leaf->records[at], &leaf->records[at + 1], (leaf->count - at) * sizeof leaf->records[0]);
}

int ordered_index_remove(struct ordered_index *index, uint64_t deadline, uint64_t id) {
    struct ordered_index_record key = {deadline, id};
    struct path path;
    struct leaf *leaf = path_find(index, &key, &path);
    if (leaf == NULL) return 0;
    uint32_t at = leaf_search(leaf, &key);
    if (at == leaf->count || !record_equal(&leaf->records[at], &key)) return 0;
    leaf_take(index, leaf, at);
    path_repair(index, &path);
    return 1;
}

int ordered_index_has(const struct ordered_index *index, uint64_t deadline, uint64_t id) {
    struct ordered_index_record key = {deadline, id};
    struct path path;
    const struct leaf *leaf = path_find(index, &key, &path);
    if (leaf == NULL) return 0;
    uint32_t at = leaf_search(leaf, &key);
    return at < leaf->count && record_equal(&leaf->records[at], &key);
}

int ordered_index_first(const struct ordered_index *index, struct ordered_index_record *record_out) {
    struct path path;
    const struct leaf *leaf = path_find(index, NULL, &path);
    if (leaf == NULL) return 0;
    *record_out = leaf->records[0];
    return 1;
}

int ordered_index_seek(const struct ordered_index *index, uint64_t deadline, uint64_t id,
                       struct ordered_index_record *record_out) {
    struct ordered_index_record key = {deadline, id};
    struct path path;
    const struct leaf *leaf = path_find(index, &key, &path);
    if (leaf == NULL) return 0;
    uint32_t at = leaf_search(leaf, &key);
    if (at < leaf->count) {
        *record_out = leaf->records[at];
        return 1;
    }
    unsigned height = 1; /* the first record of the next leaf */
    while (height <= index->height && path.at[height] + 1 == path.nodes[height]->count)
        height++;
    if (height > index->height) return 0;
    const void *node = path.nodes[height]->children[path.at[height] + 1];
    while (--height > 0)
        node = ((const struct inner *)node)->children[0];
    *record_out = ((const struct leaf *)node)->records[0];
    return 1;
}

int ordered_index_pop(struct ordered_index *index, struct ordered_index_record *record_out) {
    struct path path;
    struct leaf *leaf = path_find(index, NULL, &path);
    if (leaf == NULL) return 0;
    *record_out = leaf->records[0];
    leaf_take(index, leaf, 0);
    path_repair(index, &path);
    return 1;
}

static int node_each(const void *node, unsigned height,
                     int (*visit)(const struct ordered_index_record *record, void *ctx), void *ctx) {
    int stop = 0;
    if (height == 0) {
        const struct leaf *leaf = node;
        for (uint32_t i = 0; i < leaf->count && stop == 0; i++)
            stop = visit(&leaf->records[i], ctx);
    } else {
        const struct inner *inner = node;
        for (uint32_t i = 0; i < inner->count && stop == 0; i++)
            stop = node_each(inner->children[i], height - 1, visit, ctx);
    }
    return stop;
}

int ordered_index_each(const struct ordered_index *index,
                       int (*visit)(const struct ordered_index_record *record, void *ctx), void *ctx) {
    return index->root == NULL ? 0 : node_each(index->root, index->height, visit, ctx);
}

int ordered_index_drop_some(struct ordered_index *index, size_t records) {
    struct path path;
    struct leaf *leaf;
    while (records > 0 && (leaf = path_find(index, NULL, &path)) != NULL) {
        records -= leaf->count < records ? leaf->count : records;
        index->count -= leaf->count;
        leaf->count = 0;
        path_repair(index, &path);
    }
    return index->root != NULL;
}

void ordered_index_fini(struct ordered_index *index) {
    while (ordered_index_drop_some(index, SIZE_MAX)) {
    }
    FIRN_ASSERT(index->count == 0 && index->bytes == 0);
}

static uint64_t node_check(const void *node, unsigned height, const struct ordered_index_record *low,
                           const struct ordered_index_record *high, size_t *bytes_inout) {
    uint64_t count = 0;
    if (height == 0) {
        const struct leaf *leaf = node;
        FIRN_ASSERT(leaf->count > 0 && leaf->count <= LEAF_MAX);
        *bytes_inout += sizeof *leaf;
        for (uint32_t i = 0; i < leaf->count; i++) {
            FIRN_ASSERT(low == NULL || !record_less(&leaf->records[i], low));
            FIRN_ASSERT(high == NULL || record_less(&leaf->records[i], high));
            FIRN_ASSERT(i == 0 || record_less(&leaf->records[i - 1], &leaf->records[i]));
        }
        return leaf->count;
    }
    const struct inner *inner = node;
    FIRN_ASSERT(inner->count > 0 && inner->count <= INNER_MAX);
    *bytes_inout += sizeof *inner;
    for (uint32_t i = 0; i < inner->count; i++) {
        const struct ordered_index_record *from = i > 0 ? &inner->lowest[i] : low;
        const struct ordered_index_record *to = i + 1 < inner->count ? &inner->lowest[i + 1] : high;
        count += node_check(inner->children[i], height - 1, from, to, bytes_inout);
    }
    return count;
}

void ordered_index_check(const struct ordered_index *index) {
    size_t bytes = 0;
    uint64_t count = index->root == NULL ? 0 : node_check(index->root, index->height, NULL, NULL, &bytes);
    FIRN_ASSERT(count == index->count && bytes == index->bytes);
}
