package partition

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

func TestAppendAndFetchKeepBytesAndOffsets(t *testing.T) {
	for name, conf := range map[string]topic.Config{"durable": durableConfig(), "relaxed": relaxedConfig()} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			r := g.lead(conf)
			sent := records(t, 3, "abc")
			want := append([]byte(nil), sent...)
			if base := appendOK(t, r, sent); base != 0 {
				t.Fatalf("base offset %d", base)
			}
			if base := appendOK(t, r, records(t, 2, "def")); base != 3 {
				t.Fatalf("base offset %d", base)
			}
			p, got := fetch(t, g, r, 1, 1<<20)
			if p.Err != nil || p.HighWatermark != 5 || p.LastStable != 5 || p.LogStart != 0 || len(got) != 2 {
				t.Fatalf("%+v, %d batches", p, len(got))
			}
			// Only base offset and leader epoch may differ from what was sent.
			if b := got[0]; b.LeaderEpoch() != 1 || string(b[16:]) != string(want[16:]) {
				t.Error("stored bytes differ from those sent")
			}
			if o := r.Offsets(); o.HighWatermark != 5 || o.LogEnd != 5 || o.LogStart != 0 || o.TierEnd != -1 {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestAppendRefusesBadBatches(t *testing.T) {
	build := func(change func(w *batch.Builder), spoil func(b []byte) []byte) []byte {
		w := &batch.Builder{}
		if change != nil {
			change(w)
		}
		w.Add(nowMs(), []byte("k"), []byte("v"))
		w.Add(nowMs(), []byte("k"), []byte("w"))
		b, err := w.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if spoil != nil {
			b = spoil(b)
		}
		return b
	}
	at := func(i int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[i:], v); return b }
	}
	for name, c := range map[string]struct {
		records []byte
		want    error
	}{
		"nothing":          {nil, ErrInvalidRecord},
		"two batches":      {build(nil, func(b []byte) []byte { return append(b, b...) }), ErrInvalidRecord},
		"cut off":          {build(nil, func(b []byte) []byte { return b[:len(b)-1] }), ErrInvalidRecord},
		"trailing bytes":   {build(nil, func(b []byte) []byte { return append(b, 0) }), ErrInvalidRecord},
		"flipped bit":      {build(nil, func(b []byte) []byte { b[len(b)-2] ^= 1; return b }), ErrCorruptBatch},
		"magic 1":          {build(nil, at(16, 1)), ErrInvalidRecord},
		"magic 3":          {build(nil, at(16, 3)), ErrCorruptBatch},
		"unknown codec":    {build(nil, func(b []byte) []byte { b[22] |= 7; return reCRC(b) }), ErrCodec},
		"control":          {build(func(w *batch.Builder) { w.SetFlags(false, true) }, nil), ErrInvalidRecord},
		"transactional":    {build(func(w *batch.Builder) { w.SetProducer(1, 0, 0); w.SetFlags(true, false) }, nil), ErrTransactional},
		"base offset":      {build(func(w *batch.Builder) { w.BaseOffset = 9 }, nil), ErrInvalidRecord},
		"log append time":  {build(nil, func(b []byte) []byte { batch.Batch(b).SetLogAppendTime(nowMs()); return b }), ErrInvalidTimestamp},
		"count":            {build(nil, func(b []byte) []byte { b[60] = 1; return reCRC(b) }), ErrInvalidRecord},
		"records too few":  {build(nil, func(b []byte) []byte { b[26]++; b[60]++; return reCRC(b) }), ErrInvalidRecord},
		"records too many": {build(nil, func(b []byte) []byte { b[26]--; b[60]--; return reCRC(b) }), ErrInvalidRecord},
		"no sequence":      {build(func(w *batch.Builder) { w.SetProducer(1, 0, -1) }, nil), ErrInvalidRecord},
		"producer epoch":   {build(func(w *batch.Builder) { w.SetProducer(1, -1, 0) }, nil), ErrInvalidRecord},
		"producer id":      {build(func(w *batch.Builder) { w.SetProducer(-2, 0, 0) }, nil), ErrInvalidRecord},
		"larger than most": {build(func(w *batch.Builder) { w.Add(nowMs(), nil, make([]byte, 5000)) }, nil), ErrTooLarge},
		"far future":       {build(func(w *batch.Builder) { w.Add(nowMs()+2*3600_000, nil, nil) }, nil), ErrInvalidTimestamp},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			conf := durableConfig()
			conf.MaxMessageBytes = 4096
			r := g.lead(conf)
			a := start(r, AcksAll, c.records).wait(t)
			if !errors.Is(a.Err, c.want) || a.BaseOffset != -1 {
				t.Fatalf("got %v at %d, want %v", a.Err, a.BaseOffset, c.want)
			}
			if r.Offsets().LogEnd != 0 {
				t.Error("it was appended")
			}
		})
	}
}

