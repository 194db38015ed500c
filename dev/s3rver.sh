#!/usr/bin/env bash
# s3rver over a local folder, the S3 server of the tests that ignores conditions: build | start DIR [OWNER_PID] | stop DIR.
# Every put-if-absent succeeds there, so a repository on it is of mode one. An npm package, pinned by dev/s3rver/package-lock.json.
# It checks who sends a request and no signatures.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=3.7.1
HOME_DIR=$CACHE/s3rver-$VERSION

# Two runs at once are safe: one lock, and a rename into place.
build_s3rver() {
  local tmp
  have flock || skip s3rver "flock (util-linux) is missing"
  mkdir -p "$CACHE"
  exec 9>"$CACHE/s3rver-$VERSION.lock"
  flock 9
  if [ ! -d "$HOME_DIR/node_modules/s3rver" ]; then
    have node || skip s3rver "node (Debian package nodejs) is missing"
    have npm || skip s3rver "npm (Debian package npm) is missing"
    say "installing s3rver $VERSION (once; kept in $CACHE)"
    tmp=$(mktemp -d "$CACHE/.build-XXXXXX")
    cp "$DEV_DIR/s3rver/package.json" "$DEV_DIR/s3rver/package-lock.json" "$tmp"
    # No package runs a script of its own.
    if ! npm ci --prefix "$tmp" --ignore-scripts --no-audit --no-fund --loglevel=error --cache "$tmp/.npm" 9>&- >&2; then
      rm -rf "$tmp"
      skip s3rver "npm ci of s3rver@$VERSION failed"
    fi
    rm -rf "$tmp/.npm" "$HOME_DIR"
    mv "$tmp" "$HOME_DIR"
  fi
  exec 9>&-
}

# Its page tokens are sealed with an old cipher, which Node has only on request.
run_server() {
  mkdir -p "$1/data"
  S3RVER_HOME=$HOME_DIR S3_ACCESS_KEY=$AWS_ACCESS_KEY_ID S3_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
    launch "$1" node --openssl-legacy-provider "$DEV_DIR/s3rver/serve.js" "$1/data" "$2"
}

case ${1:-} in
  build)
    build_s3rver
    say "s3rver: $HOME_DIR"
    ;;
  start)
    [ -n "${2:-}" ] || die "usage: $0 start DIR [OWNER_PID]"
    have node || skip s3rver "node (Debian package nodejs) is missing"
    [ -d "$HOME_DIR/node_modules/s3rver" ] || skip s3rver "not installed yet: run dev/s3rver.sh build"
    serve s3rver "$2" "${3:-}" /
    ;;
  stop)
    [ -n "${2:-}" ] || die "usage: $0 stop DIR"
    stop_server "$2"
    ;;
  *)
    die "usage: $0 build | start DIR [OWNER_PID] | stop DIR"
    ;;
esac
