#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# All C code is as clang-format 14 with .clang-format writes it. check_format.sh ROOT
set -u
cd "$1" || exit 2
tool=$(command -v clang-format-14) || { echo "clang-format-14 is not installed (scripts/install.sh test)"; exit 1; }
"$tool" --version | grep -q 'version 14\.0\.6' || { echo "clang-format is pinned to 14.0.6"; exit 1; }
find src tiering pmem rocks tests bench -name build -prune -o \( -name '*.c' -o -name '*.h' \) -print | grep -v node_modules |
    xargs -r "$tool" --dry-run --Werror 2>&1 | grep 'error:' | cut -d: -f1 | sort -u | sed 's/$/: run clang-format-14 -i/' | { ! grep .; }
