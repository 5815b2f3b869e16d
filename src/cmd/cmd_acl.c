/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ACL as far as one user goes: "default", who may everything and whose password is requirepass. SETUSER,
 * DELUSER, LOAD, SAVE and DRYRUN come with users; they are absent until then.
 */
#include "cmd/cmd_acl.h"

#include <stdio.h>

#include "base/bytes_builder.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "cmd/call.h"
#include "cmd/cmd_client.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "ds/sha256.h"
#include "net/client.h"

#define LOG_SHOWN_DEFAULT 10
#define LOG_MERGE_MS      60000
#define PASSWORD_BITS     256
#define PASSWORD_BITS_MAX 4096

/* --- the log of refused authentications, newest first --- */

struct refusal {
    struct refusal *older;
    uint64_t id, count;
    int64_t created_ms, updated_ms;
    char *client;    /* as CLIENT LIST shows it */
    char object[32]; /* the command: auth or hello */
    char user[128];
};

static struct refusal *newest;
static uint64_t refusal_count, next_refusal_id;

static void forget_beyond(uint64_t limit) {
    struct refusal **link = &newest;
    for (uint64_t i = 0; i < limit && *link != NULL; i++)
        link = &(*link)->older;
    while (*link != NULL) {
        struct refusal *refusal = *link;
        *link = refusal->older;
        memory_free(refusal->client);
        memory_free(refusal);
        refusal_count--;
    }
}

void cmd_acl_log_failure(const struct client *client, struct bytes user) {
    int64_t now = clock_wall_ms();
    struct refusal *refusal = newest;
    if (refusal == NULL || !bytes_equal(user, bytes_of_text(refusal->user)) ||
        now - refusal->updated_ms > LOG_MERGE_MS) {
        refusal = memory_alloc_zero(sizeof *refusal);
        refusal->id = next_refusal_id++;
        refusal->created_ms = now;
        refusal->older = newest;
        newest = refusal;
        refusal_count++;
        const struct command *command = client->command;
        snprintf(refusal->object, sizeof refusal->object, "%s", command != NULL ? command->name : "auth");
        snprintf(refusal->user, sizeof refusal->user, "%.*s", (int)user.size, (const char *)user.data);
    }
    refusal->count++;
    refusal->updated_ms = now;
    struct bytes_builder text = {0};
    cmd_client_describe(&text, client);
    bytes_builder_append_byte(&text, 0);
    memory_free(refusal->client);
    refusal->client = (char *)text.data;
    forget_beyond(dispatch_config.acllog_max_len);
}

static void reply_refusal(struct reply *reply, const struct refusal *refusal) {
    reply_map(reply, 10);
    reply_bulk_text(reply, "count");
    reply_integer(reply, (int64_t)refusal->count);
    reply_bulk_text(reply, "reason");
    reply_bulk_text(reply, "auth");
    reply_bulk_text(reply, "context");
    reply_bulk_text(reply, "toplevel");
    reply_bulk_text(reply, "object");
    reply_bulk_text(reply, refusal->object);
    reply_bulk_text(reply, "username");
    reply_bulk_text(reply, refusal->user);
    reply_bulk_text(reply, "age-seconds");
    reply_double(reply, (double)(clock_wall_ms() - refusal->created_ms) / 1000);
    reply_bulk_text(reply, "client-info");
    reply_bulk_text(reply, refusal->client);
    reply_bulk_text(reply, "entry-id");
    reply_integer(reply, (int64_t)refusal->id);
    reply_bulk_text(reply, "timestamp-created");
    reply_integer(reply, refusal->created_ms);
    reply_bulk_text(reply, "timestamp-last-updated");
    reply_integer(reply, refusal->updated_ms);
}

int cmd_acl_log(struct call *call) {
    int64_t count = LOG_SHOWN_DEFAULT;
    if (call->argc > 3) return call_unknown_subcommand(call);
    if (call->argc == 3 && call_option(call, 2, "RESET")) {
        forget_beyond(0);
        reply_ok(call->reply);
        return 0;
    }
    if (call->argc == 3) CALL_TRY(call_integer(call, call->argv[2], &count));
    if (count < 0) count = 0;
    if ((uint64_t)count > refusal_count) count = (int64_t)refusal_count;
    reply_array(call->reply, (size_t)count);
    for (const struct refusal *refusal = newest; count > 0; refusal = refusal->older, count--)
        reply_refusal(call->reply, refusal);
    return 0;
}

/* --- the one user --- */

int cmd_acl_whoami(struct call *call) {
    reply_bulk_text(call->reply, "default");
    return 0;
}

int cmd_acl_users(struct call *call) {
    reply_array(call->reply, 1);
    reply_bulk_text(call->reply, "default");
    return 0;
}

