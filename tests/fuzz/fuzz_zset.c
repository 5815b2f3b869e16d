/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: sorted sets from hostile bytes. The first byte chooses: an RDB body of type 3, 5, 12 or
 * 17 (as RESTORE takes it), which must be refused or become a sound sorted set that encodes and decodes to
 * itself; or a score page.
 */
#include <stdlib.h>

#include "base/bytes_builder.h"
#include "types/score_page.h"
#include "types/zset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void destroy(struct entry *entry) {
    type_zset_ops.free_value(entry);
    entry_free(entry);
    while (type_reap_some(16))
        continue;
}

static int is_in(struct bytes member, double score, void *ctx) {
    double there;
    if (zset_score(ctx, member, &there) != 0 || there != score) abort();
    return 0;
}

static void must_come_back(struct entry *entry) {
    struct bytes_builder body = {0};
    struct entry *back;
    uint8_t type;
    size_t consumed;
    if (type_zset_ops.encode(entry, &body, &type) != 0) abort();
    if (type_zset_ops.decode(bytes_of_text("k"), type, bytes_builder_bytes(&body), &consumed, 1, &back) != 0)
        abort();
    struct zset_span all = {.count = entry->size};
    if (consumed != body.size || back->size != entry->size || zset_each(entry, all, 0, is_in, back) != 0)
        abort();
    bytes_builder_fini(&body);
    destroy(back);
}

static void decode(uint8_t type, struct bytes body) {
    struct entry *entry;
    size_t consumed;
    enum zset_outcome outcome;
    double score;
    if (type_zset_ops.decode(bytes_of_text("k"), type, body, &consumed, 1, &entry) != 0) return;
    if (consumed > body.size || entry->size == 0) abort();
    type_zset_ops.check(entry);
    must_come_back(entry);
    if (zset_put(entry, bytes_of_text("another"), 0.5, 0, &outcome, &score) != 0) abort();
    type_zset_ops.check(entry);
    destroy(entry);
}

static void look_at_page(struct bytes payload) {
    struct score_view view, again;
    if (payload.size == 0 || score_page_open(payload, 1, &view) != 0) return;
    for (uint32_t i = 0; i < view.count; i++) {
        struct score_key key = {.score = score_view_score(&view, i), .member = score_view_member(&view, i)};
        if (score_view_position(&view, &key) != i) abort();
        key.after = 1;
        if (score_view_position(&view, &key) != i + 1) abort();
    }
    struct page *page = score_page_part(&view, 0, view.count);
    while (page->bytes > 0 && score_page_open(bytes_of(page->data, page->bytes), 1, &again) == 0)
        score_page_remove(page, again.count / 2, again.count / 2 + 1);
    page_free_unshared(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t types[] = {3, 5, 12, 17};
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
