/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The read buffer: from the reference of an NVMe record to its payload, or to the error its read ended
 * with, or to the read in flight.
 *
 * R1 There is at most one entry, hence one GET, per reference (T4). Entries are in exactly one place: the
 *    queue (LOWER, to be submitted), with the backend (READING), pinned (BUFFERED, pins > 0), or the
 *    remainder, an LRU list (BUFFERED, pins 0).
 * R2 A reader (struct tier_read) pins each of its entries from tier_read to tier_read_done (T2).
 * R3 The remainder holds at most share of the memory limit and is trimmed only between commands: a
 *    payload handed out stays for the turn. An entry with an error, without a reader, is dropped at once,
 *    so that the next reader tries the device again.
 * R4 Callbacks run only from tier_complete, after all completions of that call are taken in; they may
 *    call tier_read and tier_read_done.
 * R5 An entry whose record was discarded answers nobody new (references are unique) and goes when its
 *    reader has.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tiering/tier_internal.h"

#define WALK_KEEP_BYTES    (512u << 10) /* a walk leaves so much of its blocking reads in the buffer */
#define WALK_KEEP_COUNT    8u           /* and never fewer pages than these */
#define ENTRY_POOL_MAX     256u
#define READ_BYTES_ASSUMED 16384u /* per read in flight, to scale their number to a small memory limit */

struct tier_buffered;

struct tier_waiter {
    struct tier_waiter *next;
    struct tier_read *read;
    struct tier_buffered *entry;
};

struct tier_buffered {
    struct tier_map_node node; /* key: the reference */
    struct tier_operation operation;
    struct page *page; /* payload; NULL with an error, or while nothing arrived */
    int status;
    enum tier_residency state;
    uint32_t pins;
    uint32_t seen;       /* reads before the latest one, within the window */
    uint64_t turn;       /* of the latest read: further looks in the same turn are the same read */
    uint32_t name_bytes; /* of the name behind the payload in page */
    uint8_t dead;        /* the record was discarded */
    uint8_t spent;       /* promoted: the owner has it, first to be trimmed */
    struct tier_waiter *waiters;
    struct tier_buffered *previous, *next; /* queue, or remainder */
};

struct tier_read {
    void (*ready)(void *ctx);
    void *ctx;
    uint32_t waiting; /* entries that have not arrived */
    uint32_t count;
    int announced; /* in the list of callbacks to run */
    struct tier_read *previous, *next;
    struct tier_waiter waiters[];
};

struct entry_list {
    struct tier_buffered *head, *tail;
};

static struct {
    struct tier_map entries;
    struct entry_list queue, remainder;
    uint64_t remainder_bytes, payload_bytes;
    struct tier_read *ready_head, *ready_tail;
    struct tier_buffered *pool;
    unsigned pooled, queued;
    uint64_t faults, sync_reads;
    int walking;
    unsigned walked_count;
    struct tier_buffered *walked[TIER_WALK_BATCH]; /* pinned by the walk */
    uint64_t mapped_ref, mapped_turn;              /* the PMEM record looked at last */
    unsigned mapped_seen;
} buffer;

/* --- lists --- */

static void list_append(struct entry_list *list, struct tier_buffered *entry) {
    entry->previous = list->tail;
    entry->next = NULL;
    if (list->tail != NULL)
        list->tail->next = entry;
    else
        list->head = entry;
    list->tail = entry;
}

static void list_prepend(struct entry_list *list, struct tier_buffered *entry) {
    entry->next = list->head;
    entry->previous = NULL;
    if (list->head != NULL)
        list->head->previous = entry;
    else
        list->tail = entry;
    list->head = entry;
}

static void list_remove(struct entry_list *list, struct tier_buffered *entry) {
    if (entry->previous != NULL)
        entry->previous->next = entry->next;
    else
        list->head = entry->next;
    if (entry->next != NULL)
        entry->next->previous = entry->previous;
    else
        list->tail = entry->previous;
    entry->previous = entry->next = NULL;
}

static void announce(struct tier_read *read) {
    FIRN_ASSERT(!read->announced && read->waiting == 0);
    read->announced = 1;
    read->next = NULL;
    read->previous = buffer.ready_tail;
    if (buffer.ready_tail != NULL)
        buffer.ready_tail->next = read;
    else
        buffer.ready_head = read;
    buffer.ready_tail = read;
}

