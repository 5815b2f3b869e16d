/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building replies: RESP2 or RESP3 into a chain of chunks that the network layer sends. A command writes
 * through these calls only; each does the right thing for the connection's protocol version. A reply can be
 * rolled back to a mark (the command faulted and will run again).
 *
 * R1 Chunks already handed to the socket (reply_take) are never changed.
 * R2 With reply->off nothing is written (CLIENT REPLY OFF/SKIP).
 * R3 A reply that grows beyond bytes_max is lost: nothing more is written, and the network layer closes the
 *    client (client-output-buffer-limit). Commands that only reply may stop when they see it.
 */
#ifndef FIRN_PROTO_REPLY_H
#define FIRN_PROTO_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct bytes_builder;

#define REPLY_CHUNK_BYTES 16384u

struct reply_chunk {
    struct reply_chunk *next;
    uint32_t used, capacity;
    uint8_t data[];
};

struct reply {
    struct reply_chunk *head, *tail; /* head is the oldest; NULL when empty */
    size_t bytes;                    /* in all chunks */
    unsigned version;                /* 2 or 3 */
    int off;
    int lost;            /* R3; until rolled back */
    size_t bytes_max;    /* 0: no limit */
    uint64_t errors;     /* error replies written so far */
    char last_error[64]; /* first word(s) of the last error, for errorstats ("ERR", "WRONGTYPE"...) */
};

struct reply_mark {
    struct reply_chunk *tail;
    uint32_t used;
    size_t bytes;
    uint64_t errors;
};

void reply_init(struct reply *reply);
void reply_fini(struct reply *reply);
/* Remember / return to a place. Everything written since is gone. The mark is void once chunks were taken. */
struct reply_mark reply_mark(const struct reply *reply);
void reply_rollback(struct reply *reply, struct reply_mark mark);
/* Take all chunks for sending: returns the chain (or NULL), the reply is empty. Free each with
 * reply_chunk_free. */
struct reply_chunk *reply_take(struct reply *reply, size_t *bytes_out);
void reply_chunk_free(struct reply_chunk *chunk);
/* Everything in the reply's only chunk was sent without taking it: empty it and keep it for the next reply.
 */
void reply_clear(struct reply *reply);
/* A taken chunk was sent: keep it for the next reply if the reply has none and its size is usual, else free
 * it. */
void reply_give_back(struct reply *reply, struct reply_chunk *chunk);
/* The reply is empty and the client idle: free the chunk kept, if it is larger than a first one. */
void reply_shrink(struct reply *reply);

/* Simple values. */
void reply_ok(struct reply *reply);
void reply_status(struct reply *reply, const char *text);
void reply_integer(struct reply *reply, int64_t value);
void reply_bulk(struct reply *reply, struct bytes value);
void reply_bulk_text(struct reply *reply, const char *text);
void reply_bulk_integer(struct reply *reply, int64_t value);
void reply_bulk_format(struct reply *reply, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A bulk of ${size} bytes to be filled by the caller at once through the returned pieces: appends header,
 * calls ${fill} for consecutive parts. */
void reply_bulk_begin(struct reply *reply, size_t size);
void reply_bulk_part(struct reply *reply, struct bytes part);
void reply_bulk_end(struct reply *reply);
void reply_double(struct reply *reply,
                  double value); /* RESP2: bulk, shortest form that reads back (%.17g style as Redis) */
void reply_boolean(struct reply *reply, int value); /* RESP2: 1 or 0 */
void reply_null(struct reply *reply);               /* RESP2: $-1, RESP3: _ */
void reply_null_array(struct reply *reply);         /* RESP2: *-1, RESP3: _ */
void reply_big_number(struct reply *reply, const char *digits);
void reply_verbatim(struct reply *reply, const char *kind3, struct bytes text); /* RESP2: bulk */

/* Aggregates: the header only; elements follow. Map counts pairs (RESP2: array of 2n). Set: RESP2 array.
 * Push: RESP2 array. */
void reply_array(struct reply *reply, size_t count);
void reply_map(struct reply *reply, size_t pairs);
void reply_set(struct reply *reply, size_t count);
void reply_push(struct reply *reply, size_t count);
void reply_attribute(struct reply *reply, size_t pairs);
/* An aggregate whose length is known later: returns a token; close it with the final count. Kind: '*', '%',
 * '~', '>'. Nesting is fine. */
struct reply_later {
    struct reply_chunk *chunk;
    uint32_t offset;
    char kind;
};
struct reply_later reply_later_open(struct reply *reply, char kind);
void reply_later_close(struct reply *reply, struct reply_later later, size_t count);

/* Errors. ${text} without code gets "ERR "; text that begins with '-' is "-CODE message" as given. CR and LF
 * become spaces. */
void reply_error(struct reply *reply, const char *text);
void reply_error_format(struct reply *reply, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes already encoded; and a bulk string encoded behind ${out}, for those. */
void reply_raw(struct reply *reply, struct bytes raw);
void reply_encode_bulk(struct bytes_builder *out, struct bytes value);

#endif
