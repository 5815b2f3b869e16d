/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Extendible hashing by the top bits of the position, in leaves of up to LEAF_KEYS_MAX keys. A leaf is one
 * allocation: for each bundle that has keys in it ("part") the reference, the count of live keys, the count
 * it had when it was written, and the range of its keys; then the fingerprints of all parts, part by part,
 * ascending within each.
 *
 *   OFFSET SIZE     FIELD
 *        0   16     struct cold_leaf
 *       16   8 n    references of the n parts (PAGE_TAG_OBJECT: struct shared, one bundle in several leaves)
 *        .   1 n    live keys, at least 1
 *        .   1 n    keys it was written with, its share of them after a split
 *        .   1 n    lowest, then highest (1 n), key: the 8 bits of the position after the leaf's prefix
 *        .   w k    fingerprints of the k keys: the low 8 w bits of their positions
 *
 * Bundles are packed from neighbours, so few parts of a leaf can hold a given position: a search goes over
 * the ranges (bytes next to each other) and searches one or two short arrays. That is why there is no sorted
 * array of the whole leaf, in which each key would have to say its bundle (a byte more each, a third).
 *
 * Fingerprints are w = 4, 3 or 2 bytes as a leaf's prefix gets longer, all of an absolute place: a split
 * needs no key, and what the index can tell apart does not depend on its age. At 40 M keys a leaf has a
 * prefix of 13 or 14 bits, a key costs 3 bytes, its share of the part 0.3 to 1, and 1 lookup of an absent key
 * in 1,600 finds a fingerprint (keys / 2^36).
 *
 * A split may leave a bundle in both halves, and a bundle may be added over several leaves: then the parts
 * refer to a struct shared, which counts them; the last one to go gives the bundle back.
 *
 * C1 A position is in the index at most once.
 * C2 All directory words of a leaf's range are the leaf; a word is NULL where no key is.
 * C3 ranges may be wider than the keys that are left, never narrower.
 *
 * Leaves that get empty are freed; they are not merged, and the directory only grows until the index is
 * empty: a small leaf costs some 50 bytes.
 */
#include "keyspace/cold_index.h"

#include <emmintrin.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/random.h"
#include "page/page.h"

#define LEAF_KEYS_MAX 4096u
#define DEPTH_MIN     4u
#define DEPTH_MAX     (COLD_POSITION_BITS - RANGE_BITS)
#define RANGE_BITS    8u
#define RANDOM_TRIES  64u

struct cold_leaf {
    uint64_t first; /* position where its range begins */
    uint32_t keys;
    uint16_t parts;
    uint8_t depth;
    uint8_t width;
    uint64_t refs[];
};
_Static_assert(sizeof(struct cold_leaf) == 16, "the offsets above");
_Static_assert(LEAF_KEYS_MAX + COLD_BUNDLE_KEYS_MAX < UINT16_MAX, "parts of a leaf fit 16 bits");

/* A bundle with parts in several leaves. */
struct shared {
    uint64_t ref;
    uint32_t parts;
    uint32_t walk; /* the last walk that met it */
};

/* --- inside a leaf --- */

static unsigned width_for(unsigned depth) {
    return depth < 12 ? 4 : depth < 20 ? 3 : 2;
}

static size_t leaf_bytes(unsigned parts, unsigned keys, unsigned width) {
    return sizeof(struct cold_leaf) + (size_t)parts * 12u + (size_t)keys * width;
}

static uint8_t *leaf_live(const struct cold_leaf *leaf) {
    return (uint8_t *)(uintptr_t)(leaf->refs + leaf->parts);
}
static uint8_t *leaf_written(const struct cold_leaf *leaf) {
    return leaf_live(leaf) + leaf->parts;
}
static uint8_t *leaf_lowest(const struct cold_leaf *leaf) {
    return leaf_live(leaf) + 2u * leaf->parts;
}
static uint8_t *leaf_highest(const struct cold_leaf *leaf) {
    return leaf_live(leaf) + 3u * leaf->parts;
}
static uint8_t *leaf_fingerprints(const struct cold_leaf *leaf) {
    return leaf_live(leaf) + 4u * leaf->parts;
}

static uint64_t leaf_end(const struct cold_leaf *leaf) {
    return leaf->first + (COLD_POSITION_END >> leaf->depth);
}

