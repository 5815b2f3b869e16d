/* SPDX-License-Identifier: BSD-3-Clause */
/* Error codes: 0 is success, every failure a negative FIRN_E<CAUSE> from err.def. */
#ifndef FIRN_BASE_ERROR_H
#define FIRN_BASE_ERROR_H

#define FIRN_MUST_USE __attribute__((warn_unused_result))

enum firn_error {
#define FIRN_ERROR(name, number, text, retryable) FIRN_E##name = -(number),
#include "base/err.def"
#undef FIRN_ERROR
};

/* Static text for ${error} (0 or a negative code); never NULL. Any thread. */
const char *error_text(int error);

/* Whether trying again later may succeed. Any thread. */
int error_is_retryable(int error);

#endif
