/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes: looking up, changing, walking; layout and invariants in hash.h. Everything goes through struct
 * hash__slot (hash_internal.h), so that each change of a page reference or its size is accounted in one place
 * (hash__close).
 *
 * A page that would exceed PACKED_PAGE_SPLIT_BYTES is split until it does not or holds one field only. A
 * field larger than that has a page for itself: it is never copied by a split (a page with one entry moves as
 * a whole). While the reported encoding is listpack or listpackex, clients see insertion order, so the one
 * page of a small hash may grow to HASH_LISTPACK_PAGE_BYTES_MAX (default thresholds never need that much).
 */
#include "types/hash.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "page/fault.h"
#include "types/hash_internal.h"

#define HASH_JOIN_BYTES              (PACKED_PAGE_SPLIT_BYTES / 2) /* neighbours with no more together are united */
#define HASH_LISTPACK_PAGE_BYTES_MAX (128u << 10)

struct entry *hash_create(struct bytes key) {
    return entry_create(key, TYPE_HASH, ENCODING_LISTPACK, 1, 0, 0);
}

/* --- slots --- */

static inline void slot_remember(struct hash__slot *slot) {
    uint64_t ref = *slot->ref;
    slot->before_ref = ref;
    slot->before_bytes = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref)->bytes : 0;
    slot->before_deadline = -1;
}

void hash__open(struct entry *entry, uint64_t hash, struct hash__slot *slot) {
    slot->entry = entry;
    slot->hash = hash;
    slot->copy = entry_ref(entry);
    slot->object = page_ref_tag(slot->copy) == PAGE_TAG_OBJECT ? page_ref_object(slot->copy) : NULL;
    slot->ref = slot->object != NULL ? page_directory_ref(&slot->object->directory, hash) : &slot->copy;
    slot_remember(slot);
}

void hash__open_range(struct entry *entry, const struct directory_range *range, struct hash__slot *slot) {
    slot->entry = entry;
    slot->hash = range->start;
    slot->object = hash__object(entry);
    slot->ref = range->ref;
    slot_remember(slot);
}

static int slot_error(int error) {
    return error == FIRN_ENOTFOUND ? FIRN_ECORRUPT : error;
}

int hash__read(struct hash__slot *slot, int promote, struct bytes *payload_out) {
    *payload_out = bytes_of(NULL, 0);
    if (*slot->ref == 0) return 0;
    int error = promote ? page_read(slot->ref, payload_out) : page_peek(*slot->ref, payload_out, NULL);
    if (error != 0) return slot_error(error);
    slot->before_deadline = packed_page_deadline(*payload_out);
    return 0;
}

int hash__read_to_change(struct hash__slot *slot, struct bytes *payload_out) {
    int error = hash__read(slot, 0, payload_out);
    if (error == 0 && page_ref_is_lower(*slot->ref)) error = packed_page_check(*payload_out);
    return error;
}

void hash__close(struct hash__slot *slot) {
    uint64_t ref = *slot->ref;
    int is_dram = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM;
    uint32_t bytes = is_dram ? page_ref_dram(ref)->bytes : 0;
    if (slot->object == NULL) {
        if (ref != slot->before_ref) entry_store_ref(slot->entry, ref);
        return;
    }
    if (ref != slot->before_ref || bytes != slot->before_bytes) {
        int was_dram = slot->before_ref != 0 && page_ref_tag(slot->before_ref) == PAGE_TAG_DRAM;
        object_account(&slot->object->head, (int64_t)bytes - slot->before_bytes,
                       (ref != 0) - (slot->before_ref != 0), is_dram - was_dram);
    }
    /* A page below is as it was read. */
    if (is_dram || ref == 0) {
        int64_t deadline = is_dram ? packed_page_deadline(bytes_of(page_ref_dram(ref)->data, bytes)) : -1;
        if (deadline != slot->before_deadline)
            page_directory_set_deadline(&slot->object->directory, slot->hash, deadline);
    }
    slot_remember(slot);
}

void hash__drop_page(struct hash__slot *slot) {
    page_release(*slot->ref);
    *slot->ref = 0;
}

/* --- small to large, splitting --- */

static void hash_make_large(struct hash__slot *slot) {
    FIRN_ASSERT(slot->object == NULL && slot->copy == slot->before_ref);
    struct hash_object *object = memory_alloc_zero(sizeof *object);
    page_directory_init(&object->directory, slot->copy);
    object_register(&object->head, TYPE_HASH);
    object_account(&object->head, slot->before_bytes, slot->copy != 0,
                   slot->copy != 0 && page_ref_tag(slot->copy) == PAGE_TAG_DRAM);
    page_directory_set_deadline(&object->directory, 0, slot->before_deadline);
    entry_store_ref(slot->entry, page_ref_of_object(object));
    object_set_pinned(slot->entry);
    hash__open(slot->entry, slot->hash, slot);
}

