/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings, status, and saves as commands see them. */
#include "persist/persist.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "persist/persist_internal.h"

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
    int error = persist_save(0);
    persist_status.last_background_failed = error != 0;
    persist_status.last_duration_s = (clock_wall_ms() - began_ms) / 1000;
}

int persist_refuses_writes(void) {
    return persist_status.last_background_failed && persist_config.stop_writes_on_error &&
           persist_config.has_save_points;
}
