/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keyspace notifications: what the keyspace and commands announce by db_notify goes to
 * __keyspace@<db>__:<key> and __keyevent@<db>__:<event>, as far as notify-keyspace-events asks for it. While
 * it asks for nothing, db_notify costs a test. A command that faults and runs again announces a miss
 * (keymiss) only once. Executor only.
 */
#ifndef FIRN_CMD_PUBSUB_EVENTS_H
#define FIRN_CMD_PUBSUB_EVENTS_H

/* ${classes}: NOTIFY_* bits of keyspace/notify.h; nothing is sent without NOTIFY_KEYSPACE or NOTIFY_KEYEVENT.
 */
void pubsub_events_select(unsigned classes);

#endif
