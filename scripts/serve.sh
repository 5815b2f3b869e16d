#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# scripts/serve.sh [--demo] [server options...]: install what is missing, build a release, start Firn with conf/firn.conf on 127.0.0.1:6379
# with its three tiers and its RDB file under ./data. --demo also loads Debian's package index until it is ten times the memory budget, shows where it goes, reads a
# sample back and checks every byte. Ctrl-C stops the server.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=
if [ "${1:-}" = --demo ]; then demo=1; shift; fi
scripts/install.sh build
echo "building (build-release) ..."
log=$(mktemp)
if ! { cmake --preset release && cmake --build --preset release --target firn-server; } >"$log" 2>&1; then
    cat "$log"; rm -f "$log"; echo "the build failed" >&2; exit 1
fi
rm -f "$log"
mkdir -p data
[ -z "$demo" ] || set -- --save "" "$@" # gigabytes of a demonstration are not worth the wait for a file at the end
build-release/firn-server conf/firn.conf "$@" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server"' EXIT
trap 'exit 130' INT TERM
# The port the server was told to use: of the options if given there, else of the file.
port=$(awk '$1=="port"{p=$2} END{print p+0}' conf/firn.conf)
for ((i = 1; i < $#; i++)); do [ "${!i}" = --port ] && { next=$((i + 1)); port=${!next}; }; done
for _ in $(seq 200); do
    kill -0 "$server" 2>/dev/null || { wait "$server" || exit $?; exit 1; }
    [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] && break
    sleep 0.05
done
cat <<EOT

Firn answers on 127.0.0.1:$port. Any Redis client will do:
    redis-cli -p $port
Try:
    SET greeting "hello"          GET greeting
    TIER WHERE greeting           TIER DEMOTE greeting NVME
    GET greeting                  TIER WHERE greeting
    INFO tiering                  TIER HELP
A server filled with ten times its memory:  scripts/serve.sh --demo
Ctrl-C stops it.
EOT
if [ -n "$demo" ]; then
    /usr/bin/env python3 scripts/demo.py --port "$port" || echo "the demonstration found a fault (see above)" >&2
    echo; echo "The server is still running with this data on port $port; Ctrl-C stops it, and the data goes with it."
fi
wait "$server"
