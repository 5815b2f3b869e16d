/* SPDX-License-Identifier: BSD-3-Clause */
/* BITFIELD and BITFIELD_RO: the whole command is parsed and everything it reads is touched before the first
 * change. */
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/cmd_bitmap.h"
#include "ds/bits.h"
#include "ds/number.h"
#include "keyspace/db_string.h"

enum bitfield_kind { BITFIELD_GET, BITFIELD_SET, BITFIELD_INCRBY };
enum bitfield_overflow { BITFIELD_WRAP, BITFIELD_SAT, BITFIELD_FAIL };

struct bitfield_operation {
    enum bitfield_kind kind;
    enum bitfield_overflow overflow;
    int is_signed;
    unsigned bits;
    uint64_t offset;
    int64_t value;
};

struct bitfield {
    struct bitfield_operation *operations;
    size_t count;
    int writes;
    uint64_t bytes; /* the string must be this long for the writes */
};

static int parse_type(struct call *call, struct bytes text, struct bitfield_operation *operation) {
    int64_t bits = 0;
    int is_signed = text.size > 1 && text.data[0] == 'i';
    if (text.size > 1 && (is_signed || text.data[0] == 'u') &&
        number_parse_int(bytes_of(text.data + 1, text.size - 1), &bits) == 0 && bits >= 1 &&
        bits <= (is_signed ? 64 : 63)) {
        operation->is_signed = is_signed;
        operation->bits = (unsigned)bits;
        return 0;
    }
    reply_error(
        call->reply,
        "Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");
    return FIRN_EINVALID;
}

static int parse_overflow(struct call *call, size_t index, enum bitfield_overflow *overflow_out) {
    if (call_option(call, index, "wrap")) {
        *overflow_out = BITFIELD_WRAP;
    } else if (call_option(call, index, "sat")) {
        *overflow_out = BITFIELD_SAT;
    } else if (call_option(call, index, "fail")) {
        *overflow_out = BITFIELD_FAIL;
    } else {
        reply_error(call->reply, "Invalid OVERFLOW type specified");
        return FIRN_EINVALID;
    }
    return 0;
}

/* Type, offset and value of an operation from argument ${at} on. */
static int parse_operation(struct call *call, size_t at, struct bitfield_operation *operation,
                           struct bitfield *bitfield) {
    int error = parse_type(call, call->argv[at], operation);
    if (error == 0) error = cmd_bitmap_offset(call, call->argv[at + 1], operation->bits, &operation->offset);
    if (error != 0 || operation->kind == BITFIELD_GET) return error;
    uint64_t bytes = ((operation->offset + operation->bits - 1) >> 3) + 1;
    if (bytes > bitfield->bytes) bitfield->bytes = bytes;
    bitfield->writes = 1;
    return call_integer(call, call->argv[at + 2], &operation->value);
}

static int parse(struct call *call, struct bitfield *bitfield) {
    enum bitfield_overflow overflow = BITFIELD_WRAP;
    for (size_t i = 2; i < call->argc;) {
        struct bitfield_operation operation = {.overflow = overflow};
        size_t left = call->argc - i - 1;
        int error;
        if (call_option(call, i, "get") && left >= 2) {
            operation.kind = BITFIELD_GET;
        } else if (call_option(call, i, "set") && left >= 3) {
            operation.kind = BITFIELD_SET;
        } else if (call_option(call, i, "incrby") && left >= 3) {
            operation.kind = BITFIELD_INCRBY;
        } else if (call_option(call, i, "overflow") && left >= 1) {
            error = parse_overflow(call, i + 1, &overflow);
            if (error != 0) return error;
            i += 2;
            continue;
        } else {
            return call_syntax_error(call);
        }
        error = parse_operation(call, i + 1, &operation, bitfield);
        if (error != 0) return error;
        bitfield->operations[bitfield->count++] = operation;
        i += operation.kind == BITFIELD_GET ? 3 : 4;
    }
    return 0;
}

/* The bytes around ${operation}'s field into ${buffer}, zeros beyond the end. */
static int load(struct entry *entry, const struct bitfield_operation *operation,
                uint8_t buffer[BITS_FIELD_BYTES]) {
    char digits[NUMBER_INT_TEXT_MAX];
    uint64_t first = operation->offset >> 3, last = (operation->offset + operation->bits - 1) >> 3;
    memset(buffer, 0, BITS_FIELD_BYTES);
    if (entry == NULL || first >= entry->size) return 0;
    if (last >= entry->size) last = entry->size - 1;
    for (uint64_t at = first; at <= last;) {
        struct bytes part;
        int error = string_part(entry, at, digits, &part);
        if (error != 0) return error;
        if (part.size > last + 1 - at) part.size = last + 1 - at;
        memcpy(buffer + (at - first), part.data, part.size);
        at += part.size;
    }
    return 0;
}

static int store(struct call *call, struct entry **entry_inout, const struct bitfield_operation *operation,
                 const uint8_t buffer[BITS_FIELD_BYTES]) {
    uint64_t first = operation->offset >> 3, last = (operation->offset + operation->bits - 1) >> 3;
    return db_string_write(call->db, entry_inout, first, bytes_of(buffer, last - first + 1));
}

