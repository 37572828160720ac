package segment

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

var errDisk = errors.New("disk says no")

// TestCommitReportsWhatItSynced holds a sync while more is appended: the completion must not speak of
// that.
func TestCommitReportsWhatItSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inject faultfs.Injector
		d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
		var durable []int64
		l := openLog(t, d, Options{
			Settings:  Settings{FlushMessages: 1, FlushInterval: time.Hour},
			OnDurable: func(end int64) { durable = append(durable, end) },
		})
		hold := make(chan struct{})
		inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Do: func(faultfs.Op, string) { <-hold }})
		mustAppend(t, l, makeBatch(t, 0, 5, 10, 0))
		synctest.Wait() // the sync is under way
		mustAppend(t, l, makeBatch(t, 5, 5, 10, 0))
		mustAppend(t, l, makeBatch(t, 10, 5, 10, 0))
		if n := l.Durable(); n != 0 {
			t.Errorf("durable to %d during the sync", n)
		}
		close(hold)
		synctest.Wait()
		if want := []int64{5, 15}; !slices.Equal(durable, want) {
			t.Errorf("reported %v, want %v", durable, want)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	})
}

// A flush interval that is made shorter counts from the next append on, though a timer runs by the old one.
func TestShorterFlushIntervalCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, vfs.NewMem())
		l := openLog(t, d, Options{Settings: Settings{FlushInterval: 1000 * time.Hour}})
		fill(t, l, 5, 5, 10)
		l.SetSettings(Settings{FlushInterval: time.Second})
		for end := int64(10); end < 25; end += 5 {
			fill(t, l, end, 5, 10)
			time.Sleep(time.Second)
			synctest.Wait()
			if n := l.Durable(); n != end {
				t.Errorf("durable to %d of %d", n, end)
			}
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStuckRoll has a roll fail half-way for want of space: the old segment takes no more appends.
func TestStuckRoll(t *testing.T) {
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
	l := openLog(t, d, Options{})
	fill(t, l, 10, 5, 10)
	inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "state.tmp", Times: 2, Err: syscall.ENOSPC})
	if err := l.Roll(RollTier); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("roll: %v", err)
	}
	if _, err := l.Append([]batch.Batch{makeBatch(t, 10, 5, 10, 0)}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("append: %v", err)
	}
	fill(t, l, 15, 5, 10)
	if g := l.Segments(); len(g) != 2 || g[0].End != 10 || g[1].End != 15 {
		t.Errorf("segments %+v", g)
	}
	mustCheck(t, readAll(t, l, 0, 15, 1), 0, 15)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// producer appends to a log under a lock of its own, as a partition does, and remembers what was
// reported durable.
type producer struct {
	mu      sync.Mutex
	log     *Log
	durable atomic.Int64
	failed  atomic.Int32
	late    atomic.Bool // a report came after the failure
}

func (p *producer) options(s Settings) Options {
	return Options{
		Settings: s,
		OnDurable: func(end int64) {
			p.mu.Lock() // a callback may take the caller's lock
			defer p.mu.Unlock()
			if p.failed.Load() > 0 || end < p.durable.Load() {
				p.late.Store(true)
			}
			p.durable.Store(end)
		},
		OnFailure: func(error) { p.failed.Add(1) },
	}
}

func (p *producer) append(t testing.TB, n, size int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := makeBatch(t, p.log.Next(), n, size, 0)
	_, err := p.log.Append([]batch.Batch{b})
	return err
}

