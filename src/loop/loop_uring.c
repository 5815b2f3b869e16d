/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backend over io_uring: one multishot poll per connection, submitted together with the sleep. With
 * DEFER_TASKRUN the kernel only counts events while the thread sleeps and wakes it once for ${want} of them:
 * that, not saved system calls, is what makes it cheaper than epoll for many busy sockets. A socket that was
 * full once has a second multishot poll, for output (the kernel adds "peer has shut down" to whatever is
 * asked for, so a one-shot poll would end at once on a half-closed socket).
 *
 * Kernel: 5.13 (multishot poll) at least; 5.18 registered ring, 6.0 SINGLE_ISSUER, 6.1 DEFER_TASKRUN are used
 * when there.
 *
 * I1 user_data is the socket's address; bit 0: its output poll; 0: nobody (cancellations).
 * I2 A socket with a request in flight is not freed: unwatch cancels, the last completion clears watching /
 * watching_out.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault_point.h"
#include "base/memory.h"
#include "loop/loop_internal.h"

#define SUBMISSIONS 1024u
#define COMPLETIONS 8192u

_Static_assert(LOOP_IN == POLLIN && LOOP_OUT == POLLOUT && LOOP_ERR == POLLERR && LOOP_HUP == POLLHUP &&
                   LOOP_RDHUP == POLLRDHUP,
               "readiness bits are poll's");

struct uring_state {
    struct io_uring ring;
    struct loop *loop;
};

static int setup(struct io_uring *ring) {
    static const unsigned tries[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct io_uring_params params = {.flags = tries[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                         .cq_entries = COMPLETIONS};
        if (io_uring_queue_init_params(SUBMISSIONS, ring, &params) != 0) continue;
        if ((params.features & (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG)) ==
            (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG))
            return 0;
        io_uring_queue_exit(ring);
        break;
    }
    return FIRN_EUNSUPPORTED;
}

static int uring_create(struct loop *loop, void **state_out) {
    if (fault_point_fails(FAULT_LOOP_URING_SETUP)) return FIRN_EUNSUPPORTED;
    struct uring_state *state = memory_alloc_zero(sizeof *state);
    state->loop = loop;
    int error = setup(&state->ring);
    if (error != 0) {
        memory_free(state);
        return error;
    }
    /* Saves a descriptor look-up per enter; older kernels go on without. */
    (void)io_uring_register_ring_fd(&state->ring);
    *state_out = state;
    return 0;
}

static void uring_destroy(void *from) {
    struct uring_state *state = from;
    io_uring_queue_exit(&state->ring);
    memory_free(state);
}

static struct io_uring_sqe *next_sqe(struct uring_state *state) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&state->ring);
    while (!sqe) {
        state->loop->stats.system_calls++;
        int result = io_uring_submit(&state->ring);
        FIRN_ASSERT(result >= 0 || result == -EAGAIN || result == -EBUSY || result == -EINTR);
        sqe = io_uring_get_sqe(&state->ring);
    }
    return sqe;
}

static int uring_watch(void *from, struct loop_socket *socket) {
    struct io_uring_sqe *sqe = next_sqe(from);
    io_uring_prep_poll_multishot(sqe, socket->fd, POLLIN | POLLRDHUP);
    io_uring_sqe_set_data64(sqe, (uintptr_t)socket);
    socket->watching = 1;
    return 0;
}

static void uring_watch_out(void *from, struct loop_socket *socket) {
    if (socket->watching_out) return;
    struct io_uring_sqe *sqe = next_sqe(from);
    io_uring_prep_poll_multishot(sqe, socket->fd, POLLOUT);
    io_uring_sqe_set_data64(sqe, (uintptr_t)socket | 1);
    socket->watching_out = 1;
}

static void uring_unwatch(void *from, struct loop_socket *socket) {
    for (unsigned bit = 0; bit < 2; bit++) {
        if (!(bit ? socket->watching_out : socket->watching)) continue;
        struct io_uring_sqe *sqe = next_sqe(from);
        /* Not poll_remove: that fails (and the poll goes on) when an event is just being delivered. */
        io_uring_prep_cancel64(sqe, (uintptr_t)socket | bit, 0);
        io_uring_sqe_set_data64(sqe, 0);
    }
}

static void complete(struct uring_state *state, const struct io_uring_cqe *cqe) {
    uint64_t data = cqe->user_data;
    if (data == 0) return;
    struct loop_socket *socket = (struct loop_socket *)(uintptr_t)(data & ~(uint64_t)1);
    FIRN_ASSERT(socket->magic == LOOP_SOCKET_MAGIC);
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        /* Ended by an overflow of the completion queue if not by us: go on. */
        int again = !socket->closing && cqe->res >= 0;
        if (data & 1) {
            socket->watching_out = 0;
            if (again && socket->parts) uring_watch_out(state, socket);
        } else {
            socket->watching = 0;
            if (again) uring_watch(state, socket);
        }
    }
    if (cqe->res > 0)
        loop__event(socket, (unsigned)cqe->res);
    else if (cqe->res < 0 && !socket->closing)
        loop__event(socket, LOOP_ERR);
}

static void enter(struct uring_state *state, int sleep, unsigned want, unsigned patience_us) {
    struct io_uring_cqe *cqe;
    state->loop->stats.system_calls++;
    if (!sleep) {
        (void)io_uring_submit_and_get_events(&state->ring);
        return;
    }
    if (want > 1) {
        struct __kernel_timespec patience = {.tv_nsec = patience_us * 1000};
        int result = io_uring_submit_and_wait_timeout(&state->ring, &cqe, want, &patience, NULL);
        if (result != -ETIME || io_uring_cq_ready(&state->ring) > 0) return;
        state->loop->stats.system_calls++;
    }
    (void)io_uring_submit_and_wait(&state->ring, 1);
}

static void uring_wait(void *from, int sleep, unsigned want, unsigned patience_us) {
    struct uring_state *state = from;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;
    enter(state, sleep, want, patience_us);
    loop__awake(state->loop);
    io_uring_for_each_cqe(&state->ring, head, cqe) {
        complete(state, cqe);
        count++;
    }
    io_uring_cq_advance(&state->ring, count);
}

const struct loop_backend_ops loop__uring_ops = {
    .name = "io_uring",
    .create = uring_create,
    .destroy = uring_destroy,
    .watch = uring_watch,
    .watch_out = uring_watch_out,
    .unwatch = uring_unwatch,
    .wait = uring_wait,
};
