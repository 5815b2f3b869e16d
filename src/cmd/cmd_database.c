/* SPDX-License-Identifier: BSD-3-Clause */
/* Whole databases: DBSIZE FLUSHDB FLUSHALL SWAPDB. Executor only. */
#include <limits.h>

#include "base/log.h"
#include "cmd/call.h"
#include "persist/persist.h"

#define FLUSH_SLICE_US 300 /* worked at once by a flush without SYNC and ASYNC; the rest goes in slices */

int cmd_dbsize(struct call *call) {
    reply_integer(call->reply, (int64_t)db_size(call->db));
    return 0;
}

/* ${db}, or all with NULL. */
static int flush(struct call *call, struct db *db) {
    int sync = call_option(call, 1, "SYNC");
    int async = call_option(call, 1, "ASYNC");
    if (call->argc > 2 || (call->argc == 2 && !sync && !async)) {
        (void)call_syntax_error(call);
        return 0;
    }
    uint64_t dropped = db_flush(db, !sync);
    if (!sync && !async) (void)db_reap_some(FLUSH_SLICE_US);
    db_stats.changes += dropped;
    call->changes += dropped > 0 ? dropped : 1; /* always propagated */
    reply_ok(call->reply);
    return 0;
}

int cmd_flushdb(struct call *call) {
    return flush(call, call->db);
}

int cmd_flushall(struct call *call) {
    unsigned long long errors = call->reply->errors;
    int result = flush(call, NULL);
    /* What was dropped must not come back with a restart: the empty file is written as well, as in Redis. */
    if (result == 0 && call->reply->errors == errors && persist_config.has_save_points &&
        persist_save(0) != 0)
        log_warning("FLUSHALL could not write the empty RDB file: a restart would bring the old data back.");
    return result;
}

static int parse_index(struct call *call, struct bytes argument, const char *error_text, int64_t *index_out) {
    int error = call_integer_or(call, argument, error_text, index_out);
    if (error == 0 && (*index_out < INT_MIN || *index_out > INT_MAX)) {
        reply_error(call->reply, error_text);
        error = FIRN_EINVALID;
    }
    return error;
}

int cmd_swapdb(struct call *call) {
    int64_t first, second, count = (int64_t)db_count();
    CALL_TRY(parse_index(call, call->argv[1], "invalid first DB index", &first));
    CALL_TRY(parse_index(call, call->argv[2], "invalid second DB index", &second));
    if (first < 0 || first >= count || second < 0 || second >= count) {
        reply_error(call->reply, "DB index is out of range");
        return 0;
    }
    db_swap(db_at((unsigned)first), db_at((unsigned)second));
    db_stats.changes++;
    call->changes++;
    reply_ok(call->reply);
    return 0;
}
