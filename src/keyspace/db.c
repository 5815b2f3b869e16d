/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Databases. A table (table.h) and three deadline indexes each (db_internal.h: DB1 to DB3). Time and slices
 * are in db_expire.c, policies in evict.c.
 *
 * Residency bits in the table let victim sampling skip cold entries without touching them. Types bring values
 * back to DRAM (promotion, page_write) without telling, so a lookup that meets a cold value notes its hash,
 * and the bits are brought up to date before the next sampling.
 *
 * Executor only.
 */
#include "keyspace/db.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "keyspace/db_internal.h"
#include "keyspace/evict.h"
#include "keyspace/evict_internal.h"
#include "keyspace/notify.h"
#include "page/fault.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/hash.h"

#define DB_COLD_NOTES      128u
#define DB_PREFETCH_BATCH  32u
#define DB_RANDOM_ATTEMPTS 100u
#define FREE_EFFORT_LARGE  64u /* as in Redis: what costs more to free is freed later */

struct db_stats db_stats;
struct db_hooks db_hooks;

uint64_t db__sunk_total;

static struct db *databases;
static unsigned databases_count;
static uint32_t found_clock; /* of the entry found last, before the touch */

static struct {
    struct db *db;
    uint64_t hash;
} cold_notes[DB_COLD_NOTES];
static unsigned cold_notes_count;

/* --- life --- */

static void field_expired(struct db *db, struct entry *entry, struct bytes field) {
    db_stats.expired_fields++;
    if (db_hooks.fields_expired != NULL) db_hooks.fields_expired(db, entry_key(entry), field);
}

void db_init_all(unsigned count) {
    FIRN_ASSERT(databases == NULL && count > 0);
    databases = memory_alloc_zero(count * sizeof *databases);
    databases_count = count;
    for (unsigned i = 0; i < count; i++) {
        table_init(&databases[i].table);
        databases[i].index = i;
    }
    hash_set_expired_hook(field_expired);
}

void db_fini_all(void) {
    db__forget_field_reads();
    db_flush(NULL, 0);
    while (db_reap_some(INT64_MAX)) {
    }
    memory_free(databases);
    databases = NULL;
    databases_count = 0;
    hash_set_expired_hook(NULL);
}

unsigned db_count(void) {
    return databases_count;
}

struct db *db_at(unsigned index) {
    FIRN_ASSERT(index < databases_count);
    return &databases[index];
}

unsigned db_index(const struct db *db) {
    return db->index;
}

/* --- residency bits --- */

enum table_residency db__residency_of(const struct entry *entry) {
    if ((entry->flags & (ENTRY_REF | ENTRY_INLINE)) != ENTRY_REF) return TABLE_DRAM;
    switch (page_ref_tag(entry_ref(entry))) {
    case PAGE_TAG_OBJECT: return TABLE_OBJECT;
    case PAGE_TAG_PMEM: return TABLE_PMEM;
    case PAGE_TAG_NVME: return TABLE_NVME;
    case PAGE_TAG_DRAM: break;
    }
    return TABLE_DRAM;
}

void db__residency_update(struct db *db, uint64_t *slot) {
    if (*slot & TABLE_SLOT_SUNK) return;
    enum table_residency was = table_slot_residency(*slot);
    enum table_residency now = db__residency_of(table_slot_entry(*slot));
    if (was == now) return;
    db->residency[was]--;
    db->residency[now]++;
    table_slot_set_residency(slot, now);
}

void db__settle_cold(void) {
    for (unsigned i = 0; i < cold_notes_count; i++) {
        struct db *db = cold_notes[i].db;
        for (unsigned nth = 0;; nth++) {
            uint64_t *slot = table_find_hash(&db->table, cold_notes[i].hash, nth);
            if (slot == NULL) break;
            db__residency_update(db, slot);
        }
    }
    cold_notes_count = 0;
}

void db__note_cold(struct db *db, uint64_t hash) {
    if (cold_notes_count > 0 && cold_notes[cold_notes_count - 1].hash == hash &&
        cold_notes[cold_notes_count - 1].db == db) {
        return;
    }
    if (cold_notes_count == DB_COLD_NOTES) db__settle_cold();
    cold_notes[cold_notes_count].db = db;
    cold_notes[cold_notes_count++].hash = hash;
}

/* --- inner helpers --- */

