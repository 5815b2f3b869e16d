/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An RDB file being written: buffered, checksummed, and visible under its name only when it is whole and on
 * the device.
 *
 * RF1 The file grows under a temporary name in the same folder; it gets its name by rename after fsync, and
 * the folder is synced after the rename. Until then whatever had the name before is untouched. RF2 After the
 * first failure nothing more is written, and rdb_file_abort removes the temporary file.
 *
 * The version in the header is known only at the end: the checksum of what follows the header is combined
 * with that of the final header (rdb_crc64_combine), and the header is written last.
 *
 * Executor. Blocks.
 */
#ifndef FIRN_PERSIST_RDB_FILE_H
#define FIRN_PERSIST_RDB_FILE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/bytes_builder.h"
#include "base/error.h"

struct rdb_file {
    int fd; /* -1: none */
    int checksum;
    int incremental_sync;
    unsigned version; /* the highest that anything written so far needs */
    uint64_t crc;     /* of what follows the header, what is in buffer included */
    uint64_t size;    /* of what follows the header, what is in buffer included */
    uint64_t synced;  /* of the file, handed to the device so far */
    char temporary[64];
    struct bytes_builder buffer;
};

/* Begin. FIRN_ESYSTEM with errno, logged. */
FIRN_MUST_USE int rdb_file_create(struct rdb_file *file, int checksum, int incremental_sync);
/* Append ${data}. FIRN_ESYSTEM with errno, logged. */
FIRN_MUST_USE int rdb_file_write(struct rdb_file *file, struct bytes data);
/* Checksum, header, fsync, rename to ${name}, fsync of the folder. On failure FIRN_ESYSTEM, logged, and the
 * temporary file is gone. */
FIRN_MUST_USE int rdb_file_finish(struct rdb_file *file, const char *name);
/* Remove what was written. */
void rdb_file_abort(struct rdb_file *file);

#endif
