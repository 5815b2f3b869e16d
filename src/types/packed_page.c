/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packed pages: layout and invariants in packed_page.h. Reading decodes with bounds everywhere; changing
 * shifts bytes within the page and keeps the offsets of the groups right. Removed tag room is given back when
 * the page is built anew (split, join).
 */
#include "types/packed_page.h"

#include <emmintrin.h>

#include "base/assert.h"
#include "base/hash.h"

#define PACKED_FORMAT      1u
#define PACKED_FLAGS_KNOWN (PACKED_NO_VALUES | PACKED_DEADLINES)
#define PACKED_GROUP       16u
#define PACKED_HEAD_BYTES  8u

/* --- layout --- */

static inline unsigned page_count_of(const uint8_t *data) {
    return bytes_load16(data);
}
static inline unsigned page_room_of(const uint8_t *data) {
    return bytes_load16(data + 2);
}
static inline unsigned page_flags_of(const uint8_t *data) {
    return data[5];
}
/* Where the offsets of the groups begin. */
static inline uint32_t page_groups_at(unsigned flags) {
    return PACKED_HEAD_BYTES + (flags & PACKED_DEADLINES ? 8u : 0u);
}
static inline uint32_t page_groups(unsigned room) {
    return room == 0 ? 0 : (room - 1) / PACKED_GROUP;
}
static inline uint32_t page_tags_at(unsigned flags, unsigned room) {
    return page_groups_at(flags) + 4u * page_groups(room);
}
static inline uint32_t page_entries_at(unsigned flags, unsigned room) {
    return page_tags_at(flags, room) + room;
}
/* Tag room for ${count} entries. */
static inline unsigned page_room_for(unsigned count) {
    return count <= PACKED_GROUP ? (count + 3u) & ~3u : (count + PACKED_GROUP - 1u) & ~(PACKED_GROUP - 1u);
}

static inline uint32_t varint_bytes(uint32_t value) {
    uint32_t bytes = 1;
    while (value >= 128)
        value >>= 7, bytes++;
    return bytes;
}
static uint8_t *varint_store(uint8_t *to, uint32_t value) {
    while (value >= 128) {
        *to++ = (uint8_t)(value | 128u);
        value >>= 7;
    }
    *to++ = (uint8_t)value;
    return to;
}
/* Rest of a varint of more than a byte; NULL when it is cut or too long. */
static const uint8_t *varint_load_long(const uint8_t *from, const uint8_t *end, uint32_t *value_out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35 && from < end; shift += 7) {
        uint8_t byte = *from++;
        value |= (uint64_t)(byte & 127u) << shift;
        if (byte < 128) {
            *value_out = (uint32_t)value;
            return value <= UINT32_MAX ? from : NULL;
        }
    }
    return NULL;
}
static inline const uint8_t *varint_load(const uint8_t *from, const uint8_t *end, uint32_t *value_out) {
    if (__builtin_expect(from < end && *from < 128, 1)) {
        *value_out = *from;
        return from + 1;
    }
    return varint_load_long(from, end, value_out);
}

/* What an entry says of itself, before its bytes are looked at. */
struct entry_head {
    const uint8_t *body; /* deadline, field, value */
    uint32_t field_bytes, value_bytes, deadline_bytes;
};

/* Decode the lengths at ${from}; the end of the entry, or NULL when it does not fit before ${end}. */
static inline const uint8_t *entry_head_load(const uint8_t *from, const uint8_t *end, unsigned flags,
                                             struct entry_head *head_out) {
    uint32_t word;
    from = varint_load(from, end, &word);
    if (__builtin_expect(from == NULL, 0)) return NULL;
    head_out->field_bytes = word >> 1;
    head_out->deadline_bytes = (word & 1u) * 8u;
    head_out->value_bytes = 0;
    if (!(flags & PACKED_NO_VALUES)) {
        from = varint_load(from, end, &head_out->value_bytes);
        if (__builtin_expect(from == NULL, 0)) return NULL;
    }
    head_out->body = from;
    uint64_t body_bytes = (uint64_t)head_out->deadline_bytes + head_out->field_bytes + head_out->value_bytes;
    if (__builtin_expect(body_bytes > (uint64_t)(end - from), 0)) return NULL;
    return from + body_bytes;
}

