package server

import (
	"sync"
	"sync/atomic"
	"time"

	"firn/broker/wire"
)

// slots keeps the responses of one connection in the order of its requests. Each request opens a
// slot; its outcome fills it, in any order; the writer takes filled slots from the front. A request
// without a response fills its slot with nothing, and so never holds up the others.
type slots struct {
	max        int
	maxPending int64
	// unwritten is the server's sum of pending. Above maxUnwritten each connection has one request at a time.
	unwritten    *atomic.Int64
	maxUnwritten int64

	filled chan struct{} // something for the writer
	room   chan struct{} // something for the reader

	mu struct {
		sync.Mutex
		ring    []slot // by sequence number modulo its length
		head    uint64 // oldest request whose slot was not taken
		next    uint64 // of the next request
		writing int    // taken and not yet written
		pending int64  // memory of responses filled in and not yet written
		ended   bool   // no more requests come
		dropped bool   // no more responses go
		failed  bool   // a request ends the connection
		active  time.Time
	}
}

type slot struct {
	filled bool
	body   *wire.Body // nil if there is no response
	ends   error      // why the connection ends here, if it does
}

func (s *slots) init(o *Options, unwritten *atomic.Int64) {
	s.max, s.maxPending, s.unwritten, s.maxUnwritten = o.MaxInFlight, o.MaxPendingBytes, unwritten, o.MemoryBytes
	s.filled, s.room = make(chan struct{}, 1), make(chan struct{}, 1)
	s.mu.ring = make([]slot, min(s.max, 4))
	s.mu.active = time.Now()
}

// signal wakes the one goroutine that waits on c, now or when it next does.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waitRoom waits until another request may be read; wire.ErrStopped if stop was closed first, or one ends the connection. A
// connection whose requests all have their outcome written always may, so none waits for what others do. It is wire.ErrIdle if
// the oldest request leaves nothing to be written for as long as idle: who is not read does not tell whether he is still there.
func (s *slots) waitRoom(stop <-chan struct{}, idle time.Duration) error {
	for waited := false; ; {
		s.mu.Lock()
		n := s.openLocked()
		ok := n == 0 || n < s.max && s.mu.pending < s.maxPending && s.unwritten.Load() < s.maxUnwritten
		failed, writing := s.mu.failed, s.mu.writing > 0
		s.mu.Unlock()
		switch {
		case failed:
			return wire.ErrStopped
		case ok:
			return nil
		case waited && !writing: // else it is for the writer to see whether the client is there
			return wire.ErrIdle
		}
		timer := time.NewTimer(idle)
		select {
		case <-s.room:
			waited = false
		case <-timer.C:
			waited = true
		case <-stop:
			return wire.ErrStopped
		}
		timer.Stop()
	}
}

// openLocked is the number of requests whose outcome is not written yet.
func (s *slots) openLocked() int { return int(s.mu.next-s.mu.head) + s.mu.writing }

// open makes a slot for the next request and returns its number.
func (s *slots) open() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := int(s.mu.next - s.mu.head); n == len(s.mu.ring) {
		ring := make([]slot, min(2*n, s.max))
		for q := s.mu.head; q < s.mu.next; q++ {
			ring[q%uint64(len(ring))] = s.mu.ring[q%uint64(n)]
		}
		s.mu.ring = ring
	}
	s.mu.next++
	return s.mu.next - 1
}

// deliver fills a request's slot.
func (s *slots) deliver(seq uint64, body *wire.Body) {
	s.mu.Lock()
	if s.mu.dropped {
		s.mu.Unlock()
		if body != nil {
			body.Release()
		}
		return
	}
	sl := &s.mu.ring[seq%uint64(len(s.mu.ring))]
	sl.filled, sl.body = true, body
	if body != nil {
		n := int64(body.Memory())
		s.mu.pending += n
		s.unwritten.Add(n)
	}
	first := seq == s.mu.head
	s.mu.Unlock()
	if first {
		signal(s.filled)
	}
}

// fail has the connection end, because of err, once the requests before one have been answered.
func (s *slots) fail(seq uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.failed = true
	if !s.mu.dropped {
		s.mu.ring[seq%uint64(len(s.mu.ring))].ends = err
	}
}

// take appends the responses that are due to batch, waiting for at least one. It returns an error when
// there will be none: that of a request that ends the connection, or ErrStopped if every request has its
// outcome and no more come, or closed is closed.
func (s *slots) take(batch []*wire.Body, closed <-chan struct{}) ([]*wire.Body, error) {
	for {
		s.mu.Lock()
		skipped := false
		var ends error
		for s.mu.head < s.mu.next {
			sl := &s.mu.ring[s.mu.head%uint64(len(s.mu.ring))]
			if ends = sl.ends; !sl.filled || ends != nil {
				break
			}
			if sl.body == nil {
				skipped = true
			} else {
				batch = append(batch, sl.body)
				s.mu.writing++
			}
			*sl = slot{}
			s.mu.head++
		}
		over := s.mu.ended && s.mu.head == s.mu.next
		s.mu.Unlock()
		if skipped {
			signal(s.room)
		}
		switch {
		case len(batch) > 0:
			return batch, nil
		case ends != nil:
			return batch, ends
		case over:
			return batch, ErrStopped
		}
		select {
		case <-s.filled:
		case <-closed:
			return batch, ErrStopped
		}
	}
}

// written releases responses that have been written, or failed to be.
func (s *slots) written(batch []*wire.Body) {
	var n int64
	for i, b := range batch {
		n += int64(b.Memory())
		b.Release()
		batch[i] = nil
	}
	s.unwritten.Add(-n)
	s.mu.Lock()
	s.mu.pending -= n
	s.mu.writing -= len(batch)
	s.mu.active = time.Now()
	s.mu.Unlock()
	signal(s.room)
}

// busySince tells whether a request is unanswered, or a response was written after t.
func (s *slots) busySince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openLocked() > 0 || s.mu.active.After(t)
}

// endReading says that no more requests come.
func (s *slots) endReading() {
	s.mu.Lock()
	s.mu.ended = true
	s.mu.Unlock()
	signal(s.filled)
}

// drop releases what was not written; what is delivered from now on is released at once.
func (s *slots) drop() {
	s.mu.Lock()
	s.mu.dropped = true
	ring, pending := s.mu.ring, s.mu.pending
	s.mu.ring, s.mu.pending = nil, 0
	s.mu.Unlock()
	s.unwritten.Add(-pending)
	for _, sl := range ring {
		if sl.body != nil {
			sl.body.Release()
		}
	}
}
