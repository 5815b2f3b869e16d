/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Timers: a binary heap by due time, and one timerfd for the earliest, set only when that changes, so that a
 * sleep needs no timeout.
 *
 * I1 heap[0] is the earliest; heap[i].place == i.
 * I2 armed_ms is the time the timerfd will fire, never later than heap[0] (it may be earlier: a spurious
 * wake-up).
 */
#include <sys/timerfd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "loop/loop_internal.h"

static void place(struct loop_timers *timers, size_t at, struct loop_timer *timer) {
    timers->heap[at] = timer;
    timer->place = at;
}

static void sift_up(struct loop_timers *timers, size_t at) {
    struct loop_timer *timer = timers->heap[at];
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (timers->heap[parent]->due_ms <= timer->due_ms) break;
        place(timers, at, timers->heap[parent]);
        at = parent;
    }
    place(timers, at, timer);
}

static void sift_down(struct loop_timers *timers, size_t at) {
    struct loop_timer *timer = timers->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= timers->count) break;
        if (child + 1 < timers->count && timers->heap[child + 1]->due_ms < timers->heap[child]->due_ms)
            child++;
        if (timer->due_ms <= timers->heap[child]->due_ms) break;
        place(timers, at, timers->heap[child]);
        at = child;
    }
    place(timers, at, timer);
}

struct loop_timer *loop_timer_create(struct loop *loop, int64_t first_ms, int64_t (*callback)(void *ctx),
                                     void *ctx) {
    struct loop_timers *timers = &loop->timers;
    if (timers->count == timers->capacity) {
        timers->capacity = timers->capacity ? timers->capacity * 2 : 8;
        timers->heap = memory_realloc(timers->heap, timers->capacity * sizeof(struct loop_timer *));
    }
    struct loop_timer *timer = memory_alloc_zero(sizeof *timer);
    timer->loop = loop;
    timer->due_ms = clock_monotonic_us() / 1000 + first_ms;
    timer->callback = callback;
    timer->ctx = ctx;
    place(timers, timers->count++, timer);
    sift_up(timers, timer->place);
    return timer;
}

static void remove_timer(struct loop_timer *timer) {
    struct loop_timers *timers = &timer->loop->timers;
    size_t at = timer->place;
    FIRN_ASSERT(at < timers->count && timers->heap[at] == timer);
    struct loop_timer *last = timers->heap[--timers->count];
    if (last != timer) {
        place(timers, at, last);
        sift_down(timers, at);
        sift_up(timers, last->place);
    }
    memory_free(timer);
}

void loop_timer_destroy(struct loop_timer *timer) {
    if (!timer) return;
    FIRN_ASSERT(!timer->running);
    remove_timer(timer);
}

void loop__timers_arm(struct loop *loop) {
    struct loop_timers *timers = &loop->timers;
    if (timers->count == 0) return;
    int64_t due_ms = timers->heap[0]->due_ms;
    if (timers->armed_ms != 0 && timers->armed_ms <= due_ms) return;
    if (due_ms < 1) due_ms = 1;
    struct itimerspec when = {{0, 0}, {due_ms / 1000, due_ms % 1000 * 1000000}};
    int result = timerfd_settime(loop->clock_fd, TFD_TIMER_ABSTIME, &when, NULL);
    FIRN_ASSERT(result == 0);
    timers->armed_ms = due_ms;
    loop->stats.system_calls++;
}

void loop__timers_run(struct loop *loop, int64_t now_ms) {
    struct loop_timers *timers = &loop->timers;
    while (timers->count > 0 && timers->heap[0]->due_ms <= now_ms) {
        struct loop_timer *timer = timers->heap[0];
        timer->running = 1;
        int64_t next_ms = timer->callback(timer->ctx);
        timer->running = 0;
        if (next_ms < 0) {
            remove_timer(timer);
            continue;
        }
        /* At least one ms on, so that a timer cannot hold the loop in here. */
        timer->due_ms = now_ms + (next_ms < 1 ? 1 : next_ms);
        sift_down(timers, timer->place);
        sift_up(timers, timer->place);
    }
}

void loop__timers_fini(struct loop *loop) {
    struct loop_timers *timers = &loop->timers;
    for (size_t i = 0; i < timers->count; i++)
        memory_free(timers->heap[i]);
    memory_free(timers->heap);
}
