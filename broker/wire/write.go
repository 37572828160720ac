package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	// sendfileBytes is the shortest run that is sent from its file. Below it reading the bytes and
	// writing them together with their neighbours costs less than two system calls of their own.
	sendfileBytes = 32 << 10
	// copyChunk is how much of the runs that are not sent from their file is in memory at a time.
	copyChunk = 256 << 10
	// maxVectors is how many pieces go into one write.
	maxVectors = 256
)

var (
	// ErrShortSend means that a file had fewer bytes than the response's header promised. What was
	// sent cannot be taken back, so the connection has to be closed.
	ErrShortSend = errors.New("file shorter than the response says")
	// ErrNotTaken means that the client has not taken any of its responses for too long.
	ErrNotTaken = errors.New("client does not read its responses")
)

// Writer writes the bodies of one connection: small pieces together in one call, long runs of files
// without passing through memory where the system can. Used by one goroutine.
type Writer struct {
	conn net.Conn
	raw  syscall.RawConn // nil if files are not sent as such
	// tick is how long a write may stand still before Stalled is asked.
	tick    time.Duration
	stalled func(since time.Duration) bool

	vec      net.Buffers
	vecBytes int
	copies   *Buffer // memory that vec points to, filled up to copied
	copied   int
	progress time.Time // of the last byte written
	deadline time.Time // the one set at conn
	sent     int64
	fromFile int64
}

// NewWriter returns a writer to conn. Each time a write has stood still for tick, stalled is asked
// whether to give up, with the time since the last byte was taken.
func NewWriter(conn net.Conn, tick time.Duration, stalled func(since time.Duration) bool) *Writer {
	return &Writer{conn: conn, raw: fileConn(conn), tick: tick, stalled: stalled}
}

// Counts returns the bytes written so far, and how many of them went from a file without a copy.
func (w *Writer) Counts() (sent, fromFile int64) { return w.sent, w.fromFile }

// Write writes bodies one after the other. It does not release them. After an error an unknown part
// has been written, so the connection is of no more use.
func (w *Writer) Write(bodies []*Body) error {
	w.progress = time.Now()
	defer w.dropCopies()
	for _, b := range bodies {
		if err := w.body(b); err != nil {
			return err
		}
	}
	return w.flush(false)
}

func (w *Writer) body(b *Body) error {
	at := 0
	for i := range b.runs {
		r := &b.runs[i]
		if err := w.piece(b.buf.B[at:r.at]); err != nil {
			return err
		}
		at = r.at
		if err := w.extent(r.ext); err != nil {
			return err
		}
	}
	return w.piece(b.buf.B[at:])
}

// piece adds bytes that stay valid until the next flush.
func (w *Writer) piece(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	w.vec = append(w.vec, p)
	w.vecBytes += len(p)
	if len(w.vec) < maxVectors {
		return nil
	}
	return w.flush(false)
}

func (w *Writer) extent(e Extent) error {
	if w.raw != nil && e.Len() >= sendfileBytes {
		if fd, pos, ok := e.File(); ok {
			if err := w.flush(true); err != nil {
				return err
			}
			return w.file(fd, pos, e.Len())
		}
	}
	if m, ok := e.(memory); ok {
		return w.piece(m.Memory())
	}
	return w.copy(e)
}

// memory is an Extent whose bytes can be written from where they are.
type memory interface{ Memory() []byte }

// copy reads an extent into memory, chunk by chunk.
func (w *Writer) copy(e Extent) error {
	for off := 0; off < e.Len(); {
		if w.copies == nil {
			w.copies = NewBuffer(copyChunk)
		}
		p := w.copies.B[w.copied:]
		p = p[:min(len(p), e.Len()-off)]
		if _, err := e.ReadAt(p, int64(off)); err != nil {
			return fmt.Errorf("read records to send: %w", err)
		}
		w.copied += len(p)
		off += len(p)
		if err := w.piece(p); err != nil {
			return err
		}
		if w.copied == len(w.copies.B) {
			if err := w.flush(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush writes what has been gathered. more says that a file follows at once.
func (w *Writer) flush(more bool) error {
	vec := w.vec
	for w.vecBytes > 0 {
		n, err := w.vectors(&vec, more)
		w.vecBytes -= int(n)
		if err := w.wrote(n, err); err != nil {
			return err
		}
	}
	clear(w.vec)
	w.vec = w.vec[:0]
	w.copied = 0
	return nil
}

// vectors writes from the front of vec and drops what was written from it.
func (w *Writer) vectors(vec *net.Buffers, more bool) (int64, error) {
	w.setDeadline()
	if more {
		return w.sendMore(vec)
	}
	return vec.WriteTo(w.conn)
}

// setDeadline gives the next write a tick from now, or at least most of one: moving the deadline for each
// piece of a response costs more than a small piece itself.
func (w *Writer) setDeadline() {
	now := time.Now()
	if left := w.deadline.Sub(now); left > w.tick-w.tick/8 && left <= w.tick {
		return
	}
	w.deadline = now.Add(w.tick)
	_ = w.conn.SetWriteDeadline(w.deadline) // fails only where the write that follows does
}

// wrote takes note of a write's outcome and tells whether to go on.
func (w *Writer) wrote(n int64, err error) error {
	now := time.Now()
	if w.sent += n; n > 0 {
		w.progress = now
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if since := now.Sub(w.progress); w.stalled(since) {
		return fmt.Errorf("%w for %v", ErrNotTaken, since.Round(time.Second))
	}
	return nil
}

func (w *Writer) dropCopies() {
	if w.copies != nil {
		w.copies.Release()
		w.copies, w.copied = nil, 0
	}
	if len(w.vec) > 0 {
		clear(w.vec)
		w.vec, w.vecBytes = w.vec[:0], 0
	}
}

// WriteTo writes the whole body through memory. It does not release it.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	var written int64
	put := func(p []byte) error {
		n, err := w.Write(p)
		written += int64(n)
		return err
	}
	at := 0
	for _, r := range b.runs {
		if err := put(b.buf.B[at:r.at]); err != nil {
			return written, err
		}
		at = r.at
		p := make([]byte, r.ext.Len())
		if _, err := r.ext.ReadAt(p, 0); err != nil {
			return written, err
		}
		if err := put(p); err != nil {
			return written, err
		}
	}
	return written, put(b.buf.B[at:])
}
