/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strings. Four shapes, chosen by what the value is, invisible to clients:
 *
 *   integer   8 bytes inline, encoding INT: any value that is a strict decimal 64-bit integer when it is set
 * whole inline    up to STRING_INLINE_MAX_BYTES, in the entry; with a ref beside it: a clean copy below page
 * one page on ref (a blob up to STRING_BLOB_MAX_BYTES, or a short value that was moved down) sequence OBJECT:
 * an array of references to pages of STRING_SEQUENCE_PAGE_BYTES. A reference of 0 is a hole, and what a page
 * does not hold of its range is zeros, so SETBIT far out allocates one page.
 *
 * S1 entry->size is the length in bytes in every shape.
 * S2 A page (not of a sequence) holds exactly size bytes; a page of a sequence at most its range.
 * S3 Calls here never change an entry's layout; src/keyspace/db_string.h does.
 *
 * Executor only. "May fault": FIRN_EFAULT like page_peek, having changed nothing.
 */
#ifndef FIRN_TYPES_STRING_H
#define FIRN_TYPES_STRING_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/bytes_builder.h"
#include "base/error.h"
#include "ds/number.h"
#include "page/page.h"
#include "types/entry.h"
#include "types/type.h"

/* How a value set as a whole is encoded. */
enum string_form {
    STRING_FORM_ANY,  /* integer if it is one; else embstr or raw by length */
    STRING_FORM_TEXT, /* embstr or raw by length */
    STRING_FORM_RAW,
};

/* The encoding of ${value} under ${form}; with ENCODING_INT also *integer_out. */
enum encoding string_encoding(struct bytes value, enum string_form form, int64_t *integer_out);

/* The integer of an entry with ENCODING_INT. */
static inline int64_t string_integer(const struct entry *entry) {
    return (int64_t)bytes_load64(entry_inline(entry));
}
/* Store ${integer} in an entry with ENCODING_INT (8 inline bytes); sets size. */
void string_store_integer(struct entry *entry, int64_t integer);

/*
 * A new entry (in no table) for ${key} with ${value}; ${parts} may hold ENTRY_EXPIRY. FIRN_ENOMEM: nothing
 * was made.
 */
FIRN_MUST_USE int string_create(struct bytes key, struct bytes value, enum string_form form, unsigned parts,
                                struct entry **entry_out);

/* --- reading --- */
/*
 * The bytes from ${offset} (< size) on that are contiguous: *part_out, not beyond the end. Integers are
 * written to
 * ${digits}. Valid as page_peek says. May fault. Promotes pages of a sequence (page_read); others are left as
 * they are.
 */
FIRN_MUST_USE int string_part(const struct entry *entry, uint64_t offset, char digits[NUMBER_INT_TEXT_MAX],
                              struct bytes *part_out);
/*
 * Make sure [from, to) can be read: 0, or FIRN_EFAULT with all missing pages recorded. More than
 * FAULT_TOUCH_MAX of them are read one by one later instead (fault_must_finish).
 */
FIRN_MUST_USE int string_touch(const struct entry *entry, uint64_t from, uint64_t to);
/*
 * Bytes [from, to) contiguous: *whole_out points into the value, ${digits} or ${scratch} (cleared first; used
 * by sequences only). May fault; FIRN_ENOMEM.
 */
FIRN_MUST_USE int string_range(const struct entry *entry, uint64_t from, uint64_t to,
                               char digits[NUMBER_INT_TEXT_MAX], struct bytes_builder *scratch,
                               struct bytes *range_out);

/* --- sequences --- */
struct string_sequence {
    struct object object;
    uint32_t capacity; /* references allocated */
    uint32_t count;    /* references in use: pages the length covers, at most */
    uint64_t *pages;
};

/* The sequence of ${entry}, or NULL if it has another shape. */
static inline struct string_sequence *string_sequence(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}
/* A registered sequence without pages. */
struct string_sequence *string_sequence_create(void);
/* Free it with all its pages now. */
void string_sequence_free(struct string_sequence *sequence);
/*
 * Write ${data} at ${offset}. Pages that are only partly overwritten may fault; FIRN_ENOMEM; the content is
 * unchanged then. The caller keeps the length.
 */
FIRN_MUST_USE int string_sequence_write(struct string_sequence *sequence, uint64_t offset, struct bytes data);
/* Whether string_sequence_write would fault: touches what it needs. */
FIRN_MUST_USE int string_sequence_touch(struct string_sequence *sequence, uint64_t offset, uint64_t bytes);

#endif