// TestSyncErrorUnderLoad fails one sync while producers append to several logs. Everything reported
// durable must survive a power cut, and each log is told once of the failure and never of success after.
func TestSyncErrorUnderLoad(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var inject faultfs.Injector
		mem := vfs.NewMem()
		offline := make(chan error, 2)
		d, err := OpenDisk(DiskOptions{FS: faultfs.Wrap(mem, &inject), Dir: testDir, BrokerID: 1, OnOffline: func(err error) { offline <- err }})
		if err != nil {
			t.Fatal(err)
		}
		const logs = 4
		ps := make([]*producer, logs)
		for i := range ps {
			ps[i] = new(producer)
			if ps[i].log, err = d.Open(testID, int32(i), ps[i].options(Settings{FlushMessages: 1, SegmentBytes: 64 << 10})); err != nil {
				t.Fatal(err)
			}
		}
		fault := inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Nth: 1 + rng.IntN(60), Err: errDisk})
		var wg sync.WaitGroup
		for _, p := range ps {
			for range 3 {
				wg.Go(func() {
					for range 20_000 {
						if err := p.append(t, 3, 200); err != nil {
							if !errors.Is(err, ErrOffline) || !errors.Is(err, errDisk) {
								t.Errorf("append: %v", err)
							}
							return
						}
					}
					t.Error("nothing failed")
				})
			}
		}
		wg.Wait()
		if d.Offline() == nil {
			t.Fatal("the disk is online")
		}
		if err := <-offline; !errors.Is(err, errDisk) || fault.Hits() != 1 {
			t.Fatalf("seed %d: offline by %v, %d faults", seed, err, fault.Hits())
		}
		for i, p := range ps {
			reported := p.durable.Load()
			end := p.log.Durable() // a sync that was under way may still raise it
			if end < reported {
				t.Errorf("seed %d: log %d says durable to %d, reported %d", seed, i, end, reported)
			}
			mustCheck(t, readAll(t, p.log, 0, end, 1<<20), 0, end)
			if e, err := p.log.Read(0, p.log.Next(), 1<<30, true); err != nil || e.NextOffset() > p.log.Durable() {
				t.Errorf("seed %d: read to %d (%v), durable to %d", seed, e.NextOffset(), err, p.log.Durable())
			} else {
				e.Release()
			}
		}
		if err := d.Close(true); err == nil {
			t.Error("a disk that is offline closed clean")
		}
		// The operating system goes too.
		after := openDisk(t, mem.CrashClone(seed, int(seed)*14))
		for i, p := range ps {
			if p.failed.Load() != 1 || p.late.Load() {
				t.Errorf("seed %d: log %d: %d failures, late report %v", seed, i, p.failed.Load(), p.late.Load())
			}
			l, err := after.Open(testID, int32(i), Options{})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if l.Next() < p.durable.Load() {
				t.Fatalf("seed %d: log %d ends at %d, %d was reported durable", seed, i, l.Next(), p.durable.Load())
			}
			mustCheck(t, readAll(t, l, 0, l.Next(), 1<<20), 0, l.Next())
		}
		if _, clean := after.LastBrokerEpoch(); clean {
			t.Error("the run counts as clean")
		}
		_ = after.Close(false)
	}
}

