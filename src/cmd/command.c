/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lookups in the generated command table.
 *
 * Names of commands and of subcommands ("config|get") share one open-addressing table of COMMAND_SLOTS slots
 * that is at most half full; it is built on first use from the commands whose handler is linked in, and
 * changed afterwards only by rename-command (start-up).
 *
 * L1 A name is stored folded to lower case; what is longer than COMMAND_NAME_BYTES_MAX is no command.
 * L2 A slot is never emptied, only its command taken out (renamed away), so probing needs no tombstones.
 */
#include "cmd/command.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "generated/command_handlers.h"

#define COMMAND_SLOTS          1024u
#define COMMAND_NAME_BYTES_MAX 64u

struct slot {
    uint32_t hash;
    uint8_t name_bytes; /* 0: free */
    char name[COMMAND_NAME_BYTES_MAX];
    const struct command *command; /* NULL: renamed away */
};

static struct slot slots[COMMAND_SLOTS];
static unsigned slots_used;
static const struct command **top_level; /* command_at */
static unsigned top_level_count;
static int built;

static const char *const acl_categories[] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting",
};
#define ACL_CATEGORIES (sizeof acl_categories / sizeof *acl_categories)

static const char *const flag_names[] = {
    "write",
    "readonly",
    "denyoom",
    "admin",
    "pubsub",
    "noscript",
    "blocking",
    "loading",
    "stale",
    "skip_monitor",
    "skip_slowlog",
    "asking",
    "fast",
    "no_auth",
    "may_replicate",
    "allow_busy",
    "no_async_loading",
    "no_multi",
    "no_mandatory_keys",
    "movablekeys",
    "",
};

/* Fold ${part} behind the ${used} bytes in ${name}, continuing ${hash} (FNV-1a). The new length, or 0 if too
 * long. */
static unsigned fold(struct bytes part, char *name, unsigned used, uint32_t *hash_inout) {
    if (part.size + used > COMMAND_NAME_BYTES_MAX) return 0;
    uint32_t hash = *hash_inout;
    for (size_t i = 0; i < part.size; i++) {
        uint8_t byte = part.data[i];
        if (byte >= 'A' && byte <= 'Z') byte = (uint8_t)(byte + 32);
        name[used + i] = (char)byte;
        hash = (hash ^ byte) * 16777619u;
    }
    *hash_inout = hash;
    return used + (unsigned)part.size;
}

#define HASH_START 2166136261u

static struct slot *find_slot(const char *name, unsigned bytes, uint32_t hash) {
    for (uint32_t i = hash % COMMAND_SLOTS;; i = (i + 1) % COMMAND_SLOTS) {
        struct slot *slot = &slots[i];
        if (slot->name_bytes == 0) return slot;
        if (slot->hash == hash && slot->name_bytes == bytes && memcmp(slot->name, name, bytes) == 0)
            return slot;
    }
}

static void put(struct bytes name, const struct command *command) {
    char folded[COMMAND_NAME_BYTES_MAX];
    uint32_t hash = HASH_START;
    unsigned bytes = fold(name, folded, 0, &hash);
    FIRN_ASSERT(bytes > 0 && slots_used < COMMAND_SLOTS / 2);
    struct slot *slot = find_slot(folded, bytes, hash);
    if (slot->name_bytes == 0) slots_used++;
    slot->hash = hash;
    slot->name_bytes = (uint8_t)bytes;
    memcpy(slot->name, folded, bytes);
    slot->command = command;
}

static void list_top_level(void) {
    top_level_count = 0;
    for (unsigned i = 0; i < command_table_count; i++) {
        for (unsigned s = 0; s < COMMAND_SLOTS; s++) {
            if (slots[s].command != &command_table[i]) continue;
            top_level[top_level_count++] = &command_table[i];
            break;
        }
    }
}

static __attribute__((cold, noinline)) void build(void) {
    for (unsigned i = 0; i < command_table_count; i++) {
        const struct command *command = &command_table[i];
        if (!command_available(command)) continue;
        put(bytes_of_text(command->name), command);
        for (unsigned j = 0; j < command->subcommand_count; j++) {
            if (command->subcommands[j].handler != NULL)
                put(bytes_of_text(command->subcommands[j].name), &command->subcommands[j]);
        }
    }
    top_level = memory_alloc(command_table_count * sizeof(const struct command *));
    list_top_level();
    built = 1;
}

