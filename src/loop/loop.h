/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event loop: completion-style sockets, timers and wake-ups, over io_uring (batched submission, one
 * system call a turn) or epoll (the same callbacks after a plain read/write). One loop, one thread; only
 * loop_wake may be called from others.
 *
 * L1 Every started operation gets exactly one final callback, also after loop_close_fd (FIRN_ECLOSED).
 * L2 Callbacks run only from loop_run, never from inside another loop_ call.
 * L3 Buffers lent to loop_send stay untouched by the caller until its callback.
 */
#ifndef FIRN_LOOP_LOOP_H
#define FIRN_LOOP_LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

struct loop;
struct loop_socket; /* a descriptor known to the loop */
struct loop_timer;

enum loop_backend { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };

/* FIRN_EUNSUPPORTED: LOOP_URING asked for and forbidden here; LOOP_AUTO falls back to epoll. */
FIRN_MUST_USE int loop_create(enum loop_backend backend, struct loop **loop_out);
void loop_destroy(struct loop *loop);
const char *loop_backend_name(const struct loop *loop); /* "io_uring" or "epoll" */

/* Run turns until loop_stop. Before each sleep ${before_sleep}(ctx) is called: nonzero means do not sleep
 * this time. */
void loop_run(struct loop *loop, int (*before_sleep)(void *ctx), void *ctx);
void loop_stop(struct loop *loop);
/* Make loop_run go round once more; any thread, async-signal-safe. */
void loop_wake(struct loop *loop);
/* Called in the loop thread after a loop_wake. */
void loop_on_wake(struct loop *loop, void (*callback)(void *ctx), void *ctx);

/* Accept on listening ${fd} until closed: callback per connection (fd >= 0), or a negative errno (transient:
 * keeps accepting). Caller owns fds. */
struct loop_socket *loop_accept(struct loop *loop, int fd, void (*callback)(int fd_or_errno, void *ctx),
                                void *ctx);

/* Take a connected non-blocking ${fd}. */
struct loop_socket *loop_socket_create(struct loop *loop, int fd, void *ctx);
/*
 * Receive until paused: ${callback} gets data (valid for the call only), or size 0: end of stream, or
 * negative errno. With ${into} a caller supplies the memory to receive into instead (size > 0), for big
 * arguments; return value bytes are then already there.
 */
struct loop_receiver {
    void (*received)(void *ctx, const uint8_t *data, ssize_t size_or_errno);
    /* May be NULL. Give memory to receive the next bytes into directly; 0 to use the loop's own buffers. */
    size_t (*into)(void *ctx, uint8_t **memory_out);
};
void loop_receive_start(struct loop_socket *socket, const struct loop_receiver *receiver);
void loop_receive_pause(struct loop_socket *socket);
/* Send all of ${parts} (<= 64; memory and array content stay valid until the callback). One send at a time
 * per socket. Result: bytes, or negative errno. */
void loop_send(struct loop_socket *socket, const struct iovec *parts, unsigned count,
               void (*callback)(void *ctx, ssize_t bytes_or_errno));
/* Close: operations in flight are cancelled (their callbacks come with -ECANCELED), then the descriptor is
 * closed and ${closed}(ctx) called once. */
void loop_socket_close(struct loop_socket *socket, void (*closed)(void *ctx));
int loop_socket_descriptor(const struct loop_socket *socket);

/* Timers, millisecond resolution. Callback returns ms until the next call, or -1 to end (the timer is then
 * freed). */
struct loop_timer *loop_timer_create(struct loop *loop, int64_t first_ms, int64_t (*callback)(void *ctx),
                                     void *ctx);
void loop_timer_destroy(struct loop_timer *timer);

struct loop_stats {
    uint64_t turns, sleeps, system_calls, busy_us;
};
void loop_stats(const struct loop *loop, struct loop_stats *stats_out);

#endif
