/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parsing requests: RESP arrays of bulk strings and inline commands out of a query buffer, incrementally,
 * without copying arguments. All of Redis's limits and error texts ("Protocol error: invalid multibulk
 * length", "too big inline request", "unbalanced quotes in request", "expected '$', got ..."; stricter limits
 * before authentication).
 */
#ifndef FIRN_PROTO_REQUEST_H
#define FIRN_PROTO_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct request_limits {
    size_t bulk_bytes_max; /* proto-max-bulk-len */
    int authenticated;     /* 0: at most 10 arguments of 16384 bytes */
};

/* Parser state of one connection. Arguments point into the caller's buffer at offsets, so the buffer may be
 * moved between calls (request_rebase computes argv). */
struct request {
    size_t argc;        /* arguments of the complete command */
    struct bytes *argv; /* valid after request_parse returned 1, until the buffer moves or the next parse */
    size_t argv_capacity;
    size_t consumed; /* bytes of the buffer up to the end of the command */
    size_t needed;   /* more bytes that are needed at least, for sizing a read of a big argument; 0 unknown */
    size_t argument_bytes; /* sum of argument sizes */
    /* private */
    const uint8_t *base;  /* the buffer argv points into */
    size_t argc_expected; /* from the multibulk header; 0: header not read yet */
    int64_t bulk_left;    /* size of the bulk that is being received, -1: its header is not read yet */
    size_t scanned;       /* offset of the first byte not yet understood */
    uint8_t *inline_copy; /* unquoted inline arguments */
    int is_inline;        /* argv points into inline_copy */
    char error[96];
};

void request_init(struct request *request);
void request_fini(struct request *request);
/* Forget a partial command. */
void request_reset(struct request *request);
/*
 * Go on parsing ${buffer} (which begins where the current command begins). 1: a command is complete (argc may
 * be 0: an empty line, ignore it); 0: more bytes needed; FIRN_EPROTOCOL: request->error has the text after
 * "Protocol error: ".
 */
FIRN_MUST_USE int request_parse(struct request *request, struct bytes buffer,
                                const struct request_limits *limits);
/* Recompute argv after the buffer moved to ${base} (also in the middle of a command). The old buffer need not
 * exist any more. */
void request_rebase(struct request *request, const uint8_t *base);

#endif
