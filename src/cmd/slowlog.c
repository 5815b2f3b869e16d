/* SPDX-License-Identifier: BSD-3-Clause */
/* The slow log: a doubly linked list, newest first. */
#include "cmd/slowlog.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cmd/dispatch.h"
#include "net/client.h"

static struct slowlog_record *newest, *oldest;
static size_t count;
static int64_t next_id;

/* Bytes of what is kept of ${argument}: at most SLOWLOG_ARGUMENT_BYTES_MAX, a note behind them. */
static size_t trim(struct bytes argument, char *note, size_t note_bytes) {
    note[0] = 0;
    if (argument.size <= SLOWLOG_ARGUMENT_BYTES_MAX) return argument.size;
    snprintf(note, note_bytes, "... (%zu more bytes)", argument.size - SLOWLOG_ARGUMENT_BYTES_MAX);
    return SLOWLOG_ARGUMENT_BYTES_MAX;
}

static uint8_t *keep_argument(struct slowlog_record *record, uint8_t *to, struct bytes argument) {
    char note[48];
    size_t size = trim(argument, note, sizeof note), note_size = strlen(note);
    if (size != 0) memcpy(to, argument.data, size);
    memcpy(to + size, note, note_size);
    record->argv[record->argc++] = bytes_of(to, size + note_size);
    return to + size + note_size;
}

void slowlog_add(const struct client *client, const struct bytes *argv, size_t argc, int64_t duration_us) {
    dispatch_stats.slowlog_commands++;
    dispatch_stats.slowlog_us_total += (uint64_t)duration_us;
    if ((uint64_t)duration_us > dispatch_stats.slowlog_us_max)
        dispatch_stats.slowlog_us_max = (uint64_t)duration_us;
    if (dispatch_config.slowlog_max_len == 0) return;
    size_t kept = argc > SLOWLOG_ARGUMENTS_MAX ? SLOWLOG_ARGUMENTS_MAX - 1 : argc;
    const char *name = client->name != NULL ? client->name : "";
    size_t bytes = sizeof(struct slowlog_record) + (kept + 1) * sizeof(struct bytes) + strlen(name) + 1;
    for (size_t i = 0; i < kept + 1; i++) {
        size_t size = i < argc ? argv[i].size : 0;
        bytes += (size < SLOWLOG_ARGUMENT_BYTES_MAX ? size : SLOWLOG_ARGUMENT_BYTES_MAX) + 48;
    }
    struct slowlog_record *record = memory_alloc(bytes);
    record->id = next_id++;
    record->time_s = clock_wall_ms() / 1000;
    record->duration_us = duration_us;
    client_address(client, record->address, sizeof record->address);
    record->argc = 0;
    uint8_t *to = (uint8_t *)(record->argv + kept + 1);
    for (size_t i = 0; i < kept; i++)
        to = keep_argument(record, to, argv[i]);
    if (kept < argc) {
        char note[48];
        snprintf(note, sizeof note, "... (%zu more arguments)", argc - kept);
        to = keep_argument(record, to, bytes_of_text(note));
    }
    record->client_name = (char *)to;
    memcpy(to, name, strlen(name) + 1);
    record->newer = NULL;
    record->older = newest;
    if (newest != NULL)
        newest->newer = record;
    else
        oldest = record;
    newest = record;
    count++;
    slowlog_trim();
}

static void drop_oldest(void) {
    struct slowlog_record *record = oldest;
    oldest = record->newer;
    if (oldest != NULL)
        oldest->older = NULL;
    else
        newest = NULL;
    count--;
    memory_free(record);
}

void slowlog_trim(void) {
    while (count > dispatch_config.slowlog_max_len)
        drop_oldest();
}

void slowlog_reset(void) {
    while (count > 0)
        drop_oldest();
}

size_t slowlog_count(void) {
    return count;
}

const struct slowlog_record *slowlog_newest(void) {
    return newest;
}
