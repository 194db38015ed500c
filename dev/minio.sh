#!/usr/bin/env bash
# MinIO with one drive, the second S3 server of the tests: build | start DIR [OWNER_PID] | stop DIR.
# It fsyncs, which makes it the slower of the two. MINIO_BIN names a ready program.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run_server() {
  mkdir -p "$1/data"
  MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_REGION=$AWS_REGION \
    MINIO_UPDATE=off MINIO_BROWSER=off MINIO_CI_CD=1 \
    launch "$1" "$SERVER_BIN" server --quiet --address "127.0.0.1:$2" "$1/data"
}

server_main minio v0.0.0-20260212201848-7aac2a2c5b7c github.com/minio/minio "${MINIO_BIN:-}" /minio/health/ready "$@"
