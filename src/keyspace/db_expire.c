/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Time and slices of db.h: keys and hash fields that are due, and the reaper of what FLUSH left behind.
 *
 * Nothing is sampled: the indexes give what is due, in order, so a slice does useful work only and an expired
 * key lives until the next slice at most. A slice looks at the clock every few keys.
 *
 * Flushed databases are detached whole (a "ruin") and freed a segment at a time. Their entries are in no
 * table, so nobody finds, demotes or changes them; a demotion in flight of one of them is voided when the
 * entry is freed.
 *
 * Executor only.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "keyspace/db.h"
#include "keyspace/db_internal.h"
#include "keyspace/notify.h"
#include "page/fault.h"
#include "tiering/tier.h"
#include "types/hash.h"

#define EXPIRE_CLOCK_KEYS     16u  /* keys between two looks at the clock */
#define EXPIRE_FIELDS_ROUND   256u /* fields of one hash before others have their turn */
#define EXPIRE_FIELD_RETRY_MS 10   /* a due field on a page that cannot be asked for now */
#define EXPIRE_FIELD_READ_MS  1000 /* on one that is being read: again when it is here, or after this */
#define EXPIRE_READS_MAX      16u  /* hashes whose due pages are being read */
#define REAP_PAGES_ROUND      64u
#define REAP_RECORDS_ROUND    1024u

struct ruin {
    struct ruin *next;
    struct db db; /* table and indexes only */
};

static struct ruin *ruins;
static int clear_when_reaped; /* all databases were flushed: tell the tiers when the last of it is gone */
static int active_expire = 1;
static int expiry_held;
static unsigned expire_next; /* database whose turn it is */

/* --- expiry --- */

void db_set_active_expire(int enabled) {
    active_expire = enabled;
}

void db_hold_expiry(int held) {
    expiry_held = held;
}

int db_expiry_is_held(void) {
    return expiry_held;
}

/* Expire due keys until ${until_us}; nonzero when more are due. */
static int expire_keys(struct db *db, int64_t now_ms, int64_t until_us) {
    struct ordered_index_record record;
    for (unsigned i = 1; ordered_index_first(&db->expiry, &record) && (int64_t)record.deadline <= now_ms;
         i++) {
        struct entry *entry = db__by_hash(db, record.id);
        FIRN_ASSERT(entry != NULL && entry_expiry(entry) == (int64_t)record.deadline); /* DB1 */
        db__expire(db, entry);
        if (i % EXPIRE_CLOCK_KEYS == 0 && clock_monotonic_us() >= until_us) return 1;
    }
    return 0;
}

/*
 * Due fields on pages that are not here: the pages are read and kept until they have been worked on, as a
 * command's are (a mere prefetch may be gone from a small read buffer before the next slice).
 */
struct field_read {
    struct tier_read *read; /* NULL: free */
    struct db *db;
    uint64_t hash;
};
static struct field_read field_reads[EXPIRE_READS_MAX];

static void fields_here(void *ctx);

/* Ask for the pages; when to look again if they never come. */
static int64_t fields_ask(struct db *db, uint64_t hash, const struct fault_set *missing, int64_t now_ms) {
    for (unsigned i = 0; missing->count > 0 && i < EXPIRE_READS_MAX; i++) {
        struct field_read *field_read = &field_reads[i];
        if (field_read->read != NULL) continue;
        field_read->db = db;
        field_read->hash = hash;
        field_read->read = tier_read(missing, fields_here, field_read);
        return now_ms + EXPIRE_FIELD_READ_MS;
    }
    return now_ms + EXPIRE_FIELD_RETRY_MS;
}

void db__forget_field_reads(void) {
    for (unsigned i = 0; i < EXPIRE_READS_MAX; i++) {
        if (field_reads[i].read != NULL) tier_read_done(field_reads[i].read);
        field_reads[i].read = NULL;
    }
}

/* Expire due fields of one hash, a round of them. Its record is removed, renewed or put off. Nonzero: more
 * are due and here. */
static int expire_fields_of(struct db *db, struct entry *entry, int64_t now_ms) {
    struct fault_set faults = {.count = 0};
    unsigned expired = 0;
    int nested = fault_current() != NULL;
    entry = db_changing(db, entry);
    if (!nested) fault_begin(&faults, FAULT_ASYNC);
    int result = hash_expire_fields(db, entry, now_ms, EXPIRE_FIELDS_ROUND, &expired);
    if (!nested) fault_end(&faults);
    struct bytes key = entry_key(entry);
    if (expired > 0) db_notify(db, NOTIFY_HASH, "hexpired", key);
    if (entry->size == 0) {
        db_detach(db, entry);
        db_notify(db, NOTIFY_GENERIC, "del", key);
        db_changed(db, key);
        db__release(entry);
        return 0;
    }
    if (expired > 0) db_changed(db, key);
    int64_t deadline_ms = hash_deadline(entry);
    if (result < 0 && result != FIRN_EFAULT) {
        deadline_ms = now_ms + EXPIRE_FIELD_READ_MS; /* the page cannot be read */
    } else if (result < 0 || (result == 0 && deadline_ms >= 0 && deadline_ms <= now_ms)) {
        deadline_ms = fields_ask(db, db__hash(entry), &faults, now_ms);
    }
    db_set_field_deadline(db, entry, 0, deadline_ms);
    return result == 1 && expired > 0;
}

