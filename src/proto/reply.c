/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RESP2/RESP3 encoding into a chain of chunks (reply.h has the contracts).
 *
 * The first chunk of an empty reply is small (most replies are a few bytes and 50 or 10 000 clients have one
 * each); the following ones have 16 KiB and more, or as large as the value that is being written, up to
 * CHUNK_BYTES_MAX (so that the memory of a huge reply goes back while it is sent). Numbers are written by
 * ds/number, not printf.
 *
 * I1 Between head and tail no chunk is empty but possibly the first.
 * I2 A header (reply_later too) never spans two chunks; bulk contents may.
 *
 * Threads: the owner of the reply (executor).
 */
#include "proto/reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/memory.h"
#include "ds/number.h"

/* Allocations: size classes of the allocator, so that capacity is at least 1 KiB and REPLY_CHUNK_BYTES. */
#define CHUNK_FIRST_BYTES 1280u
#define CHUNK_NEXT_BYTES  20480u
#define CHUNK_BYTES_MAX   (1u << 20)
/* Kind, sign, 19 or 20 digits, CR LF. */
#define HEADER_BYTES_MAX 24u

/* --- chunks --- */

void reply_init(struct reply *reply) {
    memset(reply, 0, sizeof *reply);
    reply->version = 2;
}

static void free_chain(struct reply_chunk *chunk) {
    while (chunk) {
        struct reply_chunk *next = chunk->next;
        memory_free(chunk);
        chunk = next;
    }
}

void reply_fini(struct reply *reply) {
    free_chain(reply->head);
    reply->head = reply->tail = NULL;
    reply->bytes = 0;
}

void reply_chunk_free(struct reply_chunk *chunk) {
    memory_free(chunk);
}

/* Append a chunk with room for ${need} bytes, or for CHUNK_BYTES_MAX if that is less. */
static struct reply_chunk *add_chunk(struct reply *reply, size_t need) {
    if (reply->bytes_max != 0 && reply->bytes > reply->bytes_max) reply->lost = reply->off = 1;
    size_t size = reply->head ? CHUNK_NEXT_BYTES : CHUNK_FIRST_BYTES;
    if (need > CHUNK_BYTES_MAX) need = CHUNK_BYTES_MAX;
    if (need + sizeof(struct reply_chunk) > size) {
        size = need + sizeof(struct reply_chunk);
        if (size < CHUNK_NEXT_BYTES) size = CHUNK_NEXT_BYTES;
    }
    struct reply_chunk *chunk = memory_alloc(size);
    chunk->next = NULL;
    chunk->used = 0;
    chunk->capacity = (uint32_t)(size - sizeof *chunk);
    if (reply->tail)
        reply->tail->next = chunk;
    else
        reply->head = chunk;
    reply->tail = chunk;
    return chunk;
}

/* Contiguous room for ${size} (<= CHUNK_BYTES_MAX) bytes at the end; give back the unused part by advance. */
static inline uint8_t *reserve(struct reply *reply, size_t size) {
    struct reply_chunk *tail = reply->tail;
    if (__builtin_expect(!tail || tail->capacity - tail->used < size, 0)) tail = add_chunk(reply, size);
    return tail->data + tail->used;
}

static inline void advance(struct reply *reply, size_t size) {
    reply->tail->used += (uint32_t)size;
    reply->bytes += size;
}

/* Append without regard to chunk borders. */
static void append(struct reply *reply, const void *data, size_t size) {
    const uint8_t *from = data;
    while (size > 0) {
        struct reply_chunk *tail = reply->tail;
        if (!tail || tail->used == tail->capacity) tail = add_chunk(reply, size);
        size_t part = tail->capacity - tail->used;
        if (part > size) part = size;
        memcpy(tail->data + tail->used, from, part);
        advance(reply, part);
        from += part;
        size -= part;
    }
}

