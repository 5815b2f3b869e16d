/* SPDX-License-Identifier: BSD-3-Clause */
/* AUTH, HELLO, PING, ECHO, QUIT, RESET, SELECT. There is one user, "default", whose password is requirepass.
 */
#include "cmd/cmd_connection.h"

#include <limits.h>
#include <stdio.h>

#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/cmd_acl.h"
#include "cmd/dispatch.h"
#include "cmd/pubsub.h"
#include "cmd/transaction.h"
#include "ds/number.h"
#include "net/client.h"

#define NAME_ERROR "Client names cannot contain spaces, newlines or special characters."

/* --- names --- */

int cmd_connection_printable(struct bytes text) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '!' || text.data[i] > '~') return 0;
    }
    return 1;
}

void cmd_connection_set_text(char **place, struct bytes text) {
    memory_free(*place);
    *place = NULL;
    if (text.size == 0) return;
    *place = memory_alloc(text.size + 1);
    memcpy(*place, text.data, text.size);
    (*place)[text.size] = 0;
}

int cmd_connection_set_name(struct call *call, struct bytes name) {
    if (!cmd_connection_printable(name)) {
        reply_error(call->reply, NAME_ERROR);
        return FIRN_EINVALID;
    }
    cmd_connection_set_text(&call->client->name, name);
    return 0;
}

/* --- authentication --- */

/* Takes the same time wherever the first difference is. */
static int password_matches(struct bytes password) {
    struct bytes required = dispatch_config.requirepass;
    if (required.size == 0) return 1;
    unsigned different = required.size != password.size;
    for (size_t i = 0; i < password.size; i++)
        different |= password.data[i] ^ required.data[i % required.size];
    return different == 0;
}

/* 0 and the client is authenticated; else the error is replied. */
static int authenticate(struct call *call, struct bytes user, struct bytes password) {
    if (bytes_equal(user, bytes_of_text("default")) && password_matches(password)) {
        call->client->flags |= CLIENT_AUTHENTICATED;
        return 0;
    }
    dispatch_stats.auth_failures++;
    cmd_acl_log_failure(call->client, user);
    reply_error(call->reply, "-WRONGPASS invalid username-password pair or user is disabled.");
    return FIRN_EINVALID;
}

int cmd_auth(struct call *call) {
    for (size_t i = 1; i < call->argc; i++)
        call_redact(call, i);
    if (call->argc > 3) return call_error(call_syntax_error(call));
    if (call->argc == 2 && dispatch_config.requirepass.size == 0) {
        reply_error(
            call->reply,
            "AUTH <password> called without any password configured for the default user. Are you sure your "
            "configuration is correct?");
        return 0;
    }
    struct bytes user = call->argc == 3 ? call->argv[1] : bytes_of_text("default");
    CALL_TRY(authenticate(call, user, call->argv[call->argc - 1]));
    reply_ok(call->reply);
    return 0;
}

static void reply_hello(struct call *call) {
    struct reply *reply = call->reply;
    reply_map(reply, 7);
    reply_bulk_text(reply, "server");
    reply_bulk_text(reply, "redis");
    reply_bulk_text(reply, "version");
    reply_bulk_text(reply, DISPATCH_REDIS_VERSION);
    reply_bulk_text(reply, "proto");
    reply_integer(reply, reply->version);
    reply_bulk_text(reply, "id");
    reply_integer(reply, (int64_t)call->client->id);
    reply_bulk_text(reply, "mode");
    reply_bulk_text(reply, dispatch_config.mode);
    reply_bulk_text(reply, "role");
    reply_bulk_text(reply, "master");
    reply_bulk_text(reply, "modules");
    reply_array(reply, 0);
}

/* The options behind the version: places of the name (0: none) and of user and password (0: none). */
static int hello_options(struct call *call, size_t *auth_out, size_t *name_out) {
    *auth_out = *name_out = 0;
    for (size_t i = 2; i < call->argc;) {
        size_t more = call->argc - i - 1;
        if (call_option(call, i, "AUTH") && more >= 2) {
            call_redact(call, i + 1);
            call_redact(call, i + 2);
            *auth_out = i + 1;
            i += 3;
        } else if (call_option(call, i, "SETNAME") && more >= 1) {
            *name_out = i + 1;
            i += 2;
        } else {
            reply_error_format(call->reply, "Syntax error in HELLO option '%.*s'", (int)call->argv[i].size,
                               (const char *)call->argv[i].data);
            return FIRN_EINVALID;
        }
    }
    return 0;
}

int cmd_hello(struct call *call) {
    int64_t version = 0;
    size_t auth, name;
    if (call->argc > 1) {
        CALL_TRY(call_integer_or(call, call->argv[1], "Protocol version is not an integer or out of range",
                                 &version));
        if (version < 2 || version > 3) {
            reply_error(call->reply, "-NOPROTO unsupported protocol version");
            return 0;
        }
    }
    CALL_TRY(hello_options(call, &auth, &name));
    if (auth != 0) CALL_TRY(authenticate(call, call->argv[auth], call->argv[auth + 1]));
    if (!(call->client->flags & (CLIENT_AUTHENTICATED | CLIENT_INTERNAL))) {
        reply_error(
            call->reply,
            "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> "
            "AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol "
            "version at the same time");
        return 0;
    }
    if (name != 0) CALL_TRY(cmd_connection_set_name(call, call->argv[name]));
    if (version != 0) call->reply->version = (unsigned)version;
    reply_hello(call);
    return 0;
}

/* --- the rest --- */

int cmd_ping(struct call *call) {
    if (call->argc > 2) {
        reply_error(call->reply, "wrong number of arguments for 'ping' command");
        return 0;
    }
    if ((call->client->flags & CLIENT_SUBSCRIBED) && call->reply->version < 3) {
        reply_array(call->reply, 2); /* in the shape of a message */
        reply_bulk_text(call->reply, "pong");
        reply_bulk(call->reply, call->argc == 2 ? call->argv[1] : bytes_of("", 0));
    } else if (call->argc == 2) {
        reply_bulk(call->reply, call->argv[1]);
    } else {
        reply_status(call->reply, "PONG");
    }
    return 0;
}

int cmd_echo(struct call *call) {
    reply_bulk(call->reply, call->argv[1]);
    return 0;
}

int cmd_quit(struct call *call) {
    reply_ok(call->reply);
    client_close_later(call->client, 1);
    return 0;
}

int cmd_reset(struct call *call) {
    struct client *client = call->client;
    if (client->flags & CLIENT_MONITOR) dispatch_stats.monitors--;
    if (!(client->flags & CLIENT_REPLY_SKIP)) call->reply->off = 0; /* a skip still holds for this reply */
    client->flags &= ~(CLIENT_MONITOR | CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP | CLIENT_REPLY_SKIP_NEXT |
                       CLIENT_NO_EVICT | CLIENT_NO_TOUCH);
    transaction_discard(client);
    pubsub_clear(client);
    if (dispatch_config.requirepass.size > 0) client->flags &= ~CLIENT_AUTHENTICATED;
    client->db_index = 0;
    cmd_connection_set_text(&client->name, bytes_of("", 0));
    call->reply->version = 2;
    reply_status(call->reply, "RESET");
    return 0;
}

int cmd_select(struct call *call) {
    int64_t index;
    CALL_TRY(call_integer_between(call, call->argv[1], INT_MIN, INT_MAX, &index));
    if (index < 0 || index >= (int64_t)db_count()) {
        reply_error(call->reply, "DB index is out of range");
        return 0;
    }
    call->client->db_index = (unsigned)index;
    reply_ok(call->reply);
    return 0;
}
