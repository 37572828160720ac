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
	// that are not Produce, so that they take one read and several take one together. A frame gets
	// a buffer once this is full, so a length field alone costs nothing.
	headBytes = 1 << 10
	// firstStep and secondStep are how large a frame's buffer is before as many bytes have arrived;
	// from there it doubles.
	firstStep  = 4 << 10
	secondStep = 64 << 10
	// stallBytes is how much of a frame has to arrive in each stall time for the reading to go on.
	stallBytes = 16 << 10
	// hurry is how much shorter the stall time is while others wait for memory.
	hurry = 10
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
	// deadline is the one set at src.
	deadline time.Time
	// since is when the frame being read last made progress, more where it has to get to make some
	// again, and until, if set, when it has to be whole.
	since, until time.Time
	more         int

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
	if err := f.fillTo(min(n, headBytes)); err != nil {
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
	if f.start == f.end {
		if err := f.await(); err != nil {
			return 0, err
		}
	}
	f.progress(0)
	f.until = time.Time{}
	if err := f.fillTo(4); err != nil {
		return 0, err
	}
	raw := f.head[f.start : f.start+4]
	n := int(int32(binary.BigEndian.Uint32(raw)))
	if n < leastFrame || n > f.opts.Max {
		return 0, fmt.Errorf("%w: %d, allowed %d to %d%s", ErrFrameSize, n, leastFrame, f.opts.Max, guess(raw))
	}
	f.start += 4
	return n, nil
}

// await waits for the first bytes of a frame.
func (f *FrameReader) await() error {
	f.start, f.end = 0, 0
	f.patience(time.Now(), f.opts.Idle)
	n, err := f.src.Read(f.head[:])
	f.end = n
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.deadline = time.Time{}
		return ErrIdle
	}
	return err
}

// fillTo reads until head holds n unread bytes.
func (f *FrameReader) fillTo(n int) error {
	if len(f.head)-f.start < n {
		f.end = copy(f.head[:], f.head[f.start:f.end])
		f.start = 0
	}
	for f.end-f.start < n {
		m, err := f.read(f.head[f.end:])
		if err != nil {
			return err
		}
		f.end += m
	}
	return nil
}

// body reads the n bytes of a frame, of which head holds the first.
func (f *FrameReader) body(n int, lease *Lease) (*Buffer, error) {
	step := min(n, max(firstStep, f.hint))
	if err := lease.Grow(sizeOf(step)); err != nil {
		return nil, err
	}
	buf := NewBuffer(step)
	got := copy(buf.B, f.head[f.start:f.end])
	f.start += got
	if got == n {
		return buf, nil
	}
	f.progress(got)
	for got < n {
		if got == len(buf.B) {
			var err error
			if buf, err = growFrame(buf, min(n, max(secondStep, 2*got)), lease); err != nil {
				buf.Release()
				return nil, err
			}
			f.more = got // waiting for memory was our doing
		}
		if got >= f.more {
			f.progress(got)
		}
		if f.until.IsZero() && lease.Over() {
			f.until = f.since.Add(f.opts.Stall)
		}
		m, err := f.read(buf.B[got:])
		if err != nil {
			buf.Release()
			return nil, fmt.Errorf("at %d of %d bytes: %w", got, n, err)
		}
		got += m
	}
	return buf, nil
}

// progress gives the frame another stall time to get stallBytes beyond got.
func (f *FrameReader) progress(got int) {
	f.since, f.more = time.Now(), got+stallBytes
}

// overdue tells whether the frame has had its time. One that went beyond the memory there is has to
// be whole soon, because nobody else may until then.
func (f *FrameReader) overdue(now time.Time) bool {
	stood := now.Sub(f.since)
	return stood >= f.opts.Stall || stood >= f.opts.Stall/hurry && f.opts.Budget.Waiting() > 0 ||
		!f.until.IsZero() && now.After(f.until)
}

// read reads some bytes of a frame that has begun.
func (f *FrameReader) read(p []byte) (int, error) {
	for {
		now := time.Now()
		if f.overdue(now) {
			return 0, fmt.Errorf("%w for %v", ErrStalled, now.Sub(f.since).Round(time.Millisecond))
		}
		f.patience(now, f.opts.Stall/hurry)
		n, err := f.src.Read(p)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.ErrNoProgress
		case errors.Is(err, io.EOF):
			return 0, io.ErrUnexpectedEOF
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		}
		f.deadline = time.Time{}
		select {
		case <-f.opts.Stop:
			return 0, ErrStopped
		default:
		}
	}
}

// patience sets the read deadline to d from now, unless the one that is set is nearly that: moving
// it for every frame costs more than a small frame itself.
func (f *FrameReader) patience(now time.Time, d time.Duration) {
	if left := f.deadline.Sub(now); left <= d && left > d-d/8 {
		return
	}
	f.deadline = now.Add(d)
	_ = f.src.SetReadDeadline(f.deadline) // fails only where the Read that follows does
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