// reCRC makes the CRC right again, so that the check behind it is reached.
func reCRC(b []byte) []byte {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// Offsets are given by what headers claim, which of compressed batches nobody looks behind. Claims that together are
// more than one write can take do not have those refused that they meet in the queue.
func TestBatchesOfVeryManyOffsetsLeaveOthersAlone(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	conf := durableConfig()
	conf.MaxMessageBytes = math.MaxInt32
	r := g.lead(conf)
	const most = math.MaxInt32 / minRecordBytes
	r.append.Lock() // so that they meet in the queue
	var acks [10]*ack
	var group sync.WaitGroup
	for i := range acks {
		recs := claiming(t, most)
		if i == 5 {
			recs = records(t, 1, "small")
		}
		a := &ack{done: make(chan struct{})}
		acks[i] = a
		group.Go(func() {
			a.Records, a.Acks, a.Done = recs, AcksAll, a
			r.Append(&a.Append)
		})
		until(t, "it is queued", func() bool { return queued(r) == uint64(i+1) })
	}
	r.append.Unlock()
	group.Wait()
	next := int64(0)
	for i, a := range acks {
		if a.wait(t); a.Err != nil || a.BaseOffset != next {
			t.Errorf("batch %d: %v at %d, want %d", i, a.Err, a.BaseOffset, next)
		}
		if next += most; i == 5 {
			next += 1 - most
		}
	}
	if a := start(r, AcksAll, claiming(t, most+1)).wait(t); !errors.Is(a.Err, ErrInvalidRecord) {
		t.Errorf("a batch that would decompress to more than any may: %v", a.Err)
	}
}

// claiming is a compressed batch of one record that claims n.
func claiming(t *testing.T, n uint32) []byte {
	t.Helper()
	b := build(t, &batch.Builder{Codec: batch.LZ4}, 1, "v")
	binary.BigEndian.PutUint32(b[23:], n-1)
	binary.BigEndian.PutUint32(b[57:], n)
	return reCRC(b)
}

// What one write takes is bounded, in bytes and in batches, but never nothing.
func TestGroupsAreBounded(t *testing.T) {
	var q appendQueue
	for _, size := range []int{maxGroupBytes + 1, maxGroupBytes / 2, maxGroupBytes / 2, 1000} {
		q.push(&Append{batch: make(batch.Batch, size)})
	}
	for range maxGroupBatches {
		q.push(&Append{batch: make(batch.Batch, batch.HeaderLen)})
	}
	for i, want := range []int{1, 2, maxGroupBatches, 1, 0} {
		if got := len(q.take(nil)); got != want {
			t.Errorf("group %d has %d batches, want %d", i, got, want)
		}
	}
}

// A producer's first batch cannot be taken for now. Those that were in flight behind it are refused too, so that its retry
// comes first; once it did they follow.
func TestNothingOvertakesAFirstBatchThatWasRefused(t *testing.T) {
	refusals := map[string]func(t *testing.T, r *Replica, inject *faultfs.Injector) (undo func()){
		"no space": func(_ *testing.T, _ *Replica, inject *faultfs.Injector) func() {
			return inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Err: syscall.ENOSPC}).Remove
		},
		"too few in sync": func(t *testing.T, r *Replica, _ *faultfs.Injector) func() {
			conf := durableConfig()
			conf.MinInsync = 2
			r.SetConfig(conf)
			if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1}}); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := r.BecomeLeader(alone(1)); err != nil {
					t.Fatal(err)
				}
			}
		},
		"not led": func(t *testing.T, r *Replica, _ *faultfs.Injector) func() {
			if err := r.BecomeFollower(State{Leader: 2, LeaderEpoch: 2}); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := r.BecomeLeader(alone(3)); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for name, refuse := range refusals {
		t.Run(name, func(t *testing.T) {
			var inject faultfs.Injector
			g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
			r := g.lead(durableConfig())
			undo := refuse(t, r, &inject)
			if a := start(r, AcksAll, idempotent(t, 1, 0, 0, 2, "first")).wait(t); a.Err == nil {
				t.Fatal("taken")
			}
			undo()
			if a := start(r, AcksAll, idempotent(t, 1, 0, 2, 1, "second")).wait(t); !errors.Is(a.Err, ErrOutOfOrderSequence) {
				t.Errorf("the second overtakes: %v at %d", a.Err, a.BaseOffset)
			}
			if base := appendOK(t, r, idempotent(t, 2, 0, 7, 1, "other")); base != 0 {
				t.Errorf("another producer is at %d", base)
			}
			for i, recs := range [][]byte{idempotent(t, 1, 0, 0, 2, "first"), idempotent(t, 1, 0, 2, 1, "second")} {
				if base := appendOK(t, r, recs); base != int64(1+2*i) {
					t.Errorf("batch %d is at %d", i, base)
				}
			}
		})
	}
}

