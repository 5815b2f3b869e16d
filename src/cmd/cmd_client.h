/* SPDX-License-Identifier: BSD-3-Clause */
/* The line that CLIENT LIST prints about a connection, for those who log it. Executor only. */
#ifndef FIRN_CMD_CMD_CLIENT_H
#define FIRN_CMD_CMD_CLIENT_H

struct bytes_builder;
struct client;

/* Append the line about ${client}, without newline, fields in Redis's order. */
void cmd_client_describe(struct bytes_builder *out, const struct client *client);

#endif
