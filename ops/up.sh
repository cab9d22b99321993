#!/usr/bin/env bash
# Starts a whole world on this machine: redis-server, a store, a metadata service, nodes and gateways, all private to one directory.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: ops/up.sh [options]

Installs what is missing (apt), builds, starts a world and shows its pulse until Ctrl-C, which stops everything cleanly.

  --port PORT       where players connect (4080)
  --dir DIR         all state and logs, kept between runs (spotcraft-world)
  --nodes N         how many nodes (3)
  --pools N         over how many Spot pools (instance type and zone) they are spread (3)
  --gateways N      how many gateways, all on the one port (1)
  --store STORE     sqlite (the default), postgres: a private server in DIR, or the URL of one:
                    sqlite:PATH, postgres://user:password@host:port/db
  --fsync HOW       of Redis's journal: everysec (the default; a kill loses nothing, a power cut up to a second), always
  --detach          return once the world is ready; ops/down.sh stops it
  --no-install      never call apt
  --help

Each node and gateway believes that it is an EC2 instance: ops/reclaim.sh takes them away as EC2 would, ops/node.sh adds one.
EOF
}

port=4080 imds_port='' dir=$top/spotcraft-world nodes=3 pools=3 gateways=1 store=sqlite fsync=everysec detach='' install=yes

number() {
    if ! [[ $2 =~ ^[0-9]{1,5}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        die "$1 takes a number from $3 to $4, not '$2'"
    fi
}

while [ $# -gt 0 ]; do
    case $1 in
    --port | --dir | --nodes | --pools | --gateways | --store | --fsync)
        [ $# -ge 2 ] || die "$1 needs a value; see --help"
        declare "${1#--}=$2"
        shift
        ;;
    --detach) detach=yes ;;
    --no-install) install='' ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) die "unknown option '$1'; see --help" ;;
    esac
    shift
done
number --port "$port" 1 65535
number --nodes "$nodes" 1 64
number --pools "$pools" 1 "$pools_max"
number --gateways "$gateways" 1 64
case $fsync in everysec | always) ;; *) die "--fsync takes everysec or always, not '$fsync'" ;; esac
case $store in sqlite | postgres | sqlite:?* | postgres://?* | postgresql://?*) ;; *) die "--store takes sqlite, postgres or a URL" ;; esac