uint64_t *db__slot(struct db *db, const struct entry *entry) {
    uint64_t *slot = table_find_entry(&db->table, db__hash(entry), entry);
    FIRN_ASSERT(slot != NULL);
    return slot;
}

struct db *db__of(struct entry *entry, unsigned hint, uint64_t **slot_out) {
    uint64_t hash = db__hash(entry);
    for (unsigned i = 0; i < databases_count; i++) {
        struct db *db = &databases[(hint + i) % databases_count];
        *slot_out = table_find_entry(&db->table, hash, entry);
        if (*slot_out != NULL) return db;
    }
    return NULL;
}

struct entry *db__by_hash(struct db *db, uint64_t hash) {
    for (unsigned nth = 0;; nth++) {
        uint64_t *slot = table_find_hash(&db->table, hash, nth);
        if (slot == NULL) return NULL;
        if (!(*slot & TABLE_SLOT_SUNK) && db__hash(table_slot_entry(*slot)) == hash)
            return table_slot_entry(*slot);
    }
}

void db__forget_moving(struct entry *entry) {
    if (!(entry->flags & ENTRY_MOVING)) return;
    if (entry->flags & ENTRY_BUNDLED) { /* db_bundle.c compares what it has written */
        entry->flags &= (uint8_t) ~(ENTRY_MOVING | ENTRY_BUNDLED);
        return;
    }
    tier_forget(entry);
    entry->flags &= (uint8_t)~ENTRY_MOVING;
}

void db__release(struct entry *entry) {
    db__forget_moving(entry);
    if (entry->flags & ENTRY_REF) type_ops(entry_type(entry))->free_value(entry);
    entry_free(entry);
}

void db__drop(struct entry *entry) {
    if ((entry->flags & ENTRY_REF) && type_ops(entry_type(entry))->free_effort(entry) > FREE_EFFORT_LARGE)
        db_stats.freed_later++;
    db__release(entry);
}

int64_t db__field_deadline(const struct db *db, uint64_t hash) {
    struct ordered_index_record record;
    if (!ordered_index_seek(&db->fields_by_hash, hash, 0, &record) || record.deadline != hash) return -1;
    return (int64_t)record.id;
}

static void fields_index(struct db *db, uint64_t hash, int64_t deadline_ms) {
    ordered_index_insert(&db->fields, (uint64_t)deadline_ms, hash);
    ordered_index_insert(&db->fields_by_hash, hash, (uint64_t)deadline_ms);
}

static void fields_unindex(struct db *db, uint64_t hash) {
    int64_t deadline_ms = db__field_deadline(db, hash);
    if (deadline_ms < 0) return;
    ordered_index_remove(&db->fields, (uint64_t)deadline_ms, hash);
    ordered_index_remove(&db->fields_by_hash, hash, (uint64_t)deadline_ms);
}

static void expiry_index(struct db *db, uint64_t hash, int64_t expiry_ms) {
    ordered_index_insert(&db->expiry, (uint64_t)expiry_ms, hash);
    db->expiry_sum += (uint64_t)expiry_ms;
}

static void expiry_unindex(struct db *db, uint64_t hash, int64_t expiry_ms) {
    ordered_index_remove(&db->expiry, (uint64_t)expiry_ms, hash);
    db->expiry_sum -= (uint64_t)expiry_ms;
}

/* Indexes and slot flags for ${entry}, which ${slot} holds now. */
static void enter(struct db *db, uint64_t *slot, uint64_t hash, struct entry *entry,
                  int64_t field_deadline_ms) {
    enum table_residency residency = db__residency_of(entry);
    table_slot_set_residency(slot, residency);
    db->residency[residency]++;
    table_slot_set_volatile(slot, (entry->flags & ENTRY_EXPIRY) != 0);
    if (entry->flags & ENTRY_EXPIRY) expiry_index(db, hash, entry_expiry(entry));
    if (field_deadline_ms < 0) {
        entry->flags &= (uint8_t)~ENTRY_FIELD_TTL;
    } else {
        entry->flags |= ENTRY_FIELD_TTL;
        fields_index(db, hash, field_deadline_ms);
    }
}

/* The reverse; the slot still holds ${entry}. */
static void leave(struct db *db, const uint64_t *slot, uint64_t hash, struct entry *entry) {
    db->residency[table_slot_residency(*slot)]--;
    if (entry->flags & ENTRY_EXPIRY) expiry_unindex(db, hash, entry_expiry(entry));
    if (entry->flags & ENTRY_FIELD_TTL) fields_unindex(db, hash);
    if (db__is_clean(entry)) db__unbundle(db, hash, entry);
}

