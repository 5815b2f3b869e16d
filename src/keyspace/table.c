/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Order-preserving segmented extendible hashing.
 *
 *   root (1 or 256 words, by the top hash bits)
 *   -> directory (2^depth words) -> segment -> bucket (64 bytes) -> slot -> entry
 *
 * A segment covers the hashes with one prefix of ${depth} bits. Its n buckets divide that range evenly and in
 * order: the hash bits after the prefix, as a fraction, times n, are a key's home bucket. A key that finds
 * its home full goes to one of the next TABLE_REACH buckets, cyclically; each bucket counts the keys that
 * passed over it, so a search ends at the first bucket that nobody passed. A segment grows in steps of a few
 * buckets and finally splits in two: load stays between about 0.70 and 0.875 at every size of the table, and
 * no step handles more than one segment (about 700 keys) or one directory (1/256 of the table when it is
 * large).
 *
 * A slot keeps 16 hash bits, those from bit ${base} on (from the top), where base <= depth; ${delta} = depth
 * - base of them are prefix by now. They give the home bucket when a segment is rebuilt, so growing and
 * splitting read no entry, until fewer than TABLE_POSITION_BITS_MIN are left: then the split computes all
 * hashes again from the keys (every fifth time).
 *
 * Since buckets are in hash order in every state of the table, a hash is a cursor: everything below it has
 * been visited, whatever was split or merged meanwhile.
 *
 * B1 A bucket's eighth tag byte is the number of entries whose home is at or (cyclically) before it and
 * whose place is behind it.
 *
 * B2 Tag 0 is an empty slot, and only that; its slot word is 0.
 *
 * B3 All directory words of a segment's range are equal, and equal to what its header says.
 *
 * B4 A segment's depth is at least root_bits.
 *
 * Rejected: chained or stash buckets (a miss has to look there; load is no better than with short cyclic
 * reach), one global directory (doubling at 100 M keys copies megabytes), groups of buckets (waste up to a
 * third at their edges).
 *
 * Executor only.
 */
#include "keyspace/table.h"

#include <emmintrin.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"

#define DRAIN_BUCKETS           32u /* of table_drain in one step */
#define TABLE_ROOT_BITS         8u
#define TABLE_REACH             15u /* buckets a key may be away from home; times 7 it fits the count byte (B1) */
#define TABLE_HASH_BITS         16u
#define TABLE_POSITION_BITS_MIN 11u
#define TABLE_DELTA_MAX         (TABLE_HASH_BITS - TABLE_POSITION_BITS_MIN)
#define TABLE_DEPTH_MAX         40u

_Static_assert(TABLE_REACH *TABLE_BUCKET_SLOTS < 256, "the overflow count fits a byte");
_Static_assert(TABLE_DELTA_MAX < 8, "delta fits three bits of a directory word");

struct bucket {
    uint64_t slots[TABLE_BUCKET_SLOTS];
    uint8_t tags[TABLE_BUCKET_SLOTS];
    uint8_t passed; /* B1 */
};
_Static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");

struct segment {
    uint64_t prefix; /* top ${depth} bits of the hashes here, rest zero */
    uint16_t used;
    uint8_t size;  /* index into SIZES */
    uint8_t delta; /* stored hash bits that are part of the prefix */
    uint8_t depth; /* prefix bits */
    uint8_t unused[64 - 13];
    struct bucket buckets[];
};
_Static_assert(sizeof(struct segment) == 64, "the header takes the place of one bucket");

/* Sizes in 64-byte units, header included: allocator size classes. Up to SIZE_FULL while the table is small;
 * then SIZE_SPLIT is what halves start at. */
static const uint8_t SIZES[] = {2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112};
#define SIZE_COUNT ((unsigned)sizeof SIZES)

static unsigned size_buckets(unsigned size) {
    return SIZES[size] - 1u;
}
static unsigned size_capacity(unsigned size) {
    return size_buckets(size) * TABLE_BUCKET_SLOTS;
}
/* Entries at which a segment of this size grows. */
static unsigned size_limit(unsigned size) {
    unsigned capacity = size_capacity(size);
    return capacity - capacity / 8;
}
/* The smallest size that takes ${count} entries at a load of at most about 0.8. */
static unsigned size_for(unsigned count) {
    unsigned size = 0;
    while (size + 1 < SIZE_COUNT && count * 5 > size_capacity(size) * 4)
        size++;
    return size;
}