static void unannounce(struct tier_read *read) {
    if (read->previous != NULL)
        read->previous->next = read->next;
    else
        buffer.ready_head = read->next;
    if (read->next != NULL)
        read->next->previous = read->previous;
    else
        buffer.ready_tail = read->previous;
    read->announced = 0;
}

/* --- entries --- */

static struct tier_buffered *entry_find(uint64_t ref) {
    struct tier_map_node *node = tier_map_find(&buffer.entries, ref);
    return node != NULL ? TIER_MAP_OWNER(node, struct tier_buffered, node) : NULL;
}

static struct tier_buffered *entry_create(uint64_t ref) {
    struct tier_buffered *entry = buffer.pool;
    if (entry != NULL) {
        buffer.pool = entry->next;
        buffer.pooled--;
    } else {
        entry = memory_alloc(sizeof *entry);
    }
    memset(entry, 0, sizeof *entry);
    entry->state = TIER_LOWER;
    tier_map_insert(&buffer.entries, ref, &entry->node);
    return entry;
}

/*
 * A named record is payload, name, length of the name (4 bytes): cut the page down to the payload.
 * FIRN_ECORRUPT if that does not fit.
 */
static int split_name(uint64_t ref, struct page *page, uint32_t *name_bytes_out) {
    *name_bytes_out = 0;
    if (!(ref & PAGE_REF_NAMED)) return 0;
    if (page->bytes < sizeof(uint32_t)) return FIRN_ECORRUPT;
    uint32_t left = page->bytes - (uint32_t)sizeof(uint32_t), name = bytes_load32(page->data + left);
    if (name > left) return FIRN_ECORRUPT;
    page->bytes = left - name;
    *name_bytes_out = name;
    return 0;
}

static void entry_set_page(struct tier_buffered *entry, struct page *page) {
    FIRN_ASSERT(entry->page == NULL);
    entry->page = page;
    if (page != NULL) buffer.payload_bytes += page_memory(page);
}

/* Forget an entry that is in no list. */
static void entry_free(struct tier_buffered *entry) {
    FIRN_ASSERT(entry->pins == 0 && entry->waiters == NULL && entry->state != TIER_READING);
    if (entry->page != NULL) {
        buffer.payload_bytes -= page_memory(entry->page);
        page_free_unshared(entry->page);
    }
    tier_map_remove(&buffer.entries, &entry->node);
    if (buffer.pooled >= ENTRY_POOL_MAX) {
        memory_free(entry);
        return;
    }
    entry->next = buffer.pool;
    buffer.pool = entry;
    buffer.pooled++;
}

/* A BUFFERED entry without pins: into the remainder, or away. */
static void entry_settle(struct tier_buffered *entry) {
    FIRN_ASSERT(entry->state == TIER_BUFFERED && entry->pins == 0);
    if (entry->page == NULL || entry->dead) {
        tier_transition(&entry->state, TIER_LOWER);
        entry_free(entry);
        return;
    }
    buffer.remainder_bytes += page_memory(entry->page);
    if (entry->spent)
        list_append(&buffer.remainder, entry);
    else
        list_prepend(&buffer.remainder, entry);
}

static void entry_leave_remainder(struct tier_buffered *entry) {
    list_remove(&buffer.remainder, entry);
    buffer.remainder_bytes -= page_memory(entry->page);
}

static void entry_queue(struct tier_buffered *entry) {
    list_append(&buffer.queue, entry);
    buffer.queued++;
}

static void entry_unqueue(struct tier_buffered *entry) {
    list_remove(&buffer.queue, entry);
    buffer.queued--;
}

/* The payload or error is here: tell the readers. */
static void entry_arrived(struct tier_buffered *entry, int status) {
    entry->status = status;
    tier_transition(&entry->state, TIER_BUFFERED);
    for (struct tier_waiter *waiter = entry->waiters, *next; waiter != NULL; waiter = next) {
        next = waiter->next;
        waiter->next = NULL;
        FIRN_ASSERT(waiter->read->waiting > 0);
        if (--waiter->read->waiting == 0) announce(waiter->read);
    }
    entry->waiters = NULL;
    if (entry->pins == 0) entry_settle(entry);
}

