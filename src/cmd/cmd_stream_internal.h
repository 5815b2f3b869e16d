/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cmd_stream files share. */
#ifndef FIRN_CMD_CMD_STREAM_INTERNAL_H
#define FIRN_CMD_CMD_STREAM_INTERNAL_H

#include "cmd/call.h"
#include "types/stream.h"

#define CMD_STREAM_ID_MIN      ((struct stream_id){0, 0})
#define CMD_STREAM_ID_MAX      ((struct stream_id){UINT64_MAX, UINT64_MAX})
#define CMD_STREAM_ID_TEXT_MAX (21u + NUMBER_INT_TEXT_MAX)

/* --- IDs: 0, or FIRN_EINVALID (with the error replied unless said otherwise) --- */
/* <ms> or <ms>-<seq>; ${seq}: what the missing part stands for. Nothing replied. */
FIRN_MUST_USE int cmd_stream__parse_id(struct bytes text, uint64_t seq, struct stream_id *id_out);
FIRN_MUST_USE int cmd_stream__id(struct call *call, struct bytes text, uint64_t seq,
                                 struct stream_id *id_out);
/* Also <ms>-*: *has_seq_out 0. */
FIRN_MUST_USE int cmd_stream__id_or_auto(struct call *call, struct bytes text, struct stream_id *id_out,
                                         int *has_seq_out);
/* Also "-" and "+". */
FIRN_MUST_USE int cmd_stream__id_or_end(struct call *call, struct bytes text, uint64_t seq,
                                        struct stream_id *id_out);
/* The bounds of an interval, with "-", "+" and "(": *first_out and *last_out are included. */
FIRN_MUST_USE int cmd_stream__first(struct call *call, struct bytes text, struct stream_id *first_out);
FIRN_MUST_USE int cmd_stream__last(struct call *call, struct bytes text, struct stream_id *last_out);
unsigned cmd_stream__format_id(struct stream_id id, char text_out[CMD_STREAM_ID_TEXT_MAX]);

/* --- replies --- */
void cmd_stream__reply_id(struct call *call, struct stream_id id);
/* The item the range stands at: [ID, [field, value...]]. */
FIRN_MUST_USE int cmd_stream__reply_item(struct call *call, struct stream_range *range,
                                         const struct stream_item *item);
/* An array of the entries in [${first}, ${last}], ${count} at most (0: all), whose pages have been touched.
 */
FIRN_MUST_USE int cmd_stream__reply_range(struct call *call, struct entry *entry, struct stream_id first,
                                          struct stream_id last, int reverse, uint64_t count);
/* The entry of ${id} alone; *sent_out 0 and nothing written if there is none. */
FIRN_MUST_USE int cmd_stream__reply_one(struct call *call, struct entry *entry, struct stream_id id,
                                        int *sent_out);
/* Write NOGROUP for a key or group that is not there. */
void cmd_stream__reply_no_group(struct call *call, struct bytes key, struct bytes group, const char *more);

/* A range of a stream: ${most} entries (0: all) of [${first}, ${last}] from its one end on. */
struct cmd_stream__span {
    struct entry *entry;
    struct bytes key; /* only if they are told with the entries */
    struct stream_id first, last;
    int reverse;
    uint64_t most;
};
/*
 * Reply with the entries of ${count} spans, each of which has some, in turns (cmd/stream_reply.h):
 * FIRN_EPARKED, return it. 0: they are not on many nodes, nothing is written. ${with_keys}: as XREAD does,
 * each with its key; else there is one span.
 */
FIRN_MUST_USE int cmd_stream__in_turns(struct call *call, const struct cmd_stream__span *spans, size_t count,
                                       int with_keys);

/*
 * XREADGROUP's new entries of one stream, from many nodes of which some are cold, in turns
 * (cmd_stream_turns.c): FIRN_EPARKED, return it; 0: they are not that many. The consumer has been made.
 */
struct cmd_stream__delivery {
    struct bytes key, group, consumer; /* of the call */
    struct stream_id first;
    uint64_t count; /* 0: all */
    int no_ack;
};
FIRN_MUST_USE int cmd_stream__deliver_in_turns(struct call *call, struct entry *entry,
                                               const struct cmd_stream__delivery *delivery);
/* ${id}, of an entry of ${entry}, is delivered to the group's consumer. */
void cmd_stream__deliver(struct call *call, struct entry *entry, struct stream_group *group,
                         struct stream_consumer *consumer, const struct cmd_stream__delivery *delivery,
                         struct stream_id id);

/* --- changes --- */
/* State of a group changed: saved and replicated, but neither WATCH nor blocked clients mind, and the command
 * may still block. */
void cmd_stream__group_changed(struct call *call);
/* The consumer, made if there is none (then told, and saved). */
struct stream_consumer *cmd_stream__consumer(struct call *call, struct bytes key, struct stream_group *group,
                                             struct bytes name);
/* What others have to do for a group to become as this one is: a record as it stands (XCLAIM), the last ID
 * and the counter (XGROUP SETID), that there is a consumer. */
void cmd_stream__propagate_claim(struct call *call, struct bytes key, const struct stream_group *group,
                                 const struct stream_pending *pending);
void cmd_stream__propagate_group(struct call *call, struct bytes key, const struct stream_group *group);
void cmd_stream__propagate_consumer(struct call *call, struct bytes key, const struct stream_group *group,
                                    struct bytes consumer);
/* The ID of the last entry there is; 0-0 if none. Reads the end of the stream. */
FIRN_MUST_USE int cmd_stream__top(struct entry *entry, struct stream_id *id_out);

#endif
