/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the NVMe backend.
 *
 * R1 An id is given out once, ever, and ids only grow; so a record is written once and never changes.
 * R2 A record is dead when its bit in the liveness map is 0, its chunk is gone, or its id is below
 *    first_id. Dead stays dead.
 * R3 Deaths are never written: the compaction filter asks the map, and ranges with much dead in them are
 *    compacted.
 * R4 The executor creates chunks, the reclaimer frees them; others look (rocks__live_test) and kill
 *    (rocks__live_kill).
 *
 * Medium: key = id, 8 bytes big-endian; value = OFFSET 0 SIZE 8 checksum of the payload seeded with the id
 * (little-endian), OFFSET 8 payload. In the subfolder "db"; beside it the file "firn-tier" marks the folder
 * as ours.
 *
 * Threads: executor; one writer; readers; one reclaimer (blocking compactions); one keeper (properties);
 * RocksDB's own.
 */
#ifndef FIRN_ROCKS_ROCKS_INTERNAL_H
#define FIRN_ROCKS_ROCKS_INTERNAL_H

#include <pthread.h>
#include <rocksdb/c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "rocks/rocks.h"

#define ROCKS_KEY_BYTES      8u
#define ROCKS_HEADER_BYTES   8u  /* checksum in front of the payload */
#define ROCKS_OVERHEAD_BYTES 26u /* key, header and table format per record, measured */
#define ROCKS_CHUNK_BITS     16u /* ids of a chunk */
#define ROCKS_CHUNK_IDS      (1u << ROCKS_CHUNK_BITS)
/* A chunk closes at a 32nd of the tier within MIN and GOOD, or a 1024th of larger ones, even if it has ids
 * left. */
#define ROCKS_CHUNK_BYTES_MAX  (1u << 30)
#define ROCKS_CHUNK_BYTES_GOOD (64u << 20)
#define ROCKS_CHUNK_BYTES_MIN  (1u << 20)
#define ROCKS_MERGE_BYTES      (512u << 20) /* payload that is merged into large files at once */
#define ROCKS_LEAF_BITS        10u          /* chunks of a directory leaf */
#define ROCKS_LEAF_CHUNKS      (1u << ROCKS_LEAF_BITS)
#define ROCKS_TOP_LEAVES       (1u << 21) /* leaves of the directory: 2^47 ids before the tier must be reopened */
#define ROCKS_SCAN_CHUNKS      4096u      /* chunks looked at in one round */
#define ROCKS_QUEUE_OPERATIONS 8192u      /* operations queued to the readers, and to the writer */
#define ROCKS_READER_TAKE_MAX  4u         /* operations a reader takes at once */
#define ROCKS_ENGINE_BYTES                                                                                   \
    (5u << 20) /* file buffers, options, thread stacks: measured, not reported by the engine */
#define ROCKS_WRITE_BUFFERS     3
#define ROCKS_THREADS_MAX       64u
#define ROCKS_THREADS_DEFAULT   24u
#define ROCKS_STACK_BYTES       (256u << 10)
#define ROCKS_BACKGROUND_NICE   10
#define ROCKS_STALL_MS_MAX      10000 /* a stopped writer fails its operations after this */
#define ROCKS_DEAD_PERCENT      15u   /* dead share of the tier from which the worst chunk is compacted */
#define ROCKS_DEAD_PERCENT_IDLE 8u
#define ROCKS_OCCUPIED_PERCENT  130u /* of bytes_max: hard stop, dead space included */
#define ROCKS_BLOCK_BYTES       4096u
#define ROCKS_BLOCK_BYTES_BIG   16384u /* blocks when indexes would not fit, or get short of memory */
#define ROCKS_TRAILER_BYTES     5u     /* behind each block: compression, checksum */
#define ROCKS_DIRECT_ALIGN      4096u
#define ROCKS_READ_SLOTS        64u         /* blocks being read at once by our own reader */
#define ROCKS_SLOT_BYTES        8192u       /* its buffer for one block; larger ones get their own */
#define ROCKS_BLOCK_BYTES_MAX   (80u << 10) /* larger blocks are the engine's to read */
#define ROCKS_SLOT_OPERATIONS   4u          /* reads of one block at once */
#define ROCKS_COLLECT_MAX       64u         /* blocks taken in at once */

_Static_assert(ROCKS_QUEUE_OPERATIONS >= TIER_READ_INFLIGHT_MAX, "all reads in flight fit in the queue");
_Static_assert(ROCKS_HEADER_BYTES == sizeof(uint64_t), "the header is one checksum");

/* --- rocks_live.c: which ids live --- */
struct rocks_chunk;
struct rocks_leaf;

