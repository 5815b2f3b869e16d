/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The latency monitor: per named event (command, fast-command, expire-cycle, eviction-cycle, tier...) the
 * spikes of the last 160 seconds in which one was over latency-monitor-threshold. Executor only.
 */
#ifndef FIRN_CMD_LATENCY_H
#define FIRN_CMD_LATENCY_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define LATENCY_SAMPLES_MAX 160u
#define LATENCY_EVENTS_MAX  64u

struct latency_sample {
    int64_t time_s; /* 0: unused */
    uint32_t latency_ms;
};

struct latency_event {
    char name[32];
    unsigned next; /* slot the next sample goes to */
    uint32_t max_ms;
    struct latency_sample samples[LATENCY_SAMPLES_MAX];
};

/* Whether ${latency_ms} would be recorded: the monitor is on and the threshold is reached. */
int latency_wants(int64_t latency_ms);
/* Record ${latency_ms} of ${event} (static or short text) if wanted. */
void latency_add(const char *event, int64_t latency_ms);
/* Forget ${event}; NULL forgets all. How many events were dropped. */
unsigned latency_reset(const struct bytes *event);
/* The events, index 0 .. latency_event_count()-1, and one by name (NULL: none). */
unsigned latency_event_count(void);
const struct latency_event *latency_event_at(unsigned index);
const struct latency_event *latency_event_find(struct bytes name);

#endif
