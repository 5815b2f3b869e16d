/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the backend may take of memory: how the budget is divided, and how a running engine is brought to
 * another one. A few MB are the engine's; half of the rest of the budget are memtables; a quarter of the
 * budget are indexes.
 *
 * Threads: at open the executor; then the keeper alone, as the engine takes its locks and writes a file when
 * options change. The executor only leaves the new budget in memory_wanted.
 */
#include <stdio.h>

#include "base/fault_point.h"
#include "base/log.h"
#include "rocks/rocks_internal.h"

#define MEMORY_MIN       (6u << 20) /* with less the engine does not go */
#define WRITE_BUFFER_MIN (1u << 20)
#define WRITE_BUFFER_MAX (64u << 20)
#define ARENA_SHARE      8u         /* of a write buffer: what a memtable grows by, */
#define ARENA_MAX        (1u << 20) /* at most */
#define RECORD_BYTES_MIN (4u << 20) /* records up to here are always taken */

void rocks__memory_divide(uint64_t memory_max, int own_reader, struct rocks_shares *shares_out) {
    if (memory_max < MEMORY_MIN) memory_max = MEMORY_MIN;
    uint64_t engine = memory_max / 2 < ROCKS_ENGINE_BYTES ? memory_max / 2 : ROCKS_ENGINE_BYTES;
    shares_out->write_buffer =
        rocks__clamp((memory_max - engine) / 2 / ROCKS_WRITE_BUFFERS, WRITE_BUFFER_MIN, WRITE_BUFFER_MAX);
    shares_out->arena = rocks__clamp(shares_out->write_buffer / ARENA_SHARE, 0, ARENA_MAX);
    uint64_t index = memory_max / 4;
    shares_out->cache = own_reader ? index / 4 : index;
    shares_out->tables = own_reader ? index - shares_out->cache : 0;
}

uint32_t rocks__memory_record_max(uint64_t memory_max) {
    return (uint32_t)rocks__clamp(memory_max / 4, RECORD_BYTES_MIN, PAGE_BYTES_MAX);
}

/* Memtables of another size, from the present one on: the engine gives a larger one up at once if told to.
 * Whether it took that. */
static int set_write_buffer(struct tier_backend *backend, const struct rocks_shares *shares) {
    char write_buffer[24], arena[24], *text = NULL;
    snprintf(write_buffer, sizeof write_buffer, "%llu", (unsigned long long)shares->write_buffer);
    snprintf(arena, sizeof arena, "%llu", (unsigned long long)shares->arena);
    const char *const names[] = {"write_buffer_size", "arena_block_size"}, *const values[] = {write_buffer,
                                                                                              arena};
    if (fault_point_fails(FAULT_ROCKS_OPTIONS))
        text = strdup("injected failure");
    else
        rocksdb_set_options(backend->db, 2, names, values, &text);
    if (text == NULL && shares->write_buffer < backend->shares.write_buffer) {
        rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
        rocksdb_flushoptions_set_wait(options, 0);
        rocksdb_flush(backend->db, options, &text);
        rocksdb_flushoptions_destroy(options);
    }
    if (text == NULL) return 1;
    log_warning("NVMe tier: its memory does not follow maxmemory, it is tried again: %s", text);
    rocksdb_free(text);
    return 0;
}

void rocks__memory_apply(struct tier_backend *backend) {
    struct rocks_shares shares;
    rocks__memory_divide(__atomic_load_n(&backend->memory_wanted, __ATOMIC_RELAXED), backend->own != NULL,
                         &shares);
    if (memcmp(&shares, &backend->shares, sizeof shares) == 0) return;
    if (shares.write_buffer != backend->shares.write_buffer && !set_write_buffer(backend, &shares)) return;
    if (backend->cache != NULL) rocksdb_cache_set_capacity(backend->cache, shares.cache);
    rocks__tables_set_memory(&backend->tables, shares.tables);
    backend->shares = shares;
}
