#!/usr/bin/env bash
# create-by-shell.sh DIR: what a careful person's script does to have a PostgreSQL; the peer of Berth's creation.
#
# DIR/init-N.args   command that fills the volume, one word a line: assignments, program, arguments
# DIR/server.args   command of the server, in the same way
# DIR/programs      folder of the client programs
# DIR/run, DIR/port, DIR/superuser, DIR/superuser.password   how to reach the server
# DIR/uid           user to run as; empty: whoever calls
#
# Ends when user and database are there. The server's pid is in DIR/server.pid.
set -euo pipefail
cd "$1"

as_user=(env)
uid=$(<uid)
[ -z "$uid" ] || as_user=(setpriv --reuid "$uid" --regid "$uid" --clear-groups -- env)

for file in init-*.args; do
  mapfile -t command <"$file"
  "${as_user[@]}" -i "${command[@]}" >init.log 2>&1
done
# What was written without syncing is synced before the server is started, as Berth does it.
if grep -qx -e --no-sync init-*.args; then sync -f instance; fi

mapfile -t command <server.args
setsid "${as_user[@]}" -i "${command[@]}" >server.log 2>&1 </dev/null &
echo $! >server.pid

programs=$(<programs)
PGHOST=$PWD/run PGPORT=$(<port) PGUSER=$(<superuser) PGPASSWORD=$(<superuser.password)
export PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE=postgres
for _ in $(seq 2000); do
  "$programs/pg_isready" -q && break
  sleep 0.005
done
"$programs/createuser" --createdb --createrole app_user
"$programs/createdb" --owner app_user app
