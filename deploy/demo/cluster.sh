#!/usr/bin/env bash
# Three etcd members, a MinIO and three brokers on loopback, until Ctrl-C; then the brokers stop one by one, then
# MinIO, then etcd. All keep their data below FIRN_DATA/cluster (~/.local/share/firn/cluster) for the next time.
#
#   deploy/demo/cluster.sh [KEY=VALUE...]    what 'firn config' lists, for all brokers
#   deploy/demo/cluster.sh --remove          removes the data of a cluster that does not run
#
# BROKER_PORTS, CONSOLE_PORTS, ETCD_PORTS and ETCD_PEER_PORTS (three numbers each) and MINIO_PORT choose other ports;
# etcd's members remember theirs, so those go with the data. FIRN_BIN is another firn than bin/firn.
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${FIRN_DATA:-$HOME/.local/share/firn}/cluster
firn=${FIRN_BIN:-$PWD/bin/firn}
read -ra broker_ports <<<"${BROKER_PORTS:-9092 9093 9094}"
read -ra console_ports <<<"${CONSOLE_PORTS:-9644 9645 9646}"
read -ra etcd_ports <<<"${ETCD_PORTS:-2379 2389 2399}"
read -ra peer_ports <<<"${ETCD_PEER_PORTS:-2380 2390 2400}"
bucket=127.0.0.1:${MINIO_PORT:-9000}

say() { echo "cluster.sh: $*" >&2; }
fail() {
	say "$@"
	exit 1
}
etcd=$(deploy/tools/install.sh --path etcd) minio=$(deploy/tools/install.sh --path minio)
# join SEPARATOR PREFIX WORD... prints the words, each with the prefix, with the separator between.
join() {
	local out='' word
	for word in "${@:3}"; do out+=${out:+$1}$2$word; done
	echo "$out"
}
ended() { ! kill -0 "$1" 2>/dev/null; }

if pid=$(cat "$data/pid" 2>/dev/null) && ! ended "$pid"; then
	fail "the cluster in $data runs already, as process $pid (if that is something else, remove $data/pid)"
fi
if [ "${1:-}" = --remove ]; then
	# By name, so that a wrong FIRN_DATA costs nobody anything.
	rm -rf "$data"/{etcd,broker}-[123] "$data"/{minio,.minio} "$data"/{etcd-[123],broker-[123],minio}.{log,properties} "$data"/{credentials,pid}
	[ ! -d "$data" ] || rmdir "$data"
	say "removed $data"
	exit
fi
for need in "$etcd" "$minio" "$firn"; do
	[ -x "$need" ] || fail "there is no $need yet: deploy/tools/install.sh etcd minio; make build"
done
mkdir -p "$data"
echo $$ >"$data/pid"

# What runs, in the order in which it was started. A group each, so that Ctrl-C reaches nobody but this script; where
# the kernel can do that, they die with it even if it is killed.
names=() pids=() told=()
bond=()
! setpriv --pdeathsig KILL true 2>/dev/null || bond=(setpriv --pdeathsig KILL)
# start NAME PROGRAM...
start() {
	set -m
	${bond[@]+"${bond[@]}"} "${@:2}" >>"$data/$1.log" 2>&1 </dev/null &
	set +m
	disown # the script itself tells of deaths
	names+=("$1") pids+=($!) told+=('')
}
# look tells of what has ended since it last looked.
look() {
	local i news=1
	for i in "${!pids[@]}"; do
		[ -z "${told[i]}" ] && ended "${pids[i]}" || continue
		told[i]=yes news=0
		say "${names[i]} (process ${pids[i]}) has ended; the end of $data/${names[i]}.log:"
		tail -n 3 "$data/${names[i]}.log" >&2
		case ${names[i]} in
		broker-*) say "in another terminal this starts it again, until Ctrl-C there: $(again "${names[i]}")" ;;
		esac
	done
	return $news
}
again() { echo "env \$(cat $data/credentials) $firn broker --config $data/$1.properties"; }

stopping=
# stop ends all in the reverse order; another Ctrl-C ends it at once.
stop() {
	local i tries
	trap 'kill -KILL "${pids[@]}" 2>/dev/null || true' INT
	trap : TERM HUP
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		[ -z "${told[i]}" ] && kill "${pids[i]}" 2>/dev/null || continue
		kill -CONT "${pids[i]}" 2>/dev/null || true # somebody may have stopped it to see what happens
		for ((tries = 0; tries < 600; tries++)); do
			ended "${pids[i]}" && break
			sleep 0.1 || true
		done
		ended "${pids[i]}" || {
			say "${names[i]} (process ${pids[i]}) does not end, and is killed"
			kill -KILL "${pids[i]}" 2>/dev/null || true
		}
	done
	rm -f "$data/pid"
	[ -z "$stopping" ] || echo "All is stopped; the data is in $data."
}
trap stop EXIT
trap 'stopping=yes' INT TERM HUP

