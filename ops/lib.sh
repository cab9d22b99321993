# lib.sh - what the scripts here share: packages, ports, processes, nodes of a world, the admin pages.
#
# A process that we start is written down in DIR/run/NAME.pid as "pid start-time": a pid alone may belong to somebody else
# by the time that it is read. Beside it NAME.admin has the port of its admin page, and NAME.pool what it would share the fate
# of; DIR/run/world.env is what a program of that world needs to know. Sourced by bash with set -euo pipefail.
# shellcheck shell=bash disable=SC2034,SC2154 # what is set here is used by its includers, and the other way round

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

packages_build=(build-essential pkg-config git libevent-dev libhiredis-dev libpq-dev libprotobuf-c-dev
    protobuf-c-compiler libsqlite3-dev libssl-dev uthash-dev)
packages_run=(redis-server)
packages_postgres=(postgresql) # its client comes with it
packages_test=(libcmocka-dev haproxy)
packages_ci=(clang clang-format libclang-rt-dev shellcheck valgrind curl systemd)

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# ---- packages ----

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root to run: $* (there is no sudo here)"
    fi
}

# The packages of redis, postgresql and haproxy start services of the system. Nobody asked for those: they are kept from
# starting now and at the next boot, and PostgreSQL from making a database of its own.
install_missing() {
    local missing=() p
    for p in "$@"; do
        installed "$p" || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (no apt-get here)"
    say "installing: ${missing[*]}"
    # shellcheck disable=SC2016
    as_root env DEBIAN_FRONTEND=noninteractive bash -euc '
        policy=/usr/sbin/policy-rc.d conf=/etc/postgresql-common/createcluster.conf made= kept=
        tidy() {
            [ -z "$made" ] || rm -f "$policy"
            [ -z "$kept" ] || mv -f "$kept" "$conf"
        }
        trap tidy EXIT
        if [ ! -e "$policy" ]; then
            made=yes
            printf "#!/bin/sh\nexit 101\n" > "$policy"
            chmod 755 "$policy"
        fi
        apt-get -qq update
        case " $* " in *" postgresql "*)
            apt-get -qq -y --no-install-recommends install postgresql-common
            kept=$(mktemp "$conf.XXXXXX")
            cp -p "$conf" "$kept"
            echo "create_main_cluster = false" >> "$conf"
        esac
        apt-get -qq -y --no-install-recommends install "$@"
        for service in redis-server postgresql haproxy; do
            case " $* " in *" $service "*)
                ! command -v systemctl >/dev/null || systemctl -q disable "$service" 2>/dev/null || true
            esac
        done' install "${missing[@]}" >/dev/null || die "apt-get could not install: ${missing[*]}"
}

# ---- ports ----

