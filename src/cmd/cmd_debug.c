/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DEBUG: what tests need to see and to break. One table of subcommands; each knows its number of arguments.
 * Guarded by enable-debug-command.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/memory.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/debug_digest.h"
#include "cmd/server_hooks.h"
#include "ds/glob.h"
#include "ds/number.h"
#include "ds/rdb_format.h"
#include "keyspace/db_string.h"
#include "keyspace/evict.h"
#include "persist/persist.h"
#include "tiering/tier.h"
#include "types/type.h"

#define FIND_SILENTLY (LOOKUP_NO_TOUCH | LOOKUP_NO_STATS | LOOKUP_NO_NOTIFY | LOOKUP_EXPIRED)

/* --- time, crashes, log --- */

static int debug_sleep(struct call *call) {
    double seconds;
    CALL_TRY(call_double(call, call->argv[2], &seconds));
    if (seconds > 0 && seconds < 1e6) {
        struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
        while (nanosleep(&time, &time) != 0 && errno == EINTR) {
        }
    }
    reply_ok(call->reply);
    return 0;
}

static int debug_segfault(struct call *call) {
    (void)call;
    int *volatile nowhere = (int *)1;
    *nowhere = 'x';
    return 0;
}

static int debug_panic(struct call *call) {
    (void)call;
    log_warning("------------------------------------------------");
    log_warning("!!! Software Failure. Press left mouse button to continue");
    log_warning("Guru Meditation: called from DEBUG PANIC");
    log_warning("------------------------------------------------");
    abort();
}

static int debug_assert(struct call *call) {
    FIRN_ASSERT(call == NULL);
    return 0;
}

static int debug_log(struct call *call) {
    log_warning("DEBUG LOG: %.*s", (int)call->argv[2].size, (const char *)call->argv[2].data);
    reply_ok(call->reply);
    return 0;
}

static int debug_error(struct call *call) {
    reply_error_format(call->reply, "-%.*s", (int)call->argv[2].size, (const char *)call->argv[2].data);
    return 0;
}

/* --- keys --- */

static int find_key(struct call *call, struct bytes key, struct entry **entry_out) {
    int error = db_find(call->db, key, FIND_SILENTLY, entry_out);
    if (error == 0 && *entry_out == NULL) reply_error(call->reply, "no such key");
    return error;
}

/* What DEBUG OBJECT of Redis says of a list's nodes, for the pages here. */
static void describe_nodes(const struct entry *entry, size_t encoded, char *text, size_t size) {
    const struct object *object =
        page_ref_tag(entry_ref(entry)) == PAGE_TAG_OBJECT ? page_ref_object(entry_ref(entry)) : NULL;
    unsigned nodes = object != NULL ? object->pages : 1;
    snprintf(text, size,
             " ql_nodes:%u ql_avg_node:%.2f ql_listpack_max:%lld ql_compressed:0 ql_uncompressed_size:%zu",
             nodes, nodes > 0 ? (double)entry->size / nodes : 0.0,
             (long long)type_limits.list_max_listpack_size, encoded);
}

static int debug_object(struct call *call) {
    struct entry *entry;
    size_t encoded;
    char nodes[160] = "", text[480];
    CALL_TRY(find_key(call, call->argv[2], &entry));
    if (entry == NULL) return 0;
    int error = persist_value_size(entry, &encoded);
    if (error != 0) return error;
    if (entry_encoding(entry) == ENCODING_QUICKLIST) describe_nodes(entry, encoded, nodes, sizeof nodes);
    snprintf(text, sizeof text,
             "Value at:%p refcount:1 encoding:%s serializedlength:%zu lru:%u lru_seconds_idle:%llu%s",
             (void *)entry, encoding_name(entry_encoding(entry)), encoded,
             (unsigned)(entry->clock & 0xffffffu), (unsigned long long)evict_idle_ms(entry) / 1000, nodes);
    reply_status(call->reply, text);
    return 0;
}

