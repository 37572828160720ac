package segment

import (
	"errors"
	"testing"

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