static inline void entry_fill(struct packed_entry *entry, const uint8_t *data, const uint8_t *from,
                              const uint8_t *end, const struct entry_head *head, uint32_t index) {
    const uint8_t *body = head->body + head->deadline_bytes;
    entry->field = bytes_of(body, head->field_bytes);
    entry->value = bytes_of(body + head->field_bytes, head->value_bytes);
    entry->expiry_ms = head->deadline_bytes ? (int64_t)bytes_load64(head->body) : -1;
    entry->index = index;
    entry->offset = (uint32_t)(from - data);
    entry->bytes = (uint32_t)(end - from);
}

static uint32_t entry_bytes_of(unsigned flags, size_t field_bytes, size_t value_bytes, int has_expiry) {
    FIRN_ASSERT(field_bytes <= PACKED_BYTES_MAX && value_bytes <= PACKED_BYTES_MAX);
    uint32_t bytes = varint_bytes((uint32_t)field_bytes << 1 | (has_expiry ? 1u : 0u)) +
                     (uint32_t)field_bytes + (has_expiry ? 8u : 0u);
    return flags & PACKED_NO_VALUES ? bytes
                                    : bytes + varint_bytes((uint32_t)value_bytes) + (uint32_t)value_bytes;
}

/* --- reading --- */

unsigned packed_page_count(struct bytes payload) {
    return payload.size < PACKED_HEAD_BYTES ? 0 : page_count_of(payload.data);
}

int64_t packed_page_deadline(struct bytes payload) {
    if (payload.size < PACKED_HEAD_BYTES + 8 || !(page_flags_of(payload.data) & PACKED_DEADLINES)) return -1;
    return (int64_t)bytes_load64(payload.data + PACKED_HEAD_BYTES);
}

/* The header makes sense and the index is inside the payload. */
static inline int page_head_is_sane(struct bytes payload) {
    if (payload.size < PACKED_HEAD_BYTES || payload.data[4] != PACKED_FORMAT) return 0;
    unsigned room = page_room_of(payload.data), flags = page_flags_of(payload.data);
    if ((flags & ~PACKED_FLAGS_KNOWN) != 0 || page_count_of(payload.data) > room) return 0;
    return page_entries_at(flags, room) <= payload.size && payload.size <= PAGE_BYTES_MAX;
}

/* Start of entry ${group} * 16, NULL when the offset lies. */
static inline const uint8_t *page_group_start(struct bytes payload, unsigned flags, unsigned room,
                                              uint32_t group) {
    uint32_t first = page_entries_at(flags, room);
    if (group == 0) return payload.data + first;
    uint32_t offset = bytes_load32(payload.data + page_groups_at(flags) + 4u * (group - 1));
    return offset >= first && offset < payload.size ? payload.data + offset : NULL;
}

/* Bit i set: tag i of the 16 from ${at} on equals ${tag}; bits from ${limit} on are 0. */
static inline unsigned page_match_tags(struct bytes payload, uint32_t at, uint8_t tag, unsigned limit) {
    uint8_t copy[PACKED_GROUP];
    const uint8_t *from = payload.data + at;
    if (__builtin_expect(at + PACKED_GROUP > payload.size, 0)) {
        memset(copy, 0, sizeof copy);
        memcpy(copy, from, payload.size - at);
        from = copy;
    }
    __m128i tags = _mm_loadu_si128((const __m128i *)(const void *)from);
    unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag)));
    return limit < PACKED_GROUP ? mask & ((1u << limit) - 1u) : mask;
}

