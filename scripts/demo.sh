#!/usr/bin/env bash
# A real database in one command.
#
#   scripts/demo.sh up      install what is missing, build, start Berth, create a database, show how to use it;
#                           runs until Ctrl-C. A second run finds its database again.
#   scripts/demo.sh clean   delete the databases through the API, stop everything, remove the directory
#
# ENGINE=postgresql   engine of the database: postgresql, mysql, redis or mongodb
# MONGOD=…            a real mongod, which this script cannot install: where it is, for ENGINE=mongodb
# PORT=8080           first port to try for the API
# BERTH_DEMO_DIR=…    where it lives; only a directory that this script made is ever removed
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

ENGINE=${ENGINE:-postgresql}
PORT=${PORT:-8080}
# Instances have users of their own when the host is root, and must be able to reach their directories.
if is_root; then DEFAULT_DIR=/var/lib/berth-demo; else DEFAULT_DIR=$HOME/.local/share/berth-demo; fi
DIR=$(realpath -m "${BERTH_DEMO_DIR:-$DEFAULT_DIR}")
DATA=$DIR/data
MARKER=$DIR/made-by-berth-demo
LOG=$DIR/host.log
# Which is asked for; none leaves it to Berth.
VERSION=
TARGET_DIR=${CARGO_TARGET_DIR:-target}
BERTH=$TARGET_DIR/release/berth

main() {
  case ${1:-} in
    up) up ;;
    clean) clean ;;
    *) die "usage: scripts/demo.sh up|clean" ;;
  esac
}

# --- up -------------------------------------------------------------------------------------------------

up() {
  make_directory
  install_what_is_missing
  build
  trap 'stop_what_we_started' EXIT
  trap 'exit 130' INT TERM HUP
  ensure_host
  local id
  id=$(find_database) || die "the list of databases could not be read; see $LOG"
  if [ -n "$id" ]; then
    say "found the database of an earlier run: $id"
  else
    id=$(create_database)
  fi
  follow "$id"
  show "$id"
  if [ -z "$STARTED" ]; then
    say "Berth was already running (pid $(host_pid)), and goes on."
    return 0
  fi
  trap 'farewell; exit 0' INT TERM HUP
  say "Berth runs until you press Ctrl-C. Its log: $LOG"
  wait_for_host
  say "Berth ended by itself. The end of $LOG:"
  tail -n 20 "$LOG"
  exit 1
}

install_what_is_missing() {
  scripts/install-tools.sh
  have jq || install_packages "jq, with which this script reads JSON" jq
  case $ENGINE in
    postgresql) scripts/install-servers.sh >/dev/null || die "no PostgreSQL to run; see above" ;;
    mysql) scripts/install-servers.sh mysql >/dev/null || die "no MySQL to run; see above" ;;
    redis) scripts/install-servers.sh redis-7.2 >/dev/null || die "no Redis to run; see above" ;;
    mongodb) name_mongod ;;
  esac
}

# No registry has it, and what stands in for it in tests is another product.
name_mongod() {
  local said version named
  [ -n "${MONGOD:-}" ] || die "a MongoDB needs a real mongod, which this script cannot install: unpack the maker's archive and name \
it, MONGOD=/path/to/mongod make demo ENGINE=mongodb"
  said=$("$MONGOD" --version 2>/dev/null) || true
  version=$(sed -nE 's/^db version v([0-9]+\.[0-9]+).*/\1/p' <<<"$said")
  [ -n "$version" ] || die "$MONGOD does not say that it is a mongod"
  ! grep -q '^stand-in' <<<"$said" || die "$MONGOD says that it stands in for one, in tests; a demo takes a real one"
  VERSION=$version
  named=$(printf '[[program]]\nname = "mongod"\npaths = ["%s"]\n' "$(realpath "$MONGOD")")
  if [ -n "$(host_pid)" ] && [ "$named" != "$(cat "$DIR/berth.toml" 2>/dev/null)" ]; then
    die "a Berth of this demo runs already, and has not been told of $MONGOD: stop it first, with Ctrl-C where it was started"
  fi
  printf '%s\n' "$named" >"$DIR/berth.toml"
}

build() {
  if [ -x "$BERTH" ]; then say "building (quick when nothing changed) …"; else say "building in release mode; the first time takes some minutes …"; fi
  make --no-print-directory build
}

