#!/usr/bin/env bash
# A real log shipper, a real bucket: rsyslog ships this machine's own logs into a topic with small segments, which
# settle into a MinIO; local copies go; then the whole history is replayed from offset 0 and from a timestamp in the
# middle and compared line by line with what rsyslog says it sent.
#
#   deploy/demo/logs.sh              one broker
#   deploy/demo/logs.sh --cluster    three, on three etcd members: in the middle of the replay the one that leads is killed
#
# LINES_WANTED (200000) is how many lines to ship at least; with few of them the replay is over before anybody is killed.
set -euo pipefail
cd "$(dirname "$0")/../.."
want=${LINES_WANTED:-200000}
fail() {
  echo "demo-logs: $*" >&2
  exit 1
}
cluster=
case "$*" in
'') ;;
--cluster) cluster=yes ;;
*) fail "unknown argument: $*" ;;
esac

missing=()
for need in go curl logger python3; do command -v "$need" >/dev/null || missing+=("$need"); done
[ -x /usr/sbin/rsyslogd ] || missing+=(rsyslog)
ls /usr/lib/*/rsyslog/omkafka.so >/dev/null 2>&1 || missing+=(rsyslog-kafka)
minio=$(deploy/tools/install.sh --path minio)
[ -x "$minio" ] || missing+=("minio (make tools)")
[ ${#missing[@]} -eq 0 ] || fail "not on this machine: ${missing[*]}"

work=$(mktemp -d)
pids=()
cleanup() {
  local status=$?
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  if [ $status -ne 0 ]; then
    for f in "$work"/*.log "$work"/cluster/broker-*.log; do
      [ ! -s "$f" ] || { echo "--- end of ${f##*/}"; tail -n 20 "$f"; }
    done
  fi
  rm -rf "$work"
}
trap cleanup EXIT
# ports N prints so many that nobody listens on.
ports() {
  python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
}
now() { date +%s.%N; }
# until_ok COMMAND...: polls for at most two minutes.
until_ok() {
  for _ in $(seq 1200); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  fail "gave up waiting for: $*"
}
# field NAME [max] is the least of what the topic's replicas have, or the greatest.
field() { bin/firn tier status logs --json | python3 -c "import json,sys; print(${2:-min}(p['$1'] for p in json.load(sys.stdin)))"; }
# metric OPERATION counts the requests to the bucket of all brokers that run.
metric() {
  for http in "${https[@]}"; do curl -fsS "http://$http/metrics" 2>/dev/null || true; done |
    awk -v op="$1" '$1 ~ "^firn_objstore_operations_total\\{" && $1 ~ "op=\"" op "\"" {s+=$2} END {print s+0}'
}

go build -o bin/firn ./cmd/firn
mkdir -p "$work/minio" "$work/in" "$work/state"

read -ra port <<<"$(ports 13)"
address() { for p in "$@"; do echo "127.0.0.1:$p"; done; }
if [ -n "$cluster" ]; then
  mapfile -t kafkas < <(address "${port[@]:0:3}")
  mapfile -t https < <(address "${port[@]:3:3}")
  export FIRN_DATA=$work BROKER_PORTS="${port[*]:0:3}" CONSOLE_PORTS="${port[*]:3:3}" ETCD_PORTS="${port[*]:6:3}"
  export ETCD_PEER_PORTS="${port[*]:9:3}" MINIO_PORT=${port[12]}
  serve() { exec deploy/demo/cluster.sh log.retention.check.interval.ms=500; }
else
  kafkas=("127.0.0.1:${port[0]}") https=("127.0.0.1:${port[1]}") bucket=127.0.0.1:${port[2]}
  export MINIO_ROOT_USER=firn MINIO_ROOT_PASSWORD=firn-demo-secret MINIO_UPDATE=off MINIO_BROWSER=off
  export MINIO_ACCESS_KEY=$MINIO_ROOT_USER MINIO_SECRET_KEY=$MINIO_ROOT_PASSWORD
  HOME=$work "$minio" server "$work/minio" --address "$bucket" >"$work/minio.log" 2>&1 &
  pids+=($!)
  until_ok curl -fsS "http://$bucket/minio/health/ready"
  serve() {
    exec bin/firn dev --data "$work/firn" --listen "${kafkas[0]}" --http "${https[0]}" --tier "minio://$bucket/firn/demo?tls=false" \
      --set log.retention.check.interval.ms=500
  }
