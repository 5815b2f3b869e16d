/* SPDX-License-Identifier: BSD-3-Clause */
/* ROLE and WAIT of a server that has no replicas (replication comes later). */
#include "cmd/call.h"
#include "cmd/dispatch.h"

int cmd_role(struct call *call) {
    reply_array(call->reply, 3);
    reply_bulk_text(call->reply, "master");
    reply_integer(call->reply, 0);
    reply_array(call->reply, 0);
    return 0;
}

int cmd_wait(struct call *call) {
    int64_t replicas, timeout_ms;
    CALL_TRY(call_integer(call, call->argv[1], &replicas));
    CALL_TRY(call_integer_or(call, call->argv[2], "timeout is not an integer or out of range", &timeout_ms));
    if (timeout_ms < 0) {
        reply_error(call->reply, "timeout is negative");
        return 0;
    }
    if (replicas > 0) { /* none will ever acknowledge: wait as long as asked for */
        enum dispatch_wake wake = dispatch_wait(call->client, timeout_ms);
        if (wake == DISPATCH_WAKE_NONE) return FIRN_EPARKED;
    }
    reply_integer(call->reply, 0);
    return 0;
}
