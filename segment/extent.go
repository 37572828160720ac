package segment

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// Extent is a range of whole batches in one segment file, which stays open and readable until Release,
// whatever happens to the log. The zero Extent is empty. An Extent is used by one goroutine at a time.
type Extent struct {
	h           *handle
	pos         int64
	size        int
	first, next int64
	cut         bool
}

// FirstOffset is the base offset of the first batch, which may be below the offset asked for.
func (e *Extent) FirstOffset() int64 { return e.first }

// NextOffset is the offset after the last batch: where to read on.
func (e *Extent) NextOffset() int64 { return e.next }

// Cut tells that maxBytes ended it, not its segment or the limit: reading on with what is left of the
// same allowance would give nothing, or next to it.
func (e *Extent) Cut() bool { return e.cut }

// Len is the number of bytes.
func (e *Extent) Len() int { return e.size }

// File returns the descriptor and the position of the first byte, for sendfile with explicit offsets;
// false where there is no descriptor.
func (e *Extent) File() (fd uintptr, pos int64, ok bool) {
	if e.h == nil {
		return 0, 0, false
	}
	fd, ok = e.h.log.Fd()
	return fd, e.pos, ok
}

// ReadAt reads len(p) bytes from position off of the extent, as io.ReaderAt. That the file is too short
// for the extent is io.ErrUnexpectedEOF: the log was truncated meanwhile.
func (e *Extent) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(e.size) {
		return 0, fmt.Errorf("read extent of %d bytes at %d: %w", e.size, off, io.EOF)
	}
	short := int64(len(p)) > int64(e.size)-off
	if short {
		p = p[:int64(e.size)-off]
	}
	if len(p) > 0 {
		n, err := e.h.log.ReadAt(p, e.pos+off)
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, fmt.Errorf("read %s at %d: %w", e.h.log.Name(), e.pos+off, err)
		}
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// AppendTo appends the extent's bytes to buf and returns the extended slice.
func (e *Extent) AppendTo(buf []byte) ([]byte, error) {
	old := len(buf)
	buf = slices.Grow(buf, e.size)[:old+e.size]
	n, err := e.ReadAt(buf[old:], 0)
	return buf[:old+n], err
}

// Release gives the file back. The second and later calls do nothing.
func (e *Extent) Release() {
	if e.h != nil {
		e.h.unref()
	}
	*e = Extent{}
}
