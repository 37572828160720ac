package segment

import (
	"fmt"
	"testing"

	"firn/segment/vfs"
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
