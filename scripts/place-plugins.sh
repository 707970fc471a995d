#!/usr/bin/env bash
# place-plugins.sh TARGET_DIR NAME...: put the built components where hosts look for them: in `plugins/` beside
# the binary, of the release profile and of the profile that tests run. A file changes in one step, and
# only when its content does: a running host watches these folders.
set -euo pipefail
target=$1
shift

for folder in "$target/release/plugins" "$target/debug/plugins"; do
  mkdir -p "$folder"
  for name in "$@"; do
    built="$target/wasm32-wasip2/plugin/berth_plugin_${name//-/_}.wasm"
    placed="$folder/$name.wasm"
    cmp -s "$built" "$placed" && continue
    cp "$built" "$placed.new"
    mv "$placed.new" "$placed"
  done
done
