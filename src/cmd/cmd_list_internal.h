/* SPDX-License-Identifier: BSD-3-Clause */
/* What cmd_list.c, cmd_list_walk.c and cmd_list_move.c share. */
#ifndef FIRN_CMD_CMD_LIST_INTERNAL_H
#define FIRN_CMD_CMD_LIST_INTERNAL_H

#include "cmd/call.h"
#include "types/list.h"

/* What a handler returns for an error of types/list.h. */
int cmd_list__failed(struct call *call, int error);
/* Delete the key of a list that has become empty, with its event; else its encoding may change. */
void cmd_list__removed(struct call *call, struct bytes key, struct entry *entry);
/* Release a list that is in no table. NULL is a no-op. */
void cmd_list__discard(struct entry *entry);
/* LEFT or RIGHT: FIRN_EINVALID with the error replied. */
FIRN_MUST_USE int cmd_list__end(struct call *call, struct bytes word, enum list_end *end_out);
/* Pop ${count} elements (<= size, > 0), writing each to the reply, with what follows from it: events, deleted
 * key. ${entry} is void after. FIRN_EFAULT: nothing was done. */
FIRN_MUST_USE int cmd_list__pop(struct call *call, struct bytes key, struct entry *entry, enum list_end end,
                                uint64_t count);
/*
 * A search for ${element} (an argument of the call) through a list of which more is cold than a command
 * should keep, in turns (turns.h). Meanwhile the key is held (blocking_hold). Matches in the direction of the
 * search: the first ${skip} are passed over, of the following ${stop} (0: all) the numbers are collected;
 * ${by_page}: one of them for each page. ${finish} then does the rest of the command, changes included; it
 * may be called again after FIRN_EFAULT. ${entry} NULL: there is no such key any more.
 */
struct cmd_list__search {
    struct bytes element;
    int backwards, by_page;
    uint64_t limit, skip, stop; /* limit: elements to compare, 0: all */
    int (*finish)(struct call *call, struct entry *entry, const uint64_t *found, size_t count);
};
/* Call last and return what it returns. argv[1] is the key. */
FIRN_MUST_USE int cmd_list__search_in_turns(struct call *call, const struct cmd_list__search *search);

static inline const char *cmd_list__pop_name(enum list_end end) {
    return end == LIST_HEAD ? "lpop" : "rpop";
}
static inline const char *cmd_list__push_name(enum list_end end) {
    return end == LIST_HEAD ? "lpush" : "rpush";
}

#endif
