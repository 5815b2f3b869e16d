/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's log: Redis's levels and line format "PID:ROLE DD Mon YYYY HH:MM:SS.mmm <mark> text". */
#ifndef FIRN_BASE_LOG_H
#define FIRN_BASE_LOG_H

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_VERBOSE, LOG_LEVEL_NOTICE, LOG_LEVEL_WARNING, LOG_LEVEL_NOTHING };

/* Write one line if ${level} is enabled. Any thread; one write(2) in append mode. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Write ${text} as it is (the start-up banner), no prefix, when notice is enabled. */
void log_raw(const char *text);
/* Whether a line of this level would be written. */
int log_enabled(enum log_level level);
/* Configure; ${path} "" is standard output; opened for append at every line's need and kept (reopened if
 * replaced). Executor. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_path(const char *path);
/* Also to syslog under ${ident}; ${facility} as in syslog(3). NULL ident switches it off. */
void log_set_syslog(const char *ident, int facility);

#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_verbose(...) log_line(LOG_LEVEL_VERBOSE, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)

#endif
