#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# scripts/test.sh [STEP...]: install what tests need, build, run every test. Steps, in order (default: all):
#   unit      release preset: unit, model, fault tests and lints (ctest)
#   blackbox  the same build: real clients and raw sockets, in every tier mode; differential test against redis-server
#   suite     the same build: Redis's own suite from Debian's source package, in every tier mode
#   asan      debug build with all assertions, address and undefined sanitizers: the tests of unit, and the black-box cases
#   tsan      the tests of unit under the thread sanitizer
# Nothing may take longer than its limit (LIMIT_MINUTES, of one run): what does is ended and counts as failed, so that the rest still tells.
# The end is a plain line "N passed, N failed"; exit status 0 only with none failed.
set -u
cd "$(dirname "$0")/.." || exit 2
started=$SECONDS
scripts/install.sh build test || exit 1
steps=${*:-unit blackbox suite asan tsan}
LIMIT_MINUTES=20
logs=$(mktemp -d) || exit 2
trap 'rm -rf "$logs"' EXIT
passed=0 failed=0
jobs=$(nproc)

# count LOG: add the "N passed, N failed" lines of a run's log.
count() {
    local p f
    p=$(grep -oE '[0-9]+ passed, [0-9]+ failed$' "$1" | awk '{s+=$1} END {print s+0}')
    f=$(grep -oE '[0-9]+ passed, [0-9]+ failed$' "$1" | awk '{s+=$3} END {print s+0}')
    passed=$((passed + p)) failed=$((failed + f))
}
fail() { failed=$((failed + 1)); echo "FAILED: $*"; }
say() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)); }

limited() { timeout --foreground -k 30 "${LIMIT_MINUTES}m" "$@"; }

build() {
    say "build $1"
    limited cmake --preset "$1" >"$logs/cmake" 2>&1 && limited cmake --build --preset "$1" -j "$jobs" >>"$logs/cmake" 2>&1 ||
        { tail -n 40 "$logs/cmake"; fail "build $1"; return 1; }
}

# ctest_run PRESET REGEX-OF-LABELS
ctest_run() {
    say "ctest $1 ($2)"
    (cd "build-$1" && limited ctest -L "$2" -j "$jobs" --output-on-failure --timeout 300) >"$logs/ctest" 2>&1
    local summary
    summary=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests? failed out of [0-9]+' "$logs/ctest")
    [ -n "$summary" ] || { tail -n 40 "$logs/ctest"; fail "ctest $1 did not run"; return; }
    local bad all
    bad=$(echo "$summary" | sed -E 's/.*, ([0-9]+) tests? failed.*/\1/') all=${summary##* }
    [ "$bad" = 0 ] || grep -vE '^ +Start|Passed' "$logs/ctest" | tail -n 120
    echo "$1: $((all - bad)) passed, $bad failed"
    passed=$((passed + all - bad)) failed=$((failed + bad))
}

# logged NAME COMMAND...: run, show, count its "N passed, N failed" lines; without such a line its exit status counts.
logged() {
    local name=$1; shift
    say "$name"
    limited "$@" 2>&1 | tee "$logs/run"
    local status=${PIPESTATUS[0]} before=$failed
    if grep -qE '[0-9]+ passed, [0-9]+ failed$' "$logs/run"; then
        grep -E '[0-9]+ passed, [0-9]+ failed$' "$logs/run" | tail -n 1 >"$logs/line"; count "$logs/line"
        [ "$status" -eq 0 ] || [ "$failed" -gt "$before" ] || fail "$name ended with status $status"
    else fail "$name ended with status $status and no result"; fi
}

for step in $steps; do
    case $step in
    unit) build release && ctest_run release 'fast' ;;
    blackbox)
        build release || continue
        for mode in off pmem nvme random; do
            logged "black box, $mode" tests/blackbox/run.py --server build-release/firn-server --stress "$mode" --jobs "$jobs"
        done
        logged 'differential' tests/diff/run.py --server build-release/firn-server --commands 12000 --jobs "$jobs"
        for mode in off nvme random; do
            logged "clients, $mode" tests/diff/clients.py --server build-release/firn-server --stress "$mode" --steps 1500 --seeds 5
        done ;;
    suite)
        build release || continue
        tree=$(scripts/redis_source.sh build-release/redis) || { fail 'source package of redis'; continue; }
        for mode in off pmem nvme random; do
            logged "redis suite, $mode" tests/redis/run.py --tests "$tree" --server build-release/firn-server --stress "$mode" --jobs "$jobs"
        done ;;
    asan)
        build asan && ctest_run asan 'unit|model|fault'
        [ -x build-asan/firn-server ] && logged 'black box, asan, random' \
            tests/blackbox/run.py --server build-asan/firn-server --stress random --once --quick --jobs "$jobs" ;;
    tsan) build tsan && TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1" ctest_run tsan 'unit|model|fault' ;;
    *) echo "unknown step: $step" >&2; exit 2 ;;
    esac
done
say 'done'
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