/* --- directory words: segment address, above it size (4 bits), delta (3), depth (6) --- */

#define WORD_ADDRESS 0x0000ffffffffffffull

static uint64_t word_make(const struct segment *segment) {
    return (uint64_t)(uintptr_t)segment | (uint64_t)segment->size << 48 | (uint64_t)segment->delta << 52 |
           (uint64_t)segment->depth << 55;
}
static struct segment *word_segment(uint64_t word) {
    return (struct segment *)(uintptr_t)(word & WORD_ADDRESS);
}
static unsigned word_size(uint64_t word) {
    return (unsigned)(word >> 48) & 15u;
}
static unsigned word_delta(uint64_t word) {
    return (unsigned)(word >> 52) & 7u;
}
static unsigned word_depth(uint64_t word) {
    return (unsigned)(word >> 55) & 63u;
}

static uint64_t *root_directory(uint64_t root_word) {
    return (uint64_t *)(uintptr_t)(root_word & WORD_ADDRESS);
}
static unsigned root_depth(uint64_t root_word) {
    return (unsigned)(root_word >> 48);
}
static uint64_t root_make(const uint64_t *directory, unsigned depth) {
    return (uint64_t)(uintptr_t)directory | (uint64_t)depth << 48;
}

/* The top ${bits} (0 to 63) of ${hash}. */
static uint64_t top_bits(uint64_t hash, unsigned bits) {
    return hash >> 1 >> (63 - bits);
}

static uint64_t *root_of(const struct table *table, uint64_t hash) {
    return &table->root[top_bits(hash, table->root_bits)];
}

static uint64_t *directory_word(const struct table *table, uint64_t hash) {
    uint64_t root = *root_of(table, hash);
    return &root_directory(root)[top_bits(hash << table->root_bits, root_depth(root))];
}

/* --- positions --- */

static uint8_t hash_tag(uint64_t hash) {
    uint8_t tag = (uint8_t)hash;
    return tag ? tag : 1;
}
/* The 16 bits a slot keeps, in a segment whose stored bits begin at ${base}. */
static uint64_t hash_stored(uint64_t hash, unsigned base) {
    return hash << base >> 48;
}
static unsigned home_of(uint64_t stored, unsigned delta, unsigned buckets) {
    unsigned bits = TABLE_HASH_BITS - delta;
    return (unsigned)((stored & ((1u << bits) - 1)) * buckets >> bits);
}

struct place {
    struct segment *segment;
    unsigned buckets;
    unsigned home;
    uint64_t stored;
};

static inline struct place place_of(const struct table *table, uint64_t hash) {
    uint64_t word = *directory_word(table, hash);
    struct place place;
    unsigned delta = word_delta(word);
    place.segment = word_segment(word);
    place.buckets = size_buckets(word_size(word));
    place.stored = hash_stored(hash, word_depth(word) - delta);
    place.home = home_of(place.stored, delta, place.buckets);
    return place;
}

static inline unsigned bucket_match(const struct bucket *bucket, uint8_t tag) {
    __m128i tags = _mm_loadl_epi64((const __m128i *)(const void *)bucket->tags);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag))) & 0x7fu;
}

static inline unsigned next_bucket(unsigned index, unsigned buckets) {
    return index + 1 == buckets ? 0 : index + 1;
}

/* How many buckets after its home a key may be in. */
static inline unsigned reach_of(unsigned buckets) {
    return buckets - 1 < TABLE_REACH ? buckets - 1 : TABLE_REACH;
}

/* --- lookup --- */

static int slot_is_key(uint64_t slot, uint64_t hash, struct bytes key) {
    if (__builtin_expect((slot & TABLE_SLOT_SUNK) != 0, 0)) return table_slot_sunk(slot)->hash == hash;
    return bytes_equal(entry_key(table_slot_entry(slot)), key);
}

/* The whole hash of a slot's key. */
static uint64_t slot_hash(uint64_t slot) {
    if (slot & TABLE_SLOT_SUNK) return table_slot_sunk(slot)->hash;
    return hash_key(entry_key(table_slot_entry(slot)));
}

