#!/bin/bash
# Starts a MinIO on loopback and a `firn dev` that archives into it; Ctrl-C stops Firn, then MinIO. Both keep
# their data, and the same credentials the next time, below FIRN_DATA (~/.local/share/firn).
#
#   deploy/demo/minio.sh [ARGUMENTS OF firn dev...]
#
# MINIO_PORT (9000) is where MinIO listens.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${FIRN_DATA:-$HOME/.local/share/firn}
address=127.0.0.1:${MINIO_PORT:-9000}
minio=$(deploy/tools/install.sh --path minio)
[ -x "$minio" ] || {
	echo "minio.sh: no MinIO yet: deploy/tools/install.sh minio" >&2
	exit 1
}
[ -x bin/firn ] || {
	echo "minio.sh: no bin/firn yet: make build" >&2
	exit 1
}

mkdir -p "$data/minio"
secret=$data/minio.secret
[ -s "$secret" ] || (umask 077 && od -An -N20 -tx1 /dev/urandom | tr -d ' \n' >"$secret")
MINIO_ACCESS_KEY=firn
MINIO_SECRET_KEY=$(cat "$secret")
export MINIO_ACCESS_KEY MINIO_SECRET_KEY

# A process group of its own, so that Ctrl-C reaches Firn alone and the last uploads find the bucket still there.
set -m
MINIO_ROOT_USER=$MINIO_ACCESS_KEY MINIO_ROOT_PASSWORD=$MINIO_SECRET_KEY MINIO_UPDATE=off MINIO_BROWSER=off \
	HOME=$data "$minio" server "$data/minio" --address "$address" >"$data/minio.log" 2>&1 </dev/null &
pid=$!
set +m
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true' EXIT

# Answering connections is enough: Firn waits for the rest.
ready() { (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; }
for _ in $(seq 300); do
	kill -0 "$pid" 2>/dev/null || {
		echo "minio.sh: MinIO ended; the end of $data/minio.log (MINIO_PORT chooses another port):" >&2
		tail -n 5 "$data/minio.log" >&2
		exit 1
	}
	ready && break
	sleep 0.1
done
echo "MinIO on http://$address, user $MINIO_ACCESS_KEY, secret in $secret, data in $data/minio"
trap : INT # Firn decides when it is over
bin/firn dev --data "$data/dev-minio" --tier "minio://$address/firn/dev?tls=false" "$@"
