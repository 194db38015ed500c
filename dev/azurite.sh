#!/usr/bin/env bash
# Azurite, Microsoft's emulator of Azure Blob Storage: build | start DIR [OWNER_PID] | stop DIR.
# An npm package, pinned by dev/azurite/package-lock.json. It checks signatures; each start has an account key of its own.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=3.37.0
HOME_DIR=$CACHE/azurite-$VERSION
CONTAINER=orlop-test

run_server() {
  mkdir -p "$1/data"
  AZURITE_ACCOUNTS=$AZURE_STORAGE_ACCOUNT_NAME:$AZURE_STORAGE_ACCOUNT_KEY \
    launch "$1" node "$HOME_DIR/node_modules/azurite/dist/src/blob/main.js" --location "$1/data" \
    --blobHost 127.0.0.1 --blobPort "$2" --silent --skipApiVersionCheck --disableTelemetry
}

# made_container DIR ENDPOINT: waits up to 60 s for the server to make it; fails when the server is gone or too slow.
made_container() {
  for _ in $(seq 200); do
    alive "$1" || return 1
    if node "$DEV_DIR/azurite/container.js" "$2" "$CONTAINER"; then return 0; fi
    sleep 0.2
  done
  return 1
}

start() {
  local dir=$1 owner=$2 port endpoint
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  if alive "$dir"; then die "$dir: a server already runs there"; fi
  export AZURE_STORAGE_ACCOUNT_NAME AZURE_STORAGE_ACCOUNT_KEY
  AZURE_STORAGE_ACCOUNT_NAME=dev$(random_hex 8)
  AZURE_STORAGE_ACCOUNT_KEY=$(head -c 64 /dev/urandom | base64 -w 0)
  for _ in 1 2 3 4 5; do
    port=$(free_port)
    endpoint=http://127.0.0.1:$port/$AZURE_STORAGE_ACCOUNT_NAME
    run_server "$dir" "$port"
    if made_container "$dir" "$endpoint"; then
      [ -z "$owner" ] || watch_owner "$dir" "$owner"
      printf 'URL=azure://%s AZURE_STORAGE_ENDPOINT=%s AZURE_STORAGE_ACCOUNT_NAME=%s AZURE_STORAGE_ACCOUNT_KEY=%s\n' \
        "$CONTAINER" "$endpoint" "$AZURE_STORAGE_ACCOUNT_NAME" "$AZURE_STORAGE_ACCOUNT_KEY"
      return 0
    fi
    stop_server "$dir"
  done
  tail -n 20 "$dir/log" >&2
  die "azurite did not start in $dir"
}

case ${1:-} in
  build)
    build_npm azurite "$VERSION"
    say "azurite: $HOME_DIR"
    ;;
  start)
    [ -n "${2:-}" ] || die "usage: $0 start DIR [OWNER_PID]"
    have node || skip azurite "node (Debian package nodejs) is missing"
    [ -d "$HOME_DIR/node_modules/azurite" ] || skip azurite "not installed yet: run dev/azurite.sh build"
    start "$2" "${3:-}"
    ;;
  stop)
    [ -n "${2:-}" ] || die "usage: $0 stop DIR"
    stop_server "$2"
    ;;
  *)
    die "usage: $0 build | start DIR [OWNER_PID] | stop DIR"
    ;;
esac
