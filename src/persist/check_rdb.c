/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * firn-check-rdb FILE. The loader itself does the reading, so what passes here loads; it says where it
 * stopped in lines of the log, which goes to standard output.
 */
#include "persist/check_rdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "persist/persist_internal.h"
#include "types/type.h"

#define CHECK_STEP_BYTES (8u << 20)

/* Go to the folder of ${path}: the loader opens a name. 0, or -1 with errno. */
static int use_file(const char *path) {
    char folder[4096];
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    if (strlen(name) >= sizeof persist_config.file_name || strlen(path) >= sizeof folder) return -1;
    snprintf(persist_config.file_name, sizeof persist_config.file_name, "%s", name);
    if (slash == NULL) return 0;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
    return chdir(folder);
}

static int check(struct persist_load *load) {
    struct persist__load_counts counts;
    int status;
    while ((status = persist_load_step(load, CHECK_STEP_BYTES)) > 0) {
        while (type_reap_some(1u << 20)) {
        }
    }
    while (type_reap_some(1u << 20)) {
    }
    persist__load_counts(load, &counts);
    printf("[offset %zu] %s\n", counts.offset,
           status == 0 ? "\\o/ RDB looks OK! \\o/" : "--- RDB ERROR DETECTED ---");
    printf("[info] RDB version %u\n[info] %" PRIu64 " keys read\n[info] %" PRIu64 " expires\n[info] %" PRIu64
           " already expired\n[info] %" PRIu64 " empty keys, which are left out\n",
           counts.version, counts.keys, counts.expires, counts.expired, counts.empty);
    return status == 0 ? 0 : 1;
}

int check_rdb_main(int argc, char **argv) {
    struct persist_load *load;
    if (argc != 2) {
        fprintf(stderr, "Usage: %s <rdb-file-name>\n", argc > 0 ? argv[0] : "firn-check-rdb");
        return 1;
    }
    hash_seed_init();
    clock_update();
    printf("[offset 0] Checking RDB file %s\n", argv[1]);
    (void)fflush(stdout);
    if (use_file(argv[1]) != 0) {
        printf("Cannot open file %s: %m\n", argv[1]);
        return 1;
    }
    int error = persist_load_begin(PERSIST_LOAD_CHECK, &load);
    if (error != 0) {
        printf("%s: %s\n", argv[1],
               error == FIRN_ENOTFOUND ? "no such file" : "not an RDB file that can be read");
        return 1;
    }
    int result = check(load);
    persist_load_end(load);
    return result;
}
