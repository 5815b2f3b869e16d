/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams. Always an OBJECT: an index of nodes (types/stream_index.h) whose pages are Redis's stream
 * listpacks as they stand in RDB files, and the consumer groups with their pending entries, all but the pages
 * in DRAM.
 *
 *   page   listpack of: the master entry, then the entries
 *   master entry   entries not deleted, deleted ones, number of fields n, n field names, 0
 *   entry          flags (1 deleted, 2 fields as in the master entry), ms and sequence less the node's ID,
 *                  [number of fields unless flag 2], values (flag 2) or fields and values in turn, and the
 * number of elements so far, by which an entry is found from its end
 *
 * ST1 entry->size is the number of entries not deleted. ST2 A node's first ID is that of the first entry it
 * ever had; the IDs in a node ascend and are below the next node's first ID. ST3 A node has entries that are
 * not deleted; its count in the index is theirs. ST4 The last node (the tail) is no victim unless it has not
 * been touched for STREAM_TAIL_IDLE_S seconds. ST5 first_id is that of the first entry (0-0 if none), unless
 * !first_known: then it would have to be read. ST6 Each record of a group's pending list is in the pending
 * list of exactly the consumer it names. ST7 A call that returns FIRN_EFAULT has changed nothing.
 *
 * Nothing here knows databases. No call moves the entry. Executor only. Errors of every call that reads a
 * page: FIRN_EFAULT (async mode, page not here), FIRN_EIO, FIRN_ECORRUPT; of calls that write also
 * FIRN_ENOMEM.
 */
#ifndef FIRN_TYPES_STREAM_H
#define FIRN_TYPES_STREAM_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "ds/id_list.h"
#include "ds/listpack.h"
#include "ds/number.h"
#include "page/page.h"
#include "types/entry.h"
#include "types/stream_index.h"
#include "types/type.h"

extern const struct type_ops type_stream_ops;

#define STREAM_TAIL_IDLE_S    60u
#define STREAM_NODE_BYTES_MAX (1u << 30)
#define STREAM_READS_UNKNOWN  (-1) /* entries_read of a group */

struct stream_consumer {
    uint32_t slot; /* what pending records call it */
    uint32_t name_bytes;
    int64_t seen_ms, active_ms; /* last tried; last got or claimed something, -1: never */
    struct id_list pending;     /* IDs only */
    uint8_t name[];
};

/* A record of a group's pending list. */
struct stream_pending {
    struct stream_id id;
    int64_t delivered_ms;
    uint32_t deliveries, consumer; /* slot */
};

struct stream_group {
    struct stream_id last_id; /* last one delivered */
    int64_t entries_read;   /* how many entries the stream ever had up to last_id, or STREAM_READS_UNKNOWN */
    struct id_list pending; /* struct stream_pending */
    struct stream_consumer **consumers, **slots; /* by name; by slot (NULL: free) */
    uint32_t consumer_count, consumer_capacity, slot_count, name_bytes;
    uint8_t name[];
};

struct stream {
    struct object head;
    struct stream_id last_id, first_id, max_deleted_id;
    uint64_t entries_added;
    struct stream_index index;
    struct stream_group **groups; /* by name */
    uint32_t group_count, group_capacity;
    int first_known; /* ST5 */
    int last_there;  /* last_id is that of an entry that is there (0: perhaps not) */
};

static inline struct stream *stream_of(const struct entry *entry) {
    return page_ref_object(entry_ref(entry));
}
static inline struct bytes stream_group_name(const struct stream_group *group) {
    return bytes_of(group->name, group->name_bytes);
}
static inline struct bytes stream_consumer_name(const struct stream_consumer *consumer) {
    return bytes_of(consumer->name, consumer->name_bytes);
}

/* The next and the previous ID; 0 if there is none. */
int stream_id_next(struct stream_id *id_inout);
int stream_id_previous(struct stream_id *id_inout);

/* An empty stream under ${key}, in no table. Release with type_stream_ops.free_value + entry_free. */
struct entry *stream_create(struct bytes key);

/* --- entries --- */
/* Add an entry of ${count} fields and values (in turn) under ${id}, which is above last_id. FIRN_ETOOBIG: too
 * large for a node. */
FIRN_MUST_USE int stream_append(struct entry *entry, struct stream_id id, const struct bytes *pairs,
                                size_t count);
/* Mark the entry of ${id} as deleted: 0, or FIRN_ENOTFOUND. */
FIRN_MUST_USE int stream_delete(struct entry *entry, struct stream_id id);
/* Make sure the node of ${id} can be read. */
FIRN_MUST_USE int stream_touch(struct entry *entry, struct stream_id id);
/* Know first_id (ST5). */
FIRN_MUST_USE int stream_know_first(struct entry *entry);

/* What to cut off at the front. */
struct stream_trim {
    enum { STREAM_TRIM_NONE, STREAM_TRIM_LENGTH, STREAM_TRIM_ID } by;
    int approximate;     /* whole nodes only */
    uint64_t length;     /* keep so many */
    struct stream_id id; /* keep from here on */
    uint64_t limit;      /* remove no more than so many, in whole nodes; 0: any number */
};
/* Read what stream_trim will need when ${added} more entries are there. */
FIRN_MUST_USE int stream_trim_touch(struct entry *entry, const struct stream_trim *trim, uint64_t added);
/* *removed_out is right on failure, too (what was done so far). */
FIRN_MUST_USE int stream_trim(struct entry *entry, const struct stream_trim *trim, uint64_t *removed_out);

