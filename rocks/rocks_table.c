/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table file of the engine, read by ourselves: its index once, into two arrays; then one block for one
 * record. Written after the public description of RocksDB's block-based table (format versions 4 and 5):
 *
 *   file    data blocks ... other blocks, index block(s), footer
 *   footer  the last 53 bytes: OFFSET 0 SIZE 1 kind of checksum, OFFSET 1 varints metaindex offset and size,
 *           index offset and size, zeros up to OFFSET 41, SIZE 4 format version, SIZE 8 magic (little-endian)
 *   block   content, SIZE 1 compression (0 none, 4 LZ4: varint size of the content, LZ4 block), SIZE 4
 *           checksum
 *   content entries, SIZE 4 each offset of a restart, SIZE 4 number of restarts
 *   entry   varints: bytes shared with the key before, other bytes of the key, bytes of the value (not in an
 *           index); rest of the key, value
 *   index   key: the id, or a shorter one between this block and the next; value: varints offset and size of
 *           a block, or, if the key shares bytes, zigzag varint: its size less that of the one before, which
 *           ends (with its trailer) where it begins. In two levels the first one points to such blocks.
 *
 * X1 Every byte is checked before it is used; whatever is not as described makes the table or the record "not
 *    known" (an error), and the engine is asked instead. A wrong value cannot come out: the caller verifies
 *    the payload's checksum, which is seeded with the id.
 * X2 A record never changes and ids are never reused, so a table that the engine has dropped still reads
 *    true.
 */
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault_point.h"
#include "base/memory.h"
#include "rocks/rocks_internal.h"

#define FOOTER_BYTES    53u
#define FOOTER_VERSION  41u
#define FOOTER_MAGIC    0x88e241b785f4cff7ull
#define INTERNAL_BYTES  16u /* of a key in a data block: id, sequence number and kind */
#define KIND_VALUE      1u
#define INDEX_BYTES_MAX (8u << 20) /* an index block larger than this is not ours */

enum { COMPRESSION_NONE = 0, COMPRESSION_LZ4 = 4 };

_Static_assert(ROCKS_DIRECT_ALIGN % 512 == 0, "direct reads are aligned to device blocks");

struct reader {
    const uint8_t *at, *end;
};

struct handle {
    uint64_t offset, bytes; /* without trailer */
};

static int take_varint(struct reader *reader, uint64_t *value_out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value_out = value;
            return 0;
        }
    }
    return FIRN_ECORRUPT;
}

static int take_handle(struct reader *reader, struct handle *handle_out) {
    int error = take_varint(reader, &handle_out->offset);
    return error != 0 ? error : take_varint(reader, &handle_out->bytes);
}

/* --- a block --- */

int rocks__block_content(const uint8_t *block, size_t bytes, uint8_t *scratch, size_t scratch_bytes,
                         struct bytes *content_out) {
    if (bytes <= ROCKS_TRAILER_BYTES) return FIRN_ECORRUPT;
    size_t stored = bytes - ROCKS_TRAILER_BYTES;
    if (block[stored] == COMPRESSION_NONE) {
        *content_out = bytes_of(block, stored);
        return 0;
    }
    if (block[stored] != COMPRESSION_LZ4) return FIRN_EUNSUPPORTED;
    struct reader reader = {block, block + stored};
    uint64_t size;
    if (take_varint(&reader, &size) != 0 || size == 0) return FIRN_ECORRUPT;
    if (size > scratch_bytes) return FIRN_ETOOBIG;
    int got = LZ4_decompress_safe((const char *)reader.at, (char *)scratch, (int)(reader.end - reader.at),
                                  (int)size);
    if (got != (int)size) return FIRN_ECORRUPT;
    *content_out = bytes_of(scratch, size);
    return 0;
}