static int debug_digest(struct call *call) {
    char hex[DEBUG_DIGEST_HEX];
    call_must_finish(call);
    int error = debug_digest_all(hex);
    if (error != 0) return error;
    reply_status(call->reply, hex);
    return 0;
}

static int debug_digest_values(struct call *call) {
    char hex[DEBUG_DIGEST_HEX];
    call_must_finish(call);
    reply_array(call->reply, call->argc - 2);
    for (size_t i = 2; i < call->argc; i++) {
        struct entry *entry;
        int error = db_find(call->db, call->argv[i], FIND_SILENTLY, &entry);
        if (error == 0) error = debug_digest_value(entry, hex);
        if (error != 0) return error;
        reply_status(call->reply, hex);
    }
    return 0;
}

/* One key of DEBUG POPULATE: "prefix:i" with "value:i", zero-padded or cut to ${size} if that is not 0. */
static int populate_one(struct call *call, struct bytes prefix, int64_t index, size_t size,
                        struct bytes_builder *key, struct bytes_builder *value) {
    struct entry *entry;
    bytes_builder_clear(key);
    bytes_builder_append(key, prefix.data, prefix.size);
    bytes_builder_format(key, ":%lld", (long long)index);
    bytes_builder_clear(value);
    bytes_builder_format(value, "value:%lld", (long long)index);
    int error = db_find(call->db, bytes_builder_bytes(key), FIND_SILENTLY, &entry);
    if (error != 0 || entry != NULL) return error;
    if (size > value->size) {
        size_t more = size - value->size;
        if (bytes_builder_try_reserve(value, more) != 0) return FIRN_ENOMEM;
        memset(value->data + value->size, 0, more);
    }
    if (size > 0) value->size = size;
    error = db_string_set(call->db, bytes_builder_bytes(key), NULL, bytes_builder_bytes(value),
                          STRING_FORM_TEXT, DB_STRING_NO_EXPIRY, NULL);
    if (error == 0) call_changed(call, bytes_builder_bytes(key));
    return error;
}

/* Let demotion catch up while memory is short: this one command may write more than maxmemory. */
static void make_room(void) {
    if (!tier_enabled()) return;
    for (int i = 0; i < 1000; i++) {
        (void)tier_turn();
        tier_complete();
        if (tier_zone() < TIER_ZONE_DELAY) return;
        usleep(50);
    }
}

static int debug_populate(struct call *call) {
    int64_t count, size = 0;
    struct bytes prefix = call->argc > 3 ? call->argv[3] : bytes_of_text("key");
    struct bytes_builder key = {0}, value = {0};
    CALL_TRY(call_integer(call, call->argv[2], &count));
    if (call->argc > 4) CALL_TRY(call_integer(call, call->argv[4], &size));
    if (count < 0 || size < 0) {
        reply_error(call->reply, "value is out of range, must be positive");
        return 0;
    }
    int error = 0;
    call_must_finish(call);
    for (int64_t i = 0; i < count && error == 0; i++) {
        error = populate_one(call, prefix, i, (size_t)size, &key, &value);
        if (i % 64 == 63) make_room();
    }
    bytes_builder_fini(&key);
    bytes_builder_fini(&value);
    call_no_propagation(call);
    if (error != 0) return error;
    reply_ok(call->reply);
    return 0;
}

/* --- tables --- */

static int debug_htstats(struct call *call) {
    int64_t index;
    char text[512];
    struct db_table_stats stats;
    CALL_TRY(call_integer(call, call->argv[2], &index));
    if (index < 0 || index >= (int64_t)db_count()) {
        reply_error(call->reply, "Out of range database");
        return 0;
    }
    const struct db *db = db_at((unsigned)index);
    db_table_stats(db, &stats);
    int size = snprintf(text, sizeof text,
                        "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: %llu\n number "
                        "of elements: %llu\n"
                        " segments: %llu\n splits: %llu\n[Expires HT]\nHash table 0 stats (main hash "
                        "table):\n number of elements: %llu\n",
                        (unsigned long long)stats.slots, (unsigned long long)stats.used,
                        (unsigned long long)stats.segments, (unsigned long long)stats.splits,
                        (unsigned long long)db_expires_count(db));
    reply_verbatim(call->reply, "txt", bytes_of(text, (size_t)size));
    return 0;
}

