/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands on the bits of strings, but BITFIELD (cmd_bitfield.c). They look at a value part by part, so that
 * a long one that is cold gives only the pages it is asked for.
 */
#include "cmd/cmd_bitmap.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/cmd_string.h"
#include "ds/bits.h"
#include "keyspace/db_string.h"

int cmd_bitmap_offset(struct call *call, struct bytes argument, unsigned field_bits, uint64_t *offset_out) {
    static const char error_text[] = "bit offset is not an integer or out of range";
    int64_t offset, factor = 1;
    if (field_bits > 0 && argument.size > 0 && argument.data[0] == '#') {
        argument = bytes_of(argument.data + 1, argument.size - 1);
        factor = field_bits;
    }
    int error = call_integer_or(call, argument, error_text, &offset);
    if (error != 0) return error;
    uint64_t limit = type_limits.string_bytes_max < UINT32_MAX ? type_limits.string_bytes_max : UINT32_MAX;
    if (__builtin_mul_overflow(offset, factor, &offset) || offset < 0 || (uint64_t)offset >> 3 >= limit) {
        reply_error(call->reply, error_text);
        return FIRN_EINVALID;
    }
    *offset_out = (uint64_t)offset;
    return 0;
}

int cmd_bitmap_grow(struct call *call, struct bytes key, struct entry **entry_inout, uint64_t bytes) {
    static const uint8_t zero = 0;
    struct entry *entry = *entry_inout;
    if (entry != NULL && entry->size >= bytes)
        return db_string_write(call->db, entry_inout, 0, bytes_of("", 0));
    int created = entry == NULL;
    if (created) entry = db_string_create_empty(call->db, key);
    int error = db_string_write(call->db, &entry, bytes - 1, bytes_of(&zero, 1));
    if (error != 0 && created) {
        db_delete(call->db, entry);
        return error;
    }
    *entry_inout = entry;
    return error;
}

/* Byte ${at} of ${entry} (NULL, or too short: 0). */
static int byte_at(struct entry *entry, uint64_t at, uint8_t *byte_out) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes part;
    *byte_out = 0;
    if (entry == NULL || at >= entry->size) return 0;
    int error = string_part(entry, at, digits, &part);
    if (error == 0) *byte_out = part.data[0];
    return error;
}

int cmd_setbit(struct call *call) {
    static const char bit_error[] = "bit is not an integer or out of range";
    struct bytes key = call->argv[1];
    struct entry *entry;
    uint64_t offset;
    int64_t on;
    uint8_t byte;
    CALL_TRY(cmd_bitmap_offset(call, call->argv[2], 0, &offset));
    CALL_TRY(call_integer_or(call, call->argv[3], bit_error, &on));
    if (on != 0 && on != 1) {
        reply_error(call->reply, bit_error);
        return 0;
    }
    CALL_TRY(call_find_write_type(call, key, TYPE_STRING, &entry));
    CALL_TRY(byte_at(entry, offset >> 3, &byte));
    int grows = entry == NULL || entry->size <= offset >> 3;
    unsigned shift = 7 - (unsigned)(offset & 7);
    int was = byte >> shift & 1;
    CALL_TRY(cmd_bitmap_grow(call, key, &entry, (offset >> 3) + 1));
    if (grows || was != on) {
        byte = (uint8_t)((byte & ~(1u << shift)) | (unsigned)on << shift);
        CALL_TRY(db_string_write(call->db, &entry, offset >> 3, bytes_of(&byte, 1)));
        call_changed(call, key);
        call_notify(call, NOTIFY_STRING, "setbit", key);
    }
    reply_integer(call->reply, was);
    return 0;
}

int cmd_getbit(struct call *call) {
    struct entry *entry;
    uint64_t offset;
    uint8_t byte;
    CALL_TRY(cmd_bitmap_offset(call, call->argv[2], 0, &offset));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STRING, &entry));
    CALL_TRY(byte_at(entry, offset >> 3, &byte));
    reply_integer(call->reply, byte >> (7 - (offset & 7)) & 1);
    return 0;
}

/* --- ranges --- */

/* A range as the client gave it, then in absolute bits [first, last]. */
struct bit_range {
    int64_t start, end;
    int end_given, in_bits;
    uint64_t first, last;
};

