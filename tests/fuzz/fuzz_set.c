/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: sets from hostile bytes. The first byte chooses: an RDB body of type 2, 11 or 20 (as
 * RESTORE takes it), which must be refused or become a sound set that encodes and decodes to itself; or an
 * integer page.
 */
#include "tests/fuzz/fuzz_value.h"
#include "types/intset_page.h"
#include "types/set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_in(struct bytes member, void *ctx) {
    if (set_contains(ctx, member) != 0) abort();
    return 0;
}

static void must_come_back(struct entry *entry) {
    struct entry *back = fuzz_value_again(&type_set_ops, entry);
    if (set_each(entry, is_in, back) != 0) abort();
    fuzz_value_destroy(&type_set_ops, back);
}

static void decode(uint8_t type, struct bytes body) {
    struct entry *entry = fuzz_value_decode(&type_set_ops, type, body);
    if (entry == NULL) return;
    must_come_back(entry);
    if (set_add(entry, bytes_of_text("another"), 0, NULL) != 0) abort();
    type_set_ops.check(entry);
    fuzz_value_destroy(&type_set_ops, entry);
}

static void look_at_integers(struct bytes payload) {
    struct intset_view view;
    uint32_t index;
    if (intset_page_open(payload, &view) != 0) return;
    for (uint32_t i = 0; i < view.count; i++)
        (void)intset_page_find(&view, intset_page_at(&view, i), &index);
    if (intset_page_check(payload) != 0) return;
    for (uint32_t i = 0; i < view.count; i++) {
        if (!intset_page_find(&view, intset_page_at(&view, i), &index) || index != i) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t types[] = {2, 11, 20};
    if (size == 0) return 0;
    struct bytes input = fuzz_value_exact(data, size);
    if (data[0] % 4 == 3) {
        look_at_integers(input);
    } else {
        decode(types[data[0] % 4], input);
    }
    free((void *)input.data);
    return 0;
}
