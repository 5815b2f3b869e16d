/* SPDX-License-Identifier: BSD-3-Clause */
/* Page directories: structure and invariants in page_directory.h. */
#include "types/page_directory.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define NODE_BITS_MAX 9u
#define TAG_MASK      7u
#define TAG_CHILD     1u /* PAGE_TAG_OBJECT */
#define TAG_INNER     4u

/* A node covers the hashes that share their first ${base} bits, with 2^bits words. */
struct directory_node {
    uint8_t bits;       /* 1 .. 9 */
    uint8_t base;       /* a multiple of 9 */
    int64_t deadline;   /* smallest of deadlines[], -1 none */
    int64_t *deadlines; /* per word (first words of ranges and children), or NULL */
    uint64_t words[];
};

static inline unsigned word_tag(uint64_t word) {
    return (unsigned)(word & TAG_MASK);
}
static inline struct directory_node *word_child(uint64_t word) {
    return (struct directory_node *)(uintptr_t)(word & ~(uint64_t)TAG_MASK);
}
static inline uint64_t child_word(const struct directory_node *node) {
    return (uint64_t)(uintptr_t)node | TAG_CHILD;
}
static inline size_t node_words(const struct directory_node *node) {
    return (size_t)1 << node->bits;
}
static inline size_t node_index(const struct directory_node *node, uint64_t hash) {
    return (size_t)(hash << node->base >> (64 - node->bits));
}
/* First word of the range that word ${index}, which is no child, belongs to. */
static inline size_t node_first(const struct directory_node *node, size_t index) {
    uint64_t word = node->words[index];
    return word_tag(word) == TAG_INNER ? index & ~(((size_t)1 << (word >> 3)) - 1) : index;
}
/* log2 of the words of the range that begins at ${index}. */
static inline unsigned node_span(const struct directory_node *node, size_t index) {
    if (index + 1 == node_words(node)) return 0;
    uint64_t next = node->words[index + 1];
    return word_tag(next) == TAG_INNER ? (unsigned)(next >> 3) : 0;
}
static inline uint64_t node_hash_at(const struct directory_node *node, uint64_t prefix, size_t index) {
    return prefix | (uint64_t)index << (64 - node->base - node->bits);
}

static struct directory_node *node_create(struct page_directory *directory, unsigned base, unsigned bits) {
    struct directory_node *node = memory_alloc(sizeof *node + sizeof(uint64_t) * ((size_t)1 << bits));
    node->bits = (uint8_t)bits;
    node->base = (uint8_t)base;
    node->deadline = -1;
    node->deadlines = NULL;
    directory->bytes += memory_usable(node);
    return node;
}

static void node_drop_deadlines(struct page_directory *directory, struct directory_node *node) {
    if (node->deadlines == NULL) return;
    directory->bytes -= memory_usable(node->deadlines);
    memory_free(node->deadlines);
    node->deadlines = NULL;
    node->deadline = -1;
}

static void node_make_deadlines(struct page_directory *directory, struct directory_node *node) {
    if (node->deadlines != NULL) return;
    node->deadlines = memory_alloc(sizeof(int64_t) * node_words(node));
    for (size_t i = 0; i < node_words(node); i++)
        node->deadlines[i] = -1;
    directory->bytes += memory_usable(node->deadlines);
}

static void node_free(struct page_directory *directory, struct directory_node *node) {
    node_drop_deadlines(directory, node);
    directory->bytes -= memory_usable(node);
    memory_free(node);
}

static void node_write_range(struct directory_node *node, size_t index, unsigned span, uint64_t ref) {
    node->words[index] = ref;
    for (size_t i = 1; i < (size_t)1 << span; i++)
        node->words[index + i] = (uint64_t)span << 3 | TAG_INNER;
}

/* Where a descent ended: the range begins at words[index] of node; parent is NULL at the root. */
struct place {
    struct directory_node *node, *parent;
    size_t index, parent_index;
    unsigned span;
};

static void place_find(const struct page_directory *directory, uint64_t hash, struct place *place_out) {
    struct directory_node *node = directory->root;
    place_out->parent = NULL;
    place_out->parent_index = 0;
    for (;;) {
        size_t index = node_index(node, hash);
        if (word_tag(node->words[index]) != TAG_CHILD) {
            place_out->node = node;
            place_out->index = node_first(node, index);
            place_out->span = node_span(node, place_out->index);
            return;
        }
        place_out->parent = node;
        place_out->parent_index = index;
        node = word_child(node->words[index]);
    }
}

