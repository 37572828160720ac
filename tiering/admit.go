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

// fromCache fills a chunk from the disk cache and reports whether it was there. That takes memory, but no turn: it waits for
// nobody, least of all the bucket.
func (r *Reader) fromCache(c *chunk) bool {
	if r.o.Cache == nil || !r.o.Cache.Has(c.cacheKey()) {
		return false
	}
	slab, size := c.mu.slab, c.obj.rawBytes(c.lo, c.hi)
	own := slab != nil
	if !own {
		var err error
		if slab, err = r.mem.get(r.ctx, size); err != nil {
			return false
		}
	}
	if !r.o.Cache.Read(c.cacheKey(), slab[:size]) {
		if !own {
			r.mem.put(slab)
		}
		return false
	}
	c.keepIn(slab)
	c.progress(c.hi, true, nil)
	return true
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
