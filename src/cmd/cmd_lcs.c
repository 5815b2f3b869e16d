/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LCS: longest common subsequence of two strings, by the classic table of lengths (rows: prefixes of the
 * first string), walked back from its last cell. Time is the product of the lengths, memory too unless only
 * the length is asked for; it is bounded.
 */
#include "base/memory.h"
#include "cmd/call.h"
#include "keyspace/db_string.h"

#define LCS_TABLE_BYTES_MAX (UINT64_C(1) << 30)

struct lcs_options {
    int length, indexes, with_lengths;
    int64_t length_min;
};

struct lcs {
    struct bytes a, b;
    uint32_t *table; /* (b.size + 1) lengths for each row */
    size_t rows;     /* a.size + 1, or 2 if only the last one is wanted */
};

/* A run of matching bytes that is being extended backwards: [a, a + size) of one with [b, b + size) of the
 * other. */
struct lcs_run {
    size_t a, b, size;
};

static uint32_t *lcs_cell(const struct lcs *lcs, size_t i, size_t j) {
    return &lcs->table[i % lcs->rows * (lcs->b.size + 1) + j];
}

static int lcs_parse(struct call *call, struct lcs_options *options_out) {
    *options_out = (struct lcs_options){0};
    for (size_t i = 3; i < call->argc; i++) {
        if (call_option(call, i, "idx")) {
            options_out->indexes = 1;
        } else if (call_option(call, i, "len")) {
            options_out->length = 1;
        } else if (call_option(call, i, "withmatchlen")) {
            options_out->with_lengths = 1;
        } else if (call_option(call, i, "minmatchlen") && i + 1 < call->argc) {
            int error = call_integer(call, call->argv[++i], &options_out->length_min);
            if (error != 0) return error;
            if (options_out->length_min < 0) options_out->length_min = 0;
        } else {
            return call_syntax_error(call);
        }
    }
    if (options_out->indexes && options_out->length) {
        reply_error(call->reply, "If you want both the length and indexes, please just use IDX.");
        return FIRN_EINVALID;
    }
    return 0;
}

static int lcs_fill(struct call *call, struct lcs *lcs) {
    size_t cells;
    if (__builtin_mul_overflow(lcs->rows, lcs->b.size + 1, &cells) ||
        cells > LCS_TABLE_BYTES_MAX / sizeof(uint32_t) ||
        (lcs->table = memory_try_alloc(cells * sizeof(uint32_t))) == NULL) {
        reply_error(call->reply, "Insufficient memory, failed allocating transient memory for LCS");
        return FIRN_EINVALID;
    }
    for (size_t j = 0; j <= lcs->b.size; j++)
        *lcs_cell(lcs, 0, j) = 0;
    for (size_t i = 1; i <= lcs->a.size; i++) {
        uint32_t *above = lcs_cell(lcs, i - 1, 0), *row = lcs_cell(lcs, i, 0);
        row[0] = 0;
        for (size_t j = 1; j <= lcs->b.size; j++) {
            if (lcs->a.data[i - 1] == lcs->b.data[j - 1]) {
                row[j] = above[j - 1] + 1;
            } else {
                row[j] = above[j] > row[j - 1] ? above[j] : row[j - 1];
            }
        }
    }
    return 0;
}

/* Reply one run, if it is long enough; how many were replied. */
static size_t lcs_reply_run(struct call *call, const struct lcs_run *run, const struct lcs_options *options) {
    if (run->size == 0 || (int64_t)run->size < options->length_min) return 0;
    reply_array(call->reply, options->with_lengths ? 3 : 2);
    reply_array(call->reply, 2);
    reply_integer(call->reply, (int64_t)run->a);
    reply_integer(call->reply, (int64_t)(run->a + run->size - 1));
    reply_array(call->reply, 2);
    reply_integer(call->reply, (int64_t)run->b);
    reply_integer(call->reply, (int64_t)(run->b + run->size - 1));
    if (options->with_lengths) reply_integer(call->reply, (int64_t)run->size);
    return 1;
}

