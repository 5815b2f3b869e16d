/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_net firn_proto firn_loop firn_base */
/*
 * Goal: connections behave like Redis's, on both backends. Method: the server runs in a thread with a
 * stand-in for commands (PING, ECHO, LEN, BIG, PARK...), the test talks to it through blocking sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "loop/loop.h"
#include "net/net.h"

#ifdef FIRN_SANITIZED
#define HUGE_BYTES ((size_t)64 << 20)
#else
#define HUGE_BYTES ((size_t)512 << 20)
#endif

static enum loop_backend backend;
static struct loop *loop;
static pthread_t thread;
static pthread_barrier_t started;
static int start_error;
static unsigned port;
static char socket_path[64];

/* --- the server's side --- */

static uint64_t looked_ahead;
static const char *refusal;

static int64_t integer(struct bytes text) {
    char copy[32] = {0};
    memcpy(copy, text.data, text.size < 31 ? text.size : 31);
    return strtoll(copy, NULL, 10);
}

static int64_t unpark(void *ctx) {
    struct client *client = client_by_id((uint64_t)(uintptr_t)ctx);
    if (client) client_resume(client);
    return -1;
}

/* PARK n: parks n times, a millisecond each. */
static int park(struct client *client, int64_t times) {
    if (client->parked < times) {
        client->parked++;
        loop_timer_create(loop, 1, unpark, (void *)(uintptr_t)client->id);
        return 1;
    }
    client->parked = 0;
    reply_status(&client->reply, "PARKED");
    return 0;
}

static void reply_memory(struct client *client) {
    struct client_memory memory;
    client_memory(client, &memory);
    reply_bulk_format(&client->reply, "%zu %zu %zu", memory.query_bytes, memory.query_free, memory.total);
}

static int execute(struct client *client) {
    const struct bytes *argv = client->request.argv;
    struct reply *reply = &client->reply;
    if (bytes_is(argv[0], "PING")) {
        reply_status(reply, "PONG");
    } else if (bytes_is(argv[0], "ECHO")) {
        reply_bulk(reply, argv[1]);
    } else if (bytes_is(argv[0], "LEN")) {
        reply_integer(reply, (int64_t)argv[1].size);
    } else if (bytes_is(argv[0], "BIG")) {
        char *text = calloc(1, (size_t)integer(argv[1]));
        reply_bulk(reply, bytes_of(text, (size_t)integer(argv[1])));
        free(text);
    } else if (bytes_is(argv[0], "PARK")) {
        return park(client, integer(argv[1]));
    } else if (bytes_is(argv[0], "RESUMED")) { /* resumed before it is parked */
        if (client->parked++ == 0) {
            client_resume(client);
            return 1;
        }
        client->parked = 0;
        reply_ok(reply);
    } else if (bytes_is(argv[0], "LOOKED")) {
        reply_integer(reply, (int64_t)looked_ahead);
    } else if (bytes_is(argv[0], "MEM")) {
        reply_memory(client);
    } else if (bytes_is(argv[0], "COUNT")) {
        reply_integer(reply, (int64_t)client_count());
    } else if (bytes_is(argv[0], "QUIT")) {
        reply_ok(reply);
        client_close_later(client, 1);
    } else if (bytes_is(argv[0], "DIE")) {
        client_close_later(client, 0);
    } else if (bytes_is(argv[0], "KILL")) { /* the oldest other client */
        struct client *other = client_first() == client ? client->next : client_first();
        client_close_later(other, 0);
        reply_ok(reply);
    } else if (bytes_is(argv[0], "WHO")) {
        char address[128];
        client_address(client, address, sizeof address);
        reply_bulk_text(reply, address);
    } else {
        reply_error(reply, "unknown command");
    }
    return 0;
}

static void look_ahead(struct client *client, const struct bytes *argv, size_t argc) {
    (void)client;
    if (argc > 0 && argv[0].size > 0) looked_ahead++;
}

static uint64_t prefetched;

static void prefetch(struct client *client, const struct bytes *keys, unsigned count) {
    (void)client;
    for (unsigned i = 0; i < count; i++)
        prefetched += keys[i].size > 0 ? keys[i].data[0] : 1;
}

static void connected(struct client *client) {
    client->flags |= CLIENT_AUTHENTICATED;
}

static const char *refuse(struct client *client) {
    (void)client;
    return refusal;
}

static int turn(void *ctx) {
    (void)ctx;
    return net_turn();
}

static int64_t cron(void *ctx) {
    (void)ctx;
    net_cron();
    return 20;
}

