/* SPDX-License-Identifier: BSD-3-Clause */
/* What list.c, list_change.c, list_walk.c and list_rdb.c share. */
#ifndef FIRN_TYPES_LIST_INTERNAL_H
#define FIRN_TYPES_LIST_INTERNAL_H

#include "base/assert.h"
#include "types/list.h"
#include "types/list_page.h"
#include "types/page_sequence.h"

struct list_object {
    struct object head;
    uint64_t element_bytes;   /* of the items of all pages */
    struct page_slot ends[2]; /* by enum list_end; ref 0: no page */
    struct page_sequence middle;
    uint64_t dram_low, dram_high; /* DRAM pages of the middle have ordinals in [low, high); others may, too */
};

/* The page of the middle with ${ordinal} is in DRAM now. */
static inline void list__note_dram(struct list_object *object, uint64_t ordinal) {
    if (object->dram_low >= object->dram_high) {
        object->dram_low = ordinal;
        object->dram_high = ordinal + 1;
    } else if (ordinal < object->dram_low) {
        object->dram_low = ordinal;
    } else if (ordinal >= object->dram_high) {
        object->dram_high = ordinal + 1;
    }
}
/* Put ${slot} into the middle as page ${position}. */
void list__insert_middle(struct list_object *object, uint64_t position, struct page_slot slot);

/* The object of a large list, NULL for a small one. */
static inline struct list_object *list__object(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}

enum list_where { LIST_AT_TAIL = LIST_TAIL, LIST_AT_HEAD = LIST_HEAD, LIST_AT_MIDDLE };

/* A page of a list under the hand. Not to be copied (slot may point into it); void once pages of the list
 * come or go. */
struct list_place {
    struct entry *entry;
    struct list_object *object; /* NULL: small */
    struct page_slot *slot;
    struct page_slot copy; /* of the entry's reference */
    enum list_where where;
    struct sequence_cursor cursor; /* LIST_AT_MIDDLE */
    uint64_t first;                /* number of its first element */
    uint64_t before_ref;
    uint32_t before_bytes;      /* of the slot */
    uint32_t before_page_bytes; /* of a DRAM page */
};

/* Open the page with element ${index} (< size); the page of an end (of a small list: its page; ref may be 0).
 */
void list__open(struct entry *entry, uint64_t index, struct list_place *place_out);
void list__open_end(struct entry *entry, enum list_end end, struct list_place *place_out);
/* To the page after or before it: 1, or 0 at the end. */
int list__next(struct list_place *place);
int list__previous(struct list_place *place);
/* A walk over everything: the pages from ${place} on will be read. How many were announced. */
unsigned list__announce(struct list_place place);
/* Its content. ${promote}: as page_read, else as page_peek. */
FIRN_MUST_USE int list__read(struct list_place *place, int promote, struct list_view *view_out);
/* The same without promotion, checked where the page comes from below and is about to be changed. */
FIRN_MUST_USE int list__read_to_change(struct list_place *place, struct list_view *view_out);
/* A mutable page for the slot with ${capacity}, content kept. */
FIRN_MUST_USE int list__write(struct list_place *place, size_t capacity, struct page **page_out);
/* Give back memory that ${page}, the slot's, no longer needs; not at the ends of a large list. Close it
 * after. */
void list__shrink(struct list_place *place, struct page *page);
/* Its page (in DRAM, perhaps another than before) was changed, or only promoted: slot, sums, entry. */
void list__close(struct list_place *place);
/* Drop the page and its slot; elements are not counted off entry->size. The place is void. */
void list__drop(struct list_place *place);
/* The slot's reference, now the caller's, leaves the list with its slot. The place is void. */
struct page_slot list__take(struct list_place *place);

/* Make a small list large: its page becomes the one at ${end}. */
struct list_object *list__make_large(struct entry *entry, enum list_end end);
/* A large list of one page that is small enough becomes small; nothing otherwise. */
void list__make_small(struct entry *entry);
/* Put a page in before or after ${place} (which is void then). */
void list__add_page(struct list_place *place, int after, struct page_slot slot);
/* The slot for a fresh page. */
struct page_slot list__slot_of(const struct page *page);
/* Count ${slot}, which came (${sign} 1) or goes (-1). */
void list__account(struct list_object *object, const struct page_slot *slot, int sign);

/* 0, or the page is recorded (FIRN_EFAULT). */
FIRN_MUST_USE int list__touch_ref(uint64_t ref);
/* FIRN_ENOTFOUND of a record is a broken list. */
static inline int list__error(int error) {
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}
/* Bytes of all items; 0 when the one page of a small list is not in DRAM. */
uint64_t list__element_bytes(const struct entry *entry);
/* Whether ${count} elements of ${bytes} as a listpack keep the limit divided by ${part}. */
int list__fits_listpack(uint64_t count, uint64_t bytes, unsigned part);

struct list_object *list__object_create(void);
/* Free an object without pages. */
void list__object_free(struct list_object *object);

int list__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
int list__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                 struct entry **entry_out);

#endif
