package partition

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore/mem"
	"firn/tiering/tiertest"
)

// tieredRig is a rig with an archive in memory.
type tieredRig struct {
	*rig
	bucket   *mem.Bucket
	anchor   *tiertest.Anchor
	uploader *tiering.Uploader
	gate     *tierGate
}

// tierGate is a tier whose reads a test can hold or fail.
type tierGate struct {
	*tiering.Reader
	mu   sync.Mutex
	hold chan struct{} // reads wait for it, if not nil
	err  error
	in   chan int64 // offsets of reads that began
}

func (g *tierGate) Read(ctx context.Context, tp topic.Partition, head *manifest.Head, offset int64, maxBytes int) (tiering.Data, error) {
	g.mu.Lock()
	hold, err := g.hold, g.err
	g.mu.Unlock()
	g.in <- offset
	if hold != nil {
		<-hold
	}
	if err != nil {
		return tiering.Data{}, err
	}
	return g.Reader.Read(ctx, tp, head, offset, maxBytes)
}

// set changes what happens to reads from now on; a channel must be closed by the test.
func (g *tierGate) set(hold chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold, g.err = hold, err
}

type logStartsFunc func(ctx context.Context, tp topic.Partition, epoch int32, start int64) (int64, error)

func (f logStartsFunc) AdvanceLogStart(ctx context.Context, tp topic.Partition, epoch int32, start int64) (int64, error) {
	return f(ctx, tp, epoch, start)
}

func newTieredRig(t testing.TB) *tieredRig {
	return newTieredRigOn(t, mem.New(), tiertest.NewAnchor(1))
}

