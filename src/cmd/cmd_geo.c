/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places: sorted sets whose scores are geohash numbers (ds/geohash.h), but for searching in them
 * (cmd_geo_search.c).
 */
#include "cmd/cmd_geo_internal.h"

#include "base/memory.h"
#include "ds/number.h"

static const struct {
    const char *name;
    double metres;
} units[] = {{"m", 1}, {"km", 1000}, {"ft", 0.3048}, {"mi", 1609.34}};

int cmd_geo__unit(struct call *call, struct bytes argument, double *metres_out) {
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (!bytes_is(argument, units[i].name)) continue;
        *metres_out = units[i].metres;
        return 0;
    }
    reply_error(call->reply, "unsupported unit provided. please use M, KM, FT, MI");
    return FIRN_EINVALID;
}

int cmd_geo__place(struct call *call, size_t index, struct geohash_place *place_out) {
    int error = call_double(call, call->argv[index], &place_out->longitude);
    if (error == 0) error = call_double(call, call->argv[index + 1], &place_out->latitude);
    if (error != 0 || geohash_is_valid(*place_out)) return error;
    reply_error_format(call->reply, "invalid longitude,latitude pair %f,%f", place_out->longitude,
                       place_out->latitude);
    return FIRN_EINVALID;
}

void cmd_geo__reply_distance(struct call *call, double distance) {
    char text[NUMBER_FIXED_TEXT_MAX];
    unsigned size = number_format_fixed4(distance, text);
    reply_bulk(call->reply, bytes_of(text, size));
}

/* A coordinate, in RESP3 as a double that keeps all its digits. */
static void reply_coordinate(struct call *call, double degrees) {
    char text[NUMBER_LONG_DOUBLE_TEXT_MAX + 3];
    unsigned size = number_format_long_double(degrees, text + 1);
    if (call->reply->version < 3) {
        reply_bulk(call->reply, bytes_of(text + 1, size));
        return;
    }
    text[0] = ',';
    memcpy(text + 1 + size, "\r\n", 2);
    reply_raw(call->reply, bytes_of(text, size + 3));
}

void cmd_geo__reply_place(struct call *call, struct geohash_place place) {
    reply_array(call->reply, 2);
    reply_coordinate(call, place.longitude);
    reply_coordinate(call, place.latitude);
}

/* --- GEOADD --- */

struct addition {
    unsigned flags;
    int count_changed; /* CH */
    size_t first;      /* argument of the first longitude */
    size_t count;
    double *scores;
    size_t member_bytes; /* of the longest */
};

static int addition_parse(struct call *call, struct addition *addition) {
    size_t i = 2;
    for (; i < call->argc; i++) {
        if (call_option(call, i, "nx")) {
            addition->flags |= ZSET_NX;
        } else if (call_option(call, i, "xx")) {
            addition->flags |= ZSET_XX;
        } else if (call_option(call, i, "ch")) {
            addition->count_changed = 1;
        } else {
            break;
        }
    }
    addition->first = i;
    addition->count = (call->argc - i) / 3;
    if ((call->argc - i) % 3 != 0 || addition->count == 0 ||
        (addition->flags & (ZSET_NX | ZSET_XX)) == (ZSET_NX | ZSET_XX))
        return call_syntax_error(call);
    addition->scores = memory_alloc(addition->count * sizeof *addition->scores);
    for (size_t j = 0; j < addition->count; j++) {
        struct geohash_place place;
        int error = cmd_geo__place(call, i + 3 * j, &place);
        if (error != 0) return error;
        addition->scores[j] = (double)geohash_encode(place);
        size_t bytes = call->argv[i + 3 * j + 2].size;
        if (bytes > addition->member_bytes) addition->member_bytes = bytes;
    }
    return 0;
}

static struct bytes addition_member(const struct call *call, const struct addition *addition, size_t i) {
    return call->argv[addition->first + 3 * i + 2];
}

