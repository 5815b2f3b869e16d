/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client without a socket, for tests of the dispatcher and of what hangs on it: a line in, a reply out.
 * The test fills ${hooks} (dispatch_init). Include after cmocka.h.
 */
#ifndef FIRN_TESTS_SUPPORT_CLIENT_H
#define FIRN_TESTS_SUPPORT_CLIENT_H

#include <string.h>

#include "base/bytes.h"
#include "net/net.h"

#define CLIENT_WORDS_MAX 16
#define CLIENT_KEEPS     64u /* so many clients keep their words at once, as a parked one must */

static struct client_hooks hooks;

static inline struct client *client_create(void) {
    struct client *client = net_internal_client_create();
    client->flags &= ~(CLIENT_INTERNAL | CLIENT_AUTHENTICATED);
    hooks.connected(client);
    return client;
}

static inline void client_destroy(struct client *client) {
    hooks.disconnecting(client);
    assert_int_equal(client->command_bytes, 0);
    client->request.argv = NULL;
    client->flags |= CLIENT_INTERNAL;
    net_internal_client_destroy(client);
}

/* Words of ${line} as a command; 1 if it is parked. */
static inline int client_execute(struct client *client, const char *line) {
    static struct bytes kept[CLIENT_KEEPS][CLIENT_WORDS_MAX];
    struct bytes *words = kept[client->id % CLIENT_KEEPS];
    size_t count = 0;
    while (*line != 0) {
        size_t size = strcspn(line, " ");
        assert_true(count < CLIENT_WORDS_MAX);
        words[count++] = bytes_of(line, size);
        line += size + (line[size] == ' ');
    }
    client->request.argv = words;
    client->request.argc = count;
    return hooks.execute(client);
}

static inline void client_expect_reply(struct client *client, const char *expected) {
    char text[4096] = "";
    size_t bytes, used = 0;
    struct reply_chunk *chunk = reply_take(&client->reply, &bytes);
    while (chunk != NULL) {
        struct reply_chunk *next = chunk->next;
        assert_true(used + chunk->used < sizeof text);
        memcpy(text + used, chunk->data, chunk->used);
        used += chunk->used;
        reply_chunk_free(chunk);
        chunk = next;
    }
    text[used] = 0;
    assert_string_equal(text, expected);
}

static inline void client_expect(struct client *client, const char *line, const char *expected) {
    assert_int_equal(client_execute(client, line), 0);
    client_expect_reply(client, expected);
}

#endif
