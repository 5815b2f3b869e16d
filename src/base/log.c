/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log. A line is formatted on the stack and written with one write(2), so lines of threads never mix. The
 * file is opened in append mode on first need and kept; before each line its path is compared with the open
 * file, so that rotation by rename works.
 */
#include "base/log.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES_MAX 4096

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static enum log_level log_least = LOG_LEVEL_NOTICE;
static char log_path[PATH_MAX]; /* "" is standard output */
static int log_descriptor = -1;
static dev_t log_device;
static ino_t log_inode;
static char log_ident[64]; /* "" is no syslog */

int log_enabled(enum log_level level) {
    return level >= __atomic_load_n(&log_least, __ATOMIC_RELAXED);
}

void log_set_level(enum log_level level) {
    __atomic_store_n(&log_least, level, __ATOMIC_RELAXED);
}

enum log_level log_get_level(void) {
    return __atomic_load_n(&log_least, __ATOMIC_RELAXED);
}

static void log_close(void) {
    if (log_descriptor >= 0) close(log_descriptor);
    log_descriptor = -1;
}

void log_set_path(const char *path) {
    pthread_mutex_lock(&log_lock);
    log_close();
    snprintf(log_path, sizeof log_path, "%s", path);
    pthread_mutex_unlock(&log_lock);
}

void log_set_syslog(const char *ident, int facility) {
    pthread_mutex_lock(&log_lock);
    if (log_ident[0] != '\0') closelog();
    log_ident[0] = '\0';
    if (ident != NULL) {
        snprintf(log_ident, sizeof log_ident, "%s", ident);
        openlog(log_ident, LOG_PID | LOG_NDELAY | LOG_NOWAIT, facility);
    }
    pthread_mutex_unlock(&log_lock);
}

/* The descriptor to write to, with the lock held; -1 if the file cannot be opened. */
static int log_target(void) {
    struct stat status;
    if (log_path[0] == '\0') return STDOUT_FILENO;
    if (log_descriptor >= 0 &&
        (stat(log_path, &status) != 0 || status.st_dev != log_device || status.st_ino != log_inode))
        log_close();
    if (log_descriptor < 0) {
        log_descriptor = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (log_descriptor >= 0 && fstat(log_descriptor, &status) == 0) {
            log_device = status.st_dev;
            log_inode = status.st_ino;
        }
    }
    return log_descriptor;
}

static void log_write(const char *text, size_t size) {
    pthread_mutex_lock(&log_lock);
    int descriptor = log_target();
    while (descriptor >= 0 && size > 0) {
        ssize_t written = write(descriptor, text, size);
        if (written <= 0) break; /* nowhere to complain to */
        text += written;
        size -= (size_t)written;
    }
    pthread_mutex_unlock(&log_lock);
}

static void log_to_syslog(enum log_level level, const char *text) {
    static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING};
    pthread_mutex_lock(&log_lock);
    int on = log_ident[0] != '\0';
    pthread_mutex_unlock(&log_lock);
    if (on) syslog(priorities[level], "%s", text);
}

void log_line(enum log_level level, const char *format, ...) {
    static const char marks[] = ".-*#";
    char line[LOG_LINE_BYTES_MAX];
    char date[64];
    struct timespec now;
    struct tm local;
    va_list arguments;
    if (!log_enabled(level) || level >= LOG_LEVEL_NOTHING) return;

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(date, sizeof date, "%d %b %Y %H:%M:%S", &local);
    int prefix = snprintf(line, sizeof line, "%d:M %s.%03d %c ", (int)getpid(), date,
                          (int)(now.tv_nsec / 1000000), marks[level]);
    size_t size = (size_t)prefix;
    va_start(arguments, format);
    int text = vsnprintf(line + size, sizeof line - size - 1, format, arguments);
    va_end(arguments);
    if (text > 0) size += (size_t)text < sizeof line - size - 1 ? (size_t)text : sizeof line - size - 2;
    log_to_syslog(level, line + prefix);
    line[size++] = '\n';
    log_write(line, size);
}

void log_raw(const char *text) {
    if (log_enabled(LOG_LEVEL_NOTICE)) log_write(text, strlen(text));
}