func newTieredRigOn(t testing.TB, bucket *mem.Bucket, anchor *tiertest.Anchor, change ...func(*tiering.ReaderOptions, *Options)) *tieredRig {
	t.Helper()
	ro := tiering.ReaderOptions{Bucket: bucket, Anchor: anchor, Cluster: "c"}
	for _, c := range change {
		c(&ro, &Options{})
	}
	reader, err := tiering.NewReader(ro)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	w := &tieredRig{bucket: bucket, anchor: anchor, gate: &tierGate{Reader: reader, in: make(chan int64, 10000)}}
	w.rig = newRig(t, vfs.NewMem(), func(o *Options) {
		o.Tier = w.gate
		o.LogStarts = logStartsFunc(w.advanceLogStart)
		for _, c := range change {
			c(&tiering.ReaderOptions{}, o)
		}
	})
	w.uploader, err = tiering.NewUploader(tiering.UploaderOptions{
		Bucket: bucket, Anchor: anchor, Cluster: "c", BrokerEpoch: func() int64 { return 1 }, FS: vfs.NewMem(), SpoolDir: "/spool",
		OnCommit: func(tp topic.Partition, h manifest.Head) {
			if r := w.set.Get(tp); r != nil {
				r.SetTierHead(&h)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.uploader.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// advanceLogStart asks the one writer of the partition's manifest, if there is one.
func (w *tieredRig) advanceLogStart(ctx context.Context, tp topic.Partition, epoch int32, start int64) (int64, error) {
	if u := w.set.Get(tp).upload.Load(); u != nil {
		h, err := (*u).(*tiering.Upload).Archive().SetLogStart(ctx, start)
		return h.LogStart, err
	}
	return tiering.AdvanceLogStart(ctx, w.anchor, tp, epoch, start)
}

func tieredConfig() topic.Config {
	c := durableConfig()
	c.Tier = topic.Tier{Enabled: true, LocalBytes: -1, LocalMs: -1, MaxLagMs: math.MaxInt32, MinBytes: 1 << 40}
	return c
}

// source is the replica as the uploader sees it.
type source struct {
	tiering.Source
	r *Replica
}

func (s source) Roll() error { return s.r.Roll() }

func (s source) Damaged(base, at int64, err error) { s.r.Rotten(base, at, err) }

// archive uploads everything there is and keeps uploading what is sealed.
func (w *tieredRig) archive(r *Replica) {
	w.t.Helper()
	w.upload(r)
	w.archived(r, r.Offsets().HighWatermark)
}

// upload begins to upload everything there is.
func (w *tieredRig) upload(r *Replica) {
	w.t.Helper()
	epoch, _, _ := r.LeaderEpoch()
	src := source{tiering.NewLogSource(r.Log(), func() int64 { return r.Offsets().HighWatermark }), r}
	up := w.uploader.Register(r.tp, epoch, src, tiering.Limits{MaxLag: time.Hour, MinBytes: 1 << 40})
	w.t.Cleanup(up.Close)
	r.SetUpload(up)
	if err := r.Roll(); err != nil {
		w.t.Fatal(err)
	}
	up.Sealed()
}

// What has rotted and is to be archived is found by that: it is dealt with at once, and not when the scrubber comes by, while
// nothing more is archived and the disk fills up.
func TestRotThatAnUploadFindsIsDealtWith(t *testing.T) {
	found := make(chan *Replica, 10)
	w := newTieredRigOn(t, mem.New(), tiertest.NewAnchor(1), func(_ *tiering.ReaderOptions, o *Options) {
		o.OnDamage = func(r *Replica) { found <- r }
	})
	c := tieredConfig()
	c.Segment.Bytes = 1 << 10
	r := w.open(testTP, c)
	if err := r.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		appendOK(t, r, records(t, 1, name2(i)))
	}
	sealed := r.Log().Sealed(0)
	path := sealed[1].Path()
	for _, s := range sealed {
		s.Release()
	}
	flip(t, w.fs, path, 200)
	w.upload(r)
	select {
	case got := <-found:
		if got != r || !errors.Is(r.Damage(), ErrCorruptData) || !strings.Contains(r.Damage().Error(), path) {
			t.Errorf("found %v in %s: %v", r.Damage(), path, got)
		}
	case <-time.After(patience):
		t.Fatal("nobody is told of it")
	}
}

func (w *tieredRig) archived(r *Replica, end int64) {
	w.t.Helper()
	until(w.t, "archived", func() bool { return r.Offsets().TierEnd >= end })
}

// dropLocal drops every local segment that is in the tier.
func dropLocal(t testing.TB, r *Replica) {
	t.Helper()
	c := *r.config.Load()
	keep := c.Tier.LocalBytes
	c.Tier.LocalBytes = 0
	r.SetConfig(c)
	r.maintain(time.Now())
	c.Tier.LocalBytes = keep
	r.SetConfig(c)
	if o := r.Offsets(); o.LocalStart != o.TierEnd {
		t.Fatalf("local segments remain: %+v", o)
	}
}

// cold makes a replica with n records in batches of 1 to 3, archived in several objects and dropped from the disk, and a
// few more on the disk.
func (w *tieredRig) cold(tp topic.Partition, n int) *Replica {
	w.t.Helper()
	c := tieredConfig()
	c.Segment.Bytes = 1 << 10
	r := w.open(tp, c)
	if err := r.BecomeLeader(alone(1)); err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < n; i++ {
		appendOK(w.t, r, records(w.t, 1, name2(i)))
	}
	w.archive(r)
	dropLocal(w.t, r)
	for i := range 5 {
		appendOK(w.t, r, records(w.t, 1, name2(n+i)))
	}
	return r
}

func TestColdFetchReadsWhatTheDiskNoLongerHas(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 100)
	if o := r.Offsets(); o.LogStart != 0 || o.LocalStart != 100 || o.TierEnd != 100 || o.HighWatermark != 105 {
		t.Fatalf("%+v", o)
	}
	for next := int64(0); next < 105; {
		f := fetchWait(w.rig, 1, time.Minute, part(r, next))
		f.wait(t)
		if f.Parts[0].Err != nil {
			t.Fatal(f.Parts[0].Err)
		}
		got := f.batches(t, 0)
		if len(got) == 0 {
			t.Fatalf("nothing at %d", next)
		}
		for _, b := range got {
			_ = b.Each(nil, 1<<20, func(rec batch.Record) error {
				if string(rec.Value) != name2(int(next)) || b.BaseOffset() != next {
					t.Errorf("offset %d holds %q", next, rec.Value)
				}
				next++
				return nil
			})
		}
	}
}

// A tier read may bring less than min.bytes though there is more: the client is answered, or it would wait for nothing.
func TestColdFetchAnswersWithWhatOneReadBrings(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 100)
	f := fetchWait(w.rig, 1<<20, time.Hour, part(r, 95))
	f.wait(t)
	if got := f.batches(t, 0); len(got) == 0 {
		t.Error("nothing")
	}
}

func TestColdFetchDoesNotHoldBackHotPartitions(t *testing.T) {
	w := newTieredRig(t)
	cold := w.cold(testTP, 20)
	hot := w.open(otherTP, relaxedConfig())
	if err := hot.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	appendOK(t, hot, records(t, 1, "hot"))
	gate := make(chan struct{})
	w.gate.set(gate, nil)

	f := fetchWait(w.rig, 1, time.Hour, part(cold, 0), part(hot, 0))
	f.wait(t) // min.bytes are there
	if len(f.batches(t, 0)) != 0 || len(f.batches(t, 1)) != 1 {
		t.Fatal("want the hot partition alone")
	}
	waiting := fetchWait(w.rig, 1, time.Hour, part(cold, 0), part(hot, 1))
	patient := fetchWait(w.rig, 1, time.Millisecond, part(cold, 0), part(hot, 1))
	if patient.wait(t); patient.Parts[0].Err != nil || len(patient.batches(t, 0)) != 0 {
		t.Errorf("time over: %v", patient.Parts[0].Err)
	}
	if !waiting.pending() {
		t.Error("answered without anything")
	}
	close(gate)
	if waiting.wait(t); len(waiting.batches(t, 0)) == 0 {
		t.Error("not woken by the tier")
	}
	if n := len(w.gate.in); n != 1 {
		t.Errorf("%d reads of the tier for one offset", n)
	}
}

// A read that the client did not wait for is there when it comes back, without another look at the tier.
func TestColdReadOutlivesItsFetch(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 20)
	gate := make(chan struct{})
	w.gate.set(gate, nil)
	f := fetchWait(w.rig, 1, 0, part(r, 3))
	if f.wait(t); len(f.batches(t, 0)) != 0 {
		t.Fatal("bytes out of nowhere")
	}
	<-w.gate.in
	close(gate)
	until(t, "read done", func() bool {
		f := fetchWait(w.rig, 1, 0, part(r, 3))
		f.wait(t)
		return len(f.batches(t, 0)) > 0
	})
	if len(w.gate.in) != 0 {
		t.Error("it was read again")
	}
	if t2 := w.set.cold; len(t2.mu.reads) != 0 || len(t2.mu.done) != 0 || t2.mu.bytes != 0 {
		t.Errorf("%d reads are kept though they were fetched", len(t2.mu.reads))
	}
}

func TestColdReadsAreBoundedAndExpire(t *testing.T) {
	t.Parallel()
	w := newTieredRig(t)
	r := w.cold(testTP, 50)
	w.set.opts.ColdReads = 4
	for o := range int64(10) {
		f := fetchWait(w.rig, 1, 0, part(r, o))
		f.wait(t)
		f.batches(t, 0)
	}
	w.set.cold.mu.Lock()
	if n := len(w.set.cold.mu.reads); n > 4 {
		t.Errorf("%d reads", n)
	}
	w.set.cold.mu.Unlock()
	w.set.cold.group.Wait()
	until(t, "expired", func() bool {
		w.set.cold.mu.Lock()
		defer w.set.cold.mu.Unlock()
		return len(w.set.cold.mu.reads) == 0 && w.set.cold.mu.bytes == 0
	})
}

// At however many places a partition is read about which the bucket gives no answer, others are read beside it.
func TestColdReadsThatHangLeaveRoomToOthers(t *testing.T) {
	t.Parallel()
	w := newTieredRig(t)
	hangs, other := w.cold(testTP, 50), w.cold(otherTP, 50)
	w.set.opts.ColdReads = 4
	gate := make(chan struct{})
	defer close(gate)
	w.gate.set(gate, nil)
	for o := range int64(10) {
		f := fetchWait(w.rig, 1, 0, part(hangs, o))
		f.wait(t)
		f.batches(t, 0)
	}
	for range 2 {
		<-w.gate.in
	}
	w.gate.set(nil, nil)
	f := fetchWait(w.rig, 1, 10*time.Second, part(other, 0))
	if f.wait(t); len(f.batches(t, 0)) == 0 {
		t.Errorf("nothing of the other partition: %v", f.Parts[0].Err)
	}
}

// Who finds no room for a read of the tier does not wait out its time: it is told when there is some.
func TestColdFetchWithoutRoomGoesOnWhenThereIsSome(t *testing.T) {
	t.Parallel()
	w := newTieredRig(t)
	r := w.cold(testTP, 50)
	w.set.opts.ColdReads = 4
	gate := make(chan struct{})
	w.gate.set(gate, nil)
	var all []*waitingFetch
	for o := range int64(10) {
		all = append(all, fetchWait(w.rig, 1, time.Hour, part(r, o)))
	}
	for range 2 {
		<-w.gate.in
	}
	if len(w.gate.in) != 0 {
		t.Fatal("there was room for all")
	}
	close(gate)
	for o, f := range all {
		if f.wait(t); len(f.batches(t, 0)) == 0 {
			t.Errorf("nothing at offset %d: %v", o, f.Parts[0].Err)
		}
	}
	if n := w.set.cold.mu.line.Len(); n != 0 {
		t.Errorf("%d are still in line", n)
	}
}

func TestColdFetchKeepsItsBudget(t *testing.T) {
	w := newTieredRig(t)
	a, b := w.cold(testTP, 30), w.cold(otherTP, 30)
	size := len(records(t, 1, name2(0)))
	for _, c := range []struct{ total, each, want, most int }{
		{1 << 20, 3*size + 1, 6, 3},
		{1 << 20, 1, 1, 1},
		{1, 1 << 20, 1, 1},
		{3 * size, 2 * size, 3, 2},
	} {
		p, q := part(a, 0), part(b, 0)
		p.MaxBytes, q.MaxBytes = c.each, c.each
		for _, r := range []*Replica{a, b} { // both are read already
			w.set.cold.get(r, r.head.Load(), 0, min(c.each, c.total))
		}
		w.set.cold.group.Wait()
		f := &waitingFetch{done: make(chan struct{})}
		f.MaxBytes, f.Parts = c.total, []FetchPart{p, q}
		f.Done = func(*Fetch) { close(f.done) }
		w.set.Fetch(context.Background(), &f.Fetch)
		f.wait(t)
		if n, m := len(f.batches(t, 0)), len(f.batches(t, 1)); n+m != c.want || max(n, m) > c.most {
			t.Errorf("%+v: %d and %d batches of %d bytes", c, n, m, size)
		}
	}
}

// What a consumer would wait for may be more than it takes at a time.
func TestColdFetchDoesNotWaitForMoreThanFits(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 30)
	w.set.cold.get(r, r.head.Load(), 0, 1<<20) // for somebody who takes more
	w.set.cold.group.Wait()
	p, size := part(r, 0), len(records(t, 1, name2(0)))
	p.MaxBytes = 2*size + size/2
	f := fetchWait(w.rig, p.MaxBytes, time.Hour, p)
	if f.wait(t); len(f.batches(t, 0)) != 2 {
		t.Errorf("%d bytes of batches of %d", f.Parts[0].Bytes, size)
	}
}