static void hash_adopt(struct hash_object *object, const struct page *page) {
    if (page != NULL) object_account(&object->head, page->bytes, 1, 1);
}

/* Split the slot's range once; ${payload} is its page's content, checked. The slot is opened anew. */
static int hash_split(struct hash__slot *slot, struct bytes payload) {
    struct hash_object *object = slot->object;
    struct directory_range range;
    page_directory_find(&object->directory, slot->hash, &range);
    if (range.depth == DIRECTORY_DEPTH_MAX) return FIRN_ETOOBIG;
    unsigned bit = 63 - range.depth;
    uint64_t old = *slot->ref, half = range.start | UINT64_C(1) << bit;
    if (packed_page_count(payload) == 1) { /* moves as a whole */
        struct packed_entry only;
        int error = packed_page_at(payload, 0, &only);
        if (error != 0) return slot_error(error);
        int side = (int)(hash_key(only.field) >> bit & 1u);
        error = page_directory_split(&object->directory, range.start, side ? 0 : old, side ? old : 0);
        if (error != 0) return error;
        page_directory_set_deadline(&object->directory, side ? range.start : half, -1);
    } else {
        struct page *zero, *one;
        int error = packed_page_split(payload, bit, NULL, &zero, &one);
        if (error != 0) return error;
        error = page_directory_split(&object->directory, range.start, page_ref_of(zero), page_ref_of(one));
        FIRN_ASSERT(error == 0);
        page_directory_set_deadline(&object->directory, range.start,
                                    zero != NULL ? packed_page_deadline(bytes_of(zero->data, zero->bytes))
                                                 : -1);
        page_directory_set_deadline(&object->directory, half,
                                    one != NULL ? packed_page_deadline(bytes_of(one->data, one->bytes)) : -1);
        int was_dram = page_ref_tag(old) == PAGE_TAG_DRAM;
        object_account(&object->head, -(int64_t)slot->before_bytes, -1, -was_dram);
        hash_adopt(object, zero);
        hash_adopt(object, one);
        page_release(old);
    }
    hash__open(slot->entry, slot->hash, slot);
    return 0;
}

/* Whether a page of the slot may have ${bytes} with ${count} entries. */
static inline int hash_page_fits(const struct hash__slot *slot, size_t bytes, unsigned count) {
    if (bytes <= PACKED_PAGE_SPLIT_BYTES || count == 1) return 1;
    return slot->object == NULL && entry_encoding(slot->entry) != ENCODING_HASHTABLE &&
           bytes <= HASH_LISTPACK_PAGE_BYTES_MAX;
}

/* Split the one page of a hash that has just become large until all its pages fit. On failure what does not
 * fit is left for later changes. */
static int hash_split_all(struct entry *entry) {
    struct hash_object *object = hash__object(entry);
    struct directory_range range;
    page_directory_find(&object->directory, 0, &range);
    for (;;) {
        struct hash__slot slot;
        struct bytes payload;
        hash__open_range(entry, &range, &slot);
        int error = hash__read_to_change(&slot, &payload);
        if (error != 0) return error;
        if (hash_page_fits(&slot, payload.size, packed_page_count(payload)) ||
            range.depth == DIRECTORY_DEPTH_MAX) {
            if (!page_directory_next(&object->directory, &range)) return 0;
            continue;
        }
        error = hash_split(&slot, payload);
        if (error != 0) return error;
        page_directory_find(&object->directory, range.start, &range);
    }
}

/* One step towards room in the slot's page, whose content is ${payload}. FIRN_ETOOBIG: it cannot be split
 * further. The slot is opened anew. */
static int hash_make_room(struct hash__slot *slot, struct bytes payload) {
    if (slot->object != NULL) return hash_split(slot, payload);
    hash_make_large(slot);
    int error = hash_split_all(slot->entry);
    hash__open(slot->entry, slot->hash, slot);
    return error;
}

/* --- taking memory back --- */

/* Unite the range of ${hash} with its neighbour while both are small and in DRAM, or one has no page. A
 * neighbour below stays apart: a command that touched an empty range must not find it holding a page that it
 * has not touched. */