/* ${node} takes the place of the node of ${place}, which is freed. */
static void place_exchange(struct page_directory *directory, struct place *place,
                           struct directory_node *node) {
    if (place->parent == NULL) {
        directory->root = node;
    } else {
        place->parent->words[place->parent_index] = child_word(node);
    }
    node_free(directory, place->node);
    place->node = node;
}

/* Twice (shift 1) or half (shift -1) the words for the same ranges; the node has no children and fits. */
static void place_resize(struct page_directory *directory, struct place *place, int shift) {
    const struct directory_node *old = place->node;
    struct directory_node *node = node_create(directory, old->base, (unsigned)(old->bits + shift));
    if (old->deadlines != NULL) node_make_deadlines(directory, node);
    for (size_t i = 0; i < node_words(old);) {
        unsigned span = node_span(old, i);
        size_t to = shift > 0 ? i * 2 : i / 2;
        node_write_range(node, to, (unsigned)((int)span + shift), old->words[i]);
        if (old->deadlines != NULL) node->deadlines[to] = old->deadlines[i];
        i += (size_t)1 << span;
    }
    node->deadline = old->deadline;
    place->index = shift > 0 ? place->index * 2 : place->index / 2;
    place->span = (unsigned)((int)place->span + shift);
    place_exchange(directory, place, node);
}

void page_directory_init(struct page_directory *directory, uint64_t ref) {
    directory->bytes = 0;
    directory->root = node_create(directory, 0, 1);
    node_write_range(directory->root, 0, 1, ref);
}

static void node_free_all(struct page_directory *directory, struct directory_node *node) {
    for (size_t i = 0; i < node_words(node); i++) {
        if (word_tag(node->words[i]) == TAG_CHILD) node_free_all(directory, word_child(node->words[i]));
    }
    node_free(directory, node);
}

void page_directory_fini(struct page_directory *directory) {
    if (directory->root == NULL) return;
    node_free_all(directory, directory->root);
    FIRN_ASSERT(directory->bytes == 0);
    directory->root = NULL;
}

void page_directory_find(const struct page_directory *directory, uint64_t hash,
                         struct directory_range *range_out) {
    struct place place;
    place_find(directory, hash, &place);
    range_out->ref = &place.node->words[place.index];
    range_out->depth = place.node->base + place.node->bits - place.span;
    range_out->start = range_out->depth == 0 ? 0 : hash & ~(UINT64_MAX >> range_out->depth);
}

uint64_t *page_directory_ref(const struct page_directory *directory, uint64_t hash) {
    struct directory_node *node = directory->root;
    for (;;) {
        size_t index = node_index(node, hash);
        if (word_tag(node->words[index]) != TAG_CHILD) return &node->words[node_first(node, index)];
        node = word_child(node->words[index]);
    }
}

int page_directory_next(const struct page_directory *directory, struct directory_range *range_inout) {
    uint64_t next = page_directory_end(range_inout);
    if (next == 0) return 0;
    page_directory_find(directory, next, range_inout);
    return 1;
}

/* Append what is not 0 in ${node}, whose hashes begin with ${prefix}, at *count_inout. */
static void node_refs(const struct directory_node *node, uint64_t prefix, uint64_t *refs, uint64_t *starts,
                      size_t *count_inout) {
    for (size_t i = 0; i < node_words(node); i++) {
        uint64_t word = node->words[i];
        if (word_tag(word) == TAG_CHILD) {
            node_refs(word_child(word), node_hash_at(node, prefix, i), refs, starts, count_inout);
        } else if (word != 0 && word_tag(word) != TAG_INNER) {
            if (starts != NULL) starts[*count_inout] = node_hash_at(node, prefix, i);
            refs[(*count_inout)++] = word;
        }
    }
}

size_t page_directory_refs(const struct page_directory *directory, uint64_t *refs_out) {
    return page_directory_ranges(directory, refs_out, NULL);
}

size_t page_directory_ranges(const struct page_directory *directory, uint64_t *refs_out,
                             uint64_t *starts_out) {
    size_t count = 0;
    node_refs(directory->root, 0, refs_out, starts_out, &count);
    return count;
}

