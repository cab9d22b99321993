#!/usr/bin/env bash
# run-tests.sh [--strict] [--jobs=N] TEST... [--jobs=N TEST...]: runs test programs, each with a time limit, and counts.
#
# A cmocka program counts by its tests; any other as one. One that crashes or hangs is a failure even if all that it got to
# passed. Passing ones take a line, failing ones show all they said, in the order given. With TEST_COUNTS=FILE the counts are also
# added to that file, for a caller that sums up. With TEST_WITH=PROGRAM that program runs them: an emulator. So many of those behind
# --jobs=N run at a time, not for those that measure; TEST_JOBS=N: of those before the first. --strict: a skipped test is a failure.
set -euo pipefail

limit_s=${TEST_LIMIT_S:-300} jobs=${TEST_JOBS:-1} strict='' passed=0 failed=0 skipped=0
if [ "${1:-}" = --strict ]; then
    strict=yes
    shift
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run TEST OUT: all that it said into OUT, its exit status and how long it took, in ms, into OUT.end.
run() {
    local started status=0
    started=$(date +%s%N)
    timeout -k 5 "$limit_s" ${TEST_WITH:+"$TEST_WITH"} "$1" >"$2" 2>&1 || status=$?
    echo "$status $((($(date +%s%N) - started) / 1000000))" >"$2.ending"
    mv "$2.ending" "$2.end"
}

# The number in front of "test(s)" on cmocka's line of that kind, 0 when there is no such line.
count() {
    sed -n "s/^\[ *$1 *\] \([0-9][0-9]*\) test(s).*/\1/p" "$out" | awk '{ n += $1 } END { print n + 0 }'
}

# What came of a test that ended.
tell() {
    local name=${1##*/} out=$2 status took p f s
    read -r status took <"$out.end"
    p=$(count PASSED) f=$(count FAILED) s=$(count SKIPPED)
    if ! grep -q '^\[==========\].*test(s) run' "$out"; then
        if [ "$status" = 0 ]; then p=1; else p=0 f=1; fi
    elif [ "$status" != 0 ] && [ "$f" = 0 ]; then
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ "$f" != 0 ]; then
        printf 'FAIL %-32s %4d passed %3d failed %3d skipped %7d ms  status %d\n' "$name" "$p" "$f" "$s" "$took" "$status"
        sed 's/^/    /' "$out"
    else
        printf 'ok   %-32s %4d passed %3d skipped %7d ms\n' "$name" "$p" "$s" "$took"
        [ "$s" = 0 ] || grep '^\[ *SKIPPED' "$out" | sed 's/^/    /'
    fi
}

tests=() together=() running=0 told=0
for word in "$@"; do
    case $word in
    --jobs=*) jobs=${word#--jobs=} ;;
    *) tests+=("$word") together+=("$jobs") ;;
    esac
done

# One has ended: what is known now is told, in the order given.
one_ends() {
    wait -n
    running=$((running - 1))
    for (( ; told < ${#tests[@]}; told++)); do
        [ -e "$work/$told.end" ] || break
        tell "${tests[told]}" "$work/$told"
    done
}

for ((next = 0; next < ${#tests[@]}; next++)); do
    while [ $running -ge "${together[next]}" ]; do one_ends; done
    run "${tests[next]}" "$work/$next" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do one_ends; done

[ -z "${TEST_COUNTS:-}" ] || printf '%d %d %d\n' $passed $failed $skipped >>"$TEST_COUNTS"
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed = 0 ] && { [ -z "$strict" ] || [ $skipped = 0 ]; }
