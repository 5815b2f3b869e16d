/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Directives whose values have a form of their own. Each is kept as the text that CONFIG GET prints; who
 * needs the parts splits that text again (config_apply.c), so there is one form to store, compare and roll
 * back.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/assert.h"
#include "keyspace/notify.h"
#include "server/config_internal.h"

#define BIND_ADDRESSES_MAX 16
#define BIND_ADDRESS_BYTES 63

static int refuse(char error[CONFIG_ERROR_BYTES], const char *reason) {
    snprintf(error, CONFIG_ERROR_BYTES, "%s", reason);
    return FIRN_EINVALID;
}

static int is_single_empty(const struct bytes *words, size_t count) {
    return count == 1 && words[0].size == 0;
}

static void append_word(struct bytes_builder *out, struct bytes word) {
    if (out->size > 0) bytes_builder_append_byte(out, ' ');
    bytes_builder_append(out, word.data, word.size);
}

/* --- dir: takes effect at once, so that later lines of a file see it --- */

const char *config__current_folder(void) {
    static char folder[PATH_MAX];
    if (getcwd(folder, sizeof folder) == NULL) folder[0] = '\0';
    return folder;
}

static int parse_dir(const char *now, const struct bytes *words, size_t count, struct bytes_builder *out,
                     char error[CONFIG_ERROR_BYTES]) {
    char path[PATH_MAX];
    (void)now;
    if (count != 1) return refuse(error, "wrong number of arguments");
    if (words[0].size >= sizeof path) return refuse(error, strerror(ENAMETOOLONG));
    memcpy(path, words[0].data, words[0].size);
    path[words[0].size] = '\0';
    if (chdir(path) != 0) return refuse(error, strerror(errno));
    bytes_builder_append_text(out, config__current_folder());
    return 0;
}

static void lines_dir(const char *value, struct bytes_builder *out) {
    (void)value;
    bytes_builder_append_text(out, "dir ");
    config__quote(bytes_of_text(config__current_folder()), out);
    bytes_builder_append_byte(out, '\n');
}

/* --- save --- */

static int loading, save_seen;

void config__special_loading(int is_loading) {
    loading = is_loading;
    save_seen = 0;
}

static int parse_save(const char *now, const struct bytes *words, size_t count, struct bytes_builder *out,
                      char error[CONFIG_ERROR_BYTES]) {
    int reset = is_single_empty(words, count);
    if (reset) count = 0;
    if (count & 1) return refuse(error, "Invalid save parameters");
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        if (config__parse_integer(words[i], &value) != 0 || value < (i % 2 == 0 ? 1 : 0) || value > INT_MAX)
            return refuse(error, "Invalid save parameters");
    }
    if (loading && save_seen && !reset) bytes_builder_append_text(out, now);
    save_seen = loading;
    for (size_t i = 0; i < count; i++)
        append_word(out, words[i]);
    return 0;
}

static void lines_save(const char *value, struct bytes_builder *out) {
    struct config_words words;
    if (config__split(bytes_of_text(value), &words) != 0 || words.count == 0)
        bytes_builder_append_text(out, "save \"\"\n");
    for (size_t i = 0; i + 1 < words.count; i += 2)
        bytes_builder_format(out, "save %.*s %.*s\n", (int)words.words[i].size,
                             (const char *)words.words[i].data, (int)words.words[i + 1].size,
                             (const char *)words.words[i + 1].data);
    config__words_fini(&words);
}

/* --- client-output-buffer-limit --- */

struct output_limit {
    uint64_t hard, soft;
    int64_t seconds;
};
static const char *const class_names[3] = {"normal", "slave", "pubsub"};

static int class_by_name(struct bytes name) {
    if (bytes_is(name, "replica")) return 1;
    for (int i = 0; i < 3; i++)
        if (bytes_is(name, class_names[i])) return i;
    return -1;
}

