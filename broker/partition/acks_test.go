package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

func crcBytes(b []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
}

func ends(q *ackQueue) []int64 {
	var out []int64
	var last *Append
	for a := q.head; a != nil; a = a.next {
		if a.prev != last {
			panic("broken list")
		}
		out, last = append(out, a.end), a
	}
	if q.tail != last {
		panic("broken tail")
	}
	return out
}

func TestAckQueueKeepsOrderOfEnds(t *testing.T) {
	var q ackQueue
	appends := map[int64]*Append{}
	for _, end := range []int64{10, 20, 30, 15, 30, 5, 40} {
		a := &Append{end: end, queued: &q}
		q.add(a)
		appends[end] = a
	}
	if got, want := ends(&q), []int64{5, 10, 15, 20, 30, 30, 40}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	q.remove(appends[15])
	var done doneList
	q.pop(20, nil, &done)
	if got := ends(&q); !slices.Equal(got, []int64{30, 30, 40}) {
		t.Fatalf("left: %v", got)
	}
	var popped []int64
	for a := done.head; a != nil; a = a.next {
		popped = append(popped, a.end)
	}
	if !slices.Equal(popped, []int64{5, 10, 20}) {
		t.Fatalf("popped: %v", popped)
	}
	q.pop(100, errors.New("x"), &done)
	if q.head != nil || q.tail != nil {
		t.Fatal("not empty")
	}
}

func TestCommitRing(t *testing.T) {
	var c commitRing
	for i := range 100 {
		c.push(commitPoint{end: int64(i), written: uint64(10 * i)})
		if i >= 40 {
			if got, ok := c.pop(int64(i - 40)); !ok || got != uint64(10*(i-40)) {
				t.Fatal(i, got, ok)
			}
		}
	}
	if _, ok := c.pop(59); ok {
		t.Fatal("popped twice")
	}
	if got, _ := c.pop(1000); got != 990 || c.n != 0 {
		t.Fatal(got, c.n)
	}
}

// What is remembered of appends is bounded while the high watermark stands still, and a fetch that waits for all of them is
// answered when it moves.
func TestManyAppendsAboveTheHighWatermark(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	c := relaxedConfig()
	c.MinInsync = 2
	r := g.open(testTP, c)
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1}}); err != nil {
		t.Fatal(err)
	}
	const n = 3 * maxCommitPoints
	one := records(t, 1, "v")
	f := fetchWait(g, n*len(one), time.Hour, part(r, 0))
	for range n {
		if a := start(r, AcksLeader, slices.Clone(one)).wait(t); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	if got := len(r.waiters.commits.points); got > maxCommitPoints || r.Offsets().HighWatermark != 0 {
		t.Fatalf("%d points, %+v", got, r.Offsets())
	}
	c.MinInsync = 1
	r.SetConfig(c)
	if f.wait(t); f.Parts[0].Bytes != n*len(one) {
		t.Errorf("%d bytes, want %d", f.Parts[0].Bytes, n*len(one))
	}
	f.batches(t, 0)
}

// What a standstill of the high watermark took of memory is not kept when it moves on.
func TestCommitRingGivesItsMemoryBack(t *testing.T) {
	for _, empty := range []func(*commitRing){
		func(c *commitRing) { c.pop(math.MaxInt64) },
		func(c *commitRing) { c.cut(0) },
	} {
		var c commitRing
		for i := range int64(maxCommitPoints) {
			c.push(commitPoint{end: i + 1, written: uint64(i)})
		}
		if empty(&c); len(c.points) > keptCommitPoints {
			t.Errorf("an empty ring has room for %d points", len(c.points))
		}
		c.push(commitPoint{end: 1, written: 7})
		if got, ok := c.pop(1); !ok || got != 7 {
			t.Error(got, ok)
		}
	}
}

