#!/bin/sh
# Builds the static xebec-shim and holds it to its bars: one static file of at most 5 MB, at most 6 MiB resident
# when idle. Prints what it measured, and where the file is.
set -eu
target=$(uname -m)-unknown-linux-musl
cd "$(dirname "$0")/../.."
cargo build --quiet --package xebec-shim --bin xebec-shim --profile shim --target "$target"
shim=${CARGO_TARGET_DIR:-target}/$target/shim/xebec-shim
bytes=$(wc -c <"$shim")

folder=$(mktemp -d)
TMPDIR=$folder port=0 metrics_port=0 mode=static static_path="$folder" "$shim" 2>"$folder/log" &
running=$!
trap 'kill -INT $running; wait $running; rm -r "$folder"' EXIT
until grep -q ' listening on port' "$folder/log"; do kill -0 $running && sleep 0.1; done
resident=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$running/status)

echo "file: $shim"
echo "size: $bytes bytes (at most 5000000)"
echo "resident when idle: $resident KiB (at most 6144)"
if ldd "$shim" 2>/dev/null | grep -q '=>'; then
  echo "it is not static" >&2
  exit 1
fi
[ "$bytes" -le 5000000 ] && [ "$resident" -le 6144 ]
