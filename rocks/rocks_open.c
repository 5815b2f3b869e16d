/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening the NVMe tier: is the folder ours, does its file system take direct I/O, and the RocksDB options,
 * each of which was measured (rocks/README.md).
 *
 * The folder holds the file "firn-tier" and the subfolder "db", nothing else; a folder with anything else in
 * it is not touched.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault_point.h"
#include "base/memory.h"
#include "rocks/rocks_internal.h"

#define MARKER_NAME       "firn-tier"
#define MARKER_TEXT       "Firn NVMe tier: scratch data, safe to delete when no server uses it.\n"
#define INDEX_ENTRY_BYTES 10u         /* a block's share of the index in memory: 6 to 9 measured */
#define FILE_BYTES        (32u << 20) /* files made by compactions are at least this, or an 8192th of the tier */
#define FILE_BYTES_MAX    (128u << 20)
#define FILES_WANTED      32768u /* descriptors to ask the system for */
#define FILES_MERGE       4096u /* table files from which on they are merged; or a quarter of the descriptors */

/* --- the folder --- */

static int name_is_ours(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, MARKER_NAME) == 0 ||
           strcmp(name, "db") == 0 || strcmp(name, "lost+found") == 0;
}

/* Whether the marker says that this folder is ours: 1, 0 (there is none). */
static int folder_marked(const char *path) {
    char name[4096], text[sizeof MARKER_TEXT] = "";
    snprintf(name, sizeof name, "%s/" MARKER_NAME, path);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t bytes = read(file, text, sizeof text - 1);
    close(file);
    return bytes == (ssize_t)sizeof MARKER_TEXT - 1 && memcmp(text, MARKER_TEXT, sizeof MARKER_TEXT - 1) == 0;
}

static int folder_check_content(const char *path, char *message, size_t message_bytes) {
    DIR *folder = opendir(path);
    if (folder == NULL) {
        snprintf(message, message_bytes,
                 "NVMe tier %s: cannot be read (%s); give Firn a folder it may write to", path,
                 strerror(errno));
        return FIRN_ESYSTEM;
    }
    int error = 0, marked = folder_marked(path);
    for (struct dirent *entry; error == 0 && (entry = readdir(folder)) != NULL;) {
        int mine = name_is_ours(entry->d_name);
        if (mine && (marked || entry->d_name[0] == '.' || strcmp(entry->d_name, "lost+found") == 0)) continue;
        snprintf(message, message_bytes,
                 "NVMe tier %s: holds \"%s\", which is not Firn's; a tier drops earlier content, so give it "
                 "an empty "
                 "folder of its own",
                 path, entry->d_name);
        error = FIRN_EINVALID;
    }
    closedir(folder);
    return error;
}

static int folder_make(const char *path, char *message, size_t message_bytes) {
    struct stat stat_now;
    if (mkdir(path, 0700) == 0 || errno == EEXIST) {
        if (stat(path, &stat_now) == 0 && S_ISDIR(stat_now.st_mode)) return 0;
        snprintf(message, message_bytes, "NVMe tier %s: is not a folder; give it a folder of its own", path);
        return FIRN_EINVALID;
    }
    snprintf(message, message_bytes,
             "NVMe tier %s: cannot be created (%s); make its parent folder, writable for Firn", path,
             strerror(errno));
    return errno == ENOSPC ? FIRN_ENOSPACE : FIRN_ESYSTEM;
}

