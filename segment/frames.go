package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"firn/segment/batch"
	"firn/segment/poison"
	"firn/segment/vfs"
)

const (
	// lookupWindow is what a lookup reads at a time: about the run between two index entries.
	lookupWindow = 4 << 10
	// scanWindow is what a scan over many batches reads at a time. Batches larger than it cost one
	// window each when only headers are wanted.
	scanWindow = 64 << 10
	// headStep is what is read of batches of which only the header is wanted.
	headStep = 256

	crcStart = 21 // a batch's CRC covers everything from here
)

// Why a frame is bad.
var (
	errTorn   = errors.New("batch goes beyond the end")
	errChain  = errors.New("batch does not follow the one before")
	errNoData = errors.New("file is shorter than it was")
)

var (
	lookupBuffers = sync.Pool{New: func() any { b := make([]byte, lookupWindow); return &b }}
	scanBuffers   = sync.Pool{New: func() any { b := make([]byte, scanWindow); return &b }}
)

// frames walks over the batches in bytes [pos, end) of a log file, header by header, in a window of
// fixed size. Batches must abut in offsets. Not safe for concurrent use; close gives the window back.
type frames struct {
	f    vfs.File
	path string
	pos  int64 // where the next frame begins
	end  int64
	next int64 // the base offset it must have, -1 for any

	pool *sync.Pool
	buf  *[]byte
	step int64 // how much of buf is read at a time
	at   int64 // file position of the window
	n    int   // bytes in it
}

// newFrames returns a value so that a read needs no allocation.
func newFrames(f vfs.File, pos, end, next int64, pool *sync.Pool) frames {
	buf := pool.Get().(*[]byte)
	return frames{f: f, path: f.Name(), pos: pos, end: end, next: next, pool: pool, buf: buf, step: int64(len(*buf))}
}

func (r *frames) close() {
	poison.Fill(*r.buf)
	r.pool.Put(r.buf)
}

// head returns the header of the frame at pos and the frame's size without moving on; io.EOF at end.
// A bad frame is a *CorruptionError, an unreadable one another error. The header is good until the
// next call.
func (r *frames) head() (h batch.Batch, size int64, err error) {
	if r.pos >= r.end {
		return nil, 0, io.EOF
	}
	want := min(int64(batch.HeaderLen), r.end-r.pos)
	b, err := r.window(r.pos, want)
	if err != nil {
		return nil, 0, err
	}
	h, n, err := batch.ParseHeader(b)
	switch {
	case errors.Is(err, batch.ErrShort):
		return nil, 0, r.bad(errTorn)
	case err != nil:
		return nil, 0, r.bad(err)
	case r.next >= 0 && h.BaseOffset() != r.next:
		return nil, 0, r.bad(fmt.Errorf("%w: base offset %d, want %d", errChain, h.BaseOffset(), r.next))
	case r.pos+int64(n) > r.end:
		return nil, 0, r.bad(errTorn)
	}
	return h, int64(n), nil
}

// skip moves on to the frame after the one that head returned.
func (r *frames) skip(h batch.Batch, size int64) {
	r.pos += size
	r.next = h.NextOffset()
}

// each calls fn with every header from pos to end and where its frame ends.
func (r *frames) each(fn func(h batch.Batch, end int64) error) error {
	for {
		h, size, err := r.head()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(h, r.pos+size); err != nil {
			return err
		}
		r.skip(h, size)
	}
}

// verify checks the CRC of the frame that head returned, reading it through the window, which
// overwrites h. A mismatch is a *CorruptionError.
func (r *frames) verify(h batch.Batch, size int64) error {
	want := h.CRC()
	var sum uint32
	for at, end := r.pos+crcStart, r.pos+size; at < end; {
		b, err := r.window(at, 1)
		if err != nil {
			return err
		}
		b = b[:min(int64(len(b)), end-at)]
		sum = crc32.Update(sum, castagnoli, b)
		at += int64(len(b))
	}
	if sum != want {
		return r.bad(fmt.Errorf("%w: CRC is %08x, header says %08x", batch.ErrCorrupt, sum, want))
	}
	return nil
}

// window returns bytes of the file from at on, at least want and as many as the window has.
func (r *frames) window(at, want int64) ([]byte, error) {
	if at < r.at || at+want > r.at+int64(r.n) {
		n := min(max(r.step, want), r.end-at)
		got, err := r.f.ReadAt((*r.buf)[:n], at)
		r.at, r.n = at, got
		if int64(got) < want {
			if err == nil || errors.Is(err, io.EOF) {
				return nil, &CorruptionError{Path: r.path, Offset: at + int64(got), Err: errNoData}
			}
			return nil, fmt.Errorf("read %s at %d: %w", r.path, at, err)
		}
	}
	return (*r.buf)[at-r.at : r.n], nil
}

func (r *frames) bad(err error) error {
	return &CorruptionError{Path: r.path, Offset: r.pos, Err: err}
}
