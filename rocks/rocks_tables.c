/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which table files there are, for the reader of our own (rocks_read.c). The keeper asks the engine for the
 * list after flushes and compactions, opens what is new and lets go of what is gone; the executor looks ids
 * up. Ids in no known table (memtables, files not looked at yet, files beyond the memory for indexes or not
 * understood) are the engine's to read.
 *
 * The executor's side is the sorted array, under a lock held for a search or an exchange of the array. A
 * table leaves the array first and is closed once nobody reads from it, so space comes back when the last
 * read ends.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "rocks/rocks_internal.h"

/* A live file, known by number; without a table if it is not understood or there was no room. */
struct rocks_file {
    uint64_t number, first_id, last_id;
    struct rocks_table *table;
    int refused; /* it was looked at and is not understood */
};

void rocks__tables_init(struct rocks_tables *tables) {
    memset(tables, 0, sizeof *tables);
    pthread_mutex_init(&tables->lock, NULL);
}

void rocks__tables_fini(struct rocks_tables *tables) {
    for (size_t i = 0; i < tables->file_count; i++)
        rocks__table_destroy(tables->files[i].table);
    while (tables->dying != NULL) {
        struct rocks_table *table = tables->dying;
        tables->dying = table->next;
        rocks__table_destroy(table);
    }
    memory_free(tables->files);
    memory_free(tables->sorted);
    pthread_mutex_destroy(&tables->lock);
}

void rocks__tables_set_memory(struct rocks_tables *tables, uint64_t bytes) {
    __atomic_store_n(&tables->memory_wanted, bytes, __ATOMIC_RELAXED);
}

