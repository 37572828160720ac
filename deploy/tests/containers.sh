#!/usr/bin/env bash
# The cluster of deploy/compose.yaml in containers, from images of programs that are on this machine: it comes up healthy,
# takes and gives records from outside and inside, goes on when a container is killed, and leaves nothing behind. Docker runs
# for this alone, with data of its own, in a network that nobody else is in.
#
# Where something is missing that needs, it says so and is skipped; with CI=true it fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
say() { echo "test-containers: $*" >&2; }
fail() {
	say "$@"
	exit 1
}
missing=()
[ "$(id -u)" = 0 ] || missing+=("root")
for need in dockerd docker docker-compose ip nsenter unshare; do command -v "$need" >/dev/null || missing+=("$need"); done
if [ ${#missing[@]} -gt 0 ]; then
	say "skipped, not to be had here: ${missing[*]} (Debian: docker.io docker-compose iproute2 util-linux)"
	[ "${CI:-}" != true ] || exit 1
	exit 0
fi

work=$(mktemp -d)
name=firn-$$
dockerd='' composed=''
export DOCKER_HOST=unix://$work/docker.sock MINIO_ROOT_PASSWORD=$name-secret FIRN_BOOTSTRAP_SERVER=127.0.0.1:19092,127.0.0.1:29092,127.0.0.1:39092
here() { nsenter --net="/var/run/netns/$name" "$@"; }
compose() { docker-compose --project-name firn --file deploy/compose.yaml --file deploy/compose.local.yaml "$@" >>"$work/compose.log" 2>&1; }
cleanup() {
	local status=$?
	trap - EXIT
	if [ $status -ne 0 ]; then
		[ -z "$composed" ] || docker ps --all >&2 || true
		[ -z "$composed" ] || compose logs --tail 20 || true
		tail -n 200 "$work"/*.log >&2 || true
	fi
	[ -z "$composed" ] || compose down --volumes --timeout 20 || status=1
	if [ -n "$dockerd" ]; then
		kill "$dockerd" 2>/dev/null || true
		wait "$dockerd" || status=1
	fi
	! ip netns list | grep -q "^$name\b" || ip netns del "$name" || status=1
	rm -rf "$work" || status=1
	exit $status
}
trap cleanup EXIT
trap 'exit 1' INT TERM
# until_ok WHAT COMMAND... polls for a minute.
until_ok() {
	local deadline=$((SECONDS + 60))
	until "${@:2}" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || fail "not within a minute: $1"
		sleep 0.1
	done
}

ip netns add "$name"
ip -n "$name" link set lo up
# By its own name rather than by here, so that the id is dockerd's; its mounts are its own, too, and go with it.
nsenter --net="/var/run/netns/$name" unshare --mount dockerd --data-root "$work/data" --exec-root "$work/exec" --host "$DOCKER_HOST" --pidfile "$work/dockerd.pid" >"$work/dockerd.log" 2>&1 &
dockerd=$!
up() { kill -0 "$dockerd" && docker version; }
until_ok "dockerd serves" up
deploy/images.sh >>"$work/images.log" 2>&1
say "dockerd serves and has the images after $SECONDS s"

composed=yes
compose up --detach --no-build
# All but MinIO's, whose check is none.
healthy() { [ "$(docker ps --quiet --filter health=healthy | wc -l)" = 6 ]; }
until_ok "three brokers and three etcd members are healthy" healthy
say "healthy after $SECONDS s"

container() { docker ps --all --quiet --filter "label=com.docker.compose.service=$1"; }
inside() { docker exec --interactive "$(container "broker-$1")" /firn "${@:2}" --bootstrap-server broker-1:9092,broker-2:9092,broker-3:9092; }
outside() { here bin/firn "$@"; }
# holds N: the topic has the numbers up to N, once each and by partition in order, seen from outside and from inside.
holds() {
	local from
	for from in outside "inside 3"; do
		$from consume demo --from earliest --count "$1" --format '%p %v\n' >"$work/got"
		sort -s -n -k 1,1 "$work/got" | sort -c -n -k 1,1 -k 2,2 || fail "$from: not in order"
		cut -d ' ' -f 2 "$work/got" | sort -n | cmp - <(seq "$1") || fail "$from: not the records that were sent"
	done
}
outside topic create demo --partitions 3 --replication-factor 3 --config min.insync.replicas=2 >/dev/null
seq 1000 | outside produce demo
holds 1000

victim=$(container broker-2)
docker kill --signal KILL "$victim" >/dev/null
seq 1001 2000 | outside produce demo
holds 2000
docker start "$victim" >/dev/null
until_ok "the broker that was killed is healthy again" healthy
seq 2001 3000 | inside 2 produce demo
holds 3000
until_ok "the cluster is well" outside cluster status

compose down --volumes --timeout 20
composed=
[ -z "$(docker ps --all --quiet; docker volume ls --quiet)" ] || fail "something is left of the cluster"
kill "$dockerd"
wait "$dockerd"
dockerd=
ip netns del "$name"
left=$(ps -e -o args= | grep -F "$work" | grep -v -F grep || true)
[ -z "$left" ] || fail "still running: $left"
say "ok after $SECONDS s"
