#!/usr/bin/env bash
# The life of a small shop in under a minute, with real data and without root: a first backup, a day of changes, an
# incremental backup, restores compared byte for byte, and a page of results.
#
# S3=1 keeps the repository on an S3 server of our own instead of a local directory. KEEP=1 keeps all files.
# ORLOP_BIN names the program (default target/release/orlop).
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export LC_ALL=C

TOP=$(cd "$DEV_DIR/.." && pwd)
ORLOP=${ORLOP_BIN:-${CARGO_TARGET_DIR:-$TOP/target}/release/orlop}
BLOCK=4096
DB_PATH=/shop/orders.db
SKIPPED=()
PASSED=()

ok() { PASSED+=("$*"); }
leave_out() { SKIPPED+=("$*"); }
now() { date +%s%N; }
seconds_since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }'; }

# The first folder with room for the image, its copies and the repository.
work_folder() {
  local folder free
  for folder in "${TMPDIR:-/tmp}" /var/tmp "$TOP/target"; do
    mkdir -p "$folder" 2>/dev/null || continue
    free=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
    if [ "$free" -gt $((3 << 20)) ]; then
      mktemp -d "$folder/orlop-demo-XXXXXX" && return 0
    fi
  done
  die "no folder with 3 GiB free (set TMPDIR)"
}

clean_up() {
  local code=$?
  "$DEV_DIR/versitygw.sh" stop "$WORK/s3" || true
  if [ "${KEEP:-}" = 1 ]; then say "kept: $WORK"; else rm -rf "$WORK"; fi
  exit "$code"
}

# --- the data ---------------------------------------------------------------------------------------------------------

# take FROM MIB TO: copies files below 32 MiB from a folder of this machine, in the order of their names, up to a budget.
take() {
  [ -d "$1/" ] || return 0
  mkdir -p "$3"
  (cd "$1/" && find . -xdev -type f -readable -size -32M ! -name '*[[:cntrl:]]*' -printf '%s\t%p\n' 2>/dev/null) |
    LC_ALL=C sort -t $'\t' -k 2 |
    awk -F '\t' -v left=$(($2 << 20)) '$1 <= left { left -= $1; print $2 }' >"$WORK/list"
  tar -C "$1/" -cf - --verbatim-files-from -T "$WORK/list" | tar -C "$3" -xf - --no-same-owner
  chmod -R u+rwX "$3"
}

# SQL goes through whichever there is.
find_sql() {
  if have sqlite3; then
    SQL=sqlite3
  elif have python3 && python3 -c 'import sqlite3' 2>/dev/null; then
    SQL=python3
  else
    SQL=
    leave_out "the database: neither sqlite3 nor python3 is here"
  fi
}

# sql DATABASE STATEMENTS: runs them and prints the rows of the last.
sql() {
  if [ "$SQL" = sqlite3 ]; then
    sqlite3 -batch -bail "$1" "$2"
  else
    python3 - "$1" "$2" <<'PYTHON'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    rows = db.execute(statement).fetchall()
for row in rows:
    print(*row, sep="|")
PYTHON
  fi
}

make_database() {
  sql "$1" "PRAGMA page_size = $BLOCK; PRAGMA journal_mode = OFF;
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, state TEXT, note TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250000)
      INSERT INTO orders SELECT i, abs(random()) % 5000, 'open   ', 'order ' || i || ' ' || hex(randomblob(40)) FROM n;
    CREATE INDEX by_customer ON orders (customer)" >/dev/null
}