static inline void append_small(struct reply *reply, const char *data, size_t size) {
    memcpy(reserve(reply, size), data, size);
    advance(reply, size);
}

struct reply_mark reply_mark(const struct reply *reply) {
    return (struct reply_mark){reply->tail, reply->tail ? reply->tail->used : 0, reply->bytes, reply->errors};
}

void reply_rollback(struct reply *reply, struct reply_mark mark) {
    if (mark.tail) {
        free_chain(mark.tail->next);
        mark.tail->next = NULL;
        mark.tail->used = mark.used;
    } else {
        free_chain(reply->head);
        reply->head = NULL;
    }
    reply->tail = mark.tail;
    reply->bytes = mark.bytes;
    reply->errors = mark.errors;
    if (reply->lost && reply->bytes <= reply->bytes_max) reply->lost = reply->off = 0; /* it was written to */
}

struct reply_chunk *reply_take(struct reply *reply, size_t *bytes_out) {
    *bytes_out = reply->bytes;
    struct reply_chunk *head = reply->head;
    if (reply->bytes == 0) {
        free_chain(head);
        head = NULL;
    }
    reply->head = reply->tail = NULL;
    reply->bytes = 0;
    return head;
}

void reply_clear(struct reply *reply) {
    FIRN_ASSERT(reply->head && reply->head == reply->tail);
    reply->bytes = 0;
    reply->head->used = 0;
    if (reply->head->capacity > CHUNK_NEXT_BYTES) {
        memory_free(reply->head);
        reply->head = reply->tail = NULL;
    }
}

void reply_give_back(struct reply *reply, struct reply_chunk *chunk) {
    if (reply->head || chunk->capacity > CHUNK_NEXT_BYTES) {
        memory_free(chunk);
        return;
    }
    chunk->next = NULL;
    chunk->used = 0;
    reply->head = reply->tail = chunk;
}

void reply_shrink(struct reply *reply) {
    if (reply->bytes > 0 || !reply->head || reply->head->capacity <= CHUNK_FIRST_BYTES) return;
    memory_free(reply->head);
    reply->head = reply->tail = NULL;
}

/* --- numbers --- */

/* "${kind}${count}\r\n" at ${to}. */
static inline size_t write_header(uint8_t *to, char kind, uint64_t count) {
    to[0] = (uint8_t)kind;
    size_t size = 1 + number_write_uint(count, (char *)to + 1);
    to[size] = '\r';
    to[size + 1] = '\n';
    return size + 2;
}

static void append_header(struct reply *reply, char kind, uint64_t count) {
    uint8_t *to = reserve(reply, HEADER_BYTES_MAX);
    advance(reply, write_header(to, kind, count));
}

/* --- simple values --- */

void reply_ok(struct reply *reply) {
    if (reply->off) return;
    append_small(reply, "+OK\r\n", 5);
}

static void append_line(struct reply *reply, char kind, const char *text, size_t size) {
    append_small(reply, &kind, 1);
    append(reply, text, size);
    append_small(reply, "\r\n", 2);
}

void reply_status(struct reply *reply, const char *text) {
    if (reply->off) return;
    append_line(reply, '+', text, strlen(text));
}

void reply_integer(struct reply *reply, int64_t value) {
    if (reply->off) return;
    uint8_t *to = reserve(reply, HEADER_BYTES_MAX);
    to[0] = ':';
    size_t size = 1 + number_write_int(value, (char *)to + 1);
    to[size] = '\r';
    to[size + 1] = '\n';
    advance(reply, size + 2);
}

/* A whole bulk string at ${to}, which has room for HEADER_BYTES_MAX and two more than its bytes. */
static inline size_t write_bulk(uint8_t *to, struct bytes value) {
    size_t size = write_header(to, '$', value.size);
    if (value.size > 0) memcpy(to + size, value.data, value.size);
    size += value.size;
    to[size] = '\r';
    to[size + 1] = '\n';
    return size + 2;
}

