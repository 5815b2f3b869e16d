/* SPDX-License-Identifier: BSD-3-Clause */
/* TIER: where a value is, and moving it by hand. Executor only; DEMOTE waits for the device. */
#include <inttypes.h>

#include "cmd/call.h"
#include "keyspace/db_string.h"
#include "keyspace/evict.h"
#include "page/page.h"
#include "tiering/tier.h"
#include "types/type.h"

#define DEMOTE_BATCH 64

/* The key of argv[2], untouched. *entry_out NULL: the error is written. */
static int find_key(struct call *call, struct entry **entry_out) {
    int error =
        db_find(call->db, call->argv[2], LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY, entry_out);
    if (error == 0 && *entry_out == NULL) reply_error(call->reply, "no such key");
    return error;
}

static struct object *object_of(const struct entry *entry) {
    int with_ref = (entry->flags & ENTRY_REF) != 0;
    return with_ref && page_ref_tag(entry_ref(entry)) == PAGE_TAG_OBJECT ? page_ref_object(entry_ref(entry))
                                                                         : NULL;
}

/* --- WHERE --- */

struct places {
    uint64_t dram, pmem, nvme; /* pages; a value inside its entry counts as one */
    int clean;                 /* in DRAM with a valid copy below */
};

static void count_object(struct entry *entry, const struct object *object, unsigned db,
                         struct places *places_out) {
    struct tier_victim victims[DEMOTE_BATCH];
    uint64_t cursor = 0;
    places_out->dram = object->pages_dram;
    do
        places_out->pmem += evict_victims_of(entry, db, PAGE_TAG_PMEM, &cursor, victims, DEMOTE_BATCH);
    while (cursor != 0);
    places_out->nvme = object->pages - object->pages_dram > places_out->pmem
                           ? object->pages - object->pages_dram - places_out->pmem
                           : 0;
}

static void count_pages(struct entry *entry, unsigned db, struct places *places_out) {
    const struct object *object = object_of(entry);
    *places_out = (struct places){0};
    if (object != NULL) {
        count_object(entry, object, db, places_out);
        return;
    }
    enum page_tag tag = entry->flags & ENTRY_INLINE ? PAGE_TAG_DRAM : page_ref_tag(entry_ref(entry));
    places_out->dram = tag == PAGE_TAG_DRAM;
    places_out->pmem = tag == PAGE_TAG_PMEM;
    places_out->nvme = tag == PAGE_TAG_NVME;
    if (entry->flags & ENTRY_INLINE)
        places_out->clean = entry_ref(entry) != 0 || (entry->flags & ENTRY_BUNDLED) != 0;
    else if (tag == PAGE_TAG_DRAM && entry_ref(entry) != 0)
        places_out->clean = page_ref_dram(entry_ref(entry))->lower != 0;
}

static const char *place_name(const struct places *places) {
    if (places->pmem == 0 && places->nvme == 0) return "dram";
    if (places->dram == 0 && places->nvme == 0) return "pmem";
    if (places->dram == 0 && places->pmem == 0) return "nvme";
    return "mixed";
}

static void reply_pair(struct call *call, const char *name, uint64_t value) {
    reply_bulk_text(call->reply, name);
    reply_integer(call->reply, (int64_t)value);
}

int cmd_tier_where(struct call *call) {
    struct entry *entry;
    struct places places;
    if (db_is_sunk(call->db, call->argv[2])) { /* asking where it is must not bring it up */
        reply_map(call->reply, 2);
        reply_bulk_text(call->reply, "tier");
        reply_bulk_text(call->reply, "nvme");
        reply_bulk_text(call->reply, "key");
        reply_bulk_text(call->reply, "nvme");
        return 0;
    }
    CALL_TRY(find_key(call, &entry));
    if (entry == NULL) return 0;
    count_pages(entry, db_index(call->db), &places);
    const struct type_ops *ops = type_ops(entry_type(entry));
    reply_map(call->reply, 12);
    reply_bulk_text(call->reply, "tier");
    reply_bulk_text(call->reply, place_name(&places));
    reply_bulk_text(call->reply, "key");
    reply_bulk_text(call->reply, "dram");
    reply_bulk_text(call->reply, "type");
    reply_bulk_text(call->reply, type_name(entry_type(entry)));
    reply_bulk_text(call->reply, "encoding");
    reply_bulk_text(call->reply, encoding_name(entry_encoding(entry)));
    reply_pair(call, "size", entry->size);
    reply_pair(call, "dram_bytes", entry_memory(entry) + (ops->memory != NULL ? ops->memory(entry, 0) : 0));
    reply_pair(call, "pages", places.dram + places.pmem + places.nvme);
    reply_pair(call, "pages_dram", places.dram);
    reply_pair(call, "pages_pmem", places.pmem);
    reply_pair(call, "pages_nvme", places.nvme);
    reply_pair(call, "clean", (uint64_t)places.clean);
    reply_pair(call, "pinned", (entry->flags & ENTRY_PINNED) != 0);
    return 0;
}