int page_directory_split(struct page_directory *directory, uint64_t hash, uint64_t zero, uint64_t one) {
    FIRN_ASSERT((word_tag(zero) & 1u) == 0 || word_tag(zero) == 3);
    struct place place;
    place_find(directory, hash, &place);
    struct directory_node *node = place.node;
    if (node->base + node->bits - place.span >= DIRECTORY_DEPTH_MAX) return FIRN_ETOOBIG;
    if (place.span == 0 && node->bits == NODE_BITS_MAX) {
        struct directory_node *child = node_create(directory, node->base + NODE_BITS_MAX, 1);
        child->words[0] = zero;
        child->words[1] = one;
        if (node->deadlines != NULL && node->deadlines[place.index] >= 0) {
            node_make_deadlines(directory, child);
            child->deadline = child->deadlines[0] = child->deadlines[1] = node->deadlines[place.index];
        }
        node->words[place.index] = child_word(child);
        return 0;
    }
    if (place.span == 0) place_resize(directory, &place, 1);
    node = place.node;
    size_t half = (size_t)1 << (place.span - 1);
    node_write_range(node, place.index, place.span - 1, zero);
    node_write_range(node, place.index + half, place.span - 1, one);
    if (node->deadlines != NULL) node->deadlines[place.index + half] = node->deadlines[place.index];
    return 0;
}

int page_directory_buddy(const struct page_directory *directory, const struct directory_range *range,
                         struct directory_range *buddy_out) {
    if (range->depth == 0) return 0;
    page_directory_find(directory, range->start ^ UINT64_C(1) << (64 - range->depth), buddy_out);
    return buddy_out->depth == range->depth;
}

/* Nothing in the node needs its last bit. */
static int node_can_halve(const struct directory_node *node) {
    if (node->bits == 1) return 0;
    for (size_t i = 0; i < node_words(node); i += 2) {
        if (word_tag(node->words[i + 1]) != TAG_INNER) return 0;
    }
    return 1;
}

void page_directory_merge(struct page_directory *directory, const struct directory_range *range,
                          uint64_t ref) {
    struct place place;
    place_find(directory, range->start, &place);
    struct directory_node *node = place.node;
    FIRN_ASSERT(place.span < node->bits);
    size_t words = (size_t)1 << place.span, low = place.index & ~words, high = low | words;
    FIRN_ASSERT(node_first(node, high) == high && node_span(node, high) == place.span &&
                node_span(node, low) == place.span);
    if (node->deadlines != NULL) {
        int64_t a = node->deadlines[low], b = node->deadlines[high];
        node->deadlines[low] = a < 0 ? b : b < 0 || a < b ? a : b;
        node->deadlines[high] = -1;
    }
    place.index = low;
    place.span++;
    node_write_range(node, low, place.span, ref);
    while (node_can_halve(place.node))
        place_resize(directory, &place, -1);
    if (place.parent != NULL && place.span == place.node->bits) {
        place.parent->words[place.parent_index] = ref;
        node_free(directory, place.node);
    }
}

uint64_t *page_directory_locate(const struct page_directory *directory, uint64_t locator) {
    struct directory_range range;
    page_directory_find(directory, locator & ~(uint64_t)63, &range);
    return page_directory_locator(&range) == locator ? range.ref : NULL;
}

/* --- deadlines --- */

static int64_t node_smallest_deadline(const struct directory_node *node) {
    uint64_t smallest = UINT64_MAX; /* -1 as unsigned is the largest */
    for (size_t i = 0; i < node_words(node); i++) {
        if ((uint64_t)node->deadlines[i] < smallest) smallest = (uint64_t)node->deadlines[i];
    }
    return (int64_t)smallest;
}

/* Set it below ${node}; returns the node's new smallest. */
static int64_t node_set_deadline(struct page_directory *directory, struct directory_node *node, uint64_t hash,
                                 int64_t deadline_ms) {
    size_t index = node_index(node, hash);
    if (word_tag(node->words[index]) == TAG_CHILD) {
        deadline_ms = node_set_deadline(directory, word_child(node->words[index]), hash, deadline_ms);
    } else {
        index = node_first(node, index);
    }
    if (node->deadlines == NULL) {
        if (deadline_ms < 0) return -1;
        node_make_deadlines(directory, node);
    }
    int64_t old = node->deadlines[index];
    node->deadlines[index] = deadline_ms;
    if ((uint64_t)deadline_ms <= (uint64_t)node->deadline) {
        node->deadline = deadline_ms;
    } else if (old == node->deadline) {
        node->deadline = node_smallest_deadline(node);
    }
    if (node->deadline < 0) node_drop_deadlines(directory, node);
    return node->deadline;
}

void page_directory_set_deadline(struct page_directory *directory, uint64_t hash, int64_t deadline_ms) {
    FIRN_ASSERT(deadline_ms >= -1);
    if (deadline_ms < 0 && directory->root->deadline < 0) return;
    node_set_deadline(directory, directory->root, hash, deadline_ms);
}

