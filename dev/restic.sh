#!/usr/bin/env bash
# restic at the one version whose keep rules ours are compared with: build | path.
# ORLOP_RESTIC names a ready program. Only that version will do, so one of another on PATH is passed over.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=v0.19.1

is_pinned() {
  local answer
  answer=$("$1" version 2>/dev/null) || return 1
  case $answer in
    "restic ${VERSION#v} "*) ;;
    *) return 1 ;;
  esac
}

find_restic() {
  local bin
  bin=$(locate restic "$VERSION" "${ORLOP_RESTIC:-}") || return 1
  is_pinned "$bin" || return 1
  printf '%s\n' "$bin"
}

# Whoever names a program means it: a wrong one is an error and nothing to skip.
if [ -n "${ORLOP_RESTIC:-}" ]; then
  find_restic >/dev/null || die "$ORLOP_RESTIC: expected restic ${VERSION#v}"
fi
case ${1:-} in
  build)
    if ! find_restic >/dev/null; then build_go restic "$VERSION" github.com/restic/restic/cmd/restic; fi
    say "restic: $(find_restic)"
    ;;
  path)
    find_restic || skip restic "not built yet: run dev/restic.sh build"
    ;;
  *)
    die "usage: $0 build | path"
    ;;
esac
