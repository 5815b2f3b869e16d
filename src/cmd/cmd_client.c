/* SPDX-License-Identifier: BSD-3-Clause */
/* CLIENT and its subcommands. Client-side caching (CLIENT TRACKING) comes with a later version: it says so.
 */
#include "cmd/cmd_client.h"

#include <stdio.h>

#include "base/bytes_builder.h"
#include "base/clock.h"
#include "cmd/call.h"
#include "cmd/cmd_connection.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "cmd/pubsub.h"
#include "cmd/transaction.h"
#include "cmd/watch.h"
#include "ds/number.h"
#include "net/client.h"

#define ADDRESS_BYTES 192u

/* --- CLIENT LIST, INFO --- */

static void flag_letters(const struct client *client, char out[16]) {
    size_t used = 0;
    if (client->flags & CLIENT_MONITOR) out[used++] = 'O';
    if (client->flags & CLIENT_SUBSCRIBED) out[used++] = 'P';
    if (client->flags & CLIENT_MULTI) out[used++] = 'x';
    if (client->flags & CLIENT_PAUSED || dispatch_is_waiting(client)) out[used++] = 'b';
    if (client->flags & CLIENT_DIRTY_WATCH) out[used++] = 'd';
    if (client->flags & CLIENT_CLOSE_AFTER_REPLY) out[used++] = 'c';
    if (client->flags & CLIENT_CLOSE_ASAP) out[used++] = 'A';
    if (client->flags & CLIENT_UNIX_SOCKET) out[used++] = 'U';
    if (client->flags & CLIENT_NO_EVICT) out[used++] = 'e';
    if (client->flags & CLIENT_NO_TOUCH) out[used++] = 'T';
    if (used == 0) out[used++] = 'N';
    out[used] = 0;
}

static const char *or_empty(const char *text) {
    return text != NULL ? text : "";
}

void cmd_client_describe(struct bytes_builder *out, const struct client *client) {
    char address[ADDRESS_BYTES], local[ADDRESS_BYTES], flags[16];
    struct client_memory memory;
    client_address(client, address, sizeof address);
    client_local_address(client, local, sizeof local);
    client_memory(client, &memory);
    flag_letters(client, flags);
    const struct command *command = client->command != NULL ? client->command : client->last_command;
    int64_t now = clock_wall_ms();
    const struct transaction *transaction = transaction_of(client);
    int queued = client->flags & CLIENT_MULTI ? transaction != NULL ? (int)transaction->count : 0 : -1;
    bytes_builder_format(out,
                         "id=%llu addr=%s laddr=%s fd=%d name=%s age=%lld idle=%lld flags=%s db=%u sub=%zu "
                         "psub=%zu ssub=%zu multi=%d watch=%zu",
                         (unsigned long long)client->id, address, local, client_descriptor(client),
                         or_empty(client->name), (long long)((now - client->created_ms) / 1000),
                         (long long)((now - client->last_interaction_ms) / 1000), flags, client->db_index,
                         pubsub_count(client, PUBSUB_CHANNEL), pubsub_count(client, PUBSUB_PATTERN),
                         pubsub_count(client, PUBSUB_SHARD), queued, watch_count(client));
    bytes_builder_format(out,
                         " qbuf=%zu qbuf-free=%zu argv-mem=%zu multi-mem=%zu rbs=%zu rbp=%zu obl=0 oll=%zu "
                         "omem=%zu tot-mem=%zu",
                         memory.query_bytes, memory.query_free, memory.argv_bytes, transaction_memory(client),
                         memory.reply_buffer_bytes, memory.reply_buffer_peak, memory.reply_list_items,
                         memory.reply_list_bytes, memory.total);
    bytes_builder_format(out, " events=r cmd=%s user=%s redir=-1 resp=%u lib-name=%s lib-ver=%s",
                         command != NULL ? command->name : "NULL",
                         client->user != NULL ? client->user : "default", client->reply.version,
                         or_empty(client->lib_name), or_empty(client->lib_version));
}

int cmd_client_info(struct call *call) {
    struct bytes_builder out = {0};
    cmd_client_describe(&out, call->client);
    bytes_builder_append_byte(&out, '\n');
    reply_verbatim(call->reply, "txt", bytes_builder_bytes(&out));
    bytes_builder_fini(&out);
    return 0;
}

/* The class named by ${text}; "master" is CLIENT_CLASS_COUNT (there are none). FIRN_EINVALID with the error
 * replied. */
