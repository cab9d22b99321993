#!/bin/sh
# Brings a PostgreSQL store to this version's schema; migrations/migrate.sh does it, and lies beside the SQL files so that the
# folder is all that a Job in Kubernetes needs.
#
#   ops/migrate.sh postgres://user@host:port/db     (a password in the URL shows in ps: ~/.pgpass or PGPASSWORD does not)
exec sh "$(dirname "$0")/migrations/migrate.sh" "$@"