int cmd_acl_list(struct call *call) {
    char password[66] = "nopass";
    if (dispatch_config.requirepass.size > 0) {
        password[0] = '#';
        sha256_hex(dispatch_config.requirepass, password + 1);
    }
    reply_array(call->reply, 1);
    reply_bulk_format(call->reply, "user default on %s sanitize-payload ~* &* +@all", password);
    return 0;
}

int cmd_acl_getuser(struct call *call) {
    struct reply *reply = call->reply;
    if (!bytes_equal(call->argv[2], bytes_of_text("default"))) {
        reply_null(reply);
        return 0;
    }
    struct bytes password = dispatch_config.requirepass;
    reply_map(reply, 6);
    reply_bulk_text(reply, "flags");
    reply_set(reply, password.size == 0 ? 3 : 2);
    reply_bulk_text(reply, "on");
    if (password.size == 0) reply_bulk_text(reply, "nopass");
    reply_bulk_text(reply, "sanitize-payload");
    reply_bulk_text(reply, "passwords");
    reply_array(reply, password.size > 0);
    if (password.size > 0) {
        char hex[65];
        sha256_hex(password, hex);
        reply_bulk_text(reply, hex);
    }
    reply_bulk_text(reply, "commands");
    reply_bulk_text(reply, "+@all");
    reply_bulk_text(reply, "keys");
    reply_bulk_text(reply, "~*");
    reply_bulk_text(reply, "channels");
    reply_bulk_text(reply, "&*");
    reply_bulk_text(reply, "selectors");
    reply_array(reply, 0);
    return 0;
}

/* --- categories, passwords --- */

static size_t list_category(struct reply *reply, const struct command *command, int category) {
    size_t count = 0;
    if (command->acl_categories >> category & 1) {
        reply_bulk_text(reply, command->name);
        count++;
    }
    for (unsigned i = 0; i < command->subcommand_count; i++) {
        if (command->subcommands[i].handler != NULL)
            count += list_category(reply, &command->subcommands[i], category);
    }
    return count;
}

int cmd_acl_cat(struct call *call) {
    if (call->argc > 3) return call_unknown_subcommand(call);
    struct reply_later later;
    size_t count = 0;
    const char *name;
    if (call->argc == 2) {
        later = reply_later_open(call->reply, '*');
        for (unsigned bit = 0; (name = command_acl_category_name(bit)) != NULL; bit++, count++)
            reply_bulk_text(call->reply, name);
        reply_later_close(call->reply, later, count);
        return 0;
    }
    int category = command_acl_category(call->argv[2]);
    if (category < 0) {
        reply_error_format(call->reply, "Unknown category '%.*s'", (int)call->argv[2].size,
                           (const char *)call->argv[2].data);
        return 0;
    }
    later = reply_later_open(call->reply, '*');
    for (unsigned i = 0; i < command_count(); i++)
        count += list_category(call->reply, command_at(i), category);
    reply_later_close(call->reply, later, count);
    return 0;
}

int cmd_acl_genpass(struct call *call) {
    int64_t bits = PASSWORD_BITS;
    if (call->argc > 3) return call_unknown_subcommand(call);
    if (call->argc == 3) {
        CALL_TRY(call_integer(call, call->argv[2], &bits));
        if (bits <= 0 || bits > PASSWORD_BITS_MAX) {
            reply_error_format(call->reply,
                               "ACL GENPASS argument must be the number of bits for the output password, a "
                               "positive number up to %d",
                               PASSWORD_BITS_MAX);
            return 0;
        }
    }
    char text[PASSWORD_BITS_MAX / 4];
    uint8_t random[PASSWORD_BITS_MAX / 8];
    size_t digits = (size_t)(bits + 3) / 4;
    random_system(random, sizeof random);
    for (size_t i = 0; i < digits; i++)
        text[i] = "0123456789abcdef"[random[i / 2] >> (i % 2 * 4) & 15];
    reply_bulk(call->reply, bytes_of(text, digits));
    return 0;
}

int cmd_acl_help(struct call *call) {
    static const char *const lines[] = {
        "CAT [<category>]",
        "    The categories of commands, or the commands of <category>.",
        "GETUSER <username>",
        "    The rules of a user.",
        "GENPASS [<bits>]",
        "    A random password of 256 bits, or of <bits>, in hexadecimal.",
        "LIST",
        "    The rules of all users, as lines of an ACL file.",
        "LOG [<count> | RESET]",
        "    The latest refused authentications; RESET forgets them.",
        "USERS",
        "    The names of all users.",
        "WHOAMI",
        "    The user of this connection.",
        NULL,
    };
    return call_help(call, lines);
}
