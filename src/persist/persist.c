/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings, status, and saves as commands see them. */
#include "persist/persist.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "keyspace/db.h"
#include "persist/persist_internal.h"

#define RETRY_DELAY_S 5 /* of save points, after a save that failed */

struct persist_config persist_config = {.file_name = "dump.rdb",
                                        .checksum = 1,
                                        .incremental_sync = 1,
                                        .load_step_bytes = 2u << 20,
                                        .redis_version = "7.4.1"};
struct persist_status persist_status = {.last_duration_s = -1};

void persist__key_delay(int64_t delay_us) {
    if (delay_us > 0) (void)usleep((useconds_t)delay_us);
    if (delay_us < 0 && random_below((uint64_t)-delay_us) == 0) (void)usleep(1);
}

void persist_save_in_background(void) {
    int64_t began_ms = clock_wall_ms();
    persist_status.last_try_s = began_ms / 1000;
    int error = persist_save(0);
    persist_status.last_background_failed = error != 0;
    persist_status.last_duration_s = (clock_wall_ms() - began_ms) / 1000;
}

void persist_save_if_due(void) {
    int64_t now_s = clock_wall_ms() / 1000;
    if (persist_status.last_background_failed && now_s - persist_status.last_try_s <= RETRY_DELAY_S) return;
    for (unsigned i = 0; i < persist_config.save_point_count; i++) {
        const struct persist_save_point *point = &persist_config.save_points[i];
        if (db_stats.changes < point->changes || now_s - persist_status.last_save_s <= point->seconds)
            continue;
        log_notice("%" PRIu64 " changes in %" PRId64 " seconds. Saving...", point->changes, point->seconds);
        persist_save_in_background();
        return;
    }
}

int persist_refuses_writes(void) {
    return persist_status.last_background_failed && persist_config.stop_writes_on_error &&
           persist_config.has_save_points;
}