// A reader of many partitions that lie in the tier, far more than memory and reads under way allow at a time, gets on
// with every one of them: each answer brings something, and nobody waits for ever.
func TestColdFetchOfManyPartitions(t *testing.T) {
	const partitions, count = 40, 30
	w := newTieredRigOn(t, mem.New(), tiertest.NewAnchor(1), func(ro *tiering.ReaderOptions, o *Options) {
		ro.Memory, ro.Gets = 1<<20, 2 // eight of the smallest slabs
		o.ColdReads, o.ColdBytes = 6, 64<<10
	})
	var rs []*Replica
	next := make([]int64, partitions)
	for i := range int32(partitions) {
		rs = append(rs, w.cold(topic.Partition{ID: testTP.ID, Index: i}, count))
	}
	end := rs[0].TierHead().TierEnd
	left, fetches := partitions, 0
	for ; left > 0; fetches++ {
		if fetches > partitions*int(end) {
			t.Fatalf("%d partitions are not read after %d fetches: %v", left, fetches, next)
		}
		var parts []FetchPart
		for i := range partitions { // from another start each time, as the API does
			if j := (i + fetches) % partitions; next[j] < end {
				p := part(rs[j], next[j])
				p.MaxBytes = 400
				parts = append(parts, p)
			}
		}
		f := fetchWait(w.rig, 1, time.Minute, parts...)
		f.wait(t)
		got := 0
		for i := range f.Parts {
			p := &f.Parts[i]
			if p.Err != nil {
				t.Fatalf("%s: %v", p.Replica.tp, p.Err)
			}
			j := p.Replica.tp.Index
			for _, b := range f.batches(t, i) {
				if b.BaseOffset() != next[j] {
					t.Fatalf("%s: batch at %d, want %d", p.Replica.tp, b.BaseOffset(), next[j])
				}
				next[j] = b.NextOffset()
				got++
			}
			if p.Offset < end && next[j] >= end {
				left--
			}
		}
		if got == 0 {
			t.Fatal("an answer without anything")
		}
	}
	t.Logf("%d fetches", fetches)
}