int packed_page_find(struct bytes payload, uint64_t hash, struct bytes field,
                     struct packed_entry *entry_out) {
    if (__builtin_expect(!page_head_is_sane(payload), 0)) return FIRN_ECORRUPT;
    unsigned count = page_count_of(payload.data), room = page_room_of(payload.data),
             flags = page_flags_of(payload.data);
    uint32_t tags_at = page_tags_at(flags, room);
    const uint8_t *end = payload.data + payload.size;
    for (uint32_t base = 0; base < count; base += PACKED_GROUP) {
        unsigned mask = page_match_tags(payload, tags_at + base, (uint8_t)hash, count - base);
        if (mask == 0) continue;
        const uint8_t *at = page_group_start(payload, flags, room, base / PACKED_GROUP);
        if (at == NULL) return FIRN_ECORRUPT;
        for (uint32_t i = 0; mask != 0; i++, mask >>= 1) {
            struct entry_head head;
            const uint8_t *next = entry_head_load(at, end, flags, &head);
            if (next == NULL) return FIRN_ECORRUPT;
            if (mask & 1u && head.field_bytes == field.size &&
                bytes_equal(bytes_of(head.body + head.deadline_bytes, field.size), field)) {
                entry_fill(entry_out, payload.data, at, next, &head, base + i);
                return 0;
            }
            at = next;
        }
    }
    return FIRN_ENOTFOUND;
}

int packed_page_at(struct bytes payload, unsigned index, struct packed_entry *entry_out) {
    if (!page_head_is_sane(payload)) return FIRN_ECORRUPT;
    unsigned flags = page_flags_of(payload.data);
    if (index >= page_count_of(payload.data)) return FIRN_ENOTFOUND;
    const uint8_t *at = page_group_start(payload, flags, page_room_of(payload.data), index / PACKED_GROUP);
    const uint8_t *end = payload.data + payload.size;
    for (unsigned skip = index % PACKED_GROUP; at != NULL; skip--) {
        struct entry_head head;
        const uint8_t *next = entry_head_load(at, end, flags, &head);
        if (next == NULL) break;
        if (skip == 0) {
            entry_fill(entry_out, payload.data, at, next, &head, index);
            return 0;
        }
        at = next;
    }
    return FIRN_ECORRUPT;
}

int packed_page_begin(struct bytes payload, struct packed_cursor *cursor_out) {
    if (!page_head_is_sane(payload)) return FIRN_ECORRUPT;
    cursor_out->payload = payload;
    cursor_out->index = 0;
    cursor_out->count = page_count_of(payload.data);
    cursor_out->flags = page_flags_of(payload.data);
    cursor_out->offset = page_entries_at(cursor_out->flags, page_room_of(payload.data));
    return 0;
}

int packed_page_next(struct packed_cursor *cursor, struct packed_entry *entry_out) {
    if (cursor->index == cursor->count) return 0;
    const uint8_t *data = cursor->payload.data, *from = data + cursor->offset;
    struct entry_head head;
    const uint8_t *next = entry_head_load(from, data + cursor->payload.size, cursor->flags, &head);
    if (next == NULL) return FIRN_ECORRUPT;
    entry_fill(entry_out, data, from, next, &head, cursor->index++);
    cursor->offset = (uint32_t)(next - data);
    return 1;
}

int packed_page_check(struct bytes payload) {
    struct packed_cursor cursor;
    if (packed_page_begin(payload, &cursor) != 0) return FIRN_ECORRUPT;
    unsigned room = page_room_of(payload.data);
    if (room != page_room_for(room)) return FIRN_ECORRUPT;
    int64_t deadline = -1;
    for (;;) {
        uint32_t index = cursor.index, offset = cursor.offset;
        struct packed_entry entry;
        int got = packed_page_next(&cursor, &entry);
        if (got < 0) return got;
        if (got == 0) break;
        if (index > 0 && index % PACKED_GROUP == 0 &&
            page_group_start(payload, cursor.flags, room, index / PACKED_GROUP) != payload.data + offset) {
            return FIRN_ECORRUPT;
        }
        int has_deadline = entry.bytes != 0 && (payload.data[entry.offset] & 1u);
        if (!has_deadline) continue;
        if (entry.expiry_ms < 0 || !(cursor.flags & PACKED_DEADLINES)) return FIRN_ECORRUPT;
        if (deadline < 0 || entry.expiry_ms < deadline) deadline = entry.expiry_ms;
    }
    if (cursor.flags & PACKED_DEADLINES && deadline < 0) return FIRN_ECORRUPT;
    return cursor.offset == payload.size && deadline == packed_page_deadline(payload) ? 0 : FIRN_ECORRUPT;
}

