package tiering

import (
	"container/list"
	"slices"
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
	// maxPartitionStreams bounds what one partition's reads have to be compared with.
	maxPartitionStreams = 128
	// streamActive is how long after a read a stream counts among those that share the memory.
	streamActive = 5 * time.Second
	// footersAhead is how many objects' footers are read ahead at most.
	footersAhead = 8
)

// stream is a reader that reads on where it stopped. It is known by the place where it will go on, or by a
// place in what it was last answered, for not all of an answer need have reached it. The Reader's lock
// guards it.
type stream struct {
	tp         topic.Partition
	from, next int64 // of the last answer; equal before the first
	window     int64 // bytes to be read ahead; 0 until it has gone on once
	run        int64 // bytes read since the window last grew
	used       time.Time
	elem       *list.Element
}

// shrink answers to memory that was spent on reading ahead for nothing.
func (s *stream) shrink() {
	if s.window > minWindow {
		s.window /= 2
	}
	s.run = 0
}

type streams struct {
	byPartition map[topic.Partition][]*stream
	order       list.List // of *stream, the last used in front
}

func (s *streams) init() { s.byPartition = map[topic.Partition][]*stream{} }

// find returns the stream that goes on at offset, or else one that was just answered with it.
func (s *streams) find(tp topic.Partition, offset int64) *stream {
	var within *stream
	for _, st := range s.byPartition[tp] {
		if st.next == offset {
			return st
		}
		if st.from <= offset && offset < st.next {
			within = st
		}
	}
	return within
}

func (s *streams) add(st *stream, now time.Time) {
	st.used = now
	st.elem = s.order.PushFront(st)
	all := append(s.byPartition[st.tp], st)
	s.byPartition[st.tp] = all
	if len(all) > maxPartitionStreams {
		s.remove(slices.MinFunc(all, func(a, b *stream) int { return a.used.Compare(b.used) }))
	}
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
	all := s.byPartition[st.tp]
	all = slices.Delete(all, slices.Index(all, st), slices.Index(all, st)+1)
	if len(all) == 0 {
		delete(s.byPartition, st.tp)
	} else {
		s.byPartition[st.tp] = all
	}
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
	ss, now := &r.mu.streams, time.Now()
	st = ss.find(tp, offset)
	if st == nil {
		st = &stream{tp: tp, from: offset, next: offset}
		ss.add(st, now)
		return st, false
	}
	st.used = now
	ss.order.MoveToFront(st.elem)
	if st.window == 0 && offset > st.from { // it has gone on
		st.window, st.run = minWindow, 0
	}
	return st, st.window > 0
}

// advance moves a stream to where its reader will go on, which at the end of the tier is elsewhere. The
// window grows as the reader comes through it.
func (r *Reader) advance(st *stream, head *manifest.Head, offset, next, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ss := &r.mu.streams
	if st.elem == nil { // forgotten, or joined with another
		return
	}
	if next >= head.TierEnd {
		ss.remove(st)
		return
	}
	if next > st.next { // not what it was answered before
		st.run += n
	}
	st.from, st.next = offset, next
	if st.window > 0 && st.run >= st.window {
		st.window, st.run = min(2*st.window, r.windowLimitLocked(time.Now())), 0
	}
	for _, other := range ss.byPartition[st.tp] {
		if other != st && other.next == next { // two readers in step are one stream
			st.window = max(st.window, other.window)
			ss.remove(other)
			return
		}
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
			budget = 0
			break
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
				budget = 0
				break
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