static void hash_join(struct entry *entry, uint64_t hash) {
    struct hash_object *object = hash__object(entry);
    struct directory_range range, buddy;
    for (;;) {
        page_directory_find(&object->directory, hash, &range);
        if (!page_directory_buddy(&object->directory, &range, &buddy)) return;
        uint64_t a = *range.ref, b = *buddy.ref;
        if (page_ref_is_lower(a) || page_ref_is_lower(b)) return;
        if (a == 0 || b == 0) {
            page_directory_merge(&object->directory, &range, a | b);
            continue;
        }
        const struct page *left = page_ref_dram(a), *right = page_ref_dram(b);
        if (left->bytes + right->bytes > HASH_JOIN_BYTES) return;
        struct page *page;
        if (packed_page_join(bytes_of(left->data, left->bytes), bytes_of(right->data, right->bytes), &page) !=
            0)
            return;
        object_account(&object->head, (int64_t)page->bytes - left->bytes - right->bytes, -1, -1);
        page_directory_merge(&object->directory, &range, page_ref_of(page));
        page_release(a);
        page_release(b);
    }
}

void hash__close_smaller(struct hash__slot *slot) {
    uint64_t ref = *slot->ref;
    const struct page *page = ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_ref_dram(ref) : NULL;
    struct page *smaller;
    if (page != NULL && page->capacity > 128 && page->bytes < page->capacity / 2 &&
        packed_page_join(bytes_of(page->data, page->bytes), bytes_of(NULL, 0), &smaller) == 0) {
        page_release(ref);
        *slot->ref = page_ref_of(smaller);
        page = smaller;
    }
    hash__close(slot);
    if (slot->object != NULL && (page == NULL || page->bytes < HASH_JOIN_BYTES / 2))
        hash_join(slot->entry, slot->hash);
}

/* --- one field --- */

int hash_get(struct entry *entry, struct bytes field, struct bytes *value_out, int64_t *expiry_ms_out) {
    struct hash__slot slot;
    struct bytes payload;
    struct packed_entry found;
    uint64_t hash = hash_key(field);
    hash__open(entry, hash, &slot);
    int is_lower = page_ref_is_lower(*slot.ref);
    int error = hash__read(&slot, 1, &payload);
    if (error != 0) return error;
    if (is_lower) hash__close(&slot); /* may be promoted now */
    if (payload.size == 0) return FIRN_ENOTFOUND;
    error = packed_page_find(payload, hash, field, &found);
    if (error != 0) return error;
    *value_out = found.value;
    if (expiry_ms_out != NULL) *expiry_ms_out = found.expiry_ms;
    return 0;
}

static int touch_ref(uint64_t ref) {
    if (ref == 0 || page_is_ready(ref)) return 0;
    struct bytes payload;
    return slot_error(page_peek(ref, &payload, NULL));
}

int hash_touch(struct entry *entry, struct bytes field) {
    uint64_t ref = entry_ref(entry);
    if (page_ref_tag(ref) == PAGE_TAG_OBJECT) {
        const struct hash_object *object = page_ref_object(ref);
        if (object->head.pages_dram == object->head.pages) return 0;
        ref = *page_directory_ref(&object->directory, hash_key(field));
    }
    return touch_ref(ref);
}

static void hash_note_encoding(struct entry *entry, size_t size, size_t bytes_max) {
    if (entry_encoding(entry) == ENCODING_HASHTABLE) return;
    if (size > type_limits.hash_max_listpack_entries || bytes_max > type_limits.hash_max_listpack_value) {
        entry_set_encoding(entry, ENCODING_HASHTABLE);
    }
}

void hash_expect(struct entry *entry, size_t fields, size_t bytes_max) {
    if (fields > type_limits.hash_max_listpack_entries) entry_set_encoding(entry, ENCODING_HASHTABLE);
    hash_note_encoding(entry, entry->size, bytes_max);
}

void hash_expect_expiry(struct entry *entry) {
    if (entry_encoding(entry) == ENCODING_LISTPACK) entry_set_encoding(entry, ENCODING_LISTPACKEX);
}

/* What setting a field comes to, given its page's content. */
struct set_plan {
    struct packed_entry found;
    int is_new;
    int64_t expiry_ms;
    size_t bytes;   /* of the page afterwards */
    unsigned count; /* of its entries */
};

static int hash_plan_set(struct bytes payload, uint64_t hash, struct bytes field, struct bytes value,
                         unsigned flags, struct set_plan *plan) {
    int error = payload.size > 0 ? packed_page_find(payload, hash, field, &plan->found) : FIRN_ENOTFOUND;
    if (error != 0 && error != FIRN_ENOTFOUND) return error;
    plan->is_new = error == FIRN_ENOTFOUND;
    plan->expiry_ms = !plan->is_new && flags & HASH_KEEP_EXPIRY ? plan->found.expiry_ms : -1;
    plan->count = packed_page_count(payload) + (plan->is_new ? 1u : 0u);
    plan->bytes = plan->is_new
                      ? packed_page_bytes_with(payload, 0, field.size, value.size, 0)
                      : packed_page_bytes_replaced(payload, &plan->found, value.size, plan->expiry_ms >= 0);
    return plan->bytes > PAGE_BYTES_MAX || plan->count > PACKED_ENTRIES_MAX ? FIRN_ETOOBIG : 0;
}