/* The bits of ${position} that a leaf of this depth keeps ranges in. */
static uint8_t range_of(unsigned depth, uint64_t position) {
    return (uint8_t)(position >> (COLD_POSITION_BITS - depth - RANGE_BITS));
}

static uint32_t fingerprint_of(unsigned width, uint64_t position) {
    return width == 4 ? (uint32_t)position : (uint32_t)position & ((1u << 8 * width) - 1);
}

static uint32_t load(const uint8_t *at, unsigned width) {
    if (width == 3) return (uint32_t)bytes_load16(at) | (uint32_t)at[2] << 16;
    return width == 4 ? bytes_load32(at) : bytes_load16(at);
}

static void store(uint8_t *at, unsigned width, uint32_t fingerprint) {
    bytes_store16(at, (uint16_t)fingerprint);
    if (width == 3) at[2] = (uint8_t)(fingerprint >> 16);
    if (width == 4) bytes_store16(at + 2, (uint16_t)(fingerprint >> 16));
}

/* The position that a fingerprint of ${leaf} stands for. */
static uint64_t position_of(const struct cold_leaf *leaf, uint32_t fingerprint) {
    uint64_t mask = ((uint64_t)1 << 8 * leaf->width) - 1;
    return (leaf->first & ~mask) | fingerprint;
}

/* The first of ${count} fingerprints at ${at} that is not below ${fingerprint}. */
static unsigned lower_bound(const uint8_t *at, unsigned count, unsigned width, uint32_t fingerprint) {
    unsigned from = 0;
    while (count > 0) {
        unsigned half = count / 2;
        if (load(at + (size_t)(from + half) * width, width) < fingerprint) {
            from += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return from;
}

/* Where a key is in its leaf. */
struct spot {
    unsigned part, at; /* at: among all fingerprints of the leaf */
};

/* The key at ${position} among the fingerprints of ${part}, of which the first is number ${begin}. */
static int part_find(const struct cold_leaf *leaf, unsigned part, unsigned begin, uint64_t position,
                     struct spot *spot_out) {
    unsigned live = leaf_live(leaf)[part], width = leaf->width;
    uint32_t fingerprint = fingerprint_of(width, position);
    const uint8_t *of_part = leaf_fingerprints(leaf) + (size_t)begin * width;
    unsigned at = lower_bound(of_part, live, width, fingerprint);
    if (at == live || load(of_part + (size_t)at * width, width) != fingerprint) return 0;
    *spot_out = (struct spot){.part = part, .at = begin + at};
    return 1;
}

/* Which of the 16 parts from ${part} on may have a key whose range byte is ${range}. */
static unsigned parts_match(const uint8_t *lowest, const uint8_t *highest, __m128i range) {
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)lowest);
    __m128i high = _mm_loadu_si128((const __m128i *)(const void *)highest);
    __m128i match = _mm_and_si128(_mm_cmpeq_epi8(_mm_max_epu8(low, range), range),
                                  _mm_cmpeq_epi8(_mm_min_epu8(high, range), range));
    return (unsigned)_mm_movemask_epi8(match);
}

static unsigned sum16(const uint8_t *live) {
    __m128i sums = _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(const void *)live), _mm_setzero_si128());
    return (unsigned)_mm_cvtsi128_si32(sums) + (unsigned)_mm_extract_epi16(sums, 4);
}

static int leaf_find(const struct cold_leaf *leaf, uint64_t position, struct spot *spot_out) {
    const uint8_t *live = leaf_live(leaf), *lowest = leaf_lowest(leaf), *highest = leaf_highest(leaf);
    unsigned range = range_of(leaf->depth, position), begin = 0, part = 0;
    for (; part + 16 <= leaf->parts; part += 16) {
        unsigned before = begin, counted = 0;
        for (unsigned match = parts_match(lowest + part, highest + part, _mm_set1_epi8((char)range));
             match != 0; match &= match - 1) {
            unsigned next = (unsigned)__builtin_ctz(match);
            while (counted < next)
                before += live[part + counted++];
            if (part_find(leaf, part + next, before, position, spot_out)) return 1;
        }
        begin += sum16(live + part);
    }
    for (; part < leaf->parts; begin += live[part++]) {
        if (range < lowest[part] || range > highest[part]) continue;
        if (part_find(leaf, part, begin, position, spot_out)) return 1;
    }
    return 0;
}

/* --- references --- */

static uint64_t ref_of(uint64_t word) {
    return page_ref_tag(word) == PAGE_TAG_OBJECT ? ((const struct shared *)page_ref_object(word))->ref : word;
}