/* --- changing --- */

static inline struct bytes page_payload(const struct page *page) {
    return bytes_of(page->data, page->bytes);
}
static inline uint8_t *page_group_word(struct page *page, uint32_t group) {
    return page->data + page_groups_at(page_flags_of(page->data)) + 4u * (group - 1);
}
/* Add ${delta} to the offsets of the groups from ${group} (> 0) on. */
static void page_move_groups(struct page *page, uint32_t group, int64_t delta) {
    unsigned count = page_count_of(page->data);
    for (; group * PACKED_GROUP < count; group++) {
        uint8_t *word = page_group_word(page, group);
        bytes_store32(word, (uint32_t)(bytes_load32(word) + delta));
    }
}

size_t packed_page_empty_bytes(unsigned count, unsigned flags) {
    return page_entries_at(flags, page_room_for(count));
}

size_t packed_page_bytes_with(struct bytes payload, unsigned flags, size_t field_bytes, size_t value_bytes,
                              int has_expiry) {
    size_t bytes = payload.size;
    unsigned count = 0, room = 0;
    if (bytes == 0) {
        bytes = PACKED_HEAD_BYTES;
    } else {
        count = page_count_of(payload.data), room = page_room_of(payload.data),
        flags = page_flags_of(payload.data);
    }
    if (count == room) {
        unsigned more = page_room_for(count + 1);
        bytes += more - room + 4u * (page_groups(more) - page_groups(room));
    }
    if (has_expiry && !(flags & PACKED_DEADLINES)) bytes += 8;
    return bytes + entry_bytes_of(flags, field_bytes, value_bytes, has_expiry);
}

size_t packed_page_bytes_replaced(struct bytes payload, const struct packed_entry *entry, size_t value_bytes,
                                  int has_expiry) {
    unsigned flags = page_flags_of(payload.data);
    size_t bytes =
        payload.size - entry->bytes + entry_bytes_of(flags, entry->field.size, value_bytes, has_expiry);
    return has_expiry && !(flags & PACKED_DEADLINES) ? bytes + 8 : bytes;
}

void packed_page_init(struct page *page, unsigned count, unsigned flags) {
    FIRN_ASSERT(count <= PACKED_ENTRIES_MAX && !(flags & PACKED_DEADLINES));
    unsigned room = page_room_for(count);
    size_t bytes = page_entries_at(flags, room);
    FIRN_ASSERT(page->capacity >= bytes && page->refs == 1);
    memset(page->data, 0, bytes);
    bytes_store16(page->data + 2, (uint16_t)room);
    page->data[4] = PACKED_FORMAT;
    page->data[5] = (uint8_t)flags;
    page->bytes = (uint32_t)bytes;
}

/* Put the deadline word in or take it out; the page is otherwise unchanged. */
static void page_set_deadline_word(struct page *page, int present) {
    unsigned flags = page_flags_of(page->data);
    if (present == ((flags & PACKED_DEADLINES) != 0)) return;
    uint8_t *body = page->data + PACKED_HEAD_BYTES;
    if (present) {
        FIRN_ASSERT(page->bytes + 8 <= page->capacity);
        memmove(body + 8, body, page->bytes - PACKED_HEAD_BYTES);
        bytes_store64(body, UINT64_MAX >> 1);
    } else {
        memmove(body, body + 8, page->bytes - PACKED_HEAD_BYTES - 8);
    }
    page->data[5] = (uint8_t)(flags ^ PACKED_DEADLINES);
    page->bytes = present ? page->bytes + 8 : page->bytes - 8;
    page_move_groups(page, 1, present ? 8 : -8);
}