make_directory() {
  if [ -e "$DIR" ] && [ ! -e "$MARKER" ] && [ -n "$(ls -A "$DIR")" ]; then
    die "$DIR is not empty and was not made by this script; set BERTH_DEMO_DIR"
  fi
  mkdir -p "$DIR"
  chmod 0711 "$DIR"
  : >"$MARKER"
}

# On the way out, whatever the reason: a host that this run started ends with it.
stop_what_we_started() {
  trap '' INT TERM HUP
  [ -z "$STARTED" ] || stop_host
}

farewell() {
  trap '' INT TERM HUP
  say ""
  stop_host
  say "Berth has stopped. The database goes on: its server runs under a process of its own."
  say "  make demo         start Berth again; it finds the database"
  say "  make demo-clean   delete the database, stop everything, remove $DIR"
}

# --- the host -------------------------------------------------------------------------------------------

# Set when this run started the host.
STARTED=

# Leaves a host running that answers at $(api), adopting one that already runs.
ensure_host() {
  if [ -n "$(host_pid)" ]; then
    await_ready
    return 0
  fi
  local port
  port=$(free_port)
  printf '%s\n' "$port" >"$DIR/port"
  say "starting Berth at $(api)"
  : >>"$LOG"
  chmod 0600 "$LOG"
  # A session of its own: Ctrl-C reaches this script first, which then ends the host in order.
  local config=()
  [ ! -e "$DIR/berth.toml" ] || config=(--config "$DIR/berth.toml")
  setsid "$BERTH" serve --data-dir "$DATA" --listen "127.0.0.1:$port" ${config[@]+"${config[@]}"} >>"$LOG" 2>&1 </dev/null &
  STARTED=$!
  await_ready
}

api() { printf 'http://127.0.0.1:%s' "$(cat "$DIR/port" 2>/dev/null || printf '%s' "$PORT")"; }

# The pid of the host that serves our data directory, however it was started. (A bare `return` would hand on the
# status of whatever led to the trap that this is called from.)
host_pid() {
  local entry args
  for entry in /proc/[0-9]*; do
    [ -r "$entry/cmdline" ] || continue
    args=$({ tr '\0' '\n' <"$entry/cmdline"; } 2>/dev/null) || continue
    if [ "$(sed -n 2p <<<"$args")" = serve ] && grep -qxF -- "$DATA" <<<"$args"; then
      printf '%s\n' "${entry#/proc/}"
      return 0
    fi
  done
}

await_ready() {
  local deadline=$((SECONDS + 60)) code
  until code=$(call_quietly GET /readyz) && [ "$code" = 200 ] && [ -r "$DATA/admin.key" ]; do
    if [ -n "$STARTED" ] && ! kill -0 "$STARTED" 2>/dev/null; then
      warn "Berth did not start. The end of $LOG:"
      tail -n 20 "$LOG" >&2
      exit 1
    fi
    [ "$SECONDS" -lt "$deadline" ] || die "Berth does not answer at $(api); see $LOG"
    sleep 0.1
  done
}

# The port of the last run, else the first free one from $PORT on.
free_port() {
  local wanted port
  wanted=$(cat "$DIR/port" 2>/dev/null || printf '%s' "$PORT")
  for port in "$wanted" $(seq "$PORT" $((PORT + 50))); do
    if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      [ "$port" = "$wanted" ] || warn "port $wanted is taken; using $port"
      printf '%s\n' "$port"
      return 0
    fi
  done
  die "no free port from $PORT on; set PORT"
}

stop_host() {
  local pid
  pid=$(host_pid)
  [ -n "$pid" ] || return 0
  kill -TERM "$pid" 2>/dev/null || true
  if ! await_end "$pid" 20; then
    kill -KILL "$pid" 2>/dev/null || true
    await_end "$pid" 10 || die "the host (pid $pid) does not end"
  fi
}

