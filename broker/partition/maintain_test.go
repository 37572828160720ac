package partition

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
	"firn/tiering"
	"firn/tiering/manifest"
)

// aged builds a batch of one record with a timestamp.
func aged(t testing.TB, ts int64, size int) []byte {
	t.Helper()
	var w batch.Builder
	w.Add(ts, nil, make([]byte, size))
	b, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRetentionOfUntieredTopics(t *testing.T) {
	day := int64(24 * 3600_000)
	for name, c := range map[string]struct {
		conf func(*topic.Config)
		want int64 // log start of ten segments of one record each, a day apart, the last one of today
	}{
		"none":               {func(c *topic.Config) {}, 0},
		"time":               {func(c *topic.Config) { c.Retention.Ms = 5*day + day/2 }, 4},
		"time, all of it":    {func(c *topic.Config) { c.Retention.Ms = 0 }, 10},
		"bytes":              {func(c *topic.Config) { c.Retention.Bytes = 3500 }, 6},
		"compacted":          {func(c *topic.Config) { c.Retention.Ms = day; c.Cleanup = topic.Cleanup{Compact: true} }, 0},
		"compact and delete": {func(c *topic.Config) { c.Retention.Ms = 2*day + day/2; c.Cleanup.Compact = true }, 7},
		"tiered, not yet archived": {func(c *topic.Config) {
			c.Retention.Ms, c.Tier = day, topic.Tier{Enabled: true, LocalMs: 0, LocalBytes: 0}
		}, 0},
		"tiered, but not copied": {func(c *topic.Config) {
			c.Retention.Ms, c.Tier = 5*day+day/2, topic.Tier{Enabled: true, CopyDisabled: true, LocalMs: -1, LocalBytes: -1}
		}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			g := newRig(t, mem)
			conf := durableConfig()
			conf.Segment.Bytes = 100
			r := g.lead(conf)
			now := time.Now()
			for i := range int64(10) {
				appendOK(t, r, aged(t, now.UnixMilli()-(9-i)*day-1000, 1000))
			}
			c.conf(&conf)
			r.SetConfig(conf)
			r.maintain(now)
			if o := r.Offsets(); o.LogStart != c.want || o.LogEnd != 10 {
				t.Fatalf("%+v, want start %d", o, c.want)
			}
			if p, _ := fetch(t, g, r, c.want-1, 100); c.want > 0 && !errors.Is(p.Err, ErrOffsetOutOfRange) {
				t.Errorf("below the start: %v", p.Err)
			}
			// What is gone stays gone, and what is left is whole.
			after := newRig(t, mem.CrashClone(3, 0))
			r = after.lead(conf)
			if got := values(t, after, r, c.want); r.Offsets().LogStart != c.want || int64(len(got)) != 10-c.want {
				t.Errorf("after a power cut: %+v, %d records", r.Offsets(), len(got))
			}
		})
	}
}

// Right after a start, before it is known what the tier has, nothing is dropped.
func TestNoRetentionBeforeTheTierHeadIsKnown(t *testing.T) {
	mem := vfs.NewMem()
	g := newRig(t, mem)
	conf := durableConfig()
	conf.Segment.Bytes = 100
	r := g.lead(conf)
	now := time.Now()
	for range 10 {
		appendOK(t, r, aged(t, now.UnixMilli()-1000, 1000))
	}
	conf.Retention.Ms = 10
	g.close(true)
	r = newRig(t, mem).open(testTP, conf)
	r.maintain(now)
	if o := r.Offsets(); o.LocalStart != 0 || o.HighWatermark != 10 {
		t.Fatalf("%+v", o)
	}
	r.SetTierHead(&manifest.Head{TierEnd: 5, TierEndEpoch: 1})
	if err := r.BecomeLeader(alone(2)); err != nil {
		t.Fatal(err)
	}
	r.maintain(now)
	if o := r.Offsets(); o.LocalStart > 5 || o.LogStart != 0 {
		t.Errorf("%+v", o)
	}
}

