package tiering

import (
	"container/list"
	"time"

	"firn/metadata/topic"
	"firn/tiering/manifest"
)

const (
	minWindow = 4 << 20
	maxWindow = 32 << 20
	// Streams that nobody has read from for this long, and the oldest beyond this many, are forgotten.
	streamIdle = 2 * time.Minute
	maxStreams = 4096
	// streamActive is how long after a read a stream counts among those that share the memory.
	streamActive = 5 * time.Second
	// footersAhead is how many objects' footers are read ahead at most.
	footersAhead = 8
)

// stream is a reader that reads on where it stopped. It is known by the place where it will go on.
// The Reader's lock guards it.
type stream struct {
	tp     topic.Partition
	next   int64
	window int64 // bytes to be read ahead; 0 until it has gone on once
	run    int64 // bytes read since the window last grew
	used   time.Time
	elem   *list.Element
}

// shrink answers to memory that was spent on reading ahead for nothing.
func (s *stream) shrink() {
	if s.window > minWindow {
		s.window /= 2
	}
	s.run = 0
}

type streamKey struct {
	tp   topic.Partition
	next int64
}

type streams struct {
	byPlace map[streamKey]*stream
	order   list.List // of *stream, the last used in front
}

func (s *streams) init() { s.byPlace = map[streamKey]*stream{} }

func (s *streams) put(st *stream, now time.Time) {
	st.used = now
	k := streamKey{st.tp, st.next}
	if other := s.byPlace[k]; other != nil {
		s.remove(other) // two readers in step are one stream
	}
	s.byPlace[k] = st
	st.elem = s.order.PushFront(st)
	for e := s.order.Back(); e != nil; e = s.order.Back() {
		last := e.Value.(*stream)
		if s.order.Len() <= maxStreams && now.Sub(last.used) < streamIdle {
			return
		}
		s.remove(last)
	}
}

func (s *streams) remove(st *stream) {
	if st.elem == nil {
		return
	}
	s.order.Remove(st.elem)
	st.elem = nil
	delete(s.byPlace, streamKey{st.tp, st.next})
}

// active counts the streams with a window that were read from lately.
func (s *streams) active(now time.Time) int {
	n := 0
	for e := s.order.Front(); e != nil && now.Sub(e.Value.(*stream).used) < streamActive; e = e.Next() {
		if e.Value.(*stream).window > 0 {
			n++
		}
	}
	return n
}

// follow returns the stream that goes on at offset; without one it returns a new one, and false.
func (r *Reader) follow(tp topic.Partition, offset int64) (st *stream, sequential bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ss := &r.mu.streams
	if st := ss.byPlace[streamKey{tp, offset}]; st != nil {
		if st.window == 0 {
			if st.run == 0 { // asked for again, nothing read so far
				return st, false
			}
			st.window, st.run = minWindow, 0
		}
		st.used = time.Now()
		ss.order.MoveToFront(st.elem)
		return st, true
	}
	st = &stream{tp: tp, next: offset}
	ss.put(st, time.Now())
	return st, false
}

// advance moves a stream to where its reader will go on, which at the end of the tier is elsewhere. The
// window grows as the reader comes through it.
func (r *Reader) advance(st *stream, head *manifest.Head, next, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ss := &r.mu.streams
	if st.elem == nil { // another reader in step took it on
		return
	}
	ss.remove(st)
	if next >= head.TierEnd {
		return
	}
	now := time.Now()
	st.next = next
	st.run += n
	ss.put(st, now)
	if st.window > 0 && st.run >= st.window {
		st.window, st.run = min(2*st.window, r.windowLimitLocked(now)), 0
	}
}

// windowLimitLocked shares three quarters of the memory among the active streams.
func (r *Reader) windowLimitLocked(now time.Time) int64 {
	share := r.mem.limit * 3 / 4 / int64(max(1, r.mu.streams.active(now)))
	return max(minWindow, min(maxWindow, share))
}

// readAhead sees to it that what stands behind block is being read, as far as the stream's window goes,
// over the end of the object too. Footers of coming objects are read before they are needed.
func (r *Reader) readAhead(st *stream, head *manifest.Head, obj *remote, block int) {
	r.mu.Lock()
	budget := min(st.window, r.windowLimitLocked(time.Now()))
	r.mu.Unlock()
	_, hi := obj.group(block)
	budget -= int64(obj.rawBytes(block, hi))
	for budget > 0 && hi < len(obj.footer.Blocks) {
		lo, end := obj.group(hi)
		if !r.prefetch(st, obj, lo, end) {
			return
		}
		hi = end
		budget -= int64(obj.rawBytes(lo, end))
	}
	rest := int64(0)
	if hi < len(obj.footer.Blocks) {
		rest = int64(obj.rawBytes(hi, len(obj.footer.Blocks)))
	}
	r.readAheadBeyond(st, head, obj.tp, obj.segment.Next(), budget, minWindow-rest)
}

// readAheadBeyond is readAhead from the first block of the object at offset on. With the budget used up it
// still gets the footers of the next so many bytes.
func (r *Reader) readAheadBeyond(st *stream, head *manifest.Head, tp topic.Partition, offset, budget, footers int64) {
	ready := true // all objects so far have their footers
	for n := 0; (budget > 0 || footers > 0) && n < footersAhead && offset < head.TierEnd; n++ {
		s, ok := r.tree.peek(tp, head, offset)
		if !ok {
			return
		}
		obj, ok := r.remotes.peek(remoteKey{tp, s})
		ready = ready && ok
		for i := 0; ready && budget > 0 && i+1 < len(obj.groups); i++ {
			lo, hi := obj.groups[i], obj.groups[i+1]
			if !r.prefetch(st, obj, lo, hi) {
				return
			}
			budget -= int64(obj.rawBytes(lo, hi))
		}
		if !ready {
			budget -= s.RawBytes
		}
		footers -= s.RawBytes
		offset = s.Next()
	}
}