/* The field deadline a hash that comes into a table brings along. */
static int64_t incoming_field_deadline(const struct entry *entry) {
    return entry_type(entry) == TYPE_HASH ? hash_deadline(entry) : -1;
}

static void take_out(struct db *db, struct entry *entry) {
    uint64_t hash = db__hash(entry);
    uint64_t *slot = table_find_entry(&db->table, hash, entry);
    FIRN_ASSERT(slot != NULL);
    leave(db, slot, hash, entry);
    table_remove(&db->table, hash, slot);
}

/* --- lookup --- */

static int is_due(const struct entry *entry) {
    return (entry->flags & ENTRY_EXPIRY) && entry_expiry(entry) <= clock_cached_ms();
}

static void count_miss(struct db *db, struct bytes key, unsigned flags) {
    if (flags & LOOKUP_WRITE) return;
    if (!(flags & LOOKUP_NO_NOTIFY)) db_notify(db, NOTIFY_KEYMISS, "keymiss", key);
    if (!(flags & LOOKUP_NO_STATS)) db_stats.keyspace_misses++;
}

/* The slot that table_find meets for this key was sunk: surface it, and look again, as equal hashes are not
 * equal keys. */
static int surface_and_find(struct db *db, uint64_t hash, struct bytes key, uint64_t **slot_inout) {
    while (*slot_inout != NULL && (**slot_inout & TABLE_SLOT_SUNK)) {
        int error = db__surface(db, *slot_inout);
        if (error != 0) return error;
        *slot_inout = table_find(&db->table, hash, key);
    }
    return 0;
}

uint64_t db_cold_ref(struct db *db, struct bytes key) {
    uint64_t hash = hash_key(key);
    uint64_t *slot = table_find(&db->table, hash, key);
    if (slot == NULL) return db__cold_ref(db, hash);
    if (*slot & TABLE_SLOT_SUNK) return table_slot_sunk(*slot)->ref;
    const struct entry *entry = table_slot_entry(*slot);
    uint64_t ref = entry->flags & ENTRY_INLINE ? 0 : entry_ref(entry);
    return page_ref_tag(ref) == PAGE_TAG_NVME ? ref : 0;
}

int db_is_sunk(struct db *db, struct bytes key) {
    uint64_t hash = hash_key(key);
    const uint64_t *slot = table_find(&db->table, hash, key);
    return slot != NULL ? (*slot & TABLE_SLOT_SUNK) != 0 : db__cold_ref(db, hash) != 0;
}

uint64_t db_sunk_count(void) {
    return db__sunk_total + db__bundled_total;
}

int db_find(struct db *db, struct bytes key, unsigned flags, struct entry **entry_out) {
    *entry_out = NULL;
    uint64_t hash = hash_key(key);
    uint64_t *slot = table_find(&db->table, hash, key);
    if (__builtin_expect(slot != NULL && (*slot & TABLE_SLOT_SUNK), 0)) {
        int error = surface_and_find(db, hash, key, &slot);
        if (error != 0) return error;
    }
    if (slot == NULL && db->cold.keys > 0) {
        int error = db__bundle_surface(db, hash, key, &slot);
        if (error != 0) return error;
    }
    if (slot == NULL) {
        count_miss(db, key, flags);
        return 0;
    }
    struct entry *entry = table_slot_entry(*slot);
    if (__builtin_expect(*slot & TABLE_SLOT_VOLATILE, 0) && !(flags & LOOKUP_EXPIRED) && is_due(entry)) {
        if (!db_expiry_is_held() || (flags & LOOKUP_WRITE)) db__expire(db, entry);
        count_miss(db, key, flags);
        return 0;
    }
    if (__builtin_expect(table_slot_is_cold(*slot), 0)) db__note_cold(db, hash);
    found_clock = entry->clock;
    if (!(flags & LOOKUP_NO_TOUCH)) {
        evict_touch(entry);
        if (__builtin_expect(db__is_clean(entry), 0) && !evict__is_about_then(found_clock, entry->clock))
            db__unbundle(db, hash, entry); /* BN5 */
    }
    if (!(flags & (LOOKUP_WRITE | LOOKUP_NO_STATS))) db_stats.keyspace_hits++;
    *entry_out = entry;
    return 0;
}

