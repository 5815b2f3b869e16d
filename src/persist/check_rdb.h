/* SPDX-License-Identifier: BSD-3-Clause */
/* firn-check-rdb: whether a file is a sound RDB file. */
#ifndef FIRN_PERSIST_CHECK_RDB_H
#define FIRN_PERSIST_CHECK_RDB_H

/* Read the file ${argv}[1] as the server would, keep nothing, and print what was found. The exit status: 0
 * sound, 1 not, or it cannot be read. Executor; blocks. */
int check_rdb_main(int argc, char **argv);

#endif