struct rocks_table *rocks__tables_get(struct rocks_tables *tables, uint64_t id) {
    struct rocks_table *found = NULL;
    pthread_mutex_lock(&tables->lock);
    size_t low = 0, high = tables->sorted_count;
    while (low < high) { /* the first table that ends at the id or after it */
        size_t middle = low + (high - low) / 2;
        if (tables->sorted[middle].last_id >= id)
            high = middle;
        else
            low = middle + 1;
    }
    if (low < tables->sorted_count && tables->sorted[low].first_id <= id) {
        found = tables->sorted[low].table;
        __atomic_add_fetch(&found->reading, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&tables->lock);
    return found;
}

void rocks__tables_put(struct rocks_table *table) {
    unsigned before = __atomic_fetch_sub(&table->reading, 1, __ATOMIC_RELEASE);
    FIRN_ASSERT(before > 0);
}

/* --- the keeper's side --- */

static void collect_dying(struct rocks_tables *tables) {
    for (struct rocks_table **link = &tables->dying; *link != NULL;) {
        struct rocks_table *table = *link;
        if (__atomic_load_n(&table->reading, __ATOMIC_ACQUIRE) != 0) {
            link = &table->next;
            continue;
        }
        *link = table->next;
        tables->memory_bytes -= table->memory_bytes;
        tables->open_count--;
        rocks__table_destroy(table);
    }
}

static int compare_files(const void *a, const void *b) {
    const struct rocks_file *one = a, *other = b;
    return one->number < other->number ? -1 : one->number > other->number;
}

static int compare_tables(const void *a, const void *b) {
    const struct rocks_table_place *one = a, *other = b;
    if (one->last_id != other->last_id) return one->last_id < other->last_id ? -1 : 1;
    return one->first_id < other->first_id ? -1 : one->first_id > other->first_id;
}

static int id_of_key(const char *key, size_t bytes, uint64_t *id_out) {
    if (key == NULL || bytes != ROCKS_KEY_BYTES) return FIRN_EINVALID;
    memcpy(id_out, key, sizeof *id_out);
    *id_out = __builtin_bswap64(*id_out);
    return 0;
}

/* The engine's live files, by number; to be freed. */
static struct rocks_file *list_files(struct tier_backend *backend, size_t *count_out) {
    const rocksdb_livefiles_t *list = rocksdb_livefiles(backend->db);
    size_t listed = (size_t)rocksdb_livefiles_count(list), count = 0;
    struct rocks_file *files = memory_alloc((listed + 1) * sizeof *files);
    for (size_t i = 0; i < listed; i++) {
        struct rocks_file file = {.table = NULL};
        size_t first_bytes, last_bytes;
        const char *name = rocksdb_livefiles_name(list, (int)i);
        const char *first = rocksdb_livefiles_smallestkey(list, (int)i, &first_bytes);
        const char *last = rocksdb_livefiles_largestkey(list, (int)i, &last_bytes);
        if (id_of_key(first, first_bytes, &file.first_id) != 0 ||
            id_of_key(last, last_bytes, &file.last_id) != 0 || file.first_id > file.last_id || name == NULL)
            continue;
        file.number = strtoull(name + (name[0] == '/'), NULL, 10);
        files[count++] = file;
    }
    rocksdb_livefiles_destroy(list);
    qsort(files, count, sizeof *files, compare_files);
    *count_out = count;
    return files;
}

static void open_file(struct tier_backend *backend, struct rocks_file *file) {
    struct rocks_tables *tables = &backend->tables;
    if (tables->open_count >= tables->files_max || tables->memory_bytes >= tables->memory_max) return;
    size_t bytes = strlen(backend->db_path) + 32;
    char *path = memory_alloc(bytes);
    snprintf(path, bytes, "%s/%06llu.sst", backend->db_path, (unsigned long long)file->number);
    int error = rocks__table_open(path, backend->direct, backend->index_levels, file->first_id, file->last_id,
                                  &file->table);
    memory_free(path);
    if (error != 0) {
        /* EIO: mostly a file that is gone already. */
        file->refused = 1;
        if (error != FIRN_EIO && !tables->logged) {
            tables->logged = 1;
            log_notice("NVMe tier: table %llu is read through the engine (%s)",
                       (unsigned long long)file->number, error_text(error));
        }
        return;
    }
    tables->memory_bytes += file->table->memory_bytes;
    tables->open_count++;
}

/* Take tables over from the old list into ${files}, as far as memory goes; open those of new files. What
 * stays in the old list retires. */
static void merge_files(struct tier_backend *backend, struct rocks_file *files, size_t count) {
    struct rocks_tables *tables = &backend->tables;
    uint64_t retiring = 0; /* bytes */
    size_t old = 0;
    for (size_t i = 0; i < count; i++) {
        while (old < tables->file_count && tables->files[old].number < files[i].number)
            old++;
        if (old < tables->file_count && tables->files[old].number == files[i].number) {
            struct rocks_table *table = tables->files[old].table;
            if (table != NULL &&
                tables->memory_bytes - retiring >= tables->memory_max + table->memory_bytes) {
                retiring += table->memory_bytes;
                continue;
            }
            files[i].table = table;
            files[i].refused = tables->files[old].refused;
            tables->files[old].table = NULL;
        }
        if (files[i].table == NULL && !files[i].refused) open_file(backend, &files[i]);
    }
}

static void publish(struct rocks_tables *tables) {
    struct rocks_table_place *sorted = memory_alloc((tables->file_count + 1) * sizeof *sorted);
    size_t count = 0;
    for (size_t i = 0; i < tables->file_count; i++) {
        struct rocks_table *table = tables->files[i].table;
        if (table != NULL)
            sorted[count++] = (struct rocks_table_place){table->first_id, table->last_id, table};
    }
    qsort(sorted, count, sizeof *sorted, compare_tables);
    pthread_mutex_lock(&tables->lock);
    struct rocks_table_place *before = tables->sorted;
    tables->sorted = sorted;
    tables->sorted_count = count;
    pthread_mutex_unlock(&tables->lock);
    memory_free(before);
}

/* When half of the memory for indexes is taken, files from then on get larger blocks, a quarter as many;
 * where there is plenty of memory again, small ones. */
static void adapt_blocks(struct tier_backend *backend) {
    struct rocks_tables *tables = &backend->tables;
    int big = tables->memory_bytes >= tables->memory_max / (tables->big_blocks ? 8 : 2);
    if (big == tables->big_blocks) return;
    tables->big_blocks = big;
    char value[40], *text = NULL;
    snprintf(value, sizeof value, "{block_size=%u}", big ? ROCKS_BLOCK_BYTES_BIG : ROCKS_BLOCK_BYTES);
    const char *const names[] = {"block_based_table_factory"}, *const values[] = {value};
    rocksdb_set_options(backend->db, 1, names, values, &text);
    if (text == NULL) return;
    log_warning("NVMe tier: blocks of another size cannot be had: %s", text);
    rocksdb_free(text);
}

void rocks__tables_refresh(struct tier_backend *backend) {
    struct rocks_tables *tables = &backend->tables;
    int64_t now_us = clock_monotonic_us();
    collect_dying(tables);
    uint64_t version = 0;
    if (rocksdb_property_int(backend->db, "rocksdb.current-super-version-number", &version) != 0) return;
    uint64_t memory_max = __atomic_load_n(&tables->memory_wanted, __ATOMIC_RELAXED);
    if (version == tables->version && memory_max == tables->memory_max) return;
    if (now_us < tables->not_before_us) return;
    tables->memory_max = memory_max;
    size_t count;
    struct rocks_file *files = list_files(backend, &count), *before = tables->files;
    size_t before_count = tables->file_count;
    merge_files(backend, files, count);
    tables->files = files;
    tables->file_count = count;
    tables->version = version;
    publish(tables);
    for (size_t i = 0; i < before_count; i++) {
        if (before[i].table == NULL) continue;
        before[i].table->next = tables->dying;
        tables->dying = before[i].table;
    }
    memory_free(before);
    collect_dying(tables);
    adapt_blocks(backend);
    __atomic_store_n(&tables->memory_known, tables->memory_bytes + count * sizeof *files, __ATOMIC_RELAXED);
    /* With very many files the list is not taken at each turn. */
    tables->not_before_us = now_us + (clock_monotonic_us() - now_us) * 20;
}
