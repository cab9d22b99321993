#!/usr/bin/env bash
# Checks what ops/ deploys, without a cluster: every overlay is built and compared with the published types (an unknown field
# is an error), with the programs (settings, ports, pages, metrics) and with the sums in ops/k8s/README.md; rules are checked
# and tested by promtool; and what the checks are meant to find is put into copies, and must be found.
#
#   ops/check-deploy.sh            needs the programs (make); BIN=FOLDER/release when they are not in build/release
#   ops/check-deploy.sh --write    writes ops/monitoring/prometheusrule.yaml anew from rules.yaml, and ends
#
# Tools are installed by name, from apt and npm, into build/deploy-tools (TOOLS=FOLDER), nothing into the system but what is
# missing of nodejs, npm, redis-server and curl. Nothing is skipped: what is missing is an error.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
bin=$(realpath -m "${BIN:-$top/build/release}")
tools=$(realpath -m "${TOOLS:-$top/build/deploy-tools}")
checks=$top/ops/check-deploy
work=$(mktemp -d)
started=()

# They hold nothing that anybody wants. SIGKILL, as a gentler signal between fork and exec is lost in bash.
stop_all() {
    local pid
    for pid in "${started[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true # 137, which must not become the script's own status
    done
    rm -rf "$work"
}
trap stop_all EXIT

# ---- tools ----

need() {
    command -v "$1" >/dev/null || install_missing "${@:2}"
}

# unpack PACKAGE FILE: a program out of a Debian package, without installing it (prometheus would start a service).
unpack() {
    [ -x "$tools/deb/$1/$2" ] && return
    say "unpacking $1"
    mkdir -p "$tools/deb/$1"
    (cd "$work" && { apt-get -qq download "$1" 2>/dev/null || { as_root apt-get -qq update && apt-get -qq download "$1"; }; }) ||
        die "apt-get could not download $1"
    dpkg-deb -x "$work"/"$1"_*.deb "$tools/deb/$1"
}

# Today's kustomize, as it is in kubectl; else Debian's older one, for which build.mjs writes today's fields as it knows them.
find_kubectl() {
    if kubectl version --client 2>/dev/null | grep -q '^Kustomize Version: v5'; then
        export KUBECTL=kubectl KUSTOMIZE_OLD=''
    else
        unpack kubernetes-client usr/bin/kubectl
        export KUBECTL=$tools/deb/kubernetes-client/usr/bin/kubectl KUSTOMIZE_OLD=1
    fi
}

node_packages() {
    cmp -s "$checks/package.json" "$tools/npm/package.json" && [ -e "$tools/npm/complete" ] && return
    say "installing the published types"
    rm -rf "$tools/npm"
    mkdir -p "$tools/npm"
    cp "$checks/package.json" "$tools/npm/"
    (cd "$tools/npm" && npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts) ||
        die "npm could not install the packages of ops/check-deploy/package.json"
    touch "$tools/npm/complete"
}

# ---- the programs, as they are ----

# start NAME PROGRAM FLAGS...: on a free port; ${admin[NAME]} is where its pages are.
declare -A admin=()
start() {
    local name=$1 port='' n
    shift
    : >"$work/$name.log" # the child may open it later than we read it
    "$@" --admin 127.0.0.1:0 --redis unix:"$work/redis.sock" --secret check --imds none >"$work/$name.log" 2>&1 &
    started+=($!)
    for n in $(seq 200); do
        port=$(sed -n 's/.*_started .*admin_port=\([0-9]*\).*/\1/p' "$work/$name.log")
        [ -z "$port" ] || break
        sleep 0.05
    done
    [ -n "$port" ] || die "$name did not start: $(cat "$work/$name.log")"
    admin[$name]=$port
}

pages() {
    local name n
    redis-server --port 0 --unixsocket "$work/redis.sock" --dir "$work" --save '' --daemonize no \
        --maxmemory-policy noeviction >"$work/redis.log" 2>&1 &
    started+=($!)
    start node "$bin/node/node" --listen 127.0.0.1:0 --store "sqlite:$work/world.db"
    start gateway "$bin/gateway/gateway" --listen 127.0.0.1:0
    for name in node gateway; do
        for n in $(seq 600); do
            curl -sf -o /dev/null "http://127.0.0.1:${admin[$name]}/readyz" && break
            sleep 0.05
        done
        [ "$n" -lt 600 ] || die "$name did not get ready: $(cat "$work/$name.log")"
        curl -sf "http://127.0.0.1:${admin[$name]}/metrics" >"$work/$name.metrics" || die "$name has no /metrics"
        "$promtool" check metrics <"$work/$name.metrics" || die "promtool finds fault with the metrics of $name"
        say "ok: $name's /metrics pass promtool"
    done
    export NODE_PAGES=http://127.0.0.1:${admin[node]} GATEWAY_PAGES=http://127.0.0.1:${admin[gateway]}
}

# ---- main ----

for program in node/node gateway/gateway; do
    [ -x "$bin/$program" ] || die "$bin/$program is not built: make"
done
need node nodejs
need npm npm
need redis-server redis-server
need curl curl
need dpkg-deb dpkg
node_packages
# The checks lie beside node_modules, where node looks for packages.
rm -rf "$tools/npm/checks"
cp -r "$checks" "$tools/npm/checks"
export TOP=$top BIN=$bin WORK=$work
if [ "${1:-}" = --write ]; then
    exec node "$tools/npm/checks/write.mjs"
fi
find_kubectl
unpack prometheus usr/bin/promtool
promtool=$tools/deb/prometheus/usr/bin/promtool
"$promtool" check rules "$top/ops/monitoring/rules.yaml"
"$promtool" test rules "$top/ops/monitoring/rules.test.yaml"
# Debian's promtool is built without Kubernetes's service discovery; all else of the file it knows.
cp "$top/ops/monitoring/rules.yaml" "$work/"
sed '/kubernetes_sd_configs:/{N;s/.*/    static_configs: []/}' "$top/ops/monitoring/prometheus.yaml" >"$work/prometheus.yaml"
"$promtool" check config "$work/prometheus.yaml"
pages
node "$tools/npm/checks/main.mjs"
