/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Searching for places: GEOSEARCH, GEORADIUS and their kin. An area becomes at most nine ranges of scores;
 * the pages of all of them are asked for together, then walked, and what is really inside is kept: all of it,
 * or with COUNT no more than a few times as many as are asked for.
 */
#include <stdlib.h>

#include "base/bytes_builder.h"
#include "base/memory.h"
#include "cmd/cmd_geo_internal.h"
#include "ds/number.h"

enum search_order { ORDER_NONE, ORDER_ASCENDING, ORDER_DESCENDING };

/* Where middle and shape are given: in front (GEORADIUS, GEORADIUSBYMEMBER) or among the options. */
enum search_form { FORM_PLACE, FORM_MEMBER, FORM_OPTIONS };

#define ELEMENTS_AT_ONCE 512u /* looked at before ANY may be content */
#define FOUND_SPARE      256u /* more than COUNT that are kept before the farther ones are dropped */

struct found {
    double distance, score;
    struct geohash_place place;
    size_t member_at; /* in search->members */
    size_t member_bytes;
    uint64_t number; /* in which order they were met */
};

struct search {
    struct call *call;
    enum search_form form;
    int may_store;       /* GEORADIUS and GEORADIUSBYMEMBER, not _RO */
    struct entry *entry; /* NULL: no such key */
    struct geohash_area area;
    double metres; /* of the unit */
    int from_member, from_place, by_radius, by_box;
    int with_distance, with_hash, with_place, any;
    enum search_order order;
    int64_t count; /* 0: all */
    int stores, store_distance;
    struct bytes target;
    struct found *found;
    size_t used, capacity;
    uint64_t met;
    struct bytes_builder members;
};

/* --- arguments --- */

/* ${metric} from argument ${index}, with ${text} as the error. */
static int parse_metric(struct search *search, size_t index, const char *text, double *metric_out) {
    if (number_parse_double(search->call->argv[index], metric_out) == 0) return 0;
    reply_error(search->call->reply, text);
    return FIRN_EINVALID;
}

static int parse_radius(struct search *search, size_t index) {
    int error = parse_metric(search, index, "need numeric radius", &search->area.radius);
    if (error != 0) return error;
    if (search->area.radius < 0) {
        reply_error(search->call->reply, "radius cannot be negative");
        return FIRN_EINVALID;
    }
    error = cmd_geo__unit(search->call, search->call->argv[index + 1], &search->metres);
    if (error == 0) search->area.radius *= search->metres;
    return error;
}

static int parse_box(struct search *search, size_t index) {
    struct geohash_area *area = &search->area;
    int error = parse_metric(search, index, "need numeric width", &area->width);
    if (error == 0) error = parse_metric(search, index + 1, "need numeric height", &area->height);
    if (error != 0) return error;
    if (area->width < 0 || area->height < 0) {
        reply_error(search->call->reply, "height or width cannot be negative");
        return FIRN_EINVALID;
    }
    error = cmd_geo__unit(search->call, search->call->argv[index + 2], &search->metres);
    if (error != 0) return error;
    area->is_box = 1;
    area->width *= search->metres;
    area->height *= search->metres;
    return 0;
}

static int parse_member(struct search *search, size_t index) {
    if (search->entry == NULL) return 0;
    int error = cmd_geo__member(search->entry, search->call->argv[index], &search->area.middle);
    if (error != FIRN_ENOTFOUND) return error;
    reply_error(search->call->reply, "could not decode requested zset member");
    return FIRN_EINVALID;
}

/* Options that GEOSEARCH and GEOSEARCHSTORE alone have. *taken_out: arguments behind the word, or -1 if ${i}
 * is none of them. */