/* The test's way to touch the server: ${call} runs in its thread. */
static pthread_mutex_t call_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t call_done = PTHREAD_COND_INITIALIZER;
static void (*call)(void *ctx);
static void *call_ctx;

static void run_call(void *ctx) {
    (void)ctx;
    pthread_mutex_lock(&call_lock);
    if (call) call(call_ctx);
    call = NULL;
    pthread_cond_signal(&call_done);
    pthread_mutex_unlock(&call_lock);
}

static void in_server(void (*function)(void *ctx), void *ctx) {
    pthread_mutex_lock(&call_lock);
    call = function;
    call_ctx = ctx;
    loop_wake(loop);
    while (call)
        pthread_cond_wait(&call_done, &call_lock);
    pthread_mutex_unlock(&call_lock);
}

static void stop_server(void *ctx) {
    (void)ctx;
    loop_stop(loop);
}

static void set_config(void *ctx) {
    net_config = *(const struct net_config *)ctx;
}

static void set_refusal(void *ctx) {
    refusal = ctx;
}

static void get_stats(void *ctx) {
    *(struct net_stats *)ctx = net_stats;
}

static void *serve(void *ctx) {
    static const struct client_hooks hooks = {.execute = execute,
                                              .look_ahead = look_ahead,
                                              .prefetch = prefetch,
                                              .connected = connected,
                                              .refuse = refuse};
    (void)ctx;
    start_error = loop_create(backend, &loop);
    if (start_error == 0) start_error = net_start(loop, &hooks);
    pthread_barrier_wait(&started);
    if (start_error != 0) return NULL;
    loop_timer_create(loop, 20, cron, NULL);
    loop_on_wake(loop, run_call, NULL);
    loop_run(loop, turn, NULL);
    net_stop();
    loop_destroy(loop);
    return NULL;
}

static void set_defaults(void) {
    static unsigned next_port = 21000;
    net_config.port = port = 20000 + (next_port++ + (unsigned)getpid() * 7) % 10000;
    net_config.bind_count = 2;
    snprintf(net_config.bind[0], sizeof net_config.bind[0], "127.0.0.1");
    snprintf(net_config.bind[1], sizeof net_config.bind[1], "-2001:db8::1"); /* not here, and may fail */
    snprintf(socket_path, sizeof socket_path, "/tmp/firn-test-net.%d", (int)getpid());
    snprintf(net_config.unixsocket, sizeof net_config.unixsocket, "%s", socket_path);
    net_config.maxclients = 4000;
    net_config.timeout_seconds = 0;
    net_config.client_query_buffer_limit = 1u << 30;
    net_config.maxmemory_clients = 0;
    memset(&net_config.output_limit[CLIENT_CLASS_NORMAL], 0, sizeof net_config.output_limit[0]);
    memset(&net_stats, 0, sizeof net_stats);
    looked_ahead = 0;
    refusal = NULL;
}

static void start_server(void) {
    pthread_barrier_init(&started, NULL, 2);
    pthread_create(&thread, NULL, serve, NULL);
    pthread_barrier_wait(&started);
    assert_int_equal(start_error, 0);
}

static int setup(void **state) {
    (void)state;
    log_set_level(LOG_LEVEL_NOTHING);
    fault_point_reset();
    set_defaults();
    if (*state == NULL) start_server();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    fault_point_reset();
    in_server(stop_server, NULL);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&started);
    unlink(socket_path);
    assert_int_equal(client_count(), 0);
    assert_int_equal(net_clients_memory(), 0);
    assert_int_equal(net_stats.parked, 0);
    return 0;
}

/* --- the client's side --- */

static int try_connect(void) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

static int open_client(void) {
    int fd = try_connect();
    assert_true(fd >= 0);
    return fd;
}

/* recv(2) that is not interrupted (a ring that was destroyed in this thread does that). */
static ssize_t receive(int fd, void *buffer, size_t size) {
    ssize_t got;
    do {
        got = recv(fd, buffer, size, 0);
    } while (got < 0 && errno == EINTR);
    return got;
}

static void send_all(int fd, const void *data, size_t size) {
    const char *from = data;
    while (size > 0) {
        ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
        assert_true(sent > 0);
        from += sent;
        size -= (size_t)sent;
    }
}

static void send_text(int fd, const char *text) {
    send_all(fd, text, strlen(text));
}

