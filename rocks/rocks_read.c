/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cold reads without a thread each: the executor looks the block up in the known tables, asks the kernel for
 * a batch of blocks through a ring, and takes them in when they have come. A block being read serves all
 * reads of it. Whatever goes wrong here (no table, a short read, an error, a block not as we know them, a
 * checksum) is not decided here: the operation goes to the engine's readers, whose answer counts. Only a lack
 * of memory is final.
 *
 * D1 Each slot in flight holds its table; each operation is in one slot, or waits for one, or is not ours.
 * D2 Operations outstanding here, and those queued to the engine, fit together into the engine's queue, so
 *    handing one over never fails (rocks_submit refuses before).
 *
 * Threads: executor only.
 */
#include <errno.h>
#include <liburing.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/fault_point.h"
#include "base/memory.h"
#include "rocks/rocks_internal.h"

struct slot {
    struct rocks_table *table; /* NULL: free */
    uint64_t offset;           /* of the block */
    uint32_t bytes;            /* of the block, with trailer */
    uint32_t skip;             /* from the beginning of what is read to the block */
    uint8_t *data;             /* what is read */
    uint8_t *large;            /* memory of its own when it does not fit the slot's; data is within */
    struct tier_operation *operations[ROCKS_SLOT_OPERATIONS];
    unsigned operation_count;
};

struct rocks_reads {
    struct io_uring ring;
    struct slot slots[ROCKS_READ_SLOTS];
    uint8_t free_slots[ROCKS_READ_SLOTS];
    unsigned free_count, reading; /* slots */
    unsigned unsubmitted;         /* of those, not taken by the kernel yet */
    int fixed;                    /* buffers are registered: the kernel pins them within RLIMIT_MEMLOCK */
    int has_wake;                 /* an eventfd is registered */
    unsigned barrier;             /* see signals_on */
    uint32_t align;               /* of file offsets in direct reads */
    uint8_t *buffers, *scratch;
    size_t outstanding;
    struct tier_operation **waiting; /* ROCKS_QUEUE_OPERATIONS, for a slot */
    size_t waiting_head, waiting_tail;
};

_Static_assert(ROCKS_READ_SLOTS <= UINT8_MAX, "slots are numbered in a byte");
_Static_assert(ROCKS_SLOT_BYTES % ROCKS_DIRECT_ALIGN == 0, "buffers of slots are aligned");

/* --- life cycle --- */

static int ring_init(struct io_uring *ring) {
    static const unsigned tries[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    if (fault_point_fails(FAULT_ROCKS_URING)) return FIRN_EUNSUPPORTED;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        struct io_uring_params params = {.flags = tries[i]};
        if (io_uring_queue_init_params(ROCKS_READ_SLOTS, ring, &params) == 0) return 0;
    }
    return FIRN_EUNSUPPORTED;
}

struct rocks_reads *rocks__reads_create(struct tier_backend *backend, int wake_fd) {
    struct rocks_reads *reads = memory_alloc_zero(sizeof *reads);
    if (ring_init(&reads->ring) != 0) {
        memory_free(reads);
        return NULL;
    }
    if (wake_fd > 0 && (fault_point_fails(FAULT_ROCKS_URING_WAKE) ||
                        io_uring_register_eventfd(&reads->ring, wake_fd) != 0)) {
        io_uring_queue_exit(&reads->ring);
        memory_free(reads);
        return NULL;
    }
    reads->has_wake = wake_fd > 0;
    (void)io_uring_register_ring_fd(
        &reads->ring); /* saves a look-up per enter; older kernels go on without */
    reads->align = backend->direct ? rocks__direct_align(backend->path) : 1;
    reads->buffers = memory_alloc_aligned(ROCKS_DIRECT_ALIGN, (size_t)ROCKS_READ_SLOTS * ROCKS_SLOT_BYTES);
    reads->scratch = memory_alloc(ROCKS_BLOCK_BYTES_MAX);
    reads->waiting = memory_alloc(ROCKS_QUEUE_OPERATIONS * sizeof(struct tier_operation *));
    struct iovec all = {reads->buffers, (size_t)ROCKS_READ_SLOTS * ROCKS_SLOT_BYTES};
    reads->fixed = !fault_point_fails(FAULT_ROCKS_URING_BUFFERS) &&
                   io_uring_register_buffers(&reads->ring, &all, 1) == 0;
    for (unsigned i = 0; i < ROCKS_READ_SLOTS; i++)
        reads->free_slots[reads->free_count++] = (uint8_t)i;
    return reads;
}

