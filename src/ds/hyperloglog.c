/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See hyperloglog.h for format and papers.
 *
 * HL1 A value that hyperloglog_create made and only hyperloglog_raise and hyperloglog_make_dense changed is
 * never corrupt.
 * HL2 A run is never believed to cover registers beyond the last one, however many runs there are.
 *
 * The hash is MurmurHash64A (Appleby, public domain): elements must meet the registers they meet in Redis.
 */
#include "ds/hyperloglog.h"

#include <math.h>

#include "base/assert.h"

#define INDEX_BITS     14u
#define RANK_BITS      (64u - INDEX_BITS) /* of the hash, for the rank */
#define RANK_MAX       (RANK_BITS + 1)
#define REGISTER_MAX   63u
#define HASH_SEED      0xadc83b19u
#define CACHE_INVALID  0x80u
#define CACHE_OFFSET   8u
#define ZEROS_MAX      64u /* in one byte */
#define RUN_RANK_MAX   32u
#define RUN_VALUES_MAX 4u
#define RUN_BYTES_MAX  2u
/* How many runs, beginning with the one before the change, are looked at for joining. */
#define JOIN_RUNS 5u

_Static_assert(1u << INDEX_BITS == HYPERLOGLOG_REGISTERS, "an index for each register");

enum { ENCODED_DENSE = 0, ENCODED_SPARSE = 1 };

static uint64_t hash(struct bytes from) {
    const uint64_t multiplier = UINT64_C(0xc6a4a7935bd1e995);
    uint64_t state = HASH_SEED ^ (from.size * multiplier);
    const uint8_t *at = from.data;
    for (size_t left = from.size / 8; left > 0; left--, at += 8) {
        uint64_t word = bytes_load64(at) * multiplier;
        word = (word ^ word >> 47) * multiplier;
        state = (state ^ word) * multiplier;
    }
    if (from.size % 8 != 0) {
        uint64_t word = 0;
        memcpy(&word, at, from.size % 8);
        state = (state ^ word) * multiplier;
    }
    state = (state ^ state >> 47) * multiplier;
    return state ^ state >> 47;
}

unsigned hyperloglog_register(struct bytes element, uint8_t *rank_out) {
    uint64_t bits = hash(element);
    *rank_out = (uint8_t)(__builtin_ctzll(bits >> INDEX_BITS | UINT64_C(1) << RANK_BITS) + 1);
    return (unsigned)(bits & (HYPERLOGLOG_REGISTERS - 1));
}

/* --- header --- */

int hyperloglog_is(struct bytes header, uint64_t total_bytes) {
    if (total_bytes < HYPERLOGLOG_HEADER_BYTES || memcmp(header.data, "HYLL", 4) != 0) return 0;
    return header.data[4] == ENCODED_SPARSE ||
           (header.data[4] == ENCODED_DENSE && total_bytes == HYPERLOGLOG_DENSE_BYTES);
}

int hyperloglog_is_dense(struct bytes value) {
    return value.data[4] == ENCODED_DENSE;
}

int hyperloglog_cached(struct bytes value, uint64_t *count_out) {
    *count_out = bytes_load64(value.data + CACHE_OFFSET);
    return (value.data[CACHE_OFFSET + 7] & CACHE_INVALID) == 0;
}

void hyperloglog_spoil(uint8_t *value) {
    value[CACHE_OFFSET + 7] |= CACHE_INVALID;
}

void hyperloglog_cache(uint8_t *value, uint64_t count) {
    bytes_store64(value + CACHE_OFFSET, count);
}

/* --- dense --- */

static unsigned dense_get(const uint8_t *registers, unsigned index) {
    unsigned at = index * 6 / 8, shift = index * 6 % 8;
    unsigned bits = registers[at];
    if (shift > 2) bits |= (unsigned)registers[at + 1] << 8;
    return bits >> shift & REGISTER_MAX;
}

/* Six bits from bit ${shift} of *${at} on. */
static void put_bits(uint8_t *at, unsigned shift, unsigned rank) {
    at[0] = (uint8_t)((at[0] & ~(REGISTER_MAX << shift)) | rank << shift);
    if (shift > 2) at[1] = (uint8_t)((at[1] & ~(REGISTER_MAX >> (8 - shift))) | rank >> (8 - shift));
}

static void dense_set(uint8_t *registers, unsigned index, unsigned rank) {
    put_bits(registers + index * 6 / 8, index * 6 % 8, rank);
}

unsigned hyperloglog_patch(struct bytes value, unsigned index, uint8_t rank,
                           uint8_t patch_out[HYPERLOGLOG_PATCH_BYTES], size_t *offset_out) {
    FIRN_ASSERT(value.size == HYPERLOGLOG_DENSE_BYTES && index < HYPERLOGLOG_REGISTERS);
    unsigned shift = index * 6 % 8, bytes = shift > 2 ? 2 : 1;
    *offset_out = HYPERLOGLOG_HEADER_BYTES + index * 6 / 8;
    memcpy(patch_out, value.data + *offset_out, bytes);
    put_bits(patch_out, shift, rank);
    return bytes;
}

