/* SPDX-License-Identifier: BSD-3-Clause */
/* See tier_fake.h. */
#include "tier_fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"

#define OBJECT_ID      7u
#define VICTIM_SAMPLE  4u
#define SETTLE_SECONDS 30

struct fake fake;

static void fill(uint8_t *data, uint32_t bytes, uint64_t seed) {
    for (uint32_t i = 0; i < bytes; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        data[i] = (uint8_t)(seed >> 56);
    }
}

static void verify(unsigned key, struct bytes payload) {
    const struct fake_value *value = &fake.model[key];
    assert_true(value->exists);
    assert_int_equal(payload.size, value->bytes);
    uint8_t *expected = malloc(value->bytes + 1u);
    fill(expected, value->bytes, value->seed);
    assert_memory_equal(payload.data, expected, value->bytes);
    free(expected);
}

static unsigned kind(unsigned key) {
    return key % 3;
}

void fake_init(unsigned keys) {
    assert_true(keys <= FAKE_KEYS_MAX);
    memset(&fake, 0, sizeof fake);
    fake.keys = keys;
}

/* --- owners --- */

static struct fake_entry *entry_create(unsigned key, uint32_t inline_bytes) {
    struct fake_entry *entry = memory_alloc_zero(sizeof *entry + inline_bytes);
    entry->key = key;
    entry->bytes = inline_bytes;
    return entry;
}

/* The entry is about to change or go. */
static void entry_changing(struct fake_entry *entry) {
    if (entry->moving) tier_forget(entry);
    entry->moving = 0;
}

void fake_delete(unsigned key) {
    if (!fake.model[key].exists) return;
    fake.model[key].exists = 0;
    if (kind(key) == 2) {
        page_release(fake.slots[key]);
        fake.slots[key] = 0;
        return;
    }
    struct fake_entry *entry = fake.entries[key];
    entry_changing(entry);
    page_release(entry->ref);
    memory_free(entry);
    fake.entries[key] = NULL;
}

void fake_set(unsigned key, uint32_t bytes) {
    fake_delete(key);
    struct fake_value *value = &fake.model[key];
    *value = (struct fake_value){.seed = random_u64(), .bytes = bytes, .exists = 1};
    fake.clock[key] = ++fake.now;
    if (kind(key) == 0) {
        struct fake_entry *entry = entry_create(key, bytes);
        entry->has_inline = 1;
        fill(entry->data, bytes, value->seed);
        fake.entries[key] = entry;
        return;
    }
    struct page *page = page_create(bytes);
    fill(page->data, bytes, value->seed);
    page->bytes = bytes;
    if (kind(key) == 2) {
        fake.slots[key] = page_ref_of(page);
        return;
    }
    fake.entries[key] = entry_create(key, 0);
    fake.entries[key]->ref = page_ref_of(page);
}

static uint64_t *ref_of(unsigned key) {
    return kind(key) == 2 ? &fake.slots[key] : &fake.entries[key]->ref;
}

static int in_dram(unsigned key) {
    if (kind(key) == 0) return fake.entries[key]->has_inline;
    return page_ref_tag(*ref_of(key)) == PAGE_TAG_DRAM;
}

enum page_tag fake_where(unsigned key) {
    return in_dram(key) ? PAGE_TAG_DRAM : page_ref_tag(*ref_of(key));
}

int fake_is_clean(unsigned key) {
    if (!in_dram(key)) return 0;
    if (kind(key) == 0) return fake.entries[key]->ref != 0;
    return page_ref_dram(*ref_of(key))->lower != 0;
}

/* New content of the same size through page_write, for pages; inline values are replaced. */
int fake_append(unsigned key, uint32_t bytes) {
    if (!fake.model[key].exists || kind(key) == 0) {
        fake_set(key, bytes);
        return 0;
    }
    struct page *page;
    uint64_t *ref = ref_of(key), copy = *ref;
    if (kind(key) == 1) entry_changing(fake.entries[key]);
    int error = page_write(&copy, bytes, &page);
    if (error != 0) return error;
    *ref = copy;
    assert_true(page->lower == 0 && page->refs == 1);
    verify(key, bytes_of(page->data, page->bytes));
    fake.model[key].seed = random_u64();
    fake.model[key].bytes = bytes;
    fill(page->data, bytes, fake.model[key].seed);
    page->bytes = bytes;
    fake.clock[key] = ++fake.now;
    return 0;
}

/* --- reads --- */

static int try_get_inline(unsigned key) {
    struct fake_entry *entry = fake.entries[key];
    if (entry->has_inline) {
        verify(key, bytes_of(entry->data, entry->bytes));
        return 0;
    }
    struct bytes payload;
    unsigned seen = 0;
    int error = page_peek(entry->ref, &payload, entry->moving ? NULL : &seen);
    if (error != 0) return error;
    verify(key, payload);
    if (seen == 0) return 0;
    struct fake_entry *wide = entry_create(key, (uint32_t)payload.size);
    memcpy(wide->data, payload.data, payload.size);
    wide->has_inline = 1;
    wide->ref = entry->ref;
    memory_free(entry);
    fake.entries[key] = wide;
    fake.promoted++;
    return 0;
}