static uint64_t share(struct cold_index *index, uint64_t ref) {
    struct shared *shared = memory_alloc(sizeof *shared);
    *shared = (struct shared){.ref = ref};
    index->bytes += memory_usable(shared);
    return page_ref_of_object(shared);
}

/* A part is gone. */
static void unref(struct cold_index *index, uint64_t word) {
    if (page_ref_tag(word) != PAGE_TAG_OBJECT) {
        page_release(word);
        return;
    }
    struct shared *shared = page_ref_object(word);
    FIRN_ASSERT(shared->parts > 0);
    if (--shared->parts > 0) return;
    page_release(shared->ref);
    index->bytes -= memory_usable(shared);
    memory_free(shared);
}

/* --- leaves and directory --- */

static size_t directory_slot(const struct cold_index *index, uint64_t position) {
    return (size_t)(position >> (COLD_POSITION_BITS - index->depth));
}

static struct cold_leaf *leaf_at(const struct cold_index *index, uint64_t position) {
    return index->directory == NULL ? NULL : index->directory[directory_slot(index, position)];
}

/* Put ${leaf} (NULL: nothing) where the range of ${depth} bits from ${first} on is. */
static void publish(struct cold_index *index, uint64_t first, unsigned depth, struct cold_leaf *leaf) {
    size_t slot = directory_slot(index, first), count = (size_t)1 << (index->depth - depth);
    for (size_t i = 0; i < count; i++)
        index->directory[slot + i] = leaf;
}

static struct cold_leaf *leaf_create(struct cold_index *index, uint64_t first, unsigned depth, unsigned parts,
                                     unsigned keys) {
    unsigned width = width_for(depth);
    struct cold_leaf *leaf = memory_alloc(leaf_bytes(parts, keys, width));
    *leaf = (struct cold_leaf){.first = first,
                               .keys = keys,
                               .parts = (uint16_t)parts,
                               .depth = (uint8_t)depth,
                               .width = (uint8_t)width};
    index->bytes += memory_usable(leaf);
    return leaf;
}

static void leaf_destroy(struct cold_index *index, struct cold_leaf *leaf) {
    index->bytes -= memory_usable(leaf);
    memory_free(leaf);
}

/* Make ${leaf} as large as it has to be; its new address, in the directory too. */
static struct cold_leaf *leaf_resize(struct cold_index *index, struct cold_leaf *leaf, size_t bytes) {
    if (memory_good_size(bytes) == memory_usable(leaf)) return leaf;
    index->bytes -= memory_usable(leaf);
    leaf = memory_realloc(leaf, bytes);
    index->bytes += memory_usable(leaf);
    publish(index, leaf->first, leaf->depth, leaf);
    return leaf;
}

static void directory_start(struct cold_index *index) {
    index->depth = DEPTH_MIN;
    index->directory = memory_alloc_zero(sizeof(struct cold_leaf *) << DEPTH_MIN);
    index->bytes += memory_usable(index->directory);
}

static void directory_double(struct cold_index *index) {
    struct cold_leaf **old = index->directory;
    FIRN_ASSERT(index->depth < DEPTH_MAX);
    struct cold_leaf **fresh = memory_alloc(sizeof(struct cold_leaf *) << (index->depth + 1));
    for (size_t i = 0; i < (size_t)1 << index->depth; i++)
        fresh[2 * i] = fresh[2 * i + 1] = old[i];
    index->bytes += memory_usable(fresh) - memory_usable(old);
    memory_free(old);
    index->directory = fresh;
    index->depth++;
}

/* --- split --- */

/* Live keys of the parts of ${leaf} below ${middle}: into ${below_out}; the parts and keys of both halves. */
struct cut {
    unsigned parts[2], keys[2];
    uint8_t below[LEAF_KEYS_MAX + COLD_BUNDLE_KEYS_MAX];
};

static void cut_leaf(const struct cold_leaf *leaf, uint64_t middle, struct cut *cut_out) {
    const uint8_t *live = leaf_live(leaf), *at = leaf_fingerprints(leaf);
    uint32_t fingerprint = fingerprint_of(leaf->width, middle);
    memset(cut_out, 0, offsetof(struct cut, below));
    for (unsigned part = 0; part < leaf->parts; part++) {
        unsigned below = lower_bound(at, live[part], leaf->width, fingerprint);
        cut_out->below[part] = (uint8_t)below;
        cut_out->parts[0] += below > 0;
        cut_out->parts[1] += below < live[part];
        cut_out->keys[0] += below;
        cut_out->keys[1] += live[part] - below;
        at += (size_t)live[part] * leaf->width;
    }
}