await_end() {
  local pid=$1 deadline=$((SECONDS + $2))
  while alive "$pid"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# Neither gone nor a zombie that nobody has collected.
alive() { [ -e "/proc/$1" ] && ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }

# A background job is waited for in a way that lets traps run.
wait_for_host() {
  while alive "$STARTED"; do wait "$STARTED" || true; done
}

# --- the API --------------------------------------------------------------------------------------------

# call METHOD PATH [BODY]: prints the body, succeeds on 2xx. The key goes through standard input, so it is in no
# argument list.
call() {
  local answer code
  answer=$(request "$@") || { warn "no answer from $(api)"; return 1; }
  code=${answer##*$'\n'}
  printf '%s\n' "${answer%$'\n'*}"
  [[ $code == 2* ]] || { warn "$1 $2 answered $code: ${answer%$'\n'*}"; return 1; }
}

# The same, printing the code only.
call_quietly() {
  local answer
  answer=$(request "$@" 2>/dev/null) || return 1
  printf '%s\n' "${answer##*$'\n'}"
}

request() {
  local method=$1 path=$2 body=${3:-}
  {
    if [ -r "$DATA/admin.key" ]; then printf 'header = "Authorization: Bearer %s"\n' "$(<"$DATA/admin.key")"; fi
    if [ "$method" = POST ]; then
      printf 'header = "Idempotency-Key: %s"\n' "$(idempotency_key)"
      printf 'header = "Content-Type: application/json"\n'
      printf 'data = %s\n' "$(jq -c . <<<"$body" | jq -R .)"
    fi
  } | curl -sS --max-time 60 --config - -X "$method" -w '\n%{http_code}' "$(api)$path"
}

# The same for every try of one creation, so that a lost answer does not make a second database.
idempotency_key() {
  [ -s "$DIR/idempotency-key" ] || cat /proc/sys/kernel/random/uuid >"$DIR/idempotency-key"
  cat "$DIR/idempotency-key"
}

# --- the database ---------------------------------------------------------------------------------------

NAME=demo-$ENGINE

find_database() {
  local list
  list=$(call GET /api/v1/databases) || return 1
  jq -r --arg name "$NAME" '[.[] | select(.name == $name)][0].id // empty' <<<"$list"
}

create_database() {
  local body answer
  # A new intent: what the key was used for before is gone.
  rm -f "$DIR/idempotency-key"
  body=$(jq -n --arg name "$NAME" --arg engine "$ENGINE" \
    --arg version "$VERSION" \
    '{name: $name, db_type: $engine, plan_id: "db-s-1vcpu-1gb", region: "nyc1", storage_gb: 10}
      + if $version == "" then {} else {version: $version} end')
  printf 'creating: POST /api/v1/databases\n%s\n' "$(jq . <<<"$body")" >&2
  # Plugins that are still being compiled answer 503; ask again with the same key.
  local deadline=$((SECONDS + 120))
  until answer=$(call POST /api/v1/databases "$body" 2>"$DIR/last-error"); do
    if ! grep -q ' answered 503' "$DIR/last-error" || [ "$SECONDS" -ge "$deadline" ]; then
      cat "$DIR/last-error" >&2
      exit 1
    fi
    sleep 0.3
  done
  jq -r .id <<<"$answer"
}

# Show how far the creation is until the database runs.
follow() {
  local id=$1 status line last='' deadline=$((SECONDS + 600))
  while :; do
    status=$(call GET "/api/v1/databases/$id" | jq -r .status)
    case $status in
      running) break ;;
      provisioning) ;;
      error)
        warn "the database is in error: $(last_operation "$id" | jq -r '.last_error // "see the log"')"
        warn "the log: $LOG; to begin anew: make demo-clean"
        exit 1
        ;;
      *) die "the database is $status; to begin anew: make demo-clean" ;;
    esac
    line=$(last_operation "$id" | jq -r '
      ([.steps[] | select(.state == "started")][0]) as $now
      | select($now) | "\(.progress)% \($now.name)" + (if .last_error then " (\(.last_error))" else "" end)')
    if [ -n "$line" ] && [ "$line" != "$last" ]; then
      if [ -t 1 ]; then printf '\r\033[K  %s' "$line"; else say "  $line"; fi
      last=$line
    fi
    [ "$SECONDS" -lt "$deadline" ] || die "it is not running after ten minutes ($last); see $LOG"
    sleep 0.1
  done
  if [ -t 1 ]; then printf '\r\033[K'; fi
  say "  100% running"
}

last_operation() { call GET "/admin/v1/operations?instance=$1" | jq '.operations[0]'; }

