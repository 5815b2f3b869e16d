/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Saving: head, databases in order, end.
 *
 *   "REDIS" version | AUX name value ... | per database with keys: SELECTDB n, RESIZEDB keys expires, then
 *   per key: [EXPIRETIME_MS ms] [IDLE s | FREQ n] type key body | EOF checksum
 *
 * The version is the lowest that every value's form needs (README.md): types are asked for forms of
 * RDB_VERSION_COMPATIBLE and use a newer one only for what that cannot hold.
 *
 * A body is encoded into memory and written behind its key; when it grows past TYPE_ENCODE_PART_BYTES between
 * two elements, what is there goes to the file at once (take_part).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "ds/number.h"
#include "ds/rdb_format.h"
#include "keyspace/db.h"
#include "keyspace/evict.h"
#include "persist/persist_internal.h"
#include "persist/rdb_file.h"
#include "tiering/tier.h"
#include "types/type.h"

#define BODY_BYTES_KEPT (1u << 20) /* a larger buffer is given back after its value */

struct save {
    struct rdb_file file;
    struct bytes_builder head, body;
    struct entry *entry; /* being encoded */
    int head_written;    /* type and key of it are in the file already */
    int delay;
};

static struct save *current; /* for take_part */

static int write_head(struct save *save, uint8_t rdb_type) {
    const struct entry *entry = save->entry;
    struct bytes_builder *head = &save->head;
    bytes_builder_clear(head);
    if (entry->flags & ENTRY_EXPIRY) {
        bytes_builder_append_byte(head, RDB_OPCODE_EXPIRETIME_MS);
        rdb_write_ms(head, entry_expiry(entry));
    }
    enum evict_policy policy = evict_config.policy;
    if (policy == EVICT_ALLKEYS_LRU || policy == EVICT_VOLATILE_LRU) {
        bytes_builder_append_byte(head, RDB_OPCODE_IDLE);
        rdb_write_length(head, evict_idle_ms(entry) / 1000);
    } else if (evict_policy_is_lfu()) {
        bytes_builder_append_byte(head, RDB_OPCODE_FREQ);
        bytes_builder_append_byte(head, (uint8_t)evict_frequency(entry));
    }
    bytes_builder_append_byte(head, rdb_type);
    rdb_write_string(head, entry_key(entry), 1);
    unsigned version = rdb_type_version(rdb_type);
    if (version > save->file.version) save->file.version = version;
    save->head_written = 1;
    return rdb_file_write(&save->file, bytes_builder_bytes(head));
}

static int take_part(struct bytes_builder *out, uint8_t rdb_type) {
    struct save *save = current;
    if (save == NULL || out != &save->body) return 0;
    int error = save->head_written ? 0 : write_head(save, rdb_type);
    if (error == 0) error = rdb_file_write(&save->file, bytes_builder_bytes(out));
    bytes_builder_clear(out);
    return error;
}

static int save_entry(struct entry *entry, void *ctx) {
    struct save *save = ctx;
    uint8_t rdb_type;
    save->entry = entry;
    save->head_written = 0;
    bytes_builder_clear(&save->body);
    int error = type_ops(entry_type(entry))->encode(entry, &save->body, &rdb_type);
    if (error == 0 && !save->head_written) error = write_head(save, rdb_type);
    if (error == 0) error = rdb_file_write(&save->file, bytes_builder_bytes(&save->body));
    if (save->body.capacity > BODY_BYTES_KEPT) bytes_builder_fini(&save->body);
    if (error == 0 && save->delay && persist_config.key_save_delay_us != 0)
        persist__key_delay(persist_config.key_save_delay_us);
    if (error != 0 && error != FIRN_ESYSTEM)
        log_warning("Saving the DB failed: a value cannot be read: %s", error_text(error));
    return error;
}

static void append_aux(struct bytes_builder *out, const char *name, const char *value) {
    bytes_builder_append_byte(out, RDB_OPCODE_AUX);
    rdb_write_string(out, bytes_of_text(name), 0);
    rdb_write_string(out, bytes_of_text(value), 0);
}

static int save_begin(struct save *save) {
    struct bytes_builder *out = &save->head;
    char digits[NUMBER_INT_TEXT_MAX + 1];
    append_aux(out, "redis-ver", persist_config.redis_version);
    append_aux(out, "redis-bits", "64");
    snprintf(digits, sizeof digits, "%lld", (long long)clock_wall_ms() / 1000);
    append_aux(out, "ctime", digits);
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)tier_memory_used());
    append_aux(out, "used-mem", digits);
    append_aux(out, "aof-base", "0");
    return rdb_file_write(&save->file, bytes_builder_bytes(out));
}

static int save_db(struct save *save, unsigned index) {
    struct db *db = db_at(index);
    struct bytes_builder *out = &save->head;
    if (db_size(db) == 0) return 0;
    bytes_builder_clear(out);
    bytes_builder_append_byte(out, RDB_OPCODE_SELECTDB);
    rdb_write_length(out, index);
    bytes_builder_append_byte(out, RDB_OPCODE_RESIZEDB);
    rdb_write_length(out, db_size(db));
    rdb_write_length(out, db_expires_count(db));
    int error = rdb_file_write(&save->file, bytes_builder_bytes(out));
    return error != 0 ? error : db_walk(db, save_entry, save);
}

static int save_all(struct save *save) {
    FIRN_ASSERT(current == NULL);
    current = save;
    type_part_hooks.take = take_part;
    rdb_version_preferred = RDB_VERSION_COMPATIBLE;
    int error = save_begin(save);
    for (unsigned i = 0; i < db_count() && error == 0; i++)
        error = save_db(save, i);
    rdb_version_preferred = RDB_VERSION_WRITTEN;
    type_part_hooks.take = NULL;
    current = NULL;
    return error;
}

/* Nothing is kept of what is only measured. */
static size_t measured;

static int count_part(struct bytes_builder *out, uint8_t rdb_type) {
    (void)rdb_type;
    measured += out->size;
    bytes_builder_clear(out);
    return 0;
}

int persist_value_size(struct entry *entry, size_t *size_out) {
    struct bytes_builder body = {0};
    uint8_t rdb_type;
    FIRN_ASSERT(type_part_hooks.take == NULL);
    measured = 0;
    type_part_hooks.take = count_part;
    int error = type_ops(entry_type(entry))->encode(entry, &body, &rdb_type);
    type_part_hooks.take = NULL;
    *size_out = measured + body.size;
    bytes_builder_fini(&body);
    return error;
}

int persist_save(int delay) {
    struct save save = {.delay = delay};
    int error = rdb_file_create(&save.file, persist_config.checksum, persist_config.incremental_sync);
    if (error != 0) return error;
    error = save_all(&save);
    if (error == 0)
        error = rdb_file_finish(&save.file, persist_config.file_name);
    else
        rdb_file_abort(&save.file);
    bytes_builder_fini(&save.head);
    bytes_builder_fini(&save.body);
    if (error != 0) return error;
    log_notice("DB saved on disk");
    db_stats.changes = 0;
    persist_status.last_save_s = clock_wall_ms() / 1000;
    persist_status.last_background_failed = 0;
    persist_status.saves++;
    return 0;
}
