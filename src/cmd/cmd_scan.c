/* SPDX-License-Identifier: BSD-3-Clause */
/* SCAN. The cursor is a place among the hashes (call_cursor); clients take it as an opaque number. Executor
 * only. */
#include <limits.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "ds/glob.h"

struct scan {
    struct bytes pattern;
    int with_pattern;
    struct bytes type;
    int with_type;
    unsigned count;
    int64_t now_ms;
    /* found, and expired ones to be deleted */
    struct entry **entries;
    size_t entry_count, entry_capacity, expired_count;
};

static int parse_options(struct call *call, struct scan *scan) {
    for (size_t i = 2; i < call->argc; i += 2) {
        if (i + 1 >= call->argc) return call_syntax_error(call);
        struct bytes value = call->argv[i + 1];
        if (call_option(call, i, "COUNT")) {
            int64_t count;
            int error = call_integer(call, value, &count);
            if (error != 0) return error;
            if (count < 1) return call_syntax_error(call);
            scan->count = count > UINT_MAX ? UINT_MAX : (unsigned)count;
        } else if (call_option(call, i, "MATCH")) {
            scan->pattern = value;
            scan->with_pattern = !bytes_is(value, "*");
        } else if (call_option(call, i, "TYPE")) {
            scan->type = value;
            scan->with_type = 1;
        } else {
            return call_syntax_error(call);
        }
    }
    return 0;
}

static void scan_visit(struct entry *entry, void *ctx) {
    struct scan *scan = ctx;
    int64_t expiry_ms = entry_expiry(entry);
    int expired = expiry_ms >= 0 && expiry_ms <= scan->now_ms;
    if (scan->with_pattern && !glob_match(scan->pattern, entry_key(entry), 0)) return;
    /* What has expired goes whatever its type. */
    if (!expired && scan->with_type && !bytes_is(scan->type, type_name(entry_type(entry)))) return;
    if (scan->entry_count == scan->entry_capacity) {
        scan->entry_capacity = scan->entry_capacity == 0 ? 32 : scan->entry_capacity * 2;
        scan->entries = memory_realloc(scan->entries, scan->entry_capacity * sizeof(struct entry *));
    }
    struct entry **place = &scan->entries[scan->entry_count++];
    *place = entry;
    if (expired) { /* expired ones in front */
        *place = scan->entries[scan->expired_count];
        scan->entries[scan->expired_count++] = entry;
    }
}

int cmd_scan(struct call *call) {
    struct scan scan = {.count = 10, .now_ms = clock_cached_ms()};
    uint64_t cursor;
    CALL_TRY(call_cursor(call, call->argv[1], &cursor));
    CALL_TRY(parse_options(call, &scan));
    int error = db_scan(call->db, cursor >> 1, scan.count, scan_visit, &scan, &cursor);
    if (error != 0) {
        memory_free(scan.entries);
        return error;
    }
    reply_array(call->reply, 2);
    call_reply_cursor(call, cursor << 1);
    reply_array(call->reply, scan.entry_count - scan.expired_count);
    for (size_t i = scan.expired_count; i < scan.entry_count; i++)
        reply_bulk(call->reply, entry_key(scan.entries[i]));
    /* What is due is deleted as by any other access. The lookup frees the key it is given last, after its
     * events. */
    for (size_t i = 0; i < scan.expired_count && error == 0; i++) {
        struct entry *gone;
        error = db_find(call->db, entry_key(scan.entries[i]), LOOKUP_WRITE | LOOKUP_NO_TOUCH, &gone);
    }
    memory_free(scan.entries);
    return error;
}
