/* SPDX-License-Identifier: BSD-3-Clause */
/* Assertions: always on. FIRN_ASSERT is for cheap checks, FIRN_DEBUG_ASSERT for O(n) ones (preset dev and
 * asan). */
#ifndef FIRN_BASE_ASSERT_H
#define FIRN_BASE_ASSERT_H

/* Log the failed condition with its place and a backtrace, then abort. Any thread. Never returns. */
void assert_failed(const char *condition, const char *file, int line) __attribute__((noreturn, cold));

#define FIRN_ASSERT(condition)                                                                               \
    do {                                                                                                     \
        if (__builtin_expect(!(condition), 0)) assert_failed(#condition, __FILE__, __LINE__);                \
    } while (0)

#ifdef FIRN_DEBUG_ASSERTS
#define FIRN_DEBUG_ASSERT(condition) FIRN_ASSERT(condition)
#else
#define FIRN_DEBUG_ASSERT(condition) ((void)sizeof(condition))
#endif

#endif