struct rocks_live {
    pthread_mutex_t lock;    /* of changes; all is read without it (rocks_live.c) */
    struct rocks_leaf **top; /* ROCKS_TOP_LEAVES, mapped, untouched pages cost nothing */
    uint64_t first_id;       /* atomic: everything below is dead */
    uint64_t next_id;        /* atomic; executor */
    uint64_t scan_chunk;     /* reclaimer: where rocks__live_pick goes on */
    uint64_t chunk_bytes_max;
    unsigned looking;            /* atomic: threads inside rocks__live_test */
    struct rocks_chunk *retired; /* unpublished, freed once nobody looks */
    uint64_t records_live, bytes_live,
        bytes_stored; /* under lock; stored includes dead ones not reclaimed yet */
};

/* Ids [first, end) and what to do with them. */
struct rocks_range {
    uint64_t first, end;
    uint64_t bytes_live; /* in it when it was picked; UINT64_MAX: not counted (several chunks) */
    int all_dead;        /* files can be dropped whole */
    uint64_t bytes_dead; /* stored in it when it was picked, and to be dropped */
};

struct rocks_live_totals {
    uint64_t records_live, bytes_live, bytes_stored, memory_bytes;
};

/* Executor. ${chunk_bytes_max}: payload at which a chunk closes. FIRN_ENOMEM. */
FIRN_MUST_USE int rocks__live_init(struct rocks_live *live, uint64_t chunk_bytes_max);
void rocks__live_fini(struct rocks_live *live);
/* A new live id for a record of ${bytes}; FIRN_ENOSPACE when ids are used up. Executor. */
FIRN_MUST_USE int rocks__live_add(struct rocks_live *live, uint32_t bytes, uint64_t *id_out);
/* The id is dead from now on; no-op if it was. ${bytes} its payload, or 0 when not known (then the chunk's
 * mean). Any thread. */
void rocks__live_kill(struct rocks_live *live, uint64_t id, uint32_t bytes);
/* Whether the id lives. Any thread, no lock. */
int rocks__live_test(struct rocks_live *live, uint64_t id);
/* Everything given out so far is dead. Returns the first id that is not. Executor. */
uint64_t rocks__live_clear(struct rocks_live *live);
/*
 * The best range to work on now, looking at a bounded number of chunks: a dead run; if ${dead_percent_min} of
 * all that is stored is dead, the worst chunk; if ${merge}, one that was never rewritten (its files are
 * small). 1, or 0 if there is none. Reclaimer.
 */
int rocks__live_pick(struct rocks_live *live, unsigned dead_percent_min, int merge,
                     struct rocks_range *range_out);
/* ${range} was reclaimed: account, free chunks that are wholly dead. Reclaimer. */
void rocks__live_reclaimed(struct rocks_live *live, const struct rocks_range *range);
/* Free what nobody looks at any more. Reclaimer. */
void rocks__live_collect(struct rocks_live *live);
void rocks__live_totals(struct rocks_live *live, struct rocks_live_totals *totals_out);

/* --- rocks_queue.c: operations to workers --- */
struct rocks_queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct tier_operation **slots; /* ROCKS_QUEUE_OPERATIONS */
    size_t head, tail;
    unsigned workers, waiting; /* all; those asleep */
    int closed;
};

/* For ${workers} threads that will pop. */
void rocks__queue_init(struct rocks_queue *queue, unsigned workers);
void rocks__queue_fini(struct rocks_queue *queue);
/* Free places. The executor is the only one who pushes, so they stay free until it does. */
size_t rocks__queue_room(struct rocks_queue *queue);
/* Append all (there must be room); wakes a worker if there are too few awake for it. Executor. */
void rocks__queue_push(struct rocks_queue *queue, struct tier_operation **operations, size_t count);
/* Wait for work: up to ${limit} operations, but not more than a ${share}th of what is there; 0 when closed
 * and empty. */
size_t rocks__queue_pop(struct rocks_queue *queue, struct tier_operation **operations_out, size_t limit,
                        size_t share);
void rocks__queue_close(struct rocks_queue *queue);

/* --- rocks_table.c: a table file of the engine, read by us --- */
struct rocks_table {
    int file;
    uint64_t file_bytes;
    uint64_t first_id, last_id;
    uint32_t blocks;
    uint32_t *ends;           /* of each block: the last id it may hold, less first_id; rising */
    uint32_t *offsets;        /* blocks + 1: block i with its trailer is [offsets[i], offsets[i + 1]) */
    unsigned reading;         /* atomic: reads in flight */
    size_t memory_bytes;      /* this and its arrays */
    struct rocks_table *next; /* keeper: list of the dying */
};