void reply_bulk(struct reply *reply, struct bytes value) {
    if (reply->off) return;
    if (value.size <= REPLY_CHUNK_BYTES / 16) {
        advance(reply, write_bulk(reserve(reply, HEADER_BYTES_MAX + value.size + 2), value));
        return;
    }
    append_header(reply, '$', value.size);
    append(reply, value.data, value.size);
    append_small(reply, "\r\n", 2);
}

void reply_bulk_text(struct reply *reply, const char *text) {
    reply_bulk(reply, bytes_of_text(text));
}

void reply_bulk_integer(struct reply *reply, int64_t value) {
    char text[NUMBER_INT_TEXT_MAX];
    size_t size = number_write_int(value, text);
    reply_bulk(reply, bytes_of(text, size));
}

void reply_bulk_format(struct reply *reply, const char *format, ...) {
    char text[512];
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    FIRN_ASSERT(size >= 0);
    if ((size_t)size < sizeof text) {
        reply_bulk(reply, bytes_of(text, (size_t)size));
    } else {
        char *longer = memory_alloc((size_t)size + 1);
        vsnprintf(longer, (size_t)size + 1, format, again);
        reply_bulk(reply, bytes_of(longer, (size_t)size));
        memory_free(longer);
    }
    va_end(again);
}

void reply_bulk_begin(struct reply *reply, size_t size) {
    if (reply->off) return;
    append_header(reply, '$', size);
}

void reply_bulk_part(struct reply *reply, struct bytes part) {
    reply_raw(reply, part);
}

void reply_bulk_end(struct reply *reply) {
    if (reply->off) return;
    append_small(reply, "\r\n", 2);
}

void reply_double(struct reply *reply, double value) {
    if (reply->off) return;
    char text[NUMBER_DOUBLE_TEXT_MAX];
    size_t size = number_format_double(value, text);
    if (reply->version >= 3)
        append_line(reply, ',', text, size);
    else
        reply_bulk(reply, bytes_of(text, size));
}

void reply_boolean(struct reply *reply, int value) {
    if (reply->off) return;
    if (reply->version >= 3)
        append_small(reply, value ? "#t\r\n" : "#f\r\n", 4);
    else
        append_small(reply, value ? ":1\r\n" : ":0\r\n", 4);
}

void reply_null(struct reply *reply) {
    if (reply->off) return;
    if (reply->version >= 3)
        append_small(reply, "_\r\n", 3);
    else
        append_small(reply, "$-1\r\n", 5);
}

void reply_null_array(struct reply *reply) {
    if (reply->off) return;
    if (reply->version >= 3)
        append_small(reply, "_\r\n", 3);
    else
        append_small(reply, "*-1\r\n", 5);
}

void reply_big_number(struct reply *reply, const char *digits) {
    if (reply->off) return;
    if (reply->version >= 3)
        append_line(reply, '(', digits, strlen(digits));
    else
        reply_bulk_text(reply, digits);
}

void reply_verbatim(struct reply *reply, const char *kind3, struct bytes text) {
    if (reply->off) return;
    if (reply->version < 3) {
        reply_bulk(reply, text);
        return;
    }
    append_header(reply, '=', text.size + 4);
    append_small(reply, kind3, 3);
    append_small(reply, ":", 1);
    append(reply, text.data, text.size);
    append_small(reply, "\r\n", 2);
}

/* --- aggregates --- */

static void aggregate(struct reply *reply, char kind, size_t count) {
    if (reply->off) return;
    append_header(reply, kind, count);
}

void reply_array(struct reply *reply, size_t count) {
    aggregate(reply, '*', count);
}

void reply_map(struct reply *reply, size_t pairs) {
    if (reply->version >= 3)
        aggregate(reply, '%', pairs);
    else
        aggregate(reply, '*', 2 * pairs);
}

