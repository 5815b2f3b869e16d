/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See rdb_spill.h. In a part elements follow each other:
 *
 *   0 hash 8, 8 number 8, 16 bytes of the name 4, 20 bytes of the value 4, 24 name, value
 *
 * in the byte order of the machine: nobody else reads the file. A part's chunks are where they came to lie.
 */
#include "persist/rdb_spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/fault_point.h"
#include "base/memory.h"

#define PART_SHIFT (64 - 8)
#define HEAD_BYTES 24u

_Static_assert(RDB_SPILL_PARTS == 1u << (64 - PART_SHIFT), "a part is the first bits of the hash");

struct chunk {
    uint64_t offset;
    size_t bytes;
};

struct part {
    struct bytes_builder buffer;
    struct chunk *chunks;
    size_t count, capacity;
};

struct rdb_spill {
    int fd;
    uint64_t size;
    size_t buffer_bytes, slice_bytes;
    struct part parts[RDB_SPILL_PARTS];
};

/* An element of a slice. */
struct place {
    uint64_t hash;
    size_t offset;
};

static int open_nameless(void) {
    if (fault_point_fails(FAULT_RDB_SPILL_OPEN)) {
        errno = EACCES;
        return -1;
    }
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
    char name[] = "temp-load-XXXXXX"; /* a file system without O_TMPFILE */
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) (void)unlink(name);
    return fd;
}

struct rdb_spill *rdb_spill_create(size_t buffer_bytes, size_t slice_bytes) {
    int fd = open_nameless();
    if (fd < 0) return NULL;
    struct rdb_spill *spill = memory_alloc_zero(sizeof *spill);
    spill->fd = fd;
    spill->buffer_bytes = buffer_bytes;
    spill->slice_bytes = slice_bytes;
    return spill;
}

static void part_fini(struct part *part) {
    bytes_builder_fini(&part->buffer);
    memory_free(part->chunks);
    *part = (struct part){0};
}

void rdb_spill_destroy(struct rdb_spill *spill) {
    if (spill == NULL) return;
    for (unsigned i = 0; i < RDB_SPILL_PARTS; i++)
        part_fini(&spill->parts[i]);
    close(spill->fd);
    memory_free(spill);
}

/* --- going out --- */