static const struct command *find(struct bytes name) {
    if (__builtin_expect(!built, 0)) build();
    char folded[COMMAND_NAME_BYTES_MAX];
    uint32_t hash = HASH_START;
    unsigned bytes = fold(name, folded, 0, &hash);
    return bytes == 0 ? NULL : find_slot(folded, bytes, hash)->command;
}

static const struct command *find_subcommand(const struct command *container, struct bytes name) {
    char folded[COMMAND_NAME_BYTES_MAX];
    uint32_t hash = HASH_START;
    unsigned bytes = fold(bytes_of_text(container->name), folded, 0, &hash);
    bytes = fold(bytes_of("|", 1), folded, bytes, &hash);
    if (bytes == 0 || name.size == 0) return NULL;
    bytes = fold(name, folded, bytes, &hash);
    return bytes == 0 ? NULL : find_slot(folded, bytes, hash)->command;
}

int command_available(const struct command *command) {
    if (command->handler != NULL) return 1;
    for (unsigned i = 0; i < command->subcommand_count; i++) {
        if (command->subcommands[i].handler != NULL) return 1;
    }
    return 0;
}

unsigned command_count(void) {
    if (!built) build();
    return top_level_count;
}

const struct command *command_at(unsigned position) {
    FIRN_ASSERT(position < command_count());
    return top_level[position];
}

const struct command *command_find(const struct bytes *argv, size_t argc,
                                   const struct command **container_out) {
    if (container_out != NULL) *container_out = NULL;
    if (argc == 0) return NULL;
    const struct command *command = find(argv[0]);
    if (command == NULL || memchr(argv[0].data, '|', argv[0].size) != NULL) return NULL;
    if (command->subcommand_count == 0 || argc == 1) return command;
    const struct command *sub = find_subcommand(command, argv[1]);
    if (sub == NULL && container_out != NULL) *container_out = command;
    return sub;
}

const struct command *command_find_name(struct bytes name) {
    const uint8_t *bar = name.size ? memchr(name.data, '|', name.size) : NULL;
    if (bar == NULL) return find(name);
    size_t before = (size_t)(bar - name.data);
    const struct command *container = find(bytes_of(name.data, before));
    return container == NULL ? NULL : find_subcommand(container, bytes_of(bar + 1, name.size - before - 1));
}

int command_rename(struct bytes from, struct bytes to) {
    const struct command *command = find(from);
    if (command == NULL || memchr(from.data, '|', from.size) != NULL) return FIRN_ENOTFOUND;
    if (to.size > COMMAND_NAME_BYTES_MAX) return FIRN_ETOOBIG;
    if (to.size != 0 && find(to) != NULL) return FIRN_EEXISTS;
    put(from, NULL);
    if (to.size != 0) put(to, command);
    list_top_level();
    return 0;
}

/* --- keys --- */

static int argument_number(struct bytes argument, long *value_out) {
    char digits[24];
    if (argument.size == 0 || argument.size >= sizeof digits) return FIRN_EINVALID;
    memcpy(digits, argument.data, argument.size);
    digits[argument.size] = 0;
    char *end;
    *value_out = strtol(digits, &end, 10);
    return *end == 0 ? 0 : FIRN_EINVALID;
}

/* Where the keys of ${spec} begin; 0 if its keyword is not there. */
static long key_begin(const struct command_key_spec *spec, const struct bytes *argv, long argc) {
    if (spec->begin == COMMAND_BEGIN_INDEX) return spec->begin_index;
    if (spec->begin == COMMAND_BEGIN_UNKNOWN) return 0;
    long from = spec->begin_index > 0 ? spec->begin_index : argc + spec->begin_index;
    long step = spec->begin_index > 0 ? 1 : -1;
    for (long i = from; i >= 1 && i < argc - 1; i += step) {
        if (bytes_is(argv[i], spec->begin_keyword)) return i + 1;
    }
    return 0;
}

/* The key of SORT's last STORE, which no key spec can say; 0 if there is none. Options with arguments are
 * skipped with these, whatever they are. */