// Nor does a fetch miss what is written before an append that fails, when no more of them are remembered.
func TestFailedAppendAmongManyAboveTheHighWatermark(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	c := relaxedConfig()
	c.MinInsync = 2
	r := g.open(testTP, c)
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1}}); err != nil {
		t.Fatal(err)
	}
	const n = maxCommitPoints + 10
	one := records(t, 1, "v")
	f := fetchWait(g, n*len(one), time.Hour, part(r, 0))
	for range n {
		if a := start(r, AcksLeader, slices.Clone(one)).wait(t); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Err: syscall.ENOSPC})
	if a := start(r, AcksLeader, slices.Clone(one)).wait(t); !errors.Is(a.Err, ErrDiskFull) && !errors.Is(a.Err, ErrStorage) {
		t.Fatal(a.Err)
	}
	c.MinInsync = 1
	r.SetConfig(c)
	if f.wait(t); f.Parts[0].Bytes != n*len(one) {
		t.Errorf("%d bytes, want %d", f.Parts[0].Bytes, n*len(one))
	}
	f.batches(t, 0)
}

// held makes the syncs of the log files wait.
type held struct {
	rule *faultfs.Armed
	gate chan struct{}
	in   chan struct{} // one for each sync that has come to the gate
}

func holdSyncs(inject *faultfs.Injector) *held {
	h := &held{gate: make(chan struct{}), in: make(chan struct{}, 1000)}
	h.rule = inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Times: -1, Do: func(faultfs.Op, string) {
		h.in <- struct{}{}
		<-h.gate
	}})
	return h
}

func (h *held) release() {
	h.rule.Remove()
	close(h.gate)
}

// H2: the retry of a batch whose sync is not done must not be acknowledged before it is; after a power cut neither was.
func TestRetryIsNotAcknowledgedBeforeItsOriginal(t *testing.T) {
	mem := vfs.NewMem()
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(mem, &inject))
	r := g.lead(durableConfig())
	appendOK(t, r, idempotent(t, 1, 0, 0, 1, "before"))
	syncs := holdSyncs(&inject)
	first := start(r, AcksAll, idempotent(t, 1, 0, 1, 1, "held"))
	<-syncs.in
	retry := start(r, AcksAll, idempotent(t, 1, 0, 1, 1, "held"))
	asLeader := start(r, AcksLeader, idempotent(t, 1, 0, 1, 1, "held"))
	known := start(r, AcksAll, idempotent(t, 1, 0, 0, 1, "before")).wait(t)
	if known.Err != nil || known.BaseOffset != 0 {
		t.Errorf("retry of a durable batch: %v at %d", known.Err, known.BaseOffset)
	}
	if !first.pending() || !retry.pending() || !asLeader.pending() {
		t.Error("acknowledged before the sync")
	}
	if hw := r.Offsets().HighWatermark; hw != 1 {
		t.Errorf("high watermark %d", hw)
	}
	for from, want := range []int{1, 0} {
		if p, got := fetch(t, g, r, int64(from), 1<<20); p.Err != nil || len(got) != want {
			t.Errorf("from %d: %v, %d batches, want %d: what is not durable is not read", from, p.Err, len(got), want)
		}
	}
	cut := mem.CrashClone(7, 0) // the power fails now
	syncs.release()
	for what, a := range map[string]*ack{"first": first, "retry": retry, "retry with acks=1": asLeader} {
		if a.wait(t); a.Err != nil || a.BaseOffset != 1 {
			t.Errorf("%s: %v at %d", what, a.Err, a.BaseOffset)
		}
	}

	after := newRig(t, cut)
	r = after.lead(durableConfig())
	if got := values(t, after, r, 0); len(got) != 1 || got[0] != "before" {
		t.Fatalf("after the cut: %v", got)
	}
	if base := appendOK(t, r, idempotent(t, 1, 0, 1, 1, "held")); base != 1 {
		t.Errorf("the retry after the cut is at %d", base)
	}
}

// The retry of a batch fails with it: no later sync makes up for one that failed.
func TestRetryFailsWithItsOriginal(t *testing.T) {
	mem := vfs.NewMem()
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(mem, &inject))
	r := g.lead(durableConfig())
	syncs := holdSyncs(&inject)
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Err: errors.New("media")})
	first := start(r, AcksAll, idempotent(t, 1, 0, 0, 1, "v"))
	<-syncs.in
	retries := []*ack{start(r, AcksAll, idempotent(t, 1, 0, 0, 1, "v")), start(r, AcksLeader, idempotent(t, 1, 0, 0, 1, "v"))}
	syncs.release()
	for _, a := range append(retries, first) {
		if a.wait(t); !errors.Is(a.Err, ErrStorage) || a.BaseOffset != -1 {
			t.Errorf("acks=%d: %v at %d", a.Acks, a.Err, a.BaseOffset)
		}
	}
	if a := start(r, AcksAll, idempotent(t, 1, 0, 0, 1, "v")).wait(t); !errors.Is(a.Err, ErrStorage) {
		t.Errorf("a retry after that: %v", a.Err)
	}
}

