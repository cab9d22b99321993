#!/usr/bin/env bash
# First step of the image: what the build needs, from Debian's packages, with the security fixes of today.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

needed=(ca-certificates gcc libc6-dev make)
for p in "${packages_build[@]}"; do
    case $p in
    build-essential | git) ;; # a compiler and make are enough, and the version is told
    *) needed+=("$p") ;;
    esac
done
export DEBIAN_FRONTEND=noninteractive
as_root apt-get -qq update
as_root apt-get -qq -y upgrade >/dev/null
install_missing "${needed[@]}"
