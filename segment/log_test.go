package segment

import (
	"testing"

	"firn/segment/vfs"
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
