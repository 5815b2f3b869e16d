#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every header compiles alone. check_headers.sh ROOT GENERATED_FOLDER
set -u
cd "$1" || exit 2
status=0
for header in src/*/*.h tiering/*.h pmem/*.h rocks/*.h; do
    [ -e "$header" ] || continue
    printf '#include "%s"\n' "${header#src/}" |
        gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Isrc -I. -I"$2" -fsyntax-only -x c - || { echo "$header: does not compile alone"; status=1; }
done
exit $status