void rocks__reads_destroy(struct rocks_reads *reads) {
    if (reads == NULL) return;
    FIRN_ASSERT(reads->outstanding == 0 && reads->reading == 0);
    io_uring_queue_exit(&reads->ring);
    memory_free(reads->buffers);
    memory_free(reads->scratch);
    memory_free(reads->waiting);
    memory_free(reads);
}

size_t rocks__reads_outstanding(const struct rocks_reads *reads) {
    return reads == NULL ? 0 : reads->outstanding;
}

uint64_t rocks__reads_memory(const struct rocks_reads *reads) {
    if (reads == NULL) return 0;
    return sizeof *reads + (uint64_t)ROCKS_READ_SLOTS * ROCKS_SLOT_BYTES + ROCKS_BLOCK_BYTES_MAX +
           ROCKS_QUEUE_OPERATIONS * sizeof(struct tier_operation *);
}

/* --- starting --- */

static struct slot *slot_of_block(struct rocks_reads *reads, const struct rocks_table *table,
                                  uint64_t offset) {
    for (unsigned i = 0; reads->reading > 0 && i < ROCKS_READ_SLOTS; i++) {
        struct slot *slot = &reads->slots[i];
        if (slot->table == table && slot->offset == offset && slot->operation_count < ROCKS_SLOT_OPERATIONS)
            return slot;
    }
    return NULL;
}

/* Whether there was memory for it. */
static int slot_start(struct rocks_reads *reads, unsigned index) {
    struct slot *slot = &reads->slots[index];
    uint64_t begin = slot->offset - slot->offset % reads->align;
    slot->skip = (uint32_t)(slot->offset - begin);
    uint32_t bytes = slot->skip + slot->bytes;
    bytes = (bytes + reads->align - 1) / reads->align * reads->align;
    slot->data = reads->buffers + (size_t)index * ROCKS_SLOT_BYTES;
    slot->large = NULL;
    if (bytes > ROCKS_SLOT_BYTES) {
        slot->large = memory_try_alloc(bytes + ROCKS_DIRECT_ALIGN - 1);
        if (slot->large == NULL) return 0;
        slot->data = slot->large + (-(uintptr_t)slot->large & (ROCKS_DIRECT_ALIGN - 1));
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&reads->ring);
    FIRN_ASSERT(sqe != NULL); /* as many as slots */
    if (reads->fixed && slot->large == NULL)
        io_uring_prep_read_fixed(sqe, slot->table->file, slot->data, bytes, begin, 0);
    else
        io_uring_prep_read(sqe, slot->table->file, slot->data, bytes, begin);
    io_uring_sqe_set_data64(sqe, index);
    reads->reading++;
    reads->unsubmitted++;
    return 1;
}

enum taken { TAKEN, NOT_OURS, NO_SLOT };

