#!/usr/bin/env bash
# create-by-shell.sh DIR: what a careful person's script does to have a server with a first user; the peer of Berth's creation.
#
# DIR/engine        postgresql, mysql or redis
# DIR/init-N.args   command that fills the volume, one word a line: assignments, program, arguments
# DIR/server.args   command of the server, in the same way
# DIR/programs      folder of the client programs
# DIR/run, DIR/port, DIR/superuser.password   how to reach the server, as its user `berth`
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
sync -f instance

mapfile -t command <server.args
setsid "${as_user[@]}" -i "${command[@]}" >server.log 2>&1 </dev/null &
echo $! >server.pid

programs=$(<programs)
password=$(<superuser.password)

# until COMMAND...: wait for a server that answers.
until_ready() {
  for _ in $(seq 2000); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.005
  done
  return 1
}

case $(<engine) in
  postgresql)
    PGHOST=$PWD/run PGPORT=$(<port) PGUSER=berth PGPASSWORD=$password
    export PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE=postgres
    until_ready "$programs/pg_isready" -q
    "$programs/createuser" --createdb --createrole app_user
    "$programs/createdb" --owner app_user app
    ;;
  mysql)
    export MYSQL_PWD=$password
    how=(--no-defaults "--socket=$PWD/run/mysqld.sock" -u berth)
    until_ready "$programs/mysqladmin" "${how[@]}" ping
    "$programs/mysql" "${how[@]}" -e \
      "CREATE DATABASE app; CREATE USER app_user IDENTIFIED BY '$password' REQUIRE SSL; GRANT ALL ON app.* TO app_user"
    ;;
  redis)
    export REDISCLI_AUTH=$password
    how=(-s "$PWD/run/redis.sock" --user berth -e)
    until_ready "$programs/redis-cli" "${how[@]}" PING
    "$programs/redis-cli" "${how[@]}" ACL SETUSER default on ">$password" '~*' '&*' +@all >/dev/null
    "$programs/redis-cli" "${how[@]}" ACL SAVE >/dev/null
    ;;
esac
