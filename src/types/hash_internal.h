/* SPDX-License-Identifier: BSD-3-Clause */
/* What hash.c, hash_expiry.c and hash_rdb.c share. */
#ifndef FIRN_TYPES_HASH_INTERNAL_H
#define FIRN_TYPES_HASH_INTERNAL_H

#include "types/hash.h"
#include "types/packed_page.h"
#include "types/page_directory.h"

struct hash_object {
    struct object head;
    struct page_directory directory;
};

/* The object of a large hash, NULL for a small one. */
static inline struct hash_object *hash__object(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}

/*
 * The page reference of a hash position under the hand: a copy of the entry's (small) or the directory's word
 * (large). Open, read or change through it, close: closing stores it back, accounts the page and its
 * deadline.
 */
struct hash__slot {
    struct entry *entry;
    struct hash_object *object; /* NULL: small */
    uint64_t *ref;
    uint64_t copy;
    uint64_t hash;
    uint64_t before_ref;
    uint32_t before_bytes;   /* of a DRAM page */
    int64_t before_deadline; /* of the page as read or written; -1 unknown or none */
};

void hash__open(struct entry *entry, uint64_t hash, struct hash__slot *slot_out);
/* Open the slot of a range of a large hash. */
void hash__open_range(struct entry *entry, const struct directory_range *range, struct hash__slot *slot_out);
/* The payload (size 0: no page). ${promote}: as page_read, else as page_peek. */
FIRN_MUST_USE int hash__read(struct hash__slot *slot, int promote, struct bytes *payload_out);
/* As page_peek, and checked where the page is about to be changed and comes from below. */
FIRN_MUST_USE int hash__read_to_change(struct hash__slot *slot, struct bytes *payload_out);
void hash__close(struct hash__slot *slot);
/* Let go of the page (it has become empty). */
void hash__drop_page(struct hash__slot *slot);
/* After entries went: give memory back, or unite neighbours. Closes the slot. */
void hash__close_smaller(struct hash__slot *slot);

/* Call ${visit} for each page's payload in order; nonzero stops and is returned. No faults when
 * hash_touch_all returned 0. */
FIRN_MUST_USE int hash__each_page(struct entry *entry, int (*visit)(struct bytes payload, void *ctx),
                                  void *ctx);

int hash__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
int hash__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                 struct entry **entry_out);

#endif