func TestColdFetchErrors(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 20)
	for name, c := range map[string]struct {
		err    error
		want   error
		waited bool
	}{
		"away":       {errors.New("connection refused"), ErrTierUnavailable, true},
		"missing":    {tiering.ErrMissing, ErrTierUnavailable, true},
		"corrupt":    {&tiering.CorruptionError{Key: "k", Err: errors.New("crc")}, ErrCorruptData, true},
		"deleted":    {&tiering.OutOfRangeError{Offset: 3, Start: 9, End: 20}, ErrOffsetOutOfRange, false},
		"stale head": {&tiering.OutOfRangeError{Offset: 3, Start: 0, End: 2}, ErrTierUnavailable, true},
	} {
		t.Run(name, func(t *testing.T) {
			w.gate.set(nil, c.err)
			w.set.cold.get(r, r.head.Load(), 3, 1<<20)
			w.set.cold.group.Wait()
			begun := time.Now()
			f := fetchWait(w.rig, 1, 50*time.Millisecond, part(r, 3))
			f.wait(t)
			if !errors.Is(f.Parts[0].Err, c.want) || !errors.Is(f.Parts[0].Err, c.err) {
				t.Errorf("%v", f.Parts[0].Err)
			}
			if waited := time.Since(begun) >= 50*time.Millisecond; waited != c.waited {
				t.Errorf("waited: %v", waited)
			}
			w.set.cold.mu.Lock()
			for _, d := range slices.Clone(w.set.cold.mu.done) {
				w.set.cold.dropLocked(d)
			}
			w.set.cold.mu.Unlock()
		})
	}
}

// A fetch that saw its read fail says so, even if the next try is under way when it may wait no longer.
func TestColdFetchTellsAnErrorBetweenTwoTries(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 20)
	away := errors.New("connection refused")
	w.gate.set(nil, away)
	w.set.cold.get(r, r.head.Load(), 3, 1<<20)
	w.set.cold.group.Wait()
	f := fetchWait(w.rig, 1, 300*time.Millisecond, part(r, 3))
	gate := make(chan struct{})
	w.gate.set(gate, nil)
	w.set.cold.mu.Lock()
	for _, d := range slices.Clone(w.set.cold.mu.done) {
		w.set.cold.dropLocked(d)
	}
	w.set.cold.mu.Unlock()
	f.wait(t)
	if err := f.Parts[0].Err; !errors.Is(err, ErrTierUnavailable) || !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	close(gate)
}

// A gap between the tiers is an error at its first offset, never skipped.
func TestFetchFromAGapIsAnError(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 20)
	h := *r.head.Load()
	h.TierEnd = 15
	r.head.Store(&h)
	f := fetchWait(w.rig, 1, 0, part(r, 15))
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrCorruptData) {
		t.Errorf("%v", f.Parts[0].Err)
	}
}

// TestListOffsetsAgainstModel compares both tiers with a plain list of timestamps, in any mixture of what is archived,
// dropped and deleted.
func TestListOffsetsAgainstModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	for round := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, round))
		w := newTieredRig(t)
		tp := topic.Partition{ID: topic.ID{1: byte(round), 15: 3}}
		c := tieredConfig()
		c.Segment.Bytes, c.Segment.IndexIntervalBytes = 600, 100
		c.Timestamp.AfterMaxMs = math.MaxInt64
		r := w.open(tp, c)
		if err := r.BecomeLeader(alone(1)); err != nil {
			t.Fatal(err)
		}
		m := &timeModel{t: t, rng: rng}
		m.append(r, 30+rng.IntN(60))
		m.check(w, r, 0)
		w.archive(r)
		m.check(w, r, 0)
		if round%3 != 0 {
			dropLocal(t, r)
			m.check(w, r, 0)
		}
		m.append(r, rng.IntN(40))
		m.check(w, r, 0)
		start := rng.Int64N(int64(len(m.times)))
		low, err := r.DeleteRecords(context.Background(), start)
		if err != nil || low != start {
			t.Fatal(low, err)
		}
		m.check(w, r, start)
		if err := r.Roll(); err != nil {
			t.Fatal(err)
		}
		w.uploaded(r)
		dropLocal(t, r)
		m.check(w, r, start)
	}
}

// uploaded waits until what is sealed is archived.
func (w *tieredRig) uploaded(r *Replica) {
	w.t.Helper()
	(*r.upload.Load()).Sealed()
	w.archived(r, r.Offsets().HighWatermark)
}

// timeModel is the timestamps of a partition's records by offset.
type timeModel struct {
	t     *testing.T
	rng   *rand.Rand
	times []int64
}

func (m *timeModel) append(r *Replica, batches int) {
	for range batches {
		w := batch.Builder{Codec: batch.Codec(m.rng.IntN(2) * 3)}
		for range 1 + m.rng.IntN(5) {
			ts := int64(10_000 + len(m.times)*10 + m.rng.IntN(300) - 150)
			w.Add(ts, nil, []byte("0123456789"))
			m.times = append(m.times, ts)
		}
		b, err := w.Build(nil)
		if err != nil {
			m.t.Fatal(err)
		}
		appendOK(m.t, r, b)
	}
}

// find is what ListOffsets must answer.
func (m *timeModel) find(ts, start int64) TimedOffset {
	best := nowhere
	for o := start; o < int64(len(m.times)); o++ {
		switch t := m.times[o]; {
		case ts == MaxTimestamp && t > best.Timestamp, ts >= 0 && t >= ts && best.Offset < 0:
			best = TimedOffset{Offset: o, Timestamp: t, Epoch: 1}
		}
	}
	return best
}

