/* SPDX-License-Identifier: BSD-3-Clause */
/* Shapes and invariants: string.h. Accounting of a sequence: dram_bytes is the sum of page->bytes of its DRAM
 * pages. */
#include "types/string.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"
#include "ds/rdb_format.h"
#include "page/fault.h"

#define SEQUENCE_PAGE  STRING_SEQUENCE_PAGE_BYTES
#define INT_DIGITS_MAX 20u

static const uint8_t string_zeros[SEQUENCE_PAGE]; /* what a hole reads as */

enum encoding string_encoding(struct bytes value, enum string_form form, int64_t *integer_out) {
    if (form == STRING_FORM_RAW) return ENCODING_RAW;
    if (form == STRING_FORM_ANY && value.size <= INT_DIGITS_MAX && number_parse_int(value, integer_out) == 0)
        return ENCODING_INT;
    return value.size <= STRING_EMBSTR_MAX_BYTES ? ENCODING_EMBSTR : ENCODING_RAW;
}

void string_store_integer(struct entry *entry, int64_t integer) {
    bytes_store64(entry_inline(entry), (uint64_t)integer);
    entry->size = number_int_length(integer);
}

/* --- sequences --- */

struct string_sequence *string_sequence_create(void) {
    struct string_sequence *sequence = memory_alloc_zero(sizeof *sequence);
    object_register(&sequence->object, TYPE_STRING);
    return sequence;
}

/* Payload bytes ${ref} holds in DRAM. */
static int64_t sequence_dram_bytes(uint64_t ref) {
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? (int64_t)page_ref_dram(ref)->bytes : 0;
}

static int sequence_in_dram(uint64_t ref) {
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
}

/* The slot ${place} held ${was} with ${was_bytes} in DRAM before it changed. */
static void sequence_account(struct string_sequence *sequence, uint32_t place, uint64_t was,
                             int64_t was_bytes) {
    uint64_t now = sequence->pages[place];
    object_account(&sequence->object, sequence_dram_bytes(now) - was_bytes, (now != 0) - (was != 0),
                   sequence_in_dram(now) - sequence_in_dram(was));
}

/* Release the last ${pages} pages; whether any are left. */
static int sequence_drop(struct string_sequence *sequence, unsigned pages) {
    while (sequence->count > 0 && pages-- > 0) {
        uint32_t place = --sequence->count;
        uint64_t was = sequence->pages[place];
        int64_t was_bytes = sequence_dram_bytes(was);
        sequence->pages[place] = 0;
        page_release(was);
        sequence_account(sequence, place, was, was_bytes);
    }
    return sequence->count > 0;
}

void string_sequence_free(struct string_sequence *sequence) {
    sequence_drop(sequence, UINT32_MAX);
    object_unregister(&sequence->object);
    memory_free(sequence->pages);
    memory_free(sequence);
}

static int sequence_reap(struct object *object, unsigned pages) {
    struct string_sequence *sequence = (struct string_sequence *)object;
    if (sequence_drop(sequence, pages)) return 1;
    string_sequence_free(sequence);
    return 0;
}

static int sequence_reserve(struct string_sequence *sequence, uint64_t count) {
    if (count > sequence->capacity) {
        uint64_t capacity = sequence->capacity + sequence->capacity / 2;
        if (capacity < count) capacity = count;
        if (capacity < 8) capacity = 8;
        uint64_t *pages = memory_try_realloc(sequence->pages, capacity * sizeof *pages);
        if (pages == NULL) return FIRN_ENOMEM;
        sequence->pages = pages;
        sequence->capacity = (uint32_t)capacity;
    }
    while (sequence->count < count)
        sequence->pages[sequence->count++] = 0;
    return 0;
}

/* Payload of page ${place} (empty for a hole), promoting as page_read does. */
static int sequence_read(struct string_sequence *sequence, uint64_t place, struct bytes *payload_out) {
    *payload_out = bytes_of(NULL, 0);
    if (place >= sequence->count || sequence->pages[place] == 0) return 0;
    uint64_t was = sequence->pages[place];
    int error = page_read(&sequence->pages[place], payload_out);
    if (error != 0) return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
    if (sequence->pages[place] != was) sequence_account(sequence, (uint32_t)place, was, 0);
    return payload_out->size > SEQUENCE_PAGE ? FIRN_ECORRUPT : 0;
}

