/* SPDX-License-Identifier: BSD-3-Clause */
/* Carries configuration values into the modules that use them: at start all of them, after CONFIG SET the
 * group that changed. Executor only. */
#ifndef FIRN_SERVER_SETTINGS_H
#define FIRN_SERVER_SETTINGS_H

#include "cmd/server_hooks.h"
#include "net/client.h"
#include "tiering/tier.h"

/* Write all values into the modules, before these start.. */
void settings_apply_all(void);
/* The server runs: changes of port and bind listen anew. */
void settings_go_live(void);
/* The tiers as configured, paths and sizes; tier-stress adds its own where none are. Strings stay valid. */
void settings_tiers(struct tier_config *config_out);
/* Whether ${client} may do what ${permission} guards. */
int settings_permitted(enum server_permission permission, const struct client *client);
/* Connected through a unix socket or the loopback interface. */
int settings_is_local(const struct client *client);

#endif
