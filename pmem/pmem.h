/* SPDX-License-Identifier: BSD-3-Clause */
/* The PMEM tier: records in a mapped file or device, read in place. See pmem/README.md. */
#ifndef FIRN_PMEM_PMEM_H
#define FIRN_PMEM_PMEM_H

#include "tiering/tier_backend.h"

/* Name "pmem", tag PAGE_TAG_PMEM, has map. One instance a file. */
extern const struct tier_backend_ops pmem_ops;

#endif
