#!/usr/bin/env bash
# versitygw over a local folder, the default S3 server of the tests: build | start DIR [OWNER_PID] | stop DIR.
# VERSITYGW_BIN names a ready program.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The server keeps object metadata in user xattrs. Where the file system has none, it keeps it in files of their own.
has_xattrs() {
  if have setfattr; then
    setfattr -n user.orlop-dev -v 1 "$1" 2>/dev/null
  elif have python3; then
    python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.orlop-dev", b"1")' "$1" 2>/dev/null
  else
    return 1
  fi
}

run_server() {
  local meta=(--versioning-dir "$1/versions")
  mkdir -p "$1/data" "$1/versions"
  if ! has_xattrs "$1/data"; then
    say "versitygw: no user xattrs in $1: metadata goes to $1/meta, and bucket versions are off"
    mkdir -p "$1/meta"
    meta=(--sidecar "$1/meta")
  fi
  ROOT_ACCESS_KEY=$AWS_ACCESS_KEY_ID ROOT_SECRET_KEY=$AWS_SECRET_ACCESS_KEY \
    launch "$1" "$SERVER_BIN" --port "127.0.0.1:$2" --region "$AWS_REGION" --keep-alive --quiet --health /health \
    posix "${meta[@]}" "$1/data"
}

server_main versitygw v1.8.0 github.com/versity/versitygw/cmd/versitygw "${VERSITYGW_BIN:-}" /health "$@"
