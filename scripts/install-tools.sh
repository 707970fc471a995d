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

channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

# Looks at files: running the tools would let rustup install what it thinks of.
toolchain_is_complete() {
  local root
  root=$(rustc --print sysroot 2>/dev/null) || return 1
  [ -d "$root/lib/rustlib/wasm32-wasip2" ] && [ -x "$root/bin/cargo-fmt" ] && [ -x "$root/bin/cargo-clippy" ]
}

toolchain_is_complete && exit 0
have rustup || die "this toolchain lacks the target wasm32-wasip2, rustfmt or clippy, and there is no rustup to add them"
say "completing Rust $channel: the target wasm32-wasip2, rustfmt, clippy"
# A toolchain that is there is added to and never updated.
if rustup toolchain list | grep -q "^$channel-"; then
  rustup target add --toolchain "$channel" wasm32-wasip2
  rustup component add --toolchain "$channel" rustfmt clippy
else
  rustup toolchain install "$channel" --no-self-update --profile minimal \
    --component rustfmt --component clippy --target wasm32-wasip2
fi
toolchain_is_complete || die "rustup did not make the toolchain complete"
