/* SPDX-License-Identifier: BSD-3-Clause */
/* The moves between string shapes. Order everywhere: read (may fault), allocate (may fail), db_changing,
 * change. */
#include "keyspace/db_string.h"

#include "base/assert.h"
#include "base/limits.h"
#include "page/page.h"

/* Room a blob gets beyond its length when it grows, so that appending is not quadratic. */
#define BLOB_GROWTH_DIVISOR 4u

/* --- set --- */

static struct entry *apply_expiry(struct db *db, struct entry *entry, int64_t expiry_ms) {
    if (expiry_ms == DB_STRING_KEEP_EXPIRY) return entry;
    if (expiry_ms == DB_STRING_NO_EXPIRY && !(entry->flags & ENTRY_EXPIRY)) return entry;
    return db_set_expiry(db, entry, expiry_ms);
}

/* ${old} is an inline string: make it hold ${bytes} inline bytes. */
static struct entry *make_inline(struct db *db, struct entry *old, uint32_t bytes) {
    struct entry *entry = db_changing(db, old);
    if (!(entry->flags & ENTRY_REF) && (bytes == entry_inline_bytes(entry) || entry_fits(entry, bytes)))
        return entry;
    return db_relayout(db, entry, 0, 1, bytes);
}

static int is_inline_string(const struct entry *entry) {
    return entry != NULL && entry_type(entry) == TYPE_STRING && (entry->flags & ENTRY_INLINE);
}

/* Set an inline string to another inline value, in place where it fits. */
static struct entry *set_inline(struct db *db, struct entry *old, struct bytes value, enum encoding encoding,
                                int64_t integer) {
    if (encoding == ENCODING_INT) {
        struct entry *entry = make_inline(db, old, 8);
        entry_set_encoding(entry, encoding);
        string_store_integer(entry, integer);
        return entry;
    }
    struct entry *entry = make_inline(db, old, (uint32_t)value.size);
    entry_set_encoding(entry, encoding);
    entry->size = (uint32_t)value.size;
    if (value.size > 0) memcpy(entry_inline(entry), value.data, value.size);
    return entry;
}

int db_string_set(struct db *db, struct bytes key, struct entry *old, struct bytes value,
                  enum string_form form, int64_t expiry_ms, struct entry **entry_out) {
    int64_t integer = 0;
    struct entry *entry;
    if (is_inline_string(old) && value.size <= STRING_INLINE_MAX_BYTES) {
        enum encoding encoding = string_encoding(value, form, &integer);
        entry = apply_expiry(db, set_inline(db, old, value, encoding, integer), expiry_ms);
    } else {
        if (expiry_ms == DB_STRING_KEEP_EXPIRY)
            expiry_ms = old != NULL ? entry_expiry(old) : DB_STRING_NO_EXPIRY;
        unsigned parts = expiry_ms != DB_STRING_NO_EXPIRY ? ENTRY_EXPIRY : 0;
        int error = string_create(key, value, form, parts, &entry);
        if (error != 0) return error;
        if (parts & ENTRY_EXPIRY) entry_store_expiry(entry, expiry_ms > 0 ? expiry_ms : 0);
        if (old != NULL) {
            db_replace(db, db_changing(db, old), entry);
        } else {
            db_insert(db, entry);
        }
    }
    if (entry_out != NULL) *entry_out = entry;
    return 0;
}

struct entry *db_string_set_integer(struct db *db, struct bytes key, struct entry *old, int64_t integer) {
    if (is_inline_string(old)) {
        if (entry_encoding(old) == ENCODING_INT &&
            !(old->flags & (ENTRY_MOVING | ENTRY_REF | ENTRY_BUNDLED))) {
            string_store_integer(old, integer);
            return old;
        }
        return set_inline(db, old, bytes_of(NULL, 0), ENCODING_INT, integer);
    }
    int64_t expiry_ms = old != NULL ? entry_expiry(old) : -1;
    struct entry *entry = entry_create_parts(key, TYPE_STRING, ENCODING_INT,
                                             ENTRY_INLINE | (expiry_ms >= 0 ? ENTRY_EXPIRY : 0u), 8);
    string_store_integer(entry, integer);
    if (expiry_ms >= 0) entry_store_expiry(entry, expiry_ms);
    if (old != NULL) {
        db_replace(db, db_changing(db, old), entry);
    } else {
        db_insert(db, entry);
    }
    return entry;
}

