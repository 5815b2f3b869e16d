/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What commands need of the server as a whole (configuration, INFO, shutdown): upward calls, filled in by
 * src/server before the first command runs. Unit tests of commands may leave it empty; commands that need it
 * are not run there. Executor only.
 */
#ifndef FIRN_CMD_SERVER_HOOKS_H
#define FIRN_CMD_SERVER_HOOKS_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/bytes_builder.h"
#include "base/error.h"

struct client;

/* What enable-protected-configs, enable-debug-command and enable-module-command guard. */
enum server_permission {
    SERVER_PERMISSION_PROTECTED_CONFIG,
    SERVER_PERMISSION_DEBUG,
    SERVER_PERMISSION_MODULE
};

#define SERVER_SHUTDOWN_SAVE   0x1u
#define SERVER_SHUTDOWN_NOSAVE 0x2u
#define SERVER_SHUTDOWN_NOW    0x4u
#define SERVER_SHUTDOWN_FORCE  0x8u

#define SERVER_ERROR_BYTES 1024

/* Numbers only the server as a whole knows (MEMORY STATS, DEBUG). */
struct server_numbers {
    uint64_t memory_peak, memory_startup;
    int64_t last_save_s;     /* time of the last save; start of the server when none */
    const char *config_file; /* "" none */
    int64_t maxmemory;
};

struct server_hooks {
    /* CONFIG GET: see config_get. */
    void (*config_get)(const struct bytes *patterns, size_t count,
                       void (*receive)(const char *name, struct bytes value, void *ctx), void *ctx);
    /* CONFIG SET of ${count} pairs: 0, FIRN_EBUSY (not while loading), FIRN_ENOTFOUND or FIRN_EINVALID with
     * the name at fault and the reason. */
    int (*config_set)(const struct bytes *pairs, size_t count, int may_protected, struct bytes *culprit_out,
                      char error[SERVER_ERROR_BYTES]);
    /* Whether a directive's value must stay out of logs and MONITOR. */
    int (*config_is_sensitive)(struct bytes name);
    /* 0, FIRN_ENOTFOUND (no file), FIRN_ESYSTEM with errno. */
    int (*config_rewrite)(void);
    /* DEBUG CONFIG-REWRITE-FORCE-ALL. */
    int (*config_rewrite_all)(void);
    void (*reset_statistics)(void);
    /* Append the text of INFO; no sections: the default ones. */
    void (*info)(const struct bytes *sections, size_t count, struct bytes_builder *out);
    int (*permitted)(enum server_permission permission, const struct client *client);
    /* Shut down after the running command. FIRN_EINVALID: cannot be done as asked (nothing can be saved yet);
     * the log says why. */
    int (*shutdown)(unsigned flags);
    void (*numbers)(struct server_numbers *numbers_out);
    /* DEBUG PAUSE-CRON. */
    void (*pause_cron)(int paused);
    /* DEBUG CHANGE-REPL-ID. */
    void (*change_replication_id)(void);
};
extern struct server_hooks server_hooks;

#endif
