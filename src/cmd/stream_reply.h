/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replies with a whole collection, written in turns: for collections of many pages, which may be larger than
 * memory. The handler collects the references of the pages, in order of the reply (8 bytes a page), and hands
 * them over; the stream holds them, so that the answer is the one of that moment whatever writers do
 * meanwhile (types/held_pages.h: writers copy, and what is in DRAM goes down as ever; records below are held:
 * tier_hold). Then, turn by turn,
 * it reads a bounded window of cold pages ahead, writes the elements of some, lets other clients run, and
 * waits while the client has much to read.
 *
 *   handler -> stream_reply_start -> FIRN_EPARKED -> [ turn: pages here? write some; output full? ] ... ->
 * done
 *
 * SR1 A stream belongs to one client, whose command it is; the client's pipeline waits for it. When the
 *     client goes, so does the stream.
 * SR2 What it needs besides the references: two windows of STREAM_WINDOW_PAGES pages in the read buffer, and
 *     STREAM_OUTPUT_BYTES of output (more only by one page's elements).
 * SR3 A page is given back once it is written. A page that cannot be read ends the connection (the reply has
 *     begun) and is logged.
 *
 * Executor only.
 */
#ifndef FIRN_CMD_STREAM_REPLY_H
#define FIRN_CMD_STREAM_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "proto/reply.h"

struct call;

#define STREAM_PAGES_MIN    256u          /* collections with fewer pages are answered at once */
#define STREAM_WINDOW_PAGES 64u           /* cold pages read together */
#define STREAM_OUTPUT_BYTES (256u * 1024) /* with more unsent the stream waits for the client */
#define STREAM_TURN_BYTES   (64u * 1024)  /* of reply in one turn */
#define STREAM_TURN_PAGES   32u           /* in one turn, of emitters that write little */

/* How the pages become a reply. */
struct stream_plan {
    /* Write the elements of a page to ${reply}: returns 0 or FIRN_ECORRUPT. Counts in plan->written what it
     * wrote, and honours plan->skip and plan->wanted where its type needs them. May change the plan. */
    int (*emit)(struct stream_plan *plan, struct bytes payload, struct reply *reply);
    uint64_t wanted;  /* elements the header promised: the stream ends with an error if the pages have not as
                         many; the pages after the one that completes them are not read */
    uint64_t written; /* elements so far */
    uint64_t skip;    /* the emitter's: elements still to be passed over */
    unsigned flags;   /* the emitter's */
    void *ctx;        /* the emitter's: counted memory (memory_alloc) or NULL, freed with the stream */
    void (*ctx_fini)(void *ctx); /* NULL: nothing hangs on ctx */
};

/*
 * Whether a reply from ${pages} pages is to be streamed: tiers are there, there are enough pages, and the
 * client can wait (not in MULTI or a script). If not, answer as ever.
 */
int stream_reply_applies(const struct call *call, size_t pages);
/* Memory for ${pages} references, to be filled and passed to stream_reply_start. */
uint64_t *stream_reply_refs(size_t pages);
/*
 * Write the header to call->reply first, then call this last and return what it returns (FIRN_EPARKED). Takes
 * over ${refs} (from stream_reply_refs), which are held from now on; copies ${plan}. The handler is not run
 * again. Nothing may have been changed by the command (afterwards it may be: turns.h).
 */
FIRN_MUST_USE int stream_reply_start(struct call *call, uint64_t *refs, size_t count,
                                     const struct stream_plan *plan);

/* Streams alive. */
size_t stream_reply_count(void);
#endif