/* ${count} fingerprints of ${leaf} from the one at ${from} on become part ${part} of ${half}, at ${to}. */
static void half_part(struct cold_leaf *half, unsigned part, uint8_t *to, const struct cold_leaf *leaf,
                      const uint8_t *from, unsigned count, unsigned written) {
    uint64_t first = position_of(leaf, load(from, leaf->width));
    uint64_t last = position_of(leaf, load(from + (size_t)(count - 1) * leaf->width, leaf->width));
    leaf_live(half)[part] = (uint8_t)count;
    leaf_written(half)[part] = (uint8_t)written;
    leaf_lowest(half)[part] = range_of(half->depth, first);
    leaf_highest(half)[part] = range_of(half->depth, last);
    for (unsigned i = 0; i < count; i++, from += leaf->width, to += half->width)
        store(to, half->width, fingerprint_of(half->width, position_of(leaf, load(from, leaf->width))));
}

static void fill_halves(struct cold_index *index, const struct cold_leaf *leaf, const struct cut *cut,
                        struct cold_leaf *halves[2]) {
    const uint8_t *from = leaf_fingerprints(leaf);
    uint8_t *to[2] = {NULL, NULL};
    unsigned part_of[2] = {0, 0};
    for (unsigned side = 0; side < 2; side++)
        if (halves[side] != NULL) to[side] = leaf_fingerprints(halves[side]);
    for (unsigned part = 0; part < leaf->parts; part++) {
        unsigned live = leaf_live(leaf)[part], written = leaf_written(leaf)[part];
        unsigned counts[2] = {cut->below[part], live - cut->below[part]};
        uint64_t word = leaf->refs[part];
        if (counts[0] > 0 && counts[1] > 0) {
            if (page_ref_tag(word) != PAGE_TAG_OBJECT) {
                word = share(index, word);
                ((struct shared *)page_ref_object(word))->parts = 1;
            }
            ((struct shared *)page_ref_object(word))->parts++;
            index->parts++;
        }
        unsigned share_of_first = written * counts[0] / live; /* at least counts[0], as written >= live */
        unsigned written_of[2] = {share_of_first, written - share_of_first};
        for (unsigned side = 0; side < 2; side++) {
            if (counts[side] == 0) continue;
            half_part(halves[side], part_of[side], to[side], leaf, from, counts[side], written_of[side]);
            halves[side]->refs[part_of[side]++] = word;
            to[side] += (size_t)counts[side] * halves[side]->width;
            from += (size_t)counts[side] * leaf->width;
        }
    }
}

static void leaf_split(struct cold_index *index, struct cold_leaf *leaf) {
    if (leaf->depth == index->depth) directory_double(index);
    unsigned depth = leaf->depth + 1u;
    uint64_t middle = leaf->first + (COLD_POSITION_END >> depth);
    struct cut cut;
    struct cold_leaf *halves[2] = {NULL, NULL};
    cut_leaf(leaf, middle, &cut);
    for (unsigned side = 0; side < 2; side++) {
        uint64_t first = side == 0 ? leaf->first : middle;
        if (cut.keys[side] > 0)
            halves[side] = leaf_create(index, first, depth, cut.parts[side], cut.keys[side]);
    }
    fill_halves(index, leaf, &cut, halves);
    publish(index, leaf->first, depth, halves[0]);
    publish(index, middle, depth, halves[1]);
    leaf_destroy(index, leaf);
    for (unsigned side = 0; side < 2; side++)
        if (halves[side] != NULL && halves[side]->keys > LEAF_KEYS_MAX) leaf_split(index, halves[side]);
}

/* --- add, remove --- */

/* The leaf for ${position}, made if there is none. */
static struct cold_leaf *leaf_for(struct cold_index *index, uint64_t position) {
    struct cold_leaf *leaf = leaf_at(index, position);
    if (leaf != NULL) return leaf;
    uint64_t first = position & ~((COLD_POSITION_END >> index->depth) - 1);
    leaf = leaf_create(index, first, index->depth, 0, 0);
    publish(index, first, index->depth, leaf);
    return leaf;
}

