/* SPDX-License-Identifier: BSD-3-Clause */
/* Classes of keyspace events, as the letters of notify-keyspace-events. */
#ifndef FIRN_KEYSPACE_NOTIFY_H
#define FIRN_KEYSPACE_NOTIFY_H

#define NOTIFY_KEYSPACE 0x0001u /* K */
#define NOTIFY_KEYEVENT 0x0002u /* E */
#define NOTIFY_GENERIC  0x0004u /* g */
#define NOTIFY_STRING   0x0008u /* $ */
#define NOTIFY_LIST     0x0010u /* l */
#define NOTIFY_SET      0x0020u /* s */
#define NOTIFY_HASH     0x0040u /* h */
#define NOTIFY_ZSET     0x0080u /* z */
#define NOTIFY_EXPIRED  0x0100u /* x */
#define NOTIFY_EVICTED  0x0200u /* e */
#define NOTIFY_STREAM   0x0400u /* t */
#define NOTIFY_KEYMISS  0x0800u /* m, not in A */
#define NOTIFY_MODULE   0x1000u /* d */
#define NOTIFY_NEW      0x2000u /* n, not in A */
#define NOTIFY_ALL                                                                                           \
    (NOTIFY_GENERIC | NOTIFY_STRING | NOTIFY_LIST | NOTIFY_SET | NOTIFY_HASH | NOTIFY_ZSET |                 \
     NOTIFY_EXPIRED | NOTIFY_EVICTED | NOTIFY_STREAM | NOTIFY_MODULE)

#endif