static long sort_store_key(const struct bytes *argv, long argc) {
    long found = 0;
    for (long i = 2; i < argc; i++) {
        if (bytes_is(argv[i], "limit")) {
            i += 2;
        } else if (bytes_is(argv[i], "get") || bytes_is(argv[i], "by")) {
            i++;
        } else if (bytes_is(argv[i], "store") && i + 1 < argc) {
            found = i + 1;
        }
    }
    return found;
}

/* The range of ${spec}: *first_inout is where it begins. FIRN_EINVALID if it does not lie in argv. */
static int key_range(const struct command_key_spec *spec, const struct bytes *argv, long argc,
                     long *first_inout, long *last_out) {
    long first = *first_inout, last;
    if (spec->find == COMMAND_FIND_RANGE) {
        if (spec->last >= 0)
            last = first + spec->last;
        else if (spec->limit <= 1)
            last = argc + spec->last;
        else
            last = first + (argc - first) / spec->limit + spec->last;
    } else {
        long number;
        if (first + spec->keynum_index >= argc) return FIRN_EINVALID;
        if (argument_number(argv[first + spec->keynum_index], &number) != 0 || number < 0 || number > argc)
            return FIRN_EINVALID;
        first += spec->first_key;
        last = first + (number - 1) * spec->step;
        if (number == 0) { /* no keys: an empty range */
            *first_inout = first;
            *last_out = first - 1;
            return 0;
        }
    }
    if (first >= argc || last >= argc || last < first) return FIRN_EINVALID;
    *first_inout = first;
    *last_out = last;
    return 0;
}

int command_keys(const struct command *command, const struct bytes *argv, size_t argc,
                 unsigned *positions_out, const char **flags_out, unsigned limit) {
    unsigned count = 0;
    for (unsigned s = 0; s < command->key_spec_count; s++) {
        const struct command_key_spec *spec = &command->key_specs[s];
        long first = key_begin(spec, argv, (long)argc), last, step = spec->step;
        if (spec->begin == COMMAND_BEGIN_UNKNOWN && command->handler == cmd_sort &&
            strstr(spec->flags, "OW") != NULL) {
            first = last = sort_store_key(argv, (long)argc);
            step = 1;
            if (first == 0) continue;
        } else if (first == 0 || spec->find == COMMAND_FIND_UNKNOWN) {
            continue;
        } else if (key_range(spec, argv, (long)argc, &first, &last) != 0) {
            return FIRN_EINVALID;
        }
        for (long i = first; i <= last; i += step) {
            if (count < limit) {
                positions_out[count] = (unsigned)i;
                if (flags_out != NULL) flags_out[count] = spec->flags;
            }
            count++;
        }
    }
    return (int)count;
}

void command_legacy_range(const struct command *command, int *first_out, int *last_out, int *step_out) {
    *first_out = *last_out = *step_out = 0;
    const struct command_key_spec *specs = command->key_specs;
    if (command->key_spec_count == 1 && specs[0].begin == COMMAND_BEGIN_INDEX &&
        specs[0].find == COMMAND_FIND_RANGE) {
        *first_out = specs[0].begin_index;
        *last_out = specs[0].last < 0 ? specs[0].last : specs[0].begin_index + specs[0].last;
        *step_out = specs[0].step;
        return;
    }
    int first = 0, last = 0;
    for (unsigned i = 0; i < command->key_spec_count; i++) { /* several: only if they are one run of keys */
        const struct command_key_spec *spec = &specs[i];
        if (spec->begin != COMMAND_BEGIN_INDEX || spec->find != COMMAND_FIND_RANGE) continue;
        if (spec->step != 1 || (last != 0 && last != spec->begin_index - 1)) return;
        if (first == 0) first = spec->begin_index;
        last = spec->last < 0 ? spec->last : spec->begin_index + spec->last;
    }
    if (first == 0) return;
    *first_out = first;
    *last_out = last;
    *step_out = 1;
}

/* --- words --- */

const char *command_acl_category_name(unsigned bit) {
    return bit < ACL_CATEGORIES ? acl_categories[bit] : NULL;
}

int command_acl_category(struct bytes name) {
    for (unsigned i = 0; i < ACL_CATEGORIES; i++) {
        if (bytes_is(name, acl_categories[i])) return (int)i;
    }
    return -1;
}

const char *command_flag_name(unsigned bit) {
    return bit < sizeof flag_names / sizeof *flag_names ? flag_names[bit] : NULL;
}
