/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_tier_conformance firn_rocks firn_pmem firn_tiering */
/*
 * Goal: whatever the placement and the timing, a value reads as what was set last. Method: random set, get,
 * change, delete, demote and stress against the model of tier_fake.c (which verifies every read), under
 * memory pressure, with PMEM, NVMe, both, the real backends, and forced placements; several readers wait at a
 * time, so that reads, moves and changes overlap.
 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "pmem/pmem.h"
#include "rocks/rocks.h"
#include "tier_fake.h"

#define MIB     (1u << 20)
#define READERS 16u

struct setting {
    const char *name;
    const struct tier_backend_ops *pmem, *nvme;
    uint64_t memory_max;
    enum tier_stress stress;
    unsigned keys, steps;
    uint32_t bytes_most;
};

struct reader {
    struct tier_read *read;
    int ready;
    unsigned key;
};
static struct reader readers[READERS];

static void reader_ready(void *ctx) {
    ((struct reader *)ctx)->ready = 1;
}

/* One run of the reader's command; it may have to wait (again). */
static void reader_run(struct reader *reader) {
    struct fault_set set;
    struct tier_read *old = reader->read;
    reader->read = NULL;
    reader->ready = 0;
    if (fake.model[reader->key].exists) {
        fault_begin(&set, FAULT_ASYNC);
        int error = fake_try_get(reader->key);
        fault_end(&set);
        if (error == FIRN_EFAULT)
            reader->read = tier_read(&set, reader_ready, reader);
        else
            assert_int_equal(error, 0);
    }
    if (old != NULL) tier_read_done(old);
}

static void readers_step(void) {
    for (unsigned i = 0; i < READERS; i++) {
        struct reader *reader = &readers[i];
        if (reader->read != NULL && reader->ready)
            reader_run(reader);
        else if (reader->read != NULL && random_below(200) == 0) { /* the client goes away */
            tier_read_done(reader->read);
            reader->read = NULL;
        }
    }
}

static void any_read(unsigned key) {
    struct reader *reader = &readers[random_below(READERS)];
    if (reader->read != NULL) return;
    reader->key = key;
    reader_run(reader);
}

static void step(const struct setting *setting) {
    /* A tenth of the keys gets most of the traffic. */
    unsigned keys = random_below(10) < 7 ? setting->keys / 10 : setting->keys;
    unsigned key = (unsigned)random_below(keys);
    uint32_t bytes = 1 + (uint32_t)random_below(random_below(8) == 0 ? setting->bytes_most : 300);
    const char *message;
    switch (random_below(12)) {
    case 0:
    case 1:
    case 2:
        if (fake_admit(&message) != 0) fail_msg("refused: %s", message);
        fake_set(key, bytes);
        break;
    case 3:
        if (fake_admit(&message) != 0) fail_msg("refused: %s", message);
        assert_int_equal(fake_append(key, bytes), 0);
        break;
    case 4: fake_delete(key); break;
    case 5:
        if (fake.model[key].exists && fake_where(key) != PAGE_TAG_NVME && random_below(4) == 0) {
            enum page_tag to = random_below(2) ? PAGE_TAG_PMEM : PAGE_TAG_NVME;
            int error = fake_demote(key, to);
            assert_true(error == 0 || error == FIRN_EBUSY || (error == FIRN_EUNSUPPORTED && !tier_has(to)) ||
                        error == FIRN_ENOSPACE);
        }
        break;
    case 6: assert_int_equal(fake_get(key), 0); break;
    default: any_read(key);
    }
}

static int remove_one(const char *path, const struct stat *status, int flag, struct FTW *where) {
    (void)status, (void)flag, (void)where;
    return remove(path);
}

