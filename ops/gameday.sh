#!/usr/bin/env bash
# A game day: a world of its own with players in it, and minutes full of everything that can happen to its machines, chosen by
# a seed. Ends with a page of HTML and a verdict.
# shellcheck disable=SC2317,SC2154 # what happens is called, and numbers are set, by names that are made at run time
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=rehearse.sh
. "$top/ops/rehearse.sh"

usage() {
    cat <<EOF
usage: ops/gameday.sh [options]

Starts a world in a temporary directory, lets players build in it, and takes machines away by a random schedule: interruptions,
storms over a pool or all machines but one, scale-in, retirement, kills, freezes, recommendations that come to nothing or come
and go, a metadata service that breaks down. What goes is replaced. At the end the players read the whole world.

  --minutes N       how long, 1 to 240 (10); --seconds N for less
  --seed S          what is done, when and to whom (1)
  --bots N          players (60)
  --cells N         they live in N x N cells (8)
  --edits-per-s N   of all of them together (60)
  --nodes N         machines, 3 to 16 (5)
  --pools N         over how many Spot pools (3)
  --speed N         two minutes' notice pass N times as fast, 1 to 20 (10); those of a lifecycle hook do not
  --html FILE       the page (gameday-SEED.html)
  --json            the report as one line of JSON, and nothing else
  --keep            the world's directory stays (as it does when the verdict is bad)
  --no-install      never call apt

Exit code 0: nobody was disconnected, nothing was lost, doubled or out of order, whoever had notice left in time, and whoever
was told to go and then not, or hung, serves again.
EOF
}

seconds=600 seed=1 bots=60 cells=8 edits=60 nodes=5 pools=3 speed=10 html='' json='' keep='' install=()

number() {
    if ! [[ $2 =~ ^[0-9]{1,9}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        die "$1 takes a number from $3 to $4, not '$2'"
    fi
}

given="$*"
while [ $# -gt 0 ]; do
    case $1 in
    --minutes | --seconds | --seed | --bots | --cells | --edits-per-s | --nodes | --pools | --speed | --html)
        [ $# -ge 2 ] || die "$1 needs a value; see --help"
        case $1 in
        --minutes) number --minutes "$2" 1 240 && seconds=$((60 * $2)) ;;
        --seconds) number --seconds "$2" 10 14400 && seconds=$2 ;;
        --seed) number --seed "$2" 0 999999999 && seed=$2 ;;
        --bots) number --bots "$2" 2 2000 && bots=$2 ;;
        --cells) number --cells "$2" 2 64 && cells=$2 ;;
        --edits-per-s) number --edits-per-s "$2" 1 10000 && edits=$2 ;;
        --nodes) number --nodes "$2" 3 16 && nodes=$2 ;;
        --pools) number --pools "$2" 1 "$pools_max" && pools=$2 ;;
        --speed) number --speed "$2" 1 20 && speed=$2 ;;
        --html) html=$2 ;;
        esac
        shift
        ;;
    --json) json=yes ;;
    --keep) keep=yes ;;
    --no-install) install=(--no-install) ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) die "unknown option '$1'; see --help" ;;
    esac
    shift
done
html=${html:-gameday-$seed.html}
minutes_ms=$((120000 / speed)) poll_ms=2000
# A page that is there stays until the new one is whole.
page=$html
if [ ! -e "$html" ] || [ -f "$html" ]; then page=$html.new; fi
: >"$page" || die "cannot write $html"

# ---- chance ----

chance=$((seed * 2654435761 + 88172645463325252))
# draw FROM TO VARIABLE: a number between them, both included. Always the same ones for a seed.
draw() {
    chance=$((chance * 6364136223846793005 + 1442695040888963407))
    printf -v "$3" '%d' $(($1 + ((chance >> 33) & 0x7fffffff) % ($2 - $1 + 1)))
}

# ---- who may be chosen ----

