/* SPDX-License-Identifier: BSD-3-Clause */
/* What handlers call: lookups with Redis's type errors, arguments, changes. See call.h for the rules.
 * Executor only. */
#include "cmd/call.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cmd/command.h"
#include "ds/number.h"
#include "page/fault.h"
#include "types/page_directory.h"

#define CURSOR_SHIFT 11u /* a double holds 53 bits */
_Static_assert(DIRECTORY_DEPTH_MAX + CURSOR_SHIFT <= 64, "a cursor reaches every page");

/* --- lookups --- */

int call_find_read(struct call *call, struct bytes key, struct entry **entry_out) {
    return db_find(call->db, key, LOOKUP_READ | call->lookup_flags, entry_out);
}

int call_find_write(struct call *call, struct bytes key, struct entry **entry_out) {
    return db_find(call->db, key, LOOKUP_WRITE | call->lookup_flags, entry_out);
}

static int check_type(struct call *call, const struct entry *entry, enum type_id type) {
    if (entry == NULL || entry_type(entry) == type) return 0;
    reply_error(call->reply, "-WRONGTYPE Operation against a key holding the wrong kind of value");
    return FIRN_EWRONGTYPE;
}

int call_find_read_type(struct call *call, struct bytes key, enum type_id type, struct entry **entry_out) {
    int error = call_find_read(call, key, entry_out);
    return error != 0 ? error : check_type(call, *entry_out, type);
}

int call_find_write_type(struct call *call, struct bytes key, enum type_id type, struct entry **entry_out) {
    int error = call_find_write(call, key, entry_out);
    return error != 0 ? error : check_type(call, *entry_out, type);
}

int call_error(int error) {
    switch (error) {
    case FIRN_EWRONGTYPE:
    case FIRN_ENOTNUMBER:
    case FIRN_EINVALID:
    case FIRN_EOVERFLOW:
    case FIRN_ETOOBIG: return 0;
    default: return error;
    }
}

/* --- arguments --- */

int call_integer_or(struct call *call, struct bytes argument, const char *error_text, int64_t *value_out) {
    int error = number_parse_int(argument, value_out);
    if (error != 0) reply_error(call->reply, error_text);
    return error;
}

int call_integer(struct call *call, struct bytes argument, int64_t *value_out) {
    return call_integer_or(call, argument, "value is not an integer or out of range", value_out);
}

int call_integer_between(struct call *call, struct bytes argument, int64_t min, int64_t max,
                         int64_t *value_out) {
    int error = call_integer(call, argument, value_out);
    if (error != 0 || (*value_out >= min && *value_out <= max)) return error;
    reply_error_format(call->reply, "value is out of range, value must between %" PRId64 " and %" PRId64, min,
                       max);
    return FIRN_EINVALID;
}

int call_double(struct call *call, struct bytes argument, double *value_out) {
    int error = number_parse_double(argument, value_out);
    if (error != 0) reply_error(call->reply, "value is not a valid float");
    return error;
}

int call_positive(struct call *call, struct bytes argument, const char *error_text, uint64_t *value_out) {
    int64_t value;
    int error = call_integer_or(call, argument, error_text, &value);
    if (error != 0) return error;
    *value_out = (uint64_t)value;
    if (value > 0) return 0;
    reply_error(call->reply, error_text);
    return FIRN_EINVALID;
}

int call_mpop(struct call *call, size_t at, const char *first, const char *second,
              struct call_mpop *mpop_out) {
    uint64_t keys;
    int error = call_positive(call, call->argv[at], "numkeys should be greater than 0", &keys);
    if (error != 0) return error;
    if (keys >= call->argc - at - 1) return call_syntax_error(call);
    *mpop_out = (struct call_mpop){&call->argv[at + 1], (size_t)keys, 0, 0, 1};
    at += 1 + mpop_out->keys_count;
    mpop_out->second = call_option(call, at, second);
    if (!mpop_out->second && !call_option(call, at, first)) return call_syntax_error(call);
    for (size_t i = at + 1; i < call->argc; i += 2) {
        if (mpop_out->counted || !call_option(call, i, "COUNT") || i + 1 >= call->argc)
            return call_syntax_error(call);
        error = call_positive(call, call->argv[i + 1], "count should be greater than 0", &mpop_out->count);
        if (error != 0) return error;
        mpop_out->counted = 1;
    }
    return 0;
}

