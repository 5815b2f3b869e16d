/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A digest is 160 bits made of three seeded checksums. Elements of unordered types are combined by xor of
 * their digests, of ordered ones (strings, lists, streams) by hashing the running digest with the next
 * element; keys are combined by xor of digest(db, key, value, expiry).
 */
#include "cmd/debug_digest.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes_builder.h"
#include "base/hash.h"
#include "keyspace/db.h"
#include "types/type.h"

struct digest {
    uint8_t bytes[20];
};

static void digest_of(struct bytes data, struct digest *digest_out) {
    for (unsigned i = 0; i < 3; i++) {
        uint64_t part = hash_checksum(data, 0x6669726e00000001u + i);
        memcpy(digest_out->bytes + 8 * i, &part, i < 2 ? 8 : 4);
    }
}

static void combine(struct digest *into, const struct digest *one) {
    for (size_t i = 0; i < sizeof into->bytes; i++)
        into->bytes[i] ^= one->bytes[i];
}

struct walk {
    struct digest digest;
    struct bytes_builder scratch;
    int ordered;
};

static void append_part(struct bytes_builder *out, struct bytes part) {
    uint64_t size = part.size;
    bytes_builder_append(out, &size, sizeof size);
    bytes_builder_append(out, part.data, part.size);
}

static int receive(const struct type_element *element, void *ctx) {
    struct walk *walk = ctx;
    struct digest one;
    bytes_builder_clear(&walk->scratch);
    if (walk->ordered) bytes_builder_append(&walk->scratch, walk->digest.bytes, sizeof walk->digest.bytes);
    append_part(&walk->scratch, element->name);
    append_part(&walk->scratch, element->value);
    bytes_builder_append(&walk->scratch, &element->score, sizeof element->score);
    bytes_builder_append(&walk->scratch, &element->expiry_ms, sizeof element->expiry_ms);
    digest_of(bytes_builder_bytes(&walk->scratch), &one);
    if (walk->ordered)
        walk->digest = one;
    else
        combine(&walk->digest, &one);
    return 0;
}

static int digest_entry(struct entry *entry, struct digest *digest_out) {
    enum type_id type = entry_type(entry);
    struct walk walk = {.ordered = type == TYPE_STRING || type == TYPE_LIST || type == TYPE_STREAM};
    int error = type_ops(type)->walk(entry, receive, &walk);
    int64_t expiry = entry_expiry(entry);
    bytes_builder_clear(&walk.scratch);
    bytes_builder_append_byte(&walk.scratch, (uint8_t)type);
    bytes_builder_append(&walk.scratch, walk.digest.bytes, sizeof walk.digest.bytes);
    bytes_builder_append(&walk.scratch, &expiry, sizeof expiry);
    digest_of(bytes_builder_bytes(&walk.scratch), digest_out);
    bytes_builder_fini(&walk.scratch);
    return error;
}

static void to_hex(const struct digest *digest, char hex_out[DEBUG_DIGEST_HEX]) {
    for (size_t i = 0; i < sizeof digest->bytes; i++)
        snprintf(hex_out + 2 * i, 3, "%02x", digest->bytes[i]);
}

int debug_digest_value(struct entry *entry, char hex_out[DEBUG_DIGEST_HEX]) {
    struct digest digest = {0};
    int error = entry != NULL ? digest_entry(entry, &digest) : 0;
    to_hex(&digest, hex_out);
    return error;
}

struct all {
    struct digest digest;
    struct bytes_builder scratch;
    uint32_t db;
};

static int add_key(struct entry *entry, void *ctx) {
    struct all *all = ctx;
    struct digest value, one;
    int error = digest_entry(entry, &value);
    if (error != 0) return error;
    bytes_builder_clear(&all->scratch);
    bytes_builder_append(&all->scratch, &all->db, sizeof all->db);
    append_part(&all->scratch, entry_key(entry));
    bytes_builder_append(&all->scratch, value.bytes, sizeof value.bytes);
    digest_of(bytes_builder_bytes(&all->scratch), &one);
    combine(&all->digest, &one);
    return 0;
}

int debug_digest_all(char hex_out[DEBUG_DIGEST_HEX]) {
    struct all all = {0};
    int error = 0;
    for (all.db = 0; all.db < db_count() && error == 0; all.db++)
        error = db_each(db_at(all.db), add_key, &all);
    bytes_builder_fini(&all.scratch);
    to_hex(&all.digest, hex_out);
    return error;
}
