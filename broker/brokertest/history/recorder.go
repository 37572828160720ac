package history

import (
	"bufio"
	"fmt"
	"io"
	"sync"
	"time"
)

// Recorder makes a history while it happens. Its methods may be called concurrently: the order of the calls is the order
// of events, so an operation is invoked before the client is asked and completed after it answered.
type Recorder struct {
	mu struct {
		sync.Mutex
		h      *History // nil once closed
		events int64
		lines  *bufio.Writer // nil without lines
		line   []byte
		err    error // of the first write that failed
	}
	began time.Time
	now   func() time.Duration
}

// NewRecorder records operations on the named partitions, in memory, and as lines of JSON if lines is not nil.
func NewRecorder(keys []string, lines io.Writer) *Recorder {
	r := &Recorder{began: time.Now()}
	r.now = func() time.Duration { return time.Since(r.began) }
	r.mu.h = &History{Keys: keys}
	if lines != nil {
		r.mu.lines = bufio.NewWriterSize(lines, 1<<16)
		_, r.mu.err = r.mu.lines.Write(appendHeader(nil, keys))
	}
	return r
}

// Invoke records that an operation begins and returns its number. Of op, what is known only at the end is not looked at.
func (r *Recorder) Invoke(op Op) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.h == nil {
		return -1
	}
	op.Outcome, op.Lingers, op.Reads, op.Err = Info, false, nil, ""
	op.Invoked, op.Completed, op.Start, op.End = r.mu.events, Never, r.now(), 0
	r.mu.events++
	r.mu.h.Ops = append(r.mu.h.Ops, op)
	r.write(&op, false)
	return len(r.mu.h.Ops) - 1
}

// Complete records what came of operation n: done's outcome, error and whether it lingers, and of its lists those that are
// not nil, which replace what was known at the invocation. The recorder keeps the slices.
func (r *Recorder) Complete(n int, done Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.h == nil || n < 0 {
		return
	}
	op := &r.mu.h.Ops[n]
	if op.Completed != Never {
		panic(fmt.Sprintf("history: operation %d, %s of process %d, is completed twice", n, op.Func, op.Process))
	}
	op.Outcome, op.Err, op.Lingers = done.Outcome, done.Err, done.Lingers
	op.Completed, op.End = r.mu.events, r.now()
	op.take(&done)
	r.mu.events++
	r.write(op, true)
}

// take replaces the lists that done has.
func (op *Op) take(done *Op) {
	if done.Writes != nil {
		op.Writes = done.Writes
	}
	if done.Reads != nil {
		op.Reads = done.Reads
	}
	if done.Positions != nil {
		op.Positions = done.Positions
	}
	if done.Spans != nil {
		op.Spans = done.Spans
	}
	if done.Via != "" {
		op.Via = done.Via
	}
}

func (r *Recorder) write(op *Op, completed bool) {
	if r.mu.lines == nil || r.mu.err != nil {
		return
	}
	r.mu.line = appendEvent(r.mu.line[:0], op, completed)
	_, r.mu.err = r.mu.lines.Write(r.mu.line)
}

// Close ends the recording and returns the history. What completes later has an unknown outcome. The error is that of
// writing lines; the history is whole nevertheless.
func (r *Recorder) Close() (*History, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.mu.h
	r.mu.h = nil
	if r.mu.lines != nil && r.mu.err == nil {
		r.mu.err = r.mu.lines.Flush()
	}
	return h, r.mu.err
}
