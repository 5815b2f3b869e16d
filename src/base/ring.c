/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One mutex, two conditions (not empty, not full) that are signalled only when somebody waits on them.
 *
 * R1 head - tail is the number of messages; both only grow and are taken modulo the capacity.
 */
#include "base/ring.h"

#include <pthread.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/memory.h"

struct ring {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t drained;
    size_t mask;
    size_t head;
    size_t tail;
    unsigned waiting_pop;
    unsigned waiting_push;
    int closed;
    void *slots[];
};

struct ring *ring_create(size_t capacity) {
    FIRN_ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
    struct ring *ring = memory_alloc_zero(sizeof *ring + capacity * sizeof(void *));
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->filled, NULL);
    pthread_cond_init(&ring->drained, NULL);
    ring->mask = capacity - 1;
    return ring;
}

void ring_destroy(struct ring *ring) {
    if (ring == NULL) return;
    FIRN_ASSERT(ring->head == ring->tail);
    pthread_cond_destroy(&ring->filled);
    pthread_cond_destroy(&ring->drained);
    pthread_mutex_destroy(&ring->lock);
    memory_free(ring);
}

static int ring_is_full(const struct ring *ring) {
    return ring->head - ring->tail > ring->mask;
}

static int ring_put(struct ring *ring, void *message) {
    int was_empty = ring->head == ring->tail;
    ring->slots[ring->head++ & ring->mask] = message;
    if (ring->waiting_pop > 0) pthread_cond_signal(&ring->filled);
    return was_empty;
}

int ring_push(struct ring *ring, void *message, int *was_empty_out) {
    pthread_mutex_lock(&ring->lock);
    int full = ring_is_full(ring);
    int was_empty = full ? 0 : ring_put(ring, message);
    pthread_mutex_unlock(&ring->lock);
    if (was_empty_out != NULL) *was_empty_out = was_empty;
    return full ? FIRN_EAGAIN : 0;
}

void ring_push_wait(struct ring *ring, void *message) {
    pthread_mutex_lock(&ring->lock);
    while (ring_is_full(ring)) {
        ring->waiting_push++;
        pthread_cond_wait(&ring->drained, &ring->lock);
        ring->waiting_push--;
    }
    ring_put(ring, message);
    pthread_mutex_unlock(&ring->lock);
}

static size_t ring_take(struct ring *ring, void **messages_out, size_t limit) {
    size_t count = 0;
    while (count < limit && ring->tail != ring->head)
        messages_out[count++] = ring->slots[ring->tail++ & ring->mask];
    if (count > 0 && ring->waiting_push > 0) pthread_cond_broadcast(&ring->drained);
    return count;
}

size_t ring_pop(struct ring *ring, void **messages_out, size_t limit) {
    pthread_mutex_lock(&ring->lock);
    size_t count = ring_take(ring, messages_out, limit);
    pthread_mutex_unlock(&ring->lock);
    return count;
}

size_t ring_pop_wait(struct ring *ring, void **messages_out, size_t limit) {
    pthread_mutex_lock(&ring->lock);
    while (ring->head == ring->tail && !ring->closed) {
        ring->waiting_pop++;
        pthread_cond_wait(&ring->filled, &ring->lock);
        ring->waiting_pop--;
    }
    size_t count = ring_take(ring, messages_out, limit);
    pthread_mutex_unlock(&ring->lock);
    return count;
}

void ring_close(struct ring *ring) {
    pthread_mutex_lock(&ring->lock);
    ring->closed = 1;
    pthread_cond_broadcast(&ring->filled);
    pthread_mutex_unlock(&ring->lock);
}

size_t ring_count(struct ring *ring) {
    pthread_mutex_lock(&ring->lock);
    size_t count = ring->head - ring->tail;
    pthread_mutex_unlock(&ring->lock);
    return count;
}