/* The entries of a block, without the restarts behind them. */
static int block_entries(struct bytes content, struct reader *entries_out) {
    if (content.size < 2 * sizeof(uint32_t)) return FIRN_ECORRUPT;
    uint32_t restarts = bytes_load32(content.data + content.size - sizeof(uint32_t));
    if (restarts == 0 || restarts > content.size / sizeof(uint32_t) - 1) return FIRN_ECORRUPT;
    *entries_out = (struct reader){content.data,
                                   content.data + content.size - (restarts + (size_t)1) * sizeof(uint32_t)};
    return 0;
}

int rocks__block_find(struct bytes content, uint64_t id, struct bytes *value_out) {
    struct reader reader;
    uint8_t key[INTERNAL_BYTES] = {0};
    int error = block_entries(content, &reader);
    while (error == 0 && reader.at < reader.end) {
        uint64_t shared, rest, value_bytes;
        if (take_varint(&reader, &shared) != 0 || take_varint(&reader, &rest) != 0 ||
            take_varint(&reader, &value_bytes) != 0)
            return FIRN_ECORRUPT;
        uint64_t left = (uint64_t)(reader.end - reader.at);
        if (shared > INTERNAL_BYTES || rest != INTERNAL_BYTES - shared || rest > left ||
            value_bytes > left - rest)
            return FIRN_ECORRUPT;
        memcpy(key + shared, reader.at, rest);
        uint64_t found;
        memcpy(&found, key, sizeof found);
        found = __builtin_bswap64(found);
        if (found > id) return FIRN_ENOTFOUND;
        if (found == id) {
            *value_out = bytes_of(reader.at + rest, value_bytes);
            return key[sizeof found] == KIND_VALUE ? 0 : FIRN_EUNSUPPORTED;
        }
        reader.at += rest + value_bytes;
    }
    return error != 0 ? error : FIRN_ENOTFOUND;
}

/* --- an index block --- */

struct index_cursor {
    struct reader reader;
    uint8_t key[ROCKS_KEY_BYTES];
    size_t key_bytes;
    struct handle handle; /* of the entry */
};

static int index_handle(struct index_cursor *cursor, int delta) {
    if (!delta) return take_handle(&cursor->reader, &cursor->handle);
    uint64_t zigzag;
    if (take_varint(&cursor->reader, &zigzag) != 0) return FIRN_ECORRUPT;
    cursor->handle.offset += cursor->handle.bytes + ROCKS_TRAILER_BYTES;
    cursor->handle.bytes += (zigzag >> 1) ^ (0 - (zigzag & 1)); /* modulo 2^64; the caller checks the sum */
    return 0;
}

/* The next entry: 1, 0 at the end, or an error. */
static int index_next(struct index_cursor *cursor) {
    struct reader *reader = &cursor->reader;
    if (reader->at >= reader->end) return 0;
    uint64_t shared, rest;
    if (take_varint(reader, &shared) != 0 || take_varint(reader, &rest) != 0) return FIRN_ECORRUPT;
    if (shared > cursor->key_bytes || rest > ROCKS_KEY_BYTES - shared || shared + rest == 0 ||
        rest > (uint64_t)(reader->end - reader->at))
        return FIRN_ECORRUPT;
    memcpy(cursor->key + shared, reader->at, rest);
    reader->at += rest;
    cursor->key_bytes = shared + rest;
    int error = index_handle(cursor, shared != 0);
    return error != 0 ? error : 1;
}

/* The largest id that is not above the entry's key. A shorter key is below all ids that begin with it. */
static uint64_t index_id(const struct index_cursor *cursor) {
    uint8_t padded[ROCKS_KEY_BYTES] = {0};
    memcpy(padded, cursor->key, cursor->key_bytes);
    uint64_t id;
    memcpy(&id, padded, sizeof id);
    id = __builtin_bswap64(id);
    return cursor->key_bytes == ROCKS_KEY_BYTES || id == 0 ? id : id - 1;
}

/* --- a table --- */

