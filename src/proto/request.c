/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Incremental request parser (request.h has the contracts).
 *
 * A multibulk command is read in one pass: every number is converted by a hand-written loop over bytes that
 * are there anyway, and argv is filled with pointers into the buffer at once. What was understood (scanned,
 * argc, bulk_left) is kept when bytes are missing, so no byte is looked at twice, whatever pieces a command
 * arrives in.
 *
 * Lines end as in Redis: a header goes up to the first CR, the byte after it is skipped unseen, as are the
 * two bytes after a bulk; NUL before the line end makes the line endless (it then runs into the limit).
 *
 * I1 scanned <= buffer size; argv[0..argc) lie in [base, base + scanned) or in inline_copy.
 * I2 argv grows with arguments received, never with a count that was only announced.
 */
#include "proto/request.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"

#define INLINE_BYTES_MAX              65536u
#define UNAUTHENTICATED_ARGUMENTS_MAX 10
#define UNAUTHENTICATED_BULK_MAX      16384
#define ARGV_KEEP                     64u /* a longer argv is freed by request_reset */

void request_init(struct request *request) {
    memset(request, 0, sizeof *request);
    request->bulk_left = -1;
}

void request_fini(struct request *request) {
    memory_free(request->argv);
    memory_free(request->inline_copy);
    request_init(request);
}

void request_reset(struct request *request) {
    request->argc = 0;
    request->consumed = 0;
    request->needed = 0;
    request->argument_bytes = 0;
    request->base = NULL;
    request->argc_expected = 0;
    request->bulk_left = -1;
    request->scanned = 0;
    if (__builtin_expect(request->argv_capacity > ARGV_KEEP, 0)) {
        memory_free(request->argv);
        request->argv = NULL;
        request->argv_capacity = 0;
    }
    if (__builtin_expect(request->inline_copy != NULL, 0)) {
        memory_free(request->inline_copy);
        request->inline_copy = NULL;
    }
    request->is_inline = 0;
}

static int protocol_error(struct request *request, const char *text) {
    snprintf(request->error, sizeof request->error, "%s", text);
    return FIRN_EPROTOCOL;
}

static void add_argument(struct request *request, const uint8_t *data, size_t size) {
    if (__builtin_expect(request->argc == request->argv_capacity, 0)) {
        size_t capacity = request->argv_capacity ? request->argv_capacity * 2 : 8;
        request->argv = memory_realloc(request->argv, capacity * sizeof *request->argv);
        request->argv_capacity = capacity;
    }
    request->argv[request->argc].data = data;
    request->argv[request->argc].size = size;
    request->argc++;
    request->argument_bytes += size;
}

void request_rebase(struct request *request, const uint8_t *base) {
    uintptr_t from = (uintptr_t)request->base;
    if (request->base == base) return;
    request->base = base;
    if (request->is_inline) return;
    for (size_t i = 0; i < request->argc; i++) {
        request->argv[i].data = base + ((uintptr_t)request->argv[i].data - from);
    }
}

/* --- inline commands --- */

static int is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What ends an unquoted word. */
static int is_word_end(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static uint8_t escaped(uint8_t c) {
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
    }
}

/* Unquote from just after the opening ${quote} to ${to}. Returns the place after the closing quote, or NULL.
 */
static const uint8_t *unquote(const uint8_t *at, const uint8_t *end, uint8_t quote, uint8_t **to) {
    while (at < end) {
        if (quote == '"' && end - at >= 4 && at[0] == '\\' && at[1] == 'x' && hex_value(at[2]) >= 0 &&
            hex_value(at[3]) >= 0) {
            *(*to)++ = (uint8_t)(hex_value(at[2]) * 16 + hex_value(at[3]));
            at += 4;
        } else if (quote == '"' && at[0] == '\\' && end - at >= 2) {
            *(*to)++ = escaped(at[1]);
            at += 2;
        } else if (quote == '\'' && at[0] == '\\' && end - at >= 2 && at[1] == '\'') {
            *(*to)++ = '\'';
            at += 2;
        } else if (at[0] == quote) {
            /* The closing quote must be followed by a space or nothing. */
            return at + 1 == end || is_space(at[1]) ? at + 1 : NULL;
        } else {
            *(*to)++ = *at++;
        }
    }
    return NULL;
}