// TestWriteErrorIsUndone tears single writes: the append fails whole, the next one goes on.
func TestWriteErrorIsUndone(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	p := new(producer)
	p.log = openLog(t, d, p.options(Settings{FlushMessages: 1, SegmentBytes: 16 << 10}))
	rng := rand.New(rand.NewPCG(1, 1))
	var torn []*faultfs.Armed
	for i := range 40 {
		torn = append(torn, inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Nth: 5 + 7*i, Short: rng.IntN(900), Err: errDisk}))
	}
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 4 {
		wg.Go(func() {
			for range 80 {
				if err := p.append(t, 4, 200); errors.Is(err, errDisk) {
					failed.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, a := range torn {
		if a.Hits() != 1 {
			t.Fatal("a fault did not bite")
		}
	}
	if want := int64(4*80-failed.Load()) * 4; failed.Load() != 40 || p.log.Next() != want {
		t.Errorf("%d appends failed, log ends at %d, want %d", failed.Load(), p.log.Next(), want)
	}
	mustCheck(t, readAll(t, p.log, 0, p.log.Next(), 5000), 0, p.log.Next())
	end := p.log.Next()
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, openDisk(t, mem.CrashClone(1, 0)), Options{})
	mustCheck(t, readAll(t, l, 0, end, 5000), 0, end)
}

// A roll where a mark of the same offset is being written, as an append failed behind it, does not take its file away.
func TestRollWhileAMarkOfItsOffsetIsWritten(t *testing.T) {
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
	l := openLog(t, d, Options{Producers: newCounter()})
	fill(t, l, 20, 5, 50)
	l.mu.Lock()
	l.mu.unmarked = markBytes // as if that much had been appended
	l.mu.Unlock()
	inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*" + logSuffix, Times: 1, Err: syscall.ENOSPC})
	if _, err := l.Append(batches(makeBatch(t, 20, 5, 50, 0))); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	rolled := make(chan error, 1)
	inject.Add(faultfs.Rule{Op: faultfs.Rename, Glob: offsetName(20, snapSuffix) + "*", Times: 1, Do: func(faultfs.Op, string) {
		go func() { rolled <- l.Roll(RollTier) }()
		select {
		case err := <-rolled:
			rolled <- err
		case <-time.After(20 * time.Millisecond): // it waits for the mark
		}
	}})
	if err := l.writeMark(); err != nil {
		t.Error(err)
	}
	if err := <-rolled; err != nil {
		t.Error(err)
	}
	if err := d.Offline(); err != nil {
		t.Error(err)
	}
}

// TestTornWriteThatStays takes the disk offline: what lies behind the end is not known.
func TestTornWriteThatStays(t *testing.T) {
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
	l := openLog(t, d, Options{})
	fill(t, l, 10, 5, 10)
	inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Short: 10, Err: errDisk})
	inject.Add(faultfs.Rule{Op: faultfs.Truncate, Glob: "*.log", Err: errDisk})
	if _, err := l.Append([]batch.Batch{makeBatch(t, 10, 1, 10, 0)}); !errors.Is(err, ErrOffline) {
		t.Errorf("append: %v, want offline", err)
	}
	if d.Offline() == nil {
		t.Error("the disk is online")
	}
	_ = d.Close(false)
}

// A sync of one log fails: every log of the disk is told, also one that nobody writes to.
func TestFailedDiskIsToldToEveryLog(t *testing.T) {
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
	told := make(chan error, 2)
	var logs [2]*Log
	for p := range logs {
		var err error
		logs[p], err = d.Open(testID, int32(p), Options{Settings: Settings{FlushMessages: 1}, OnFailure: func(err error) { told <- err }})
		if err != nil {
			t.Fatal(err)
		}
	}
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Err: errDisk})
	mustAppend(t, logs[0], makeBatch(t, 0, 1, 10, 0))
	for range logs {
		if err := <-told; !errors.Is(err, ErrOffline) || !errors.Is(err, errDisk) {
			t.Error(err)
		}
	}
	_ = d.Close(false)
}

// TestDiskRunsFull lets every write fail for want of space, at any step of a roll too, and then makes
// room: nothing is lost, nothing is torn, the disk stays online.
func TestDiskRunsFull(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	state := newCounter()
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 3000, FlushMessages: 1}, Producers: state})
	for nth := 1; nth < 25; nth++ {
		for _, op := range []faultfs.Op{faultfs.WriteAt, faultfs.Create} {
			fault := inject.Add(faultfs.Rule{Op: op, Nth: nth, Times: 3, Err: syscall.ENOSPC})
			for i := range 30 {
				if i%4 == nth%4 {
					if err := l.Roll(RollTier); err != nil && !errors.Is(err, syscall.ENOSPC) {
						t.Fatalf("%s %d: %v", op, nth, err)
					}
				}
				b := makeBatch(t, l.Next(), 2, 200, 0)
				if _, err := l.Append([]batch.Batch{b}); err == nil {
					state.Apply(b)
				} else if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("%s %d: %v", op, nth, err)
				}
			}
			fault.Remove()
		}
	}
	end := l.Next()
	mustCheck(t, readAll(t, l, 0, end, 2000), 0, end)
	if err := d.Offline(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	if err := Check(mem, testDir, func(f Finding) { t.Error(f) }); err != nil {
		t.Error(err)
	}
	l = openLog(t, openDisk(t, mem.CrashClone(3, 0)), Options{Producers: newCounter()})
	mustCheck(t, readAll(t, l, 0, end, 2000), 0, end)
}

