package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// part asks for a replica's bytes from offset on.
func part(r *Replica, offset int64) FetchPart {
	return FetchPart{Replica: r, Offset: offset, MaxBytes: 1 << 20, LeaderEpoch: -1, LastEpoch: -1}
}

func TestFetchWaitsForMinBytes(t *testing.T) {
	for name, conf := range map[string]int64{"durable": 1, "relaxed": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			c := durableConfig()
			c.Flush.Messages = conf
			r := g.lead(c)
			appendOK(t, r, records(t, 1, "old"))
			size := len(records(t, 1, "new"))
			f := fetchWait(g, 2*size, time.Hour, part(r, 1))
			all := fetchWait(g, 3*size, time.Hour, part(r, 0)) // has some already, and gets it once
			appendOK(t, r, records(t, 1, "new"))
			if !f.pending() || !all.pending() {
				t.Fatal("answered with less than was asked for")
			}
			appendOK(t, r, records(t, 1, "new"))
			f.wait(t)
			if got := f.batches(t, 0); len(got) != 2 || f.Parts[0].HighWatermark != 3 {
				t.Errorf("%d batches, high watermark %d", len(got), f.Parts[0].HighWatermark)
			}
			all.wait(t)
			if n := all.Parts[0].Bytes; n != 3*size {
				t.Errorf("%d bytes, want %d", n, 3*size)
			}
			if got := all.batches(t, 0); len(got) != 3 {
				t.Errorf("%d batches from the beginning", len(got))
			}
			if r.waiters.fetches.head != nil || g.set.wheel.mu.count != 0 {
				t.Error("something still waits")
			}
		})
	}
}

// A segment's end is no reason to wait: what min.bytes asks for may lie in several.
func TestFetchReadsAcrossSegments(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	c := durableConfig()
	c.Segment.Bytes = 200
	r := g.lead(c)
	for i := range 20 {
		appendOK(t, r, records(t, 1, name2(i)))
	}
	size := len(records(t, 1, name2(0)))
	f := fetchWait(g, 15*size, time.Hour, part(r, 1))
	f.wait(t)
	got := f.batches(t, 0)
	if n := len(r.log.Segments()); n < 5 || len(got) != 19 {
		t.Errorf("%d of 19 batches out of %d segments", len(got), n)
	}
	p := part(r, 1)
	p.MaxBytes = 5*size + 1
	f = fetchWait(g, 1, time.Hour, p)
	if f.wait(t); len(f.batches(t, 0)) != 5 {
		t.Error("max bytes are not kept across segments")
	}
}

func TestFetchWaitsAcrossPartitions(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(relaxedConfig())
	o := g.open(otherTP, relaxedConfig())
	if err := o.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	size := len(records(t, 1, "v"))
	f := fetchWait(g, 2*size, time.Hour, part(r, 0), part(o, 0))
	appendOK(t, r, records(t, 1, "v"))
	if !f.pending() {
		t.Fatal("answered too early")
	}
	appendOK(t, o, records(t, 1, "v"))
	f.wait(t)
	if len(f.batches(t, 0)) != 1 || len(f.batches(t, 1)) != 1 {
		t.Error("not both partitions")
	}
}

func TestFetchEndsItsWait(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(durableConfig())
	begun := time.Now()
	f := fetchWait(g, 1, 30*time.Millisecond, part(r, 0))
	if f.wait(t); time.Since(begun) < 30*time.Millisecond || f.Parts[0].Err != nil {
		t.Errorf("time over: after %v, %v", time.Since(begun), f.Parts[0].Err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	f = &waitingFetch{done: make(chan struct{})}
	f.MinBytes, f.MaxBytes, f.MaxWait, f.Parts = 1, 1<<20, time.Hour, []FetchPart{part(r, 0)}
	f.Done = func(*Fetch) { close(f.done) }
	g.set.Fetch(ctx, &f.Fetch)
	cancel()
	f.wait(t)

	f = fetchWait(g, 1, time.Hour, part(r, 0))
	if err := r.BecomeFollower(State{Leader: 2, LeaderEpoch: 3}); err != nil {
		t.Fatal(err)
	}
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrNotLeader) {
		t.Errorf("leadership lost: %v", f.Parts[0].Err)
	}

	if err := r.BecomeLeader(alone(4)); err != nil {
		t.Fatal(err)
	}
	f = fetchWait(g, 1, time.Hour, part(r, 0))
	if err := g.set.Remove(testTP, ErrUnknownPartition); err != nil {
		t.Fatal(err)
	}
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrUnknownPartition) {
		t.Errorf("removed: %v", f.Parts[0].Err)
	}

	r = g.lead(durableConfig())
	f = fetchWait(g, 1, time.Hour, part(r, 0))
	g.set.Drain()
	f.wait(t)
	f = fetchWait(g, 1, time.Hour, part(r, 0))
	f.wait(t)
}

