/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that wait for keys (BLPOP, BLMOVE, BZPOPMIN, XREAD BLOCK...).
 *
 * A handler that has changed nothing and found nothing to take calls call_block last. The client then waits;
 * when one of its keys changed (any change, however it came about: blocking_changed), the handler runs again
 * from the start, after the whole command (or EXEC) that changed the key and before any other client's
 * command. Types need not signal anything.
 *
 * Order: ready keys in the order in which they became ready; of one key the clients in the order in which
 * they came. A re-run that blocks again keeps its place and its first deadline. A client is run again only
 * when the key holds a value of the type it waits for.
 *
 * B1 A re-run that needs a page of a lower tier holds the key it was run for: no other waiter on that key is
 *    run until that re-run is over. A ready key whose next waiter waits on a held or stalled key too is
 *    stalled in the same way. Meanwhile commands of other clients are parked if they name a key of the
 *    re-run command, a held or stalled key, or a key of which a waiter also waits on one of those; and
 *    commands that read or change without naming keys. So nobody overtakes, and nobody sees the state in
 *    between.
 * B2 A waiter is in the list of each of its keys exactly once, from call_block until its command is over.
 *
 * Executor only.
 */
#ifndef FIRN_CMD_BLOCKING_H
#define FIRN_CMD_BLOCKING_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct call;
struct client;
struct command;
struct db;

/* --- for handlers --- */
/*
 * A timeout in seconds, as a float: *timeout_ms_out, 0 for ever. FIRN_EINVALID with the error replied (not a
 * float, negative, out of range).
 */
FIRN_MUST_USE int call_timeout(struct call *call, struct bytes argument, int64_t *timeout_ms_out);
/*
 * Wait for a change of one of ${keys} (of the call's database; copied) that leaves a value of ${type} there;
 * CALL_BLOCK_ANY: whatever the change leaves, nothing too. FIRN_EPARKED: return it. 0: the client may not
 * wait, or no longer (in MULTI or a script, timed out in a re-run): write the reply of a timeout.
 */
#define CALL_BLOCK_ANY (-1)
FIRN_MUST_USE int call_block(struct call *call, int type, const struct bytes *keys, size_t count,
                             int64_t timeout_ms);

/* After FIRN_EPARKED of call_block: copy ${note} for the runs to come, unless there is one. And in those: the
 * note, empty in the first run. (What "$" meant when XREAD came.) */
void call_block_note(struct call *call, struct bytes note);
struct bytes call_block_noted(const struct call *call);

/* --- for the keyspace's changes --- */
/* Keys that somebody waits for. 0: nothing to tell. */
extern size_t blocking_keys;
/* ${key} of ${db} changed, came or went. Cheap while blocking_keys is 0, but test that first. */
void blocking_changed(struct db *db, struct bytes key);
/* Every key of ${db} (NULL: of all) may have changed: FLUSH, SWAPDB, loading. */
void blocking_changed_all(struct db *db);

/* --- for the dispatcher --- */
extern size_t blocking_ready; /* keys to be served, and waits that were ended */
/* Run the waiters of ready keys again. Not inside a command. */
void blocking_serve(void);
/* The command of ${client} is over, or the client goes. */
void blocking_leave(struct client *client);
/* The client's re-run has come to its end or blocked again: what it held goes on. */
void blocking_release(struct client *client);
/* Keys held by B1 or B3. */
extern size_t blocking_held;
/* Whether a waiter is in the middle of its re-run: what is between a change and its waiter is nobody's to
 * see. */
int blocking_is_serving(void);
/*
 * B3 Until blocking_unhold, commands of others that name ${key} (of ${db}) are parked, those of waiters
 * stall, and so do commands that change keys without naming them (FLUSHALL, SWAPDB): for a command in turns
 *    (turns.h) that needs one and the same value in all of them or is going to write it. Commands that only
 *    read over all keys (DBSIZE, SCAN, KEYS) go on. What is due or evicted may still go. unhold of NULL is a
 *    no-op.
 */
struct key_hold;
struct key_hold *blocking_hold(struct db *db, struct bytes key);
void blocking_unhold(struct key_hold *hold);
/* The wait of ${client} in call_block was ended (timeout, CLIENT UNBLOCK): it is answered before anything
 * else runs, and takes nothing. */
void blocking_end_wait(struct client *client);
/* Whether a command that names ${key} of ${db} has to wait (B1, B3). */
int blocking_is_held(struct db *db, struct bytes key);

/* INFO total_blocking_keys_on_nokey. */
size_t blocking_keys_on_nokey(void);

#endif
