/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_keyspace */
/*
 * Strings in a database against plain byte arrays: random sets, writes, reads, copies and payload round trips
 * in every shape, while values and pages are pushed to a fake lower tier at random and allocations fail at
 * random. Every operation runs like a command: in a fault set, again from the start after the pages it asked
 * for were "read". At the end no record and no byte of memory is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault_point.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db_string.h"
#include "tests/model/fake_tier.h"

static unsigned faults, failures;

/* --- the model --- */

#define KEYS      6u
#define BYTES_MAX 400000u
static struct {
    uint8_t *data;
    size_t bytes;
    int present;
    int64_t expiry_ms;
} model[KEYS];
static struct db *db;
static uint8_t noise[BYTES_MAX];

static struct bytes key_of(unsigned i) {
    static char text[KEYS][32];
    return bytes_of(text[i], (size_t)snprintf(text[i], sizeof text[i], "key:%u", i));
}
static struct entry *find(unsigned i) {
    struct entry *entry;
    assert_int_equal(db_find(db, key_of(i), LOOKUP_READ, &entry), 0);
    assert_int_equal(entry != NULL, model[i].present);
    if (entry != NULL) {
        assert_int_equal(entry->size, model[i].bytes);
        assert_true(entry_expiry(entry) == model[i].expiry_ms);
    }
    return entry;
}

/* Run ${operation} (which uses find) as a command; allocations may fail. */
#define COMMAND(result, operation)                                                                           \
    do {                                                                                                     \
        if (random_below(8) == 0) fault_point_arm(FAULT_MEMORY_TRY, random_below(4), 1);                     \
        for (unsigned command_runs = 0;; command_runs++) {                                                   \
            struct fault_set command_set;                                                                    \
            fault_begin(&command_set, FAULT_ASYNC);                                                          \
            result = (operation);                                                                            \
            fault_end(&command_set);                                                                         \
            if (result != FIRN_EFAULT) break;                                                                \
            assert_true(command_set.count > 0 && command_runs < 50);                                         \
            faults++;                                                                                        \
            fake_tier_load(&command_set);                                                                    \
        }                                                                                                    \
        fake_tier_drop();                                                                                    \
        fault_point_reset();                                                                                 \
        failures += result == FIRN_ENOMEM;                                                                   \
        assert_true(result == 0 || result == FIRN_ENOMEM);                                                   \
    } while (0)

static size_t random_size(void) {
    static const size_t around[] = {
        0, 8, 20, 44, 100, STRING_INLINE_MAX_BYTES, STRING_BLOB_MAX_BYTES, STRING_SEQUENCE_PAGE_BYTES * 5};
    size_t limit = around[random_below(8)] + 1;
    return random_below(3) == 0 ? limit + random_below(3) : random_below(limit + 1);
}

static void model_resize(unsigned i, size_t bytes) {
    model[i].data = realloc(model[i].data, bytes + 1);
    if (bytes > model[i].bytes) memset(model[i].data + model[i].bytes, 0, bytes - model[i].bytes);
    model[i].bytes = bytes;
    if (!model[i].present) model[i].expiry_ms = -1;
    model[i].present = 1;
}

static void do_set(unsigned i) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes value = bytes_of(noise + random_below(1000), random_size());
    if (random_below(4) == 0)
        value = bytes_of(digits, number_format_int((int64_t)(random_u64() >> random_below(64)), digits));
    int64_t expiry_ms =
        random_below(3) == 0 ? INT64_MAX / 2 + (int64_t)random_below(100) : DB_STRING_NO_EXPIRY;
    if (random_below(4) == 0) expiry_ms = DB_STRING_KEEP_EXPIRY;
    enum string_form form = (enum string_form)random_below(3);
    int result;
    COMMAND(result, db_string_set(db, key_of(i), find(i), value, form, expiry_ms, NULL));
    if (result != 0) return;
    model[i].bytes = 0;
    model_resize(i, value.size);
    memcpy(model[i].data, value.data, value.size);
    if (expiry_ms != DB_STRING_KEEP_EXPIRY) model[i].expiry_ms = expiry_ms;
}

static void do_set_integer(unsigned i) {
    char digits[NUMBER_INT_TEXT_MAX];
    int64_t integer = (int64_t)random_u64() >> random_below(64);
    struct entry *entry = db_string_set_integer(db, key_of(i), find(i), integer);
    assert_int_equal(entry_encoding(entry), ENCODING_INT);
    size_t bytes = number_format_int(integer, digits);
    model[i].bytes = 0;
    model_resize(i, bytes);
    memcpy(model[i].data, digits, bytes);
}