static int parse_class(struct call *call, struct bytes text, enum client_class *class_out) {
    if (bytes_is(text, "normal"))
        *class_out = CLIENT_CLASS_NORMAL;
    else if (bytes_is(text, "slave") || bytes_is(text, "replica"))
        *class_out = CLIENT_CLASS_REPLICA;
    else if (bytes_is(text, "pubsub"))
        *class_out = CLIENT_CLASS_PUBSUB;
    else if (bytes_is(text, "master"))
        *class_out = CLIENT_CLASS_COUNT;
    else {
        reply_error_format(call->reply, "Unknown client type '%.*s'", (int)text.size,
                           (const char *)text.data);
        return FIRN_EINVALID;
    }
    return 0;
}

static void describe_line(struct bytes_builder *out, const struct client *client) {
    cmd_client_describe(out, client);
    bytes_builder_append_byte(out, '\n');
}

/* The clients with the ids at argv[3] and on. FIRN_ENOTNUMBER with the error replied. */
static int list_ids(struct call *call, struct bytes_builder *out) {
    for (size_t i = 3; i < call->argc; i++) {
        int64_t id;
        int error = call_integer_or(call, call->argv[i], "Invalid client ID", &id);
        if (error != 0) return error;
        const struct client *client = client_by_id((uint64_t)id);
        if (client != NULL) describe_line(out, client);
    }
    return 0;
}

int cmd_client_list(struct call *call) {
    struct bytes_builder out = {0};
    enum client_class class = CLIENT_CLASS_NORMAL;
    int by_class = call->argc == 4 && call_option(call, 2, "TYPE"),
        by_id = call->argc > 3 && call_option(call, 2, "ID"), error = 0;
    if (!by_class && !by_id && call->argc != 2) return call_error(call_syntax_error(call));
    if (by_class) CALL_TRY(parse_class(call, call->argv[3], &class));
    if (by_id) error = list_ids(call, &out);
    for (const struct client *client = by_id ? NULL : client_first(); client != NULL; client = client->next) {
        if (!by_class || client_class(client) == class) describe_line(&out, client);
    }
    if (error == 0) reply_verbatim(call->reply, "txt", bytes_builder_bytes(&out));
    bytes_builder_fini(&out);
    return call_error(error);
}

/* --- CLIENT KILL --- */

struct kill_filter {
    uint64_t id;          /* 0: any */
    struct bytes address; /* data NULL: any */
    struct bytes local;
    struct bytes user;
    int by_class, skip_me;
    enum client_class class;
    int64_t age_seconds; /* 0: any */
};

static int parse_kill_option(struct call *call, size_t i, struct kill_filter *filter) {
    struct bytes value = call->argv[i + 1];
    int64_t number;
    if (call_option(call, i, "ID")) {
        if (number_parse_int(value, &number) != 0 || number < 1) {
            reply_error(call->reply, "client-id should be greater than 0");
            return FIRN_EINVALID;
        }
        filter->id = (uint64_t)number;
        return 0;
    }
    if (call_option(call, i, "MAXAGE")) {
        if (number_parse_int(value, &number) != 0) {
            reply_error(call->reply, "maxage is not an integer or out of range");
            return FIRN_EINVALID;
        }
        if (number <= 0) {
            reply_error(call->reply, "maxage should be greater than 0");
            return FIRN_EINVALID;
        }
        filter->age_seconds = number;
        return 0;
    }
    if (call_option(call, i, "TYPE")) {
        filter->by_class = 1;
        return parse_class(call, value, &filter->class);
    }
    if (call_option(call, i, "USER")) {
        if (!bytes_equal(value, bytes_of_text("default"))) {
            reply_error_format(call->reply, "No such user '%.*s'", (int)value.size, (const char *)value.data);
            return FIRN_EINVALID;
        }
        filter->user = value;
        return 0;
    }
    if (call_option(call, i, "ADDR"))
        filter->address = value;
    else if (call_option(call, i, "LADDR"))
        filter->local = value;
    else if (call_option(call, i, "SKIPME") && bytes_is(value, "yes"))
        filter->skip_me = 1;
    else if (call_option(call, i, "SKIPME") && bytes_is(value, "no"))
        filter->skip_me = 0;
    else
        return call_syntax_error(call);
    return 0;
}

