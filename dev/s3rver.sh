#!/usr/bin/env bash
# s3rver over a local folder, the S3 server of the tests that ignores conditions: build | start DIR [OWNER_PID] | stop DIR.
# Every put-if-absent succeeds there, so a repository on it is of mode one. An npm package, pinned by dev/s3rver/package-lock.json.
# It checks who sends a request and no signatures.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=3.7.1
HOME_DIR=$CACHE/s3rver-$VERSION

# Its page tokens are sealed with an old cipher, which Node has only on request.
run_server() {
  mkdir -p "$1/data"
  S3RVER_HOME=$HOME_DIR S3_ACCESS_KEY=$AWS_ACCESS_KEY_ID S3_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
    launch "$1" node --openssl-legacy-provider "$DEV_DIR/s3rver/serve.js" "$1/data" "$2"
}

case ${1:-} in
  build)
    build_npm s3rver "$VERSION"
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
