/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What commands that go through or draw elements share, whatever the type: arguments and reply of HSCAN,
 * SSCAN and ZSCAN; the state of the random sequence of HRANDFIELD, SRANDMEMBER, SPOP and ZRANDMEMBER.
 * Executor only.
 */
#ifndef FIRN_CMD_COLLECTION_WALK_H
#define FIRN_CMD_COLLECTION_WALK_H

#include <stdint.h>

#include "base/bytes_builder.h"
#include "cmd/call.h"

/* --- HSCAN, SSCAN, ZSCAN --- */

struct collection_scan {
    struct bytes pattern;
    int with_pattern, without_values;
    uint64_t count;
    struct bytes_builder items; /* bulk strings, as they are in both protocols */
    size_t items_count;
};

/* Options from argv[3] on, ${with_novalues}: NOVALUES is one. Fills *scan_out (nothing to release yet); 0, or
 * an error already replied. */
FIRN_MUST_USE int collection_scan_options(struct call *call, int with_novalues,
                                          struct collection_scan *scan_out);
/* Whether ${name} is wanted. */
int collection_scan_wants(const struct collection_scan *scan, struct bytes name);
/* One more string for the reply (copied). */
void collection_scan_item(struct collection_scan *scan, struct bytes item);
/* Reply ${next} and the items, and release them. */
void collection_scan_reply(struct call *call, struct collection_scan *scan, uint64_t next);
/* Release the items without a reply: the command runs again, or failed. */
void collection_scan_fini(struct collection_scan *scan);

/* --- replies with all elements --- */

#define COLLECTION_NAMES  0x1u
#define COLLECTION_VALUES 0x2u

/*
 * Reply every element of the hash or set ${entry} (what of it: ${want}), ${entry->size} of them, as a stream
 * (cmd/stream_reply.h): after the header was written, if stream_reply_applies to collection_pages(entry).
 * Returns FIRN_EPARKED. Deadlines are not looked at.
 */
FIRN_MUST_USE int collection_stream(struct call *call, const struct entry *entry, unsigned want);
/* Pages of a large hash or set; 0 for a small one. */
size_t collection_pages(const struct entry *entry);

/* --- drawing --- */

/*
 * The state of the sequence the call draws with. A command that faults runs again and must draw the same
 * elements, or it might never end: copy the state, draw with the copy, store the copy back (or another
 * random_u64()) when the run got through. One state for some clients each; when two share one, the worst is
 * another fault.
 */
uint64_t *collection_random_state(const struct call *call);

/* <command> key count [${with}]. On failure the error is replied and FIRN_ENOTNUMBER / FIRN_EINVALID
 * returned. */
FIRN_MUST_USE int collection_random_count(struct call *call, const char *with, int64_t *wanted_out,
                                          int *with_out);

#endif