/* A part more at the end of ${leaf}. */
static void leaf_append(struct cold_index *index, struct cold_leaf *leaf, const uint64_t *positions,
                        unsigned count, unsigned written, uint64_t word) {
    unsigned parts = leaf->parts, keys = leaf->keys, width = leaf->width;
    leaf = leaf_resize(index, leaf, leaf_bytes(parts + 1, keys + count, width));
    /* From the back: each array moves up by what those before it grow. */
    uint8_t *old = leaf_live(leaf), *to = old + sizeof(uint64_t);
    memmove(to + 4u * (parts + 1), old + 4u * parts, (size_t)keys * width);
    for (unsigned array = 4; array-- > 0;)
        memmove(to + (size_t)array * (parts + 1), old + (size_t)array * parts, parts);
    leaf->parts++;
    leaf->keys += count;
    leaf->refs[parts] = word;
    leaf_live(leaf)[parts] = (uint8_t)count;
    leaf_written(leaf)[parts] = (uint8_t)written;
    leaf_lowest(leaf)[parts] = range_of(leaf->depth, positions[0]);
    leaf_highest(leaf)[parts] = range_of(leaf->depth, positions[count - 1]);
    uint8_t *at = leaf_fingerprints(leaf) + (size_t)keys * width;
    for (unsigned i = 0; i < count; i++, at += width)
        store(at, width, fingerprint_of(width, positions[i]));
    index->keys += count;
    index->written += written;
    index->parts++;
    if (leaf->keys > LEAF_KEYS_MAX) leaf_split(index, leaf);
}

void cold_index_add(struct cold_index *index, const uint64_t *positions, unsigned count, unsigned written,
                    uint64_t ref) {
    FIRN_ASSERT(count > 0 && count <= written && written <= COLD_BUNDLE_KEYS_MAX);
    FIRN_ASSERT(page_ref_is_lower(ref));
    if (index->directory == NULL) directory_start(index);
    uint64_t word = ref;
    struct shared *shared = NULL;
    if (leaf_for(index, positions[0]) != leaf_for(index, positions[count - 1])) {
        word = share(index, ref);
        shared = page_ref_object(word);
        shared->parts = 1; /* ours, until all are there: splits count on */
    }
    for (unsigned from = 0, next; from < count; from = next) {
        struct cold_leaf *leaf = leaf_for(index, positions[from]);
        for (next = from + 1; next < count && positions[next] < leaf_end(leaf); next++)
            FIRN_ASSERT(positions[next - 1] < positions[next]);
        unsigned of_part = next < count ? next - from : written - from; /* the dead are in the last one */
        if (shared != NULL) shared->parts++;
        leaf_append(index, leaf, positions + from, next - from, of_part, word);
    }
    if (shared != NULL) unref(index, word);
}

static void directory_drop(struct cold_index *index) {
    uint64_t walks = index->walks;
    index->bytes -= memory_usable(index->directory);
    memory_free(index->directory);
    FIRN_ASSERT(index->bytes == 0 && index->keys == 0 && index->parts == 0 && index->written == 0);
    *index = (struct cold_index){.walks = walks};
}

/* Close the gap of ${part}, which has no keys left. */
static void leaf_remove_part(struct cold_index *index, struct cold_leaf *leaf, unsigned part) {
    unsigned parts = leaf->parts, behind = parts - part - 1;
    uint64_t word = leaf->refs[part];
    index->written -= leaf_written(leaf)[part];
    index->parts--;
    uint8_t *old = leaf_live(leaf), *to = old - sizeof(uint64_t);
    memmove(&leaf->refs[part], &leaf->refs[part + 1], behind * sizeof(uint64_t));
    for (unsigned array = 0; array < 4; array++) {
        memmove(to + (size_t)array * (parts - 1), old + (size_t)array * parts, part);
        memmove(to + (size_t)array * (parts - 1) + part, old + (size_t)array * parts + part + 1, behind);
    }
    memmove(to + 4u * (parts - 1), old + 4u * parts, (size_t)leaf->keys * leaf->width);
    leaf->parts--;
    unref(index, word);
}

