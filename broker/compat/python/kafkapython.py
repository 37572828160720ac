"""kafka-python as a client of the stories: one JSON command a line, one JSON answer a line."""
import json
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

bootstrap = sys.argv[1]
state = {}


def fields(m):
    return {"p": m.partition, "o": m.offset, "t": m.timestamp, "k": (m.key or b"").decode(), "v": m.value.decode()}


def consumer(**more):
    return KafkaConsumer(bootstrap_servers=bootstrap.split(","), enable_auto_commit=False, auto_offset_reset="earliest",
                         fetch_max_wait_ms=100, **more)


def produce(c):
    p = KafkaProducer(bootstrap_servers=bootstrap.split(","), enable_idempotence=True)
    sent = []
    began = time.monotonic()
    for r in c["records"]:
        time.sleep(max(0, len(sent) * c["ms"] / 1000 - (time.monotonic() - began)))
        sent.append(p.send(c["topic"], key=r["k"].encode(), value=r["v"].encode(), partition=r["p"], timestamp_ms=r["t"]))
    for f in sent:
        f.get(timeout=60)
    p.close()
    return {}


def read(c):
    k = consumer(group_id=None)
    tp = TopicPartition(c["topic"], c["p"])
    k.assign([tp])
    k.seek(tp, c["offset"])
    out = []
    while len(out) < c["n"]:
        got = k.poll(timeout_ms=30000, max_records=c["n"] - len(out))
        if not got:
            raise RuntimeError(f"nothing after {len(out)} records")
        for ms in got.values():
            out.extend(fields(m) for m in ms)
    k.close()
    return {"records": out}


def offset(c):
    k = consumer(group_id=None)
    tp = TopicPartition(c["topic"], c["p"])
    found = k.offsets_for_times({tp: c["t"]})[tp]
    k.close()
    return {"offset": found.offset}


def join(c):
    state["topic"] = c["topic"]
    state["member"] = consumer(group_id=c["group"], heartbeat_interval_ms=100)
    state["member"].subscribe([c["topic"]])
    return {}


def next_(c):
    out = []
    for ms in state["member"].poll(timeout_ms=c["ms"]).values():
        out.extend(fields(m) for m in ms)
    return {"records": out}


def commit(c):
    offsets = {}
    for p, o in c["offsets"].items():
        try:
            offsets[TopicPartition(state["topic"], int(p))] = OffsetAndMetadata(o, "", -1)
        except TypeError:  # 2.0 knows no leader epoch
            offsets[TopicPartition(state["topic"], int(p))] = OffsetAndMetadata(o, "")
    state["member"].commit(offsets)
    return {}


ops = {"produce": produce, "read": read, "offset": offset, "join": join, "next": next_, "commit": commit}
for line in sys.stdin:
    command = json.loads(line)
    try:
        result = ops[command["op"]](command)
    except Exception as e:  # whatever it is, the story wants to hear of it
        result = {"error": repr(e)}
    print(json.dumps(result), flush=True)
if "member" in state:
    state["member"].close()
