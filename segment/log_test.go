package segment

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

func TestAppendReadRoll(t *testing.T) {
	d := openDisk(t, vfs.NewMem())
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 10 << 10}})
	fill(t, l, 1000, 7, 100)
	if n := len(l.Segments()); n < 5 {
		t.Fatalf("%d segments", n)
	}
	for _, size := range []int{1, 500, 5000, 1 << 20} {
		for from := int64(0); from < 1000; from += 7 {
			mustCheck(t, readAll(t, l, from, 1000, size), from, 1000)
		}
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// A log that was not written to since it was opened has nothing to say when it is closed: a broker has thousands of them.
func TestIdleLogsCloseWithoutWriting(t *testing.T) {
	var inject faultfs.Injector
	fsys := faultfs.Wrap(vfs.NewMem(), &inject)
	var changes atomic.Int64
	inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, _ string) {
		if op.Changes() {
			changes.Add(1)
		}
	}})
	close := func(l *Log) int64 {
		t.Helper()
		changes.Store(0)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return changes.Load()
	}
	for life, c := range []struct{ appends, truncateTo int64 }{{}, {}, {appends: 40}, {}, {truncateTo: 30}, {}, {appends: 2}, {}} {
		d := openDisk(t, fsys)
		state := newCounter()
		l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 4 << 10, IndexInterval: 512}, Producers: state})
		for range c.appends {
			b := makeBatch(t, l.Next(), 1, 100, 0)
			mustAppend(t, l, b)
			state.Apply(b)
		}
		if c.truncateTo > 0 {
			if err := l.TruncateTo(c.truncateTo); err != nil {
				t.Fatal(err)
			}
		}
		want, end := state.Snapshot(), l.Next()
		if n := close(l); c.appends+c.truncateTo > 0 != (n > 0) {
			t.Errorf("life %d, %+v: %d changes", life, c, n)
		}
		if _, err := l.readSnapshot(end); c.appends > 0 && err != nil {
			t.Errorf("life %d, %+v: %v", life, c, err)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		d = openDisk(t, fsys)
		state = newCounter()
		l = openLog(t, d, Options{Settings: Settings{SegmentBytes: 4 << 10, IndexInterval: 512}, Producers: state})
		if got := state.Snapshot(); !bytes.Equal(got, want) {
			t.Errorf("life %d, %+v: producers are not what they were", life, c)
		}
		_ = close(l)
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	}
}

// Who looks for the end of a log, or of an epoch, while it is closed is not told that there is nothing: a follower would throw
// away what it has, a consumer begin anew.
func TestClosedLogEndsWhereItDid(t *testing.T) {
	for name, end := range map[string]func(d *Disk, l *Log) error{
		"close":     func(_ *Disk, l *Log) error { return l.Close() },
		"remove":    func(d *Disk, _ *Log) error { return d.Remove(testID, 0) },
		"set aside": func(d *Disk, _ *Log) error { return d.SetAside(testID, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			d := openDisk(t, vfs.NewMem())
			l := openLog(t, d, Options{})
			mustAppend(t, l, makeBatch(t, 0, 5, 10, 3))
			if err := end(d, l); err != nil {
				t.Fatal(err)
			}
			if epoch, at := l.EndOffsetFor(3); l.Next() != 5 || epoch != 3 || at != 5 || l.LastEpoch() != 3 {
				t.Errorf("it ends at %d, epoch %d at %d", l.Next(), epoch, at)
			}
			if _, err := l.Read(0, 5, 1<<10, true); !errors.Is(err, ErrClosed) {
				t.Errorf("read: %v", err)
			}
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
		})
	}
}
