/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault sets: the pages a command needs and that are not readable yet. The dispatcher opens a set around a
 * command; page_peek and friends add to it; afterwards a set that is not empty means: park the client and
 * read these. Executor only.
 */
#ifndef FIRN_PAGE_FAULT_H
#define FIRN_PAGE_FAULT_H

#include <stdint.h>

#define FAULT_SET_MAX                                                                                        \
    256u /* pages one run of a command can ask for; further ones are asked for by the next run */

/* Pages a command may bring in, run after run, before it goes through them all; one that needs more (a whole
 * huge value) reads blocking as it goes, so that not all of it has to be kept. */
#define FAULT_TOUCH_MAX (32u * FAULT_SET_MAX)

enum fault_mode {
    FAULT_ASYNC, /* record and unwind */
    FAULT_SYNC,  /* read now, blocking (after a command's first change, start-up, tests) */
};

struct fault_set {
    uint32_t count;
    enum fault_mode mode;
    uint64_t sync_reads; /* pages read in sync mode */
    uint64_t refs[FAULT_SET_MAX];
};

/* Empty ${set} and make it current in ${mode}. Does not nest (assert). */
void fault_begin(struct fault_set *set, enum fault_mode mode);
/* No set is current any more; ${set} keeps what was recorded. */
void fault_end(struct fault_set *set);
/* Switch the current set to sync: the command has changed something and cannot unwind any more. No-op without
 * a set. */
void fault_must_finish(void);
/* Record ${ref} (once) in the current set: FIRN_EFAULT. For page.c. */
int fault_record(uint64_t ref);
/* No set is current until fault_resume gives back what this returned (may be NULL): a walk over all data
 * within a command reads for itself. Nothing may have been recorded. */
struct fault_set *fault_suspend(void);
void fault_resume(struct fault_set *set);
/* The current set, or NULL (then reads are synchronous). */
struct fault_set *fault_current(void);

#endif
