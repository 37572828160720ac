package segment

import (
	"errors"
	"testing"

	"firn/segment/index"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// While a log starts anew, who reads what it had is told that this is gone, and never that it is damaged.
func TestReadsWhileALogIsReset(t *testing.T) {
	for _, at := range []int64{0, 500, 2000} {
		var inject faultfs.Injector
		mem := vfs.NewMem()
		d := openDisk(t, mem)
		set := Settings{SegmentBytes: 4 << 10}
		fill(t, openLog(t, d, Options{Settings: set}), 1000, 5, 100)
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, openDisk(t, faultfs.Wrap(mem, &inject)), Options{Settings: set}) // none of its files is open yet
		sealed := l.Sealed(0)
		look := inject.Add(faultfs.Rule{Op: faultfs.Remove, Glob: "*" + idxSuffix, Times: -1, Do: func(faultfs.Op, string) {
			if len(sealed) == 0 {
				return
			}
			s := sealed[0]
			sealed = sealed[1:]
			e, err := l.Read(s.Base(), 1000, 1<<20, true)
			e.Release()
			if errors.Is(err, ErrCorrupt) {
				t.Errorf("reset to %d: read at %d: %v", at, s.Base(), err)
			}
			s.Release()
			if _, _, err := l.FindTime(timeOf(s.Base()), 0, 1000); err != nil {
				t.Errorf("reset to %d: find time: %v", at, err)
			}
		}})
		if err := l.Reset(at, nil, nil); err != nil || look.Hits() == 0 {
			t.Fatal(err, look.Hits())
		}
		fill(t, l, at+10, 5, 100)
		mustCheck(t, readAll(t, l, at, at+10, 1<<20), at, at+10)
	}
}

// A log that starts anew while it is scrubbed keeps the index that its new segment is given.
func TestScrubWhileALogIsReset(t *testing.T) {
	const at = 200
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	l := openLog(t, d, Options{})
	fill(t, l, 100, 5, 100)
	scrubbed := false
	inject.Add(faultfs.Rule{Op: faultfs.SyncDir, Times: -1, Do: func(faultfs.Op, string) {
		if _, err := mem.Stat(l.offsetPath(at, idxSuffix)); err != nil || scrubbed {
			return
		}
		scrubbed = true
		if err := l.Verify(func(int64) error { return nil }); err != nil {
			t.Error(err)
		}
	}})
	if err := l.Reset(at, nil, nil); err != nil || !scrubbed {
		t.Fatal(err, scrubbed)
	}
	fill(t, l, at+500, 5, 1000)
	if err := l.Roll(RollTier); err != nil {
		t.Fatal(err)
	}
	x, err := index.OpenSealed(mem, l.offsetPath(at, idxSuffix), index.Options{Base: at})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if e, ok := x.Last(); !ok || e.LastOffset != at+499 {
		t.Errorf("the index sums up the log to %+v, want offset %d", e, at+499)
	}
}
