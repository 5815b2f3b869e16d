/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SORT and SORT_RO over lists, sets and sorted sets.
 *
 * The collection is read in parts of ELEMENTS_AT_ONCE; each part is copied, then looked up (BY), so that no
 * bytes of a page are held over a lookup. A run that meets a cold key that BY or GET names only asks from
 * then on, for as many as a fault set holds, over as many parts as that takes, and the command runs again.
 *
 * SO1 With LIMIT and a sort, no more than about twice what the limit reaches to is kept (arrange); otherwise
 * what is kept is what is answered.
 * SO2 Nothing is changed before the last lookup (STORE makes a list beside the database first).
 *
 * Executor only.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cmd/cmd_hash_internal.h"
#include "cmd/cmd_sort_internal.h"
#include "ds/number.h"
#include "keyspace/db_string.h"
#include "page/fault.h"
#include "types/hash.h"
#include "types/list.h"
#include "types/set.h"
#include "types/zset.h"

#define ELEMENTS_AT_ONCE 1024u
#define KEPT_SPARE       4096u /* kept beyond what LIMIT reaches to, before the rest is dropped */
/* --- options --- */

static struct pattern pattern_of(struct bytes text) {
    struct pattern pattern = {.is_self = text.size == 1 && text.data[0] == '#'};
    const uint8_t *star = text.size > 0 ? memchr(text.data, '*', text.size) : NULL;
    if (star == NULL) {
        pattern.is_constant = 1;
        return pattern;
    }
    pattern.prefix = bytes_of(text.data, (size_t)(star - text.data));
    pattern.postfix = bytes_of(star + 1, text.size - pattern.prefix.size - 1);
    const uint8_t *arrow = memmem(pattern.postfix.data, pattern.postfix.size, "->", 2);
    if (arrow == NULL) return pattern;
    size_t key_bytes = (size_t)(arrow - pattern.postfix.data),
           field_bytes = pattern.postfix.size - key_bytes - 2;
    if (field_bytes == 0) return pattern; /* ends in "->": no field is meant */
    pattern.field = bytes_of(arrow + 2, field_bytes);
    pattern.postfix.size = key_bytes;
    return pattern;
}

static int parse(struct sort *sort, int may_store) {
    struct call *call = sort->call;
    for (size_t i = 2; i < call->argc; i++) {
        size_t behind = call->argc - i - 1;
        if (call_option(call, i, "asc")) {
            sort->descending = 0;
        } else if (call_option(call, i, "desc")) {
            sort->descending = 1;
        } else if (call_option(call, i, "alpha")) {
            sort->alpha = 1;
        } else if (call_option(call, i, "limit") && behind >= 2) {
            int error = call_integer(call, call->argv[i + 1], &sort->limit_start);
            if (error == 0) error = call_integer(call, call->argv[i + 2], &sort->limit_count);
            if (error != 0) return error;
            i += 2;
        } else if (call_option(call, i, "store") && behind >= 1 && may_store) {
            sort->has_store = 1;
            sort->target = call->argv[++i];
        } else if (call_option(call, i, "by") && behind >= 1) {
            sort->by = pattern_of(call->argv[++i]);
            sort->has_by = !sort->by.is_constant;
            sort->as_it_is |= sort->by.is_constant;
        } else if (call_option(call, i, "get") && behind >= 1) {
            sort->gets[sort->get_count++] = pattern_of(call->argv[++i]);
        } else {
            return call_syntax_error(call);
        }
    }
    return 0;
}

/* Which numbers of ${size} elements LIMIT means. */
static void resolve_limit(struct sort *sort, uint64_t size) {
    uint64_t start = sort->limit_start < 0 ? 0 : (uint64_t)sort->limit_start;
    sort->first = start < size ? start : size;
    sort->end = size;
    if (sort->limit_count >= 0 && (uint64_t)sort->limit_count < size - sort->first)
        sort->end = sort->first + (uint64_t)sort->limit_count;
}

/* --- lookups by pattern --- */

/* What ${pattern} makes of ${text}: 0 with its *value_out, or FIRN_ENOTFOUND. ${touch}: only make sure it can
 * be read, leaving clocks and statistics alone. Bytes are valid until the next lookup. */
