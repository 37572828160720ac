package segment

import (
	"errors"
	"sync"
	"sync/atomic"

	"firn/segment/index"
	"firn/segment/vfs"
)

// handle is a segment's open files. They are closed when the last reference goes: the segment itself
// has one while it is open, each extent, lookup and sync one more. Unlinking the files meanwhile does
// no harm, they live on until then.
type handle struct {
	log  vfs.File
	idx  *index.Index
	refs atomic.Int64
}

func newHandle(log vfs.File, idx *index.Index) *handle {
	h := &handle{log: log, idx: idx}
	h.refs.Store(1)
	return h
}

// ref takes a reference; false if the files are closed or being closed.
func (h *handle) ref() bool {
	for {
		n := h.refs.Load()
		if n == 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (h *handle) unref() {
	if h.refs.Add(-1) == 0 {
		// Nothing was written through a handle that would be lost here: syncs are waited for.
		_ = h.log.Close()
		_ = h.idx.Close()
	}
}

// maxSealedOpen bounds the sealed segments that are open, whatever the limits allow: more would not be
// read at a time.
const maxSealedOpen = 4096

// minSealedOpen is what the budget always leaves for sealed segments, so that reads go on.
const minSealedOpen = 16

// A segment that is appended to has its log and its index open and the index mapped; a sealed one, once
// open, its log and the mapping, and for a moment the index.
const (
	filesPerLog    = 2
	mappingsPerLog = 1
	filesPerSealed = 2
)

// openSegments bounds how many sealed segments of a disk are open, by the clock algorithm: a hit costs
// no lock. Handles in use stay open beyond the bound until they are released.
type openSegments struct {
	files, mappings int // the budget, logs included

	mu struct {
		sync.Mutex
		logs int // active segments
		ring []*segment
		hand int
	}
}

// addLog takes what one more log needs out of the budget, false if it does not fit.
func (c *openSegments) addLog() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.mu.logs + 1
	if n*filesPerLog+minSealedOpen*filesPerSealed > c.files || n*mappingsPerLog+minSealedOpen > c.mappings {
		return false
	}
	c.mu.logs = n
	c.shrinkLocked(c.capacityLocked())
	return true
}

func (c *openSegments) removeLog() {
	c.mu.Lock()
	c.mu.logs--
	c.mu.Unlock()
}

func (c *openSegments) capacityLocked() int {
	return min(maxSealedOpen, (c.files-c.mu.logs*filesPerLog)/filesPerSealed, c.mappings-c.mu.logs*mappingsPerLog)
}

// add enters a sealed segment that was just opened, closing others for it.
func (c *openSegments) add(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shrinkLocked(c.capacityLocked() - 1)
	s.slot = len(c.mu.ring)
	s.cached = true
	s.used.Store(true)
	c.mu.ring = append(c.mu.ring, s)
}

// remove takes a segment out, if it is in.
func (c *openSegments) remove(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.cached {
		c.removeLocked(s)
	}
}

func (c *openSegments) removeLocked(s *segment) {
	last := len(c.mu.ring) - 1
	moved := c.mu.ring[last]
	c.mu.ring[s.slot], moved.slot = moved, s.slot
	c.mu.ring[last] = nil
	c.mu.ring = c.mu.ring[:last]
	s.cached = false
}

// shrinkLocked closes segments that were not used since the hand last passed until at most n are left.
func (c *openSegments) shrinkLocked(n int) {
	for len(c.mu.ring) > max(n, 0) {
		if c.mu.hand >= len(c.mu.ring) {
			c.mu.hand = 0
		}
		s := c.mu.ring[c.mu.hand]
		if s.used.Swap(false) {
			c.mu.hand++
			continue
		}
		c.removeLocked(s)
		if h := s.open.Swap(nil); h != nil {
			h.unref()
		}
	}
}

// count is the number of sealed segments open.
func (c *openSegments) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.ring)
}

var errGone = errors.New("segment was dropped")