/* --- sparse --- */

struct run {
    unsigned rank, count, bytes;
};

/* The run at ${at} of ${value}, the first of whose registers is ${first} (HL2). */
static int run_at(struct bytes value, size_t at, unsigned first, struct run *run_out) {
    if (at >= value.size) return FIRN_ECORRUPT;
    unsigned byte = value.data[at];
    if (byte & 0x80) {
        *run_out = (struct run){(byte >> 2 & 31) + 1, (byte & 3) + 1, 1};
    } else if (byte & 0x40) {
        if (at + 1 >= value.size) return FIRN_ECORRUPT;
        *run_out = (struct run){0, ((byte & 63) << 8 | value.data[at + 1]) + 1, 2};
    } else {
        *run_out = (struct run){0, (byte & 63) + 1, 1};
    }
    return run_out->count > HYPERLOGLOG_REGISTERS - first ? FIRN_ECORRUPT : 0;
}

static unsigned put_zeros(uint8_t *to, unsigned count) {
    if (count <= ZEROS_MAX) {
        to[0] = (uint8_t)(count - 1);
        return 1;
    }
    to[0] = (uint8_t)(0x40 | (count - 1) >> 8);
    to[1] = (uint8_t)(count - 1);
    return 2;
}

static unsigned put_values(uint8_t *to, unsigned rank, unsigned count) {
    to[0] = (uint8_t)(0x80 | (rank - 1) << 2 | (count - 1));
    return 1;
}

static unsigned put_run(uint8_t *to, unsigned rank, unsigned count) {
    if (count == 0) return 0;
    return rank == 0 ? put_zeros(to, count) : put_values(to, rank, count);
}

/* On from place->run, which begins at register place->first. This is where PFADD spends its time. */
static int sparse_find(struct bytes value, struct hyperloglog_place *place) {
    const unsigned index = place->index;
    size_t at = place->run, previous = place->previous_run;
    unsigned first = place->first, previous_first = place->previous_first;
    while (at < value.size) {
        unsigned byte = value.data[at], count = (byte & 0x80 ? byte & 3 : byte & 63) + 1, bytes = 1;
        if ((byte & 0xc0) == 0x40) {
            if (at + 1 >= value.size) return FIRN_ECORRUPT;
            count = ((byte & 63) << 8 | value.data[at + 1]) + 1;
            bytes = 2;
        }
        if (first + count > index) {
            if (first + count > HYPERLOGLOG_REGISTERS) return FIRN_ECORRUPT;
            place->rank = byte & 0x80 ? (byte >> 2 & 31) + 1 : 0;
            place->count = count;
            place->run = at;
            place->first = first;
            place->previous_run = previous;
            place->previous_first = previous_first;
            return 0;
        }
        previous = at;
        previous_first = first;
        at += bytes;
        first += count;
    }
    return FIRN_ECORRUPT;
}

int hyperloglog_find(struct bytes value, unsigned index, struct hyperloglog_place *place_out) {
    FIRN_ASSERT(index < HYPERLOGLOG_REGISTERS);
    *place_out = (struct hyperloglog_place){
        .index = index, .run = HYPERLOGLOG_HEADER_BYTES, .previous_run = HYPERLOGLOG_HEADER_BYTES};
    if (!hyperloglog_is_dense(value)) return sparse_find(value, place_out);
    place_out->rank = (uint8_t)dense_get(value.data + HYPERLOGLOG_HEADER_BYTES, index);
    return 0;
}

/* Join neighbours of equal value from ${at} on, over a few runs. */
static void join_runs(struct bytes_builder *value, size_t at) {
    for (unsigned left = JOIN_RUNS; left > 0 && at < value->size; left--) {
        uint8_t *byte = value->data + at;
        if (!(byte[0] & 0x80)) {
            at += byte[0] & 0x40 ? 2 : 1;
            continue;
        }
        if (at + 1 < value->size && (byte[1] & ~3u) == (byte[0] & ~3u)) {
            unsigned count = (byte[0] & 3u) + (byte[1] & 3u) + 2;
            if (count <= RUN_VALUES_MAX) {
                put_values(byte + 1, (byte[0] >> 2 & 31u) + 1, count);
                memmove(byte, byte + 1, value->size - at - 1);
                value->size--;
                continue;
            }
        }
        at++;
    }
}

static int raise_dense(struct bytes_builder *value, unsigned index, uint8_t rank) {
    int error = hyperloglog_make_dense(value);
    if (error == 0) dense_set(value->data + HYPERLOGLOG_HEADER_BYTES, index, rank);
    return error;
}