/* start, end and unit from argument ${from} on: all, or with ${end_optional} only start. */
static int range_parse(struct call *call, size_t from, int end_optional, struct bit_range *range_out) {
    size_t count = call->argc - from;
    *range_out = (struct bit_range){.start = 0, .end = -1};
    if (count == 0) return 0;
    if (count > 3 || (count == 1 && !end_optional)) return call_syntax_error(call);
    int error = call_integer(call, call->argv[from], &range_out->start);
    if (error == 0 && count == 3) {
        if (call_option(call, from + 2, "bit")) {
            range_out->in_bits = 1;
        } else if (!call_option(call, from + 2, "byte")) {
            return call_syntax_error(call);
        }
    }
    if (error == 0 && count >= 2) {
        error = call_integer(call, call->argv[from + 1], &range_out->end);
        range_out->end_given = 1;
    }
    return error;
}

/* Resolve against a string of ${bytes}; 0 if the range is empty. */
static int range_resolve(struct bit_range *range, uint64_t bytes) {
    int64_t start = range->start, end = range->end;
    int64_t total = (int64_t)(range->in_bits ? bytes * 8 : bytes);
    if (start < 0) start = start + total < 0 ? 0 : start + total;
    if (end < 0) end = end + total < 0 ? 0 : end + total;
    if (end >= total) end = total - 1;
    if (start > end) return 0;
    range->first = (uint64_t)start * (range->in_bits ? 1 : 8);
    range->last = range->in_bits ? (uint64_t)end : (uint64_t)end * 8 + 7;
    return 1;
}

/* Call ${receive} for the bytes of bits [first, last]; bits of the outer bytes that are outside are made
 * ${outside}. Nonzero stops. */
static int range_each(struct entry *entry, const struct bit_range *range, int outside,
                      int (*receive)(struct bytes part, uint64_t at, void *ctx), void *ctx) {
    char digits[NUMBER_INT_TEXT_MAX];
    uint64_t first = range->first >> 3, last = range->last >> 3;
    uint8_t head_mask = (uint8_t)(0xffu >> (range->first & 7)),
            tail_mask = (uint8_t)(0xff00u >> ((range->last & 7) + 1));
    int error = string_touch(entry, first, last + 1);
    for (uint64_t at = first; error == 0 && at <= last;) {
        struct bytes part;
        error = string_part(entry, at, digits, &part);
        if (error != 0) break;
        if (part.size > last + 1 - at) part.size = last + 1 - at;
        uint8_t mask = (uint8_t)((at == first ? head_mask : 0xff) & (at == last ? tail_mask : 0xff));
        if (mask != 0xff || at == last) { /* an outer byte: alone */
            uint8_t byte = (uint8_t)(part.data[0] & mask) | (uint8_t)(outside ? ~mask : 0);
            error = receive(bytes_of(&byte, 1), at, ctx);
            at++;
            continue;
        }
        if (at + part.size > last) part.size--; /* the last byte comes alone */
        error = receive(part, at, ctx);
        at += part.size;
    }
    return error;
}

static int count_part(struct bytes part, uint64_t at, void *ctx) {
    (void)at;
    *(uint64_t *)ctx += bits_count(part);
    return 0;
}

int cmd_bitcount(struct call *call) {
    struct bit_range range;
    struct entry *entry;
    uint64_t count = 0;
    CALL_TRY(range_parse(call, 2, 0, &range));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STRING, &entry));
    int reversed = range.end_given && range.start < 0 && range.end < 0 && range.start > range.end;
    if (entry != NULL && !reversed && range_resolve(&range, entry->size)) {
        int error = range_each(entry, &range, 0, count_part, &count);
        if (error != 0) return error;
    }
    reply_integer(call->reply, (int64_t)count);
    return 0;
}

struct bit_search {
    int bit;
    int64_t found;
};

static int search_part(struct bytes part, uint64_t at, void *ctx) {
    struct bit_search *search = ctx;
    int64_t place = bits_first(part, search->bit);
    if (place < 0) return 0;
    search->found = (int64_t)(at * 8) + place;
    return 1;
}

int cmd_bitpos(struct call *call) {
    struct bit_range range;
    struct entry *entry;
    int64_t bit;
    CALL_TRY(call_integer(call, call->argv[2], &bit));
    if (bit != 0 && bit != 1) {
        reply_error(call->reply, "The bit argument must be 1 or 0.");
        return 0;
    }
    CALL_TRY(range_parse(call, 3, 1, &range));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_STRING, &entry));
    struct bit_search search = {(int)bit, -1};
    if (entry == NULL) {
        search.found = bit ? -1 : 0;
    } else if (range_resolve(&range, entry->size)) {
        int error = range_each(entry, &range, !bit, search_part, &search);
        if (error < 0) return error;
        /* beyond the end there are zeros, unless the client said where to stop */
        if (search.found < 0 && !bit && !range.end_given) search.found = (int64_t)entry->size * 8;
    }
    reply_integer(call->reply, search.found);
    return 0;
}