prepare_dir() {
    umask 077
    mkdir -p "$dir/run" "$dir/log" || die "cannot make $dir"
    dir=$(cd "$dir" && pwd)
    [ ${#dir} -le 85 ] || die "$dir is too long a path for Redis's socket in it; choose a shorter --dir"
    exec 9>"$dir/lock"
    flock -n 9 || die "another up.sh works in $dir; to stop that world: ops/down.sh --dir $dir"
    local others
    others=$(running_names '*')
    [ -z "$others" ] || die "a world runs in $dir already ($(tr '\n' ' ' <<<"$others")); to stop it: ops/down.sh --dir $dir"
    rm -f "$dir"/run/*
    if port_busy "$port"; then
        die "port $port is taken by $(port_holder "$port"); stop that, or choose another --port"
    fi
    ports_given+=(["$port"]=yes)
    if [ ! -s "$dir/secret" ]; then
        head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n' >"$dir/secret"
    fi
    SPOTCRAFT_SECRET=$(cat "$dir/secret")
    export SPOTCRAFT_SECRET
}

start_redis() {
    mkdir -p "$dir/redis"
    launch redis redis-server --port 0 --unixsocket "$dir/run/redis.sock" --unixsocketperm 700 --dir "$dir/redis" \
        --save '' --appendonly yes --appendfsync "$fsync" --maxmemory-policy noeviction --daemonize no
    wait_for 60 "redis-server" redis redis-cli -s "$dir/run/redis.sock" -e ping
    export SPOTCRAFT_REDIS=unix:$dir/run/redis.sock
}

# PostgreSQL refuses to run as root; then its package's own user runs it.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    else
        "$@"
    fi
}

start_postgres() {
    local bin data=$dir/postgres newest postgres_port=''
    bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    [ -x "$bin/initdb" ] || die "no PostgreSQL server in /usr/lib/postgresql"
    if [ "$(id -u)" = 0 ]; then
        chmod 711 "$dir"
        as_postgres test -x "$dir" || die "the user postgres cannot enter $dir; choose another --dir"
    fi
    if [ ! -s "$data/PG_VERSION" ]; then
        say "making a database"
        mkdir -p "$data"
        head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n' >"$dir/postgres.password"
        [ "$(id -u)" != 0 ] || chown postgres:postgres "$data" "$dir/postgres.password"
        as_postgres "$bin/initdb" -D "$data" -U spotcraft --auth=scram-sha-256 --pwfile="$dir/postgres.password" \
            --encoding=UTF8 --locale=C >"$dir/log/initdb.log" 2>&1 || die "initdb failed, see $dir/log/initdb.log"
    fi
    newest=$(cat "$data/PG_VERSION")
    bin=/usr/lib/postgresql/$newest/bin
    [ -x "$bin/postgres" ] || die "the database in $data is of PostgreSQL $newest, which is not installed"
    free_port 15432 postgres_port
    # Killed, it leaves its pid behind, which may be anybody's by now. Only PostgreSQL's own are for PostgreSQL to judge.
    if [ -e "$data/postmaster.pid" ]; then
        local left
        left=$(head -n 1 "$data/postmaster.pid")
        [ "$(cat "/proc/$left/comm" 2>/dev/null)" = postgres ] || rm -f "$data/postmaster.pid"
    fi
    PGPASSWORD=$(cat "$dir/postgres.password")
    export PGPASSWORD
    if [ "$(id -u)" = 0 ]; then
        set -- setpriv --reuid=postgres --regid=postgres --init-groups "$bin/postgres"
    else
        set -- "$bin/postgres"
    fi
    launch postgres "$@" -D "$data" -p "$postgres_port" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
    local url=127.0.0.1:$postgres_port/postgres
    wait_for 60 "postgres" postgres psql -X -q "postgres://spotcraft@$url" -c 'select 1'
    "$top/ops/migrate.sh" "postgres://spotcraft@$url" >"$dir/log/migrate.log" 2>&1 ||
        { cat "$dir/log/migrate.log" >&2; die "the migration failed"; }
    export SPOTCRAFT_STORE=postgres://spotcraft:$PGPASSWORD@$url
    unset PGPASSWORD
}

start_store() {
    case $store in
    sqlite) export SPOTCRAFT_STORE=sqlite:$dir/world.db ;;
    postgres) start_postgres ;;
    sqlite:*) export SPOTCRAFT_STORE=$store ;;
    *)
        "$top/ops/migrate.sh" "$store" || die "the migration failed"
        export SPOTCRAFT_STORE=$store
        ;;
    esac
}

# One service for all instances; each has a path of its own.
start_imds() {
    launch imds "$bin/ops/spotcraft-imds" --port 0
    wait_for 10 "spotcraft-imds" imds grep -q ' imds_started ' "$dir/log/imds.log"
    imds_port=$(sed -n 's/.* imds_started .*port=\([0-9]*\).*/\1/p' "$dir/log/imds.log")
}

start_programs() {
    local i name names=()
    export SPOTCRAFT_WORLD=world
    world_keep SPOTCRAFT_WORLD SPOTCRAFT_REDIS SPOTCRAFT_STORE imds_port port pools
    for ((i = 0; i < nodes; i++)); do
        node_start "node$i" "$(pool_name $((i % pools)))"
        names+=("node$i")
    done
    for ((i = 0; i < gateways; i++)); do
        gateway_start "gateway$i"
        names+=("gateway$i")
    done
    for name in "${names[@]}"; do # one that ended at once is not ready either
        wait_for 60 "waiting until the world is ready" "$name" http_get "$(cat "$dir/run/$name.admin")" /readyz
    done
}

# Nodes come and go; who there was stands in DIR/run.
members() {
    local f
    for f in "$dir"/run/gateway*.admin "$dir"/run/node*.admin; do
        [ ! -e "$f" ] || basename "$f" .admin
    done | sort -V
}

tell() {
    local name
    say
    say "The world is ready."
    say "  join:    craft <this machine> $port        (the Craft client; in a running one: /online HOST $port)"
    for name in $(members); do
        printf '  %-9s http://127.0.0.1:%s/   %s   log: %s\n' "$name:" "$(cat "$dir/run/$name.admin")" \
            "$(cat "$dir/run/$name.pool" 2>/dev/null || echo on-demand)" "$dir/log/$name.log"
    done
    printf '  %-9s http://127.0.0.1:%s/control   the metadata of all instances\n' 'imds:' "$imds_port"
    say
}

# One line: who plays, who owns how much, what is built.
pulse() {
    local name text players=0 cells='' edits=0
    for name in $(members); do
        if ! running "$name" >/dev/null; then
            # Who left as he should is told of once.
            if ! node_left "$name"; then
                cells+=" $name:dead"
            elif [ -z "${told_left[$name]:-}" ]; then
                told_left+=(["$name"]=yes)
                cells+=" $name:left"
            fi
            continue
        fi
        text=$(http_get "$(cat "$dir/run/$name.admin")" /metrics) || { cells+=" $name:silent"; continue; }
        case $name in
        gateway*) players=$((players + $(metric spotcraft_players <<<"$text"))) ;;
        node*)
            cells+=" $name:$(metric spotcraft_node_cells <<<"$text")"
            edits=$((edits + $(metric spotcraft_node_edits_acknowledged_total <<<"$text")))
            ;;
        esac
    done
    printf '%s  players %d  cells%s  edits/s %d\n' "$(date +%T)" "$players" "$cells" \
        $((edits > edits_before ? edits - edits_before : 0))
    edits_before=$edits
}
edits_before=0
declare -A told_left=()

stopping() {
    trap '' INT TERM
    say
    say "stopping"
    stop_world
    say "stopped; the world is kept in $dir"
}

prepare_dir
if [ "$install" ]; then
    install_missing "${packages_build[@]}" "${packages_run[@]}"
    [ "$store" != postgres ] || install_missing "${packages_postgres[@]}"
    case $store in postgres*://*) command -v psql >/dev/null || install_missing postgresql-client ;; esac
fi
build_programs all
trap 'stopping; exit 1' EXIT # whatever goes wrong from here on leaves nothing behind
trap 'exit 1' INT TERM
start_redis
start_store
start_imds
start_programs
tell
if [ "$detach" ]; then
    trap - EXIT INT TERM
    say "to stop it: ops/down.sh --dir $dir"
    exit 0
fi
trap 'stopping; trap - EXIT; exit 0' INT TERM
while [ -n "$(running_names 'gateway*' 'node*')" ]; do
    pulse
    sleep 1 &
    wait $! || true # a wait is interrupted by the signal at once, sleep itself is not
done
say "nothing runs any more"