fi
FIRN_BOOTSTRAP_SERVER=$(IFS=,; echo "${kafkas[*]}")
export FIRN_BOOTSTRAP_SERVER
start_firn() {
  serve >>"$work/firn.out" 2>>"$work/firn.log" &
  firn=$!
  pids+=("$firn")
  for http in "${https[@]}"; do until_ok curl -fsS "http://$http/readyz"; done
}
start_firn
bin/firn topic create logs --partitions 1 --config segment.bytes=1048576 --config local.retention.ms=1000 \
  --config tier.max.lag.ms=1000 --config tier.min.bytes=1 --config retention.ms=-1

# This machine's own log lines, repeated until there are enough; a tenth comes through logger besides.
{
  cat /var/log/dpkg.log* /var/log/apt/*.log /var/log/alternatives.log /var/log/*.log 2>/dev/null | zcat -f || true
  dmesg 2>/dev/null || true
} | tr -d '\000' | awk 'length($0) > 0 && length($0) < 4000' >"$work/own.txt" || true
own=$(wc -l <"$work/own.txt")
[ "$own" -gt 0 ] || fail "this machine has no logs to read"
python3 - "$work/own.txt" "$work/in/machine.log.tmp" "$want" <<'PY'
import sys
lines = open(sys.argv[1], encoding="utf-8", errors="replace").read().split("\n")[:-1]
want, n = int(sys.argv[3]), 0
with open(sys.argv[2], "w", encoding="utf-8") as out:
    while n < want:
        for line in lines:
            out.write(f"{n} {line}\n")
            n += 1
PY
machine=$(wc -l <"$work/in/machine.log.tmp")
logged=$((want / 10))

cat >"$work/rsyslog.conf" <<CONF
global(workDirectory="$work/state" maxMessageSize="64k")
main_queue(queue.type="LinkedList" queue.size="1000000" queue.workerThreads="1" queue.dequeueBatchSize="512"
  queue.timeoutEnqueue="100000")
module(load="imfile" mode="inotify")
module(load="imuxsock" SysSock.Use="off")
module(load="omkafka")
template(name="stored" type="string" string="%msg%\n")
template(name="shipped" type="string" string="%msg%")
input(type="imfile" file="$work/in/machine.log" tag="machine:")
input(type="imuxsock" socket="$work/log.sock" ratelimit.interval="0" useSpecialParser="off" parseHostname="off")
action(type="omfile" file="$work/sent.txt" template="stored" asyncWriting="off" flushOnTXEnd="on")
action(type="omkafka" broker=[$(printf '"%s",' "${kafkas[@]}" | sed 's/,$//')] topic="logs" template="shipped" errorFile="$work/kafka-errors"
  confParam=["enable.idempotence=true", "compression.codec=none", "queue.buffering.max.messages=1000000", "linger.ms=20"]
  action.resumeRetryCount="-1")
CONF
began=$(now)
/usr/sbin/rsyslogd -n -f "$work/rsyslog.conf" -i "$work/rsyslog.pid" >"$work/rsyslog.log" 2>&1 &
pids+=($!)
until_ok test -S "$work/log.sock"
split -n l/6 "$work/in/machine.log.tmp" "$work/in/part-"
for part in "$work"/in/part-*; do # over some seconds, so that there is a middle to seek to
  cat "$part" >>"$work/in/machine.log"
  sleep 1
done
seq "$logged" | sed 's/^/a line by logger, number /' | logger -u "$work/log.sock" -t demo
lines=$((machine + logged))
ends_at() { [ "$(field end)" -ge "$1" ]; }
until_ok ends_at "$lines"
shipped=$(now)
[ ! -s "$work/kafka-errors" ] || fail "rsyslog could not deliver some lines"
sent=$(wc -l <"$work/sent.txt")
end=$(field end)
[ "$sent" = "$lines" ] && [ "$end" = "$lines" ] || fail "$lines lines went in, rsyslog sent $sent, the topic has $end"

middle=$((lines / 2))
# The leader seals what it has; followers keep their last segment until it is full.
in_tier() { [ "$(field local_start max)" = "$lines" ] && [ "$(field local_start)" -gt "$middle" ]; }
until_ok in_tier
tiered=$(now)
bytes_in=$(stat -c %s "$work/sent.txt")
stored=$(field tiered_bytes)
objects=$(field tiered_segments)
puts=$(metric put)
from="from an empty local disk"
kill_leader=true
if [ -n "$cluster" ]; then
  leader=$(bin/firn topic describe logs --json | python3 -c "import json,sys; print(json.load(sys.stdin)[0]['partition_list'][0]['leader'])")
  victim=$(awk -v name="broker-$leader" '$1 == name && $2 == "process" {print $3}' "$work/firn.out")
  from="from an empty local disk; broker $leader, which led, was killed after $middle lines"
  kill_leader="kill -KILL $victim"
  unset "https[leader - 1]" # its requests die with it
fi
gets_before=$(metric get)
t0=$(now)
bin/firn consume logs --from 0 --partition 0 --count "$lines" --format '%v\n' |
  LC_ALL=C awk -v middle="$middle" -v command="$kill_leader" 'NR == middle {system(command)} 1' >"$work/replayed.txt"
t1=$(now)
cmp "$work/sent.txt" "$work/replayed.txt"
gets_replay=$(($(metric get) - gets_before))
[ "$gets_replay" -gt 0 ] || fail "nobody who is still there has asked the bucket for anything: the replay was too short"

bin/firn consume logs --from 0 --partition 0 --count "$lines" --format '%o %T\n' >"$work/times.txt"
stamp=$(awk -v m="$middle" '$1 == m {print $2}' "$work/times.txt")
first=$(awk -v s="$stamp" '$2 >= s {print $1; exit}' "$work/times.txt")
at=@$(python3 -c "import datetime,sys; print(datetime.datetime.fromtimestamp(int(sys.argv[1])/1000, datetime.timezone.utc).isoformat(timespec='milliseconds').replace('+00:00','Z'))" "$stamp")
# Started again, the broker has nothing of the bucket in memory.
kill -TERM "$firn"
wait "$firn"
start_firn
gets_before=$(metric get)
t2=$(now)
bin/firn consume logs --from "$at" --partition 0 --count 1 --format '%v\n' >"$work/one.txt"
t3=$(now)
gets_seek=$(($(metric get) - gets_before))
sed -n "$((first + 1))p" "$work/sent.txt" | cmp - "$work/one.txt"
bin/firn consume logs --from "$at" --partition 0 --count $((lines - first)) --format '%v\n' >"$work/rest.txt"
tail -n +$((first + 1)) "$work/sent.txt" | cmp - "$work/rest.txt"

python3 - <<PY
lines, bytes_in, stored = $lines, $bytes_in, $stored
print(f"shipped        {lines} lines, {bytes_in} bytes, by rsyslog in {$shipped - $began:.1f} s")
print(f"in the bucket  {stored} bytes in $objects segment objects: 1/{bytes_in / stored:.2f} of what was shipped; all of it {$tiered - $shipped:.1f} s later")
print(f"requests       $puts PUT for all; $gets_replay GET for the replay, $gets_seek for the time seek")
print(f"replay         {lines} lines equal to what was sent, {bytes_in / ($t1 - $t0) / 1e6:.1f} MB/s $from")
print(f"time seek      to {'$at'}: offset $first, first record after {($t3 - $t2) * 1000:.0f} ms (process start included), {lines - $first} lines equal")
PY
echo "demo-logs: every line came back as it was sent"