int hash_set(struct entry *entry, struct bytes field, struct bytes value, unsigned flags, int *created_out) {
    if (field.size > PACKED_BYTES_MAX || value.size > PACKED_BYTES_MAX) return FIRN_ETOOBIG;
    uint64_t hash = hash_key(field);
    size_t bytes_max = field.size > value.size ? field.size : value.size;
    struct hash__slot slot;
    struct set_plan plan;
    hash__open(entry, hash, &slot);
    for (;;) {
        struct bytes payload;
        int error = hash__read_to_change(&slot, &payload);
        if (error == 0) error = hash_plan_set(payload, hash, field, value, flags, &plan);
        if (error != 0) return error;
        if (!(flags & HASH_AS_LISTPACK))
            hash_note_encoding(entry, entry->size + (plan.is_new ? 1u : 0u), bytes_max);
        if (__builtin_expect(hash_page_fits(&slot, plan.bytes, plan.count), 1)) break;
        error = hash_make_room(&slot, payload);
        if (error == FIRN_ETOOBIG) break;
        if (error != 0) return error;
    }
    struct page *page;
    int fresh = *slot.ref == 0, error = page_write(slot.ref, plan.bytes, &page);
    if (error != 0) {
        hash__close(&slot);
        return slot_error(error);
    }
    if (fresh) packed_page_init(page, 0, 0);
    if (plan.is_new) {
        packed_page_append(page, hash, field, value, -1);
        entry->size++;
    } else {
        packed_page_replace(page, &plan.found, value, plan.expiry_ms);
    }
    hash__close(&slot);
    if (created_out != NULL) *created_out = plan.is_new;
    return 0;
}

int hash_delete(struct entry *entry, struct bytes field) {
    uint64_t hash = hash_key(field);
    struct hash__slot slot;
    struct bytes payload;
    struct packed_entry found;
    hash__open(entry, hash, &slot);
    int error = hash__read_to_change(&slot, &payload);
    if (error != 0) return error;
    if (payload.size == 0) return FIRN_ENOTFOUND;
    error = packed_page_find(payload, hash, field, &found);
    if (error != 0) return error;
    if (packed_page_count(payload) == 1) {
        hash__drop_page(&slot);
    } else {
        struct page *page;
        error = page_write(slot.ref, payload.size, &page);
        if (error != 0) return slot_error(error);
        packed_page_remove(page, &found);
    }
    entry->size--;
    hash__close_smaller(&slot);
    return 0;
}

int hash_set_expiry(struct entry *entry, struct bytes field, int64_t expiry_ms) {
    FIRN_ASSERT(expiry_ms >= -1);
    uint64_t hash = hash_key(field);
    struct hash__slot slot;
    struct bytes payload;
    struct packed_entry found;
    hash__open(entry, hash, &slot);
    for (;;) {
        int error = hash__read_to_change(&slot, &payload);
        if (error == 0)
            error = payload.size > 0 ? packed_page_find(payload, hash, field, &found) : FIRN_ENOTFOUND;
        if (error != 0) return error;
        if (expiry_ms == found.expiry_ms) return 0;
        if (hash_page_fits(&slot, payload.size + 16, packed_page_count(payload))) break;
        error = hash_make_room(&slot, payload);
        if (error == FIRN_ETOOBIG) break;
        if (error != 0) return error;
    }
    if (payload.size + 16 > PAGE_BYTES_MAX) return FIRN_ETOOBIG;
    struct page *page;
    int error = page_write(slot.ref, payload.size + 16, &page);
    if (error == 0) packed_page_set_expiry(page, &found, expiry_ms);
    hash__close(&slot);
    return slot_error(error);
}

/* --- deadlines --- */

int64_t hash_deadline(const struct entry *entry) {
    const struct hash_object *object = hash__object(entry);
    if (object != NULL) return page_directory_deadline(&object->directory);
    uint64_t ref = entry_ref(entry);
    struct bytes payload;
    if (ref == 0 || !page_is_ready(ref) || page_peek(ref, &payload, NULL) != 0) return -1;
    return packed_page_deadline(payload);
}

static void (*expired_hook)(struct db *db, struct entry *entry, struct bytes field);

void hash_set_expired_hook(void (*expired)(struct db *db, struct entry *entry, struct bytes field)) {
    expired_hook = expired;
}

