#!/usr/bin/env bash
# The independent reader of the format (tests/reader/orlop_reader.py): build | path.
# build  makes a virtual environment with its packages, pinned by hash, in the cache outside the tree
# path   prints the Python that has them
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

requirements=$DEV_DIR/../tests/reader/requirements.txt
venv=$CACHE/reader-$(sha256sum "$requirements" | cut -c1-16)

build() {
  have flock || skip reader "flock (util-linux) is missing"
  have python3 || skip reader "python3 is missing"
  mkdir -p "$CACHE"
  exec 9>"$venv.lock"
  flock 9
  if [ ! -e "$venv/complete" ]; then
    say "installing the packages of the independent reader (once; kept in $CACHE)"
    # not renamed into place: a virtual environment knows its own path
    rm -rf "$venv"
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --require-hashes --only-binary :all: -r "$requirements"; } 9>&- >&2 ||
      skip reader "installing $requirements from PyPI failed"
    touch "$venv/complete"
  fi
  exec 9>&-
}

case ${1:-} in
  build) build ;;
  path)
    [ -e "$venv/complete" ] || skip reader "not installed yet: run dev/reader.sh build"
    printf '%s\n' "$venv/bin/python"
    ;;
  *) die "usage: $0 build | path" ;;
esac