static int look_up(struct sort *sort, const struct pattern *pattern, struct bytes text, int touch,
                   char digits[NUMBER_INT_TEXT_MAX], struct bytes *value_out) {
    struct call *call = sort->call;
    struct entry *entry;
    int64_t expiry_ms;
    *value_out = text;
    if (pattern->is_self) return 0;
    if (pattern->is_constant) return FIRN_ENOTFOUND;
    bytes_builder_clear(&sort->key);
    bytes_builder_append(&sort->key, pattern->prefix.data, pattern->prefix.size);
    bytes_builder_append(&sort->key, text.data, text.size);
    bytes_builder_append(&sort->key, pattern->postfix.data, pattern->postfix.size);
    struct bytes key = bytes_builder_bytes(&sort->key);
    int error = touch ? db_find(call->db, key, LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY, &entry)
                      : call_find_read(call, key, &entry);
    if (error != 0) return error;
    if (entry == NULL || entry_type(entry) != (pattern->field.size > 0 ? TYPE_HASH : TYPE_STRING))
        return FIRN_ENOTFOUND;
    if (pattern->field.size > 0) {
        if (touch) return hash_touch(entry, pattern->field);
        error = hash_get(entry, pattern->field, value_out, &expiry_ms);
        return error == 0 && cmd_hash__is_due(expiry_ms) ? FIRN_ENOTFOUND : error;
    }
    if (touch) return entry->flags & ENTRY_INLINE ? 0 : string_touch(entry, 0, entry->size);
    return db_string_read(call->db, &entry, digits, &sort->scratch, value_out);
}

/* Ask for what ${pattern} makes of ${text}. *missing_inout counts what is not here; FIRN_EFAULT as soon as no
 * more can be asked for. */
static int touch_one(struct sort *sort, const struct pattern *pattern, struct bytes text,
                     unsigned *missing_inout) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes value;
    int error = look_up(sort, pattern, text, 1, digits, &value);
    if (error == FIRN_ENOTFOUND) return 0;
    if (error != FIRN_EFAULT) return error;
    ++*missing_inout;
    const struct fault_set *faults = fault_current();
    return faults == NULL || faults->count == FAULT_SET_MAX ? FIRN_EFAULT : 0;
}

static struct bytes element_text(const struct sort *sort, const struct element *element) {
    return bytes_of(sort->texts.data + element->at, element->bytes);
}

/* --- scores --- */

static size_t keep_text(struct sort *sort, struct bytes text) {
    size_t at = sort->texts.size;
    bytes_builder_append(&sort->texts, text.data, text.size);
    bytes_builder_append_byte(&sort->texts, 0);
    return at;
}

/* ${text}, which ends in a zero byte, as a number: as strtod reads it, blanks in front and nothing at all
 * included. */
static double number_of(struct sort *sort, struct bytes text) {
    int64_t integer;
    char *end;
    if (number_parse_int(text, &integer) == 0) return (double)integer;
    errno = 0;
    double number = strtod((const char *)text.data, &end);
    if (*end != 0 || errno == ERANGE || isnan(number)) sort->bad_number = 1;
    return number;
}

/* Fill in what ${element} is sorted by. */
static int weigh(struct sort *sort, struct element *element) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes value;
    if (!sort->has_by) {
        if (!sort->alpha) element->by.score = number_of(sort, element_text(sort, element));
        return 0;
    }
    int error = look_up(sort, &sort->by, element_text(sort, element), 0, digits, &value);
    element->by_bytes = NO_VALUE;
    element->by.score = 0;
    if (error != 0) return error == FIRN_ENOTFOUND ? 0 : error;
    element->by_bytes = (uint32_t)value.size;
    size_t at = keep_text(sort, value);
    if (sort->alpha) {
        element->by.by_at = at;
    } else {
        element->by.score = number_of(sort, bytes_of(sort->texts.data + at, value.size));
        sort->texts.size = at;
    }
    return 0;
}

/* --- order --- */

static int compare_texts(const struct sort *sort, struct bytes a, struct bytes b) {
    /* what is stored must not depend on this machine's locale */
    return sort->has_store ? bytes_compare(a, b) : strcoll((const char *)a.data, (const char *)b.data);
}

