#!/usr/bin/env bash
# The tour of the README against a running Berth: create a database, watch it, use it, delete it.
#
#   examples/curl-tour.sh [URL] [KEY_FILE]
#
# URL is http://127.0.0.1:8080 unless given, KEY_FILE the admin.key in the host's data directory. Needs curl, jq and psql.
set -euo pipefail

URL=${1:-http://127.0.0.1:8080}
KEY_FILE=${2:-/var/lib/berth-demo/data/admin.key}

# The key goes through a file of ours, not through an argument list that others can read.
header=$(mktemp)
trap 'rm -f "$header"' EXIT
printf 'Authorization: Bearer %s\n' "$(<"$KEY_FILE")" >"$header"

# Shows the command as the reader would type it, and runs it.
berth() {
  local method=$1 path=$2
  shift 2
  printf '\n$ curl -H @header -X %s %s%s' "$method" "$URL" "$path" >&2
  [ $# -eq 0 ] || printf " --json '%s'" "$1" >&2
  printf '\n' >&2
  curl -sS --fail-with-body -H "@$header" -X "$method" ${1:+--json "$1"} "$URL$path"
}

name=tour-$$
created=$(berth POST /api/v1/databases \
  "{\"name\": \"$name\", \"db_type\": \"postgresql\", \"plan_id\": \"db-s-1vcpu-1gb\", \"region\": \"nyc1\"}")
jq . <<<"$created"
id=$(jq -r .id <<<"$created")

# What is being done right now, and by whom.
berth GET "/admin/v1/operations?instance=$id" |
  jq '.operations[0] | {kind, status, progress, steps: [.steps[] | {name, state}], owner, last_error}'

deadline=$((SECONDS + 120))
until [ "$(berth GET "/api/v1/databases/$id" 2>/dev/null | jq -r .status)" = running ]; do
  [ "$SECONDS" -lt "$deadline" ] || { echo "it is not running after two minutes" >&2; exit 1; }
  sleep 0.2
done
berth GET "/api/v1/databases/$id" | jq .

credentials=$(berth GET "/api/v1/databases/$id/credentials")
# The password is shown to nobody who looks over a shoulder.
jq '.password = "…" | .connection_string |= sub(":[^:@/]*@"; ":…@")' <<<"$credentials"

# The connection string in a variable: psql takes it from the environment of nobody but itself.
uri=$(jq -r .connection_string <<<"$credentials")
# shellcheck disable=SC2016 # shown as the reader would type it
printf '\n$ psql "$uri" -c "select version(), ssl, cipher from pg_stat_ssl where pid = pg_backend_pid()"\n'
PGPASSWORD=$(jq -r .password <<<"$credentials") psql "$(sed 's/:[^:@/]*@/@/' <<<"$uri")" -xc \
  'select version(), ssl, cipher from pg_stat_ssl where pid = pg_backend_pid()'

berth DELETE "/api/v1/databases/$id" | jq '{id, status}'
until [ "$(berth GET "/api/v1/databases/$id" 2>/dev/null | jq -r .status)" = destroyed ]; do
  [ "$SECONDS" -lt "$deadline" ] || { echo "it is not destroyed after two minutes" >&2; exit 1; }
  sleep 0.2
done
berth GET "/api/v1/databases/$id" | jq '{id, status}'
