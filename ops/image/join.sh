#!/usr/bin/env bash
# join.sh PORT: the least that must work of a world: two players join through a gateway of this machine, each is told who it is and gets
# a chunk, and what one builds is seen by the other, and by a third who comes later. The lines are those of the client.
set -euo pipefail

port=${1:?usage: join.sh PORT}

# hears FD WHAT PATTERN: reads that player's lines until one is like it.
hears() {
    local line deadline=$((SECONDS + 20))
    while [ $SECONDS -lt $deadline ] && read -r -t 20 -u "$1" line; do
        # shellcheck disable=SC2053 # a pattern
        [[ $line != $3 ]] || return 0
    done
    printf 'join.sh: a player was not told %s (%s)\n' "$2" "$3" >&2
    exit 1
}

# joins FD: a player on that connection, who has chunk 0,0.
joins() {
    printf 'V,1\n' >&"$1"
    hears "$1" "who he is" 'U,*'
    printf 'P,5,150,5,0,0\nC,0,0,0\n' >&"$1"
}

exec 3<>"/dev/tcp/127.0.0.1/$port" 4<>"/dev/tcp/127.0.0.1/$port"
joins 3
hears 3 "all of chunk 0,0" 'C,0,0'
joins 4
hears 4 "all of chunk 0,0" 'C,0,0'
block=5,$((100 + RANDOM % 100)),$((RANDOM % 30 + 1))
item=$((1 + RANDOM % 8))
printf 'B,%s,%s\n' "$block" "$item" >&3
hears 4 "what the other built" "B,0,0,$block,$item"
exec 5<>"/dev/tcp/127.0.0.1/$port"
joins 5
hears 5 "what was built before he came" "B,0,0,$block,$item"
printf 'joined, built item %s at %s, seen by two others\n' "$item" "$block"
