/* SPDX-License-Identifier: BSD-3-Clause */
/* MEMORY: what keys take, and the whole. */
#include <stdio.h>

#include "base/allocator.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/server_hooks.h"
#include "net/net.h"
#include "tiering/tier.h"
#include "types/type.h"

#define SAMPLES_DEFAULT  5
#define TABLE_SLOT_BYTES 10 /* a key's share of its database's table */

int cmd_memory_usage(struct call *call) {
    int64_t samples = SAMPLES_DEFAULT;
    struct entry *entry;
    for (size_t i = 3; i < call->argc; i += 2) {
        if (!call_option(call, i, "samples") || i + 1 >= call->argc) {
            call_syntax_error(call);
            return 0;
        }
        CALL_TRY(call_integer(call, call->argv[i + 1], &samples));
        if (samples < 0) {
            call_syntax_error(call);
            return 0;
        }
    }
    CALL_TRY(db_find(call->db, call->argv[2], LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY, &entry));
    if (entry == NULL) {
        reply_null(call->reply);
        return 0;
    }
    const struct type_ops *ops = type_ops(entry_type(entry));
    size_t value = ops->memory != NULL ? ops->memory(entry, (size_t)samples) : 0;
    reply_integer(call->reply, (int64_t)(entry_memory(entry) + TABLE_SLOT_BYTES + value));
    return 0;
}

/* --- STATS --- */

struct memory_numbers {
    uint64_t used, resident, clients, overhead, dataset, keys;
    struct server_numbers server;
    struct allocator_stats allocator;
};

static void collect(struct memory_numbers *numbers) {
    numbers->used = tier_memory_used();
    /* Without mapped files: a PMEM tier is one, and is no memory of ours. */
    numbers->resident = memory_resident_anonymous();
    if (numbers->resident == 0) numbers->resident = memory_resident();
    numbers->clients = net_clients_memory();
    server_hooks.numbers(&numbers->server);
    if (numbers->server.memory_peak < numbers->used) numbers->server.memory_peak = numbers->used;
    allocator_stats(&numbers->allocator);
    numbers->overhead = numbers->server.memory_startup + numbers->clients;
    numbers->keys = 0;
    for (unsigned i = 0; i < db_count(); i++) {
        numbers->overhead += db_overhead_bytes(db_at(i));
        numbers->keys += db_size(db_at(i));
    }
    numbers->dataset = numbers->used > numbers->overhead ? numbers->used - numbers->overhead : 0;
}

static double ratio(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : (double)part / (double)whole;
}

static void put_integer(struct call *call, const char *name, uint64_t value, size_t *count_inout) {
    reply_bulk_text(call->reply, name);
    reply_integer(call->reply, (int64_t)value);
    ++*count_inout;
}

static void put_double(struct call *call, const char *name, double value, size_t *count_inout) {
    reply_bulk_text(call->reply, name);
    reply_double(call->reply, value);
    ++*count_inout;
}

static void put_databases(struct call *call, size_t *count_inout) {
    for (unsigned i = 0; i < db_count(); i++) {
        size_t inner = 0;
        if (db_size(db_at(i)) == 0) continue;
        reply_bulk_format(call->reply, "db.%u", i);
        reply_map(call->reply, 2);
        put_integer(call, "overhead.hashtable.main", db_overhead_bytes(db_at(i)), &inner);
        put_integer(call, "overhead.hashtable.expires", 0, &inner); /* part of the one above */
        ++*count_inout;
    }
}