// The replica is closed, or its disk fails, while an append writes: it is told, not left to wait.
func TestAppendOnAReplicaThatIsShutMeanwhile(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.lead(durableConfig())
	inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Do: func(faultfs.Op, string) { r.shut(ErrUnknownPartition) }})
	for _, acks := range []int16{AcksAll, AcksLeader} {
		if a := start(r, acks, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrUnknownPartition) {
			t.Errorf("acks=%d: %v", acks, a.Err)
		}
	}
}

// A batch and its retry meet in the queue and are written together: once.
func TestRetriesInOneWrite(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(durableConfig())
	r.append.Lock()
	var group sync.WaitGroup
	acks := make([]*ack, 6)
	for i := range acks {
		acks[i] = &ack{done: make(chan struct{})}
		acks[i].Records, acks[i].Acks, acks[i].Done = idempotent(t, 1, 0, int32(i/2), 1, name(i/2)), AcksAll, acks[i]
		group.Go(func() { r.Append(&acks[i].Append) })
		until(t, "it is queued", func() bool { return queued(r) == uint64(i+1) })
	}
	r.append.Unlock()
	group.Wait()
	for i, a := range acks {
		if a.wait(t); a.Err != nil || a.BaseOffset != int64(i/2) {
			t.Errorf("%d: %v at %d", i, a.Err, a.BaseOffset)
		}
	}
	if got := values(t, g, r, 0); len(got) != 3 {
		t.Errorf("%v", got)
	}
}

// H9: the lease lapses between the append and its acknowledgement, as where the process stood still. Somebody else may
// lead by then.
func TestNoAcknowledgementAfterTheLease(t *testing.T) {
	var inject faultfs.Injector
	lease := &flag{}
	lease.ok.Store(true)
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject), func(o *Options) { o.Lease = lease })
	conf := durableConfig()
	conf.UncleanElection = true
	r := g.lead(conf)
	syncs := holdSyncs(&inject)
	all, leader := start(r, AcksAll, records(t, 1, "a")), start(r, AcksLeader, records(t, 1, "b"))
	<-syncs.in
	lease.ok.Store(false)
	syncs.release()
	for _, a := range []*ack{all, leader} {
		if a.wait(t); !errors.Is(a.Err, ErrNotLeader) {
			t.Errorf("acks=%d: %v at %d", a.Acks, a.Err, a.BaseOffset)
		}
	}
}

// A leader that was alone proposes another, and its lease ends before it hears whether that is committed: the other may lead.
func TestNoAcknowledgementBesideWhoMayHaveJoined(t *testing.T) {
	lease := &flag{}
	lease.ok.Store(true)
	all := newMembers(t, 2, durableConfig(), func(o *Options) { o.Lease, o.HoldOver = lease, 1 })
	elect(t, all, State{Leader: 1, LeaderEpoch: 1, Rev: 100, Replicas: []int32{1, 2}, ISR: []int32{1}})
	leader := all[0].r
	appendOK(t, leader, records(t, 1, "a"))
	catchUp(t, all[1], all[0])
	lease.ok.Store(false)
	if a := start(leader, AcksLeader, records(t, 1, "b")).wait(t); a.Err != nil {
		t.Fatal(a.Err) // it is alone
	}
	catchUp(t, all[1], all[0])
	if p, ok := leader.Propose(func(Joiner) bool { return true }); !ok || len(p.ISR) != 2 {
		t.Fatalf("%+v, %v", p, ok)
	}
	if a := start(leader, AcksLeader, records(t, 1, "c")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("acknowledged: %v", a.Err)
	}
}