static int debug_htstats_key(struct call *call) {
    struct entry *entry;
    char text[256];
    CALL_TRY(find_key(call, call->argv[2], &entry));
    if (entry == NULL) return 0;
    if (entry_encoding(entry) != ENCODING_HASHTABLE) {
        reply_error(call->reply,
                    "The value stored at the specified key is not represented using an hash table");
        return 0;
    }
    const struct object *object =
        page_ref_tag(entry_ref(entry)) == PAGE_TAG_OBJECT ? page_ref_object(entry_ref(entry)) : NULL;
    int size = snprintf(text, sizeof text,
                        "[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: %u\n number of "
                        "elements: %u\n pages: %u\n",
                        entry->size, entry->size, object != NULL ? object->pages : 1);
    reply_verbatim(call->reply, "txt", bytes_of(text, (size_t)size));
    return 0;
}

static int debug_check(struct call *call) {
    for (unsigned i = 0; i < db_count(); i++)
        db_check(db_at(i));
    reply_ok(call->reply);
    return 0;
}

static int debug_listpack(struct call *call) {
    struct entry *entry;
    CALL_TRY(find_key(call, call->argv[2], &entry));
    if (entry == NULL) return 0;
    enum encoding encoding = entry_encoding(entry);
    if (encoding != ENCODING_LISTPACK && encoding != ENCODING_LISTPACKEX)
        reply_error(call->reply, "Not a listpack encoded object.");
    else /* values are on pages here: there is none to print */
        reply_status(call->reply, "Listpack structure printed on stdout");
    return 0;
}

static int debug_stringmatch(struct call *call) {
    int64_t size;
    CALL_TRY(call_integer(call, call->argv[2], &size));
    uint8_t *text = size > 0 && size < (1 << 30) ? memory_try_alloc((size_t)size) : NULL;
    if (text == NULL) {
        reply_error(call->reply, "value is out of range");
        return 0;
    }
    memset(text, 'a', (size_t)size);
    reply_integer(call->reply, glob_match(call->argv[3], bytes_of(text, (size_t)size), 0));
    memory_free(text);
    return 0;
}

/* Nodes are pages here, whose size does not depend on this. */
static int debug_packed_threshold(struct call *call) {
    struct bytes text = call->argv[2];
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    struct bytes unit = bytes_of(text.data + digits, text.size - digits);
    int known = unit.size == 0 || bytes_is(unit, "b") || bytes_is(unit, "k") || bytes_is(unit, "kb") ||
                bytes_is(unit, "m") || bytes_is(unit, "mb") || bytes_is(unit, "g") || bytes_is(unit, "gb");
    if (digits == 0 || !known)
        reply_error(call->reply, "argument must be a memory value bigger than 1 and smaller than 4gb");
    else
        reply_ok(call->reply);
    return 0;
}

/* --- PROTOCOL --- */

static void protocol_map(struct call *call) {
    reply_map(call->reply, 3);
    for (int i = 0; i < 3; i++) {
        reply_integer(call->reply, i);
        reply_boolean(call->reply, i == 1);
    }
}