struct expire_run {
    struct db *db;
    struct entry *entry;
};

static void hash_on_expired(struct bytes field, void *ctx) {
    const struct expire_run *run = ctx;
    if (expired_hook != NULL) expired_hook(run->db, run->entry, field);
}

/* The due fields of one page; *expired_inout grows. */
static int hash_expire_page(struct db *db, struct hash__slot *slot, int64_t now_ms, unsigned limit,
                            unsigned *expired_inout) {
    struct bytes payload;
    struct page *page;
    int error = hash__read_to_change(slot, &payload);
    if (error != 0) return error;
    if (payload.size == 0 || slot->before_deadline < 0 || slot->before_deadline > now_ms) return 0;
    error = page_write(slot->ref, payload.size, &page);
    if (error != 0) return slot_error(error);
    struct expire_run run = {.db = db, .entry = slot->entry};
    unsigned gone = packed_page_expire(page, now_ms, limit, hash_on_expired, &run);
    slot->entry->size -= gone;
    *expired_inout += gone;
    if (packed_page_count(bytes_of(page->data, page->bytes)) == 0) hash__drop_page(slot);
    hash__close_smaller(slot);
    return 0;
}

int hash_expire_fields(struct db *db, struct entry *entry, int64_t now_ms, unsigned limit,
                       unsigned *expired_out) {
    struct hash_object *object = hash__object(entry);
    struct hash__slot slot;
    *expired_out = 0;
    if (object == NULL) {
        hash__open(entry, 0, &slot);
        int error = hash_expire_page(db, &slot, now_ms, limit, expired_out);
        if (error != 0) return error;
    } else {
        struct directory_range range;
        uint64_t from = 0;
        int missing = 0;
        while (*expired_out < limit && page_directory_due(&object->directory, from, now_ms, &range)) {
            from = page_directory_end(&range);
            hash__open_range(entry, &range, &slot);
            int error = hash_expire_page(db, &slot, now_ms, limit - *expired_out, expired_out);
            if (error != 0 && error != FIRN_EFAULT) return error;
            missing |= error;
            if (from == 0) break;
        }
        if (missing != 0 && *expired_out < limit) return missing;
    }
    int64_t deadline = hash_deadline(entry);
    return deadline >= 0 && deadline <= now_ms;
}

/* --- many fields --- */