static int compare_weights(const struct sort *sort, const struct element *a, const struct element *b) {
    if (!sort->alpha) {
        if (a->by.score != b->by.score) return a->by.score < b->by.score ? -1 : 1;
        return bytes_compare(element_text(sort, a), element_text(sort, b));
    }
    if (!sort->has_by) return compare_texts(sort, element_text(sort, a), element_text(sort, b));
    if (a->by_bytes == NO_VALUE || b->by_bytes == NO_VALUE)
        return (b->by_bytes == NO_VALUE) - (a->by_bytes == NO_VALUE);
    return compare_texts(sort, bytes_of(sort->texts.data + a->by.by_at, a->by_bytes),
                         bytes_of(sort->texts.data + b->by.by_at, b->by_bytes));
}

static int compare(const void *a_any, const void *b_any, void *ctx) {
    const struct sort *sort = ctx;
    const struct element *a = a_any, *b = b_any;
    int order = compare_weights(sort, a, b);
    if (order != 0) return sort->descending ? -order : order;
    return a->at < b->at ? -1 : a->at > b->at; /* as they came */
}

/* The usual case without what does not matter in it. */
static int compare_numbers(const void *a_any, const void *b_any, void *ctx) {
    const struct element *a = a_any, *b = b_any;
    if (a->by.score != b->by.score) return a->by.score < b->by.score ? -1 : 1;
    return compare(a, b, ctx);
}

/* Element ${at} of a heap of ${count}, the last one in the order on top, sinks to its place. */
static void heap_sink(struct sort *sort, size_t at, size_t count) {
    struct element *heap = sort->elements, moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && compare(&heap[child + 1], &heap[child], sort) > 0) child++;
        if (compare(&moving, &heap[child], sort) >= 0) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* Keep the first sort->end in the order, in any order. */
static void keep_first(struct sort *sort) {
    size_t kept = (size_t)sort->end;
    for (size_t i = kept / 2; i-- > 0;)
        heap_sink(sort, i, kept);
    for (size_t i = kept; i < sort->used; i++) {
        if (compare(&sort->elements[i], &sort->elements[0], sort) >= 0) continue;
        sort->elements[0] = sort->elements[i];
        heap_sink(sort, 0, kept);
    }
    sort->used = kept;
}

/* Bring the elements into their order and drop what lies beyond the limit. */
static void arrange(struct sort *sort) {
    if (sort->end == 0) sort->used = 0;
    if (sort->used > sort->end) keep_first(sort);
    if (sort->used > 1)
        qsort_r(sort->elements, sort->used, sizeof *sort->elements,
                sort->alpha || sort->descending ? compare : compare_numbers, sort);
}

/* Keep only the texts of the elements that are left. */
static void drop_texts(struct sort *sort) {
    struct bytes_builder old = sort->texts;
    sort->texts = (struct bytes_builder){0};
    for (size_t i = 0; i < sort->used; i++) {
        struct element *element = &sort->elements[i];
        element->at = keep_text(sort, bytes_of(old.data + element->at, element->bytes));
        if (sort->alpha && sort->has_by && element->by_bytes != NO_VALUE)
            element->by.by_at = keep_text(sort, bytes_of(old.data + element->by.by_at, element->by_bytes));
    }
    bytes_builder_fini(&old);
}

void cmd_sort__trim(struct sort *sort) {
    if (sort->used < 2 * sort->end + KEPT_SPARE) return;
    arrange(sort);
    drop_texts(sort);
}

/* --- reading the collection --- */

void cmd_sort__keep(struct sort *sort, struct bytes text) {
    if (sort->used == sort->capacity) {
        sort->capacity = sort->capacity == 0 ? 64 : sort->capacity * 2;
        sort->elements = memory_realloc(sort->elements, sort->capacity * sizeof *sort->elements);
    }
    struct element element = {.bytes = (uint32_t)text.size, .by_bytes = NO_VALUE};
    element.at = keep_text(sort, text);
    sort->elements[sort->used++] = element;
}

static int receive(struct bytes text, void *ctx) {
    cmd_sort__keep(ctx, text);
    return 0;
}
static void receive_member(struct bytes text, void *ctx) {
    cmd_sort__keep(ctx, text);
}
static int receive_scored(struct bytes text, double score, void *ctx) {
    (void)score;
    cmd_sort__keep(ctx, text);
    return 0;
}

/* Copy elements [first, first + count) of the collection in its own order, for a set about that many from
 * *cursor_inout on (0 afterwards: the end). */
