#!/usr/bin/env bash
# Writes the tables of settings and metrics into README.md from the programs themselves; --check only says whether they are as they are.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
bin=${BIN:-$top/build/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One row a setting: --help prints the flag, then what it does, then the default.
settings() {
    "$bin/$1/$1" --help | awk '
        /^Settings$/ { on = 1; next }
        /^[A-Z]/ { on = 0 }
        on && /^  --/ { if (flag) row(); flag = $1; help = ""; initial = ""; next }
        on && /^      default / { sub(/^      default /, ""); initial = $0; next }
        on && /^      / { sub(/^ +/, ""); help = help (help ? " " : "") $0 }
        function row() { gsub(/\|/, "\\|", help); printf "| `%s` | %s | %s |\n", flag, initial, help }
        END { if (flag) row() }'
}

# A program that reaches no Redis knows its metrics all the same.
metrics() {
    local log=$work/$1.log pid port=''
    : >"$log" # the child may open it later than we read it
    "$bin/$1/$1" --redis unix:"$work/none" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --imds none ${2:+--store "$2"} >"$log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        port=$(sed -n 's/.*_started .*admin_port=\([0-9]*\).*/\1/p' "$log")
        [ -z "$port" ] || break
        sleep 0.05
    done
    [ -n "$port" ] || die "$1 did not start: $(cat "$log")"
    curl -sf "http://127.0.0.1:$port/metrics" >"$work/$1.metrics"
    kill "$pid"
    wait "$pid" || true
    awk '$1 == "#" && $2 == "HELP" { name = $3; $1 = $2 = $3 = ""; sub(/^ +/, ""); help[name] = $0 }
         $1 == "#" && $2 == "TYPE" { printf "| `%s` | %s | %s |\n", $3, $4, help[$3] }' "$work/$1.metrics" | sort -u
}

# Puts the text of a file between <!-- NAME --> and <!-- end -->.
place() {
    awk -v name="<!-- $1 -->" -v file="$2" '
        $0 == name { print; while ((getline line < file) > 0) print line; skip = 1; next }
        $0 == "<!-- end -->" { skip = 0 }
        !skip' "$work/README.md" >"$work/next"
    mv "$work/next" "$work/README.md"
}

table() {
    printf '\n| %s | %s | what it is |\n|---|---|---|\n' "$2" "$3"
    cat
    echo
} >"$work/$1"

cp "$top/README.md" "$work/README.md"
settings node | table node-settings "node" "default"
settings gateway | table gateway-settings "gateway" "default"
metrics node "sqlite:$work/world.db" | table node-metrics "metric" "type"
metrics gateway | table gateway-metrics "metric" "type"
for section in node-settings gateway-settings node-metrics gateway-metrics; do
    place "$section" "$work/$section"
done
if [ "${1:-}" = --check ]; then
    diff -u "$top/README.md" "$work/README.md" || die "README.md's tables are old; ops/docs.sh writes them anew"
else
    cp "$work/README.md" "$top/README.md"
fi
