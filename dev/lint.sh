#!/usr/bin/env bash
# What `make lint` adds to formatting and clippy: the scripts, and the licences and sources of the dependencies.
# A checker that is not here is named and skipped.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$DEV_DIR/.."
if have shellcheck; then
  shellcheck dev/*.sh .ci/run
else
  say "SKIPPED: shellcheck: not installed (Debian package shellcheck)"
fi
if have cargo-deny; then
  cargo deny --locked check licenses bans sources
else
  say "SKIPPED: cargo-deny: not installed (cargo install cargo-deny --locked)"
fi