static void run(void **state) {
    const struct setting *setting = *state;
    size_t before = memory_used();
    random_seed(setting->keys + setting->steps);
    fake_init(setting->keys);
    struct tier_config config =
        fake_config(setting->pmem, 8 * MIB, setting->nvme, 256 * MIB, setting->memory_max);
    char folder[] = "/tmp/firn-tier-model-XXXXXX", pmem_path[64], nvme_path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(pmem_path, sizeof pmem_path, "%s/pmem", folder);
    snprintf(nvme_path, sizeof nvme_path, "%s/nvme", folder);
    if (setting->pmem != NULL) config.pmem_path = pmem_path;
    if (setting->nvme != NULL) config.nvme_path = nvme_path;
    fake_start(&config);
    tier_set_stress(setting->stress);
    const char *more = getenv("FIRN_TEST_FACTOR");
    unsigned steps = setting->steps * (more != NULL ? (unsigned)strtoul(more, NULL, 10) : 1);
    for (unsigned i = 0; i < steps; i++) {
        step(setting);
        if (setting->stress != TIER_STRESS_OFF) tier_stress_now();
        if (i % 7 == 0) {
            tier_complete();
            (void)tier_turn();
        }
        readers_step();
        if (i % 1000 == 0) tier_cron(i % 2000 == 0);
    }
    tier_set_stress(TIER_STRESS_OFF);
    for (unsigned i = 0; i < READERS; i++) {
        if (readers[i].read != NULL) tier_read_done(readers[i].read);
        readers[i].read = NULL;
    }
    assert_int_equal(fake_check_all(), 0);
    struct tier_stats nvme, pmem;
    tier_stats(PAGE_TAG_NVME, &nvme);
    tier_stats(PAGE_TAG_PMEM, &pmem);
    printf("%s: pmem %lu down %lu up %lu clean %lu cancelled; nvme %lu down %lu up %lu clean %lu cancelled\n",
           setting->name, pmem.demotions, pmem.promotions, pmem.clean_drops, pmem.cancelled, nvme.demotions,
           nvme.promotions, nvme.clean_drops, nvme.cancelled);
    fake_settle();
    fake_delete_all();
    fake_settle();
    tier_stats(PAGE_TAG_NVME, &nvme);
    tier_stats(PAGE_TAG_PMEM, &pmem);
    assert_int_equal(nvme.bytes_live + pmem.bytes_live, 0);
    tier_stop();
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(memory_used(), before);
}

int main(void) {
    static struct setting settings[] = {
        {"both, pressure", &tier_null_pmem_ops, &tier_null_ops, 3 * MIB, TIER_STRESS_OFF, 5000, 100000, 9000},
        {"nvme, pressure", NULL, &tier_null_ops, 3 * MIB, TIER_STRESS_OFF, 5001, 100000, 9000},
        {"pmem, pressure", &tier_null_pmem_ops, NULL, 3 * MIB, TIER_STRESS_OFF, 900, 60000, 9000},
        {"both, no limit", &tier_null_pmem_ops, &tier_null_ops, 0, TIER_STRESS_OFF, 1000, 60000, 3000},
        {"forced pmem", &tier_null_pmem_ops, &tier_null_ops, 0, TIER_STRESS_PMEM, 300, 8000, 5000},
        {"forced nvme", &tier_null_pmem_ops, &tier_null_ops, 0, TIER_STRESS_NVME, 300, 8000, 5000},
        {"real, pressure", &pmem_ops, &rocks_ops, 16 * MIB, TIER_STRESS_OFF, 5002, 50000, 60000},
        {"rocks, pressure", NULL, &rocks_ops, 16 * MIB, TIER_STRESS_OFF, 5003, 50000, 60000},
        {"real, at random", &pmem_ops, &rocks_ops, 0, TIER_STRESS_RANDOM, 301, 3000, 5000},
        {"at random", &tier_null_pmem_ops, &tier_null_ops, 0, TIER_STRESS_RANDOM, 300, 8000, 5000},
    };
    struct CMUnitTest tests[sizeof settings / sizeof settings[0]];
    for (unsigned i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        tests[i] =
            (struct CMUnitTest){.name = settings[i].name, .test_func = run, .initial_state = &settings[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
