/* SPDX-License-Identifier: BSD-3-Clause */
/* The crash report: what is printed to the log when a signal says that the process is broken. */
#ifndef FIRN_SERVER_CRASH_H
#define FIRN_SERVER_CRASH_H

/* Catch SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT (not in sanitizer builds, which report themselves) if
 * crash-log-enabled; call again after it changed. */
void crash_install(void);

#endif