int call_cursor(struct call *call, struct bytes argument, uint64_t *position_out) {
    uint64_t value = 0;
    int minus = argument.size > 0 && argument.data[0] == '-';
    size_t at = minus || (argument.size > 0 && argument.data[0] == '+');
    int good = argument.size > at;
    for (; good && at < argument.size; at++) {
        good = isdigit(argument.data[at]) && !__builtin_mul_overflow(value, 10u, &value) &&
               !__builtin_add_overflow(value, (uint64_t)(argument.data[at] - '0'), &value);
    }
    if (!good) {
        reply_error(call->reply, "invalid cursor");
        return FIRN_EINVALID;
    }
    *position_out = (minus ? 0 - value : value) << CURSOR_SHIFT;
    return 0;
}

void call_reply_cursor(struct call *call, uint64_t position) {
    char digits[NUMBER_INT_TEXT_MAX];
    FIRN_ASSERT(position % (1u << CURSOR_SHIFT) == 0);
    reply_bulk(call->reply, bytes_of(digits, number_format_uint(position >> CURSOR_SHIFT, digits)));
}

int call_syntax_error(struct call *call) {
    reply_error(call->reply, "syntax error");
    return FIRN_EINVALID;
}

int call_option(const struct call *call, size_t index, const char *word) {
    return index < call->argc && bytes_is(call->argv[index], word);
}

int call_unknown_subcommand(struct call *call) {
    char container[64];
    size_t i = 0;
    for (const char *name = call->command->name; name[i] != 0 && name[i] != '|' && i + 1 < sizeof container;
         i++)
        container[i] = (char)toupper((unsigned char)name[i]);
    container[i] = 0;
    struct bytes word = call->argc > 1 ? call->argv[1] : bytes_of("", 0);
    int size = word.size > 128 ? 128 : (int)word.size;
    reply_error_format(call->reply,
                       "unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.", size,
                       (const char *)word.data, container);
    return 0;
}

int call_help(struct call *call, const char *const *lines) {
    char container[64];
    size_t size = strcspn(call->command->name, "|"), count = 0;
    FIRN_ASSERT(size < sizeof container);
    for (size_t i = 0; i < size; i++)
        container[i] = (char)toupper((unsigned char)call->command->name[i]);
    container[size] = 0;
    while (lines[count] != NULL)
        count++;
    reply_array(call->reply, count + 3);
    char first[160];
    snprintf(first, sizeof first, "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", container);
    reply_status(call->reply, first);
    for (size_t i = 0; i < count; i++)
        reply_status(call->reply, lines[i]);
    reply_status(call->reply, "HELP");
    reply_status(call->reply, "    Show this text.");
    return 0;
}

/* --- changes --- */

void call_changed(struct call *call, struct bytes key) {
    call->changes++;
    fault_must_finish(); /* the command cannot be run again: what it still needs is read at once */
    db_changed(call->db, key);
}

void call_changed_elements(struct call *call, struct bytes key, uint64_t elements) {
    call_changed(call, key);
    db_stats.changes += elements - 1;
}

void call_notify(struct call *call, unsigned event_class, const char *name, struct bytes key) {
    db_notify(call->db, event_class, name, key);
}

void call_must_finish(struct call *call) {
    (void)call;
    fault_must_finish();
}

void (*call_propagated)(const struct call *call);

void call_propagate(struct call *call, size_t argc, const struct bytes *argv) {
    if (call_propagated == NULL) return;
    size_t bytes = 0;
    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].size;
    struct call_form *form = memory_alloc(sizeof *form + argc * sizeof *argv + bytes), **end = &call->forms;
    uint8_t *to = (uint8_t *)(form->argv + argc);
    for (size_t i = 0; i < argc; i++) {
        if (argv[i].size != 0) memcpy(to, argv[i].data, argv[i].size);
        form->argv[i] = bytes_of(to, argv[i].size);
        to += argv[i].size;
    }
    form->argc = argc;
    form->next = NULL;
    if (call->forms != NULL) end = &call->forms_last->next;
    *end = call->forms_last = form;
}

void call_rewrite(struct call *call, size_t argc, const struct bytes *argv) {
    call_forms_free(call);
    call_propagate(call, argc, argv);
}

void call_forms_free(struct call *call) {
    for (struct call_form *form = call->forms, *next; form != NULL; form = next) {
        next = form->next;
        memory_free(form);
    }
    call->forms = NULL;
}

void call_redact(struct call *call, size_t index) {
    if (index < 64) call->redacted |= UINT64_C(1) << index;
}

void call_no_propagation(struct call *call) {
    call->no_propagation = 1;
}