static int parse_search_option(struct search *search, size_t i, int *taken_out) {
    struct call *call = search->call;
    size_t behind = call->argc - i - 1;
    *taken_out = -1;
    if (call_option(call, i, "frommember") && behind >= 1 && !search->from_place) {
        search->from_member = 1;
        *taken_out = 1;
        return parse_member(search, i + 1);
    }
    if (call_option(call, i, "fromlonlat") && behind >= 2 && !search->from_member) {
        search->from_place = 1;
        *taken_out = 2;
        return cmd_geo__place(call, i + 1, &search->area.middle);
    }
    if (call_option(call, i, "byradius") && behind >= 2 && !search->by_box) {
        search->by_radius = 1;
        *taken_out = 2;
        return parse_radius(search, i + 1);
    }
    if (call_option(call, i, "bybox") && behind >= 3 && !search->by_radius) {
        search->by_box = 1;
        *taken_out = 3;
        return parse_box(search, i + 1);
    }
    if (call_option(call, i, "storedist") && search->stores) {
        search->store_distance = 1;
        *taken_out = 0;
    }
    return 0;
}

/* STORE and STOREDIST of GEORADIUS and GEORADIUSBYMEMBER. As above. */
static int parse_store_option(struct search *search, size_t i, int *taken_out) {
    int distance = call_option(search->call, i, "storedist");
    *taken_out = -1;
    if ((!distance && !call_option(search->call, i, "store")) || i + 1 >= search->call->argc ||
        !search->may_store)
        return 0;
    search->stores = 1;
    search->store_distance = distance;
    search->target = search->call->argv[i + 1];
    *taken_out = 1;
    return 0;
}

static int parse_count(struct search *search, size_t index) {
    int error = call_integer(search->call, search->call->argv[index], &search->count);
    if (error != 0 || search->count > 0) return error;
    reply_error(search->call->reply, "COUNT must be > 0");
    return FIRN_EINVALID;
}

static int parse_options(struct search *search, size_t i) {
    struct call *call = search->call;
    for (; i < call->argc; i++) {
        int taken = 0, error = 0;
        if (call_option(call, i, "withdist")) {
            search->with_distance = 1;
        } else if (call_option(call, i, "withhash")) {
            search->with_hash = 1;
        } else if (call_option(call, i, "withcoord")) {
            search->with_place = 1;
        } else if (call_option(call, i, "any")) {
            search->any = 1;
        } else if (call_option(call, i, "asc")) {
            search->order = ORDER_ASCENDING;
        } else if (call_option(call, i, "desc")) {
            search->order = ORDER_DESCENDING;
        } else if (call_option(call, i, "count") && i + 1 < call->argc) {
            taken = 1;
            error = parse_count(search, i + 1);
        } else if (search->form == FORM_OPTIONS) {
            error = parse_search_option(search, i, &taken);
        } else {
            error = parse_store_option(search, i, &taken);
        }
        if (error == 0 && taken < 0) error = call_syntax_error(call);
        if (error != 0) return error;
        i += (size_t)taken;
    }
    return 0;
}

/* What goes together and what must be there. */
static int check_options(struct search *search) {
    struct reply *reply = search->call->reply;
    struct bytes name = search->call->argv[0];
    int options = search->form == FORM_OPTIONS;
    if (search->stores && (search->with_distance || search->with_hash || search->with_place)) {
        reply_error_format(reply, "%s is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                           options ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS");
    } else if (options && !search->from_member && !search->from_place) {
        reply_error_format(reply, "exactly one of FROMMEMBER or FROMLONLAT can be specified for %.*s",
                           (int)name.size, (const char *)name.data);
    } else if (options && !search->by_radius && !search->by_box) {
        reply_error_format(reply, "exactly one of BYRADIUS and BYBOX can be specified for %.*s",
                           (int)name.size, (const char *)name.data);
    } else if (search->any && search->count == 0) {
        reply_error(reply, "the ANY argument requires COUNT argument");
    } else {
        return 0;
    }
    return FIRN_EINVALID;
}

static int parse(struct search *search) {
    struct call *call = search->call;
    size_t options = search->stores ? 3 : 2;
    int error = 0;
    if (search->form == FORM_PLACE) {
        options = 6;
        error = cmd_geo__place(call, 2, &search->area.middle);
        if (error == 0) error = parse_radius(search, 4);
    } else if (search->form == FORM_MEMBER) {
        options = 5;
        error = parse_member(search, 2);
        if (error == 0 && search->entry != NULL) error = parse_radius(search, 3);
    }
    if (error == 0) error = parse_options(search, options);
    if (error == 0) error = check_options(search);
    /* the nearest ones are meant, unless any will do */
    if (search->order == ORDER_NONE && search->count > 0 && !search->any) search->order = ORDER_ASCENDING;
    return error;
}