/* Whether page ${place} keeps some of its bytes when [from, to) of the string is overwritten. */
static int sequence_keeps(uint64_t place, uint64_t from, uint64_t to) {
    return from > place * SEQUENCE_PAGE || to < (place + 1) * SEQUENCE_PAGE;
}

int string_sequence_touch(struct string_sequence *sequence, uint64_t offset, uint64_t bytes) {
    uint64_t end = offset + bytes;
    struct bytes payload;
    int faulted = 0;
    if (bytes == 0) return 0;
    uint64_t first = offset / SEQUENCE_PAGE, last = (end - 1) / SEQUENCE_PAGE;
    for (int i = 0; i < 2; i++) { /* only the outer pages can be kept in part */
        uint64_t place = i == 0 ? first : last;
        if (i == 1 && last == first) break;
        if (place >= sequence->count || sequence->pages[place] == 0 || !sequence_keeps(place, offset, end))
            continue;
        int error = page_peek(sequence->pages[place], &payload, NULL);
        if (error == FIRN_EFAULT) {
            faulted = 1;
        } else if (error != 0) {
            return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
        } else if (payload.size > SEQUENCE_PAGE) {
            return FIRN_ECORRUPT;
        }
    }
    return faulted ? FIRN_EFAULT : 0;
}

/* Whether page ${place} can take any bytes as it is. */
static int sequence_is_mutable(const struct string_sequence *sequence, uint64_t place) {
    uint64_t ref = sequence->pages[place];
    return sequence_in_dram(ref) && page_ref_dram(ref)->refs == 1 && page_ref_dram(ref)->lower == 0 &&
           page_ref_dram(ref)->capacity >= SEQUENCE_PAGE;
}

/* A private DRAM page with room for the whole range at ${place}, content kept. */
static int sequence_make_mutable(struct string_sequence *sequence, uint64_t place) {
    uint64_t was = sequence->pages[place];
    int64_t was_bytes = sequence_dram_bytes(was);
    struct page *page;
    int error = page_write(&sequence->pages[place], SEQUENCE_PAGE, &page);
    if (error != 0) return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
    sequence_account(sequence, (uint32_t)place, was, was_bytes);
    return 0;
}

/*
 * Make pages first..last ready to be written by [from, to): holes and pages that are overwritten as a whole
 * are replaced by empty ones. Everything that can fail comes before anything is replaced.
 */
static int sequence_prepare(struct string_sequence *sequence, uint64_t from, uint64_t to, uint64_t first,
                            uint64_t last) {
    struct page *few[2] = {NULL, NULL};
    uint64_t count = last - first + 1;
    struct page **fresh = count <= 2 ? few : memory_try_alloc(count * sizeof *fresh);
    int error = fresh == NULL ? FIRN_ENOMEM : 0;
    uint64_t done = 0;
    for (; error == 0 && done < count; done++) {
        uint64_t place = first + done;
        fresh[done] = NULL;
        if (sequence_is_mutable(sequence, place)) continue;
        if (sequence->pages[place] != 0 && sequence_keeps(place, from, to)) {
            error = sequence_make_mutable(sequence, place);
        } else {
            fresh[done] = page_try_create(SEQUENCE_PAGE);
            if (fresh[done] == NULL) error = FIRN_ENOMEM;
        }
    }
    for (uint64_t i = 0; i < done; i++) {
        uint64_t was = sequence->pages[first + i];
        int64_t was_bytes = sequence_dram_bytes(was);
        if (fresh[i] == NULL) continue;
        if (error != 0) {
            page_free_unshared(fresh[i]);
            continue;
        }
        sequence->pages[first + i] = page_ref_of(fresh[i]);
        page_release(was);
        sequence_account(sequence, (uint32_t)(first + i), was, was_bytes);
    }
    if (fresh != few) memory_free(fresh);
    return error;
}

