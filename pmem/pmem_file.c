/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The medium of the PMEM tier: a DAX device, a file on a DAX file system, or a plain file, mapped through
 * libpmem2.
 *
 * Only what is ours is overwritten: a file with our magic, an empty one, one that did not exist; a device
 * with our magic or with zeros in front. Space is allocated at open (a plain mapping that runs out of disk
 * would be a SIGBUS), pages are not touched. On page granularity nothing is ever synced: the tier does not
 * outlive the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <libpmem2.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault_point.h"
#include "pmem/pmem_internal.h"

#define MAGIC          "FirnPMEM"
#define NAME_IN_FOLDER "firn-pmem"

struct medium_header {
    char magic[8];
    uint64_t bytes;
};
_Static_assert(sizeof(struct medium_header) == 16 && sizeof(struct medium_header) <= PMEM_DATA_OFFSET,
               "see the layout");

static int open_file(const char *path, char *message, size_t message_bytes) {
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
        const char *remedy = errno == ENOENT   ? "make its parent folder"
                             : errno == EISDIR ? "name a file, not a folder"
                             : errno == EROFS  ? "choose a place that is not read-only"
                             : errno == ENOSPC ? "free space there"
                                               : "make it writable for Firn";
        int error = errno == EISDIR ? FIRN_EINVALID : errno == ENOSPC ? FIRN_ENOSPACE : FIRN_ESYSTEM;
        snprintf(message, message_bytes, "PMEM tier %s: cannot be opened (%s); %s", path, strerror(errno),
                 remedy);
        return error;
    }
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        snprintf(message, message_bytes, "PMEM tier %s: is in use by another server; give each its own file",
                 path);
        close(file);
        return FIRN_EINVALID;
    }
    return file;
}

/* Whether the file's beginning is ours to overwrite. */
static int check_content(int file, const struct stat *stat_now, const char *path, char *message,
                         size_t message_bytes) {
    uint8_t start[PMEM_DATA_OFFSET];
    int device = S_ISCHR(stat_now->st_mode);
    if (!device && !S_ISREG(stat_now->st_mode)) {
        snprintf(message, message_bytes,
                 "PMEM tier %s: is neither a file nor a DAX device; name one of these", path);
        return FIRN_EINVALID;
    }
    if (device || stat_now->st_size == 0) return 0; /* a device is looked at once it is mapped */
    ssize_t bytes = pread(file, start, sizeof start, 0);
    if (bytes >= 8 && memcmp(start, MAGIC, 8) == 0) return 0;
    snprintf(message, message_bytes,
             "PMEM tier %s: holds something that is not Firn's; a tier drops earlier content, so name a new "
             "file or delete "
             "this one",
             path);
    return FIRN_EINVALID;
}

static int allocate_file(int file, const struct stat *stat_now, uint64_t bytes, const char *path,
                         char *message, size_t message_bytes) {
    int error = (uint64_t)stat_now->st_size > bytes ? (ftruncate(file, (off_t)bytes) == 0 ? 0 : errno) : 0;
    if (error == 0 && fallocate(file, 0, 0, (off_t)bytes) != 0) error = errno;
    if (error == EOPNOTSUPP) error = posix_fallocate(file, 0, (off_t)bytes);
    if (fault_point_fails(FAULT_PMEM_ALLOCATE)) error = ENOSPC;
    if (error == 0) return 0;
    int full = error == ENOSPC || error == EFBIG || error == EDQUOT;
    if (full && stat_now->st_size == 0 && ftruncate(file, 0) != 0)
        full = 1; /* give back what was got; best effort */
    snprintf(message, message_bytes, "PMEM tier %s: %llu bytes cannot be allocated (%s); %s", path,
             (unsigned long long)bytes, strerror(error),
             full ? "free space there or make the tier smaller" : "check the device");
    return full ? FIRN_ENOSPACE : FIRN_EIO;
}

static int map_failed(const char *path, const char *what, char *message, size_t message_bytes) {
    snprintf(message, message_bytes,
             "PMEM tier %s: cannot be mapped (%s: %s); check the device and its permissions", path, what,
             pmem2_errormsg());
    return FIRN_EIO;
}

