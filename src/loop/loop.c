/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop's turn, and the sockets' state machine above a backend that only reports readiness
 * (loop_internal.h).
 *
 * A turn: before_sleep; sleep and take events (accepts, receives and sends happen as they are taken); sockets
 * that had more than one read's worth; timers; wake-up; closing. Readiness is edge-triggered: an event means
 * "try until it is short". A receive that filled the memory it was given, or that follows an end of stream,
 * puts the socket on the again-list for the next turn (which then does not sleep), so every socket gets one
 * receive a turn.
 *
 * Coalescing: over windows of a millisecond the loop counts events and distinct sockets. When COALESCE_US
 * would bring at least COALESCE_EVENTS_MIN events, from at least twice as many sockets as it is going to wait
 * for, the backend is asked to sleep on for that long or until half the busy sockets have something. Rate and
 * number of sockets both bound the delay to what pays.
 *
 * I1 A socket with data it was not asked for (paused) has readable set, and is queued again when receiving
 *    starts.
 * I2 A closing socket gets no callback but closed(), and is freed when the backend has let go of it.
 */
#include "loop/loop.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/fault_point.h"
#include "base/memory.h"
#include "loop/loop_internal.h"

#define RECEIVE_BYTES        65536u
#define ACCEPTS_PER_TURN_MAX 1000
#define STARVED_RETRY_MS     10
#define WINDOW_US            1000
#define COALESCE_US          100
#define COALESCE_EVENTS_MIN  2u
#define COALESCE_WANT_MAX    64u

/* --- creation --- */

static struct loop_socket *add_socket(struct loop *loop, int fd, enum loop_socket_kind kind, void *ctx) {
    struct loop_socket *socket = memory_alloc_zero(sizeof *socket);
    socket->magic = LOOP_SOCKET_MAGIC;
    socket->fd = fd;
    socket->loop = loop;
    socket->kind = (uint8_t)kind;
    socket->ctx = ctx;
    socket->next = loop->sockets.next;
    socket->previous = &loop->sockets;
    socket->next->previous = socket;
    loop->sockets.next = socket;
    return socket;
}

static int choose_backend(struct loop *loop, enum loop_backend backend) {
    int error = FIRN_EUNSUPPORTED;
    if (backend != LOOP_EPOLL) {
        loop->ops = &loop__uring_ops;
        error = loop->ops->create(loop, &loop->backend);
    }
    if (backend == LOOP_EPOLL || (backend == LOOP_AUTO && error != 0)) {
        loop->ops = &loop__epoll_ops;
        error = loop->ops->create(loop, &loop->backend);
    }
    return error;
}

int loop_create(enum loop_backend backend, struct loop **loop_out) {
    struct loop *loop = memory_alloc_zero(sizeof *loop);
    *loop_out = NULL;
    loop->magic = LOOP_MAGIC;
    loop->coalescing = 1;
    loop->want = 1;
    loop->sockets.next = loop->sockets.previous = &loop->sockets;
    int error = choose_backend(loop, backend);
    if (error != 0) goto err_loop;
    error = FIRN_ESYSTEM;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) goto err_backend;
    loop->clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->clock_fd < 0) goto err_wake;
    loop->buffer = memory_alloc_aligned(4096, RECEIVE_BYTES);
    loop->wake_socket = add_socket(loop, loop->wake_fd, LOOP_KIND_WAKE, NULL);
    loop->clock_socket = add_socket(loop, loop->clock_fd, LOOP_KIND_CLOCK, NULL);
    int result = loop->ops->watch(loop->backend, loop->wake_socket);
    if (result == 0) result = loop->ops->watch(loop->backend, loop->clock_socket);
    if (result != 0) {
        loop_destroy(loop);
        return FIRN_ESYSTEM;
    }
    *loop_out = loop;
    return 0;
err_wake:
    close(loop->wake_fd);
err_backend:
    loop->ops->destroy(loop->backend);
