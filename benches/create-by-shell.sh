#!/usr/bin/env bash
# create-by-shell.sh DIR: what a careful person's script does to have a PostgreSQL, and the peer of Berth's creation.
#
# DIR/programs    folder of initdb, postgres, psql, createuser, createdb
# DIR/init-N.args arguments of each program that fills the volume, one a line, the program's name first
# DIR/server.args arguments of the server
# DIR/run, DIR/port, DIR/superuser, DIR/superuser.password, DIR/user, DIR/database
# DIR/uid         user to run as; empty: whoever calls
#
# Ends when user and database are there. The server's pid is in DIR/server.pid.
set -euo pipefail
cd "$1"

programs=$(<programs)
as_user=()
uid=$(<uid)
[ -z "$uid" ] || as_user=(setpriv --reuid "$uid" --regid "$uid" --clear-groups --)

for file in init-*.args; do
  mapfile -t args <"$file"
  "${as_user[@]}" env -i "$programs/${args[0]}" "${args[@]:1}" >init.log 2>&1
done

mapfile -t args <server.args
"${as_user[@]}" env -i setsid "$programs/${args[0]}" "${args[@]:1}" >server.log 2>&1 </dev/null &
echo $! >server.pid

PGHOST=$PWD/run PGPORT=$(<port) PGUSER=$(<superuser) PGPASSWORD=$(<superuser.password) PGDATABASE=postgres
export PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE
for _ in $(seq 2000); do
  "$programs/pg_isready" -q && break
  sleep 0.005
done
"$programs/createuser" --createdb --createrole "$(<user)"
"$programs/createdb" --owner "$(<user)" "$(<database)"
