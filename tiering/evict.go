package tiering

import "time"

// reclaim evicts the chunk that is least likely to be read, if nobody uses it. Chunks that were read ahead
// and not asked for yet go only where unread says so.
func (r *Reader) reclaim(unread bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.mu.order.Back(); e != nil; e = e.Prev() {
		c := e.Value.(*chunk)
		if c.refs.Load() > 1 || c.unread && !unread {
			continue
		}
		if c.unread && c.stream != nil {
			c.stream.shrink()
			r.metrics.wasted.Inc()
		}
		r.dropLocked(c)
		return true
	}
	return false
}

// idle is called when a chunk is left to the table alone.
func (r *Reader) idle() {
	for r.mem.starving() && r.reclaim(true) {
	}
}

// usedLocked puts off the moment when memory goes back to the system.
func (r *Reader) usedLocked() {
	r.mu.lastUse = time.Now()
	if r.mu.trimming == nil {
		r.mu.trimming = time.AfterFunc(trimAfterIdle, r.trim)
	}
}

// trim gives memory back when nothing has been read for a while.
func (r *Reader) trim() {
	r.mu.Lock()
	if rest := trimAfterIdle - time.Since(r.mu.lastUse); rest > 0 && !r.mu.closed {
		r.mu.trimming = time.AfterFunc(rest, r.trim)
		r.mu.Unlock()
		return
	}
	r.mu.trimming = nil
	r.mu.Unlock()
	r.evictAll()
}

func (r *Reader) evictAll() {
	for r.reclaim(true) {
	}
	r.mem.trim()
}