static int read_part(struct sort *sort, uint64_t first, uint64_t count, uint64_t *cursor_inout) {
    struct entry *entry = sort->entry;
    int backwards = sort->as_it_is && sort->descending;
    if (entry_type(entry) == TYPE_SET)
        return set_scan(entry, *cursor_inout, count, receive_member, sort, cursor_inout);
    if (backwards) first = entry->size - first - count;
    if (entry_type(entry) == TYPE_LIST) return list_range(entry, first, count, backwards, receive, sort);
    return zset_each(entry, (struct zset_span){first, count}, backwards, receive_scored, sort);
}

/* Ask for all pages of elements [first, first + count). */
static int touch_parts(struct sort *sort, uint64_t first, uint64_t count) {
    struct entry *entry = sort->entry;
    if (entry_type(entry) == TYPE_SET) return set_touch_all(entry);
    if (sort->as_it_is && sort->descending) first = entry->size - first - count;
    if (entry_type(entry) == TYPE_LIST) return list_touch(entry, first, count);
    return zset_is_resident(entry) ? 0 : zset_touch_span(entry, (struct zset_span){first, count});
}

int cmd_sort__weigh(struct sort *sort, size_t from, unsigned *missing_inout) {
    int error = 0;
    for (size_t i = from; error == 0 && i < sort->used; i++) {
        struct element *element = &sort->elements[i];
        if (*missing_inout > 0) {
            error = touch_one(sort, &sort->by, element_text(sort, element), missing_inout);
            continue;
        }
        error = weigh(sort, element);
        if (error == FIRN_EFAULT) {
            ++*missing_inout;
            error = 0;
        }
    }
    return error;
}

/* Read and weigh all elements. */
static int load_all(struct sort *sort) {
    uint64_t size = sort->entry->size, cursor = 0, at = 0;
    unsigned missing = 0;
    int error = touch_parts(sort, 0, size);
    while (error == 0 && at < size) {
        size_t from = sort->used;
        uint64_t count = size - at < ELEMENTS_AT_ONCE ? size - at : ELEMENTS_AT_ONCE;
        error = read_part(sort, at, count, &cursor);
        at += sort->used - from;
        if (error == 0) error = cmd_sort__weigh(sort, from, &missing);
        if (error != 0) break;
        if (missing > 0) { /* this run only asks */
            sort->used = 0;
            bytes_builder_clear(&sort->texts);
        } else {
            cmd_sort__trim(sort);
        }
        if (entry_type(sort->entry) == TYPE_SET && cursor == 0) break;
    }
    return error == 0 && missing > 0 ? FIRN_EFAULT : error;
}

/* Read what is answered, in the collection's own order. */
static int load_as_it_is(struct sort *sort) {
    uint64_t cursor = 0, wanted = sort->end - sort->first;
    if (wanted == 0) return 0;
    int error = touch_parts(sort, sort->first, wanted);
    if (entry_type(sort->entry) == TYPE_SET) {
        do {
            if (error == 0) error = read_part(sort, 0, ELEMENTS_AT_ONCE, &cursor);
        } while (error == 0 && cursor != 0 && sort->used < sort->end);
        return error;
    }
    sort->base = sort->first;
    return error != 0 ? error : read_part(sort, sort->first, wanted, &cursor);
}

/* --- the answer --- */

/* Hand the answer to ${emit} value by value; ${found} 0: there is none, the value is empty. From the first on
 * that is not here, only ask: what was emitted is void. */
static int each_answer(struct sort *sort, int (*emit)(struct bytes value, int found, void *ctx), void *ctx) {
    char digits[NUMBER_INT_TEXT_MAX];
    unsigned missing = 0;
    int error = 0;
    for (uint64_t i = sort->first; error == 0 && i < sort->end; i++) {
        struct bytes text = element_text(sort, &sort->elements[i - sort->base]);
        if (sort->get_count == 0) error = emit(text, 1, ctx);
        for (size_t j = 0; error == 0 && j < sort->get_count; j++) {
            struct bytes value;
            if (missing > 0) {
                error = touch_one(sort, &sort->gets[j], text, &missing);
                continue;
            }
            error = look_up(sort, &sort->gets[j], text, 0, digits, &value);
            if (error == 0) {
                error = emit(value, 1, ctx);
            } else if (error == FIRN_ENOTFOUND) {
                error = emit(bytes_of("", 0), 0, ctx);
            } else if (error == FIRN_EFAULT) {
                missing++;
                error = 0;
            }
        }
    }
    return error == 0 && missing > 0 ? FIRN_EFAULT : error;
}