static int kill_matches(const struct call *call, const struct client *client,
                        const struct kill_filter *filter) {
    char text[ADDRESS_BYTES];
    if (client->flags & CLIENT_CLOSE_ASAP) return 0; /* killed already */
    if (client == call->client && filter->skip_me) return 0;
    if (filter->id != 0 && client->id != filter->id) return 0;
    if (filter->by_class && client_class(client) != filter->class) return 0;
    if (filter->user.data != NULL && client->user != NULL &&
        !bytes_equal(filter->user, bytes_of_text(client->user)))
        return 0;
    if (filter->age_seconds != 0 && clock_wall_ms() - client->created_ms < filter->age_seconds * 1000)
        return 0;
    if (filter->address.data != NULL) {
        client_address(client, text, sizeof text);
        if (!bytes_equal(filter->address, bytes_of_text(text))) return 0;
    }
    if (filter->local.data != NULL) {
        client_local_address(client, text, sizeof text);
        if (!bytes_equal(filter->local, bytes_of_text(text))) return 0;
    }
    return 1;
}

int cmd_client_kill(struct call *call) {
    struct kill_filter filter = {.skip_me = call->argc > 3};
    if (call->argc == 3)
        filter.address = call->argv[2];
    else if (call->argc % 2 != 0)
        return call_error(call_syntax_error(call));
    for (size_t i = 2; call->argc > 3 && i + 1 < call->argc; i += 2)
        CALL_TRY(parse_kill_option(call, i, &filter));
    int64_t killed = 0;
    for (struct client *client = client_first(), *next; client != NULL; client = next) {
        next = client->next;
        if (!kill_matches(call, client, &filter)) continue;
        client_close_later(client, client == call->client); /* the killer still gets its answer */
        killed++;
    }
    if (call->argc > 3)
        reply_integer(call->reply, killed);
    else if (killed > 0)
        reply_ok(call->reply);
    else
        reply_error(call->reply, "No such client");
    return 0;
}

/* --- names, modes --- */

int cmd_client_id(struct call *call) {
    reply_integer(call->reply, (int64_t)call->client->id);
    return 0;
}

int cmd_client_getname(struct call *call) {
    if (call->client->name != NULL)
        reply_bulk_text(call->reply, call->client->name);
    else
        reply_null(call->reply);
    return 0;
}

int cmd_client_setname(struct call *call) {
    CALL_TRY(cmd_connection_set_name(call, call->argv[2]));
    reply_ok(call->reply);
    return 0;
}

int cmd_client_setinfo(struct call *call) {
    char **place;
    const char *option;
    if (call_option(call, 2, "lib-name")) {
        place = &call->client->lib_name;
        option = "lib-name";
    } else if (call_option(call, 2, "lib-ver")) {
        place = &call->client->lib_version;
        option = "lib-ver";
    } else {
        reply_error_format(call->reply, "Unrecognized option '%.*s'", (int)call->argv[2].size,
                           (const char *)call->argv[2].data);
        return 0;
    }
    if (!cmd_connection_printable(call->argv[3])) {
        reply_error_format(call->reply, "%s cannot contain spaces, newlines or special characters.", option);
        return 0;
    }
    cmd_connection_set_text(place, call->argv[3]);
    reply_ok(call->reply);
    return 0;
}

/* ON or OFF at argv[2] switches ${flag}. */
static int switch_flag(struct call *call, uint32_t flag) {
    if (call_option(call, 2, "ON"))
        call->client->flags |= flag;
    else if (call_option(call, 2, "OFF"))
        call->client->flags &= ~flag;
    else
        return call_error(call_syntax_error(call));
    reply_ok(call->reply);
    return 0;
}

int cmd_client_no_evict(struct call *call) {
    return switch_flag(call, CLIENT_NO_EVICT);
}

int cmd_client_no_touch(struct call *call) {
    return switch_flag(call, CLIENT_NO_TOUCH);
}

int cmd_client_reply(struct call *call) {
    struct client *client = call->client;
    if (call_option(call, 2, "ON")) {
        client->flags &= ~(CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP);
        call->reply->off = 0;
        reply_ok(call->reply);
    } else if (call_option(call, 2, "OFF")) {
        client->flags |= CLIENT_REPLY_OFF;
    } else if (call_option(call, 2, "SKIP")) {
        if (!(client->flags & CLIENT_REPLY_OFF)) client->flags |= CLIENT_REPLY_SKIP_NEXT;
    } else {
        return call_error(call_syntax_error(call));
    }
    return 0;
}

/* --- PAUSE, UNBLOCK --- */