func (m *timeModel) check(w *tieredRig, r *Replica, start int64) {
	m.t.Helper()
	ask := []int64{MaxTimestamp, 0, 1 << 40, m.find(MaxTimestamp, start).Timestamp, m.find(MaxTimestamp, start).Timestamp + 1}
	for range 60 {
		ask = append(ask, 9_800+m.rng.Int64N(int64(len(m.times)*10+400)))
	}
	for _, ts := range ask {
		got, err := r.ListOffset(context.Background(), ts, -1)
		if want := m.find(ts, start); err != nil || got != want {
			m.t.Fatalf("at %d of %d records, log start %d, %+v: got %+v %v, want %+v", ts, len(m.times), start, r.Offsets(), got, err, want)
		}
	}
	for !m.checkSpecial(r, start) {
	}
}

// checkSpecial compares the special timestamps; false if an upload came in between.
func (m *timeModel) checkSpecial(r *Replica, start int64) bool {
	m.t.Helper()
	o := r.Offsets()
	tierEnd, pending := int64(-1), start
	if o.TierEnd >= 0 {
		tierEnd, pending = o.TierEnd-1, max(start, o.TierEnd)
	}
	for ts, want := range map[int64]int64{
		Latest: int64(len(m.times)), Earliest: start, EarliestLocal: max(start, o.LocalStart), LastTiered: tierEnd, EarliestToTier: pending,
	} {
		got, err := r.ListOffset(context.Background(), ts, 1)
		if r.Offsets() != o {
			return false
		}
		if err != nil || got.Offset != want {
			m.t.Fatalf("special %d: %+v %v, want %d; %+v", ts, got, err, want, o)
		}
	}
	return true
}

// midway is a tier where something happens while it looks for a time.
type midway struct {
	Tier
	then func()
}

func (m *midway) FindTime(ctx context.Context, tp topic.Partition, head *manifest.Head, ts, from int64) (tiering.Stamp, bool, error) {
	s, ok, err := m.Tier.FindTime(ctx, tp, head, ts, from)
	m.then()
	return s, ok, err
}

func (m *midway) MaxTime(ctx context.Context, tp topic.Partition, head *manifest.Head) (tiering.Stamp, bool, error) {
	s, ok, err := m.Tier.MaxTime(ctx, tp, head)
	m.then()
	return s, ok, err
}

// What is archived and dropped from the disk while the tier is searched lies in neither search.
func TestTimesOfWhatIsDroppedDuringTheSearch(t *testing.T) {
	var tier *midway
	w := newTieredRigOn(t, mem.New(), tiertest.NewAnchor(1), func(_ *tiering.ReaderOptions, o *Options) {
		if o.Tier != nil {
			tier = &midway{Tier: o.Tier}
			o.Tier = tier
		}
	})
	r := w.open(testTP, tieredConfig())
	if err := r.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	at := func(ts int64) {
		b := batch.Builder{}
		b.Add(ts, nil, []byte("v"))
		out, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		appendOK(t, r, out)
	}
	tier.then = func() {}
	at(1000)
	w.archive(r)
	dropLocal(t, r)
	for _, ts := range []int64{2000, MaxTimestamp} {
		want := r.Offsets().LogEnd
		at(2000 + want)
		at(1500)
		tier.then = func() {
			tier.then = func() {}
			if err := r.Roll(); err != nil {
				t.Error(err)
			}
			w.uploaded(r)
			dropLocal(t, r)
			at(1600)
		}
		if got, err := r.ListOffset(context.Background(), ts, -1); err != nil || got.Offset != want {
			t.Errorf("time %d: %+v %v, want %d", ts, got, err, want)
		}
	}
}

func TestEpochEndOverBothTiers(t *testing.T) {
	w := newTieredRig(t)
	c := tieredConfig()
	r := w.open(testTP, c)
	for _, epoch := range []int32{1, 4, 7} { // 0-9, 10-19, 20-29
		if err := r.BecomeLeader(alone(epoch)); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			appendOK(t, r, records(t, 1, "v"))
		}
	}
	check := func() {
		t.Helper()
		for epoch, want := range map[int32]EpochEnd{-1: {-1, -1}, 0: {0, 0}, 1: {1, 10}, 3: {1, 10}, 4: {4, 20}, 6: {4, 20}, 7: {7, 30}, 8: {-1, -1}} {
			if got, err := r.EpochEnd(context.Background(), epoch, 7); err != nil || got != want {
				t.Errorf("epoch %d ends at %+v %v, want %+v", epoch, got, err, want)
			}
		}
	}
	check()
	w.archive(r)
	dropLocal(t, r)
	check()
	if _, err := r.EpochEnd(context.Background(), 1, 6); !errors.Is(err, ErrFencedEpoch) {
		t.Error(err)
	}
}

// Where an epoch ended stays known when its records lie in the tier alone, also while later ones come and go on the disk: a
// consumer that still reads them would else be told that they were cut off, and begin again at the log start.
func TestEpochEndAfterLocalSegmentsAreDropped(t *testing.T) {
	w := newTieredRig(t)
	r := w.open(testTP, tieredConfig())
	for _, epoch := range []int32{1, 4, 7} { // 0-9, 10-19, 20-29
		if err := r.BecomeLeader(alone(epoch)); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			appendOK(t, r, records(t, 1, "v"))
		}
		w.archive(r)
		dropLocal(t, r)
	}
	for epoch, want := range map[int32]EpochEnd{0: {0, 0}, 1: {1, 10}, 3: {1, 10}, 4: {4, 20}, 7: {7, 30}} {
		if got, err := r.EpochEnd(context.Background(), epoch, 7); err != nil || got != want {
			t.Errorf("epoch %d ends at %+v %v, want %+v", epoch, got, err, want)
		}
	}
}

// hanging is a tier that does not answer.
type hanging struct {
	Tier
	asked chan struct{}
}

func (h hanging) Tail(ctx context.Context, _ topic.Partition, _ *manifest.Head) (t tiering.TailState, err error) {
	close(h.asked)
	<-ctx.Done()
	return t, context.Cause(ctx)
}