static int parse_limits(const struct bytes *words, size_t count, struct output_limit limits[3],
                        char error[CONFIG_ERROR_BYTES]) {
    if (count == 0 || count % 4 != 0)
        return refuse(error, "Wrong number of arguments in buffer limit configuration.");
    for (size_t i = 0; i < count; i += 4) {
        struct output_limit limit;
        int class = class_by_name(words[i]);
        if (class < 0) return refuse(error, "Invalid client class specified in buffer limit configuration.");
        if (config__parse_memory(words[i + 1], &limit.hard) != 0 ||
            config__parse_memory(words[i + 2], &limit.soft) != 0 ||
            config__parse_integer(words[i + 3], &limit.seconds) != 0 || limit.seconds < 0)
            return refuse(error,
                          "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        limits[class] = limit;
    }
    return 0;
}

static void split_limits(const char *value, struct output_limit limits[3]) {
    struct config_words words;
    char error[CONFIG_ERROR_BYTES];
    int status = config__split(bytes_of_text(value), &words);
    if (status == 0) status = parse_limits(words.words, words.count, limits, error);
    config__words_fini(&words);
    FIRN_ASSERT(status == 0);
}

static int parse_output_limit(const char *now, const struct bytes *words, size_t count,
                              struct bytes_builder *out, char error[CONFIG_ERROR_BYTES]) {
    struct output_limit limits[3];
    split_limits(now, limits);
    int status = parse_limits(words, count, limits, error);
    for (int i = 0; i < 3 && status == 0; i++)
        bytes_builder_format(out, "%s%s %" PRIu64 " %" PRIu64 " %" PRId64, i == 0 ? "" : " ", class_names[i],
                             limits[i].hard, limits[i].soft, limits[i].seconds);
    return status;
}

static void lines_output_limit(const char *value, struct bytes_builder *out) {
    struct output_limit limits[3];
    split_limits(value, limits);
    for (int i = 0; i < 3; i++) {
        bytes_builder_format(out, "client-output-buffer-limit %s ", i == 1 ? "replica" : class_names[i]);
        config__format_memory(limits[i].hard, out);
        bytes_builder_append_byte(out, ' ');
        config__format_memory(limits[i].soft, out);
        bytes_builder_format(out, " %" PRId64 "\n", limits[i].seconds);
    }
}

/* --- the rest --- */

static int parse_oom_values(const char *now, const struct bytes *words, size_t count,
                            struct bytes_builder *out, char error[CONFIG_ERROR_BYTES]) {
    (void)now;
    if (count != 3) return refuse(error, "wrong number of arguments");
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        if (config__parse_integer(words[i], &value) != 0 || value < -2000 || value > 2000)
            return refuse(error, "Invalid oom-score-adj-values, elements must be between -2000 and 2000.");
        bytes_builder_format(out, "%s%" PRId64, i == 0 ? "" : " ", value);
    }
    return 0;
}

static const struct {
    char letter;
    unsigned flags;
} event_letters[] = {{'g', NOTIFY_GENERIC},  {'$', NOTIFY_STRING},  {'l', NOTIFY_LIST},
                     {'s', NOTIFY_SET},      {'h', NOTIFY_HASH},    {'z', NOTIFY_ZSET},
                     {'x', NOTIFY_EXPIRED},  {'e', NOTIFY_EVICTED}, {'t', NOTIFY_STREAM},
                     {'d', NOTIFY_MODULE},   {'n', NOTIFY_NEW},     {'K', NOTIFY_KEYSPACE},
                     {'E', NOTIFY_KEYEVENT}, {'m', NOTIFY_KEYMISS}};
#define EVENT_LETTERS (sizeof event_letters / sizeof *event_letters)

