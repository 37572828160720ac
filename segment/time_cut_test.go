package segment

import (
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// A log that is cut while it is searched for a time is not damaged: what lies below the cut is found as if nothing were.
func TestTimesAreFoundWhileTheLogIsCut(t *testing.T) {
	const committed = 500
	searches := map[string]func(l *Log) (Found, bool, error){
		"a time":     func(l *Log) (Found, bool, error) { return l.FindTime(timeOf(committed-1)+1, 0, committed) },
		"the latest": func(l *Log) (Found, bool, error) { return l.MaxTime(committed) },
	}
	for name, search := range searches {
		t.Run(name, func(t *testing.T) {
			var inject faultfs.Injector
			d := openDisk(t, faultfs.Wrap(vfs.NewMem(), &inject))
			l := openLog(t, d, Options{})
			fill(t, l, 1000, 5, 200)
			for nth := 1; ; nth++ {
				fill(t, l, 1000, 5, 200)
				cut := inject.Add(faultfs.Rule{Op: faultfs.ReadAt, Glob: "*" + logSuffix, Nth: nth, Do: func(faultfs.Op, string) {
					if err := l.TruncateTo(committed); err != nil {
						t.Error(err)
					}
				}})
				f, ok, err := search(l)
				cut.Remove()
				if want := name != "a time"; err != nil || ok != want || ok && f.Offset != committed-1 {
					t.Errorf("cut at read %d: %+v %v %v", nth, f, ok, err)
				}
				if cut.Hits() == 0 {
					break
				}
			}
		})
	}
}
