#!/usr/bin/env bash
# Installs Schemathesis, which tries the API against its document, for the tests: into DIR/schemathesis, in the pinned
# versions of tests/schemathesis/requirements.txt, by the pip and the index that this machine is set up with.
#
#   scripts/install-schemathesis.sh DIR
#
# What is there in the right versions is left as it is. Where it cannot be had this is said, and is an error unless
# BERTH_TEST_MAY_SKIP=1 says that tests may be passed over: then the test that needs it is.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

[ $# -eq 1 ] || die "usage: scripts/install-schemathesis.sh DIR"
readonly PLACE=$1/schemathesis
readonly WANTED=tests/schemathesis/requirements.txt

give_up() {
  [ "${BERTH_TEST_MAY_SKIP:-}" = 1 ] ||
    die "Schemathesis cannot be had: $*; BERTH_TEST_MAY_SKIP=1 leaves out the test of the API against its document"
  warn "Schemathesis is left out, and with it the test of the API against its document: $*"
  exit 0
}

is_there() { cmp -s "$WANTED" "$PLACE/installed.txt" && [ -x "$PLACE/bin/st" ]; }

have python3 || give_up "there is no python3"
mkdir -p "$1"
# Two runs at once: the second waits and finds it there.
exec 9>"$1/.schemathesis.lock"
flock 9
is_there && exit 0

# On Debian, python3 comes without what makes environments.
python3 -c 'import ensurepip, venv' 2>/dev/null || (install_packages "python3-venv" python3-venv) ||
  give_up "python3 cannot make an environment"
say "installing Schemathesis for the tests into $PLACE"
rm -rf "$PLACE"
python3 -m venv "$PLACE" || give_up "python3 cannot make an environment"
"$PLACE/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary=:all: -r "$WANTED" ||
  give_up "pip could not install it"
"$PLACE/bin/st" --version >/dev/null || give_up "it does not run here"
cp "$WANTED" "$PLACE/installed.txt"