void cold_index_remove(struct cold_index *index, uint64_t position) {
    struct cold_leaf *leaf = leaf_at(index, position);
    struct spot spot;
    FIRN_ASSERT(leaf != NULL);
    int found = leaf_find(leaf, position, &spot);
    FIRN_ASSERT(found);
    uint8_t *at = leaf_fingerprints(leaf) + (size_t)spot.at * leaf->width;
    memmove(at, at + leaf->width, (size_t)(leaf->keys - spot.at - 1) * leaf->width);
    leaf->keys--;
    index->keys--;
    if (--leaf_live(leaf)[spot.part] == 0) leaf_remove_part(index, leaf, spot.part);
    if (leaf->keys == 0) {
        FIRN_ASSERT(leaf->parts == 0);
        publish(index, leaf->first, leaf->depth, NULL);
        leaf_destroy(index, leaf);
        if (index->keys == 0) directory_drop(index);
        return;
    }
    leaf_resize(index, leaf, leaf_bytes(leaf->parts, leaf->keys, leaf->width));
}

/* --- look --- */

uint64_t cold_index_find(const struct cold_index *index, uint64_t position) {
    const struct cold_leaf *leaf = leaf_at(index, position);
    struct spot spot;
    return leaf != NULL && leaf_find(leaf, position, &spot) ? ref_of(leaf->refs[spot.part]) : 0;
}

/* The least position of ${leaf} from ${position} (in its range) on. */
static int leaf_next(const struct cold_leaf *leaf, uint64_t position, uint64_t *position_out,
                     uint64_t *ref_out) {
    const uint8_t *live = leaf_live(leaf), *at = leaf_fingerprints(leaf);
    uint32_t from = fingerprint_of(leaf->width, position);
    uint64_t best = UINT64_MAX;
    for (unsigned part = 0; part < leaf->parts; at += (size_t)live[part++] * leaf->width) {
        unsigned found = lower_bound(at, live[part], leaf->width, from);
        if (found == live[part]) continue;
        uint32_t fingerprint = load(at + (size_t)found * leaf->width, leaf->width);
        if (fingerprint >= best) continue;
        best = fingerprint;
        *ref_out = ref_of(leaf->refs[part]);
    }
    if (best == UINT64_MAX) return 0;
    *position_out = position_of(leaf, (uint32_t)best);
    return 1;
}

/* Where the directory word at ${position} ends. */
static uint64_t word_end(const struct cold_index *index, uint64_t position) {
    const struct cold_leaf *leaf = leaf_at(index, position);
    if (leaf != NULL) return leaf_end(leaf);
    uint64_t range = COLD_POSITION_END >> index->depth;
    return (position & ~(range - 1)) + range;
}

int cold_index_next(const struct cold_index *index, uint64_t position, uint64_t *position_out,
                    uint64_t *ref_out) {
    if (index->keys == 0) return 0;
    while (position < COLD_POSITION_END) {
        const struct cold_leaf *leaf = leaf_at(index, position);
        if (leaf != NULL && leaf_next(leaf, position, position_out, ref_out)) return 1;
        position = word_end(index, position);
    }
    return 0;
}

int cold_index_random(const struct cold_index *index, uint64_t *position_out, uint64_t *ref_out) {
    if (index->keys == 0) return 0;
    const struct cold_leaf *leaf = NULL;
    uint64_t position = 0;
    for (unsigned i = 0; i < RANDOM_TRIES && leaf == NULL; i++) {
        position = cold_position(random_u64());
        leaf = leaf_at(index, position);
    }
    if (leaf == NULL) /* nearly empty */
        return cold_index_next(index, position, position_out, ref_out) ||
               cold_index_next(index, 0, position_out, ref_out);
    unsigned nth = (unsigned)random_below(leaf->keys), part = 0;
    *position_out = position_of(leaf, load(leaf_fingerprints(leaf) + (size_t)nth * leaf->width, leaf->width));
    for (const uint8_t *live = leaf_live(leaf); nth >= live[part]; part++)
        nth -= live[part];
    *ref_out = ref_of(leaf->refs[part]);
    return 1;
}

/* --- walks --- */

void cold_index_walk_begin(struct cold_index *index) {
    index->walks++;
}

/* A place is the position of a leaf, and the part in it above. */
unsigned cold_index_walk(struct cold_index *index, uint64_t *place_inout, uint64_t *refs_out,
                         unsigned limit) {
    uint64_t position = *place_inout & (COLD_POSITION_END - 1);
    unsigned part = (unsigned)(*place_inout >> COLD_POSITION_BITS), count = 0;
    if (index->keys == 0 || *place_inout == UINT64_MAX) return 0;
    for (; position < COLD_POSITION_END; position = word_end(index, position), part = 0) {
        const struct cold_leaf *leaf = leaf_at(index, position);
        for (; leaf != NULL && part < leaf->parts; part++) {
            if (count == limit) {
                *place_inout = position | (uint64_t)part << COLD_POSITION_BITS;
                return count;
            }
            if (page_ref_tag(leaf->refs[part]) == PAGE_TAG_OBJECT) {
                struct shared *shared = page_ref_object(leaf->refs[part]);
                if (shared->walk == (uint32_t)index->walks) continue;
                shared->walk = (uint32_t)index->walks;
            }
            refs_out[count++] = ref_of(leaf->refs[part]);
        }
    }
    *place_inout = UINT64_MAX;
    return count;
}