/* Read a part of the file; *buffer_out is to be freed. */
static int file_read(const struct rocks_table *table, uint64_t offset, uint64_t bytes, uint8_t **buffer_out,
                     const uint8_t **data_out) {
    *buffer_out = NULL;
    if (bytes > INDEX_BYTES_MAX || offset > table->file_bytes || bytes > table->file_bytes - offset)
        return FIRN_ECORRUPT;
    uint64_t begin = offset & ~(uint64_t)(ROCKS_DIRECT_ALIGN - 1);
    size_t skip = (size_t)(offset - begin),
           most = (skip + bytes + ROCKS_DIRECT_ALIGN - 1) & ~(size_t)(ROCKS_DIRECT_ALIGN - 1);
    uint8_t *buffer = memory_alloc_aligned(ROCKS_DIRECT_ALIGN, most);
    ssize_t got = pread(table->file, buffer, most, (off_t)begin);
    if (got < 0 || (size_t)got < skip + bytes) {
        memory_free(buffer);
        return FIRN_EIO;
    }
    *buffer_out = buffer;
    *data_out = buffer + skip;
    return 0;
}

/* The content of an index block; *buffer_out and *scratch_out are to be freed. */
static int file_read_block(const struct rocks_table *table, const struct handle *handle, uint8_t **buffer_out,
                           uint8_t **scratch_out, struct bytes *content_out) {
    const uint8_t *block;
    *scratch_out = NULL;
    *buffer_out = NULL;
    if (handle->bytes > INDEX_BYTES_MAX) return FIRN_ECORRUPT;
    int error = file_read(table, handle->offset, handle->bytes + ROCKS_TRAILER_BYTES, buffer_out, &block);
    if (error != 0) return error;
    size_t bytes = (size_t)handle->bytes + ROCKS_TRAILER_BYTES, scratch_bytes = bytes * 8 + 4096;
    if (block[handle->bytes] != COMPRESSION_NONE) *scratch_out = memory_alloc(scratch_bytes);
    return rocks__block_content(block, bytes, *scratch_out, scratch_bytes, content_out);
}

static int read_footer(const struct rocks_table *table, struct handle *index_out) {
    uint8_t *buffer;
    const uint8_t *footer;
    if (table->file_bytes < FOOTER_BYTES) return FIRN_ECORRUPT;
    int error = file_read(table, table->file_bytes - FOOTER_BYTES, FOOTER_BYTES, &buffer, &footer);
    if (error != 0) return error;
    uint32_t version = bytes_load32(footer + FOOTER_VERSION);
    struct reader reader = {footer + 1, footer + FOOTER_VERSION};
    struct handle metaindex;
    if (bytes_load64(footer + FOOTER_VERSION + 4) != FOOTER_MAGIC)
        error = FIRN_ECORRUPT;
    else if (version < 4 || version > 5)
        error = FIRN_EUNSUPPORTED;
    else if ((error = take_handle(&reader, &metaindex)) == 0)
        error = take_handle(&reader, index_out);
    memory_free(buffer);
    return error;
}

struct table_builder {
    struct rocks_table *table;
    uint32_t capacity;
    uint64_t next_offset; /* where the next block must begin */
};

static int builder_add(struct table_builder *builder, const struct index_cursor *cursor) {
    struct rocks_table *table = builder->table;
    const struct handle *handle = &cursor->handle;
    uint64_t id = index_id(cursor);
    if (table->blocks > 0 && handle->offset != builder->next_offset) return FIRN_EUNSUPPORTED;
    if (handle->bytes == 0 || handle->bytes > UINT32_MAX || handle->offset > table->file_bytes ||
        handle->bytes + ROCKS_TRAILER_BYTES > table->file_bytes - handle->offset)
        return FIRN_ECORRUPT;
    uint64_t end = handle->offset + handle->bytes + ROCKS_TRAILER_BYTES;
    if (id < table->first_id || (table->blocks > 0 && id - table->first_id <= table->ends[table->blocks - 1]))
        return FIRN_ECORRUPT;
    if (id > table->last_id) id = table->last_id;
    if (end > UINT32_MAX || id - table->first_id > UINT32_MAX) return FIRN_ETOOBIG;
    if (table->blocks + 1 >= builder->capacity) {
        builder->capacity = builder->capacity * 2 + 64;
        table->ends = memory_realloc(table->ends, builder->capacity * sizeof *table->ends);
        table->offsets = memory_realloc(table->offsets, builder->capacity * sizeof *table->offsets);
    }
    table->ends[table->blocks] = (uint32_t)(id - table->first_id);
    table->offsets[table->blocks] = (uint32_t)handle->offset;
    table->offsets[++table->blocks] = (uint32_t)end;
    builder->next_offset = end;
    return 0;
}

