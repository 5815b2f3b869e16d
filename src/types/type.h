/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct type_ops: everything the rest of Firn needs of a value type. A new type is one file that fills one
 * of these and registers it in type.c's table. RDB, DUMP, demotion, COPY, memory use, DEBUG DIGEST and lazy
 * freeing all go through it.
 *
 * A large value is an OBJECT: a DRAM struct that begins with struct object and holds page references (its
 * directory). Executor only unless said otherwise. "May fault": returns FIRN_EFAULT like page_peek, having
 * changed nothing.
 */
#ifndef FIRN_TYPES_TYPE_H
#define FIRN_TYPES_TYPE_H

#include "base/bytes.h"
#include "base/error.h"
#include "types/entry.h"

struct bytes_builder; /* base/bytes_builder.h */

#define OBJECT_MAGIC 0x0b1ec7a5u

/* Head of every OBJECT. Objects are registered by id from creation to free, so that a finished demotion finds
 * its page's slot again. */
struct object {
    uint32_t magic;
    uint8_t type;       /* enum type_id */
    uint8_t registered; /* from object_register to object_unregister */
    uint8_t pinned;     /* the entry that refers to it is ENTRY_PINNED: its pages are no victims */
    uint8_t unused;
    uint64_t id;         /* never reused */
    uint64_t dram_bytes; /* payload bytes of its DRAM pages (what demoting all of it would free) */
    uint32_t pages;      /* pages in the directory */
    uint32_t pages_dram; /* of which in DRAM */
    uint64_t sweep;      /* where the victim sweep goes on (type's own unit) */
};

/* Register a new object: fills magic, type, id. */
void object_register(struct object *object, enum type_id type);
/* Unregister before freeing. */
void object_unregister(struct object *object);
/* The object with ${id}, or NULL. */
struct object *object_find(uint64_t id);
/* Objects alive, and the bytes of their DRAM pages, for choosing where victims come from. */
size_t object_count(void);
uint64_t object_dram_bytes(void);
uint64_t object_pages_dram(void); /* how many those are */
/* Some registered object, chosen with probability proportional to nothing in particular (round robin); NULL
 * if none. */
struct object *object_next(void);
/* Types account page changes here so that the sums stay right. */
void object_account(struct object *object, int64_t dram_bytes, int32_t pages, int32_t pages_dram);

/* The entry's object, if it has one, is pinned as the entry is. After either changed. */
void object_set_pinned(const struct entry *entry);

/* A page of an object that may be demoted. */
struct type_victim {
    uint64_t ref;     /* DRAM page, or PMEM record when ${from} was PMEM */
    uint64_t locator; /* type's own address of the slot that holds it (hash prefix, page index...) */
    uint32_t clock;   /* page->clock (0 for PMEM) */
};

/* Receiver of a walk over a value's elements. Bytes are borrowed for the call. Nonzero return stops the walk
 * and is returned. */
struct type_element {
    struct bytes name;  /* field, member, element, stream ID... */
    struct bytes value; /* value of a field; of a stream entry: fields and values, each behind its size (64
                         * bits); empty otherwise */
    double score;       /* sorted sets */
    int64_t expiry_ms;  /* of a field; -1 none */
};

struct type_ops {
    const char *name;

    /* Release everything ${entry} refers to below its own allocation (pages, objects, records). Large values
     * hand their pages to the reaper in slices (type_reap); the call itself is O(1). Never faults: deleting
     * needs no value. */
    void (*free_value)(struct entry *entry);
    /* Free up to ${pages} pages of a detached object; nonzero when there is more. */
    int (*reap)(struct object *object, unsigned pages);

    /* Make ${target} (a fresh entry of the same type with ENTRY_REF layout as needed, made by the caller
     * through db) a copy that changes by itself: a large value shares its
     * pages (page_share) and needs none of them, a small one may fault. */
    int (*copy_value)(struct entry *source, struct entry **target_inout);

    /* Call ${receive} for each element in a stable order (string: one element, name = content). May fault
     * (asks for many pages at once). */
    int (*walk)(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                void *ctx);

    /* Bytes of DRAM of the value besides the entry's own allocation (MEMORY USAGE); ${samples} as there, 0 =
     * all. No fault. */
    size_t (*memory)(const struct entry *entry, size_t samples);
    /* Elements whose freeing costs (lazyfree effort). */
    size_t (*free_effort)(const struct entry *entry);

    /* RDB: append type byte-less body to ${out} with the RDB type in *rdb_type_out. May fault. */
    int (*encode)(struct entry *entry, struct bytes_builder *out, uint8_t *rdb_type_out);
    /* RDB: build the value of ${key} from a body; ${deep} checks everything. FIRN_ECORRUPT with nothing
     * leaked; FIRN_ENOTFOUND, with *consumed_out, for a collection of no elements (old bugs left such in
     * files). *entry_out is not in any table. */
    int (*decode)(struct bytes key, uint8_t rdb_type, struct bytes body, size_t *consumed_out, int deep,
                  struct entry **entry_out);

