/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading: every version from 1 to RDB_VERSION_READ, a bounded part per step.
 *
 * The file is mapped, so a value of any size is read where it is; what was read is let go of every DROP_US,
 * so that it does not look like memory in use. A device that fails to read it, or somebody who cuts it off
 * meanwhile, is a SIGBUS here: that is said, and ends the process (on_bus_error). The checksum is computed
 * over each part as it has been taken, and compared at the end.
 *
 * With tiers, room is made between keys and between the elements of plain forms (type_decode_part): a file
 * larger than maxmemory goes down while it comes in.
 *
 * Not loaded, with a warning: functions, and what modules left beside the keys (AUX). A key that is a
 * module's value is an error: leaving it out would lose it with the next save.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "ds/rdb_format.h"
#include "keyspace/db.h"
#include "keyspace/evict.h"
#include "page/fault.h"
#include "persist/persist_internal.h"
#include "persist/rdb_spill.h"
#include "tiering/tier.h"
#include "types/type.h"

#define HEADER_BYTES       9u
#define CHECKSUM_VERSION   5u    /* files have one from here on */
#define ROOM_PATIENCE_US   50000 /* without any progress */
#define ROOM_WAIT_US       50
#define ROOM_ELEMENTS      64u          /* room is made this often, */
#define ROOM_LOOK          4u           /* and, looked at this often, */
#define ROOM_BYTES         (256u << 10) /* when memory grew by so much */
#define SERVE_EVERY_US     20000
#define DROP_US            100000     /* the mapping is let go of this often */
#define SUM_BYTES          (4u << 20) /* summed at once, then let go of */
#define PAGE_ALIGNMENT     4096u
#define SPILL_FROM         8u  /* a collection of this share of maxmemory is spilled */
#define SPILL_SHARE        16u /* spilling takes this share for buffers, coming back as much and an index */
#define MODULE_NAME_LENGTH 9u

struct persist_load {
    const uint8_t *data;
    size_t size;
    unsigned flags;
    unsigned version;
    struct rdb_reader reader;
    size_t summed; /* bytes that are in crc */
    uint64_t crc;
    struct db *db;
    int64_t began_us;
    /* of the next key */
    int64_t expiry_ms, idle_seconds, frequency; /* -1: not given */
    struct bytes_builder scratch, scratch_2;
    uint64_t keys, expires, expired, empty, functions;
    int done;
};

static size_t offset(const struct persist_load *load) {
    return load->size - load->reader.left;
}

__attribute__((format(printf, 2, 3))) static int fail(const struct persist_load *load, const char *format,
                                                      ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_warning("Error reading the RDB file %s at offset %zu of %zu: %s", persist_config.file_name,
                offset(load), load->size, text);
    return FIRN_ECORRUPT;
}

static int short_read(const struct persist_load *load, const char *what) {
    return fail(load,
                "unexpected end or bad encoding of %s. Short read or OOM loading DB. Unrecoverable "
                "error, aborting now.",
                what);
}

/* --- the mapping --- */

static struct persist_load *mapped; /* the load whose file is mapped now; NULL none */
static struct sigaction bus_before;

/* Reading the mapping failed: there is nothing to go back to. Others are not ours. */
static void on_bus_error(int number, siginfo_t *info, void *ctx) {
    (void)number, (void)ctx;
    const uint8_t *at = info->si_addr;
    if (mapped == NULL || at < mapped->data || at >= mapped->data + mapped->size) {
        (void)sigaction(SIGBUS, &bus_before, NULL); /* comes again at once */
        return;
    }
    log_warning(
        "Error reading the RDB file %s near offset %zu of %zu: the device cannot read it, or it was cut off "
        "while it was loaded. Short read or OOM loading DB. Unrecoverable error, aborting now.",
        persist_config.file_name, (size_t)(at - mapped->data), mapped->size);
    _exit(1);
}

static void watch_mapping(struct persist_load *load) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    mapped = load;
    (void)sigaction(SIGBUS, &action, &bus_before);
}

static void unmap(struct persist_load *load) {
    if (mapped != load || load->data == NULL) return;
    (void)sigaction(SIGBUS, &bus_before, NULL);
    mapped = NULL;
    munmap((void *)(uintptr_t)load->data, load->size);
}

