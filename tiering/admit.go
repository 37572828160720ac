package tiering

import "firn/tiering/chunkcache"

// cacheKey names the chunk in the disk cache.
func (c *chunk) cacheKey() chunkcache.Key {
	return chunkcache.NewKey(c.key.tp.ID[:], uint64(uint32(c.key.tp.Index)), uint64(c.key.base),
		uint64(c.key.attempt)<<32|uint64(uint32(c.key.epoch)), uint64(c.lo)<<32|uint64(c.hi))
}

// maybeAdmit counts a read that belongs to no stream. The second one of a chunk makes it worth a place in
// the disk cache.
func (r *Reader) maybeAdmit(c *chunk) {
	if r.o.Cache == nil {
		return
	}
	r.mu.Lock()
	second := r.mu.seen.add(c.cacheKey())
	admit := second && !c.admit
	c.admit = c.admit || second
	r.mu.Unlock()
	c.mu.Lock()
	done := c.mu.done && c.mu.err == nil
	c.mu.Unlock()
	if admit && done { // else the filler does it
		c.retain()
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			defer c.release()
			r.toCache(c)
		}()
	}
}

func (r *Reader) toCache(c *chunk) {
	if err := r.o.Cache.Write(c.cacheKey(), c.mu.slab[:c.obj.rawBytes(c.lo, c.hi)]); err != nil {
		r.log.Debug("write to the chunk cache", "error", err)
	}
}

// seen remembers the chunks that were read lately by those who belong to no stream.
type seen struct {
	old, new map[chunkcache.Key]struct{}
}

const seenMax = 16384

// add remembers k and reports whether it was there.
func (s *seen) add(k chunkcache.Key) bool {
	_, inNew := s.new[k]
	_, inOld := s.old[k]
	if s.new == nil || len(s.new) >= seenMax {
		s.old, s.new = s.new, map[chunkcache.Key]struct{}{}
	}
	s.new[k] = struct{}{}
	return inNew || inOld
}