static int write_at(unsigned i, uint64_t offset, struct bytes data) {
    struct entry *entry = find(i);
    int created = entry == NULL;
    if (created) entry = db_string_create_empty(db, key_of(i));
    int error = db_string_write(db, &entry, offset, data);
    if (error != 0 && created) db_delete(db, entry);
    return error;
}

static void do_write(unsigned i) {
    size_t offset = random_below(2) ? model[i].bytes * (size_t)model[i].present : random_size();
    struct bytes data = bytes_of(noise + random_below(1000), random_below(3) == 0 ? 1 : random_size());
    if (data.size == 0 || offset + data.size > BYTES_MAX) return;
    int result;
    COMMAND(result, write_at(i, offset, data));
    if (result != 0) return;
    if (!model[i].present) model[i].bytes = 0;
    if (!model[i].present || offset + data.size > model[i].bytes)
        model_resize(i, offset + data.size > model[i].bytes ? offset + data.size : model[i].bytes);
    memcpy(model[i].data + offset, data.data, data.size);
    assert_int_equal(entry_encoding(find(i)), ENCODING_RAW);
}

static int read_and_compare(unsigned i) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes_builder scratch = {0};
    struct bytes value;
    struct entry *entry = find(i);
    int error = db_string_read(db, &entry, digits, &scratch, &value);
    if (error == 0) {
        assert_int_equal(value.size, model[i].bytes);
        if (value.size > 0) assert_memory_equal(value.data, model[i].data, value.size);
    }
    bytes_builder_fini(&scratch);
    return error;
}

static int range_and_compare(unsigned i, uint64_t from, uint64_t to) {
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes_builder scratch = {0};
    struct bytes range;
    int error = string_range(find(i), from, to, digits, &scratch, &range);
    if (error == 0) {
        assert_int_equal(range.size, to - from);
        if (range.size > 0) assert_memory_equal(range.data, model[i].data + from, range.size);
    }
    bytes_builder_fini(&scratch);
    return error;
}

static int payload_round_trip(unsigned i) {
    struct bytes_builder body = {0};
    struct entry *fresh = NULL;
    uint8_t type;
    size_t consumed;
    int error = type_ops(TYPE_STRING)->encode(find(i), &body, &type);
    if (error == 0)
        error =
            type_ops(TYPE_STRING)->decode(key_of(i), type, bytes_builder_bytes(&body), &consumed, 1, &fresh);
    if (error == 0) {
        assert_int_equal(consumed, body.size);
        type_ops(TYPE_STRING)->check(fresh);
        fresh->clock = 0;
        if (model[i].expiry_ms >= 0) { /* replace by what was decoded */
            fresh = entry_relayout(fresh, 1, (fresh->flags & ENTRY_REF) != 0,
                                   (fresh->flags & ENTRY_INLINE) != 0, entry_inline_bytes(fresh));
            entry_store_expiry(fresh, model[i].expiry_ms);
        }
        db_replace(db, find(i), fresh);
    }
    bytes_builder_fini(&body);
    return error;
}

static int copy(unsigned i, unsigned to) {
    struct entry *target = entry_create(key_of(to), TYPE_STRING, ENCODING_RAW, 0, 1, 0);
    int error = type_ops(TYPE_STRING)->copy_value(find(i), &target);
    if (error != 0) {
        entry_free(target);
        return error;
    }
    struct entry *old = find(to);
    if (old != NULL) {
        db_replace(db, old, target);
    } else {
        db_insert(db, target);
    }
    return 0;
}

static void do_copy(unsigned i) {
    unsigned to = (unsigned)random_below(KEYS);
    int result;
    if (to == i) return;
    COMMAND(result, copy(i, to));
    if (result != 0) return;
    model[to].bytes = 0;
    model[to].present = 0;
    model_resize(to, model[i].bytes);
    memcpy(model[to].data, model[i].data, model[i].bytes);
}

