/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: sorted sets from hostile bytes. The first byte chooses: an RDB body of type 3, 5, 12 or
 * 17 (as RESTORE takes it), which must be refused or become a sound sorted set that encodes and decodes to
 * itself; or a score page.
 */
#include "tests/fuzz/fuzz_value.h"
#include "types/score_page.h"
#include "types/zset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_in(struct bytes member, double score, void *ctx) {
    double there;
    if (zset_score(ctx, member, &there) != 0 || there != score) abort();
    return 0;
}

static void must_come_back(struct entry *entry) {
    struct entry *back = fuzz_value_again(&type_zset_ops, entry);
    struct zset_span all = {.count = entry->size};
    if (zset_each(entry, all, 0, is_in, back) != 0) abort();
    fuzz_value_destroy(&type_zset_ops, back);
}

static void decode(uint8_t type, struct bytes body) {
    struct entry *entry = fuzz_value_decode(&type_zset_ops, type, body);
    enum zset_outcome outcome;
    double score;
    if (entry == NULL) return;
    must_come_back(entry);
    if (zset_put(entry, bytes_of_text("another"), 0.5, 0, &outcome, &score) != 0) abort();
    type_zset_ops.check(entry);
    fuzz_value_destroy(&type_zset_ops, entry);
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
    struct bytes input = fuzz_value_exact(data, size);
    if (data[0] % 5 == 4) {
        look_at_page(input);
    } else {
        decode(types[data[0] % 5], input);
    }
    free((void *)input.data);
    return 0;
}