/* Open the file and load its index; ${levels} of it (1, 2). The engine says that it holds ids from
 * ${first_id} to
 * ${last_id}. FIRN_EIO; FIRN_ECORRUPT, FIRN_EUNSUPPORTED, FIRN_ETOOBIG: not as we know tables. Blocks. Any
 * thread. */
FIRN_MUST_USE int rocks__table_open(const char *path, int direct, unsigned levels, uint64_t first_id,
                                    uint64_t last_id, struct rocks_table **table_out);
/* Nobody reads from it any more. NULL is a no-op. */
void rocks__table_destroy(struct rocks_table *table);
/* Where the block is that has ${id} (in first_id..last_id) if any has; bytes with trailer. Any thread. */
void rocks__table_block(const struct rocks_table *table, uint64_t id, uint64_t *offset_out,
                        uint32_t *bytes_out);
/* The content of a block of ${bytes} with trailer, in place or decompressed into ${scratch}. FIRN_ETOOBIG: it
 * does not fit; FIRN_ECORRUPT, FIRN_EUNSUPPORTED. Any thread. */
FIRN_MUST_USE int rocks__block_content(const uint8_t *block, size_t bytes, uint8_t *scratch,
                                       size_t scratch_bytes, struct bytes *content_out);
/* The value of ${id} in the content of a data block. FIRN_ENOTFOUND, FIRN_ECORRUPT, FIRN_EUNSUPPORTED. Any
 * thread. */
FIRN_MUST_USE int rocks__block_find(struct bytes content, uint64_t id, struct bytes *value_out);

/* --- rocks_tables.c: the table files there are --- */
struct rocks_file;

/* A table in the sorted array, with what a search looks at. */
struct rocks_table_place {
    uint64_t first_id, last_id;
    struct rocks_table *table;
};

struct rocks_tables {
    pthread_mutex_t lock;             /* of the next two */
    struct rocks_table_place *sorted; /* by last id */
    size_t sorted_count;
    /* the rest is the keeper's */
    struct rocks_file *files; /* by number */
    size_t file_count;
    struct rocks_table *dying; /* of files gone, still being read */
    uint64_t memory_max, memory_bytes, files_max, open_count, version;
    int64_t not_before_us;
    int logged;
    int big_blocks;         /* new files have larger blocks, so that more of them fit in memory_max */
    uint64_t memory_wanted; /* atomic: memory_max from the next refresh on */
    uint64_t memory_known;  /* atomic: for statistics */
};

void rocks__tables_init(struct rocks_tables *tables);
void rocks__tables_fini(struct rocks_tables *tables);
/* The table that has ${id} if any known one has, held until rocks__tables_put; or NULL. Executor. */
struct rocks_table *rocks__tables_get(struct rocks_tables *tables, uint64_t id);
void rocks__tables_put(struct rocks_table *table);
/* Indexes may take so much from now on; the next refresh lets go of what is too much. Any thread. */
void rocks__tables_set_memory(struct rocks_tables *tables, uint64_t bytes);
/* Look at the engine's files if they changed. Blocks. Keeper. */
void rocks__tables_refresh(struct tier_backend *backend);

/* --- rocks_read.c: reads through a ring of our own --- */
struct rocks_reads;

/* NULL: io_uring is not to be had here. ${wake_fd}: eventfd to signal completions to, or 0. Executor, as all
 * of these. */
struct rocks_reads *rocks__reads_create(struct tier_backend *backend, int wake_fd);
/* Nothing is in flight. NULL is a no-op. */
void rocks__reads_destroy(struct rocks_reads *reads);
/* Operations taken and not completed or handed to the engine. */
size_t rocks__reads_outstanding(const struct rocks_reads *reads);
/* Take the reads in ${operations} whose table is known; the others stay, moved to the front: returns how
 * many. */
size_t rocks__reads_submit(struct tier_backend *backend, struct tier_operation **operations, size_t count);
/* As tier_backend_ops.collect. */
int rocks__reads_collect(struct tier_backend *backend);
/* Wait until nothing is outstanding. */
void rocks__reads_drain(struct tier_backend *backend);
uint64_t rocks__reads_memory(const struct rocks_reads *reads);

/* --- rocks_memory.c: the budget --- */
struct rocks_shares {
    uint64_t write_buffer, arena; /* a memtable, and what it grows by */
    uint64_t cache;               /* the engine's, for indexes */
    uint64_t tables;              /* our own indexes */
};

void rocks__memory_divide(uint64_t memory_max, int own_reader, struct rocks_shares *shares_out);
/* The largest record that is taken. */
uint32_t rocks__memory_record_max(uint64_t memory_max);
/* Bring the engine to memory_wanted if it is not there. Blocks. Keeper. */
void rocks__memory_apply(struct tier_backend *backend);