func TestFetchKeepsItsBudget(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(relaxedConfig())
	o := g.open(otherTP, relaxedConfig())
	if err := o.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	size := len(records(t, 1, "v"))
	for range 4 {
		appendOK(t, r, records(t, 1, "v"))
		appendOK(t, o, records(t, 1, "v"))
	}
	for _, c := range []struct{ total, first, second, want0, want1 int }{
		{1 << 20, 1 << 20, 1 << 20, 4, 4},
		{1 << 20, 2*size + 1, 1, 2, 0},         // the second partition's first batch does not fit
		{1, 1, 1, 1, 0},                        // one batch at least, but only once
		{3 * size, 2 * size, 1 << 20, 2, 1},    // what the first leaves
		{0, 0, 0, 1, 0},                        // the same with nothing at all
		{1 << 20, size - 1, 1 << 20, 1, 4},     // a batch larger than its partition's share
		{5*size + 5, 1 << 20, 1 << 20, 4, 1},   // whole batches only
		{2*size - 1, 1 << 20, 1 << 20, 1, 0},   // a second batch does not fit
		{1 << 20, 1 << 20, 2*size - 1, 4, 1},   // nor here
		{4*size + size/2, 1 << 20, size, 4, 0}, // nothing is left
	} {
		f := &waitingFetch{done: make(chan struct{})}
		p, q := part(r, 0), part(o, 0)
		p.MaxBytes, q.MaxBytes = c.first, c.second
		f.MaxBytes, f.Parts = c.total, []FetchPart{p, q}
		f.Done = func(*Fetch) { close(f.done) }
		g.set.Fetch(context.Background(), &f.Fetch)
		f.wait(t)
		if n, m := len(f.batches(t, 0)), len(f.batches(t, 1)); n != c.want0 || m != c.want1 {
			t.Errorf("%+v: %d and %d batches of %d bytes", c, n, m, size)
		}
	}
}

// What a consumer that is behind would wait for may be more than it takes at a time.
func TestFetchDoesNotWaitForMoreThanFits(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	c := relaxedConfig()
	c.Segment.Bytes = 200
	r := g.lead(c)
	for i := range 10 {
		appendOK(t, r, records(t, 1, name2(i)))
	}
	size := len(records(t, 1, name2(0)))
	for _, offset := range []int64{0, 1, 2, 7} { // within a segment, and at its end
		for name, limits := range map[string]struct{ all, each int }{
			"partition": {1 << 20, 2*size + size/2},
			"answer":    {2*size + size/2, 1 << 20},
		} {
			f := &waitingFetch{done: make(chan struct{})}
			p := part(r, offset)
			p.MaxBytes, f.MaxBytes = limits.each, limits.all
			f.MinBytes, f.MaxWait, f.Parts = 2*size+size/2, time.Hour, []FetchPart{p}
			f.Done = func(*Fetch) { close(f.done) }
			g.set.Fetch(context.Background(), &f.Fetch)
			if f.wait(t); len(f.batches(t, 0)) != 2 {
				t.Errorf("%s, from %d: %d bytes of batches of %d", name, offset, f.Parts[0].Bytes, size)
			}
		}
	}
	// With nothing more there is something to wait for.
	p := part(r, 8)
	p.MaxBytes = 2*size + size/2
	f := fetchWait(g, p.MaxBytes, time.Hour, p)
	if !f.pending() {
		t.Error("answered with all there is, which is less than was asked for")
	}
	appendOK(t, r, records(t, 1, name2(0)))
	if f.wait(t); len(f.batches(t, 0)) != 2 {
		t.Errorf("%d bytes of batches of %d", f.Parts[0].Bytes, size)
	}
}

