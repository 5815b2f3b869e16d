/* SPDX-License-Identifier: BSD-3-Clause */
/* See pubsub_events.h. */
#include "cmd/pubsub_events.h"

#include "base/bytes_builder.h"
#include "cmd/dispatch.h"
#include "cmd/dispatch_internal.h"
#include "cmd/pubsub.h"
#include "keyspace/db.h"
#include "keyspace/notify.h"

static unsigned selected;

static void publish(const char *prefix, unsigned db, struct bytes topic, struct bytes message) {
    struct bytes_builder channel = {0};
    bytes_builder_format(&channel, "%s@%u__:", prefix, db);
    bytes_builder_append(&channel, topic.data, topic.size);
    (void)pubsub_publish(PUBSUB_CHANNEL, bytes_builder_bytes(&channel), message);
    bytes_builder_fini(&channel);
}

static void notify(struct db *db, unsigned event_class, const char *name, struct bytes key) {
    if (!(selected & event_class) || dispatch_config.loading) return;
    if (event_class == NOTIFY_KEYMISS && dispatch__is_repeated_miss()) return;
    if (!pubsub_has_listeners()) return;
    if (selected & NOTIFY_KEYSPACE) publish("__keyspace", db_index(db), key, bytes_of_text(name));
    if (selected & NOTIFY_KEYEVENT) publish("__keyevent", db_index(db), bytes_of_text(name), key);
}

void pubsub_events_select(unsigned classes) {
    selected = classes;
    db_hooks.notify = classes & (NOTIFY_KEYSPACE | NOTIFY_KEYEVENT) ? notify : NULL;
}