void reply_set(struct reply *reply, size_t count) {
    aggregate(reply, reply->version >= 3 ? '~' : '*', count);
}

void reply_push(struct reply *reply, size_t count) {
    aggregate(reply, reply->version >= 3 ? '>' : '*', count);
}

void reply_attribute(struct reply *reply, size_t pairs) {
    FIRN_ASSERT(reply->version >= 3);
    aggregate(reply, '|', pairs);
}

/*
 * The header's place is kept at its longest; closing writes the real one and moves what follows in the same
 * chunk down. Nested ones close inner first, and an inner one moves only bytes behind itself, so the offsets
 * of the outer ones stay true.
 */
struct reply_later reply_later_open(struct reply *reply, char kind) {
    if (reply->off) return (struct reply_later){NULL, 0, kind};
    reserve(reply, HEADER_BYTES_MAX);
    struct reply_later later = {reply->tail, reply->tail->used, kind};
    advance(reply, HEADER_BYTES_MAX);
    return later;
}

void reply_later_close(struct reply *reply, struct reply_later later, size_t count) {
    struct reply_chunk *chunk = later.chunk;
    if (!chunk) return;
    char kind = later.kind;
    if (reply->version < 3) {
        if (kind == '%') count *= 2;
        kind = '*';
    }
    FIRN_ASSERT(later.offset + HEADER_BYTES_MAX <= chunk->used);
    uint8_t *to = chunk->data + later.offset;
    size_t behind = chunk->used - later.offset - HEADER_BYTES_MAX;
    size_t size = write_header(to, kind, count);
    memmove(to + size, to + HEADER_BYTES_MAX, behind);
    chunk->used -= (uint32_t)(HEADER_BYTES_MAX - size);
    reply->bytes -= HEADER_BYTES_MAX - size;
}

/* --- errors --- */

/* Remember the first word of ${text} (without '-') for the statistics. */
static void note_error(struct reply *reply, const char *text, size_t size) {
    size_t word = 0;
    while (word < size && text[word] != ' ' && word + 1 < sizeof reply->last_error)
        word++;
    memcpy(reply->last_error, text, word);
    reply->last_error[word] = '\0';
    reply->errors++;
}

static void append_error(struct reply *reply, const char *text, size_t size) {
    int has_code = size > 0 && text[0] == '-';
    if (has_code) {
        text++;
        size--;
        note_error(reply, text, size);
    } else {
        note_error(reply, "ERR", 3);
    }
    if (reply->off) return;
    append_small(reply, "-", 1);
    if (!has_code) append_small(reply, "ERR ", 4);
    while (size > 0 && (text[size - 1] == '\r' || text[size - 1] == '\n'))
        size--;
    while (size > 0) {
        size_t clean = 0;
        while (clean < size && text[clean] != '\r' && text[clean] != '\n')
            clean++;
        append(reply, text, clean);
        if (clean == size) break;
        append_small(reply, " ", 1);
        text += clean + 1;
        size -= clean + 1;
    }
    append_small(reply, "\r\n", 2);
}

void reply_error(struct reply *reply, const char *text) {
    append_error(reply, text, strlen(text));
}

void reply_error_format(struct reply *reply, const char *format, ...) {
    char text[1024];
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    FIRN_ASSERT(size >= 0);
    if ((size_t)size < sizeof text) {
        append_error(reply, text, (size_t)size);
    } else {
        char *longer = memory_alloc((size_t)size + 1);
        vsnprintf(longer, (size_t)size + 1, format, again);
        append_error(reply, longer, (size_t)size);
        memory_free(longer);
    }
    va_end(again);
}

void reply_raw(struct reply *reply, struct bytes raw) {
    if (reply->off) return;
    append(reply, raw.data, raw.size);
}

void reply_encode_bulk(struct bytes_builder *out, struct bytes value) {
    out->size += write_bulk(bytes_builder_reserve(out, HEADER_BYTES_MAX + value.size + 2), value);
}
