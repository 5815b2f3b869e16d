/* SPDX-License-Identifier: BSD-3-Clause */
#include "server/settings.h"

#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"
#include "cmd/dispatch.h"
#include "cmd/pubsub_events.h"
#include "cmd/slowlog.h"
#include "ds/rdb_format.h"
#include "keyspace/evict.h"
#include "net/net.h"
#include "persist/persist.h"
#include "server/config.h"
#include "server/config_internal.h"
#include "server/process.h"
#include "types/type.h"

#define CLIENT_MEMORY_MIN (128u << 10)
#define STRESS_PMEM_BYTES (256ull << 20)
#define STRESS_NVME_BYTES (16ull << 30)

static int live;

static int apply_log(const char **error_out) {
    (void)error_out;
    log_set_level((enum log_level)config_number(CONFIG_LOGLEVEL));
    return 0;
}

static void apply_client_memory(void) {
    int64_t limit = config_number(CONFIG_MAXMEMORY_CLIENTS);
    uint64_t maxmemory = (uint64_t)config_number(CONFIG_MAXMEMORY);
    uint64_t bytes = limit >= 0 ? (uint64_t)limit : (uint64_t)((double)maxmemory * (double)-limit / 100.0);
    /* As in Redis: never so low that nobody could be talked to. */
    net_config.maxmemory_clients = bytes != 0 && bytes < CLIENT_MEMORY_MIN ? CLIENT_MEMORY_MIN : bytes;
}

static int apply_memory(const char **error_out) {
    static const enum evict_policy policies[] = {
        EVICT_VOLATILE_LRU, EVICT_VOLATILE_LFU, EVICT_VOLATILE_RANDOM, EVICT_VOLATILE_TTL,
        EVICT_ALLKEYS_LRU,  EVICT_ALLKEYS_LFU,  EVICT_ALLKEYS_RANDOM,  EVICT_NOEVICTION};
    uint64_t maxmemory = (uint64_t)config_number(CONFIG_MAXMEMORY);
    (void)error_out;
    evict_config.policy = policies[config_number(CONFIG_MAXMEMORY_POLICY)];
    evict_config.memory_max = maxmemory;
    evict_config.samples = (unsigned)config_number(CONFIG_MAXMEMORY_SAMPLES);
    evict_config.tenacity = (unsigned)config_number(CONFIG_MAXMEMORY_EVICTION_TENACITY);
    evict_config.lfu_log_factor = (unsigned)config_number(CONFIG_LFU_LOG_FACTOR);
    evict_config.lfu_decay_minutes = (unsigned)config_number(CONFIG_LFU_DECAY_TIME);
    apply_client_memory();
    if (live) {
        tier_set_memory_max(maxmemory);
        if (maxmemory > 0 && tier_memory_used() > maxmemory)
            log_warning("maxmemory is now %" PRIu64 " bytes but %" PRIu64
                        " are in use: data will be %s, new writes may have to wait or fail.",
                        maxmemory, tier_memory_used(),
                        tier_enabled() ? "moved to the lower tiers" : "evicted as maxmemory-policy says");
    }
    return 0;
}

static int apply_types(const char **error_out) {
    type_limits.hash_max_listpack_entries = (size_t)config_number(CONFIG_HASH_MAX_LISTPACK_ENTRIES);
    type_limits.hash_max_listpack_value = (size_t)config_number(CONFIG_HASH_MAX_LISTPACK_VALUE);
    type_limits.set_max_intset_entries = (size_t)config_number(CONFIG_SET_MAX_INTSET_ENTRIES);
    type_limits.set_max_listpack_entries = (size_t)config_number(CONFIG_SET_MAX_LISTPACK_ENTRIES);
    type_limits.set_max_listpack_value = (size_t)config_number(CONFIG_SET_MAX_LISTPACK_VALUE);
    type_limits.zset_max_listpack_entries = (size_t)config_number(CONFIG_ZSET_MAX_LISTPACK_ENTRIES);
    type_limits.zset_max_listpack_value = (size_t)config_number(CONFIG_ZSET_MAX_LISTPACK_VALUE);
    type_limits.list_max_listpack_size = config_number(CONFIG_LIST_MAX_LISTPACK_SIZE);
    type_limits.stream_node_max_bytes = (size_t)config_number(CONFIG_STREAM_NODE_MAX_BYTES);
    type_limits.stream_node_max_entries = (size_t)config_number(CONFIG_STREAM_NODE_MAX_ENTRIES);
    type_limits.hll_sparse_max_bytes = (size_t)config_number(CONFIG_HLL_SPARSE_MAX_BYTES);
    type_limits.string_bytes_max = (size_t)config_number(CONFIG_PROTO_MAX_BULK_LEN);
    if (setlocale(LC_COLLATE, config_text(CONFIG_LOCALE_COLLATE)) == NULL) {
        *error_out = "Invalid locale name";
        return FIRN_EINVALID;
    }
    return 0;
}

