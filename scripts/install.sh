#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# scripts/install.sh USE...: install what is missing of the packages that scripts/packages.txt names for these uses.
# Without the right to install it prints the one line that would do it and fails.
set -euo pipefail
list="$(dirname "$0")/packages.txt"
[ $# -gt 0 ] || { echo "usage: scripts/install.sh USE... (uses: $(grep -v '^#' "$list" | cut -d' ' -f1 | sort -u | tr '\n' ' '))" >&2; exit 2; }
missing=()
for use in "$@"; do
    while read -r kind package; do
        [ "$kind" = "$use" ] || continue
        # node and npm may come from elsewhere than Debian: what counts is that the command is there.
        case $package in nodejs) command -v node >/dev/null && continue ;; npm) command -v npm >/dev/null && continue ;; esac
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done < <(grep -v '^#' "$list")
done
[ ${#missing[@]} -eq 0 ] && exit 0
line="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -eq 0 ]; then sudo=(); elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo=(sudo -n); else
    echo "Firn needs packages that this user may not install. Run:" >&2
    echo "    sudo $line" >&2
    exit 1
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A redis-server that the package would start on port 6379 is in nobody's interest here.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null; "${sudo[@]}" chmod +x "$policy"; made_policy=1; fi
trap '[ -z "$made_policy" ] || "${sudo[@]}" rm -f "$policy"' EXIT
"${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq
"${sudo[@]}" $line -qq -o DPkg::Lock::Timeout=300 >/dev/null