int hyperloglog_raise(struct bytes_builder *value, const struct hyperloglog_place *place, uint8_t rank,
                      size_t sparse_max_bytes) {
    FIRN_ASSERT(rank > place->rank && rank <= REGISTER_MAX);
    if (hyperloglog_is_dense(bytes_builder_bytes(value)) || rank > RUN_RANK_MAX)
        return raise_dense(value, place->index, rank);

    uint8_t runs[2 * RUN_BYTES_MAX + 1];
    unsigned before = place->index - place->first, after = place->count - before - 1;
    unsigned new_bytes = put_run(runs, place->rank, before);
    new_bytes += put_values(runs + new_bytes, rank, 1);
    new_bytes += put_run(runs + new_bytes, place->rank, after);
    unsigned old_bytes = place->rank == 0 && (value->data[place->run] & 0x40) ? 2 : 1;
    if (new_bytes > old_bytes && value->size + (new_bytes - old_bytes) > sparse_max_bytes)
        return raise_dense(value, place->index, rank);

    bytes_builder_reserve(value, sizeof runs);
    uint8_t *at = value->data + place->run;
    memmove(at + new_bytes, at + old_bytes, value->size - place->run - old_bytes);
    memcpy(at, runs, new_bytes);
    value->size = value->size + new_bytes - old_bytes;
    join_runs(value, place->previous_run);
    return 0;
}

int hyperloglog_make_dense(struct bytes_builder *value) {
    struct bytes old = bytes_builder_bytes(value);
    if (hyperloglog_is_dense(old)) return 0;
    struct bytes_builder dense = {0};
    uint8_t *to = bytes_builder_reserve(&dense, HYPERLOGLOG_DENSE_BYTES);
    memset(to, 0, HYPERLOGLOG_DENSE_BYTES);
    memcpy(to, old.data, HYPERLOGLOG_HEADER_BYTES);
    to[4] = ENCODED_DENSE;
    unsigned first = 0;
    for (size_t at = HYPERLOGLOG_HEADER_BYTES; at < old.size;) {
        struct run run;
        if (run_at(old, at, first, &run) != 0) goto corrupt;
        for (unsigned i = 0; run.rank != 0 && i < run.count; i++)
            dense_set(to + HYPERLOGLOG_HEADER_BYTES, first + i, run.rank);
        first += run.count;
        at += run.bytes;
    }
    if (first != HYPERLOGLOG_REGISTERS) goto corrupt;
    dense.size = HYPERLOGLOG_DENSE_BYTES;
    bytes_builder_fini(value);
    *value = dense;
    return 0;
corrupt:
    bytes_builder_fini(&dense);
    return FIRN_ECORRUPT;
}

void hyperloglog_create(struct bytes_builder *out) {
    static const uint8_t header[HYPERLOGLOG_HEADER_BYTES] = {'H', 'Y', 'L', 'L', ENCODED_SPARSE};
    bytes_builder_append(out, header, sizeof header);
    out->size += put_zeros(bytes_builder_reserve(out, RUN_BYTES_MAX), HYPERLOGLOG_REGISTERS);
}

/* --- all registers --- */

int hyperloglog_merge(struct bytes value, uint8_t registers[HYPERLOGLOG_REGISTERS]) {
    if (hyperloglog_is_dense(value)) {
        const uint8_t *from = value.data + HYPERLOGLOG_HEADER_BYTES;
        FIRN_ASSERT(value.size == HYPERLOGLOG_DENSE_BYTES);
        for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i += 4, from += 3) {
            uint32_t bits = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
            for (unsigned j = 0; j < 4; j++, bits >>= 6) {
                uint8_t rank = bits & REGISTER_MAX;
                if (rank > registers[i + j]) registers[i + j] = rank;
            }
        }
        return 0;
    }
    unsigned first = 0;
    for (size_t at = HYPERLOGLOG_HEADER_BYTES; at < value.size;) {
        struct run run;
        int error = run_at(value, at, first, &run);
        if (error != 0) return error;
        for (unsigned i = first; run.rank != 0 && i < first + run.count; i++)
            if (run.rank > registers[i]) registers[i] = (uint8_t)run.rank;
        first += run.count;
        at += run.bytes;
    }
    return first == HYPERLOGLOG_REGISTERS ? 0 : FIRN_ECORRUPT;
}

/* What is left to do once it is dense. */
static void raise_all_dense(uint8_t *to, const uint8_t *registers, unsigned from) {
    for (unsigned i = from; i < HYPERLOGLOG_REGISTERS; i++)
        if (registers[i] > dense_get(to, i)) dense_set(to, i, registers[i]);
}