static int apply_tier(const char **error_out) {
    (void)error_out;
    tier_set_full_policy(config_number(CONFIG_TIER_FULL) == 0 ? TIER_FULL_ERROR : TIER_FULL_EVICT);
    return 0;
}

/* "normal h s t slave h s t pubsub h s t", as config_special.c made it. */
static void apply_output_limits(void) {
    struct config_words words;
    int status = config__split(bytes_of_text(config_text(CONFIG_CLIENT_OUTPUT_BUFFER_LIMIT)), &words);
    FIRN_ASSERT(status == 0 && words.count == 4 * CLIENT_CLASS_COUNT);
    for (unsigned class = 0; class < CLIENT_CLASS_COUNT; class ++) {
        struct net_output_limit *limit = &net_config.output_limit[class];
        status = config__parse_memory(words.words[4 * class + 1], &limit->hard_bytes);
        if (status == 0) status = config__parse_memory(words.words[4 * class + 2], &limit->soft_bytes);
        if (status == 0) status = config__parse_integer(words.words[4 * class + 3], &limit->soft_seconds);
        FIRN_ASSERT(status == 0);
    }
    config__words_fini(&words);
}

static void apply_password(void) {
    static uint8_t *copy; /* the text itself goes with the next CONFIG SET, even one that fails */
    struct bytes password = config_bytes(CONFIG_REQUIREPASS);
    memory_free(copy);
    copy = password.size > 0 ? memcpy(memory_alloc(password.size), password.data, password.size) : NULL;
    dispatch_config.requirepass = bytes_of(copy, password.size);
}

static int apply_network(const char **error_out) {
    (void)error_out;
    net_config.protected_mode = (int)config_number(CONFIG_PROTECTED_MODE);
    net_config.tcp_keepalive_seconds = (unsigned)config_number(CONFIG_TCP_KEEPALIVE);
    net_config.tcp_backlog = (unsigned)config_number(CONFIG_TCP_BACKLOG);
    net_config.timeout_seconds = (unsigned)config_number(CONFIG_TIMEOUT);
    net_config.client_query_buffer_limit = (uint64_t)config_number(CONFIG_CLIENT_QUERY_BUFFER_LIMIT);
    net_config.proto_max_bulk_len = (uint64_t)config_number(CONFIG_PROTO_MAX_BULK_LEN);
    type_limits.string_bytes_max = (size_t)config_number(CONFIG_PROTO_MAX_BULK_LEN);
    apply_client_memory();
    apply_output_limits();
    apply_password();
    return 0;
}

static int apply_clients(const char **error_out) {
    static char message[160];
    unsigned wanted = (unsigned)config_number(CONFIG_MAXCLIENTS);
    unsigned possible = process_allow_clients(wanted);
    if (possible < wanted && live) {
        snprintf(message, sizeof message,
                 "The operating system is not able to handle the specified number of clients, try with %u",
                 possible);
        *error_out = message;
        return FIRN_ESYSTEM;
    }
    if (possible < wanted)
        log_warning(
            "maxclients is %u but the system allows files for %u clients only: maxclients is now %u. Raise "
            "the limit (ulimit -n) for more.",
            wanted, possible, possible);
    char text[16];
    snprintf(text, sizeof text, "%u", possible);
    config_put(CONFIG_MAXCLIENTS, text);
    net_config.maxclients = possible;
    return 0;
}

static int apply_observe(const char **error_out) {
    (void)error_out;
    dispatch_config.slowlog_log_slower_than_us = config_number(CONFIG_SLOWLOG_LOG_SLOWER_THAN);
    dispatch_config.slowlog_max_len = (uint64_t)config_number(CONFIG_SLOWLOG_MAX_LEN);
    dispatch_config.latency_monitor_threshold_ms = config_number(CONFIG_LATENCY_MONITOR_THRESHOLD);
    dispatch_config.latency_tracking = (int)config_number(CONFIG_LATENCY_TRACKING);
    dispatch_config.hide_user_data_from_log = (int)config_number(CONFIG_HIDE_USER_DATA_FROM_LOG);
    dispatch_config.tracking_table_max_keys = (uint64_t)config_number(CONFIG_TRACKING_TABLE_MAX_KEYS);
    dispatch_config.acllog_max_len = (uint64_t)config_number(CONFIG_ACLLOG_MAX_LEN);
    slowlog_trim();
    pubsub_events_select(config__notify_classes());
    return 0;
}