int fake_try_get(unsigned key) {
    fake.clock[key] = ++fake.now;
    if (kind(key) == 0) return try_get_inline(key);
    struct bytes payload;
    uint64_t *ref = ref_of(key), before = *ref;
    int moving = kind(key) == 1 && fake.entries[key]->moving;
    int error = moving ? page_peek(*ref, &payload, NULL) : page_read(ref, &payload);
    if (error != 0) return error;
    fake.promoted += *ref != before;
    verify(key, payload);
    return 0;
}

static void set_flag(void *ctx) {
    *(int *)ctx = 1;
}

static void wait_flag(const int *flag) {
    int64_t until = clock_monotonic_us() + SETTLE_SECONDS * 1000000ll;
    while (!*flag) {
        fake_turn();
        if (clock_monotonic_us() > until) fail_msg("a reader is never called");
    }
}

int fake_get(unsigned key) {
    struct fault_set set;
    struct tier_read *read = NULL;
    for (unsigned run = 0;; run++) {
        assert_true(run < 10);
        fault_begin(&set, FAULT_ASYNC);
        int error = fake.model[key].exists ? fake_try_get(key) : 0; /* may have been evicted meanwhile */
        fault_end(&set);
        if (read != NULL) tier_read_done(read);
        if (error != FIRN_EFAULT) return error;
        int flag = 0;
        read = tier_read(&set, set_flag, &flag);
        wait_flag(&flag);
    }
}

/* --- hooks --- */

static struct tier_victim victim_of(unsigned key, int *possible_out) {
    struct tier_victim victim = {.rank = fake.clock[key], .db = key % 2};
    *possible_out = 1;
    if (kind(key) == 2) {
        victim.object_id = OBJECT_ID;
        victim.locator = key;
        victim.ref = fake.slots[key];
    } else {
        struct fake_entry *entry = fake.entries[key];
        victim.owner = entry;
        if (entry->moving) *possible_out = 0;
        if (entry->has_inline) {
            victim.inline_value = bytes_of(entry->data, entry->bytes);
            victim.clean_ref = entry->ref;
        } else {
            victim.ref = entry->ref;
        }
    }
    if (victim.ref != 0 && page_ref_tag(victim.ref) == PAGE_TAG_DRAM) {
        if (page_ref_dram(victim.ref)->refs != 1) *possible_out = 0;
        victim.clean_ref = page_ref_dram(victim.ref)->lower;
    }
    return victim;
}

struct tier_victim fake_victim(unsigned key) {
    int possible;
    return victim_of(key, &possible);
}

int fake_demote(unsigned key, enum page_tag to) {
    struct tier_victim victim = fake_victim(key);
    return tier_demote_now(&victim, to);
}

static int colder(const void *a, const void *b) {
    const struct tier_victim *left = a, *right = b;
    return left->rank < right->rank ? -1 : left->rank > right->rank;
}

static unsigned hook_victims(int from, struct tier_victim *victims_out, unsigned limit) {
    struct tier_victim sample[VICTIM_SAMPLE * 64];
    unsigned count = 0;
    assert_true(limit <= 64);
    for (unsigned looked = 0; looked < fake.keys && count < limit * VICTIM_SAMPLE; looked++) {
        unsigned key = fake.hand++ % fake.keys;
        int possible;
        if (!fake.model[key].exists || (int)fake_where(key) != from) continue;
        sample[count] = victim_of(key, &possible);
        count += possible != 0;
    }
    qsort(sample, count, sizeof sample[0], colder);
    if (count > limit) count = limit;
    memcpy(victims_out, sample, count * sizeof sample[0]);
    return count;
}

static void hook_begin(const struct tier_victim *victim) {
    if (victim->owner != NULL) {
        struct fake_entry *entry = victim->owner;
        assert_false(entry->moving);
        entry->moving = 1;
    } else if (page_ref_tag(victim->ref) == PAGE_TAG_DRAM) {
        page_retain(page_ref_dram(victim->ref));
    }
}

static int finish_slot(const struct tier_victim *victim, uint64_t ref) {
    assert_int_equal(victim->object_id, OBJECT_ID);
    uint64_t *slot = &fake.slots[victim->locator];
    if (ref == 0 || *slot != victim->ref) return 0;
    page_release(*slot);
    *slot = ref;
    return 1;
}

