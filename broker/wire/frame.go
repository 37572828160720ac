package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

var (
	// ErrFrameSize means a length field that is negative, too small or above the limit.
	ErrFrameSize = fmt.Errorf("%w: frame length out of range", ErrMalformed)
	// ErrStalled means a frame whose rest does not arrive.
	ErrStalled = errors.New("frame stands still")
	// ErrIdle means that the idle time passed without a byte of a new frame. The reader may be used
	// again.
	ErrIdle = errors.New("no request within the idle time")
)

const (
	// headBytes is what a connection holds while it waits for a frame: enough for most requests
	// that are not Produce, so that they take one read and several take one together.
	headBytes = 1 << 10
	// firstStep and secondStep are how large a frame's buffer is before as many bytes have arrived;
	// from there it doubles. A length field alone costs us firstStep.
	firstStep  = 4 << 10
	secondStep = 64 << 10
	// stallBytes is how much of a frame has to arrive in each stall time for the reading to go on.
	stallBytes = 16 << 10
	// leastFrame is a header with a null client id and nothing behind it.
	leastFrame = headerLen
)

// Source is the reading side of a connection.
type Source interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// FrameOptions bounds a FrameReader.
type FrameOptions struct {
	// Max is the longest frame in bytes, without its length field.
	Max int
	// Budget is charged for what a frame's buffer takes.
	Budget *Budget
	// Stop ends waiting for memory.
	Stop <-chan struct{}
	// Idle is how long to wait for a frame to begin, Stall how long for it to go on.
	Idle, Stall time.Duration
}

// FrameReader reads the frames of one connection. Its buffer grows with the bytes that have arrived,
// not with what the length field promises, and every byte of it is charged before it is allocated.
// Used by one goroutine.
type FrameReader struct {
	src  Source
	opts FrameOptions
	// hint is about the size of this connection's larger frames: one that has sent a frame gets
	// room for another at once, without copying from step to step.
	hint int
	// deadline is the one set at src; idle tells what for.
	deadline time.Time
	idle     bool

	start, end int // of the unread bytes in head
	head       [headBytes]byte
}

// NewFrameReader returns a reader of src.
func NewFrameReader(src Source, opts FrameOptions) *FrameReader {
	return &FrameReader{src: src, opts: opts}
}

// Next returns the next frame without its length field, and the lease it is charged to; both are the
// caller's. The error is io.EOF at the end between two frames, ErrIdle, or one after which the
// connection is of no more use.
func (f *FrameReader) Next() (*Buffer, *Lease, error) {
	n, err := f.length()
	if err != nil {
		return nil, nil, err
	}
	lease := f.opts.Budget.Lease(f.opts.Stop)
	buf, err := f.body(n, lease)
	if err != nil {
		lease.Release()
		return nil, nil, err
	}
	f.hint = max(n, f.hint-f.hint/8)
	return buf, lease, nil
}

// length reads a length field.
func (f *FrameReader) length() (int, error) {
	for f.end-f.start < 4 {
		if err := f.fill(); err != nil {
			return 0, err
		}
	}
	raw := f.head[f.start : f.start+4]
	n := int(int32(binary.BigEndian.Uint32(raw)))
	if n < leastFrame || n > f.opts.Max {
		return 0, fmt.Errorf("%w: %d, allowed %d to %d%s", ErrFrameSize, n, leastFrame, f.opts.Max, guess(raw))
	}
	f.start += 4
	return n, nil
}

// fill reads once into head.
func (f *FrameReader) fill() error {
	if f.start == f.end {
		f.start, f.end = 0, 0
	} else if f.end == len(f.head) {
		f.end = copy(f.head[:], f.head[f.start:f.end])
		f.start = 0
	}
	begun := f.end > f.start
	if begun {
		f.patience(f.opts.Stall, false)
	} else {
		f.patience(f.opts.Idle, true)
	}
	n, err := f.src.Read(f.head[f.end:])
	f.end += n
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, os.ErrDeadlineExceeded) && begun:
		return ErrStalled
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.deadline = time.Time{}
		return ErrIdle
	case err == io.EOF && begun:
		return io.ErrUnexpectedEOF
	}
	return err
}

// patience sets the read deadline to d from now, unless the one that is set is nearly that: moving
// it for every frame costs more than a small frame itself.
func (f *FrameReader) patience(d time.Duration, idle bool) {
	t := time.Now().Add(d)
	if f.idle == idle && t.Sub(f.deadline) < d/16 {
		return
	}
	f.deadline, f.idle = t, idle
	_ = f.src.SetReadDeadline(t) // fails only where the Read that follows does
}

// body reads the n bytes of a frame.
func (f *FrameReader) body(n int, lease *Lease) (*Buffer, error) {
	step := min(n, max(firstStep, f.hint))
	if err := lease.Grow(sizeOf(step)); err != nil {
		return nil, err
	}
	buf := NewBuffer(step)
	got := copy(buf.B, f.head[f.start:f.end])
	f.start += got
	mark, final := 0, false // where got has to be for more patience, and whether there is no more
	for got < n {
		if got == len(buf.B) {
			var err error
			if buf, err = growFrame(buf, min(n, max(secondStep, 2*got)), lease); err != nil {
				buf.Release()
				return nil, err
			}
			mark = got // waiting for memory was our doing
		}
		if got >= mark && !final {
			f.patience(f.opts.Stall, false)
			mark, final = got+stallBytes, lease.Over()
		}
		m, err := f.src.Read(buf.B[got:])
		if got += m; m > 0 {
			continue
		}
		buf.Release()
		return nil, f.bodyError(err, got, n)
	}
	return buf, nil
}

func (f *FrameReader) bodyError(err error, got, n int) error {
	switch {
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w at %d of %d bytes", ErrStalled, got, n)
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

// growFrame moves a full buffer to one of n bytes. On error it returns the old one.
func growFrame(old *Buffer, n int, lease *Lease) (*Buffer, error) {
	if n <= cap(old.B) {
		old.B = old.B[:n]
		return old, nil
	}
	if err := lease.Grow(sizeOf(n)); err != nil {
		return old, err
	}
	buf := NewBuffer(n)
	copy(buf.B, old.B)
	lease.Shrink(old.Size())
	old.Release()
	return buf, nil
}

// guess says what a length field that makes no sense rather is the beginning of.
func guess(b []byte) string {
	switch {
	case b[0] == 0x16 && b[1] == 0x03:
		return " (looks like TLS)"
	case string(b) == "GET " || string(b) == "POST" || string(b) == "HEAD" || string(b) == "PUT ":
		return " (looks like HTTP)"
	case string(b[:3]) == "SSH":
		return " (looks like SSH)"
	}
	return ""
}
