#!/usr/bin/env bash
# Replaces the nodes and gateways of a running world one by one, as a Deployment does, and reports what the players noticed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=rehearse.sh
. "$top/ops/rehearse.sh"

usage() {
    cat <<EOF
usage: ops/rollout.sh [options] [nodes] [gateways]     both, unless one is named

For a world that ops/up.sh started. As the Deployments in ops/k8s have it (maxSurge 1, maxUnavailable 0) the new one is started and
ready before the old one is told to stop. One that does not become ready ends the rollout: everything old goes on as it was.

  nodes       the old one hands its cells over and ends; players build meanwhile, and nobody may be disconnected
  gateways    the old one tells its players that it goes and closes them at its deadline; they come again, and newcomers are served

  --dir DIR          the world (spotcraft-world)
  --to DIR           the new version's programs, as a build leaves them (those that are built here)
  --min-ready-s N    a new one serves for so long before the old one is told, 0 to 600 (1)
  --bots N           players meanwhile, 1 to 2000 (40)
  --edits-per-s N    of all of them together, while nodes are replaced (50)
  --json             the report as one line of JSON

Exit code 0: all were replaced in order; nobody was disconnected by a new node; by a gateway nobody without a word, and all were let in
again where they had been; no newcomer was turned away; no block was lost or doubled.
EOF
}

number() {
    if ! [[ $2 =~ ^[0-9]{1,5}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        die "$1 takes a number from $3 to $4, not '$2'"
    fi
}

dir=$top/spotcraft-world new_bin='' min_ready_s=1 bots=40 edits=50 json='' kinds=()
while [ $# -gt 0 ]; do
    case $1 in
    --dir | --to | --min-ready-s | --bots | --edits-per-s)
        [ $# -ge 2 ] || die "$1 needs a value; see --help"
        case $1 in
        --dir) dir=$2 ;;
        --to) new_bin=$2 ;;
        --min-ready-s) number --min-ready-s "$2" 0 600 && min_ready_s=$2 ;;
        --bots) number --bots "$2" 1 2000 && bots=$2 ;;
        --edits-per-s) number --edits-per-s "$2" 1 10000 && edits=$2 ;;
        esac
        shift
        ;;
    --json) json=yes ;;
    nodes | gateways) kinds+=("$1") ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) die "'$1' is neither an option nor nodes or gateways; see --help" ;;
    esac
    shift