/* Start reading the block of the operation, or join a read of it. */
static enum taken take(struct tier_backend *backend, struct tier_operation *operation) {
    struct rocks_reads *reads = backend->own;
    struct rocks_table *table = rocks__tables_get(&backend->tables, operation->address);
    if (table == NULL) return NOT_OURS;
    uint64_t offset;
    uint32_t bytes;
    enum taken result = TAKEN;
    rocks__table_block(table, operation->address, &offset, &bytes);
    struct slot *slot = slot_of_block(reads, table, offset);
    if (slot != NULL) {
        slot->operations[slot->operation_count++] = operation;
    } else if (bytes > ROCKS_BLOCK_BYTES_MAX) {
        result = NOT_OURS;
    } else if (reads->free_count == 0) {
        result = NO_SLOT;
    } else {
        unsigned index = reads->free_slots[--reads->free_count];
        slot = &reads->slots[index];
        FIRN_ASSERT(slot->table == NULL && slot->operation_count == 0);
        *slot = (struct slot){.table = table, .offset = offset, .bytes = bytes, .operation_count = 1};
        slot->operations[0] = operation;
        if (slot_start(reads, index)) return TAKEN;
        *slot = (struct slot){0};
        reads->free_count++;
        result = NOT_OURS;
    }
    rocks__tables_put(table);
    return result;
}

/*
 * The kernel signals the loop's eventfd when a block has come, but not while we look anyway: it would signal
 * once more for what it hands out in our own calls. After switching it on again: whether something came
 * meanwhile.
 */
static void signals_off(struct rocks_reads *reads) {
    if (reads->has_wake) (void)io_uring_cq_eventfd_toggle(&reads->ring, 0);
}

