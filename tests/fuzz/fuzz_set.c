/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: sets from hostile bytes. The first byte chooses: an RDB body of type 2, 11 or 20 (as
 * RESTORE takes it), which must be refused or become a sound set that encodes and decodes to itself; or an
 * integer page.
 */
#include <stdlib.h>

#include "base/bytes_builder.h"
#include "types/intset_page.h"
#include "types/set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void destroy(struct entry *entry) {
    type_set_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

static int is_in(struct bytes member, void *ctx) {
    if (set_contains(ctx, member) != 0) abort();
    return 0;
}

static void must_come_back(struct entry *entry) {
    struct bytes_builder body = {0};
    struct entry *back;
    uint8_t type;
    size_t consumed;
    if (type_set_ops.encode(entry, &body, &type) != 0) abort();
    if (type_set_ops.decode(bytes_of_text("k"), type, bytes_builder_bytes(&body), &consumed, 1, &back) != 0)
        abort();
    if (consumed != body.size || back->size != entry->size || set_each(entry, is_in, back) != 0) abort();
    bytes_builder_fini(&body);
    destroy(back);
}

static void decode(uint8_t type, struct bytes body) {
    struct entry *entry;
    size_t consumed;
    if (type_set_ops.decode(bytes_of_text("k"), type, body, &consumed, 1, &entry) != 0) return;
    if (consumed > body.size || entry->size == 0) abort();
    type_set_ops.check(entry);
    must_come_back(entry);
    if (set_add(entry, bytes_of_text("another"), 0, NULL) != 0) abort();
    type_set_ops.check(entry);
    destroy(entry);
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
    uint8_t *exact = malloc(size - 1 + (size == 1)); /* so that a byte too far is seen */
    memcpy(exact, data + 1, size - 1);
    struct bytes input = bytes_of(exact, size - 1);
    if (data[0] % 4 == 3) {
        look_at_integers(input);
    } else {
        decode(types[data[0] % 4], input);
    }
    free(exact);
    return 0;
}
