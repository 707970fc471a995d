#!/usr/bin/env bash
# What building Berth needs beside cargo: a C compiler and linker, the pinned toolchain with its components,
# and the target that components are built for. Says nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

have cargo || die "cargo is not installed; Rust's own installer is at https://rustup.rs"

have cc || install_packages "a C compiler and linker" gcc libc6-dev
have curl || install_packages "curl" curl ca-certificates

toolchain_is_complete() {
  local root
  root=$(rustc --print sysroot 2>/dev/null) || return 1
  [ -d "$root/lib/rustlib/wasm32-wasip2" ] &&
    cargo fmt --version >/dev/null 2>&1 &&
    cargo clippy --version >/dev/null 2>&1
}

toolchain_is_complete && exit 0
have rustup || die "this toolchain lacks the target wasm32-wasip2, rustfmt or clippy, and there is no rustup to add them"
channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
say "installing Rust $channel with the target wasm32-wasip2"
rustup toolchain install "$channel" --no-self-update --profile minimal \
  --component rustfmt --component clippy --target wasm32-wasip2
toolchain_is_complete || die "rustup did not make the toolchain complete"
