#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# scripts/soak.sh [MINUTES [PART...]]: what takes too long for scripts/test.sh, with new random numbers each time, for so many minutes (default 60)
# shared by the parts (default: all):
#   storm    random commands of every type in every tier mode against redis-server; no memory is lost
#   crowd    many clients on a data set far larger than memory
#   kill     kill -9 at random moments, and starts on what is left
#   faults   random fault points at random passes
#   fuzz     every target of tests/fuzz
# The end is a plain line "N passed, N failed" (rounds and fuzz targets); exit status 0 only with none failed.
set -u
cd "$(dirname "$0")/.." || exit 2
minutes=${1:-60}
[ $# -eq 0 ] || shift
case $minutes in *[!0-9]* | '') echo "usage: scripts/soak.sh [MINUTES [storm|crowd|kill|faults|fuzz...]]" >&2; exit 2 ;; esac
parts=${*:-storm crowd kill faults fuzz}
scripts/install.sh build test soak || exit 1
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
passed=0 failed=0
seconds=$((minutes * 60 / $(wc -w <<<"$parts")))

build() {
    cmake --preset "$1" >"$log" 2>&1 && cmake --build --preset "$1" -j "$(nproc)" "${@:2}" >>"$log" 2>&1 || { tail -n 40 "$log"; echo "the build failed" >&2; exit 1; }
}

fuzz() {
    build fuzz
    local targets=(build-fuzz/tests/fuzz_*[a-z]) each target folder
    each=$((seconds / ${#targets[@]} + 1))
    for target in "${targets[@]}"; do
        folder=build-fuzz/corpus/${target##*/}
        mkdir -p "$folder"
        # In the corpus' parent, as one of them writes files; what it finds stays there as crash-*.
        if (cd "$folder/.." && "../tests/${target##*/}" -max_total_time="$each" -timeout=20 -rss_limit_mb=2048 "${target##*/}") >"$log" 2>&1; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1)); grep -vE '^#[0-9]+' "$log" | tail -n 60
        fi
        echo "${target##*/}, $each s: $(grep -E '^#[0-9]+' "$log" | tail -n 1)"
    done
}

for part in $parts; do
    printf '\n== %s, %d s\n' "$part" "$seconds"
    case $part in
    storm | crowd | kill | faults)
        build release --target firn-server
        tests/soak/run.py --server build-release/firn-server --seconds "$seconds" "$part" 2>&1 | tee "$log"
        line=$(grep -E ': [0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
        passed=$((passed + $(sed -nE 's/.*: ([0-9]+) passed.*/\1/p' <<<"${line:-: 0 passed}")))
        failed=$((failed + $(sed -nE 's/.* ([0-9]+) failed$/\1/p' <<<"${line:-: 1 failed}"))) ;;
    fuzz) fuzz ;;
    *) echo "unknown part: $part" >&2; exit 2 ;;
    esac
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