/* --- BITOP --- */

enum bit_operation { BIT_AND, BIT_OR, BIT_XOR, BIT_NOT };

static void operate(enum bit_operation operation, uint8_t *to, struct bytes part) {
    const uint8_t *from = part.data;
    size_t i = 0;
    for (; i + 8 <= part.size; i += 8) {
        uint64_t a = bytes_load64(to + i), b = bytes_load64(from + i);
        bytes_store64(to + i, operation == BIT_AND   ? a & b
                              : operation == BIT_OR  ? a | b
                              : operation == BIT_XOR ? a ^ b
                                                     : ~b);
    }
    for (; i < part.size; i++) {
        unsigned a = to[i], b = from[i];
        to[i] = (uint8_t)(operation == BIT_AND   ? a & b
                          : operation == BIT_OR  ? a | b
                          : operation == BIT_XOR ? a ^ b
                                                 : ~b);
    }
}

/* Combine ${entry} (NULL: empty) into ${result}; the first one is taken as it is. */
static int bitop_source(enum bit_operation operation, int first, struct entry *entry,
                        struct bytes_builder *result) {
    char digits[NUMBER_INT_TEXT_MAX];
    uint64_t size = entry != NULL ? entry->size : 0;
    for (uint64_t at = 0; at < size;) {
        struct bytes part;
        int error = string_part(entry, at, digits, &part);
        if (error != 0) return error;
        if (first && operation != BIT_NOT) {
            memcpy(result->data + at, part.data, part.size);
        } else {
            operate(operation, result->data + at, part);
        }
        at += part.size;
    }
    if (operation == BIT_AND || first) {
        if (result->size > size) memset(result->data + size, 0, result->size - size);
    }
    return 0;
}

/* Find the sources and ask for everything missing at once. */
static int bitop_find(struct call *call, struct entry **entries, uint64_t *size_out) {
    int faulted = 0;
    *size_out = 0;
    for (size_t i = 3; i < call->argc; i++) {
        struct entry *entry;
        int error = call_find_read_type(call, call->argv[i], TYPE_STRING, &entry);
        if (error != 0) return error;
        entries[i - 3] = entry;
        if (entry == NULL) continue;
        if (entry->size > *size_out) *size_out = entry->size;
        error = string_touch(entry, 0, entry->size);
        if (error != 0 && error != FIRN_EFAULT) return error;
        faulted |= error != 0;
    }
    return faulted ? FIRN_EFAULT : 0;
}

static int bitop_store(struct call *call, struct bytes key, struct bytes result) {
    struct entry *entry;
    CALL_TRY(call_find_write(call, key, &entry));
    if (result.size > 0) {
        CALL_TRY(db_string_set(call->db, key, entry, result, STRING_FORM_RAW, DB_STRING_NO_EXPIRY, NULL));
        call_changed(call, key);
        call_notify(call, NOTIFY_STRING, "set", key);
    } else if (entry != NULL) {
        db_delete(call->db, entry);
        call_changed(call, key);
        call_notify(call, NOTIFY_GENERIC, "del", key);
    }
    reply_integer(call->reply, (int64_t)result.size);
    return 0;
}

static int bitop_run(struct call *call, enum bit_operation operation, struct entry **entries) {
    struct bytes_builder result = {0};
    uint64_t size;
    int error = bitop_find(call, entries, &size);
    if (error == 0) error = bytes_builder_try_reserve(&result, size);
    if (error == 0) result.size = size;
    for (size_t i = 3; error == 0 && i < call->argc; i++)
        error = bitop_source(operation, i == 3, entries[i - 3], &result);
    if (error == 0) error = bitop_store(call, call->argv[2], bytes_builder_bytes(&result));
    bytes_builder_fini(&result);
    return error;
}

int cmd_bitop(struct call *call) {
    enum bit_operation operation;
    if (call_option(call, 1, "and")) {
        operation = BIT_AND;
    } else if (call_option(call, 1, "or")) {
        operation = BIT_OR;
    } else if (call_option(call, 1, "xor")) {
        operation = BIT_XOR;
    } else if (call_option(call, 1, "not")) {
        operation = BIT_NOT;
    } else {
        CALL_TRY(call_syntax_error(call));
        return 0;
    }
    if (operation == BIT_NOT && call->argc != 4) {
        reply_error(call->reply, "BITOP NOT must be called with a single source key.");
        return 0;
    }
    struct entry **entries = memory_alloc((call->argc - 3) * sizeof *entries);
    int error = bitop_run(call, operation, entries);
    memory_free(entries);
    return call_error(error);
}