err_loop:
    memory_free(loop);
    return error;
}

static void finish_closing(struct loop *loop);

static void free_socket(struct loop_socket *socket) {
    socket->previous->next = socket->next;
    socket->next->previous = socket->previous;
    socket->magic = 0;
    memory_free(socket);
}

void loop_destroy(struct loop *loop) {
    if (!loop) return;
    FIRN_ASSERT(loop->magic == LOOP_MAGIC);
    loop->ops->destroy(loop->backend);
    for (struct loop_socket *socket = loop->closing; socket; socket = socket->next_closing) {
        socket->watching = socket->watching_out = socket->again = 0;
    }
    finish_closing(loop);
    while (loop->sockets.next != &loop->sockets) {
        struct loop_socket *socket = loop->sockets.next;
        if (socket->kind != LOOP_KIND_LISTENER) close(socket->fd);
        free_socket(socket);
    }
    loop__timers_fini(loop);
    memory_free(loop->buffer);
    loop->magic = 0;
    memory_free(loop);
}

const char *loop_backend_name(const struct loop *loop) {
    return loop->ops->name;
}

/* --- events --- */

void loop__queue_again(struct loop_socket *socket) {
    struct loop *loop = socket->loop;
    if (socket->again) return;
    socket->again = 1;
    socket->next_again = NULL;
    if (loop->again_last)
        loop->again_last->next_again = socket;
    else
        loop->again_first = socket;
    loop->again_last = socket;
}

/* The eventfd is not read: what it counts is of no interest, and each signal is an edge of its own (a
 * multishot poll, EPOLLET), whatever the count is. */
static void take_wake(struct loop *loop) {
    __atomic_store_n(&loop->wake_pending, 0, __ATOMIC_SEQ_CST);
    if (loop->on_wake) loop->on_wake(loop->on_wake_ctx);
}

static void take_clock(struct loop *loop) {
    uint64_t count;
    loop->stats.system_calls++;
    if (read(loop->clock_fd, &count, sizeof count) == (ssize_t)sizeof count) loop->timers.armed_ms = 0;
}

static void count_event(struct loop_socket *socket) {
    struct loop *loop = socket->loop;
    loop->window_events++;
    if (socket->window != loop->window) {
        socket->window = loop->window;
        loop->window_sockets++;
    }
}

void loop__event(struct loop_socket *socket, unsigned events) {
    if (socket->closing) return;
    switch ((enum loop_socket_kind)socket->kind) {
    case LOOP_KIND_WAKE: take_wake(socket->loop); return;
    case LOOP_KIND_CLOCK: take_clock(socket->loop); return;
    case LOOP_KIND_LISTENER: loop__accept_some(socket); return;
    case LOOP_KIND_STREAM: break;
    }
    count_event(socket);
    if ((events & (LOOP_OUT | LOOP_ERR | LOOP_HUP)) && socket->parts) loop__send_some(socket);
    if (events & (LOOP_ERR | LOOP_HUP | LOOP_RDHUP)) socket->ended = 1;
    if (events & (LOOP_IN | LOOP_ERR | LOOP_HUP | LOOP_RDHUP)) {
        socket->readable = 1;
        if (socket->receiving && !socket->closing)
            loop__receive_some(socket);
        else if (socket->ended && !socket->closing && socket->receiver && socket->receiver->ended)
            socket->receiver->ended(socket->ctx);
    }
}

/* --- sockets --- */

struct loop_socket *loop_socket_create(struct loop *loop, int fd, void *ctx) {
    return add_socket(loop, fd, LOOP_KIND_STREAM, ctx);
}

void loop_socket_set_context(struct loop_socket *socket, void *ctx) {
    socket->ctx = ctx;
}

struct loop_socket *loop_accept(struct loop *loop, int fd, void (*callback)(int fd_or_errno, void *ctx),
                                void *ctx) {
    struct loop_socket *socket = add_socket(loop, fd, LOOP_KIND_LISTENER, ctx);
    socket->accepted = callback;
    int error = loop->ops->watch(loop->backend, socket);
    FIRN_ASSERT(error == 0);
    /* There may be connections from before. */
    loop__queue_again(socket);
    return socket;
}