    /* Objects only. Victims: sweep on from object->sweep over at most ${scan} pages, offering those in tier
     * ${from} (PAGE_TAG_DRAM or PAGE_TAG_PMEM) that are not being moved and not the tail that type keeps hot;
     * returns how many of ${limit} were filled. */
    unsigned (*victims)(struct object *object, int from, unsigned scan, struct type_victim *victims_out,
                        unsigned limit);
    /* The slot for a locator of this object: NULL if none any more. The caller compares and may store another
     * reference for the same content, then calls object_account. */
    uint64_t *(*locate)(struct object *object, uint64_t locator);

    /* O(n) structural check; asserts. Skips pages that are not in DRAM. */
    void (*check)(const struct entry *entry);
};

/* The ops of ${type}; NULL for a type that does not exist yet. */
const struct type_ops *type_ops(enum type_id type);
/* Which type reads RDB type ${rdb_type}; NULL if none does. */
const struct type_ops *type_ops_for_rdb(uint8_t rdb_type);

/*
 * Values larger than memory go to a file and come from it in parts. Between two elements of a plain form (one
 * that is not a single string), an encoder calls type_encode_part: when ${out} has grown long and a saver
 * waits for it, the saver takes what is there and empties ${out}. What was written before such a call cannot
 * be taken back; an error afterwards fails the whole save. 0, or the saver's error: return it. A decoder
 * calls type_decode_part between two elements, holding no page: a loader makes room; FIRN_ECLOSED: it wants
 * no more.
 *
 * A collection whose pages are in order of hash is not put together in the order of a file when it is larger
 * than memory: from when type_decode_spills says so on, the decoder gives its elements to type_decode_spill
 * and, after the last one, gets them back in order of hash (type_decode_unspill).
 */
#define TYPE_ENCODE_PART_BYTES (1u << 20)
struct type_spilled {
    struct bytes name, value;
    int64_t number; /* the decoder's own: a deadline, a score */
};
typedef int type_spilled_receive(const struct type_spilled *element, void *ctx);
struct type_part_hooks {
    int (*take)(struct bytes_builder *out, uint8_t rdb_type);
    int (*make_room)(void);
    uint32_t spill_pages;     /* a collection of so many pages is better spilled; 0: none is */
    int (*spill_ready)(void); /* whether it can be */
    int (*spill)(uint64_t hash, const struct type_spilled *element);
    int (*unspill)(type_spilled_receive *receive, void *ctx);
};
extern struct type_part_hooks type_part_hooks; /* for src/persist */
FIRN_MUST_USE int type_encode_part(struct bytes_builder *out, uint8_t rdb_type);
FIRN_MUST_USE int type_decode_part(void);
/* Whether what comes now for ${entry} is to be spilled. Once it says so it goes on saying it until unspill.
 */
int type_decode_spills(const struct entry *entry);
FIRN_MUST_USE int type_decode_spill(struct bytes name, struct bytes value, int64_t number);
FIRN_MUST_USE int type_decode_unspill(type_spilled_receive *receive, void *ctx);
/* What a decoder that failed with ${error} returns: causes that are not in the payload, or FIRN_ECORRUPT. */
static inline int type_decode_error(int error) {
    switch (error) {
    case FIRN_ENOMEM:
    case FIRN_ENOTFOUND:
    case FIRN_EIO:
    case FIRN_ESYSTEM:
    case FIRN_ECLOSED: return error;
    default: return FIRN_ECORRUPT;
    }
}

/* Detached large values wait here for freeing. Put: O(1), takes over ${object}. Run: frees about ${pages}
 * pages, nonzero when more is left. */
void type_reap_later(struct object *object);
int type_reap_some(unsigned pages);
size_t type_reap_pending(void);

/* Thresholds of the reported encodings (Redis's directives); set by the configuration. */
struct type_limits {
    size_t hash_max_listpack_entries, hash_max_listpack_value;
    size_t set_max_intset_entries, set_max_listpack_entries, set_max_listpack_value;
    size_t zset_max_listpack_entries, zset_max_listpack_value;
    int64_t list_max_listpack_size;
    size_t stream_node_max_bytes, stream_node_max_entries;
    size_t hll_sparse_max_bytes;
    size_t string_bytes_max; /* proto-max-bulk-len */
};
extern struct type_limits type_limits;

/* Whether pages that a type wants to keep hot while they are used (ends of lists) are withheld from victims;
 * the keyspace clears it under TIER-STRESS. */
extern int type_keeps_hot;

#endif