// queued is how many appends ever entered the queue.
func queued(r *Replica) uint64 {
	r.queue.Lock()
	defer r.queue.Unlock()
	return r.queue.pushed
}

func TestAppendNamesRecordsAtFault(t *testing.T) {
	old := nowMs() - 10*24*3600_000
	for name, c := range map[string]struct {
		conf  func(*topic.Config)
		codec batch.Codec
		want  error
		index []int32
	}{
		"keyless":        {func(c *topic.Config) { c.Cleanup = topic.Cleanup{Compact: true} }, batch.None, ErrInvalidRecord, []int32{1, 2}},
		"keyless in lz4": {func(c *topic.Config) { c.Cleanup = topic.Cleanup{Compact: true} }, batch.LZ4, ErrInvalidRecord, []int32{1, 2}},
		"too old":        {func(c *topic.Config) { c.Timestamp.BeforeMaxMs = 24 * 3600_000 }, batch.Zstd, ErrInvalidTimestamp, []int32{2}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			conf := durableConfig()
			c.conf(&conf)
			r := g.lead(conf)
			w := batch.Builder{Codec: c.codec}
			w.Add(nowMs(), []byte("k"), []byte("v"))
			w.Add(nowMs(), nil, []byte("v"))
			w.Add(old, nil, []byte("v"))
			b, err := w.Build(nil)
			if err != nil {
				t.Fatal(err)
			}
			a := start(r, AcksAll, b).wait(t)
			if !errors.Is(a.Err, c.want) || len(a.RecordErrors) != len(c.index) {
				t.Fatalf("%v %+v", a.Err, a.RecordErrors)
			}
			for i, e := range a.RecordErrors {
				if e.Index != c.index[i] {
					t.Errorf("record %d blamed, want %d", e.Index, c.index[i])
				}
			}
		})
	}
}

