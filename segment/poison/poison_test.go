package poison

import (
	"bytes"
	"testing"
)

// Tests find what is given back unreadable, all of it, and who writes to it.
func TestWhatIsGivenBackIsUnreadable(t *testing.T) {
	for n := range 70 {
		b := bytes.Repeat([]byte{1}, n)
		Fill(b)
		if i := bytes.IndexByte(b, 1); i >= 0 {
			t.Fatalf("byte %d of %d is as it was", i, n)
		}
		Check(b)
		for i := range b {
			b[i]--
			if !panics(func() { Check(b) }) {
				t.Fatalf("byte %d of %d was written to, and nobody has seen it", i, n)
			}
			b[i]++
		}
	}
}

func panics(do func()) (did bool) {
	defer func() { did = recover() != nil }()
	do()
	return false
}