static int debug_protocol(struct call *call) {
    struct reply *reply = call->reply;
    if (call_option(call, 2, "string"))
        reply_bulk_text(reply, "Hello World");
    else if (call_option(call, 2, "integer"))
        reply_integer(reply, 12345);
    else if (call_option(call, 2, "double"))
        reply_double(reply, 3.141);
    else if (call_option(call, 2, "null"))
        reply_null(reply);
    else if (call_option(call, 2, "bignum"))
        reply_big_number(reply, "1234567999999999999999999999999999999");
    else if (call_option(call, 2, "verbatim"))
        reply_verbatim(reply, "txt", bytes_of_text("This is a verbatim\nstring"));
    else if (call_option(call, 2, "true"))
        reply_boolean(reply, 1);
    else if (call_option(call, 2, "false"))
        reply_boolean(reply, 0);
    else if (call_option(call, 2, "map"))
        protocol_map(call);
    else if (call_option(call, 2, "array") || call_option(call, 2, "set")) {
        if (call_option(call, 2, "array"))
            reply_array(reply, 3);
        else
            reply_set(reply, 3);
        for (int i = 0; i < 3; i++)
            reply_integer(reply, i);
    } else if (call_option(call, 2, "attrib")) {
        if (reply->version >= 3) {
            reply_attribute(reply, 1);
            reply_bulk_text(reply, "key-popularity");
            reply_array(reply, 2);
            reply_bulk_text(reply, "key:123");
            reply_integer(reply, 90);
        }
        /* Attributes are not real replies: a reply proper has to follow. */
        reply_bulk_text(reply, "Some real reply following the attribute");
    } else if (call_option(call, 2, "push")) {
        if (reply->version < 3) {
            reply_error(reply, "RESP2 is not supported by this command");
            return 0;
        }
        reply_push(reply, 2);
        reply_bulk_text(reply, "server-cpu-usage");
        reply_integer(reply, 42);
        /* Push replies are not synchronous replies: a client waits for one more. */
    } else {
        reply_error(reply,
                    "Wrong protocol type name. Please use one of the following: "
                    "string|integer|double|null|array|set|map|attrib|push|verbatim|true|false");
    }
    return 0;
}

/* --- switches --- */

static int debug_active_expire(struct call *call) {
    int64_t enabled;
    CALL_TRY(call_integer(call, call->argv[2], &enabled));
    db_set_active_expire(enabled != 0);
    reply_ok(call->reply);
    return 0;
}

static int debug_pause_cron(struct call *call) {
    int64_t paused;
    CALL_TRY(call_integer(call, call->argv[2], &paused));
    server_hooks.pause_cron(paused != 0);
    reply_ok(call->reply);
    return 0;
}

/* Switches of parts that work otherwise here: accepted, nothing to do. */
static int debug_accept(struct call *call) {
    reply_ok(call->reply);
    return 0;
}

static int debug_not_yet(struct call *call) {
    reply_error_format(call->reply,
                       "DEBUG %.*s needs append only files, which this version does not have yet",
                       (int)call->argv[1].size, (const char *)call->argv[1].data);
    return 0;
}

/* --- files --- */

/* What is dropped before a reload changes for everybody who watches it. */
static int tell_changed(struct entry *entry, void *ctx) {
    if (db_hooks.changed != NULL) db_hooks.changed(ctx, entry_key(entry));
    return 0;
}

static void drop_all(void) {
    for (unsigned i = 0; i < db_count(); i++)
        (void)db_walk(db_at(i), tell_changed, db_at(i)); /* what cannot be read is dropped all the same */
    (void)db_flush(NULL, 0);
    while (db_reap_some(INT64_MAX)) {
    }
}

