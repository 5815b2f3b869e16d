/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SAVE and BGSAVE. There is no fork here, and a save beside running commands comes with point-in-time
 * snapshots: until then BGSAVE saves at once and is answered and reported like one whose child was quick.
 * LASTSAVE and SHUTDOWN are in cmd_server.c.
 */
#include "cmd/call.h"
#include "persist/persist.h"

int cmd_save(struct call *call) {
    if (persist_save(1) == 0)
        reply_ok(call->reply);
    else
        reply_error(call->reply, "-ERR");
    return 0;
}

int cmd_bgsave(struct call *call) {
    if (call->argc > 2 || (call->argc == 2 && !call_option(call, 1, "schedule"))) {
        call_syntax_error(call);
        return 0;
    }
    persist_save_in_background();
    reply_status(call->reply, "Background saving started");
    return 0;
}
