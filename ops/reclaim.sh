#!/usr/bin/env bash
# Takes machines of a running world away, as EC2 would, and reports what the players noticed.
#
# How long it looks on can be set by the environment, for those who are in a hurry (tests), in ms: REHEARSE_BEFORE_MS (2000)
# before anything is done, REHEARSE_AFTER_MS (3000) after the machines have gone, REHEARSE_RISK_MS (10000) how long a
# recommendation stands, REHEARSE_FREEZE_MS (6000) how long a machine hangs, REHEARSE_LEASE_MS (4000) until a killed one is
# missed; and REHEARSE_FLAPS (5) recommendations.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=rehearse.sh
. "$top/ops/rehearse.sh"

usage() {
    cat <<EOF
usage: ops/reclaim.sh [options] COMMAND

For a world that ops/up.sh started. Each notice comes through the instance's metadata; who still runs at the deadline is killed.

  itn NODE...          a Spot interruption: two minutes, then the machine goes
  asg NODE...          its Auto Scaling group takes it out; the lifecycle hook holds it for two minutes
  maintenance NODE...  its machine is retired in two minutes
  rebalance NODE...    a rebalance recommendation, and nothing follows
  flap NODE...         five of them, each withdrawn again
  kill NODE...         the machine is gone, without a word
  freeze NODE...       it hangs for 6 seconds, longer than its lease
  storm --nodes K      K nodes are interrupted at once, of as few pools as that takes
  storm --pool P       all nodes of a pool: its name, a part of it, or its number

  --dir DIR            the world (spotcraft-world)
  --speed N            the two minutes pass N times as fast, 1 to 40 (1); those of a lifecycle hook do not: nothing tells
                       a machine how long it is held
  --bots N             players who build meanwhile, 0 to 2000; they say what was lost (0)
  --cells N            they live in N x N cells (6 and one more for each 25 of them)
  --edits-per-s N      of all of them together (100)
  --replace            each machine that is told to go, or goes, is replaced after 2 seconds, in its own pool
  --json               the report as one line of JSON

Exit code 0: nobody was disconnected, nothing was lost, doubled or out of order, whoever had notice left in time, and whoever
was told to go and then not, or hung, serves again.
EOF
}

dir=$top/spotcraft-world speed=1 bots=0 cells='' edits=100 replacing='' json='' storm_nodes='' storm_pool='' words=()

number() {
    if ! [[ $2 =~ ^[0-9]{1,6}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        die "$1 takes a number from $3 to $4, not '$2'"
    fi
}

before_ms=${REHEARSE_BEFORE_MS:-2000} after_ms=${REHEARSE_AFTER_MS:-3000} risk_ms=${REHEARSE_RISK_MS:-10000}
freeze_ms=${REHEARSE_FREEZE_MS:-6000} lease_ms=${REHEARSE_LEASE_MS:-4000} flaps=${REHEARSE_FLAPS:-5}
number REHEARSE_BEFORE_MS "$before_ms" 0 60000
number REHEARSE_AFTER_MS "$after_ms" 0 60000
number REHEARSE_RISK_MS "$risk_ms" 1 60000
number REHEARSE_FREEZE_MS "$freeze_ms" 1 60000
number REHEARSE_LEASE_MS "$lease_ms" 0 60000
number REHEARSE_FLAPS "$flaps" 1 100

given="$*"
while [ $# -gt 0 ]; do
    case $1 in
    --dir | --speed | --bots | --cells | --edits-per-s | --nodes | --pool)
        [ $# -ge 2 ] || die "$1 needs a value; see --help"
        case $1 in
        --dir) dir=$2 ;;
        --speed) number --speed "$2" 1 40 && speed=$2 ;;
        --bots) number --bots "$2" 0 2000 && bots=$2 ;;
        --cells) number --cells "$2" 2 64 && cells=$2 ;;
        --edits-per-s) number --edits-per-s "$2" 1 10000 && edits=$2 ;;
        --nodes) number --nodes "$2" 1 256 && storm_nodes=$2 ;;
        --pool) storm_pool=$2 ;;
        esac
        shift
        ;;
    --replace) replacing=yes ;;
    --json) json=yes ;;
    --help | -h)
        usage
        exit 0
        ;;
    -*) die "unknown option '$1'; see --help" ;;
    *) words+=("$1") ;;
    esac
    shift
