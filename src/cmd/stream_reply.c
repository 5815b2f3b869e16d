/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of replies (stream_reply.h). Two windows of reads: the pages of the first are being written while
 * the second is on its way. A window covers a stretch of the references; those in it that are on NVMe are
 * pinned in the read buffer from its start until the stream has passed its end.
 *
 * The wait for the client to read is a timer that looks: every millisecond at first, later less often.
 */
#include "cmd/stream_reply.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/dispatch_internal.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/held_pages.h"

#define WINDOW_SCAN_MAX 1024u /* references one window covers at most */

struct window {
    struct stream_reply *stream;
    struct tier_read *read; /* NULL: nothing in it had to be read */
    size_t end;
    int arrived;
};

struct stream_reply {
    struct turns turns;
    struct client *client;
    struct stream_plan plan;
    struct held_pages *held;
    struct tier_hold *hold;
    struct window windows[2];
    unsigned current; /* the window where next is, or which it has just left */
    int waits_for_pages;
};

static size_t streams;

static int stream_turn(struct turns *turns, struct call *call);
static void stream_destroy(struct turns *turns);

/* --- start and end --- */

int stream_reply_applies(const struct call *call, size_t pages) {
    return pages > STREAM_PAGES_MIN && !call->reply->off && turns_apply(call);
}

uint64_t *stream_reply_refs(size_t pages) {
    return memory_alloc(pages * sizeof(uint64_t));
}

int stream_reply_start(struct call *call, uint64_t *refs, size_t count, const struct stream_plan *plan) {
    FIRN_ASSERT(count > 0);
    struct stream_reply *stream = memory_alloc_zero(sizeof *stream);
    stream->turns = (struct turns){.turn = stream_turn, .destroy = stream_destroy};
    stream->client = call->client;
    stream->plan = *plan;
    stream->windows[0].stream = stream->windows[1].stream = stream;
    stream->hold = tier_hold(refs, count);
    stream->held = held_pages_create(refs, count);
    streams++;
    return turns_start(call, &stream->turns);
}

size_t stream_reply_count(void) {
    return streams;
}

static void window_close(struct window *window) {
    if (window->read != NULL) tier_read_done(window->read);
    window->read = NULL;
    window->end = 0;
    window->arrived = 0;
}

static void stream_destroy(struct turns *turns) {
    struct stream_reply *stream = (struct stream_reply *)turns;
    window_close(&stream->windows[0]);
    window_close(&stream->windows[1]);
    tier_release(stream->hold);
    held_pages_destroy(stream->held);
    if (stream->plan.ctx_fini != NULL) stream->plan.ctx_fini(stream->plan.ctx);
    memory_free(stream->plan.ctx);
    memory_free(stream);
    streams--;
}

/* --- windows --- */

static inline struct window *window_current(struct stream_reply *stream) {
    return &stream->windows[stream->current];
}

static void window_arrived(void *ctx) {
    struct window *window = ctx;
    struct stream_reply *stream = window->stream;
    window->arrived = 1;
    if (!stream->waits_for_pages || window != window_current(stream)) return;
    stream->waits_for_pages = 0;
    dispatch__wake_turns(stream->client->dispatch_state);
}

/* Begin reading what is on NVMe among the references from ${from} on. */
static void window_open(struct stream_reply *stream, struct window *window, size_t from) {
    struct fault_set set = {0};
    size_t at = from;
    FIRN_ASSERT(window->read == NULL);
    for (; at < stream->held->count && at - from < WINDOW_SCAN_MAX && set.count < STREAM_WINDOW_PAGES; at++) {
        if (page_ref_tag(stream->held->refs[at]) == PAGE_TAG_NVME)
            set.refs[set.count++] = stream->held->refs[at];
    }
    window->end = stream->held->pinned = at;
    window->arrived = set.count == 0;
    if (set.count > 0) window->read = tier_read(&set, window_arrived, window);
}

/* Let go of windows that are passed, and keep the next one on its way. Now the page at next is in the current
 * one. */
static void windows_advance(struct stream_reply *stream) {
    if (stream->held->next >= window_current(stream)->end) {
        window_close(window_current(stream));
        stream->current ^= 1u;
    }
    struct window *current = window_current(stream), *ahead = &stream->windows[stream->current ^ 1u];
    if (stream->held->next >= current->end) {
        window_close(current);
        window_open(stream, current, stream->held->next);
    }
    if (ahead->end == 0 && current->end < stream->held->count) window_open(stream, ahead, current->end);
}

/* --- turns --- */

static int fail(struct stream_reply *stream, int error) {
    char address[128];
    client_address(stream->client, address, sizeof address);
    log_warning(
        "A reply to %s is broken off after %llu of %llu elements (%s): the rest of the value cannot be "
        "read; its connection is closed",
        address, (unsigned long long)stream->plan.written, (unsigned long long)stream->plan.wanted,
        error_text(error));
    client_close_later(stream->client, 0);
    return error;
}

/* Write pages while they are here. *wait_out: the next one is not. */
static int write_pages(struct stream_reply *stream, int *wait_out) {
    struct reply *reply = &stream->client->reply;
    size_t before = reply->bytes, first = stream->held->next;
    *wait_out = 0;
    while (stream->held->next < stream->held->count && stream->plan.written < stream->plan.wanted &&
           reply->bytes - before < STREAM_TURN_BYTES && stream->held->next - first < STREAM_TURN_PAGES) {
        struct bytes payload;
        uint64_t ref = stream->held->refs[stream->held->next];
        if (page_ref_tag(ref) != PAGE_TAG_DRAM) {
            windows_advance(stream);
            if (!page_is_ready(ref)) {
                *wait_out = 1;
                return 0;
            }
        }
        int error = page_peek(ref, &payload, NULL);
        if (error == 0) error = stream->plan.emit(&stream->plan, payload, reply);
        if (error != 0) return error;
        held_pages_release(stream->held, stream->held->next++);
    }
    return 0;
}

static int stream_turn(struct turns *turns, struct call *call) {
    (void)call;
    struct stream_reply *stream = (struct stream_reply *)turns;
    struct dispatch_state *state = stream->client->dispatch_state;
    if (client_output_bytes(stream->client) > STREAM_OUTPUT_BYTES) {
        dispatch__park_turns(state, DISPATCH_TURNS_OUTPUT);
        return FIRN_EPARKED;
    }
    int wait;
    int error = write_pages(stream, &wait);
    if (error != 0) return fail(stream, error);
    if (stream->plan.written >= stream->plan.wanted) return 0;
    if (stream->held->next == stream->held->count) return fail(stream, FIRN_ECORRUPT);
    if (wait) {
        if (window_current(stream)->arrived) return fail(stream, FIRN_EIO);
        stream->waits_for_pages = 1;
        dispatch__park_turns(state, DISPATCH_TURNS_PAGES);
    } else {
        dispatch__park_turns(state, DISPATCH_TURNS_AGAIN);
    }
    return FIRN_EPARKED;
}
