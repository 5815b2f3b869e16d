/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nodes of a stream in DRAM: first ID, where the page is, and how many entries it has, 24 bytes a node,
 * in ascending order of first ID. Nodes are only added at the end; any may be removed.
 *
 * Design: chunks of up to STREAM_CHUNK_NODES nodes, and an array of pointers to them. A removed node leaves a
 * hole (ref 0, its ID stays for the search); a chunk of holes goes. So a node never changes its place within
 * its chunk, and chunk serial and place are a locator that stays valid.
 *
 * SX1 Chunk serials and first IDs ascend, holes included. SX2 live counts the nodes of a chunk that are no
 * holes; it is never 0. SX3 The sequence part of an ID beyond 32 bits is in the chunk's seq_high, which is
 * NULL while no node of the chunk has one.
 *
 * Executor only. Nothing here reads pages. Aborts on exhaustion.
 */
#ifndef FIRN_TYPES_STREAM_INDEX_H
#define FIRN_TYPES_STREAM_INDEX_H

#include <stddef.h>
#include <stdint.h>

struct stream_id {
    uint64_t ms, seq;
};

static inline int stream_id_compare(struct stream_id a, struct stream_id b) {
    if (a.ms != b.ms) return a.ms < b.ms ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

#define STREAM_CHUNK_NODES 126u /* a full chunk is just below an allocator class */
#define STREAM_NODE_HOLES  0x80000000u

struct stream_node {
    uint64_t ms;    /* of its first ID (as the node's key in Redis: deleting entries does not change it) */
    uint64_t ref;   /* its page; 0: removed */
    uint32_t seq;   /* low half */
    uint32_t count; /* entries that are not deleted; STREAM_NODE_HOLES: it has deleted ones, too */
};

static inline uint32_t stream_node_count(const struct stream_node *node) {
    return node->count & ~STREAM_NODE_HOLES;
}

struct stream_chunk {
    uint64_t serial;
    uint32_t *seq_high;
    uint16_t used, capacity, live;
    struct stream_node nodes[];
};

struct stream_index {
    struct stream_chunk **chunks;
    uint32_t first, count, capacity; /* chunks[first .. first + count) */
    uint64_t next_serial;
    uint64_t nodes; /* not counting holes */
    size_t bytes;   /* that all this takes from the allocator */
};

/* A node's place; valid until a node is added or removed. */
struct stream_place {
    uint32_t chunk, slot;
};

static inline struct stream_chunk *stream_index_chunk(const struct stream_index *index, uint32_t chunk) {
    return index->chunks[index->first + chunk];
}
static inline struct stream_node *stream_index_node(const struct stream_index *index,
                                                    struct stream_place place) {
    return &stream_index_chunk(index, place.chunk)->nodes[place.slot];
}
/* The first ID of the node at ${place}. */
struct stream_id stream_index_id(const struct stream_index *index, struct stream_place place);

/* Moves: whether there is such a node. */
int stream_index_first(const struct stream_index *index, struct stream_place *place_out);
int stream_index_last(const struct stream_index *index, struct stream_place *place_out);
int stream_index_next(const struct stream_index *index, struct stream_place *place_inout);
int stream_index_previous(const struct stream_index *index, struct stream_place *place_inout);
/* The last node whose first ID is not above ${id}: the only one that can have it. */
int stream_index_find(const struct stream_index *index, struct stream_id id, struct stream_place *place_out);

/* Add a node with an ID above all others; ref and count are the caller's to fill (ref not 0). */
struct stream_place stream_index_append(struct stream_index *index, struct stream_id id);
/* The node at ${place}, whose reference the caller has given back, goes. */
void stream_index_remove(struct stream_index *index, struct stream_place place);

/* The first ${chunks} chunks (< count), with their nodes, serials and holes, become *${front_out}. */
void stream_index_cut(struct stream_index *index, uint32_t chunks, struct stream_index *front_out);

uint64_t stream_index_locator(const struct stream_index *index, struct stream_place place);
/* The node of a locator, or NULL. */
struct stream_node *stream_index_locate(const struct stream_index *index, uint64_t locator);
/* The first node whose locator is not below ${locator}: for sweeps. */
int stream_index_seek(const struct stream_index *index, uint64_t locator, struct stream_place *place_out);

/* Radix-tree nodes that Redis would have for these IDs (exact up to ${limit} nodes, else in proportion). */
uint64_t stream_index_radix_nodes(const struct stream_index *index, uint64_t limit);
/* O(n): asserts SX1 to SX3. */
void stream_index_check(const struct stream_index *index);

#endif