static int64_t retry_starved(void *ctx) {
    struct loop *loop = ctx;
    if (loop->starved && !loop->starved->closing) loop__queue_again(loop->starved);
    loop->starved = NULL;
    return -1;
}

void loop__accept_some(struct loop_socket *socket) {
    struct loop *loop = socket->loop;
    for (int i = 0; i < ACCEPTS_PER_TURN_MAX && !socket->closing; i++) {
        loop->stats.system_calls++;
        int fd = fault_point_fails(FAULT_LOOP_ACCEPT)
                     ? (errno = EMFILE, -1)
                     : accept4(socket->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            socket->accepted(fd, socket->ctx);
            continue;
        }
        int error = errno;
        if (error == EAGAIN || error == EWOULDBLOCK) return;
        if (error == EINTR || error == ECONNABORTED) continue;
        /* Out of descriptors or memory: the edge is gone, so come back by the clock. */
        if (!loop->starved) {
            loop->starved = socket;
            (void)loop_timer_create(loop, STARVED_RETRY_MS, retry_starved, loop);
        }
        socket->accepted(-error, socket->ctx);
        return;
    }
    if (!socket->closing) loop__queue_again(socket);
}

void loop_receive_start(struct loop_socket *socket, const struct loop_receiver *receiver) {
    struct loop *loop = socket->loop;
    FIRN_ASSERT(socket->magic == LOOP_SOCKET_MAGIC && !socket->closing);
    socket->receiver = receiver;
    socket->receiving = 1;
    if (!socket->watching && loop->ops->watch(loop->backend, socket) != 0) {
        /* Let the receive tell what is wrong with the descriptor. */
        socket->readable = 1;
        socket->ended = 1;
    }
    if (socket->readable) loop__queue_again(socket);
}

void loop_receive_pause(struct loop_socket *socket) {
    socket->receiving = 0;
}

int loop_receive_ended(const struct loop_socket *socket) {
    return socket->ended;
}

void loop__receive_some(struct loop_socket *socket) {
    struct loop *loop = socket->loop;
    const struct loop_receiver *receiver = socket->receiver;
    uint8_t *memory = loop->buffer;
    size_t size = receiver->into ? receiver->into(socket->ctx, &memory) : 0;
    if (size == 0) {
        memory = loop->buffer;
        size = RECEIVE_BYTES;
    }
    loop->stats.system_calls++;
    ssize_t got = fault_point_fails(FAULT_LOOP_RECV) ? (errno = ECONNRESET, -1)
                                                     : recv(socket->fd, memory, size, MSG_DONTWAIT);
    if (got < 0) {
        int error = errno;
        if (error == EAGAIN || error == EWOULDBLOCK) {
            socket->readable = 0;
            return;
        }
        if (error == EINTR) {
            loop__queue_again(socket);
            return;
        }
        got = -error;
    }
    socket->readable = (size_t)got == size || socket->ended;
    if (got <= 0) {
        socket->receiving = 0;
        socket->readable = 0;
    }
    receiver->received(socket->ctx, memory, got);
    if (socket->receiving && socket->readable && !socket->closing) loop__queue_again(socket);
}

/* --- sending --- */

/* The rest of the running send as iovecs. */
static unsigned rest_of_parts(const struct loop_socket *socket, struct iovec *out) {
    unsigned count = 0;
    for (unsigned i = socket->part_index; i < socket->part_count; i++)
        out[count++] = socket->parts[i];
    out[0].iov_base = (uint8_t *)out[0].iov_base + socket->part_offset;
    out[0].iov_len -= socket->part_offset;
    return count;
}

