#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS (default 30), or those named: fuzz.sh [TARGET...].
# New inputs go to fuzz/corpus-local, which git ignores; those in fuzz/corpus are read.
# cargo-fuzz is taken from PATH, else built into the cache. RUSTC_BOOTSTRAP lets the pinned stable compiler instrument.
# No sanitizer: the targets have no unsafe code, and libzstd, which has, is not instrumented by it.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=0.13.2
cd "$DEV_DIR/.."
[ -d fuzz ] || die "no fuzz/ here"
have c++ || skip fuzzing "c++ is missing (Debian package g++): libFuzzer is C++"
if ! have cargo-fuzz; then
  root=$CACHE/cargo-fuzz-$VERSION
  [ -x "$root/bin/cargo-fuzz" ] ||
    cargo install cargo-fuzz --version "$VERSION" --locked --quiet --root "$root" >&2 ||
    skip fuzzing "cargo install cargo-fuzz@$VERSION failed"
  PATH=$root/bin:$PATH
fi
export RUSTC_BOOTSTRAP=1
cargo fuzz build --sanitizer none
if [ $# = 0 ]; then
  mapfile -t targets < <(cargo fuzz list)
  set -- "${targets[@]}"
fi
[ $# -gt 0 ] || die "fuzz/ names no target"
for target in "$@"; do
  say "fuzzing $target for ${FUZZ_SECONDS:-30} s"
  corpus=(fuzz/corpus-local/"$target")
  mkdir -p "${corpus[0]}"
  [ ! -d "fuzz/corpus/$target" ] || corpus+=("fuzz/corpus/$target")
  cargo fuzz run --sanitizer none "$target" "${corpus[@]}" -- -max_total_time="${FUZZ_SECONDS:-30}" -print_final_stats=1 \
    2>"fuzz/corpus-local/$target.log" || { tail -n 40 "fuzz/corpus-local/$target.log" >&2; die "$target failed"; }
  say "$(sed -n 's/^stat::number_of_executed_units: */inputs tried: /p' "fuzz/corpus-local/$target.log")"
done