uint32_t db_previous_idle_ms(void) {
    struct entry found = {.clock = found_clock};
    uint64_t idle = evict_idle_ms(&found);
    return idle > UINT32_MAX ? UINT32_MAX : (uint32_t)idle;
}

void db_prefetch(struct db *db, const struct bytes *keys, unsigned count) {
    uint64_t hashes[DB_PREFETCH_BATCH];
    for (unsigned from = 0; from < count; from += DB_PREFETCH_BATCH) {
        unsigned batch = count - from < DB_PREFETCH_BATCH ? count - from : DB_PREFETCH_BATCH;
        for (unsigned i = 0; i < batch; i++) {
            hashes[i] = hash_key(keys[from + i]);
            table_prefetch_bucket(&db->table, hashes[i]);
        }
        for (unsigned i = 0; i < batch; i++)
            table_prefetch_entry(&db->table, hashes[i]);
    }
}

/* --- in and out --- */

static void insert_with(struct db *db, uint64_t hash, struct entry *entry, int64_t field_deadline_ms) {
    if ((entry->clock & 0xffffffu) == 0) evict_init_clock(entry);
    enter(db, table_insert(&db->table, hash, entry), hash, entry, field_deadline_ms);
    if (__builtin_expect(db_hooks.notify != NULL, 0)) db_notify(db, NOTIFY_NEW, "new", entry_key(entry));
}

void db_insert(struct db *db, struct entry *entry) {
    insert_with(db, db__hash(entry), entry, incoming_field_deadline(entry));
}

void db_replace(struct db *db, struct entry *old, struct entry *entry) {
    uint64_t hash = db__hash(old);
    uint64_t *slot = table_find_entry(&db->table, hash, old);
    FIRN_ASSERT(slot != NULL && old != entry);
    leave(db, slot, hash, old);
    table_slot_set_entry(slot, entry);
    entry->flags |= old->flags & ENTRY_PINNED;
    object_set_pinned(entry);
    if (evict_policy_is_lfu()) {
        entry->clock = old->clock;
    } else if ((entry->clock & 0xffffffu) == 0) {
        evict_init_clock(entry);
    }
    enter(db, slot, hash, entry, incoming_field_deadline(entry));
    db__drop(old);
}

int db_delete(struct db *db, struct entry *entry) {
    take_out(db, entry);
    db__drop(entry);
    return 1;
}

void db_detach(struct db *db, struct entry *entry) {
    take_out(db, entry);
    db__forget_moving(entry);
}

struct entry *db_rename(struct db *db, struct entry *entry, struct db *target, struct bytes key) {
    uint64_t old_hash = db__hash(entry);
    int64_t field_deadline_ms = entry->flags & ENTRY_FIELD_TTL ? db__field_deadline(db, old_hash) : -1;
    db_detach(db, entry);
    if (bytes_equal(entry_key(entry), key)) {
        insert_with(target, old_hash, entry, field_deadline_ms);
        return entry;
    }
    uint32_t inline_bytes = entry_inline_bytes(entry);
    int with_inline = (entry->flags & ENTRY_INLINE) != 0;
    struct entry *fresh = entry_create(key, entry_type(entry), entry_encoding(entry),
                                       (entry->flags & ENTRY_REF) != 0, with_inline, inline_bytes);
    fresh->size = entry->size;
    fresh->clock = entry->clock;
    fresh->flags |= entry->flags & ENTRY_PINNED;
    if (entry->flags & ENTRY_REF) {
        entry_store_ref(fresh, entry_ref(entry));
        fresh->flags |= ENTRY_RENAMED;
    }
    if (inline_bytes > 0) memcpy(entry_inline(fresh), entry_inline(entry), inline_bytes);
    if (entry->flags & ENTRY_EXPIRY) {
        fresh = entry_relayout(fresh, 1, (fresh->flags & ENTRY_REF) != 0, with_inline, inline_bytes);
        entry_store_expiry(fresh, entry_expiry(entry));
    }
    entry_free(entry);
    insert_with(target, hash_key(key), fresh, field_deadline_ms);
    return fresh;
}

/* --- changes --- */

