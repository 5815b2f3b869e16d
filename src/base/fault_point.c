/* SPDX-License-Identifier: BSD-3-Clause */
/* State of the fault points. A mutex guards it: points are only slow while something is armed. */
#include "base/fault_point.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"

struct fault_point_state {
    uint64_t skip;
    uint64_t count;
    uint64_t passes;
    uint64_t failures;
};

int fault_point_any_armed;
static pthread_mutex_t fault_point_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault_point_state fault_points[FAULT_POINT_COUNT];

static const char *const fault_point_names[FAULT_POINT_COUNT] = {
#define FAULT_POINT(name, text) #name,
#include "base/fault_point.def"
#undef FAULT_POINT
};

void fault_point_arm(enum fault_point point, uint64_t skip, uint64_t count) {
    int any = 0;
    FIRN_ASSERT((unsigned)point < FAULT_POINT_COUNT);
    pthread_mutex_lock(&fault_point_lock);
    fault_points[point].skip = skip;
    fault_points[point].count = count;
    fault_points[point].failures = 0;
    for (unsigned i = 0; i < FAULT_POINT_COUNT; i++)
        any |= fault_points[i].count != 0;
    __atomic_store_n(&fault_point_any_armed, any, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&fault_point_lock);
}

void fault_point_reset(void) {
    pthread_mutex_lock(&fault_point_lock);
    memset(fault_points, 0, sizeof fault_points);
    __atomic_store_n(&fault_point_any_armed, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&fault_point_lock);
}

uint64_t fault_point_passes(enum fault_point point) {
    pthread_mutex_lock(&fault_point_lock);
    uint64_t passes = fault_points[point].passes;
    pthread_mutex_unlock(&fault_point_lock);
    return passes;
}

int fault_point_by_name(const char *name) {
    for (int i = 0; i < FAULT_POINT_COUNT; i++) {
        if (strcasecmp(fault_point_names[i], name) == 0) return i;
    }
    return -1;
}

const char *fault_point_name(enum fault_point point) {
    return (unsigned)point < FAULT_POINT_COUNT ? fault_point_names[point] : "?";
}

int fault_point_check(enum fault_point point) {
    int fails = 0;
    pthread_mutex_lock(&fault_point_lock);
    struct fault_point_state *state = &fault_points[point];
    state->passes++;
    if (state->count > 0) {
        if (state->skip > 0) {
            state->skip--;
        } else {
            if (state->count != UINT64_MAX) state->count--;
            state->failures++;
            fails = 1;
        }
    }
    pthread_mutex_unlock(&fault_point_lock);
    return fails;
}

int fault_point_sweep(enum fault_point point, int sticky, void (*body)(void *ctx), void (*verify)(void *ctx),
                      void *ctx) {
    for (int run = 0;; run++) {
        fault_point_arm(point, (uint64_t)run, sticky ? UINT64_MAX : 1);
        body(ctx);
        pthread_mutex_lock(&fault_point_lock);
        int failed = fault_points[point].failures > 0;
        pthread_mutex_unlock(&fault_point_lock);
        fault_point_arm(point, 0, 0);
        verify(ctx);
        if (!failed) return run + 1;
    }
}