uint64_t *table_find(const struct table *table, uint64_t hash, struct bytes key) {
    if (table->used == 0) return NULL;
    struct place place = place_of(table, hash);
    uint8_t tag = hash_tag(hash);
    for (unsigned i = place.home, step = 0;; i = next_bucket(i, place.buckets), step++) {
        struct bucket *bucket = &place.segment->buckets[i];
        for (unsigned match = bucket_match(bucket, tag); match != 0; match &= match - 1) {
            uint64_t *slot = &bucket->slots[__builtin_ctz(match)];
            if (*slot >> 48 == place.stored && slot_is_key(*slot, hash, key)) return slot;
        }
        if (bucket->passed == 0 || step == reach_of(place.buckets)) return NULL;
    }
}

uint64_t *table_find_entry(const struct table *table, uint64_t hash, const struct entry *entry) {
    if (table->used == 0) return NULL;
    struct place place = place_of(table, hash);
    uint8_t tag = hash_tag(hash);
    for (unsigned i = place.home, step = 0;; i = next_bucket(i, place.buckets), step++) {
        struct bucket *bucket = &place.segment->buckets[i];
        for (unsigned match = bucket_match(bucket, tag); match != 0; match &= match - 1) {
            uint64_t *slot = &bucket->slots[__builtin_ctz(match)];
            if (table_slot_entry(*slot) == entry) return slot;
        }
        if (bucket->passed == 0 || step == reach_of(place.buckets)) return NULL;
    }
}

uint64_t *table_find_hash(const struct table *table, uint64_t hash, unsigned nth) {
    if (table->used == 0) return NULL;
    struct place place = place_of(table, hash);
    uint8_t tag = hash_tag(hash);
    for (unsigned i = place.home, step = 0;; i = next_bucket(i, place.buckets), step++) {
        struct bucket *bucket = &place.segment->buckets[i];
        for (unsigned match = bucket_match(bucket, tag); match != 0; match &= match - 1) {
            uint64_t *slot = &bucket->slots[__builtin_ctz(match)];
            if (*slot >> 48 == place.stored && nth-- == 0) return slot;
        }
        if (bucket->passed == 0 || step == reach_of(place.buckets)) return NULL;
    }
}

void table_prefetch_bucket(const struct table *table, uint64_t hash) {
    if (table->used == 0) return;
    struct place place = place_of(table, hash);
    __builtin_prefetch(&place.segment->buckets[place.home]);
    /* Often where a full bucket passed its keys on to. */
    __builtin_prefetch(&place.segment->buckets[next_bucket(place.home, place.buckets)]);
}

void table_prefetch_entry(const struct table *table, uint64_t hash) {
    if (table->used == 0) return;
    struct place place = place_of(table, hash);
    uint8_t tag = hash_tag(hash);
    for (unsigned i = place.home, step = 0;; i = next_bucket(i, place.buckets), step++) {
        const struct bucket *bucket = &place.segment->buckets[i];
        for (unsigned match = bucket_match(bucket, tag); match != 0; match &= match - 1) {
            uint64_t slot = bucket->slots[__builtin_ctz(match)];
            if (slot >> 48 != place.stored) continue;
            __builtin_prefetch(table_slot_entry(slot));
            __builtin_prefetch((const uint8_t *)table_slot_entry(slot) + 64); /* most of a short value */
            return;
        }
        if (bucket->passed == 0 || step == reach_of(place.buckets)) return;
    }
}

/* --- segments --- */

static struct segment *segment_create(struct table *table, uint64_t prefix, unsigned depth, unsigned delta,
                                      unsigned size) {
    size_t bytes = SIZES[size] * 64u;
    struct segment *segment = memory_alloc_aligned(64, bytes);
    memset(segment, 0, bytes);
    segment->prefix = prefix;
    segment->depth = (uint8_t)depth;
    segment->delta = (uint8_t)delta;
    segment->size = (uint8_t)size;
    table->segments++;
    table->slots += size_capacity(size);
    table->bytes += bytes;
    return segment;
}

static void segment_destroy(struct table *table, struct segment *segment) {
    table->segments--;
    table->slots -= size_capacity(segment->size);
    table->bytes -= SIZES[segment->size] * 64u;
    memory_free(segment);
}

