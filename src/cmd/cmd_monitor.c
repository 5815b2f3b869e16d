/* SPDX-License-Identifier: BSD-3-Clause */
/* MONITOR and its feed. */
#include "cmd/cmd_monitor.h"

#include <ctype.h>
#include <stdio.h>

#include "base/bytes_builder.h"
#include "base/clock.h"
#include "cmd/call.h"
#include "cmd/dispatch.h"
#include "net/client.h"

void cmd_monitor_quote(struct bytes_builder *out, struct bytes text) {
    bytes_builder_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        switch (byte) {
        case '"':
        case '\\': bytes_builder_format(out, "\\%c", byte); break;
        case '\n': bytes_builder_append_text(out, "\\n"); break;
        case '\r': bytes_builder_append_text(out, "\\r"); break;
        case '\t': bytes_builder_append_text(out, "\\t"); break;
        case '\a': bytes_builder_append_text(out, "\\a"); break;
        case '\b': bytes_builder_append_text(out, "\\b"); break;
        default:
            if (byte >= 0x20 && byte < 0x7f)
                bytes_builder_append_byte(out, byte);
            else
                bytes_builder_format(out, "\\x%02x", byte);
        }
    }
    bytes_builder_append_byte(out, '"');
}

void cmd_monitor_feed(const struct client *client, const struct bytes *argv, size_t argc) {
    struct bytes_builder line = {0};
    char address[192];
    int64_t us = clock_wall_us();
    client_address(client, address, sizeof address);
    if (client->flags & CLIENT_UNIX_SOCKET) { /* "/path:0" is shown as unix:/path */
        size_t size = strlen(address);
        if (size > 2 && strcmp(address + size - 2, ":0") == 0) address[size - 2] = 0;
    }
    bytes_builder_format(&line, "+%lld.%06lld [%u %s%s]", (long long)(us / 1000000),
                         (long long)(us % 1000000), client->db_index,
                         client->flags & CLIENT_UNIX_SOCKET ? "unix:" : "", address);
    for (size_t i = 0; i < argc; i++) {
        bytes_builder_append_byte(&line, ' ');
        cmd_monitor_quote(&line, argv[i]);
    }
    bytes_builder_append_text(&line, "\r\n");
    for (struct client *monitor = client_first(); monitor != NULL; monitor = monitor->next) {
        if (monitor->flags & CLIENT_MONITOR) dispatch_push(monitor, bytes_builder_bytes(&line));
    }
    bytes_builder_fini(&line);
}

int cmd_monitor(struct call *call) {
    if (!(call->client->flags & CLIENT_MONITOR)) {
        call->client->flags |= CLIENT_MONITOR;
        dispatch_stats.monitors++;
    }
    reply_ok(call->reply);
    return 0;
}
