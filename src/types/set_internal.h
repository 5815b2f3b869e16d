/* SPDX-License-Identifier: BSD-3-Clause */
/* What set.c, set_walk.c and set_rdb.c share. */
#ifndef FIRN_TYPES_SET_INTERNAL_H
#define FIRN_TYPES_SET_INTERNAL_H

#include "types/packed_page.h"
#include "types/page_directory.h"
#include "types/set.h"

#define SET_SMALL_PAGE_BYTES_MAX (128u << 10) /* of a packed page of a set that reports listpack */

struct set_object {
    struct object head;
    struct page_directory directory;
};

/* The object of a large set, NULL for a small one. */
static inline struct set_object *set__object(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}

/* SE2. */
static inline int set__is_integers(const struct entry *entry) {
    return entry_encoding(entry) == ENCODING_INTSET && set__object(entry) == NULL;
}

/* The page reference of a hash position under the hand, as struct hash__slot. */
struct set__slot {
    struct entry *entry;
    struct set_object *object; /* NULL: small */
    uint64_t *ref;
    uint64_t copy;
    uint64_t hash;
    uint64_t before_ref;
    uint32_t before_bytes; /* of a DRAM page */
};

void set__open(struct entry *entry, uint64_t hash, struct set__slot *slot_out);
void set__open_range(struct entry *entry, const struct directory_range *range, struct set__slot *slot_out);
/* The payload (size 0: no page). ${promote}: as page_read, else as page_peek. */
FIRN_MUST_USE int set__read(struct set__slot *slot, int promote, struct bytes *payload_out);
/* As page_peek, and checked where the page is about to be changed and comes from below. */
FIRN_MUST_USE int set__read_to_change(struct set__slot *slot, struct bytes *payload_out);
/* Store the reference back and account the page. */
void set__close(struct set__slot *slot);
/* After members went: give memory back, or unite neighbours. Closes the slot. */
void set__close_smaller(struct set__slot *slot);
/* 0, or the page is recorded (FIRN_EFAULT). */
FIRN_MUST_USE int set__touch_ref(uint64_t ref);
/* FIRN_ENOTFOUND of a record is a broken set. */
static inline int set__error(int error) {
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}

int set__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
int set__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                struct entry **entry_out);

#endif