/* Map ${medium->file}; ${bytes} 0: all of it. */
static int map_file(struct pmem_medium *medium, uint64_t bytes, const char *path, char *message,
                    size_t message_bytes) {
    struct pmem2_config *config = NULL;
    struct pmem2_source *source = NULL;
    const char *what = NULL;
    size_t there = 0;
    if (fault_point_fails(FAULT_PMEM_MAP))
        what = "injected failure";
    else if (pmem2_source_from_fd(&source, medium->file) != 0 || pmem2_source_size(source, &there) != 0)
        what = "source";
    else if (pmem2_config_new(&config) != 0 ||
             pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE) != 0 ||
             pmem2_config_set_length(config, bytes) != 0)
        what = "configuration";
    else if (there < bytes)
        what = "smaller than the size configured";
    else if (pmem2_map_new(&medium->map, config, source) != 0)
        what = "mapping";
    int error = what == NULL ? 0 : map_failed(path, what, message, message_bytes);
    if (config != NULL) pmem2_config_delete(&config);
    if (source != NULL) pmem2_source_delete(&source);
    if (error != 0) return error;
    medium->base = pmem2_map_get_address(medium->map);
    medium->bytes = bytes;
    medium->page_granularity = pmem2_map_get_store_granularity(medium->map) == PMEM2_GRANULARITY_PAGE;
    medium->copy = pmem2_get_memcpy_fn(medium->map);
    medium->drain = pmem2_get_drain_fn(medium->map);
    return 0;
}

/* A device cannot be empty: take it when it begins with our magic or with zeros. */
static int check_device(const struct pmem_medium *medium, const char *path, char *message,
                        size_t message_bytes) {
    int zero = 1;
    for (unsigned i = 0; i < PMEM_DATA_OFFSET; i++)
        zero &= medium->base[i] == 0;
    if (zero || memcmp(medium->base, MAGIC, 8) == 0) return 0;
    snprintf(
        message, message_bytes,
        "PMEM tier %s: the device holds something that is not Firn's; zero its first 4096 bytes if it may go",
        path);
    return FIRN_EINVALID;
}

static int medium_prepare(struct pmem_medium *medium, const char *path, uint64_t bytes, char *message,
                          size_t message_bytes) {
    struct stat stat_now;
    if (fstat(medium->file, &stat_now) != 0) {
        snprintf(message, message_bytes, "PMEM tier %s: %s; check the device", path, strerror(errno));
        return FIRN_ESYSTEM;
    }
    int device = S_ISCHR(stat_now.st_mode);
    int error = check_content(medium->file, &stat_now, path, message, message_bytes);
    if (error == 0 && !device)
        error = allocate_file(medium->file, &stat_now, bytes, path, message, message_bytes);
    if (error == 0) error = map_file(medium, bytes, path, message, message_bytes);
    if (error == 0 && device) error = check_device(medium, path, message, message_bytes);
    return error;
}

int pmem__medium_open(struct pmem_medium *medium, const char *where, uint64_t bytes, char *message,
                      size_t message_bytes) {
    struct stat before;
    char path[PATH_MAX];
    int folder = stat(where, &before) == 0 && S_ISDIR(before.st_mode);
    int length = snprintf(path, sizeof path, "%s%s", where, folder ? "/" NAME_IN_FOLDER : "");
    if (length >= (int)sizeof path) {
        snprintf(message, message_bytes, "PMEM tier: its path is too long, use a shorter one");
        return FIRN_EINVALID;
    }
    int existed = stat(path, &before) == 0;
    memset(medium, 0, sizeof *medium);
    medium->file = open_file(path, message, message_bytes);
    if (medium->file < 0) return medium->file;
    int error = medium_prepare(medium, path, bytes, message, message_bytes);
    if (error != 0) {
        if (!existed) unlink(path);
        pmem__medium_close(medium);
        return error;
    }
    struct medium_header header = {.bytes = bytes};
    memcpy(header.magic, MAGIC, sizeof header.magic);
    pmem__medium_write(medium, 0, &header, sizeof header);
    pmem__medium_drain(medium);
    return 0;
}

void pmem__medium_close(struct pmem_medium *medium) {
    if (medium->map != NULL) pmem2_map_delete(&medium->map);
    close(medium->file); /* the lock goes with it */
}

void pmem__medium_write(const struct pmem_medium *medium, uint64_t offset, const void *data, size_t bytes) {
    FIRN_ASSERT(offset <= medium->bytes && bytes <= medium->bytes - offset);
    if (medium->page_granularity)
        memcpy(medium->base + offset, data, bytes); /* pmem2's copy would msync */
    else
        medium->copy(medium->base + offset, data, bytes, PMEM2_F_MEM_NODRAIN | PMEM2_F_MEM_NONTEMPORAL);
}

void pmem__medium_drain(const struct pmem_medium *medium) {
    if (!medium->page_granularity) medium->drain();
}
