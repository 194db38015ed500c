#!/usr/bin/env bash
# What the tests and the demo want beside Rust: setup.sh [install|check].
# install  Debian packages (as root), then the S3 servers and restic, built once into a cache outside the tree
# check    the same, but packages are installed only with CI=true; what is missing is named, counted and skipped
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# command, Debian package, what goes without it
wanted() {
  cat <<'LIST'
cc          gcc          every build (zstd is C)
c++         g++          fuzzing (libFuzzer is C++)
curl        curl         the S3 servers
flock       util-linux   building the S3 servers and restic
node        nodejs       s3rver and Azurite
npm         npm          installing s3rver and Azurite
mke2fs      e2fsprogs    the ext4 image of the demo
debugfs     e2fsprogs    the day of changes of the demo
sqlite3     sqlite3      the database of the demo
LIST
  # Also for Go from PyPI, where the machine has none.
  printf 'python3 python3 the independent reader\n'
  # No test needs it.
  if [ "$mode" = install ]; then printf 'shellcheck shellcheck the lint of dev/\n'; fi
}

missing_packages() {
  wanted | while read -r command package _; do
    have "$command" || printf '%s\n' "$package"
  done | sort -u
  # On Debian a virtual environment needs more than python3.
  if ! python3 -c 'import ensurepip' 2>/dev/null; then printf 'python3-venv\n'; fi
}

install_packages() {
  local packages
  packages=$(missing_packages)
  [ -n "$packages" ] || return 0
  if ! have apt-get || [ "$(id -u)" != 0 ]; then
    say "missing packages (Debian names): ${packages//$'\n'/ }"
    return 0
  fi
  say "installing ${packages//$'\n'/ }"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >&2 || true
  # shellcheck disable=SC2086 # one word per package
  apt-get install -q -y --no-install-recommends $packages </dev/null >&2 || say "apt-get failed"
}

report_missing() {
  wanted | while read -r command package use; do
    have "$command" || printf '%s\t%s is missing (Debian package %s)\n' "$use" "$command" "$package"
  done
}

mode=${1:-install}
case $mode in
  install) install_packages ;;
  check) if [ "${CI:-}" = true ]; then install_packages; fi ;;
  *) die "usage: $0 [install|check]" ;;
esac

have cargo || die "cargo is missing: https://rustup.rs (the toolchain is named in rust-toolchain.toml)"
while IFS=$'\t' read -r use reason; do
  note_skip "$use" "$reason"
done < <(report_missing)

for program in versitygw minio s3rver azurite gcsshim tlsfront restic reader; do
  "$DEV_DIR/$program.sh" build || {
    code=$?
    [ "$code" = "$SKIP_CODE" ] || exit "$code"
  }
done
