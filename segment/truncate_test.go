package segment

import (
	"fmt"
	"runtime"
	"testing"
	"time"

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

// A segment that is verified while the log is cut below it, or starts anew, is gone and not damaged: the state has other epochs a
// little before its segments go.
func TestVerifyWhileTheLogIsCut(t *testing.T) {
	for name, change := range map[string]func(l *Log) error{
		"truncate": func(l *Log) error { return l.TruncateTo(100) },
		"reset":    func(l *Log) error { return l.Reset(2000, []Epoch{{3, 0}}, nil) },
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
			inject.Add(faultfs.Rule{Op: faultfs.SyncDir, Do: func(faultfs.Op, string) { // the state is about to be in force
				l.markMu.Lock() // the change waits here
				go func() {
					defer l.markMu.Unlock()
					for epochList(l.Epochs()).at(s.Base()) == 2 {
						runtime.Gosched()
					}
					go func() { verified <- l.Verify(func(int64) error { return nil }) }()
					select {
					case err := <-verified:
						verified <- err
					case <-time.After(20 * time.Millisecond): // it waits for the change
					}
				}()
			}})
			if err := change(l); err != nil {
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