declare -A busy=() # until when something is done to it, unix ms
healthy=()
find_healthy() {
    local name t
    now t
    read_timeline
    healthy=()
    for name in "${!state[@]}"; do
        [ "${state[$name]}" = running ] && [ "${busy[$name]:-0}" -lt "$t" ] && healthy+=("$name")
    done
    [ ${#healthy[@]} = 0 ] || mapfile -t healthy < <(printf '%s\n' "${healthy[@]}" | sort -V)
}

# occupy MS NAME...
occupy() {
    local t name
    now t
    t=$((t + $1))
    shift
    for name in "$@"; do
        busy+=(["$name"]=$t)
    done
}

chosen=''
choose() {
    local k
    draw 0 $((${#healthy[@]} - 1)) k
    chosen=${healthy[$k]}
}

# gone_soon NAME...: their group starts others; not always in the pool that was just taken.
gone_soon() {
    local name ms k pool
    for name in "$@"; do
        draw 1500 6000 ms
        draw 0 2 k
        pool=$(cat "$dir/run/$name.pool")
        if [ "$k" = 0 ]; then
            draw 0 $((pools - 1)) k
            pool=$(pool_name "$k")
        fi
        at "$ms" replace "$pool"
        busy+=(["$name"]=9999999999999)
    done
}

# ---- what may happen ----

story() {
    [ "$json" ] || printf '%s  %-12s %s\n' "$(date +%T)" "$1" "$2"
}

happens_itn() {
    local action=terminate k
    draw 0 3 k
    [ "$k" != 0 ] || action=stop
    event itn "$minutes_ms" "to $action it" "$chosen"
    interrupt "$minutes_ms" "$action" "$chosen"
    gone_soon "$chosen"
}

happens_asg() {
    event asg "$hook_ms" "" "$chosen"
    take_out "$chosen"
    gone_soon "$chosen"
}

happens_maintenance() {
    event maintenance "$minutes_ms" "" "$chosen"
    maintain "$minutes_ms" "$chosen"
    gone_soon "$chosen"
}

happens_kill() {
    event kill 0 "" "$chosen"
    kill_now "$chosen"
    gone_soon "$chosen"
}

happens_freeze() {
    local ms
    draw 1000 7000 ms
    event freeze 0 "for $((ms / 1000)).$((ms % 1000 / 100)) seconds" "$chosen"
    freeze "$ms" "$chosen"
    occupy $((ms + 4000)) "$chosen"
}

# A recommendation that nothing follows.
happens_rebalance() {
    local ms
    draw 6000 15000 ms
    event rebalance 0 "nothing followed" "$chosen"
    rebalance "$chosen"
    at "$ms" calm rebalance "$chosen"
    occupy $((ms + 3000)) "$chosen"
}

# One that comes true.
happens_warned() {
    local ms
    draw 2500 6000 ms
    event rebalance 0 "an interruption followed" "$chosen"
    rebalance "$chosen"
    busy+=(["$chosen"]=9999999999999)
    at "$ms" after_warning "$chosen"
}

after_warning() {
    event itn "$minutes_ms" "after a recommendation" "$1"
    interrupt "$minutes_ms" terminate "$1"
    gone_soon "$1"
}

happens_flap() {
    event flap 0 "three recommendations, each withdrawn" "$chosen"
    flap 3 2500 "$chosen"
    occupy 18000 "$chosen"
}

# The metadata service misbehaves, and comes back.
happens_fault() {
    local faults=(status=500 status=503 status=401 status=404 delay_ms=1500 silence reset garbage broken endless throttle=1 hop-limit=1
        expire-tokens) k ms
    draw 0 $((${#faults[@]} - 1)) k
    draw 3000 8000 ms
    event fault 0 "its metadata: ${faults[$k]}, for $((ms / 1000)) seconds" "$chosen"
    imds "$chosen/fault?${faults[$k]}" || die "the metadata service did not take the fault ${faults[$k]}"
    at "$ms" mend "$chosen"
    occupy $((ms + 3 * poll_ms)) "$chosen"
}

mend() {
    imds "$1/fault?clear" || true
}

# The notice comes while nobody can read it.
happens_blind() {
    event itn "$minutes_ms" "while its metadata answered 503 for three seconds" "$chosen"
    imds "$chosen/fault?status=503" || die "the metadata service did not take the fault"
    at 3000 mend "$chosen"
    interrupt "$minutes_ms" terminate "$chosen"
    gone_soon "$chosen"
}

# A pool is taken, or all but one.
happens_storm() {
    local k pool name hit=()
    draw 0 1 k
    if [ "$k" = 0 ]; then
        pool=$(cat "$dir/run/$chosen.pool")
        for name in "${healthy[@]}"; do
            [ "$(cat "$dir/run/$name.pool")" != "$pool" ] || hit+=("$name")
        done
    else
        for name in "${healthy[@]}"; do
            [ "$name" = "$chosen" ] || hit+=("$name")
        done
    fi
    [ ${#hit[@]} -lt ${#healthy[@]} ] || hit=("${hit[@]:1}")
    event storm "$minutes_ms" "" "${hit[@]}"
    interrupt "$minutes_ms" terminate "${hit[@]}"
    gone_soon "${hit[@]}"
    chosen="${hit[*]}"
}

# So many times in a hundred.
kinds=(itn 16 asg 8 maintenance 6 kill 15 freeze 12 rebalance 8 warned 8 flap 6 fault 8 blind 6 storm 7)

# One of them, if two healthy machines stay; a storm leaves one.
something_happens() {
    local k at=0 n
    find_healthy
    [ ${#healthy[@]} -ge 3 ] || return 0
    choose
    draw 0 99 n
    for ((k = 0; k < ${#kinds[@]}; k += 2)); do
        at=$((at + kinds[k + 1]))
        [ "$n" -lt "$at" ] || continue
        "happens_${kinds[k]}"
        story "${kinds[k]}" "$chosen"
        return 0
    done
}

# ---- the course of the day ----

play_until() {
    local t next ms
    now next
    while :; do
        run_due
        now t
        [ "$t" -lt "$1" ] || return 0
        if [ "$t" -ge "$next" ]; then
            something_happens
            draw 3000 12000 ms
            next=$((t + ms))
        fi
        kill -0 "$bots_pid" 2>/dev/null || { cat "$timeline.bots" >&2; die "the players ended too early; see $dir"; }
        sleep 0.1
    done
}

over() {
    local status=$?
    trap '' INT TERM
    rehearsal_over
    [ "$page" = "$html" ] || rm -f "$page"
    if [ -d "$dir/run" ]; then "$top/ops/down.sh" --dir "$dir" >/dev/null || true; fi
    if [ "$status" = 0 ] && [ -z "$keep" ]; then
        rm -rf "$dir"
    else
        say "the world, its logs and the timeline are kept in $dir" >&2
    fi
    exit "$status"
}

dir=$(mktemp -d /tmp/spotcraft-gameday-XXXXXX)
timeline=$dir/timeline.jsonl
trap over EXIT
trap 'exit 130' INT TERM
free_port $((14500 + $$ % 8000)) port # apart from those of other game days
build_programs all build/release/tests/bench/bench_players >&2
"$top/ops/up.sh" --detach "${install[@]}" --dir "$dir" --port "$port" --nodes "$nodes" --pools "$pools" --gateways 2 >"$dir/up.log" 2>&1 ||
    { cat "$dir/up.log" >&2; die "the world did not come up"; }
world_load
: >"$timeline"
[ "$json" ] || say "$bots players join; seed $seed, $seconds seconds, $nodes machines in $pools pools"
bots_join "$bots" "$cells" "$edits" "$seed"
tell start "\"title\":\"Game day, seed $seed\",\"command\":$(quoted "ops/gameday.sh $given"),\"seed\":$seed,\"bots\":$bots,\"speed\":$speed"
watch_world 1000
now begun
# Nothing begins that could not end: the notices of the last minutes are waited for.
last_ms=$((minutes_ms + 4000))
[ $((seconds * 1000)) -gt $((last_ms + 5000)) ] || last_ms=$((seconds * 400))
play_until $((begun + seconds * 1000 - last_ms))
until_nothing_due $((hook_ms + 30000))
now t
if [ "$t" -lt $((begun + seconds * 1000)) ]; then sleep $(((begun + seconds * 1000 - t) / 1000)); fi
[ "$json" ] || say "the players stop building, and the world is read"
tell end
bots_end
watch_end
keep_readings
status=0
"$bin/ops/spotcraft-report" page "$timeline" >"$page" || status=$?
if [ "$page" != "$html" ] && [ $status -le 1 ]; then mv -f "$page" "$html"; fi
if [ "$json" ]; then
    "$bin/ops/spotcraft-report" json "$timeline" || status=$?
else
    "$bin/ops/spotcraft-report" text "$timeline" || status=$?
    [ $status -gt 1 ] || say "the page: $html"
fi
exit "$status"
