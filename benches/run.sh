#!/usr/bin/env bash
# Measure the figures of the README, each beside its peer in the same run: benches/run.sh [FIGURE...]
# Figures: create, call, swap, hostile, requests, listing, idle, proxy, users, engines. Expects what `make build` builds.
set -euo pipefail
cd "$(dirname "$0")/.."

# One target directory for both workspaces: what they share is compiled once, and the program finds berth beside it.
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR
# The component whose calls are measured is a fixture of the tests.
cargo build --quiet --locked --profile plugin --target wasm32-wasip2 -p fixture-engine
cargo build --quiet --locked --release --manifest-path benches/Cargo.toml
printf 'on %s cores, %s, %s\n' "$(nproc)" "$(uname -sr)" "$(date -u +%Y-%m-%d)"
exec "$CARGO_TARGET_DIR/release/berth-benches" "$@"