func TestFetchChecksEpochsAndOffsets(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(durableConfig())
	appendOK(t, r, records(t, 5, "v")) // epoch 1: 0-4
	if err := r.BecomeLeader(alone(3)); err != nil {
		t.Fatal(err)
	}
	appendOK(t, r, records(t, 5, "v")) // epoch 3: 5-9
	for _, c := range []struct {
		name        string
		offset      int64
		epoch, last int32
		err         error
		diverging   EpochEnd
	}{
		{"plain", 0, -1, -1, nil, EpochEnd{-1, -1}},
		{"right epoch", 0, 3, -1, nil, EpochEnd{-1, -1}},
		{"old epoch", 0, 2, -1, ErrFencedEpoch, EpochEnd{-1, -1}},
		{"epoch to come", 0, 4, -1, ErrUnknownEpoch, EpochEnd{-1, -1}},
		{"at the end", 10, 3, 3, nil, EpochEnd{-1, -1}},
		{"beyond the end", 11, 3, -1, ErrOffsetOutOfRange, EpochEnd{-1, -1}},
		{"negative", -1, 3, -1, ErrOffsetOutOfRange, EpochEnd{-1, -1}},
		{"same lineage", 5, 3, 1, nil, EpochEnd{-1, -1}},
		{"longer in an old epoch", 7, 3, 1, nil, EpochEnd{1, 5}},
		{"an epoch we never had", 7, 3, 2, nil, EpochEnd{1, 5}},
		{"an epoch after ours", 7, 3, 9, ErrOffsetOutOfRange, EpochEnd{-1, -1}},
	} {
		p := part(r, c.offset)
		p.LeaderEpoch, p.LastEpoch = c.epoch, c.last
		f := fetchWait(g, 0, 0, p)
		f.wait(t)
		f.batches(t, 0)
		if got := f.Parts[0]; !errors.Is(got.Err, c.err) || got.Diverging != c.diverging {
			t.Errorf("%s: %v, %+v", c.name, got.Err, got.Diverging)
		}
	}
}

// A damaged partition must neither hold back the others nor make its client spin.
func TestFetchErrorOfOnePartition(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	g := newRig(t, faultfs.Wrap(mem, &inject))
	r := g.lead(relaxedConfig())
	o := g.open(otherTP, relaxedConfig())
	if err := o.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	appendOK(t, r, records(t, 1, "v"))
	bad := r.storageError("read", &segment.CorruptionError{Path: "p", Offset: 3, Err: errors.New("rot")})
	if !errors.Is(bad, ErrCorruptData) {
		t.Fatal(bad)
	}
	broken := brokenReplica(g, bad)

	begun := time.Now()
	f := fetchWait(g, 1, 50*time.Millisecond, part(broken, 0), part(o, 0))
	if f.wait(t); time.Since(begun) < 50*time.Millisecond || !errors.Is(f.Parts[0].Err, ErrCorruptData) || f.Parts[1].Err != nil {
		t.Errorf("after %v: %v, %v", time.Since(begun), f.Parts[0].Err, f.Parts[1].Err)
	}
	f = fetchWait(g, 1, time.Hour, part(broken, 0), part(o, 0))
	appendOK(t, o, records(t, 1, "v"))
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrCorruptData) || len(f.batches(t, 1)) != 1 {
		t.Errorf("%v", f.Parts[0].Err)
	}
	f = fetchWait(g, 1, time.Hour, part(broken, 0), part(r, 0))
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrCorruptData) || len(f.batches(t, 1)) != 1 {
		t.Errorf("%v", f.Parts[0].Err)
	}
	// An error that asking again heals is told at once.
	f = fetchWait(g, 1, time.Hour, part(o, 99), part(r, 1))
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrOffsetOutOfRange) || f.Parts[1].Err != nil {
		t.Errorf("%v", f.Parts[0].Err)
	}
}

// brokenReplica is one whose log could not be opened.
func brokenReplica(g *rig, err error) *Replica {
	r := &Replica{tp: otherTP, set: g.set, disk: g.disk, broken: err, logger: testLogger(g.t)}
	c := durableConfig()
	r.configure(c)
	r.role.Store(&role{leader: -1, epoch: -1})
	return r
}

// Many fetches wait at one tail while it grows: each must see every record once and none may be forgotten.
func TestFetchersFollowTheTail(t *testing.T) {
	for name, c := range map[string]int64{"durable": 1, "relaxed": 1 << 40} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			conf := durableConfig()
			conf.Flush.Messages, conf.Segment.Bytes = c, 8<<10
			r := g.lead(conf)
			const total, readers = 500, 16
			var group sync.WaitGroup
			for range readers {
				group.Go(func() { followTail(t, g, r, total) })
			}
			for i := range total {
				appendOK(t, r, records(t, 1, name2(i)))
			}
			group.Wait()
		})
	}
}

func name2(i int) string { return fmt.Sprintf("record %d", i) }

func followTail(t *testing.T, g *rig, r *Replica, total int64) {
	for next := int64(0); next < total; {
		f := fetchWait(g, 1, time.Minute, part(r, next))
		f.wait(t)
		if f.Parts[0].Err != nil {
			t.Errorf("at %d: %v", next, f.Parts[0].Err)
			return
		}
		got := f.batches(t, 0)
		if len(got) == 0 {
			t.Errorf("woken at %d for nothing", next)
			return
		}
		for _, b := range got {
			if b.BaseOffset() != next {
				t.Errorf("offset %d instead of %d", b.BaseOffset(), next)
				return
			}
			_ = b.Each(nil, 1<<20, func(rec batch.Record) error {
				if string(rec.Value) != name2(int(next)) {
					t.Errorf("offset %d holds %q", next, rec.Value)
				}
				return nil
			})
			next = b.NextOffset()
		}
	}
}