static unsigned segment_base(const struct segment *segment) {
    return segment->depth - segment->delta;
}

/* Put a slot whose stored bits fit this segment. NULL if no bucket within reach has room. */
static uint64_t *segment_put(struct segment *segment, uint64_t slot, uint8_t tag) {
    unsigned buckets = size_buckets(segment->size);
    unsigned home = home_of(slot >> 48, segment->delta, buckets);
    unsigned index = home;
    for (unsigned step = 0;; step++, index = next_bucket(index, buckets)) {
        unsigned empty = bucket_match(&segment->buckets[index], 0);
        if (empty != 0) {
            unsigned at = (unsigned)__builtin_ctz(empty);
            for (unsigned i = home; i != index; i = next_bucket(i, buckets))
                segment->buckets[i].passed++;
            segment->buckets[index].slots[at] = slot;
            segment->buckets[index].tags[at] = tag;
            segment->used++;
            return &segment->buckets[index].slots[at];
        }
        if (step == reach_of(buckets)) return NULL;
    }
}

/* Which part of a source segment a rebuild takes. */
struct rebuild {
    unsigned bits;   /* those whose first so many hash bits after the source's prefix */
    unsigned select; /* are this; 0 bits: all */
    int from_keys;   /* the target stores other hash bits than the source: compute them from the keys */
};

static int is_selected(const struct segment *source, uint64_t slot, struct rebuild how) {
    return (unsigned)(slot >> 48 >> (TABLE_HASH_BITS - source->delta - how.bits) & ((1u << how.bits) - 1)) ==
           how.select;
}

static int segment_copy(struct segment *target, const struct segment *source, struct rebuild how) {
    unsigned buckets = size_buckets(source->size);
    for (unsigned i = 0; i < buckets; i++) {
        const struct bucket *bucket = &source->buckets[i];
        if (how.from_keys && i + 1 < buckets) {
            for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++)
                __builtin_prefetch(table_slot_entry(bucket[1].slots[j]));
        }
        for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++) {
            uint64_t slot = bucket->slots[j];
            if (bucket->tags[j] == 0) continue;
            if (!is_selected(source, slot, how)) continue;
            if (how.from_keys) {
                uint64_t hash = slot_hash(slot);
                slot = (slot & ~(0xffffull << 48)) | hash_stored(hash, segment_base(target)) << 48;
            }
            if (segment_put(target, slot, bucket->tags[j]) == NULL) return 0;
        }
    }
    return 1;
}

static unsigned segment_count_selected(const struct segment *segment, struct rebuild how) {
    unsigned count = 0;
    for (unsigned i = 0; i < size_buckets(segment->size); i++) {
        for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++) {
            const struct bucket *bucket = &segment->buckets[i];
            count += bucket->tags[j] != 0 && is_selected(segment, bucket->slots[j], how);
        }
    }
    return count;
}

/* Point all directory words of the segment's range at it. */
static void segment_publish(struct table *table, struct segment *segment) {
    uint64_t root = *root_of(table, segment->prefix);
    unsigned spare = table->root_bits + root_depth(root) - segment->depth;
    uint64_t *word = directory_word(table, segment->prefix);
    uint64_t value = word_make(segment);
    for (uint64_t i = 0; i < (uint64_t)1 << spare; i++)
        word[i] = value;
}

/* Build a segment of at least ${size} from one or two sources; sizes that turn out too tight are stepped
 * over. NULL if none is enough. */
static struct segment *segment_build(struct table *table, uint64_t prefix, unsigned depth, unsigned delta,
                                     unsigned size, struct segment *const *sources, unsigned count,
                                     struct rebuild how) {
    for (; size < SIZE_COUNT; size++) {
        struct segment *target = segment_create(table, prefix, depth, delta, size);
        unsigned done = 0;
        while (done < count && segment_copy(target, sources[done], how))
            done++;
        if (done == count) return target;
        segment_destroy(table, target);
    }
    return NULL;
}

static int segment_resize(struct table *table, struct segment *segment, unsigned size) {
    struct segment *target = segment_build(table, segment->prefix, segment->depth, segment->delta, size,
                                           &segment, 1, (struct rebuild){.bits = 0});
    if (target == NULL) return 0;
    segment_publish(table, target);
    segment_destroy(table, segment);
    return 1;
}

