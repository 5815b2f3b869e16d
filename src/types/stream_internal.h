/* SPDX-License-Identifier: BSD-3-Clause */
/* What the stream files share. */
#ifndef FIRN_TYPES_STREAM_INTERNAL_H
#define FIRN_TYPES_STREAM_INTERNAL_H

#include "base/bytes_builder.h"
#include "page/page.h"
#include "types/stream.h"

#define STREAM_FLAG_DELETED     1
#define STREAM_FLAG_SAME_FIELDS 2

/* The reference of a node under the hand: what changes it is accounted by stream__close. */
struct stream__hold {
    struct stream *stream;
    struct stream_node *node;
    uint64_t before_ref;
    uint32_t before_bytes; /* of a DRAM page */
};

void stream__open(struct stream *stream, struct stream_node *node, struct stream__hold *hold_out);
void stream__close(struct stream__hold *hold);
/* The node's page; ${promote}: as page_read, else as page_peek. */
FIRN_MUST_USE int stream__read(struct stream *stream, struct stream_node *node, int promote,
                               struct bytes *payload_out);
/* The page of the node at ${place} is given back and the node goes. */
void stream__drop_node(struct stream *stream, struct stream_place place);
/* Work out first_id if that needs no page from below; else it is not known any more (ST5). */
void stream__settle_first(struct entry *entry);
/* 0, or the page is recorded (FIRN_EFAULT). */
FIRN_MUST_USE int stream__touch_ref(uint64_t ref);

/*
 * A node that gets no more entries is kept sealed: the same elements without their sizes behind them, without
 * the number of elements at each entry's end, and with a header of 4 bytes: total bytes and STREAM_SEALED. A
 * third to a tenth shorter, so that a page with its header is not larger than Redis's node without one. Only
 * a walk backward has more to do. Both forms may be anywhere; a sealed node that becomes the tail again is
 * unsealed when it grows.
 */
#define STREAM_SEALED 0x80000000u

static inline int stream__is_sealed(struct bytes payload) {
    return payload.size >= 4 && (bytes_load32(payload.data) & STREAM_SEALED) != 0;
}
/* A sealed page of a plain node's content; NULL: no memory, or what is there is no node. */
struct page *stream__seal(struct bytes payload);
/* The listpack of a sealed node. */
FIRN_MUST_USE int stream__unseal(struct bytes payload, struct bytes_builder *out);

/* The master entry of a page. */
struct stream__master {
    int64_t count, deleted;
    uint64_t field_count;
    struct listpack_reader fields;  /* at the first field name */
    struct listpack_reader entries; /* at the first entry */
};
FIRN_MUST_USE int stream__master(struct bytes payload, struct stream__master *master_out);

/* The head of an entry. */
struct stream__entry {
    int64_t flags;
    struct stream_id id;
    uint64_t pairs;            /* fields */
    uint64_t elements;         /* values, or fields and values */
    const uint8_t *start;      /* its flags */
    struct listpack_reader at; /* the first of the elements */
};
FIRN_MUST_USE int stream__entry(uint64_t master_fields, struct stream_id node_id, struct listpack_reader at,
                                struct stream__entry *entry_out);
/* Behind the entry. */
FIRN_MUST_USE int stream__entry_end(const struct stream__entry *entry, struct listpack_reader *at_out);

/* FIRN_ENOTFOUND of a record is a broken stream. */
static inline int stream__error(int error) {
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}

/* Groups and the memory they take; freeing up to ${steps} leaves and groups: nonzero while there is more. */
size_t stream__groups_memory(const struct stream *stream);
int stream__groups_reap(struct stream *stream, unsigned steps);
void stream__groups_copy(const struct stream *from, struct stream *to);
void stream__groups_check(const struct stream *stream);
/* An empty stream without an entry, registered. */
struct stream *stream__create(void);

int stream__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
int stream__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                   struct entry **entry_out);

#endif
