#!/usr/bin/env bash
# The machines of a world that ops/up.sh started: lists them, adds one, or does to one what can happen to a machine.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: ops/node.sh [--dir DIR] COMMAND

  list             the nodes that run: name, state, cells, players, pool
  add [POOL]       starts one more, on a machine of that pool ("type/zone/spot", or the number of one of the pools of up.sh:
                   0 is the first; default: the pool with the fewest nodes), and waits until it is ready
  stop NAME        SIGTERM: it hands its cells over and ends
  kill NAME        SIGKILL: the machine is gone
  freeze NAME      SIGSTOP: the machine hangs
  thaw NAME        SIGCONT
  --dir DIR        the world (spotcraft-world)

With a notice first, as EC2 does it: ops/reclaim.sh.
EOF
}

dir=$top/spotcraft-world words=()
while [ $# -gt 0 ]; do
    case $1 in
    --dir)
        [ $# -ge 2 ] || die "--dir needs a value"
        dir=$2
        shift
        ;;
    --help | -h)
        usage
        exit 0
        ;;
    -*) die "unknown option '$1'; see --help" ;;
    *) words+=("$1") ;;
    esac
    shift
done
set -- "${words[@]}"

list() {
    local name text
    for name in $(running_names 'node*' | sort -V); do
        if text=$(http_get "$(cat "$dir/run/$name.admin")" /status); then
            printf '%-8s %-9s %5d cells %5d players  %s\n' "$name" "$(json_word state <<<"$text")" "$(json_whole cells <<<"$text")" \
                "$(json_whole players <<<"$text")" "$(cat "$dir/run/$name.pool")"
        else
            printf '%-8s %-9s %27s %s\n' "$name" silent '' "$(cat "$dir/run/$name.pool")"
        fi
    done
}

add() {
    local pool=${1:-} name=''
    pool=$(pool_named "$pool") || exit 1
    exec 8>"$dir/run/adding" # names and ports are given out by one at a time
    flock -w 60 8 || die "another script has been adding a node for a minute"
    node_next name
    node_start "$name" "$pool" 8>&-
    wait_for 60 "waiting for $name" "$name" http_get "$(cat "$dir/run/$name.admin")" /readyz
    say "$name is ready, in pool $pool; log: $dir/log/$name.log"
}

one() {
    [ $# = 2 ] || die "$1 takes the name of one node"
    if ! [[ $2 =~ ^node[0-9]+$ ]] || [ ! -e "$dir/run/$2.admin" ]; then die "there is no node '$2' in $dir"; fi
    case $1 in
    stop) signal_node TERM "$2" ;;
    kill) signal_node KILL "$2" ;;
    freeze) signal_node STOP "$2" ;;
    thaw) signal_node CONT "$2" ;;
    esac || die "$2 does not run any more"
}

case ${1:-} in
list)
    [ $# = 1 ] || die "list takes nothing more"
    world_load
    list
    ;;
add)
    [ $# -le 2 ] || die "add takes one pool"
    world_load
    add "${2:-}"
    ;;
stop | kill | freeze | thaw)
    world_load
    one "$@"
    ;;
'')
    usage >&2
    exit 2
    ;;
*) die "unknown command '$1'; see --help" ;;
esac