/* --- directories --- */

static uint64_t *directory_create(struct table *table, unsigned depth) {
    size_t bytes = sizeof(uint64_t) << depth;
    table->bytes += bytes;
    return memory_alloc(bytes);
}

static void directory_destroy(struct table *table, uint64_t root_word) {
    table->bytes -= sizeof(uint64_t) << root_depth(root_word);
    memory_free(root_directory(root_word));
}

static void directory_double(struct table *table, uint64_t *root_word) {
    unsigned depth = root_depth(*root_word);
    const uint64_t *old = root_directory(*root_word);
    uint64_t *directory = directory_create(table, depth + 1);
    for (uint64_t i = 0; i < (uint64_t)1 << depth; i++)
        directory[2 * i] = directory[2 * i + 1] = old[i];
    directory_destroy(table, *root_word);
    *root_word = root_make(directory, depth + 1);
}

/* Halve it as long as no segment needs its full depth. */
static void directory_shrink(struct table *table, uint64_t *root_word) {
    for (;;) {
        unsigned depth = root_depth(*root_word);
        const uint64_t *old = root_directory(*root_word);
        if (depth == 0) return;
        for (uint64_t i = 0; i < (uint64_t)1 << depth; i += 2) {
            if (old[i] != old[i + 1]) return;
        }
        uint64_t *directory = directory_create(table, depth - 1);
        for (uint64_t i = 0; i < (uint64_t)1 << (depth - 1); i++)
            directory[i] = old[2 * i];
        directory_destroy(table, *root_word);
        *root_word = root_make(directory, depth - 1);
    }
}

static void segment_split(struct table *table, struct segment *segment);

/* From one directory to TABLE_ROOT_BITS' worth of them. Once in the life of a table that grows. */
static void root_widen(struct table *table) {
    for (uint64_t hash = 0, done = 0; !done;) { /* B4 */
        struct segment *segment = word_segment(*directory_word(table, hash));
        if (segment->depth < TABLE_ROOT_BITS) {
            segment_split(table, segment);
            continue;
        }
        hash = segment->prefix + ((uint64_t)1 << (64 - segment->depth));
        done = hash == 0;
    }
    uint64_t single = table->root_single;
    unsigned depth = root_depth(single) - TABLE_ROOT_BITS;
    size_t count = (size_t)1 << TABLE_ROOT_BITS;
    table->root = memory_alloc(count * sizeof(uint64_t));
    table->bytes += count * sizeof(uint64_t);
    table->root_bits = TABLE_ROOT_BITS;
    for (size_t i = 0; i < count; i++) {
        uint64_t *directory = directory_create(table, depth);
        memcpy(directory, root_directory(single) + (i << depth), sizeof(uint64_t) << depth);
        table->root[i] = root_make(directory, depth);
    }
    directory_destroy(table, single);
    table->root_single = 0;
}

/*
 * Segments for what ${how} selects of ${segment}: one, or more where its keys are so close together that no
 * size takes them (hashes are even, but the keys in the table need not be: others may have left it).
 */
static void segment_divide(struct table *table, struct segment *segment, struct rebuild how) {
    unsigned depth = segment->depth + how.bits;
    FIRN_ASSERT(depth <= TABLE_DEPTH_MAX && segment->delta + how.bits <= TABLE_HASH_BITS);
    uint64_t prefix = segment->prefix | (uint64_t)how.select << (64 - depth);
    uint64_t *root = root_of(table, prefix);
    if (depth > table->root_bits + root_depth(*root)) directory_double(table, root);
    how.from_keys = segment->delta + how.bits > TABLE_DELTA_MAX;
    unsigned delta = how.from_keys ? 0 : segment->delta + how.bits;
    unsigned size = size_for(segment_count_selected(segment, how));
    struct segment *part = segment_build(table, prefix, depth, delta, size, &segment, 1, how);
    if (part != NULL) {
        segment_publish(table, part);
        return;
    }
    how.bits++;
    how.select *= 2;
    segment_divide(table, segment, how);
    how.select++;
    segment_divide(table, segment, how);
}