// What is not on all in-sync replicas yet does not expire.
func TestRetentionStopsAtTheHighWatermark(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	conf := durableConfig()
	conf.Segment.Bytes, conf.MinInsync = 100, 2
	r := g.open(testTP, conf)
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1}}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if a := start(r, AcksLeader, aged(t, 1000, 1000)).wait(t); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	conf.Retention.Ms, conf.Retention.Bytes = 1, 1
	r.SetConfig(conf)
	r.maintain(time.Now())
	if o := r.Offsets(); o.HighWatermark != 0 || o.LocalStart != 0 {
		t.Errorf("%+v", o)
	}
}

// told counts what an upload is told.
type told struct{ sealed, watermarks int }

func (u *told) Sealed()             { u.sealed++ }
func (u *told) HighWatermark(int64) { u.watermarks++ }

// The upload learns of every segment that is sealed, for whatever reason.
func TestUploadIsToldOfSealedSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, vfs.NewMem())
		defer g.close(false)
		conf := relaxedConfig()
		conf.Segment.Bytes, conf.Segment.Ms = 1500, 60_000
		r := g.lead(conf)
		var u told
		r.SetUpload(&u)
		appendOK(t, r, aged(t, nowMs(), 1000))
		if u.sealed != 0 {
			t.Errorf("told %d times of nothing", u.sealed)
		}
		appendOK(t, r, aged(t, nowMs(), 1000))
		if u.sealed != 1 {
			t.Errorf("told %d times, want once for the size", u.sealed)
		}
		time.Sleep(2 * time.Minute)
		r.maintain(time.Now())
		if u.sealed != 2 {
			t.Errorf("told %d times, want once more for the age", u.sealed)
		}
		if u.watermarks == 0 {
			t.Error("not told of the high watermark")
		}
	})
}

func TestLocalRetentionStopsAtTheTier(t *testing.T) {
	w := newTieredRig(t)
	c := tieredConfig()
	c.Segment.Bytes, c.Tier.LocalBytes = 1<<10, 0
	r := w.open(testTP, c)
	if err := r.BecomeLeader(alone(1)); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		appendOK(t, r, records(t, 1, name2(i)))
	}
	r.maintain(time.Now())
	if o := r.Offsets(); o.LocalStart != 0 {
		t.Fatalf("dropped what nobody else has: %+v", o)
	}
	all := r.log.Segments()
	third := all[2]
	r.SetTierHead(&manifest.Head{TierEnd: third.End - 1}) // one short of the third segment
	r.maintain(time.Now())
	if o := r.Offsets(); o.LocalStart != all[1].End {
		t.Fatalf("local start %d, want %d", o.LocalStart, all[1].End)
	}
	r.SetTierHead(&manifest.Head{TierEnd: 1}) // older news
	if o := r.Offsets(); o.TierEnd != third.End-1 {
		t.Errorf("tier end went back to %d", o.TierEnd)
	}
}

func TestFullDiskDropsEarlyAndRefuses(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 1)
	for range 40 {
		appendOK(t, r, aged(t, nowMs(), 100<<10))
	}
	if err := r.Roll(); err != nil {
		t.Fatal(err)
	}
	w.uploaded(r)
	r.maintain(time.Now())
	if o := r.Offsets(); o.LocalStart == o.TierEnd {
		t.Fatal("dropped though the disk is roomy")
	}
	fs := w.fs.(*vfs.Mem)
	u, err := fs.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(u.Total - u.Free + 32<<10) // less than 2 % are free
	var told segment.Fullness
	w.set.opts.OnFullness = func(_ *segment.Disk, f segment.Fullness) { told = f }
	w.set.watchDisks(map[*segment.Disk]segment.Fullness{}) // as Run does
	if a := start(r, AcksAll, records(t, 1, "v")).wait(t); !errors.Is(a.Err, ErrDiskFull) || told != segment.Full {
		t.Errorf("append: %v, level %v", a.Err, told)
	}
	r.maintain(time.Now())
	if o := r.Offsets(); o.LocalStart != o.TierEnd {
		t.Errorf("kept though the disk is full: %+v", o)
	}
}

