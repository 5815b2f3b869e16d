/* SPDX-License-Identifier: BSD-3-Clause */
/* Bucket b < 32 holds the value b; above, 32 buckets share each power of two. */
#include "ds/histogram.h"

#include <string.h>

/* The largest value of bucket ${bucket}. */
static uint64_t histogram_bucket_top(unsigned bucket) {
    if (bucket < (2u << HISTOGRAM_STEP_BITS)) return bucket;
    unsigned shift = (bucket >> HISTOGRAM_STEP_BITS) - 1;
    uint64_t step = bucket - (shift << HISTOGRAM_STEP_BITS);
    return ((step + 1) << shift) - 1;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent) {
    if (histogram->count == 0) return 0;
    uint64_t wanted = (uint64_t)((double)histogram->count * percent / 100.0 + 0.5);
    uint64_t seen = 0;
    if (wanted == 0) wanted = 1;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen < wanted) continue;
        uint64_t top = histogram_bucket_top(bucket);
        return top < histogram->max ? top : histogram->max;
    }
    return histogram->max;
}

uint64_t histogram_count_to(const struct histogram *histogram, uint64_t value) {
    uint64_t seen = 0;
    if (value >= HISTOGRAM_VALUE_MAX) return histogram->count;
    unsigned last = histogram_bucket(value);
    for (unsigned bucket = 0; bucket <= last; bucket++)
        seen += histogram->buckets[bucket];
    return seen;
}

uint64_t histogram_mean(const struct histogram *histogram) {
    return histogram->count == 0 ? 0 : histogram->sum / histogram->count;
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
    if (from->count == 0) return;
    if (into->count == 0 || from->min < into->min) into->min = from->min;
    if (from->max > into->max) into->max = from->max;
    into->count += from->count;
    into->sum += from->sum;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
        into->buckets[bucket] += from->buckets[bucket];
}

void histogram_reset(struct histogram *histogram) {
    memset(histogram, 0, sizeof *histogram);
}
