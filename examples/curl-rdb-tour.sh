#!/usr/bin/env bash
# The tour of the API below /rdb/v1 with nothing but curl: an instance, its certificate, a user, a database, a privilege, a
# setting, who may connect, and its end.
#
#   examples/curl-rdb-tour.sh [URL] [KEY_FILE]
#
# URL is http://127.0.0.1:8080 unless given, KEY_FILE the admin.key in the host's data directory. Needs curl and jq; with
# psql the user and the certificate are tried too.
set -euo pipefail

URL=${1:-http://127.0.0.1:8080}
KEY_FILE=${2:-/var/lib/berth-demo/data/admin.key}
REGION=/rdb/v1/regions/fr-par
PASSWORD=${TOUR_PASSWORD:-S3cret!pw}

# The key and passwords go through files of ours and the environment, not through an argument list that others can read.
export PASSWORD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf 'X-Auth-Token: %s\n' "$(<"$KEY_FILE")" >"$folder/header"

# berth METHOD PATH: with a body from standard input where there is one.
berth() {
  local method=$1 path=$2
  local body=()
  case $method in POST | PUT | PATCH) body=(--data-binary @-) ;; esac
  printf '\n$ curl -H @header -X %s %s%s%s\n' "$method" "$URL" "$REGION" "$path" >&2
  curl -sS --fail-with-body -H "@$folder/header" -X "$method" "${body[@]}" "$URL$REGION$path"
}

until_ready() {
  local deadline=$((SECONDS + 120))
  until [ "$(curl -sS -H "@$folder/header" "$URL$REGION/instances/$id" | jq -r .status)" = ready ]; do
    [ "$SECONDS" -lt "$deadline" ] || { echo "it is not ready after two minutes" >&2; exit 1; }
    sleep 0.2
  done
}

engine=$(berth GET /database-engines | jq -r '.engines[] | select(.name == "PostgreSQL") | .versions | map(select((.disabled or .beta) | not)) | .[0].name')
created=$(jq -n --arg engine "$engine" --arg name "tour-$$" \
  '{name: $name, engine: $engine, user_name: "boss", password: env.PASSWORD, node_type: "db-dev-s", tags: ["tour"]}' |
  berth POST /instances)
id=$(jq -r .id <<<"$created")
jq '{id, status, engine, volume}' <<<"$created"
until_ready
endpoint=$(berth GET "/instances/$id" | jq -c '.endpoints[0]')
jq . <<<"$endpoint"

berth GET "/instances/$id/certificate?dl=1" >"$folder/ca.pem"
head -n 1 "$folder/ca.pem"

jq -n '{name: "reader", password: env.PASSWORD, is_admin: false}' |
  berth POST "/instances/$id/users"
berth POST "/instances/$id/databases" <<<'{"name": "shop"}'
berth PUT "/instances/$id/privileges" \
  <<<'{"database_name": "shop", "user_name": "reader", "permission": "readonly"}'
berth GET "/instances/$id/privileges?database_name=shop" | jq -c '.privileges[]'

if command -v psql >/dev/null; then
  PGPASSWORD=$PASSWORD PGHOST=$(jq -r '.ip // .hostname' <<<"$endpoint") PGPORT=$(jq -r .port <<<"$endpoint") \
    PGSSLMODE=verify-full PGSSLROOTCERT=$folder/ca.pem psql -U reader -d shop -Xc 'select current_user, version()'
fi

berth POST "/instances/$id/settings" <<<'{"settings": [{"name": "work_mem", "value": "8"}]}'
until_ready
berth PUT "/instances/$id/acls" <<<'{"rules": [{"ip": "127.0.0.0/8", "description": "this machine"}]}'
until_ready
berth GET "/instances/$id/acls" | jq -c '.rules[] | {ip, description}'

# What is not there yet says so.
berth POST "/instances/$id/snapshots" <<<'{"name": "first"}' | jq -c '{type, help_message}' || true

berth DELETE "/instances/$id" | jq '{id, status}'
deadline=$((SECONDS + 120))
while [ "$(curl -sS -o /dev/null -w '%{http_code}' -H "@$folder/header" "$URL$REGION/instances/$id")" = 200 ]; do
  [ "$SECONDS" -lt "$deadline" ] || { echo "it is not gone after two minutes" >&2; exit 1; }
  sleep 0.2
done
echo "it is gone"