/* Walk the table back: the subsequence into ${text_out} (its length known), or, with ${options}, its runs
 * into the reply. */
static size_t lcs_walk(struct call *call, const struct lcs *lcs, const struct lcs_options *options,
                       uint8_t *text_out) {
    size_t i = lcs->a.size, j = lcs->b.size, left = *lcs_cell(lcs, i, j), runs = 0;
    struct lcs_run run = {0, 0, 0};
    while (i > 0 && j > 0) {
        if (lcs->a.data[i - 1] == lcs->b.data[j - 1]) {
            if (text_out != NULL) text_out[--left] = lcs->a.data[i - 1];
            run = (struct lcs_run){--i, --j, run.size + 1};
        } else {
            if (options != NULL) runs += lcs_reply_run(call, &run, options);
            run.size = 0;
            if (*lcs_cell(lcs, i - 1, j) > *lcs_cell(lcs, i, j - 1)) {
                i--;
            } else {
                j--;
            }
        }
    }
    if (options != NULL) runs += lcs_reply_run(call, &run, options);
    return runs;
}

static int lcs_reply(struct call *call, struct lcs *lcs, const struct lcs_options *options) {
    lcs->rows = options->length ? 2 : lcs->a.size + 1;
    int error = lcs_fill(call, lcs);
    if (error != 0) return error;
    uint32_t length = *lcs_cell(lcs, lcs->a.size, lcs->b.size);
    if (options->indexes) {
        reply_map(call->reply, 2);
        reply_bulk_text(call->reply, "matches");
        struct reply_later later = reply_later_open(call->reply, '*');
        reply_later_close(call->reply, later, lcs_walk(call, lcs, options, NULL));
        reply_bulk_text(call->reply, "len");
        reply_integer(call->reply, length);
    } else if (options->length) {
        reply_integer(call->reply, length);
    } else {
        uint8_t *text = memory_try_alloc((size_t)length + 1);
        error = text == NULL ? FIRN_ENOMEM : 0;
        if (error == 0) {
            lcs_walk(call, lcs, NULL, text);
            reply_bulk(call->reply, bytes_of(text, length));
        }
        memory_free(text);
    }
    memory_free(lcs->table);
    return error;
}

int cmd_lcs(struct call *call) {
    struct entry *entries[2];
    struct lcs_options options;
    struct lcs lcs = {0};
    struct bytes_builder scratch[2] = {{0}, {0}};
    char digits[2][NUMBER_INT_TEXT_MAX];
    struct bytes *texts[2] = {&lcs.a, &lcs.b};
    int error = 0;
    for (size_t i = 0; i < 2; i++)
        CALL_TRY(call_find_read(call, call->argv[i + 1], &entries[i]));
    for (size_t i = 0; i < 2; i++) {
        if (entries[i] == NULL || entry_type(entries[i]) == TYPE_STRING) continue;
        reply_error(call->reply, "The specified keys must contain string values");
        return 0;
    }
    CALL_TRY(lcs_parse(call, &options));
    for (size_t i = 0; i < 2; i++) { /* ask for both before giving up on one */
        int touched = entries[i] != NULL ? string_touch(entries[i], 0, entries[i]->size) : 0;
        if (error == 0 || error == FIRN_EFAULT) error = touched != 0 ? touched : error;
    }
    for (size_t i = 0; i < 2 && error == 0; i++) {
        *texts[i] = bytes_of("", 0);
        if (entries[i] != NULL)
            error = string_range(entries[i], 0, entries[i]->size, digits[i], &scratch[i], texts[i]);
    }
    if (error == 0) error = lcs_reply(call, &lcs, &options);
    for (size_t i = 0; i < 2; i++)
        bytes_builder_fini(&scratch[i]);
    return call_error(error);
}
