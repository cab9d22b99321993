#!/usr/bin/env bash
# Stops the world that ops/up.sh started in a directory, in order: gateways, nodes (they flush and release), Redis, PostgreSQL.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dir=$top/spotcraft-world
while [ $# -gt 0 ]; do
    case $1 in
    --dir)
        [ $# -ge 2 ] || die "--dir needs a value"
        dir=$2
        shift
        ;;
    --help | -h)
        say "usage: ops/down.sh [--dir DIR]     stops the world that ops/up.sh started there (spotcraft-world)"
        exit 0
        ;;
    *) die "unknown option '$1'; see --help" ;;
    esac
    shift
done

[ -d "$dir/run" ] || die "there is no world in $dir"
if [ -z "$(running_names '*')" ]; then
    say "nothing runs in $dir"
    exit 0
fi
stop_world
say "stopped; the world is kept in $dir"
