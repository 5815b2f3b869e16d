/* SPDX-License-Identifier: BSD-3-Clause */
/* See stream_index.h. */
#include "types/stream_index.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

#define LOCATOR_SLOT_BITS 7u
_Static_assert(STREAM_CHUNK_NODES <= 1u << LOCATOR_SLOT_BITS, "a locator holds a place in a chunk");

static inline struct stream_id id_in(const struct stream_chunk *chunk, uint32_t slot) {
    const struct stream_node *node = &chunk->nodes[slot];
    uint64_t high = chunk->seq_high != NULL ? chunk->seq_high[slot] : 0;
    return (struct stream_id){node->ms, high << 32 | node->seq};
}

struct stream_id stream_index_id(const struct stream_index *index, struct stream_place place) {
    return id_in(stream_index_chunk(index, place.chunk), place.slot);
}

/* --- moves --- */

/* From ${place} (which may be one past the used part of its chunk) on to a node that is no hole. */
static int settle_forward(const struct stream_index *index, struct stream_place *place) {
    for (; place->chunk < index->count; place->chunk++, place->slot = 0) {
        const struct stream_chunk *chunk = stream_index_chunk(index, place->chunk);
        for (; place->slot < chunk->used; place->slot++) {
            if (chunk->nodes[place->slot].ref != 0) return 1;
        }
    }
    return 0;
}

static int settle_back(const struct stream_index *index, struct stream_place *place) {
    for (;;) {
        const struct stream_chunk *chunk = stream_index_chunk(index, place->chunk);
        for (uint32_t slot = place->slot + 1; slot > 0; slot--) {
            if (chunk->nodes[slot - 1].ref == 0) continue;
            place->slot = slot - 1;
            return 1;
        }
        if (place->chunk == 0) return 0;
        place->chunk--;
        place->slot = stream_index_chunk(index, place->chunk)->used - 1u;
    }
}

int stream_index_first(const struct stream_index *index, struct stream_place *place) {
    *place = (struct stream_place){0, 0};
    return settle_forward(index, place);
}

int stream_index_last(const struct stream_index *index, struct stream_place *place) {
    if (index->count == 0) return 0;
    place->chunk = index->count - 1;
    place->slot = stream_index_chunk(index, place->chunk)->used - 1u;
    return settle_back(index, place);
}

int stream_index_next(const struct stream_index *index, struct stream_place *place) {
    place->slot++;
    return settle_forward(index, place);
}

int stream_index_previous(const struct stream_index *index, struct stream_place *place) {
    if (place->slot == 0) {
        if (place->chunk == 0) return 0;
        place->chunk--;
        place->slot = stream_index_chunk(index, place->chunk)->used - 1u;
    } else {
        place->slot--;
    }
    return settle_back(index, place);
}

int stream_index_find(const struct stream_index *index, struct stream_id id, struct stream_place *place) {
    uint32_t from = 0, to = index->count; /* the last chunk that begins at or before id */
    if (to == 0 || stream_id_compare(id_in(stream_index_chunk(index, 0), 0), id) > 0) return 0;
    if (stream_id_compare(id_in(stream_index_chunk(index, to - 1), 0), id) <= 0) from = to - 1;
    while (to - from > 1) {
        uint32_t middle = from + (to - from) / 2;
        if (stream_id_compare(id_in(stream_index_chunk(index, middle), 0), id) <= 0)
            from = middle;
        else
            to = middle;
    }
    place->chunk = from;
    const struct stream_chunk *chunk = stream_index_chunk(index, from);
    from = 0, to = chunk->used;
    if (stream_id_compare(id_in(chunk, to - 1), id) <= 0) from = to - 1;
    while (to - from > 1) {
        uint32_t middle = from + (to - from) / 2;
        if (stream_id_compare(id_in(chunk, middle), id) <= 0)
            from = middle;
        else
            to = middle;
    }
    place->slot = from;
    return settle_back(index, place);
}

/* --- changing --- */

static size_t chunk_memory(const struct stream_chunk *chunk) {
    return memory_usable(chunk) + (chunk->seq_high != NULL ? memory_usable(chunk->seq_high) : 0);
}

static void chunks_make_room(struct stream_index *index) {
    if (index->first + index->count < index->capacity) return;
    if (index->chunks != NULL) index->bytes -= memory_usable(index->chunks);
    if (index->first > index->capacity / 2) { /* mostly gone from the front */
        memmove(index->chunks, index->chunks + index->first, index->count * sizeof *index->chunks);
        index->first = 0;
    } else {
        index->capacity = index->capacity == 0 ? 1 : index->capacity * 2;
        index->chunks = memory_realloc(index->chunks, index->capacity * sizeof *index->chunks);
    }
    index->bytes += memory_usable(index->chunks);
}