static void expect(int fd, const char *text) {
    char buffer[4096];
    size_t size = strlen(text), at = 0;
    while (at < size) {
        ssize_t got = receive(fd, buffer + at, size - at);
        if (got <= 0) fail_msg("wanted '%s', got %zd (%s) after %zu bytes", text, got, strerror(errno), at);
        at += (size_t)got;
    }
    buffer[size] = 0;
    assert_string_equal(buffer, text);
}

static void expect_bytes(int fd, size_t size) {
    static char buffer[1 << 16];
    while (size > 0) {
        ssize_t got = receive(fd, buffer, size < sizeof buffer ? size : sizeof buffer);
        if (got <= 0) fail_msg("%zu more bytes wanted, got %zd (%s)", size, got, strerror(errno));
        size -= (size_t)got;
    }
}

static void expect_end(int fd) {
    char c;
    ssize_t got = receive(fd, &c, 1);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
    close(fd);
}

static int64_t ask(const char *command) {
    int fd = open_client();
    char buffer[64] = {0};
    send_text(fd, command);
    send_text(fd, "\r\n");
    for (size_t at = 0; at < sizeof buffer - 1 && !strchr(buffer, '\n');) {
        ssize_t got = receive(fd, buffer + at, sizeof buffer - 1 - at);
        assert_true(got > 0);
        at += (size_t)got;
    }
    close(fd);
    return strtoll(buffer + 1, NULL, 10);
}

/* --- cases --- */

static void test_basics(void **state) {
    (void)state;
    int fd = open_client();
    send_text(fd, "PING\r\n");
    expect(fd, "+PONG\r\n");
    send_text(fd,
              "\r\n*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\nECHO \"a b\"\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\nfoo\r\n");
    expect(fd, "+PONG\r\n$3\r\na b\r\n$0\r\n\r\n-ERR unknown command\r\n");
    send_text(fd, "QUIT\r\nPING\r\n");
    expect(fd, "+OK\r\n");
    expect_end(fd);
    fd = open_client();
    send_text(fd, "DIE\r\nPING\r\n");
    expect_end(fd);
    fd = open_client();
    send_text(fd, "PING\r\nset \"x\r\nPING\r\n");
    expect(fd, "+PONG\r\n-ERR Protocol error: unbalanced quotes in request\r\n");
    expect_end(fd);
}

/* One stream of commands, cut in every possible way. */
static void test_cuts(void **state) {
    (void)state;
    static const char wire[] =
        "*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\nPING\r\n*1\r\n$4\r\nPING\r\nECHO 'x "
        "y'\r\n*2\r\n$4\r\nPARK\r\n$1\r\n2\r\n*1\r\n$4\r\nPING\r\n";
    static const char answer[] = "$5\r\nhello\r\n+PONG\r\n+PONG\r\n$3\r\nx y\r\n+PARKED\r\n+PONG\r\n";
    size_t size = sizeof wire - 1;
    int fd = open_client();
    for (size_t cut = 1; cut < size; cut++) {
        send_all(fd, wire, cut);
        if (cut % 7 == 0) usleep(500);
        send_all(fd, wire + cut, size - cut);
        expect(fd, answer);
    }
    for (size_t i = 0; i < size; i++) {
        send_all(fd, wire + i, 1);
        if (i % 5 == 0) usleep(200);
    }
    expect(fd, answer);
    close(fd);
}

static void *read_pongs(void *ctx) {
    int fd = *(int *)ctx;
    expect_bytes(fd, 300000 * 7);
    return NULL;
}

static void test_huge_pipeline(void **state) {
    (void)state;
    size_t count = 300000;
    char *wire = malloc(count * 14);
    pthread_t reader;
    int fd = open_client();
    for (size_t i = 0; i < count; i++)
        memcpy(wire + i * 14, "*1\r\n$4\r\nPING\r\n", 14);
    pthread_create(&reader, NULL, read_pongs, &fd);
    send_all(fd, wire, count * 14);
    pthread_join(reader, NULL);
    /* the same without reading first: replies pile up in the server */
    send_all(fd, wire, count * 14);
    expect_bytes(fd, count * 7);
    close(fd);
    free(wire);
}