show() {
  local credentials uri
  credentials=$(call GET "/api/v1/databases/$1/credentials") || die "the credentials could not be read"
  uri=$(jq -r .connection_string <<<"$credentials")
  say ""
  say "connection string:"
  say "  $uri"
  case $ENGINE in
    postgresql)
      say "try it (over TLS):"
      say "  $(newest_psql) '$uri' -c 'select version(), ssl from pg_stat_ssl where pid = pg_backend_pid()'"
      ;;
    mysql)
      say "try it (over TLS):"
      say "  $(jq -r --arg client "$(newest_client mysql mysql)" \
        '"MYSQL_PWD=\(.password | @sh) \($client) --no-defaults -h \(.host) -P \(.port) -u \(.username) --ssl-mode=REQUIRED \(.database)"' \
        <<<"$credentials") -e 'select version()'"
      ;;
    mongodb)
      say "try it (over TLS, by the maker's shell; without a look at the certificate, because no file with its authority is at hand):"
      say "  mongosh '$uri&tlsAllowInvalidCertificates=true' --eval 'db.version()'"
      ;;
    redis)
      say "try it (over TLS; --insecure, because no file with its authority is at hand):"
      say "  $(newest_client redis redis-cli) --no-auth-warning --insecure -u '$uri' INFO server"
      ;;
  esac
  say ""
}

newest_psql() {
  if have psql; then
    printf 'psql'
    return 0
  fi
  local folder
  for folder in /usr/lib/postgresql /opt/berth/servers/postgresql "$HOME/.local/share/berth/servers/postgresql"; do
    [ ! -d "$folder" ] || find "$folder" -path '*/bin/psql'
  done | sort -V | tail -n 1
}

# newest_client PRODUCT CLIENT: one that the machine has, or that was unpacked with a server.
newest_client() {
  if have "$2"; then
    printf '%s' "$2"
    return 0
  fi
  local folder
  for folder in "/opt/berth/servers/$1" "$HOME/.local/share/berth/servers/$1"; do
    [ ! -d "$folder" ] || find "$folder" -path "*/bin/$2"
  done | sort -V | tail -n 1
}

# --- clean ----------------------------------------------------------------------------------------------

clean() {
  if [ ! -e "$DIR" ]; then
    say "nothing to remove: $DIR is not there"
    return 0
  fi
  [ -e "$MARKER" ] || die "$DIR was not made by this script; it is left alone"
  delete_databases || warn "not every database could be deleted through the API; ending what is left"
  stop_host
  end_leftovers
  rm -rf -- "$DIR"
  say "removed $DIR and all that was in it"
}

# In a shell of its own, so that a failure of any part leads on to ending what is left.
delete_databases() (
  # Nothing was ever created.
  [ -e "$DATA/admin.key" ] || exit 0
  have jq || exit 1
  if [ -z "$(host_pid)" ]; then
    [ -x "$BERTH" ] || build || exit 1
    ensure_host || exit 1
  fi
  await_ready
  list=$(call GET /api/v1/databases) || exit 1
  for id in $(jq -r '.[].id' <<<"$list"); do
    say "deleting $id ($(jq -r --arg id "$id" '.[] | select(.id == $id).name' <<<"$list"))"
    call DELETE "/api/v1/databases/$id" >/dev/null || exit 1
  done
  for id in $(jq -r '.[].id' <<<"$list"); do
    deadline=$((SECONDS + 120))
    until [ "$(call GET "/api/v1/databases/$id" | jq -r .status)" = destroyed ]; do
      [ "$SECONDS" -lt "$deadline" ] || exit 1
      sleep 0.2
    done
  done
)

# Processes that still work below our directory: only after a host that could not do it. Shims first, or they would
# start their servers again.
end_leftovers() {
  local round pid
  for round in 1 2 3 4 5; do
    [ -n "$(leftovers)" ] || return 0
    for pid in $(leftovers shim) $(leftovers); do
      [ "$round" -gt 1 ] || warn "ending process $pid ($(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-60))"
      kill -KILL "$pid" 2>/dev/null || true
    done
    sleep 0.3
  done
  [ -z "$(leftovers)" ] || die "processes that do not end: $(leftovers | tr '\n' ' ')"
}

# leftovers [SUBCOMMAND]: processes whose working directory or arguments are below our directory.
leftovers() {
  local entry pid args
  for entry in /proc/[0-9]*; do
    pid=${entry#/proc/}
    if [ "$pid" = $$ ] || ! alive "$pid"; then continue; fi
    args=$({ tr '\0' '\n' <"$entry/cmdline"; } 2>/dev/null) || continue
    [[ "$(readlink "$entry/cwd" 2>/dev/null)/" == "$DIR/"* || $'\n'$args == *$'\n'"$DIR/"* ]] || continue
    [ -z "${1:-}" ] || [ "$(sed -n 2p <<<"$args")" = "$1" ] || continue
    printf '%s\n' "$pid"
  done
}

main "$@"
