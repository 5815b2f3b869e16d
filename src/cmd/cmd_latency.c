/* SPDX-License-Identifier: BSD-3-Clause */
/* LATENCY LATEST, HISTORY, RESET, GRAPH, DOCTOR, HISTOGRAM, HELP. */
#include <stdio.h>

#include "base/bytes_builder.h"
#include "base/clock.h"
#include "cmd/call.h"
#include "cmd/command.h"
#include "cmd/dispatch.h"
#include "cmd/latency.h"
#include "ds/histogram.h"

#define GRAPH_ROWS 4u

/* Sample ${i} of ${event}, oldest first; unused ones have time 0. */
static const struct latency_sample *sample_at(const struct latency_event *event, unsigned i) {
    return &event->samples[(event->next + i) % LATENCY_SAMPLES_MAX];
}

int cmd_latency_latest(struct call *call) {
    unsigned count = latency_event_count();
    reply_array(call->reply, count);
    for (unsigned i = 0; i < count; i++) {
        const struct latency_event *event = latency_event_at(i);
        const struct latency_sample *last = sample_at(event, LATENCY_SAMPLES_MAX - 1);
        reply_array(call->reply, 4);
        reply_bulk_text(call->reply, event->name);
        reply_integer(call->reply, last->time_s);
        reply_integer(call->reply, last->latency_ms);
        reply_integer(call->reply, event->max_ms);
    }
    return 0;
}

int cmd_latency_history(struct call *call) {
    const struct latency_event *event = latency_event_find(call->argv[2]);
    struct reply_later later = reply_later_open(call->reply, '*');
    size_t count = 0;
    for (unsigned i = 0; event != NULL && i < LATENCY_SAMPLES_MAX; i++) {
        const struct latency_sample *sample = sample_at(event, i);
        if (sample->time_s == 0) continue;
        reply_array(call->reply, 2);
        reply_integer(call->reply, sample->time_s);
        reply_integer(call->reply, sample->latency_ms);
        count++;
    }
    reply_later_close(call->reply, later, count);
    return 0;
}

int cmd_latency_reset(struct call *call) {
    unsigned dropped = 0;
    if (call->argc == 2) dropped = latency_reset(NULL);
    for (size_t i = 2; i < call->argc; i++)
        dropped += latency_reset(&call->argv[i]);
    reply_integer(call->reply, dropped);
    return 0;
}

/* --- GRAPH --- */

struct graph {
    const struct latency_sample *samples[LATENCY_SAMPLES_MAX];
    unsigned count;
    uint32_t min_ms, max_ms;
};

static void graph_collect(struct graph *graph, const struct latency_event *event) {
    *graph = (struct graph){.min_ms = UINT32_MAX};
    for (unsigned i = 0; i < LATENCY_SAMPLES_MAX; i++) {
        const struct latency_sample *sample = sample_at(event, i);
        if (sample->time_s == 0) continue;
        graph->samples[graph->count++] = sample;
        if (sample->latency_ms < graph->min_ms) graph->min_ms = sample->latency_ms;
        if (sample->latency_ms > graph->max_ms) graph->max_ms = sample->latency_ms;
    }
}

/* Bars of '#', the age of each sample below, read downwards. */
static void graph_draw(struct bytes_builder *out, const struct graph *graph) {
    int64_t now = clock_wall_ms() / 1000;
    uint32_t span = graph->max_ms - graph->min_ms;
    for (unsigned row = GRAPH_ROWS; row-- > 0;) {
        for (unsigned i = 0; i < graph->count; i++) {
            uint64_t part = span == 0 ? GRAPH_ROWS - 1
                                      : (uint64_t)(graph->samples[i]->latency_ms - graph->min_ms) *
                                            (GRAPH_ROWS - 1) / span;
            bytes_builder_append_byte(out, part == row ? '#' : part > row ? '|' : row == 0 ? '_' : ' ');
        }
        bytes_builder_append_byte(out, '\n');
    }
    bytes_builder_append_byte(out, '\n');
    for (unsigned digit = 0; digit < 4; digit++) {
        for (unsigned i = 0; i < graph->count; i++) {
            char age[24];
            int64_t seconds = now - graph->samples[i]->time_s;
            if (seconds < 60)
                snprintf(age, sizeof age, "%llds", (long long)seconds);
            else if (seconds < 3600)
                snprintf(age, sizeof age, "%lldm", (long long)seconds / 60);
            else if (seconds < 86400)
                snprintf(age, sizeof age, "%lldh", (long long)seconds / 3600);
            else
                snprintf(age, sizeof age, "%lldd", (long long)seconds / 86400);
            bytes_builder_append_byte(out, digit < strlen(age) ? (uint8_t)age[digit] : ' ');
        }
        bytes_builder_append_byte(out, '\n');
    }
}

int cmd_latency_graph(struct call *call) {
    const struct latency_event *event = latency_event_find(call->argv[2]);
    if (event == NULL) {
        reply_error_format(call->reply, "No samples available for event '%.*s'", (int)call->argv[2].size,
                           (const char *)call->argv[2].data);
        return 0;
    }
    struct graph graph;
    struct bytes_builder out = {0};
    graph_collect(&graph, event);
    bytes_builder_format(&out, "%s - high %u ms, low %u ms (all time high %u ms)\n", event->name,
                         graph.max_ms, graph.min_ms, event->max_ms);
    for (unsigned i = 0; i < 80; i++)
        bytes_builder_append_byte(&out, '-');
    bytes_builder_append_byte(&out, '\n');
    graph_draw(&out, &graph);
    reply_verbatim(call->reply, "txt", bytes_builder_bytes(&out));
    bytes_builder_fini(&out);
    return 0;
}

