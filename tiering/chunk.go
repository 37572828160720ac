package tiering

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pierrec/lz4/v4"

	"firn/metadata/topic"
	"firn/tiering/manifest"
)

// maxChunkBlocks is how many blocks one GET brings at most.
const maxChunkBlocks = 16

// remote is an object with its footer.
type remote struct {
	tp      topic.Partition
	segment manifest.Segment
	key     string
	footer  *Footer
	groups  []int // first block of each chunk, and the number of blocks at the end
}

// newRemote cuts the object into the chunks that it is read in: at most sixteen blocks and one slab each.
func newRemote(tp topic.Partition, s manifest.Segment, key string, f *Footer) *remote {
	r := &remote{tp: tp, segment: s, key: key, footer: f}
	size := 0
	for i, b := range f.Blocks {
		if n := len(r.groups); n == 0 || i-r.groups[n-1] == maxChunkBlocks || size+int(b.RawLen) > maxChunk {
			r.groups = append(r.groups, i)
			size = 0
		}
		size += int(b.RawLen)
	}
	r.groups = append(r.groups, len(f.Blocks))
	return r
}

// group returns the blocks [lo, hi) of the chunk that block belongs to.
func (r *remote) group(block int) (lo, hi int) {
	a, b := 0, len(r.groups)-1
	for b-a > 1 {
		if m := (a + b) / 2; r.groups[m] <= block {
			a = m
		} else {
			b = m
		}
	}
	return r.groups[a], r.groups[a+1]
}

// rawBytes is the size of blocks [lo, hi) as batches.
func (r *remote) rawBytes(lo, hi int) int {
	b := r.footer.Blocks
	return int(b[hi-1].RawPos+b[hi-1].RawLen) - int(b[lo].RawPos)
}

// chunkKey names a chunk's place: the chunk that begins its group. Chunks with the same key may begin at
// later blocks of the group.
type chunkKey struct {
	tp      topic.Partition
	base    int64
	attempt uint32
	epoch   int32
	group   int
}

// chunk is blocks [lo, hi) of an object, decoded into one slab from the front on. It lives while anybody
// holds a reference: the table of chunks, the goroutine that fills it, and responses.
type chunk struct {
	obj    *remote
	lo, hi int
	key    chunkKey

	refs  atomic.Int32
	owner *Reader

	// Guarded by the Reader's lock.
	elem   *list.Element // in the table's order of use; nil once it is out of the table
	unread bool          // read ahead and not asked for yet
	stream *stream       // that it was read ahead for
	admit  bool          // worth a place in the disk cache

	mu struct {
		sync.Mutex
		slab  []byte
		ready int // blocks [lo, ready) are in the slab
		err   error
		done  bool // nothing more comes
		// The batch behind the last one given out: where it stands in the slab, and its offset.
		hintAt     int
		hintOffset int64
		wake       chan struct{}
	}
}

func (c *chunk) retain() { c.refs.Add(1) }

// unref gives up a reference; the last one gives the slab back. It returns how many are left.
func (c *chunk) unref() int32 {
	n := c.refs.Add(-1)
	if n < 0 {
		panic("tiering: slab released twice")
	}
	if n == 0 && c.mu.slab != nil {
		c.owner.mem.put(c.mu.slab)
		c.mu.slab = nil
	}
	return n
}

// release is unref for those outside of the Reader's lock: what is left to the table alone may now go.
func (c *chunk) release() {
	if c.unref() == 1 {
		c.owner.idle()
	}
}

// at is where a block's batches begin in the slab.
func (c *chunk) at(block int) int {
	b := c.obj.footer.Blocks
	return int(b[block].RawPos - b[c.lo].RawPos)
}

// wait returns how far the chunk is ready, once that is beyond block; until then it waits.
func (c *chunk) wait(ctx context.Context, block int) (ready int, slab []byte, err error) {
	for {
		c.mu.Lock()
		ready, slab, err = c.mu.ready, c.mu.slab, c.mu.err
		done, wake := c.mu.done, c.mu.wake
		c.mu.Unlock()
		if ready > block {
			return ready, slab, nil
		}
		if done {
			if err == nil {
				err = errors.New("tiering: chunk ended early") // cannot be: done without error means all
			}
			return ready, nil, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ready, nil, ctx.Err()
		}
	}
}

// keepIn gives the chunk its memory.
func (c *chunk) keepIn(slab []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.slab = slab
}

// progress publishes that all blocks below ready are there.
func (c *chunk) progress(ready int, done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ready, c.mu.done, c.mu.err = ready, done, err
	close(c.mu.wake)
	if !done {
		c.mu.wake = make(chan struct{})
	}
}

// packedPool holds memory for compressed blocks on their way into a slab.
var packedPool = sync.Pool{New: func() any { b := make([]byte, BlockBytes); return &b }}

// decode reads blocks from r, which stands at block lo of the object, into the slab, publishing each. It
// returns the number of the block it got to. What is stored raw goes straight into the slab, what is
// compressed through a buffer that stays in the processor's cache; no byte is seen by anybody before its
// block's checksum was.
func (c *chunk) decode(r io.Reader, lo int, slab []byte) (int, error) {
	packed := packedPool.Get().(*[]byte)
	defer packedPool.Put(packed)
	for i := lo; i < c.hi; i++ {
		b := &c.obj.footer.Blocks[i]
		dst := slab[c.at(i) : c.at(i)+int(b.RawLen) : c.at(i)+int(b.RawLen)]
		src := dst
		if b.Codec == codecLZ4 {
			if cap(*packed) < int(b.Len) {
				*packed = make([]byte, b.Len)
			}
			src = (*packed)[:b.Len]
		}
		offset := c.obj.footer.Base + int64(b.First)
		if n, err := readFull(r, src); err != nil {
			return i, readError(c.obj.key, i, int64(b.Pos)+int64(n), offset, err)
		}
		if got := checksum(src); got != b.CRC {
			return i, &CorruptionError{Key: c.obj.key, Block: i, Pos: int64(b.Pos), Offset: offset, Err: fmt.Errorf("checksum %08x, want %08x", got, b.CRC)}
		}
		if b.Codec == codecLZ4 {
			if n, err := lz4.UncompressBlock(src, dst); err != nil || n != len(dst) {
				return i, &CorruptionError{Key: c.obj.key, Block: i, Pos: int64(b.Pos), Offset: offset, Err: fmt.Errorf("decompressed %d of %d bytes: %w", n, len(dst), errFormat)}
			}
		}
		if i+1 < c.hi {
			c.progress(i+1, false, nil)
			// A replay at full speed is all computing. Without this each of its goroutines would keep
			// a processor for its whole time slice, and every step of a produce request, of which
			// each is a tenth of a millisecond's work, would wait for a few of those.
			runtime.Gosched()
		}
	}
	return c.hi, nil
}
