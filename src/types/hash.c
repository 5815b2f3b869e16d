/* SPDX-License-Identifier: BSD-3-Clause */
/* Hashes: see hash.h. */
#include "types/hash.h"

const struct type_ops type_hash_ops = {.name = "hash"};
