/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listeners (TCP on every address of net_config.bind, one unix socket), the limit on descriptors, and new
 * connections.
 *
 * L1 Listening anew opens the new sockets before it closes the old ones; an address that both have is kept
 *    open. Only if that fails (an old address may cover a new one) the old ones are closed first, and opened
 *    again if the new ones still fail.
 * L2 A port that is in use at the start is tried for a while: a killed predecessor's io_uring holds it for
 *    some milliseconds after its process is gone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/net_internal.h"

#define LISTENERS_MAX        17   /* 16 addresses and a unix socket */
#define RESERVED_DESCRIPTORS 32   /* besides clients: listeners, log, loop, files */
#define SPARE_DESCRIPTORS    1024 /* asked for too, but not insisted on: files of the lower tiers */
#define ERROR_LOG_MS         1000
#define BUSY_PORT_TRIES      20
#define BUSY_PORT_PAUSE_US   10000

struct listener {
    int fd;
    char address[64]; /* as configured, without '-'; the path for a unix socket */
    unsigned port;
    struct loop_socket *socket;
};

static struct listener listeners[LISTENERS_MAX];
static unsigned listener_count;

/* --- descriptors --- */

static rlim_t raise_limit(rlim_t wanted, rlim_t now) {
    struct rlimit limit;
    for (rlim_t best = wanted; best > now; best = best > now + 16 ? best - 16 : now) {
        limit.rlim_cur = best;
        limit.rlim_max = best;
        struct rlimit current;
        if (getrlimit(RLIMIT_NOFILE, &current) == 0 && current.rlim_max > best)
            limit.rlim_max = current.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return best;
    }
    return now;
}

int net_adjust_file_limit(void) {
    struct rlimit limit;
    rlim_t least = net_config.maxclients + RESERVED_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        log_warning("Unable to obtain the current NOFILE limit (%s), assuming 1024", strerror(errno));
        limit.rlim_cur = 1024;
    }
    if (limit.rlim_cur >= least + SPARE_DESCRIPTORS) return 0;
    rlim_t now = raise_limit(least + SPARE_DESCRIPTORS, limit.rlim_cur);
    if (now >= least) {
        if (now != limit.rlim_cur) {
            log_notice("Increased maximum number of open files to %llu (it was originally set to %llu).",
                       (unsigned long long)now, (unsigned long long)limit.rlim_cur);
        }
        return 0;
    }
    unsigned asked = net_config.maxclients;
    net_config.maxclients = now > RESERVED_DESCRIPTORS ? (unsigned)(now - RESERVED_DESCRIPTORS) : 1;
    log_warning("You requested maxclients of %u requiring at least %llu max file descriptors.", asked,
                (unsigned long long)least);
    log_warning(
        "Current maximum open files is %llu. maxclients has been reduced to %u to compensate for low ulimit. "
        "If you need "
        "higher maxclients increase 'ulimit -n'.",
        (unsigned long long)now, net_config.maxclients);
    return FIRN_ESYSTEM;
}

static void check_backlog(void) {
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
    char line[32];
    if (!file) return;
    if (fgets(line, sizeof line, file)) {
        long most = strtol(line, NULL, 10);
        if (most > 0 && most < (long)net_config.tcp_backlog) {
            log_warning(
                "WARNING: The TCP backlog setting of %u cannot be enforced because "
                "/proc/sys/net/core/somaxconn is set to the "
                "lower value of %ld.",
                net_config.tcp_backlog, most);
        }
    }
    fclose(file);
}

/* --- new connections --- */

