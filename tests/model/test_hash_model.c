/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_types */
/*
 * Hashes against a naive model: random operations while pages are pushed to fake lower tiers at random,
 * through victims and locate as the keyspace does it. Every operation runs like a command: in a fault set,
 * again from the start after the pages it asked for were "read".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "tests/model/value_model.h"
#include "types/hash.h"

/* --- the hash and its model --- */

#define FIELDS 4000u
struct model_field {
    uint8_t *value;
    size_t bytes;
    int64_t expiry;
    int present;
    unsigned seen;
};
static struct model_field model[FIELDS];
static unsigned model_size;
static struct entry *entry;
static int64_t now_ms;

static struct bytes field_name(unsigned i) {
    static char text[32];
    return bytes_of(
        text, (size_t)snprintf(text, sizeof text, i % 5 == 0 ? "field-with-a-longer-name-%u" : "f%u", i));
}
static unsigned field_number(struct bytes field) {
    unsigned number = 0;
    for (size_t i = 0; i < field.size; i++) {
        if (field.data[i] >= '0' && field.data[i] <= '9') number = number * 10 + (field.data[i] - '0');
    }
    assert_true(number < FIELDS && bytes_equal(field_name(number), field));
    return number;
}

/* Run ${operation} as a command. */
#define COMMAND(result, operation) VALUE_COMMAND(result, 50, entry->size == model_size, operation)

static void demote_some(unsigned want) {
    value_demote(&type_hash_ops, entry, want);
}

static void model_forget(unsigned i) {
    free(model[i].value);
    model[i].value = NULL;
    model[i].present = 0;
    model_size--;
}

static void do_set(unsigned i) {
    size_t bytes = random_below(40) == 0 ? random_below(9000) : random_below(30);
    uint8_t *value = malloc(bytes + 1);
    for (size_t j = 0; j < bytes; j++)
        value[j] = (uint8_t)random_u64();
    unsigned keep = random_below(3) == 0 ? HASH_KEEP_EXPIRY : 0;
    int created = -1, result;
    COMMAND(result, hash_set(entry, field_name(i), bytes_of(value, bytes), keep, &created));
    assert_int_equal(result, 0);
    assert_int_equal(created, !model[i].present);
    if (!model[i].present || !keep) model[i].expiry = -1;
    if (!model[i].present) model_size++;
    free(model[i].value);
    model[i].value = value;
    model[i].bytes = bytes;
    model[i].present = 1;
}

static void do_delete(unsigned i) {
    int result;
    COMMAND(result, hash_delete(entry, field_name(i)));
    assert_int_equal(result, model[i].present ? 0 : FIRN_ENOTFOUND);
    if (model[i].present) model_forget(i);
}

static void do_get(unsigned i) {
    struct bytes value;
    int64_t expiry;
    int result;
    COMMAND(result, hash_get(entry, field_name(i), &value, &expiry));
    assert_int_equal(result, model[i].present ? 0 : FIRN_ENOTFOUND);
    if (result != 0) return;
    assert_true(bytes_equal(value, bytes_of(model[i].value, model[i].bytes)));
    assert_int_equal(expiry, model[i].expiry);
}

static void do_set_expiry(unsigned i) {
    int64_t expiry = random_below(3) == 0 ? -1 : now_ms + 1 + (int64_t)random_below(2000);
    int result;
    COMMAND(result, hash_set_expiry(entry, field_name(i), expiry));
    assert_int_equal(result, model[i].present ? 0 : FIRN_ENOTFOUND);
    if (result == 0) model[i].expiry = expiry;
}

static unsigned expired_calls;
static void on_expired(struct db *db, struct entry *of, struct bytes field) {
    assert_null(db);
    assert_ptr_equal(of, entry);
    unsigned i = field_number(field);
    assert_true(model[i].present && model[i].expiry >= 0 && model[i].expiry <= now_ms);
    model_forget(i);
    expired_calls++;
}

static unsigned model_due(void) {
    unsigned due = 0;
    for (unsigned i = 0; i < FIELDS; i++)
        due += model[i].present && model[i].expiry >= 0 && model[i].expiry <= now_ms;
    return due;
}

static void do_expire(void) {
    now_ms += (int64_t)random_below(200);
    unsigned before = expired_calls, limit = 1 + (unsigned)random_below(50), total = 0;
    for (unsigned round = 0;; round++) {
        assert_true(round < FIELDS);
        struct fault_set set;
        unsigned expired;
        fault_begin(&set, FAULT_ASYNC);
        int result = hash_expire_fields(NULL, entry, now_ms, limit, &expired);
        fault_end(&set);
        assert_true(expired <= limit);
        total += expired;
        assert_int_equal(total, expired_calls - before);
        assert_int_equal(entry->size, model_size);
        if (result == 0) break;
        assert_true(result == 1 || (result == FIRN_EFAULT && set.count > 0));
        fake_tier_load(&set);
    }
    fake_tier_drop();
    assert_int_equal(model_due(), 0);
}

static int64_t model_deadline(void) {
    int64_t deadline = -1;
    for (unsigned i = 0; i < FIELDS; i++) {
        if (model[i].present && model[i].expiry >= 0 && (deadline < 0 || model[i].expiry < deadline))
            deadline = model[i].expiry;
    }
    return deadline;
}

static int each_visit(const struct hash_field *field, void *ctx) {
    unsigned i = field_number(field->field);
    assert_true(model[i].present);
    assert_int_equal(model[i].seen, 0);
    model[i].seen = 1;
    assert_true(bytes_equal(field->value, bytes_of(model[i].value, model[i].bytes)));
    assert_int_equal(field->expiry_ms, model[i].expiry);
    ++*(unsigned *)ctx;
    return 0;
}
static void verify_each(struct entry *of) {
    for (unsigned i = 0; i < FIELDS; i++)
        model[i].seen = 0;
    unsigned count = 0;
    int result;
    COMMAND(result, hash_each(of, each_visit, &count));
    assert_int_equal(result, 0);
    assert_int_equal(count, model_size);
}

