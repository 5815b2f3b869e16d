/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backend over epoll, edge-triggered: one epoll_ctl per connection, and two more only around a full send
 * buffer. Edge-triggering makes it behave like a multishot poll, so loop.c has one logic for both.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "loop/loop_internal.h"

#define EVENTS_MAX 1024

_Static_assert(LOOP_IN == EPOLLIN && LOOP_OUT == EPOLLOUT && LOOP_ERR == EPOLLERR && LOOP_HUP == EPOLLHUP &&
                   LOOP_RDHUP == EPOLLRDHUP,
               "readiness bits are epoll's");

struct epoll_state {
    int fd;
    struct loop *loop;
    struct epoll_event events[EVENTS_MAX];
};

static int epoll_state_create(struct loop *loop, void **state_out) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) return FIRN_ESYSTEM;
    struct epoll_state *state = memory_alloc(sizeof *state);
    state->fd = fd;
    state->loop = loop;
    *state_out = state;
    return 0;
}

static void epoll_state_destroy(void *from) {
    struct epoll_state *state = from;
    close(state->fd);
    memory_free(state);
}

static int control(struct epoll_state *state, struct loop_socket *socket, int operation, unsigned events) {
    struct epoll_event event = {.events = events | EPOLLET, .data.ptr = socket};
    state->loop->stats.system_calls++;
    return epoll_ctl(state->fd, operation, socket->fd, &event) == 0 ? 0 : -errno;
}

static int epoll_watch(void *state, struct loop_socket *socket) {
    int error = control(state, socket, EPOLL_CTL_ADD, EPOLLIN | EPOLLRDHUP);
    socket->watching = error == 0;
    return error;
}

static void epoll_watch_out(void *state, struct loop_socket *socket) {
    if (socket->watching_out) return;
    int operation = socket->watching ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int error = control(state, socket, operation, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
    FIRN_ASSERT(error == 0);
    socket->watching = 1;
    socket->watching_out = 1;
}

static void epoll_unwatch(void *state, struct loop_socket *socket) {
    if (socket->watching || socket->watching_out) control(state, socket, EPOLL_CTL_DEL, 0);
    socket->watching = 0;
    socket->watching_out = 0;
}

static void epoll_wait_events(void *from, int sleep, unsigned want, unsigned patience_us) {
    struct epoll_state *state = from;
    (void)want;
    (void)patience_us;
    state->loop->stats.system_calls++;
    int count = epoll_wait(state->fd, state->events, EVENTS_MAX, sleep ? -1 : 0);
    loop__awake(state->loop);
    for (int i = 0; i < count; i++) {
        struct loop_socket *socket = state->events[i].data.ptr;
        /* Output is reported once: back to input only (only sockets that were full pay for this). */
        if (socket->watching_out && (state->events[i].events & EPOLLOUT)) {
            socket->watching_out = 0;
            control(state, socket, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
        }
        loop__event(socket, state->events[i].events);
    }
}

const struct loop_backend_ops loop__epoll_ops = {
    .name = "epoll",
    .create = epoll_state_create,
    .destroy = epoll_state_destroy,
    .watch = epoll_watch,
    .watch_out = epoll_watch_out,
    .unwatch = epoll_unwatch,
    .wait = epoll_wait_events,
};