/* ${exact} within the operation's type: fitting, or what the overflow mode makes of it. 0 if it must fail. */
static int fit(const struct bitfield_operation *operation, __int128 exact, uint64_t *bits_out) {
    unsigned bits = operation->bits;
    __int128 least = operation->is_signed ? -((__int128)1 << (bits - 1)) : 0;
    __int128 most = operation->is_signed ? ((__int128)1 << (bits - 1)) - 1 : ((__int128)1 << bits) - 1;
    if (exact < least || exact > most) {
        if (operation->overflow == BITFIELD_FAIL) return 0;
        if (operation->overflow == BITFIELD_SAT) exact = exact < least ? least : most;
    }
    *bits_out = bits == 64 ? (uint64_t)exact : (uint64_t)exact & ((UINT64_C(1) << bits) - 1);
    return 1;
}

/* The number a field of ${bits} stands for. */
static int64_t meaning(const struct bitfield_operation *operation, uint64_t field) {
    unsigned unused = 64 - operation->bits;
    return operation->is_signed ? (int64_t)(field << unused) >> unused : (int64_t)field;
}

/* Run one operation and reply; *changed_inout counts it if it stored another value than was there. */
static int run(struct call *call, struct entry **entry_inout, const struct bitfield_operation *operation,
               uint64_t *changed_inout) {
    uint8_t buffer[BITS_FIELD_BYTES];
    unsigned shift = (unsigned)(operation->offset & 7);
    int error = load(*entry_inout, operation, buffer);
    if (error != 0) return error;
    uint64_t old = bits_get(buffer, shift, operation->bits), now;
    if (operation->kind == BITFIELD_GET) {
        reply_integer(call->reply, meaning(operation, old));
        return 0;
    }
    __int128 exact = operation->value;
    if (operation->kind == BITFIELD_INCRBY) {
        exact += meaning(operation, old);
    } else if (!operation->is_signed) {
        exact = (uint64_t)operation->value;
    }
    if (!fit(operation, exact, &now)) {
        reply_null(call->reply);
        return 0;
    }
    if (now != old) {
        bits_set(buffer, shift, operation->bits, now);
        error = store(call, entry_inout, operation, buffer);
        if (error != 0) return error;
        ++*changed_inout;
    }
    reply_integer(call->reply, meaning(operation, operation->kind == BITFIELD_SET ? old : now));
    return 0;
}

/* Ask for every page the operations look at. */
static int touch(struct entry *entry, const struct bitfield *bitfield) {
    int faulted = 0;
    for (size_t i = 0; entry != NULL && i < bitfield->count; i++) {
        const struct bitfield_operation *operation = &bitfield->operations[i];
        uint64_t first = operation->offset >> 3, end = ((operation->offset + operation->bits - 1) >> 3) + 1;
        int error = string_touch(entry, first, end < entry->size ? end : entry->size);
        if (error != 0 && error != FIRN_EFAULT) return error;
        faulted |= error != 0;
    }
    return faulted ? FIRN_EFAULT : 0;
}

static int run_all(struct call *call, struct bitfield *bitfield, int read_only) {
    struct bytes key = call->argv[1];
    struct entry *entry;
    int grown = 0;
    uint64_t changed = 0;
    int error = parse(call, bitfield);
    if (error != 0) return error;
    if (bitfield->writes && read_only) {
        reply_error(call->reply, "BITFIELD_RO only supports the GET subcommand");
        return 0;
    }
    error = bitfield->writes ? call_find_write_type(call, key, TYPE_STRING, &entry)
                             : call_find_read_type(call, key, TYPE_STRING, &entry);
    if (error == 0) error = touch(entry, bitfield);
    if (error == 0 && bitfield->writes) {
        grown = entry == NULL || entry->size < bitfield->bytes;
        error = cmd_bitmap_grow(call, key, &entry, bitfield->bytes);
        if (grown && error == 0) call_must_finish(call);
    }
    if (error != 0) return error;

    reply_array(call->reply, bitfield->count);
    for (size_t i = 0; i < bitfield->count; i++) {
        error = run(call, &entry, &bitfield->operations[i], &changed);
        if (error != 0) return error;
        if (changed > 0) call_must_finish(call);
    }
    if (changed > 0 || grown) {
        call_changed_elements(call, key, changed > 0 ? changed : 1);
        call_notify(call, NOTIFY_STRING, "setbit", key);
    }
    return 0;
}

static int bitfield_generic(struct call *call, int read_only) {
    struct bitfield bitfield = {.operations =
                                    memory_alloc((call->argc / 3 + 1) * sizeof *bitfield.operations)};
    int error = run_all(call, &bitfield, read_only);
    memory_free(bitfield.operations);
    return call_error(error);
}

int cmd_bitfield(struct call *call) {
    return bitfield_generic(call, 0);
}

int cmd_bitfield_ro(struct call *call) {
    return bitfield_generic(call, 1);
}