/* Mark the folder as ours, and see what its file system can do. */
static int folder_mark(const char *path, int *direct_out, char *message, size_t message_bytes) {
    char name[4096];
    *direct_out = 0;
    if (snprintf(name, sizeof name, "%s/" MARKER_NAME, path) >= (int)sizeof name - 16) {
        snprintf(message, message_bytes, "NVMe tier: its path is too long, use a shorter one");
        return FIRN_EINVALID;
    }
    int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t bytes = file < 0 ? -1 : write(file, MARKER_TEXT, sizeof MARKER_TEXT - 1);
    int cause = errno;
    if (file >= 0) close(file);
    if (bytes != (ssize_t)sizeof MARKER_TEXT - 1) {
        snprintf(message, message_bytes,
                 "NVMe tier %s: cannot be written (%s); make it writable for Firn, with space", path,
                 strerror(cause));
        return cause == ENOSPC ? FIRN_ENOSPACE : FIRN_ESYSTEM;
    }
    file = open(name, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (file >= 0) {
        *direct_out = 1;
        close(file);
    }
    return 0;
}

uint32_t rocks__direct_align(const char *path) {
    char name[4096];
    struct statx status;
    snprintf(name, sizeof name, "%s/" MARKER_NAME, path);
    if (statx(AT_FDCWD, name, 0, STATX_DIOALIGN, &status) != 0 || !(status.stx_mask & STATX_DIOALIGN))
        return ROCKS_DIRECT_ALIGN;
    uint32_t align = status.stx_dio_offset_align;
    int fits =
        align >= 512 && ROCKS_DIRECT_ALIGN % align == 0 && status.stx_dio_mem_align <= ROCKS_DIRECT_ALIGN;
    return fits ? align : ROCKS_DIRECT_ALIGN;
}

/* --- options --- */

static void options_write_path(rocksdb_options_t *options, const struct rocks_shares *shares,
                               uint64_t bytes_max) {
    rocksdb_options_set_write_buffer_size(options, shares->write_buffer);
    rocksdb_options_set_arena_block_size(options, shares->arena);
    rocksdb_options_set_max_write_buffer_number(options, ROCKS_WRITE_BUFFERS);
    rocksdb_options_set_allow_concurrent_memtable_write(options, 0); /* there is one writer */
    rocksdb_options_set_enable_write_thread_adaptive_yield(options, 0);
    rocksdb_options_set_max_background_jobs(options, 2); /* one flush, one compaction */
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    /* Files hardly ever overlap: two levels, and each flushed file moves down at once without being
     * rewritten. */
    rocksdb_options_set_num_levels(options, 2);
    rocksdb_options_set_level0_file_num_compaction_trigger(options, 1);
    rocksdb_options_set_level0_slowdown_writes_trigger(options, 40);
    rocksdb_options_set_level0_stop_writes_trigger(options, 60);
    rocksdb_options_set_soft_pending_compaction_bytes_limit(options, 0);
    rocksdb_options_set_hard_pending_compaction_bytes_limit(options, 0);
    rocksdb_options_set_target_file_size_base(options,
                                              rocks__clamp(bytes_max / 8192, FILE_BYTES, FILE_BYTES_MAX));
    rocksdb_options_compaction_readahead_size(options, 512u << 10);
    rocksdb_options_set_writable_file_max_buffer_size(options, 512u << 10);
}

static void options_quiet(rocksdb_options_t *options) {
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_info_log_level(options, 3); /* errors */
    rocksdb_options_set_keep_log_file_num(options, 2);
    rocksdb_options_set_max_log_file_size(options, 1u << 20);
    rocksdb_options_set_manifest_preallocation_size(options, 64u << 10);
    rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
    rocksdb_options_set_create_if_missing(options, 1);
}

/* With a reader of our own the engine's indexes are for compactions and for what the reader does not know: in
 * partitions, through a small cache. Without, they are whole in memory if they fit in a quarter of the
 * budget, with bigger blocks if need be; else in partitions, too. */
static void options_table(struct tier_backend *backend) {
    backend->table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_format_version(backend->table, 5);
    rocksdb_block_based_options_set_checksum(backend->table, 4); /* XXH3 */
    rocksdb_block_based_options_set_index_block_restart_interval(backend->table, 16);
    uint64_t index_max = backend->shares.cache + backend->shares.tables, block = ROCKS_BLOCK_BYTES;
    if (backend->own == NULL && backend->bytes_max / block * INDEX_ENTRY_BYTES > index_max)
        block = ROCKS_BLOCK_BYTES_BIG;
    backend->index_levels = 1;
    if (backend->own != NULL || backend->bytes_max / block * INDEX_ENTRY_BYTES > index_max) {
        backend->index_levels = 2;
        backend->cache = rocksdb_cache_create_lru(backend->shares.cache);
        rocksdb_block_based_options_set_block_cache(backend->table, backend->cache);
        rocksdb_block_based_options_set_index_type(backend->table, 2); /* two levels */
        rocksdb_block_based_options_set_cache_index_and_filter_blocks(backend->table, 1);
        rocksdb_block_based_options_set_pin_top_level_index_and_filter(backend->table, 1);
    } else {
        rocksdb_block_based_options_set_no_block_cache(backend->table, 1);
    }
    rocksdb_block_based_options_set_block_size(backend->table, block);
    rocksdb_options_set_block_based_table_factory(backend->options, backend->table);
}

/* --- the compaction filter: drops dead records --- */

static unsigned char filter_drops(void *state, int level, const char *key, size_t key_bytes,
                                  const char *value, size_t value_bytes, char **new_value,
                                  size_t *new_value_bytes, unsigned char *changed) {
    (void)level, (void)value, (void)value_bytes, (void)new_value, (void)new_value_bytes;
    struct tier_backend *backend = state;
    *changed = 0;
    if (key_bytes != ROCKS_KEY_BYTES) return 0;
    uint64_t id;
    memcpy(&id, key, sizeof id);
    return rocks__live_test(&backend->live, __builtin_bswap64(id)) == 0;
}

static const char *filter_name(void *state) {
    (void)state;
    return "firn-liveness";
}

static void filter_destroy(void *state) {
    (void)state;
}

/* Each table file is held open; without enough descriptors for that, the engine opens and closes them as
 * needed. */
static void options_files(struct tier_backend *backend) {
    struct rlimit limit;
    uint64_t soft = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        soft = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
        if (soft < limit.rlim_cur && setrlimit(RLIMIT_NOFILE, &limit) == 0) soft = limit.rlim_cur;
    }
    backend->files_max = rocks__clamp(soft / 4, 64, FILES_MERGE);
    backend->tables.files_max = rocks__clamp(soft / 3, 80, 2 * FILES_MERGE);
    rocksdb_options_set_max_open_files(
        backend->options, soft >= FILES_WANTED ? -1 : (int)rocks__clamp(soft / 2, 64, INT32_MAX));
}