done
what=${words[0]:-}
nodes=("${words[@]:1}")
case $what in
itn | asg | maintenance | rebalance | flap | kill | freeze)
    [ ${#nodes[@]} -gt 0 ] || die "$what takes the names of nodes; ops/node.sh list has them"
    [ -z "$storm_nodes$storm_pool" ] || die "--nodes and --pool go with storm"
    ;;
storm)
    [ ${#nodes[@]} = 0 ] || die "storm takes --nodes K or --pool P, no names"
    [ -n "$storm_nodes$storm_pool" ] || die "storm takes --nodes K or --pool P"
    [ -z "$storm_nodes" ] || [ -z "$storm_pool" ] || die "storm takes one of --nodes and --pool"
    ;;
'')
    usage >&2
    exit 2
    ;;
*) die "unknown command '$what'; see --help" ;;
esac
[ "$bots" != 1 ] || die "--bots takes at least 2: one shows the other what he saw"
cells=${cells:-$((6 + bots / 25))}

# ---- who ----

# All running nodes, pool by pool, the largest first.
by_pool() {
    local name
    for name in $(running_names 'node*' | sort -V); do
        say "$(cat "$dir/run/$name.pool") $name"
    done | awk '{ n[$1]++; pool[NR] = $1; name[NR] = $2 }
        END { for (k = 1; k <= NR; k++) printf "%d %s %d %s\n", n[pool[k]], pool[k], k, name[k] }' | sort -k1,1nr -k2,2 -k3,3n |
        awk '{ print $4 }'
}

storm_chooses() {
    local all pool name
    mapfile -t all < <(by_pool)
    if [ "$storm_nodes" ]; then
        [ "$storm_nodes" -lt ${#all[@]} ] || die "storm --nodes $storm_nodes: ${#all[@]} nodes run, and one must stay"
        nodes=("${all[@]:0:storm_nodes}")
        return
    fi
    pool=$storm_pool
    [[ ! $pool =~ ^[0-9]{1,2}$ ]] || pool=$(pool_named "$pool") || exit 1
    for name in "${all[@]}"; do
        [[ $(cat "$dir/run/$name.pool") != *"$pool"* ]] || nodes+=("$name")
    done
    [ ${#nodes[@]} -gt 0 ] || die "storm --pool $storm_pool: no node runs in such a pool"
    [ ${#nodes[@]} -lt ${#all[@]} ] || die "storm --pool $storm_pool: that is every node, and one must stay"
}

check_nodes() {
    local name
    declare -A seen=()
    for name in "${nodes[@]}"; do
        if ! [[ $name =~ ^node[0-9]+$ ]] || ! running "$name" >/dev/null; then
            die "no node called '$name' runs in $dir; ops/node.sh list has those that do"
        fi
        [ -z "${seen[$name]:-}" ] || die "$name is named twice"
        seen+=(["$name"]=yes)
    done
}

# ---- progress ----

deadline=0 showing='' shown=0 shown_ms=0

bar() {
    local full=0 k text=''
    if [ "${had[$1]:-}" ]; then full=$((had[$1] ? 30 * (had[$1] - has[$1]) / had[$1] : 30)); fi # else nothing is known yet
    for ((k = 0; k < 30; k++)); do
        if [ $k -lt $full ]; then text+='#'; else text+='-'; fi
    done
    say "$text"
}

show() {
    local t name left line
    now t
    [ "$showing" ] || return 0
    if [ ! -t 1 ]; then
        [ $((t - shown_ms)) -ge 1000 ] || [ "${1:-}" ] || return 0
        shown_ms=$t
        for name in "${nodes[@]}"; do
            printf '%-8s %-9s %s of %s cells left' "$name" "${state[$name]:-?}" "${has[$name]:-?}" "${had[$name]:-?}"
            [ $deadline = 0 ] || printf ', %d.%d s to go' $(((deadline > t ? deadline - t : 0) / 1000)) $(((deadline > t ? deadline - t : 0) % 1000 / 100))
            printf '%s\n' "${in_danger[$name]:+: in danger}"
        done
        return 0
    fi
    [ "$shown" = 0 ] || printf '\033[%dA' "$shown"
    for name in "${nodes[@]}"; do
        left=$((deadline > t ? deadline - t : 0))
        printf -v line '%-8s %-9s [%s] %4s of %4s cells left' "$name" "${state[$name]:-?}" "$(bar "$name")" "${has[$name]:-0}" "${had[$name]:-0}"
        [ $deadline = 0 ] || [ -n "${ended[$name]:-}" ] || printf -v line '%s   %3d.%d s to go' "$line" $((left / 1000)) $((left % 1000 / 100))
        [ -z "${in_danger[$name]:-}" ] || line+='  IN DANGER'
        printf '\033[K%s\n' "$line"
    done
    shown=${#nodes[@]}
}

# all_are WORD...: is every node in one of these states?
all_are() {
    local name
    for name in "${nodes[@]}"; do
        [[ " $* " == *" ${state[$name]:-} "* ]] || return 1
    done
}

# until_all MS WORD...: false when not within the time.
until_all() {
    local t end
    now t
    end=$((t + $1))
    shift
    while :; do
        run_due
        read_timeline
        show
        ! all_are "$@" || return 0
        now t
        [ "$t" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# for_ms MS: time passes, what is due is done.
for_ms() {
    until_all "$1" never || true
}

# ---- the course of it ----

replace_all() {
    local name
    [ -n "$replacing" ] || return 0
    for name in "${nodes[@]}"; do
        at 2000 replace "$(cat "$dir/run/$name.pool")"
    done
}

# with_notice MS COMMAND...: so many ms until those who still run are killed.
with_notice() {
    local ms=$1
    shift
    now deadline
    deadline=$((deadline + ms))
    replace_all
    "$@"
    until_all $((ms + 5000)) left gone || say "not all of them ended, though they were killed" >&2
    deadline=0
    for_ms "$after_ms"
}

course() {
    case $what in
    itn | storm)
        event "$what" "$minutes_ms" "" "${nodes[@]}"
        with_notice "$minutes_ms" interrupt "$minutes_ms" terminate "${nodes[@]}"
        ;;
    asg)
        event asg "$hook_ms" "" "${nodes[@]}"
        with_notice "$hook_ms" take_out "${nodes[@]}"
        ;;
    maintenance)
        event maintenance "$minutes_ms" "" "${nodes[@]}"
        with_notice "$minutes_ms" maintain "$minutes_ms" "${nodes[@]}"
        ;;
    rebalance)
        event rebalance 0 "" "${nodes[@]}"
        rebalance "${nodes[@]}"
        until_all 10000 at_risk || true
        for_ms "$risk_ms"
        calm rebalance "${nodes[@]}"
        until_all 10000 running || true
        ;;
    flap)
        event flap 0 "" "${nodes[@]}"
        flap "$flaps" 2500 "${nodes[@]}"
        for_ms $((flaps * 5000))
        until_all 10000 running || true
        ;;
    kill)
        event kill 0 "" "${nodes[@]}"
        replace_all
        kill_now "${nodes[@]}"
        until_all 5000 gone || true
        for_ms "$lease_ms" # and what follows it
        for_ms "$after_ms"
        ;;
    freeze)
        event freeze 0 "for $((freeze_ms / 1000)) seconds" "${nodes[@]}"
        freeze "$freeze_ms" "${nodes[@]}"
        for_ms $((freeze_ms + after_ms + 2000))
        ;;
    esac
    until_nothing_due 10000
    show last
}

world_load
if [ "$what" = storm ]; then storm_chooses; else check_nodes; fi
minutes_ms=$((120000 / speed))
if [ "$bots" -gt 0 ]; then build_programs all build/release/tests/bench/bench_players; else build_programs all; fi >&2
mkdir -p "$dir/rehearsals"
timeline=$dir/rehearsals/$(date +%Y%m%d-%H%M%S)-$what-$$.jsonl
trap 'rehearsal_over' EXIT
trap 'exit 130' INT TERM
: >"$timeline"
if [ "$bots" -gt 0 ]; then
    [ "$json" ] || say "$bots players join, in $((cells * cells)) cells"
    bots_join "$bots" "$cells" "$edits" $$
fi
tell start "\"title\":\"$what ${nodes[*]}\",\"command\":$(quoted "ops/reclaim.sh $given"),\"bots\":$bots,\"speed\":$speed"
watch_world 200
for_ms "$before_ms" # how it is when nothing happens
if [ -z "$json" ]; then
    say "$what: ${nodes[*]}"
    showing=yes
fi
course
[ -z "$bots_pid" ] || [ "$json" ] || say "the players stop building, and the world is read"
tell end
bots_end
watch_end
keep_readings
if [ "$json" ]; then
    "$bin/ops/spotcraft-report" json "$timeline"
else
    "$bin/ops/spotcraft-report" text "$timeline"
fi
