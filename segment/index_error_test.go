package segment

import (
	"syscall"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// An index that cannot be read, for a bad block under it or since its file was cut, stops no read: the log tells the same.
func TestReadsWithAnUnreadableIndex(t *testing.T) {
	var inject faultfs.Injector
	d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 40 << 10, IndexInterval: 512}})
	fill(t, l, 1000, 5, 100)
	want := l.Segments()[0].End - 2
	fault := inject.Add(faultfs.Rule{Op: faultfs.CopyAt, Times: -1, Err: syscall.EFAULT})
	e, err := l.Read(want, l.Next(), 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.AppendTo(nil)
	e.Release()
	if err != nil {
		t.Fatal(err)
	}
	mustCheck(t, b, -1, l.Segments()[0].End)
	if f, ok, err := l.FindTime(timeOf(want), 0, l.Next()); err != nil || !ok || f.Offset != want {
		t.Errorf("found %+v %v %v, want offset %d", f, ok, err, want)
	}
	if fault.Hits() == 0 {
		t.Fatal("no index was read")
	}
}

// A log opens, and its sealed segments are read, though a block of an index is bad: the index is made anew.
func TestIndexOnABadBlockIsMadeAnew(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	set := Settings{SegmentBytes: 40 << 10, IndexInterval: 512}
	d := openDisk(t, mem)
	fill(t, openLog(t, d, Options{Settings: set}), 1000, 5, 100)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	fault := inject.Add(faultfs.Rule{Op: faultfs.ReadAt, Glob: "*" + idxSuffix, Err: syscall.EIO})
	l := openLog(t, openDisk(t, faultfs.Wrap(mem, &inject)), Options{Settings: set})
	if fault.Hits() == 0 {
		t.Fatal("no index was read")
	}
	fault = inject.Add(faultfs.Rule{Op: faultfs.ReadAt, Glob: "*" + idxSuffix, Err: syscall.EIO})
	mustCheck(t, readAll(t, l, 0, 1000, 5000), 0, 1000)
	if fault.Hits() == 0 {
		t.Fatal("no index of a sealed segment was read")
	}
}

// A bad block under an index does not keep a log from being cut, nor take its disk offline.
func TestTruncationWithAnUnreadableIndex(t *testing.T) {
	for _, segment := range []int{1, 3} { // a sealed one, the active one
		for nth, hits := 1, 1; hits > 0; nth++ {
			var inject faultfs.Injector
			d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
			l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 300 << 10, IndexInterval: 512}})
			fill(t, l, 1000, 5, 1000)
			l.mu.Lock()
			l.flushIndex(l.view.Load().active)
			l.mu.Unlock()
			to := l.Segments()[segment].Base + 52
			fault := inject.Add(faultfs.Rule{Op: faultfs.CopyAt, Nth: nth, Err: syscall.EFAULT})
			if err := l.TruncateTo(to); err != nil {
				t.Fatalf("to %d, fault %d: %v", to, nth, err)
			}
			hits = fault.Hits()
			fault.Remove()
			fill(t, l, 1000, 5, 1000)
			mustCheck(t, readAll(t, l, 0, 1000, 5000), 0, 1000)
		}
	}
}

// What of the log's end is missing from the index costs a lookup the headers of few batches, and an append of large ones seldom
// a write of the index.
func TestIndexFollowsTheLogsEnd(t *testing.T) {
	for name, c := range map[string]struct{ size, batches, writes int }{
		"batches of a client that fills them": {size: 256 << 10, batches: 64, writes: 4}, // one for 16 entries
		"small batches":                       {size: 1 << 10, batches: 600, writes: 2},  // one for 256 KiB
	} {
		t.Run(name, func(t *testing.T) {
			var inject faultfs.Injector
			l := openLog(t, openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject)), Options{Settings: Settings{SegmentBytes: 64 << 20, IndexInterval: 512}})
			writes := inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*" + idxSuffix, Times: -1})
			fill(t, l, int64(c.batches), 1, c.size)
			if writes.Hits() != c.writes {
				t.Errorf("the index was written %d times, want %d", writes.Hits(), c.writes)
			}
			mustCheck(t, readAll(t, l, 0, l.Next(), 3*c.size), 0, l.Next())
			if f, ok, err := l.FindTime(timeOf(l.Next()-2), 0, l.Next()); err != nil || !ok || f.Offset != l.Next()-2 {
				t.Errorf("found %+v %v %v", f, ok, err)
			}
		})
	}
}
