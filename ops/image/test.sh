#!/usr/bin/env bash
# Builds the image without a container engine and plays in it: ops/Dockerfile is carried out, instruction by instruction, in a fresh Debian 12
# (debootstrap, chroot). Then a node and a gateway run on the result as the image's user, read-only, against a Redis with TLS, and players join.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source-path=SCRIPTDIR source=sources.sh
. "$top/ops/image/sources.sh"

usage() {
    cat <<EOF
usage: ops/image/test.sh [--dir DIR] [--mirror URL]

  --dir DIR      where to work; packages are kept there for the next time (build/image)
  --mirror URL   of Debian 12; without it the one of this machine's apt

Needs root, to mount and to chroot. It all happens in a mount namespace of its own.
EOF
}

work=$top/build/image mirror=''
while [ $# -gt 0 ]; do
    case $1 in
    --dir | --mirror)
        [ $# -ge 2 ] || die "$1 needs a value"
        if [ "$1" = --dir ]; then work=$(realpath -m "$2"); else mirror=$2; fi # Redis changes its directory
        shift
        ;;
    --in-namespace) namespace=yes ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) die "unknown option '$1'; see --help" ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || die "needs root"
if [ -z "${namespace:-}" ]; then
    install_missing debootstrap redis-server openssl
    exec unshare --mount "$0" --in-namespace --dir "$work" ${mirror:+--mirror "$mirror"}
fi

phase_from=$SECONDS took=''
phase() {
    took+=", $1 $((SECONDS - phase_from)) s"
    phase_from=$SECONDS
}

# ---- the Dockerfile, by hand ----

declare -A stages=() # name -> its directory
variables=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin) root='' cwd='' user='' command=()

