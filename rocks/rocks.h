/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe tier: records in RocksDB under ids that only grow. See rocks/README.md. */
#ifndef FIRN_ROCKS_ROCKS_H
#define FIRN_ROCKS_ROCKS_H

#include "tiering/tier_backend.h"

/* Name "nvme", tag PAGE_TAG_NVME, no map. One instance a folder. */
extern const struct tier_backend_ops rocks_ops;

#endif
