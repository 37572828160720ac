package wire

import "testing"

func TestBufferSizes(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 65536, 65537, MaxPooled, MaxPooled + 1} {
		b := NewBuffer(n)
		if len(b.B) != n || b.Size() < n || b.Size() != sizeOf(n) {
			t.Errorf("%d: len %d, size %d, sizeOf %d", n, len(b.B), b.Size(), sizeOf(n))
		}
		b.Retain()
		b.Release()
		if len(b.B) != n {
			t.Errorf("%d: given back with a reference left", n)
		}
		b.Release()
	}
}

func TestBufferReleasedTwicePanics(t *testing.T) {
	b := NewBuffer(1)
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	b.Release()
}

// Memory that outgrew its class must not come back as a buffer of the next one.
func TestOutgrownBufferIsNotPooledShort(t *testing.T) {
	for range 100 {
		buf := NewBuffer(100)
		b := append(buf.B[:0], make([]byte, 5000)...)
		nb := adopt(buf, b)
		nb.Release()
		x := NewBuffer(8 << 10)
		x.B[8<<10-1] = 1
		x.Release()
	}
}