static int read_index(struct table_builder *builder, const struct handle *handle, unsigned levels) {
    uint8_t *buffer, *scratch;
    struct bytes content;
    struct index_cursor cursor = {.key_bytes = 0};
    int error = file_read_block(builder->table, handle, &buffer, &scratch, &content), more = 0;
    if (error == 0) error = block_entries(content, &cursor.reader);
    while (error == 0 && (more = index_next(&cursor)) > 0)
        error = levels > 1 ? read_index(builder, &cursor.handle, levels - 1) : builder_add(builder, &cursor);
    memory_free(scratch);
    memory_free(buffer);
    return error != 0 ? error : more;
}

static int table_load(struct rocks_table *table, unsigned levels) {
    struct handle index;
    struct table_builder builder = {.table = table};
    int error = read_footer(table, &index);
    if (error == 0) error = read_index(&builder, &index, levels);
    if (error != 0) return error;
    if (table->blocks == 0 || table->ends[table->blocks - 1] != table->last_id - table->first_id)
        return FIRN_ECORRUPT;
    table->ends = memory_realloc(table->ends, table->blocks * sizeof *table->ends);
    table->offsets = memory_realloc(table->offsets, (table->blocks + (size_t)1) * sizeof *table->offsets);
    table->memory_bytes = sizeof *table + (table->blocks * 2 + (size_t)1) * sizeof(uint32_t);
    return 0;
}

int rocks__table_open(const char *path, int direct, unsigned levels, uint64_t first_id, uint64_t last_id,
                      struct rocks_table **table_out) {
    *table_out = NULL;
    FIRN_ASSERT(first_id <= last_id && levels >= 1 && levels <= 2);
    int flags = O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0);
    int file = open(path, flags | O_NOATIME); /* the times of reads are not worth 1 % of them */
    if (file < 0 && errno == EPERM) file = open(path, flags);
    struct stat status;
    if (file < 0) return FIRN_EIO;
    if (fault_point_fails(FAULT_ROCKS_TABLE) || fstat(file, &status) != 0) {
        close(file);
        return FIRN_EIO;
    }
    struct rocks_table *table = memory_alloc_zero(sizeof *table);
    table->file = file;
    table->file_bytes = (uint64_t)status.st_size;
    table->first_id = first_id;
    table->last_id = last_id;
    int error = table_load(table, levels);
    if (error != 0) {
        rocks__table_destroy(table);
        return error;
    }
    *table_out = table;
    return 0;
}

void rocks__table_destroy(struct rocks_table *table) {
    if (table == NULL) return;
    FIRN_ASSERT(__atomic_load_n(&table->reading, __ATOMIC_ACQUIRE) == 0);
    close(table->file);
    memory_free(table->ends);
    memory_free(table->offsets);
    memory_free(table);
}

void rocks__table_block(const struct rocks_table *table, uint64_t id, uint64_t *offset_out,
                        uint32_t *bytes_out) {
    FIRN_ASSERT(id >= table->first_id && id <= table->last_id);
    uint32_t wanted = (uint32_t)(id - table->first_id), low = 0, high = table->blocks - 1;
    while (low < high) { /* the first block that ends at the id or after it; the last block does */
        uint32_t middle = low + (high - low) / 2;
        if (table->ends[middle] >= wanted)
            high = middle;
        else
            low = middle + 1;
    }
    *offset_out = table->offsets[low];
    *bytes_out = table->offsets[low + 1] - table->offsets[low];
}
