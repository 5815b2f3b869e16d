/* SPDX-License-Identifier: BSD-3-Clause */
/* Scanning and drawing, whatever the type: collection_walk.h. */
#include "cmd/collection_walk.h"

#include "base/assert.h"
#include "base/random.h"
#include "cmd/stream_reply.h"
#include "ds/glob.h"
#include "ds/number.h"
#include "types/packed_collection.h"

#define RANDOM_STATES 64u

int collection_scan_options(struct call *call, int with_novalues, struct collection_scan *scan) {
    *scan = (struct collection_scan){.count = 10};
    for (size_t i = 3; i < call->argc;) {
        int has_value = i + 1 < call->argc;
        if (call_option(call, i, "COUNT") && has_value) {
            int64_t count;
            int error = call_integer(call, call->argv[i + 1], &count);
            if (error != 0) return error;
            if (count < 1) return call_syntax_error(call);
            scan->count = (uint64_t)count;
            i += 2;
        } else if (call_option(call, i, "MATCH") && has_value) {
            scan->pattern = call->argv[i + 1];
            scan->with_pattern = !bytes_is(scan->pattern, "*");
            i += 2;
        } else if (with_novalues && call_option(call, i, "NOVALUES")) {
            scan->without_values = 1;
            i++;
        } else {
            return call_syntax_error(call);
        }
    }
    return 0;
}

int collection_scan_wants(const struct collection_scan *scan, struct bytes name) {
    return !scan->with_pattern || glob_match(scan->pattern, name, 0);
}

void collection_scan_item(struct collection_scan *scan, struct bytes item) {
    reply_encode_bulk(&scan->items, item);
    scan->items_count++;
}

void collection_scan_reply(struct call *call, struct collection_scan *scan, uint64_t next) {
    reply_array(call->reply, 2);
    call_reply_cursor(call, next);
    reply_array(call->reply, scan->items_count);
    if (scan->items.size > 0) reply_raw(call->reply, bytes_builder_bytes(&scan->items));
    collection_scan_fini(scan);
}

void collection_scan_fini(struct collection_scan *scan) {
    bytes_builder_fini(&scan->items);
}

size_t collection_pages(const struct entry *entry) {
    const struct packed_collection *collection = packed_collection_of(entry);
    return collection != NULL ? collection->head.pages : 0;
}

/* struct stream_plan: a packed page. */
static int emit_packed(struct stream_plan *plan, struct bytes payload, struct reply *reply) {
    struct packed_cursor cursor;
    struct packed_entry entry;
    int result = packed_page_begin(payload, &cursor);
    if (result != 0) return result;
    while ((result = packed_page_next(&cursor, &entry)) == 1) {
        if (plan->flags & COLLECTION_NAMES) reply_bulk(reply, entry.field);
        if (plan->flags & COLLECTION_VALUES) reply_bulk(reply, entry.value);
    }
    plan->written += cursor.count;
    return plan->written > plan->wanted ? FIRN_ECORRUPT : result;
}

int collection_stream(struct call *call, const struct entry *entry, unsigned want) {
    const struct packed_collection *collection = packed_collection_of(entry);
    uint64_t *refs = stream_reply_refs(collection->head.pages);
    size_t count = page_directory_refs(&collection->directory, refs);
    FIRN_ASSERT(count == collection->head.pages);
    struct stream_plan plan = {.emit = emit_packed, .wanted = entry->size, .flags = want};
    return stream_reply_start(call, refs, count, &plan);
}

uint64_t *collection_random_state(const struct call *call) {
    static uint64_t states[RANDOM_STATES];
    uint64_t *state = &states[((uintptr_t)call->client >> 6) % RANDOM_STATES];
    if (*state == 0) *state = random_u64();
    return state;
}

int collection_random_count(struct call *call, const char *with, int64_t *wanted_out, int *with_out) {
    *with_out = call->argc == 4;
    int error = call_integer_between(call, call->argv[2], -INT64_MAX, INT64_MAX, wanted_out);
    if (error != 0) return error;
    if (call->argc > 4 || (*with_out && !call_option(call, 3, with))) return call_syntax_error(call);
    if (*with_out && (*wanted_out < -INT64_MAX / 2 || *wanted_out > INT64_MAX / 2)) {
        reply_error(call->reply, "value is out of range");
        return FIRN_EINVALID;
    }
    return 0;
}