/* --- DOCTOR --- */

static const char *advice(const char *event) {
    if (strcmp(event, "command") == 0)
        return "Some commands are slow by nature: SLOWLOG GET shows which ones; lower "
               "slowlog-log-slower-than if it is empty.";
    if (strcmp(event, "fast-command") == 0)
        return "A command that is always quick took long: the process did not get the processor, or was "
               "swapped out. Look at the load of "
               "the machine.";
    if (strcmp(event, "tier-read") == 0)
        return "Commands waited for pages from NVMe. More maxmemory or a larger PMEM tier keeps more of them "
               "near; TIER STATS shows the "
               "device's own latency.";
    if (strcmp(event, "tier-write-stall") == 0)
        return "Writers were held back until memory was freed: data comes in faster than the lower tiers "
               "take it.";
    if (strncmp(event, "expire", 6) == 0)
        return "Many keys expire at the same moment. Spread their times to live.";
    if (strncmp(event, "eviction", 8) == 0)
        return "Memory is full and keys are evicted. Raise maxmemory, or add a tier.";
    return "No particular advice for this event.";
}

static void describe(struct bytes_builder *out, unsigned number, const struct latency_event *event) {
    uint64_t sum = 0;
    unsigned count = 0;
    int64_t first = 0;
    for (unsigned i = 0; i < LATENCY_SAMPLES_MAX; i++) {
        const struct latency_sample *sample = sample_at(event, i);
        if (sample->time_s == 0) continue;
        if (count++ == 0) first = sample->time_s;
        sum += sample->latency_ms;
    }
    int64_t period = clock_wall_ms() / 1000 - first;
    bytes_builder_format(
        out,
        "%u. %s: %u latency spikes in %lld seconds, %llu ms on average, worst of all time %u ms.\n   %s\n",
        number, event->name, count, (long long)period, (unsigned long long)(count ? sum / count : 0),
        event->max_ms, advice(event->name));
}

int cmd_latency_doctor(struct call *call) {
    struct bytes_builder out = {0};
    if (dispatch_config.latency_monitor_threshold_ms == 0 && latency_event_count() == 0) {
        bytes_builder_append_text(
            &out,
            "The latency monitor is off, so there is nothing to examine. Switch it on with "
            "CONFIG SET latency-monitor-threshold <milliseconds>.\n");
    } else if (latency_event_count() == 0) {
        bytes_builder_format(&out, "No latency spike of %lld ms or more was seen. All is well.\n",
                             (long long)dispatch_config.latency_monitor_threshold_ms);
    } else {
        bytes_builder_append_text(&out, "Latency spikes were seen:\n\n");
        for (unsigned i = 0; i < latency_event_count(); i++)
            describe(&out, i + 1, latency_event_at(i));
    }
    reply_verbatim(call->reply, "txt", bytes_builder_bytes(&out));
    bytes_builder_fini(&out);
    return 0;
}

/* --- HISTOGRAM --- */

/* Pairs of (microseconds, calls that took at most as long), at powers of two of nanoseconds, where the number
 * grows. */
static void reply_histogram(struct reply *reply, const struct command *command) {
    const struct dispatch_command_stats *stats = dispatch_command_stats(command);
    reply_bulk_text(reply, command->name);
    reply_map(reply, 2);
    reply_bulk_text(reply, "calls");
    reply_integer(reply, (int64_t)stats->histogram->count);
    reply_bulk_text(reply, "histogram_usec");
    struct reply_later map = reply_later_open(reply, '%');
    size_t pairs = 0;
    uint64_t before = 0;
    for (uint64_t ns = 1024; before < stats->histogram->count && ns <= HISTOGRAM_VALUE_MAX; ns *= 2) {
        uint64_t calls = histogram_count_to(stats->histogram, ns);
        if (ns > HISTOGRAM_VALUE_MAX / 2) calls = stats->histogram->count;
        if (calls == before) continue;
        reply_integer(reply, (int64_t)((ns + ns / 128 - 1) / 1000));
        reply_integer(reply, (int64_t)calls);
        before = calls;
        pairs++;
    }
    reply_later_close(reply, map, pairs);
}

static size_t reply_histograms(struct reply *reply, const struct command *command) {
    size_t count = 0;
    if (command->handler != NULL && dispatch_command_stats(command)->histogram != NULL) {
        reply_histogram(reply, command);
        count++;
    }
    for (unsigned i = 0; i < command->subcommand_count; i++)
        count += reply_histograms(reply, &command->subcommands[i]);
    return count;
}

int cmd_latency_histogram(struct call *call) {
    struct reply_later map = reply_later_open(call->reply, '%');
    size_t count = 0;
    if (call->argc == 2) {
        for (unsigned i = 0; i < command_count(); i++)
            count += reply_histograms(call->reply, command_at(i));
    }
    for (size_t i = 2; i < call->argc; i++) {
        const struct command *command = command_find_name(call->argv[i]);
        if (command != NULL) count += reply_histograms(call->reply, command);
    }
    reply_later_close(call->reply, map, count);
    return 0;
}

int cmd_latency_help(struct call *call) {
    static const char *const lines[] = {
        "DOCTOR",
        "    A report in words on the latency spikes seen.",
        "GRAPH <event>",
        "    A drawing of the spikes of <event>.",
        "HISTORY <event>",
        "    The spikes of <event>: Unix time and milliseconds.",
        "LATEST",
        "    The latest spike of each event.",
        "RESET [<event> ...]",
        "    Forget the spikes of the given events, or of all.",
        "HISTOGRAM [<command> ...]",
        "    How long the calls of the given commands took, or of all: calls up to so many",
        "    microseconds.",
        NULL,
    };
    return call_help(call, lines);
}
