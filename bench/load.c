/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * firn-load: a load generator for Redis-compatible servers that checks what it reads.
 *
 * One thread, epoll, many connections, each with a pipeline of requests. Keys are numbered; a value is
 * computed from (key number, generation), half of it incompressible, and carries both, so every GET is
 * verified byte for byte without remembering what was written. Closed loop by default; with --rate an open
 * loop whose latencies count from the time a request was due (no coordinated omission). Prints one line of
 * name=value pairs. CPU of the server (all threads, from /proc/PID/stat) is divided by operations.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 10000
#define PIPELINE_MAX    1000
#define KEY_BYTES       16 /* "key:%012", "num:", "hsh:" */
#define VALUE_MIN       32
#define ZETA_EXACT      1000000u

enum kind { KIND_GET, KIND_SET, KIND_INCR, KIND_HSET, KIND_HGET, KIND_PING };
enum distribution { DISTRIBUTION_UNIFORM, DISTRIBUTION_ZIPF, DISTRIBUTION_SEQUENCE };

static struct {
    const char *host;
    int port, connections, pipeline, pid;
    enum kind kind;
    enum distribution distribution;
    double theta, write_share, rate, seconds;
    uint64_t keys, operations, first, seed;
    size_t value_bytes;
    int fields, misses_allowed;
} option = {"127.0.0.1", 6379, 50, 1,  0, KIND_GET, DISTRIBUTION_UNIFORM, 0.99, 0, 0, 0, 100000,
            0,           0,    1,  64, 0, 0};

struct request {
    int64_t due_us;
    uint64_t key;
    enum kind kind;
};

struct connection {
    int fd;
    unsigned head, pending; /* ring of requests awaiting replies */
    struct request *requests;
    uint8_t *out, *in;
    size_t out_used, out_sent, out_capacity, in_used, in_capacity;
};

static struct connection connections[CONNECTIONS_MAX];
static uint64_t issued, completed, errors, mismatches, misses, sequence;
static char first_error[256];
static uint32_t histogram[64 * 64]; /* log2 buckets of 64 linear steps, microseconds */
static int64_t latency_max_us;

