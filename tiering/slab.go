package tiering

import (
	"container/list"
	"context"
	"sync"

	"firn/segment/poison"
)

// slabs hands out memory for decoded blocks within a budget and takes it back for the next: the first
// touch of new memory costs several times what decoding into used memory does. Sizes are in classes.
type slabs struct {
	limit int64
	// reclaim frees a slab that is only kept in case it is read again; false if there is none. It
	// is called without the lock and calls put.
	reclaim func() bool

	mu struct {
		sync.Mutex
		used    int64 // handed out
		idle    int64 // in free
		free    [len(slabClasses)][][]byte
		waiting list.List // of *slabWaiter, the first to be served in front
	}
}

// slabClasses are the sizes of slabs. The largest holds sixteen blocks of 256 KiB, each a little over
// because its last batch was. A single batch may need more; such memory is not kept.
var slabClasses = [...]int{128 << 10, 512 << 10, 1 << 20, 2 << 20, maxChunk}

const maxChunk = 4<<20 + 128<<10

type slabWaiter struct {
	size  int
	ready chan []byte
}

func classOf(size int) int {
	for i, c := range slabClasses {
		if size <= c {
			return i
		}
	}
	return -1
}

func slabSize(size int) int64 {
	if c := classOf(size); c >= 0 {
		return int64(slabClasses[c])
	}
	return int64(size)
}

// tryGet returns memory of at least size bytes if there is room for it without taking any from others.
func (s *slabs) tryGet(size int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.waiting.Len() > 0 {
		return nil
	}
	return s.takeLocked(size)
}

func (s *slabs) takeLocked(size int) []byte {
	c, need := classOf(size), slabSize(size)
	if c >= 0 {
		if n := len(s.mu.free[c]); n > 0 {
			b := s.mu.free[c][n-1]
			s.mu.free[c] = s.mu.free[c][:n-1]
			s.mu.idle -= need
			s.mu.used += need
			poison.Check(b)
			return b
		}
	}
	// One slab may always be out, or a batch larger than the budget could never be read.
	if s.mu.used > 0 && s.mu.used+need > s.limit {
		return nil
	}
	s.trimLocked(max(0, s.limit-s.mu.used-need))
	s.mu.used += need
	return make([]byte, need)
}

// trimLocked gives idle memory back to the runtime until at most keep bytes are left of it.
func (s *slabs) trimLocked(keep int64) {
	for c := range s.mu.free {
		for len(s.mu.free[c]) > 0 && s.mu.idle > keep {
			n := len(s.mu.free[c]) - 1
			s.mu.free[c][n] = nil
			s.mu.free[c] = s.mu.free[c][:n]
			s.mu.idle -= int64(slabClasses[c])
		}
	}
}

func (s *slabs) trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimLocked(0)
}

// get returns memory of at least size bytes, first come first served. It is in line before it looks for what others do
// not need: what is let go of while nobody waits stays where it is.
func (s *slabs) get(ctx context.Context, size int) ([]byte, error) {
	if b := s.tryGet(size); b != nil {
		return b, nil
	}
	w := &slabWaiter{size: size, ready: make(chan []byte, 1)}
	s.mu.Lock()
	e := s.mu.waiting.PushBack(w)
	s.serveLocked()
	s.mu.Unlock()
	for s.starving() && s.reclaim() {
	}
	select {
	case b := <-w.ready:
		return b, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.mu.waiting.Remove(e)
	s.mu.Unlock()
	select {
	case b := <-w.ready: // it came after all
		s.put(b)
	default:
	}
	return nil, ctx.Err()
}

// wanted reports whether somebody waits for memory.
func (s *slabs) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.waiting.Len() > 0
}

// put takes back what get or tryGet gave.
func (s *slabs) put(b []byte) {
	poison.Fill(b[:cap(b)])
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int64(cap(b))
	s.mu.used -= size
	if c := classOf(cap(b)); c >= 0 {
		s.mu.free[c] = append(s.mu.free[c], b[:cap(b)])
		s.mu.idle += size
	}
	s.serveLocked()
}

func (s *slabs) serveLocked() {
	for e := s.mu.waiting.Front(); e != nil; e = s.mu.waiting.Front() {
		w := e.Value.(*slabWaiter)
		b := s.takeLocked(w.size)
		if b == nil {
			return
		}
		s.mu.waiting.Remove(e)
		w.ready <- b
	}
}

// starving reports whether someone waits.
func (s *slabs) starving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.waiting.Len() > 0
}

// inUse returns the bytes handed out and the bytes kept for later.
func (s *slabs) inUse() (used, idle int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.used, s.mu.idle
}
