/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event loop: sockets, timers and wake-ups, over io_uring (readiness by multishot poll, wake-ups batched
 * by the kernel) or epoll (edge-triggered). Data is moved by plain recv(2) and sendmsg(2) in both, which
 * measured cheaper than sends and receives through the ring (README.md). One loop, one thread; only loop_wake
 * may be called from others.
 *
 * L1 Every send that did not finish at once gets exactly one callback, also when the socket is closed
 *    (-ECANCELED).
 * L2 Callbacks run only from loop_run and loop_poll, never from inside another loop_ call.
 * L3 Buffers lent to loop_send stay untouched by the caller until it has finished.
 * L4 The thread that calls loop_create is the one that calls everything else; create after fork.
 */
#ifndef FIRN_LOOP_LOOP_H
#define FIRN_LOOP_LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"

struct loop;
struct loop_socket; /* a descriptor known to the loop */
struct loop_timer;

enum loop_backend { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };

/* FIRN_EUNSUPPORTED: LOOP_URING asked for and forbidden here; LOOP_AUTO falls back to epoll. FIRN_ESYSTEM: no
 * descriptors. */
FIRN_MUST_USE int loop_create(enum loop_backend backend, struct loop **loop_out);
/* Sockets still open are closed without callbacks, sockets being closed with theirs. NULL is a no-op. Not
 * from a callback. */
void loop_destroy(struct loop *loop);
const char *loop_backend_name(const struct loop *loop); /* "io_uring" or "epoll" */

/* Run turns until loop_stop. Before each sleep ${before_sleep}(ctx) is called: nonzero means do not sleep
 * this time. clock_update is called in every turn after the sleep. */
void loop_run(struct loop *loop, int (*before_sleep)(void *ctx), void *ctx);
void loop_stop(struct loop *loop);
/* Within ${before_sleep}, which takes long: take the events that are there, without sleeping. */
void loop_poll(struct loop *loop);
/* Make loop_run go round once more; any thread, async-signal-safe. */
void loop_wake(struct loop *loop);
/* An eventfd that does what loop_wake does when it is signaled, for the kernel to signal. The loop's: not to
 * be closed or read. */
int loop_wake_descriptor(const struct loop *loop);
/* Called in the loop thread after a loop_wake. */
void loop_on_wake(struct loop *loop, void (*callback)(void *ctx), void *ctx);
/*
 * Whether many busy sockets may share one wake-up (default 1): then a sleep goes on for up to 100
 * microseconds after the first event while traffic comes from many sockets at a high rate. Switch it off
 * while something waits for another thread (a read from a tier). io_uring only.
 */
void loop_set_coalescing(struct loop *loop, int on);

/* Accept on listening ${fd} until closed: callback per connection (fd >= 0, non-blocking, close-on-exec; the
 * callee owns it), or a negative errno (transient: keeps accepting, after a pause when descriptors ran out).
 * The caller keeps ${fd} until loop_socket_close. */
struct loop_socket *loop_accept(struct loop *loop, int fd, void (*callback)(int fd_or_errno, void *ctx),
                                void *ctx);

/* Take a connected non-blocking ${fd}; the loop closes it. */
struct loop_socket *loop_socket_create(struct loop *loop, int fd, void *ctx);

/* For an owner that is created after its socket. Before anything is started. */
void loop_socket_set_context(struct loop_socket *socket, void *ctx);

struct loop_receiver {
    /* ${data} is valid for the call only. Size 0: end of stream; negative errno: broken. Nothing comes after
     * these two. */
    void (*received)(void *ctx, const uint8_t *data, ssize_t size_or_errno);
    /* May be NULL. Give memory to receive the next bytes into directly (received then gets that memory); 0 to
     * use the loop's buffer. */
    size_t (*into)(void *ctx, uint8_t **memory_out);
    /* May be NULL. The other side has ended or the connection broke while receiving was paused (it may have
     * sent more before; started again, receiving goes on as usual). */
    void (*ended)(void *ctx);
};
/* Receive until paused or closed. Starting again after a pause is cheap; so is pausing. ${receiver} must stay
 * valid. */
void loop_receive_start(struct loop_socket *socket, const struct loop_receiver *receiver);
void loop_receive_pause(struct loop_socket *socket);
/* Whether the other side is known to have ended. */
int loop_receive_ended(const struct loop_socket *socket);
/*
 * Send all of ${parts} (1..LOOP_SEND_PARTS_MAX). Returns their size if that was possible at once (no callback
 * comes); 0 if the socket is full: the loop goes on and calls ${callback} with the size or a negative errno
 * when it is through (parts and memory stay valid until then); a negative errno if the socket is broken (no
 * callback). One send at a time per socket.
 */
#define LOOP_SEND_PARTS_MAX 64u
ssize_t loop_send(struct loop_socket *socket, const struct iovec *parts, unsigned count,
                  void (*callback)(void *ctx, ssize_t bytes_or_errno));
/* Bytes of the running send that the kernel has taken so far. */
size_t loop_send_progress(const struct loop_socket *socket);
/* Close at the end of the turn: a send in flight is cancelled (L1), then the descriptor is closed and
 * ${closed}(ctx) (may be NULL) called once. The socket must not be used any more. For listening sockets too.
 */
void loop_socket_close(struct loop_socket *socket, void (*closed)(void *ctx));
int loop_socket_descriptor(const struct loop_socket *socket);

/* Timers, millisecond resolution. Callback returns ms until the next call, or -1 to end (the timer is then
 * freed). */
struct loop_timer *loop_timer_create(struct loop *loop, int64_t first_ms, int64_t (*callback)(void *ctx),
                                     void *ctx);
/* Not from within its own callback (return -1 there). NULL is a no-op. */
void loop_timer_destroy(struct loop_timer *timer);

struct loop_stats {
    uint64_t turns, sleeps, system_calls, busy_us;
};
void loop_stats(const struct loop *loop, struct loop_stats *stats_out);

#endif