static void entry_unwait(struct tier_buffered *entry, struct tier_waiter *waiter) {
    struct tier_waiter **link = &entry->waiters;
    while (*link != NULL && *link != waiter)
        link = &(*link)->next;
    FIRN_ASSERT(*link == waiter);
    *link = waiter->next;
}

/* --- life cycle --- */

void tier_read_start(void) {
    memset(&buffer, 0, sizeof buffer);
}

void tier_read_stop(void) {
    FIRN_ASSERT(tier_manager.reads_in_flight == 0);
    for (struct tier_map_node *node; (node = tier_map_any(&buffer.entries)) != NULL;) {
        struct tier_buffered *entry = TIER_MAP_OWNER(node, struct tier_buffered, node);
        FIRN_ASSERT(entry->pins == 0); /* a reader is left: its client was not freed before the tiers */
        if (entry->state == TIER_LOWER)
            entry_unqueue(entry);
        else
            entry_leave_remainder(entry);
        entry_free(entry);
    }
    while (buffer.pool != NULL) {
        struct tier_buffered *entry = buffer.pool;
        buffer.pool = entry->next;
        memory_free(entry);
    }
    tier_map_fini(&buffer.entries);
    memset(&buffer, 0, sizeof buffer);
}

/* --- readers --- */

/* How often ${ref} was read before, this time counted; a walk over everything does not count. */
static unsigned touch(uint64_t ref) {
    return buffer.walking ? 0 : tier_ghost_touch(ref);
}

/* The entry of ${ref}, pinned; to be read if it is new. */
static struct tier_buffered *entry_pin(uint64_t ref) {
    struct tier_buffered *entry = entry_find(ref);
    if (entry == NULL) {
        entry = entry_create(ref);
        entry_queue(entry);
    } else if (entry->state == TIER_BUFFERED && entry->pins == 0) {
        entry_leave_remainder(entry);
    }
    entry->pins++;
    return entry;
}

static void pin(struct tier_read *read, struct tier_waiter *waiter, uint64_t ref) {
    struct tier_buffered *entry = entry_pin(ref);
    entry->seen = touch(ref);
    entry->spent = 0;
    *waiter = (struct tier_waiter){.read = read, .entry = entry};
    if (entry->state == TIER_BUFFERED) return;
    waiter->next = entry->waiters;
    entry->waiters = waiter;
    read->waiting++;
}

struct tier_read *tier_read(const struct fault_set *set, void (*ready)(void *ctx), void *ctx) {
    FIRN_ASSERT(tier_manager.enabled && set->count > 0 && set->count <= FAULT_SET_MAX);
    struct tier_read *read = memory_alloc(sizeof *read + set->count * sizeof read->waiters[0]);
    *read = (struct tier_read){.ready = ready, .ctx = ctx, .count = set->count};
    buffer.faults += set->count;
    for (uint32_t i = 0; i < set->count; i++) {
        FIRN_ASSERT(page_ref_tag(set->refs[i]) == PAGE_TAG_NVME);
        pin(read, &read->waiters[i], set->refs[i]);
    }
    if (read->waiting == 0) announce(read);
    return read;
}

void tier_read_done(struct tier_read *read) {
    if (read->announced) unannounce(read);
    for (uint32_t i = 0; i < read->count; i++) {
        struct tier_buffered *entry = read->waiters[i].entry;
        if (entry->state != TIER_BUFFERED) entry_unwait(entry, &read->waiters[i]);
        FIRN_ASSERT(entry->pins > 0);
        if (--entry->pins == 0 && entry->state == TIER_BUFFERED) entry_settle(entry);
    }
    memory_free(read);
}

void tier_read_callbacks(void) {
    /* Only those announced by now: a callback may announce others, which belong to the next turn. */
    struct tier_read *last = buffer.ready_tail;
    int more = last != NULL;
    while (more && buffer.ready_head != NULL) {
        struct tier_read *read = buffer.ready_head;
        more = read != last;
        unannounce(read);
        read->ready(read->ctx); /* may free it, and others */
    }
}

int tier_read_callbacks_pending(void) {
    return buffer.ready_head != NULL;
}

