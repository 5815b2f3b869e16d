/* SPDX-License-Identifier: BSD-3-Clause */
/* What cmd_geo.c and cmd_geo_search.c share. Executor only. */
#ifndef FIRN_CMD_CMD_GEO_INTERNAL_H
#define FIRN_CMD_CMD_GEO_INTERNAL_H

#include "cmd/call.h"
#include "ds/geohash.h"
#include "types/zset.h"

/* The unit ${argument} in metres, or FIRN_EINVALID with the error replied. */
FIRN_MUST_USE int cmd_geo__unit(struct call *call, struct bytes argument, double *metres_out);
/* Longitude and latitude from argument ${index} on; the same. */
FIRN_MUST_USE int cmd_geo__place(struct call *call, size_t index, struct geohash_place *place_out);
/* Where ${member} of ${entry} (may be NULL) is: 0, FIRN_ENOTFOUND. May fault. */
FIRN_MUST_USE int cmd_geo__member(struct entry *entry, struct bytes member, struct geohash_place *place_out);
void cmd_geo__reply_distance(struct call *call, double distance);
void cmd_geo__reply_place(struct call *call, struct geohash_place place);
/* Free a sorted set that is in no table; NULL is none. */
void cmd_geo__discard(struct entry *entry);

#endif