// The disk fails under another log while a sync is under way that succeeds: what that one made durable is acknowledged.
func TestWhatAFailingDiskTookIsAcknowledged(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.lead(durableConfig())
	other := g.open(otherTP, durableConfig())
	if err := other.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	syncs := holdSyncs(&inject)
	taken := start(r, AcksAll, records(t, 1, "taken"))
	<-syncs.in
	syncs.rule.Remove()
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Err: errors.New("media")})
	if a := start(other, AcksAll, records(t, 1, "lost")).wait(t); !errors.Is(a.Err, ErrStorage) {
		t.Errorf("the other: %v", a.Err)
	}
	syncs.release()
	if taken.wait(t); taken.Err != nil {
		t.Errorf("what is durable: %v", taken.Err)
	}
}

// A topic becomes durable: what it took before is not acknowledged to a retry before it is on the disk.
func TestRetryOnATopicMadeDurable(t *testing.T) {
	mem := vfs.NewMem()
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(mem, &inject))
	relaxed, durable := relaxedConfig(), durableConfig()
	relaxed.Flush.Ms, durable.Flush.Ms = 3600_000, 3600_000 // the change alone has to bring a sync about
	r := g.lead(relaxed)
	appendOK(t, r, idempotent(t, 1, 0, 0, 1, "relaxed"))
	syncs := holdSyncs(&inject)
	r.SetConfig(durable)
	<-syncs.in
	retry := start(r, AcksAll, idempotent(t, 1, 0, 0, 1, "relaxed"))
	if !retry.pending() {
		t.Error("acknowledged before the sync")
	}
	syncs.release()
	if retry.wait(t); retry.Err != nil || retry.BaseOffset != 0 {
		t.Errorf("%v at %d", retry.Err, retry.BaseOffset)
	}
}

func TestFailedSyncFailsExactlyWhatIsNotDurable(t *testing.T) {
	mem := vfs.NewMem()
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(mem, &inject))
	r := g.lead(durableConfig())
	appendOK(t, r, records(t, 1, "a"))
	syncs := holdSyncs(&inject)
	lost := start(r, AcksAll, records(t, 1, "b"))
	<-syncs.in
	bad := inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Times: -1, Err: errors.New("media")})
	later := start(r, AcksLeader, records(t, 1, "c"))
	syncs.release()
	// The one at the gate has passed the rules and succeeds; the one after it fails.
	for _, a := range []*ack{lost, later} {
		a.wait(t)
	}
	if lost.Err != nil && !errors.Is(lost.Err, ErrStorage) || !errors.Is(later.Err, ErrStorage) {
		t.Errorf("%v, %v", lost.Err, later.Err)
	}
	if bad.Hits() == 0 {
		t.Fatal("the fault did not bite")
	}
	until(t, "offline", func() bool { return r.Err() != nil })
	if a := start(r, AcksNone, records(t, 1, "d")).wait(t); !errors.Is(a.Err, ErrStorage) {
		t.Errorf("append to an offline disk: %v", a.Err)
	}
	if p, _ := fetch(t, g, r, 0, 1<<20); !errors.Is(p.Err, ErrStorage) {
		t.Errorf("fetch from an offline disk: %v", p.Err)
	}
	after := newRig(t, mem.CrashClone(1, 0))
	got := values(t, after, after.lead(durableConfig()), 0)
	if got[0] != "a" || lost.Err == nil && got[1] != "b" {
		t.Errorf("acknowledged records are gone: %v", got)
	}
}

func TestLostLeadershipFailsWhatIsNotCommitted(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.lead(durableConfig())
	syncs := holdSyncs(&inject)
	a := start(r, AcksAll, records(t, 1, "a"))
	<-syncs.in
	if err := r.BecomeFollower(State{Leader: 2, LeaderEpoch: 2}); err != nil {
		t.Fatal(err)
	}
	if a.wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("%v", a.Err)
	}
	syncs.release()
}

func TestShrunkenInSyncSetFailsWhoWaitsForAll(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	c := durableConfig()
	c.MinInsync = 2
	r := g.open(testTP, c)
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}); err != nil {
		t.Fatal(err)
	}
	all := start(r, AcksAll, records(t, 1, "v"))
	if a := start(r, AcksLeader, records(t, 1, "v")).wait(t); a.Err != nil {
		t.Error(a.Err)
	}
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1}}); err != nil {
		t.Fatal(err)
	}
	if all.wait(t); !errors.Is(all.Err, ErrNotEnoughReplicasAfterAppend) || r.Offsets().HighWatermark != 0 {
		t.Errorf("%v, %+v", all.Err, r.Offsets())
	}
}