void tier_prefetch(uint64_t ref) {
    if (!tier_manager.enabled || page_ref_tag(ref) != PAGE_TAG_NVME) return;
    if (tier_manager.reads_in_flight + buffer.queued >= TIER_READ_INFLIGHT_MAX / 2) return;
    if (entry_find(ref) == NULL) entry_queue(entry_create(ref));
}

/* --- the device --- */

static unsigned in_flight_max(void) {
    return (unsigned)tier_pressure_share(16u * READ_BYTES_ASSUMED, 64, TIER_READ_INFLIGHT_MAX);
}

int tier_read_submit(void) {
    struct tier_device *nvme = &tier_manager.nvme;
    unsigned most = in_flight_max();
    while (buffer.queue.head != NULL && tier_manager.reads_in_flight < most) {
        struct tier_operation *batch[TIER_BATCH_OPERATIONS_MAX];
        unsigned count = 0, room = most - tier_manager.reads_in_flight;
        if (room > TIER_BATCH_OPERATIONS_MAX) room = TIER_BATCH_OPERATIONS_MAX;
        int64_t now = clock_monotonic_us();
        for (struct tier_buffered *entry = buffer.queue.head; entry != NULL && count < room;
             entry = entry->next) {
            entry->operation = (struct tier_operation){.kind = TIER_GET,
                                                       .address = page_ref_address(entry->node.key),
                                                       .submitted_us = now,
                                                       .ctx = entry};
            batch[count++] = &entry->operation;
        }
        int error = nvme->ops->submit(nvme->backend, batch, count);
        if (error == FIRN_EAGAIN) return tier_manager.reads_in_flight + tier_manager.moves_in_flight == 0;
        for (unsigned i = 0; i < count; i++) {
            struct tier_buffered *entry = batch[i]->ctx;
            entry_unqueue(entry);
            if (error == 0) {
                tier_transition(&entry->state, TIER_READING);
                tier_manager.reads_in_flight++;
            } else {
                tier_device_read_failed(nvme, entry->node.key, error);
                entry_arrived(entry, error);
            }
        }
    }
    return 0;
}

static void count_read(struct tier_device *device, uint64_t ref, int status, const struct page *page,
                       int64_t us) {
    device->counters.reads++;
    histogram_record(&device->read_latency, us > 0 ? (uint64_t)us : 0);
    if (status == 0)
        device->counters.read_bytes += page->bytes;
    else if (status != FIRN_ENOTFOUND)
        tier_device_read_failed(device, ref, status);
}

void tier_read_completed(struct tier_operation *operation) {
    struct tier_buffered *entry = operation->ctx;
    FIRN_ASSERT(entry->state == TIER_READING && &entry->operation == operation);
    FIRN_ASSERT((operation->status == 0) == (operation->page != NULL));
    tier_manager.reads_in_flight--;
    count_read(&tier_manager.nvme, entry->node.key, operation->status, operation->page,
               operation->completed_us - operation->submitted_us);
    if (entry->page == NULL) {
        int status = operation->status;
        if (status == 0) status = split_name(entry->node.key, operation->page, &entry->name_bytes);
        if (status != 0 && operation->page != NULL) {
            page_free_unshared(operation->page);
            operation->page = NULL;
            tier_device_read_failed(&tier_manager.nvme, entry->node.key, status);
        }
        entry_set_page(entry, operation->page);
        entry_arrived(entry, status);
        return;
    }
    if (operation->page != NULL) page_free_unshared(operation->page); /* a blocking read was faster */
    entry_arrived(entry, 0);
}

/* --- page hooks --- */