# answers ADDRESS PATH: an HTTP server there says 200.
answers() (
	exec 3<>"/dev/tcp/${1%:*}/${1#*:}" || exit
	printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$2" "$1" >&3
	read -r -t 10 _ code _ <&3 && [ "$code" = 200 ]
) 2>/dev/null
# ready NAME ADDRESS PATH waits until it is, for two minutes at most.
ready() {
	local deadline=$((SECONDS + 120))
	until answers "$2" "$3"; do
		[ -z "$stopping" ] || exit 0
		! look || fail "that is needed; if its port was taken: BROKER_PORTS and so on choose others"
		[ $SECONDS -lt $deadline ] || fail "$1 is not ready after two minutes; see $data/$1.log"
		sleep 0.1 || true
	done
}

members=
for i in 0 1 2; do members+=${members:+,}etcd-$((i + 1))=http://127.0.0.1:${peer_ports[i]}; done
for i in 0 1 2; do
	client=http://127.0.0.1:${etcd_ports[i]} peer=http://127.0.0.1:${peer_ports[i]}
	start etcd-$((i + 1)) "$etcd" --name etcd-$((i + 1)) --data-dir "$data/etcd-$((i + 1))" --log-level warn \
		--listen-client-urls "$client" --advertise-client-urls "$client" \
		--listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "$members" \
		--auto-compaction-mode periodic --auto-compaction-retention 1h --quota-backend-bytes $((8 << 30))
done

[ -s "$data/credentials" ] || (
	umask 077
	printf 'MINIO_ACCESS_KEY=firn\nMINIO_SECRET_KEY=%s\n' "$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')" >"$data/credentials"
)
set -a
# shellcheck source=/dev/null
. "$data/credentials"
MINIO_ROOT_USER=$MINIO_ACCESS_KEY MINIO_ROOT_PASSWORD=$MINIO_SECRET_KEY MINIO_UPDATE=off MINIO_BROWSER=off
set +a
mkdir -p "$data/minio"
start minio env HOME="$data" "$minio" server "$data/minio" --address "$bucket"
for i in 0 1 2; do ready etcd-$((i + 1)) "127.0.0.1:${etcd_ports[i]}" /health; done
ready minio "$bucket" /minio/health/ready

settings=()
for setting in "$@"; do settings+=(--set "$setting"); done
for i in 0 1 2; do
	cat >"$data/broker-$((i + 1)).properties" <<-SETTINGS
		node.id=$((i + 1))
		log.dirs=$data/broker-$((i + 1))
		listeners=PLAINTEXT://127.0.0.1:${broker_ports[i]}
		http.listen=127.0.0.1:${console_ports[i]}
		etcd.endpoints=$(join , 127.0.0.1: "${etcd_ports[@]}")
		tier.url=minio://$bucket/firn/cluster?tls=false
		num.partitions=3
		default.replication.factor=3
		min.insync.replicas=2
	SETTINGS
	start broker-$((i + 1)) "$firn" broker --config "$data/broker-$((i + 1)).properties" ${settings[@]+"${settings[@]}"}
done
for i in 0 1 2; do ready broker-$((i + 1)) "127.0.0.1:${console_ports[i]}" /readyz; done

bootstrap=$(join , 127.0.0.1: "${broker_ports[@]}")
cat <<SCREEN
Three brokers are ready.

  clients  $bootstrap
  http     $(join ' ' http://127.0.0.1: "${console_ports[@]}")
  etcd     $(join , 127.0.0.1: "${etcd_ports[@]}")
  tier     minio://$bucket/firn/cluster, its keys in $data/credentials
  data     $data

$(for i in "${!pids[@]}"; do printf '  %-9sprocess %s\n' "${names[i]}" "${pids[i]}"; done)

Try this in another terminal; topics have three replicas, of which one may be missing (kill -9 ${pids[4]} is broker 1):

  export FIRN_BOOTSTRAP_SERVER=$bootstrap
  $firn topic create demo
  echo hello | kcat -b \$FIRN_BOOTSTRAP_SERVER -P -t demo
  $firn consume demo --from earliest

Ctrl-C stops it all.
SCREEN
while [ -z "$stopping" ]; do
	look || true
	sleep 0.5 || true
done
echo "Stopping."
