#!/usr/bin/env bash
# Installs what the tests need (PostgreSQL included), builds, runs them all, and ends with their counts.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
'') ;;
--help | -h)
    say "usage: ops/test.sh     unit, simulator and integration tests; make help lists smaller steps"
    exit 0
    ;;
*) die "unknown option '$1'; see --help" ;;
esac

install_missing "${packages_build[@]}" "${packages_run[@]}" "${packages_postgres[@]}" "${packages_test[@]}"
cd "$top"
make -s -j"$(nproc)" all tests-build
exec make -s test STRICT=1
