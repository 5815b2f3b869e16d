/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of a value as they are now, for a command that reads them over many turns: an object of its own
 * (struct object) that refers to pages which others refer to as well. So whatever it holds in DRAM goes down
 * as pages of values do, and comes back when it is read.
 *
 * HP1 DRAM pages are counted by the object and so is what becomes of them below (page_share). Records that
 * were below from the start are not: the caller holds them (tier_hold) as long as the object is there. HP2
 * Pages before ->pinned stay where they are, so that somebody who asked for those that are below knows which.
 * Pages before ->next are given back.
 *
 * Executor only.
 */
#ifndef FIRN_TYPES_HELD_PAGES_H
#define FIRN_TYPES_HELD_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "types/type.h"

extern const struct type_ops type_held_ops;

struct held_pages {
    struct object head;
    uint64_t *refs;
    size_t count, next, pinned;
    uint64_t *counted; /* a bit a page: HP1 */
};

/* Hold ${refs} (counted memory, taken over). */
struct held_pages *held_pages_create(uint64_t *refs, size_t count);
/* Give back page number ${index}, whose reference is then 0. */
void held_pages_release(struct held_pages *held, size_t index);
/* Give back what is left, in slices, later (type_reap_later). NULL is a no-op. */
void held_pages_destroy(struct held_pages *held);

#endif