/* Push the value, or some pages of it, down; as the keyspace does at the end of a demotion. */
static void demote(unsigned i) {
    struct entry *entry = find(i);
    struct string_sequence *sequence = string_sequence(entry);
    struct type_victim victims[8];
    if (entry->flags & ENTRY_INLINE) {
        if (entry_encoding(entry) == ENCODING_INT || entry->size == 0) return;
        uint64_t ref = entry_ref(entry);
        if (ref == 0) ref = fake_tier_put_bytes(entry_inline(entry), entry->size);
        entry = db_relayout(db, entry, 1, 0, 0);
        entry_store_ref(entry, ref);
    } else if (sequence == NULL) {
        if (page_ref_tag(entry_ref(entry)) != PAGE_TAG_DRAM) return;
        struct page *page = page_ref_dram(entry_ref(entry));
        entry_store_ref(entry, fake_tier_put(page));
        page_release(page_ref_of(page));
    } else {
        unsigned count = type_ops(TYPE_STRING)->victims(&sequence->object, PAGE_TAG_DRAM, 20, victims, 8);
        for (unsigned n = 0; n < count; n++) {
            uint64_t *word = type_ops(TYPE_STRING)->locate(&sequence->object, victims[n].locator);
            assert_true(word != NULL && *word == victims[n].ref);
            struct page *page = page_ref_dram(*word);
            object_account(&sequence->object, -(int64_t)page->bytes, 0, -1);
            *word = fake_tier_put(page);
            page_release(page_ref_of(page));
        }
    }
}

static void step(unsigned i) {
    int result;
    unsigned dice = (unsigned)random_below(100);
    if (dice < 25) {
        do_set(i);
    } else if (dice < 55) {
        do_write(i);
    } else if (dice < 60) {
        do_set_integer(i);
    } else if (!model[i].present) {
        assert_null(find(i));
    } else if (dice < 70) {
        COMMAND(result, read_and_compare(i));
    } else if (dice < 80) {
        uint64_t from = random_below(model[i].bytes + 1), to = from + random_below(model[i].bytes - from + 1);
        COMMAND(result, range_and_compare(i, from, to));
    } else if (dice < 84) {
        COMMAND(result, payload_round_trip(i));
    } else if (dice < 88) {
        do_copy(i);
    } else if (dice < 90) {
        db_delete(db, find(i));
        model[i].present = 0;
        model[i].bytes = 0;
    } else {
        demote(i);
    }
    struct entry *entry = find(i);
    if (entry != NULL) type_ops(TYPE_STRING)->check(entry);
}

static void run(uint64_t seed, unsigned steps) {
    random_seed(seed);
    memset(model, 0, sizeof model);
    for (unsigned i = 0; i < KEYS; i++)
        model[i].expiry_ms = -1;
    for (unsigned n = 0; n < steps; n++) {
        step((unsigned)random_below(KEYS));
        if (random_below(4) == 0) {
            unsigned i = (unsigned)random_below(KEYS);
            if (model[i].present) demote(i);
        }
        type_reap_some(4);
    }
    for (unsigned i = 0; i < KEYS; i++) {
        int result;
        if (!model[i].present) continue;
        do
            COMMAND(result, read_and_compare(i));
        while (result != 0);
        db_delete(db, find(i));
        free(model[i].data);
        model[i].data = NULL;
    }
    for (unsigned i = 0; i < KEYS; i++) {
        free(model[i].data);
        model[i].data = NULL;
    }
    while (type_reap_some(1000)) {
    }
    assert_int_equal(fake_records_alive, 0);
    assert_int_equal(object_count(), 0);
    assert_int_equal(object_dram_bytes(), 0);
}

static void test_model(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)random_u64();
    fake_tier_install();
    db_init_all(1);
    db = db_at(0);
    for (uint64_t seed = 1; seed <= 10; seed++)
        run(seed, 20000);
    db_check(db);
    db_fini_all();
    page_set_tier_hooks(NULL);
    assert_true(fake_promotions > 0 && faults > 0 && failures > 0);
}

/* A bit set far out makes one page, and one cold page is read to test one bit. */
static void test_sparse(void **state) {
    (void)state;
    uint8_t byte = 0x80;
    char digits[NUMBER_INT_TEXT_MAX];
    struct bytes part;
    db_init_all(1);
    db = db_at(0);
    size_t before = memory_used();
    struct entry *entry = db_string_create_empty(db, bytes_of_text("bitmap"));
    assert_int_equal(db_string_write(db, &entry, (512u << 20) - 1, bytes_of(&byte, 1)), 0);
    assert_int_equal(entry->size, 512u << 20);
    assert_in_range(memory_used() - before, 0, 400000);
    assert_int_equal(string_part(entry, 12345678, digits, &part), 0);
    assert_int_equal(part.data[0], 0);
    assert_int_equal(string_part(entry, (512u << 20) - 1, digits, &part), 0);
    assert_int_equal(part.size, 1);
    assert_int_equal(part.data[0], 0x80);
    db_delete(db, entry);
    while (type_reap_some(100)) {
    }
    db_fini_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_sparse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
