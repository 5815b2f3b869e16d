/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of src/persist share. Nobody else includes this. */
#ifndef FIRN_PERSIST_PERSIST_INTERNAL_H
#define FIRN_PERSIST_PERSIST_INTERNAL_H

#include "persist/persist.h"

/* What the test directives *-key-*-delay ask for after each key. */
void persist__key_delay(int64_t delay_us);

#endif