struct entry *db_string_create_empty(struct db *db, struct bytes key) {
    struct entry *entry = entry_create_parts(key, TYPE_STRING, ENCODING_RAW, ENTRY_INLINE, 0);
    db_insert(db, entry);
    return entry;
}

/* --- read --- */

/* The value is one page on ref. Read it, promoting as page_read decides: a short one becomes inline with its
 * record as clean copy. */
static int read_page(struct db *db, struct entry **entry_inout, struct bytes *value_out) {
    struct entry *entry = *entry_inout;
    uint64_t ref = entry_ref(entry), was = ref;
    uint32_t size = entry->size;
    int error = entry->flags & ENTRY_MOVING ? page_peek(ref, value_out, NULL) : page_read(&ref, value_out);
    if (error != 0) return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
    if (value_out->size != size) error = FIRN_ECORRUPT;
    if (ref == was) return error;

    struct page *page = page_ref_dram(ref);
    if (error != 0 || size <= STRING_INLINE_MAX_BYTES) page->lower = 0; /* the record stays the entry's */
    if (error != 0) {
        page_free_unshared(page);
        return error;
    }
    if (size > STRING_INLINE_MAX_BYTES) {
        entry_store_ref(entry, ref); /* the page's lower copy is the record */
        return 0;
    }
    entry = db_relayout(db, entry, 1, 1, size);
    if (size > 0) memcpy(entry_inline(entry), page->data, size);
    page_free_unshared(page);
    *value_out = bytes_of(entry_inline(entry), size);
    *entry_inout = entry;
    return 0;
}

static int is_one_page(const struct entry *entry) {
    return !(entry->flags & ENTRY_INLINE) && page_ref_tag(entry_ref(entry)) != PAGE_TAG_OBJECT;
}

int db_string_read(struct db *db, struct entry **entry_inout, char digits[NUMBER_INT_TEXT_MAX],
                   struct bytes_builder *scratch, struct bytes *value_out) {
    if (is_one_page(*entry_inout)) return read_page(db, entry_inout, value_out);
    return string_range(*entry_inout, 0, (*entry_inout)->size, digits, scratch, value_out);
}

int db_string_warm(struct db *db, struct entry **entry_inout) {
    struct bytes value;
    return is_one_page(*entry_inout) ? read_page(db, entry_inout, &value) : 0;
}

/* --- write --- */

/* Store ${data} at ${offset} of ${to}, which holds ${size} bytes; fill the gap. */
static void overlay(uint8_t *to, uint64_t size, uint64_t offset, struct bytes data) {
    if (offset > size) memset(to + size, 0, offset - size);
    memcpy(to + offset, data.data, data.size);
}

/* The new content is short enough to be inline; ${content} is the present one (in the entry, in a page, or
 * digits). */
static void write_inline(struct db *db, struct entry **entry_inout, struct bytes content, uint64_t offset,
                         struct bytes data, uint32_t size) {
    struct entry *entry = db_changing(db, *entry_inout);
    int was_text = (entry->flags & ENTRY_INLINE) && entry_encoding(entry) != ENCODING_INT;
    uint64_t ref = entry->flags & ENTRY_INLINE ? 0 : entry_ref(entry);
    if (!was_text || (entry->flags & ENTRY_REF) || entry_inline_capacity(entry) < size)
        entry = db_relayout(db, entry, 0, 1, size);
    if (!was_text && content.size > 0) memcpy(entry_inline(entry), content.data, content.size);
    overlay(entry_inline(entry), content.size, offset, data);
    entry->size = size;
    entry_set_encoding(entry, ENCODING_RAW);
    page_release(ref);
    *entry_inout = entry;
}

