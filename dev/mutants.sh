#!/usr/bin/env bash
# Mutation testing of the pure crate `policy`: every mutant must be caught by the crate's own tests.
# The tool is installed once, outside the tree; ORLOP_MUTANTS names a ready cargo-mutants. Arguments go to it (--list, --file ...).
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=27.1.0
root=$CACHE/cargo-mutants-$VERSION
bin=${ORLOP_MUTANTS:-$root/bin/cargo-mutants}

have cargo || die "cargo is missing: https://rustup.rs"
cd "$DEV_DIR/.."
if [ ! -x "$bin" ]; then
  [ -z "${ORLOP_MUTANTS:-}" ] || die "ORLOP_MUTANTS=$bin: not an executable"
  say "installing cargo-mutants $VERSION (minutes, once; kept in $CACHE)"
  cargo install cargo-mutants --version "$VERSION" --locked --root "$root" >&2 ||
    skip cargo-mutants "'cargo install cargo-mutants --version $VERSION' failed"
fi
# The same cases each time: what is caught by luck may be missed the next time. A mutant needs no smallest case.
export PROPTEST_CASES=64 PROPTEST_RNG_SEED=1 PROPTEST_MAX_SHRINK_ITERS=4
# It copies the tree, so that the work in it is not disturbed, and leaves with a code of its own where a mutant survives.
exec "$bin" mutants --package policy --output target --no-shuffle --minimum-test-timeout 60 "$@"
