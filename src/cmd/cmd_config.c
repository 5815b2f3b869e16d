/* SPDX-License-Identifier: BSD-3-Clause */
/* CONFIG. The values live in src/server; this file speaks with the client. */
#include <errno.h>
#include <string.h>

#include "cmd/call.h"
#include "cmd/server_hooks.h"

struct listing {
    struct reply *reply;
    size_t count;
};

static void append_pair(const char *name, struct bytes value, void *ctx) {
    struct listing *listing = ctx;
    reply_bulk_text(listing->reply, name);
    reply_bulk(listing->reply, value);
    listing->count++;
}

int cmd_config_get(struct call *call) {
    struct listing listing = {call->reply, 0};
    struct reply_later later = reply_later_open(call->reply, '%');
    server_hooks.config_get(call->argv + 2, call->argc - 2, append_pair, &listing);
    reply_later_close(call->reply, later, listing.count);
    return 0;
}

int cmd_config_set(struct call *call) {
    struct bytes culprit = {0};
    char error[SERVER_ERROR_BYTES];
    if (call->argc % 2 != 0) {
        call_syntax_error(call);
        return 0;
    }
    for (size_t i = 2; i < call->argc; i += 2)
        if (server_hooks.config_is_sensitive(call->argv[i])) call_redact(call, i + 1);
    int may_protected = server_hooks.permitted(SERVER_PERMISSION_PROTECTED_CONFIG, call->client);
    int status = server_hooks.config_set(call->argv + 2, call->argc / 2 - 1, may_protected, &culprit, error);
    int shown = culprit.size > 128 ? 128 : (int)culprit.size;
    if (status == 0)
        reply_ok(call->reply);
    else if (status == FIRN_EBUSY)
        reply_error(call->reply, "-LOADING Redis is loading the dataset in memory");
    else if (status == FIRN_ENOTFOUND)
        reply_error_format(call->reply, "Unknown option or number of arguments for CONFIG SET - '%.*s'",
                           shown, (const char *)culprit.data);
    else
        reply_error_format(call->reply, "CONFIG SET failed (possibly related to argument '%.*s')%s%s", shown,
                           (const char *)culprit.data, error[0] != '\0' ? " - " : "", error);
    return 0;
}

int cmd_config_rewrite(struct call *call) {
    int status = server_hooks.config_rewrite();
    if (status == 0)
        reply_ok(call->reply);
    else if (status == FIRN_ENOTFOUND)
        reply_error(call->reply, "The server is running without a config file");
    else
        reply_error_format(call->reply, "Rewriting config file: %s", strerror(errno));
    return 0;
}

int cmd_config_resetstat(struct call *call) {
    server_hooks.reset_statistics();
    reply_ok(call->reply);
    return 0;
}

int cmd_config_help(struct call *call) {
    static const char *const lines[] = {
        "GET <pattern> [<pattern> ...]",
        "    Show the directives that match a pattern, and their values.",
        "SET <directive> <value> [<directive> <value> ...]",
        "    Change directives; all of them or none.",
        "RESETSTAT",
        "    Set the counters that INFO shows back to zero.",
        "REWRITE",
        "    Write the present values to the configuration file.",
        NULL,
    };
    return call_help(call, lines);
}
