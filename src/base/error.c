/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts of the error codes, from err.def. Any thread. */
#include "base/error.h"

const char *error_text(int error) {
    switch (error) {
    case 0: return "success";
#define FIRN_ERROR(name, number, text, retryable)                                                            \
    case FIRN_E##name:                                                                                       \
        return text;
#include "base/err.def"
#undef FIRN_ERROR
    default: return "unknown error";
    }
}

int error_is_retryable(int error) {
    switch (error) {
#define FIRN_ERROR(name, number, text, retryable)                                                            \
    case FIRN_E##name:                                                                                       \
        return retryable;
#include "base/err.def"
#undef FIRN_ERROR
    default: return 0;
    }
}