/* --- DEMOTE --- */

/* A sweep that comes around within a batch offers a page twice. */
static int is_repeated(const struct tier_victim *victims, unsigned index) {
    for (unsigned i = 0; i < index; i++) {
        if (victims[i].ref == victims[index].ref && victims[i].owner == victims[index].owner) return 1;
    }
    return 0;
}

/* Move what of the key is in ${from} to ${to}, in batches, looking the key up again each time as its entry
 * may move. */
static int demote_from(struct call *call, enum page_tag from, enum page_tag to, uint64_t *moved_inout) {
    uint64_t cursor = 0;
    do {
        struct tier_victim victims[DEMOTE_BATCH];
        struct entry *entry;
        int error =
            db_find(call->db, call->argv[2], LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY, &entry);
        if (error != 0 || entry == NULL) return error;
        unsigned count =
            evict_victims_of(entry, db_index(call->db), (int)from, &cursor, victims, DEMOTE_BATCH);
        for (unsigned i = 0; i < count; i++) {
            if (is_repeated(victims, i)) continue;
            error = tier_demote_now(&victims[i], to);
            if (error != 0) return error;
            ++*moved_inout;
        }
    } while (cursor != 0);
    return 0;
}

static void reply_demoted(struct call *call, int error, enum page_tag to, uint64_t moved) {
    const char *name = to == PAGE_TAG_PMEM ? "pmem" : "nvme";
    struct entry *entry = NULL;
    struct places places = {0};
    if (error == FIRN_ENOSPACE)
        reply_error_format(call->reply, "tier %s is full", name);
    else if (error == FIRN_EBUSY || error == FIRN_EAGAIN)
        reply_error(call->reply, "the value is being moved already, try again");
    else if (error != 0)
        reply_error_format(call->reply, "tier %s: %s", name, error_text(error));
    else if (find_key(call, &entry) == 0 && entry != NULL) {
        count_pages(entry, db_index(call->db), &places);
        if (moved == 0 && places.dram > 0 && entry->size > 0)
            reply_error(call->reply,
                        "the value cannot be moved now: it is too small, or it is being moved already");
        else
            reply_ok(call->reply);
    }
}

int cmd_tier_demote(struct call *call) {
    struct entry *entry;
    enum page_tag to = tier_has(PAGE_TAG_PMEM) ? PAGE_TAG_PMEM : PAGE_TAG_NVME;
    if (call->argc > 4 ||
        (call->argc == 4 && !call_option(call, 3, "pmem") && !call_option(call, 3, "nvme"))) {
        call_syntax_error(call);
        return 0;
    }
    if (call->argc == 4) to = call_option(call, 3, "pmem") ? PAGE_TAG_PMEM : PAGE_TAG_NVME;
    if (to == PAGE_TAG_NVME && db_is_sunk(call->db, call->argv[2])) {
        reply_ok(call->reply);
        return 0;
    }
    CALL_TRY(find_key(call, &entry));
    if (entry == NULL) return 0;
    if (!tier_has(to)) {
        reply_error_format(call->reply, "there is no %s tier: set %s and %s",
                           to == PAGE_TAG_PMEM ? "pmem" : "nvme",
                           to == PAGE_TAG_PMEM ? "tier-pmem-path" : "tier-nvme-path",
                           to == PAGE_TAG_PMEM ? "tier-pmem-size" : "tier-nvme-size");
        return 0;
    }
    if (entry->flags & ENTRY_PINNED) {
        reply_error(call->reply, "the key is pinned, TIER UNPIN it first");
        return 0;
    }
    uint64_t moved = 0;
    int error = demote_from(call, PAGE_TAG_DRAM, to, &moved);
    if (error == 0 && to == PAGE_TAG_NVME && tier_has(PAGE_TAG_PMEM))
        error = demote_from(call, PAGE_TAG_PMEM, to, &moved);
    reply_demoted(call, error, to, moved);
    return 0;
}

/* --- PROMOTE --- */

static int receive_nothing(const struct type_element *element, void *ctx) {
    (void)element;
    (void)ctx;
    return 0;
}

int cmd_tier_promote(struct call *call) {
    struct entry *entry;
    CALL_TRY(find_key(call, &entry));
    if (entry == NULL) return 0;
    page_promote_all(1);
    int error = entry_type(entry) == TYPE_STRING ? db_string_warm(call->db, &entry) : 0;
    if (error == 0) error = type_ops(entry_type(entry))->walk(entry, receive_nothing, NULL);
    page_promote_all(0);
    if (error != 0) return error;
    reply_ok(call->reply);
    return 0;
}

/* --- PIN, UNPIN, STATS, HELP --- */