static ssize_t send_parts(struct loop_socket *socket, struct iovec *parts, unsigned count) {
    socket->loop->stats.system_calls++;
    if (fault_point_fails(FAULT_LOOP_SEND)) return -EPIPE;
    ssize_t sent;
    do {
        if (count == 1) {
            sent = send(socket->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
            sent = sendmsg(socket->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    return sent;
}

/* Note ${sent} bytes as sent. Whether the send is complete. */
static int advance(struct loop_socket *socket, size_t sent) {
    socket->sent += sent;
    while (socket->part_index < socket->part_count) {
        size_t left = socket->parts[socket->part_index].iov_len - socket->part_offset;
        if (sent < left) {
            socket->part_offset += sent;
            return 0;
        }
        sent -= left;
        socket->part_offset = 0;
        socket->part_index++;
    }
    return 1;
}

static void finish_send(struct loop_socket *socket, ssize_t result) {
    socket->parts = NULL;
    socket->sent_callback(socket->ctx, result);
}

void loop__send_some(struct loop_socket *socket) {
    struct iovec parts[LOOP_SEND_PARTS_MAX];
    unsigned count = rest_of_parts(socket, parts);
    ssize_t sent = send_parts(socket, parts, count);
    if (sent < 0)
        finish_send(socket, sent);
    else if (advance(socket, (size_t)sent))
        finish_send(socket, (ssize_t)socket->sent);
    else
        socket->loop->ops->watch_out(socket->loop->backend, socket);
}

ssize_t loop_send(struct loop_socket *socket, const struct iovec *parts, unsigned count,
                  void (*callback)(void *ctx, ssize_t bytes_or_errno)) {
    struct iovec copy[LOOP_SEND_PARTS_MAX];
    FIRN_ASSERT(socket->magic == LOOP_SOCKET_MAGIC && !socket->closing && !socket->parts);
    FIRN_ASSERT(count >= 1 && count <= LOOP_SEND_PARTS_MAX);
    size_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        copy[i] = parts[i];
        size += parts[i].iov_len;
    }
    ssize_t sent = send_parts(socket, copy, count);
    if (sent < 0 || (size_t)sent == size) return sent;
    socket->parts = parts;
    socket->part_count = count;
    socket->part_index = 0;
    socket->part_offset = 0;
    socket->sent = 0;
    socket->sent_callback = callback;
    (void)advance(socket, (size_t)sent);
    socket->loop->ops->watch_out(socket->loop->backend, socket);
    return 0;
}

size_t loop_send_progress(const struct loop_socket *socket) {
    return socket->parts ? socket->sent : 0;
}

/* --- closing --- */

void loop_socket_close(struct loop_socket *socket, void (*closed)(void *ctx)) {
    struct loop *loop = socket->loop;
    FIRN_ASSERT(socket->magic == LOOP_SOCKET_MAGIC && !socket->closing);
    socket->closing = 1;
    socket->receiving = 0;
    socket->closed = closed;
    if (loop->starved == socket) loop->starved = NULL;
    loop->ops->unwatch(loop->backend, socket);
    socket->next_closing = loop->closing;
    loop->closing = socket;
    if (!socket->watching && !socket->watching_out) loop->closing_ready = 1;
}

int loop_socket_descriptor(const struct loop_socket *socket) {
    return socket->fd;
}

/* Free what the backend has let go of. */
static void finish_closing(struct loop *loop) {
    struct loop_socket *socket = loop->closing;
    loop->closing = NULL;
    loop->closing_ready = 0;
    while (socket) {
        struct loop_socket *next = socket->next_closing;
        if (socket->parts) finish_send(socket, -ECANCELED);
        if (socket->watching || socket->watching_out || socket->again) {
            socket->next_closing = loop->closing;
            loop->closing = socket;
        } else {
            void (*closed)(void *ctx) = socket->closed;
            void *ctx = socket->ctx;
            if (socket->kind != LOOP_KIND_LISTENER) {
                loop->stats.system_calls++;
                close(socket->fd);
            }
            free_socket(socket);
            if (closed) closed(ctx);
        }
        socket = next;
    }
}

/* --- the turn --- */

/* At the end of a window: how many events the next sleeps should wait for. */
static void adapt(struct loop *loop, int64_t now_us) {
    int64_t span_us = now_us - loop->window_start_us;
    if (span_us < WINDOW_US) return;
    unsigned want = 1;
    if (loop->coalescing &&
        (uint64_t)loop->window_events * COALESCE_US >= (uint64_t)span_us * COALESCE_EVENTS_MIN) {
        want = loop->window_sockets / 2;
        if (want < 1) want = 1;
        if (want > COALESCE_WANT_MAX) want = COALESCE_WANT_MAX;
    }
    loop->want = want;
    loop->window++;
    loop->window_start_us = now_us;
    loop->window_events = 0;
    loop->window_sockets = 0;
}

static void run_again_list(struct loop *loop) {
    struct loop_socket *socket = loop->again_first;
    loop->again_first = loop->again_last = NULL;
    while (socket) {
        struct loop_socket *next = socket->next_again;
        socket->again = 0;
        if (!socket->closing) {
            if (socket->kind == LOOP_KIND_LISTENER)
                loop__accept_some(socket);
            else if (socket->receiving)
                loop__receive_some(socket);
        }
        socket = next;
    }
}

static void finish_turn(struct loop *loop) {
    run_again_list(loop);
    loop__timers_run(loop, loop->awake_us / 1000);
    finish_closing(loop);
}

void loop_run(struct loop *loop, int (*before_sleep)(void *ctx), void *ctx) {
    FIRN_ASSERT(loop->magic == LOOP_MAGIC);
    int64_t awake_us = clock_monotonic_us();
    loop->window_start_us = awake_us;
    __atomic_store_n(&loop->stopped, 0, __ATOMIC_RELAXED);
    while (!__atomic_load_n(&loop->stopped, __ATOMIC_RELAXED)) {
        int busy = before_sleep ? before_sleep(ctx) : 0;
        if (loop->again_first || loop->closing_ready) busy = 1;
        loop__timers_arm(loop);
        int64_t asleep_us = clock_monotonic_us();
        loop->stats.busy_us += (uint64_t)(asleep_us - awake_us);
        adapt(loop, asleep_us);
        loop->stats.turns++;
        loop->stats.sleeps += !busy;
        loop->ops->wait(loop->backend, !busy, loop->want, COALESCE_US);
        awake_us = loop->awake_us;
        finish_turn(loop);
    }
}

void loop_poll(struct loop *loop) {
    FIRN_ASSERT(loop->magic == LOOP_MAGIC);
    loop->ops->wait(loop->backend, 0, 1, COALESCE_US);
    finish_turn(loop);
}

void loop__awake(struct loop *loop) {
    loop->awake_us = clock_monotonic_us();
    clock_update();
}

void loop_stop(struct loop *loop) {
    __atomic_store_n(&loop->stopped, 1, __ATOMIC_RELAXED);
}

void loop_wake(struct loop *loop) {
    uint64_t one = 1;
    if (__atomic_exchange_n(&loop->wake_pending, 1, __ATOMIC_SEQ_CST)) return;
    int saved = errno;
    ssize_t result = write(loop->wake_fd, &one, sizeof one);
    (void)result; /* it can only fail when the counter is full: not in a thousand centuries */
    errno = saved;
}

int loop_wake_descriptor(const struct loop *loop) {
    return loop->wake_fd;
}

void loop_on_wake(struct loop *loop, void (*callback)(void *ctx), void *ctx) {
    loop->on_wake = callback;
    loop->on_wake_ctx = ctx;
}

void loop_set_coalescing(struct loop *loop, int on) {
    loop->coalescing = on;
    if (!on) loop->want = 1;
}

void loop_stats(const struct loop *loop, struct loop_stats *stats_out) {
    *stats_out = loop->stats;
}