/* Pages from ${from} to ${to} need not be in memory for now. */
static void let_go(size_t from, size_t to) {
    from &= ~(size_t)(PAGE_ALIGNMENT - 1);
    if (mapped != NULL && to > from)
        (void)madvise((void *)(uintptr_t)(mapped->data + from), to - from, MADV_DONTNEED);
}

/* --- room --- */

static struct {
    unsigned elements;
    size_t used;      /* memory when room was made last */
    int starved;      /* nothing was left to move down */
    int64_t serve_us; /* clients are due then, */
    int64_t drop_us;  /* and the mapping */
    int said;         /* that memory is too small */
    struct rdb_spill *spill;
} room;

/* Within a key nobody knows how far it has been read. */
static void let_go_sometimes(void) {
    if (mapped == NULL || clock_monotonic_us() < room.drop_us) return;
    let_go(offset(mapped), mapped->size);
    room.drop_us = clock_monotonic_us() + DROP_US;
}

static int serve(void) {
    let_go_sometimes();
    if (persist_config.serve == NULL || clock_monotonic_us() < room.serve_us) return 0;
    int stop = persist_config.serve();
    room.serve_us = clock_monotonic_us() + SERVE_EVERY_US;
    return stop ? FIRN_ECLOSED : 0;
}

/* Nothing that could be moved down is left, and memory is still short: as in Redis, a load goes on whatever
 * maxmemory says, and does not wait again until there is room. */
static void starve(void) {
    room.starved = 1;
    if (room.said) return;
    room.said = 1;
    log_warning(
        "The keys of the RDB file %s, and what they need beside their values, take more memory than "
        "maxmemory allows: loading goes on beyond it. Raise maxmemory.",
        persist_config.file_name);
}

/* Let demotion catch up while memory is short: as long as much is on its way to a device, or memory falls.
 * Runs no commands: parked clients are only marked. */
static int make_room(void) {
    struct tier_totals totals;
    uint64_t before = UINT64_MAX;
    int64_t patience_us = clock_monotonic_us() + ROOM_PATIENCE_US;
    for (;;) {
        clock_update(); /* what came first becomes idle, and old */
        (void)tier_turn();
        tier_complete();
        if (tier_zone() < TIER_ZONE_DELAY) {
            room.starved = 0;
            return 0;
        }
        tier_totals(&totals);
        if (totals.memory_used + ROOM_BYTES <= before || totals.write_bytes_in_flight >= ROOM_BYTES) {
            before = totals.memory_used;
            patience_us = clock_monotonic_us() + ROOM_PATIENCE_US;
        } else if (room.starved || clock_monotonic_us() > patience_us) {
            break;
        }
        int stop = serve();
        if (stop != 0) return stop;
        (void)usleep(ROOM_WAIT_US);
    }
    starve();
    return 0;
}

static int make_room_sometimes(void) {
    size_t used = 0;
    if (++room.elements % ROOM_ELEMENTS != 0 &&
        (room.elements % ROOM_LOOK != 0 || (used = memory_used()) < room.used + ROOM_BYTES))
        return 0;
    room.used = used != 0 ? used : memory_used();
    int stop = serve();
    if (stop != 0 || !tier_enabled()) return stop;
    stop = make_room();
    room.used = memory_used();
    return stop;
}

/* --- collections larger than memory (rdb_spill.h) --- */

static int spill_failed(int error) {
    if (error == FIRN_ESYSTEM)
        log_warning(
            "Loading the RDB file %s: the temporary file in which a collection larger than memory is "
            "sorted cannot be written or read: %s",
            persist_config.file_name, strerror(errno));
    return error;
}

static int spill(uint64_t hash, const struct type_spilled *element) {
    return spill_failed(rdb_spill_add(room.spill, hash, element));
}

/* Whether there is a file to spill to. */
static int spill_ready(void) {
    struct tier_totals totals;
    if (room.spill != NULL) return 1;
    tier_totals(&totals);
    room.spill =
        rdb_spill_create(totals.memory_max / SPILL_SHARE / RDB_SPILL_PARTS, totals.memory_max / SPILL_SHARE);
    if (room.spill != NULL) return 1;
    log_warning(
        "Loading the RDB file %s: a collection larger than memory loads slowly, as no temporary file "
        "to sort it can be created beside it: %s",
        persist_config.file_name, strerror(errno));
    type_part_hooks.spill_pages = 0;
    return 0;
}

