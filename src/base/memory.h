/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is counted. Everything Firn allocates for keys, values, buffers and tables goes through here,
 * so that used_memory (INFO, maxmemory) is exact for our own part. Counts are what the allocator really hands
 * out (malloc_usable_size). Counters are per thread (written by their owner only) and summed by memory_used.
 *
 * Small metadata: memory_alloc aborts when the system has none. Anything sized by a client or a tier:
 * memory_try_alloc, which returns NULL and can be made to fail by fault point MEMORY_TRY.
 */
#ifndef FIRN_BASE_MEMORY_H
#define FIRN_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Allocate ${bytes} (> 0). Aborts on exhaustion. Any thread. */
void *memory_alloc(size_t bytes) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* The same, zeroed. */
void *memory_alloc_zero(size_t bytes) __attribute__((malloc, returns_nonnull, alloc_size(1)));
/* The same with alignment ${align} (a power of two). Free with memory_free. */
void *memory_alloc_aligned(size_t align, size_t bytes) __attribute__((malloc, returns_nonnull));
/* Resize; aborts on exhaustion; ${pointer} may be NULL. */
void *memory_realloc(void *pointer, size_t bytes) __attribute__((returns_nonnull));
/* Fallible forms: NULL on exhaustion or injected failure (on failure ${pointer} stays valid). */
void *memory_try_alloc(size_t bytes) __attribute__((malloc, alloc_size(1)));
void *memory_try_realloc(void *pointer, size_t bytes);
/* Free; NULL is a no-op. Any thread, whichever allocated. */
void memory_free(void *pointer);
/* The usable bytes of an allocation. */
size_t memory_usable(const void *pointer);
/* The bytes a request of ${bytes} really takes (the allocator's size class). */
size_t memory_good_size(size_t bytes);
/* Sum over threads of bytes in use. Any thread; other threads' parts may be a moment old. */
size_t memory_used(void);
/* Resident anonymous bytes of the process (RssAnon), from the kernel; 0 when not known, as under a sanitizer,
 * most of whose resident memory is its own shadow and quarantine. A few microseconds. */
size_t memory_resident_anonymous(void);
/* Resident bytes of the process, all kinds. */
size_t memory_resident(void);
/* Printable name of the allocator, e.g. "jemalloc-5.3.0" or "libc". */
const char *memory_allocator(void);
/* If ${pointer} lies in a run of its size class that is emptier than the others, move it to a fuller one, so
 * that the run can go back to the system one day: the new address, or ${pointer} itself where that does not
 * help or the allocator does not tell. All usable bytes are copied. The thread that allocates most of its
 * kind. */
void *memory_compact(void *pointer);
/* From now on free memory goes back to the system after about ${milliseconds}, by a thread of the allocator's
 * own where it has one: so that resident memory follows memory_used. Executor, once the process is past fork.
 */
void memory_set_decay(unsigned milliseconds);
/* Ask the allocator to give free memory back (MEMORY PURGE). May take milliseconds. */
void memory_purge(void);

#endif
