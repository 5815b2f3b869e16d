/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside src/loop: the loop's state, and what a backend (io_uring, epoll) must provide: readiness and
 * sleeping, nothing else. */
#ifndef FIRN_LOOP_LOOP_INTERNAL_H
#define FIRN_LOOP_LOOP_INTERNAL_H

#include "loop/loop.h"

#define LOOP_MAGIC        0x6c6f6f70u
#define LOOP_SOCKET_MAGIC 0x6c736f63u

/* Readiness bits, of both backends (equal to EPOLL* and POLL*). */
#define LOOP_IN    0x001u
#define LOOP_OUT   0x004u
#define LOOP_ERR   0x008u
#define LOOP_HUP   0x010u
#define LOOP_RDHUP 0x2000u

enum loop_socket_kind { LOOP_KIND_STREAM, LOOP_KIND_LISTENER, LOOP_KIND_WAKE, LOOP_KIND_CLOCK };

struct loop_socket {
    uint32_t magic;
    int fd;
    struct loop *loop;
    void *ctx;
    uint8_t kind;
    uint8_t receiving;    /* the owner wants data */
    uint8_t readable;     /* there may be more to receive without a further event */
    uint8_t ended;        /* end of stream or error seen by poll: receive until 0 or an error */
    uint8_t again;        /* in loop->again */
    uint8_t closing;      /* in loop->closing */
    uint8_t watching;     /* backend: input events are on (io_uring: a poll request is in flight) */
    uint8_t watching_out; /* backend: output events are on */
    uint32_t window;      /* last coalescing window with an event */
    const struct loop_receiver *receiver;
    void (*accepted)(int fd_or_errno, void *ctx);
    /* running send; NULL parts: none */
    const struct iovec *parts;
    unsigned part_count, part_index;
    size_t part_offset, sent;
    void (*sent_callback)(void *ctx, ssize_t bytes_or_errno);
    void (*closed)(void *ctx);
    struct loop_socket *next_again, *next_closing;
    struct loop_socket *next, *previous; /* all sockets of the loop */
};

struct loop_backend_ops {
    const char *name;
    /* *state_out is passed to the others. FIRN_EUNSUPPORTED, FIRN_ESYSTEM. */
    int (*create)(struct loop *loop, void **state_out);
    void (*destroy)(void *state);
    /* Report input (edge-triggered, with end of stream) on the socket from now on. 0 or negative errno. */
    int (*watch)(void *state, struct loop_socket *socket);
    /* Report (edge-triggered, at least once) when output is possible. */
    void (*watch_out)(void *state, struct loop_socket *socket);
    /* Stop reporting. May take turns: the socket may be freed only once watching and watching_out are 0. */
    void (*unwatch)(void *state, struct loop_socket *socket);
    /* Wait until at least one event (at best ${want} within ${patience_us}) if ${sleep}, call loop__awake,
     * and pass each event to loop__event. */
    void (*wait)(void *state, int sleep, unsigned want, unsigned patience_us);
};

extern const struct loop_backend_ops loop__uring_ops;
extern const struct loop_backend_ops loop__epoll_ops;

struct loop_timer {
    struct loop *loop;
    int64_t due_ms; /* monotonic */
    size_t place;   /* in the heap */
    int64_t (*callback)(void *ctx);
    void *ctx;
    int running;
};

struct loop_timers {
    struct loop_timer **heap;
    size_t count, capacity;
    int64_t armed_ms; /* what the timerfd is set to; 0 off */
};

struct loop {
    uint32_t magic;
    const struct loop_backend_ops *ops;
    void *backend;
    int stopped;
    int wake_pending; /* atomic */
    int wake_fd, clock_fd;
    struct loop_socket *wake_socket, *clock_socket;
    void (*on_wake)(void *ctx);
    void *on_wake_ctx;
    struct loop_socket *again_first, *again_last;
    struct loop_socket *closing;
    int closing_ready;          /* some of them wait for nothing but the end of the turn */
    struct loop_socket sockets; /* list head */
    struct loop_timers timers;
    struct loop_socket *starved; /* a listener that ran out of descriptors */
    /* coalescing */
    int coalescing;
    uint32_t window;
    int64_t window_start_us;
    int64_t awake_us; /* monotonic time after the last sleep */
    unsigned window_events, window_sockets, want;
    struct loop_stats stats;
    uint8_t *buffer; /* what sockets receive into */
};

/* A backend calls this between its sleep and the first event: reads the clock. */
void loop__awake(struct loop *loop);
/* A backend has seen ${events} (LOOP_*) on ${socket}. */
void loop__event(struct loop_socket *socket, unsigned events);
/* Continue the socket's accept, receive or send. */
void loop__accept_some(struct loop_socket *socket);
void loop__receive_some(struct loop_socket *socket);
void loop__send_some(struct loop_socket *socket);
void loop__queue_again(struct loop_socket *socket);
/* Timers: set the timerfd for the earliest; run what is due. */
void loop__timers_arm(struct loop *loop);
void loop__timers_run(struct loop *loop, int64_t now_ms);
void loop__timers_fini(struct loop *loop);

#endif