func TestProduceTimesOutAndCountsDown(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.lead(durableConfig())
	relaxed := g.open(otherTP, relaxedConfig())
	if err := relaxed.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	syncs := holdSyncs(&inject)
	defer syncs.release()
	done := make(chan struct{}, 1)
	p := &Produce{Timeout: 20 * time.Millisecond, Parts: make([]ProducePart, 3), Done: func(*Produce) { done <- struct{}{} }}
	for range 3 { // it can be used again
		p.Parts[0].Replica, p.Parts[0].Append.Records = r, records(t, 1, "held")
		p.Parts[1].Replica, p.Parts[1].Append.Records = relaxed, records(t, 1, "quick")
		p.Parts[2].Append.Err = ErrUnknownPartition
		for i := range p.Parts {
			p.Parts[i].Append.Acks = AcksAll
		}
		g.set.Produce(p)
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("no answer")
		}
		for i, want := range []error{ErrTimeout, nil, ErrUnknownPartition} {
			if err := p.Parts[i].Append.Err; !errors.Is(err, want) {
				t.Errorf("part %d: %v, want %v", i, err, want)
			}
		}
	}
	if o := r.Offsets(); o.LogEnd != 3 || r.waiters.all.head != nil {
		t.Errorf("%+v, somebody still waits: %v", o, r.waiters.all.head != nil)
	}
}

// A batch that is refused is not kept either while another of the same request waits: with it all that they came in would be.
func TestProduceThatWaitsKeepsNothingThatIsRefused(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.open(testTP, durableConfig())
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}); err != nil {
		t.Fatal(err)
	}
	conf := durableConfig()
	conf.Compression.Type = topic.CompressionZstd
	recompressed := g.open(otherTP, conf)
	if err := recompressed.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	p := &Produce{Timeout: time.Hour, Parts: make([]ProducePart, 2), Done: func(*Produce) { close(done) }}
	frame := func() weak.Pointer[byte] {
		b := build(t, &batch.Builder{Codec: batch.Gzip}, 1, "v")
		clear(b[batch.HeaderLen:]) // which cannot be decompressed
		p.Parts[0].Replica, p.Parts[0].Append.Records = r, records(t, 1, "waits")
		p.Parts[1].Replica, p.Parts[1].Append.Records = recompressed, reCRC(b)
		return weak.Make(&b[0])
	}()
	for i := range p.Parts {
		p.Parts[i].Append.Acks = AcksAll
	}
	g.set.Produce(p)
	if runtime.GC(); frame.Value() != nil {
		t.Error("what was refused is kept")
	}
	r.Cancel(&p.Parts[0].Append)
	<-done
	if a, b := p.Parts[0].Append.Err, p.Parts[1].Append.Err; !errors.Is(a, ErrTimeout) || !errors.Is(b, ErrCorruptBatch) {
		t.Errorf("%v, %v", a, b)
	}
}

// recorder notes the order of completions.
type recorder struct {
	mu   sync.Mutex
	ends []int64
	all  chan struct{}
	want int
}

func (c *recorder) AppendDone(a *Append) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Err != nil {
		panic(a.Err)
	}
	if c.ends = append(c.ends, a.BaseOffset); len(c.ends) == c.want {
		close(c.all)
	}
}

// Acknowledgements of one partition come in the order of the log.
func TestAcknowledgementsFollowTheLog(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.lead(durableConfig())
	syncs := holdSyncs(&inject)
	c := &recorder{all: make(chan struct{}), want: 40}
	var expect []int64
	for i := range int32(20) {
		// A new batch, and a retry of one that is not committed either.
		for _, seq := range []int32{i, max(0, i-3)} {
			a := &Append{Acks: AcksAll, Records: idempotent(t, 1, 0, seq, 1, "v"), Done: c}
			r.Append(a)
			expect = append(expect, int64(seq))
		}
	}
	syncs.release()
	select {
	case <-c.all:
	case <-time.After(patience):
		t.Fatal("acknowledgements are missing")
	}
	slices.Sort(expect)
	if !slices.Equal(c.ends, expect) {
		t.Errorf("%v, want %v", c.ends, expect)
	}
}