int string_sequence_write(struct string_sequence *sequence, uint64_t offset, struct bytes data) {
    uint64_t end = offset + data.size;
    uint32_t count = sequence->count;
    if (data.size == 0) return 0;
    uint64_t first = offset / SEQUENCE_PAGE, last = (end - 1) / SEQUENCE_PAGE;
    int error = string_sequence_touch(sequence, offset, data.size);
    if (error == 0) error = sequence_reserve(sequence, last + 1);
    if (error == 0) error = sequence_prepare(sequence, offset, end, first, last);
    if (error != 0) {
        if (sequence->count > count) sequence->count = count; /* the holes just added */
        return error;
    }
    for (uint64_t place = first; place <= last; place++) {
        struct page *page = page_ref_dram(sequence->pages[place]);
        uint64_t from = place == first ? offset - place * SEQUENCE_PAGE : 0;
        uint64_t to = place == last ? end - place * SEQUENCE_PAGE : SEQUENCE_PAGE;
        uint32_t before = page->bytes;
        if (from > before) memset(page->data + before, 0, from - before);
        memcpy(page->data + from, data.data + (place * SEQUENCE_PAGE + from - offset), to - from);
        page->clock = page_clock();
        if (to > before) {
            page->bytes = (uint32_t)to;
            object_account(&sequence->object, (int64_t)to - before, 0, 0);
        }
    }
    return 0;
}

/* --- reading --- */

static int string_sequence_part(const struct entry *entry, struct string_sequence *sequence, uint64_t offset,
                                struct bytes *part_out) {
    uint64_t place = offset / SEQUENCE_PAGE, within = offset % SEQUENCE_PAGE;
    uint64_t left = entry->size - offset;
    struct bytes payload;
    for (uint64_t i = place; page_reads_ahead && place % PAGE_AHEAD_MAX == 0 && i < place + PAGE_AHEAD_MAX;
         i++)
        if (i < sequence->count) page_ahead(sequence->pages[i]);
    int error = sequence_read(sequence, place, &payload);
    if (error != 0) return error;
    if (within < payload.size) {
        *part_out = bytes_of(payload.data + within, payload.size - within);
    } else {
        *part_out = bytes_of(string_zeros, SEQUENCE_PAGE - within);
    }
    if (part_out->size > left) part_out->size = left;
    return 0;
}

int string_part(const struct entry *entry, uint64_t offset, char digits[NUMBER_INT_TEXT_MAX],
                struct bytes *part_out) {
    struct bytes whole;
    FIRN_ASSERT(offset <= entry->size);
    if (entry->flags & ENTRY_INLINE) {
        if (entry_encoding(entry) == ENCODING_INT) {
            whole = bytes_of(digits, number_format_int(string_integer(entry), digits));
        } else {
            whole = bytes_of(entry_inline(entry), entry->size);
        }
    } else {
        uint64_t ref = entry_ref(entry);
        if (page_ref_tag(ref) == PAGE_TAG_OBJECT)
            return string_sequence_part(entry, page_ref_object(ref), offset, part_out);
        int error = page_peek(ref, &whole, NULL);
        if (error != 0) return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
        if (whole.size != entry->size) return FIRN_ECORRUPT;
    }
    *part_out = bytes_of(whole.data + offset, whole.size - offset);
    return 0;
}

int string_touch(const struct entry *entry, uint64_t from, uint64_t to) {
    const struct fault_set *set = fault_current();
    uint64_t ref = entry_ref(entry);
    struct bytes payload;
    if (set == NULL || set->mode == FAULT_SYNC || (entry->flags & ENTRY_INLINE) || from >= to) return 0;
    if (page_ref_tag(ref) != PAGE_TAG_OBJECT) return page_is_ready(ref) ? 0 : page_peek(ref, &payload, NULL);

    const struct string_sequence *sequence = page_ref_object(ref);
    uint64_t first = from / SEQUENCE_PAGE, last = (to - 1) / SEQUENCE_PAGE, missing = 0;
    for (uint64_t place = first; place <= last && place < sequence->count; place++)
        missing += sequence->pages[place] != 0 && !page_is_ready(sequence->pages[place]);
    if (missing == 0) return 0;
    if (missing > FAULT_TOUCH_MAX) {
        fault_must_finish();
        return 0;
    }
    for (uint64_t place = first; place <= last && place < sequence->count && set->count < FAULT_SET_MAX;
         place++) {
        if (sequence->pages[place] == 0 || page_is_ready(sequence->pages[place])) continue;
        int error = page_peek(sequence->pages[place], &payload, NULL);
        if (error != 0 && error != FIRN_EFAULT) return error;
    }
    return FIRN_EFAULT;
}

