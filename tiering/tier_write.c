/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves: demotions in flight, from a victim to a finished record whose reference replaces the content at
 * its owner.
 *
 * W1 The bytes of a PUT cannot change while it is in flight: a DRAM page is held by a reference (kind
 *    PAGE: taken by the keyspace's begin; kind ENTRY: by us), inline values and PMEM payloads are copied
 *    into the move's buffer.
 * W2 A move with an owner is found by it (by_owner), one from PMEM by its source record (by_source), so
 *    that tier_forget, and the discard of the source, make it void: its completion then touches neither
 *    owner nor source and discards the new record (T1).
 * W3 An address is discarded by the manager only after its PUT completed.
 * W4 Bytes in flight are at most a share of the memory limit, except that one move is always possible.
 * W5 Moves are pooled with their buffers; the pool's buffers are bounded too.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "tiering/tier_internal.h"

#define VICTIMS_AT_ONCE TIER_BATCH_OPERATIONS_MAX
#define POOL_MOVES_MAX  512u
#define POOL_BYTES_MAX  (2u << 20) /* of buffers in the pool, less for a small memory limit */
#define POOL_BUFFER_MAX 8192u      /* a bigger buffer is freed with its move */
#define CLOCK_EVERY     16u        /* victims between looks at the clock */
#define FULL_LOG_US     60000000   /* how often the log mentions a full tier */
#define EVICT_KEYS_MAX  256u       /* at once */
#define EVICT_BYTES     (256u << 10)

struct tier_move {
    struct tier_operation operation;
    struct tier_victim victim;
    struct tier_device *to;
    enum tier_residency state;
    struct tier_map_node by_owner, by_source;
    uint8_t has_owner, has_source, is_void, is_named;
    struct page *page; /* held while in flight, or NULL */
    uint8_t *buffer;   /* copied payload */
    size_t capacity;
    uint64_t freeing; /* DRAM that comes free when it completes */
    int *result;
    struct tier_move *previous, *next; /* all in flight; or the pool */
};

struct batch {
    struct tier_operation *operations[TIER_BATCH_OPERATIONS_MAX];
    unsigned count;
};

static struct {
    struct tier_map by_owner, by_source;
    struct tier_move *in_flight, *pool;
    uint64_t pooled_bytes; /* of buffers */
    uint64_t bytes, freeing;
    struct batch pmem, nvme; /* begun, not yet submitted */
} writes;

/* --- the pool --- */

static struct tier_move *move_create(void) {
    struct tier_move *move = writes.pool;
    uint8_t *kept = NULL;
    size_t capacity = 0;
    if (move != NULL) {
        writes.pool = move->next;
        writes.pooled_bytes -= move->capacity;
        kept = move->buffer;
        capacity = move->capacity;
    } else {
        move = memory_alloc(sizeof *move);
    }
    memset(move, 0, sizeof *move);
    move->buffer = kept;
    move->capacity = capacity;
    return move;
}

static void move_destroy(struct tier_move *move) {
    if (move->capacity > 0 &&
        (move->capacity > POOL_BUFFER_MAX ||
         writes.pooled_bytes + move->capacity > tier_pressure_share(64, 64u << 10, POOL_BYTES_MAX))) {
        memory_free(move->buffer);
        move->buffer = NULL;
        move->capacity = 0;
    }
    writes.pooled_bytes += move->capacity;
    move->next = writes.pool;
    writes.pool = move;
}

/* Copy ${payload}, and behind it the victim's name if the record is to be named, into the move's buffer. */
static int move_copy(struct tier_move *move, struct bytes payload, const struct tier_victim *victim) {
    uint32_t name_bytes = (uint32_t)(victim->name_head.size + victim->name_tail.size);
    size_t bytes = payload.size + (move->is_named ? name_bytes + sizeof name_bytes : 0);
    if (move->capacity < bytes) {
        size_t capacity = memory_good_size(bytes);
        uint8_t *bigger = memory_try_alloc(capacity);
        if (bigger == NULL) return FIRN_ENOMEM;
        memory_free(move->buffer);
        move->buffer = bigger;
        move->capacity = capacity;
    }
    uint8_t *to = move->buffer;
    memcpy(to, payload.data, payload.size);
    if (!move->is_named) return 0;
    to += payload.size;
    memcpy(to, victim->name_head.data, victim->name_head.size);
    memcpy(to + victim->name_head.size, victim->name_tail.data, victim->name_tail.size);
    bytes_store32(to + name_bytes, name_bytes);
    return 0;
}

/* --- life cycle --- */

void tier_write_start(void) {
    memset(&writes, 0, sizeof writes);
}

void tier_write_stop(void) {
    FIRN_ASSERT(tier_manager.moves_in_flight == 0 && writes.in_flight == NULL);
    while (writes.pool != NULL) {
        struct tier_move *move = writes.pool;
        writes.pool = move->next;
        memory_free(move->buffer);
        memory_free(move);
    }
    tier_map_fini(&writes.by_owner);
    tier_map_fini(&writes.by_source);
    memset(&writes, 0, sizeof writes);
}

/* --- where to --- */

uint64_t tier_write_occupied(const struct tier_device *device) {
    return device->now.bytes_occupied + device->occupied_since;
}

static int device_takes(const struct tier_device *device, int64_t now_us) {
    return device->backend != NULL && now_us >= device->full_until_us && now_us >= device->retry_at_us;
}

struct tier_device *tier_write_target(uint32_t bytes) {
    struct tier_device *pmem = &tier_manager.pmem, *nvme = &tier_manager.nvme;
    int64_t now = pmem->full_until_us | pmem->retry_at_us | nvme->full_until_us | nvme->retry_at_us
                      ? clock_monotonic_us()
                      : 0;
    int nvme_takes = device_takes(nvme, now);
    if (device_takes(pmem, now)) {
        uint64_t most = pmem->now.bytes_max / 100 * TIER_PMEM_FULL_PERCENT;
        if (!nvme_takes || tier_write_occupied(pmem) + bytes <= most) return pmem;
    }
    return nvme_takes ? nvme : NULL;
}

static int reserve(struct tier_device *device, uint32_t bytes, uint64_t *address_out) {
    int error = device->ops->reserve(device->backend, bytes, address_out);
    if (error == 0) {
        device->occupied_since += bytes;
        device->full_since_us = device->full_until_us = 0;
    } else if (error == FIRN_ENOSPACE) {
        int64_t now = clock_monotonic_us();
        if (device->full_since_us == 0) device->full_since_us = now;
        if (device == tier_lowest() &&
            (device->full_logged_us == 0 || now - device->full_logged_us > FULL_LOG_US)) {
            device->full_logged_us = now;
            log_warning("Tier %s is full (tier-%s-size)", device->name, device->name);
        }
        device->full_until_us = now + TIER_FULL_US;
    }
    return error;
}

int tier_write_has_room(void) {
    uint64_t most = tier_pressure_share(16, 256u << 10, TIER_WRITE_INFLIGHT_BYTES);
    return tier_manager.moves_in_flight < TIER_MOVES_MAX &&
           (writes.bytes < most || tier_manager.moves_in_flight == 0);
}

uint64_t tier_write_freeing_bytes(void) {
    return writes.freeing;
}

uint64_t tier_write_inflight_bytes(void) {
    return writes.bytes;
}

/* --- begin --- */

static void link_move(struct tier_move *move) {
    move->previous = NULL;
    move->next = writes.in_flight;
    if (writes.in_flight != NULL) writes.in_flight->previous = move;
    writes.in_flight = move;
    if (move->victim.owner != NULL) {
        tier_map_insert(&writes.by_owner, (uint64_t)(uintptr_t)move->victim.owner, &move->by_owner);
        move->has_owner = 1;
    }
    if (page_ref_tag(move->victim.ref) == PAGE_TAG_PMEM) {
        tier_map_insert(&writes.by_source, move->victim.ref, &move->by_source);
        move->has_source = 1;
    }
    tier_manager.moves_in_flight++;
    writes.bytes += move->operation.bytes;
    writes.freeing += move->freeing;
}

/* Nobody finds the move any more. */
static void unmap_move(struct tier_move *move) {
    if (move->has_owner) tier_map_remove(&writes.by_owner, &move->by_owner);
    if (move->has_source) tier_map_remove(&writes.by_source, &move->by_source);
    move->has_owner = move->has_source = 0;
}

static void unlink_move(struct tier_move *move) {
    unmap_move(move);
    if (move->previous != NULL)
        move->previous->next = move->next;
    else
        writes.in_flight = move->next;
    if (move->next != NULL) move->next->previous = move->previous;
    FIRN_ASSERT(tier_manager.moves_in_flight > 0);
    tier_manager.moves_in_flight--;
    writes.bytes -= move->operation.bytes;
    writes.freeing -= move->freeing;
}

static void make_void(struct tier_move *move) {
    unmap_move(move);
    move->is_void = 1;
}

static int is_moving(const struct tier_victim *victim) {
    if (victim->owner != NULL && tier_map_find(&writes.by_owner, (uint64_t)(uintptr_t)victim->owner) != NULL)
        return 1;
    return page_ref_tag(victim->ref) == PAGE_TAG_PMEM &&
           tier_map_find(&writes.by_source, victim->ref) != NULL;
}

/* begin, and hold a DRAM page (W1). */
static struct page *begin(const struct tier_victim *victim) {
    struct page *page = page_ref_tag(victim->ref) == PAGE_TAG_DRAM ? page_ref_dram(victim->ref) : NULL;
    uint32_t refs = page != NULL ? page->refs : 0;
    if (page != NULL && victim->owner != NULL) page_retain(page);
    tier_manager.hooks.begin(victim);
    FIRN_ASSERT(page == NULL || page->refs == refs + 1);
    if (page != NULL) page->moving = 1;
    return page;
}

/* Let go of it. NULL is a no-op. */
static void end(struct page *page) {
    if (page == NULL) return;
    page->moving = 0;
    page_release(page_ref_of(page));
}

/* The lower copy of a value in DRAM is still valid: no write. */
static void drop_clean(const struct tier_victim *victim, uint64_t clean_ref) {
    struct tier_device *device = tier_device(page_ref_tag(clean_ref));
    FIRN_ASSERT(device != NULL);
    enum tier_residency state = TIER_CLEAN;
    struct page *page = begin(victim);
    if (page != NULL) page->lower = 0; /* the record's owner is now the slot, not the page */
    int flipped = tier_manager.hooks.finish(victim, clean_ref);
    if (page != NULL) {
        if (!flipped) page->lower = clean_ref;
        end(page);
    }
    if (!flipped) return;
    tier_transition(&state, TIER_LOWER);
    device->counters.clean_drops++;
}

static int victim_payload(const struct tier_victim *victim, struct bytes *payload_out) {
    *payload_out = victim->inline_value;
    if (victim->ref == 0) return 0;
    FIRN_ASSERT(page_ref_tag(victim->ref) == PAGE_TAG_DRAM || page_ref_tag(victim->ref) == PAGE_TAG_PMEM);
    return page_peek(victim->ref, payload_out, NULL);
}

static int write_victim(const struct tier_victim *victim, struct tier_device *to, int *result) {
    struct bytes payload;
    int error = victim_payload(victim, &payload);
    if (error != 0) return error;
    uint64_t address;
    int is_named = to->tag == PAGE_TAG_NVME && victim->name_head.size > 0;
    uint32_t bytes = (uint32_t)payload.size;
    if (is_named) bytes += (uint32_t)(victim->name_head.size + victim->name_tail.size + sizeof(uint32_t));
    error = reserve(to, bytes, &address);
    if (error != 0) return error;
    struct tier_move *move = move_create();
    move->is_named = (uint8_t)is_named;
    int from_page = victim->ref != 0 && page_ref_tag(victim->ref) == PAGE_TAG_DRAM;
    int copied = !from_page || is_named;
    if (copied && move_copy(move, payload, victim) != 0) {
        to->ops->discard(to->backend, address);
        move_destroy(move);
        return FIRN_ENOMEM;
    }
    move->victim = *victim;
    move->victim.inline_value = bytes_of(NULL, 0); /* borrowed for this call only, as the name is */
    move->victim.name_head = move->victim.name_tail = bytes_of(NULL, 0);
    move->to = to;
    move->state = page_ref_tag(victim->ref) == PAGE_TAG_PMEM ? TIER_LOWER : TIER_RESIDENT;
    move->page = victim->ref != 0 ? begin(victim) : (tier_manager.hooks.begin(victim), NULL);
    move->freeing = from_page ? page_memory(move->page) : victim->ref == 0 ? 2 * payload.size : payload.size;
    move->freeing += victim->bundled_bytes;
    move->result = result;
    if (result != NULL) *result = TIER_WRITE_PENDING;
    move->operation = (struct tier_operation){.kind = TIER_PUT,
                                              .address = address,
                                              .data = copied ? move->buffer : payload.data,
                                              .bytes = bytes,
                                              .ctx = move};
    tier_transition(&move->state, TIER_MOVING);
    link_move(move);
    struct batch *batch = to->tag == PAGE_TAG_PMEM ? &writes.pmem : &writes.nvme;
    batch->operations[batch->count++] = &move->operation;
    if (batch->count == TIER_BATCH_OPERATIONS_MAX) tier_write_flush();
    return 0;
}

int tier_write_move(const struct tier_victim *victim, struct tier_device *to, int *result_inout) {
    FIRN_ASSERT(page_ref_tag(victim->ref) != PAGE_TAG_OBJECT && page_ref_tag(victim->ref) != PAGE_TAG_NVME);
    if (is_moving(victim)) return FIRN_EBUSY;
    uint64_t clean_ref = victim->clean_ref;
    if (victim->ref != 0 && page_ref_tag(victim->ref) == PAGE_TAG_DRAM) {
        const struct page *page = page_ref_dram(victim->ref);
        if (page->moving || (victim->owner != NULL && page->refs != 1)) return FIRN_EBUSY; /* or held */
        clean_ref = page->lower;
    }
    if (clean_ref != 0) {
        drop_clean(victim, clean_ref);
        if (result_inout != NULL) *result_inout = 0;
        return 0;
    }
    if (tier_manager.moves_in_flight >= TIER_MOVES_MAX) return FIRN_EAGAIN;
    return write_victim(victim, to, result_inout);
}

/* --- submit --- */

/* The backend took none: as if they had failed, but without blaming the device. */
static void cancel_batch(struct batch *batch, int error) {
    for (unsigned i = 0; i < batch->count; i++) {
        struct tier_move *move = batch->operations[i]->ctx;
        struct tier_device *to = move->to;
        to->ops->discard(to->backend, move->operation.address);
        unlink_move(move);
        if (!move->is_void) tier_manager.hooks.finish(&move->victim, 0);
        end(move->page);
        if (move->result != NULL) *move->result = error;
        to->counters.cancelled++;
        move_destroy(move);
    }
}

static void flush_batch(struct tier_device *device, struct batch *batch) {
    if (batch->count == 0) return;
    int64_t now = clock_monotonic_us();
    for (unsigned i = 0; i < batch->count; i++)
        batch->operations[i]->submitted_us = now;
    int error = device->ops->submit(device->backend, batch->operations, batch->count);
    if (error != 0) {
        device->full_until_us = now + 1000; /* a short while, for its queue to drain */
        if (error != FIRN_EAGAIN) tier_device_write_failed(device, error);
        cancel_batch(batch, error);
    }
    batch->count = 0;
}

void tier_write_flush(void) {
    flush_batch(&tier_manager.pmem, &writes.pmem);
    flush_batch(&tier_manager.nvme, &writes.nvme);
}

/* --- finish --- */

/* The record is written: hand its reference to the owner, or discard it. Returns the outcome for who waits.
 */
static int install(struct tier_move *move) {
    struct tier_device *to = move->to;
    uint64_t ref = page_ref_lower(to->tag, move->operation.address);
    if (move->is_named) ref |= PAGE_REF_NAMED;
    to->counters.writes++;
    to->counters.write_bytes += move->operation.bytes;
    if (!move->is_void && tier_manager.hooks.finish(&move->victim, ref)) {
        tier_transition(&move->state, TIER_LOWER);
        to->counters.demotions++;
        return 0;
    }
    tier_transition(&move->state, TIER_RESIDENT);
    to->ops->discard(to->backend, move->operation.address);
    to->counters.cancelled++;
    return FIRN_EBUSY;
}

void tier_write_completed(struct tier_operation *operation) {
    struct tier_move *move = operation->ctx;
    FIRN_ASSERT(&move->operation == operation && move->state == TIER_MOVING);
    int64_t us = operation->completed_us - operation->submitted_us;
    histogram_record(&move->to->write_latency, us > 0 ? (uint64_t)us : 0);
    unlink_move(move); /* first: finish may discard the source and forget the owner */
    int outcome = operation->status;
    if (outcome == 0) {
        tier_device_write_succeeded(move->to, operation->submitted_us);
        outcome = install(move);
    } else {
        tier_device_write_failed(move->to, outcome);
        if (!move->is_void) tier_manager.hooks.finish(&move->victim, 0);
        tier_transition(&move->state, TIER_RESIDENT);
    }
    end(move->page);
    if (move->result != NULL) *move->result = outcome;
    move_destroy(move);
}

void tier_forget(void *owner) {
    struct tier_map_node *node = tier_map_find(&writes.by_owner, (uint64_t)(uintptr_t)owner);
    if (node != NULL) make_void(TIER_MAP_OWNER(node, struct tier_move, by_owner));
}

void tier_write_source_discarded(uint64_t ref) {
    struct tier_map_node *node = tier_map_find(&writes.by_source, ref);
    if (node != NULL) make_void(TIER_MAP_OWNER(node, struct tier_move, by_source));
}

void tier_write_clear(void) {
    for (struct tier_move *move = writes.in_flight; move != NULL; move = move->next)
        make_void(move);
}

void tier_forget_db(uint32_t db) {
    for (struct tier_move *move = writes.in_flight; move != NULL; move = move->next) {
        if (move->victim.db == db) make_void(move);
    }
}

/* --- rounds of demotion --- */

/* The lowest tier is full: may the coldest go for ${from}'s sake? When it is not its size but the device that
 * is full, evicting shows only after a while: then a little at a time. */
static int may_evict(enum page_tag from) {
    static int64_t after_us;
    const struct tier_device *lowest = tier_lowest();
    if (from != PAGE_TAG_DRAM || tier_manager.full_policy != TIER_FULL_EVICT || lowest->full_since_us == 0)
        return 0;
    if (lowest->failing_since_us == 0) return 1;
    int64_t now = clock_monotonic_us();
    if (now < after_us) return 0;
    after_us = now + TIER_BACKOFF_US_MAX;
    return 1;
}

/* Let the coldest of the lowest tier go, about ${bytes} of them. Victims asked for before mean nothing
 * afterwards. */
static int evict_for(uint64_t bytes, int64_t deadline_us) {
    struct tier_device *lowest = tier_lowest();
    uint64_t freed = 0;
    for (unsigned i = 0; i < EVICT_KEYS_MAX && freed < bytes; i++) {
        uint64_t more = tier_manager.hooks.evict((int)lowest->tag);
        if (more == 0) break;
        freed += more;
        if (clock_monotonic_us() >= deadline_us) break; /* each may have read from the device */
    }
    if (freed > 0) lowest->full_until_us = 0;
    return freed > 0;
}

static uint64_t victim_bytes(const struct tier_victim *victim) {
    if (victim->ref == 0) return victim->inline_value.size;
    if (page_ref_tag(victim->ref) == PAGE_TAG_DRAM) return page_ref_dram(victim->ref)->bytes;
    const struct tier_device *pmem = &tier_manager.pmem;
    return pmem->ops->bytes != NULL ? pmem->ops->bytes(pmem->backend, page_ref_address(victim->ref)) : 4096;
}

/* Move one victim to the best tier; falls through to the next when one is full. */
static int place(const struct tier_victim *victim, enum page_tag from, uint64_t bytes) {
    int error = FIRN_ENOSPACE;
    for (unsigned attempt = 0; attempt < 3; attempt++) {
        int to_nvme = from == PAGE_TAG_PMEM || victim->bundled_bytes > 0;
        struct tier_device *to = to_nvme ? &tier_manager.nvme : tier_write_target((uint32_t)bytes);
        if (to == NULL || (to_nvme && !device_takes(to, clock_monotonic_us()))) break;
        error = tier_write_move(victim, to, NULL);
        if (error != FIRN_ENOSPACE) return error;
    }
    return error;
}

/* Without a write, a clean value can go whatever the state of the tiers is. */
static int can_move(const struct tier_victim *victim, enum page_tag from) {
    if (victim->clean_ref != 0 || tier_manager.full_policy == TIER_FULL_EVICT) return 1;
    return from == PAGE_TAG_PMEM || tier_write_target(0) != NULL;
}

int tier_write_is_repeated(const struct tier_victim *victims, unsigned index) {
    for (unsigned i = 0; i < index; i++) {
        if (victims[i].owner == victims[index].owner && victims[i].ref == victims[index].ref &&
            victims[i].object_id == victims[index].object_id &&
            victims[i].locator == victims[index].locator) {
            return 1;
        }
    }
    return 0;
}

/* Move one batch of victims; *moved_inout counts their bytes. 0: go on with another one, else why not:
 * FIRN_ENOTFOUND no victims, FIRN_EAGAIN enough for now, FIRN_ENOSPACE no tier takes more. */
static int demote_batch(enum page_tag from, uint64_t bytes, int64_t deadline_us, uint64_t *moved_inout) {
    struct tier_victim victims[VICTIMS_AT_ONCE];
    unsigned count = tier_manager.hooks.victims((int)from, victims, VICTIMS_AT_ONCE);
    FIRN_ASSERT(count <= VICTIMS_AT_ONCE);
    uint64_t before = *moved_inout;
    for (unsigned i = 0; i < count; i++) {
        if (*moved_inout >= bytes || !tier_write_has_room()) return FIRN_EAGAIN;
        if (tier_write_is_repeated(victims, i)) continue;
        uint64_t size = victim_bytes(&victims[i]);
        int error = can_move(&victims[i], from) ? place(&victims[i], from, size) : FIRN_ENOSPACE;
        if (error == 0) *moved_inout += size + sizeof(struct page);
        if (error == FIRN_ENOSPACE || error == FIRN_EAGAIN || error == FIRN_ENOMEM) return error;
        if (i % CLOCK_EVERY == CLOCK_EVERY - 1 && clock_monotonic_us() >= deadline_us) return FIRN_EAGAIN;
    }
    return *moved_inout > before ? 0 : FIRN_ENOTFOUND;
}

uint64_t tier_write_demote(enum page_tag from, uint64_t bytes, int64_t deadline_us, int *exhausted_out) {
    uint64_t moved = 0;
    int stop = 0;
    while (!stop && moved < bytes && tier_write_has_room()) {
        stop = demote_batch(from, bytes, deadline_us, &moved);
        if (stop == FIRN_ENOSPACE && may_evict(from)) stop = !evict_for(EVICT_BYTES, deadline_us);
        if (!stop && clock_monotonic_us() >= deadline_us) stop = FIRN_EAGAIN;
    }
    tier_write_flush();
    *exhausted_out = stop == FIRN_ENOTFOUND;
    return moved;
}