static int write_all(int fd, struct bytes data, uint64_t offset) {
    while (data.size > 0) {
        ssize_t written = -1;
        if (fault_point_fails(FAULT_RDB_SPILL_WRITE))
            errno = ENOSPC;
        else
            written = pwrite(fd, data.data, data.size, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return FIRN_ESYSTEM;
        offset += (uint64_t)written;
        data = bytes_of(data.data + written, data.size - (size_t)written);
    }
    return 0;
}

static int part_flush(struct rdb_spill *spill, struct part *part) {
    struct bytes data = bytes_builder_bytes(&part->buffer);
    int error = write_all(spill->fd, data, spill->size);
    if (error != 0) return error;
    if (part->count == part->capacity) {
        part->capacity = part->capacity == 0 ? 16 : part->capacity * 2;
        part->chunks = memory_realloc(part->chunks, part->capacity * sizeof *part->chunks);
    }
    part->chunks[part->count++] = (struct chunk){spill->size, data.size};
    spill->size += data.size;
    if (part->buffer.capacity > 2 * spill->buffer_bytes) /* a giant was among them */
        bytes_builder_fini(&part->buffer);
    else
        bytes_builder_clear(&part->buffer);
    return 0;
}

int rdb_spill_add(struct rdb_spill *spill, uint64_t hash, const struct type_spilled *element) {
    struct part *part = &spill->parts[hash >> PART_SHIFT];
    size_t bytes = HEAD_BYTES + element->name.size + element->value.size;
    FIRN_ASSERT(element->name.size <= UINT32_MAX && element->value.size <= UINT32_MAX);
    if (part->buffer.size > 0 && part->buffer.size + bytes > spill->buffer_bytes) {
        int error = part_flush(spill, part);
        if (error != 0) return error;
    }
    if (bytes_builder_try_reserve(&part->buffer, bytes) != 0) return FIRN_ENOMEM;
    uint8_t head[HEAD_BYTES];
    bytes_store64(head, hash);
    bytes_store64(head + 8, (uint64_t)element->number);
    bytes_store32(head + 16, (uint32_t)element->name.size);
    bytes_store32(head + 20, (uint32_t)element->value.size);
    bytes_builder_append(&part->buffer, head, sizeof head);
    bytes_builder_append(&part->buffer, element->name.data, element->name.size);
    bytes_builder_append(&part->buffer, element->value.data, element->value.size);
    return 0;
}

/* --- coming back --- */

static int read_chunk(const struct rdb_spill *spill, const struct chunk *chunk, struct bytes_builder *out) {
    if (bytes_builder_try_reserve(out, chunk->bytes) != 0) return FIRN_ENOMEM;
    for (size_t done = 0; done < chunk->bytes;) {
        ssize_t got = -1;
        if (fault_point_fails(FAULT_RDB_SPILL_READ))
            errno = EIO;
        else
            got = pread(spill->fd, out->data + out->size, chunk->bytes - done, (off_t)(chunk->offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = EIO; /* cut off by somebody */
        if (got <= 0) return FIRN_ESYSTEM;
        done += (size_t)got;
        out->size += (size_t)got;
    }
    return 0;
}

static int place_compare(const void *a_any, const void *b_any) {
    const struct place *a = a_any, *b = b_any;
    return a->hash < b->hash ? -1 : a->hash > b->hash;
}

/* The size of the element at ${at} of ${slice}; 0: it does not fit, so the file was changed by somebody. */
static size_t element_bytes(struct bytes slice, size_t at) {
    if (slice.size - at < HEAD_BYTES) return 0;
    const uint8_t *head = slice.data + at;
    size_t bytes = HEAD_BYTES + (size_t)bytes_load32(head + 16) + bytes_load32(head + 20);
    return bytes <= slice.size - at ? bytes : 0;
}

static int hand_over(struct bytes slice, size_t at, type_spilled_receive *receive, void *ctx) {
    const uint8_t *head = slice.data + at;
    size_t name_bytes = bytes_load32(head + 16);
    struct type_spilled element = {.name = bytes_of(head + HEAD_BYTES, name_bytes),
                                   .value = bytes_of(head + HEAD_BYTES + name_bytes, bytes_load32(head + 20)),
                                   .number = (int64_t)bytes_load64(head + 8)};
    return receive(&element, ctx);
}

static int take_slice(struct bytes slice, type_spilled_receive *receive, void *ctx) {
    size_t count = 0, capacity = slice.size / 64 + 16;
    struct place *places = memory_alloc(capacity * sizeof *places);
    int error = 0;
    for (size_t at = 0; at < slice.size;) {
        size_t bytes = element_bytes(slice, at);
        if (bytes == 0) {
            errno = EIO;
            error = FIRN_ESYSTEM;
            break;
        }
        if (count == capacity) {
            capacity *= 2;
            places = memory_realloc(places, capacity * sizeof *places);
        }
        places[count++] = (struct place){bytes_load64(slice.data + at), at};
        at += bytes;
    }
    if (error == 0) qsort(places, count, sizeof *places, place_compare);
    for (size_t i = 0; error == 0 && i < count; i++)
        error = hand_over(slice, places[i].offset, receive, ctx);
    memory_free(places);
    return error;
}

/* Chunks hold whole elements, so any number of them is a slice. */
static int part_take(const struct rdb_spill *spill, struct part *part, type_spilled_receive *receive,
                     void *ctx) {
    struct bytes_builder slice = {0};
    int error = 0;
    for (size_t i = 0; error == 0 && i < part->count; i++) {
        error = read_chunk(spill, &part->chunks[i], &slice);
        if (error != 0 || (slice.size < spill->slice_bytes && i + 1 < part->count)) continue;
        error = take_slice(bytes_builder_bytes(&slice), receive, ctx);
        bytes_builder_clear(&slice);
    }
    bytes_builder_fini(&slice);
    if (error == 0 && part->buffer.size > 0)
        error = take_slice(bytes_builder_bytes(&part->buffer), receive, ctx);
    return error;
}

int rdb_spill_take(struct rdb_spill *spill, type_spilled_receive *receive, void *ctx) {
    for (unsigned i = 0; i < RDB_SPILL_PARTS; i++) {
        struct part *part = &spill->parts[i];
        int error = 0;
        if (part->count > 0 && part->buffer.size > 0) error = part_flush(spill, part);
        if (error == 0) error = part_take(spill, part, receive, ctx);
        part_fini(part);
        if (error != 0) return error;
    }
    return 0;
}