/* Split ${line} into argv, unquoting into inline_copy. 0 or FIRN_EPROTOCOL. */
static int split_inline(struct request *request, const uint8_t *line, size_t size) {
    const uint8_t *at = line, *end = line + size;
    request->inline_copy = memory_realloc(request->inline_copy, size + 1);
    request->is_inline = 1;
    uint8_t *to = request->inline_copy;
    for (;;) {
        while (at < end && is_space(*at))
            at++;
        if (at == end) return 0;
        uint8_t *start = to;
        while (at < end && !is_word_end(*at)) {
            if (*at == '"' || *at == '\'') {
                uint8_t quote = *at;
                at = unquote(at + 1, end, quote, &to);
                if (!at) return protocol_error(request, "unbalanced quotes in request");
                break;
            }
            *to++ = *at++;
        }
        add_argument(request, start, (size_t)(to - start));
    }
}

/* The first ${what} in data[0..size) with no NUL before it, or NULL. */
static const uint8_t *find_line_end(const uint8_t *data, size_t size, int what) {
    const uint8_t *found = size ? memchr(data, what, size) : NULL;
    if (found && memchr(data, '\0', (size_t)(found - data))) return NULL;
    return found;
}

static int parse_inline(struct request *request, struct bytes buffer) {
    /* A NUL that was passed over stays in front of every later line end, so the search cannot go on from
     * where it stopped; 64 KiB bound the work. */
    const uint8_t *end = find_line_end(buffer.data, buffer.size, '\n');
    if (!end) return buffer.size > INLINE_BYTES_MAX ? protocol_error(request, "too big inline request") : 0;
    size_t size = (size_t)(end - buffer.data);
    request->consumed = size + 1;
    if (size > 0 && buffer.data[size - 1] == '\r') size--;
    int error = split_inline(request, buffer.data, size);
    return error ? error : 1;
}

/* --- multibulk commands --- */

/*
 * Strict decimal (no sign but '-', no leading zeros) in ${data}: 1 and *value_out, or 0 if it is none or does
 * not fit.
 */
static int strict_integer(const uint8_t *data, size_t size, int64_t *value_out) {
    size_t at = 0;
    int negative = 0;
    if (size == 1 && data[0] == '0') {
        *value_out = 0;
        return 1;
    }
    if (size > 0 && data[0] == '-') {
        negative = 1;
        at = 1;
    }
    if (at == size || data[at] < '1' || data[at] > '9' || size - at > 19) return 0;
    uint64_t value = 0;
    for (; at < size; at++) {
        unsigned digit = (unsigned)(data[at] - '0');
        if (digit > 9) return 0;
        value = value * 10 + digit; /* 19 digits fit in 64 bits */
    }
    if (value > (uint64_t)INT64_MAX + (unsigned)negative) return 0;
    *value_out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 1;
}

/*
 * Read the number of a header line "${kind}<number>\r\n" at ${at} (which is the kind byte). 1: *value_out and
 * *next_out are set; 0: incomplete; FIRN_EINVALID: not a number (the line is complete); FIRN_ETOOBIG:
 * incomplete and over the limit.
 */