/* Ask for all pages that the additions need, together. */
static int addition_touch(struct call *call, const struct addition *addition, struct entry *entry) {
    int result = 0;
    if (zset_is_resident(entry)) return 0;
    for (size_t i = 0; i < addition->count; i++) {
        int error =
            zset_touch_put(entry, addition_member(call, addition, i), addition->scores[i], addition->flags);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

static int addition_put(struct call *call, const struct addition *addition, struct entry *entry,
                        int64_t *added_out, int64_t *updated_out) {
    *added_out = *updated_out = 0;
    for (size_t i = 0; i < addition->count; i++) {
        enum zset_outcome outcome;
        double score;
        int error = zset_put(entry, addition_member(call, addition, i), addition->scores[i], addition->flags,
                             &outcome, &score);
        if (error != 0) return error;
        if (outcome == ZSET_ADDED) ++*added_out;
        if (outcome == ZSET_UPDATED) ++*updated_out;
        if (outcome >= ZSET_ADDED) call_must_finish(call);
    }
    return 0;
}

static int add(struct call *call, struct addition *addition) {
    struct bytes key = call->argv[1];
    struct entry *entry;
    int64_t added = 0, updated = 0;
    int error = addition_parse(call, addition);
    if (error == 0) error = call_find_write_type(call, key, TYPE_ZSET, &entry);
    if (error != 0) return error;
    int is_new = entry == NULL;
    if (is_new && (addition->flags & ZSET_XX)) {
        reply_integer(call->reply, 0);
        return 0;
    }
    if (is_new) {
        entry = zset_create(key, addition->count, addition->member_bytes);
    } else {
        error = addition_touch(call, addition, entry);
        if (error != 0) return error;
        entry = db_changing(call->db, entry);
        zset_expect(entry, addition->count, addition->member_bytes);
    }
    error = addition_put(call, addition, entry, &added, &updated);
    if (is_new && added == 0) {
        cmd_geo__discard(entry);
    } else if (is_new) {
        db_insert(call->db, entry);
    }
    if (added + updated > 0) {
        call_changed_elements(call, key, (uint64_t)(added + updated));
        call_notify(call, NOTIFY_ZSET, "zadd", key);
    }
    if (error != 0) return error;
    reply_integer(call->reply, addition->count_changed ? added + updated : added);
    return 0;
}

void cmd_geo__discard(struct entry *entry) {
    if (entry == NULL) return;
    type_zset_ops.free_value(entry);
    entry_free(entry);
}

int cmd_geoadd(struct call *call) {
    struct addition addition = {0};
    int error = add(call, &addition);
    memory_free(addition.scores);
    return call_error(error);
}

/* --- what is known of members --- */

/* Ask for the pages of the members in argv[first .. end) together. */
static int touch_members(struct call *call, struct entry *entry, size_t first, size_t end) {
    int result = 0;
    if (entry == NULL || zset_is_resident(entry)) return 0;
    for (size_t i = first; i < end; i++) {
        int error = zset_touch(entry, call->argv[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

int cmd_geo__member(struct entry *entry, struct bytes member, struct geohash_place *place_out) {
    double score;
    int error = entry != NULL ? zset_score(entry, member, &score) : FIRN_ENOTFOUND;
    if (error == 0) *place_out = geohash_decode_score(score);
    return error;
}

int cmd_geodist(struct call *call) {
    struct entry *entry;
    struct geohash_place places[2];
    double metres = 1;
    if (call->argc > 5) {
        CALL_TRY(call_syntax_error(call));
        return 0;
    }
    if (call->argc == 5) CALL_TRY(cmd_geo__unit(call, call->argv[4], &metres));
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    CALL_TRY(touch_members(call, entry, 2, 4));
    for (unsigned i = 0; i < 2; i++) {
        int error = cmd_geo__member(entry, call->argv[2 + i], &places[i]);
        if (error == FIRN_ENOTFOUND) {
            reply_null(call->reply);
            return 0;
        }
        if (error != 0) return error;
    }
    cmd_geo__reply_distance(call, geohash_distance(places[0], places[1]) / metres);
    return 0;
}

int cmd_geohash(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    CALL_TRY(touch_members(call, entry, 2, call->argc));
    reply_array(call->reply, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        struct geohash_place place;
        char text[GEOHASH_TEXT_CHARS + 1];
        int error = cmd_geo__member(entry, call->argv[i], &place);
        if (error == 0) {
            geohash_text(place, text);
            reply_bulk_text(call->reply, text);
        } else if (error == FIRN_ENOTFOUND) {
            reply_null(call->reply);
        } else {
            return error;
        }
    }
    return 0;
}

int cmd_geopos(struct call *call) {
    struct entry *entry;
    CALL_TRY(call_find_read_type(call, call->argv[1], TYPE_ZSET, &entry));
    CALL_TRY(touch_members(call, entry, 2, call->argc));
    reply_array(call->reply, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        struct geohash_place place;
        int error = cmd_geo__member(entry, call->argv[i], &place);
        if (error == 0) {
            cmd_geo__reply_place(call, place);
        } else if (error == FIRN_ENOTFOUND) {
            reply_null_array(call->reply);
        } else {
            return error;
        }
    }
    return 0;
}
