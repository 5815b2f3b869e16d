/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The member pages of a large sorted set: a packed collection, field = member, value = score. A score
 * that is an integer below 2^53 takes as many bytes as it needs (none for 0), little-endian two's complement;
 * others, and -0, are 8 bytes of binary64.
 */
#include "types/zset_internal.h"

#define SCORE_BYTES_MAX   8u
#define INTEGER_SCORE_MAX 9007199254740992.0 /* 2^53 */

/* --- scores as values --- */

static struct bytes pack_score(double score, uint8_t out[SCORE_BYTES_MAX]) {
    uint64_t bits;
    memcpy(&bits, &score, sizeof bits);
    if (score > -INTEGER_SCORE_MAX && score < INTEGER_SCORE_MAX && bits != UINT64_C(1) << 63) {
        int64_t number = (int64_t)score;
        if ((double)number == score) {
            uint64_t magnitude = (uint64_t)(number < 0 ? ~number : number);
            unsigned bits_used = magnitude == 0 ? 0 : 64u - (unsigned)__builtin_clzll(magnitude);
            bytes_store64(out, (uint64_t)number);
            return bytes_of(out, number == 0 ? 0 : bits_used / 8 + 1);
        }
    }
    bytes_store64(out, bits);
    return bytes_of(out, SCORE_BYTES_MAX);
}

int zset_page_score(struct bytes value, double *score_out) {
    uint64_t bits = 0;
    if (value.size > SCORE_BYTES_MAX) return FIRN_ECORRUPT;
    if (value.size > 0) memcpy(&bits, value.data, value.size);
    if (value.size == SCORE_BYTES_MAX) {
        memcpy(score_out, &bits, sizeof bits);
        return *score_out == *score_out ? 0 : FIRN_ECORRUPT;
    }
    unsigned shift = 64 - 8 * (unsigned)value.size;
    *score_out = value.size == 0 ? 0.0 : (double)((int64_t)(bits << shift) >> shift);
    return 0;
}

/* --- members --- */

int zset_members__find(struct zset_object *object, uint64_t hash, struct bytes member,
                       enum zset__reading reading, double *score_out) {
    struct packed_slot slot;
    struct packed_entry found;
    packed_slot_open_in(&object->members, hash, &slot);
    int error = packed_slot_find(&slot, member, reading == ZSET__PROMOTE, &found);
    return error != 0 ? error : zset_page_score(found.value, score_out);
}

int zset_members__touch(const struct zset_object *object, uint64_t hash) {
    return packed_touch_ref(*page_directory_ref(&object->members.directory, hash));
}

int zset_members__plan(struct zset_object *object, uint64_t hash, struct bytes member, double score,
                       struct zset_members__change *change) {
    uint8_t text[SCORE_BYTES_MAX];
    packed_slot_open_in(&object->members, hash, &change->slot);
    int error = packed_slot_plan(&change->slot, member, pack_score(score, text).size, 0, 0, &change->plan);
    if (error != 0) return error;
    change->exists = !change->plan.is_new;
    change->old = 0;
    return change->exists ? zset_page_score(change->plan.found.value, &change->old) : 0;
}

int zset_members__apply(struct zset_members__change *change, struct bytes member, double score) {
    uint8_t text[SCORE_BYTES_MAX];
    struct bytes value = pack_score(score, text);
    int error = 0;
    if (value.size != change->plan.value_bytes)
        error = packed_slot_plan(&change->slot, member, value.size, 0, 0, &change->plan);
    return error != 0 ? error : packed_slot_put(&change->slot, &change->plan, member, value);
}

int zset_members__put(struct zset_object *object, uint64_t hash, struct bytes member, double score) {
    struct zset_members__change change;
    int error = zset_members__plan(object, hash, member, score, &change);
    return error != 0 ? error : zset_members__apply(&change, member, score);
}

int zset_members__remove(struct zset_object *object, uint64_t hash, struct bytes member) {
    struct packed_slot slot;
    struct packed_entry found;
    struct bytes payload;
    packed_slot_open_in(&object->members, hash, &slot);
    int error = packed_slot_read_to_change(&slot, &payload);
    if (error == 0)
        error = payload.size > 0 ? packed_page_find(payload, hash, member, &found) : FIRN_ENOTFOUND;
    return error != 0 ? error : packed_slot_remove(&slot, payload, &found, NULL, NULL);
}

size_t zset_member_pages(const struct entry *entry, uint64_t *refs_out, uint64_t *starts_out) {
    const struct zset_object *object = zset__object(entry);
    if (object == NULL) return 0;
    if (refs_out == NULL) return object->members.head.pages - object->tree.leaves;
    return page_directory_ranges(&object->members.directory, refs_out, starts_out);
}
