/* SPDX-License-Identifier: BSD-3-Clause */
/* links: firn_rocks firn_tiering firn_base */
/*
 * Goal: our reader of RocksDB's table files finds every record that is there, none that is not, and never
 * gives out another value, whatever bytes it is fed. Method: files written by RocksDB with each setting the
 * tier uses (index in one level or in two, blocks of 4 and 16 KB, dense ids and gaps, large, compressible and
 * incompressible records, before and after compaction); then one small file with each of its bytes flipped,
 * and cut at each length.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "rocks/rocks_internal.h"

static char folder[64];

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "%s", "/tmp/firn-test-table-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0;
}

/* --- files --- */

struct shape {
    unsigned levels;
    size_t block_bytes;
    unsigned records, bytes_max; /* sizes are random up to it */
    unsigned gap_max;            /* ids rise by 1 to this */
    int compact;
};

struct table_set {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *block;
    rocksdb_cache_t *cache;
    uint64_t *ids;
    uint32_t *sizes;
    unsigned count;
};

/* The payload of an id: half of its bytes random, or all, or none. */
static void payload(uint64_t id, uint8_t *data, uint32_t bytes) {
    uint64_t state = id * 0x9e3779b97f4a7c15ull + 7;
    for (uint32_t i = 0; i < bytes; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        data[i] = (uint8_t)(id % 3 == 0 || (id % 3 == 1 && i % 2 == 0) ? state >> 56 : 'f');
    }
}

static void open_set(struct table_set *set, const struct shape *shape) {
    char *text = NULL, path[100];
    snprintf(path, sizeof path, "%s/db", folder);
    set->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(set->options, 1);
    rocksdb_options_set_compression(set->options, rocksdb_lz4_compression);
    rocksdb_options_set_num_levels(set->options, 2);
    rocksdb_options_set_disable_auto_compactions(set->options, 1);
    rocksdb_options_set_write_buffer_size(set->options, 1u << 20);
    rocksdb_options_set_target_file_size_base(set->options, 8u << 20);
    set->block = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_format_version(set->block, 5);
    rocksdb_block_based_options_set_checksum(set->block, 4);
    rocksdb_block_based_options_set_index_block_restart_interval(set->block, 16);
    rocksdb_block_based_options_set_block_size(set->block, shape->block_bytes);
    set->cache = rocksdb_cache_create_lru(1u << 20);
    rocksdb_block_based_options_set_block_cache(set->block, set->cache);
    if (shape->levels == 2) {
        rocksdb_block_based_options_set_index_type(set->block, 2);
        rocksdb_block_based_options_set_cache_index_and_filter_blocks(set->block, 1);
    }
    rocksdb_options_set_block_based_table_factory(set->options, set->block);
    set->db = rocksdb_open(set->options, path, &text);
    assert_null(text);
}

static void fill_set(struct table_set *set, const struct shape *shape) {
    char *text = NULL, key[ROCKS_KEY_BYTES];
    uint8_t *value = memory_alloc(shape->bytes_max + ROCKS_HEADER_BYTES + 1);
    rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
    random_seed(42);
    set->count = shape->records;
    set->ids = memory_alloc(set->count * sizeof *set->ids);
    set->sizes = memory_alloc(set->count * sizeof *set->sizes);
    rocksdb_writeoptions_disable_WAL(options, 1);
    uint64_t id = ROCKS_CHUNK_IDS - 3;
    for (unsigned i = 0; i < set->count; i++) {
        id += 1 + random_below(shape->gap_max);
        uint32_t bytes = (uint32_t)random_below(shape->bytes_max);
        set->ids[i] = id;
        set->sizes[i] = bytes;
        payload(id, value + ROCKS_HEADER_BYTES, bytes);
        bytes_store64(value, hash_checksum(bytes_of(value + ROCKS_HEADER_BYTES, bytes), id));
        rocks__key(id, key);
        rocksdb_put(set->db, options, key, sizeof key, (char *)value, bytes + ROCKS_HEADER_BYTES, &text);
        assert_null(text);
    }
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flush(set->db, flush, &text);
    assert_null(text);
    if (shape->compact) rocksdb_compact_range(set->db, NULL, 0, NULL, 0);
    rocksdb_flushoptions_destroy(flush);
    rocksdb_writeoptions_destroy(options);
    memory_free(value);
}

static void close_set(struct table_set *set) {
    rocksdb_close(set->db);
    rocksdb_options_destroy(set->options);
    rocksdb_block_based_options_destroy(set->block);
    rocksdb_cache_destroy(set->cache);
    memory_free(set->ids);
    memory_free(set->sizes);
}

/* --- reading --- */

