package wire

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"firn/segment/poison"
)

// Pooled sizes: powers of two from 4 KiB to 8 MiB. What is larger is allocated for the occasion and
// left to the collector, so that one client's huge frames are not kept for ever.
const (
	minClassBits = 12
	maxClassBits = 23
	numClasses   = maxClassBits - minClassBits + 1
)

// MaxPooled is the largest buffer that is kept for reuse.
const MaxPooled = 1 << maxClassBits

// pools hold *Buffer, so that giving one back does not allocate. The memory holds no pointers: the
// collector does not look into it.
var pools [numClasses]sync.Pool

// Buffer is pooled memory with a reference count. It starts with one reference; the last Release
// gives the memory back, after which nobody may look at it.
type Buffer struct {
	// B is the memory in use. Its owner may reslice it up to its capacity; what it points to when
	// the last reference goes does not matter.
	B []byte

	mem  []byte
	refs atomic.Int32
}

// NewBuffer returns a buffer with len(B) == n and arbitrary contents.
func NewBuffer(n int) *Buffer {
	c := classOf(n)
	if c < 0 {
		m := make([]byte, n)
		b := &Buffer{B: m, mem: m}
		b.refs.Store(1)
		return b
	}
	b, _ := pools[c].Get().(*Buffer)
	if b == nil {
		b = &Buffer{mem: make([]byte, 1<<(c+minClassBits))}
	} else {
		poison.Check(b.mem)
	}
	b.B = b.mem[:n]
	b.refs.Store(1)
	return b
}

// Retain adds a reference.
func (b *Buffer) Retain() { b.refs.Add(1) }

// Release drops a reference, the last of which gives the memory back.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("wire: buffer released more often than retained")
	}
	poison.Fill(b.mem)
	b.B = nil
	if c := classOf(len(b.mem)); c >= 0 && len(b.mem) == 1<<(c+minClassBits) {
		pools[c].Put(b)
	}
}

// Size is the memory the buffer holds, which is what it is charged for.
func (b *Buffer) Size() int { return len(b.mem) }

// classOf returns the smallest class that holds n bytes, or -1 if none does.
func classOf(n int) int {
	if n > MaxPooled {
		return -1
	}
	if n <= 1<<minClassBits {
		return 0
	}
	return bits.Len(uint(n-1)) - minClassBits
}

// sizeOf is the memory that a buffer of n bytes takes.
func sizeOf(n int) int {
	if c := classOf(n); c >= 0 {
		return 1 << (c + minClassBits)
	}
	return n
}