/* The deadline ${gone} of some entry (-1: none) is no more: find the earliest anew if it was that one. */
static void page_deadline_gone(struct page *page, int64_t gone) {
    if (gone < 0 || gone != packed_page_deadline(page_payload(page))) return;
    struct packed_cursor cursor;
    struct packed_entry entry;
    int64_t deadline = -1;
    FIRN_ASSERT(packed_page_begin(page_payload(page), &cursor) == 0);
    while (packed_page_next(&cursor, &entry) == 1) {
        if (entry.expiry_ms >= 0 && (deadline < 0 || entry.expiry_ms < deadline)) deadline = entry.expiry_ms;
    }
    if (deadline < 0) {
        page_set_deadline_word(page, 0);
    } else {
        bytes_store64(page->data + PACKED_HEAD_BYTES, (uint64_t)deadline);
    }
}

/* An entry with ${expiry_ms} is in: the word has to be there. */
static void page_deadline_new(struct page *page, int64_t expiry_ms) {
    uint8_t *word = page->data + PACKED_HEAD_BYTES;
    if (expiry_ms < (int64_t)bytes_load64(word)) bytes_store64(word, (uint64_t)expiry_ms);
}

/* Room for one more tag. */
static void page_grow_room(struct page *page) {
    unsigned count = page_count_of(page->data), room = page_room_of(page->data),
             flags = page_flags_of(page->data);
    FIRN_ASSERT(count < PACKED_ENTRIES_MAX);
    if (count < room) return;
    unsigned more = page_room_for(count + 1);
    uint32_t words = 4u * (page_groups(more) - page_groups(room)), shift = more - room + words;
    uint32_t tags_at = page_tags_at(flags, room), entries_at = page_entries_at(flags, room);
    FIRN_ASSERT(page->bytes + shift <= page->capacity);
    memmove(page->data + entries_at + shift, page->data + entries_at, page->bytes - entries_at);
    memmove(page->data + tags_at + words, page->data + tags_at, room);
    memset(page->data + tags_at, 0, words);
    memset(page->data + tags_at + words + room, 0, more - room);
    bytes_store16(page->data + 2, (uint16_t)more);
    page->bytes += shift;
    page_move_groups(page, 1, shift);
}

/* Count the entry that stands at the end of the payload already laid out up to ${offset}. */
static void page_count_appended(struct page *page, uint8_t tag, uint32_t offset) {
    unsigned count = page_count_of(page->data), flags = page_flags_of(page->data);
    if (count > 0 && count % PACKED_GROUP == 0)
        bytes_store32(page_group_word(page, count / PACKED_GROUP), offset);
    page->data[page_tags_at(flags, page_room_of(page->data)) + count] = tag;
    bytes_store16(page->data, (uint16_t)(count + 1));
}

static uint8_t *entry_store_head(uint8_t *to, unsigned flags, struct bytes field, size_t value_bytes,
                                 int64_t expiry_ms) {
    to = varint_store(to, (uint32_t)field.size << 1 | (expiry_ms >= 0 ? 1u : 0u));
    if (!(flags & PACKED_NO_VALUES)) to = varint_store(to, (uint32_t)value_bytes);
    if (expiry_ms >= 0) {
        bytes_store64(to, (uint64_t)expiry_ms);
        to += 8;
    }
    return to;
}