static int parse_notify(const char *now, const struct bytes *words, size_t count, struct bytes_builder *out,
                        char error[CONFIG_ERROR_BYTES]) {
    unsigned flags = 0;
    (void)now;
    if (count != 1) return refuse(error, "wrong number of arguments");
    for (size_t i = 0; i < words[0].size; i++) {
        unsigned one = words[0].data[i] == 'A' ? NOTIFY_ALL : 0;
        for (size_t l = 0; l < EVENT_LETTERS; l++)
            if (event_letters[l].letter == (char)words[0].data[i]) one = event_letters[l].flags;
        if (one == 0) return refuse(error, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        flags |= one;
    }
    int all = (flags & NOTIFY_ALL) == NOTIFY_ALL;
    if (all) bytes_builder_append_byte(out, 'A');
    for (size_t l = 0; l < EVENT_LETTERS; l++) {
        int said = all && (event_letters[l].flags & NOTIFY_ALL) != 0;
        if ((flags & event_letters[l].flags) != 0 && !said)
            bytes_builder_append_byte(out, (uint8_t)event_letters[l].letter);
    }
    return 0;
}

unsigned config__notify_classes(void) {
    unsigned flags = 0;
    for (const char *at = config_text(CONFIG_NOTIFY_KEYSPACE_EVENTS); *at != '\0'; at++) {
        if (*at == 'A') flags |= NOTIFY_ALL;
        for (size_t l = 0; l < EVENT_LETTERS; l++)
            if (event_letters[l].letter == *at) flags |= event_letters[l].flags;
    }
    return flags;
}

static void lines_notify(const char *value, struct bytes_builder *out) {
    bytes_builder_append_text(out, "notify-keyspace-events ");
    config__quote(bytes_of_text(value), out);
    bytes_builder_append_byte(out, '\n');
}

static int parse_bind(const char *now, const struct bytes *words, size_t count, struct bytes_builder *out,
                      char error[CONFIG_ERROR_BYTES]) {
    (void)now;
    if (is_single_empty(words, count)) count = 0;
    if (count > BIND_ADDRESSES_MAX) return refuse(error, "Too many bind addresses specified.");
    for (size_t i = 0; i < count; i++) {
        if (words[i].size == 0 || words[i].size > BIND_ADDRESS_BYTES)
            return refuse(error, "Invalid bind address.");
        append_word(out, words[i]);
    }
    return 0;
}

static void lines_bind(const char *value, struct bytes_builder *out) {
    bytes_builder_format(out, "bind %s\n", value[0] == '\0' ? "\"\"" : value);
}

static int parse_replicaof(const char *now, const struct bytes *words, size_t count,
                           struct bytes_builder *out, char error[CONFIG_ERROR_BYTES]) {
    int64_t port;
    (void)now;
    if (is_single_empty(words, count)) return 0;
    if (count != 2) return refuse(error, "wrong number of arguments");
    if (bytes_is(words[0], "no") && bytes_is(words[1], "one")) return 0;
    if (config__parse_integer(words[1], &port) != 0 || port < 0 || port > 65535)
        return refuse(error, "Invalid master port");
    append_word(out, words[0]);
    append_word(out, words[1]);
    return 0;
}

static int parse_percentiles(const char *now, const struct bytes *words, size_t count,
                             struct bytes_builder *out, char error[CONFIG_ERROR_BYTES]) {
    (void)now;
    if (is_single_empty(words, count)) return 0;
    for (size_t i = 0; i < count; i++) {
        char text[64], shortest[64], *end;
        if (words[i].size == 0 || words[i].size >= sizeof text)
            return refuse(error, "Invalid latency-tracking-info-percentiles parameters");
        memcpy(text, words[i].data, words[i].size);
        text[words[i].size] = '\0';
        double value = strtod(text, &end);
        if (*end != '\0' || value != value)
            return refuse(error, "Invalid latency-tracking-info-percentiles parameters");
        if (value < 0 || value > 100)
            return refuse(error,
                          "latency-tracking-info-percentiles should be between 0.0 and 100.0, inclusive");
        for (int digits = 3; digits <= 17; digits++) {
            snprintf(shortest, sizeof shortest, "%.*g", digits, value);
            if (strtod(shortest, NULL) == value) break;
        }
        append_word(out, bytes_of_text(shortest));
    }
    return 0;
}

static const struct config_special specials[] = {
    {CONFIG_DIR, parse_dir, lines_dir, 1},
    {CONFIG_SAVE, parse_save, lines_save, 1},
    {CONFIG_CLIENT_OUTPUT_BUFFER_LIMIT, parse_output_limit, lines_output_limit, 0},
    {CONFIG_OOM_SCORE_ADJ_VALUES, parse_oom_values, NULL, 0},
    {CONFIG_NOTIFY_KEYSPACE_EVENTS, parse_notify, lines_notify, 0},
    {CONFIG_BIND, parse_bind, lines_bind, 0},
    {CONFIG_REPLICAOF, parse_replicaof, NULL, 0},
    {CONFIG_LATENCY_TRACKING_INFO_PERCENTILES, parse_percentiles, NULL, 0},
};

const struct config_special *config__special(enum config_id id) {
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
        if (specials[i].id == id) return &specials[i];
    FIRN_ASSERT(!"a SPECIAL of config.def without a row here");
    return NULL;
}
