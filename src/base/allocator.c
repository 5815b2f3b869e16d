/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/allocator.h"

#include <stdint.h>
#include <stdio.h>

#ifdef FIRN_JEMALLOC
#include <jemalloc/jemalloc.h>

static size_t read_size(const char *name) {
    size_t value = 0, bytes = sizeof value;
    return mallctl(name, &value, &bytes, NULL, 0) == 0 ? value : 0;
}

void allocator_stats(struct allocator_stats *stats_out) {
    uint64_t epoch = 1;
    size_t bytes = sizeof epoch, page = read_size("arenas.page");
    char name[64];
    (void)mallctl("epoch", &epoch, &bytes, &epoch, sizeof epoch);
    snprintf(name, sizeof name, "stats.arenas.%u.pmuzzy", (unsigned)MALLCTL_ARENAS_ALL);
    stats_out->allocated = read_size("stats.allocated");
    stats_out->active = read_size("stats.active");
    stats_out->resident = read_size("stats.resident");
    stats_out->retained = read_size("stats.retained");
    stats_out->muzzy = read_size(name) * page;
}

static void append(void *ctx, const char *text) {
    bytes_builder_append_text(ctx, text);
}

int allocator_report(struct bytes_builder *out) {
    malloc_stats_print(append, out, NULL);
    return 0;
}

#else

void allocator_stats(struct allocator_stats *stats_out) {
    *stats_out = (struct allocator_stats){0};
}

int allocator_report(struct bytes_builder *out) {
    (void)out;
    return FIRN_EUNSUPPORTED;
}

#endif
