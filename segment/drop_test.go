package segment

import (
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// A log that starts anew where a segment began that is just being dropped keeps its file: the drop deletes its own only.
func TestResetDuringADropKeepsTheNewSegment(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 1 << 10}})
	fill(t, l, 100, 5, 50)
	second := l.Segments()[1]
	readAll(t, l, 0, second.End, 1<<20) // opens the files, which the drop closes
	closing := inject.Add(faultfs.Rule{Op: faultfs.Close, Glob: "*" + logSuffix, Do: func(faultfs.Op, string) {
		if err := l.Reset(second.Base, nil, nil); err != nil {
			t.Error(err)
		}
	}})
	if _, err := l.DropBefore(second.End, second.End); err != nil {
		t.Fatal(err)
	}
	if closing.Hits() == 0 {
		t.Fatal("the drop closed nothing")
	}
	fill(t, l, second.Base+20, 5, 50)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, openDisk(t, mem), Options{})
	if l.Start() != second.Base || l.Next() != second.Base+20 {
		t.Errorf("the log is [%d, %d), want [%d, %d)", l.Start(), l.Next(), second.Base, second.Base+20)
	}
	mustCheck(t, readAll(t, l, l.Start(), l.Next(), 1<<20), l.Start(), l.Next())
}
