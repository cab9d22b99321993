# rehearse.sh - what reclaim.sh and gameday.sh share: a timeline, a crowd of players, and what EC2 and bad luck do to machines.
#
# Everything that happens is a line of JSON in the file $timeline: our own deeds, what spotcraft-report watch sees of the world,
# and what the players see of it. What is due later waits in a queue; whoever includes this calls run_due again and again.
# Needs lib.sh, $dir, $bin and $timeline; sourced by bash with set -euo pipefail.
# shellcheck shell=bash disable=SC2034,SC2154 # what is set here is used by its includers, and the other way round

# ---- the timeline ----

# now VARIABLE: unix time in ms, without a process of its own.
now() {
    printf -v "$1" '%s' $((${EPOCHREALTIME/[.,]/} / 1000))
}

# tell KIND REST: a line of the timeline; REST is more JSON members, or nothing.
tell() {
    local t
    now t
    printf '{"t":%s,"kind":"%s"%s}\n' "$t" "$1" "${2:+,$2}" >>"$timeline"
}

# quoted TEXT: as JSON has it.
quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    say "\"${text//[[:cntrl:]]/ }\""
}

events=0
# event WHAT MS TEXT NODE...: something is done to these nodes; MS until their machines go, 0 when that is not said.
event() {
    local what=$1 ms=$2 text=$3 t names
    shift 3
    now t
    printf -v names '"%s",' "$@"
    events=$((events + 1))
    tell event "\"id\":$events,\"what\":\"$what\",\"deadline_ms\":$((ms ? t + ms : 0)),\"text\":$(quoted "$text"),\"nodes\":[${names%,}]"
}

# ---- what is due later ----

due_ms=() due_do=()
# at MS COMMAND WORD...: in so many ms from now; words without blanks.
at() {
    local t
    now t
    due_ms+=($((t + $1)))
    shift
    due_do+=("$*")
}

run_due() {
    local t k words
    now t
    for k in "${!due_ms[@]}"; do
        [ "${due_ms[$k]}" -le "$t" ] || continue
        read -r -a words <<<"${due_do[$k]}"
        unset "due_ms[$k]" "due_do[$k]"
        "${words[@]}"
    done
}

