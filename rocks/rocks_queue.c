/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue from the executor to a pool of blocking workers. base/ring.h would do, but waking a thread costs
 * as much as half a read. Here a worker is woken when none is awake, or when more than QUEUE_BACKLOG
 * operations wait for each that is: a fast device is served by few, which then seldom sleep; behind a slow
 * one the backlog wakes all.
 *
 * Q1 Nothing waits while all workers sleep: a worker looks again before it does, and a push to sleepers
 *    wakes one.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "rocks/rocks_internal.h"

#define QUEUE_BACKLOG 2u

_Static_assert((ROCKS_QUEUE_OPERATIONS & (ROCKS_QUEUE_OPERATIONS - 1)) == 0, "places are taken by mask");

void rocks__queue_init(struct rocks_queue *queue, unsigned workers) {
    memset(queue, 0, sizeof *queue);
    queue->workers = workers;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->filled, NULL);
    queue->slots = memory_alloc(ROCKS_QUEUE_OPERATIONS * sizeof(struct tier_operation *));
}

void rocks__queue_fini(struct rocks_queue *queue) {
    FIRN_ASSERT(queue->head == queue->tail);
    memory_free(queue->slots);
    pthread_cond_destroy(&queue->filled);
    pthread_mutex_destroy(&queue->lock);
}

size_t rocks__queue_room(struct rocks_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    size_t room = ROCKS_QUEUE_OPERATIONS - (queue->head - queue->tail);
    pthread_mutex_unlock(&queue->lock);
    return room;
}

/* Under the lock: whether a sleeping worker is worth waking. */
static int wants_another(const struct rocks_queue *queue) {
    return queue->waiting > 0 &&
           queue->head - queue->tail > (size_t)QUEUE_BACKLOG * (queue->workers - queue->waiting);
}

void rocks__queue_push(struct rocks_queue *queue, struct tier_operation **operations, size_t count) {
    pthread_mutex_lock(&queue->lock);
    FIRN_ASSERT(!queue->closed && queue->head - queue->tail + count <= ROCKS_QUEUE_OPERATIONS);
    for (size_t i = 0; i < count; i++)
        queue->slots[queue->head++ & (ROCKS_QUEUE_OPERATIONS - 1)] = operations[i];
    int wake = wants_another(queue);
    pthread_mutex_unlock(&queue->lock);
    if (wake) pthread_cond_signal(&queue->filled);
}

size_t rocks__queue_pop(struct rocks_queue *queue, struct tier_operation **operations_out, size_t limit,
                        size_t share) {
    pthread_mutex_lock(&queue->lock);
    while (queue->head == queue->tail && !queue->closed) {
        queue->waiting++;
        pthread_cond_wait(&queue->filled, &queue->lock);
        queue->waiting--;
    }
    size_t ready = queue->head - queue->tail, count = (ready + share - 1) / share;
    if (count > limit) count = limit;
    for (size_t i = 0; i < count; i++)
        operations_out[i] = queue->slots[queue->tail++ & (ROCKS_QUEUE_OPERATIONS - 1)];
    int wake = wants_another(queue);
    pthread_mutex_unlock(&queue->lock);
    if (wake) pthread_cond_signal(&queue->filled);
    return count;
}

void rocks__queue_close(struct rocks_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->closed = 1;
    pthread_cond_broadcast(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}