static int apply_cron(const char **error_out) {
    (void)error_out;
    if (config_number(CONFIG_HZ) < 1) config_put(CONFIG_HZ, "1");
    if (config_number(CONFIG_HZ) > 500) config_put(CONFIG_HZ, "500");
    return 0;
}

static int apply_title(const char **error_out) {
    (void)error_out;
    process_title_refresh();
    return 0;
}

static int apply_oom(const char **error_out) {
    if (process_apply_oom_score() == 0) return 0;
    *error_out = "Failed to set current oom_score_adj. Check server logs.";
    return FIRN_ESYSTEM;
}

/* Points that were set start saves. The default ones do not, as a save holds up commands: they only say that
 * a shutdown saves (src/persist/README.md). */
static void read_save_points(void) {
    struct config_words words;
    int status = config__split(bytes_of_text(config_text(CONFIG_SAVE)), &words);
    FIRN_ASSERT(status == 0);
    persist_config.has_save_points = words.count > 0;
    persist_config.save_point_count = 0;
    size_t count = config_is_default(CONFIG_SAVE) ? 0 : words.count / 2;
    for (size_t i = 0; i < count && i < PERSIST_SAVE_POINTS_MAX; i++) {
        int64_t seconds = 0, changes = 0;
        status = number_parse_int(words.words[2 * i], &seconds) |
                 number_parse_int(words.words[2 * i + 1], &changes);
        FIRN_ASSERT(status == 0);
        persist_config.save_points[persist_config.save_point_count++] =
            (struct persist_save_point){.seconds = seconds, .changes = (uint64_t)changes};
    }
    config__words_fini(&words);
}

static int apply_persist(const char **error_out) {
    const char *name = config_text(CONFIG_DBFILENAME);
    if (strchr(name, '/') != NULL || strlen(name) >= sizeof persist_config.file_name) {
        *error_out = "dbfilename can't be a path, just a filename";
        return FIRN_EINVALID;
    }
    snprintf(persist_config.file_name, sizeof persist_config.file_name, "%s", name);
    persist_config.checksum = (int)config_number(CONFIG_RDBCHECKSUM);
    persist_config.incremental_sync = (int)config_number(CONFIG_RDB_SAVE_INCREMENTAL_FSYNC);
    read_save_points();
    persist_config.stop_writes_on_error = (int)config_number(CONFIG_STOP_WRITES_ON_BGSAVE_ERROR);
    persist_config.key_save_delay_us = config_number(CONFIG_RDB_KEY_SAVE_DELAY);
    persist_config.key_load_delay_us = config_number(CONFIG_KEY_LOAD_DELAY);
    persist_config.load_step_bytes = (uint64_t)config_number(CONFIG_LOADING_PROCESS_EVENTS_INTERVAL_BYTES);
    persist_config.redis_version = DISPATCH_REDIS_VERSION;
    persist_config.sanitize_restore = config_number(CONFIG_SANITIZE_DUMP_PAYLOAD) != 0;
    persist_config.sanitize_load = config_number(CONFIG_SANITIZE_DUMP_PAYLOAD) == 1;
    rdb_compression = (int)config_number(CONFIG_RDBCOMPRESSION);
    return 0;
}

static void read_addresses(void) {
    struct config_words words;
    int status = config__split(bytes_of_text(config_text(CONFIG_BIND)), &words);
    FIRN_ASSERT(status == 0 && words.count <= 16);
    net_config.bind_count = (unsigned)words.count;
    for (size_t i = 0; i < words.count; i++)
        snprintf(net_config.bind[i], sizeof net_config.bind[i], "%.*s", (int)words.words[i].size,
                 (const char *)words.words[i].data);
    config__words_fini(&words);
    /* `bind ""`: no address at all, so no TCP. */
    net_config.port = net_config.bind_count > 0 ? (unsigned)config_number(CONFIG_PORT) : 0;
}

