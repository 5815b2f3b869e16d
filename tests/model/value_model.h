/* SPDX-License-Identifier: BSD-3-Clause */
/* What the models of one value each (test_<type>_model.c) share, above the fake tier. Include after cmocka.h.
 */
#ifndef FIRN_TESTS_VALUE_MODEL_H
#define FIRN_TESTS_VALUE_MODEL_H

#include "base/bytes_builder.h"
#include "tests/model/fake_tier.h"
#include "types/entry.h"
#include "types/type.h"

static unsigned value_faults, value_runs_max;

/*
 * Run ${operation} as a command: in a fault set, again from the start once the pages it asked for are there,
 * at most ${runs_most} times. A run that asked for pages left ${unchanged} true.
 */
#define VALUE_COMMAND(result, runs_most, unchanged, operation)                                               \
    do {                                                                                                     \
        unsigned command_runs = 0;                                                                           \
        for (;;) {                                                                                           \
            struct fault_set command_set;                                                                    \
            fault_begin(&command_set, FAULT_ASYNC);                                                          \
            result = (operation);                                                                            \
            fault_end(&command_set);                                                                         \
            if (result != FIRN_EFAULT) break;                                                                \
            assert_true(command_set.count > 0 && ++command_runs < (runs_most));                              \
            if (command_runs > value_runs_max) value_runs_max = command_runs;                                \
            assert_true(unchanged);                                                                          \
            value_faults++;                                                                                  \
            fake_tier_load(&command_set);                                                                    \
        }                                                                                                    \
        fake_tier_drop();                                                                                    \
    } while (0)

static inline struct object *value_object(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}

/* Send up to ${want} pages of the value down. */
static inline void value_demote(const struct type_ops *ops, struct entry *entry, unsigned want) {
    uint64_t ref = entry_ref(entry);
    if (value_object(entry) != NULL) {
        fake_tier_demote_object(ops, value_object(entry), want);
    } else if (ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM && page_ref_dram(ref)->refs == 1) {
        entry_store_ref(entry, fake_tier_put(page_ref_dram(ref)));
        page_release(ref);
    }
}

static inline void value_destroy(const struct type_ops *ops, struct entry *entry) {
    ops->free_value(entry);
    entry_free(entry);
    while (type_reap_some(3))
        continue;
}

/* The value of an RDB body that must be sound; ${body} is finished. */
static inline struct entry *value_decoded(const struct type_ops *ops, uint8_t type,
                                          struct bytes_builder *body) {
    struct entry *back;
    size_t consumed;
    int error = ops->decode(bytes_of_text("back"), type, bytes_builder_bytes(body), &consumed, 1, &back);
    assert_int_equal(error, 0);
    assert_int_equal(consumed, body->size);
    ops->check(back);
    bytes_builder_fini(body);
    return back;
}

/* No value is left: so is nothing of it, above or below. */
static inline void value_none_left(void) {
    assert_int_equal(object_count(), 0);
    assert_int_equal(object_dram_bytes(), 0);
    assert_int_equal(fake_records_alive, 0);
}

#endif
