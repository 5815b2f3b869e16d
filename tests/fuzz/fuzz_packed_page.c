/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: packed pages from hostile bytes. Reading stays inside the payload whatever it is (PP3),
 * and what packed_page_check accepts can be changed in every way without harm.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "types/packed_page.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return 0; /* the seed stays 0: inputs mean the same in every run */
}

static void read_everything(struct bytes payload) {
    struct packed_cursor cursor;
    struct packed_entry entry;
    volatile uint64_t sum = 0;
    if (packed_page_begin(payload, &cursor) == 0) {
        while (packed_page_next(&cursor, &entry) == 1) {
            for (size_t i = 0; i < entry.field.size; i++)
                sum += entry.field.data[i];
            for (size_t i = 0; i < entry.value.size; i++)
                sum += entry.value.data[i];
        }
    }
    for (unsigned i = 0; i < 40; i++) {
        uint8_t field[2] = {(uint8_t)i, 'f'};
        if (packed_page_find(payload, i * 7, bytes_of(field, i % 3), &entry) == 0) sum += entry.bytes;
        if (packed_page_at(payload, i, &entry) == 0 && entry.field.size > 0) sum += entry.field.data[0];
    }
    sum += (uint64_t)packed_page_deadline(payload) + packed_page_count(payload);
}

static void must_hold(uint64_t ref) {
    const struct page *page = page_ref_dram(ref);
    if (packed_page_check(bytes_of(page->data, page->bytes)) != 0) abort();
}

static void change_everything(struct bytes payload) {
    struct page *page = page_create(payload.size + 200), *zero = NULL, *one = NULL;
    memcpy(page->data, payload.data, payload.size);
    page->bytes = (uint32_t)payload.size;
    uint64_t ref = page_ref_of(page);
    struct packed_entry entry;
    for (unsigned i = 0; packed_page_at(bytes_of(page->data, page->bytes), i, &entry) == 0; i += 3) {
        struct bytes now = bytes_of(page->data, page->bytes);
        if (packed_page_bytes_replaced(now, &entry, 3, i % 2) + 16 > page->capacity) break;
        packed_page_replace(page, &entry, bytes_of("abc", 3), i % 2 ? (int64_t)i : -1);
        must_hold(ref);
        if (packed_page_at(bytes_of(page->data, page->bytes), i, &entry) != 0) abort();
        if (page->bytes + 16 <= page->capacity) packed_page_set_expiry(page, &entry, i % 4 ? -1 : 5);
        must_hold(ref);
        if (i % 6 == 0 && packed_page_at(bytes_of(page->data, page->bytes), i, &entry) == 0)
            packed_page_remove(page, &entry);
        must_hold(ref);
    }
    packed_page_expire(page, 1000, 5, NULL, NULL);
    must_hold(ref);
    if (packed_page_split(bytes_of(page->data, page->bytes), 63, NULL, &zero, &one) != 0) abort();
    if (zero != NULL) must_hold(page_ref_of(zero)), page_free_unshared(zero);
    if (one != NULL) must_hold(page_ref_of(one)), page_free_unshared(one);
    page_release(ref);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size > 0 ? size : 1); /* exactly as large: a byte too far is seen */
    if (size > 0) memcpy(copy, data, size);
    struct bytes payload = bytes_of(copy, size);
    read_everything(payload);
    if (packed_page_check(payload) == 0) change_everything(payload);
    free(copy);
    return 0;
}
