/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Redis's digests, so that a server of either kind can be compared with one of the other. With
 *
 *   add(d, x) = d ^ SHA1(x)            order does not count
 *   mix(d, x) = SHA1(add(d, x))        order counts
 *
 * and all digests beginning as 20 zeros, a value is mix(type, 32 bits big endian), then
 *
 *   string          mix(content)
 *   list            mix(element) ...
 *   set             add(member) ...
 *   sorted set      add(mix(mix(0, member), score as %.17g)) ...
 *   hash            add(mix(mix(0, field), value)) ..., the inner one with add("!!hexpire!!") if the field
 * has a deadline stream          per entry: mix("ms.seq"), mix(field), mix(value) ...
 *
 * and add("!!expire!!") if the key has a deadline. All data: per database with keys mix(number, 32 bits big
 * endian), then add(value's digest with mix(0, key) as its beginning). The numbers of types are those of enum
 * type_id.
 */
#include "cmd/debug_digest.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes_builder.h"
#include "ds/sha1.h"
#include "keyspace/db.h"
#include "types/type.h"

struct digest {
    uint8_t bytes[SHA1_BYTES];
};

static void digest_add(struct digest *into, struct bytes data) {
    struct digest one;
    sha1(data, one.bytes);
    for (size_t i = 0; i < sizeof into->bytes; i++)
        into->bytes[i] ^= one.bytes[i];
}

static void digest_mix(struct digest *into, struct bytes data) {
    digest_add(into, data);
    sha1(bytes_of(into->bytes, sizeof into->bytes), into->bytes);
}

static void digest_mix_number(struct digest *into, uint32_t number) {
    number = __builtin_bswap32(number);
    digest_mix(into, bytes_of(&number, sizeof number));
}

struct walk {
    struct digest *digest;
    enum type_id type;
};

static void add_pair(struct digest *digest, struct bytes first, struct bytes second, int expires) {
    struct digest pair = {0};
    digest_mix(&pair, first);
    digest_mix(&pair, second);
    if (expires) digest_add(&pair, bytes_of_text("!!hexpire!!"));
    digest_add(digest, bytes_of(pair.bytes, sizeof pair.bytes));
}

/* A stream's element: fields and values one after the other, each behind its size. */
static void mix_entry(struct digest *digest, const struct type_element *element) {
    char id[64];
    struct bytes parts = element->value;
    size_t size = element->name.size < sizeof id ? element->name.size : sizeof id;
    memcpy(id, element->name.data, size);
    char *dash = memchr(id, '-', size);
    if (dash != NULL) *dash = '.';
    digest_mix(digest, bytes_of(id, size));
    while (parts.size >= sizeof(uint64_t)) {
        uint64_t part = bytes_load64(parts.data);
        parts = bytes_of(parts.data + sizeof part, parts.size - sizeof part);
        if (part > parts.size) return;
        digest_mix(digest, bytes_of(parts.data, part));
        parts = bytes_of(parts.data + part, parts.size - part);
    }
}

static int receive(const struct type_element *element, void *ctx) {
    const struct walk *walk = ctx;
    char score[40];
    switch (walk->type) {
    case TYPE_SET: digest_add(walk->digest, element->name); break;
    case TYPE_ZSET:
        snprintf(score, sizeof score, "%.17g", element->score);
        add_pair(walk->digest, element->name, bytes_of_text(score), 0);
        break;
    case TYPE_HASH: add_pair(walk->digest, element->name, element->value, element->expiry_ms >= 0); break;
    case TYPE_STREAM: mix_entry(walk->digest, element); break;
    default: digest_mix(walk->digest, element->name); break;
    }
    return 0;
}

static int digest_entry(struct entry *entry, struct digest *digest) {
    struct walk walk = {.digest = digest, .type = entry_type(entry)};
    digest_mix_number(digest, (uint32_t)walk.type);
    int error = type_ops(walk.type)->walk(entry, receive, &walk);
    if (entry->flags & ENTRY_EXPIRY) digest_add(digest, bytes_of_text("!!expire!!"));
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

static int add_key(struct entry *entry, void *ctx) {
    struct digest digest = {0};
    digest_mix(&digest, entry_key(entry));
    int error = digest_entry(entry, &digest);
    digest_add(ctx, bytes_of(digest.bytes, sizeof digest.bytes));
    return error;
}

int debug_digest_all(char hex_out[DEBUG_DIGEST_HEX]) {
    struct digest all = {0};
    int error = 0;
    for (unsigned i = 0; i < db_count() && error == 0; i++) {
        if (db_size(db_at(i)) == 0) continue;
        digest_mix_number(&all, i);
        error = db_walk(db_at(i), add_key, &all);
    }
    to_hex(&all, hex_out);
    return error;
}