void packed_page_append(struct page *page, uint64_t hash, struct bytes field, struct bytes value,
                        int64_t expiry_ms) {
    FIRN_ASSERT(page->refs == 1);
    if (expiry_ms >= 0) page_set_deadline_word(page, 1);
    page_grow_room(page);
    unsigned flags = page_flags_of(page->data);
    uint32_t offset = page->bytes, bytes = entry_bytes_of(flags, field.size, value.size, expiry_ms >= 0);
    FIRN_ASSERT(offset + bytes <= page->capacity);
    uint8_t *to = entry_store_head(page->data + offset, flags, field, value.size, expiry_ms);
    if (field.size > 0) memcpy(to, field.data, field.size);
    if (!(flags & PACKED_NO_VALUES) && value.size > 0) memcpy(to + field.size, value.data, value.size);
    page->bytes += bytes;
    page_count_appended(page, (uint8_t)hash, offset);
    if (expiry_ms >= 0) page_deadline_new(page, expiry_ms);
}

/* Lay the entry out anew at its place, moving what follows. */
static void entry_rewrite(struct page *page, const struct packed_entry *entry, uint32_t offset,
                          struct bytes value, int64_t expiry_ms) {
    unsigned flags = page_flags_of(page->data);
    uint32_t bytes = entry_bytes_of(flags, entry->field.size, value.size, expiry_ms >= 0);
    uint32_t value_bytes = flags & PACKED_NO_VALUES ? 0 : (uint32_t)value.size;
    uint8_t *at = page->data + offset, *tail = at + entry->bytes;
    size_t tail_bytes = page->bytes - offset - entry->bytes;
    uint8_t *field_old = tail - entry->value.size - entry->field.size;
    if (bytes > entry->bytes) {
        FIRN_ASSERT(page->bytes + (bytes - entry->bytes) <= page->capacity);
        memmove(at + bytes, tail, tail_bytes);
    }
    uint8_t *field_new = at + bytes - value_bytes - entry->field.size;
    memmove(field_new, field_old, entry->field.size);
    entry_store_head(at, flags, entry->field, value.size, expiry_ms);
    if (value_bytes > 0) memcpy(field_new + entry->field.size, value.data, value_bytes);
    if (bytes < entry->bytes) memmove(at + bytes, tail, tail_bytes);
    int64_t delta = (int64_t)bytes - entry->bytes;
    page->bytes = (uint32_t)(page->bytes + delta);
    if (delta != 0) page_move_groups(page, entry->index / PACKED_GROUP + 1, delta);
}

void packed_page_replace(struct page *page, const struct packed_entry *entry, struct bytes value,
                         int64_t expiry_ms) {
    FIRN_ASSERT(page->refs == 1);
    uint32_t offset = entry->offset;
    if (expiry_ms >= 0 && !(page_flags_of(page->data) & PACKED_DEADLINES)) {
        page_set_deadline_word(page, 1);
        offset += 8;
    }
    entry_rewrite(page, entry, offset, value, expiry_ms);
    if (expiry_ms >= 0) page_deadline_new(page, expiry_ms);
    if (expiry_ms != entry->expiry_ms) page_deadline_gone(page, entry->expiry_ms);
}

void packed_page_set_expiry(struct page *page, const struct packed_entry *entry, int64_t expiry_ms) {
    FIRN_ASSERT(page->refs == 1 && page->bytes + 16 <= page->capacity);
    uint8_t *head = page->data + entry->offset;
    uint32_t body = entry->offset + entry->bytes - (uint32_t)(entry->value.size + entry->field.size);
    if (expiry_ms >= 0 && !(page_flags_of(page->data) & PACKED_DEADLINES)) {
        page_set_deadline_word(page, 1);
        head += 8, body += 8;
    }
    uint8_t *field = page->data + body;
    size_t rest = page->bytes - body;
    if (expiry_ms >= 0 && entry->expiry_ms < 0) {
        memmove(field + 8, field, rest);
        *head |= 1u;
        page->bytes += 8;
        page_move_groups(page, entry->index / PACKED_GROUP + 1, 8);
        field += 8;
    } else if (expiry_ms < 0 && entry->expiry_ms >= 0) {
        memmove(field - 8, field, rest);
        *head &= (uint8_t)~1u;
        page->bytes -= 8;
        page_move_groups(page, entry->index / PACKED_GROUP + 1, -8);
    }
    if (expiry_ms >= 0) {
        bytes_store64(field - 8, (uint64_t)expiry_ms);
        page_deadline_new(page, expiry_ms);
    }
    if (expiry_ms != entry->expiry_ms) page_deadline_gone(page, entry->expiry_ms);
}

