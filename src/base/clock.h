/* SPDX-License-Identifier: BSD-3-Clause */
/* Time. The executor reads the clock once per loop turn (clock_update) and commands use the cached values. */
#ifndef FIRN_BASE_CLOCK_H
#define FIRN_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds and microseconds since the epoch; a system call (vDSO) each. Any thread. */
int64_t clock_wall_ms(void);
int64_t clock_wall_us(void);
/* Monotonic microseconds and nanoseconds. Any thread. */
int64_t clock_monotonic_us(void);
int64_t clock_monotonic_ns(void);

/* Executor only: refresh the cached time, and read it. */
void clock_update(void);
int64_t clock_cached_ms(void);
int64_t clock_cached_us(void);

#endif
