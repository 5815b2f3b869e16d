/* SPDX-License-Identifier: BSD-3-Clause */
/* What INFO tiering and TIER STATS show, gathered from the counters (stats.def), the backends and the
 * keyspace. */
#include <string.h>

#include "base/memory.h"
#include "tiering/tier_internal.h"

static void latency(const struct histogram *histogram, struct tier_latency *latency_out) {
    latency_out->count = histogram->count;
    latency_out->p50_us = histogram_percentile(histogram, 50);
    latency_out->p99_us = histogram_percentile(histogram, 99);
    latency_out->p999_us = histogram_percentile(histogram, 99.9);
    latency_out->max_us = histogram->max;
}

static void device_stats(struct tier_device *device, struct tier_stats *stats_out) {
    struct tier_backend_stats now;
    device->ops->stats(device->backend, &now);
    if (stats_out->pages == 0) stats_out->pages = now.records_live;
    stats_out->bytes_live = now.bytes_live;
    stats_out->bytes_occupied = now.bytes_occupied;
    stats_out->bytes_max = now.bytes_max;
    stats_out->device_read_bytes = now.device_read_bytes;
    stats_out->device_write_bytes = now.device_write_bytes;
#define TIER_COUNTER(name, text) stats_out->name = device->counters.name;
#include "tiering/stats.def"
#undef TIER_COUNTER
    latency(&device->read_latency, &stats_out->read_latency);
    latency(&device->write_latency, &stats_out->write_latency);
}

void tier_stats(enum page_tag tag, struct tier_stats *stats_out) {
    memset(stats_out, 0, sizeof *stats_out);
    uint64_t keys[4] = {0}, pages[4] = {0};
    if (tier_manager.hooks.census != NULL) tier_manager.hooks.census(keys, pages);
    stats_out->keys = keys[tag];
    stats_out->pages = pages[tag];
    struct tier_device *device = tier_device(tag);
    if (device != NULL) {
        device_stats(device, stats_out);
    } else if (tag == PAGE_TAG_DRAM) {
        stats_out->bytes_live = memory_used();
        stats_out->bytes_occupied = memory_resident_anonymous();
        stats_out->bytes_max = tier_pressure_memory_max();
        stats_out->hits = page_dram_hits;
        for (int lower = PAGE_TAG_PMEM; lower <= PAGE_TAG_NVME; lower++) {
            device = tier_device((enum page_tag)lower);
            if (device != NULL) stats_out->promotions += device->counters.promotions;
        }
    }
}

void tier_totals(struct tier_totals *totals_out) {
    memset(totals_out, 0, sizeof *totals_out);
    tier_pressure_totals(totals_out);
    totals_out->faults = tier_read_faults();
    totals_out->sync_faults = tier_read_sync_count();
    totals_out->reads_in_flight = tier_manager.reads_in_flight;
    totals_out->write_bytes_in_flight = tier_write_inflight_bytes();
    totals_out->read_buffer_bytes = tier_read_buffer_bytes();
}

void tier_stats_reset(void) {
    page_dram_hits = 0;
    tier_read_stats_reset();
    tier_pressure_stats_reset();
    for (int tag = PAGE_TAG_PMEM; tag <= PAGE_TAG_NVME; tag++) {
        struct tier_device *device = tier_device((enum page_tag)tag);
        if (device == NULL) continue;
        memset(&device->counters, 0, sizeof device->counters);
        histogram_reset(&device->read_latency);
        histogram_reset(&device->write_latency);
    }
}