static struct entry *relayout(struct db *db, struct entry *entry, int with_expiry, int with_ref,
                              int with_inline, uint32_t inline_bytes) {
    uint64_t *slot = db__slot(db, entry);
    db__forget_moving(entry);
    entry = entry_relayout(entry, with_expiry, with_ref, with_inline, inline_bytes);
    table_slot_set_entry(slot, entry);
    table_slot_set_volatile(slot, with_expiry);
    db__residency_update(db, slot);
    return entry;
}

struct entry *db_relayout(struct db *db, struct entry *entry, int with_ref, int with_inline,
                          uint32_t inline_bytes) {
    return relayout(db, entry, (entry->flags & ENTRY_EXPIRY) != 0, with_ref, with_inline, inline_bytes);
}

struct entry *db_set_expiry(struct db *db, struct entry *entry, int64_t expiry_ms) {
    int had = (entry->flags & ENTRY_EXPIRY) != 0;
    if (!had && expiry_ms < 0) return entry;
    if (expiry_ms < -1) expiry_ms = 0; /* before the epoch: long due */
    uint64_t hash = db__hash(entry);
    if (db__is_clean(entry)) db__unbundle(db, hash, entry);
    if (had) expiry_unindex(db, hash, entry_expiry(entry));
    if (had != (expiry_ms >= 0)) {
        entry = relayout(db, entry, expiry_ms >= 0, (entry->flags & ENTRY_REF) != 0,
                         (entry->flags & ENTRY_INLINE) != 0, entry_inline_bytes(entry));
    }
    if (expiry_ms >= 0) {
        entry_store_expiry(entry, expiry_ms);
        expiry_index(db, hash, expiry_ms);
    }
    return entry;
}

struct entry *db_changing(struct db *db, struct entry *entry) {
    db__forget_moving(entry);
    if (entry->flags & ENTRY_BUNDLED) db__unbundle(db, db__hash(entry), entry);
    if (!(entry->flags & ENTRY_REF)) return entry;
    uint64_t ref = entry_ref(entry);
    if (entry->flags & ENTRY_INLINE) {
        if (ref != 0) {
            entry_store_ref(entry, 0);
            page_release(ref);
        }
    } else if (page_ref_is_lower(ref)) {
        db__note_cold(db, db__hash(entry));
    }
    return entry;
}

void db_changed(struct db *db, struct bytes key) {
    db_stats.changes++;
    if (db_hooks.changed != NULL) db_hooks.changed(db, key);
}

void db_notify(struct db *db, unsigned event_class, const char *name, struct bytes key) {
    if (db_hooks.notify != NULL) db_hooks.notify(db, event_class, name, key);
}

void db_set_field_deadline(struct db *db, struct entry *entry, int64_t old_deadline_ms, int64_t deadline_ms) {
    (void)old_deadline_ms;
    uint64_t hash = db__hash(entry);
    if (entry->flags & ENTRY_FIELD_TTL) {
        if (db__field_deadline(db, hash) == deadline_ms) return;
        fields_unindex(db, hash);
        entry->flags &= (uint8_t)~ENTRY_FIELD_TTL;
    }
    if (deadline_ms < 0) return;
    entry->flags |= ENTRY_FIELD_TTL;
    fields_index(db, hash, deadline_ms);
}

/* Take out with event ${name}; the entry lives until the hooks have seen its key. */
static void remove_with_event(struct db *db, struct entry *entry, unsigned event_class, const char *name,
                              void (*propagate)(struct db *db, struct bytes key)) {
    take_out(db, entry);
    struct bytes key = entry_key(entry);
    db_notify(db, event_class, name, key);
    db_changed(db, key);
    if (propagate != NULL) propagate(db, key);
    db__drop(entry);
}

void db__expire(struct db *db, struct entry *entry) {
    db_stats.expired_keys++;
    remove_with_event(db, entry, NOTIFY_EXPIRED, "expired", db_hooks.expired);
}

void db__evict(struct db *db, struct entry *entry) {
    db_stats.evicted_keys++;
    remove_with_event(db, entry, NOTIFY_EVICTED, "evicted", db_hooks.evicted);
}

/* --- whole database --- */

uint64_t db_size(const struct db *db) {
    return db->table.used + db__cold_keys(db);
}

uint64_t db_expires_count(const struct db *db) {
    return ordered_index_count(&db->expiry);
}

uint64_t db_field_expires_count(const struct db *db) {
    return ordered_index_count(&db->fields);
}