int cmd_client_pause(struct call *call) {
    enum dispatch_pause mode = DISPATCH_PAUSE_ALL;
    int64_t timeout_ms, now_ms = clock_monotonic_us() / 1000;
    if (call->argc > 4) return call_unknown_subcommand(call);
    if (call->argc == 4) {
        if (call_option(call, 3, "WRITE")) {
            mode = DISPATCH_PAUSE_WRITE;
        } else if (!call_option(call, 3, "ALL")) {
            reply_error(call->reply, "CLIENT PAUSE mode must be WRITE or ALL");
            return 0;
        }
    }
    CALL_TRY(call_integer_or(call, call->argv[2], "timeout is not an integer or out of range", &timeout_ms));
    if (timeout_ms < 0) {
        reply_error(call->reply, "timeout is negative");
        return 0;
    }
    if (timeout_ms > INT64_MAX - now_ms) {
        reply_error(call->reply, "timeout is out of range");
        return 0;
    }
    dispatch_pause(mode, now_ms + timeout_ms);
    reply_ok(call->reply);
    return 0;
}

int cmd_client_unpause(struct call *call) {
    dispatch_unpause();
    reply_ok(call->reply);
    return 0;
}

int cmd_client_unblock(struct call *call) {
    int64_t id;
    enum dispatch_wake how = DISPATCH_WAKE_TIMEOUT;
    if (call->argc > 4) return call_unknown_subcommand(call);
    if (call_option(call, 3, "ERROR")) {
        how = DISPATCH_WAKE_ERROR;
    } else if (call->argc == 4 && !call_option(call, 3, "TIMEOUT")) {
        reply_error(call->reply, "CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        return 0;
    }
    CALL_TRY(call_integer(call, call->argv[2], &id));
    struct client *client = client_by_id((uint64_t)id);
    reply_integer(call->reply,
                  client != NULL && !(client->flags & CLIENT_CLOSE_ASAP) && dispatch_wake(client, how));
    return 0;
}

/* --- tracking --- */

int cmd_client_getredir(struct call *call) {
    reply_integer(call->reply, -1);
    return 0;
}

int cmd_client_trackinginfo(struct call *call) {
    reply_map(call->reply, 3);
    reply_bulk_text(call->reply, "flags");
    reply_set(call->reply, 1);
    reply_bulk_text(call->reply, "off");
    reply_bulk_text(call->reply, "redirect");
    reply_integer(call->reply, -1);
    reply_bulk_text(call->reply, "prefixes");
    reply_array(call->reply, 0);
    return 0;
}

int cmd_client_caching(struct call *call) {
    reply_error(call->reply,
                "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT "
                "mode enabled");
    return 0;
}

int cmd_client_tracking(struct call *call) {
    if (call_option(call, 2, "OFF"))
        reply_ok(call->reply);
    else if (call_option(call, 2, "ON"))
        reply_error(call->reply, "client-side caching is not available in this version of Firn");
    else
        return call_error(call_syntax_error(call));
    return 0;
}

int cmd_client_help(struct call *call) {
    static const char *const lines[] = {
        "CACHING (YES|NO)",
        "    Say whether the keys of the next command are tracked (modes OPTIN and OPTOUT).",
        "GETREDIR",
        "    The id of the client that tracking messages are redirected to.",
        "GETNAME",
        "    The name of this connection.",
        "ID",
        "    The id of this connection.",
        "INFO",
        "    Facts about this connection.",
        "KILL <ip:port>",
        "    Close the connection from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close the connections that fit all options:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      made from this address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      made to this address of the server",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      of this type",
        "    * USER <username>",
        "      authenticated as this user",
        "    * SKIPME (YES|NO)",
        "      leave out this connection (default: yes)",
        "    * ID <client-id>",
        "      with this id",
        "    * MAXAGE <seconds>",
        "      at least so old",
        "LIST [options ...]",
        "    Facts about connections, one a line. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Only those of this type.",
        "    * ID <client-id> [<client-id> ...]",
        "      Only those with these ids.",
        "UNPAUSE",
        "    End a pause.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Hold back the commands of all clients, or only writes, for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether this connection gets replies.",
        "SETNAME <name>",
        "    Name this connection.",
        "SETINFO <option> <value>",
        "    Tell the client library. Options:",
        "    * LIB-NAME: its name",
        "    * LIB-VER: its version",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    End the wait of a client in a blocking command.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Switch server-assisted client caching.",
        "TRACKINGINFO",
        "    How keys are tracked for this connection.",
        "NO-EVICT (ON|OFF)",
        "    Exempt this connection from client eviction.",
        "NO-TOUCH (ON|OFF)",
        "    Make this connection's commands leave LRU and LFU clocks alone.",
        NULL,
    };
    return call_help(call, lines);
}
