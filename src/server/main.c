/* SPDX-License-Identifier: BSD-3-Clause */
/* firn-server: reads what it is asked to be, goes where it is asked to live, serves, leaves. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "net/net.h"
#include "persist/check_rdb.h"
#include "server/config.h"
#include "server/crash.h"
#include "server/process.h"
#include "server/server.h"

static int is_option(int argc, char **argv, const char *brief, const char *full) {
    return argc == 2 && ((brief != NULL && strcmp(argv[1], brief) == 0) || strcmp(argv[1], full) == 0);
}

static void print_help(const char *name) {
    printf(
        "Usage: %s [/path/to/firn.conf] [options] [-]\n"
        "       %s -v or --version\n"
        "       %s -h or --help\n\n"
        "Options are directives of the configuration file with -- in front; - reads a configuration from "
        "standard input.\n"
        "What comes later on the command line wins over the file.\n\n"
        "Examples:\n"
        "       %s                                     (defaults, no lower tiers)\n"
        "       %s conf/firn.conf                      (as the file says)\n"
        "       echo 'maxmemory 128mb' | %s -\n"
        "       %s --port 7777 --maxmemory 1gb --tier-nvme-path ./cold --tier-nvme-size 100gb\n",
        name, name, name, name, name, name, name);
}

/* Whether it is called to check an RDB file. */
static int is_check_rdb(int argc, char **argv) {
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL, *name = slash != NULL ? slash + 1 : argv[0];
    return argc > 0 && strstr(name, "check-rdb") != NULL;
}

/* What other names and options of the same program will be one day. Nonzero: not to be started as a server.
 */
static int other_mode(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/'), *name = slash != NULL ? slash + 1 : argv[0], *mode = NULL;
    if (strstr(name, "sentinel") != NULL) mode = "Sentinel";
    if (strstr(name, "check-aof") != NULL) mode = "The check of append only files";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--sentinel") == 0) mode = "Sentinel";
        if (strcmp(argv[i], "--check-system") == 0) mode = "The check of the system";
    }
    if (argc >= 2 && strcmp(argv[1], "--test-memory") == 0) mode = "The memory test";
    if (mode == NULL) return 0;
    fprintf(stderr, "%s: %s is not here yet in Firn %s.\n", name, mode, FIRN_VERSION);
    return 1;
}

/* Directives that are no values. */
static int directive(const struct bytes *words, size_t count, const char **error_out) {
    if (bytes_is(words[0], "rename-command") && count == 3) {
        int status = command_rename(words[1], words[2]);
        if (status == FIRN_ENOTFOUND) *error_out = "No such command in rename-command";
        if (status == FIRN_EEXISTS) *error_out = "Target command name already exists";
        return status;
    }
    if (bytes_is(words[0], "user") && count >= 2)
        *error_out = "Users other than the default one are not here yet in Firn";
    if (bytes_is(words[0], "loadmodule") && count >= 2) *error_out = "Modules are not here yet in Firn";
    if (bytes_is(words[0], "sentinel") && count >= 2) *error_out = "Sentinel is not here yet in Firn";
    return FIRN_EINVALID;
}

static int load_configuration(int argc, char **argv) {
    static struct config_failure failure;
    config_init();
    if (config_load_arguments(argc, argv, directive, &failure) == 0) return 0;
    if (failure.line == 0) {
        fprintf(stderr, "%s\n", failure.message);
        return 1;
    }
    fprintf(stderr, "\n*** FATAL CONFIG FILE ERROR (Redis %s) ***\n", DISPATCH_REDIS_VERSION);
    fprintf(stderr, "Reading the configuration file, at line %u\n>>> '%s'\n%s\n", failure.line, failure.text,
            failure.message);
    return 1;
}

static void open_log(void) {
    static const int facilities[] = {LOG_USER,   LOG_LOCAL0, LOG_LOCAL1, LOG_LOCAL2, LOG_LOCAL3,
                                     LOG_LOCAL4, LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7};
    log_set_level((enum log_level)config_number(CONFIG_LOGLEVEL));
    log_set_path(config_text(CONFIG_LOGFILE));
    if (config_number(CONFIG_SYSLOG_ENABLED))
        log_set_syslog(config_text(CONFIG_SYSLOG_IDENT), facilities[config_number(CONFIG_SYSLOG_FACILITY)]);
}