static void spill_end(void) {
    rdb_spill_destroy(room.spill);
    room.spill = NULL;
}

static int unspill(type_spilled_receive *receive, void *ctx) {
    int error = spill_failed(rdb_spill_take(room.spill, receive, ctx));
    spill_end();
    return error;
}

static void room_begin(void) {
    struct tier_totals totals;
    tier_totals(&totals);
    type_part_hooks.make_room = make_room_sometimes;
    room.used = memory_used();
    if (!tier_enabled() || totals.memory_max == 0) return;
    uint64_t pages = totals.memory_max / SPILL_FROM / COLLECTION_PAGE_BYTES_MAX;
    type_part_hooks.spill_ready = spill_ready;
    type_part_hooks.spill = spill;
    type_part_hooks.unspill = unspill;
    type_part_hooks.spill_pages = pages < UINT32_MAX ? (uint32_t)pages + 1 : UINT32_MAX;
}

static void room_end(void) {
    type_part_hooks = (struct type_part_hooks){0};
}

/* --- begin --- */

static int map_file(struct persist_load *load) {
    struct stat status;
    int fd = open(persist_config.file_name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return FIRN_ENOTFOUND;
    if (fd < 0 || fstat(fd, &status) != 0) {
        log_warning("Fatal error: can't open the RDB file %s for reading: %s", persist_config.file_name,
                    strerror(errno));
        if (fd >= 0) close(fd);
        return FIRN_ESYSTEM;
    }
    void *data = MAP_FAILED;
    if (!S_ISREG(status.st_mode))
        log_warning("Fatal error: can't open the RDB file %s for reading: not a regular file",
                    persist_config.file_name);
    else if (status.st_size < (off_t)HEADER_BYTES)
        log_warning(
            "Error reading the RDB file %s: it ends after %lld bytes. Short read or OOM loading DB. "
            "Unrecoverable error, aborting now.",
            persist_config.file_name, (long long)status.st_size);
    else if ((data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        log_warning("Fatal error: can't map the RDB file %s: %s", persist_config.file_name, strerror(errno));
    close(fd);
    if (data == MAP_FAILED) return FIRN_ESYSTEM;
    (void)madvise(data, (size_t)status.st_size, MADV_SEQUENTIAL);
    load->data = data;
    load->size = (size_t)status.st_size;
    watch_mapping(load);
    return 0;
}

static int read_header(struct persist_load *load) {
    struct bytes header;
    int error = rdb_read_raw(&load->reader, HEADER_BYTES, &header);
    FIRN_ASSERT(error == 0);
    if (memcmp(header.data, "REDIS", 5) != 0) {
        log_warning("Wrong signature trying to load DB from file %s", persist_config.file_name);
        return FIRN_ECORRUPT;
    }
    for (unsigned i = 5; i < HEADER_BYTES; i++) {
        if (header.data[i] < '0' || header.data[i] > '9') load->version = 100000;
        load->version = load->version * 10 + (header.data[i] - '0');
    }
    if (load->version >= 1 && load->version <= RDB_VERSION_READ) return 0;
    log_warning("Can't handle RDB format version %.4s of file %s: versions 1 to %u can be read",
                (const char *)header.data + 5, persist_config.file_name, RDB_VERSION_READ);
    return FIRN_ECORRUPT;
}

static struct persist_load *load_create(unsigned flags) {
    struct persist_load *load = memory_alloc_zero(sizeof *load);
    load->flags = flags;
    load->expiry_ms = load->idle_seconds = load->frequency = -1;
    load->began_us = clock_monotonic_us();
    if (!(flags & PERSIST_LOAD_CHECK)) load->db = db_at(0);
    return load;
}

/* The file is at hand: its head, and the status. ${load} is consumed on failure. */
static int load_open(struct persist_load *load, struct persist_load **load_out) {
    load->reader = rdb_reader_of(bytes_of(load->data, load->size));
    int error = read_header(load);
    if (error != 0) {
        persist_load_end(load);
        return error;
    }
    persist_status.loading = 1;
    persist_status.loading_start_s = clock_wall_ms() / 1000;
    persist_status.loading_total_bytes = load->size;
    persist_status.loading_done_bytes = 0;
    persist_status.loading_used_memory = 0;
    persist_status.keys_loaded = persist_status.keys_expired = persist_status.keys_empty = 0;
    *load_out = load;
    return 0;
}

int persist_load_begin(unsigned flags, struct persist_load **load_out) {
    struct persist_load *load = load_create(flags);
    int error = map_file(load);
    if (error == 0) return load_open(load, load_out);
    persist_load_end(load);
    return error;
}

int persist__load_memory(struct bytes data, unsigned flags, struct persist_load **load_out) {
    if (data.size < HEADER_BYTES) return FIRN_ECORRUPT;
    struct persist_load *load = load_create(flags);
    load->data = data.data;
    load->size = data.size;
    return load_open(load, load_out);
}

void persist__load_counts(const struct persist_load *load, struct persist__load_counts *counts_out) {
    *counts_out = (struct persist__load_counts){.offset = offset(load),
                                                .version = load->version,
                                                .keys = load->keys,
                                                .expires = load->expires,
                                                .expired = load->expired,
                                                .empty = load->empty};
}

void persist_load_end(struct persist_load *load) {
    if (load == NULL) return;
    spill_end();
    unmap(load);
    bytes_builder_fini(&load->scratch);
    bytes_builder_fini(&load->scratch_2);
    memory_free(load);
    persist_status.loading = 0;
}

/* --- what is no key --- */

static int load_aux(struct persist_load *load) {
    struct bytes name, value;
    int error = rdb_read_string(&load->reader, &load->scratch, UINT32_MAX, &name);
    if (error == 0) error = rdb_read_string(&load->reader, &load->scratch_2, UINT32_MAX, &value);
    if (error != 0) return short_read(load, "an AUX field");
    int size = value.size > 100 ? 100 : (int)value.size;
    if (bytes_is(name, "redis-ver"))
        log_notice("Loading RDB produced by version %.*s", size, (const char *)value.data);
    else if (bytes_is(name, "ctime"))
        log_debug("RDB was written at %.*s", size, (const char *)value.data);
    else if (bytes_is(name, "used-mem"))
        log_debug("RDB memory usage when created: %.*s bytes", size, (const char *)value.data);
    else if (bytes_is(name, "aof-base"))
        log_debug("RDB is base AOF: %.*s", size, (const char *)value.data);
    return 0;
}

static int load_select(struct persist_load *load) {
    uint64_t index;
    if (rdb_read_length(&load->reader, &index) != 0) return short_read(load, "a database number");
    if (load->db == NULL) return 0; /* checking: any number will do */
    if (index >= db_count()) {
        log_warning(
            "FATAL: Data file was created with a Redis server configured to handle more than %u "
            "databases. Exiting",
            db_count());
        return fail(load, "database %" PRIu64 " is not among the %u configured (directive databases)", index,
                    db_count());
    }
    load->db = db_at((unsigned)index);
    return 0;
}

static int skip_lengths(struct persist_load *load, unsigned count, const char *what) {
    for (; count > 0; count--) {
        uint64_t ignored;
        if (rdb_read_length(&load->reader, &ignored) != 0) return short_read(load, what);
    }
    return 0;
}

static int load_function(struct persist_load *load) {
    struct bytes source;
    if (rdb_read_string(&load->reader, &load->scratch, UINT32_MAX, &source) != 0)
        return short_read(load, "a function library");
    if (load->functions++ == 0)
        log_warning(
            "The RDB file %s holds function libraries, which this version of Firn cannot run: they "
            "are not loaded, and will not be in files it saves.",
            persist_config.file_name);
    return 0;
}

/* Name and version of a module from its 64-bit id. */
static void module_name(uint64_t id, char name_out[MODULE_NAME_LENGTH + 1]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (unsigned i = 0; i < MODULE_NAME_LENGTH; i++)
        name_out[i] = letters[id >> (58 - 6 * i) & 63];
    name_out[MODULE_NAME_LENGTH] = '\0';
}

/* The values a module wrote, up to their end mark. */
static int skip_module_values(struct persist_load *load) {
    enum { END = 0, SIGNED = 1, UNSIGNED = 2, FLOAT = 3, DOUBLE = 4, STRING = 5 };
    for (;;) {
        uint64_t opcode, ignored;
        struct bytes raw;
        int error = rdb_read_length(&load->reader, &opcode);
        if (error != 0) return error;
        switch (opcode) {
        case END: return 0;
        case SIGNED:
        case UNSIGNED: error = rdb_read_length(&load->reader, &ignored); break;
        case FLOAT: error = rdb_read_raw(&load->reader, 4, &raw); break;
        case DOUBLE: error = rdb_read_raw(&load->reader, 8, &raw); break;
        case STRING: error = rdb_read_string(&load->reader, &load->scratch, UINT32_MAX, &raw); break;
        default: return FIRN_ECORRUPT;
        }
        if (error != 0) return error;
    }
}

static int load_module_aux(struct persist_load *load) {
    uint64_t id, opcode, when;
    char name[MODULE_NAME_LENGTH + 1];
    int error = rdb_read_length(&load->reader, &id);
    if (error == 0) error = rdb_read_length(&load->reader, &opcode);
    if (error == 0) error = rdb_read_length(&load->reader, &when);
    if (error == 0) error = skip_module_values(load);
    if (error != 0) return short_read(load, "what a module left beside the keys");
    module_name(id, name);
    log_warning(
        "The RDB file %s holds AUX data of module '%s', which is not here: it is not loaded, and will "
        "not be in files saved from now on.",
        persist_config.file_name, name);
    return 0;
}

/* --- keys --- */

/* The database may have the key: 0 to insert, 1 not to. */
static int make_place(struct persist_load *load, struct entry *entry) {
    struct entry *old;
    struct fault_set *set = fault_suspend(); /* keys off DRAM: read blocking */
    int error =
        db_find(load->db, entry_key(entry),
                LOOKUP_WRITE | LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY | LOOKUP_EXPIRED, &old);
    fault_resume(set);
    if (error != 0) return fail(load, "a key that is in the database cannot be read: %s", error_text(error));
    if (old == NULL) return 0;
    if (!(load->flags & PERSIST_LOAD_REPLACE))
        return fail(load, "the RDB file has a key twice in DB %u (or it is in the database already)",
                    db_index(load->db));
    db_delete(load->db, old);
    if (db_hooks.changed != NULL) db_hooks.changed(load->db, entry_key(entry));
    return 0;
}

static void discard(struct entry *entry) {
    if (entry->flags & ENTRY_REF) type_ops(entry_type(entry))->free_value(entry);
    entry_free(entry);
}

/* A load is no event "new". */
static void insert_silently(struct db *db, struct entry *entry) {
    void (*notify)(struct db *, unsigned, const char *, struct bytes) = db_hooks.notify;
    db_hooks.notify = NULL;
    db_insert(db, entry);
    db_hooks.notify = notify;
}

/* Put a loaded value under its key, with deadline and clock. */
static int keep(struct persist_load *load, struct entry *entry) {
    load->expires += load->expiry_ms != -1;
    if (load->flags & PERSIST_LOAD_CHECK) {
        discard(entry);
        load->keys++;
        load->expired += load->expiry_ms != -1 && load->expiry_ms < clock_wall_ms();
        return 0;
    }
    if (load->expiry_ms != -1 && load->expiry_ms < clock_wall_ms()) {
        discard(entry);
        load->expired++;
        return 0;
    }
    int error = make_place(load, entry);
    if (error != 0) {
        discard(entry);
        return error;
    }
    insert_silently(load->db, entry);
    if (load->expiry_ms != -1) entry = db_set_expiry(load->db, entry, load->expiry_ms);
    if (load->frequency >= 0 && evict_policy_is_lfu()) evict_set_frequency(entry, (unsigned)load->frequency);
    if (load->idle_seconds >= 0 && !evict_policy_is_lfu())
        evict_set_idle(entry, (uint64_t)load->idle_seconds);
    load->keys++;
    return 0;
}

static int refuse_type(const struct persist_load *load, uint8_t type, size_t at) {
    struct rdb_reader reader = load->reader;
    struct bytes_builder scratch = {0};
    struct bytes key;
    uint64_t id;
    char name[MODULE_NAME_LENGTH + 1] = "";
    if ((type == RDB_TYPE_MODULE || type == RDB_TYPE_MODULE_2) &&
        rdb_read_string(&reader, &scratch, UINT32_MAX, &key) == 0 && rdb_read_length(&reader, &id) == 0)
        module_name(id, name);
    bytes_builder_fini(&scratch);
    if (name[0] != '\0')
        return fail(load,
                    "The RDB file contains module data I can't load: no matching module type '%s' (the "
                    "value begins at offset %zu)",
                    name, at);
    return fail(load, "unknown type or opcode %u (0x%02x) at offset %zu", type, type, at);
}

/* A module's value: its key, id and values, only checked for their form. */
static int check_module_value(struct persist_load *load) {
    struct bytes key;
    uint64_t id;
    int error = rdb_read_string(&load->reader, &load->scratch, UINT32_MAX, &key);
    if (error == 0) error = rdb_read_length(&load->reader, &id);
    if (error == 0) error = skip_module_values(load);
    if (error != 0) return short_read(load, "a module's value");
    load->keys++;
    load->expiry_ms = load->idle_seconds = load->frequency = -1;
    return 0;
}

static int load_key(struct persist_load *load, uint8_t type) {
    const struct type_ops *ops = type_ops_for_rdb(type);
    struct bytes key;
    struct entry *entry;
    size_t at = offset(load) - 1, consumed = 0;
    if (type == RDB_TYPE_MODULE_2 && (load->flags & PERSIST_LOAD_CHECK)) return check_module_value(load);
    if (ops == NULL) return refuse_type(load, type, at);
    if (rdb_read_string(&load->reader, &load->scratch, UINT32_MAX, &key) != 0)
        return short_read(load, "a key");
    struct bytes body = bytes_of(load->reader.at, load->reader.left);
    struct fault_set *set = fault_suspend(); /* what of it went down meanwhile is read blocking */
    int error = ops->decode(key, type, body, &consumed, 1, &entry);
    fault_resume(set);
    spill_end();
    if (error == FIRN_ENOTFOUND) {
        load->empty++;
        log_notice("rdbLoadObject skipping empty key: %.*s", (int)(key.size > 100 ? 100 : key.size),
                   (const char *)key.data);
    } else if (error == FIRN_ENOMEM) {
        return fail(load, "no memory for the value (%s) of the key at offset %zu", rdb_type_name(type), at);
    } else if (error == FIRN_ECLOSED || error == FIRN_ESYSTEM) {
        return error; /* logged */
    } else if (error == FIRN_EIO) {
        return fail(load, "the tier that the value of the key at offset %zu went to cannot be read", at);
    } else if (error != 0) {
        return fail(
            load,
            "%s integrity check failed: the value of the key at offset %zu (RDB type %u) is corrupt or "
            "cut off. Short read or OOM loading DB. Unrecoverable error, aborting now.",
            rdb_type_name(type), at, type);
    }
    FIRN_ASSERT(consumed <= load->reader.left);
    load->reader.at += consumed;
    load->reader.left -= consumed;
    if (error == 0) error = keep(load, entry);
    if (error == FIRN_ENOTFOUND) error = 0;
    load->expiry_ms = load->idle_seconds = load->frequency = -1;
    if (error == 0) error = make_room_sometimes();
    if ((load->flags & PERSIST_LOAD_DELAY) && persist_config.key_load_delay_us != 0)
        persist__key_delay(persist_config.key_load_delay_us);
    return error;
}

/* --- before a key --- */

static int load_attribute(struct persist_load *load, uint8_t opcode) {
    struct bytes raw;
    uint64_t seconds;
    uint8_t byte;
    int error;
    switch (opcode) {
    case RDB_OPCODE_EXPIRETIME_MS: error = rdb_read_ms(&load->reader, &load->expiry_ms); break;
    case RDB_OPCODE_EXPIRETIME:
        error = rdb_read_raw(&load->reader, 4, &raw);
        if (error == 0) load->expiry_ms = (int64_t)(int32_t)bytes_load32(raw.data) * 1000;
        break;
    case RDB_OPCODE_IDLE:
        error = rdb_read_length(&load->reader, &seconds);
        if (error == 0) load->idle_seconds = seconds > INT32_MAX ? INT32_MAX : (int64_t)seconds;
        break;
    default:
        error = rdb_read_byte(&load->reader, &byte);
        if (error == 0) load->frequency = byte;
        break;
    }
    return error == 0 ? 0 : short_read(load, "what stands before a key");
}

/* --- the end --- */

static void add_to_checksum(struct persist_load *load) {
    size_t now = offset(load);
    while (load->summed < now) {
        size_t size = now - load->summed < SUM_BYTES ? now - load->summed : SUM_BYTES;
        load->crc = rdb_crc64(load->crc, bytes_of(load->data + load->summed, size));
        load->summed += size;
        let_go(load->summed - size, load->summed);
    }
}

static int load_end(struct persist_load *load) {
    struct bytes raw;
    load->done = 1;
    if (load->version >= CHECKSUM_VERSION) {
        if (persist_config.checksum) add_to_checksum(load);
        if (rdb_read_raw(&load->reader, 8, &raw) != 0) return short_read(load, "the checksum");
        uint64_t expected = bytes_load64(raw.data);
        if (!persist_config.checksum || rdb_checksum_ignored) {
        } else if (expected == 0) {
            log_notice("RDB file was saved with checksum disabled: no check performed.");
        } else if (expected != load->crc) {
            log_warning("Wrong RDB checksum expected: (%" PRIx64 ") but got (%" PRIx64 "). Aborting now.",
                        expected, load->crc);
            return fail(load, "RDB CRC error");
        }
    }
    if (load->flags & PERSIST_LOAD_CHECK) return 0;
    log_notice("Done loading RDB, keys loaded: %" PRIu64 ", keys expired: %" PRIu64
               ", empty keys skipped: %" PRIu64 ".",
               load->keys, load->expired, load->empty);
    log_notice("DB loaded from disk: %.3f seconds", (double)(clock_monotonic_us() - load->began_us) / 1e6);
    return 0;
}

static int load_part(struct persist_load *load) {
    uint8_t opcode;
    if (rdb_read_byte(&load->reader, &opcode) != 0) return short_read(load, "the file: it has no end mark");
    switch (opcode) {
    case RDB_OPCODE_EXPIRETIME_MS:
    case RDB_OPCODE_EXPIRETIME:
    case RDB_OPCODE_IDLE:
    case RDB_OPCODE_FREQ: return load_attribute(load, opcode);
    case RDB_OPCODE_EOF: return load_end(load);
    case RDB_OPCODE_SELECTDB: return load_select(load);
    case RDB_OPCODE_RESIZEDB: return skip_lengths(load, 2, "the sizes of a database");
    case RDB_OPCODE_SLOT_INFO: return skip_lengths(load, 3, "the sizes of a slot");
    case RDB_OPCODE_RAM_LRU: return skip_lengths(load, 1, "what stands before a key");
    case RDB_OPCODE_AUX: return load_aux(load);
    case RDB_OPCODE_FUNCTION: return load_function(load);
    case RDB_OPCODE_FUNCTION_PRE_GA:
        return fail(load, "functions in a format from before the release of Redis 7.0 are not supported");
    case RDB_OPCODE_MODULE_AUX: return load_module_aux(load);
    default: return load_key(load, opcode);
    }
}

int persist_load_step(struct persist_load *load, uint64_t bytes) {
    size_t begin = offset(load);
    int error = 0;
    FIRN_ASSERT(!load->done);
    room_begin();
    rdb_packed_strict = persist_config.sanitize_load;
    while (error == 0 && !load->done && offset(load) - begin < bytes)
        error = load_part(load);
    room_end();
    rdb_packed_strict = 0;
    if (persist_config.checksum && !load->done) add_to_checksum(load);
    persist_status.loading_done_bytes = offset(load);
    persist_status.loading_used_memory = tier_memory_used();
    persist_status.keys_loaded = load->keys;
    persist_status.keys_expired = load->expired;
    persist_status.keys_empty = load->empty;
    return error != 0 ? error : !load->done;
}

int persist_load_all(unsigned flags) {
    struct persist_load *load;
    int status = persist_load_begin(flags, &load);
    if (status != 0) return status;
    while ((status = persist_load_step(load, UINT64_MAX)) > 0) {
    }
    persist_load_end(load);
    return status;
}
