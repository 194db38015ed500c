#!/usr/bin/env bash
# HTTPS in front of a plain server, for what is refused without TLS: build | path.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
  build)
    build_own tlsfront
    say "tlsfront: $BIN"
    ;;
  path)
    build_own tlsfront no
    [ -x "$BIN" ] || skip tlsfront "not built yet: run dev/tlsfront.sh build"
    printf '%s\n' "$BIN"
    ;;
  *) die "usage: $0 build | path" ;;
esac