make_image() {
  local stage=$WORK/stage files blocks
  take /usr/share 90 "$stage/share"
  take "$(rustc --print sysroot)/lib" 100 "$stage/toolchain"
  take /usr/lib 90 "$stage/lib"
  mkdir -p "$stage/shop"
  [ -z "$SQL" ] || make_database "$stage$DB_PATH"
  files=$(find "$stage" | wc -l)
  FILE_COUNT=$(find "$stage" -type f | wc -l)
  # Files take whole blocks; on top come the journal, the inodes and room for the day's changes.
  blocks=$(find "$stage" -printf '%s\n' | awk -v b=$BLOCK '{ n += int(($1 + b - 1) / b) + 1 } END { print n }')
  mke2fs -q -F -t ext4 -b $BLOCK -N $((files + 8192)) -d "$stage" "$IMAGE" \
    $((blocks + (files + 8192) / 16 + 16384)) >"$WORK/log" 2>&1 || die "mke2fs: $(cat "$WORK/log")"
  # What the day of changes deletes: plain names only.
  (cd "$stage" && find ./share -type f -size -64k -name '[a-z]*[a-z]' ! -path '*[^a-zA-Z0-9./_-]*' | sort | head -n 150) |
    sed 's|^\.||' >"$WORK/old"
  [ -z "$SQL" ] || mv "$stage$DB_PATH" "$WORK/orders.db"
}

# image_edit COMMAND-FILE: debugfs reports errors on stderr and leaves with 0.
image_edit() {
  debugfs -w -f "$1" "$IMAGE" >"$WORK/log" 2>"$WORK/err"
  sed -i '/^debugfs [0-9]/d' "$WORK/err"
  [ ! -s "$WORK/err" ] || die "debugfs: $(head -n 3 "$WORK/err")"
}

# Files: some go, some come.
change_files() {
  local i
  mkdir "$WORK/new"
  for i in $(seq 6); do head -c 1500000 /dev/urandom >"$WORK/new/upload-$i.jpg"; done
  for i in $(seq 200); do seq "$i" $((i + 900)) >"$WORK/new/log-$i.txt"; done
  {
    sed 's/^/rm /' "$WORK/old"
    printf 'mkdir /shop/today\ncd /shop/today\n'
    for i in "$WORK"/new/*; do printf 'write %s %s\n' "$i" "${i##*/}"; done
  } >"$WORK/commands"
  image_edit "$WORK/commands"
}

# The database: the same updates run on a copy, and the pages that differ are written in place, as a database does.
change_database() {
  local next=$WORK/next.db
  cp "$WORK/orders.db" "$next"
  sql "$next" "UPDATE orders SET state = 'shipped' WHERE id BETWEEN 200000 AND 203000;
    UPDATE orders SET state = 'payed  ' WHERE id % 997 = 0" >/dev/null
  [ "$(stat -c %s "$next")" = "$(stat -c %s "$WORK/orders.db")" ] || die "the database changed its size"
  { cmp -l "$WORK/orders.db" "$next" || true; } |
    awk -v b=$BLOCK '{ p = int(($1 - 1) / b) } p != last || NR == 1 { print p } { last = p }' >"$WORK/pages"
  PAGE_COUNT=$(wc -l <"$WORK/pages")
  [ "$PAGE_COUNT" -gt 0 ] || die "no page of the database changed"
  sed "s|^|bmap $DB_PATH |" "$WORK/pages" >"$WORK/commands"
  debugfs -f "$WORK/commands" "$IMAGE" 2>/dev/null | grep -E '^[0-9]+$' >"$WORK/blocks"
  # Neighbours go in one write: page, block, count.
  paste "$WORK/pages" "$WORK/blocks" | awk '
    NR > 1 && $1 == page + n && $2 == block + n { n++; next }
    NR > 1 { print page, block, n }
    { page = $1; block = $2; n = 1 }
    END { print page, block, n }' |
    while read -r page block count; do
      [ "$block" -gt 0 ] || die "page $page of the database has no block"
      dd if="$next" of="$IMAGE" bs=$BLOCK skip="$page" seek="$block" count="$count" conv=notrunc status=none
    done
  take_out "$IMAGE" "$WORK/readback.db"
  cmp "$next" "$WORK/readback.db" || die "the pages did not land in the database"
}

# take_out IMAGE FILE: the database of an image, as a file.
take_out() { debugfs -R "dump $DB_PATH $2" "$1" 2>/dev/null; }

# --- the program ------------------------------------------------------------------------------------------------------