static int log_can_be_written(void) {
    const char *path = config_text(CONFIG_LOGFILE);
    if (path[0] == '\0') return 1;
    FILE *file = fopen(path, "ae");
    if (file == NULL) {
        fprintf(stderr, "\n*** FATAL CONFIG FILE ERROR (Redis %s) ***\nCan't open the log file '%s': %m\n",
                DISPATCH_REDIS_VERSION, path);
        return 0;
    }
    fclose(file);
    return 1;
}

static void install_signals(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, stop = {.sa_handler = server_signal};
    sigemptyset(&stop.sa_mask);
    (void)sigaction(SIGHUP, &ignore, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    crash_install();
}

static void say_hello(void) {
    char banner[1024];
    int show = config_number(CONFIG_ALWAYS_SHOW_LOGO) ||
               (config_text(CONFIG_LOGFILE)[0] == '\0' && isatty(STDOUT_FILENO) &&
                !config_number(CONFIG_SYSLOG_ENABLED));
    int port = (int)config_number(CONFIG_PORT);
    if (!show) {
        log_notice("Running mode=standalone, port=%d.", port);
        return;
    }
    snprintf(banner, sizeof banner,
             "\n"
             "        *  .  *        Firn %s (Redis %s), 64 bit\n"
             "       .  * .  .\n"
             "     ~~~~~~~~~~~~~     snow: DRAM          Running in standalone mode\n"
             "     : : : : : : :     firn: PMEM          Port: %d\n"
             "     #############     ice:  NVMe          PID: %ld\n"
             "     #############\n\n",
             FIRN_VERSION, DISPATCH_REDIS_VERSION, port, (long)getpid());
    log_raw(banner);
}

static void say_ready(void) {
    if (net_config.port != 0) log_notice("Ready to accept connections tcp");
    if (config_text(CONFIG_UNIXSOCKET)[0] != '\0') log_notice("Ready to accept connections unix");
    process_notify("STATUS=Ready to accept connections\nREADY=1\n");
}

int main(int argc, char **argv) {
    if (is_check_rdb(argc, argv)) return check_rdb_main(argc, argv);
    if (is_option(argc, argv, "-v", "--version")) {
        printf("Firn server v=%s redis=%s malloc=%s bits=64\n", FIRN_VERSION, DISPATCH_REDIS_VERSION,
               memory_allocator());
        return 0;
    }
    if (is_option(argc, argv, "-h", "--help")) {
        print_help(argv[0]);
        return 0;
    }
    if (argc < 1 || other_mode(argc, argv)) return 1;
    process_title_init(argc, argv);
    if (load_configuration(argc, argv) != 0 || !log_can_be_written()) return 1;
    int background = process_wants_background();
    if (background) process_to_background();
    open_log();
    log_notice("oO0OoO0OoO0Oo Firn is starting oO0OoO0OoO0Oo");
    log_notice("Firn version=%s, Redis version=%s, bits=64, pid=%d, just started", FIRN_VERSION,
               DISPATCH_REDIS_VERSION, (int)getpid());
    if (argc == 1)
        log_warning(
            "Warning: no config file specified, using the default config. In order to specify a config file "
            "use %s /path/to/firn.conf",
            argv[0]);
    else
        log_notice("Configuration loaded");
    process_disable_huge_pages();
    install_signals();
    if (server_start(process_executable(argv[0])) != 0) return 1;
    process_write_pidfile();
    process_title_refresh();
    say_hello();
    log_notice("Server initialized");
    process_warn();
    server_when_ready(say_ready);
    server_run();
    process_notify("STOPPING=1\n");
    server_stop();
    process_remove_pidfile();
    log_notice("Firn is now ready to exit, bye bye...");
    config_fini();
    return server_state.exit_status;
}