void packed_page_remove(struct page *page, const struct packed_entry *entry) {
    FIRN_ASSERT(page->refs == 1);
    unsigned count = page_count_of(page->data), room = page_room_of(page->data),
             flags = page_flags_of(page->data);
    uint32_t index = entry->index, tags_at = page_tags_at(flags, room);
    int64_t expiry_ms = entry->expiry_ms;
    /* Every later group begins one entry further on. */
    for (uint32_t group = index == 0 ? 1 : (index + PACKED_GROUP - 1) / PACKED_GROUP;
         group * PACKED_GROUP < count; group++) {
        uint8_t *word = page_group_word(page, group);
        uint32_t offset = bytes_load32(word);
        struct entry_head head;
        const uint8_t *next = entry_head_load(page->data + offset, page->data + page->bytes, flags, &head);
        FIRN_ASSERT(next != NULL);
        bytes_store32(word, (uint32_t)(next - page->data) - entry->bytes);
    }
    memmove(page->data + tags_at + index, page->data + tags_at + index + 1, count - index - 1);
    page->data[tags_at + count - 1] = 0;
    memmove(page->data + entry->offset, page->data + entry->offset + entry->bytes,
            page->bytes - entry->offset - entry->bytes);
    page->bytes -= entry->bytes;
    bytes_store16(page->data, (uint16_t)(count - 1));
    page_deadline_gone(page, expiry_ms);
}

unsigned packed_page_expire(struct page *page, int64_t now_ms, unsigned limit,
                            void (*removed)(struct bytes field, void *ctx), void *ctx) {
    FIRN_ASSERT(page->refs == 1);
    struct packed_cursor cursor;
    struct packed_entry entry;
    FIRN_ASSERT(packed_page_begin(page_payload(page), &cursor) == 0);
    uint8_t *tags = page->data + page_tags_at(cursor.flags, page_room_of(page->data));
    uint32_t to = cursor.offset, kept = 0;
    unsigned gone = 0;
    int64_t deadline = -1;
    while (packed_page_next(&cursor, &entry) == 1) {
        if (entry.expiry_ms >= 0 && entry.expiry_ms <= now_ms && gone < limit) {
            if (removed != NULL) removed(entry.field, ctx);
            gone++;
            continue;
        }
        if (entry.expiry_ms >= 0 && (deadline < 0 || entry.expiry_ms < deadline)) deadline = entry.expiry_ms;
        if (kept > 0 && kept % PACKED_GROUP == 0)
            bytes_store32(page_group_word(page, kept / PACKED_GROUP), to);
        memmove(page->data + to, page->data + entry.offset, entry.bytes);
        tags[kept] = tags[entry.index];
        to += entry.bytes, kept++;
    }
    memset(tags + kept, 0, cursor.count - kept);
    page->bytes = to;
    bytes_store16(page->data, (uint16_t)kept);
    if (deadline >= 0) {
        bytes_store64(page->data + PACKED_HEAD_BYTES, (uint64_t)deadline);
    } else {
        page_set_deadline_word(page, 0);
    }
    return gone;
}

/* --- building --- */

/* What one page of a split or join will hold. */
struct page_plan {
    unsigned count, flags;
    uint64_t entry_bytes;
    int deadlines;
};

static void plan_add(struct page_plan *plan, const struct packed_entry *entry) {
    plan->count++;
    plan->entry_bytes += entry->bytes;
    plan->deadlines |= entry->expiry_ms >= 0;
}

