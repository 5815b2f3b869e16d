/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listpacks: Redis's packed sequence of texts and integers, as stream nodes are kept and RDB payloads hold
 * them. Reading never trusts the bytes; writing goes to memory that the caller has measured. Any thread.
 *
 *   OFFSET SIZE FIELD
 *        0    4 total bytes, header and terminator included
 *        4    2 number of elements; 0xffff: not known
 *        6    . elements: encoding byte, data, the bytes of both again (readable backwards, 1 to 5 bytes)
 *     last    1 0xff
 */
#ifndef FIRN_DS_LISTPACK_H
#define FIRN_DS_LISTPACK_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

#define LISTPACK_HEADER_BYTES      6u
#define LISTPACK_END               0xffu
#define LISTPACK_COUNT_UNKNOWN     0xffffu
#define LISTPACK_INTEGER_BYTES_MAX 10u /* of one integer element */
#define LISTPACK_TEXT_OVERHEAD_MAX 10u /* of one text element, besides its bytes */

/* A place between elements. */
struct listpack_reader {
    const uint8_t *at;
    const uint8_t *end; /* the terminator */
    int bare;           /* elements without their sizes behind them (no listpack any more, but shorter) */
};

struct listpack_element {
    const uint8_t *text; /* NULL: an integer */
    size_t size;
    int64_t integer;
};

/* --- reading: 0 or FIRN_ECORRUPT --- */
/* At the first element of ${raw}, whose header and terminator are checked. */
FIRN_MUST_USE int listpack_open(struct bytes raw, struct listpack_reader *reader_out);
static inline int listpack_at_end(const struct listpack_reader *reader) {
    return reader->at >= reader->end;
}
/* The next element; FIRN_ECORRUPT also when there is none. */
FIRN_MUST_USE int listpack_read(struct listpack_reader *reader, struct listpack_element *element_out);
/* The next element, which must be an integer. */
FIRN_MUST_USE int listpack_read_integer(struct listpack_reader *reader, int64_t *value_out);
/* Step over ${count} elements. */
FIRN_MUST_USE int listpack_skip(struct listpack_reader *reader, uint64_t count);
/* Step back over ${count} elements, not before ${start}. Not with bare ones. */
FIRN_MUST_USE int listpack_back(struct listpack_reader *reader, const uint8_t *start, uint64_t count);
/* The next element's encoding byte and data as they are. */
FIRN_MUST_USE int listpack_raw(struct listpack_reader *reader, struct bytes *raw_out);
/* Every element, its size at both ends, and their number: for bytes from outside. */
FIRN_MUST_USE int listpack_check(struct bytes raw);
/* Whether ${element} is ${text}. */
int listpack_equal(const struct listpack_element *element, struct bytes text);

/* --- writing: returns where the next element goes --- */
size_t listpack_integer_bytes(int64_t value);
uint8_t *listpack_put_integer(uint8_t *at, int64_t value);
/* What listpack_raw gave. At most size + 5 bytes. */
uint8_t *listpack_put_raw(uint8_t *at, struct bytes raw);
/* As an integer where it is one in its one form. At most size + LISTPACK_TEXT_OVERHEAD_MAX bytes. */
uint8_t *listpack_put_text(uint8_t *at, struct bytes text);

#endif
