/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Statistics of commands (calls, time, histogram) and of errors by code.
 */
#include "cmd/dispatch_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes_builder.h"
#include "base/log.h"
#include "base/memory.h"

#define ERROR_CODES_MAX      128u
#define ERRORS_DISABLED_CODE "ERRORSTATS_DISABLED"

struct command_record {
    struct dispatch_command_stats shown;
    uint64_t ns;
};

struct error_record {
    char code[64];
    uint64_t count;
};

struct dispatch_stats dispatch_stats;
static struct command_record *records;
static struct error_record errors[ERROR_CODES_MAX]; /* sorted by code */
static unsigned error_count;
static int errors_disabled;

void dispatch__stats_start(void) {
    if (records == NULL) records = memory_alloc_zero(command_total_count * sizeof *records);
}

void dispatch__stats_stop(void) {
    if (records == NULL) return;
    for (unsigned i = 0; i < command_total_count; i++)
        memory_free(records[i].shown.histogram);
    memory_free(records);
    records = NULL;
}

/* --- commands --- */

void dispatch__count_call(const struct command *command, uint64_t ns, int failed) {
    struct command_record *record = &records[command->index];
    record->shown.calls++;
    record->ns += ns;
    record->shown.failed += (uint64_t)failed;
    if (!dispatch_config.latency_tracking) return;
    if (__builtin_expect(record->shown.histogram == NULL, 0))
        record->shown.histogram = memory_alloc_zero(sizeof(struct histogram));
    histogram_record(record->shown.histogram, ns);
}

void dispatch__count_rejected(const struct command *command) {
    records[command->index].shown.rejected++;
}

const struct dispatch_command_stats *dispatch_command_stats(const struct command *command) {
    dispatch__stats_start();
    struct command_record *record = &records[command->index];
    record->shown.usec = record->ns / 1000;
    return &record->shown;
}

/* --- errors --- */

static void disable_errors(void) {
    struct bytes_builder codes = {0};
    for (unsigned i = 0; i < error_count; i++)
        bytes_builder_format(&codes, "%s%s", i == 0 ? "" : ", ", errors[i].code);
    bytes_builder_append_byte(&codes, 0);
    log_warning(
        "Errorstats stopped adding new errors because the number of errors reached the limit (%u). "
        "Current errors code list: %s",
        ERROR_CODES_MAX, (const char *)codes.data);
    bytes_builder_fini(&codes);
    errors_disabled = 1;
    error_count = 1;
    snprintf(errors[0].code, sizeof errors[0].code, "%s", ERRORS_DISABLED_CODE);
    errors[0].count = 1;
}

void dispatch__count_errors(const char *code, uint64_t count) {
    dispatch_stats.error_replies += count;
    if (errors_disabled) return;
    unsigned low = 0, high = error_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (strcmp(errors[middle].code, code) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < error_count && strcmp(errors[low].code, code) == 0) {
        errors[low].count += count;
        return;
    }
    if (error_count == ERROR_CODES_MAX) {
        disable_errors();
        return;
    }
    memmove(&errors[low + 1], &errors[low], (error_count - low) * sizeof *errors);
    error_count++;
    snprintf(errors[low].code, sizeof errors[low].code, "%s", code);
    errors[low].count = count;
}

void dispatch_each_error(void (*visit)(const char *code, uint64_t count, void *ctx), void *ctx) {
    for (unsigned i = 0; i < error_count; i++)
        visit(errors[i].code, errors[i].count, ctx);
}

void dispatch_stats_reset(void) {
    dispatch__stats_stop();
    dispatch__stats_start();
    error_count = 0;
    errors_disabled = 0;
    struct dispatch_stats kept = dispatch_stats;
    dispatch_stats = (struct dispatch_stats){
        .parked_pages = kept.parked_pages,
        .parked_memory = kept.parked_memory,
        .parked_delay = kept.parked_delay,
        .parked_pause = kept.parked_pause,
        .waiting = kept.waiting,
        .timed = kept.timed,
        .monitors = kept.monitors,
    };
}
