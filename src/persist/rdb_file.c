/* SPDX-License-Identifier: BSD-3-Clause */
/* See rdb_file.h. The working directory is where RDB files are (directive dir), so names have no folder. */
#include "persist/rdb_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "base/log.h"
#include "ds/rdb_format.h"

#define FILE_BUFFER_BYTES (256u << 10)
#define FILE_SYNC_BYTES   (4u << 20) /* handed to the device in steps of this */
#define HEADER_BYTES      9u
#define EOF_OPCODE        0xffu

static const char *folder(char path[4096]) {
    return getcwd(path, 4096) != NULL ? path : "?";
}

int rdb_file_create(struct rdb_file *file, int checksum, int incremental_sync) {
    char path[4096];
    *file = (struct rdb_file){.fd = -1,
                              .checksum = checksum,
                              .incremental_sync = incremental_sync,
                              .version = RDB_VERSION_COMPATIBLE};
    snprintf(file->temporary, sizeof file->temporary, "temp-%d.rdb", (int)getpid());
    if (fault_point_fails(FAULT_RDB_OPEN))
        errno = EACCES;
    else
        file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file->fd < 0) {
        int code = errno;
        log_warning("Failed opening the temp RDB file %s (in server root dir %s) for saving: %s",
                    file->temporary, folder(path), strerror(code));
        errno = code;
        return FIRN_ESYSTEM;
    }
    /* Room for the header. */
    if (lseek(file->fd, HEADER_BYTES, SEEK_SET) != HEADER_BYTES) {
        log_warning("Write error while saving DB to the disk(seek): %s", strerror(errno));
        rdb_file_abort(file);
        return FIRN_ESYSTEM;
    }
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t size) {
    while (size > 0) {
        ssize_t written = -1;
        if (fault_point_fails(FAULT_RDB_WRITE))
            errno = ENOSPC;
        else
            written = write(fd, data, size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return FIRN_ESYSTEM;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

static int put(struct rdb_file *file, struct bytes data) {
    if (write_all(file->fd, data.data, data.size) != 0) {
        int code = errno;
        log_warning("Write error while saving DB to the disk(write): %s", strerror(code));
        errno = code;
        return FIRN_ESYSTEM;
    }
    return 0;
}

static int flush(struct rdb_file *file) {
    if (file->buffer.size == 0) return 0;
    int error = put(file, bytes_builder_bytes(&file->buffer));
    bytes_builder_clear(&file->buffer);
    /* Dirty pages go to the device as the file grows, not all at the end. */
    if (error == 0 && file->incremental_sync && file->size - file->synced >= FILE_SYNC_BYTES) {
        (void)sync_file_range(file->fd, (off_t)file->synced, (off_t)(file->size - file->synced),
                              SYNC_FILE_RANGE_WRITE);
        file->synced = file->size;
    }
    return error;
}

int rdb_file_write(struct rdb_file *file, struct bytes data) {
    if (file->checksum) file->crc = rdb_crc64(file->crc, data);
    file->size += data.size;
    if (file->buffer.size + data.size > FILE_BUFFER_BYTES) {
        int error = flush(file);
        if (error != 0) return error;
        if (data.size > FILE_BUFFER_BYTES) return put(file, data);
    }
    bytes_builder_append(&file->buffer, data.data, data.size);
    return 0;
}

static int write_ends(struct rdb_file *file) {
    uint8_t eof = EOF_OPCODE, checksum[8] = {0};
    char header[HEADER_BYTES + 1];
    snprintf(header, sizeof header, "REDIS%04u", file->version % 10000u);
    int error = rdb_file_write(file, bytes_of(&eof, 1));
    if (error != 0) return error;
    if (file->checksum) {
        uint64_t first = rdb_crc64(0, bytes_of(header, HEADER_BYTES));
        bytes_store64(checksum, rdb_crc64_combine(first, file->crc, file->size));
    }
    bytes_builder_append(&file->buffer, checksum, sizeof checksum);
    error = flush(file);
    if (error != 0) return error;
    if (lseek(file->fd, 0, SEEK_SET) != 0) return FIRN_ESYSTEM;
    return put(file, bytes_of(header, HEADER_BYTES));
}

/* The rename itself must survive a crash of the machine. */
static int sync_folder(void) {
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fault_point_fails(FAULT_RDB_FOLDER) || fsync(fd) != 0;
    int code = errno;
    if (fd >= 0) close(fd);
    errno = code;
    return failed ? FIRN_ESYSTEM : 0;
}

int rdb_file_finish(struct rdb_file *file, const char *name) {
    char path[4096];
    int error = write_ends(file);
    if (error == 0 && (fault_point_fails(FAULT_RDB_FSYNC) || fsync(file->fd) != 0)) {
        log_warning("Write error while saving DB to the disk(fsync): %s", strerror(errno));
        error = FIRN_ESYSTEM;
    }
    int closed = close(file->fd);
    file->fd = -1;
    if (error == 0 && closed != 0) {
        log_warning("Write error while saving DB to the disk(close): %s", strerror(errno));
        error = FIRN_ESYSTEM;
    }
    if (error == 0 && (fault_point_fails(FAULT_RDB_RENAME) || rename(file->temporary, name) != 0)) {
        log_warning("Error moving temp DB file %s on the final destination %s (in server root dir %s): %s",
                    file->temporary, name, folder(path), strerror(errno));
        error = FIRN_ESYSTEM;
    }
    if (error != 0) {
        rdb_file_abort(file);
        return error;
    }
    bytes_builder_fini(&file->buffer);
    if (sync_folder() != 0) {
        log_warning("Failed to fsync the folder of the RDB file %s (in server root dir %s): %s", name,
                    folder(path), strerror(errno));
        return FIRN_ESYSTEM;
    }
    return 0;
}

void rdb_file_abort(struct rdb_file *file) {
    int code = errno;
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
    if (file->temporary[0] != '\0') (void)unlink(file->temporary);
    bytes_builder_fini(&file->buffer);
    errno = code;
}
