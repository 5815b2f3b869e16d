/* SPDX-License-Identifier: BSD-3-Clause */
/* The latency monitor: events in order of first appearance, each with a ring of samples, one a second at
 * most. */
#include "cmd/latency.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/dispatch.h"

static struct latency_event *events[LATENCY_EVENTS_MAX];
static unsigned event_count;

int latency_wants(int64_t latency_ms) {
    return dispatch_config.latency_monitor_threshold_ms > 0 &&
           latency_ms >= dispatch_config.latency_monitor_threshold_ms;
}

const struct latency_event *latency_event_find(struct bytes name) {
    for (unsigned i = 0; i < event_count; i++) {
        if (bytes_equal(name, bytes_of_text(events[i]->name))) return events[i];
    }
    return NULL;
}

static struct latency_event *find_or_add(const char *name) {
    for (unsigned i = 0; i < event_count; i++) {
        if (strcmp(events[i]->name, name) == 0) return events[i];
    }
    if (event_count == LATENCY_EVENTS_MAX) return NULL;
    struct latency_event *event = memory_alloc_zero(sizeof *event);
    snprintf(event->name, sizeof event->name, "%s", name);
    events[event_count++] = event;
    return event;
}

void latency_add(const char *name, int64_t latency_ms) {
    if (!latency_wants(latency_ms)) return;
    struct latency_event *event = find_or_add(name);
    if (event == NULL) return;
    uint32_t value = latency_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)latency_ms;
    int64_t now = clock_wall_ms() / 1000;
    if (value > event->max_ms) event->max_ms = value;
    struct latency_sample *last =
        &event->samples[(event->next + LATENCY_SAMPLES_MAX - 1) % LATENCY_SAMPLES_MAX];
    if (last->time_s == now) { /* one sample a second: the worst */
        if (value > last->latency_ms) last->latency_ms = value;
        return;
    }
    event->samples[event->next] = (struct latency_sample){now, value};
    event->next = (event->next + 1) % LATENCY_SAMPLES_MAX;
}

unsigned latency_reset(const struct bytes *name) {
    unsigned dropped = 0;
    for (unsigned i = event_count; i-- > 0;) {
        if (name != NULL && !bytes_equal(*name, bytes_of_text(events[i]->name))) continue;
        memory_free(events[i]);
        memmove(&events[i], &events[i + 1], (event_count - i - 1) * sizeof *events);
        event_count--;
        dropped++;
    }
    return dropped;
}

unsigned latency_event_count(void) {
    return event_count;
}

const struct latency_event *latency_event_at(unsigned index) {
    return events[index];
}