// Appends of many connections get offsets without gaps or doubles.
func TestConcurrentAppendsShareTheLog(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(durableConfig())
	acked := produceMany(t, r, 16, 50)
	if len(acked) != 16*50 || r.Offsets().LogEnd != 16*50 {
		t.Errorf("%d acknowledged, %+v", len(acked), r.Offsets())
	}
}

// A hundred producers write while the k-th write or sync fails. Whatever was acknowledged must be there after a power
// cut, at the offset that was answered.
func TestAcknowledgedRecordsSurviveFailingWrites(t *testing.T) {
	for k := 1; k <= 60; k += 7 {
		for _, op := range []faultfs.Op{faultfs.Sync, faultfs.WriteAt, faultfs.WriteV} {
			t.Run(fmt.Sprintf("%s-%d", op, k), func(t *testing.T) {
				mem := vfs.NewMem()
				var inject faultfs.Injector
				g := newRig(t, faultfs.Wrap(mem, &inject))
				conf := durableConfig()
				conf.Segment.Bytes = 4 << 10
				r := g.lead(conf)
				fault := inject.Add(faultfs.Rule{Op: op, Glob: "*.log", Nth: k, Err: errors.New("fault"), Short: 30})
				acked := produceMany(t, r, 100, 5)
				if fault.Hits() == 0 && k == 1 && op != faultfs.WriteV { // how often appends meet is up to the machine
					t.Fatal("the fault did not bite")
				}
				g.close(false)
				seed := uint64(time.Now().UnixNano())
				t.Log("seed", seed)
				after := newRig(t, mem.CrashClone(seed, 50))
				got := values(t, after, after.lead(conf), 0)
				for offset, value := range acked {
					if got[offset] != value {
						t.Errorf("offset %d: %q was acknowledged, %q is there", offset, value, got[offset])
					}
				}
			})
		}
	}
}

// produceMany has n idempotent producers send m batches each, with one retry, and returns what was acknowledged.
func produceMany(t *testing.T, r *Replica, n, m int) map[int64]string {
	var mu sync.Mutex
	acked := map[int64]string{}
	var group sync.WaitGroup
	for p := range n {
		group.Go(func() {
			for s := range m {
				value := fmt.Sprintf("%d-%d", p, s)
				a := start(r, AcksAll, idempotent(t, int64(p), 0, int32(s), 1, value)).wait(t)
				if a.Err != nil {
					a = start(r, AcksAll, idempotent(t, int64(p), 0, int32(s), 1, value)).wait(t)
				}
				if a.Err != nil {
					return
				}
				mu.Lock()
				if old, ok := acked[a.BaseOffset]; ok {
					t.Errorf("offset %d was given to %s and %s", a.BaseOffset, old, value)
				}
				acked[a.BaseOffset] = value
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return acked
}

// An append that is being written while the topic's durability changes waits for no sync that nobody asks for.
func TestDurabilityThatChangesDuringAnAppend(t *testing.T) {
	durable, relaxed := durableConfig(), relaxedConfig()
	durable.Flush.Ms, relaxed.Flush.Ms = math.MaxInt64, math.MaxInt64
	for name, to := range map[string][2]topic.Config{"durable": {relaxed, durable}, "relaxed": {durable, relaxed}} {
		for _, acks := range []int16{AcksLeader, AcksAll} {
			t.Run(fmt.Sprintf("%s, acks %d", name, acks), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var inject faultfs.Injector
					g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
					r := g.lead(to[0])
					inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Do: func(faultfs.Op, string) {
						r.SetConfig(to[1])
						synctest.Wait() // what it asks for is synced, without this append
					}})
					a := start(r, acks, records(t, 1, "v"))
					synctest.Wait()
					if a.wait(t); a.Err != nil || r.Offsets().HighWatermark != 1 {
						t.Errorf("%v, %+v", a.Err, r.Offsets())
					}
					g.close(false)
				})
			})
		}
	}
}