static int hook_finish(const struct tier_victim *victim, uint64_t ref) {
    if (victim->owner == NULL) return finish_slot(victim, ref);
    struct fake_entry *entry = victim->owner;
    assert_true(entry->moving); /* else the manager had been told to forget it */
    assert_ptr_equal(fake.entries[entry->key], entry);
    entry->moving = 0;
    if (ref == 0) return 0;
    if (!entry->has_inline) {
        assert_true(entry->ref == victim->ref);
        page_release(entry->ref);
        entry->ref = ref;
        return 1;
    }
    struct fake_entry *narrow = entry_create(entry->key, 0);
    narrow->ref = ref;
    if (entry->ref != ref) page_release(entry->ref);
    fake.entries[entry->key] = narrow;
    memory_free(entry);
    return 1;
}

static uint64_t hook_evict(int from) {
    if (!fake.may_evict) return 0;
    if (from == 0) {
        if (fake.ballast_count == 0) return 0;
        uint64_t used = memory_used();
        memory_free(fake.ballast[--fake.ballast_count]);
        fake.evicted++;
        return used - memory_used();
    }
    for (unsigned looked = 0; looked < fake.keys; looked++) {
        unsigned key = (unsigned)random_below(fake.keys);
        if (!fake.model[key].exists || (int)fake_where(key) != from) continue;
        uint64_t bytes = fake.model[key].bytes;
        fake_delete(key);
        fake.evicted++;
        return bytes;
    }
    return 0;
}

static void hook_census(uint64_t keys_out[4], uint64_t pages_out[4]) {
    memset(keys_out, 0, 4 * sizeof *keys_out);
    memset(pages_out, 0, 4 * sizeof *pages_out);
    for (unsigned key = 0; key < fake.keys; key++) {
        if (fake.model[key].exists) keys_out[fake_where(key)]++;
    }
}

void fake_hooks(struct tier_keyspace_hooks *hooks_out) {
    *hooks_out = (struct tier_keyspace_hooks){.victims = hook_victims,
                                              .begin = hook_begin,
                                              .finish = hook_finish,
                                              .evict = hook_evict,
                                              .census = hook_census};
}

static void wake(void *ctx) {
    __atomic_fetch_add((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

struct tier_config fake_config(const struct tier_backend_ops *pmem, uint64_t pmem_bytes,
                               const struct tier_backend_ops *nvme, uint64_t nvme_bytes,
                               uint64_t memory_max) {
    return (struct tier_config){.pmem_path = pmem != NULL ? "pmem" : "",
                                .pmem_bytes = pmem_bytes,
                                .nvme_path = nvme != NULL ? "nvme" : "",
                                .nvme_bytes = nvme_bytes,
                                .memory_max = memory_max,
                                .pmem_ops = pmem,
                                .nvme_ops = nvme,
                                .wake = wake,
                                .wake_ctx = &fake.woken};
}

void fake_start(const struct tier_config *config) {
    struct tier_keyspace_hooks hooks;
    fake_hooks(&hooks);
    char message[512] = "";
    int error = tier_start(config, &hooks, message, sizeof message);
    if (error != 0) fail_msg("tier_start: %d %s", error, message);
}

/* --- the executor --- */

void fake_turn(void) {
    tier_complete();
    if (tier_turn()) return;
    usleep(20);
}

void fake_settle(void) {
    int64_t until = clock_monotonic_us() + SETTLE_SECONDS * 1000000ll;
    struct tier_totals totals;
    do {
        fake_turn();
        tier_totals(&totals);
        if (clock_monotonic_us() > until) fail_msg("operations do not complete");
    } while (totals.reads_in_flight + totals.write_bytes_in_flight > 0);
}

int fake_admit(const char **message_out) {
    int64_t until = clock_monotonic_us() + SETTLE_SECONDS * 1000000ll, delay_us;
    for (;;) {
        switch (tier_admit(&delay_us, message_out)) {
        case TIER_ADMIT: return 0;
        case TIER_REFUSE: return 1;
        case TIER_DELAY:
            assert_true(delay_us > 0 && delay_us <= 10000);
            fake_turn();
            return 0;
        case TIER_PARK: fake_turn(); break;
        }
        if (clock_monotonic_us() > until) fail_msg("a parked writer is never let in");
    }
}

unsigned fake_check_all(void) {
    unsigned failed = 0;
    for (unsigned key = 0; key < fake.keys; key++)
        failed += fake.model[key].exists && fake_get(key) != 0;
    return failed;
}

void fake_delete_all(void) {
    for (unsigned key = 0; key < fake.keys; key++)
        fake_delete(key);
}

uint64_t fake_live(enum page_tag tag) {
    uint64_t count = 0;
    for (unsigned key = 0; key < fake.keys; key++) {
        if (!fake.model[key].exists) continue;
        if (fake_where(key) == tag)
            count++;
        else if (fake_is_clean(key)) {
            uint64_t lower = kind(key) == 0 ? fake.entries[key]->ref : page_ref_dram(*ref_of(key))->lower;
            count += page_ref_tag(lower) == tag;
        }
    }
    return count;
}
