/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_loop firn_base */
/* Goal: the loop's contracts on both backends. Method: socket pairs driven from timers inside one loop_run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault_point.h"
#include "loop/loop.h"

static enum loop_backend backend;
static struct loop *loop;

static int setup(void **state) {
    (void)state;
    fault_point_reset();
    assert_int_equal(loop_create(backend, &loop), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fault_point_reset();
    loop_destroy(loop);
    return 0;
}

static int64_t stop_later(void *ctx) {
    (void)ctx;
    loop_stop(loop);
    return -1;
}

static void run_for(int64_t ms) {
    loop_timer_create(loop, ms, stop_later, NULL);
    loop_run(loop, NULL, NULL);
}

/* Run until ${*count} reaches ${goal}, for a few seconds at most. */
static void run_until(const size_t *count, size_t goal) {
    for (int i = 0; i < 1000 && *count < goal; i++)
        run_for(5);
    assert_int_equal(*count, goal);
}

static void make_pair(int pair[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

/* --- creation --- */

static void test_fallback(void **state) {
    (void)state;
    struct loop *other;
    fault_point_arm(FAULT_LOOP_URING_SETUP, 0, UINT64_MAX);
    assert_int_equal(loop_create(LOOP_URING, &other), FIRN_EUNSUPPORTED);
    assert_null(other);
    assert_int_equal(loop_create(LOOP_AUTO, &other), 0);
    assert_string_equal(loop_backend_name(other), "epoll");
    loop_destroy(other);
    loop_destroy(NULL);
}

/* --- timers --- */

static char order[64];

static void note(char c) {
    size_t size = strlen(order);
    order[size] = c;
    order[size + 1] = 0;
}

static int64_t note_a(void *ctx) {
    (void)ctx;
    note('a');
    return strlen(order) < 6 ? 10 : -1;
}

static int64_t note_b(void *ctx) {
    note(ctx ? *(const char *)ctx : 'b');
    return -1;
}

static void test_timers(void **state) {
    (void)state;
    order[0] = 0;
    loop_timer_create(loop, 25, note_b, NULL);
    loop_timer_create(loop, 0, note_a, NULL);
    struct loop_timer *never = loop_timer_create(loop, 15, note_b, "X");
    loop_timer_create(loop, 45, note_b, "c");
    loop_timer_destroy(never);
    loop_timer_destroy(NULL);
    int64_t start_us = clock_monotonic_us();
    run_for(120);
    int64_t took_us = clock_monotonic_us() - start_us;
    assert_true(took_us >= 119000);
    assert_true(strlen(order) >= 6 &&
                strlen(order) <= 7); /* the last 'a' is before or after 'c' on a slow machine */
    assert_null(strchr(order, 'X'));
    assert_true(strchr(order, 'b') < strchr(order, 'c'));
    struct loop_stats stats;
    loop_stats(loop, &stats);
    assert_true(stats.turns < 50); /* it slept */
    assert_true(stats.busy_us < 60000);
}

static void test_many_timers(void **state) {
    (void)state;
    static struct loop_timer *timers[500];
    order[0] = 0;
    for (int i = 0; i < 500; i++)
        timers[i] = loop_timer_create(loop, 1000 + i * 7919 % 500, note_b, "!");
    for (int i = 0; i < 500; i++)
        loop_timer_destroy(timers[i * 7 % 500]);
    run_for(5);
    assert_string_equal(order, "");
}

/* --- wake --- */

static int woken, to_wake;

static void on_wake(void *ctx) {
    (void)ctx;
    woken++;
    if (__atomic_load_n(&to_wake, __ATOMIC_ACQUIRE) == 1000) loop_stop(loop);
}

static void *wake_often(void *ctx) {
    (void)ctx;
    for (int i = 0; i < 1000; i++) {
        __atomic_fetch_add(&to_wake, 1, __ATOMIC_RELEASE);
        loop_wake(loop);
        if (i % 100 == 0) usleep(1000);
    }
    return NULL;
}

static void test_wake(void **state) {
    (void)state;
    pthread_t thread;
    woken = to_wake = 0;
    loop_on_wake(loop, on_wake, NULL);
    pthread_create(&thread, NULL, wake_often, NULL);
    loop_run(loop, NULL, NULL);
    pthread_join(thread, NULL);
    assert_true(woken >= 2 && woken <= 1000);
}

static int turns_left;

static int busy(void *ctx) {
    (void)ctx;
    if (--turns_left == 0) loop_stop(loop);
    return 1;
}

static void test_before_sleep(void **state) {
    (void)state;
    struct loop_stats stats;
    turns_left = 100;
    loop_run(loop, busy, NULL);
    loop_stats(loop, &stats);
    assert_int_equal(stats.sleeps, 0);
    assert_int_equal(stats.turns, 100);
}

/* --- sockets --- */

struct peer {
    struct loop_socket *socket;
    size_t received, calls, sent_callbacks, closed;
    ssize_t last, sent;
    int pause_after;
    uint8_t own[10000];
    int use_own;
};

static void received(void *ctx, const uint8_t *data, ssize_t size) {
    struct peer *peer = ctx;
    peer->calls++;
    peer->last = size;
    if (size <= 0) return;
    if (peer->use_own) assert_ptr_equal(data, peer->own);
    for (ssize_t i = 0; i < size; i++)
        assert_int_equal(data[i], (uint8_t)(peer->received + (size_t)i));
    peer->received += (size_t)size;
    if (peer->pause_after && --peer->pause_after == 0) loop_receive_pause(peer->socket);
}

static size_t into(void *ctx, uint8_t **memory_out) {
    struct peer *peer = ctx;
    *memory_out = peer->own;
    return peer->use_own ? sizeof peer->own : 0;
}

static const struct loop_receiver receiver = {received, into, NULL};

static void sent(void *ctx, ssize_t bytes) {
    struct peer *peer = ctx;
    peer->sent_callbacks++;
    peer->sent = bytes;
}

static void closed(void *ctx) {
    struct peer *peer = ctx;
    peer->closed++;
}

static uint8_t *pattern(size_t size) {
    uint8_t *data = malloc(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)i;
    return data;
}

static void write_all(int fd, const void *data, size_t size) {
    assert_int_equal(write(fd, data, size), (ssize_t)size);
}

static void receive_case(int use_own) {
    int pair[2];
    struct peer peer = {.use_own = use_own};
    uint8_t *data = pattern(150000);
    make_pair(pair);
    peer.socket = loop_socket_create(loop, pair[0], &peer);
    assert_int_equal(loop_socket_descriptor(peer.socket), pair[0]);
    write_all(pair[1], data, 150000); /* before start, and more than one buffer */
    loop_receive_start(peer.socket, &receiver);
    run_for(10);
    assert_int_equal(peer.received, 150000);
    /* paused: nothing comes; started again: what came meanwhile */
    peer.pause_after = 1;
    data[0] = (uint8_t)150000;
    write_all(pair[1], data, 1);
    run_for(5);
    assert_int_equal(peer.received, 150001);
    data[0] = (uint8_t)150001;
    write_all(pair[1], data, 1);
    run_for(5);
    assert_int_equal(peer.received, 150001);
    loop_receive_start(peer.socket, &receiver);
    run_for(5);
    assert_int_equal(peer.received, 150002);
    /* end of stream right behind data */
    data[0] = (uint8_t)150002;
    write_all(pair[1], data, 1);
    close(pair[1]);
    run_for(10);
    assert_int_equal(peer.received, 150003);
    assert_int_equal(peer.last, 0);
    size_t calls = peer.calls;
    run_for(5);
    assert_int_equal(peer.calls, calls);
    loop_socket_close(peer.socket, closed);
    run_for(5);
    assert_int_equal(peer.closed, 1);
    free(data);
}

static void test_receive(void **state) {
    (void)state;
    receive_case(0);
    receive_case(1);
}

static size_t drained;
static uint8_t *drain_expect;

static int64_t drain_some(void *ctx) {
    static uint8_t buffer[300000];
    int fd = *(int *)ctx;
    ssize_t got = read(fd, buffer, sizeof buffer);
    if (got > 0) {
        assert_memory_equal(buffer, drain_expect + drained, (size_t)got);
        drained += (size_t)got;
    }
    return 1;
}

static void test_send(void **state) {
    (void)state;
    int pair[2];
    struct peer peer = {0};
    size_t size = 8u << 20;
    uint8_t *data = drain_expect = pattern(size);
    make_pair(pair);
    peer.socket = loop_socket_create(loop, pair[0], &peer);
    struct iovec parts[40];
    for (size_t i = 0; i < 40; i++)
        parts[i] = (struct iovec){data + i * (size / 40), size / 40};
    parts[39].iov_len = size - 39 * (size / 40);
    assert_int_equal(loop_send(peer.socket, parts, 10, sent), 0); /* does not fit at once */
    assert_true(loop_send_progress(peer.socket) > 0);
    drained = 0;
    struct loop_timer *timer = loop_timer_create(loop, 1, drain_some, &pair[1]);
    run_until(&peer.sent_callbacks, 1);
    run_until(&drained, (size_t)peer.sent);
    assert_int_equal(peer.sent, 10 * parts[0].iov_len);
    assert_int_equal(drained, 10 * parts[0].iov_len);
    assert_int_equal(loop_send(peer.socket, parts + 10, 30, sent), 0);
    run_until(&peer.sent_callbacks, 2);
    run_until(&drained, size);
    /* small: at once */
    assert_int_equal(loop_send(peer.socket, &(struct iovec){data, 10}, 1, sent), 10);
    assert_int_equal(loop_send_progress(peer.socket), 0);
    loop_timer_destroy(timer);
    /* closing cancels */
    assert_int_equal(loop_send(peer.socket, parts, 40, sent), 0);
    loop_socket_close(peer.socket, closed);
    assert_int_equal(peer.sent_callbacks, 2); /* L2 */
    run_for(5);
    assert_int_equal(peer.sent_callbacks, 3);
    assert_int_equal(peer.sent, -ECANCELED);
    assert_int_equal(peer.closed, 1);
    close(pair[1]);
    free(data);
}

static void test_send_to_nobody(void **state) {
    (void)state;
    int pair[2];
    struct peer peer = {0};
    uint8_t *data = pattern(1u << 20);
    make_pair(pair);
    peer.socket = loop_socket_create(loop, pair[0], &peer);
    assert_int_equal(loop_send(peer.socket, &(struct iovec){data, 1u << 20}, 1, sent), 0);
    close(pair[1]);
    run_for(10);
    assert_int_equal(peer.sent_callbacks, 1);
    assert_true(peer.sent == -EPIPE || peer.sent == -ECONNRESET);
    assert_true(loop_send(peer.socket, &(struct iovec){data, 10}, 1, sent) < 0);
    loop_socket_close(peer.socket, NULL);
    run_for(5);
    free(data);
}

static void close_in_callback(void *ctx, const uint8_t *data, ssize_t size) {
    struct peer *peer = ctx;
    (void)data;
    (void)size;
    peer->calls++;
    loop_socket_close(peer->socket, closed);
}

static void test_close_in_callback(void **state) {
    (void)state;
    static const struct loop_receiver closer = {close_in_callback, NULL, NULL};
    for (int i = 0; i < 20; i++) {
        int pair[2];
        struct peer peer = {0};
        make_pair(pair);
        peer.socket = loop_socket_create(loop, pair[0], &peer);
        loop_receive_start(peer.socket, &closer);
        write_all(pair[1], "xy", 2);
        if (i % 2) close(pair[1]);
        run_for(2);
        assert_int_equal(peer.calls, 1);
        assert_int_equal(peer.closed, 1);
        if (i % 2 == 0) close(pair[1]);
    }
}

static void test_faults(void **state) {
    (void)state;
    int pair[2];
    struct peer peer = {0};
    make_pair(pair);
    peer.socket = loop_socket_create(loop, pair[0], &peer);
    fault_point_arm(FAULT_LOOP_SEND, 0, 1);
    assert_int_equal(loop_send(peer.socket, &(struct iovec){"x", 1}, 1, sent), -EPIPE);
    fault_point_arm(FAULT_LOOP_RECV, 0, 1);
    loop_receive_start(peer.socket, &receiver);
    write_all(pair[1], "\0", 1);
    run_for(5);
    assert_int_equal(peer.last, -ECONNRESET);
    loop_socket_close(peer.socket, NULL);
    run_for(2);
    close(pair[1]);
}

/* --- accept --- */

static int accepted_fds[2000], accepted_count, accept_errors;

static void accepted(int fd, void *ctx) {
    (void)ctx;
    if (fd < 0)
        accept_errors++;
    else
        accepted_fds[accepted_count++] = fd;
}

static void test_accept(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), clients[1200];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 2000), 0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    accepted_count = accept_errors = 0;
    struct loop_socket *socket_of_listener = NULL;
    for (int i = 0; i < 1200; i++) {
        /* the first ones before the loop knows the listener; a failure in between */
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&address, sizeof address), 0);
        if (i == 4) socket_of_listener = loop_accept(loop, listener, accepted, NULL);
        if (i == 10) fault_point_arm(FAULT_LOOP_ACCEPT, 1, 2);
        if (i % 400 == 0) run_for(2);
    }
    run_for(60);
    assert_int_equal(accepted_count, 1200);
    assert_int_equal(accept_errors, 2);
    loop_socket_close(socket_of_listener, NULL);
    run_for(2);
    close(listener);
    for (int i = 0; i < 1200; i++) {
        close(clients[i]);
        close(accepted_fds[i]);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_fallback),          CASE(test_timers),  CASE(test_many_timers), CASE(test_wake),
        CASE(test_before_sleep),      CASE(test_receive), CASE(test_send),        CASE(test_send_to_nobody),
        CASE(test_close_in_callback), CASE(test_faults),  CASE(test_accept),
    };
    int failed = 0;
    backend = LOOP_EPOLL;
    failed += cmocka_run_group_tests_name("epoll", tests, NULL, NULL);
    backend = LOOP_URING;
    if (loop_create(LOOP_URING, &loop) == 0) {
        loop_destroy(loop);
        failed += cmocka_run_group_tests_name("io_uring", tests, NULL, NULL);
    } else {
        print_message("io_uring is forbidden here, only epoll was tested\n");
    }
    return failed;
}
