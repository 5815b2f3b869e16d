/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands that go through many fields of a hash: HGETALL, HKEYS, HVALS, HSCAN, HRANDFIELD. All but
 * HRANDFIELD skip fields that are due without removing them. Executor only.
 */
#include <limits.h>

#include "base/hash.h"
#include "base/random.h"
#include "cmd/cmd_hash_internal.h"
#include "cmd/collection_walk.h"
#include "cmd/command.h"
#include "cmd/stream_reply.h"
#include "ds/int_map.h"

/* --- HGETALL, HKEYS, HVALS --- */

struct getall {
    struct reply *reply;
    unsigned want;
    size_t count;
};

static int getall_receive(const struct hash_field *field, void *ctx) {
    struct getall *getall = ctx;
    if (cmd_hash__is_due(field->expiry_ms)) return 0;
    if (getall->want & COLLECTION_NAMES) reply_bulk(getall->reply, field->field);
    if (getall->want & COLLECTION_VALUES) reply_bulk(getall->reply, field->value);
    getall->count++;
    return 0;
}

static void getall_head(struct call *call, unsigned want, size_t size) {
    if (want == (COLLECTION_NAMES | COLLECTION_VALUES)) {
        reply_map(call->reply, size);
    } else {
        reply_array(call->reply, size);
    }
}

/* Many pages, and no field that is due (so that their number is known): as a stream. */
static int getall_can_stream(const struct call *call, const struct entry *entry) {
    return stream_reply_applies(call, collection_pages(entry)) &&
           !cmd_hash__is_due(cmd_hash__deadline(entry));
}

static int getall_generic(struct call *call, unsigned want) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &entry));
    size_t size = entry == NULL ? 0 : entry->size;
    struct getall getall = {.reply = call->reply, .want = want};
    if (entry != NULL && getall_can_stream(call, entry)) {
        getall_head(call, want, size);
        return collection_stream(call, entry, want);
    }
    if (entry != NULL) {
        int error = hash_touch_all(entry);
        if (error != 0) return error;
    }
    if (entry != NULL && entry->flags & ENTRY_FIELD_TTL) { /* some may be due */
        struct reply_later later =
            reply_later_open(call->reply, want == (COLLECTION_NAMES | COLLECTION_VALUES) ? '%' : '*');
        int error = hash_each(entry, getall_receive, &getall);
        if (error != 0) return error;
        reply_later_close(call->reply, later, getall.count);
        return 0;
    }
    getall_head(call, want, size);
    if (entry == NULL) return 0;
    int error = hash_each(entry, getall_receive, &getall);
    return error == 0 && getall.count != size ? FIRN_ECORRUPT : error;
}

int cmd_hgetall(struct call *call) {
    return getall_generic(call, COLLECTION_NAMES | COLLECTION_VALUES);
}
int cmd_hkeys(struct call *call) {
    return getall_generic(call, COLLECTION_NAMES);
}
int cmd_hvals(struct call *call) {
    return getall_generic(call, COLLECTION_VALUES);
}

/* --- HSCAN --- */

static void hscan_receive(const struct hash_field *field, void *ctx) {
    struct collection_scan *scan = ctx;
    if (cmd_hash__is_due(field->expiry_ms) || !collection_scan_wants(scan, field->field)) return;
    collection_scan_item(scan, field->field);
    if (!scan->without_values) collection_scan_item(scan, field->value);
}

int cmd_hscan(struct call *call) {
    struct entry *entry;
    struct collection_scan scan = {0};
    uint64_t cursor, next = 0;
    CALL_TRY(call_cursor(call, call->argv[2], &cursor));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &entry));
    if (entry != NULL) {
        CALL_TRY(collection_scan_options(call, 1, &scan));
        int error = hash_scan(entry, cursor, scan.count, hscan_receive, &scan, &next);
        if (error != 0) {
            collection_scan_fini(&scan);
            return error;
        }
    }
    collection_scan_reply(call, &scan, next);
    return 0;
}

/* --- HRANDFIELD --- */

#define DRAWS_TOUCHED_MAX 64u /* for more, all pages are asked for */

struct randfield {
    struct call *call;
    struct entry *entry;
    int with_values;
    uint64_t count; /* still wanted */
    uint64_t left;  /* fields not seen yet */
    uint64_t state;
};

static void randfield_reply(struct randfield *randfield, const struct hash_field *field) {
    struct reply *reply = randfield->call->reply;
    if (randfield->with_values && reply->version > 2) reply_array(reply, 2);
    reply_bulk(reply, field->field);
    if (randfield->with_values) reply_bulk(reply, field->value);
}

static void randfield_header(struct randfield *randfield, uint64_t count) {
    struct reply *reply = randfield->call->reply;
    reply_array(reply, randfield->with_values && reply->version <= 2 ? count * 2 : count);
}

