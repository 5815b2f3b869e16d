/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counted allocation over the system's malloc or jemalloc.
 *
 * M1 A thread's counter is written by that thread only (relaxed atomic store) and read by anybody; it may be
 * negative (the thread frees what others allocated): only the sum means something. M2 Counters are never
 * freed: one whose thread has ended goes on counting for the next new thread.
 */
#include "base/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef FIRN_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "base/fault_point.h"
#include "base/log.h"

struct memory_counter {
    int64_t used;
    int owned; /* by a running thread; under memory_lock */
    struct memory_counter *next;
} __attribute__((aligned(64)));

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory_counter *memory_counters; /* push-only list */
static pthread_key_t memory_key;
static pthread_once_t memory_once = PTHREAD_ONCE_INIT;
static __thread struct memory_counter *memory_mine;

static void memory_exhausted(size_t bytes) __attribute__((noreturn, cold));
static void memory_exhausted(size_t bytes) {
    log_warning("Out of memory allocating %zu bytes", bytes);
    abort();
}

static void memory_thread_ended(void *counter) {
    memory_mine = NULL; /* frees by later thread destructors take another counter */
    pthread_mutex_lock(&memory_lock);
    ((struct memory_counter *)counter)->owned = 0;
    pthread_mutex_unlock(&memory_lock);
}

static void memory_key_create(void) {
    pthread_key_create(&memory_key, memory_thread_ended);
}

static __attribute__((noinline, cold)) struct memory_counter *memory_counter_take(void) {
    pthread_once(&memory_once, memory_key_create);
    pthread_mutex_lock(&memory_lock);
    struct memory_counter *counter = memory_counters;
    while (counter != NULL && counter->owned)
        counter = counter->next;
    if (counter == NULL) {
        counter = aligned_alloc(64, sizeof *counter);
        if (counter == NULL) memory_exhausted(sizeof *counter);
        counter->used = 0;
        counter->next = memory_counters;
        __atomic_store_n(&memory_counters, counter, __ATOMIC_RELEASE);
    }
    counter->owned = 1;
    pthread_mutex_unlock(&memory_lock);
    memory_mine = counter;
    pthread_setspecific(memory_key, counter);
    return counter;
}

static inline void memory_count(int64_t bytes) {
    struct memory_counter *counter = memory_mine;
    if (__builtin_expect(counter == NULL, 0)) counter = memory_counter_take();
    __atomic_store_n(&counter->used, counter->used + bytes, __ATOMIC_RELAXED);
}

size_t memory_used(void) {
    int64_t sum = 0;
    struct memory_counter *counter = __atomic_load_n(&memory_counters, __ATOMIC_ACQUIRE);
    for (; counter != NULL; counter = counter->next)
        sum += __atomic_load_n(&counter->used, __ATOMIC_RELAXED);
    return sum > 0 ? (size_t)sum : 0;
}

#ifdef FIRN_JEMALLOC
size_t memory_usable(const void *pointer) {
    return sallocx(pointer, 0);
}

size_t memory_good_size(size_t bytes) {
    return nallocx(bytes > 0 ? bytes : 1, 0);
}

static inline void memory_counted_new(const void *pointer, size_t bytes) {
    (void)pointer;
    memory_count((int64_t)nallocx(bytes, 0));
}

const char *memory_allocator(void) {
    static char name[64];
    const char *version = "";
    size_t size = sizeof version;
    if (name[0] == '\0') {
        if (mallctl("version", &version, &size, NULL, 0) != 0) version = "?";
        snprintf(name, sizeof name, "jemalloc-%.*s", (int)strcspn(version, "-"), version);
    }
    return name;
}

/* What jemalloc 5.2 and later tell of the run ("slab") around an allocation. */
struct memory_run {
    void *current; /* the run new allocations come from */
    size_t free, regions, bytes;
    size_t class_free, class_regions; /* of all runs of the size class in this arena */
};

static int memory_run_of(void *pointer, struct memory_run *run_out) {
    static size_t mib[4], mib_size;
    static int state; /* 0 not asked yet, 1 known, -1 this allocator does not tell */
    if (state == 0) {
        mib_size = sizeof mib / sizeof mib[0];
        state = mallctlnametomib("experimental.utilization.query", mib, &mib_size) == 0 ? 1 : -1;
    }
    size_t size = sizeof *run_out;
    return state > 0 && mallctlbymib(mib, mib_size, run_out, &size, &pointer, sizeof pointer) == 0;
}

void *memory_compact(void *pointer) {
    struct memory_run run;
    if (!memory_run_of(pointer, &run) || run.free == 0 || run.regions <= 1) return pointer;
    if ((uint8_t *)pointer >= (uint8_t *)run.current &&
        (uint8_t *)pointer < (uint8_t *)run.current + run.bytes)
        return pointer;
    /* Emptier than the mean of its class, and the class as a whole has room worth gathering. */
    if (run.free * run.class_regions <= run.class_free * run.regions) return pointer;
    if (run.class_free * 16 < run.class_regions) return pointer;
    size_t bytes = memory_usable(pointer);
    void *moved = mallocx(bytes, MALLOCX_TCACHE_NONE); /* the cache would hand out holes just made */
    if (moved == NULL) return pointer;
    memcpy(moved, pointer, bytes);
    sdallocx(pointer, bytes, MALLOCX_TCACHE_NONE);
    return moved;
}