int64_t db_average_ttl_ms(const struct db *db) {
    uint64_t count = ordered_index_count(&db->expiry);
    if (count == 0) return 0;
    int64_t average = (int64_t)(uint64_t)(db->expiry_sum / count) - clock_cached_ms();
    return average > 0 ? average : 0;
}

void db_swap(struct db *a, struct db *b) {
    if (a == b) return;
    if (db_hooks.swapping != NULL) db_hooks.swapping(a, b);
    db__settle_cold();
    db__bundle_swap(a, b);
    struct db held = *a;
    unsigned index_a = a->index, index_b = b->index;
    *a = *b;
    *b = held;
    a->index = index_a;
    b->index = index_b;
    /* A table with one directory holds its root itself. */
    if (a->table.root_bits == 0) a->table.root = &a->table.root_single;
    if (b->table.root_bits == 0) b->table.root = &b->table.root_single;
}

struct entry *db_random(struct db *db) {
    for (unsigned attempt = 0;; attempt++) {
        uint64_t cold = db__cold_keys(db), in_table = db->table.used;
        if (cold > 0 && random_below(cold + in_table) < cold && attempt < DB_RANDOM_ATTEMPTS) {
            struct entry *entry;
            fault_must_finish();
            if (db__bundle_surface_random(db, &entry) == 0) return entry;
            continue;
        }
        uint64_t *slot = table_random(&db->table);
        if (slot == NULL) return NULL;
        if (*slot & TABLE_SLOT_SUNK) {
            fault_must_finish(); /* another run would choose another key */
            if (db__surface(db, slot) != 0) continue;
        }
        struct entry *entry = table_slot_entry(*slot);
        if (!is_due(entry) || (db_expiry_is_held() && attempt >= DB_RANDOM_ATTEMPTS)) return entry;
        if (db_expiry_is_held()) continue;
        db__expire(db, entry);
        if (attempt >= DB_RANDOM_ATTEMPTS) db_expire_some(INT64_MAX / 2);
    }
}

struct scan_count {
    struct db *db;
    void (*visit)(struct entry *entry, void *ctx);
    void *ctx;
    unsigned visited;
    int error;
    uint64_t from, end; /* scan_visit_range: positions as table.h's */
};

static void scan_surface(uint64_t *slot, void *ctx) {
    struct scan_count *scan = ctx;
    if (!(*slot & TABLE_SLOT_SUNK)) return;
    int error = db__surface(scan->db, slot);
    if (error != 0 && (scan->error == 0 || scan->error == FIRN_EFAULT)) scan->error = error;
}

static void scan_visit(uint64_t *slot, void *ctx) {
    struct scan_count *scan = ctx;
    scan->visited++;
    scan->visit(table_slot_entry(*slot), scan->ctx);
}

static void scan_visit_range(uint64_t *slot, void *ctx) {
    struct scan_count *scan = ctx;
    uint64_t position = db__hash(table_slot_entry(*slot)) >> 1;
    if (position >= scan->from && position < scan->end) scan_visit(slot, scan);
}

static void scan_skip(uint64_t *slot, void *ctx) {
    (void)slot, (void)ctx;
}

/*
 * One step with keys in bundles: those from ${cursor} on that are in the range of its bucket surface, up to
 * ${count}; then the table has everything up to there. A key that is only in a bundle counts as at the first
 * hash of its position, so the range begins with the position of the cursor, and has all of it again.
 */
static int scan_with_cold(struct scan_count *scan, uint64_t cursor, unsigned count, uint64_t *next_out) {
    struct db *db = scan->db;
    const unsigned shift = 63 - COLD_POSITION_BITS;
    uint64_t end = table_scan(&db->table, cursor, scan_skip, NULL), ref;
    if (end == 0) end = (uint64_t)1 << 63;
    uint64_t position = cursor >> shift, last = position;
    for (unsigned i = 0; cold_index_next(&db->cold, position, &last, &ref) && last << shift < end; i++) {
        if (i >= count && i > 0) {
            end = last << shift;
            break;
        }
        position = last + 1;
    }
    uint64_t cold_end = (end + ((uint64_t)1 << shift) - 1) >> shift;
    int error = db__bundle_surface_range(db, cursor >> shift, cold_end);
    if (error != 0) return error;
    scan->from = cursor;
    scan->end = end;
    for (uint64_t at = cursor;;) {
        table_scan(&db->table, at, scan_surface, scan);
        if (scan->error != 0) return scan->error;
        at = table_scan(&db->table, at, scan_skip, NULL);
        if (at == 0 || at >= end) break;
    }
    for (uint64_t at = cursor;;) {
        at = table_scan(&db->table, at, scan_visit_range, scan);
        if (at == 0 || at >= end) break;
    }
    *next_out = end == (uint64_t)1 << 63 ? 0 : end;
    return 0;
}