func TestAppendStampsLogAppendTime(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	conf := durableConfig()
	conf.Timestamp.LogAppendTime = true
	r := g.lead(conf)
	before := nowMs()
	w := &batch.Builder{}
	w.SetProducer(5, 0, 0)
	w.Add(17, nil, []byte("v")) // far in the past, which does not matter
	b, _ := w.Build(nil)
	retry := append([]byte(nil), b...)
	a := start(r, AcksAll, b).wait(t)
	if a.Err != nil || a.LogAppendTime < before {
		t.Fatalf("%v, time %d", a.Err, a.LogAppendTime)
	}
	_, got := fetch(t, g, r, 0, 1<<20)
	if !got[0].LogAppendTime() || got[0].MaxTimestamp() != a.LogAppendTime {
		t.Error("the batch does not carry the time that was answered")
	}
	again := start(r, AcksAll, retry).wait(t)
	if again.Err != nil || again.BaseOffset != 0 || again.LogAppendTime != a.LogAppendTime {
		t.Errorf("retry: %v at %d, time %d", again.Err, again.BaseOffset, again.LogAppendTime)
	}
}

func TestAppendRecompressesOnlyWhatDiffers(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	conf := durableConfig()
	conf.Compression.Type = topic.CompressionZstd
	r := g.lead(conf)
	for _, codec := range []batch.Codec{batch.None, batch.Gzip, batch.Zstd} {
		b := build(t, &batch.Builder{Codec: codec}, 50, "a value that repeats")
		want := append([]byte(nil), b...)
		base := appendOK(t, r, b)
		_, got := fetch(t, g, r, base, 1<<20)
		if got[0].Codec() != batch.Zstd {
			t.Errorf("%s is stored as %s", codec, got[0].Codec())
		}
		if codec == batch.Zstd && string(got[0][16:]) != string(want[16:]) {
			t.Error("a batch of the right codec was rewritten")
		}
	}
	if n := len(values(t, g, r, 0)); n != 150 {
		t.Errorf("%d records", n)
	}
}

// What recompression makes larger than allowed is refused as if it had come so.
func TestAppendRefusesWhatGrowsTooLarge(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	conf := durableConfig()
	conf.Compression.Type, conf.MaxMessageBytes = topic.CompressionNone, 4096
	r := g.lead(conf)
	b := build(t, &batch.Builder{Codec: batch.Zstd}, 1, strings.Repeat("long", 4096))
	if len(b) > 4096 {
		t.Fatal(len(b))
	}
	if a := start(r, AcksAll, b).wait(t); !errors.Is(a.Err, ErrTooLarge) || r.Offsets().LogEnd != 0 {
		t.Errorf("%v, %+v", a.Err, r.Offsets())
	}
}

func TestAppendNeedsLeadershipAndReplicas(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.open(testTP, durableConfig())
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("before leading: %v", a.Err)
	}
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 4, Replicas: []int32{1, 2, 3}, ISR: []int32{1}}); err != nil {
		t.Fatal(err)
	}
	conf := durableConfig()
	conf.MinInsync = 2
	r.SetConfig(conf)
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotEnoughReplicas) {
		t.Errorf("too few in sync: %v", a.Err)
	}
	if a := start(r, AcksLeader, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Errorf("acks=1 with too few in sync: %v", a.Err)
	}
	if hw := r.Offsets().HighWatermark; hw != 0 {
		t.Errorf("high watermark is %d though too few replicas are in sync", hw)
	}
	if a := start(r, 2, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrAcks) {
		t.Errorf("acks=2: %v", a.Err)
	}
	// A single replica counts as enough whatever min.insync.replicas says.
	if err := r.BecomeLeader(alone(5)); err != nil {
		t.Fatal(err)
	}
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); a.Err != nil || a.BaseOffset != 1 {
		t.Errorf("single replica: %v at %d", a.Err, a.BaseOffset)
	}
	if err := r.BecomeFollower(State{Leader: 2, LeaderEpoch: 6}); err != nil {
		t.Fatal(err)
	}
	if err := r.BecomeLeader(alone(5)); err != nil { // old news
		t.Fatal(err)
	}
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("after leading: %v", a.Err)
	}
}

// flag is the registration of one broker epoch, while it is set.
type flag struct {
	ok    atomic.Bool
	epoch atomic.Int64
}

func (f *flag) Holds(epoch int64) bool { return f.ok.Load() && f.epoch.Load() == epoch }
func (f *flag) Valid() bool            { return f.ok.Load() }