/* The new content is one page. */
static int write_blob(struct db *db, struct entry **entry_inout, struct bytes content, uint64_t offset,
                      struct bytes data, uint32_t size) {
    struct entry *entry = *entry_inout;
    uint64_t ref = entry->flags & ENTRY_INLINE ? 0 : entry_ref(entry);
    size_t capacity = size > content.size ? size + size / BLOB_GROWTH_DIVISOR : size;
    if (ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM && page_ref_dram(ref)->capacity >= size)
        capacity = size;
    if (capacity > STRING_BLOB_MAX_BYTES) capacity = STRING_BLOB_MAX_BYTES;
    struct page *page;
    if (ref == 0) {
        page = page_try_create(capacity);
        if (page == NULL) return FIRN_ENOMEM;
        memcpy(page->data, content.data, content.size);
        entry = db_relayout(db, db_changing(db, entry), 1, 0, 0);
        ref = page_ref_of(page);
    } else {
        entry = db_changing(db, entry);
        int error = page_write(&ref, capacity, &page);
        if (error != 0) return error;
    }
    entry_store_ref(entry, ref);
    overlay(page->data, content.size, offset, data);
    page->bytes = size;
    entry->size = size;
    entry_set_encoding(entry, ENCODING_RAW);
    *entry_inout = entry;
    return 0;
}

/* The new content is a sequence, the present one is not. */
static int write_first_sequence(struct db *db, struct entry **entry_inout, struct bytes content,
                                uint64_t offset, struct bytes data, uint32_t size) {
    struct entry *entry = *entry_inout;
    struct string_sequence *sequence = string_sequence_create();
    int error = string_sequence_write(sequence, 0, content);
    if (error == 0) error = string_sequence_write(sequence, offset, data);
    if (error != 0) {
        string_sequence_free(sequence);
        return error;
    }
    entry = db_changing(db, entry);
    uint64_t ref = entry->flags & ENTRY_INLINE ? 0 : entry_ref(entry);
    if (!(entry->flags & ENTRY_REF) || (entry->flags & ENTRY_INLINE)) entry = db_relayout(db, entry, 1, 0, 0);
    entry_store_ref(entry, page_ref_of_object(sequence));
    object_set_pinned(entry);
    page_release(ref);
    entry->size = size;
    entry_set_encoding(entry, ENCODING_RAW);
    *entry_inout = entry;
    return 0;
}

/* The encoding becomes raw, the content stays. */
static void make_raw(struct db *db, struct entry **entry_inout) {
    struct entry *entry = *entry_inout;
    char digits[NUMBER_INT_TEXT_MAX];
    if (entry_encoding(entry) == ENCODING_INT) {
        struct bytes content = bytes_of(digits, number_format_int(string_integer(entry), digits));
        write_inline(db, entry_inout, content, content.size, bytes_of("", 0), (uint32_t)content.size);
    } else if (entry_encoding(entry) != ENCODING_RAW) {
        *entry_inout = db_changing(db, entry);
        entry_set_encoding(*entry_inout, ENCODING_RAW);
    }
}

int db_string_write(struct db *db, struct entry **entry_inout, uint64_t offset, struct bytes data) {
    struct entry *entry = *entry_inout;
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes content;
    if (data.size == 0) {
        make_raw(db, entry_inout);
        return 0;
    }
    uint64_t end = offset + data.size;
    FIRN_ASSERT(end <= UINT32_MAX);
    uint32_t size = end > entry->size ? (uint32_t)end : entry->size;

    struct string_sequence *sequence = entry->flags & ENTRY_INLINE ? NULL : string_sequence(entry);
    if (sequence != NULL) {
        int error = string_sequence_touch(sequence, offset, data.size);
        if (error != 0) return error;
        entry = db_changing(db, entry);
        error = string_sequence_write(sequence, offset, data);
        if (error != 0) return error;
        entry->size = size;
        entry_set_encoding(entry, ENCODING_RAW);
        *entry_inout = entry;
        return 0;
    }
    int error = string_part(entry, 0, digits, &content);
    if (error != 0) return error;
    if (size <= STRING_INLINE_MAX_BYTES) {
        write_inline(db, entry_inout, content, offset, data, size);
        return 0;
    }
    if (size <= STRING_BLOB_MAX_BYTES) return write_blob(db, entry_inout, content, offset, data, size);
    return write_first_sequence(db, entry_inout, content, offset, data, size);
}