int hash_touch_all(struct entry *entry) {
    struct hash_object *object = hash__object(entry);
    if (object == NULL) return touch_ref(entry_ref(entry));
    const struct fault_set *set = fault_current();
    if (object->head.pages_dram == object->head.pages || set == NULL || set->mode == FAULT_SYNC) return 0;
    struct directory_range range;
    unsigned missing = 0;
    page_directory_find(&object->directory, 0, &range);
    do {
        if (*range.ref != 0 && !page_is_ready(*range.ref)) missing++;
    } while (missing <= FAULT_TOUCH_MAX && page_directory_next(&object->directory, &range));
    if (missing == 0) return 0;
    if (missing >
        FAULT_TOUCH_MAX) { /* more than should be kept for one command: page by page while walking */
        fault_must_finish();
        return 0;
    }
    int result = 0;
    page_directory_find(&object->directory, 0, &range);
    do {
        int error = touch_ref(*range.ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    } while (set->count < FAULT_SET_MAX && page_directory_next(&object->directory, &range));
    return result; /* a full set: the run after this one asks for the rest */
}

int hash__each_page(struct entry *entry, int (*visit)(struct bytes payload, void *ctx), void *ctx) {
    struct hash_object *object = hash__object(entry);
    struct hash__slot slot;
    struct bytes payload;
    if (object == NULL) {
        hash__open(entry, 0, &slot);
        int error = hash__read(&slot, 1, &payload);
        hash__close(&slot);
        return error != 0 || payload.size == 0 ? error : visit(payload, ctx);
    }
    const struct fault_set *set = fault_current();
    int promote = set != NULL; /* without one it is no client that reads: a snapshot */
    struct directory_range range;
    page_directory_find(&object->directory, 0, &range);
    do {
        hash__open_range(entry, &range, &slot);
        int error = hash__read(&slot, promote, &payload);
        hash__close(&slot);
        if (error == 0 && payload.size > 0) error = visit(payload, ctx);
        if (error != 0) return error;
    } while (page_directory_next(&object->directory, &range));
    return 0;
}

struct each_run {
    int (*receive)(const struct hash_field *field, void *ctx);
    void *ctx;
};

static int hash_each_in_page(struct bytes payload, void *ctx) {
    const struct each_run *run = ctx;
    struct packed_cursor cursor;
    struct packed_entry entry;
    int result = packed_page_begin(payload, &cursor);
    if (result != 0) return result;
    while ((result = packed_page_next(&cursor, &entry)) == 1) {
        struct hash_field field = {.field = entry.field, .value = entry.value, .expiry_ms = entry.expiry_ms};
        int stop = run->receive(&field, run->ctx);
        if (stop != 0) return stop;
    }
    return result;
}

int hash_each(struct entry *entry, int (*receive)(const struct hash_field *field, void *ctx), void *ctx) {
    int error = hash_touch_all(entry);
    if (error != 0) return error;
    struct each_run run = {.receive = receive, .ctx = ctx};
    return hash__each_page(entry, hash_each_in_page, &run);
}

struct scan_run {
    void (*receive)(const struct hash_field *field, void *ctx);
    void *ctx;
    uint64_t received;
};

static int hash_scan_receive(const struct hash_field *field, void *ctx) {
    struct scan_run *run = ctx;
    run->receive(field, run->ctx);
    run->received++;
    return 0;
}

/* Ask for the pages that ${count} fields from ${cursor} on will probably need. */
static int hash_scan_touch(struct hash_object *object, uint32_t size, uint64_t cursor, uint64_t count) {
    uint64_t per_page = object->head.pages > 0 ? size / object->head.pages + 1 : 1;
    uint64_t pages = count / per_page + 1;
    if (pages > FAULT_SET_MAX) pages = FAULT_SET_MAX;
    struct directory_range range;
    int result = 0;
    page_directory_find(&object->directory, cursor, &range);
    do {
        if (*range.ref == 0) continue;
        int error = touch_ref(*range.ref);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
        pages--;
    } while (pages > 0 && page_directory_next(&object->directory, &range));
    return result;
}

int hash_scan(struct entry *entry, uint64_t cursor, uint64_t count,
              void (*receive)(const struct hash_field *field, void *ctx), void *ctx, uint64_t *cursor_out) {
    struct hash_object *object = hash__object(entry);
    struct scan_run run = {.receive = receive, .ctx = ctx};
    struct each_run each = {.receive = hash_scan_receive, .ctx = &run};
    *cursor_out = 0;
    if (object == NULL) return hash__each_page(entry, hash_each_in_page, &each);
    int error = hash_scan_touch(object, entry->size, cursor, count);
    if (error != 0) return error;
    struct directory_range range;
    unsigned pages = 0;
    page_directory_find(&object->directory, cursor, &range);
    do {
        struct hash__slot slot;
        struct bytes payload;
        if (run.received >= count || pages == FAULT_SET_MAX ||
            (pages > 0 && *range.ref != 0 && !page_is_ready(*range.ref))) {
            *cursor_out = range.start;
            return 0;
        }
        if (*range.ref == 0) continue;
        hash__open_range(entry, &range, &slot);
        error = hash__read(&slot, 1, &payload);
        hash__close(&slot);
        if (error == 0) error = hash_each_in_page(payload, &each);
        if (error != 0) return error;
        pages++;
    } while (page_directory_next(&object->directory, &range));
    return 0;
}

static uint64_t hash_draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int hash_random(struct entry *entry, uint64_t *state_inout, struct hash_field *field_out) {
    struct hash_object *object = hash__object(entry);
    struct hash__slot slot;
    struct bytes payload;
    struct packed_entry found;
    if (entry->size == 0) return FIRN_ENOTFOUND;
    do {
        hash__open(entry, object != NULL ? hash_draw(state_inout) : 0, &slot);
    } while (*slot.ref == 0);
    uint64_t which = hash_draw(state_inout);
    if (field_out == NULL) return touch_ref(*slot.ref);
    int error = hash__read(&slot, 1, &payload);
    hash__close(&slot);
    if (error != 0) return error;
    unsigned count = packed_page_count(payload);
    if (count == 0) return FIRN_ECORRUPT;
    error = packed_page_at(payload, (unsigned)((which >> 32) * count >> 32), &found);
    if (error != 0) return slot_error(error);
    *field_out =
        (struct hash_field){.field = found.field, .value = found.value, .expiry_ms = found.expiry_ms};
    return 0;
}

/* --- operations of the type --- */

static void hash_free_value(struct entry *entry) {
    struct hash_object *object = hash__object(entry);
    uint64_t ref = entry_ref(entry);
    entry_store_ref(entry, 0);
    if (object != NULL) {
        type_reap_later(&object->head);
    } else {
        page_release(ref);
    }
}

static void hash_release_page(uint64_t ref, void *ctx) {
    struct object *object = ctx;
    int is_dram = page_ref_tag(ref) == PAGE_TAG_DRAM;
    object_account(object, is_dram ? -(int64_t)page_ref_dram(ref)->bytes : 0, -1, -is_dram);
    page_release(ref);
}

static int hash_reap(struct object *head, unsigned pages) {
    struct hash_object *object = (struct hash_object *)head;
    if (page_directory_reap(&object->directory, pages, hash_release_page, head)) return 1;
    FIRN_ASSERT(head->pages == 0 && head->pages_dram == 0 && head->dram_bytes == 0);
    object_unregister(head);
    memory_free(object);
    return 0;
}

/* Another reference to the same content: the DRAM page itself, else a copy. */
static int hash_share_page(uint64_t ref, struct page **page_out) {
    if (page_ref_tag(ref) == PAGE_TAG_DRAM) {
        *page_out = page_ref_dram(ref);
        page_retain(*page_out);
        return 0;
    }
    struct bytes payload;
    int error = page_peek(ref, &payload, NULL);
    if (error != 0) return slot_error(error);
    struct page *page = page_try_create(payload.size);
    if (page == NULL) return FIRN_ENOMEM;
    memcpy(page->data, payload.data, payload.size);
    page->bytes = (uint32_t)payload.size;
    *page_out = page;
    return 0;
}

/* A large copy of a large hash: the same ranges with shared pages. */
static int hash_copy_object(struct hash_object *from, uint64_t *ref_out) {
    struct hash_object *object = memory_alloc_zero(sizeof *object);
    page_directory_init(&object->directory, 0);
    object_register(&object->head, TYPE_HASH);
    struct directory_range range, target;
    int error = 0;
    page_directory_find(&from->directory, 0, &range);
    do {
        for (;;) {
            page_directory_find(&object->directory, range.start, &target);
            if (target.depth == range.depth) break;
            error = page_directory_split(&object->directory, range.start, 0, 0);
            FIRN_ASSERT(error == 0);
        }
        if (*range.ref == 0) continue;
        struct page *page;
        error = hash_share_page(*range.ref, &page);
        if (error != 0) break;
        *target.ref = page_ref_of(page);
        object_account(&object->head, page->bytes, 1, 1);
        int64_t deadline = packed_page_deadline(bytes_of(page->data, page->bytes));
        if (deadline >= 0) page_directory_set_deadline(&object->directory, range.start, deadline);
    } while (page_directory_next(&from->directory, &range));
    if (error != 0) {
        while (hash_reap(&object->head, 64))
            continue;
        return error;
    }
    *ref_out = page_ref_of_object(object);
    return 0;
}

static int hash_copy_value(struct entry *source, struct entry **target_inout) {
    int error = hash_touch_all(source);
    if (error != 0) return error;
    struct hash_object *object = hash__object(source);
    uint64_t ref = 0;
    if (object != NULL) {
        error = hash_copy_object(object, &ref);
    } else if (entry_ref(source) != 0) {
        struct page *page;
        error = hash_share_page(entry_ref(source), &page);
        if (error == 0) ref = page_ref_of(page);
    }
    if (error != 0) return error;
    struct entry *target = *target_inout;
    FIRN_ASSERT(entry_type(target) == TYPE_HASH && target->flags & ENTRY_REF);
    entry_store_ref(target, ref);
    target->size = source->size;
    entry_set_encoding(target, entry_encoding(source));
    return 0;
}

struct walk_run {
    int (*receive)(const struct type_element *element, void *ctx);
    void *ctx;
};

static int hash_walk_receive(const struct hash_field *field, void *ctx) {
    const struct walk_run *run = ctx;
    struct type_element element = {
        .name = field->field, .value = field->value, .expiry_ms = field->expiry_ms};
    return run->receive(&element, run->ctx);
}

static int hash_walk(struct entry *entry, int (*receive)(const struct type_element *element, void *ctx),
                     void *ctx) {
    struct walk_run run = {.receive = receive, .ctx = ctx};
    return hash_each(entry, hash_walk_receive, &run);
}

static size_t hash_memory(const struct entry *entry, size_t samples) {
    const struct hash_object *object = hash__object(entry);
    uint64_t ref = entry_ref(entry);
    if (object == NULL)
        return ref != 0 && page_ref_tag(ref) == PAGE_TAG_DRAM ? page_memory(page_ref_dram(ref)) : 0;
    size_t bytes = memory_usable(object) + object->directory.bytes, pages_bytes = 0, seen = 0;
    struct directory_range range;
    page_directory_find(&object->directory, 0, &range);
    do {
        if (*range.ref == 0 || page_ref_tag(*range.ref) != PAGE_TAG_DRAM) continue;
        pages_bytes += page_memory(page_ref_dram(*range.ref));
        if (++seen == samples) break;
    } while (page_directory_next(&object->directory, &range));
    return seen > 0 ? bytes + pages_bytes * object->head.pages_dram / seen : bytes;
}

static size_t hash_free_effort(const struct entry *entry) {
    return entry_encoding(entry) == ENCODING_HASHTABLE ? entry->size : 1;
}

static unsigned hash_victims(struct object *head, int from, unsigned scan, struct type_victim *victims_out,
                             unsigned limit) {
    struct hash_object *object = (struct hash_object *)head;
    struct directory_range range;
    unsigned found = 0;
    uint64_t candidates = from == PAGE_TAG_DRAM ? head->pages_dram : head->pages - head->pages_dram;
    if (scan > head->pages) scan = head->pages;
    for (unsigned empty = 0; scan > 0 && found < limit && candidates > 0 && empty < 1024;) {
        page_directory_find(&object->directory, head->sweep, &range);
        head->sweep = page_directory_end(&range);
        uint64_t ref = *range.ref;
        if (ref == 0) {
            empty++;
            continue;
        }
        scan--;
        if ((int)page_ref_tag(ref) != from) continue;
        int is_dram = from == PAGE_TAG_DRAM;
        if (is_dram && page_ref_dram(ref)->refs != 1) continue;
        victims_out[found++] = (struct type_victim){
            .ref = ref,
            .locator = page_directory_locator(&range),
            .clock = is_dram ? page_ref_dram(ref)->clock : 0,
        };
    }
    return found;
}

static uint64_t *hash_locate(struct object *head, uint64_t locator) {
    return page_directory_locate(&((struct hash_object *)head)->directory, locator);
}

/* Fields, DRAM bytes and pages of what is in DRAM. */
struct check_sum {
    uint64_t fields, bytes, pages, pages_dram;
};

static void hash_check_page(uint64_t ref, const struct directory_range *range, struct check_sum *sum) {
    sum->pages++;
    if (page_ref_tag(ref) != PAGE_TAG_DRAM) return;
    const struct page *page = page_ref_dram(ref);
    struct bytes payload = bytes_of(page->data, page->bytes);
    struct packed_cursor cursor;
    struct packed_entry entry, again;
    FIRN_ASSERT(page->refs > 0 && packed_page_check(payload) == 0 &&
                packed_page_begin(payload, &cursor) == 0);
    FIRN_ASSERT(page->bytes <= HASH_LISTPACK_PAGE_BYTES_MAX || packed_page_count(payload) == 1);
    while (packed_page_next(&cursor, &entry) == 1) {
        uint64_t hash = hash_key(entry.field);
        FIRN_ASSERT(range == NULL || range->depth == 0 || (hash ^ range->start) >> (64 - range->depth) == 0);
        FIRN_ASSERT(packed_page_find(payload, hash, entry.field, &again) == 0 && again.index == entry.index);
    }
    FIRN_ASSERT(cursor.count > 0);
    sum->fields += cursor.count;
    sum->bytes += page->bytes;
    sum->pages_dram++;
}

static void hash_check(const struct entry *entry) {
    const struct hash_object *object = hash__object(entry);
    struct check_sum sum = {0};
    if (object == NULL) {
        if (entry_ref(entry) != 0) hash_check_page(entry_ref(entry), NULL, &sum);
        FIRN_ASSERT(sum.pages != sum.pages_dram || sum.fields == entry->size);
        return;
    }
    struct directory_range range;
    FIRN_ASSERT(object->head.magic == OBJECT_MAGIC && object->head.type == TYPE_HASH);
    FIRN_ASSERT(page_directory_check(&object->directory) == object->head.pages);
    page_directory_find(&object->directory, 0, &range);
    do {
        if (*range.ref != 0) hash_check_page(*range.ref, &range, &sum);
    } while (page_directory_next(&object->directory, &range));
    FIRN_ASSERT(sum.pages == object->head.pages && sum.pages_dram == object->head.pages_dram);
    FIRN_ASSERT(sum.bytes == object->head.dram_bytes && sum.fields <= entry->size);
    FIRN_ASSERT(sum.pages != sum.pages_dram || sum.fields == entry->size);
}

const struct type_ops type_hash_ops = {
    .name = "hash",
    .free_value = hash_free_value,
    .reap = hash_reap,
    .copy_value = hash_copy_value,
    .walk = hash_walk,
    .memory = hash_memory,
    .free_effort = hash_free_effort,
    .encode = hash__encode,
    .decode = hash__decode,
    .victims = hash_victims,
    .locate = hash_locate,
    .check = hash_check,
};