/* The pages of ${count} draws from here on. */
static int randfield_touch(struct randfield *randfield, uint64_t count) {
    if (count > DRAWS_TOUCHED_MAX) return hash_touch_all(randfield->entry);
    uint64_t state = randfield->state;
    int result = 0;
    for (uint64_t i = 0; i < count; i++) {
        int error = hash_random(randfield->entry, &state, NULL);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

/* ${count} fields, each drawn from all. */
static int randfield_repeated(struct randfield *randfield, uint64_t count) {
    int error = randfield_touch(randfield, count);
    if (error != 0) return error;
    randfield_header(randfield, count);
    for (uint64_t i = 0; i < count && !randfield->call->reply->lost; i++) {
        struct hash_field field;
        error = hash_random(randfield->entry, &randfield->state, &field);
        if (error != 0) return error;
        randfield_reply(randfield, &field);
    }
    return 0;
}

/* Few different fields of many. */
static int randfield_distinct(struct randfield *randfield, uint64_t count) {
    int error = randfield_touch(randfield, count);
    if (error != 0) return error;
    struct int_map drawn = {0};
    randfield_header(randfield, count);
    while (error == 0 && int_map_count(&drawn) < count) {
        struct hash_field field;
        error = hash_random(randfield->entry, &randfield->state, &field);
        if (error == 0 && int_map_put(&drawn, hash_key(field.field), randfield) == NULL)
            randfield_reply(randfield, &field);
    }
    int_map_fini(&drawn);
    return error;
}

/* Each field with the probability that the wanted number of those left needs. */
static int randfield_choose(const struct hash_field *field, void *ctx) {
    struct randfield *randfield = ctx;
    if (randfield->count > 0 && random_below(randfield->left) < randfield->count) {
        randfield_reply(randfield, field);
        randfield->count--;
    }
    randfield->left--;
    return 0;
}

static int randfield_part(struct randfield *randfield, uint64_t count) {
    int error = hash_touch_all(randfield->entry);
    if (error != 0) return error;
    randfield->count = count;
    randfield->left = randfield->entry->size;
    randfield_header(randfield, count);
    error = hash_each(randfield->entry, randfield_choose, randfield);
    return error == 0 && randfield->count > 0 ? FIRN_ECORRUPT : error;
}

/* Remove all due fields, as Redis does here. *entry_inout NULL: nothing was left. */
static int randfield_expire(struct call *call, struct entry **entry_inout) {
    struct entry *entry = *entry_inout;
    if (!(entry->flags & ENTRY_FIELD_TTL)) return 0;
    int error = hash_touch_all(entry);
    if (error != 0) return error;
    int64_t old_ms = hash_deadline(entry);
    if (!cmd_hash__is_due(old_ms)) return 0;
    unsigned expired;
    entry = *entry_inout = db_changing(call->db, entry);
    error = hash_expire_fields(call->db, entry, clock_cached_ms(), UINT_MAX, &expired);
    if (error < 0) return error;
    if (entry->size > 0) cmd_hash__keep_deadline(call, entry, old_ms);
    if (expired > 0) cmd_hash__announce_due(call, call->argv[1], entry_inout);
    return 0;
}

static int randfield_counted(struct randfield *randfield, int64_t wanted) {
    uint64_t count = wanted < 0 ? (uint64_t)-wanted : (uint64_t)wanted, size = randfield->entry->size;
    if (count == 0) {
        reply_array(randfield->call->reply, 0);
        return 0;
    }
    if (wanted < 0 || count == 1) return randfield_repeated(randfield, count);
    if (count >= size) return randfield_part(randfield, size);
    return count * 3 > size || size <= 128 ? randfield_part(randfield, count)
                                           : randfield_distinct(randfield, count);
}

int cmd_hrandfield(struct call *call) {
    struct randfield randfield = {.call = call};
    int64_t wanted = 1;
    int counted = call->argc > 2, error;
    if (counted) CALL_TRY(collection_random_count(call, "WITHVALUES", &wanted, &randfield.with_values));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_HASH, &randfield.entry));
    if (randfield.entry != NULL) {
        error = randfield_expire(call, &randfield.entry);
        if (error != 0) return error;
    }
    if (randfield.entry == NULL) {
        if (counted) {
            reply_array(call->reply, 0);
        } else {
            reply_null(call->reply);
        }
        return 0;
    }
    uint64_t *state = collection_random_state(call);
    randfield.state = *state;
    if (counted) {
        error = randfield_counted(&randfield, wanted);
    } else {
        struct hash_field field;
        error = hash_random(randfield.entry, &randfield.state, &field);
        if (error == 0) reply_bulk(call->reply, field.field);
    }
    if (error == 0) *state = random_u64();
    return error;
}