/* Two halves in place of ${segment}. */
static void segment_split(struct table *table, struct segment *segment) {
    for (unsigned half = 0; half < 2; half++)
        segment_divide(table, segment, (struct rebuild){.bits = 1, .select = half});
    segment_destroy(table, segment);
    table->splits++;
}

static void segment_grow(struct table *table, uint64_t hash) {
    struct segment *segment = word_segment(*directory_word(table, hash));
    if (segment->size + 1u < SIZE_COUNT && segment_resize(table, segment, segment->size + 1u)) return;
    if (table->root_bits == 0 && root_depth(table->root_single) >= TABLE_ROOT_BITS &&
        segment->depth >= TABLE_ROOT_BITS) {
        root_widen(table);
        segment = word_segment(*directory_word(table, hash));
    }
    segment_split(table, segment);
}

/* The other half of the range of ${segment}'s parent, if it is one segment too and the directory allows a
 * merge; else NULL. */
static struct segment *segment_buddy(const struct table *table, const struct segment *segment) {
    if (segment->depth == table->root_bits) return NULL;
    uint64_t prefix = segment->prefix ^ (uint64_t)1 << (64 - segment->depth);
    struct segment *buddy = word_segment(*directory_word(table, prefix));
    return buddy->depth == segment->depth ? buddy : NULL;
}

static int segment_merge(struct table *table, struct segment *segment, struct segment *buddy) {
    struct segment *sources[2] = {segment, buddy};
    if (buddy->prefix < segment->prefix) sources[0] = buddy, sources[1] = segment;
    unsigned depth = segment->depth - 1u;
    unsigned size = size_for(segment->used + (unsigned)buddy->used);
    int same = segment->delta == buddy->delta && segment->delta > 0;
    struct segment *target = segment_build(table, sources[0]->prefix, depth, same ? segment->delta - 1u : 0,
                                           size, sources, 2, (struct rebuild){.from_keys = !same});
    if (target == NULL) return 0;
    segment_publish(table, target);
    segment_destroy(table, segment);
    segment_destroy(table, buddy);
    directory_shrink(table, root_of(table, target->prefix));
    return 1;
}

/* Entries below which a segment of ${size} is made smaller or merged. */
static unsigned size_floor(unsigned size) {
    if (size == 0) return 0;
    unsigned floor = size_capacity(size) * 2 / 5;
    unsigned smaller = size_capacity(size - 1) * 3 / 4;
    return floor < smaller ? floor : smaller;
}

static void segment_shrink(struct table *table, struct segment *segment) {
    struct segment *buddy = segment_buddy(table, segment);
    if (buddy != NULL && (unsigned)segment->used + buddy->used <= size_capacity(SIZE_COUNT - 4) * 3 / 5 &&
        segment_merge(table, segment, buddy)) {
        return;
    }
    unsigned size = size_for(segment->used);
    if (size < segment->size) (void)segment_resize(table, segment, size);
}

/* --- insert, remove --- */

void table_init(struct table *table) {
    memset(table, 0, sizeof *table);
    table->root = &table->root_single;
}

static void table_start(struct table *table) {
    uint64_t *directory = directory_create(table, 0);
    table->root = &table->root_single;
    table->root_single = root_make(directory, 0);
    segment_publish(table, segment_create(table, 0, 0, 0, 0));
}

void table_fini(struct table *table) {
    if (table->segments != 0) {
        uint64_t hash = 0;
        do {
            struct segment *segment = word_segment(*directory_word(table, hash));
            hash = segment->depth == 0 ? 0 : segment->prefix + ((uint64_t)1 << (64 - segment->depth));
            segment_destroy(table, segment);
        } while (hash != 0);
        for (size_t i = 0; i < (size_t)1 << table->root_bits; i++)
            directory_destroy(table, table->root[i]);
        if (table->root_bits != 0) memory_free(table->root);
    }
    uint64_t splits = table->splits;
    table_init(table);
    table->splits = splits;
}