void memory_set_decay(unsigned milliseconds) {
    ssize_t decay = milliseconds, none = 0;
    size_t never = SIZE_MAX;
    bool on = true;
    unsigned arenas = 0;
    size_t size = sizeof arenas;
    char control[64];
    mallctl("arenas.dirty_decay_ms", NULL, NULL, &decay, sizeof decay); /* arenas to come */
    mallctl("arenas.muzzy_decay_ms", NULL, NULL, &none, sizeof none);
    if (mallctl("arenas.narenas", &arenas, &size, NULL, 0) != 0) arenas = 0;
    for (unsigned i = 0; i < arenas; i++) { /* fails for those that are not used yet */
        snprintf(control, sizeof control, "arena.%u.dirty_decay_ms", i);
        mallctl(control, NULL, NULL, &decay, sizeof decay);
        snprintf(control, sizeof control, "arena.%u.muzzy_decay_ms", i);
        mallctl(control, NULL, NULL, &none, sizeof none);
        /* or a free that joins 8 MiB of free memory gives it back at once, for milliseconds, in its own
         * thread */
        snprintf(control, sizeof control, "arena.%u.oversize_threshold", i);
        mallctl(control, NULL, NULL, &never, sizeof never);
    }
    mallctl("background_thread", NULL, NULL, &on, sizeof on);
}

void memory_purge(void) {
    char control[64];
    snprintf(control, sizeof control, "arena.%u.purge", MALLCTL_ARENAS_ALL);
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    mallctl(control, NULL, NULL, NULL, 0);
}
#else
size_t memory_usable(const void *pointer) {
    return malloc_usable_size((void *)(uintptr_t)pointer);
}

/* glibc: chunks of 16 bytes with 8 of header, at least 24 usable. */
size_t memory_good_size(size_t bytes) {
    return bytes <= 24 ? 24 : ((bytes + 8 + 15) & ~(size_t)15) - 8;
}

static inline void memory_counted_new(const void *pointer, size_t bytes) {
    (void)bytes;
    memory_count((int64_t)memory_usable(pointer));
}

const char *memory_allocator(void) {
    return "libc";
}

void *memory_compact(void *pointer) {
    return pointer;
}

void memory_set_decay(unsigned milliseconds) {
    (void)milliseconds; /* glibc trims when it sees fit */
}

void memory_purge(void) {
    malloc_trim(0);
}
#endif

void *memory_alloc(size_t bytes) {
    void *pointer = malloc(bytes);
    if (__builtin_expect(pointer == NULL, 0)) memory_exhausted(bytes);
    memory_counted_new(pointer, bytes);
    return pointer;
}

void *memory_alloc_zero(size_t bytes) {
    void *pointer = calloc(1, bytes);
    if (__builtin_expect(pointer == NULL, 0)) memory_exhausted(bytes);
    memory_counted_new(pointer, bytes);
    return pointer;
}

void *memory_alloc_aligned(size_t align, size_t bytes) {
    void *pointer = aligned_alloc(align, (bytes + align - 1) & ~(align - 1));
    if (__builtin_expect(pointer == NULL, 0)) memory_exhausted(bytes);
    memory_count((int64_t)memory_usable(pointer));
    return pointer;
}

void *memory_try_alloc(size_t bytes) {
    if (fault_point_fails(FAULT_MEMORY_TRY)) return NULL;
    void *pointer = malloc(bytes);
    if (pointer != NULL) memory_counted_new(pointer, bytes);
    return pointer;
}

static void *memory_resize(void *pointer, size_t bytes) {
    int64_t before = pointer != NULL ? (int64_t)memory_usable(pointer) : 0;
    void *resized = realloc(pointer, bytes);
    if (resized == NULL) return NULL;
    memory_count((int64_t)memory_usable(resized) - before);
    return resized;
}

void *memory_realloc(void *pointer, size_t bytes) {
    void *resized = memory_resize(pointer, bytes);
    if (__builtin_expect(resized == NULL, 0)) memory_exhausted(bytes);
    return resized;
}

void *memory_try_realloc(void *pointer, size_t bytes) {
    if (fault_point_fails(FAULT_MEMORY_TRY)) return NULL;
    return memory_resize(pointer, bytes);
}

void memory_free(void *pointer) {
    if (pointer == NULL) return;
    size_t bytes = memory_usable(pointer);
    memory_count(-(int64_t)bytes);
#ifdef FIRN_JEMALLOC
    sdallocx(pointer, bytes, 0);
#else
    free(pointer);
#endif
}

/* Fields 2 and 3 of /proc/self/statm: resident, and of those file-backed or shared, in pages. Opened anew:
 * the process may have forked. */
static int memory_read_statm(unsigned long *resident_out, unsigned long *shared_out) {
    char text[256];
    unsigned long total;
    int descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return 0;
    ssize_t size = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (size <= 0) return 0;
    text[size] = '\0';
    return sscanf(text, "%lu %lu %lu", &total, resident_out, shared_out) == 3;
}

size_t memory_resident_anonymous(void) {
#ifdef FIRN_SANITIZED
    return 0;
#endif
    unsigned long resident, shared;
    if (!memory_read_statm(&resident, &shared) || shared > resident) return 0;
    return (size_t)(resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

size_t memory_resident(void) {
    unsigned long resident, shared;
    if (!memory_read_statm(&resident, &shared)) return 0;
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}
