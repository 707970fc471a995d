#!/usr/bin/env bash
# Installs the clients that the tests of the API below /rdb/v1 use, as their makers publish them, into DIR/sdks: those for
# Python in the versions of tests/sdks/requirements.txt, those for JavaScript in the versions of
# tests/sdks/package-lock.json, by the pip and the npm that this machine is set up with.
#
#   scripts/install-sdks.sh DIR
#
# What is there in the right versions is left as it is. Where one cannot be had this is said and is no error: the test that
# needs it then passes over itself.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

[ $# -eq 1 ] || die "usage: scripts/install-sdks.sh DIR"
readonly PLACE=$1/sdks
# What the clients ask for.
readonly NODE=20.19.4

left_out() { warn "The client for $1 is left out, and with it the test that uses it: $2"; }

install_python() {
  local place=$PLACE/python wanted=tests/sdks/requirements.txt
  cmp -s "$wanted" "$place/installed.txt" && return 0
  have python3 || { left_out Python "there is no python3"; return 0; }
  # On Debian, python3 comes without what makes environments.
  python3 -c 'import ensurepip, venv' 2>/dev/null || (install_packages "python3-venv" python3-venv) ||
    { left_out Python "python3 cannot make an environment"; return 0; }
  say "installing a client for Python for the tests into $place"
  rm -rf "$place"
  python3 -m venv "$place" || { left_out Python "python3 cannot make an environment"; return 0; }
  "$place/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary=:all: -r "$wanted" ||
    { left_out Python "pip could not install it"; return 0; }
  cp "$wanted" "$place/installed.txt"
}

install_js() {
  local place=$PLACE/js wanted=tests/sdks/package-lock.json found
  cmp -s "$wanted" "$place/installed.json" && return 0
  { have node && have npm; } || { left_out JavaScript "there is no node with npm"; return 0; }
  found=$(node --version)
  [ "$(printf '%s\n' "$NODE" "${found#v}" | sort -V | head -n 1)" = "$NODE" ] ||
    { left_out JavaScript "node is $found, and $NODE is the least"; return 0; }
  say "installing a client for JavaScript for the tests into $place"
  rm -rf "$place"
  mkdir -p "$place"
  cp tests/sdks/package.json "$wanted" "$place"
  npm ci --prefix "$place" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
    { left_out JavaScript "npm could not install it"; return 0; }
  cp "$wanted" "$place/installed.json"
}

mkdir -p "$1"
# Two runs at once: the second waits and finds them there.
exec 9>"$1/.sdks.lock"
flock 9
install_python
install_js