int string_range(const struct entry *entry, uint64_t from, uint64_t to, char digits[NUMBER_INT_TEXT_MAX],
                 struct bytes_builder *scratch, struct bytes *range_out) {
    FIRN_ASSERT(from <= to && to <= entry->size);
    *range_out = bytes_of("", 0);
    if (from == to) return 0;
    int error = string_part(entry, from, digits, range_out);
    if (error == 0 && range_out->size >= to - from) {
        range_out->size = to - from;
        return 0;
    }
    if (error == 0 || error == FIRN_EFAULT) {
        int touched = string_touch(entry, from, to);
        if (touched != 0) return touched;
    }
    if (error != 0) return error;
    bytes_builder_clear(scratch);
    if (bytes_builder_try_reserve(scratch, to - from) != 0) return FIRN_ENOMEM;
    for (uint64_t offset = from; offset < to;) {
        struct bytes part;
        error = string_part(entry, offset, digits, &part);
        if (error != 0) return error;
        if (part.size > to - offset) part.size = to - offset;
        bytes_builder_append(scratch, part.data, part.size);
        offset += part.size;
    }
    *range_out = bytes_builder_bytes(scratch);
    return 0;
}

/* --- making --- */

/* The reference for a value too long to be inline: FIRN_ENOMEM. */
static int string_make_ref(struct bytes value, uint64_t *ref_out) {
    if (value.size <= STRING_BLOB_MAX_BYTES) {
        struct page *page = page_try_create(value.size);
        if (page == NULL) return FIRN_ENOMEM;
        memcpy(page->data, value.data, value.size);
        page->bytes = (uint32_t)value.size;
        *ref_out = page_ref_of(page);
        return 0;
    }
    struct string_sequence *sequence = string_sequence_create();
    int error = string_sequence_write(sequence, 0, value);
    if (error != 0) {
        string_sequence_free(sequence);
        return error;
    }
    *ref_out = page_ref_of_object(sequence);
    return 0;
}

int string_create(struct bytes key, struct bytes value, enum string_form form, unsigned parts,
                  struct entry **entry_out) {
    int64_t integer;
    enum encoding encoding = string_encoding(value, form, &integer);
    struct entry *entry;
    if (encoding == ENCODING_INT) {
        entry = entry_create_parts(key, TYPE_STRING, encoding, parts | ENTRY_INLINE, 8);
        string_store_integer(entry, integer);
    } else if (value.size <= STRING_INLINE_MAX_BYTES) {
        entry = entry_create_parts(key, TYPE_STRING, encoding, parts | ENTRY_INLINE, (uint32_t)value.size);
        if (value.size > 0) memcpy(entry_inline(entry), value.data, value.size);
        entry->size = (uint32_t)value.size;
    } else {
        uint64_t ref;
        if (value.size > UINT32_MAX) return FIRN_ENOMEM;
        int error = string_make_ref(value, &ref);
        if (error != 0) return error;
        entry = entry_create_parts(key, TYPE_STRING, encoding, parts | ENTRY_REF, 0);
        entry_store_ref(entry, ref);
        entry->size = (uint32_t)value.size;
    }
    *entry_out = entry;
    return 0;
}

/* --- ops --- */

static void string_free_value(struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    if (page_ref_tag(ref) == PAGE_TAG_OBJECT) {
        type_reap_later(page_ref_object(ref));
    } else {
        page_release(ref);
    }
    if (entry->flags & ENTRY_REF) entry_store_ref(entry, 0);
}