static int apply_listen(void) {
    struct net_config before = net_config;
    read_addresses();
    int status = live ? net_listen_again() : 0;
    if (status != 0)
        net_config = before;
    else if (live)
        process_title_refresh();
    return status;
}

static int apply_bind(const char **error_out) {
    int status = apply_listen();
    if (status != 0) *error_out = "Failed to bind to specified addresses.";
    return status;
}

static int apply_port(const char **error_out) {
    int status = apply_listen();
    if (status != 0) *error_out = "Unable to listen on this port. Check server logs.";
    return status;
}

static int (*const functions[CONFIG_APPLY_COUNT])(const char **error_out) = {
    [CONFIG_APPLY_LOG] = apply_log,          [CONFIG_APPLY_MEMORY] = apply_memory,
    [CONFIG_APPLY_TYPES] = apply_types,      [CONFIG_APPLY_TIER] = apply_tier,
    [CONFIG_APPLY_NETWORK] = apply_network,  [CONFIG_APPLY_CLIENTS] = apply_clients,
    [CONFIG_APPLY_OBSERVE] = apply_observe,  [CONFIG_APPLY_CRON] = apply_cron,
    [CONFIG_APPLY_TITLE] = apply_title,      [CONFIG_APPLY_OOM] = apply_oom,
    [CONFIG_APPLY_LISTEN_BIND] = apply_bind, [CONFIG_APPLY_LISTEN_PORT] = apply_port,
    [CONFIG_APPLY_PERSIST] = apply_persist,
};

void settings_apply_all(void) {
    const char *ignored = NULL;
    snprintf(net_config.unixsocket, sizeof net_config.unixsocket, "%s", config_text(CONFIG_UNIXSOCKET));
    net_config.unixsocketperm = (unsigned)config_number(CONFIG_UNIXSOCKETPERM);
    dispatch_config.mode = "standalone";
    for (int group = 1; group < CONFIG_APPLY_COUNT; group++) {
        config_on_apply((enum config_apply)group, functions[group]);
        if (functions[group] != NULL && functions[group](&ignored) != 0)
            log_warning("%s", ignored != NULL ? ignored : "a setting could not be applied");
    }
}

void settings_go_live(void) {
    live = 1;
}

void settings_tiers(struct tier_config *config_out) {
    static char pmem_path[PATH_MAX], nvme_path[PATH_MAX];
    memset(config_out, 0, sizeof *config_out);
    config_out->pmem_path = config_text(CONFIG_TIER_PMEM_PATH);
    config_out->pmem_bytes = (uint64_t)config_number(CONFIG_TIER_PMEM_SIZE);
    config_out->nvme_path = config_text(CONFIG_TIER_NVME_PATH);
    config_out->nvme_bytes = (uint64_t)config_number(CONFIG_TIER_NVME_SIZE);
    config_out->memory_max = (uint64_t)config_number(CONFIG_MAXMEMORY);
    int none = config_out->pmem_path[0] == '\0' && config_out->nvme_path[0] == '\0';
    if (!none || config_number(CONFIG_TIER_STRESS) == 0) return;
    /* tier-stress without tiers: scratch ones in the working directory, named by port so that a restart finds
     * and reuses them. */
    snprintf(pmem_path, sizeof pmem_path, "firn-stress-%lld.pmem", (long long)config_number(CONFIG_PORT));
    snprintf(nvme_path, sizeof nvme_path, "firn-stress-%lld.nvme", (long long)config_number(CONFIG_PORT));
    config_out->pmem_path = pmem_path;
    config_out->pmem_bytes = STRESS_PMEM_BYTES;
    config_out->nvme_path = nvme_path;
    config_out->nvme_bytes = STRESS_NVME_BYTES;
}

int settings_is_local(const struct client *client) {
    char address[300];
    if (client->flags & (CLIENT_UNIX_SOCKET | CLIENT_INTERNAL)) return 1;
    client_address(client, address, sizeof address);
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0 ||
           strncmp(address, "::1:", 4) == 0;
}

int settings_permitted(enum server_permission permission, const struct client *client) {
    static const enum config_id directives[] = {CONFIG_ENABLE_PROTECTED_CONFIGS, CONFIG_ENABLE_DEBUG_COMMAND,
                                                CONFIG_ENABLE_MODULE_COMMAND};
    switch (config_number(directives[permission])) {
    case 1: return 1;                         /* yes */
    case 2: return settings_is_local(client); /* local */
    default: return 0;
    }
}
