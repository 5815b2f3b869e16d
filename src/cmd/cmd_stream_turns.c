/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges of streams that are written in turns (cmd/stream_reply.h): XRANGE, XREVRANGE, XREAD. The nodes of
 * all spans are one sequence of pages; each span knows where its own end.
 *
 * XREADGROUP goes over the nodes twice: first, while the key is held, every entry is delivered; then, the key
 * free again, they are written as a range is, however slowly the client reads. A client that goes in the
 * first part has got what was delivered until then.
 *
 * Executor only.
 */
#include "base/memory.h"
#include "cmd/blocking.h"
#include "cmd/cmd_stream_internal.h"
#include "cmd/stream_reply.h"
#include "cmd/turns.h"
#include "page/fault.h"

#define TURN_ENTRIES 500u /* delivered in one turn */
#define NODES_AHEAD  64u

/* One span on its way. */
struct stretch {
    struct bytes key; /* a copy behind the IDs */
    struct stream_id first, last;
    int reverse;
    size_t pages;     /* where its pages end among all */
    uint64_t entries; /* it has, and has still to be written */
};

struct stretches {
    int with_keys;
    size_t at, page; /* the stretch; the page that comes next */
    struct stretch *all;
    struct stream_id *node_ids; /* of all pages */
};

static void write_header(const struct stretches *run, const struct stretch *stretch, struct reply *reply) {
    if (run->with_keys && reply->version == 2) reply_array(reply, 2);
    if (run->with_keys) reply_bulk(reply, stretch->key);
    reply_array(reply, stretch->entries);
}

/* struct stream_plan: the page of a node. */
static int emit(struct stream_plan *plan, struct bytes payload, struct reply *reply) {
    struct stretches *run = plan->ctx;
    struct stretch *stretch = &run->all[run->at];
    struct stream_range range;
    struct stream_item item;
    struct call call = {.reply = reply}; /* cmd_stream__reply_item looks at nothing else */
    int got = 1;
    if (run->page == (run->at == 0 ? 0 : stretch[-1].pages)) write_header(run, stretch, reply);
    int error = stream_range_begin_node(&range, payload, run->node_ids[run->page], stretch->first,
                                        stretch->last, stretch->reverse);
    while (error == 0 && stretch->entries > 0 && (got = stream_range_next(&range, &item)) == 1) {
        error = cmd_stream__reply_item(&call, &range, &item);
        stretch->entries--;
        plan->written++;
    }
    if (error == 0 && got < 0) error = got;
    if (++run->page < stretch->pages || error != 0) return error;
    run->at++;
    return stretch->entries == 0 ? 0 : FIRN_ECORRUPT; /* the next header must not come too early */
}

/* How many pages and entries each span has: *pages_out in all. */
static int measure(const struct cmd_stream__span *spans, size_t count, struct stretch *all,
                   size_t *pages_out) {
    int result = 0;
    *pages_out = 0;
    for (size_t i = 0; i < count; i++) {
        const struct cmd_stream__span *span = &spans[i];
        uint64_t entries = 0;
        size_t pages = 0;
        int error = stream_range_measure(span->entry, span->first, span->last, span->reverse, span->most,
                                         &pages, &entries);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        if (span->most != 0 && span->most < entries) entries = span->most;
        *pages_out += pages;
        all[i] = (struct stretch){.key = span->key,
                                  .first = span->first,
                                  .last = span->last,
                                  .reverse = span->reverse,
                                  .pages = *pages_out,
                                  .entries = entries};
    }
    return result;
}

/* Whether the spans may be on many pages, as far as can be told without reading any. */
static int may_be_many(const struct call *call, const struct cmd_stream__span *spans, size_t count) {
    size_t nodes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t own = stream_of(spans[i].entry)->index.nodes;
        nodes += spans[i].most != 0 && spans[i].most < own ? (size_t)spans[i].most : own;
    }
    return stream_reply_applies(call, nodes);
}

static int start(struct call *call, const struct cmd_stream__span *spans, size_t count, struct stretches *run,
                 size_t pages) {
    struct stream_plan plan = {.emit = emit, .ctx = run};
    uint64_t *refs = stream_reply_refs(pages);
    size_t from = 0;
    for (size_t i = 0; i < count; i++) {
        const struct cmd_stream__span *span = &spans[i];
        stream_range_nodes(span->entry, span->first, span->last, span->reverse, run->all[i].pages - from,
                           refs + from, run->node_ids + from);
        from = run->all[i].pages;
        plan.wanted += run->all[i].entries;
    }
    if (run->with_keys && call->reply->version == 2) reply_array(call->reply, count);
    if (run->with_keys && call->reply->version != 2) reply_map(call->reply, count);
    return stream_reply_start(call, refs, pages, &plan);
}

