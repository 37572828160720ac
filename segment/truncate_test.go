package segment

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"firn/segment/index"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// After a log was cut the times of what stays are what they were, also those past the last entry of the index.
func TestTimesAfterATruncation(t *testing.T) {
	for _, c := range []struct{ segmentBytes, cut int64 }{{0, 5}, {0, 500}, {0, 995}, {40 << 10, 5}, {40 << 10, 500}, {40 << 10, 995}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			mem := vfs.NewMem()
			d := openDisk(t, mem)
			l := openLog(t, d, Options{Settings: Settings{SegmentBytes: c.segmentBytes}})
			fill(t, l, 1000, 5, 200)
			if err := l.TruncateTo(c.cut); err != nil {
				t.Fatal(err)
			}
			last := Found{Offset: c.cut - 1, Timestamp: timeOf(c.cut - 1)}
			check := func(when string) {
				t.Helper()
				if f, ok, err := l.MaxTime(c.cut); f != last || !ok || err != nil {
					t.Errorf("%s: the latest is %+v %v %v, want %+v", when, f, ok, err, last)
				}
				if f, ok, err := l.FindTime(last.Timestamp, 0, c.cut); f != last || !ok || err != nil {
					t.Errorf("%s: found %+v %v %v, want %+v", when, f, ok, err, last)
				}
				latest := int64(0)
				for _, s := range l.Segments() {
					latest = max(latest, s.MaxTime)
				}
				if latest != last.Timestamp {
					t.Errorf("%s: the segments' largest time is %d, want %d", when, latest, last.Timestamp)
				}
			}
			check("at once")
			if err := l.Roll(RollTier); err != nil {
				t.Fatal(err)
			}
			check("sealed")
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
			l = openLog(t, openDisk(t, mem), Options{})
			check("opened again")
		})
	}
}

// A follower that comes back from a failover cuts many logs, each within its active segment. What that waits for is the checkpoint,
// which all of them share, and a sync of the log.
func TestCutWaitsForTwoSyncs(t *testing.T) {
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
	l := openLog(t, d, Options{Producers: newCounter()})
	fill(t, l, 100, 5, 50)
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	var waits []string
	for _, op := range []faultfs.Op{faultfs.Sync, faultfs.SyncDir, faultfs.Rename} {
		inject.Add(faultfs.Rule{Op: op, Times: -1, Do: func(_ faultfs.Op, name string) { waits = append(waits, filepath.Base(name)) }})
	}
	if err := l.TruncateTo(50); err != nil {
		t.Fatal(err)
	}
	if len(waits) != 2 || !strings.HasPrefix(waits[0], "ckpt-") || !strings.HasSuffix(waits[1], logSuffix) {
		t.Errorf("it waits for %v", waits)
	}
}

// Where there is no room to say that a log is to be cut, nothing is cut, and what is durable is told of once more.
func TestCutOnAFullDisk(t *testing.T) {
	for _, full := range []string{"ckpt-*", stateName + tmpSuffix} {
		t.Run(full, func(t *testing.T) {
			var inject faultfs.Injector
			d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
			told := make(chan int64, 10)
			l := openLog(t, d, Options{OnDurable: func(end int64) { told <- end }})
			fill(t, l, 50, 5, 50)
			mustAppend(t, l, makeBatch(t, 50, 5, 50, 2))
			if err := l.stateEpochs(); err != nil {
				t.Fatal(err)
			}
			next := func() int64 {
				select {
				case end := <-told:
					return end
				case <-time.After(time.Minute):
					t.Fatal("nothing is told to be durable")
					return 0
				}
			}
			l.Commit()
			for next() != 55 {
			}
			fault := inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: full, Times: -1, Err: syscall.ENOSPC})
			if err := l.TruncateTo(40); !ranOut(err) {
				t.Fatalf("cut on a full disk: %v", err)
			}
			if end := next(); end != 55 || l.Next() != 55 || l.LastEpoch() != 2 {
				t.Errorf("durable to %d, the log ends at %d in epoch %d", end, l.Next(), l.LastEpoch())
			}
			fault.Remove()
			if err := l.TruncateTo(40); err != nil {
				t.Fatal(err)
			}
			if end := next(); end != 40 || l.LastEpoch() != 0 {
				t.Errorf("once there is room: durable to %d, in epoch %d", end, l.LastEpoch())
			}
		})
	}
}

// A segment that is verified while the log is cut below it, or starts anew, is gone and not damaged: the state has other epochs a
// little before its segments go.
func TestVerifyWhileTheLogIsCut(t *testing.T) {
	for name, c := range map[string]struct {
		change func(l *Log) error
		next   faultfs.Rule // what it does once the state is in force
	}{
		"truncate": {func(l *Log) error { return l.TruncateTo(100) }, faultfs.Rule{Op: faultfs.Truncate, Glob: "*.idx", Nth: 2}},
		"reset":    {func(l *Log) error { return l.Reset(2000, []Epoch{{3, 0}}, nil) }, faultfs.Rule{Op: faultfs.ReadDir}},
	} {
		t.Run(name, func(t *testing.T) {
			var inject faultfs.Injector
			d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
			l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 10 << 10}})
			fill(t, l, 200, 5, 200)
			mustAppend(t, l, makeBatch(t, 200, 5, 200, 2))
			fill(t, l, 400, 5, 200)
			all := l.Sealed(300)
			s, verified := all[0], make(chan error, 1)
			c.next.Do = func(faultfs.Op, string) {
				if epochList(l.Epochs()).at(s.Base()) == 2 {
					t.Error("the state is not in force yet")
				}
				go func() { verified <- l.Verify(func(int64) error { return nil }) }()
				select {
				case err := <-verified:
					verified <- err
				case <-time.After(20 * time.Millisecond): // it waits for the change
				}
			}
			inject.Add(c.next)
			if err := c.change(l); err != nil {
				t.Fatal(err)
			}
			if err := <-verified; err != nil {
				t.Error(err)
			}
			for _, s := range all {
				s.Release()
			}
		})
	}
}

// A reader that comes to a sealed segment while the log is cut there, when it is not open any more, leaves the index alone that
// the segment goes on with.
func TestReadWhileASealedSegmentIsCut(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 20 << 10, IndexInterval: 512}})
	fill(t, l, 400, 5, 200)
	base, end := l.Segments()[1].Base, l.Segments()[1].End
	read := make(chan error, 1)
	inject.Add(faultfs.Rule{Op: faultfs.Truncate, Glob: offsetName(base, idxSuffix), Nth: 2, Do: func(faultfs.Op, string) { // it is not sealed any more
		d.sealed.mu.Lock()
		d.sealed.shrinkLocked(0)
		d.sealed.mu.Unlock()
		go func() {
			e, err := l.Read(base, end, 1<<20, true)
			e.Release()
			read <- err
		}()
		select {
		case err := <-read:
			read <- err
		case <-time.After(20 * time.Millisecond): // it waits for the change
		}
	}})
	if err := l.TruncateTo(base + 20); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	fill(t, l, base+40, 7, 100)
	if err := l.Roll(RollTier); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenSealed(mem, l.offsetPath(base, idxSuffix), index.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if e, ok := x.Last(); !ok || e.LastOffset != base+39 {
		t.Errorf("the index sums up the log to %+v, want offset %d", e, base+39)
	}
}
