package segment

import (
	"bytes"
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