uint64_t *table_insert(struct table *table, uint64_t hash, const struct entry *entry) {
    FIRN_ASSERT(((uintptr_t)entry & ~(uintptr_t)TABLE_SLOT_ADDRESS) == 0);
    if (table->segments == 0) table_start(table);
    for (;;) {
        uint64_t word = *directory_word(table, hash);
        struct segment *segment = word_segment(word);
        if (segment->used < size_limit(segment->size) || segment->size == 0) {
            uint64_t slot = (uint64_t)(uintptr_t)entry | hash_stored(hash, segment_base(segment)) << 48;
            uint64_t *at = segment_put(segment, slot, hash_tag(hash));
            if (at != NULL) {
                table->used++;
                return at;
            }
        }
        segment_grow(table, hash);
    }
}

void table_remove(struct table *table, uint64_t hash, uint64_t *slot) {
    struct place place = place_of(table, hash);
    struct bucket *first = place.segment->buckets;
    unsigned index =
        (unsigned)((size_t)((const uint8_t *)slot - (const uint8_t *)first) / sizeof(struct bucket));
    unsigned at = (unsigned)(slot - first[index].slots);
    FIRN_ASSERT(index < place.buckets && at < TABLE_BUCKET_SLOTS && first[index].tags[at] != 0);
    first[index].slots[at] = 0;
    first[index].tags[at] = 0;
    for (unsigned i = place.home; i != index; i = next_bucket(i, place.buckets)) {
        FIRN_ASSERT(first[i].passed > 0);
        first[i].passed--;
    }
    place.segment->used--;
    table->used--;
    if (table->used == 0) {
        table_fini(table);
    } else if (place.segment->used < size_floor(place.segment->size)) {
        segment_shrink(table, place.segment);
    }
}

/* --- walks --- */

/* The position (hash) where bucket ${index} of ${segment} begins; index may be one past the last. 0 at the
 * end of the table. */
static uint64_t bucket_start(const struct segment *segment, unsigned index) {
    unsigned buckets = size_buckets(segment->size);
    if (index == buckets)
        return segment->depth == 0 ? 0 : segment->prefix + ((uint64_t)1 << (64 - segment->depth));
    unsigned bits = TABLE_HASH_BITS - segment->delta;
    uint64_t first = (((uint64_t)index << bits) + buckets - 1) / buckets;
    return segment->prefix | first << (48 - segment_base(segment));
}

uint64_t table_scan(const struct table *table, uint64_t position, void (*visit)(uint64_t *slot, void *ctx),
                    void *ctx) {
    if (table->used == 0) return 0;
    struct place place = place_of(table, position << 1);
    struct segment *segment = place.segment;
    for (unsigned i = place.home, step = 0;; i = next_bucket(i, place.buckets), step++) {
        struct bucket *bucket = &segment->buckets[i];
        for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++) {
            if (bucket->tags[j] == 0) continue;
            if (home_of(bucket->slots[j] >> 48, segment->delta, place.buckets) != place.home) continue;
            visit(&bucket->slots[j], ctx);
        }
        if (bucket->passed == 0 || step == reach_of(place.buckets)) break;
    }
    return bucket_start(segment, place.home + 1) >> 1;
}

uint64_t table_sweep(const struct table *table, uint64_t position, uint64_t **slots_out) {
    *slots_out = NULL;
    if (table->used == 0) return 0;
    struct place place = place_of(table, position << 1);
    *slots_out = place.segment->buckets[place.home].slots;
    return bucket_start(place.segment, place.home + 1) >> 1;
}

int table_each(const struct table *table, int (*visit)(uint64_t *slot, void *ctx), void *ctx) {
    if (table->used == 0) return 0;
    uint64_t hash = 0;
    do {
        struct segment *segment = word_segment(*directory_word(table, hash));
        for (unsigned i = 0; i < size_buckets(segment->size); i++) {
            struct bucket *bucket = &segment->buckets[i];
            for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++) {
                int stop = bucket->tags[j] != 0 ? visit(&bucket->slots[j], ctx) : 0;
                if (stop != 0) return stop;
            }
        }
        hash = bucket_start(segment, size_buckets(segment->size));
    } while (hash != 0);
    return 0;
}

