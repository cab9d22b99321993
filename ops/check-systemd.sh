#!/usr/bin/env bash
# check-systemd.sh: are the units in ops/systemd valid, well locked up, and do they agree with the programs? Flags, exit
# codes, variables and times are compared with what the programs say of themselves.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
bin=${BIN:-$top/build/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v systemd-analyze >/dev/null || die "systemd-analyze is not installed (package systemd)"

# value UNIT KEY: the last one that the unit gives
value() {
    sed -n "s/^$2=//p" "$1" | tail -n 1
}

# Without systemd as the first process there is nobody to ask for unit states; verify needs nobody.
verify() {
    local unit=$1 program=$2 instance=${1/@/@1}
    sed "s|/usr/local/bin/$program |$bin/$program/$program |" "$top/ops/systemd/$unit" >"$work/$unit"
    ln -sf "$unit" "$work/$instance"
    SYSTEMD_UNIT_PATH=$work: systemd-analyze verify --man=no "$work/$instance" 2>"$work/said" ||
        die "$unit: $(cat "$work/said")"
    # It may say something of other units of this machine; of ours it must not.
    ! grep -F "$unit" "$work/said" || die "$unit: systemd has something to say"
    systemd-analyze security --offline=true --threshold=20 --no-pager "$work/$instance" >"$work/said" 2>&1 ||
        die "$unit: not locked up well enough: $(tail -n 1 "$work/said")"
    say "$unit: $(tail -n 1 "$work/said")"
}

# The program takes the flags and the variables that the unit gives it.
settings() {
    local unit=$top/ops/systemd/$1 program=$2 line arguments variables=()
    line=$(value "$unit" ExecStart)
    line=${line//%i/1}
    line=${line//\$\{HOST_ADDRESS\}/127.0.0.1}
    read -r -a arguments <<<"${line#* }"
    mapfile -t variables < <(sed -n 's/^#\{0,1\}\([A-Z][A-Z_]*=[^ ]*\)$/\1/p' "$top/ops/systemd/world.env")
    [ ${#variables[@]} -ge 6 ] || die "world.env: fewer variables than there should be"
    env -i "${variables[@]}" "$bin/$program/$program" "${arguments[@]}" --print-config >"$work/config" || die "$1: the program refuses its settings"
    # What is set is what is meant: systemd gives it longer than it takes by itself.
    local stop_ms timeout_s
    stop_ms=$(sed -n 's/^stop_ms = //p' "$work/config")
    timeout_s=$(value "$unit" TimeoutStopSec)
    [ "$((timeout_s * 1000))" -ge "$((stop_ms + 8000))" ] || die "$1: TimeoutStopSec=$timeout_s leaves no room above --stop-ms $stop_ms"
}

# Each exit code after which starting again does not help is one that systemd does not start again after, and no other.
exit_codes() {
    local unit=$top/ops/systemd/$1 program=$2 told
    told=$("$bin/$program/$program" --help | sed -n 's/^  \([0-9]\) .*starting it again does not help$/\1/p' | paste -sd' ')
    [ -n "$told" ] || die "$program --help names no exit codes"
    [ "$(value "$unit" RestartPreventExitStatus)" = "$told" ] || die "$1: RestartPreventExitStatus is not: $told"
}

# Players, the reserve and some links fit into the limit.
descriptors() {
    local players
    players=$("$bin/gateway/gateway" --print-config --secret x | sed -n 's/^sessions_max = //p')
    [ "$(value "$top/ops/systemd/spotcraft-gateway@.service" LimitNOFILE)" -ge $((players * 2)) ] ||
        die "LimitNOFILE of the gateway is too low for $players players"
}

for program in gateway node; do
    verify "spotcraft-$program@.service" "$program"
    settings "spotcraft-$program@.service" "$program"
    exit_codes "spotcraft-$program@.service" "$program"
done
systemd-analyze verify --man=no "$top/ops/systemd/spotcraft-nodes.target"
descriptors
say "the units are valid and agree with the programs"