# orlop NAME ARGUMENTS...: runs it with its answers in out/NAME.json.
orlop() {
  local name=$1 code=0
  shift
  say "  orlop $*"
  "$ORLOP" --json --cache-dir "$WORK/cache" "$@" >"$OUT/$name.json" 2>"$OUT/$name.err" </dev/null || code=$?
  if [ "$code" != 0 ]; then
    tail -n 5 "$OUT/$name.err" "$OUT/$name.json" >&2
    die "orlop $1 left with $code"
  fi
}

# field NAME KEY: a number or a string without quotes from the summary line.
field() {
  local value
  value=$(grep '"message_type": *"summary"' "$OUT/$1.json" | tail -n 1 |
    sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",}]*\).*/\1/p")
  [ -n "$value" ] || die "the summary of $1 has no $2"
  printf '%s\n' "$value"
}

start_repository() {
  (umask 077 && random_hex 16 >"$WORK/password")
  export XDG_CACHE_HOME=$WORK/cache
  export ORLOP_PASSWORD_FILE=$WORK/password
  if [ "${S3:-}" = 1 ]; then
    "$DEV_DIR/versitygw.sh" build
    local settings
    settings=$("$DEV_DIR/versitygw.sh" start "$WORK/s3" $$)
    # shellcheck disable=SC2086,SC2163 # words of the form NAME=VALUE
    export $settings
    # shellcheck disable=SC2153 # printed by the script above
    export AWS_ENDPOINT_URL=$S3_ENDPOINT AWS_ALLOW_HTTP=true
    export ORLOP_REPOSITORY=s3://$S3_BUCKET/demo
    WHERE="on versitygw ($S3_ENDPOINT)"
  else
    export ORLOP_REPOSITORY=$WORK/repository
    WHERE="in a local directory"
  fi
}

# compare NAME SOURCE RESTORED
compare() {
  cmp "$2" "$3" || die "$1: the restored image differs"
  ok "$1: the restored image equals its source byte for byte (cmp)"
}

inspect_restored() {
  e2fsck -fn "$WORK/restored.img" >"$WORK/log" 2>&1 || die "e2fsck: $(cat "$WORK/log")"
  ok "e2fsck -fn finds nothing to mend in the restored file system"
  if [ -n "$SQL" ]; then
    local count="SELECT count(*) FROM orders WHERE state = 'shipped'"
    take_out "$WORK/restored.img" "$WORK/restored.db"
    [ "$(sql "$WORK/restored.db" 'PRAGMA integrity_check')" = ok ] || die "the restored database is damaged"
    [ "$(sql "$WORK/restored.db" "$count")" = "$(sql "$WORK/next.db" "$count")" ] || die "orders are missing"
    ok "the restored database passes its integrity check and knows today's orders"
  fi
  MANIFEST_COUNT=$(find "$WORK/restored-manifests" -type f | wc -l)
  [ "$MANIFEST_COUNT" -gt 0 ] || die "no manifest was restored"
  ok "$(field second manifests) manifests restored into $MANIFEST_COUNT files"
}

# --- the page ---------------------------------------------------------------------------------------------------------

mib() { awk -v n="$1" 'BEGIN { printf "%.1f", n / 1048576 }'; }
backup_row() {
  printf '  %-24s %8.2f %11s %11s %11s %9s\n' "$1" "$(field "$2" duration_seconds)" "$(mib "$(field "$2" bytes_read)")" \
    "$(mib "$(field "$2" bytes_new)")" "$(mib "$(field "$2" bytes_stored)")" "$(field "$2" store_requests)"
}
restore_row() {
  printf '  %-24s %8.2f %11s %11s %11s %9s\n' "$1" "$(field "$2" duration_seconds)" "$(mib "$(field "$2" bytes_fetched)")" \
    - "$(mib "$(field "$2" bytes_written)")" "$(field "$2" store_requests)"
}

