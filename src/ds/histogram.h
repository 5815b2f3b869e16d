/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log-linear histogram of latencies: 32 steps per power of two (error at most 1/32), fixed memory, no
 * allocation. Values are in any unit up to HISTOGRAM_VALUE_MAX; larger ones count as that. Zero-initialise.
 * One thread at a time.
 */
#ifndef FIRN_DS_HISTOGRAM_H
#define FIRN_DS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS  5u
#define HISTOGRAM_VALUE_BITS 36u
#define HISTOGRAM_VALUE_MAX  ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)
#define HISTOGRAM_BUCKETS    ((HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS)

struct histogram {
    uint64_t count, sum, min, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value) {
    if (value < (UINT64_C(1) << HISTOGRAM_STEP_BITS)) return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return (shift << HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value) {
    if (value > HISTOGRAM_VALUE_MAX) value = HISTOGRAM_VALUE_MAX;
    histogram->buckets[histogram_bucket(value)]++;
    if (histogram->count++ == 0 || value < histogram->min) histogram->min = value;
    if (value > histogram->max) histogram->max = value;
    histogram->sum += value;
}

/* The value that ${percent} (0..100) of the records do not exceed; 0 if there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
/* How many records are <= ${value} (to the precision of the buckets). */
uint64_t histogram_count_to(const struct histogram *histogram, uint64_t value);
uint64_t histogram_mean(const struct histogram *histogram);
void histogram_merge(struct histogram *into, const struct histogram *from);
void histogram_reset(struct histogram *histogram);

#endif
