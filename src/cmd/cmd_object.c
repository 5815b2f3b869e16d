/* SPDX-License-Identifier: BSD-3-Clause */
/* OBJECT ENCODING, FREQ, IDLETIME, REFCOUNT, HELP. Executor only. */
#include <limits.h>

#include "cmd/call.h"
#include "keyspace/evict.h"

#define SHARED_INTEGERS 10000 /* Redis shares the objects of smaller ones and reports that */

/* NULL: there is no such key, and that has been replied. */
static int find(struct call *call, struct entry **entry_out) {
    int error = db_find(call->db, call->argv[2], LOOKUP_READ | LOOKUP_NO_TOUCH | LOOKUP_NO_NOTIFY, entry_out);
    if (error == 0 && *entry_out == NULL) reply_null(call->reply);
    return error;
}

int cmd_object_encoding(struct call *call) {
    struct entry *entry;
    CALL_TRY(find(call, &entry));
    if (entry != NULL) reply_bulk_text(call->reply, encoding_name(entry_encoding(entry)));
    return 0;
}

int cmd_object_freq(struct call *call) {
    struct entry *entry;
    CALL_TRY(find(call, &entry));
    if (entry == NULL) return 0;
    if (evict_policy_is_lfu()) {
        reply_integer(call->reply, evict_frequency(entry));
    } else {
        reply_error(call->reply,
                    "An LFU maxmemory policy is not selected, access frequency not tracked. "
                    "Please note that when switching between policies at runtime LRU and LFU data "
                    "will take some time to adjust.");
    }
    return 0;
}

int cmd_object_idletime(struct call *call) {
    struct entry *entry;
    CALL_TRY(find(call, &entry));
    if (entry == NULL) return 0;
    if (evict_policy_is_lfu()) {
        reply_error(call->reply,
                    "An LFU maxmemory policy is selected, idle time not tracked. Please note that "
                    "when switching between policies at runtime LRU and LFU data will take some time "
                    "to adjust.");
    } else {
        reply_integer(call->reply, (int64_t)(evict_idle_ms(entry) / 1000));
    }
    return 0;
}

/* Whether Redis would use one of its shared integer objects. */
static int is_shared(const struct entry *entry) {
    if (entry_type(entry) != TYPE_STRING || entry_encoding(entry) != ENCODING_INT) return 0;
    int64_t value = (int64_t)bytes_load64(entry_inline(entry));
    if (value < 0 || value >= SHARED_INTEGERS) return 0;
    if (evict_config.memory_max == 0) return 1;
    return evict_config.policy != EVICT_ALLKEYS_LRU && evict_config.policy != EVICT_VOLATILE_LRU &&
           !evict_policy_is_lfu();
}

int cmd_object_refcount(struct call *call) {
    struct entry *entry;
    CALL_TRY(find(call, &entry));
    if (entry != NULL) reply_integer(call->reply, is_shared(entry) ? INT_MAX : 1);
    return 0;
}

int cmd_object_help(struct call *call) {
    static const char *const lines[] = {
        "ENCODING <key>",
        "    The internal form of the value, as Redis names it.",
        "FREQ <key>",
        "    How often the key was used lately: a logarithmic counter, kept under an LFU policy.",
        "IDLETIME <key>",
        "    Seconds since the key was last used.",
        "REFCOUNT <key>",
        "    References to the value.",
        NULL,
    };
    return call_help(call, lines);
}