// A broker that stops does not wait for a bucket that hangs, where a log is to start anew at the tier's end.
func TestDrainDoesNotWaitForTheTiersEnd(t *testing.T) {
	tier := hanging{asked: make(chan struct{})}
	g := newRig(t, vfs.NewMem(), func(o *Options) { o.Tier = tier })
	r := g.open(testTP, tieredConfig())
	r.SetTierHead(&manifest.Head{TierEnd: 100})
	done := make(chan error, 1)
	go func() { done <- r.BecomeLeader(alone(1)) }()
	<-tier.asked
	g.set.Drain()
	select {
	case err := <-done:
		if !errors.Is(err, ErrTierUnavailable) {
			t.Error(err)
		}
	case <-time.After(adoptTimeout / 2):
		t.Fatal("it still waits")
	}
}

// forgetful is a tier whose newest object does not say which epochs there were before its own.
type forgetful struct{ Tier }

func (f forgetful) Tail(ctx context.Context, tp topic.Partition, head *manifest.Head) (tiering.TailState, error) {
	t, err := f.Tier.Tail(ctx, tp, head)
	t.Epochs = t.Epochs[len(t.Epochs)-1:]
	return t, err
}

func (f forgetful) EpochEnd(ctx context.Context, tp topic.Partition, head *manifest.Head, epoch int32) (found int32, end int64, ok bool, err error) {
	t, err := f.Tail(ctx, tp, head)
	return 0, t.Epochs[0].Start, false, err
}

// Of an epoch that nobody remembers it is known that it ended where the others begin, at the latest, and not that it never
// was: a consumer at such a record stays where it is.
func TestEpochEndOfAForgottenEpoch(t *testing.T) {
	w := newTieredRig(t)
	r := w.open(testTP, tieredConfig())
	for _, epoch := range []int32{1, 3} { // 0-9, 10-19
		if err := r.BecomeLeader(alone(epoch)); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			appendOK(t, r, records(t, 1, "v"))
		}
	}
	w.archive(r)
	head := r.head.Load()
	w.close(false)
	after := newTieredRigOn(t, w.bucket, w.anchor)
	after.set.opts.Tier = forgetful{after.set.opts.Tier}
	r = after.open(testTP, tieredConfig())
	r.SetTierHead(head)
	if err := r.BecomeLeader(alone(4)); err != nil {
		t.Fatal(err)
	}
	for epoch, want := range map[int32]EpochEnd{0: {0, 10}, 1: {1, 10}, 3: {3, 20}} {
		if got, err := r.EpochEnd(context.Background(), epoch, -1); err != nil || got != want {
			t.Errorf("epoch %d ends at %+v %v, want %+v", epoch, got, err, want)
		}
	}
}

// parting is a tier that is asked while something else goes on.
type parting struct {
	Tier
	meanwhile func()
}

func (p parting) EpochEnd(ctx context.Context, tp topic.Partition, head *manifest.Head, epoch int32) (found int32, end int64, ok bool, err error) {
	p.meanwhile()
	return p.Tier.EpochEnd(ctx, tp, head, epoch)
}

// What is found while the role ends may be of a log that is being cut for the next leader: nobody is told of it.
func TestEpochEndWhileTheLeadIsLost(t *testing.T) {
	w := newTieredRig(t)
	r := w.lead(tieredConfig())
	appendOK(t, r, records(t, 10, "v"))
	w.archive(r)
	head := r.head.Load()
	w.close(false)
	after := newTieredRigOn(t, w.bucket, w.anchor)
	var next func(State) error
	state := alone(4)
	after.set.opts.Tier = parting{forgetful{after.set.opts.Tier}, func() {
		if err := next(state); err != nil {
			t.Error(err)
		}
	}}
	r = after.open(testTP, tieredConfig())
	r.SetTierHead(head)
	if err := r.BecomeLeader(state); err != nil {
		t.Fatal(err)
	}
	next, state.Rev = r.BecomeLeader, state.Rev+1
	if got, err := r.EpochEnd(t.Context(), 0, -1); err != nil || got.End != 0 {
		t.Errorf("leading on in the same epoch: %+v, %v", got, err)
	}
	next, state.Leader, state.LeaderEpoch, state.Rev = r.BecomeFollower, 2, 5, state.Rev+1
	if got, err := r.EpochEnd(t.Context(), 0, -1); !errors.Is(err, ErrNotLeader) || got != (EpochEnd{-1, -1}) {
		t.Errorf("while another is elected: %+v, %v", got, err)
	}
}

// H12: a replica that lost its disk starts at the end of the tier, knows its producers, and gives no offset twice.
// A leader whose log goes on beyond the tier, but was written by another leader below its end, starts anew there.
func TestLeaderStartsAtTheEndOfATierOfAnotherLine(t *testing.T) {
	w := newTieredRig(t)
	c := tieredConfig()
	c.Segment.Bytes = 1 << 10
	r := w.open(testTP, c)
	lead := func(r *Replica, epoch int32, records int) {
		t.Helper()
		if err := r.BecomeLeader(alone(epoch)); err != nil {
			t.Fatal(err)
		}
		for i := range records {
			appendOK(t, r, idempotent(t, int64(epoch), 0, int32(i), 1, name2(i)))
		}
	}
	lead(r, 1, 20)
	lead(r, 2, 20)
	w.archive(r)
	head := r.head.Load()
	w.close(false)
	for _, line := range []struct {
		led []struct{ epoch, records int }
		end int64
	}{
		{[]struct{ epoch, records int }{{1, 60}}, 40},
		{[]struct{ epoch, records int }{{1, 30}, {3, 30}}, 40},
		{[]struct{ epoch, records int }{{1, 20}, {2, 40}}, 60}, // the same line
	} {
		emptied := manifest.Head{WriterEpoch: head.WriterEpoch, LogStart: head.TierEnd, TierEnd: head.TierEnd, TierEndEpoch: head.TierEndEpoch}
		for _, head := range []*manifest.Head{head, &emptied} {
			other := newTieredRigOn(t, w.bucket, w.anchor)
			r = other.open(testTP, c)
			for _, l := range line.led {
				lead(r, int32(l.epoch), l.records)
			}
			r.SetTierHead(head)
			end := line.end
			if epoch := line.led[len(line.led)-1].epoch; head == &emptied && epoch > 2 {
				end = 60 // nothing is there that it would part from, and what it has can follow
			}
			lead(r, 4, 0)
			if o := r.Offsets(); o.LogEnd != end {
				t.Errorf("%v, segments in the tier %d: %+v, want the end at %d", line.led, head.Segments, o, end)
			}
			other.close(false)
		}
	}
}

