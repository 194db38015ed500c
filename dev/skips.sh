#!/usr/bin/env bash
# The last line of a test run: how many parts were skipped, and which. skips.sh FILE
set -eu
if [ ! -s "$1" ]; then
  echo "skipped parts: 0"
  exit 0
fi
names=$(cut -f 1 "$1" | sort -u | paste -s -d ';' | sed 's/;/; /g')
echo "skipped parts: $(cut -f 1 "$1" | sort -u | wc -l) ($names), $(wc -l <"$1") times"
