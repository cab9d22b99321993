#!/bin/sh
# Brings a PostgreSQL store to this version's schema: forward only, one transaction per file of ops/migrations, under a
# lock, so that any number of these may run at once. Says what it did; safe to run again.
#
#   ops/migrate.sh postgres://user@host:port/db     (a password in the URL shows in ps: ~/.pgpass or PGPASSWORD does not)
set -eu

LOCK=7370347 # the same number for everybody: one runner at a time in a database
here=$(cd "$(dirname "$0")" && pwd)

case ${1:-} in
postgres://* | postgresql://*) url=$1 ;;
sqlite:*)
    echo "migrate: a SQLite store is brought up to date by the node itself"
    exit 0
    ;;
*)
    echo "usage: ops/migrate.sh postgres://user@host:port/db" >&2
    exit 2
    ;;
esac

newest=0
for file in "$here"/*.postgres.sql; do
    name=$(basename "$file" .postgres.sql)
    newest=$(echo "$name" | sed 's/^0*\([0-9]*\)_.*/\1/')
    # Each file sees in its own transaction, behind the lock, whether somebody has applied it meanwhile.
    PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning" psql -X -q -A -t -v ON_ERROR_STOP=1 -v lock="$LOCK" \
        -v number="$newest" -v name="$name" -v file="$file" "$url" <<'SQL'
BEGIN;
SELECT pg_advisory_xact_lock(:lock) \gset _
CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now());
SELECT coalesce(max(version), 0) < :number AS todo FROM schema_version \gset
\if :todo
\echo migrate: applying :name
\i :file
INSERT INTO schema_version (version) VALUES (:number);
\endif
COMMIT;
SQL
done

found=$(psql -X -q -A -t -v ON_ERROR_STOP=1 "$url" -c 'SELECT max(version) FROM schema_version')
if [ "$found" -gt "$newest" ]; then
    echo "migrate: the database has schema $found, newer than the $newest that this version knows" >&2
    exit 1
fi
echo "migrate: schema $found"