/* As the reader does: status of looking ${id} up in the table; its page. */
static int look(const struct rocks_table *table, uint64_t id, struct page **page_out) {
    static uint8_t scratch[ROCKS_BLOCK_BYTES_MAX];
    uint64_t offset;
    uint32_t bytes;
    struct bytes content, value;
    rocks__table_block(table, id, &offset, &bytes);
    uint8_t *block = malloc(bytes); /* exact, for the address sanitizer */
    assert_non_null(block);
    int error = pread(table->file, block, bytes, (off_t)offset) == (ssize_t)bytes ? 0 : FIRN_EIO;
    if (error == 0) error = rocks__block_content(block, bytes, scratch, sizeof scratch, &content);
    if (error == 0) error = rocks__block_find(content, id, &value);
    if (error == 0) error = rocks__page_of_value(id, value, page_out);
    free(block);
    return error;
}

static void check_page(struct page *page, uint64_t id, uint32_t bytes) {
    uint8_t *data = memory_alloc(bytes + 1u);
    payload(id, data, bytes);
    assert_int_equal(page->bytes, bytes);
    assert_memory_equal(page->data, data, bytes);
    memory_free(data);
    page_free_unshared(page);
}

static unsigned check_table(const struct table_set *set, const struct rocks_table *table) {
    unsigned found = 0;
    for (unsigned i = 0; i < set->count; i++) {
        uint64_t id = set->ids[i];
        struct page *page = NULL;
        if (id < table->first_id || id > table->last_id) continue;
        int error = look(table, id, &page);
        if (error == FIRN_ETOOBIG) continue; /* for the engine */
        assert_int_equal(error, 0);
        check_page(page, id, set->sizes[i]);
        found++;
        if (i + 1 < set->count && set->ids[i + 1] > id + 1 && id + 1 <= table->last_id)
            assert_int_equal(look(table, id + 1, &page), FIRN_ENOTFOUND);
    }
    return found;
}

static uint64_t key_id(const char *key) {
    uint64_t id;
    memcpy(&id, key, sizeof id);
    return __builtin_bswap64(id);
}

static void run_shape(const struct shape *shape) {
    struct table_set set;
    open_set(&set, shape);
    fill_set(&set, shape);
    const rocksdb_livefiles_t *files = rocksdb_livefiles(set.db);
    unsigned found = 0;
    int file_count = rocksdb_livefiles_count(files);
    assert_true(file_count > 0);
    for (int i = 0; i < file_count; i++) {
        char path[200];
        size_t bytes;
        uint64_t first = key_id(rocksdb_livefiles_smallestkey(files, i, &bytes));
        uint64_t last = key_id(rocksdb_livefiles_largestkey(files, i, &bytes));
        struct rocks_table *table;
        snprintf(path, sizeof path, "%s/db%s", folder, rocksdb_livefiles_name(files, i));
        assert_int_equal(rocks__table_open(path, 0, shape->levels, first, last, &table), 0);
        assert_true(table->blocks > 0 && table->memory_bytes < 12ull * table->blocks + 200);
        found += check_table(&set, table);
        rocks__table_destroy(table);
        /* It is not one of another kind, nor holds other ids. */
        if (rocks__table_open(path, 0, 3 - shape->levels, first, last, &table) == 0) {
            struct page *page = NULL;
            assert_int_not_equal(look(table, first, &page), 0);
            rocks__table_destroy(table);
        }
        assert_int_not_equal(rocks__table_open(path, 0, shape->levels, last + 1, last + 9, &table), 0);
    }
    assert_true(shape->bytes_max > ROCKS_BLOCK_BYTES_MAX - 8192 ? found > 0 : found == set.count);
    rocksdb_livefiles_destroy(files);
    close_set(&set);
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s/db'", folder);
    assert_int_equal(system(command), 0);
}

static void test_shapes(void **state) {
    (void)state;
    for (unsigned levels = 1; levels <= 2; levels++) {
        for (int compact = 0; compact < 2; compact++) {
            run_shape(&(struct shape){levels, 4096, 20000, 300, 1, compact});
            run_shape(&(struct shape){levels, 4096, 5000, 1500, 3, compact});
            run_shape(&(struct shape){levels, 16384, 5000, 1500, 1000, compact});
            run_shape(&(struct shape){levels, 16384, 3000, 20, 100000, compact});
            run_shape(&(struct shape){levels, 4096, 200, 100000, 2, compact});
            run_shape(&(struct shape){levels, 4096, 1, 10, 1, compact});
        }
    }
}

/* --- damage --- */

struct victim {
    char path[200];
    uint8_t *data;
    size_t bytes, data_end; /* data blocks end there */
    uint64_t first, last;
};

