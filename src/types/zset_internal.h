/* SPDX-License-Identifier: BSD-3-Clause */
/* What zset.c, zset_members.c, zset_walk.c and zset_rdb.c share. */
#ifndef FIRN_TYPES_ZSET_INTERNAL_H
#define FIRN_TYPES_ZSET_INTERNAL_H

#include "types/packed_collection.h"
#include "types/score_tree.h"
#include "types/zset.h"

struct zset_object {
    struct packed_collection members; /* member, score; first, as it begins with struct object */
    struct score_tree tree;           /* elements in order */
    uint64_t sweep_rank;              /* where the victim sweep goes on among the leaves */
    int sweep_leaves;                 /* it is among them, not among the member pages */
};

/* The object of a large sorted set, NULL for a small one. */
static inline struct zset_object *zset__object(const struct entry *entry) {
    uint64_t ref = entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_OBJECT ? page_ref_object(ref) : NULL;
}

/* A page reference under the hand; its changes are accounted when it is closed (ZS2). */
struct zset__slot {
    struct object *head; /* NULL: small */
    uint64_t *ref;
    uint64_t before_ref;
    uint32_t before_bytes; /* of a DRAM page */
};

static inline uint32_t zset__dram_bytes(uint64_t ref) {
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref)->bytes : 0;
}
static inline int zset__is_dram(uint64_t ref) {
    return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
}

static inline void zset__slot_open(struct zset__slot *slot, struct object *head, uint64_t *ref) {
    slot->head = head;
    slot->ref = ref;
    slot->before_ref = *ref;
    slot->before_bytes = zset__dram_bytes(*ref);
}
/* Account what became of the reference. It is opened anew. */
void zset__slot_close(struct zset__slot *slot);
/* A page came into or leaves the object without a slot. */
void zset__account_page(struct object *head, uint64_t ref, int sign);

/* FIRN_ENOTFOUND of a record is a broken sorted set. */
static inline int zset__error(int error) {
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}
/* 0, or the page is recorded (FIRN_EFAULT). */
FIRN_MUST_USE int zset__touch_ref(uint64_t ref);

enum zset__reading { ZSET__PROMOTE, ZSET__STILL };
/* Open the score page of a slot: its content, checked where it comes from below. */
FIRN_MUST_USE int zset__leaf_read(struct zset__slot *slot, enum zset__reading reading,
                                  struct score_view *view_out, struct bytes *payload_out);

/* --- zset_members.c: the member pages of a large sorted set --- */
/* The score: 0, FIRN_ENOTFOUND, or an error of reading. */
FIRN_MUST_USE int zset_members__find(struct zset_object *object, uint64_t hash, struct bytes member,
                                     enum zset__reading reading, double *score_out);
FIRN_MUST_USE int zset_members__touch(const struct zset_object *object, uint64_t hash);
/* What putting ${member} with ${score} comes to: whether it is there, and with which score. Changes nothing.
 */
struct zset_members__change {
    struct packed_slot slot;
    struct packed_plan plan;
    int exists;
    double old;
};
FIRN_MUST_USE int zset_members__plan(struct zset_object *object, uint64_t hash, struct bytes member,
                                     double score, struct zset_members__change *change_out);
/* Put it in with ${score}, which may be another one; no member page may have changed since the plan. A score
 * that it had before can be given back (by a new plan) without failing. */
FIRN_MUST_USE int zset_members__apply(struct zset_members__change *change, struct bytes member, double score);
/* Both. */
FIRN_MUST_USE int zset_members__put(struct zset_object *object, uint64_t hash, struct bytes member,
                                    double score);
/* 0, or FIRN_ENOTFOUND. One that was just put in can be taken out without failing. */
FIRN_MUST_USE int zset_members__remove(struct zset_object *object, uint64_t hash, struct bytes member);

/* Put an element that is not there into the tree, into the leaf where it belongs, which is cut if it is full.
 * Not counted in entry->size. */
FIRN_MUST_USE int zset__add_element(struct zset_object *object, struct bytes member, double score);

/* --- a large sorted set in the making: the halves of an element one by one, all of both in the end --- */
/* Into the order, where it may be twice. Counts it. */
FIRN_MUST_USE int zset__add_to_tree(struct entry *entry, struct bytes member, double score);
/* Into the member pages. FIRN_ECORRUPT: it is there. */
FIRN_MUST_USE int zset__add_to_members(struct entry *entry, struct bytes member, double score);

/* --- zset_rdb.c --- */
int zset__encode(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
int zset__decode(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                 struct entry **entry_out);

#endif