/* --- walking --- */
#define STREAM_RANGE_MARKS 64u

struct stream_range {
    struct stream *stream;
    struct stream_id first, last; /* both included */
    int reverse, promote, state;
    struct stream_place place; /* of the node */
    struct stream_id node_id;
    const uint8_t *entries;        /* where the node's entries begin */
    struct listpack_reader fields; /* the master entry's field names */
    uint64_t field_count;
    struct listpack_reader at;     /* forward: in or behind the item; backward: where it begins */
    uint64_t elements_left;        /* forward: from there to the next entry */
    uint64_t entries_left, stride; /* backward in a sealed node: entries still to come; between two marks */
    uint32_t marks[STREAM_RANGE_MARKS];
    /* the item's fields and values */
    struct listpack_reader name, value;
    int has_names; /* they are before their values, not in the master entry */
    uint64_t pairs_left;
    char digits[2][NUMBER_INT_TEXT_MAX];
};
struct stream_item {
    struct stream_id id;
    uint64_t fields;
};

/*
 * Make sure that the pages which ${count} entries (0: all) from the one end of [${first}, ${last}] on need
 * can be read, asking for as many missing ones at once as a fault set holds. When more than FAULT_TOUCH_MAX
 * are missing the current fault set is made synchronous instead.
 */
FIRN_MUST_USE int stream_touch_range(struct entry *entry, struct stream_id first, struct stream_id last,
                                     int reverse, uint64_t count);
/* Walk the entries of [${first}, ${last}]. The stream must not be changed meanwhile. */
void stream_range_begin(struct stream_range *range, struct entry *entry, struct stream_id first,
                        struct stream_id last, int reverse);
/* The same among the entries of one node only, whose page is ${payload} and first ID ${node_id}; needs no
 * stream.
 */
FIRN_MUST_USE int stream_range_begin_node(struct stream_range *range, struct bytes payload,
                                          struct stream_id node_id, struct stream_id first,
                                          struct stream_id last, int reverse);
/*
 * The nodes that a walk over ${most} entries (0: all) of the range goes through, in its order: *pages_out of
 * them; *entries_out entries of theirs, perhaps more than ${most}, are in the range. Reads the first and the
 * last of the nodes only (touches both).
 */
FIRN_MUST_USE int stream_range_measure(struct entry *entry, struct stream_id first, struct stream_id last,
                                       int reverse, uint64_t most, size_t *pages_out, uint64_t *entries_out);
/* Page references and first IDs of the first ${count} nodes of that walk, which are there. */
void stream_range_nodes(struct entry *entry, struct stream_id first, struct stream_id last, int reverse,
                        size_t count, uint64_t *refs_out, struct stream_id *ids_out);
/* 1 with *item_out, 0 at the end. */
FIRN_MUST_USE int stream_range_next(struct stream_range *range, struct stream_item *item_out);
/* The next field and value of the item; called at most item.fields times. Bytes are borrowed until the next
 * call. */
FIRN_MUST_USE int stream_range_pair(struct stream_range *range, struct bytes *field_out,
                                    struct bytes *value_out);
/* Whether the stream has an entry of ${id}: 0 or FIRN_ENOTFOUND. */
FIRN_MUST_USE int stream_has(struct entry *entry, struct stream_id id);

/* --- groups and consumers (stream_group.c); none of these reads a page --- */
struct stream_group *stream_group_find(const struct stream *stream, struct bytes name);
/* NULL if there is one of that name. */
struct stream_group *stream_group_create(struct stream *stream, struct bytes name, struct stream_id last_id,
                                         int64_t entries_read);
/* Its pending lists are freed in slices by the reaper. */
void stream_group_destroy(struct stream *stream, struct stream_group *group);
struct stream_consumer *stream_consumer_find(const struct stream_group *group, struct bytes name);
/* NULL if there is one of that name. */
struct stream_consumer *stream_consumer_create(struct stream_group *group, struct bytes name, int64_t now_ms);
/* With everything that is pending for it. */
void stream_consumer_destroy(struct stream_group *group, struct stream_consumer *consumer);
/* The record of ${id}, made ${consumer}'s, added (all zero) if there was none. Valid until the next change.
 */
struct stream_pending *stream_pending_give(struct stream_group *group, struct stream_id id,
                                           struct stream_consumer *consumer);
struct stream_pending *stream_pending_find(const struct stream_group *group, struct stream_id id);
/* Whether it was pending. */
int stream_pending_remove(struct stream_group *group, struct stream_id id);

/* Redis's counters; ${length}: the entries there are (ST1); first_id is known (stream_know_first). */
/* Whether an entry from ${from} on was deleted, as far as is known. */
int stream_has_tombstones(const struct stream *stream, struct stream_id from);
/* How many entries the stream ever had up to ${id}; STREAM_READS_UNKNOWN. */
int64_t stream_entries_read_at(const struct stream *stream, uint64_t length, struct stream_id id);
/* ${id} is delivered to ${group}: its last_id and counter. */
void stream_group_deliver(struct stream *stream, uint64_t length, struct stream_group *group,
                          struct stream_id id);
/* Entries the group has not read: 0 with *lag_out, or FIRN_ENOTFOUND: not known. */
FIRN_MUST_USE int stream_group_lag(const struct stream *stream, uint64_t length,
                                   const struct stream_group *group, int64_t *lag_out);

#endif
