#!/usr/bin/env bash
# build.sh DIR: second step of the image: the programs, hardened and stripped, in DIR. VERSION is what --version says; empty: the release.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=${1:?usage: build.sh DIR}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
programs=(gateway/gateway node/node ops/spotctl)
make -s -j"$(nproc)" BUILD="$build" ${VERSION:+VERSION="$VERSION"} \
    CFLAGS='-O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE' LDFLAGS='-pie -Wl,-z,relro,-z,now' \
    "${programs[@]/#/$build/release/}"
mkdir -p "$out"
install -s -m 755 "${programs[@]/#/$build/release/}" "$out"
