/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RDB files: saving all databases, loading them, and what is known about the last time. Bodies of values are
 * made and read by the types (type_ops.encode, decode); everything around them is here.
 *
 * PS1 A reader of the file sees the old one or the new one, whole (rdb_file.h).
 * PS2 A save changes nothing in the databases: no value moves between tiers, no clock is touched.
 * PS3 A file is never trusted: a loader that meets what it cannot read says where and what, and leaves the
 *     file as it is.
 * PS4 Neither holds more than one value in memory besides what the databases hold; values in plain forms not
 *     even that (type_encode_part). A file is mapped, not read.
 *
 * Executor. Saving blocks; loading goes in steps.
 */
#ifndef FIRN_PERSIST_PERSIST_H
#define FIRN_PERSIST_PERSIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Live settings; the configuration writes them. */
struct entry;
#define PERSIST_SAVE_POINTS_MAX 64u /* further ones start no saves */
struct persist_config {
    char file_name[256]; /* dbfilename, in the working directory */
    int checksum;        /* rdbchecksum */
    int incremental_sync;
    int has_save_points;        /* a shutdown saves */
    struct persist_save_point { /* after ${seconds} with ${changes} a save starts */
        int64_t seconds;
        uint64_t changes;
    } save_points[PERSIST_SAVE_POINTS_MAX];
    unsigned save_point_count;
    int sanitize_restore, sanitize_load;          /* sanitize-dump-payload */
    int stop_writes_on_error;                     /* stop-writes-on-bgsave-error */
    int64_t key_save_delay_us, key_load_delay_us; /* tests; negative -n: 1 us for one key of n */
    uint64_t load_step_bytes;                     /* loading-process-events-interval-bytes */
    const char *redis_version;                    /* for the file's head */
    int (*serve)(void); /* called now and then during a load: clients; nonzero: stop loading. May be NULL */
};
extern struct persist_config persist_config;

struct persist_status {
    int64_t last_save_s;        /* of the last good save, or start of the server */
    int64_t last_try_s;         /* when the last BGSAVE, good or not, began */
    int64_t last_duration_s;    /* of it; -1 none yet */
    uint64_t saves;             /* good ones */
    int last_background_failed; /* rdb_last_bgsave_status */
    /* the load going on, or the last one */
    int loading;
    int64_t loading_start_s;
    uint64_t loading_total_bytes, loading_done_bytes, loading_used_memory;
    uint64_t keys_loaded, keys_expired, keys_empty;
};
extern struct persist_status persist_status;

/* Write all databases to the configured file. 0, or the reason is logged: FIRN_ESYSTEM, or the error of
 * reading a cold value. On success the count of changes starts anew. Blocks. ${delay}: as key_save_delay_us
 * says. */
FIRN_MUST_USE int persist_save(int delay);
/* persist_save as BGSAVE is answered: the result is kept for INFO and for persist_refuses_writes. */
void persist_save_in_background(void);
/* The same when a save point says so; every 100 ms. */
void persist_save_if_due(void);
/* Whether writes are to be refused, as the last BGSAVE failed. */
int persist_refuses_writes(void);

/* Bytes of the value's body in an RDB file (DEBUG OBJECT serializedlength). May fault. */
FIRN_MUST_USE int persist_value_size(struct entry *entry, size_t *size_out);

/* --- loading --- */
#define PERSIST_LOAD_REPLACE                                                                                 \
    0x1u                        /* a key that exists already is replaced (DEBUG RELOAD MERGE), not an error */
#define PERSIST_LOAD_DELAY 0x2u /* as key_load_delay_us says */
#define PERSIST_LOAD_CHECK 0x4u /* read everything, keep nothing: no databases are needed */

struct persist_load;
/* Open the configured file and read its head. FIRN_ENOTFOUND: there is none (not logged). Otherwise failures
 * are logged. */
FIRN_MUST_USE int persist_load_begin(unsigned flags, struct persist_load **load_out);
/* Load about ${bytes}: 1 there is more, 0 all loaded (counts logged), or an error, logged; FIRN_ECLOSED:
 * persist_config.serve wanted no more. */
FIRN_MUST_USE int persist_load_step(struct persist_load *load, uint64_t bytes);
/* End it, wherever it is. NULL is a no-op. */
void persist_load_end(struct persist_load *load);
/* All of it now, blocking. */
FIRN_MUST_USE int persist_load_all(unsigned flags);

#endif
