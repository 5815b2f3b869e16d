/* SPDX-License-Identifier: BSD-3-Clause */
/* Every limit of a queue, batch, page or loop, in one place, with the relations between them asserted. */
#ifndef FIRN_BASE_LIMITS_H
#define FIRN_BASE_LIMITS_H

/* --- values and pages (bytes) --- */
#define STRING_INLINE_MAX_BYTES 4096u  /* longer strings are a blob page */
#define STRING_BLOB_MAX_BYTES   65536u /* longer strings are a sequence of pages */
#define STRING_SEQUENCE_PAGE_BYTES                                                                           \
    16320u /* page of a sequence: with any header below 16 KiB, a size class                                 \
            */
#define COLLECTION_PAGE_BYTES_MAX                                                                            \
    4096u /* a packed page above this is split (one oversized entry may exceed it) */
#define PAGE_BYTES_MAX          (1u << 30)   /* largest page payload (one huge hash field) */
#define KEY_BYTES_MAX           (512u << 20) /* longest key */
#define STRING_EMBSTR_MAX_BYTES 44u          /* OBJECT ENCODING embstr up to here */

/* --- tiering --- */
#define TIER_BATCH_OPERATIONS_MAX 64u        /* operations in one backend batch */
#define TIER_WRITE_INFLIGHT_BYTES (8u << 20) /* bytes of demotion in flight */
#define TIER_READ_INFLIGHT_MAX    1024u      /* page reads in flight */
#define TIER_READ_BUFFER_BYTES                                                                               \
    (4u << 20) /* read buffer kept after its readers have run (never counts pinned pages) */
#define TIER_TURN_US_MAX        300 /* demotion work of the executor per loop turn */
#define TIER_EXPIRE_TURN_US_MAX 500 /* expiry work per loop turn */

_Static_assert(STRING_INLINE_MAX_BYTES <= STRING_BLOB_MAX_BYTES, "string shapes are ordered");
_Static_assert(STRING_SEQUENCE_PAGE_BYTES < STRING_BLOB_MAX_BYTES, "a sequence has several pages");

#endif
