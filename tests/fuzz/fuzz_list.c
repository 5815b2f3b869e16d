/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: lists from hostile bytes. The first byte chooses: an RDB body of type 1, 10, 14 or 18 (as
 * RESTORE takes it), which must be refused or become a sound list that encodes and decodes to itself; or a
 * list page.
 */
#include "tests/fuzz/fuzz_value.h"
#include "types/list.h"
#include "types/list_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    struct entry *back = fuzz_value_again(&type_list_ops, entry);
    struct comparison comparison = {back, 0};
    if (list_each(entry, is_there, &comparison) != 0) abort();
    fuzz_value_destroy(&type_list_ops, back);
}

static void decode(uint8_t type, struct bytes body) {
    struct entry *entry = fuzz_value_decode(&type_list_ops, type, body);
    if (entry == NULL) return;
    must_come_back(entry);
    if (list_insert(entry, entry->size / 2, bytes_of_text("another")) != 0) abort();
    if (list_pop(entry, LIST_HEAD, entry->size / 3, NULL, NULL) != 0) abort();
    type_list_ops.check(entry);
    fuzz_value_destroy(&type_list_ops, entry);
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
    struct bytes input = fuzz_value_exact(data, size);
    if (data[0] % 5 == 4) {
        look_at_page(input);
    } else {
        decode(types[data[0] % 5], input);
    }
    free((void *)input.data);
    return 0;
}
