# shellcheck shell=bash
# What the scripts share: words to the reader, and installing a Debian package. Source it.

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
  warn "error: $*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# install_packages WHY PACKAGE...: with apt as root; otherwise ends with the command that a person can run.
install_packages() {
  local why=$1
  shift
  if is_root && have apt-get; then
    say "installing $* ($why)"
    export DEBIAN_FRONTEND=noninteractive
    # The lists of a fresh machine are empty or old, and then the first try fails.
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return 0
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    return 0
  fi
  die "missing: $why. As root: apt-get install -y --no-install-recommends $*"
}