int tier_read_buffered(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    struct tier_buffered *entry = entry_find(ref);
    if (entry == NULL || (entry->page == NULL && entry->state != TIER_BUFFERED)) return FIRN_EFAULT;
    if (entry->page == NULL) return entry->status;
    *payload_out = bytes_of(entry->page->data, entry->page->bytes);
    if (seen_out == NULL) return 0;
    tier_manager.nvme.counters.hits++;
    int unpinned = entry->state == TIER_BUFFERED && entry->pins == 0;
    if (unpinned && entry->turn != tier_manager.turn) { /* not a reader's second run: a read of its own */
        entry->seen = touch(ref);
        entry->turn = tier_manager.turn;
        list_remove(&buffer.remainder, entry);
        list_prepend(&buffer.remainder, entry);
    }
    *seen_out = entry->seen;
    if (entry->seen == 0) return 0;
    if (!tier_pressure_wants_promotion(ref, payload_out->size, entry->seen)) {
        *seen_out = 0;
    } else if (!entry->spent) {
        tier_manager.nvme.counters.promotions++;
        entry->spent = 1;
        if (unpinned) { /* the owner has its own copy now: first to go */
            list_remove(&buffer.remainder, entry);
            list_append(&buffer.remainder, entry);
        }
    }
    return 0;
}

struct bytes tier_read_name(uint64_t ref) {
    const struct tier_buffered *entry = entry_find(ref);
    FIRN_ASSERT(entry != NULL && entry->page != NULL);
    return bytes_of(entry->page->data + entry->page->bytes, entry->name_bytes);
}

int tier_read_map(uint64_t ref, struct bytes *payload_out, unsigned *seen_out) {
    struct tier_device *pmem = &tier_manager.pmem;
    FIRN_ASSERT(pmem->backend != NULL);
    int error = pmem->ops->map(pmem->backend, page_ref_address(ref), payload_out);
    if (error != 0) {
        tier_device_read_failed(pmem, ref, error);
        return error;
    }
    if (seen_out == NULL) return 0;
    pmem->counters.hits++;
    if (ref != buffer.mapped_ref ||
        buffer.mapped_turn != tier_manager.turn) { /* else: the same read goes on */
        buffer.mapped_ref = ref;
        buffer.mapped_turn = tier_manager.turn;
        buffer.mapped_seen = touch(ref);
    }
    *seen_out = buffer.mapped_seen;
    if (*seen_out == 0) return 0;
    if (tier_pressure_wants_promotion(ref, payload_out->size, *seen_out))
        pmem->counters.promotions++;
    else
        *seen_out = 0;
    return 0;
}

/* Let go of the oldest of what blocking reads brought; the latest few may be in use. */
static void walk_trim(void) {
    while (buffer.remainder_bytes > WALK_KEEP_BYTES && buffer.remainder.tail != NULL &&
           buffer.remainder.tail->previous != NULL) {
        struct tier_buffered *entry = buffer.remainder.tail;
        for (unsigned newer = 0; newer < WALK_KEEP_COUNT; newer++)
            if ((entry = entry->previous) == NULL) return;
        entry = buffer.remainder.tail;
        entry_leave_remainder(entry);
        tier_transition(&entry->state, TIER_LOWER);
        entry_free(entry);
    }
}

void tier_read_ahead(uint64_t ref) {
    if (buffer.walking && entry_find(ref) == NULL) entry_queue(entry_create(ref));
}

/* Block until the pinned entry is BUFFERED. */
static void entry_await(const struct tier_buffered *entry) {
    while (entry->state != TIER_BUFFERED) {
        tier_read_submit();
        if (tier_manager.reads_in_flight + tier_manager.moves_in_flight > 0) tier_wait_completions();
    }
}

/* What was announced is on its way with others: wait for it. */
static int walk_wait(struct tier_buffered *entry, struct bytes *payload_out) {
    walk_trim();
    buffer.sync_reads++;
    entry->pins++;
    entry_await(entry);
    int status = entry->page != NULL ? 0 : entry->status;
    if (status == 0) *payload_out = bytes_of(entry->page->data, entry->page->bytes);
    if (--entry->pins == 0) entry_settle(entry);
    return status;
}