results() {
  local stored=0 scanned=0 name line
  for name in first second third; do
    stored=$((stored + $(field $name bytes_stored)))
    scanned=$((scanned + $(field $name bytes_scanned)))
  done
  printf '\norlop demo: a shop, backed up %s, %s cores\n' "$WHERE" "$(nproc)"
  printf 'data     an ext4 image of %s MiB with %s files of this machine%s, and the manifests in dev/demo/manifests\n' \
    "$(mib "$(stat -c %s "$IMAGE")")" "$FILE_COUNT" "${SQL:+ and a SQLite database}"
  printf 'a day    %s files deleted, %s written%s\n' "$(wc -l <"$WORK/old")" "$(find "$WORK/new" -type f | wc -l)" \
    "${SQL:+, $PAGE_COUNT database pages changed in place}"
  printf 'tools    %s, debugfs, e2fsck, cmp%s%s\n' "$(mke2fs -V 2>&1 | head -n 1)" "${SQL:+, SQLite by $SQL}" \
    "$([ "${S3:-}" != 1 ] || echo ', versitygw')"
  if [ ${#SKIPPED[@]} = 0 ]; then SKIPPED=(nothing); fi
  printf 'skipped  %s\n' "${SKIPPED[@]}"
  printf '\n  %-24s %8s %11s %11s %11s %9s\n' step seconds 'read MiB' 'new MiB' 'stored MiB' requests
  backup_row 'first backup' first
  backup_row 'after a day of changes' second
  backup_row 'nothing changed' third
  printf '\n  %-24s %8s %11s %11s %11s %9s\n' step seconds 'fetched MiB' '' 'written MiB' requests
  restore_row 'restore the latest' restore
  restore_row 'restore the first' restore-first
  printf '  %-24s %8s %11s\n' 'check --read-data' "$CHECK_SECONDS" "$(mib "$(field check bytes_read)")"
  printf '\n'
  awk -v stored="$stored" -v scanned="$scanned" -v first="$(field first bytes_stored)" -v one="$(field first bytes_scanned)" \
    -v second="$(field second bytes_stored)" 'BEGIN {
      printf "  the first backup takes %.1f %% of its data, the day of changes %.1f %%;", 100 * first / one, 100 * second / one
      printf " three backups of %.0f MiB are kept in %.0f MiB (1 : %.1f)\n", scanned / 1048576, stored / 1048576, scanned / stored }'
  printf '\n'
  for line in "${PASSED[@]}"; do printf '  ok  %s\n' "$line"; done
  printf '\n%s s in all\n' "$(seconds_since "$BEGIN")"
}

# --- the story --------------------------------------------------------------------------------------------------------

for tool in mke2fs debugfs e2fsck; do have $tool || die "$tool is missing (Debian package e2fsprogs)"; done
[ -x "$ORLOP" ] || die "$ORLOP is missing: cargo build --release -p cli"
BEGIN=$(now)
WORK=$(work_folder)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
OUT=$WORK/out
IMAGE=$WORK/data.img
mkdir "$OUT"

find_sql
say "making an ext4 image of real files"
make_image
cp -r "$DEV_DIR/demo/manifests" "$WORK/manifests"
start_repository

say "the first backup"
orlop init init
orlop first backup --volume "shop/data=$IMAGE" --manifests "$WORK/manifests"
cp --reflink=auto --sparse=always "$IMAGE" "$WORK/first.img"

say "a day of changes"
change_files
[ -z "$SQL" ] || change_database
find "$WORK/manifests" -type f -exec sed -i 's/^\( *replicas:\) *[0-9]*$/\1 5/' {} +
e2fsck -fn "$IMAGE" >"$WORK/log" 2>&1 || die "e2fsck of the source: $(cat "$WORK/log")"
orlop second backup --volume "shop/data=$IMAGE" --manifests "$WORK/manifests"
orlop third backup --volume "shop/data=$IMAGE" --manifests "$WORK/manifests"

say "restores"
orlop restore restore latest --volume "shop/data=$WORK/restored.img" --manifests "$WORK/restored-manifests"
compare 'today' "$IMAGE" "$WORK/restored.img"
inspect_restored
orlop restore-first restore "$(field first snapshot_id)" --volume "shop/data=$WORK/restored-first.img"
compare 'yesterday' "$WORK/first.img" "$WORK/restored-first.img"

check_begin=$(now)
orlop check check --read-data
CHECK_SECONDS=$(seconds_since "$check_begin")
ok "check --read-data: $(field check objects) objects read and found whole"

results