static int debug_reload(struct call *call) {
    int save = 1, flush = 1;
    unsigned flags = 0;
    for (size_t i = 2; i < call->argc; i++) {
        if (call_option(call, i, "nosave")) {
            save = 0;
        } else if (call_option(call, i, "noflush")) {
            flush = 0;
        } else if (call_option(call, i, "merge")) {
            flags |= PERSIST_LOAD_REPLACE;
        } else {
            reply_error(call->reply, "DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
            return 0;
        }
    }
    if (save && persist_save(0) != 0) {
        reply_error(call->reply, "-ERR");
        return 0;
    }
    call_must_finish(call);
    call_no_propagation(call);
    if (flush) drop_all();
    int64_t changes = (int64_t)db_stats.changes;
    if (persist_load_all(flags) != 0) {
        reply_error(call->reply, "Error trying to load the RDB dump, check server logs.");
        return 0;
    }
    db_stats.changes = save ? 0 : (uint64_t)changes;
    log_warning("DB reloaded by DEBUG RELOAD");
    reply_ok(call->reply);
    return 0;
}

static int debug_skip_checksum(struct call *call) {
    int64_t on;
    CALL_TRY(call_integer(call, call->argv[2], &on));
    rdb_checksum_ignored = on != 0;
    reply_ok(call->reply);
    return 0;
}

static int debug_replication_id(struct call *call) {
    server_hooks.change_replication_id();
    reply_ok(call->reply);
    return 0;
}

static int debug_rewrite_all(struct call *call) {
    if (server_hooks.config_rewrite_all() == 0)
        reply_ok(call->reply);
    else
        reply_error_format(call->reply, "CONFIG-REWRITE-FORCE-ALL failed");
    return 0;
}

static int debug_tier_stress(struct call *call) {
    static const char *const names[] = {"off", "pmem", "nvme", "random"};
    for (int i = 0; i < 4; i++) {
        if (!call_option(call, 2, names[i])) continue;
        if (i > 0 && !tier_enabled()) {
            reply_error(
                call->reply,
                "no lower tier is configured (tier-pmem-path, tier-nvme-path, or start with tier-stress)");
            return 0;
        }
        tier_set_stress((enum tier_stress)i);
        reply_ok(call->reply);
        return 0;
    }
    call_syntax_error(call);
    return 0;
}

static int debug_fault(struct call *call) {
    char name[64];
    int64_t skip = 0, count = 1;
    if (call_option(call, 2, "reset")) {
        fault_point_reset();
        reply_ok(call->reply);
        return 0;
    }
    snprintf(name, sizeof name, "%.*s", (int)call->argv[2].size, (const char *)call->argv[2].data);
    int point = fault_point_by_name(name);
    if (point < 0) {
        reply_error(call->reply, "no such fault point");
        return 0;
    }
    if (call->argc > 3) CALL_TRY(call_integer(call, call->argv[3], &skip));
    if (call->argc > 4) CALL_TRY(call_integer(call, call->argv[4], &count));
    fault_point_arm((enum fault_point)point, (uint64_t)skip, (uint64_t)count);
    reply_ok(call->reply);
    return 0;
}

/* --- the table --- */

static int debug_help(struct call *call);

static const struct {
    const char *name;
    size_t argc_min, argc_max; /* with DEBUG and the name; 0: no limit */
    int (*run)(struct call *call);
    const char *usage, *text;
} subcommands[] = {
    {"assert", 2, 2, debug_assert, "ASSERT", "Crash by a failed assertion."},
    {"change-repl-id", 2, 2, debug_replication_id, "CHANGE-REPL-ID", "Take another replication id."},
    {"check", 2, 2, debug_check, "CHECK", "Check the tables of all databases; crash if they are not right."},
    {"config-rewrite-force-all", 2, 2, debug_rewrite_all, "CONFIG-REWRITE-FORCE-ALL",
     "CONFIG REWRITE with every directive."},
    {"dict-resizing", 3, 3, debug_accept, "DICT-RESIZING <0|1>",
     "Accepted: tables here grow segment by segment."},
    {"digest", 2, 2, debug_digest, "DIGEST", "One digest of all databases."},
    {"digest-value", 2, 0, debug_digest_values, "DIGEST-VALUE <key> [<key> ...]", "Digests of values."},
    {"error", 3, 3, debug_error, "ERROR <text>", "Reply this error."},
    {"fault", 3, 5, debug_fault, "FAULT <point> [<skip> [<count>]] | FAULT RESET",
     "Make a fault point fail after skip passes, count times."},
    {"help", 2, 2, debug_help, "HELP", "Print this help."},
    {"htstats", 3, 3, debug_htstats, "HTSTATS <db>", "Numbers of a database's table."},
    {"htstats-key", 3, 4, debug_htstats_key, "HTSTATS-KEY <key>", "The same of a value."},
    {"listpack", 3, 3, debug_listpack, "LISTPACK <key>", "Accepted for existing keys."},
    {"loadaof", 2, 2, debug_not_yet, "LOADAOF", "Not here yet."},
    {"log", 3, 3, debug_log, "LOG <text>", "Write a line to the log."},
    {"object", 3, 4, debug_object, "OBJECT <key>", "What is known of a value."},
    {"panic", 2, 2, debug_panic, "PANIC", "Crash on purpose."},
    {"pause-cron", 3, 3, debug_pause_cron, "PAUSE-CRON <0|1>", "Stop the periodic work."},
    {"populate", 3, 5, debug_populate, "POPULATE <count> [<prefix>] [<size>]", "Make string keys."},
    {"protocol", 3, 3, debug_protocol, "PROTOCOL <type>", "Reply a value of this protocol type."},
    {"quicklist-packed-threshold", 3, 3, debug_packed_threshold, "QUICKLIST-PACKED-THRESHOLD <size>",
     "Accepted."},
    {"reload", 2, 0, debug_reload, "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
     "Save, drop everything, load. NOSAVE, NOFLUSH: without that; MERGE: keys that exist are replaced."},
    {"replybuffer", 4, 4, debug_accept, "REPLYBUFFER <PEAK-RESET-TIME|RESIZING> <value>",
     "Accepted: replies are chains of chunks here."},
    {"segfault", 2, 2, debug_segfault, "SEGFAULT", "Crash by a bad address."},
    {"set-active-expire", 3, 3, debug_active_expire, "SET-ACTIVE-EXPIRE <0|1>",
     "0: expired keys go only when looked at."},
    {"set-disable-deny-scripts", 3, 3, debug_accept, "SET-DISABLE-DENY-SCRIPTS <0|1>", "Accepted."},
    {"set-skip-checksum-validation", 3, 3, debug_skip_checksum, "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
     "1: payloads and RDB files with a wrong checksum are read."},
    {"sleep", 3, 3, debug_sleep, "SLEEP <seconds>", "Block the server."},
    {"stringmatch-len", 4, 4, debug_stringmatch, "STRINGMATCH-LEN <length> <pattern>",
     "Match a pattern with a string of so many a."},
    {"tier-stress", 3, 3, debug_tier_stress, "TIER-STRESS <off|pmem|nvme|random>",
     "Move everything out of DRAM after each command."},
};
#define SUBCOMMANDS (sizeof subcommands / sizeof *subcommands)

static int debug_help(struct call *call) {
    char text[160];
    reply_array(call->reply, 2 * SUBCOMMANDS + 1);
    reply_status(call->reply, "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        reply_status(call->reply, subcommands[i].usage);
        snprintf(text, sizeof text, "    %s", subcommands[i].text);
        reply_status(call->reply, text);
    }
    return 0;
}

int cmd_debug(struct call *call) {
    if (!server_hooks.permitted(SERVER_PERMISSION_DEBUG, call->client)) {
        reply_error(call->reply,
                    "DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you "
                    "can run it from a local "
                    "connection, otherwise you need to set this option in the configuration file, and then "
                    "restart the server.");
        return 0;
    }
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        if (!bytes_is(call->argv[1], subcommands[i].name)) continue;
        if (call->argc < subcommands[i].argc_min ||
            (subcommands[i].argc_max != 0 && call->argc > subcommands[i].argc_max))
            break;
        return subcommands[i].run(call);
    }
    return call_unknown_subcommand(call);
}
