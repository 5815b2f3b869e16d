/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crash report. It runs in a process that is broken: no locks, no allocation of ours; it writes to the
 * log's file itself. What it calls beyond that (backtrace, INFO of the server) may crash again: then the
 * second signal ends the process at once.
 */
#include "server/crash.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/memory.h"
#include "cmd/dispatch.h"
#include "server/config.h"
#include "server/process.h"

#define CRASH_FRAMES_MAX   100
#define CRASH_ARGUMENT_MAX 128
#define CRASH_STACK_BYTES  65536

static int descriptor;
static volatile sig_atomic_t crashed;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size > (int)sizeof text - 1) size = (int)sizeof text - 1;
    if (size > 0 && write(descriptor, text, (size_t)size) < 0) return;
}

static void say_trace(void *context) {
    void *frames[CRASH_FRAMES_MAX];
    char name[32] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    say("\n------ STACK TRACE ------\n");
#if defined(__x86_64__)
    void *instruction = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    say("EIP:\n");
    backtrace_symbols_fd(&instruction, 1, descriptor);
#endif
    say("\n%d %s *\n", (int)gettid(), name);
    int count = backtrace(frames, CRASH_FRAMES_MAX);
    backtrace_symbols_fd(frames, count, descriptor);
    say("\n------ STACK TRACE DONE ------\n");
}

static void say_command(void) {
    const struct client *client = dispatch_current_client();
    if (client == NULL) return;
    say("\n------ CURRENT CLIENT INFO ------\nid=%llu db=%u flags=%x\nargc: '%zu'\n",
        (unsigned long long)client->id, client->db_index, client->flags, client->request.argc);
    for (size_t i = 0; i < client->request.argc && i < 32; i++) {
        struct bytes argument = client->request.argv[i];
        int size = argument.size > CRASH_ARGUMENT_MAX ? CRASH_ARGUMENT_MAX : (int)argument.size;
        if (i > 0 && config_number(CONFIG_HIDE_USER_DATA_FROM_LOG))
            say("argv[%zu]: '*redacted*'\n", i);
        else
            say("argv[%zu]: '%.*s'\n", i, size, (const char *)argument.data);
    }
}

__attribute__((unused)) static void open_output(void) {
    const char *path = config_text(CONFIG_LOGFILE);
    descriptor =
        path[0] == '\0' ? STDOUT_FILENO : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0) descriptor = STDERR_FILENO;
}

/* SIGALRM: where is the executor now? Not fatal. */
static void on_alarm(int signal_number, siginfo_t *info, void *context) {
    int saved = errno;
    (void)signal_number;
    open_output();
    say("\n--- WATCHDOG TIMER EXPIRED ---\n");
    if (info->si_code == SI_USER) say("Received SIGALRM sent by process %ld\n", (long)info->si_pid);
    say_trace(context);
    say("--------\n");
    if (descriptor > STDERR_FILENO) close(descriptor);
    errno = saved;
}

__attribute__((unused)) /* a sanitizer has its own */
static void
on_crash(int signal_number, siginfo_t *info, void *context) {
    if (crashed) _exit(1);
    crashed = 1;
    open_output();
    struct utsname system;
    say("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
    say("%d Firn %s (Redis %s) crashed by signal: %d, si_code: %d\n", (int)getpid(), FIRN_VERSION,
        DISPATCH_REDIS_VERSION, signal_number, info->si_code);
    if (signal_number == SIGSEGV || signal_number == SIGBUS) say("Accessing address: %p\n", info->si_addr);
    if (info->si_code == SI_USER) say("Killed by PID: %ld, UID: %d\n", (long)info->si_pid, (int)info->si_uid);
    if (uname(&system) == 0) say("os:%s %s %s\n", system.sysname, system.release, system.machine);
    say_trace(context);
    say("\nused_memory:%zu\nconfig_file:%s\n", memory_used(), config_file());
    say_command();
    say("\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n"
        "       Please report the crash with the text above, and what the server was doing.\n");
    process_remove_pidfile();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void crash_install(void) {
    struct sigaction alarm_action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&alarm_action.sa_mask);
    (void)sigaction(SIGALRM, &alarm_action, NULL);
#ifndef FIRN_SANITIZED
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack[CRASH_STACK_BYTES]; /* so that an overflown stack can still be reported */
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    void *warm[1];
    (void)sigaltstack(&alternate, NULL);
    (void)backtrace(warm, 1); /* loads what it needs now, not in the handler */
    sigemptyset(&action.sa_mask);
    if (!config_number(CONFIG_CRASH_LOG_ENABLED)) action = (struct sigaction){.sa_handler = SIG_DFL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        (void)sigaction(signals[i], &action, NULL);
#endif
}