int db_scan(struct db *db, uint64_t cursor, unsigned count, void (*visit)(struct entry *entry, void *ctx),
            void *ctx, uint64_t *next_out) {
    struct scan_count scan = {.db = db, .visit = visit, .ctx = ctx};
    uint64_t steps = (uint64_t)count * 10; /* as Redis: empty buckets do not hold up a call for ever */
    cursor &= INT64_MAX;
    *next_out = cursor;
    do {
        int error = 0;
        if (db->cold.keys > 0) {
            unsigned left = scan.visited < count ? count - scan.visited : 1;
            error = scan_with_cold(&scan, cursor, left, &cursor);
        } else {
            table_scan(&db->table, cursor, scan_surface, &scan);
            error = scan.error;
            if (error == 0) cursor = table_scan(&db->table, cursor, scan_visit, &scan);
        }
        if (error != 0) return scan.visited > 0 && error == FIRN_EFAULT ? 0 : error;
        *next_out = cursor;
    } while (cursor != 0 && scan.visited < count && steps-- > 0);
    return 0;
}

uint64_t db_overhead_bytes(const struct db *db) {
    return db->table.bytes + db->cold.bytes + ordered_index_bytes(&db->expiry) +
           ordered_index_bytes(&db->fields) + ordered_index_bytes(&db->fields_by_hash);
}

void db_table_stats(const struct db *db, struct db_table_stats *stats_out) {
    stats_out->slots = db->table.slots;
    stats_out->used = db->table.used;
    stats_out->segments = db->table.segments;
    stats_out->splits = db->table.splits;
}

/* --- check --- */

struct check {
    const struct db *db;
    uint64_t residency[4], expires, fields, sunk;
};

static int check_slot(uint64_t *slot, void *ctx) {
    struct check *check = ctx;
    check->residency[table_slot_residency(*slot)]++;
    if (*slot & TABLE_SLOT_SUNK) { /* S2 */
        check->sunk++;
        FIRN_ASSERT(!(*slot & TABLE_SLOT_VOLATILE) && table_slot_residency(*slot) == TABLE_NVME);
        return 0;
    }
    const struct entry *entry = table_slot_entry(*slot);
    uint64_t hash = db__hash(entry);
    FIRN_ASSERT(((*slot & TABLE_SLOT_VOLATILE) != 0) == ((entry->flags & ENTRY_EXPIRY) != 0));
    if (entry->flags & ENTRY_EXPIRY) { /* DB1 */
        check->expires++;
        FIRN_ASSERT(ordered_index_has(&check->db->expiry, (uint64_t)entry_expiry(entry), hash));
    }
    if (entry->flags & ENTRY_FIELD_TTL) { /* DB2 */
        check->fields++;
        int64_t deadline_ms = db__field_deadline(check->db, hash);
        FIRN_ASSERT(deadline_ms >= 0 && ordered_index_has(&check->db->fields, (uint64_t)deadline_ms, hash));
    }
    const struct type_ops *ops = type_ops(entry_type(entry));
    if (ops != NULL && ops->check != NULL) ops->check(entry);
    return 0;
}

void db_check(const struct db *db) {
    struct check check = {.db = db};
    table_check(&db->table);
    ordered_index_check(&db->expiry);
    ordered_index_check(&db->fields);
    ordered_index_check(&db->fields_by_hash);
    table_each(&db->table, check_slot, &check);
    FIRN_ASSERT(check.expires == ordered_index_count(&db->expiry));
    FIRN_ASSERT(check.fields == ordered_index_count(&db->fields));
    FIRN_ASSERT(check.fields == ordered_index_count(&db->fields_by_hash));
    FIRN_ASSERT(check.sunk == db->sunk);
    for (unsigned i = 0; i < 4; i++)
        FIRN_ASSERT(check.residency[i] == db->residency[i]); /* DB3 */
    db__bundle_check(db);
}