/* A new sequence of the same pages, shared; holes stay holes. */
static int sequence_copy(const struct string_sequence *from, uint64_t *ref_out) {
    struct string_sequence *to = string_sequence_create();
    int error = sequence_reserve(to, from->count);
    for (uint32_t place = 0; error == 0 && place < from->count; place++) {
        to->pages[place] = page_share(from->pages[place]);
        sequence_account(to, place, 0, 0);
    }
    if (error != 0) string_sequence_free(to);
    *ref_out = error == 0 ? page_ref_of_object(to) : 0;
    return error;
}

static int string_copy_value(struct entry *source, struct entry **target_inout) {
    struct string_sequence *sequence = source->flags & ENTRY_INLINE ? NULL : string_sequence(source);
    struct entry *target = *target_inout;
    int with_expiry = (target->flags & ENTRY_EXPIRY) != 0;
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes content = {0};
    uint64_t ref = 0;
    int error;
    if (sequence != NULL) {
        error = sequence_copy(sequence, &ref);
    } else {
        error = string_part(source, 0, digits, &content);
        if (error == 0 && content.size > STRING_INLINE_MAX_BYTES) error = string_make_ref(content, &ref);
    }
    if (error != 0) return error;
    entry_set_encoding(target, entry_encoding(source));
    target->size = 0;
    if (ref != 0) {
        target = entry_relayout(target, with_expiry, 1, 0, 0);
        entry_store_ref(target, ref);
    } else if (entry_encoding(source) == ENCODING_INT) {
        target = entry_relayout(target, with_expiry, 0, 1, 8);
        string_store_integer(target, string_integer(source));
    } else {
        target = entry_relayout(target, with_expiry, 0, 1, (uint32_t)content.size);
        if (content.size > 0) memcpy(entry_inline(target), content.data, content.size);
    }
    target->size = source->size;
    *target_inout = target;
    return 0;
}

static int string_walk(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                       void *ctx) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes_builder scratch = {0};
    struct type_element element = {.expiry_ms = -1};
    int result = string_range(entry, 0, entry->size, digits, &scratch, &element.name);
    if (result == 0) result = receive(&element, ctx);
    bytes_builder_fini(&scratch);
    return result;
}

static size_t string_memory(const struct entry *entry, size_t samples) {
    uint64_t ref = entry_ref(entry);
    (void)samples;
    if (ref == 0 || page_ref_is_lower(ref)) return 0;
    if (page_ref_tag(ref) == PAGE_TAG_DRAM) return page_memory(page_ref_dram(ref));
    const struct string_sequence *sequence = page_ref_object(ref);
    size_t bytes = memory_usable(sequence) + (sequence->pages != NULL ? memory_usable(sequence->pages) : 0);
    for (uint32_t place = 0; place < sequence->count; place++) {
        if (sequence_in_dram(sequence->pages[place]))
            bytes += page_memory(page_ref_dram(sequence->pages[place]));
    }
    return bytes;
}

static size_t string_free_effort(const struct entry *entry) {
    const struct string_sequence *sequence = string_sequence(entry);
    return sequence != NULL ? sequence->object.pages : 1;
}

static int string_encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes_builder scratch = {0};
    struct bytes content;
    int error = string_range(entry, 0, entry->size, digits, &scratch, &content);
    if (error == 0) error = bytes_builder_try_reserve(out, content.size + 16);
    if (error == 0) {
        rdb_write_string(out, content, 1);
        *rdb_type_out = RDB_TYPE_STRING;
    }
    bytes_builder_fini(&scratch);
    return error;
}

static int string_decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out,
                         int deep, struct entry **entry_out) {
    struct rdb_reader reader = rdb_reader_of(body);
    struct bytes_builder scratch = {0};
    struct bytes content;
    (void)deep;
    if (rdb_type != RDB_TYPE_STRING) return FIRN_ECORRUPT;
    int error = rdb_read_string(&reader, &scratch, UINT32_MAX, &content);
    if (error == 0) error = string_create(key, content, STRING_FORM_ANY, 0, entry_out);
    if (error == 0) *consumed_out = body.size - reader.left;
    bytes_builder_fini(&scratch);
    return error;
}