// What is due and cannot be done, since the disk is full or the high watermark is behind, waits for its turn: a broker with
// thousands of such partitions would do nothing else, and log it.
func TestOverdueMaintenanceWaitsForItsTurn(t *testing.T) {
	for _, name := range []string{"roll", "expiry"} {
		t.Run(name, func(t *testing.T) {
			var inject faultfs.Injector
			g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
			c := durableConfig()
			if name == "expiry" {
				c.Retention.Ms = 1000
			}
			r := g.lead(c)
			appendOK(t, r, aged(t, nowMs(), 10))
			if name == "roll" {
				inject.Add(faultfs.Rule{Op: faultfs.Create, Glob: "*.log", Times: -1, Err: syscall.ENOSPC})
			} else {
				r.hw.Store(0)
			}
			later := time.Now().Add(2 * milliseconds(c.Segment.Ms))
			if wait := r.maintain(later); wait < g.set.opts.MaintenanceInterval {
				t.Errorf("looks again after %v, want %v", wait, g.set.opts.MaintenanceInterval)
			}
		})
	}
}

func TestDeleteRecords(t *testing.T) {
	for _, tiered := range []bool{false, true} {
		w := newTieredRig(t)
		c := durableConfig()
		if c.Segment.Bytes = 1 << 10; tiered {
			c.Tier.Enabled = true
		}
		r := w.open(testTP, c)
		if err := r.BecomeLeader(alone(1)); err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			appendOK(t, r, records(t, 1, name2(i)))
		}
		if tiered {
			w.archive(r)
			dropLocal(t, r)
		}
		ctx := context.Background()
		for _, s := range []struct {
			offset, low int64
			err         error
		}{
			{7, 7, nil}, {3, 7, nil}, {51, -1, ErrOffsetOutOfRange}, {-2, -1, ErrOffsetOutOfRange}, {-1, 50, nil}, {-1, 50, nil},
		} {
			low, err := r.DeleteRecords(ctx, s.offset)
			if low != s.low || !errors.Is(err, s.err) {
				t.Fatalf("tiered %v: up to %d: %d %v", tiered, s.offset, low, err)
			}
			if o := r.Offsets(); s.err == nil && o.LogStart != s.low {
				t.Errorf("tiered %v: %+v", tiered, o)
			}
			if p, _ := fetch(t, w.rig, r, s.low-1, 1000); s.err == nil && !errors.Is(p.Err, ErrOffsetOutOfRange) {
				t.Errorf("tiered %v: a deleted record is read: %v", tiered, p.Err)
			}
		}
		r.maintain(time.Now())
		if base := appendOK(t, r, records(t, 1, "after")); base != 50 {
			t.Errorf("appended at %d", base)
		}
		if got := values(t, w.rig, r, 50); len(got) != 1 {
			t.Error(got)
		}
		// The head alone, without what this process remembers, says the same.
		head, _, err := w.anchor.Load(ctx, testTP)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := manifest.DecodeHead(head); err != nil || h.LogStart != 50 {
			t.Errorf("tiered %v: head %+v %v", tiered, h, err)
		}
	}
	w := newTieredRig(t)
	c := durableConfig()
	c.Cleanup = topic.Cleanup{Compact: true}
	if _, err := w.lead(c).DeleteRecords(context.Background(), 0); !errors.Is(err, ErrPolicy) {
		t.Errorf("compacted: %v", err)
	}
	w = newTieredRig(t)
	c.Cleanup = topic.Cleanup{} // records that never expire may still be deleted by hand
	r := w.lead(c)
	appendOK(t, r, records(t, 2, "kept for ever"))
	if low, err := r.DeleteRecords(context.Background(), 1); err != nil || low != 1 {
		t.Errorf("neither deleted nor compacted: %d %v", low, err)
	}
}

