/* SPDX-License-Identifier: BSD-3-Clause */
/* INFO. The text is made in src/server. */
#include "cmd/call.h"
#include "cmd/server_hooks.h"

int cmd_info(struct call *call) {
    struct bytes_builder text = {0};
    server_hooks.info(call->argv + 1, call->argc - 1, &text);
    reply_verbatim(call->reply, "txt", bytes_builder_bytes(&text));
    bytes_builder_fini(&text);
    return 0;
}