static void set_options(int fd) {
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) return; /* a unix socket */
    int idle = (int)net_config.tcp_keepalive_seconds, interval = idle / 3 > 0 ? idle / 3 : 1, probes = 3;
    if (idle == 0) return;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static int is_local(const struct sockaddr_storage *peer) {
    if (peer->ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)peer)->sin_addr.s_addr << 24 == 127u << 24;
    if (peer->ss_family != AF_INET6) return 1;
    const struct in6_addr *address = &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(address) || (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

const char *net_protected_refusal(const struct client *client) {
    if (!net_config.protected_mode || !client->connection || (client->flags & CLIENT_UNIX_SOCKET))
        return NULL;
    if (is_local(&client->connection->peer)) return NULL;
    return "-DENIED Redis is running in protected mode because protected mode is enabled and no password is "
           "set for the default user. "
           "In this mode connections are only accepted from the loopback interface. To connect from other "
           "computers, do one of "
           "the following: 1) set a password for the default user (requirepass, or ACL SETUSER), 2) on the "
           "server's own machine send "
           "'CONFIG SET protected-mode no' (and CONFIG REWRITE to keep it), if the server is not reachable "
           "from the internet, "
           "3) put 'protected-mode no' into the configuration file, 4) start the server with "
           "'--protected-mode no'. "
           "Then connect again.";
}

/* Best effort: the connection is closed anyway. */
static void send_line(int fd, const char *line) {
    size_t size = strlen(line);
    ssize_t sent = send(fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == (ssize_t)size && (size < 2 || line[size - 1] != '\n'))
        sent = send(fd, "\r\n", 2, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
}

static void accept_failed(int error) {
    static int64_t logged_ms;
    int64_t now_ms = clock_monotonic_us() / 1000;
    if (now_ms - logged_ms < ERROR_LOG_MS) return;
    logged_ms = now_ms;
    log_warning("Accepting client connection: %s", strerror(error));
}

static void accepted(int fd_or_errno, void *ctx) {
    (void)ctx;
    if (fd_or_errno < 0) {
        accept_failed(-fd_or_errno);
        return;
    }
    if (net__state.count >= net_config.maxclients) {
        net_stats.rejected_connections++;
        send_line(fd_or_errno, "-ERR max number of clients reached\r\n");
        close(fd_or_errno);
        return;
    }
    set_options(fd_or_errno);
    struct loop_socket *socket = loop_socket_create(net__state.loop, fd_or_errno, NULL);
    struct client *client = net__client_create(fd_or_errno, socket);
    loop_socket_set_context(socket, client->connection);
    net_stats.connections_total++;
    const char *refusal = net__state.hooks.refuse ? net__state.hooks.refuse(client) : NULL;
    if (refusal) {
        net_stats.rejected_connections++;
        send_line(fd_or_errno, refusal);
        client_close_later(client, 0);
        return;
    }
    if (net__state.hooks.connected) net__state.hooks.connected(client);
    net__account(client->connection);
    net__traffic_start(client->connection);
}

/* --- opening --- */

static int listen_on(int fd, const struct sockaddr *address, socklen_t size) {
    if (bind(fd, address, size) != 0 || listen(fd, (int)net_config.tcp_backlog) != 0) return -errno;
    return 0;
}

/* A listening socket on ${text}:port. fd or negative errno. */
static int open_tcp(const char *text, unsigned port) {
    struct sockaddr_storage address = {0};
    struct sockaddr_in *four = (void *)&address;
    struct sockaddr_in6 *six = (void *)&address;
    int is_four = strcmp(text, "*") == 0 || inet_pton(AF_INET, text, &four->sin_addr) == 1;
    if (is_four) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)port);
    } else {
        if (strcmp(text, "::*") != 0 && inet_pton(AF_INET6, text, &six->sin6_addr) != 1)
            return -EADDRNOTAVAIL;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
    }
    int on = 1, fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!is_four) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    int error = listen_on(fd, (struct sockaddr *)&address, is_four ? sizeof *four : sizeof *six);
    if (error == 0) return fd;
    close(fd);
    return error;
}

static int open_unix(const char *path, unsigned permissions) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    (void)unlink(path);
    int error = listen_on(fd, (struct sockaddr *)&address, sizeof address);
    if (error == 0 && permissions != 0 && chmod(path, permissions) != 0) error = -errno;
    if (error == 0) return fd;
    close(fd);
    return error;
}

/* An address that does not exist here may be skipped if it was configured with '-'. */
static int is_absent(int error) {
    return error == -EADDRNOTAVAIL || error == -EAFNOSUPPORT || error == -EPROTONOSUPPORT ||
           error == -ENOPROTOOPT || error == -ENODEV;
}

static int kept_listener(const char *address, unsigned port) {
    for (unsigned i = 0; i < listener_count; i++) {
        if (listeners[i].port == port && strcmp(listeners[i].address, address) == 0) return (int)i;
    }
    return -1;
}

/* Open ${text}:port, or take it over from the listeners there are, into ${listener}: fd or a negative errno.
 */
static void open_one(const char *address, struct listener *listener) {
    *listener = (struct listener){.port = net_config.port};
    snprintf(listener->address, sizeof listener->address, "%s", address);
    int kept = kept_listener(address, net_config.port);
    if (kept >= 0) {
        *listener = listeners[kept];
        return;
    }
    listener->fd = open_tcp(address, net_config.port);
    for (int i = 0; listener->fd == -EADDRINUSE && listener_count == 0 && i < BUSY_PORT_TRIES; i++) {
        usleep(BUSY_PORT_PAUSE_US);
        listener->fd = open_tcp(address, net_config.port);
    }
}

