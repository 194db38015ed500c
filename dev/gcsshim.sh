#!/usr/bin/env bash
# Google Cloud Storage's XML API in front of versitygw, by a translator of our own: build | start DIR [OWNER_PID] | stop DIR.
# dev/gcsshim/main.go says what it cannot show. Built once per content of its sources.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start() {
  local dir=$1 owner=$2 word bucket port token s3
  mkdir -p "$dir/s3"
  dir=$(cd "$dir" && pwd)
  if alive "$dir"; then die "$dir: a server already runs there"; fi
  s3=$("$DEV_DIR/versitygw.sh" start "$dir/s3" "$owner") || exit
  for word in $s3; do export "${word?}"; done
  bucket=$S3_BUCKET
  token=$(random_hex 24)
  for _ in 1 2 3 4 5; do
    port=$(free_port)
    GCS_TOKEN=$token launch "$dir" "$BIN" "127.0.0.1:$port" "$S3_ENDPOINT" "$dir/account.json"
    if wait_ready "$dir" "http://127.0.0.1:$port/health"; then
      [ -z "$owner" ] || watch_owner "$dir" "$owner"
      printf 'URL=gs://%s GOOGLE_BASE_URL=http://127.0.0.1:%s GOOGLE_SERVICE_ACCOUNT=%s\n' "$bucket" "$port" "$dir/account.json"
      return 0
    fi
    stop_server "$dir"
  done
  tail -n 20 "$dir/log" >&2
  "$DEV_DIR/versitygw.sh" stop "$dir/s3"
  die "gcsshim did not start in $dir"
}

case ${1:-} in
  build)
    "$DEV_DIR/versitygw.sh" build || exit
    build_own gcsshim
    say "gcsshim: $BIN"
    ;;
  start)
    [ -n "${2:-}" ] || die "usage: $0 start DIR [OWNER_PID]"
    build_own gcsshim no
    [ -x "$BIN" ] || skip gcsshim "not built yet: run dev/gcsshim.sh build"
    start "$2" "${3:-}"
    ;;
  stop)
    [ -n "${2:-}" ] || die "usage: $0 stop DIR"
    stop_server "$2"
    "$DEV_DIR/versitygw.sh" stop "$2/s3"
    ;;
  *)
    die "usage: $0 build | start DIR [OWNER_PID] | stop DIR"
    ;;
esac