static void test_bulks(void **state) {
    (void)state;
    static const size_t sizes[] = {100,   16000,  16384,   32767,    32768,     65536,
                                   70000, 400000, 5000000, 40000000, HUGE_BYTES};
    int fd = open_client();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char header[64], answer[64];
        size_t size = sizes[i];
        char *value = calloc(1, size + 2);
        memset(value, 'a' + (int)i, size < 100 ? size : 100);
        int header_size = snprintf(header, sizeof header, "*2\r\n$3\r\nLEN\r\n$%zu\r\n", size);
        send_all(fd, header, (size_t)header_size);
        send_all(fd, value, size + 2);
        send_text(fd, "PING\r\n");
        snprintf(answer, sizeof answer, ":%zu\r\n+PONG\r\n", size);
        expect(fd, answer);
        free(value);
    }
    send_text(fd, "*2\r\n$3\r\nLEN\r\n$536870913\r\n");
    expect(fd, "-ERR Protocol error: invalid bulk length\r\n");
    expect_end(fd);
}

static void test_big_replies(void **state) {
    (void)state;
    int fd = open_client();
    for (int i = 0; i < 3; i++) {
        send_text(fd, "BIG 30000000\r\nPING\r\n");
        if (i == 1) usleep(50000); /* a slow reader */
        expect(fd, "$30000000\r\n");
        expect_bytes(fd, 30000000);
        expect(fd, "\r\n+PONG\r\n");
    }
    close(fd);
    /* leaves in the middle */
    fd = open_client();
    send_text(fd, "BIG 30000000\r\n");
    expect(fd, "$30000000\r\n");
    struct linger hard = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    assert_true(ask("COUNT") <= 2);
}

static void test_half_close(void **state) {
    (void)state;
    static const char *const wires[] = {"PING\r\n", "PARK 3\r\n", "PARK 3\r\nPING\r\n",
                                        "PING\r\nECHO incompl"};
    static const char *const answers[] = {"+PONG\r\n", "+PARKED\r\n", "+PARKED\r\n+PONG\r\n", "+PONG\r\n"};
    for (int i = 0; i < 4; i++) {
        int fd = open_client();
        send_text(fd, wires[i]);
        shutdown(fd, SHUT_WR);
        expect(fd, answers[i]);
        expect_end(fd);
    }
    int fd = open_client();
    send_text(fd, "BIG 20000000\r\n");
    shutdown(fd, SHUT_WR);
    expect(fd, "$20000000\r\n");
    expect_bytes(fd, 20000002);
    expect_end(fd);
}

static void test_park(void **state) {
    (void)state;
    int fd = open_client(), other = open_client();
    send_text(fd, "PARK 20\r\nECHO 1\r\nPARK 1\r\nECHO 2\r\n*2\r\n$4\r\nECHO\r\n$1\r\n");
    send_text(other, "PING\r\n");
    expect(other, "+PONG\r\n"); /* others run meanwhile */
    send_text(fd, "3\r\n");
    expect(fd, "+PARKED\r\n$1\r\n1\r\n+PARKED\r\n$1\r\n2\r\n$1\r\n3\r\n");
    send_text(fd, "RESUMED\r\nPING\r\n");
    expect(fd, "+OK\r\n+PONG\r\n");
    assert_int_equal(ask("LOOKED"),
                     3 + 1); /* ECHO, PARK, ECHO behind the first (each once), PING behind RESUMED */
    /* killed while parked; gone while parked */
    send_text(other, "PARK 1000000\r\n");
    usleep(20000);
    close(fd);
    usleep(20000);
    fd = open_client();
    send_text(fd, "KILL\r\n");
    expect(fd, "+OK\r\n");
    expect_end(other);
    close(fd);
}