// A broker may hear of its election before it knows the registration under which it leads. It does not lead until then, and starts
// at the tier's end all the same if its log is of another line.
func TestLeaderThatHeardOfItsElectionTooEarlyStartsAtTheTiersEnd(t *testing.T) {
	w := newTieredRig(t)
	r := w.open(testTP, tieredConfig())
	lead := func(r *Replica, epoch int32, n int) {
		t.Helper()
		if err := r.BecomeLeader(alone(epoch)); err != nil {
			t.Fatal(err)
		}
		for range n {
			appendOK(t, r, records(t, 1, "v"))
		}
	}
	lead(r, 2, 20)
	w.archive(r)
	head := r.head.Load()
	other := newTieredRigOn(t, w.bucket, w.anchor)
	r = other.open(testTP, tieredConfig())
	lead(r, 1, 30)
	r.SetTierHead(head)
	if err := r.BecomeFollower(alone(3)); err != nil {
		t.Fatal(err)
	}
	lead(r, 3, 0)
	if o := r.Offsets(); o.LogEnd != 20 {
		t.Errorf("%+v, want the end at 20", o)
	}
}

// A leader that was cut off while others led, and archived, leads again without having heard of them. What it had not committed by
// then goes with its log: nobody is told that it is committed.
func TestNoAcknowledgementOfWhatTheTierHasReplaced(t *testing.T) {
	w := newTieredRig(t)
	r := w.open(testTP, tieredConfig())
	if err := r.BecomeLeader(alone(2)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		appendOK(t, r, records(t, 1, "v"))
	}
	w.archive(r)
	head := r.head.Load()
	for _, n := range []int{1, 30} { // up to the tier's end and beyond
		other := newTieredRigOn(t, w.bucket, w.anchor)
		r = other.open(testTP, tieredConfig())
		if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}); err != nil {
			t.Fatal(err)
		}
		a := start(r, AcksAll, records(t, n, "lost"))
		r.SetTierHead(head)
		if err := r.BecomeLeader(alone(3)); err != nil {
			t.Fatal(err)
		}
		for range n {
			appendOK(t, r, records(t, 1, "v"))
		}
		if a.wait(t); !errors.Is(a.Err, ErrNotLeader) {
			t.Errorf("%d records are acknowledged with %v", n, a.Err)
		}
	}
}

func TestLostDiskStartsAtTheTiersEnd(t *testing.T) {
	w := newTieredRig(t)
	c := tieredConfig()
	c.Segment.Bytes = 1 << 10
	r := w.open(testTP, c)
	for _, epoch := range []int32{1, 3} {
		if err := r.BecomeLeader(alone(epoch)); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			appendOK(t, r, idempotent(t, int64(epoch), 0, int32(i), 1, name2(i)))
		}
	}
	w.archive(r)
	head := r.head.Load()
	w.close(false)

	after := newTieredRigOn(t, w.bucket, w.anchor)
	r = after.open(testTP, c)
	r.SetTierHead(head)
	if err := r.BecomeLeader(alone(4)); err != nil {
		t.Fatal(err)
	}
	if o := r.Offsets(); o.LogStart != 0 || o.LocalStart != 40 || o.HighWatermark != 40 || o.LogEnd != 40 {
		t.Fatalf("%+v", o)
	}
	if base := appendOK(t, r, idempotent(t, 3, 0, 19, 1, name2(19))); base != 39 {
		t.Errorf("a retry was appended at %d", base)
	}
	if a := start(r, AcksAll, idempotent(t, 1, 0, 25, 1, "gap")).wait(t); !errors.Is(a.Err, ErrOutOfOrderSequence) {
		t.Errorf("gap: %v", a.Err)
	}
	if base := appendOK(t, r, idempotent(t, 3, 0, 20, 1, "next")); base != 40 {
		t.Errorf("appended at %d", base)
	}
	for epoch, want := range map[int32]EpochEnd{1: {1, 20}, 2: {1, 20}, 3: {3, 40}, 4: {4, 41}} {
		if got, err := r.EpochEnd(context.Background(), epoch, -1); err != nil || got != want {
			t.Errorf("epoch %d ends at %+v %v, want %+v", epoch, got, err, want)
		}
	}
	f := fetchWait(after.rig, 1, time.Minute, part(r, 0))
	if f.wait(t); len(f.batches(t, 0)) == 0 {
		t.Error(f.Parts[0].Err)
	}
	// Without the tier it must not lead at all.
	bare := newRig(t, vfs.NewMem())
	lost := bare.open(testTP, c)
	lost.SetTierHead(head)
	if err := lost.BecomeLeader(alone(5)); !errors.Is(err, ErrTierUnavailable) {
		t.Errorf("%v", err)
	}
	if a := start(lost, AcksAll, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("%v", a.Err)
	}
}

// leaving is a tier from which is read while the replica is taken away.
type leaving struct {
	Tier
	leave func()
}

func (l leaving) Tail(ctx context.Context, tp topic.Partition, head *manifest.Head) (tiering.TailState, error) {
	defer l.leave()
	return l.Tier.Tail(ctx, tp, head)
}