int hyperloglog_raise_all(struct bytes_builder *value, const uint8_t registers[HYPERLOGLOG_REGISTERS],
                          size_t sparse_max_bytes) {
    struct hyperloglog_place place = {.run = HYPERLOGLOG_HEADER_BYTES,
                                      .previous_run = HYPERLOGLOG_HEADER_BYTES};
    for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i++) {
        struct bytes bytes = bytes_builder_bytes(value);
        if (hyperloglog_is_dense(bytes)) {
            raise_all_dense(value->data + HYPERLOGLOG_HEADER_BYTES, registers, i);
            return 0;
        }
        if (registers[i] == 0) continue;
        /* The run before the last change is still there, longer at most: go on from it, unless it is the very
         * run, whose predecessor is needed. */
        struct hyperloglog_place next = place;
        next.index = i;
        next.run = place.previous_run;
        next.first = place.previous_first;
        int error = sparse_find(bytes, &next);
        if (error == 0 && next.run == place.previous_run) error = hyperloglog_find(bytes, i, &next);
        if (error != 0) return error;
        place = next;
        if (registers[i] > next.rank) error = hyperloglog_raise(value, &next, registers[i], sparse_max_bytes);
        if (error != 0) return error;
    }
    return 0;
}

/* --- the estimate --- */

/* Ertl's sigma: what registers that are still zero contribute. ${x}: their share. */
static double sigma(double x) {
    if (x == 1.) return INFINITY;
    double weight = 1, sum = x, last;
    do {
        x *= x;
        last = sum;
        sum += x * weight;
        weight += weight;
    } while (last != sum);
    return sum;
}

/* Ertl's tau: what saturated registers contribute. ${x}: the share of those that are not. */
static double tau(double x) {
    if (x == 0. || x == 1.) return 0.;
    double weight = 1, sum = 1 - x, last;
    do {
        x = sqrt(x);
        last = sum;
        weight *= 0.5;
        sum -= (1 - x) * (1 - x) * weight;
    } while (last != sum);
    return sum / 3;
}

/* ${having}: how many registers have each value. */
static uint64_t estimate(const unsigned having[REGISTER_MAX + 1]) {
    const double registers = HYPERLOGLOG_REGISTERS, alpha = 0.721347520444481703680; /* 1 / (2 ln 2) */
    double sum = registers * tau((registers - having[RANK_MAX]) / registers);
    for (unsigned rank = RANK_BITS; rank >= 1; rank--)
        sum = 0.5 * (sum + having[rank]);
    sum += registers * sigma(having[0] / registers);
    return (uint64_t)llroundl(alpha * registers * registers / sum);
}

uint64_t hyperloglog_count_registers(const uint8_t registers[HYPERLOGLOG_REGISTERS]) {
    unsigned having[REGISTER_MAX + 1] = {0};
    for (unsigned i = 0; i < HYPERLOGLOG_REGISTERS; i++)
        having[registers[i] & REGISTER_MAX]++;
    return estimate(having);
}

int hyperloglog_count(struct bytes value, uint64_t *count_out) {
    unsigned having[REGISTER_MAX + 1] = {0}, first = 0;
    if (hyperloglog_is_dense(value)) {
        const uint8_t *from = value.data + HYPERLOGLOG_HEADER_BYTES;
        FIRN_ASSERT(value.size == HYPERLOGLOG_DENSE_BYTES);
        for (; first < HYPERLOGLOG_REGISTERS; first += 4, from += 3) {
            having[from[0] & 63]++;
            having[(from[0] >> 6 | from[1] << 2) & 63]++;
            having[(from[1] >> 4 | from[2] << 4) & 63]++;
            having[from[2] >> 2]++;
        }
    } else {
        for (size_t at = HYPERLOGLOG_HEADER_BYTES; at < value.size;) {
            struct run run;
            int error = run_at(value, at, first, &run);
            if (error != 0) return error;
            having[run.rank] += run.count;
            first += run.count;
            at += run.bytes;
        }
        if (first != HYPERLOGLOG_REGISTERS) return FIRN_ECORRUPT;
    }
    *count_out = estimate(having);
    return 0;
}

int hyperloglog_describe(struct bytes value, struct bytes_builder *text) {
    unsigned first = 0;
    for (size_t at = HYPERLOGLOG_HEADER_BYTES; at < value.size;) {
        struct run run;
        int error = run_at(value, at, first, &run);
        if (error != 0) return error;
        if (first > 0) bytes_builder_append_byte(text, ' ');
        if (run.rank > 0) {
            bytes_builder_format(text, "v:%u,%u", run.rank, run.count);
        } else {
            bytes_builder_format(text, "%c:%u", run.bytes == 2 ? 'Z' : 'z', run.count);
        }
        first += run.count;
        at += run.bytes;
    }
    return first == HYPERLOGLOG_REGISTERS ? 0 : FIRN_ECORRUPT;
}