static int plan_create(const struct page_plan *plan, struct page **page_out) {
    *page_out = NULL;
    if (plan->count == 0) return 0;
    if (plan->count > PACKED_ENTRIES_MAX) return FIRN_ETOOBIG;
    struct page *page = page_try_create(packed_page_empty_bytes(plan->count, plan->flags) +
                                        (plan->deadlines ? 8u : 0u) + plan->entry_bytes);
    if (page == NULL) return FIRN_ENOMEM;
    packed_page_init(page, plan->count, plan->flags);
    if (plan->deadlines) page_set_deadline_word(page, 1);
    *page_out = page;
    return 0;
}

/* Append an entry of ${payload} as it is. */
static void page_append_copy(struct page *page, struct bytes payload, const struct packed_entry *entry) {
    uint8_t tag =
        payload.data[page_tags_at(page_flags_of(payload.data), page_room_of(payload.data)) + entry->index];
    uint32_t offset = page->bytes;
    FIRN_ASSERT(offset + entry->bytes <= page->capacity);
    memcpy(page->data + offset, payload.data + entry->offset, entry->bytes);
    page->bytes += entry->bytes;
    page_count_appended(page, tag, offset);
    if (entry->expiry_ms >= 0) page_deadline_new(page, entry->expiry_ms);
}

int packed_page_split(struct bytes payload, unsigned bit, uint64_t (*hash)(struct bytes field),
                      struct page **zero_out, struct page **one_out) {
    FIRN_ASSERT(bit < 64);
    uint8_t sides[(PACKED_ENTRIES_MAX + 7) / 8 + 1];
    struct packed_cursor cursor;
    struct packed_entry entry;
    if (packed_page_begin(payload, &cursor) != 0) return FIRN_ECORRUPT;
    struct page_plan plans[2] = {{.flags = cursor.flags & PACKED_NO_VALUES},
                                 {.flags = cursor.flags & PACKED_NO_VALUES}};
    memset(sides, 0, (cursor.count + 7) / 8);
    int got;
    while ((got = packed_page_next(&cursor, &entry)) == 1) {
        unsigned side = (unsigned)((hash != NULL ? hash(entry.field) : hash_key(entry.field)) >> bit & 1u);
        sides[entry.index / 8] |= (uint8_t)(side << entry.index % 8);
        plan_add(&plans[side], &entry);
    }
    if (got < 0) return got;
    struct page *pages[2];
    int error = plan_create(&plans[0], &pages[0]);
    if (error != 0) return error;
    error = plan_create(&plans[1], &pages[1]);
    if (error != 0) {
        if (pages[0] != NULL) page_free_unshared(pages[0]);
        return error;
    }
    FIRN_ASSERT(packed_page_begin(payload, &cursor) == 0);
    while (packed_page_next(&cursor, &entry) == 1) {
        page_append_copy(pages[sides[entry.index / 8] >> entry.index % 8 & 1u], payload, &entry);
    }
    *zero_out = pages[0];
    *one_out = pages[1];
    return 0;
}

int packed_page_join(struct bytes a, struct bytes b, struct page **page_out) {
    const struct bytes parts[2] = {a, b};
    struct page_plan plan = {0};
    struct packed_cursor cursor;
    struct packed_entry entry;
    const unsigned count = b.size > 0 ? 2 : 1;
    for (unsigned i = 0; i < count; i++) {
        int got = packed_page_begin(parts[i], &cursor);
        if (got != 0) return got;
        plan.flags = cursor.flags & PACKED_NO_VALUES;
        while ((got = packed_page_next(&cursor, &entry)) == 1)
            plan_add(&plan, &entry);
        if (got < 0) return got;
    }
    struct page *page;
    int error = plan_create(&plan, &page);
    if (error != 0) return error;
    if (page == NULL) {
        page = page_try_create(packed_page_empty_bytes(0, plan.flags));
        if (page == NULL) return FIRN_ENOMEM;
        packed_page_init(page, 0, plan.flags);
    }
    for (unsigned i = 0; i < count; i++) {
        FIRN_ASSERT(packed_page_begin(parts[i], &cursor) == 0);
        while (packed_page_next(&cursor, &entry) == 1)
            page_append_copy(page, parts[i], &entry);
    }
    *page_out = page;
    return 0;
}