static void read_victim(struct table_set *set, struct victim *victim, unsigned levels) {
    const rocksdb_livefiles_t *files = rocksdb_livefiles(set->db);
    size_t bytes;
    char path[200];
    struct stat status;
    assert_int_equal(rocksdb_livefiles_count(files), 1);
    victim->first = key_id(rocksdb_livefiles_smallestkey(files, 0, &bytes));
    victim->last = key_id(rocksdb_livefiles_largestkey(files, 0, &bytes));
    snprintf(path, sizeof path, "%s/db%s", folder, rocksdb_livefiles_name(files, 0));
    rocksdb_livefiles_destroy(files);
    assert_int_equal(stat(path, &status), 0);
    victim->bytes = (size_t)status.st_size;
    victim->data = memory_alloc(victim->bytes);
    int file = open(path, O_RDONLY);
    assert_int_equal(read(file, victim->data, victim->bytes), victim->bytes);
    close(file);
    struct rocks_table *table;
    assert_int_equal(rocks__table_open(path, 0, levels, victim->first, victim->last, &table), 0);
    victim->data_end = table->offsets[table->blocks];
    rocks__table_destroy(table);
    snprintf(victim->path, sizeof victim->path, "%s/victim", folder);
}

static void write_victim(const struct victim *victim, size_t bytes) {
    int file = open(victim->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(file, victim->data, bytes), bytes);
    close(file);
}

/* Whatever is there: records come out right or not at all. Returns how many came out. */
static unsigned probe(const struct table_set *set, const struct victim *victim, unsigned levels,
                      unsigned step) {
    struct rocks_table *table;
    unsigned good = 0;
    if (rocks__table_open(victim->path, 0, levels, victim->first, victim->last, &table) != 0) return 0;
    for (unsigned i = 0; i < set->count; i += step) {
        struct page *page = NULL;
        if (look(table, set->ids[i], &page) != 0) {
            assert_null(page);
            continue;
        }
        check_page(page, set->ids[i], set->sizes[i]);
        good++;
    }
    rocks__table_destroy(table);
    return good;
}

static void run_damage(unsigned levels) {
    struct shape shape = {levels, 4096, 300, 150, 2, 0};
    struct table_set set;
    struct victim victim;
    random_seed(levels);
    open_set(&set, &shape);
    fill_set(&set, &shape);
    read_victim(&set, &victim, levels);
    write_victim(&victim, victim.bytes);
    assert_int_equal(probe(&set, &victim, levels, 1), set.count);
    unsigned lost = 0;
    int file = open(victim.path, O_WRONLY);
    for (size_t at = 0; at < victim.bytes; at++) {
        for (unsigned round = 0; round < (at < victim.data_end ? 1 : 4); round++) {
            uint8_t flipped = (uint8_t)(victim.data[at] ^ (1 + random_below(255)));
            assert_int_equal(pwrite(file, &flipped, 1, (off_t)at), 1);
            unsigned good = probe(&set, &victim, levels, at < victim.data_end ? 3 : 11);
            lost += good < set.count / 11;
        }
        assert_int_equal(pwrite(file, victim.data + at, 1, (off_t)at), 1);
    }
    close(file);
    assert_true(lost > 0); /* the damage was seen */
    assert_int_equal(probe(&set, &victim, levels, 1), set.count);
    for (size_t bytes = 0; bytes < victim.bytes; bytes++) {
        write_victim(&victim, bytes);
        assert_int_equal(probe(&set, &victim, levels, 7), 0); /* the footer is gone */
    }
    memory_free(victim.data);
    close_set(&set);
}

static void test_damage_one_level(void **state) {
    (void)state;
    run_damage(1);
}

static void test_damage_two_levels(void **state) {
    (void)state;
    run_damage(2);
}

/* Random bytes as a block's content. */
static void test_noise(void **state) {
    (void)state;
    random_seed(3);
    for (unsigned round = 0; round < 200000; round++) {
        size_t bytes = random_below(80);
        uint8_t *block = malloc(bytes + 1), scratch[256];
        for (size_t i = 0; i < bytes; i++)
            block[i] = (uint8_t)(round % 2 ? random_below(256) : random_below(20));
        struct bytes content, value;
        if (bytes > 5 && round % 3 == 0) block[bytes - 5] = round % 2 ? 4 : 0;
        if (rocks__block_content(block, bytes, scratch, sizeof scratch, &content) == 0)
            (void)!rocks__block_find(content, random_below(100), &value);
        if (rocks__block_find(bytes_of(block, bytes), random_below(100), &value) == 0)
            assert_true(value.data >= block && value.data + value.size <= block + bytes);
        free(block);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_one_level, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_two_levels, setup, teardown),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
