/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: the loader of RDB files, from hostile bytes. The first byte chooses: the rest is a file;
 * or what stands behind a sound head, without a checksum, so that more of it is reached. Whatever is loaded
 * must be sound (db_check), save, and load again to as many keys. Run it in
 * an empty folder, as it saves there.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "keyspace/db.h"
#include "persist/persist_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t keys(void) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < db_count(); i++)
        sum += db_size(db_at(i));
    return sum;
}

static void drop(void) {
    db_flush(NULL, 0);
    while (db_reap_some(INT64_MAX)) {
    }
}

static void load(struct bytes file) {
    struct persist_load *run;
    if (persist__load_memory(file, 0, &run) != 0) return;
    int status;
    while ((status = persist_load_step(run, 64)) > 0) {
    }
    persist_load_end(run);
    for (unsigned i = 0; i < db_count(); i++)
        db_check(db_at(i));
    uint64_t before = keys();
    if (before > 0) {
        if (persist_save(0) != 0) abort();
        drop();
        if (persist_load_all(0) != 0 || keys() > before) abort(); /* some may be due by now */
    }
    drop();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char head[] = "REDIS0012";
    static int started;
    if (!started) {
        hash_seed_init();
        log_set_level(LOG_LEVEL_NOTHING);
        db_init_all(16);
        started = 1;
    }
    clock_update();
    if (size == 0) return 0;
    size_t head_size = data[0] & 1 ? sizeof head - 1 : 0;
    persist_config.checksum = !(data[0] & 1);
    uint8_t *exact = malloc(head_size + size - 1 + 1);
    memcpy(exact, head, head_size);
    memcpy(exact + head_size, data + 1, size - 1);
    uint8_t *file =
        malloc(head_size + size - 1 + (head_size + size == 1)); /* so that a byte too far is seen */
    memcpy(file, exact, head_size + size - 1);
    free(exact);
    load(bytes_of(file, head_size + size - 1));
    free(file);
    return 0;
}