// Who has been replaced, or whose topic is being deleted, and has not heard of it, sends its clients to look for the leader.
func TestDeleteRecordsByALeaderOfThePast(t *testing.T) {
	w := newTieredRig(t)
	r := w.lead(durableConfig())
	appendOK(t, r, records(t, 5, "v"))
	if _, err := tiering.AdvanceLogStart(t.Context(), w.anchor, testTP, 2, 1); err != nil {
		t.Fatal(err)
	}
	if low, err := r.DeleteRecords(t.Context(), 3); low != -1 || !errors.Is(err, ErrNotLeader) {
		t.Errorf("another leader has written: %d %v", low, err)
	}
	w = newTieredRig(t)
	w.anchor.Refuse(func(topic.Partition, int32) bool { return true })
	r = w.lead(durableConfig())
	appendOK(t, r, records(t, 5, "v"))
	if low, err := r.DeleteRecords(t.Context(), 3); low != -1 || !errors.Is(err, ErrNotLeader) {
		t.Errorf("the write was refused: %d %v", low, err)
	}
}

// The start of an untiered log that the cluster knows counts from the moment it is known, and moves the local one.
func TestUntieredLogFollowsTheHead(t *testing.T) {
	mem := vfs.NewMem()
	g := newRig(t, mem)
	c := durableConfig()
	c.Segment.Bytes = 1 << 10
	r := g.lead(c)
	for i := range 50 {
		appendOK(t, r, records(t, 1, name2(i)))
	}
	r.SetTierHead(&manifest.Head{LogStart: 33, TierEnd: 33})
	if o := r.Offsets(); o.LogStart != 33 || o.TierEnd != -1 {
		t.Errorf("%+v", o)
	}
	r.maintain(time.Now())
	if o := r.Offsets(); o.LocalStart != 33 || r.log.Segments()[0].Base == 0 {
		t.Errorf("%+v, first segment at %d", o, r.log.Segments()[0].Base)
	}
}

// A broker without object storage may lead what another has archived, and is asked for what lies there alone.
func TestTimesWithoutObjectStorage(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	c := tieredConfig()
	c.Segment.Bytes, c.Tier.LocalBytes = 1<<10, 0
	r := g.lead(c)
	for i := range 50 {
		appendOK(t, r, records(t, 1, name2(i)))
	}
	r.SetTierHead(&manifest.Head{TierEnd: r.log.Segments()[0].End})
	r.maintain(time.Now())
	if o := r.Offsets(); o.LocalStart == 0 || o.LogStart != 0 {
		t.Fatalf("%+v", o)
	}
	for _, ts := range []int64{0, MaxTimestamp} {
		if got, err := r.ListOffset(context.Background(), ts, -1); !errors.Is(err, ErrTierUnavailable) || got != nowhere {
			t.Errorf("time %d: %+v %v", ts, got, err)
		}
	}
}

func TestRunMaintainsWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, vfs.NewMem(), func(o *Options) { o.MaintenanceInterval = 10 * time.Minute })
		defer g.close(false)
		c := durableConfig()
		c.Segment.Ms, c.Retention.Ms = 60_000, 3600_000
		r := g.lead(c)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _ = g.set.Run(ctx) }()
		appendOK(t, r, idempotent(t, 1, 0, 0, 1, "v"))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if n := len(r.log.Segments()); n != 1 {
			t.Errorf("%d segments before segment.ms", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(r.log.Segments()); n != 2 {
			t.Errorf("%d segments after segment.ms", n)
		}
		time.Sleep(time.Hour - 62*time.Second)
		synctest.Wait()
		if o := r.Offsets(); o.LogStart != 0 {
			t.Errorf("%+v before retention.ms", o)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if o := r.Offsets(); o.LogStart != 1 {
			t.Errorf("%+v after retention.ms", o)
		}
		if len(r.Producers()) != 1 {
			t.Error("producer forgotten early")
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(r.Producers()) != 0 {
			t.Error("producer remembered for more than a day")
		}
		cancel()
		synctest.Wait()
	})
}

// A topic that is to be archived from now on loses nothing more to the retention of before, though that was about to be carried out.
func TestRetentionOfATopicThatIsArchivedFromNowOn(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	c := durableConfig()
	c.Segment.Bytes = 1 << 10
	r := g.lead(c)
	for range 30 {
		appendOK(t, r, aged(t, 1000, 100))
	}
	if n := len(r.log.Segments()); n < 3 {
		t.Fatalf("%d segments", n)
	}
	c.Retention.Ms = 1000
	r.configure(c)
	var changed sync.WaitGroup
	inject.Add(faultfs.Rule{Op: faultfs.Create, Glob: "*.log", Do: func(faultfs.Op, string) { // the active segment is being sealed
		c.Tier = topic.Tier{Enabled: true, LocalMs: -1, LocalBytes: -1}
		changed.Go(func() { r.SetConfig(c) })
		until(t, "settings change", func() bool { return r.config.Load().Tier.Enabled })
	}})
	r.maintain(time.Now())
	changed.Wait()
	if o := r.Offsets(); o.LocalStart != 0 || !r.config.Load().Tier.Enabled {
		t.Errorf("%+v", o)
	}
}

// A partition may be removed while it is looked at: every step has to do with a log that is closed by then.
func TestMaintenanceOfWhatIsRemoved(t *testing.T) {
	for name, tiered := range map[string]bool{"untiered": false, "tiered": true} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, vfs.NewMem())
			conf := durableConfig()
			conf.Retention.Ms = 0
			if tiered {
				conf.Tier = topic.Tier{Enabled: true}
			}
			r := g.lead(conf)
			appendOK(t, r, aged(t, 1000, 100))
			if err := g.set.Remove(r.Partition(), ErrUnknownPartition); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			r.followLogStart()
			r.rollByAge(&conf, now)
			r.retain(now)
			if r.activeExpired(&conf, now) || r.untilRoll(&conf, now) != math.MaxInt64 || r.untilExpiry(&conf, now) != math.MaxInt64 {
				t.Error("something is due on a log that is closed")
			}
			r.maintain(now)
		})
	}
}

// The scheduler gives every replica its turn in time, whatever is kicked, added and removed meanwhile.
func TestSchedulerOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := newScheduler(nil)
	now := time.Now()
	all := make([]*Replica, 50)
	for i := range all {
		all[i] = &Replica{}
		c.add(all[i])
	}
	looks := map[*Replica]int{}
	for range 2000 {
		now = now.Add(time.Duration(rng.Int64N(int64(100 * time.Millisecond))))
		switch r := all[rng.IntN(len(all))]; rng.IntN(20) {
		case 0:
			c.kick(r)
		case 1:
			if !r.schedule.gone && rng.IntN(10) == 0 {
				c.remove(r)
			}
		}
		for {
			r, _ := c.next(now)
			if r == nil {
				break
			}
			if r.schedule.gone {
				t.Fatal("a removed replica is looked at")
			}
			looks[r]++
			if rng.IntN(4) == 0 {
				c.kick(r)
			}
			c.done(r, time.Duration(rng.Int64N(int64(5*time.Second))))
		}
		for i, r := range c.mu.queue {
			if r.schedule.index != i {
				t.Fatal("broken heap")
			}
		}
	}
	for _, r := range all {
		if !r.schedule.gone && looks[r] < 10 {
			t.Errorf("looked at %d times in 100 s", looks[r])
		}
	}
}

func TestSettings(t *testing.T) {
	c := durableConfig()
	c.Segment.Ms, c.Segment.JitterMs = 1000, 400
	a, b := settings(testTP, c), settings(otherTP, c)
	if a.SegmentAge <= 600*time.Millisecond || a.SegmentAge > time.Second || a.SegmentAge == b.SegmentAge || a != settings(testTP, c) {
		t.Errorf("jitter: %v %v", a.SegmentAge, b.SegmentAge)
	}
	c.Segment.Ms, c.Flush.Ms, c.Segment.IndexIntervalBytes = math.MaxInt64, 0, 0
	if s := settings(testTP, c); s.SegmentAge <= 0 || s.FlushInterval <= 0 || s.IndexInterval <= 0 {
		t.Errorf("%+v", s)
	}
}
