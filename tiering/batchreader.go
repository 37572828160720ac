package tiering

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"firn/segment/batch"
	"firn/segment/poison"
)

// batchReader reads the batches of a segment one after the other through a window of 1 MiB, or of one
// batch where that is larger.
type batchReader struct {
	src      io.ReaderAt
	pos, end int64 // what is still to be read into the window
	window   *[]byte
	rest     []byte // read and not given out
}

const readWindow = 1 << 20

var windowPool = sync.Pool{New: func() any { b := make([]byte, readWindow); return &b }}

func newBatchReader(src io.ReaderAt, pos, end int64) *batchReader {
	return &batchReader{src: src, pos: pos, end: end, window: windowPool.Get().(*[]byte)}
}

// next returns the next batch, its CRC verified, good until the call after; io.EOF at the end.
func (r *batchReader) next() (batch.Batch, error) {
	for {
		b, rest, err := batch.Parse(r.rest)
		switch {
		case err == nil:
			if err := b.VerifyCRC(); err != nil {
				return nil, r.rotten(err)
			}
			r.rest = rest
			return b, nil
		case !errors.Is(err, batch.ErrShort):
			return nil, r.rotten(err)
		case r.pos == r.end && len(r.rest) == 0:
			return nil, io.EOF
		case r.pos == r.end:
			return nil, r.rotten(fmt.Errorf("the segment ends within it: %w", err))
		}
		if err := r.more(); err != nil {
			return nil, err
		}
	}
}

// rotError says from which byte on a segment is not what was written.
type rotError struct {
	at  int64
	err error
}

func (e *rotError) Error() string {
	return fmt.Sprintf("at byte %d of the segment: %v", e.at, e.err)
}

func (e *rotError) Unwrap() error { return e.err }

// rotten says what is wrong with the batch that comes next.
func (r *batchReader) rotten(err error) error { return &rotError{r.pos - int64(len(r.rest)), err} }

// more moves what is left to the front of the window and fills it up.
func (r *batchReader) more() error {
	w := *r.window
	if len(r.rest) >= batch.HeaderLen {
		// A batch that is larger than the window gets one of its own, which is not kept.
		_, size, err := batch.ParseHeader(r.rest)
		if at := r.pos - int64(len(r.rest)); err == nil && int64(size) > r.end-at {
			return r.rotten(fmt.Errorf("it claims %d bytes, %d are left", size, r.end-at))
		}
		if err == nil && size > len(w) {
			w = make([]byte, size)
		}
	}
	n := copy(w, r.rest)
	m := int(min(int64(len(w)-n), r.end-r.pos))
	got, err := r.src.ReadAt(w[n:n+m], r.pos)
	if got < m {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read segment at byte %d: %w", r.pos, err)
	}
	r.pos += int64(m)
	r.rest = w[:n+m]
	return nil
}

func (r *batchReader) close() {
	r.rest = nil
	poison.Fill(*r.window)
	windowPool.Put(r.window)
}
