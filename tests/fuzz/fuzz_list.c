/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: lists from hostile bytes. The first byte chooses: an RDB body of type 1, 10, 14 or 18 (as
 * RESTORE takes it), which must be refused or become a sound list that encodes and decodes to itself; or a
 * list page.
 */
#include <stdlib.h>

#include "base/bytes_builder.h"
#include "types/list.h"
#include "types/list_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void destroy(struct entry *entry) {
    type_list_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

struct comparison {
    struct entry *with;
    uint64_t at;
};

static int is_there(struct bytes element, void *ctx) {
    struct comparison *comparison = ctx;
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes other;
    if (list_at(comparison->with, comparison->at++, digits, &other) != 0 || !bytes_equal(element, other))
        abort();
    return 0;
}

static void must_come_back(struct entry *entry) {
    struct bytes_builder body = {0};
    struct entry *back;
    uint8_t type;
    size_t consumed;
    if (type_list_ops.encode(entry, &body, &type) != 0) abort();
    if (type_list_ops.decode(bytes_of_text("k"), type, bytes_builder_bytes(&body), &consumed, 1, &back) != 0)
        abort();
    struct comparison comparison = {back, 0};
    if (consumed != body.size || back->size != entry->size || list_each(entry, is_there, &comparison) != 0)
        abort();
    bytes_builder_fini(&body);
    destroy(back);
}

static void decode(uint8_t type, struct bytes body) {
    struct entry *entry;
    size_t consumed;
    if (type_list_ops.decode(bytes_of_text("k"), type, body, &consumed, 1, &entry) != 0) return;
    if (consumed > body.size || entry->size == 0) abort();
    type_list_ops.check(entry);
    must_come_back(entry);
    if (list_insert(entry, entry->size / 2, bytes_of_text("another")) != 0) abort();
    if (list_pop(entry, LIST_HEAD, entry->size / 3, NULL, NULL) != 0) abort();
    type_list_ops.check(entry);
    destroy(entry);
}

static void look_at_page(struct bytes payload) {
    struct list_view view;
    struct list_element element;
    uint32_t forwards = 0, backwards = 0;
    int got;
    if (list_page_open(payload, &view) != 0) return;
    for (got = list_page_first(&view, &element); got == 1; got = list_page_next(&view, &element, &element))
        forwards++;
    for (got = list_page_last(&view, &element); got == 1; got = list_page_previous(&view, &element, &element))
        backwards++;
    (void)!list_page_at(&view, view.count / 2, &element);
    if (list_page_check(payload) == 0 && (forwards != view.count || backwards != view.count)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t types[] = {1, 10, 14, 18};
    if (size == 0) return 0;
    uint8_t *exact = malloc(size - 1 + (size == 1)); /* so that a byte too far is seen */
    memcpy(exact, data + 1, size - 1);
    struct bytes input = bytes_of(exact, size - 1);
    if (data[0] % 5 == 4) {
        look_at_page(input);
    } else {
        decode(types[data[0] % 5], input);
    }
    free(exact);
    return 0;
}
