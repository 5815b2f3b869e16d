/* SPDX-License-Identifier: BSD-3-Clause */
/* What a failed assertion does: one log line, a backtrace on the log's descriptor of last resort (standard
 * error), abort. */
#include "base/assert.h"

#include <execinfo.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

#define ASSERT_FRAMES_MAX 64

void assert_failed(const char *condition, const char *file, int line) {
    void *frames[ASSERT_FRAMES_MAX];
    log_warning("=== ASSERTION FAILED === %s:%d '%s' is not true", file, line, condition);
    int count = backtrace(frames, ASSERT_FRAMES_MAX);
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    abort();
}