static int set_pinned(struct call *call, int pinned) {
    struct entry *entry;
    CALL_TRY(find_key(call, &entry));
    if (entry == NULL) return 0;
    if (pinned)
        entry->flags |= ENTRY_PINNED;
    else
        entry->flags &= (uint8_t)~ENTRY_PINNED;
    object_set_pinned(entry);
    reply_ok(call->reply);
    return 0;
}

int cmd_tier_pin(struct call *call) {
    return set_pinned(call, 1);
}

int cmd_tier_unpin(struct call *call) {
    return set_pinned(call, 0);
}

static void reply_latency(struct call *call, const char *name, const struct tier_latency *latency) {
    reply_bulk_text(call->reply, name);
    reply_map(call->reply, 5);
    reply_pair(call, "count", latency->count);
    reply_pair(call, "p50", latency->p50_us);
    reply_pair(call, "p99", latency->p99_us);
    reply_pair(call, "p99.9", latency->p999_us);
    reply_pair(call, "max", latency->max_us);
}

static void reply_tier(struct call *call, const char *name, enum page_tag tag) {
    struct tier_stats stats;
    tier_stats(tag, &stats);
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {{"keys", stats.keys},
                    {"pages", stats.pages},
                    {"bytes_live", stats.bytes_live},
                    {"bytes_occupied", stats.bytes_occupied},
                    {"bytes_max", stats.bytes_max},
                    {"hits", stats.hits},
                    {"reads", stats.reads},
                    {"read_bytes", stats.read_bytes},
                    {"writes", stats.writes},
                    {"write_bytes", stats.write_bytes},
                    {"clean_drops", stats.clean_drops},
                    {"demotions", stats.demotions},
                    {"promotions", stats.promotions},
                    {"discards", stats.discards},
                    {"cancelled", stats.cancelled},
                    {"device_read_bytes", stats.device_read_bytes},
                    {"device_write_bytes", stats.device_write_bytes},
                    {"errors", stats.errors},
                    {"corruptions", stats.corruptions}};
    size_t count = sizeof counters / sizeof *counters;
    reply_bulk_text(call->reply, name);
    reply_map(call->reply, count + 2);
    for (size_t i = 0; i < count; i++)
        reply_pair(call, counters[i].name, counters[i].value);
    reply_latency(call, "read_latency_usec", &stats.read_latency);
    reply_latency(call, "write_latency_usec", &stats.write_latency);
}

static void reply_totals(struct call *call) {
    struct tier_totals totals;
    tier_totals(&totals);
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {{"memory_used", totals.memory_used},
                    {"memory_target", totals.memory_target},
                    {"memory_high", totals.memory_high},
                    {"memory_max", totals.memory_max},
                    {"backend_memory", totals.backend_memory},
                    {"read_buffer_bytes", totals.read_buffer_bytes},
                    {"faults", totals.faults},
                    {"sync_faults", totals.sync_faults},
                    {"parked_readers", totals.parked_readers},
                    {"parked_writers", totals.parked_writers},
                    {"reads_in_flight", totals.reads_in_flight},
                    {"write_bytes_in_flight", totals.write_bytes_in_flight},
                    {"delayed_writers_total", totals.delayed_writers_total},
                    {"parked_writers_total", totals.parked_writers_total},
                    {"refused_writers_total", totals.refused_writers_total}};
    size_t count = sizeof counters / sizeof *counters;
    reply_bulk_text(call->reply, "totals");
    reply_map(call->reply, count + 1);
    reply_bulk_text(call->reply, "zone");
    reply_bulk_text(call->reply, tier_zone_name(totals.zone));
    for (size_t i = 0; i < count; i++)
        reply_pair(call, counters[i].name, counters[i].value);
}

int cmd_tier_stats(struct call *call) {
    reply_map(call->reply,
              2u + (unsigned)(tier_has(PAGE_TAG_PMEM) != 0) + (unsigned)(tier_has(PAGE_TAG_NVME) != 0));
    reply_totals(call);
    reply_tier(call, "dram", PAGE_TAG_DRAM);
    if (tier_has(PAGE_TAG_PMEM)) reply_tier(call, "pmem", PAGE_TAG_PMEM);
    if (tier_has(PAGE_TAG_NVME)) reply_tier(call, "nvme", PAGE_TAG_NVME);
    return 0;
}

int cmd_tier_help(struct call *call) {
    static const char *const lines[] = {
        "DEMOTE <key> [PMEM|NVME]",
        "    Move the value down now, by default to the next tier there is.",
        "PIN <key>",
        "    Keep the value in DRAM; it is never moved down.",
        "PROMOTE <key>",
        "    Bring the value into DRAM now.",
        "STATS",
        "    Show the counters of all tiers.",
        "UNPIN <key>",
        "    Take back PIN.",
        "WHERE <key>",
        "    Show in which tier the value is, page by page counted.",
        NULL,
    };
    return call_help(call, lines);
}
