#!/usr/bin/env bash
# restic, which retention is compared with and prune is measured against: build | path. RESTIC_BIN names a ready program.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/peers.sh"

peer_main restic "$@"