int cmd_stream__in_turns(struct call *call, const struct cmd_stream__span *spans, size_t count,
                         int with_keys) {
    if (!may_be_many(call, spans, count)) return 0;
    size_t pages, key_bytes = 0;
    struct stretch *all = memory_alloc(count * sizeof *all);
    int error = measure(spans, count, all, &pages);
    if (error != 0 || !stream_reply_applies(call, pages)) {
        memory_free(all);
        return error;
    }
    for (size_t i = 0; i < count; i++)
        key_bytes += spans[i].key.size;
    struct stretches *run =
        memory_alloc(sizeof *run + count * sizeof *all + pages * sizeof *run->node_ids + key_bytes);
    *run = (struct stretches){.with_keys = with_keys, .all = (struct stretch *)(run + 1)};
    run->node_ids = (struct stream_id *)(run->all + count);
    uint8_t *names = (uint8_t *)(run->node_ids + pages);
    memcpy(run->all, all, count * sizeof *all);
    memory_free(all);
    for (size_t i = 0; i < count; i++) {
        struct bytes *key = &run->all[i].key;
        if (key->size > 0) memcpy(names, key->data, key->size);
        key->data = names;
        names += key->size;
    }
    return start(call, spans, count, run, pages);
}

/* --- XREADGROUP --- */

struct deliver_turns {
    struct turns turns;
    struct cmd_stream__delivery delivery;
    struct key_hold *hold;
    uint64_t id;           /* of the stream's object */
    struct stream_id next; /* where to go on */
    struct stream_id last; /* delivered */
    uint64_t delivered;
    int is_over;
};

static void deliver_destroy(struct turns *turns) {
    struct deliver_turns *work = (struct deliver_turns *)turns;
    blocking_unhold(work->hold);
    memory_free(work);
}

/* The page at work->next is not here: ask for it and those behind it. */
static int ask_ahead(const struct deliver_turns *work, const struct stream *stream) {
    struct stream_place place;
    int more = stream_index_find(&stream->index, work->next, &place);
    if (!more) more = stream_index_first(&stream->index, &place);
    for (unsigned i = 0; more && i < NODES_AHEAD; i++) {
        uint64_t ref = stream_index_node(&stream->index, place)->ref;
        if (!page_is_ready(ref)) (void)fault_record(ref);
        more = stream_index_next(&stream->index, &place);
    }
    return FIRN_EFAULT;
}

/* Deliver some entries: 1 there are more, 0 that was all, or an error. */
static int deliver_some(struct deliver_turns *work, struct call *call, struct entry *entry,
                        struct stream_group *group, struct stream_consumer *consumer) {
    const struct cmd_stream__delivery *delivery = &work->delivery;
    struct stream_range range;
    struct stream_item item;
    stream_range_begin(&range, entry, work->next, CMD_STREAM_ID_MAX, 0);
    for (unsigned i = 0; i < TURN_ENTRIES; i++) {
        if (delivery->count != 0 && work->delivered == delivery->count) return 0;
        int got = stream_range_next(&range, &item);
        if (got == FIRN_EFAULT) {
            work->turns.progressed = 1; /* the nodes before are done with */
            return ask_ahead(work, stream_of(entry));
        }
        if (got != 1) return got;
        cmd_stream__deliver(call, entry, group, consumer, delivery, item.id);
        work->delivered++;
        work->next = work->last = item.id;
        if (!stream_id_next(&work->next)) return 0;
    }
    return 1;
}

static int deliver_turn(struct turns *turns, struct call *call) {
    struct deliver_turns *work = (struct deliver_turns *)turns;
    const struct cmd_stream__delivery *delivery = &work->delivery;
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, delivery->key, TYPE_STREAM, &entry));
    struct stream_group *group = NULL;
    if (entry != NULL && stream_of(entry)->head.id == work->id)
        group = stream_group_find(stream_of(entry), delivery->group);
    struct stream_consumer *consumer = group != NULL ? stream_consumer_find(group, delivery->consumer) : NULL;
    if (consumer == NULL) { /* due, or evicted: with its groups */
        reply_null_array(call->reply);
        return 0;
    }
    if (!work->is_over) {
        entry = db_changing(call->db, entry);
        int more = deliver_some(work, call, entry, group, consumer);
        if (delivery->no_ack && work->delivered > 0) cmd_stream__propagate_group(call, delivery->key, group);
        if (more != 0) return more < 0 ? more : FIRN_EPARKED;
        work->is_over = 1;
    }
    struct cmd_stream__span span = {.entry = entry,
                                    .key = delivery->key,
                                    .first = delivery->first,
                                    .last = work->last,
                                    .most = work->delivered};
    int result = cmd_stream__in_turns(call, &span, 1, 1);
    return result != 0 ? result : FIRN_ECORRUPT; /* there were many when it began */
}

int cmd_stream__deliver_in_turns(struct call *call, struct entry *entry,
                                 const struct cmd_stream__delivery *delivery) {
    const struct stream *stream = stream_of(entry);
    struct cmd_stream__span span = {.entry = entry, .most = delivery->count};
    size_t pages;
    uint64_t entries;
    if (stream->head.pages_dram == stream->head.pages || !may_be_many(call, &span, 1)) return 0;
    int error =
        stream_range_measure(entry, delivery->first, CMD_STREAM_ID_MAX, 0, delivery->count, &pages, &entries);
    if (error == 0) error = stream_know_first(entry);
    if (error != 0 || !stream_reply_applies(call, pages)) return error;
    struct deliver_turns *work = memory_alloc_zero(sizeof *work);
    work->turns = (struct turns){.turn = deliver_turn, .destroy = deliver_destroy};
    work->delivery = *delivery;
    work->hold = blocking_hold(call->db, delivery->key);
    work->id = stream->head.id;
    work->next = delivery->first;
    cmd_stream__group_changed(call);
    return turns_start(call, &work->turns);
}