done
[ ${#kinds[@]} -gt 0 ] || kinds=(nodes gateways)
if [ "$new_bin" ]; then
    for name in node/node gateway/gateway; do
        [ -x "$new_bin/$name" ] || die "--to: there is no program $new_bin/$name"
    done
    new_bin=$(cd "$new_bin" && pwd)
fi

story() {
    [ "$json" ] || say "$@"
}

bad='' # what is wrong, in words
wrong() {
    bad+="${bad:+; }$1"
    story "  WRONG: $1"
}

# ms_since UNIX_MS VARIABLE
ms_since() {
    local t
    now t
    printf -v "$2" '%d' $((t - $1))
}

# ended NAME SECONDS: waits for its end.
ended() {
    local deadline=$((SECONDS + $2))
    while running "$1" >/dev/null; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
}

# send_away NAME SECONDS: it is told to end; how many ms it took is in the caller's left_ms.
send_away() {
    local told
    now told
    signal_node TERM "$1" || wrong "$1 ended before it was told to"
    ended "$1" "$2" || { wrong "$1 did not end"; signal_node KILL "$1" || true; }
    ms_since "$told" left_ms
}

# The value of a number in the players' verdict.
of_verdict() {
    json_whole "$1" <<<"$verdict"
}

# must_be_none WHAT NAME...: each of these of the verdict has to be 0.
must_be_none() {
    local name
    for name in "${@:2}"; do
        [[ $verdict =~ \"$name\":0[,}] ]] || wrong "$1: $name $(of_verdict "$name")"
    done
}

steps=() # of the JSON: one for each that was replaced
verdicts=()

# step KIND OLD NEW READY_MS LEFT_MS WITH
step() {
    steps+=("{\"old\":\"$2\",\"new\":\"$3\",\"ready_ms\":$4,\"left_ms\":$5,\"$1\":$6}")
}

# ---- nodes ----

replace_node() {
    local old=$1 new said from ready_ms left_ms cells
    now from
    node_next new
    starting=$new
    said=$(BIN=${new_bin:-$bin} "$top/ops/node.sh" --dir "$dir" add "$(cat "$dir/run/$old.pool")")
    starting='' new=${said%% *}
    ms_since "$from" ready_ms
    sleep "$min_ready_s"
    cells=$(http_get "$(cat "$dir/run/$old.admin")" /metrics | metric spotcraft_node_cells)
    send_away "$old" $((node_stop_ms / 1000 + 10))
    node_left "$old" || wrong "$old did not leave in order, see $dir/log/$old.log"
    step cells "$old" "$new" "$ready_ms" "$left_ms" "$cells"
    story "  $old -> $new    ready after $ready_ms ms, $cells cells handed over in $left_ms ms"
}

roll_nodes() {
    local olds=() name
    mapfile -t olds < <(running_names 'node*' | sort -V)
    [ ${#olds[@]} -gt 0 ] || die "no node runs in $dir"
    timeline=$dir/rehearsals/$(date +%Y%m%d-%H%M%S)-rollout-$$.jsonl
    : >"$timeline"
    story "nodes: $bots players build, ${#olds[@]} nodes are replaced"
    bots_join "$bots" 6 "$edits" $$
    for name in "${olds[@]}"; do
        replace_node "$name"
    done
    bots_end
    verdict=$(grep '"kind":"verdict"' "$timeline") || die "the players came to no verdict: $(cat "$timeline.bots")"
    verdicts+=("\"nodes\":$verdict")
    must_be_none "players of the nodes" disconnects refused lost unseen doubled disordered wrong_mirrors
    [ "$(of_verdict edits)" -gt 0 ] || wrong "nobody built anything"
    story "  players: $(of_verdict disconnects) disconnected; of $(of_verdict edits) edits $(of_verdict lost) lost," \
        "$(of_verdict doubled) doubled, $(of_verdict disordered) out of order; seen by the others within" \
        "$(of_verdict edit_seen_p99_ms) ms (p99), $(of_verdict edit_seen_max_ms) ms at most"
}

# ---- gateways ----

regulars_join() {
    "$bin/tests/bench/bench_regulars" --connect "127.0.0.1:$port" --bots "$bots" --seconds 86400 >"$timeline" 2>"$timeline.bots" 9>&- &
    bots_pid=$!
    bots_play
}

replace_gateway() {
    local old=$1 new from ready_ms left_ms players
    now from
    gateway_next new
    starting=$new
    bin=${new_bin:-$bin} gateway_start "$new"
    wait_for 60 "waiting for $new" "$new" http_get "$(cat "$dir/run/$new.admin")" /readyz
    starting=''
    ms_since "$from" ready_ms
    sleep "$min_ready_s"
    players=$(http_get "$(cat "$dir/run/$old.admin")" /metrics | metric spotcraft_players)
    send_away "$old" $((gateway_stop_s + 10))
    tail -n 3 "$dir/log/$old.log" | grep -q ' gateway_stopped$' || wrong "$old did not leave in order, see $dir/log/$old.log"
    step players "$old" "$new" "$ready_ms" "$left_ms" "$players"
    story "  $old -> $new    ready after $ready_ms ms, $players players were told, ended after $left_ms ms"
}

roll_gateways() {
    local olds=() name
    mapfile -t olds < <(running_names 'gateway*' | sort -V)
    [ ${#olds[@]} -gt 0 ] || die "no gateway runs in $dir"
    timeline=$dir/rehearsals/$(date +%Y%m%d-%H%M%S)-rollout-gateways-$$.jsonl
    : >"$timeline"
    story "gateways: $bots players who come again, ten newcomers a second, ${#olds[@]} gateways are replaced"
    regulars_join
    for name in "${olds[@]}"; do
        replace_gateway "$name"
    done
    bots_end
    verdict=$(grep '"kind":"verdict"' "$timeline") || die "the players came to no verdict: $(cat "$timeline.bots")"
    verdicts+=("\"gateways\":$verdict")
    must_be_none "players of the gateways" unwarned refused outside misplaced unserved lost
    [ "$(of_verdict closed)" -gt 0 ] || wrong "nobody was sent away"
    [ "$(of_verdict built)" -gt 0 ] || wrong "nobody built anything"
    story "  players: sent away $(of_verdict closed) times, $(of_verdict unwarned) of them without a word; let in again where they were" \
        "within $(of_verdict away_max_ms) ms; $(of_verdict newcomers) newcomers, $(of_verdict unserved) turned away," \
        "served within $(of_verdict served_p99_ms) ms (p99); of $(of_verdict built) blocks $(of_verdict lost) lost"
}

# ---- the whole ----

starting='' # a new one that is not ready
over() {
    rehearsal_over
    [ "$starting" ] || return 0
    say "rollout.sh: $starting did not become ready; nothing more is replaced" >&2
    signal_node KILL "$starting" || true
}

world_load
build_programs all build/release/tests/bench/bench_players build/release/tests/bench/bench_regulars >&2
mkdir -p "$dir/rehearsals"
trap over EXIT
trap 'exit 130' INT TERM
for kind in "${kinds[@]}"; do
    "roll_$kind"
done
if [ "$json" ]; then
    printf '{"ok":%s,"wrong":%s,"steps":[%s],%s}\n' "$([ "$bad" ] && echo false || echo true)" "$(quoted "$bad")" \
        "$(IFS=,; printf '%s' "${steps[*]}")" "$(IFS=,; printf '%s' "${verdicts[*]}")"
elif [ "$bad" ]; then
    say "not good: $bad"
else
    say "good: ${#steps[@]} processes were replaced, and players noticed only what a gateway told them"
fi
[ -z "$bad" ]
