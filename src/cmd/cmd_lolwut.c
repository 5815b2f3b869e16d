/* SPDX-License-Identifier: BSD-3-Clause */
/* LOLWUT: snow falls on firn, and firn on ice; another sky each time. */
#include "base/bytes_builder.h"
#include "base/random.h"
#include "cmd/call.h"
#include "cmd/dispatch.h"

#define COLUMNS 60u
#define SKY     7u

static void draw_sky(struct bytes_builder *out) {
    static const char flakes[] = "*.'+";
    for (unsigned row = 0; row < SKY; row++) {
        for (unsigned column = 0; column < COLUMNS; column++) {
            int falls = random_below(14 + row * 2) == 0;
            bytes_builder_append_byte(out, falls ? (uint8_t)flakes[random_below(sizeof flakes - 1)] : ' ');
        }
        bytes_builder_append_byte(out, '\n');
    }
}

static void draw_layer(struct bytes_builder *out, const char *grain, size_t grains, const char *label) {
    for (unsigned column = 0; column < COLUMNS; column++)
        bytes_builder_append_byte(out, (uint8_t)grain[random_below(grains)]);
    bytes_builder_format(out, "  %s\n", label);
}

int cmd_lolwut(struct call *call) {
    int64_t ignored;
    if (call->argc > 1 &&
        call_option(call, 1, "VERSION")) { /* there is one picture, whichever version is asked for */
        if (call->argc < 3) return call_error(call_syntax_error(call));
        CALL_TRY(call_integer(call, call->argv[2], &ignored));
    }
    struct bytes_builder out = {0};
    draw_sky(&out);
    draw_layer(&out, " _.-~", 5, "snow: DRAM");
    draw_layer(&out, ".:oO", 4, "firn: persistent memory");
    draw_layer(&out, "#%H", 3, "ice:  NVMe");
    bytes_builder_format(&out, "\nFirn ver. %s, Redis ver. %s\n", FIRN_VERSION, DISPATCH_REDIS_VERSION);
    reply_verbatim(call->reply, "txt", bytes_builder_bytes(&out));
    bytes_builder_fini(&out);
    return 0;
}