int64_t page_directory_deadline(const struct page_directory *directory) {
    return directory->root->deadline;
}

int64_t page_directory_deadline_of(const struct page_directory *directory, uint64_t hash) {
    struct place place;
    if (directory->root->deadline < 0) return -1;
    place_find(directory, hash, &place);
    return place.node->deadlines != NULL ? place.node->deadlines[place.index] : -1;
}

static int node_due(const struct directory_node *node, uint64_t prefix, uint64_t from, int64_t now_ms,
                    struct directory_range *range_out) {
    if (node->deadline < 0 || node->deadline > now_ms) return 0;
    for (size_t i = 0; i < node_words(node); i++) {
        if (node->deadlines[i] < 0 || node->deadlines[i] > now_ms) continue;
        int is_child = word_tag(node->words[i]) == TAG_CHILD;
        unsigned span = is_child ? 0 : node_span(node, i);
        struct directory_range range = {
            .ref = (uint64_t *)(uintptr_t)&node->words[i],
            .start = node_hash_at(node, prefix, i),
            .depth = node->base + node->bits - span,
        };
        uint64_t end = page_directory_end(&range);
        if (end != 0 && end <= from) continue;
        if (is_child) {
            if (node_due(word_child(node->words[i]), range.start, from, now_ms, range_out)) return 1;
            continue;
        }
        *range_out = range;
        return 1;
    }
    return 0;
}

int page_directory_due(const struct page_directory *directory, uint64_t from, int64_t now_ms,
                       struct directory_range *range_out) {
    return node_due(directory->root, 0, from, now_ms, range_out);
}

/* --- the end --- */

static int node_reap(struct page_directory *directory, struct directory_node *node, unsigned *limit,
                     void (*release)(uint64_t ref, void *ctx), void *ctx) {
    for (size_t i = 0; i < node_words(node); i++) {
        uint64_t word = node->words[i];
        if (word == 0 || word_tag(word) == TAG_INNER) continue;
        if (word_tag(word) == TAG_CHILD) {
            if (node_reap(directory, word_child(word), limit, release, ctx)) return 1;
            node_free(directory, word_child(word));
            node->words[i] = 0;
            continue;
        }
        if (*limit == 0) return 1;
        --*limit;
        node->words[i] = 0;
        release(word, ctx);
    }
    return 0;
}

int page_directory_reap(struct page_directory *directory, unsigned limit,
                        void (*release)(uint64_t ref, void *ctx), void *ctx) {
    if (directory->root == NULL) return 0;
    if (node_reap(directory, directory->root, &limit, release, ctx)) return 1;
    node_free(directory, directory->root);
    directory->root = NULL;
    return 0;
}

static size_t node_check(const struct directory_node *node, size_t *bytes_inout) {
    size_t found = 0;
    *bytes_inout += memory_usable(node) + (node->deadlines != NULL ? memory_usable(node->deadlines) : 0);
    FIRN_ASSERT(node->bits >= 1 && node->bits <= NODE_BITS_MAX && node->base % NODE_BITS_MAX == 0);
    if (node->deadlines != NULL)
        FIRN_ASSERT(node->deadline >= 0 && node->deadline == node_smallest_deadline(node));
    if (node->deadlines == NULL) FIRN_ASSERT(node->deadline == -1);
    for (size_t i = 0; i < node_words(node);) {
        uint64_t word = node->words[i];
        FIRN_ASSERT(word_tag(word) <= 3);
        if (word_tag(word) == TAG_CHILD) {
            const struct directory_node *child = word_child(word);
            FIRN_ASSERT(node->bits == NODE_BITS_MAX && child->base == node->base + NODE_BITS_MAX);
            FIRN_ASSERT(child->deadline == (node->deadlines != NULL ? node->deadlines[i] : -1));
            found += node_check(child, bytes_inout);
            i++;
            continue;
        }
        found += word != 0;
        size_t words = (size_t)1 << node_span(node, i);
        FIRN_ASSERT((i & (words - 1)) == 0 && i + words <= node_words(node));
        for (size_t j = 1; j < words; j++) {
            FIRN_ASSERT(node_first(node, i + j) == i);
            FIRN_ASSERT(node->deadlines == NULL || node->deadlines[i + j] == -1);
        }
        i += words;
    }
    return found;
}

size_t page_directory_check(const struct page_directory *directory) {
    size_t bytes = 0, found = node_check(directory->root, &bytes);
    FIRN_ASSERT(bytes == directory->bytes);
    return found;
}