uint64_t *table_random(const struct table *table) {
    if (table->used == 0) return NULL;
    for (unsigned attempt = 0; attempt < 256; attempt++) {
        struct segment *segment = word_segment(*directory_word(table, random_u64()));
        unsigned index = (unsigned)random_below(size_capacity(segment->size));
        uint64_t *slot = &segment->buckets[index / TABLE_BUCKET_SLOTS].slots[index % TABLE_BUCKET_SLOTS];
        if (*slot != 0) return slot;
    }
    /* Nearly empty: the next entry from a random place on. */
    uint64_t position = random_u64() >> 1;
    for (;;) {
        uint64_t *slots;
        position = table_sweep(table, position, &slots);
        for (unsigned i = 0; i < TABLE_BUCKET_SLOTS; i++) {
            if (slots[i] != 0) return &slots[i];
        }
    }
}

int table_drain(struct table *table, void (*release)(uint64_t slot, void *ctx), void *ctx) {
    if (table->segments == 0) return 0;
    struct segment *segment = word_segment(*directory_word(table, table->drain));
    unsigned buckets = size_buckets(segment->size), end = table->drained + DRAIN_BUCKETS;
    if (end > buckets) end = buckets;
    for (unsigned i = table->drained; i < end; i++) {
        for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++) {
            if (segment->buckets[i].tags[j] != 0) release(segment->buckets[i].slots[j], ctx);
        }
    }
    table->drained = end;
    if (end < buckets) return 1;
    table->drain = bucket_start(segment, buckets);
    table->drained = 0;
    table->used -= segment->used;
    segment_destroy(table, segment);
    if (table->drain != 0) return 1;
    FIRN_ASSERT(table->segments == 0 && table->used == 0);
    for (size_t i = 0; i < (size_t)1 << table->root_bits; i++)
        directory_destroy(table, table->root[i]);
    if (table->root_bits != 0) memory_free(table->root);
    table_init(table);
    return 0;
}

/* --- check --- */

static void bucket_check(const struct segment *segment, unsigned index, unsigned *passed) {
    unsigned buckets = size_buckets(segment->size);
    for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++) {
        uint64_t slot = segment->buckets[index].slots[j];
        FIRN_ASSERT((slot == 0) == (segment->buckets[index].tags[j] == 0)); /* B2 */
        if (slot == 0) continue;
        uint64_t hash = slot_hash(slot);
        FIRN_ASSERT(segment->depth == 0 || (hash ^ segment->prefix) >> (64 - segment->depth) == 0);
        FIRN_ASSERT(slot >> 48 == hash_stored(hash, segment_base(segment)));
        FIRN_ASSERT(segment->buckets[index].tags[j] == hash_tag(hash));
        unsigned home = home_of(slot >> 48, segment->delta, buckets);
        for (unsigned i = home; i != index; i = next_bucket(i, buckets))
            passed[i]++;
    }
}

static void segment_check(const struct table *table, const struct segment *segment) {
    unsigned passed[256] = {0}, used = 0;
    unsigned buckets = size_buckets(segment->size);
    for (unsigned i = 0; i < buckets; i++) {
        bucket_check(segment, i, passed);
        for (unsigned j = 0; j < TABLE_BUCKET_SLOTS; j++)
            used += segment->buckets[i].tags[j] != 0;
    }
    for (unsigned i = 0; i < buckets; i++)
        FIRN_ASSERT(passed[i] == segment->buckets[i].passed); /* B1 */
    FIRN_ASSERT(used == segment->used);
    FIRN_ASSERT(segment->depth >= table->root_bits); /* B4 */
    uint64_t root = *root_of(table, segment->prefix);
    uint64_t *word = directory_word(table, segment->prefix);
    for (uint64_t i = 0; i < (uint64_t)1 << (table->root_bits + root_depth(root) - segment->depth); i++) {
        FIRN_ASSERT(word[i] == word_make(segment)); /* B3 */
    }
}

void table_check(const struct table *table) {
    if (table->segments == 0) {
        FIRN_ASSERT(table->used == 0 && table->bytes == 0 && table->slots == 0);
        return;
    }
    uint64_t hash = 0, used = 0, segments = 0, slots = 0;
    do {
        const struct segment *segment = word_segment(*directory_word(table, hash));
        segment_check(table, segment);
        used += segment->used;
        segments++;
        slots += size_capacity(segment->size);
        hash = bucket_start(segment, size_buckets(segment->size));
    } while (hash != 0);
    FIRN_ASSERT(used == table->used && segments == table->segments && slots == table->slots);
}