int cmd_memory_stats(struct call *call) {
    struct memory_numbers n;
    size_t count = 0;
    collect(&n);
    uint64_t net_used = n.used > n.server.memory_startup ? n.used - n.server.memory_startup : 0;
    struct reply_later later = reply_later_open(call->reply, '%');
    put_integer(call, "peak.allocated", n.server.memory_peak, &count);
    put_integer(call, "total.allocated", n.used, &count);
    put_integer(call, "startup.allocated", n.server.memory_startup, &count);
    put_integer(call, "replication.backlog", 0, &count);
    put_integer(call, "clients.slaves", 0, &count);
    put_integer(call, "clients.normal", n.clients, &count);
    put_integer(call, "cluster.links", 0, &count);
    put_integer(call, "aof.buffer", 0, &count);
    put_integer(call, "lua.caches", 0, &count);
    put_integer(call, "functions.caches", 0, &count);
    put_databases(call, &count);
    put_integer(call, "overhead.db.hashtable.lut", n.overhead - n.server.memory_startup - n.clients, &count);
    put_integer(call, "overhead.db.hashtable.rehashing", 0, &count);
    put_integer(call, "db.dict.rehashing.count", 0, &count);
    put_integer(call, "overhead.total", n.overhead, &count);
    put_integer(call, "keys.count", n.keys, &count);
    put_integer(call, "keys.bytes-per-key", n.keys ? net_used / n.keys : 0, &count);
    put_integer(call, "dataset.bytes", n.dataset, &count);
    put_double(call, "dataset.percentage", 100 * ratio(n.dataset, net_used), &count);
    put_double(call, "peak.percentage", 100 * ratio(n.used, n.server.memory_peak), &count);
    put_integer(call, "allocator.allocated", n.allocator.allocated, &count);
    put_integer(call, "allocator.active", n.allocator.active, &count);
    put_integer(call, "allocator.resident", n.allocator.resident, &count);
    put_integer(call, "allocator.muzzy", n.allocator.muzzy, &count);
    put_double(call, "allocator-fragmentation.ratio", ratio(n.allocator.active, n.allocator.allocated),
               &count);
    put_integer(call, "allocator-fragmentation.bytes", n.allocator.active - n.allocator.allocated, &count);
    put_double(call, "allocator-rss.ratio", ratio(n.allocator.resident, n.allocator.active), &count);
    put_integer(call, "allocator-rss.bytes", n.allocator.resident - n.allocator.active, &count);
    put_double(call, "rss-overhead.ratio", ratio(n.resident, n.allocator.resident), &count);
    put_integer(call, "rss-overhead.bytes", n.resident - n.allocator.resident, &count);
    put_double(call, "fragmentation", ratio(n.resident, n.used), &count);
    put_integer(call, "fragmentation.bytes", n.resident - n.used, &count);
    reply_later_close(call->reply, later, count);
    return 0;
}

int cmd_memory_doctor(struct call *call) {
    struct memory_numbers n;
    struct bytes_builder text = {0};
    struct tier_totals tiers;
    collect(&n);
    tier_totals(&tiers);
    if (n.used < (5u << 20)) {
        bytes_builder_append_text(&text,
                                  "Hi Sam, this instance is empty or is using very little memory: there is "
                                  "nothing to look at yet.");
    } else {
        if (n.server.memory_peak > n.used + n.used / 2)
            bytes_builder_append_text(&text,
                                      " * Peak memory: the peak was more than 1.5 times what is used now. "
                                      "The allocator may keep some of it.\n");
        if (ratio(n.resident, n.used) > 1.4 && n.resident > n.used + (10u << 20))
            bytes_builder_append_text(&text,
                                      " * Fragmentation: the process holds over 1.4 times the memory it "
                                      "uses. MEMORY PURGE may give some back.\n");
        if (tiers.zone >= TIER_ZONE_DELAY)
            bytes_builder_append_text(&text,
                                      " * Tiers: writers are slowed down, data comes in faster than the "
                                      "lower tiers take it. Look at INFO tiering.\n");
        if (n.server.maxmemory > 0 && !tier_enabled() && n.used > (uint64_t)n.server.maxmemory / 10 * 9)
            bytes_builder_append_text(&text,
                                      " * Limit: over 90% of maxmemory is used and no lower tier is "
                                      "configured (tier-pmem-path, tier-nvme-path).\n");
        if (text.size == 0)
            bytes_builder_append_text(&text, "Hi Sam, I can't find any memory issue in your instance.");
    }
    reply_verbatim(call->reply, "txt", bytes_builder_bytes(&text));
    bytes_builder_fini(&text);
    return 0;
}

int cmd_memory_purge(struct call *call) {
    memory_purge();
    reply_ok(call->reply);
    return 0;
}

int cmd_memory_malloc_stats(struct call *call) {
    struct bytes_builder text = {0};
    if (allocator_report(&text) == 0)
        reply_verbatim(call->reply, "txt", bytes_builder_bytes(&text));
    else
        reply_bulk_text(call->reply, "Stats not supported for the current allocator");
    bytes_builder_fini(&text);
    return 0;
}

int cmd_memory_help(struct call *call) {
    static const char *const lines[] = {
        "DOCTOR",
        "    Say what looks wrong with memory.",
        "MALLOC-STATS",
        "    Show the allocator's own report.",
        "PURGE",
        "    Ask the allocator to give free memory back.",
        "STATS",
        "    Show what memory is used for.",
        "USAGE <key> [SAMPLES <count>]",
        "    Show the bytes of DRAM that a key and its value take. 0 samples: count everything.",
        NULL,
    };
    return call_help(call, lines);
}