/* What the C interface has no call for. */
static void options_extra(struct tier_backend *backend) {
    char *text = NULL;
    rocksdb_options_t *extended = rocksdb_options_create();
    rocksdb_get_options_from_string(backend->options, "avoid_flush_during_shutdown=true", extended, &text);
    FIRN_ASSERT(text == NULL);
    rocksdb_options_destroy(backend->options);
    backend->options = extended;
}

static void options_create(struct tier_backend *backend) {
    backend->options = rocksdb_options_create();
    options_write_path(backend->options, &backend->shares, backend->bytes_max);
    options_files(backend);
    options_quiet(backend->options);
    options_table(backend);
    options_extra(backend);
    if (backend->direct) {
        rocksdb_options_set_use_direct_reads(backend->options, 1);
        rocksdb_options_set_use_direct_io_for_flush_and_compaction(backend->options, 1);
    }
    backend->filter = rocksdb_compactionfilter_create(backend, filter_destroy, filter_drops, filter_name);
    rocksdb_options_set_compaction_filter(backend->options, backend->filter);
    backend->read_options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(backend->read_options, 0);
    backend->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(backend->write_options, 1);
    rocksdb_writeoptions_set_no_slowdown(backend->write_options,
                                         1); /* the writer waits itself, see rocks_work.c */
}

static int database_open(struct tier_backend *backend, char *message, size_t message_bytes) {
    char *text = NULL;
    if (mkdir(backend->db_path, 0700) != 0 && errno != EEXIST) text = strdup(strerror(errno));
    if (text == NULL) rocksdb_destroy_db(backend->options, backend->db_path, &text);
    if (text == NULL && fault_point_fails(FAULT_ROCKS_OPEN)) text = strdup("injected failure");
    if (text == NULL) backend->db = rocksdb_open(backend->options, backend->db_path, &text);
    if (text == NULL) return 0;
    int full = strstr(text, "No space") != NULL;
    snprintf(message, message_bytes, "NVMe tier %s: RocksDB does not open (%s); %s", backend->path, text,
             full                                 ? "free space on that file system"
             : strstr(text, "lock") != NULL       ? "another server uses this folder, give each its own"
             : strstr(text, "Permission") != NULL ? "make the folder and its content writable for Firn"
                                                  : "check the device, or delete the folder");
    rocksdb_free(text);
    return full ? FIRN_ENOSPACE : FIRN_EIO;
}

int rocks__open_database(struct tier_backend *backend, char *message, size_t message_bytes) {
    int error = folder_make(backend->path, message, message_bytes);
    if (error == 0) error = folder_check_content(backend->path, message, message_bytes);
    if (error == 0) error = folder_mark(backend->path, &backend->direct, message, message_bytes);
    if (error != 0) return error;
    backend->own = rocks__reads_create(backend, backend->sink.wake_fd);
    rocks__memory_divide(backend->memory_wanted, backend->own != NULL, &backend->shares);
    rocks__tables_set_memory(&backend->tables, backend->shares.tables);
    options_create(backend);
    return database_open(backend, message, message_bytes);
}

void rocks__close_database(struct tier_backend *backend) {
    if (backend->db != NULL) rocksdb_close(backend->db);
    if (backend->write_options != NULL) rocksdb_writeoptions_destroy(backend->write_options);
    if (backend->read_options != NULL) rocksdb_readoptions_destroy(backend->read_options);
    if (backend->options != NULL) rocksdb_options_destroy(backend->options);
    if (backend->filter != NULL) rocksdb_compactionfilter_destroy(backend->filter);
    if (backend->table != NULL) rocksdb_block_based_options_destroy(backend->table);
    if (backend->cache != NULL) rocksdb_cache_destroy(backend->cache);
}