static inline int header_line(const uint8_t *at, const uint8_t *end, int64_t *value_out,
                              const uint8_t **next_out) {
    /* Fast: one to nine digits without a leading zero. */
    const uint8_t *digit = at + 1;
    uint64_t value = 0;
    while (digit < end && (uint8_t)(*digit - '0') <= 9 && digit - at <= 9)
        value = value * 10 + (uint8_t)(*digit++ - '0');
    if (digit + 1 < end && *digit == '\r' && digit > at + 1 && (at[1] != '0' || digit == at + 2)) {
        *value_out = (int64_t)value;
        *next_out = digit + 2;
        return 1;
    }
    const uint8_t *line_end = find_line_end(at, (size_t)(end - at), '\r');
    if (!line_end) return (size_t)(end - at) > INLINE_BYTES_MAX ? FIRN_ETOOBIG : 0;
    if (line_end + 2 > end) return 0;
    *next_out = line_end + 2;
    if (line_end == at) return FIRN_EINVALID; /* an empty line, without a kind */
    return strict_integer(at + 1, (size_t)(line_end - at - 1), value_out) ? 1 : FIRN_EINVALID;
}

/* "*N\r\n". 1: argc_expected is set (or the command is empty and complete: consumed is set). */
static int parse_multibulk_header(struct request *request, struct bytes buffer,
                                  const struct request_limits *limits) {
    int64_t count;
    const uint8_t *next;
    int result = header_line(buffer.data, buffer.data + buffer.size, &count, &next);
    if (result == FIRN_ETOOBIG) return protocol_error(request, "too big mbulk count string");
    if (result == 0) return 0;
    if (result < 0 || count > INT32_MAX) return protocol_error(request, "invalid multibulk length");
    if (count > UNAUTHENTICATED_ARGUMENTS_MAX && !limits->authenticated) {
        return protocol_error(request, "unauthenticated multibulk length");
    }
    request->scanned = (size_t)(next - buffer.data);
    if (count <= 0)
        request->consumed = request->scanned;
    else
        request->argc_expected = (size_t)count;
    return 1;
}

/* "$N\r\n" at scanned. 1: bulk_left is set. */
static inline int parse_bulk_header(struct request *request, struct bytes buffer,
                                    const struct request_limits *limits) {
    int64_t size;
    const uint8_t *at = buffer.data + request->scanned, *next;
    if (request->scanned == buffer.size) return 0;
    int result = header_line(at, buffer.data + buffer.size, &size, &next);
    if (result == FIRN_ETOOBIG) return protocol_error(request, "too big bulk count string");
    if (result == 0) return 0;
    if (*at != '$') {
        snprintf(request->error, sizeof request->error, "expected '$', got '%c'", *at);
        return FIRN_EPROTOCOL;
    }
    if (result < 0 || size < 0 || (uint64_t)size > limits->bulk_bytes_max) {
        return protocol_error(request, "invalid bulk length");
    }
    if (size > UNAUTHENTICATED_BULK_MAX && !limits->authenticated) {
        return protocol_error(request, "unauthenticated bulk length");
    }
    request->scanned = (size_t)(next - buffer.data);
    request->bulk_left = size;
    return 1;
}

int request_parse(struct request *request, struct bytes buffer, const struct request_limits *limits) {
    int result;
    FIRN_ASSERT(request->scanned <= buffer.size);
    if (buffer.size == 0) return 0;
    if (request->argc_expected == 0) {
        if (buffer.data[0] != '*') return parse_inline(request, buffer);
        result = parse_multibulk_header(request, buffer, limits);
        if (result <= 0 || request->argc_expected == 0) return result;
    }
    request_rebase(request, buffer.data);
    request->needed = 0;
    while (request->argc < request->argc_expected) {
        if (request->bulk_left < 0) {
            result = parse_bulk_header(request, buffer, limits);
            if (result <= 0) return result;
        }
        size_t size = (size_t)request->bulk_left;
        size_t there = buffer.size - request->scanned;
        if (there < size + 2) {
            request->needed = size + 2 - there;
            return 0;
        }
        add_argument(request, buffer.data + request->scanned, size);
        request->scanned += size + 2;
        request->bulk_left = -1;
    }
    request->consumed = request->scanned;
    return 1;
}