/* The pages have arrived, or their error. */
static void fields_here(void *ctx) {
    struct field_read *field_read = ctx;
    struct tier_read *read = field_read->read;
    struct db *db = field_read->db;
    uint64_t hash = field_read->hash;
    int64_t until_us = clock_monotonic_us() + TIER_EXPIRE_TURN_US_MAX;
    field_read->read = NULL;
    while (active_expire) { /* while the pages are here */
        struct entry *entry = db__by_hash(db, hash);
        if (entry == NULL || !(entry->flags & ENTRY_FIELD_TTL)) break;
        if (!expire_fields_of(db, entry, clock_cached_ms()) || clock_monotonic_us() >= until_us) break;
    }
    tier_read_done(read);
}

static int expire_fields(struct db *db, int64_t now_ms, int64_t until_us) {
    struct ordered_index_record record;
    while (ordered_index_first(&db->fields, &record) && (int64_t)record.deadline <= now_ms) {
        struct entry *entry = db__by_hash(db, record.id);
        FIRN_ASSERT(entry != NULL && (entry->flags & ENTRY_FIELD_TTL)); /* DB2 */
        expire_fields_of(db, entry, now_ms);
        if (clock_monotonic_us() >= until_us) return 1;
    }
    return 0;
}

int db_expire_some(int64_t budget_us) {
    if (!active_expire || expiry_held) return 0;
    int64_t now_ms = clock_cached_ms();
    int64_t until_us = clock_monotonic_us() + budget_us;
    unsigned count = db_count();
    for (unsigned i = 0; i < count; i++) {
        struct db *db = db_at((expire_next + i) % count);
        if (expire_keys(db, now_ms, until_us) || expire_fields(db, now_ms, until_us)) {
            expire_next = (expire_next + i + 1) % count; /* others first next time */
            db_stats.expired_time_cap_reached++;
            return 1;
        }
    }
    return 0;
}

/* --- flush --- */

static void release_slot(uint64_t slot, void *ctx) {
    (void)ctx;
    db__release_slot(slot);
}

/* One step of taking ${db} apart; nonzero while there is more. */
static int take_apart(struct db *db) {
    if (table_drain(&db->table, release_slot, NULL)) return 1;
    if (cold_index_drain(&db->cold)) return 1;
    if (ordered_index_drop_some(&db->expiry, REAP_RECORDS_ROUND)) return 1;
    if (ordered_index_drop_some(&db->fields, REAP_RECORDS_ROUND)) return 1;
    return ordered_index_drop_some(&db->fields_by_hash, REAP_RECORDS_ROUND);
}

static void detach_all(struct db *db) {
    struct ruin *ruin = memory_alloc(sizeof *ruin);
    db__bundled_total -= db__cold_keys(db);
    ruin->db = *db;
    if (ruin->db.table.root_bits == 0) ruin->db.table.root = &ruin->db.table.root_single;
    unsigned index = db->index;
    memset(db, 0, sizeof *db);
    table_init(&db->table);
    db->index = index;
    ruin->next = ruins;
    ruins = ruin;
}

static int reap_step(void) {
    if (ruins != NULL) {
        struct ruin *ruin = ruins;
        if (!take_apart(&ruin->db)) {
            ruins = ruin->next;
            memory_free(ruin);
        }
        return 1;
    }
    if (type_reap_some(REAP_PAGES_ROUND)) return 1;
    if (clear_when_reaped) {
        clear_when_reaped = 0;
        for (unsigned i = 0; i < db_count(); i++) {
            if (db_size(db_at(i)) != 0) return 0;
        }
        tier_clear();
    }
    return 0;
}

uint64_t db_flush(struct db *db, int lazy) {
    uint64_t dropped = 0;
    if (db_hooks.flushing != NULL) db_hooks.flushing(db);
    db__settle_cold();
    db__bundle_forget(db);
    for (unsigned i = 0; i < db_count(); i++) {
        struct db *each = db_at(i);
        if ((db != NULL && db != each) || db_size(each) == 0) continue;
        dropped += db_size(each);
        detach_all(each);
    }
    if (dropped > 0) {
        clear_when_reaped = 1;
        for (unsigned i = 0; i < db_count(); i++)
            clear_when_reaped &= db_size(db_at(i)) == 0;
    }
    if (lazy) db_stats.freed_later += dropped;
    while (!lazy && reap_step()) {
    }
    return dropped;
}

int db_reap_some(int64_t budget_us) {
    int64_t now_us = clock_monotonic_us();
    int64_t until_us = budget_us > INT64_MAX - now_us ? INT64_MAX : now_us + budget_us;
    while (reap_step()) {
        if (clock_monotonic_us() >= until_us) return 1;
    }
    return 0;
}