static void die(const char *what) {
    fprintf(stderr, "firn-load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- random numbers --- */

static uint64_t mix(uint64_t x) { /* splitmix64: a bijection, good enough to scatter */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t random_state;
static uint64_t random_next(void) {
    random_state += 0x9e3779b97f4a7c15u;
    return mix(random_state);
}
static double random_unit(void) {
    return (double)(random_next() >> 11) * 0x1p-53;
}

static double zeta_n, zipf_alpha, zipf_eta;

/* Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994. The tail of zeta is
 * integrated. */
static void zipf_prepare(void) {
    uint64_t exact = option.keys < ZETA_EXACT ? option.keys : ZETA_EXACT;
    double theta = option.theta, zeta2 = 1 + pow(0.5, theta);
    for (uint64_t i = 1; i <= exact; i++)
        zeta_n += pow((double)i, -theta);
    if (option.keys > exact)
        zeta_n += (pow((double)option.keys, 1 - theta) - pow((double)exact, 1 - theta)) / (1 - theta);
    zipf_alpha = 1 / (1 - theta);
    zipf_eta = (1 - pow(2.0 / (double)option.keys, 1 - theta)) / (1 - zeta2 / zeta_n);
}

static uint64_t zipf_rank(void) {
    double u = random_unit(), uz = u * zeta_n;
    if (uz < 1) return 0;
    if (uz < 1 + pow(0.5, option.theta)) return 1;
    uint64_t rank = (uint64_t)((double)option.keys * pow(zipf_eta * u - zipf_eta + 1, zipf_alpha));
    return rank < option.keys ? rank : option.keys - 1;
}

static uint64_t choose_key(void) {
    switch (option.distribution) {
    case DISTRIBUTION_SEQUENCE: return option.first + sequence++ % option.keys;
    case DISTRIBUTION_ZIPF: return option.first + mix(zipf_rank()) % option.keys;
    default: return option.first + random_next() % option.keys;
    }
}

/* --- values --- */

/* The value of ${key} at ${generation}: 16 digits of key, 16 of generation, then half random, half repeated
 * text. */
static void value_fill(uint8_t *out, size_t size, uint64_t key, uint64_t generation) {
    char head[VALUE_MIN + 1];
    snprintf(head, sizeof head, "%016" PRIx64 "%016" PRIx64, key, generation);
    memcpy(out, head, VALUE_MIN < size ? VALUE_MIN : size);
    size_t at = VALUE_MIN, random_end = VALUE_MIN + (size > VALUE_MIN ? (size - VALUE_MIN) / 2 : 0);
    uint64_t state = mix(key * 31 + generation);
    for (; at + 8 <= random_end; at += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t word = state ^ state >> 29;
        memcpy(out + at, &word, 8);
    }
    if (at < size) memset(out + at, 'a' + (int)(key % 26), size - at);
}

static int value_check(const uint8_t *got, size_t size, uint64_t key) {
    static uint8_t expected[1 << 20];
    if (size != option.value_bytes || size > sizeof expected || size < VALUE_MIN)
        return size == option.value_bytes;
    char head[VALUE_MIN + 1];
    memcpy(head, got, VALUE_MIN);
    head[VALUE_MIN] = 0;
    value_fill(expected, size, key, strtoull(head + 16, NULL, 16));
    return memcmp(got, expected, size) == 0;
}

/* --- requests --- */

static void out_reserve(struct connection *c, size_t more) {
    if (c->out_used + more <= c->out_capacity) return;
    c->out_capacity = (c->out_used + more) * 2;
    c->out = realloc(c->out, c->out_capacity);
    if (c->out == NULL) die("memory");
}

static void out_text(struct connection *c, const char *text, size_t size) {
    memcpy(c->out + c->out_used, text, size);
    c->out_used += size;
}
#define OUT(c, literal) out_text(c, literal, sizeof(literal) - 1)

static void out_key(struct connection *c, const char *prefix4, uint64_t key) {
    char text[40];
    int size = snprintf(text, sizeof text, "$%d\r\n%s%012" PRIu64 "\r\n", KEY_BYTES, prefix4, key);
    out_text(c, text, (size_t)size);
}

static void out_value(struct connection *c, uint64_t key) {
    char text[32];
    int size = snprintf(text, sizeof text, "$%zu\r\n", option.value_bytes);
    out_text(c, text, (size_t)size);
    value_fill(c->out + c->out_used, option.value_bytes, key, issued);
    c->out_used += option.value_bytes;
    OUT(c, "\r\n");
}

static void out_field(struct connection *c, uint64_t field) {
    char text[40];
    int size = snprintf(text, sizeof text, "$10\r\nf%09" PRIu64 "\r\n", field);
    out_text(c, text, (size_t)size);
}

static void request_add(struct connection *c, int64_t due_us) {
    enum kind kind = option.kind;
    if (kind == KIND_GET && option.write_share > 0 && random_unit() < option.write_share) kind = KIND_SET;
    uint64_t key = choose_key();
    out_reserve(c, option.value_bytes + 256);
    uint64_t hash = option.fields ? key / (uint64_t)option.fields : 0;
    switch (kind) {
    case KIND_GET: OUT(c, "*2\r\n$3\r\nGET\r\n"), out_key(c, "key:", key); break;
    case KIND_SET: OUT(c, "*3\r\n$3\r\nSET\r\n"), out_key(c, "key:", key), out_value(c, key); break;
    case KIND_INCR: OUT(c, "*2\r\n$4\r\nINCR\r\n"), out_key(c, "num:", key); break;
    case KIND_HSET:
        OUT(c, "*4\r\n$4\r\nHSET\r\n"), out_key(c, "hsh:", hash), out_field(c, key), out_value(c, key);
        break;
    case KIND_HGET: OUT(c, "*3\r\n$4\r\nHGET\r\n"), out_key(c, "hsh:", hash), out_field(c, key); break;
    case KIND_PING: OUT(c, "*1\r\n$4\r\nPING\r\n"); break;
    }
    c->requests[(c->head + c->pending) % PIPELINE_MAX] = (struct request){due_us, key, kind};
    c->pending++;
    issued++;
}

/* --- replies --- */

static void latency_record(int64_t us) {
    if (us < 0) us = 0;
    if (us > latency_max_us) latency_max_us = us;
    unsigned level = us < 64 ? 0 : (unsigned)(63 - __builtin_clzll((uint64_t)us)) - 5;
    histogram[level * 64 + (unsigned)(us >> level) % 64]++;
}

static int64_t latency_percentile(double share) {
    uint64_t want = (uint64_t)((double)completed * share), seen = 0;
    for (unsigned i = 0; i < 64 * 64; i++) {
        seen += histogram[i];
        if (seen > want) return (int64_t)(i % 64) << (i / 64);
    }
    return latency_max_us;
}

static void reply_done(struct connection *c, int64_t now) {
    latency_record(now - c->requests[c->head].due_us);
    c->head = (c->head + 1) % PIPELINE_MAX;
    c->pending--;
    completed++;
}

static void reply_bulk(const struct request *request, const uint8_t *data, size_t size) {
    if (request->kind == KIND_GET || request->kind == KIND_HGET)
        mismatches += !value_check(data, size, request->key);
}

/* Consume complete replies; stops at a partial one. */
static void replies_take(struct connection *c) {
    size_t at = 0;
    int64_t now = now_us();
    while (c->pending > 0) {
        uint8_t *line = c->in + at, *end = memchr(line, '\n', c->in_used - at);
        if (end == NULL) break;
        size_t next = (size_t)(end - c->in) + 1;
        const struct request *request = &c->requests[c->head];
        if (*line == '$') {
            long size = strtol((char *)line + 1, NULL, 10);
            if (size < 0)
                misses++;
            else {
                if (c->in_used < next + (size_t)size + 2) break;
                reply_bulk(request, c->in + next, (size_t)size);
                next += (size_t)size + 2;
            }
        } else if (*line == '-') {
            if (errors++ == 0) snprintf(first_error, sizeof first_error, "%.*s", (int)(end - line - 1), line);
        }
        at = next;
        reply_done(c, now);
    }
    memmove(c->in, c->in + at, c->in_used - at);
    c->in_used -= at;
}

/* --- sockets --- */

static void connection_open(struct connection *c, int epoll) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    inet_pton(AF_INET, option.host, &address.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->requests = calloc(PIPELINE_MAX, sizeof *c->requests);
    c->in_capacity = 65536 + option.value_bytes * 2;
    c->in = malloc(c->in_capacity);
    c->out_capacity = 4096 + option.value_bytes;
    c->out = malloc(c->out_capacity);
    if (c->requests == NULL || c->in == NULL || c->out == NULL) die("memory");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl");
}

static void connection_write(struct connection *c, int epoll) {
    while (c->out_sent < c->out_used) {
        ssize_t sent = write(c->fd, c->out + c->out_sent, c->out_used - c->out_sent);
        if (sent < 0 && errno == EAGAIN) {
            struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
            epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
            return;
        }
        if (sent < 0) die("write");
        c->out_sent += (size_t)sent;
    }
    c->out_sent = c->out_used = 0;
}

static void connection_read(struct connection *c) {
    for (;;) {
        if (c->in_used == c->in_capacity) {
            c->in = realloc(c->in, c->in_capacity *= 2);
            if (c->in == NULL) die("memory");
        }
        size_t room = c->in_capacity - c->in_used;
        ssize_t got = read(c->fd, c->in + c->in_used, room);
        if (got == 0) {
            fprintf(stderr, "firn-load: the server closed a connection\n");
            exit(2);
        }
        if (got < 0 && errno == EAGAIN) return;
        if (got < 0) die("read");
        c->in_used += (size_t)got;
        replies_take(c);
        if ((size_t)got < room) return;
    }
}

/* --- the run --- */

static int64_t started_us;

static int may_issue(int64_t now) {
    if (option.operations && issued >= option.operations) return 0;
    if (option.seconds > 0 && (double)(now - started_us) >= option.seconds * 1e6) return 0;
    return 1;
}

/* Closed loop: a connection with no replies outstanding sends its next pipeline. */
static void issue_closed(struct connection *c, int epoll) {
    int64_t now = now_us();
    if (c->pending > 0 || !may_issue(now)) return;
    for (int i = 0; i < option.pipeline && may_issue(now); i++)
        request_add(c, now);
    connection_write(c, epoll);
}

/* Open loop: requests that are due go out on the connections in turn. */
static void issue_open(int epoll) {
    static uint64_t turn;
    int64_t now = now_us();
    while (may_issue(now)) {
        int64_t due = started_us + (int64_t)((double)issued * 1e6 / option.rate);
        if (due > now) return;
        struct connection *c = &connections[turn++ % (uint64_t)option.connections];
        if (c->pending == PIPELINE_MAX) return;
        request_add(c, due);
        connection_write(c, epoll);
    }
}

static double server_cpu_seconds(void) {
    if (option.pid == 0) return 0;
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", option.pid);
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (size <= 0) return 0;
    text[size] = 0;
    unsigned long user = 0, system = 0;
    char *after = strrchr(text, ')');
    if (after == NULL ||
        sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void run(int epoll) {
    struct epoll_event events[256];
    started_us = now_us();
    if (option.rate <= 0)
        for (int i = 0; i < option.connections; i++)
            issue_closed(&connections[i], epoll);
    while (may_issue(now_us()) || completed < issued) {
        if (option.rate > 0) issue_open(epoll);
        int ready = epoll_wait(epoll, events, 256, option.rate > 0 ? 0 : 100);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
                epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
                connection_write(c, epoll);
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) connection_read(c);
            if (option.rate <= 0) issue_closed(c, epoll);
        }
    }
}

static void usage(void) {
    fprintf(stderr,
            "usage: firn-load [--port N] [--connections N] [--pipeline N] [--command "
            "get|set|incr|hset|hget|ping]\n"
            "  [--keys N] [--first N] [--value-bytes N] [--fields N (per hash)] [--distribution "
            "uniform|zipf|sequence] [--theta X]\n"
            "  [--write-share X (of get)] [--operations N] [--seconds X] [--rate N/s (open loop)] [--pid "
            "SERVER] [--seed N]\n");
    exit(2);
}

static void parse_option(const char *name, const char *value) {
    static const char *const kinds[] = {"get", "set", "incr", "hset", "hget", "ping"};
    if (!strcmp(name, "--port"))
        option.port = (int)strtol(value, NULL, 10);
    else if (!strcmp(name, "--connections"))
        option.connections = (int)strtol(value, NULL, 10);
    else if (!strcmp(name, "--pipeline"))
        option.pipeline = (int)strtol(value, NULL, 10);
    else if (!strcmp(name, "--keys"))
        option.keys = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--first"))
        option.first = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--value-bytes"))
        option.value_bytes = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--fields"))
        option.fields = (int)strtol(value, NULL, 10);
    else if (!strcmp(name, "--theta"))
        option.theta = strtod(value, NULL);
    else if (!strcmp(name, "--write-share"))
        option.write_share = strtod(value, NULL);
    else if (!strcmp(name, "--operations"))
        option.operations = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--seconds"))
        option.seconds = strtod(value, NULL);
    else if (!strcmp(name, "--rate"))
        option.rate = strtod(value, NULL);
    else if (!strcmp(name, "--pid"))
        option.pid = (int)strtol(value, NULL, 10);
    else if (!strcmp(name, "--seed"))
        option.seed = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--distribution"))
        option.distribution = !strcmp(value, "zipf")       ? DISTRIBUTION_ZIPF
                              : !strcmp(value, "sequence") ? DISTRIBUTION_SEQUENCE
                                                           : DISTRIBUTION_UNIFORM;
    else if (!strcmp(name, "--command")) {
        for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (!strcmp(value, kinds[i])) {
                option.kind = (enum kind)i;
                return;
            }
        usage();
    } else
        usage();
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2)
        parse_option(argv[i], argv[i + 1]);
    if (argc % 2 == 0 || option.connections < 1 || option.connections > CONNECTIONS_MAX ||
        option.pipeline < 1 || option.pipeline > PIPELINE_MAX || option.keys < 2 ||
        option.value_bytes > 1 << 20 || (option.operations == 0 && option.seconds <= 0))
        usage();
    random_state = mix(option.seed);
    if (option.distribution == DISTRIBUTION_ZIPF) zipf_prepare();
    int epoll = epoll_create1(0);
    if (epoll < 0) die("epoll_create1");
    for (int i = 0; i < option.connections; i++)
        connection_open(&connections[i], epoll);
    double cpu = server_cpu_seconds();
    run(epoll);
    double elapsed = (double)(now_us() - started_us) / 1e6,
           cpu_us = (server_cpu_seconds() - cpu) * 1e6 / (double)(completed ? completed : 1);
    printf("operations=%" PRIu64 " seconds=%.3f throughput=%.0f p50_us=%" PRId64 " p99_us=%" PRId64
           " p999_us=%" PRId64 " max_us=%" PRId64 " cpu_us=%.3f errors=%" PRIu64 " mismatches=%" PRIu64
           " misses=%" PRIu64 "%s%s\n",
           completed, elapsed, (double)completed / elapsed, latency_percentile(0.5), latency_percentile(0.99),
           latency_percentile(0.999), latency_max_us, cpu_us, errors, mismatches, misses,
           errors ? " first_error=" : "", first_error);
    return mismatches > 0;
}