unsigned cold_index_sparse(const struct cold_index *index, uint64_t *position_inout, unsigned percent,
                           uint64_t *refs_out, unsigned limit) {
    unsigned count = 0;
    if (index->keys == 0) {
        *position_inout = 0;
        return 0;
    }
    const struct cold_leaf *leaf = leaf_at(index, *position_inout & (COLD_POSITION_END - 1));
    for (unsigned part = 0; leaf != NULL && part < leaf->parts && count < limit; part++) {
        if (leaf_live(leaf)[part] * 100u < leaf_written(leaf)[part] * percent)
            refs_out[count++] = ref_of(leaf->refs[part]);
    }
    *position_inout = word_end(index, *position_inout & (COLD_POSITION_END - 1)) & (COLD_POSITION_END - 1);
    return count;
}

int cold_index_drain(struct cold_index *index) {
    if (index->directory == NULL) return 0;
    struct cold_leaf *leaf = leaf_at(index, index->drained);
    index->drained = word_end(index, index->drained);
    if (leaf != NULL) {
        for (unsigned part = 0; part < leaf->parts; part++) {
            index->written -= leaf_written(leaf)[part];
            unref(index, leaf->refs[part]);
        }
        index->keys -= leaf->keys;
        index->parts -= leaf->parts;
        leaf_destroy(index, leaf);
    }
    if (index->drained < COLD_POSITION_END) return 1;
    directory_drop(index);
    return 0;
}

/* --- check --- */

static void leaf_check(const struct cold_leaf *leaf) {
    const uint8_t *at = leaf_fingerprints(leaf);
    unsigned keys = 0;
    FIRN_ASSERT(leaf->width == width_for(leaf->depth) && leaf->keys > 0 && leaf->keys <= LEAF_KEYS_MAX);
    for (unsigned part = 0; part < leaf->parts; part++) {
        unsigned live = leaf_live(leaf)[part];
        uint64_t before = 0;
        FIRN_ASSERT(live > 0 && live <= leaf_written(leaf)[part]);
        for (unsigned i = 0; i < live; i++, at += leaf->width) {
            uint64_t position = position_of(leaf, load(at, leaf->width));
            struct spot spot;
            FIRN_ASSERT(position >= leaf->first && position < leaf_end(leaf));
            FIRN_ASSERT(i == 0 || before < position);
            FIRN_ASSERT(range_of(leaf->depth, position) >= leaf_lowest(leaf)[part]); /* C3 */
            FIRN_ASSERT(range_of(leaf->depth, position) <= leaf_highest(leaf)[part]);
            FIRN_ASSERT(leaf_find(leaf, position, &spot) && spot.part == part); /* C1 */
            before = position;
        }
        keys += live;
    }
    FIRN_ASSERT(keys == leaf->keys);
}

void cold_index_check(const struct cold_index *index) {
    uint64_t keys = 0, parts = 0, written = 0;
    if (index->directory == NULL) {
        FIRN_ASSERT(index->keys == 0 && index->bytes == 0);
        return;
    }
    for (uint64_t position = 0; position < COLD_POSITION_END; position = word_end(index, position)) {
        const struct cold_leaf *leaf = leaf_at(index, position);
        if (leaf == NULL) continue;
        size_t slot = directory_slot(index, position);
        FIRN_ASSERT(leaf->first == position && leaf->depth <= index->depth);
        for (size_t i = 0; i < (size_t)1 << (index->depth - leaf->depth); i++)
            FIRN_ASSERT(index->directory[slot + i] == leaf); /* C2 */
        leaf_check(leaf);
        keys += leaf->keys;
        parts += leaf->parts;
        for (unsigned part = 0; part < leaf->parts; part++)
            written += leaf_written(leaf)[part];
    }
    FIRN_ASSERT(keys == index->keys && parts == index->parts && written == index->written);
}
