/* SPDX-License-Identifier: BSD-3-Clause */
/* What EXEC can know about the pages its commands are going to need. Executor only. */
#ifndef FIRN_CMD_TRANSACTION_REHEARSE_H
#define FIRN_CMD_TRANSACTION_REHEARSE_H

struct call;

/*
 * Record faults for the cold pages that the commands queued by the client of ${call} will need, as far as
 * that can be told without changing anything: values of keys, what reads touch, and what writes of single
 * elements touch first. Only within a fault set in FAULT_ASYNC. Leaves no trace: no reply, statistics,
 * clocks, events.
 */
void transaction_rehearse(struct call *call);

#endif