static void test_unix_socket(void **state) {
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char answer[128];
    memcpy(address.sun_path, socket_path, strlen(socket_path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    send_text(fd, "WHO\r\n");
    snprintf(answer, sizeof answer, "$%zu\r\n%s:0\r\n", strlen(socket_path) + 2, socket_path);
    expect(fd, answer);
    close(fd);
}

static void test_refusals(void **state) {
    (void)state;
    int fds[3];
    struct net_config config = net_config;
    struct net_stats stats;
    for (int i = 0; i < 3; i++) {
        fds[i] = open_client();
        send_text(fds[i], "PING\r\n");
        expect(fds[i], "+PONG\r\n");
    }
    config.maxclients = 3;
    in_server(set_config, &config);
    int fd = open_client();
    expect(fd, "-ERR max number of clients reached\r\n");
    expect_end(fd);
    config.maxclients = 100;
    in_server(set_config, &config);
    in_server(set_refusal, "-DENIED not you");
    fd = open_client();
    expect(fd, "-DENIED not you\r\n");
    expect_end(fd);
    in_server(set_refusal, NULL);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    in_server(get_stats, &stats);
    assert_int_equal(stats.rejected_connections, 2);
}

static void test_limits(void **state) {
    (void)state;
    char *much = calloc(1, 1 << 20);
    struct net_config config = net_config;
    struct net_stats stats;
    config.client_query_buffer_limit = 1 << 19;
    in_server(set_config, &config);
    int fd = open_client();
    send_text(fd, "*2\r\n$3\r\nLEN\r\n$2000000\r\n");
    (void)!send(fd, much, 1 << 20, MSG_NOSIGNAL);
    expect_end(fd);
    config.client_query_buffer_limit = 1 << 30;
    in_server(set_config, &config);
    config.output_limit[CLIENT_CLASS_NORMAL].hard_bytes = 1 << 20;
    in_server(set_config, &config);
    fd = open_client();
    send_text(fd, "BIG 100000\r\n");
    expect_bytes(fd, 9 + 100002);
    send_text(fd, "BIG 100000000\r\n");
    expect_end(fd);
    config.output_limit[CLIENT_CLASS_NORMAL].hard_bytes = 0;
    in_server(set_config, &config);
    config.timeout_seconds = 1;
    in_server(set_config, &config);
    fd = open_client();
    expect_end(fd);
    config.timeout_seconds = 0;
    in_server(set_config, &config);
    config.maxmemory_clients = 1 << 20;
    in_server(set_config, &config);
    fd = open_client();
    send_text(fd, "*2\r\n$3\r\nLEN\r\n$2000000\r\n");
    (void)!send(fd, much, 1 << 20, MSG_NOSIGNAL);
    expect_end(fd);
    in_server(get_stats, &stats);
    assert_int_equal(stats.evicted_clients, 1);
    assert_int_equal(stats.query_limit_disconnections, 1);
    assert_int_equal(stats.output_limit_disconnections, 1);
    free(much);
}

static void test_query_memory(void **state) {
    (void)state;
    char *value = calloc(1, 400002);
    int fd = open_client();
    send_text(fd, "*2\r\n$3\r\nLEN\r\n$400000\r\n");
    send_all(fd, value, 400002);
    expect(fd, ":400000\r\n");
    /* shrinks while busy */
    size_t total = 0;
    for (int i = 0; i < 100; i++) {
        char text[64] = {0};
        size_t bytes, free_bytes;
        send_text(fd, "MEM\r\n");
        assert_true(receive(fd, text, sizeof text - 1) > 6);
        assert_int_equal(sscanf(strchr(text, '\n'), "%zu %zu %zu", &bytes, &free_bytes, &total), 3);
        if (bytes + free_bytes < 40000) {
            assert_true(bytes + free_bytes >= 16384);
            break;
        }
        usleep(10000);
    }
    assert_true(total < 100000);
    close(fd);
    free(value);
}

static void test_many_clients(void **state) {
    (void)state;
    static int fds[3000];
    for (int i = 0; i < 3000; i++)
        fds[i] = open_client();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3000; i++)
            send_text(fds[i], "PING\r\nECHO x\r\n");
        for (int i = 0; i < 3000; i++)
            expect(fds[i], "+PONG\r\n$1\r\nx\r\n");
    }
    assert_int_equal(ask("COUNT"), 3001);
    for (int i = 0; i < 3000; i++)
        close(fds[i]);
    for (int i = 0; i < 100 && ask("COUNT") > 1; i++)
        usleep(10000);
    assert_int_equal(ask("COUNT"), 1);
}