/* The last chunk, with room for a node. */
static struct stream_chunk *chunk_with_room(struct stream_index *index) {
    struct stream_chunk *chunk = index->count > 0 ? stream_index_chunk(index, index->count - 1) : NULL;
    if (chunk != NULL && chunk->used < chunk->capacity) return chunk;
    if (chunk == NULL || chunk->used == STREAM_CHUNK_NODES) {
        chunks_make_room(index);
        unsigned capacity = chunk == NULL ? 1 : 16;
        chunk = memory_alloc(sizeof *chunk + capacity * sizeof chunk->nodes[0]);
        *chunk = (struct stream_chunk){.serial = index->next_serial++, .capacity = (uint16_t)capacity};
        index->bytes += chunk_memory(chunk);
        index->chunks[index->first + index->count++] = chunk;
        return chunk;
    }
    unsigned capacity = chunk->capacity * 2u > STREAM_CHUNK_NODES ? STREAM_CHUNK_NODES : chunk->capacity * 2u;
    index->bytes -= chunk_memory(chunk);
    chunk = memory_realloc(chunk, sizeof *chunk + capacity * sizeof chunk->nodes[0]);
    chunk->capacity = (uint16_t)capacity;
    index->bytes += chunk_memory(chunk);
    index->chunks[index->first + index->count - 1] = chunk;
    return chunk;
}

struct stream_place stream_index_append(struct stream_index *index, struct stream_id id) {
    struct stream_chunk *chunk = chunk_with_room(index);
    uint32_t slot = chunk->used++;
    if (id.seq >> 32 != 0 && chunk->seq_high == NULL) {
        chunk->seq_high = memory_alloc_zero(STREAM_CHUNK_NODES * sizeof *chunk->seq_high);
        index->bytes += memory_usable(chunk->seq_high);
    }
    if (chunk->seq_high != NULL) chunk->seq_high[slot] = (uint32_t)(id.seq >> 32);
    chunk->nodes[slot] = (struct stream_node){.ms = id.ms, .seq = (uint32_t)id.seq};
    chunk->live++;
    index->nodes++;
    return (struct stream_place){index->count - 1, slot};
}

static void chunk_remove(struct stream_index *index, uint32_t at) {
    struct stream_chunk *chunk = stream_index_chunk(index, at);
    index->bytes -= chunk_memory(chunk);
    memory_free(chunk->seq_high);
    memory_free(chunk);
    struct stream_chunk **place = index->chunks + index->first + at;
    if (at == 0)
        index->first++;
    else
        memmove(place, place + 1, (index->count - at - 1) * sizeof *place);
    if (--index->count > 0) return;
    index->bytes -= memory_usable(index->chunks);
    memory_free(index->chunks);
    index->chunks = NULL;
    index->first = index->capacity = 0;
    FIRN_ASSERT(index->bytes == 0 && index->nodes == 0);
}

void stream_index_remove(struct stream_index *index, struct stream_place place) {
    struct stream_chunk *chunk = stream_index_chunk(index, place.chunk);
    FIRN_ASSERT(chunk->nodes[place.slot].ref != 0 && chunk->live > 0);
    chunk->nodes[place.slot].ref = 0;
    chunk->nodes[place.slot].count = 0;
    index->nodes--;
    if (--chunk->live == 0) chunk_remove(index, place.chunk);
}

void stream_index_cut(struct stream_index *index, uint32_t chunks, struct stream_index *front_out) {
    FIRN_ASSERT(chunks > 0 && chunks < index->count);
    *front_out =
        (struct stream_index){.count = chunks, .capacity = chunks, .next_serial = index->next_serial};
    front_out->chunks = memory_alloc(chunks * sizeof *front_out->chunks);
    for (uint32_t i = 0; i < chunks; i++) {
        struct stream_chunk *chunk = stream_index_chunk(index, i);
        front_out->chunks[i] = chunk;
        front_out->nodes += chunk->live;
        front_out->bytes += chunk_memory(chunk);
    }
    index->first += chunks;
    index->count -= chunks;
    index->nodes -= front_out->nodes;
    index->bytes -= front_out->bytes;
    front_out->bytes += memory_usable(front_out->chunks);
}

/* --- locators --- */

uint64_t stream_index_locator(const struct stream_index *index, struct stream_place place) {
    return stream_index_chunk(index, place.chunk)->serial << LOCATOR_SLOT_BITS | place.slot;
}