# A fresh Debian, with the same haste about syncing to disk as the image debian:12-slim is set up for.
bootstrap() {
    local sources=() url suite
    mapfile -t sources < <(debian_sources)
    [ -n "$mirror" ] || { [ ${#sources[@]} -gt 0 ] && mirror=${sources[0]% *}; } ||
        die "apt of this machine knows no Debian 12; name a mirror of it with --mirror"
    debootstrap --variant=minbase --cache-dir="$work/packages" bookworm "$root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        { tail "$work/debootstrap.log" >&2; die "debootstrap failed, see $work/debootstrap.log"; }
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
    for suite in "${sources[@]}"; do
        url=${suite% *}
        say "deb $url ${suite#* } main"
    done >>"$root/etc/apt/sources.list"
    mount -t proc proc "$root/proc"
}

instruction_FROM() { # IMAGE [AS NAME]
    root=$work/stages/${#stages[@]} cwd=/ user=0:0
    variables=("${variables[0]}")
    stages[${3:-${#stages[@]}}]=$root
    mkdir -p "$root"
    case $1 in
    debian:12-slim) bootstrap && phase bootstrap ;;
    scratch) ;;
    *) die "Dockerfile: FROM $1 is not known here" ;;
    esac
}

instruction_WORKDIR() {
    cwd=$1
    mkdir -p "$root$cwd"
}

instruction_ARG() { # NAME=DEFAULT
    variables+=("${1%%=*}=test-of-the-image")
}

instruction_ENV() {
    variables+=("$1")
}

instruction_USER() {
    user=$1
}

instruction_CMD() { # ["PROGRAM", "ARG", ...]
    read -r -a command <<<"$(tr -d '[],"' <<<"$*")"
}

instruction_COPY() { # [--from=STAGE] FROM TO
    local from=$top to
    case $1 in --from=*)
        from=${stages[${1#--from=}]}
        shift
        ;;
    esac
    [ $# = 2 ] || die "Dockerfile: COPY takes two names here, not: $*"
    case $2 in /*) to=$root$2 ;; *) to=$root$cwd/$2 ;; esac
    if [ -d "$from/$1" ]; then # a directory's content is what is copied
        mkdir -p "$to"
        cp -a "$from/$1/." "$to"
    else
        install -D "$from/$1" "${to%/}/$(basename "$1")"
    fi
}

instruction_RUN() {
    # shellcheck disable=SC2016
    env -i "${variables[@]}" chroot "$root" bash -c 'cd "$1" && shift && exec "$@"' run "$cwd" "$@" >"$work/run.log" 2>&1 </dev/null ||
        { cat "$work/run.log" >&2; die "Dockerfile: RUN $* failed"; }
    phase "$(basename "$1" .sh)"
}

build_image() {
    local line words
    while read -r line; do
        case $line in '' | \#*) continue ;; esac
        read -r -a words <<<"$line"
        declare -F "instruction_${words[0]}" >/dev/null || die "Dockerfile: ${words[0]} is not known here"
        "instruction_${words[0]}" "${words[@]:1}"
    done <"$top/ops/Dockerfile"
}

# ---- what it is like inside ----

no_such() { # WHAT FIND-EXPRESSION...
    local what=$1 found
    shift
    found=$(find "$root" -xdev "$@" -print)
    [ -z "$found" ] || die "the image has $what: $found"
}

look() {
    size="$(du -sm "$root" | cut -f 1) MB in $(find "$root" -type f | wc -l) files"
    no_such "a shell or another program of Debian" -type f -path '*/bin/*' ! -path "$root/usr/local/bin/*"
    no_such "a file that runs as somebody else" -perm /6000
    no_such "a file that anybody may write" ! -type l ! -path "$root/tmp" -perm -002
    no_such "a file of its user's" ! -path "$root/data" -uid "${user%:*}"
    [[ $user =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || die "the image's user is not a number, or root: '$user'"
}

# ---- running it ----

dir=$work/test
tidy() {
    stop_all KILL 5 '*'
}

certificates() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$dir/log/openssl.log" ||
        { cat "$dir/log/openssl.log" >&2; die "no certificate for Redis"; }
}

# As a container engine would: read-only, with /proc, a few devices, a volume at /data; and the certificate authority of Redis in place of the world's.
mount_image() {
    local d
    mount --bind "$root" "$root"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for d in null zero random urandom; do
        : >"$root/dev/$d"
        mount --bind "/dev/$d" "$root/dev/$d"
    done
    mount -t tmpfs -o "uid=${user%:*},gid=${user#*:},mode=700" tmpfs "$root/data"
    mount --bind "$dir/cert.pem" "$root/etc/ssl/certs/ca-certificates.crt"
    mount -o remount,bind,ro "$root"
}

# inside PROGRAM ARGS...: to be started as the image's user without any capability.
inside() {
    inside=(env -i "${variables[@]}" "${settings[@]}" "$(command -v setpriv)" --no-new-privs --inh-caps=-all
        "--bounding-set=-all,+sys_chroot,+setuid,+setgid" "$(command -v chroot)" "--userspec=$user" --groups= "$root" "/usr/local/bin/$1" "${@:2}")
}

is_user() { # NAME: its process is the image's user's, and may not become anybody else
    local pid
    pid=$(running "$1") || die "$1 ended, see $dir/log/$1.log"
    awk -v uid="${user%:*}" '$1 == "Uid:" { u = $2 $3 $4 == uid uid uid } $1 == "NoNewPrivs:" { n = $2 } $1 == "CapEff:" { c = $2 ~ /^0+$/ }
        END { exit !(u && n && c) }' "/proc/$pid/status" || die "$1 does not run as $user without privileges"
}

must_work() {
    inside "$@"
    "${inside[@]}" >"$dir/log/$1.log" 2>&1 || { cat "$dir/log/$1.log" >&2; die "$* failed in the image"; }
}

play() {
    local port='' peer='' redis='' node_admin='' gateway_admin='' name
    free_port 25080 port
    free_port 25180 peer
    free_port 25280 redis
    free_port 25380 node_admin
    free_port 25480 gateway_admin
    settings=("SPOTCRAFT_REDIS=rediss://:image@localhost:$redis" SPOTCRAFT_SECRET=image SPOTCRAFT_IMDS=none)
    certificates
    mount_image
    launch redis redis-server --port 0 --tls-port "$redis" --bind 127.0.0.1 --requirepass image --tls-cert-file "$dir/cert.pem" \
        --tls-key-file "$dir/key.pem" --tls-ca-cert-file "$dir/cert.pem" --tls-auth-clients no --save '' --daemonize no --dir "$dir"
    wait_for 30 redis redis redis-cli --tls --cacert "$dir/cert.pem" -h localhost -p "$redis" -a image --no-auth-warning -e ping
    inside node --listen "127.0.0.1:$peer" --admin "127.0.0.1:$node_admin" --store sqlite:/data/world.db
    launch node "${inside[@]}"
    inside gateway --listen "127.0.0.1:$port" --admin "127.0.0.1:$gateway_admin" --stop-ms 2000
    launch gateway "${inside[@]}"
    wait_for 30 "the node of the image" node http_get "$node_admin" /readyz
    wait_for 30 "the gateway of the image" gateway http_get "$gateway_admin" /readyz
    is_user node
    is_user gateway
    "$top/ops/image/join.sh" "$port"
    for name in gateway node spotctl; do
        inside "$name" --version
        [[ $("${inside[@]}") == *test-of-the-image* ]] || die "$name --version does not say the VERSION that it was built with"
    done
    must_work "${command[@]}"
    must_work spotctl status
    stop_all TERM 10 gateway
    stop_all TERM 30 node
    stop_all TERM 10 redis
    [ -s "$root/data/world.db" ] || die "the node left no world"
}

mkdir -p "$work/packages"
work=$(cd "$work" && pwd)
exec 9>"$work/lock"
flock -n 9 || die "another test works in $work"
rm -rf "$work/stages" "$dir"
mkdir -p "$work/stages" "$dir/run" "$dir/log"
build_image
look
trap tidy EXIT
play
phase play
say "the image: $size; ${took#, }; $SECONDS s in all"