/* Open or keep every TCP address into ${out}. 0 or FIRN_ESYSTEM (logged if ${is_final}) with nothing new left
 * open. */
static int open_all_tcp(struct listener *out, unsigned *count_out, int is_final) {
    static const char any[2][64] = {"*", "-::*"};
    unsigned count = net_config.bind_count ? net_config.bind_count : 2, opened = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *address = net_config.bind_count ? net_config.bind[i] : any[i];
        int optional = address[0] == '-';
        open_one(address + optional, &out[opened]);
        int error = out[opened].fd;
        if (error >= 0) {
            opened++;
            continue;
        }
        if (optional && is_absent(error)) continue;
        if (is_final) {
            log_warning("Warning: Could not create server TCP listening socket %s:%u: %s", address + optional,
                        net_config.port, strerror(-error));
        }
        while (opened > 0) {
            opened--;
            if (!out[opened].socket) close(out[opened].fd);
        }
        return FIRN_ESYSTEM;
    }
    *count_out = opened;
    return 0;
}

static void close_listener(struct listener *listener) {
    int fd = listener->fd;
    /* Frees the port at once, also if the loop holds the socket for a moment. */
    (void)shutdown(fd, SHUT_RDWR);
    if (listener->socket) loop_socket_close(listener->socket, NULL);
    close(fd);
}

/* Close the TCP listeners, try again, else restore. 0 or FIRN_ESYSTEM. */
static int open_after_closing(struct listener *fresh, unsigned *count_out) {
    struct listener old[LISTENERS_MAX], kept = {.fd = -1};
    unsigned old_count = 0;
    for (unsigned i = 0; i < listener_count; i++) {
        if (listeners[i].port == 0) {
            kept = listeners[i];
            continue;
        }
        old[old_count++] = listeners[i];
        close_listener(&listeners[i]);
    }
    listener_count = kept.fd >= 0;
    listeners[0] = kept;
    int error = open_all_tcp(fresh, count_out, 1);
    for (unsigned i = 0; error != 0 && i < old_count; i++) {
        old[i].fd = open_tcp(old[i].address, old[i].port);
        if (old[i].fd < 0) continue;
        old[i].socket = loop_accept(net__state.loop, old[i].fd, accepted, NULL);
        listeners[listener_count++] = old[i];
    }
    return error;
}

int net_listen_again(void) {
    struct listener fresh[LISTENERS_MAX];
    unsigned count = 0;
    if (net_config.port != 0) {
        int error = open_all_tcp(fresh, &count, listener_count == 0);
        if (error != 0 && listener_count > 0) error = open_after_closing(fresh, &count);
        if (error != 0) return error;
    }
    for (unsigned i = 0; i < listener_count; i++) {
        int keep = listeners[i].port == 0; /* the unix socket */
        for (unsigned k = 0; k < count; k++)
            keep |= fresh[k].fd == listeners[i].fd;
        if (!keep)
            close_listener(&listeners[i]);
        else if (listeners[i].port == 0)
            fresh[count++] = listeners[i];
    }
    for (unsigned i = 0; i < count; i++) {
        if (!fresh[i].socket) fresh[i].socket = loop_accept(net__state.loop, fresh[i].fd, accepted, NULL);
        listeners[i] = fresh[i];
    }
    listener_count = count;
    return 0;
}

int net_start(struct loop *loop, const struct client_hooks *hooks) {
    net__state.loop = loop;
    net__state.hooks = *hooks;
    (void)net_adjust_file_limit();
    check_backlog();
    if (net_listen_again() != 0) {
        log_warning("Failed listening on port %u (tcp), aborting.", net_config.port);
        return FIRN_ESYSTEM;
    }
    if (net_config.unixsocket[0] != '\0') {
        int fd = open_unix(net_config.unixsocket, net_config.unixsocketperm);
        if (fd < 0) {
            log_warning("Failed opening Unix socket: %s: %s", net_config.unixsocket, strerror(-fd));
            net__stop_listening();
            return FIRN_ESYSTEM;
        }
        struct listener *listener = &listeners[listener_count++];
        *listener = (struct listener){.fd = fd};
        listener->socket = loop_accept(loop, fd, accepted, NULL);
    }
    return 0;
}

void net__stop_listening(void) {
    for (unsigned i = 0; i < listener_count; i++)
        close_listener(&listeners[i]);
    listener_count = 0;
}
