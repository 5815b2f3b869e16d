/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/net.h"
#include "server/config.h"

#define FILES_RESERVED 64u /* files besides client connections: log, listeners, tiers' own */

extern char **environ;

/* --- title --- */

static char *title_start, *title_end;
static const char *program_name = "firn-server";

static char *copy(const char *text) {
    size_t bytes = strlen(text) + 1;
    return memcpy(memory_alloc(bytes), text, bytes);
}

void process_title_init(int argc, char **argv) {
    if (argc == 0) return;
    char *end = argv[0];
    for (int i = 0; i < argc; i++)
        if (argv[i] == end || i == 0) end = argv[i] + strlen(argv[i]) + 1;
    unsigned variables = 0;
    for (; environ[variables] != NULL; variables++)
        if (environ[variables] == end) end += strlen(environ[variables]) + 1;
    title_start = argv[0];
    title_end = end;
    program_name = copy(argv[0]);
    for (int i = 0; i < argc; i++)
        argv[i] = copy(argv[i]);
    char **moved = memory_alloc((variables + 1) * sizeof *moved);
    for (unsigned i = 0; i < variables; i++)
        moved[i] = copy(environ[i]);
    moved[variables] = NULL;
    environ = moved;
}

static void append_variable(const char *name, size_t size, char *out, size_t bytes) {
    char port[16];
    size_t used = strlen(out);
    const char *value = "";
    if (strncmp(name, "{title}", size) == 0)
        value = program_name;
    else if (strncmp(name, "{config-file}", size) == 0)
        value = config_file();
    else if (strncmp(name, "{unixsocket}", size) == 0)
        value = config_text(CONFIG_UNIXSOCKET);
    else if (strncmp(name, "{port}", size) == 0 || strncmp(name, "{tls-port}", size) == 0) {
        snprintf(
            port, sizeof port, "%lld",
            (long long)config_number(strncmp(name, "{port}", size) == 0 ? CONFIG_PORT : CONFIG_TLS_PORT));
        value = port;
    } else if (strncmp(name, "{listen-addr}", size) == 0) {
        if (net_config.port == 0)
            snprintf(out + used, bytes - used, "%s", config_text(CONFIG_UNIXSOCKET));
        else
            snprintf(out + used, bytes - used, "%s:%u", net_config.bind_count > 0 ? net_config.bind[0] : "*",
                     net_config.port);
        return;
    }
    snprintf(out + used, bytes - used, "%s", value);
}

void process_title_refresh(void) {
    char title[1024] = "";
    if (title_start == NULL || !config_number(CONFIG_SET_PROC_TITLE)) return;
    for (const char *at = config_text(CONFIG_PROC_TITLE_TEMPLATE);
         *at != '\0' && strlen(title) + 2 < sizeof title;) {
        const char *end = *at == '{' ? strchr(at, '}') : NULL;
        if (end != NULL) {
            append_variable(at, (size_t)(end - at) + 1, title, sizeof title);
            at = end + 1;
        } else {
            size_t used = strlen(title);
            title[used] = *at++;
            title[used + 1] = '\0';
        }
    }
    size_t size = strlen(title), room = (size_t)(title_end - title_start) - 1;
    while (size > 0 && title[size - 1] == ' ')
        size--;
    if (size > room) size = room;
    memset(title_start, 0, room + 1);
    memcpy(title_start, title, size);
}

const char *process_executable(const char *argv0) {
    static char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    if (size < 0) return argv0;
    path[size] = '\0';
    return path;
}

/* --- background, pidfile, supervisor --- */

int process_wants_background(void) {
    static const char *const names[] = {"upstart", "systemd", "auto", "no"};
    const char *mode = names[config_number(CONFIG_SUPERVISED)];
    int supervised =
        strcmp(mode, "systemd") == 0 || strcmp(mode, "upstart") == 0 ||
        (strcmp(mode, "auto") == 0 && (getenv("NOTIFY_SOCKET") != NULL || getenv("UPSTART_JOB") != NULL));
    return config_number(CONFIG_DAEMONIZE) != 0 && !supervised;
}

void process_to_background(void) {
    pid_t child = fork();
    if (child < 0) {
        log_warning("Cannot go to the background: %s", strerror(errno));
        return;
    }
    if (child > 0) _exit(0);
    setsid();
    int null = open("/dev/null", O_RDWR);
    if (null < 0) return;
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    if (null > STDERR_FILENO) close(null);
}