/* --- the walk --- */

static int by_distance(const void *a_any, const void *b_any) {
    const struct found *a = a_any, *b = b_any;
    if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static int by_distance_down(const void *a_any, const void *b_any) {
    const struct found *a = a_any, *b = b_any;
    if (a->distance != b->distance) return a->distance > b->distance ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* Bring what was found into its order and drop what is more than asked for. */
static void arrange(struct search *search) {
    if (search->order != ORDER_NONE && search->used > 1)
        qsort(search->found, search->used, sizeof *search->found,
              search->order == ORDER_ASCENDING ? by_distance : by_distance_down);
    if (search->count > 0 && search->used > (uint64_t)search->count) search->used = (size_t)search->count;
}

/* The members of those that are left, alone. */
static void drop_members(struct search *search) {
    struct bytes_builder kept = {0};
    for (size_t i = 0; i < search->used; i++) {
        struct found *found = &search->found[i];
        size_t at = kept.size;
        bytes_builder_append(&kept, search->members.data + found->member_at, found->member_bytes);
        found->member_at = at;
    }
    bytes_builder_fini(&search->members);
    search->members = kept;
}

static int receive(struct bytes member, double score, void *ctx) {
    struct search *search = ctx;
    struct found found = {.score = score, .place = geohash_decode_score(score), .number = search->met++};
    if (!geohash_is_inside(&search->area, found.place, &found.distance)) return 0;
    if (search->used == search->capacity) {
        if (search->count > 0 && !search->any && search->used >= 2 * (uint64_t)search->count + FOUND_SPARE) {
            arrange(search);
            drop_members(search);
        } else {
            search->capacity = search->capacity == 0 ? 16 : search->capacity * 2;
            search->found = memory_realloc(search->found, search->capacity * sizeof *search->found);
        }
    }
    found.member_at = search->members.size;
    found.member_bytes = member.size;
    bytes_builder_append(&search->members, member.data, member.size);
    search->found[search->used++] = found;
    return search->any && search->used >= (uint64_t)search->count;
}

/* The elements of each range, both boundaries looked up before any page is waited for. */
static int find_spans(struct search *search, const struct geohash_range *ranges, unsigned count,
                      struct zset_span *spans_out) {
    int result = 0;
    for (unsigned i = 0; i < count; i++) {
        struct score_key from = {.kind = SCORE_KEY_SCORE, .score = (double)ranges[i].first};
        struct score_key to = {.kind = SCORE_KEY_SCORE, .score = (double)ranges[i].end};
        int error = zset_span(search->entry, &from, &to, &spans_out[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

static int touch_spans(struct search *search, const struct zset_span *spans, unsigned count) {
    int result = 0;
    if (search->any || zset_is_resident(search->entry)) return 0;
    for (unsigned i = 0; i < count; i++) {
        int error = zset_touch_span(search->entry, spans[i]);
        if (error != 0 && (result == 0 || error != FIRN_EFAULT)) result = error;
    }
    return result;
}

static int walk(struct search *search) {
    struct geohash_range ranges[GEOHASH_RANGES_MAX];
    struct zset_span spans[GEOHASH_RANGES_MAX];
    unsigned count = geohash_ranges(&search->area, ranges);
    int result = find_spans(search, ranges, count, spans);
    if (result == 0) result = touch_spans(search, spans, count);
    for (unsigned i = 0; result == 0 && i < count; i++) {
        struct zset_span part = spans[i];
        for (uint64_t left = spans[i].count; result == 0 && left > 0; left -= part.count) {
            part.count = search->any && left > ELEMENTS_AT_ONCE ? ELEMENTS_AT_ONCE : left;
            result = zset_each(search->entry, part, 0, receive, search);
            part.first += part.count;
        }
    }
    if (result < 0) return result;
    arrange(search);
    return 0;
}

/* --- the answer --- */

static struct bytes found_member(const struct search *search, size_t i) {
    return bytes_of(search->members.data + search->found[i].member_at, search->found[i].member_bytes);
}

static void reply_found(struct search *search) {
    struct reply *reply = search->call->reply;
    unsigned options =
        (unsigned)search->with_distance + (unsigned)search->with_hash + (unsigned)search->with_place;
    reply_array(reply, search->used);
    for (size_t i = 0; i < search->used; i++) {
        const struct found *found = &search->found[i];
        if (options > 0) reply_array(reply, options + 1);
        reply_bulk(reply, found_member(search, i));
        if (search->with_distance) cmd_geo__reply_distance(search->call, found->distance / search->metres);
        if (search->with_hash) reply_integer(reply, (int64_t)found->score);
        if (search->with_place) cmd_geo__reply_place(search->call, found->place);
    }
}

/* A sorted set of what was found; NULL if nothing was. */
static int make_result(struct search *search, struct entry **result_out) {
    size_t longest = 0;
    *result_out = NULL;
    for (size_t i = 0; i < search->used; i++) {
        if (search->found[i].member_bytes > longest) longest = search->found[i].member_bytes;
    }
    if (search->used == 0) return 0;
    struct entry *result = zset_create(search->target, search->used, longest);
    int error = 0;
    for (size_t i = 0; error == 0 && i < search->used; i++) {
        const struct found *found = &search->found[i];
        enum zset_outcome outcome;
        double score = search->store_distance ? found->distance / search->metres : found->score;
        error = zset_put(result, found_member(search, i), score, 0, &outcome, &score);
    }
    if (error != 0) {
        cmd_geo__discard(result);
        return error;
    }
    zset_settle_encoding(result, longest);
    *result_out = result;
    return 0;
}

static int store_found(struct search *search) {
    struct call *call = search->call;
    struct bytes key = search->target;
    struct entry *old, *result;
    int error = call_find_write(call, key, &old);
    if (error == 0) error = make_result(search, &result);
    if (error != 0) return error;
    if (result != NULL) {
        if (old != NULL) {
            db_replace(call->db, db_changing(call->db, old), result);
        } else {
            db_insert(call->db, result);
        }
        call_changed_elements(call, key, search->used);
        call_notify(call, NOTIFY_ZSET, search->form == FORM_OPTIONS ? "geosearchstore" : "georadiusstore",
                    key);
    } else if (old != NULL) {
        db_delete(call->db, db_changing(call->db, old));
        call_changed(call, key);
        call_notify(call, NOTIFY_GENERIC, "del", key);
    }
    reply_integer(call->reply, (int64_t)search->used);
    return 0;
}

static int search_run(struct search *search, struct bytes source) {
    int error = call_find_read_type(search->call, source, TYPE_ZSET, &search->entry);
    if (error == 0) error = parse(search);
    if (error == 0 && search->entry != NULL) error = walk(search);
    if (error != 0) return error;
    if (search->stores) return store_found(search);
    reply_found(search);
    return 0;
}

static int search_generic(struct call *call, enum search_form form, int may_store, int stores) {
    struct search search = {
        .call = call, .form = form, .may_store = may_store, .stores = stores, .metres = 1};
    if (stores) search.target = call->argv[1];
    int error = search_run(&search, call->argv[stores ? 2 : 1]);
    memory_free(search.found);
    bytes_builder_fini(&search.members);
    return call_error(error);
}

int cmd_georadius(struct call *call) {
    return search_generic(call, FORM_PLACE, 1, 0);
}
int cmd_georadius_ro(struct call *call) {
    return search_generic(call, FORM_PLACE, 0, 0);
}
int cmd_georadiusbymember(struct call *call) {
    return search_generic(call, FORM_MEMBER, 1, 0);
}
int cmd_georadiusbymember_ro(struct call *call) {
    return search_generic(call, FORM_MEMBER, 0, 0);
}
int cmd_geosearch(struct call *call) {
    return search_generic(call, FORM_OPTIONS, 0, 0);
}
int cmd_geosearchstore(struct call *call) {
    return search_generic(call, FORM_OPTIONS, 0, 1);
}