// TestFlushPolicy checks when an append leads to a sync by itself.
func TestFlushPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inject faultfs.Injector
		d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
		syncs := inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Times: -1})
		l := openLog(t, d, Options{Settings: Settings{FlushMessages: 10, FlushInterval: 3 * time.Second}})
		step := func(what string, n int, wait time.Duration, want int, durable int64) {
			t.Helper()
			mustAppend(t, l, makeBatch(t, l.Next(), n, 10, 0))
			time.Sleep(wait)
			synctest.Wait()
			if syncs.Calls() != want || l.Durable() != durable {
				t.Fatalf("%s: %d syncs, durable to %d, want %d and %d", what, syncs.Calls(), l.Durable(), want, durable)
			}
		}
		step("few records", 5, time.Second, 0, 0)
		step("enough records", 5, 0, 1, 10)
		step("after the interval", 1, 3*time.Second, 2, 11)
		l.SetSettings(Settings{FlushMessages: 1, FlushInterval: time.Hour})
		step("each", 1, 0, 3, 12)
		l.SetSettings(Settings{FlushInterval: time.Hour})
		for l.Durable() == 12 {
			mustAppend(t, l, makeBatch(t, l.Next(), 1, 1<<20, 0))
			synctest.Wait()
		}
		if _, size, _ := l.Active(); size < commitBytes || size > commitBytes+2<<20 {
			t.Errorf("a sync after %d bytes", size)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCheckpointFollowsSync checks that the checkpoint is written by a timer, and that Close ends it.
func TestCheckpointFollowsSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d := openDisk(t, mem)
		state := newCounter()
		l := openLog(t, d, Options{Producers: state, Settings: Settings{FlushInterval: time.Second}})
		known := func() entry {
			t.Helper()
			after, err := OpenDisk(DiskOptions{FS: mem.CrashClone(1, 0), Dir: testDir, BrokerID: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = after.Close(false) }()
			return after.mu.entries[l.ref]
		}
		b := makeBatch(t, 0, 4, 10, 0)
		mustAppend(t, l, b)
		state.Apply(b)
		l.SetHighWatermark(3)
		time.Sleep(checkpointInterval)
		if e := known(); e.synced.next != 0 {
			t.Errorf("the checkpoint knows %+v too early", e)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if e := known(); e.synced.next != 4 || e.hw != 3 {
			t.Errorf("the checkpoint knows %+v", e)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		if e := known(); e.synced.next != 4 {
			t.Errorf("after the end the checkpoint knows %+v", e)
		}
	})
}

// TestReportsAfterTruncation appends again where the log was cut: that is reported too.
func TestReportsAfterTruncation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDisk(t, vfs.NewMem())
		var last int64
		l := openLog(t, d, Options{Settings: Settings{FlushMessages: 1}, OnDurable: func(end int64) { last = end }})
		expect := func(want int64) {
			t.Helper()
			synctest.Wait()
			if last != want {
				t.Fatalf("reported %d, want %d", last, want)
			}
		}
		fill(t, l, 100, 10, 10)
		expect(100)
		if err := l.TruncateTo(50); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 60, 10, 10)
		expect(60)
		if err := l.Reset(20, nil, nil); err != nil {
			t.Fatal(err)
		}
		fill(t, l, 30, 10, 10)
		expect(30)
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	})
}

// A write that tore was cut back, and the segment sealed without another append: the power cut must not bring the torn
// bytes back behind the sealed ones.
func TestTornWriteIsGoneFromASealedSegment(t *testing.T) {
	for seed := range uint64(30) {
		var inject faultfs.Injector
		mem := vfs.NewMem()
		d := openDisk(t, faultfs.Wrap(mem, &inject))
		durable := make(chan int64, 10)
		l := openLog(t, d, Options{Settings: Settings{FlushMessages: 1}, OnDurable: func(end int64) { durable <- end }})
		mustAppend(t, l, makeBatch(t, 0, 2, 200, 0))
		for <-durable != 2 {
		}
		// The torn bytes reach the disk, as by the sync of an earlier append.
		inject.Add(faultfs.Rule{Op: faultfs.Truncate, Glob: "*.log", Do: func(_ faultfs.Op, name string) {
			f, err := mem.OpenRW(name)
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			if err != nil {
				t.Error(err)
			}
		}})
		torn := inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Err: syscall.EIO, Short: 100})
		if _, err := l.Append([]batch.Batch{makeBatch(t, 2, 2, 200, 0)}); !errors.Is(err, syscall.EIO) || torn.Hits() != 1 {
			t.Fatal(err)
		}
		if err := l.Roll(RollTier); err != nil {
			t.Fatal(err)
		}
		cut := mem.CrashClone(seed, 50)
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, openDisk(t, cut), Options{})
		mustCheck(t, readAll(t, l, 0, 2, 2000), 0, 2)
	}
}
