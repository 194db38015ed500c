#!/usr/bin/env bash
# Other backup programs, for benches side by side: peers.sh build|path restic|kopia|rustic|borg.
# build  has it at its pinned version, in the cache outside the tree (minutes, once)
# path   prints where it is; fails if it is not there
# ORLOP_RESTIC, KOPIA_BIN, RUSTIC_BIN and BORG_BIN name ready programs.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KOPIA=v0.23.1
RUSTIC=0.11.4
BORG=1.4.5

# peer_version NAME
peer_version() {
  case $1 in
    kopia) echo "$KOPIA" ;;
    rustic) echo "$RUSTIC" ;;
    borg) echo "$BORG" ;;
    *) die "peer $1: restic, kopia, rustic or borg expected" ;;
  esac
}

# peer_path NAME: a ready program; figures name their version, so what PATH has does not count.
peer_path() {
  local name=$1 override version bin
  version=$(peer_version "$name")
  override=${name^^}_BIN
  bin=${!override:-$(cached "$name" "$version")}
  [ -x "$bin" ] || return 1
  printf '%s\n' "$bin"
}

# in_cache NAME VERSION COMMAND...: runs `COMMAND... DIR`, which leaves the program as DIR/NAME, once.
in_cache() {
  local name=$1 version=$2 dir
  shift 2
  dir=$(dirname "$(cached "$name" "$version")")
  have flock || skip "$name" "flock (util-linux) is missing"
  mkdir -p "$CACHE"
  exec 9>"$CACHE/$name-$version.lock"
  flock 9
  if [ ! -x "$dir/$name" ]; then
    say "building $name $version (minutes, once; kept in $CACHE)"
    # not renamed into place: a virtual environment knows its own path
    rm -rf "$dir"
    mkdir -p "$dir"
    if ! "$@" "$dir" 9>&- >&2; then
      rm -rf "$dir"
      skip "$name" "building $name $version failed"
    fi
  fi
  exec 9>&-
}

build_rustic() {
  cargo install rustic-rs --version "$RUSTIC" --locked --root "$1/root" && ln -s root/bin/rustic "$1/rustic"
}

# Wants pkg-config and the headers of libacl, liblz4, libzstd, libxxhash and OpenSSL.
build_borg() {
  python3 -m venv "$1/venv" && "$1/venv/bin/pip" install --quiet "borgbackup==$BORG" && ln -s venv/bin/borg "$1/borg"
}

build_peer() {
  case $1 in
    kopia) build_go kopia "$KOPIA" github.com/kopia/kopia github.com/kopia/kopia ;;
    rustic) in_cache rustic "$RUSTIC" build_rustic ;;
    borg) in_cache borg "$BORG" build_borg ;;
  esac
}

# peer_main NAME build|path
peer_main() {
  peer_version "$1" >/dev/null
  case ${2:-} in
    build)
      peer_path "$1" >/dev/null || build_peer "$1"
      say "$1: $(peer_path "$1")"
      ;;
    path) peer_path "$1" || die "$1 $(peer_version "$1") is not built yet: run dev/peers.sh build $1" ;;
    *) die "usage: $0 build|path" ;;
  esac
}

[ -n "${2:-}" ] || die "usage: $0 build|path restic|kopia|rustic|borg"
if [ "$2" = restic ]; then exec "$DEV_DIR/restic.sh" "$1"; fi
peer_main "$2" "$1"