static unsigned sequence_victims(struct object *object, int from, unsigned scan,
                                 struct type_victim *victims_out, unsigned limit) {
    struct string_sequence *sequence = (struct string_sequence *)object;
    unsigned filled = 0;
    /* Once around at most, so that no page comes twice; holes cost nothing of ${scan}. */
    for (uint32_t around = sequence->count; around > 0 && scan > 0 && filled < limit; around--) {
        if (object->sweep >= sequence->count) object->sweep = 0;
        uint64_t place = object->sweep++;
        uint64_t ref = sequence->pages[place];
        scan -= ref != 0;
        if (ref == 0 || (int)page_ref_tag(ref) != from) continue;
        uint32_t clock = 0;
        if (from == PAGE_TAG_DRAM) {
            if (page_ref_dram(ref)->moving) continue;
            clock = page_ref_dram(ref)->clock;
        }
        victims_out[filled++] = (struct type_victim){.ref = ref, .locator = place, .clock = clock};
    }
    return filled;
}

static uint64_t *sequence_locate(struct object *object, uint64_t locator) {
    struct string_sequence *sequence = (struct string_sequence *)object;
    return locator < sequence->count ? &sequence->pages[locator] : NULL;
}

static void sequence_check(const struct string_sequence *sequence, uint32_t size) {
    uint64_t bytes = 0, pages = 0, pages_dram = 0;
    FIRN_ASSERT(sequence->object.magic == OBJECT_MAGIC && sequence->object.type == TYPE_STRING);
    FIRN_ASSERT(sequence->count <= sequence->capacity);
    FIRN_ASSERT((uint64_t)sequence->count <= ((uint64_t)size + SEQUENCE_PAGE - 1) / SEQUENCE_PAGE);
    for (uint32_t place = 0; place < sequence->count; place++) {
        uint64_t ref = sequence->pages[place];
        FIRN_ASSERT(page_ref_tag(ref) != PAGE_TAG_OBJECT);
        pages += ref != 0;
        if (!sequence_in_dram(ref)) continue;
        const struct page *page = page_ref_dram(ref);
        FIRN_ASSERT(page->refs > 0 && page->bytes <= SEQUENCE_PAGE);
        FIRN_ASSERT((uint64_t)place * SEQUENCE_PAGE + page->bytes <= size);
        bytes += page->bytes;
        pages_dram++;
    }
    FIRN_ASSERT(bytes == sequence->object.dram_bytes && pages == sequence->object.pages);
    FIRN_ASSERT(pages_dram == sequence->object.pages_dram);
}

static void string_check(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    FIRN_ASSERT(entry_type(entry) == TYPE_STRING);
    FIRN_ASSERT(entry->flags & (ENTRY_INLINE | ENTRY_REF));
    if (entry_encoding(entry) == ENCODING_INT) {
        FIRN_ASSERT(entry->flags & ENTRY_INLINE);
        FIRN_ASSERT(entry->size == number_int_length(string_integer(entry)));
    }
    if (entry->flags & ENTRY_INLINE) {
        FIRN_ASSERT(entry_inline_bytes(entry) <= STRING_INLINE_MAX_BYTES);
        FIRN_ASSERT(ref == 0 || page_ref_is_lower(ref));
    } else if (page_ref_tag(ref) == PAGE_TAG_OBJECT) {
        sequence_check(page_ref_object(ref), entry->size);
    } else {
        FIRN_ASSERT(ref != 0);
        if (page_ref_tag(ref) == PAGE_TAG_DRAM) FIRN_ASSERT(page_ref_dram(ref)->bytes == entry->size);
    }
}

extern const struct type_ops type_string_ops;
const struct type_ops type_string_ops = {
    .name = "string",
    .free_value = string_free_value,
    .reap = sequence_reap,
    .copy_value = string_copy_value,
    .walk = string_walk,
    .memory = string_memory,
    .free_effort = string_free_effort,
    .encode = string_encode,
    .decode = string_decode,
    .victims = sequence_victims,
    .locate = sequence_locate,
    .check = string_check,
};