func TestAppendWithoutLease(t *testing.T) {
	lease := &flag{}
	g := newRig(t, vfs.NewMem(), func(o *Options) { o.Lease = lease })
	r := g.lead(durableConfig())
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Errorf("alone in the in-sync set: %v", a.Err)
	}
	conf := durableConfig()
	conf.UncleanElection = true
	r.SetConfig(conf)
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("with unclean elections: %v", a.Err)
	}
	lease.ok.Store(true)
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Errorf("with the lease back: %v", a.Err)
	}
}

// A broker that has registered anew, and has not heard yet that others lead, takes nothing for its earlier registration,
// under which it led: by the new one it leads nothing.
func TestAppendUnderAnEarlierRegistration(t *testing.T) {
	lease := &flag{}
	lease.ok.Store(true)
	lease.epoch.Store(7)
	all := newMembers(t, 3, durableConfig(), func(o *Options) { o.Lease = lease })
	st := three(1, 1)
	st.BrokerEpoch = 7
	elect(t, all, st)
	leader := all[0].r
	if a := start(leader, AcksLeader, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Fatal(a.Err)
	}
	lease.epoch.Store(9)
	if a := start(leader, AcksLeader, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("registered anew: %v at %d", a.Err, a.BaseOffset)
	}
	st = three(1, 2)
	st.BrokerEpoch = 9
	elect(t, all, st)
	if a := start(leader, AcksLeader, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Errorf("elected anew: %v", a.Err)
	}
}

// Without its lease a leader takes acks=1 for as long as the others provably follow it.
func TestAppendWithoutLeaseWhileOthersFollow(t *testing.T) {
	lease := &flag{}
	lease.ok.Store(true)
	all := newMembers(t, 3, durableConfig(), func(o *Options) { o.Lease, o.HoldOver = lease, time.Hour })
	elect(t, all, three(1, 1))
	leader := all[0].r
	lease.ok.Store(false)
	if a := start(leader, AcksLeader, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("nobody has asked yet: %v", a.Err)
	}
	askOften(t, all[1], all[0])
	if a := start(leader, AcksLeader, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("the third could lead: %v", a.Err)
	}
	askOften(t, all[2], all[0])
	if a := start(leader, AcksLeader, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Errorf("all follow: %v", a.Err)
	}
	leader.set.opts.HoldOver = time.Nanosecond
	if a := start(leader, AcksLeader, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("they have not asked for long: %v", a.Err)
	}
	a := start(leader, AcksAll, records(t, 1, "v"))
	for range 3 {
		pull(t, all[1], all[0])
		pull(t, all[2], all[0])
	}
	if a.wait(t); a.Err != nil {
		t.Errorf("acks=all, which they have: %v", a.Err)
	}
}

func TestWhoMayServe(t *testing.T) {
	for _, c := range []struct {
		lease   bool
		others  int
		unclean bool
		acks    int16
		held    bool
		want    bool
	}{
		{true, 2, true, 1, false, true},
		{false, 0, false, 1, true, true},
		{false, 0, false, 1, false, false}, // one may have joined
		{false, 0, false, -1, false, true},
		{false, 0, true, -1, false, false},
		{false, 1, false, -1, false, true},
		{false, 1, false, 1, false, false},
		{false, 1, false, 0, false, false},
		{false, 1, false, 1, true, true},
		{false, 1, true, 1, true, false},
	} {
		if got := mayServe(c.lease, c.others, c.unclean, c.acks, func() bool { return c.held }); got != c.want {
			t.Errorf("mayServe(%+v) = %v", c, got)
		}
	}
	if minInSync(3, 1) != 1 || minInSync(2, 3) != 2 || minInSync(0, 3) != 1 {
		t.Error("minInSync")
	}
	if timeAllowed(math.MinInt64, &topic.Config{Timestamp: topic.Timestamp{BeforeMaxMs: math.MaxInt64}}, 1) {
		t.Error("a timestamp below -1 is allowed")
	}
}