// The producers of a replica that is taken away while it reads where the tier ends do not count towards what the broker remembers:
// nobody would forget them.
func TestReplicaTakenAwayDoesNotTakeTheTiersProducersOver(t *testing.T) {
	w := newTieredRig(t)
	r := w.open(testTP, tieredConfig())
	if err := r.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	for id := range int64(3) {
		appendOK(t, r, idempotent(t, id, 0, 0, 1, "v"))
	}
	w.archive(r)
	head := r.head.Load()
	w.close(false)

	after := newTieredRigOn(t, w.bucket, w.anchor)
	after.set.opts.Tier = leaving{after.set.opts.Tier, func() { after.set.unhost(testTP, ErrNotLeader) }} // its log is closed later
	r = after.open(testTP, tieredConfig())
	r.SetTierHead(head)
	if err := r.BecomeLeader(alone(4)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("leads: %v", err)
	}
	if n := r.producers.total.Load(); n != 0 || r.log.Next() != 0 {
		t.Errorf("%d producers count, and the log ends at %d", n, r.log.Next())
	}
	_ = r.log.Close() // as who puts it away does
}

// Where object storage is switched on for a topic that had none, another leader may take over while the first one archives what
// it had: the new one must go on where that one ended. Logs of different replicas are cut into different segments, so that what
// each would let go by itself is not the same.
func TestTieringSwitchedOnGoesOnUnderTheNextLeader(t *testing.T) {
	w := newTieredRig(t)
	other := newTieredRigOn(t, w.bucket, w.anchor, func(_ *tiering.ReaderOptions, o *Options) { o.BrokerID = 2 })
	c := durableConfig()
	c.Segment.Bytes, c.Retention.Bytes = 1<<10, 2<<10
	a, b := &member{rig: w.rig, id: 1, r: w.open(testTP, c)}, &member{rig: other.rig, id: 2, r: other.open(testTP, c)}
	st := State{Leader: 1, LeaderEpoch: 1, Rev: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	elect(t, []*member{a, b}, st)
	for i := range 100 {
		start(a.r, AcksLeader, records(t, 1, name2(i)))
		catchUp(t, b, a)
	}
	b.r.maintain(time.Now()) // the leader's turn has not come

	c.Retention.Bytes, c.Tier = -1, tieredConfig().Tier
	a.r.SetConfig(c)
	b.r.SetConfig(c)
	first := a.r.log.Segments()[0].End
	up := w.uploader.Register(testTP, 1, source{tiering.NewLogSource(a.r.Log(), func() int64 { return first }), a.r}, tiering.Limits{MaxLag: time.Hour, MinBytes: 1 << 40})
	t.Cleanup(up.Close)
	a.r.SetUpload(up)
	w.archived(a.r, first)

	b.r.SetTierHead(a.r.TierHead())
	st.Leader, st.LeaderEpoch, st.Rev, st.ISR = 2, 2, 2, []int32{2}
	elect(t, []*member{a, b}, st)
	if o := b.r.Offsets(); o.LocalStart > o.TierEnd {
		t.Fatalf("the tier ends at %d, the log of the next leader begins at %d", o.TierEnd, o.LocalStart)
	}
	appendOK(t, b.r, records(t, 1, name2(100)))
	other.archive(b.r)
	if got := values(t, other.rig, b.r, 0); len(got) != 101 {
		t.Errorf("%d of 101 records are left", len(got))
	}
}

// Followers let go what their leader has.
func TestFollowersStartWhereTheLeaderDoes(t *testing.T) {
	c := durableConfig()
	c.Segment.Bytes, c.Retention.Ms = 100, 1000
	all := newMembers(t, 3, c)
	elect(t, all, three(1, 1))
	now := time.Now()
	for range 10 {
		start(all[0].r, AcksLeader, aged(t, now.UnixMilli()-500, 1000))
	}
	for range 2 {
		catchUp(t, all[1], all[0])
		catchUp(t, all[2], all[0])
	}
	now = now.Add(time.Second)
	for i, m := range []*member{all[1], all[0]} {
		if m.r.maintain(now); m.r.Offsets().LogStart != int64(i)*10 {
			t.Errorf("broker %d: %+v", m.id, m.r.Offsets())
		}
	}
	for _, m := range all[1:] {
		catchUp(t, m, all[0])
		if m.r.maintain(now); m.r.Offsets().LocalStart != 10 || m.r.Size() != 0 {
			t.Errorf("broker %d: %+v, %d bytes", m.id, m.r.Offsets(), m.r.Size())
		}
	}
}

// A log that is still being cut to fit a leader of the past, when the replica is elected uncleanly, does not end below the tier:
// offsets that are there would be given again.
func TestLeaderElectedWhileItsLogIsCutEndsBehindTheTier(t *testing.T) {
	w := newTieredRig(t)
	r := w.open(testTP, tieredConfig())
	if err := r.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		appendOK(t, r, records(t, 5, "v"))
	}
	w.archive(r)
	st := State{Leader: 2, LeaderEpoch: 2, Rev: 2, Replicas: []int32{1, 2}, ISR: []int32{2}}
	if err := r.BecomeFollower(st); err != nil {
		t.Fatal(err)
	}
	waits := func(fn, lock string) func() bool {
		return func() bool {
			return slices.ContainsFunc(stacks(), func(s string) bool { return strings.Contains(s, fn) && strings.Contains(s, lock) })
		}
	}
	cut, led := make(chan error, 1), make(chan error, 1)
	r.append.Lock()
	go func() { cut <- r.Truncate(2, EpochEnd{Epoch: 1, End: 5}) }()
	until(t, "the log is about to be cut", waits("(*Replica).Truncate", "sync.(*Mutex).Lock"))
	st.Leader, st.LeaderEpoch, st.Rev, st.ISR = 1, 3, 3, []int32{1}
	go func() { led <- r.BecomeLeader(st) }()
	until(t, "it is about to lead", waits("(*Replica).BecomeLeader", "Lock"))
	r.append.Unlock()
	if err := errors.Join(<-cut, <-led); err != nil {
		t.Fatal(err)
	}
	if o := r.Offsets(); o.LogEnd < o.TierEnd {
		t.Errorf("%+v", o)
	}
}
