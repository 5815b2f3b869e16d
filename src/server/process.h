/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process in its surroundings: background, pidfile, title in the process list, limits, the kernel's
 * out-of-memory score, the supervisor. Main thread, at start and from CONFIG SET.
 */
#ifndef FIRN_SERVER_PROCESS_H
#define FIRN_SERVER_PROCESS_H

#include "base/error.h"

/* Remember where the title goes. First thing in main: argv and environment move elsewhere. */
void process_title_init(int argc, char **argv);
/* Show proc-title-template, if set-proc-title. */
void process_title_refresh(void);
/* Where the program file is, absolute; static memory. */
const char *process_executable(const char *argv0);

/* Whether to go to the background, by daemonize and supervised. */
int process_wants_background(void);
/* Fork and detach; the parent exits. Before any thread is made. */
void process_to_background(void);
/* Write the pidfile if there is to be one; a failure is logged only. */
void process_write_pidfile(void);
void process_remove_pidfile(void);
/* Tell systemd ("READY=1"...) if supervised. */
void process_notify(const char *message);

/* Raise the limit of open files for ${clients} connections: for how many it suffices. */
unsigned process_allow_clients(unsigned clients);
/* Set oom_score_adj as configured. FIRN_ESYSTEM, logged. */
FIRN_MUST_USE int process_apply_oom_score(void);
/* disable-thp. */
void process_disable_huge_pages(void);
/* Log what in the system's settings will hurt. */
void process_warn(void);

#endif