/* The first chunk whose serial is not below ${serial}. */
static uint32_t find_serial(const struct stream_index *index, uint64_t serial) {
    uint32_t from = 0, to = index->count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (stream_index_chunk(index, middle)->serial < serial)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

int stream_index_seek(const struct stream_index *index, uint64_t locator, struct stream_place *place) {
    uint64_t serial = locator >> LOCATOR_SLOT_BITS;
    place->chunk = find_serial(index, serial);
    place->slot = 0;
    if (place->chunk < index->count && stream_index_chunk(index, place->chunk)->serial == serial)
        place->slot = locator & ((1u << LOCATOR_SLOT_BITS) - 1);
    return settle_forward(index, place);
}

struct stream_node *stream_index_locate(const struct stream_index *index, uint64_t locator) {
    uint64_t serial = locator >> LOCATOR_SLOT_BITS;
    uint32_t at = find_serial(index, serial), slot = locator & ((1u << LOCATOR_SLOT_BITS) - 1);
    if (at == index->count) return NULL;
    struct stream_chunk *chunk = stream_index_chunk(index, at);
    if (chunk->serial != serial || slot >= chunk->used || chunk->nodes[slot].ref == 0) return NULL;
    return &chunk->nodes[slot];
}

/* --- what Redis would show --- */

#define KEY_BYTES 16u

/* Leading bytes that two IDs, as 16 bytes big endian, have in common. */
static unsigned common_bytes(struct stream_id a, struct stream_id b) {
    if (a.ms != b.ms) return (unsigned)__builtin_clzll(a.ms ^ b.ms) / 8;
    return 8 + (a.seq != b.seq ? (unsigned)__builtin_clzll(a.seq ^ b.seq) / 8 : 8);
}

/* Partings of keys above the key at hand, from the root down, and the nodes counted so far. */
struct radix {
    unsigned depths[KEY_BYTES];
    unsigned open;
    uint64_t nodes;
};

/* Close the partings below ${depth}, the highest one's stretch reaching up to ${depth} or another one. */
static void radix_close(struct radix *radix, unsigned depth) {
    while (radix->open > 0 && radix->depths[radix->open - 1] > depth) {
        unsigned at = radix->depths[--radix->open], above = depth;
        if (radix->open > 0 && radix->depths[radix->open - 1] > above) above = radix->depths[radix->open - 1];
        radix->nodes += at > above + 1;
    }
}

/*
 * A radix tree over keys of 16 bytes has a node per key, one per place where keys part, and one for each
 * stretch of bytes without parting that is left between those (the byte that parts belongs to the node
 * above).
 */
uint64_t stream_index_radix_nodes(const struct stream_index *index, uint64_t limit) {
    struct radix radix = {.nodes = 0};
    struct stream_place place;
    uint64_t keys = 0;
    unsigned common = 0; /* of the last two keys */
    if (!stream_index_first(index, &place)) return 1;
    struct stream_id before = stream_index_id(index, place);
    for (keys = 1; keys < limit && stream_index_next(index, &place); keys++) {
        struct stream_id id = stream_index_id(index, place);
        unsigned next = common_bytes(before, id), deeper = next > common ? next : common;
        radix.nodes += (KEY_BYTES > deeper + 1) ? 2u : 1u;
        radix_close(&radix, next);
        if (radix.open == 0 || radix.depths[radix.open - 1] < next) {
            radix.depths[radix.open++] = next;
            radix.nodes++;
        }
        before = id;
        common = next;
    }
    radix.nodes += (KEY_BYTES > common + 1) ? 2u : 1u;
    if (radix.open > 0) {
        radix_close(&radix, radix.depths[0]);
        radix.nodes += radix.depths[0] > 0;
    }
    return keys < index->nodes ? radix.nodes * index->nodes / keys : radix.nodes;
}

void stream_index_check(const struct stream_index *index) {
    uint64_t nodes = 0, serial = 0;
    size_t bytes = index->chunks != NULL ? memory_usable(index->chunks) : 0;
    struct stream_id before = {0, 0};
    int is_first = 1;
    for (uint32_t i = 0; i < index->count; i++) {
        const struct stream_chunk *chunk = stream_index_chunk(index, i);
        FIRN_ASSERT(chunk->used > 0 && chunk->used <= chunk->capacity &&
                    chunk->capacity <= STREAM_CHUNK_NODES);
        FIRN_ASSERT((i == 0 || chunk->serial > serial) && chunk->serial < index->next_serial);
        unsigned live = 0;
        for (uint32_t slot = 0; slot < chunk->used; slot++) {
            struct stream_id id = id_in(chunk, slot);
            FIRN_ASSERT(is_first || stream_id_compare(before, id) < 0);
            before = id;
            is_first = 0;
            live += chunk->nodes[slot].ref != 0;
        }
        FIRN_ASSERT(live == chunk->live && live > 0);
        serial = chunk->serial;
        nodes += live;
        bytes += chunk_memory(chunk);
    }
    FIRN_ASSERT(nodes == index->nodes && bytes == index->bytes);
}