static int signals_on(struct rocks_reads *reads) {
    if (reads->has_wake) (void)io_uring_cq_eventfd_toggle(&reads->ring, 1);
    __atomic_fetch_add(&reads->barrier, 1, __ATOMIC_SEQ_CST); /* on before we look (x86: a full barrier) */
    unsigned flags = __atomic_load_n(reads->ring.sq.kflags, __ATOMIC_RELAXED);
    return io_uring_cq_ready(&reads->ring) > 0 || (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Hand what was started to the kernel; what it does not take now it is offered again. */
static void flush(struct rocks_reads *reads) {
    if (reads->unsubmitted == 0) return;
    int taken = io_uring_submit_and_get_events(&reads->ring);
    FIRN_ASSERT(taken >= 0 || taken == -EAGAIN || taken == -EBUSY || taken == -EINTR || taken == -ENOMEM);
    if (taken > 0) reads->unsubmitted -= (unsigned)taken;
}

size_t rocks__reads_submit(struct tier_backend *backend, struct tier_operation **operations, size_t count) {
    struct rocks_reads *reads = backend->own;
    size_t others = 0;
    for (size_t i = 0; i < count; i++) {
        enum taken taken = take(backend, operations[i]);
        if (taken == NOT_OURS) {
            operations[others++] = operations[i];
            continue;
        }
        reads->outstanding++;
        if (taken == TAKEN) continue;
        FIRN_ASSERT(reads->waiting_head - reads->waiting_tail < ROCKS_QUEUE_OPERATIONS);
        reads->waiting[reads->waiting_head++ & (ROCKS_QUEUE_OPERATIONS - 1)] = operations[i];
    }
    signals_off(reads);
    flush(reads);
    /* What came meanwhile, or was not taken: nothing else may wake the loop for it. */
    if (signals_on(reads) || reads->unsubmitted > 0) backend->sink.wake(backend->sink.ctx);
    return others;
}

/* --- finishing --- */

static void hand_over(struct tier_backend *backend, struct tier_operation *operation) {
    backend->own->outstanding--;
    backend->own_handed++;
    rocks__queue_push(&backend->reads, &operation, 1);
}

static void finish(struct tier_backend *backend, struct tier_operation *operation, int status) {
    operation->status = status;
    backend->own->outstanding--;
    backend->own_done++;
    if (status != 0) rocks__read_failed(backend, operation->address, status, NULL);
    (void)rocks__complete(backend, operation); /* the executor is awake: it called us */
}

/* One operation of a block that has come: ${error}, or the content is there. */
static void finish_operation(struct tier_backend *backend, struct tier_operation *operation, int error,
                             struct bytes content) {
    struct bytes value;
    if (fault_point_fails(FAULT_ROCKS_READ)) {
        finish(backend, operation, FIRN_EIO);
    } else if (fault_point_fails(FAULT_ROCKS_CHECKSUM)) {
        finish(backend, operation, FIRN_ECORRUPT);
    } else if (!rocks__live_test(&backend->live, operation->address)) {
        finish(backend, operation, FIRN_ENOTFOUND);
    } else {
        if (error == 0) error = rocks__block_find(content, operation->address, &value);
        if (error == 0) error = rocks__page_of_value(operation->address, value, &operation->page);
        if (error == 0 || error == FIRN_ENOMEM)
            finish(backend, operation, error);
        else
            hand_over(backend, operation);
    }
}

static void slot_finish(struct tier_backend *backend, unsigned index, int result) {
    struct rocks_reads *reads = backend->own;
    FIRN_ASSERT(index < ROCKS_READ_SLOTS);
    struct slot *slot = &reads->slots[index];
    FIRN_ASSERT(slot->table != NULL && slot->operation_count > 0);
    struct bytes content = {0};
    if (fault_point_fails(FAULT_ROCKS_BLOCK_READ)) result = -EIO;
    if (result > 0 && fault_point_fails(FAULT_ROCKS_BLOCK_SHORT)) result = (int)slot->skip;
    if (result > 0 && fault_point_fails(FAULT_ROCKS_BLOCK_DAMAGE)) memset(slot->data, 0x5a, (size_t)result);
    int error = result < 0 || (uint32_t)result < slot->skip + slot->bytes ? FIRN_EIO : 0;
    if (error == 0) {
        error = rocks__block_content(slot->data + slot->skip, slot->bytes, reads->scratch,
                                     ROCKS_BLOCK_BYTES_MAX, &content);
        __atomic_add_fetch(&backend->read_bytes, (uint64_t)result, __ATOMIC_RELAXED);
    }
    for (unsigned i = 0; i < slot->operation_count; i++)
        finish_operation(backend, slot->operations[i], error, content);
    memory_free(slot->large);
    rocks__tables_put(slot->table);
    slot->table = NULL;
    slot->operation_count = 0;
    reads->free_slots[reads->free_count++] = (uint8_t)index;
    reads->reading--;
}

/* Give slots to operations that wait for one. */
static void start_waiting(struct tier_backend *backend) {
    struct rocks_reads *reads = backend->own;
    while (reads->waiting_tail != reads->waiting_head && reads->free_count > 0) {
        struct tier_operation *operation = reads->waiting[reads->waiting_tail & (ROCKS_QUEUE_OPERATIONS - 1)];
        enum taken taken = take(backend, operation);
        FIRN_ASSERT(taken != NO_SLOT);
        reads->waiting_tail++;
        if (taken == NOT_OURS) hand_over(backend, operation); /* the table has gone meanwhile */
    }
}

int rocks__reads_collect(struct tier_backend *backend) {
    struct rocks_reads *reads = backend->own;
    if (reads == NULL || reads->reading == 0) return 0;
    struct io_uring_cqe *cqes[ROCKS_COLLECT_MAX];
    signals_off(reads);
    flush(reads);
    unsigned count = io_uring_peek_batch_cqe(&reads->ring, cqes, ROCKS_COLLECT_MAX);
    for (unsigned i = 0; i < count; i++)
        slot_finish(backend, (unsigned)cqes[i]->user_data, cqes[i]->res);
    io_uring_cq_advance(&reads->ring, count);
    start_waiting(backend);
    flush(reads);
    return signals_on(reads) || reads->unsubmitted > 0;
}

void rocks__reads_drain(struct tier_backend *backend) {
    struct rocks_reads *reads = backend->own;
    while (reads != NULL && reads->outstanding > 0) {
        if (rocks__reads_collect(backend) == 0 && reads->reading > 0)
            (void)io_uring_submit_and_wait(&reads->ring, 1);
    }
}
