/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The types there are, the thresholds of their encodings, and the reaper of detached objects.
 *
 * T1 A detached object is not registered (object.c): nobody demotes its pages any more.
 */
#include "types/type.h"

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/hash.h"
#include "base/memory.h"
#include "page/page.h"

/* A type joins here: its ops, and below the RDB types it reads. */
extern const struct type_ops type_string_ops;
extern const struct type_ops type_hash_ops;
extern const struct type_ops type_list_ops;
extern const struct type_ops type_set_ops;
extern const struct type_ops type_zset_ops;
extern const struct type_ops type_stream_ops;
extern const struct type_ops type_held_ops; /* no value, but pages (held_pages.h) */

static const struct type_ops *const type_table[TYPE_COUNT] = {
    [TYPE_STRING] = &type_string_ops, [TYPE_LIST] = &type_list_ops, [TYPE_SET] = &type_set_ops,
    [TYPE_ZSET] = &type_zset_ops,     [TYPE_HASH] = &type_hash_ops, [TYPE_STREAM] = &type_stream_ops,
    [TYPE_HELD] = &type_held_ops,
};

struct type_limits type_limits = {
    .hash_max_listpack_entries = 128,
    .hash_max_listpack_value = 64,
    .set_max_intset_entries = 512,
    .set_max_listpack_entries = 128,
    .set_max_listpack_value = 64,
    .zset_max_listpack_entries = 128,
    .zset_max_listpack_value = 64,
    .list_max_listpack_size = -2,
    .stream_node_max_bytes = 4096,
    .stream_node_max_entries = 100,
    .hll_sparse_max_bytes = 3000,
    .string_bytes_max = 512u << 20,
};

int type_keeps_hot = 1;

const char *type_name(enum type_id type) {
    static const char *const names[TYPE_COUNT] = {
        [TYPE_STRING] = "string", [TYPE_LIST] = "list",     [TYPE_SET] = "set",       [TYPE_ZSET] = "zset",
        [TYPE_HASH] = "hash",     [TYPE_STREAM] = "stream", [TYPE_MODULE] = "module", [TYPE_HELD] = "held",
    };
    return (unsigned)type < TYPE_COUNT ? names[type] : "unknown";
}

const struct type_ops *type_ops(enum type_id type) {
    return (unsigned)type < TYPE_COUNT ? type_table[type] : NULL;
}

const struct type_ops *type_ops_for_rdb(uint8_t rdb_type) {
    switch (rdb_type) {
    case 0: return type_table[TYPE_STRING];
    case 1:  /* elements */
    case 10: /* ziplist */
    case 14: /* ziplists */
    case 18: /* listpacks and plain elements */ return type_table[TYPE_LIST];
    case 2:  /* members */
    case 11: /* integers */
    case 20: /* listpack of members */ return type_table[TYPE_SET];
    case 3:  /* members and scores as text */
    case 5:  /* members and scores as binary64 */
    case 12: /* ziplist of members and scores */
    case 17: /* listpack of them */ return type_table[TYPE_ZSET];
    case 4:  /* fields and values */
    case 9:  /* zipmap */
    case 13: /* ziplist */
    case 16: /* listpack */
    case 22: /* with field TTLs, forms of the 7.4 release candidates */
    case 23:
    case 24: /* fields with TTLs */
    case 25: /* listpack with TTLs */ return type_table[TYPE_HASH];
    case 15: /* nodes and groups */
    case 19: /* and counters */
    case 21: /* and when consumers were active */ return type_table[TYPE_STREAM];
    default: return NULL;
    }
}

struct type_part_hooks type_part_hooks;

int type_encode_part(struct bytes_builder *out, uint8_t rdb_type) {
    if (type_part_hooks.take == NULL || out->size < TYPE_ENCODE_PART_BYTES) return 0;
    return type_part_hooks.take(out, rdb_type);
}

int type_decode_part(void) {
    return type_part_hooks.make_room != NULL ? type_part_hooks.make_room() : 0;
}

int type_decode_spills(const struct entry *entry) {
    if (type_part_hooks.spill_pages == 0 || page_ref_tag(entry_ref(entry)) != PAGE_TAG_OBJECT) return 0;
    const struct object *object = page_ref_object(entry_ref(entry));
    return object->pages >= type_part_hooks.spill_pages && type_part_hooks.spill_ready();
}

int type_decode_spill(struct bytes name, struct bytes value, int64_t number) {
    struct type_spilled element = {.name = name, .value = value, .number = number};
    return type_part_hooks.spill(hash_key(name), &element);
}

int type_decode_unspill(type_spilled_receive *receive, void *ctx) {
    return type_part_hooks.unspill(receive, ctx);
}

static struct object **reaper;
static size_t reaper_count;
static size_t reaper_capacity;

void type_reap_later(struct object *object) {
    object_unregister(object);
    if (reaper_count == reaper_capacity) {
        reaper_capacity = reaper_capacity == 0 ? 16 : reaper_capacity * 2;
        reaper = memory_realloc(reaper, reaper_capacity * sizeof *reaper);
    }
    reaper[reaper_count++] = object;
}

int type_reap_some(unsigned pages) {
    while (reaper_count > 0 && pages > 0) {
        struct object *object = reaper[reaper_count - 1];
        unsigned slice = object->pages < pages ? object->pages : pages;
        const struct type_ops *ops = type_ops((enum type_id)object->type);
        if (!ops->reap(object, slice > 0 ? slice : 1)) reaper_count--;
        pages -= slice > 0 ? slice : 1;
    }
    if (reaper_count == 0) {
        memory_free(reaper);
        reaper = NULL;
        reaper_capacity = 0;
    }
    return reaper_count > 0;
}

size_t type_reap_pending(void) {
    return reaper_count;
}
