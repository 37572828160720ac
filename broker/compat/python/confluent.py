"""confluent-kafka as a client of the stories: one JSON command a line, one JSON answer a line."""
import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

bootstrap = sys.argv[1]
state = {}


def fields(m):
    return {"p": m.partition(), "o": m.offset(), "t": m.timestamp()[1],
            "k": (m.key() or b"").decode(), "v": m.value().decode()}


def consumer(group, **more):
    return Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, **more})


def produce(c):
    failed = []
    p = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
    began = time.monotonic()
    for i, r in enumerate(c["records"]):
        p.poll(max(0, i * c["ms"] / 1000 - (time.monotonic() - began)))
        while True:
            try:
                p.produce(c["topic"], key=r["k"], value=r["v"], partition=r["p"], timestamp=r["t"],
                          on_delivery=lambda e, _: e and failed.append(str(e)))
                break
            except BufferError:
                p.poll(0.1)
    left = p.flush(60)
    if failed or left:
        raise RuntimeError(f"{left} not delivered, {failed[:1]}")
    return {}


def pace(c):
    """Sends a record to each of n partitions every ms for t ms, none before the last is acked; says when each one's longest
    wait ended."""
    p = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})  # else the client's own defaults
    n = c["n"]
    due, longest, ended, flying, failed = [0.0] * n, [0.0] * n, [0.0] * n, [False] * n, []

    def acked(i):
        def done(e, _):
            now = time.time()
            if e:
                failed.append(str(e))
            elif now - due[i] > longest[i]:
                longest[i], ended[i] = now - due[i], now
            flying[i] = False
            due[i] += c["ms"] / 1000
        return done

    end = time.time() + c["t"] / 1000
    while time.time() < end:
        for i in range(n):
            if not flying[i] and time.time() >= due[i]:
                flying[i], due[i] = True, time.time()
                p.produce(c["topic"], key="k", value="v", partition=i, on_delivery=acked(i))
        p.poll(0.005)
    left = p.flush(60)
    if failed or left:
        raise RuntimeError(f"{left} not delivered, {failed[:1]}")
    return {"ended": [int(1000 * t) for t in ended]}


def read(c):
    k = consumer("unused")
    k.assign([TopicPartition(c["topic"], c["p"], c["offset"])])
    out = []
    while len(out) < c["n"]:
        m = k.poll(30)
        if m is None:
            raise RuntimeError(f"nothing after {len(out)} records")
        if m.error():
            raise RuntimeError(str(m.error()))
        out.append(fields(m))
    k.close()
    return {"records": out}


def offset(c):
    k = consumer("unused")
    found = k.offsets_for_times([TopicPartition(c["topic"], c["p"], c["t"])], timeout=30)[0]
    k.close()
    if found.error:
        raise RuntimeError(str(found.error))
    return {"offset": found.offset}


def join(c):
    state["topic"] = c["topic"]
    state["member"] = consumer(c["group"], **{"heartbeat.interval.ms": 100, "partition.assignment.strategy": "range"})
    state["member"].subscribe([c["topic"]])
    return {}


def next_(c):
    out = []
    for m in state["member"].consume(100, c["ms"] / 1000):
        if m.error():
            raise RuntimeError(str(m.error()))
        out.append(fields(m))
    return {"records": out}


def commit(c):
    done = state["member"].commit(offsets=[TopicPartition(state["topic"], int(p), o) for p, o in c["offsets"].items()],
                                  asynchronous=False)
    for tp in done:
        if tp.error:
            raise RuntimeError(str(tp.error))
    return {}


ops = {"produce": produce, "pace": pace, "read": read, "offset": offset, "join": join, "next": next_, "commit": commit}
for line in sys.stdin:
    command = json.loads(line)
    try:
        result = ops[command["op"]](command)
    except Exception as e:  # whatever it is, the story wants to hear of it
        result = {"error": repr(e)}
    print(json.dumps(result), flush=True)
if "member" in state:
    state["member"].close()
