/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SORT of a collection that has many pages: read page by page as a stream, with other clients between. With
 * LIMIT, what is kept is bounded whatever the size of the collection; without, it is the answer. Only for
 * what looks nothing up (no BY, no GET but "#") and stores nothing: those are answered as ever.
 */
#include "base/memory.h"
#include "cmd/cmd_sort_internal.h"
#include "cmd/collection_walk.h"
#include "cmd/stream_reply.h"
#include "types/list.h"
#include "types/list_page.h"
#include "types/packed_collection.h"
#include "types/packed_page.h"
#include "types/score_page.h"
#include "types/zset.h"

/* The elements of one page, by the type of the collection. Returns how many, or a negative error. */

static int64_t receive_packed(struct sort *sort, struct bytes payload) {
    struct packed_cursor cursor;
    struct packed_entry entry;
    int64_t count = 0;
    int result = packed_page_begin(payload, &cursor);
    if (result != 0) return result;
    for (; (result = packed_page_next(&cursor, &entry)) == 1; count++)
        cmd_sort__keep(sort, entry.field);
    return result < 0 ? result : count;
}

static int64_t receive_listed(struct sort *sort, struct bytes payload) {
    struct list_view view;
    struct list_element element;
    char digits[NUMBER_INT_TEXT_MAX];
    int64_t count = 0;
    int result = list_page_open(payload, &view);
    if (result == 0) result = list_page_at(&view, 0, &element);
    if (result != 0) return result;
    do {
        cmd_sort__keep(sort, list_element_text(&element, digits));
        count++;
    } while ((result = list_page_next(&view, &element, &element)) == 1);
    return result < 0 ? result : count;
}

static int64_t receive_scored(struct sort *sort, struct bytes payload) {
    struct score_view view;
    int error = score_page_open(payload, 1, &view);
    if (error != 0) return error;
    for (uint32_t i = 0; i < view.count; i++)
        cmd_sort__keep(sort, score_view_member(&view, i));
    return view.count;
}

/* struct stream_plan: a page of any of them (plan->flags: enum type_id). The last one writes the reply. */
static int receive_page(struct stream_plan *plan, struct bytes payload, struct reply *reply) {
    struct sort *sort = plan->ctx;
    size_t from = sort->used;
    unsigned missing = 0;
    int64_t count = plan->flags == TYPE_SET    ? receive_packed(sort, payload)
                    : plan->flags == TYPE_LIST ? receive_listed(sort, payload)
                                               : receive_scored(sort, payload);
    if (count < 0) return (int)count;
    plan->written += (uint64_t)count;
    if (plan->written > plan->wanted) return FIRN_ECORRUPT;
    int error = cmd_sort__weigh(sort, from, &missing);
    if (error != 0) return error;
    cmd_sort__trim(sort);
    return plan->written == plan->wanted ? cmd_sort__reply(sort, reply) : 0;
}

static void sort_fini(void *ctx) {
    cmd_sort__fini(ctx);
}

static int looks_up(const struct sort *sort) {
    for (size_t i = 0; i < sort->get_count; i++) {
        if (!sort->gets[i].is_self) return 1;
    }
    return sort->has_by;
}

/* References to all pages into ${refs}, or (NULL) how many there are. */
static size_t all_refs(struct entry *entry, uint64_t *refs) {
    uint64_t skip;
    switch ((int)entry_type(entry)) {
    case TYPE_SET:
        return refs == NULL ? collection_pages(entry)
                            : page_directory_refs(&packed_collection_of(entry)->directory, refs);
    case TYPE_LIST: return list_range_refs(entry, 0, entry->size, refs, &skip);
    default: return zset_span_refs(entry, (struct zset_span){0, entry->size}, 0, refs, &skip);
    }
}

int cmd_sort__stream(struct sort *sort) {
    struct entry *entry = sort->entry;
    if (sort->as_it_is || sort->has_store || entry->size <= STREAM_PAGES_MIN || looks_up(sort)) return 0;
    size_t pages = all_refs(entry, NULL);
    if (!stream_reply_applies(sort->call, pages)) return 0;
    uint64_t *refs = stream_reply_refs(pages);
    pages = all_refs(entry, refs);
    struct call *call = sort->call;
    struct sort *own = memory_alloc(sizeof *own);
    struct stream_plan plan = {.emit = receive_page,
                               .wanted = entry->size,
                               .flags = (unsigned)entry_type(entry),
                               .ctx = own,
                               .ctx_fini = sort_fini};
    *own = *sort;
    own->call = NULL;
    own->entry = NULL;
    *sort = (struct sort){.call = call};
    return stream_reply_start(call, refs, pages, &plan);
}