static uint64_t answer_count(const struct sort *sort) {
    return (sort->end - sort->first) * (sort->get_count > 0 ? sort->get_count : 1);
}

static int emit_reply(struct bytes value, int found, void *ctx) {
    if (found) {
        reply_bulk(ctx, value);
    } else {
        reply_null(ctx);
    }
    return 0;
}

static int emit_element(struct bytes value, int found, void *ctx) {
    (void)found;
    return list_push(ctx, LIST_TAIL, value);
}

static void discard(struct entry *entry) {
    if (entry == NULL) return;
    type_list_ops.free_value(entry);
    entry_free(entry);
}

static int store(struct sort *sort) {
    struct call *call = sort->call;
    struct bytes key = sort->target;
    struct entry *old, *result = NULL;
    uint64_t count = answer_count(sort);
    int error = 0;
    if (count > 0) {
        result = list_create(key);
        error = each_answer(sort, emit_element, result);
        if (error == 0) list_settle_encoding(result, 1);
    }
    if (error == 0)
        error = call_find_write(call, key, &old); /* now: lookups may have deleted it, being due */
    if (error != 0) {
        discard(result);
        return error;
    }
    if (result != NULL && old != NULL) {
        db_replace(call->db, db_changing(call->db, old), result);
    } else if (result != NULL) {
        db_insert(call->db, result);
    } else if (old != NULL) {
        db_delete(call->db, db_changing(call->db, old));
    }
    if (result != NULL) {
        call_changed_elements(call, key, result->size);
        call_notify(call, NOTIFY_LIST, "sortstore", key);
    } else if (old != NULL) {
        call_changed(call, key);
        call_notify(call, NOTIFY_GENERIC, "del", key);
    }
    reply_integer(call->reply, (int64_t)count);
    return 0;
}

int cmd_sort__reply(struct sort *sort, struct reply *reply) {
    if (sort->bad_number) {
        reply_error(reply, "One or more scores can't be converted into double");
        return 0;
    }
    if (!sort->as_it_is) arrange(sort);
    if (sort->has_store) return store(sort);
    reply_array(reply, answer_count(sort));
    return each_answer(sort, emit_reply, reply);
}

/* --- the commands --- */

static int run(struct sort *sort, int may_store) {
    struct call *call = sort->call;
    int error = parse(sort, may_store);
    if (error == 0) error = call_find_read(call, call->argv[1], &sort->entry);
    if (error != 0) return error;
    struct entry *entry = sort->entry;
    if (entry != NULL && entry_type(entry) != TYPE_LIST && entry_type(entry) != TYPE_SET &&
        entry_type(entry) != TYPE_ZSET) {
        reply_error(call->reply, "-WRONGTYPE Operation against a key holding the wrong kind of value");
        return 0;
    }
    if (entry != NULL && entry_type(entry) == TYPE_SET && sort->as_it_is && sort->has_store) {
        sort->as_it_is = sort->has_by = 0; /* a set has no order of its own that could be stored */
        sort->alpha = 1;
    }
    resolve_limit(sort, entry != NULL ? entry->size : 0);
    if (entry != NULL) error = cmd_sort__stream(sort);
    if (error == 0 && entry != NULL) error = sort->as_it_is ? load_as_it_is(sort) : load_all(sort);
    return error != 0 ? error : cmd_sort__reply(sort, call->reply);
}

void cmd_sort__fini(struct sort *sort) {
    memory_free(sort->gets);
    memory_free(sort->elements);
    bytes_builder_fini(&sort->texts);
    bytes_builder_fini(&sort->key);
    bytes_builder_fini(&sort->scratch);
    *sort = (struct sort){.call = NULL};
}

static int sort_generic(struct call *call, int may_store) {
    struct sort sort = {.call = call, .limit_count = -1};
    sort.gets = memory_alloc((call->argc / 2 + 1) * sizeof *sort.gets);
    int error = run(&sort, may_store);
    cmd_sort__fini(&sort);
    return call_error(error);
}

int cmd_sort(struct call *call) {
    return sort_generic(call, 1);
}

int cmd_sort_ro(struct call *call) {
    return sort_generic(call, 0);
}
