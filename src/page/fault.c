/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault sets. One set is current at a time, around one run of a command; a reference is in a set at most
 * once. Executor only.
 */
#include "page/fault.h"

#include <stddef.h>

#include "base/assert.h"
#include "base/error.h"
#include "page/page.h"

static struct fault_set *current;

void fault_begin(struct fault_set *set, enum fault_mode mode) {
    FIRN_ASSERT(current == NULL);
    set->count = 0;
    set->mode = mode;
    set->sync_reads = 0;
    current = set;
}

void fault_end(struct fault_set *set) {
    FIRN_ASSERT(current == set);
    current = NULL;
}

void fault_must_finish(void) {
    if (current != NULL) current->mode = FAULT_SYNC;
}

int fault_record(uint64_t ref) {
    FIRN_ASSERT(current != NULL && current->mode == FAULT_ASYNC);
    FIRN_ASSERT(page_ref_tag(ref) == PAGE_TAG_NVME);
    for (uint32_t i = current->count; i-- > 0;) {
        if (current->refs[i] == ref) return FIRN_EFAULT;
    }
    /* A full set is no error: the run of the command after this one asks for the rest. */
    if (current->count < FAULT_SET_MAX) current->refs[current->count++] = ref;
    return FIRN_EFAULT;
}

struct fault_set *fault_suspend(void) {
    struct fault_set *set = current;
    FIRN_ASSERT(set == NULL || set->count == 0);
    current = NULL;
    return set;
}

void fault_resume(struct fault_set *set) {
    FIRN_ASSERT(current == NULL);
    current = set;
}

struct fault_set *fault_current(void) {
    return current;
}
