#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# scripts/redis_source.sh FOLDER: put Debian's source package of redis (BSD-licensed 7.0.15) below FOLDER, outside the repository, and print
# the path of its tree. Uses the machine's own apt sources with "deb" read as "deb-src"; changes nothing in /etc.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: scripts/redis_source.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"; folder=$(cd "$1" && pwd)
tree=$(find "$folder" -maxdepth 1 -type d -name 'redis-7*' | head -n 1)
if [ -z "$tree" ]; then
    apt="$folder/apt"; mkdir -p "$apt/parts" "$apt/lists/partial"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        case $file in
        *.list) [ -r "$file" ] && sed -nE 's/^deb( .*(debian|bookworm).*)/deb-src\1/p' "$file" >"$apt/parts/$(basename "$file")" ;;
        *.sources) grep -q 'Suites:.*bookworm' "$file" && sed 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/$(basename "$file")" ;;
        esac
    done 2>/dev/null || true
    options=(-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$apt/parts" -o "Dir::State::lists=$apt/lists" -o APT::Sandbox::User=root -qq)
    (cd "$folder" && apt-get "${options[@]}" update && apt-get "${options[@]}" source --download-only redis) >&2
    (cd "$folder" && dpkg-source --no-check -x redis_*.dsc) >&2
    tree=$(find "$folder" -maxdepth 1 -type d -name 'redis-7*' | head -n 1)
fi
[ -d "$tree/tests" ] || { echo "the source package of redis could not be had (apt sources without a source repository?)" >&2; exit 1; }
echo "$tree"