// Readers hold their bytes whatever happens to the log behind them.
func TestReadersWhileSegmentsRollAndGo(t *testing.T) {
	t.Parallel()
	g := newRigIn(t, vfs.OS(), t.TempDir())
	conf := relaxedConfig()
	conf.Segment.Bytes = 8 << 10
	conf.Retention.Bytes = 24 << 10
	r := g.lead(conf)
	var stop atomic.Bool
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for !stop.Load() {
				readOnce(t, g, r)
			}
		})
	}
	for i := range 700 {
		appendOK(t, r, records(t, 1, name2(i)))
		if i%50 == 0 {
			r.maintain(time.Now())
		}
	}
	stop.Store(true)
	group.Wait()
	if o := r.Offsets(); o.LogStart == 0 || o.LogStart != o.LocalStart {
		t.Errorf("nothing was dropped: %+v", o)
	}
}

// readOnce reads from the log start and checks every byte.
func readOnce(t *testing.T, g *rig, r *Replica) {
	from := r.Offsets().LogStart
	f := fetchWait(g, 0, 0, part(r, from))
	f.wait(t)
	if err := f.Parts[0].Err; err != nil {
		if !errors.Is(err, ErrOffsetOutOfRange) || r.Offsets().LogStart <= from {
			t.Error(err)
		}
		return
	}
	next := from
	for _, b := range f.batches(t, 0) {
		if b.BaseOffset() != next {
			t.Errorf("offset %d instead of %d", b.BaseOffset(), next)
		}
		_ = b.Each(nil, 1<<20, func(rec batch.Record) error {
			if string(rec.Value) != name2(int(next)) {
				t.Errorf("offset %d holds %q", next, rec.Value)
			}
			return nil
		})
		next = b.NextOffset()
	}
}

// What is committed, or changes, between the reading and the waiting must not be missed.
func TestFetchNoticesWhatHappensBeforeItWaits(t *testing.T) {
	for name, happens := range map[string]func(r *Replica){
		"append":     func(r *Replica) { appendOK(t, r, records(t, 1, "v")) },
		"new epoch":  func(r *Replica) { _ = r.BecomeLeader(alone(2)) },
		"lost":       func(r *Replica) { _ = r.BecomeFollower(State{LeaderEpoch: 2}) },
		"log starts": func(r *Replica) { r.raiseFloor(1) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			r := g.lead(durableConfig())
			appendOK(t, r, records(t, 1, "v"))
			f := &Fetch{MinBytes: 1, MaxBytes: 1 << 20, Parts: []FetchPart{part(r, 1)}, set: g.set, ctx: context.Background()}
			f.alarm.ring = f.wake
			f.Parts[0].fetch = f
			if enough, _ := f.read(); enough {
				t.Fatal("there is nothing to read yet")
			}
			happens(r)
			f.remaining.Store(1)
			if f.enter(); f.remaining.Load() > 0 {
				t.Error("it would wait")
			}
			f.leave()
		})
	}
}

// A fetch that meets a replica which is being put away does not say that its log ends at 0, or has ended there: a follower would
// throw away what it has, a consumer begin anew.
func TestFetchOfWhatIsPutAwayMeanwhile(t *testing.T) {
	for name, end := range map[string]func(s *Set) error{
		"removed":   func(s *Set) error { return s.Remove(testTP, ErrUnknownPartition) },
		"set aside": func(s *Set) error { return s.SetAside(testTP) },
	} {
		for _, at := range []struct {
			offset    int64
			lastEpoch int32
		}{{3, 1}, {5, -1}} {
			t.Run(fmt.Sprintf("%s %+v", name, at), func(t *testing.T) {
				g := newRig(t, vfs.NewMem())
				r := g.lead(durableConfig())
				appendOK(t, r, records(t, 5, "v"))
				f := &waitingFetch{done: make(chan struct{})}
				f.MinBytes, f.MaxBytes, f.MaxWait = 1, 1<<20, time.Minute
				f.Parts = []FetchPart{{Replica: r, Offset: at.offset, MaxBytes: 1 << 20, LeaderEpoch: 1, LastEpoch: at.lastEpoch}}
				f.Near = func(int32) bool { // by now it has been seen that the replica leads
					if err := end(g.set); err != nil {
						t.Error(err)
					}
					return true
				}
				f.Done = func(*Fetch) { close(f.done) }
				g.set.Fetch(t.Context(), &f.Fetch)
				f.wait(t)
				if p := &f.Parts[0]; p.Err == nil || errors.Is(p.Err, ErrOffsetOutOfRange) || p.Diverging.Epoch >= 0 {
					t.Errorf("%v, %+v", p.Err, p.Diverging)
				}
			})
		}
	}
}
