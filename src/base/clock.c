/* SPDX-License-Identifier: BSD-3-Clause */
/* Time from the kernel (vDSO), and the executor's cached copy of it. */
#include "base/clock.h"

#include <time.h>

static int64_t clock_us; /* wall time at the last clock_update; executor only */

static int64_t clock_read_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_wall_us(void) {
    return clock_read_ns(CLOCK_REALTIME) / 1000;
}

int64_t clock_wall_ms(void) {
    return clock_read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_monotonic_ns(void) {
    return clock_read_ns(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_us(void) {
    return clock_read_ns(CLOCK_MONOTONIC) / 1000;
}

void clock_update(void) {
    clock_us = clock_wall_us();
}

int64_t clock_cached_us(void) {
    if (__builtin_expect(clock_us == 0, 0)) clock_update();
    return clock_us;
}

int64_t clock_cached_ms(void) {
    return clock_cached_us() / 1000;
}