# Is something due that matters still? The kill of a machine that has gone does not.
anything_due() {
    local k
    read_timeline
    for k in "${!due_do[@]}"; do
        [[ ${due_do[$k]} = "reap "* && ${ended[${due_do[$k]#reap }]:-} ]] || return 0
    done
    return 1
}

# until_nothing_due MS: what is due is done, for so long at most.
until_nothing_due() {
    local t end
    now t
    end=$((t + $1))
    while anything_due && [ "$t" -lt "$end" ]; do
        run_due
        sleep 0.1
        now t
    done
}

# ---- those who watch, and the players ----

watch_pid='' bots_pid=''

# watch_world EVERY_MS
watch_world() {
    "$bin/ops/spotcraft-report" watch --dir "$dir" --out "$timeline" --every-ms "$1" 9>&- &
    watch_pid=$!
}

# Waits until those of $bots_pid are in the world.
bots_play() {
    local waited=0
    until grep -q '"kind":"bots_ready"' "$timeline" 2>/dev/null; do
        kill -0 "$bots_pid" 2>/dev/null || { cat "$timeline.bots" >&2; die "the players could not join"; }
        [ $((waited += 1)) -lt 600 ] || die "the players did not join within a minute"
        sleep 0.1
    done
}

# bots_join NUMBER CELLS EDITS_PER_S SEED: returns when they play.
bots_join() {
    "$bin/tests/bench/bench_players" --connect "127.0.0.1:$port" --bots "$1" --cells "$2" --edits-per-s "$3" --seed "$4" \
        --seconds 86400 --json --timeline "$timeline" >"$timeline.bots" 2>&1 9>&- &
    bots_pid=$!
    bots_play
}

# They stop building, wait until everybody was told of everything, and read the world. Their verdict is in the timeline.
bots_end() {
    [ "$bots_pid" ] || return 0
    kill -s TERM "$bots_pid" 2>/dev/null || true
    wait "$bots_pid" || true
    bots_pid=''
}

watch_end() {
    [ "$watch_pid" ] || return 0
    kill -s TERM "$watch_pid" 2>/dev/null || true
    wait "$watch_pid" || true
    watch_pid=''
}

# Of each node: its state as it was told last ("left" and "gone" at its end), its cells, and the most that it had.
# in_danger: it leaves, and does not expect to be done in time.
declare -A state=() has=() had=() ended=() in_danger=()

reading=''
# What the timeline has gained since the last look.
read_timeline() {
    local line name
    if [ -z "$reading" ]; then
        exec 7<"$timeline"
        reading=yes
    fi
    while IFS= read -r line <&7; do
        [[ $line =~ \"kind\":\"([a-z_]+)\",\"name\":\"(node[0-9]+)\" ]] || continue
        name=${BASH_REMATCH[2]}
        case ${BASH_REMATCH[1]} in
        node)
            [[ $line =~ \"state\":\"([^\"]*)\".*\"cells\":([0-9]+) ]] || continue
            [ -z "${ended[$name]:-}" ] || continue
            state+=(["$name"]=${BASH_REMATCH[1]})
            has+=(["$name"]=${BASH_REMATCH[2]})
            unset "in_danger[$name]"
            [[ $line != *'"will_hold":false'* ]] || in_danger+=(["$name"]=yes)
            if [ "${had[$name]:--1}" -lt "${has[$name]}" ]; then had+=(["$name"]=${has[$name]}); fi
            ;;
        silent) state+=(["$name"]=silent) ;;
        state) [[ ! $line =~ \"to\":\"([a-z_]+)\" ]] || state+=(["$name"]=${BASH_REMATCH[1]}) ;;
        ended)
            ended+=(["$name"]=yes)
            if [[ $line = *'"stopped":true'* ]]; then state+=(["$name"]=left); else state+=(["$name"]=gone); fi
            has+=(["$name"]=0)
            ;;
        esac
    done
}

# What the metadata service knows: when each notice was read first. One line of many kilobytes, which nobody else may write
# into: those who watch have ended.
keep_readings() {
    local known
    known=$(http_get "$imds_port" /control | tr -d '\n') || return 0
    [ -z "$known" ] || tell imds "\"control\":$known"
}

# ---- what is done to machines ----

# reap NAME: its deadline; EC2 does not wait.
reap() {
    if signal_node KILL "$1"; then tell killed "\"name\":\"$1\""; fi
}

declare -A told=() # those whose metadata have a notice from us

# interrupt MS ACTION NAME...: the two minutes' notice.
interrupt() {
    local ms=$1 action=$2 name
    shift 2
    for name in "$@"; do
        told+=(["$name"]=yes)
        imds "$name/itn?action=$action&in_ms=$ms" || die "the metadata service did not take the notice for $name"
        at "$ms" reap "$name"
    done
}

rebalance() {
    local name
    for name in "$@"; do
        told+=(["$name"]=yes)
        imds "$name/rebalance" || die "the metadata service did not take the recommendation for $name"
    done
}

hook_ms=120000
# take_out NAME...: its group takes the instance out; the lifecycle hook holds it for two minutes, whatever the speed: no
# metadata tell how long it holds, so nobody could know that it is less.
take_out() {
    local name
    for name in "$@"; do
        told+=(["$name"]=yes)
        imds "$name/asg?state=Terminated" || die "the metadata service did not take the new state of $name"
        at "$hook_ms" reap "$name"
    done
}

# maintain MS NAME...: a maintenance is scheduled for then.
maintain() {
    local ms=$1 name
    shift
    for name in "$@"; do
        told+=(["$name"]=yes)
        imds "$name/maintenance?code=instance-retirement&in_ms=$ms&id=rehearsal-$events" ||
            die "the metadata service did not take the maintenance of $name"
        at "$ms" reap "$name"
    done
}

kill_now() {
    local name
    for name in "$@"; do
        signal_node KILL "$name" || true
    done
}

declare -A frozen=()
# freeze MS NAME...
freeze() {
    local ms=$1 name
    shift
    for name in "$@"; do
        signal_node STOP "$name" || continue
        frozen+=(["$name"]=yes)
        at "$ms" thaw "$name"
    done
}

thaw() {
    unset "frozen[$1]"
    if signal_node CONT "$1"; then tell thawed "\"name\":\"$1\""; fi
}

# flap TIMES MS NAME...: a recommendation that comes and goes, MS each.
flap() {
    local times=$1 ms=$2 k
    shift 2
    for ((k = 0; k < times; k++)); do
        at $((2 * k * ms)) rebalance "$@"
        at $((2 * k * ms + ms)) calm rebalance "$@"
    done
}

# calm WHAT NAME...: the notice is withdrawn.
calm() {
    local what=$1 name
    shift
    for name in "$@"; do
        if imds "$name/withdraw?what=$what"; then tell withdrawn "\"name\":\"$name\",\"what\":\"$what\""; fi
    done
}

# replace POOL: a new machine, as the group would start one.
replace() {
    local name=''
    exec 8>"$dir/run/adding"
    flock -w 60 8 || die "another script has been adding a node for a minute"
    node_next name
    node_start "$name" "$1" 7<&- 8>&-
    exec 8>&-
    tell started "\"name\":\"$name\",\"pool\":\"$1\""
}

# Nothing of ours stays behind, whatever happened: no player, no node that hangs, no notice that nobody follows up.
rehearsal_over() {
    local name
    trap '' INT TERM
    for name in "${!frozen[@]}"; do
        signal_node CONT "$name" || true
    done
    for name in "${!told[@]}"; do
        if running "$name" >/dev/null; then imds "$name/withdraw?what=all" || true; fi
    done
    [ -z "$bots_pid" ] || kill -s KILL "$bots_pid" 2>/dev/null || true
    watch_end
}