# The inode of the socket that listens on a port; nothing when there is none.
port_inode() {
    awk -v port="$(printf ':%04X' "$1")" \
        '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

port_busy() {
    [ -n "$(port_inode "$1")" ]
}

# "redis-server (pid 123)" or what else can be said about who listens on a port.
port_holder() {
    local inode fd pid
    inode=$(port_inode "$1")
    for fd in /proc/[0-9]*/fd/*; do
        if [ "$(readlink "$fd" 2>/dev/null)" = "socket:[$inode]" ]; then
            pid=${fd#/proc/}
            pid=${pid%%/*}
            say "$(cat "/proc/$pid/comm") (pid $pid)"
            return
        fi
    done
    say "a process of another user; to see which: sudo ss -ltnp 'sport = :$1'"
}

# free_port FROM VARIABLE: the first port from there on that nobody listens on and that we have not given out.
declare -A ports_given=()
free_port() {
    local -n into=$2
    into=$1
    while port_busy "$into" || [ -n "${ports_given[$into]:-}" ]; do
        into=$((into + 1))
    done
    ports_given+=(["$into"]=yes)
}

# ---- processes ----

start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -r -a stat <<<"${stat##*) }" # the name before it may contain blanks
    say "${stat[19]}"
}

# Its pid, if the process of that name still is the one that we started.
running() {
    local pid time
    read -r pid time 2>/dev/null <"$dir/run/$1.pid" || return 1
    [ "$(start_time "$pid")" = "$time" ] || return 1
    # A zombie has ended; only its parent has not looked yet.
    ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null || return 1
    say "$pid"
}

# Names of what is written down, in the order given: running_names 'gateway*' 'node*' ...
running_names() {
    local pattern f
    for pattern in "$@"; do
        for f in "$dir"/run/$pattern.pid; do
            [ -e "$f" ] || continue
            f=$(basename "$f" .pid)
            running "$f" >/dev/null && say "$f"
        done
    done
    return 0
}

# launch NAME PROGRAM ARGS...: in a session of its own, so that Ctrl-C reaches only us and we can stop things in order.
launch() {
    local name=$1 pid time
    shift
    [ ! -e "$dir/log/$name.log" ] || mv -f "$dir/log/$name.log" "$dir/log/$name.log.1"
    setsid "$@" >"$dir/log/$name.log" 2>&1 </dev/null 9>&- &
    pid=$!
    disown "$pid" # its end is not for the shell to tell of
    time=$(start_time "$pid") || die "$name ended at once; see $dir/log/$name.log"
    say "$pid $time" >"$dir/run/$name.pid"
}

# wait_for SECONDS WHAT NAME COMMAND...: until the command succeeds, as long as the process of that name runs.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2 name=$3
    shift 3
    until "$@" >/dev/null 2>&1; do
        running "$name" >/dev/null || { tail -n 20 "$dir/log/$name.log" >&2; die "$what: $name ended, see $dir/log/$name.log"; }
        [ $SECONDS -lt $deadline ] || { tail -n 20 "$dir/log/$name.log" >&2; die "$what: not within the time; see $dir/log"; }
        sleep 0.05
    done
}

# stop_all SIGNAL SECONDS PATTERN: a signal to all of a kind at once; after the deadline they are killed, which loses nothing
# that was acknowledged.
stop_all() {
    local signal=$1 deadline=$((SECONDS + $2)) pattern=$3 name pid killed=''
    for name in $(running_names "$pattern"); do
        if pid=$(running "$name"); then kill -s "$signal" "$pid" 2>/dev/null || true; fi
    done
    for name in $(running_names "$pattern"); do
        while pid=$(running "$name"); do
            if [ $SECONDS -ge $deadline ] && [ "$killed" != "$name" ]; then
                say "$name does not stop, killing it"
                kill -s KILL "$pid" 2>/dev/null || true
                killed=$name
            fi
            sleep 0.05
        done
    done
    for name in "$dir"/run/$pattern.pid; do
        rm -f "$name"
    done
}

# ---- the nodes of a world ----

bin=${BIN:-$top/build/release} # with BIN set nothing is built: those programs are used as they are
node_stop_ms=100000            # after SIGTERM, as on a cluster whose machines go two minutes after the word

# build_programs TARGET...: as make knows them.
build_programs() {
    [ -z "${BIN:-}" ] || return 0
    say "building"
    make -s -C "$top" -j"$(nproc)" "$@" || die "the build failed"
}

# What later scripts need to start a program in this world: world_keep NAME... keeps variables, world_load reads them back.
world_keep() {
    local name
    for name in "$@"; do
        printf '%s=%q\n' "$name" "${!name}"
    done >"$dir/run/world.env"
}

world_load() {
    [ -d "$dir/run" ] || die "there is no world in $dir"
    dir=$(cd "$dir" && pwd)
    [ -n "$(running_names 'gateway*' 'node*')" ] || die "no world runs in $dir; to start it: ops/up.sh --detach --dir $dir"
    [ -r "$dir/run/world.env" ] || die "the world in $dir was started by an older up.sh; stop it and start it again"
    # shellcheck disable=SC1091
    . "$dir/run/world.env"
    SPOTCRAFT_SECRET=$(cat "$dir/secret")
    export SPOTCRAFT_SECRET SPOTCRAFT_WORLD SPOTCRAFT_REDIS SPOTCRAFT_STORE
}

# Machines of one pool are taken together. pool_name NTH: "instance type/zone/spot".
pools_max=18
pool_name() {
    local types=(m7i.large m6i.large c7i.large c6i.large r7i.large r6i.large) zones=(a b c)
    say "${types[$1 % 6]}/eu-west-1${zones[($1 + $1 / 6) % 3]}/spot"
}

# What the metadata service shall say of an instance: imds_is NAME TYPE/ZONE/LIFECYCLE.
imds_is() {
    local type zone lifecycle
    IFS=/ read -r type zone lifecycle <<<"$2"
    imds "$1?type=$type&zone=$zone&lifecycle=$lifecycle" || die "the metadata service did not take $1"
}

# imds WHAT: one of its commands, as in "node0/rebalance".
imds() {
    http_ask POST "$imds_port" "/control/$1" >/dev/null
}

# admin_port NAME: written down once the program has told it in its log. The kernel chose it, so that two worlds that start at
# the same time never want the same one.
admin_port() {
    local log=$dir/log/$1.log
    wait_for 20 "starting $1" "$1" grep -q '_started .*admin_port=' "$log"
    sed -n 's/.*_started .*admin_port=\([0-9]*\).*/\1/p' "$log" >"$dir/run/$1.admin"
}

# node_start NAME POOL: a machine of that pool boots, as far as its node can tell. Does not wait until it is ready.
node_start() {
    imds_is "$1" "$2"
    say "$2" >"$dir/run/$1.pool"
    launch "$1" env AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:$imds_port/$1" "$bin/node/node" \
        --listen 127.0.0.1:0 --admin 127.0.0.1:0 --stop-ms "$node_stop_ms"
    admin_port "$1"
}

# gateway_start NAME: one more on the players' port, which it leaves to the others when it is told to stop. Does not wait until
# it is ready.
gateway_start() {
    imds_is "$1" "m7i.large/eu-west-1a/on-demand"
    launch "$1" env AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:$imds_port/$1" "$bin/gateway/gateway" \
        --listen "0.0.0.0:$port" --admin 127.0.0.1:0 --stop-ms 3000 --stop-listening
    admin_port "$1"
}

# A name that no node of this world has had: node_next VARIABLE; and no gateway: gateway_next VARIABLE.
node_next() {
    name_next node "$1"
}

gateway_next() {
    name_next gateway "$1"
}

name_next() {
    local f n most=-1
    for f in "$dir/run/$1"*.admin; do
        n=${f##*/"$1"}
        n=${n%.admin}
        if [[ $n =~ ^[0-9]+$ ]] && [ "$n" -gt "$most" ]; then most=$n; fi
    done
    printf -v "$2" '%s%d' "$1" $((most + 1))
}

# pool_named TEXT: a pool's whole name, from that, the number of one, or nothing: the one with the fewest running nodes.
pool_named() {
    local k n least='' at=0
    if [[ $1 =~ ^[a-z0-9.-]+/[a-z0-9-]+/(spot|on-demand)$ ]]; then
        say "$1"
    elif [[ $1 =~ ^[0-9]{1,2}$ ]] && [ "$1" -lt "$pools_max" ]; then
        pool_name "$1"
    elif [ -z "$1" ]; then
        for ((k = 0; k < pools; k++)); do
            n=$(nodes_of_pool "$(pool_name "$k")" | wc -l)
            if [ -z "$least" ] || [ "$n" -lt "$least" ]; then least=$n at=$k; fi
        done
        pool_name "$at"
    else
        die "no pool is called '$1': a number below $pools_max, or type/zone/spot"
    fi
}

# The running nodes of a pool, one a line.
nodes_of_pool() {
    local name
    for name in $(running_names 'node*'); do
        [ "$(cat "$dir/run/$name.pool")" != "$1" ] || say "$name"
    done
}

# Did it leave in order? Its log ends so.
node_left() {
    tail -n 3 "$dir/log/$1.log" 2>/dev/null | grep -q ' stopped$'
}

# signal_node SIGNAL NAME: fails when it does not run any more.
signal_node() {
    local pid
    pid=$(running "$2") && kill -s "$1" "$pid" 2>/dev/null
}

# Gateways first, so that no edit comes in any more; nodes then flush to the store and release; Redis and the store last.
stop_world() {
    stop_all TERM "$gateway_stop_s" 'gateway*'
    local name
    for name in $(running_names 'node*'); do
        signal_node CONT "$name" || true # one that was frozen could not hear
    done
    stop_all TERM "$node_stop_s" 'node*'
    stop_all TERM 5 'imds'
    stop_all TERM 20 'redis'
    stop_all INT 20 'postgres' # a fast shutdown
}
gateway_stop_s=10
node_stop_s=60

# ---- admin pages ----

# http_ask METHOD PORT PATH: the body on stdout; fails unless the answer is 200.
http_ask() {
    # shellcheck disable=SC2016
    timeout 3 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$2"
        printf "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" "$1" "$3" >&3
        read -r _ status _ <&3
        while read -r line <&3 && [ "$line" != $'"'\\r'"' ]; do :; done
        cat <&3
        [ "$status" = 200 ]' http_ask "$1" "$2" "$3" 2>/dev/null
}

http_get() {
    http_ask GET "$1" "$2"
}

# json_word NAME, json_whole NAME: the first value of that name in the JSON on stdin; nothing, or 0, when there is none.
json_word() {
    grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4 || true
}

json_whole() {
    local found
    found=$(grep -oE "\"$1\":[0-9]+" | head -n 1) || true
    say "${found#*:}" | sed 's/^$/0/'
}

# metric NAME: the sum of its samples in the Prometheus text on stdin, 0 when there is none.
metric() {
    awk -v name="$1" '{ n = $1; sub(/\{.*/, "", n) } n == name { sum += $NF } END { printf "%.0f\n", sum }'
}
