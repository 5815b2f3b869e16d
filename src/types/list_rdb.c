/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lists in RDB: written as Redis 7.4 does, all forms read.
 *
 *    1   n, then the elements
 *   10   one string: ziplist of the elements
 *   14   n, then n ziplists
 *   18   n, then n times: 1 and an element, or 2 and a listpack
 *
 * Of a list that reports listpack one listpack is written, of others one a page. A giant element that has a
 * page of its own is written plain.
 */
#include "base/bytes_builder.h"
#include "base/memory.h"
#include "ds/rdb_format.h"
#include "page/fault.h"
#include "types/list_internal.h"

#define RDB_TYPE_LIST            1u
#define RDB_TYPE_LIST_ZIPLIST    10u
#define RDB_TYPE_LIST_QUICKLIST  14u
#define RDB_TYPE_LIST_QUICKLIST2 18u
#define CONTAINER_PLAIN          1u
#define CONTAINER_PACKED         2u
#define PACKED_FORM_BYTES_MAX    (1u << 30)

/* --- writing --- */

static void append_items(struct bytes_builder *listpack, const struct list_view *view) {
    bytes_builder_append(listpack, view->payload.data + view->begin, view->payload.size - view->begin);
}

static void write_listpack(struct bytes_builder *out, struct bytes_builder *listpack, size_t count) {
    rdb_listpack_end(listpack, 0, count);
    rdb_write_length(out, CONTAINER_PACKED);
    rdb_write_string(out, bytes_builder_bytes(listpack), 1);
}

/* The one element of the page as it is. */
static int write_plain(struct bytes_builder *out, const struct list_view *view) {
    struct list_element element;
    char digits[NUMBER_INT_TEXT_MAX];
    int error = list_page_at(view, 0, &element);
    if (error != 0) return error;
    rdb_write_length(out, CONTAINER_PLAIN);
    rdb_write_string(out, list_element_text(&element, digits), 1);
    return 0;
}

static int encode_pages(struct entry *entry, struct bytes_builder *out, struct bytes_builder *listpack) {
    int promote = fault_current() != NULL, one = entry_encoding(entry) == ENCODING_LISTPACK;
    const struct list_object *object = list__object(entry);
    struct list_place place;
    size_t count = 0;
    unsigned ahead = 0;
    rdb_write_length(out, one || object == NULL ? 1 : object->head.pages);
    rdb_listpack_begin(listpack);
    list__open(entry, 0, &place);
    do {
        struct list_view view;
        if (page_reads_ahead && ahead-- == 0) ahead = list__announce(place) - 1;
        int error = list__read(&place, promote, &view);
        if (error != 0) return error;
        if (!one && view.count == 1 && view.payload.size - view.begin > LIST_PAGE_SPLIT_BYTES) {
            error = write_plain(out, &view);
            if (error == 0) error = type_encode_part(out, RDB_TYPE_LIST_QUICKLIST2);
            if (error != 0) return error;
            continue;
        }
        append_items(listpack, &view);
        count += view.count;
        if (!one) {
            write_listpack(out, listpack, count);
            bytes_builder_clear(listpack);
            rdb_listpack_begin(listpack);
            count = 0;
            error = type_encode_part(out, RDB_TYPE_LIST_QUICKLIST2);
            if (error != 0) return error;
        }
    } while (list__next(&place));
    if (one) write_listpack(out, listpack, count);
    return 0;
}

int list__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out) {
    size_t begin = out->size;
    int error = list_touch(entry, 0, entry->size);
    if (error != 0) return error;
    struct bytes_builder listpack = {0};
    *rdb_type_out = RDB_TYPE_LIST_QUICKLIST2;
    error = encode_pages(entry, out, &listpack);
    bytes_builder_fini(&listpack);
    if (error != 0) out->size = begin;
    return error;
}

/* --- reading --- */

/* A list growing out of a body. */
struct decode_run {
    struct entry *entry;
    struct rdb_reader reader;
    struct bytes_builder scratch;
    size_t pieces; /* as Redis would keep nodes; a plain one counts as two */
};

static int decode_plain(struct decode_run *run) {
    uint64_t count;
    int error = rdb_read_length(&run->reader, &count);
    if (error == 0 && count > UINT32_MAX) error = FIRN_ECORRUPT;
    for (uint64_t i = 0; error == 0 && i < count; i++) {
        struct bytes element;
        error = rdb_read_string(&run->reader, &run->scratch, LIST_ELEMENT_BYTES_MAX, &element);
        if (error == 0) error = list_push(run->entry, LIST_TAIL, element);
        if (error == 0) error = type_decode_part();
    }
    run->pieces = 1;
    return error;
}

static int decode_packed(struct decode_run *run, enum rdb_packed_kind kind) {
    struct bytes raw, element;
    struct rdb_packed packed;
    uint32_t before = run->entry->size;
    int error = rdb_read_string(&run->reader, &run->scratch, PACKED_FORM_BYTES_MAX, &raw), got = 0;
    if (error == 0) error = rdb_packed_open(&packed, kind, raw);
    while (error == 0 && (got = rdb_packed_next(&packed, &element)) == 1)
        error = list_push(run->entry, LIST_TAIL, element);
    if (run->entry->size > before) run->pieces++;
    return error != 0 ? error : got;
}

static int decode_node(struct decode_run *run) {
    uint64_t container;
    struct bytes element;
    int error = rdb_read_length(&run->reader, &container);
    if (error != 0) return error;
    if (container == CONTAINER_PACKED) return decode_packed(run, RDB_PACKED_LISTPACK);
    if (container != CONTAINER_PLAIN) return FIRN_ECORRUPT;
    error = rdb_read_string(&run->reader, &run->scratch, LIST_ELEMENT_BYTES_MAX, &element);
    if (error == 0 && element.size == 0) error = FIRN_ECORRUPT; /* only large elements stand alone */
    run->pieces += 2;
    return error == 0 ? list_push(run->entry, LIST_TAIL, element) : error;
}

static int decode_nodes(struct decode_run *run, uint8_t rdb_type) {
    uint64_t nodes;
    int error = rdb_read_length(&run->reader, &nodes);
    for (uint64_t i = 0; error == 0 && i < nodes; i++) {
        error =
            rdb_type == RDB_TYPE_LIST_QUICKLIST ? decode_packed(run, RDB_PACKED_ZIPLIST) : decode_node(run);
        if (error == 0) error = type_decode_part();
    }
    return error;
}

int list__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                 struct entry **entry_out) {
    (void)deep; /* everything is always looked at */
    struct decode_run run = {.entry = list_create(key), .reader = rdb_reader_of(body)};
    int error = FIRN_ECORRUPT;
    switch (rdb_type) {
    case RDB_TYPE_LIST: error = decode_plain(&run); break;
    case RDB_TYPE_LIST_ZIPLIST: error = decode_packed(&run, RDB_PACKED_ZIPLIST); break;
    case RDB_TYPE_LIST_QUICKLIST:
    case RDB_TYPE_LIST_QUICKLIST2: error = decode_nodes(&run, rdb_type); break;
    default: break;
    }
    bytes_builder_fini(&run.scratch);
    if (error == 0 && run.entry->size == 0) error = FIRN_ENOTFOUND;
    *consumed_out = body.size - run.reader.left;
    if (error != 0) {
        type_list_ops.free_value(run.entry);
        entry_free(run.entry);
        return type_decode_error(error);
    }
    list_settle_encoding(run.entry, run.pieces);
    *entry_out = run.entry;
    return 0;
}
