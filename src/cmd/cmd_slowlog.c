/* SPDX-License-Identifier: BSD-3-Clause */
/* SLOWLOG GET, LEN, RESET, HELP. */
#include "cmd/call.h"
#include "cmd/slowlog.h"

#define GET_COUNT_DEFAULT 10

static void reply_record(struct reply *reply, const struct slowlog_record *record) {
    reply_array(reply, 6);
    reply_integer(reply, record->id);
    reply_integer(reply, record->time_s);
    reply_integer(reply, record->duration_us);
    reply_array(reply, record->argc);
    for (unsigned i = 0; i < record->argc; i++)
        reply_bulk(reply, record->argv[i]);
    reply_bulk_text(reply, record->address);
    reply_bulk_text(reply, record->client_name);
}

int cmd_slowlog_get(struct call *call) {
    int64_t count = GET_COUNT_DEFAULT;
    if (call->argc > 3) return call_unknown_subcommand(call);
    if (call->argc == 3) {
        CALL_TRY(call_integer_or(call, call->argv[2], "count should be greater than or equal to -1", &count));
        if (count < -1) {
            reply_error(call->reply, "count should be greater than or equal to -1");
            return 0;
        }
    }
    size_t left = slowlog_count();
    if (count >= 0 && (size_t)count < left) left = (size_t)count;
    reply_array(call->reply, left);
    for (const struct slowlog_record *record = slowlog_newest(); left > 0; record = record->older, left--)
        reply_record(call->reply, record);
    return 0;
}

int cmd_slowlog_len(struct call *call) {
    reply_integer(call->reply, (int64_t)slowlog_count());
    return 0;
}

int cmd_slowlog_reset(struct call *call) {
    slowlog_reset();
    reply_ok(call->reply);
    return 0;
}

int cmd_slowlog_help(struct call *call) {
    static const char *const lines[] = {
        "GET [<count>]",
        "    The latest <count> entries (10 if not given, -1 for all), newest first. Each has",
        "    an id, the Unix time, the microseconds it took, the arguments, the client's",
        "    address and its name.",
        "LEN",
        "    How many entries there are.",
        "RESET",
        "    Forget all entries.",
        NULL,
    };
    return call_help(call, lines);
}