static void verify(void) {
    type_hash_ops.check(entry);
    assert_int_equal(entry->size, model_size);
    verify_each(entry);
    struct bytes value;
    int result;
    COMMAND(result, hash_get(entry, bytes_of_text("nobody"), &value, NULL)); /* small: makes the page ready */
    if (value_object(entry) != NULL) assert_int_equal(hash_deadline(entry), model_deadline());
    assert_true(type_hash_ops.memory(entry, 5) < 100u << 20);
}

/* A copy has the same fields, is independent and goes without leaving anything. */
static void do_copy(void) {
    struct entry *copy = hash_create(bytes_of_text("copy"));
    int result;
    COMMAND(result, type_hash_ops.copy_value(entry, &copy));
    assert_int_equal(result, 0);
    type_hash_ops.check(copy);
    assert_int_equal(copy->size, model_size);
    assert_int_equal(entry_encoding(copy), entry_encoding(entry));
    verify_each(copy);
    if (model_size > 0)
        assert_int_equal(hash_set(copy, bytes_of_text("f1"), bytes_of_text("other"), 0, NULL), 0);
    value_destroy(&type_hash_ops, copy);
}

/* Every field that is there from begin to end is reported by a scan, whatever happens between its calls. */
static void scan_visit(const struct hash_field *field, void *ctx) {
    (void)ctx;
    model[field_number(field->field)].seen |= 2;
}
static void do_scan(void) {
    uint64_t cursor = 0;
    unsigned steps = 0;
    for (unsigned i = 0; i < FIELDS; i++)
        model[i].seen = model[i].present ? 1 : 0;
    do {
        int result;
        uint64_t next;
        COMMAND(result, hash_scan(entry, cursor, 1 + random_below(300), scan_visit, NULL, &next));
        assert_int_equal(result, 0);
        cursor = next;
        for (unsigned changes = (unsigned)random_below(20); changes > 0; changes--) {
            unsigned i = (unsigned)random_below(FIELDS);
            if (random_below(2)) {
                int was = model[i].present;
                do_set(i);
                if (!was) model[i].seen &= ~1u;
            } else {
                do_delete(i);
                model[i].seen &= ~1u;
            }
        }
        demote_some((unsigned)random_below(5));
        assert_true(++steps < 100000);
    } while (cursor != 0);
    for (unsigned i = 0; i < FIELDS; i++)
        assert_true(model[i].seen != 1);
}

static void do_random(void) {
    uint64_t state = random_u64(), again;
    struct hash_field field;
    int result;
    COMMAND(result, (again = state, hash_random(entry, &again, &field)));
    assert_int_equal(result, model_size > 0 ? 0 : FIRN_ENOTFOUND);
    if (result == 0) assert_true(model[field_number(field.field)].present);
}

static void run(unsigned rounds, unsigned range, unsigned demote_odds) {
    entry = hash_create(bytes_of_text("key"));
    now_ms = 1000000;
    memset(model, 0, sizeof model);
    model_size = 0;
    for (unsigned round = 0; round < rounds; round++) {
        unsigned i = (unsigned)random_below(range), dice = (unsigned)random_below(100);
        unsigned growing = round / (rounds / 6) % 2 == 0 ? 45 : 12;
        if (dice < growing) {
            do_set(i);
        } else if (dice < 60) {
            do_delete(i);
        } else if (dice < 80) {
            do_get(i);
        } else if (dice < 90) {
            do_set_expiry(i);
        } else if (dice < 95) {
            do_random();
        } else if (dice == 95) {
            do_expire();
        }
        if (random_below(demote_odds) == 0) demote_some(1 + (unsigned)random_below(20));
        if (random_below(500) == 0) do_scan();
        if (random_below(1000) == 0) do_copy();
        if (round % 250 == 0) verify();
    }
    verify();
    demote_some(30);
    value_destroy(&type_hash_ops, entry);
    for (unsigned i = 0; i < FIELDS; i++)
        free(model[i].value);
    value_none_left();
}

static void test_small(void **state) {
    (void)state;
    size_t before = memory_used();
    for (unsigned i = 0; i < 10; i++)
        run(2000, 20, 10);
    assert_int_equal(memory_used(), before);
}
static void test_around_conversion(void **state) {
    (void)state;
    run(20000, 150, 10);
}
static void test_large(void **state) {
    (void)state;
    run(40000, FIELDS, 3);
    run(20000, 1500, 1);
    assert_true(value_faults > 1000 && fake_promotions > 100);
}
/* Thresholds set high: one page in insertion order up to 128 KiB, then all at once a directory. */
static void test_large_listpack(void **state) {
    (void)state;
    struct type_limits before = type_limits;
    type_limits.hash_max_listpack_entries = type_limits.hash_max_listpack_value = 1u << 30;
    run(10000, 100, 10);
    run(10000, FIELDS, 10);
    type_limits.hash_max_listpack_entries = 2000;
    run(20000, FIELDS, 10);
    type_limits = before;
}
static void test_resident(void **state) {
    (void)state;
    run(40000, FIELDS, 1u << 30);
}

int main(void) {
    hash_seed_init();
    random_seed(11);
    fake_tier_install();
    hash_set_expired_hook(on_expired);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),    cmocka_unit_test(test_around_conversion),
        cmocka_unit_test(test_large),    cmocka_unit_test(test_large_listpack),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