/* Random commands from several clients, checked byte by byte. */
static void test_random(void **state) {
    (void)state;
    enum { CLIENTS = 10 };
    int fds[CLIENTS];
    random_seed(5);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = open_client();
    for (int round = 0; round < 300; round++) {
        char answers[CLIENTS][4096];
        for (int i = 0; i < CLIENTS; i++) {
            char wire[4096];
            int sent = 0, told = 0;
            for (int k = 1 + (int)random_below(12); k > 0; k--) {
                switch (random_below(4)) {
                case 0:
                    sent += snprintf(wire + sent, sizeof wire - (size_t)sent, "PING\r\n"),
                        told += snprintf(answers[i] + told, sizeof answers[i] - (size_t)told, "+PONG\r\n");
                    break;
                case 1:
                    sent += snprintf(wire + sent, sizeof wire - (size_t)sent, "PARK 1\r\n"),
                        told += snprintf(answers[i] + told, sizeof answers[i] - (size_t)told, "+PARKED\r\n");
                    break;
                default: {
                    int size = (int)random_below(150);
                    sent += snprintf(wire + sent, sizeof wire - (size_t)sent,
                                     "*2\r\n$4\r\nECHO\r\n$%d\r\n%0*d\r\n", size > 0 ? size : 1, size,
                                     7 * (size > 0));
                    told += snprintf(answers[i] + told, sizeof answers[i] - (size_t)told, "$%d\r\n%0*d\r\n",
                                     size > 0 ? size : 1, size, 7 * (size > 0));
                }
                }
            }
            size_t cut = random_below((uint64_t)sent);
            send_all(fds[i], wire, cut);
            send_all(fds[i], wire + cut, (size_t)sent - cut);
        }
        for (int i = 0; i < CLIENTS; i++)
            expect(fds[i], answers[i]);
    }
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

/* A client whose every step may fail; what matters is that the server goes on. */
static void rough_session(void *ctx) {
    (void)ctx;
    for (int i = 0; i < 3; i++) {
        char buffer[64];
        int fd = try_connect();
        if (fd < 0) continue;
        for (int k = 0; k < 2; k++) {
            struct pollfd wait = {fd, POLLIN, 0};
            if (send(fd, "PING\r\n", 6, MSG_NOSIGNAL) < 0) break;
            if (poll(&wait, 1, 2000) <= 0 || receive(fd, buffer, sizeof buffer) <= 0) break;
        }
        close(fd);
    }
}

static void check_alive(void *ctx) {
    (void)ctx;
    fault_point_reset();
    int fd = open_client();
    send_text(fd, "PING\r\n");
    expect(fd, "+PONG\r\n");
    close(fd);
}

static void test_faults(void **state) {
    (void)state;
    static const enum fault_point points[] = {FAULT_LOOP_RECV, FAULT_LOOP_SEND, FAULT_LOOP_ACCEPT};
    for (size_t p = 0; p < 3; p++) {
        for (uint64_t skip = 0; skip < 8; skip++) {
            fault_point_arm(points[p], skip, 1 + skip % 2);
            rough_session(NULL);
            check_alive(NULL);
        }
    }
    /* no memory for a query buffer */
    fault_point_arm(FAULT_MEMORY_TRY, 0, UINT64_MAX);
    int fd = open_client();
    send_text(fd, "*2\r\n$4\r\nECHO\r\n");
    expect_end(fd);
    check_alive(NULL);
}

/* Start refuses a port that is taken. */
static void test_port_taken(void **state) {
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 5), 0);
    static const struct client_hooks hooks = {.execute = execute};
    assert_int_equal(loop_create(backend, &loop), 0);
    assert_int_equal(net_start(loop, &hooks), FIRN_ESYSTEM);
    net_stop();
    loop_destroy(loop);
    close(listener);
    /* and CONFIG SET port: one that fails leaves the old, one that works replaces it */
    net_config.port = port + 1;
    assert_int_equal(loop_create(backend, &loop), 0);
    assert_int_equal(net_start(loop, &hooks), 0);
    snprintf(net_config.bind[0], sizeof net_config.bind[0], "203.0.113.1");
    assert_int_equal(net_listen_again(), FIRN_ESYSTEM);
    port = net_config.port;
    close(open_client());
    snprintf(net_config.bind[0], sizeof net_config.bind[0], "*");
    assert_int_equal(net_listen_again(), 0);
    close(open_client());
    net_config.port = 0;
    assert_int_equal(net_listen_again(), 0);
    assert_int_equal(try_connect(), -1);
    net_stop();
    loop_destroy(loop);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define WITHOUT_SERVER(test)                                                                                 \
    { #test, test, setup, NULL, "no server" }

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        CASE(test_basics), CASE(test_cuts),         CASE(test_huge_pipeline),
        CASE(test_bulks),  CASE(test_big_replies),  CASE(test_half_close),
        CASE(test_park),   CASE(test_unix_socket),  CASE(test_refusals),
        CASE(test_limits), CASE(test_query_memory), CASE(test_many_clients),
        CASE(test_random), CASE(test_faults),       WITHOUT_SERVER(test_port_taken),
    };
    int failed = 0;
    backend = LOOP_EPOLL;
    failed += cmocka_run_group_tests_name("epoll", tests, NULL, NULL);
    struct loop *probe;
    if (loop_create(LOOP_URING, &probe) == 0) {
        loop_destroy(probe);
        backend = LOOP_URING;
        failed += cmocka_run_group_tests_name("io_uring", tests, NULL, NULL);
    } else {
        print_message("io_uring is forbidden here, only epoll was tested\n");
    }
    return failed;
}
