#!/usr/bin/env bash
# The programs on arm64, from a machine that is none: built by Debian's cross compiler against the libraries of Debian's arm64, unpacked into a
# directory; the unit tests run under qemu's user emulation; then a node and a gateway run there, and players join and build.
#
# What could differ is checked by this: characters without a sign, floating point fused where it must not be (the terrain's check values
# are the same bits everywhere), the order in which threads see memory, alignment.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=image/sources.sh
. "$top/ops/image/sources.sh"

work=$top/build/arm64
while [ $# -gt 0 ]; do
    case $1 in
    --dir)
        [ $# -ge 2 ] || die "--dir needs a value"
        work=$2
        shift
        ;;
    --help | -h)
        say "usage: ops/arm64-test.sh [--dir DIR]     cross build, unit tests and a join under an emulator; works in DIR (build/arm64)"
        exit 0
        ;;
    *) die "unknown option '$1'; see --help" ;;
    esac
    shift
done
mkdir -p "$work"
work=$(cd "$work" && pwd)
exec 9>"$work/lock"
flock -n 9 || die "another test works in $work"

libraries=(libc6-dev libcmocka-dev)
for p in "${packages_build[@]}"; do
    case $p in lib*-dev | uthash-dev) libraries+=("$p") ;; esac
done
sysroot=$work/sysroot

# apt with a state of its own: this machine does not become one of two architectures.
apt_arm64() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= -o Dir::State="$work/apt" \
        -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt" -o Dir::Etc::SourceList="$work/apt/sources.list" \
        -o Dir::Etc::SourceParts=- "$@"
}

unpack_libraries() {
    local url suite deb link target
    mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
    : >"$work/apt/status"
    debian_sources | while read -r url suite; do
        say "deb $url $suite main"
    done >"$work/apt/sources.list"
    [ -s "$work/apt/sources.list" ] || die "apt of this machine knows no Debian 12"
    apt_arm64 update
    apt_arm64 autoclean
    apt_arm64 -y --no-install-recommends --download-only install "${libraries[@]}" >/dev/null
    rm -rf "$sysroot"
    mkdir "$sysroot"
    for deb in "$work"/apt/archives/*.deb; do
        dpkg-deb -x "$deb" "$sysroot"
    done
    find "$sysroot" -type l -lname '/*' -printf '%p %l\n' | while read -r link target; do
        ln -sfn "$sysroot$target" "$link"
    done
}

cross_make() {
    PKG_CONFIG_SYSROOT_DIR=$sysroot PKG_CONFIG_LIBDIR=$sysroot/usr/lib/aarch64-linux-gnu/pkgconfig:$sysroot/usr/share/pkgconfig \
        make -s -C "$top" -j"$(nproc)" BUILD="$work/build" WERROR=1 CC="aarch64-linux-gnu-gcc --sysroot=$sysroot" AR=aarch64-linux-gnu-ar "$@"
}

dir=$work/test
play() {
    local port='' peer='' node_admin='' gateway_admin='' bin=$work/build/release
    rm -rf "$dir"
    mkdir -p "$dir/run" "$dir/log"
    trap 'stop_all KILL 5 "*"' EXIT
    free_port 26080 port
    free_port 26180 peer
    free_port 26280 node_admin
    free_port 26380 gateway_admin
    export SPOTCRAFT_REDIS=unix:$dir/redis.sock SPOTCRAFT_SECRET=arm64 SPOTCRAFT_IMDS=none
    launch redis redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --daemonize no --dir "$dir"
    wait_for 30 redis redis redis-cli -s "$dir/redis.sock" -e ping
    launch node qemu-aarch64 "$bin/node/node" --listen "127.0.0.1:$peer" --admin "127.0.0.1:$node_admin" --store "sqlite:$dir/world.db"
    launch gateway qemu-aarch64 "$bin/gateway/gateway" --listen "127.0.0.1:$port" --admin "127.0.0.1:$gateway_admin" --stop-ms 2000
    wait_for 60 "the node" node http_get "$node_admin" /readyz
    wait_for 60 "the gateway" gateway http_get "$gateway_admin" /readyz
    "$top/ops/image/join.sh" "$port"
    qemu-aarch64 "$bin/ops/spotctl" status
    stop_all TERM 20 gateway
    stop_all TERM 60 node
    stop_all TERM 20 redis
}

install_missing "${packages_build[@]}" "${packages_run[@]}" "${packages_postgres[@]}" qemu-user gcc-aarch64-linux-gnu
unpack_libraries
say "arm64: libraries, $SECONDS s"
tests=("$top"/tests/unit/test_*.c)
tests=("${tests[@]##*/}")
tests=("${tests[@]/#/$work/build/release/tests/unit/}")
cross_make all "${tests[@]%.c}"
say "arm64: built, $SECONDS s"
export QEMU_LD_PREFIX=$sysroot
TEST_WITH=qemu-aarch64 "$top/ops/run-tests.sh" --strict "${tests[@]%.c}"
say "arm64: unit tests, $SECONDS s"
play
say "arm64: a node and a gateway, $SECONDS s in all"