int tier_read_sync(uint64_t ref, struct bytes *payload_out) {
    struct tier_device *nvme = &tier_manager.nvme;
    FIRN_ASSERT(nvme->backend != NULL);
    struct tier_buffered *announced = buffer.walking ? entry_find(ref) : NULL;
    if (announced != NULL) return walk_wait(announced, payload_out);
    struct page *page = NULL;
    int64_t began = clock_monotonic_us();
    int error = nvme->ops->read(nvme->backend, page_ref_address(ref), &page);
    buffer.sync_reads++;
    count_read(nvme, ref, error, page, clock_monotonic_us() - began);
    if (error != 0) return error;
    uint32_t name_bytes;
    error = split_name(ref, page, &name_bytes);
    if (error != 0) {
        tier_device_read_failed(nvme, ref, error);
        page_free_unshared(page);
        return error;
    }
    if (buffer.walking) walk_trim();
    struct tier_buffered *entry = entry_find(ref);
    if (entry == NULL) {
        entry = entry_create(ref);
        entry_set_page(entry, page);
        entry->name_bytes = name_bytes;
        entry->seen = touch(ref);
        entry->turn = tier_manager.turn;
        entry_arrived(entry, 0);
    } else {
        entry_set_page(entry, page); /* if a GET is in flight, its page will be dropped */
        entry->name_bytes = name_bytes;
        if (entry->state == TIER_LOWER) {
            entry_unqueue(entry);
            entry_arrived(entry, 0);
        }
    }
    *payload_out = bytes_of(page->data, page->bytes);
    return 0;
}

/* --- walks --- */

static void walk_release(void) {
    for (unsigned i = 0; i < buffer.walked_count; i++) {
        struct tier_buffered *entry = buffer.walked[i];
        FIRN_ASSERT(entry->pins > 0 && entry->state == TIER_BUFFERED);
        entry->spent = 1; /* first to go */
        if (--entry->pins == 0) entry_settle(entry);
    }
    buffer.walked_count = 0;
    tier_read_trim();
}

void tier_walk_begin(void) {
    FIRN_ASSERT(!buffer.walking);
    buffer.walking = page_reads_ahead = 1;
}

void tier_walk_end(void) {
    FIRN_ASSERT(buffer.walking);
    walk_release();
    buffer.walking = page_reads_ahead = 0;
}

void tier_walk_read(const uint64_t *refs, unsigned count) {
    FIRN_ASSERT(buffer.walking && count <= TIER_WALK_BATCH);
    walk_release();
    for (unsigned i = 0; i < count; i++) {
        FIRN_ASSERT(page_ref_tag(refs[i]) == PAGE_TAG_NVME);
        buffer.walked[buffer.walked_count++] = entry_pin(refs[i]);
    }
    for (unsigned i = 0; i < count; i++)
        entry_await(buffer.walked[i]);
}

/* --- the rest --- */

void tier_read_trim(void) {
    uint64_t most = tier_manager.stress != TIER_STRESS_OFF
                        ? 0
                        : tier_pressure_share(32, 64u << 10, TIER_READ_BUFFER_BYTES);
    while (buffer.remainder.tail != NULL && (buffer.remainder_bytes > most || buffer.remainder.tail->spent)) {
        struct tier_buffered *entry = buffer.remainder.tail;
        entry_leave_remainder(entry);
        tier_transition(&entry->state, TIER_LOWER);
        entry_free(entry);
    }
}

/* Its record is dead: readers that are still waiting need not wait for the device. */
static void entry_kill(struct tier_buffered *entry) {
    entry->dead = 1;
    if (entry->state == TIER_LOWER) {
        entry_unqueue(entry);
        entry_arrived(entry, FIRN_ENOTFOUND);
    } else if (entry->state == TIER_BUFFERED && entry->pins == 0) {
        entry_leave_remainder(entry);
        tier_transition(&entry->state, TIER_LOWER);
        entry_free(entry);
    }
}

void tier_read_discarded(uint64_t ref) {
    struct tier_buffered *entry = entry_find(ref);
    if (entry != NULL) entry_kill(entry);
}

static void clear_list(const struct entry_list *list) {
    for (struct tier_buffered *entry = list->head, *next; entry != NULL; entry = next) {
        next = entry->next;
        if (!tier_hold_covers(entry->node.key) && !page_is_shared(entry->node.key)) entry_kill(entry);
    }
}

void tier_read_clear(void) {
    clear_list(&buffer.queue);
    clear_list(&buffer.remainder);
}

uint64_t tier_read_buffer_bytes(void) {
    return buffer.payload_bytes;
}

uint64_t tier_read_faults(void) {
    return buffer.faults;
}

uint64_t tier_read_sync_count(void) {
    return buffer.sync_reads;
}

void tier_read_stats_reset(void) {
    buffer.faults = buffer.sync_reads = 0;
}
