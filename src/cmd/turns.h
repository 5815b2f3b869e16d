/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that go on in turns after their handler has returned: so much work, or so many pages, that other
 * clients must run meanwhile. The handler makes a struct turns (at the head of what the work needs), calls
 * turns_start and returns what that returned; it is not run again. It has changed nothing before that;
 * afterwards it may change what needs no page (SPOP of a whole set). The client's pipeline waits.
 *
 * A turn works for some 100 us and returns
 *   0             the reply is written
 *   FIRN_EPARKED  go on: at once, or when dispatch__park_turns says
 *   FIRN_EFAULT   go on when the pages it peeked at are here. They stay until a turn that ended with
 *                 ->progressed set asks for others
 *   FIRN_EBUSY    go on in a millisecond
 *   other         failed, with an error reply
 * When the client goes or the command is over, ->destroy is called. Executor only.
 *
 * TU1 A command in turns is of the moment when its handler ran, as if it had been done then: it reads what
 *     its inputs were (held pages), and the key it is going to write (turns_hold) is out of reach until it
 *     has (blocking.h, B3). Commands that go over all keys (DBSIZE, SCAN, KEYS) find that key as it was.
 */
#ifndef FIRN_CMD_TURNS_H
#define FIRN_CMD_TURNS_H

#include "base/bytes.h"
#include "base/error.h"

struct call;

struct turns {
    int (*turn)(struct turns *turns, struct call *call);
    void (*destroy)(struct turns *turns);
    int progressed;
};

/* Whether the client of ${call} can wait between turns (not in MULTI or a script), and the tiers, without
 * which nothing is done in turns, are there. */
int turns_apply(const struct call *call);
/* Take over ${turns}. From within a turn: it takes the place of the one that runs, which is destroyed, so
 * return at once. Returns FIRN_EPARKED. */
FIRN_MUST_USE int turns_start(struct call *call, struct turns *turns);
/* After turns_start: ${key} (copied) is what the command will write. At most one. */
void turns_hold(struct call *call, struct bytes key);

#endif