/* --- the backend --- */
/* What the keeper found out last; all atomic. */
struct rocks_known {
    uint64_t sst_bytes, memtable_bytes, memory_bytes, files;
    uint64_t engine_read_bytes, engine_write_bytes; /* flushes and compactions */
    uint64_t stopped;                               /* the engine takes no writes now */
    uint64_t ratio_permille;                        /* bytes on the medium per payload byte */
    uint64_t put_bytes;                             /* put_bytes of the backend when it looked */
};

struct tier_backend {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache; /* of index partitions; NULL when indexes are held whole */
    rocksdb_compactionfilter_t *filter;
    rocksdb_readoptions_t *read_options;
    rocksdb_writeoptions_t *write_options;
    char *path, *db_path;
    struct tier_sink sink;
    uint64_t bytes_max;
    uint32_t record_bytes_max;
    uint64_t files_max; /* with more table files than this, chunks are merged into larger ones */
    int direct;         /* the file system takes O_DIRECT */
    struct rocks_live live;
    struct rocks_queue reads, writes;
    struct rocks_tables tables;    /* empty unless own is there */
    struct rocks_reads *own;       /* executor: reader of our own; NULL: all reads go through the engine */
    uint64_t own_done, own_handed; /* executor: reads it finished, and handed to the engine */
    uint64_t memory_wanted;        /* atomic: the budget as told last */
    struct rocks_shares shares;    /* keeper: as the engine has it */
    unsigned index_levels;         /* of the engine's tables */
    pthread_t readers[ROCKS_THREADS_MAX], writer, reclaimer, keeper;
    unsigned reader_count;
    pthread_mutex_t lock; /* of the next three */
    pthread_cond_t changed;
    uint64_t reclaiming;    /* atomic: dead bytes of what the reclaimer works on, still counted as stored */
    uint64_t cleared_below; /* ids below were cleared and their files not dropped yet; 0: none */
    int stopping;           /* atomic too: the writer looks at it while stalled */
    int idle;               /* atomic: the server has little to do */
    struct rocks_known known;
    /* atomic counters */
    uint64_t read_bytes, put_bytes, errors, stalled;
    int64_t logged_us;            /* when a failure was logged last */
    uint64_t keeper_tables_bytes; /* keeper only */
};

static inline void rocks__key(uint64_t id, char key_out[ROCKS_KEY_BYTES]) {
    uint64_t big = __builtin_bswap64(id);
    memcpy(key_out, &big, sizeof big);
}

static inline uint64_t rocks__clamp(uint64_t value, uint64_t low, uint64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* rocks_open.c: folder, options and database of a backend whose path, limits, memory_wanted and live are set.
 * As tier_backend_ops.open. */
FIRN_MUST_USE int rocks__open_database(struct tier_backend *backend, char *message, size_t message_bytes);
/* To what file offsets of direct reads in our marked folder must be aligned: a power of two up to
 * ROCKS_DIRECT_ALIGN. */
uint32_t rocks__direct_align(const char *path);
/* Close the database and free its options; fine on a half open one. */
void rocks__close_database(struct tier_backend *backend);

/* rocks_work.c: the threads that do operations, and the read itself (any thread): as tier_backend_ops.read.
 */
FIRN_MUST_USE int rocks__read(struct tier_backend *backend, uint64_t id, struct page **page_out);
/* Whether ${id} lives and ${value} (as on the medium) verifies: its payload in a new page. FIRN_ECORRUPT,
 * FIRN_ENOMEM. Any thread. */
FIRN_MUST_USE int rocks__page_of_value(uint64_t id, struct bytes value, struct page **page_out);
/* Count and perhaps log a read that failed with ${status}; ${text} may be NULL. Any thread. */
void rocks__read_failed(struct tier_backend *backend, uint64_t id, int status, const char *text);
/* Push into the sink; whether it has to be woken. Any thread. */
int rocks__complete(struct tier_backend *backend, struct tier_operation *operation);
void *rocks__reader_main(void *backend);
void *rocks__writer_main(void *backend);

/* rocks_reclaim.c: background threads. They (and the writer, and the engine's) run at a lower priority than
 * commands, and do not interrupt them when they wake: when there is one core for all, commands come first;
 * what they leave undone slows writers down, not readers. ${thread} 0: the calling one. */
void rocks__lower_priority(pid_t thread);
void *rocks__reclaimer_main(void *backend);
void *rocks__keeper_main(void *backend);
/* Bytes on the medium and on the way to it, as far as known; whether that is beyond what even dead space may
 * take. Any thread. */
uint64_t rocks__occupied(struct tier_backend *backend);
int rocks__is_overfull(struct tier_backend *backend);

#endif
