/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bounded message rings between threads: many producers, one consumer (or one of each), of pointers, in FIFO
 * order per producer. Lock: one mutex held for a few instructions; batches amortize it. The consumer may
 * sleep on an eventfd (executor) or a condition variable (workers).
 */
#ifndef FIRN_BASE_RING_H
#define FIRN_BASE_RING_H

#include <stddef.h>

#include "base/error.h"

struct ring;

/* A ring of ${capacity} pointers (power of two). Aborts on exhaustion. */
struct ring *ring_create(size_t capacity);
/* Must be empty. NULL is a no-op. */
void ring_destroy(struct ring *ring);
/* Push; FIRN_EAGAIN if full. ${was_empty_out} (may be NULL) tells whether the consumer may need a wake-up.
 * Any thread. */
FIRN_MUST_USE int ring_push(struct ring *ring, void *message, int *was_empty_out);
/* Push, waiting while full. Workers only, never the executor. */
void ring_push_wait(struct ring *ring, void *message);
/* Take up to ${limit} messages into ${messages_out}; returns how many (0 if empty); never blocks. */
size_t ring_pop(struct ring *ring, void **messages_out, size_t limit);
/* The same, blocking until there is one or ring_close: returns 0 only when closed and empty. Workers only. */
size_t ring_pop_wait(struct ring *ring, void **messages_out, size_t limit);
/* Wake all waiters for good: pop_wait returns 0 when drained. */
void ring_close(struct ring *ring);
/* Messages in the ring now. */
size_t ring_count(struct ring *ring);

#endif
