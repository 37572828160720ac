package partition

import (
	"bytes"
	"testing"
	"time"
)

// What was read from the tier is sent from where it lies: the memory is exactly the run, not the rest of its slab.
func TestColdRunIsMemory(t *testing.T) {
	w := newTieredRig(t)
	r := w.cold(testTP, 100)
	whole := 0
	for _, limit := range []int{1 << 20, 200, 1} {
		p := part(r, 7)
		p.MaxBytes = limit
		f := fetchWait(w.rig, 1, time.Minute, p)
		f.wait(t)
		if err := f.Parts[0].Err; err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range f.Parts[0].Extents {
			m, ok := e.(interface{ Memory() []byte })
			if !ok {
				t.Fatalf("%T is not written from memory", e)
			}
			got := make([]byte, e.Len())
			if _, err := e.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Memory(), got) {
				t.Errorf("limit %d: memory of %d bytes is not the run of %d bytes", limit, len(m.Memory()), e.Len())
			}
			n += e.Len()
			e.Release()
		}
		if limit == 1<<20 {
			whole = n
		} else if n == 0 || n >= whole {
			t.Errorf("limit %d: %d bytes, %d without a limit", limit, n, whole)
		}
	}
}
