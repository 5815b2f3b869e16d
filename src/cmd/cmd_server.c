/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about the server as a whole: TIME, LASTSAVE, SHUTDOWN, MODULE. And where src/server leaves what
 * commands need of it. */
#include "base/clock.h"
#include "cmd/call.h"
#include "cmd/server_hooks.h"
#include "net/client.h"

struct server_hooks server_hooks;

int cmd_time(struct call *call) {
    int64_t now = clock_wall_us();
    reply_array(call->reply, 2);
    reply_bulk_integer(call->reply, now / 1000000);
    reply_bulk_integer(call->reply, now % 1000000);
    return 0;
}

int cmd_lastsave(struct call *call) {
    struct server_numbers numbers;
    server_hooks.numbers(&numbers);
    reply_integer(call->reply, numbers.last_save_s);
    return 0;
}

int cmd_shutdown(struct call *call) {
    unsigned flags = 0;
    int abort = 0;
    for (size_t i = 1; i < call->argc; i++) {
        if (call_option(call, i, "nosave"))
            flags |= SERVER_SHUTDOWN_NOSAVE;
        else if (call_option(call, i, "save"))
            flags |= SERVER_SHUTDOWN_SAVE;
        else if (call_option(call, i, "now"))
            flags |= SERVER_SHUTDOWN_NOW;
        else if (call_option(call, i, "force"))
            flags |= SERVER_SHUTDOWN_FORCE;
        else if (call_option(call, i, "abort"))
            abort = 1;
        else {
            call_syntax_error(call);
            return 0;
        }
    }
    unsigned both = SERVER_SHUTDOWN_SAVE | SERVER_SHUTDOWN_NOSAVE;
    if ((abort && flags != 0) || (flags & both) == both) {
        call_syntax_error(call);
    } else if (abort) {
        reply_error(call->reply, "No shutdown in progress."); /* a shutdown here never waits for anybody */
    } else if (server_hooks.shutdown(flags) != 0) {
        reply_error(call->reply, "Errors trying to SHUTDOWN. Check logs.");
    } else {
        client_close_later(call->client, 0);
    }
    return 0;
}

int cmd_module_list(struct call *call) {
    reply_array(call->reply, 0);
    return 0;
}

int cmd_module_help(struct call *call) {
    static const char *const lines[] = {
        "LIST",
        "    Show the loaded modules: none, as Firn cannot load modules yet.",
        NULL,
    };
    return call_help(call, lines);
}