static const char *pidfile_path(void) {
    const char *path = config_text(CONFIG_PIDFILE);
    return path[0] == '\0' && process_wants_background() ? "/var/run/firn.pid" : path;
}

void process_write_pidfile(void) {
    const char *path = pidfile_path();
    if (path[0] == '\0') return;
    FILE *file = fault_point_fails(FAULT_FILE_WRITE) ? NULL : fopen(path, "we");
    if (file == NULL) {
        log_warning("Failed to write PID file '%s': %s. The server runs without.", path, strerror(errno));
        return;
    }
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
}

void process_remove_pidfile(void) {
    const char *path = pidfile_path();
    if (path[0] == '\0') return;
    log_notice("Removing the pid file.");
    unlink(path);
}

void process_notify(const char *message) {
    static const char *const names[] = {"upstart", "systemd", "auto", "no"};
    const char *mode = names[config_number(CONFIG_SUPERVISED)], *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (strcmp(mode, "systemd") != 0 && strcmp(mode, "auto") != 0)) return;
    size_t size = strlen(path);
    if (size >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') address.sun_path[0] = '\0';
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    if (sendto(descriptor, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address, bytes) < 0)
        log_warning("Cannot notify the supervisor at %s: %s", path, strerror(errno));
    close(descriptor);
}

/* --- limits --- */

unsigned process_allow_clients(unsigned clients) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)clients + FILES_RESERVED;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return clients;
    if (limit.rlim_cur >= wanted) return clients;
    struct rlimit raised = {wanted, limit.rlim_max > wanted ? limit.rlim_max : wanted};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return clients;
    raised = (struct rlimit){limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit.rlim_cur = limit.rlim_max;
    return limit.rlim_cur > FILES_RESERVED + 1 ? (unsigned)(limit.rlim_cur - FILES_RESERVED) : 1;
}

static int read_number(const char *path, long *value_out) {
    FILE *file = fopen(path, "re");
    if (file == NULL) return FIRN_ESYSTEM;
    int fields = fscanf(file, "%ld", value_out);
    fclose(file);
    return fields == 1 ? 0 : FIRN_ESYSTEM;
}

int process_apply_oom_score(void) {
    static const char path[] = "/proc/self/oom_score_adj";
    static int adjusted;
    static long base;
    long mode = (long)config_number(CONFIG_OOM_SCORE_ADJ); /* 0 no, 1 relative, 3 absolute */
    if (mode == 0 && !adjusted) return 0;
    if (!adjusted && read_number(path, &base) != 0) return FIRN_ESYSTEM;
    long score = base;
    if (mode != 0)
        score = strtol(config_text(CONFIG_OOM_SCORE_ADJ_VALUES), NULL, 10) + (mode == 1 ? base : 0);
    if (score > 1000) score = 1000;
    if (score < -1000) score = -1000;
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    char text[16];
    int size = snprintf(text, sizeof text, "%ld", score);
    int status = descriptor >= 0 && write(descriptor, text, (size_t)size) == size ? 0 : FIRN_ESYSTEM;
    if (status != 0) log_warning("Unable to write oom_score_adj: %s", strerror(errno));
    if (descriptor >= 0) close(descriptor);
    adjusted = mode != 0 && status == 0 ? 1 : adjusted && mode != 0;
    return status;
}

void process_disable_huge_pages(void) {
    if (config_number(CONFIG_DISABLE_THP)) (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

void process_warn(void) {
    long backlog = 0;
    if (read_number("/proc/sys/net/core/somaxconn", &backlog) == 0 &&
        backlog < (long)config_number(CONFIG_TCP_BACKLOG))
        log_warning(
            "WARNING: The TCP backlog setting of %lld cannot be enforced because "
            "/proc/sys/net/core/somaxconn is set to the lower value of %ld.",
            (long long)config_number(CONFIG_TCP_BACKLOG), backlog);
    if (config_number(CONFIG_MAXMEMORY) > 0 && (uint64_t)config_number(CONFIG_MAXMEMORY) < (1u << 20))
        log_warning("WARNING: maxmemory is less than 1 MB: almost everything will be evicted or refused.");
    static const enum config_id later[] = {CONFIG_APPENDONLY, CONFIG_REPLICAOF, CONFIG_CLUSTER_ENABLED,
                                           CONFIG_TLS_PORT, CONFIG_ACLFILE};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (!config_is_default(later[i]))
            log_warning("WARNING: '%s' is accepted but has no effect in this version.",
                        config_name(later[i]));
}
